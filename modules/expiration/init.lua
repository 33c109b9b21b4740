-- SPDX-License-Identifier: Apache-2.0
--
-- Rows beyond an age are removed by passes over their space. A pass goes on in batches: it looks at some
-- rows, outside of a transaction, and removes those that have expired in one small transaction, which
-- looks at each of them again: one that has been renewed meanwhile stays. Between batches others have
-- their turn.
--
-- With an index that begins with the field only rows that have expired are looked at; without one, all.

local fiber = require('fiber')
local log = require('log')

local expiration = {}

local tasks = box.space.expiration_tasks
local RETRIES, PAUSE_MIN = 20, 0.001

local function invalid(format, ...)
    box.error({ code = box.error.INVALID, reason = format:format(...) })
end

local function must_find(name)
    local task = type(name) == 'string' and tasks:get(name)
    if not task then
        box.error({ code = box.error.NOT_FOUND,
            reason = ('there is no expiration "%s"'):format(tostring(name)) })
    end
    return task
end

-- ----------------------------------------------------------------------------- what has expired

--- Seconds since 1970 of a field: a number, or a datetime; nil: it never expires.
local function seconds_of(value)
    if value == nil or type(value) == 'number' then
        return value ~= nil and value or nil
    elseif type(value) == 'cdata' and tonumber(value) then
        return tonumber(value)
    end
    return value.epoch
end

local function has_expired(task, row, now)
    if task.func ~= nil then
        return box.func[task.func]:call({ row, now }) == true
    end
    local time = seconds_of(row[task.field])
    return time ~= nil and time + task.age <= now
end

--- The key of a row in an index.
local function key_of(index, row)
    local key = {}
    for position, part in ipairs(index.parts) do
        key[position] = row[part.fieldno]
    end
    return key
end

-- ------------------------------------------------------------------------------------ batches

--- Removes one row, if it still has to go. In a transaction; true: it went.
local function remove(task, space, key, now)
    local row = space:get(key)
    if not row or not has_expired(task, row, now) then
        return false
    end
    if task.action ~= nil then
        box.func[task.action]:call({ row })
    else
        space:delete(key)
    end
    return space:get(key) == nil
end

--- All of them, or when that fails one by one, so that one bad row is in nobody's way: how many went,
--- how many failed, and the last error.
local function remove_all(task, space, keys, now)
    local removed = 0
    local ok, err = pcall(box.atomic, { retry = RETRIES }, function()
        removed = 0
        for _, key in ipairs(keys) do
            removed = removed + (remove(task, space, key, now) and 1 or 0)
        end
    end)
    if ok or #keys == 0 then
        return ok and removed or 0, 0
    elseif #keys == 1 then
        return 0, 1, tostring(err)
    end
    local failed, message = 0, nil
    removed = 0
    for _, key in ipairs(keys) do
        local more, bad, why = remove_all(task, space, { key }, now)
        removed, failed, message = removed + more, failed + bad, why or message
    end
    return removed, failed, message
end

--- The next rows of a pass; `place` remembers where it is.
local function next_rows(task, space, place, now)
    local limit = task.batch
    if task.index ~= nil and task.field ~= nil then
        return space.index[task.index]:select({ now - task.age },
            { iterator = 'LE', limit = limit, offset = place.kept })
    end
    return space:select({}, { limit = limit, after = place.last })
end

