-- SPDX-License-Identifier: Apache-2.0
--
-- string.rep, upper, lower and reverse, and table.concat, which let others in when they have much to do
-- (src/lua/long.c). What takes less than a millisecond, and what is an error, is LuaJIT's own: called last
-- and with what was given, so that an error says what it would say, and compiled code stays as it is but for
-- a comparison.

local core = require('box.core')

local native = core.native
local rep, concat = string.rep, table.concat

local BYTES_AT_ONCE, ELEMENTS_AT_ONCE = 1e6, 1e5

local long = {}

function long.rep(...)
    local s, n, separator = ...
    if type(s) == 'string' and type(n) == 'number' and (separator == nil or type(separator) == 'string')
        and (#s + (separator and #separator or 0)) * n > BYTES_AT_ONCE then
        local made = native.rep(s, n, separator)
        if made then
            return made
        end
    end
    return rep(...)
end

local function alike(at_once, in_steps)
    return function(...)
        local s = ...
        if type(s) == 'string' and #s > BYTES_AT_ONCE then
            local made = in_steps(s)
            if made then
                return made
            end
        end
        return at_once(...)
    end
end

long.upper = alike(string.upper, native.upper)
long.lower = alike(string.lower, native.lower)
long.reverse = alike(string.reverse, native.reverse)

function long.concat(...)
    local t, separator, first, last = ...
    if type(t) == 'table' and first == nil and last == nil and #t > ELEMENTS_AT_ONCE
        and (separator == nil or type(separator) == 'string') then
        local made = native.concat(t, separator, #t)
        if made then
            return made
        end
    end
    return concat(...)
end

return long
