-- SPDX-License-Identifier: Apache-2.0
--
-- Redis's data as spaces that can be read: box.space._redis has a tuple for each key, _redis_hash,
-- _redis_list and so on one for each element of the keys of that type.
--
--     box.space._redis:get({ 0, 'cart:7' })                -- {0, 'cart:7', 'hash', nil}
--     box.space._redis_hash:select({ 0, 'cart:7' })        -- {0, 'cart:7', 'apples', '3'} ..
--
-- Nothing is stored: what is asked for is read by the commands of Redis, in the transaction that runs
-- and with the rights of whoever reads, so a tuple is what redis.call would say at that place. A key of
-- a view begins with the number of a database and the name of a key; what is asked for by a longer one
-- is read alone, by a shorter one there is a walk over the keys, or over all databases.

local core = require('box.core')
local fun = require('fun')
local script = require('box.script')
local transaction = require('box.transaction')
local tuple = require('box.tuple')
local view = require('box.view')

local native, raise = core.native, core.raise

local command = script.waiting(native.redis_read)
local DATABASES = 16

--- The reply of a command in a database; false when the key is of another type.
local function ask(database, ...)
    local reply = command(database, ...)
    if type(reply) ~= 'table' or not reply.err then
        return reply
    elseif reply.err:find('^WRONGTYPE') then
        return false
    end
    raise(reply.err:find('^NOPERM') and core.ERROR_ACCESS or core.ERROR_INVALID, reply.err)
end

-- --------------------------------------------------------------------------------- the views

