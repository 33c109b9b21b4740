// SPDX-License-Identifier: Apache-2.0
//
// Interactive transactions between connections of different workers: who waits for whom, what a
// timeout, a deadlock and a lost connection do, and messages that go out with the commit.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { decodeMultiStream, encode, ExtData } from '@msgpack/msgpack';
import { Server, command, later, makeFolder, removeFolder } from './lib/server.mjs';

let server;
before(async () => {
    server = await Server.start({ args: ['--workers', '2'] });
});
after(() => server.stop());

async function wire(t, to = server) {
    const one = await to.connect();
    later(t, () => one.close());
    return one;
}

/** Waits until the server says that so many connections have a request that waits. */
async function blocked(observer, count) {
    for (;;) {
        observer.send(command('INFO', 'clients'));
        const size = Number((await observer.line()).slice(1));
        const text = (await observer.bytes(size + 2)).toString('latin1');
        if (text.includes(`\r\nblocked_clients:${count}\r\n`)) return;
    }
}

test('a writer waits for the transaction that holds the row, and a pipeline with it', async (t) => {
    const [one, two, three] = [await wire(t), await wire(t), await wire(t)];
    await one.ask(command('BEGIN'), '+OK\r\n');
    await one.ask(command('SET', 'held', '1'), '+OK\r\n');
    two.send(command('PING') + command('INCR', 'held') + command('INCR', 'held') + command('ECHO', 'end'));
    await two.expect('+PONG\r\n');
    await blocked(three, 1);
    await three.ask(command('GET', 'held'), '$-1\r\n');
    assert.equal(two.received.length, 0);
    await one.ask(command('COMMIT'), '+OK\r\n');
    await two.expect(':2\r\n:3\r\n$3\r\nend\r\n');
});

test('many that wait are served one after the other', async (t) => {
    const observer = await wire(t), one = await wire(t);
    const others = await Promise.all(Array.from({ length: 30 }, () => wire(t)));
    await one.ask(command('BEGIN') + command('SET', 'turns', '0'), '+OK\r\n+OK\r\n');
    for (const other of others) other.send(command('INCR', 'turns'));
    await blocked(observer, others.length);
    await one.ask(command('COMMIT'), '+OK\r\n');
    const replies = await Promise.all(others.map((other) => other.line()));
    assert.deepEqual(replies.map((reply) => Number(reply.slice(1))).sort((a, b) => a - b),
        others.map((_, n) => n + 1));
});

test('of two that wait for each other the younger loses', async (t) => {
    const [one, two, three] = [await wire(t), await wire(t), await wire(t)];
    await one.ask(command('BEGIN') + command('SET', 'd1', 'one'), '+OK\r\n+OK\r\n');
    await two.ask(command('BEGIN') + command('SET', 'd2', 'two'), '+OK\r\n+OK\r\n');
    one.send(command('SET', 'd2', 'one'));
    await blocked(three, 1);
    two.send(command('SET', 'd1', 'two'));
    assert.match(await two.line(), /^-DEADLOCK /);
    await one.expect('+OK\r\n');
    await one.ask(command('COMMIT'), '+OK\r\n');
    two.send(command('GET', 'd1'));
    assert.match(await two.line(), /^-DEADLOCK .*send ROLLBACK$/);
    await two.ask(command('ROLLBACK') + command('MGET', 'd1', 'd2'), '+OK\r\n*2\r\n$3\r\none\r\n$3\r\none\r\n');
});

test('waiting ends with the lock timeout', async (t) => {
    const [one, two] = [await wire(t), await wire(t)];
    await one.ask(command('BEGIN') + command('SET', 'slow', '1'), '+OK\r\n+OK\r\n');
    await two.ask(command('LOCKTIMEOUT', '50'), '+OK\r\n');
    two.send(command('SET', 'slow', '2') + command('PING'));
    assert.match(await two.line(), /^-LOCKTIMEOUT .*50 ms/);
    await two.expect('+PONG\r\n');
    await one.ask(command('COMMIT'), '+OK\r\n');
});

test('a connection that is lost while it waits leaves the queue', async (t) => {
    const [one, two, three, four] = [await wire(t), await wire(t), await wire(t), await wire(t)];
    await one.ask(command('BEGIN') + command('SET', 'left', 'one'), '+OK\r\n+OK\r\n');
    two.send(command('SET', 'left', 'two'));
    await blocked(four, 1);
    three.send(command('APPEND', 'left', '+three'));
    await blocked(four, 2);
    two.close();
    await blocked(four, 1);
    await one.ask(command('COMMIT'), '+OK\r\n');
    await three.expect(':9\r\n');
    await four.ask(command('GET', 'left'), '$9\r\none+three\r\n');
});

test('a connection that is lost rolls its transaction back', async (t) => {
    const [one, two] = [await wire(t), await wire(t)];
    await one.ask(command('BEGIN') + command('SET', 'gone', 'one'), '+OK\r\n+OK\r\n');
    two.send(command('SET', 'gone', 'two'));
    one.close();
    await two.expect('+OK\r\n');
});

test('a server that is stopped does not wait for those who wait', async (t) => {
    const other = await Server.start({ args: ['--workers', '2'] });
    const [one, two, three] = [await wire(t, other), await wire(t, other), await wire(t, other)];
    await one.ask(command('BEGIN') + command('SET', 'k', 'one'), '+OK\r\n+OK\r\n');
    two.send(command('SET', 'k', 'two'));
    await blocked(three, 1);
    const stopped = other.stop();
    assert.match(await two.rest(), /^-ERR cancelled while waiting for a lock|^\+OK\r\n$/);
    await stopped;
});

