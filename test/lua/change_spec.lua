-- SPDX-License-Identifier: Apache-2.0
--
-- Changes of spaces with many rows: who makes one waits, and its worker does not. Each row costs a call
-- of a Lua function, so that a change takes many steps.

local fiber = require('fiber')
local test = require('testing')

local ROWS = 20000
local LOWER = { func = 'function(t) return { t.name:lower() } end', parts = { { 1, 'string' } } }

local function fill(s)
    box.atomic(function()
        for i = 1, ROWS do
            s:insert({ i, 'N' .. i })
        end
    end)
end

describe('a change of a filled space', function()
    local s

    before_each(function()
        s = box.schema.space.create('filled', { format = { { 'id', 'unsigned' }, { 'name', 'string' } } })
        s:create_index('primary')
        fill(s)
    end)

    after_each(function() s:drop() end)

    --- Starts `change` and counts the turns of this fiber until it has ended; what it was seen doing.
    local function beside(change)
        local turns, seen = 0, nil
        local other = fiber.new(change)
        other:set_joinable(true)
        fiber.yield()
        while other:status() ~= 'dead' do
            turns = turns + 1
            seen = box.stat.schema()[1] or seen
            s:replace({ ROWS + turns, 'more' .. turns })
            fiber.yield()
        end
        return turns, seen, other:join()
    end

    it('lets other fibers have their turns while an index is built', function()
        local turns, seen, ok = beside(function() s:create_index('lower', LOWER) end)
        assert.is_true(ok)
        assert.is_true(turns > 2)
        assert.same({ 'filled', 'lower' }, { seen.space, seen.index })
        assert.is_true(seen.rows <= ROWS + turns and seen.total >= ROWS)
        assert.same({}, box.stat.schema())
        assert.equal(s:count(), s.index.lower:count())
        assert.equal(ROWS, s.index.lower:get('n' .. ROWS).id)
        assert.equal(ROWS + 1, s.index.lower:get('more1').id)
    end)

    it('lets other fibers have their turns while rows are checked', function()
        local turns, seen, ok = beside(function() s:alter({ constraint = { named = 't.name ~= ""' } }) end)
        assert.is_true(ok)
        assert.is_true(turns > 2)
        assert.same({ 'filled' }, { seen.space, seen.index })
        assert.is_false(pcall(s.replace, s, { 1, '' }))
    end)

    it('names the row that does not fit', function()
        s:replace({ 15000, '' })
        local _, _, ok, err = beside(function() s:alter({ constraint = { named = 't.name ~= ""' } }) end)
        assert.is_false(ok)
        assert.matches('row {15000}', err.message)
        assert.is_nil(s.constraint)
        s:replace({ 1, '' })
    end)

    it('is taken back when its fiber is cancelled', function()
        for _, change in ipairs({
            function() s:create_index('lower', LOWER) end,
            function() s:alter({ constraint = { named = 't.name ~= ""' } }) end,
        }) do
            local other = fiber.new(change)
            other:set_joinable(true)
            fiber.yield()
            assert.equal(1, #box.stat.schema())
            assert.is_false(pcall(s.create_index, s, 'other', { parts = { 'name' } }))
            other:cancel()
            local ok, err = other:join()
            assert.is_false(ok)
            assert.equal('ERROR_CANCELLED', err.name)
            assert.same({}, box.stat.schema())
            assert.is_nil(s.index.lower)
            s:replace({ 1, '' })
            s:replace({ 1, 'N1' })
        end
        s:create_index('lower', LOWER)
        assert.equal(ROWS, s.index.lower:count())
    end)

    it('goes on in a coroutine, which waits where it can', function()
        coroutine.wrap(function() s:create_index('lower', LOWER) end)()
        assert.equal(ROWS, s.index.lower:count())
    end)
end)

describe('a change on a server', function()
    local server

    before_each(function()
        server = test.server({ workers = 1 })
        server:eval([[
            local format = { { 'id', 'unsigned' }, { 'name', 'string' } }
            box.schema.space.create('filled', { format = format }):create_index('primary')]])
        for from = 1, 31001, 1000 do
            server:eval([[local from = ... box.atomic(function()
                for i = from, from + 999 do box.space.filled:insert({ i, 'N' .. i }) end end)]], from)
        end
        server.options.lua_time_max = '200ms'
        server:restart()
    end)
    after_each(function() server:remove() end)

    local CREATE = [[box.space.filled:create_index('lower', {
        func = 'function(t) for _ = 1, 300 do t.name:lower() end return { t.name:lower() } end',
        parts = { { 1, 'string' } },
    })]]
    local DROP = 'local s = box.space.filled if s.index.lower then s.index.lower:drop() end'
    local GOING_ON = 'return #box.stat.schema()'
    local ENTRIES = 'return box.space.filled.index.lower:stat().entries'

    --- What the server answers; asked again when a busy machine has given all of its time to others.
    local function ask(text)
        while true do
            local ok, result = pcall(server.eval, server, text)
            if ok then
                return result
            elseif result.name ~= 'ERROR_TIMEOUT' then
                error(result, 0)
            end
        end
    end

    it('takes longer than a request may run, and the only worker answers others meanwhile', function()
        -- again when the change was over before this process had its turn
        test.eventually(function()
            local answers = 0
            ask(DROP)
            local builder = fiber.new(server.eval, server, CREATE)
            builder:set_joinable(true)
            repeat
                answers = answers + ask(GOING_ON)
            until builder:status() == 'dead'
            local ok, problem = builder:join()
            assert(ok, problem)
            return answers > 2
        end)
        assert.equal(32000, ask(ENTRIES))
    end)

    it('leaves nothing that is in the way of others when its client is gone', function()
        local seen
        repeat -- until it was seen to go on
            ask(DROP)
            local builder = server:connect()
            builder:send('eval', CREATE)
            builder:flush()
            local looks = 0
            repeat
                seen, looks = ask(GOING_ON) == 1, looks + 1
            until seen or looks == 100 -- it was over before, or had none of its time
            builder:close()
        until seen
        while ask(GOING_ON) == 1 do end
        -- again when its time was over behind the change, or a client that has gone had its turn only now
        test.eventually(function()
            ask(DROP)
            server:eval(CREATE)
            return true
        end)
        assert.equal(32000, ask(ENTRIES))
    end)
end)
