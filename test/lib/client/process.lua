-- SPDX-License-Identifier: Apache-2.0
--
-- Programs for tests in plain LuaJIT: started behind pipes or in a pseudo-terminal, waited for by what
-- they print, and ended. Nothing here waits for a time: a limit only ends a test that hangs.

local ffi = require('ffi')

ffi.cdef([[
int fork(void);
int forkpty(int *, char *, const void *, const void *);
int pipe(int *);
int dup2(int, int);
int close(int);
int execv(const char *, char *const *);
int setenv(const char *, const char *, int);
int kill(int, int);
int waitpid(int, int *, int);
ssize_t read(int, void *, size_t);
ssize_t write(int, const void *, size_t);
void _exit(int);
char *mkdtemp(char *);
struct test_pollfd { int fd; short events, revents; };
int poll(struct test_pollfd *, unsigned long, int);
struct test_winsize { unsigned short row, col, x, y; };
]])

local C = ffi.C
local POLLIN, EINTR, SIGKILL, SIGTERM = 1, 4, 9, 15
local HANG_SECONDS = 120

local process = { SIGKILL = SIGKILL, SIGTERM = SIGTERM, SIGINT = 2 }
local methods = {}
methods.__index = methods

local function exec(argv, environment)
    for name, value in pairs(environment or {}) do
        C.setenv(name, value, 1)
    end
    local list = ffi.new('const char *[?]', #argv + 1)
    for n, argument in ipairs(argv) do
        list[n - 1] = argument
    end
    C.execv(argv[1], ffi.cast('char *const *', list))
    C._exit(127)
end

local function new(pid, input, output)
    return setmetatable({ pid = pid, input = input, output = output, text = '', seen = 0 }, methods)
end

--- Starts a program; `text` has what it writes on standard output and error.
---@param argv string[] the first is a path
---@param environment table? more variables
function process.spawn(argv, environment)
    local to, from = ffi.new('int[2]'), ffi.new('int[2]')
    assert(C.pipe(to) == 0 and C.pipe(from) == 0)
    local pid = C.fork()
    if pid == 0 then
        C.dup2(to[0], 0)
        C.dup2(from[1], 1)
        C.dup2(from[1], 2)
        for fd = 3, 100 do
            C.close(fd)
        end
        exec(argv, environment)
    end
    C.close(to[0])
    C.close(from[1])
    return new(pid, to[1], from[0])
end

--- The same in a terminal of its own.
function process.terminal(argv, environment, columns)
    local fd = ffi.new('int[1]')
    local size = ffi.new('struct test_winsize', { row = 40, col = columns or 80 })
    local pid = C.forkpty(fd, nil, nil, size)
    if pid == 0 then
        for other = 3, 100 do
            C.close(other)
        end
        exec(argv, environment)
    end
    return new(pid, fd[0], fd[0])
end

--- Reads once; false at the end of the output.
function methods:read()
    local polled = ffi.new('struct test_pollfd[1]', { { fd = self.output, events = POLLIN } })
    local count
    repeat
        count = C.poll(polled, 1, HANG_SECONDS * 1000)
    until count >= 0 or ffi.errno() ~= EINTR
    if count == 0 then
        error('nothing more came; so far:\n' .. self.text)
    end
    local buffer = ffi.new('char[65536]')
    local size = C.read(self.output, buffer, 65536)
    if size <= 0 then
        return false
    end
    self.text = self.text .. ffi.string(buffer, size)
    return true
end

--- Without what moves the cursor and sets colours.
local function plain(text)
    return (text:gsub('\27%[[%d;?]*%a', ''):gsub('\r', ''))
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
        if not self:read() then
            error(('the output ended without %q:\n%s'):format(what, text:sub(self.seen + 1)), 2)
        end
    end
end

--- All the output, after the program has ended, and its exit status (128 + signal when killed).
function methods:finish()
    while self:read() do end -- luacheck: ignore 542
    return plain(self.text), self:wait()
end

function methods:write(text)
    assert(C.write(self.input, text, #text) == #text)
end

function methods:close_input()
    C.close(self.input)
end

function methods:kill(signal)
    C.kill(self.pid, signal or SIGKILL)
end

function methods:wait()
    if not self.status then
        local status = ffi.new('int[1]')
        C.waitpid(self.pid, status, 0)
        local signal = status[0] % 128
        self.status = signal > 0 and 128 + signal or math.floor(status[0] / 256)
    end
    return self.status
end

-- ------------------------------------------------------------------------------------ the server

process.perigee = os.getenv('TEST_PERIGEE') or error('TEST_PERIGEE names no executable')

--- A folder of its own.
function process.folder()
    local template = (os.getenv('TMPDIR') or '/tmp') .. '/perigee-test-XXXXXX'
    local path = ffi.new('char[?]', #template + 1, template)
    assert(C.mkdtemp(path) ~= nil)
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
        '--listen', 'unix:' .. folder .. '/socket', '--log-level', 'error' }
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
