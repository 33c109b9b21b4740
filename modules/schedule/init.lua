-- SPDX-License-Identifier: Apache-2.0
--
-- Jobs: a procedure, its arguments, and when it runs. Each due time is claimed by inserting a row with
-- job and time as its key, together with the time after it in the job's own row, so that it runs once,
-- however many workers look and whenever the server ends.
--
--   a procedure that is a transaction runs in the one that claims the time: both are there after a
--     crash, or neither, and then it runs when the server is back. Exactly once.
--   one that is not (transaction = false) runs when the claim is durable: at most once. What a
--     crash has interrupted is in the history as `lost`.
--
-- Times that nobody has looked at while they were due, because the server was down, or the job's former
-- run was still going on, are missed; `misfire` says what becomes of them.

local cron = require('schedule.cron')
local fiber = require('fiber')
local log = require('log')

local schedule = {}

local jobs, runs = box.space.schedule_jobs, box.space.schedule_runs
local NEVER = 0 -- of a job that is not active
local EVERY_MIN, PAUSE_MIN, ROUNDING = 0.001, 0.002, 1e-5 -- seconds

local function invalid(format, ...)
    box.error({ code = box.error.INVALID, reason = format:format(...) })
end

local function must_find(name)
    local job = type(name) == 'string' and jobs:get(name)
    if not job then
        box.error({ code = box.error.NOT_FOUND, reason = ('there is no job "%s"'):format(tostring(name)) })
    end
    return job
end

local function option(name)
    return box.module.options('schedule')[name]
end

-- ------------------------------------------------------------------------------------- when

-- Parsed expressions of this worker.
local specs, spec_count, SPECS_MAX = {}, 0, 1000

local function spec_of(text)
    if not specs[text] then
        if spec_count == SPECS_MAX then
            specs, spec_count = {}, 0
        end
        specs[text], spec_count = cron.parse(text), spec_count + 1
    end
    return specs[text]
end

--- How many whole intervals lie between the anchor and a time; what is one but for rounding counts.
local function intervals(job, time)
    return math.floor((time - job.anchor + ROUNDING) / job.every)
end

--- The first time of a job after `time`, or nil.
local function time_after(job, time)
    if job.cron ~= nil then
        return cron.next(spec_of(job.cron), time, job.offset)
    end
    return job.anchor + math.max(intervals(job, time) + 1, 0) * job.every
end

--- The last time of a job from `from`, which is one of its times, to `to`.
local function last_time(job, from, to)
    if job.cron ~= nil then
        return cron.last(spec_of(job.cron), from, to, job.offset) or from
    end
    return math.max(job.anchor + intervals(job, to) * job.every, from)
end

--- What is to be done for a job that is due: the time to run for, or nil; the time after that; whether
--- times were missed.
local function plan(job, now)
    if job.misfire == 'all' then
        return job.due, time_after(job, job.due), job.due < now - option('grace')
    end
    local last = last_time(job, job.due, now)
    local late = last < now - option('grace')
    if late and job.misfire == 'skip' then
        return nil, time_after(job, last), true
    end
    return last, time_after(job, last), late or last > job.due
end

-- ------------------------------------------------------------------------------------- jobs

local known = { cron = 'string', every = 'number', func = 'string', args = 'table', misfire = 'string',
    enabled = 'boolean', offset = 'number', start = 'number', replace = 'boolean' }
local policies = { skip = true, once = true, all = true }

local function check(name, options)
    if type(name) ~= 'string' or name == '' or #name > 255 then
        invalid('the name of a job is a string of 1 to 255 bytes')
    elseif type(options) ~= 'table' then
        invalid('a job needs {func = .., cron = .. or every = ..}')
    end
    for key, value in pairs(options) do
        if not known[key] then
            invalid('job "%s": there is no option "%s"', name, tostring(key))
        elseif type(value) ~= known[key] then
            invalid('job "%s": %s is a %s', name, key, known[key])
        end
    end
    if not options.func then
        invalid('job "%s" needs the name of a procedure: func = ..', name)
    elseif not box.schema.func.exists(options.func) then
        box.error({ code = box.error.NOT_FOUND,
            reason = ('job "%s": there is no procedure "%s"'):format(name, options.func) })
    elseif (options.cron == nil) == (options.every == nil) then
        invalid('job "%s" runs either by cron = \'..\' or every = seconds', name)
    elseif options.every and not (options.every >= EVERY_MIN and options.every < 1e10) then
        invalid('job "%s": every is a number of seconds from %s', name, EVERY_MIN)
    elseif options.misfire and not policies[options.misfire] then
        invalid('job "%s": misfire is skip, once or all, not "%s"', name, options.misfire)
    elseif options.offset and (options.offset % 1 ~= 0 or math.abs(options.offset) > 24 * 60) then
        invalid('job "%s": offset is a number of minutes east of UTC', name)
    end
    local ok, message = pcall(cron.parse, options.cron or '* * * * *')
    if not ok then
        invalid('job "%s": %s', name, tostring(message))
    end
