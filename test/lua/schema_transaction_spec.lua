-- SPDX-License-Identifier: Apache-2.0

describe('box.once', function()
    local function forget()
        if box.space.once then
            box.space.once:drop()
        end
    end
    before_each(forget)
    after_each(forget)

    it('calls a function once for a key, and gives what that returns', function()
        local calls = 0
        local function make(name)
            calls = calls + 1
            local s = box.schema.space.create(name)
            s:create_index('pk')
            s:insert({ 1 })
            return s:count(), 'made'
        end
        assert.same({ 1, 'made' }, { box.once('spec', make, 'once') })
        assert.is_nil(box.once('spec', make, 'once'))
        assert.equal(1, calls)
        assert.equal(1, box.space.once:count())
        assert.has_error(function() box.once('spec') end, 'Usage: box.once(key, function, ...)')
    end)

    it('leaves nothing when the function fails, and calls it again', function()
        local function make(fails)
            box.schema.space.create('once')
            assert(not fails, 'no')
            return true
        end
        assert.is_false((pcall(box.once, 'failing', make, true)))
        assert.is_nil(box.space.once)
        assert.is_true(box.once('failing', make, false))
        assert.is_nil(box.once('failing', make, false))
    end)
end)

describe('a schema transaction', function()
    after_each(function()
        box.rollback()
        for _, name in ipairs({ 'one', 'two' }) do
            if box.space[name] then
                box.space[name]:drop()
            end
        end
    end)

    local function make(name)
        local s = box.schema.space.create(name, { format = { { 'id', 'unsigned' }, { 'name', 'string' } } })
        s:create_index('pk')
        s:create_index('name', { parts = { 'name' } })
        s:insert({ 1, 'ann' })
        return s
    end

    it('makes spaces and fills them, or none of it', function()
        box.atomic({ schema = true }, function()
            make('one')
            make('two'):insert({ 2, 'bob' })
        end)
        assert.equal(2, box.space.two:len())
        assert.equal('ann', box.space.one.index.name:get('ann').name)

        assert.has_error(function()
            box.atomic({ schema = true }, function()
                box.space.one:drop()
                box.space.two:format({ { 'id', 'unsigned' }, { 'title', 'string' } })
                box.space.two:insert({ 3, 'eve' })
                error('never mind')
            end)
        end)
        assert.equal(1, box.space.one:len())
        assert.equal('bob', box.space.two:get(2).name)
        assert.equal(2, box.space.two:len())
    end)

    it('works under its own changes', function()
        box.begin({ schema = true })
        local s = make('one')
        s:format({ { 'id', 'unsigned' }, { 'title', 'string' } })
        assert.equal('ann', s:get(1).title)
        s:truncate()
        assert.equal(0, s:count())
        s:insert({ 7, 'gil' })
        assert.is_nil(box.func.title)
        box.schema.func.create('title', { body = 'function(id) return box.space.one:get(id).title end' })
        assert.equal('gil', box.func.title(7))
        box.schema.func.drop('title')
        box.commit()
        assert.equal('gil', s:get(7).title)
    end)

    it('runs what a function was replaced by last', function()
        box.begin({ schema = true })
        for number = 1, 3 do
            box.schema.func.create('number', { body = 'return ' .. number, replace = true })
            assert.equal(number, box.func.number())
        end
        box.schema.func.drop('number')
        box.schema.func.create('number', { body = 'return 4' })
        assert.equal(4, box.func.number())
        box.commit()
        box.schema.func.create('number', { body = 'return 5', replace = true })
        assert.equal(5, box.func.number())
        box.schema.func.drop('number')
    end)

    it('returns to savepoints', function()
        box.begin({ schema = true })
        local s = make('one')
        local point = box.savepoint()
        s:drop()
        make('two')
        box.rollback_to_savepoint(point)
        assert.is_nil(box.space.two)
        assert.equal('ann', s:get(1).name)
        local ok = pcall(box.atomic, function()
            s.index.name:drop()
            s:insert({ 2, 'ann' })
            error('never mind')
        end)
        assert.is_false(ok)
        assert.has_error(function() s:insert({ 2, 'ann' }) end)
        box.commit()
        assert.equal(1, box.space.one.index.name:count('ann'))
    end)

    it('is the only transaction that changes the schema', function()
        box.begin()
        local ok, err = pcall(box.schema.space.create, 'one')
        assert.is_false(ok)
        assert.matches('schema = true', err.message)
        box.rollback()
        assert.is_false(pcall(box.begin, { schema = true, readonly = true }))
    end)
end)
