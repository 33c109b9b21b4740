-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local process = require('process')

local UNICODE = '/usr/share/unicode/UnicodeData.txt'

--- What the file says, without a database: the number of lines, how many characters have each
--- category, and how many small letters change when they are made upper and then lower case.
local function read_unicode()
    local lines, categories, lower, small = 0, {}, {}, {}
    for line in io.lines(UNICODE) do
        local code, category, rest = line:match('^(%x+);[^;]*;(%a+);(.*)$')
        local upper_code, lower_code = rest:match('([^;]*);([^;]*);[^;]*$')
        lines = lines + 1
        categories[category] = (categories[category] or 0) + 1
        lower[code] = lower_code
        if category == 'Ll' and upper_code ~= '' then
            small[code] = upper_code
        end
    end
    local lost = 0
    for code, upper in pairs(small) do
        lost = lost + (lower[upper] ~= code and 1 or 0)
    end
    return lines, categories, lost
end

describe('examples/unicode.lua', function()
    it('loads all of Unicode, answers from its indexes, and finds it again', function()
        local folder = process.folder()
        local lines, categories, lost = read_unicode()
        local argv = { process.perigee, '--dir', folder, '--log-level', 'error', 'examples/unicode.lua' }
        local first, status = process.spawn(argv):finish()
        assert.equal(0, status, first)
        local loaded = ('loaded %d characters in %d transactions: '):format(lines, math.ceil(lines / 1000))
        assert.equal(1, (first:find(loaded, 1, true)))
        for _, line in ipairs({
            '  U+00C9  É  LATIN CAPITAL LETTER E WITH ACUTE\n',
            '  U+1F431  🐱  CAT FACE\n',
            '  U+215E  ⅞  VULGAR FRACTION SEVEN EIGHTHS\n  U+0F33  ༳  TIBETAN DIGIT HALF ZERO\n',
            ('  Lo  %6d\n  So  %6d\n'):format(categories.Lo, categories.So),
            '  U+20B9  ₹  INDIAN RUPEE SIGN\n',
            '  U+017F  ſ  LATIN SMALL LETTER LONG S\n  and ' .. lost - 3 .. ' more\n',
        }) do
            assert.is_truthy(first:find(line, 1, true), 'no such line: ' .. line .. '\nin:\n' .. first)
        end
        local second
        second, status = process.spawn(argv):finish()
        assert.equal(0, status)
        assert.equal('found ' .. lines .. ' characters', second:match('^[^\n]*'))
        assert.equal(first:match('\n(.*)$'), second:match('\n(.*)$'))
        process.remove(folder)
    end)
end)

local LUAJIT = '/usr/bin/env'

describe('examples/spaces.lua', function()
    it('fills, reads and changes a space over RESP', function()
        local folder = process.folder()
        local server = process.server(folder)
        local output, status =
            process.spawn({ LUAJIT, 'luajit', 'examples/spaces.lua', server.address }):finish()
        assert.equal(0, status, output)
        assert.equal('1000 readings, 250 of s1\n' ..
            'the newest of s1: 997 and 993\n' ..
            'deleted the one of 997; deleted so far: 1\n' ..
            'refused: ERR field 2 (time) of space "example_readings" must be unsigned, not string: ' ..
            'row {"s1", "noon"}\n', output)
        assert.equal(0, server:stop())
        process.remove(folder)
    end)
end)

describe('examples/bank.lua', function()

    --- Reads until the bank has written a line with one of these texts: that text.
    local function line_with(bank, ...)
        while true do
            local line = bank:expect('([^\n]*)\n')
            for _, text in ipairs({ ... }) do
                if line:find(text, 1, true) then
                    return text
                end
            end
        end
    end

    local PROGRESS, DONE = ' transfers acknowledged, the sum is 100000', ' the sum is 100000 as before'
    local LOST, WAITS = 'lost the connection', '; waiting for the server'

    --- Kills the server three times while a bank works with it. Gives how often it was at work then, and the
    --- server that runs.
    local function kill_three_times(server, folder, transfers)
        local bank = process.spawn({ LUAJIT, 'luajit', 'examples/bank.lua', server.address,
            '--connections', '8', '--transfers', tostring(transfers) })
        for kill = 1, 3 do
            local met = line_with(bank, PROGRESS, DONE)
            if met == PROGRESS then
                server:kill()
                server:finish()
                met = line_with(bank, WAITS, LOST, DONE)
                server = process.server(folder)
            end
            if met ~= WAITS then
                bank:finish()
                return kill - 1, server
            end
            line_with(bank, 'it is back: the sum is 100000, every acknowledged transfer is there')
        end
        local output, status = bank:finish()
        assert.equal(0, status, output)
        assert.is_truthy(output:find(' transfers in [%d.]+ s, the sum is 100000 as before\n$'), output)
        return 3, server
    end

    it('finds the sum unchanged and nothing acknowledged lost, also when the server is killed', function()
        local folder = process.folder()
        local server, kills, transfers = process.server(folder), 0, 10000
        while kills < 3 do -- a bank may be done before the third, when others take the time of who kills
            kills, server = kill_three_times(server, folder, transfers)
            transfers = 2 * transfers
        end
        assert.equal(0, server:stop())
        process.remove(folder)
    end)

    it('ends with an error when money has gone', function()
        local folder = process.folder()
        local server = process.server(folder)
        local bank = process.spawn({ LUAJIT, 'luajit', 'examples/bank.lua', server.address,
            '--connections', '2', '--transfers', '10000000' })
        bank:expect('connections\n')
        local thief = process.spawn({ process.perigee, 'console', server.address, '-e', [[
            box.atomic({ retry = 1000 }, function()
                for _, account in box.space.bank_accounts:pairs() do
                    if account.balance > 0 then
                        return box.space.bank_accounts:update(account.id, { { '-', 'balance', 1 } })
                    end
                end
            end)]] })
        local said, thief_status = thief:finish()
        assert.equal(0, thief_status, said)
        server:kill()
        server:finish()
        server = process.server(folder)
        local output, status = bank:finish()
        assert.equal(1, status)
        assert.is_truthy(output:find('THIS IS WRONG: the sum is 99999, not 100000\n', 1, true), output)
        assert.equal(0, server:stop())
        process.remove(folder)
    end)
end)
