-- SPDX-License-Identifier: Apache-2.0

local fiber = require('fiber')

describe('rows that are ingested', function()
    local space

    before_each(function()
        space = box.schema.space.create('taken', {
            engine = 'lsm',
            format = {
                { 'id', 'unsigned' }, { 'name', 'string' }, { 'kind', 'unsigned', is_nullable = true },
            },
        })
        space:create_index('pk')
        space:create_index('name', { parts = { 'name' } })
        space:create_index('kind', { unique = false, parts = { 'kind' } })
    end)

    after_each(function() space:drop() end)

    local function names()
        local list = {}
        for _, tuple in space:pairs() do
            list[#list + 1] = tuple.name
        end
        return table.concat(list, ' ')
    end

    it('come from a list, in any order', function()
        assert.equal(3, space:ingest({ { 3, 'c' }, { 1, 'a' }, box.tuple.new({ 2, 'b', 7 }) }))
        assert.equal('a b c', names())
        assert.equal(2, space.index.kind:select(7)[1].id)
        assert.equal(3, space.index.name:get('c').id)
        assert.is_true(box.verify('taken'))
        assert.equal(0, space:ingest({}))
    end)

    it('come from whatever can be iterated', function()
        local n = 0
        assert.equal(1000, space:ingest(function()
            n = n + 1
            return n <= 1000 and { n, 'name ' .. n, n % 10 } or nil
        end))
        assert.equal(1000, space:count())
        assert.equal(100, space.index.kind:count(3))
        local other = box.schema.space.create('other', { engine = 'lsm' })
        other:create_index('pk')
        assert.equal(1000, other:ingest(space:pairs()))
        assert.equal(10, other:ingest(space.index.kind:pairs(4):take(10)))
        assert.equal(1000, other:count())
        other:drop()
    end)

    it('take the place of rows with their keys', function()
        space:insert({ 1, 'old', 1 })
        space:insert({ 2, 'kept', 1 })
        space:ingest({ { 1, 'new', 2 } })
        assert.equal('new kept', names())
        assert.is_nil(space.index.name:get('old'))
        assert.equal(1, space.index.kind:count(1))
        space:replace({ 1, 'newer', 3 })
        assert.equal('newer kept', names())
        assert.is_true(box.verify('taken'))
    end)

    it('are all there or none', function()
        space:insert({ 9, 'nine' })
        assert.has_error(function() space:ingest({ { 1, 'a' }, { 2, 3 } }) end)
        assert.has_error(function() space:ingest({ { 1, 'a' }, 'b' }) end, 'a tuple or a table is expected')
        assert.has_error(function() space:ingest({ { 1, 'a' }, { 1, 'b' } }) end)
        assert.has_error(function() space:ingest({ { 1, 'a' }, { 2, 'a' } }) end)
        assert.has_error(function() space:ingest({ { 1, 'a' }, { 2, 'nine' } }) end)
        assert.has_error(function()
            space:ingest(function() error('no more', 0) end)
        end, 'no more')
        assert.equal('nine', names())
        space:format({ { 'id', 'unsigned' }, { 'name', 'string' } }) -- nothing holds the space any more
    end)

    it('run no triggers', function()
        space:on_replace("error('it ran')")
        assert.has_error(function() space:insert({ 1, 'a' }) end)
        space:ingest({ { 1, 'a' } })
        assert.equal('a', names())
    end)

    it('are refused when a transaction was begun meanwhile, and the space is free again', function()
        for _, options in ipairs({ { schema = true }, {} }) do
            local given = false
            local ok, failure = pcall(space.ingest, space, function()
                if not given then
                    given = true
                    return { 1, 'a' }
                end
                box.begin(options)
            end)
            box.rollback()
            assert.is_false(ok)
            assert.is_truthy(tostring(failure):find('inside of a transaction', 1, true), tostring(failure))
        end
        assert.equal(1, space:ingest({ { 2, 'b' } }))
        assert.equal('b', names())
    end)

    it('are refused in a table that is no list', function()
        for _, source in ipairs({ { a = 1 }, { [2] = { 1, 'a' } }, { { 1, 'a' }, more = { 2, 'b' } },
            { [0] = { 1, 'a' } }, { [1.5] = { 1, 'a' } } }) do
            local ok, failure = pcall(space.ingest, space, source)
            assert.is_false(ok)
            assert.is_truthy(tostring(failure):find('this table has the key', 1, true), tostring(failure))
        end
        assert.has_error(function() space:ingest({ nil, { 1, 'a' } }) end)
        assert.equal('', names())
    end)

    it('leave the space free when the time of the procedure that gives them is over', function()
        box.schema.func.create('slow', {
            body = 'function() box.space.taken:ingest(function() while true do end end) end',
            timeout = 0.05,
            transaction = false,
        })
        for _ = 1, 2 do
            local ok, failure = pcall(box.func.slow)
            assert.is_false(ok)
            assert.matches('time limit exceeded', failure.message)
            assert.equal(1, space:ingest({ { 1, 'a' } }))
        end
        box.schema.func.drop('slow')
        space:format({ { 'id', 'unsigned' }, { 'name', 'string' } })
    end)

    it('leave the space free when the fiber that gives them is cancelled', function()
        local given = false
        local giver = fiber.create(function()
            space:ingest(function()
                given = true
                fiber.sleep(1000)
            end)
        end)
        giver:set_joinable(true)
        assert.is_true(given)
        assert.has_error(function() space:ingest({ { 1, 'a' } }) end)
        giver:cancel()
        assert.is_false((giver:join()))
        assert.equal(1, space:ingest({ { 1, 'a' } }))
    end)

    it('are counted', function()
        space:ingest({ { 1, 'a' } })
        local stat = box.stat.lsm.taken
        assert.is_true(stat.ingested_bytes > 0)
        assert.is_true(stat.absorbed_bytes >= stat.ingested_bytes)
    end)

    it('are refused where they cannot be', function()
        local function refused(words, fn)
            local ok, failure = pcall(fn)
            assert.is_false(ok)
            assert.is_truthy(tostring(failure):find(words, 1, true), tostring(failure))
        end
        local memory = box.schema.space.create('memory', { engine = 'memory' })
        memory:create_index('pk')
        refused("its engine is not 'lsm'", function() memory:ingest({ { 1 } }) end)
        memory:drop()
        refused('inside of a transaction', function()
            box.atomic(function() space:ingest({ { 1, 'a' } }) end)
        end)
        refused('a list of tuples or an iterator', function() space:ingest(1) end)
        refused('while rows are being ingested', function()
            space:ingest(function() space:create_index('more', { unique = false, parts = { 'id' } }) end)
        end)
        refused('already', function()
            space:ingest(function() space:ingest({ { 1, 'a' } }) end)
        end)
        assert.equal('', names())
    end)
end)
