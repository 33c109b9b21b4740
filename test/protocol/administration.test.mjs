// SPDX-License-Identifier: Apache-2.0
//
// What administrators and monitoring ask, on a server of several workers: one connection acts on
// others, settings, slow requests, MONITOR, and what redis-cli itself sends.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Server, Wire, command, later, runProgram } from './lib/server.mjs';

let server;
test.before(async () => { server = await Server.start({ args: ['--workers', '3'] }); });
test.after(() => server.stop());

async function connect(t) {
    const wire = await Wire.open(server);
    later(t, () => wire.close());
    return wire;
}

/** Several, so that there is one at each worker. */
function connectAll(t) {
    return Promise.all(Array.from({ length: 6 }, () => connect(t)));
}

async function integer(wire, ...args) {
    wire.send(command(...args));
    const line = await wire.line();
    assert.match(line, /^:-?\d+$/);
    return Number(line.slice(1));
}

async function bulk(wire, ...args) {
    wire.send(command(...args));
    const line = await wire.line();
    assert.match(line, /^\$\d+$/);
    const text = await wire.bytes(Number(line.slice(1)) + 2);
    return text.toString('latin1').slice(0, -2);
}

function cli(...args) {
    return runProgram('redis-cli', ['-p', String(server.port), ...args]);
}

test('CLIENT KILL closes connections of every worker', async (t) => {
    const [killer, ...others] = await connectAll(t);
    for (const wire of others) {
        const id = await integer(wire, 'CLIENT', 'ID');
        assert.equal(await integer(killer, 'CLIENT', 'KILL', 'ID', String(id)), 1);
        await wire.rest();
    }
    await killer.ask(command('PING'), '+PONG\r\n');
    await killer.ask(command('CLIENT', 'KILL', 'ID', String(await integer(killer, 'CLIENT', 'ID')), 'SKIPME', 'no'),
        ':1\r\n');
    assert.equal(await killer.rest(), '');
});

test('CLIENT KILL by address takes the connection of that address', async (t) => {
    const [killer, other] = await Promise.all([connect(t), connect(t)]);
    const address = /addr=(\S+)/.exec(await bulk(other, 'CLIENT', 'INFO'))[1];
    await killer.ask(command('CLIENT', 'KILL', address), '+OK\r\n');
    await other.rest();
    await killer.ask(command('CLIENT', 'KILL', address), '-ERR No such client\r\n');
});

test('a pause holds the writes of every worker until it is lifted', async (t) => {
    const [one, ...others] = await connectAll(t);
    await one.ask(command('CLIENT', 'PAUSE', '600000', 'WRITE'), '+OK\r\n');
    for (const wire of others) wire.send(command('INCR', 'paused'));
    await one.ask(command('GET', 'paused'), '$-1\r\n');
    assert.match(await bulk(one, 'INFO', 'clients'), /blocked_clients:0\r/);
    await one.ask(command('CLIENT', 'UNPAUSE'), '+OK\r\n');
    const replies = await Promise.all(others.map((wire) => wire.line()));
    assert.deepEqual(replies.sort(), [':1', ':2', ':3', ':4', ':5']);
});

test('a pause ends by itself', async (t) => {
    const [one, two] = await Promise.all([connect(t), connect(t)]);
    await one.ask(command('CLIENT', 'PAUSE', '50'), '+OK\r\n');
    await two.ask(command('PING'), '+PONG\r\n');
});

test('CLIENT UNBLOCK ends a wait for a key and a wait for a lock', async (t) => {
    const [one, two, three] = await Promise.all([connect(t), connect(t), connect(t)]);
    const ids = [await integer(two, 'CLIENT', 'ID'), await integer(three, 'CLIENT', 'ID')];
    two.send(command('BLPOP', 'nothing', '0'));
    await one.ask(command('BEGIN') + command('SET', 'locked', '1'), '+OK\r\n+OK\r\n');
    three.send(command('SET', 'locked', '2'));
    while (await integer(one, 'CLIENT', 'UNBLOCK', String(ids[0])) === 0);
    await two.expect('*-1\r\n');
    while (await integer(one, 'CLIENT', 'UNBLOCK', String(ids[1]), 'ERROR') === 0);
    await three.expect('-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n');
    await one.ask(command('ROLLBACK'), '+OK\r\n');
});

