-- SPDX-License-Identifier: Apache-2.0
--
-- A pool: connections to one server or several that are kept open for those who need one for a while.
--
--     local pool = client.pool({ address = { 'a:7420', 'b:7420' }, max = 8 })
--     pool:call('transfer', 1, 2, 30)                       -- by any connection
--     pool:with(function(db) return db:eval('return 1') end) -- several requests by one
--
-- A connection is at one of these places:
--
--      idle     nobody has it; the one that was used last goes out first, so that what is not needed rests
--      leased   somebody has it for himself, until he gives it back
--      shared   requests of `async` are under way on it; it is idle again when all have been answered
--      opening  it is being made
--
-- Together they are never more than `max`. Where there are fibers, who finds none free waits, in the order
-- of coming, and a fiber of the pool's closes what rests too long and keeps `min` open. In plain LuaJIT one
-- thing happens at a time: nobody else could give one back, so a pool with none free says so at once, and
-- what rests is closed when the pool is used.
--
-- An endpoint to which no connection could be made is left alone for a pause that doubles each time; the
-- others, taken in turn, are used meanwhile. A connection that has ended is found out when it is about to be
-- given to somebody, by what has arrived on it, or by a ping after it has rested long, and another takes its
-- place. A request that was under way raises CLIENT_LOST and is never sent twice.
--
-- Code in the server may be ended at any instruction, so there are no counters of what is out: leases are
-- kept in tables with weak keys, and what was forgotten goes with its last holder.

local option = require('client.option')
local socket = require('client.platform').socket

local MAX, WAIT_SECONDS, WAITING_MAX = 8, 5, 1000
local IDLE_SECONDS, CHECK_SECONDS = 60, 15
local FIRST_SECONDS, MOST_SECONDS = 0.05, 5
local LOOK_SECONDS_MIN, LOOK_SECONDS_MAX = 0.05, 1 -- between two looks of the pool's fiber
local PING_SHARE = 1 / 4 -- of the time that one may wait: a connection that answers later is replaced
local PAUSE_SECONDS_MIN = 0.001
local SLICE_SECONDS = 0.01 -- of waiting for one of several connections

local pool, methods = { methods = nil }, {}
methods.__index = methods
pool.methods = methods

local function count(t)
    local number = 0
    for _ in pairs(t) do
        number = number + 1
    end
    return number
end

local function size_of(self)
    return #self.idle + #self.shared + count(self.leased) + count(self.opening)
end

local function fail(self, code, message)
    error(self.new_error(self.client[code], message), 0)
end

local function check_open(self)
    if self.closed then
        fail(self, 'LOST', 'the pool is closed')
    end
end

local function remove(list, value)
    for n = #list, 1, -1 do
        if list[n] == value then
            table.remove(list, n)
        end
    end
end

--- Whoever has waited longest looks again.
local function wake(self)
    local first = self.waiters[1]
    if first and first.condition then
        first.condition:signal()
    end
end

--- What takes long is done outside of the queue: others go on meanwhile.
local function step_aside(self, waiter)
    remove(self.waiters, waiter)
    wake(self)
end

local function step_back(self, waiter)
    table.insert(self.waiters, 1, waiter)
end

--- Whether it is this one's turn. One whose time has long been over was ended where it waited.
local function is_first(self, waiter)
    local first = self.waiters[1]
    while first and first.deadline + LOOK_SECONDS_MAX < socket.now() do
        table.remove(self.waiters, 1)
        first = self.waiters[1]
    end
    return first == waiter
end

-- ----------------------------------------------------------------------------- connections

--- It is closed and forgotten. `broken`: it had ended by itself.
local function discard(self, db, broken)
    self.closed_count = self.closed_count + 1
    if broken then
        self.broken_count = self.broken_count + 1
    end
    db:close()
end

--- Answers that nobody is going to ask for, since their futures are gone.
local function forget_answers(self, db)
    local futures = self.futures[db]
    for number in pairs(db.responses) do
        if not futures or not futures[number] then
            db.responses[number] = nil
        end
    end
