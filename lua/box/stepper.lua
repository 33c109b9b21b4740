-- SPDX-License-Identifier: Apache-2.0
--
-- box.debug.start, go and what can be looked at between: code that is run line by line. The code is a fiber
-- of its own, which C stops (src/lua/stepper.c); whoever asks waits until it has stopped or ended. A session
-- has one at a time.
--
-- Only the functions of users are shown: a built-in one is neither stopped in nor looked into, so nothing
-- that leads out of the sandbox can be got hold of.

local core = require('box.core')
local fiber = require('fiber')
local transaction = require('box.transaction')

local native = core.native
local raise, ERROR_INVALID = core.raise, core.ERROR_INVALID
local getinfo, getlocal, getupvalue, getfenv = debug.getinfo, debug.getlocal, debug.getupvalue, debug.getfenv
local load, setfenv = load, setfenv

local HOW = { continue = 0, step = 1, next = 2, finish = 3 }
local TEXT_MAX, ELEMENTS_MAX, DEPTH_MAX, FRAMES_MAX = 60, 8, 2, 100

local stepper = {}

local function pack(...)
    return { n = select('#', ...), ... }
end

-- ---------------------------------------------------------------------------------- what is there

--- The frames of users' functions, the innermost first: {level, name, line, func}.
local function frames_of(id)
    local thread, line = native.step_place(id)
    local frames, level = {}, 0
    while #frames < FRAMES_MAX do
        local info = getinfo(thread, level, 'Sln')
        if not info then
            break
        elseif info.what ~= 'C' and info.source:sub(1, 1) == '=' and info.source:sub(2, 2) ~= '[' then
            frames[#frames + 1] = {
                level = level, name = info.source:sub(2), func = info.what ~= 'main' and info.name or nil,
                line = level == 0 and line or info.currentline,
            }
        end
        level = level + 1
    end
    return frames
end

--- Calls fn(name, value) for each variable of the function at a level: its locals, the innermost of a name
--- last, and what is around it. Temporary values have names that nobody can write.
local function each_variable(id, level, fn)
    local thread, _, innermost = native.step_place(id)
    local func = getinfo(thread, level, 'f').func
    for position = 1, 250 do
        local name, value = getupvalue(func, position)
        if not name then
            break
        end
        fn(name, value, 'upvalue')
    end
    for position = 1, 250 do
        local name, value
        if level > 0 then
            name, value = getlocal(thread, level, position)
        elseif position * 2 <= innermost.n then
            name, value = innermost[position * 2 - 1], innermost[position * 2]
        end
        if not name then
            break
        elseif name:sub(1, 1) ~= '(' then
            fn(name, value, 'local')
        end
    end
    return func
end

local function varargs_of(id, level)
    local thread = native.step_place(id)
    local values, number = {}, 0
    for position = 1, 250 do
        local name, value = getlocal(thread, level, -position)
        if not name then
            break
        end
        values[position], number = value, position
    end
    return values, number
end

--- Where an expression finds the frame's variables; behind them what its function finds.
local function scope_of(id, level)
    local values, there = {}, {}
    local func = each_variable(id, level, function(name, value)
        values[name], there[name] = value, true
    end)
    local globals = getfenv(func)
    local metatable = {
        __index = function(_, name)
            if there[name] then
                return values[name]
            end
            return globals[name]
        end,
        __newindex = function(_, name)
            error(("what is looked at can't be changed: '%s'"):format(tostring(name)), 2)
        end,
        __metatable = 'protected',
    }
    core.guarded[metatable] = true
    return setmetatable({}, metatable)
end

local function compile(text)
    local fn = load('return ' .. text, '=print', 't', {})
    if fn then
        return fn
    end
    local message
    fn, message = load(text, '=print', 't', {})
    if not fn then
        error(message, 0)
    end
    return fn
end

--- What a function that `compile` has made gives in a frame, within the transaction that the code is in.
local function evaluate(run, level, fn)
    setfenv(fn, scope_of(run.id, level))
    local values, number = varargs_of(run.id, level)
    return native.step_within(run.id, fn, unpack(values, 1, number))
end

local describe

local function describe_table(value, depth)
    local parts, number = {}, 0
    for key, each in next, value do
        number = number + 1
        if number > ELEMENTS_MAX then
            parts[number] = '..'
            break
        end
        local shown = describe(each, depth + 1)
        if key ~= number then
            local name = type(key) == 'string' and key or '[' .. describe(key, depth + 1) .. ']'
            shown = name .. ' = ' .. shown
        end
        parts[number] = shown
    end
    return '{' .. table.concat(parts, ', ') .. '}'
