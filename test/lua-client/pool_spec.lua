-- SPDX-License-Identifier: Apache-2.0
--
-- Pools of the client's, in plain LuaJIT, and in a server, where fibers wait for each other. What all
-- places have in common is in everywhere_spec.lua.
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local client = require('client')
local process = require('process')
local socket = require('client.socket')

describe('a pool', function()
    local folder, server, operator

    setup(function()
        folder = process.folder()
        server = process.server(folder, { '--listen', '127.0.0.1:0', '--workers', '1' })
        operator = client.connect(server.address)
        operator:eval("box.schema.space.create('seen'):create_index('pk', { parts = { { 1, 'string' } } })")
    end)

    teardown(function()
        operator:close()
        assert.equal(0, server:stop())
        process.remove(folder)
    end)

    local function failure_of(f, ...)
        local ok, problem = pcall(f, ...)
        assert.is_false(ok)
        return problem
    end

    local function session_of(db)
        return db:eval('return box.session.id()')
    end

    --- Ends a connection of the server's.
    local function kill(id)
        local killer = process.spawn({
            process.perigee, 'console', server.address, '-e', '/client kill id ' .. id,
        })
        killer:close_input()
        assert.equal('(integer) 1\n', killer:finish())
    end

    describe('in plain LuaJIT', function()
        local pool

        local function make(options)
            options.address = options.address or server.address
            options.wait = options.wait or 600
            pool = client.pool(options)
            return pool
        end

        after_each(function()
            if pool then
                pool:close()
            end
            pool = nil
        end)

        it('gives out what was used last, and says at once that there is none', function()
            make({ max = 2 })
            local one, two = pool:acquire(), pool:acquire()
            local problem = failure_of(pool.acquire, pool)
            assert.equal(client.BUSY, problem.code)
            assert.matches('all 2 connections of the pool are in use', problem.message)
            pool:release(one)
            pool:release(two)
            assert.equal(two, pool:acquire())
            assert.equal(client.PROTOCOL, failure_of(pool.release, pool, one).code)
            local statistics = pool:statistics()
            assert.same({ 2, 1, 1, 2, 1, 0 }, { statistics.size, statistics.idle, statistics.leased,
                statistics.opened, statistics.refused, statistics.waiting })
            pool:release(two)
        end)

        it('gives a connection back after an error, but none that others can not take over', function()
            make({ max = 1 })
            local id = pool:with(session_of)
            assert.equal('mine', failure_of(pool.with, pool, function() error('mine', 0) end))
            assert.equal('ERROR_NOT_FOUND', failure_of(pool.call, pool, 'no such procedure').name)
            assert.equal(id, pool:with(session_of))
            for _, spoil in ipairs({
                function(db) db:subscribe('news') end,
                function(db) db:begin() end,
                function(db) db:send('ping') end,
                function(db) db:close() end,
            }) do
                pool:with(spoil)
                local other = pool:with(session_of)
                assert.is_true(other ~= id)
                id = other
            end
            local statistics = pool:statistics()
            assert.same({ 5, 4, 1 }, { statistics.opened, statistics.closed, statistics.broken })
        end)

        it('replaces what has ended while it rested, and asks what has rested long', function()
            make({ max = 1 })
            local db
            kill(pool:with(function(given)
                db = given
                return session_of(db)
            end))
            assert(db.socket:wait(socket.POLLIN)) -- until the end has arrived
            assert.equal('pong', pool:ping())
            assert.equal(1, pool:statistics().broken)
            make({ max = 1, check = 0 })
            local id = pool:with(session_of)
            assert.equal(id, pool:with(session_of))
            kill(id)
            assert.is_true(pool:with(session_of) ~= id)
            assert.equal(1, pool:statistics().broken)
        end)

        it('closes what rests too long, down to its least size', function()
            make({ min = 1, max = 3, idle = 0 })
            local given = { pool:acquire(), pool:acquire(), pool:acquire() }
            for _, db in ipairs(given) do
                pool:release(db)
            end
            local statistics
            repeat -- the clock may not have moved between two of them
                pool:ping()
                statistics = pool:statistics()
            until statistics.size == 1
            assert.same({ 2, 0 }, { statistics.closed, statistics.broken })
        end)

        it('has futures over all its connections, and waits for them where it has no other', function()
            make({ max = 3 })
            local futures = {}
            for n = 1, 30 do
                futures[n] = pool:async('eval', 'return {..., box.session.id()}', n)
            end
            assert.equal(3, pool:statistics().size)
            assert.equal('pong', pool:ping()) -- when one of them has had all its answers
            local sessions, count = {}, 0
            for n = 1, 30 do
                local result = futures[n]:get()
                assert.equal(n, result[1])
                sessions[result[2]] = true
            end
            for _ in pairs(sessions) do
                count = count + 1
            end
            assert.equal(3, count)
            assert.equal(3, pool:statistics().idle)
        end)

        it('forgets the answers to futures that nobody has any more', function()
            make({ max = 1 })
            local kept = pool:async('eval', 'return 1')
            local function forget()
                for _ = 1, 10 do
                    pool:async('eval', 'return 2')
                end
            end
            forget()
            collectgarbage()
            collectgarbage()
            pool:with(function(db)
                local left = 0
                for _ in pairs(db.responses) do
                    left = left + 1
                end
                assert.equal(1, left)
            end)
            assert.equal(1, kept:get())
        end)

        it('tells futures and transactions that their connection was lost', function()
            make({ max = 1 })
            local future = pool:async('eval', "box.space.seen:replace({ 'lost', box.session.id() })"
                .. " require('fiber').sleep(1e6)")
            assert.is_false(future:ready())
            local id
            repeat
                id = operator:eval("local row = box.space.seen:get('lost') return row and row[2]")
            until id
            kill(id)
            assert.equal(client.LOST, select(2, future:wait()).code)
            assert.is_true(future:ready())
            local transaction = pool:begin()
            kill(transaction:eval('return box.session.id()'))
            assert.equal(client.LOST, failure_of(transaction.commit, transaction).code)
            assert.equal('pong', pool:ping())
            assert.equal(0, pool:statistics().leased)
        end)

        it('has again what was never given back, when nobody holds it', function()
            make({ max = 1 })
            local function forget()
                return session_of(pool:acquire()) + 0
            end
            local id = forget()
            collectgarbage()
            collectgarbage()
            assert.is_true(pool:with(session_of) ~= id)
        end)

        it('leaves a server alone that does not answer, and comes back to it', function()
            local own_folder = process.folder()
            local own = process.server(own_folder)
            make({ address = { own.address, server.address }, max = 4, first = 0.001, most = 0.002 })
            local first = pool:acquire()
            own:kill()
            own:finish()
            assert.equal(client.LOST, failure_of(first.ping, first).code)
            pool:release(first)
            local given = {}
            for n = 1, 3 do
                given[n] = pool:acquire()
                assert.equal(server.address, given[n].address)
            end
            local endpoint = pool:statistics().endpoints[1]
            assert.is_true(endpoint.failed > 0 and not endpoint.answers)
            assert.matches('^cannot connect to ' .. own.address:gsub('%p', '%%%0'), endpoint.problem)
            own = process.server(own_folder)
            repeat
                local db = pool:acquire()
                local there = db.address == own.address
                if not there then
                    db:close()
                end
                pool:release(db)
            until there
            assert.is_true(pool:statistics().endpoints[1].answers)
            for _, db in ipairs(given) do
                pool:release(db)
            end
            assert.equal(0, own:stop())
            process.remove(own_folder)
        end)

        it('says why it can make no connection', function()
            make({ address = { '127.0.0.1:1', 'unix:/nowhere' }, wait = 0.05, first = 0.001 })
            local problem = failure_of(pool.ping, pool)
            assert.equal(client.LOST, problem.code)
            local pattern = 'cannot connect to 127.0.0.1:1.*; cannot connect to unix:/nowhere'
            assert.matches(pattern, problem.message)
            make({ password = 'wrong' })
            assert.is_true(failure_of(pool.ping, pool).code < 0)
            pool:close()
            assert.equal('the pool is closed', failure_of(pool.ping, pool).message)
        end)

        it('refuses options that mean nothing', function()
            for _, case in ipairs({
                { {}, 'needs an address' },
                { { address = 7 }, 'an address is a text' },
                { { address = 'a:1', size = 3 }, 'has no option size; there are: address, check, first, ' },
                { { address = 'a:1', max = 0 }, 'max is a number of connections from 1 on' },
                { { address = 'a:1', min = 3, max = 2 }, 'not below min' },
                { { address = 'a:1', wait = -1 }, 'wait is a number of seconds' },
                { { address = 'a:1', tls = { ca_file = 'x' } }, 'tls has no option ca_file' },
                { { address = 'a:1', reconnect = true }, 'has no option reconnect' },
            }) do
                assert.matches(case[2], failure_of(client.pool, case[1]), nil, true)
            end
            local problem = failure_of(client.connect, 'a:1', { timeout = 'x' })
            assert.matches('timeout is a number of seconds', problem)
        end)
    end)

    describe('in the server', function()
        --- Runs text there, with the address for its argument.
        local function run(text)
            local head = 'local address = ... local client, fiber = require("client"), require("fiber") '
            return operator:eval(head .. text, server.address)
        end

        it('lets fibers wait in the order of coming', function()
            local order = run([[
                local pool = client.pool({ address = address, max = 1, wait = 600 })
                local held, order, done = pool:acquire(), {}, fiber.channel()
                for n = 1, 20 do
                    fiber.create(function()
                        pool:with(function(db) order[#order + 1] = n db:ping() end)
                        done:put(true)
                    end)
                end
                assert(pool:statistics().waiting == 20)
                pool:release(held)
                for n = 1, 20 do done:get() end
                local statistics = pool:statistics()
                assert(statistics.opened == 1 and statistics.waiting == 0 and statistics.used == 21)
                pool:close()
                return order]])
            for n = 1, 20 do
                assert.equal(n, order[n])
            end
        end)

        it('bounds how long and how many wait', function()
            run([[
                local pool = client.pool({ address = address, max = 1, wait = 0.2, first = 0.001 })
                local ok, held, problem
                repeat -- a slow machine may need longer to connect
                    ok, held = pcall(pool.acquire, pool)
                until ok
                ok, problem = pcall(pool.ping, pool)
                assert(not ok and problem.code == client.BUSY)
                assert(problem.message == 'all 1 connections of the pool are in use, '
                    .. 'and none became free within 0.2 seconds')
                pool:release(held)
                repeat until pcall(pool.ping, pool)
                pool:close()

                pool = client.pool({ address = address, max = 1, wait = 600, waiting_max = 1 })
                held = pool:acquire()
                local waits = fiber.new(function() return pool:ping() end)
                waits:set_joinable(true)
                while pool:statistics().waiting == 0 do fiber.yield() end
                ok, problem = pcall(pool.ping, pool)
                assert(not ok and problem.code == client.BUSY)
                assert(problem.message:find('and 1 wait for one', 1, true))
                pool:release(held)
                local joined, answer = waits:join()
                assert(joined and answer == 'pong')
                pool:close()]])
        end)

        it('goes on when who waits or works is cancelled, and wakes all when it is closed', function()
            run([[
                local pool = client.pool({ address = address, max = 1, wait = 600 })
                local held = pool:acquire()
                local function start(fn, ...)
                    local f = fiber.new(fn, ...)
                    f:set_joinable(true)
                    fiber.yield()
                    return f
                end
                local first, second = start(pool.ping, pool), start(pool.ping, pool)
                first:cancel()
                local ok, problem = first:join()
                assert(not ok and tostring(problem) == 'fiber is cancelled')
                pool:release(held)
                ok, problem = second:join()
                assert(ok and problem == 'pong')
                local asleep = start(pool.eval, pool, 'require("fiber").sleep(1e6)')
                asleep:cancel()
                ok, problem = asleep:join()
                assert(not ok and tostring(problem) == 'fiber is cancelled')
                assert(pool:ping() == 'pong')
                held = pool:acquire()
                local waits = start(pool.ping, pool)
                pool:close()
                ok, problem = waits:join()
                assert(not ok and problem.message == 'the pool is closed')
                pool:release(held)
                ok, problem = pcall(held.ping, held)
                assert(not ok and problem.code == client.LOST)]])
        end)

        it('keeps its least size and closes the rest by itself', function()
            run([[
                local pool = client.pool({ address = address, min = 2, max = 4, idle = 0.001, wait = 600 })
                local held = {}
                for n = 1, 4 do held[n] = pool:acquire() end
                for n = 1, 4 do pool:release(held[n]) end
                repeat
                    fiber.sleep(0.001)
                    local statistics = pool:statistics()
                until statistics.idle == 2 and statistics.closed == 2
                pool:with(function(db) db:close() end)
                pool:with(function(db) db:close() end)
                repeat
                    fiber.sleep(0.001)
                until pool:statistics().idle == 2
                pool:close()]])
        end)

        it('shares one connection among fibers, and all of them hear of its loss', function()
            local result = operator:async('eval', [[
                local address = ...
                local client, fiber = require('client'), require('fiber')
                local db = client.connect(address, { reconnect = { first = 0.001, seconds = 600 } })
                local done = fiber.channel()
                for n = 1, 30 do
                    fiber.create(function()
                        done:put(db:eval('require("fiber").sleep(0.001) return ...', n))
                    end)
                end
                local sum = 0
                for n = 1, 30 do sum = sum + done:get() end
                assert(sum == 15 * 31)
                for n = 1, 10 do
                    fiber.create(function()
                        local ok, problem = pcall(db.eval, db, 'require("fiber").sleep(1e6)')
                        assert(not ok and problem.code == client.LOST)
                        done:put(db:ping())
                    end)
                end
                local id = db:eval('return box.session.id()')
                box.space.seen:replace({ 'shared', id })
                for n = 1, 10 do assert(done:get() == 'pong') end
                db:close()
                return id]], server.address)
            assert.is_false(result:ready())
            local watcher = client.connect(server.address)
            local id
            repeat
                id = watcher:eval("local row = box.space.seen:get('shared') return row and row[2]")
            until id
            watcher:close()
            kill(id)
            assert.equal(id, result:get())
        end)

        it('waits in no transaction, and has sent nothing then', function()
            run([[
                local pool, db = client.pool({ address = address }), client.connect(address)
                assert(pool:ping() == 'pong')
                local function refused(fn, ...)
                    box.begin()
                    local ok, problem = pcall(fn, ...)
                    box.rollback()
                    assert(not ok and tostring(problem):find('a transaction does not yield', 1, true))
                end
                local text = 'box.space.seen:replace({ "never", 1 })'
                refused(pool.eval, pool, text)
                refused(db.eval, db, text)
                refused(client.connect, address)
                assert(pool:ping() == 'pong' and db:ping() == 'pong')
                assert(box.space.seen:get('never') == nil)
                pool:close()
                db:close()]])
        end)

        it('is for those who may open connections, and its objects show nothing else', function()
            operator:eval([[
                box.schema.user.create('ann', { password = 'secret' })
                box.schema.user.grant('ann', 'execute', 'lua_eval') ]])
            local ann = client.connect(server.address, { user = 'ann', password = 'secret' })
            local text = 'return require("client").pool({ address = ... }):ping()'
            local problem = failure_of(ann.eval, ann, text, server.address)
            assert.equal('ERROR_ACCESS', problem.name)
            assert.matches('socket', problem.message)
            operator:eval("box.schema.user.grant('ann', 'execute', 'binding', 'socket')")
            assert.equal('pong', ann:eval(text, server.address))
            for _, refused in ipairs({
                'client.connect("unix:/tmp/socket")',
                'client.connect(address, { tls = { ca = "/etc/passwd" } })',
                'client.connect(address, { tls = { key = "/etc/passwd" } })',
                'client.pool({ address = address, tls = { cert = "/etc/passwd" } })',
            }) do
                local all = 'local address, client = ..., require("client") ' .. refused
                assert.equal('ERROR_ACCESS', failure_of(ann.eval, ann, all, server.address).name)
            end
            ann:close()
            run([[
                local pool, db = client.pool({ address = address }), client.connect(address)
                local future, transaction = db:async('ping'), db:begin()
                for _, object in ipairs({ pool, db, future, transaction, client }) do
                    assert(getmetatable(object) == 'protected')
                    assert(object.socket == nil and object.connection == nil and next(object) == nil)
                    assert(not pcall(rawset, object, 'x', 1) and not pcall(function() object.x = 1 end))
                end
                assert(not pcall(db.ping, pool) and not pcall(db.ping, {}))
                assert(not pcall(pool.release, pool, {}))
                pool:with(function(inner) assert(inner.socket == nil and inner:ping() == 'pong') end)
                assert(tostring(pool) == 'client.pool' and tostring(db) == 'client.connection')
                local ok, problem = pcall(db.call, db, 'no such procedure')
                assert(not ok and getmetatable(problem) == 'error')
                for _, options in ipairs({ { tls = { hostname = 7 } }, { tls = { hostname = 'a\0b' } },
                    { tls = { hostname = box.NULL } }, { timeout = 0 / 0 }, { user = {} } }) do
                    assert(not pcall(client.connect, address, options))
                end
                transaction:rollback()
                db:close()]])
        end)

        it('has the values of the server', function()
            run([[
                local db, msgpack = client.connect(address), require('msgpack')
                local decimal, uuid = require('decimal'), require('uuid')
                local number, id = decimal.new('12.50'), uuid.new()
                assert(db:eval('return ...', number) == number and db:eval('return ...', id) == id)
                assert(db:eval('return ...', 2LL ^ 60) == 2LL ^ 60 and db:eval('return ...', nil) == nil)
                assert(db:eval('return ...', { 1, client.NULL, 3 })[2] == nil)
                local many = {}
                for n = 1, 2000 do many[n] = n end
                many[1500] = nil
                local back = db:eval('return { select("#", ...), select(1999, ...) }', unpack(many, 1, 2000))
                assert(back[1] == 2000 and back[2] == 1999 and back[3] == 2000)
                assert(db:eval('return ...', box.tuple.new({ 1, 'two' }))[2] == 'two')
                assert(msgpack.encode(client.map({})) == '\x80')
                assert(msgpack.encode({ client.map({ 5 }) }) == '\x91\x81\1\5')
                db:close()]])
        end)
    end)
end)
