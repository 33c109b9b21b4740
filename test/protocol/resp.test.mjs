// SPDX-License-Identifier: Apache-2.0
//
// RESP byte by byte: replies, pipelines, transactions, what is malformed, and the limits.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Server, command } from './lib/server.mjs';

let server;
before(async () => { server = await Server.start({ args: ['--workers', '2'] }); });
after(() => server.stop());

async function wire(t) {
    const one = await server.connect();
    t.after(() => one.close());
    return one;
}

test('a value that was set is got', async (t) => {
    const one = await wire(t);
    await one.ask(command('SET', 'greeting', 'hello'), '+OK\r\n');
    await one.ask(command('GET', 'greeting'), '$5\r\nhello\r\n');
    await one.ask(command('GET', 'nothing'), '$-1\r\n');
});

test('another connection sees what was acknowledged', async (t) => {
    const [one, two] = [await wire(t), await wire(t)];
    for (let n = 0; n < 50; n++) {
        await one.ask(command('SET', 'shared', String(n)), '+OK\r\n');
        await two.ask(command('GET', 'shared'), `$${String(n).length}\r\n${n}\r\n`);
    }
});

test('inline commands are commands', async (t) => {
    const one = await wire(t);
    await one.ask('PING\r\n', '+PONG\r\n');
    await one.ask('set inline "two words"\n', '+OK\r\n');
    await one.ask('get inline\r\n', '$9\r\ntwo words\r\n');
    await one.ask('\r\nPING\r\n', '+PONG\r\n');
});

test('a pipeline is answered in order', async (t) => {
    const one = await wire(t);
    const count = 10000;
    one.send(Array.from({ length: count }, (_, n) => command('SET', `p:${n % 100}`, String(n)) + command('ECHO', String(n))).join(''));
    for (let n = 0; n < count; n++) {
        await one.expect(`+OK\r\n$${String(n).length}\r\n${n}\r\n`);
    }
});

test('a connection reads its own writes while they wait for the log', async (t) => {
    const one = await wire(t);
    let sent = '', wanted = '';
    for (let n = 0; n < 500; n++) {
        sent += command('SET', 'own', String(n)) + command('GET', 'own') + command('INCR', 'own') + command('GET', 'own');
        wanted += `+OK\r\n$${String(n).length}\r\n${n}\r\n:${n + 1}\r\n$${String(n + 1).length}\r\n${n + 1}\r\n`;
    }
    await one.ask(sent, wanted);
});

test('requests that come byte by byte are put together', async (t) => {
    const one = await wire(t);
    for (const byte of command('SET', 'slow', 'x') + command('GET', 'slow')) {
        one.send(byte);
        await new Promise(setImmediate);
    }
    await one.expect('+OK\r\n$1\r\nx\r\n');
});

test('values keep every byte, also large ones', async (t) => {
    const one = await wire(t);
    const value = Buffer.alloc(5 << 20, Buffer.from(Array.from({ length: 256 }, (_, n) => n)));
    one.send(`*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$${value.length}\r\n`);
    one.send(value);
    await one.ask('\r\n', '+OK\r\n');
    await one.ask(command('GET', 'big'), `$${value.length}\r\n`);
    assert.ok((await one.bytes(value.length)).equals(value));
    await one.expect('\r\n');
});

test('a client that does not read holds nobody up', async (t) => {
    const [lazy, other] = [await wire(t), await wire(t)];
    const value = 'v'.repeat(1 << 20);
    await lazy.ask(command('SET', 'lazy', value), '+OK\r\n');
    lazy.socket.pause();
    lazy.send(command('GET', 'lazy').repeat(200));
    for (let n = 0; n < 100; n++) await other.ask(command('PING'), '+PONG\r\n');
    lazy.socket.resume();
    const reply = `$${value.length}\r\n${value}\r\n`;
    for (let n = 0; n < 200; n++) assert.equal((await lazy.bytes(reply.length)).length, reply.length);
    await lazy.ask(command('PING'), '+PONG\r\n');
});

test('large replies reach clients that keep pace with them', async (t) => {
    const wires = await Promise.all(Array.from({ length: 4 }, () => wire(t)));
    const value = 'v'.repeat(300000), reply = `$${value.length}\r\n${value}\r\n`;
    await wires[0].ask(command('SET', 'paced', value), '+OK\r\n');
    await Promise.all(wires.map(async (one) => {
        for (let n = 0; n < 20; n++) {
            one.send(command('GET', 'paced').repeat(5));
            for (let m = 0; m < 5; m++) assert.equal((await one.bytes(reply.length)).length, reply.length);
        }
    }));
});

