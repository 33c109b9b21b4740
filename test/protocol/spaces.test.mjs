// SPDX-License-Identifier: Apache-2.0
//
// Spaces over RESP: SPACE.INSERT and its kin, in each of the formats that a connection can choose.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decode, encode } from '@msgpack/msgpack';
import Redis from 'ioredis';
import { RESP_TYPES, createClient } from 'redis';
import { Server, command, later, runProgram } from './lib/server.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));

let server, admin;
before(async () => {
    server = await Server.start({ args: ['--workers', '2'] });
    admin = new Redis(server.port, '127.0.0.1');
});
after(async () => {
    admin.disconnect();
    await server.stop();
});

beforeEach(async () => {
    for (const name of await admin.call('SPACE.LIST')) await admin.call('SPACE.DROP', name);
    await admin.call('SPACE.CREATE', 'accounts', JSON.stringify({
        format: [['id', 'unsigned'], ['owner', 'string'], ['balance', 'number']],
    }));
    await admin.call('SPACE.INDEX.CREATE', 'accounts', 'id', '{"parts":["id"]}');
    await admin.call('SPACE.INDEX.CREATE', 'accounts', 'owner', '{"parts":["owner"],"unique":false}');
    for (const tuple of [[1, 'ann', 10], [2, 'bob', 20.5], [3, 'ann', 30]])
        await admin.call('SPACE.INSERT', 'accounts', JSON.stringify(tuple));
});

async function open(t) {
    const wire = await server.connect();
    later(t, () => wire.close());
    return {
        wire,
        ask: (request, reply) => wire.ask(command(...request.split(/ +/)), reply),
    };
}

const binary = (value) => Buffer.from(encode(value));

test('native: tuples are arrays, doubles and nulls what RESP2 and RESP3 have for them', async (t) => {
    const { ask } = await open(t);
    await ask('SPACE.GET accounts 2', '*3\r\n:2\r\n$3\r\nbob\r\n$4\r\n20.5\r\n');
    await ask('SPACE.GET accounts 9', '$-1\r\n');
    await ask('SPACE.COUNT accounts', ':3\r\n');
    const client = createClient({ socket: { port: server.port, host: '127.0.0.1' }, RESP: 3 });
    later(t, () => client.destroy());
    await client.connect();
    assert.deepEqual(await client.sendCommand(['SPACE.GET', 'accounts', '2']), [2, 'bob', 20.5]);
    assert.equal(await client.sendCommand(['SPACE.GET', 'accounts', '9']), null);
    assert.equal(await client.sendCommand(['SPACE.DROP', 'accounts']), true);
});

test('json: every reply is JSON text, and null where there is no tuple', async (t) => {
    const { ask } = await open(t);
    await ask('CLIENT FORMAT json', '+OK\r\n');
    await ask('SPACE.GET accounts 2', '$14\r\n[2,"bob",20.5]\r\n');
    await ask('SPACE.GET accounts 9', '$4\r\nnull\r\n');
    await ask('SPACE.COUNT accounts "ann" INDEX owner', '$1\r\n2\r\n');
    await ask('SPACE.SELECT accounts [] {"iterator":"le","limit":1}', '$14\r\n[[3,"ann",30]]\r\n');
    await ask('SPACE.UPDATE accounts 1 [["+","balance",0.5]]', '$14\r\n[1,"ann",10.5]\r\n');
    await ask('SPACE.UPSERT accounts [1,"x",0] [["=","owner","eve"]]', '$4\r\nnull\r\n');
    await ask('SPACE.DELETE accounts 1', '$14\r\n[1,"eve",10.5]\r\n');
    await ask('LUA return{n=...},1 {"a":[1,null]}', '$24\r\n[{"n":{"a":[1,null]}},1]\r\n');
    await ask('RESET', '+RESET\r\n');
    await ask('CLIENT FORMAT', '$6\r\nnative\r\n');
});

