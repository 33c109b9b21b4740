// SPDX-License-Identifier: Apache-2.0
//
// The exchange of examples/: many clients trade at once, the server is killed again and again, and the
// books are in order each time: nothing is made or lost, and what was acknowledged is there.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import Redis from 'ioredis';
import { Server, later, makeFolder, removeFolder } from './lib/server.mjs';

const source = path.resolve('examples/exchange');
const OWNERS = ['ann', 'bob', 'eve', 'gil'];
const EUR = 1000000, BTC = 10000;

function connect(server) {
    const redis = new Redis(server.port, '127.0.0.1', { retryStrategy: null, maxRetriesPerRequest: 0 });
    redis.on('error', () => {});
    return redis;
}

/** A generator of numbers below n (mulberry32), so that a run can be repeated. */
function numbers(seed) {
    let state = seed;
    return (n) => {
        state = (state + 0x6d2b79f5) | 0;
        let t = Math.imul(state ^ (state >>> 15), 1 | state);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) % n;
    };
}

function pairs(list) {
    const out = {};
    for (let i = 0; i < list.length; i += 2) out[list[i]] = list[i + 1];
    return out;
}

async function startAt(folder) {
    const server = await Server.start({ folder, args: ['--workers', '2'] });
    return { server, redis: connect(server) };
}

/** Trades until the connection breaks; gives what was acknowledged. */
async function trade(server, owner, next, acknowledged) {
    const redis = connect(server);
    try {
        for (;;) {
            const side = next(2) ? 'buy' : 'sell';
            const market = next(4) ? 'BTC/EUR' : 'ETH/EUR';
            const placed = pairs(await redis.call('XPLACE', owner, market, side, 90 + next(20), 1 + next(5))
                .catch((error) => {
                    if (/ has .* and needs /.test(error.message)) return ['left', 0];
                    throw error;
                }));
            acknowledged[market] = Math.max(acknowledged[market] ?? 0, placed.order ?? 0);
            if (placed.left > 0 && next(3) === 0) {
                await redis.call('XCANCEL', owner, market, placed.order)
                    .catch((error) => { if (!/has no order/.test(error.message)) throw error; });
            }
        }
    } catch (error) {
        if (!/closed|ECONN|EPIPE|max retries/i.test(error.message)) throw error;
    } finally {
        redis.disconnect();
    }
}

test('the books are in order whenever the server is killed', async (t) => {
    const seed = Number(process.env.PERIGEE_SEED ?? Date.now() % 1000000);
    t.diagnostic(`seed ${seed}`);
    const next = numbers(seed);
    const home = makeFolder();
    later(t, () => removeFolder(home));
    let { server, redis } = await startAt(path.join(home, 'var'));
    later(t, () => server.child.exitCode ?? server.child.signalCode ?? server.signal('SIGKILL'));
    await redis.call('LUA', `box.module.install('${source}')`);
    for (const owner of OWNERS) {
        await redis.call('XDEPOSIT', owner, 'EUR', EUR);
        await redis.call('XDEPOSIT', owner, 'BTC', BTC);
        await redis.call('XDEPOSIT', owner, 'ETH', BTC);
    }
    const acknowledged = {};
    let trades = 0;
    for (let round = 0; round < 3; round++) {
        const running = OWNERS.map((owner, n) => trade(server, owner, numbers(next(1e9) + n), acknowledged));
        const before = trades;
        while (trades < before + 30) trades = await redis.call('LUA', 'box.space.exchange_trades:count()');
        redis.disconnect();
        await server.signal('SIGKILL');
        await Promise.all(running);
        ({ server, redis } = await startAt(path.join(home, 'var')));
        const sums = pairs(await redis.call('XVERIFY'));
        assert.deepEqual(sums, { BTC: OWNERS.length * BTC, ETH: OWNERS.length * BTC, EUR: OWNERS.length * EUR });
        for (const [market, number] of Object.entries(acknowledged)) {
            const last = await redis.call('LUA', `box.space.exchange_markets:get('${market}').last_order`);
            assert.ok(last >= number, `order ${number} of ${market} was acknowledged, the last one is ${last}`);
        }
    }
    const book = pairs(await redis.call('XBOOK', 'BTC/EUR'));
    assert.ok(book.buy.length > 0 || book.sell.length > 0);
    redis.disconnect();
});

test('orders match by price, then by age; what is wrong is refused', async (t) => {
    const home = makeFolder();
    later(t, () => removeFolder(home));
    const { server, redis } = await startAt(path.join(home, 'var'));
    later(t, () => server.stop());
    later(t, () => redis.disconnect());
    await redis.call('LUA', `box.module.install('${source}')`);
    await redis.call('XDEPOSIT', 'ann', 'BTC', 10);
    await redis.call('XDEPOSIT', 'eve', 'BTC', 10);
    await redis.call('XDEPOSIT', 'bob', 'EUR', 1000);
    const place = async (...args) => pairs(await redis.call('XPLACE', ...args));
    assert.equal((await place('ann', 'BTC/EUR', 'sell', 101, 4)).left, 4);
    assert.equal((await place('eve', 'BTC/EUR', 'sell', 100, 2)).left, 2);
    const last = await place('ann', 'BTC/EUR', 'sell', 100, 2);
    // two of eve's and one of ann's for 100
    assert.equal((await place('bob', 'BTC/EUR', 'buy', 105, 3)).left, 0);
    assert.deepEqual(pairs(await redis.call('XBALANCE', 'bob', 'EUR')), { free: 700, held: 0 });
    assert.deepEqual(pairs(await redis.call('XBALANCE', 'eve', 'EUR')), { free: 200, held: 0 });
    assert.deepEqual(pairs(await redis.call('XBALANCE', 'ann', 'EUR')), { free: 100, held: 0 });
    assert.deepEqual(pairs(await redis.call('XCANCEL', 'ann', 'BTC/EUR', last.order)), { left: 1, order: last.order });
    const book = pairs(await redis.call('XBOOK', 'BTC/EUR'));
    assert.deepEqual(book.sell.map(pairs), [{ amount: 4, price: 101 }]);
    await assert.rejects(redis.call('XPLACE', 'bob', 'BTC/EUR', 'buy', 100, 8), /bob has 700 EUR and needs 800/);
    await assert.rejects(redis.call('XCANCEL', 'eve', 'BTC/EUR', 1), /eve has no order 1 of BTC\/EUR in the book/);
    await assert.rejects(redis.call('XPLACE', 'bob', 'gold', 'buy', 1, 1), /a market is called like BTC\/EUR/);
    await assert.rejects(redis.call('XPLACE', 'bob', 'BTC/EUR', 'steal', 1, 1), /to buy or to sell, not to steal/);
    await assert.rejects(redis.call('XDEPOSIT', 'bob', 'EUR', '-5'), /whole number/);
    assert.deepEqual(pairs(await redis.call('XVERIFY')), { BTC: 20, EUR: 1000 });
});
