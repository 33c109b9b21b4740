-- SPDX-License-Identifier: Apache-2.0

return {
    name = 'expiration',
    version = '1.0.0',
    summary = 'Removes rows beyond an age, a few at a time, in the background.',
    exports = { 'start', 'stop', 'list', 'stats', 'pass', 'run' },
    options = {
        paused = { type = 'boolean', default = false, description = 'only pass removes rows' },
        look = { type = 'number', default = 0.5,
            description = 'seconds after which tasks that other workers have made are seen' },
    },
    spaces = {
        expiration_tasks = {
            format = {
                { 'name', 'string' }, { 'space', 'string' }, { 'field', 'string', is_nullable = true },
                { 'index', 'string', is_nullable = true }, { 'func', 'string', is_nullable = true },
                { 'age', 'number' }, { 'action', 'string', is_nullable = true }, { 'batch', 'unsigned' },
                { 'pause', 'number' }, { 'passes', 'unsigned' }, { 'seen', 'unsigned' },
                { 'removed', 'unsigned' }, { 'failed', 'unsigned' }, { 'last', 'number', is_nullable = true },
                { 'error', 'string', is_nullable = true },
            },
            indexes = { { name = 'name', parts = { 'name' } } },
        },
    },
    procedures = {
        ['expiration.start'] = { call = 'start' },
        ['expiration.stop'] = { call = 'stop' },
        ['expiration.list'] = { call = 'list', readonly = true },
        ['expiration.stats'] = { call = 'stats', readonly = true },
        ['expiration.pass'] = { call = 'pass', transaction = false },
    },
    start = 'run',
}
