-- SPDX-License-Identifier: Apache-2.0
--
-- box.space: spaces and indexes as objects, and the statements on them.
--
-- A space object holds the space's number; what is known of its indexes is asked for again when the
-- schema version has changed. A statement outside of a transaction is a transaction of its own.
--
-- What is asked of an index beyond a key stands in `scan`, which C reads at once. It is filled in last,
-- because what users give may run code that makes statements of its own: tables with metatables.

local ffi = require('ffi')
local core = require('box.core')
local job = require('box.job')
local definition = require('box.definition')
local encode = require('box.encode')
local ingest = require('box.ingest')
local redis_view = require('box.redis_view')
local sequence = require('box.sequence')
local transaction = require('box.transaction')
local trigger = require('box.trigger')
local tuple = require('box.tuple')
local view = require('box.view')
require('fun')

local native, api, runtime, row, scan = core.native, core.api, core.runtime, core.row, core.scan
local wrap_iterator = core.wrap_iterator
local check, raise = core.check, core.raise
local copy = tuple.copy
local huge = math.huge

local INSERT, REPLACE, DELETE, UPDATE, UPSERT = 0, 1, 2, 3, 4
-- Rows in any order are those in order.
local iterators = { EQ = 0, REQ = 1, ALL = 2, LT = 3, LE = 4, GE = 5, GT = 6, ANY = 2 }
local AFTER_NONE, AFTER_TUPLE, AFTER_POSITION = 0, 1, 2

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
    encode.array(0, key)
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
    if type(number) ~= 'number' or not (number >= 0 and number <= 6 and number % 1 == 0) then
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

--- A number of rows from the options.
local function rows_of(number, otherwise, name)
    if number == nil then
        return otherwise
    end
    if type(number) ~= 'number' or number ~= number or number < 0 then
        raise(core.ERROR_INVALID, name .. ' is a number of rows')
    end
    return number
end

--- Encodes what to go on behind: a tuple, a table like one, or a position that a select has given.
local function put_after(space_id, index_id, after)
    if after == nil then
        return AFTER_NONE
    elseif type(after) == 'string' then
        native.after(after, space_id, index_id)
        return AFTER_POSITION
    elseif type(after) ~= 'table' and not tuple.is(after) then
        raise(core.ERROR_INVALID, 'after is a tuple or a position')
    end
    encode.array(1, after)
    return AFTER_TUPLE
end

--- Fills in `scan` from a key and options (iterator, after, limit, offset, lock, fetch_pos); a limit
--- and an offset only when they are asked for.
local function put_scan(space_id, index_id, key, options, limited)
    local iterator, limit, offset, lock, after, fetch = iterator_of(options), huge, 0, 0, nil, nil
    if type(options) == 'table' then
        lock, after = lock_of(options.lock), options.after
        if limited then
            limit, offset = rows_of(options.limit, huge, 'limit'), rows_of(options.offset, 0, 'offset')
            fetch = options.fetch_pos
        end
    elseif options ~= nil and iterator == nil then
        raise(core.ERROR_INVALID, 'options are a table')
    end
    local has_key = put_key(key)
    after = put_after(space_id, index_id, after)
    scan.iterator = iterator or (has_key == 1 and iterators.EQ or iterators.ALL)
    scan.has_key, scan.lock, scan.after, scan.fetch = has_key, lock, after, fetch and 1 or 0
    scan.limit, scan.offset = limit, offset
    return lock
end

-- -------------------------------------------------------------------------------- statements

local function get_locked(space_id, index_id, key, options)
    if type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'options are a table')
    end
    local lock = lock_of(options.lock)
    encode.array(0, key)
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
        encode.array(0, key)
        code = api.get(runtime, space_id, index_id, row)
    end
    check(code)
    return result(space_id)
end

--- A tuple for each key, box.NULL where there is none.
local function get_many(space_id, index_id, keys, options)
    if type(keys) ~= 'table' then
        raise(core.ERROR_INVALID, 'get_many needs a table of keys')
    elseif options ~= nil then
        raise(core.ERROR_INVALID, 'get_many has no options: use get, or select, to lock rows')
    end
    encode.array(0, keys)
    check(api.get_many(runtime, space_id, index_id, row))
    local data, found = row.data, {}
    for n = 1, row.size do
        local size = ffi.cast('const uint32_t *', data)[0]
        found[n] = size > 0 and copy(data + 4, size, space_id) or core.NULL
        data = data + 4 + size
    end
    return found
