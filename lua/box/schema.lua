-- SPDX-License-Identifier: Apache-2.0
--
-- box.schema: spaces made and dropped; users and roles, procedures and triggers come from other files.

local core = require('box.core')
local definition = require('box.definition')
local func = require('box.func')
local sequence = require('box.sequence')
local space = require('box.space')
local trigger = require('box.trigger')
local user = require('box.user')
local view = require('box.view')

local native = core.native

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

--- box.schema.space.create(name, {engine, format, id, if_not_exists ..}), with options of the engine
function space_functions.create(name, options)
    check_name(name, 'space')
    check_options(options)
    if options and options.view ~= nil then
        view.check(name, options.view)
    end
    native.space_create(name, definition.space(options))
    return space.space[name]
end

--- box.schema.space.drop(name or id, {if_exists})
function space_functions.drop(which, options)
    check_options(options)
    local object = space.space[which]
    if object == nil then
        if options and options.if_exists then
            return
        end
        core.raise(core.ERROR_NOT_FOUND, 'there is no space ' .. tostring(which))
    end
    object:drop()
end

local fields = {
    space = core.object(space_functions),
    create_space = space_functions.create,
    space_mt = space.space_mt,
    index_mt = space.index_mt,
    func = core.object(func.functions),
    sequence = core.object(sequence.functions),
    trigger = core.object(trigger.functions),
    role = user.role,
    user = user.user,
}

return {
    fields = fields, -- for those who add to box.schema
    schema = core.object(fields),
    func = func.objects,
}
