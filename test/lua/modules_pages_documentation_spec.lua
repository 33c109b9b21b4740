-- SPDX-License-Identifier: Apache-2.0
--
-- Runs the examples of docs/modules-*.md: x --> y says that tostring(x) is y.

local function read(path)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    return text
end

local pages = {}
local listing = assert(io.popen('ls docs/modules-*.md'))
for path in listing:lines() do
    pages[#pages + 1] = path
end
listing:close()

describe('the pages of modules', function()
    after_each(function()
        for _, module in ipairs(box.module.list()) do
            box.module.remove(module.name, { purge = true })
        end
    end)

    for _, path in ipairs(pages) do
        it(path .. ' has examples that do what they say', function()
            local shown, name = 0, path:match('modules%-(%w+)%.md')
            assert.is_truthy(table.concat(box.module.available(), ' '):find(name, 1, true))
            for chunk in read(path):gmatch('\n```lua\n(.-)\n```') do
                local text = chunk:gsub('([^\n]-)%s+%-%->%s*([^\n]*)', function(expression, expected)
                    shown = shown + 1
                    return ('show(%q, %s)'):format(expected, expression)
                end)
                local environment = setmetatable({
                    show = function(expected, ...) assert.equal(expected, tostring((...))) end,
                }, { __index = _G })
                setfenv(assert(loadstring(text, '=' .. path)), environment)()
            end
            assert.is_true(shown > 3)
        end)
    end
end)
