-- SPDX-License-Identifier: Apache-2.0
--
-- box.schema.func and box.func: stored procedures made, replaced, brought back, dropped and called.

local core = require('box.core')
local procedure = require('box.procedure')
local transaction = require('box.transaction')

local native, api, runtime = core.native, core.api, core.runtime
local raise = core.raise

local func = {}

local function check_name(name)
    if type(name) ~= 'string' then
        raise(core.ERROR_INVALID, 'the name of a procedure is a string')
    end
end

local function check_options(options)
    if options ~= nil and type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'options are a table')
    end
end

-- --------------------------------------------------------------------------- made and changed

local functions = {}

--- A limit as a whole number of what the catalog counts in; nil: there is none.
local function limit_of(options, name, unit)
    local value = options[name]
    if value == nil then
        return nil
    end
    if type(value) ~= 'number' or value ~= value or value <= 0 or value * unit > 2 ^ 53 then
        raise(core.ERROR_INVALID, ('option "%s" of a procedure is a number above 0'):format(name))
    end
    return math.ceil(value * unit)
end

--- box.schema.func.create(name, {body or module, if_not_exists, replace, isolation, readonly,
--- transaction, setuid, args, returns, timeout, memory, rows_max, comment, is_deterministic, language})
function functions.create(name, options)
    check_name(name)
    check_options(options)
    options = options or {}
    if options.module == nil and type(options.body) ~= 'string' then
        raise(core.ERROR_INVALID, 'a procedure needs a body, which is Lua source in a string')
    end
    local given = {}
    for key, value in pairs(options) do
        given[key] = value
    end
    given.args = procedure.check_declared('args', options.args)
    given.returns = procedure.check_declared('returns', options.returns)
    given.timeout, given.timeout_ms = nil, limit_of(options, 'timeout', 1000)
    given.memory, given.rows_max = limit_of(options, 'memory', 1), limit_of(options, 'rows_max', 1)
    if options.body ~= nil then
        procedure.check(name, options.body)
    end
    native.func_create(name, given)
end

--- box.schema.func.drop(name, {if_exists})
function functions.drop(name, options)
    check_name(name)
    check_options(options)
    if options and options.if_exists and not functions.exists(name) then
        return
    end
    native.func_drop(name)
end

--- box.schema.func.exists(name)
---@return boolean
function functions.exists(name)
    check_name(name)
    return native.function_info(name) ~= nil
end

--- box.schema.func.rename(name, new name)
function functions.rename(name, to)
    check_name(name)
    check_name(to)
    native.func_rename(name, to)
end

--- box.schema.func.restore(name, version): makes what the procedure was in that version a new one.
function functions.restore(name, version)
    check_name(name)
    if type(version) ~= 'number' then
        raise(core.ERROR_INVALID, 'a version is a number')
    end
    native.func_restore(name, version)
end

--- What is shown of the options that the catalog keeps.
local function describe(name, id, owner, body, options)
    return {
        id = id,
        name = name,
        owner = native.user_name(owner),
        body = not options.module and body or nil,
        module = options.module,
        version = options.version or 1,
        time = options.time and options.time / 1000 or nil,
        language = 'LUA',
        isolation = options.isolation,
        readonly = options.readonly or false,
        transaction = options.transaction ~= false,
        setuid = options.setuid or false,
        args = options.args,
        returns = options.returns,
        timeout = options.timeout_ms and options.timeout_ms / 1000 or nil,
        memory = options.memory,
        rows_max = options.rows_max,
        comment = options.comment,
        is_deterministic = options.is_deterministic or false,
    }
end

--- box.schema.func.info(name): a table, or nil.
function functions.info(name)
    check_name(name)
    local found = native.function_info(name)
    return found and describe(name, found.id, found.owner, found.body, found.options) or nil
end

--- box.schema.func.list(): all of them, in the order in which they were made.
function functions.list()
    local result = {}
    for position, name in ipairs(native.functions()) do
        result[position] = functions.info(name)
    end
    return result
end

--- box.schema.func.versions(name): the former ones that are kept and the present one, the newest last.
function functions.versions(name)
    check_name(name)
    local present = functions.info(name)
    if not present then
        raise(core.ERROR_NOT_FOUND, 'there is no procedure ' .. name)
    end
    local result = {}
    for position, former in ipairs(native.function_former(name)) do
        local each = describe(name, present.id, former[2], former[3], former[4])
        each.version = former[1]
        result[position] = each
    end
    result[#result + 1] = present
    return result
end

func.functions = functions

-- --------------------------------------------------------------------------------- called

local many = math.huge

local function run(description, fn, ...)
    if not description.transaction or transaction.is_in_txn() then
        return fn(...)
    end
    local flags = description.readonly and 1 or 0
    return transaction.run(description.level, flags, 0, many, fn, ...)
end

-- How deep procedures call each other: deeper, they are taken for a recursion without an end.
local DEPTH_MAX = 100
local depths, chain = setmetatable({}, { __mode = 'k' }), {}
local running, main = coroutine.running, {}

local function too_deep()
    raise(core.ERROR_LUA, ('procedures call each other more than %d deep: %s > ..'):format(DEPTH_MAX,
        table.concat(chain, ' > ', 1, 5)))
end

--- Ends a call: puts back what was in force before it.
local function left(thread, before, limits, ok, ...)
    depths[thread] = before
    if limits then
        native.limits_leave(limits)
    end
    if not ok then
        error((...), 0)
    end
    return ...
end

local function call_within(description, fn, ...)
    local thread = running() or main
    local before = depths[thread] or 0
    if before >= DEPTH_MAX then
        too_deep()
    end
    depths[thread], chain[before + 1] = before + 1, description.name
    if not description.limited then
        return left(thread, before, nil, xpcall(run, native.traced, description, fn, ...))
    elseif description.transaction or transaction.is_in_txn() or native.fiber_current() == 0 then
        return left(thread, before, nil,
            xpcall(native.limited, native.traced, description.name, run, description, fn, ...))
    end -- it may sleep, which it can't in a call of C; beyond its limits the fiber ends
    local limits = native.limits_enter(description.name)
    return left(thread, before, limits, xpcall(run, native.traced, description, fn, ...))
end

--- What runs for its owner gets copies of the arguments: nothing of the caller's is called by it.
local function call(description, ...)
    local fn = native.procedure(description.name)
    if description.setuid and description.owner ~= native.euid() then
        return native.run_as(description.owner, call_within, description, fn, native.copies(...))
    end
    return call_within(description, fn, ...)
end

local known, known_version = {}, -1

local function find_function(_, name)
    local version = api.schema_version(runtime)
    if version ~= known_version then
        known = {}
        known_version = version -- last: the time of a request may be over anywhere
    end
    local object = known[name]
    if object == nil and type(name) == 'string' then
        local description = native.function_info(name)
        if description == nil then
            return nil
        end
        object = core.object({
            id = description.id,
            name = description.name,
            body = description.body,
            version = description.version,
            call = function(_, arguments)
                arguments = arguments or {}
                return call(description, unpack(arguments, 1, table.maxn(arguments)))
            end,
            drop = function() functions.drop(name) end,
        }, {
            __call = function(_, ...) return call(description, ...) end,
            serialize = function()
                return { id = description.id, name = description.name, body = description.body }
            end,
        })
        known[name] = object
    end
    return object
end

--- box.func
func.objects = core.object(find_function, {
    serialize = function() return native.functions() end,
})

return func
