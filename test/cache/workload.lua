-- SPDX-License-Identifier: Apache-2.0
--
-- What is recorded (record.sh): `ENGINE fill` makes a space that is on disk, `ENGINE run` uses it as many do
-- at a time: rows by their key, some often and most seldom; what came last; short ranges; changes, with
-- checkpoints and compaction; and twice somebody goes over everything.

local engine, what = ...
local ROWS, STEPS, CHECKPOINT_EACH = 60000, 14000, 1400

local state = 20
local function below(n)
    state = (state * 48271) % 2147483647
    return math.floor(state / 2147483647 * n)
end

local letters = {}
for i = 1, 64 do letters[i] = string.char(32 + i) end
local function text()
    local out = {}
    for i = 1, 80 do out[i] = letters[1 + below(64)] end
    return table.concat(out)
end

-- About one over its rank: an octave, then a place in it. Neighbours are of as different ranks as can be.
local function skewed()
    local low = 2 ^ below(15)
    return (low + below(low)) * 7919 % ROWS
end

if what == 'fill' then
    local options = engine == 'lsm' and { engine = engine, page_size = 4096 } or { engine = engine }
    local space = box.schema.space.create('events', options)
    space:create_index('pk')
    for key = 0, ROWS - 1 do space:insert({ key, text() }) end
    box.checkpoint()
    return
end

local space = box.space.events
local newest = ROWS
for step = 1, STEPS do
    local kind = below(100)
    if kind < 60 then
        space:get(skewed())
    elseif kind < 75 then
        space:get(newest - 1 - below(2000))
    elseif kind < 84 then
        space:select(skewed(), { iterator = 'GE', limit = 20 + below(180) })
    elseif kind < 96 then
        space:replace({ skewed(), text() })
    else
        space:insert({ newest, text() })
        newest = newest + 1
    end
    if step == 5000 or step == 9000 then
        local count = 0
        for _ in space:pairs() do count = count + 1 end
        assert(count == newest)
    end
    if step % CHECKPOINT_EACH == 0 then box.checkpoint() end
end
