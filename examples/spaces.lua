-- SPDX-License-Identifier: Apache-2.0
--
-- Spaces over RESP in plain LuaJIT: fifty lines that speak RESP, and a msgpack library.
--
--     luajit examples/spaces.lua [ADDRESS]
--
-- against a running server, 127.0.0.1:6379 when no address is given. A space of readings is made, filled
-- by a pipeline, read by ranges, changed in a transaction together with a key of Redis, and dropped. What is
-- not as it has to be ends the program with an error.

-- From the source tree: lua/ stands beside the folder of this file.
local here = (arg and arg[0] or ''):match('^(.*/)[^/]*$') or './'
package.path = here .. '../lua/?.lua;' .. package.path

local msgpack = require('client.msgpack')
local socket = require('client.socket')

-- ------------------------------------------------------------------------------------------ RESP

local connection = { bytes = '' }

function connection:send(...)
    local parts = { ('*%d\r\n'):format(select('#', ...)) }
    for n = 1, select('#', ...) do
        local argument = select(n, ...)
        parts[#parts + 1] = ('$%d\r\n%s\r\n'):format(#argument, argument)
    end
    local text, from = table.concat(parts), 1
    while from <= #text do
        assert(self.socket:wait(socket.POLLOUT, socket.now() + 60))
        from = from + assert(self.socket:send(text, from))
    end
end

function connection:more()
    assert(self.socket:wait(socket.POLLIN, socket.now() + 60))
    self.bytes = self.bytes .. assert(self.socket:receive())
end

function connection:take(size)
    while #self.bytes < size do
        self:more()
    end
    local taken = self.bytes:sub(1, size)
    self.bytes = self.bytes:sub(size + 1)
    return taken
end

function connection:line()
    while not self.bytes:find('\r\n', 1, true) do
        self:more()
    end
    return self:take(self.bytes:find('\r\n', 1, true) + 1):sub(1, -3)
end

--- A reply; nil and the message when it is an error.
function connection:reply()
    local line = self:line()
    local kind, rest = line:sub(1, 1), line:sub(2)
    if kind == '-' then
        return nil, rest
    elseif kind == '$' then
        return self:take(tonumber(rest) + 2):sub(1, -3)
    elseif kind == '*' then
        local replies = {}
        for n = 1, tonumber(rest) do
            replies[n] = assert(self:reply())
        end
        return replies
    end
    return rest
end

-- ---------------------------------------------------------------------------------------- spaces

--- After CLIENT FORMAT msgpack every argument behind a command's name is one MessagePack value.
local function request(command, ...)
    local values = { ... }
    for n = 1, select('#', ...) do
        values[n] = msgpack.encode(values[n])
    end
    connection:send(command, unpack(values))
end

--- The value of the reply, which is MessagePack too.
local function call(command, ...)
    request(command, ...)
    local reply, message = connection:reply()
    if not reply then
        return nil, message
    end
    return msgpack.decode(reply)
end

connection.socket = assert(socket.connect(arg and arg[1] or '127.0.0.1:6379', socket.now() + 60))
connection:send('CLIENT', 'FORMAT', 'msgpack')
assert(connection:reply())

assert(call('SPACE.CREATE', 'example_readings', {
    format = { { 'sensor', 'string' }, { 'time', 'unsigned' }, { 'value', 'number' } },
}))
assert(call('SPACE.INDEX.CREATE', 'example_readings', 'primary', { parts = { 'sensor', 'time' } }))

-- A pipeline: all requests, then all replies.
local COUNT = 1000
for n = 1, COUNT do
    request('SPACE.INSERT', 'example_readings', { 's' .. n % 4, n, n / 8 })
end
for n = 1, COUNT do
    assert(msgpack.decode(assert(connection:reply()))[2] == n)
end
print(('%d readings, %d of s1'):format(assert(call('SPACE.COUNT', 'example_readings')),
    assert(call('SPACE.COUNT', 'example_readings', 's1'))))

local newest = assert(call('SPACE.SELECT', 'example_readings', 's1', { iterator = 'req', limit = 2 }))
print(('the newest of s1: %d and %d'):format(newest[1][2], newest[2][2]))
assert(newest[1][2] == 997 and newest[1][3] == 997 / 8 and newest[2][2] == 993)

-- A transaction with a key of Redis, whose arguments are Redis's own.
connection:send('MULTI')
request('SPACE.DELETE', 'example_readings', { 's1', 997 })
connection:send('INCR', 'example_deleted')
connection:send('EXEC')
for _ = 1, 3 do
    assert(connection:reply())
end
local results = assert(connection:reply())
print(('deleted the one of %d; deleted so far: %s'):format(msgpack.decode(results[1])[2], results[2]))

local none, message = call('SPACE.INSERT', 'example_readings', { 's1', 'noon', 1 })
assert(none == nil and message:find('field 2 (time) of space', 1, true), message)
print('refused: ' .. message)

connection:send('DEL', 'example_deleted')
assert(connection:reply())
assert(call('SPACE.DROP', 'example_readings'))
connection.socket:close()
