// SPDX-License-Identifier: Apache-2.0
//
// The process: its line, its options and their errors, locks and ports, stopping and being killed,
// limits on who may connect.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Server, Wire, command, later, makeFolder, removeFolder, run } from './lib/server.mjs';

function folderFor(t) {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    return folder;
}

async function start(t, settings) {
    const server = await Server.start(settings);
    later(t, () => server.child.exitCode ?? server.child.signalCode ?? server.stop());
    return server;
}

async function wireFor(t, server) {
    const wire = await server.connect();
    later(t, () => wire.close());
    return wire;
}

test('serve prints one line with what there is to know', async (t) => {
    const server = await start(t, { args: ['--workers', '2'] });
    assert.match(server.out, /^perigee \d+\.\d+\.\d+ ready: listening on 127\.0\.0\.1:\d+, 2 workers, dir \S+, log [\d.]+ \w+\n$/);
    assert.equal(fs.readFileSync(path.join(server.folder, 'address'), 'utf8'), `${server.address}\n`);
    await server.signal('SIGINT');
    assert.equal(server.out.split('\n').length, 2);
    assert.ok(!fs.existsSync(path.join(server.folder, 'address')));
    removeFolder(server.folder);
});

test('an orderly stop answers what was received and ends with status 0', async (t) => {
    const folder = folderFor(t);
    const server = await start(t, { folder });
    const wire = await wireFor(t, server);
    await wire.ask(command('PING'), '+PONG\r\n');
    wire.send(command('SET', 'stop', 'x').repeat(1000));
    await wire.line();
    assert.deepEqual(await server.signal('SIGTERM'), { status: 0, signal: null });
    const again = await start(t, { folder });
    const two = await wireFor(t, again);
    await two.ask(command('GET', 'stop'), '$1\r\nx\r\n');
});

/** The numbers of sockets that are closed become those of files, and the other way round. */
test('connections come and go while checkpoints are made', async (t) => {
    const server = await Server.start({ folder: folderFor(t) });
    const wire = await wireFor(t, server);
    let going = true;
    const churn = async () => {
        while (going) {
            const one = await server.connect();
            await one.ask(command('SET', 'here', 'yes'), '+OK\r\n');
            one.close();
        }
    };
    const churns = [churn(), churn(), churn(), churn()];
    for (let n = 0; n < 30; n++) {
        await wire.ask(command('SET', `key${n}`, 'x'), '+OK\r\n');
        await wire.ask(command('SAVE'), '+OK\r\n');
    }
    going = false;
    await Promise.all(churns);
    await server.stop();
});

test('SHUTDOWN is an orderly stop', async (t) => {
    const server = await start(t, { folder: folderFor(t) });
    const wire = await wireFor(t, server);
    wire.send(command('SHUTDOWN'));
    await wire.rest();
    assert.deepEqual(await server.ended, { status: 0, signal: null });
});

test('a second signal does not wait for a client that does not read', async (t) => {
    const server = await start(t, { folder: folderFor(t), args: ['--stop_time_max', '1h'] });
    const wire = await wireFor(t, server);
    await wire.ask(command('SET', 'big', 'x'.repeat(1 << 20)), '+OK\r\n');
    wire.socket.pause();
    wire.send(command('GET', 'big').repeat(100));
    const other = await wireFor(t, server);
    await other.ask(command('PING'), '+PONG\r\n');
    server.child.kill('SIGTERM');
    await other.rest(); /* it has begun to stop */
    assert.deepEqual(await server.signal('SIGTERM'), { status: 0, signal: null });
});

test('what was acknowledged is there after SIGKILL', async (t) => {
    const folder = folderFor(t);
    let server = await start(t, { folder });
    for (let round = 0; round < 3; round++) {
        const wire = await wireFor(t, server);
        await wire.ask(command('SET', `round:${round}`, 'kept') + command('INCR', 'rounds'), `+OK\r\n:${round + 1}\r\n`);
        assert.deepEqual(await server.signal('SIGKILL'), { status: null, signal: 'SIGKILL' });
        server = await start(t, { folder });
        const two = await wireFor(t, server);
        for (let n = 0; n <= round; n++) await two.ask(command('GET', `round:${n}`), '$4\r\nkept\r\n');
    }
});

test('a second server on a folder is refused', async (t) => {
    const server = await start(t, {});
    const second = await run(['serve', '--dir', server.folder, '--listen', '127.0.0.1:0']);
    assert.equal(second.status, 1);
    assert.equal(second.out, '');
    assert.match(second.error, /^perigee: .* is in use by another perigee; .*--dir\n$/);
});