end

-- What api.write answers when triggers may have to run, which what is called through FFI can't do.
local CALLS_OUT = 1

local function write(operation, space_id, index_id)
    local code = api.write(runtime, operation, space_id, index_id, row)
    if code == CALLS_OUT then
        code = native.write(operation, space_id, index_id)
    end
    check(code)
    return result(space_id)
end

local function put(operation, space_id, content)
    if type(content) ~= 'table' and not tuple.is(content) then
        raise(core.ERROR_INVALID, 'a tuple or a table is expected')
    end
    encode.array(0, content)
    return write(operation, space_id, 0)
end

--- A tuple of only these fields, given by number or name.
local function project(whole, fields)
    local content = {}
    for position = 1, #fields do
        local value = whole[fields[position]]
        content[position] = value == nil and core.NULL or value
    end
    return tuple.new(content)
end

local function select(space_id, index_id, key, options)
    local fields = type(options) == 'table' and options.fields or nil
    if fields ~= nil and type(fields) ~= 'table' then
        raise(core.ERROR_INVALID, 'fields are a table of names and numbers')
    end
    put_scan(space_id, index_id, key, options, true)
    local fetch = scan.fetch
    check(api.select(runtime, space_id, index_id, scan, row))
    local data, found = row.data, {}
    for n = 1, row.size do
        local size = ffi.cast('const uint32_t *', data)[0]
        found[n] = copy(data + 4, size, space_id)
        data = data + 4 + size
    end
    local position = fetch ~= 0 and native.position() or nil
    if fields then
        for n = 1, #found do
            found[n] = project(found[n], fields)
        end
    end
    if fetch ~= 0 then
        return found, position
    end
    return found
end

--- The first row that an iterator gives, or nil.
local function first(space_id, index_id, key, with_key, without)
    local has_key = put_key(key)
    scan.iterator = has_key == 1 and with_key or without
    scan.has_key, scan.lock, scan.after, scan.fetch = has_key, 0, AFTER_NONE, 0
    scan.limit, scan.offset = 1, 0
    check(api.select(runtime, space_id, index_id, scan, row))
    if row.size == 0 then
        return nil
    end
    return copy(row.data + 4, ffi.cast('const uint32_t *', row.data)[0], space_id)
end

local function count(space_id, index_id, key, options)
    local number = ffi.new('double[1]')
    put_scan(space_id, index_id, key, options)
    check(api.count(runtime, space_id, index_id, scan, number))
    return number[0]
end

local function update(space_id, index_id, key, operations)
    if key == nil or type(operations) ~= 'table' then
        raise(core.ERROR_INVALID, 'update needs a key and a table of operations')
    end
    encode.array(0, key)
    encode.operations(1, operations)
    return write(UPDATE, space_id, index_id)
end

local function delete(space_id, index_id, key)
    if key == nil then
        raise(core.ERROR_INVALID, 'delete needs a key')
    end
    encode.array(0, key)
    return write(DELETE, space_id, index_id)
end

-- --------------------------------------------------------------------------------- iteration

-- Iterators are closures: what they hold is memory, and nobody may get at it.

--- In a transaction: a cursor, which also sees what the loop writes. It is the parameter of one
--- generator that all of them share, since making a function ends a trace; the names of its members
--- are nobody's but ours.
local cursor_type, CURSOR_SPACE = ffi.typeof('struct perigee_cursor'), native.secret .. 'n'

local function cursor_step(cursor, position)
    if not ffi.istype(cursor_type, cursor) then
        error('the parameter of an iterator is its own', 2)
    end
    check(api.cursor_next(runtime, cursor, row))
    if row.data == nil then
        return nil
    end
    return position + 1, copy(row.data, row.size, tonumber(cursor[CURSOR_SPACE]))
end

local walk_type = ffi.metatype('struct perigee_walk', {
    __gc = function(self) api.walk_drop(runtime, self) end,
})

--- Copies the rows of the last batch into memory of Lua's own, which its limit counts and which its
--- collector knows the size of; `rows` again, if they fit into it.
local function keep_rows(rows, room)
    local bytes = api.rows_bytes(runtime)
    if bytes > room then
        rows, room = ffi.new('char[?]', bytes), bytes
    end
    ffi.copy(rows, row.data, bytes)
    return rows, room
end

