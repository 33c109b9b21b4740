-- SPDX-License-Identifier: Apache-2.0
--
-- box.watch: a function that is called for each change of a space, after it is durable, in the order
-- of the commits, at least once, from any position that the log still has.
--
-- Each watch is a fiber of its worker that reads a stream (src/lua/watch.c). What the function has
-- returned from counts as done: the position is behind it. An error in it is logged, and it is called
-- again with the same change, later each time.

local core = require('box.core')
local tuple = require('box.tuple')
local procedure = require('box.procedure')
local transaction = require('box.transaction')
local fiber = require('fiber')

local native, api, runtime, row = core.native, core.api, core.runtime, core.row
local raise = core.raise

local BACKOFF_FIRST, BACKOFF_MAX = 0.01, 10
local SLICE_SECONDS = 0.005
local BATCH_MAX, NAME_MAX = 10000, 255

local watch = {}
local globals

--- Given by box.init, since box is made of this.
function watch.set_globals(given)
    globals = given
end

-- States of those that run on this worker, in the order in which they were made.
local running, last_number = {}, 0

-- ------------------------------------------------------------------------------------ one watch

--- The next change: an event; false: none among those looked at; nil: none yet.
local function next_event(state)
    local operation, ts, key, has_tuple = native.watch_next(state.handle)
    if not operation then
        return operation
    end
    local content
    if has_tuple then
        content = tuple.copy(row.data, row.size, state.space_id)
    end
    return {
        space = state.space, operation = operation, key = key, tuple = content, ts = ts,
        position = native.watch_position(state.handle),
    }
end

local function is_cancelled()
    local _, cancelled = native.fiber_current()
    return cancelled
end

--- Gives the turn away at once, or when the watch has had it for some time: connections are served in
--- between. False: the watch is to end.
local function share(state, at_once)
    if at_once or api.monotonic(runtime) - state.since > SLICE_SECONDS then
        core.pause(0)
        state.since = api.monotonic(runtime)
    end
    return not state.stopped and not is_cancelled()
end

--- Calls until it returns; later each time. False: the watch is to end.
local function insist(state, what, fn, ...)
    local wait = BACKOFF_FIRST
    while true do
        local ok, result = pcall(fn, ...)
        if transaction.is_in_txn() then
            pcall(transaction.rollback)
            if ok then
                ok, result = false, 'it has left a transaction open'
            end
        end
        if ok then
            state.failing = nil
            return true, result
        end
        state.errors, state.failing = state.errors + 1, tostring(result)
        if is_cancelled() then
            return false
        end
        native.log(1, ('%s: %s: %s; again in %g seconds'):format(state.name, what, state.failing, wait))
        core.pause(wait)
        state.since = api.monotonic(runtime)
        if state.stopped or is_cancelled() then
            return false
        end
        wait = math.min(wait * 2, BACKOFF_MAX)
    end
end

local function is_wanted(state, event)
    if not state.filter or not event.tuple then
        return true, true
    end
    return insist(state, 'filter', state.filter, event.tuple)
end

