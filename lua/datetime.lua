-- SPDX-License-Identifier: Apache-2.0
--
-- datetime: instants with nanoseconds, shown at an offset from UTC, and intervals between them.
--
-- An instant orders and compares by when it is, whatever the offset. Years, months and days are
-- those of a calendar at the offset, or in the time zone that the datetime has: its offset follows
-- from the zone's rules. What C calls a zone is an offset in minutes, or 10000 and the zone's number.

local ffi = require('ffi')
local core = require('box.core')
local value = require('box.value')

local api, text = value.api, value.text
local datetime_type, interval_type = value.datetime, value.interval
local INVALID, TOO_LARGE = core.ERROR_INVALID, value.TOO_LARGE
local floor = math.floor

local datetime, interval = {}, {}
local methods, interval_methods = {}, {}

local NAMED = 10000

-- What C writes to. Each is divided by 1 where it is read: for why, see to_lua of box/tuple.lua.
local nsec_out, offset_out, size_out = ffi.new('int32_t[1]'), ffi.new('int32_t[1]'), ffi.new('size_t[1]')
local split_out = ffi.new('struct perigee_datetime_fields')

local function is_datetime(from)
    return ffi.istype(datetime_type, from)
end

local function is_interval(from)
    return ffi.istype(interval_type, from)
end

local function fail(message, ...)
    core.raise(INVALID, message:format(...))
end

local function check_datetime(self)
    if not is_datetime(self) then
        fail('a datetime is expected: use t:method()')
    end
end

--- A whole number between two others.
local function check_whole(name, number, least, most)
    if type(number) == 'cdata' then
        number = tonumber(number)
    end
    if type(number) ~= 'number' or number ~= floor(number) or number < least or number > most then
        fail('%s is a whole number from %d to %d, not %s', name, least, most, tostring(number))
    end
    return number
end

-- -------------------------------------------------------------------------------- units

local fractions = { nsec = 1, usec = 1000, msec = 1000000 }

--- The nanoseconds that one of nsec, usec and msec gives; nil when none is there.
local function fraction_of(units, most)
    local result
    for name, factor in pairs(fractions) do
        if units[name] ~= nil then
            if result then
                fail('only one of nsec, usec and msec may be given')
            end
            result = check_whole(name, units[name], -most / factor, most / factor) * factor
        end
    end
    return result
end

local function check_names(units, names, what)
    if type(units) ~= 'table' then
        fail('%s is made of a table of units, not of a %s', what, type(units))
    end
    for name in pairs(units) do
        if not names[name] then
            fail("%s has no unit '%s'", what, tostring(name))
        end
    end
end