--- Outside of a transaction, or when they are locked: the rows that there are when the loop begins.
--- `walk` brings more of them; nil: these are all.
local function over_rows(walk, space_id)
    local number, passed = row.size, 0
    local rows, room, data
    if number > 0 then
        rows, room = keep_rows(nil, 0)
        data = ffi.cast('const char *', rows)
    end
    return function(_, position)
        if passed >= number then
            if not walk or walk.walk == nil then
                rows, walk = nil, nil
                return nil
            end
            check(api.walk_next(runtime, walk, row))
            number, passed = row.size, 0
            if number == 0 then
                return nil
            end
            rows, room = keep_rows(rows, room)
            data = ffi.cast('const char *', rows)
        end
        local size = ffi.cast('const uint32_t *', data)[0]
        local found = copy(data + 4, size, space_id)
        data, passed = data + 4 + size, passed + 1
        return position + 1, found
    end
end

--- Iterators that nobody goes on with are let go of when Lua's collector has seen that.
local function open_walk(space_id, index_id)
    local code = api.walk_open(runtime, space_id, index_id, scan, core.walk, row)
    if code == core.ERROR_BUSY then
        collectgarbage() -- calls finalizers as well
        code = api.walk_open(runtime, space_id, index_id, scan, core.walk, row)
    end
    check(code)
    if core.walk.walk == nil then
        return nil
    end
    local walk = walk_type()
    walk.walk = core.walk.walk
    return walk
end

local function iterate(space_id, index_id, key, options)
    local lock = put_scan(space_id, index_id, key, options)
    if lock ~= 0 or (scan.stepped ~= 0 and api.in_transaction(runtime) ~= 0) then
        check(api.select(runtime, space_id, index_id, scan, row))
        return wrap_iterator(over_rows(nil, space_id), nil, 0)
    elseif api.in_transaction(runtime) ~= 0 then
        local cursor = cursor_type()
        check(api.cursor_open(runtime, space_id, index_id, scan, cursor))
        cursor[CURSOR_SPACE] = space_id
        return wrap_iterator(cursor_step, cursor, 0)
    end
    return wrap_iterator(over_rows(open_walk(space_id, index_id), space_id), nil, 0)
end

-- ----------------------------------------------------------------------------------- objects

local index_methods, space_methods = {}, {}

--- The sequence that was made for the primary key of a space, and goes with it.
local function made_sequence(space_id)
    local description = native.space(space_id)
    local primary = description and description.indexes[1]
    return primary and sequence.made_for(description.name, primary.sequence_id)
end

--- An index whose option `sequence` is true, a name, or {id = .., field = ..}. What was made for it goes
--- when it can't be.
local function create_with_sequence(self, name, options)
    local index = definition.index(options)
    if self.index[name] and options.if_not_exists then
        return
    end
    local id, place, made = sequence.of_index(options.sequence, self.name)
    for position, field in ipairs(self:format() or {}) do
        if field.name == place then
            place = position
        end
    end
    index.sequence, index.sequence_field = id, place
    local ok, err = pcall(function() job.finish(native.index_create(self.id, name, index)) end)
    if not ok then
        if made then
            pcall(native.sequence_drop, id)
        end
        error(err, 0)
    end
end

function index_methods.get(self, key, options)
    return get(self.space_id, self.id, key, options)
end

function index_methods.get_many(self, keys, options)
    check_self(self, 'get_many')
    return get_many(self.space_id, self.id, keys, options)
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

--- The first row, of those that begin with the key when there is one.
function index_methods.min(self, key)
    check_self(self, 'min')
    return first(self.space_id, self.id, key, iterators.EQ, iterators.ALL)
end

--- The last one.
function index_methods.max(self, key)
    check_self(self, 'max')
    return first(self.space_id, self.id, key, iterators.REQ, iterators.REQ)
end

--- A row that the seed picks; without one, any.
function index_methods.random(self, seed)
    check_self(self, 'random')
    seed = tonumber(seed) or native.seed()
    check(api.pick(runtime, self.space_id, self.id, 4, math.abs(seed) % 2 ^ 53, row))
    return result(self.space_id)
end

--- The row before which a share `level`, from 0 to 1, of those from one key to another (without it) lies.
function index_methods.quantile(self, level, from, to)
    check_self(self, 'quantile')
    if type(level) ~= 'number' or level ~= level or level < 0 or level > 1 then
        raise(core.ERROR_INVALID, 'quantile needs a level from 0 to 1')
    end
    local keys = put_key(from)
    if to ~= nil and not (type(to) == 'table' and next(to) == nil) then
        encode.array(1, to)
        keys = keys + 2
    end
    check(api.pick(runtime, self.space_id, self.id, keys, level, row))
    return result(self.space_id)
