-- SPDX-License-Identifier: Apache-2.0
--
-- Transactions that are typed: BEGIN, COMMIT and their kin, in words or as calls of box. Such an
-- input is one by itself; inside of a larger piece of Lua box.begin is what it is on the server.

local transaction = {}

local function trim(text)
    return (text:gsub('^%s+', ''):gsub('[%s;]+$', ''))
end

--- 'read only', 'snapshot', 'isolation level read committed read write' .. as options.
local function options_of(words)
    local options = {}
    local rest, access = words:match('^(.-)%s*read%s+(%a+)$')
    if access == 'only' or access == 'write' then
        options.readonly = access == 'only'
        words = rest
    end
    rest, access = words:match('^read%s+(%a+)%s*(.-)$')
    if rest == 'only' or rest == 'write' then
        options.readonly = rest == 'only'
        words = access
    end
    words = words:gsub('^isolation%s+level%s+', '')
    if words ~= '' then
        options.isolation = words:gsub('%s+', ' ')
    end
    return options
end

--- The options in a call of box.begin, which are constants.
local function options_of_call(arguments)
    local fn = loadstring('return ' .. arguments)
    local ok, given = false, nil
    if fn then
        ok, given = pcall(setfenv(fn, {}))
    end
    if not ok or type(given) ~= 'table' then
        return nil
    end
    return { isolation = given.isolation or given.txn_isolation, readonly = given.readonly }
end

local function parse_call(text)
    local name, arguments = text:match('^box%.(%l+)%s*(%b())$')
    if not name then
        name, arguments = text:match('^box%.(%l+)%s*(%b{})$')
    end
    if name ~= 'begin' and name ~= 'commit' and name ~= 'rollback' then
        return nil
    elseif arguments:match('^%(%s*%)$') then
        return { verb = name, options = {} }
    elseif name == 'begin' then
        local options = options_of_call(arguments)
        return options and { verb = 'begin', options = options }
    end
    return nil
end

--- What the input asks for: {verb, options or name}; nil when it is something else.
---@param source string
---@return table?
function transaction.parse(source)
    local text = trim(source)
    local call = parse_call(text)
    if call then
        return call
    end
    local lower = text:lower():gsub('%s+', ' ')
    local words = lower == 'begin' and '' or lower:match('^begin (.*)$')
        or (lower == 'start transaction' and '' or lower:match('^start transaction (.*)$'))
    if words and words:match('^[%a%- ]*$') then
        return { verb = 'begin', options = options_of(words) }
    elseif lower == 'commit' or lower == 'rollback' then
        return { verb = lower }
    end
    if lower:find('^rollback to [%w_]+$') or lower:find('^rollback to savepoint [%w_]+$') then
        return { verb = 'rollback_to', name = text:match('([^%s]+)$') }
    end
    for _, verb in ipairs({ 'savepoint', 'release' }) do
        if lower:match('^' .. verb .. ' [%w_]+$') or lower:match('^' .. verb .. ' savepoint [%w_]+$') then
            return { verb = verb, name = text:match('([^%s]+)$') }
        end
    end
    return nil
end

local function needed(console)
    if not console.transaction then
        error({ message = 'no transaction is open: BEGIN opens one' }, 0)
    end
    return console.transaction
end

local verbs = {}

function verbs.begin(console, wish)
    if console.transaction then
        error({ message = 'a transaction is open already: COMMIT, ROLLBACK or SAVEPOINT' }, 0)
    elseif console.redis_state and console.redis_state.multi then
        error({ message = 'BEGIN is not allowed inside MULTI: EXEC or DISCARD first' }, 0)
    end
    console.transaction = console:database():begin(wish.options)
end

function verbs.commit(console)
    local open = needed(console)
    console.transaction = nil
    open:commit()
end

function verbs.rollback(console)
    local open = needed(console)
    console.transaction = nil
    open:rollback()
end

function verbs.savepoint(console, wish)
    needed(console):savepoint(wish.name)
end

function verbs.release(console, wish)
    needed(console):release(wish.name)
end

function verbs.rollback_to(console, wish)
    needed(console):rollback_to(wish.name)
end

--- Does what `parse` has given. Raises errors of the client's.
---@param console table
---@param wish table
function transaction.run(console, wish)
    verbs[wish.verb](console, wish)
end

return transaction
