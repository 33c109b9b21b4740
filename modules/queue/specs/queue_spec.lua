-- SPDX-License-Identifier: Apache-2.0

local fiber = require('fiber')

describe('queue', function()
    local queue

    before_each(function()
        box.module.install('queue')
        queue = require('queue')
        queue.create('jobs')
    end)

    after_each(function()
        box.module.remove('queue', { purge = true })
    end)

    local function payloads(tube, count)
        local result = {}
        for n = 1, count do
            local task = queue.take(tube)
            result[n] = task and task.payload
        end
        return result
    end

    --- As if the time of every task that waits for one had come.
    local function let_time_pass(tube)
        for _, task in box.space.queue_tasks:pairs({ tube }) do
            if task.due > 0 then
                box.space.queue_tasks:update({ tube, task.id }, { { '=', 'due', 1 } })
            end
        end
    end

    it('gives tasks in the order in which they were put, smaller priorities first', function()
        for n = 1, 3 do
            queue.put('jobs', 'late ' .. n, { priority = 5 })
            queue.put('jobs', { n })
        end
        queue.put('jobs', 'soon', { priority = -1 })
        assert.same({ 'soon', { 1 }, { 2 }, { 3 }, 'late 1', 'late 2', 'late 3' }, payloads('jobs', 8))
    end)

    it('gives each task to one taker, whoever asks', function()
        local taken, fibers = {}, {}
        for n = 1, 40 do
            queue.put('jobs', n)
        end
        for n = 1, 8 do
            fibers[n] = fiber.new(function()
                for _ = 1, 5 do
                    local task = queue.take('jobs', { timeout = 10 })
                    assert(not taken[task.payload], 'taken twice')
                    taken[task.payload] = true
                    fiber.yield()
                    queue.ack('jobs', task.id, task.attempts)
                end
            end)
            fibers[n]:set_joinable(true)
        end
        for n = 1, 8 do
            assert.is_true(fibers[n]:join())
        end
        assert.equal(40, #taken)
        assert.equal(0, box.space.queue_tasks:count())
    end)

    it('forgets what is acknowledged, and refuses a second report', function()
        local id = queue.put('jobs', 'a').id
        local task = queue.take('jobs')
        assert.equal(id, task.id)
        assert.equal(1, task.attempts)
        assert.is_true(queue.ack('jobs', id, 1))
        assert.error_matches(function() queue.ack('jobs', id, 1) end, 'there is no task %d+ in tube "jobs"')
        assert.is_nil(queue.take('jobs'))
    end)

    it('tries again what was refused, after a delay if asked', function()
        local id = queue.put('jobs', 'a').id
        queue.take('jobs')
        queue.nack('jobs', id, 1)
        assert.error_matches(function() queue.ack('jobs', id, 1) end,
            'attempt 1 of task %d+ in tube "jobs" is over')
        assert.equal(2, queue.take('jobs').attempts)
        queue.nack('jobs', id, 2, { delay = 1000 })
        assert.is_nil(queue.take('jobs'))
        assert.equal('delayed', queue.peek('jobs', id).state)
        let_time_pass('jobs')
        assert.equal(3, queue.take('jobs').attempts)
    end)

    it('holds back what is delayed until it is due', function()
        queue.put('jobs', 'later', { delay = 1000 })
        queue.put('jobs', 'now')
        assert.same({ 'now' }, payloads('jobs', 2))
        assert.equal(1, queue.stats('jobs').delayed)
        let_time_pass('jobs')
        assert.same({ 'later', 'now' }, payloads('jobs', 2))
    end)

    it('makes ready again what nobody has reported in time; the late report is refused', function()
        local id = queue.put('jobs', 'a', { ttr = 1000 }).id
        queue.take('jobs')
        let_time_pass('jobs')
        assert.error_matches(function() queue.ack('jobs', id, 1) end, 'is over')
        local again = queue.take('jobs')
        assert.equal(2, again.attempts)
        assert.error_matches(function() queue.ack('jobs', id, 1) end, 'attempt 1 .* is over')
        assert.is_true(queue.ack('jobs', id, 2))
    end)

    it('gives more time to who asks for it', function()
        local id = queue.put('jobs', 'a', { ttr = 50 }).id
        local before = queue.take('jobs').due
        assert.is_true(queue.touch('jobs', id, 1, 1000) > before + 900)
        assert.is_true(queue.peek('jobs', id).due > before + 900)
    end)

    it('sends to the dead letters what has failed too often', function()
        queue.create('dead')
        queue.create('fragile', { max_attempts = 2, dead_letter = 'dead' })
        local id = queue.put('fragile', 'a').id
        queue.take('fragile')
        queue.nack('fragile', id, 1)
        queue.take('fragile')
        let_time_pass('fragile')
        assert.is_nil(queue.take('fragile'))
        assert.is_nil(queue.peek('fragile', id))
        local letter = queue.take('dead')
        assert.equal('a', letter.payload)
        assert.equal(id, letter.id)
        assert.equal('fragile', letter.origin.tube)
        assert.equal(2, letter.origin.attempts)
        assert.equal('its time to run was over', letter.origin.reason)
    end)

    it('buries what has failed too often when there are no dead letters', function()
        queue.create('fragile', { max_attempts = 1 })
        local id = queue.put('fragile', 'a').id
        queue.take('fragile')
        queue.nack('fragile', id, 1)
        assert.equal(1, queue.stats('fragile').buried)
        assert.is_nil(queue.take('fragile'))
        assert.equal(1, queue.kick('fragile', 10))
        assert.equal(1, queue.take('fragile').attempts)
        queue.bury('fragile', id, 1)
        assert.equal('buried', queue.peek('fragile', id).state)
        assert.is_true(queue.delete('fragile', id))
        assert.is_false(queue.delete('fragile', id))
    end)

    it('wakes who waits when something is put, or becomes due', function()
        local waiter = fiber.new(function() return queue.take('jobs', { timeout = 1000 }).payload end)
        waiter:set_joinable(true)
        fiber.sleep(0.01)
        queue.put('jobs', 'a')
        assert.same({ true, 'a' }, { waiter:join() })
        queue.put('jobs', 'b', { delay = 0.02 })
        assert.equal('b', queue.take('jobs', { timeout = 1000 }).payload)
        assert.is_nil(queue.take('jobs', { timeout = 0.01 }))
    end)

    it('is a part of the transaction that goes on', function()
        box.begin()
        queue.put('jobs', 'never')
        box.rollback()
        assert.is_nil(queue.take('jobs'))
        box.atomic(function()
            queue.put('jobs', 'a')
            assert.equal('a', queue.take('jobs', { timeout = 1000 }).payload)
            assert.is_nil(queue.take('jobs', { timeout = 1000 }))
        end)
        assert.equal(1, queue.stats('jobs').taken)
    end)

    it('moves what is due in the background', function()
        queue.create('dead')
        queue.create('fragile', { max_attempts = 1, dead_letter = 'dead' })
        queue.put('fragile', 'a')
        queue.take('fragile')
        let_time_pass('fragile')
        assert.equal('a', queue.take('dead', { timeout = 1000 }).payload)
    end)

    it('drops tubes with all that is in them, but not one that has the dead letters of another', function()
        queue.create('dead')
        queue.create('fragile', { max_attempts = 1, dead_letter = 'dead' })
        queue.put('fragile', 'a')
        assert.error_matches(function() queue.drop('dead') end, 'the dead letters of "fragile" go to "dead"')
        queue.drop('fragile')
        queue.drop('dead')
        assert.same({ 'jobs' }, queue.list())
        assert.equal(0, box.space.queue_tasks:count())
    end)

    it('says what is wrong', function()
        local function check(text, fn)
            assert.error_matches(fn, text)
        end
        check('there is no tube "nothing"', function() queue.put('nothing', 1) end)
        check('there is no tube "nothing"', function() queue.take('nothing') end)
        check('tube "jobs" exists', function() queue.create('jobs') end)
        check('there is no option "colour"', function() queue.put('jobs', 1, { colour = 'red' }) end)
        check('delay is a number from 0, not %-1', function() queue.put('jobs', 1, { delay = -1 }) end)
        check('priority is a whole number, not 1.5', function() queue.put('jobs', 1, { priority = 1.5 }) end)
        check('the attempt is a number from 1, not nil', function() queue.ack('jobs', 1) end)
        check('there is no tube "nothing"', function() queue.create('a', { dead_letter = 'nothing' }) end)
        queue.create('jobs', { if_not_exists = true })
    end)

    it('has commands with words for options', function()
        local commands = queue.commands
        commands.create('words', 'TTR', '500', 'maxattempts', '3')
        assert.equal(500, queue.stats('words').ttr)
        local id = commands.put('words', 'a', 'PRIORITY', '2', 'DELAY', '0')
        assert.equal(2, queue.peek('words', id).priority)
        assert.equal(id, commands.take('words', 'TIMEOUT', '0').id)
        assert.is_true(commands.nack('words', tostring(id), '1', 'DELAY', '100'))
        assert.error_matches(function() commands.put('words', 'a', 'SIZE', '1') end,
            'SIZE: after the arguments come DELAY, PRIORITY, TTR, each with a value')
    end)
end)
