-- SPDX-License-Identifier: Apache-2.0

local folder

local function write(path, text)
    os.execute(('mkdir -p "$(dirname "%s/%s")"'):format(folder, path))
    local file = assert(io.open(folder .. '/' .. path, 'w'))
    file:write(text)
    file:close()
end

local manifest = [[
return {
    name = 'greeting',
    version = '%s',
    summary = 'Says hello.',
    exports = { 'say' },
    options = { word = { type = 'string', default = 'Hello', description = 'what is said' } },
    spaces = {
        guests = {
            format = { { 'name', 'string' }, { 'visits', 'unsigned' } },
            indexes = { { name = 'pk', parts = { 'name' } } },
        },
    },
    procedures = { ['greeting.say'] = { call = 'say' } },
    commands = { GREET = { procedure = 'greeting.say', arity = 2, summary = 'Greets somebody.' } },
}
]]

local code = [[
local words = require('greeting.words')
local greeting = {}
function greeting.say(name)
    box.space.guests:upsert({ name, 1 }, { { '+', 'visits', 1 } })
    return words.join(box.module.options('greeting').word, name)
end
return greeting
]]

describe('box.module', function()
    before_each(function()
        folder = os.tmpname()
        os.remove(folder)
        write('manifest.lua', manifest:format('1.0.0'))
        write('init.lua', code)
        write('words.lua', 'return { join = function(a, b) return a .. ", " .. b end }')
        write('specs/greeting_spec.lua', 'error("specs are not installed")')
        write('migrations/001_guests.lua', [[return {
            up = function() box.space.guests:insert({ 'nobody', 0 }) end,
            down = function() box.space.guests:delete('nobody') end,
        }]])
    end)

    after_each(function()
        box.module.remove('greeting', { if_exists = true, purge = true })
        os.execute(('rm -rf "%s"'):format(folder))
    end)

    local function install(options)
        return box.module.install(folder, options)
    end

    it('installs, calls, lists and removes', function()
        local info = install()
        assert.equal('1.0.0', info.version)
        assert.same({ 'greeting.say' }, info.procedures)
        assert.equal('Hello, ann', box.func['greeting.say']('ann'))
        assert.equal('Hello, bob', require('greeting').say('bob'))
        assert.equal(0, box.space.guests:get('nobody').visits)
        assert.equal('greeting', box.module.list()[1].name)
        local status = box.schema.migration.status('greeting')
        assert.same({ { number = 1, name = 'guests', state = 'missing', time = status[1].time } }, status)
        box.module.remove('greeting')
        assert.is_nil(box.func['greeting.say'])
        assert.equal(2, box.space.guests:count() - 1)
        assert.is_nil(box.module.info('greeting'))
        -- what it has stored waits for it
        install()
        assert.equal('Hello, ann', box.func['greeting.say']('ann'))
        assert.equal(2, box.space.guests:get('ann').visits)
        box.module.remove('greeting', { purge = true })
        assert.is_nil(box.space.guests)
        assert.same({}, box.schema.migration.status('greeting'))
    end)

    it('leaves nothing when something of it fails', function()
        write('migrations/002_wrong.lua', 'return { up = function() error("no") end }')
        local ok, err = pcall(install)
        assert.is_false(ok)
        assert.matches('migration greeting/002_wrong failed', err.message)
        assert.is_nil(box.space.guests)
        assert.is_nil(box.module.info('greeting'))
        assert.same({}, box.schema.migration.status('greeting'))
    end)

    it('takes a newer version, and no older one', function()
        install({ options = { word = 'Moin' } })
        assert.equal('Moin, ann', box.func['greeting.say']('ann'))
        assert.is_false(pcall(box.module.upgrade, folder))
        write('manifest.lua', manifest:format('1.1.0'))
        write('words.lua', 'return { join = function(a, b) return b .. "! " .. a .. "!" end }')
        assert.equal('1.1.0', box.module.upgrade(folder).version)
        assert.equal('ann! Moin!', box.func['greeting.say']('ann'))
        assert.equal('Salut', box.module.options('greeting', { word = 'Salut' }).word)
        assert.equal('ann! Salut!', box.func['greeting.say']('ann'))
        assert.equal(3, box.space.guests:get('ann').visits)
    end)

    it('says each time what is wrong with a file', function()
        write('lazy.lua', 'return {')
        write('failing.lua', 'error("not today")')
        install()
        for _ = 1, 2 do
            local ok, problem = pcall(require, 'greeting.lazy')
            assert.is_false(ok)
            assert.matches('greeting/lazy.lua:1: .*expected', tostring(problem))
            ok, problem = pcall(require, 'greeting.failing')
            assert.is_false(ok)
            assert.matches('not today', tostring(problem))
        end
    end)

    it('says what is wrong with a manifest', function()
        for text, message in pairs({
            ['return 5'] = 'returns no table',
            ['return { name = "greeting", version = "x" }'] = 'like "1.0.2"',
            ['return { name = "a b", version = "1" }'] = 'letters, digits',
            ['return { name = "greeting", version = "1", colour = 1 }'] = 'no field `colour`',
            ['return { name = "greeting", version = "1", requires = { "missing >= 2" } }'] =
                'needs "missing >= 2"',
            ['return { name = "greeting", version = "1..2" }'] = 'like "1.0.2"',
            ['return { name = "greeting", version = "1." }'] = 'like "1.0.2"',
            ['return { name = "greeting", version = "1", procedures = { p = { call = "f" } }, '
                .. 'commands = { GET = { procedure = "p" } } }'] = 'GET is a command of the server',
            ['return { name = "greeting", version = "1", commands = { GREET = {} } }'] = 'calls a procedure',
        }) do
            write('manifest.lua', text)
            local ok, err = pcall(install)
            assert.is_false(ok)
            assert.matches(message, err.message, 1, true)
        end
        assert.is_false(pcall(box.module.install, folder .. '/nowhere'))
        assert.is_false(pcall(box.module.install, 'no_such_module'))
        assert.is_false(pcall(install, { options = { colour = 1 } }))
    end)

    it('keeps modules that others need', function()
        install()
        local first = folder
        folder = os.tmpname()
        os.remove(folder)
        write('manifest.lua', 'return { name = "polite", version = "1", requires = { "greeting 1.0" } }')
        write('init.lua', 'return require("greeting")')
        box.module.install(folder)
        local ok, err = pcall(box.module.remove, 'greeting')
        assert.is_false(ok)
        assert.matches('"polite" needs "greeting 1.0"', err.message)
        assert.equal('Hello, eve', require('polite').say('eve'))
        box.module.remove('polite')
        os.execute(('rm -rf "%s"'):format(folder))
        folder = first
    end)
end)

