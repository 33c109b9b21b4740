-- SPDX-License-Identifier: Apache-2.0
--
-- Time limits of procedures that a file calls, which has none itself.

describe('a procedure with a timeout', function()
    local function make(body)
        box.schema.func.create('timed', { body = body, timeout = 0.05 })
    end

    after_each(function() box.schema.func.drop('timed', { if_exists = true }) end)

    it('ends, in whatever loop it is, and once for each call', function()
        make([[function(how)
            if how == 'caught' then
                while true do pcall(function() while true do end end) end
            end
            while how == 'plain' do end
            return 'done'
        end]])
        for _, how in ipairs({ 'plain', 'caught', 'plain' }) do
            local ok, err = pcall(box.func.timed, how)
            assert.is_false(ok)
            assert.matches('time limit exceeded', err.message)
        end
        assert.equal('done', box.func.timed('no loop'))
    end)

    it('leaves the file without a limit', function()
        make('function() end')
        box.func.timed()
        local ended, sum = os.clock() + 0.2, 0
        while os.clock() < ended do sum = sum + 1 end
        assert.is_true(sum > 0)
    end)
end)
