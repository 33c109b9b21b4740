-- SPDX-License-Identifier: Apache-2.0
-- Gets of many keys at once: for every engine what single gets give, in the same places.
local decimal = require('decimal')
local json = require('json')
local testing = require('testing')

local engines = { 'memory', 'lsm', 'btree' }
local KEYS, STEPS = 120, 60

--- What single gets give.
local function one_by_one(object, keys)
    local found = {}
    for n, key in ipairs(keys) do
        local row = object:get(key)
        found[n] = row == nil and box.NULL or row
    end
    return json.encode(found)
end

local function message_of(fn, ...)
    local ok, problem = pcall(fn, ...)
    assert.is_false(ok)
    return type(problem) == 'table' and problem.message or tostring(problem)
end

describe('many keys', function()
    local s

    after_each(function()
        if box.space.many then
            box.space.many:drop()
        end
    end)

    local function make(engine, parts)
        s = box.schema.space.create('many', {
            engine = engine,
            format = { { 'id', 'unsigned' }, { 'name', 'string' }, { 'value', 'any' } },
        })
        s:create_index('pk', { parts = parts or { 'id' } })
        s:create_index('name', { parts = { 'name' } })
        s:create_index('value', { parts = { { 'id' } }, unique = false })
    end

    for _, engine in ipairs(engines) do
        it('have a tuple or nothing each, in their order: ' .. engine, function()
            make(engine)
            for id = 1, 5 do
                s:insert({ id, 'n' .. id, id * 10 })
            end
            for _ = 1, 2 do
                local found = s:get_many({ 3, 9, { 1 }, 3, 5ULL })
                assert.equal(5, #found)
                assert.equal('[[3,"n3",30],null,[1,"n1",10],[3,"n3",30],[5,"n5",50]]', json.encode(found))
                assert.is_true(found[2] == nil)
                assert.equal('n1', found[3].name)
                assert.equal('[[2,"n2",20],null]', json.encode(s.index.name:get_many({ 'n2', 'x' })))
                assert.equal('[null]', json.encode(s.index.pk:get_many({ 7 })))
                assert.same({}, s:get_many({}))
                box.checkpoint()
            end
        end)

        it('show what the transaction has written: ' .. engine, function()
            make(engine)
            for id = 1, 4 do
                s:insert({ id, 'n' .. id, 0 })
            end
            box.checkpoint()
            box.begin()
            s:replace({ 2, 'new', 1 })
            s:delete(3)
            s:insert({ 8, 'n8', 8 })
            assert.equal('[[8,"n8",8],null,[2,"new",1],[1,"n1",0]]', json.encode(s:get_many({ 8, 3, 2, 1 })))
            assert.equal('[null,[2,"new",1]]', json.encode(s.index.name:get_many({ 'n2', 'new' })))
            box.rollback()
            assert.equal('[null,[3,"n3",0],[2,"n2",0]]', json.encode(s:get_many({ 8, 3, 2 })))
        end)

        it('give what single gets give, whatever is in memory: ' .. engine, function()
            make(engine)
            local random = testing.random(tonumber(os.getenv('PERIGEE_SEED')))
            for step = 1, STEPS do
                local keys, names = {}, {}
                box.begin()
                for n = 1, random:integer(1, KEYS) do
                    local id = random:integer(1, KEYS)
                    keys[n], names[n] = id, 'n' .. random:integer(1, KEYS)
                    if n % 5 == 0 then
                        s:replace({ id, 'n' .. id, step })
                    elseif n % 7 == 0 then
                        s:delete(id)
                    end
                end
                assert.equal(one_by_one(s, keys), json.encode(s:get_many(keys)))
                box.commit()
                assert.equal(one_by_one(s, keys), json.encode(s:get_many(keys)))
                assert.equal(one_by_one(s.index.name, names), json.encode(s.index.name:get_many(names)))
                if step % 20 == 0 then
                    box.checkpoint()
                end
            end
        end)
    end

    it('may have several parts, of any type', function()
        s = box.schema.space.create('many')
        s:create_index('pk', { parts = { { 1, 'string' }, { 2, 'decimal' } } })
        s:insert({ 'a', decimal.new('1.5'), 1 })
        s:insert({ 'b', decimal.new(2), 2 })
        local two = decimal.new(2)
        local keys = { { 'b', two }, { 'a', decimal.new('1.50') }, { 'a', two }, box.tuple.new({ 'b', two }) }
        local found = s:get_many(keys)
        assert.equal(2, found[1][3])
        assert.equal(1, found[2][3])
        assert.is_true(found[3] == nil)
        assert.equal(2, found[4][3])
    end)

    it('say which of them is wrong, and what is right', function()
        make('memory')
        local many = s.get_many
        assert.equal('key 2 of 3: key part 1 of index "pk" of space "many" must be unsigned, not string',
            message_of(many, s, { 1, 'x', 2 }))
        assert.equal('key 1 of 2: index "pk" of space "many" takes a key of 1 part, not 2',
            message_of(many, s, { { 1, 2 }, 1 }))
        assert.equal('key 1 of 1: it is a map, not an array of parts, or the only part',
            message_of(many, s, { { id = 1 } }))
        assert.truthy(message_of(many, s, { 1, box.NULL }):find('key 2 of 2: key part 1', 1, true))
        assert.equal('key 1 of 1: index "value" of space "many" is not unique: use select',
            message_of(s.index.value.get_many, s.index.value, { 1 }))
        assert.truthy(message_of(many, s, { id = 1 }):find('an array is expected, not a map', 1, true))
        assert.equal('get_many needs a table of keys', message_of(many, s, 1))
        assert.equal('get_many needs a table of keys', message_of(many, s))
        assert.equal('get_many has no options: use get, or select, to lock rows',
            message_of(many, s, { 1 }, { lock = 'shared' }))
        assert.truthy(message_of(many, { 1 }):find('use object:get_many', 1, true))
        assert.truthy(message_of(s.index.pk.get_many, nil, { 1 }):find('use object:get_many', 1, true))
    end)

    it('count for the rows that a procedure may look at', function()
        make('memory')
        for id = 1, 9 do
            s:insert({ id, 'n' .. id, 0 })
        end
        box.schema.func.create('some', { rows_max = 10, body = 'return #box.space.many:get_many({...})' })
        assert.equal(10, box.func.some(1, 2, 3, 4, 5, 6, 7, 8, 99, 1))
        assert.equal('procedure some: limit of 10 rows exceeded',
            message_of(box.func.some, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2))
        box.schema.func.drop('some')
    end)

    it('take the memory of rows that a procedure may use', function()
        make('memory')
        s:insert({ 1, ('x'):rep(10000), 0 })
        box.schema.func.create('some', {
            memory = 2e6,
            body = [[function(count)
                local keys = {}
                for n = 1, count do
                    keys[n] = 1
                end
                return #box.space.many:get_many(keys)
            end]],
        })
        assert.equal(20, box.func.some(20))
        local ok, problem = pcall(box.func.some, 1000)
        assert.is_false(ok)
        assert.equal(box.error.MEMORY, problem.code)
        assert.equal(20, box.func.some(20))
        box.schema.func.drop('some')
    end)

    it('of a view are looked for in it, which is gone over once', function()
        make('memory')
        for id = 1, 3 do
            s:insert({ id, 'n' .. id, 0 })
        end
        s:insert({ 4, 'read', 0 })
        box.schema.space.create('seen', { view = [[function()
            local space = box.space.many
            space:update(4, { { '+', 3, 1 } })
            return space:pairs()
        end]] })
        local seen = box.space.seen
        local found = seen:get_many({ 3, { 7 }, { 1, 'n1' }, 3, box.tuple.new({ 2 }), { 1, 'n2' } })
        assert.equal('[[3,"n3",0],null,[1,"n1",0],[3,"n3",0],[2,"n2",0],null]', json.encode(found))
        assert.equal(1, s:get(4).value)
        assert.equal('n3', found[1].name)
        assert.same({}, seen:get_many({}))
        assert.equal('get_many needs a table of keys', message_of(seen.get_many, seen, 3))
        assert.equal('get_many of a view has no options',
            message_of(seen.get_many, seen, { 3 }, { limit = 1 }))
        assert.equal('key 2 of 2: get_many needs a key', message_of(seen.get_many, seen, { 3, box.NULL }))
        seen:drop()
    end)

    it('of a view of Redis are read at one moment', function()
        local strings = box.space._redis_string
        redis.call('set', 'cart', 'x')
        local found = strings:get_many({ { 0, 'cart' }, { 0, 'nothing' } })
        assert.equal(2, #found)
        assert.equal('x', found[1].value)
        assert.is_true(found[2] == nil)
        assert.equal('get_many needs a table of keys', message_of(strings.get_many, strings, 3))
        redis.call('del', 'cart')
    end)
end)
