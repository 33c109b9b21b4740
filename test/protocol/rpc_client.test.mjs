// SPDX-License-Identifier: Apache-2.0
//
// A client of MessagePack-RPC that was written from docs/protocol.md (lib/client.mjs) does all that it promises.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client, RpcError } from './lib/client.mjs';
import { Server, later } from './lib/server.mjs';

let server;
// Changes of the schema wait for the disk, which counts as time of Lua; and what is cancelled is not ended by time.
before(async () => { server = await Server.start({ args: ['--workers', '2', '--lua_time_max', '10min'] }); });
after(() => server.stop());

async function open(t) {
    const client = await Client.connect(server.port);
    later(t, () => client.close());
    return client;
}

/** A space of this test's own: {id, owner}. */
async function makeSpace(client, name) {
    await client.request('box.create_space', [name, { format: [['id', 'unsigned'], ['owner', 'string']] }]);
    assert.equal(await client.request('box.create_index', [name, 'id', { parts: ['id'] }]), 0);
    assert.equal(await client.request('box.create_index', [name, 'owner', { parts: ['owner'], unique: false }]), 1);
}

/** How many connections have a request that waits. */
async function blocked(client) {
    const text = await client.request('eval', ["return redis.call('INFO', 'clients')"]);
    return Number(/\nblocked_clients:(\d+)\r/.exec(text)[1]);
}

test('methods of box read, write and define spaces', async (t) => {
    const client = await open(t);
    const box = (method, ...params) => client.request(`box.${method}`, params);
    await makeSpace(client, 'people');
    await Promise.all(['ann', 'bob', 'ann', 'eve'].map((owner, n) => box('insert', 'people', [n + 1, owner])));
    assert.deepEqual(await box('get', 'people', 2), [2, 'bob']);
    assert.equal(await box('get', 'people', [9]), null);
    assert.deepEqual(await box('select', 'people', 'ann', { index: 'owner' }), [[1, 'ann'], [3, 'ann']]);
    assert.deepEqual(await box('select', 'people', [], { after: [2, 'bob'], limit: 1 }), [[3, 'ann']]);
    assert.equal(await box('count', 'people'), 4);
    assert.equal(await box('count', 'people', 'ann', { index: 'owner' }), 2);
    assert.deepEqual(await box('update', 'people', 1, [['=', 'owner', 'anna']]), [1, 'anna']);
    assert.deepEqual(await box('replace', 'people', [1, 'ann']), [1, 'ann']);
    assert.equal(await box('upsert', 'people', [5, 'joe'], [['=', 'owner', 'x']]), null);
    assert.deepEqual(await box('delete', 'people', 5), [5, 'joe']);
    assert.equal((await box('space', 'people')).format.length, 2);
    assert.ok((await box('spaces')).includes('people'));
    assert.equal(await box('alter_index', 'people', 'owner', { name: 'by_owner' }), true);
    assert.equal(await box('drop_index', 'people', 'by_owner'), true);
    assert.equal(await box('alter_space', 'people', { name: 'persons' }), true);
    assert.equal(await box('truncate_space', 'persons'), true);
    assert.equal(await box('count', 'persons'), 0);
    assert.equal(await box('drop_space', 'persons'), true);
    for (const [method, params, message] of [
        ['box.get', ['persons', 1], "there is no space 'persons'"],
        ['box.get', ['persons'], 'wrong number of arguments'],
        ['box.get', [1, 1], "the space's name is not a string"],
        ['box.get_many', ['persons', 1], 'the list of keys is not an array'],
        ['box.insert', ['persons', {}], 'the tuple is not an array'],
        ['box.select', ['persons', [], { size: 1 }], "there is no option 'size' here"],
        ['box.create_space', [], 'wrong number of arguments'],
        ['box.create_space', [''], 'the name of a space is a string, and not empty'],
        ['box.nosuch', [], "unknown method 'box.nosuch'"],
    ]) await assert.rejects(client.request(method, params), { message });
});

