-- SPDX-License-Identifier: Apache-2.0
--
-- Runs the examples of docs/engines.md, one behind the other.

local function read(path)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    return text
end

describe('docs/engines.md', function()
    after_each(function()
        if box.space.events then
            box.space.events:drop()
        end
    end)

    it('has examples that do what they say', function()
        local shown, chunks = 0, {}
        for chunk in read('docs/engines.md'):gmatch('\n```lua\n(.-)\n```') do
            chunks[#chunks + 1] = chunk:gsub('([^\n]-)%s+%-%->%s*([^\n]*)', function(expression, expected)
                shown = shown + 1
                return ('show(%q, %s)'):format(expected, expression)
            end)
        end
        local environment = setmetatable({
            show = function(expected, value) assert.equal(expected, tostring(value)) end,
        }, { __index = _G })
        setfenv(assert(loadstring(table.concat(chunks, '\n'), '=docs/engines.md')), environment)()
        assert.equal(42, shown)
    end)
end)