test('msgpack: arguments behind the name and replies are MessagePack values', async (t) => {
    const redis = new Redis(server.port, '127.0.0.1');
    later(t, () => redis.disconnect());
    const call = async (name, ...values) => decode(await redis.callBuffer(name, ...values.map(binary)), { useBigInt64: true });
    await redis.call('CLIENT', 'FORMAT', 'msgpack');
    assert.deepEqual(await call('SPACE.SELECT', 'accounts', 'ann', 'INDEX', 'owner', 'LIMIT', 1), [[1, 'ann', 10]]);
    assert.deepEqual(await call('SPACE.SELECT', 'accounts', [], { after: [1, 'ann', 10] }), [[2, 'bob', 20.5], [3, 'ann', 30]]);
    assert.equal(await call('SPACE.GET', 'accounts', 9), null);
    assert.equal(await call('LUA', 'local a, b = ... return #a + b', [1, 2], 3), 5);
    // what is put in comes out as it was: bytes, empty maps, integers of 64 bits, doubles without a fraction
    await call('SPACE.CREATE', 'things');
    await call('SPACE.INDEX.CREATE', 'things', 'id');
    const tuple = Buffer.concat([Buffer.from([0x96]), binary(1), Buffer.from('c403000102', 'hex'), Buffer.from([0x80]),
        Buffer.from('cb4000000000000000', 'hex'), Buffer.from('cfffffffffffffffff', 'hex'), Buffer.from('d40507', 'hex')]);
    await redis.callBuffer('SPACE.REPLACE', binary('things'), tuple);
    assert.deepEqual(await redis.callBuffer('SPACE.GET', binary('things'), binary([1])), tuple);
});

/* Every command with the same arguments in one format: what it has answered, as values of JavaScript. */
async function all(t, format) {
    const client = createClient({ socket: { port: server.port, host: '127.0.0.1' }, RESP: 3 });
    later(t, () => client.destroy());
    await client.connect();
    const bytes = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    await client.sendCommand(['CLIENT', 'FORMAT', format]);
    const word = (text) => ({ text });
    const told = (argument) => {
        if (format === 'msgpack') return binary(argument?.text ?? argument);
        return argument?.text ?? JSON.stringify(argument);
    };
    const ask = async (name, ...args) => {
        const reply = await (format === 'native' ? client : bytes).sendCommand([name, ...args.map(told)]);
        if (format === 'native') return reply;
        return format === 'json' ? JSON.parse(reply.toString()) : decode(reply);
    };
    const replies = {};
    const keep = async (label, ...request) => { replies[label] = await ask(...request); };
    const space = word('copies');
    await keep('create', 'SPACE.CREATE', space, { format: [['id', 'unsigned'], ['owner', 'string'], ['balance', 'number']] });
    await keep('index create', 'SPACE.INDEX.CREATE', space, word('id'), { parts: ['id'] });
    await keep('second index', 'SPACE.INDEX.CREATE', space, word('owner'), { parts: ['owner'], unique: false });
    await keep('index alter', 'SPACE.INDEX.ALTER', space, word('owner'), { name: 'by_owner' });
    await keep('list', 'SPACE.LIST');
    await keep('insert', 'SPACE.INSERT', space, [1, 'ann', 10]);
    await keep('replace', 'SPACE.REPLACE', space, [2, 'bob', 20.5]);
    await keep('replace again', 'SPACE.REPLACE', space, [1, 'ann', 11]);
    await keep('get', 'SPACE.GET', space, 2);
    await keep('get nothing', 'SPACE.GET', space, 9);
    await keep('update', 'SPACE.UPDATE', space, 1, [['+', 'balance', 0.5]]);
    await keep('upsert', 'SPACE.UPSERT', space, [3, 'eve', 0], [['+', 'balance', 1]]);
    await keep('upsert again', 'SPACE.UPSERT', space, [3, 'eve', 0], [['+', 'balance', 1]]);
    await keep('select', 'SPACE.SELECT', space, [], { iterator: 'GE', limit: 10 });
    await keep('count', 'SPACE.COUNT', space, 'ann', word('INDEX'), word('by_owner'));
    await keep('delete', 'SPACE.DELETE', space, 2);
    await keep('alter', 'SPACE.ALTER', space, { name: 'others' });
    await keep('info', 'SPACE.INFO', word('others'));
    await keep('index drop', 'SPACE.INDEX.DROP', word('others'), word('by_owner'));
    await keep('truncate', 'SPACE.TRUNCATE', word('others'));
    await keep('count of none', 'SPACE.COUNT', word('others'));
    await keep('drop', 'SPACE.DROP', word('others'));
    delete replies.info.id;
    if (format !== 'native') await keep('call', 'CALL', word('echo'), { a: [1, null, 'x'] }, 'text', 2.5);
    return JSON.parse(JSON.stringify(replies, (_, value) => (typeof value === 'bigint' ? Number(value) : value)));
}