local function read_zone(zone)
    if type(zone) ~= 'string' or api.datetime_zone(zone, #zone, offset_out) == 0 then
        fail("the time zone '%s' is not known: names like Europe/Moscow, UTC and offsets like +03:00 are",
            tostring(zone):sub(1, 64))
    end
    return offset_out[0] / 1
end

--- The zone that units or options give.
local function zone_of(units, default)
    if units.tz ~= nil and units.tz ~= '' then
        return read_zone(units.tz)
    elseif units.tzoffset == nil then
        return default
    elseif type(units.tzoffset) == 'string' then
        return read_zone(units.tzoffset)
    end
    return check_whole('tzoffset', units.tzoffset, -720, 840)
end

local calendar_units = { year = true, month = true, day = true, hour = true, min = true, sec = true }
local datetime_units = {
    year = true, month = true, day = true, hour = true, min = true, sec = true, nsec = true, usec = true,
    msec = true, timestamp = true, tzoffset = true, tz = true,
    -- what totable gives and follows from the others
    wday = true, yday = true, isdst = true,
}

--- Says why C refused, when it was for the zone.
local function check_zone(code)
    if code == -5 then
        fail("the time zone's rules can not be read: the package tzdata has them")
    end
end

local function set_timestamp(self, units, zone)
    for name in pairs(calendar_units) do
        if units[name] ~= nil then
            fail('timestamp and %s can not be given together', name)
        end
    end
    local timestamp, nsec = tonumber(units.timestamp), fraction_of(units, 999999999)
    if type(timestamp) ~= 'number' then
        fail('timestamp is a number')
    end
    local seconds = floor(timestamp)
    if nsec and seconds ~= timestamp then
        fail('a timestamp beside nsec, usec or msec is a whole number')
    end
    nsec = nsec or floor((timestamp - seconds) * 1e9)
    local code = nsec < 0 and -4 or api.datetime_make(self, seconds, nsec, zone)
    check_zone(code)
    if code ~= 0 then
        fail('the timestamp %s is out of range', tostring(units.timestamp))
    end
end

--- Sets what units give; the rest stays.
local function set(self, units)
    check_names(units, datetime_units, 'a datetime')
    local zone = zone_of(units, api.datetime_zone_of(self))
    if units.timestamp ~= nil then
        return set_timestamp(self, units, zone)
    end
    api.datetime_split(self, split_out)
    local fields = split_out
    fields.year = check_whole('year', units.year or fields.year, -5879610, 5879611)
    fields.month = check_whole('month', units.month or fields.month, 1, 12)
    if units.day == -1 then
        fields.day = api.datetime_days_in_month(fields.year, fields.month)
    else
        fields.day = check_whole('day', units.day or fields.day, 1, 31)
    end
    fields.hour = check_whole('hour', units.hour or fields.hour, 0, 23)
    fields.min = check_whole('min', units.min or fields.min, 0, 59)
    fields.sec = check_whole('sec', units.sec or fields.sec, 0, 60)
    local nsec = fraction_of(units, 999999999)
    if nsec then
        fields.nsec = check_whole('nsec', nsec, 0, 999999999)
    end
    local code = api.datetime_join(self, fields, zone)
    check_zone(code)
    if code ~= 0 then
        fail('there is no day %d in month %d of %d, or it is out of range', fields.day, fields.month,
            tonumber(fields.year))
    end
end

-- ----------------------------------------------------------------------------- intervals

local interval_fields = { year = 0, month = 1, week = 2, day = 3, hour = 4, min = 5, sec = 6, nsec = 7 }
local interval_units = { usec = true, msec = true, adjust = true }
for name in pairs(interval_fields) do
    interval_units[name] = true
end
local ADJUST, adjustments = 8, { excess = 0, none = 1, last = 2, [0] = 'excess', 'none', 'last' }
local doubles = ffi.new('double[9]')

--- The interval that a table of units stands for.
local function make_interval(units)
    check_names(units, interval_units, 'an interval')
    for name, position in pairs(interval_fields) do
        if name ~= 'nsec' then
            doubles[position] = check_whole(name, units[name] or 0, -1e15, 1e15)
        end
    end
    doubles[interval_fields.nsec] = fraction_of(units, 2147483647) or 0
    doubles[ADJUST] = adjustments[units.adjust or 'none'] or fail("adjust is 'none', 'last' or 'excess'")
    local result = ffi.new(interval_type)
    if api.interval_make(result, doubles) ~= 0 then
        core.raise(TOO_LARGE, 'the interval is longer than all of time')
    end
    return result
end

local function take_interval(from)
    if is_interval(from) then
        return from
    elseif type(from) ~= 'table' then
        fail('an interval or a table of units is expected, not %s', tostring(from))
    end
    return make_interval(from)
end

local function combine(left, right, sign)
    local result = ffi.new(interval_type)
    if api.interval_add(result, left, take_interval(right), sign) ~= 0 then
        core.raise(TOO_LARGE, 'the interval is longer than all of time')
    end
    return result
end

--- datetime.interval.new{year, month, week, day, hour, min, sec, nsec | usec | msec, adjust}
function interval.new(units)
    return make_interval(units == nil and {} or units)
end

--- datetime.interval.is_interval(value)
interval.is_interval = is_interval

function interval_methods.totable(self)
    if not is_interval(self) then
        fail('an interval is expected: use i:totable()')
    end
    local result = { adjust = adjustments[api.interval_get(self, ADJUST)] }
    for name, position in pairs(interval_fields) do
        result[name] = api.interval_get(self, position)
    end
    return result
end

local function print_interval(self)
    return ffi.string(text, api.interval_print(self, text))
end

local function no_order()
    fail('intervals have no order: a month may be longer or shorter than 30 days')
end

-- ----------------------------------------------------------------------------- datetimes

--- *out = self + sign * by
local function shift(out, self, by, sign)
    if api.datetime_add(out, self, take_interval(by), sign) ~= 0 then
        core.raise(TOO_LARGE, 'the result is out of range')
    end
    return out
end

local function print_datetime(self)
    return ffi.string(text, api.datetime_print(self, text))
end

--- datetime.new{year, month, day, hour, min, sec, nsec | usec | msec, timestamp, tzoffset, tz}
function datetime.new(units)
    local result = ffi.new(datetime_type)
    if units ~= nil then
        set(result, units)
    end
    return result
end

--- The time of the transaction, or of the clock, in milliseconds, at UTC.
function datetime.now()
    local now, result = core.api.now(core.runtime), ffi.new(datetime_type)
    local seconds = floor(now)
    api.datetime_make(result, seconds, math.min(floor((now - seconds) * 1000 + 0.5), 999) * 1000000, 0)
    return result
end

--- datetime.is_datetime(value)
datetime.is_datetime = is_datetime

local function check_format(code, format)
    if code == -24 then
        fail('the format %q has a conversion that is not known', format)
    end
end

--- datetime.parse(text [, {format = 'iso8601' | 'rfc3339' | like strptime's, tzoffset, tz}])
--- gives the datetime and how many characters it took.
function datetime.parse(from, options)
    options = options or {}
    if type(from) ~= 'string' then
        fail('datetime.parse takes a string')
    end
    local result, format, zone = ffi.new(datetime_type), options.format, zone_of(options, 0)
    local code
    size_out[0] = #from
    if format == nil or format == 'iso8601' or format == 'rfc3339' then
        code = api.datetime_parse(result, from, #from, zone, format == 'rfc3339' and 1 or 0)
    else
        format = tostring(format)
        code = api.datetime_scan(result, from, #from, format, #format, zone, size_out)
        check_format(code, format)
    end
    check_zone(code)
    if code ~= 0 then
        fail('%q is not a date and time%s', from, format and ' of the format ' .. format or '')
    end
    return result, tonumber(size_out[0])
end

--- The text by a format like strftime's, with %f (%3f) for the fraction of a second.
function methods.format(self, format)
    check_datetime(self)
    if format == nil then
        return print_datetime(self)
    elseif type(format) ~= 'string' then
        fail('a format is a string')
    end
    local room = 40 * #format + 64
    local out = ffi.new('char[?]', room)
    local code = api.datetime_format(self, format, #format, out, room, size_out)
    check_format(code, format)
    core.check(code)
    return ffi.string(out, size_out[0])
end
methods.strftime = methods.format

--- Changes the datetime itself.
function methods.set(self, units)
    check_datetime(self)
    set(self, units)
    return self
end

--- Changes the datetime itself by an interval or a table of units.
function methods.add(self, by)
    check_datetime(self)
    return shift(self, self, by, 1)
end

function methods.sub(self, by)
    check_datetime(self)
    return shift(self, self, by, -1)
end

--- The name of the datetime's zone, if it has one.
local function zone_name(self)
    local zone = api.datetime_zone_of(self)
    return zone > NAMED and ffi.string(api.zone_name(zone - NAMED)) or nil
end

function methods.totable(self)
    check_datetime(self)
    api.datetime_split(self, split_out)
    api.datetime_seconds(self, nsec_out, offset_out)
    local fields = split_out
    return {
        year = tonumber(fields.year), month = fields.month / 1, day = fields.day / 1, hour = fields.hour / 1,
        min = fields.min / 1, sec = fields.sec / 1, nsec = fields.nsec / 1, wday = fields.wday / 1,
        yday = fields.yday / 1, isdst = self.isdst, tzoffset = offset_out[0] / 1, tz = zone_name(self),
    }
end

local parts = { month = true, day = true, hour = true, min = true, sec = true, wday = true, yday = true }

local getters = {
    epoch = function(self) return api.datetime_seconds(self, nsec_out, offset_out) end,
    timestamp = function(self)
        local seconds = api.datetime_seconds(self, nsec_out, offset_out)
        return seconds + nsec_out[0] / 1e9
    end,
    year = function(self)
        api.datetime_split(self, split_out)
        return tonumber(split_out.year)
    end,
    nsec = function(self)
        api.datetime_seconds(self, nsec_out, offset_out)
        return nsec_out[0] / 1
    end,
    tzoffset = function(self)
        api.datetime_seconds(self, nsec_out, offset_out)
        return offset_out[0] / 1
    end,
    isdst = function(self) return api.datetime_summer(self) ~= 0 end,
    tzindex = function(self) return math.max(api.datetime_zone_of(self) - NAMED, 0) end,
}

function getters.usec(self)
    return floor(getters.nsec(self) / 1000)
end

function getters.msec(self)
    return floor(getters.nsec(self) / 1000000)
end

function getters.tz(self)
    return methods.format(self, '%Z')
end

local function order(left, right)
    if not is_datetime(left) or not is_datetime(right) then
        fail('a datetime has an order with datetimes alone')
    end
    return api.datetime_compare(left, right)
end

local function add(left, right)
    if is_datetime(left) and not is_datetime(right) then
        return shift(ffi.new(datetime_type), left, right, 1)
    elseif is_interval(left) and is_datetime(right) then
        return shift(ffi.new(datetime_type), right, left, 1)
    elseif is_interval(left) then
        return combine(left, right, 1)
    end
    fail('these can not be added: %s and %s', tostring(left), tostring(right))
end

local function subtract(left, right)
    if is_datetime(left) and is_datetime(right) then
        local result = ffi.new(interval_type)
        api.datetime_subtract(result, left, right)
        return result
    elseif is_datetime(left) then
        return shift(ffi.new(datetime_type), left, right, -1)
    elseif is_interval(left) and not is_datetime(right) then
        return combine(left, right, -1)
    end
    fail('these can not be subtracted: %s and %s', tostring(left), tostring(right))
end

ffi.metatype(datetime_type, {
    __index = function(self, key)
        if parts[key] then
            api.datetime_split(self, split_out)
            return split_out[key] / 1
        end
        local getter = getters[key]
        if getter then
            return getter(self)
        end
        return methods[key]
    end,
    __newindex = function() error('the fields of a datetime are changed by t:set{}', 2) end,
    __tostring = print_datetime,
    __concat = function(left, right) return tostring(left) .. tostring(right) end,
    __add = add,
    __sub = subtract,
    __eq = function(left, right)
        return is_datetime(left) and is_datetime(right) and api.datetime_compare(left, right) == 0
    end,
    __lt = function(left, right) return order(left, right) < 0 end,
    __le = function(left, right) return order(left, right) <= 0 end,
})

ffi.metatype(interval_type, {
    __index = function(self, key)
        local position = interval_fields[key]
        if position then
            return api.interval_get(self, position)
        elseif key == 'adjust' then
            return adjustments[api.interval_get(self, ADJUST)]
        end
        return interval_methods[key]
    end,
    __newindex = function() error('an interval can not be changed', 2) end,
    __tostring = print_interval,
    __concat = function(left, right) return tostring(left) .. tostring(right) end,
    __add = add,
    __sub = subtract,
    __eq = function(left, right)
        return is_interval(left) and is_interval(right) and api.interval_equal(left, right) ~= 0
    end,
    __lt = no_order,
    __le = no_order,
})

datetime.interval = core.object(interval)

--- datetime.TZ: the numbers of time zones by their names, and the names by their numbers.
local zones, number = {}, 2001
while api.zone_name(number) ~= nil do
    local name = ffi.string(api.zone_name(number))
    zones[name], zones[number], number = number, name, number + 1
end
datetime.TZ = core.object(zones, {
    __pairs = function()
        return function(_, key) return next(zones, key) end
    end,
})

return core.object(datetime)
