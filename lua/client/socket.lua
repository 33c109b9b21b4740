-- SPDX-License-Identifier: Apache-2.0
--
-- A stream socket through FFI, with time limits, for plain LuaJIT on Linux.
--
-- The socket itself never blocks; whoever has to wait does so in poll(2). All functions return nil
-- and a text when they fail. "timeout" and "interrupted" are such texts, after which the socket is
-- as good as before; after any other it is to be closed.

local ffi = require('ffi')
local addresses = require('client.address')

-- Names of our own, so that they do not meet declarations of the program's.
if not pcall(ffi.typeof, 'struct perigee_pollfd') then
    ffi.cdef([[
struct perigee_sockaddr_un { uint16_t family; char path[108]; };
struct perigee_addrinfo {
    int flags, family, type, protocol;
    uint32_t address_size;
    void *address;
    char *name;
    struct perigee_addrinfo *next;
};
struct perigee_pollfd { int fd; short events, revents; };
struct perigee_timespec { long seconds, nanoseconds; };
int perigee_socket(int, int, int) __asm__("socket");
int perigee_connect(int, const void *, uint32_t) __asm__("connect");
int perigee_close(int) __asm__("close");
int perigee_poll(struct perigee_pollfd *, unsigned long, int) __asm__("poll");
ssize_t perigee_recv(int, void *, size_t, int) __asm__("recv");
ssize_t perigee_send(int, const void *, size_t, int) __asm__("send");
int perigee_setsockopt(int, int, int, const void *, uint32_t) __asm__("setsockopt");
int perigee_getsockopt(int, int, int, void *, uint32_t *) __asm__("getsockopt");
int perigee_getaddrinfo(const char *, const char *, const struct perigee_addrinfo *,
    struct perigee_addrinfo **) __asm__("getaddrinfo");
void perigee_freeaddrinfo(struct perigee_addrinfo *) __asm__("freeaddrinfo");
const char *perigee_gai_strerror(int) __asm__("gai_strerror");
char *perigee_strerror(int) __asm__("strerror");
int perigee_clock_gettime(int, struct perigee_timespec *) __asm__("clock_gettime");
]])
end

local C = ffi.C
local AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC = 1, 1, 0x800, 0x80000
local IPPROTO_TCP, TCP_NODELAY, SOL_SOCKET, SO_ERROR = 6, 1, 1, 4
local MSG_NOSIGNAL, POLLIN, POLLOUT = 0x4000, 1, 4
local EINTR, EAGAIN, EINPROGRESS = 4, 11, 115
local CLOCK_MONOTONIC = 1
local RECEIVE_BYTES = 262144
local INTERRUPT_MS = 200

local received = ffi.new('char[?]', RECEIVE_BYTES)
local polled = ffi.new('struct perigee_pollfd[1]')
local timespec = ffi.new('struct perigee_timespec')

local socket, methods = {}, {}
methods.__index = methods

local function error_text(code)
    return ffi.string(C.perigee_strerror(code or ffi.errno()))
end

--- Seconds of a clock that is never set.
---@return number
function socket.now()
    C.perigee_clock_gettime(CLOCK_MONOTONIC, timespec)
    return tonumber(timespec.seconds) + tonumber(timespec.nanoseconds) / 1e9
end

--- Milliseconds for poll: until the deadline, but never long where somebody may interrupt, because
--- a signal that comes just before poll does not end it.
local function poll_time(self, deadline)
    local rest = deadline and math.max(0, math.ceil((deadline - socket.now()) * 1000)) or math.huge
    return math.min(rest, self.interrupted and INTERRUPT_MS or 2 ^ 31 - 1)
end

--- Waits for what `events` says until `deadline`, a time of socket.now or nil.
---@param events integer
---@param deadline number?
---@return integer|nil revents, string? error
function methods:wait(events, deadline)
    while true do
        polled[0].fd, polled[0].events, polled[0].revents = self.fd, events, 0
        local count = C.perigee_poll(polled, 1, poll_time(self, deadline))
        if count > 0 then
            return polled[0].revents
        elseif count < 0 and ffi.errno() ~= EINTR then
            return nil, error_text()
        elseif self.interrupted and self.interrupted() then
            return nil, 'interrupted'
        elseif deadline and socket.now() >= deadline then
            return nil, 'timeout'
        end
    end
end

