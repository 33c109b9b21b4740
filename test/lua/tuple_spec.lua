-- SPDX-License-Identifier: Apache-2.0

describe('a tuple', function()
    it('is read field by field', function()
        local t = box.tuple.new({ 1, 'two', 3.5, true, { 1, 2 }, { a = 1 } })
        assert.equal(6, #t)
        assert.same({ 1, 'two', 3.5, true, { 1, 2 }, { a = 1 } }, t:totable())
        assert.same({ 'two', 3.5 }, t:totable(2, 3))
        assert.same({ 'two', 3.5 }, { t:unpack(2, 3) })
        assert.is_nil(t[7])
        assert.is_nil(t[0])
        assert.is_nil(t.nothing)
        assert.is_true(box.tuple.is(t))
        assert.is_false(box.tuple.is({ 1 }))
    end)

    it('tells nil inside from nothing behind', function()
        local t = box.tuple.new({ 1, nil, 3 })
        assert.equal(3, #t)
        assert.is_true(t[2] == nil)
        assert.equal('cdata', type(t[2]))
        assert.equal('nil', type(t[4]))
    end)

    it('keeps the width of integers', function()
        local t = box.tuple.new({
            18446744073709551615ULL, -9223372036854775807LL, 2 ^ 53, 9007199254740993LL,
        })
        assert.equal('18446744073709551615ULL', tostring(t[1]))
        assert.is_true(t[2] == -9223372036854775807LL)
        assert.equal('number', type(t[3]))
        assert.is_true(t[4] == 9007199254740993LL)
    end)

    it('is made of MessagePack and gives it back, bit by bit', function()
        local bytes = '\147\1\203\63\240\0\0\0\0\0\0\196\1\255' -- an integer, 1.0 as a double, bin
        local t, past = box.tuple.from_msgpack('\1' .. bytes .. '\145\2', 2)
        assert.equal(bytes, t:to_msgpack())
        assert.equal(#bytes + 2, past)
        assert.equal(2, box.tuple.from_msgpack('\1' .. bytes .. '\145\2', past)[1])
        for _, wrong in ipairs({ '', '\1', '\146\1', '\129\1\1', '\193' }) do
            assert.is_false((pcall(box.tuple.from_msgpack, wrong)))
        end
        assert.is_false((pcall(box.tuple.from_msgpack, bytes, 0)))
        assert.is_false((pcall(box.tuple.from_msgpack, bytes, 1000)))
        assert.is_false((pcall(box.tuple.from_msgpack, 7)))
    end)

    it('compares by content', function()
        assert.is_true(box.tuple.new({ 1, 'x' }) == box.tuple.new({ 1, 'x' }))
        assert.is_false(box.tuple.new({ 1, 'x' }) == box.tuple.new({ 1, 'y' }))
        assert.is_false(box.tuple.new({ 1 }) == 1)
    end)

    it('is iterated and printed', function()
        local sum = 0
        for position, value in box.tuple.new({ 10, 20 }):ipairs() do
            sum = sum + position * value
        end
        assert.equal(50, sum)
        assert.equal('[1,"x",null]', tostring(box.tuple.new({ 1, 'x', box.NULL })))
    end)

    it('can not be changed', function()
        assert.has_error(function() box.tuple.new({ 1 })[1] = 2 end)
    end)

    it('has fields by name when it comes from a space with a format', function()
        local format = { { 'id', 'unsigned' }, { 'totable', 'string' } }
        local s = box.schema.space.create('named', { format = format })
        s:create_index('pk')
        local t = s:insert({ 1, 'a field' })
        assert.equal(1, t.id)
        assert.equal('a field', t.totable)
        assert.same({ 1, 'a field', id = 1, totable = 'a field' }, t:tomap())
        assert.same({ id = 1, totable = 'a field' }, t:tomap({ names_only = true }))
        s:delete(1)
        assert.equal('a field', t[2])
        s:drop()
    end)

    it('goes where a table goes', function()
        local s = box.schema.space.create('copy')
        s:create_index('pk')
        s:insert(box.tuple.new({ 1, { 2 } }))
        assert.same({ 1, { 2 } }, s:get(1):totable())
        assert.same({ 1, { 2 } }, s:replace(s:get(1)):totable())
        s:drop()
    end)

    describe('of a space', function()
        local s, t

        before_each(function()
            s = box.schema.space.create('nested', {
                format = { { 'id', 'unsigned' }, { 'data', 'map' }, { 'tags', 'array', is_nullable = true } },
            })
            s:create_index('pk')
            t = s:insert({ 1, { address = { city = 'Rome' }, list = { 1, { x = 2 } } }, { 'a', 'b' } })
        end)

        after_each(function() box.space.nested:drop() end)

        it('is read along paths', function()
            assert.equal('Rome', t['data.address.city'])
            assert.equal(2, t['data.list[2].x'])
            assert.equal('b', t['tags[2]'])
            assert.equal('b', t['[3][2]'])
            assert.same({ city = 'Rome' }, t['data.address'])
            assert.equal('Rome', t['data["address"].city'])
            local absent = { 'data.nothing', 'tags[3]', 'nothing.x', 'data..x', 'data.address.city.x', '' }
            for _, path in ipairs(absent) do
                assert.is_nil(t[path])
            end
        end)

        it('is made from a map', function()
            assert.equal('[5,null,["x"]]', tostring(s:frommap({ id = 5, tags = { 'x' } })))
            assert.same({ 5 }, s:frommap({ id = 5 }, { table = true }))
            assert.equal(5, s:frommap({ id = 5 }).id)
            assert.has_error(function() s:frommap({ nothing = 1 }) end)
        end)

        it('tells its format', function()
            assert.equal('data', t:format()[2].name)
            assert.same({}, box.tuple.new({ 1 }):format())
        end)
    end)

    it('finds values', function()
        local t = box.tuple.new({ 'a', 'b', 'a', 5 })
        assert.equal(1, t:find('a'))
        assert.equal(3, t:find(2, 'a'))
        assert.is_nil(t:find('z'))
        assert.same({ 1, 3 }, { t:findall('a') })
        assert.same({ 3 }, { t:findall(2, 'a') })
        assert.same({ 1, 'a' }, { t:next() })
        assert.same({ 4, 5 }, { t:next(3) })
        assert.is_nil(t:next(4))
    end)

    it('is transformed', function()
        local t = box.tuple.new({ 1, 2, 3, 4 })
        assert.same({ 1, 'x', 'y', 4 }, t:transform(2, 2, 'x', 'y'):totable())
        assert.same({ 1, 2, 3, 4, 5 }, t:transform(5, 0, 5):totable())
        assert.same({ 1, 2, 3 }, t:transform(-1, 1):totable())
        assert.same({ 1, 2, 3, 4 }, t:totable())
        assert.has_error(function() t:transform(0, 1) end)
        assert.has_error(function() t:transform(6, 1) end)
    end)

    it('may have a format of its own', function()
        local format = box.tuple.format.new({ { 'x', 'number' }, { 'y', 'map' } })
        assert.is_true(box.tuple.format.is(format))
        assert.is_false(box.tuple.format.is({}))
        local t = box.tuple.new({ 1, { z = 2 } }, { format = format })
        assert.equal(1, t.x)
        assert.equal(2, t['y.z'])
        assert.same({ x = 1, y = { z = 2 } }, t:tomap({ names_only = true }))
        assert.equal('y', t:format()[2].name)
        assert.equal(7, box.tuple.new({ 7 }, { format = { { 'only' } } }).only)
    end)
end)
