-- SPDX-License-Identifier: Apache-2.0
--
-- box.debug: where the Lua of the workers spends its time. See src/lua/profile.c.

local core = require('box.core')
local fiber = require('fiber')
local flamegraph = require('debug.flamegraph')

local native, api, runtime = core.native, core.api, core.runtime

local debugging = {}

local SECONDS_MAX, INTERVAL, LOOK = 600, 0.001, 0.005
local known = { mode = true, worker = true, interval = true }

local function invalid(format, ...)
    core.raise(core.ERROR_INVALID, format:format(...))
end

--- Waits for the end, and for the stacks.
local function collect(deadline)
    repeat
        if core.pause(math.max(deadline - api.monotonic(runtime), 0.0001)) then
            fiber.testcancel()
        end
    until api.monotonic(runtime) >= deadline
    native.profile_stop()
    local text = native.profile_take()
    while not text do
        if core.pause(LOOK) then
            fiber.testcancel()
        end
        text = native.profile_take()
    end
    return text
end

--- One worker's stacks, added to `sums`.
local function profile_worker(number, seconds, lines, interval, sums)
    native.profile_start(number, lines, interval * 1e6, seconds)
    local ok, err = pcall(collect, api.monotonic(runtime) + seconds)
    if not ok then
        native.profile_stop(true)
        error(err, 0)
    end
    local text = err
    for stack, count in text:gmatch('([^\n]+) (%d+)\n') do
        sums[stack] = (sums[stack] or 0) + tonumber(count)
    end
end

local function choose(worker, own, all)
    if worker == 'all' then
        return #all > 0 and all or { own }
    elseif worker ~= nil and (type(worker) ~= 'number' or worker ~= math.floor(worker)) then
        invalid("the option worker is the number of one, or 'all'")
    end
    return { worker or own }
end

--- box.debug.profile(seconds [, {mode = 'lines' | 'functions', worker = number | 'all', interval}]):
--- folded stacks, a line for each: its functions, the outermost first, and the number of samples.
function debugging.profile(seconds, options)
    options = options or {}
    if type(seconds) ~= 'number' or not (seconds > 0 and seconds <= SECONDS_MAX)
        or type(options) ~= 'table' then
        invalid('box.debug.profile(seconds[, options]): at most %d seconds', SECONDS_MAX)
    end
    for name in pairs(options) do
        if not known[name] then
            invalid('box.debug.profile has no option %s', tostring(name))
        end
    end
    local mode = options.mode or 'lines'
    if mode ~= 'lines' and mode ~= 'functions' then
        invalid("the option mode is 'lines' or 'functions'")
    end
    local own, all = native.profile_workers()
    native.fiber_check()
    local sums, result = {}, {}
    for _, number in ipairs(choose(options.worker, own, all)) do
        profile_worker(number, seconds, mode == 'lines', options.interval or INTERVAL, sums)
    end
    for stack, count in pairs(sums) do
        result[#result + 1] = ('%s %d\n'):format(stack, count)
    end
    table.sort(result)
    return table.concat(result)
end

--- The number of the worker that runs this, and the numbers of all.
debugging.workers = function() return native.profile_workers() end

--- box.debug.flamegraph(folded [, {title}]): an SVG.
function debugging.flamegraph(folded, options)
    if type(folded) ~= 'string' then
        invalid('box.debug.flamegraph(folded[, {title}])')
    end
    return flamegraph.draw(folded, options)
end

return debugging