test('a taken port is told in one line with port and option', async (t) => {
    const server = await start(t, {});
    const second = await run(['serve', '--dir', folderFor(t), '--listen', server.address]);
    assert.equal(second.status, 1);
    assert.equal(second.out, '');
    assert.match(second.error, new RegExp(`^perigee: port ${server.port} .*--listen.*\\n$`));
});

test('a unix socket is served, and one that was left behind is replaced', async (t) => {
    const folder = folderFor(t);
    const address = `unix:${path.join(folder, 's')}`;
    const first = await start(t, { folder, args: ['--listen', address] });
    assert.equal(first.address, address);
    await (await wireFor(t, first)).ask(command('PING'), '+PONG\r\n');
    const taken = await run(['serve', '--dir', folderFor(t), '--listen', address]);
    assert.match(taken.error, /is taken already/);
    await first.signal('SIGKILL');
    const second = await start(t, { folder, args: ['--listen', address] });
    await (await wireFor(t, second)).ask(command('PING'), '+PONG\r\n');
    await second.signal('SIGTERM');
    assert.ok(!fs.existsSync(path.join(folder, 's')));
});

test('IPv6 is served', async (t) => {
    if (!Object.values(os.networkInterfaces()).flat().some((face) => face.address === '::1')) {
        const refused = await run(['serve', '--dir', folderFor(t), '--listen', '[::1]:0']);
        assert.equal(refused.status, 1);
        assert.match(refused.error, /--listen/);
        return;
    }
    const server = await start(t, { folder: folderFor(t), args: ['--listen', '[::1]:0'] });
    assert.match(server.address, /^\[::1\]:\d+$/);
});

test('an address that others can reach needs a password', async (t) => {
    const refused = await run(['serve', '--dir', folderFor(t), '--listen', '0.0.0.0:0']);
    assert.equal(refused.status, 1);
    assert.match(refused.error, /^perigee: .*--password.*\n$/);
    const server = await start(t, { folder: folderFor(t), args: ['--listen', '0.0.0.0:0', '--password', 'sesame'] });
    const wire = await wireFor(t, server);
    await wire.ask(command('GET', 'k'), '-NOAUTH Authentication required.\r\n');
    await wire.ask(command('AUTH', 'open'), '-WRONGPASS invalid username-password pair or user is disabled.\r\n');
    await wire.ask(command('AUTH', 'sesame') + command('GET', 'k'), '+OK\r\n$-1\r\n');
    assert.equal(fs.readFileSync(path.join(server.folder, 'address'), 'utf8'), `127.0.0.1:${server.port}\n`);
});

test('connections beyond clients_max are told so', async (t) => {
    const server = await start(t, { folder: folderFor(t), args: ['--clients_max', '3'] });
    const wires = [];
    for (let n = 0; n < 3; n++) {
        wires.push(await wireFor(t, server));
        await wires[n].ask(command('PING'), '+PONG\r\n');
    }
    const refused = await wireFor(t, server);
    assert.equal(await refused.rest(), '-ERR max number of clients reached\r\n');
    wires[0].send(command('QUIT'));
    await wires[0].rest();
    for (;;) { /* its place is free a moment later */
        const next = await wireFor(t, server);
        next.send(command('PING'));
        if (await next.line() === '+PONG') break;
    }
});

test('five hundred connections are served at once', async (t) => {
    const server = await start(t, { folder: folderFor(t) });
    const wires = await Promise.all(Array.from({ length: 500 }, () => wireFor(t, server)));
    for (const [n, wire] of wires.entries()) wire.send(command('SET', `c:${n}`, String(n)) + command('GET', `c:${n}`));
    for (const [n, wire] of wires.entries()) await wire.expect(`+OK\r\n$${String(n).length}\r\n${n}\r\n`);
});

test('a request beyond request_max is refused', async (t) => {
    const server = await start(t, { folder: folderFor(t), args: ['--request_max', '1kb'] });
    const wire = await wireFor(t, server);
    await wire.ask(command('SET', 'k', 'x'.repeat(1024)), '+OK\r\n');
    wire.send(command('SET', 'k', 'x'.repeat(1025)));
    assert.equal(await wire.rest(), '-ERR Protocol error: invalid bulk length\r\n');
});

