-- SPDX-License-Identifier: Apache-2.0
--
-- Tubes of tasks. A task is ready, delayed, taken or buried; it is taken by one at a time, for its time
-- to run, and each taking is an attempt with a number of its own. Whoever does not report in time has
-- lost it: the task is ready again, or goes to the dead letters after too many attempts.
--
-- Takers of one tube all want the first task that is ready. Each marks it in a transaction of its own on
-- a snapshot: of those that meet, the first has it, and the others are run again, with a priority that
-- grows with what they have lost. So tasks leave in order of priority and number, and nobody starves.
-- Those who put and report write other rows, and are in nobody's way.
--
-- Tasks whose time is over are moved by whoever takes next, and by `sweep`, which runs in the
-- background of one worker.

local fiber = require('fiber')
local words = require('queue.commands')

local queue = {}

local tubes, tasks = box.space.queue_tubes, box.space.queue_tasks
local SWEPT_MAX, DROPPED_MAX = 100, 1000
local WAIT_MIN = 0.002

-- --------------------------------------------------------------------------------- arguments

local function fail(code, format, ...)
    box.error({ code = code, reason = format:format(...) })
end

local function invalid(format, ...)
    fail(box.error.INVALID, format, ...)
end

local function number(value, what, min)
    local result = tonumber(value)
    if not result or result ~= result or result < min or result == math.huge then
        invalid('%s is a number from %d, not %s', what, min, tostring(value))
    end
    return result
end

local function whole(value, what, min)
    local result = number(value, what, min)
    if result % 1 ~= 0 then
        invalid('%s is a whole number, not %s', what, tostring(value))
    end
    return result
end

local function check_options(options, known)
    options = options or {}
    if type(options) ~= 'table' then
        invalid('options are a table')
    end
    for name in pairs(options) do
        if not known[name] then
            invalid('there is no option "%s"', tostring(name))
        end
    end
    return options
end

local function must_find_tube(name)
    local tube = type(name) == 'string' and tubes:get(name)
    return tube or fail(box.error.NOT_FOUND, 'there is no tube "%s"', tostring(name))
end

--- Everything that changes something: whoever has seen what another has changed since is run again.
local function atomic(fn, ...)
    return box.atomic({ isolation = 'snapshot', retry = 1000 }, fn, ...)
end

local function describe(task)
    return {
        id = task.id, tube = task.tube, state = task.state, priority = task.priority, payload = task.payload,
        attempts = task.attempts, ttr = task.ttr, created = task.created, origin = task.origin,
        due = task.due > 0 and task.due or nil,
    }
end

-- ----------------------------------------------------------------------------------- waking
--
-- While somebody waits on a worker, the worker watches the tasks: what has become ready, on whatever
-- worker, wakes one who waits for it there. A watch begins with the first who waits and ends when nobody
-- has waited for some time. Who waits looks by himself now and then as well: the watch belongs to the
-- user who has begun it, and ends with his rights.

local WATCHED_MIN = 10 -- seconds

-- Of this worker: tube -> what those who wait for a task in it sleep on; how many wait; the watch.
local conditions, waiting, watch, last_wait = {}, 0, nil, 0

local function condition_of(tube)
    if not conditions[tube] then
        conditions[tube] = fiber.cond()
    end
    return conditions[tube]
end

local function on_ready(event)
    local condition = event.tuple and conditions[event.tuple.tube]
    if condition then
        condition:signal()
    end
    if waiting == 0 and watch and fiber.clock() > last_wait + WATCHED_MIN then
        watch:stop()
        watch = nil
    end
end

local function begin_watch()
    if watch and watch:status().status ~= 'running' then
        watch = nil
    end
    if not watch then
        local ok, result = pcall(box.watch, 'queue_tasks', "t.state == 'ready'", on_ready, { name = 'queue' })
        watch = ok and result or nil
    end
end

--- Waits for a task in a tube, for at most so many seconds.
local function wait_for(tube, seconds)
    waiting, last_wait = waiting + 1, fiber.clock()
    local ok, err = pcall(function() condition_of(tube):wait(seconds) end)
    waiting, last_wait = waiting - 1, fiber.clock()
    if not ok then
        error(err, 0)
    end
end

-- ------------------------------------------------------------------------------------ tubes

local tube_options = { ttr = true, max_attempts = true, dead_letter = true, retry_delay = true,
    if_not_exists = true }

--- queue.create(tube, {ttr = 60, max_attempts = 0, dead_letter = 'tube', retry_delay = 0,
--- if_not_exists}): max_attempts = 0 is no limit. Without dead letters a task that failed too often is
--- buried.
function queue.create(name, options)
    options = check_options(options, tube_options)
    if type(name) ~= 'string' or name == '' or #name > 255 then
        invalid('the name of a tube is a string of 1 to 255 bytes')
    end
    if options.dead_letter ~= nil then
        must_find_tube(options.dead_letter)
        if options.dead_letter == name then
            invalid('the dead letters of "%s" go to another tube', name)
        end
    end
    local row = {
        name, number(options.ttr or 60, 'ttr', 0), whole(options.max_attempts or 0, 'max_attempts', 0),
        options.dead_letter or box.NULL, number(options.retry_delay or 0, 'retry_delay', 0),
    }
    atomic(function()
        if tubes:get(name) then
            if options.if_not_exists then
                return
            end
            fail(box.error.EXISTS, 'tube "%s" exists', name)
        end
        for _, task in ipairs(tasks:select({ name })) do -- put while the tube was dropped
            tasks:delete({ name, task.id })
        end
        tubes:insert(row)
    end)
