-- SPDX-License-Identifier: Apache-2.0
--
-- What a statement gave, as the user wants to see it: `console.output` names the format, `console.expanded`
-- draws a table as blocks. Columns have the names of the space's format when the input is one statement
-- on a space, since a result does not carry names.

local chunk = require('console.chunk')
local format = require('console.format')
local grid = require('console.grid')
local redis = require('console.redis')
local value = require('console.value')

local result = {}

local COLUMNS_DEFAULT = 80

--- Names of the columns of what a statement on a space gave, and their types where these are wanted, when
--- they can be known.
local function names_of(console, space)
    if not pcall(console.catalog.refresh, console.catalog) then
        return nil
    end
    return console.catalog:field_names(space), console.types and console.catalog:field_types(space) or nil
end

--- How wide a table may be; nil: nothing is cut.
local function columns_of(console)
    return not console.out and console:columns() or nil
end

--- Draws rows in the format that is wished.
local function emit_shape(console, shape, whole)
    if console.output ~= 'table' then
        console:emit(format[console.output](whole, shape))
    elseif console.expanded then
        console:emit(grid.expand(shape, columns_of(console)))
    else
        local drawn = grid.draw(shape, columns_of(console))
        console:emit(console:bold_first(drawn))
    end
end

--- A value that is no list of rows.
local function show_value(console, source, v)
    local wanted = v ~= nil or (chunk.is_expression(source) and not chunk.is_silent(source))
    if not wanted then
        return
    elseif console.output ~= 'table' then
        console:emit(format[console.output](v, nil))
    elseif type(v) == 'string' then
        console:emit_text(v)
    elseif v == nil then
        console:emit('nil')
    else
        console:emit(value.pretty(v, columns_of(console) or COLUMNS_DEFAULT))
    end
end

--- Shows what an input gave; returns its number of rows when it is a list of rows.
---@param console table
---@param source string
---@param v any
---@return integer?
function result.show(console, source, v)
    local space, method = chunk.space_of(source)
    if space and (v == nil or (value.is_array(v) and #v == 0)) then
        return 0
    end
    local names, types
    if space and value.is_array(v) then
        names, types = names_of(console, space)
        v = method == 'select' and v or { v }
    end
    local shape = grid.shape(v, names, types)
    if not shape then
        show_value(console, source, v)
        return nil
    end
    emit_shape(console, shape, v)
    return #shape.rows
end

--- Rows of the console's own, such as those of \d.
---@param console table
---@param rows table[]
---@param names string[]
function result.show_rows(console, rows, names)
    if #rows > 0 then
        emit_shape(console, grid.shape(rows, names), rows)
    end
end

--- A reply of Redis's.
function result.show_reply(console, reply)
    if console.output == 'table' then
        console:emit(redis.show(reply))
    else
        console:emit(format[console.output](redis.plain(reply), nil))
    end
end

--- How many rows, and how long it took.
---@param console table
---@param rows integer?
---@param seconds number
function result.summary(console, rows, seconds)
    local parts = {}
    if console.output ~= 'table' or console.out then
        rows = nil
    end
    if rows then
        parts[1] = grid.row_count(rows)
    end
    if console.timing then
        local scale = seconds < 1 and '%.1f ms' or '%.2f s'
        parts[#parts + 1] = scale:format(seconds < 1 and seconds * 1000 or seconds)
    end
    if #parts > 0 then
        console:print('(' .. table.concat(parts, ', ') .. ')')
    end
end

return result
