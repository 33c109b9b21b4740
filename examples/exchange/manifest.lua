-- SPDX-License-Identifier: Apache-2.0
--
-- An exchange: a limit order book with matching, balances and an audit trail.

return {
    name = 'exchange',
    version = '1.0.0',
    summary = 'A limit order book with matching, balances and an audit trail.',
    exports = { 'deposit', 'withdraw', 'place', 'cancel', 'book', 'balance', 'verify' },
    options = { depth = { type = 'number', default = 10, description = 'price levels that XBOOK shows' } },
    spaces = {
        -- what each owner has of each asset: free, or held by orders; changes are counted
        exchange_accounts = {
            format = {
                { 'owner', 'string' }, { 'asset', 'string' },
                { 'free', 'unsigned' }, { 'held', 'unsigned' }, { 'changes', 'unsigned' },
            },
            indexes = { { name = 'owner', parts = { 'owner', 'asset' } } },
        },
        -- `rank` is the price, negative for buyers: the best order comes first, and the older of equals
        exchange_orders = {
            format = {
                { 'id', 'unsigned' }, { 'owner', 'string' }, { 'market', 'string' }, { 'side', 'string' },
                { 'rank', 'integer' }, { 'price', 'unsigned' }, { 'left', 'unsigned' },
            },
            indexes = {
                { name = 'id', parts = { 'market', 'id' } },
                { name = 'book', parts = { 'market', 'side', 'rank', 'id' } },
                { name = 'owner', parts = { 'owner', 'market', 'id' } },
            },
        },
        exchange_markets = {
            format = { { 'market', 'string' }, { 'last_order', 'unsigned' }, { 'last_trade', 'unsigned' } },
            indexes = { { name = 'market', parts = { 'market' } } },
        },
        exchange_trades = {
            format = {
                { 'market', 'string' }, { 'number', 'unsigned' }, { 'buyer', 'string' },
                { 'seller', 'string' }, { 'price', 'unsigned' }, { 'amount', 'unsigned' },
                { 'time', 'number' },
            },
            indexes = { { name = 'market', parts = { 'market', 'number' } } },
        },
        -- every change of an account, written by a trigger: nobody can forget it
        exchange_audit = {
            format = {
                { 'owner', 'string' }, { 'asset', 'string' }, { 'change', 'unsigned' },
                { 'free', 'unsigned' }, { 'held', 'unsigned' }, { 'time', 'number' },
            },
            indexes = { { name = 'account', parts = { 'owner', 'asset', 'change' } } },
        },
    },
    triggers = {
        exchange_audit = {
            space = 'exchange_accounts', event = 'on_replace',
            body = [[function(_, new)
                box.space.exchange_audit:insert({ new.owner, new.asset, new.changes, new.free, new.held,
                    box.now() })
            end]],
        },
    },
    procedures = {
        ['exchange.deposit'] = { call = 'deposit' },
        ['exchange.withdraw'] = { call = 'withdraw' },
        ['exchange.place'] = { call = 'place' },
        ['exchange.cancel'] = { call = 'cancel' },
        ['exchange.book'] = { call = 'book', readonly = true },
        ['exchange.balance'] = { call = 'balance', readonly = true },
        ['exchange.verify'] = { call = 'verify', readonly = true },
    },
    commands = {
        XDEPOSIT = { procedure = 'exchange.deposit', arity = 4, summary = 'Adds to an account.' },
        XWITHDRAW = { procedure = 'exchange.withdraw', arity = 4, summary = 'Takes from an account.' },
        XPLACE = { procedure = 'exchange.place', arity = 6, summary = 'Places an order.' },
        XCANCEL = { procedure = 'exchange.cancel', arity = 4, summary = 'Takes an order back.' },
        XBOOK = { procedure = 'exchange.book', arity = 2, summary = 'The best prices of a market.' },
        XBALANCE = { procedure = 'exchange.balance', arity = 3, summary = 'What an owner has of an asset.' },
        XVERIFY = { procedure = 'exchange.verify', arity = 1, summary = 'Whether the books are in order' },
    },
}
