-- SPDX-License-Identifier: Apache-2.0
--
-- A connection that speaks RESP3, for the Redis commands that are typed. One request at a time.
--
-- Replies are Lua values: strings, numbers, booleans, `resp.NULL`; all others are tables with a `kind`:
-- 'status', 'error', 'big' with `text`; 'double' with `text`; 'array', 'set', 'push' with their elements;
-- 'map' with keys and values in turn.

local ffi = require('ffi')
local client = require('client')
local msgpack = require('client.msgpack')
local socket = require('client.socket')
local tls = require('client.tls')

local resp = { NULL = msgpack.NULL }
local methods = {}
methods.__index = methods

local function fail(self, message)
    if message == 'interrupted' then
        self:close()
        error({ code = client.INTERRUPTED, name = 'CLIENT_INTERRUPTED', message = 'interrupted' }, 0)
    end
    self:close()
    local text = ('lost the connection to %s: %s'):format(self.address, message)
    error({ code = client.LOST, name = 'CLIENT_LOST', message = text }, 0)
end

local function wait(self, events)
    local ready, message = self.socket:wait(events, self.deadline)
    if not ready then
        fail(self, message)
    end
end

--- Waits until more has come, and has it in the input.
local function fill(self)
    while true do
        local bytes, message = self.socket:receive()
        if not bytes then
            fail(self, message)
        elseif bytes ~= '' then
            self.input = self.input:sub(self.position) .. bytes
            self.position = 1
            return
        end
        wait(self, socket.POLLIN)
    end
end

local function read_line(self)
    while true do
        local last = self.input:find('\r\n', self.position, true)
        if last then
            local line = self.input:sub(self.position, last - 1)
            self.position = last + 2
            return line
        end
        fill(self)
    end
end

local function read_bytes(self, count)
    local parts, missing = {}, count + 2
    while #self.input - self.position + 1 < missing do
        local part = self.input:sub(self.position)
        parts[#parts + 1], missing, self.position = part, missing - #part, #self.input + 1
        fill(self)
    end
    parts[#parts + 1] = self.input:sub(self.position, self.position + missing - 1)
    self.position = self.position + missing
    return table.concat(parts):sub(1, count)
end

local function to_integer(text)
    local number = tonumber(text)
    if number and math.abs(number) <= 2 ^ 53 then
        return number
    end
    local negative, digits = text:match('^([-+]?)(%d+)$')
    local result = ffi.new('uint64_t', 0)
    for digit in (digits or ''):gmatch('%d') do
        result = result * 10 + tonumber(digit)
    end
    result = ffi.cast('int64_t', result)
    return negative == '-' and -result or result
end

local read_reply

local function read_list(self, kind, count)
    if count < 0 then
        return resp.NULL
    end
    local list = { kind = kind }
    for n = 1, count do
        list[n] = read_reply(self)
    end
    return list
end

local readers = {
    ['+'] = function(_, line) return { kind = 'status', text = line } end,
    ['-'] = function(_, line) return { kind = 'error', text = line } end,
    ['('] = function(_, line) return { kind = 'big', text = line } end,
    [','] = function(_, line) return { kind = 'double', text = line } end,
    [':'] = function(_, line) return to_integer(line) end,
    ['#'] = function(_, line) return line == 't' end,
    ['_'] = function() return resp.NULL end,
    ['$'] = function(self, line)
        return line == '-1' and resp.NULL or read_bytes(self, tonumber(line))
    end,
    ['='] = function(self, line)
        return { kind = 'verbatim', text = read_bytes(self, tonumber(line)):sub(5) }
    end,
    ['!'] = function(self, line) return { kind = 'error', text = read_bytes(self, tonumber(line)) } end,
    ['*'] = function(self, line) return read_list(self, 'array', tonumber(line)) end,
    ['~'] = function(self, line) return read_list(self, 'set', tonumber(line)) end,
    ['>'] = function(self, line) return read_list(self, 'push', tonumber(line)) end,
    ['%'] = function(self, line) return read_list(self, 'map', 2 * tonumber(line)) end,
    ['|'] = function(self, line) -- attributes of the reply behind them
        read_list(self, 'map', 2 * tonumber(line))
        return read_reply(self)
    end,
}

function read_reply(self)
    local line = read_line(self)
    local reader = readers[line:sub(1, 1)]
    if not reader then
        fail(self, 'what it sent is not a reply')
    end
    return reader(self, line:sub(2))
end

--- The next reply, or what was pushed. Raises errors of the client's when the connection is lost or
--- the user has interrupted; it is closed then.
function methods:read()
    return read_reply(self)
end

--- Sends a command, an array of strings.
---@param words string[]
function methods:send(words)
    local parts = { '*' .. #words .. '\r\n' }
    for n, word in ipairs(words) do
        parts[n + 1] = ('$%d\r\n%s\r\n'):format(#word, word)
    end
    local text, sent = table.concat(parts), 0
    while sent < #text do
        local size, message = self.socket:send(text, sent + 1)
        if not size then
            fail(self, message)
        end
        sent = sent + size
        if size == 0 then
            wait(self, socket.POLLOUT)
        end
    end
end

--- Sends a command and gives its reply; what is pushed meanwhile goes to `on_push`.
---@param words string[]
---@param on_push function?
function methods:request(words, on_push)
    self:send(words)
    while true do
        local reply = read_reply(self)
        local confirms = words[1]:lower():find('subscribe$')
        if type(reply) ~= 'table' or reply.kind ~= 'push' or confirms then
            return reply
        elseif on_push then
            on_push(reply)
        end
    end
end

--- Takes in what has come, without waiting; false: the connection has ended.
---@return boolean
function methods:alive()
    local bytes = self.socket and self.socket:receive()
    if bytes then
        self.input = self.input:sub(self.position) .. bytes
        self.position = 1
    end
    return bytes and true or false
end

function methods:close()
    if self.socket then
        self.socket:close()
        self.socket = nil
    end
end

--- Connects and says who one is.
---@param address string
---@param options table {user, password, tls, timeout, interrupted}
function resp.connect(address, options)
    local deadline = options.timeout and socket.now() + options.timeout
    local stream, message = socket.connect(address, deadline)
    if stream and options.tls then
        stream.interrupted = options.interrupted
        stream, message = tls.wrap(stream, socket.parse(address).host or 'localhost', options.tls, deadline)
    end
    if not stream then
        error({ code = client.LOST, name = 'CLIENT_LOST',
            message = 'cannot connect to ' .. address .. ': ' .. message }, 0)
    end
    stream.interrupted = options.interrupted
    local self = setmetatable({ address = address, socket = stream, input = '', position = 1,
        deadline = deadline }, methods)
    local words = { 'HELLO', '3' }
    if options.user or (options.password and options.password ~= '') then
        words[3], words[4], words[5] = 'AUTH', options.user or 'default', options.password or ''
    end
    local reply = self:request(words)
    if type(reply) == 'table' and reply.kind == 'error' then
        self:close()
        error({ code = 0, name = 'ERROR_LUA', message = reply.text }, 0)
    end
    self.deadline = nil
    return self
end

return resp
