-- SPDX-License-Identifier: Apache-2.0
--
-- Values as Lua would write them: on one line where they fit, else indented.

local ffi = require('ffi')
local msgpack = require('client.msgpack')
local text = require('console.text')

local value = {}

local DEPTH_MAX = 32

--- The fewest digits that give the same number again.
---@param number number
---@return string
local function format_number(number)
    if number % 1 == 0 and math.abs(number) <= 2 ^ 53 then
        return ('%d'):format(number)
    end
    for digits = 14, 17 do
        local s = ('%.' .. digits .. 'g'):format(number)
        if tonumber(s) == number then
            return s
        end
    end
    return tostring(number)
end

local function format_cdata(number)
    if number == nil then
        return 'nil'
    end
    return (tostring(number):gsub('U?LL$', ''))
end

local function quote(s)
    return "'" .. text.printable(s):gsub("'", "\\'") .. "'"
end

--- A value that is no table, as text that a line can hold.
---@param v any
---@return string
function value.scalar(v)
    local kind = type(v)
    if kind == 'number' then
        return format_number(v)
    elseif kind == 'cdata' then
        return format_cdata(v)
    elseif kind == 'nil' then
        return 'nil'
    elseif kind == 'string' then
        return text.printable(v)
    end
    return tostring(v)
end

--- Whether it is a number, of any width.
---@return boolean
function value.is_number(v)
    return type(v) == 'number' or (type(v) == 'cdata' and v ~= nil and ffi.istype('void *', v) == false)
end

---@return boolean
function value.is_array(v)
    return type(v) == 'table' and getmetatable(v) ~= msgpack.map_metatable
end

---@return boolean
function value.is_map(v)
    return type(v) == 'table' and getmetatable(v) == msgpack.map_metatable
end

local kinds = { number = 1, string = 2 }

--- The keys of a map in an order that is always the same: numbers, texts, others.
---@param map table
---@return any[]
function value.sorted_keys(map)
    local keys = {}
    for key in pairs(map) do
        keys[#keys + 1] = key
    end
    table.sort(keys, function(a, b)
        local kind_a, kind_b = kinds[type(a)] or 3, kinds[type(b)] or 3
        if kind_a ~= kind_b then
            return kind_a < kind_b
        elseif kind_a == 3 then
            return tostring(a) < tostring(b)
        end
        return a < b
    end)
    return keys
end

local words = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return
        then true until while]]):gmatch('%a+') do
    words[word] = true
end

local function format_key(key)
    if type(key) == 'string' then
        if key:find('^[%a_][%w_]*$') and not words[key] then
            return key
        end
        return '[' .. quote(key) .. ']'
    end
    return '[' .. value.scalar(key) .. ']'
end

local function literal(v)
    return type(v) == 'string' and quote(v) or value.scalar(v)
end

--- The parts of a table as texts: 'value' or 'key = value'.
local function parts_of(t, format)
    local parts = {}
    if value.is_map(t) then
        for n, key in ipairs(value.sorted_keys(t)) do
            parts[n] = format_key(key) .. ' = ' .. format(t[key])
        end
    else
        for n = 1, #t do
            parts[n] = format(t[n])
        end
    end
    return parts
end

local function one_line(v, depth)
    if type(v) ~= 'table' then
        return literal(v)
    elseif depth > DEPTH_MAX then
        return '{...}'
    end
    return '{' .. table.concat(parts_of(v, function(part) return one_line(part, depth + 1) end), ', ') .. '}'
end

--- The value on one line, as Lua would write it.
---@param v any
---@return string
function value.line(v)
    return one_line(v, 1)
end

--- The value as Lua would write it, in lines of at most `columns` where tables can be broken.
---@param v any
---@param columns integer
---@param indent integer?
---@return string
function value.pretty(v, columns, indent)
    indent = indent or 0
    local short = one_line(v, 1)
    if type(v) ~= 'table' or next(v) == nil or text.width(short) + indent <= columns then
        return short
    end
    local blanks = (' '):rep(indent + 2)
    local parts = parts_of(v, function(part)
        return indent > 2 * DEPTH_MAX and one_line(part, 1) or value.pretty(part, columns, indent + 2)
    end)
    return '{\n' .. blanks .. table.concat(parts, ',\n' .. blanks) .. '\n' .. (' '):rep(indent) .. '}'
end

return value
