-- SPDX-License-Identifier: Apache-2.0
--
-- MessagePack in plain LuaJIT, for programs that talk to a server; the server itself has its own in C.
--
-- To MessagePack: nil and NULL are nil; a number without fraction that a double holds exactly is an
-- integer, any other a double; 64-bit integers (cdata) keep their width; a string is a str; a table
-- whose keys are 1..n is an array, any other a map (an empty one is an array unless marked by
-- `msgpack.map`). What has no form raises an error.
--
-- To Lua: integers up to 2^53 are numbers, larger ones 64-bit cdata; nil inside of arrays and maps
-- is NULL; arrays and maps are tables with the metatables `msgpack.array_metatable` and
-- `msgpack.map_metatable`, so that they can be told apart when empty and encoded as they came;
-- extensions (decimals, uuids, datetimes) are objects of client/extension.lua.
--
-- A stream is cut into messages by client.scan.

local ffi = require('ffi')
local bit = require('bit')
local extensions = require('client.extension')
local scan = require('client.scan')

local byte, char, sub = string.byte, string.char, string.sub
local band = bit.band
local concat = table.concat

local msgpack = {
    NULL = ffi.cast('void *', 0),
    array_metatable = { __name = 'array' },
    map_metatable = { __name = 'map' },
    depth_max = 64,
    scanner = scan.scanner,
    scan = scan.scan,
    array_header = scan.array_header,
}

--- Marks a table as a map, which matters when it is empty or has keys 1..n.
---@param t table
---@return table t
function msgpack.map(t)
    return setmetatable(t, msgpack.map_metatable)
end

-- ------------------------------------------------------------------------------ to MessagePack

local exact_max = 2 ^ 53
local uint64, int64 = ffi.typeof('uint64_t'), ffi.typeof('int64_t')
local cell = ffi.new('union { double number; uint64_t integer; uint8_t bytes[8]; }')

--- `size` bytes of a number below 2^53, the highest first.
local function big_endian(number, size)
    local bytes = {}
    for n = size, 1, -1 do
        bytes[n] = char(number % 256)
        number = math.floor(number / 256)
    end
    return concat(bytes)
end

local function cell_bytes()
    local bytes = {}
    for n = 0, 7 do
        bytes[8 - n] = char(cell.bytes[n])
    end
    return concat(bytes)
end

local function encode_unsigned(number)
    if number < 128 then
        return char(number)
    elseif number < 256 then
        return char(0xcc, number)
    elseif number < 65536 then
        return '\xcd' .. big_endian(number, 2)
    elseif number < 4294967296 then
        return '\xce' .. big_endian(number, 4)
    end
    return '\xcf' .. big_endian(number, 8)
end

local function encode_negative(number)
    if number >= -32 then
        return char(number + 256)
    elseif number >= -128 then
        return char(0xd0, number + 256)
    elseif number >= -32768 then
        return '\xd1' .. big_endian(number + 65536, 2)
    elseif number >= -2147483648 then
        return '\xd2' .. big_endian(number + 4294967296, 4)
    end
    cell.integer = ffi.cast(uint64, ffi.cast(int64, number))
    return '\xd3' .. cell_bytes()
end

local function encode_number(number)
    if number % 1 == 0 and number >= -exact_max and number <= exact_max then
        return number >= 0 and encode_unsigned(number) or encode_negative(number)
    end
    cell.number = number
    return '\xcb' .. cell_bytes()
end

local short_extensions = { 0xd4, 0xd5, [4] = 0xd6, [8] = 0xd7, [16] = 0xd8 }

local function encode_extension(value)
    local data = value.data
    local size, number = #data, value.type % 256
    if short_extensions[size] then
        return char(short_extensions[size], number) .. data
    elseif size < 256 then
        return char(0xc7, size, number) .. data
    elseif size < 65536 then
        return '\xc8' .. big_endian(size, 2) .. char(number) .. data
    end
    return '\xc9' .. big_endian(size, 4) .. char(number) .. data
end

local function encode_cdata(value)
    if value == nil then
        return '\xc0'
    elseif ffi.istype(int64, value) then
        cell.integer = ffi.cast(uint64, value)
        return (value < 0 and '\xd3' or '\xcf') .. cell_bytes()
    elseif ffi.istype(uint64, value) then
        cell.integer = value
        return '\xcf' .. cell_bytes()
    end
    if extensions.is(value) then
        return encode_extension(value)
    end
    error('a ' .. tostring(ffi.typeof(value)) .. ' has no form in MessagePack', 0)