end

--- Nobody needs it any more: it rests.
local function put_idle(self, db)
    forget_answers(self, db)
    db:set_timeout(self.options.timeout)
    self.used_at[db] = socket.now()
    table.insert(self.idle, db)
end

--- Reads what has arrived for futures. Connections on which all is answered rest, those that have ended go.
local function settle(self)
    for n = #self.shared, 1, -1 do
        local db = self.shared[n]
        local alive = db:alive()
        if not alive then
            table.remove(self.shared, n)
            discard(self, db, true)
        elseif next(db.waiting) == nil then
            table.remove(self.shared, n)
            put_idle(self, db)
        end
    end
end

--- Whether it can be given to somebody; after a long rest it is asked, which waits. Its place is `leased`.
local function is_usable(self, db, deadline, waiter)
    if not db:alive() then
        return false
    elseif socket.now() - self.used_at[db] < self.check then
        return true
    end
    step_aside(self, waiter)
    db:set_timeout(math.min(math.max(deadline - socket.now(), 0), self.wait * PING_SHARE))
    local ok, problem = pcall(db.ping, db)
    db:set_timeout(self.options.timeout)
    step_back(self, waiter)
    if not ok and (type(problem) ~= 'table' or problem.code ~= self.client.LOST
        and problem.code ~= self.client.TIMEOUT) then
        error(problem, 0)
    end
    return ok
end

--- One that rests, as a lease; nil: none.
local function take_idle(self, deadline, waiter)
    while #self.idle > 0 do
        local db = table.remove(self.idle)
        self.leased[db] = true
        if is_usable(self, db, deadline, waiter) and not self.closed then
            return db
        end
        self.leased[db] = nil
        discard(self, db, true)
    end
end

--- The next endpoint in turn to which one may connect now; else nil, and from when on one may.
local function next_endpoint(self)
    local now, earliest = socket.now(), math.huge
    for step = 1, #self.endpoints do
        local n = (self.turn + step - 1) % #self.endpoints + 1
        local endpoint = self.endpoints[n]
        if endpoint.not_before <= now then
            self.turn = n
            return endpoint
        end
        earliest = math.min(earliest, endpoint.not_before)
    end
    return nil, earliest
end

--- It is left alone for a pause that doubles, of which up to a half is left to chance.
local function note_failure(self, endpoint, message)
    endpoint.failures = endpoint.failures + 1
    endpoint.failed = endpoint.failed + 1
    endpoint.message = message
    local pause = math.max(math.min(self.first * 2 ^ (endpoint.failures - 1), self.most), PAUSE_SECONDS_MIN)
    endpoint.not_before = socket.now() + pause * (0.5 + math.random() / 2)
end

--- A new connection, as a lease; nil: the endpoint does not answer. Raises what another try would not mend.
local function open(self, endpoint, deadline)
    local options, place = {}, {}
    for name, value in pairs(self.options) do
        options[name] = value
    end
    options.timeout = math.min(options.timeout or math.huge, math.max(deadline - socket.now(), 0))
    self.opening[place] = true
    if endpoint.failures > 0 then
        endpoint.not_before = socket.now() + self.first -- one try at a time
    end
    local ok, db = pcall(self.client.connect, endpoint.address, options)
    self.opening[place] = nil
    if not ok then
        local again = type(db) == 'table' and (db.code == self.client.LOST or db.code == self.client.TIMEOUT)
        note_failure(self, endpoint, tostring(type(db) == 'table' and db.message or db))
        wake(self)
        if not again then
            error(db, 0)
        end
        return nil
    end
    endpoint.failures, endpoint.not_before, endpoint.message = 0, 0, nil
    endpoint.opened = endpoint.opened + 1
    db:set_timeout(self.options.timeout)
    self.used_at[db] = socket.now()
    self.leased[db] = true
    return db
end

-- ---------------------------------------------------------------------------------- waiting

