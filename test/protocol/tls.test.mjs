// SPDX-License-Identifier: Apache-2.0
//
// TLS: redis-cli, openssl s_client and Node.js as clients, certificates that the test makes, who a
// certificate is for, certificates that are exchanged, clients that do not read.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { before, after, test } from 'node:test';
import tls from 'node:tls';
import { Server, Wire, command, later, makeFolder, removeFolder, run, runProgram } from './lib/server.mjs';

let folder;
const file = (name) => path.join(folder, name);

function openssl(...args) {
    execFileSync('openssl', args, { stdio: 'pipe' });
}

function key(name) {
    return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', file(`${name}.key`)];
}

/** An authority, NAME.pem and NAME.key. */
function authority(name) {
    openssl('req', '-x509', ...key(name), '-out', file(`${name}.pem`), '-subj', `/CN=${name}`, '-days', '2');
}

/** A certificate, NAME.pem and NAME.key. */
function certificate(name, by, subject, alternatives) {
    openssl('req', ...key(name), '-out', file(`${name}.csr`), '-subj', subject);
    fs.writeFileSync(file(`${name}.ext`), `subjectAltName=${alternatives}\n`);
    openssl('x509', '-req', '-in', file(`${name}.csr`), '-CA', file(`${by}.pem`), '-CAkey', file(`${by}.key`),
        '-CAcreateserial', '-out', file(`${name}.pem`), '-days', '2', '-extfile', file(`${name}.ext`));
}

before(() => {
    folder = makeFolder();
    authority('ca');
    authority('other');
    certificate('server', 'ca', '/CN=server', 'DNS:localhost,IP:127.0.0.1');
    certificate('renewed', 'ca', '/CN=renewed', 'DNS:localhost,IP:127.0.0.1');
    certificate('alice', 'ca', '/CN=alice', 'DNS:carol,email:alice@example.org');
    certificate('nobody', 'ca', '/CN=nobody', 'DNS:nobody');
    certificate('admin', 'ca', '/CN=admin', 'DNS:admin');
    certificate('stranger', 'other', '/CN=alice', 'DNS:alice');
});
after(() => removeFolder(folder));

async function start(t, { args = [], listen = '127.0.0.1:0 tls, 127.0.0.1:0' } = {}) {
    const data = makeFolder();
    later(t, () => removeFolder(data));
    const server = await Server.start({
        folder: data, args: ['--listen', listen, '--tls_certificate', file('server.pem'), '--tls_key', file('server.key'), ...args],
    });
    later(t, () => server.child.exitCode ?? server.child.signalCode ?? server.stop());
    return server;
}

/** A Wire whose bytes go through TLS; `as` is the name of the client's certificate. */
function secure(t, server, { as, ...options } = {}) {
    const own = as ? { cert: fs.readFileSync(file(`${as}.pem`)), key: fs.readFileSync(file(`${as}.key`)) } : {};
    const socket = tls.connect({
        port: server.port, host: '127.0.0.1', servername: 'localhost', ca: fs.readFileSync(file('ca.pem')), ...own, ...options,
    });
    const wire = Object.assign(Object.create(Wire.prototype), { received: Buffer.alloc(0), closed: false, waiters: [], socket });
    const wake = () => { for (const waiter of wire.waiters.splice(0)) waiter(); };
    socket.on('data', (data) => { wire.received = Buffer.concat([wire.received, data]); wake(); });
    socket.on('error', (error) => { wire.error = error; });
    socket.on('close', () => { wire.closed = true; wake(); });
    later(t, () => wire.close());
    return new Promise((resolve, reject) => {
        socket.once('secureConnect', () => resolve(wire));
        socket.once('error', reject);
    });
}

async function plain(t, server) {
    const port = Number(/:(\d+)$/.exec(server.addresses[1])[1]);
    const wire = await Wire.open({ address: server.addresses[1], port });
    later(t, () => wire.close());
    return wire;
}

async function bulk(wire, ...args) {
    wire.send(command(...args));
    const size = Number((await wire.line()).slice(1));
    return (await wire.bytes(size + 2)).toString('latin1', 0, size);
}

