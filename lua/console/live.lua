-- SPDX-License-Identifier: Apache-2.0
--
-- Commands that look at a server that runs: \watch repeats an input, \l lists sessions and locks, \stat
-- draws figures in place.

local redis = require('console.redis')
local socket = require('client.socket')
local text = require('console.text')
local value = require('console.value')

local live = {}

local HISTORY_MAX = 40 -- figures that a sparkline has at most
local commands = {}

local function fail(message, ...)
    error({ message = message:format(...) }, 0)
end

--- '2', '2 10', '': how long to wait, and how often.
local function interval_of(argument, usage, seconds, times)
    if argument == '' then
        return seconds, times
    end
    local given, count = argument:match('^([%d.]+)s?%s*(%d*)$')
    if not tonumber(given) then
        fail('%s', usage)
    end
    return tonumber(given), tonumber(count) or math.huge
end

--- Calls fn(n) again and again until the times are over, or Ctrl-C.
local function again(console, seconds, times, fn)
    local n = 0
    while n < times do
        n = n + 1
        if fn(n) == false or n >= times then
            return
        end
        if not console.native.sleep(seconds) then
            return console:print('')
        end
    end
end

--- \watch [SECONDS [TIMES]]
function commands.watch(console, argument)
    local seconds, times = interval_of(argument, '\\watch [seconds [times]]', 2, math.huge)
    local source = console.last
    if not source then
        fail('there is no input yet that could be repeated')
    end
    again(console, seconds, times, function()
        if console.interactive then
            console:print(console:style(2, ('%s, each %g s: %s'):format(os.date('%H:%M:%S'), seconds,
                text.cut(text.printable((source:gsub('%s+', ' '))), 50))))
        end
        local before = console.failed
        console.failed = false
        console:run(source)
        local failed = console.failed
        console.failed = before or failed
        return not failed
    end)
end

-- ------------------------------------------------------------------------------------ sessions

local function lines_of(reply)
    return (type(reply) == 'table' and reply.text or reply):gmatch('[^\r\n]+')
end

--- What INFO says, by name.
local function info(console, ...)
    local figures = {}
    for line in lines_of(redis.ask(console, 'INFO', ...)) do
        local name, v = line:match('^([%w_]+):(.*)$')
        if name then
            figures[name] = tonumber(v) or v
        end
    end
    return figures
end

local columns = {
    { 'session', 'id' }, { 'user', 'user' }, { 'from', 'addr' }, { 'name', 'name' }, { 'db', 'db' },
    { 'age', 'age' }, { 'idle', 'idle' }, { 'command', 'cmd' }, { 'transaction', 'txn' },
}

