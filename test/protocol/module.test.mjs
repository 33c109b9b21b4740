// SPDX-License-Identifier: Apache-2.0
//
// Modules: installed into a database that is served, called by commands of their own on every worker,
// and there again after the server was killed.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import Redis from 'ioredis';
import { Server, later, makeFolder, removeFolder } from './lib/server.mjs';

function write(folder, files) {
    for (const [name, text] of Object.entries(files)) {
        fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
        fs.writeFileSync(path.join(folder, name), text);
    }
}

const manifest = (version, more = '') => `return {
    name = 'counter', version = '${version}', summary = 'Counts.',
    spaces = { counters = { format = { { 'name', 'string' }, { 'value', 'integer' } },
        indexes = { { name = 'pk', parts = { 'name' } } } } },
    procedures = { ['counter.add'] = { call = 'add' }, ['counter.sum'] = { call = 'sum', readonly = true } },
    commands = {
        ['COUNTER.ADD'] = { procedure = 'counter.add', arity = 3, summary = 'Adds to a counter.', keys = { 1, 1, 1 } },
        ['COUNTER.SUM'] = { procedure = 'counter.sum', arity = 1 },
        ${more}
    },
}`;

const code = (factor) => `
local counter = {}
function counter.add(name, number)
    number = tonumber(number) * ${factor}
    box.space.counters:upsert({ name, number }, { { '+', 2, number } })
    return box.space.counters:get(name).value
end
function counter.sum()
    local sum = 0
    for _, t in box.space.counters:pairs() do
        sum = sum + t.value
    end
    return sum
end
return counter`;

function clients(t, server, count) {
    return Array.from({ length: count }, () => {
        const redis = new Redis(server.port, '127.0.0.1', { retryStrategy: null });
        later(t, () => redis.disconnect());
        return redis;
    });
}

test('a module registers commands that every client sees', async (t) => {
    const home = makeFolder();
    later(t, () => removeFolder(home));
    const module = path.join(home, 'counter');
    const folder = path.join(home, 'var');
    write(module, { 'manifest.lua': manifest('1.0.0'), 'init.lua': code(1) });
    let server = await Server.start({ folder, args: ['--workers', '2'] });
    later(t, () => server.child.exitCode ?? server.child.signalCode ?? server.signal('SIGKILL'));
    let redises = clients(t, server, 4);
    const before = await redises[0].command('COUNT');

    await assert.rejects(redises[0].call('COUNTER.ADD', 'a', 1), /unknown command/);
    await redises[0].call('LUA', `box.module.install('${module}')`);
    assert.equal(await redises[0].command('COUNT'), before + 2);
    const sums = await Promise.all(redises.map((redis) => redis.call('counter.add', 'a', 2)));
    assert.deepEqual(sums.sort((a, b) => a - b), [2, 4, 6, 8]);
    assert.equal(await redises[1].call('COUNTER.SUM'), 8);
    assert.deepEqual(await redises[2].command('DOCS', 'counter.add'), ['counter.add',
        ['summary', 'Adds to a counter.', 'since', '1.0.0', 'group', 'module', 'module', 'counter']]);
    assert.deepEqual((await redises[2].command('LIST', 'FILTERBY', 'MODULE', 'counter')).sort(),
        ['counter.add', 'counter.sum']);
    assert.deepEqual(await redises[2].command('GETKEYS', 'COUNTER.ADD', 'key', '1'), ['key']);
    await assert.rejects(redises[3].call('COUNTER.ADD', 'a'), /wrong number of arguments for 'counter.add' command/);
    await assert.rejects(redises[3].call('COUNTER.ADD', 'a', 'x'), /arithmetic/);

    assert.deepEqual(await server.signal('SIGKILL'), { status: null, signal: 'SIGKILL' });
    server = await Server.start({ folder, args: ['--workers', '2'] });
    redises = clients(t, server, 2);
    assert.equal(await redises[0].call('COUNTER.ADD', 'a', 1), 9);

    const more = "['COUNTER.GET'] = { procedure = 'counter.add', arity = -2 },";
    write(module, { 'manifest.lua': manifest('1.1.0', more), 'init.lua': code(10) });
    await redises[0].call('LUA', `box.module.upgrade('${module}')`);
    assert.equal(await redises[1].call('COUNTER.ADD', 'a', 1), 19);
    assert.equal(await redises[1].call('COUNTER.GET', 'a', 1), 29);
    await redises[1].call('LUA', "box.module.remove('counter')");
    await assert.rejects(redises[0].call('COUNTER.ADD', 'a', 1), /unknown command/);
    assert.equal(await redises[0].call('LUA', "box.space.counters:get('a').value"), 29);
});

