-- SPDX-License-Identifier: Apache-2.0
--
-- Runs the examples of docs/procedures.md and docs/triggers.md. A line `expression --> text` shows the
-- expression's value.

local function read(path)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    return text
end

local function runnable(chunk)
    local lines = {}
    for line in (chunk .. '\n'):gmatch('(.-)\n') do
        local expression, expected = line:match('^(.-)%s*%-%->%s*(.-)%s*$')
        if expression then
            line = ('show(%q, %s)'):format(expected, expression)
        end
        lines[#lines + 1] = line
    end
    return table.concat(lines, '\n')
end

for _, page in ipairs({ 'procedures', 'triggers' }) do
    describe('the documentation of ' .. page, function()
        after_each(function()
            box.rollback()
            for _, trigger in ipairs(box.schema.trigger.list()) do
                box.schema.trigger.drop(trigger.name)
            end
            for _, func in ipairs(box.schema.func.list()) do
                box.schema.func.drop(func.name)
            end
            for _, tuple in ipairs(box.space._space:select()) do
                if tuple[1] >= 512 then
                    box.space[tuple[1]]:drop()
                end
            end
        end)

        local number = 0
        for chunk in read('docs/' .. page .. '.md'):gmatch('\n```lua\n(.-)\n```') do
            number = number + 1
            it('has examples that do what they say, such as number ' .. number, function()
                local shown = 0
                local function show(expected, value)
                    shown = shown + 1
                    assert.equal(expected, tostring(value))
                end
                local fn = assert(loadstring(runnable(chunk), '=example'))
                setfenv(fn, setmetatable({ show = show }, { __index = _G }))()
                assert.is_true(shown > 0)
            end)
        end
    end)
end