end

--- queue.drop(tube): with all its tasks, a part at a time. Not inside of a transaction.
function queue.drop(name)
    must_find_tube(name)
    for _, other in tubes:pairs() do
        if other.dead_letter == name then
            invalid('the dead letters of "%s" go to "%s"', other.name, name)
        end
    end
    local left
    repeat
        left = atomic(function()
            must_find_tube(name)
            local some = tasks:select({ name }, { limit = DROPPED_MAX })
            for _, task in ipairs(some) do
                tasks:delete({ name, task.id })
            end
            if #some < DROPPED_MAX then
                tubes:delete(name)
            end
            return #some == DROPPED_MAX
        end)
    until not left
    conditions[name] = nil
end

--- queue.list(): the names of all tubes.
function queue.list()
    local names = {}
    for _, tube in tubes:pairs() do
        names[#names + 1] = tube.name
    end
    return names
end

--- queue.stats(tube): its settings, and how many tasks are in which state.
function queue.stats(name)
    local tube = must_find_tube(name)
    local result = {
        tube = name, ttr = tube.ttr, max_attempts = tube.max_attempts, dead_letter = tube.dead_letter,
        retry_delay = tube.retry_delay,
    }
    for _, state in ipairs({ 'ready', 'delayed', 'taken', 'buried' }) do
        result[state] = tasks.index.next:count({ name, state })
    end
    return result
end

-- ------------------------------------------------------------------------------ tasks that go in

--- queue.put(tube, payload, {delay = seconds, priority = 0, ttr = seconds}): the task. Smaller
--- priorities come first.
function queue.put(name, payload, options)
    options = check_options(options, { delay = true, priority = true, ttr = true })
    local delay = number(options.delay or 0, 'delay', 0)
    local priority = whole(options.priority or 0, 'priority', -2 ^ 53)
    local ttr = options.ttr and number(options.ttr, 'ttr', 0)
    return atomic(function()
        local tube, now = must_find_tube(name), box.now()
        return describe(tasks:insert({
            name, box.sequence.queue_task:next(), delay > 0 and 'delayed' or 'ready', priority,
            delay > 0 and now + delay or 0, 0, ttr or tube.ttr, now, box.NULL, payload,
        }))
    end)
end

--- Ready again after `delay`, whatever it was.
local function release(task, delay)
    tasks:update({ task.tube, task.id }, {
        { '=', 'state', delay > 0 and 'delayed' or 'ready' },
        { '=', 'due', delay > 0 and box.now() + delay or 0 },
    })
end

--- An attempt has failed: the task is tried again, or has been tried often enough.
local function failed(tube, task, reason, delay)
    if tube.max_attempts == 0 or task.attempts < tube.max_attempts then
        return release(task, delay or tube.retry_delay)
    end
    local dead = tube.dead_letter ~= nil and tubes:get(tube.dead_letter)
    if not dead then
        return tasks:update({ task.tube, task.id }, { { '=', 'state', 'buried' }, { '=', 'due', 0 } })
    end
    tasks:delete({ task.tube, task.id })
    tasks:insert({
        dead.name, task.id, 'ready', task.priority, 0, 0, dead.ttr, task.created,
        { tube = task.tube, attempts = task.attempts, reason = reason, time = box.now() }, task.payload,
    })
end

--- Moves what is due. In a transaction; true: there is more.
local function sweep_tube(tube)
    local now, count = box.now(), 0
    for _, state in ipairs({ 'delayed', 'taken' }) do
        for _, task in ipairs(tasks.index.due:select({ tube.name, state }, { limit = SWEPT_MAX })) do
            if task.due > now then
                break
            end
            count = count + 1
            if state == 'delayed' then
                release(task, 0)
            else
                failed(tube, task, 'its time to run was over')
            end
        end
    end
    return count >= SWEPT_MAX
end

--- When something becomes due in a tube: a time, or nil.
local function next_due(name)
    local result
    for _, state in ipairs({ 'delayed', 'taken' }) do
        local first = tasks.index.due:select({ name, state }, { limit = 1 })[1]
        if first and (not result or first.due < result) then
            result = first.due
        end
    end
    return result
end

-- ----------------------------------------------------------------------------- tasks that go out

local function first_ready(name)
    return tasks.index.next:select({ name, 'ready' }, { limit = 1 })[1]
end

local function take_now(name)
    return atomic(function()
        local tube = must_find_tube(name)
        sweep_tube(tube)
        local task = first_ready(name)
        return task and describe(tasks:update({ name, task.id }, {
            { '=', 'state', 'taken' }, { '=', 'due', box.now() + task.ttr }, { '+', 'attempts', 1 },
        }))
    end)
end

--- queue.take(tube, {timeout = seconds}): the next task, or nil when there is none until then. In a
--- transaction nobody waits.
function queue.take(name, options)
    options = check_options(options, { timeout = true })
    local until_then = fiber.clock() + number(options.timeout or 0, 'timeout', 0)
    local may_wait, pause = not box.is_in_txn(), WAIT_MIN
    while true do
        must_find_tube(name)
        local due = next_due(name)
        local task = (first_ready(name) or (due and due <= box.now())) and take_now(name)
        if task then
            return task
        end
        local left = until_then - fiber.clock()
        if left <= 0 or not may_wait then
            return nil
        end
        if pause == WAIT_MIN then
            begin_watch() -- before it looks once more
        end
        wait_for(name, math.min(pause, left, due and math.max(due - box.now(), WAIT_MIN) or left))
        local longest = box.module.options('queue').wait_pause
        pause = watch and longest or math.min(2 * pause, longest)
    end
end

-- ----------------------------------------------------------------------------------- reports

--- The task of which this attempt goes on; an error when it is over. `name` may be a task.
local function attempt_of(name, id, attempt)
    id, attempt = whole(id, 'the number of a task', 1), whole(attempt, 'the attempt', 1)
    local tube = must_find_tube(name)
    local task = tasks:get({ name, id })
    if not task then
        fail(box.error.NOT_FOUND, 'there is no task %d in tube "%s"', id, name)
    elseif task.state ~= 'taken' or task.attempts ~= attempt or task.due <= box.now() then
        fail(box.error.NOT_FOUND, 'attempt %d of task %d in tube "%s" is over', attempt,
            id, name)
    end
    return task, tube
end

--- queue.ack(tube, id, attempt): it is done, and goes.
function queue.ack(name, id, attempt)
    return atomic(function()
        local task = attempt_of(name, id, attempt)
        tasks:delete({ name, task.id })
        return true
    end)
end

--- queue.nack(tube, id, attempt, {delay = seconds}): it has failed, and is tried again, or goes to the
--- dead letters.
function queue.nack(name, id, attempt, options)
    options = check_options(options, { delay = true, reason = true })
    local delay = options.delay and number(options.delay, 'delay', 0)
    return atomic(function()
        local task, tube = attempt_of(name, id, attempt)
        failed(tube, task, options.reason or 'it was refused', delay)
        return true
    end)
end

--- queue.bury(tube, id, attempt): put aside until somebody kicks it.
function queue.bury(name, id, attempt)
    return atomic(function()
        local task = attempt_of(name, id, attempt)
        tasks:update({ name, task.id }, { { '=', 'state', 'buried' }, { '=', 'due', 0 } })
        return true
    end)
end

--- queue.touch(tube, id, attempt, [seconds]): its time to run begins anew.
function queue.touch(name, id, attempt, seconds)
    seconds = seconds ~= nil and number(seconds, 'the time to run', 0) or nil
    return atomic(function()
        local task = attempt_of(name, id, attempt)
        local due = box.now() + (seconds or task.ttr)
        tasks:update({ name, task.id }, { { '=', 'due', due } })
        return due
    end)
end

--- queue.kick(tube, [count = 1]): buried tasks become ready, the oldest first, and have no attempts
--- behind them. Gives how many.
function queue.kick(name, count)
    count = whole(count or 1, 'the number of tasks', 1)
    return atomic(function()
        must_find_tube(name)
        local buried = tasks.index.next:select({ name, 'buried' }, { limit = count })
        for _, task in ipairs(buried) do
            tasks:update({ name, task.id }, { { '=', 'attempts', 0 } })
            release(task, 0)
        end
        return #buried
    end)
end

--- queue.peek(tube, [id]): that task, or the one that is taken next; nil when there is none.
function queue.peek(name, id)
    must_find_tube(name)
    local task
    if id ~= nil then
        task = tasks:get({ name, whole(id, 'the number of a task', 1) })
    else
        task = first_ready(name)
    end
    return task and describe(task)
end

--- queue.delete(tube, id): whatever its state. True: it was there.
function queue.delete(name, id)
    id = whole(id, 'the number of a task', 1)
    must_find_tube(name)
    return tasks:delete({ name, id }) ~= nil
end

-- --------------------------------------------------------------------------------- background

--- Runs on one worker while the module is installed.
function queue.sweep(background)
    while not background:stopping() do
        for _, name in ipairs(queue.list()) do
            local due = next_due(name)
            local more = due and due <= box.now()
            while more do
                more = atomic(function()
                    local tube = tubes:get(name)
                    return tube and sweep_tube(tube)
                end)
                fiber.yield()
            end
        end
        fiber.sleep(box.module.options('queue').sweep_pause)
    end
end

queue.commands = words.commands(queue)

return queue
