-- SPDX-License-Identifier: Apache-2.0
--
-- socket: TCP clients and servers, under Tarantool's names. What has to wait parks its fiber only.
--
-- A function that fails because of the network gives nil (or false) and a text; a wrong argument, a
-- transaction, and a missing privilege raise an error.

local core = require('box.core')
local fiber = require('fiber')

local native, api, runtime = core.native, core.api, core.runtime

local TAKE_MAX, LINE_MAX, TIMEOUT_MAX = 64 * 1024 * 1024, 1024 * 1024, 365 * 86400

local socket, methods = {}, {}

local states = setmetatable({}, { __mode = 'k' })
local metatable = {
    __index = function(_, name) return methods[name] end,
    __newindex = function() error('this object is read-only', 2) end,
    __tostring = function() return 'socket' end,
    __metatable = 'protected',
}
core.guarded[metatable] = true
core.serializers[metatable] = function() return 'socket' end

local function new_object(handle)
    local object = setmetatable({}, metatable)
    states[object] = { handle = handle }
    return object
end

local function state_of(object)
    local state = type(object) == 'table' and states[object]
    if not state then
        error('use socket:method()', 3)
    end
    return state
end

local function deadline_of(timeout)
    if timeout == nil then
        timeout = TIMEOUT_MAX
    elseif type(timeout) ~= 'number' or timeout ~= timeout or timeout < 0 then
        error('the timeout is a number of seconds', 3)
    end
    return api.monotonic(runtime) + timeout
end

--- Until the next event of the socket; false when the time is over.
local function wait(handle, event, deadline, wanted)
    native.fiber_check()
    local left = deadline - api.monotonic(runtime)
    if left <= 0 then
        return false
    end
    native.socket_wait(handle, event, wanted)
    local ok, cancelled = pcall(core.pause, left)
    native.socket_unwait(handle, event)
    if not ok then
        error(cancelled, 0)
    elseif cancelled then
        fiber.testcancel()
    end
    return true
end

-- ------------------------------------------------------------------------------- addresses

--- socket.getaddrinfo(host[, service][, timeout]): an array of {family, type, host, port}, or nil and
--- a text.
function socket.getaddrinfo(host, service, timeout)
    if type(service) == 'number' and timeout == nil and service ~= math.floor(service) then
        service, timeout = nil, service
    end
    local deadline = deadline_of(timeout)
    native.fiber_check()
    local lookup = native.socket_lookup(host, service and tostring(service))
    while true do
        local found, message = native.socket_found(lookup)
        if found or message then
            return found, message
        end
        local left = deadline - api.monotonic(runtime)
        if left <= 0 then
            return nil, 'timed out'
        end
        if core.pause(left) then
            fiber.testcancel()
        end
    end
end

local function is_address(host)
    return host:find('^%d+%.%d+%.%d+%.%d+$') or host:find(':', 1, true)
end

local function addresses_of(host, port, deadline)
    if is_address(host) then
        return { { host = host, port = port } }
    end
    local left = math.max(deadline - api.monotonic(runtime), 0)
    return socket.getaddrinfo(host, port, left)
end

local function check_port(port, least)
    port = tonumber(port)
    if not port or port < least or port > 65535 or port % 1 ~= 0 then
        error('the port is a number up to 65535', 3)
    end
    return port
end

-- --------------------------------------------------------------------------------- client

--- socket.tcp_connect(host, port[, timeout]): a socket, or nil and a text.
function socket.tcp_connect(host, port, timeout)
    if type(host) ~= 'string' then
        error('socket.tcp_connect(host, port[, timeout])', 2)
    end
    port = check_port(port, 1)
    local deadline = deadline_of(timeout)
    native.fiber_check()
    local addresses, message = addresses_of(host, port, deadline)
    for _, address in ipairs(addresses or {}) do
        local handle = native.socket_connect(address.host, port)
        local state = native.socket_state(handle)
        while state == 'connecting' do
            if not wait(handle, 'write', deadline) then
                native.socket_close(handle)
                return nil, 'timed out'
            end
            state = native.socket_state(handle)
        end
        if state == 'open' or state == 'ended' then
            return new_object(handle)
        end
        message = select(4, native.socket_state(handle))
        native.socket_close(handle)
    end
    return nil, message or 'no address was found'
end

--- What can be taken for a read: bytes, a delimiter or several, or as much as there is.
local function take(state, size, delimiters, some)
    local handle = state.handle
    if delimiters then
        local first
        for _, delimiter in ipairs(delimiters) do
            local found = native.socket_find(handle, delimiter)
            if found and (not first or found < first) then
                first = found
            end
        end
        return first and native.socket_take(handle, first)
    end
    return native.socket_take(handle, size, some)
end

local function read(state, size, delimiters, some, timeout)
    local handle, deadline = state.handle, deadline_of(timeout)
    if size == 0 then
        return ''
    end
    while true do
        local text = take(state, size, delimiters, some)
        if text then
            return text
        end
        local status, there, _, message = native.socket_state(handle)
        if status == 'ended' then -- what is left, which may be nothing: the end
            return there > 0 and native.socket_take(handle, there) or ''
        elseif status == 'error' then
            return nil, message
        elseif delimiters and there >= LINE_MAX then
            return nil, 'no delimiter within a megabyte'
        end
        if not wait(handle, 'read', deadline, delimiters and LINE_MAX or some and 1 or size) then
            return nil, 'timed out'
        elseif native.socket_state(handle) == 'closed' then
            return nil, 'the socket is closed'
        end
    end