test('writes that need memory are refused at memory_max, reads and deletes go on', async (t) => {
    const server = await start(t, { folder: folderFor(t), args: ['--memory_max', '4mb'] });
    const wire = await wireFor(t, server);
    const value = 'x'.repeat(100000);
    let reply = '+OK', n = 0;
    for (; reply === '+OK' && n < 200; n++) {
        wire.send(command('SET', `k:${n}`, value));
        reply = await wire.line();
    }
    assert.match(reply, /^-OOM /);
    await wire.ask(command('GET', 'k:0'), `$${value.length}\r\n${value}\r\n`);
    await wire.ask(command('DEL', 'k:0'), ':1\r\n');
});

test('options come from file, environment and command line, the latter before the former', async (t) => {
    const folder = folderFor(t);
    const file = path.join(folder, 'options.lua');
    fs.writeFileSync(file, "return {workers = 3, durability = 'none', clients_max = 77}\n");
    const server = await start(t, {
        folder, args: ['--workers', '1'],
        env: { PERIGEE_CONFIG: file, PERIGEE_WORKERS: '2', PERIGEE_DURABILITY: 'interval' },
    });
    assert.match(server.out, /, 1 worker, /);
    const wire = await wireFor(t, server);
    await wire.ask(command('CONFIG', 'GET', 'durability'), '*2\r\n$10\r\ndurability\r\n$8\r\ninterval\r\n');
    await wire.ask(command('CONFIG', 'GET', 'clients_max'), '*2\r\n$11\r\nclients_max\r\n$2\r\n77\r\n');
});

for (const [what, args, env, error] of [
    ['an unknown option', ['serve', '--lsten', 'x'], {}, /no option 'lsten'; did you mean 'listen'\?/],
    ['an unknown variable', ['serve'], { PERIGEE_DRI: 'x' }, /PERIGEE_DRI: .*did you mean 'dir'\?/],
    ['a bad value', ['serve', '--durability', 'maybe'], {}, /commit, interval or none, not 'maybe'/],
    ['a missing value', ['serve', '--dir'], {}, /--dir needs a value/],
    ['a missing file of options', ['serve', '--config', '/nowhere.lua'], {}, /\/nowhere\.lua/],
    ['an argument too many', ['serve', 'now'], {}, /'now'/],
    ['an address that is none', ['serve', '--listen', 'here'], {}, /'here' is no address/],
    ['an unknown command', ['sevre'], {}, /did you mean 'serve'\?/],
    ['a file that is not there', ['nowhere.lua'], {}, /there is no file nowhere\.lua/],
]) {
    test(`${what} is an error that says what would be right`, async (t) => {
        const ended = await run(args, { env: { PERIGEE_DIR: folderFor(t), ...env } });
        assert.equal(ended.status, 1);
        assert.equal(ended.out, '');
        assert.match(ended.error, error);
        assert.equal(ended.error.split('\n').length, 2, 'one line');
    });
}

test('help shows all commands, or one', async () => {
    for (const words of [['help'], ['--help'], ['-h'], []]) {
        const all = await run(words);
        assert.equal(all.status, 0);
        for (const name of ['serve', 'console', 'test', 'wal', 'backup', 'restore', 'check', 'options', 'version'])
            assert.match(all.out, new RegExp(`^perigee ${name} `, 'm'));
    }
    for (const words of [['help', 'serve'], ['serve', '--help'], ['serve', '-h']]) {
        const one = await run(words);
        assert.equal(one.status, 0);
        assert.match(one.out, /^perigee serve .*serve a database until SIGTERM or SIGINT\n\n  --dir FOLDER /);
    }
    for (const [name, word] of [['test', '-j N'], ['wal', 'verify'], ['run', 'cat FILE'], ['backup', '--connect'],
        ['restore', '--archive'], ['check', '--past-gaps'], ['load', '--create'], ['dump', '--format'], ['console', '-o FORMAT']])
        assert.match((await run([name, '--help'])).out, new RegExp(`^perigee ${name} [^]*\n  .*${word}`));
    for (const words of [['help', 'srve'], ['srve']]) {
        const wrong = await run(words);
        assert.equal(wrong.status, 1);
        assert.match(wrong.error, /there is no command 'srve'; did you mean 'serve'\?/);
    }
});

test('version says what is in use of what can fall back', async (t) => {
    const { status, out } = await run(['version'], { env: { PERIGEE_DIR: folderFor(t) } });
    assert.equal(status, 0);
    assert.match(out, /^perigee \d+\.\d+\.\d+\nlua +LuaJIT .*\nio +(io_uring|threads).*\nfiles +(direct|buffered).*\nkernels +(scalar|sse4\.2|avx2|avx512)\n$/);
});

