-- SPDX-License-Identifier: Apache-2.0
--
-- Redis scripts: compiled once, kept by source and by SHA-1; the oldest go when
-- there are too many, or too large.
--
-- Lua 5.1 as Redis has it: globals can neither be made nor read when they do not exist.

local core = require('box.core')
local sandbox = require('box.sandbox')

local native = core.native
local SCRIPTS_MAX, SCRIPTS_BYTES_MAX = 1024, 16 * 1024 * 1024

local script = {}
local by_source, by_sha, order, oldest, bytes = {}, {}, {}, 1, 0

--- A command that meets a lock in a fiber gives the fiber's mark instead of a reply.
local function waiting(command)
    local function again(...)
        core.wait_for_lock(native.fiber_lock_wait())
        local reply = command(...)
        if reply == native.fiber_mark then
            return again(...)
        end
        return reply
    end
    return function(...)
        local reply = command(...)
        if reply == native.fiber_mark then
            return again(...)
        end
        return reply
    end
end

--- The table `redis`.
---@return table
function script.redis()
    return core.object({
        call = waiting(native.redis_call),
        pcall = waiting(native.redis_pcall),
        sha1hex = function(text) return native.sha1_hex(text) end,
        error_reply = function(text)
            text = tostring(text)
            return { err = text:find('^%-') and text:sub(2) or text:find('^%u+ ') and text or 'ERR ' .. text }
        end,
        status_reply = function(text) return { ok = tostring(text) } end,
        log = function(level, ...)
            local levels = { [0] = 3, [1] = 3, [2] = 2, [3] = 1 }
            native.log(levels[level] or 2, table.concat({ ... }, ' '))
        end,
        setresp = function(version)
            if version ~= 2 and version ~= 3 then
                error('RESP version must be 2 or 3.', 2)
            end
        end,
        replicate_commands = function() return true end,
        set_repl = function() end,
        LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
        REPL_NONE = 0, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_AOF = 1, REPL_ALL = 3,
    })
end

local metatable = {
    __index = function(_, name)
        error(string.format("Script attempted to access nonexistent global variable '%s'", tostring(name)), 2)
    end,
    __newindex = function(_, name)
        error(string.format("Script attempted to create global variable '%s'", tostring(name)), 2)
    end,
    __metatable = 'protected',
}
core.guarded[metatable] = true

local function forget_oldest()
    local source = order[oldest]
    order[oldest] = nil
    oldest = oldest + 1
    bytes = bytes - #source
    by_sha[by_source[source].sha] = nil
    by_source[source] = nil
end

--- Makes the functions over the tables `box` and `redis` that scripts see.
---@param globals table
function script.new(globals)
    local newest = 0

    local function find_or_compile(source)
        local entry = by_source[source]
        if entry then
            return entry
        end
        local environment = sandbox.environment(globals)
        entry = { environment = environment, sha = native.sha1_hex(source) }
        entry.run = sandbox.compile(source, 'user_script', environment)
        setmetatable(environment, metatable)
        newest = newest + 1
        order[newest], by_source[source], by_sha[entry.sha] = source, entry, source
        bytes = bytes + #source
        while newest - oldest >= SCRIPTS_MAX or bytes > SCRIPTS_BYTES_MAX do
            forget_oldest()
        end
        return entry
    end

    return {
        prepare = function(source, keys, arguments)
            local entry = find_or_compile(source)
            rawset(entry.environment, 'KEYS', keys)
            rawset(entry.environment, 'ARGV', arguments)
            return entry.run
        end,
        load = function(source) find_or_compile(source) end,
        find = function(sha) return by_sha[sha:lower()] end,
        flush = function()
            by_source, by_sha, order, oldest, bytes, newest = {}, {}, {}, 1, 0, 0
        end,
    }
end

return script
