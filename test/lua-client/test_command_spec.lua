-- SPDX-License-Identifier: Apache-2.0
--
-- `perigee test` as its user sees it: what it prints, its exit status, and that nothing is left.

package.path = 'test/lib/client/?.lua;' .. package.path
local process = require('process')

describe('perigee test', function()
    local folder

    before_each(function()
        folder = process.folder()
        os.execute('mkdir ' .. folder .. '/tmp')
    end)
    after_each(function() process.remove(folder) end)

    local function write(path, text)
        os.execute(('mkdir -p "$(dirname "%s/%s")"'):format(folder, path))
        local file = assert(io.open(folder .. '/' .. path, 'w'))
        file:write(text)
        file:close()
    end

    local function spawn(arguments, environment)
        local argv = { process.perigee, 'test' }
        for _, argument in ipairs(arguments) do argv[#argv + 1] = argument end
        environment = environment or {}
        environment.TMPDIR = folder .. '/tmp'
        return process.spawn(argv, environment)
    end

    local function run(...)
        return spawn({ ... }):finish()
    end

    local function left()
        local listing = io.popen('ls -A ' .. folder .. '/tmp')
        local text = listing:read('*a')
        listing:close()
        return text
    end

    local good = "it('is good', function() box.schema.space.create('s') end)\n"
    local bad = "it('is bad', function() assert.equal(1, 2) end)\n"

    it('runs one file with the output and the status of busted', function()
        write('one_spec.lua', good)
        local text, status = run(folder .. '/one_spec.lua')
        assert.matches('%+\n1 success / 0 failures / 0 errors / 0 pending', text)
        assert.equal(0, status)
        write('one_spec.lua', good .. bad)
        text, status = run(folder .. '/one_spec.lua')
        assert.matches('\n1 success / 1 failure / 0 errors / 0 pending', text)
        assert.equal(1, status)
        assert.equal('', left())
    end)

    it('runs all files below a folder, each on a database of its own, with one summary', function()
        write('specs/a_spec.lua', good)
        write('specs/deep/b_spec.lua', good)
        write('specs/no.lua', 'error("no spec")')
        local text, status = run('-j', '2', folder .. '/specs')
        assert.matches('ok +%S+/specs/a_spec.lua +1 of 1', text)
        assert.matches('ok +%S+/specs/deep/b_spec.lua +1 of 1', text)
        assert.matches('\n2 successes / 0 failures / 0 errors / 0 pending : [%d.]+ seconds\n$', text)
        assert.equal(0, status)
        assert.equal('', left())
    end)

    it('shows of several files the output of those that fail, and counts what dies', function()
        write('specs/a_spec.lua', good)
        write('specs/b_spec.lua', good .. bad)
        write('specs/c_spec.lua', good .. "it('dies', function() require('ffi').cdef('int raise(int);') "
            .. "require('ffi').C.raise(9) end)")
        write('specs/d_spec.lua', 'this is no Lua')
        write('specs/e_spec.lua', "pending('later')\n")
        local text, status = run('--jobs=1', folder .. '/specs')
        assert.matches('FAILED +%S+/b_spec.lua +1 of 2.*is bad.*Expected objects to be equal', text)
        assert.matches('FAILED +%S+/c_spec.lua +1 of 2.*ended by signal 9', text)
        assert.matches('FAILED +%S+/d_spec.lua +0 of 1', text)
        assert.matches('\n3 successes / 1 failures / 2 errors / 1 pending', text)
        assert.equal(1, status)
        assert.equal('', left())
    end)

    it('gives options to the database, and arguments to busted', function()
        write('one_spec.lua', "it('a', function() assert.equal('3', box.cfg.workers) end)\n" .. bad)
        local text, status = run('--workers', '3', folder .. '/one_spec.lua', '--filter=a$', '-o', 'TAP')
        assert.matches('ok 1 %- a', text)
        assert.equal(0, status)
        text = run('--colour', 'red', folder .. '/one_spec.lua')
        assert.matches("^perigee: .*colour", text)
    end)

    it('has a clock that stands when it is asked for', function()
        write('one_spec.lua', [[
            it('stands', function()
                local before = box.now()
                os.execute('sleep 0.01')
                assert.equal(before, box.now())
                require('testing').clock:advance(5)
                assert.is_true(box.now() > before + 4)
            end)]])
        local _, status = run('--clock', 'manual', folder .. '/one_spec.lua')
        assert.equal(0, status)
        local text
        text, status = run('--clock', 'broken', folder .. '/one_spec.lua')
        assert.matches("%-%-clock is manual or system, not 'broken'", text)
        assert.equal(1, status)
    end)

    it('shows the seed of a test that fails', function()
        write('one_spec.lua', [[
            it('draws', function()
                assert.equal(0, require('testing').random():integer(1, 6))
            end)]])
        local text = spawn({ folder .. '/one_spec.lua' }, { PERIGEE_SEED = '4711' }):finish()
        assert.matches('the seed was 4711: PERIGEE_SEED=4711 makes these numbers again', text)
    end)

    it('finds the module of its specs, and the one that it needs', function()
        write('bell/manifest.lua', "return { name = 'bell', version = '1.0.0' }")
        write('bell/init.lua', "return { ring = function() return 'ding' end }")
        write('tower/manifest.lua', "return { name = 'tower', version = '1.0.0', requires = { 'bell 1.0' } }")
        write('tower/init.lua', "return { strike = function() return require('bell').ring() end }")
        write('tower/specs/tower_spec.lua',
            "it('strikes', function() assert.equal('ding', require('tower').strike()) end)")
        local text, status = run(folder .. '/tower/specs')
        assert.equal(0, status, text)
    end)

    it('does with the example of docs/testing.md what is said there', function()
        local file = assert(io.open('docs/testing.md'))
        local page, files = file:read('*a'), 0
        file:close()
        for chunk in page:gmatch('\n```lua\n(.-)\n```') do
            write(chunk:match('^%-%- (%S+)\n'), (chunk:gsub('%./counter', folder .. '/counter')))
            files = files + 1
        end
        assert.equal(3, files)
        local text, status = run('--clock', 'system', '-j', '1', folder .. '/counter/specs', '--filter=a')
        assert.matches('\n4 successes / 0 failures', text)
        assert.equal(0, status)
    end)

    --- Starts a spec that has a server, and gives the server's process once it serves.
    local function hanging()
        write('one_spec.lua', [[
            it('hangs', function()
                local server = require('testing').server()
                io.write('pid ', server.pid, '\n')
                io.flush()
                while true do end
            end)]])
        local child = spawn({ folder .. '/one_spec.lua' })
        return child, child:expect('pid (%d+)')
    end

    local function runs(pid)
        return os.execute('kill -0 ' .. pid .. ' 2>/dev/null') == 0
    end

    it('takes everything with it when it is interrupted', function()
        for _, signal in ipairs({ process.SIGINT, process.SIGTERM }) do
            local child, pid = hanging()
            assert.is_true(runs(pid))
            child:kill(signal)
            local _, status = child:finish()
            assert.equal(128 + signal, status)
            assert.is_false(runs(pid))
            assert.equal('', left())
        end
    end)

    it('says what is missing', function()
        assert.matches('there is no file or folder /nothing', (run('/nothing')))
        os.execute('mkdir ' .. folder .. '/empty')
        assert.matches('there are no files %*_spec.lua in', (run(folder .. '/empty')))
        assert.matches('%-j is how many files run at once', (run('-j', 'x', folder)))
        write('one.lua', "require('testing')")
        local argv = { process.perigee, '--dir', folder .. '/var', folder .. '/one.lua' }
        local text = process.spawn(argv):finish()
        assert.matches("the module 'testing' is for files that `perigee test` runs", text)
    end)
end)
