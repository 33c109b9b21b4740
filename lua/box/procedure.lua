-- SPDX-License-Identifier: Apache-2.0
--
-- Source to functions: stored procedures and text that somebody typed.
--
-- A procedure's body is `function(..) .. end`, or a chunk that gets the arguments as `...`, or a
-- chunk that returns the function.

local ffi = require('ffi')
local core = require('box.core')
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

-- ------------------------------------------------------------- declared arguments and results

local int64, uint64 = ffi.typeof('int64_t'), ffi.typeof('uint64_t')

local function is_whole(value, least)
    if type(value) == 'number' then
        return value == math.floor(value) and value >= least and value < 2 ^ 64
    end
    return ffi.istype(uint64, value) or (ffi.istype(int64, value) and (least < 0 or value >= 0LL))
end

local function is_number(value)
    return type(value) == 'number' or ffi.istype(int64, value) or ffi.istype(uint64, value)
end

--- A value with a width that a module of its own gives: a decimal, a uuid ..
local function is_object(value)
    return (type(value) == 'cdata' and not is_number(value)) or type(value) == 'userdata'
end

local function is_table(value)
    return type(value) == 'table'
end

-- Type -> whether a value is of it.
local accepts = {
    any = function() return true end,
    unsigned = function(value) return is_whole(value, 0) end,
    integer = function(value) return is_whole(value, -2 ^ 63) end,
    number = is_number,
    double = is_number,
    string = function(value) return type(value) == 'string' end,
    varbinary = function(value) return type(value) == 'string' end,
    boolean = function(value) return type(value) == 'boolean' end,
    table = is_table,
    array = is_table,
    map = is_table,
    tuple = function(value) return type(value) == 'table' or ffi.istype(core.tuple_type, value) end,
    scalar = function(value) return type(value) ~= 'table' end,
    decimal = function(value) return is_object(value) or is_number(value) end,
    uuid = is_object,
    datetime = is_object,
    interval = is_object,
}

local numeric = { unsigned = true, integer = true, number = true, double = true }

--- Whether digits say no more than others do.
local function up_to(digits, most)
    return #digits < #most or (#digits == #most and digits <= most)
end

--- An integer that a double would not hold, or nil.
local function wide_from_text(text)
    local sign, digits = text:match('^(%-?)0*(%d+)$')
    if not digits or up_to(digits, '9007199254740992') then
        return nil
    elseif sign == '' and up_to(digits, '18446744073709551615') then
        return loadstring('return ' .. digits .. 'ULL')()
    elseif sign == '-' and up_to(digits, '9223372036854775808') then
        return loadstring('return -' .. digits .. 'LL')()
    end
    return nil
end

--- Text that says a value of the type, as Redis clients send nothing but text; else the value itself.
local function from_text(value, kind)
    if type(value) ~= 'string' then
        return value
    elseif numeric[kind] then
        return wide_from_text(value) or tonumber(value) or value
    elseif kind == 'boolean' then
        if value == 'true' then
            return true
        elseif value == 'false' then
            return false
        end
    end
    return value
end

--- 'unsigned', 'string?' (may be absent), {'amount', 'unsigned'}, {name, type, is_nullable}
local function read_declared(what, position, declared)
    local name, kind, nullable
    if type(declared) == 'string' then
        kind = declared
    elseif type(declared) == 'table' then
        name = declared.name or (declared[2] and declared[1])
        kind = declared.type or declared[2] or (not declared.name and declared[1]) or 'any'
        nullable = declared.is_nullable
    end
    if type(kind) == 'string' and kind:sub(-1) == '?' then
        kind, nullable = kind:sub(1, -2), true
    end
    if not accepts[kind] or (name ~= nil and type(name) ~= 'string') then
        core.raise(core.ERROR_INVALID, ('%s of a procedure: number %d has no type that is known: %s'):format(
            what, position, tostring(kind)))
    end
    return { name = name, type = kind, is_nullable = nullable and true or nil }
end

--- Raises what is wrong with declared arguments or results; gives them in their long form, or nil.
---@param what string
---@param list table?
---@return table?
function procedure.check_declared(what, list)
    if list == nil then
        return nil
    elseif type(list) ~= 'table' then
        core.raise(core.ERROR_INVALID, ('option "%s" of a procedure is a table of types'):format(what))
    end
    local result = {}
    for position = 1, table.maxn(list) do
        result[position] = read_declared(what, position, list[position])
    end
    return result
end

local function mismatch(name, word, position, declared, value)
    local called = declared.name and (' (%s)'):format(declared.name) or ''
    local is = value == nil and 'nil' or type(value) == 'cdata' and 'a value with a width' or type(value)
    core.raise(core.ERROR_INVALID, ('%s %d%s of procedure %s is to be of type %s, not %s'):format(word,
        position, called, name, declared.type, is))
end

--- The values, each as declared; raises which one is not.
local function check_values(name, word, list, count, ...)
    local given = select('#', ...)
    if given > count then
        core.raise(core.ERROR_INVALID, ('procedure %s has %d declared %ss, and not %d'):format(
            name, count, word, given))
    end
    local values = { ... }
    for position = 1, count do
        local declared, value = list[position], values[position]
        if value == nil or value == core.NULL then
            if not declared.is_nullable and declared.type ~= 'any' then
                mismatch(name, word, position, declared, nil)
            end
        else
            if word == 'argument' then
                value = from_text(value, declared.type)
                values[position] = value
            end
            if not accepts[declared.type](value) then
                mismatch(name, word, position, declared, value)
            end
        end
    end
    return unpack(values, 1, word == 'argument' and count or given)
end

--- The function with its declared arguments and results looked at.
local function declare(name, fn, args, returns)
    local arg_count, return_count = args and #args, returns and #returns
    if args and returns then
        return function(...)
            return check_values(name, 'result', returns, return_count,
                fn(check_values(name, 'argument', args, arg_count, ...)))
        end
    elseif args then
        return function(...)
            return fn(check_values(name, 'argument', args, arg_count, ...))
        end
    elseif returns then
        return function(...)
            return check_values(name, 'result', returns, return_count, fn(...))
        end
    end
    return fn
end

-- --------------------------------------------------------------------------------- compiling

--- A function of a module, which is found when it is called first.
local function of_module(name, path, environment)
    local module, member = path:match('^(.*)%.([^.]+)$')
    if not module then
        local message = 'procedure %s: a module option is "module.function", not "%s"'
        core.raise(core.ERROR_INVALID, message:format(name, path))
    end
    return function(...)
        local loaded = environment.require(module)
        local fn = type(loaded) == 'table' and loaded[member]
        if type(fn) ~= 'function' then
            local message = 'procedure %s: module %s has no function %s'
            core.raise(core.ERROR_NOT_FOUND, message:format(name, module, member))
        end
        return fn(...)
    end
end

---@param name string
---@param body string
---@param globals table what the environment has besides the standard library
---@param options table? of the procedure: module, args, returns
---@return function
function procedure.compile(name, body, globals, options)
    local fn
    if options and options.module then
        fn = of_module(name, options.module, sandbox.environment(globals))
    else
        fn = procedure.compile_body(name, body, globals)
    end
    if options and (options.args or options.returns) then
        return declare(name, fn, options.args, options.returns)
    end
    return fn
end

---@param name string
---@param body string
---@param globals table
---@return function
function procedure.compile_body(name, body, globals)
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