test('INFO says what is in use of what can fall back', async (t) => {
    const server = await start(t, { folder: folderFor(t) });
    const wire = await wireFor(t, server);
    wire.send(command('INFO', 'perigee'));
    const text = (await wire.bytes(Number((await wire.line()).slice(1)))).toString();
    assert.match(text, /luajit:LuaJIT/);
    assert.match(text, /log_writes:(io_uring|threads)/);
    assert.match(text, /log_files:(direct|buffered)/);
    assert.match(text, /file_operations:(io_uring|threads)/);
});

test('a file runs with box at hand and keeps what it has done', async (t) => {
    const folder = folderFor(t);
    const file = path.join(folder, 'program.lua');
    fs.writeFileSync(file, `
        local name, exit = ...
        box.cfg{memory_max = '1gb', lua_time_max = '7s'}
        local space = box.schema.space.create('visits', {if_not_exists = true})
        if not space.index.primary then space:create_index('primary') end
        local row = space:get(1)
        space:replace{1, (row and row[2] or 0) + 1}
        print(name, arg[0] ~= nil, box.cfg.lua_time_max, space:get(1)[2])
        if exit then os.exit(tonumber(exit)) end
    `);
    const env = { PERIGEE_DIR: path.join(folder, 'data') };
    assert.deepEqual(await run([file, 'one'], { env }), { status: 0, signal: null, out: 'one\ttrue\t7s\t1\n', error: '' });
    assert.deepEqual(await run([file, 'two', '3'], { env }), { status: 3, signal: null, out: 'two\ttrue\t7s\t2\n', error: '' });
    assert.equal((await run(['--dir', env.PERIGEE_DIR, file, 'three'])).out, 'three\ttrue\t7s\t3\n');
    const log = await run(['wal', env.PERIGEE_DIR]);
    const tuples = log.out.trim().split('\n').map(JSON.parse).flatMap((record) => record.operations)
        .filter((operation) => operation.space === 512).map((operation) => [operation.key, operation.tuple]);
    assert.deepEqual(tuples, [[[1], [1, 1]], [[1], [1, 2]], [[1], [1, 3]]]);
});

// What a file of Lua prints, in a folder of its own.
async function printed(t, text, args = []) {
    const folder = folderFor(t);
    const file = path.join(folder, 'program.lua');
    fs.writeFileSync(file, text);
    const ended = await run(['--dir', path.join(folder, 'data'), ...args, file]);
    assert.equal(ended.error, '');
    return ended.out.trim().split('\n');
}

// Rows that have left memory are read, three megabytes of them at one a second.
const READ_SLOWLY = `
    local events = box.schema.space.create('events', {engine = 'lsm', compression = 'none'})
    events:create_index('pk')
    for i = 1, 1500 do events:insert{i, ('x'):rep(2000)} end
    box.checkpoint()
    print(box.stat.io.user.rate, box.stat.io.user.throttled)
    box.cfg{user_rate = '1mb'}
    local before = box.stat.io.user.throttled
    print(box.stat.io.user.rate, events:count() == 1500, box.stat.io.user.throttled > before)
    box.cfg{user_rate = 0}
    print(box.stat.io.user.rate)
`;

test('a file changes what may change at any time', async (t) => {
    assert.deepEqual(await printed(t, `
        print(box.stat.io.depth, box.stat.io.background.rate)
        box.cfg{io_depth = 3, background_rate = '2mb', memory_max = '1gb'}
        print(box.stat.io.depth, box.stat.io.background.rate, box.stat.memory.limit)
        box.cfg{background_rate = 0}
        print(box.cfg.io_depth, box.stat.io.depth, box.stat.io.background.rate)
    `), ['64\t0', `3\t${2 << 20}\t${1 << 30}`, '3\t3\t0']);
    assert.deepEqual(await printed(t, READ_SLOWLY), ['0\t0', `${1 << 20}\ttrue\ttrue`, '0']);
    assert.deepEqual(await printed(t, `
        box.cfg{io_depth = 3, background_rate = '2mb'}
        print(box.cfg.io_depth, box.stat.io.depth, box.stat.io.background.rate)
    `, ['--io_depth', '7']), [`7\t7\t${2 << 20}`]); // the command line counts more
});

const POLICIES = ['clock', 'lru', '2q', 'lru-k', 'lirs', 'arc', 'arc-scan'];

