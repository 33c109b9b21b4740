-- SPDX-License-Identifier: Apache-2.0
--
-- Durable queues: tubes of tasks, of which each attempt has exactly one taker.

-- A loser of a conflict is run again: see init.lua.
local function statement(call)
    return { call = call, isolation = 'snapshot' }
end

return {
    name = 'queue',
    version = '1.0.0',
    summary = 'Durable queues with delays, priorities, a time to run and dead letters.',
    exports = {
        'create', 'drop', 'list', 'put', 'take', 'ack', 'nack', 'bury', 'kick', 'touch', 'peek', 'delete',
        'stats', 'sweep',
    },
    options = {
        sweep_pause = { type = 'number', default = 1,
            description = 'seconds between two looks for tasks whose time is over' },
        wait_pause = { type = 'number', default = 1,
            description = 'seconds after which one who waits looks by himself' },
    },
    sequences = { queue_task = {} },
    spaces = {
        queue_tubes = {
            format = {
                { 'name', 'string' }, { 'ttr', 'number' }, { 'max_attempts', 'unsigned' },
                { 'dead_letter', 'string', is_nullable = true }, { 'retry_delay', 'number' },
            },
            indexes = { { name = 'name', parts = { 'name' } } },
        },
        -- state: ready, delayed (until `due`), taken (until `due`) or buried
        queue_tasks = {
            format = {
                { 'tube', 'string' }, { 'id', 'unsigned' }, { 'state', 'string' }, { 'priority', 'integer' },
                { 'due', 'number' }, { 'attempts', 'unsigned' }, { 'ttr', 'number' }, { 'created', 'number' },
                { 'origin', 'map', is_nullable = true }, { 'payload', 'any', is_nullable = true },
            },
            indexes = {
                { name = 'id', parts = { 'tube', 'id' } },
                { name = 'next', parts = { 'tube', 'state', 'priority', 'id' } },
                { name = 'due', parts = { 'tube', 'state', 'due', 'id' } },
            },
        },
    },
    procedures = {
        ['queue.create'] = { call = 'create' },
        ['queue.drop'] = { call = 'drop', transaction = false },
        ['queue.list'] = { call = 'list', readonly = true },
        ['queue.put'] = statement('put'),
        ['queue.take'] = { call = 'take', transaction = false },
        ['queue.ack'] = statement('ack'),
        ['queue.nack'] = statement('nack'),
        ['queue.bury'] = statement('bury'),
        ['queue.kick'] = statement('kick'),
        ['queue.touch'] = statement('touch'),
        ['queue.delete'] = statement('delete'),
        ['queue.peek'] = { call = 'peek', readonly = true },
        ['queue.stats'] = { call = 'stats', readonly = true },
        ['queue.command.create'] = { call = 'commands.create' },
        ['queue.command.put'] = statement('commands.put'),
        ['queue.command.take'] = { call = 'commands.take', transaction = false },
        ['queue.command.nack'] = statement('commands.nack'),
    },
    commands = {
        ['QUEUE.CREATE'] = { procedure = 'queue.command.create', arity = -2,
            summary = 'QUEUE.CREATE tube [TTR seconds] [MAXATTEMPTS n] [DEADLETTER tube] '
                .. '[RETRYDELAY seconds]' },
        ['QUEUE.DROP'] = { procedure = 'queue.drop', arity = 2, summary = 'QUEUE.DROP tube' },
        ['QUEUE.LIST'] = { procedure = 'queue.list', arity = 1, summary = 'The names of all tubes' },
        ['QUEUE.PUT'] = { procedure = 'queue.command.put', arity = -3,
            summary = 'QUEUE.PUT tube payload [DELAY seconds] [PRIORITY n] [TTR seconds]' },
        ['QUEUE.TAKE'] = { procedure = 'queue.command.take', arity = -2,
            summary = 'QUEUE.TAKE tube [TIMEOUT seconds]' },
        ['QUEUE.ACK'] = { procedure = 'queue.ack', arity = 4, summary = 'QUEUE.ACK tube id attempt' },
        ['QUEUE.NACK'] = { procedure = 'queue.command.nack', arity = -4,
            summary = 'QUEUE.NACK tube id attempt [DELAY seconds]' },
        ['QUEUE.BURY'] = { procedure = 'queue.bury', arity = 4, summary = 'QUEUE.BURY tube id attempt' },
        ['QUEUE.KICK'] = { procedure = 'queue.kick', arity = -2, summary = 'QUEUE.KICK tube [n]' },
        ['QUEUE.TOUCH'] = { procedure = 'queue.touch', arity = -4,
            summary = 'QUEUE.TOUCH tube id attempt [seconds]' },
        ['QUEUE.PEEK'] = { procedure = 'queue.peek', arity = -2, summary = 'QUEUE.PEEK tube [id]' },
        ['QUEUE.DELETE'] = { procedure = 'queue.delete', arity = 3, summary = 'QUEUE.DELETE tube id' },
        ['QUEUE.STATS'] = { procedure = 'queue.stats', arity = 2, summary = 'QUEUE.STATS tube' },
    },
    start = 'sweep',
}
