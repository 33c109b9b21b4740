-- SPDX-License-Identifier: Apache-2.0
--
-- Arguments of statements on their way to MessagePack, so that LuaJIT compiles it into the loop around:
-- calls through FFI for each scalar, and no loop inside, since a short loop in a long one is not
-- unrolled but becomes a trace of its own that the outer one can only leave for.
--
-- So there is a function for each length of a table, written out by `generate`. What it does not know
-- (other types, tables inside, many elements, a map) goes to native.encode, a C function, which knows
-- everything and ends the trace.

local ffi = require('ffi')
local core = require('box.core')

local native, api, runtime, check = core.native, core.api, core.runtime, core.check
local type, getmetatable = type, getmetatable
local int64, uint64, pointer = ffi.typeof('int64_t'), ffi.typeof('uint64_t'), ffi.typeof('void *')

local encode = {}

local ELEMENTS_MAX = 24

--- Text of a function(put, t): encodes t as an array of `length` elements by `put`, or gives false when
--- t has other keys. Going over all keys in `length` steps and then meeting the end proves that there
--- are no more.
local function generate(length)
    local lines = { 'local next, api, runtime = ...', 'return function(put, t)', 'local key = next(t)' }
    for _ = 2, length do
        lines[#lines + 1] = 'key = next(t, key)'
    end
    lines[#lines + 1] = 'if key == nil or next(t, key) ~= nil then return false end'
    lines[#lines + 1] = ('api.put_array(runtime, %d)'):format(length)
    for position = 1, length do
        lines[#lines + 1] = ('if not put(t[%d]) then return false end'):format(position)
    end
    lines[#lines + 1] = 'return true end'
    return assert(loadstring(table.concat(lines, '\n'), '=[box.encode]'))(next, api, runtime)
end

local of_length = {}
for length = 1, ELEMENTS_MAX do
    of_length[length] = generate(length)
end

local function put_cdata(value)
    if ffi.istype(int64, value) then
        api.put_integer(runtime, value)
    elseif ffi.istype(uint64, value) then
        api.put_unsigned(runtime, value)
    elseif ffi.istype(pointer, value) and value == nil then
        api.put_nil(runtime)
    else
        return false
    end
    return true
end

--- false: it is not a scalar.
local function put_scalar(value)
    local kind = type(value)
    if kind == 'number' then
        api.put_number(runtime, value)
    elseif kind == 'string' then
        api.put_string(runtime, value, #value)
    elseif kind == 'boolean' then
        api.put_boolean(runtime, value and 1 or 0)
    elseif kind == 'cdata' then
        return put_cdata(value)
    else
        return false
    end
    return true
end

local function put_table(put, t)
    if getmetatable(t) ~= nil then
        return false
    end
    local fn = of_length[#t]
    return fn ~= nil and fn(put, t)
end

--- One of a list of update operations.
local function put_operation(operation)
    return type(operation) == 'table' and put_table(put_scalar, operation)
end

-- Without a compiler many calls through FFI are slower than one C function.
local compiled = jit.status()

--- Encodes a key or a tuple, an array, into a slot of arguments. What is not a table is an array of
--- one.
---@param slot integer 0 or 1
function encode.array(slot, content)
    if compiled then
        local done
        api.put_begin(runtime)
        if type(content) == 'table' then
            done = put_table(put_scalar, content)
        elseif core.is_tuple(content) then
            return native.encode(slot, content)
        else
            api.put_array(runtime, 1)
            done = put_scalar(content)
        end
        if done then
            return check(api.put_end(runtime, slot))
        end
    end
    native.encode(slot, content)
end

--- The same for a list of update operations.
function encode.operations(slot, operations)
    if compiled then
        api.put_begin(runtime)
        if put_table(put_operation, operations) then
            return check(api.put_end(runtime, slot))
        end
    end
    native.encode(slot, operations)
end

return encode
