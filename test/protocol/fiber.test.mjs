// SPDX-License-Identifier: Apache-2.0
//
// Requests that sleep on the only worker of a server: what others get meanwhile, what becomes of
// them when their client goes, and that neither they nor fibers in the background hold up its end.

import { test } from 'node:test';
import { Server, command, later } from './lib/server.mjs';

const sleep = (more) => command('LUA', `require('fiber').sleep(0.05) ${more}`);

async function start(t) {
    const server = await Server.start({ args: ['--workers', '1'] });
    later(t, () => server.stop());
    return server;
}

test('one sleeps, the other is served, and replies keep their order', async (t) => {
    const server = await start(t);
    const one = await server.connect(), two = await server.connect();
    one.send(command('LUA', "channel = require('fiber').channel() return channel:get()") + command('PING'));
    await two.ask(command('SET', 'k', 'v'), '+OK\r\n');
    await two.ask(command('LUA', "while not channel do require('fiber').sleep(0.001) end return channel:put('now')"), ':1\r\n');
    await one.expect('$3\r\nnow\r\n+PONG\r\n');
    await one.ask(sleep("return redis.call('GET', 'k')") + command('ECHO', 'end'), '$1\r\nv\r\n$3\r\nend\r\n');
    one.close();
    two.close();
});

test('a request whose client has gone is cancelled', async (t) => {
    const server = await start(t);
    const one = await server.connect(), two = await server.connect();
    await two.ask(command('LUA', "ended = require('fiber').channel(1) return 1"), ':1\r\n');
    one.send(command('LUA', "asleep = true pcall(require('fiber').sleep, 1000) ended:put('cancelled')"));
    one.send(command('PING'));
    await two.ask(command('LUA', "while not asleep do require('fiber').sleep(0.001) end return 1"), ':1\r\n');
    one.close();
    await two.ask(command('LUA', 'return ended:get()'), '$9\r\ncancelled\r\n');
    two.close();
});

test('a server stops although requests sleep and fibers run', async (t) => {
    const server = await Server.start({ args: ['--workers', '1'] });
    later(t, () => server.stop());
    const one = await server.connect(), two = await server.connect();
    await two.ask(command('LUA', `
        local fiber = require('fiber')
        for n = 1, 10 do
            fiber.create(function() while true do pcall(fiber.sleep, n / 100) end end)
        end
        fiber.create(function() require('socket').tcp_server('127.0.0.1', 0, print) end)
        return 1`), ':1\r\n');
    one.send(command('LUA', "require('fiber').sleep(1000)"));
    await two.ask(sleep('return 1'), ':1\r\n');
    await server.stop();
});