end

local function encode_string(value)
    local size = #value
    if size < 32 then
        return char(0xa0 + size) .. value
    elseif size < 256 then
        return char(0xd9, size) .. value
    elseif size < 65536 then
        return '\xda' .. big_endian(size, 2) .. value
    end
    return '\xdb' .. big_endian(size, 4) .. value
end

local function header(count, short, long)
    if count < 16 then
        return char(short + count)
    elseif count < 65536 then
        return char(long) .. big_endian(count, 2)
    end
    return char(long + 1) .. big_endian(count, 4)
end

--- The length of a table whose keys are 1..n; nil for any other.
local function array_length(t)
    local metatable = getmetatable(t)
    if metatable == msgpack.map_metatable then
        return nil
    end
    local entries, largest = 0, 0
    for key in pairs(t) do
        if type(key) ~= 'number' or key < 1 or key % 1 ~= 0 then
            return nil
        end
        entries, largest = entries + 1, math.max(largest, key)
    end
    return largest <= 2 * entries + 8 and largest or nil
end

local encode_value

local function encode_table(t, out, depth)
    if depth > msgpack.depth_max then
        error('tables are nested too deep for MessagePack', 0)
    end
    local length = array_length(t)
    if length then
        out[#out + 1] = header(length, 0x90, 0xdc)
        for n = 1, length do
            encode_value(t[n], out, depth + 1)
        end
        return
    end
    local place, count = #out + 1, 0
    out[place] = ''
    for key, value in pairs(t) do
        encode_value(key, out, depth + 1)
        encode_value(value, out, depth + 1)
        count = count + 1
    end
    out[place] = header(count, 0x80, 0xde)
end

function encode_value(value, out, depth)
    local kind = type(value)
    if kind == 'table' then
        return encode_table(value, out, depth)
    elseif kind == 'number' then
        out[#out + 1] = encode_number(value)
    elseif kind == 'string' then
        out[#out + 1] = encode_string(value)
    elseif kind == 'nil' then
        out[#out + 1] = '\xc0'
    elseif kind == 'boolean' then
        out[#out + 1] = value and '\xc3' or '\xc2'
    elseif kind == 'cdata' then
        out[#out + 1] = encode_cdata(value)
    else
        error('a ' .. kind .. ' has no form in MessagePack', 0)
    end
end

--- The bytes of a value. Raises a string when it has no form in MessagePack.
---@param value any
---@return string
function msgpack.encode(value)
    local out = {}
    encode_value(value, out, 1)
    return concat(out)
end

--- The bytes of an array of `count` values, nil included.
---@param count integer
---@return string
function msgpack.encode_array(count, ...)
    local out = { header(count, 0x90, 0xdc) }
    for n = 1, count do
        encode_value((select(n, ...)), out, 2)
    end
    return concat(out)
end

--- The same with an extension in front: `type`, whose bytes are those of the value `extension`.
---@param extension any
---@param type integer
---@param count integer
---@return string
function msgpack.encode_array_behind(extension, type, count, ...)
    local body = msgpack.encode(extension)
    local out = { header(count + 1, 0x90, 0xdc), char(0xc7, #body, type), body }
    for n = 1, count do
        encode_value((select(n, ...)), out, 2)
    end
    return concat(out)
end

-- -------------------------------------------------------------------------------------- to Lua

local read_unsigned = scan.read_unsigned

local function read_cell(text, position)
    for n = 0, 7 do
        cell.bytes[7 - n] = byte(text, position + n)
    end
end

local function read_unsigned_64(text, position)
    read_cell(text, position)
    if cell.integer <= 9007199254740992ULL then
        return tonumber(cell.integer)
    elseif cell.integer <= 0x7fffffffffffffffULL then
        return ffi.cast(int64, cell.integer)
    end
    return cell.integer + 0ULL
end

local function read_signed_64(text, position)
    read_cell(text, position)
    local value = ffi.cast(int64, cell.integer)
    if value >= -9007199254740992LL and value <= 9007199254740992LL then
        return tonumber(value)
    end
    return value
end

local function read_signed(text, position, size)
    local number = read_unsigned(text, position, size)
    local limit = 2 ^ (8 * size - 1)
    return number >= limit and number - 2 * limit or number
end

local function read_float(text, position)
    local bits = ffi.new('union { float number; uint8_t bytes[4]; }')
    for n = 0, 3 do
        bits.bytes[3 - n] = byte(text, position + n)
    end
    return tonumber(bits.number)
end

local function read_double(text, position)
    read_cell(text, position)
    return tonumber(cell.number)
end

local decode_value

local function decode_array(text, position, count)
    local result = setmetatable({}, msgpack.array_metatable)
    for n = 1, count do
        local value
        value, position = decode_value(text, position)
        result[n] = value == nil and msgpack.NULL or value
    end
    return result, position
end

local function decode_map(text, position, count)
    local result = setmetatable({}, msgpack.map_metatable)
    for _ = 1, count do
        local key, value
        key, position = decode_value(text, position)
        value, position = decode_value(text, position)
        if key ~= nil and key == key then
            result[key] = value == nil and msgpack.NULL or value
        end
    end
    return result, position
end

-- What the bytes from 0xc4 on mean: the size of the length that follows, or a function that reads a
-- value of a fixed size.
local fixed = {
    [0xca] = { read_float, 4 },
    [0xcb] = { read_double, 8 },
    [0xcc] = { read_unsigned, 1 },
    [0xcd] = { read_unsigned, 2 },
    [0xce] = { read_unsigned, 4 },
    [0xcf] = { read_unsigned_64, 8 },
    [0xd0] = { read_signed, 1 },
    [0xd1] = { read_signed, 2 },
    [0xd2] = { read_signed, 4 },
    [0xd3] = { read_signed_64, 8 },
}
local string_length = {
    [0xc4] = 1, [0xc5] = 2, [0xc6] = 4, -- bin
    [0xd9] = 1, [0xda] = 2, [0xdb] = 4, -- str
}
local extension_length = { [0xc7] = 1, [0xc8] = 2, [0xc9] = 4 }
local count_length = { [0xdc] = 2, [0xdd] = 4, [0xde] = 2, [0xdf] = 4 }

local function decode_long(text, position, first)
    if first == 0xc1 then
        error('this is not MessagePack', 0)
    elseif first >= 0xdc then
        local size = count_length[first]
        local read = first >= 0xde and decode_map or decode_array
        return read(text, position + size, read_unsigned(text, position, size))
    elseif fixed[first] then
        local read, size = fixed[first][1], fixed[first][2]
        return read(text, position, size), position + size
    elseif string_length[first] then
        local size = string_length[first]
        local from = position + size
        local past = from + read_unsigned(text, position, size)
        return sub(text, from, past - 1), past
    elseif first == 0xc2 or first == 0xc3 then
        return first == 0xc3, position
    elseif first == 0xc0 then
        return nil, position
    end
    local size = extension_length[first] or 0
    local length = size > 0 and read_unsigned(text, position, size) or 2 ^ (first - 0xd4)
    local from = position + size + 1
    local kind = read_signed(text, position + size, 1)
    return extensions.new(kind, sub(text, from, from + length - 1)), from + length
end

function decode_value(text, position)
    local first = byte(text, position)
    position = position + 1
    if first < 0x80 then
        return first, position
    elseif first >= 0xe0 then
        return first - 256, position
    elseif first < 0x90 then
        return decode_map(text, position, band(first, 15))
    elseif first < 0xa0 then
        return decode_array(text, position, band(first, 15))
    elseif first < 0xc0 then
        local past = position + band(first, 31)
        return sub(text, position, past - 1), past
    end
    return decode_long(text, position, first)
end

--- Decodes the value at `position` (1 when not given). Raises a string for bytes that are not, or
--- not wholly, MessagePack.
---@param text string
---@param position integer?
---@return any value, integer position of what follows
function msgpack.decode(text, position)
    local scanner = msgpack.scanner(position or 1)
    if not msgpack.scan(scanner, text) then
        error('this is not a whole MessagePack value', 0)
    end
    return decode_value(text, position or 1)
end

--- The same for bytes that `scan` has found complete.
msgpack.decode_scanned = decode_value

return msgpack
