// SPDX-License-Identifier: Apache-2.0
//
// What Lua can do outside of the database, for users: files below one folder alone, and only when granted.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import Redis from 'ioredis';
import { Server, later, makeFolder, removeFolder } from './lib/server.mjs';

/** A server whose users may have files below `files`; beside it is one that nobody may have. */
async function start(t, grant) {
    const outside = makeFolder(), files = path.join(outside, 'files');
    later(t, () => removeFolder(outside));
    fs.mkdirSync(files);
    fs.writeFileSync(path.join(outside, 'secret'), 'secret');
    fs.symlinkSync('../secret', path.join(files, 'out'));
    fs.symlinkSync(path.join(outside, 'secret'), path.join(files, 'absolute'));
    fs.symlinkSync('..', path.join(files, 'up'));
    const server = await Server.start({ folder: makeFolder(), args: ['--workers', '2', '--fio_dir', files] });
    later(t, () => removeFolder(server.folder));
    later(t, () => server.signal('SIGTERM'));
    const admin = new Redis(server.port, '127.0.0.1');
    later(t, () => admin.disconnect());
    await admin.call('LUA', "box.schema.user.create('ada', {password = 'ada'})");
    await admin.call('LUA', "box.schema.user.grant('ada', 'execute', 'lua_eval')");
    if (grant)
        await admin.call('LUA', "box.schema.user.grant('ada', 'execute', 'binding', 'fio')");
    const ada = new Redis(server.port, '127.0.0.1', { username: 'ada', password: 'ada' });
    later(t, () => ada.disconnect());
    return { ada, admin, files, outside };
}

test('a user without the privilege has no files', async (t) => {
    const { ada } = await start(t, false);
    for (const text of ["return require('fio').listdir('.')", "return require('fio').open('x')",
        "return require('fio').stat('.')", "return require('fio').mkdir('x')",
        "return require('fio').path.exists('out')", "return require('fio').glob('*')"])
        await assert.rejects(ada.call('LUA', text), /NOPERM/, text);
});

test('a user reads and writes below the folder', async (t) => {
    const { ada, files } = await start(t, true);
    const write = `local fio = require('fio')
        fio.mktree('a/b')
        local file = fio.open('a/b/c', {'O_CREAT', 'O_RDWR'})
        file:write(('x'):rep(3000000))
        file:seek(0)
        return #file:read()`;
    assert.equal(await ada.call('LUA', write), 3000000);
    assert.equal(fs.statSync(path.join(files, 'a/b/c')).size, 3000000);
    assert.deepEqual(await ada.call('LUA', "return require('fio').glob('a/*/c')"), ['a/b/c']);
    assert.equal(await ada.call('LUA', "return require('fio').rmtree('a')"), 1);
    assert.equal(fs.existsSync(path.join(files, 'a')), false);
});

test('migrations come from below the folder', async (t) => {
    const { ada, admin, files } = await start(t, true);
    fs.mkdirSync(path.join(files, 'shop'));
    fs.writeFileSync(path.join(files, 'shop', '001_orders.lua'), `return {
        up = function() box.schema.space.create('orders'):create_index('pk') end,
        down = function() box.space.orders:drop() end,
    }`);
    fs.symlinkSync('../../secret', path.join(files, 'shop', '002_out.lua'));
    await admin.call('LUA', "box.module.install('migrations')");
    const apply = "return require('migrations').apply('./shop')[1]";
    await assert.rejects(admin.call('LUA', apply), /002_out\.lua can't be read/);
    fs.rmSync(path.join(files, 'shop', '002_out.lua'));
    assert.equal(await admin.call('LUA', apply), 1);
    assert.equal(await admin.call('LUA', 'return box.space.orders.name'), 'orders');
    await assert.rejects(ada.call('LUA', "return require('migrations').rollback('shop')"), /NOPERM/);
    assert.equal(await admin.call('LUA', "return require('migrations').rollback('./shop')[1]"), 1);
    await assert.rejects(admin.call('LUA', "return require('migrations').apply('../files')"), /can't be read/);
});

test('nothing leads out of the folder', async (t) => {
    const { ada, files, outside } = await start(t, true);
    const out = ['../secret', 'out', 'absolute', 'up/secret', path.join(outside, 'secret'), 'up/files/../secret',
        '/etc/passwd', 'none/../../secret', './../secret'];
    for (const name of out) {
        for (const call of ['fio.open(NAME)', 'fio.stat(NAME)', 'fio.truncate(NAME, 0)', 'fio.chmod(NAME, 0)',
            "fio.copyfile(NAME, 'copy')", "fio.open(NAME, {'O_CREAT', 'O_WRONLY'})"]) {
            const text = `local fio = require('fio') return (${call.replace('NAME', `'${name}'`)}) == nil`;
            assert.equal(await ada.call('LUA', text), 1, text);
        }
    }
    for (const call of ["fio.unlink('../secret')", "fio.unlink('up/secret')", "fio.rename('up/secret', 'x')",
        "fio.mkdir('../made')", "fio.mkdir('up/made')", "fio.rename('out', '../moved')", "fio.rmdir('..')",
        "fio.rmdir('.')", "fio.listdir('up')", "fio.listdir('..')", "fio.unlink('')"]) {
        const text = `local fio = require('fio') local ok, done = pcall(function() return (${call}) end)
            return not ok or done == nil`;
        assert.equal(await ada.call('LUA', text), 1, text);
    }
    assert.equal(fs.readFileSync(path.join(outside, 'secret'), 'utf8'), 'secret');
    assert.deepEqual(fs.readdirSync(outside).sort(), ['files', 'secret']);
    assert.deepEqual(fs.readdirSync(files).sort(), ['absolute', 'out', 'up']);
    assert.equal(await ada.call('LUA', "return require('fio').symlink == nil and require('fio').cwd == nil"), 1);
});

test('long work in a binding ends at the time limit', async (t) => {
    const { ada, admin } = await start(t, true);
    await admin.call('LUA', `box.schema.func.create('derive', {timeout = 0.05, body = [[function()
        return require('digest').pbkdf2('a', 'b', 1e9) end]]})`);
    await admin.call('LUA', "box.schema.user.grant('ada', 'execute', 'function', 'derive')");
    await assert.rejects(ada.call('CALL', 'derive'), /TIMEOUT|time limit/);
    assert.equal(await ada.call('LUA', 'return 1'), 1);
});

test('the level of the log is the operator\'s', async (t) => {
    const { ada } = await start(t, false);
    await assert.rejects(ada.call('LUA', "require('log').level('debug')"), /NOPERM/);
    assert.match(await ada.call('LUA', "return require('log').level()"), /^(error|warn|info|debug)$/);
});
