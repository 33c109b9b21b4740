-- SPDX-License-Identifier: Apache-2.0

local testing = require('testing')

local function sum(map, names)
    local total = 0
    for _, name in ipairs(names) do
        total = total + map[name]
    end
    return total
end

local HEAP = { 'rows', 'versions', 'entries', 'nodes', 'directories', 'descriptors', 'other' }
local PROCESS = { 'arenas', 'log', 'lua', 'network', 'buffers', 'caches', 'others' }

describe('box.stat.memory', function()
    after_each(function()
        if box.space.counted then
            box.space.counted:drop()
        end
    end)

    local function fill(rows)
        local s = box.schema.space.create('counted')
        s:create_index('pk')
        s:create_index('name', { parts = { { 2, 'string' } } })
        s:create_index('hash', { type = 'hash', parts = { { 3, 'unsigned' } } })
        for i = 1, rows do
            s:insert({ i, 'name' .. i, i })
        end
        return s
    end

    it('adds up', function()
        fill(1000)
        local memory = box.stat.memory()
        assert.equal(memory.used, memory.heap.used)
        assert.equal(memory.heap.used, sum(memory.heap, HEAP))
        assert.equal(memory.total, memory.heap.mapped + memory.heap.huge + memory.process.allocated)
        -- What lies in slabs is the heap's, its large objects are the allocator's, but for the largest.
        local elsewhere = memory.heap.large - memory.heap.huge
        assert.equal(memory.process.allocated, sum(memory.process, PROCESS) + elsewhere)
        assert.equal(memory.heap.mapped, memory.heap.mapped > 0
            and memory.heap.free + memory.heap.used - memory.heap.large or 0)
        assert.is_true(memory.peak > 0 and memory.resident > 0)
        assert.is_true(memory.process.lua > 100000 and memory.process.log > 100000)
    end)

    it('tells what a space has', function()
        local s = fill(1000)
        local space = box.stat.memory().spaces.counted
        assert.equal(1000, space.rows)
        assert.equal(s:bsize(), space.tuples)
        local indexes = 0
        for _, index in ipairs({ s.index.pk, s.index.name, s.index.hash }) do
            indexes = indexes + index:bsize()
        end
        assert.equal(indexes, space.keys + space.entries + space.nodes + space.directories)
        assert.is_true(space.keys > 0 and space.entries > 0 and space.nodes > 0 and space.directories > 0)
        local heap = box.stat.memory.heap
        for _, name in ipairs({ 'entries', 'nodes', 'directories' }) do
            assert.is_true(heap[name] >= space[name], name)
        end
    end)

    it('has nothing of a space that is gone', function()
        local function kinds()
            local heap = box.stat.memory.heap
            return heap.entries, heap.directories, heap.rows
        end
        --- Who has dropped a space frees it as he goes on, and the checkpoint's thread does the rest.
        local function wait_until_little_is_left()
            testing.eventually(function()
                for i = 1, 300 do
                    redis.call('set', 'stirred', i)
                end
                local entries, directories, rows = kinds()
                return entries < 8192 and directories < 8192 and rows < 8192
            end)
        end
        wait_until_little_is_left()
        local s = fill(2000)
        for i = 1, 2000, 2 do
            s:update(i, { { '=', 2, 'other' .. i } })
        end
        local entries, directories, rows = kinds()
        assert.is_true(entries >= 4000 * 16)
        assert.is_true(directories >= 2000 * 8)
        assert.is_true(rows >= 2000 * 16)
        s:drop()
        assert.is_nil(box.stat.memory.spaces.counted)
        wait_until_little_is_left()
    end)

    it('tells what Redis data takes', function()
        local function database()
            for _, one in ipairs(box.stat.memory.redis) do
                if one.database == 0 then
                    return one
                end
            end
            return { rows = 0, tuples = 0 }
        end
        local before = database()
        for i = 1, 100 do
            redis.call('set', 'key' .. i, ('v'):rep(100))
        end
        local after = database()
        assert.equal(before.rows + 100, after.rows)
        assert.is_true(after.tuples >= before.tuples + 100 * 100)
        for i = 1, 100 do
            redis.call('del', 'key' .. i)
        end
        assert.equal(before.rows, database().rows)
    end)

    it('forecasts, as far as it has seen', function()
        local forecast = box.stat.memory.forecast
        assert.is_true(forecast.samples >= 1)
        assert.is_number(forecast.trend)
        assert.is_number(forecast.in_30 + forecast.in_60 + forecast.in_120)
        assert.is_string(forecast.advice)
        assert.is_nil(forecast.limit_in) -- there is no limit
    end)
end)
