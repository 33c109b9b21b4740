-- SPDX-License-Identifier: Apache-2.0

local testing = require('testing')

local program = assert(os.getenv('TEST_PERIGEE'), 'TEST_PERIGEE names no executable')

describe('a server whose spaces have options', function()
    local server

    before_each(function()
        server = testing.server({ workers = 2 })
        server:eval([[
            local lsm = box.schema.space.create('events', { engine = 'lsm', compaction = 'size-tiered',
                compression = { 'none', 'zstd' }, dictionary = true, page_size = 4096, bloom_bits = 0,
                filter = 'ribbon', run_count_per_level = 3, range_size = 2 ^ 20 })
            lsm:create_index('pk')
            for _, size in ipairs({ 4096, 16384, 65536 }) do
                local s = box.schema.space.create('pages' .. size, { engine = 'btree', page_size = size })
                s:create_index('pk')
            end
        ]])
    end)
    after_each(function() server:remove() end)

    local function in_force()
        return server:eval('return box.stat.lsm.events.options')
    end

    --- Until one that began after this has ended: each is of a change, without which there is none.
    local function checkpoint()
        local before = server:eval('return box.info.checkpoint.count')
        testing.eventually(function()
            server:eval("redis.call('incr', 'changed') box.checkpoint()")
            return server:eval('return box.info.checkpoint.count') >= before + 2
        end)
    end

    local function fill_all(from, to)
        server:eval([[
            local from, to = ...
            box.atomic(function()
                for id = from, to do
                    local text = ('{"number": %d, "name": "customer %d"}'):format(id * 7919, id)
                    for _, name in ipairs({ 'events', 'pages4096', 'pages16384', 'pages65536' }) do
                        box.space[name]:replace({ id, text })
                    end
                end
            end)
        ]], from, to)
    end

    --- The size of pages as the root at the beginning of a space's file has it.
    local function page_size_of_file(name)
        local id = server:eval('return box.space[...].id', name)
        local list = io.popen(('ls %s/data/%d-*.btree'):format(server.folder, id))
        local path = list:read('*l')
        list:close()
        local file = assert(io.open(path, 'rb'))
        local head = file:read(64)
        file:close()
        local a, b, c = head:byte(61, 63)
        return a + 256 * b + 65536 * c
    end

    local function check(count, has_files)
        assert.same({ compaction = 'size-tiered', compression = { 'none', 'zstd' }, dictionary = true,
            page_size = 4096, bloom_bits = 0, filter = 'ribbon', run_count_per_level = 3,
            range_size = 2 ^ 20 },
            server:eval('return box.space.events.options'))
        assert.same(server:eval('return box.space.events.options'), in_force())
        assert.equal(count, server:eval('return box.space.events:count()'))
        for _, size in ipairs({ 4096, 16384, 65536 }) do
            local name = 'pages' .. size
            assert.equal(size, server:eval('return box.space[...].options.page_size', name))
            assert.equal(count, server:eval('return box.space[...]:count()', name))
            assert.is_true(server:eval('return box.verify(...)', name))
            if has_files then
                assert.equal(size, page_size_of_file(name))
            end
        end
        assert.is_true(server:eval("return box.verify('events')"))
    end

    it('has them after stops and kills, before and after files are there', function()
        checkpoint() -- bodies without files
        server:restart()
        check(0, false)
        for round = 1, 2 do
            local last = 500 * round + 100
            fill_all(1 + 500 * (round - 1), last)
            checkpoint()
            check(last, true)
            server:kill()
            server:restart()
            check(last, true)
        end
    end)

    it('has them when nothing but the log is there', function()
        fill_all(1, 50)
        server:kill()
        server:restart()
        check(50, false)
        checkpoint()
        check(50, true)
    end)

    it('has what was changed after a kill', function()
        server:eval([[
            box.space.events:alter({ compaction = 'universal', compression = 'lz4', dictionary = false })
        ]])
        local before = server:eval('return box.space.events.options')
        assert.equal('universal', before.compaction)
        server:kill()
        server:restart()
        assert.same(before, server:eval('return box.space.events.options'))
        assert.same(before, in_force())
    end)

    --- All rows are found, and hardly one of the numbers between them is looked for in a block.
    local function check_filtered(filter)
        assert.equal(filter, server:eval('return box.stat.lsm.filtered.options.filter'))
        assert.is_true(server:eval([[
            local space = box.space.filtered
            for id = 1, 3999 do
                assert((space:get(id) ~= nil) == (id % 2 == 0), id)
            end
            local reads = box.stat.lsm.filtered.reads
            assert(reads.filtered > 1900, reads.filtered)
            return box.verify('filtered')
        ]]))
    end

    it('reads the filters that it has written, whichever it writes now', function()
        server:eval([[
            local space = box.schema.space.create('filtered', { engine = 'lsm', filter = 'ribbon' })
            space:create_index('pk')
            box.atomic(function()
                for id = 2, 4000, 2 do space:replace({ id, 'a row' }) end
            end)
        ]])
        checkpoint()
        check_filtered('ribbon')
        server:kill()
        server:restart()
        check_filtered('ribbon')
        server:eval("box.space.filtered:alter({ filter = 'bloom' })")
        server:restart()
        check_filtered('bloom')
        server:eval("box.space.filtered:alter({ filter = 'ribbon', bloom_bits = 12 })")
        server:eval('box.space.filtered:compact()')
        server:kill()
        server:restart()
        check_filtered('ribbon')
    end)

    local function run(command)
        assert.equal(0, os.execute(('%s %s >>%s 2>&1'):format(program, command, server.log)))
    end

    it('has them in what repairing has saved', function()
        fill_all(1, 300)
        checkpoint()
        server:stop()
        os.execute(('mv %s/data %s/old'):format(server.folder, server.folder))
        run(('check %s/old --repair %s/data'):format(server.folder, server.folder))
        server:restart()
        check(300, false)
        checkpoint()
        check(300, true)
    end)

    it('has them in a restored backup', function()
        fill_all(1, 300)
        checkpoint()
        server.options.backup_dir = server.folder
        server:restart()
        run(('backup copy --dir %s/data'):format(server.folder))
        fill_all(301, 400)
        server:stop()
        os.execute(('mv %s/data %s/old'):format(server.folder, server.folder))
        run(('restore %s/copy %s/data'):format(server.folder, server.folder))
        run(('check %s/data'):format(server.folder))
        server:restart()
        check(300, true)
        fill_all(301, 500)
        checkpoint()
        check(500, true)
    end)
end)
