-- SPDX-License-Identifier: Apache-2.0

describe('a view', function()
    local rich

    before_each(function()
        local s = box.schema.space.create('accounts', {
            format = { { 'id', 'unsigned' }, { 'owner', 'string' }, { 'balance', 'number' } },
        })
        s:create_index('pk')
        for n = 1, 20 do
            s:insert({ n, n % 2 == 0 and 'ann' or 'bob', n * 100 })
        end
        rich = box.schema.space.create('rich', {
            format = { { 'owner', 'string' }, { 'money', 'number' } },
            view = [[function()
                return box.space.accounts:pairs():filter(function(t) return t.balance > 1500 end)
                    :map(function(t) return { t.owner, t.balance } end)
            end]],
        })
    end)

    after_each(function()
        for _, name in ipairs({ 'rich', 'plain', 'broken', 'accounts' }) do
            if box.space[name] then box.space[name]:drop() end
        end
    end)

    it('is read as a space is', function()
        assert.equal(5, rich:count())
        assert.equal(5, rich:len())
        assert.equal(3, rich:count('ann'))
        assert.equal(1600, rich:select()[1].money)
        assert.same({ { 'bob', 1700 }, { 'bob', 1900 } }, {
            rich:select('bob')[1]:totable(), rich:select({ 'bob' })[2]:totable(),
        })
        assert.equal(1800, rich:select(nil, { offset = 2, limit = 1 })[1].money)
        assert.equal('ann', rich:get('ann').owner)
        assert.equal(1900, rich:get({ 'bob', 1900 }).money)
        assert.is_nil(rich:get('eve'))
        local sum = 0
        for _, t in rich:pairs('ann') do sum = sum + t.money end
        assert.equal(1600 + 1800 + 2000, sum)
        assert.equal(9000, rich:pairs():map(function(t) return t.money end):sum())
    end)

    it('shows what its spaces have now', function()
        box.space.accounts:insert({ 30, 'eve', 5000 })
        assert.equal(1, rich:count('eve'))
        box.begin()
        box.space.accounts:delete(30)
        assert.equal(0, rich:count('eve'))
        box.rollback()
        assert.equal(1, rich:count('eve'))
    end)

    it('has no order, no rows of its own and no positions', function()
        for _, options in ipairs({ { iterator = 'GE' }, 'LT', { after = { 1 } }, { fetch_pos = true } }) do
            local ok, err = pcall(rich.select, rich, 'ann', options)
            assert.is_false(ok)
            assert.equal(box.error.UNSUPPORTED, err.code)
        end
        for _, statement in ipairs({
            function() rich:insert({ 'x', 1 }) end, function() rich:replace({ 'x', 1 }) end,
            function() rich:delete('ann') end, function() rich:update('ann', { { '+', 2, 1 } }) end,
        }) do
            local ok, err = pcall(statement)
            assert.is_false(ok)
            assert.equal(box.error.READONLY, err.code)
            assert.matches('is a view', err.message)
        end
        assert.has_error(function() rich.select() end)
        assert.has_error(function() rich:create_index('pk') end)
        assert.has_error(function() rich:truncate() end)
    end)

    it('may be a table, or made of tuples', function()
        local plain = box.schema.space.create('plain', { view = 'return {{ 1, "a" }, { 2, "b" }}' })
        assert.equal('b', plain:get(2)[2])
        plain:drop()
        box.schema.space.create('plain', { view = 'function() return box.space.accounts:select(3) end' })
        assert.equal('bob', box.space.plain:get(3).owner)
    end)

    it('says what is wrong with its definition', function()
        assert.has_error(function() box.schema.space.create('broken', { view = 'function( end' }) end)
        assert.has_error(function() box.schema.space.create('broken', { view = 5 }) end)
        local broken = box.schema.space.create('broken', { view = 'function() return {5} end' })
        assert.has_error(function() broken:select() end)
    end)

    it('is written through a trigger', function()
        rich:create_trigger('write', { event = 'instead_of',
            body = 'function(old, new) box.space.accounts:insert({ 99, new[1], new[2] }) end' })
        rich:insert({ 'zoe', 7000 })
        assert.equal('zoe', box.space.accounts:get(99).owner)
        assert.equal(7000, rich:get('zoe').money)
    end)
end)
