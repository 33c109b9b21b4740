-- SPDX-License-Identifier: Apache-2.0
--
-- Update operations: each by example, what they refuse and in which words, and random ones against an
-- implementation on Lua tables.

describe('an update', function()
    local s

    before_each(function()
        s = box.schema.space.create('updated', {
            format = {
                { 'id', 'unsigned' },
                { 'n', 'any', is_nullable = true },
                { 'data', 'any', is_nullable = true },
                { 'tags', 'any', is_nullable = true },
            },
        })
        s:create_index('pk')
        local address = { city = 'Rome', lines = { 'a', 'b' } }
        s:insert({ 1, 10, { name = 'ann', address = address }, { 'x', 'y', 'z' } })
    end)

    after_each(function() box.space.updated:drop() end)

    local function update(...)
        return s:update(1, { ... })
    end

    local function message(...)
        local ok, err = pcall(s.update, s, 1, { ... })
        assert.is_false(ok)
        return tostring(err)
    end

    it('changes numbers', function()
        assert.equal(15, update({ '+', 'n', 5 }).n)
        assert.equal(-85, update({ '-', 2, 100 }).n)
        assert.equal(-84.5, update({ '+', 'n', 0.5 }).n)
        update({ '=', 'n', 0xff })
        assert.equal(0x0f, update({ '&', 'n', 0x0f }).n)
        assert.equal(0x1f, update({ '|', 'n', 0x10 }).n)
        assert.equal(0x10, update({ '^', 'n', 0x0f }).n)
    end)

    it('keeps 64 bits', function()
        update({ '=', 'n', 18446744073709551614ULL })
        assert.is_true(update({ '+', 'n', 1 }).n == 18446744073709551615ULL)
        assert.matches('field "n": integer overflow', message({ '+', 'n', 1 }), 1, true)
        update({ '=', 'n', -9223372036854775807LL })
        assert.is_true(update({ '-', 'n', 1 }).n == -9223372036854775807LL - 1)
        assert.matches('integer overflow', message({ '-', 'n', 1 }), 1, true)
    end)

    it('splices strings', function()
        update({ '=', 'n', 'hello world' })
        assert.equal('hello there', update({ ':', 'n', 7, 5, 'there' }).n)
        assert.equal('hello', update({ ':', 'n', 6, 100, '' }).n)
        assert.equal('hello!', update({ ':', 'n', -1, 0, '!' }).n)
    end)

    it('assigns, inserts and deletes fields', function()
        assert.same({ 1, 'a' }, update({ '#', 2, 3 }, { '!', 2, 'a' }):totable())
        assert.same({ 1, 'a', 'b' }, update({ '=', 3, 'b' }):totable())
        assert.same({ 1, 'a', 'c', 'b' }, update({ '!', 3, 'c' }):totable())
        assert.same({ 1, 'a', 'c', 'b', 'd' }, update({ '!', -1, 'd' }):totable())
        assert.same({ 1, 'a', 'c', 'b' }, update({ '#', -1, 1 }):totable())
        assert.same({ 1, 'a', 'c', 'z' }, update({ '=', -1, 'z' }):totable())
    end)

    it('fills fields with nil that the format lets be nil', function()
        update({ '#', 2, 3 })
        local t = update({ '=', 'tags', 'last' })
        assert.equal(4, #t)
        assert.is_true(t.n == nil and t.data == nil)
        assert.matches('gap', message({ '=', 7, 'x' }), 1, true)
    end)

    it('follows paths into maps and arrays', function()
        assert.equal('Oslo', update({ '=', 'data.address.city', 'Oslo' })['data'].address.city)
        assert.equal('c', update({ '=', 'data.address.lines[3]', 'c' }).data.address.lines[3])
        assert.same({ 'a', 'b', 'c' }, s:get(1).data.address.lines)
        assert.same({ 'x', 'new', 'y', 'z' }, update({ '!', 'tags[2]', 'new' }).tags)
        assert.same({ 'x', 'z' }, update({ '#', '[4][2]', 2 }).tags)
        assert.equal(41, update({ '=', 'data.age', 41 }).data.age)
        assert.equal(42, update({ '+', '[3].age', 1 }).data.age)
        assert.is_nil(update({ '#', 'data.age', 1 }).data.age)
        assert.equal('anna', update({ ':', 'data["name"]', 4, 0, 'a' }).data.name)
        assert.equal('ann', s:get(1).data.name:sub(1, 3))
        assert.equal(true, update({ '!', 'data["a key"]', true }).data['a key'])
        assert.equal('Oslo', s:get(1).data.address.city)
    end)

    it('lets each operation see those before it', function()
        local t = update({ '=', 'data', {} }, { '=', 'data.list', { 1 } }, { '=', 'data.list[2]', 5 },
            { '+', 'data.list[2]', 1 }, { '#', 'data.list[1]', 1 })
        assert.same({ list = { 6 } }, t.data)
    end)

    it('says what is wrong with which operation on which field', function()
        for expected, operation in pairs({
            ["'+' on field \"tags\": the field is not a number"] = { '+', 'tags', 1 },
            ["'+' on field \"n\": the argument must be a number"] = { '+', 'n', 'x' },
            ["'&' on field 2: field and argument must be unsigned"] = { '&', 2, -1 },
            ["'-' on field 9: the tuple has no such field"] = { '-', 9, 1 },
            ["'+' on field \"data.nothing\": the tuple has no such field"] = { '+', 'data.nothing', 1 },
            ["has no field \"nothing.x\""] = { '=', 'nothing.x', 1 },
            ["has no field \"a..b\""] = { '=', 'a..b', 1 },
            ["\"data.name.x\": the path leads through"] = { '=', 'data.name.x', 1 },
            ["\"tags[9]\": there is a gap"] = { '=', 'tags[9]', 1 },
            ["\"tags.x\": there is an array"] = { '=', 'tags.x', 1 },
            ["\"tags[*]\": an update can't"] = { '=', 'tags[*]', 1 },
            ["\"data.name\": the map has this key"] = { '!', 'data.name', 1 },
            ["\"data.name\": of a map one key"] = { '#', 'data.name', 2 },
            ["'#' on field 2: the argument is the number"] = { '#', 2, 0 },
            ["':' on field \"n\": the field must be a string"] = { ':', 'n', 1, 1, 'x' },
            ["takes 3 arguments"] = { ':', 'n', 1 },
            ["one of = ! #"] = { '?', 'n', 1 },
            ["names its field by"] = { '=', true, 1 },
            ["must not change the primary key"] = { '=', 'id', 2 },
        }) do
            assert.matches(expected, message(operation), 1, true)
        end
        assert.equal(10, s:get(1).n)
    end)

    it('does not nest deeper than a tuple may be', function()
        local deep = { 1 }
        for _ = 1, 50 do deep = { deep } end
        update({ '=', 'n', deep })
        local path = '[2]' .. ('[1]'):rep(51)
        assert.matches('deep', message({ '=', path, deep }), 1, true)
    end)

    it('is the same in an upsert, whose errors are errors', function()
        s:upsert({ 1 }, { { '+', 'n', 1 }, { '=', 'data.name', 'eve' } })
        assert.equal(11, s:get(1).n)
        assert.equal('eve', s:get(1).data.name)
        assert.has_error(function() s:upsert({ 1 }, { { '+', 'n', 1 }, { '+', 'data.name', 1 } }) end)
        assert.equal(11, s:get(1).n)
        s:upsert({ 2, 1 }, { { '+', 'n', 1 } })
        assert.equal(1, s:get(2).n)
    end)

    it('is made of tuples that are in no space', function()
        local t = box.tuple.new({ 1, { a = 1 }, 'x' })
        assert.same({ 2, { a = 5 }, 'x' }, t:update({ { '+', 1, 1 }, { '=', '[2].a', 5 } }):totable())
        assert.same({ 1, { a = 1 }, 'x' }, t:totable())
        assert.equal(11, s:get(1):update({ { '+', 'n', 1 } }).n)
        assert.equal(10, s:get(1).n)
        assert.has_error(function() t:update({ { '+', 'name', 1 } }) end)
    end)

    -- ------------------------------------------------------------------------------ the model

    describe('at random', function()
        local seed = tonumber(os.getenv('PERIGEE_SEED')) or os.time()
        local random = math.random

        -- Values are numbers, strings, arrays {kind = 'array', ..} and maps {kind = 'map', keys..}.
        local function value(depth)
            local choice = random(depth > 0 and 6 or 3)
            if choice <= 2 then
                return random(0, 5)
            elseif choice == 3 then
                return ('abc'):sub(1, random(0, 3))
            elseif choice <= 5 then
                local array = { kind = 'array' }
                for n = 1, random(0, 3) do array[n] = value(depth - 1) end
                return array
            end
            local map = { kind = 'map' }
            for _ = 1, random(0, 3) do map[('pqr'):sub(random(3)):sub(1, 1)] = value(depth - 1) end
            return map
        end

        -- Text that two values have in common exactly when they are the same.
        local function show(v)
            if type(v) ~= 'table' then
                return type(v) == 'string' and '"' .. v .. '"' or tostring(v)
            end
            local parts = {}
            if v.kind == 'array' then
                for n, element in ipairs(v) do parts[n] = show(element) end
                return '[' .. table.concat(parts, ',') .. ']'
            end
            for key, element in pairs(v) do
                if key ~= 'kind' then parts[#parts + 1] = key .. ':' .. show(element) end
            end
            table.sort(parts)
            return '{' .. table.concat(parts, ',') .. '}'
        end

        local json = require('json')

        -- As it goes to the database.
        local function plain(v)
            if type(v) ~= 'table' then return v end
            local result = {}
            for key, element in pairs(v) do
                if key ~= 'kind' then result[key] = plain(element) end
            end
            return result
        end

        local function modelled(t)
            if type(t) ~= 'table' then return t end
            local array = #t > 0 or next(t) == nil
            local result = { kind = array and 'array' or 'map' }
            for key, element in pairs(t) do result[key] = modelled(element) end
            return result
        end

        local function copy(v)
            if type(v) ~= 'table' then return v end
            local result = {}
            for key, element in pairs(v) do result[key] = copy(element) end
            return result
        end

        -- Applies one operation to a model, or gives false.
        local function apply(root, steps, op, arg)
            local at = root
            for n = 1, #steps - 1 do
                if type(at) ~= 'table' then return false end
                local key = steps[n]
                if at.kind == 'array' and type(key) ~= 'number' then return false end
                if at.kind == 'map' and type(key) == 'number' then return false end
                at = at[key]
            end
            local key = steps[#steps]
            if type(at) ~= 'table' then return false end
            if at.kind == 'array' and #at == 0 and type(key) == 'string' and (op == '=' or op == '!') then
                at.kind = 'map' -- Lua's empty table is either
            end
            if at.kind == 'array' then
                if type(key) ~= 'number' then return false end
                if key > #at + 1 or (key == #at + 1 and op ~= '=' and op ~= '!') then return false end
            elseif type(key) == 'number' then
                return false
            end
            local present = at[key]
            if op == '=' then
                at[key] = copy(arg)
            elseif op == '!' then
                if at.kind == 'map' then
                    if present ~= nil then return false end
                    at[key] = copy(arg)
                else
                    table.insert(at, key, copy(arg))
                end
            elseif present == nil then
                return false
            elseif op == '#' then
                if at.kind == 'map' then
                    if arg ~= 1 then return false end
                    at[key] = nil
                else
                    for _ = 1, math.min(arg, #at - key + 1) do table.remove(at, key) end
                end
            elseif op == '+' or op == '-' then
                if type(present) ~= 'number' then return false end
                at[key] = op == '+' and present + arg or present - arg
            else
                if type(present) ~= 'number' or present < 0 then return false end
                at[key] = (op == '&' and bit.band or op == '|' and bit.bor or bit.bxor)(present, arg)
            end
            return true
        end

        local function path_text(steps)
            local parts = {}
            for n, step in ipairs(steps) do
                parts[n] = type(step) == 'number' and '[' .. step .. ']'
                    or (n == 1 or random(2) == 1) and '["' .. step .. '"]' or '.' .. step
            end
            return table.concat(parts)
        end

        -- Mostly where something is.
        local function random_steps(root)
            local steps = { random(2, #root + 1) }
            local at = root[steps[1]]
            while type(at) == 'table' and random(4) > 1 do
                local key
                if at.kind == 'array' then
                    key = random(1, #at + (random(5) == 1 and 2 or 1))
                else
                    key = ('pqr'):sub(random(3)):sub(1, 1)
                end
                if random(20) == 1 then key = type(key) == 'number' and 'p' or 1 end
                steps[#steps + 1] = key
                at = at[key]
            end
            return steps
        end

        local operators = { '=', '!', '#', '+', '-', '&', '|', '^' }

        it('does what the same does to tables, seed ' .. seed, function()
            math.randomseed(seed)
            local changed, refused = 0, 0
            for round = 1, tonumber(os.getenv('PERIGEE_ROUNDS')) or 3000 do
                local root = { kind = 'array', 7 }
                for n = 2, random(2, 5) do root[n] = value(3) end
                -- an empty map and an empty array are one table in Lua: filled before they are stored
                local function fill(v)
                    if type(v) ~= 'table' then return end
                    if v.kind == 'map' and next(v, 'kind') == nil and next(v) == 'kind' then v.z = 1 end
                    for key, element in pairs(v) do if key ~= 'kind' then fill(element) end end
                end
                fill(root)
                s:replace(plain(root))
                local model, operations, good = copy(root), {}, true
                for n = 1, random(4) do
                    local steps, op = random_steps(model), operators[random(#operators)]
                    local arg = op == '#' and random(1, 2) or random(0, 9)
                    if op == '=' or op == '!' then arg = value(1) end
                    fill(arg)
                    local where = #steps == 1 and random(2) == 1 and steps[1] or path_text(steps)
                    operations[n] = { op, where, plain(arg) }
                    good = good and apply(model, steps, op, arg)
                    -- a map that has become empty would come back as an array
                    if show(model):find('{}', 1, true) then good = nil break end
                end
                if good ~= nil then
                    local ok, result = pcall(s.update, s, 7, operations)
                    local text = ('round %d of seed %d: %s on %s'):format(round, seed,
                        json.encode(operations), show(root))
                    assert.equal(good, ok, text .. ': ' .. tostring(result))
                    local expected = good and model or root
                    assert.equal(show(expected), show(modelled(s:get(7):totable())), text)
                    changed, refused = changed + (good and 1 or 0), refused + (good and 0 or 1)
                end
            end
            assert.is_true(changed > 100 and refused > 100)
        end)
    end)
end)
