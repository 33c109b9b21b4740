-- SPDX-License-Identifier: Apache-2.0
-- Secondary indexes of spaces whose rows leave memory: random statements on such a space and on one of
-- engine 'memory' give the same, with checkpoints in between. PERIGEE_SEED repeats a run.
local json = require('json')
local testing = require('testing')

local engines = { 'lsm', 'btree' }
local STEPS, CHECKPOINT_EVERY = 1500, 40

local function make(name, engine)
    local space = box.schema.space.create(name, { engine = engine })
    space:create_index('primary', { parts = { { 1, 'unsigned' } } })
    space:create_index('second', { parts = { { 2, 'unsigned' } }, unique = false })
    space:create_index('third', { parts = { { 3, 'string' } } })
    space:create_index('many', { parts = { { '[4][*]', 'unsigned' } }, unique = false })
    space:create_index('some', { parts = { { 2, 'unsigned' } }, unique = false, condition = { 1, '<', 30 } })
    return space
end

local function shown(ok, result)
    if not ok then
        return (tostring(result):gsub('space "%w+"', 'the space'))
    end
    return json.encode(result == nil and json.NULL or result)
end

local function random_statement(random)
    local key, value, text = random(60), random(10), 'u' .. random(80)
    local row = { key, value, text, { random(8), random(8) } }
    local iterators = { 'EQ', 'REQ', 'GE', 'GT', 'LE', 'LT', 'ALL' }
    local how = { iterator = iterators[random(#iterators)], limit = random(20) }
    local statements = {
        function(space) return space:replace(row) end,
        function(space) return space:replace(row) end,
        function(space) return space:insert(row) end,
        function(space) return space:delete({ key }) end,
        function(space) return space:update({ key }, { { '=', 2, value } }) end,
        function(space) return space:upsert(row, { { '=', 3, text } }) end,
        function(space) return space.index.third:delete({ text }) end,
        function(space) return space.index.third:update({ text }, { { '+', 2, 1 } }) end,
        function(space) return space.index.third:get({ text }) end,
        function(space) return space.index.second:select({ value }, how) end,
        function(space) return space.index.many:select({ value }, how) end,
        function(space) return space.index.some:select({ value }, how) end,
        function(space) return space.index.third:select({ text }, how) end,
        function(space) return space:count() end,
    }
    return statements[random(#statements)]
end

describe('secondary indexes of an engine whose rows leave memory', function()
    for _, engine in ipairs(engines) do
        it(engine .. ': give what those of engine memory give', function()
            local random = testing.random(tonumber(os.getenv('PERIGEE_SEED')))
            local function below(bound) return random:integer(1, bound) end
            local kept, left = make('kept', 'memory'), make('left', engine)
            for step = 1, STEPS do
                local statement = random_statement(below)
                local expected, found = shown(pcall(statement, kept)), shown(pcall(statement, left))
                assert.equal(expected, found, 'step ' .. step)
                if step % CHECKPOINT_EVERY == 0 then
                    box.checkpoint()
                end
            end
            for _, name in ipairs({ 'primary', 'second', 'third', 'many', 'some' }) do
                local how = { limit = 1000 }
                local expected = shown(true, kept.index[name]:select({}, how))
                assert.equal(expected, shown(true, left.index[name]:select({}, how)))
            end
            kept:drop()
            left:drop()
        end)

        it(engine .. ': give long ranges of rows that have left and of those written since', function()
            local random = testing.random(tonumber(os.getenv('PERIGEE_SEED')))
            local kept, left = make('kept', 'memory'), make('left', engine)
            local function both(change)
                change(kept)
                change(left)
            end
            both(function(space)
                for id = 1, 3000 do
                    space:replace({ id, id * 7919 % 100, 'u' .. id, { id % 50 } })
                end
            end)
            for _ = 1, 5 do
                box.checkpoint()
                local first, value = random:integer(1, 2900), random:integer(0, 99)
                both(function(space)
                    for id = first, first + 50 do
                        space:update({ id }, { { '=', 2, value } })
                        space:delete({ id + 70 })
                    end
                end)
                local ways = { { limit = 1 }, { limit = 2 }, { limit = 17 }, { limit = 300, offset = 40 }, {},
                    { iterator = 'REQ' }, { iterator = 'GE', limit = 200 }, { iterator = 'LT', limit = 400 } }
                for _, how in ipairs(ways) do
                    local key = random:integer(0, 1) == 1 and value or random:integer(0, 99)
                    local rows = shown(true, kept.index.second:select({ key }, how))
                    assert.equal(rows, shown(true, left.index.second:select({ key }, how)))
                    assert.equal(kept.index.many:count({ key % 50 }), left.index.many:count({ key % 50 }))
                end
                local expected, found = {}, {}
                for _, row in kept.index.second:pairs({ value }, { iterator = 'GE' }) do
                    expected[#expected + 1] = row[1]
                end
                for _, row in left.index.second:pairs({ value }, { iterator = 'GE' }) do
                    found[#found + 1] = row[1]
                    if #found == 100 then
                        box.checkpoint() -- the walk goes on in another picture
                    end
                end
                assert.same(expected, found)
            end
            kept:drop()
            left:drop()
        end)

        it(engine .. ': are made of rows that have left, and of those that have not', function()
            local random = testing.random(tonumber(os.getenv('PERIGEE_SEED')))
            local function below(bound) return random:integer(1, bound) end
            local kept, left = make('kept', 'memory'), make('left', engine)
            for step = 1, 600 do
                local statement = random_statement(below)
                assert.equal(shown(pcall(statement, kept)), shown(pcall(statement, left)), 'step ' .. step)
                if step % 200 == 0 then
                    if below(2) == 1 then
                        box.checkpoint()
                    end
                    for _, space in ipairs({ kept, left }) do
                        space.index.many:drop()
                        space.index.some:drop()
                        space.index.third:drop()
                        space:create_index('some', { parts = { { 2, 'unsigned' } }, unique = false,
                            condition = { 1, '<', 30 } })
                        space:create_index('third', { parts = { { 3, 'string' } } })
                        space:create_index('many', { parts = { { '[4][*]', 'unsigned' } }, unique = false })
                    end
                    assert.is_true(box.verify('left'))
                    for _, name in ipairs({ 'second', 'third', 'many', 'some' }) do
                        left.index[name]:rebuild()
                    end
                    assert.is_true(box.verify('left'))
                end
            end
            for _, name in ipairs({ 'primary', 'second', 'third', 'many', 'some' }) do
                local how = { limit = 1000 }
                local expected = shown(true, kept.index[name]:select({}, how))
                assert.equal(expected, shown(true, left.index[name]:select({}, how)))
            end
            kept:drop()
            left:drop()
        end)

        it(engine .. ': say of rows in the files which have one key', function()
            local space = box.schema.space.create('left', { engine = engine })
            space:create_index('primary', { parts = { { 1, 'unsigned' } } })
            for id = 1, 100 do space:insert({ id, id % 99 }) end
            box.checkpoint()
            local ok, err = pcall(space.create_index, space, 'late', { parts = { { 2, 'unsigned' } } })
            assert.is_false(ok)
            assert.equal('ERROR_DUPLICATE', err.name)
            assert.matches('row {100} has a key of another one', tostring(err))
            assert.is_nil(space.index.late)
            space:delete({ 100 })
            space:create_index('late', { parts = { { 2, 'unsigned' } } })
            assert.equal(7, space.index.late:get({ 7 })[1])
            assert.is_false((pcall(space.insert, space, { 1000, 7 })))
            space:drop()
        end)

        it(engine .. ': are not made of rows within a schema transaction', function()
            local space = box.schema.space.create('left', { engine = engine })
            space:create_index('primary', { parts = { { 1, 'unsigned' } } })
            space:insert({ 1, 1 })
            local ok, err = pcall(box.atomic, { schema = true }, function()
                space:create_index('late', { parts = { { 2, 'unsigned' } } })
            end)
            assert.is_false(ok)
            assert.matches('made outside of a schema transaction', tostring(err))
            space:drop()
        end)
    end
end)