test('every command answers the same values in every format', async (t) => {
    await admin.call('LUA', `box.schema.func.create('echo', {replace = true, body = 'return ...'})`);
    const json = await all(t, 'json');
    assert.deepEqual(json.select, [[1, 'ann', 11.5], [2, 'bob', 20.5], [3, 'eve', 1]]);
    assert.deepEqual(json.list.sort(), ['accounts', 'copies']);
    assert.deepEqual(json.update, [1, 'ann', 11.5]);
    assert.deepEqual(json.call, [{ a: [1, null, 'x'] }, 'text', 2.5]);
    assert.equal(json['get nothing'], null);
    assert.equal(json['count of none'], 0);
    const msgpack = await all(t, 'msgpack');
    msgpack.list.sort();
    assert.deepEqual(msgpack, json);
    const native = await all(t, 'native');
    native.list.sort();
    delete json.call;
    assert.deepEqual(native, json);
});

test('several keys: a tuple for each in their order, or null', async (t) => {
    const { ask, wire } = await open(t);
    const found = [[3, 'ann', 30], null, [1, 'ann', 10], [3, 'ann', 30]];
    await ask('SPACE.MGET accounts [2,9]', '*2\r\n*3\r\n:2\r\n$3\r\nbob\r\n$4\r\n20.5\r\n$-1\r\n');
    await ask('SPACE.MGET accounts []', '*0\r\n');
    assert.deepEqual(await admin.call('SPACE.MGET', 'accounts', '[3, 9, [1], 3]'), found);
    const client = createClient({ socket: { port: server.port, host: '127.0.0.1' }, RESP: 3 });
    later(t, () => client.destroy());
    await client.connect();
    assert.deepEqual(await client.sendCommand(['SPACE.MGET', 'accounts', '[3, 9, [1], 3]', 'INDEX', 'id']), found);
    for (const [request, message] of [
        ['SPACE.MGET accounts 1', 'the list of keys is not an array'],
        ['SPACE.MGET accounts [1,"x"]', 'key 2 of 2: key part 1 of index "id" of space "accounts" must be unsigned, not string'],
        ['SPACE.MGET accounts ["ann"] INDEX owner', 'key 1 of 1: index "owner" of space "accounts" is not unique: use select'],
        ['SPACE.MGET accounts [1] LIMIT 1', "there is no option 'LIMIT' here"],
        ['SPACE.MGET nosuch [1]', "there is no space 'nosuch'"],
        ['SPACE.MGET accounts', "wrong number of arguments for 'space.mget' command"],
    ]) await ask(request, `-ERR ${message}\r\n`);
    await ask('CLIENT FORMAT json', '+OK\r\n');
    await ask('SPACE.MGET accounts [2,9]', '$21\r\n[[2,"bob",20.5],null]\r\n');
    await ask('MULTI', '+OK\r\n');
    for (const request of ['SPACE.DELETE accounts 2', 'SPACE.INSERT accounts [9,"eve",1]', 'SPACE.MGET accounts [2,9,1]'])
        await ask(request, '+QUEUED\r\n');
    wire.send(command('EXEC'));
    await wire.expect('*3\r\n$14\r\n[2,"bob",20.5]\r\n$11\r\n[9,"eve",1]\r\n$31\r\n[null,[9,"eve",1],[1,"ann",10]]\r\n');
    const redis = new Redis(server.port, '127.0.0.1');
    later(t, () => redis.disconnect());
    await redis.call('CLIENT', 'FORMAT', 'msgpack');
    const reply = await redis.callBuffer('SPACE.MGET', binary('accounts'), binary([3, 7, [1]]), binary({ index: 'id' }));
    assert.deepEqual(decode(reply), [[3, 'ann', 30], null, [1, 'ann', 10]]);
});

