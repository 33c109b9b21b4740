-- SPDX-License-Identifier: Apache-2.0
--
-- Calls stored procedures over sixteen connections, the same ones of either database, and is run by
-- tarantool's LuaJIT for both: with net.box for Tarantool, with lua/client.lua for Perigee.
--
--     tarantool wire.lua theirs|ours PORT fill
--     tarantool wire.lua theirs|ours PORT PROCEDURE DEPTH CALLS
--
-- `fill` makes the space and the procedures. Otherwise DEPTH calls are sent on each connection, and
-- their results awaited, again and again; prints calls a second, and how many there were in all.

local system, port, word, depth, calls = ...
local rows, connection_count = 100000, 16
local clock = require('clock')

local schema = [[
    local space = box.schema.space.create('bench', {
        format = { { 'id', 'unsigned' }, { 'name', 'string' }, { 'city', 'unsigned' },
            { 'balance', 'number' }, { 'note', 'string' } },
    })
    space:create_index('primary', { parts = { 'id' } })
    space:create_index('name', { parts = { 'name' } })
    space:create_index('city', { parts = { 'city' }, unique = false })
    local function create(name, body)
        box.schema.func.create(name, { body = body })
    end
    create('empty', 'function() end')
    create('get_one', 'function(id) return box.space.bench:get(id)[4] end')
    create('update_ten', [=[function(id, rows)
        box.atomic(function()
            for n = 0, 9 do
                box.space.bench:update((id + n * 7919) % rows + 1, { { '+', 4, 1 } })
            end
        end)
    end]=])
]]

local insert = [[
    local first, last = ...
    local note = string.rep('x', 60)
    box.begin()
    for id = first, last do
        box.space.bench:insert({ id, string.format('name of number %d', id), id % 1000, 0, note })
    end
    box.commit()
]]

local function connect_theirs()
    local connection = require('net.box').connect('127.0.0.1:' .. port)
    return {
        eval = function(text, ...) connection:eval(text, { ... }) end,
        send = function(name, ...) return connection:call(name, { ... }, { is_async = true }) end,
        flush = function() end, -- a fiber of its own sends
        receive = function(future)
            local _, problem = future:wait_result(10)
            assert(not problem, problem)
        end,
    }
end

local function connect_ours()
    package.path = 'lua/?.lua;' .. package.path
    local connection = require('client').connect('127.0.0.1:' .. port, { timeout = 10 })
    return {
        eval = function(text, ...) connection:eval(text, ...) end,
        send = function(name, ...) return connection:send('call', name, ...) end,
        flush = function() connection:flush() end,
        receive = function(number) connection:receive(number) end,
    }
end

local connect = system == 'ours' and connect_ours or connect_theirs

if word == 'fill' then
    local connection = connect()
    connection.eval(schema)
    for first = 1, rows, 1000 do
        connection.eval(insert, first, first + 999)
    end
    os.exit(0)
end

local connections = {}
for n = 1, connection_count do
    connections[n] = { connection = connect(), waiting = {} }
end

local function run(count)
    for n = 1, count, depth * connection_count do
        for c = 1, connection_count do
            local connection, waiting = connections[c].connection, connections[c].waiting
            for k = 1, depth do
                waiting[k] = connection.send(word, (n * 7919 + c * 15485863 + k * 104729) % rows + 1, rows)
            end
            connection.flush()
        end
        for c = 1, connection_count do
            for k = 1, depth do
                connections[c].connection.receive(connections[c].waiting[k])
            end
        end
    end
end

-- Whole rounds, so that exactly as many are called as are counted.
local round = tonumber(depth) * connection_count
depth, calls = tonumber(depth), math.ceil(tonumber(calls) / round) * round
local before = math.ceil(calls / 20 / round) * round
run(before)
local started = clock.monotonic()
run(calls)
print(string.format('%.1f %d', calls / (clock.monotonic() - started), before + calls))
os.exit(0)
