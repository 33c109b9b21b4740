-- SPDX-License-Identifier: Apache-2.0
--
-- Environments for code that may not do everything.
--
-- Each procedure and script gets tables of its own with the safe part of the standard library, so that what
-- one does to `string` another does not
-- see. No environment leads to the globals: there is no getfenv, debug, package, ffi or bytecode in it,
-- metatables of strings and of box's
-- objects are not given away, and rawset refuses those objects.

local core = require('box.core')
local pattern = require('box.pattern')

local native = core.native
local real_load, real_rawset, real_getmetatable = load, rawset, debug.getmetatable

local sandbox = {}

local function pick(from, names)
    local result = {}
    for name in names:gmatch('%S+') do
        result[name] = from[name]
    end
    return result
end

local libraries = {
    string = pick(string, 'byte char format len lower rep reverse sub upper'),
    table = pick(table, 'concat foreach foreachi getn insert maxn move remove sort'),
    math = math,
    bit = bit,
    os = pick(os, 'clock date difftime time'),
    coroutine = pick(coroutine, 'create isyieldable resume running status wrap yield'),
}
for name, fn in pairs(pattern) do
    libraries.string[name] = fn
end

local base = pick(_G, [[assert error getmetatable ipairs next pairs pcall rawequal rawget select setmetatable
    tonumber tostring type unpack _VERSION]])

local function handle(handler, ok, ...)
    if ok then
        return true, ...
    end
    return false, select(2, pcall(handler, ...))
end

--- The handler runs when the stack has been unwound: inside of the hook that ends code whose time is
--- over no hook is called, so a handler that runs there could go on for ever.
function base.xpcall(fn, handler, ...)
    return handle(handler, pcall(fn, ...))
end

function base.rawset(t, key, value)
    if core.guarded[real_getmetatable(t)] then
        error('this object is read-only', 2)
    end
    return real_rawset(t, key, value)
end

--- Only what says something without doing anything.
function base.collectgarbage(what)
    if what == 'count' then
        return native.memory() / 1024
    end
    return 0
end

function base.print(...)
    local parts = {}
    for n = 1, select('#', ...) do
        parts[n] = tostring((select(n, ...)))
    end
    native.log(2, table.concat(parts, '\t'))
end

-- Modules that `require` gives.
local modules = { json = true, msgpack = true, clock = true, log = true }

function base.require(name)
    if not modules[name] then
        error(string.format("module '%s' is not available here", tostring(name)), 2)
    end
    return require(name)
end

--- The text of a chunk that load was given in pieces.
local function read_pieces(chunk)
    local pieces = {}
    while true do
        local piece = chunk()
        if piece == nil or piece == '' then
            return table.concat(pieces)
        end
        pieces[#pieces + 1] = piece
    end
end

local function add_loaders(environment)
    function environment.load(chunk, name, _, other)
        if type(chunk) == 'function' then
            chunk = read_pieces(chunk)
        end
        if other == nil then
            other = environment
        end
        -- LuaJIT takes the state's globals when the environment is no table
        if type(chunk) ~= 'string' or type(other) ~= 'table' then
            return nil, 'a chunk is text, and its environment a table'
        end
        return real_load(chunk, tostring(name or '=(load)'), 't', other)
    end
    function environment.loadstring(chunk, name)
        return environment.load(chunk, name)
    end
end

--- A new environment; `extra` is added to it.
---@param extra table
---@return table
function sandbox.environment(extra)
    local result = {}
    for name, value in pairs(base) do
        result[name] = value
    end
    for name, library in pairs(libraries) do
        local copy = {}
        for key, value in pairs(library) do
            copy[key] = value
        end
        result[name] = copy
    end
    for name, value in pairs(extra) do
        result[name] = value
    end
    result._G = result
    add_loaders(result)
    return result
end

--- Compiles source into a function that sees only `environment`; raises what is wrong.
---@param source string
---@param name string
---@param environment table
---@return function
function sandbox.compile(source, name, environment)
    local fn, message = real_load(source, '=' .. name, 't', environment)
    if not fn then
        error(message, 0)
    end
    return fn
end

--- Makes the methods of all strings of this state the safe ones.
function sandbox.protect_strings()
    local metatable = real_getmetatable('')
    local copy = {}
    for key, value in pairs(libraries.string) do
        copy[key] = value
    end
    metatable.__index = copy
    metatable.__metatable = 'protected'
end

return sandbox