test('in a stream they are statements of its transaction', async (t) => {
    const [one, two] = [await open(t), await open(t)];
    await makeSpace(one, 'orders');
    await one.request('begin', [], { stream: 7 });
    await one.request('box.insert', ['orders', [1, 'ann']], { stream: 7 });
    assert.deepEqual(await one.request('box.get', ['orders', 1], { stream: 7 }), [1, 'ann']);
    assert.deepEqual(await one.request('box.get_many', ['orders', [[1], 2, 1]], { stream: 7 }), [[1, 'ann'], null, [1, 'ann']]);
    assert.deepEqual(await two.request('box.get_many', ['orders', [1]]), [null]);
    assert.equal(await two.request('box.count', ['orders']), 0);
    await assert.rejects(one.request('box.create_space', ['x'], { stream: 7 }), /^ERROR_INVALID: box.create_space is not allowed in a stream/);
    await one.request('commit', [], { stream: 7 });
    assert.equal(await two.request('box.count', ['orders']), 1);
    await one.request('box.drop_space', ['orders']);
});

test('a request that runs is ended by cancel, though its worker reads nothing', async (t) => {
    const [one, two] = [await open(t), await open(t)];
    const message = 'cancelled while it was running: by the client';
    const loops = ['while true do end', 'while true do pcall(function() while true do end end) end',
        'box.begin() while true do end'];
    for (const [client, loop] of [one, two].flatMap((each) => loops.map((text) => [each, text]))) {
        const running = client.request('eval', [loop]);
        const failed = assert.rejects(running, { name: 'ERROR_CANCELLED', message });
        assert.equal(await client.cancel(running), true);
        await failed;
        assert.equal(await client.request('eval', ['return 1']), 1);
    }
    const other = one.request('eval', ['for n = 1, 3e7 do end return 2']); // what is meant for another
    assert.equal(await one.cancel({ id: 999 }), false);
    assert.equal(await other, 2);
});

test('a request that has slept, and runs again, is ended by cancel as well', async (t) => {
    const client = await open(t);
    let message;
    do { // it may be asleep still
        let heard;
        const told = new Promise((resolve) => { heard = resolve; });
        const text = "box.session.push('soon') require('fiber').sleep(0.001) while true do end";
        const running = client.request('eval', [text], { onProgress: heard });
        const failed = running.then(() => assert.fail('it has no end'), (error) => { message = error.message; });
        await told;
        assert.equal(await client.cancel(running), true);
        await failed;
        assert.match(message, /cancelled while it was (sleeping|running): by the client$/);
    } while (!message.includes('running'));
    assert.equal(await client.request('eval', ['return 1']), 1);
});

test('each cancel of requests that run is told what became of its own', async (t) => {
    const client = await open(t);
    const running = [1, 2, 3].map(() => client.request('eval', ['while true do end']));
    const failed = running.map((each) => assert.rejects(each, { name: 'ERROR_CANCELLED' }));
    const answers = [running[1], { id: 999 }, running[0], running[2], running[2]].map((each) => client.cancel(each));
    assert.deepEqual(await Promise.all(answers), [true, false, true, true, false]);
    await Promise.all(failed);
});

test('what is to be done behind a rollback is done when it was a cancel', async (t) => {
    const client = await open(t);
    let undone, ready = false;
    while (!ready) { // it may be ended before it has said what is to be done
        const running = client.request('eval', [`
            undone, ready = 0, false
            box.begin()
            box.on_rollback(function() for n = 1, 3e8 do end undone = undone + 1 end)
            ready = true
            while true do end`]);
        const failed = assert.rejects(running, { name: 'ERROR_CANCELLED' });
        assert.equal(await client.cancel(running), true);
        await failed;
        [undone, ready] = await client.request('eval', ['local was = ready ready = nil return {undone or -1, was or false}']);
    }
    assert.equal(undone, 1);
});

