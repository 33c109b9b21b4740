-- SPDX-License-Identifier: Apache-2.0

local fiber = require('fiber')

describe('schedule', function()
    local schedule
    local START = 1700000000 - 1700000000 % 3600 -- a full hour

    before_each(function()
        box.schema.space.create('beats'):create_index('pk', { parts = { { 1, 'unsigned' } } })
        box.schema.func.create('beat', { body = [[function(what)
            if what == 'fail' then
                box.space.beats:insert({ 1000, 'never' })
                error('no')
            end
            box.space.beats:insert({ box.space.beats:count() + 1, what })
        end]] })
        box.schema.func.create('nap', { transaction = false, body = [[function()
            while not box.space.beats:get(1000) do
                require('fiber').sleep(0.001)
            end
            box.space.beats:insert({ box.space.beats:count() + 1, 'nap' })
        end]] })
        box.module.install('schedule', { options = { paused = true } })
        schedule = require('schedule')
    end)

    after_each(function()
        box.module.remove('schedule', { purge = true })
        box.schema.func.drop('beat')
        box.schema.func.drop('nap')
        box.space.beats:drop()
    end)

    local function create(options)
        options.func = options.func or 'beat'
        options.args = options.args or { 'x' }
        options.start = START
        return schedule.create('job', options)
    end

    local function beats()
        return box.space.beats:count()
    end

    it('runs a procedure each time it is due, and no oftener', function()
        assert.equal(START, create({ every = 10 }))
        assert.equal(0, schedule.run_due(START - 1))
        assert.equal(1, schedule.run_due(START))
        assert.equal(0, schedule.run_due(START))
        assert.equal(0, schedule.run_due(START + 9))
        assert.equal(1, schedule.run_due(START + 10.5))
        assert.equal(2, beats())
        assert.equal('x', box.space.beats:get(1)[2])
        assert.equal(START + 20, schedule.next('job'))
        local history = schedule.history('job')
        assert.same({ START + 10, START }, { history[1].due, history[2].due })
        assert.equal('done', history[1].state)
    end)

    it('runs by cron expressions, at an offset', function()
        assert.equal(START + 900, create({ cron = '15,45 * * * *' }))
        schedule.run_due(START + 900)
        assert.equal(START + 2700, schedule.next('job'))
        schedule.run_due(START + 2700)
        assert.equal(START + 4500, schedule.next('job'))
        local midnight = schedule.create('day',
            { cron = '@daily', func = 'beat', start = START, offset = 120 })
        assert.equal(22, os.date('!*t', midnight).hour)
    end)

    it('does with missed times what it was told', function()
        create({ every = 100, misfire = 'skip' })
        assert.equal(0, schedule.run_due(START + 550))
        assert.equal(START + 600, schedule.next('job'))
        assert.equal(1, schedule.info('job').missed)
        assert.equal(1, schedule.run_due(START + 610)) -- late, but within the grace
        schedule.drop('job')

        create({ every = 100, misfire = 'once' })
        assert.equal(1, schedule.run_due(START + 550))
        assert.equal(START + 500, schedule.history('job')[1].due)
        assert.equal(START + 600, schedule.next('job'))
        schedule.drop('job')

        create({ every = 100, misfire = 'all' })
        local before = beats()
        for _ = 1, 6 do
            assert.equal(1, schedule.run_due(START + 550))
        end
        assert.equal(0, schedule.run_due(START + 550))
        assert.equal(before + 6, beats())
        assert.equal(START + 600, schedule.next('job'))
        schedule.drop('job')

        create({ cron = '0 * * * *', misfire = 'once' })
        assert.equal(1, schedule.run_due(START + 400 * 86400 + 1800))
        assert.equal(START + 400 * 86400, schedule.history('job')[1].due)
    end)

    it('records a failure, of which nothing is left, and goes on', function()
        create({ every = 10, args = { 'fail' } })
        assert.equal(1, schedule.run_due(START))
        assert.equal(0, beats())
        local run = schedule.history('job')[1]
        assert.equal('failed', run.state)
        assert.is_truthy(run.error:find('no', 1, true))
        assert.equal(1, schedule.info('job').failures)
        assert.equal(START + 10, schedule.next('job'))
        box.schema.func.create('gone', { body = 'function() end' })
        schedule.create('other', { every = 10, func = 'gone', start = START })
        box.schema.func.drop('gone')
        schedule.run_due(START)
        assert.equal('failed', schedule.history('other')[1].state)
    end)

    it('runs once when many look at once', function()
        create({ every = 10 })
        local fibers, count = {}, 0
        for n = 1, 5 do
            fibers[n] = fiber.new(function() count = count + schedule.run_due(START) end)
            fibers[n]:set_joinable(true)
        end
        for n = 1, 5 do
            assert.is_true(fibers[n]:join())
        end
        assert.equal(1, count)
        assert.equal(1, beats())
    end)

    it('lets a procedure sleep, and does not run it beside itself', function()
        create({ every = 10, func = 'nap' })
        assert.equal(1, schedule.run_due(START))
        fiber.sleep(0)
        assert.equal('running', schedule.history('job')[1].state)
        assert.equal(0, schedule.run_due(START + 10))
        box.space.beats:insert({ 1000, 'it may go on' })
        while schedule.history('job')[1].state == 'running' do
            fiber.sleep(0.001)
        end
        assert.equal('done', schedule.history('job')[1].state)
        assert.equal(2, beats())
        assert.equal(1, schedule.run_due(START + 10))
        while beats() < 3 do
            fiber.sleep(0.001)
        end
    end)

    it('can be switched off and on', function()
        create({ every = 10 })
        schedule.disable('job')
        assert.is_nil(schedule.next('job'))
        assert.equal(0, schedule.run_due(START + 100))
        local before = box.now()
        assert.is_true(schedule.enable('job') > before)
        assert.is_false(schedule.create('off', { func = 'beat', every = 1, enabled = false }) ~= nil)
        assert.equal(2, #schedule.list())
        schedule.drop('off')
        assert.equal('job', schedule.list()[1].name)
    end)

    it('remembers so many runs', function()
        box.module.options('schedule', { history_max = 3 })
        create({ every = 10, misfire = 'all' })
        for n = 0, 9 do
            schedule.run_due(START + 10 * n)
        end
        assert.equal(3, #schedule.history('job', 100))
        assert.equal(10, schedule.info('job').runs)
    end)

    it('runs by itself in the background', function()
        box.module.options('schedule', { paused = false, look = 0.01 })
        schedule.create('job', { every = 0.02, func = 'beat', args = { 'x' } })
        while beats() < 3 do
            fiber.sleep(0.001)
        end
        assert.is_true(schedule.info('job').runs >= 3)
    end)

    it('says what is wrong', function()
        local function check(text, name, options)
            assert.error_matches(function() schedule.create(name, options) end, text)
        end
        check('needs the name of a procedure', 'a', { every = 1 })
        check('there is no procedure "nothing"', 'a', { every = 1, func = 'nothing' })
        check('either by cron', 'a', { func = 'beat' })
        check('either by cron', 'a', { func = 'beat', every = 1, cron = '* * * * *' })
        check('the minute is from 0 to 59, not 61', 'a', { func = 'beat', cron = '61 * * * *' })
        check('every is a number of seconds from 0.001', 'a', { func = 'beat', every = 0 })
        check('misfire is skip, once or all', 'a', { func = 'beat', every = 1, misfire = 'no' })
        check('there is no option "evry"', 'a', { func = 'beat', evry = 1 })
        check('every is a number', 'a', { func = 'beat', every = '1' })
        assert.error_matches(function() schedule.next('nothing') end, 'there is no job "nothing"')
    end)
end)
