-- SPDX-License-Identifier: Apache-2.0
--
-- Extensions of MessagePack for programs that talk to a server: objects with `type` and `data`, which
-- go back as they came. tostring shows decimals, uuids, datetimes and intervals as the server does.

local ffi = require('ffi')

local extension = {}

ffi.cdef('struct perigee_client_extension { int32_t number; uint32_t size; char bytes[?]; };')
local ctype = ffi.typeof('struct perigee_client_extension')

local function little_endian(data, from, size)
    local number = 0
    for n = from + size - 1, from, -1 do
        number = number * 256 + data:byte(n)
    end
    return number >= 2 ^ (8 * size - 1) and number - 2 ^ (8 * size) or number
end

local function show_decimal(data)
    assert(#data > 1)
    local first, from = data:byte(1), 2
    local scale = first
    if first == 0xd0 then
        scale, from = little_endian(data, 2, 1), 3
    elseif first > 0x7f then
        scale = first - 256
    end
    local digits = data:sub(from):gsub('.', function(c) return ('%02x'):format(c:byte()) end)
    local sign = digits:sub(-1)
    digits = digits:sub(1, -2) .. ('0'):rep(-scale)
    scale = math.max(scale, 0)
    digits = ('0'):rep(scale + 1 - #digits) .. digits
    local whole = digits:sub(1, #digits - scale):gsub('^0+(.)', '%1')
    local point = scale > 0 and '.' .. digits:sub(#digits - scale + 1) or ''
    return ((sign == 'd' or sign == 'b') and '-' or '') .. whole .. point
end

local function show_uuid(data)
    local digits = data:gsub('.', function(c) return ('%02x'):format(c:byte()) end)
    return (digits:gsub('^(' .. ('.'):rep(8) .. ')(....)(....)(....)', '%1-%2-%3-%4-'))
end

--- Year, month and day of the days since 1970, by years that begin in March.
local function date_of(days)
    days = days + 719468
    local era = math.floor(days / 146097)
    local day = days - era * 146097
    local leaps = math.floor(day / 1460) - math.floor(day / 36524) + math.floor(day / 146096)
    local year = math.floor((day - leaps) / 365)
    day = day - (365 * year + math.floor(year / 4) - math.floor(year / 100))
    local month = math.floor((5 * day + 2) / 153)
    local civil = month < 10 and month + 3 or month - 9
    return year + era * 400 + (civil <= 2 and 1 or 0), civil, day - math.floor((153 * month + 2) / 5) + 1
end

local function show_datetime(data)
    local seconds, nsec, offset = little_endian(data, 1, 8), 0, 0
    if #data == 16 then
        nsec, offset = little_endian(data, 9, 4), little_endian(data, 13, 2)
    end
    seconds = seconds + offset * 60
    local days = math.floor(seconds / 86400)
    local rest = seconds - days * 86400
    local year, month, day = date_of(days)
    local fraction = nsec == 0 and '' or nsec % 1e6 == 0 and ('.%03d'):format(nsec / 1e6)
        or nsec % 1e3 == 0 and ('.%06d'):format(nsec / 1e3) or ('.%09d'):format(nsec)
    local minutes = math.abs(offset)
    local zone = offset == 0 and 'Z'
        or ('%s%02d%02d'):format(offset < 0 and '-' or '+', math.floor(minutes / 60), minutes % 60)
    return ('%04d-%02d-%02dT%02d:%02d:%02d%s%s'):format(year, month, day, math.floor(rest / 3600),
        math.floor(rest / 60) % 60, rest % 60, fraction, zone)
end

local units = { [0] = 'years', 'months', 'weeks', 'days', 'hours', 'minutes', 'seconds', 'nanoseconds' }

local function show_interval(data)
    local msgpack = require('client.msgpack')
    local parts, position = {}, 2
    for _ = 1, data:byte(1) do
        local field, count
        field, position = msgpack.decode(data, position)
        count, position = msgpack.decode(data, position)
        if units[field] then
            parts[#parts + 1] = ('%+d %s'):format(count, units[field])
        end
    end
    return parts[1] and table.concat(parts, ', ') or '0 seconds'
end

local shows = { show_decimal, show_uuid, [4] = show_datetime, [6] = show_interval }

local function data_of(self)
    return ffi.string(self.bytes, self.size)
end

ffi.metatype(ctype, {
    __index = function(self, key)
        if key == 'type' then
            return self.number
        elseif key == 'data' then
            return data_of(self)
        end
        return nil
    end,
    __eq = function(left, right)
        return ffi.istype(ctype, left) and ffi.istype(ctype, right) and left.number == right.number
            and data_of(left) == data_of(right)
    end,
    __tostring = function(self)
        local show = shows[self.number]
        local ok, text = pcall(show or error, data_of(self))
        return ok and text or ('extension %d of %d bytes'):format(self.number, self.size)
    end,
})

--- An object of this type, from -128 to 127, and bytes.
---@param number integer
---@param data string
function extension.new(number, data)
    local result = ffi.new(ctype, #data)
    result.number, result.size = number, #data
    ffi.copy(result.bytes, data, #data)
    return result
end

---@return boolean
function extension.is(value)
    return ffi.istype(ctype, value)
end

return extension
