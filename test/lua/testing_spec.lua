-- SPDX-License-Identifier: Apache-2.0

local fiber = require('fiber')
local test = require('testing')

describe('a server of a spec', function()
    local server

    before_each(function() server = test.server({ workers = 2, options = { lock_timeout = '50s' } }) end)
    after_each(function() server:remove() end)

    it('evaluates, calls, and says where it is', function()
        assert.equal(3, server:eval('return ... + 1', 2))
        server:eval("box.schema.func.create('twice', { body = 'function(n) return n * 2 end' })")
        assert.equal(8, server:call('twice', 4))
        assert.matches('^127%.0%.0%.1:%d+$', server.address)
        assert.equal('2', server:eval('return box.cfg.workers'))
        assert.equal('50s', server:eval('return box.cfg.lock_timeout'))
        assert.equal('1min', server:eval('return box.cfg.lua_time_max')) -- more than others have
        local db = server:connect()
        assert.equal('pong', db:ping())
        db:close()
    end)

    it('keeps what was acknowledged when it is killed, stopped or started again', function()
        server:eval("box.schema.space.create('s'):create_index('pk')")
        server:eval('box.space.s:insert({ 1 })')
        server:kill()
        assert.error_matches(function() server:eval('return 1') end, 'does not run')
        server:restart()
        server:eval('box.space.s:insert({ 2 })')
        server:restart()
        assert.equal(2, server:eval('return box.space.s:count()'))
        server:stop()
        assert.error_matches(function() server:connect() end, 'does not run')
        server:restart()
        assert.equal(2, server:eval('return box.space.s:count()'))
    end)

    it('dies at a crash point', function()
        server:eval("box.schema.space.create('s'):create_index('pk')")
        server:crash_at('wal.block.flushed')
        local ok, problem = pcall(server.eval, server, 'box.space.s:insert({ 1 })')
        assert.is_false(ok)
        assert.equal('CLIENT_LOST', problem.name)
        assert.equal(-9, server:wait())
        server:restart()
        assert.equal(1, server:eval('return box.space.s:count()'))
    end)

    it('refuses what it does not know', function()
        assert.error_matches(function() server:crash_at('nowhere') end,
            'there is no crash point "nowhere"; there are: .*wal%.block%.half')
        assert.error_matches(function() server:crash_at('wal.block.half:0') end, 'the number of the pass')
        assert.error_matches(function() test.server({ colour = 1 }) end, 'takes workers, options and modules')
        assert.error_matches(function() test.server({ options = { dir = '/' } }) end,
            "the option dir is the server's own")
        assert.error_matches(function() test.server({ options = { colour = 1 } }) end,
            "it does not start.*colour")
    end)

    it('raises the errors of the server', function()
        local ok, problem = pcall(server.call, server, 'nothing')
        assert.is_false(ok)
        assert.equal('ERROR_NOT_FOUND', problem.name)
    end)

    it('has many clients at once', function()
        server:eval("box.schema.space.create('s'):create_index('pk'); box.space.s:insert({ 1, 0 })")
        server:eval('box.schema.func.create(...)', 'add', {
            body = "function() box.space.s:update(1, { { '+', 2, 1 } }) end",
        })
        local results = test.concurrently(10, function(n)
            for _ = 1, 20 do server:call('add') end
            return n
        end)
        assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, results)
        assert.equal(200, server:eval('return box.space.s:get(1)[2]'))
    end)

    it('has interactive transactions that meet', function()
        server:eval("box.schema.space.create('s'):create_index('pk'); box.space.s:insert({ 1, 0 })")
        local one, other = server:connect(), server:connect()
        local first = one:begin()
        first:eval("box.space.s:update(1, { { '=', 2, 5 } })")
        local waits = fiber.new(function()
            return other:eval("return box.space.s:update(1, { { '+', 2, 1 } })[2]")
        end)
        waits:set_joinable(true)
        fiber.yield()
        first:commit()
        assert.same({ true, 6 }, { waits:join() })
        one:close()
        other:close()
    end)
