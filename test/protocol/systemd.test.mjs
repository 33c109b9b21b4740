// SPDX-License-Identifier: Apache-2.0
//
// As a service: what systemd is told and when, its watchdog, and sockets that it has opened.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Server, Wire, command, executable, later, makeFolder, removeFolder, runProgram } from './lib/server.mjs';

const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind('\\0' + name[1:] if name.startswith('@') else name)
print('bound', flush=True)
while True:
    print(s.recv(65536).decode().replace('\\n', ' | '), flush=True)
`;

/** A socket that is told; `until` waits for a line of it that matches. */
async function receiver(t, name) {
    const child = spawn('/usr/bin/python3', ['-c', RECEIVER, name], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '', waiters = [];
    child.stdout.on('data', (data) => {
        text += data;
        for (const waiter of waiters.splice(0)) waiter();
    });
    later(t, () => new Promise((resolve) => {
        child.once('close', resolve);
        child.kill('SIGKILL');
    }));
    const self = {
        name,
        lines: () => text.split('\n').slice(1, -1),
        async until(pattern, count = 1) {
            while (text.split('\n').slice(0, -1).filter((line) => pattern.test(line)).length < count)
                await new Promise((resolve) => { waiters.push(resolve); });
        },
    };
    await self.until(/^bound$/);
    return self;
}

function folderFor(t) {
    const folder = makeFolder();
    later(t, () => removeFolder(folder));
    return folder;
}

async function start(t, settings) {
    const server = await Server.start({ folder: folderFor(t), ...settings });
    later(t, () => server.child.exitCode ?? server.child.signalCode ?? server.stop());
    return server;
}

for (const kind of ['a path', 'an abstract name']) {
    test(`systemd is told of the start, of reloading and of the stop (${kind})`, async (t) => {
        const folder = folderFor(t);
        const told = await receiver(t, kind === 'a path' ? path.join(folder, 'notify') : `@perigee-test-${path.basename(folder)}`);
        const server = await start(t, { env: { NOTIFY_SOCKET: told.name } });
        await told.until(/^READY=1/);
        server.child.kill('SIGHUP');
        await told.until(/^READY=1/, 2);
        assert.deepEqual(await server.signal('SIGTERM'), { status: 0, signal: null });
        await told.until(/^STOPPING=1$/);
        const lines = told.lines();
        assert.equal(lines.length, 4, lines.join('\n'));
        assert.equal(lines[0], `READY=1 | STATUS=listening on ${server.address}`);
        assert.match(lines[1], /^RELOADING=1 \| MONOTONIC_USEC=\d+$/);
        assert.equal(lines[2], 'READY=1');
    });
}

test('SHUTDOWN is told as well', async (t) => {
    const told = await receiver(t, path.join(folderFor(t), 'notify'));
    const server = await start(t, { env: { NOTIFY_SOCKET: told.name } });
    const wire = await server.connect();
    wire.send(command('SHUTDOWN'));
    await told.until(/^STOPPING=1$/);
    assert.deepEqual(await server.ended, { status: 0, signal: null });
});

test('a socket for notifications that is not there keeps nobody from serving', async (t) => {
    for (const name of [path.join(folderFor(t), 'nowhere'), 'relative', '@', '', `/${'x'.repeat(200)}`]) {
        const server = await start(t, { env: { NOTIFY_SOCKET: name } });
        const wire = await server.connect();
        await wire.ask(command('PING'), '+PONG\r\n');
        wire.close();
        await server.signal('SIGTERM');
    }
});

test('the watchdog hears of a server that works', async (t) => {
    const told = await receiver(t, path.join(folderFor(t), 'notify'));
    await start(t, { env: { NOTIFY_SOCKET: told.name, WATCHDOG_USEC: '200000' } });
    await told.until(/^WATCHDOG=1$/, 3);
});

test('another process is meant by WATCHDOG_PID', async (t) => {
    const told = await receiver(t, path.join(folderFor(t), 'notify'));
    const server = await start(t, { env: { NOTIFY_SOCKET: told.name, WATCHDOG_USEC: '4000', WATCHDOG_PID: '1' } });
    const wire = await server.connect();
    for (let n = 0; n < 100; n++) await wire.ask(command('PING'), '+PONG\r\n');
    wire.close();
    await server.signal('SIGTERM');
    await told.until(/^STOPPING=1$/);
    assert.ok(!told.lines().includes('WATCHDOG=1'));
});

/* Opens what its second argument lists, and starts a server with it as often as the first says. The parent of
 * the server has the sockets, and accepts nothing. */
const LAUNCHER = `
import json, os, socket, sys
rounds, wanted, extra = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
sockets = []
for where in wanted:
    s = socket.socket(socket.AF_INET if ':' in where else socket.AF_UNIX)
    s.bind((where.split(':')[0], 0) if ':' in where else where)
    s.listen(10)
    sockets.append(s)
    print('port', s.getsockname()[1] if ':' in where else 0, flush=True)
