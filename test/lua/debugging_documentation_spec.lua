-- SPDX-License-Identifier: Apache-2.0
--
-- Runs the examples of docs/debugging.md: x --> y says that tostring(x) is y.

local function examples(path)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    return text:gmatch('\n```lua\n(.-)\n```')
end

describe('docs/debugging.md', function()
    local number = 0
    for chunk in examples('docs/debugging.md') do
        number = number + 1
        it('shows what example ' .. number .. ' gives', function()
            local shown = 0
            local code = chunk:gsub('([^\n]-) *%-%-> ([^\n]*)', function(expression, expected)
                shown = shown + 1
                return ('check(%q, %q, %s)'):format(expression, expected, expression)
            end)
            local function check(expression, expected, value)
                assert.equal(expected, tostring(value), expression)
            end
            local environment = setmetatable({ check = check }, { __index = _G })
            setfenv(assert(loadstring(code, '=example ' .. number)), environment)()
            assert.is_true(shown > 0)
        end)
    end

    it('has examples', function()
        assert.is_true(number >= 2)
    end)
end)
