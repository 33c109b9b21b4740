-- SPDX-License-Identifier: Apache-2.0
--
-- Definitions of spaces and indexes, as people write them, in the one form that the catalog takes:
-- {'age', 'unsigned', is_nullable = true} is {name = 'age', type = 'unsigned', is_nullable = true}.

local definition = {}

local function copy(options)
    local result = {}
    for key, value in pairs(options) do
        result[key] = value
    end
    return result
end

--- A table with the first two elements under their names.
local function name_elements(element, first, second)
    if type(element) ~= 'table' or next(element) == nil then
        return element
    end
    local result = copy(element)
    if result[first] == nil then
        result[first], result[1] = result[1], nil
    end
    if result[second] == nil then
        result[second], result[2] = result[2], nil
    end
    return result
end

local function each(list, first, second)
    if type(list) ~= 'table' then
        return list
    end
    local result = {}
    for key, element in pairs(list) do
        result[key] = name_elements(element, first, second)
    end
    return result
end

--- A field by number as the catalog counts it, from 0; a name stays.
local function from_zero(field)
    return type(field) == 'number' and field - 1 or field
end

--- {own field = field of that space} as pairs, since keys may be numbers.
local function foreign_key(key)
    if type(key) ~= 'table' or type(key.field) ~= 'table' then
        return key
    end
    local result, pairs_of_fields = copy(key), {}
    for own, other in pairs(key.field) do
        pairs_of_fields[#pairs_of_fields + 1] = { from_zero(own), from_zero(other) }
    end
    result.field = pairs_of_fields
    return result
end

--- Of one alone, {space = .., field = ..}, or of several by name.
local function foreign_keys(keys)
    if type(keys) ~= 'table' then
        return keys
    end
    local named = type(keys.field) == 'table' and keys.field.field ~= nil
    if not named and (keys.field ~= nil or type(keys.space) == 'string' or type(keys.space) == 'number') then
        return foreign_key(keys)
    end
    local result = {}
    for name, key in pairs(keys) do
        result[name] = foreign_key(key)
    end
    return result
end

--- The fields of a format.
function definition.format(format)
    return each(format, 'name', 'type')
end

--- What is changed of a space.
---@param options table?
---@return table
function definition.alter(options)
    local result = copy(options or {})
    result.format = definition.format(result.format)
    result.foreign_key = foreign_keys(result.foreign_key)
    return result
end

--- The options of a space.
---@param options table?
---@return table
function definition.space(options)
    local result = copy(options or {})
    if result.engine == 'memtx' then
        result.engine = 'memory'
    end
    result.format = definition.format(result.format)
    result.foreign_key = foreign_keys(result.foreign_key)
    return result
end

-- ----------------------------------------------------------------------------- what is defined

local function field_name(format, number)
    local field = format[number + 1]
    return field and field.name or number + 1
end

--- Terms [[field, path, operator, value] ..] as they are written; of a field without its name.
local function shown_terms(format, terms, of_field)
    local result = {}
    for position, term in ipairs(terms) do
        local name = field_name(format, term[1])
        if term[2] ~= '' then
            name = tostring(name) .. (term[2]:sub(1, 1) == '[' and '' or '.') .. term[2]
        end
        result[position] = of_field and { term[3], term[4] } or { name, term[3], term[4] }
    end
    return #result == 1 and result[1] or result
end

local function shown_constraints(format, constraints, of_field)
    local result
    for name, constraint in pairs(constraints or {}) do
        result = result or {}
        result[name] = type(constraint) == 'table' and shown_terms(format, constraint, of_field) or constraint
    end
    return result
end

--- `lookup` gives the description of a space by its number.
local function shown_foreign_keys(description, keys, lookup, of_field)
    local result
    for name, key in pairs(keys or {}) do
        local parent = key.space == description.id and description or lookup(key.space) or { format = {} }
        local shown = { space = parent.name or key.space, on_delete = key.on_delete, field = {} }
        shown.on_update = key.on_update
        for _, fields in ipairs(key.field) do
            local other = field_name(parent.format, fields[2])
            if of_field then
                shown.field = other
            else
                shown.field[field_name(description.format, fields[1])] = other
            end
        end
        result = result or {}
        result[name] = shown
    end
    return result
end

--- Format, constraints and foreign keys of a description as people write them.
---@param description table what native.space gives
---@param lookup function
---@return table
function definition.shown(description, lookup)
    local format, flags = {}, description.flags or {}
    for position, field in ipairs(description.format) do
        local shown = copy(field)
        shown.constraint = shown_constraints(description.format, field.constraint, true)
        shown.foreign_key = shown_foreign_keys(description, field.foreign_key, lookup, true)
        format[position] = shown
    end
    return {
        format = format,
        constraint = shown_constraints(description.format, flags.constraint),
        foreign_key = shown_foreign_keys(description, flags.foreign_key, lookup),
    }
end

--- The options of an index. `parts` may be one field alone.
---@param options table?
---@return table
function definition.index(options)
    local result = copy(options or {})
    local parts = result.parts
    if type(parts) == 'number' or type(parts) == 'string' then
        result.parts = { parts }
    else
        result.parts = each(parts, 'field', 'type')
    end
    return result
end

return definition
