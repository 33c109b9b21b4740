-- SPDX-License-Identifier: Apache-2.0
--
-- fiber: functions that take turns on one worker, under Tarantool's names.
--
-- C runs them (src/lua/fiber.c); here are their objects, and what they wait for each other by. A
-- fiber gives its turn away by yielding a mark and for how many seconds; `false` from the yield means
-- that a function of C stands between it and its beginning. What runs outside of a fiber, a script's
-- own thread, waits inside of a call instead, and the others run meanwhile.
--
-- A transaction does not yield: whatever would wait raises an error in one, and leaves it as it is.

local ffi = require('ffi')
local core = require('box.core')

local native, api, runtime = core.native, core.api, core.runtime
local raise, yield = core.raise, coroutine.yield
local mark = native.fiber_mark

local ENDED_MAX, NAME_MAX = 10000, 64

local fiber = {}

-- --------------------------------------------------------------------------------- objects

-- What is behind an object: nobody else can get at it.
local states = setmetatable({}, { __mode = 'k' })

local function class(methods, extra)
    local metatable = {
        __index = function(_, name) return methods[name] end,
        __newindex = function() error('this object is read-only', 2) end,
        __metatable = 'protected',
    }
    for name, method in pairs(extra or {}) do
        metatable[name] = method
    end
    core.guarded[metatable] = true
    return metatable
end

local function new_object(metatable, state)
    local object = setmetatable({}, metatable)
    states[object] = state
    return object
end

local function state_of(object, metatable, what)
    local state = type(object) == 'table' and states[object]
    if not state or state.class ~= metatable then
        error('use ' .. what, 3)
    end
    return state
end

local function seconds_of(value, what)
    if value == nil then
        return nil
    end
    local seconds = tonumber(value)
    if not seconds or seconds ~= seconds or seconds < 0 then
        error(what .. ' is a number of seconds', 3)
    end
    return seconds
end

-- --------------------------------------------------------------------------------- waiting

local function cancelled()
    raise(core.ERROR_CANCELLED, 'fiber is cancelled')
end

--- Gives the turn away; nil: until somebody wakes it. Returns whether it is cancelled.
local function pause(seconds)
    if native.fiber_check() then
        native.fiber_wait(seconds)
        return false
    end
    local _, ends = native.fiber_current()
    if yield(mark, ends and 0 or seconds) then
        raise(core.ERROR_INVALID, 'a function that C has called (as sort or gsub call one) can\'t wait')
    end
    _, ends = native.fiber_current()
    return ends
end

local function now()
    return api.monotonic(runtime)
end

-- A queue is a ring of waiters with itself as head.
local function new_queue()
    local queue = {}
    queue.before, queue.after = queue, queue
    return queue
end

local function remove(waiter)
    waiter.before.after, waiter.after.before = waiter.after, waiter.before
    waiter.before, waiter.after = waiter, waiter
end

local function is_empty(queue)
    return queue.after == queue
end

--- Takes the first out of the queue and wakes it.
local function wake_first(queue)
    local waiter = queue.after
    remove(waiter)
    waiter.woken = true
    native.fiber_wakeup(waiter.id)
    return waiter
end

--- Waits until somebody calls wake_first; returns the waiter, or nil when the time is over.
local function wait_in(queue, seconds, value)
    native.fiber_check()
    local waiter = { id = native.fiber_current(), value = value, before = queue.before, after = queue }
    queue.before.after, queue.before = waiter, waiter
    local until_then = seconds and now() + seconds
    while not waiter.woken do
        local left = until_then and math.max(until_then - now(), 0)
        local ok, ends = pcall(pause, left)
        if not waiter.woken and (not ok or ends or left == 0) then
            remove(waiter)
            if not ok then
                error(ends, 0)
            elseif ends then
                cancelled()
            end
            return nil
        elseif ok and ends then
            -- woken and cancelled at once: what it was given is not lost
            return waiter
        end
    end
    return waiter
end

-- --------------------------------------------------------------------------------- fibers

-- id -> state, of those that Lua has an object for and that have not ended, or not been joined
local fibers, ended_count = {}, 0

local methods = {}
local Fiber = class({}, {
    __index = function(self, name)
        if name == 'storage' then
            return states[self].storage
        end
        return methods[name]
    end,
    __tostring = function(self) return 'fiber: ' .. states[self].id end,
})
core.serializers[Fiber] = function(self)
    return { id = states[self].id, name = states[self].name, status = methods.status(self) }
end

local function new_fiber_object(id, name)
    local state = { class = Fiber, id = id, name = name, storage = {} }
    state.object = new_object(Fiber, state)
    return state
end

local main = native.trusted and new_fiber_object(0, 'main')

local function current()
    local id = native.fiber_current(true)
    if id == 0 then -- outside of any: of what comes after it nobody shall see what this has stored
        return main or new_fiber_object(0, 'request')
    end
    local state = fibers[id]
    if not state then
        state = new_fiber_object(id, 'request')
        fibers[id] = state
    end
    return state
