-- SPDX-License-Identifier: Apache-2.0
--
-- Commands that say what there is: \d spaces, \df procedures, \dt triggers, \dm modules.

local catalog = require('console.catalog')
local text = require('console.text')

local schema = {}

local SYSTEM_ID_MAX = 511
local BODY_WIDTH_MAX = 60 -- of Lua's text in a list

local commands = {}

local LENGTHS = [[
local lengths = {}
for n, name in ipairs({...}) do
    local ok, length = pcall(function() return box.space[name]:len() end)
    lengths[n] = ok and length or box.NULL
end
return lengths
]]

local function list_spaces(console)
    local rows, names = {}, {}
    for _, space in ipairs(console.catalog.spaces) do
        if space.id > SYSTEM_ID_MAX then
            local fields, indexes = {}, {}
            for n, field in ipairs(space.format) do
                fields[n] = field.name or tostring(n)
            end
            for n, index in ipairs(space.indexes) do
                indexes[n] = index.name
            end
            names[#names + 1] = space.name
            rows[#rows + 1] = {
                space.name, space.engine, 0, table.concat(fields, ', '), table.concat(indexes, ', '),
            }
        end
    end
    if #rows == 0 then
        console:print('there are no spaces')
        return
    end
    for n, length in ipairs(console.eval(LENGTHS, unpack(names))) do
        rows[n][3] = length
    end
    console:print_rows(rows, { 'space', 'engine', 'rows', 'fields', 'indexes' })
end

local function describe_space(console, name)
    local space = console.catalog.by_name[name]
    if not space then
        error({ message = "there is no space '" .. name .. "'" }, 0)
    end
    local fields, indexes = {}, {}
    for n, field in ipairs(space.format) do
        fields[n] = { n, field.name or '', field.type or 'any', field.is_nullable and 'yes' or 'no' }
    end
    for n, index in ipairs(space.indexes) do
        local unique = index.options.unique ~= false
        indexes[n] = { index.name, index.type, unique and 'yes' or 'no', catalog.parts_text(space, index) }
    end
    console:print_rows(fields, { 'field', 'name', 'type', 'nullable' })
    console:print_rows(indexes, { 'index', 'type', 'unique', 'parts' })
end

function commands.d(console, argument)
    console.catalog:refresh()
    if argument == '' then
        list_spaces(console)
    else
        describe_space(console, argument)
    end
end

local function describe_function(console, name)
    for _, func in ipairs(console.catalog.functions) do
        if func.name == name then
            console:emit_text(func.body)
            return
        end
    end
    error({ message = "there is no procedure '" .. name .. "'" }, 0)
end

--- Text of Lua on one line; as it is where a program reads it.
local function short(console, body)
    if console.output ~= 'table' then
        return body
    end
    return text.cut(text.printable((body:gsub('%s+', ' '))), BODY_WIDTH_MAX)
end

function commands.df(console, argument)
    console.catalog:refresh()
    if argument ~= '' then
        return describe_function(console, argument)
    end
    local rows = {}
    for n, func in ipairs(console.catalog.functions) do
        local options = func.options
        rows[n] = {
            func.name,
            options.readonly and 'yes' or 'no',
            options.transaction == false and 'none' or options.isolation or 'serializable',
            short(console, func.body),
        }
    end
    if #rows == 0 then
        console:print('there are no procedures')
        return
    end
    console:print_rows(rows, { 'procedure', 'readonly', 'transaction', 'body' })
end

local TRIGGERS = [=[
local list = {}
for _, row in box.space._trigger:pairs() do
    local options = row[6] or {}
    local space = row[4] ~= 0 and box.space[row[4]]
    list[#list + 1] = { row[3], space and space.name or '', options.event or '', row[5] }
end
return list
]=]

function commands.dt(console, argument)
    local rows = {}
    for _, row in ipairs(console.eval(TRIGGERS)) do
        if argument == row[1] then
            return console:emit_text(row[4])
        elseif argument == '' or argument == row[2] then
            rows[#rows + 1] = { row[1], row[2], row[3], short(console, row[4]) }
        end
    end
    if #rows == 0 and argument ~= '' then
        error({ message = ("there is no trigger '%s', and no space that has any"):format(argument) }, 0)
    elseif #rows == 0 then
        return console:print('there are no triggers')
    end
    console:print_rows(rows, { 'trigger', 'space', 'event', 'body' })
end

local MODULES = [[
local list, known = {}, {}
for _, one in ipairs(box.module.list()) do
    list[#list + 1] = { one.name, one.version, 'yes', one.summary }
    known[one.name] = true
end
for _, one in ipairs(box.module.available({ about = true })) do
    if not known[one.name] then
        list[#list + 1] = { one.name, one.version, 'no', one.summary or '' }
    end
end
return list
]]

function commands.dm(console)
    console:print_rows(console.eval(MODULES), { 'module', 'version', 'installed', 'about' })
end

schema.commands = commands

return schema