test('redis-cli --tls is served, and refuses who cannot show the right certificate', async (t) => {
    const server = await start(t);
    const cli = (...args) => runProgram('redis-cli', ['-h', '127.0.0.1', '-p', String(server.port), '--tls', ...args]);
    assert.equal((await cli('--cacert', file('ca.pem'), 'SET', 'k', 'v')).out, 'OK\n');
    assert.equal((await cli('--cacert', file('ca.pem'), 'GET', 'k')).out, 'v\n');
    const wrong = await cli('--cacert', file('other.pem'), 'PING');
    assert.notEqual(wrong.status, 0);
    assert.match(wrong.error, /certificate verify failed/);
});

for (const version of ['tls1_2', 'tls1_3']) {
    test(`openssl s_client speaks ${version} with it`, async (t) => {
        const server = await start(t);
        const ended = await runProgram('openssl', ['s_client', '-connect', `127.0.0.1:${server.port}`, `-${version}`, '-CAfile', file('ca.pem'),
            '-verify_return_error', '-verify_hostname', 'localhost', '-quiet', '-ign_eof'], { input: 'SET a b\r\nGET a\r\nQUIT\r\n' });
        assert.equal(ended.out, '+OK\r\n$1\r\nb\r\n+OK\r\n', ended.error);
    });
}

