-- SPDX-License-Identifier: Apache-2.0
--
-- Cuts a stream of MessagePack into values without making them: it counts those that are still missing and
-- goes on where it stopped. No byte is looked at twice, in however many pieces a message arrives.

local bit = require('bit')

local byte, char, band = string.byte, string.char, bit.band

local scan = {}

-- How many bytes follow those from 0xc4 on: of a value of a fixed size, and of a length.
local fixed = {
    [0xca] = 4, [0xcb] = 8, [0xcc] = 1, [0xcd] = 2, [0xce] = 4, [0xcf] = 8,
    [0xd0] = 1, [0xd1] = 2, [0xd2] = 4, [0xd3] = 8,
    [0xd4] = 2, [0xd5] = 3, [0xd6] = 5, [0xd7] = 9, [0xd8] = 17, -- extensions and their type
}
local bytes_length = { [0xc4] = 1, [0xc5] = 2, [0xc6] = 4, [0xd9] = 1, [0xda] = 2, [0xdb] = 4 }
local extension_length = { [0xc7] = 1, [0xc8] = 2, [0xc9] = 4 }
local count_length = { [0xdc] = 2, [0xdd] = 4, [0xde] = 2, [0xdf] = 4 }

--- `size` bytes at `position` as a number, the highest first.
---@return number
local function read_unsigned(text, position, size)
    local number = 0
    for n = position, position + size - 1 do
        number = number * 256 + byte(text, n)
    end
    return number
end
scan.read_unsigned = read_unsigned

--- How many bytes the value at `position` has without the values in it, and how many values those
--- are; nil when even its header is not complete; false when no value begins so.
local function extent(text, position, size)
    local first = byte(text, position)
    if not first then
        return nil
    elseif first < 0x80 or first >= 0xe0 then
        return 1, 0
    elseif first < 0xa0 then
        return 1, band(first, 15) * (first < 0x90 and 2 or 1)
    elseif first < 0xc0 then
        return 1 + band(first, 31), 0
    elseif first == 0xc1 then
        return false
    elseif first < 0xc4 then
        return 1, 0
    elseif fixed[first] then
        return 1 + fixed[first], 0
    end
    local length = bytes_length[first] or extension_length[first] or count_length[first]
    if position + length > size then
        return nil
    end
    local number = read_unsigned(text, position + 1, length)
    if count_length[first] then
        return 1 + length, number * (first >= 0xde and 2 or 1)
    end
    return 1 + length + number + (extension_length[first] and 1 or 0), 0
end

--- Begins to look for the end of the value at `position` of a text that may not be complete yet.
---@return table scanner for `scan`
function scan.scanner(position)
    return { position = position, missing = 1 }
end

--- Goes on where it stopped, after more bytes have been appended to the text.
---@param scanner table
---@param text string
---@return boolean|nil done true: scanner.position is behind the value; false: more bytes are needed;
--- nil: this is not MessagePack
function scan.scan(scanner, text)
    local size = #text
    while scanner.missing > 0 do
        local bytes, values = extent(text, scanner.position, size)
        if bytes == false then
            return nil
        elseif not bytes or scanner.position + bytes - 1 > size then
            return false
        end
        scanner.position = scanner.position + bytes
        scanner.missing = scanner.missing - 1 + values
    end
    return true
end

--- The header of an array of `count` values, which the caller appends.
---@param count integer
---@return string
function scan.array_header(count)
    if count < 16 then
        return char(0x90 + count)
    elseif count < 65536 then
        return char(0xdc, math.floor(count / 256), count % 256)
    end
    return char(0xdd, math.floor(count / 0x1000000), math.floor(count / 65536) % 256,
        math.floor(count / 256) % 256, count % 256)
end

return scan
