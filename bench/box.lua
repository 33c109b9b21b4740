-- SPDX-License-Identifier: Apache-2.0
--
-- One program for two databases: statements of `box` on a space with three indexes, run by `perigee
-- bench/box.lua` and by `tarantool bench/box.lua`. Prints a line for each operation: its name,
-- operations a second, and microseconds of CPU that the whole process has used for one.
--
--     box.lua none|write DIR [ROWS [OPERATIONS]]
--
-- Under `write` every commit waits until its record is with the operating system. Tarantool's do so
-- by themselves; in Perigee a statement returns when it has committed and only replies wait, so
-- here box.sync() waits in their place.

local mode, dir, rows, operations = ...
rows, operations = tonumber(rows or 100000), tonumber(operations or 200000)
local is_tarantool = rawget(_G, '_TARANTOOL') ~= nil
local clock = require('clock')

if is_tarantool then
    box.cfg({
        wal_mode = mode,
        work_dir = dir,
        memtx_memory = 1024 * 1024 * 1024,
        checkpoint_interval = 0,
        log_level = 'error',
    })
end

local space = box.schema.space.create('bench', {
    format = { { 'id', 'unsigned' }, { 'name', 'string' }, { 'city', 'unsigned' }, { 'balance', 'number' },
        { 'note', 'string' } },
})
space:create_index('primary', { parts = { 'id' } })
space:create_index('name', { parts = { 'name' } })
space:create_index('city', { parts = { 'city' }, unique = false })

local names = {}
for id = 1, rows do
    names[id] = string.format('name of number %d', id)
end

local note = string.rep('x', 60)
local function row(id, balance)
    return { id, names[id], id % 1000, balance, note }
end

for first = 1, rows, 1000 do
    box.begin()
    for id = first, math.min(first + 999, rows) do
        space:insert(row(id, 0))
    end
    box.commit()
end

-- Draws by a rule of its own, so that both draw the same.
local state = 1
local function any_id()
    state = state * 16807 % 2147483647
    return math.floor(state / 2147483647 * (rows - 200)) + 1
end

local wait = mode == 'write' and box.sync or function() end
local secondary = space.index.name
local addition = { { '+', 4, 1 } }
local total = 0

-- In a transaction, where Perigee walks the index; outside of one it copies all that is to come
-- first, so that the loop sees one snapshot.
local function sum_of_range(id)
    local left = 100
    box.begin()
    for _, tuple in space:pairs(id, { iterator = 'GE' }) do
        total = total + tuple[4]
        left = left - 1
        if left == 0 then
            break
        end
    end
    box.commit()
end

local function sum_of_select(id)
    local found = space:select(id, { iterator = 'GE', limit = 100 })
    for n = 1, 100 do
        total = total + found[n][4]
    end
end

local function update_ten()
    box.begin()
    for _ = 1, 10 do
        space:update(any_id(), addition)
    end
    box.commit()
    wait()
end

-- name, how many times as long as a get it may take, the operation
local cases = {
    { 'get', 1, function() total = total + space:get(any_id())[4] end },
    { 'get by name', 1, function() total = total + secondary:get(names[any_id()])[4] end },
    { 'replace', 4, function() space:replace(row(any_id(), 1)) wait() end },
    { 'update', 4, function() space:update(any_id(), addition) wait() end },
    { 'ten updates', 20, update_ten },
}
if mode == 'none' then
    cases[#cases + 1] = { '100 by pairs', 40, function() sum_of_range(any_id()) end }
    cases[#cases + 1] = { '100 by select', 40, function() sum_of_select(any_id()) end }
end

for _, case in ipairs(cases) do
    local name, cost, operation = case[1], case[2], case[3]
    local count = math.ceil(operations / cost)
    for _ = 1, math.ceil(count / 10) do
        operation()
    end
    local started, cpu = clock.monotonic(), os.clock()
    for _ = 1, count do
        operation()
    end
    cpu, started = os.clock() - cpu, clock.monotonic() - started
    print(string.format('%s|%.1f|%.4f', name, count / started, cpu * 1e6 / count))
end

if is_tarantool then
    os.exit(0)
end
