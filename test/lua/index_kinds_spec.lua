-- SPDX-License-Identifier: Apache-2.0

describe('indexes of all kinds', function()
    local s

    before_each(function()
        s = box.schema.space.create('things', {
            format = { { 'id', 'unsigned' }, { 'name', 'string' }, { 'data', 'map', is_nullable = true } },
        })
        s:create_index('primary')
        s:insert({ 1, 'Ada', { city = 'Rome', tags = { 'red', 'blue' } } })
        s:insert({ 2, 'bob', { city = 'Oslo', tags = { 'blue' }, closed = true } })
        s:insert({ 3, 'Eve' })
    end)

    after_each(function() s:drop() end)

    local function ids(list)
        local result = {}
        for i, tuple in ipairs(list) do
            result[i] = tuple.id
        end
        return result
    end

    it('go along a path', function()
        s:create_index('city', { parts = { { 'data.city', 'string', is_nullable = true } }, unique = false })
        assert.same({ 2 }, ids(s.index.city:select('Oslo')))
        assert.same({ 3, 2, 1 }, ids(s.index.city:select()))
        assert.equal('city', s.index.city.parts[1].path:gsub('^%.', ''))
    end)

    it('give a row once for each element of an array', function()
        s:create_index('tag', {
            parts = { { 'data.tags[*]', 'string', is_nullable = true } },
            unique = false,
        })
        assert.same({ 1, 2 }, ids(s.index.tag:select('blue')))
        assert.same({ 1, 2, 1 }, ids(s.index.tag:select()))
        s:update(1, { { '=', 'data', { tags = { 'green' } } } })
        assert.same({ 2 }, ids(s.index.tag:select('blue')))
    end)

    it('go down where they are told to', function()
        s:create_index('down', { parts = { { 'name', 'string', sort_order = 'desc' } } })
        assert.same({ 2, 3, 1 }, ids(s.index.down:select()))
        assert.same({ 1 }, ids(s.index.down:select('Eve', { iterator = 'GT' })))
        assert.equal('desc', s.index.down.parts[1].sort_order)
    end)

    it('rest on a function', function()
        s:create_index('lower', {
            func = 'function(t) return {t.name:lower()} end',
            parts = { { 1, 'string' } },
        })
        assert.equal(1, s.index.lower:get('ada').id)
        local ok, err = pcall(s.insert, s, { 4, 'BOB' })
        assert.is_false(ok)
        assert.matches('lower', err.message)
        assert.equal('function(t) return {t.name:lower()} end', s.index.lower.func)
    end)

    it('rest on a deterministic function of the schema and keep its text', function()
        box.schema.func.create('initial', {
            body = 'function(t) return {t[2]:sub(1, 1)} end',
            is_deterministic = true,
        })
        s:create_index('initial', { func = 'initial', parts = { { 1, 'string' } }, unique = false })
        assert.same({ 2 }, ids(s.index.initial:select('b')))
        assert.equal('initial', s.index.initial.func)
        box.schema.func.drop('initial')
        s:insert({ 4, 'ben' })
        assert.same({ 2, 4 }, ids(s.index.initial:select('b')))
    end)

    it('take several keys from a function', function()
        s:create_index('letter', {
            func = [[function(t)
                local keys = {}
                for letter in t.name:gmatch('.') do keys[#keys + 1] = {letter} end
                return keys
            end]],
            is_multikey = true,
            parts = { { 1, 'string' } },
            unique = false,
        })
        assert.same({ 2 }, ids(s.index.letter:select('b')))
        assert.same({ 3 }, ids(s.index.letter:select('E')))
    end)

    it('refuse a row that the function fails for, and name both', function()
        s:create_index('n', {
            func = 't.data == nil and 0 or t.data.n + 1',
            parts = { { 1, 'number' } },
            unique = false,
            condition = 't.id > 2',
        })
        local ok, err = pcall(s.insert, s, { 7, 'x', { n = {} } })
        assert.is_false(ok)
        assert.matches('index "n" of space "things", row {7}', err.message, 1, true)
        assert.is_nil(s:get(7))
    end)

    it('have only the rows of a condition', function()
        s:create_index('open', { parts = { 'name' }, condition = 't.data == nil or not t.data.closed' })
        s:create_index('later', { parts = { 'name' }, condition = { 'id', '>=', 2 } })
        assert.same({ 1, 3 }, ids(s.index.open:select()))
        assert.same({ 3, 2 }, ids(s.index.later:select()))
        assert.same({ { 1, '>=', 2 } }, s.index.later.condition)
        s.index.later:alter({ unique = false })
        assert.same({ 3, 2 }, ids(s.index.later:select()))
        s:create_index('rome', { parts = { 'id' }, condition = { 'data.city', '==', 'Rome' } })
        assert.same({ { '[3].city', '==', 'Rome' } }, s.index.rome.condition)
        s.index.rome:alter({ unique = false })
        assert.same({ 1 }, ids(s.index.rome:select()))
    end)

    it('refuse conditions with values that keys have no place for', function()
        for _, value in ipairs({ require('decimal').new('9007199254740992.5'), 0 / 0, {} }) do
            local ok, err = pcall(s.create_index, s, 'odd', { condition = { 'id', '>', value } })
            assert.is_false(ok)
            assert.equal('ERROR_INVALID', err.name)
            ok, err = pcall(box.schema.space.create, 'odd', {
                format = { { 'id', 'unsigned', constraint = { '>', value } } },
            })
            assert.is_false(ok)
            assert.equal('ERROR_INVALID', err.name)
        end
        assert.is_nil(s.index.odd)
    end)

    it('tell what they cover', function()
        s:create_index('covering', { parts = { 'name' }, covers = { 'data' } })
        assert.same({ 3 }, s.index.covering.covers)
    end)
end)