--- For what is read in pairs: fields with values, members with scores.
local function pairs_of(reply, convert)
    local rows = {}
    for n = 1, reply and #reply or 0, 2 do
        rows[#rows + 1] = { reply[n], convert and convert(reply[n + 1]) or reply[n + 1] }
    end
    return rows
end

local function expiry_of(database, key)
    local time = ask(database, 'PEXPIRETIME', key)
    return time and time >= 0 and time or core.NULL
end

-- Of each: the fields behind `database` and `key`; rows(database, key) of one key, without these two;
-- one(database, key, third) of the row with this third field; `size`, the command that counts them.
local kinds = {
    _redis = {
        fields = { { 'type', 'string' }, { 'expire', 'unsigned' } },
        rows = function(database, key)
            local kind = ask(database, 'TYPE', key).ok
            return kind ~= 'none' and { { kind, expiry_of(database, key) } } or {}
        end,
    },
    _redis_string = {
        type = 'string',
        fields = { { 'value', 'string' } },
        rows = function(database, key)
            local value = ask(database, 'GET', key)
            return value and { { value } } or {}
        end,
    },
    _redis_hash = {
        type = 'hash',
        fields = { { 'field', 'string' }, { 'value', 'string' } },
        rows = function(database, key) return pairs_of(ask(database, 'HGETALL', key)) end,
        one = function(database, key, field)
            local value = ask(database, 'HGET', key, field)
            return value and { field, value }
        end,
        size = 'HLEN',
    },
    _redis_list = {
        type = 'list',
        fields = { { 'index', 'unsigned' }, { 'value', 'string' } },
        rows = function(database, key)
            local rows = ask(database, 'LRANGE', key, 0, -1) or {}
            for n, value in ipairs(rows) do
                rows[n] = { n - 1, value }
            end
            return rows
        end,
        one = function(database, key, index)
            local value = index >= 0 and ask(database, 'LINDEX', key, index)
            return value and { index, value }
        end,
        size = 'LLEN',
        third = 'number',
    },
    _redis_set = {
        type = 'set',
        fields = { { 'member', 'string' } },
        rows = function(database, key)
            local rows = ask(database, 'SMEMBERS', key) or {}
            for n, member in ipairs(rows) do
                rows[n] = { member }
            end
            return rows
        end,
        one = function(database, key, member)
            return ask(database, 'SISMEMBER', key, member) == 1 and { member }
        end,
        size = 'SCARD',
    },
    _redis_zset = {
        type = 'zset',
        fields = { { 'member', 'string' }, { 'score', 'double' } },
        rows = function(database, key)
            return pairs_of(ask(database, 'ZRANGE', key, 0, -1, 'WITHSCORES'), tonumber)
        end,
        one = function(database, key, member)
            local score = ask(database, 'ZSCORE', key, member)
            return score and { member, tonumber(score) }
        end,
        size = 'ZCARD',
    },
    _redis_stream = {
        type = 'stream',
        fields = { { 'id', 'string' }, { 'fields', 'array' } },
        rows = function(database, key) return ask(database, 'XRANGE', key, '-', '+') or {} end,
        one = function(database, key, id)
            return (ask(database, 'XRANGE', key, id, id) or {})[1]
        end,
        size = 'XLEN',
    },
}

-- ------------------------------------------------------------------------------------ reading

local function no_such(kind, what)
    raise(core.ERROR_INVALID, ('a key of %s is {%s}%s'):format(kind.name, kind.shape, what or ''))
end

--- Whether a key may be one of the view: its parts, as an array.
local function parts_of(kind, key)
    local parts = tuple.is(key) and key:totable() or type(key) == 'table' and key or { key }
    local database = parts[1]
    if #parts > kind.parts then
        no_such(kind)
    elseif database ~= nil and (type(database) ~= 'number' or database % 1 ~= 0 or database < 0
        or database >= DATABASES) then
        no_such(kind, (': databases are numbers from 0 to %d'):format(DATABASES - 1))
    elseif parts[2] ~= nil and type(parts[2]) ~= 'string'
        or parts[3] ~= nil and type(parts[3]) ~= kind.third then
        no_such(kind)
    end
    return parts
end

--- The rows of one key, an array of tuples.
local function of_key(kind, database, key, third)
    local rows
    if third ~= nil then
        rows = { kind.one(database, key, third) or nil }
    else
        rows = kind.rows(database, key)
    end
    for n, row in ipairs(rows) do
        rows[n] = tuple.new({ database, key, row[1], row[2] }, kind.format)
    end
    return rows
end

--- An iterator of {database, name} of the keys that may have rows.
local function names(kind, wanted)
    if wanted then
        local keys = ask(wanted, 'SCAN', 0, unpack(kind.type and { 'TYPE', kind.type } or {}))[2]
        return fun.iter(keys):map(function(key) return { wanted, key } end)
    end
    local database, keys = -1, {}
    local position = 0
    return fun.iter(function()
        while position >= #keys do
            database, position = database + 1, 0
            if database == DATABASES then
                return nil
            end
            keys = names(kind, database):totable()
        end
        position = position + 1
        return true, keys[position]
    end)
end

--- The rows of a key of the view, as a fun iterator of tuples.
local function rows_of(kind, parts)
    if parts[2] ~= nil then
        return fun.iter(of_key(kind, unpack(parts)))
    end
    local walk, parameter, state = names(kind, parts[1]):unwrap()
    local rows, position = {}, 0
    return fun.iter(function()
        while position >= #rows do
            local name
            state, name = walk(parameter, state)
            if state == nil then
                return nil
            end
            rows, position = of_key(kind, name[1], name[2]), 0
        end
        position = position + 1
        return true, rows[position]
    end)
end

--- fn(..) at one moment: in the transaction that runs, or in one of its own.
local function at_once(fn, ...)
    return transaction.atomic({ readonly = true, isolation = 'snapshot' }, fn, ...)
end

local function count_of(kind, parts)
    if parts[3] ~= nil or not kind.size then
        return rows_of(kind, parts):length()
    elseif parts[2] ~= nil then
        return ask(parts[1], kind.size, parts[2]) or 0
    end
    local sum = 0
    for _, name in names(kind, parts[1]):unwrap() do
        sum = sum + (ask(name[1], kind.size, name[2]) or 0)
    end
    return sum
end

local methods = {}

--- In a transaction what it sees; else each key as it is when the loop comes to it.
function methods.pairs(kind, key, options)
    view.check_options(options)
    local found = rows_of(kind, parts_of(kind, key))
    return found, found.param, found.state
end

function methods.select(kind, key, options)
    view.check_options(options)
    local parts = parts_of(kind, key)
    local offset = type(options) == 'table' and options.offset or 0
    local limit = type(options) == 'table' and options.limit or math.huge
    return at_once(function()
        local found = rows_of(kind, parts):drop(offset)
        return (limit < math.huge and found:take(limit) or found):totable()
    end)
end

function methods.get(kind, key)
    local parts = parts_of(kind, key)
    if #parts < kind.parts then
        no_such(kind, ', and get needs all of it')
    end
    return at_once(function() return of_key(kind, unpack(parts))[1] end)
end

function methods.get_many(kind, keys, options)
    view.check_keys(keys, options)
    return at_once(function()
        local found = {}
        for n = 1, #keys do
            local row = methods.get(kind, keys[n])
            found[n] = row == nil and core.NULL or row
        end
        return found
    end)
end

function methods.count(kind, key, options)
    view.check_options(options)
    return at_once(count_of, kind, parts_of(kind, key))
end

function methods.len(kind)
    return at_once(count_of, kind, {})
end

--- The fields, as a space tells them: {{name, type}, ..}
function methods.format(kind)
    local shown = {}
    for n, field in ipairs(kind.all_fields) do
        shown[n] = { name = field[1], type = field[2] }
    end
    return shown
end

-- ------------------------------------------------------------------------------------ objects

--- The object of a view; `known`: the names of a space's methods, which are refused when they are none
--- of ours.
local function new(name, kind, known)
    kind.name = name
    kind.all_fields = { { 'database', 'unsigned' }, { 'key', 'string' }, unpack(kind.fields) }
    kind.format = { format = tuple.new_format(kind.all_fields) }
    kind.parts, kind.third = kind.one and 3 or 2, kind.third or 'string'
    kind.shape = 'database, key' .. (kind.parts == 3 and ', ' .. kind.fields[1][1] or '')
    local space = native.space(name)
    local fields = {
        id = space and space.id, name = name, engine = 'redis', index = {}, field_count = 0,
        temporary = false, enabled = true,
    }
    for method, fn in pairs(methods) do
        fields[method] = function(self, ...)
            if type(self) ~= 'table' or self.name ~= name then
                error(('use object:%s(..) instead of object.%s(..)'):format(method, method), 2)
            end
            return fn(kind, ...)
        end
    end
    local function refuse(_, method)
        return known[method] and function()
            raise(core.ERROR_UNSUPPORTED, ('box.space.%s is read-only: use redis.call'):format(name))
        end
    end
    return core.object(setmetatable(fields, { __index = refuse }), {
        serialize = function() return { name = name, engine = 'redis', format = methods.format(kind) } end,
    })
end

--- The views by name.
return function(known)
    local objects = {}
    for name, kind in pairs(kinds) do
        objects[name] = new(name, kind, known)
    end
    return objects
end
