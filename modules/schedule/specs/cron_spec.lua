-- SPDX-License-Identifier: Apache-2.0

describe('cron expressions', function()
    local cron

    setup(function()
        box.module.install('schedule')
        cron = require('schedule.cron')
    end)

    teardown(function()
        box.module.remove('schedule', { purge = true })
    end)

    local function utc(text)
        return require('datetime').parse(text .. ':00Z').epoch
    end

    local table_of_next = {
        -- expression, after, next
        { '* * * * *', '2026-01-01T00:00', '2026-01-01T00:01' },
        { '*/5 * * * *', '2026-01-01T00:00', '2026-01-01T00:05' },
        { '*/5 * * * *', '2026-01-01T00:56', '2026-01-01T01:00' },
        { '0 0 * * *', '2026-12-31T00:00', '2027-01-01T00:00' },
        { '30 4 1,15 * *', '2026-01-02T00:00', '2026-01-15T04:30' },
        { '0 22 * * 1-5', '2026-11-20T22:00', '2026-11-23T22:00' }, -- a Friday, and the Monday after it
        { '0 12 * * 7', '2026-11-21T00:00', '2026-11-22T12:00' },
        { '0 12 * * sun', '2026-11-21T00:00', '2026-11-22T12:00' },
        { '0 0 29 2 *', '2026-01-01T00:00', '2028-02-29T00:00' },
        { '0 0 29 2 *', '2096-03-01T00:00', '2104-02-29T00:00' },
        { '0 0 31 * *', '2026-04-01T00:00', '2026-05-31T00:00' },
        { '0 0 13 * 5', '2026-11-14T00:00', '2026-11-20T00:00' }, -- the thirteenth, or a Friday
        { '0 0 */2 * 5', '2026-11-14T00:00', '2026-11-27T00:00' }, -- an odd day that is a Friday
        { '15-45/15 8-10 * jan,jul *', '2026-01-31T10:30', '2026-01-31T10:45' },
        { '15-45/15 8-10 * jan,jul *', '2026-01-31T10:45', '2026-07-01T08:15' },
        { '50/3 * * * *', '2026-01-01T00:53', '2026-01-01T00:56' },
        { '@hourly', '2026-01-01T00:00', '2026-01-01T01:00' },
        { '@weekly', '2026-11-21T00:00', '2026-11-22T00:00' },
        { '@Yearly', '2026-11-21T00:00', '2027-01-01T00:00' },
    }

    it('say when they come next', function()
        for _, row in ipairs(table_of_next) do
            assert.equal(utc(row[3]), cron.next(cron.parse(row[1]), utc(row[2])),
                ('"%s" after %s'):format(row[1], row[2]))
        end
        local spec = cron.parse('0 9 * * *')
        assert.equal(utc('2026-01-01T07:00'), cron.next(spec, utc('2026-01-01T00:00'), 120))
        assert.equal(utc('2026-01-01T14:00'), cron.next(spec, utc('2026-01-01T00:00'), -300))
        local always, midnight = cron.parse('* * * * *'), utc('2026-01-01T00:00')
        assert.equal(midnight + 60, cron.next(always, midnight + 0.5))
    end)

    local errors = {
        { '* * * *', 'it has 4 fields, and needs 5' },
        { '', 'it has 0 fields' },
        { '60 * * * *', 'the minute is from 0 to 59, not 60' },
        { '* 24 * * *', 'the hour is from 0 to 23, not 24' },
        { '* * 0 * *', 'the day of the month is from 1 to 31, not 0' },
        { '* * * 13 *', 'the month is from 1 to 12, not 13' },
        { '* * * * 8', 'the day of the week is from 0 to 7, not 8' },
        { '* * * foo *', '"foo" is no month' },
        { 'x * * * *', '"x" is no minute' },
        { '*/0 * * * *', 'a step is a number from 1, not "0"' },
        { '*/x * * * *', 'a step is a number from 1, not "x"' },
        { '5-1 * * * *', 'the range 5-1 of the minute goes backwards' },
        { '1,,2 * * * *', 'a list of the minute has a comma too many' },
        { '1, * * * *', 'a list of the minute has a comma too many' },
        { '* * L * *', '"L" is no day of the month' },
        { '-1 * * * *', '"-1" is no minute' },
        { '1-2-3 * * * *', '"1-2-3" is no minute' },
        { '1/2/3 * * * *', '"1/2/3" is no minute' },
        { '0 0 30 2 *', 'that day never comes' },
        { '@never', 'the names are @annually @daily' },
    }

    it('say what is wrong with them', function()
        for _, row in ipairs(errors) do
            local ok, message = pcall(cron.parse, row[1])
            assert.is_false(ok, row[1])
            local expected = ('cron expression "%s": %s'):format(row[1], row[2])
            assert.equal(expected, message:sub(1, #expected))
        end
        assert.is_false((pcall(cron.parse, 5)))
    end)

    -- Whether a minute matches, by the calendar of the system and without any cleverness.
    local function matches(spec, time)
        local date = os.date('!*t', time)
        local in_month, in_week = spec.days[date.day], spec.weekdays[date.wday - 1]
        local day = in_month and in_week
        if spec.either then
            day = in_month or in_week
        end
        return spec.minutes[date.min] and spec.hours[date.hour] and spec.months[date.month] and day
    end

    local function random_field(min, max)
        local kind = math.random(5)
        if kind == 1 then
            return '*'
        elseif kind == 2 then
            return '*/' .. math.random(1, math.ceil(max / 2))
        elseif kind == 3 then
            local from = math.random(min, max)
            return from .. '-' .. math.random(from, max)
        elseif kind == 4 then
            return math.random(min, max) .. ',' .. math.random(min, max)
        end
        return tostring(math.random(min, max))
    end

    it('find what a search minute by minute finds', function()
        local seed = tonumber(os.getenv('PERIGEE_SEED')) or os.time()
        math.randomseed(seed)
        local from, limit = utc('2023-12-25T00:00'), 100000
        for _ = 1, 60 do
            local text = ('%s %s %s %s %s'):format(random_field(0, 59), random_field(0, 23),
                random_field(1, 28), random_field(1, 12), random_field(0, 6))
            local spec, after = cron.parse(text), from + math.random(0, 366 * 1440) * 60
            local found = cron.next(spec, after)
            local time, steps = after + 60, 0
            while not matches(spec, time) and steps < limit do
                time, steps = time + 60, steps + 1
            end
            if steps < limit then
                assert.equal(time, found, ('seed %d: "%s" after %d'):format(seed, text, after))
                local till = found + math.random(0, 100 * 1440) * 60
                local last = found
                while cron.next(spec, last) <= till do
                    last = cron.next(spec, last)
                end
                assert.equal(last, cron.last(spec, after + 60, till), ('seed %d: "%s" from %d to %d')
                    :format(seed, text, after + 60, till))
                assert.is_nil(cron.last(spec, after + 60, found - 1))
            else
                assert.is_true(found == nil or found > after + limit * 60)
            end
        end
    end)
end)
