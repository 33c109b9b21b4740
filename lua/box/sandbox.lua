-- SPDX-License-Identifier: Apache-2.0
--
-- Environments for code that may not do everything.
--
-- Each procedure and script gets tables of its own with the safe part of the standard library, so
-- that what one does to `string` another does not see; what many share (the text that clients send)
-- gets tables that can't be changed. No environment leads to the globals: there is no getfenv,
-- debug, package, ffi or bytecode in it, metatables of strings and of box's objects are not given
-- away, and rawset refuses those objects.

local core = require('box.core')
local long = require('box.long')
local pattern = require('box.pattern')
local sort = require('box.sort')

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
    math = pick(math, [[abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10
        max min mod modf pi pow rad random sin sinh sqrt tan tanh]]),
    bit = bit,
    os = pick(os, 'clock date difftime time'),
    coroutine = pick(require('box.coroutine'), 'create isyieldable resume running status wrap yield'),
}
for name, fn in pairs(pattern) do
    libraries.string[name] = fn
end
for _, name in ipairs({ 'rep', 'upper', 'lower', 'reverse' }) do
    libraries.string[name] = long[name]
end
libraries.table.concat = long.concat

local function refuse_guarded(t, level)
    if core.guarded[real_getmetatable(t)] then
        error('this object is read-only', level + 1)
    end
end

--- Positions begin at 1: moving the elements up from one far below is a single C call that takes minutes.
local insert = table.insert
function libraries.table.insert(t, position, ...)
    refuse_guarded(t, 2)
    if select('#', ...) == 0 then
        return insert(t, position)
    end
    if (tonumber(position) or 1) < 1 then
        error("bad argument #2 to 'insert' (position out of bounds)", 2)
    end
    return insert(t, position, ...)
end

--- The generator is the state's: what comes after this request begins anew.
local randomseed = math.randomseed
function libraries.math.randomseed(seed)
    native.seeded()
    randomseed(seed)
end

function libraries.table.sort(t, before)
    refuse_guarded(t, 2)
    return sort(t, before)
end

local base = pick(_G, [[assert error getmetatable ipairs next pairs pcall rawequal rawget select setmetatable
    tonumber tostring type unpack _VERSION]])

local function handle(handler, ok, ...)
    if ok then
        return true, ...
    end
    return false, select(2, pcall(handler, ...))
end

base.pairs = core.pairs

--- The handler runs when the stack has been unwound: inside of the hook that ends code whose time
--- is over no hook is called, so a handler that runs there could go on for ever.
function base.xpcall(fn, handler, ...)
    return handle(handler, pcall(fn, ...))
end

function base.rawset(t, key, value)
    refuse_guarded(t, 2)
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
local modules = {
    client = true, json = true, msgpack = true, clock = true, log = true, fun = true,
    fiber = true, socket = true, ['http.client'] = true,
    decimal = true, uuid = true, datetime = true, varbinary = true,
    digest = true, crypto = true, yaml = true, fio = true,
}

--- The client takes a quarter of a state's memory, so it is loaded by the first who wants it. He may be ended
--- meanwhile: then the next one begins anew.
local function require_client()
    local loaded = package.loaded
    if type(loaded['client.guard']) ~= 'table' then
        for name in pairs(loaded) do
            if name:find('^client%f[%z.]') then
                loaded[name] = nil
            end
        end
    end
    return require('client.guard')
end

--- What finds modules that are not built in; set by box.init.
---@param name string
---@return any nil: there is none
function sandbox.find_module(name) -- luacheck: no unused args
    return nil
end

function base.require(name)
    if modules[name] then
        return name == 'client' and require_client() or require(name)
    end
    local value = sandbox.find_module(name)
    if value == nil then
        error(string.format("module '%s' is not available here: box.module.list() tells what is installed",
            tostring(name)), 2)
    end
    return value
end

local sub, PIECE_BYTES, AT_ONCE_BYTES = string.sub, 16384, 65536

--- What load takes: of a long text pieces, between which others are let in, and time may be over.
local function pieces_of(text)
    if #text <= AT_ONCE_BYTES then
        return text
    end
    local position = 1
    return function()
        local piece = sub(text, position, position + PIECE_BYTES - 1)
        position = position + PIECE_BYTES
        return piece
    end
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

--- Adds load and loadstring to `result`, for chunks that see `environment`.
local function add_loaders(result, environment)
    function result.load(chunk, name, _, other)
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
        return real_load(pieces_of(chunk), tostring(name or '=(load)'), 't', other)
    end
    local load_text = result.load
    function result.loadstring(chunk, name)
        return load_text(chunk, name)
    end
end

--- Puts everything that code in the sandbox may use into `result`; `extra` is added to it.
local function fill(result, extra)
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
end

--- The same in a new table, and a function that adds the loaders of chunks to one.
function sandbox.contents(extra)
    local result = {}
    fill(result, extra)
    return result
end
sandbox.add_loaders = add_loaders

--- A new environment; `extra` is added to it.
---@param extra table
---@return table
function sandbox.environment(extra)
    local result = {}
    fill(result, extra)
    result._G = result
    add_loaders(result, result)
    return result
end

--- An environment for the code of many: what is in it from the start can't be changed or hidden.
--- What they add to it stays.
---@param extra table
---@return table
function sandbox.shared_environment(extra)
    local given = {}
    fill(given, extra)
    for name in pairs(libraries) do
        given[name] = core.object(given[name])
    end
    local metatable = {
        __index = given,
        __newindex = function(t, name, value)
            if given[name] ~= nil then
                local message = "'%s' is built in: choose another name, or make it local"
                error(message:format(tostring(name)), 2)
            end
            real_rawset(t, name, value)
        end,
        __metatable = 'protected',
    }
    core.guarded[metatable] = true
    local result = setmetatable({}, metatable)
    given._G = result
    add_loaders(given, result)
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
