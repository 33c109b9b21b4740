-- SPDX-License-Identifier: Apache-2.0
--
-- Changes of the schema as clients ask for them over the wire, SPACE.CREATE and its kin: a name and
-- plain values. Options are those of box.schema.space.create, space:alter, space:create_index and
-- index:alter; what may not be left out is checked here, since a request is no Lua code with a line
-- to point to.

local core = require('box.core')
local schema = require('box.schema')
local space = require('box.space')

local native, raise = core.native, core.raise

local function check_name(name, what)
    if type(name) ~= 'string' or name == '' then
        raise(core.ERROR_INVALID, ('the name of %s is a string, and not empty'):format(what))
    end
end

local function check_options(options)
    if options == nil then
        return {}
    end
    if type(options) ~= 'table' or #options > 0 then
        raise(core.ERROR_INVALID, 'the options are a map')
    end
    local given = {} -- nil means that it is not
    for key, value in pairs(options) do
        if value ~= nil then
            given[key] = value
        end
    end
    return given
end

local function space_of(name)
    check_name(name, 'a space')
    local found = native.space(name) and space.space[name]
    if not found then
        raise(core.ERROR_NOT_FOUND, ("there is no space '%s'"):format(name))
    end
    return found
end

local function index_of(space_name, name)
    local owner = space_of(space_name)
    check_name(name, 'an index')
    local found = owner.index[name]
    if found == nil then
        raise(core.ERROR_NOT_FOUND, ("space %s has no index '%s'"):format(space_name, name))
    end
    return found
end

local commands = {}

--- The id of the new space.
function commands.space_create(name, options)
    check_name(name, 'a space')
    options = check_options(options)
    return schema.schema.space.create(name, options).id
end

function commands.space_alter(name, options)
    space_of(name):alter(check_options(options))
    return true
end

function commands.space_truncate(name)
    space_of(name):truncate()
    return true
end

function commands.space_drop(name)
    space_of(name):drop()
    return true
end

--- What there is to know of a space, for those who may read it.
function commands.space_info(name)
    local found = space_of(name)
    native.space_readable(found.id)
    return found
end

--- The names of those that the user may read, without those of the system.
function commands.space_list()
    local names = {}
    for _, name in ipairs(native.spaces()) do
        if name:sub(1, 1) ~= '_' and pcall(native.space_readable, space.space[name].id) then
            names[#names + 1] = name
        end
    end
    return names
end

--- The procedures that the user may call, with what is declared of them.
function commands.callable()
    local found = {}
    for _, name in ipairs(native.functions()) do
        local info = native.function_info(name)
        if info and info.body then -- which is shown to those who may
            local options = info.options or {}
            found[#found + 1] = {
                name = name,
                params = options.args,
                returns = options.returns,
                summary = options.comment,
                readonly = info.readonly,
                transaction = info.transaction,
            }
        end
    end
    return found
end

--- Reads of a space without an index: of a view, or an error.
---@param method 'get' | 'get_many' | 'select' | 'count'
function commands.space_read(name, method, key, options)
    local found = space_of(name)
    if method == 'get' or method == 'get_many' then
        return found[method](found, key)
    end
    return found[method](found, key, options)
end

--- The id of the new index.
function commands.index_create(space_name, name, options)
    local owner = space_of(space_name)
    check_name(name, 'an index')
    return owner:create_index(name, check_options(options)).id
end

function commands.index_alter(space_name, name, options)
    index_of(space_name, name):alter(check_options(options))
    return true
end

function commands.index_drop(space_name, name)
    index_of(space_name, name):drop()
    return true
end

return function(name, ...)
    return commands[name](...)
end
