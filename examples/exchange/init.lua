-- SPDX-License-Identifier: Apache-2.0
--
-- The exchange's procedures. Each call is one serializable transaction: whatever happens, also a power
-- cut in the middle, an order is matched, paid and audited as a whole, or it never existed.
--
-- A market is called 'BTC/EUR': amounts are of the first asset, prices in the second. Everything is
-- counted in whole units. A buyer's order holds price * left of the second asset, a seller's left of
-- the first. A trade has the price of the older order; what a buyer was ready to pay above it is free
-- again at once.

local exchange = {}

local accounts, orders = box.space.exchange_accounts, box.space.exchange_orders
local markets, trades = box.space.exchange_markets, box.space.exchange_trades
local audit = box.space.exchange_audit

local MAX = 2 ^ 40 -- prices and amounts; their product stays exact

local function whole(text, what)
    local number = tonumber(text)
    if not number or number % 1 ~= 0 or number <= 0 or number > MAX then
        error(('%s is a whole number from 1 to 2^40, not %s'):format(what, tostring(text)), 0)
    end
    return number
end

local function assets_of(market)
    local base, quote = tostring(market):match('^(%w+)/(%w+)$')
    if not base or base == quote then
        error(('a market is called like BTC/EUR, not %s'):format(tostring(market)), 0)
    end
    return base, quote
end

--- Adds to what is free and to what is held; neither goes below nothing.
local function change(owner, asset, free, held)
    local account = accounts:get({ owner, asset }) or { owner, asset, 0, 0, 0 }
    local now_free, now_held = account[3] + free, account[4] + held
    if now_free < 0 then
        error(('%s has %d %s and needs %d'):format(owner, account[3], asset, -free), 0)
    end
    assert(now_held >= 0, 'an order holds more than its account has')
    accounts:replace({ owner, asset, now_free, now_held, account[5] + 1 })
end

function exchange.deposit(owner, asset, amount)
    change(owner, asset, whole(amount, 'an amount'), 0)
    return exchange.balance(owner, asset)
end

function exchange.withdraw(owner, asset, amount)
    change(owner, asset, -whole(amount, 'an amount'), 0)
    return exchange.balance(owner, asset)
end

function exchange.balance(owner, asset)
    local account = accounts:get({ owner, asset })
    return { free = account and account.free or 0, held = account and account.held or 0 }
end

--- Moves money and goods of one trade. `limit`: the price that the buyer's order holds for each.
local function settle(market, buyer, seller, price, limit, amount)
    local base, quote = assets_of(market)
    change(buyer, quote, (limit - price) * amount, -limit * amount)
    change(buyer, base, amount, 0)
    change(seller, base, 0, -amount)
    change(seller, quote, price * amount, 0)
    markets:update(market, { { '+', 'last_trade', 1 } })
    trades:insert({ market, markets:get(market).last_trade, buyer, seller, price, amount, box.now() })
end

--- Takes from the other side of the book what suits; gives what is left.
local function match(market, owner, side, price, left)
    local other = side == 'buy' and 'sell' or 'buy'
    while left > 0 do
        local best = orders.index.book:select({ market, other }, { limit = 1 })[1]
        if not best or (side == 'buy' and best.price > price) or (side == 'sell' and best.price < price) then
            break
        end
        local amount = math.min(left, best.left)
        if side == 'buy' then
            settle(market, owner, best.owner, best.price, price, amount)
        else
            settle(market, best.owner, owner, best.price, best.price, amount)
        end
        if amount == best.left then
            orders:delete({ market, best.id })
        else
            orders:update({ market, best.id }, { { '-', 'left', amount } })
        end
        left = left - amount
    end
    return left
end

--- Places an order: what matches is traded at once, the rest waits in the book. Gives the order's
--- number and how much of it is left.
function exchange.place(owner, market, side, price, amount)
    local base, quote = assets_of(market)
    price, amount = whole(price, 'a price'), whole(amount, 'an amount')
    if side == 'buy' then
        change(owner, quote, -price * amount, price * amount)
    elseif side == 'sell' then
        change(owner, base, -amount, amount)
    else
        error(('an order is to buy or to sell, not to %s'):format(tostring(side)), 0)
    end
    markets:upsert({ market, 1, 0 }, { { '+', 'last_order', 1 } })
    local id = markets:get(market).last_order
    local left = match(market, owner, side, price, amount)
    if left > 0 then
        orders:insert({ id, owner, market, side, side == 'buy' and -price or price, price, left })
    end
    return { order = id, left = left }
end

function exchange.cancel(owner, market, id)
    local order = orders:get({ market, whole(id, 'an order') })
    if not order or order.owner ~= owner then
        error(('%s has no order %s of %s in the book'):format(owner, tostring(id), market), 0)
    end
    local base, quote = assets_of(order.market)
    if order.side == 'buy' then
        change(owner, quote, order.price * order.left, -order.price * order.left)
    else
        change(owner, base, order.left, -order.left)
    end
    orders:delete({ market, order.id })
    return { order = order.id, left = order.left }
end

local function levels(market, side)
    local result, depth = {}, box.module.options('exchange').depth
    for _, order in orders.index.book:pairs({ market, side }) do
        local level = result[#result]
        if level and level.price == order.price then
            level.amount = level.amount + order.left
        elseif #result == depth then
            break
        else
            result[#result + 1] = { price = order.price, amount = order.left }
        end
    end
    return result
end

--- The best prices of both sides, with what is wanted and offered at each.
function exchange.book(market)
    assets_of(market)
    return { buy = levels(market, 'buy'), sell = levels(market, 'sell') }
end

--- Raises what is wrong with the books; gives the sums of all assets.
function exchange.verify()
    local held, sums, best = {}, {}, {}
    for _, order in orders:pairs() do
        local base, quote = assets_of(order.market)
        local buys = order.side == 'buy'
        local key = order.owner .. ' ' .. (buys and quote or base)
        held[key] = (held[key] or 0) + order.left * (buys and order.price or 1)
        local of_market = best[order.market] or { buy = 0, sell = math.huge }
        best[order.market] = of_market
        of_market[order.side] = (buys and math.max or math.min)(of_market[order.side], order.price)
    end
    for market, prices in pairs(best) do
        assert(prices.buy < prices.sell, market .. ': orders that match stand in the book')
    end
    for _, account in accounts:pairs() do
        local key = account.owner .. ' ' .. account.asset
        assert((held[key] or 0) == account.held, key .. ': what is held is not what the orders need')
        local last = audit.index.account:max({ account.owner, account.asset })
        assert(last and last.change == account.changes and last.free == account.free
            and last.held == account.held, key .. ': the audit trail says something else')
        local rows = audit:count({ account.owner, account.asset })
        assert(rows == account.changes, key .. ': the trail has a gap')
        sums[account.asset] = (sums[account.asset] or 0) + account.free + account.held
    end
    return sums
end

return exchange