end

--- Bytes that the index takes, beside the rows.
function index_methods.bsize(self)
    check_self(self, 'bsize')
    return native.index_stat(self.space_id, self.id).bytes
end

--- entries, bytes, and how far it is built: build_rows of build_total.
function index_methods.stat(self)
    check_self(self, 'stat')
    return native.index_stat(self.space_id, self.id)
end

--- Where the tuple stands in the index, or would stand: for `after`.
function index_methods.tuple_pos(self, content)
    check_self(self, 'tuple_pos')
    if type(content) ~= 'table' and not tuple.is(content) then
        raise(core.ERROR_INVALID, 'a tuple or a table is expected')
    end
    put_scan(self.space_id, self.id, nil, { after = content })
    scan.fetch = 2
    check(api.select(runtime, self.space_id, self.id, scan, row))
    return native.position()
end

--- Has nothing to do: an index in memory gives back what it does not need as it goes.
function index_methods.compact(self)
    check_self(self, 'compact')
end

function index_methods.rename(self, name)
    check_self(self, 'rename')
    if type(name) ~= 'string' then
        raise(core.ERROR_INVALID, 'the name of an index is a string')
    end
    native.index_rename(self.space_id, self.id, name)
end

--- Makes the index again of the rows, beside writers; readers have the old one until it is ready.
function index_methods.rebuild(self)
    check_self(self, 'rebuild')
    job.finish(native.index_rebuild(self.space_id, self.id))
end

local alterable = { 'type', 'unique', 'parts', 'func', 'is_multikey', 'condition', 'covers' }

--- What an index is now, as create_index takes it, with what is given in its place.
local function altered(index, options)
    local all = { id = index.id }
    for _, key in ipairs(alterable) do
        all[key] = index[key]
        if key == 'func' and all[key] and native.function_info(all[key]) == nil then
            all[key] = index.func_text or all[key] -- of one that has been dropped
        end
        if options[key] ~= nil then
            all[key] = options[key]
        elseif key == 'parts' then
            for _, part in ipairs(all.parts) do
                part.field, part.fieldno = part.fieldno, nil
            end
        end
    end
    for key in pairs(options) do
        if key ~= 'name' and all[key] == nil then
            raise(core.ERROR_INVALID, ('"%s" of an index can not be altered'):format(tostring(key)))
        end
    end
    return definition.index(all)
end

--- index:alter{name, type, unique, parts, ..}: what is given takes the place of what was. More than a
--- name is a new index with the number of the old one, in one schema transaction.
function index_methods.alter(self, options)
    check_self(self, 'alter')
    if type(options) ~= 'table' or next(options) == nil then
        raise(core.ERROR_INVALID, 'options are a table')
    end
    if next(options) == 'name' and next(options, 'name') == nil then
        return self:rename(options.name)
    elseif self.id == 0 then
        raise(core.ERROR_UNSUPPORTED, 'of a primary index only the name can be altered')
    end
    local space_id, id, name, all = self.space_id, self.id, options.name or self.name, altered(self, options)
    local function exchange()
        native.index_drop(space_id, id)
        native.index_create(space_id, name, all)
    end
    if api.in_transaction(runtime) ~= 0 then
        return exchange()
    end
    transaction.atomic({ schema = true }, exchange)
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
    local made = made_sequence(self.space_id)
    native.index_drop(self.space_id, self.id)
    if made and self.id == 0 then
        made:drop()
    end
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
    encode.operations(1, operations)
    put(UPSERT, self.id, content)
end

function space_methods.get(self, key, options)
    return get(self.id, 0, key, options)
end

function space_methods.get_many(self, keys, options)
    check_self(self, 'get_many')
    return get_many(self.id, 0, keys, options)
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

--- Bytes of the tuples that there are.
function space_methods.bsize(self)
    check_self(self, 'bsize')
    return native.space_bytes(self.id)
end

function space_methods.update(self, key, operations)
    check_self(self, 'update')
    return update(self.id, 0, key, operations)
end

function space_methods.delete(self, key)
    check_self(self, 'delete')
    return delete(self.id, 0, key)
end

