-- SPDX-License-Identifier: Apache-2.0
--
-- table.sort of procedures and scripts, which is Lua (lua/box/sort.lua), beside the one of C, whose algorithm
-- it has: what comes out, what an order is asked and what is raised are the same.

local sort = require('box.sort')

local random_state = tonumber(os.getenv('TEST_SEED')) or os.time()
print('sort: TEST_SEED=' .. random_state)
math.randomseed(random_state)

local kinds = {
    function(n) return n end,
    function(n) return -n end,
    function() return math.random() end,
    function() return math.random(3) end,
    function() return 'k' .. math.random(1000) end,
    function(n) return n % 7 end,
}

local function made(kind, count)
    local list = {}
    for n = 1, count do
        list[n] = kinds[kind](n)
    end
    return list
end

local function copy(list)
    local result = {}
    for n = 1, #list do
        result[n] = list[n]
    end
    return result
end

--- What it leaves behind, what it asks, and what it raises, without the place in front.
local function outcome(by, list, before)
    local asked = {}
    local function order(left, right)
        asked[#asked + 1] = tostring(left) .. '<' .. tostring(right)
        return before(left, right)
    end
    local ok, message = pcall(function() by(list, before and order) end)
    return { list = list, asked = asked, ok = ok, message = not ok and message:gsub('^%S+:%d+: ', '') or nil }
end

describe('table.sort', function()
    it('gives what that of C gives, and asks what it asks', function()
        local orders = {
            function(left, right) return left < right end,
            function(left, right) return left > right end,
            function(left, right) return #tostring(left) < #tostring(right) end,
        }
        for kind = 1, #kinds do
            for _, count in ipairs({ 0, 1, 2, 3, 4, 5, 8, 100, 1000, 5000 }) do
                local list = made(kind, count)
                for _, order in ipairs(orders) do
                    local expected = outcome(table.sort, copy(list), order)
                    assert.same(expected, outcome(sort, copy(list), order))
                end
                local expected, got = copy(list), copy(list)
                table.sort(expected)
                sort(got)
                assert.same(expected, got)
            end
        end
    end)

    it('raises what that of C raises', function()
        local function never(l, r) return l ~= r end
        local function always() return true end
        local function breaks() error({ mine = true }) end
        for _, count in ipairs({ 2, 3, 4, 10, 100, 5000 }) do
            assert.same(outcome(table.sort, made(1, count), always), outcome(sort, made(1, count), always))
            assert.same(outcome(table.sort, made(6, count), never), outcome(sort, made(6, count), never))
            local ok, problem = pcall(sort, made(1, count), breaks)
            assert.is_false(ok)
            assert.is_true(problem.mine)
        end
        local mixtures = {
            { 1, 'a' }, { 'a', 1 }, { {}, {} }, { true, false }, { 1, {} }, { print, print }, { 'a', true },
        }
        for _, mixture in ipairs(mixtures) do
            for _, count in ipairs({ 2, 5000 }) do -- few are sorted by C
                local list = {}
                for n = 1, count do
                    list[n] = mixture[n % 2 + 1]
                end
                local expected, got = outcome(table.sort, copy(list)), outcome(sort, copy(list))
                assert.is_false(got.ok)
                assert.equal(expected.message, got.message)
            end
        end
        local holes = made(1, 6000)
        holes[3000] = nil
        if #holes == 6000 then
            assert.equal(outcome(table.sort, holes).message, outcome(sort, holes).message)
        end
        for _, arguments in ipairs({ { 3 }, { 'x' }, { {}, 3 }, { { 1, 2 }, {} } }) do
            local _, expected = pcall(table.sort, unpack(arguments))
            local _, got = pcall(sort, unpack(arguments))
            assert.equal(expected, got)
        end
    end)

    it('says where an order contradicts itself', function()
        local text = 'local sort = ...\nlocal t = {}\nfor n = 1, 100 do t[n] = n * 7 % 13 end\n'
            .. 'sort(t, function() return true end)\nreturn 1'
        local ok, message = pcall(loadstring(text, '=text'), sort)
        assert.is_false(ok)
        assert.equal('text:4: invalid order function for sorting', message)
    end)

    it('knows what metatables say about order, and not what they say about fields', function()
        local metatable = { __lt = function(left, right) return left.key < right.key end }
        for _, count in ipairs({ 10, 5000 }) do
            local list = {}
            for n = 1, count do
                list[n] = setmetatable({ key = n * 7919 % 10007 }, metatable)
            end
            sort(list)
            for n = 2, count do
                assert.is_true(list[n - 1].key <= list[n].key)
            end
        end
        local function refuse() error('a field was asked for') end
        for _, order in ipairs({ false, function(left, right) return left < right end }) do
            local list = setmetatable(made(3, 5000), { __index = refuse, __newindex = refuse })
            sort(list, order or nil)
            for n = 2, 5000 do
                assert.is_true(rawget(list, n - 1) <= rawget(list, n))
            end
        end
        local whole = {}
        for n = 1, 5000 do
            whole[n] = n * 7919LL % 10007
        end
        sort(whole)
        for n = 2, 5000 do
            assert.is_true(whole[n - 1] <= whole[n])
        end
    end)

    it('may wait in an order', function()
        local wrapped = coroutine.wrap(function()
            local list = { 3, 1, 2 }
            sort(list, function(left, right)
                coroutine.yield()
                return left < right
            end)
            return list
        end)
        local given
        repeat given = wrapped() until given
        assert.same({ 1, 2, 3 }, given)
    end)
end)
