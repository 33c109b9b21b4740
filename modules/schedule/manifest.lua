-- SPDX-License-Identifier: Apache-2.0
--
-- Procedures that run at their times.

return {
    name = 'schedule',
    version = '1.0.0',
    summary = 'Runs procedures at times given by cron expressions or intervals, once each.',
    exports = { 'create', 'drop', 'enable', 'disable', 'list', 'info', 'next', 'history', 'run_due', 'run' },
    options = {
        look = { type = 'number', default = 0.5,
            description = 'seconds after which jobs that other workers have made are seen' },
        paused = { type = 'boolean', default = false, description = 'only run_due runs jobs' },
        grace = { type = 'number', default = 30,
            description = 'seconds that a run may be late without being missed' },
        history_max = { type = 'number', default = 100,
            description = 'runs that are remembered of each job' },
    },
    spaces = {
        -- `due`: when it runs next; nil when it does not. `anchor`: what an interval counts from.
        schedule_jobs = {
            format = {
                { 'name', 'string' }, { 'active', 'boolean' }, { 'due', 'number' }, { 'func', 'string' },
                { 'args', 'array' }, { 'cron', 'string', is_nullable = true },
                { 'every', 'number', is_nullable = true }, { 'anchor', 'number' }, { 'offset', 'integer' },
                { 'misfire', 'string' }, { 'enabled', 'boolean' }, { 'runs', 'unsigned' },
                { 'failures', 'unsigned' }, { 'missed', 'unsigned' },
            },
            indexes = {
                { name = 'name', parts = { 'name' } },
                { name = 'due', parts = { 'active', 'due', 'name' } },
            },
        },
        -- that a run has been claimed: nobody can claim the same time of a job again
        schedule_runs = {
            format = {
                { 'job', 'string' }, { 'due', 'number' }, { 'state', 'string' }, { 'life', 'string' },
                { 'started', 'number' }, { 'finished', 'number', is_nullable = true },
                { 'error', 'string', is_nullable = true },
            },
            indexes = { { name = 'job', parts = { 'job', 'due' } } },
        },
    },
    procedures = {
        ['schedule.create'] = { call = 'create' },
        ['schedule.drop'] = { call = 'drop' },
        ['schedule.enable'] = { call = 'enable' },
        ['schedule.disable'] = { call = 'disable' },
        ['schedule.list'] = { call = 'list', readonly = true },
        ['schedule.info'] = { call = 'info', readonly = true },
        ['schedule.next'] = { call = 'next', readonly = true },
        ['schedule.history'] = { call = 'history', readonly = true },
        ['schedule.run_due'] = { call = 'run_due', transaction = false },
    },
    start = 'run',
}
