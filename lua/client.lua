-- SPDX-License-Identifier: Apache-2.0
--
-- A client of a Perigee server over MessagePack-RPC: docs/protocol.md says what travels. It needs
-- LuaJIT and nothing else, and is built into the binary as well. In the server it waits on the worker's
-- loop (client.platform), several fibers may use one connection, and client.guard is what code there sees.
--
--     local client = require('client')
--     local db = client.connect('127.0.0.1:6379')
--     db:call('transfer', 1, 2, 10)
--     db:eval('return box.space.accounts:get(...)', 1)
--
-- Pipelining: `send` queues a request and gives its number, `receive` waits for the response that
-- has the number; responses may come in any order. All that is queued goes out in one write when
-- somebody waits, or with `flush`.
--
--     local first, second = db:send('call', 'f', 1), db:send('call', 'f', 2)
--     print(db:receive(first), db:receive(second))
--
-- Interactive transactions: `begin` gives one, which has `call`, `eval`, `send` of its own. Several
-- may be open on one connection.
--
--     local transaction = db:begin({ isolation = 'snapshot' })
--     transaction:eval('box.space.accounts:update(...)', 1, { { '-', 'balance', 10 } })
--     transaction:commit()
--
-- Messages: after `subscribe`, `message` waits for the next one.
--
-- Functions raise errors, which are tables {code, name, message} that print as their message. What
-- the server reports has its own codes, all negative; what happens on the way has the codes below,
-- after which it is unknown whether the server has done what it was asked. A connection that was
-- lost stays lost: connect again; with the option `reconnect` the next request does so. What was under way
-- is never sent a second time. After a timeout the connection goes on, and the late response is dropped.

local address = require('client.address')
local option = require('client.option')
local platform = require('client.platform')
local pool = require('client.pool')
local tls = require('client.tls')

local msgpack, socket = platform.msgpack, platform.socket

local client = {
    NULL = msgpack.NULL,
    map = msgpack.map,
    -- codes of errors that come from here
    LOST = 1,
    TIMEOUT = 2,
    PROTOCOL = 3,
    INTERRUPTED = 4,
    BUSY = 5,
}
local names = { 'CLIENT_LOST', 'CLIENT_TIMEOUT', 'CLIENT_PROTOCOL', 'CLIENT_INTERRUPTED', 'CLIENT_BUSY' }

local REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2
local OPTIONS = 1 -- the extension at the head of the params
local OUTPUT_BYTES_MAX = 1024 * 1024 -- queued requests are sent when they are more
local NUMBER_MAX = 2 ^ 32
local CONNECTING_SECONDS = 1 -- until a fiber looks again whether another one has connected

local methods = {}
methods.__index = methods

-- -------------------------------------------------------------------------------------- errors

local error_metatable = {
    __tostring = function(self) return self.message end,
    __name = 'error',
    __metatable = 'error',
}

local function new_error(code, message)
    return setmetatable({ code = code, name = names[code], message = message }, error_metatable)
end

--- Whether it was raised with one of the codes above; else it comes from what the client stands on.
local function is_own(problem)
    return type(problem) == 'table' and names[problem.code] ~= nil
end

--- An error of the server's as a table of ours.
local function server_error(given)
    if type(given) ~= 'table' then
        given = { message = tostring(given) }
    end
    return setmetatable({
        code = given.code or 0,
        name = given.name or 'ERROR',
        message = tostring(given.message or given.name),
        trace = type(given.trace) == 'table' and given.trace or nil,
        details = type(given.details) == 'table' and given.details or nil,
    }, error_metatable)
end

--- Nothing of what was under way will be answered; the next connection begins anew.
local function forget(self, message)
    for number in pairs(self.waiting) do
        self.responses[number] = { lost = message }
    end
    self.waiting, self.streams, self.epoch = {}, {}, self.epoch + 1
    self.input, self.position, self.scanner = '', 1, nil
    self.output, self.sent, self.queued, self.queued_bytes = '', 0, {}, 0