--- A tuple of the fields in a map by name; {table = true}: a table. What is absent is nil.
function space_methods.frommap(self, map, options)
    check_self(self, 'frommap')
    if type(map) ~= 'table' or (options ~= nil and type(options) ~= 'table') then
        raise(core.ERROR_INVALID, 'usage: space:frommap(map, {table = true})')
    end
    local positions, content, last = {}, {}, 0
    for position, field in ipairs(self:format() or {}) do
        positions[field.name] = position
    end
    for name, value in pairs(map) do
        local position = positions[name]
        if not position then
            raise(core.ERROR_INVALID, ('space "%s" has no field "%s"'):format(self.name, tostring(name)))
        end
        content[position], last = value, math.max(last, position)
    end
    for position = 1, last do
        if content[position] == nil then
            content[position] = core.NULL
        end
    end
    return options and options.table and content or tuple.of(content, self.id)
end

function space_methods.drop(self)
    check_self(self, 'drop')
    local made = made_sequence(self.id)
    native.space_drop(self.id)
    if made then
        made:drop()
    end
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
        return description and definition.shown(description, native.space).format
    end
    job.finish(native.space_format(self.id, definition.format(format)))
end

--- space:alter{name, format, field_count, constraint, foreign_key, and options of its engine}: what is given
--- takes the place of what was; all rows must fit.
function space_methods.alter(self, options)
    check_self(self, 'alter')
    if type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'options are a table')
    end
    job.finish(native.space_alter(self.id, definition.alter(options)))
end

--- Merges all files of a space of the engine 'lsm'. True when it has ended, false where nothing can be waited
--- for: then it goes on, as box.stat.lsm shows. A fiber that is cancelled waits no longer.
function space_methods.compact(self)
    check_self(self, 'compact')
    local failures = native.compact_begin(self.id)
    return job.wait(function() return native.compact_ended(self.id, failures) end, 0.02)
end

--- space:ingest(tuples), or of an iterator: box/ingest.lua tells of it.
function space_methods.ingest(self, source, param, state)
    check_self(self, 'ingest')
    return ingest.all(self.id, source, param, state)
end

--- What a space takes: rows, their bytes, and what each index takes.
function space_methods.stat(self)
    check_self(self, 'stat')
    local description = native.space(self.id) or { indexes = {} }
    local stat = { rows = 0, bytes = 0, index_bytes = 0, index = {} }
    for _, index in ipairs(description.indexes) do
        local one = native.index_stat(self.id, index.id)
        stat.index[index.name], stat.index_bytes = one, stat.index_bytes + one.bytes
    end
    if description.indexes[1] then
        stat.rows, stat.bytes = self:len(), native.space_bytes(self.id)
    end
    return stat
end

--- With false the triggers of the space are there and don't run, on any worker, until it is called with
--- true.
function space_methods.run_triggers(self, run)
    check_self(self, 'run_triggers')
    if type(run) ~= 'boolean' then
        raise(core.ERROR_INVALID, 'run_triggers takes true or false')
    end
    native.space_alter(self.id, { run_triggers = run })
end

function space_methods.rename(self, name)
    check_self(self, 'rename')
    if type(name) ~= 'string' then
        raise(core.ERROR_INVALID, 'the name of a space is a string')
    end
    native.space_alter(self.id, { name = name })
end

--- space:create_index(name, {type, unique, parts, if_not_exists})
function space_methods.create_index(self, name, options)
    check_self(self, 'create_index')
    if options ~= nil and type(options) ~= 'table' then
        raise(core.ERROR_INVALID, 'options are a table')
    end
    if options and options.sequence then
        create_with_sequence(self, name, options)
    else
        job.finish(native.index_create(self.id, name, definition.index(options)))
    end
    return self.index[name]
end

--- space:create_trigger(name, {event, body or func, when, order, ..}): see box.schema.trigger.create
function space_methods.create_trigger(self, name, options)
    check_self(self, 'create_trigger')
    trigger.create_of_space(self, name, options)
end
space_methods.on_replace = trigger.method('on_replace')
space_methods.before_replace = trigger.method('before_replace')
space_methods.on_delete = trigger.method('on_delete')
space_methods.instead_of = trigger.method('instead_of')

local function serialize_index(self)
    return {
        id = self.id,
        name = self.name,
        type = self.type,
        unique = self.unique,
        parts = self.parts,
        func = self.func,
        is_multikey = self.is_multikey,
        condition = self.condition,
        covers = self.covers,
    }