--- Takes changes until there is a batch, or no more. False: the watch is to end.
local function collect(state, batch)
    while #batch < state.batch and not state.dropped do
        local event = next_event(state)
        if event == nil then
            return true
        end
        local goes_on, wanted = true, false
        if event then
            goes_on, wanted = is_wanted(state, event)
            state.passed_over = state.passed_over + (wanted and 0 or 1)
            state.dropped = event.operation == 'drop'
        end
        if wanted then
            batch[#batch + 1] = event
        end
        if not goes_on or not share(state, event == false) then
            return false
        end
    end
    return true
end

local function deliver(state, batch)
    local argument = state.batched and batch or batch[1]
    if not insist(state, 'function', state.fn, argument) then
        return false
    end
    state.delivered = state.delivered + #batch
    return true
end

local function loop(state)
    state.since = api.monotonic(runtime)
    while not state.stopped and not is_cancelled() do
        local batch = {}
        if not collect(state, batch) or #batch > 0 and not deliver(state, batch) then
            return
        end
        state.position = native.watch_position(state.handle)
        if state.advanced then
            state.advanced(state.position)
        end
        if state.dropped then
            return
        end
        share(state)
        if #batch == 0 and native.watch_wait(state.handle) then
            core.pause()
            state.since = api.monotonic(runtime)
        end
    end
end

local function finish(state, ok, err)
    running[state.number] = nil
    native.watch_close(state.handle)
    if state.dropped then
        state.ended = 'dropped'
    elseif ok then
        state.ended = 'stopped'
    else
        state.ended, state.failing = 'failed', tostring(err)
        native.log(0, ('%s has ended: %s'):format(state.name, state.failing))
    end
    if state.on_end then
        state.on_end(state.ended)
    end
end

local function status_of(state)
    local current = state.ended
    if not current then
        current = state.failing and 'failing' or state.fiber:status() == 'dead' and 'failed' or 'running'
    end
    return {
        name = state.name, space = state.space, status = current, position = state.position,
        delivered = state.delivered, passed_over = state.passed_over, errors = state.errors,
        error = state.failing,
    }
end

--- Starts the fiber of a state whose space, fn and so on are set.
local function begin(state, from)
    state.handle = native.watch_open(state.space_id, from)
    state.position = native.watch_position(state.handle)
    state.delivered, state.passed_over, state.errors = 0, 0, 0
    last_number = last_number + 1
    state.number, state.owner = last_number, native.euid()
    running[state.number] = state
    state.fiber = fiber.new(function()
        fiber.self():name(state.name)
        finish(state, pcall(loop, state))
    end)
end

local function stop(state)
    state.stopped = true
    if not state.ended then
        state.fiber:wakeup()
    end
end

-- ------------------------------------------------------------------------------------- box.watch

local known = { from = true, name = true, batch = true }

local function check_options(options)
    if options == nil then
        return {}
    elseif type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'options of a watch are a table: {from = .., name = .., batch = ..}')
    end
    for name in pairs(options) do
        if not known[name] then
            raise(core.ERROR_INVALID, 'a watch has no option "' .. tostring(name) .. '"')
        end
    end
    local name, batch = options.name, options.batch
    if name ~= nil and (type(name) ~= 'string' or #name > NAME_MAX) then
        raise(core.ERROR_INVALID, ('the name of a watch is a string of at most %d bytes'):format(NAME_MAX))
    elseif batch ~= nil and (type(batch) ~= 'number' or batch < 1 or batch > BATCH_MAX or batch % 1 ~= 0) then
        raise(core.ERROR_INVALID, ('batch is a number of changes from 1 to %d'):format(BATCH_MAX))
    end
    return options
end

--- Where a watch begins: a position, 'now' or 'beginning'.
local function check_from(from)
    if from == nil or from == 'now' then
        return 'now'
    elseif from == 'beginning' or from == 'beginning of log' then
        return 'beginning'
    end
    local position = tonumber(from)
    if not position or position < 0 or position % 1 ~= 0 or position >= 2 ^ 53 then
        raise(core.ERROR_INVALID, 'from is a position, "now" or "beginning"')
    end
    return position
end

local function find_space(which)
    local key = type(which) == 'table' and which.id or which
    local space = (type(key) == 'string' or type(key) == 'number') and native.space(key)
    if not space then
        raise(core.ERROR_NOT_FOUND, 'there is no space ' .. tostring(key))
    end
    return space
end

--- A filter as a function of the tuple.
local function compile_filter(filter)
    if filter == nil or filter == core.NULL or type(filter) == 'function' then
        return filter ~= core.NULL and filter or nil
    elseif type(filter) ~= 'string' then
        raise(core.ERROR_INVALID, 'a filter is a function of the tuple, or the text of one: "t.amount > 10"')
    end
    local text = filter
    if not procedure.is_expression(filter) then
        text = ('function(t) return (%s\n) end'):format(filter)
    end
    return procedure.compile_body('filter', text, globals)
end

--- box.watch(space, filter, fn, {from, name, batch})
function watch.watch(which, filter, fn, options)
    options = check_options(options)
    if type(fn) ~= 'function' then
        raise(core.ERROR_INVALID, 'box.watch(space, filter, fn): fn is a function')
    end
    local space = find_space(which)
    local state = {
        space = space.name, space_id = space.id, filter = compile_filter(filter), fn = fn,
        batch = options.batch or 1, batched = options.batch ~= nil,
        name = options.name or 'watch of ' .. space.name,
    }
    begin(state, check_from(options.from))
    return core.object({
        --- All changes up to this are done with: where to begin again.
        position = function() return state.position end,
        --- It is not called any more, but for the call that goes on.
        stop = function() stop(state) end,
        status = function() return status_of(state) end,
    })
end

--- box.stat.watch(): what runs on this worker, of this user.
function watch.statistics()
    local user, list = native.euid(), {}
    for _, state in pairs(running) do
        if user == state.owner or user == 1 then
            list[#list + 1] = state
        end
    end
    table.sort(list, function(left, right) return left.number < right.number end)
    for position, state in ipairs(list) do
        list[position] = status_of(state)
    end
    local log_begin, log_end, cut_off = native.watch_log()
    return { watches = list, log_begin = log_begin, log_end = log_end, cut_off = cut_off }
end

return watch
