-- SPDX-License-Identifier: Apache-2.0
--
-- box.begin, commit, rollback, savepoint, atomic: transactions of the session's own; what runs when
-- they end; and what runs a stored procedure from Lua.
--
-- A conflict dooms a transaction: whatever pcall has caught, its commit fails. Only who is asked to
-- runs a function again; what the function has done to variables outside of it is not taken back.

local ffi = require('ffi')
local core = require('box.core')

local native, api, runtime = core.native, core.api, core.runtime
local check, raise = core.check, core.raise

local transaction = {}

local level_names = {
    ['read-committed'] = 0,
    ['snapshot'] = 1,
    ['repeatable-read'] = 1,
    ['serializable'] = 2,
    ['read-uncommitted'] = 3,
    ['default'] = -1,
}

--- box.txn_isolation_level
transaction.levels = core.object({
    DEFAULT = 'default',
    READ_UNCOMMITTED = 'read-uncommitted',
    READ_COMMITTED = 'read-committed',
    REPEATABLE_READ = 'repeatable-read',
    SNAPSHOT = 'snapshot',
    SERIALIZABLE = 'serializable',
})

--- The number of an isolation level; that of the session when none is named.
local function level_of(options)
    local name = options.isolation or options.txn_isolation
    if name == nil then
        return -1
    end
    local level = type(name) == 'string' and level_names[name:lower():gsub('[ _]', '-')]
    if not level then
        raise(core.ERROR_INVALID, 'unknown isolation level ' .. tostring(name))
    end
    return level
end

--- Seconds; 0: no limit.
local function timeout_of(options)
    local timeout = options.timeout
    if timeout == nil then
        return 0
    end
    if type(timeout) ~= 'number' or timeout ~= timeout or timeout <= 0 then
        raise(core.ERROR_INVALID, 'timeout is a number of seconds')
    end
    return timeout
end

--- What begins: 1 for readonly, 2 for one that may change the schema.
local ALTERS = 2
local function flags_of(options)
    return (options.readonly and 1 or 0) + (options.schema and 2 or 0)
end

-- --------------------------------------------------------------------- what runs at the end

-- Arrays; nil: none.
local commit_functions, rollback_functions

local function call_each(functions, from)
    for position = from, #functions do
        local given = functions[position]
        local ok, err = pcall(native.run_as, given.user, given.fn)
        if not ok then
            native.log(1, 'a function that runs at the end of a transaction: ' .. tostring(err))
        end
    end
end

--- The transaction has ended: calls the functions that were to be called then. Forgets them first,
--- in a way that can't fail: whatever happens, they are not those of the next transaction.
---@param committed boolean
function transaction.ended(committed)
    if commit_functions or rollback_functions then
        local functions = rollback_functions
        if committed then
            functions = commit_functions
        end
        commit_functions, rollback_functions = nil, nil
        native.handlers(false)
        if functions then
            call_each(functions, 1)
        end
    end
end

local function number_of(functions)
    return functions and #functions or 0
end

--- Only the first `number` are left.
local function shorten(functions, number)
    for position = number_of(functions), number + 1, -1 do
        functions[position] = nil
    end
end

