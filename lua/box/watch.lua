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
local objects = require('box.func').objects
local fiber = require('fiber')

local native, api, runtime, row = core.native, core.api, core.runtime, core.row
local raise = core.raise

local BACKOFF_FIRST, BACKOFF_MAX = 0.01, 10
local SLICE_SECONDS, STORE_SECONDS = 0.005, 0.1
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
    local ok, operation, ts, key, has_tuple = pcall(native.watch_next, state.handle)
    if not ok then
        state.broken = operation
        error(operation, 0)
    elseif not operation then
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

--- The changes that the function is called with stay in state.pending until it has returned.
local function deliver(state)
    local batch = state.pending
    local argument = state.batched and batch or batch[1]
    if not insist(state, 'function', state.fn, argument) then
        return false
    end
    state.delivered = state.delivered + #batch
    state.unstored = true
    return true
end

--- Of a watch that is kept: writes down where it stands, when it has nothing to do or some time has
--- passed. One that has been told of nothing does that only for the log's sake: else each position
--- written would be a change in the log that makes it write the next.
local function store(state, idle)
    if not state.id or state.position == state.stored then
        return
    end
    local now = api.monotonic(runtime)
    if state.unstored then
        if not idle and now - state.stored_at < STORE_SECONDS then
            return
        end
    elseif not native.watch_passed(state.stored, state.position) then
        return
    end
    if not native.watch_store(state.id, state.revision, state.position) then
        state.stopped = true
        return
    end
    state.stored, state.stored_at, state.unstored = state.position, now, false
end

--- Until it is to end.
local function loop(state)
    state.since = api.monotonic(runtime)
    while not state.stopped and not is_cancelled() do
        state.pending = state.pending or {}
        if not state.whole and not collect(state, state.pending) then
            return
        end
        state.whole = true
        if #state.pending > 0 and not deliver(state) then
            return
        end
        local idle = #state.pending == 0
        state.pending, state.whole = nil, false
        state.position = native.watch_position(state.handle)
        store(state, idle)
        if state.dropped then
            return
        end
        share(state)
        if idle and native.watch_wait(state.handle) then
            core.pause()
            state.since = api.monotonic(runtime)
        end
    end
end

--- Runs the loop in a fiber of its own, and again when that ends because the function has gone beyond a
--- limit: with what it was called with then.
local function supervise(state)
    local wait = BACKOFF_FIRST
    while state.former and not state.former.ended do
        fiber.sleep(0.01)
    end
    state.former = nil
    while true do
        local delivered = state.delivered
        state.inner = fiber.new(loop, state)
        state.inner:name(state.name)
        state.inner:set_joinable(true)
        local ok, err = state.inner:join()
        if ok then
            return
        elseif state.broken or state.stopped or is_cancelled() then
            error(err, 0)
        end
        state.errors, state.failing = state.errors + 1, tostring(err)
        wait = state.delivered > delivered and BACKOFF_FIRST or math.min(wait * 2, BACKOFF_MAX)
        native.log(1, ('%s: %s; again in %g seconds'):format(state.name, state.failing, wait))
        core.pause(wait)
        if state.stopped or is_cancelled() then
            return
        end
    end
end

--- Those that the condition did not want, which C looks at, and those that the function did not.
local function passed_over(state)
    if not state.ended then
        local _, _, _, by_condition = native.watch_position(state.handle)
        state.by_condition = by_condition
    end
    return state.passed_over + state.by_condition
end

local function finish(state, ok, err)
    running[state.number] = nil
    if state.unstored then
        pcall(store, state, true)
    end
    passed_over(state)
    native.watch_close(state.handle)
    if state.dropped then
        state.ended = 'dropped'
    elseif ok or state.stopped or is_cancelled() then
        state.ended = 'stopped'
    else
        state.ended, state.failing = 'failed', tostring(err)
        native.log(0, ('%s has ended: %s'):format(state.name, state.failing))
    end
end

local function status_of(state)
    return {
        name = state.name, space = state.space,
        status = state.ended or state.failing and 'failing' or 'running', position = state.position,
        delivered = state.delivered, passed_over = passed_over(state), errors = state.errors,
        error = state.failing,
    }
end

--- Starts the fiber of a state whose space, fn and so on are set.
local function begin(state, from)
    state.handle = native.watch_open(state.space_id, from, state.condition)
    state.position = native.watch_position(state.handle)
    state.delivered, state.passed_over, state.errors = 0, 0, 0
    last_number = last_number + 1
    state.number, state.owner = last_number, native.euid()
    running[state.number] = state
    state.fiber = fiber.new(function()
        finish(state, pcall(supervise, state))
    end)
    state.fiber:name(state.name)
end

local function wakeup(which)
    if which and which:status() ~= 'dead' then
        which:wakeup()
    end
end

local function stop(state)
    state.stopped = true
    if not state.ended then
        wakeup(state.inner)
        wakeup(state.fiber)
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

