-- SPDX-License-Identifier: Apache-2.0
--
-- Tuples: MessagePack arrays in memory of their own, read in place.
--
-- t[1] and t.name read one field; nothing else is unpacked. A tuple keeps what it was made of,
-- whatever becomes of the row and of the transaction.

local ffi = require('ffi')
local core = require('box.core')

local native, api, runtime, value = core.native, core.api, core.runtime, core.value
local NULL = core.NULL
local NIL, BOOLEAN, NUMBER, INT64 = core.NIL, core.BOOLEAN, core.NUMBER, core.INT64
local UINT64, STRING, OTHER = core.UINT64, core.STRING, core.OTHER

-- The names of the members: see box/core.lua.
local SIZE, SPACE, DATA = native.secret .. 's', native.secret .. 'f', native.secret .. 'd'
ffi.cdef(string.format('struct perigee_tuple { uint32_t %s; uint32_t %s; char %s[?]; };', SIZE, SPACE, DATA))
local tuple_type = ffi.typeof('struct perigee_tuple')
core.tuple_type = tuple_type

local tuple = {}

-- ----------------------------------------------------------------------------------- formats

local formats, formats_version = {}, -1

--- The positions of a space's fields by name.
local function format_of(space_id)
    local version = api.schema_version(runtime)
    if version ~= formats_version then
        formats, formats_version = {}, version
    end
    local format = formats[space_id]
    if format == nil then
        format = { names = {} }
        local space = space_id ~= 0 and native.space(space_id)
        for position, field in ipairs(space and space.format or {}) do
            format[field.name] = position
            format.names[position] = field.name
        end
        formats[space_id] = format
    end
    return format
end

-- ----------------------------------------------------------------------------------- reading

--- What api.field has left in `value`. The arithmetic makes compiled code read `value` here: LuaJIT
--- for x64 may put off a plain load until the number is compared with something, which can be after
--- the next call has changed `value`.
local function to_lua(self)
    local kind = value.type
    if kind == NUMBER then
        return value.number + 0
    elseif kind == STRING then
        return ffi.string(value.data, value.size)
    elseif kind == NIL then
        return NULL
    elseif kind == BOOLEAN then
        return value.number ~= 0
    elseif kind == INT64 then
        return value.integer / 1LL
    elseif kind == UINT64 then
        return ffi.cast('uint64_t', value.integer) / 1ULL
    elseif kind == OTHER then
        return native.decode(self, tonumber(value.data - self[DATA]))
    end
    return nil
end

local function field(self, position)
    api.field(self[DATA], position, value)
    return to_lua(self)
end

local function length(self)
    return api.field_count(self[DATA])
end

local function check_tuple(self)
    if not ffi.istype(tuple_type, self) then
        error('a tuple is expected: use tuple:method()', 3)
    end
end

local methods = {}

--- All fields as a table, or those from first to last.
function methods.totable(self, first, last)
    check_tuple(self)
    local from, to = first or 1, last or length(self)
    local result = {}
    for position = from, math.min(to, length(self)) do
        result[position - from + 1] = field(self, position)
    end
    return result
end

--- The fields as separate values.
function methods.unpack(self, first, last)
    check_tuple(self)
    return native.elements(self, first or 1, last or length(self))
end

--- A table of the fields by name, and by number unless names_only is set.
function methods.tomap(self, options)
    check_tuple(self)
    local format, result = format_of(self[SPACE]), {}
    for position = 1, length(self) do
        local name = format.names[position]
        local content = field(self, position)
        if name then
            result[name] = content
        end
        if not (options and options.names_only) then
            result[position] = content
        end
    end
    return result
end

--- for position, content in t:ipairs() do .. end
--- A closure, for a function that takes the tuple could be given something else.
function methods.ipairs(self)
    check_tuple(self)
    return function(_, position)
        position = position + 1
        if position <= length(self) then
            return position, field(self, position)
        end
    end, nil, 0
end
methods.pairs = methods.ipairs

--- The size in bytes.
function methods.bsize(self)
    check_tuple(self)
    return self[SIZE]
end

local function same(left, right)
    if not ffi.istype(tuple_type, left) or not ffi.istype(tuple_type, right) then
        return false
    end
    if left[SIZE] ~= right[SIZE] then
        return false
    end
    return ffi.string(left[DATA], left[SIZE]) == ffi.string(right[DATA], right[SIZE])
end

ffi.metatype(tuple_type, {
    __index = function(self, key)
        if type(key) == 'number' then
            if key >= 1 and key <= 4294967295 then
                return field(self, key)
            end
            return nil
        end
        local position = format_of(self[SPACE])[key]
        if type(position) == 'number' then
            return field(self, position)
        end
        return methods[key]
    end,
    __newindex = function() error('a tuple can not be changed: use update or replace', 2) end,
    __len = length,
    __eq = same,
    __tostring = function(self) return native.json_encode(self) end,
})

-- ------------------------------------------------------------------------------------ making

--- A tuple with a copy of the bytes at `data`.
---@param data ffi.cdata*
---@param size integer
---@param space_id integer whose format names the fields
function tuple.copy(data, size, space_id)
    local result = ffi.new(tuple_type, size)
    result[SIZE], result[SPACE] = size, space_id
    ffi.copy(result[DATA], data, size)
    return result
end

--- box.tuple.new{..}
function tuple.new(content)
    if type(content) ~= 'table' then
        content = { content }
    end
    local packed = native.pack(content)
    local kind = packed:byte(1)
    if not (kind >= 0x90 and kind <= 0x9f or kind == 0xdc or kind == 0xdd) then
        error('a tuple is made of an array', 2)
    end
    return tuple.copy(packed, #packed, 0)
end

--- box.tuple.is(value)
function tuple.is(content)
    return ffi.istype(tuple_type, content)
end
core.is_tuple = tuple.is

return tuple
