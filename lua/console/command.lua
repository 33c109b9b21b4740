-- SPDX-License-Identifier: Apache-2.0
--
-- The console's own commands, which begin with a backslash.

local help = require('console.help')
local setting = require('console.setting')
local stepper = require('console.stepper')
local tutorial = require('console.tutorial')

local command = {}

local commands = {}

function commands.help(console, argument)
    help.run(console, argument)
end
commands['?'] = commands.help

function commands.q(console)
    console.leaving = true
end
commands.quit = commands.q

function commands.set(console, argument)
    setting.run(console, argument)
end

function commands.x(console, argument)
    setting.switch(console, 'expanded', argument)
end

function commands.timing(console, argument)
    setting.switch(console, 'timing', argument)
end

function commands.tutorial(console, argument)
    tutorial.run(console, argument)
end

function commands.private(console, argument)
    setting.switch(console, 'private', argument)
end

for _, folder in ipairs({ 'schema', 'file', 'live' }) do
    for name, run in pairs(require('console.' .. folder).commands) do
        commands[name] = run
    end
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
        error({ message = "there is no command '\\" .. name .. "'; \\help lists them" }, 0)
    end
    run(console, argument)
end

--- Names of all commands, sorted.
---@return string[]
function command.names()
    local names = {}
    for name in pairs(commands) do
        names[#names + 1] = '\\' .. name
    end
    table.sort(names)
    return names
end

return command
