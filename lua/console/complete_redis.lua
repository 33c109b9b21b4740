-- SPDX-License-Identifier: Apache-2.0
--
-- What may follow in a line of Redis: commands, subcommands, keys where the command takes them, and what
-- our own commands take: spaces, procedures, levels.

local redis = require('console.redis')

local complete_redis = {}

local KEYS_MAX = 100        -- that are listed
local SCAN_COUNT = '1000'   -- keys that are looked at for them

-- Words of BEGIN and its kin, by the word before.
local levels = {
    ISOLATION = { 'LEVEL' },
    READ = { 'COMMITTED', 'ONLY', 'UNCOMMITTED', 'WRITE' },
    REPEATABLE = { 'READ' },
    START = { 'TRANSACTION' },
}
local LEVELS = { 'ISOLATION', 'READ', 'REPEATABLE', 'SERIALIZABLE', 'SNAPSHOT' }
local takes_level = { begin = true, start = true, isolation = true }

local function listed(reply)
    return type(reply) == 'table' and reply or {}
end

--- A reply that is a map, or in RESP2 an array of pairs, as a table.
local function mapped(reply)
    local map = {}
    for n = 1, #listed(reply) - 1, 2 do
        map[reply[n]] = reply[n + 1]
    end
    return map
end

--- The command's name in the letters in which it was begun.
local function commands(known, small)
    local list = {}
    for name in pairs(known) do
        if not name:find('|', 1, true) then
            list[#list + 1] = small and name or name:upper()
        end
    end
    return list
end

--- Keys that begin with what was typed; characters that mean something to SCAN are taken as they are.
local function keys(ask, prefix)
    local pattern = prefix:gsub('[%*%?%[%]\\^-]', '\\%0') .. '*'
    local ok, reply = pcall(ask, 'SCAN', '0', 'MATCH', pattern, 'COUNT', SCAN_COUNT)
    local list = {}
    for _, key in ipairs(ok and reply[2] or {}) do
        if #list < KEYS_MAX and not key:find('[%s%c"\']') then
            list[#list + 1] = key
        end
    end
    return list
end

--- Whether the word at `position` behind the command's name may be a key.
local function takes_key(ask, name, position)
    local ok, reply = pcall(ask, 'COMMAND', 'INFO', name)
    local about = ok and listed(reply)[1]
    if type(about) ~= 'table' then
        return true
    end
    for _, flag in ipairs(listed(about[3])) do
        if (type(flag) == 'table' and flag.text or flag) == 'movablekeys' then
            return true
        end
    end
    local first, last, step = about[4], about[5], about[6]
    return first > 0 and position >= first and (last < 0 or position <= last)
        and (position - first) % math.max(step, 1) == 0
end

local function subcommands(known, name, small)
    local list = {}
    for other in pairs(known) do
        local rest = other:match('^' .. name:gsub('[^%w]', '%%%0') .. '|(.*)$')
        if rest then
            list[#list + 1] = small and rest or rest:upper()
        end
    end
    return list
end

--- Functions of libraries.
local function functions(ask)
    local ok, reply = pcall(ask, 'FUNCTION', 'LIST')
    local list = {}
    for _, library in ipairs(ok and listed(reply) or {}) do
        for _, one in ipairs(listed(mapped(library).functions)) do
            list[#list + 1] = mapped(one).name
        end
    end
    return list
end

local function options(ask, prefix)
    local ok, reply = pcall(ask, 'CONFIG', 'GET', prefix:gsub('[%*%?%[%]\\]', '') .. '*')
    local list = {}
    for name in pairs(ok and mapped(reply) or {}) do
        list[#list + 1] = name
    end
    return list
end

local function names_of(list)
    local names = {}
    for n, item in ipairs(list) do
        names[n] = item.name
    end
    return names
end

--- The candidates for the word behind `given`, a command and what follows it.
local function arguments(given, prefix, catalog, asked)
    local name, position = given[1]:lower(), #given
    local small = given[1]:find('^%l') ~= nil
    if takes_level[name] then
        local before, list = given[position]:upper(), {}
        for n, word in ipairs(name .. position ~= 'isolation1' and levels[before] or LEVELS) do
            list[n] = small and word:lower() or word
        end
        return list
    elseif name:find('^space%.') then
        local named = position == 1 and name ~= 'space.create' and name ~= 'space.list'
        return named and names_of(catalog.spaces) or {}
    elseif name == 'call' then
        return position == 1 and names_of(catalog.functions) or {}
    elseif name:find('^fcall') and position == 1 then
        return functions(asked.ask)
    elseif name == 'config' and position > 1 then
        local verb = given[2]:lower()
        local odd = position % 2 == 0
        return (verb == 'get' or verb == 'set' and odd) and options(asked.ask, prefix) or {}
    end
    local list = subcommands(asked.names(), name, small)
    if #list > 0 and position == 1 then
        return list
    elseif #list > 0 then
        name = name .. '|' .. given[2]:lower()
    end
    return takes_key(asked.ask, name, position) and keys(asked.ask, prefix) or {}
end

--- Candidates for a line of Redis, and the part of them that is there already; nil: it is none.
---@param line string up to the cursor
---@param catalog table of console.catalog
---@param asked table {names(), ask(...)}
---@return string[]? candidates, string? prefix
function complete_redis.candidates(line, catalog, asked)
    local small, name = line:match('^%s*(/%s*)(%l*)$')
    if small then
        return commands(asked.names(), true), name
    end
    name = line:match('^%s*(%u[%u%d_.]*)$')
    if name then
        local list = commands(asked.names(), false)
        for word in ('BEGIN COMMIT RELEASE ROLLBACK SAVEPOINT START'):gmatch('%a+') do
            list[#list + 1] = not asked.names()[word:lower()] and word or nil
        end
        return list, name
    end
    local source = redis.parse(line)
    local verb = (source or ''):match('^(%S+)%s')
    if not verb or not (line:find('^%s*/') or asked.names()[verb:lower()] or takes_level[verb:lower()]) then
        return nil
    end
    local prefix = source:match('%S*$')
    local given = redis.words(source:sub(1, #source - #prefix))
    return given and arguments(given, prefix, catalog, asked) or {}, prefix
end

return complete_redis
