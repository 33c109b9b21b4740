-- SPDX-License-Identifier: Apache-2.0
--
-- Jobs on a server whose time passes when it is told to.

local test = require('testing')

describe('schedule on a server', function()
    local server

    before_each(function()
        test.manual_clock()
        server = test.server({ workers = 2, modules = { 'schedule' } })
        server:eval([[
            box.schema.space.create('beats'):create_index('pk')
            box.schema.sequence.create('beat')
            box.schema.func.create('beat', { body = [=[function()
                box.space.beats:insert({ box.sequence.beat:next() })
            end]=] })
        ]])
    end)

    after_each(function()
        test.clock:go()
        server:remove()
    end)

    local function beats()
        return server:eval('return box.space.beats:count()')
    end

    it('runs a job when its time has come, and not before', function()
        server:call('schedule.create', 'hourly', { func = 'beat', every = 3600 })
        test.clock:advance(3590)
        assert.equal(0, beats())
        test.clock:advance(10)
        test.eventually(function()
            test.clock:advance(0.5) -- the background looks that often
            return beats() == 1
        end)
        test.clock:advance(3600)
        test.eventually(function()
            test.clock:advance(0.5)
            return beats() == 2
        end)
        assert.equal(2, server:call('schedule.info', 'hourly').runs)
    end)

    it('makes up for what was missed while the server was down, if it was told to', function()
        for name, misfire in pairs({ never = 'skip', once = 'once', each = 'all' }) do
            server:call('schedule.create', name, { func = 'beat', every = 1000, misfire = misfire })
        end
        server:kill()
        test.clock:advance(5500)
        server:restart()
        test.eventually(function()
            test.clock:advance(0.5)
            return beats() == 6
        end)
        assert.equal(0, server:call('schedule.info', 'never').runs)
        assert.equal(1, server:call('schedule.info', 'once').runs)
        assert.equal(5, server:call('schedule.info', 'each').runs)
    end)
end)
