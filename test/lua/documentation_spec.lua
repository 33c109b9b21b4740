-- SPDX-License-Identifier: Apache-2.0
--
-- Runs the examples of docs/lua.md, docs/lua-values.md, docs/lua-fibers.md and docs/lua-fun.md. A line
-- `expression --> text` shows the expression's value.

local function read(path)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    return text
end

--- The chunks of Lua in the sections from one heading to another.
local function examples(text, from, to)
    local first = assert(text:find('\n' .. from .. '\n', 1, true), from)
    local last = assert(text:find('\n' .. to .. '\n', 1, true), to)
    local chunks = {}
    for chunk in text:sub(first, last):gmatch('\n```lua\n(.-)\n```') do
        chunks[#chunks + 1] = chunk
    end
    return chunks
end

--- Makes statements of the lines that show something; those that only show an expression go.
local function runnable(chunk)
    local lines = {}
    for line in (chunk .. '\n'):gmatch('(.-)\n') do
        local expression, expected = line:match('^(.-)%s*%-%->%s*(.-)%s*$')
        if expression then
            line = ('show(%q, %s)'):format(expected, expression)
        elseif line:match('^[%w_.]+%s+%-%- ') then
            line = 'show(nil, ' .. line:match('^[%w_.]+') .. ')'
        end
        lines[#lines + 1] = line
    end
    return table.concat(lines, '\n')
end

describe('the documentation', function()
    local text = read('docs/lua.md')

    before_each(function()
        local s = box.schema.space.create('accounts', {
            format = { { 'id', 'unsigned' }, { 'owner', 'string' }, { 'balance', 'number' } },
        })
        s:create_index('pk')
        s:insert({ 1, 'ann', 100 })
        s:insert({ 2, 'bob', 0 })
        box.schema.space.create('journal'):create_index('pk')
    end)

    after_each(function()
        box.rollback()
        local made = {}
        for _, space in pairs(box.space) do
            if space.id >= 512 then made[#made + 1] = space end
        end
        for _, space in ipairs(made) do space:drop() end
    end)

    for number, chunk in ipairs(examples(text, '## Spaces', '## What code from outside may do')) do
        it('has examples that do what they say, such as number ' .. number, function()
            local environment = setmetatable({
                s = box.space.accounts,
                print = function() end,
                show = function(expected, value)
                    if expected then
                        assert.equal(expected, tostring(value))
                    end
                end,
            }, { __index = _G })
            local fn = assert(loadstring(runnable(chunk), '=example'))
            setfenv(fn, environment)()
            assert.is_false(box.is_in_txn())
        end)
    end
end)

for _, page in ipairs({ 'values', 'fibers', 'fun' }) do
    describe('the documentation of ' .. page, function()
        local number = 0
        for chunk in read('docs/lua-' .. page .. '.md'):gmatch('\n```lua\n(.-)\n```') do
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
