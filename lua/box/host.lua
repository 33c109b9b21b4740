-- SPDX-License-Identifier: Apache-2.0
--
-- Background functions of modules: what `start` of a manifest names runs in a fiber of the state that
-- is the host (src/lua/host.c), for as long as the module is installed.
--
-- Another version of the module begins anew: the old fiber is cancelled, and the new one calls its
-- function when the old one has ended. A function that raises an error is called again, after a pause
-- that doubles.

local core = require('box.core')
local fiber = require('fiber')
local stored_module = require('box.module')

local native = core.native

local host = {}

local PAUSE_MIN, PAUSE_MAX, LOOK = 1, 60, 0.01

-- name of a module -> {revision, fiber, stopped, ended, before}: the last one that was begun
local running = {}

--- What the function is given.
local function new_context(entry)
    return core.object({
        --- Whether it has to end: the module goes, or the server does.
        stopping = function()
            return entry.stopped or not pcall(fiber.testcancel)
        end,
    })
end

local function call(entry, globals)
    stored_module.require(entry.name, globals)[entry.start](new_context(entry))
end

--- Runs until the function returns, or the entry is stopped.
local function run(entry, globals)
    local before = entry.before
    while before do
        while not before.ended do
            fiber.sleep(LOOK)
        end
        before = before.before
    end
    entry.before = nil
    local pause = PAUSE_MIN
    while not entry.stopped do
        local ok, err = pcall(call, entry, globals)
        if ok or entry.stopped then
            return
        end
        fiber.testcancel()
        native.log(0, ('module "%s": %s ended with an error, and is called again in %d s: %s')
            :format(entry.name, entry.start, pause, tostring(err)))
        fiber.sleep(pause)
        pause = math.min(2 * pause, PAUSE_MAX)
    end
end

local function stop(entry)
    if not entry.stopped and not entry.ended then
        entry.fiber:cancel()
    end
    entry.stopped = true
end

local function start(row, globals, before)
    local entry = {
        name = row.name, start = row.manifest.start, revision = row.manifest.revision, before = before,
    }
    entry.fiber = fiber.new(function()
        local ok, err = pcall(run, entry, globals)
        entry.ended = true
        if not ok then
            error(err, 0)
        end
    end)
    entry.fiber:name(row.name)
    running[row.name] = entry
end

--- Makes what runs be what is installed; all of it ends when this state is not the host any more.
---@param hosts boolean
---@param globals table what modules see besides the library
function host.settle(hosts, globals)
    local installed = {}
    for _, row in ipairs(hosts and native.modules() or {}) do
        if row.manifest.start then
            installed[row.name] = row
        end
    end
    for name, entry in pairs(running) do
        if not installed[name] then
            stop(entry)
        end
    end
    for name, row in pairs(installed) do
        local entry = running[name]
        if not entry then
            start(row, globals)
        elseif entry.stopped or entry.revision ~= row.manifest.revision then
            stop(entry)
            start(row, globals, entry)
        end
    end
end

return host
