-- SPDX-License-Identifier: Apache-2.0
--
-- Commands with files: \i runs one, \o writes results into one, \e opens the editor.

local file = {}

local DEPTH_MAX = 16

local commands = {}

local function fail(message, ...)
    error({ message = message:format(...) }, 0)
end

--- The name with ~ as the user's folder.
local function path_of(name)
    local home = os.getenv('HOME')
    return home and (name:gsub('^~/', home .. '/')) or name
end

--- \i FILE: runs its inputs as if they were typed.
function commands.i(console, argument)
    if argument == '' then
        fail('\\i file')
    end
    local input, message = io.open(path_of(argument))
    if not input then
        fail('%s', message)
    end
    local place, interactive, depth = console.place, console.interactive, console.depth or 0
    if depth >= DEPTH_MAX then
        input:close()
        fail('files that run files, deeper than %d', DEPTH_MAX)
    end
    console.depth = depth + 1
    local ok, problem = pcall(console.run_lines, console, input, argument)
    console.place, console.interactive, console.depth = place, interactive, depth
    input:close()
    if not ok then
        error(problem, 0)
    end
end

--- \o FILE: results go there; \o alone: to the terminal again.
function commands.o(console, argument)
    local out, message
    if argument ~= '' then
        out, message = io.open(path_of(argument), 'w')
        if not out then
            fail('%s', message)
        end
    end
    if console.out then
        console.out:close()
    end
    console.out = out
end

local function editor()
    for _, name in ipairs({ 'VISUAL', 'EDITOR' }) do
        local wish = os.getenv(name)
        if wish and wish ~= '' then
            return wish
        end
    end
    return 'vi'
end

local function shell_quote(s)
    return "'" .. s:gsub("'", "'\\''") .. "'"
end

local function write_file(path, content)
    local out = assert(io.open(path, 'w'))
    out:write(content)
    out:close()
end

local function read_file(path)
    local input, message = io.open(path)
    if not input then
        fail('%s', message)
    end
    local content = input:read('*a')
    input:close()
    return content
end

--- Runs the editor on a path; false when it says that it failed.
local function edit(path)
    local status = os.execute(editor() .. ' ' .. shell_quote(path))
    return status == 0 or status == true
end

--- \e: the last input in the editor, and what is saved there is run. \e FILE: that file.
function commands.e(console, argument)
    if argument ~= '' then
        local path = path_of(argument)
        if not edit(path) then
            fail('the editor has failed')
        end
        return commands.i(console, path)
    end
    local path, before = os.tmpname(), (console.last or '') .. '\n'
    write_file(path, before)
    local ok = edit(path)
    local source = ok and read_file(path):gsub('%s+$', '')
    os.remove(path)
    if not ok then
        fail('the editor has failed; nothing is run')
    elseif not source:find('%S') or source .. '\n' == before then
        return console:print('nothing has changed, and nothing is run')
    end
    console:print(source)
    console.remember(source)
    console:run(source)
end

file.commands = commands

return file