--- One batch of a pass; false: the pass has ended.
local function step(task, place, now)
    local space = box.space[task.space]
    if not space then
        place.error = ('there is no space "%s"'):format(task.space)
        return false
    end
    local rows = next_rows(task, space, place, now)
    local keys = {}
    for _, row in ipairs(rows) do
        if has_expired(task, row, now) then
            keys[#keys + 1] = key_of(space.index[0], row)
        end
    end
    local removed, failed, message = remove_all(task, space, keys, now)
    place.seen, place.removed = place.seen + #rows, place.removed + removed
    place.failed, place.error = place.failed + failed, message or place.error
    place.kept = place.kept + #rows - removed
    place.last = rows[#rows]
    return #rows == task.batch
end

local function new_place()
    return { seen = 0, removed = 0, failed = 0, kept = 0 }
end

--- Writes down what a pass has done.
local function record(name, place)
    box.atomic({ retry = RETRIES }, function()
        if tasks:get(name) then
            tasks:update(name, {
                { '+', 'passes', 1 }, { '+', 'seen', place.seen }, { '+', 'removed', place.removed },
                { '+', 'failed', place.failed }, { '=', 'last', box.now() },
                { '=', 'error', place.error or box.NULL },
            })
        end
    end)
end

--- One batch, whatever happens in it: whether the pass goes on.
local function try_step(task, place, now)
    local ok, more = pcall(step, task, place, now)
    if not ok then
        place.failed, place.error = place.failed + 1, tostring(more)
    end
    return ok and more
end

-- -------------------------------------------------------------------------------------- tasks

local known = { space = 'string', field = 'string', func = 'string', age = 'number', action = 'string',
    batch = 'number', pause = 'number', index = 'string', replace = 'boolean' }

--- The name of an index of the space that begins with the field, or nil.
local function index_of(space, field)
    for number = 0, 63 do
        local index = space.index[number]
        local part = index and index.type:lower() == 'tree' and index.parts[1]
        local format = part and space:format()[part.fieldno]
        if part and format and format.name == field and not part.path then
            return index.name
        end
    end
end

local function check(name, options)
    if type(name) ~= 'string' or name == '' or #name > 255 then
        invalid('the name of an expiration is a string of 1 to 255 bytes')
    elseif type(options) ~= 'table' then
        invalid('an expiration needs {space = .., field = .., age = ..}')
    end
    for key, value in pairs(options) do
        if not known[key] then
            invalid('expiration "%s": there is no option "%s"', name, tostring(key))
        elseif type(value) ~= known[key] then
            invalid('expiration "%s": %s is a %s', name, key, known[key])
        end
    end
    local space = options.space and box.space[options.space]
    if not space then
        invalid('expiration "%s": there is no space "%s"', name, tostring(options.space))
    elseif (options.field == nil) == (options.func == nil) then
        invalid('expiration "%s" needs either a field or a procedure: field = .. or func = ..', name)
    elseif options.field and not (options.age and options.age >= 0) then
        invalid('expiration "%s": age is a number of seconds', name)
    elseif options.batch and (options.batch < 1 or options.batch > 10000 or options.batch % 1 ~= 0) then
        invalid('expiration "%s": batch is a number of rows from 1 to 10000', name)
    elseif options.pause and (options.pause < 0 or options.pause ~= options.pause) then
        invalid('expiration "%s": pause is a number of seconds', name)
    end
    for _, which in ipairs({ 'func', 'action' }) do
        if options[which] and not box.schema.func.exists(options[which]) then
            invalid('expiration "%s": there is no procedure "%s"', name, options[which])
        end
    end
    local found
    for _, field in ipairs(options.field and space:format() or {}) do
        found = found or field.name == options.field
    end
    if options.field and not found then
        invalid('expiration "%s": space "%s" has no field "%s"', name, options.space, options.field)
    end
    return space
end

local changed = fiber.cond()

--- expiration.start(name, {space, field and age, or func, action, batch = 100, pause = 1, replace}): rows
--- whose field, seconds since 1970 or a datetime, is older than `age` are deleted, or given to the
--- procedure `action`. `func`: a procedure that is given a row and the time, and says whether it has
--- expired. `pause`: seconds between two passes.
function expiration.start(name, options)
    local space = check(name, options)
    local NULL = box.NULL
    local row = {
        name, options.space, options.field or NULL,
        options.index or options.field and index_of(space, options.field) or NULL, options.func or NULL,
        options.age or 0, options.action or NULL, options.batch or 100, options.pause or 1, 0, 0, 0, 0, NULL,
        NULL,
    }
    if options.replace then
        tasks:replace(row)
    else
        tasks:insert(row)
    end
    changed:broadcast()
end

--- expiration.stop(name): it is forgotten; rows stay.
function expiration.stop(name)
    must_find(name)
    tasks:delete(name)
end

local function describe(task)
    local result = task:tomap({ names_only = true })
    for key, value in pairs(result) do
        if value == nil then
            result[key] = nil
        end
    end
    return result
end

--- expiration.stats(name): settings; passes, and the rows that were seen, removed and failed in all;
--- when the last pass ended, and its last error.
function expiration.stats(name)
    return describe(must_find(name))
end

function expiration.list()
    local result = {}
    for _, task in tasks:pairs() do
        result[#result + 1] = describe(task)
    end
    return result
end

--- expiration.pass(name, [now]): a pass from beginning to end, at once; gives how many rows were
--- removed. For those who drive time themselves.
function expiration.pass(name, now)
    local task, place = must_find(name), new_place()
    now = tonumber(now) or box.now()
    while try_step(task, place, now) do -- luacheck: no unused
    end
    record(name, place)
    return place.removed
end

-- --------------------------------------------------------------------------------- background

--- Runs on one worker while the module is installed: each task whose time has come has a batch, then
--- the next one.
function expiration.run(background)
    local places, due = {}, {}
    while not background:stopping() do
        local options = box.module.options('expiration')
        local now, pause = box.now(), options.look
        local present = {}
        for _, task in ipairs(options.paused and {} or tasks:select()) do
            local name = task.name
            present[name] = true
            if (due[name] or 0) <= fiber.clock() then
                places[name] = places[name] or new_place()
                if try_step(task, places[name], now) then
                    due[name] = 0
                else
                    if places[name].error then
                        log.warn('expiration "%s": %s', name, places[name].error)
                    end
                    record(name, places[name])
                    places[name], due[name] = nil, fiber.clock() + math.max(task.pause, PAUSE_MIN)
                end
                fiber.yield()
            end
            pause = math.min(pause, math.max(due[name] - fiber.clock(), PAUSE_MIN))
        end
        for name in pairs(due) do
            if not present[name] then
                places[name], due[name] = nil, nil
            end
        end
        changed:wait(pause)
    end
end

return expiration
