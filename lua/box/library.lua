-- SPDX-License-Identifier: Apache-2.0
--
-- C libraries of modules, as the module's Lua calls them (src/lua/library.c).

local core = require('box.core')
local transaction = require('box.transaction')

local native, api, runtime = core.native, core.api, core.runtime

local RETRIES = 100 -- of a call that is a transaction of its own and loses

local library = {}

--- Calls a function of C; in a fiber that has to wait for a lock, waits and calls it again.
local function run(fn, ...)
    while true do
        local code, result = fn(...)
        if code == 0 then
            return result
        end
        local seconds = code == core.ERROR_WAIT and native.fiber_lock_wait()
        if not seconds then
            native.raise(code)
        end
        core.wait_for_lock(seconds)
    end
end

--- The functions of the library: each in the transaction that goes on, or in one of its own.
---@param name string of the module
---@param bytes string
---@return table<string, function>
function library.load(name, bytes)
    local functions = {}
    for key, fn in pairs(native.module_library(name, bytes)) do
        functions[key] = function(...)
            if api.in_transaction(runtime) ~= 0 then
                return run(fn, ...)
            end
            return transaction.atomic({ retry = RETRIES }, run, fn, ...)
        end
    end
    return functions
end

return library
