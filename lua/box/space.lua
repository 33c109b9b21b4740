-- SPDX-License-Identifier: Apache-2.0
--
-- box.space: spaces and indexes as objects, and the statements on them.
--
-- A space object holds the space's number; what is known of its indexes is asked for again when the
-- schema version has changed. A statement outside of a transaction is a transaction of its own.

local ffi = require('ffi')
local core = require('box.core')
local definition = require('box.definition')
local tuple = require('box.tuple')

local native, api, runtime, row = core.native, core.api, core.runtime, core.row
local check, raise = core.check, core.raise
local copy = tuple.copy
local huge = math.huge

local INSERT, REPLACE, DELETE, UPDATE, UPSERT = 0, 1, 2, 3, 4
local iterators = { EQ = 0, REQ = 1, ALL = 2, LT = 3, LE = 4, GE = 5, GT = 6 }

-- --------------------------------------------------------------------------------- arguments

local function check_self(self, method)
    if type(self) ~= 'table' or type(self.id) ~= 'number' then
        error(string.format('use object:%s(..) instead of object.%s(..)', method, method), 3)
    end
end

--- The last row as a tuple, or nil.
local function result(space_id)
    if row.data == nil then
        return nil
    end
    return copy(row.data, row.size, space_id)
end

--- Encodes a key into the first slot; whether there is one.
local function put_key(key)
    if key == nil or (type(key) == 'table' and next(key) == nil) then
        return 0
    end
    native.encode(0, key)
    return 1
end

--- The number of the iterator that options name, or nil. To be asked for before the key is encoded,
--- because options of a user's may run code.
local function iterator_of(options)
    local iterator = options
    if type(options) == 'table' then
        iterator = options.iterator
    end
    if iterator == nil then
        return nil
    end
    local number = type(iterator) == 'string' and iterators[iterator:upper()] or iterator
    if type(number) ~= 'number' or not (number >= 0 and number <= 6) then
        raise(core.ERROR_INVALID, 'unknown iterator ' .. tostring(iterator))
    end
    return number
end

local lock_modes = { shared = 1, exclusive = 2 }

--- The number of a lock's mode; 0: no lock.
local function lock_of(mode)
    if mode == nil then
        return 0
    end
    local number = lock_modes[mode]
    if not number then
        raise(core.ERROR_INVALID, "a lock is 'shared' or 'exclusive', not " .. tostring(mode))
    end
    return number
end

local function default_iterator(has_key)
    return has_key == 1 and iterators.EQ or iterators.ALL
end

-- -------------------------------------------------------------------------------- statements

local function get_locked(space_id, index_id, key, options)
    if type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'options are a table')
    end
    local lock = lock_of(options.lock)
    native.encode(0, key)
    if lock == 0 then
        check(api.get(runtime, space_id, index_id, row))
    else
        check(api.get_locked(runtime, space_id, index_id, lock, row))
    end
    return result(space_id)
end

