-- SPDX-License-Identifier: Apache-2.0

describe('an index', function()
    local s

    before_each(function()
        s = box.schema.space.create('indexed', {
            format = { { 'id', 'unsigned' }, { 'n', 'unsigned' }, { 'name', 'string' } },
        })
        s:create_index('pk')
        s:create_index('n', { parts = { 'n' }, unique = false })
        box.begin()
        for id = 1, 1000 do
            s:insert({ id, id % 10, 'row' .. id })
        end
        box.commit()
    end)

    after_each(function()
        box.rollback()
        box.space.indexed:drop()
    end)

    it('gives its least and its greatest row, of a key as well', function()
        assert.equal(1, s.index.pk:min().id)
        assert.equal(1000, s.index.pk:max().id)
        assert.equal(3, s.index.n:min(3).id)
        assert.equal(993, s.index.n:max(3).id)
        assert.is_nil(s.index.n:min(99))
        assert.is_nil(s.index.n:max(99))
    end)

    it('gives rows at random, the same for the same seed', function()
        local seen = {}
        for seed = 1, 200 do
            local t = s.index.pk:random(seed)
            assert.equal(t, s.index.pk:random(seed))
            seen[t.id] = true
        end
        local different = 0
        for _ in pairs(seen) do different = different + 1 end
        assert.is_true(different > 100)
        assert.is_not_nil(s.index.n:random())
        s:truncate()
        assert.is_nil(s.index.pk:random(1))
    end)

    it('tells at which row a share of it lies before', function()
        assert.equal(501, s.index.pk:quantile(0.5).id)
        assert.equal(1, s.index.pk:quantile(0).id)
        assert.equal(150, s.index.pk:quantile(0.5, 100, 200).id)
        assert.has_error(function() s.index.pk:quantile(2) end)
        assert.has_error(function() s.index.pk:quantile() end)
    end)

    it('tells what it takes', function()
        assert.equal(1000, s.index.n:stat().entries)
        assert.is_true(s.index.n:bsize() > 1000)
        assert.is_true(s:bsize() > 10000)
        assert.equal(1000, s.index.pk:len())
    end)

    it('is made again of the rows, and stays what it was', function()
        for _ = 1, 2 do
            assert.is_nil(s.index.n:rebuild())
            assert.is_true(box.verify(s))
            assert.equal(100, s.index.n:count(3))
        end
        box.begin({ schema = true })
        s.index.n:rebuild()
        box.rollback()
        assert.equal(100, s.index.n:count(3))
        local ok, err = pcall(s.index.pk.rebuild, s.index.pk)
        assert.is_false(ok)
        assert.equal('ERROR_UNSUPPORTED', err.name)
        assert.truthy(err.message:find('is the primary one: it has the rows themselves', 1, true))
        ok, err = pcall(box.atomic, s.index.n.rebuild, s.index.n)
        assert.is_false(ok)
        assert.equal('ERROR_INVALID', err.name)
    end)

    it('gets another name', function()
        s.index.n:rename('by_n')
        assert.is_nil(s.index.n)
        assert.equal(100, s.index.by_n:count(3))
        assert.has_error(function() s.index.by_n:rename('pk') end)
        assert.has_error(function() s.index.by_n:rename('') end)
        s.index.pk:alter({ name = 'primary' })
        assert.equal(7, s.index.primary:get(7).id)
    end)

    it('is altered at once', function()
        s.index.n:alter({ parts = { 'name' }, unique = true })
        assert.equal(7, s.index.n:get('row7').id)
        assert.equal(1, s.index.n.id)
        s.index.n:alter({ unique = false, name = 'name' })
        assert.is_false(s.index.name.unique)
        assert.equal(3, s.index.name.parts[1].fieldno)
        local ok = pcall(s.index.name.alter, s.index.name, { parts = { 'n' }, unique = true })
        assert.is_false(ok)
        assert.equal(7, s.index.name:select('row7')[1].id)
        assert.has_error(function() s.index.name:alter({ what = 1 }) end)
        assert.has_error(function() s.index.pk:alter({ parts = { 'n' } }) end)
    end)

    it('keeps a function that has been dropped when it is altered', function()
        box.schema.func.create('low', { body = 'function(t) return { t.name:lower() } end',
            is_deterministic = true })
        s:create_index('low', { func = 'low', parts = { { 1, 'string' } } })
        assert.equal('low', s.index.low.func)
        box.schema.func.drop('low')
        s.index.low:alter({ unique = false })
        assert.is_false(s.index.low.unique)
        assert.matches('lower', s.index.low.func)
        assert.equal(7, s.index.low:select('row7')[1].id)
        s.index.low:alter({ unique = true })
        assert.equal(7, s.index.low:get('row7').id)
    end)

    it('tells where a tuple stands', function()
        local position = s.index.n:tuple_pos(s:get(993))
        assert.equal(4, s.index.n:select(nil, { after = position, limit = 1 })[1].id)
        local found, last = s.index.n:select(3, { limit = 2, fetch_pos = true })
        assert.equal(last, s.index.n:tuple_pos(found[2]))
        assert.equal(last, s.index.n:tuple_pos({ 13, 3, 'whatever' }))
        assert.is_false(pcall(s.index.n.tuple_pos, s.index.n, { 1 }))
        assert.is_nil(s.index.n:compact())
    end)

    it('can not be over intervals', function()
        local t = box.schema.create_space('spans', { format = { { 'id', 'unsigned' }, { 'span', 'interval' },
            { 'any', 'unsigned' } } })
        t:create_index('pk')
        for _, parts in ipairs({ { 'span' }, { { 'span', 'scalar' } } }) do
            local ok, err = pcall(t.create_index, t, 'span', { parts = parts })
            assert.is_false(ok)
            assert.matches('field "span" is of type interval and cannot be indexed', err.message)
        end
        t:create_index('any', { parts = { { 'any', 'scalar' } } })
        local spans = { { 'id', 'unsigned' }, { 'span', 'interval' }, { 'any', 'interval' } }
        local ok, err = pcall(t.format, t, spans)
        assert.is_false(ok)
        assert.matches('is indexed by "any"', err.message)
        t:drop()
    end)

    it('raises errors that have Tarantool\'s names as well', function()
        local ok, err = pcall(s.insert, s, { 1, 1, 'x' })
        assert.is_false(ok)
        assert.equal(box.error.TUPLE_FOUND, err.code)
        assert.equal(box.error.NOT_FOUND, box.error.NO_SUCH_SPACE)
    end)

    it('is listed, as its space is', function()
        local found = {}
        for name, space in pairs(box.space) do
            found[name] = space.id
        end
        assert.equal(s.id, found.indexed)
        assert.equal(box.space._space.id, found._space)
        assert.equal(box.space._space.id, box.space._vspace.id)
        assert.equal(2, #box.space._vindex:select(s.id))
        assert.equal('indexed', box.space._vspace:get(s.id).name)
    end)
end)
