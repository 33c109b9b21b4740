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
end)
