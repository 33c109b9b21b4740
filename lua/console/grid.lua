-- SPDX-License-Identifier: Apache-2.0
--
-- Results as a terminal shows them: a list of tuples or of alike maps is drawn as a table, anything
-- else is written as Lua would write it.
--
--      id | name  | balance
--     ----+-------+--------
--       1 | alice |     100
--
-- Numbers stand at the right. A table that is wider than the terminal loses width where it has most
-- of it; what was cut ends with an ellipsis. Without a terminal nothing is cut.

local text = require('console.text')
local value = require('console.value')

local grid = {}

local COLUMNS_MAX = 64     -- lists of maps with more keys are written, not drawn
local COLUMN_WIDTH_MIN = 4 -- a column is not cut further

--- A cell's text.
local function cell(v)
    if type(v) == 'table' then
        return value.line(v)
    end
    return value.scalar(v)
end

-- ----------------------------------------------------------------------------------- the shape

local function all(list, is)
    if not value.is_array(list) or #list == 0 then
        return false
    end
    for n = 1, #list do
        if not is(list[n]) then
            return false
        end
    end
    return true
end

--- Rows of a list of tuples; columns without a name have their number.
local function of_tuples(list, names, types)
    local count = 0
    for _, tuple in ipairs(list) do
        count = math.max(count, #tuple)
    end
    local head = {}
    for n = 1, count do
        head[n] = names and names[n] or tostring(n)
    end
    return { head = head, types = types, rows = list, source = list, count = count, named = names ~= nil }
end

--- Rows of a list of maps, a column for each key.
local function of_maps(list)
    local seen = {}
    for _, map in ipairs(list) do
        for key in pairs(map) do
            seen[key] = true
        end
    end
    local keys, rows = value.sorted_keys(seen), {}
    if #keys == 0 or #keys > COLUMNS_MAX then
        return nil
    end
    local head = {}
    for n, key in ipairs(keys) do
        head[n] = cell(key)
    end
    for n, map in ipairs(list) do
        local row = {}
        for column, key in ipairs(keys) do
            row[column] = map[key]
        end
        rows[n] = row
    end
    return { head = head, rows = rows, source = list, count = #keys, named = true }
end

--- What can be drawn as a table: {head, types, rows, count, named, source}; nil for anything else. `source`
--- are the rows as they came, `named` tells whether the columns have names.
---@param result any
---@param names string[]? of the columns of tuples
---@param types string[]? of the columns of tuples, to be shown
---@return table|nil
function grid.shape(result, names, types)
    if all(result, value.is_array) then
        local shape = of_tuples(result, names, types)
        return shape.count > 0 and shape or nil
    elseif all(result, value.is_map) then
        return of_maps(result)
    end
    return nil
end

-- ------------------------------------------------------------------------------------- drawing

--- Which columns hold numbers and nothing else.
---@param shape table
---@return boolean[]
function grid.numeric(shape)
    local right = {}
    for column = 1, shape.count do
        right[column] = #shape.rows > 0
        for _, row in ipairs(shape.rows) do
            local v = row[column]
            if v ~= nil and not value.is_number(v) then
                right[column] = false
                break
            end
        end
    end
    return right
end

local function cells_of(shape)
    local cells, right = {}, grid.numeric(shape)
    for n, row in ipairs(shape.rows) do
        local line = {}
        for column = 1, shape.count do
            local v = row[column]
            line[column] = type(v) == 'nil' and '' or cell(v)
        end
        cells[n] = line
    end
    return cells, right
end

--- A line for each line of the head: the names, and the types below them.
local function heads_of(shape)
    local heads = {}
    for n, list in ipairs({ shape.head, shape.types }) do
        heads[n] = {}
        for column = 1, shape.count do
            heads[n][column] = text.printable(list[column] or '')
        end
    end
    return heads
end

local function widths_of(shape, heads, cells)
    local widths = {}
    for column = 1, shape.count do
        widths[column] = 0
        for _, head in ipairs(heads) do
            widths[column] = math.max(widths[column], text.width(head[column]))
        end
        for _, line in ipairs(cells) do
            widths[column] = math.max(widths[column], text.width(line[column]))
        end
    end
    return widths
end

--- Takes from the widest column until the table fits, or no column can give more.
local function shrink(widths, columns)
    local total = 3 * #widths - 1
    for _, width in ipairs(widths) do
        total = total + width
    end
    while total > columns do
        local widest = 1
        for n = 2, #widths do
            if widths[n] > widths[widest] then
                widest = n
            end
        end
        if widths[widest] <= COLUMN_WIDTH_MIN then
            return
        end
        widths[widest] = widths[widest] - 1
        total = total - 1
    end
end

local function draw_line(line, widths, right)
    local parts = {}
    for column, width in ipairs(widths) do
        local s = text.cut(line[column], width)
        local last = column == #widths and not right[column]
        parts[column] = last and s or text.pad(s, width, right[column])
    end
    return (' ' .. table.concat(parts, ' | '):gsub('%s+$', ''))
end

--- The lines of a table.
---@param shape table of grid.shape
---@param columns integer? of the terminal; nil: nothing is cut
---@return string
function grid.draw(shape, columns)
    local heads = heads_of(shape)
    local cells, right = cells_of(shape)
    local widths = widths_of(shape, heads, cells)
    if columns then
        shrink(widths, columns)
    end
    local rule = {}
    for n, width in ipairs(widths) do
        rule[n] = ('-'):rep(width + (n == #widths and 1 or 2))
    end
    local lines = {}
    for n, head in ipairs(heads) do
        lines[n] = draw_line(head, widths, right)
    end
    lines[#lines + 1] = table.concat(rule, '+')
    for _, line in ipairs(cells) do
        lines[#lines + 1] = draw_line(line, widths, right)
    end
    return table.concat(lines, '\n')
end

--- Each row as a block, a line for each of its fields.
---@param shape table of grid.shape
---@param columns integer? of the terminal; nil: nothing is cut
---@return string
function grid.expand(shape, columns)
    local head, wide = {}, 1
    for n = 1, shape.count do
        local of_type = shape.types and shape.types[n]
        head[n] = text.printable(shape.head[n] .. (of_type and ' (' .. of_type .. ')' or ''))
        wide = math.max(wide, text.width(head[n]))
    end
    local lines = {}
    for number, row in ipairs(cells_of(shape)) do
        local title = ('-[ %d ]'):format(number)
        lines[#lines + 1] = title .. ('-'):rep(math.max(wide + 3 - #title, 2))
        for n = 1, shape.count do
            local s = columns and text.cut(row[n], math.max(columns - wide - 4, COLUMN_WIDTH_MIN)) or row[n]
            lines[#lines + 1] = (' ' .. text.pad(head[n], wide) .. ' | ' .. s):gsub('%s+$', '')
        end
    end
    return table.concat(lines, '\n')
end

--- '1 row', '2 rows'
---@param count integer
---@return string
function grid.row_count(count)
    return count == 1 and '1 row' or count .. ' rows'
end

return grid
