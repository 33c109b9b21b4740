-- SPDX-License-Identifier: Apache-2.0
--
-- Whether what was typed is a whole chunk of Lua or only its beginning, and what it asks for.

local chunk = {}

local function ends_early(source)
    local fn, message = loadstring(source .. '\n', '=input')
    return not fn and message:find("near '<eof>'$") ~= nil
end

--- Whether the text compiles as an expression, whose value is worth showing even when it is nil.
---@param text string
---@return boolean
function chunk.is_expression(text)
    return loadstring('return ' .. text .. '\n', '=input') ~= nil and text:find('%S') ~= nil
end

--- Whether more lines are needed: it does not compile because it ends too early. What is wrong in
--- any other way is complete; the server says what is wrong.
---@param text string
---@return boolean
function chunk.is_complete(text)
    if chunk.is_expression(text) then
        return true
    end
    return not ends_early(text) and not ends_early('return ' .. text)
end

--- Whether there is nothing to run: blanks and comments.
---@param text string
---@return boolean
function chunk.is_blank(text)
    local rest = text:gsub('%-%-%[(=*)%[.-%]%1%]', ''):gsub('%-%-[^\n]*', '')
    return rest:find('%S') == nil
end

--- Whether it is a call that is known to give nothing, so that its nil is not worth showing.
---@param text string
---@return boolean
function chunk.is_silent(text)
    return text:find('^%s*box%.schema%.') ~= nil or text:find('^%s*box%.%l+%(') ~= nil
        or text:find('^%s*print%s*%(') ~= nil or text:find(':drop%(%s*%)%s*;?%s*$') ~= nil
        or text:find(':truncate%(%s*%)%s*;?%s*$') ~= nil
end

-- Statements that give tuples.
local tuple_methods = {}
for name in ('select get insert replace put update upsert delete min max'):gmatch('%a+') do
    tuple_methods[name] = true
end

--- The space whose tuples the text gives, when it is one call of a statement and nothing else:
--- box.space.NAME:select{..}, box.space.NAME.index.INDEX:get(..). Anything else gives nil.
---@param text string
---@return string|nil space, string? method
function chunk.space_of(text)
    local s = text:gsub('^%s*return%s+', ''):gsub('^%s+', ''):gsub('[%s;]+$', '')
    local name, rest = s:match('^box%.space%.([%a_][%w_]*)(.*)$')
    if not name then
        local _
        _, name, rest = s:match([=[^box%.space%[%s*(['"])(.-)%1%s*%](.*)$]=])
    end
    if not name then
        return nil
    end
    rest = rest:gsub('^%.index%.[%a_][%w_]*', ''):gsub([=[^%.index%[[^%]]*%]]=], '')
    local method, arguments = rest:match('^:(%a+)%s*(.*)$')
    if not method or not tuple_methods[method] then
        return nil
    end
    if arguments:match('^%b()$') or arguments:match('^%b{}$') or arguments:match([[^(['"])[^'"\]*%1$]]) then
        return name, method
    end
    return nil
end

return chunk
