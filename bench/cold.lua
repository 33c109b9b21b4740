-- SPDX-License-Identifier: Apache-2.0
--
-- What bench/cold.sh runs, a process for each line of its table:
--
--     cold.lua fill ENGINE ROWS                        makes the space
--     cold.lua walk|range|secondary|first|get|many ENGINE ROWS  reads; prints rows, seconds, and those of CPU
--
-- Rows are {id, number, text}: numbers are a permutation of ids, so that rows with numbers that follow each
-- other lie far apart.

local what, engine, rows = ...
rows = tonumber(rows)
local clock = require('clock')

local same = string.rep('perigee ', 8)

local function insert(space, n)
    local noise = {}
    for i = 1, 48 do
        noise[i] = string.char(math.random(33, 126))
    end
    local id = n * 104729 % rows
    space:insert({ id, id * 7919 % rows, table.concat(noise) .. same })
end

-- Rows come in random order, as writes do. `tiers` leaves them in five sequences, each of which has all keys
-- between its first and its last.
local function fill()
    local space = box.schema.space.create('cold', {
        engine = engine == 'tiers' and 'lsm' or engine,
        compaction = engine == 'tiers' and 'size-tiered' or nil,
        format = { { 'id', 'unsigned' }, { 'number', 'unsigned' }, { 'text', 'string' } },
    })
    space:create_index('pk')
    space:create_index('number', { parts = { 'number' }, unique = false })
    local done, share = 0, engine == 'tiers' and rows * 3 / 4 or rows
    while done < rows do
        local upto = share < rows / 300 and rows or math.min(done + share, rows)
        for first = math.floor(done), upto - 1, 1000 do
            box.begin()
            for n = first, math.min(first + 999, upto - 1) do
                insert(space, n)
            end
            box.commit()
        end
        box.checkpoint()
        done, share = upto, share / 4
    end
    if engine == 'lsm' then
        space:compact()
    end
end

-- Each gives the rows that it has read.
local reads = {}

function reads.walk(space)
    return space:count()
end

function reads.range(space)
    local count = 0
    for n = 1, 300 do
        count = count + #space:select(n * 104729 % rows, { iterator = 'GE', limit = 10 })
    end
    return count
end

function reads.secondary(space)
    local count = 0
    for n = 1, 4 do
        local from = n * 104729 % (rows - 500)
        count = count + #space.index.number:select(from, { iterator = 'GE', limit = 500 })
    end
    return count
end

function reads.first(space)
    local count = 0
    for n = 1, 100 do
        count = count + #space.index.number:select(n * 104729 % rows, { iterator = 'GE', limit = 10 })
    end
    return count
end

-- 2,000 rows, wherever they are.
local GETS, TOGETHER = 2000, 100

function reads.get(space)
    local count = 0
    for n = 1, GETS do
        count = count + (space:get(n * 104729 % rows) and 1 or 0)
    end
    return count
end

function reads.many(space)
    local count = 0
    for first = 1, GETS, TOGETHER do
        local keys = {}
        for n = first, first + TOGETHER - 1 do
            keys[#keys + 1] = n * 104729 % rows
        end
        for _, row in ipairs(space:get_many(keys)) do
            count = count + (row and 1 or 0)
        end
    end
    return count
end

if what == 'fill' then
    fill()
else
    local began, cpu = clock.monotonic(), clock.proc()
    local count = reads[what](box.space.cold)
    print(string.format('%d %.6f %.6f', count, clock.monotonic() - began, clock.proc() - cpu))
end
