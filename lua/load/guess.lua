-- SPDX-License-Identifier: Apache-2.0
--
-- The fields that a file's first rows look like.

local native = require('load.native')
local value = require('load.value')

local byte, sub = string.byte, string.sub

local guess = {}

-- From narrow to wide: the first that takes all texts of a column.
local KINDS = { 'unsigned', 'integer', 'number', 'decimal', 'boolean', 'uuid', 'datetime', 'array', 'map' }

local function new_column(name)
    local column = { name = name, seen = 0, is_nullable = false, possible = {} }
    for n, kind in ipairs(KINDS) do
        column.possible[n] = kind
    end
    return column
end

local function narrow(column, fits)
    local left = {}
    for _, kind in ipairs(column.possible) do
        if fits(kind) then
            left[#left + 1] = kind
        end
    end
    column.possible, column.seen = left, column.seen + 1
end

--- The fields of columns: {name, type, is_nullable}.
---@param columns table[]
---@param otherwise string the type of a column that fits none
local function fields_of(columns, otherwise)
    local fields = {}
    for n, column in ipairs(columns) do
        local kind = column.seen > 0 and column.possible[1] or otherwise
        fields[n] = { name = column.name, type = kind, is_nullable = column.is_nullable }
    end
    return fields
end

--- Of records of cells. A column in which there are JSON texts and others, all of them JSON, is `any`.
---@param names string[]|nil
---@param records table[] arrays of texts, false for nil, with their number as `count`
---@return table[] fields
function guess.of_cells(names, records)
    local columns = {}
    for n, name in ipairs(names or {}) do
        columns[n] = new_column(name)
    end
    for _, cells in ipairs(records) do
        for n = 1, math.max(cells.count, #columns) do
            local column = columns[n] or new_column('field' .. n)
            local cell = n <= cells.count and cells[n]
            columns[n] = column
            if not cell or cell == '' then
                column.is_nullable = column.is_nullable or not cell
                column.empty = column.empty or cell == ''
            else
                narrow(column, function(kind) return value.is(kind, cell) end)
                column.json = column.json or cell:find('^[%[{"]') ~= nil
                column.not_json = column.not_json or not native.json_decode(cell)
            end
        end
    end
    local fields = fields_of(columns, 'string')
    for n, column in ipairs(columns) do
        local field = fields[n]
        if field.type == 'string' and column.json and not column.not_json and not column.empty then
            field.type = 'any'
        end
        field.is_nullable = field.is_nullable or (column.empty and field.type ~= 'string') or false
    end
    return fields
end

--- The type of a value of MessagePack.
local function type_at(bytes, position)
    local first = byte(bytes, position)
    local text = value.read_string(bytes, position)
    if text then
        return (value.is('uuid', text) and 'uuid') or (value.is('datetime', text) and 'datetime') or 'string'
    elseif first < 0x80 or (first >= 0xcc and first <= 0xcf) then
        return 'unsigned'
    elseif first >= 0xe0 or (first >= 0xd0 and first <= 0xd3) then
        return 'integer'
    elseif first == 0xca or first == 0xcb then
        return 'number'
    elseif first == 0xc2 or first == 0xc3 then
        return 'boolean'
    elseif first < 0x90 or first == 0xde or first == 0xdf then
        return 'map'
    elseif first < 0xa0 or first == 0xdc or first == 0xdd then
        return 'array'
    elseif first >= 0xc4 and first <= 0xc6 then
        return 'varbinary'
    end
    return native.ext_print(bytes, position) or 'any'
end

local wider = { unsigned = 1, integer = 2, number = 3 }

local function join(left, right)
    if left == nil or left == right then
        return right
    elseif wider[left] and wider[right] then
        return wider[left] > wider[right] and left or right
    elseif (left == 'string' and (right == 'uuid' or right == 'datetime'))
        or (right == 'string' and (left == 'uuid' or left == 'datetime')) then
        return 'string'
    end
    return 'any'
end

--- Of rows of MessagePack, arrays or maps.
---@param rows string[]
---@return table[] fields
function guess.of_packed(rows)
    local columns, by_name = {}, {}
    for _, row in ipairs(rows) do
        local count, at, is_map = native.array(row, 1)
        for n = 1, count do
            local name = 'field' .. n
            if is_map then
                name, at = value.read_string(row, at)
                if not name then
                    break
                end
            end
            local column = by_name[name]
            if not column then
                column = { name = name, seen = 0 }
                by_name[name], columns[#columns + 1] = column, column
            end
            local past = native.check(row, at)
            if sub(row, at, at) ~= value.NIL then
                column.seen, column.type = column.seen + 1, join(column.type, type_at(row, at))
            end
            at = past
        end
    end
    local fields = {}
    for n, column in ipairs(columns) do
        fields[n] = { name = column.name, type = column.type or 'any', is_nullable = column.seen < #rows }
    end
    return fields
end

--- Lines that show fields.
function guess.show(fields)
    local width, lines = 0, {}
    for _, field in ipairs(fields) do
        width = math.max(width, #field.name)
    end
    for n, field in ipairs(fields) do
        lines[n] = ('  %-' .. width .. 's  %s%s'):format(field.name, field.type, field.is_nullable
            and ', or nil' or '')
    end
    return table.concat(lines, '\n')
end

return guess
