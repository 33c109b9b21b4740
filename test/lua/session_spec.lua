-- SPDX-License-Identifier: Apache-2.0

local session = box.session

local function message(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return type(err) == 'table' and err.message or err
end

describe('box.session without a connection', function()
    it('is in the background', function()
        assert.equal('background', session.type())
        assert.equal(0, session.id())
        assert.equal(-1, session.fd())
        assert.is_nil(session.peer())
        assert.is_false(session.exists(12345678))
        assert.matches('no session 12345678', message(session.peer, 12345678))
        assert.matches('number', message(session.exists))
        assert.matches("can say that it is a 'console'", message(session.type, 'console'))
    end)

    it('has a storage of its own', function()
        session.storage.seen = 1
        assert.equal(1, session.storage.seen)
        session.storage.seen = nil
        assert.has_error(function() session.storage = {} end)
    end)

    it('makes triggers of source and of procedures, and refuses functions', function()
        for _, event in ipairs({ 'on_connect', 'on_disconnect', 'on_auth' }) do
            assert.matches('box.schema.trigger.create', message(session[event], function() end))
            local before = #session[event]()
            local name = session[event]('return')
            assert.equal(event, box.schema.trigger.info(name).event)
            assert.equal(before + 1, #session[event]())
            assert.equal(name, session[event]('local n = 1', name))
            assert.equal('local n = 1', box.schema.trigger.info(name).body)
            session[event](nil, name)
            assert.is_false(box.schema.trigger.exists(name))
        end
    end)
end)
