// SPDX-License-Identifier: Apache-2.0
//
// The real executable as a process, in a folder of its own and on a port that the system picks, and a
// client that sends and receives bytes. A test that hangs is ended by the time limit of its file.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

export const executable = process.env.TEST_PERIGEE;
assert.ok(executable, 'TEST_PERIGEE is the path of the executable under test');

function environment(extra) {
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('PERIGEE_'));
    return { ...Object.fromEntries(kept), ...extra };
}

export function makeFolder() {
    return fs.mkdtempSync(path.join(os.tmpdir(), 'perigee-protocol-'));
}

export function removeFolder(folder) {
    fs.rmSync(folder, { recursive: true, force: true });
}

const stacks = new WeakMap();

/** What is to be done when the test has ended; the last one first. */
export function later(t, action) {
    if (!stacks.has(t)) {
        const stack = [];
        stacks.set(t, stack);
        t.after(async () => {
            while (stack.length > 0) await stack.pop()();
        });
    }
    stacks.get(t).push(action);
}

/** Runs to the end: {status, signal, out, error}. What it logs of the machine is no error. */
export function run(args, { env = {}, input = '' } = {}) {
    return runProgram(executable, args, { env: { PERIGEE_LOG_LEVEL: 'error', ...env }, input });
}

export function runProgram(program, args, { env = {}, input = '' } = {}) {
    return new Promise((resolve, reject) => {
        const child = spawn(program, args, { env: environment(env), stdio: 'pipe' });
        let out = '', error = '';
        child.stdout.on('data', (data) => { out += data; });
        child.stderr.on('data', (data) => { error += data; });
        child.on('error', reject);
        child.on('close', (status, signal) => resolve({ status, signal, out, error }));
        child.stdin.on('error', () => {});
        child.stdin.end(input);
    });
}

const children = new Set();
process.on('exit', () => { for (const child of children) child.kill('SIGKILL'); });

export class Server {
    /** Resolves when the line has come that says it is ready; rejects when the process ends before. */
    static start({ folder, args = [], env = {} } = {}) {
        const server = new Server();
        server.ownFolder = !folder;
        server.folder = folder ?? makeFolder();
        const all = ['serve', '--dir', server.folder, '--log_level', 'warn'];
        if (!args.some((arg) => arg.startsWith('--listen'))) all.push('--listen', '127.0.0.1:0');
        // a machine may be slow; what comes later counts
        all.push('--lua_time_max', '10min', '--lock_timeout', '10min', '--transaction_idle_max', '10min');
        server.child = spawn(executable, [...all, ...args], { env: environment(env), stdio: 'pipe' });
        children.add(server.child);
        server.out = server.error = '';
        server.child.stderr.on('data', (data) => { server.error += data; });
        server.ended = new Promise((resolve) => {
            server.child.on('close', (status, signal) => {
                children.delete(server.child);
                resolve({ status, signal });
            });
        });
        return new Promise((resolve, reject) => {
            server.child.stdout.on('data', (data) => {
                const before = server.out.includes('\n');
                server.out += data;
                if (before || !server.out.includes('\n')) return;
                server.addresses = / listening on ([^,]+),/.exec(server.out)[1]
                    .split(' and ').map((text) => text.replace(/ .*/, ''));
                server.address = server.addresses[0];
                server.port = Number(/:(\d+)$/.exec(server.address)?.[1]);
                resolve(server);
            });
            server.ended.then(({ status }) => reject(new Error(`status ${status}: ${server.error}`)));
        });
    }

    signal(name) {
        this.child.kill(name);
        return this.ended;
    }

    /** An orderly stop; removes the folder if it is the server's own. */
    async stop() {
        const end = await this.signal('SIGTERM');
        if (this.ownFolder) removeFolder(this.folder);
        assert.deepEqual(end, { status: 0, signal: null }, this.error);
    }

    connect() {
        return Wire.open(this);
    }
}

/** A socket: what is sent is bytes, what comes is taken by length, by line, or as a RESP reply. */
export class Wire {
    static open(server) {
        const wire = new Wire();
        const unix = server.address.startsWith('unix:');
        wire.received = Buffer.alloc(0);
        wire.closed = false;
        wire.waiters = [];
        wire.socket = unix ? net.connect(server.address.slice(5)) : net.connect(server.port, server.host ?? '127.0.0.1');
        wire.socket.setNoDelay(true);
        const wake = () => { for (const waiter of wire.waiters.splice(0)) waiter(); };
        wire.socket.on('data', (data) => {
            wire.received = Buffer.concat([wire.received, data]);
            wake();
        });
        wire.socket.on('error', () => {});
        wire.socket.on('close', () => { wire.closed = true; wake(); });
        return new Promise((resolve, reject) => {
            wire.socket.once('connect', () => resolve(wire));
            wire.socket.once('error', reject);
        });
    }

    send(bytes) {
        this.socket.write(bytes);
    }

    /** Waits until `take` gives something other than undefined for what has been received. */
    async until(take) {
        for (;;) {
            const taken = take(this.received);
            if (taken !== undefined) return taken;
            if (this.closed) throw new Error(`closed; received ${JSON.stringify(this.received.toString('latin1'))}`);
            await new Promise((resolve) => { this.waiters.push(resolve); });
        }
    }

    async bytes(count) {
        return this.until((received) => {
            if (received.length < count) return undefined;
            this.received = received.subarray(count);
            return received.subarray(0, count);
        });
    }

    /** Expects exactly this text next. */
    async expect(text) {
        assert.equal((await this.bytes(Buffer.byteLength(text, 'latin1'))).toString('latin1'), text);
    }

    async line() {
        return this.until((received) => {
            const end = received.indexOf('\r\n');
            if (end < 0) return undefined;
            this.received = received.subarray(end + 2);
            return received.subarray(0, end).toString('latin1');
        });
    }

    /** Everything up to the end of the connection. */
    async rest() {
        while (!this.closed) await new Promise((resolve) => { this.waiters.push(resolve); });
        return this.received.toString('latin1');
    }

    async ask(text, reply) {
        this.send(text);
        await this.expect(reply);
    }

    close() {
        this.socket.destroy();
    }
}

/** A command as clients send it. */
export function command(...args) {
    const parts = args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`);
    return `*${args.length}\r\n${parts.join('')}`;
}