end

local changed = fiber.cond()

local function wake()
    if box.is_in_txn() then
        box.on_commit(function() changed:broadcast() end)
    else
        changed:broadcast()
    end
end

--- schedule.create(name, {func, args = {}, cron = '*/5 * * * *' or every = seconds, misfire = 'skip',
--- enabled = true, offset = minutes, start = time, replace}): gives when it runs first. `start`: not
--- before, and what an interval counts from.
function schedule.create(name, options)
    check(name, options)
    local start = options.start or box.now()
    local draft = { cron = options.cron, every = options.every, anchor = start, offset = options.offset or 0 }
    local first
    if options.cron then
        first = time_after(draft, start - 1)
    else
        first = options.start or start + options.every
    end
    local enabled = options.enabled ~= false
    local row = {
        name, enabled and first ~= nil, first or NEVER, options.func, options.args or {},
        options.cron or box.NULL, options.every or box.NULL, start, options.offset or 0,
        options.misfire or 'skip', enabled, 0, 0, 0,
    }
    setmetatable(row[5], { __serialize = 'array' })
    if options.replace then
        jobs:replace(row)
    else
        jobs:insert(row)
    end
    wake()
    return enabled and first or nil
end

--- schedule.drop(name): the job and its history.
function schedule.drop(name)
    must_find(name)
    box.atomic({ retry = 10 }, function()
        jobs:delete(name)
        for _, run in ipairs(runs:select({ name })) do
            runs:delete({ name, run.due })
        end
    end)
end

local function set_enabled(name, enabled)
    local due
    box.atomic({ retry = 10 }, function()
        local job = must_find(name)
        due = job.due
        if enabled and not job.enabled then
            due = time_after(job, box.now()) or NEVER
        end
        jobs:update(name, {
            { '=', 'enabled', enabled }, { '=', 'active', enabled and due ~= NEVER }, { '=', 'due', due },
        })
        wake()
    end)
    return enabled and due ~= NEVER and due or nil
end

--- schedule.enable(name): gives when it runs next; what was due meanwhile is not made up for.
function schedule.enable(name)
    return set_enabled(name, true)
end

--- schedule.disable(name): it stays, and does not run.
function schedule.disable(name)
    set_enabled(name, false)
end

local function describe(job)
    return {
        name = job.name, func = job.func, args = job.args, cron = job.cron, every = job.every,
        misfire = job.misfire, enabled = job.enabled, offset = job.offset, runs = job.runs,
        failures = job.failures, missed = job.missed, next = job.active and job.due or nil,
    }
end

--- schedule.info(name), schedule.list(): what is known of a job, of all.
function schedule.info(name)
    return describe(must_find(name))
end

