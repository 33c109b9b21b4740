-- SPDX-License-Identifier: Apache-2.0

local decimal = require('decimal')

--- What an error says, and its code's name.
local function refused(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return tostring(err), type(err) == 'table' and err.name or nil
end

local function create(name, options, parts)
    local space = box.schema.space.create(name, options)
    space:create_index('pk', { parts = parts })
    return space
end

describe('formats', function()
    after_each(function()
        for _, name in ipairs({ 'orders', 'customers', 's' }) do
            if box.space[name] then
                box.space[name]:drop()
            end
        end
    end)

    it('have defaults, by value and by expression', function()
        local s = create('s', {
            format = {
                { 'id', 'unsigned' },
                { 'state', 'string', default = 'new' },
                { 'tags', 'array', default = { 'a', 'b' } },
                { 'label', 'string', default_func = "t.state .. '/' .. t.id" },
            },
        })
        assert.are.same({ 1, 'new', { 'a', 'b' }, 'new/1' }, s:insert({ 1 }):totable())
        assert.are.same({ 2, 'old', {}, 'x' }, s:insert({ 2, 'old', {}, 'x' }):totable())
        assert.are.equal('old/3', s:replace({ 3, 'old', box.NULL, nil }).label)
    end)

    it('have defaults that are computed from one by value', function()
        box.schema.func.create('shout', { body = 'function(default) return default:upper() end',
            is_deterministic = true })
        local t = box.schema.space.create('loud', { format = {
            { 'id', 'unsigned' },
            { 'word', 'string', default = 'hey', default_func = 'shout' },
            { 'again', 'string', default = '-', default_func = 'v .. t.word .. t.id' },
            { 'both', 'string', default = '+', default_func = 'function(d, t) return d .. t.again end' },
        } })
        t:create_index('pk')
        assert.same({ 1, 'HEY', '-HEY1', '+-HEY1' }, t:insert({ 1 }):totable())
        assert.same({ 2, 'you', '-you2', '+-you2' }, t:insert({ 2, 'you' }):totable())
        assert.same({ 3, 'you', 'x', 'y' }, t:insert({ 3, 'you', 'x', 'y' }):totable())
        assert.equal('hey', t:format()[2].default)
        t:format(t:format())
        assert.equal('HEY', t:insert({ 4 }).word)
        t:drop()
        box.schema.func.drop('shout')
        assert.is_false(pcall(box.schema.space.create, 'loud', { format = {
            { 'id', 'unsigned', default = 1, generated = '1' } } }))
    end)

    it('have generated fields', function()
        local s = create('s', {
            format = {
                { 'id', 'unsigned' },
                { 'name', 'string' },
                { 'low', 'string', generated = 't.name:lower()' },
                { 'size', 'unsigned', generated = 'function(t) return #t.low end' },
            },
        })
        s:create_index('low', { parts = { 'low' } })
        s:insert({ 1, 'ABC' })
        assert.are.same({ 1, 'ABC', 'abc', 3 }, s.index.low:get('abc'):totable())
        s:update(1, { { '=', 'name', 'XY' } })
        assert.is_nil(s.index.low:get('abc'))
        assert.are.same({ 1, 'XY', 'xy', 2 }, s.index.low:get('xy'):totable())
        local message, name = refused(s.replace, s, { 1, 'XY', 'z' })
        assert.matches('field 3 %(low%) of space "s" is generated', message)
        assert.are.equal('ERROR_SCHEMA', name)
    end)

    it('take values with a width', function()
        local s = create('s', {
            format = { { 'id', 'unsigned' }, { 'price', 'decimal' }, { 'n', 'double' } },
        })
        s:insert({ 1, decimal.new('1.50'), 2 })
        assert.are.equal('1.50', tostring(s:get(1).price))
        assert.matches('must be decimal, not double', (refused(s.insert, s, { 2, 1.5, 1 })))
    end)

    it('are computed from values with a width, too', function()
        local s = create('s', {
            format = {
                { 'id', 'unsigned' },
                { 'price', 'decimal', constraint = "v >= require('decimal').new('1.25')" },
                { 'total', 'decimal', generated = 't.price * 2' },
            },
        })
        assert.are.equal('3.0', tostring(s:insert({ 1, decimal.new('1.5') }).total))
        assert.matches('price_check', (refused(s.insert, s, { 2, decimal.new('1.2') })))
    end)

    it('are shown as they are given', function()
        local format = {
            { name = 'id', type = 'unsigned' },
            { name = 'a', type = 'string', is_nullable = true, default = 'x',
                constraint = { c = "v ~= ''" } },
            { name = 'b', type = 'any',
                constraint = { low = { '>=', 0 }, two = { { '>', 1 }, { '<', 5 } } } },
        }
        local s = create('s', {
            format = format,
            constraint = { d = { 'a', '~=', 'q' }, e = 't.id > 0' },
        })
        assert.are.same(format, s:format())
        assert.are.same({ d = { 'a', '~=', 'q' }, e = 't.id > 0' }, s.constraint)
        s:format(s:format())
        assert.are.same(format, s:format())
        s:alter({ constraint = s.constraint, format = s:format() })
        assert.are.same({ d = { 'a', '~=', 'q' }, e = 't.id > 0' }, s.constraint)
    end)
end)

describe('constraints', function()
    after_each(function()
        box.rollback()
        for _, name in ipairs({ 'orders', 'customers', 's' }) do
            if box.space[name] then
                box.space[name]:drop()
            end
        end
        if box.func.even then
            box.schema.func.drop('even')
        end
    end)

    it('are checked for each tuple that is written', function()
        local s = create('s', {
            format = { { 'id', 'unsigned' }, { 'balance', 'number' } },
            constraint = { positive = 't.balance >= 0' },
        })
        s:insert({ 1, 5 })
        local message, name = refused(s.update, s, 1, { { '-', 'balance', 6 } })
        assert.are.equal('constraint "positive" of space "s" does not hold for row {1}',
            message:match('constraint.*'))
        assert.are.equal('ERROR_CONSTRAINT', name)
        assert.are.equal(box.error.CONSTRAINT, -30)
        assert.are.equal(5, s:get(1).balance)
    end)

    it('of a field are about its value', function()
        local s = create('s', {
            format = {
                { 'id', 'unsigned' },
                { 'age', 'unsigned', is_nullable = true, constraint = 'v < 150' },
                { 'mail', 'string', constraint = { mail = "function(v) return v:find('@', 1, true) end" } },
            },
        })
        s:insert({ 1, box.NULL, 'a@b' })
        assert.matches('"age_check"', (refused(s.insert, s, { 2, 150, 'a@b' })))
        assert.matches('"mail"', (refused(s.insert, s, { 2, 5, 'ab' })))
    end)

    it('may be a function of the catalog', function()
        box.schema.func.create('even', { body = 'function(t) return t[1] % 2 == 0 end' })
        local s = create('s', { constraint = 'even' })
        s:insert({ 2 })
        assert.matches('"even"', (refused(s.insert, s, { 3 })))
    end)

    it('that fail say why', function()
        local s = create('s', { constraint = { c = 't[2].x > 1' } })
        assert.matches('cannot be checked for row {1}: .*attempt to index', (refused(s.insert, s, { 1 })))
        assert.matches('constraint "c":1', (refused(s.alter, s, { constraint = { c = '1 +' } })))
    end)

    it('that run away are stopped', function()
        local s = create('s', { constraint = { c = 'function(t) while true do end end' } })
        local message, name = refused(s.insert, s, { 1 })
        assert.matches('instructions', message)
        assert.are.equal('ERROR_TIMEOUT', name)
    end)
end)

describe('foreign keys', function()
    local customers, orders

    local function setup(action)
        customers = create('customers', { format = { { 'id', 'unsigned' }, { 'name', 'string' } } })
        orders = create('orders', {
            format = { { 'id', 'unsigned' }, { 'customer', 'unsigned', is_nullable = true } },
            foreign_key = {
                buyer = { space = 'customers', field = { customer = 'id' }, on_delete = action },
            },
        })
        orders:create_index('customer', { parts = { 'customer' }, unique = false })
        customers:insert({ 1, 'ann' })
        orders:insert({ 1, 1 })
    end

    after_each(function()
        box.rollback()
        orders:drop()
        customers:drop()
    end)

    it('refuse what refers to nothing, and to take away what is referred to', function()
        setup('restrict')
        local message, name = refused(orders.insert, orders, { 2, 5 })
        assert.matches('row {2} refers to {5}, which is not in space "customers"', message)
        assert.are.equal('ERROR_CONSTRAINT', name)
        assert.matches('row {1} refers to row {1} of space "customers"',
            (refused(customers.delete, customers, 1)))
        assert.matches('cannot be dropped', (refused(customers.drop, customers)))
        assert.are.same({ buyer = { space = 'customers', field = { customer = 'id' } } }, orders.foreign_key)
    end)

    it('cascade', function()
        setup('cascade')
        box.begin()
        customers:delete(1)
        assert.are.equal(0, orders:count())
        box.rollback()
        assert.are.equal(1, orders:count())
        customers:delete(1)
        assert.are.equal(0, orders:count())
    end)

    it('run the triggers of the rows that go', function()
        setup('cascade')
        orders:create_trigger('keep', { event = 'on_delete', body = "error('no') " })
        assert.matches('no', (refused(customers.delete, customers, 1)))
        assert.are.equal(1, customers:count())
        assert.are.equal(1, orders:count())
    end)

    it('set fields to nil', function()
        setup('set_null')
        customers:delete(1)
        assert.is_true(orders:get(1).customer == nil)
    end)

    it('of a field, and by number', function()
        setup()
        orders:alter({ foreign_key = {} })
        orders:format({ { 'id', 'unsigned' }, { 'customer', 'unsigned',
            foreign_key = { space = 'customers', field = 'id' } } })
        assert.matches('"customers"', (refused(orders.insert, orders, { 2, 5 })))
        assert.are.same({ customers = { space = 'customers', field = 'id' } }, orders:format()[2].foreign_key)
        orders:format({ { 'id', 'unsigned' }, { 'customer', 'unsigned' } })
        orders:insert({ 2, 5 })
        assert.matches('refers to {5}', (refused(orders.alter, orders,
            { foreign_key = { k = { space = customers.id, field = { [2] = 1 } } } })))
        orders:delete(2)
        orders:alter({ foreign_key = { k = { space = customers.id, field = { [2] = 1 } } } })
        assert.matches('"k"', (refused(orders.insert, orders, { 2, 5 })))
    end)

    it('stay when spaces get other names', function()
        setup()
        customers:rename('people')
        assert.is_nil(box.space.customers)
        assert.matches('space "people"', (refused(orders.insert, orders, { 2, 5 })))
        assert.are.equal('people', box.space.orders.foreign_key.buyer.space)
        box.space.people:rename('customers')
    end)
end)
