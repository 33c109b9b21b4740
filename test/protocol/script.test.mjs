// SPDX-License-Identifier: Apache-2.0
//
// Scripts and functions on a server of several workers: they are stopped by another connection, and
// libraries are known to every worker and stay when the server has been started again.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Server, command, later, makeFolder, removeFolder } from './lib/server.mjs';

const folder = makeFolder();
const args = ['--workers', '2', '--lua_time_max', '1h']; // what never ends is ended by hand
let server;
before(async () => { server = await Server.start({ folder, args }); });
after(async () => {
    await server.stop();
    removeFolder(folder);
});

async function wires(t, count) {
    const all = await Promise.all(Array.from({ length: count }, () => server.connect()));
    for (const one of all) later(t, () => one.close());
    return all;
}

const ENDLESS = 'while true do pcall(function() while true do end end) end';
const LIBRARY = `#!lua name=lib
local calls = 0
redis.register_function('count', function(keys, args)
    calls = calls + 1
    return redis.call('INCRBY', keys[1], args[1])
end)
redis.register_function{function_name = 'look', flags = {'no-writes'}, description = 'reads',
    callback = function(keys) return redis.call('GET', keys[1]) end}
redis.register_function('endless', function(keys) redis.call('SET', keys[1], 1) ${ENDLESS} end)
`;

/** One of the others that a worker serves which is not busy: it answers. */
async function served(others) {
    for (const other of others) other.send(command('PING'));
    return Promise.any(others.map(async (other) => {
        assert.equal(await other.line(), '+PONG');
        return other;
    }));
}

/** Asks until FUNCTION STATS names what runs, whose name and request these are. */
async function named(other, name, request) {
    const words = request.match(/\$\d+\r\n/g).length;
    const head = `*4\r\n$14\r\nrunning_script\r\n`;
    const running = `*6\r\n$4\r\nname\r\n$${name.length}\r\n${name}\r\n$7\r\ncommand\r\n*${words}\r\n`
        + `${request.slice(request.indexOf('\r\n') + 2)}$11\r\nduration_ms\r\n`;
    for (;;) {
        other.send(command('FUNCTION', 'STATS'));
        assert.equal(String(await other.bytes(head.length)), head);
        const line = await other.line();
        if (line === '*6') {
            assert.equal(String(await other.bytes(running.length - 4)), running.slice(4));
            assert.match(await other.line(), /^:\d+$/);
        }
        while (!(await other.line()).startsWith('$15')) /* libraries_count */;
        for (let left = 5; left > 0; left -= 1) await other.line();
        if (line === '*6') return;
        assert.equal(line, '$-1');
    }
}

/** Asks for it until something ran. */
async function stop(other, what) {
    for (;;) {
        other.send(command(what, 'KILL'));
        const reply = await other.line();
        if (reply === '+OK') return;
        assert.equal(reply, '-NOTBUSY No scripts in execution right now.');
    }
}

for (const [what, request, place] of [
    ['SCRIPT', command('EVAL', `\nredis.call('SET', 'stopped', 1) ${ENDLESS}`, '0'), '@user_script:2.'],
    ['FUNCTION', command('FCALL', 'endless', '1', 'stopped'), '@user_function:9.'],
]) {
    test(`${what} KILL ends what runs on another worker, and nothing is left of it`, async (t) => {
        const [busy, ...others] = await wires(t, 8);
        await busy.ask(command('FUNCTION', 'LOAD', 'REPLACE', LIBRARY), '$3\r\nlib\r\n');
        busy.send(request);
        const other = await served(others);
        if (what === 'FUNCTION') await named(other, 'endless', request);
        await stop(other, what);
        const line = await busy.line();
        assert.ok(line.startsWith(`-ERR Script killed by user with ${what} KILL. script: `), line);
        assert.ok(line.endsWith(place), line);
        await busy.ask(command('EXISTS', 'stopped'), ':0\r\n');
        await busy.ask(command(what, 'KILL'), '-NOTBUSY No scripts in execution right now.\r\n');
    });
}

