-- SPDX-License-Identifier: Apache-2.0
--
-- What client.socket is, for code in the server: a stream on the worker's loop. Who waits parks its fiber
-- only, so that a worker goes on with others; in a transaction it raises an error, as all waiting does.
--
-- Several fibers may use one connection. One of them waits for the socket, reads for all, and the others
-- wait until it has: the client sorts what has come by number.

local address = require('client.address')
local core = require('box.core')
local fiber = require('fiber')
local tcp = require('socket')

local native, api, runtime = core.native, core.api, core.runtime

local POLLIN, POLLOUT = 1, 4
local SEND_BYTES_MAX = 262144
local TURN_SECONDS = 1 -- who has read for others may have been ended before it could say so

local socket, methods = { parse = address.parse, POLLIN = POLLIN, POLLOUT = POLLOUT }, {}
methods.__index = methods

--- Seconds of a clock that is never set.
---@return number
function socket.now()
    return api.monotonic(runtime)
end

--- Lets time go by.
---@param seconds number
function socket.pause(seconds)
    fiber.sleep(seconds)
end

--- Something for fibers to wait by: see fiber.cond.
---@return table
function socket.condition()
    return fiber.cond()
end

--- Raises an error where nothing can be waited for, as in a transaction: before something is sent.
function socket.check()
    native.fiber_check()
end

--- Which fiber this is.
---@return integer
function socket.current()
    return native.fiber_current()
end

--- Runs fn in a fiber of its own.
---@param fn function
function socket.background(fn, ...)
    fiber.new(fn, ...):name('client.pool')
end

local function left_until(deadline)
    return deadline and math.max(deadline - socket.now(), 0)
end

--- Which of `events` there is; nil: neither.
local function happened(self, events)
    local status, there, pending, message = native.socket_state(self.handle)
    if status == 'closed' then
        return nil, 'the connection is closed'
    elseif status == 'error' then
        return nil, message
    end
    local found = 0
    if events % 2 == POLLIN and (there > 0 or status == 'ended') then
        found = POLLIN
    end
    if events >= POLLOUT and status ~= 'connecting' and pending == 0 then
        found = found + POLLOUT
    end
    return found
end

--- Asks to be woken; false when another fiber waits for the same.
local function ask(self, event)
    local ok, problem = pcall(native.socket_wait, self.handle, event, 1)
    if not ok and (type(problem) ~= 'table' or problem.code ~= core.ERROR_BUSY) then
        error(problem, 0)
    end
    return ok
end

--- Takes back what `ask` has asked for `mine`, unless another fiber has asked since this one was woken.
local function take_back(self, event, mine)
    if self[event] == mine then
        self[event] = nil
        native.socket_unwait(self.handle, event)
    end
end

--- Waits for the socket, or until another fiber has had what it waits for; the latter is `false`.
local function wait_for_socket(self, events, left)
    local mine = {}
    local asked = true
    for bits, event in pairs({ [POLLIN] = 'read', [POLLOUT] = 'write' }) do
        if asked and math.floor(events / bits) % 2 == 1 then
            asked = ask(self, event)
            self[event] = asked and mine or self[event]
        end
    end
    if not asked then
        take_back(self, 'read', mine)
        take_back(self, 'write', mine)
        self.turn:wait(math.min(left or TURN_SECONDS, TURN_SECONDS))
        return false
    end
    local ok, cancelled = pcall(core.pause, left)
    take_back(self, 'read', mine)
    take_back(self, 'write', mine)
    self.turn:broadcast()
    if not ok then
        error(cancelled, 0)
    elseif cancelled then
        fiber.testcancel()
    end
    return true
end

--- As that of client.socket; 0 when another fiber has read meanwhile.
---@param events integer
---@param deadline number?
---@return integer|nil revents, string? error
function methods:wait(events, deadline)
    native.fiber_check()
    while true do
        local found, message = happened(self, events)
        if found ~= 0 then
            return found, message
        end
        local left = left_until(deadline)
        if left == 0 then
            return nil, 'timeout'
        end
        if not wait_for_socket(self, events, left) then
            return happened(self, events)
        end
    end
end

--- What has arrived, '' when nothing has; nil and a text at the end of the stream.
---@return string|nil, string? error
function methods:receive()
    local status, there, _, message = native.socket_state(self.handle)
    if status == 'closed' then
        return nil, 'the connection is closed'
    elseif there > 0 then
        return native.socket_take(self.handle, there)
    elseif status == 'ended' then
        return nil, 'the server has closed the connection'
    elseif status == 'error' then
        return nil, message
    end
    if ask(self, 'read') then -- the loop reads from now on
        native.socket_unwait(self.handle, 'read')
    end
    return ''
end

--- Sends some of text[from..]; returns how many bytes that were: none while the system has not taken
--- what it was given before.
---@return integer|nil, string? error
function methods:send(text, from)
    local status, _, pending, message = native.socket_state(self.handle)
    if status == 'closed' then
        return nil, 'the connection is closed'
    elseif status == 'error' then
        return nil, message
    elseif pending > 0 then
        return 0
    end
    local piece = text:sub(from, from + SEND_BYTES_MAX - 1)
    local ok, problem = pcall(native.socket_write, self.handle, piece)
    if not ok then
        return nil, tostring(problem)
    end
    return #piece
end

function methods:close()
    native.socket_close(self.handle)
    self.turn:broadcast()
end

-- ---------------------------------------------------------------------------------- connecting

local function attempt(host, port, deadline)
    local self = setmetatable({ handle = native.socket_connect(host, port), turn = fiber.cond() }, methods)
    local ok, ready, message = pcall(self.wait, self, POLLOUT, deadline)
    if ok and ready then
        return self
    end
    self:close()
    if not ok then
        error(ready, 0)
    end
    return nil, message
end

--- Connects to an address; `deadline` a time of socket.now or nil. Raises an error for who may not
--- (binding `socket`), and in a transaction.
---@param text string
---@param deadline number?
---@return table|nil socket, string? error
function socket.connect(text, deadline)
    local parts = address.parse(text)
    if not parts then
        return nil, 'an address is host:port or unix:path'
    elseif parts.path then
        core.raise(core.ERROR_ACCESS, 'sockets of the server\'s machine are the operator\'s: use host:port')
    end
    native.fiber_check()
    local found, message = { { host = parts.host } }, nil
    if not parts.host:find('^%d+%.%d+%.%d+%.%d+$') and not parts.host:find(':', 1, true) then
        found, message = tcp.getaddrinfo(parts.host, parts.port, left_until(deadline))
    end
    local self
    for _, place in ipairs(found or {}) do
        self, message = attempt(place.host, tonumber(parts.port), deadline)
        if self then
            return self
        end
    end
    return nil, message or 'no address was found'
end

return socket