--- A savepoint is returned to: the functions given since go, and what is for a rollback is called.
local function end_since(commits, rollbacks)
    shorten(commit_functions, commits)
    if number_of(rollback_functions) > rollbacks then
        local functions = {}
        for position = rollbacks + 1, #rollback_functions do
            functions[#functions + 1] = rollback_functions[position]
        end
        shorten(rollback_functions, rollbacks)
        call_each(functions, 1)
    end
end

local function add_function(functions, fn, name)
    if type(fn) ~= 'function' then
        raise(core.ERROR_INVALID, name .. ' needs a function')
    end
    functions = functions or {}
    native.handlers(true)
    functions[#functions + 1] = { fn = fn, user = native.euid() }
    return functions
end

--- box.on_commit(fn): fn is called when the running transaction has committed.
function transaction.on_commit(fn)
    commit_functions = add_function(commit_functions, fn, 'box.on_commit')
end

--- box.on_rollback(fn): fn is called when it has been rolled back, also before it is run again.
function transaction.on_rollback(fn)
    rollback_functions = add_function(rollback_functions, fn, 'box.on_rollback')
end

--- box.notify(channel, payload): goes out when the transaction has committed and is durable.
function transaction.notify(channel, payload)
    if type(channel) ~= 'string' then
        raise(core.ERROR_INVALID, 'the name of a channel is a string')
    end
    native.notify(channel, payload)
end

--- How many functions wait for the end; with arguments: those given since go, as to a savepoint.
function transaction.marks(commits, rollbacks)
    if commits then
        end_since(commits, rollbacks)
    end
    return number_of(commit_functions), number_of(rollback_functions)
end

-- ------------------------------------------------------------------------- begin and end

--- What runs when a transaction has begun, and when one that changes the schema has been committed:
--- the triggers, whose module stands on this one.
local begun, altered

function transaction.set_triggers(on_begun, on_altered)
    begun, altered = on_begun, on_altered
end

-- Whether the running transaction may change the schema.
local alters = false

local function finish(how)
    local code, may_have_altered = api.finish(runtime, how), alters
    alters = false
    transaction.ended(how == 1 and code == 0)
    if may_have_altered and how == 1 and code == 0 then
        altered()
    end
    return code
end

--- box.begin{isolation = .., readonly = false, schema = false, timeout = seconds}; txn_isolation is
--- the same as isolation.
---@param options table?
function transaction.begin(options)
    options = options or {}
    local level, timeout = level_of(options), timeout_of(options)
    local flags = flags_of(options)
    check(api.begin(runtime, level, flags, 0, timeout))
    alters = flags >= ALTERS
    local ok, err = pcall(begun)
    if not ok then
        finish(0)
        error(err, 0)
    end
end

--- box.commit(): an error says why it could not be, and then everything is rolled back.
function transaction.commit()
    if api.in_transaction(runtime) == 0 then
        check(api.finish(runtime, 1))
    end
    local code = finish(1)
    if code == core.ERROR_AGAIN then
        raise(core.ERROR_CONFLICT, 'the transaction had to wait for a lock, and was rolled back')
    end
    check(code)
end

--- box.rollback(): does nothing when there is no transaction.
function transaction.rollback()
    check(finish(0))
end

--- box.is_in_txn()
---@return boolean
function transaction.is_in_txn()
    return api.in_transaction(runtime) ~= 0
end

-- ------------------------------------------------------------------------------ savepoints

-- The savepoints that can be returned to, in their order, and of which transaction they are.
local points, points_sequence = {}, nil

local function new_point()
    local mark = ffi.new('struct perigee_savepoint')
    check(api.savepoint(runtime, mark))
    if mark.sequence ~= points_sequence then
        points, points_sequence = {}, mark.sequence
    end
    return {
        mark = mark,
        commits = number_of(commit_functions),
        rollbacks = number_of(rollback_functions),
        before = #points,
    }
end

local function return_to(point)
    check(api.rollback_to(runtime, point.mark))
    for position = #points, point.before + 1, -1 do
        points[position] = nil
    end
    end_since(point.commits, point.rollbacks)
end

local point_of = setmetatable({}, { __mode = 'k' })

--- box.savepoint(): a point of the running transaction, for box.rollback_to_savepoint.
---@return table
function transaction.savepoint()
    local point, object = new_point(), core.object({})
    points[#points + 1] = point
    point_of[object] = point
    return object
end

--- Takes back what the transaction has written, locked and queued since the savepoint, which stays.
function transaction.rollback_to_savepoint(object)
    local point = type(object) == 'table' and point_of[object]
    if not point then
        raise(core.ERROR_INVALID, 'this is not a savepoint')
    end
    local position = point.before + 1
    if point.mark.sequence == points_sequence and points[position] ~= point then
        raise(core.ERROR_INVALID, 'the savepoint does not exist any more: an earlier one was returned to')
    end
    return_to(point)
    points[position] = point
end

--- The transaction of a fiber is parked: what is known of it here is put away. Returns the function
--- that puts it back.
function core.put_transaction_away()
    local commits, rollbacks = commit_functions, rollback_functions
    local own_points, own_sequence = points, points_sequence
    commit_functions, rollback_functions, points, points_sequence = nil, nil, {}, nil
    return function()
        commit_functions, rollback_functions = commits, rollbacks
        points, points_sequence = own_points, own_sequence
    end
end

-- ----------------------------------------------------------------------------------- atomic

local function pack(...)
    return { n = select('#', ...), ... }
end

local function begin_and_call(fn, ...)
    begun()
    return fn(...)
end

--- Runs fn(...) as a transaction, and again up to `retries` times when it loses a conflict or is
--- the victim of a deadlock.
function transaction.run(level, flags, timeout, retries, fn, ...)
    local arguments, losses = pack(...), 0
    while true do
        check(api.begin(runtime, level, flags, losses, timeout))
        alters = flags >= ALTERS
        local results = pack(pcall(begin_and_call, fn, unpack(arguments, 1, arguments.n)))
        local code = finish(results[1] and 1 or 2)
        if results[1] and code == 0 then
            return unpack(results, 2, results.n)
        end
        local lost = code == core.ERROR_CONFLICT or code == core.ERROR_DEADLOCK
        if lost and losses < retries then
            losses = losses + 1
        elseif code ~= core.ERROR_AGAIN then
            if results[1] or code == core.ERROR_LOCK_TIMEOUT then
                check(code)
            end
            error(results[2], 0)
        else
            core.give_way()
        end
    end
end

--- A part of the running transaction: what it has done is taken back when it raises an error.
local function run_inside(fn, ...)
    local point = new_point()
    local results = pack(pcall(fn, ...))
    if results[1] then
        return unpack(results, 2, results.n)
    end
    if api.in_transaction(runtime) == 1 then
        return_to(point)
    end
    error(results[2], 0)
end

--- box.atomic([{isolation, readonly, schema, retry, timeout},] fn, ...): fn(...) in a transaction, which
--- ends with it. Inside of another transaction it is a part of that one.
function transaction.atomic(options, fn, ...)
    if type(options) ~= 'table' then
        return transaction.atomic({}, options, fn, ...)
    end
    if type(fn) ~= 'function' then
        raise(core.ERROR_INVALID, 'box.atomic needs a function')
    end
    local level, timeout = level_of(options), timeout_of(options)
    if api.in_transaction(runtime) ~= 0 then
        return run_inside(fn, ...)
    end
    return transaction.run(level, flags_of(options), timeout, options.retry or 0, fn, ...)
end

return transaction
