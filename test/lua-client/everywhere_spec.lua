-- SPDX-License-Identifier: Apache-2.0
--
-- What the client can do, each by the same text at the three places where a client may be:
--
--                     plain LuaJIT     a procedure of a server     text typed into the console
--   pool              x                x, with fibers              x, with fibers
--   pipelining        x                x                           x
--   reconnect         x                x                           x
--   futures           x                x                           x
--   streams           x                x                           x
--   TLS               x                x                           x
--
-- In the server all of them wait on the loop of one worker, which also answers them: `home` has a single
-- one, and is asked by itself. `away` is another server, whose connections are killed.
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local client = require('client')
local process = require('process')

-- Texts with `home`, `away`, `secure` (addresses), `ca` and `name` for arguments; they return 'ok'.
local texts = {}

texts.pool = [[
    local home, away = ...
    local client = require('client')
    local nowhere = '127.0.0.1:1'
    local pool = client.pool({
        address = { home, nowhere, away }, min = 1, max = 4, first = 0.001, wait = 600,
    })
    local folders = {}
    local found, fiber = pcall(require, 'fiber')
    if found then
        local done = fiber.channel(40)
        for n = 1, 40 do
            fiber.create(function() done:put(pool:eval('return ... + 1', n)) end)
        end
        local sum = 0
        for n = 1, 40 do sum = sum + done:get() end
        assert(sum == 20 * 41 + 40)
    end
    local futures = {}
    for n = 1, 200 do futures[n] = pool:async('eval', 'return {..., box.cfg.dir}', n) end
    for n = 1, 200 do
        local result = futures[n]:get()
        assert(result[1] == n)
        folders[ result[2] ] = true
    end
    local count = 0
    for _ in pairs(folders) do count = count + 1 end
    assert(count == 2)
    assert(pool:with(function(db) return db:eval('return 5') end) == 5)
    local statistics = pool:statistics()
    assert(statistics.size <= 4 and statistics.idle == statistics.size and statistics.opened >= 2)
    assert(statistics.failed >= 1 and statistics.endpoints[2].opened == 0)
    assert(not statistics.endpoints[2].answers and statistics.endpoints[2].problem:find(nowhere, 1, true))
    pool:close()
    local ok, problem = pcall(pool.ping, pool)
    assert(not ok and problem.name == 'CLIENT_LOST')
    return 'ok'
]]

texts.pipelining = [[
    local home = ...
    local db = require('client').connect(home)
    local numbers = {}
    for n = 1, 2000 do numbers[n] = db:send('eval', 'return ...', n) end
    db:flush()
    for n = 2000, 1, -1 do assert(db:receive(numbers[n]) == n) end
    local text = ('x'):rep(300000)
    for n = 1, 20 do numbers[n] = db:send('eval', 'return ...', text) end
    for n = 1, 20 do assert(db:receive(numbers[n]) == text) end
    db:close()
    return 'ok'
]]

-- What was under way is lost, and not sent again. Where nobody listens it tries until its time is over.
texts.reconnect = [[
    local _, away, _, _, name = ...
    local client = require('client')
    local db = client.connect(away, { reconnect = { first = 0.001, most = 0.01, seconds = 600 } })
    local asleep = db:async('eval', 'box.space.here:insert({ ..., box.session.id() })'
        .. ' require("fiber").sleep(1e6)', name)
    local ok, problem = asleep:wait()
    assert(not ok and problem.code == client.LOST)
    assert(db:ping() == 'pong')
    assert(db:eval('return box.space.here:get(...)[1]', name) == name)
    db:close()
    ok, problem = pcall(client.connect, '127.0.0.1:1', { reconnect = true })
    assert(not ok and problem.code == client.LOST)
    local pool = client.pool({ address = '127.0.0.1:1', wait = 0.05, first = 0.001 })
    ok, problem = pcall(pool.ping, pool)
    assert(not ok and problem.code == client.LOST and problem.message:find('cannot connect', 1, true))
    return 'ok'
]]

texts.futures = [[
    local home, away = ...
    local client = require('client')
    local one, two = client.connect(home), client.connect(away)
    local asleep = one:async('eval', 'require("fiber").sleep(1e6)')
    local sums = {}
    for n = 1, 50 do
        sums[n] = (n % 2 == 0 and one or two):async('eval', 'local a, b = ... return a + b', n, n)
    end
    for n = 1, 50 do assert(sums[n]:get() == 2 * n and sums[n]:ready()) end
    assert(not asleep:ready())
    assert(asleep:cancel())
    local ok, problem = asleep:wait()
    assert(not ok and problem.name == 'ERROR_CANCELLED')
    local fails = two:async('call', 'no such procedure')
    ok, problem = pcall(fails.get, fails)
    assert(not ok and problem.name == 'ERROR_NOT_FOUND')
    one:close()
    two:close()
    return 'ok'
]]

