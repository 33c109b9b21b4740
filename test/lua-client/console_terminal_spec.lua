-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local client = require('client')
local console_case = require('console_case')
local process = require('process')

local enter, open = console_case.enter, console_case.open
local piped, with_server = console_case.piped, console_case.with_server

local SETUP = [[
box.schema.space.create('people', {format = {{'id', 'unsigned'}, {'name', 'string', is_nullable = true}}})
box.space.people:create_index('primary', {parts = {'id'}})
box.space.people:insert{1, 'Ada'}
]]

describe('the console', function()
    it('shows the types of fields where they are wanted', function()
        with_server(function(server)
            piped(server, SETUP)
            local output, status = piped(server, [[
                \set types on
                box.space.people:select()
                box.space.people:get(1)
                {{1, 'a'}}
                \x on
                box.space.people:get(1)
                \x off
                \set types off
                box.space.people:get(1)
            ]])
            assert.equal(0, status)
            local typed = '       id | name\n unsigned | string?\n----------+--------\n'
                .. '        1 | Ada\n(1 row)\n'
            assert.equal('types are on\n' .. typed .. typed .. " 1 | 2\n---+--\n 1 | a\n(1 row)\n"
                .. 'expanded output is on\n-[ 1 ]-----------\n id (unsigned)  | 1\n name (string?) | Ada\n'
                .. '(1 row)\nexpanded output is off\ntypes are off\n id | name\n----+-----\n  1 | Ada\n'
                .. '(1 row)\n', output)
        end)
    end)

    it('says what it takes', function()
        for _, words in ipairs({ { '--help' }, { 'unix:/nowhere', '--help' }, { '-u', 'bob', '-h' } }) do
            local console = process.spawn({ process.perigee, 'console', unpack(words) })
            console:close_input()
            local output, status = console:finish()
            assert.equal(0, status)
            for _, word in ipairs({ '-e TEXT', '-o FORMAT', '-u USER', '--password', '--tls', '--cacert',
                '--cert', '--key', '--hostname', '--insecure', '--dir' }) do
                assert.is_truthy(output:find(' ' .. word, 1, true), word)
            end
        end
        local console = process.spawn({ process.perigee, 'help', 'console' })
        console:close_input()
        assert.matches('^perigee console %[ADDRESS%]', (console:finish()))
    end)

    it('tells what connections of MessagePack-RPC do', function()
        with_server(function(server)
            local db = client.connect(server.address)
            local id = db:eval('return box.session.id()')
            local function line()
                return piped(server, 'CLIENT LIST\n'):match('id=' .. id .. ' [^\n]*')
            end
            assert.matches(' cmd=eval .* resp=0 ', line())
            db:ping()
            assert.matches(' cmd=ping .* resp=0 ', line())
            db:eval("box.schema.func.create('f', {body = 'return 1'})")
            db:request('f')
            assert.matches(' cmd=call .* resp=0 ', line())
            assert.matches(' cmd=client|list .* resp=3 ', (piped(server, 'CLIENT LIST\n')))
            db:close()
        end)
    end)
end)

describe('the console in a terminal', function()
    it('says what is meant here by words of other consoles', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            enter(console, 'help', '\nnil\n[^\n]*\n\\help shows what there is\n')
            enter(console, 'exit', '\n\\q leaves, or Ctrl%-D\n')
            enter(console, 'quit()', '\nerror: [^\n]*\n[^\n]*\n[^\n]*\n\\q leaves, or Ctrl%-D\n')
            enter(console, 'SELECT id FROM people', '\nerror: ERR [^\n]*\n[^\n]*people:select%(%)\n')
            enter(console, 'select * from People;', '\nthere is no SQL here: box.space.People:select%(%)\n')
            enter(console, 'show tables', '\n\\d shows what spaces there are\n')
            enter(console, "help = 'mine'", '\n')
            enter(console, 'help', '\nmine\n')
            assert.is_nil(console.text:match('mine[^>]*shows what there is'))
            console:write('\4')
            console:finish()
            local output = piped(server, 'quit\n')
            assert.equal('nil\n', output)
        end, { '--workers', '1' })
    end)

    it('sets a style once for each row of it', function()
        with_server(function(server, folder)
            local console = process.terminal({ process.perigee, 'console', server.address },
                { TERM = 'xterm', HOME = folder, PAGER = 'cat' }, 250)
            console:see('socket> *$')
            console:write('\4')
            console:finish()
            assert.is_truthy(console.text:find('\27[1mperigee ' .. server.address .. '> \27[0m', 1, true))
        end)
    end)

    it('draws figures again in their place', function()
        with_server(function(server, folder)
            local console = open(server, folder, 120)
            console:write('\\stat 0 4\r')
            console:expect('socket> $')
            console:see('resident[^>]*socket> *$')
            local _, drawn = console.text:gsub(' resident ', '')
            local _, there = console.screen:text():gsub(' resident ', '')
            assert.equal(4, drawn)
            assert.equal(1, there)
            console:write('\4')
            console:finish()
        end)
    end)

    it('remembers the inputs of each server by themselves', function()
        with_server(function(one, home)
            with_server(function(other)
                local console = open(one, home)
                enter(console, "'to one'", '\nto one\n')
                console:write('\4')
                console:finish()
                console = open(other, home)
                enter(console, "'to the other'", '\nto the other\n')
                enter(console, '\16\16\16', '\nto the other\n')
                console:write('\4')
                console:finish()
                console = open(one, home)
                enter(console, '\16', '\nto one\n')
                console:write('\4')
                console:finish()
            end)
        end)
    end)

    it('sends nothing but text where that is all that the terminal takes', function()
        with_server(function(server, folder)
            piped(server, SETUP)
            local console = open(server, folder, nil, { TERM = 'dumb' })
            enter(console, 'box.space.people:get(1)', '\n  1 | Ada\n')
            console:write('for n = 1, 2 do\r')
            console:expect('%-> ')
            enter(console, 'total = n end return total', '\n2\n')
            enter(console, "('x\\n'):rep(100)", '\nx\n')
            console:write('1 + (\r')
            console:expect('%-> ')
            console:write('2\3')
            console:expect('%^C')
            enter(console, '3 * 3', '\n9\n')
            console:write("require('log').error('waiting') require('fiber').sleep(1000)\r")
            server:expect('waiting')
            console:write('\3')
            console:expect('\nerror: interrupted\n')
            console:expect('> ')
            enter(console, 'SET key value', '\nOK\n')
            console:write('\4')
            assert.equal(0, select(2, console:finish()))
            assert.is_nil(console.text:find('\27', 1, true))
        end)
    end)
end)
