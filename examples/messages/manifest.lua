-- SPDX-License-Identifier: Apache-2.0
--
-- A message service: topics, groups of consumers, delays, dead letters. It stands on the module queue.

return {
    name = 'messages',
    version = '1.0.0',
    summary = 'Topics whose messages each group of consumers gets at least once.',
    requires = { 'queue >= 1.0' },
    exports = { 'subscribe', 'send', 'receive', 'done', 'fail', 'dead', 'revive', 'status' },
    sequences = { messages_number = {} },
    spaces = {
        messages_groups = {
            format = { { 'topic', 'string' }, { 'group', 'string' } },
            indexes = { { name = 'topic', parts = { 'topic', 'group' } } },
        },
        -- what was sent, by the key that its producer has given it
        messages_sent = {
            format = {
                { 'topic', 'string' }, { 'key', 'string' }, { 'number', 'unsigned' }, { 'time', 'number' },
            },
            indexes = { { name = 'key', parts = { 'topic', 'key' } } },
        },
        -- what each group has done
        messages_done = {
            format = {
                { 'topic', 'string' }, { 'group', 'string' }, { 'number', 'unsigned' },
                { 'attempts', 'unsigned' }, { 'time', 'number' },
            },
            indexes = { { name = 'number', parts = { 'topic', 'group', 'number' } } },
        },
    },
    procedures = {
        ['messages.subscribe'] = { call = 'subscribe' },
        ['messages.send'] = { call = 'send' },
        ['messages.receive'] = { call = 'receive', transaction = false }, -- it waits
        ['messages.done'] = { call = 'done' },
        ['messages.fail'] = { call = 'fail' },
        ['messages.dead'] = { call = 'dead', readonly = true },
        ['messages.revive'] = { call = 'revive' },
        ['messages.status'] = { call = 'status', readonly = true },
    },
    commands = {
        ['MSG.SUBSCRIBE'] = { procedure = 'messages.subscribe', arity = -3,
            summary = 'MSG.SUBSCRIBE topic group [seconds to work on one [failures until it is dead]]' },
        ['MSG.SEND'] = { procedure = 'messages.send', arity = -4,
            summary = 'MSG.SEND topic key body [delay in seconds]' },
        ['MSG.RECEIVE'] = { procedure = 'messages.receive', arity = -3,
            summary = 'MSG.RECEIVE topic group [seconds to wait]' },
        ['MSG.DONE'] = { procedure = 'messages.done', arity = 5,
            summary = 'MSG.DONE topic group id attempt' },
        ['MSG.FAIL'] = { procedure = 'messages.fail', arity = -5,
            summary = 'MSG.FAIL topic group id attempt [delay in seconds]' },
        ['MSG.DEAD'] = { procedure = 'messages.dead', arity = 3, summary = 'MSG.DEAD topic group' },
        ['MSG.REVIVE'] = { procedure = 'messages.revive', arity = 3, summary = 'MSG.REVIVE topic group' },
        ['MSG.STATUS'] = { procedure = 'messages.status', arity = 2, summary = 'MSG.STATUS topic' },
    },
}
