-- SPDX-License-Identifier: Apache-2.0

local fiber = require('fiber')

describe('a fiber of a file', function()
    it('runs while the file sleeps', function()
        local log = {}
        local f = fiber.create(function()
            for n = 1, 3 do
                log[#log + 1] = n
                fiber.sleep(0.001)
            end
        end)
        f:set_joinable(true)
        log[#log + 1] = 'main'
        assert.is_true((f:join()))
        assert.same({ 1, 'main', 2, 3 }, log)
    end)

    it('waits with the file by conditions and channels', function()
        local channel, cond = fiber.channel(), fiber.cond()
        fiber.create(function()
            cond:wait()
            channel:put('signalled')
        end)
        cond:signal()
        assert.equal('signalled', channel:get(60))
    end)

    it('has transactions of its own', function()
        local s = box.schema.space.create('fibers')
        s:create_index('pk')
        local both = fiber.channel(2)
        for n = 1, 2 do
            fiber.create(function()
                for i = 1, 10 do
                    box.atomic(function() s:insert({ n * 100 + i }) end)
                    fiber.yield()
                end
                both:put(box.is_in_txn())
            end)
        end
        assert.is_false(both:get(60))
        assert.is_false(both:get(60))
        assert.equal(20, s:count())
        s:drop()
    end)

    it('waits for a lock that another fiber holds', function()
        local s = box.schema.space.create('locked')
        s:create_index('pk')
        s:insert({ 1, 0 })
        local holder = fiber.new(function()
            box.begin()
            s:get(1, { lock = 'exclusive' })
            s:update(1, { { '+', 2, 1 } })
            box.commit()
        end)
        local other = fiber.new(function() s:update(1, { { '+', 2, 1 } }) end)
        holder:set_joinable(true)
        other:set_joinable(true)
        assert.is_true((holder:join()))
        assert.is_true((other:join()))
        assert.equal(2, s:get(1)[2])
        s:drop()
    end)

    it('lets coroutines wait', function()
        local results = {}
        local f = fiber.new(function()
            for value in coroutine.wrap(function()
                for n = 1, 3 do
                    fiber.sleep(0)
                    coroutine.yield(n)
                end
            end) do
                results[#results + 1] = value
            end
        end)
        f:set_joinable(true)
        assert.is_true((f:join()))
        assert.same({ 1, 2, 3 }, results)
    end)

    it('has a name, a number, and a status', function()
        local inner
        local f = fiber.create(function()
            inner = { id = fiber.id(), status = fiber.status(), found = fiber.find(fiber.id()) }
            assert(fiber.name() == fiber.self():name())
            fiber.name('renamed')
            fiber.sleep(1000)
        end)
        assert.equal(inner.id, f:id())
        assert.equal(f, inner.found)
        assert.equal('running', inner.status)
        assert.equal('suspended', f:status())
        assert.equal('suspended', fiber.status(f))
        assert.equal('renamed', f:name())
        assert.equal('renamed', fiber.info()[f:id()].name)
        f:set_joinable(true)
        f:cancel()
        assert.is_false((f:join()))
        assert.equal('dead', f:status())
        assert.is_nil(fiber.find(inner.id))
        assert.not_equal(inner.id, fiber.self():id())
    end)

    it('is cancelled, woken and joined by its methods', function()
        local begun = false
        local woken = fiber.new(function() begun = true fiber.sleep(1000) return 'woken' end)
        woken:set_joinable(true)
        repeat fiber.yield() until begun
        woken:wakeup()
        assert.same({ true, 'woken' }, { woken:join() })
        local killed = fiber.new(function() fiber.sleep(1000) end)
        killed:set_joinable(true)
        killed:kill()
        assert.is_false((killed:join()))
    end)

    it('is cancelled, woken and joined by the functions of the module', function()
        local function endless()
            while true do
                fiber.testcancel()
                fiber.yield()
            end
        end
        for _, stop in ipairs({ fiber.cancel, fiber.kill }) do
            local f = fiber.new(endless)
            fiber.set_joinable(f, true)
            stop(f)
            local ok, err = fiber.join(f)
            assert.is_false(ok)
            assert.equal('fiber is cancelled', tostring(err))
        end
        local begun = false
        local f = fiber.new(function() begun = true fiber.sleep(1000) return 1 end)
        fiber.set_joinable(f, true)
        repeat fiber.yield() until begun
        fiber.wakeup(f)
        assert.same({ true, 1 }, { fiber.join(f) })
    end)

    it('tells time by the clock of the database', function()
        local clock = require('clock')
        assert.is_true(fiber.clock() <= clock.monotonic())
        assert.is_true(math.abs(fiber.time() - clock.time()) < 60)
        assert.equal('cdata', type(fiber.time64()))
        assert.is_true(fiber.clock64() <= fiber.clock64())
    end)
end)
