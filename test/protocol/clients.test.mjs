// SPDX-License-Identifier: Apache-2.0
//
// The clients that people use: ioredis, node-redis, redis-cli and redis-benchmark.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import Redis from 'ioredis';
import { createClient } from 'redis';
import { Server, later, run, runProgram } from './lib/server.mjs';

let server;
before(async () => { server = await Server.start({ args: ['--workers', '2', '--password', 'sesame'] }); });
after(() => server.stop());

const body = `function(from, to, amount)
    redis.call('DECRBY', from, amount)
    redis.call('INCRBY', to, amount)
    return {from = redis.call('GET', from), to = redis.call('GET', to)}
end`;

test('ioredis: values, pipelines, transactions, scripts, reconnecting', async (t) => {
    const redis = new Redis(server.port, '127.0.0.1', { password: 'sesame', connectionName: 'io' });
    later(t, () => redis.disconnect());
    assert.equal(await redis.ping(), 'PONG');
    assert.equal(await redis.set('io', 'one', 'EX', 100000), 'OK');
    assert.equal(await redis.get('io'), 'one');
    assert.equal(await redis.ttl('io') > 90000, true);
    assert.deepEqual(await redis.mget('io', 'none'), ['one', null]);
    assert.equal(await redis.client('GETNAME'), 'io');
    const piped = await redis.pipeline().set('a', '1').incr('a').get('a').exec();
    assert.deepEqual(piped, [[null, 'OK'], [null, 2], [null, '2']]);
    assert.deepEqual(await redis.multi().set('b', '5').incrby('b', 3).exec(), [[null, 'OK'], [null, 8]]);
    await redis.watch('b');
    const other = redis.duplicate();
    await other.set('b', '0');
    other.disconnect();
    assert.equal(await redis.multi().set('b', '9').exec(), null);
    assert.equal(await redis.eval("return redis.call('GET', KEYS[1]) .. ARGV[1]", 1, 'io', '!'), 'one!');
    redis.defineCommand('twice', { numberOfKeys: 1, lua: "return redis.call('GET', KEYS[1]) * 2" });
    assert.equal(await redis.twice('a'), 4);
    assert.equal(await redis.twice('a'), 4);
    await assert.rejects(redis.incr('io'), /ERR value is not an integer or out of range/);
    redis.disconnect(true);
    assert.equal(await redis.get('io'), 'one');
});

/** Resolves with the messages once there are `count`. */
function messages(count, listen) {
    return new Promise((resolve) => {
        const got = [];
        listen((message) => {
            got.push(message);
            if (got.length === count) resolve(got);
        });
    });
}

test('ioredis: channels, patterns, and interactive transactions', async (t) => {
    const [listener, redis] = [0, 1].map(() => new Redis(server.port, '127.0.0.1', { password: 'sesame' }));
    later(t, () => { listener.disconnect(); redis.disconnect(); });
    assert.equal(await listener.subscribe('io:news'), 1);
    assert.equal(await listener.psubscribe('io:*'), 2);
    const came = Promise.all([
        messages(2, (add) => listener.on('message', (channel, text) => add(`${channel} ${text}`))),
        messages(2, (add) => listener.on('pmessage', (pattern, channel, text) => add(`${pattern} ${channel} ${text}`))),
    ]);
    assert.equal(await redis.publish('io:news', 'one'), 2);
    await redis.call('BEGIN', 'SERIALIZABLE');
    await redis.publish('io:news', 'never');
    assert.equal(await redis.call('ROLLBACK'), 'OK');
    await redis.call('BEGIN');
    await redis.publish('io:news', 'two');
    assert.equal(await redis.call('COMMIT'), 'OK');
    assert.deepEqual(await came, [['io:news one', 'io:news two'], ['io:* io:news one', 'io:* io:news two']]);
    assert.equal(await listener.unsubscribe('io:news'), 1);
    assert.deepEqual(await redis.pubsub('NUMSUB', 'io:news'), ['io:news', 0]);
});

test('ioredis: a hundred connections at once', async (t) => {
    const all = Array.from({ length: 100 }, () => new Redis(server.port, '127.0.0.1', { password: 'sesame' }));
    later(t, () => all.forEach((redis) => redis.disconnect()));
    const replies = await Promise.all(all.map(async (redis, n) => {
        await redis.set(`conn:${n}`, n);
        return redis.incr(`conn:${n}`);
    }));
    assert.deepEqual(replies, all.map((_, n) => n + 1));
});

