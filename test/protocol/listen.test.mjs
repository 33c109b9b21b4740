// SPDX-License-Identifier: Apache-2.0
//
// Where a server listens: several addresses, sockets in the file system, and the PROXY protocol.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { Server, Wire, command, later, makeFolder, removeFolder, run } from './lib/server.mjs';

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

async function wireTo(t, address) {
    const wire = await Wire.open({ address, host: /^[\d.]+/.exec(address)?.[0], port: Number(/:(\d+)$/.exec(address)?.[1]) });
    later(t, () => wire.close());
    return wire;
}

async function bulk(wire, ...args) {
    wire.send(command(...args));
    return (await wire.bytes(Number((await wire.line()).slice(1)) + 2)).toString().trim();
}

/** A header of version 2: `from` and `to` are [address, port] of IPv4. */
function header(from, to, { head = 0x21, tlvs = Buffer.alloc(0) } = {}) {
    const four = ([host]) => Buffer.from(host.split('.').map(Number));
    const ports = Buffer.alloc(4);
    ports.writeUInt16BE(from[1], 0);
    ports.writeUInt16BE(to[1], 2);
    const rest = Buffer.concat([four(from), four(to), ports, tlvs]);
    const fixed = Buffer.from('\r\n\r\n\0\r\nQUIT\n\0\x11\0\0', 'latin1');
    fixed[12] = head;
    fixed.writeUInt16BE(rest.length, 14);
    return Buffer.concat([fixed, rest]);
}

test('a server listens at several addresses', async (t) => {
    const folder = folderFor(t);
    const socket = `unix:${path.join(folder, 's')}`;
    const server = await start(t, { args: ['--listen', `127.0.0.1:0, 127.0.0.2:0,${socket} mode=600`] });
    assert.equal(server.addresses.length, 3);
    for (const address of server.addresses) {
        const wire = await wireTo(t, address);
        await wire.ask(command('PING'), '+PONG\r\n');
        assert.match(await bulk(wire, 'CLIENT', 'INFO'), new RegExp(` laddr=${address.replace(/[.]/g, '\\.')} `));
    }
    assert.equal(fs.statSync(socket.slice(5)).mode & 0o777, 0o600);
    await server.signal('SIGTERM');
    assert.ok(!fs.existsSync(socket.slice(5)));
});

test('CONFIG GET tells where it listens as Redis does', async (t) => {
    const folder = folderFor(t);
    const socket = path.join(folder, 's');
    const server = await start(t, { args: ['--listen', `127.0.0.1:0 proxy, 127.0.0.2:0,unix:${socket} mode=600`] });
    const wire = await wireTo(t, server.addresses[1]);
    const port = /:(\d+)$/.exec(server.addresses[0])[1];
    for (const [name, value] of [['bind', '127.0.0.1 127.0.0.2'], ['unixsocket', socket], ['port', port], ['tcp-keepalive', '300']])
        await wire.ask(command('CONFIG', 'GET', name), `*2\r\n$${name.length}\r\n${name}\r\n$${value.length}\r\n${value}\r\n`);
});

test('when one of several addresses is taken, none is served', async (t) => {
    const folder = folderFor(t);
    const first = await start(t, {});
    const socket = path.join(folder, 's');
    const second = await run(['serve', '--dir', folder, '--listen', `unix:${socket}, ${first.address}`]);
    assert.equal(second.status, 1);
    assert.match(second.error, new RegExp(`port ${first.port} is taken already`));
    assert.ok(!fs.existsSync(socket));
});

for (const [what, listen, error] of [
    ['an unknown word', '127.0.0.1:0 tsl', /there may be tls, proxy and mode=660/],
    ['a mode of a port', '127.0.0.1:0 mode=600', /only unix:PATH has one/],
    ['a comma too many', '127.0.0.1:0,', /an address is missing/],
    ['TLS without a certificate', '127.0.0.1:0 tls', /tls_certificate and tls_key/],
    ['others on the second address', '127.0.0.1:0, 0.0.0.0:0', /others can reach 0\.0\.0\.0:0; set a password/],
]) {
    test(`${what} is refused with what would be right`, async (t) => {
        const ended = await run(['serve', '--dir', folderFor(t), '--listen', listen]);
        assert.equal(ended.status, 1);
        assert.match(ended.error, error);
        assert.equal(ended.error.split('\n').length, 2, 'one line');
    });
}