test('what is no value, or no request, is said', async (t) => {
    const { ask, wire } = await open(t);
    const wrong = async (request, message) => ask(request, `-ERR ${message}\r\n`);
    await wrong('SPACE.GET accounts ann', "the key is not JSON text: line 1, column 3: invalid token near 'ann'");
    await wrong('SPACE.GET accounts {"a":1}', 'the key is a map; it is an array of parts, or the only part');
    await wrong('SPACE.GET accounts [1,2]', 'index "id" of space "accounts" takes a key of 1 part, not 2');
    await wrong('SPACE.GET accounts "ann" INDEX owner', 'index "owner" of space "accounts" is not unique: use select');
    await wrong('SPACE.GET accounts 1 INDEX nosuch', "space accounts has no index 'nosuch'");
    await wrong('SPACE.GET nosuch 1', "there is no space 'nosuch'");
    await wrong('SPACE.GET accounts 1 LIMIT 1', "there is no option 'LIMIT' here");
    await wrong('SPACE.GET accounts', "wrong number of arguments for 'space.get' command");
    await wrong('SPACE.SELECT accounts [] LIMIT', "the option 'limit' has no value");
    await wrong('SPACE.SELECT accounts [] LIMIT -1', 'the limit is not a number of rows');
    await wrong('SPACE.SELECT accounts [] LIMIT 99999999999999999999', 'the limit is not a number of rows');
    await wrong('SPACE.SELECT accounts [] ITERATOR near', "there is no iterator 'near': eq, req, all, lt, le, ge or gt");
    await wrong('SPACE.SELECT accounts [] AFTER 1', 'what to go on after is not an array');
    await wrong('SPACE.INSERT accounts {"id":1}', 'the tuple is not an array');
    await wrong('SPACE.INSERT accounts [1,"x"', "the tuple is not JSON text: line 1, column 6: ']' expected near end of file");
    await wrong('SPACE.INSERT accounts [1,"x",1]', 'Duplicate key exists in unique index "id" in space "accounts"');
    await wrong('SPACE.INSERT accounts ["x","x",1]', 'field 1 (id) of space "accounts" must be unsigned, not string: row {"x"}');
    await wrong('SPACE.UPDATE accounts 1 {}', 'the list of operations is not an array');
    await wrong('SPACE.CREATE accounts', 'space "accounts" exists already');
    await wrong('SPACE.CREATE x []x', "the map of options is not JSON text: line 1, column 3: end of file expected near 'x'");
    await wrong('SPACE.CREATE x [1]', 'the options are a map');
    await wrong('SPACE.CREATE x {"colour":1}', 'a space has no option "colour"');
    await wrong('SPACE.INDEX.DROP accounts nosuch', "space accounts has no index 'nosuch'");
    await wrong('CLIENT FORMAT xml', 'a format is native, json or msgpack');
    await ask('CLIENT FORMAT msgpack', '+OK\r\n');
    await wrong('SPACE.GET accounts 1', "the space's name is not one MessagePack value, nested at most 64 deep");
    for (const [bytes, message] of [
        ['01', "the space's name is not a string"],
        ['a8', "the space's name is not one MessagePack value, nested at most 64 deep"],
        ['c1', "the space's name is not one MessagePack value, nested at most 64 deep"],
    ]) {
        wire.send(Buffer.concat([Buffer.from('*3\r\n$9\r\nSPACE.GET\r\n$1\r\n'), Buffer.from(bytes, 'hex'), Buffer.from('\r\n$1\r\n\x01\r\n')]));
        await wire.expect(`-ERR ${message}\r\n`);
    }
});