local function get(space_id, index_id, key, options)
    local kind, code = type(key), nil
    if options ~= nil and key ~= nil then
        return get_locked(space_id, index_id, key, options)
    end
    if kind == 'number' then
        code = api.get_number(runtime, space_id, index_id, key, row)
    elseif kind == 'string' then
        code = api.get_string(runtime, space_id, index_id, key, #key, row)
    elseif key == nil then
        raise(core.ERROR_INVALID, 'get needs a key')
    else
        native.encode(0, key)
        code = api.get(runtime, space_id, index_id, row)
    end
    check(code)
    return result(space_id)
end

local function write(operation, space_id, index_id)
    check(api.write(runtime, operation, space_id, index_id, row))
    return result(space_id)
end

-- Without a compiler many calls through FFI are slower than one C function.
local compiled = jit.status()
local FLAT_FIELDS_MAX = 32

--- Encodes a table of nothing but numbers, strings and booleans in a way that stays in a compiled
--- trace; false: it is another.
local function encode_flat(content)
    local length, keys = #content, 0
    if length == 0 or length > FLAT_FIELDS_MAX or getmetatable(content) ~= nil then
        return false
    end
    for _ in pairs(content) do
        keys = keys + 1
    end
    if keys ~= length then
        return false
    end
    api.put_array(runtime, length)
    for position = 1, length do
        local value = content[position]
        local kind = type(value)
        if kind == 'number' then
            api.put_number(runtime, value)
        elseif kind == 'string' then
            api.put_string(runtime, value, #value)
        elseif kind == 'boolean' then
            api.put_boolean(runtime, value and 1 or 0)
        else
            return false
        end
    end
    check(api.put_end(runtime))
    return true
end

local function put(operation, space_id, content)
    if type(content) ~= 'table' and not tuple.is(content) then
        raise(core.ERROR_INVALID, 'a tuple or a table is expected')
    end
    if not (compiled and type(content) == 'table' and encode_flat(content)) then
        native.encode(0, content)
    end
    return write(operation, space_id, 0)
end

local function select(space_id, index_id, key, options)
    local iterator, limit, offset, lock = iterator_of(options), huge, 0, 0
    if type(options) == 'table' then
        limit, offset, lock = options.limit or huge, options.offset or 0, lock_of(options.lock)
    end
    local has_key = put_key(key)
    iterator = iterator or default_iterator(has_key)
    check(api.select(runtime, space_id, index_id, iterator, has_key, offset, limit, lock, row))
    local data, found = row.data, {}
    for n = 1, row.size do
        local size = ffi.cast('const uint32_t *', data)[0]
        found[n] = copy(data + 4, size, space_id)
        data = data + 4 + size
    end
    return found
end

local function count(space_id, index_id, key, options)
    local iterator, number = iterator_of(options), ffi.new('double[1]')
    local has_key = put_key(key)
    iterator = iterator or default_iterator(has_key)
    check(api.count(runtime, space_id, index_id, iterator, has_key, number))
    return number[0]
end

local function update(space_id, index_id, key, operations)
    if key == nil or type(operations) ~= 'table' then
        raise(core.ERROR_INVALID, 'update needs a key and a table of operations')
    end
    native.encode(0, key)
    native.encode(1, operations)
    return write(UPDATE, space_id, index_id)
end

local function delete(space_id, index_id, key)
    if key == nil then
        raise(core.ERROR_INVALID, 'delete needs a key')
    end
    native.encode(0, key)
    return write(DELETE, space_id, index_id)
end

-- --------------------------------------------------------------------------------- iteration

-- Iterators are closures: what they hold is memory, and nobody may get at it.

--- In a transaction: a cursor, which also sees what the loop writes.
local function over_cursor(cursor, space_id)
    return function(_, position)
        check(api.cursor_next(runtime, cursor, row))
        if row.data == nil then
            return nil
        end
        return position + 1, copy(row.data, row.size, space_id)
    end
end

--- Outside of one, or when they are locked: the rows that there are when the loop begins. They are
--- copied into memory of Lua's own, which its limit counts and which its collector knows the size of.
local function over_rows(number, space_id)
    local bytes = api.rows_bytes(runtime)
    local rows = ffi.new('char[?]', bytes)
    ffi.copy(rows, row.data, bytes)
    local data, passed = ffi.cast('const char *', rows), 0
    return function(_, position)
        if passed >= number or not rows then
            rows = nil
            return nil
        end
        local size = ffi.cast('const uint32_t *', data)[0]
        local found = copy(data + 4, size, space_id)
        data, passed = data + 4 + size, passed + 1
        return position + 1, found
    end
end

local function iterate(space_id, index_id, key, options)
    local iterator = iterator_of(options)
    local lock = type(options) == 'table' and lock_of(options.lock) or 0
    local has_key = put_key(key)
    iterator = iterator or default_iterator(has_key)
    if lock == 0 and api.in_transaction(runtime) ~= 0 then
        local cursor = ffi.new('struct perigee_cursor')
        check(api.cursor_open(runtime, space_id, index_id, iterator, has_key, cursor))
        return over_cursor(cursor, space_id), nil, 0
    end
    check(api.select(runtime, space_id, index_id, iterator, has_key, 0, huge, lock, row))
    return over_rows(row.size, space_id), nil, 0
end

-- ----------------------------------------------------------------------------------- objects

local index_methods, space_methods = {}, {}

function index_methods.get(self, key, options)
    return get(self.space_id, self.id, key, options)
end

function index_methods.select(self, key, options)
    check_self(self, 'select')
    return select(self.space_id, self.id, key, options)
end

function index_methods.pairs(self, key, options)
    check_self(self, 'pairs')
    return iterate(self.space_id, self.id, key, options)
end

function index_methods.count(self, key, options)
    check_self(self, 'count')
    return count(self.space_id, self.id, key, options)
end

function index_methods.min(self, key)
    check_self(self, 'min')
    return select(self.space_id, self.id, key, { iterator = 'GE', limit = 1 })[1]
end

function index_methods.max(self, key)
    check_self(self, 'max')
    return select(self.space_id, self.id, key, { iterator = 'LE', limit = 1 })[1]
end

function index_methods.update(self, key, operations)
    check_self(self, 'update')
    return update(self.space_id, self.id, key, operations)
end

function index_methods.delete(self, key)
    check_self(self, 'delete')
    return delete(self.space_id, self.id, key)
end

function index_methods.len(self)
    check_self(self, 'len')
    return api.len(runtime, self.space_id)
end

function index_methods.drop(self)
    check_self(self, 'drop')
    native.index_drop(self.space_id, self.id)
end

function space_methods.insert(self, content)
    check_self(self, 'insert')
    return put(INSERT, self.id, content)
end

function space_methods.replace(self, content)
    check_self(self, 'replace')
    return put(REPLACE, self.id, content)
end
space_methods.put = space_methods.replace

function space_methods.upsert(self, content, operations)
    check_self(self, 'upsert')
    if type(operations) ~= 'table' then
        raise(core.ERROR_INVALID, 'upsert needs a tuple and a table of operations')
    end
    native.encode(1, operations)
    put(UPSERT, self.id, content)
end

function space_methods.get(self, key, options)
    return get(self.id, 0, key, options)
end

--- space:lock('shared' or 'exclusive'): all of it, until the transaction ends.
function space_methods.lock(self, mode)
    check_self(self, 'lock')
    check(api.lock_space(runtime, self.id, lock_of(mode or 'exclusive')))
end

function space_methods.select(self, key, options)
    check_self(self, 'select')
    return select(self.id, 0, key, options)
end

function space_methods.pairs(self, key, options)
    check_self(self, 'pairs')
    return iterate(self.id, 0, key, options)
end

function space_methods.count(self, key, options)
    check_self(self, 'count')
    return count(self.id, 0, key, options)
end

function space_methods.len(self)
    check_self(self, 'len')
    local number = api.len(runtime, self.id)
    if number < 0 then
        raise(core.ERROR_NOT_FOUND, 'the space has been dropped')
    end
    return number
end

function space_methods.update(self, key, operations)
    check_self(self, 'update')
    return update(self.id, 0, key, operations)
end

function space_methods.delete(self, key)
    check_self(self, 'delete')
    return delete(self.id, 0, key)
end

function space_methods.drop(self)
    check_self(self, 'drop')
    native.space_drop(self.id)
end

function space_methods.truncate(self)
    check_self(self, 'truncate')
    native.space_truncate(self.id)
end

--- Without an argument gives the format, with one sets it.
function space_methods.format(self, format)
    check_self(self, 'format')
    if format == nil then
        local description = native.space(self.id)
        return description and description.format
    end
    native.space_format(self.id, definition.format(format))
end

--- space:create_index(name, {type, unique, parts, if_not_exists})
function space_methods.create_index(self, name, options)
    check_self(self, 'create_index')
    if options ~= nil and type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'options are a table')
    end
    native.index_create(self.id, name, definition.index(options))
    return self.index[name]
end

local function serialize_index(self)
    return { id = self.id, name = self.name, type = self.type, unique = self.unique, parts = self.parts }
end

local function copy_parts(parts)
    local copies = {}
    for position, part in ipairs(parts) do
        copies[position] = { fieldno = part.fieldno, type = part.type, is_nullable = part.is_nullable }
    end
    return copies
end

local function new_index(space_id, description)
    local fields = setmetatable({
        space_id = space_id,
        id = description.id,
        name = description.name,
        type = description.type,
        unique = description.unique,
    }, {
        -- the object is shared, and what it gives away may be changed: a copy for each
        __index = function(_, key)
            return key == 'parts' and copy_parts(description.parts) or index_methods[key]
        end,
    })
    return core.object(fields, { serialize = serialize_index })
end

--- The indexes of a space by name and by number, asked for anew when the schema has changed.
local function new_index_map(space_id)
    local version, map, plain = -1, {}, {}
    local function refresh()
        local current = api.schema_version(runtime)
        if current == version then
            return
        end
        version, map, plain = current, {}, {}
        local description = native.space(space_id)
        for _, index in ipairs(description and description.indexes or {}) do
            local object = new_index(space_id, index)
            map[index.name], map[index.id], plain[index.name] = object, object, object
        end
    end
    return core.object(function(_, key)
        refresh()
        return map[key]
    end, {
        serialize = function()
            refresh()
            return plain
        end,
    })
end

local function serialize_space(self)
    local format = self:format()
    return { id = self.id, name = self.name, engine = self.engine, format = format, index = self.index }
end

local function new_space(description)
    local fields = setmetatable({
        id = description.id,
        name = description.name,
        engine = description.engine,
        index = new_index_map(description.id),
    }, { __index = space_methods })
    return core.object(fields, { serialize = serialize_space })
end

-- --------------------------------------------------------------------------------- box.space

local spaces, spaces_version = {}, -1

local function find_space(_, key)
    local version = api.schema_version(runtime)
    if version ~= spaces_version then
        spaces, spaces_version = {}, version
    end
    local space = spaces[key]
    if space == nil then
        local description = native.space(key)
        if description == nil then
            return nil
        end
        space = new_space(description)
        spaces[key] = space
    end
    return space
end

return {
    --- box.space
    space = core.object(find_space, {
        serialize = function() return native.spaces() end,
    }),
    --- box.index: the iterators' names
    index = core.object(iterators),
}
