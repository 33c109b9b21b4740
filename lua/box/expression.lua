-- SPDX-License-Identifier: Apache-2.0
--
-- What expressions of tuples may use (src/lua/expression.c): the safe part of the library that gives
-- the same for the same, and nothing that could be kept from one evaluation to the next. It is the
-- first module of a state that has no box.

local ffi = require('ffi')
local core = require('box.core')

-- No tuple objects here: a tuple is what C gives.
core.tuple_type = ffi.typeof('struct { int none; }')

local sandbox = require('box.sandbox')
local load = load

local given = sandbox.environment({ box = core.object({ NULL = core.NULL }) })
for _, name in ipairs({
    '_G', 'collectgarbage', 'coroutine', 'load', 'loadstring', 'os', 'print', 'rawset', 'require',
    'setmetatable',
}) do
    given[name] = nil
end
given.math.random, given.math.randomseed = nil, nil

-- Modules that have no state and don't look at the world: neither the time nor what is random.
local uuid, datetime = require('uuid'), require('datetime')
local modules = {
    json = require('json'),
    msgpack = require('msgpack'),
    decimal = require('decimal'),
    uuid = core.object({
        NULL = uuid.NULL, ['nil'] = uuid.NULL,
        fromstr = uuid.fromstr, frombin = uuid.frombin, is_uuid = uuid.is_uuid,
    }),
    datetime = core.object({
        new = datetime.new, parse = datetime.parse, is_datetime = datetime.is_datetime,
        interval = datetime.interval,
    }),
}

function given.require(name)
    if not modules[name] then
        error(string.format("module '%s' is not available in an expression", tostring(name)), 2)
    end
    return modules[name]
end

for name, library in pairs(given) do
    if type(library) == 'table' and name ~= 'box' then
        given[name] = core.object(library)
    end
end

local metatable = {
    __index = given,
    __newindex = function(_, name)
        error(string.format("an expression has no globals: make '%s' local", tostring(name)), 2)
    end,
    __metatable = 'protected',
}
core.guarded[metatable] = true
local environment = setmetatable({}, metatable)

--- Compiles an expression of `t`, or a function.
---@param text string
---@param name string
---@return function
local function compile(text, name)
    local source
    if text:find('^%s*function%s*%(') then
        source = 'return ' .. text
    else
        local behind = text:find('--', 1, true) and '\n' or ' ' -- an error in the text is in its lines
        source = 'return function(t) return ' .. text .. behind .. 'end'
    end
    local chunk, message = load(source, '=' .. name, 't', environment)
    if not chunk then
        error(message, 0)
    end
    return chunk()
end

sandbox.protect_strings()

return {
    null = core.NULL,
    classify = core.classify,
    make = core.make,
    serializers = core.serializers,
    raise = core.raise,
    compile = compile,
}