function schedule.list()
    local result = {}
    for _, job in jobs:pairs() do
        result[#result + 1] = describe(job)
    end
    return result
end

--- schedule.next(name): when it runs next; nil: never.
function schedule.next(name)
    return schedule.info(name).next
end

--- schedule.history(name, [limit = 10]): its last runs, the newest first: due, started, finished, state
--- (running, done, failed, lost), error.
function schedule.history(name, limit)
    must_find(name)
    local result = {}
    for _, run in ipairs(runs:select({ name }, { iterator = 'REQ', limit = tonumber(limit) or 10 })) do
        result[#result + 1] = {
            due = run.due, started = run.started, finished = run.finished, state = run.state,
            error = run.error,
        }
    end
    return result
end

-- ------------------------------------------------------------------------------------ running

local function forget_old(name)
    local keep = option('history_max')
    local old = runs:select({ name }, { iterator = 'REQ', offset = keep, limit = 10 })
    for _, run in ipairs(old) do
        runs:delete({ name, run.due })
    end
end

--- Names the server's life from its start to its end: what runs in another one runs no more.
local function this_life()
    local info = box.info()
    return info.run_id or tostring(info.pid)
end

--- Takes what is due of a job: the job and the time it runs for, or nil. In a transaction.
local function claim(name, now)
    local job = jobs:get(name)
    if not job or not job.active or job.due > now then
        return nil
    end
    local before = runs:select({ name }, { iterator = 'REQ', limit = 1 })[1]
    if before and before.state == 'running' then
        return nil -- it does not run beside itself
    end
    local due, following, missed = plan(job, now)
    jobs:update(name, {
        { '=', 'due', following or NEVER }, { '=', 'active', following ~= nil },
        { '+', 'missed', missed and 1 or 0 }, { '+', 'runs', due and 1 or 0 },
    })
    if not due then
        return nil
    end
    runs:insert({ name, due, 'running', this_life(), box.now(), box.NULL, box.NULL })
    forget_old(name)
    return job, due
end

local function finish(name, due, state, message)
    if jobs:get(name) and runs:get({ name, due }) then
        runs:update({ name, due }, {
            { '=', 'state', state }, { '=', 'finished', box.now() }, { '=', 'error', message or box.NULL },
        })
        if state == 'failed' then
            jobs:update(name, { { '+', 'failures', 1 } })
        end
    end
end

local function call(job)
    local func = box.func[job.func]
    if not func then
        error(('there is no procedure "%s"'):format(job.func), 0)
    end
    return func:call(job.args)
end

local function tell(name, err)
    local message = tostring(err)
    log.error('job "%s": %s', name, message)
    return message
end

local later = {
    [box.error.CONFLICT] = true, [box.error.DEADLOCK] = true, [box.error.LOCK_TIMEOUT] = true,
    [box.error.CANCELLED] = true,
}

--- One whose procedure is a transaction: claim, work and record are one.
local function run_transaction(name, now)
    local ok, result = pcall(box.atomic, { retry = 20 }, function()
        local job, due = claim(name, now)
        if job then
            call(job)
            finish(name, due, 'done')
        end
        return due
    end)
    if ok then
        return result
    elseif type(result) == 'table' and later[result.code] then
        error(result, 0)
    end
    local message = tell(name, result)
    return box.atomic({ retry = 20 }, function()
        local job, due = claim(name, now)
        if job then
            finish(name, due, 'failed', message)
        end
        return due
    end)
end

local busy = {} -- of this worker: jobs whose procedure goes on
local held = {} -- and those that could not even be claimed: until when they are left alone
local HELD, DURABLE_LOOK = 1, 0.0005

--- Waits until no crash can take back that the time has been claimed: who only reads sees what is
--- durable. False: the job has been dropped meanwhile.
local function wait_until_durable(name, due)
    while not box.atomic({ readonly = true }, runs.get, runs, { name, due }) do
        if not box.atomic(runs.get, runs, { name, due }) then
            return false
        end
        fiber.sleep(DURABLE_LOOK)
    end
    return true
end

--- One whose procedure is none: it runs in a fiber of its own once the claim is durable.
local function run_in_fiber(name, now)
    if busy[name] then
        return nil
    end
    local job, due = box.atomic({ retry = 20 }, claim, name, now)
    if not job then
        return nil
    end
    busy[name] = true
    local function work()
        local ok, err = true, nil
        if wait_until_durable(name, due) then
            ok, err = pcall(call, job)
        end
        busy[name] = nil
        local message = not ok and tell(name, err) or nil
        box.atomic({ retry = 20 }, finish, name, due, ok and 'done' or 'failed', message)
        changed:broadcast()
    end
    fiber.new(work):name(('job %s'):format(name))
    return due
end

local function run_job(name, now)
    local job = jobs:get(name)
    local info = job and box.schema.func.info(job.func)
    if info and not info.transaction then
        return run_in_fiber(name, now)
    end
    return run_transaction(name, now)
end

--- schedule.run_due([now]): runs what is due, once, whoever else does the same; gives the number of
--- runs. The background does this by itself; it is for who drives time himself.
function schedule.run_due(now)
    now = tonumber(now) or box.now()
    local count, names = 0, {}
    for _, job in ipairs(jobs.index.due:select({ true }, { limit = 1000 })) do
        if job.due > now then
            break
        end
        if (held[job.name] or 0) <= fiber.clock() then
            held[job.name], names[#names + 1] = nil, job.name
        end
    end
    for _, name in ipairs(names) do
        local ok, due = pcall(run_job, name, now)
        if not ok then
            tell(name, due)
            held[name] = fiber.clock() + HELD
        elseif due then
            count = count + 1
        end
    end
    return count
end

--- When something is due next, but for what goes on: seconds from now, at most `longest`.
local function pause_before(longest)
    local now = box.now()
    for _, job in ipairs(jobs.index.due:select({ true }, { limit = 100 })) do
        if not busy[job.name] and not held[job.name] then
            return math.min(math.max(job.due - now, PAUSE_MIN), longest)
        end
    end
    return longest
end

--- Runs on one worker while the module is installed.
function schedule.run(background)
    local life = this_life()
    for _, run in runs:pairs() do
        if run.state == 'running' and run.life ~= life then
            box.atomic({ retry = 20 }, finish, run.job, run.due, 'lost')
        end
    end
    while not background:stopping() do
        if not option('paused') then
            schedule.run_due()
        end
        changed:wait(pause_before(option('look')))
    end
end

return schedule
