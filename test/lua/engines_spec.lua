-- SPDX-License-Identifier: Apache-2.0
--
-- Spaces of every engine that keeps rows behind the head, beside one of engine 'memory': both are given the
-- same, and have to say the same, while checkpoints let rows leave the head. What an engine is not meant to
-- give (docs/engines.md) is refused.

local json = require('json')
local testing = require('testing')

--- The engines that a space can have: the error names them.
local function engines()
    local _, problem = pcall(box.schema.space.create, 'no', { engine = 'no such engine' })
    local names = {}
    for name in problem.message:match(': use (.*)$'):gmatch("'(%w+)'") do
        if name ~= 'memory' then
            names[#names + 1] = name
        end
    end
    return names
end

local function in_head(space)
    return space.index[0]:stat().entries
end

--- Rows leave behind a checkpoint that has them, as those who commit have time for it.
local function let_rows_leave(space)
    testing.eventually(function()
        assert.is_true(box.checkpoint())
        for i = 1, 50 do
            redis.call('set', 'stirred', i)
        end
        return in_head(space) == 0
    end)
end

local function plain(value)
    if box.tuple.is(value) then
        return value:totable()
    elseif type(value) == 'table' then
        local all = {}
        for n, v in ipairs(value) do
            all[n] = plain(v)
        end
        return all
    end
    return value
end

--- What a call gives, or how it fails, as a text.
local function outcome(fn, ...)
    local results = { pcall(fn, ...) }
    if not results[1] then
        local problem = results[2]
        return 'error ' .. (type(problem) == 'table' and problem.name or tostring(problem))
    end
    local texts = {}
    for n = 2, #results do
        texts[n - 1] = results[n] == nil and 'nil' or json.encode(plain(results[n]))
    end
    return table.concat(texts, ' | ')
end

assert.is_true(#engines() > 0)

for _, engine in ipairs(engines()) do
    describe('a space of engine ' .. engine, function()
        local FORMAT = { { 'city', 'string' }, { 'id', 'unsigned' }, { 'value', 'any', is_nullable = true } }
        local space, twin

        local function make(name, name_of_engine)
            local made = box.schema.space.create(name, { engine = name_of_engine, format = FORMAT })
            made:create_index('pk', { parts = { 'city', 'id' } })
            return made
        end

        local function observe(observed, events)
            observed:on_replace(function(old, new, _, operation)
                events[#events + 1] = { operation, plain(old) or '-', plain(new) or '-' }
            end)
        end

        before_each(function()
            space, twin = make('cold', engine), make('warm', 'memory')
        end)
        after_each(function()
            for _, name in ipairs({ 'cold', 'warm' }) do
                if box.space[name] then
                    box.space[name]:drop()
                end
            end
        end)

        --- Both say the same of what is asked of them.
        local function both(what, ask)
            local expected, found = outcome(ask, twin), outcome(ask, space)
            if expected ~= found then
                error(('%s: expected %s\nfound %s'):format(what, expected, found), 2)
            end
            return expected
        end

        local CITIES = { 'ams', 'ber', 'berlin', 'cph', '' }
        local ITERATORS = { 'EQ', 'REQ', 'GE', 'GT', 'LE', 'LT', 'ALL' }

        local function random_key(random)
            return { random:pick(CITIES), random:integer(1, 12) }
        end

        --- A key in full, a part of it, or none; or what is behind all.
        local function random_prefix(random)
            local n = random:integer(1, 6)
            if n == 1 then
                return {}
            elseif n <= 3 then
                return { random:pick(CITIES) }
            end
            return random_key(random)
        end

        local writes = {
            insert = function(random)
                local key, value = random_key(random), random:integer(1, 1000)
                return function(s) return s:insert({ key[1], key[2], value }) end
            end,
            replace = function(random)
                local key, value = random_key(random), ('x'):rep(random:integer(0, 300))
                return function(s) return s:replace({ key[1], key[2], value }) end
            end,
            update = function(random)
                local key, value = random_key(random), random:integer(1, 1000)
                return function(s) return s:update(key, { { '=', 3, value }, { '!', 4, 'more' } }) end
            end,
            upsert = function(random)
                local key, value = random_key(random), random:integer(1, 1000)
                return function(s) return s:upsert({ key[1], key[2], value }, { { '=', 3, -value } }) end
            end,
            delete = function(random)
                local key = random_key(random)
                return function(s) return s:delete(key) end
            end,
        }

        local reads = {
            get = function(random)
                local key = random_key(random)
                return function(s) return s:get(key) end
            end,
            select = function(random)
                local key, options = random_prefix(random), { iterator = random:pick(ITERATORS) }
                options.limit = random:integer(0, 20)
                options.offset = random:integer(0, 3)
                return function(s) return s:select(key, options) end
            end,
            page = function(random)
                local key, iterator = random_prefix(random), random:pick(ITERATORS)
                local limit = random:integer(1, 7)
                return function(s)
                    local pages, after = {}, nil
                    repeat
                        local page
                        page, after = s:select(key,
                            { iterator = iterator, limit = limit, after = after, fetch_pos = true })
                        pages[#pages + 1] = page
                    until not after
                    return pages
                end
            end,
            pairs = function(random)
                local key, iterator = random_prefix(random), random:pick(ITERATORS)
                return function(s)
                    local all = {}
                    for _, t in s:pairs(key, { iterator = iterator }) do
                        all[#all + 1] = t
                    end
                    return all
                end
            end,
            count = function(random)
                local key, iterator = random_prefix(random), random:pick(ITERATORS)
                return function(s) return s:count(key, { iterator = iterator }) end
            end,
            ends = function(random)
                local key = random_prefix(random)
                return function(s)
                    local pk = s.index.pk
                    return {
                        pk:min(key) or 'none', pk:max(key) or 'none', pk:min() or 'none', pk:max() or 'none',
                    }
                end
            end,
        }

        local function names_of(map)
            local names = {}
            for name in pairs(map) do
                names[#names + 1] = name
            end
            table.sort(names)
            return names
        end
        local WRITES, READS = names_of(writes), names_of(reads)

        local function random_write(random)
            local name = random:pick(WRITES)
            return name, writes[name](random)
        end

        --- Several statements as one, some of which are taken back; the whole may be too.
        local function random_atomic(random)
            local plan, fails = {}, random:once_in(3)
            for n = 1, random:integer(1, 6) do
                local name, fn = random_write(random)
                local _, look = 'look', reads[random:pick(READS)](random)
                plan[n] = { name = name, fn = fn, look = look, back = random:once_in(3) }
            end
            return function(s)
                local seen = {}
                local ok = pcall(box.atomic, function()
                    for n, step in ipairs(plan) do
                        local point = box.savepoint()
                        seen[#seen + 1] = outcome(step.fn, s)
                        if step.back then
                            box.rollback_to_savepoint(point)
                        end
                        seen[#seen + 1] = n .. outcome(step.look, s)
                    end
                    if fails then
                        error('never mind')
                    end
                end)
                seen[#seen + 1] = tostring(ok)
                return seen
            end
        end

        local function step(random, n)
            local kind = random:integer(1, 10)
            if kind <= 4 then
                local name, fn = random_write(random)
                both(('step %d, %s'):format(n, name), fn)
            elseif kind <= 8 then
                local name = random:pick(READS)
                both(('step %d, %s'):format(n, name), reads[name](random))
            else
                both(('step %d, a transaction'):format(n), random_atomic(random))
            end
        end

        it('says what one in memory says, whatever has left the head', function()
            local random = testing.random()
            local of_space, of_twin = {}, {}
            observe(space, of_space)
            observe(twin, of_twin)
            for round = 1, 12 do
                for n = 1, 120 do
                    step(random, (round - 1) * 120 + n)
                end
                both('before the checkpoint', function(s) return s:select() end)
                if random:once_in(2) then
                    assert.is_true(box.checkpoint())
                else
                    let_rows_leave(space)
                end
                both('after it', function(s) return s:select() end)
                assert.same(of_twin, of_space)
            end
            assert.is_true(box.verify(space))
        end)

        local function fill(first, last)
            for id = first, last do
                for _, s in ipairs({ space, twin }) do
                    s:insert({ 'ams', id, 'value ' .. id })
                end
            end
        end

        local function all_alike()
            return both('all rows', function(s) return s:select() end)
        end

        it('has no rows in memory once they have left, and all of them when it is read', function()
            fill(1, 500)
            assert.equal(500, in_head(space))
            let_rows_leave(space)
            assert.equal(0, in_head(space))
            assert.equal(500, space:count())
            assert.equal(500, space:len())
            testing.eventually(function() -- a row that leaves is counted when it has left
                local memory = box.stat.memory().spaces.cold
                return memory.rows == 0 and memory.tuples == 0 and memory.keys == 0
            end)
            all_alike()
        end)

        it('takes no more memory than what is written between checkpoints', function()
            local batch, batches, text = 500, 12, ('x'):rep(1000)
            local function used()
                local heap = box.stat.memory.heap
                return heap.rows + heap.versions
            end
            local before = used()
            for n = 1, batches do
                for id = (n - 1) * batch + 1, n * batch do
                    space:insert({ 'ams', id, text })
                end
                assert.is_true(used() - before < 3 * batch * #text)
                let_rows_leave(space)
            end
            assert.equal(batch * batches, space:count())
            assert.equal(text, space:get({ 'ams', batch }).value)
        end)

        it('refuses a second row with the key of one that has left', function()
            fill(1, 10)
            let_rows_leave(space)
            local ok, problem = pcall(space.insert, space, { 'ams', 5, 'another' })
            assert.is_false(ok)
            assert.equal(box.error.DUPLICATE, problem.code)
            assert.equal('value 5', space:get({ 'ams', 5 }).value)
            space:delete({ 'ams', 5 })
            assert.is_nil(space:get({ 'ams', 5 }))
            space:insert({ 'ams', 5, 'another' })
            assert.equal('another', space:get({ 'ams', 5 }).value)
            assert.equal(10, space:count())
        end)

        it('goes on behind a position in rows that have left and rows that have not', function()
            fill(1, 40)
            let_rows_leave(space)
            for _, s in ipairs({ space, twin }) do
                for id = 1, 40, 3 do
                    s:delete({ 'ams', id })
                end
                s:replace({ 'ams', 20, 'new' })
                s:insert({ 'ams', 41, 'new' })
            end
            for _, iterator in ipairs({ 'GE', 'LE', 'ALL', 'EQ', 'REQ' }) do
                local key = (iterator == 'EQ' or iterator == 'REQ') and { 'ams' } or nil
                both(iterator, function(s)
                    local seen, position = {}, nil
                    repeat
                        local page
                        page, position = s:select(key,
                            { iterator = iterator, limit = 5, after = position, fetch_pos = true })
                        seen[#seen + 1] = page
                        if s == space then
                            box.checkpoint()
                        end
                    until not position
                    return seen
                end)
            end
        end)

        it('runs triggers with the rows that have left', function()
            for _, s in ipairs({ space, twin }) do
                s:create_trigger('grow_' .. s.name, { event = 'before_replace', body = [[function(old, new)
                    if old and new then return { new[1], new[2], old[3] .. '<' .. new[3] } end
                    if old and old[2] % 2 == 0 then return old end
                    return new
                end]] })
            end
            fill(1, 20)
            let_rows_leave(space)
            for _, s in ipairs({ space, twin }) do
                s:replace({ 'ams', 1, 'a' })
                s:update({ 'ams', 2 }, { { '=', 3, 'b' } })
                s:upsert({ 'ams', 3, 'c' }, { { '=', 3, 'd' } })
                s:delete({ 'ams', 4 })
                s:delete({ 'ams', 5 })
            end
            all_alike()
            assert.equal('value 1<a', space:get({ 'ams', 1 })[3])
            assert.equal(19, space:count())
            for _, s in ipairs({ space, twin }) do
                local body = "function(old, _, _, verb) return { verb, 0, old and old[3] or '-' } end"
                s:create_trigger('instead_' .. s.name, { event = 'instead_of', body = body })
            end
            both('a delete', function(s) return s:delete({ 'ams', 6 }) end)
            both('a replace', function(s) return s:replace({ 'ams', 7, 'x' }) end)
            all_alike()
        end)

        it('shows a walk the moment at which it began, while checkpoints let rows leave', function()
            fill(1, 2000)
            local next_row, state, at = space:pairs()
            local seen = 0
            while true do
                local t
                at, t = next_row(state, at)
                if at == nil then
                    break
                end
                seen = seen + 1
                assert.equal('value ' .. seen, t.value)
                if seen % 400 == 1 then
                    for id = 1, 2000, 7 do
                        space:replace({ 'ams', id, 'later' })
                    end
                    space:delete({ 'ams', 2000 - seen })
                    space:replace({ 'ams', 2000 + seen, 'later' })
                    assert.is_true(box.checkpoint())
                end
            end
            assert.equal(2000, seen)
        end)

        it('loses and wins rows that have left as it does those that have not', function()
            fill(1, 10)
            let_rows_leave(space)
            box.begin()
            space:replace({ 'ams', 1, 'mine' })
            local point = box.savepoint()
            space:delete({ 'ams', 2 })
            assert.is_nil(space:get({ 'ams', 2 }))
            assert.equal(9, space:count())
            box.rollback_to_savepoint(point)
            assert.equal('value 2', space:get({ 'ams', 2 }).value)
            assert.equal('mine', space:get({ 'ams', 1 }).value)
            box.rollback()
            assert.equal('value 1', space:get({ 'ams', 1 }).value)
            all_alike()
        end)

        it('is emptied and dropped with rows that have left', function()
            fill(1, 100)
            let_rows_leave(space)
            for _, s in ipairs({ space, twin }) do
                s:truncate()
            end
            all_alike()
            assert.equal(0, space:len())
            fill(50, 60)
            let_rows_leave(space)
            all_alike()
            space:drop()
            assert.is_nil(box.space.cold)
            space = make('cold', engine)
            twin:truncate()
            all_alike()
            assert.is_true(box.checkpoint())
        end)

        it('changes its format only where the rows that have left fit', function()
            fill(1, 1500)
            let_rows_leave(space)
            local narrow = { { 'city', 'string' }, { 'id', 'unsigned' }, { 'value', 'unsigned' } }
            local ok, problem = pcall(space.format, space, narrow)
            assert.is_false(ok)
            assert.equal('ERROR_SCHEMA', problem.name)
            space:format({ { 'town', 'string' }, { 'number', 'unsigned' }, { 'text', 'string' } })
            assert.equal('value 7', space:get({ 'ams', 7 }).text)
            ok, problem = pcall(space.alter, space, { constraint = { few = 't.number < 1500' } })
            assert.is_false(ok)
            assert.equal('ERROR_CONSTRAINT', problem.name)
            space:delete({ 'ams', 1500 })
            space:alter({ constraint = { few = 't.number < 1500' } })
            assert.is_false((pcall(space.insert, space, { 'ber', 1500, '' })))
            assert.is_true(box.verify(space))
        end)

        it('takes numbers from a sequence', function()
            box.schema.sequence.create('numbers')
            local numbered = box.schema.space.create('numbered', { engine = engine })
            numbered:create_index('pk', { sequence = 'numbers' })
            assert.equal(1, numbered:insert({ box.NULL, 'a' })[1])
            let_rows_leave(numbered)
            assert.equal(2, numbered:insert({ box.NULL, 'b' })[1])
            assert.equal('a', numbered:get(1)[2])
            numbered:drop()
            box.sequence.numbers:drop()
        end)

        it('is watched', function()
            local events = require('fiber').channel(1000)
            local function next_event()
                local event = assert(events:get(60), 'no event came')
                return { event.operation, event.key[2], event.tuple and event.tuple[3] }
            end
            local w = box.watch('cold', nil, function(event) events:put(event) end)
            space:insert({ 'ams', 1, 'a' })
            assert.same({ 'replace', 1, 'a' }, next_event())
            let_rows_leave(space)
            space:replace({ 'ams', 1, 'b' })
            assert.same({ 'replace', 1, 'b' }, next_event())
            let_rows_leave(space)
            space:delete({ 'ams', 1 })
            assert.same({ 'delete', 1 }, next_event())
            w:stop()
        end)

        it('refuses what it is not meant to give', function()
            for _, refused in ipairs({
                function() box.schema.space.create('no', { engine = engine, temporary = true }) end,
                function()
                    box.schema.space.create('no', { engine = engine }):create_index('pk', { type = 'hash' })
                end,
                function()
                    box.schema.space.create('no', {
                        engine = engine,
                        format = { { 'id', 'unsigned' }, { 'to', 'unsigned' } },
                        foreign_key = { to = { space = 'warm', field = { to = 'id' } } },
                    })
                end,
            }) do
                local ok, problem = pcall(refused)
                if box.space.no then
                    box.space.no:drop()
                end
                assert.is_false(ok)
                assert.equal('ERROR_UNSUPPORTED', problem.name)
                assert.matches(engine, problem.message, 1, true)
            end
        end)
    end)

    describe('a server with a space of engine ' .. engine, function()
        local server

        before_each(function()
            server = testing.server({ workers = 2 })
            server:eval([[
                local s = box.schema.space.create('s', { engine = ... })
                s:create_index('pk')
                for i = 1, 100 do s:insert({ i, 'value ' .. i }) end
            ]], engine)
        end)
        after_each(function() server:remove() end)

        local function checkpoint() -- of a change, without which there is none
            local before = server:eval([[
                redis.call('incr', 'changed')
                local count = box.info.checkpoint.count
                box.checkpoint()
                return count
            ]])
            testing.eventually(function()
                return server:eval('return box.info.checkpoint.count') > before
            end)
        end

        --- Until no row is in the head.
        local function leave()
            testing.eventually(function()
                checkpoint()
                server:eval("for i = 1, 50 do redis.call('set', 'stirred', i) end")
                return server:eval('return box.space.s.index[0]:stat().entries') == 0
            end)
        end

        local function all()
            return server:eval([[
                local texts = {}
                for _, t in box.space.s:pairs() do texts[#texts + 1] = t[1] .. '=' .. t[2] end
                return table.concat(texts, ' ')
            ]])
        end

        it('has all rows after a stop and after a kill, in memory or not', function()
            leave()
            server:eval("for i = 1, 100, 2 do box.space.s:replace({ i, 'new' }) end")
            server:eval('for i = 1, 100, 5 do box.space.s:delete(i) end')
            local before = all()
            for _ = 1, 2 do
                server:kill()
                server:restart()
                assert.equal(before, all())
                leave()
                assert.equal(before, all())
                server:restart()
                assert.equal(before, all())
                assert.equal(0, server:eval('return box.space.s.index[0]:stat().entries'))
                assert.is_true(server:eval("return box.verify('s')"))
            end
            assert.equal('new', server:eval('return box.space.s:get(3)[2]'))
            assert.is_nil(server:eval('return box.space.s:get(6)'))
        end)

        it('shows a parked transaction what was there when it began, over checkpoints', function()
            leave()
            local client = server:connect()
            local parked = client:begin({ isolation = 'snapshot' })
            assert.equal('value 1', parked:eval('return box.space.s:get(1)[2]'))
            for round = 1, 3 do
                server:eval([[
                    local s, round = box.space.s, ...
                    for i = 1, 50 do s:replace({ i, 'round ' .. round }) end
                    for i = 51, 60 do s:delete(i) end
                    for i = 100 * round + 1, 100 * round + 20 do s:insert({ i, 'late' }) end
                ]], round)
                checkpoint()
                assert.equal('value 1', parked:eval('return box.space.s:get(1)[2]'))
                assert.equal('value 55', parked:eval('return box.space.s:get(55)[2]'))
                assert.is_nil(parked:eval('return box.space.s:get(101)'))
                assert.equal(100, parked:eval('return box.space.s:count()'))
                local before = parked:eval("return box.space.s:select(51, { iterator = 'LT' })[1][2]")
                assert.equal('value 50', before)
            end
            parked:rollback()
            assert.equal('round 3', server:eval('return box.space.s:get(1)[2]'))
            assert.equal(150, server:eval('return box.space.s:count()'))
            leave()
            assert.equal(150, server:eval('return box.space.s:count()'))
            client:close()
        end)

        it('lets the second of two that write a row which has left lose', function()
            for _, write in ipairs({ "box.space.s:replace({ 7, 'first' })", 'box.space.s:delete(7)' }) do
                leave()
                local one, other = server:connect(), server:connect()
                local first, second = one:begin(), other:begin()
                first:eval('return box.space.s:get(7)')
                second:eval('return box.space.s:get(7)')
                first:eval(write)
                first:commit()
                checkpoint()
                second:eval("box.space.s:replace({ 8, 'second' })")
                local ok, problem = pcall(second.commit, second)
                assert.is_false(ok)
                assert.equal('ERROR_CONFLICT', problem.name)
                assert.equal('value 8', server:eval('return box.space.s:get(8)[2]'))
                one:close()
                other:close()
            end
        end)

        it('lets one lose whose range another has written into, over a checkpoint', function()
            server:eval('box.space.s:delete(95)')
            leave()
            local one, other = server:connect(), server:connect()
            local first, second = one:begin(), other:begin()
            assert.equal(10, first:eval("return #box.space.s:select(90, { iterator = 'GE' })"))
            second:eval("box.space.s:insert({ 95, 'between' })")
            second:commit()
            checkpoint()
            first:eval("box.space.s:replace({ 1, 'decided' })")
            local ok, problem = pcall(first.commit, first)
            assert.is_false(ok)
            assert.equal('ERROR_CONFLICT', problem.name)
            one:close()
            other:close()
        end)
    end)
end
