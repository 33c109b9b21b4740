// SPDX-License-Identifier: Apache-2.0
//
// MessagePack-RPC on the same port, with npm's MessagePack.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { decodeMultiStream, encode } from '@msgpack/msgpack';
import { Server, command, later } from './lib/server.mjs';

let server;
before(async () => { server = await Server.start({ args: ['--workers', '2'] }); });
after(() => server.stop());

class Rpc {
    static async open(t) {
        const rpc = new Rpc();
        rpc.wire = await server.connect();
        rpc.replies = decodeMultiStream(rpc.wire.socket, { useBigInt64: false });
        rpc.id = 0;
        later(t, () => rpc.wire.close());
        return rpc;
    }

    send(method, ...params) {
        this.wire.send(encode([0, ++this.id, method, params]));
        return this.id;
    }

    async reply() {
        const [type, id, error, result] = (await this.replies.next()).value;
        assert.equal(type, 1);
        return { id, error, result };
    }

    async call(method, ...params) {
        const id = this.send(method, ...params);
        const reply = await this.reply();
        assert.equal(reply.id, id);
        return reply;
    }

    async result(method, ...params) {
        const { error, result } = await this.call(method, ...params);
        assert.equal(error, null, error?.message);
        return result;
    }
}

test('ping, eval and call answer', async (t) => {
    const rpc = await Rpc.open(t);
    assert.equal(await rpc.result('ping'), 'pong');
    assert.equal(await rpc.result('eval', 'local a, b = ... return a + b', 2, 3), 5);
    await rpc.result('eval', "box.schema.func.create('sum', {body = 'function(t) local s = 0 for _, n in ipairs(t) do s = s + n end return s end'})");
    assert.equal(await rpc.result('call', 'sum', [1, 2, 3]), 6);
    assert.equal(await rpc.result('sum', [4, 5]), 9);
});

test('a procedure made on one connection is there on all', async (t) => {
    const all = await Promise.all(Array.from({ length: 8 }, () => Rpc.open(t)));
    await all[0].result('eval', "box.schema.func.create('seen', {body = 'return ...'})");
    for (const rpc of all) assert.equal(await rpc.result('call', 'seen', 'by all'), 'by all');
});

test('tuples keep their types', async (t) => {
    const rpc = await Rpc.open(t);
    await rpc.result('eval', "box.schema.space.create('typed'):create_index('primary')");
    const tuple = [1, 'text', -5, 1.5, true, null, [1, [2]], { key: 'value' }];
    await rpc.result('eval', 'box.space.typed:insert(...)', tuple);
    assert.deepEqual(await rpc.result('eval', 'return box.space.typed:get(1)'), tuple);
});

test('errors have code, name and message', async (t) => {
    const rpc = await Rpc.open(t);
    const { error, result } = await rpc.call('nosuch');
    assert.equal(result, null);
    assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'name']);
    assert.equal(error.name, 'ERROR_NOT_FOUND');
    const raised = await rpc.call('eval', "error('wrong')");
    assert.equal(raised.error.name, 'ERROR_LUA');
    assert.match(raised.error.message, /wrong/);
});

test('requests may be sent before the first is answered', async (t) => {
    const rpc = await Rpc.open(t);
    const ids = new Map();
    for (let n = 0; n < 1000; n++) ids.set(rpc.send('eval', 'return ... * 2', n), n);
    for (let n = 0; n < 1000; n++) {
        const { id, error, result } = await rpc.reply();
        assert.equal(error, null);
        assert.equal(result, ids.get(id) * 2);
        ids.delete(id);
    }
});

test('a notification is executed and not answered', async (t) => {
    const rpc = await Rpc.open(t);
    rpc.wire.send(encode([2, 'eval', ["redis.call('SET', 'notified', 'yes')"]]));
    assert.equal(await rpc.result('eval', "return redis.call('GET', 'notified')"), 'yes');
});

test('RESP and MessagePack-RPC see the same data', async (t) => {
    const rpc = await Rpc.open(t);
    const wire = await server.connect();
    later(t, () => wire.close());
    await wire.ask(command('SET', 'common', 'x'), '+OK\r\n');
    assert.equal(await rpc.result('eval', "return redis.call('GET', 'common')"), 'x');
});

test('an endless loop ends with an error while others are answered', async (t) => {
    const slow = await Server.start({ args: ['--workers', '1', '--lua_time_max', '200ms'] });
    later(t, () => slow.stop());
    const [one, two] = [await slow.connect(), await slow.connect()];
    later(t, () => { one.close(); two.close(); });
    one.send(command('LUA', 'while true do pcall(function() while true do end end) end'));
    two.send(command('PING'));
    assert.match(await one.line(), /^-ERR .*time/);
    await two.expect('+PONG\r\n');
    await one.ask(command('PING'), '+PONG\r\n');
});

test('malformed messages are answered and the connection closed', async (t) => {
    for (const bytes of [encode([0, 1, 5, []]), encode([0, 'x', 'ping', []]), encode([0, 1, 'ping', 5]), [0x94, 0xc1]]) {
        const wire = await server.connect();
        later(t, () => wire.close());
        wire.send(Buffer.from(bytes));
        const text = await wire.rest();
        assert.match(text, /ERROR_PROTOCOL/);
    }
});
