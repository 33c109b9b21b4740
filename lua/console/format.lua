-- SPDX-License-Identifier: Apache-2.0
--
-- Results for other programs and for documents: JSON lines, YAML, CSV, Markdown, Lua. Each takes the
-- result, and its shape when it is a list of rows (console.grid). Nothing is cut, and strings are what
-- they are: only a terminal needs their control characters shown.

local ffi = require('ffi')
local grid = require('console.grid')
local text = require('console.text')
local value = require('console.value')

local format = {}

-- ---------------------------------------------------------------------------------------- JSON

local short = { ['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t',
    ['\b'] = '\\b', ['\f'] = '\\f' }

local function escape(c)
    return short[c] or ('\\u%04x'):format(c:byte())
end

--- A string of JSON. Bytes that are not UTF-8 become the characters of the same numbers.
local function quote(s)
    if text.is_utf8(s) then
        return '"' .. s:gsub('[%c"\\]', escape) .. '"'
    end
    return '"' .. s:gsub('[%c"\\\128-\255]', escape) .. '"'
end

local json

local function json_map(keys, get)
    local parts = {}
    for n, key in ipairs(keys) do
        parts[n] = quote(type(key) == 'string' and key or value.scalar(key)) .. ':' .. json(get(n, key))
    end
    return '{' .. table.concat(parts, ',') .. '}'
end

--- A value as one line of JSON.
---@param v any
---@return string
function json(v)
    if v == nil then
        return 'null'
    elseif type(v) == 'string' then
        return quote(v)
    elseif type(v) == 'boolean' then
        return tostring(v)
    elseif value.is_map(v) then
        return json_map(value.sorted_keys(v), function(_, key) return v[key] end)
    elseif type(v) == 'table' then
        local parts = {}
        for n = 1, #v do
            parts[n] = json(v[n])
        end
        return '[' .. table.concat(parts, ',') .. ']'
    elseif type(v) == 'number' and (v ~= v or v == math.huge or v == -math.huge) then
        return 'null'
    elseif type(v) == 'number' or ffi.istype('int64_t', v) or ffi.istype('uint64_t', v) then
        return value.scalar(v)
    end
    return quote(tostring(v)) -- decimals, too: as numbers most readers would round them
end
format.json_value = json

--- A row of a shape: an object when its columns have names.
local function json_row(shape, row)
    if value.is_map(row) then
        return json(row)
    elseif not shape.named then
        local parts = {}
        for n = 1, #row do
            parts[n] = json(row[n])
        end
        return '[' .. table.concat(parts, ',') .. ']'
    end
    local keys = {}
    for n = 1, #row do
        keys[n] = shape.head[n]
    end
    return json_map(keys, function(n) return row[n] end)
end

local function rows_of(shape, render)
    local lines = {}
    for n, row in ipairs(shape.source) do
        lines[n] = render(shape, row)
    end
    return table.concat(lines, '\n')
end

function format.json(result, shape)
    return shape and rows_of(shape, json_row) or json(result)
end

-- ---------------------------------------------------------------------------------------- YAML

local reserved = {}
for word in ('true false null yes no on off y n'):gmatch('%S+') do
    reserved[word] = true
end

--- A scalar of YAML: as it is where nothing can be mistaken, else as JSON, which YAML contains.
local function yaml_scalar(v)
    if type(v) == 'string' and v:find('^[%a_][%w_/. -]*$') and not v:find(' $')
        and not reserved[v:lower()] then
        return v
    end
    return json(v)
end

local yaml

local function yaml_entry(lead, v, indent)
    if type(v) == 'table' and next(v) ~= nil then
        return lead .. '\n' .. yaml(v, indent)
    elseif type(v) == 'table' then
        return lead .. ' ' .. (value.is_map(v) and '{}' or '[]')
    end
    return lead .. ' ' .. yaml_scalar(v)
end

local function yaml_lines(keys, get, indent)
    local lines, blanks = {}, (' '):rep(indent)
    for n, key in ipairs(keys) do
        local name = yaml_scalar(type(key) == 'string' and key or value.scalar(key))
        lines[n] = yaml_entry(blanks .. name .. ':', get(n, key), indent + 2)
    end
    return table.concat(lines, '\n')
end

--- A table that is not empty, in lines.
function yaml(v, indent)
    if value.is_map(v) then
        return yaml_lines(value.sorted_keys(v), function(_, key) return v[key] end, indent)
    end
    local lines, blanks = {}, (' '):rep(indent)
    for n = 1, #v do
        local item = v[n]
        if type(item) == 'table' and next(item) ~= nil then
            lines[n] = blanks .. '- ' .. yaml(item, indent + 2):sub(indent + 3)
        else
            lines[n] = yaml_entry(blanks .. '-', item, indent)
        end
    end
    return table.concat(lines, '\n')
end

local function yaml_row(shape, row)
    if value.is_array(row) and shape.named and #row > 0 then
        local keys = {}
        for n = 1, #row do
            keys[n] = shape.head[n]
        end
        return '- ' .. yaml_lines(keys, function(n) return row[n] end, 2):sub(3)
    end
    return yaml({ row }, 0)
end

function format.yaml(result, shape)
    if shape then
        return rows_of(shape, yaml_row)
    end
    return yaml_entry('---', result, 0)
end

-- ------------------------------------------------------------------------------- CSV, Markdown

--- The text of a cell: a table's is JSON, nil has none.
function format.plain(v)
    if v == nil then
        return ''
    elseif type(v) == 'table' then
        return json(v)
    end
    return type(v) == 'string' and v or value.scalar(v)
end

local function csv_cell(v)
    local s = format.plain(v)
    if s:find('[",\r\n]') or s:find('^%s') or s:find('%s$') then
        return '"' .. s:gsub('"', '""') .. '"'
    end
    return s
end

local function cells_of(shape, row, render)
    local cells = {}
    for n = 1, shape.count do
        cells[n] = render(row[n])
    end
    return cells
end

--- Records as of RFC 4180, with lines that end as those of the console do; first the names, if any.
function format.csv(result, shape)
    if not shape then
        return csv_cell(result)
    end
    local lines = {}
    if shape.named then
        lines[1] = table.concat(cells_of(shape, shape.head, csv_cell), ',')
    end
    for _, row in ipairs(shape.rows) do
        lines[#lines + 1] = table.concat(cells_of(shape, row, csv_cell), ',')
    end
    return table.concat(lines, '\n')
end

local function markdown_cell(v)
    return (format.plain(v):gsub('[|\\]', '\\%0'):gsub('\r?\n', '<br>'))
end

local function markdown_line(cells)
    return '| ' .. table.concat(cells, ' | ') .. ' |'
end

function format.markdown(result, shape)
    if not shape then
        return format.plain(result)
    end
    local rule, right = {}, grid.numeric(shape)
    for n = 1, shape.count do
        rule[n] = right[n] and '---:' or '---'
    end
    local lines = { markdown_line(cells_of(shape, shape.head, markdown_cell)), markdown_line(rule) }
    for _, row in ipairs(shape.rows) do
        lines[#lines + 1] = markdown_line(cells_of(shape, row, markdown_cell))
    end
    return table.concat(lines, '\n')
end

-- ----------------------------------------------------------------------------------------- Lua

function format.lua(result)
    return value.pretty(result, 100)
end

--- Those that there are, in the order of the documentation; 'table' is console.grid's.
format.names = { 'table', 'lua', 'json', 'yaml', 'csv', 'markdown' }

---@param name string
---@return boolean
function format.is(name)
    for _, known in ipairs(format.names) do
        if name == known then
            return true
        end
    end
    return false
end

return format