texts.streams = [[
    local _, away, _, _, name = ...
    local client = require('client')
    local db = client.connect(away)
    local first, second = db:begin(), db:begin({ isolation = 'read committed' })
    first:eval('box.space.there:replace({ ..., 1 })', name)
    local waits = second:async('eval', 'box.space.there:replace({ ..., 2 })', name)
    assert(db:ping() == 'pong' and db:eval('return box.space.there:get(...)', name) == nil)
    first:savepoint('here')
    first:eval('box.space.there:delete(...)', name)
    first:rollback_to('here')
    first:commit()
    waits:get()
    second:commit()
    assert(db:eval('return box.space.there:get(...)[2]', name) == 2)
    local pool = client.pool({ address = away, max = 1, wait = 600 })
    local third = pool:begin({ readonly = true })
    assert(third:eval('return box.space.there:get(...)[2]', name) == 2)
    third:rollback()
    assert(pool:ping() == 'pong' and pool:statistics().opened == 1)
    pool:close()
    db:close()
    return 'ok'
]]

texts.TLS = [[
    local _, _, secure, ca, name = ...
    local client = require('client')
    local db = client.connect(secure, { tls = { ca = ca } })
    local numbers = {}
    for n = 1, 500 do numbers[n] = db:send('eval', 'return ...', n) end
    for n = 1, 500 do assert(db:receive(numbers[n]) == n) end
    local text = ('abcdefghij'):rep(100000)
    assert(db:eval('return ...', text) == text)
    db:close()
    local pool = client.pool({ address = secure, max = 2, wait = 600, tls = { ca = ca } })
    local futures = {}
    for n = 1, 100 do futures[n] = pool:async('eval', 'return ...', n) end
    for n = 1, 100 do assert(futures[n]:get() == n) end
    pool:close()
    local ok, problem = pcall(client.connect, secure, { tls = { ca = ca, hostname = 'db.example.org' } })
    assert(not ok and problem.code == client.LOST and problem.message:find('mismatch', 1, true))
    ok, problem = pcall(client.connect, secure, { tls = { ca = '-----BEGIN CERTIFICATE-----' } })
    assert(not ok)
    return 'ok'
]]

local words = {}
for word in pairs(texts) do
    words[#words + 1] = word
end
table.sort(words)

describe('the client', function()
    local folder, home, away, operator, watcher, given

    local function run(command)
        assert.equal(0, os.execute(('cd %s && %s 2>/dev/null'):format(folder, command)))
    end

    --- A server that listens without TLS and with it; both addresses.
    local function serve(name, ...)
        local server = process.server(folder .. '/' .. name, {
            '--listen', '127.0.0.1:0,127.0.0.1:0 tls', '--tls_certificate', folder .. '/server.pem',
            '--tls_key', folder .. '/server.key', ...,
        })
        server.plain, server.secure = server.address:match('^(%S+) and (%S+)')
        return server
    end

    setup(function()
        folder = process.folder()
        run('openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key'
            .. ' -out server.pem -subj /CN=server -days 2 -addext subjectAltName=IP:127.0.0.1')
        home, away = serve('home', '--workers', '1'), serve('away')
        operator, watcher = client.connect(home.plain), client.connect(away.plain)
        watcher:eval([[
            for _, name in ipairs({ 'here', 'there' }) do
                box.schema.space.create(name):create_index('pk', { parts = { { 1, 'string' } } })
            end]])
        local file = assert(io.open(folder .. '/server.pem'))
        given = { home.plain, away.plain, away.secure, file:read('*a') }
        file:close()
    end)

    teardown(function()
        operator:close()
        watcher:close()
        assert.equal(0, home:stop())
        assert.equal(0, away:stop())
        process.remove(folder)
    end)

    --- Ends the connection on which somebody sleeps at `away`, who has put it into the space `here`.
    local function kill(name)
        local id
        repeat
            id = watcher:eval('local row = box.space.here:get(...) return row and row[2]', name)
        until id
        local killer = process.spawn({
            process.perigee, 'console', away.plain, '-e', '/client kill id ' .. id,
        })
        killer:close_input()
        assert.equal('(integer) 1\n', killer:finish())
    end

    --- A text that needs no arguments.
    local function call_of(text, name)
        return ('return (function(...) %s end)(%q, %q, %q, %q, %q)'):format(text, given[1], given[2],
            given[3], given[4], name)
    end

    local function finish(child, name, word)
        child:close_input()
        if word == 'reconnect' then
            kill(name)
        end
        return (child:finish())
    end

    local places = {
        ['plain LuaJIT'] = function(word, name)
            local path = folder .. '/' .. word .. '.lua'
            local file = assert(io.open(path, 'w'))
            file:write(("package.path = 'lua/?.lua;' .. package.path\nprint((function() %s end)())\n"):format(
                call_of(texts[word], name)))
            file:close()
            return finish(process.spawn({ '/usr/bin/env', 'luajit', path }), name, word)
        end,
        ['a procedure of a server'] = function(word, name)
            operator:eval('box.schema.func.create(...)', 'client_' .. word,
                { body = ('function(...) %s end'):format(texts[word]), transaction = false })
            local future = operator:async('call', 'client_' .. word, given[1], given[2], given[3], given[4],
                name)
            operator:flush()
            if word == 'reconnect' then
                kill(name)
            end
            return future:get() .. '\n'
        end,
        ['text typed into the console'] = function(word, name)
            return finish(process.spawn({ process.perigee, 'console', home.plain, '-e',
                call_of(texts[word], name) }), name, word)
        end,
    }

    for place, run_there in pairs(places) do
        for _, word in ipairs(words) do
            it(('has %s in %s'):format(word, place), function()
                assert.equal('ok\n', run_there(word, place .. ' ' .. word))
            end)
        end
    end
end)
