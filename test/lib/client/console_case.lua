-- SPDX-License-Identifier: Apache-2.0
--
-- For tests of the console: a server, and a console behind pipes or in a terminal.

local process = require('process')

local console_case = {}

local WIDE = 250 -- inputs stay on one line behind a prompt that has the path of any socket

--- Runs it with a server and its folder, which are gone afterwards.
---@param run fun(server: table, folder: string)
function console_case.with_server(run, ...)
    local folder = process.folder()
    local server = process.server(folder, ...)
    local ok, problem = pcall(run, server, folder)
    server:kill()
    server:finish()
    process.remove(folder)
    assert(ok, problem)
end

--- Runs the console without a terminal on what `input` says; gives its output and status.
function console_case.piped(server, input, ...)
    local console = process.spawn({ process.perigee, 'console', server.address, ... })
    console:write(input)
    console:close_input()
    return console:finish()
end

--- One in a terminal, behind its first prompt.
---@param more table? variables
function console_case.open(server, home, columns, more)
    local environment = { TERM = 'xterm', HOME = home, NO_COLOR = '', LC_ALL = 'C', PAGER = 'cat' }
    for name, value in pairs(more or {}) do
        environment[name] = value
    end
    local console = process.terminal({ process.perigee, 'console', server.address }, environment,
        columns or WIDE)
    console:expect('help for help\n')
    console:expect('> ')
    return console
end

--- Types an input and waits for what matches `result`, and for the next prompt.
function console_case.enter(console, input, result)
    console:write(input .. '\r')
    console:expect(result)
    console:expect('perigee unix:[^\n]*> ')
end

return console_case