end

--- The connection is of no more use.
local function lose(self, message)
    self:close()
    self.lost = self.lost or message
    message = 'lost the connection to ' .. self.address .. ': ' .. message
    if self.reconnect then
        forget(self, message)
    end
    error(new_error(client.LOST, message), 0)
end

local connect_again

--- Where there are fibers, which of them this is.
local function current()
    return socket.current and socket.current() or 0
end

local function check_open(self)
    if socket.check then
        socket.check()
    end
    while self.connecting and self.connecting ~= current() do
        self.connected:wait(CONNECTING_SECONDS)
    end
    if not self.socket and self.lost and self.reconnect and not self.connecting then
        connect_again(self)
    end
    if not self.socket then
        local message = self.lost and 'the connection to %s was lost' or 'the connection to %s is closed'
        error(new_error(client.LOST, message:format(self.address)), 0)
    end
end

--- For what socket:wait has failed with.
local function raise_wait(self, message)
    if message == 'timeout' then
        error(new_error(client.TIMEOUT, 'no response from ' .. self.address .. ' within the time limit'), 0)
    elseif message == 'interrupted' then
        error(new_error(client.INTERRUPTED, 'interrupted'), 0)
    end
    lose(self, message)
end

-- ---------------------------------------------------------------------------- bytes in and out

--- Takes one message from the input, if there is a whole one.
local function take_message(self)
    self.scanner = self.scanner or msgpack.scanner(self.position)
    local done = msgpack.scan(self.scanner, self.input)
    if done == nil then
        lose(self, 'what it sent is not MessagePack')
    elseif not done then
        return nil
    end
    local ok, message = pcall(msgpack.decode_scanned, self.input, self.position)
    self.position, self.scanner = self.scanner.position, nil
    if not ok or type(message) ~= 'table' or message[2] == nil
        or (message[1] ~= RESPONSE and message[1] ~= NOTIFICATION) then
        lose(self, 'what it sent is not a response')
    end
    return message
end

--- Keeps what came to a channel for `message`, and hands out the progress of requests under way. There
--- may be notifications that this client does not know of.
local function take_notification(self, notification)
    local params = notification[3]
    if type(params) ~= 'table' then
        lose(self, 'what it sent is not a message')
    elseif notification[2] == 'message' then
        table.insert(self.messages, { channel = params[1], payload = params[2] })
    elseif notification[2] == 'pmessage' then
        table.insert(self.messages, { pattern = params[1], channel = params[2], payload = params[3] })
    elseif notification[2] == 'progress' and self.progress and self.waiting[params[1]] then
        self.progress(params[1], params[2])
    end
end

--- Sorts the complete responses of the input by number.
local function take_messages(self)
    while true do
        local message = take_message(self)
        if not message then
            break
        end
        local number = message[2]
        if message[1] == NOTIFICATION then
            take_notification(self, message)
        elseif self.waiting[number] then
            self.waiting[number] = nil
            self.responses[number] = message
        elseif number == 0 and type(message[3]) == 'table' and type(message[3].message) == 'string' then
            lose(self, message[3].message) -- to nobody: why the server closes the connection
        end
    end
    if self.position > 1 then
        self.input = self.input:sub(self.position)
        self.scanner = nil
        self.position = 1
    end
end

local function read_available(self)
    local bytes, message = self.socket:receive()
    if not bytes then
        lose(self, message)
    elseif bytes ~= '' then
        self.input = self.input .. bytes
        take_messages(self)
    end
end

--- Waits until the socket can do one of `events`; reads when there is something to read.
local function wait(self, events, deadline)
    local stream = self.socket
    local ready, message = stream:wait(events, deadline)
    if self.socket ~= stream then -- another fiber has met its end, or closed it
        message = 'the connection to %s was lost or closed meanwhile'
        error(new_error(client.LOST, message:format(self.address)), 0)
    elseif not ready then
        raise_wait(self, message)
    end
    if ready % 2 == socket.POLLIN or ready >= 8 then
        read_available(self)
    end
