-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local console_case = require('console_case')
local process = require('process')

local enter, open = console_case.enter, console_case.open
local piped, with_server = console_case.piped, console_case.with_server

describe('commands of Redis in the console', function()
    it('are in the database of the prompt within a transaction, too', function()
        with_server(function(server)
            local output, status = piped(server, [[
                SELECT 3
                BEGIN
                SET three 1
                SELECT 1
                SET one 1
                SELECT 16
                COMMIT
                GET one
                SELECT 3
                GET three
                GET one
                BEGIN
                SELECT 2
                ROLLBACK
                SET two 1
            ]])
            assert.equal('OK\nOK\nOK\nOK\n"1"\nOK\n"1"\n(nil)\nOK\nOK\n',
                (output:gsub('error: [^\n]*DB index is out of range\n', '')))
            assert.equal(1, status)
            output = piped(server, 'KEYS *\nSELECT 2\nKEYS *\n')
            assert.equal('(empty array)\nOK\n1) "two"\n', output)
        end)
    end)

    it('keep the database of SELECT in Lua until the request ends', function()
        with_server(function(server)
            local output, status = piped(server, [[
                redis.call('SELECT', 5) redis.call('SET', 'key', 'five')
                redis.call('SELECT', 5) require('fiber').sleep(0) return redis.call('GET', 'key')
                redis.call('GET', 'key')
                SELECT 5
                GET key
                LUA "redis.call('SELECT', 6) redis.call('SET', 'key', 'six') return redis.call('GET', 'key')"
                GET key
                box.atomic(function() redis.call('SELECT', 6) return redis.call('GET', 'key') end)
            ]])
            assert.equal(0, status)
            assert.equal('five\nfalse\nOK\n"five"\n"six"\n"five"\nsix\n', output)
        end)
    end)

    it('show the database that SELECT within MULTI chooses, once it has run', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            enter(console, 'MULTI', '\nOK\n')
            enter(console, 'SELECT 2', '\nQUEUED\n')
            assert.is_truthy(console.text:find('socket multi> $'))
            enter(console, 'BEGIN', '\nerror: BEGIN is not allowed inside MULTI: EXEC or DISCARD first\n')
            enter(console, 'box.begin()', '\nerror: BEGIN is not allowed inside MULTI')
            console:write('SET user:1 ') -- what Tab and hints ask is no part of it
            enter(console, '\t1', '\nQUEUED\n')
            enter(console, 'EXEC', '\n1%) OK\n2%) OK\n')
            assert.is_truthy(console.text:find('socket%[2%]> $'))
            console:write('GET us\t')
            console:expect('GET user:1')
            enter(console, '', '\n"1"\n')
            enter(console, 'BEGIN', '\n')
            console:write('GET us\t')
            console:expect('GET user:1')
            enter(console, '', '\n"1"\n')
            enter(console, 'ROLLBACK', '\n')
            console:write('\4')
            console:finish()
        end)
    end)

    it('connect again with a note, in the database of the prompt', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            enter(console, 'SELECT 2', '\nOK\n')
            enter(console, 'SET key value', '\nOK\n')
            enter(console, 'MULTI', '\nOK\n')
            server:kill(process.SIGTERM)
            server:finish()
            enter(console, 'SET key other', '\nerror: lost the connection to unix:[^\n]*; '
                .. 'what MULTI had queued is dropped\n')
            assert.is_truthy(console.text:find('socket%[2%]> $'))
            enter(console, 'GET key', '\nerror: cannot connect to unix:[^\n]*\n')
            local again = process.server(folder)
            enter(console, 'GET key', '\nconnected to [^\n]* again\n"value"\n')
            assert.is_truthy(console.text:find('socket%[2%]> $'))
            console:write('\4')
            console:finish()
            assert.equal(0, again:stop())
        end)
    end)

    it('show texts of several lines as lines', function()
        with_server(function(server)
            local output, status = piped(server, 'INFO server\nCLIENT LIST\n')
            assert.equal(0, status)
            assert.matches('^# Server\nredis_version:', output)
            assert.is_nil(output:find('\\r', 1, true), output)
            assert.is_nil(output:find('\r', 1, true), output)
            assert.matches('\nid=%d+ addr=[^\n]*\n$', output)
        end)
    end)
end)

describe('a transaction that was typed', function()
    it('is rolled back at the end of the input, which is an error without a terminal', function()
        with_server(function(server)
            local output, status = piped(server, 'BEGIN\nSET key 1\n')
            assert.equal(1, status)
            assert.equal('OK\nerror: the input ends within a transaction, which is rolled back\n', output)
            output, status = piped(server, '', '-e', 'MULTI', '-e', 'SET key 1')
            assert.equal(1, status)
            assert.equal('OK\nQUEUED\nerror: the input ends within MULTI, whose commands are dropped: '
                .. 'EXEC is missing\n', output)
            output, status = piped(server, 'GET key\n')
            assert.equal(0, status)
            assert.equal('(nil)\n', output)
        end)
    end)

    it('is gone with its connection, and the console says so', function()
        with_server(function(server, folder)
            local console = open(server, folder)
            enter(console, 'BEGIN', '\n')
            assert.is_truthy(console.text:find('socket transaction> $'))
            server:kill()
            server:finish()
            enter(console, '1', '\nerror: lost the connection to unix:[^\n]*; '
                .. 'the transaction is rolled back\n')
            assert.is_truthy(console.text:find('socket> $'))
            console:write('\4')
            console:finish()
        end)
    end)
end)
