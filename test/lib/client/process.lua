-- SPDX-License-Identifier: Apache-2.0
--
-- Programs for tests in plain LuaJIT: started behind pipes or in a pseudo-terminal, waited for by
-- what they print, and ended. Nothing here waits for a time: a limit only ends a test that hangs.

local ffi = require('ffi')
local screen = require('screen')

if not pcall(ffi.typeof, 'struct test_pollfd') then
    ffi.cdef([[
int test_fork(void) __asm__("fork");
int test_forkpty(int *, char *, const void *, const void *) __asm__("forkpty");
int test_pipe(int *) __asm__("pipe");
int test_dup2(int, int) __asm__("dup2");
int test_close(int) __asm__("close");
int test_execv(const char *, char *const *) __asm__("execv");
int test_setenv(const char *, const char *, int) __asm__("setenv");
int test_kill(int, int) __asm__("kill");
void *test_signal(int, void *) __asm__("signal");
int test_waitpid(int, int *, int) __asm__("waitpid");
ssize_t test_read(int, void *, size_t) __asm__("read");
ssize_t test_write(int, const void *, size_t) __asm__("write");
void test__exit(int) __asm__("_exit");
int test_prctl(int, unsigned long, ...) __asm__("prctl");
char *test_mkdtemp(char *) __asm__("mkdtemp");
struct test_pollfd { int fd; short events, revents; };
int test_poll(struct test_pollfd *, unsigned long, int) __asm__("poll");
struct test_winsize { unsigned short row, col, x, y; };
]])
end

local C = ffi.C
local POLLIN, EINTR, EPIPE = 1, 4, 32
local SIGKILL, SIGPIPE, SIGTERM = 9, 13, 15
local SIG_DFL, SIG_IGN = ffi.cast('void *', 0), ffi.cast('void *', 1)
local PR_SET_PDEATHSIG = 1
local WNOHANG = 1
local HANG_SECONDS = 120

C.test_signal(SIGPIPE, SIG_IGN) -- a program may have ended before it is given its input

local process = { SIGKILL = SIGKILL, SIGTERM = SIGTERM, SIGINT = 2 }
local methods = {}
methods.__index = methods