test('limits of the server end a transaction that is forgotten', async (t) => {
    const other = await Server.start({ args: ['--workers', '2', '--transaction_idle_max', '20ms', '--lock_timeout', '0'] });
    later(t, () => other.stop());
    const [one, two] = [await wire(t, other), await wire(t, other)];
    one.send(command('BEGIN') + command('SET', 'k', 'one'));
    await one.line();
    await one.line();
    await two.ask(command('SET', 'k', 'two'), '+OK\r\n');
    one.send(command('COMMIT'));
    assert.match(await one.line(), /idle for more than 20 ms \(transaction_idle_max\)/);
});

test('what was committed is there after a restart, what was open is not', async (t) => {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    let other = await Server.start({ folder });
    let one = await wire(t, other), two = await wire(t, other);
    await one.ask(command('BEGIN') + command('SET', 'done', '1') + command('COMMIT'), '+OK\r\n+OK\r\n+OK\r\n');
    await two.ask(command('BEGIN') + command('SET', 'open', '1'), '+OK\r\n+OK\r\n');
    await other.signal('SIGKILL');
    other = await Server.start({ folder });
    one = await wire(t, other);
    await one.ask(command('MGET', 'done', 'open'), '*2\r\n$1\r\n1\r\n$-1\r\n');
    await other.stop();
});

test('everybody hears what is published in the order of the commits', async (t) => {
    const listeners = await Promise.all(Array.from({ length: 4 }, () => wire(t)));
    for (const listener of listeners) {
        await listener.ask(command('SUBSCRIBE', 'order'), '*3\r\n$9\r\nsubscribe\r\n$5\r\norder\r\n:1\r\n');
    }
    const writers = await Promise.all(Array.from({ length: 4 }, () => wire(t)));
    const each = 50;
    await Promise.all(writers.map(async (writer) => {
        for (let n = 0; n < each; n++) {
            writer.send(command('EVAL', "local n = redis.call('INCR', 'order') redis.call('PUBLISH', 'order', n) return n", '0'));
            assert.match(await writer.line(), /^:\d+$/);
        }
    }));
    for (const listener of listeners) {
        for (let n = 1; n <= each * writers.length; n++) {
            await listener.expect(`*3\r\n$7\r\nmessage\r\n$5\r\norder\r\n$${String(n).length}\r\n${n}\r\n`);
        }
    }
});

test('a listener that does not read is cut off, and others are not', async (t) => {
    const other = await Server.start({ args: ['--workers', '2', '--subscriber_max', '1mb'] });
    later(t, () => other.stop());
    const [deaf, listener, writer] = [await wire(t, other), await wire(t, other), await wire(t, other)];
    deaf.socket.pause();
    deaf.send(command('SUBSCRIBE', 'loud'));
    await listener.ask(command('SUBSCRIBE', 'loud'), '*3\r\n$9\r\nsubscribe\r\n$4\r\nloud\r\n:1\r\n');
    const payload = 'x'.repeat(100000);
    const count = async () => { // the listener has each before the next is sent: it is never late
        writer.send(command('PUBLISH', 'loud', payload));
        const listeners = Number((await writer.line()).slice(1));
        await listener.expect(`*3\r\n$7\r\nmessage\r\n$4\r\nloud\r\n$100000\r\n${payload}\r\n`);
        return listeners;
    };
    while (await count() < 2);
    while (await count() > 1);
    assert.equal(await count(), 1);
});

class Rpc {
    static async open(t) {
        const rpc = new Rpc();
        rpc.wire = await wire(t);
        rpc.messages = decodeMultiStream(rpc.wire.socket);
        rpc.id = 0;
        return rpc;
    }

    send(stream, method, ...params) {
        if (stream !== null) params.unshift(new ExtData(1, encode({ stream })));
        this.wire.send(encode([0, ++this.id, method, params]));
        return this.id;
    }

    async next() {
        return (await this.messages.next()).value;
    }

    async result(stream, method, ...params) {
        const id = this.send(stream, method, ...params);
        const [type, answered, error, result] = await this.next();
        assert.deepEqual([type, answered, error], [1, id, null]);
        return result;
    }
}

test('streams of one connection are transactions that wait for each other', async (t) => {
    const rpc = await Rpc.open(t);
    const set = "return redis.call('SET', 'stream', ...)";
    await rpc.result(1, 'begin', { isolation: 'read committed' });
    await rpc.result(2, 'begin', { isolation: 'read committed' });
    await rpc.result(1, 'eval', set, 'first');
    const waits = rpc.send(2, 'eval', set, 'second');
    assert.equal(await rpc.result(null, 'ping'), 'pong');
    assert.equal(await rpc.result(1, 'eval', "return redis.call('GET', 'stream')"), 'first');
    const commit = rpc.send(1, 'commit');
    const answers = [await rpc.next(), await rpc.next()];
    assert.deepEqual(answers.map(([, id, error]) => [id, error]).sort(), [[waits, null], [commit, null]].sort());
    await rpc.result(2, 'commit');
    assert.equal(await rpc.result(null, 'eval', "return redis.call('GET', 'stream')"), 'second');
});

test('notifications bring what was sent by box.notify', async (t) => {
    const [rpc, other] = [await Rpc.open(t), await Rpc.open(t)];
    await rpc.result(null, 'subscribe', 'events');
    await other.result(1, 'begin');
    await other.result(1, 'eval', "box.notify('events', {kind = 'rolled back'})");
    await other.result(1, 'rollback');
    await other.result(1, 'begin');
    await other.result(1, 'eval', "box.notify('events', {kind = 'committed'})");
    await other.result(1, 'commit');
    assert.deepEqual(await rpc.next(), [2, 'message', ['events', { kind: 'committed' }]]);
});
