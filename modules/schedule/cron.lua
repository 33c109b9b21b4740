-- SPDX-License-Identifier: Apache-2.0
--
-- Cron expressions: five fields (minute, hour, day of the month, month, day of the week) of lists,
-- ranges and steps. A day matches when both of its fields do; when neither of them begins with a
-- star, one of them is enough, as in cron since ever.
--
-- Times are seconds since 1970. An offset in minutes says where the clock on the wall hangs.

local cron = {}

local months = { jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6, jul = 7, aug = 8, sep = 9, oct = 10,
    nov = 11, dec = 12 }
local days = { sun = 0, mon = 1, tue = 2, wed = 3, thu = 4, fri = 5, sat = 6 }

local fields = {
    { name = 'minute', min = 0, max = 59 },
    { name = 'hour', min = 0, max = 23 },
    { name = 'day of the month', min = 1, max = 31 },
    { name = 'month', min = 1, max = 12, names = months },
    { name = 'day of the week', min = 0, max = 7, names = days },
}

local aliases = {
    ['@yearly'] = '0 0 1 1 *', ['@annually'] = '0 0 1 1 *', ['@monthly'] = '0 0 1 * *',
    ['@weekly'] = '0 0 * * 0', ['@daily'] = '0 0 * * *', ['@midnight'] = '0 0 * * *',
    ['@hourly'] = '0 * * * *',
}

local YEARS_MAX = 40 -- after that a 29 February has been on each day of the week
local MINUTE, HOUR, DAY = 60, 3600, 86400

-- ------------------------------------------------------------------------------------ parsing

local function fail(text, format, ...)
    error(('cron expression "%s": %s'):format(text, format:format(...)), 0)
end

local function value_of(text, field, word)
    local number = word:match('^%d+$') and tonumber(word)
        or field.names and field.names[word:lower()]
    if not number then
        fail(text, '"%s" is no %s', word, field.name)
    elseif number < field.min or number > field.max then
        fail(text, 'the %s is from %d to %d, not %s', field.name, field.min, field.max, word)
    end
    return number
end

--- Adds what a part (5, 1-5, */2, 1-5/2, 5/10) names to the set.
local function add_part(text, field, part, set)
    local range, step = part:match('^([^/]+)/([^/]+)$')
    range = range or part
    local from, to = range:match('^([^-]+)-([^-]+)$')
    if range == '*' or range == '?' then
        from, to = field.min, field.names == days and 6 or field.max
    elseif from then
        from, to = value_of(text, field, from), value_of(text, field, to)
        if from > to then
            fail(text, 'the range %s of the %s goes backwards', range, field.name)
        end
    else
        from = value_of(text, field, range)
        to = step and field.max or from
    end
    local stride = 1
    if step then
        stride = step:match('^%d+$') and tonumber(step)
        if not stride or stride == 0 then
            fail(text, 'a step is a number from 1, not "%s"', step)
        end
    end
    for value = from, to, stride do
        set[field.names == days and value % 7 or value] = true
    end
end

local function parse_field(text, field, word)
    local set = {}
    if word:sub(1, 1) == ',' or word:sub(-1) == ',' or word:find(',,', 1, true) then
        fail(text, 'a list of the %s has a comma too many', field.name)
    end
    for part in word:gmatch('[^,]+') do
        add_part(text, field, part, set)
    end
    return set
end

