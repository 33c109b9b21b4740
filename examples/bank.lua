-- SPDX-License-Identifier: Apache-2.0
--
-- A bank: money moves between accounts through a stored procedure, on many connections at once, and
-- the sum of all accounts never changes.
--
--     luajit examples/bank.lua [ADDRESS] [--connections N] [--transfers N]
--
-- against a running server, 127.0.0.1:6379 when no address is given. Kill the server meanwhile,
-- with SIGKILL, and start it again: the bank waits for it, and then finds the sum unchanged, each
-- transfer that was acknowledged done, and of those that were under way each done or not, but none
-- in part. A check that fails ends the program with an error.

-- From the source tree: lua/ stands beside the folder of this file.
local here = (arg and arg[0] or ''):match('^(.*/)[^/]*$') or './'
package.path = here .. '../lua/?.lua;' .. package.path

local ffi = require('ffi')
local client = require('client')
local socket = require('client.socket')

ffi.cdef('int usleep(unsigned);')

local ACCOUNTS, BALANCE = 100, 1000
local SUM = ACCOUNTS * BALANCE
local PROGRESS_LINES = 10

-- The spaces and procedures; what an earlier run has left is dropped.
local SCHEMA = [[
local accounts, balance = ...
for _, name in ipairs({ 'bank_accounts', 'bank_transfers' }) do
    if box.space[name] then
        box.space[name]:drop()
    end
end
box.schema.space.create('bank_accounts', { format = { { 'id', 'unsigned' }, { 'balance', 'unsigned' } } })
box.space.bank_accounts:create_index('id', { parts = { 'id' } })
box.schema.space.create('bank_transfers', { format = { { 'teller', 'unsigned' }, { 'count', 'unsigned' } } })
box.space.bank_transfers:create_index('teller', { parts = { 'teller' } })
for id = 1, accounts do
    box.space.bank_accounts:insert({ id, balance })
end
box.schema.func.create('bank_transfer', { replace = true, body = [=[
    function(teller, count, from, to, amount)
        local accounts = box.space.bank_accounts
        amount = math.min(amount, accounts:get(from).balance)
        accounts:update(from, { { '-', 'balance', amount } })
        accounts:update(to, { { '+', 'balance', amount } })
        box.space.bank_transfers:replace({ teller, count })
    end]=] })
box.schema.func.create('bank_sum', { replace = true, readonly = true, body = [=[
    function()
        local sum = 0
        for _, account in box.space.bank_accounts:pairs() do
            sum = sum + account.balance
        end
        return sum
    end]=] })
]]

local COUNTS = [[
local counts = {}
for _, row in box.space.bank_transfers:pairs() do
    counts[row.teller] = row.count
end
return counts
]]

-- --------------------------------------------------------------------------------- the arguments

local function read_arguments(...)
    local options = { address = '127.0.0.1:6379', connections = 16, transfers = 20000 }
    local position, given = 1, { ... }
    while given[position] do
        local name = given[position]:match('^%-%-(%l+)$')
        if name then
            options[name] = tonumber(given[position + 1]) or error('--' .. name .. ' needs a number', 0)
            position = position + 1
        else
            options.address = given[position]
        end
        position = position + 1
    end
    return options
end

local bank = read_arguments(...)

-- ------------------------------------------------------------------------------------- checking

local function check(holds, ...)
    if not holds then
        error('THIS IS WRONG: ' .. string.format(...), 0)
    end
end

--- The sum of all accounts, which the server adds up in one transaction while others move money.
local function check_sum()
    local sum = bank.control:call('bank_sum')
    check(sum == SUM, 'the sum is %d, not %d', sum, SUM)
end

--- After the connection was lost: what each teller was told was done is done, and at most one more.
local function check_counts()
    local counts = bank.control:eval(COUNTS)
    local unknown = 0
    for number, teller in ipairs(bank.tellers) do
        local found = counts[number] or 0
        check(found == teller.acknowledged or found == teller.sent,
            'teller %d: %d transfers acknowledged, %d found', number, teller.acknowledged, found)
        unknown = unknown + found - teller.acknowledged
        bank.done = bank.done + found - teller.acknowledged
        teller.acknowledged, teller.sent = found, found
    end
    return unknown
end

-- ------------------------------------------------------------------------------------- the work

local function connect()
    bank.control = client.connect(bank.address)
    for _, teller in ipairs(bank.tellers) do
        if teller.db then
            teller.db:close()
        end
        teller.db = client.connect(bank.address)
    end
end

local function send_transfer(number, teller)
    local from = math.random(ACCOUNTS)
    local to = (from + math.random(ACCOUNTS - 1) - 1) % ACCOUNTS + 1
    teller.sent = teller.sent + 1
    teller.request = teller.db:send('call', 'bank_transfer', number, teller.sent, from, to, math.random(100))
    teller.db:flush()
end

--- One transfer on each connection, all at the same time.
local function transfer_round()
    for number, teller in ipairs(bank.tellers) do
        send_transfer(number, teller)
    end
    for _, teller in ipairs(bank.tellers) do
        teller.db:receive(teller.request)
        teller.acknowledged = teller.sent
        bank.done = bank.done + 1
    end
end

local function say(text, ...)
    print(text:format(...))
    io.stdout:flush()
end

local function is_lost(problem)
    return type(problem) == 'table' and problem.code == client.LOST
end

local function recover(problem)
    say('%s; waiting for the server', problem.message)
    local ok, unknown
    repeat
        ok, unknown = pcall(function()
            connect()
            check_sum()
            return check_counts()
        end)
        if not ok and not is_lost(unknown) then
            error(unknown, 0)
        elseif not ok then
            ffi.C.usleep(50000)
        end
    until ok
    say('it is back: the sum is %d, every acknowledged transfer is there, and %d that were under way',
        SUM, unknown)
end

local function work()
    local reported = 0
    while bank.done < bank.transfers do
        local ok, problem = pcall(transfer_round)
        if ok and bank.done - reported >= bank.transfers / PROGRESS_LINES then
            reported = bank.done
            ok, problem = pcall(check_sum)
            if ok then
                say('%d transfers acknowledged, the sum is %d', bank.done, SUM)
            end
        end
        if not ok then
            if not is_lost(problem) then
                error(problem, 0)
            end
            recover(problem)
        end
    end
end

local function main()
    math.randomseed(os.time())
    bank.done, bank.tellers = 0, {}
    for number = 1, bank.connections do
        bank.tellers[number] = { sent = 0, acknowledged = 0 }
    end
    connect()
    bank.control:eval(SCHEMA, ACCOUNTS, BALANCE)
    say('%d accounts with %d each, %d connections', ACCOUNTS, BALANCE, bank.connections)
    local started = socket.now()
    work()
    check_sum()
    check_counts()
    say('%d transfers in %.1f s, the sum is %d as before', bank.done, socket.now() - started, SUM)
end

local ok, problem = pcall(main)
if not ok then
    io.stderr:write(tostring(problem), '\n')
    os.exit(1)
end
