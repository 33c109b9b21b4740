-- SPDX-License-Identifier: Apache-2.0
--
-- Runs the examples of docs/memory.md, one behind the other.

local function read(path)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    return text
end

describe('docs/memory.md', function()
    it('has examples that do what they say', function()
        local shown, chunks = 0, {}
        for chunk in read('docs/memory.md'):gmatch('\n```lua\n(.-)\n```') do
            chunks[#chunks + 1] = chunk:gsub('([^\n]-)%s+%-%->%s*([^\n]*)', function(expression, expected)
                shown = shown + 1
                return ('show(%q, %s)'):format(expected, expression)
            end)
        end
        local environment = setmetatable({
            show = function(expected, value) assert.equal(expected, tostring(value)) end,
        }, { __index = _G })
        setfenv(assert(loadstring(table.concat(chunks, '\n'), '=docs/memory.md')), environment)()
        assert.equal(10, shown)
    end)
end)
