-- SPDX-License-Identifier: Apache-2.0
--
-- What a terminal shows after a program has written to it: characters in rows and columns, and the cursor.
-- Of its sequences it knows those of a console: moves, what is removed, and styles, which it leaves out.

local screen = {}
local methods = {}
methods.__index = methods

function screen.new(columns, rows)
    return setmetatable({ columns = columns or 80, height = rows or 40, row = 1, column = 1, lines = { {} },
        rest = '' }, methods)
end

local function line_at(self, row)
    while #self.lines < row do
        self.lines[#self.lines + 1] = {}
    end
    return self.lines[row]
end

--- Below the last row the first one leaves the screen.
local function down(self)
    if self.row == self.height then
        table.remove(self.lines, 1)
    else
        self.row = self.row + 1
    end
    line_at(self, self.row)
end

local function erase(self, from_row, from_column)
    for row = from_row, #self.lines do
        local line = self.lines[row]
        for column = row == from_row and from_column or 1, #line do
            line[column] = nil
        end
    end
end

local sequences = {
    A = function(self, n) self.row = math.max(1, self.row - n) end,
    B = function(self, n) self.row = math.min(self.height, self.row + n) end,
    C = function(self, n) self.column = math.min(self.columns, self.column + n) end,
    D = function(self, n) self.column = math.max(1, self.column - n) end,
    H = function(self) self.row, self.column = 1, 1 end,
    J = function(self, _, argument)
        if argument == '2' then
            erase(self, 1, 1)
        else
            erase(self, self.row, self.column)
        end
    end,
    m = function() end, h = function() end, l = function() end,
}

local function put(self, char)
    if self.column > self.columns then
        down(self)
        self.column = 1
    end
    local line = line_at(self, self.row)
    for column = #line + 1, self.column - 1 do
        line[column] = ' '
    end
    line[self.column] = char
    self.column = self.column + 1
end

local controls = {
    ['\r'] = function(self) self.column = 1 end,
    ['\n'] = down,
    ['\b'] = function(self) self.column = math.max(1, self.column - 1) end,
    ['\7'] = function() end,
}

--- Takes output; a sequence that is not whole waits for the rest.
function methods:feed(bytes)
    local s, position = self.rest .. bytes, 1
    while position <= #s do
        local argument, final = s:match('^\27%[([%d;?]*)(%a)', position)
        if final then
            assert(sequences[final], 'no such sequence: ' .. final)(self, tonumber(argument) or 1, argument)
            position = position + 3 + #argument
        elseif s:sub(position, position) == '\27' then
            break
        else
            local char = s:match('^[%z\1-\127]', position) or s:match('^[\192-\255][\128-\191]*', position)
            local control = controls[char]
            if control then
                control(self)
            else
                put(self, char)
            end
            position = position + #char
        end
    end
    self.rest = s:sub(position)
end

--- The rows as text, without blanks at their ends.
function methods:text()
    local rows = {}
    for n, line in ipairs(self.lines) do
        rows[n] = table.concat(line):gsub('%s+$', '')
    end
    return table.concat(rows, '\n')
end

--- What stands before the cursor in its row.
function methods:before_cursor()
    return table.concat(self.lines[self.row] or {}, '', 1, math.min(self.column - 1,
        #(self.lines[self.row] or {})))
end

return screen
