-- SPDX-License-Identifier: Apache-2.0
--
-- json: Lua values to JSON text and back. Integers keep 64 bits; null is box.NULL.

local core = require('box.core')

local native = core.native

local defaults = { encode_invalid_numbers = true, encode_use_tostring = false, encode_pretty = false,
    encode_indent = 2 }

local function check(settings)
    for name, value in pairs(settings) do
        if defaults[name] == nil then
            core.raise(core.ERROR_INVALID, ('json has no setting %s'):format(tostring(name)))
        elseif type(value) ~= type(defaults[name]) then
            core.raise(core.ERROR_INVALID, ('the setting %s is a %s'):format(name, type(defaults[name])))
        end
    end
end

--- The value with texts in place of what has no form in JSON; refuses NaN and the infinities if asked to.
local function prepare(value, settings, within)
    local kind = type(value)
    if kind == 'number' and not settings.encode_invalid_numbers and (value ~= value or value == math.huge
        or value == -math.huge) then
        core.raise(core.ERROR_INVALID, 'a number that JSON has no form for')
    elseif settings.encode_use_tostring and (kind == 'function' or kind == 'thread') then
        return tostring(value)
    elseif kind ~= 'table' or debug.getmetatable(value) ~= nil then
        return value
    elseif within[value] then
        core.raise(core.ERROR_INVALID, 'a table that contains itself')
    end
    within[value] = true
    local result = {}
    for key, element in next, value do
        result[key] = prepare(element, settings, within)
    end
    within[value] = nil
    return result
end

local function new()
    local settings = {}
    for name, value in pairs(defaults) do
        settings[name] = value
    end

    local function encode(value, options)
        local own = settings
        if options then
            own = { encode_pretty = options.pretty and true or nil, encode_indent = options.indent }
            for name, setting in pairs(options) do
                if name ~= 'pretty' and name ~= 'indent' then
                    own[name] = setting
                end
            end
            check(own)
            setmetatable(own, { __index = settings })
        end
        if own.encode_use_tostring or not own.encode_invalid_numbers then
            value = prepare(value, own, {})
        end
        local text = native.json_encode(value)
        return own.encode_pretty and native.json_pretty(text, own.encode_indent) or text
    end
    return encode, settings
end

local function new_serializer()
    local encode, settings = new()
    return core.object({
        NULL = core.NULL,
        encode = encode,
        decode = native.json_decode,
        cfg = core.object(settings, {
            __call = function(_, changes)
                check(changes)
                for name, value in pairs(changes) do
                    settings[name] = value
                end
            end,
        }),
    })
end

local encode, settings = new()

return core.object({
    NULL = core.NULL,
    --- json.encode(value [, {pretty, indent, encode_invalid_numbers, encode_use_tostring}]) -> text
    encode = encode,
    --- json.decode(text) -> value
    decode = native.json_decode,
    --- json.new(): another one, with settings of its own: other.cfg{encode_pretty = true ..}.
    new = new_serializer,
    --- The settings in force. Those of all code can't be changed: see new().
    cfg = core.object(settings, {
        __call = function()
            core.raise(core.ERROR_UNSUPPORTED, 'json is shared: make one of your own by json.new()')
        end,
    }),
})
