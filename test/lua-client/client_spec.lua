-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local ffi = require('ffi')
local client = require('client')
local process = require('process')
local socket = require('client.socket')

describe('the client', function()
    local folder, server, db

    setup(function()
        folder = process.folder()
        server = process.server(folder)
        db = client.connect(server.address)
        db:eval([[
            box.schema.space.create('items', {format = {{'id', 'unsigned'}, {'text', 'string'}}})
            box.space.items:create_index('primary', {parts = {'id'}})
            box.schema.func.create('add', {body = 'function(a, b) return a + b end'})
            box.schema.func.create('many', {body = 'function(...) return ... end'})
            box.schema.func.create('put', {body = 'function(id, text) box.space.items:insert{id, text} end'})
        ]])
    end)

    teardown(function()
        db:close()
        assert.equal(0, server:stop())
        process.remove(folder)
    end)

    local function failure_of(f, ...)
        local ok, problem = pcall(f, ...)
        assert.is_false(ok)
        assert.equal('table', type(problem))
        return problem
    end

    it('calls procedures and runs text', function()
        assert.equal('pong', db:ping())
        assert.equal(5, db:call('add', 2, 3))
        assert.equal(7, db:request('add', 3, 4))
        assert.equal('ab', db:eval('local a, b = ...; return a .. b', 'a', 'b'))
        assert.is_nil(db:eval('x = 1'))
        assert.same({ 1, 'b', true }, { unpack(db:call('many', 1, 'b', true)) })
    end)

    it('keeps what values are on the way there and back', function()
        local values = { 0, -1, 2 ^ 53, 1.5, '', 'text', true, false, { 1, 2, { a = 'b' } }, { key = { 1 } } }
        for _, value in ipairs(values) do
            assert.same(value, db:call('many', value))
        end
        local wide = db:call('many', 9223372036854775807LL)
        assert.is_true(ffi.istype('int64_t', wide) and wide == 9223372036854775807LL)
        assert.is_true(db:call('many', 18446744073709551615ULL) == 18446744073709551615ULL)
        assert.is_true(db:call('many', { 1, client.NULL, 3 })[2] == nil)
    end)

    it('raises what the server reports as a table that prints as its message', function()
        local problem = failure_of(db.call, db, 'no such procedure')
        assert.equal('ERROR_NOT_FOUND', problem.name)
        assert.is_true(problem.code < 0)
        assert.equal(problem.message, tostring(problem))
        assert.equal('ERROR_LUA', failure_of(db.eval, db, 'error("mine")').name)
        db:call('put', 1, 'one')
        assert.equal('ERROR_DUPLICATE', failure_of(db.call, db, 'put', 1, 'one').name)
        assert.equal('pong', db:ping())
    end)

    it('has many requests under way and takes the responses in any order', function()
        local numbers = {}
        for n = 1, 1000 do
            numbers[n] = n % 10 == 0 and db:send('call', 'no such procedure') or db:send('call', 'add', n, n)
        end
        for n = 1000, 1, -1 do
            local ok, result = db:wait(numbers[n])
            assert.equal(n % 10 ~= 0, ok)
            assert.equal(ok and 2 * n or 'ERROR_NOT_FOUND', ok and result or result.name)
        end
        assert.equal(client.PROTOCOL, failure_of(db.receive, db, numbers[1]).code)
    end)

    it('sends and receives more than sockets hold, at the same time', function()
        local text, numbers = ('x'):rep(300000), {}
        for n = 1, 40 do
            numbers[n] = db:send('call', 'many', text, n)
        end
        for n = 1, 40 do
            local result = db:receive(numbers[n])
            assert.equal(n, result[2])
            assert.is_true(result[1] == text)
        end
    end)

    it('gives up after its time limit, and goes on', function()
        local other = client.connect(server.address, { timeout = 0.01 })
        local problem = failure_of(other.eval, other, 'while true do end')
        assert.equal(client.TIMEOUT, problem.code)
        other:set_timeout(nil)
        assert.equal('pong', other:ping())
        other:close()
    end)

    it('says that a connection is lost, closed, or cannot be made', function()
        local own_folder = process.folder()
        local own = process.server(own_folder)
        local other = client.connect(own.address)
        local number = other:send('ping')
        other:flush()
        assert.equal('pong', other:receive(number))
        own:kill()
        own:finish()
        assert.equal(client.LOST, failure_of(other.ping, other).code)
        assert.equal(client.LOST, failure_of(other.ping, other).code)
        local problem = failure_of(client.connect, own.address)
        assert.equal(client.LOST, problem.code)
        assert.is_truthy(problem.message:find(own.address, 1, true))
        process.remove(own_folder)
    end)

    it('says who it is where a password is asked for', function()
        local own_folder = process.folder()
        local own = process.server(own_folder, { '--password', 'secret' })
        local other = client.connect(own.address, { password = 'secret' })
        assert.equal('pong', other:ping())
        other:close()
        assert.equal('ERROR_ACCESS', failure_of(client.connect, own.address, { password = 'wrong' }).name)
        other = client.connect(own.address)
        assert.equal('ERROR_AUTH', failure_of(other.ping, other).name)
        other:close()
        assert.equal(0, own:stop())
        process.remove(own_folder)
    end)

    it('reaches a server over TCP', function()
        local own_folder = process.folder()
        local own = process.server(own_folder, { '--listen', '127.0.0.1:0' })
        local other = client.connect(own.address, { timeout = 60 })
        assert.equal('pong', other:ping())
        other:close()
        assert.equal(0, own:stop())
        process.remove(own_folder)
    end)

    it('understands addresses', function()
        assert.same({ host = '127.0.0.1', port = '6379' }, socket.parse('6379'))
        assert.same({ host = '127.0.0.1', port = '6379' }, socket.parse(':6379'))
        assert.same({ host = 'db.local', port = '1' }, socket.parse('db.local:1'))
        assert.same({ host = '::1', port = '1' }, socket.parse('[::1]:1'))
        assert.same({ path = '/a:1' }, socket.parse('unix:/a:1'))
        for _, address in ipairs({ '', 'host', 'host:', 'unix:', '::1:5', ':99999' }) do
            assert.is_nil(socket.parse(address))
        end
    end)
end)
