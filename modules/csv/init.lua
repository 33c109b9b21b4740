-- SPDX-License-Identifier: Apache-2.0
--
-- CSV as in RFC 4180: fields between delimiters, records between line ends; a field in quotes may contain
-- all of these, and quotes twice. Lines may end with \r\n, \n or \r.
--
-- The parser takes text in pieces of any size, and keeps between them where it is: at the START of a
-- field, in a PLAIN one, in a QUOTED one, or just after a QUOTE in one, which is its end or half of a
-- quote that is meant.

local csv = {}

local START, PLAIN, QUOTED, QUOTE = 1, 2, 3, 4
local CHUNK_SIZE = 64 * 1024

local known = { delimiter = true, quote = true, header = true, chunk_size = true, skip_lines = true,
    empty_lines = true, quoting = true, line_end = true, delimiter_char = true, quote_char = true,
    skip_head_lines = true }

local function one_byte(value, what)
    if type(value) ~= 'string' or #value ~= 1 or value == '\r' or value == '\n' then
        error(('csv: the %s is one character, and no line end'):format(what), 0)
    end
    return value
end

local function check_options(options)
    options = options or {}
    if type(options) ~= 'table' then
        error('csv: options are a table', 0)
    end
    for name in pairs(options) do
        if not known[name] then
            error(('csv: there is no option "%s"'):format(tostring(name)), 0)
        end
    end
    local result = {
        delimiter = one_byte(options.delimiter or options.delimiter_char or ',', 'delimiter'),
        quote = one_byte(options.quote or options.quote_char or '"', 'quote'),
        header = options.header,
        chunk_size = tonumber(options.chunk_size) or CHUNK_SIZE,
        skip_lines = tonumber(options.skip_lines or options.skip_head_lines) or 0,
        empty_lines = options.empty_lines or false,
        quoting = options.quoting or 'needed',
        line_end = options.line_end or '\r\n',
    }
    if result.delimiter == result.quote then
        error('csv: the delimiter and the quote differ', 0)
    elseif result.quoting ~= 'needed' and result.quoting ~= 'all' then
        error("csv: quoting is 'needed' or 'all'", 0)
    end
    return result
end

--- A pattern's class of these characters.
local function class(characters)
    return '[' .. characters:gsub('%W', '%%%0') .. ']'
end

-- ------------------------------------------------------------------------------------ reading

local function new_parser(options)
    return {
        options = options, state = START, line = 1, skip = options.skip_lines,
        ends = class(options.delimiter .. options.quote .. '\r\n'),
        pieces = {}, fields = {}, rows = {}, first = 1,
    }
end

