-- SPDX-License-Identifier: Apache-2.0
--
-- string.rep, upper, lower, reverse and table.concat of procedures and scripts, which make what is long in
-- steps (lua/box/long.lua), beside those of LuaJIT: results and errors, with their places, are the same.

local long = require('box.long')
local shared = {
    rep = string.rep, upper = string.upper, lower = string.lower, reverse = string.reverse,
    concat = table.concat,
}

--- By both of them, called as a method or a field of a library is.
local function assert_same(name, ...)
    local function outcome(library, ...)
        local ok, result = pcall(function(...)
            local made = library[name](...)
            return made
        end, ...)
        return tostring(ok), result
    end
    local ok, made = outcome(long, ...)
    local expected_ok, expected = outcome(shared, ...)
    assert.are.equal(expected_ok, ok)
    assert.is_true(expected == made, name .. ': ' .. tostring(made):sub(1, 100))
end

describe('what is long', function()
    it('is repeated as LuaJIT does', function()
        for _, period in ipairs({ 1, 2, 3, 1000, 65535, 65536, 65537, 200001 }) do
            local text = ('abcdefg'):rep(period / 7 + 1):sub(1, period)
            for _, size in ipairs({ 999999, 1000001, 1500000 }) do
                assert_same('rep', text, size / period)
                assert_same('rep', text, size / period + 1)
                assert_same('rep', text, size / (period + 2), ', ')
                assert_same('rep', text, 5, text .. '-')
            end
        end
        assert_same('rep', '', 1e7)
        assert_same('rep', '', 600000, 'ab')
        assert_same('rep', 'ab', 600000, '')
        assert_same('rep', 'ab', 600000.7, 'c')
        assert_same('rep', 17, 1e6)
        assert_same('rep', 'ab', '600000')
        assert_same('rep', 'ab', 300000, 17)
        assert_same('rep', 'ab', -1e9)
        assert_same('rep', 'ab', 0 / 0)
    end)

    it('has its letters changed, and is turned round, as LuaJIT does', function()
        local bytes = {}
        for code = 0, 255 do
            bytes[#bytes + 1] = string.char(code)
        end
        local all = table.concat(bytes)
        for _, size in ipairs({ 0, 1, 999999, 1000000, 1000001, 1048576, 1234567 }) do
            local text = all:rep(size / 256 + 1):sub(1, size)
            assert_same('upper', text)
            assert_same('lower', text)
            assert_same('reverse', text)
        end
        assert_same('upper', 17)
    end)

    it('is put together as LuaJIT does', function()
        for _, count in ipairs({ 99999, 100000, 100001, 150000 }) do
            local list = {}
            for n = 1, count do
                list[n] = n % 3 == 0 and n / 4 or 'text ' .. n
            end
            assert_same('concat', list)
            assert_same('concat', list, ', ')
            assert_same('concat', list, 7)
            assert_same('concat', list, ', ', 2)
            assert_same('concat', list, ', ', nil, 70)
            assert_same('concat', list, ', ', 5, 100000)
            list[count - 10] = {}
            assert_same('concat', list, ', ')
            list[count - 10] = 'x'
            assert_same('concat', setmetatable(list, { __index = error, __len = error }), ', ')
        end
    end)

    it('is refused as LuaJIT does', function()
        for name in pairs(shared) do
            assert_same(name)
            assert_same(name, nil)
            assert_same(name, {})
            assert_same(name, true, 1)
        end
        assert_same('rep', 'x')
        assert_same('rep', 'x', {})
        assert_same('rep', 'x', 1e7, {})
        assert_same('concat', {}, {})
        assert_same('concat', { 1, {} })
    end)
end)
