-- SPDX-License-Identifier: Apache-2.0
--
-- Coroutines inside of fibers: one that waits for something of a fiber's hands the wait on to whoever
-- has resumed it, until it reaches the fiber; then it goes on where it was.

local core = require('box.core')

local native = core.native
local mark = native.fiber_mark
local create, resume, running = coroutine.create, coroutine.resume, coroutine.running
local yield, isyieldable = coroutine.yield, coroutine.isyieldable

-- coroutines that wait, which nobody else may resume
local waiting = setmetatable({}, { __mode = 'k' })

local function settle(co, ok, ...)
    if not ok or (...) ~= mark then
        return ok, ...
    end
    waiting[co] = true
    local refused = not isyieldable() or yield(...)
    waiting[co] = nil
    return settle(co, resume(co, refused))
end

local library = {}

--- It runs on the C stack of who resumes it: how deep they may be nested is bounded by that.
function library.resume(co, ...)
    if not native.stack_left() then
        return false, 'C stack overflow'
    elseif waiting[co] then
        return false, 'cannot resume a coroutine that waits in a fiber'
    end
    return settle(co, resume(co, ...))
end

local function values_or_error(ok, ...)
    if not ok then
        error((...), 0)
    end
    return ...
end

function library.wrap(fn)
    if type(fn) ~= 'function' then
        error(string.format("bad argument #1 to 'wrap' (function expected, got %s)", type(fn)), 2)
    end
    local co = create(fn)
    return function(...)
        if not native.stack_left() then
            error('C stack overflow', 2)
        end
        return values_or_error(library.resume(co, ...))
    end
end

--- A fiber is none of the coroutines that its code can see.
function library.running()
    if native.fiber_base() then
        return nil
    end
    return running()
end

function library.isyieldable()
    return not native.fiber_base() and isyieldable()
end

library.create, library.status, library.yield = create, coroutine.status, yield

return library
