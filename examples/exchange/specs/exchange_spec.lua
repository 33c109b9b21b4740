-- SPDX-License-Identifier: Apache-2.0
--
-- The exchange in the spec's own database; then on a server with two workers that is killed while it
-- trades, also in the middle of a write of its log: the books are in order, and what was acknowledged is
-- there.

local test = require('testing')

describe('the exchange', function()
    local exchange = require('exchange')

    before_each(function()
        for _, name in ipairs({ 'accounts', 'orders', 'markets', 'trades', 'audit' }) do
            box.space['exchange_' .. name]:truncate()
        end
        exchange.deposit('ann', 'BTC', 10)
        exchange.deposit('bob', 'EUR', 1000)
    end)

    it('trades at the price of the older order and frees what the buyer need not pay', function()
        exchange.place('ann', 'BTC/EUR', 'sell', 100, 4)
        assert.same({ order = 2, left = 0 }, exchange.place('bob', 'BTC/EUR', 'buy', 105, 3))
        assert.same({ free = 700, held = 0 }, exchange.balance('bob', 'EUR'))
        assert.same({ { price = 100, amount = 1 } }, exchange.book('BTC/EUR').sell)
        assert.same({ BTC = 10, EUR = 1000 }, exchange.verify())
    end)

    it('records when it traded', function()
        test.manual_clock()
        exchange.place('ann', 'BTC/EUR', 'sell', 100, 2)
        exchange.place('bob', 'BTC/EUR', 'buy', 100, 1)
        test.clock:advance(3600)
        exchange.place('bob', 'BTC/EUR', 'buy', 100, 1)
        local trades = box.space.exchange_trades:select()
        assert.equal(3600, math.floor(trades[2].time - trades[1].time + 0.5))
        test.clock:go()
    end)
end)

describe('an exchange on a server', function()
    local OWNERS, EUR, BTC = { 'ann', 'bob', 'eve', 'gil' }, 100000, 1000
    local server

    before_each(function()
        server = test.server({ workers = 2, modules = { 'examples/exchange' } })
        for _, owner in ipairs(OWNERS) do
            server:call('exchange.deposit', owner, 'EUR', EUR)
            server:call('exchange.deposit', owner, 'BTC', BTC)
        end
    end)

    after_each(function() server:remove() end)

    --- Trades until the server is gone, or `orders` times; gives the number of the last order that was
    --- acknowledged.
    local function trade(owner, random, orders)
        local last = 0
        local connected, db = pcall(server.connect, server)
        for _ = 1, connected and orders or 0 do
            local ok, placed = pcall(db.call, db, 'exchange.place', owner, 'BTC/EUR',
                random:pick({ 'buy', 'sell' }), random:integer(90, 110), random:integer(1, 5))
            if ok then
                last = placed.order
            elseif placed.name == 'CLIENT_LOST' then
                break
            else
                assert.matches(' has .* and needs ', placed.message)
            end
        end
        return last
    end

    local function check(acknowledged)
        assert.same({ BTC = BTC * #OWNERS, EUR = EUR * #OWNERS }, server:call('exchange.verify'))
        local market = server:eval("return box.space.exchange_markets:get('BTC/EUR')")
        for _, last in ipairs(acknowledged) do
            assert.is_true(market[2] >= last)
        end
    end

    it('keeps its books in order while many trade and it is killed', function()
        local random = test.random()
        for _ = 1, 3 do
            local acknowledged = test.concurrently(#OWNERS + 1, function(n)
                if n <= #OWNERS then
                    return trade(OWNERS[n], random, 1000)
                end
                test.eventually(function()
                    return server:eval("return box.space.exchange_orders:count() > 20")
                end)
                server:kill()
                return 0
            end)
            server:restart()
            check(acknowledged)
            server:eval('box.space.exchange_orders:pairs():each(function(order)'
                .. " require('exchange').cancel(order.owner, order.market, order.id) end)")
        end
    end)

    it('keeps them when it dies in the middle of a write', function()
        local random = test.random()
        server:crash_at('wal.block.half:' .. random:integer(2, 30))
        local acknowledged = test.concurrently(#OWNERS, function(n)
            return trade(OWNERS[n], random, 1000)
        end)
        assert.equal(-9, server:wait())
        server:restart()
        check(acknowledged)
    end)
end)
