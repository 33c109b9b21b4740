// SPDX-License-Identifier: Apache-2.0
//
// Spaces from any language: a RESP library (here ioredis) carries commands, a msgpack library their values.
//
//     npm install ioredis @msgpack/msgpack
//     node examples/spaces.js [PORT] [HOST]
//
// against a running server, 127.0.0.1:6379 when nothing is given. A space of accounts is made, filled, read
// by an index and in pages, changed in a transaction, and dropped. What is not as it has to be ends the
// program with an error.

const assert = require('node:assert/strict');
const Redis = require('ioredis');
const { decode, encode } = require('@msgpack/msgpack');

/** After CLIENT FORMAT msgpack every argument behind a command's name is one MessagePack value, and so is the reply. */
class Spaces {
    static async connect(port, host) {
        const spaces = new Spaces();
        // The format belongs to the connection: it is chosen anew on the next one, so there is none behind its back.
        spaces.redis = new Redis(port, host, { retryStrategy: null });
        await spaces.redis.call('CLIENT', 'FORMAT', 'msgpack');
        return spaces;
    }

    async call(command, ...values) {
        return decode(await this.redis.callBuffer(command, ...Spaces.bytes(values)));
    }

    /** [[command, value ..] ..], sent at once; with `multi` as one transaction. */
    async callAll(requests, { multi = false } = {}) {
        const batch = multi ? this.redis.multi() : this.redis.pipeline();
        for (const [command, ...values] of requests) batch.callBuffer(command, ...Spaces.bytes(values));
        return (await batch.exec()).map(([error, reply]) => error ?? decode(reply));
    }

    close() {
        this.redis.disconnect();
    }

    static bytes(values) {
        return values.map((value) => Buffer.from(encode(value)));
    }
}

async function main() {
    const [port = '6379', host = '127.0.0.1'] = process.argv.slice(2);
    const spaces = await Spaces.connect(Number(port), host);
    const format = [['id', 'unsigned'], ['owner', 'string'], ['balance', 'integer'], ['notes', 'any']];
    await spaces.call('SPACE.CREATE', 'example_accounts', { format });
    await spaces.call('SPACE.INDEX.CREATE', 'example_accounts', 'id', { parts: ['id'] });
    await spaces.call('SPACE.INDEX.CREATE', 'example_accounts', 'owner', { parts: ['owner'], unique: false });

    const people = ['ann', 'bob', 'ann', 'eve'];
    const made = await spaces.callAll(people.map((owner, n) =>
        ['SPACE.INSERT', 'example_accounts', [n + 1, owner, 100 * (n + 1), { tags: [], picture: new Uint8Array([0, 255]) }]]));
    assert.deepEqual(made.map((tuple) => tuple[1]), people);
    console.log(`${made.length} accounts`);

    const ofAnn = await spaces.call('SPACE.SELECT', 'example_accounts', 'ann', { index: 'owner' });
    console.log('of ann:', ofAnn.map(([id, , balance]) => `${id} has ${balance}`).join(', '));
    assert.deepEqual([...ofAnn[0][3].picture], [0, 255]);

    // Pages: what comes after the last tuple of the page before.
    let page = [], pages = 0, after = {};
    do {
        page = await spaces.call('SPACE.SELECT', 'example_accounts', [], { limit: 3, ...after });
        after = { after: page.at(-1) };
        pages += page.length > 0 ? 1 : 0;
    } while (page.length > 0);
    console.log(`${pages} pages`);
    assert.equal(pages, 2);

    // Both or none. Commands of Redis, with Redis's own arguments, may stand among them.
    const transfer = [
        ['SPACE.UPDATE', 'example_accounts', 1, [['-', 'balance', 30]]],
        ['SPACE.UPDATE', 'example_accounts', 2, [['+', 'balance', 30]]],
    ];
    const [from, to] = await spaces.callAll(transfer, { multi: true });
    console.log(`after the transfer: ${from[2]} and ${to[2]}`);
    assert.deepEqual([from[2], to[2]], [70, 230]);

    const [refused] = await spaces.callAll([['SPACE.INSERT', 'example_accounts', [1, 'mallory', 0, null]]]);
    assert.match(refused.message, /^ERR Duplicate key exists in unique index "id"/);
    console.log('refused:', refused.message);

    await spaces.call('SPACE.DROP', 'example_accounts');
    spaces.close();
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