test('older versions of TLS are refused', async (t) => {
    const server = await start(t);
    await assert.rejects(secure(t, server, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
});

test('whoever does not speak TLS on its port is told so in its own protocol', async (t) => {
    const server = await start(t);
    for (const bytes of [command('PING'), 'PING\r\n', 'GET / HTTP/1.1\r\n\r\n']) {
        const wire = await Wire.open(server);
        later(t, () => wire.close());
        wire.send(bytes);
        assert.match(await wire.rest(), /^-ERR this port speaks TLS, and what came is not TLS: .*--tls.*\r\n$/);
    }
    const rpc = await Wire.open(server);
    later(t, () => rpc.close());
    rpc.send(Buffer.from([0x94, 0, 1, 0xa4, 0x70, 0x69, 0x6e, 0x67, 0x90]));
    const answer = await rpc.rest();
    assert.equal(answer.charCodeAt(0), 0x94);
    assert.match(answer, /this port speaks TLS/);
    const noise = await Wire.open(server);
    later(t, () => noise.close());
    noise.send(Buffer.from([0xff, 0xff, 0xff]));
    assert.equal(await noise.rest(), '');
});

test('what breaks off in the handshake, or is no handshake, harms nobody', async (t) => {
    const server = await start(t);
    for (const bytes of [[0x16], [0x16, 3, 1, 0, 5], [0x16, 3, 1, 0, 2, 1, 0], [0x16, 3, 3, 0xff, 0xff, 1, 2, 3], [0x16, 0, 0, 0, 0]]) {
        const wire = await Wire.open(server);
        wire.send(Buffer.from(bytes));
        wire.socket.end();
        await wire.rest();
    }
    const wire = await secure(t, server);
    await wire.ask(command('PING'), '+PONG\r\n');
});

test('a pipeline of a hundred thousand commands is answered in order', async (t) => {
    const server = await start(t);
    const wire = await secure(t, server);
    const count = 100000;
    wire.send('INCR n\r\n'.repeat(count));
    let expected = '';
    for (let n = 1; n <= count; n++) expected += `:${n}\r\n`;
    assert.equal((await wire.bytes(expected.length)).toString() === expected, true);
});

test('large values come and go whole', async (t) => {
    const server = await start(t);
    const wire = await secure(t, server);
    const value = Buffer.alloc(3 << 20, 'abcdefghijk').toString();
    await wire.ask(command('SET', 'large', value), '+OK\r\n');
    assert.equal(await bulk(wire, 'GET', 'large') === value, true);
    assert.equal(await bulk(await plain(t, server), 'GET', 'large') === value, true);
});

test('while Lua computes, connections of its worker go on at others', async (t) => {
    const server = await start(t, { args: ['--workers', '3', '--lua_time_max', '600000'] });
    const busy = await secure(t, server), value = 'abcdefghijk'.repeat(20000), others = [];
    for (let n = 0; n < 9; n++) {
        others.push(await secure(t, server));
        await others[n].ask('PING\r\n', '+PONG\r\n');
    }
    const first = others.map((_, n) => command('SET', `k${n}`, value));
    others.forEach((other, n) => other.send(first[n].slice(0, 1000 + n * 20000))); // the rest comes meanwhile
    await busy.ask('PING\r\n', '+PONG\r\n');
    busy.send("EVAL 'while true do end' 0\r\n");
    for (const [n, other] of others.entries()) await other.ask(first[n].slice(1000 + n * 20000), '+OK\r\n');
    for (let round = 0; round < 3; round++)
        for (const [n, other] of others.entries()) assert.equal(await bulk(other, 'GET', `k${n}`) === value, true);
    assert.match(await bulk(others[0], 'INFO', 'stats'), /\nmoved_connections:[1-9]/);
    let reply;
    do { // it may not have begun yet
        others[0].send('SCRIPT KILL\r\n');
        reply = await others[0].line();
    } while (reply.startsWith('-NOTBUSY'));
    assert.equal(reply, '+OK');
    assert.match(await busy.line(), /^-ERR .*SCRIPT KILL/);
});

test('busy connections of one worker go to another one, and get their replies in order', async (t) => {
    const server = await start(t, { args: ['--workers', '2'] });
    const wires = [], value = 'abcdefghijk'.repeat(1000), each = 60;
    for (let n = 0; n < 12; n++) { // they come to the two in turn
        wires.push(await secure(t, server));
        await wires[n].ask('PING\r\n', '+PONG\r\n');
    }
    const busy = wires.filter((_, n) => n % 2 === 0), [asker, ...others] = wires.filter((_, n) => n % 2 === 1);
    for (const other of others) other.socket.end();
    await asker.ask(command('SETRANGE', 'large', '1048575', 'x'), ':1048576\r\n');
    for (const [n, wire] of busy.entries()) await wire.ask(command('SET', `k${n}`, value), '+OK\r\n');
    const send = (wire, n, round) => wire.send(
        command('GET', `k${n}`) + (command('BITCOUNT', 'large') + command('ECHO', `${round}`)).repeat(each));
    const expect = async (wire, round) => {
        await wire.expect(`$${value.length}\r\n${value}\r\n`);
        await wire.expect(`:4\r\n$${`${round}`.length}\r\n${round}\r\n`.repeat(each));
    };
    busy.forEach((wire, n) => send(wire, n, 0));
    let last = 0;
    do { // the next requests are there before the last replies are read
        last++;
        busy.forEach((wire, n) => send(wire, n, last));
        for (const wire of busy) await expect(wire, last - 1);
    } while (!/\nbalanced_connections:[1-9]/.test(await bulk(asker, 'INFO', 'stats')));
    for (const wire of busy) await expect(wire, last);
    for (const [n, wire] of busy.entries()) assert.equal(await bulk(wire, 'GET', `k${n}`) === value, true);
});

test('a client that does not read holds back nobody but itself, and gets everything in the end', async (t) => {
    const server = await start(t, { args: ['--workers', '1'] });
    const slow = await secure(t, server);
    const value = 'x'.repeat(1 << 20);
    await slow.ask(command('SET', 'big', value), '+OK\r\n');
    slow.socket.pause();
    const count = 100; /* more than what may wait for a connection */
    slow.send(command('GET', 'big').repeat(count) + command('SET', 'last', 'done'));
    const other = await secure(t, server);
    for (let n = 0; n < 100; n++) await other.ask(command('INCR', 'others'), `:${n + 1}\r\n`);
    await other.ask(command('EXISTS', 'last'), ':0\r\n');
    const size = `$${value.length}\r\n${value}\r\n`.length;
    let got = 0, end = '';
    slow.socket.removeAllListeners('data');
    slow.socket.on('data', (data) => {
        got += data.length;
        end = (end + data.toString('latin1')).slice(-5);
    });
    slow.socket.resume();
    while (got < size * count + 5) await new Promise((resolve) => { slow.socket.once('data', resolve); });
    assert.equal(got, size * count + 5);
    assert.equal(end, '+OK\r\n');
});

test('an orderly stop answers what was received, and says that it is the end', async (t) => {
    const server = await start(t);
    const wire = await secure(t, server);
    let said = false;
    wire.socket.on('end', () => { said = true; });
    await wire.ask(command('SET', 'k', 'v'), '+OK\r\n');
    assert.deepEqual(await server.signal('SIGTERM'), { status: 0, signal: null });
    await wire.rest();
    assert.ok(said);
});

test('QUIT is answered before the end', async (t) => {
    const server = await start(t);
    const wire = await secure(t, server);
    wire.send(command('SET', 'k', 'v') + command('QUIT') + command('SET', 'k', 'w'));
    assert.equal(await wire.rest(), '+OK\r\n+OK\r\n');
});

test('connections beyond clients_max are told so through TLS', async (t) => {
    const server = await start(t, { args: ['--clients_max', '1'] });
    const first = await secure(t, server);
    await first.ask(command('PING'), '+PONG\r\n');
    const second = await secure(t, server);
    assert.equal(await second.rest(), '-ERR max number of clients reached\r\n');
});

test('MessagePack-RPC goes through TLS as well', async (t) => {
    const server = await start(t);
    const wire = await secure(t, server);
    wire.send(Buffer.from([0x94, 0, 1, 0xa4, ...Buffer.from('ping'), 0x90]));
    assert.deepEqual([...await wire.bytes(3)], [0x94, 1, 1]);
});

test('behind a proxy TLS begins after its header', async (t) => {
    const server = await start(t, { listen: '127.0.0.1:0 tls proxy, 127.0.0.1:0' });
    const socket = net.connect(server.port, '127.0.0.1');
    await new Promise((resolve) => { socket.once('connect', resolve); });
    socket.write(Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0, 12,
        127, 0, 0, 9, 127, 0, 0, 1, 0, 7, 0x18, 0xeb]));
    const wire = await secure(t, server, { socket });
    assert.match(await bulk(wire, 'CLIENT', 'INFO'), / addr=127\.0\.0\.9:7 laddr=127\.0\.0\.1:6379 /);
});

