-- SPDX-License-Identifier: Apache-2.0

local user, role = box.schema.user, box.schema.role

--- The message of the error that fn(..) raises; fails when there is none.
local function message(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return type(err) == 'table' and err.message or err
end

local function as(name, fn, ...)
    return box.session.su(name, fn, ...)
end

describe('users', function()
    local s

    before_each(function()
        s = box.schema.space.create('s')
        s:create_index('pk')
        s:insert({ 1, 'x' })
        user.create('bob')
    end)

    after_each(function()
        s:drop()
        box.schema.func.drop('f', { if_exists = true })
        user.drop('bob', { if_exists = true })
        role.drop('r', { if_exists = true })
        role.drop('q', { if_exists = true })
        user.grant('guest', 'super', nil, nil, { if_not_exists = true })
    end)

    it('get passwords while other fibers run', function()
        local fiber = require('fiber')
        local turns = 0
        local other = fiber.new(function()
            while true do
                turns = turns + 1
                fiber.sleep(0)
            end
        end)
        local version = box.info().schema_version
        user.create('eve', { password = 'first' })
        assert.is_true(turns > 0)
        turns = 0
        user.passwd('eve', 'second')
        assert.is_true(turns > 0)
        assert.not_equal(version, box.info().schema_version)
        turns = 0
        box.atomic({ schema = true }, function() user.passwd('eve', 'third') end)
        assert.equal(0, turns)
        as('bob', function()
            assert.matches('denied', message(user.create, 'new', { password = 'x' }))
        end)
        assert.matches('at most 1024 bytes', message(user.passwd, 'eve', ('x'):rep(1025)))
        other:cancel()
        user.drop('eve')
    end)

    it('are made, described and dropped', function()
        assert.is_true(user.exists('bob'))
        assert.is_false(user.exists('eve'))
        assert.is_false(user.exists('public'))
        assert.same({ { 'session,usage', 'universe', '' }, { 'execute', 'role', 'public' } }, (function()
            local info = user.info('bob')
            table.sort(info, function(left, right) return left[2] > right[2] end)
            return info
        end)())
        assert.same({ { 'read,write,execute,session,usage,create,drop,alter', 'universe', '' } }, user.info())
        assert.equal("User 'bob' already exists", message(user.create, 'bob'))
        user.create('bob', { if_not_exists = true })
        user.drop('bob')
        user.drop('bob', { if_exists = true })
        assert.equal("User 'bob' is not found", message(user.drop, 'bob'))
        assert.equal("User 'bob' is not found", message(user.info, 'bob'))
    end)

    it('name options and privileges that do not exist', function()
        assert.matches('unknown option passwort', message(user.create, 'eve', { passwort = 'x' }))
        assert.matches('a password is a string', message(user.create, 'eve', { password = 5 }))
        assert.matches("Unsupported privilege 'reed'", message(user.grant, 'bob', 'reed', 'space', 's'))
        assert.matches('unknown object type', message(user.grant, 'bob', 'read', 'planet', 's'))
        assert.matches("there is no space 'nowhere'", message(user.grant, 'bob', 'read', 'space', 'nowhere'))
        assert.matches('can.t be granted on space', message(user.grant, 'bob', 'execute', 'space', 's'))
    end)

    it('may do what they were granted, and no more', function()
        assert.equal("Read access to space 's' is denied for user 'bob'", message(as, 'bob', s.get, s, 1))
        user.grant('bob', 'read', 'space', 's')
        assert.equal('x', as('bob', function() return s:get(1)[2] end))
        assert.equal("Write access to space 's' is denied for user 'bob'", message(as, 'bob', s.delete, s, 1))
        assert.equal("User 'bob' already has read access on space 's'",
            message(user.grant, 'bob', 'read', 'space', 's'))
        user.grant('bob', 'read', 'space', 's', { if_not_exists = true })
        user.grant('bob', { 'read', 'write' }, 'space', 's')
        as('bob', s.insert, s, { 2 })
        user.revoke('bob', 'read,write', 'space', 's')
        assert.equal("User 'bob' does not have read access on space 's'",
            message(user.revoke, 'bob', 'read', 'space', 's'))
        user.revoke('bob', 'read', 'space', 's', { if_exists = true })
        assert.has_error(function() as('bob', s.get, s, 1) end)
    end)

    it('are asked within transactions, iterators and hot loops', function()
        user.grant('bob', 'read', 'space', 's')
        as('bob', function()
            local sum = 0
            for _ = 1, 300 do
                sum = sum + s:get(1)[1]
            end
            assert.equal(300, sum)
            for _, t in s:pairs() do
                assert.equal('x', t[2])
            end
            box.atomic(function() assert.equal(1, #s:select()) end)
            assert.matches('Write access', message(box.atomic, function() s:replace({ 1 }) end))
        end)
        user.revoke('bob', 'read', 'space', 's')
        assert.has_error(function() as('bob', function() return s:pairs() end) end)
        assert.has_error(function() as('bob', s.select, s) end)
        assert.has_error(function() as('bob', s.len, s) end)
    end)

    it('have roles, which have roles', function()
        role.create('r')
        role.create('q')
        role.grant('r', 'read', 'space', 's')
        role.grant('q', 'r')
        user.grant('bob', 'q')
        assert.equal('x', as('bob', function() return s:get(1)[2] end))
        assert.equal("Granting role 'q' to role 'r' would create a loop", message(role.grant, 'r', 'q'))
        assert.equal("Granting role 'r' to role 'r' would create a loop", message(role.grant, 'r', 'r'))
        assert.equal("User 'bob' already has role 'q'", message(user.grant, 'bob', 'q'))
        role.revoke('q', 'r')
        assert.has_error(function() as('bob', s.get, s, 1) end)
        assert.equal("Role 'nobody' is not found", message(user.grant, 'bob', 'nobody'))
        role.drop('q')
        assert.equal("User 'bob' does not have role 'q'", message(function()
            role.create('q')
            user.revoke('bob', 'q')
        end))
    end)

    it('may use sequences that they were granted', function()
        local sequence = box.schema.sequence.create('numbers')
        assert.equal("Write access to sequence 'numbers' is denied for user 'bob'",
            message(as, 'bob', sequence.next, sequence))
        user.grant('bob', 'write', 'sequence', 'numbers')
        as('bob', sequence.next, sequence)
        local names = {}
        for _, grant in ipairs(user.info('bob')) do
            names[grant[2]] = grant[3]
        end
        assert.equal('numbers', names.sequence)
        sequence:drop()
        assert.equal(2, #user.info('bob'))
    end)

    it('can not go while something is theirs', function()
        user.grant('bob', 'create', 'sequence')
        local sequence = as('bob', box.schema.sequence.create, 'numbers')
        assert.equal("User 'bob' can't be dropped: it owns the sequence 'numbers'", message(user.drop, 'bob'))
        sequence:drop()
    end)

    it('are put back after an error, and within each other', function()
        assert.equal('admin', box.session.effective_user())
        pcall(as, 'bob', error, 'x')
        assert.equal('admin', box.session.effective_user())
        assert.equal('bob', as('bob', function()
            assert.matches('needs the role super', message(as, 'admin', function() end))
            return as('bob', box.session.effective_user)
        end))
        assert.equal('admin', box.session.effective_user())
    end)

    it('do not leave their rights behind by yielding', function()
        user.grant('bob', 'read', 'space', 's')
        local co = coroutine.create(function() as('bob', coroutine.yield) end)
        assert.is_false((coroutine.resume(co)))
        assert.equal('admin', box.session.effective_user())
    end)

    it('own the procedures that run as them', function()
        user.grant('bob', 'create', 'function')
        as('bob', box.schema.func.create, 'f', {
            setuid = true,
            body = [[function(fn) return box.session.effective_user(), type(fn) end]],
        })
        assert.same({ 'bob', 'table' }, { box.func.f({}) })
        assert.equal('admin', box.session.effective_user())
        assert.has_error(function() box.func.f(function() end) end)
        assert.equal('admin', box.session.effective_user())
        assert.matches("owns the function 'f'", message(user.drop, 'bob'))
        assert.has_error(function() user.drop('admin') end)
    end)

    it('are asked when a function runs at the end of a transaction', function()
        user.grant('bob', 'create', 'function')
        local who
        box.begin()
        box.on_commit(function() who = box.session.effective_user() end)
        as('bob', box.commit)
        assert.equal('admin', who)
    end)

    it('are changed in a schema transaction with the rest', function()
        pcall(box.atomic, { schema = true }, function()
            user.create('eve', { password = 'x' })
            user.grant('eve', 'read', 'space', 's')
            error('never mind')
        end)
        assert.is_false(user.exists('eve'))
    end)
end)
