-- SPDX-License-Identifier: Apache-2.0
--
-- A text that is being edited, of one line or several, and the keys that change it. It knows nothing of a
-- terminal: bytes go in through `feed`, and console.screen draws what there is.
--
-- Keys are bytes of a terminal: characters of UTF-8, controls, sequences that begin with Escape. What is
-- not whole yet waits for the rest; what is left when a line is entered belongs to the next one. Between
-- ESC[200~ and ESC[201~ text is pasted, and every byte of it stands for itself.

local text = require('console.text')

local line = {}
local methods = {}
methods.__index = methods

--- The position behind the character at `position`, with marks that are drawn over it.
local function after(s, position)
    local past = position
    repeat
        past = past + 1
        while (s:byte(past) or 0) >= 0x80 and s:byte(past) <= 0xbf do
            past = past + 1
        end
        local mark = s:match('^[\194-\244][\128-\191]+', past)
    until not mark or text.width(mark) > 0
    return past
end

--- The position of the character before `position`.
local function before(s, position)
    local from = 1
    for newline in s:sub(1, position - 1):gmatch('()\n') do
        from = newline < position - 1 and newline + 1 or newline
    end
    while from < position do
        local past = after(s, from)
        if past >= position then
            return from
        end
        from = past
    end
    return from
end

--- @param options table {is_complete(text), complete(text before), history: console.history}
function line.new(options)
    return setmetatable({
        options = options, text = '', cursor = 1, bytes = '', cut = '', place = nil, draft = '',
    }, methods)
end

--- Begins with nothing; bytes that were typed ahead stay.
function methods:reset()
    self.text, self.cursor, self.place, self.draft, self.search = '', 1, nil, '', nil
end

-- ------------------------------------------------------------------------------------- editing

function methods:set(s)
    self.text, self.cursor = s, #s + 1
end

function methods:insert(s)
    self.text = self.text:sub(1, self.cursor - 1) .. s .. self.text:sub(self.cursor)
    self.cursor = self.cursor + #s
end

--- Removes [from, past) and leaves the cursor there; gives what it was.
function methods:remove(from, past)
    local removed = self.text:sub(from, past - 1)
    self.text = self.text:sub(1, from - 1) .. self.text:sub(past)
    self.cursor = from
    return removed
end

function methods:line_start()
    return self.text:sub(1, self.cursor - 1):match('()[^\n]*$')
end

function methods:line_end()
    return self.text:match('^[^\n]*()', self.cursor)
end

function methods:word_start()
    return self.text:sub(1, self.cursor - 1):match('()[%w_\128-\255]*[^%w_\128-\255]*$')
end

function methods:word_end()
    return self.text:match('^[^%w_\128-\255]*[%w_\128-\255]*()', self.cursor)
end

local keys = {}

function keys.left(self)
    self.cursor = self.cursor > 1 and before(self.text, self.cursor) or 1
end

function keys.right(self)
    self.cursor = self.cursor <= #self.text and after(self.text, self.cursor) or self.cursor
end

function keys.home(self)
    self.cursor = self:line_start()
end

keys['end'] = function(self)
    self.cursor = self:line_end()
end

function keys.word_left(self)
    self.cursor = self:word_start()
end

function keys.word_right(self)
    self.cursor = self:word_end()
end

function keys.backspace(self)
    if self.cursor > 1 then
        self:remove(before(self.text, self.cursor), self.cursor)
    end
end

function keys.delete(self)
    if self.cursor <= #self.text then
        self:remove(self.cursor, after(self.text, self.cursor))
    end
end

function keys.delete_or_end(self)
    if self.text == '' then
        return 'end'
    end
    return keys.delete(self)
end

function keys.cut_word(self)
    self.cut = self:remove(self:word_start(), self.cursor)
end

function keys.cut_word_right(self)
    self.cut = self:remove(self.cursor, self:word_end())
end

function keys.cut_start(self)
    self.cut = self:remove(self:line_start(), self.cursor)
end

function keys.cut_end(self)
    local past = self:line_end()
    self.cut = self:remove(self.cursor, past == self.cursor and math.min(past + 1, #self.text + 1) or past)
end

function keys.put_back(self)
    self:insert(self.cut)
end

function keys.swap(self)
    local past = self.cursor <= #self.text and after(self.text, self.cursor) or self.cursor
    local middle = before(self.text, past)
    local from = middle > 1 and before(self.text, middle) or 1
    if from < middle and not self.text:sub(from, past - 1):find('\n') then
        local swapped = self.text:sub(middle, past - 1) .. self.text:sub(from, middle - 1)
        self:remove(from, past)
        self:insert(swapped)
    end
end

function keys.newline(self)
    self:insert('\n')
end

function keys.enter(self)
    if self.text:find('%S') and not self.options.is_complete(self.text) then
        return self:insert('\n')
    end
    self.cursor = #self.text + 1
    return 'enter'
end

function keys.drop()
    return 'drop'
end

function keys.suspend()
    return 'suspend'
end

function keys.clear()
    return 'clear'
end

function keys.complete(self)
    local more, list = self.options.complete(self.text:sub(1, self.cursor - 1))
    if more then
        self:insert(more)
    elseif list then
        self.listing = list
        return 'list'
    end
end

-- ------------------------------------------------------------------------------------- history

--- Another entry: `by` 1 is an older one, -1 a newer one; the newest of all is what was being typed.
local function walk(self, by)
    local place = (self.place or 0) + by
    local entry = place > 0 and self.options.history:at(place)
    if place < 0 or (place > 0 and not entry) then
        return
    elseif not self.place or self.place == 0 then
        self.draft = self.text
    end
    self.place = place
    self:set(place == 0 and self.draft or entry)
end

function keys.older(self)
    walk(self, 1)
end

function keys.newer(self)
    walk(self, -1)
end

--- The line above or below, in the same column; beyond the first and the last one the history.
local function vertical(self, by)
    local start = self:line_start()
    local column = text.width(self.text:sub(start, self.cursor - 1))
    local target
    if by < 0 then
        target = start > 1 and self.text:sub(1, start - 2):match('()[^\n]*$')
    else
        local past = self:line_end()
        target = past <= #self.text and past + 1
    end
    if not target then
        return walk(self, -by)
    end
    self.cursor = target
    local past = self:line_end()
    while self.cursor < past and text.width(self.text:sub(target, self.cursor - 1)) < column do
        self.cursor = after(self.text, self.cursor)
    end
end

function keys.up(self)
    vertical(self, -1)
end

function keys.down(self)
    vertical(self, 1)
end

--- Looks for the search's text from entry number `place` on.
local function search_from(self, place)
    local search = self.search
    local entry = self.options.history:at(place)
    while entry do
        if entry:find(search.wanted, 1, true) then
            search.place, search.found, search.failed = place, entry, false
            return
        end
        place = place + 1
        entry = self.options.history:at(place)
    end
    search.failed = true
end

function keys.search(self)
    self.search = { wanted = '', found = self.text, place = 0, before = self.text }
end

--- A key while searching; gives what `feed` gives, or true when the key has been used.
local function search_key(self, name, char)
    local search = self.search
    if name == 'search' then
        search_from(self, search.place + 1)
    elseif name == 'backspace' then
        search.wanted = search.wanted:sub(1, math.max(0, before(search.wanted, #search.wanted + 1) - 1))
        search_from(self, 1)
    elseif char then
        search.wanted = search.wanted .. char
        search_from(self, math.max(1, search.place))
    elseif name == 'cancel' or name == 'drop' then
        self:set(search.before)
        self.search = nil
    else
        self:set(search.found)
        self.place, self.search = search.place, nil
        return name ~= 'escape'
    end
    return false
end

-- ---------------------------------------------------------------------------------------- keys

local controls = {
    [1] = 'home', [2] = 'left', [3] = 'drop', [4] = 'delete_or_end', [5] = 'end', [6] = 'right',
    [7] = 'cancel', [8] = 'backspace', [9] = 'complete', [10] = 'enter', [11] = 'cut_end',
    [12] = 'clear', [13] = 'enter',
    [14] = 'newer', [16] = 'older', [18] = 'search', [20] = 'swap', [21] = 'cut_start', [23] = 'cut_word',
    [25] = 'put_back', [26] = 'suspend', [127] = 'backspace',
}
local finals = { A = 'up', B = 'down', C = 'right', D = 'left', H = 'home', F = 'end' }
local tildes = {
    ['1'] = 'home', ['3'] = 'delete', ['4'] = 'end', ['7'] = 'home', ['8'] = 'end', ['200'] = 'paste',
}
local alts = {
    b = 'word_left', f = 'word_right', d = 'cut_word_right', ['\127'] = 'cut_word',
    ['\r'] = 'newline', ['\n'] = 'newline',
}

--- The name of a sequence that begins with Escape, and its size; nil: it is not whole yet.
local function escape_key(bytes)
    local arguments, final = bytes:match('^\27%[([%d;?]*)([%a~])')
    if final then
        local name = final == '~' and tildes[arguments:match('^%d*')] or finals[final]
        if arguments:find(';[35]') and (name == 'left' or name == 'right') then
            name = 'word_' .. name
        end
        return name or 'nothing', 2 + #arguments + 1
    end
    local letter = bytes:match('^\27O(%a)')
    if letter then
        return finals[letter] or 'nothing', 3
    elseif bytes:find('^\27%[?[%d;?]*$') or bytes == '\27O' then
        return nil
    end
    local char = bytes:sub(2, 2)
    if char == '\27' or char == '[' then
        return 'escape', 1
    end
    return alts[char] or 'nothing', 2
end

--- The size of the character that the bytes begin with; nil: it is not whole yet.
local function char_size(bytes)
    local first = bytes:byte()
    local size = first >= 0xf0 and 4 or first >= 0xe0 and 3 or first >= 0xc0 and 2 or 1
    return #bytes >= size and size or nil
end

--- Takes pasted text up to its end; false when more of it is to come.
local function take_paste(self)
    local first, last = self.bytes:find('\27[201~', 1, true)
    local take = first and first - 1 or #self.bytes
    if not first then
        for size = math.min(5, #self.bytes), 1, -1 do -- the end may have begun
            if self.bytes:sub(-size) == ('\27[201~'):sub(1, size) then
                take = #self.bytes - size
                break
            end
        end
        if self.bytes:sub(take, take) == '\r' then -- a newline may follow it
            take = take - 1
        end
    end
    self:insert((self.bytes:sub(1, take):gsub('\r\n?', '\n')))
    self.bytes = self.bytes:sub(first and last + 1 or take + 1)
    self.pasting = not first
    return first ~= nil
end

--- One key of what has come: its name, or the character it is; nil: there is no whole one.
local function take_key(self)
    local bytes = self.bytes
    if bytes == '' then
        return nil
    end
    local code = bytes:byte()
    local name, size
    if code == 27 then
        name, size = escape_key(bytes)
    elseif code < 32 or code == 127 then
        name, size = controls[code] or 'nothing', 1
    else
        size = char_size(bytes)
    end
    if not size then
        return nil
    end
    self.bytes = bytes:sub(size + 1)
    return name, not name and bytes:sub(1, size) or nil
end

--- Carries out keys until one ends the line or asks for something: 'enter', 'drop', 'end', 'list' (with
--- `listing`), 'suspend', 'clear'. nil: all keys are used up.
---@param bytes string? more of them
---@return string?
function methods:feed(bytes)
    self.bytes = self.bytes .. (bytes or '')
    while true do
        if self.pasting and not take_paste(self) then
            return nil
        end
        local name, char = take_key(self)
        if not name and not char then
            return nil
        end
        local used = not self.search or search_key(self, name, char)
        local outcome
        if not used then
            outcome = nil
        elseif char then
            self:insert(char)
        elseif name == 'paste' then
            self.pasting = true
        elseif keys[name] then
            outcome = keys[name](self)
        end
        if outcome then
            return outcome
        end
    end
end

-- ------------------------------------------------------------------------------------ brackets

local pairs_of = { [')'] = '(', [']'] = '[', ['}'] = '{' }

--- The position of the bracket that belongs to the one before the cursor, outside of strings; nil: there
--- is none.
---@return integer?
function methods:bracket()
    local stack, quote, position = {}, nil, 1
    local s = self.text
    while position < self.cursor do
        local c = s:sub(position, position)
        if quote then
            if c == '\\' then
                position = position + 1
            elseif c == quote or c == '\n' then
                quote = nil
            end
        elseif c == '"' or c == "'" then
            quote = c
        elseif c == '(' or c == '[' or c == '{' then
            stack[#stack + 1] = position
        elseif pairs_of[c] then
            local open = table.remove(stack)
            if position == self.cursor - 1 then
                return open and s:sub(open, open) == pairs_of[c] and open or nil
            end
        end
        position = position + 1
    end
    return nil
end

return line
