-- SPDX-License-Identifier: Apache-2.0
--
-- Writes the module of docs/modules.md into a folder, and runs the examples.

local function read(path)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    return text
end

describe('docs/modules.md', function()
    local folder

    before_each(function()
        folder = os.tmpname()
        os.remove(folder)
    end)

    after_each(function()
        if box.schema.migration.status('greeting')[1] and not box.module.info('greeting') then
            box.module.install(folder .. '/greeting')
        end
        box.module.remove('greeting', { if_exists = true, purge = true })
        box.schema.migration.rollback('shop', { to = 0 })
        os.execute(('rm -rf "%s"'):format(folder))
    end)

    local function write(path, text)
        os.execute(('mkdir -p "$(dirname "%s/%s")"'):format(folder, path))
        local file = assert(io.open(folder .. '/' .. path, 'w'))
        file:write(text)
        file:close()
    end

    it('has examples that do what they say', function()
        local shown = 0
        for chunk in read('docs/modules.md'):gmatch('\n```lua\n(.-)\n```') do
            local path = chunk:match('^%-%- (%S+)\n')
            if path then
                write(path, chunk)
            else
                local text = chunk:gsub('%./greeting', folder .. '/greeting')
                    :gsub('([^\n]-)%s+%-%->%s*([^\n]*)', function(expression, expected)
                        shown = shown + 1
                        return ('show(%q, %s)'):format(expected, expression)
                    end)
                local environment = setmetatable({
                    show = function(expected, value) assert.equal(expected, tostring(value)) end,
                }, { __index = _G })
                setfenv(assert(loadstring(text, '=example')), environment)()
            end
        end
        assert.equal(17, shown)
    end)
end)
