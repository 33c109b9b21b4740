-- SPDX-License-Identifier: Apache-2.0
--
-- Loops of statements in one Lua state: nanoseconds for a get, a replace, an update and a step of an
-- iteration. What it takes to stay within compiled traces, and what it costs not to.
--
--     perigee --dir DIR bench/loops.lua [ROWS [ROUNDS]]

local rows, rounds = ...
rows, rounds = tonumber(rows or 100000), tonumber(rounds or 5)
local clock = require('clock')

local s = box.schema.space.create('loops', {
    format = { { 'id', 'unsigned' }, { 'n', 'number' }, { 'name', 'string' } },
})
s:create_index('pk')
s:create_index('name', { parts = { 'name' } })
local names = {}
for n = 1, rows do
    names[n] = 'row' .. n
end
box.begin()
for n = 1, rows do
    s:insert({ n, 0, names[n] })
    if n % 1000 == 0 then
        box.commit()
        box.begin()
    end
end
box.commit()

local function gets()
    local sum = 0
    for n = 1, rows do
        sum = sum + s:get(n * 7919 % rows + 1).n
    end
    return sum
end

local function gets_by_name()
    local sum, index = 0, s.index.name
    for n = 1, rows do
        sum = sum + index:get(names[n * 7919 % rows + 1])[2]
    end
    return sum
end

local function replaces()
    for n = 1, rows do
        local id = n * 7919 % rows + 1
        s:replace({ id, n, names[id] })
    end
end

local function updates()
    for n = 1, rows do
        s:update(n * 7919 % rows + 1, { { '+', 2, 1 } })
    end
end

local function steps()
    local sum = 0
    for _, t in s:pairs() do
        sum = sum + t[2]
    end
    return sum
end

local function small_ranges()
    local sum = 0
    for n = 1, rows / 10 do
        local left = 10
        for _, t in s:pairs(n * 7919 % rows + 1, { iterator = 'GE' }) do
            sum, left = sum + t[2], left - 1
            if left == 0 then
                break
            end
        end
    end
    return sum
end

local function inside(fn)
    return function() return box.atomic(fn) end
end

local function inside_readonly(fn)
    return function() return box.atomic({ readonly = true }, fn) end
end

for _, operation in ipairs({
    { 'get', gets }, { 'get, in a transaction', inside_readonly(gets) },
    { 'get by a string', gets_by_name }, { 'replace', replaces },
    { 'replace, in a transaction', inside(replaces) }, { 'update', updates },
    { 'step of pairs', steps }, { 'step of pairs, in a transaction', inside_readonly(steps) },
    { 'step of a range of ten', small_ranges },
    { 'step of a range of ten, in a transaction', inside_readonly(small_ranges) },
}) do
    local least = math.huge
    for _ = 1, rounds do
        collectgarbage()
        local before = clock.monotonic()
        operation[2]()
        least = math.min(least, clock.monotonic() - before)
    end
    print(('%-44s %6.0f ns'):format(operation[1], least / rows * 1e9))
end
s:drop()
