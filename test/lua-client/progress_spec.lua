-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;test/lib/client/?.lua;' .. package.path

local process = require('process')

local FILL = [[
box.schema.space.create('s')
box.space.s:create_index('pk')
for id = 1, 2000 do box.space.s:insert({ id, ('x'):rep(100) }) end
box.checkpoint()
]]

-- Each of them takes long with much data, and shows on a terminal how far it is.
describe('backup, check and restore', function()
    local folder = process.folder()
    local bar = '%d+%% %[[#.]+%]  [%d.]+ [kMG]?B/s'

    local function run(start, ...)
        return start({ process.perigee, ... }):finish()
    end

    -- What has been drawn stays in the text, as nothing is taken out of it but the sequences of the terminal.
    local function shown(name, ...)
        local text, status = run(process.terminal, ...)
        assert.equal(0, status, text)
        assert.truthy(text:find(name .. ' +' .. bar), text)
        return text
    end

    local function silent(...)
        local text, status = run(process.spawn, ...)
        assert.equal(0, status, text)
        assert.falsy(text:find('%[[#.]+%]'), text)
    end

    setup(function()
        local file = assert(io.open(folder .. '/fill.lua', 'w'))
        file:write(FILL)
        file:close()
        local text, status = run(process.spawn, '--dir', folder .. '/d', folder .. '/fill.lua')
        assert.equal(0, status, text)
    end)

    teardown(function() process.remove(folder) end)

    it('draw a bar with a rate on a terminal', function()
        shown('backup', 'backup', folder .. '/b1', '--dir', folder .. '/d')
        shown('check', 'check', folder .. '/d')
        shown('%a+', 'restore', folder .. '/b1', folder .. '/r1')
    end)

    it('draw nothing elsewhere', function()
        silent('backup', folder .. '/b2', '--dir', folder .. '/d')
        silent('check', folder .. '/d')
        silent('restore', folder .. '/b2', folder .. '/r2')
    end)
end)