--- A filter as a function of the tuple; or the condition {field, operator, value} that it is, which is
--- looked at before Lua has the tuple.
local function compile_filter(filter)
    if type(filter) == 'table' then
        return nil, filter
    elseif filter == nil or filter == core.NULL or type(filter) == 'function' then
        return filter ~= core.NULL and filter or nil
    elseif type(filter) ~= 'string' then
        raise(core.ERROR_INVALID,
            'a filter is a function of the tuple, the text of one ("t.amount > 10"), or '
            .. 'a condition: {"amount", ">", 10}')
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
    local space, accepts, condition = find_space(which), compile_filter(filter)
    local state = {
        space = space.name, space_id = space.id, filter = accepts, condition = condition, fn = fn,
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

-- --------------------------------------------------------------------------- watches that are kept

local functions = {}
watch.functions = functions

local known_kept = {
    space = true, func = true, filter = true, batch = true, from = true, if_not_exists = true, replace = true,
}

local function find_row(name)
    if type(name) ~= 'string' or name == '' or #name > NAME_MAX then
        raise(core.ERROR_INVALID, ('the name of a watch is a string of at most %d bytes'):format(NAME_MAX))
    end
    for _, entry in ipairs(native.watch_rows()) do
        if entry[3] == name then
            return entry
        end
    end
end

local function check_kept(options)
    if type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'a watch needs options: {space = .., func = ..}')
    end
    for name in pairs(options) do
        if not known_kept[name] then
            raise(core.ERROR_INVALID, 'a watch has no option "' .. tostring(name) .. '"')
        end
    end
    check_options({ batch = options.batch })
    if type(options.func) ~= 'string' then
        raise(core.ERROR_INVALID, 'func of a watch that is kept is the name of a procedure')
    elseif native.function_info(options.func) == nil then
        raise(core.ERROR_NOT_FOUND, 'there is no procedure ' .. options.func)
    elseif options.filter ~= nil and type(options.filter) ~= 'string' and type(options.filter) ~= 'table' then
        raise(core.ERROR_INVALID,
            'the filter of a watch that is kept is text, or a condition: {"amount", ">", 10}')
    end
    compile_filter(options.filter)
end

--- box.schema.watch.create(name, {space, func, filter, batch, from, if_not_exists, replace})
function functions.create(name, options)
    local present = find_row(name)
    check_kept(options)
    local space, from = find_space(options.space), native.watch_from(check_from(options.from))
    local _, condition = compile_filter(options.filter)
    native.watch_close(native.watch_open(space.id, from, condition)) -- raises what is wrong
    if present and options.if_not_exists then
        return
    elseif present and options.replace then
        native.watch_drop(present[1])
    end
    native.watch_put({
        core.NULL, native.euid(), name, space.id, {
            func = options.func, filter = options.filter, batch = options.batch, from = from,
            revision = native.seed(),
        },
    })
end

--- box.schema.watch.drop(name, {if_exists})
function functions.drop(name, options)
    local present = find_row(name)
    if present then
        native.watch_drop(present[1])
    elseif not (type(options) == 'table' and options.if_exists) then
        raise(core.ERROR_NOT_FOUND, ('there is no watch "%s"'):format(name))
    end
end

--- box.schema.watch.exists(name)
function functions.exists(name)
    return find_row(name) ~= nil
end

local function describe(entry)
    local options = entry[5]
    return {
        id = entry[1], name = entry[3], space = native.space_name(entry[4]), func = options.func,
        filter = options.filter, batch = options.batch,
        position = native.watch_stored(entry[1], options.revision),
    }
end

--- box.schema.watch.info(name): what is known of one, or nil.
function functions.info(name)
    local entry = find_row(name)
    return entry and describe(entry)
end

--- box.schema.watch.list()
function functions.list()
    local result = {}
    for position, entry in ipairs(native.watch_rows()) do
        result[position] = describe(entry)
    end
    return result
end

-- By id: the state of those that run in this state, which is the host (src/lua/host.c); or why one
-- does not begin.
local hosted = {}

local function start(entry, former)
    local options = entry[5]
    local space = native.space(entry[4])
    local position = native.watch_stored(entry[1], options.revision)
    if not space or not position then
        return nil -- it has just been dropped
    end
    local accepts, condition = compile_filter(options.filter)
    local state = {
        id = entry[1], revision = options.revision, stored = position, stored_at = 0, name = entry[3],
        space = space.name, space_id = space.id, filter = accepts, condition = condition,
        fn = function(argument)
            local called = objects[options.func]
            if not called then
                raise(core.ERROR_NOT_FOUND, 'there is no procedure ' .. options.func)
            end
            called(argument)
        end,
        batch = options.batch or 1, batched = options.batch ~= nil,
        former = former and former.number and former or nil,
    }
    native.run_as(entry[2], begin, state, position)
    return state
end

local function try_start(entry, former)
    local ok, started = pcall(start, entry, former)
    if ok then
        return started
    end
    local why = tostring(started)
    if not former or former.why ~= why then
        native.log(0, ('watch "%s" does not begin: %s'):format(entry[3], why))
    end
    return { revision = entry[5].revision, why = why }
end

--- Makes what runs be what is kept; all of it ends when this state is not the host any more.
function watch.settle(hosts)
    local kept = {}
    for _, entry in ipairs(hosts and native.watch_rows() or {}) do
        kept[entry[1]] = entry
    end
    local ids = {}
    for id, state in pairs(hosted) do
        if state.number and not (kept[id] and kept[id][5].revision == state.revision) then
            stop(state)
        end
        ids[#ids + 1] = id
    end
    for _, id in ipairs(ids) do
        hosted[id] = kept[id] and hosted[id]
    end
    for id, entry in pairs(kept) do
        local state = hosted[id]
        if not state or state.why or state.ended or state.revision ~= entry[5].revision then
            hosted[id] = try_start(entry, state)
        end
    end
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
