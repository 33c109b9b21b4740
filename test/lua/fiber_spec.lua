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
        assert.equal('signalled', channel:get(10))
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
        assert.is_false(both:get(10))
        assert.is_false(both:get(10))
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

    it('tells time by the clock of the database', function()
        local clock = require('clock')
        assert.is_true(fiber.clock() <= clock.monotonic())
        assert.is_true(math.abs(fiber.time() - clock.time()) < 60)
        assert.equal('cdata', type(fiber.time64()))
    end)
end)