for n in range(rounds):
    pid = os.fork()
    if pid == 0:
        os.environ.update({'LISTEN_FDS': str(len(sockets)), 'LISTEN_PID': str(os.getpid())})
        os.environ.update(extra)
        high = [os.dup2(s.fileno(), 100 + k) for k, s in enumerate(sockets)]
        os.closerange(3, 100)
        for k, fd in enumerate(high):
            os.dup2(fd, 3 + k)
            os.close(fd)
        print('pid', os.getpid(), flush=True)
        os.execv(sys.argv[4], sys.argv[4:])
    print('ended', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
`;

/** The launcher with its server; `until` gives the first match in what both have printed, from a place on, and
 * `untilError` in their errors: of what goes two ways nobody knows what comes first. */
async function launch(t, wanted, listen, { rounds = 1, env = {} } = {}) {
    const folder = folderFor(t);
    const child = spawn('/usr/bin/python3', ['-c', LAUNCHER, String(rounds), JSON.stringify(wanted), JSON.stringify(env),
        executable, 'serve', '--dir', folder, '--listen', listen], { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '', place = 0, errors = '', waiters = [], over = false;
    const wake = () => { for (const waiter of waiters.splice(0)) waiter(); };
    child.stdout.on('data', (data) => { text += data; wake(); });
    child.stderr.on('data', (data) => { errors += data; wake(); });
    const closed = new Promise((resolve) => { child.once('close', () => { over = true; wake(); resolve(); }); });
    async function found(pattern, where) {
        for (;;) {
            const match = pattern.exec(where());
            if (match) return match;
            assert.ok(!over, `ended without ${pattern}: ${text}${errors}`);
            await new Promise((resolve) => { waiters.push(resolve); });
        }
    }
    const self = {
        async until(pattern) {
            const match = await found(pattern, () => text.slice(place));
            place += match.index + match[0].length;
            return match;
        },
        untilError: (pattern) => found(pattern, () => errors),
    };
    later(t, async () => {
        for (const [, pid] of text.matchAll(/^pid (\d+)$/gm)) {
            if (over) break;
            try { process.kill(Number(pid), 'SIGKILL'); } catch { /* it has ended */ }
        }
        child.kill('SIGKILL');
        await closed;
    });
    self.ports = [];
    for (let n = 0; n < wanted.length; n++) self.ports.push(Number((await self.until(/^port (\d+)$/m))[1]));
    return self;
}

test('sockets that systemd has opened are served, and stay when the server goes', async (t) => {
    const file = path.join(folderFor(t), 's');
    const launched = await launch(t, ['127.0.0.1:', file], 'systemd', { rounds: 2, env: { LISTEN_FDNAMES: 'tcp:path' } });
    const addresses = [`127.0.0.1:${launched.ports[0]}`, `unix:${file}`];
    for (let round = 0; round < 2; round++) {
        const pid = Number((await launched.until(/^pid (\d+)$/m))[1]);
        await launched.until(new RegExp(`listening on ${addresses.join(' and ')}, `));
        for (const address of addresses) {
            const wire = await Wire.open({ address, port: launched.ports[0] });
            await wire.ask(command('PING'), '+PONG\r\n');
            wire.close();
        }
        process.kill(pid, 'SIGTERM');
        assert.equal((await launched.until(/^ended (-?\d+)$/m))[1], '0');
        assert.ok(fs.existsSync(file));
    }
});

test('a socket is chosen by its name, beside others that the server opens', async (t) => {
    const launched = await launch(t, ['127.0.0.1:', '127.0.0.1:'], 'systemd:b, 127.0.0.1:0', { env: { LISTEN_FDNAMES: 'a:b' } });
    await launched.until(new RegExp(`listening on 127\\.0\\.0\\.1:${launched.ports[1]} and 127\\.0\\.0\\.1:\\d+, `));
});

for (const [what, wanted, listen, env, error] of [
    ['no socket', [], 'systemd', {}, /no socket was passed to this process \(LISTEN_FDS, LISTEN_PID\)/],
    ['no socket of a name', ['127.0.0.1:'], 'systemd:x', { LISTEN_FDNAMES: 'a' }, /no socket with the name x .*LISTEN_FDNAMES/],
    ['a descriptor that is no socket', ['127.0.0.1:'], 'systemd', { LISTEN_FDS: '2' }, /descriptor 4, .* is no socket that listens/],
    ['a socket for another process', ['127.0.0.1:'], 'systemd', { LISTEN_PID: '1' }, /no socket was passed/],
    ['a socket that others can reach', ['0.0.0.0:'], 'systemd', {}, /others can reach 0\.0\.0\.0:\d+; set a password/],
]) {
    test(`${what} is told`, async (t) => {
        const launched = await launch(t, wanted, listen, { env });
        await launched.untilError(error);
        assert.equal((await launched.until(/^ended (-?\d+)$/m))[1], '1');
    });
}

test('the unit file names what there is', async () => {
    const unit = fs.readFileSync('packaging/perigee.service', 'utf8');
    assert.match(unit, /^Type=notify$/m);
    const options = /^ExecStart=\/usr\/bin\/perigee serve (.*)$/m.exec(unit)[1];
    assert.equal(options, '--config /etc/perigee/perigee.lua');
    const folder = makeFolder();
    try {
        const shown = await runProgram(executable, ['serve', '--config', 'packaging/perigee.lua', '--dir', folder, '--listen', 'nowhere']);
        assert.match(shown.error, /'nowhere' is no address/); /* so the file has been read, and is right */
    } finally {
        removeFolder(folder);
    }
});