test('behind a proxy the client is who the proxy says', async (t) => {
    const server = await start(t, { args: ['--listen', '127.0.0.1:0 proxy, 127.0.0.1:0', '--password', 'sesame'] });
    const wire = await wireTo(t, server.addresses[0]);
    const login = command('AUTH', 'sesame');
    wire.send(Buffer.concat([header(['192.0.2.7', 4711], ['198.51.100.1', 6379]), Buffer.from(login)]));
    await wire.expect('+OK\r\n');
    assert.match(await bulk(wire, 'CLIENT', 'INFO'), / addr=192\.0\.2\.7:4711 laddr=198\.51\.100\.1:6379 /);
    const local = await wireTo(t, server.addresses[0]);
    local.send(header(['192.0.2.7', 1], ['198.51.100.1', 2], { head: 0x20 }));
    local.send(login);
    await local.expect('+OK\r\n');
    assert.match(await bulk(local, 'CLIENT', 'INFO'), / addr=127\.0\.0\.1:\d+ /);
    assert.equal(fs.readFileSync(path.join(server.folder, 'address'), 'utf8'), `${server.addresses[1]}\n`);
});

test("a proxy's header may come byte by byte", async (t) => {
    const server = await start(t, { args: ['--listen', '127.0.0.1:0 proxy'] });
    const wire = await wireTo(t, server.addresses[0]);
    const all = Buffer.concat([header(['127.0.0.1', 4711], ['127.0.0.1', 6379]), Buffer.from(command('PING'))]);
    for (const byte of all) {
        wire.send(Buffer.from([byte]));
        await new Promise((resolve) => { setImmediate(resolve); });
    }
    await wire.expect('+PONG\r\n');
});

test('who comes to a port for a proxy without its header is told so', async (t) => {
    const server = await start(t, { args: ['--listen', '127.0.0.1:0 proxy'] });
    for (const bytes of [command('PING'), 'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n', 'GET / HTTP/1.1\r\n']) {
        const wire = await wireTo(t, server.addresses[0]);
        wire.send(bytes);
        assert.match(await wire.rest(), /^-ERR Protocol error: this port expects a header of the PROXY protocol, version 2/);
    }
    const wire = await wireTo(t, server.addresses[0]);
    wire.send(header(['127.0.0.1', 1], ['127.0.0.1', 2], { tlvs: Buffer.from([4, 0, 9]) }));
    assert.match(await wire.rest(), /^-ERR Protocol error: a TLV of the PROXY header is longer/);
});

test('without a password strangers behind a proxy are refused', async (t) => {
    const server = await start(t, { args: ['--listen', '127.0.0.1:0 proxy'] });
    const wire = await wireTo(t, server.addresses[0]);
    wire.send(header(['192.0.2.7', 4711], ['127.0.0.1', 6379]));
    assert.match(await wire.rest(), /^-DENIED /);
});

test("where every port is for a proxy the machine's own programs have a socket", async (t) => {
    const server = await start(t, { args: ['--listen', '127.0.0.1:0 proxy'] });
    const socket = path.join(server.folder, 'socket');
    assert.equal(fs.readFileSync(path.join(server.folder, 'address'), 'utf8'), `unix:${socket}\n`);
    assert.equal(fs.statSync(socket).mode & 0o777, 0o600);
    const asked = await run(['console', `unix:${socket}`, '-e', 'return 6 * 7']);
    assert.match(asked.out, /42/);
    await server.signal('SIGTERM');
    assert.ok(!fs.existsSync(socket));
});

test('connections in their greeting do not keep a server from stopping', async (t) => {
    const server = await start(t, { args: ['--listen', '127.0.0.1:0 proxy', '--stop_time_max', '1h'] });
    const sockets = Array.from({ length: 20 }, () => net.connect(server.port, '127.0.0.1'));
    for (const socket of sockets) {
        socket.on('error', () => {});
        later(t, () => socket.destroy());
    }
    await Promise.all(sockets.map((socket) => new Promise((resolve) => { socket.once('connect', resolve); })));
    sockets[0].write(header(['127.0.0.1', 1], ['127.0.0.1', 2]).subarray(0, 7));
    assert.deepEqual(await server.signal('SIGTERM'), { status: 0, signal: null });
});
