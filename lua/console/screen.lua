-- SPDX-License-Identifier: Apache-2.0
--
-- Draws a line that is being edited (console.line) onto the terminal, at the place where the cursor was
-- when it began: the prompt, the text in as many rows as it takes, a hint behind it.
--
-- Each change is drawn anew: up to the first row, everything behind it removed, rows written, the cursor
-- put where it belongs. Rows are broken here, at the terminal's width, so that it is known where they are.
-- What was only typed at the end is written alone. Of a text with more rows than the terminal those around
-- the cursor are shown.

local text = require('console.text')

local screen = {}
local methods = {}
methods.__index = methods

---@param write fun(s: string)
---@param size fun(): integer, integer columns and rows of the terminal
function screen.new(write, size)
    return setmetatable({ write = write, size = size, row = 0 }, methods)
end

-- -------------------------------------------------------------------------------------- layout

local function new_layout(columns)
    return { columns = columns, rows = { '' }, column = 0 }
end

local function break_row(layout)
    layout.rows[#layout.rows + 1] = ''
    layout.column = 0
end

--- One character, or several of which only whole rows are broken; in a style, a number of SGR, that is set
--- once in each row.
local function put(layout, s, number)
    local on, off = number and '\27[' .. number .. 'm' or '', number and '\27[0m' or ''
    layout.rows[#layout.rows] = layout.rows[#layout.rows] .. on
    for char in s:gmatch('[%z\1-\127\192-\255][\128-\191]*') do
        local shown = char == '\t' and (' '):rep(4) or text.printable(char)
        local width = text.width(shown)
        if layout.column + width > layout.columns then
            layout.rows[#layout.rows] = layout.rows[#layout.rows] .. off
            break_row(layout)
            layout.rows[#layout.rows] = on
        end
        layout.rows[#layout.rows] = layout.rows[#layout.rows] .. shown
        layout.column = layout.column + width
    end
    layout.rows[#layout.rows] = layout.rows[#layout.rows] .. off
end

--- Where the next character would stand.
local function mark(layout)
    if layout.column >= layout.columns then
        break_row(layout)
    end
    return #layout.rows, layout.column
end

--- What is to be drawn, and the cursor's row and column in it.
local function lay_out(line, look, columns)
    local layout = new_layout(columns)
    local s, marked = line.text, look.colored and line:bracket()
    put(layout, look.prompt, look.colored and 1)
    local cursor_row, cursor_column
    local position = 1
    while position <= #s do
        if position == line.cursor then
            cursor_row, cursor_column = mark(layout)
        end
        local char = s:match('^[%z\1-\127\192-\255][\128-\191]*', position) or s:sub(position, position)
        if char == '\n' then
            break_row(layout)
            put(layout, look.continuation, look.colored and 1)
        else
            put(layout, char, marked and (position == marked or position == line.cursor - 1) and 7)
        end
        position = position + #char
    end
    if not cursor_row then
        cursor_row, cursor_column = mark(layout)
        if look.hint then
            put(layout, look.hint, 2)
        end
    end
    return layout.rows, cursor_row, cursor_column
end

--- The same for a search: what is looked for, and what was found.
local function lay_out_search(search, columns)
    local layout = new_layout(columns)
    put(layout, ("%s '%s': "):format(search.failed and 'nothing like' or 'search', search.wanted))
    local row, column = mark(layout)
    put(layout, (search.found:gsub('\n', ' ')))
    return layout.rows, row, column
end

--- The rows around the cursor when there are more than the terminal has.
local function window(rows, cursor_row, count)
    if #rows <= count then
        return rows, cursor_row
    end
    local first = math.max(1, math.min(cursor_row - math.floor(count / 2), #rows - count + 1))
    local part = {}
    for n = first, first + count - 1 do
        part[#part + 1] = rows[n]
    end
    return part, cursor_row - first + 1
end

-- ------------------------------------------------------------------------------------- drawing

--- Draws the line. `look` has prompt, continuation, hint and colored.
---@param line table of console.line
---@param look table
function methods:draw(line, look)
    local columns, count = self.size()
    local rows, row, column
    if line.search then
        rows, row, column = lay_out_search(line.search, columns)
    else
        rows, row, column = lay_out(line, look, columns)
    end
    rows, row = window(rows, row, math.max(1, count - 1))
    local drawn = table.concat(rows, '\r\n')
    local at_end = row == #rows and column == text.width((rows[#rows]:gsub('\27%[%d+m', '')))
    if self.drawn and self.at_end and at_end and #drawn > #self.drawn
        and drawn:sub(1, #self.drawn) == self.drawn then
        self.write(drawn:sub(#self.drawn + 1))
    elseif drawn ~= self.drawn or not (self.at_end and at_end) then
        local out = self.row > 1 and ('\27[%dA'):format(self.row - 1) or ''
        if self.drawn then
            out = out .. '\r\27[J'
        end
        out = out .. drawn
        if not at_end then
            out = out .. (#rows > row and ('\27[%dA'):format(#rows - row) or '') .. '\r'
                .. (column > 0 and ('\27[%dC'):format(column) or '')
        end
        self.write(out)
    end
    self.drawn, self.at_end, self.row, self.rows = drawn, at_end, row, #rows
end

--- Leaves what was drawn where it is, and the cursor in the row below it.
function methods:leave()
    if self.rows and self.rows > self.row then
        self.write(('\27[%dB'):format(self.rows - self.row))
    end
    self.write('\r\n')
    self:forget()
end

--- What is drawn next begins where the cursor is.
function methods:forget()
    self.drawn, self.at_end, self.row, self.rows = nil, nil, 0, nil
end

return screen