// What the cache of a space on disk has done, by its policy.
const CACHED = `
    local function show()
        local cache = box.stat.memory.cache
        print(box.cfg.cache_policy, cache.policy, cache.entries > 0, cache.misses > 0, cache.limit > 0)
    end
    local function fill()
        local events = box.schema.space.create('events', {engine = 'btree'})
        events:create_index('pk')
        for i = 1, 1000 do events:insert{i, ('x'):rep(200)} end
        box.checkpoint()
        for i = 1, 1000 do assert(events:get(i)[1] == i) end
    end
`;

test('a server begins with the cache policy that it is told', async (t) => {
    for (const policy of POLICIES) {
        assert.deepEqual(await printed(t, `${CACHED} show() fill() show()`, ['--cache_policy', policy]),
            [`${policy}\t${policy}\tfalse\tfalse\tfalse`, `${policy}\t${policy}\ttrue\ttrue\ttrue`]);
    }
    const { status, error } = await run(['serve', '--dir', folderFor(t), '--listen', '127.0.0.1:0', '--cache_policy', 'mru']);
    assert.equal(status, 1);
    assert.match(error, /option 'cache_policy' is clock, lru, 2q, lru-k, lirs, arc or arc-scan, not 'mru'/);
});

test('a file changes the cache policy while the database is open', async (t) => {
    const changes = POLICIES.map((policy) => `box.cfg{cache_policy = '${policy}'} show()`);
    assert.deepEqual(await printed(t, `${CACHED}
        show()
        box.cfg{cache_policy = 'lru'} -- before there is a cache
        fill()
        show()
        ${changes.join('\n')}
        print(select(2, pcall(box.cfg, {cache_policy = 'mru'})).message)
        show()
    `), ['arc-scan\tarc-scan\tfalse\tfalse\tfalse',
        ...['lru', ...POLICIES].map((policy) => `${policy}\t${policy}\ttrue\ttrue\ttrue`),
        "option 'cache_policy' is clock, lru, 2q, lru-k, lirs, arc or arc-scan, not 'mru'",
        'arc-scan\tarc-scan\ttrue\ttrue\ttrue']);
});

test('a file does not change what opening has fixed', async (t) => {
    const fixed = {
        workers: 5, durability: "'none'", log_segment_max: "'1mb'", memory_cache: 30, memory_lua: 5,
        checkpoint_log_bytes: "'1mb'", checkpoint_interval: 5, checkpoint_rate: "'1mb'",
        compaction_threads: 7, log_compression: true, watch_log_max: "'1mb'", archive: "'elsewhere'", backup_dir: "'elsewhere'", config: "'elsewhere'",
    };
    const lines = Object.entries(fixed).map(([name, value]) => `try{${name} = ${value}}`);
    const out = await printed(t, `
        local function try(options)
            local before = box.cfg[next(options)]
            local ok, problem = pcall(box.cfg, options)
            print(next(options), not ok and problem.message, before == box.cfg[next(options)])
        end
        ${lines.join('\n')}
        box.cfg{compaction_threads = 2, checkpoint_interval = '60min', log_compression = false} -- as it is
        print(pcall(box.cfg, {io_depth = 5, lua_time_max = '9s', checkpoint_rate = 5, background_rate = 1000}))
        print(box.stat.io.depth, box.cfg.io_depth, box.cfg.lua_time_max, box.cfg.background_rate)
    `);
    const words = 'is fixed since the database was opened: give it on the command line in front of the file, or in the environment';
    assert.deepEqual(out.slice(0, -2), Object.keys(fixed).map((name) => `${name}\toption '${name}' ${words}\ttrue`));
    assert.match(out.at(-2), /^false\t.*'checkpoint_rate' is fixed/);
    assert.equal(out.at(-1), '64\t64\t5s\t0'); // all or nothing
});

test('box.cfg looks at values', async (t) => {
    assert.deepEqual(await printed(t, `
        for _, options in ipairs{{log_segment_max = 1}, {io_depth = 0}, {io_depth = 257}, {compaction_threads = 17}, {balance = 'maybe'},
            {io_depth = true}, {io_depth = 1.5}} do
            print(select(2, pcall(box.cfg, options)).message)
        end
        box.cfg{balance = false}
        print(box.cfg.balance)
        box.cfg{balance = true, password = 'one'}
        print(box.cfg.balance, box.cfg.password)
    `), [
        "option 'log_segment_max' is from 64kb to 1tb, not 1",
        "option 'io_depth' is from 1 to 256, not 0",
        "option 'io_depth' is from 1 to 256, not 257",
        "option 'compaction_threads' is from 1 to 16, not 17",
        "option 'balance' is on or off, not 'maybe'",
        "option 'io_depth' is a whole number, not 'true'",
        "option 'io_depth' is a string, a whole number or a boolean",
        'off', 'on\t(set)',
    ]);
});