test('in MULTI, with commands of Redis and changes of the schema: one transaction', async (t) => {
    const { ask, wire } = await open(t);
    await ask('CLIENT FORMAT json', '+OK\r\n');
    await ask('MULTI', '+OK\r\n');
    await ask('CLIENT FORMAT native', '-ERR Command not allowed inside a transaction\r\n');
    await ask('DISCARD', '+OK\r\n');
    const queue = async (...requests) => {
        await ask('MULTI', '+OK\r\n');
        for (const request of requests) await ask(request, '+QUEUED\r\n');
    };
    await queue('SET counter 5', 'SPACE.UPDATE accounts 1 [["-","balance",4]]', 'SPACE.INSERT accounts [2,"x",0]',
        'SPACE.CREATE log', 'SPACE.INDEX.CREATE log id', 'SPACE.INSERT log [1]', 'SPACE.COUNT log []', 'INCR counter');
    wire.send(command('EXEC'));
    await wire.expect('*8\r\n+OK\r\n$11\r\n[1,"ann",6]\r\n-ERR Duplicate key exists in unique index "id" in space "accounts"\r\n');
    assert.match((await wire.line()) + (await wire.line()), /^\$3\d{3}$/); // the id of the space
    await wire.expect('$1\r\n0\r\n$3\r\n[1]\r\n$1\r\n1\r\n:6\r\n');

    // With MULTI ATOMIC an error takes all of it back.
    await ask('MULTI ATOMIC', '+OK\r\n');
    for (const request of ['SET counter 9', 'SPACE.DELETE accounts 3', 'SPACE.INSERT accounts [1,"x",0]'])
        await ask(request, '+QUEUED\r\n');
    wire.send(command('EXEC'));
    assert.match(await wire.line(), /^-EXECABORT Transaction undone because command 3 'space.insert' failed: ERR Duplicate key/);
    await ask('GET counter', '$1\r\n6\r\n');
    await ask('SPACE.COUNT accounts', '$1\r\n3\r\n');

    // BEGIN: statements; a change of the schema has no place there.
    await ask('BEGIN', '+OK\r\n');
    await ask('SPACE.DELETE accounts 3', '$12\r\n[3,"ann",30]\r\n');
    await ask('SPACE.CREATE x', '-ERR space.create is not allowed in a transaction of BEGIN\r\n');
    await ask('SPACE.COUNT accounts', '$1\r\n2\r\n');
    await ask('ROLLBACK', '+OK\r\n');
    await ask('SPACE.COUNT accounts', '$1\r\n3\r\n');
    await ask('DEL counter', ':1\r\n');
});

test('in a pipeline replies come in order', async (t) => {
    const client = createClient({ socket: { port: server.port, host: '127.0.0.1' }, RESP: 3 });
    later(t, () => client.destroy());
    await client.connect();
    const replies = await Promise.all(Array.from({ length: 2000 }, (_, n) => (n % 2
        ? client.sendCommand(['SPACE.GET', 'accounts', String(100 + n - 1)])
        : client.sendCommand(['SPACE.INSERT', 'accounts', JSON.stringify([100 + n, 'eve', n / 4])]))));
    replies.forEach((reply, n) => assert.deepEqual(reply, [100 + n - n % 2, 'eve', (n - n % 2) / 4]));
    assert.equal(await client.sendCommand(['SPACE.COUNT', 'accounts', '"eve"', 'INDEX', 'owner']), 1000);
});

test('definitions can be read and changed, views be read', async () => {
    const info = await admin.call('SPACE.INFO', 'accounts');
    const map = Object.fromEntries(Array.from({ length: info.length / 2 }, (_, n) => [info[2 * n], info[2 * n + 1]]));
    assert.equal(map.name, 'accounts');
    assert.equal(map.format.length, 3);
    await admin.call('SPACE.CREATE', 'rich', JSON.stringify({
        view: 'function() return box.space.accounts:pairs():filter(function(t) return t.balance > 15 end) end' }));
    assert.deepEqual(await admin.call('SPACE.SELECT', 'rich', '[]', 'LIMIT', '1', 'OFFSET', '1'), [[3, 'ann', 30]]);
    assert.deepEqual(await admin.call('SPACE.GET', 'rich', '3'), [3, 'ann', 30]);
    assert.deepEqual(await admin.call('SPACE.MGET', 'rich', '[3, 1]'), [[3, 'ann', 30], null]);
    assert.equal(await admin.call('SPACE.COUNT', 'rich'), 2);
    await assert.rejects(admin.call('SPACE.INSERT', 'rich', '[1]'), /^ReplyError: READONLY space "rich" is a view/);
    await admin.call('SPACE.DROP', 'rich');
    await admin.call('SPACE.INDEX.ALTER', 'accounts', 'owner', '{"name":"owners"}');
    await admin.call('SPACE.INDEX.DROP', 'accounts', 'owners');
    await admin.call('SPACE.ALTER', 'accounts', '{"name":"accs"}');
    assert.deepEqual(await admin.call('SPACE.LIST'), ['accs']);
    await admin.call('SPACE.TRUNCATE', 'accs');
    assert.equal(await admin.call('SPACE.COUNT', 'accs'), 0);
});

