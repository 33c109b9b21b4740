// SPDX-License-Identifier: Apache-2.0
//
// BullMQ, whose queues are scripts over lists, sorted sets, hashes and streams: what its guide shows,
// each thing a job that runs to its end. Nothing here depends on how long anything takes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FlowProducer, Queue, QueueEvents, UnrecoverableError, Worker } from 'bullmq';
import Redis from 'ioredis';
import { Server, later } from './lib/server.mjs';

let server;
before(async () => { server = await Server.start({ args: ['--workers', '2', '--durability', 'interval'] }); });
after(() => server.stop());

const connection = () => ({ host: '127.0.0.1', port: server.port, maxRetriesPerRequest: null });

/** A queue and a listener to its events, closed with the test. */
async function open(t, name) {
    const queue = new Queue(name, { connection: connection() });
    const events = new QueueEvents(name, { connection: connection(), lastEventId: '0' }); // misses nothing
    later(t, () => Promise.all([queue.close(), events.close()]));
    await events.waitUntilReady();
    return { queue, events };
}

// A busy machine is no reason to give a job to another worker.
const patient = { drainDelay: 1, lockDuration: 200000, stalledInterval: 200000 };

function work(t, name, process, options = {}) {
    const worker = new Worker(name, process, { connection: connection(), ...patient, ...options });
    worker.on('error', (error) => { console.log(name, error); });
    later(t, () => worker.close());
    return worker;
}

/** Resolves with what is emitted with the n-th event of that name, of those that are meant. */
function nth(emitter, event, n = 1, meant = () => true) {
    return new Promise((resolve) => {
        let seen = 0;
        emitter.on(event, (...args) => { if (meant(...args) && ++seen === n) resolve(args); });
    });
}

test('a job is added, worked on with progress and a log, and returns its value', async (t) => {
    const { queue, events } = await open(t, 'mail');
    const progress = nth(events, 'progress');
    const job = await queue.add('welcome', { to: 'user@example.org', utf8: 'żółć' });
    assert.deepEqual(await queue.getJobCounts('waiting', 'active', 'completed'), { waiting: 1, active: 0, completed: 0 });
    assert.deepEqual((await queue.getJob(job.id)).data, { to: 'user@example.org', utf8: 'żółć' });
    work(t, 'mail', async (each) => {
        await each.updateProgress(42);
        await each.log('sent');
        return { sent: each.data.to };
    });
    assert.deepEqual(await job.waitUntilFinished(events), { sent: 'user@example.org' });
    assert.equal((await progress)[0].data, 42);
    assert.deepEqual((await queue.getJobLogs(job.id)).logs, ['sent']);
    assert.equal(await (await queue.getJob(job.id)).getState(), 'completed');
});

test('jobs are taken by priority, and two hundred by several at once, each one time', async (t) => {
    const { queue } = await open(t, 'many');
    await queue.pause();
    assert.equal(await queue.isPaused(), true);
    await queue.add('low', {}, { priority: 10 });
    await queue.add('high', {}, { priority: 1 });
    await queue.add('first', {});
    const order = [];
    const one = work(t, 'many', async (job) => { order.push(job.name); });
    const three = nth(one, 'completed', 3);
    await queue.resume();
    await three;
    assert.deepEqual(order, ['first', 'high', 'low']);
    await one.close();

    const done = [];
    const all = work(t, 'many', async (job) => { done.push(job.data.n); }, { concurrency: 20 });
    const finished = nth(all, 'completed', 200);
    await queue.addBulk(Array.from({ length: 200 }, (_, n) => ({ name: 'bulk', data: { n } })));
    await finished;
    assert.deepEqual(done.sort((a, b) => a - b), Array.from({ length: 200 }, (_, n) => n));
    assert.equal((await queue.getCompleted(0, -1)).length, 203);
    assert.equal((await queue.clean(0, 1000, 'completed')).length, 203);
});

