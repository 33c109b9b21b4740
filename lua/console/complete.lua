-- SPDX-License-Identifier: Apache-2.0
--
-- What may follow at the cursor: keywords, members of box, spaces, their indexes, methods and fields,
-- options, procedures, the console's own commands with what they take, Redis's commands and keys.

local command = require('console.command')
local complete_redis = require('console.complete_redis')
local help = require('console.help')
local setting = require('console.setting')
local signature = require('console.signature')

local complete = {}

local function words(s)
    local list = {}
    for word in s:gmatch('%S+') do
        list[#list + 1] = word
    end
    return list
end

--- 'name(' for each function of a list of signatures.
local function functions_of(list, more)
    local names = words(more or '')
    for name in pairs(list) do
        names[#names + 1] = name .. '('
    end
    return names
end

local space_methods = functions_of(signature.space)
local index_methods = functions_of(signature.index)

-- What stands behind a path that is the same on each server.
local members = {
    [''] = words('and assert( bit box break coroutine do else elseif end error( false for function goto if '
        .. 'in ipairs( load( local math next( nil not or os pairs( pcall( print( redis repeat require( '
        .. 'return select( setmetatable( string table then tonumber( tostring( true type( unpack( until '
        .. 'while xpcall('),
    ['box.index.'] = words('ALL ANY EQ GE GT LE LT REQ'),
    ['box.info.'] = words('checkpoint lua schema_version status uptime version'),
    ['box.txn_isolation_level.'] = words('READ_COMMITTED READ_UNCOMMITTED REPEATABLE_READ SERIALIZABLE'),
    ['string.'] = words('byte( char( find( format( gmatch( gsub( len( lower( match( rep( reverse( sub( '
        .. 'upper('),
    ['table.'] = words('concat( insert( maxn( move( remove( sort('),
    ['math.'] = words('abs( ceil( floor( fmod( huge max( min( modf( pi pow( random( sqrt('),
    ['os.'] = words('clock( date( difftime( time('),
    ['bit.'] = words('arshift( band( bnot( bor( bswap( bxor( lshift( rol( ror( rshift( tobit( tohex('),
    ['coroutine.'] = words('create( resume( running( status( wrap( yield('),
}

-- Beside functions, what there is.
local tables = {
    ['box.'] = 'NULL backup cfg debug error func index info module schema sequence session space stat '
        .. 'tuple txn_isolation_level',
    ['box.schema.'] = 'func migration role sequence space trigger user watch',
    ['box.session.'] = 'storage',
    ['box.tuple.'] = 'format',
    ['redis.'] = 'breakpoint( debug( replicate_commands( set_repl(',
}
for path, list in pairs(signature.path) do
    members[path] = functions_of(list, tables[path])
    tables[path] = nil
end
for path, list in pairs(tables) do
    members[path] = words(list)
end

local function names_of(list)
    local names = {}
    for _, item in ipairs(list) do
        if item.name:find('^[%a_][%w_]*$') then
            names[#names + 1] = item.name
        end
    end
    return names
end

--- What may follow `path`, which ends with '.' or ':' or is empty.
local function after(path, catalog)
    if path == 'box.space.' then
        return names_of(catalog.spaces)
    elseif path == 'box.func.' then
        return names_of(catalog.functions)
    elseif path:find('^box%.func%.[%w_]+:$') then
        return { 'call(' }
    end
    local name, rest = path:match('^box%.space%.([%w_]+)(.*)$')
    local space = name and catalog.by_name[name]
    if not space then
        return members[path] or {}
    elseif rest == ':' then
        return space_methods
    elseif rest == '.' then
        return words('enabled engine id index name')
    elseif rest == '.index.' then
        return names_of(space.indexes)
    elseif rest:find('^%.index%.[%w_]+:$') then
        return index_methods
    end
    return {}
end

-- ------------------------------------------------------------------------ the console's commands

local arguments = {}

arguments['\\d'] = function(catalog) return names_of(catalog.spaces) end
arguments['\\dt'] = arguments['\\d']
arguments['\\df'] = function(catalog) return names_of(catalog.functions) end
arguments['\\help'] = function() return help.topics() end
for _, switch in ipairs({ '\\x', '\\timing', '\\private' }) do
    arguments[switch] = function() return words('off on') end
end
arguments['\\set'] = function(_, given)
    local names = {}
    for n, one in ipairs(setting.list) do
        names[n] = one[1]
        if given == one[1] then
            return words((one[2]:gsub('|', ' ')))
        end
    end
    return given == '' and names or {}
end

--- Candidates for a line that begins with a backslash, and what is there of them.
local function of_command(line, catalog)
    local name = line:match('^%s*(\\%a*)$')
    if name then
        return command.names(), name
    end
    local verb, given, prefix = line:match('^%s*(\\%a+)%s+(.-)%s*([%w_]*)$')
    local list = verb and arguments[verb]
    return list and list(catalog, given) or {}, prefix or ''
end

-- ----------------------------------------------------------------------------------------- Lua

--- Values of options, by their names.
local values = {
    engine = words('btree lsm memory'),
    event = words('before_replace instead_of on_auth on_begin on_commit on_connect on_delete on_disconnect '
        .. 'on_replace on_rollback on_schema_change on_start statement'),
    isolation = words('read-committed read-uncommitted repeatable-read serializable snapshot'),
    iterator = words('ALL ANY EQ GE GT LE LT REQ'),
    lock = words('exclusive shared'),
    sort_order = words('asc desc'),
}
values.txn_isolation = values.isolation

--- What `type` may be in the options of a call, and in the tables within them.
local INDEX_TYPES = words('hash tree')
local FIELD_TYPES = words('any array boolean datetime decimal double integer interval map number scalar '
    .. 'string unsigned uuid varbinary')

--- Within quotes of a call: a value of the option before them, a field of the space, a name.
local function quoted(callee, place, space, catalog)
    local option = place.inner:match('([%a_][%w_]*)%s*=%s*$')
    local method = callee:match('[%w_]+$')
    local on_space = callee:find('^box%.space%.') ~= nil
    if option == 'type' then
        return method == 'create_index' and place.level == 1 and INDEX_TYPES or FIELD_TYPES
    elseif option == 'space' then
        return names_of(catalog.spaces)
    elseif option == 'func' and method == 'create' then
        return names_of(catalog.functions)
    elseif option then
        return values[option] or {}
    elseif place.level == 0 and place.inner:match('^%s*$') then
        local first = signature.first[callee] or signature.first[not on_space and '' or ':' .. method]
        if first == 'space' then
            return names_of(catalog.spaces)
        elseif first == 'func' then
            return names_of(catalog.functions)
        end
        return words(first or '')
    elseif place.level > 1 and space then
        local operator = (method == 'update' or method == 'upsert') and place.inner:match('^%s*$')
        return operator and words('! # & + - : = ^ |') or names_of(space.format or {})
    end
    return {}
end

--- Within quotes or braces of a call; nil where anything of Lua may stand.
local function within_call(line, catalog)
    local callee, place = signature.open_call(line)
    if not callee then
        return nil
    end
    local name = callee:match('^box%.space%.([%w_]+)')
    local space = name and catalog.by_name[name]
    if place.quoted then
        return quoted(callee, place, space, catalog), place.quoted
    elseif place.bracket == '{' and place.level == 1
        and (place.inner:find('^%s*[%w_]*$') or place.inner:find(',%s*[%w_]*$')) then
        local method = callee:match('[%w_]+$')
        local kind = not callee:find(':') and '' or callee:find('%.index%.') and 'index:' or 'space:'
        local list = signature.options[callee] or signature.options[kind .. method]
        return list and words((list:gsub('%S+', '%0='))), place.inner:match('[%w_]*$')
    end
    return nil
end

--- Within box.space[' and its like: names, also those that are no names of Lua.
local function within_brackets(line, catalog)
    local path, quote, prefix = line:match('([%a_][%w_%.]*)%s*%[%s*(["\'])([^"\']*)$')
    local name = path and path:match('^box%.space%.([%w_]+)%.index$')
    local space = name and catalog.by_name[name]
    local items = path == 'box.space' and catalog.spaces or path == 'box.func' and catalog.functions
        or space and space.indexes
    if not items then
        return nil
    end
    local list = {}
    for n, item in ipairs(items) do
        list[n] = item.name .. quote .. ']'
    end
    return list, prefix
end

--- The line with box.space.name for box.space['name'], and the catalog with that name: one of its own for
--- a space whose name is no name of Lua.
local function dotted(line, catalog)
    local by_name = setmetatable({}, { __index = catalog.by_name })
    local count = 0
    local plain = line:gsub('(box%.space)%[(["\'])([^"\']*)%2%]', function(path, _, name)
        count = count + 1
        local alias = 'space_' .. count .. '_in_brackets'
        by_name[alias] = catalog.by_name[name]
        return path .. '.' .. alias
    end)
    if count == 0 then
        return line, catalog
    end
    return plain, setmetatable({ by_name = by_name }, { __index = catalog })
end

--- Candidates for Lua, and the part of them that is there already.
local function of_lua(line, catalog)
    local list, prefix = within_brackets(line, catalog)
    if list then
        return list, prefix
    end
    line, catalog = dotted(line, catalog)
    list, prefix = within_brackets(line, catalog)
    if not list then
        list, prefix = within_call(line, catalog)
    end
    if list then
        return list, prefix
    end
    local path
    path, prefix = line:match('([%a_][%w_%.:]*[%.:])([%w_]*)$')
    if not path then
        path, prefix = '', line:match('[%w_]*$')
    end
    return prefix == '' and path == '' and {} or after(path, catalog), prefix
end

--- The candidates for what stands at the end of `line`, and the part of them that is there already.
---@param line string up to the cursor
---@param catalog table of console.catalog
---@param asked table? {names(), ask(...)} of Redis's
---@return string[] candidates, string prefix
function complete.candidates(line, catalog, asked)
    local list, prefix
    if line:find('^%s*\\') then
        list, prefix = of_command(line, catalog)
    elseif asked then
        list, prefix = complete_redis.candidates(line, catalog, asked)
    end
    if not list then
        list, prefix = of_lua(line, catalog)
    end
    local found = {}
    for _, word in ipairs(list) do
        if word:sub(1, #prefix) == prefix then
            found[#found + 1] = word
        end
    end
    table.sort(found)
    return found, prefix
end

--- What all candidates begin with.
---@param list string[]
---@return string
function complete.common(list)
    local first, last = list[1] or '', list[#list] or ''
    local size = 0
    while size < #first and first:byte(size + 1) == last:byte(size + 1) do
        size = size + 1
    end
    return first:sub(1, size)
end

--- The candidates in columns.
---@param list string[] sorted
---@param columns integer of the terminal
---@return string
function complete.listing(list, columns)
    local widest = 1
    for _, word in ipairs(list) do
        widest = math.max(widest, #word)
    end
    local across = math.max(1, math.floor((columns + 2) / (widest + 2)))
    local down = math.ceil(#list / across)
    local lines = {}
    for row = 1, down do
        local line = {}
        for n = row, #list, down do
            line[#line + 1] = list[n] .. (' '):rep(widest - #list[n])
        end
        lines[row] = table.concat(line, '  '):gsub('%s+$', '')
    end
    return table.concat(lines, '\n')
end

return complete
