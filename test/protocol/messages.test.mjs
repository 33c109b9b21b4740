// SPDX-License-Identifier: Apache-2.0
//
// The message service of examples/: producers and consumers work at once while the server is killed again
// and again. Every message whose sending was acknowledged is received by each group; no attempt is given
// to two, and no message is held by two within its time to work; what fails is among the dead letters
// after so many attempts.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import Redis from 'ioredis';
import { Server, later, makeFolder, removeFolder } from './lib/server.mjs';

const source = path.resolve('examples/messages');
const GROUPS = ['mail', 'audit'];
const FAILURES = 3, SECONDS = 0.5, KILLS = 3;
const ROUNDING = 2; // the server's clock counts milliseconds

function connect(server) {
    const redis = new Redis(server.port, '127.0.0.1', { retryStrategy: null, maxRetriesPerRequest: 0 });
    redis.on('error', () => {});
    return redis;
}

function map(list) {
    if (!Array.isArray(list)) return list;
    const out = {};
    for (let i = 0; i < list.length; i += 2) out[list[i]] = list[i + 1];
    return out;
}

/** A generator of numbers below n (mulberry32), so that a run can be repeated. */
function numbers(seed) {
    let state = seed;
    return (n) => {
        state = (state + 0x6d2b79f5) | 0;
        let t = Math.imul(state ^ (state >>> 15), 1 | state);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) % n;
    };
}

async function startAt(folder) {
    const server = await Server.start({ folder, args: ['--workers', '3'] });
    return { server, redis: connect(server) };
}

/** Runs `work` on a connection of its own until that breaks, or `work` returns true. */
async function until(server, work) {
    const redis = connect(server);
    try {
        while (!await work(redis));
    } catch (error) {
        if (!/closed|ECONN|EPIPE|max retries/i.test(error.message)) throw error;
    } finally {
        redis.disconnect();
    }
}

class Run {
    constructor(seed) {
        this.next = numbers(seed);
        this.count = 0;
        this.unsure = new Set(); // keys whose sending was not acknowledged yet: sent again
        this.acknowledged = new Map(); // key -> number
        this.received = Object.fromEntries(GROUPS.map((group) => [group, new Set()])); // keys
        this.attempts = new Set();
        this.held = new Map(); // group and id -> {from, to}: when somebody holds it for certain
        this.stopping = false;
    }

    key() {
        const [again] = this.unsure;
        return again !== undefined && this.next(2) ? again : `m${this.count++}`;
    }

    async send(redis, key = this.key()) {
        this.unsure.add(key);
        const body = key.endsWith('7') ? 'poison' : `body of ${key}`;
        const delay = this.next(4) ? [] : [0.05];
        const number = await redis.call('MSG.SEND', 'orders', key, body, ...delay);
        assert.ok(!this.acknowledged.has(key) || this.acknowledged.get(key) === number, `${key} was sent twice`);
        this.acknowledged.set(key, number);
        this.unsure.delete(key);
        return this.stopping;
    }

    async receive(redis, group) {
        const asked = performance.now();
        const message = map(await redis.call('MSG.RECEIVE', 'orders', group, 0.05));
        const answered = performance.now();
        if (message === null) return this.stopping;
        const id = `${group} ${message.id}`, attempt = `${id} ${message.attempt}`;
        assert.ok(!this.attempts.has(attempt), `attempt ${attempt} was given twice`);
        assert.ok(message.attempt <= FAILURES, `attempt ${attempt}`);
        this.attempts.add(attempt);
        const other = this.held.get(id);
        assert.ok(!other || asked < other.from || answered > other.to, `${attempt} is held by two: ${JSON.stringify({ other, asked, answered })}`);
        this.held.set(id, { from: answered, to: asked + SECONDS * 1000 - ROUNDING });
        this.received[group].add(message.key);
        const verdict = message.body === 'poison' || this.next(10) === 0 ? 'MSG.FAIL' : 'MSG.DONE';
        if (this.next(20) === 0) return this.stopping; // it forgets to report
        this.held.delete(id);
        await redis.call(verdict, 'orders', group, message.id, message.attempt)
            .catch((error) => { if (!/is over|there is no task/.test(error.message)) throw error; });
        return this.stopping;
    }

    start(server) {
        const consumers = [...GROUPS, ...GROUPS, ...GROUPS]
            .map((group) => until(server, (redis) => this.receive(redis, group)));
        const producers = [1, 2, 3].map(() => until(server, (redis) => this.send(redis)));
        return { consumers, producers };
    }
}

