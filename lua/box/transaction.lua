-- SPDX-License-Identifier: Apache-2.0
--
-- box.begin, commit, rollback, atomic: transactions of the session's own; and what runs a stored
-- procedure from Lua.
--
-- A conflict dooms a transaction: whatever pcall has caught, its commit fails. Only who is asked to
-- runs a function again; what the function has done to variables outside of it is not taken back.

local core = require('box.core')

local api, runtime = core.api, core.runtime
local check, raise = core.check, core.raise

local transaction = {}

local levels = {
    ['read-committed'] = 0, ['snapshot'] = 1, ['repeatable-read'] = 1, ['serializable'] = 2,
}

--- The number of an isolation level; serializable when none is named.
local function level_of(name)
    if name == nil then
        return 2
    end
    local level = type(name) == 'string' and levels[name:lower():gsub('[ _]', '-')]
    if not level then
        raise(core.ERROR_INVALID, 'unknown isolation level ' .. tostring(name))
    end
    return level
end

--- box.begin{isolation = 'serializable', readonly = false}
---@param options table?
function transaction.begin(options)
    options = options or {}
    local level = level_of(options.isolation or options.txn_isolation)
    check(api.begin(runtime, level, options.readonly and 1 or 0, 0))
end

--- box.commit(): an error says why it could not be, and then everything is rolled back.
function transaction.commit()
    check(api.finish(runtime, 1))
end

--- box.rollback(): does nothing when there is no transaction.
function transaction.rollback()
    check(api.finish(runtime, 0))
end

--- box.is_in_txn()
---@return boolean
function transaction.is_in_txn()
    return api.in_transaction(runtime) ~= 0
end

local function pack(...)
    return { n = select('#', ...), ... }
end

--- Runs fn(...) as a transaction, and again up to `retries` times when it loses a conflict.
function transaction.run(level, readonly, retries, fn, ...)
    local arguments, losses = pack(...), 0
    while true do
        check(api.begin(runtime, level, readonly, losses))
        local results = pack(pcall(fn, unpack(arguments, 1, arguments.n)))
        if results[1] then
            local code = api.finish(runtime, 1)
            if code == 0 then
                return unpack(results, 2, results.n)
            end
            if code ~= core.ERROR_CONFLICT or losses >= retries then
                check(code)
            end
        else
            local doomed = api.in_transaction(runtime) == 2
            api.finish(runtime, 0)
            if not doomed or losses >= retries then
                error(results[2], 0)
            end
        end
        losses = losses + 1
    end
end

--- box.atomic([{isolation, readonly, retry},] fn, ...): fn(...) in a transaction, which ends with
--- it. Inside of another transaction it is a part of that one.
function transaction.atomic(options, fn, ...)
    if type(options) ~= 'table' then
        return transaction.atomic({}, options, fn, ...)
    end
    if type(fn) ~= 'function' then
        raise(core.ERROR_INVALID, 'box.atomic needs a function')
    end
    if api.in_transaction(runtime) ~= 0 then
        return fn(...)
    end
    local level = level_of(options.isolation or options.txn_isolation)
    return transaction.run(level, options.readonly and 1 or 0, options.retry or 0, fn, ...)
end

return transaction
