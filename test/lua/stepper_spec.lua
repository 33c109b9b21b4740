-- SPDX-License-Identifier: Apache-2.0
--
-- Code that is run line by line, by the functions that the console has it done with.

local testing = require('testing')
local step = box.debug

local BODY = [[function(from, to, amount)
    local s = box.space.accounts
    local source = s:get(from)
    if source.balance < amount then error('not enough') end
    s:update(from, {{'-', 'balance', amount}})
    s:update(to, {{'+', 'balance', amount}})
    return s:get(from).balance
end]]

local function message(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return type(err) == 'table' and err.message or err
end

local function place(result)
    assert.equal('stopped', result.state)
    return result.name .. ':' .. result.line
end

local function results(result)
    assert.equal('ended', result.state)
    return unpack(result.results)
end

describe('code that is run line by line', function()
    local s

    before_each(function()
        local format = { { 'id', 'unsigned' }, { 'balance', 'number' } }
        s = box.schema.space.create('accounts', { format = format })
        s:create_index('pk')
        s:insert({ 1, 100 })
        s:insert({ 2, 50 })
        box.schema.func.create('transfer', { body = BODY })
    end)

    after_each(function()
        pcall(step.quit)
        require('fiber').sleep(0)
        s:drop()
        for _, name in ipairs({ 'transfer', 'f', 'g' }) do
            box.schema.func.drop(name, { if_exists = true })
        end
    end)

    local function start(text, ...)
        return step.start(text, { breakpoints = { ... } })
    end

    it('runs to its end when it stops nowhere', function()
        assert.equal(70, results(start('box.func.transfer(1, 2, 30)')))
        assert.same({ 'ended', {} }, (function()
            local ended = start('local n = 1')
            return { ended.state, ended.results }
        end)())
        assert.matches('not enough', message(start, 'box.func.transfer(1, 2, 3000)'))
        assert.equal('here', message(start, "box.error('here')"))
        assert.equal(9, results(step.start('return (...) + select(2, ...)', { arguments = { 4, 5 } })))
        assert.matches('box.debug.start', message(step.start, 'return ...', { arguments = 5 }))
    end)

    it('says that a transaction was left open, and rolls it back', function()
        assert.matches('has not been ended', message(start, 'box.begin() box.space.accounts:delete(1)'))
        start('local n = 1\nreturn n', { 'eval', 2 })
        step.eval('box.begin()')
        assert.matches('has not been ended', message(step.go, 'continue'))
        assert.is_true(box.space.accounts:get(1) ~= nil)
        assert.is_false(box.is_in_txn())
    end)

    it('stops at a breakpoint, once for each time that the line is run', function()
        assert.equal('transfer:5', place(start('box.func.transfer(1, 2, 30)', { 'transfer', 5 })))
        assert.equal(70, results(step.go('continue')))
        local text = 'local sum = 0\nfor n = 1, 3 do\n'
            .. ' sum = sum + box.func.transfer(1, 2, n)\nend\nreturn sum'
        local stop = start(text, { 'eval', 3 })
        for n = 1, 3 do
            assert.equal('eval:3', place(stop))
            assert.equal(1, stop.breakpoint)
            assert.equal(n, step.eval('n'))
            stop = step.go('continue')
        end
        assert.equal(69 + 67 + 64, results(stop))
    end)

    it('stops where a condition holds, or fails', function()
        local text = 'local sum = 0\nfor n = 1, 300 do\n    sum = sum + n\nend\nreturn sum'
        assert.equal('eval:3', place(start(text, { 'eval', 3, 'n == 200' })))
        assert.equal(19900, step.eval('sum'))
        assert.equal(45150, results(step.go('continue')))
        local stop = start(text, { 'eval', 3, 'n.x.y' })
        assert.matches('the condition failed: .*attempt to index', stop.problem)
        step.quit()
        assert.matches("expected", message(start, text, { 'eval', 3, 'n ==' }))
    end)

    it('goes by lines, over calls, and out of functions', function()
        local stop = step.start('local function double(n)\n  local m = n * 2\n  return m\nend\n'
            .. 'local a = double(1)\nlocal b = double(a)\nreturn a + b', { step = true })
        local seen = {}
        for _, how in ipairs({ 'next', 'step', 'step', 'finish', 'next', 'continue' }) do
            seen[#seen + 1] = stop.line
            stop = step.go(how)
        end
        assert.same({ 4, 5, 2, 3, 6, 7 }, seen)
        assert.equal(6, results(stop))
    end)

    it('shows the variables of all frames, and what an expression gives there', function()
        box.schema.func.create('f', { transaction = false,
            body = "local up = 7\nreturn function(a, ...)\n local t = {1, {2}, x = 'y'}\n"
                .. " local r = box.func.g(a + up)\n return r, t, ...\nend" })
        box.schema.func.create('g', { transaction = false,
            body = 'function(b)\n local c = b * 2\n return c\nend' })
        assert.equal('g:3', place(start('box.func.f(1, 2, 3)', { 'g', 3 })))
        assert.same({ { 'b', '8', 'local' }, { 'c', '16', 'local' } }, step.locals())
        local frames = step.frames()
        assert.same({ 'g', 'f' }, { frames[1].name, frames[2].name })
        assert.same({ 3, 4 }, { frames[1].line, frames[2].line })
        local values = {}
        for _, variable in ipairs(step.locals(2)) do
            values[variable[1]] = variable[2] .. ' ' .. variable[3]
        end
        assert.equal('1 local', values.a)
        assert.equal('7 upvalue', values.up)
        assert.equal('{1, {2}, x = "y"} local', values.t)
        assert.equal(8, step.eval('a + up', 2))
        assert.equal(2, step.eval("select('#', ...)", 2))
        assert.equal('string', step.eval('type(box.info.version)'))
        assert.matches("can't be changed: 'b'", message(step.eval, 'b = 2'))
        assert.matches('there are %d frames', message(step.eval, 'b', 9))
        assert.equal(16, (results(step.go('continue'))))
    end)

    it('waits with its transaction, which others do not see', function()
        start('box.func.transfer(1, 2, 30)', { 'transfer', 6 })
        assert.equal(70, step.eval('s:get(1).balance'))
        assert.equal(100, s:get(1).balance)
        s:insert({ 3, 0 })
        assert.is_false(box.is_in_txn())
        assert.is_true(step.eval('box.is_in_txn()'))
        assert.equal(70, results(step.go('continue')))
        assert.equal(80, s:get(2).balance)
    end)

    it('is run again when its transaction has lost', function()
        start('box.func.transfer(1, 2, 30)', { 'transfer', 4 })
        assert.equal(100, step.eval('source.balance'))
        s:update(1, { { '+', 'balance', 5 } })
        assert.equal('transfer:4', place(step.go('continue')))
        assert.equal(105, step.eval('source.balance'))
        assert.equal(75, results(step.go('continue')))
    end)

    it('ends where it is when it is told to, and is rolled back', function()
        start('box.func.transfer(1, 2, 30)', { 'transfer', 6 })
        step.quit()
        require('fiber').sleep(0)
        assert.equal(100, s:get(1).balance)
        assert.matches('nothing runs here', message(step.go, 'continue'))
        assert.equal('transfer:5', place(start('pcall(box.func.transfer, 1, 2, 30)', { 'transfer', 5 })))
        assert.matches('something runs here already', message(start, '1'))
    end)

    it('goes over rows in a transaction, with stops between them', function()
        start('box.atomic(function()\n local sum = 0\n for _, t in box.space.accounts:pairs() do\n'
            .. '  sum = sum + t.balance\n end\n return sum\nend)', { 'eval', 4 })
        assert.equal(100, step.eval('t.balance'))
        step.go('continue')
        assert.equal(50, step.eval('t.balance'))
        assert.equal(150, results(step.go('continue')))
    end)

    it('stops in transactions that only read, and not where it can not', function()
        box.schema.func.create('f', { readonly = true,
            body = 'function()\n return box.space.accounts:len()\nend' })
        assert.equal('f:2', place(start('box.func.f()', { 'f', 2 })))
        assert.equal(2, results(step.go('continue')))
        local text = 'local t = {3, 1, 2}\ntable.sort(t, function(a, b)\n return a < b\nend)\nreturn t[1]'
        assert.equal(1, results(start(text, { 'eval', 3 })))
        text = 'local co = coroutine.wrap(function()\n return 5\nend)\nreturn co()'
        assert.equal(5, results(start(text, { 'eval', 2 })))
    end)

    it('sleeps, and other fibers run, without stopping them', function()
        local text = "local fiber = require('fiber')\nlocal n = 0\n"
            .. 'local f = fiber.new(function()\n n = n + 1\nend)\nf:set_joinable(true)\n'
            .. 'fiber.sleep(0.001)\nf:join()\nreturn n'
        assert.equal('eval:8', place(start(text, { 'eval', 8 })))
        assert.equal(1, step.eval('n'))
        assert.equal(1, results(step.go('continue')))
    end)

    it('keeps at nothing what is compiled elsewhere', function()
        local function work()
            local sum = 0
            for n = 1, 1e5 do
                sum = sum + n
            end
            return sum
        end
        local text = 'local sum = 0\nfor n = 1, 1e5 do\n sum = sum + n\nend\nreturn sum'
        assert.equal(work(), (results(start(text))))
        start('local n = 1\nreturn n', { 'eval', 2 })
        assert.equal(5000050000, work())
        assert.is_true((jit.status()))
        assert.is_nil((debug.gethook()))
        step.quit()
    end)

    it('gives what it gives without stops, however it is gone on with', function()
        box.schema.func.create('f', { body = [[function(n)
            local sum = 0
            for _, t in box.space.accounts:pairs() do
                sum = sum + t.balance
            end
            local ok = pcall(function()
                if n % 3 == 0 then error('every third') end
                sum = sum + box.func.g(n)
            end)
            local parts = {}
            for word in ('a b c'):gmatch('%a') do
                parts[#parts + 1] = word .. (ok and 1 or 0)
            end
            local twice = coroutine.wrap(function(x)
                local y = coroutine.yield(x * 2)
                return y * 3
            end)
            box.space.accounts:update(1, { { '+', 'balance', n } })
            return sum + twice(n) + twice(1), table.concat(parts)
        end]] })
        box.schema.func.create('g', { body = [[function(n)
            if n <= 1 then
                return 1
            end
            local before = box.func.g(n - 1)
            return before + n
        end]] })
        local text = 'local list = {}\nfor n = 1, 4 do\n local a, b = box.func.f(n)\n'
            .. ' list[#list + 1] = a .. b\nend\nreturn table.concat(list, " ")'
        local random = testing.random(tonumber(os.getenv('PERIGEE_SEED')))
        local expected = results(start(text))
        local hows = { 'step', 'step', 'next', 'finish', 'continue' }
        for _ = 1, 10 do
            s:replace({ 1, 100 })
            local points = {}
            for n = 1, random:integer(1, 4) do
                points[n] = {
                    random:pick({ 'f', 'g', 'eval' }), random:integer(1, 20),
                    random:once_in(2) and 'n ~= 2' or nil,
                }
            end
            local stop = step.start(text, { breakpoints = points, step = random:once_in(2) })
            while stop.state == 'stopped' do
                if random:once_in(3) then
                    step.locals(random:integer(1, #step.frames()))
                    assert.equal(50, step.eval('box.space.accounts:get(2).balance'))
                end
                stop = step.go(random:pick(hows))
            end
            assert.equal(expected, results(stop))
        end
    end)

    it('bears whatever is done to its transaction while it has stopped', function()
        local text = 'return box.func.transfer(1, 2, 30)'
        for _, done in ipairs({
            'box.rollback()', 'box.commit()', 'box.rollback() box.begin({ schema = true })',
            'box.rollback() box.begin({ readonly = true })', 'box.on_commit(print)',
            "box.schema.space.create('new')", 'pcall(s.insert, s, { 1, 1 })', 'error(1)', 'box.debug.quit()',
            "box.debug.go('continue')", "box.debug.start('1')", "require('fiber').sleep(0)",
            "require('fiber').create(function() local n = 1 end)",
            'box.atomic(function() s:delete(2) error() end)',
        }) do
            for _, how in ipairs({ 'next', 'continue' }) do
                start(text, { 'transfer', 5 })
                pcall(step.eval, done)
                local ok, stop = pcall(step.go, how)
                if ok and stop.state == 'stopped' then
                    assert.is_true(stop.line > 5)
                    step.quit()
                end
                require('fiber').sleep(0)
                assert.is_false(box.is_in_txn())
                assert.is_nil(box.space.new)
                s:replace({ 1, 100 })
                s:replace({ 2, 50 })
            end
        end
        assert.equal(70, results(start(text)))
    end)

    it('refuses what it does not know', function()
        assert.matches('box.debug.start', message(step.start))
        assert.matches('no option nowhere', message(step.start, '1', { nowhere = 1 }))
        assert.matches('a breakpoint is', message(step.start, '1', { breakpoints = { 1 } }))
        assert.matches('a breakpoint is', message(step.start, '1', { breakpoints = { { 'f' } } }))
        assert.matches('nothing runs here', message(step.locals))
        start('local n = 1\nreturn n', { 'eval', 2 })
        assert.matches("'continue', 'step'", message(step.go, 'on'))
        assert.same({ { 'eval', 2 } }, step.breakpoints())
        assert.same({}, step.breakpoints({}))
        assert.equal(1, results(step.go('continue')))
    end)
end)
