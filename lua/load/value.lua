-- SPDX-License-Identifier: Apache-2.0
--
-- Texts to MessagePack and back, by the type of the field they are in.
--
-- A field of one type has plain text: digits, true, a uuid, base64 for bytes. One that takes several
-- (any, scalar, number), and arrays and maps, has JSON, in which load.native keeps what JSON lacks as
-- objects ({"$decimal": "1.50"}). In the place of a plain text there may always be such an object, so
-- that what a plain text would change can be written, too. So every value comes back as it was.

local ffi = require('ffi')
local msgpack = require('client.msgpack')
local native = require('load.native')

local byte, char, sub, find, floor = string.byte, string.char, string.sub, string.find, math.floor

local value = { NIL = '\xc0' }

-- ------------------------------------------------------------------------------------ to MessagePack

--- A string's bytes.
local function string_of(text)
    local size = #text
    if size < 32 then
        return char(0xa0 + size) .. text
    elseif size < 256 then
        return char(0xd9, size) .. text
    elseif size < 65536 then
        return char(0xda, floor(size / 256), size % 256) .. text
    end
    return msgpack.encode(text)
end
value.string = string_of

local tens = ffi.new('uint64_t', 1844674407370955161ULL) -- 2^64 / 10

--- The digits of text[first..] as an uint64_t; nil when they are none, or too many.
local function digits_of(text, first)
    local size = #text
    if size < first or size - first > 19 then
        return nil
    end
    local result = 0ULL
    for n = first, size do
        local digit = byte(text, n) - 48
        if digit < 0 or digit > 9 or result > tens or (result == tens and digit > 5) then
            return nil
        end
        result = result * 10ULL + digit
    end
    return result
end

--- A whole number's bytes; nil when the text is none of 64 bits.
local function integer_of(text)
    local first = byte(text, 1)
    local number
    if #text <= 15 and first and first >= 48 and first <= 57 then
        number = 0
        for n = 1, #text do
            local digit = byte(text, n) - 48
            if digit < 0 or digit > 9 then
                return nil
            end
            number = number * 10 + digit
        end
        if number < 128 then
            return char(number)
        elseif number < 256 then
            return char(0xcc, number)
        elseif number < 65536 then
            return char(0xcd, floor(number / 256), number % 256)
        elseif number < 4294967296 then
            return char(0xce, floor(number / 16777216), floor(number / 65536) % 256,
                floor(number / 256) % 256,
                number % 256)
        end
        return msgpack.encode(number)
    end
    local negative = first == 45
    local digits = digits_of(text, (negative or first == 43) and 2 or 1)
    if not digits or (negative and digits > 9223372036854775808ULL) then
        return nil
    end
    if digits <= 9007199254740992ULL then
        local whole = tonumber(digits)
        return msgpack.encode(negative and whole > 0 and -whole or whole)
    end
    return msgpack.encode(negative and ffi.cast('int64_t', -digits) or digits)
end

local unusual = {
    nan = 0 / 0, ['-nan'] = 0 / 0, inf = 1 / 0, ['+inf'] = 1 / 0, ['-inf'] = -1 / 0,
    infinity = 1 / 0, ['+infinity'] = 1 / 0, ['-infinity'] = -1 / 0,
}

local cell = ffi.new('union { double number; uint8_t bytes[8]; }')

--- A number's bytes: whole when it is written without point and exponent.
local function number_of(text)
    local whole = integer_of(text)
    if whole then
        return whole
    end
    local number = find(text, '^[+-]?%.?%d[%d.]*[eE]?[+-]?%d*$') and tonumber(text) or unusual[text:lower()]
    if not number then
        return nil
    end
    cell.number = number
    local b = cell.bytes
    return char(0xcb, b[7], b[6], b[5], b[4], b[3], b[2], b[1], b[0])
end

local words = { ['true'] = '\xc3', t = '\xc3', yes = '\xc3', y = '\xc3', ['1'] = '\xc3',
    ['false'] = '\xc2', f = '\xc2', no = '\xc2', n = '\xc2', ['0'] = '\xc2' }