test('a delayed job waits for its time, and can be promoted', async (t) => {
    const { queue, events } = await open(t, 'later');
    const soon = await queue.add('soon', {}, { delay: 100 });
    const far = await queue.add('far', {}, { delay: 24 * 3600 * 1000 });
    assert.equal(await far.isDelayed(), true);
    work(t, 'later', async (job) => ({ early: Date.now() < job.timestamp + job.opts.delay }));
    assert.deepEqual(await soon.waitUntilFinished(events), { early: false });
    assert.equal(await queue.getDelayedCount(), 1);
    await far.promote();
    assert.deepEqual(await far.waitUntilFinished(events), { early: true });
});

test('a scheduler repeats a job until it is removed', async (t) => {
    const { queue } = await open(t, 'tick');
    const worker = work(t, 'tick', async (job) => job.data.n);
    const three = nth(worker, 'completed', 3);
    await queue.upsertJobScheduler('every', { every: 50 }, { name: 'tick', data: { n: 7 } });
    assert.equal((await three)[1], 7);
    assert.equal((await queue.getJobSchedulers()).length, 1);
    assert.equal(await queue.removeJobScheduler('every'), true);
    assert.equal((await queue.getJobSchedulers()).length, 0);
    await queue.upsertJobScheduler('cron', { pattern: '0 0 1 1 *', tz: 'UTC' }, { name: 'year' });
    assert.match(new Date((await queue.getJobScheduler('cron')).next).toISOString(), /-01-01T00:00:00.000Z$/);
});

test('a job that fails is tried again, and one that failed for good can be retried by hand', async (t) => {
    const { queue, events } = await open(t, 'flaky');
    let tries = 0, broken = true;
    work(t, 'flaky', async (job) => {
        if (job.name === 'thrice' && ++tries < 3) throw new Error(`try ${tries}`);
        if (job.name === 'broken' && broken) throw new UnrecoverableError('for good');
        return 'done';
    });
    const thrice = await queue.add('thrice', {}, { attempts: 5, backoff: { type: 'exponential', delay: 10 } });
    assert.equal(await thrice.waitUntilFinished(events), 'done');
    assert.equal((await queue.getJob(thrice.id)).attemptsMade, 3);

    const job = await queue.add('broken', {}, { attempts: 5 });
    await assert.rejects(job.waitUntilFinished(events), /for good/);
    const [failed] = await queue.getFailed();
    assert.equal(failed.failedReason, 'for good');
    broken = false;
    const completed = nth(events, 'completed', 1, (event) => event.jobId === job.id);
    await failed.retry();
    assert.equal((await completed)[0].returnvalue, 'done');
});

test('a flow: the parent runs when its children have returned', async (t) => {
    const { queue, events } = await open(t, 'parent');
    const producer = new FlowProducer({ connection: connection() });
    later(t, () => producer.close());
    const tree = await producer.add({
        name: 'sum', queueName: 'parent',
        children: [1, 2, 3].map((n) => ({ name: 'square', queueName: 'child', data: { n } })),
    });
    assert.equal(await tree.job.getState(), 'waiting-children');
    work(t, 'child', async (job) => job.data.n ** 2, { concurrency: 3 });
    work(t, 'parent', async (job) => Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, 0));
    assert.equal(await tree.job.waitUntilFinished(events), 14);
    assert.deepEqual(await queue.getJobCounts('completed', 'waiting-children'), { completed: 1, 'waiting-children': 0 });
});

test('the same id adds a job once, a worker keeps to its limit, an obliterated queue is gone', async (t) => {
    const { queue } = await open(t, 'once');
    for (let n = 0; n < 2; n++) {
        await queue.add('same', { n }, { jobId: 'one' });
        await queue.add('deduplicated', { n }, { deduplication: { id: 'key' } });
    }
    const waiting = (await queue.getWaiting()).map((job) => [job.name, job.data.n]);
    assert.deepEqual(waiting, [['same', 0], ['deduplicated', 0]]);
    const worker = work(t, 'once', async () => {}, { limiter: { max: 1, duration: 20 } });
    await nth(worker, 'completed', 2);
    await worker.close();
    await queue.obliterate();
    const redis = new Redis(server.port, '127.0.0.1');
    later(t, () => redis.disconnect());
    assert.deepEqual(await redis.keys('bull:once:*'), []);
});