test('privileges on the space, and rules of ACL on the command, both count', async (t) => {
    for (const text of [
        "box.schema.user.create('reader', {password = 'r'})",
        "box.schema.user.grant('reader', 'read', 'space', 'accounts')",
    ]) await admin.call('LUA', text);
    later(t, () => admin.call('LUA', "box.schema.user.drop('reader')"));
    const { wire, ask } = await open(t);
    const refused = async (request, message) => {
        wire.send(command(...request.split(' ')));
        assert.match(await wire.line(), message, request);
    };
    await ask('AUTH reader r', '+OK\r\n');
    await ask('SPACE.COUNT accounts', ':3\r\n');
    await refused('SPACE.DELETE accounts 1', /^-NOPERM Write access to space 'accounts' is denied for user 'reader'/);
    await refused('SPACE.CREATE more', /^-NOPERM Create access to space is denied for user 'reader'/);
    await refused('SPACE.DROP accounts', /^-NOPERM Drop access to space 'accounts' is denied for user 'reader'/);
    await refused('SPACE.MGET _user [1]', /^-NOPERM Read access to space '_user' is denied for user 'reader'/);
    await refused('SPACE.SELECT _user []', /^-NOPERM Read access to space '_user' is denied for user 'reader'/);
    await ask('SPACE.LIST', '*1\r\n$8\r\naccounts\r\n');
    await admin.call('LUA', "box.schema.user.grant('reader', 'write', 'space', 'accounts')");
    await ask('SPACE.DELETE accounts 3', '*3\r\n:3\r\n$3\r\nann\r\n:30\r\n');
    await admin.call('ACL', 'SETUSER', 'reader', 'on', '>r', '+@read', '+client', '-space.get', '-space.mget');
    await ask('SPACE.COUNT accounts', ':2\r\n');
    await refused('SPACE.DELETE accounts 1', /^-NOPERM User reader has no permissions to run the 'space.delete' command/);
    await refused('SPACE.MGET accounts [1]', /^-NOPERM User reader has no permissions to run the 'space.mget' command/);
    await refused('SPACE.GET accounts 1', /^-NOPERM User reader has no permissions to run the 'space.get' command/);
});

test('COMMAND DOCS and INFO tell of them', async () => {
    const [name, docs] = await admin.call('COMMAND', 'DOCS', 'space.select');
    assert.equal(name, 'space.select');
    const words = docs[docs.indexOf('arguments') + 1].map((argument) => argument[argument.indexOf('token') + 1]);
    assert.deepEqual(words.slice(2), ['INDEX', 'ITERATOR', 'LIMIT', 'OFFSET', 'AFTER']);
    const listed = (await admin.call('COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'space.*')).sort();
    for (const [info] of [await admin.call('COMMAND', 'INFO', ...listed)])
        assert.ok(info.every((row) => row !== null));
    const all = await admin.call('COMMAND', 'DOCS', ...listed);
    assert.equal(all.length, 2 * listed.length);
    assert.ok(listed.length >= 17);
});

test('examples/spaces.js does what it says', async () => {
    const example = path.join(HERE, '..', '..', 'examples', 'spaces.js');
    const { status, out, error } = await runProgram(process.execPath, [example, String(server.port)],
        { env: { NODE_PATH: path.join(HERE, 'node_modules') } });
    assert.equal(status, 0, error);
    assert.match(out, /^4 accounts\nof ann: 1 has 100, 3 has 300\n2 pages\nafter the transfer: 70 and 230\nrefused: ERR Duplicate key/);
});