local function starts(packed, fixed, spread, ...)
    local first = byte(packed, 1)
    for n = 1, select('#', ...) do
        if first == (select(n, ...)) then
            return true
        end
    end
    return first >= fixed and first < fixed + spread
end

local function ext_of(kind)
    return function(text)
        return native.ext_parse(kind, text)
    end
end

local function json_of(text)
    return (native.json_decode(text))
end

local of_type = {
    string = string_of,
    unsigned = function(text)
        return byte(text, 1) ~= 45 and integer_of(text) or nil
    end,
    integer = integer_of,
    number = number_of,
    double = number_of,
    boolean = function(text)
        return words[text] or words[text:lower()]
    end,
    decimal = ext_of('decimal'),
    uuid = ext_of('uuid'),
    datetime = ext_of('datetime'),
    interval = function() return nil end, -- only as an object
    varbinary = function(text)
        local packed = find(text, '^[%w+/]*=*$') and native.json_decode('{"$bin":"' .. text .. '"}')
        return packed and starts(packed, 0xc4, 3) and packed or nil
    end,
    array = function(text)
        local packed = json_of(text)
        return packed and starts(packed, 0x90, 16, 0xdc, 0xdd) and packed or nil
    end,
    map = function(text)
        local packed = json_of(text)
        return packed and starts(packed, 0x80, 16, 0xde, 0xdf) and packed or nil
    end,
    any = function(text)
        return find(text, '^[%s%[{"%-%dtfn]') and json_of(text) or string_of(text)
    end,
}
of_type.scalar = of_type.any

local names = {
    unsigned = 'no whole number from 0 to 2^64 - 1', integer = 'no whole number of 64 bits',
    number = 'no number', double = 'no number', boolean = 'neither true nor false', decimal = 'no decimal',
    uuid = 'no uuid', datetime = 'no date and time of ISO 8601', interval = 'no interval (an object of dump)',
    varbinary = 'no base64', array = 'no array of JSON', map = 'no object of JSON',
}

--- What of a text is shown in messages.
local function shown(text)
    text = #text > 40 and text:sub(1, 40) .. '..' or text
    return (text:gsub('[%z\1-\31\127]', function(c) return ('\\x%02x'):format(byte(c)) end))
end

--- A function(text): the MessagePack of a text in a field of this type; nil and what is wrong.
---@param kind string a type of formats
function value.encoder(kind)
    local encode = of_type[kind] or of_type.any
    if kind == 'string' or not names[kind] then
        return encode
    end
    return function(text)
        local packed = encode(text)
        if not packed and byte(text, 1) == 123 then
            packed = json_of(text)
        end
        if packed then
            return packed
        end
        return nil, ("'%s' is %s"):format(shown(text), names[kind])
    end
end

