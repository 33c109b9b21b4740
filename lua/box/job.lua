-- SPDX-License-Identifier: Apache-2.0
--
-- Changes of the schema that look at rows: C makes them in steps of about a millisecond
-- (db/ddl_job.c), and between two steps other fibers and requests of the worker have their turns, where
-- the caller can wait. A fiber that is cancelled takes its change back; so does whatever else ends the
-- request before the change is made.

local core = require('box.core')

local native = core.native
local yield = coroutine.yield

local job = {}

--- Gives the turn away, for so many seconds; false when that can't be.
local function give_way(outside, seconds)
    if outside then
        native.fiber_wait(seconds)
        return true
    end
    local refused = yield(native.fiber_mark, seconds)
    local _, cancelled = native.fiber_current()
    if cancelled then
        native.job_cancel()
        core.raise(core.ERROR_CANCELLED, 'fiber is cancelled')
    end
    return not refused
end

--- Goes on with a change until it is made.
---@param pending boolean what native.index_create, space_alter or space_format has said
function job.finish(pending)
    if not pending then
        return
    end
    local waits, outside = pcall(native.fiber_check)
    local more, seconds = native.job_step()
    while more do
        waits = waits and give_way(outside, seconds)
        more, seconds = native.job_step()
    end
end

--- Looks now and then whether something has ended that others do; false when the caller can't wait for it,
--- and it goes on.
---@param ended fun(): boolean
---@param seconds number between two looks
function job.wait(ended, seconds)
    local waits, outside = pcall(native.fiber_check)
    while not ended() do
        if not waits or not give_way(outside, seconds) then
            return false
        end
    end
    return true
end

return job
