// SPDX-License-Identifier: Apache-2.0
//
// Backups, restoring, checking and repairing with the real executable: of a server that is written to,
// of a folder that nobody serves, to a moment in the past; and what is refused.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Server, command, later, makeFolder, removeFolder, run } from './lib/server.mjs';

const ACCOUNTS = 10;
const BALANCE = 1000;

function folderFor(t) {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    return folder;
}

/** A server in `var` of a folder that has `backups` and `archive` beside it. */
async function start(t, home, args = []) {
    const server = await Server.start({
        folder: path.join(home, 'var'),
        args: ['--backup_dir', path.join(home, 'backups'), '--archive', path.join(home, 'archive'),
            '--log_segment_max', '64kb', ...args],
    });
    later(t, () => server.child.exitCode ?? server.child.signalCode ?? server.signal('SIGTERM'));
    return server;
}

/** Runs perigee and expects the status. */
async function perigee(status, ...args) {
    const result = await run(args);
    assert.equal(result.status, status, `${args.join(' ')}\n${result.out}${result.error}`);
    return result;
}

async function value(wire, key) {
    wire.send(command('GET', key));
    const head = await wire.line();
    return head === '$-1' ? null : wire.line();
}

/** What a folder has under some keys, found by serving it. */
async function served(folder, use) {
    const server = await Server.start({ folder });
    const wire = await server.connect();
    const result = await use(wire);
    wire.close();
    assert.deepEqual(await server.signal('SIGTERM'), { status: 0, signal: null }, server.error);
    return result;
}

async function set(wire, key, text) {
    await wire.ask(command('SET', key, text), '+OK\r\n');
}

function sums(folder) {
    const out = {};
    for (const name of fs.readdirSync(folder).sort()) {
        const file = path.join(folder, name);
        out[name] = fs.statSync(file).isFile() ? fs.readFileSync(file).toString('base64') : 'folder';
    }
    return out;
}

test('a backup of a server that is written to is one consistent state', async (t) => {
    const home = folderFor(t);
    const server = await start(t, home);
    const writers = [await server.connect(), await server.connect()];
    for (let n = 0; n < ACCOUNTS; n++) await set(writers[0], `account:${n}`, `${BALANCE}`);
    let going = true;
    const write = async (wire, step) => {
        for (let n = 0; going; n += step) {
            const [from, to] = [n % ACCOUNTS, (n + step) % ACCOUNTS];
            wire.send(command('MULTI') + command('DECR', `account:${from}`) + command('INCR', `account:${to}`) + command('EXEC'));
            for (let lines = 0; lines < 6; lines++) assert.doesNotMatch(await wire.line(), /^-/);
        }
    };
    const writing = writers.map((wire, n) => write(wire, n + 1));
    let base = [];
    for (let round = 0; round < 4; round++) {
        const made = await perigee(0, 'backup', `b${round}`, ...base, '--dir', server.folder);
        assert.match(made.out, /everything up to timestamp \d+/);
        base = ['--base', `b${round}`];
    }
    going = false;
    await Promise.all(writing);
    for (let round = 0; round < 4; round++) {
        const target = path.join(home, `restored${round}`);
        await perigee(0, 'restore', path.join(home, 'backups', `b${round}`), target);
        const sum = await served(target, async (wire) => {
            let total = 0;
            for (let n = 0; n < ACCOUNTS; n++) total += Number(await value(wire, `account:${n}`));
            return total;
        });
        assert.equal(sum, ACCOUNTS * BALANCE);
    }
});

test('after a loss the archive brings back each moment', async (t) => {
    const home = folderFor(t);
    const server = await start(t, home);
    const wire = await server.connect();
    await set(wire, 'phase', 'before');
    await perigee(0, 'backup', 'base', '--dir', server.folder);
    const moments = [];
    for (let n = 0; n < 5; n++) {
        await set(wire, 'phase', `phase ${n}`);
        for (let filler = 0; filler < 20; filler++) await set(wire, `filler:${filler}`, 'x'.repeat(8000));
        await new Promise((resolve) => { setTimeout(resolve, 30); });
        moments.push({ time: new Date().toISOString(), phase: `phase ${n}` });
        await new Promise((resolve) => { setTimeout(resolve, 30); });
    }
    await server.signal('SIGKILL');
    const base = path.join(home, 'backups', 'base');
    const log = ['--archive', path.join(home, 'archive'), '--log', server.folder];
    for (const [n, moment] of moments.entries()) {
        const target = path.join(home, `at${n}`);
        await perigee(0, 'restore', base, target, ...log, '--to', moment.time);
        assert.equal(await served(target, (other) => value(other, 'phase')), moment.phase);
    }
    const all = await perigee(0, 'restore', base, path.join(home, 'all'), ...log);
    assert.match(all.out, /restored, everything up to timestamp \d+/);
    const early = await perigee(1, 'restore', base, path.join(home, 'none'), ...log, '--to', '2001-01-01T00:00:00Z');
    assert.match(early.error, /older backup/);
    assert.ok(!fs.existsSync(path.join(home, 'none')));
    assert.ok(!fs.existsSync(path.join(home, 'none.unfinished')));
    const wrong = await perigee(1, 'restore', base, path.join(home, 'none'), '--to', 'yesterday');
    assert.match(wrong.error, /'yesterday' is no moment/);
});