test('where certificates are required nobody is served without one', async (t) => {
    const server = await start(t, { args: ['--tls_clients', 'required', '--tls_ca', file('ca.pem')] });
    const alice = await secure(t, server, { as: 'alice' });
    await alice.ask(command('PING'), '+PONG\r\n');
    for (const as of [undefined, 'stranger']) {
        const wire = await secure(t, server, { as, maxVersion: 'TLSv1.2' }).catch((error) => ({ error }));
        assert.match(String(wire.error), /alert|handshake|disconnected|ECONNRESET|EPIPE/i);
    }
    const late = await secure(t, server); /* in version 1.3 the client learns of it afterwards */
    late.send(command('PING'));
    assert.equal(await late.rest(), '');
    while (!/a connection from 127\.0\.0\.1:\d+ was refused: TLS: /.test(server.error)) /* it comes another way */
        await alice.ask(command('PING'), '+PONG\r\n');
});

test('an address that others can reach may do with certificates instead of a password', async (t) => {
    const args = ['--tls_clients', 'required', '--tls_ca', file('ca.pem')];
    await start(t, { listen: '0.0.0.0:0 tls, 127.0.0.1:0', args });
    const refused = await run(['serve', '--dir', folder, '--listen', '0.0.0.0:0 tls', '--tls_certificate', file('server.pem'),
        '--tls_key', file('server.key')]);
    assert.match(refused.error, /set a password .*tls_clients required/);
});

for (const [kind, as, user] of [['cn', 'alice', 'alice'], ['san', 'alice', 'carol']]) {
    test(`a connection belongs to the user whom its certificate names (${kind})`, async (t) => {
        const server = await start(t, { args: ['--tls_clients', 'optional', '--tls_ca', file('ca.pem'), '--tls_user', kind] });
        const operator = await plain(t, server);
        await operator.ask(command('ACL', 'SETUSER', user, 'on', '>secret', '~a:*', '+@all'), '+OK\r\n');
        assert.equal(await bulk(await secure(t, server, { as }), 'ACL', 'WHOAMI'), user);
        assert.equal(await bulk(await secure(t, server, { as: 'nobody' }), 'ACL', 'WHOAMI'), 'default');
        assert.equal(await bulk(await secure(t, server, { as: 'admin' }), 'ACL', 'WHOAMI'), 'default');
        assert.equal(await bulk(await secure(t, server), 'ACL', 'WHOAMI'), 'default');
        await operator.ask(command('ACL', 'SETUSER', user, 'off'), '+OK\r\n');
        assert.equal(await bulk(await secure(t, server, { as }), 'ACL', 'WHOAMI'), 'default');
    });
}

