// SPDX-License-Identifier: Apache-2.0
//
// Keyspace events and shard channels, as redis-cli sees them.

import assert from 'node:assert/strict';
import { spawn, execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { Server, later, makeFolder, removeFolder } from './lib/server.mjs';

async function start(t) {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    const server = await Server.start({ folder, args: ['--workers', '2'] });
    later(t, () => server.signal('SIGTERM'));
    return server;
}

function cli(server, ...words) {
    return execFileSync('redis-cli', ['-p', String(server.port), ...words], { encoding: 'utf8' }).trimEnd();
}

/** Lines that redis-cli prints while it listens. */
function listen(t, server, ...words) {
    const child = spawn('redis-cli', ['-p', String(server.port), ...words]);
    later(t, () => child.kill());
    const lines = [];
    let text = '';
    let wake = () => {};
    child.stdout.on('data', (data) => {
        text += data;
        const parts = text.split('\n');
        text = parts.pop();
        lines.push(...parts);
        wake();
    });
    return async (count) => {
        while (lines.length < count) await new Promise((resolve) => (wake = resolve));
        return lines.splice(0, count);
    };
}

/** The next events as "event key" (of __keyevent@0__:*). */
async function events(take, count) {
    const got = [];
    for (let n = 0; n < count; n++) {
        const [, , channel, key] = await take(4);
        got.push(`${channel.split(':')[1]} ${key}`);
    }
    return got;
}

test('each command tells its event, after its commit, and nothing else', async (t) => {
    const server = await start(t);
    assert.equal(cli(server, 'CONFIG', 'SET', 'notify-keyspace-events', 'EA'), 'OK');
    const take = listen(t, server, 'PSUBSCRIBE', '__keyevent@0__:*');
    await take(3);
    const steps = [
        [['SET', 'k', 'v'], ['set k']],
        [['GET', 'k'], []],
        [['APPEND', 'k', 'w'], ['append k']],
        [['SETRANGE', 'k', '0', 'x'], ['setrange k']],
        [['SETEX', 'k', '100', '5'], ['set k', 'expire k']],
        [['PERSIST', 'k'], ['persist k']],
        [['INCRBY', 'k', '2'], ['incrby k']],
        [['DECR', 'k'], ['decrby k']],
        [['INCRBYFLOAT', 'k', '1.5'], ['incrbyfloat k']],
        [['GETEX', 'k', 'EX', '100'], ['expire k']],
        [['EXPIRE', 'k', '200'], ['expire k']],
        [['GETSET', 'k', '1'], ['set k']],
        [['SETNX', 'k', '1'], []],
        [['RENAME', 'k', 'l'], ['rename_from k', 'rename_to l']],
        [['COPY', 'l', 'm'], ['copy_to m']],
        [['MSET', 'a', '1', 'b', '2'], ['set a', 'set b']],
        [['SETBIT', 'bits', '3', '1'], ['setbit bits']],
        [['GETDEL', 'a'], ['del a']],
        [['DEL', 'a', 'b', 'l'], ['del b', 'del l']],
        [['HSET', 'h', 'f', 'v'], ['hset h']],
        [['HDEL', 'h', 'f'], ['hdel h', 'del h']],
        [['EXPIRE', 'm', '-1'], ['del m']],
        [['SET', 'short', 'v', 'PX', '1'], ['set short', 'expire short', 'expired short']],
        [['EVAL', "redis.call('set', 's', 1) redis.call('del', 's')", '0'], ['set s', 'del s']],
    ];
    for (const [words, expected] of steps) {
        cli(server, ...words);
        assert.deepEqual(await events(take, expected.length), expected, words.join(' '));
    }
    cli(server, 'SET', 'end', '1');
    assert.deepEqual(await events(take, 1), ['set end']);
});

test('misses and new keys are told to those who ask for them', async (t) => {
    const server = await start(t);
    assert.equal(cli(server, 'CONFIG', 'SET', 'notify-keyspace-events', 'KEmn$'), 'OK');
    const take = listen(t, server, 'PSUBSCRIBE', '__keyevent@0__:*');
    await take(3);
    for (const [words, expected] of [
        [['GET', 'k'], ['keymiss k']],
        [['SET', 'k', '1'], ['new k', 'set k']],
        [['SET', 'k', '2'], ['set k']],
        [['MGET', 'k', 'l'], ['keymiss l']],
        [['INCR', 'l'], ['new l', 'incrby l']],
    ]) {
        cli(server, ...words);
        assert.deepEqual(await events(take, expected.length), expected, words.join(' '));
    }
});

test('an event goes to the channel of the key, of its database', async (t) => {
    const server = await start(t);
    assert.equal(cli(server, 'CONFIG', 'SET', 'notify-keyspace-events', 'K$'), 'OK');
    const take = listen(t, server, 'SUBSCRIBE', '__keyspace@3__:k');
    await take(3);
    cli(server, 'SET', 'k', '1');
    cli(server, '-n', '3', 'SET', 'k', '1');
    assert.deepEqual(await take(3), ['message', '__keyspace@3__:k', 'set']);
});

test('redis-cli listens to shard channels', async (t) => {
    const server = await start(t);
    const take = listen(t, server, 'SSUBSCRIBE', 'a');
    assert.deepEqual(await take(3), ['ssubscribe', 'a', '1']);
    assert.equal(cli(server, 'PUBSUB', 'SHARDNUMSUB', 'a'), 'a\n1');
    assert.equal(cli(server, 'PUBLISH', 'a', 'not this'), '0');
    assert.equal(cli(server, 'SPUBLISH', 'a', 'this'), '1');
    assert.deepEqual(await take(3), ['smessage', 'a', 'this']);
});
