-- SPDX-License-Identifier: Apache-2.0
--
-- The queue on a server: many clients on several workers, time that passes when it is told to, and a
-- server that is killed.

local test = require('testing')

describe('queue on a server', function()
    local server

    before_each(function()
        server = test.server({ workers = 2, modules = { 'queue' } })
        server:call('queue.create', 'jobs', { ttr = 100 })
    end)

    after_each(function()
        test.clock:go()
        server:remove()
    end)

    it('gives each task to one of many takers, also to those who wait', function()
        local COUNT, TAKERS = 120, 4
        local taken, count = {}, 0
        test.concurrently(TAKERS + 2, function(n)
            local client = server:connect()
            if n > TAKERS then
                for number = 1, COUNT / 2 do
                    client:call('queue.put', 'jobs', n .. ' ' .. number)
                end
                return
            end
            while count < COUNT do -- who waits when the last is taken gives up after a while
                local task = client:call('queue.take', 'jobs', { timeout = 0.5 })
                if task then
                    assert.is_nil(taken[task.payload])
                    taken[task.payload] = n
                    count = count + 1
                    client:call('queue.ack', 'jobs', task.id, task.attempts)
                end
            end
        end)
        assert.equal(COUNT, count)
        assert.is_nil(server:call('queue.take', 'jobs'))
        assert.equal(0, server:call('queue.stats', 'jobs').taken)
    end)

    it('gives a task again when the time to run is over, whoever notices', function()
        test.manual_clock()
        local id = server:call('queue.put', 'jobs', 'a').id
        assert.equal(1, server:call('queue.take', 'jobs').attempts)
        test.clock:advance(99)
        assert.is_nil(server:call('queue.take', 'jobs'))
        test.clock:advance(2)
        local again = test.eventually(function() return server:call('queue.take', 'jobs') end)
        assert.equal(2, again.attempts)
        assert.error_matches(function() server:call('queue.ack', 'jobs', id, 1) end,
            'attempt 1 of task %d+ .* is over')
        server:call('queue.ack', 'jobs', id, 2)
    end)

    it('loses no task and takes no report back when the server is killed', function()
        local random = test.random()
        local put, acknowledged, left = {}, {}, {}
        server:crash_at('wal.block.flushed:' .. random:integer(5, 60))
        local asked = 0
        repeat
            local ok = pcall(function()
                asked = asked + 1
                put[server:call('queue.put', 'jobs', asked).payload] = true
                if random:once_in(2) then
                    local task = server:call('queue.take', 'jobs')
                    server:call('queue.ack', 'jobs', task.id, task.attempts)
                    acknowledged[task.payload] = true
                end
            end)
        until not ok
        assert.equal(-9, server:wait())
        server:restart()
        for _, task in ipairs(server:eval([[
            local result = {}
            for _, task in box.space.queue_tasks:pairs({ 'jobs' }) do
                result[#result + 1] = task.payload
            end
            return result]])) do
            assert.is_nil(acknowledged[task])
            left[task] = true
        end
        local unsure = 0 -- what was going on when it was killed
        for number in pairs(put) do
            if not acknowledged[number] and not left[number] then
                unsure = unsure + 1
            end
        end
        assert.is_true(unsure <= 1)
    end)
end)