test('a certificate is enough where a password is asked for', async (t) => {
    const server = await start(t, {
        args: ['--tls_clients', 'optional', '--tls_ca', file('ca.pem'), '--tls_user', 'cn', '--password', 'sesame'],
    });
    const operator = await plain(t, server);
    await operator.ask(command('AUTH', 'sesame') + command('ACL', 'SETUSER', 'alice', 'on', '~*', '+@all'), '+OK\r\n+OK\r\n');
    const alice = await secure(t, server, { as: 'alice' });
    await alice.ask(command('SET', 'k', 'x'.repeat(100000)), '+OK\r\n');
    await (await secure(t, server)).ask(command('GET', 'k'), '-NOAUTH Authentication required.\r\n');
});

test('SIGHUP reads certificates again, and no connection is dropped', async (t) => {
    const data = makeFolder();
    later(t, () => removeFolder(data));
    const [cert, own] = [path.join(data, 'cert.pem'), path.join(data, 'key.pem')];
    fs.copyFileSync(file('server.pem'), cert);
    fs.copyFileSync(file('server.key'), own);
    const server = await start(t, { args: ['--tls_certificate', cert, '--tls_key', own] });
    const shown = async () => (await secure(t, server)).socket.getPeerCertificate().subject.CN;
    const old = await secure(t, server);
    assert.equal(await shown(), 'server');
    fs.writeFileSync(own, 'no key');
    server.child.kill('SIGHUP');
    while (!server.error.includes('the certificates stay as they were')) await old.ask(command('PING'), '+PONG\r\n');
    assert.equal(await shown(), 'server');
    fs.copyFileSync(file('renewed.pem'), cert);
    fs.copyFileSync(file('renewed.key'), own);
    server.child.kill('SIGHUP');
    while (await shown() !== 'renewed') await old.ask(command('PING'), '+PONG\r\n');
    await old.ask(command('SET', 'k', 'v'), '+OK\r\n');
});

for (const [what, args, error] of [
    ['a missing certificate', { tls_certificate: '/nowhere.pem' }, /tls_certificate: \/nowhere\.pem: No such file/i],
    ['a key of another certificate', { tls_key: 'alice.key' }, /tls_key: .*(not the key|mismatch)/],
    ['a key that is encrypted', { tls_key: 'locked.key' }, /tls_key: .*not encrypted/],
    ['no authority for clients', { tls_clients: 'required' }, /set tls_ca/],
    ['an authority that is none', { tls_clients: 'optional', tls_ca: 'alice.key' }, /tls_ca: /],
    ['a word that is none', { tls_user: 'dn' }, /off, cn or san, not 'dn'/],
]) {
    test(`${what} is an error that says what would be right`, async (t) => {
        const data = makeFolder();
        later(t, () => removeFolder(data));
        if (what.includes('encrypted')) openssl('ec', '-in', file('server.key'), '-aes256', '-passout', 'pass:x', '-out', file('locked.key'));
        const all = { tls_certificate: 'server.pem', tls_key: 'server.key', ...args };
        const flags = Object.entries(all).flatMap(([name, value]) => [`--${name}`, /\.(pem|key)$/.test(value) ? path.resolve(folder, value) : value]);
        const ended = await run(['serve', '--dir', data, '--listen', '127.0.0.1:0 tls', ...flags]);
        assert.equal(ended.status, 1);
        assert.match(ended.error, error);
        assert.equal(ended.error.split('\n').length, 2, 'one line');
    });
}

test('clients that vanish in the middle leave nothing behind', async (t) => {
    const server = await start(t);
    for (let n = 0; n < 6; n++) {
        const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${server.port}`, '-quiet'], { stdio: ['pipe', 'pipe', 'ignore'] });
        child.stdin.on('error', () => {});
        child.stdin.write('PING\r\nGET ');
        if (n % 2) await new Promise((resolve) => { child.stdout.once('data', resolve); });
        child.kill('SIGKILL');
        await new Promise((resolve) => { child.once('close', resolve); });
    }
    const operator = await plain(t, server);
    for (;;) {
        const text = await bulk(operator, 'INFO', 'clients');
        if (/connected_clients:1\r/.test(text)) break;
    }
});
