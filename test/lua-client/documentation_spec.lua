-- SPDX-License-Identifier: Apache-2.0
--
-- Runs the examples of docs/client.md against a server, and starts with the file of options of
-- docs/configuration.md. A line `expression --> text` shows the expression's value.
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local client = require('client')
local process = require('process')

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
        lines[#lines + 1] = expression and ('show(%q, %s)'):format(expected, expression) or line
    end
    return table.concat(lines, '\n')
end

describe('docs/client.md', function()
    local folder, server, db

    setup(function()
        folder = process.folder()
        server = process.server(folder, { '--password', 'secret', '--listen', '127.0.0.1:0' })
        db = client.connect(server.address, { password = 'secret' })
        db:eval([[
            for _, name in ipairs({ 'accounts', 'orders' }) do
                box.schema.space.create(name):create_index('pk')
            end
            box.space.accounts:insert({ 1, 100 })
            box.schema.func.create('transfer', { body = 'return select(3, ...)' })
            box.schema.func.create('reserve', { body = 'return box.space.accounts:insert({ ..., 0 })' })
            box.schema.user.create('bob', { password = 'builder' })
            box.schema.user.grant('bob', 'super')
        ]])
    end)

    teardown(function()
        db:close()
        server:stop()
        process.remove(folder)
    end)

    local number = 0
    for chunk in read('docs/client.md'):gmatch('\n```lua\n(.-)\n```') do
        number = number + 1
        it('has examples that do what they say, such as number ' .. number, function()
            local shown = 0
            local function show(expected, value)
                shown = shown + 1
                assert.equal(expected, tostring(value))
            end
            local text = runnable(chunk):gsub("'127%.0%.0%.1:6379'", 'address')
            local given = { show = show, db = db, address = server.address }
            local environment = setmetatable(given, { __index = _G })
            setfenv(assert(loadstring(text, '=example')), environment)()
            assert.is_true(shown > 0)
        end)
    end
end)

describe('docs/configuration.md', function()
    it('has a file of options that a program starts with', function()
        local folder = process.folder()
        local text = read('docs/configuration.md'):match('\n```lua\n(.-)\n```')
        for path, content in pairs({
            options = text:gsub('/var/lib/perigee', folder .. '/data'),
            ['run.lua'] = 'print(box.cfg.dir, box.cfg.memory_max, box.cfg.durability)',
        }) do
            local file = assert(io.open(folder .. '/' .. path, 'w'))
            file:write(content)
            file:close()
        end
        local program = process.spawn({
            process.perigee, '--config', folder .. '/options', folder .. '/run.lua',
        })
        assert.truthy(program:finish():find(folder .. '/data\t2gb\tinterval', 1, true))
        process.remove(folder)
    end)
end)