test('what was sent is received, also when the server is killed', async (t) => {
    const seed = Number(process.env.PERIGEE_SEED ?? Date.now() % 1000000);
    t.diagnostic(`seed ${seed}`);
    const run = new Run(seed);
    const home = makeFolder();
    later(t, () => removeFolder(home));
    let { server, redis } = await startAt(path.join(home, 'var'));
    later(t, () => server.child.exitCode ?? server.child.signalCode ?? server.signal('SIGKILL'));
    await redis.call('LUA', "box.module.install('queue', { options = { sweep_pause = 0.05 } })");
    await redis.call('LUA', `box.module.install('${source}')`);
    for (const group of GROUPS) await redis.call('MSG.SUBSCRIBE', 'orders', group, SECONDS, FAILURES);
    for (let kill = 0; kill < KILLS; kill++) {
        const before = run.acknowledged.size;
        const { consumers, producers } = run.start(server);
        while (run.acknowledged.size < before + 60) await redis.ping();
        redis.disconnect();
        await server.signal('SIGKILL');
        await Promise.all([...consumers, ...producers]);
        ({ server, redis } = await startAt(path.join(home, 'var')));
    }
    // what was not acknowledged is sent again; then the consumers get everything that is left
    for (const key of [...run.unsure]) await run.send(redis, key);
    const left = async () => {
        const status = map(await redis.call('MSG.STATUS', 'orders'));
        return GROUPS.reduce((sum, group) => {
            const { ready, delayed, taken } = map(status[group]);
            return sum + ready + delayed + taken;
        }, 0);
    };
    const last = GROUPS.map((group) => until(server, (own) => run.receive(own, group)));
    while (await left() > 0);
    run.stopping = true;
    await Promise.all(last);

    const status = map(await redis.call('MSG.STATUS', 'orders'));
    assert.ok(run.acknowledged.size >= KILLS * 60);
    for (const group of GROUPS) {
        for (const key of run.acknowledged.keys()) {
            assert.ok(run.received[group].has(key), `${key} was acknowledged, and ${group} has not got it`);
        }
        const { done, dead } = map(status[group]);
        assert.equal(done + dead, run.acknowledged.size);
        const letters = (await redis.call('MSG.DEAD', 'orders', group)).map(map);
        assert.equal(letters.length, Math.min(dead, 100));
        for (const letter of letters) assert.equal(letter.attempts, FAILURES);
        const tube = `orders/${group}/dead`; // all of them: a slow machine may let many fail
        const buried = new Set(await redis.call('LUA', `local keys = {}
            for _, task in box.space.queue_tasks.index.next:pairs({'${tube}', 'ready'}) do keys[#keys + 1] = task.payload.key end
            return keys`));
        assert.ok(letters.every((letter) => buried.has(letter.key)));
        const poisoned = [...run.acknowledged.keys()].filter((key) => key.endsWith('7'));
        for (const key of poisoned) assert.ok(buried.has(key), `${key} is no dead letter`);
        assert.equal(await redis.call('MSG.REVIVE', 'orders', group), dead);
    }
    redis.disconnect();
    await server.signal('SIGTERM');
});

test('messages wait for who asks, and what is wrong is said', async (t) => {
    const home = makeFolder();
    later(t, () => removeFolder(home));
    const { server, redis } = await startAt(path.join(home, 'var'));
    later(t, () => server.stop());
    later(t, () => redis.disconnect());
    await assert.rejects(redis.call('LUA', `box.module.install('${source}')`), /needs "queue >= 1.0", which is not installed/);
    // who waits does not look by himself
    await redis.call('LUA', "box.module.install('queue', { options = { wait_pause = 1000 } })");
    await redis.call('LUA', `box.module.install('${source}')`);
    await assert.rejects(redis.call('MSG.SEND', 'news', 'k', 'x'), /topic news has no groups/);
    await assert.rejects(redis.call('MSG.RECEIVE', 'news', 'all'), /topic news has no group all/);
    await assert.rejects(redis.call('MSG.SUBSCRIBE', 'a/b', 'all'), /a topic has a name of letters/);
    await redis.call('MSG.SUBSCRIBE', 'news', 'all');
    // one who waits is woken by one who sends on another connection, maybe another worker
    const consumers = [connect(server), connect(server), connect(server)];
    for (const consumer of consumers) later(t, () => consumer.disconnect());
    const waiting = consumers.map((consumer) => consumer.call('MSG.RECEIVE', 'news', 'all', 1000).then(map));
    await redis.call('LUA', "require('fiber').sleep(0.05)"); // most of them have begun to wait
    for (const key of ['a', 'b', 'a', 'c']) await redis.call('MSG.SEND', 'news', key, `news of ${key}`);
    const messages = await Promise.all(waiting);
    assert.deepEqual(messages.map((message) => message.key).sort(), ['a', 'b', 'c']);
    assert.equal(await redis.call('MSG.RECEIVE', 'news', 'all'), null);
    const [{ id, attempt }] = messages;
    await redis.call('MSG.DONE', 'news', 'all', id, attempt);
    await assert.rejects(redis.call('MSG.DONE', 'news', 'all', id, attempt), /there is no task/);
    assert.deepEqual(map(map(await redis.call('MSG.STATUS', 'news')).all), { dead: 0, delayed: 0, done: 1, ready: 0, taken: 2 });
});