describe('require', function()
    it('finds what is below .rocks, after stored modules', function()
        local home = os.tmpname()
        os.remove(home)
        os.execute(('mkdir -p %s/.rocks/share/lua/5.1/deep %s/.rocks/share/tarantool %s/stored')
            :format(home, home, home))
        for path, text in pairs({
            ['.rocks/share/lua/5.1/stone.lua'] = "return { name = 'stone', deep = require('deep.part') }",
            ['.rocks/share/lua/5.1/deep/part.lua'] = "return 'part'",
            ['.rocks/share/lua/5.1/stored.lua'] = "return 'of a file'",
            ['.rocks/share/tarantool/gem.lua'] = "return { gem = ... }",
            ['stored/manifest.lua'] = "return { name = 'stored', version = '1.0' }",
            ['stored/init.lua'] = "return 'of the database'",
            ['run.lua'] = [[
                box.module.install('./stored')
                print(require('stone').name, require('gem').gem, require('stored'))
                box.schema.func.create('f', {
                    body = "return require('stone').deep .. ' ' .. require('stored')",
                })
                print(box.func.f())
            ]],
        }) do
            local file = assert(io.open(home .. '/' .. path, 'w'))
            file:write(text)
            file:close()
        end
        local command = 'program=$(realpath %s); cd %s && $program --dir data run.lua 2>&1'
        local pipe = assert(io.popen(command:format(os.getenv('TEST_PERIGEE'), home)))
        local text = pipe:read('*a')
        pipe:close()
        os.execute('rm -r ' .. home)
        assert.equal('stone\tgem\tof the database\npart of the database\n', text)
    end)
end)

describe('box.schema.migration', function()
    local steps

    before_each(function()
        steps = {
            { number = 1, name = 'accounts', text = [[return {
                up = function()
                    box.schema.space.create('accounts'):create_index('pk')
                    box.space.accounts:insert({ 1, 100 })
                end,
                down = function() box.space.accounts:drop() end,
            }]] },
            { number = 2, name = 'owners', text = [[return {
                up = function() box.space.accounts:insert({ 2, 200 }) end,
                down = function() box.space.accounts:delete(2) end,
            }]] },
        }
    end)

    after_each(function() box.schema.migration.rollback('shop', { to = 0 }) end)

    local function states()
        local result = {}
        for position, step in ipairs(box.schema.migration.status('shop', steps)) do
            result[position] = step.number .. ' ' .. step.state
        end
        return result
    end

    it('applies, tells, and goes back', function()
        assert.same({ '1 pending', '2 pending' }, states())
        assert.same({ 1, 2 }, box.schema.migration.apply('shop', steps, { dry_run = true }))
        assert.is_nil(box.space.accounts)
        assert.same({ 1 }, box.schema.migration.apply('shop', steps, { to = 1 }))
        assert.same({ '1 applied', '2 pending' }, states())
        assert.same({ 2 }, box.schema.migration.apply('shop', steps))
        assert.same({}, box.schema.migration.apply('shop', steps))
        assert.equal(2, box.space.accounts:count())
        assert.same({ 2 }, box.schema.migration.rollback('shop'))
        assert.equal(1, box.space.accounts:count())
        assert.same({ 1 }, box.schema.migration.rollback('shop', { dry_run = true }))
        assert.equal(1, box.space.accounts:count())
        assert.same({ 1 }, box.schema.migration.rollback('shop'))
        assert.is_nil(box.space.accounts)
    end)

    it('notices what was changed, and what comes too late', function()
        box.schema.migration.apply('shop', { steps[2], steps[1] })
        local text = steps[1].text
        steps[1].text = text .. ' '
        assert.same({ '1 changed', '2 applied' }, states())
        local ok, err = pcall(box.schema.migration.apply, 'shop', steps)
        assert.is_false(ok)
        assert.matches('was changed', err.message)
        steps[1].text = text
        box.schema.migration.rollback('shop', { to = 0 })
        local text_of_three = 'return { up = function() end, down = function() end }'
        box.schema.migration.apply('shop', { steps[1], { number = 3, name = 'three', text = text_of_three } })
        ok, err = pcall(box.schema.migration.apply, 'shop', steps)
        assert.is_false(ok)
        assert.matches('comes before number 3', err.message)
    end)

    it('says what it can not do', function()
        for text, message in pairs({
            ['return 1'] = 'no table with a function `up`',
            ['return { up = function() end, down = 1 }'] = '`down` is a function',
            ['retur'] = 'shop/001_wrong',
        }) do
            local wrong = { { number = 1, name = 'wrong', text = text } }
            local ok, err = pcall(box.schema.migration.apply, 'shop', wrong)
            assert.is_false(ok)
            assert.matches(message, tostring(err), 1, true)
        end
        local twice = { steps[1], { number = 1, name = 'again', text = '' } }
        assert.is_false(pcall(box.schema.migration.apply, 'shop', twice))
        assert.is_false(pcall(box.schema.migration.apply, 'shop', { 5 }))
    end)

    it('goes back only where there is a way', function()
        local forward = { { number = 1, name = 'forward', text = 'return { up = function() end }' } }
        box.schema.migration.apply('one_way', forward)
        local ok, err = pcall(box.schema.migration.rollback, 'one_way')
        assert.is_false(ok)
        assert.matches('no `down`', err.message)
        assert.equal('applied', box.schema.migration.status('one_way', forward)[1].state)
    end)
end)

