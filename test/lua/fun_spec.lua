-- SPDX-License-Identifier: Apache-2.0

describe('fun', function()
    local fun = require('fun')

    --- All values of an iterator, those of one step joined.
    local function all(iterator)
        local result = {}
        for _, a, b, c in iterator do
            local parts = { tostring(a) }
            if b ~= nil then parts[2] = tostring(b) end
            if c ~= nil then parts[3] = tostring(c) end
            result[#result + 1] = table.concat(parts, ':')
        end
        return table.concat(result, ' ')
    end

    local function even(x) return x % 2 == 0 end
    local function small(x) return x < 3 end

    it('iterates over tables, strings, generators and tuples', function()
        assert.equal('a b c', all(fun.iter({ 'a', 'b', 'c' })))
        assert.equal('x:1', all(fun.iter({ x = 1 })))
        assert.equal('a b', all(fun.iter('ab')))
        assert.equal('', all(fun.iter('')))
        assert.equal('', all(fun.iter({})))
        assert.equal('1 2 3', all(fun(fun.range(3))))
        assert.equal('7 x', all(fun.iter(box.tuple.new({ 7, 'x' }))))
        assert.equal('5 6', all(fun.iter(ipairs({ 5, 6 }))))
        assert.has_error(function() fun.iter(5) end)
    end)

    it('makes ranges, repetitions and functions of a position', function()
        assert.equal('1 2 3', all(fun.range(3)))
        assert.equal('-1 -2', all(fun.range(-2)))
        assert.equal('2 3 4', all(fun.range(2, 4)))
        assert.equal('1 3 5', all(fun.range(1, 5, 2)))
        assert.equal('3 2', all(fun.range(3, 2)))
        assert.equal('', all(fun.range(0)))
        assert.has_error(function() fun.range(1, 2, 0) end)
        assert.equal('x x', all(fun.duplicate('x'):take(2)))
        assert.equal('x:y x:y', all(fun.xrepeat('x', 'y'):take(2)))
        assert.equal('0 1 4', all(fun.tabulate(function(n) return n * n end):take(3)))
        assert.equal('0 0', all(fun.zeros():take(2)))
        assert.equal('1', all(fun.ones():take(1)))
        assert.is_true(fun.rands(10, 20):take(100):all(function(n) return n >= 10 and n < 20 end))
        assert.is_true(fun.rands():take(10):all(function(n) return n >= 0 and n < 1 end))
    end)

    it('takes and drops', function()
        assert.equal(2, fun.range(5):nth(2))
        assert.is_nil(fun.range(5):nth(6))
        assert.equal(3, fun.nth(3, { 1, 2, 3 }))
        assert.equal(1, fun.range(5):head())
        assert.has_error(function() fun.iter({}):head() end)
        assert.equal('2 3', all(fun.range(3):tail()))
        assert.equal('', all(fun.iter({}):tail()))
        assert.equal('1 2', all(fun.range(5):take(2)))
        assert.equal('1 2', all(fun.take(small, fun.range(5))))
        assert.equal('1 2', all(fun.range(5):take_while(small)))
        assert.equal('3 4 5', all(fun.range(5):drop(2)))
        assert.equal('3 4 5', all(fun.range(5):drop(small)))
        assert.equal('', all(fun.range(2):drop(5)))
        assert.equal('', all(fun.range(2):drop_while(small)))
        local first, rest = fun.range(5):span(2)
        assert.equal('1 2 | 3 4 5', all(first) .. ' | ' .. all(rest))
        first, rest = fun.range(5):split(small)
        assert.equal('1 2 | 3 4 5', all(first) .. ' | ' .. all(rest))
        assert.has_error(function() fun.range(2):take(-1) end)
    end)

    it('finds positions', function()
        assert.equal(2, fun.index('b', { 'a', 'b', 'b' }))
        assert.is_nil(fun.range(3):index_of(7))
        assert.equal('2 3', all(fun.indexes('b', { 'a', 'b', 'b' })))
    end)

    it('filters', function()
        assert.equal('2 4', all(fun.range(5):filter(even)))
        assert.equal('1 3 5', all(fun.range(5):remove_if(even)))
        assert.equal('ab b', all(fun.grep('b', { 'ab', 'c', 'b' })))
        assert.equal('2', all(fun.range(3):grep(even)))
        local yes, no = fun.range(4):partition(even)
        assert.equal('2 4 | 1 3', all(yes) .. ' | ' .. all(no))
        assert.equal('2:b', all(fun.enumerate({ 'a', 'b' }):filter(function(n) return n == 2 end)))
    end)

    it('reduces', function()
        assert.equal(15, fun.range(5):foldl(function(sum, x) return sum + x end, 0))
        assert.equal(15, fun.reduce(function(sum, x) return sum + x end, 0, { 1, 2, 3, 4, 5 }))
        assert.equal(5, fun.range(5):length())
        assert.is_true(fun.iter({}):is_null())
        assert.is_false(fun.range(1):is_null())
        assert.is_true(fun.range(2):is_prefix_of(fun.range(3)))
        assert.is_false(fun.is_prefix_of({ 1, 2 }, { 1 }))
        assert.is_true(fun.range(4):filter(even):all(even))
        assert.is_false(fun.range(4):every(even))
        assert.is_true(fun.range(4):any(even))
        assert.is_false(fun.range(1):some(even))
        assert.equal(10, fun.range(4):sum())
        assert.equal(24, fun.range(4):product())
        assert.equal(1, fun.iter({ 3, 1, 2 }):min())
        assert.equal(3, fun.iter({ 3, 1, 2 }):max())
        local function longer(a, b) return #a < #b and b or a end
        assert.equal('ccc', fun.iter({ 'a', 'ccc', 'bb' }):max_by(longer))
        assert.equal('ccc', fun.min_by(longer, { 'a', 'ccc', 'bb' }))
        assert.has_error(function() fun.iter({}):max() end)
        assert.same({ 'a', 'b' }, fun.iter('ab'):totable())
        assert.same({ a = 1, b = 2 }, fun.zip({ 'a', 'b' }, { 1, 2 }):tomap())
        local seen = {}
        fun.range(2):each(function(x) seen[#seen + 1] = x end)
        fun.enumerate('x'):foreach(function(n, x) seen[#seen + 1] = n .. x end)
        assert.same({ 1, 2, '1x' }, seen)
    end)

    it('transforms', function()
        assert.equal('1 4 9', all(fun.range(3):map(function(x) return x * x end)))
        assert.equal('1:a 2:b', all(fun.iter('ab'):enumerate()))
        assert.equal('a - b - c', all(fun.iter('abc'):intersperse('-')))
        assert.equal('', all(fun.iter(''):intersperse('-')))
    end)

    it('composes', function()
        assert.equal('1:a 2:b', all(fun.zip(fun.range(5), 'ab')))
        assert.equal('1:2:3', all(fun.zip({ 1 }, { 2 }, { 3 })))
        assert.equal('1 2 1 2 1', all(fun.range(2):cycle():take(5)))
        assert.equal('', all(fun.iter({}):cycle()))
        assert.equal('1 2 a b', all(fun.range(2):chain({}, 'ab')))
        assert.equal('', all(fun.chain({}, {})))
    end)

    it('has operators as functions', function()
        assert.equal(6, fun.range(3):foldl(fun.op.add, 0))
        assert.equal('ab', fun.foldl(fun.operator.concat, '', 'ab'))
        assert.equal(-2, fun.op.intdiv(-5, 2))
        assert.equal(-3, fun.op.floordiv(-5, 2))
    end)

    it('can be gone over again when what it comes from can', function()
        for _, iterator in ipairs({
            fun.range(9):take(3), fun.range(3):enumerate(), fun.range(5):drop_while(small),
            fun.zip({ 1, 2 }, 'ab'), fun.chain({ 1 }, { 2 }), fun.range(3):intersperse(0),
            fun.indexes(1, { 1, 1 }), fun.range(2):cycle():take(3),
        }) do
            assert.equal(all(iterator), all(iterator))
            assert.is_true(iterator:length() > 1)
        end
    end)

    it('chains on what a space has', function()
        local s = box.schema.space.create('chained', { format = { { 'id', 'unsigned' }, { 'n', 'number' } } })
        s:create_index('pk')
        for n = 1, 500 do
            s:insert({ n, n % 7 })
        end
        local function check()
            local found = s:pairs():filter(function(t) return t.n == 3 end)
                :map(function(t) return t.id end):take(3):totable()
            assert.same({ 3, 10, 17 }, found)
            assert.equal(500, s:pairs():length())
            assert.equal(500, s.index.pk:pairs(nil, { iterator = 'REQ' }):head().id)
            assert.equal(1497, s:pairs():map(function(t) return t.n end):sum())
            assert.equal('1:1', all(s:pairs():enumerate():map(function(n, t) return n, t.id end):take(1)))
        end
        check()
        box.atomic(check)
        s:drop()
    end)

    it('gives nothing away that could be changed', function()
        assert.has_error(function() fun.range = nil end)
        assert.has_error(function() fun.op.add = nil end)
        assert.equal('iterator', getmetatable(fun.range(1)))
    end)
end)