test('the archive goes on through kills of the server', async (t) => {
    const home = folderFor(t);
    for (let life = 0; life < 4; life++) {
        const server = await start(t, home);
        const wire = await server.connect();
        if (life === 0) await perigee(0, 'backup', 'base', '--dir', server.folder);
        for (let n = 0; n < 30; n++) await set(wire, `life:${life}:${n}`, 'x'.repeat(8000));
        await server.signal('SIGKILL');
    }
    const all = path.join(home, 'all');
    const log = ['--archive', path.join(home, 'archive'), '--log', path.join(home, 'var')];
    await perigee(0, 'restore', path.join(home, 'backups', 'base'), all, ...log);
    await served(all, async (wire) => {
        for (let life = 0; life < 4; life++) assert.notEqual(await value(wire, `life:${life}:29`), null);
    });
});

test('an empty folder is restored into, also where a link leads to it', async (t) => {
    const home = folderFor(t);
    const server = await start(t, home);
    await set(await server.connect(), 'key', 'value');
    await perigee(0, 'backup', 'one', '--dir', server.folder);
    fs.mkdirSync(path.join(home, 'empty'));
    fs.symlinkSync('empty', path.join(home, 'link'));
    await perigee(0, 'restore', path.join(home, 'backups', 'one'), path.join(home, 'link'));
    assert.ok(fs.lstatSync(path.join(home, 'link')).isSymbolicLink());
    assert.equal(await served(path.join(home, 'empty'), (wire) => value(wire, 'key')), 'value');
    assert.ok(!fs.readdirSync(home).some((name) => name.endsWith('.unfinished')));
});

test('a folder that nobody serves is backed up without a server', async (t) => {
    const home = folderFor(t);
    const server = await start(t, home);
    const wire = await server.connect();
    await set(wire, 'k', 'v');
    await server.signal('SIGTERM');
    const target = path.join(home, 'here');
    const made = await perigee(0, 'backup', target, '--dir', server.folder);
    assert.match(made.out, /1 files, \d+ bytes/);
    const again = await perigee(1, 'backup', target, '--dir', server.folder);
    assert.match(again.error, /not empty/);
    await perigee(0, 'restore', target, path.join(home, 'new'));
    assert.equal(await served(path.join(home, 'new'), (other) => value(other, 'k')), 'v');
    const none = await perigee(1, 'backup', path.join(home, 'x'), '--dir', path.join(home, 'nothing'));
    assert.match(none.error, /nothing cannot be opened/);
});

test('BACKUP TO answers at once, BACKUP STATUS tells what became of it', async (t) => {
    const home = folderFor(t);
    const server = await start(t, home);
    const wire = await server.connect();
    await wire.ask(command('BACKUP', 'TO', 'one'), '+Backup started\r\n');
    for (;;) {
        wire.send(command('BACKUP', 'STATUS'));
        assert.equal(await wire.line(), '*24');
        const members = {};
        for (let n = 0; n < 12; n++) {
            await wire.line();
            const name = await wire.line();
            const head = await wire.line();
            members[name] = head.startsWith('$') ? await wire.line() : Number(head.slice(1));
        }
        if (members.state === 'running') continue;
        assert.equal(members.state, 'done');
        assert.match(members.id, /^[0-9a-f]{32}$/);
        break;
    }
    for (const bad of ['../up', '/abs', 'a/../../b', '..']) {
        wire.send(command('BACKUP', 'TO', bad));
        assert.match(await wire.line(), /^-ERR the folder of a backup/);
    }
    wire.send(command('BACKUP', 'TO', 'two', 'BESIDE', 'one'));
    assert.match(await wire.line(), /^-ERR syntax error/);
});