--- Whether a text is a value of this type, for a guess.
function value.is(kind, text)
    if kind == 'boolean' then
        return text == 'true' or text == 'false'
    elseif (kind == 'unsigned' or kind == 'integer' or kind == 'number' or kind == 'decimal')
        and find(text, '^[+-]?0%d') then
        return false -- 007 is a name, not a number
    elseif kind == 'number' and (find(text, '^[+-]?%d+$') or #text > 17) then
        return integer_of(text) ~= nil -- a double would lose digits
    elseif kind == 'decimal' and not find(text, '^[+-]?%d+%.?%d*$') then
        return false
    end
    return of_type[kind](text) ~= nil
end

-- ----------------------------------------------------------------------------------------- to text

--- The text of the plain value of a string's header at `position`, nil when there is another value.
local function read_string(bytes, position, first)
    local size, from
    if first >= 0xa0 and first < 0xc0 then
        size, from = first - 0xa0, position + 1
    elseif first == 0xd9 then
        size, from = byte(bytes, position + 1), position + 2
    elseif first == 0xda then
        local high, low = byte(bytes, position + 1, position + 2)
        size, from = high * 256 + low, position + 3
    elseif first == 0xdb then
        local a, b, c, d = byte(bytes, position + 1, position + 4)
        size, from = ((a * 256 + b) * 256 + c) * 256 + d, position + 5
    else
        return nil
    end
    return sub(bytes, from, from + size - 1), from + size
end

--- The bytes at `position` when they are a string: its text and the position behind it.
function value.read_string(bytes, position)
    return read_string(bytes, position, byte(bytes, position))
end

local function is_integer(first)
    return first < 0x80 or first >= 0xe0 or (first >= 0xcc and first <= 0xd3)
end

local function integer_text(bytes, position)
    local number, past = msgpack.decode_scanned(bytes, position)
    if type(number) == 'number' then
        return ('%.0f'):format(number), past
    end
    return (tostring(number):gsub('[UL]+$', '')), past
end

local function double_text(bytes, position)
    local number = msgpack.decode_scanned(bytes, position)
    if number ~= number then
        return 'nan', position + 9
    elseif number == math.huge or number == -math.huge then
        return number > 0 and 'inf' or '-inf', position + 9
    end
    return nil
end

local plain_numbers = { unsigned = true, integer = true, number = true, double = true }

--- The text of the value at `position` in a cell of a field of this type, and the position behind it; false
--- for nil. `plain` is whether the text is not JSON.
---@return string|false text, integer past, boolean plain
function value.text(kind, bytes, position)
    local first = byte(bytes, position)
    if first == 0xc0 then
        return false, position + 1, true
    elseif kind == 'string' then
        local text, past = read_string(bytes, position, first)
        if text then
            return text, past, true
        end
    elseif plain_numbers[kind] then
        local text, past
        if is_integer(first) then
            text, past = integer_text(bytes, position)
        elseif first == 0xcb then
            text, past = double_text(bytes, position)
        end
        if text then
            return text, past, true
        end
    elseif kind == 'decimal' or kind == 'uuid' or kind == 'datetime' then
        local what, text, past = native.ext_print(bytes, position)
        if what == kind and native.ext_parse(kind, text) == sub(bytes, position, past - 1) then
            return text, past, true
        end
    elseif kind == 'varbinary' and first >= 0xc4 and first <= 0xc6 then
        local text, past = native.json_encode(bytes, position)
        return sub(text, 10, -3), past, true
    end
    local text, past = native.json_encode(bytes, position)
    return text, past, false
end

-- What an object of JSON has as a string where the field is of another type.
local in_strings = { decimal = true, uuid = true, datetime = true, varbinary = true }

--- The JSON text of the value at `position` in a field of this type, and the position behind it.
function value.json(kind, bytes, position)
    if in_strings[kind] then
        local text, past, plain = value.text(kind, bytes, position)
        return text and (plain and '"' .. text .. '"' or text) or 'null', past
    elseif plain_numbers[kind] then
        local first = byte(bytes, position)
        if first == 0xcb then
            local text, past = double_text(bytes, position)
            if text then
                return '"' .. text .. '"', past
            end
        elseif first == 0xcf and byte(bytes, position + 1) >= 0x80 then
            local text, past = integer_text(bytes, position)
            return '"' .. text .. '"', past
        end
    end
    return native.json_encode(bytes, position)
end

local takes_text = { unsigned = true, integer = true, number = true, double = true, decimal = true,
    uuid = true,
    datetime = true, varbinary = true }

--- A function(packed): what JSON has given for a field of this type as a value of that; nil and what is
--- wrong.
---@return function|nil
function value.coercion(kind)
    if not takes_text[kind] then
        return nil
    end
    local encode = value.encoder(kind)
    return function(packed)
        local first = byte(packed, 1)
        local text = read_string(packed, 1, first)
        if not text and kind == 'decimal' and (is_integer(first) or first == 0xcb) then
            text = native.json_encode(packed, 1)
        end
        if text then
            return encode(text)
        end
        return packed
    end
end

return value
