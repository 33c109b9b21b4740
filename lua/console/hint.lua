-- SPDX-License-Identifier: Apache-2.0
--
-- What may be typed next, shown behind the cursor: the arguments of the function, or of the command of
-- Redis's, that are still missing.

local help = require('console.help')
local redis = require('console.redis')
local signature = require('console.signature')

local hint = {}

--- Parts between commas that stand in no brackets.
local function split(s)
    local parts, depth, from = {}, 0, 1
    for position = 1, #s do
        local c = s:sub(position, position)
        if c:find('[({%[]') then
            depth = depth + 1
        elseif c:find('[)}%]]') then
            depth = depth - 1
        elseif c == ',' and depth == 0 then
            parts[#parts + 1], from = s:sub(from, position - 1), position + 1
        end
    end
    parts[#parts + 1] = s:sub(from)
    return parts
end

--- The fields of a space in place of the word 'tuple'.
local function with_fields(catalog, callee, arguments)
    local space = callee:match('^box%.space%.([%w_]+):%l+$')
    local names = space and catalog:field_names(space)
    if names and #names > 0 then
        arguments = arguments:gsub('^%(tuple', function() return '({' .. table.concat(names, ', ') .. '}' end)
    end
    return arguments
end

--- For Lua: the rest of the arguments of the call whose bracket is open.
---@param s string all that was typed
---@param catalog table of console.catalog
---@return string?
function hint.of_lua(s, catalog)
    local callee, place = signature.open_call(s)
    local found = callee and place.bracket == '(' and not place.quoted and signature.of(callee)
    if not found then
        return nil
    end
    local wanted = split(with_fields(catalog, callee, found.arguments):sub(2, -2))
    local given = split(place.typed)
    if #given > #wanted then
        return nil
    end
    local open = given[#given]:find('%S') and #given + 1 or #given
    local rest = table.concat(wanted, ',', open)
    if open > #given and rest ~= '' then
        rest = ',' .. rest
    elseif given[#given]:find('^%s') then
        rest = rest:gsub('^%s+', '')
    end
    return rest .. ')'
end

--- For Redis: the arguments behind those that were typed.
---@param console table
---@param s string
---@return string?
function hint.of_redis(console, s)
    local words = redis.words(redis.parse(s) or '')
    if not words or #words == 0 or not s:find('%s$') then
        return nil
    end
    local found = help.of_redis(console, words[1])
    if not found then
        return nil
    end
    local skip, rest = #words - 1, found.arguments
    while skip > 0 and rest ~= '' do
        local part = rest:match('^%b[]') or rest:match('^%b<>') or rest:match('^%S+')
        if part:find('^%[') then
            break -- what is optional may be any of it
        end
        rest = rest:sub(#part + 1):gsub('^%s+', '')
        skip = skip - 1
    end
    return rest ~= '' and rest or nil
end

return hint
