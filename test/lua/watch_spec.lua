-- SPDX-License-Identifier: Apache-2.0
--
-- box.watch: what a function is told of the changes of a space, when, and from where on.

local fiber = require('fiber')

local space, watches

--- A function for a watch, and one that gives what it was called with, the next each time.
local function recorder()
    local channel = fiber.channel(10000)
    return function(event) channel:put(event) end, function()
        local event = channel:get(60)
        assert.is_not_nil(event, 'no event came')
        return event
    end
end

local function watch(...)
    local w = box.watch(...)
    watches[#watches + 1] = w
    return w
end

--- Waits until a function of the status holds.
local function await(w, holds)
    local until_then = fiber.clock() + 60
    while not holds(w:status()) do
        assert.is_true(fiber.clock() < until_then, 'it did not come to this: ' .. w:status().status)
        fiber.sleep(0.001)
    end
end

local function values(event)
    return event.operation, event.key[1], event.tuple and event.tuple[2]
end

describe('box.watch', function()
    before_each(function()
        space = box.schema.space.create('watched')
        space:create_index('primary')
        watches = {}
    end)
    after_each(function()
        for _, w in ipairs(watches) do
            w:stop()
        end
        for _, name in ipairs({ 'watched', 'other' }) do
            if box.space[name] then
                box.space[name]:drop()
            end
        end
    end)

    it('tells of each change after it, in order', function()
        local fn, next_event = recorder()
        watch('watched', nil, fn)
        space:insert({ 1, 'one' })
        space:replace({ 1, 'two' })
        space:update(1, { { '=', 2, 'three' } })
        space:delete(1)
        assert.same({ 'replace', 1, 'one' }, { values(next_event()) })
        assert.same({ 'replace', 1, 'two' }, { values(next_event()) })
        assert.same({ 'replace', 1, 'three' }, { values(next_event()) })
        local last = next_event()
        assert.same({ 'delete', 1 }, { values(last) })
        assert.is_nil(last.tuple)
        assert.equal('watched', last.space)
    end)

    it('gives tuples with the names of their fields', function()
        space:format({ { 'id', 'unsigned' }, { 'name', 'string' } })
        local fn, next_event = recorder()
        watch(space, nil, fn)
        space:insert({ 7, 'seven' })
        assert.equal('seven', next_event().tuple.name)
    end)

    it('tells of all of a transaction, or of nothing', function()
        local fn, next_event = recorder()
        watch('watched', nil, fn)
        box.begin()
        space:insert({ 1 })
        box.rollback()
        box.atomic(function()
            space:insert({ 2, 'first' })
            space:replace({ 2, 'last' })
            space:insert({ 3, 'x' })
        end)
        local first, second = next_event(), next_event()
        assert.same({ 'replace', 2, 'last' }, { values(first) })
        assert.same({ 'replace', 3, 'x' }, { values(second) })
        assert.equal(first.ts, second.ts)
        assert.is_true(first.position < first.ts)
        assert.is_true(second.position >= second.ts)
    end)

    it('passes over what its filter does not want, but no deletion', function()
        local fn, next_event = recorder()
        local w = watch('watched', 't[2] > 10', fn)
        watch('watched', function(t) return t[2] > 10 end, fn)
        for number = 1, 3 do
            space:insert({ number, 5 * number })
        end
        space:delete(1)
        local seen = {}
        for _ = 1, 4 do
            local event = next_event()
            seen[#seen + 1] = event.operation .. event.key[1]
        end
        table.sort(seen)
        assert.same({ 'delete1', 'delete1', 'replace3', 'replace3' }, seen)
        await(w, function(status) return status.delivered == 2 end)
        assert.equal(2, w:status().passed_over)
    end)

    it('looks at a condition before Lua has the row', function()
        local fn, next_event = recorder()
        local w = watch('watched', { { 2, '>', 10 }, { 2, '<', 20 } }, fn)
        local one = watch('watched', { '[1]', '==', 3 }, fn, { batch = 10 })
        for number = 1, 3000 do
            space:insert({ number, number == 3 and 'text' or number })
        end
        space:delete(1)
        next_event()
        await(w, function(status) return status.delivered == 10 and status.passed_over == 2991 end)
        await(one, function(status) return status.delivered == 2 and status.passed_over == 2999 end)
        w:stop()
        await(w, function(status) return status.status == 'stopped' end)
        assert.equal(2991, w:status().passed_over)
        for _, wrong in ipairs({ {}, { 'nowhere', '>', 1 }, { 2, 'is', 1 }, { 2, '>', {} }, { a = 1 } }) do
            assert.has_error(function() watch('watched', wrong, fn) end)
        end
    end)

    it('begins at a position, at the beginning, or now', function()
        local fn, next_event = recorder()
        local w = watch('watched', nil, fn)
        local begin = w:position()
        for number = 1, 10 do
            space:insert({ number, 'x' })
        end
        local positions = {}
        for number = 1, 10 do
            positions[number] = next_event().position
        end
        await(w, function() return w:position() >= positions[10] end)
        w:stop()
        for number = 0, 9 do
            local again, next_again = recorder()
            watch('watched', nil, again, { from = positions[number] or begin })
            assert.equal(number + 1, next_again().key[1])
            table.remove(watches):stop()
        end
        local old, next_old = recorder()
        watch('watched', nil, old, { from = 'beginning' })
        for number = 1, 10 do
            assert.equal(number, next_old().key[1])
        end
        local now, next_now = recorder()
        watch('watched', nil, now)
        space:insert({ 11 })
        assert.equal(11, next_now().key[1])
    end)

    it('calls with lists when a batch is asked for', function()
        local fn, next_batch = recorder()
        local from = watch('watched', nil, fn):position()
        table.remove(watches):stop()
        for number = 1, 25 do
            space:insert({ number })
        end
        watch('watched', nil, fn, { from = from, batch = 10 })
        local seen = 0
        while seen < 25 do
            local batch = next_batch()
            assert.is_true(#batch <= 10)
            for _, event in ipairs(batch) do
                seen = seen + 1
                assert.equal(seen, event.key[1])
            end
        end
    end)

    it('calls again with what the function has failed on', function()
        local tries, fn, next_event = 0, recorder()
        local w = watch('watched', nil, function(event)
            tries = tries + 1
            if tries < 3 then
                error('not yet')
            end
            fn(event)
        end)
        space:insert({ 1, 'x' })
        space:insert({ 2, 'x' })
        assert.equal(1, next_event().key[1])
        assert.equal(2, next_event().key[1])
        assert.equal(4, tries)
        assert.equal(2, w:status().errors)
    end)

    it('takes back a transaction that the function leaves open', function()
        local other = box.schema.space.create('other')
        other:create_index('primary')
        local tries = 0
        local w = watch('watched', nil, function(event)
            tries = tries + 1
            if tries == 1 then
                box.begin()
                other:insert({ event.key[1] })
            end
        end)
        space:insert({ 1 })
        await(w, function(status) return status.delivered == 1 end)
        assert.equal(0, other:count())
        assert.equal(1, w:status().errors)
    end)

    it('may write, also to the space that it watches', function()
        watch('watched', function(t) return t[2] < 5 end, function(event)
            if event.tuple then
                space:replace({ event.key[1], event.tuple[2] + 1 })
            end
        end)
        local fn, next_event = recorder()
        watch('watched', nil, fn)
        space:insert({ 1, 1 })
        for number = 1, 5 do
            assert.equal(number, next_event().tuple[2])
        end
    end)

    it('tells of truncation, and ends with the space', function()
        local fn, next_event = recorder()
        local w = watch('watched', nil, fn)
        space:insert({ 1 })
        space:truncate()
        space:insert({ 2 })
        space:format({ { 'id', 'unsigned' } })
        space:drop()
        assert.same({ 'replace', 1 }, { values(next_event()) })
        assert.equal('truncate', next_event().operation)
        assert.same({ 'replace', 2 }, { values(next_event()) })
        local last = next_event()
        assert.equal('drop', last.operation)
        assert.is_nil(last.key)
        await(w, function(status) return status.status == 'dropped' end)
    end)

    it('gives the keys of spaces in descending order', function()
        local other = box.schema.space.create('other')
        other:create_index('primary', { parts = {
            { 1, 'string', sort_order = 'desc' }, { 2, 'integer' }, { 3, 'unsigned', sort_order = 'desc' },
        } })
        local fn, next_event = recorder()
        watch('other', nil, fn)
        other:insert({ 'a\0b', -5, 9 })
        other:delete({ 'a\0b', -5, 9 })
        assert.same({ 'a\0b', -5, 9 }, next_event().key)
        assert.same({ 'a\0b', -5, 9 }, next_event().key)
    end)

    it('is not called after it was stopped', function()
        local calls = 0
        local w = watch('watched', nil, function() calls = calls + 1 end)
        w:stop()
        await(w, function(status) return status.status == 'stopped' end)
        space:insert({ 1 })
        local fn, next_event = recorder()
        watch('watched', nil, fn)
        space:insert({ 2 })
        next_event()
        assert.equal(0, calls)
    end)

    it('is for those who may read the space, as long as they may', function()
        box.schema.user.create('reader')
        local fn, next_event = recorder()
        local user
        local function as_reader()
            return box.session.su('reader', box.watch, 'watched', nil, function(event)
                user = box.session.effective_user()
                fn(event)
            end)
        end
        local ok, err = pcall(as_reader)
        assert.is_false(ok)
        assert.matches("Read access to space 'watched' is denied for user 'reader'", tostring(err))
        box.schema.user.grant('reader', 'read', 'space', 'watched')
        local w = as_reader()
        watches[#watches + 1] = w
        space:insert({ 1 })
        assert.equal(1, next_event().key[1])
        assert.equal('reader', user)
        box.schema.user.revoke('reader', 'read', 'space', 'watched')
        space:insert({ 2 })
        await(w, function(status) return status.status == 'failed' end)
        assert.equal(1, w:status().delivered)
        assert.matches('denied', w:status().error)
        box.schema.user.drop('reader')
    end)

    it('goes on behind a function that has gone beyond a limit', function()
        box.schema.func.create('greedy', { rows_max = 2, body = [[function()
            for id = 1, 100 do box.space.watched:get(id) end
        end]] })
        local tries, fn, next_event = 0, recorder()
        local w = watch('watched', nil, function(event)
            tries = tries + 1
            if tries == 1 then
                box.func.greedy()
            end
            fn(event)
        end)
        space:insert({ 1 })
        assert.equal(1, next_event().key[1])
        assert.equal(2, tries)
        assert.equal(1, w:status().errors)
        box.schema.func.drop('greedy')
    end)

    it('says what it does', function()
        local fn = recorder()
        watch('watched', nil, fn, { name = 'audit' })
        local found
        for _, status in ipairs(box.stat.watch().watches) do
            found = status.name == 'audit' and status or found
        end
        assert.equal('running', found.status)
        assert.equal('watched', found.space)
        assert.is_true(box.stat.watch.log_begin <= box.stat.watch.log_end)
    end)

    it('refuses what is not there or can\'t be', function()
        local nothing = function() end
        assert.has_error(function() box.watch('missing', nil, nothing) end, 'there is no space missing')
        assert.has_error(function() box.watch('watched', nil, 'text') end,
            'box.watch(space, filter, fn): fn is a function')
        assert.has_error(function() box.watch('watched', nil, nothing, { form = 1 }) end,
            'a watch has no option "form"')
        assert.has_error(function() box.watch('watched', nil, nothing, { from = -1 }) end,
            'from is a position, "now" or "beginning"')
        assert.has_error(function() box.watch('watched', nil, nothing, { batch = 0 }) end,
            'batch is a number of changes from 1 to 10000')
        assert.has_error(function() box.watch('watched', 't[', nothing) end)
        local ok, err = pcall(box.watch, 'watched', nil, nothing, { from = 2 ^ 50 })
        assert.is_false(ok)
        assert.matches('is ahead of the log', tostring(err))
        box.schema.space.create('other', { temporary = true }):create_index('primary')
        assert.has_error(function() box.watch('other', nil, nothing) end,
            'changes of temporary space "other" are in no log: it can\'t be watched')
    end)
end)

describe('box.schema.watch', function()
    local names = { 'watched', 'audit' }
    before_each(function()
        for _, name in ipairs(names) do
            box.schema.space.create(name):create_index('primary')
        end
        space = box.space.watched
        box.schema.func.create('audit', { body = [[function(event)
            box.space.audit:replace({ event.key[1], event.operation, event.tuple and event.tuple[2] or 0 })
        end]] })
    end)
    after_each(function()
        for _, entry in ipairs(box.schema.watch.list()) do
            box.schema.watch.drop(entry.name)
        end
        box.schema.func.drop('audit')
        for _, name in ipairs(names) do
            if box.space[name] then
                box.space[name]:drop()
            end
        end
    end)

    --- Waits until a function gives something, and returns that.
    local function until_there(fn)
        local until_then = fiber.clock() + 60
        while true do
            local found = fn()
            if found then
                return found
            end
            assert.is_true(fiber.clock() < until_then, 'it did not come to this')
            fiber.sleep(0.001)
        end
    end

    local function audited(key)
        return until_there(function() return box.space.audit:get(key) end)
    end

    it('keeps a watch, which calls a procedure', function()
        box.schema.watch.create('auditor', { space = 'watched', func = 'audit', filter = 't[2] > 10' })
        space:insert({ 1, 5 })
        space:insert({ 2, 15 })
        space:delete(1)
        assert.equal(15, audited(2)[3])
        assert.equal('delete', audited(1)[2])
        local info = box.schema.watch.info('auditor')
        assert.equal('watched', info.space)
        assert.equal('audit', info.func)
        assert.equal('t[2] > 10', info.filter)
        assert.is_true(box.schema.watch.exists('auditor'))
        assert.equal(1, #box.schema.watch.list())
    end)

    it('keeps a condition with it', function()
        box.schema.watch.create('auditor', { space = 'watched', func = 'audit', filter = { 2, '>', 10 } })
        space:insert({ 1, 5 })
        space:insert({ 2, 15 })
        assert.equal(15, audited(2)[3])
        assert.is_nil(box.space.audit:get(1))
        assert.same({ 2, '>', 10 }, box.schema.watch.info('auditor').filter)
    end)

    it('writes down where it stands', function()
        box.schema.watch.create('auditor', { space = 'watched', func = 'audit' })
        local from = box.schema.watch.info('auditor').position
        space:insert({ 1, 5 })
        audited(1)
        until_there(function() return box.schema.watch.info('auditor').position > from end)
        until_there(function() return #box.space._watch_position:select() == 1 end)
        box.schema.watch.drop('auditor')
        assert.equal(0, #box.space._watch_position:select())
        assert.is_nil(box.schema.watch.info('auditor'))
    end)

    it('begins anew when it is replaced', function()
        local options = { space = 'watched', func = 'audit' }
        box.schema.watch.create('auditor', options)
        space:insert({ 1, 5 })
        audited(1)
        local position = box.schema.watch.info('auditor').position
        space:insert({ 2, 5 })
        audited(2)
        box.space.audit:truncate()
        options.from, options.replace = position, true
        box.schema.watch.create('auditor', options)
        audited(2)
        assert.has_error(function()
            box.schema.watch.create('auditor', { space = 'watched', func = 'audit' })
        end)
        options.replace, options.if_not_exists = nil, true
        box.schema.watch.create('auditor', options)
    end)

    it('goes with its space', function()
        box.schema.watch.create('auditor', { space = 'watched', func = 'audit' })
        space:insert({ 1, 5 })
        audited(1)
        space:drop()
        assert.is_false(box.schema.watch.exists('auditor'))
        assert.equal(0, #box.space._watch_position:select())
    end)

    it('waits for a procedure that is not there', function()
        box.schema.func.create('later', { body = 'function() end' })
        box.schema.watch.create('auditor', { space = 'watched', func = 'later' })
        box.schema.func.drop('later')
        space:insert({ 1, 5 })
        box.schema.func.create('later', { body = "function() box.space.audit:replace({ 9, 'x', 1 }) end" })
        assert.equal('x', audited(9)[2])
        box.schema.func.drop('later')
    end)

    it('refuses what can\'t be kept', function()
        local create = box.schema.watch.create
        assert.has_error(function() create('a', { space = 'watched', func = 'missing' }) end,
            'there is no procedure missing')
        assert.has_error(function() create('a', { space = 'watched', func = function() end }) end,
            'func of a watch that is kept is the name of a procedure')
        assert.has_error(function() create('a', { space = 'watched', func = 'audit', filter = print }) end,
            'the filter of a watch that is kept is text, or a condition: {"amount", ">", 10}')
        assert.has_error(function()
            create('a', { space = 'watched', func = 'audit', filter = { 'x', '>', 1 } })
        end)
        assert.has_error(function() create('a', { space = 'missing', func = 'audit' }) end,
            'there is no space missing')
        assert.has_error(function() create('a', { space = 'watched', func = 'audit', on = 1 }) end,
            'a watch has no option "on"')
        assert.has_error(function() create('', {}) end,
            'the name of a watch is a string of at most 255 bytes')
        assert.has_error(function() box.schema.watch.drop('nothing') end, 'there is no watch "nothing"')
        box.schema.watch.drop('nothing', { if_exists = true })
    end)
end)