test('MULTI runs all or nothing of what was queued', async (t) => {
    const one = await wire(t);
    await one.ask(command('MULTI') + command('SET', 'm1', '1') + command('INCR', 'm1') + command('EXEC'),
        '+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:2\r\n');
    await one.ask(command('MULTI') + command('NOSUCH'), "+OK\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n");
    await one.ask(command('EXEC'), '-EXECABORT Transaction discarded because of previous errors.\r\n');
    await one.ask(command('MULTI') + command('SET', 'm1', '9') + command('DISCARD') + command('GET', 'm1'),
        '+OK\r\n+QUEUED\r\n+OK\r\n$1\r\n2\r\n');
});

test('WATCH notices what another connection has written', async (t) => {
    const [one, two] = [await wire(t), await wire(t)];
    await one.ask(command('SET', 'watched', '1') + command('WATCH', 'watched'), '+OK\r\n+OK\r\n');
    await two.ask(command('SET', 'watched', '2'), '+OK\r\n');
    await one.ask(command('MULTI') + command('SET', 'watched', '3') + command('EXEC'), '+OK\r\n+QUEUED\r\n*-1\r\n');
    await one.ask(command('GET', 'watched'), '$1\r\n2\r\n');
});

test('increments of many connections are all counted', async (t) => {
    const wires = await Promise.all(Array.from({ length: 20 }, () => wire(t)));
    await Promise.all(wires.map(async (one) => {
        one.send(command('INCR', 'many').repeat(100));
        for (let n = 0; n < 100; n++) await one.line();
    }));
    await wires[0].ask(command('GET', 'many'), '$4\r\n2000\r\n');
});

test('HELLO changes the protocol and says who is there', async (t) => {
    const one = await wire(t);
    one.send(command('HELLO', '3'));
    assert.equal(await one.line(), '%7');
    while (await one.line() !== '*0');
    await one.ask(command('GET', 'nothing'), '_\r\n');
    await one.ask(command('HELLO', '4'), '-NOPROTO unsupported protocol version\r\n');
    one.send(command('HELLO', '2'));
    assert.equal(await one.line(), '*14');
    while (await one.line() !== '*0');
    await one.ask(command('GET', 'nothing'), '$-1\r\n');
});

for (const [what, bytes, reply] of [
    ['a length that is no number', '*x\r\n', '-ERR Protocol error: invalid multibulk length\r\n'],
    ['an argument without its dollar', '*1\r\n:4\r\nPING\r\n', "-ERR Protocol error: expected '$', got ':'\r\n"],
    ['a negative argument', '*1\r\n$-5\r\n', '-ERR Protocol error: invalid bulk length\r\n'],
    ['too many arguments', '*1048577\r\n', '-ERR Protocol error: invalid multibulk length\r\n'],
    ['an argument that is too long', '*1\r\n$999999999999\r\n', '-ERR Protocol error: invalid bulk length\r\n'],
    ['quotes that do not close', 'SET "a\r\n', '-ERR Protocol error: unbalanced quotes in request\r\n'],
    ['an inline request without end', 'x'.repeat(70000), '-ERR Protocol error: too big inline request\r\n'],
]) {
    test(`${what} is answered and the connection closed`, async (t) => {
        const one = await wire(t);
        one.send(command('PING') + bytes);
        assert.equal(await one.rest(), `+PONG\r\n${reply}`);
    });
}

test('a byte that begins neither protocol is answered and the connection closed', async (t) => {
    const one = await wire(t);
    one.send(Buffer.from([0x16, 0x03, 0x01, 0x00]));
    assert.match(await one.rest(), /^-ERR Protocol error/);
});

test('QUIT is answered before the connection closes', async (t) => {
    const one = await wire(t);
    one.send(command('SET', 'quit', '1') + command('QUIT') + command('PING'));
    assert.equal(await one.rest(), '+OK\r\n+OK\r\n');
});

test('a client that has ended its side still gets its replies', async (t) => {
    const one = await wire(t);
    one.socket.allowHalfOpen = true;
    one.socket.end(command('SET', 'half', '1') + command('GET', 'half'));
    assert.equal(await one.rest(), '+OK\r\n$1\r\n1\r\n');
});
