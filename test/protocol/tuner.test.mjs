// SPDX-License-Identifier: Apache-2.0
//
// The tuner as one sees it from outside: its options, what it shows and logs, and that it can be switched while
// the server runs. What it decides is tested elsewhere (test/unit/base/tuner_test.c, test/unit/db/tune_test.c).

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Server, command, later, makeFolder, removeFolder, run } from './lib/server.mjs';

function folderFor(t) {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    return folder;
}

const KNOB = `local tuner = box.stat.memory().tuner
local knob = tuner.knobs[ARGV[1]]
knob.on, knob.unit = tuner.on, nil
return cjson.encode(knob)`;

async function knob(wire, name) {
    wire.send(command('EVAL', KNOB, '0', name));
    const first = await wire.line();
    assert.match(first, /^\$\d+$/);
    return JSON.parse(await wire.line());
}

test('a server with the tuner on brings its knobs within their limits, and logs it', async (t) => {
    const server = await Server.start({
        folder: folderFor(t),
        args: ['--tuner', 'on', '--durability', 'interval', '--log_level', 'info',
            '--tuner_limits', 'log_flush_interval=100..200, compaction_threads=3..3'],
    });
    later(t, () => server.stop());
    const wire = await server.connect();
    later(t, () => wire.close());
    let flush;
    do flush = await knob(wire, 'log_flush_interval'); while (flush.downs === 0);
    assert.equal(flush.on, true);
    assert.deepEqual([flush.min, flush.max], [100, 200]);
    assert.ok(flush.value >= 100 && flush.value <= 200);
    let threads;
    do threads = await knob(wire, 'compaction_threads'); while (threads.ups === 0);
    assert.deepEqual(threads, { on: true, value: 3, min: 3, max: 3, ups: 1, downs: 0, reason: 'its limits are 3 and 3' });
    while (!server.error.includes('compaction_threads from')) await new Promise((resolve) => setImmediate(resolve));
    assert.match(server.error, /tuner: log_flush_interval from 1000 to 200 ms: its limits are 100 and 200\n/);
    assert.match(server.error, /tuner: compaction_threads from 2 to 3 threads: its limits are 3 and 3\n/);
    await wire.ask(command('CONFIG', 'GET', 'tuner'), '*2\r\n$5\r\ntuner\r\n$2\r\non\r\n');
});

test('a server without it leaves them as they are', async (t) => {
    const server = await Server.start({ folder: folderFor(t), args: ['--tuner_limits', 'compaction_threads=3..3'] });
    later(t, () => server.stop());
    const wire = await server.connect();
    later(t, () => wire.close());
    const threads = await knob(wire, 'compaction_threads');
    assert.deepEqual(threads, { on: false, value: 2, min: 3, max: 3, ups: 0, downs: 0, reason: '' });
    assert.doesNotMatch(server.error, /tuner/);
});

test('a file switches it while the database is open', async (t) => {
    const folder = folderFor(t);
    const file = path.join(folder, 'program.lua');
    fs.writeFileSync(file, `
        local fiber = require('fiber')
        local function show()
            local tuner = box.stat.memory().tuner
            print(box.cfg.tuner, tuner.on, tuner.knobs.compaction_threads.value, tuner.knobs.compaction_threads.reason)
        end
        show()
        box.cfg{tuner = true}
        while box.stat.memory().tuner.knobs.compaction_threads.ups == 0 do fiber.sleep(0.01) end
        show()
        box.cfg{tuner = false}
        show()
    `);
    const ended = await run(['--dir', path.join(folder, 'data'), '--tuner_limits', 'compaction_threads=4..5', file]);
    assert.equal(ended.error, '');
    const lines = ended.out.trim().split('\n');
    assert.deepEqual(lines, ['off\tfalse\t2\t', 'on\ttrue\t4\tits limits are 4 and 5', 'off\tfalse\t4\tits limits are 4 and 5']);
});

test('limits that are none are refused at the start', async (t) => {
    const folder = folderFor(t);
    const ended = await run(['serve', '--dir', folder, '--listen', '127.0.0.1:0', '--tuner_limits', 'compaction_threads=0..4']);
    assert.equal(ended.status, 1);
    assert.match(ended.error, /the limits of the tuner's compaction_threads lie between 1 and 16 threads, the lower one first: not 0\.\.4/);
});