--- What has arrived, '' when nothing has; nil and a text at the end of the stream.
---@return string|nil, string? error
function methods:receive()
    while true do
        local size = C.perigee_recv(self.fd, received, RECEIVE_BYTES, 0)
        if size > 0 then
            return ffi.string(received, size)
        elseif size == 0 then
            return nil, 'the server has closed the connection'
        elseif ffi.errno() == EAGAIN then
            return ''
        elseif ffi.errno() ~= EINTR then
            return nil, error_text()
        end
    end
end

--- Sends what the socket takes of text[from..]; returns how many bytes that were.
---@return integer|nil, string? error
function methods:send(text, from)
    local data = ffi.cast('const char *', text) + (from - 1)
    while true do
        local size = C.perigee_send(self.fd, data, #text - from + 1, MSG_NOSIGNAL)
        if size >= 0 then
            return tonumber(size)
        elseif ffi.errno() == EAGAIN then
            return 0
        elseif ffi.errno() ~= EINTR then
            return nil, error_text()
        end
    end
end

function methods:close()
    if self.fd then
        ffi.gc(self.owner, nil)
        C.perigee_close(self.fd)
        self.fd, self.owner = nil, nil
    end
end

-- ---------------------------------------------------------------------------------- connecting

local function open(family)
    local fd = C.perigee_socket(family, SOCK_STREAM + SOCK_NONBLOCK + SOCK_CLOEXEC, 0)
    if fd < 0 then
        return nil, error_text()
    end
    local owner = ffi.gc(ffi.new('int[1]', fd), function(it) C.perigee_close(it[0]) end)
    return setmetatable({ fd = fd, owner = owner }, methods)
end

--- Connects a new socket; `deadline` as for wait.
local function attempt(family, address, size, deadline)
    local self, message = open(family)
    if not self then
        return nil, message
    end
    local code = 0
    if C.perigee_connect(self.fd, address, size) ~= 0 then
        code = ffi.errno()
    end
    if code == EINPROGRESS then
        local ready
        ready, message = self:wait(POLLOUT, deadline)
        if not ready then
            self:close()
            return nil, message
        end
        local value, value_size = ffi.new('int[1]'), ffi.new('uint32_t[1]', 4)
        C.perigee_getsockopt(self.fd, SOL_SOCKET, SO_ERROR, value, value_size)
        code = value[0]
    end
    if code ~= 0 then
        self:close()
        return nil, error_text(code)
    end
    return self
end

local function connect_unix(path, deadline)
    local address = ffi.new('struct perigee_sockaddr_un', { family = AF_UNIX })
    if #path >= ffi.sizeof(address.path) then
        return nil, 'the path of the socket is too long'
    end
    ffi.copy(address.path, path)
    return attempt(AF_UNIX, address, ffi.sizeof(address), deadline)
end

local function connect_tcp(host, port, deadline)
    local hints = ffi.new('struct perigee_addrinfo', { type = SOCK_STREAM })
    local list = ffi.new('struct perigee_addrinfo *[1]')
    local code = C.perigee_getaddrinfo(host, port, hints, list)
    if code ~= 0 then
        return nil, ffi.string(C.perigee_gai_strerror(code))
    end
    local self, message
    local entry = list[0]
    while entry ~= nil and not self do
        self, message = attempt(entry.family, entry.address, entry.address_size, deadline)
        entry = entry.next
    end
    C.perigee_freeaddrinfo(list[0])
    if self then
        local one = ffi.new('int[1]', 1)
        C.perigee_setsockopt(self.fd, IPPROTO_TCP, TCP_NODELAY, one, 4)
    end
    return self, message
end

--- Connects to an address; `deadline` a time of socket.now or nil.
---@param address string
---@param deadline number?
---@return table|nil socket, string? error
function socket.connect(address, deadline)
    local parts = addresses.parse(address)
    if not parts then
        return nil, 'an address is host:port or unix:path'
    elseif parts.path then
        return connect_unix(parts.path, deadline)
    end
    return connect_tcp(parts.host, parts.port, deadline)
end

--- Lets time go by; a signal may end it earlier.
---@param seconds number
function socket.pause(seconds)
    C.perigee_poll(polled, 0, math.ceil(seconds * 1000))
end

socket.POLLIN, socket.POLLOUT = POLLIN, POLLOUT
socket.parse = addresses.parse

return socket
