-- SPDX-License-Identifier: Apache-2.0
--
-- Puts `box` together, gives it to trusted code as a global, and leaves for C the functions that it
-- calls (the module box.hooks).

local core = require('box.core')
local tuple = require('box.tuple')
local space = require('box.space')
local schema = require('box.schema')
local sequence = require('box.sequence')
local transaction = require('box.transaction')
local view_module = require('box.view')
local sandbox = require('box.sandbox')
local procedure = require('box.procedure')
local user = require('box.user')
local script = require('box.script')
local trigger = require('box.trigger')
local migration = require('box.migration')
local stored_module = require('box.module')
local host = require('box.host')
local watch = require('box.watch')
local stepper = require('box.stepper')
local verify = require('box.verify')

local native, api, runtime = core.native, core.api, core.runtime

-- ------------------------------------------------------------------------- errors, info, cfg

local codes, listed = {}, {}
for code = -1, -100, -1 do
    local name = native.error_name(code):match('^ERROR_(%u[%u_]*)$')
    if name then
        codes[name], listed[code] = code, code
    end
end

--- box.error.new{code, message} or (code, message). A code of the user's own, above 0, stays with it.
local function new_error(code, message)
    if type(code) == 'table' then
        code, message = code.code, code.reason or code.message
    elseif type(code) == 'string' then
        code, message = nil, code
    end
    code = tonumber(code) or core.ERROR_LUA
    local known = listed[code] or core.ERROR_LUA
    local err = core.new_error(known, tostring(message or native.error_text(known)))
    if code > 0 then
        err.code = code
    end
    return err
end
-- The names that Tarantool has for what is the same here.
for theirs, ours in pairs({
    ACCESS_DENIED = 'ACCESS', EXACT_MATCH = 'INVALID', ILLEGAL_PARAMS = 'INVALID', MEMORY_ISSUE = 'MEMORY',
    NO_SUCH_FUNCTION = 'NOT_FOUND', NO_SUCH_INDEX_NAME = 'NOT_FOUND', NO_SUCH_SEQUENCE = 'NOT_FOUND',
    NO_SUCH_SPACE = 'NOT_FOUND', NO_SUCH_USER = 'NOT_FOUND', PROC_LUA = 'LUA', SPACE_EXISTS = 'EXISTS',
    TRANSACTION_CONFLICT = 'CONFLICT', TUPLE_FOUND = 'DUPLICATE', WRONG_INDEX_OPTIONS = 'SCHEMA',
}) do
    codes[theirs] = codes[ours]
end
codes.new = new_error

--- box.error.last(): the one that was raised last in this request or fiber, caught or not; nil: none.
codes.last = native.error_last

--- box.error.clear(): there is none.
function codes.clear()
    native.error_set(nil)
end

--- box.error.set(error): it is the last one.
function codes.set(err)
    if not core.is_error(err) then
        core.raise(core.ERROR_INVALID, 'box.error.set needs an error object, as box.error.new makes one')
    end
    native.error_set(err)
end

--- What box.error(..) raises: an error object as it is; without arguments the last one, if there is one.
local function error_of(...)
    if select('#', ...) == 0 then
        return native.error_last()
    elseif core.is_error((...)) then
        return (...)
    end
    local err = new_error(...)
    return err
end

local box_error = core.object(codes, {
    __call = function(_, ...)
        local err = error_of(...)
        if err then
            native.error_set(err)
            error(err, 0)
        end
    end,
})

local function info()
    local result = native.info()
    result.lua = { memory = native.memory(), variant = native.variant() }
    result.schema_version = api.schema_version(runtime)
    result.checkpoint = native.checkpoint_info()
    return result
end

--- A table that is asked for anew each time: called, or by one of its fields.
local function view(get)
    return core.object(function(_, key) return get()[key] end, { __call = get, serialize = get })
end

local box_stat = core.object({
    txn = view(native.stat_txn),
    locks = view(native.stat_locks),
    memory = view(native.stat_memory),
    io = view(native.stat_io),
    lsm = view(native.stat_lsm),
    watch = view(watch.statistics),
    schema = view(native.stat_schema),
}, {
    __call = function() return native.statistics() end,
    serialize = function() return native.statistics() end,
})

local box_info = view(info)

local box_cfg = core.object(function(_, key) return native.options()[key] end, {
    __call = function(_, options) native.configure(options or {}) end,
    serialize = function() return native.options() end,
})

-- --------------------------------------------------------------------------------------- box

for _, event in ipairs({ 'on_connect', 'on_disconnect', 'on_auth' }) do
    user.session[event] = trigger.of_session(event)
end

local compile_eval -- set below
local steps = stepper.new(function(text) return compile_eval(text) end)
local debugging = require('box.debug')
for name, fn in pairs(steps.functions) do
    debugging[name] = fn
end

