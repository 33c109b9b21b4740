-- SPDX-License-Identifier: Apache-2.0
--
-- Runs the examples of docs/users.md, one after the other. `expression --> text` shows a value.

local function chunks(path)
    local file = assert(io.open(path))
    local text, found = file:read('*a'), {}
    file:close()
    for chunk in text:gmatch('\n```lua\n(.-)\n```') do
        found[#found + 1] = chunk
    end
    return found
end

local function runnable(chunk)
    local lines = {}
    for line in (chunk .. '\n'):gmatch('(.-)\n') do
        local expression, expected = line:match('^(.-)%s*%-%->%s*(.-)%s*$')
        if expression then
            line = ('show(%q, %s)'):format(expected, expression)
        elseif line:match('^box%.session%.uid') then
            line = 'show(nil, ' .. line .. ')'
        end
        lines[#lines + 1] = line
    end
    return table.concat(lines, '\n')
end

describe('docs/users.md', function()
    setup(function()
        local s = box.schema.space.create('accounts', {
            format = { { 'id', 'unsigned' }, { 'owner', 'string' }, { 'balance', 'number' } },
        })
        s:create_index('pk')
        s:insert({ 1, 'ann', 100 })
    end)

    teardown(function()
        box.schema.func.drop('deposit')
        for _, name in ipairs({ 'bob', 'eve', 'teller' }) do
            box.schema.user.drop(name)
        end
        box.schema.role.drop('manager')
        box.schema.role.drop('clerk')
        box.schema.user.grant('guest', 'super')
        box.space.accounts:drop()
    end)

    for number, chunk in ipairs(chunks('docs/users.md')) do
        it('has examples that do what they say, such as number ' .. number, function()
            local environment = setmetatable({
                show = function(expected, value)
                    if expected then
                        assert.equal(expected, tostring(value))
                    end
                end,
            }, { __index = _G })
            setfenv(assert(loadstring(runnable(chunk), '=example')), environment)()
        end)
    end
end)
