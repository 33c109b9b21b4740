-- SPDX-License-Identifier: Apache-2.0
--
-- log: lines in the server's log. log.info(format, ...) formats as string.format does when there
-- are arguments; a table becomes JSON.

local core = require('box.core')
local native = core.native

local LEVELS = { error = 0, warn = 1, info = 2, verbose = 3, debug = 3 }
local names = { [0] = 'error', 'warn', 'info', 'debug' }

local function text_of(format, ...)
    if select('#', ...) > 0 then
        return string.format(format, ...)
    elseif type(format) == 'table' and debug.getmetatable(format) == nil then
        local ok, text = pcall(native.json_encode, format)
        return ok and text or tostring(format)
    end
    return tostring(format)
end

--- Functions by the names of the levels, whose lines begin with `prefix`.
local function writers(prefix)
    local result = {}
    for name, level in pairs(LEVELS) do
        result[name] = function(format, ...)
            if level <= native.log_level() then
                native.log(level, prefix .. text_of(format, ...))
            end
        end
    end
    return result
end

local log = writers('')

--- log.new(name): the same, with lines that begin with the name.
function log.new(name)
    if type(name) ~= 'string' then
        error('Usage: log.new(name)', 2)
    end
    local result = writers(name .. ': ')
    result.name = name
    return core.object(result)
end

--- log.level(): the level up to which lines are written; log.level('debug') sets it, for the operator.
function log.level(level)
    if level ~= nil then
        local number = LEVELS[level]
        if not native.trusted then
            core.raise(core.ERROR_ACCESS, 'the level of the log is the operator\'s: option log_level')
        elseif not number then
            core.raise(core.ERROR_INVALID, 'a level is error, warn, info, verbose or debug')
        end
        native.log_level(number)
    end
    return names[native.log_level()]
end

return core.object(log)