local fields = {
    NULL = core.NULL,
    atomic = transaction.atomic,
    begin = transaction.begin,
    cfg = box_cfg,
    --- Asks for a checkpoint; in a file it waits for the end, outside of a transaction.
    checkpoint = native.checkpoint,
    commit = transaction.commit,
    debug = core.object(debugging),
    error = box_error,
    func = schema.func,
    index = space.index,
    info = box_info,
    is_in_txn = transaction.is_in_txn,
    notify = transaction.notify,
    once = migration.once,
    --- Seconds since 1970; inside of a transaction always the time of its beginning.
    now = function() return api.now(runtime) end,
    on_commit = transaction.on_commit,
    on_rollback = transaction.on_rollback,
    rollback = transaction.rollback,
    rollback_to_savepoint = transaction.rollback_to_savepoint,
    savepoint = transaction.savepoint,
    schema = schema.schema,
    sequence = sequence.sequence,
    session = core.object(user.session),
    space = space.space,
    stat = box_stat,
    tuple = core.object({
        new = tuple.new,
        from_msgpack = tuple.from_msgpack,
        is = tuple.is,
        format = core.object({ new = tuple.new_format, is = tuple.is_format }),
    }),
    txn_isolation_level = transaction.levels,
    --- Whether a space and its indexes are what they have to be.
    verify = verify,
    --- Calls a function for each change of a space.
    watch = watch.watch,
}
if native.trusted then
    --- Waits until everything done so far is durable.
    fields.sync = native.wait
end
local globals = { redis = script.redis() } -- and box, in a moment
fields.module = core.object(stored_module.new(globals))
schema.fields.watch = core.object(watch.functions)
schema.fields.migration = core.object(migration.new(globals))
local box = core.object(fields, {
    serialize = function() return { version = native.info().version } end,
})

globals.box = box
local scripts = script.new(box)
local redis_functions = require('box.redis_function').new(box)
trigger.set_globals(globals)
view_module.set_globals(globals)
watch.set_globals(globals)
local environment_of = function() return _G end
function sandbox.find_module(name)
    return stored_module.require(name, globals)
end
if native.trusted then
    _G.box, _G.redis, _G.pairs = box, globals.redis, core.pairs
    for name, fn in pairs(require('box.coroutine')) do
        rawset(coroutine, name, fn)
    end
    -- behind preloaded modules and before files
    table.insert(package.loaders, 2, function(name)
        local value = stored_module.require(name, globals)
        return value ~= nil and function() return value end
            or ("\n\tno module '%s' in the database"):format(name)
    end)
else
    -- What the text of one user leaves behind is not what that of another meets.
    local environments, number, NUMBER_MAX = {}, 0, 256
    environment_of = function(id)
        if not environments[id] then
            if number == NUMBER_MAX then
                environments, number = {}, 0
            end
            environments[id], number = sandbox.shared_environment(globals), number + 1
        end
        return environments[id]
    end
    sandbox.protect_strings()
end

--- For box.schema.func.create: raises what is wrong with a body.
function native.compile(name, body)
    procedure.check(name, body)
end

-- Every state draws numbers of its own, and so does a run that is repeated: the generator goes on.
math.randomseed(native.seed())
local randomseed = math.randomseed

-- What the sandbox's require gives: loaded now, since the globals are taken away from an untrusted state.
for _, name in ipairs({
    'json', 'msgpack', 'clock', 'log', 'fiber', 'socket', 'http.client', 'fun', 'decimal', 'uuid', 'datetime',
    'digest', 'crypto', 'yaml', 'fio', 'varbinary',
}) do
    require(name)
end

function compile_eval(text)
    return procedure.compile_eval(text, environment_of(native.euid()))
end

package.loaded['box.hooks'] = {
    null = core.NULL,
    classify = core.classify,
    make = core.make,
    serializers = core.serializers,
    raise = core.raise,
    compile_procedure = function(name, body, options)
        return procedure.compile(name, body, globals, options)
    end,
    compile_eval = compile_eval,
    put_transaction_away = core.put_transaction_away,
    schema_command = require('box.schema_command'),
    session_ended = function(id)
        user.session_ended(id)
        steps.session_ended(id)
    end,
    reseed = function() randomseed(native.seed()) end,
    transaction_ended = transaction.ended,
    transaction_begun = trigger.begun,
    transaction_marks = transaction.marks,
    run_triggers = trigger.run,
    run_event = trigger.run_event,
    fiber_ended = core.fiber_ended,
    settle_modules = function(hosts)
        host.settle(hosts, globals)
        watch.settle(hosts)
    end,
    script = scripts.prepare,
    script_load = scripts.load,
    script_find = scripts.find,
    script_flush = scripts.flush,
    function_find = redis_functions.find,
    function_prepare = redis_functions.prepare,
    function_command = redis_functions.command,
}

return box
