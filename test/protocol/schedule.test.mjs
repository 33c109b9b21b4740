// SPDX-License-Identifier: Apache-2.0
//
// Jobs of the module schedule, while several workers look for what is due and the server is killed: a
// time runs once. What a transaction has written is there exactly once for each time of its job that is
// known to have run; what is no transaction has begun at most once.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import Redis from 'ioredis';
import { Server, later, makeFolder, removeFolder } from './lib/server.mjs';

const ROUNDS = 4;

function connect(server) {
    const redis = new Redis(server.port, '127.0.0.1', { retryStrategy: null, maxRetriesPerRequest: 0 });
    redis.on('error', () => {});
    return redis;
}

const SETUP = `
box.schema.sequence.create('beat')
for _, name in ipairs({ 'exact', 'atmost' }) do
    local s = box.schema.space.create(name, { format = { { 'id', 'unsigned' }, { 'due', 'number' } } })
    s:create_index('pk')
end
local body = [[function(name)
    -- the time that it runs for is the last that was claimed
    local run = box.space.schedule_runs:select({ name }, { iterator = 'REQ', limit = 1 })[1]
    box.space[name]:insert({ box.sequence.beat:next(), run.due })
end]]
box.schema.func.create('exact', { body = body })
box.schema.func.create('atmost', { body = body, transaction = false })
box.module.install('schedule', { options = { look = 0.01, history_max = 1000000, grace = 1000 } })
local schedule = require('schedule')
for _, name in ipairs({ 'exact', 'atmost' }) do
    schedule.create(name, { every = 0.01, func = name, args = { name }, misfire = 'all' })
end
`;

const CHECK = `
local result, limit = {}, tonumber((...))
for _, name in ipairs({ 'exact', 'atmost' }) do
    local seen, runs, without, twice, strangers = {}, 0, 0, 0, 0
    for _, t in box.space[name]:pairs() do
        twice = twice + (seen[t.due] and 1 or 0)
        seen[t.due] = true
    end
    for _, run in box.space.schedule_runs:pairs({ name }) do
        runs = runs + 1
        without = without + (seen[run.due] and 0 or 1)
        seen[run.due] = nil
    end
    for _ in pairs(seen) do strangers = strangers + 1 end
    result[#result + 1] = ('%s: twice %d, strangers %d, %s'):format(name, twice, strangers,
        name == 'exact' and 'without ' .. without or 'lost at most ' .. (without <= limit and 'so many' or without))
end
return table.concat(result, '; ')
`;

test('a time runs once, whoever looks and whenever the server is killed', async (t) => {
    const home = makeFolder();
    later(t, () => removeFolder(home));
    const folder = path.join(home, 'var');
    let server;
    later(t, () => server.child.exitCode ?? server.child.signalCode ?? server.signal('SIGKILL'));
    for (let round = 0; round < ROUNDS; round++) {
        server = await Server.start({ folder, args: ['--workers', '3'] });
        const redises = Array.from({ length: 6 }, () => connect(server));
        if (round === 0) await redises[0].call('LUA', SETUP);
        let running = true;
        // the background works on one worker, and these on all
        const others = redises.slice(1).map(async (redis) => {
            try {
                while (running) await redis.call('CALL', 'schedule.run_due');
            } catch (error) {
                if (!/closed|ECONN|EPIPE|max retries/i.test(error.message)) throw error;
            }
        });
        const count = 'box.space.exact:count() + box.space.atmost:count()';
        const before = await redises[0].call('LUA', count);
        while (await redises[0].call('LUA', count) < before + 40);
        await server.signal('SIGKILL');
        running = false;
        await Promise.all(others);
        redises.forEach((redis) => redis.disconnect());
    }
    server = await Server.start({ folder, args: ['--workers', '1'] });
    const redis = connect(server);
    await redis.call('LUA', "box.module.options('schedule', { paused = true })");
    // of a procedure that is none, a kill may lose the run of the moment
    const expected = 'exact: twice 0, strangers 0, without 0; atmost: twice 0, strangers 0, lost at most so many';
    const until = performance.now() + 60000;
    let found; // what runs when it is paused is soon done
    do {
        found = await redis.call('LUA', CHECK, ROUNDS);
    } while (found !== expected && performance.now() < until);
    assert.equal(found, expected);
    redis.disconnect();
    await server.stop().catch(() => {});
});
