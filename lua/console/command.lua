-- SPDX-License-Identifier: Apache-2.0
--
-- The console's own commands, which begin with a backslash.

local catalog = require('console.catalog')
local stepper = require('console.stepper')
local text = require('console.text')

local command = {}

local SYSTEM_ID_MAX = 511
local BODY_WIDTH_MAX = 60 -- of a procedure's body in the list

local HELP = [[
Lua is run on the server, each input as one piece; an expression's value is shown.

  box.schema.space.create('people', {format = {{'id', 'unsigned'}, {'name', 'string'}}})
  box.space.people:create_index('primary', {parts = {'id'}})
  box.space.people:insert{1, 'Ada'}
  box.space.people:select()

  \d           spaces               \d NAME    one space: fields and indexes
  \df          stored procedures    \df NAME   the body of one
  \timing      show, or do not show, how long it took
  \help        this                 \q         leave (Ctrl-D)

  \break NAME:LINE [CONDITION]      what is run stops there; \breakpoints, \delete N or all
  \step LUA                         runs it, and stops at its first line
  \step, \next, \finish, \continue  one line; not into calls; out of this function; on
  \where, \up, \down, \locals, \print EXPRESSION, \kill

  BEGIN [level] [READ ONLY]         inputs after it are one transaction, until
  COMMIT, ROLLBACK                  (also: box.begin(), box.commit(), box.rollback())
  SAVEPOINT name, ROLLBACK TO name, RELEASE name

Tab completes, Ctrl-C drops what was typed, an input ends when it is a whole piece of Lua.]]

local commands = {}

function commands.help(console)
    console:print(HELP)
end
commands['?'] = commands.help

function commands.q(console)
    console.leaving = true
end
commands.quit = commands.q

function commands.timing(console, argument)
    if argument == 'on' or argument == 'off' then
        console.timing = argument == 'on'
    else
        console.timing = not console.timing
    end
    console:print('timing is ' .. (console.timing and 'on' or 'off'))
end

-- ------------------------------------------------------------------------------------ the schema

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
        console:fail({ message = "there is no space '" .. name .. "'" })
        return
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
            console:print_text(func.body)
            return
        end
    end
    console:fail({ message = "there is no procedure '" .. name .. "'" })
end

function commands.df(console, argument)
    console.catalog:refresh()
    if argument ~= '' then
        return describe_function(console, argument)
    end
    local rows = {}
    for n, func in ipairs(console.catalog.functions) do
        local body = func.body:gsub('%s+', ' ')
        local options = func.options
        rows[n] = {
            func.name,
            options.readonly and 'yes' or 'no',
            options.transaction == false and 'none' or options.isolation or 'serializable',
            text.cut(text.printable(body), BODY_WIDTH_MAX),
        }
    end
    if #rows == 0 then
        console:print('there are no procedures')
        return
    end
    console:print_rows(rows, { 'procedure', 'readonly', 'transaction', 'body' })
end

for name, run in pairs(stepper.commands) do
    commands[name] = run
end

--- Whether the line is a command of the console's.
function command.is(line)
    return line:find('^%s*\\') ~= nil
end

--- Runs it. Raises errors of the client and of the server.
---@param console table
---@param line string
function command.run(console, line)
    local name, argument = line:match('^%s*\\(%S*)%s*(.-)%s*;?%s*$')
    local run = commands[name]
    if not run then
        console:fail({ message = "there is no command '\\" .. name .. "'; \\help lists them" })
        return
    end
    run(console, argument)
end

return command
