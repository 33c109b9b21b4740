-- SPDX-License-Identifier: Apache-2.0

describe('a space', function()
    local s

    before_each(function()
        s = box.schema.space.create('people', {
            format = {
                { 'id', 'unsigned' },
                { 'name', 'string' },
                { 'age', 'unsigned', is_nullable = true },
            },
        })
        s:create_index('pk', { parts = { 'id' } })
        s:create_index('name', { parts = { 'name' }, unique = true })
        s:create_index('age', { parts = { { 'age', is_nullable = true } }, unique = false })
        s:insert({ 1, 'ann', 30 })
        s:insert({ 2, 'bob', 20 })
        s:insert({ 3, 'cat', 30 })
    end)

    after_each(function()
        box.space.people:drop()
    end)

    local function ids(tuples)
        local result = {}
        for n, t in ipairs(tuples) do
            result[n] = t.id
        end
        return table.concat(result, ' ')
    end

    it('is found by name and by number', function()
        assert.equal(s.id, box.space.people.id)
        assert.equal(s.id, box.space[s.id].id)
        assert.equal('memory', s.engine)
        assert.is_nil(box.space.nobody)
        assert.equal('name', s.index.name.name)
        assert.equal('name', s.index[1].name)
        assert.is_nil(s.index.nobody)
    end)

    it('gives back what was put in', function()
        assert.same({ 1, 'ann', 30 }, s:get(1):totable())
        assert.same({ 2, 'bob', 20 }, s:get({ 2 }):totable())
        assert.is_nil(s:get(4))
        assert.equal(2, s.index.name:get('bob').id)
        assert.equal(s:get(1), s.index.name:get('ann'))
    end)

    it('refuses a second tuple with the same unique key', function()
        for _, tuple in ipairs({ { 1, 'dan' }, { 4, 'ann' } }) do
            local ok, err = pcall(s.insert, s, tuple)
            assert.is_false(ok)
            assert.equal(box.error.DUPLICATE, err.code)
            assert.equal('ERROR_DUPLICATE', err.name)
            assert.equal(err.message, tostring(err))
        end
        assert.equal(3, s:count())
    end)

    it('refuses a tuple that does not fit its format', function()
        for _, tuple in ipairs({ { 'x', 'dan' }, { 4 }, { 4, 5 } }) do
            local ok, err = pcall(s.insert, s, tuple)
            assert.is_false(ok)
            assert.equal(box.error.SCHEMA, err.code)
        end
    end)

    it('replaces, updates and deletes', function()
        assert.same({ 1, 'amy', 31 }, s:replace({ 1, 'amy', 31 }):totable())
        assert.same({ 1, 'amy', 32 }, s:update(1, { { '+', 3, 1 } }):totable())
        assert.same({ 1, 'zoe', 32 }, s:update(1, { { '=', 'name', 'zoe' } }):totable())
        assert.is_nil(s:update(9, { { '+', 3, 1 } }))
        assert.same({ 1, 'zoe', 32 }, s.index.name:delete('zoe'):totable())
        assert.is_nil(s:delete(1))
        assert.equal(2, s:count())
    end)

    it('upserts', function()
        s:upsert({ 4, 'dan', 1 }, { { '+', 'age', 1 } })
        assert.equal(1, s:get(4).age)
        s:upsert({ 4, 'dan', 1 }, { { '+', 'age', 1 } })
        assert.equal(2, s:get(4).age)
    end)

    it('selects in order of an index', function()
        assert.equal('1 2 3', ids(s:select()))
        assert.equal('2', ids(s:select(2)))
        assert.equal('2 3', ids(s:select(2, { iterator = 'GE' })))
        assert.equal('3', ids(s:select(2, { iterator = box.index.GT })))
        assert.equal('1', ids(s:select(2, { iterator = 'lt' })))
        assert.equal('2 1', ids(s:select(2, { iterator = 'LE' })))
        assert.equal('3 2 1', ids(s:select({}, { iterator = 'REQ' })))
        assert.equal('2', ids(s:select({}, { limit = 1, offset = 1 })))
        assert.equal('', ids(s:select({}, { limit = 0 })))
        assert.equal('1 3', ids(s.index.age:select(30)))
        assert.equal('2 1 3', ids(s.index.age:select()))
    end)

    it('refuses an iterator that does not exist', function()
        assert.has_error(function() s:select(1, { iterator = 'NEAR' }) end)
    end)

    it('counts', function()
        assert.equal(3, s:count())
        assert.equal(2, s.index.age:count(30))
        assert.equal(2, s:count(1, { iterator = 'GT' }))
        assert.is_true(s:len() >= 3)
    end)

    it('knows the smallest and the largest key', function()
        assert.equal(1, s.index.pk:min().id)
        assert.equal(3, s.index.pk:max().id)
        assert.equal(20, s.index.age:min().age)
        assert.equal(30, s.index.age:max().age)
    end)

    it('is walked by pairs, outside and inside of a transaction', function()
        local function walk(...)
            local result = {}
            for n, t in s:pairs(...) do
                result[n] = t
            end
            return ids(result)
        end
        assert.equal('1 2 3', walk())
        assert.equal('2 3', walk(2, { iterator = 'GE' }))
        box.begin()
        assert.equal('1 2 3', walk())
        assert.equal('3 2 1', walk(nil, { iterator = 'REQ' }))
        s:insert({ 4, 'dan' })
        assert.equal('1 2 3 4', walk())
        box.rollback()
        assert.equal('1 2 3', walk())
    end)

    it('may be changed while pairs walks it', function()
        for _, t in s:pairs() do
            s:delete(t.id)
        end
        assert.equal(0, s:count())
    end)

    it('tells and changes its format', function()
        assert.equal('name', s:format()[2].name)
        s:format({ { 'id', 'unsigned' }, { 'title', 'string' } })
        assert.equal('ann', s:get(1).title)
    end)

    it('is emptied by truncate', function()
        s:truncate()
        assert.equal(0, s:count())
        assert.equal(0, s.index.age:count())
        s:insert({ 1, 'ann' })
        assert.equal(1, s:count())
    end)

    it('loses an index by drop', function()
        s.index.age:drop()
        assert.is_nil(s.index.age)
        assert.is_not_nil(s.index.name)
    end)

    it('goes on behind a tuple or a position', function()
        assert.equal('2 3', ids(s:select(nil, { after = s:get(1) })))
        assert.equal('2 3', ids(s:select(nil, { after = { 1, 'whatever' } })))
        assert.equal('1', ids(s:select(nil, { iterator = 'REQ', after = s:get(2) })))
        assert.equal('3', ids(s.index.age:select(30, { after = s:get(1) })))
        local page, position = s.index.age:select(nil, { limit = 2, fetch_pos = true })
        assert.equal('2 1', ids(page))
        assert.equal('string', type(position))
        s:delete(1) -- the place stays
        page, position = s.index.age:select(nil, { limit = 2, after = position, fetch_pos = true })
        assert.equal('3', ids(page))
        page, position = s.index.age:select(nil, { after = position, fetch_pos = true })
        assert.equal('', ids(page))
        assert.is_nil(position)
    end)

    it('says what is wrong about a place to go on behind', function()
        local _, position = s:select(nil, { limit = 1, fetch_pos = true })
        for _, after in ipairs({ 'nonsense', position, 5 }) do
            local ok, err = pcall(s.index.name.select, s.index.name, nil, { after = after })
            assert.is_false(ok)
            assert.equal(box.error.INVALID, err.code)
        end
        assert.has_error(function() s:select(2, { iterator = 'EQ', after = { 1 } }) end)
        assert.has_error(function() s:select(2, { iterator = 'GE', after = { 1 } }) end)
        assert.has_error(function() s:select(nil, { limit = -1 }) end)
        assert.has_error(function() s:select(nil, { offset = 'x' }) end)
        assert.has_error(function() s:select(nil, 5.5) end)
        assert.has_error(function() s:select({ 1, 2 }) end)
    end)

    it('gives chosen fields only', function()
        assert.same({ { 'ann', 1 }, { 'bob', 2 } }, {
            s:select(1, { fields = { 'name', 1 } })[1]:totable(),
            s:select(2, { fields = { 'name', 'id' } })[1]:totable(),
        })
        assert.is_true(s:select(1, { fields = { 'nothing' } })[1][1] == nil)
        assert.has_error(function() s:select(1, { fields = 'name' }) end)
    end)

    it('is verified by name, number and object', function()
        assert.is_true(box.verify('people'))
        assert.is_true(box.verify(s.id))
        assert.is_true(box.verify(s))
        for _, which in ipairs({ 'nobody', 99999, {}, true }) do
            local ok, err = pcall(box.verify, which)
            assert.is_false(ok)
            assert.equal('ERROR_NOT_FOUND', err.name)
        end
        local ok, err = pcall(box.verify)
        assert.is_false(ok)
        assert.equal('there is no space nil: box.verify(space)', err.message)
        ok, err = pcall(box.atomic, box.verify, 'people')
        assert.is_false(ok)
        assert.equal('ERROR_INVALID', err.name)
    end)

    it('takes any order for ANY', function()
        assert.equal('1 2 3', ids(s:select(nil, { iterator = 'ANY' })))
        assert.equal('1 2 3', ids(s:select(nil, { iterator = box.index.ANY })))
        assert.equal('2 3', ids(s:select(2, { iterator = box.index.ALL })))
        assert.equal('3 2 1', ids(s:select({}, { iterator = box.index.REQ })))
    end)

    describe('with many rows', function()
        local big

        before_each(function()
            big = box.schema.space.create('big')
            big:create_index('pk')
            big:create_index('second', { parts = { { 2, 'unsigned' } }, unique = false })
            box.begin()
            for n = 1, 5000 do
                big:insert({ n, n % 10, ('x'):rep(n % 300) })
            end
            box.commit()
        end)

        after_each(function() box.space.big:drop() end)

        it('is walked in batches that see one moment', function()
            local seen, sum = 0, 0
            for _, t in big:pairs() do
                seen, sum = seen + 1, sum + t[1]
                if seen == 1 then
                    box.atomic(function()
                        for n = 1, 5000, 2 do big:delete(n) end
                        big:insert({ 10000, 0 })
                    end)
                end
            end
            assert.equal(5000, seen)
            assert.equal(5000 * 5001 / 2, sum)
            assert.equal(2501, big:count())
        end)

        it('is walked in every direction', function()
            local function walk(index, ...)
                local last, count
                for n, t in index:pairs(...) do last, count = t[1], n end
                return ('%d %d'):format(count, last)
            end
            assert.equal('5000 1', walk(big.index.pk, nil, { iterator = 'REQ' }))
            assert.equal('501 5000', walk(big.index.pk, 4500, { iterator = 'GE' }))
            assert.equal('4499 1', walk(big.index.pk, 4500, { iterator = 'LT' }))
            assert.equal('500 4997', walk(big.index.second, 7))
            assert.equal('500 7', walk(big.index.second, 7, { iterator = 'REQ' }))
            assert.equal('1500 4999', walk(big.index.second, 7, { iterator = 'GE' }))
            assert.equal('4000 5000', walk(big.index.pk, nil, { after = { 1000 } }))
        end)

        it('may be left in the middle, as often as one likes', function()
            for _ = 1, 1000 do
                for _, t in big:pairs() do
                    if t[1] == 100 then break end
                end
            end
            assert.equal(5000, big:pairs():length())
        end)

        it('says when what it walks has gone', function()
            local iterator = big:pairs()
            big:truncate()
            local ok, err = pcall(iterator.length, iterator)
            assert.is_false(ok)
            assert.matches('truncated', err.message)
        end)

        it('is not walked on inside of a transaction that was begun later', function()
            local iterator = big:pairs()
            box.begin()
            local ok, err = pcall(iterator.length, iterator)
            box.rollback()
            assert.is_false(ok)
            assert.matches('begin it inside', err.message)
        end)
    end)

    it('tells what it takes, and whether it can have rows', function()
        local stat = s:stat()
        assert.equal(s:len(), stat.rows)
        assert.equal(s:bsize(), stat.bytes)
        assert.is_true(stat.index_bytes >= stat.index[s.index[0].name].bytes)
        assert.is_true(s.enabled)
        local empty = box.schema.create_space('empty')
        assert.is_false(empty.enabled)
        assert.same({ rows = 0, bytes = 0, index_bytes = 0, index = {} }, empty:stat())
        empty:create_index('pk')
        assert.is_true(empty.enabled)
        empty:drop()
    end)

    it('has triggers that can be told not to run', function()
        local t = box.schema.create_space('quiet')
        t:create_index('pk')
        t:create_trigger('no', { event = 'before_replace', body = "error('no')" })
        assert.is_false(pcall(t.insert, t, { 1 }))
        t:run_triggers(false)
        t:insert({ 1 })
        assert.is_true(box.schema.trigger.info('no').enabled)
        t:run_triggers(true)
        assert.is_false(pcall(t.insert, t, { 2 }))
        assert.is_false(pcall(t.run_triggers, t, 1))
        t:drop()
    end)

    it('has methods of one\'s own', function()
        local function give(methods, name, method) methods[name] = method end
        local of_spaces, of_indexes = box.schema.space_mt, box.schema.index_mt
        give(of_spaces, 'twice', function(self) return 2 * self:len() end)
        give(of_indexes, 'title', function(self, suffix) return self.name .. suffix end)
        assert.equal(2 * s:len(), s:twice())
        assert.equal(s.index[0].name .. '!', s.index[0]:title('!'))
        assert.is_false(pcall(give, of_spaces, 'insert', print))
        assert.is_false(pcall(give, of_indexes, 'number', 1))
        give(of_spaces, 'twice', nil)
        give(of_indexes, 'title', nil)
        assert.is_nil(s.twice)
    end)

    it('says how its methods are called', function()
        assert.has_error(function() s.select(1) end, 'use object:select(..) instead of object.select(..)')
    end)
end)
