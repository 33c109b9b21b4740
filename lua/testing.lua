-- SPDX-License-Identifier: Apache-2.0
--
-- testing: what specs run by `perigee test` have beside busted and `box`: servers of their own, clients at
-- once, time that is moved by hand, random numbers that can be had again. docs/testing.md shows them.
--
-- A server is a process, so it can be killed at any moment. It and its folder end with the spec's process.
-- Clients of the spec take turns in fibers: where one waits for its server, the others go on, and so do the
-- fibers of the database in the spec's own process.

local client = require('client')
local fiber = require('fiber')

local loaded, native = pcall(require, 'testing.native')
if not loaded then
    error("the module 'testing' is for files that `perigee test` runs", 0)
end

local testing = {}

local SIGKILL, SIGTERM = 9, 15
local HANG_SECONDS = 60 -- by the system's clock: only ends a spec that would never end
local EVENTUALLY_SECONDS = 60 -- likewise
local POLL_MS = 2

--- Lets other fibers run; nothing where nobody may: in a transaction.
local function let_others()
    pcall(fiber.yield)
end

--- Calls fn until it gives something, and lets others run meanwhile; nil after so many seconds, when it
--- has been called once more: where the whole machine has stood still, nothing else had time either.
local function poll_until(fn, seconds)
    local limit = native.seconds() + seconds
    while true do
        local late = native.seconds() > limit
        local value = fn()
        if value then
            return value
        elseif late then
            return nil
        end
        native.poll({}, POLL_MS)
        let_others()
    end
end

-- --------------------------------------------------------------------------------- the clients

-- Those who wait: {fd = .., events = .., ready = revents}. Each asks for all of them.
local waiting = {}

