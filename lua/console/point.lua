-- SPDX-License-Identifier: Apache-2.0
--
-- Where in what was typed an error is: the line, and a caret under the word of which the message speaks.
--
-- Messages have lines and no columns. A word that the parser stumbles over is the first occurrence up
-- to which the text fails with that very word; a name that was nil is looked for as it is written.

local text = require('console.text')

local point = {}

local kinds = { global = '', ['local'] = '', upvalue = '', field = '%.%s*', method = ':%s*' }

--- The position of the word that the parser has stumbled over.
local function of_syntax(source, line_start, line, word)
    if word == '<eof>' then
        return #line + 1
    end
    local from = 1
    while true do
        local first, last = line:find(word, from, true)
        if not first then
            return nil
        end
        local head = source:sub(1, line_start + last - 1)
        for _, whole in ipairs({ head, 'return ' .. head }) do
            local fn, message = loadstring(whole, '=input')
            if not fn and message:sub(-#word - 7) == "near '" .. word .. "'" then
                return first
            end
        end
        from = first + 1
    end
end

--- The position of a name that was not what it was used as.
local function of_name(line, message)
    local kind, name = message:match("(%a+) '([%w_]+)'")
    local lead = kinds[kind]
    if not lead then
        return nil
    end
    local before, position = line:match('()' .. lead .. '()%f[%w_]' .. name .. '%f[^%w_]')
    return before and position
end

local function line_of(source, number)
    local start = 1
    for line in (source .. '\n'):gmatch('(.-)\n') do
        number = number - 1
        if number == 0 then
            return line, start
        end
        start = start + #line + 1
    end
    return nil
end

--- The lines that show the place, or nil when the message names none, or none that helps.
---@param message string of the server's
---@param source string the input
---@return string?
function point.at(message, source)
    local number, about = message:match('^eval:(%d+): (.*)$')
    if not number then
        return nil
    end
    local line, start = line_of(source, tonumber(number))
    if not line then
        return nil
    end
    local word = about:match("near '(.*)'$")
    local position
    if word then
        position = of_syntax(source, start, line, word)
    else
        position = of_name(line, about)
    end
    if not position and not source:find('\n') then
        return nil
    end
    local shown = '  ' .. text.printable(line)
    if not position then
        return shown
    end
    return shown .. '\n  ' .. (' '):rep(text.width(text.printable(line:sub(1, position - 1)))) .. '^'
end

return point