end

local function deadline_of(self)
    return self.timeout and socket.now() + self.timeout
end

--- Sends as much as the socket takes of what is queued; true: that was all.
local function push(self)
    if #self.queued > 0 then
        self.output = self.output:sub(self.sent + 1) .. table.concat(self.queued)
        self.sent, self.queued, self.queued_bytes = 0, {}, 0
    end
    while self.sent < #self.output do
        local size, message = self.socket:send(self.output, self.sent + 1)
        if not size then
            lose(self, message)
        elseif size == 0 then
            return false
        end
        self.sent = self.sent + size
    end
    self.output, self.sent = '', 0
    return true
end

--- Sends all that is queued. Reads meanwhile, or a server that waits for room for its responses and
--- this client would wait for each other.
local function flush(self, deadline)
    while not push(self) do
        wait(self, socket.POLLIN + socket.POLLOUT, deadline)
        check_open(self)
    end
end

-- ------------------------------------------------------------------------------------ requests

local function take_number(self)
    repeat
        self.last_number = (self.last_number + 1) % NUMBER_MAX
    until not self.waiting[self.last_number] and not self.responses[self.last_number]
    return self.last_number
end

--- Sends what is queued and reads what has arrived, as far as that goes without waiting; false when the
--- connection turns out to be lost, or is closed.
---@return boolean
function methods:alive()
    return self.socket ~= nil and pcall(function()
        push(self)
        read_available(self)
    end)
end