local function raise_busy(self, how)
    self.refused_count = self.refused_count + 1
    fail(self, 'BUSY', ('all %d connections of the pool are in use, %s'):format(self.max, how))
end

local function raise_late(self)
    if size_of(self) < self.max then
        local parts = {}
        for n, endpoint in ipairs(self.endpoints) do
            parts[n] = endpoint.message or 'cannot connect to ' .. endpoint.address .. ' in time'
        end
        fail(self, 'LOST', ('the pool has got no connection within %g seconds: %s'):format(self.wait,
            table.concat(parts, '; ')))
    end
    raise_busy(self, ('and none became free within %g seconds'):format(self.wait))
end

--- In plain LuaJIT: for an endpoint's pause to end, or answers to futures to come.
local function wait_alone(self, left, earliest)
    if earliest < math.huge then
        socket.pause(math.min(left, math.max(earliest - socket.now(), 0) + 0.001))
    elseif #self.shared == 0 then
        raise_busy(self, 'and nobody but their users can give one back: give it back, or make max larger')
    else
        self.shared_turn = self.shared_turn % #self.shared + 1
        local db = self.shared[self.shared_turn]
        db.socket:wait(socket.POLLIN, socket.now() + math.min(left, SLICE_SECONDS))
    end
end

--- Where there are fibers: for whatever wakes this one, or an endpoint's pause to end.
local function wait_with_others(self, waiter, left, earliest)
    if not waiter.waits and #self.waiters > self.waiting_max then
        raise_busy(self, ('and %d wait for one already'):format(#self.waiters - 1))
    end
    waiter.waits = true
    waiter.condition:wait(math.min(left, math.max(earliest - socket.now(), 0) + 0.001, LOOK_SECONDS_MAX))
end

--- One that rests or a new one; nil: there is none now, and from when on one may connect again.
local function try(self, deadline, waiter)
    local db = take_idle(self, deadline, waiter)
    while not db and size_of(self) < self.max and not self.closed and socket.now() < deadline do
        local endpoint, earliest = next_endpoint(self)
        if not endpoint then
            return nil, earliest
        end
        step_aside(self, waiter)
        db = open(self, endpoint, deadline)
        step_back(self, waiter)
    end
    return db, math.huge
end

local function wait_for_one(self, waiter)
    while true do
        check_open(self)
        local earliest = math.huge
        if is_first(self, waiter) then
            local db
            settle(self)
            db, earliest = try(self, waiter.deadline, waiter)
            if db then
                return db
            end
            check_open(self)
        end
        local left = waiter.deadline - socket.now()
        if left <= 0 then
            raise_late(self)
        elseif waiter.condition then
            wait_with_others(self, waiter, left, earliest)
        else
            wait_alone(self, left, earliest)
        end
    end
end

local start_fiber

--- A connection for the caller alone.
local function acquire(self)
    check_open(self)
    if socket.check then
        socket.check()
    end
    self.used_count = self.used_count + 1
    local waiter = { deadline = socket.now() + self.wait }
    waiter.condition = socket.condition and socket.condition()
    table.insert(self.waiters, waiter)
    local ok, db = pcall(wait_for_one, self, waiter)
    remove(self.waiters, waiter)
    wake(self)
    if not ok then
        error(db, 0)
    end
    start_fiber(self)
    return db
end

-- -------------------------------------------------------------------------------- upkeep

--- Closes what has rested too long, the longest first.
local function close_resting(self)
    local now = socket.now()
    while #self.idle > 0 and size_of(self) > self.min and now - self.used_at[self.idle[1]] > self.rest do
        discard(self, table.remove(self.idle, 1))
    end
end

--- What the pool's fiber does: those who have ended are replaced up to `min`, others close in time.
local function look_after(self)
    settle(self)
    for n = #self.idle, 1, -1 do
        local db = self.idle[n]
        if db and not db:alive() then
            table.remove(self.idle, n)
            discard(self, db, true)
        end
    end
    close_resting(self)
    while size_of(self) < self.min and not self.closed do
        local endpoint = next_endpoint(self)
        local db = endpoint and open(self, endpoint, socket.now() + self.wait)
        if not db then
            break
        end
        self:release(db)
    end
    wake(self)
end

--- False when there is nothing to look after any more: the pool is closed, or forgotten, or empty.
local function look_once(weak)
    local self = weak.pool
    local goes_on = self and not self.closed and (self.min > 0 or size_of(self) > 0)
    if goes_on then
        pcall(look_after, self)
    end
    return goes_on
end

local function look_on(weak, seconds)
    -- between two looks nothing here holds the pool
    while look_once(weak) and pcall(socket.pause, seconds) do end
    if weak.pool then
        weak.pool.looked_after = false
    end
end

function start_fiber(self)
    if socket.background and not self.looked_after then
        self.looked_after = true
        local seconds = math.min(self.rest, self.check, 4 * LOOK_SECONDS_MAX) / 4
        socket.background(look_on, setmetatable({ pool = self }, { __mode = 'v' }),
            math.max(seconds, LOOK_SECONDS_MIN))
    elseif not socket.background then
        close_resting(self)
    end
end

-- ------------------------------------------------------------------------------ for the user

--- A connection for the caller alone, until `release`. `with` gives it back by itself.
---@return table connection
function methods:acquire()
    return acquire(self)
end

--- Gives a connection back. One that has ended is closed, and so is one that others can't take over: with
--- requests that nobody has received, an open transaction, subscriptions, or after `auth`.
---@param db table connection
function methods:release(db)
    if not self.leased[db] then
        fail(self, 'PROTOCOL', 'this is no connection of the pool\'s, or it has been given back already')
    end
    self.leased[db] = nil
    if not db.socket then
        discard(self, db, true)
    elseif self.closed or next(db.waiting) ~= nil or next(db.streams) ~= nil or db.personal then
        discard(self, db)
    else
        put_idle(self, db)
        if not socket.background then
            close_resting(self)
        end
    end
    wake(self)
end

local function give_back(self, db, ok, ...)
    if self.leased[db] then
        self:release(db)
    end
    if not ok then
        error((...), 0)
    end
    return ...
end

--- Calls fn(connection, ..) and gives the connection back; gives what it returns, and raises its error.
---@param fn function
function methods:with(fn, ...)
    local db = acquire(self)
    return give_back(self, db, pcall(fn, db, ...))
end

--- As of a connection, by any.
---@param method string
---@return any
function methods:request(method, ...)
    local db = acquire(self)
    return give_back(self, db, pcall(db.request, db, method, ...))
end

function methods:call(name, ...)
    return self:request('call', name, ...)
end

function methods:eval(text, ...)
    return self:request('eval', text, ...)
end

function methods:ping()
    return self:request('ping')
end

function methods:publish(channel, payload)
    return self:request('publish', channel, payload)
end

--- An interactive transaction; its connection is given back when that has ended.
---@param options table? as of a connection
---@return table transaction
function methods:begin(options)
    local db = acquire(self)
    local ok, transaction = pcall(db.begin, db, options)
    if not ok then
        give_back(self, db, false, transaction)
    end
    transaction.ended = function() give_back(self, db, true) end
    return transaction
end

--- One for a future: another one as long as there are fewer than `max`, then each in turn.
local function share(self)
    check_open(self)
    local db
    if #self.shared == 0 then
        db = acquire(self)
    elseif size_of(self) - #self.idle < self.max then
        local waiter = { deadline = socket.now() + self.wait }
        db = try(self, waiter.deadline, waiter)
        remove(self.waiters, waiter)
    end
    if db then
        self.leased[db] = nil
        table.insert(self.shared, db)
        return db
    end
    self.shared_turn = self.shared_turn % #self.shared + 1
    return self.shared[self.shared_turn]
end

--- A request that goes on while this side does something else: its future. Many spread over all connections
--- and are pipelined on each.
---@param method string
---@return table future
function methods:async(method, ...)
    local db
    repeat
        db = share(self)
        if db and not db.socket then
            settle(self)
        end
    until db and db.socket
    local future = db:async(method, ...)
    future.pool = self
    self.futures[db] = self.futures[db] or setmetatable({}, { __mode = 'v' })
    self.futures[db][future.number] = future
    return future
end

--- Sends what `async` has queued, as far as that goes without waiting.
function methods:flush()
    for _, db in ipairs(self.shared) do
        if #db.queued > 0 or db.sent < #db.output then
            db:alive()
        end
    end
end

--- Figures: how many connections there are and where, what has happened since the pool was made, and the
--- same of each endpoint, with the last problem of one that does not answer.
---@return table
function methods:statistics()
    settle(self)
    local result = {
        size = size_of(self), idle = #self.idle, shared = #self.shared, leased = count(self.leased),
        opening = count(self.opening), min = self.min, max = self.max,
        waiting = #self.waiters,
        opened = 0, failed = 0, closed = self.closed_count, broken = self.broken_count,
        used = self.used_count, refused = self.refused_count, endpoints = {},
    }
    for n, endpoint in ipairs(self.endpoints) do
        result.opened, result.failed = result.opened + endpoint.opened, result.failed + endpoint.failed
        result.endpoints[n] = {
            address = endpoint.address, opened = endpoint.opened, failed = endpoint.failed,
            answers = endpoint.failures == 0, problem = endpoint.message,
        }
    end
    return result
end

--- Closes what rests and what is shared, whose futures raise CLIENT_LOST; leased ones close when they are
--- given back, and who waits gets CLIENT_LOST. For good.
function methods:close()
    self.closed = true
    for _, list in ipairs({ self.idle, self.shared }) do
        while #list > 0 do
            discard(self, table.remove(list))
        end
    end
    for _, waiter in ipairs(self.waiters) do
        if waiter.condition then
            waiter.condition:signal()
        end
    end
end

---@class PoolOptions
---@field address string|string[] of one server, or of several that are used in turn
---@field min integer? connections that are kept open, 0
---@field max integer? connections at most, 8
---@field wait number? seconds that one waits for a connection at most, 5
---@field waiting_max integer? how many may wait, 1000; more get CLIENT_BUSY at once
---@field idle number? seconds after which a connection that nobody needs is closed, 60
---@field check number? seconds of rest after which a connection is asked whether it is there, 15
---@field first number? seconds that an endpoint is left alone after a failure, 0.05, each time twice as long
---@field most number? up to so many, 5

--- A pool. Connects nowhere: that is done when somebody needs a connection.
---@param client table the module
---@param new_error function
---@param given PoolOptions and those of client.connect, without reconnect
---@return table pool
function pool.new(client, new_error, given)
    local options = option.pool(given)
    local weak = { __mode = 'k' }
    local self = setmetatable({
        client = client, new_error = new_error,
        min = options.min or 0,
        max = options.max or math.max(MAX, options.min or 0),
        wait = options.wait or WAIT_SECONDS,
        waiting_max = options.waiting_max or WAITING_MAX,
        rest = options.idle or IDLE_SECONDS,
        check = options.check or CHECK_SECONDS,
        first = options.first or FIRST_SECONDS,
        most = options.most or MOST_SECONDS,
        idle = {}, shared = {}, leased = setmetatable({}, weak), opening = setmetatable({}, weak),
        used_at = setmetatable({}, weak), -- connection -> when it began to rest
        futures = setmetatable({}, weak), -- connection -> number -> future, as long as that is there
        waiters = {}, endpoints = {}, turn = 0, shared_turn = 0,
        closed_count = 0, broken_count = 0, used_count = 0, refused_count = 0,
        options = {
            timeout = options.timeout, user = options.user, password = options.password,
            tls = options.tls, progress = options.progress, interrupted = options.interrupted,
        },
    }, methods)
    for n, address in ipairs(options.address) do
        self.endpoints[n] = { address = address, failures = 0, not_before = 0, opened = 0, failed = 0 }
    end
    return self
end

return pool
