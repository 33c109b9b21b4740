-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;' .. package.path

local format = require('console.format')
local grid = require('console.grid')
local live = require('console.live')
local msgpack = require('client.msgpack')
local point = require('console.point')
local redis = require('console.redis')
local resp = require('console.resp')
local signature = require('console.signature')

local ROWS = { { 1, 'Ada' }, { 2, 'a "b", | c' }, { 3, msgpack.NULL } }
local NAMES = { 'id', 'name' }

local function render(kind, result, names)
    return format[kind](result, grid.shape(result, names))
end

describe('the formats of results', function()
    it('write rows as lines of JSON, as objects where the columns have names', function()
        assert.equal('{"id":1,"name":"Ada"}\n{"id":2,"name":"a \\"b\\", | c"}\n{"id":3,"name":null}',
            render('json', ROWS, NAMES))
        assert.equal('[1,"Ada"]\n[2,"a \\"b\\", | c"]\n[3,null]', render('json', ROWS))
    end)

    it('write values as JSON that keeps every digit, and any bytes', function()
        assert.equal('{"a":[1,{}],"b":9007199254740993}',
            render('json', msgpack.map({ b = 9007199254740993LL, a = { 1, msgpack.map({}) } })))
        assert.equal('"\\u0000\\n\\u00ff"', format.json_value('\0\n\255'))
        assert.equal('"grüße"', format.json_value('grüße'))
        assert.equal('null', format.json_value(nil))
        assert.equal('"15.00"', format.json_value(require('client.extension').new(1, '\2\1\80\12')))
        assert.equal('null', format.json_value(0 / 0))
    end)

    it('write YAML, with quotes where a word would be something else', function()
        assert.equal('- id: 1\n  name: Ada\n- id: 2\n  name: "a \\"b\\", | c"\n- id: 3\n  name: null',
            render('yaml', ROWS, NAMES))
        assert.equal('---\na:\n  - 1\n  - b: "yes"\nc: []',
            render('yaml', msgpack.map({ a = { 1, msgpack.map({ b = 'yes' }) }, c = {} })))
        assert.equal('--- 7', render('yaml', 7))
    end)

    it('write CSV as RFC 4180 has it', function()
        assert.equal('id,name\n1,Ada\n2,"a ""b"", | c"\n3,', render('csv', ROWS, NAMES))
        assert.equal('1,"[2,3]"', render('csv', { { 1, { 2, 3 } } }))
    end)

    it('write Markdown, with numbers at the right', function()
        assert.equal('| id | name |\n| ---: | --- |\n| 1 | Ada |\n| 2 | a "b", \\| c |\n| 3 |  |',
            render('markdown', ROWS, NAMES))
    end)

    it('draw a block for each row', function()
        assert.equal('-[ 1 ]--\n id   | 1\n name | Ada\n-[ 2 ]--\n id   | 2\n name | a "b", | c\n-[ 3 ]--\n'
            .. ' id   | 3\n name | nil', grid.expand(grid.shape(ROWS, NAMES)))
        assert.is_truthy(grid.expand(grid.shape({ { ('x'):rep(50) } }), 20):find(' 1 | x+…$'))
    end)
end)

describe('a line of Redis', function()
    it('has words between blanks or in quotes', function()
        assert.same({ 'SET', 'a', 'b c', 'd' }, redis.words(' SET a "b c"  d '))
        assert.same({ 'SET', '', 'a\n"\255', "it's\\n" }, redis.words([[SET "" "a\n\"\xff" 'it\'s\n']]))
        assert.is_nil(redis.words('SET "a'))
        assert.is_nil(redis.words('SET "a"b'))
    end)

    it('begins with a slash, or with a word in capitals that is not used as a name of Lua', function()
        assert.equal('get a', redis.parse('/get a'))
        assert.equal('GET a', redis.parse('  GET a'))
        assert.equal('TIME', redis.parse('TIME'))
        assert.equal('SPACE.GET people 1', redis.parse('SPACE.GET people 1'))
        for _, lua in ipairs({ 'GET = 1', 'GET.a = 1', 'GET:a()', 'GET(1)', 'GET (1)', 'Get a', 'GETx',
            'GET\na', 'GET .. 1', '1 / 2' }) do
            assert.is_nil(redis.parse(lua), lua)
        end
    end)

    it('has replies that look as in redis-cli', function()
        local function show(expected, reply)
            assert.equal(expected, redis.show(reply))
        end
        show('(nil)', resp.NULL)
        show('(integer) 7', 7)
        show('"a\\n\\"\\\\ü"', 'a\n"\\ü')
        show('"\\xff\\n"', '\255\n')
        show('OK', { kind = 'status', text = 'OK' })
        show('(double) 1.5', { kind = 'double', text = '1.5' })
        show('(true)', true)
        show('(empty array)', { kind = 'array' })
        show('1) "a"\n2) 1~ "b"\n   2~ (integer) 2',
            { kind = 'array', 'a', { kind = 'set', 'b', 2 } })
        show('1# "k" => "v"', { kind = 'map', 'k', 'v' })
        assert.same({ 1, 'a' }, redis.plain({ kind = 'array', 1, { kind = 'status', text = 'a' } }))
        assert.equal('v', redis.plain({ kind = 'map', 'k', 'v' }).k)
    end)
end)

describe('the place of an error', function()
    local function at(expected, message, source)
        assert.equal(expected, point.at(message, source))
    end

    it('is the word over which the parser has stumbled', function()
        at('  local a = = 3\n            ^', "eval:1: unexpected symbol near '='", 'local a = = 3')
        at('  a b\n    ^', "eval:1: '=' expected near 'b'", 'a b')
        at('  f(1, (2\n         ^', "eval:1: ')' expected near '<eof>'", 'f(1, (2')
    end)

    it('is the name that was nil', function()
        at('  a.b.c = 1\n    ^', "eval:1: attempt to index field 'b' (a nil value)", 'a.b.c = 1')
        at('  b(b:nothing())\n      ^', "eval:1: attempt to call method 'nothing' (a nil value)",
            'b(b:nothing())')
        at('  return grüße, x()\n                ^', "eval:2: attempt to call global 'x' (a nil value)",
            'local a\nreturn grüße, x()')
    end)

    it('is a line where there are several, and nothing where it is known', function()
        at("  error('no')", 'eval:2: no', "local a\nerror('no')")
        at(nil, 'eval:1: no', "error('no')")
        at(nil, 'inner:3: no', 'f()')
        at(nil, 'eval:9: no', 'f()')
    end)
end)

describe('signatures', function()
    it('are found by the path of a function', function()
        assert.equal('(tuple)', signature.of('box.space.people:insert').arguments)
        assert.equal('([key])', signature.of('box.space.people.index.name:max').arguments)
        assert.equal('([key, {iterator, limit, offset, after}])', signature.of('people:select').arguments)
        assert.is_nil(signature.of('box.nothing'))
    end)

    it('belong to the innermost call that is open', function()
        assert.equal('box.space.a:insert', (signature.open_call('box.space.a:insert({1, "')))
        assert.equal('g', (signature.open_call('f(1, g(2, ')))
        assert.equal('f', (signature.open_call('f(1, g(2), ")')))
        assert.is_nil(signature.open_call('f(1)'))
    end)
end)

describe('a sparkline', function()
    it('has its highest bar where the figure is highest', function()
        assert.equal('▁▄█', live.sparkline({ 0, 5, 10 }))
        assert.equal('▁▁', live.sparkline({ 0, 0 }))
    end)
end)
