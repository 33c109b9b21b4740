-- SPDX-License-Identifier: Apache-2.0
--
-- Reads inputs from a terminal: console.line has the text and the keys, console.screen draws it,
-- console.history remembers. While a line is edited the terminal gives every key as bytes; otherwise it is
-- as the console has found it, so that Ctrl-C is a signal while something runs.

local history = require('console.history')
local line = require('console.line')
local screen = require('console.screen')

local editor = {}
local methods = {}
methods.__index = methods

local PASTE_ON, PASTE_OFF = '\27[?2004h', '\27[?2004l'
local COLUMNS_DEFAULT, ROWS_DEFAULT = 80, 24

---@param native table of console.native
---@param options table {folder, address, is_complete, complete, hint}
function editor.new(native, options)
    local function write(s)
        io.stdout:write(s)
        io.stdout:flush()
    end
    local past = history.open(native, options.folder, options.address)
    return setmetatable({
        native = native,
        write = write,
        hint = options.hint,
        history = past,
        screen = screen.new(write, function()
            return native.columns() or COLUMNS_DEFAULT, native.rows() or ROWS_DEFAULT
        end),
        line = line.new({ is_complete = options.is_complete, complete = options.complete, history = past }),
    }, methods)
end

function methods:raw(on)
    if on then
        self.native.raw(true)
        self.write(PASTE_ON)
    else
        self.write(PASTE_OFF)
        self.native.raw(false)
    end
end

--- What a key asks for that does not end the line.
local function serve(self, outcome)
    if outcome == 'list' then
        self.screen:leave()
        self.write(self.line.listing:gsub('\n', '\r\n') .. '\r\n')
    elseif outcome == 'clear' then
        self.write('\27[H\27[2J')
        self.screen:forget()
    elseif outcome == 'suspend' then
        self:raw(false)
        self.screen:leave()
        self.native.suspend()
        self:raw(true)
    end
end

local ends = { enter = true, drop = true, ['end'] = true }

local function edit(self, look)
    local outcome = self.line:feed()
    while not ends[outcome] do
        if outcome then
            serve(self, outcome)
            outcome = self.line:feed()
        else
            if not self.native.has_input() then
                local at_end = self.line.cursor == #self.line.text + 1
                look.hint = look.colored and at_end and self.hint(self.line.text) or nil
                self.screen:draw(self.line, look)
            end
            local bytes = self.native.read()
            outcome = bytes == '' and 'end' or self.line:feed(bytes)
        end
    end
    return outcome
end

--- An input; nil at the end, or false when it was dropped.
---@param look table {prompt, continuation, colored}
function methods:read(look)
    self.line:reset()
    self.screen:forget()
    self:raw(true)
    local ok, outcome = pcall(edit, self, look)
    if ok then
        look.hint = nil
        self.line.search = nil
        self.line.cursor = #self.line.text + 1
        self.screen:draw(self.line, look)
        self.write(outcome == 'drop' and '^C' or '')
    end
    self:raw(false)
    if not ok then
        error(outcome, 0)
    end
    self.screen:leave() -- Ctrl-C is a signal now: who sees the new row may press it
    if outcome == 'enter' then
        return self.line.text
    end
    if outcome == 'drop' then
        return false
    end
    return nil
end

-- ------------------------------------------------------------------------------ plain terminals

local plain = {}
plain.__index = plain

--- For a terminal that takes no more than text (TERM=dumb): its own line editing, and prompts.
---@param native table of console.native
---@param options table as of `new`
function editor.plain(native, options)
    return setmetatable({ native = native, is_complete = options.is_complete, bytes = '',
        history = history.open(native, options.folder, options.address) }, plain)
end

--- The next line; nil at the end.
local function next_line(self)
    while not self.bytes:find('\n', 1, true) do
        local more = self.native.read()
        if more == '' then
            local rest = self.bytes
            self.bytes = ''
            return rest ~= '' and rest or nil
        end
        self.bytes = self.bytes .. more
    end
    local text, rest = self.bytes:match('^([^\n]*)\n(.*)$')
    self.bytes = rest
    return text
end

--- As of the other one. The terminal has dropped its line at Ctrl-C, and the lines before go with it.
function plain:read(look)
    local text
    self.native.interrupted()
    repeat
        io.stdout:write(text and look.continuation or look.prompt)
        io.stdout:flush()
        local more = next_line(self)
        if self.native.interrupted() then
            text = nil
        end
        text = text and text .. '\n' .. (more or '') or more
    until not more or self.is_complete(text)
    return text
end

return editor