local function look()
    local polled, asking = {}, {}
    for entry in pairs(waiting) do
        asking[#asking + 1] = entry
        polled[#polled + 1] = entry.fd
        polled[#polled + 1] = entry.events
    end
    local ready = native.poll(polled, POLL_MS)
    for n, entry in ipairs(asking) do
        entry.ready = ready[n]
    end
end

--- In the place of the client's own waiting, which would stop the whole process.
local function wait(socket, events, deadline)
    local entry = { fd = socket.fd, events = events, ready = 0 }
    waiting[entry] = true
    local late
    repeat
        late = deadline ~= nil and native.seconds() >= deadline
        look()
        if entry.ready == 0 then
            let_others()
        end
    until entry.ready ~= 0 or late
    waiting[entry] = nil
    if entry.ready == 0 then
        return nil, 'timeout'
    end
    return entry.ready
end

--- Connects as client.connect does; waiting for the server lets other fibers run.
---@param address string
---@param options ClientOptions?
function testing.connect(address, options)
    local connection = client.connect(address, options)
    connection.socket.wait = wait
    return connection
end

-- --------------------------------------------------------------------------------- the servers

local methods = {}
local Server = { __index = methods, __tostring = function(self) return 'server ' .. self.folder end }
local servers, server_count = {}, 0

local function tail_of(path)
    local file = io.open(path)
    local text = file and file:read('*a') or ''
    if file then
        file:close()
    end
    return #text > 2000 and '..' .. text:sub(-2000) or text
end

local function complain(self, what)
    error(('%s: %s\n%s'):format(tostring(self), what, tail_of(self.log)), 0)
end

--- Notes that the process has ended; its exit status, negative: the signal. Nil: it runs.
local function ended(self)
    if self.pid then
        self.status = native.ended(self.pid)
        if self.status then
            native.close(self.output)
            self.pid, self.output, self.address = nil, nil, nil
            if self.idle then
                self.idle:close()
                self.idle = nil
            end
        end
    end
    return not self.pid and (self.status or 0) or nil
end

local function must_end(self, what)
    local status = poll_until(function() return ended(self) end, HANG_SECONDS)
    return status or complain(self, what)
end

local function argument(value)
    if type(value) == 'boolean' then
        return value and '1' or '0'
    end
    return tostring(value)
end

local function start(self, crash_point)
    local argv = {
        native.executable, 'serve', '--dir', self.folder .. '/data', '--listen', '127.0.0.1:0',
        '--workers', argument(self.workers), '--log-level', 'warn',
        '--lua_time_max', '1min', '--lock_timeout', '1min', -- a machine may be slow; the last one counts
    }
    for name, value in pairs(self.options) do
        argv[#argv + 1] = '--' .. name
        argv[#argv + 1] = argument(value)
    end
    local variables = {
        'PERIGEE_TEST_CLOCK=' .. native.clock_path,
        'PERIGEE_CRASH_POINT=' .. (crash_point or ''),
    }
    self.pid, self.output = native.spawn(argv, variables, self.log)
    local text = ''
    while not self.address do
        local more = native.read(self.output)
        if not more then
            must_end(self, 'it does not end')
            complain(self, 'it does not start')
        end
        text = text .. more
        self.address = text:match('listening on ([^,]+),')
    end
end

local function check_options(options)
    for name in pairs(options) do
        if name ~= 'workers' and name ~= 'options' and name ~= 'modules' then
            error(('testing.server takes workers, options and modules, not %s'):format(tostring(name)), 3)
        end
    end
    for name in pairs(options.options or {}) do
        if name == 'dir' or name == 'listen' or name == 'workers' then
            error(('the option %s is the server\'s own'):format(name), 3)
        end
    end
end

--- Starts a server with a database of its own.
---@param options table? {workers = 2, options = {name = value}, modules = {name or path}}
---@return table server
function testing.server(options)
    options = options or {}
    check_options(options)
    server_count = server_count + 1
    local folder = native.folder('server-' .. server_count)
    local self = setmetatable({
        folder = folder,
        log = folder .. '/log', -- what it writes to standard error
        workers = options.workers or 2,
        options = options.options or {},
    }, Server)
    servers[#servers + 1] = self
    start(self)
    for _, name in ipairs(options.modules or {}) do
        self:eval('box.module.install(...)', name)
    end
    return self
end

--- A new connection to it (lua/client.lua).
function methods:connect(options)
    if not self.address then
        error(tostring(self) .. ' does not run', 2)
    end
    return testing.connect(self.address, options)
end

--- By the connection that is idle, or a new one where another fiber waits on it.
local function request(self, method, ...)
    local connection = self.idle or self:connect()
    self.idle = nil
    local ok, result = pcall(connection.request, connection, method, ...)
    if self.idle or not self.pid then
        connection:close()
    elseif connection.socket then
        self.idle = connection
    end
    if not ok then
        error(result, 0)
    end
    return result
end

--- Calls a procedure.
function methods:call(name, ...)
    return request(self, 'call', name, ...)
end

--- Runs Lua text, with the arguments as `...`.
function methods:eval(text, ...)
    return request(self, 'eval', text, ...)
end

--- SIGKILL: what was not acknowledged may be lost, as when the power goes.
function methods:kill()
    if self.pid then
        native.kill(self.pid, SIGKILL)
        must_end(self, 'it was killed and does not end')
    end
end

--- Waits until it has ended by itself, as at a crash point; its status, negative: the signal.
---@return integer
function methods:wait()
    return must_end(self, 'it does not end')
end

--- An orderly stop; an error when it has died, or ends with one.
function methods:stop()
    if self.pid then
        native.kill(self.pid, SIGTERM)
    end
    local status = must_end(self, 'it was stopped and does not end')
    if status ~= 0 then
        complain(self, ('its status is %d'):format(status))
    end
end

--- Starts it again on its database, after an orderly stop if it runs. The address is another one.
function methods:restart()
    if not ended(self) then
        self:stop()
    end
    start(self)
end

--- Starts it again so that it kills itself at a named place of the code, or at the nth pass: 'name:n'.
---@param point string
function methods:crash_at(point)
    local name, pass = tostring(point):match('^([^:]*):?(.*)$')
    local points = native.crash_points()
    if not points[name] then
        local names = {}
        for known in pairs(points) do
            names[#names + 1] = known
        end
        table.sort(names)
        error(('there is no crash point "%s"; there are: %s'):format(name, table.concat(names, ', ')), 2)
    elseif pass ~= '' and not pass:match('^[1-9]%d*$') then
        error(('"%s": behind the name comes the number of the pass'):format(point), 2)
    end
    if not ended(self) then
        self:stop()
    end
    start(self, point)
end

--- Ends it, by SIGKILL, and removes its folder.
function methods:remove()
    self:kill()
    native.folder_remove(self.folder)
end

-- ------------------------------------------------------------------------------ at the same time

--- Calls fn(1), fn(2) .. fn(n) in n fibers at once and waits for all of them: an array of what they return.
--- The first error is raised when all have ended.
---@param n integer
---@param fn fun(number: integer): any
---@return any[]
function testing.concurrently(n, fn)
    local running, results = {}, {}
    for number = 1, n do
        running[number] = fiber.new(fn, number)
        running[number]:set_joinable(true)
    end
    local problem
    for number = 1, n do
        local ok, result = running[number]:join()
        if ok then
            results[number] = result
        elseif problem == nil then
            problem = result
        end
    end
    if problem ~= nil then
        error(problem, 0)
    end
    return results
end

--- Calls fn again and again until it returns something true, which it gives; errors of fn count as not yet.
--- After `limit` seconds of the system's clock (60), an error that says what fn did last.
---@param fn fun(): any
---@param limit number?
function testing.eventually(fn, limit)
    local last
    local value = poll_until(function()
        local ok, result = pcall(fn)
        last = result
        return ok and result
    end, limit or EVENTUALLY_SECONDS)
    if not value then
        error(('not even after %g seconds; the last time: %s'):format(
            limit or EVENTUALLY_SECONDS, tostring(last)), 2)
    end
    return value
end

-- ------------------------------------------------------------------------------------- random

local seeds = {}
local generator = {}
generator.__index = generator

--- Numbers that a seed makes. Without one it is PERIGEE_SEED, or a new one, which is shown when the test
--- fails.
---@param seed integer?
function testing.random(seed)
    seed = (seed or native.seed()) % 2 ^ 32
    seeds[#seeds + 1] = seed
    return setmetatable({ seed = seed, state = seed }, generator)
end

--- The next 31 bits (a linear congruence of 53 bits at most, so that doubles are exact).
local function step(self)
    self.state = (self.state * 1103515 + 12345678901) % 2 ^ 32
    local low = self.state
    self.state = (self.state * 1103515 + 12345678901) % 2 ^ 32
    return math.floor(low / 2 ^ 16) * 2 ^ 15 + math.floor(self.state / 2 ^ 17)
end

--- A whole number from `first` to `last`.
function generator:integer(first, last)
    return first + step(self) % (last - first + 1)
end

--- One of the elements.
function generator:pick(list)
    return list[self:integer(1, #list)]
end

--- True once in n times.
function generator:once_in(n)
    return step(self) % n == 0
end

--- The same elements in another order.
function generator:shuffle(list)
    local result = { unpack(list) }
    for n = #result, 2, -1 do
        local other = self:integer(1, n)
        result[n], result[other] = result[other], result[n]
    end
    return result
end

-- --------------------------------------------------------------------------------------- time

local clock = {}
testing.clock = clock

--- Moves the time of the spec's database and of its servers on, and lets those run who have slept for it.
---@param seconds number
function clock.advance(_, seconds)
    if type(seconds) ~= 'number' or seconds < 0 then
        error('clock:advance(seconds)', 2)
    end
    native.clock('advance', seconds)
    let_others()
end

--- The time stands still from now on; it goes on again.
function clock.stop()
    native.clock('stop')
end

function clock.go()
    native.clock('go')
end

--- What `perigee test --clock manual` does for the whole file.
function testing.manual_clock()
    clock.stop()
    return clock
end

-- ------------------------------------------------------------------------------- for testing.run

function testing.forget_seeds()
    seeds = {}
end

function testing.show_seeds()
    for _, seed in ipairs(seeds) do
        io.stderr:write(('\nthe seed was %d: PERIGEE_SEED=%d makes these numbers again\n'):format(seed, seed))
    end
end

function testing.end_all()
    for _, server in ipairs(servers) do
        server:kill()
    end
end

return testing
