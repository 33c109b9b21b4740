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

--- The fields of a format.
function definition.format(format)
    return each(format, 'name', 'type')
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
    return result
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
