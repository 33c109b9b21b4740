-- SPDX-License-Identifier: Apache-2.0
--
-- A line on the terminal that shows how far something long is, drawn in place at most ten times a second.
-- Where standard error is no terminal it is never there.

local socket = require('client.socket')

local DRAW_SECONDS = 0.1
local BAR_WIDTH = 20
local NAME_WIDTH, REST_WIDTH = 20, 60

local progress = {}
progress.__index = progress

--- 1234567 as 1,234,567.
function progress.count(number)
    local text = ('%.0f'):format(number)
    local head, rest = text:match('^(%d%d?%d?)(.*)$')
    if #text % 3 ~= 0 then
        head, rest = text:sub(1, #text % 3), text:sub(#text % 3 + 1)
    end
    return head .. rest:gsub('(%d%d%d)', ',%1')
end

--- Bytes with a unit.
function progress.bytes(number)
    for _, unit in ipairs({ 'bytes', 'KB', 'MB' }) do
        if number < 1000 then
            return unit == 'bytes' and ('%.0f bytes'):format(number) or ('%.1f %s'):format(number, unit)
        end
        number = number / 1000
    end
    return ('%.2f GB'):format(number)
end

--- Seconds as 4 s, 1:04, 1:01:04.
function progress.time(seconds)
    seconds = math.floor(seconds + 0.5)
    if seconds < 60 then
        return seconds .. ' s'
    elseif seconds < 3600 then
        return ('%d:%02d'):format(math.floor(seconds / 60), seconds % 60)
    end
    return ('%d:%02d:%02d'):format(math.floor(seconds / 3600), math.floor(seconds / 60) % 60, seconds % 60)
end

--- The line: of `done` out of `total`, which may be nil, in bytes or rows, since `seconds`; `begun` of
--- it were there before.
---@param state table {name, done, total, begun, rows, bytes or nil, seconds}
---@param columns integer of the terminal
function progress.line(state, columns)
    local name = state.name:sub(1, math.max(NAME_WIDTH, columns - REST_WIDTH))
    local parts, seconds = { name }, math.max(state.seconds, 1e-3)
    if state.total and state.total > 0 then
        local part = math.min(state.done / state.total, 1)
        local full = math.floor(part * BAR_WIDTH)
        parts[2] = ('%3d%% [%s%s]'):format(math.floor(part * 100), ('#'):rep(full),
            ('.'):rep(BAR_WIDTH - full))
    end
    parts[#parts + 1] = progress.count(state.rows) .. ' rows'
    parts[#parts + 1] = progress.count(state.rows / seconds) .. '/s'
    parts[#parts + 1] = state.bytes and progress.bytes(state.bytes / seconds) .. '/s'
    local speed = (state.done - (state.begun or 0)) / seconds
    if state.total and speed > 0 then
        parts[#parts + 1] = progress.time(math.max(0, state.total - state.done) / speed) .. ' left'
    end
    local line = table.concat(parts, '  ')
    return #line < columns and line or line:sub(1, columns - 1)
end

---@param native table is_terminal, columns
function progress.new(native, name)
    return setmetatable({ native = native, name = name, started = socket.now(), drawn = -math.huge,
        on = native.is_terminal(2) }, progress)
end

function progress:seconds()
    return socket.now() - self.started
end

--- Shows how far it is: {done, total, begun, rows, bytes}.
function progress:show(state)
    local now = socket.now()
    if not self.on or now - self.drawn < DRAW_SECONDS then
        return
    end
    self.drawn, self.shown = now, true
    state.name, state.seconds = self.name, now - self.started
    io.stderr:write('\r', progress.line(state, self.native.columns() or 80), '\27[J')
    io.stderr:flush()
end

--- Takes the line away, so that something else can be written.
function progress:clear()
    if self.shown then
        io.stderr:write('\r\27[J')
        io.stderr:flush()
        self.shown, self.drawn = false, -math.huge
    end
end

return progress