describe('what a module does in the background', function()
    local fiber = require('fiber')
    local manifest_text = [[
return {
    name = 'ticker', version = '%s', start = 'run', exports = { 'run' },
    sequences = { ticker_event = { start = 10 } },
    spaces = { ticker_events = {
        format = { { 'id', 'unsigned' }, { 'what', 'string' }, { 'version', 'string' } },
        indexes = { { name = 'pk', parts = { 'id' } } },
    } },
}]]
    local code_text = [[
local fiber = require('fiber')
local ticker = { failures = 0 }
local function tell(what)
    box.space.ticker_events:insert({ box.sequence.ticker_event:next(), what, '%s' })
end
function ticker.run(background)
    tell('begun')
    if %s then
        error('no')
    end
    pcall(function()
        while not background:stopping() do
            fiber.sleep(0.001)
        end
    end)
    tell('ended')
end
return ticker]]

    local function write_ticker(version, fails)
        write('manifest.lua', manifest_text:format(version))
        write('init.lua', code_text:format(version, tostring(fails or false)))
    end

    local function events()
        local result = {}
        for _, event in box.space.ticker_events:pairs() do
            result[#result + 1] = event.what .. ' ' .. event.version
        end
        return table.concat(result, ', ')
    end

    local function wait_for(expected)
        local until_then = fiber.clock() + 60
        while events() ~= expected and fiber.clock() < until_then do
            fiber.sleep(0.001)
        end
        assert.equal(expected, events())
    end

    before_each(function()
        folder = os.tmpname()
        os.remove(folder)
    end)

    after_each(function()
        box.module.remove('ticker', { if_exists = true })
        if box.space.ticker_events then
            box.space.ticker_events:drop()
            box.sequence.ticker_event:drop()
        end
        os.execute(('rm -rf "%s"'):format(folder))
    end)

    it('begins when it is installed, anew with each version, and ends when it goes', function()
        write_ticker('1.0')
        box.module.install(folder)
        assert.equal('', events())
        wait_for('begun 1.0')
        write_ticker('1.1')
        box.module.upgrade(folder)
        wait_for('begun 1.0, ended 1.0, begun 1.1')
        box.module.remove('ticker')
        wait_for('begun 1.0, ended 1.0, begun 1.1, ended 1.1')
        box.module.install(folder)
        box.module.remove('ticker')
        box.module.install(folder)
        wait_for('begun 1.0, ended 1.0, begun 1.1, ended 1.1, begun 1.1')
        assert.equal(14, box.sequence.ticker_event:current())
        box.module.remove('ticker')
        wait_for('begun 1.0, ended 1.0, begun 1.1, ended 1.1, begun 1.1, ended 1.1')
    end)

    it('is begun again when it has ended by an error', function()
        write_ticker('1.0', true)
        box.module.install(folder)
        wait_for('begun 1.0, begun 1.0')
        box.module.remove('ticker', { purge = true })
        assert.is_nil(box.sequence.ticker_event)
        assert.is_nil(box.space.ticker_events)
    end)

    it('is named as a function', function()
        write('manifest.lua', "return { name = 'ticker', version = '1.0', start = 'a b' }")
        assert.error_matches(function() box.module.install(folder) end, '`start` names a function')
    end)
end)
