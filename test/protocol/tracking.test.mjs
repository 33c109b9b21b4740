// SPDX-License-Identifier: Apache-2.0
//
// Copies that clients keep, with CLIENT TRACKING, are those that the server has: whoever changes keys, however they
// are read, on whichever worker.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Server, command, later, makeFolder, removeFolder } from './lib/server.mjs';

const SEED = Number(process.env.PERIGEE_SEED ?? Date.now() % 0x7fffffff);
const ROUNDS = Number(process.env.PERIGEE_TRACKING_ROUNDS ?? 300);
const KEYS = 12;

function randomOf(seed) {
    let state = seed >>> 0 || 1;
    return (below) => {
        state ^= state << 13;
        state >>>= 0;
        state ^= state >>> 17;
        state ^= state << 5;
        state >>>= 0;
        return state % below;
    };
}

class Push {
    constructor(items) {
        [this.kind, this.names] = items;
    }
}

/** One value of RESP3. */
async function read(wire) {
    const line = await wire.line();
    const rest = line.slice(1);
    const items = async (count) => {
        const out = [];
        for (let n = 0; n < count; n++) out.push(await read(wire));
        return out;
    };
    switch (line[0]) {
    case '+': return rest;
    case '-': return new Error(rest);
    case ':': return Number(rest);
    case '_': return null;
    case '$': {
        const data = await wire.bytes(Number(rest) + 2);
        return data.subarray(0, -2).toString('latin1');
    }
    case '>': return new Push(await items(Number(rest)));
    case '%': return items(2 * Number(rest));
    default: return items(Number(rest));
    }
}

/** A client with copies of what it has read. */
class Cache {
    static async open(server, ...mode) {
        const cache = new Cache();
        cache.wire = await server.connect();
        cache.copies = new Map();
        cache.told = 0;
        await cache.ask('HELLO', '3');
        assert.equal(await cache.ask('CLIENT', 'TRACKING', 'ON', ...mode), 'OK');
        return cache;
    }

    forget({ kind, names }) {
        assert.equal(kind, 'invalidate');
        this.told++;
        for (const name of names ?? [...this.copies.keys()]) this.copies.delete(name);
        return names ?? [];
    }

    async reply() {
        for (;;) {
            const value = await read(this.wire);
            if (!(value instanceof Push)) return value;
            this.forget(value);
        }
    }

    async ask(...words) {
        this.wire.send(command(...words));
        return this.reply();
    }

    async get(name, how) {
        let value;
        if (how === 0) {
            value = await this.ask('GET', name);
        } else if (how === 1) {
            value = await this.ask('EVAL', "return redis.call('get', KEYS[1])", '1', name);
        } else {
            for (const words of how === 2 ? [['MULTI'], ['GET', name]] : [['BEGIN'], ['GET', 'other']])
                await this.ask(...words);
            value = how === 2 ? (await this.ask('EXEC'))[0] : await this.ask('GET', name);
            // what the transaction has read may be old: then it is told before the next reply, or later
            this.copies.set(name, value);
            if (how === 3) await this.ask('COMMIT');
            return;
        }
        this.copies.set(name, value);
    }

    async untilTold(name) {
        for (;;) if (this.forget(await read(this.wire)).includes(name)) return;
    }
}

/** A server, and a cache for each mode; they end with the test. */
async function begin(t, modes) {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    const server = await Server.start({ folder, args: ['--workers', '2'] });
    later(t, () => server.signal('SIGTERM'));
    const caches = [];
    for (const mode of modes) caches.push(await Cache.open(server, ...mode));
    later(t, () => caches.forEach((cache) => cache.wire.close()));
    return { server, caches };
}

async function change(wire, random) {
    const key = `k${random(KEYS)}`;
    const other = `k${random(KEYS)}`;
    const value = String(random(1e9));
    const ask = async (...words) => {
        wire.send(command(...words));
        const reply = await read(wire);
        assert.ok(!(reply instanceof Error), String(reply));
    };
    switch (random(6)) {
    case 0: return ask('SET', key, value);
    case 1: return ask('MSET', key, value, other, value);
    case 2: return ask('DEL', key, other);
    case 3: return ask('EVAL', "redis.call('set', KEYS[1], ARGV[1]) return 1", '1', key, value);
    case 4:
        for (const words of [['MULTI'], ['SET', key, value], ['COPY', key, other], ['EXEC']]) await ask(...words);
        return undefined;
    default: return ask('APPEND', key, value);
    }
}

test('what clients keep is what the server has', async (t) => {
    t.diagnostic(`PERIGEE_SEED=${SEED}`);
    const { server, caches } = await begin(t, [[], [], [], ['NOLOOP'], ['BCAST']]);
    await Promise.all(caches.map((cache) => cache.get('done', 0)));
    let writing = 3;
    const writers = [1, 2, 3].map(async (number) => {
        const random = randomOf(SEED + number);
        const wire = await server.connect();
        for (let n = 0; n < ROUNDS; n++) await change(wire, random);
        writing--;
        wire.close();
    });
    const readers = caches.map(async (cache, number) => {
        const random = randomOf(SEED + 100 + number);
        while (writing > 0) await cache.get(`k${random(KEYS)}`, random(4));
    });
    await Promise.all([...writers, ...readers]);
    const last = await server.connect();
    later(t, () => last.close());
    last.send(command('HELLO', '3'));
    await read(last);
    last.send(command('SET', 'done', '1'));
    assert.equal(await read(last), 'OK');
    await Promise.all(caches.map((cache) => cache.untilTold('done')));
    for (const cache of caches) {
        assert.ok(cache.told > 0);
        for (const [name, copy] of cache.copies) {
            if (name === 'done') continue;
            last.send(command('GET', name));
            assert.equal(copy, await read(last), name);
        }
    }
});

test('what a transaction reads from before a change that has been told is told again', async (t) => {
    const { server, caches } = await begin(t, [[], ['NOLOOP'], ['BCAST'], ['BCAST', 'PREFIX', 'k']]);
    const writer = await server.connect();
    later(t, () => writer.close());
    for (const cache of caches) {
        await cache.get('k', 0);
        await cache.ask('BEGIN');
        assert.equal(await cache.ask('GET', 'other'), null);
        writer.send(command('APPEND', 'k', 'x'));
        const size = await read(writer);
        await cache.untilTold('k');
        cache.copies.set('k', await cache.ask('GET', 'k'));
        assert.equal(String(cache.copies.get('k') ?? '').length, size - 1);
        await cache.untilTold('k');
        assert.equal(await cache.ask('COMMIT'), 'OK');
        assert.ok(!cache.copies.has('k'));
        writer.send(command('APPEND', 'other', 'x'));
        await read(writer);
        writer.send(command('DEL', 'other'));
        await read(writer);
    }
});