test('what is wrong with a module is said, and nothing of it is left', async (t) => {
    const home = makeFolder();
    later(t, () => removeFolder(home));
    write(home, {
        'counter/manifest.lua': manifest('1.0.0', "['GET'] = { procedure = 'counter.add' },"),
        'counter/init.lua': code(1),
    });
    const server = await Server.start({ folder: path.join(home, 'var') });
    later(t, () => server.stop());
    const [redis] = clients(t, server, 1);
    const install = (name) => redis.call('LUA', `box.module.install('${path.join(home, name)}')`);
    await assert.rejects(install('counter'), /GET is a command of the server/);
    assert.equal(await redis.call('LUA', 'box.space.counters == nil and #box.module.list()'), 0);
    await assert.rejects(install('nothing'), /can't be read: No such file/);
    await assert.rejects(redis.call('LUA', "require('nothing')"), /module 'nothing' is not available/);
    await assert.rejects(redis.call('LUA', "require('../etc/passwd')"), /is not available/);
});

test('what a module does in the background runs on one worker, and again after a kill', async (t) => {
    const home = makeFolder();
    later(t, () => removeFolder(home));
    const folder = path.join(home, 'var'), source = path.join(home, 'ticker');
    const ticker = (version) => write(source, {
        'manifest.lua': `return { name = 'ticker', version = '${version}', start = 'run',
            sequences = { ticker_event = {} },
            spaces = { ticker_events = { indexes = { { name = 'pk', parts = { { 1, 'unsigned' } } } } } } }`,
        'init.lua': `local fiber = require('fiber')
            local function tell(what) box.space.ticker_events:insert({ box.sequence.ticker_event:next(), what }) end
            return { run = function(background)
                tell('begun ${version}')
                pcall(function() while not background:stopping() do fiber.sleep(1000) end end)
                tell('ended ${version}')
            end }`,
    });
    const events = "(function() local r = {} for _, t in box.space.ticker_events:pairs() do r[#r + 1] = t[2] end return table.concat(r, ', ') end)()";
    const until = async (redis, expected) => {
        for (;;) {
            const seen = await redis.call('LUA', events);
            if (seen === expected) return;
            assert.ok(expected.startsWith(seen), `${seen} is not how ${expected} begins`);
        }
    };
    let server = await Server.start({ folder, args: ['--workers', '3'] });
    later(t, () => server.child.exitCode ?? server.child.signalCode ?? server.signal('SIGKILL'));
    let redises = clients(t, server, 6);
    ticker('1.0');
    await redises[5].call('LUA', `box.module.install('${source}')`);
    await until(redises[0], 'begun 1.0');
    ticker('1.1');
    await redises[4].call('LUA', `box.module.upgrade('${source}')`);
    await until(redises[1], 'begun 1.0, ended 1.0, begun 1.1');
    await server.signal('SIGKILL');
    server = await Server.start({ folder, args: ['--workers', '3'] });
    redises = clients(t, server, 6);
    await until(redises[2], 'begun 1.0, ended 1.0, begun 1.1, begun 1.1');
    await redises[3].call('LUA', "box.module.remove('ticker')");
    await until(redises[0], 'begun 1.0, ended 1.0, begun 1.1, begun 1.1, ended 1.1');
    await redises[3].call('LUA', `box.module.install('${source}')`);
    await until(redises[0], 'begun 1.0, ended 1.0, begun 1.1, begun 1.1, ended 1.1, begun 1.1');
    assert.deepEqual(await server.signal('SIGTERM'), { status: 0, signal: null }, server.error);
});