end)

describe('the time of a spec', function()
    before_each(test.manual_clock)
    after_each(function() test.clock:go() end)

    it('stands still until it is moved on', function()
        local before = box.now()
        assert.equal(before, box.now())
        test.clock:advance(86400)
        assert.is_true(math.abs(box.now() - before - 86400) < 0.002)
    end)

    it('wakes those who sleep', function()
        local woken = {}
        for n = 1, 3 do
            fiber.create(function()
                fiber.sleep(n * 3600)
                woken[#woken + 1] = n
            end)
        end
        test.clock:advance(3599)
        assert.same({}, woken)
        test.clock:advance(2)
        test.eventually(function() return #woken == 1 end)
        test.clock:advance(7200)
        test.eventually(function() return #woken == 3 end)
    end)

    it('is the time of servers, too, and of keys that expire', function()
        local server = test.server({ workers = 1 })
        local here, there = box.now(), server:eval('return box.now()')
        assert.is_true(math.abs(here - there) < 0.002)
        server:eval("redis.call('set', 'key', 'value', 'EX', 3600)")
        test.clock:advance(3599)
        assert.equal('value', server:eval("return redis.call('get', 'key')"))
        server:restart()
        assert.equal('value', server:eval("return redis.call('get', 'key')"))
        test.clock:advance(2)
        assert.is_not.equal('value', server:eval("return redis.call('get', 'key')"))
        server:remove()
    end)

    it('moves on while a procedure of a server sleeps', function()
        local server = test.server({ workers = 1 })
        server:eval('box.schema.func.create(...)', 'nap', {
            transaction = false,
            body = "function() require('fiber').sleep(3600) return 'awake' end",
        })
        local sleeper = fiber.new(function() return server:call('nap') end)
        sleeper:set_joinable(true)
        test.eventually(function()
            test.clock:advance(600)
            return sleeper:status() == 'dead'
        end)
        assert.same({ true, 'awake' }, { sleeper:join() })
        server:remove()
    end)

    it('never goes back', function()
        local last = fiber.clock()
        local function check()
            local now = fiber.clock()
            assert.is_true(now >= last)
            last = now
        end
        test.clock:advance(10)
        check()
        test.clock:go()
        check()
        test.clock:advance(5)
        check()
        test.clock:stop()
        check()
        assert.error_matches(function() test.clock:advance(-1) end, 'clock:advance%(seconds%)')
    end)
end)

describe('helpers of a spec', function()
    it('wait for a condition, and say what it did last', function()
        local times = 0
        assert.equal('done', test.eventually(function()
            times = times + 1
            return times == 3 and 'done'
        end))
        assert.error_matches(function()
            test.eventually(function() error('not there', 0) end, 0)
        end, 'not even after 0 seconds; the last time: not there')
    end)

    it('raise the first error of those who run at once, when all have ended', function()
        local ended = 0
        assert.error_matches(function()
            test.concurrently(3, function(n)
                fiber.yield()
                ended = ended + 1
                if n == 2 then error('the second', 0) end
            end)
        end, 'the second')
        assert.equal(3, ended)
    end)

    it('give the same numbers for the same seed', function()
        local function draw(random)
            local list = {}
            for n = 1, 50 do list[n] = random:integer(1, 6) end
            return list, random:shuffle({ 1, 2, 3, 4, 5 }), random:pick({ 'a', 'b' }), random:once_in(2)
        end
        assert.same({ draw(test.random(7)) }, { draw(test.random(7)) })
        assert.is_not.same({ draw(test.random(7)) }, { draw(test.random(8)) })
        local counts = {}
        local random = test.random()
        for _ = 1, 6000 do
            local n = random:integer(1, 6)
            counts[n] = (counts[n] or 0) + 1
        end
        for n = 1, 6 do assert.is_true(counts[n] > 700) end
        local order = random:shuffle({ 3, 1, 2 })
        table.sort(order)
        assert.same({ 1, 2, 3 }, order)
    end)
end)
