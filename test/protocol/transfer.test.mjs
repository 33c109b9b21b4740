// SPDX-License-Identifier: Apache-2.0
//
// Money is neither made nor lost: clients move it between accounts in interactive transactions of
// every level that allows it, in scripts and in MULTI, wait for each other, lose, and go away in
// between. TRANSFER_ROUNDS says for how long, PERIGEE_SEED repeats a run's choices.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Server, command, later } from './lib/server.mjs';

const ACCOUNTS = 6, EACH = 1000, CLIENTS = 12;
const ROUNDS = Number(process.env.TRANSFER_ROUNDS ?? 40);
const seed = Number(process.env.PERIGEE_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** Mulberry32. */
function randomOf(start) {
    let state = start | 0;
    return (below) => {
        state = (state + 0x6d2b79f5) | 0;
        let t = Math.imul(state ^ (state >>> 15), 1 | state);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) % below;
    };
}

let server;
before(async () => { server = await Server.start({ args: ['--workers', '2', '--lock_timeout', '2s'] }); });
after(() => server.stop());

const SCRIPT = `
    local from, to, amount = KEYS[1], KEYS[2], tonumber(ARGV[1])
    redis.call('DECRBY', from, amount)
    return redis.call('INCRBY', to, amount)`;

class Client {
    constructor(random) { this.random = random; this.lost = 0; this.done = 0; }

    async open() { this.wire = await server.connect(); }

    /** The reply to one command: a line, or the bulk string that it announces. */
    async ask(...args) {
        this.wire.send(command(...args));
        const line = await this.wire.line();
        if (line[0] !== '$' || line === '$-1') return line;
        return (await this.wire.bytes(Number(line.slice(1)) + 2)).toString('latin1').slice(0, -2);
    }

    async pick() {
        const from = this.random(ACCOUNTS);
        const to = (from + 1 + this.random(ACCOUNTS - 1)) % ACCOUNTS;
        return [`account:${from}`, `account:${to}`, String(1 + this.random(9))];
    }

    /** Gives up a transaction that has failed; anything but the known reasons is wrong. */
    async giveUp(reply) {
        assert.match(reply, /^-(CONFLICT|DEADLOCK|LOCKTIMEOUT) |^-ERR the transaction was rolled back/);
        this.lost++;
        assert.equal(await this.ask('ROLLBACK'), '+OK');
    }

    async interactive() {
        const [from, to, amount] = await this.pick();
        const level = ['SERIALIZABLE', 'SNAPSHOT', 'READ COMMITTED'][this.random(3)];
        assert.equal(await this.ask('BEGIN', ...level.split(' ')), '+OK');
        for (const [verb, account] of [['DECRBY', from], ['INCRBY', to]]) {
            const reply = await this.ask(verb, account, amount);
            if (reply[0] !== ':') return this.giveUp(reply);
        }
        switch (this.random(8)) {
        case 0:
            this.wire.close(); // in the middle: it is as if nothing had been done
            return this.open();
        case 1:
            assert.equal(await this.ask('ROLLBACK'), '+OK');
            return undefined;
        default: {
            const reply = await this.ask('COMMIT');
            if (reply === '+OK') this.done++;
            else assert.match(reply, /^-(CONFLICT|ERR the transaction was rolled back)/);
            return undefined;
        }
        }
    }

    async script() {
        const [from, to, amount] = await this.pick();
        const reply = await this.ask('EVAL', SCRIPT, '2', from, to, amount);
        assert.match(reply, /^:|^-LOCKTIMEOUT /);
    }

    async multi() {
        const [from, to, amount] = await this.pick();
        this.wire.send(command('MULTI') + command('DECRBY', from, amount) + command('INCRBY', to, amount) + command('EXEC'));
        await this.wire.expect('+OK\r\n+QUEUED\r\n+QUEUED\r\n');
        const reply = await this.wire.line();
        if (reply === '*2') {
            await this.wire.line();
            await this.wire.line();
        } else {
            assert.match(reply, /^-LOCKTIMEOUT /);
        }
    }

    async audit() {
        assert.equal(await this.ask('BEGIN', 'READ', 'ONLY'), '+OK');
        let sum = 0;
        for (let n = 0; n < ACCOUNTS; n++) sum += Number(await this.ask('GET', `account:${n}`));
        assert.equal(await this.ask('COMMIT'), '+OK');
        assert.equal(sum, ACCOUNTS * EACH);
    }

    async run() {
        for (let n = 0; n < ROUNDS; n++) {
            const choice = this.random(10);
            if (choice < 6) await this.interactive();
            else if (choice < 7) await this.script();
            else if (choice < 8) await this.multi();
            else await this.audit();
        }
    }
}

test('money is neither made nor lost', async (t) => {
    console.log(`# PERIGEE_SEED=${seed}`);
    const clients = Array.from({ length: CLIENTS }, (_, n) => new Client(randomOf(seed + n)));
    for (const client of clients) {
        await client.open();
        later(t, () => client.wire.close());
    }
    for (let n = 0; n < ACCOUNTS; n++) {
        assert.equal(await clients[0].ask('SET', `account:${n}`, String(EACH)), '+OK');
    }
    await Promise.all(clients.map((client) => client.run()));
    await clients[0].audit();
    assert.ok(clients.reduce((sum, client) => sum + client.done, 0) > 0);
    for (;;) { // those who went away have left nothing
        clients[0].wire.send(command('INFO', 'transactions'));
        const size = Number((await clients[0].wire.line()).slice(1));
        const text = (await clients[0].wire.bytes(size + 2)).toString('latin1');
        if (/\r\ntxn_open:0\r\n/.test(text) && /\r\nlocks_waiting:0\r\n/.test(text) && /\r\nlocks_held:0\r\n/.test(text)) break;
    }
});
