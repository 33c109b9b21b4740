-- SPDX-License-Identifier: Apache-2.0
--
-- uuid: identifiers of 128 bits. They order by their bytes, as they are written.

local ffi = require('ffi')
local core = require('box.core')
local value = require('box.value')

local api, ctype, text = value.api, value.uuid, value.text
local INVALID, TEXT_SIZE, BYTES = core.ERROR_INVALID, 36, 16

local uuid, methods = {}, {}

local function check_uuid(self)
    if not ffi.istype(ctype, self) then
        core.raise(INVALID, 'a uuid is expected: use u:method()')
    end
end

local function print_uuid(self)
    api.uuid_print(self, text)
    return ffi.string(text, TEXT_SIZE)
end

--- The bytes with the first three fields turned round: how little-endian machines keep them.
local function swap(bytes)
    return bytes:sub(1, 4):reverse() .. bytes:sub(5, 6):reverse() .. bytes:sub(7, 8):reverse() .. bytes:sub(9)
end

local function is_big(order)
    if order == nil or order == 'l' or order == 'h' or order == 'host' then
        return false
    elseif order == 'b' or order == 'n' or order == 'network' then
        return true
    end
    core.raise(INVALID, "the order of bytes is 'l', 'b', 'h' (host) or 'n' (network)")
end

--- The text: 8-4-4-4-12 digits.
function methods.str(self)
    check_uuid(self)
    return print_uuid(self)
end

--- The 16 bytes; 'b' or 'n' gives them as they are written.
function methods.bin(self, order)
    check_uuid(self)
    local bytes = ffi.string(self, BYTES)
    return is_big(order) and bytes or swap(bytes)
end

function methods.isnil(self)
    check_uuid(self)
    return self == uuid.NULL
end

local function order(left, right)
    if not ffi.istype(ctype, left) or not ffi.istype(ctype, right) then
        core.raise(INVALID, 'a uuid has an order with uuids alone')
    end
    return api.uuid_compare(left, right)
end

ffi.metatype(ctype, {
    __index = function(_, key) return methods[key] end,
    __newindex = function() error('a uuid can not be changed', 2) end,
    __tostring = print_uuid,
    __concat = function(left, right) return tostring(left) .. tostring(right) end,
    __eq = function(left, right)
        return ffi.istype(ctype, left) and ffi.istype(ctype, right) and api.uuid_compare(left, right) == 0
    end,
    __lt = function(left, right) return order(left, right) < 0 end,
    __le = function(left, right) return order(left, right) <= 0 end,
})

--- A random one (version 4), from the system's generator.
function uuid.new()
    local result = ffi.new(ctype)
    core.check(api.uuid_generate(result))
    return result
end

--- The text, or the bytes, of a new one.
function uuid.str()
    return print_uuid(uuid.new())
end

function uuid.bin(bytes_order)
    return uuid.new():bin(bytes_order)
end

--- The uuid that a text or 16 bytes stand for; nil when they are none.
function uuid.fromstr(from)
    if type(from) ~= 'string' then
        core.raise(INVALID, 'uuid.fromstr takes a string')
    end
    local result = ffi.new(ctype)
    return api.uuid_parse(result, from, #from) ~= 0 and result or nil
end

function uuid.frombin(from, bytes_order)
    if type(from) ~= 'string' or #from ~= BYTES then
        return nil
    end
    local result = ffi.new(ctype)
    ffi.copy(result, is_big(bytes_order) and from or swap(from), BYTES)
    return result
end

--- uuid.is_uuid(value)
function uuid.is_uuid(from)
    return ffi.istype(ctype, from)
end

-- The one of which every bit is 0.
uuid.NULL = ffi.new(ctype)
uuid['nil'] = uuid.NULL

return core.object(uuid, { __call = function() return uuid.new() end })
