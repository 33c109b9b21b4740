-- SPDX-License-Identifier: Apache-2.0

local VIEWS = {
    '_redis', '_redis_string', '_redis_hash', '_redis_list', '_redis_set', '_redis_zset', '_redis_stream',
}

describe('a view of Redis data', function()
    local space = box.space

    before_each(function()
        redis.call('flushall')
        redis.call('set', 'text', 'words\0\255')
        redis.call('hset', 'hash', 'f', '1', 'g', '2')
        redis.call('rpush', 'list', 'x', 'y', 'x')
        redis.call('sadd', 'set', 'p', 'q')
        redis.call('zadd', 'zset', 1.5, 'm', 'inf', 'n', -2, 'o')
        redis.call('xadd', 'stream', '1-1', 'a', 'b', 'a', 'c')
        redis.call('pexpireat', 'hash', 33177117420000)
    end)

    after_each(function() redis.call('flushall') end)

    local function tables(tuples)
        local result = {}
        for n, t in ipairs(tuples) do
            result[n] = t:totable()
        end
        return result
    end

    it('has a tuple for each key, or each of its elements', function()
        local keys = {}
        for n, t in ipairs(space._redis:select()) do
            keys[n] = { t.database, t.key, t.type }
            assert.equal(t.key == 'hash' and 33177117420000 or box.NULL, t.expire)
        end
        assert.same({
            { 0, 'hash', 'hash' }, { 0, 'list', 'list' }, { 0, 'set', 'set' }, { 0, 'stream', 'stream' },
            { 0, 'text', 'string' }, { 0, 'zset', 'zset' },
        }, keys)
        assert.same({ { 0, 'text', 'words\0\255' } }, tables(space._redis_string:select()))
        assert.same({ { 0, 'hash', 'f', '1' }, { 0, 'hash', 'g', '2' } }, tables(space._redis_hash:select(0)))
        assert.same({ { 0, 'list', 0, 'x' }, { 0, 'list', 1, 'y' }, { 0, 'list', 2, 'x' } },
            tables(space._redis_list:select({ 0, 'list' })))
        assert.same({ { 0, 'set', 'p' }, { 0, 'set', 'q' } }, tables(space._redis_set:select()))
        assert.same({ { 0, 'zset', 'o', -2 }, { 0, 'zset', 'm', 1.5 }, { 0, 'zset', 'n', math.huge } },
            tables(space._redis_zset:select()))
        assert.same({ { 0, 'stream', '1-1', { 'a', 'b', 'a', 'c' } } }, tables(space._redis_stream:select()))
    end)

    it('finds one by its whole key, with the names of its fields', function()
        assert.equal('hash', space._redis:get({ 0, 'hash' }).type)
        assert.equal(33177117420000, space._redis:get({ 0, 'hash' }).expire)
        assert.equal('words\0\255', space._redis_string:get({ 0, 'text' }).value)
        assert.equal('2', space._redis_hash:get({ 0, 'hash', 'g' }).value)
        assert.equal('y', space._redis_list:get({ 0, 'list', 1 }).value)
        assert.equal(1.5, space._redis_zset:get({ 0, 'zset', 'm' }).score)
        assert.equal('q', space._redis_set:get({ 0, 'set', 'q' }).member)
        assert.equal('c', space._redis_stream:get({ 0, 'stream', '1-1' }).fields[4])
        assert.equal('a', space._redis_stream:get({ 0, 'stream', '1-1' })['fields[1]'])
    end)

    it('has nothing of what is not there, or of another type', function()
        assert.is_nil(space._redis:get({ 0, 'none' }))
        assert.is_nil(space._redis:get({ 1, 'hash' }))
        for name, third in pairs({ hash = 'z', list = 7, set = 'z', zset = 'z', stream = '2-2' }) do
            local view = space['_redis_' .. name]
            assert.is_nil(view:get({ 0, name, third }))
            assert.is_nil(view:get({ 0, 'text', third }))
            assert.is_nil(view:get({ 0, 'none', third }))
            assert.same({}, view:select({ 0, 'text' }))
            assert.same({}, view:select({ 0, 'none' }))
            assert.equal(0, view:count({ 0, 'text' }))
            assert.equal(0, view:count(3))
        end
        assert.is_nil(space._redis_string:get({ 0, 'hash' }))
    end)

    it('counts, and is walked', function()
        local numbers = { 6, 1, 2, 3, 2, 3, 1 }
        for n, name in ipairs(VIEWS) do
            assert.equal(numbers[n], space[name]:count())
            assert.equal(numbers[n], space[name]:len())
            assert.equal(numbers[n], space[name]:count(0))
            local seen = 0
            for _, t in space[name]:pairs() do
                assert.equal(0, t.database)
                seen = seen + 1
            end
            assert.equal(numbers[n], seen)
        end
        assert.equal(1, space._redis_hash:count({ 0, 'hash', 'f' }))
        local second = space._redis_list:select(nil, { offset = 1, limit = 1 })
        assert.same({ { 0, 'list', 1, 'y' } }, tables(second))
        local fields = space._redis_hash:pairs({ 0, 'hash' }):map(function(t) return t.field end)
        assert.same({ 'f', 'g' }, fields:totable())
    end)

    it('goes over all databases', function()
        box.atomic(function()
            redis.call('set', 'mine', 1)
            redis.call('move', 'mine', 7)
            redis.call('move', 'hash', 15)
        end)
        assert.same({ { 7, 'mine', '1' } }, tables(space._redis_string:select(7)))
        assert.same({ { 15, 'hash', 'f', '1' }, { 15, 'hash', 'g', '2' } },
            tables(space._redis_hash:select()))
        assert.equal(7, space._redis:count())
        assert.equal('1', space._redis_string:get({ 7, 'mine' }).value)
        assert.is_false(redis.call('get', 'mine'))
    end)

    it('sees the transaction that it is read in', function()
        local accounts = box.schema.space.create('accounts')
        accounts:create_index('pk')
        box.begin()
        accounts:insert({ 1 })
        redis.call('hset', 'hash', 'f', '10')
        redis.call('del', 'list')
        assert.equal('10', space._redis_hash:get({ 0, 'hash', 'f' }).value)
        assert.equal(0, space._redis_list:count())
        box.rollback()
        assert.equal('1', space._redis_hash:get({ 0, 'hash', 'f' }).value)
        assert.equal(3, space._redis_list:count())
        assert.is_nil(accounts:get(1))
        accounts:drop()
    end)

    it('is the same whatever a script has set', function()
        redis.setresp(3)
        local found = space._redis_zset:get({ 0, 'zset', 'm' })
        local hash = space._redis_hash:count()
        redis.setresp(2)
        assert.equal(1.5, found.score)
        assert.equal(2, hash)
    end)

    it('shows large collections too', function()
        box.atomic(function()
            for n = 1, 1000 do
                redis.call('hset', 'large', 'f' .. n, n)
                redis.call('rpush', 'long', n)
            end
        end)
        assert.equal(1000, space._redis_hash:count({ 0, 'large' }))
        assert.equal('777', space._redis_hash:get({ 0, 'large', 'f777' }).value)
        assert.equal(500500, space._redis_list:pairs({ 0, 'long' }):map(function(t)
            return tonumber(t.value)
        end):sum())
    end)

    local function message(fn, ...)
        local ok, err = pcall(fn, ...)
        assert.is_false(ok)
        return tostring(err)
    end

    it('can only be read', function()
        for _, name in ipairs(VIEWS) do
            for _, method in ipairs({ 'insert', 'replace', 'put', 'update', 'upsert', 'delete', 'truncate',
                'drop', 'alter', 'create_index', 'lock', 'rename' }) do
                assert.equal(('box.space.%s is read-only: use redis.call'):format(name),
                    message(space[name][method], space[name], { 0, 'text' }, {}))
            end
        end
        assert.equal('words\0\255', redis.call('get', 'text'))
    end)

    it('says what is wrong with a key', function()
        local hash = space._redis_hash
        assert.equal('a key of _redis_hash is {database, key, field}, and get needs all of it',
            message(hash.get, hash, { 0, 'hash' }))
        for _, key in ipairs({ { 0, 'hash', 'f', 'g' }, { 0, 7 }, { 0, 'hash', 7 } }) do
            assert.equal('a key of _redis_hash is {database, key, field}', message(hash.select, hash, key))
        end
        for _, database in ipairs({ 16, -1, 0.5, 'hash' }) do
            assert.equal('a key of _redis_hash is {database, key, field}: databases are numbers from 0 to 15',
                message(hash.select, hash, database))
        end
        assert.is_string(message(hash.select, hash, { 0 }, { iterator = 'GE' }))
        assert.is_string(message(hash.get, space._redis_set, { 0, 'hash', 'f' }))
        assert.is_string(message(space._redis_stream.get, space._redis_stream, { 0, 'stream', 'oh' }))
        assert.is_string(message(space._redis_list.get, space._redis_list, { 0, 'list', 'f' }))
    end)

    it('is read with the rights of the commands', function()
        box.schema.user.create('bob')
        local function count() return box.space._redis_hash:count() end
        assert.is_string(message(box.session.su, 'bob', count))
        box.schema.user.grant('bob', 'read', 'space', '_redis')
        assert.equal(2, box.session.su('bob', count))
        box.schema.user.drop('bob')
    end)

    it('tells its format', function()
        assert.same({
            { name = 'database', type = 'unsigned' }, { name = 'key', type = 'string' },
            { name = 'member', type = 'string' }, { name = 'score', type = 'double' },
        }, space._redis_zset:format())
        assert.is_true(require('json').encode(space._redis_zset):find('"score"', 1, true) ~= nil)
    end)
end)
