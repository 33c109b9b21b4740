-- SPDX-License-Identifier: Apache-2.0

describe('migrations', function()
    local migrations, folder

    local files = {
        ['001_accounts.lua'] = [[return {
            up = function() box.schema.space.create('accounts'):create_index('pk') end,
            down = function() box.space.accounts:drop() end,
        }]],
        ['002_first.lua'] = [[return {
            up = function() box.space.accounts:insert({ 1 }) end,
            down = function() box.space.accounts:delete(1) end,
        }]],
        ['notes.txt'] = 'no migration',
    }

    local function write(path, text)
        os.execute(('mkdir -p "$(dirname "%s")"'):format(path))
        local file = assert(io.open(path, 'w'))
        file:write(text)
        file:close()
    end

    before_each(function()
        box.module.install('migrations')
        migrations = require('migrations')
        folder = os.tmpname()
        os.remove(folder)
    end)

    after_each(function()
        box.module.remove('migrations')
        box.module.remove('shop', { if_exists = true })
        if box.space.accounts then
            box.space.accounts:drop()
        end
        for _, row in box.space._migration:pairs() do
            box.schema.migration.rollback(row[1], { to = 0 })
        end
        os.execute(('rm -rf "%s"'):format(folder))
    end)

    local function states(where, options)
        local result = {}
        for _, step in ipairs(migrations.status(where, options)) do
            result[#result + 1] = step.number .. ' ' .. step.state
        end
        return table.concat(result, ', ')
    end

    it('are applied, shown and taken back from a table of files', function()
        local mine = { owner = 'shop' }
        assert.same({ 1, 2 }, migrations.dry_run(files, mine))
        assert.is_nil(box.space.accounts)
        assert.same({ 1 }, migrations.apply(files, { owner = 'shop', to = 1 }))
        assert.equal('1 applied, 2 pending', states(files, mine))
        assert.same({ 2 }, migrations.apply(files, mine))
        assert.same({}, migrations.apply(files, mine))
        assert.equal(1, box.space.accounts:count())
        assert.equal('003_more.lua', migrations.new(files, 'more', mine))
        assert.same({ 2 }, migrations.rollback('shop'))
        assert.same({ 1 }, migrations.rollback('shop', { to = 0 }))
        assert.is_nil(box.space.accounts)
    end)

    it('come from a folder of a stored module', function()
        write(folder .. '/shop/manifest.lua', "return { name = 'shop', version = '1.0' }")
        write(folder .. '/shop/init.lua', 'return {}')
        for name, text in pairs(files) do
            write(folder .. '/shop/steps/' .. name, text)
        end
        box.module.install(folder .. '/shop')
        assert.same({ 1, 2 }, migrations.apply('shop/steps'))
        assert.equal('1 applied, 2 applied', states('shop/steps'))
        assert.same({ 2, 1 }, migrations.rollback('shop/steps', { to = 0 }))
        assert.error_matches(function() migrations.apply('shop') end, 'shop has no files like 001_name.lua')
    end)

    it('come from a folder of files', function()
        for name, text in pairs(files) do
            write(folder .. '/bank/' .. name, text)
        end
        assert.same({ 1, 2 }, migrations.apply(folder .. '/bank/'))
        assert.equal('1 applied, 2 applied', states(folder .. '/bank'))
        write(folder .. '/bank/002_first.lua', files['002_first.lua'] .. ' -- changed')
        assert.equal('1 applied, 2 changed', states(folder .. '/bank'))
        assert.same({ 2, 1 }, migrations.rollback(folder .. '/bank', { to = 0 }))
        assert.error_matches(function() migrations.apply(folder .. '/nothing') end, 'nothing can\'t be read')
        os.execute(('mkdir "%s/bank/003_folder.lua"'):format(folder))
        assert.error_matches(function() migrations.apply(folder .. '/bank') end,
            '003_folder.lua can\'t be read')
    end)

    local function refuses(text, fn)
        assert.error_matches(fn, text)
    end

    it('say what is wrong', function()
        refuses('no module "nothing" is installed', function() migrations.apply('nothing') end)
        refuses('whose migrations are these', function() migrations.apply(files) end)
        refuses('a has no files like 001_name', function() migrations.apply({}, { owner = 'a' }) end)
        refuses('applied from a folder', function() migrations.apply(5) end)
        refuses('has a name of letters', function() migrations.new(files, 'a b', { owner = 'a' }) end)
        local bad = { ['001_bad.lua'] = 'return { up = function() error("no") end }' }
        refuses('nothing of it is left', function() migrations.apply(bad, { owner = 'a' }) end)
        assert.equal('1 pending', states(bad, { owner = 'a' }))
    end)
end)
