// SPDX-License-Identifier: Apache-2.0
//
// Code that has stopped at a line, on a server that has other things to do: it blocks nobody, its limits hold,
// and nothing of it is left when its connection has gone.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeMultiStream, encode } from '@msgpack/msgpack';
import { Server, later, makeFolder, removeFolder } from './lib/server.mjs';

const TRANSFER = `function(from, to, amount)
    local s = box.space.accounts
    s:update(from, {{'-', 'balance', amount}})
    s:update(to, {{'+', 'balance', amount}})
    return s:get(from).balance
end`;

async function start(t, ...args) {
    const server = await Server.start({ folder: makeFolder(), args: ['--workers', '1', ...args] });
    later(t, () => removeFolder(server.folder));
    later(t, () => server.signal('SIGTERM'));
    const admin = await rpc(t, server);
    await admin.lua("box.schema.space.create('accounts', {format = {{'id', 'unsigned'}, {'balance', 'number'}}})");
    await admin.lua("box.space.accounts:create_index('pk') box.space.accounts:insert{1, 100} box.space.accounts:insert{2, 50}");
    await admin.lua(`box.schema.func.create('transfer', {body = [[${TRANSFER}]]})`);
    return { server, admin };
}

/** A connection over MessagePack-RPC: lua(text) gives the first value, or throws the error's message. */
async function rpc(t, server) {
    const wire = await server.connect();
    later(t, () => wire.close());
    const replies = decodeMultiStream(wire.socket);
    let id = 0;
    const call = async (method, ...params) => {
        wire.send(encode([0, ++id, method, params]));
        const [, , error, result] = (await replies.next()).value;
        if (error)
            throw new Error(`${error.name}: ${error.message}`);
        return result;
    };
    return { close: () => wire.close(), call, lua: (text, ...rest) => call('eval', text, ...rest) };
}

const stopAt = (client, line, text = 'box.func.transfer(1, 2, 30)') =>
    client.lua('box.debug.start(...)', text, { breakpoints: [['transfer', line]] });

test('a worker serves others while code on it has stopped, each session its own', async (t) => {
    const { server, admin } = await start(t);
    const [one, two] = [await rpc(t, server), await rpc(t, server)];
    await admin.lua('box.space.accounts:insert{3, 100} box.space.accounts:insert{4, 50}');
    assert.equal((await stopAt(one, 4)).line, 4);
    assert.equal((await stopAt(two, 3, 'box.func.transfer(3, 4, 5)')).line, 3);
    assert.deepEqual(await admin.lua('box.space.accounts:get(1)'), [1, 100]);
    assert.equal(await one.lua("box.debug.eval('amount')"), 30);
    assert.equal(await two.lua("box.debug.eval('amount')"), 5);
    await admin.lua("box.space.accounts:insert{5, 0}");
    assert.deepEqual(await one.lua("box.debug.go('continue')"), { state: 'ended', results: [70] });
    assert.equal((await two.lua("box.debug.go('next')")).line, 4);
    assert.deepEqual(await two.lua("box.debug.go('continue')"), { state: 'ended', results: [95] });
    assert.deepEqual(await admin.lua('box.space.accounts:select()'), [[1, 70], [2, 80], [3, 95], [4, 55], [5, 0]]);
});

test('nothing is left of it when its connection has gone', async (t) => {
    const { server, admin } = await start(t);
    const one = await rpc(t, server);
    await stopAt(one, 4, 'while true do pcall(box.func.transfer, 1, 2, 30) end');
    const other = await rpc(t, server);
    await other.lua("box.debug.start('while true do pcall(function() local n = 1\\n end) end', {step = true})");
    one.close();
    other.close();
    while (await admin.lua('box.stat.txn().open') > 0 ||
           await admin.lua("(function() local n = 0 for _ in pairs(require('fiber').info()) do n = n + 1 end return n end)()") > 1);
    assert.deepEqual(await admin.lua("box.space.accounts:update(1, {{'=', 'balance', 1}})"), [1, 1]);
});

test('a transaction that has stopped for too long is rolled back', async (t) => {
    const { admin, server } = await start(t, '--transaction-idle-max', '100ms');
    const one = await rpc(t, server);
    await stopAt(one, 4);
    // it waits for the lock until that is given back
    assert.deepEqual(await admin.lua("box.space.accounts:update(1, {{'+', 'balance', 1}})"), [1, 101]);
    assert.equal(await one.lua("box.debug.eval('amount')"), 30);
    await assert.rejects(one.lua("box.debug.go('continue')"), /ERROR_CANCELLED: .*cancelled/);
    assert.deepEqual(await admin.lua('box.space.accounts:select()'), [[1, 101], [2, 50]]);
});

test('the time limit ends what runs between two stops', async (t) => {
    const server = await Server.start({ folder: makeFolder(), args: ['--workers', '1', '--lua-time-max', '200ms'] });
    later(t, () => removeFolder(server.folder));
    later(t, () => server.signal('SIGTERM'));
    for (let ended = false; !ended;) ended = await limitedSteps(await rpc(t, server));
});

/** False when a step that needs little time was slow: the limit counts time, and others may have had all of it. */
async function limitedSteps(admin) {
    let slow = false;
    const quick = async (...text) => {
        const asked = performance.now();
        try {
            return await admin.lua(...text);
        } finally {
            slow ||= performance.now() - asked > 100;
        }
    };
    try {
        await steps(admin, quick);
    } catch (error) {
        if (!slow) throw error;
        admin.close();
        return false;
    }
    return true;
}

async function steps(admin, quick) {
    const text = 'local n = 1\nwhile true do pcall(function() while true do n = n + 1 end end) end';
    await assert.rejects(admin.lua('box.debug.start(...)', text, { breakpoints: [['eval', 9]] }),
        /time limit exceeded/);
    const stop = await quick('box.debug.start(...)', text, { step: true });
    assert.equal(stop.line, 1);
    await assert.rejects(admin.lua("box.debug.eval('(function() while true do end end)()')"), /ERROR_TIMEOUT/);
    assert.equal((await quick("box.debug.go('next')")).line, 2);
    assert.equal(await quick("box.debug.eval('n')"), 1);
    await quick('box.debug.breakpoints({})');
    await assert.rejects(admin.lua("box.debug.go('continue')"), /time limit exceeded/);
    assert.equal(await quick('1 + 1'), 2);
}

test('it is for those who administer', async (t) => {
    const { admin, server } = await start(t);
    await admin.lua("box.schema.user.create('bob', {password = 'builder'})");
    await admin.lua("box.schema.user.grant('bob', 'execute', 'lua_eval')");
    const bob = await rpc(t, server);
    await bob.call('auth', 'bob', 'builder');
    await assert.rejects(bob.lua("box.debug.start('1')"), /ERROR_ACCESS/);
    await assert.rejects(bob.lua('box.debug.frames()'), /ERROR_ACCESS/);
});

test('a server ends with code that has stopped', async (t) => {
    const { server } = await start(t);
    const one = await rpc(t, server);
    await stopAt(one, 4, 'while true do pcall(box.func.transfer, 1, 2, 30) end');
});