test('MONITOR shows what all workers execute', async (t) => {
    const [monitor, ...others] = await connectAll(t);
    await monitor.ask(command('MONITOR'), '+OK\r\n');
    for (const [n, wire] of others.entries()) await wire.ask(command('ECHO', `m${n}`), `$2\r\nm${n}\r\n`);
    const seen = [];
    for (let n = 0; n < others.length; n++) seen.push(/^\+\d+\.\d{6} \[0 [^\]]+\] "ECHO" "(m\d)"$/.exec(await monitor.line())[1]);
    assert.deepEqual(seen.sort(), ['m0', 'm1', 'm2', 'm3', 'm4']);
});

test('slow requests of every worker are in one log', async (t) => {
    const wires = await connectAll(t);
    await wires[0].ask(command('CONFIG', 'SET', 'slowlog-log-slower-than', '0'), '+OK\r\n');
    await wires[0].ask(command('SLOWLOG', 'RESET'), '+OK\r\n');
    for (const wire of wires) await wire.ask(command('ECHO', 'slow'), '$4\r\nslow\r\n');
    await wires[0].ask(command('CONFIG', 'SET', 'slowlog-log-slower-than', '10000'), '+OK\r\n');
    const { out } = await cli('SLOWLOG', 'GET', '-1');
    assert.equal(out.match(/^slow$/gm).length, wires.length);
});

test('CONFIG SET maxmemory bounds the memory of rows', async (t) => {
    const wire = await connect(t);
    await wire.ask(command('CONFIG', 'SET', 'maxmemory', '1'), '+OK\r\n');
    wire.send(command('SET', 'a', '1'));
    assert.match(await wire.line(), /^-OOM /);
    await wire.ask(command('CONFIG', 'SET', 'maxmemory', '0'), '+OK\r\n');
    await wire.ask(command('SET', 'a', '1'), '+OK\r\n');
});

test('a connection that is idle for longer than timeout is closed', async (t) => {
    const [one, two] = await Promise.all([connect(t), connect(t)]);
    await one.ask(command('SUBSCRIBE', 'c'), '*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n');
    const { out } = await cli('CONFIG', 'SET', 'timeout', '1');
    assert.equal(out, 'OK\n');
    await two.rest();
    // what has stood still for that long when it comes to it is closed as well: again
    while ((await cli('CONFIG', 'SET', 'timeout', '0')).out !== 'OK\n');
    await one.ask(command('PING'), '*2\r\n$4\r\npong\r\n$0\r\n\r\n');
});

test('what redis-cli and exporters ask has lines of the shapes they parse', async () => {
    await cli('SET', 'a', '1');
    const { out } = await cli('INFO', 'everything');
    for (const line of [/^cmdstat_set:calls=\d+,usec=\d+,usec_per_call=\d+\.\d\d,rejected_calls=\d+,failed_calls=\d+\r$/m,
        /^latency_percentiles_usec_set:p50=\d+\.\d{3},p99=\d+\.\d{3},p99\.9=\d+\.\d{3}\r$/m,
        /^db0:keys=\d+,expires=\d+,avg_ttl=\d+\r$/m, /^instantaneous_ops_per_sec:\d+\r$/m,
        /^used_memory_human:[\d.]+[BKMGT]\r$/m, /^redis_version:7\.2\.\d+\r$/m]) assert.match(out, line);
    const histogram = await cli('LATENCY', 'HISTOGRAM', 'set');
    assert.match(histogram.out, /^set\ncalls\n\d+\nhistogram_usec\n\d+\n\d+\n/);
    const stat = await cli('-r', '1', '-i', '0.1', 'INFO', 'keyspace');
    assert.match(stat.out, /^db0:/m);
    const keys = await cli('--memkeys');
    assert.match(keys.out, /Biggest +string found/);
});
