-- SPDX-License-Identifier: Apache-2.0
--
-- Views: spaces without rows, read by running their definition, the text of a Lua function that returns
-- an iterator, or a table, of tuples or tables:
--
--     box.schema.space.create('rich', { view = [[function()
--         return box.space.accounts:pairs():filter(function(t) return t.balance > 1000 end)
--     end]] })
--
-- The function runs with the rights, and in the transaction, of whoever reads. There is no order but
-- the one it gives, so select, pairs, count and get go over all of it and compare the first fields with
-- the key: iterators are EQ and ALL. Writes go to instead_of triggers, or are refused.

local core = require('box.core')
local procedure = require('box.procedure')
local tuple = require('box.tuple')
local fun = require('fun')

local native, api, runtime = core.native, core.api, core.runtime
local raise = core.raise

local view = {}

local globals

--- What definitions see.
function view.set_globals(given)
    globals = given
end

-- By the number of the space; of one version of the schema.
local compiled, version = {}, -1

local function definition_of(self)
    local current = api.schema_version(runtime)
    if current ~= version then
        compiled = {}
        version = current -- last: the time of a request may be over anywhere
    end
    local fn = compiled[self.id]
    if not fn then
        local description = native.space(self.id)
        if not description or not description.view then
            raise(core.ERROR_NOT_FOUND, 'the view has been dropped')
        end
        fn = procedure.compile('view ' .. description.name, description.view, globals)
        compiled[self.id] = fn
    end
    return fn
end

local function as_tuple(row, id)
    if tuple.is(row) then
        return tuple.of_space(row, id)
    elseif type(row) == 'table' then
        return tuple.of(row, id)
    end
    raise(core.ERROR_INVALID, 'a view gives tuples or tables, not ' .. type(row))
end

--- All rows, as a fun iterator of tuples with the names of the view's format.
local function rows(self)
    local id = self.id
    native.space_readable(id)
    return fun.iter(definition_of(self)()):map(function(row) return as_tuple(row, id) end)
end

local function check_self(self, method)
    if type(self) ~= 'table' or type(self.id) ~= 'number' then
        error(('use object:%s(..) instead of object.%s(..)'):format(method, method), 3)
    end
end

local iterators = { EQ = true, ALL = true, ANY = true, [0] = true, [2] = true }

local function check_options(options)
    local iterator = options
    if type(options) == 'table' then
        iterator = options.iterator
        if options.after ~= nil or options.fetch_pos or options.lock then
            raise(core.ERROR_UNSUPPORTED, 'a view has no positions and no locks')
        end
    end
    if type(iterator) == 'string' then
        iterator = iterator:upper()
    end
    if iterator ~= nil and not iterators[iterator] then
        raise(core.ERROR_UNSUPPORTED, 'a view has no order: its iterators are EQ and ALL')
    end
end
view.check_options = check_options

--- The parts of a key; none: all rows have it.
local function parts_of(key)
    if key == nil then
        return {}
    end
    return tuple.is(key) and key:totable() or type(key) == 'table' and key or { key }
end

local function begins_with(row, parts)
    for position = 1, #parts do
        if row[position] ~= parts[position] then
            return false
        end
    end
    return true
end

--- The rows whose first fields are the key.
local function matching(self, key, options)
    check_options(options)
    local found, parts = rows(self), parts_of(key)
    if #parts == 0 then
        return found
    end
    return found:filter(function(row) return begins_with(row, parts) end)
end

view.methods = {}

function view.methods.pairs(self, key, options)
    check_self(self, 'pairs')
    local found = matching(self, key, options)
    return found, found.param, found.state
end

function view.methods.select(self, key, options)
    check_self(self, 'select')
    local found = matching(self, key, options)
    if type(options) == 'table' then
        if options.offset then
            found = found:drop(options.offset)
        end
        if options.limit and options.limit ~= math.huge then
            found = found:take(options.limit)
        end
    end
    return found:totable()
end

function view.methods.get(self, key)
    check_self(self, 'get')
    if key == nil then
        raise(core.ERROR_INVALID, 'get needs a key')
    end
    return (matching(self, key):nth(1))
end

function view.check_keys(keys, options)
    if type(keys) ~= 'table' then
        raise(core.ERROR_INVALID, 'get_many needs a table of keys')
    elseif options ~= nil then
        raise(core.ERROR_INVALID, 'get_many of a view has no options')
    end
end

--- What get gives for each of the keys, box.NULL for nothing; goes over the view once.
function view.methods.get_many(self, keys, options)
    check_self(self, 'get_many')
    view.check_keys(keys, options)
    local wanted, found, left = {}, {}, #keys
    for n = 1, #keys do
        if keys[n] == nil then
            raise(core.ERROR_INVALID, ('key %d of %d: get_many needs a key'):format(n, #keys))
        end
        wanted[n], found[n] = parts_of(keys[n]), core.NULL
    end
    for _, row in rows(self):unwrap() do
        if left == 0 then
            break
        end
        for n = 1, #wanted do
            if found[n] == nil and begins_with(row, wanted[n]) then
                found[n], left = row, left - 1
            end
        end
    end
    return found
end

function view.methods.count(self, key, options)
    check_self(self, 'count')
    return matching(self, key, options):length()
end

function view.methods.len(self)
    check_self(self, 'len')
    return rows(self):length()
end

for _, method in ipairs({ 'create_index', 'truncate', 'lock' }) do
    view.methods[method] = function()
        raise(core.ERROR_UNSUPPORTED, 'a view has no rows and no indexes: no ' .. method)
    end
end

--- For box.schema.space.create: raises what is wrong with a definition.
function view.check(name, text)
    if type(text) ~= 'string' then
        raise(core.ERROR_INVALID, 'the definition of a view is Lua source in a string')
    end
    procedure.check('view ' .. name, text)
end

return view