local function fail(parser, format, ...)
    error(('csv: line %d, field %d: %s'):format(parser.line, #parser.fields + 1, format:format(...)), 0)
end

local function end_field(parser)
    parser.fields[#parser.fields + 1] = table.concat(parser.pieces)
    parser.pieces, parser.state = {}, START
end

local function end_record(parser)
    local fields = parser.fields
    local empty = #fields == 0 and parser.state == START and #parser.pieces == 0
    end_field(parser)
    parser.fields = {}
    if parser.skip > 0 then
        parser.skip = parser.skip - 1
    elseif not empty or parser.options.empty_lines then
        parser.rows[#parser.rows + 1] = fields
    end
end

--- What follows a field at `position`: a delimiter or a line end.
local function end_at(parser, character)
    if character == parser.options.delimiter then
        end_field(parser)
    else
        end_record(parser)
        parser.line = parser.line + 1
        parser.after_return = character == '\r'
    end
end

local function add(parser, text)
    if text ~= '' then
        parser.pieces[#parser.pieces + 1] = text
    end
end

--- Lines in quotes are counted as well.
local function count_lines(parser, text)
    for _ in text:gmatch('\n') do
        parser.line = parser.line + 1
    end
end

--- Goes on with the text from a position; gives the next one.
local function step(parser, text, position)
    local quote, state = parser.options.quote, parser.state
    if state == QUOTED then
        local found = text:find(quote, position, true)
        local part = text:sub(position, (found or #text + 1) - 1)
        add(parser, part)
        count_lines(parser, part)
        parser.state = found and QUOTE or QUOTED
        return (found or #text) + 1
    elseif state == QUOTE then
        local character = text:sub(position, position)
        if character == quote then
            add(parser, quote)
            parser.state = QUOTED
        elseif character == parser.options.delimiter or character == '\r' or character == '\n' then
            end_at(parser, character)
        else
            fail(parser, '%q follows the closing quote', character)
        end
        return position + 1
    end
    local found = text:find(parser.ends, position)
    local part = text:sub(position, (found or #text + 1) - 1)
    add(parser, part)
    if part ~= '' then
        parser.state = PLAIN
    end
    if not found then
        return #text + 1
    end
    local character = text:sub(found, found)
    if character ~= quote then
        end_at(parser, character)
    elseif parser.state == START then
        parser.state = QUOTED
    else
        fail(parser, 'a quote in a field that does not begin with one')
    end
    return found + 1
end

local function feed(parser, text)
    local position, size = 1, #text
    while position <= size do
        if parser.after_return then
            parser.after_return = false
            if text:sub(position, position) == '\n' then
                position = position + 1
            end
        else
            position = step(parser, text, position)
        end
    end
end

local function finish(parser)
    if parser.state == QUOTED then
        fail(parser, 'the text ends within quotes')
    elseif parser.state ~= START or #parser.fields > 0 then
        end_record(parser)
    end
end

--- A function that gives the text in pieces, then nil; of text, a function, or what has a method `read`.
local function reader_of(source, size)
    if type(source) == 'string' then
        local position = 1
        return function()
            if position > #source then
                return nil
            end
            position = position + size
            return source:sub(position - size, position - 1)
        end
    elseif type(source) == 'function' then
        return source
    elseif source ~= nil and type(source) ~= 'number' and source.read then
        return function()
            local text = source:read(size)
            return text ~= '' and text or nil
        end
    end
    error('csv: what is read is a string, a function, or an object with a method `read`', 0)
end

--- The row by the names of its columns.
local function by_name(names, fields, number)
    if #fields > #names then
        error(('csv: record %d has %d fields, and the header %d'):format(number, #fields, #names), 0)
    end
    local result = {}
    for position, name in ipairs(names) do
        result[name] = fields[position]
    end
    return result
end

--- csv.iterate(source, options): for number, row in csv.iterate(..). Reads as it goes.
function csv.iterate(source, options)
    options = check_options(options)
    local parser, read = new_parser(options), reader_of(source, options.chunk_size)
    local names = type(options.header) == 'table' and options.header or nil
    local number, ended = 0, false
    local function next_row()
        while not parser.rows[parser.first] do
            if ended then
                return nil
            end
            parser.rows, parser.first = {}, 1
            local text = read()
            if text == nil then
                ended = true
                finish(parser)
            else
                feed(parser, text)
            end
        end
        parser.first = parser.first + 1
        return parser.rows[parser.first - 1]
    end
    return function()
        local fields = next_row()
        if fields and options.header == true and not names then
            names, fields = fields, next_row()
        end
        if not fields then
            return nil
        end
        number = number + 1
        return number, names and by_name(names, fields, number) or fields
    end
end

--- csv.parse(source, options): all rows. Options: delimiter, quote, header (true: the first record names
--- the columns; or an array of names), skip_lines, empty_lines, chunk_size.
function csv.parse(source, options)
    local rows = {}
    for number, row in csv.iterate(source, options) do
        rows[number] = row
    end
    return rows
end

-- ------------------------------------------------------------------------------------ writing

local function new_writer(options)
    local special = class(options.delimiter .. options.quote .. '\r\n')
    local quote = options.quote
    local pattern, twice = class(quote), (quote .. quote):gsub('%%', '%%%%')
    local function field(value, alone)
        local text = value == nil and '' or tostring(value)
        if options.quoting == 'all' or text:find(special) or (alone and text == '') then
            return quote .. text:gsub(pattern, twice) .. quote
        end
        return text
    end
    return function(row, count)
        local fields = {}
        for position = 1, count do
            fields[position] = field(row[position], count == 1)
        end
        return table.concat(fields, options.delimiter) .. options.line_end
    end
end

local function width(row)
    return box.tuple.is(row) and #row or table.maxn(row)
end

--- csv.format(rows, options, [writable]): rows are arrays or tuples, or with `header` (names, in their
--- order) tables by name, under a line of the names. Gives the text, or writes it (a function, or an
--- object with a method `write`) row by row. Options: delimiter, quote, quoting ('needed', 'all'),
--- line_end.
function csv.format(rows, options, writable)
    options = check_options(options)
    local write_row, lines = new_writer(options), {}
    local function put(text)
        if writable == nil then
            lines[#lines + 1] = text
        elseif type(writable) == 'function' then
            writable(text)
        else
            writable:write(text)
        end
    end
    local names = options.header
    if names ~= nil then
        if type(names) ~= 'table' or #names == 0 then
            error('csv: the header of what is written is an array of names', 0)
        end
        put(write_row(names, #names))
    end
    for _, row in ipairs(rows) do
        if names and not box.tuple.is(row) and row[1] == nil then
            local fields = {}
            for position, name in ipairs(names) do
                fields[position] = row[name]
            end
            put(write_row(fields, #names))
        else
            put(write_row(row, names and #names or width(row)))
        end
    end
    return writable == nil and table.concat(lines) or nil
end

csv.load, csv.dump = csv.parse, csv.format

return csv