end

local function copy_deep(value)
    if type(value) ~= 'table' then
        return value
    end
    local deep = {}
    for key, element in pairs(value) do
        deep[key] = copy_deep(element)
    end
    return deep
end

--- Methods that a file gives to all spaces or all indexes, in its own state.
local function given_methods(methods)
    local given = {}
    return given, core.object(given, {
        __newindex = function(_, name, method)
            if not native.trusted then
                raise(core.ERROR_UNSUPPORTED, 'only a file that runs gives methods to spaces and indexes: '
                    .. 'every worker has Lua of its own')
            elseif type(name) ~= 'string' or (method ~= nil and type(method) ~= 'function') then
                raise(core.ERROR_INVALID, 'a method is a function with a name')
            elseif methods[name] then
                raise(core.ERROR_EXISTS, ('there is a method "%s" already'):format(name))
            end
            given[name] = method
        end,
    })
end

local space_given, space_mt = given_methods(space_methods)
local index_given, index_mt = given_methods(index_methods)

--- What index objects have besides their own fields.
local described = { parts = true, condition = true, covers = true }

local function new_index(space_id, description)
    local fields = setmetatable({
        space_id = space_id,
        id = description.id,
        name = description.name,
        type = description.type,
        unique = description.unique,
        func = description.func,
        func_text = description.func_text,
        is_multikey = description.is_multikey,
    }, {
        -- the object is shared, and what it gives away may be changed: a copy for each
        __index = function(_, key)
            return described[key] and copy_deep(description[key]) or index_methods[key] or index_given[key]
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
        -- in force when all of it is there, the version last: the time of a request may be over anywhere
        local by_any, by_name = {}, {}
        local description = native.space(space_id)
        for _, index in ipairs(description and description.indexes or {}) do
            local object = new_index(space_id, index)
            by_any[index.name], by_any[index.id], by_name[index.name] = object, object, object
        end
        map, plain = by_any, by_name
        version = current
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
    return {
        id = self.id,
        name = self.name,
        engine = self.engine,
        format = self:format(),
        index = self.index,
        field_count = self.field_count,
        constraint = self.constraint,
        foreign_key = self.foreign_key,
        options = self.options,
    }
end

--- What space objects have besides: as definitions of it say, a copy for each who asks.
local shown = { constraint = true, foreign_key = true }

--- Whether it can have rows: it has an index.
local function is_enabled(space_id)
    local description = native.space(space_id)
    return description ~= nil and description.indexes[1] ~= nil
end

--- The options of its engine, as they are now; nil of one that has none.
local function options_of(space_id)
    local description = native.space(space_id)
    return description and description.options
end

local function new_space(description)
    local fields = setmetatable({
        id = description.id,
        name = description.name,
        engine = description.engine,
        index = new_index_map(description.id),
        field_count = description.field_count,
        temporary = description.flags and description.flags.temporary or false,
        is_local = description.flags and description.flags.is_local or false,
    }, {
        __index = function(_, key)
            if key == 'enabled' then
                return is_enabled(description.id)
            elseif key == 'options' then
                return options_of(description.id)
            end
            return shown[key] and definition.shown(description, native.space)[key]
                or description.view and view.methods[key] or space_methods[key] or space_given[key]
        end,
    })
    return core.object(fields, { serialize = serialize_space })
end

-- --------------------------------------------------------------------------------- box.space

local spaces, spaces_version = {}, -1
-- Named, and not among those that pairs goes over.
local redis_views = redis_view(space_methods)

-- What Tarantool's clients read the schema by: system spaces can only be read anyhow.
local aliases = {
    _vspace = '_space',
    _vindex = '_index',
    _vfunc = '_func',
    _vuser = '_user',
    _vpriv = '_priv',
    _vsequence = '_sequence',
}

local function find_space(_, key)
    local version = api.schema_version(runtime)
    key = aliases[key] or key
    if redis_views[key] then
        return redis_views[key]
    end
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
        --- for name, space in pairs(box.space)
        __pairs = function()
            local names, position = native.spaces(), 0
            return function()
                position = position + 1
                local name = names[position]
                if name ~= nil then
                    return name, find_space(nil, name)
                end
            end
        end,
    }),
    --- box.index: the iterators' names
    index = core.object(iterators),
    --- box.schema.space_mt, index_mt
    space_mt = space_mt,
    index_mt = index_mt,
}
