-- SPDX-License-Identifier: Apache-2.0
--
-- Source to functions: stored procedures and text that somebody typed.
--
-- A procedure's body is `function(..) .. end`, or a chunk that gets the arguments as `...`, or a
-- chunk that returns the function.

local sandbox = require('box.sandbox')

local procedure = {}

--- Where the body begins, behind blanks and comments.
local function skip_comments(body)
    local position = 1
    while true do
        position = body:find('%S', position)
        if not position then
            return ''
        elseif body:find('^%-%-%[%[', position) then
            local _, last = body:find(']]', position, true)
            position = (last or #body) + 1
        elseif body:find('^%-%-', position) then
            position = body:find('\n', position, true) or #body + 1
        else
            return body:sub(position)
        end
    end
end

--- A chunk that returns a function is run once for that function; any other is itself the procedure.
local function of_chunk(chunk)
    local inner
    local function finish(arguments, ...)
        if select('#', ...) == 1 and type(...) == 'function' then
            inner = ...
            return inner(unpack(arguments, 1, arguments.n))
        end
        return ...
    end
    return function(...)
        if inner then
            return inner(...)
        end
        return finish({ n = select('#', ...), ... }, chunk(...))
    end
end

--- Whether a body is `function(..) .. end`.
---@param body string
---@return boolean
function procedure.is_expression(body)
    return skip_comments(body):find('^function%s*%(') ~= nil
end
local is_expression = procedure.is_expression

--- Raises what is wrong with the syntax of a body, without running anything.
---@param name string
---@param body string
function procedure.check(name, body)
    sandbox.compile(is_expression(body) and 'return ' .. body or body, name, {})
end

---@param name string
---@param body string
---@param globals table what the environment has besides the standard library
---@return function
function procedure.compile(name, body, globals)
    local environment = sandbox.environment(globals)
    if is_expression(body) then
        return sandbox.compile('return ' .. body, name, environment)()
    end
    return of_chunk(sandbox.compile(body, name, environment))
end

--- An expression when it is one, else statements. What an expression gives comes behind a nil,
--- because a call in `return call()` would be a tail call, of whose errors nobody knows the line.
---@param text string
---@param environment table
---@return function
function procedure.compile_eval(text, environment)
    local fn = load('return nil, ' .. text, '=eval', 't', environment)
    if not fn then
        return sandbox.compile(text, 'eval', environment)
    end
    return function(...)
        return select(2, fn(...))
    end
end

return procedure