test('a request that waits for a lock, sleeps or stands in line can be cancelled', async (t) => {
    const [one, two] = [await open(t), await open(t)];
    await makeSpace(one, 'locked');
    await one.request('box.insert', ['locked', [1, 'ann']]);
    await one.request('begin', [], { stream: 1 });
    await one.request('box.update', ['locked', 1, [['=', 2, 'bob']]], { stream: 1 });
    // alone
    const alone = two.request('box.update', ['locked', 1, [['=', 2, 'eve']]]);
    const cancelled = { name: 'ERROR_CANCELLED' };
    const failed = assert.rejects(alone, { ...cancelled, message: 'cancelled while waiting for a lock: by the client' });
    while (await blocked(one) === 0); // until then it runs
    assert.equal(await two.cancel(alone), true);
    await failed;
    // in a stream, and one behind it, which has not begun
    await two.request('begin', [], { stream: 2 });
    const first = two.request('box.update', ['locked', 1, [['=', 2, 'eve']]], { stream: 2 });
    const second = two.request('box.count', ['locked'], { stream: 2 });
    const both = [assert.rejects(first, cancelled), assert.rejects(second, { ...cancelled, message: 'cancelled before it began: by the client' })];
    assert.equal(await two.cancel(second), true);
    assert.equal(await two.cancel(first), true);
    await Promise.all(both);
    assert.equal(await two.request('box.count', ['locked'], { stream: 2 }), 1); // the transaction goes on
    await two.request('rollback', [], { stream: 2 });
    await one.request('commit', [], { stream: 1 });
    assert.deepEqual(await two.request('box.get', ['locked', 1]), [1, 'bob']);
    // asleep: it never gets to what comes behind
    const asleep = two.request('eval', ["require('fiber').sleep(1e6) box.space.locked:delete(1)"]);
    const woken = assert.rejects(asleep, { ...cancelled, message: /^cancelled while it was (sleeping|running): by the client$/ });
    while (!(await two.cancel(asleep))) { /* not yet */ }
    await woken;
    assert.equal(await two.request('box.count', ['locked']), 1);
    assert.equal(await two.cancel(asleep), false);
    assert.equal(await two.cancel({ id: 123456 }), false);
    await assert.rejects(two.request('cancel', ['x']), { message: 'cancel takes the id of a request' });
    await two.request('box.drop_space', ['locked']);
});

test('progress comes as notifications, before the response, of each request its own', async (t) => {
    const client = await open(t);
    const text = `
        local name, steps = ...
        for step = 1, steps do
            box.session.push({ name = name, step = step })
            require('fiber').sleep(0)
        end
        return name`;
    const seen = { a: [], b: [] };
    const tell = (value) => seen[value.name].push(value.step);
    const results = await Promise.all([
        client.request('eval', [text, 'a', 5], { onProgress: tell }),
        client.request('eval', [text, 'b', 3], { onProgress: tell }),
    ]);
    assert.deepEqual(results, ['a', 'b']);
    assert.deepEqual(seen, { a: [1, 2, 3, 4, 5], b: [1, 2, 3] });
    // while it goes on: it ends only when the client, having heard of it, says so
    const heard = await new Promise((resolve, reject) => {
        const request = client.request('eval', ["box.session.push('here') require('fiber').sleep(1e6)"],
            { onProgress: (value) => client.cancel(request).then(() => resolve(value), reject) });
        request.catch(() => {});
    });
    assert.equal(heard, 'here');
    // what is pushed rests on what has been written: it comes when that is durable
    await makeSpace(client, 'steps');
    const counts = [];
    await client.request('eval', [`
        for n = 1, 20 do
            box.space.steps:insert({ n, 'x' })
            box.session.push(box.space.steps:count())
            require('fiber').sleep(0)
        end`], { onProgress: (count) => counts.push(count) });
    assert.deepEqual(counts, Array.from({ length: 20 }, (_, n) => n + 1));
    await client.request('box.drop_space', ['steps']);
    await assert.rejects(client.request('eval', ['box.atomic(function() box.session.push(1) end)']),
        /a transaction has no progress to tell of/);
    client.notify('eval', ['box.session.push(1)']); // of a notification nobody is told
    assert.equal(await client.request('ping'), 'pong');
});

