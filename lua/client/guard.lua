-- SPDX-License-Identifier: Apache-2.0
--
-- The client for code in the server: the same functions on objects that show nothing of what is behind
-- them, since that leads to memory of the process.

local core = require('box.core')
local client = require('client')
local platform = require('client.platform')

local guard = {}

local states = setmetatable({}, { __mode = 'k' })   -- object -> what is behind it
local objects = setmetatable({}, { __mode = 'kv' }) -- and back
local metatables = {}                               -- of a class of the client -> of its objects

local function wrap(value)
    local metatable = type(value) == 'table' and metatables[getmetatable(value)]
    if not metatable then
        return value
    end
    if not objects[value] then
        local object = setmetatable({}, metatable)
        states[object], objects[value] = value, object
    end
    return objects[value]
end

local wrap_all

--- A function that is called back sees objects, too.
local function unwrap(value)
    if type(value) == 'function' then
        return function(...) return value(wrap_all(select('#', ...), ...)) end
    end
    return type(value) == 'table' and states[value] or value
end

local function each(convert, count, first, ...)
    if count == 0 then
        return
    elseif count == 1 then
        return convert(first)
    end
    local values = { first, ... }
    for n = 1, count do
        values[n] = convert(values[n])
    end
    return unpack(values, 1, count)
end

function wrap_all(count, ...)
    return each(wrap, count, ...)
end

local function results(...)
    return wrap_all(select('#', ...), ...)
end

local function method(class, name, fn)
    return function(self, ...)
        local state = type(self) == 'table' and states[self]
        if not state or getmetatable(state) ~= class then
            error(('use object:%s(..)'):format(name), 2)
        end
        return results(fn(state, each(unwrap, select('#', ...), ...)))
    end
end

for what, class in pairs(platform.classes) do
    local methods = {}
    for name, fn in pairs(class) do
        if type(fn) == 'function' then
            methods[name] = method(class, name, fn)
        end
    end
    local function text() return 'client.' .. what end
    local metatable = {
        __index = function(_, name) return methods[name] end,
        __newindex = function() error('this object is read-only', 2) end,
        __tostring = text,
        __metatable = 'protected',
    }
    core.guarded[metatable] = true
    core.serializers[metatable] = text
    metatables[class] = metatable
end

for name, value in pairs(client) do
    if name == 'connect' or name == 'pool' then
        guard[name] = function(...) return results(value(...)) end
    else
        guard[name] = value
    end
end

return core.object(guard)