end

--- A value as a line. Nothing of the user's is called.
function describe(value, depth)
    local kind = type(value)
    if kind == 'string' then
        return #value > TEXT_MAX and ('%q'):format(value:sub(1, TEXT_MAX)) .. '..' or ('%q'):format(value)
    elseif kind == 'table' and debug.getmetatable(value) == nil then
        return depth < DEPTH_MAX and describe_table(value, depth) or '{..}'
    elseif kind == 'table' and not core.guarded[debug.getmetatable(value)] then
        return core.is_error(value) and tostring(rawget(value, 'message')) or '{..}'
    elseif kind == 'function' or kind == 'thread' then
        return kind
    end
    local text = tostring(value)
    return #text > TEXT_MAX * 4 and text:sub(1, TEXT_MAX * 4) .. '..' or text
end

-- ------------------------------------------------------------------------------------ breakpoints

local function check_points(list)
    if type(list) ~= 'table' then
        raise(ERROR_INVALID, 'breakpoints are a list: {{name, line[, condition]}, ..}')
    end
    local result, conditions = {}, {}
    for position, point in ipairs(list) do
        local name, line, condition
        if type(point) == 'table' then
            name, line, condition = point[1], point[2], point[3]
        end
        if type(name) ~= 'string' or type(line) ~= 'number' or line < 1 or line > 1e6
            or (condition ~= nil and condition ~= core.NULL and type(condition) ~= 'string') then
            raise(ERROR_INVALID, 'a breakpoint is {name, line[, condition]}: the name of a procedure, a '
                .. 'number, and Lua')
        end
        if condition == core.NULL then
            condition = nil
        elseif condition then
            conditions[position] = compile(condition)
        end
        result[position] = { name, math.floor(line), condition }
    end
    return result, conditions
end

-- ---------------------------------------------------------------------------------------- running

-- By session: {id, fiber, points, conditions, results, failed}
local runs = {}

local function present()
    native.step_check()
    local run = runs[native.session_id()]
    if not run then
        raise(ERROR_INVALID, 'nothing runs here: box.debug.start(text)')
    end
    return run
end

local function forget(session, run)
    if runs[session] == run then
        runs[session] = nil
    end
end

--- Which breakpoint it has stopped at; false: one whose condition does not hold. nil: at none.
local function point_of(run, place)
    local any
    for position, point in ipairs(run.points) do
        if point[1] == place.name and point[2] == place.line then
            any = false
            local ok, holds = true, true
            if run.conditions[position] then
                ok, holds = pcall(evaluate, run, place.level, run.conditions[position])
            end
            if not ok then
                local text = type(holds) == 'table' and holds.message or tostring(holds)
                return position, 'the condition failed: ' .. tostring(text)
            elseif holds then
                return position
            end
        end
    end
    return any
end

--- nil: it is only at a breakpoint that does not count.
local function stopped_at(run, stepped)
    local place = frames_of(run.id)[1]
    local point, problem = point_of(run, place)
    if point == false and not stepped then
        return nil
    end
    return {
        state = 'stopped', name = place.name, line = place.line, func = place.func,
        breakpoint = point or nil, problem = problem,
    }
end

local function ended(session, run)
    forget(session, run)
    local results = pack(run.fiber:join())
    if not results[1] then
        error(results[2], 0)
    elseif run.failed then
        error(run.results, 0)
    end
    local values = {}
    for position = 1, run.results.n do
        local value = run.results[position]
        values[position] = value == nil and core.NULL or value
    end
    return { state = 'ended', results = values }
end

--- Waits until it has stopped or ended.
local function wait(session, run)
    while true do
        local state, stepped = native.step_state(run.id)
        if state == nil then
            return ended(session, run)
        elseif state == 'stopped' then
            local place = stopped_at(run, stepped)
            if place then
                return place
            end
            native.step_go(run.id)
        elseif core.pause() then
            fiber.testcancel()
        end
    end
end

--- Code that ends within a transaction of its own fails, as text does that is not run line by line.
local function left_open()
    pcall(transaction.rollback)
    return core.new_error(ERROR_INVALID,
        'the transaction that was begun has not been ended; it is rolled back')
