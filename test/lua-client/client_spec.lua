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

    it('is told of the progress of its requests, and cancels them', function()
        local told = {}
        local other = client.connect(server.address, {
            progress = function(number, value) told[#told + 1] = number .. ': ' .. value end,
        })
        local number = other:send('eval', [[
            for step = 1, 3 do
                box.session.push(step)
                require('fiber').sleep(0)
            end
            return 'done' ]])
        assert.equal('done', other:receive(number))
        assert.same({ number .. ': 1', number .. ': 2', number .. ': 3' }, told)
        number = other:send('eval', "require('fiber').sleep(1e6)")
        assert.is_true(other:cancel(number))
        local ok, problem = other:wait(number)
        assert.is_false(ok)
        assert.equal('ERROR_CANCELLED', problem.name)
        assert.is_false(other:cancel(number))
        problem = failure_of(other.eval, other, "error({ message = 'no', details = { why = 'because' } })")
        assert.equal('because', problem.details.why)
        other:close()
    end)

    it('is told how far a change of the schema is that goes over many rows, and takes it back', function()
        local other
        local told, number = {}, nil
        other = client.connect(server.address, {
            progress = function(id, value)
                if id == number then
                    told[#told + 1] = value
                    if value.done > 0 then -- it may wait for others before its first row
                        other:abandon(number)
                    end
                end
            end,
        })
        other:eval([[
            local many = box.schema.space.create('many_rows')
            many:create_index('primary')
            box.atomic(function() for n = 1, 20000 do many:insert({ n }) end end)]])
        -- far more than a quarter of a second, if nobody stopped it
        number = other:send('eval', [[
            box.space.many_rows:create_index('slow', { parts = { { 1, 'unsigned' } }, unique = false,
                func = 'function(row) local sum = 0 for n = 1, 3e5 do sum = sum + n end return sum end' })]])
        local ok, problem = other:wait(number)
        assert.is_false(ok)
        assert.equal('ERROR_CANCELLED', problem.name)
        assert.equal('index "slow" of space "many_rows" is being built', told[1].what)
        assert.equal(20000, told[1].total)
        assert.is_true(told[#told].done > 0 and told[#told].done < 20000)
        assert.is_nil(other:eval("return box.space.many_rows.index.slow"))
        other:eval('box.space.many_rows:drop()')
        other:close()
    end)

    it('gives futures of requests, which wait, fail and are cancelled each by itself', function()
        local sum, nothing = db:async('add', 1, 2), db:async('call', 'no such procedure')
        local asleep = db:async('eval', "require('fiber').sleep(1e6)")
        assert.is_false(asleep:ready())
        assert.equal(3, sum:get())
        assert.is_true(sum:ready())
        assert.same({ true, 3 }, { sum:wait() })
        assert.equal('ERROR_NOT_FOUND', failure_of(nothing.get, nothing).name)
        assert.equal('ERROR_NOT_FOUND', select(2, nothing:wait()).name)
        assert.is_true(asleep:cancel())
        assert.equal('ERROR_CANCELLED', select(2, asleep:wait()).name)
        local transaction = db:begin()
        assert.equal(7, transaction:async('add', 3, 4):get())
        transaction:rollback()
    end)

    it('connects again after a loss, and sends nothing twice', function()
        local own_folder = process.folder()
        local own = process.server(own_folder)
        local other = client.connect(own.address, { reconnect = { first = 0.01, most = 0.1 } })
        other:eval("box.schema.space.create('n'):create_index('pk') box.space.n:insert({ 1, 0 })")
        local transaction = other:begin()
        local asleep = other:async('eval', "require('fiber').sleep(1e6) box.space.n:update(1, {{'+', 2, 1}})")
        assert.is_false(asleep:ready())
        assert.equal('pong', other:ping())
        own:kill()
        own:finish()
        local ok, problem = asleep:wait()
        assert.same({ false, client.LOST }, { ok, problem.code })
        own = process.server(own_folder)
        assert.equal(0, other:eval('return box.space.n:get(1)[2]'))
        assert.equal(client.LOST, failure_of(transaction.eval, transaction, 'return 1').code)
        transaction = other:begin()
        transaction:eval("box.space.n:update(1, {{'+', 2, 1}})")
        transaction:commit()
        assert.equal(1, other:eval('return box.space.n:get(1)[2]'))
        own:kill()
        own:finish()
        other.reconnect.seconds = 0
        assert.equal(client.LOST, failure_of(other.ping, other).code)
        assert.equal(client.LOST, failure_of(other.ping, other).code)
        other:close()
        process.remove(own_folder)
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
        other:abandon() -- the server goes on with it, and with nothing behind it
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

    describe('in interactive transactions', function()
        it('sees what they have done, and others do after the commit', function()
            local transaction = db:begin()
            transaction:call('put', 100, 'mine')
            assert.same({ 100, 'mine' }, { unpack(transaction:eval('return box.space.items:get(100)')) })
            assert.is_nil(db:eval('return box.space.items:get(100)'))
            transaction:commit()
            assert.same({ 100, 'mine' }, { unpack(db:eval('return box.space.items:get(100)')) })
            assert.equal('CLIENT_PROTOCOL', failure_of(transaction.eval, transaction, 'return 1').name)
        end)

        it('returns to savepoints and rolls back', function()
            local transaction = db:begin({ isolation = 'snapshot' })
            transaction:call('put', 101, 'kept')
            transaction:savepoint('here')
            transaction:call('put', 102, 'undone')
            transaction:rollback_to('here')
            local problem = failure_of(transaction.call, transaction, 'put', 101, 'again')
            assert.equal('ERROR_DUPLICATE', problem.name)
            assert.is_nil(transaction:eval('return box.space.items:get(102)'))
            transaction:release('here')
            assert.equal('ERROR_INVALID', failure_of(transaction.rollback_to, transaction, 'here').name)
            transaction:rollback()
            assert.is_nil(db:eval('return box.space.items:get(101)'))
        end)

        it('has several at a time, which may wait for each other', function()
            local first, second = db:begin(), db:begin({ isolation = 'read committed' })
            first:eval("box.space.items:replace{103, 'first'}")
            local waits = second:send('eval', "box.space.items:replace{103, 'second'}")
            assert.equal('pong', db:ping())
            first:commit()
            db:receive(waits)
            second:commit()
            assert.equal('second', db:eval('return box.space.items:get(103)')[2])
        end)

        it('raises what they were lost for until they are ended', function()
            local transaction = db:begin({ isolation = 'snapshot' })
            transaction:eval('return box.space.items:get(104)')
            db:call('put', 104, 'other')
            assert.equal('ERROR_CONFLICT',
                failure_of(transaction.eval, transaction, "box.space.items:replace{104, 'mine'}").name)
            assert.equal('ERROR_CONFLICT', failure_of(transaction.eval, transaction, 'return 1').name)
            assert.equal('ERROR_CONFLICT', failure_of(transaction.commit, transaction).name)
            assert.equal('ERROR_INVALID', failure_of(db.begin, db, { isolation = 'none' }).name)
        end)
    end)

    it('gets messages of channels and patterns', function()
        local listener = client.connect(server.address)
        listener:subscribe('news', 'other')
        listener:psubscribe('n*')
        assert.equal(2, db:publish('news', { 1, 'two' }))
        local message = listener:message()
        assert.equal('news', message.channel)
        assert.same({ 1, 'two' }, { unpack(message.payload) })
        assert.equal('n*', listener:message().pattern)
        listener:punsubscribe()
        listener:unsubscribe('other')
        db:eval("box.notify('other', 1) box.notify('news', 2)")
        assert.equal('pong', listener:ping())
        assert.equal(2, listener:message().payload)
        listener:close()
    end)
end)
