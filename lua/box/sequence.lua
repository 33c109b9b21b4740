-- SPDX-License-Identifier: Apache-2.0
--
-- box.sequence and box.schema.sequence: numbers that are never given twice.

local core = require('box.core')

local native, api, runtime = core.native, core.api, core.runtime
local raise = core.raise

local sequence = {}

local OPTIONS = { start = true, min = true, max = true, step = true, cache = true, cycle = true }

--- The options that make up a definition, on top of `base`.
local function definition(options, base)
    local result = {}
    for key, value in pairs(base or {}) do
        result[key] = value
    end
    for key, value in pairs(options or {}) do
        if OPTIONS[key] then
            result[key] = value
        elseif key ~= 'if_not_exists' then
            raise(core.ERROR_INVALID, ('a sequence has no option "%s"'):format(tostring(key)))
        end
    end
    return result
end

local function check_options(options)
    if options ~= nil and type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'options are a table')
    end
end

local methods = {}

local function check_self(self, method)
    if type(self) ~= 'table' or type(self.id) ~= 'number' then
        error(('use sequence:%s(..) instead of sequence.%s(..)'):format(method, method), 3)
    end
end

--- The next number. It is not given back when the transaction is rolled back.
function methods.next(self)
    check_self(self, 'next')
    return native.sequence_next(self.id)
end

--- The number that was given last, by anybody.
function methods.current(self)
    check_self(self, 'current')
    return native.sequence_current(self.id)
end

--- As if `last` had been given last.
function methods.set(self, last)
    check_self(self, 'set')
    if last == nil then
        raise(core.ERROR_INVALID, 'set needs a number')
    end
    native.sequence_set(self.id, last)
end

--- Begins anew.
function methods.reset(self)
    check_self(self, 'reset')
    native.sequence_set(self.id, nil)
end

--- Changes options; those that are not given stay.
function methods.alter(self, options)
    check_self(self, 'alter')
    check_options(options)
    local present = native.sequence(self.id)
    if not present then
        raise(core.ERROR_NOT_FOUND, 'the sequence has been dropped')
    end
    local base = { incarnation = present.incarnation }
    for key in pairs(OPTIONS) do
        base[key] = present[key]
    end
    native.sequence_put({ present.id, present.owner, present.name, definition(options, base) }, false)
end

function methods.drop(self)
    check_self(self, 'drop')
    native.sequence_drop(self.id)
end

local function new_object(id, name)
    local fields = setmetatable({ id = id, name = name }, {
        __index = function(_, key)
            if OPTIONS[key] then
                local description = native.sequence(id)
                return description and description[key]
            end
            return methods[key]
        end,
    })
    return core.object(fields, {
        serialize = function()
            local description = native.sequence(id) or {}
            description.incarnation = nil
            return description
        end,
    })
end

local objects, version = {}, -1

--- box.sequence
sequence.sequence = core.object(function(_, key)
    local current = api.schema_version(runtime)
    if current ~= version then
        objects = {}
        version = current -- last: the time of a request may be over anywhere
    end
    local object = objects[key]
    if object == nil then
        local description = native.sequence(key)
        if description == nil then
            return nil
        end
        object = new_object(description.id, description.name)
        objects[key] = object
    end
    return object
end, { serialize = function() return native.sequences() end })

sequence.functions = {}

--- box.schema.sequence.create(name, {start, min, max, step, cycle, cache, if_not_exists})
function sequence.functions.create(name, options)
    if type(name) ~= 'string' or #name == 0 or #name > 255 then
        raise(core.ERROR_INVALID, 'the name of a sequence is a string of 1 to 255 bytes')
    end
    check_options(options)
    if options and options.if_not_exists and native.sequence(name) then
        return sequence.sequence[name]
    end
    local all = definition(options, { incarnation = math.floor(native.seed()) % 2 ^ 52 })
    native.sequence_put({ nil, native.euid(), name, all }, true)
    return sequence.sequence[name]
end

--- box.schema.sequence.drop(name, {if_exists})
function sequence.functions.drop(name, options)
    check_options(options)
    local object = sequence.sequence[name]
    if object then
        object:drop()
    elseif not (options and options.if_exists) then
        raise(core.ERROR_NOT_FOUND, ('there is no sequence "%s"'):format(tostring(name)))
    end
end

-- ---------------------------------------------------------------------------------- for indexes

--- The sequence that the option `sequence` of an index names: its id, the field it fills (from 1, nil:
--- the first part), and whether it was made for the index.
function sequence.of_index(option, space_name)
    local field
    if type(option) == 'table' then
        option, field = option.id == nil and true or option.id, option.field
    end
    if option == true then
        return sequence.functions.create(space_name .. '_seq').id, field, true
    end
    local object = (type(option) == 'string' or type(option) == 'number') and sequence.sequence[option]
    if not object then
        raise(core.ERROR_NOT_FOUND, ('there is no sequence "%s"'):format(tostring(option)))
    end
    return object.id, field, false
end

--- The sequence that was made for the primary key of a space, or nil.
function sequence.made_for(space_name, id)
    local description = id and native.sequence(id)
    if description and description.name == space_name .. '_seq' then
        return sequence.sequence[description.name]
    end
    return nil
end

return sequence
