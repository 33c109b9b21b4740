-- SPDX-License-Identifier: Apache-2.0

describe('a sequence', function()
    local q

    before_each(function()
        q = box.schema.sequence.create('numbers', { start = 10, step = 5 })
    end)

    after_each(function()
        box.rollback()
        for _, name in ipairs({ 'people', 'other' }) do
            if box.space[name] then box.space[name]:drop() end
        end
        for _, name in ipairs({ 'numbers', 'people_seq' }) do
            box.schema.sequence.drop(name, { if_exists = true })
        end
    end)

    it('gives numbers', function()
        assert.equal(10, q:next())
        assert.equal(15, box.sequence.numbers:next())
        assert.equal(15, q:current())
        assert.equal(q.id, box.sequence[q.id].id)
        assert.is_nil(box.sequence.nothing)
        assert.equal(5, q.step)
        assert.is_false(q.cycle)
    end)

    it('is set, begins anew, and is altered', function()
        assert.has_error(function() q:current() end)
        q:set(100)
        assert.equal(105, q:next())
        q:reset()
        assert.equal(10, q:next())
        q:alter({ step = 1 })
        assert.equal(11, q:next())
        assert.equal(10, q.start)
        q:alter({ max = 11 })
        local ok, err = pcall(q.next, q)
        assert.is_false(ok)
        assert.matches('"numbers" has come to its end', err.message)
        q:alter({ cycle = true, min = 3 })
        assert.equal(3, q:next())
    end)

    it('keeps 64 bits', function()
        local wide = box.schema.sequence.create('people_seq', { start = 9007199254740993LL })
        assert.is_true(wide:next() == 9007199254740993LL)
        wide:set(9223372036854775806LL)
        assert.is_true(wide:next() == 9223372036854775807LL)
        assert.has_error(function() wide:next() end)
    end)

    it('is not rolled back', function()
        box.begin()
        assert.equal(10, q:next())
        box.rollback()
        assert.equal(15, q:next())
    end)

    it('refuses what makes no sense', function()
        assert.has_error(function() box.schema.sequence.create('numbers') end)
        assert.equal(q.id, box.schema.sequence.create('numbers', { if_not_exists = true }).id)
        local senseless = { { step = 0 }, { min = 5, max = 4 }, { start = -1 }, { what = 1 }, { cycle = 5 } }
        for _, options in ipairs(senseless) do
            assert.has_error(function() box.schema.sequence.create('people_seq', options) end)
        end
        assert.has_error(function() box.schema.sequence.drop('nothing') end)
        assert.has_error(function() q:set('x') end)
        assert.has_error(function() q.next() end)
    end)

    it('fills the primary key where nil stands', function()
        local s = box.schema.space.create('people', {
            format = { { 'id', 'unsigned' }, { 'name', 'string' } },
        })
        s:create_index('pk', { sequence = 'numbers' })
        assert.equal(10, s:insert({ nil, 'ann' }).id)
        assert.equal(15, s:replace({ box.NULL, 'bob' }).id)
        assert.equal(20, s:insert({ 20, 'cat' }).id)
        assert.equal(25, s:insert({ box.NULL, 'dan' }).id)
        local ok, err = pcall(q.drop, q)
        assert.is_false(ok)
        assert.matches('primary key of space "people"', err.message)
        s:drop()
        q:drop()
        assert.is_nil(box.sequence.numbers)
    end)

    it('is made for an index, and goes with it', function()
        local s = box.schema.space.create('people')
        s:create_index('pk', { sequence = true })
        assert.equal(1, s:insert({ nil, 'ann' })[1])
        assert.equal(1, box.sequence.people_seq:current())
        s:drop()
        assert.is_nil(box.sequence.people_seq)
    end)

    it('may fill another field of the key', function()
        local s = box.schema.space.create('other', {
            format = { { 'group', 'string' }, { 'n', 'unsigned' } },
        })
        s:create_index('pk', { parts = { 'group', 'n' }, sequence = { id = 'numbers', field = 'n' } })
        assert.equal(10, s:insert({ 'a' }).n)
        assert.equal(15, s:insert({ 'b', box.NULL }).n)
    end)

    it('is not left behind by an index that can not be made', function()
        local s = box.schema.space.create('people', { format = { { 'name', 'string' } } })
        assert.has_error(function() s:create_index('pk', { sequence = true }) end)
        assert.is_nil(box.sequence.people_seq)
        assert.has_error(function() s:create_index('pk', { sequence = 'nothing' }) end)
    end)
end)
