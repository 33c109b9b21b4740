-- SPDX-License-Identifier: Apache-2.0
--
-- Rows that expire, by the time that they have in a field: absent for all statements and triggers, and
-- dropped by compaction. docs/engines.md says what has to hold.

local datetime = require('datetime')
local testing = require('testing')

local time = testing.clock -- goes on, so all that is asked for is hours away

local function now()
    return require('clock').time()
end

local function create(name, options)
    options.engine = 'lsm'
    local space = box.schema.space.create(name, options)
    space:create_index('pk')
    return space
end

local function problem_of(fn, ...)
    local ok, problem = pcall(fn, ...)
    assert.is_false(ok)
    return problem
end

describe('rows that expire', function()
    after_each(function()
        for _, name in ipairs({ 'sessions', 'other' }) do
            box.schema.space.drop(name, { if_exists = true })
        end
    end)

    it('are gone at the time in their field, or so many seconds later', function()
        local space = create('sessions', {
            format = { { 'id', 'unsigned' }, { 'at', 'datetime', is_nullable = true } },
            expire = { field = 'at', after = 36000 },
        })
        assert.same({ field = 2, after = 36000 }, space.options.expire)
        assert.same({ field = 2, after = 36000 }, box.stat.lsm.sessions.options.expire)
        local begun = math.floor(now())
        space:insert({ 1, datetime.new({ timestamp = begun - 18000 }) })
        space:insert({ 2, datetime.new({ timestamp = begun }) })
        space:insert({ 3 })
        assert.equal(3, space:count())
        time:advance(18000)
        assert.is_nil(space:get(1))
        assert.equal(2, space:count())
        assert.equal(2, space:select()[1][1])
        time:advance(18001)
        assert.equal(1, space:count())
        time:advance(1e6)
        assert.equal(1, space:count())
    end)

    it('take seconds of any number, and what is no time never comes', function()
        local space = create('sessions', { expire = { field = 2, after = 0.5 } })
        local begun = now()
        local values = {
            begun + 9999.5, math.ceil(begun) + 9999, 'a text', true, box.NULL, 1e300, 0 / 0, 2 ^ 63,
        }
        for id, at in ipairs(values) do
            space:insert({ id, at })
        end
        space:insert({ 100, -1 })
        space:insert({ 101, 1 })
        space:insert({ 102 })
        assert.is_nil(space:get(100))
        assert.is_nil(space:get(101))
        assert.equal(9, space:count())
        time:advance(10001)
        assert.equal(7, space:count())
        assert.equal(0.5, space.options.expire.after)
    end)

    it('run no trigger when they go, and are no old row for one', function()
        local space = create('sessions', { expire = { field = 2 } })
        local events = {}
        space:insert({ 1, now() + 9999, 'first' })
        space:on_replace(function(old, new)
            events[#events + 1] = { old and old[3] or '-', new and new[3] or '-' }
        end)
        time:advance(10000)
        assert.is_nil(space:get(1))
        assert.is_nil(space:delete(1))
        assert.is_nil(space:update(1, { { '=', 3, 'lost' } }))
        space:replace({ 1, now() + 9999, 'second' })
        space:upsert({ 1, now() + 9999, 'no' }, { { '=', 3, 'third' } })
        assert.same({ { '-', 'second' }, { 'second', 'third' } }, events)
    end)

    it('are dropped when files are compacted, with their entries', function()
        local space = create('sessions', { expire = { field = 2 } })
        space:create_index('name', { parts = { { 3, 'string' } } })
        space:create_index('tags', { parts = { { '[4][*]', 'string' } }, unique = false })
        local begun = now()
        box.atomic(function()
            for id = 1, 1000 do
                space:insert({ id, begun + (id % 2 == 0 and 9999 or 1e6), 'name ' .. id, { 'a', 'b' } })
            end
        end)
        box.checkpoint()
        space:compact()
        time:advance(10000)
        space:insert({ 2, begun + 1e6, 'name 4', { 'a' } })
        box.checkpoint()
        assert.is_true(space:compact())
        local stat = box.stat.lsm.sessions
        assert.equal(500 * 4, stat.compaction.expired_rows)
        local rows = 0
        for _, level in ipairs(stat.levels) do
            rows = rows + level.rows
        end
        assert.equal(500 * 4 + 3, rows)
        assert.equal(501, space:count())
        assert.equal(2, space.index.name:get('name 4')[1])
        assert.equal(501, space.index.tags:count('a'))
        assert.is_true(box.verify('sessions'))
    end)

    it('go by themselves when all of a file have expired', function()
        local space = create('sessions', { expire = { field = 2 }, compaction = 'time-window' })
        for id = 1, 100 do
            space:insert({ id, now() + 9999 })
        end
        box.checkpoint()
        assert.equal(1, box.stat.lsm.sessions.files)
        time:advance(10000)
        testing.eventually(function()
            return box.stat.lsm.sessions.files == 0
        end)
        assert.equal(0, space:count())
    end)

    it('expire by an option of lsm that stays as it was made', function()
        local create_space = box.schema.space.create
        local problem = problem_of(create_space, 'other', { engine = 'btree', expire = { field = 2 } })
        assert.equal("a space of engine 'btree' has no option \"expire\": that is of 'lsm'", problem.message)
        local wrong = {
            [5] = 'this is no table with names', [{ after = 5 }] = 'it has no field',
            [{ field = 0 }] = 'a field has a name, or a number from 1',
            [{ field = 'no' }] = 'the format has no field of this name',
            [{ field = 2, after = -1 }] = 'after is a number of seconds, of a millennium at most',
            [{ field = 2, since = 1 }] = 'there is something else in it',
        }
        for value, right in pairs(wrong) do
            problem = problem_of(create_space, 'other', { engine = 'lsm', expire = value })
            assert.equal('ERROR_INVALID', problem.name)
            assert.equal(right, problem.message:match('or 0: (.*)$'))
        end
        problem = problem_of(create_space, 'other', {
            engine = 'lsm',
            format = { { 'id', 'unsigned' }, { 'text', 'string' } },
            expire = { field = 'text' },
        })
        assert.is_truthy(problem.message:find('"text" is of type \'string\'', 1, true))
        local space = create('sessions', { expire = { field = 2 } })
        problem = problem_of(space.alter, space, { expire = { field = 3 } })
        assert.equal('ERROR_UNSUPPORTED', problem.name)
        assert.is_truthy(problem.message:find('stays as it was made', 1, true))
        space:alter({ bloom_bits = 12 })
        assert.same({ field = 2, after = 0 }, space.options.expire)
        space:insert({ 1, now() + 9999 })
        space:truncate()
        space:insert({ 1, now() + 9999 })
        assert.equal(1, space:count())
        time:advance(10000)
        assert.equal(0, space:count())
    end)
end)