end

local function size_of(size)
    if size % 1 ~= 0 or size < 0 or size > TAKE_MAX then
        error('a read takes at most 64 MiB', 3)
    end
    return size
end

--- socket:read(size | delimiter | {chunk = size} | {delimiter = text or texts}[, timeout]): so many
--- bytes, or what there is up to the delimiter and with it. What is left when the peer has ended
--- comes shorter, and then ''. nil and a text when it fails or the time is over.
function methods.read(self, what, timeout)
    local state = state_of(self)
    if type(what) == 'number' then
        return read(state, size_of(what), nil, false, timeout)
    elseif type(what) == 'string' and what ~= '' then
        return read(state, nil, { what }, false, timeout)
    elseif type(what) == 'table' then
        local delimiters = what.delimiter or what.line
        if type(delimiters) == 'string' then
            delimiters = { delimiters }
        end
        if delimiters then
            return read(state, nil, delimiters, false, timeout)
        elseif what.chunk or what.size then
            return read(state, size_of(what.chunk or what.size), nil, false, timeout)
        end
    end
    error('socket:read(size or delimiter[, timeout])', 2)
end

--- socket:recv([size[, timeout]]): what there is, at most so many bytes; '' when the peer has ended.
function methods.recv(self, size, timeout)
    return read(state_of(self), size_of(size or 65536), nil, true, timeout)
end

--- socket:write(text[, timeout]): the number of bytes once the system has all of them; nil and a text.
function methods.write(self, text, timeout)
    local state = state_of(self)
    if type(text) ~= 'string' then
        error('socket:write(text[, timeout])', 2)
    end
    local handle, deadline = state.handle, deadline_of(timeout)
    local ok, err = pcall(native.socket_write, handle, text)
    if not ok then
        return nil, tostring(err)
    end
    while true do
        local status, _, pending, message = native.socket_state(handle)
        if status == 'error' then
            return nil, message
        elseif status == 'closed' then
            return nil, 'the socket is closed'
        elseif pending == 0 then
            return #text
        elseif not wait(handle, 'write', deadline) then
            return nil, 'timed out'
        end
    end
end
methods.send = methods.write

--- Waits until something can be read (or the peer has ended); false when the time is over.
function methods.readable(self, timeout)
    local state, deadline = state_of(self), deadline_of(timeout)
    while true do
        local status, there = native.socket_state(state.handle)
        if status ~= 'open' or there > 0 then
            return true
        elseif not wait(state.handle, 'read', deadline, 1) then
            return false
        end
    end
end

function methods.close(self)
    local state = state_of(self)
    state.stopped = true
    native.socket_close(state.handle)
    return true
end

local function name(state, peer)
    if native.socket_state(state.handle) == 'closed' then
        return nil
    end
    local host, port = native.socket_name(state.handle, peer)
    if not host then
        return nil
    end
    local family = host:find(':', 1, true) and 'AF_INET6' or 'AF_INET'
    return { host = host, port = port, family = family, type = 'SOCK_STREAM', protocol = 'tcp' }
end

--- {host, port, family, type, protocol} of the other end, and of this one.
function methods.peer(self)
    return name(state_of(self), true)
end

function methods.name(self)
    return name(state_of(self), false)
end

-- --------------------------------------------------------------------------------- server

local function serve(object, handler, peer)
    local ok, err = pcall(handler, object, peer)
    methods.close(object)
    if not ok then
        error(err, 0)
    end
end

local function accept_all(object, state, handler)
    while not state.stopped do
        local ok, handle = pcall(native.socket_accept, state.handle)
        if ok and handle then
            local connection = new_object(handle)
            local peer = name(states[connection], true)
            local started, err = pcall(fiber.create, serve, connection, handler, peer)
            if not started then
                methods.close(connection)
                native.log(1, 'socket.tcp_server: ' .. tostring(err))
            end
        elseif not ok and not state.stopped then -- too many are open: others end meanwhile
            native.log(1, 'socket.tcp_server: ' .. tostring(handle))
            fiber.sleep(0.1)
        elseif not state.stopped then
            wait(state.handle, 'read', deadline_of(nil))
        end
    end
    methods.close(object)
end

--- socket.tcp_server(host, port, handler[, timeout]): listens, and calls handler(socket, peer) for each
--- connection in a fiber of its own; the socket is closed when that returns. handler may also be
--- {handler = fn, name = text}. Port 0: the system picks one, see server:name().
function socket.tcp_server(host, port, handler, timeout)
    local options = type(handler) == 'table' and handler or { handler = handler }
    if type(host) ~= 'string' or type(options.handler) ~= 'function' then
        error('socket.tcp_server(host, port, handler)', 2)
    end
    port = check_port(port, 0)
    native.fiber_check()
    local addresses, message = addresses_of(host, port, deadline_of(timeout))
    if not addresses then
        return nil, message
    end
    local ok, handle = pcall(native.socket_listen, addresses[1].host, port)
    if not ok then
        if handle.code == core.ERROR_ACCESS then
            error(handle, 0)
        end
        return nil, tostring(handle)
    end
    local object = new_object(handle)
    local server = fiber.create(accept_all, object, states[object], options.handler)
    server:name(tostring(options.name or 'server'))
    return object
end

return core.object(socket)