test('clients are shown what a file has changed while it serves', async (t) => {
    const folder = folderFor(t);
    const file = path.join(folder, 'program.lua');
    fs.writeFileSync(file, `
        box.cfg{listen = 'unix:${folder}/socket', password = 'one'}
        box.cfg{io_depth = 9, background_rate = '3mb'}
        assert(not pcall(box.cfg, {password = 'two'}))
        assert(not pcall(box.cfg, {lua_time_max = '9s'}))
        box.cfg{password = 'one'}
        redis.call('SET', 'changed', 'yes')
    `);
    const ended = run(['--dir', path.join(folder, 'data'), file]);
    while (!fs.existsSync(path.join(folder, 'data', 'address'))) await new Promise(setImmediate);
    const wire = await Wire.open({ address: `unix:${folder}/socket` });
    wire.send(command('AUTH', 'one'));
    await wire.expect('+OK\r\n');
    do wire.send(command('EXISTS', 'changed')); while (await wire.line() !== ':1');
    wire.send(command('CONFIG', 'GET', 'io_depth') + command('CONFIG', 'GET', 'background_rate') +
        command('EVAL', 'return box.cfg.io_depth', '0'));
    await wire.expect('*2\r\n$8\r\nio_depth\r\n$1\r\n9\r\n*2\r\n$15\r\nbackground_rate\r\n$3\r\n3mb\r\n$1\r\n9\r\n');
    wire.send(command('SHUTDOWN'));
    assert.equal((await ended).status, 0);
});

test('an error in a file prints the stack and ends with status 1', async (t) => {
    const folder = folderFor(t);
    const file = path.join(folder, 'program.lua');
    fs.writeFileSync(file, 'local function inner() error("wrong") end\nlocal function outer() inner() return 1 end\nouter()\n');
    const ended = await run(['--dir', path.join(folder, 'data'), file]);
    assert.equal(ended.status, 1);
    assert.match(ended.error, /program\.lua:1: wrong\nstack traceback:\n[^]*program\.lua:2/);
});

test('a file that listens serves until it is stopped', async (t) => {
    const folder = folderFor(t);
    const file = path.join(folder, 'program.lua');
    fs.writeFileSync(file, `
        redis.call('SET', 'from', 'file')
        box.sync()
        box.cfg{listen = 'unix:${folder}/socket'}
        assert(not pcall(box.cfg, {listen = '127.0.0.1:0'}))
        assert(not pcall(box.cfg, {workers = 1000}))
        require('log').info('listening')
    `);
    const ended = run(['--dir', path.join(folder, 'data'), file]);
    while (!fs.existsSync(path.join(folder, 'data', 'address'))) await new Promise(setImmediate);
    const wire = await Wire.open({ address: `unix:${folder}/socket` });
    wire.send(command('GET', 'from') + command('SHUTDOWN'));
    assert.match(await wire.rest(), /^\$4\r\nfile\r\n/);
    assert.equal((await ended).status, 0);
});

test('test runs specs on a throw-away database', async (t) => {
    const folder = folderFor(t);
    const spec = path.join(folder, 'some_spec.lua');
    fs.writeFileSync(spec, `describe('a spec', function()
        it('has box', function()
            local space = box.schema.space.create('s')
            space:create_index('primary')
            space:insert{1}
            assert.same(1, space:len())
        end)
        it('fails when it should', function() assert.same(os.getenv('WANTED'), 'good') end)
    end)`);
    const temporary = path.join(folder, 'tmp');
    fs.mkdirSync(temporary);
    const good = await run(['test', spec], { env: { WANTED: 'good', TMPDIR: temporary } });
    assert.match(good.out, /^2 successes \/ 0 failures/m);
    assert.equal(good.status, 0);
    const bad = await run(['test', spec], { env: { WANTED: 'bad', TMPDIR: temporary } });
    assert.match(bad.out, /1 success \/ 1 failure/);
    assert.equal(bad.status, 1);
    assert.deepEqual(fs.readdirSync(temporary), []);
});
