-- SPDX-License-Identifier: Apache-2.0
--
-- What may follow at the cursor: keywords, members of box, spaces, their indexes and methods,
-- procedures, and the console's own commands.

local complete = {}

local function words(s)
    local list = {}
    for word in s:gmatch('%S+') do
        list[#list + 1] = word
    end
    return list
end

local space_methods = words('count( create_index( delete( drop( format( get( insert( len( pairs( '
    .. 'put( replace( select( truncate( update( upsert(')
local index_methods = words('count( delete( drop( get( len( max( min( pairs( select( update(')

-- What stands behind a path that is the same on each server.
local members = {
    [''] = words('and assert( bit box break coroutine do else elseif end error( false for function goto if '
        .. 'in ipairs( load( local math next( nil not or os pairs( pcall( print( redis repeat require( '
        .. 'return select( setmetatable( string table then tonumber( tostring( true type( unpack( until '
        .. 'while xpcall('),
    ['box.'] = words('NULL atomic( begin( cfg checkpoint( commit( error( func index info is_in_txn( now( '
        .. 'rollback( schema space stat( tuple'),
    ['box.schema.'] = words('func space'),
    ['box.schema.space.'] = words('create( drop('),
    ['box.schema.func.'] = words('create( drop( exists('),
    ['box.tuple.'] = words('is( new('),
    ['box.index.'] = words('ALL EQ GE GT LE LT REQ'),
    ['box.info.'] = words('checkpoint lua schema_version status uptime version'),
    ['redis.'] = words('call( error_reply( log( pcall( sha1hex( status_reply('),
    ['string.'] = words('byte( char( find( format( gmatch( gsub( len( lower( match( rep( reverse( sub( '
        .. 'upper('),
    ['table.'] = words('concat( insert( maxn( move( remove( sort('),
    ['math.'] = words('abs( ceil( floor( fmod( huge max( min( modf( pi pow( random( sqrt('),
    ['os.'] = words('clock( date( difftime( time('),
    ['bit.'] = words('arshift( band( bnot( bor( bswap( bxor( lshift( rol( ror( rshift( tobit( tohex('),
    ['coroutine.'] = words('create( resume( running( status( wrap( yield('),
}

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
        return words('engine id index name')
    elseif rest == '.index.' then
        return names_of(space.indexes)
    elseif rest:find('^%.index%.[%w_]+:$') then
        return index_methods
    end
    return {}
end

local commands = words('\\d \\df \\help \\q \\timing')

--- The candidates for what stands at the end of `line`, and the part of them that is there already.
---@param line string up to the cursor
---@param catalog table of console.catalog
---@return string[] candidates, string prefix
function complete.candidates(line, catalog)
    local command, argument = line:match('^%s*(\\%a*)%s+([%w_]*)$')
    local list, prefix
    if command == '\\d' or command == '\\df' then
        list, prefix = names_of(command == '\\d' and catalog.spaces or catalog.functions), argument
    elseif line:find('^%s*\\%a*$') then
        list, prefix = commands, line:match('\\%a*$')
    else
        local path
        path, prefix = line:match('([%a_][%w_%.:]*[%.:])([%w_]*)$')
        if not path then
            path, prefix = '', line:match('[%w_]*$')
        end
        list = prefix == '' and path == '' and {} or after(path, catalog)
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
