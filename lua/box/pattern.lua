-- SPDX-License-Identifier: Apache-2.0
--
-- string.find, match, gmatch and gsub over the interruptible matcher of src/lua/pattern.c, for code
-- in the sandbox.

local core = require('box.core')

local match, find_plain = core.native.match, core.native.find_plain
local sub, find, byte = string.sub, string.find, string.byte
local concat = table.concat

local pattern = {}

local function text_of(value, position, name)
    if type(value) == 'number' then
        return tostring(value)
    elseif type(value) ~= 'string' then
        local message = "bad argument #%d to '%s' (string expected, got %s)"
        error(string.format(message, position, name, type(value)), 3)
    end
    return value
end

local function start_of(init, length)
    init = tonumber(init or 1) or 1
    if init < 0 then
        init = length + init + 1
    end
    return init < 1 and 1 or init > length and length + 1 or init - init % 1
end

function pattern.find(subject, what, init, plain)
    subject, what = text_of(subject, 1, 'find'), text_of(what, 2, 'find')
    local start = start_of(init, #subject)
    if plain or not find(what, '[%^%$%*%+%?%.%(%[%%%-]') then
        return find_plain(subject, what, start)
    end
    return match(subject, what, start)
end

local function captures_or_whole(subject, first, last, ...)
    if not first then
        return nil
    elseif select('#', ...) == 0 then
        return sub(subject, first, last)
    end
    return ...
end

function pattern.match(subject, what, init)
    subject, what = text_of(subject, 1, 'match'), text_of(what, 2, 'match')
    return captures_or_whole(subject, match(subject, what, start_of(init, #subject)))
end

function pattern.gmatch(subject, what)
    subject, what = text_of(subject, 1, 'gmatch'), text_of(what, 2, 'gmatch')
    if byte(what) == 94 then -- no anchors here: a ^ stands for itself
        what = '%' .. what
    end
    local position = 1
    local function step(first, last, ...)
        if not first then
            position = #subject + 2
            return nil
        end
        position = last >= first and last + 1 or first + 1
        return captures_or_whole(subject, first, last, ...)
    end
    return function()
        return step(match(subject, what, position))
    end
end

--- What stands for a match, when the replacement is a string.
local function expand(replacement, whole, ...)
    local parts, position = {}, 1
    while true do
        local at = find(replacement, '%', position, true)
        if not at then
            parts[#parts + 1] = sub(replacement, position)
            return concat(parts)
        end
        parts[#parts + 1] = sub(replacement, position, at - 1)
        local mark = sub(replacement, at + 1, at + 1)
        local number = tonumber(mark)
        if number == 0 or (number == 1 and select('#', ...) == 0) then
            parts[#parts + 1] = whole
        elseif number then
            if number > select('#', ...) then
                error('invalid capture index', 4)
            end
            parts[#parts + 1] = (select(number, ...))
        else
            parts[#parts + 1] = mark
        end
        position = at + 2
    end
end

local function replacement_of(replacement, subject, first, last, ...)
    local whole = sub(subject, first, last)
    local result
    if type(replacement) == 'string' then
        return expand(replacement, whole, ...)
    elseif type(replacement) == 'table' then
        result = replacement[(select('#', ...) > 0 and ... or whole)]
    elseif select('#', ...) == 0 then
        result = replacement(whole)
    else
        result = replacement(...)
    end
    if not result then
        return whole
    elseif type(result) ~= 'string' and type(result) ~= 'number' then
        error(string.format('invalid replacement value (a %s)', type(result)), 4)
    end
    return tostring(result)
end

function pattern.gsub(subject, what, replacement, limit)
    subject, what = text_of(subject, 1, 'gsub'), text_of(what, 2, 'gsub')
    local kind = type(replacement)
    if kind == 'number' then
        replacement = tostring(replacement)
    elseif kind ~= 'string' and kind ~= 'table' and kind ~= 'function' then
        error("bad argument #3 to 'gsub' (string/function/table expected)", 2)
    end
    limit = limit or math.huge
    local anchored = byte(what) == 94
    local parts, position, count = {}, 1, 0
    local function step(first, last, ...)
        if not first then
            return false
        end
        count = count + 1
        parts[#parts + 1] = sub(subject, position, first - 1)
        parts[#parts + 1] = replacement_of(replacement, subject, first, last, ...)
        if last >= first then
            position = last + 1
        else
            parts[#parts + 1] = sub(subject, first, first)
            position = first + 1
        end
        return not anchored and position <= #subject + 1
    end
    local going = true
    while going and count < limit do
        going = step(match(subject, what, position))
    end
    parts[#parts + 1] = sub(subject, position)
    return concat(parts), count
end

return pattern