test('without the option backup_dir BACKUP is refused in words', async (t) => {
    const server = await Server.start({ folder: folderFor(t) });
    later(t, () => server.signal('SIGTERM'));
    const wire = await server.connect();
    wire.send(command('BACKUP', 'TO', 'one'));
    assert.match(await wire.line(), /^-ERR .*backup_dir.* is not set/);
    const made = await perigee(1, 'backup', 'one', '--dir', server.folder);
    assert.match(made.error, /backup_dir/);
});

test('check and restore do not touch what a server has in use', async (t) => {
    const home = folderFor(t);
    const server = await start(t, home);
    const busy = await perigee(2, 'check', server.folder);
    assert.match(busy.error, /in use by a server/);
    await perigee(0, 'backup', 'one', '--dir', server.folder);
    const log = await perigee(1, 'restore', path.join(home, 'backups', 'one'), path.join(home, 'x'), '--log', server.folder);
    assert.match(log.error, /in use by a server/);
    const nothing = await perigee(2, 'check', path.join(home, 'backups'));
    assert.match(nothing.error, /no database/);
});

test('damage is named by check, and repair saves the rest into a new folder', async (t) => {
    const home = folderFor(t);
    const server = await start(t, home);
    const wire = await server.connect();
    for (let n = 0; n < 300; n++) {
        let text = '';
        while (text.length < 300) text += Math.random().toString(36).slice(2);
        await set(wire, `key:${String(n).padStart(3, '0')}`, text);
    }
    await wire.ask(command('SAVE'), '+OK\r\n');
    await server.signal('SIGTERM');
    const whole = await perigee(0, 'check', server.folder);
    assert.match(whole.out, /whole: 1 runs with 300 rows/);
    const name = fs.readdirSync(server.folder).find((file) => file.endsWith('.run'));
    const file = fs.openSync(path.join(server.folder, name), 'r+');
    fs.writeSync(file, 'damage', 20000);
    fs.closeSync(file);
    const before = sums(server.folder);

    const found = await perigee(1, 'check', server.folder);
    assert.match(found.out, new RegExp(`^${name}: offset \\d+: run: block checksum$`, 'm'));
    const json = (await perigee(1, 'check', server.folder, '--json')).out.trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(json.find((line) => line.kind === 'damage').file, name);
    assert.equal(json.at(-1).damages, 1);

    const target = path.join(home, 'repaired');
    const repaired = await perigee(1, 'check', server.folder, '--repair', target);
    assert.match(repaired.out, new RegExp(`^lost: ${name}: offset \\d+: block checksum; rows of space 304`, 'm'));
    assert.deepEqual(sums(server.folder), before);
    assert.match((await perigee(2, 'check', server.folder, '--repair', target)).error, /not empty/);
    await perigee(0, 'check', target);
    await served(target, async (other) => {
        let kept = 0;
        for (let n = 0; n < 300; n++) if (await value(other, `key:${String(n).padStart(3, '0')}`)) kept++;
        assert.ok(kept > 150 && kept < 300, `${kept} rows are kept`);
    });
    const failed = await run(['serve', '--dir', server.folder, '--listen', '127.0.0.1:0']);
    assert.equal(failed.status, 1);
    assert.match(failed.error, new RegExp(name));
});

test('a damaged backup is refused, and named', async (t) => {
    const home = folderFor(t);
    const server = await start(t, home);
    const wire = await server.connect();
    await set(wire, 'k', 'v'.repeat(5000));
    await perigee(0, 'backup', 'one', '--dir', server.folder);
    const whole = await perigee(0, 'restore', path.join(home, 'backups', 'one'), '--verify');
    assert.match(whole.out, /one: whole, everything up to timestamp \d+/);
    await server.signal('SIGTERM');
    const folder = path.join(home, 'backups', 'one');
    const name = fs.readdirSync(folder).find((file) => file.endsWith('.run'));
    const bytes = fs.readFileSync(path.join(folder, name));
    fs.rmSync(path.join(folder, name)); /* it may be the server's own file, too */
    bytes[100] ^= 1;
    fs.writeFileSync(path.join(folder, name), bytes);
    assert.match((await perigee(1, 'restore', '--verify', folder)).error, new RegExp(name));
    const refused = await perigee(1, 'restore', folder, path.join(home, 'new'));
    assert.match(refused.error, new RegExp(`${name}, offset 0: checksum`));
    assert.ok(!fs.existsSync(path.join(home, 'new')));
    fs.rmSync(path.join(folder, 'backup'));
    const unfinished = await perigee(1, 'restore', folder, path.join(home, 'new'));
    assert.match(unfinished.error, /not finished/);
});
