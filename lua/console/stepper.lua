-- SPDX-License-Identifier: Apache-2.0
--
-- Breakpoints and steps in the console. While there are breakpoints, what is typed is run by
-- box.debug.start, and the console shows where it has stopped; the rest is asked of the server, which has
-- the code (lua/box/stepper.lua).

local client = require('client')
local text = require('console.text')

local stepper = {}

local AROUND = 2 -- lines shown before and behind the one that runs next

local function fail(message, ...)
    error({ message = message:format(...) }, 0)
end

-- ------------------------------------------------------------------------------------ breakpoints

local function list_of(console)
    console.breakpoints = console.breakpoints or { last = 0 }
    return console.breakpoints
end

--- As the server takes them.
local function points_of(console)
    local points = {}
    for position, point in ipairs(list_of(console)) do
        points[position] = { point.name, point.line, point.condition }
    end
    return points
end

local function tell_server(console)
    if console.stopped then
        console.eval('box.debug.breakpoints(...)', points_of(console))
    end
end

local function text_of(point)
    return ('%d  %s:%d%s'):format(point.number, text.printable(point.name), point.line,
        point.condition and ' if ' .. text.printable(point.condition) or '')
end

local function add(console, argument)
    local name, line, condition = argument:match('^(%S+):(%d+)%s*(.-)$')
    if not name then
        fail('\\break procedure:line [condition]')
    end
    condition = condition:gsub('^if%s+', '')
    if condition ~= '' and not loadstring('return ' .. condition) then
        fail('the condition is no expression of Lua: %s', condition)
    end
    local list = list_of(console)
    list.last = list.last + 1
    local point = {
        number = list.last, name = name, line = tonumber(line),
        condition = condition ~= '' and condition or nil,
    }
    list[#list + 1] = point
    tell_server(console)
    console:print('breakpoint ' .. text_of(point))
end

local function show(console)
    if #list_of(console) == 0 then
        console:print('there are no breakpoints')
    end
    for _, point in ipairs(list_of(console)) do
        console:print(text_of(point))
    end
end

local function delete(console, argument)
    local list = list_of(console)
    for position = #list, 1, -1 do
        if argument == 'all' or list[position].number == tonumber(argument) then
            table.remove(list, position)
            if argument ~= 'all' then
                return tell_server(console)
            end
        end
    end
    if argument ~= 'all' then
        fail('there is no breakpoint %s: \\breakpoints lists them', argument)
    end
    tell_server(console)
end

-- ------------------------------------------------------------------------------------- running

local BODY = [[
local name = ...
local info = box.schema.func.info(name)
return info and info.body
]]

--- The lines of what has this name; nil when nobody knows them.
local function source_of(console, name)
    if name == 'eval' then
        return console.running
    end
    local ok, body = pcall(console.eval, BODY, name)
    return ok and type(body) == 'string' and body or nil
end

local function show_source(console, frame)
    local source, number = source_of(console, frame.name), 0
    for line in ((source or '') .. '\n'):gmatch('(.-)\n') do
        number = number + 1
        if math.abs(number - frame.line) <= AROUND and (number <= frame.line or line ~= '') then
            local mark = number == frame.line and '>' or ' '
            console:print(('%s %4d  %s'):format(mark, number, text.printable(line, '\t')))
        end
    end
end

local function place_of(frame)
    local func = frame.func and frame.func ~= '' and ' in ' .. text.printable(tostring(frame.func)) or ''
    return ('%s:%d%s'):format(text.printable(tostring(frame.name)), frame.line, func)
end

--- Shows where it has stopped, or what it has given.
local function arrived(console, result, show_result)
    if result.state == 'stopped' then
        console.stopped, console.frame = result, 1
        local point = result.breakpoint and list_of(console)[result.breakpoint]
        console:print(('stopped at %s%s'):format(place_of(result),
            point and ', breakpoint ' .. point.number or ''))
        if result.problem then
            console:print_text(result.problem)
        end
        show_source(console, result)
        return
    end
    console.stopped = nil
    local results = result.results
    show_result(#results <= 1 and results[1] or results)
end

--- Asks the server; what was to be run is over when that fails, unless it has only been refused.
local function ask(console, ...)
    local ok, result = pcall(console.eval, ...)
    if ok then
        return result
    end
    console.stopped = nil
    if type(result) == 'table' and result.code == client.INTERRUPTED and console.db then
        console.db:close() -- the server ends what runs for nobody
        console.db, console.transaction, console.lost = nil, nil, true
    end
    error(result, 0)
end

--- Whether what is typed is run so that it can stop.
function stepper.wanted(console)
    return #list_of(console) > 0 and not console.stopped and not console.transaction
end

--- Runs an input; `show_result` is called with what it gives.
function stepper.run(console, source, step, show_result)
    console.running = source
    local options = { breakpoints = points_of(console), step = step }
    arrived(console, ask(console, 'box.debug.start(...)', source, options), show_result)
end

local function check_stopped(console)
    if not console.stopped then
        fail('nothing has stopped: \\break procedure:line, or \\step and what to run')
    end
end

--- How it goes on; what it has given is shown as if it had just been typed.
local function go(how)
    return function(console, argument)
        local function show_result(value)
            console:show(console.running, value)
        end
        if argument ~= '' and not console.stopped and how == 'step' then
            if console.transaction then
                fail('not in a transaction that is typed: box.atomic can be stepped through')
            end
            return stepper.run(console, argument, true, show_result)
        end
        check_stopped(console)
        if argument ~= '' then
            fail('something has stopped: \\continue, or \\kill, before something else is run')
        end
        arrived(console, ask(console, 'box.debug.go(...)', how), show_result)
    end
end

-- ------------------------------------------------------------------------------------- looking

local function where(console)
    check_stopped(console)
    for number, frame in ipairs(console.eval('box.debug.frames()')) do
        console:print(('%s %d  %s'):format(number == console.frame and '>' or ' ', number, place_of(frame)))
    end
end

local function move(by)
    return function(console)
        check_stopped(console)
        local frames = console.eval('box.debug.frames()')
        local frame = frames[console.frame + by]
        if not frame then
            fail(by > 0 and 'nothing has called this' or 'this has called nothing')
        end
        console.frame = console.frame + by
        console:print(('%d  %s'):format(console.frame, place_of(frame)))
        show_source(console, frame)
    end
end

local function locals(console)
    check_stopped(console)
    for _, variable in ipairs(console.eval('box.debug.locals(...)', console.frame)) do
        local kind = variable[3] == 'upvalue' and '  (from around the function)' or ''
        console:print(('%s = %s%s'):format(text.printable(variable[1]), text.printable(variable[2]), kind))
    end
end

local function print_value(console, argument)
    check_stopped(console)
    if argument == '' then
        fail('\\print expression')
    end
    console:show(argument, console.eval('box.debug.eval(...)', argument, console.frame))
end

local function quit(console)
    check_stopped(console)
    console.stopped = nil
    console.eval('box.debug.quit()')
    console:print('it has ended there, and its transaction is rolled back')
end

--- By their names, as console.command has them.
stepper.commands = {
    ['break'] = add, breakpoints = show, delete = delete,
    step = go('step'), next = go('next'), finish = go('finish'), ['continue'] = go('continue'),
    locals = locals, print = print_value, where = where, up = move(1), down = move(-1), kill = quit,
}

return stepper