test('with one worker, too, others are served and KILL gets through', async (t) => {
    const own = makeFolder();
    const single = await Server.start({ folder: own, args: ['--workers', '1', '--lua_time_max', '1h'] });
    later(t, async () => {
        await single.stop();
        removeFolder(own);
    });
    const [busy, again, other] = await Promise.all([1, 2, 3].map(() => single.connect()));
    for (const one of [busy, again, other]) later(t, () => one.close());
    for (let round = 0; round < 3; round += 1) {
        busy.send(command('EVAL', ENDLESS, '0'));
        again.send(command('EVAL', ENDLESS, '0'));
        await other.ask(command('SET', 'key', String(round)), '+OK\r\n');
        const late = await single.connect();
        await late.ask(command('GET', 'key'), `$1\r\n${round}\r\n`);
        late.close();
        const ended = Promise.all([busy.line(), again.line()]);
        let waiting = true;
        ended.then(() => { waiting = false; });
        while (waiting) {
            other.send(command('SCRIPT', 'KILL'));
            assert.match(await other.line(), /^(\+OK|-NOTBUSY .*)$/);
        }
        for (const line of await ended) assert.match(line, /^-ERR Script killed by user with SCRIPT KILL/);
    }
});

test('a library is known to every worker, until it is deleted', async (t) => {
    const all = await wires(t, 6);
    await all[0].ask(command('FUNCTION', 'LOAD', 'REPLACE', LIBRARY) + command('DEL', 'n'), '$3\r\nlib\r\n:0\r\n');
    for (const [n, one] of all.entries()) await one.ask(command('FCALL', 'count', '1', 'n', '2'), `:${2 * n + 2}\r\n`);
    for (const one of all) await one.ask(command('FCALL_RO', 'look', '1', 'n'), '$2\r\n12\r\n');
    await all[0].ask(command('FUNCTION', 'DELETE', 'lib'), '+OK\r\n');
    for (const one of all) await one.ask(command('FCALL', 'count', '1', 'n', '2'), '-ERR Function not found\r\n');
});

test('what one worker makes of a library is seen by a transaction of another at once', async (t) => {
    const all = await wires(t, 4);
    for (let version = 1; version <= 40; version++) {
        const text = `#!lua name=turns\nredis.register_function('turn', function() return ${version} end)`;
        await all[version % 4].ask(command('FUNCTION', 'LOAD', 'REPLACE', text), '$5\r\nturns\r\n');
        for (const one of all) await one.ask(command('FCALL', 'turn', '0'), `:${version}\r\n`);
    }
    await all[0].ask(command('FUNCTION', 'FLUSH'), '+OK\r\n');
});

test('a transaction that began before a library was loaded leaves nothing behind of the former one', async (t) => {
    const all = await wires(t, 4);
    for (let version = 1; version <= 12; version++) {
        const text = `#!lua name=turns\nredis.register_function('turn', function() return ${version} end)`;
        const [before, other] = [all[version % 4], all[(version * 3 + 1) % 4]];
        if (before === other) continue;
        await before.ask(command('BEGIN') + command('GET', 'none'), '+OK\r\n$-1\r\n');
        await other.ask(command('FUNCTION', 'LOAD', 'REPLACE', text), '$5\r\nturns\r\n');
        before.send(command('FCALL', 'turn', '0') + command('COMMIT'));
        await before.line();
        assert.equal(await before.line(), '+OK');
        for (const one of all) await one.ask(command('FCALL', 'turn', '0'), `:${version}\r\n`);
    }
    await all[0].ask(command('FUNCTION', 'FLUSH'), '+OK\r\n');
});

test('libraries stay when the server is started again, and FLUSHALL leaves them', async (t) => {
    const [one] = await wires(t, 1);
    await one.ask(command('FUNCTION', 'LOAD', LIBRARY), '$3\r\nlib\r\n');
    await one.ask(command('SET', 'n', '1') + command('FLUSHALL'), '+OK\r\n+OK\r\n');
    await one.ask(command('FCALL', 'count', '1', 'n', '5'), ':5\r\n');
    await server.stop();
    server = await Server.start({ folder, args });
    const [again] = await wires(t, 1);
    await again.ask(command('FCALL', 'count', '1', 'n', '5'), ':10\r\n');
    await again.ask(command('FUNCTION', 'STATS'),
        '*4\r\n$14\r\nrunning_script\r\n$-1\r\n$7\r\nengines\r\n*2\r\n$3\r\nLUA\r\n'
        + '*4\r\n$15\r\nlibraries_count\r\n:1\r\n$15\r\nfunctions_count\r\n:3\r\n');
});

