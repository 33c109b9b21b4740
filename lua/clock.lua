-- SPDX-License-Identifier: Apache-2.0
--
-- clock: seconds, as numbers; the functions whose names end with 64 give nanoseconds, as 64-bit integers.
-- time() stands still inside of a transaction, so that a run that is repeated sees one time.

local core = require('box.core')
local ffi = require('ffi')
local api, runtime, native = core.api, core.runtime, core.native

local int64 = ffi.typeof('int64_t')

local function time()
    return api.now(runtime)
end

local function monotonic()
    return api.monotonic(runtime)
end

--- Seconds of the processor's that the process, or this thread, has had.
local function proc()
    return native.cpu_time(false)
end

local function thread()
    return native.cpu_time(true)
end

local function nanoseconds(get)
    return function() return ffi.cast(int64, get() * 1e9) end
end

local function measured(before, ...)
    return { proc() - before, ... }
end

--- bench(fn, ..): {seconds of the processor's that the call took, what it returned ..}
local function bench(fn, ...)
    return measured(proc(), fn(...))
end

return core.object({
    time = time,
    realtime = time,
    monotonic = monotonic,
    proc = proc,
    thread = thread,
    bench = bench,
    -- the time is one of whole milliseconds: so many nanoseconds, exactly
    time64 = function() return ffi.cast(int64, math.floor(time() * 1e3 + 0.5)) * 1000000 end,
    realtime64 = function() return ffi.cast(int64, math.floor(time() * 1e3 + 0.5)) * 1000000 end,
    monotonic64 = nanoseconds(monotonic),
    proc64 = nanoseconds(proc),
    thread64 = nanoseconds(thread),
})
