-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;' .. package.path

local chunk = require('console.chunk')
local grid = require('console.grid')
local msgpack = require('client.msgpack')
local text = require('console.text')
local value = require('console.value')

--- As it comes from a server.
local function received(v)
    return (msgpack.decode(msgpack.encode(v)))
end

local function drawn(list, names, columns)
    return grid.draw(grid.shape(received(list), names), columns)
end

describe('a result', function()
    it('is a table when it is a list of tuples', function()
        assert.equal(table.concat({
            ' id | name  | balance',
            '----+-------+--------',
            '  1 | alice |     100',
            ' 20 | bob   |    2.75',
        }, '\n'), drawn({ { 1, 'alice', 100 }, { 20, 'bob', 2.75 } }, { 'id', 'name', 'balance' }))
    end)

    it('has numbers for columns without names, and room for fields that only some have', function()
        assert.equal(table.concat({
            ' 1 | 2   | 3',
            '---+-----+---------',
            ' 1 | nil |',
            ' 2 | b   | {1, \'x\'}',
        }, '\n'), drawn({ { 1, msgpack.NULL }, { 2, 'b', { 1, 'x' } } }))
    end)

    it('has types below the names where they are known', function()
        local list = received({ { 1, 'alice' }, { 20, 'bob', true } })
        local shape = grid.shape(list, { 'id', 'name' }, { 'unsigned', 'string?' })
        assert.equal(table.concat({
            '       id | name    | 3',
            ' unsigned | string? |',
            '----------+---------+-----',
            '        1 | alice   |',
            '       20 | bob     | true',
        }, '\n'), grid.draw(shape))
        assert.equal(table.concat({
            '-[ 1 ]-----------',
            ' id (unsigned)  | 1',
            ' name (string?) | alice',
            ' 3              |',
        }, '\n'), grid.expand(shape):match('^(.-)\n%-%[ 2'))
    end)

    it('is a table when it is a list of maps', function()
        assert.equal(table.concat({
            ' a | b',
            '---+--',
            ' 1 | x',
            '   | y',
        }, '\n'), drawn({ { a = 1, b = 'x' }, { b = 'y' } }))
    end)

    it('is as wide as the terminal at most', function()
        local list = { { 1, ('long '):rep(30), ('日本語'):rep(20) } }
        for columns = 20, 100 do
            for line in drawn(list, { 'id', 'text', 'wide' }, columns):gmatch('[^\n]+') do
                assert.is_true(text.width(line) <= columns)
            end
        end
        assert.is_truthy(drawn(list, nil, 40):find('…', 1, true))
        assert.is_falsy(drawn(list):find('…', 1, true))
    end)

    it('lines up characters of two columns and of none', function()
        local lines = {}
        for line in drawn({ { '日本', 'x' }, { 'é', 'y' }, { 'e\204\129', 'z' } }):gmatch('[^\n]+') do
            lines[#lines + 1] = text.width(line:match('^(.-)[|+]'))
        end
        assert.same({ 6, 6, 6, 6 }, { lines[1], lines[3], lines[4], lines[5] })
    end)

    it('cannot make the terminal obey', function()
        assert.equal("a\\x1b[2Jb\\x00", text.printable('a\27[2Jb\0'))
        assert.equal('\\xff\\xc3(', text.printable('\255\195('))
        assert.equal('\\xe2\\x80\\xae', text.printable('\226\128\174'))
        assert.equal('\\xc2\\x9b', text.printable('\194\155'))
        assert.equal('line\nline\\x07', text.printable('line\nline\7', '\n\t'))
        assert.equal('grüße 日本', text.printable('grüße 日本'))
    end)

    it('is written as Lua when it is no list of rows', function()
        assert.equal("{a = {1, 2}, ['end'] = true, ['x y'] = 'it\\'s'}",
            value.line(received({ a = { 1, 2 }, ['end'] = true, ['x y'] = "it's" })))
        assert.equal('{}', value.pretty(received({}), 80))
        assert.equal('18446744073709551615', value.scalar(18446744073709551615ULL))
        assert.equal('0.1', value.scalar(0.1))
        assert.equal('1e+300', value.scalar(1e300))
        assert.equal("{\n  a = '" .. ('x'):rep(20) .. "',\n  b = 2\n}",
            value.pretty(received({ a = ('x'):rep(20), b = 2 }), 20))
        assert.is_nil(grid.shape(received({ 1, 2 })))
        assert.is_nil(grid.shape(received({ { 1 }, 2 })))
        assert.is_nil(grid.shape(received({})))
        assert.is_nil(grid.shape('text'))
    end)
end)

describe('an input', function()
    it('is complete when no more lines can be missing', function()
        for _, source in ipairs({ '1 + 1', 'x = 1', 'return 1', 'for i = 1, 2 do end', '-- word', '', 'a b',
            "'open", 'end', '[[x\ny]]', 'f{\n1}', 'function() end', 'x = 1;' }) do
            assert.is_true(chunk.is_complete(source), source)
        end
    end)

    it('goes on while something is open', function()
        for _, source in ipairs({ 'for i = 1, 2 do', 'function f()', 'f(', '{', '1 +', 'x =', '[[x',
            'x = [==[\n', 'if a then', 'repeat', 'local function f()\nreturn 1', 'box.space.a:select(' }) do
            assert.is_false(chunk.is_complete(source), source)
        end
    end)

    it('is nothing to run when it has only blanks and comments', function()
        assert.is_true(chunk.is_blank(' \n-- a\n--[[ b\n c]] --[==[ d ]==]'))
        assert.is_false(chunk.is_blank('-- a\nb()'))
    end)

    it('names a space when it is one statement on it', function()
        for source, space in pairs({
            ['box.space.a:select{}'] = 'a',
            ['return box.space.a:get(1);'] = 'a',
            ["box.space.a:get'x'"] = 'a',
            ['box.space["a b"].index.x:select({1}, {limit = 5})'] = 'a b',
            ['box.space.a.index[0]:min()'] = 'a',
        }) do
            assert.equal(space, (chunk.space_of(source)), source)
        end
        for _, source in ipairs({ 'box.space.a:get(1)[2]', 'box.space.a:len()', 'box.space.a',
            'x = box.space.a:get(1)', 'box.space.a:get(1), box.space.b:get(1)', 'f(box.space.a:get(1))' }) do
            assert.is_nil(chunk.space_of(source), source)
        end
    end)
end)