end

--- The state of a fiber that is given as an object or by its number; the present one without.
local function find_state(which)
    if which == nil then
        return current()
    elseif type(which) == 'number' then
        local state = fibers[which]
        if not state or not native.fiber_own(which) then
            error('the fiber is dead', 3)
        end
        return state
    end
    return state_of(which, Fiber, 'fiber:method()')
end

local function create(start, fn, ...)
    if type(fn) ~= 'function' then
        error('a fiber needs a function', 3)
    end
    if ended_count >= ENDED_MAX then
        raise(core.ERROR_BUSY, 'too many fibers have ended that are joinable and have not been joined')
    end
    local id = native.fiber_new(fn, ...)
    local state = new_fiber_object(id, 'lua')
    fibers[id] = state
    native.fiber_start(id, start)
    return state.object
end

--- fiber.create(fn, ..): runs fn(..) until it waits for something, then goes on. In a transaction it
--- begins when its turn comes.
function fiber.create(fn, ...)
    return create(true, fn, ...)
end

--- fiber.new(fn, ..): begins when its turn comes.
function fiber.new(fn, ...)
    return create(false, fn, ...)
end

--- Called by C; true when somebody is going to ask for the results.
function fiber.ended(id, ok, ...)
    local state = fibers[id]
    if not state then
        return false
    end
    state.dead = true
    if not state.joinable then
        fibers[id] = nil
        return false
    end
    state.results = { n = select('#', ...) + 1, ok, ... }
    ended_count = ended_count + 1
    while state.joiners and not is_empty(state.joiners) do
        wake_first(state.joiners)
    end
    return true
end

function fiber.self()
    return current().object
end

--- fiber.find(id): the fiber of this worker, or nil; others' are not found, but by the admin.
function fiber.find(id)
    local state = fibers[tonumber(id)]
    return state and native.fiber_own(state.id) and state.object or nil
end

function methods.id(self)
    return find_state(self).id
end

function methods.name(self, name)
    if type(self) == 'string' then -- fiber.name('new name')
        self, name = nil, self
    end
    local state = find_state(self)
    if name == nil then
        return state.name
    end
    state.name = tostring(name):sub(1, NAME_MAX)
end

--- 'running', 'suspended' or 'dead'.
function methods.status(self)
    if type(self) == 'number' and not (fibers[self] and native.fiber_own(self)) then
        return 'dead'
    end
    local state = find_state(self)
    if state.dead then
        return 'dead'
    end
    return state.id == native.fiber_current() and 'running' or 'suspended'
end

--- It ends by an error, 'fiber is cancelled', where it waits, and wherever it waits again.
function methods.cancel(self)
    local state = find_state(self)
    if state.name == 'request' and state.id ~= native.fiber_current() then
        raise(core.ERROR_ACCESS, 'this is the request of a client')
    end
    if not state.dead and state.id ~= 0 then
        native.fiber_cancel(state.id)
        if state.id == native.fiber_current() then
            cancelled()
        end
    end
end
methods.kill = methods.cancel

--- It goes on before its time has come.
function methods.wakeup(self)
    local state = find_state(self)
    if not state.dead then
        native.fiber_wakeup(state.id)
    end
end

--- Whether what it returns is kept for join.
function methods.set_joinable(self, joinable)
    local state = find_state(self)
    if type(joinable) ~= 'boolean' then
        error('fiber:set_joinable(true) or (false)', 2)
    end
    if state.joined or (state.dead and not state.results) then
        error('the fiber is dead', 2)
    end
    state.joinable = joinable
    if not joinable and state.results then
        state.results, fibers[state.id] = nil, nil
        ended_count = ended_count - 1
    end
end

--- Waits for its end: true and what it has returned, or false and its error.
function methods.join(self, timeout)
    local state = find_state(self)
    if not state.joinable or state.joined then
        error('the fiber is not joinable', 2)
    end
    timeout = seconds_of(timeout, 'the timeout')
    if not state.results then
        state.joiners = state.joiners or new_queue()
        if not wait_in(state.joiners, timeout) then
            return false, core.new_error(core.ERROR_TIMEOUT, 'timed out')
        end
    end
    local results = state.results
    if not results then
        error('the fiber has been joined already', 2)
    end
    state.results, state.joined, fibers[state.id] = nil, true, nil
    ended_count = ended_count - 1
    return unpack(results, 1, results.n)
end

for _, name in ipairs({ 'id', 'name', 'status', 'cancel', 'kill', 'wakeup', 'set_joinable', 'join' }) do
    fiber[name] = methods[name]
end

--- Ends the fiber by an error when it is cancelled.
function fiber.testcancel()
    local _, ends = native.fiber_current()
    if ends then
        cancelled()
    end
end

--- Waits for so many seconds, or until somebody calls wakeup.
function fiber.sleep(seconds)
    if pause(seconds_of(seconds, 'how long to sleep') or error('fiber.sleep(seconds)', 2)) then
        cancelled()
    end
end