test('a dump is restored by each of the policies', async (t) => {
    const [one] = await wires(t, 1);
    await one.ask(command('FUNCTION', 'FLUSH') + command('FUNCTION', 'LOAD', LIBRARY), '+OK\r\n$3\r\nlib\r\n');
    one.send(command('FUNCTION', 'DUMP'));
    const dump = (await one.bytes(Number((await one.line()).slice(1)) + 2)).subarray(0, -2);
    const restore = (...policy) => Buffer.concat([
        Buffer.from(`*${3 + policy.length}\r\n$8\r\nFUNCTION\r\n$7\r\nRESTORE\r\n$${dump.length}\r\n`), dump,
        Buffer.from(`\r\n${policy.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`),
    ]);
    await one.ask(restore(), '-ERR Library lib already exists\r\n');
    await one.ask(restore('REPLACE'), '+OK\r\n');
    const other = "#!lua name=other\nredis.register_function('other', function() return 1 end)";
    await one.ask(command('FUNCTION', 'LOAD', other), '$5\r\nother\r\n');
    await one.ask(restore('FLUSH'), '+OK\r\n');
    await one.ask(command('FCALL', 'other', '0'), '-ERR Function not found\r\n');
    await one.ask(command('DEL', 'm') + command('FCALL', 'count', '1', 'm', '1'), ':0\r\n:1\r\n');
    dump[3] ^= 1;
    await one.ask(restore('FLUSH'), '-ERR DUMP payload version or checksum are wrong\r\n');
});

const PROCEDURE = `box.schema.func.create('add', {replace = true, body = [[function(key, by)
    redis.call('INCRBY', key, by)
    return tonumber(redis.call('GET', key))
end]]})`;

test('MULTI takes procedures, functions and text, and each is undone by itself', async (t) => {
    const [one] = await wires(t, 1);
    await one.ask(command('LUA', PROCEDURE) + command('FUNCTION', 'LOAD', 'REPLACE', LIBRARY), '$-1\r\n$3\r\nlib\r\n');
    const queue = [
        ['CALL', 'add', 'q', '5'], ['LUA', "return redis.call('INCR', 'q')"],
        ['LUA', "redis.call('INCR', 'q') error('no', 0)"], ['FCALL', 'count', '1', 'q', '10'], ['FCALL', 'nosuch', '0'],
        ['LUA', 'box.commit()'], ['GET', 'q'],
    ];
    await one.ask(command('DEL', 'q') + command('MULTI'), ':0\r\n+OK\r\n');
    for (const each of queue) await one.ask(command(...each), '+QUEUED\r\n');
    await one.ask(command('EXEC'), '*7\r\n:5\r\n:6\r\n-ERR no\r\n:16\r\n-ERR Function not found\r\n'
        + '-ERR eval:1: this transaction does not begin and end here: its procedure, script or session does that\r\n'
        + '$2\r\n16\r\n');
});

test('libraries are changed within MULTI, with its other commands or not at all', async (t) => {
    const all = await wires(t, 4);
    const [one, other] = all;
    const exec = (...queue) => queue.map((each) => command(...each)).join('') + command('EXEC');
    const queued = (count) => '+QUEUED\r\n'.repeat(count);
    await one.ask(command('FUNCTION', 'FLUSH') + command('SET', 'n', '0'), '+OK\r\n+OK\r\n');
    await one.ask(command('MULTI') + exec(['FUNCTION', 'LOAD', LIBRARY], ['FCALL', 'count', '1', 'n', '2'],
        ['FUNCTION', 'LOAD', LIBRARY], ['FUNCTION', 'LOAD', 'nothing'], ['INCR', 'n'], ['FUNCTION', 'KILL']),
    `+OK\r\n${queued(6)}*6\r\n$3\r\nlib\r\n:2\r\n-ERR Library 'lib' already exists\r\n`
        + '-ERR Missing library metadata\r\n:3\r\n-NOTBUSY No scripts in execution right now.\r\n');
    for (const [n, each] of all.entries()) await each.ask(command('FCALL', 'count', '1', 'n', '1'), `:${4 + n}\r\n`);
    await one.ask(command('MULTI', 'ATOMIC') + exec(['SET', 'kept', '1'], ['FUNCTION', 'DELETE', 'lib'],
        ['FCALL', 'count', '1', 'n', '1']), `+OK\r\n${queued(3)}-EXECABORT Transaction undone because command 3 `
        + "'fcall' failed: ERR Function not found\r\n");
    await one.ask(command('EXISTS', 'kept'), ':0\r\n');
    for (const each of all) await each.ask(command('FCALL', 'look', '1', 'n'), '$1\r\n7\r\n');
    await one.ask(command('WATCH', 'n'), '+OK\r\n');
    await other.ask(command('SET', 'n', '50'), '+OK\r\n');
    await one.ask(command('MULTI') + exec(['FUNCTION', 'FLUSH']), `+OK\r\n${queued(1)}*-1\r\n`);
    for (const each of all) await each.ask(command('FCALL', 'look', '1', 'n'), '$2\r\n50\r\n');
    await one.ask(command('MULTI') + exec(['FUNCTION', 'DELETE', 'lib'], ['FUNCTION', 'LIST']),
        `+OK\r\n${queued(2)}*2\r\n+OK\r\n*0\r\n`);
    for (const each of all) await each.ask(command('FCALL', 'look', '1', 'n'), '-ERR Function not found\r\n');
});

