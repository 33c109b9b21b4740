// SPDX-License-Identifier: Apache-2.0
//
// Triggers and procedures over the wire: every worker runs them, they outlive a kill, and a procedure is
// replaced while clients call it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeMultiStream, encode } from '@msgpack/msgpack';
import Redis from 'ioredis';
import { Server, command, later, makeFolder, removeFolder } from './lib/server.mjs';

async function start(t, folder) {
    const server = await Server.start({ folder, args: ['--workers', '2'] });
    later(t, () => server.signal('SIGTERM'));
    return server;
}

async function lua(server, text) {
    const wire = await server.connect();
    wire.send(command('LUA', text));
    const line = await wire.line();
    wire.close();
    return line;
}

/** As many clients as asked for: on both workers, in all likelihood. */
function clients(t, server, count) {
    return Array.from({ length: count }, () => {
        const client = new Redis(server.port, '127.0.0.1');
        later(t, () => client.disconnect());
        return client;
    });
}

test('triggers run on every worker, keep sums right, and outlive a kill', async (t) => {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    const server = await start(t, folder);
    for (const text of [
        "box.schema.space.create('moves'):create_index('pk')",
        "box.schema.space.create('sum'):create_index('pk') box.space.sum:insert{1, 0, 0}",
        `box.space.moves:create_trigger('veto', {event = 'before_replace', when = 'new and new[2] > 90',
            body = "error('too much')"})`,
        `box.space.moves:create_trigger('add', {event = 'on_replace', body = [[
            box.space.sum:update(1, {{'+', 2, (new and new[2] or 0) - (old and old[2] or 0)}, {'+', 3, 1}})]]})`,
        `box.schema.func.create('move', {args = {'unsigned', 'unsigned'}, body = [[function(id, amount)
            box.space.moves:replace{id, amount} end]]})`,
    ]) {
        assert.match(await lua(server, text), /^(\$-1|[*%$:])/, text);
    }
    const held = new Map();
    let refused = 0, written = 0;
    await Promise.all(clients(t, server, 8).map(async (client, number) => {
        for (let turn = 0; turn < 60; turn++) {
            const id = number * 10 + (turn % 10), amount = (turn * 7 + number) % 100;
            try {
                await client.call('CALL', 'move', id, amount);
                held.set(id, amount);
                written++;
            } catch (error) {
                assert.match(error.message, /trigger veto:1: too much/);
                assert.ok(amount > 90);
                refused++;
            }
        }
    }));
    assert.ok(refused > 0);
    const sum = [...held.values()].reduce((a, b) => a + b, 0);
    const said = `box.space.sum:get(1)[2] == ${sum} and box.space.sum:get(1)[3] == ${written}`;
    assert.equal(await lua(server, said), ':1');
    await server.signal('SIGKILL');

    const again = await start(t, folder);
    assert.equal(await lua(again, said), ':1');
    assert.equal(await lua(again, '#box.schema.trigger.list()'), ':2');
    assert.match(await lua(again, 'box.space.moves:replace{1, 95}'), /^-ERR .*trigger veto:1: too much/);
    const [client] = clients(t, again, 1);
    await client.call('CALL', 'move', 1000, 5);
    assert.equal(await lua(again, `box.space.sum:get(1)[2] == ${sum + 5}`), ':1');
});

test('a procedure is replaced while clients call it', async (t) => {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    const server = await start(t, folder);
    const define = (n) => `box.schema.func.create('f', {replace = true, returns = {'unsigned', 'unsigned'},
        readonly = ${n % 2 === 0}, body = 'return ${n}, ${n}'})`;
    assert.equal(await lua(server, define(0)), '$-1');
    let going = true, answers = 0;
    const calls = clients(t, server, 6).map(async (client, number) => {
        let newest = 0;
        while (going) {
            const answer = await (number % 2 === 0 ? client.call('CALL', 'f') : client.call('FCALL', 'f', 0));
            assert.equal(answer[0], answer[1]);
            assert.ok(answer[0] >= newest);
            newest = answer[0];
            answers++;
        }
    });
    for (let n = 1; n <= 100; n++) {
        const before = answers;
        assert.equal(await lua(server, define(n)), '$-1');
        while (answers === before) {
            await new Promise((resolve) => setImmediate(resolve));
        }
    }
    going = false;
    await Promise.all(calls);
    assert.equal(await lua(server, "box.schema.func.info('f').version"), ':101');
});

test('an error over MessagePack-RPC says where in stored code it was raised', async (t) => {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    const server = await start(t, folder);
    await lua(server, "box.schema.func.create('bad', {body = [[function()\n  error('no')\nend]]})");
    const wire = await server.connect();
    later(t, () => wire.close());
    const replies = decodeMultiStream(wire.socket);
    wire.send(encode([0, 1, 'call', ['bad']]));
    const [, , error] = (await replies.next()).value;
    assert.equal(error.message, 'bad:2: no');
    assert.deepEqual([error.trace[0].file, error.trace[0].line], ['bad', 2]);
});

test('what happens at the start happens once, and a connection may be refused', async (t) => {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    const server = await start(t, folder);
    await lua(server, "box.schema.space.create('starts'):create_index('pk')");
    await lua(server, `box.schema.trigger.create('start', {event = 'on_start', body = [[
        box.space.starts:insert{box.space.starts:count() + 1}]]})`);
    await server.signal('SIGKILL');
    const again = await start(t, folder);
    const count = 'box.atomic(function() return box.space.starts:count() end)';
    while (await lua(again, count) === ':0'); // one of the workers is about to
    assert.equal(await lua(again, count), ':1');
    await lua(again, "box.schema.trigger.create('out', {event = 'on_connect', body = [[error('no')]]})");
    const refused = await again.connect();
    assert.match(await refused.line(), /^-NOPERM a trigger has refused the connection/);
    refused.close();
});