--- Lets the others go on.
function fiber.yield()
    if pause(0) then
        cancelled()
    end
end

--- Of all fibers of this worker: by their numbers, {fid, name, status, csw}.
function fiber.info()
    local result = {}
    for _, entry in ipairs(native.fiber_list()) do
        local state = fibers[entry.id]
        result[entry.id] = {
            fid = entry.id,
            name = state and state.name or entry.request and 'request' or 'lua',
            status = entry.status,
            csw = entry.csw,
        }
    end
    return result
end

--- Seconds since 1970; and of a clock that never goes back.
function fiber.time()
    return api.now(runtime)
end

function fiber.clock()
    return now()
end

--- The same in microseconds.
function fiber.time64()
    return ffi.cast('uint64_t', api.now(runtime) * 1e6)
end

function fiber.clock64()
    return ffi.cast('uint64_t', now() * 1e6)
end

-- -------------------------------------------------------------------------------- conditions

local cond = {}
local Cond = class(cond)

--- fiber.cond(): fibers wait on it until others say that something may have changed.
function fiber.cond()
    return new_object(Cond, { class = Cond, queue = new_queue() })
end

--- True when it was signalled, false when the time is over.
function cond.wait(self, timeout)
    local state = state_of(self, Cond, 'cond:wait([timeout])')
    return wait_in(state.queue, seconds_of(timeout, 'the timeout')) ~= nil
end

--- Wakes one.
function cond.signal(self)
    local queue = state_of(self, Cond, 'cond:signal()').queue
    if not is_empty(queue) then
        wake_first(queue)
    end
end

--- Wakes all.
function cond.broadcast(self)
    local queue = state_of(self, Cond, 'cond:broadcast()').queue
    while not is_empty(queue) do
        wake_first(queue)
    end
end

-- ---------------------------------------------------------------------------------- channels

local channel = {}
local Channel = class(channel)

--- fiber.channel([size]): values from one fiber to another; so many wait in it.
function fiber.channel(size)
    size = size == nil and 0 or tonumber(size)
    if not size or size < 0 or size % 1 ~= 0 then
        error('the size of a channel is a whole number', 2)
    end
    return new_object(Channel, {
        class = Channel, size = size, first = 1, last = 0, values = {},
        readers = new_queue(), writers = new_queue(),
    })
end

local function channel_of(object, method)
    return state_of(object, Channel, 'channel:' .. method)
end

local function append(state, value)
    state.last = state.last + 1
    state.values[state.last] = value
end

--- False when the time is over, or the channel is closed.
function channel.put(self, value, timeout)
    local state = channel_of(self, 'put(value[, timeout])')
    timeout = seconds_of(timeout, 'the timeout')
    if state.closed then
        return false
    elseif not is_empty(state.readers) then
        local reader = wake_first(state.readers)
        reader.value, reader.given = value, true
        return true
    elseif state.last - state.first + 1 < state.size then
        append(state, value)
        return true
    end
    local waiter = wait_in(state.writers, timeout, value)
    return waiter ~= nil and waiter.taken == true
end

--- The next value; nil when the time is over, or the channel is closed and empty.
function channel.get(self, timeout)
    local state = channel_of(self, 'get([timeout])')
    timeout = seconds_of(timeout, 'the timeout')
    if state.last >= state.first then
        local value = state.values[state.first]
        state.values[state.first] = nil
        state.first = state.first + 1
        if not is_empty(state.writers) then
            local writer = wake_first(state.writers)
            writer.taken = true
            append(state, writer.value)
        end
        return value
    elseif not is_empty(state.writers) then
        local writer = wake_first(state.writers)
        writer.taken = true
        return writer.value
    elseif state.closed then
        return nil
    end
    local waiter = wait_in(state.readers, timeout)
    return waiter and waiter.value
end

--- Nobody waits in it any more; what is in it can still be taken.
function channel.close(self)
    local state = channel_of(self, 'close()')
    state.closed = true
    while not is_empty(state.readers) do
        wake_first(state.readers)
    end
    while not is_empty(state.writers) do
        wake_first(state.writers)
    end
end

function channel.is_closed(self)
    return channel_of(self, 'is_closed()').closed == true
end

function channel.count(self)
    local state = channel_of(self, 'count()')
    return state.last - state.first + 1
end

function channel.size(self)
    return channel_of(self, 'size()').size
end

function channel.is_empty(self)
    return channel.count(self) == 0
end

function channel.is_full(self)
    local state = channel_of(self, 'is_full()')
    return state.last - state.first + 1 >= state.size
end

function channel.has_readers(self)
    return not is_empty(channel_of(self, 'has_readers()').readers)
end

function channel.has_writers(self)
    return not is_empty(channel_of(self, 'has_writers()').writers)
end

-- --------------------------------------------------------------------- for the other modules

--- What socket and http wait by: like fiber.sleep, but it says whether the fiber is cancelled.
core.pause = pause
core.fiber_ended = fiber.ended
fiber.ended = nil

return core.object(fiber)
