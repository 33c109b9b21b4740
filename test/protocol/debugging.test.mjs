// SPDX-License-Identifier: Apache-2.0
//
// Where the Lua of a busy server spends its time: profiles of a worker, of the others, of all.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Redis from 'ioredis';
import { Server, later, makeFolder, removeFolder } from './lib/server.mjs';

const WORK = `function(seconds)
    local clock = require('clock')
    local function add(n)
        local sum = 0
        for i = 1, 1000 do
            sum = sum + i % n
        end
        return sum
    end
    local deadline, sum = clock.proc() + seconds, 0
    while clock.proc() < deadline do
        sum = sum + add(7)
    end
    return 1
end`;

async function start(t) {
    const server = await Server.start({ folder: makeFolder(), args: ['--workers', '2', '--balance', 'off'] }); // each stays
    later(t, () => removeFolder(server.folder));
    later(t, () => server.signal('SIGTERM'));
    const client = () => {
        const redis = new Redis(server.port, '127.0.0.1');
        later(t, () => redis.disconnect());
        return redis;
    };
    const admin = client();
    await admin.call('LUA', `box.schema.func.create('work', {transaction = false, body = [[${WORK}]]})`);
    return { server, client, admin };
}

/** Makes a profile as soon as nobody else does. */
async function patient(redis, text) {
    for (;;) {
        try {
            return await redis.call('LUA', text);
        } catch (error) {
            if (!/one at a time/.test(error.message))
                throw error;
        }
    }
}

/** Connections until both workers have one: of each worker's number, one. */
async function onEach(client) {
    const found = new Map();
    while (found.size < 2) {
        const redis = client();
        const [own] = [].concat(await redis.call('LUA', 'return (box.debug.workers())'));
        if (!found.has(own))
            found.set(own, redis);
    }
    return found;
}

/** Keeps a worker busy until `over` says so. */
async function load(redis, over) {
    while (!over())
        await redis.call('CALL', 'work', '0.02');
}

/** What a profile shows while `busy` works: made again until there is something to see. */
async function profileUntilSeen(asker, busy, options) {
    let done = false;
    const working = load(busy, () => done);
    try {
        for (;;) {
            const folded = await asker.call('LUA', `return box.debug.profile(0.2, ${options})`);
            if (folded.includes('work:'))
                return folded;
        }
    } finally {
        done = true;
        await working;
    }
}

test('a worker is profiled from another one, with lines and functions', async (t) => {
    const { client } = await start(t);
    const workers = await onEach(client);
    for (const [asker, busy] of [[1, 2], [2, 1]]) {
        const lines = await profileUntilSeen(workers.get(asker), workers.get(busy), `{worker = ${busy}}`);
        assert.match(lines, /^work:\d+;work:\d+ \d+$|^work:\d+ \d+$|^work:\d+;/m);
        const functions = await profileUntilSeen(workers.get(asker), workers.get(busy),
            `{worker = ${busy}, mode = 'functions'}`);
        assert.match(functions, /work:/);
    }
});

test('a worker profiles itself, and all are profiled one after the other, while they serve', async (t) => {
    const { client } = await start(t);
    const workers = await onEach(client);
    await profileUntilSeen(workers.get(1), client(), "{worker = 'all'}");
    const profile = workers.get(1).call('LUA', 'return box.debug.profile(0.5)');
    const other = client();
    for (let n = 0; n < 20; n++)
        assert.equal(await other.call('CALL', 'work', '0.001'), 1);
    assert.equal(typeof await profile, 'string');
});

test('one profile is made at a time', async (t) => {
    const { client } = await start(t);
    const one = client(), two = client();
    let refused = false;
    const profiles = async () => { // anew when one was over before the other has asked
        let folded;
        do folded = await patient(one, 'return box.debug.profile(0.5)');
        while (!refused);
        return folded;
    };
    const first = profiles();
    while (!refused)
        await two.call('LUA', 'return box.debug.profile(0.001)').catch((error) => {
            assert.match(error.message, /one at a time/);
            refused = true;
        });
    assert.equal(typeof await first, 'string');
    assert.equal(typeof await two.call('LUA', 'return box.debug.profile(0.001)'), 'string');
});

test('who leaves ends the profile', async (t) => {
    const { client } = await start(t);
    const one = client(), two = client();
    await one.ping();
    patient(one, 'return box.debug.profile(600)').catch(() => {});
    for (let busy = false; !busy;)
        await two.call('LUA', 'return box.debug.profile(0.001)').catch(() => { busy = true; });
    one.disconnect();
    for (let free = false; !free;)
        await two.call('LUA', 'return box.debug.profile(0.001)').then(() => { free = true; }, () => {});
});

test('a time limit holds while a profile is made', async (t) => {
    const { client, admin } = await start(t);
    await admin.call('LUA', `box.schema.func.create('endless', {timeout = 0.1,
        body = 'function() while true do end end'})`);
    const profile = admin.call('LUA', "return box.debug.profile(1, {worker = 'all'})");
    const other = client();
    for (let n = 0; n < 5; n++)
        await assert.rejects(other.call('CALL', 'endless'), /time limit|TIMEOUT/);
    await profile;
    await assert.rejects(other.call('CALL', 'endless'), /time limit|TIMEOUT/);
});

test('only who administers makes profiles', async (t) => {
    const { server, admin } = await start(t);
    await admin.call('LUA', "box.schema.user.create('ada', {password = 'ada'})");
    await admin.call('LUA', "box.schema.user.grant('ada', 'execute', 'lua_eval')");
    const ada = new Redis(server.port, '127.0.0.1', { username: 'ada', password: 'ada' });
    later(t, () => ada.disconnect());
    await assert.rejects(ada.call('LUA', 'return box.debug.profile(0.1)'), /NOPERM/);
    await assert.rejects(ada.call('LUA', 'return box.debug.workers()'), /NOPERM/);
});
