-- SPDX-License-Identifier: Apache-2.0
--
-- Which column of a file goes into which field of a space: from the names of a header, or of the keys of
-- objects, or else by position; and rows made by it, as MessagePack.

local native = require('load.native')
local value = require('load.value')

local byte, char, sub, concat = string.byte, string.char, string.sub, table.concat
local NIL = value.NIL

local plan = {}
plan.__index = plan

--- "column=field:type,other=": {column = {field, type}}; a field '' leaves the column out.
---@param texts string[]
function plan.parse_map(texts)
    local map = {}
    for _, text in ipairs(texts) do
        for part in (text .. ','):gmatch('([^,]*),') do
            local column, field = part:match('^(.-)=(.*)$')
            if not column or column == '' then
                error(("--map: '%s' is not COLUMN=FIELD, COLUMN=FIELD:TYPE or COLUMN="):format(part), 0)
            end
            local name, kind = field:match('^(.-):(%a+)$')
            map[column] = { field = name or field, type = kind }
        end
    end
    return map
end

local function header(count)
    if count < 16 then
        return char(0x90 + count)
    elseif count < 65536 then
        return char(0xdc, math.floor(count / 256), count % 256)
    end
    return char(0xdd, math.floor(count / 16777216), math.floor(count / 65536) % 256,
        math.floor(count / 256) % 256,
        count % 256)
end

local function field_names(fields)
    local names = {}
    for n, field in ipairs(fields) do
        names[n] = field.name
    end
    return #names > 0 and concat(names, ', ') or 'none'
end

--- What an empty cell is in a field.
local function nil_of(field, null_text)
    if field.type == 'string' and not field.is_nullable and not field.has_default and null_text == '' then
        return value.string('')
    end
    return NIL
end

local function column_of(field, position, null_text)
    return {
        position = position, name = field.name, type = field.type,
        encode = value.encoder(field.type), coerce = value.coercion(field.type),
        null = nil_of(field, null_text),
        is_text = field.type == 'string' or field.type == 'any' or field.type == 'scalar'
            or field.type == 'varbinary',
    }
end

--- Makes a plan.
---@param fields table[] of the space: {name, type, is_nullable, has_default}; `column`: what it is
--- called in the file, if not by its name
---@param map table of parse_map
---@param null_text string? what a cell of nil's is
function plan.new(fields, map, null_text)
    local self = setmetatable({ fields = fields, map = map, null_text = null_text, pieces = {},
        by_position = {}, by_key = {}, width = #fields, rest_encode = value.encoder('any') }, plan)
    for position, field in ipairs(fields) do
        self.by_position[position] = column_of(field, position, null_text)
        self.by_key[field.column or field.name] = self.by_position[position]
        self.coerces = self.coerces or self.by_position[position].coerce ~= nil
    end
    local by_name = {}
    for position, field in ipairs(fields) do
        by_name[field.name] = self.by_position[position]
    end
    for key, target in pairs(map) do
        local column = target.field ~= '' and by_name[target.field]
        if column == nil then
            error(("--map: the space has no field '%s'; its fields: %s"):format(target.field,
                field_names(fields)), 0)
        end
        self.by_key[key] = column
    end
    return self
end

--- Says which columns a file of cells has: their names, or nil and how many there are.
---@param names string[]|nil
---@param count integer
function plan:columns_are(names, count)
    local columns, taken = {}, {}
    self.width = #self.fields
    for n = 1, count do
        local name = names and names[n] or tostring(n)
        if n == count and name == '*' and not self.map['*'] then
            self.rest, count = true, count - 1
            break
        end
        local column = self.by_key[name]
        if column == nil and not names then
            column = self.by_position[n]
        end
        if column == nil then
            error(("column '%s': the space has no such field; its fields: %s. --map %s=FIELD says which it "
                .. 'is, --map %s= leaves the column out'):format(name, field_names(self.fields), name,
                name), 0)
        elseif column and taken[column.position] then
            error(("columns '%s' and '%s' are both for the field '%s'"):format(taken[column.position], name,
                column.name), 0)
        elseif column then
            taken[column.position] = name
        end
        columns[n] = column
        self.gaps = self.gaps or not column or column.position ~= n
    end
    self.columns, self.column_count, self.column_names = columns, count, names
    return self
end

--- The row of a record's cells; or nil, what is wrong, and in which column.
---@param cells table
---@param count integer
---@return string|nil row, string message, integer column
function plan:of_cells(cells, count)
    local columns, pieces, most = self.columns, self.pieces, 0
    if self.gaps then
        for position = 1, self.width do
            pieces[position] = NIL
        end
    end
    for n = 1, count do
        local column, cell, packed, message, position = columns[n], cells[n], nil, nil, nil
        if column then
            position = column.position
            if not cell then
                packed = column.null
            elseif cell == '' and not column.is_text then
                packed = NIL
            else
                packed, message = column.encode(cell)
            end
        elseif column == nil then
            if not self.rest then
                return nil, ('the record has %d cells, and there are %d columns'):format(count,
                    self.column_count), n
            end
            position = self.width + n - self.column_count
            packed = cell and self.rest_encode(cell) or NIL
        end
        if message then
            return nil, message, n
        elseif position then
            pieces[position] = packed
            most = position > most and position or most
        end
    end
    return header(most) .. concat(pieces, '', 1, most)
end

--- The elements of an array of MessagePack that begins at `at`, into the pieces from `position` on.
local function put_elements(self, bytes, count, at, position)
    for _ = 1, count do
        local past = native.check(bytes, at)
        local packed = sub(bytes, at, past - 1)
        local column = self.by_position[position]
        if column and column.coerce then
            local message
            packed, message = column.coerce(packed)
            if not packed then
                return nil, message, column.name
            end
        end
        self.pieces[position] = packed
        at, position = past, position + 1
    end
    return position - 1
end

local function of_map(self, bytes, count, at)
    local pieces, most = self.pieces, 0
    for position = 1, self.width do
        pieces[position] = NIL
    end
    for _ = 1, count do
        local key, from = value.read_string(bytes, at)
        if not key then
            return nil, 'a key is not a string'
        end
        local past = native.check(bytes, from)
        local column = self.by_key[key]
        if column then
            local packed, message = sub(bytes, from, past - 1), nil
            if column.coerce then
                packed, message = column.coerce(packed)
            end
            if not packed then
                return nil, message, key
            end
            pieces[column.position] = packed
            most = math.max(most, column.position)
        elseif column == nil and key == '*' and native.array(bytes, from) then
            local more, first = native.array(bytes, from)
            most = put_elements(self, bytes, more, first, self.width + 1)
        elseif column == nil then
            return nil,
                ("the space has no field '%s'; its fields: %s. --map %s=FIELD says which it is, --map %s= "
                .. 'leaves it out'):format(key, field_names(self.fields), key, key), key
        end
        at = past
    end
    return header(most) .. concat(pieces, '', 1, most)
end

--- The row of a value that is an array, or a map by the names of fields; or nil, what is wrong, and
--- under which key. `exact`: values are of their types already.
---@param bytes string
---@param exact boolean
---@return string|nil row, string message, string key
function plan:of_packed(bytes, exact)
    local count, at, is_map = native.array(bytes, 1)
    if is_map then
        return of_map(self, bytes, count, at)
    elseif exact or not self.coerces then
        return bytes
    end
    local most, message, key = put_elements(self, bytes, count, at, 1)
    if not most then
        return nil, message, key
    end
    return header(most) .. concat(self.pieces, '', 1, most)
end

--- Whether a string of MessagePack is nil's.
function plan.is_nil(packed)
    return byte(packed, 1) == 0xc0
end

return plan
