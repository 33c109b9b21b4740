-- SPDX-License-Identifier: Apache-2.0
--
-- What bench/ingest.sh runs: ingest.lua ROWS commits|ingest. Puts rows of 100 bytes, in no order of
-- their keys, into a space of lsm with a secondary index; prints rows a second and microseconds of
-- CPU for one, until all are in files.

local rows, way = ...
rows = tonumber(rows)
local clock = require('clock')

local space = box.schema.space.create('filled', { engine = 'lsm' })
space:create_index('pk', { parts = { { 1, 'unsigned' } } })
space:create_index('number', { parts = { { 2, 'unsigned' } }, unique = false })

local text = string.rep('perigee ', 10)
local function row(n)
    return { n * 7919 % rows, n % 1000, text }
end

local began, began_cpu = clock.monotonic(), clock.proc()
if way == 'ingest' then
    local n = 0
    space:ingest(function()
        n = n + 1
        return n <= rows and row(n) or nil
    end)
else
    for first = 1, rows, 1000 do
        box.begin()
        for n = first, math.min(first + 999, rows) do
            space:replace(row(n))
        end
        box.commit()
    end
    box.checkpoint()
end
local seconds, cpu = clock.monotonic() - began, clock.proc() - began_cpu
print(string.format('%-8s %9d rows  %9.0f a second  %6.2f us of CPU a row', way, rows, rows / seconds,
    cpu / rows * 1e6))