end

local functions = {}

local known = { breakpoints = true, step = true, arguments = true }

--- box.debug.start(text[, {breakpoints = {{name, line[, condition]}, ..}, step, arguments}]): runs it until
--- it stops or ends. Gives {state = 'stopped', name, line, func, breakpoint} or {state = 'ended', results}.
local function start(compile_eval, text, options)
    options = options or {}
    native.step_check()
    if type(text) ~= 'string' or type(options) ~= 'table'
        or (options.arguments ~= nil and type(options.arguments) ~= 'table') then
        raise(ERROR_INVALID, 'box.debug.start(text[, {breakpoints, step, arguments}])')
    end
    for name in pairs(options) do
        if not known[name] then
            raise(ERROR_INVALID, 'box.debug.start has no option ' .. tostring(name))
        end
    end
    local session = native.session_id()
    if runs[session] and native.step_state(runs[session].id) then
        raise(ERROR_INVALID, 'something runs here already: box.debug.go or box.debug.quit')
    end
    native.fiber_check()
    local body = compile_eval(text)
    local points, conditions = check_points(options.breakpoints or {})
    local arguments = options.arguments or {}
    local run = { points = points, conditions = conditions }
    run.fiber = fiber.new(function()
        local results = pack(xpcall(body, native.traced, unpack(arguments, 1, table.maxn(arguments))))
        run.failed = not results[1]
        run.results = run.failed and results[2] or pack(unpack(results, 2, results.n))
        if not run.failed and transaction.is_in_txn() then
            run.failed, run.results = true, left_open()
        end
    end)
    run.fiber:set_joinable(true)
    run.id = run.fiber:id()
    native.step_begin(run.id, options.step == true)
    native.step_points(run.id, points)
    native.session_kept()
    runs[session] = run
    return wait(session, run)
end

--- box.debug.go(how): 'continue', 'step', 'next' or 'finish'; gives what start gives.
function functions.go(how)
    local run = present()
    if not HOW[how] then
        raise(ERROR_INVALID, "box.debug.go('continue', 'step', 'next' or 'finish')")
    end
    native.fiber_check()
    native.step_go(run.id, HOW[how])
    return wait(native.session_id(), run)
end

--- box.debug.breakpoints([list]): sets those of what runs; gives them.
function functions.breakpoints(list)
    local run = present()
    if list ~= nil then
        local points, conditions = check_points(list)
        native.step_points(run.id, points)
        run.points, run.conditions = points, conditions
    end
    return run.points
end

--- box.debug.frames(): {name, line, func} of the functions that have called each other, the innermost first.
function functions.frames()
    local frames = frames_of(present().id)
    for _, frame in ipairs(frames) do
        frame.level = nil
    end
    return frames
end

local function level_of(run, frame)
    local frames = frames_of(run.id)
    local found = frames[frame or 1]
    if not found then
        raise(ERROR_INVALID, ('there are %d frames'):format(#frames))
    end
    return found.level
end

--- box.debug.locals([frame]): {name, value as text, 'local' or 'upvalue'} of a frame, by its number.
function functions.locals(frame)
    local run = present()
    local result, position = {}, {}
    each_variable(run.id, level_of(run, frame), function(name, value, kind)
        local place = position[name] or #result + 1
        position[name] = place
        result[place] = { name, describe(value, 0), kind }
    end)
    return result
end

--- box.debug.eval(text[, frame]): what Lua gives there, within the transaction of what has stopped.
function functions.eval(text, frame)
    local run = present()
    if type(text) ~= 'string' then
        raise(ERROR_INVALID, 'box.debug.eval(text[, frame])')
    end
    return evaluate(run, level_of(run, frame), compile(text))
end

local function quit(session, run)
    forget(session, run)
    if native.step_state(run.id) then
        pcall(run.fiber.set_joinable, run.fiber, false)
        native.fiber_cancel(run.id)
    end
end

--- box.debug.quit(): what has stopped ends there, and its transaction is rolled back.
function functions.quit()
    quit(native.session_id(), present())
end

--- What box.debug gets, and what is told when a session ends.
function stepper.new(compile_eval)
    function functions.start(text, options)
        return start(compile_eval, text, options)
    end
    return {
        functions = functions,
        session_ended = function(session)
            if runs[session] then
                quit(session, runs[session])
            end
        end,
    }
end

return stepper
