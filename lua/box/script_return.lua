-- SPDX-License-Identifier: Apache-2.0
--
-- `return f(x)` in the text of Redis scripts.
--
-- LuaJIT leaves a function before it calls what that function returns the results of, so an error in
-- there has no place in the script. Lua 5.1, which Redis runs, keeps the place when f is built in, and
-- errors name it. So such calls are given to a function that passes their results on. Calls of the
-- script's own functions stay as they are, and with them recursion without an end; but for the last
-- one of the script, which nothing can follow.

local returns = { NAME = '__redis__return' }

--- What is returned goes through this.
function returns.pass(...)
    return ...
end

local BUILT_IN = {}
for name in ([[redis cjson cmsgpack struct bit string table math coroutine error assert select tonumber
    unpack next loadstring rawset setmetatable ipairs pairs]]):gmatch('%S+') do
    BUILT_IN[name] = true
end

local OPENS = { ['function'] = true, ['do'] = true, ['if'] = true, ['repeat'] = true,
    ['('] = true, ['{'] = true, ['['] = true }
local CLOSES = { ['end'] = true, ['until'] = true, [')'] = true, ['}'] = true, [']'] = true }
local ENDS = { ['end'] = true, ['until'] = true, ['else'] = true, ['elseif'] = true, [';'] = true }

--- Behind the long bracket that begins here, or nil.
local function behind_long(source, position)
    local level = source:match('^%[(=*)%[', position)
    if not level then
        return nil
    end
    local _, last = source:find(']' .. level .. ']', position, true)
    return (last or #source) + 1
end

local function behind_quoted(source, position)
    local quote = source:sub(position, position)
    position = position + 1
    while true do
        local at = source:find('[\\\n' .. quote .. ']', position)
        if not at then
            return #source + 1
        elseif source:sub(at, at) == '\\' then
            position = at + 2
        else
            return at + 1
        end
    end
end

--- The token behind blanks and comments: its text ('"': a string), where it begins, and what is behind.
local function next_token(source, position)
    while true do
        position = source:find('%S', position)
        if not position then
            return nil, #source + 1, #source + 1
        elseif source:sub(position, position + 1) == '--' then
            position = behind_long(source, position + 2) or source:find('\n', position, true) or #source + 1
        else
            break
        end
    end
    local word, after = source:match('^([%a_][%w_]*)()', position)
    if word then
        return word, position, after
    end
    local character = source:sub(position, position)
    if character == '"' or character == "'" then
        return '"', position, behind_quoted(source, position)
    end
    local long = character == '[' and behind_long(source, position)
    if long then
        return '"', position, long
    end
    after = source:match('^%.?%d[%w_.]*()', position)
    return after and '0' or character, position, after or position + 1
end

--- Notes what is returned from here on as `open`: {from, depth, wanted}.
local function begin_return(open, depth, functions, first, from)
    open[#open + 1] = { from = from, depth = depth, wanted = functions == 0 or BUILT_IN[first] }
end

--- The text with {position, text} put in.
local function insert(source, inserted)
    local pieces, copied = {}, 1
    table.sort(inserted, function(left, right) return left[1] < right[1] end)
    for _, each in ipairs(inserted) do
        pieces[#pieces + 1] = source:sub(copied, each[1] - 1)
        pieces[#pieces + 1], copied = each[2], each[1]
    end
    pieces[#pieces + 1] = source:sub(copied)
    return table.concat(pieces)
end

--- The text with the calls marked, or the text itself.
---@param source string
---@return string
function returns.mark(source)
    if not source:find('return', 1, true) then
        return source
    end
    local inserted, open, depth, blocks, functions = {}, {}, 0, {}, 0
    local last, after, behind = nil, 1, 1
    local function finish(at)
        local entry = table.remove(open)
        if entry.wanted and entry.from < at and (last == ')' or last == '}' or last == '"') then
            inserted[#inserted + 1] = { entry.from, ' ' .. returns.NAME .. '(' }
            inserted[#inserted + 1] = { behind, ')' }
        end
    end
    repeat
        behind = after -- of the token before
        local token, from, next_after = next_token(source, after)
        after = next_after
        local innermost = open[#open]
        if innermost and innermost.depth == depth and (token == nil or ENDS[token]) then
            finish(from)
        end
        if token == 'return' then
            local first, first_from = next_token(source, after)
            if first and not ENDS[first] then
                begin_return(open, depth, functions, first, first_from)
            end
        elseif OPENS[token] then
            depth = depth + 1
            blocks[depth] = token
            functions = functions + (token == 'function' and 1 or 0)
        elseif CLOSES[token] and depth > 0 then
            functions = functions - (blocks[depth] == 'function' and 1 or 0)
            depth = depth - 1
        end
        last = token
    until token == nil
    return insert(source, inserted)
end

return returns