--- In the child. It is killed when the test ends, however that ends.
local function exec(argv, environment)
    C.test_prctl(PR_SET_PDEATHSIG, ffi.cast('unsigned long', SIGKILL))
    C.test_signal(SIGPIPE, SIG_DFL)
    for name, value in pairs(environment or {}) do
        C.test_setenv(name, value, 1)
    end
    local list = ffi.new('const char *[?]', #argv + 1)
    for n, argument in ipairs(argv) do
        list[n - 1] = argument
    end
    C.test_execv(argv[1], ffi.cast('char *const *', list))
    C.test__exit(127)
end

local function new(pid, input, output)
    return setmetatable({ pid = pid, input = input, output = output, text = '', seen = 0 }, methods)
end

--- Starts a program; `text` has what it writes on standard output and error.
---@param argv string[] the first is a path
---@param environment table? more variables
function process.spawn(argv, environment)
    local to, from = ffi.new('int[2]'), ffi.new('int[2]')
    assert(C.test_pipe(to) == 0 and C.test_pipe(from) == 0)
    local pid = C.test_fork()
    if pid == 0 then
        C.test_dup2(to[0], 0)
        C.test_dup2(from[1], 1)
        C.test_dup2(from[1], 2)
        for fd = 3, 100 do
            C.test_close(fd)
        end
        exec(argv, environment)
    end
    C.test_close(to[0])
    C.test_close(from[1])
    return new(pid, to[1], from[0])
end

--- The same in a terminal of its own.
function process.terminal(argv, environment, columns)
    local fd = ffi.new('int[1]')
    local size = ffi.new('struct test_winsize', { row = 40, col = columns or 80 })
    local pid = C.test_forkpty(fd, nil, nil, size)
    if pid == 0 then
        for other = 3, 100 do
            C.test_close(other)
        end
        exec(argv, environment)
    end
    local self = new(pid, fd[0], fd[0])
    self.screen = screen.new(columns or 80, 40)
    return self
end

--- Without what moves the cursor and sets colours, the beginning of such a sequence at the end included.
local function plain(text)
    return (text:gsub('\27%[[%d;?]*%a', ''):gsub('\27%[?[%d;?]*$', ''):gsub('\r', ''))
end

--- Reads once; false at the end of the output. `what` is said when nothing comes.
function methods:read(what)
    if not self.output then
        return false
    end
    local polled = ffi.new('struct test_pollfd[1]', { { fd = self.output, events = POLLIN } })
    local count
    repeat
        count = C.test_poll(polled, 1, HANG_SECONDS * 1000)
    until count >= 0 or ffi.errno() ~= EINTR
    if count == 0 then
        local text = plain(self.text)
        error(('nothing more came, and not %q; of this it has seen %d bytes:\n%s'):format(
            what or 'the end', self.seen, text))
    end
    local buffer = ffi.new('char[65536]')
    local size = C.test_read(self.output, buffer, 65536)
    if size <= 0 then
        return false
    end
    local bytes = ffi.string(buffer, size)
    self.text = self.text .. bytes
    if self.screen then
        self.screen:feed(bytes)
    end
    return true
end

--- Waits until the screen of a terminal matches `what`, a pattern; gives the match.
function methods:see(what)
    while true do
        local text = self.screen:text()
        local match = text:match(what)
        if match then
            return match
        elseif not self:read(what) then
            error(('the output ended without %q on the screen:\n%s'):format(what, text), 2)
        end
    end
end

--- Waits until the output behind what was expected last contains `what`, a pattern; gives the match.
function methods:expect(what)
    while true do
        local text = plain(self.text)
        local first, last, capture = text:find(what, self.seen + 1)
        if first then
            self.seen = last
            return capture or text:sub(first, last)
        end
        if not self:read(what) then
            error(('the output ended without %q:\n%s'):format(what, text:sub(self.seen + 1)), 2)
        end
    end
end

--- All the output, after the program has ended, and its exit status (128 + signal when killed).
function methods:finish()
    while self:read() do end -- luacheck: ignore 542
    if self.output ~= self.input then
        C.test_close(self.output)
        self.output = nil
    end
    self:close_input()
    return plain(self.text), self:wait()
end

--- Gives it input, which nobody reads when it has ended already.
function methods:write(text)
    local done = 0
    while done < #text do -- a part, when this process is stopped while it waits for room
        local size = C.test_write(self.input, ffi.cast('const char *', text) + done, #text - done)
        if size < 0 and ffi.errno() == EPIPE then
            return
        end
        assert(size > 0 or ffi.errno() == EINTR)
        done = done + math.max(0, tonumber(size))
    end
end

function methods:close_input()
    if self.input then
        C.test_close(self.input)
        self.input = nil
    end
end

local function keep_status(self, status)
    local signal = status % 128
    self.status = signal > 0 and 128 + signal or math.floor(status / 256)
end

function methods:kill(signal)
    if not self.status then -- the number may be another's when it has been waited for
        C.test_kill(self.pid, signal or SIGKILL)
    end
end

--- Whether it has ended; does not wait.
function methods:has_ended()
    if not self.status then
        local status = ffi.new('int[1]')
        if C.test_waitpid(self.pid, status, WNOHANG) == self.pid then
            keep_status(self, status[0])
        end
    end
    return self.status ~= nil
end

function methods:wait()
    if not self.status then
        local status = ffi.new('int[1]')
        C.test_waitpid(self.pid, status, 0)
        keep_status(self, status[0])
    end
    return self.status
end

-- ------------------------------------------------------------------------------------ the server

process.perigee = os.getenv('TEST_PERIGEE') or error('TEST_PERIGEE names no executable')

--- A folder of its own.
function process.folder()
    local template = (os.getenv('TMPDIR') or '/tmp') .. '/perigee-test-XXXXXX'
    local path = ffi.new('char[?]', #template + 1, template)
    assert(C.test_mkdtemp(path) ~= nil)
    return ffi.string(path)
end

function process.remove(folder)
    assert(folder:find('/perigee%-test%-%w+$'))
    os.execute('rm -rf ' .. folder)
end

--- Starts a server on a folder and waits until it serves. `listen` is unix:FOLDER/socket when it is
--- not given, so that one can be started again at the same address.
function process.server(folder, more)
    local argv = { process.perigee, 'serve', '--dir', folder, '--workers', '2',
        '--listen', 'unix:' .. folder .. '/socket', '--log-level', 'error',
        '--lua_time_max', '10min', '--lock_timeout', '10min' } -- a machine may be slow; the last one counts
    for _, argument in ipairs(more or {}) do
        argv[#argv + 1] = argument
    end
    local self = process.spawn(argv)
    self.address = self:expect('listening on ([^,]+),')
    return self
end

--- Ends a server in order; gives its exit status.
function methods:stop()
    self:kill(SIGTERM)
    local _, status = self:finish()
    return status
end

return process
