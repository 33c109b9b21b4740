-- SPDX-License-Identifier: Apache-2.0
--
-- What may follow at the cursor: keywords, members of box, spaces, their indexes, methods and fields,
-- options, procedures, the console's own commands with what they take, Redis's commands and keys.

local command = require('console.command')
local help = require('console.help')
local redis = require('console.redis')
local setting = require('console.setting')
local signature = require('console.signature')

local complete = {}

local KEYS_MAX = 100        -- that are listed
local SCAN_COUNT = '1000'   -- keys that are looked at for them

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
    ['box.'] = functions_of(signature.path['box.'], 'NULL backup cfg debug error func index info module '
        .. 'schema sequence session space stat trigger tuple watch'),
    ['box.schema.'] = words('func role sequence space user'),
    ['box.schema.space.'] = functions_of(signature.path['box.schema.space.']),
    ['box.schema.func.'] = functions_of(signature.path['box.schema.func.']),
    ['box.schema.user.'] = functions_of(signature.path['box.schema.user.']),
    ['box.schema.sequence.'] = functions_of(signature.path['box.schema.sequence.']),
    ['box.module.'] = functions_of(signature.path['box.module.']),
    ['box.session.'] = functions_of(signature.path['box.session.']),
    ['box.stat.'] = words('io( memory('),
    ['box.tuple.'] = words('is( new('),
    ['box.index.'] = words('ALL EQ GE GT LE LT REQ'),
    ['box.info.'] = words('checkpoint lua schema_version status uptime version'),
    ['redis.'] = functions_of(signature.path['redis.'], 'setresp('),
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

-- --------------------------------------------------------------------------------------- Redis

--- The command's name in the letters in which it was begun.
local function redis_names(known, prefix, small)
    local list = {}
    for name in pairs(known) do
        if not name:find('|', 1, true) then
            list[#list + 1] = small and name or name:upper()
        end
    end
    return list, prefix
end

--- Keys that begin with what was typed; characters that mean something to SCAN are taken as they are.
local function redis_keys(ask, prefix)
    local pattern = prefix:gsub('[%*%?%[%]\\^-]', '\\%0') .. '*'
    local ok, reply = pcall(ask, 'SCAN', '0', 'MATCH', pattern, 'COUNT', SCAN_COUNT)
    local list = {}
    for _, key in ipairs(ok and reply[2] or {}) do
        if #list < KEYS_MAX and not key:find('[%s%c"\']') then
            list[#list + 1] = key
        end
    end
    return list, prefix
end

--- Candidates for a line of Redis; nil: it is none.
local function of_redis(line, asked)
    local small, name = line:match('^%s*(/%s*)(%l*)$')
    if small then
        return redis_names(asked.names(), name, true)
    end
    name = line:match('^%s*(%u[%u%d_.]*)$')
    if name then
        local list = redis_names(asked.names(), name, false)
        for _, word in ipairs(words('BEGIN COMMIT RELEASE ROLLBACK SAVEPOINT')) do
            list[#list + 1] = not asked.names()[word:lower()] and word or nil
        end
        return list, name
    end
    local source = redis.parse(line)
    local verb, prefix = (source or ''):match('^(%S+)%s.-(%S*)$')
    if verb and (line:find('^%s*/') or asked.names()[verb:lower()]) then
        return redis_keys(asked.ask, prefix)
    end
    return nil
end

-- ----------------------------------------------------------------------------------------- Lua

--- Within quotes or braces of a call: fields and indexes of its space, options of the function.
local function within_call(line, catalog)
    local callee, typed, bracket = signature.open_call(line)
    if not callee then
        return nil
    end
    local prefix = typed:match('[%w_]*$')
    local name = callee:match('^box%.space%.([%w_]+)')
    local space = name and catalog.by_name[name]
    if bracket == '"' and space then
        return names_of(space.format or {}), prefix
    elseif bracket == '{' and typed:find('[{,]%s*[%w_]*$') then
        local list = signature.options[callee] or signature.options[callee:match('[%w_]+$') or '']
        return list and words((list:gsub('%S+', '%0='))), prefix
    end
    return nil
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
    else
        list, prefix = nil, nil
        if asked then
            list, prefix = of_redis(line, asked)
        end
        if not list then
            list, prefix = within_call(line, catalog)
        end
    end
    if not list then
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