for (const protocol of [2, 3]) {
    test(`node-redis with RESP${protocol}: values, transactions, scripts, procedures`, async (t) => {
        const client = createClient({ RESP: protocol, password: 'sesame', socket: { port: server.port, host: '127.0.0.1' } });
        await client.connect();
        later(t, () => client.destroy());
        const key = `node:${protocol}`;
        assert.equal(await client.set(key, 'value', { EX: 50000 }), 'OK');
        assert.equal(await client.get(key), 'value');
        assert.equal(await client.get('none'), null);
        assert.equal(await client.exists([key, 'none']), 1);
        assert.deepEqual(await client.multi().set(`${key}:m`, '1').incr(`${key}:m`).exec(), ['OK', 2]);
        assert.deepEqual(await Promise.all(Array.from({ length: 100 }, () => client.incr(`${key}:n`))),
            Array.from({ length: 100 }, (_, n) => n + 1));
        assert.equal(await client.eval("return 'script ' .. ARGV[1]", { arguments: ['ran'] }), 'script ran');
        assert.equal(await client.del(key), 1);
        const made = await client.sendCommand(['LUA', `box.schema.func.create('transfer${protocol}', {body = ...})`, body]);
        assert.equal(made, null);
        await client.mSet({ [`${key}:from`]: '10', [`${key}:to`]: '0' });
        const reply = await client.sendCommand(['CALL', `transfer${protocol}`, `${key}:from`, `${key}:to`, '4']);
        if (protocol === 3) assert.deepEqual({ ...reply }, { from: '6', to: '4' });
        assert.equal(await client.get(`${key}:to`), '4');
    });
}

for (const protocol of [2, 3]) {
    test(`node-redis with RESP${protocol}: channels and patterns`, async (t) => {
        const options = { RESP: protocol, password: 'sesame', socket: { port: server.port, host: '127.0.0.1' } };
        const [listener, client] = [createClient(options), createClient(options)];
        await Promise.all([listener.connect(), client.connect()]);
        later(t, () => { listener.destroy(); client.destroy(); });
        const channel = `node:${protocol}`;
        let add = () => {};
        const came = messages(3, (each) => { add = each; });
        await listener.subscribe(channel, (text) => add(text));
        await listener.pSubscribe(`${channel}*`, (text, name) => add(`${name} ${text}`));
        assert.equal(await client.publish(channel, 'one'), 2);
        await client.publish(`${channel}:more`, 'two');
        assert.deepEqual((await came).sort(), [`${channel} one`, `${channel}:more two`, 'one'].sort());
        await listener.unsubscribe(channel);
        await listener.pUnsubscribe(`${channel}*`);
        assert.equal(await client.publish(channel, 'nobody'), 0);
        assert.equal(String(await listener.ping()), 'PONG');
    });
}

const cli = (args, input) => runProgram('redis-cli', ['-p', String(server.port), '-a', 'sesame', '--no-auth-warning', ...args], { input });

test('redis-cli: commands from arguments and from a pipe', async () => {
    assert.equal((await cli(['SET', 'cli', 'x'])).out, 'OK\n');
    assert.equal((await cli([], 'GET cli\nINCR cli:n\nNOSUCH\n')).out,
        "x\n1\nERR unknown command 'NOSUCH', with args beginning with: \n\n");
    assert.match((await cli(['-3', 'HELLO'])).out, /proto 3/);
    assert.match((await cli(['INFO', 'server'])).out, /redis_version:7\.2/);
    assert.match((await cli(['LUA', 'return 1 + 1'])).out, /^2$/m);
});

test('redis-cli --pipe loads a stream of commands', async () => {
    const commands = Array.from({ length: 5000 }, (_, n) => `*3\r\n$3\r\nSET\r\n$5\r\np${String(n).padStart(4, '0')}\r\n$1\r\nx\r\n`).join('');
    assert.match((await cli(['--pipe', '--pipe-timeout', '0'], commands)).out, /errors: 0, replies: 5000/);
    assert.equal((await cli(['GET', 'p4999'])).out, 'x\n');
});

test('redis-benchmark runs to its end', async () => {
    const ended = await runProgram('redis-benchmark', ['-p', String(server.port), '-a', 'sesame', '-t', 'ping,set,get,incr,mset', '-n', '2000', '-P', '4', '-q', '--csv']);
    assert.equal(ended.status, 0);
    for (const name of ['PING_INLINE', 'SET', 'GET', 'INCR']) assert.match(ended.out, new RegExp(`"${name}"`));
});

test('the console runs what comes through a pipe', async (t) => {
    const open = await Server.start({});
    later(t, () => open.stop());
    const ended = await run(['console', open.address], { input: 'return 20 + 22\n' });
    assert.equal(ended.status, 0, ended.error);
    assert.match(ended.out, /42/);
});
