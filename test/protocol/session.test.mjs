// SPDX-License-Identifier: Apache-2.0
//
// What a connection keeps for itself, and what it can know of itself and of others.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeMultiStream, encode } from '@msgpack/msgpack';
import { Server, command, later, makeFolder, removeFolder } from './lib/server.mjs';

async function start(t) {
    const server = await Server.start({ folder: makeFolder(), args: ['--workers', '2'] });
    later(t, () => removeFolder(server.folder));
    later(t, () => server.signal('SIGTERM'));
    return server;
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
            throw new Error(error.message);
        return result;
    };
    return { close: () => wire.close(), call, lua: (text) => call('eval', text) };
}

test('a session keeps a storage across its requests, and no other has it', async (t) => {
    const server = await start(t);
    const [first, second] = [await rpc(t, server), await rpc(t, server)];
    await first.lua("box.schema.func.create('count', {body = [[function() " +
        'local kept = box.session.storage; kept.n = (kept.n or 0) + 1; return kept.n end]]})');
    assert.equal(await first.call('count'), 1);
    assert.equal(await first.call('count'), 2);
    assert.equal(await second.call('count'), 1);
    assert.equal(await first.lua('box.session.storage.n'), 2);
    const wire = await server.connect();
    later(t, () => wire.close());
    wire.send(command('CALL', 'count'));
    assert.equal(await wire.line(), ':1');
});

test('a storage is there when the session ends, and gone afterwards', async (t) => {
    const server = await start(t);
    const watcher = await rpc(t, server);
    await watcher.lua("box.schema.space.create('ended'):create_index('pk')");
    await watcher.lua("box.session.on_disconnect([[box.space.ended:replace{(...), box.session.storage.n or 'none'}]])");
    const kept = [];
    for (let n = 1; n <= 20; n++) {
        const other = await rpc(t, server);
        await other.lua(`box.session.storage.n = ${n}; box.session.storage.much = ('x'):rep(100000)`);
        kept.push(await other.lua('box.session.id()'));
        other.close();
    }
    for (let n = 0; n < 20; n++) {
        let row;
        while (!(row = await watcher.lua(`box.space.ended:get(${kept[n]})`)));
        assert.equal(row[1], n + 1);
    }
    for (const id of kept) while (await watcher.lua(`box.session.exists(${id})`)) /* its trigger has run, it goes */;
});

test('a session knows what it is, and who is at the other end', async (t) => {
    const server = await start(t);
    const [first, second] = [await rpc(t, server), await rpc(t, server)];
    assert.equal(await first.lua('box.session.type()'), 'binary');
    assert.match(await first.lua('box.session.peer()'), /^127\.0\.0\.1:\d+$/);
    assert.ok(await first.lua('box.session.fd()') > 2);
    const id = await second.lua('box.session.id()');
    assert.equal(await first.lua(`box.session.exists(${id})`), true);
    assert.equal(await first.lua(`box.session.peer(${id})`), await second.lua('box.session.peer()'));
    assert.equal(await second.lua("box.session.type('console')"), 'console');
    assert.equal(await second.lua('box.session.type()'), 'console');
    const wire = await server.connect();
    later(t, () => wire.close());
    wire.send(command('LUA', 'box.session.type()'));
    assert.equal(await wire.line(), '$5');
    assert.equal(await wire.line(), 'redis');
    await first.lua("box.schema.user.create('bob', {password = 'builder'})");
    await first.lua("box.schema.user.grant('bob', 'execute', 'lua_eval')");
    await second.call('auth', 'bob', 'builder');
    const own = await first.lua('box.session.id()');
    await assert.rejects(second.lua(`box.session.peer(${own})`), /for those who administer/);
    assert.equal(await second.lua(`box.session.exists(${own})`), true);
});

test('the last error is that of the request', async (t) => {
    const server = await start(t);
    const client = await rpc(t, server);
    assert.equal(await client.lua("pcall(box.error, 'one') return box.error.last().message"), 'one');
    assert.equal(await client.lua('box.error.last()'), null);
    await client.lua("box.schema.func.create('f', {body = [[function(raises) " +
        "if raises then pcall(box.error, 'two') end local last = box.error.last(); return last and last.message end]]})");
    assert.equal(await client.call('f', true), 'two');
    assert.equal(await client.call('f', false), null);
});
