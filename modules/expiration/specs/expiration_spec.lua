-- SPDX-License-Identifier: Apache-2.0

local fiber = require('fiber')

describe('expiration', function()
    local expiration
    local NOW = 1000000

    before_each(function()
        box.module.install('expiration', { options = { paused = true } })
        expiration = require('expiration')
        local space = box.schema.space.create('visits', { format = {
            { 'id', 'unsigned' }, { 'at', 'number', is_nullable = true },
            { 'who', 'string', is_nullable = true },
        } })
        space:create_index('pk')
    end)

    after_each(function()
        box.module.remove('expiration', { purge = true })
        for _, name in ipairs({ 'visits', 'archive' }) do
            if box.space[name] then
                box.space[name]:drop()
            end
        end
        for _, name in ipairs({ 'archive_visit', 'is_bob', 'refuse' }) do
            box.schema.func.drop(name, { if_exists = true })
        end
    end)

    --- Rows 1..count, of which row n is n seconds old.
    local function fill(count)
        for n = 1, count do
            box.space.visits:insert({ n, NOW - n })
        end
        box.space.visits:insert({ count + 1, box.NULL })
    end

    local function rows()
        return box.space.visits:count()
    end

    for _, indexed in ipairs({ false, true }) do
        it('removes what is too old, and nothing else' .. (indexed and ', by an index' or ''), function()
            if indexed then
                box.space.visits:create_index('at', { parts = { 'at' }, unique = false })
            end
            fill(100)
            expiration.start('old', { space = 'visits', field = 'at', age = 40, batch = 7 })
            assert.equal(indexed and 'at' or nil, expiration.stats('old').index)
            assert.equal(61, expiration.pass('old', NOW))
            assert.equal(40, rows())
            assert.is_truthy(box.space.visits:get(39))
            assert.is_nil(box.space.visits:get(40))
            assert.is_truthy(box.space.visits:get(101))
            assert.equal(0, expiration.pass('old', NOW))
            assert.equal(1, expiration.pass('old', NOW + 1))
            local stats = expiration.stats('old')
            assert.equal(62, stats.removed)
            assert.equal(3, stats.passes)
            if indexed then -- not all of them were looked at
                assert.is_true(stats.seen < 70)
            end
        end)
    end

    it('gives rows to a procedure instead', function()
        box.schema.space.create('archive'):create_index('pk')
        box.schema.func.create('archive_visit', { body = [[function(row)
            box.space.archive:insert({ row.id })
            box.space.visits:delete(row.id)
        end]] })
        fill(20)
        expiration.start('old',
            { space = 'visits', field = 'at', age = 11, action = 'archive_visit', batch = 3 })
        assert.equal(10, expiration.pass('old', NOW))
        assert.equal(10, box.space.archive:count())
    end)

    it('asks a procedure what has expired', function()
        box.schema.func.create('is_bob',
            { body = "function(row, now) return row.who == 'bob' and now > 5 end" })
        for n = 1, 10 do
            box.space.visits:insert({ n, box.NULL, n % 2 == 0 and 'bob' or 'ann' })
        end
        expiration.start('bobs', { space = 'visits', func = 'is_bob', batch = 3 })
        assert.equal(0, expiration.pass('bobs', 5))
        assert.equal(5, expiration.pass('bobs', 6))
        assert.equal(5, rows())
    end)

    it('takes datetimes', function()
        box.schema.space.create('archive', { format = { { 'id', 'unsigned' }, { 'at', 'datetime' } } })
            :create_index('pk')
        local datetime = require('datetime')
        box.space.archive:insert({ 1, datetime.new({ timestamp = NOW - 100 }) })
        box.space.archive:insert({ 2, datetime.new({ timestamp = NOW - 10 }) })
        expiration.start('old', { space = 'archive', field = 'at', age = 50 })
        assert.equal(1, expiration.pass('old', NOW))
        assert.is_truthy(box.space.archive:get(2))
    end)

    it('goes around a row that can not be removed, and counts it', function()
        for _, indexed in ipairs({ false, true }) do
            if indexed then
                box.space.visits:create_index('at', { parts = { 'at' }, unique = false })
            end
            fill(20)
            box.schema.func.create('refuse', { if_not_exists = true, body = [[function(row)
                if row.id == 15 then
                    error('not this one')
                end
                box.space.visits:delete(row.id)
            end]] })
            expiration.start('old', { space = 'visits', field = 'at', age = 11, action = 'refuse', batch = 4,
                replace = true })
            assert.equal(9, expiration.pass('old', NOW))
            local stats = expiration.stats('old')
            assert.equal(1, stats.failed)
            assert.is_truthy(stats.error:find('not this one', 1, true))
            assert.is_truthy(box.space.visits:get(15))
            box.space.visits:truncate()
        end
    end)

    it('works by itself, while others write', function()
        expiration.start('old', { space = 'visits', field = 'at', age = 0.01, batch = 10, pause = 0.001 })
        box.module.options('expiration', { paused = false, look = 0.01 })
        for n = 1, 300 do
            box.space.visits:insert({ n, box.now() })
            fiber.yield()
        end
        box.space.visits:insert({ 1000, box.now() + 1000 })
        while rows() > 1 do
            fiber.sleep(0.001)
        end
        assert.is_truthy(box.space.visits:get(1000))
        local list = expiration.list()
        assert.equal('old', list[1].name)
        expiration.stop('old')
        assert.same({}, expiration.list())
    end)

    it('goes on when the space has been dropped', function()
        expiration.start('old', { space = 'visits', field = 'at', age = 1 })
        box.space.visits:drop()
        assert.equal(0, expiration.pass('old', NOW))
        assert.equal('there is no space "visits"', expiration.stats('old').error)
    end)

    it('says what is wrong', function()
        local function check(text, options)
            assert.error_matches(function() expiration.start('a', options) end, text)
        end
        check('there is no space "nothing"', { space = 'nothing' })
        check('either a field or a procedure', { space = 'visits', age = 1 })
        check('age is a number of seconds', { space = 'visits', field = 'at' })
        check('has no field "when"', { space = 'visits', field = 'when', age = 1 })
        check('there is no procedure "no"', { space = 'visits', func = 'no' })
        check('there is no option "every"', { space = 'visits', every = 1 })
        check('batch is a number of rows', { space = 'visits', field = 'at', age = 1, batch = 0 })
        assert.error_matches(function() expiration.stop('a') end, 'there is no expiration "a"')
    end)
end)