--- The sets of an expression; raises what is wrong with it.
---@param text string
---@return table
function cron.parse(text)
    if type(text) ~= 'string' then
        error('a cron expression is a string, as "*/5 * * * *"', 0)
    end
    local words = {}
    for word in (aliases[text:lower()] or text):gmatch('%S+') do
        words[#words + 1] = word
    end
    if text:sub(1, 1) == '@' and not aliases[text:lower()] then
        local names = {}
        for name in pairs(aliases) do
            names[#names + 1] = name
        end
        table.sort(names)
        fail(text, 'the names are %s', table.concat(names, ' '))
    elseif #words ~= #fields then
        fail(text, 'it has %d fields, and needs 5: minute, hour, day of the month, month, day of the week',
            #words)
    end
    local sets = {}
    for position, field in ipairs(fields) do
        sets[position] = parse_field(text, field, words[position])
    end
    local spec = {
        minutes = sets[1], hours = sets[2], days = sets[3], months = sets[4], weekdays = sets[5],
        either = not words[3]:find('^[*?]') and not words[5]:find('^[*?]'),
    }
    if not cron.next(spec, 0) then
        fail(text, 'that day never comes')
    end
    return spec
end

-- ---------------------------------------------------------------------------------- the calendar

--- Year, month and day of a number of days since 1970 (Howard Hinnant, chrono-compatible low-level
--- date algorithms).
local function civil(number)
    number = number + 719468
    local era = math.floor(number / 146097)
    local day_of_era = number - era * 146097
    local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460)
        + math.floor(day_of_era / 36524) - math.floor(day_of_era / 146096)) / 365)
    local day_of_year = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4)
        - math.floor(year_of_era / 100))
    local shifted = math.floor((5 * day_of_year + 2) / 153)
    local day = day_of_year - math.floor((153 * shifted + 2) / 5) + 1
    local month = shifted < 10 and shifted + 3 or shifted - 9
    return year_of_era + era * 400 + (month <= 2 and 1 or 0), month, day
end

local function days_in(year, month)
    if month == 2 then
        return (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28
    end
    return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
end

local function day_matches(spec, number, day)
    local in_month, in_week = spec.days[day], spec.weekdays[(number + 4) % 7]
    if spec.either then
        return in_month or in_week
    end
    return in_month and in_week
end

--- The first minute of a day at or after `from` (minutes since its midnight), or nil.
local function minute_of(spec, from)
    for hour = math.floor(from / 60), 23 do
        if spec.hours[hour] then
            for minute = math.max(from - hour * 60, 0), 59 do
                if spec.minutes[minute] then
                    return hour * 60 + minute
                end
            end
        end
    end
end

--- The first time after `after` that matches, in seconds since 1970; nil: there is none.
---@param spec table
---@param after number
---@param offset number? in minutes, of the clock that the expression means
---@return number?
function cron.next(spec, after, offset)
    local shift = (offset or 0) * MINUTE
    local first = math.floor((after + shift) / MINUTE) * MINUTE + MINUTE
    local number = math.floor(first / DAY)
    local from = (first - number * DAY) / MINUTE
    local year, month, day = civil(number)
    local last_year = year + YEARS_MAX
    while year <= last_year do
        if not spec.months[month] then -- on to the next month
            number, from, day = number + days_in(year, month) - day + 1, 0, 1
            month = month + 1
        else
            local minute = day_matches(spec, number, day) and minute_of(spec, from)
            if minute then
                return number * DAY + minute * MINUTE - shift
            end
            number, from, day = number + 1, 0, day + 1
            if day > days_in(year, month) then
                day, month = 1, month + 1
            end
        end
        if month > 12 then
            month, year = 1, year + 1
        end
    end
end

--- The last time from `from` to `to`, both included, that matches; nil: there is none. Looks at the end
--- first, in windows that grow, so that what was missed for a year takes no longer than what was missed
--- for an hour.
---@param spec table
---@param from number
---@param to number
---@param offset number?
---@return number?
function cron.last(spec, from, to, offset)
    for _, window in ipairs({ HOUR, DAY, 32 * DAY, 367 * DAY, math.huge }) do
        local start = math.max(from, to - window)
        local found = cron.next(spec, math.ceil(start) - 1, offset)
        if found and found <= to then
            local result
            repeat
                result, found = found, cron.next(spec, found, offset)
            until not found or found > to
            return result
        elseif start == from then
            return nil
        end
    end
end

return cron