test('errors have a code, a name, a message, and details where they were given', async (t) => {
    const client = await open(t);
    const error = await client.request('eval', ["error({ message = 'too little', details = { needed = 5, of = { 'ann' } } })"])
        .catch((reason) => reason);
    assert.ok(error instanceof RpcError);
    assert.deepEqual({ ...error, trace: undefined },
        { code: -19, name: 'ERROR_LUA', details: { needed: 5, of: ['ann'] }, trace: undefined });
    assert.equal(error.message, 'too little');
    const slept = await client.request('eval', ["require('fiber').sleep(0) error({ message = 'late', details = { n = 1 } })"])
        .catch((reason) => reason);
    assert.deepEqual([slept.message, slept.details], ['late', { n: 1 }]);
    const plain = await client.request('eval', ["error('plain')"]).catch((reason) => reason);
    assert.equal(plain.details, undefined);
    // details that go round and round are left out, the error is not
    const round = await client.request('eval', ["local d = {} d.d = d error({ message = 'round', details = d })"])
        .catch((reason) => reason);
    assert.equal(round.message, 'round');
});

test('schema lists what can be called, with arguments and types', async (t) => {
    const client = await open(t);
    await client.request('eval', [`box.schema.func.create('transfer', {
        body = 'function(from, to, amount) return amount end', comment = 'Moves money.',
        args = { { 'from', 'unsigned' }, { 'to', 'unsigned' }, { 'amount', 'number?' } }, returns = { 'number' } })`]);
    const { methods, procedures, errors } = await client.request('schema');
    const by = (list, name) => list.find((each) => each.name === name);
    assert.deepEqual(by(methods, 'box.get'), {
        name: 'box.get',
        params: [{ name: 'space', type: 'string' }, { name: 'key', type: 'any' }, { name: 'options', type: 'map', optional: true }],
        returns: 'array?', stream: 'allowed', summary: 'A tuple by its key; options: index.',
    });
    assert.deepEqual(by(methods, 'box.get_many'), {
        name: 'box.get_many',
        params: [{ name: 'space', type: 'string' }, { name: 'keys', type: 'array' }, { name: 'options', type: 'map', optional: true }],
        returns: 'array', stream: 'allowed', summary: 'For each key its tuple, or nil; options: index.',
    });
    assert.deepEqual(by(methods, 'call').params, [{ name: 'procedure', type: 'string' }, { name: 'argument', type: 'any', repeated: true }]);
    assert.equal(by(methods, 'commit').stream, 'required');
    assert.equal(by(methods, 'box.drop_space').stream, 'refused');
    assert.deepEqual(methods.map((method) => method.name), methods.map((method) => method.name).sort());
    const transfer = by(procedures, 'transfer');
    assert.deepEqual(transfer.params.map((param) => [param.name, param.type, param.is_nullable ?? false]),
        [['from', 'unsigned', false], ['to', 'unsigned', false], ['amount', 'number', true]]);
    assert.deepEqual([transfer.summary, transfer.transaction], ['Moves money.', true]);
    assert.equal(errors.ERROR_CANCELLED, -23);
    const api = await client.api();
    assert.equal(await api.transfer(1, 2, 30), 30);
    assert.throws(() => api.transfer(1), { message: 'transfer(from: unsigned, to: unsigned, amount: number)' });
    // each method that is listed is there
    for (const { name, stream } of methods) {
        if (stream === 'required' || name === 'auth') continue;
        const answer = await client.request(name, []).catch((reason) => reason);
        assert.ok(!(answer instanceof Error) || !/^unknown method/.test(answer.message), name);
    }
});
