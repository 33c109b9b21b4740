-- SPDX-License-Identifier: Apache-2.0
--
-- box.schema and box.func: spaces and stored procedures made and dropped, procedures called.

local core = require('box.core')
local definition = require('box.definition')
local space = require('box.space')
local transaction = require('box.transaction')
local trigger = require('box.trigger')
local user = require('box.user')

local native, api, runtime = core.native, core.api, core.runtime

local function check_name(name, what)
    if type(name) ~= 'string' then
        core.raise(core.ERROR_INVALID, 'the name of a ' .. what .. ' is a string')
    end
end

local function check_options(options)
    if options ~= nil and type(options) ~= 'table' then
        core.raise(core.ERROR_INVALID, 'options are a table')
    end
end

-- ------------------------------------------------------------------------------------ spaces

local space_functions = {}

--- box.schema.space.create(name, {engine, format, id, if_not_exists})
function space_functions.create(name, options)
    check_name(name, 'space')
    check_options(options)
    native.space_create(name, definition.space(options))
    return space.space[name]
end

--- box.schema.space.drop(name or id)
function space_functions.drop(which)
    local object = space.space[which]
    if object == nil then
        core.raise(core.ERROR_NOT_FOUND, 'there is no space ' .. tostring(which))
    end
    object:drop()
end

-- -------------------------------------------------------------------------------- procedures

local func_functions = {}

--- box.schema.func.create(name, {body, if_not_exists, replace, isolation, readonly, transaction, setuid})
function func_functions.create(name, options)
    check_name(name, 'procedure')
    check_options(options)
    if type(options) ~= 'table' or type(options.body) ~= 'string' then
        core.raise(core.ERROR_INVALID, 'a procedure needs a body, which is Lua source in a string')
    end
    native.compile(name, options.body)
    native.func_create(name, options)
end

--- box.schema.func.drop(name, {if_exists})
function func_functions.drop(name, options)
    check_name(name, 'procedure')
    check_options(options)
    if options and options.if_exists and not func_functions.exists(name) then
        return
    end
    native.func_drop(name)
end

--- box.schema.func.exists(name)
---@return boolean
function func_functions.exists(name)
    check_name(name, 'procedure')
    return native.function_info(name) ~= nil
end

local many = math.huge

local function run(description, fn, ...)
    if not description.transaction or transaction.is_in_txn() then
        return fn(...)
    end
    local flags = description.readonly and 1 or 0
    return transaction.run(description.level, flags, 0, many, fn, ...)
end

--- What runs for its owner gets copies of the arguments: nothing of the caller's is called by it.
local function call(self, arguments)
    local description = self.description
    local fn = native.procedure(description.name)
    arguments = arguments or {}
    local count = table.maxn(arguments)
    if description.setuid and description.owner ~= native.euid() then
        return native.run_as(description.owner, run, description, fn,
            native.copies(unpack(arguments, 1, count)))
    end
    return run(description, fn, unpack(arguments, 1, count))
end

local functions, functions_version = {}, -1

local function find_function(_, name)
    local version = api.schema_version(runtime)
    if version ~= functions_version then
        functions, functions_version = {}, version
    end
    local object = functions[name]
    if object == nil and type(name) == 'string' then
        local description = native.function_info(name)
        if description == nil then
            return nil
        end
        local hidden = { description = description }
        object = core.object({
            id = description.id,
            name = description.name,
            body = description.body,
            call = function(_, arguments) return call(hidden, arguments) end,
        }, {
            __call = function(_, ...) return call(hidden, { ... }) end,
            serialize = function()
                return { id = description.id, name = description.name, body = description.body }
            end,
        })
        functions[name] = object
    end
    return object
end

local fields = {
    space = core.object(space_functions),
    func = core.object(func_functions),
    trigger = core.object(trigger.functions),
    role = user.role,
    user = user.user,
}

return {
    fields = fields, -- for those who add to box.schema
    schema = core.object(fields),
    func = core.object(find_function, {
        serialize = function() return native.functions() end,
    }),
}
