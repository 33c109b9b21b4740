// SPDX-License-Identifier: Apache-2.0
//
// Users over the wire: clients that people use log in, nobody else gets anywhere, and all of it is still so
// after the server was killed.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { decodeMultiStream, encode } from '@msgpack/msgpack';
import Redis from 'ioredis';
import { createClient } from 'redis';
import { Server, command, later, makeFolder, removeFolder, run, runProgram } from './lib/server.mjs';

const NOAUTH = '-NOAUTH Authentication required.\r\n';
const WRONG = '-WRONGPASS invalid username-password pair or user is disabled.\r\n';

/** A server that knows bob, who may read and write Redis's keys and call `double`; strangers may nothing. */
async function start(t) {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    const server = await Server.start({ folder, args: ['--workers', '2'] });
    later(t, () => server.signal('SIGTERM'));
    const wire = await server.connect();
    for (const text of [
        "box.schema.func.create('double', {body = 'function(n) return n * 2 end'})",
        "box.schema.user.create('bob', {password = 'builder'})",
        "box.schema.user.grant('bob', 'read,write', 'space', '_redis')",
        "box.schema.user.grant('bob', 'execute', 'function', 'double')",
        "box.schema.user.revoke('guest', 'super')",
    ]) {
        wire.send(command('LUA', text));
        assert.equal(await wire.line(), '$-1', text);
    }
    wire.close();
    return { folder, server };
}

async function rpc(t, server) {
    const wire = await server.connect();
    later(t, () => wire.close());
    const replies = decodeMultiStream(wire.socket);
    let id = 0;
    return {
        send: (method, ...params) => wire.send(encode([0, ++id, method, params])),
        reply: async () => (await replies.next()).value,
    };
}

test('clients log in', async (t) => {
    const { server } = await start(t);
    const io = new Redis(server.port, '127.0.0.1', { username: 'bob', password: 'builder' });
    later(t, () => io.disconnect());
    assert.equal(await io.set('k', 'v'), 'OK');
    assert.equal(await io.call('CALL', 'double', 'x').catch((error) => error.message.slice(0, 3)), 'ERR');
    await assert.rejects(io.call('LUA', 'return 1'), /NOPERM Execute access to lua_eval is denied for user 'bob'/);
    await assert.rejects(io.config('GET', '*'), /NOPERM User bob has no permissions to run the 'config\|get' command/);
    const node = createClient({ url: `redis://bob:builder@127.0.0.1:${server.port}`, RESP: 3 });
    node.on('error', () => {});
    await node.connect();
    later(t, () => node.destroy());
    assert.equal(await node.get('k'), 'v');
    const cli = await runProgram('redis-cli', ['-p', server.port, '--user', 'bob', '--pass', 'builder', 'GET', 'k']);
    assert.equal(cli.out, 'v\n');
    const wrong = createClient({ url: `redis://bob:wrong@127.0.0.1:${server.port}`, socket: { reconnectStrategy: false } });
    wrong.on('error', () => {});
    await assert.rejects(wrong.connect(), /WRONGPASS/);
});

test('MessagePack-RPC logs in, and what follows waits for it', async (t) => {
    const { server } = await start(t);
    const bob = await rpc(t, server);
    bob.send('double', 4);
    const [, , refused] = await bob.reply();
    assert.equal(refused.name, 'ERROR_ACCESS');
    assert.match(refused.message, /Execute access to function 'double' is denied for user 'guest'/);
    bob.send('auth', 'bob', 'builder');
    bob.send('call', 'double', 4); // in the same packet, perhaps
    bob.send('eval', 'return 1');
    bob.send('auth', 'bob', 'wrong');
    assert.deepEqual(await bob.reply(), [1, 2, null, true]);
    assert.deepEqual(await bob.reply(), [1, 3, null, 8]);
    assert.equal((await bob.reply())[2].name, 'ERROR_ACCESS');
    assert.match((await bob.reply())[2].message, /invalid username-password pair/);
});

test('a hundred connections log in at once while others are served', async (t) => {
    const { server } = await start(t);
    const served = await server.connect();
    const wires = await Promise.all(Array.from({ length: 100 }, () => server.connect()));
    for (const wire of wires) wire.send(command('AUTH', 'bob', 'builder') + command('GET', 'none'));
    await served.ask(command('PING'), '+PONG\r\n');
    for (const wire of wires) {
        await wire.expect('+OK\r\n$-1\r\n');
        wire.close();
    }
    served.close();
});

test('users, passwords and privileges are what they were after the server was killed', async (t) => {
    const { folder, server } = await start(t);
    await server.signal('SIGKILL');
    const again = await Server.start({ folder });
    const wire = await again.connect();
    await wire.ask(command('GET', 'k'), NOAUTH);
    await wire.ask(command('AUTH', 'bob', 'wrong'), WRONG);
    await wire.ask(command('AUTH', 'bob', 'builder') + command('SET', 'k', 'v'), '+OK\r\n+OK\r\n');
    wire.close();
    await again.signal('SIGTERM');
});

test('who can read the folder is the admin, and nobody else', async (t) => {
    const { folder, server } = await start(t);
    const key = path.join(folder, 'admin.key');
    assert.equal(fs.statSync(key).mode & 0o077, 0);
    const admin = await run(['console', server.address, '--dir', folder, '-e', 'box.session.user()']);
    assert.equal(admin.out.trim(), 'admin', admin.error);
    const stranger = await run(['console', server.address, '--dir', '/nowhere', '-e', 'box.session.user()']);
    assert.match(stranger.error, /denied for user 'guest'/);
    const bob = await run(['console', server.address, '--dir', '/nowhere', '-u', 'bob', '--password', 'builder', '-e', '1']);
    assert.match(bob.error, /denied for user 'bob'/);
    const wire = await server.connect();
    await wire.ask(command('AUTH', 'admin', ''), WRONG);
    await wire.ask(command('AUTH', 'admin', fs.readFileSync(key, 'utf8')), '+OK\r\n');
    wire.close();
    const old = fs.readFileSync(key, 'utf8');
    await server.signal('SIGTERM');
    assert.ok(!fs.existsSync(key));
    const again = await Server.start({ folder });
    const other = await again.connect();
    await other.ask(command('AUTH', 'admin', old), WRONG);
    other.close();
    await again.signal('SIGTERM');
});

test('a login that is refused is told in the log, without what was said', async (t) => {
    const { server } = await start(t);
    const wire = await server.connect();
    await wire.ask(command('AUTH', 'bob', 'swordfish'), WRONG);
    wire.close();
    await server.signal('SIGTERM');
    assert.match(server.error, /a login from 127\.0\.0\.1:\d+ as bob was refused/);
    assert.doesNotMatch(server.error, /swordfish/);
});
