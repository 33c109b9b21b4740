-- SPDX-License-Identifier: Apache-2.0
--
-- box.schema.migration: numbered steps from one schema to the next.
--
-- A migration is Lua text that returns {up = function() .. end, down = function() .. end}; `down` may
-- be absent. Each runs in a schema transaction of its own, together with the row of _migration that
-- records it, or in the one that is going on (a module's installation). The row keeps the text, so
-- that going back does not need the files.

local core = require('box.core')
local procedure = require('box.procedure')
local transaction = require('box.transaction')

local native = core.native
local SPACE_ID_MIGRATION = 338

local migration = {}

local function fail(format, ...)
    core.raise(core.ERROR_INVALID, format:format(...))
end

--- The functions of a migration's text.
local function load_text(globals, owner, step)
    local name = ('%s/%03d_%s'):format(owner, step.number, step.name)
    local functions = procedure.compile(name, step.text, globals)()
    if type(functions) ~= 'table' or type(functions.up) ~= 'function' then
        fail('migration %s returns no table with a function `up`: return {up = function() .. end, down = ..}',
            name)
    end
    if functions.down ~= nil and type(functions.down) ~= 'function' then
        fail('migration %s: `down` is a function', name)
    end
    return functions, name
end

local function check_steps(owner, steps)
    if type(owner) ~= 'string' or owner == '' then
        fail('migrations belong to a name: box.schema.migration.apply(name, steps)')
    end
    if type(steps) ~= 'table' then
        fail('the steps of %s are an array of {number = 1, name = .., text = ..}', owner)
    end
    local sorted, seen = {}, {}
    for position, step in ipairs(steps) do
        if type(step) ~= 'table' or type(step.number) ~= 'number' or step.number < 1
            or step.number % 1 ~= 0 or type(step.name) ~= 'string' or type(step.text) ~= 'string' then
            fail('step %d of %s is not {number = 1, name = .., text = ..}', position, owner)
        end
        if seen[step.number] then
            fail('%s has two steps of number %d: %s and %s', owner, step.number, seen[step.number], step.name)
        end
        seen[step.number] = step.name
        sorted[position] = step
    end
    table.sort(sorted, function(a, b) return a.number < b.number end)
    return sorted
end

--- Steps of files: {['001_accounts.lua'] = text} becomes an array of them; other files are left out.
---@param files table
---@return table
function migration.steps(files)
    local steps = {}
    for path, text in pairs(files) do
        local number, name = path:match('^(%d+)_([%w_%-]+)%.lua$')
        if number then
            steps[#steps + 1] = { number = tonumber(number), name = name, text = text }
        end
    end
    table.sort(steps, function(a, b) return a.number < b.number end)
    return steps
end

--- What has been applied: number -> {number, name, time, digest, text}, and the largest number.
local function applied_of(owner)
    local applied, last = {}, 0
    for _, row in ipairs(native.migrations(owner)) do
        applied[row.number] = row
        last = math.max(last, row.number)
    end
    return applied, last
end

local DRY = {}

--- Runs fn in a schema transaction; a dry run takes back what it has done.
local function run(dry, fn)
    local ok, err = pcall(transaction.atomic, { schema = true }, function()
        fn()
        if dry then
            error(DRY, 0)
        end
    end)
    if not ok and err ~= DRY then
        error(err, 0)
    end
end

local function apply_step(globals, owner, step)
    local functions, name = load_text(globals, owner, step)
    local ok, err = pcall(functions.up)
    if not ok then
        core.raise(type(err) == 'table' and err.code or core.ERROR_LUA,
            ('migration %s failed, and nothing of it is left: %s'):format(name, tostring(err)))
    end
    native.record_put(SPACE_ID_MIGRATION, { owner, step.number, step.name, core.api.now(core.runtime),
        native.sha1_hex(step.text), step.text }, true, 1)
end

--- Why the steps don't go with what has been applied, or nil.
local function quarrel(owner, sorted, applied, last)
    for _, step in ipairs(sorted) do
        local row = applied[step.number]
        if row and row.digest ~= native.sha1_hex(step.text) then
            return ('migration %d of %s (%s) was changed after it had been applied: write a new one instead')
                :format(step.number, owner, step.name)
        elseif not row and step.number < last then
            return ('migration %d of %s (%s) comes before number %d, which has been applied: '
                .. 'give it a higher number'):format(step.number, owner, step.name, last)
        end
    end
end

--- box.once(key, fn, ...): calls fn(...) unless that has been done under this key; in a schema
--- transaction, together with the row of _migration that records it.
---@param key string
---@param fn function
function migration.once(key, fn, ...)
    if type(key) ~= 'string' or type(fn) ~= 'function' then
        error('Usage: box.once(key, function, ...)', 2)
    end
    local owner = 'once ' .. key
    if applied_of(owner)[1] then
        return
    end
    return transaction.atomic({ schema = true }, function(...)
        if applied_of(owner)[1] then
            return
        end
        native.record_put(SPACE_ID_MIGRATION, { owner, 1, 'once', core.api.now(core.runtime),
            native.sha1_hex(''), '' }, true, 1)
        return fn(...)
    end, ...)
end

--- The functions of box.schema.migration; `globals` is what migrations see besides the library.
---@param globals table
---@return table
function migration.new(globals)
    local functions = {}

    --- Applies the steps that have not been, up to number `options.to`, each in a transaction of its
    --- own; with `options.dry_run` all of them in one, which is rolled back. Gives their numbers.
    function functions.apply(owner, steps, options)
        options = options or {}
        local sorted = check_steps(owner, steps)
        local applied, last = applied_of(owner)
        local message = quarrel(owner, sorted, applied, last)
        if message then
            core.raise(core.ERROR_INVALID, message)
        end
        local numbers, pending = {}, {}
        for _, step in ipairs(sorted) do
            if not applied[step.number] and step.number <= (options.to or math.huge) then
                numbers[#numbers + 1], pending[#pending + 1] = step.number, step
            end
        end
        if options.dry_run then
            run(true, function()
                for _, step in ipairs(pending) do
                    apply_step(globals, owner, step)
                end
            end)
            return numbers
        end
        for _, step in ipairs(pending) do
            run(false, function() apply_step(globals, owner, step) end)
        end
        return numbers
    end

    --- Goes back until number `options.to` (one step when absent) is the last one applied, the newest
    --- first; gives the numbers taken back.
    function functions.rollback(owner, options)
        options = options or {}
        local applied, last = applied_of(owner)
        local numbers = {}
        for number in pairs(applied) do
            numbers[#numbers + 1] = number
        end
        table.sort(numbers, function(a, b) return a > b end)
        local to = options.to or numbers[2] or 0
        local undone = {}
        local function undo_all()
            for _, number in ipairs(numbers) do
                if number > to then
                    local row = applied[number]
                    run(false, function()
                        local step, name = load_text(globals, owner, row)
                        if not step.down then
                            fail('migration %s can\'t be taken back: it has no `down`', name)
                        end
                        step.down()
                        native.record_delete(SPACE_ID_MIGRATION, { owner, number })
                    end)
                    undone[#undone + 1] = number
                end
            end
        end
        if last > to then
            if options.dry_run then
                run(true, undo_all)
            else
                undo_all()
            end
        end
        return undone
    end

    --- For each step {number, name, state, time}: state is 'applied', 'pending', 'changed' (applied,
    --- but its text is another now) or 'missing' (applied, but not among the steps).
    function functions.status(owner, steps)
        local sorted = check_steps(owner, steps or {})
        local applied = applied_of(owner)
        local result, known = {}, {}
        for _, step in ipairs(sorted) do
            local row, state = applied[step.number], 'pending'
            if row then
                state = row.digest == native.sha1_hex(step.text) and 'applied' or 'changed'
            end
            known[step.number] = true
            local time = row and row.time
            result[#result + 1] = { number = step.number, name = step.name, state = state, time = time }
        end
        for number, row in pairs(applied) do
            if not known[number] then
                result[#result + 1] = { number = number, name = row.name, state = 'missing', time = row.time }
            end
        end
        table.sort(result, function(a, b) return a.number < b.number end)
        return result
    end

    functions.steps = migration.steps
    return functions
end

return migration