test('after MULTI ATOMIC one that fails undoes all', async (t) => {
    const [one] = await wires(t, 1);
    const atomically = (...queue) => command('MULTI', 'ATOMIC') + queue.map((each) => command(...each)).join('')
        + command('EXEC');
    const queued = '+OK\r\n+QUEUED\r\n+QUEUED\r\n';
    await one.ask(command('SET', 'word', 'x') + command('DEL', 'a'), '+OK\r\n:0\r\n');
    await one.ask(atomically(['SET', 'a', '1'], ['INCR', 'word']), `${queued}-EXECABORT Transaction undone because `
        + "command 2 'incr' failed: ERR value is not an integer or out of range\r\n");
    await one.ask(atomically(['SET', 'a', '1'], ['EVAL', "return redis.error_reply('MY no')", '0']),
        `${queued}-EXECABORT Transaction undone because command 2 'eval' failed: MY no\r\n`);
    await one.ask(command('EXISTS', 'a'), ':0\r\n');
    await one.ask(atomically(['SET', 'a', '1'], ['INCR', 'a']), `${queued}*2\r\n+OK\r\n:2\r\n`);
    await one.ask(command('MULTI') + command('INCR', 'word') + command('SET', 'a', '3') + command('EXEC'),
        `${queued}*2\r\n-ERR value is not an integer or out of range\r\n+OK\r\n`);
    await one.ask(command('MULTI', 'SOON'), "-ERR wrong number of arguments for 'multi' command\r\n");
    await one.ask(command('MULTI') + command('EXEC', 'x') + command('EXEC'), '+OK\r\n-EXECABORT Transaction discarded '
        + "because of: wrong number of arguments for 'exec' command\r\n-ERR EXEC without MULTI\r\n");
});

test('what is queued waits for locks and is run again after conflicts, once for all', async (t) => {
    const all = await wires(t, 9), [holder, ...others] = all, rounds = 30;
    await holder.ask(command('LUA', PROCEDURE) + command('DEL', 'w', 'v'), '$-1\r\n:0\r\n');
    await holder.ask(command('BEGIN') + command('SET', 'w', '0'), '+OK\r\n+OK\r\n');
    const work = others.map(async (other) => {
        for (let round = 0; round < rounds; round++) {
            other.send(command('MULTI') + command('INCR', 'v') + command('CALL', 'add', 'w', '1') + command('EXEC'));
            assert.equal(await other.line() + await other.line() + await other.line() + await other.line(),
                '+OK+QUEUED+QUEUED*2');
            assert.equal(await other.line(), await other.line());
        }
    });
    // Those who have lost often enough pass alone, and whoever is in their way is rolled back.
    holder.send(command('COMMIT'));
    assert.match(await holder.line(), /^(\+OK|-ERR .*rolled back)/);
    await Promise.all(work);
    const total = String(others.length * rounds);
    await holder.ask(command('MGET', 'w', 'v'), `*2\r\n${`$${total.length}\r\n${total}\r\n`.repeat(2)}`);
});