--- Queues a request, of a stream or of none.
local function send(self, stream, method, ...)
    check_open(self)
    local params
    if stream then
        params = msgpack.encode_array_behind({ stream = stream }, OPTIONS, select('#', ...), ...)
    else
        params = msgpack.encode_array(select('#', ...), ...)
    end
    local number = take_number(self)
    local request = msgpack.array_header(4) .. msgpack.encode(REQUEST) .. msgpack.encode(number)
        .. msgpack.encode(method) .. params
    self.queued[#self.queued + 1] = request
    self.queued_bytes = self.queued_bytes + #request
    self.waiting[number] = true
    if self.queued_bytes > OUTPUT_BYTES_MAX then
        self:flush()
    end
    return number
end

--- Queues a request: a method ('call', 'eval', 'ping', or a procedure's name) and its arguments.
---@param method string
---@return integer number for `receive`
function methods:send(method, ...)
    return send(self, nil, method, ...)
end

--- Sends what is queued, without waiting for responses.
function methods:flush()
    check_open(self)
    flush(self, deadline_of(self))
end

--- Waits for the response to a request of `send`.
---@param number integer
---@return boolean ok, any result or the server's error
function methods:wait(number)
    local response = self.responses[number]
    if not response then
        if not self.waiting[number] and self.reconnect then
            error(new_error(client.PROTOCOL, 'nothing was asked under the number ' .. tostring(number)), 0)
        end
        check_open(self)
        if not self.waiting[number] then
            error(new_error(client.PROTOCOL, 'nothing was asked under the number ' .. tostring(number)), 0)
        end
        local deadline = deadline_of(self)
        local ok, problem = pcall(function()
            flush(self, deadline)
            while not self.responses[number] do
                wait(self, socket.POLLIN, deadline)
            end
        end)
        response = self.responses[number]
        if not ok and not response then
            self.waiting[number] = nil
            error(problem, 0)
        end
    end
    self.responses[number] = nil
    if response.lost then
        error(new_error(client.LOST, response.lost), 0)
    end
    if response[3] ~= nil then
        return false, server_error(response[3])
    end
    local result = response[4]
    if result == nil then
        result = nil
    end
    return true, result
end

--- The result of a request of `send`; raises its error.
---@param number integer
---@return any
function methods:receive(number)
    local ok, result = self:wait(number)
    if not ok then
        error(result, 0)
    end
    return result
end

-- --------------------------------------------------------------------------------------- futures

local future = {}
future.__index = future

local function new_future(connection, number)
    return setmetatable({ connection = connection, number = number }, future)
end

--- A request that goes on while this side does something else: its future.
---@param method string
---@return table future
function methods:async(method, ...)
    return new_future(self, self:send(method, ...))
end

--- What goes on at the same time on other connections of a pool is sent, too.
function future:push()
    if self.pool then
        self.pool:flush()
    end
end

--- Whether it has come to its end: sends what is queued, and reads what has arrived, without waiting.
---@return boolean
function future:ready()
    local connection, number = self.connection, self.number
    if self.ok == nil and connection.waiting[number] then
        self:push()
        if not connection:alive() then
            return true
        end
    end
    return self.ok ~= nil or not connection.waiting[number]
end

--- Waits for its end; as often as one likes. To be lost with the connection is an error, too.
---@return boolean ok, any result or the error
function future:wait()
    if self.ok == nil then
        self:push()
        local answered, ok, value = pcall(methods.wait, self.connection, self.number)
        if answered then
            self.ok, self.value = ok, value
        else
            self.ok, self.value = false, ok
            if not is_own(ok) then -- the fiber that waits is to end
                error(ok, 0)
            end
        end
    end
    return self.ok, self.value
end

--- Its result; raises its error.
---@return any
function future:get()
    local ok, value = self:wait()
    if not ok then
        error(value, 0)
    end
    return value
end

--- As `cancel` of the connection.
---@return boolean
function future:cancel()
    return self.connection:cancel(self.number)
end

-- ---------------------------------------------------------------------------------- one by one

--- Sends a request and waits for its result.
---@param method string
---@return any
function methods:request(method, ...)
    return self:receive(self:send(method, ...))
end

--- Calls a stored procedure: one transaction on the server. Several results come as an array.
---@param name string
---@return any
function methods:call(name, ...)
    return self:request('call', name, ...)
end

--- Runs Lua text on the server, with the arguments as `...`.
---@param text string
---@return any
function methods:eval(text, ...)
    return self:request('eval', text, ...)
end

--- Ends a request of `send` where it waits for others or sleeps: its result is then ERROR_CANCELLED.
---@param number integer
---@return boolean false: it does not wait
function methods:cancel(number)
    return self:request('cancel', number)
end

--- Ends a request of `send` wherever it has come, the last one if no number is given, and waits for
--- nothing: not even to learn whether it was ended.
---@param number integer?
function methods:abandon(number)
    if not self.socket then
        return
    end
    self.queued[#self.queued + 1] = msgpack.array_header(3) .. msgpack.encode(NOTIFICATION)
        .. msgpack.encode('cancel') .. msgpack.encode_array(1, number or self.last_number)
    self.output = self.output:sub(self.sent + 1) .. table.concat(self.queued)
    self.sent, self.queued, self.queued_bytes = 0, {}, 0
    self.sent = self.socket:send(self.output, 1) or 0
end

---@return string 'pong'
function methods:ping()
    return self:request('ping')
end

--- Says who one is: (password), for the default user, or (user, password).
---@param user string
---@param password string?
function methods:auth(user, password)
    self.personal = true
    if password == nil then
        self:request('auth', user)
    else
        self:request('auth', user, password)
    end
end

-- -------------------------------------------------------------------- interactive transactions

local transaction = {}
transaction.__index = transaction

--- Opens an interactive transaction. What is done through it is done in it; other requests of the
--- connection are not. When it is lost to another (ERROR_CONFLICT, ERROR_DEADLOCK), or beyond a limit
--- of the server (ERROR_CANCELLED), everything but `rollback` and `commit` raises that error.
---@param options table? {isolation = name of a level, readonly = boolean}
---@return table transaction
function methods:begin(options)
    check_open(self)
    local stream = 1
    while self.streams[stream] do
        stream = stream + 1
    end
    self.streams[stream] = true
    local self_ = setmetatable({
        connection = self, stream = stream, open = true, epoch = self.epoch,
    }, transaction)
    local ok, problem = pcall(self_.request, self_, 'begin', msgpack.map(options or {}))
    if not ok then
        self.streams[stream] = nil
        error(problem, 0)
    end
    return self_
end

--- As of a connection; the responses are received there.
function transaction:send(method, ...)
    if not self.open then
        error(new_error(client.PROTOCOL, 'the transaction has ended'), 0)
    elseif self.epoch ~= self.connection.epoch then
        error(new_error(client.LOST, 'the transaction was lost with its connection'), 0)
    end
    return send(self.connection, self.stream, method, ...)
end

--- As of a connection.
function transaction:async(method, ...)
    return new_future(self.connection, self:send(method, ...))
end

function transaction:request(method, ...)
    return self.connection:receive(self:send(method, ...))
end

function transaction:call(name, ...)
    return self:request('call', name, ...)
end

function transaction:eval(text, ...)
    return self:request('eval', text, ...)
end

---@param name string
function transaction:savepoint(name)
    self:request('savepoint', name)
end

--- Undoes what was done since the savepoint, which stays.
---@param name string
function transaction:rollback_to(name)
    self:request('rollback', name)
end

--- Forgets the savepoint, and those after it.
---@param name string
function transaction:release(name)
    self:request('release', name)
end

local function finish(self, method)
    local ok, problem = pcall(self.send, self, method)
    if ok then
        self.open = false
        self.connection.streams[self.stream] = nil
        ok, problem = pcall(methods.receive, self.connection, problem)
    end
    local ended = (not self.open or not self.connection.socket) and self.ended -- of a pool's
    if ended then
        self.ended = nil
        ended()
    end
    if not ok then
        error(problem, 0)
    end
end

--- Ends it also when it raises an error: then nothing was done, except after LOST, TIMEOUT and
--- INTERRUPTED, when that is not known.
function transaction:commit()
    finish(self, 'commit')
end

function transaction:rollback()
    finish(self, 'rollback')
end

-- ------------------------------------------------------------------------------------- channels

--- Listens to channels; messages come to `message`.
---@param ... string
function methods:subscribe(...)
    self.personal = true
    self:request('subscribe', ...)
end

--- Listens to all channels whose names match the patterns ('news.*').
---@param ... string
function methods:psubscribe(...)
    self.personal = true
    self:request('psubscribe', ...)
end

--- Stops listening to these channels, or to all of them.
function methods:unsubscribe(...)
    self:request('unsubscribe', ...)
end

function methods:punsubscribe(...)
    self:request('punsubscribe', ...)
end

--- Sends any value to those who listen; gives their number.
---@param channel string
---@return integer
function methods:publish(channel, payload)
    return self:request('publish', channel, payload)
end

--- Waits for the next message: {channel, payload}, and `pattern` when it came by one.
---@return table
function methods:message()
    local deadline = deadline_of(self)
    while #self.messages == 0 do
        check_open(self)
        flush(self, deadline)
        if #self.messages == 0 then
            wait(self, socket.POLLIN, deadline)
        end
    end
    return table.remove(self.messages, 1)
end

--- Seconds that each wait may take, or nil for no limit.
---@param seconds number?
function methods:set_timeout(seconds)
    self.timeout = option.seconds('the timeout', seconds)
end

--- Closes the connection. Responses that have arrived can still be received.
function methods:close()
    if self.socket then
        self.socket:close()
        self.socket = nil
    end
end

-- ---------------------------------------------------------------------------------- connecting

---@class ClientOptions
---@field timeout number? seconds for connecting, and then for each wait
---@field user string? for whom, the default one when there is none
---@field password string|function? what `auth` sends, or what gives it for each connection
---@field tls boolean|table? TLS, and by which files: see client.tls
---@field reconnect boolean|table? a request after a loss connects again: {first, most, seconds}
---@field progress function? called with the number of a request and what box.session.push has told of it
---@field interrupted function? asked when a signal arrives during a wait; true ends the wait

--- A socket to the address, and who one is, said.
local function open(self)
    local options = self.options
    local deadline = options.timeout and socket.now() + options.timeout
    local stream, message = socket.connect(self.address, deadline)
    if stream and options.tls then
        stream.interrupted = options.interrupted
        stream, message = tls.wrap(stream, address.parse(self.address).host or 'localhost',
            type(options.tls) == 'table' and options.tls or {}, deadline)
    end
    if not stream then
        error(new_error(client.LOST, 'cannot connect to ' .. self.address .. ': ' .. message), 0)
    end
    stream.interrupted = options.interrupted
    self.socket = stream
    local password = options.password
    if type(password) == 'function' then
        password = password()
    end
    if options.user or (password and password ~= '') then
        local ok, problem
        if options.user then
            ok, problem = pcall(self.auth, self, options.user, password or '')
        else
            ok, problem = pcall(self.auth, self, password)
        end
        if not ok then
            self:close()
            error(problem, 0)
        end
    end
    self.personal = false
end

local FIRST, MOST, SECONDS = 0.05, 5, 60

--- Tries again and again, each time after about twice as long, until it succeeds, its time is over, or the
--- server refuses who one is.
local function try_again(self)
    local how = type(self.reconnect) == 'table' and self.reconnect or {}
    local pause, interrupted = how.first or FIRST, self.options.interrupted
    local deadline = socket.now() + (how.seconds or SECONDS)
    while true do
        local ok, problem = pcall(open, self)
        if ok then
            return
        elseif type(problem) ~= 'table' or problem.code ~= client.LOST or socket.now() + pause > deadline then
            error(problem, 0)
        end
        -- of many clients that a server has lost not all come back at the same moment
        socket.pause(pause * (0.5 + math.random() / 2))
        if interrupted and interrupted() then
            error(new_error(client.INTERRUPTED, 'interrupted'), 0)
        end
        pause = math.min(2 * pause, how.most or MOST)
    end
end

function connect_again(self)
    self.connecting, self.connected = current(), socket.condition and socket.condition()
    local ok, problem = pcall(try_again, self)
    self.connecting = nil
    if self.connected then
        self.connected:broadcast()
    end
    if not ok then
        error(problem, 0)
    end
    self.lost = nil
end

--- Connects to "host:port", ":port" or "unix:path". In the server who does that needs the binding
--- `socket`, and waits: so not in a transaction.
---@param where string
---@param options ClientOptions?
---@return table connection
function client.connect(where, options)
    options = option.connecting(options)
    local self = setmetatable({
        address = option.address(where),
        options = options,
        timeout = options.timeout,
        progress = options.progress,
        reconnect = options.reconnect,
        epoch = 1,      -- counts connections
        last_number = 0,
        waiting = {},   -- numbers of requests whose response is missing
        responses = {}, -- those that have come and were not asked for yet
        messages = {},  -- of channels, likewise
        streams = {},   -- numbers of open transactions
        personal = false, -- whether it listens to channels, or is somebody else now
        input = '',
        position = 1, -- of the first byte in `input` that no message has used
        scanner = nil,
        queued = {},
        queued_bytes = 0,
        output = '',
        sent = 0, -- bytes of `output`
    }, methods)
    open(self)
    return self
end

--- Connections to one server or several, kept open for those who need one: see client.pool.
---@param options PoolOptions
---@return table pool
function client.pool(options)
    return pool.new(client, new_error, options)
end

platform.classes = { connection = methods, future = future, transaction = transaction, pool = pool.methods }

return client
