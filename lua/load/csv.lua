-- SPDX-License-Identifier: Apache-2.0
--
-- CSV as in RFC 4180, and TSV: records in lines, cells between delimiters.
--
-- With a quote, a cell that begins with one goes on to the next one that stands alone; delimiters and line
-- ends within are part of it, and two quotes are one. Without (TSV), \t \n \r \0 and \\ stand for what a
-- cell can't contain. Lines end with \n or \r\n; empty ones are no records.
--
-- A cell is nil's when its text, outside of quotes, is the one for nil: nothing in CSV, \N in TSV.
--
-- The reader works on load.input. Most records are one line without a quote: they are cut by string.find
-- with plain texts only, which LuaJIT compiles.

local find, sub, byte = string.find, string.sub, string.byte

local RECORD_BYTES_MAX = 64 * 1024 * 1024

local csv = {}
local reader = {}
reader.__index = reader

local escapes = { t = '\t', n = '\n', r = '\r', ['0'] = '\0' }
local escaped = { ['\t'] = '\\t', ['\n'] = '\\n', ['\r'] = '\\r', ['\0'] = '\\0', ['\\'] = '\\\\' }

--- The options of a kind of file with what was not said: delimiter, quote (false: escapes), null.
---@param format string 'csv' or 'tsv'
---@param given table {delimiter, quote, null}
function csv.options(format, given)
    local tsv = format == 'tsv'
    local quote = given.quote
    if quote == nil then
        quote = not tsv and '"'
    elseif quote == '' then
        quote = false
    end
    local options = {
        delimiter = given.delimiter or tsv and '\t' or ',',
        quote = quote,
        null = given.null or quote and '' or '\\N',
    }
    for _, name in ipairs({ 'delimiter', 'quote' }) do
        local value = options[name]
        if value and (#value ~= 1 or find(value, '[%w\r\n\\\128-\255]')) then
            error(('the %s is one character of ASCII: no letter, digit, line end or backslash'):format(name),
                0)
        end
    end
    if not quote and options.delimiter ~= '\t' then
        error('without a quote the delimiter is a tab', 0)
    end
    if options.delimiter == options.quote then
        error('the delimiter and the quote are not the same', 0)
    elseif find(options.null, '[\r\n]') or find(options.null, options.delimiter, 1, true) then
        error('the text for nil has no line end and no delimiter', 0)
    end
    return options
end

-- ----------------------------------------------------------------------------------------- reading

---@param input table load.input
---@param options table of csv.options
function csv.reader(input, options)
    return setmetatable({
        input = input, options = options, cells = {}, line = 1,
        quote_at = 0, -- in input.text after so many pieces: no quote is between input.position and it
        quote_pieces = -1,
    }, reader)
end

--- Where the next quote is from `position` on, far away when there is none.
local function next_quote(self, text, position)
    if self.quote_pieces ~= self.input.pieces or self.quote_at < position then
        self.quote_at = find(text, self.options.quote, position, true) or math.huge
        self.quote_pieces = self.input.pieces
    end
    return self.quote_at
end

local function unescape(cell)
    return (cell:gsub('\\(.?)', function(c) return escapes[c] or c end))
end

--- Cuts text[first..last], which has no quotes, into cells; gives their number.
local function split(self, text, first, last)
    local options, cells = self.options, self.cells
    local delimiter, null, plain = options.delimiter, options.null, options.quote
    local count, position = 0, first
    while true do
        local stop = find(text, delimiter, position, true)
        if not stop or stop > last then
            stop = last + 1
        end
        local cell = sub(text, position, stop - 1)
        count = count + 1
        if cell == null then
            cells[count] = false
        elseif not plain and find(cell, '\\', 1, true) then
            cells[count] = unescape(cell)
        else
            cells[count] = cell
        end
        if stop > last then
            return count
        end
        position = stop + 1
    end
end

--- The cell in quotes that begins at `first`: its text, and the position behind it. nil when it goes on
--- behind the text.
local function quoted(text, first, quote)
    local from, doubled = first + 1, false
    while true do
        local stop = find(text, quote, from, true)
        if not stop then
            return nil
        elseif byte(text, stop + 1) ~= byte(quote) then
            local cell = sub(text, first + 1, stop - 1)
            return doubled and cell:gsub('%' .. quote .. '%' .. quote, '%' .. quote) or cell, stop + 1
        end
        from, doubled = stop + 2, true
    end
end

local function at(position, message)
    return nil, { position = position, message = message }
end

--- The cells of the record at `first`, with quotes: their number, and the position behind the record's line
--- end. nil when the record is not whole, with a problem when no more text can help.
local function cut(self, text, first)
    local options, cells, ended = self.options, self.cells, self.input.ended
    local delimiter, quote, null = options.delimiter, options.quote, options.null
    local count, position, size = 0, first, #text
    while true do
        local cell, stop
        count = count + 1
        if sub(text, position, position) == quote then
            cell, stop = quoted(text, position, quote)
            if not cell or (stop > size and not ended) then
                return at(position, ended and 'the text ends within quotes')
            end
            cells[count] = cell
        else
            local line_end = find(text, '\n', position, true)
            if not line_end and not ended then
                return nil
            end
            line_end = line_end or size + 1
            stop = find(text, delimiter, position, true)
            if not stop or stop > line_end then
                stop = byte(text, line_end - 1) == 13 and line_end > position and line_end - 1 or line_end
            end
            cell = sub(text, position, stop - 1)
            local inside = find(cell, quote, 1, true)
            if inside then
                return at(position + inside - 1, 'a quote in a cell that does not begin with one')
            end
            cells[count] = cell ~= null and cell
        end
        local following = byte(text, stop)
        if following == byte(delimiter) then
            position = stop + 1
        elseif following == nil or following == 10 then
            return count, stop + 1
        elseif following == 13 and byte(text, stop + 1) == 10 then
            return count, stop + 2
        elseif following == 13 and stop == size and not ended then
            return nil
        elseif following == 13 and stop == size then
            return count, stop + 1
        else
            return at(stop, 'text behind the closing quote')
        end
    end
end

local function lines_of(text, first, last)
    local count, position = 0, first - 1
    while true do
        position = find(text, '\n', position + 1, true)
        if not position or position > last then
            return count
        end
        count = count + 1
    end
end

--- Passes the first line of a record that is wrong. What is wrong, with its place.
local function fail(self, text, first, problem)
    local input = self.input
    local line_end = find(text, '\n', first, true) or #text
    local lines = lines_of(text, first, problem.position - 1)
    local begin = problem.position
    while begin > first and byte(text, begin - 1) ~= 10 do
        begin = begin - 1
    end
    local failed = {
        message = problem.message, line = self.line + lines, column = problem.position - begin + 1,
    }
    self.from, self.raw_first, self.raw_last = input.base + first - 1, first, line_end
    self.record_line, self.line = self.line, self.line + 1
    input.position = line_end + 1
    return nil, failed
end

local function take(self, first, past, lines)
    local input = self.input
    self.from, self.raw_first, self.raw_last = input.base + first - 1, first, past - 1
    self.record_line, self.line = self.line, self.line + lines
    input.position = past
end

--- The next record: its cells (a table that is used again; false is nil) and their number. nil at the
--- end; nil and {message, line, column} for a record that is none, of which the first line is passed.
---@return table|nil cells, integer|table|nil count
function reader:next()
    local input, with_quotes = self.input, self.options.quote
    while true do
        local text, first = input.text, input.position
        local stop = find(text, '\n', first, true)
        if not stop and input:more() then -- luacheck: ignore 542
            -- look again
        elseif first > #text then
            return nil
        else
            stop = stop or #text + 1
            local last = byte(text, stop - 1) == 13 and stop > first and stop - 2 or stop - 1
            if last < first then
                input.position, self.line = math.min(stop, #text) + 1, self.line + 1
            elseif not with_quotes or next_quote(self, text, first) > last then
                local count = split(self, text, first, last)
                take(self, first, math.min(stop, #text) + 1, 1)
                return self.cells, count
            else
                local count, past = cut(self, text, first)
                if count then
                    past = math.min(past, #text + 1)
                    take(self, first, past, math.max(1, lines_of(text, first, past - 1)))
                    return self.cells, count
                elseif past and past.message then
                    return fail(self, text, first, past)
                elseif #text - first > RECORD_BYTES_MAX then
                    return fail(self, text, first, { position = first,
                        message = 'a record of more than 64 MB: a quote that is not closed?' })
                end
                input:more()
            end
        end
    end
end

--- The text of the record that `next` has given, or refused, last.
function reader:raw()
    return sub(self.input.text, self.raw_first, self.raw_last)
end

--- The line, counted from the record's first, and the column (in bytes) in which the n-th cell of a record
--- begins.
function csv.place(raw, n, options)
    local position, line, begin = 1, 0, 1
    for _ = 2, n do
        local stop
        if options.quote and sub(raw, position, position) == options.quote then
            stop = select(2, quoted(raw, position, options.quote))
        end
        local following = find(raw, options.delimiter, stop or position, true)
        if not following then
            break
        end
        for at_line in sub(raw, position, following):gmatch('()\n') do
            line, begin = line + 1, position + at_line
        end
        position = following + 1
    end
    return line, position - begin + 1
end

-- ----------------------------------------------------------------------------------------- writing

--- A function(cells, count): the text of a record with its line end. A cell is a text, or false for nil.
---@param options table of csv.options
function csv.writer(options)
    local delimiter, quote, null = options.delimiter, options.quote, options.null
    local special = '[\r\n%' .. delimiter .. (quote and '%' .. quote or '\\%z') .. ']'
    local out = {}
    return function(cells, count)
        for n = 1, count do
            local cell = cells[n]
            if not cell then
                cell = null
            elseif not quote then
                if find(cell, special) then
                    cell = cell:gsub('[\r\n\t%z\\]', escaped)
                end
            elseif cell == null or find(cell, special) then
                cell = quote .. cell:gsub('%' .. quote, '%' .. quote .. '%' .. quote) .. quote
            end
            out[n] = cell
        end
        local text = table.concat(out, delimiter, 1, count)
        -- an empty line is no record: these are a cell without a text
        return (text == '' and (quote and quote .. quote or '\\') or text) .. '\n'
    end
end

return csv
