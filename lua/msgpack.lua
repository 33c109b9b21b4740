-- SPDX-License-Identifier: Apache-2.0
--
-- msgpack: Lua values to MessagePack and back, by the rules by which tuples are stored.

local core = require('box.core')

local native = core.native

local methods = {}

local function equal(left, right)
    return left:bytes() == right:bytes()
end

--- An object: a value that is kept as its bytes. Whatever encodes it puts them there again.
local function new_object(bytes)
    return core.object(methods, {
        bytes = bytes,
        __tostring = function() return 'msgpack.object' end,
        __eq = equal,
        serialize = function() return (native.unpack(bytes)) end,
    })
end

local function bytes_of(object)
    local metatable = debug.getmetatable(object)
    if type(metatable) ~= 'table' or not core.guarded[metatable] or not metatable.bytes then
        error('this is no msgpack.object', 3)
    end
    return metatable.bytes
end

function methods.bytes(self)
    return bytes_of(self)
end

--- The value, made anew.
function methods.decode(self)
    return (native.unpack(bytes_of(self)))
end

function methods.size(self)
    return #bytes_of(self)
end

local msgpack = {
    NULL = core.NULL,
    --- msgpack.encode(value) -> bytes
    encode = native.pack,
    --- msgpack.decode(bytes [, position]) -> value, position of what follows
    decode = native.unpack,
    --- The same, for bytes that are known to be right: they are checked all the same.
    decode_unchecked = native.unpack,
}

--- msgpack.object(value): the value as bytes.
function msgpack.object(value)
    return new_object(native.pack(value))
end

--- msgpack.object_from_raw(bytes): of one value.
function msgpack.object_from_raw(bytes)
    if type(bytes) ~= 'string' then
        error('Usage: msgpack.object_from_raw(bytes)', 2)
    end
    local _, after = native.unpack(bytes)
    if after ~= #bytes + 1 then
        core.raise(core.ERROR_INVALID, 'these are the bytes of more than one value')
    end
    return new_object(bytes)
end

function msgpack.is_object(value)
    return (pcall(bytes_of, value))
end

return core.object(msgpack)
