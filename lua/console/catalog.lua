-- SPDX-License-Identifier: Apache-2.0
--
-- What the console knows of the server's schema: asked for through eval, and kept until the
-- server's schema version is another one.

local catalog = {}
local methods = {}
methods.__index = methods

-- Answers the version, and all of it when `version` is not the present one.
local QUERY = [[
local known = ...
local version = box.info.schema_version
if version == known then
    return version
end
local spaces, functions = {}, {}
for _, row in box.space._space:pairs() do
    spaces[#spaces + 1] = { id = row[1], name = row[3], engine = row[4], format = row[7], indexes = {} }
    spaces[row[1] .. ''] = spaces[#spaces]
end
for _, row in box.space._index:pairs() do
    local indexes = spaces[row[1] .. ''].indexes
    indexes[#indexes + 1] = { id = row[2], name = row[3], type = row[4], options = row[5], parts = row[6] }
end
for _, row in box.space._func:pairs() do
    functions[#functions + 1] = { name = row[3], body = row[4], options = row[5] }
end
local list = {}
for n = 1, #spaces do
    list[n] = spaces[n]
end
return version, list, functions
]]

--- An empty one; `eval` runs text on the server and raises errors.
---@param eval fun(text: string, ...): any
function catalog.new(eval)
    return setmetatable({ eval = eval, spaces = {}, by_name = {}, functions = {} }, methods)
end

--- Asks the server whether something has changed. Raises what eval raises.
function methods:refresh()
    local answer = self.eval(QUERY, self.version)
    if type(answer) ~= 'table' then
        return
    end
    self.version, self.spaces, self.functions = answer[1], answer[2], answer[3]
    self.by_name = {}
    for _, space in ipairs(self.spaces) do
        self.by_name[space.name] = space
    end
end

--- Names of the fields of a space's format, or nil when there is no such space.
---@param name string
---@return string[]|nil
function methods:field_names(name)
    local space = self.by_name[name]
    if not space then
        return nil
    end
    local names = {}
    for n, field in ipairs(space.format) do
        names[n] = field.name or tostring(n)
    end
    return names
end

--- Types of the fields, with a mark where nil may be, as the names.
---@param name string
---@return string[]|nil
function methods:field_types(name)
    local space = self.by_name[name]
    if not space or #space.format == 0 then
        return nil
    end
    local types = {}
    for n, field in ipairs(space.format) do
        types[n] = (field.type or 'any') .. (field.is_nullable and '?' or '')
    end
    return types
end

--- 'id, name' for the parts of an index.
---@param space table
---@param index table
---@return string
function catalog.parts_text(space, index)
    local names = {}
    for n, part in ipairs(index.parts) do
        local field = space.format[part.field + 1]
        names[n] = field and field.name or tostring(part.field + 1)
    end
    return table.concat(names, ', ')
end

return catalog
