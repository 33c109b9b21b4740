-- SPDX-License-Identifier: Apache-2.0
--
-- Tuples: MessagePack arrays in memory of their own, read in place.
--
-- t[1], t.name and t['data.tags[2]'] read one value; nothing else is unpacked. A tuple keeps what it
-- was made of, whatever becomes of the row and of the transaction.

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

-- Formats that belong to no space (box.tuple.format.new) have numbers that no space has.
local OWN_FORMAT_MIN, OWN_FORMATS_MAX = 2147483648, 4096
local own_formats, own_numbers, own_count = {}, {}, 0

local function new_format(fields)
    local format = { names = {}, fields = fields }
    for position, field in ipairs(fields) do
        format[field.name] = position
        format.names[position] = field.name
    end
    return format
end

--- The positions of a space's fields by name.
local function format_of(space_id)
    local version = api.schema_version(runtime)
    if version ~= formats_version then
        formats = {}
        formats_version = version -- last: the time of a request may be over anywhere
    end
    local format = formats[space_id]
    if format == nil then
        local space = space_id ~= 0 and space_id < OWN_FORMAT_MIN and native.space(space_id)
        format = own_formats[space_id] or new_format(space and space.format or {})
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

--- What a path such as 'data.address.city' or '[2].x' leads to, or nil.
local function at_path(self, path)
    local id = self[SPACE]
    if id >= OWN_FORMAT_MIN then
        local name, rest = path:match('^([%a_][%w_]*)(.*)$')
        if name then
            local position = format_of(id)[name]
            if type(position) ~= 'number' then
                return nil
            end
            path = ('[%d]%s'):format(position, rest)
        end
        id = 0
    end
    api.path(runtime, self[DATA], id, path, #path, value)
    return to_lua(self)
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

--- The next position and its field after `position`, or the first.
function methods.next(self, position)
    check_tuple(self)
    position = (position or 0) + 1
    if position < 1 or position > length(self) then
        return nil
    end
    return position, field(self, position)
end

--- The position of the first field, from `from` on, that is equal to a value, or nil.
function methods.find(self, from, wanted)
    check_tuple(self)
    if wanted == nil then
        from, wanted = 1, from
    end
    for position = from, length(self) do
        if field(self, position) == wanted then
            return position
        end
    end
    return nil
end

--- The positions of all of them, as separate values.
function methods.findall(self, from, wanted)
    check_tuple(self)
    if wanted == nil then
        from, wanted = 1, from
    end
    local found = {}
    for position = from, length(self) do
        if field(self, position) == wanted then
            found[#found + 1] = position
        end
    end
    return unpack(found)
end

--- A tuple in which `count` fields from `start` on (negative: from the end) have given way to others.
function methods.transform(self, start, count, ...)
    check_tuple(self)
    local fields, given = length(self), select('#', ...)
    if type(start) ~= 'number' or start == 0 or start > fields + 1 or -start > fields then
        error('transform: the tuple has no such position', 2)
    end
    if start < 0 then
        start = fields + start + 1
    end
    local result = { native.elements(self, 1, start - 1) }
    local size = start - 1
    for position = 1, given do
        result[size + position] = (select(position, ...))
    end
    size = size + given
    for position = start + math.max(count or 0, 0), fields do
        size = size + 1
        result[size] = field(self, position)
    end
    for position = 1, size do
        if result[position] == nil then
            result[position] = NULL
        end
    end
    return tuple.of(result, self[SPACE])
end

--- The tuple that update operations make of this one, which stays as it is. upsert is the same: an
--- operation that can't be done is an error.
function methods.update(self, operations)
    check_tuple(self)
    if type(operations) ~= 'table' then
        core.raise(core.ERROR_INVALID, 'update needs a table of operations')
    end
    native.encode(1, operations)
    local packed = native.tuple_update(self)
    return tuple.copy(packed, #packed, self[SPACE])
end
methods.upsert = methods.update

--- The fields that the format names: {{name, type, is_nullable}, ..}
function methods.format(self)
    check_tuple(self)
    local result = {}
    for position, description in ipairs(format_of(self[SPACE]).fields) do
        result[position] = {}
        for key, content in pairs(description) do
            result[position][key] = content
        end
    end
    return result
end

--- The size in bytes.
function methods.bsize(self)
    check_tuple(self)
    return self[SIZE]
end

--- The bytes of MessagePack that it is.
function methods.to_msgpack(self)
    check_tuple(self)
    return ffi.string(self[DATA], self[SIZE])
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
        local method = methods[key]
        if method == nil and type(key) == 'string' then
            return at_path(self, key)
        end
        return method
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

--- The same with the names of a space's format, if it has one.
function tuple.of_space(content, space_id)
    if content[SPACE] == space_id or #format_of(space_id).fields == 0 then
        return content
    end
    return tuple.copy(content[DATA], content[SIZE], space_id)
end

--- A tuple of the elements of a table.
function tuple.of(content, space_id)
    local packed = native.pack(content)
    local kind = packed:byte(1)
    if not (kind >= 0x90 and kind <= 0x9f or kind == 0xdc or kind == 0xdd) then
        error('a tuple is made of an array', 3)
    end
    return tuple.copy(packed, #packed, space_id)
end

--- box.tuple.from_msgpack(bytes [, offset]): the tuple that the array there is, kept as it is, and the
--- offset of what follows.
function tuple.from_msgpack(bytes, offset)
    if type(bytes) ~= 'string' then
        error('Usage: box.tuple.from_msgpack(bytes [, offset])', 2)
    end
    offset = offset or 1
    local past = native.array_end(bytes, offset)
    return tuple.copy(ffi.cast('const char *', bytes) + (offset - 1), past - offset, 0), past
end

local format_numbers = setmetatable({}, { __mode = 'k' })

--- box.tuple.new({..}, {format = ..}): the format is one of box.tuple.format.new, or a definition.
function tuple.new(content, options)
    if type(content) ~= 'table' and not tuple.is(content) then
        content = { content }
    end
    local format = options and options.format
    if format ~= nil and not format_numbers[format] then
        format = tuple.new_format(format)
    end
    return tuple.of(content, format and format_numbers[format] or 0)
end

--- box.tuple.format.new({{'id', 'unsigned'}, ..}): names for the fields of tuples that are in no space.
--- Of a space: that of the space.
function tuple.new_format(definition)
    if type(definition) ~= 'table' then
        core.raise(core.ERROR_INVALID, 'a format is a table of fields')
    end
    local fields, parts = {}, {}
    for position, field_of in ipairs(definition) do
        local name = type(field_of) == 'table' and (field_of.name or field_of[1]) or field_of
        local kind = type(field_of) == 'table' and (field_of.type or field_of[2]) or 'any'
        if type(name) ~= 'string' then
            core.raise(core.ERROR_INVALID, 'a field of a format has a name')
        end
        fields[position] = { name = name, type = kind }
        parts[position] = ('%d:%s:%s'):format(#name, name, tostring(kind))
    end
    local text = table.concat(parts, ',')
    local number = own_numbers[text]
    if number == nil then
        if own_count >= OWN_FORMATS_MAX then
            core.raise(core.ERROR_MEMORY, 'too many formats are made')
        end
        number = OWN_FORMAT_MIN + own_count
        own_count = own_count + 1
        own_numbers[text], own_formats[number] = number, new_format(fields)
    end
    local object = core.object({ names = function() return new_format(fields).names end }, {
        serialize = function() return fields end,
    })
    format_numbers[object] = number
    return object
end

function tuple.is_format(object)
    return type(object) == 'table' and format_numbers[object] ~= nil
end

--- box.tuple.is(value)
function tuple.is(content)
    return ffi.istype(tuple_type, content)
end
core.is_tuple = tuple.is

return tuple