--- What sessions have locked and wait for, those that wait first, and how many there are. Intentions on
--- spaces follow from rows, and that a transaction holds its own name from its being open: both are left out.
local LOCKS = [=[
local list, session_of, shown = {}, {}, {}
local locks = box.stat.locks().locks
for _, lock in ipairs(locks) do
    session_of[lock.owner] = lock.session
end
for _, lock in ipairs(locks) do
    if not lock.granted or (lock.kind ~= 'transaction' and not lock.mode:find('^intent')) then
        local blockers = {}
        for n, owner in ipairs(lock.waits_for or {}) do
            blockers[n] = session_of[owner] or 0
        end
        list[#list + 1] = { session = lock.session, space = lock.space, key = lock.key, mode = lock.mode,
            of = session_of[lock.of], waited = lock.waited, waits_for = not lock.granted and blockers or nil }
    end
end
table.sort(list, function(a, b)
    if (a.waited == nil) ~= (b.waited == nil) then
        return a.waited ~= nil
    elseif a.waited and a.waited ~= b.waited then
        return a.waited > b.waited
    end
    return a.session < b.session
end)
for n = 1, math.min(#list, 100) do
    shown[n] = list[n]
end
return { count = #list, locks = shown }
]=]

--- Sessions by their numbers; what the server does by itself has none.
local function session_name(id)
    return id == 0 and 'server' or id
end

local function lock_row(lock)
    local blockers, what = {}, tostring(lock.space)
    for n, id in ipairs(lock.waits_for or {}) do
        blockers[n] = tostring(session_name(id))
    end
    if lock.key then
        what = what .. ' ' .. value.line(lock.key)
    elseif not lock.space then
        what = 'transaction of ' .. session_name(lock.of or 0)
    end
    return {
        session_name(lock.session), lock.waits_for and 'waits' or 'holds', what, lock.mode,
        lock.waited and math.floor(lock.waited * 10) / 10 or '', table.concat(blockers, ', '),
    }
end

--- Who holds which locks and waits for whom; nothing where there are none, or the user may not see them.
local function show_locks(console)
    local ok, found = pcall(console.eval, LOCKS)
    if not ok or found.count == 0 then
        return
    end
    local rows = {}
    for n, lock in ipairs(found.locks) do
        rows[n] = lock_row(lock)
    end
    console:print_rows(rows, { 'session', 'lock', 'what', 'mode', 'seconds', 'waits for' })
    if found.count > #rows then
        console:emit(('and %d more: box.stat.locks()\n'):format(found.count - #rows))
    end
end

--- \l: sessions, and what they have locked.
function commands.l(console)
    local rows, names = {}, {}
    for n, column in ipairs(columns) do
        names[n] = column[1]
    end
    for line in lines_of(redis.ask(console, 'CLIENT', 'LIST')) do
        local about, row = {}, {}
        for key, v in line:gmatch('([%w-]+)=(%S*)') do
            about[key] = v
        end
        for n, column in ipairs(columns) do
            row[n] = tonumber(about[column[2]]) or about[column[2]] or ''
        end
        rows[#rows + 1] = row
    end
    console:print_rows(rows, names)
    if console.output == 'table' then
        show_locks(console)
        local figures = info(console, 'everything')
        console:emit(('%d sessions; %d transactions open; %d locks held, %d requests wait for them'):format(
            #rows, figures.txn_open or 0, figures.locks_held or 0, figures.locks_waiting or 0))
    end
end

-- ------------------------------------------------------------------------------------- figures

local ticks = { '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█' }

--- A line of small bars for the figures, the highest one full.
---@param figures number[]
---@return string
function live.sparkline(figures)
    local highest = 0
    for _, figure in ipairs(figures) do
        highest = math.max(highest, figure)
    end
    local parts = {}
    for n, figure in ipairs(figures) do
        local level = highest == 0 and 0 or math.max(figure, 0) / highest
        parts[n] = ticks[math.max(1, math.ceil(level * #ticks))]
    end
    return table.concat(parts)
end

local function bytes(figure)
    local units, n = { 'B', 'KB', 'MB', 'GB', 'TB' }, 1
    while figure >= 1024 and n < #units do
        figure, n = figure / 1024, n + 1
    end
    return (n == 1 and '%d %s' or '%.1f %s'):format(figure, units[n])
end

local function plain(figure)
    return ('%.0f'):format(figure)
end

--- Each: what it is called, the name in INFO, whether it counts up, and how it is written.
local figures_shown = {
    { 'commands/s', 'total_commands_processed', true, plain },
    { 'commits/s', 'txn_commits', true, plain },
    { 'conflicts/s', 'txn_conflicts', true, plain },
    { 'retries/s', 'txn_retries', true, plain },
    { 'log/s', 'wal_bytes', true, bytes },
    { 'transactions', 'txn_open', false, plain },
    { 'rows locked', 'locks_held', false, plain },
    { 'waiting', 'locks_waiting', false, plain },
    { 'sessions', 'connected_clients', false, plain },
    { 'data', 'used_memory', false, bytes },
    { 'resident', 'used_memory_rss', false, bytes },
}

--- The lines of one look: `past` has the figures of looks before, `seconds` since the last one.
local function draw(now, before, seconds, past)
    local lines = {}
    for n, one in ipairs(figures_shown) do
        local name, key, counts, write = unpack(one)
        local figure = tonumber(now[key]) or 0
        if counts then
            figure = before and math.max(0, figure - (tonumber(before[key]) or 0)) / seconds or 0
        end
        past[n] = past[n] or {}
        if before or not counts then
            table.insert(past[n], figure)
        end
        if #past[n] > HISTORY_MAX then
            table.remove(past[n], 1)
        end
        lines[n] = (' %-14s %10s  %s'):format(name, counts and not before and '-' or write(figure),
            live.sparkline(past[n]))
        lines[n] = lines[n]:gsub('%s+$', '')
    end
    return lines
end

--- \stat [SECONDS [TIMES]]: figures of each second, in place on a terminal. Without a terminal, once.
function commands.stat(console, argument)
    local times = console.interactive and math.huge or 2
    local seconds
    seconds, times = interval_of(argument, '\\stat [seconds [times]]', 1, times)
    local past, before, taken = {}, nil, nil
    again(console, seconds, times, function(n)
        local now, at = info(console, 'everything'), socket.now()
        local lines = draw(now, before, taken and math.max(at - taken, 1e-3), past)
        before, taken = now, at
        if console.interactive and n > 1 then
            console.write(('\27[%dA\27[J'):format(#lines))
        end
        if console.interactive or n >= times then
            console:print(table.concat(lines, '\n'))
        end
    end)
end

live.commands = commands

return live
