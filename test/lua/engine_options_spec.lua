-- SPDX-License-Identifier: Apache-2.0

local testing = require('testing')

local function create(name, options)
    local space = box.schema.space.create(name, options)
    space:create_index('pk')
    return space
end

--- Rows whose texts have much in common, and are no copies of each other.
local function fill(space, from, to)
    local text = '{"number": %d, "name": "customer %d", "city": "town %d", "state": "on", "hash": "%x"}'
    box.atomic(function()
        for id = from, to do
            local number, hash = id * 7919 % 100003, id * 2654435761 % 4294967296
            space:replace({ id, text:format(number, id, id % 97, hash) })
        end
    end)
end

local function problem_of(fn, ...)
    local ok, problem = pcall(fn, ...)
    assert.is_false(ok)
    return problem
end

describe('the options of an engine', function()
    local made = {}

    local function make(name, options)
        made[#made + 1] = name
        return create(name, options)
    end

    after_each(function()
        for _, name in ipairs(made) do
            box.schema.space.drop(name, { if_exists = true })
        end
        made = {}
    end)

    --- What the body works by now; a space has options also when its body does not know of them.
    local function in_force(name)
        return box.stat.lsm[name].options
    end

    it('are what it does by itself without any', function()
        local plain = {
            compaction = 'levelled', compression = 'lz4', dictionary = false, page_size = 8192,
            bloom_bits = 10, filter = 'bloom', run_count_per_level = 4, run_size_ratio = 10,
            range_size = 32 * 2 ^ 20, level_size = 256 * 2 ^ 20,
        }
        assert.same(plain, make('plain', { engine = 'lsm' }).options)
        assert.same(plain, in_force('plain'))
        assert.same({ page_size = 4096 }, make('pages', { engine = 'btree' }).options)
        assert.is_nil(make('rows').options)
        assert.is_nil(box.space._space.options)
        for name, value in pairs(box.space._space:get(box.space.plain.id)[6]) do
            assert.equal('incarnation', name, value) -- nothing is kept that was not given
        end
    end)

    it('are shown as they were given, and can be given again', function()
        local given = {
            { compaction = 'size-tiered', compression = 'zstd', dictionary = true, page_size = 65536 },
            { compaction = 'universal', compression = { 'none', 'lz4', 'zstd' }, page_size = 5000 },
            { bloom_bits = 0 },
            { bloom_bits = 32 },
            { compaction = 'time-window', compression = 'snappy', dictionary = false, page_size = 4096 },
            { compaction = 'time-window', compaction_window = 3600, compression = 'none', bloom_bits = 16 },
            { compaction = 'levelled', compression = { 'lz4', 'lz4', 'lz4', 'lz4', 'lz4', 'lz4', 'zstd' } },
            { run_count_per_level = 2, run_size_ratio = 100, range_size = 2 ^ 34, level_size = 2 ^ 40 },
            { compaction = 'size-tiered', run_count_per_level = 32, range_size = 2 ^ 20 },
            { bloom_bits = 8, filter = 'ribbon' },
            { filter = 'bloom' },
        }
        for n, options in ipairs(given) do
            options.engine = 'lsm'
            local space = make('given' .. n, options)
            options.engine = nil
            for name, value in pairs(options) do
                assert.same(value, space.options[name])
            end
            assert.same(space.options, in_force('given' .. n))
            local again = space.options
            again.engine = 'lsm'
            assert.same(space.options, make('again' .. n, again).options)
        end
        assert.equal(24 * 3600, box.space.given5.options.compaction_window)
        assert.is_nil(box.space.given1.options.compaction_window)
        local one = make('one', { engine = 'lsm', compression = { 'lz4', 'lz4' } })
        assert.equal('lz4', one.options.compression)
        for size = 12, 16 do
            local space = make('pages' .. size, { engine = 'btree', page_size = 2 ^ size })
            assert.same({ page_size = 2 ^ size }, space.options)
        end
    end)

    it('are refused where they are wrong, with what would be right', function()
        local lsm, btree = { engine = 'lsm' }, { engine = 'btree' }
        local compressions = "compression is 'zstd', 'lz4', 'snappy' or 'none', or a list of these, not "
        local cases = {
            { lsm, { compaction = 'tiered' },
                "compaction is 'levelled', 'size-tiered', 'universal' or 'time-window', not 'tiered'" },
            { lsm, { compaction = 3 }, "or 'time-window', not 3" },
            { lsm, { compaction_window = 60 },
                "compaction_window is of compaction = 'time-window', not of 'levelled'" },
            { lsm, { compaction = 'universal', compaction_window = 60 }, "not of 'universal'" },
            { lsm, { compaction = 'time-window', compaction_window = 0 },
                'compaction_window is a whole number of seconds, of a century at most, not 0' },
            { lsm, { compaction = 'time-window', compaction_window = 1.5 }, 'a century at most, not 1.5' },
            { lsm, { compaction = 'time-window', compaction_window = 2 ^ 40 }, 'of a century at most' },
            { lsm, { compression = 'gzip' }, compressions .. "'gzip'" },
            { lsm, { compression = { 'lz4', 'gzip' } }, compressions .. "'gzip'" },
            { lsm, { compression = true }, compressions .. 'this' },
            { lsm, { compression = {} }, 'from 1 to 7 elements, one for each level, not 0' },
            { lsm, { compression = { 'lz4', 'lz4', 'lz4', 'lz4', 'lz4', 'lz4', 'lz4', 'lz4' } },
                'each level, not 8' },
            { lsm, { dictionary = 1 }, 'dictionary is true or false, not 1' },
            { lsm, { dictionary = true },
                "a dictionary is of compression = 'zstd' on the last level, not of 'lz4'" },
            { lsm, { dictionary = true, compression = { 'zstd', 'none' } },
                "on the last level, not of 'none'" },
            { lsm, { page_size = 4095 },
                'page_size is a whole number of bytes from 4096 to 65536, not 4095' },
            { lsm, { page_size = '8k' }, "from 4096 to 65536, not '8k'" },
            { btree, { page_size = 5000 },
                'page_size is 4096, 8192, 16384, 32768 or 65536 bytes, not 5000' },
            { btree, { page_size = 131072 }, 'or 65536 bytes, not 131072' },
            { btree, { page_size = -4096 }, 'or 65536 bytes, not -4096' },
            { lsm, { bloom_bits = 33 },
                'bloom_bits is a whole number of bits for each key, from 0 to 32, not 33' },
            { lsm, { bloom_bits = -1 }, 'from 0 to 32, not -1' },
            { lsm, { filter = 'none' },
                "filter is 'bloom' or 'ribbon' (none with bloom_bits = 0), not 'none'" },
            { lsm, { filter = true }, 'bloom_bits = 0), not this' },
            { lsm, { run_count_per_level = 1 },
                'run_count_per_level is a whole number of runs from 2 to 32, not 1' },
            { lsm, { run_count_per_level = 33 }, 'from 2 to 32, not 33' },
            { lsm, { run_count_per_level = 2.5 }, 'from 2 to 32, not 2.5' },
            { lsm, { run_size_ratio = 1 }, 'run_size_ratio is a whole number from 2 to 100, '
                .. "of a level's bytes to those of the one above it, not 1" },
            { lsm, { run_size_ratio = 101 }, 'not 101' },
            { lsm, { run_size_ratio = 5, compaction = 'universal' },
                "run_size_ratio is of compaction = 'levelled', not of 'universal'" },
            { lsm, { level_size = 2 ^ 20, compaction = 'time-window' },
                "level_size is of compaction = 'levelled', not of 'time-window'" },
            { lsm, { level_size = 2 ^ 20 - 1 }, 'level_size is a whole number of bytes of the first level, '
                .. 'from 1048576 (1 MB) to 1099511627776 (1 TB), not 1048575' },
            { lsm, { level_size = 2 ^ 41 }, '(1 MB) to 1099511627776 (1 TB), not 2199023255552' },
            { lsm, { range_size = 1000 }, 'range_size is a whole number of bytes of a file, '
                .. 'from 1048576 (1 MB) to 17179869184 (16 GB), not 1000' },
            { lsm, { range_size = '1M' }, "(16 GB), not '1M'" },
        }
        for _, case in ipairs(cases) do
            local options = case[2]
            options.engine = case[1].engine
            local problem = problem_of(box.schema.space.create, 'wrong', options)
            assert.equal('ERROR_INVALID', problem.name)
            assert.matches(case[3], problem.message, 1, true)
            assert.is_nil(box.space.wrong)
        end
        for _, case in ipairs({
            { 'btree', { compression = 'zstd' },
                "engine 'btree' has no option \"compression\": that is of 'lsm'" },
            { 'btree', { compaction = 'universal' }, 'has no option "compaction"' },
            { 'memory', { bloom_bits = 10 },
                "engine 'memory' has no option \"bloom_bits\": that is of 'lsm'" },
            { 'memtx', { page_size = 4096 }, "that is of 'lsm' and 'btree'" },
            { 'btree', { range_size = 2 ^ 20 }, "engine 'btree' has no option \"range_size\"" },
            { 'btree', { filter = 'ribbon' }, "has no option \"filter\": that is of 'lsm'" },
            { 'btree', { run_size_ratio = 3 }, 'has no option "run_size_ratio"' },
            { 'memory', { run_count_per_level = 3 }, 'has no option "run_count_per_level"' },
            { nil, { dictionary = false }, "engine 'memory' has no option \"dictionary\"" },
        }) do
            local options = case[2]
            options.engine = case[1]
            local problem = problem_of(box.schema.space.create, 'wrong', options)
            assert.equal('ERROR_UNSUPPORTED', problem.name)
            assert.matches(case[3], problem.message, 1, true)
            assert.is_nil(box.space.wrong)
        end
        local problem = problem_of(box.schema.space.create, 'wrong', { engine = 'lsm', block_size = 4096 })
        assert.matches('has no option "block_size"', problem.message, 1, true)
    end)

    local function bytes_of(name)
        return box.stat.lsm[name].bytes
    end

    it('decide how files are compressed', function()
        local names = { 'none', 'snappy', 'lz4', 'zstd' }
        for _, method in ipairs(names) do
            fill(make('by_' .. method, { engine = 'lsm', compression = method }), 1, 1000)
        end
        fill(make('by_levels', { engine = 'lsm', compression = { 'none', 'zstd' } }), 1, 1000)
        assert.is_true(box.checkpoint())
        local none, zstd = bytes_of('by_none'), bytes_of('by_zstd')
        assert.is_true(bytes_of('by_snappy') < none * 0.8)
        assert.is_true(bytes_of('by_lz4') < none * 0.8)
        assert.is_true(zstd < bytes_of('by_lz4') and zstd < bytes_of('by_snappy'))
        assert.is_true(math.abs(bytes_of('by_levels') - none) < none * 0.05)
        assert.is_true(box.space.by_levels:compact())
        assert.is_true(math.abs(bytes_of('by_levels') - zstd) < zstd * 0.05)
        for _, name in ipairs({ 'by_none', 'by_snappy', 'by_lz4', 'by_zstd', 'by_levels' }) do
            assert.equal(1000, box.space[name]:count())
            assert.is_true(box.verify(name))
        end
    end)

    --- Rows made of sentences that come again in other pages: what dictionaries are for.
    local function fill_sentences(space, count)
        local sentences, seed = {}, 1
        local function number(below)
            seed = seed * 16807 % 2147483647
            return seed % below
        end
        for n = 1, 150 do
            local letters = {}
            for i = 1, 80 do
                letters[i] = string.char(97 + number(26))
            end
            sentences[n] = table.concat(letters)
        end
        box.atomic(function()
            for id = 1, count do
                local text = {}
                for i = 1, 10 do
                    text[i] = sentences[1 + number(150)]
                end
                space:replace({ id, table.concat(text) })
            end
        end)
    end

    it('decide about dictionaries and the size of pages', function()
        local options = { engine = 'lsm', compression = 'zstd', page_size = 4096, dictionary = true }
        fill_sentences(make('with', options), 1500)
        options.dictionary = false
        fill_sentences(make('without', options), 1500)
        options.page_size = 65536
        fill_sentences(make('large', options), 1500)
        assert.is_true(box.checkpoint())
        assert.is_true(bytes_of('large') < bytes_of('without') / 2)
        for _, name in ipairs({ 'with', 'without', 'large' }) do
            assert.is_true(box.space[name]:compact())
            assert.equal(1500, box.space[name]:count())
            assert.is_true(box.verify(name))
        end
        assert.is_true(bytes_of('with') < bytes_of('without') / 2)
    end)

    it('decide about filters', function()
        for _, bits in ipairs({ 0, 10 }) do
            local space = make('bits' .. bits, { engine = 'lsm', bloom_bits = bits })
            box.atomic(function()
                for id = 2, 2000, 2 do
                    space:replace({ id })
                end
            end)
        end
        assert.is_true(box.checkpoint())
        for id = 501, 999, 2 do
            assert.is_nil(box.space.bits0:get(id))
            assert.is_nil(box.space.bits10:get(id))
        end
        assert.equal(0, box.stat.lsm.bits0.reads.filtered)
        assert.is_true(box.stat.lsm.bits10.reads.filtered > 200)
        assert.is_true(bytes_of('bits0') < bytes_of('bits10'))
    end)

    --- Even numbers are there; of the odd ones that the filters have not ruled out, how many.
    local function let_through(name)
        local space, before = box.space[name], box.stat.lsm[name].reads
        for id = 1, 3999 do
            local row = space:get(id)
            assert.equal(id % 2 == 0 and id or nil, row and row[1])
        end
        local now = box.stat.lsm[name].reads
        return now.probes - before.probes - (now.filtered - before.filtered) - 1999
    end

    it('decide which filter it is, and files of both are read', function()
        local bytes = {}
        for _, kind in ipairs({ 'bloom', 'ribbon' }) do
            local space = make('by_' .. kind, { engine = 'lsm', filter = kind })
            box.atomic(function()
                for id = 2, 4000, 2 do
                    space:replace({ id })
                end
            end)
        end
        assert.is_true(box.checkpoint())
        for _, kind in ipairs({ 'bloom', 'ribbon' }) do
            assert.is_true(let_through('by_' .. kind) < 60)
            assert.is_true(box.verify('by_' .. kind))
            bytes[kind] = bytes_of('by_' .. kind)
        end
        -- Seven bits for each of two thousand instead of ten.
        assert.is_true(bytes.bloom - bytes.ribbon > 650 and bytes.bloom - bytes.ribbon < 850)

        local space = box.space.by_ribbon
        space:alter({ filter = 'bloom' })
        assert.equal('bloom', in_force('by_ribbon').filter)
        assert.equal(bytes.ribbon, bytes_of('by_ribbon'))
        assert.is_true(let_through('by_ribbon') < 60)
        assert.is_true(space:compact())
        assert.is_true(bytes_of('by_ribbon') - bytes.ribbon > 600)
        assert.is_true(let_through('by_ribbon') < 60)
        space:alter({ filter = 'ribbon', bloom_bits = 16 })
        assert.is_true(space:compact())
        assert.is_true(let_through('by_ribbon') < 10)
        assert.is_true(box.verify('by_ribbon'))
    end)

    --- Levels of a space's files, in order.
    local function levels_of(name)
        local levels = {}
        for n, level in ipairs(box.stat.lsm[name].levels) do
            levels[n] = level.level
        end
        return levels
    end

    it('decide how files are merged', function()
        local kinds = { 'levelled', 'size-tiered', 'universal', 'time-window' }
        for _, kind in ipairs(kinds) do
            make(kind:gsub('-', '_'), { engine = 'lsm', compaction = kind })
        end
        for round = 1, 5 do
            for _, kind in ipairs(kinds) do
                fill(box.space[kind:gsub('-', '_')], 1, 100 * round)
            end
            assert.is_true(box.checkpoint())
        end
        for _, kind in ipairs(kinds) do
            local name = kind:gsub('-', '_')
            testing.eventually(function()
                local files = box.stat.lsm[name]
                return files.urgency == 'idle' and files.compaction.running == 0
                    and files.compaction.count > 0
            end)
            assert.equal(kind, in_force(name).compaction)
            assert.is_true(box.stat.lsm[name].runs < 5)
            local levels = levels_of(name)
            assert.equal(kind == 'levelled' and 6 or 0, levels[#levels])
            assert.equal(500, box.space[name]:count())
            assert.is_true(box.verify(name))
        end
    end)

    it('decide how many files come together before they are merged', function()
        local names = { few = 2, many = 32, altered = 32 }
        for name, count in pairs(names) do
            make(name, { engine = 'lsm', run_count_per_level = count })
        end
        for _ = 1, 5 do
            for name in pairs(names) do
                fill(box.space[name], 1, 100)
            end
            assert.is_true(box.checkpoint())
        end
        testing.eventually(function() return box.stat.lsm.few.runs <= 2 end)
        assert.is_true(box.stat.lsm.many.runs >= 5)
        assert.is_true(box.stat.lsm.altered.runs >= 5)
        box.space.altered:alter({ run_count_per_level = 5 })
        fill(box.space.altered, 1, 100)
        assert.is_true(box.checkpoint())
        testing.eventually(function() return box.stat.lsm.altered.runs < 5 end)
        for name in pairs(names) do
            assert.equal(100, box.space[name]:count())
            assert.is_true(box.verify(name))
        end
    end)

    --- Files of a space behind a compaction of all of them.
    local function files_of(name)
        assert.is_true(box.space[name]:compact())
        assert.equal(1, box.stat.lsm[name].runs)
        assert.is_true(box.verify(name))
        return box.stat.lsm[name].files
    end

    it('decide how large a file becomes', function()
        local options = { engine = 'lsm', compression = 'none' }
        fill_sentences(make('one', options), 5000)
        options.range_size = 2 ^ 20
        fill_sentences(make('several', options), 5000)
        assert.is_true(box.checkpoint())
        assert.equal(1, files_of('one'))
        assert.is_true(files_of('several') > 2)
        box.space.one:alter({ range_size = 2 ^ 20 })
        box.space.several:alter({ range_size = 32 * 2 ^ 20 })
        assert.is_true(files_of('one') > 2)
        assert.equal(1, files_of('several'))
    end)

    it('decide how many levels there are', function()
        make('flat', { engine = 'lsm', compression = 'none' })
        make('deep', { engine = 'lsm', compression = 'none', level_size = 2 ^ 20, run_size_ratio = 2,
            range_size = 2 ^ 20, run_count_per_level = 2 })
        local rounds = 0
        repeat -- as many as it takes until levels between the first and the last have files
            for _, name in ipairs({ 'flat', 'deep' }) do
                fill_sentences(box.space[name], 2000)
            end
            assert.is_true(box.checkpoint())
            for _, name in ipairs({ 'flat', 'deep' }) do
                testing.eventually(function()
                    local files = box.stat.lsm[name]
                    return files.urgency == 'idle' and files.compaction.running == 0
                end)
            end
            local between = 0
            for _, level in ipairs(levels_of('flat')) do
                assert.is_true(level == 0 or level == 6)
            end
            for _, level in ipairs(levels_of('deep')) do
                between = between + (level > 0 and level < 6 and 1 or 0)
            end
            rounds = rounds + 1
            assert.is_true(rounds < 30)
        until between > 0
        for _, name in ipairs({ 'flat', 'deep' }) do
            assert.equal(2000, box.space[name]:count())
            assert.is_true(box.verify(name))
        end
    end)

    it('can be changed, for what is written from then on', function()
        local space = make('changed', { engine = 'lsm', compression = 'none', compaction = 'time-window',
            compaction_window = 60 })
        fill(space, 1, 1000)
        assert.is_true(box.checkpoint())
        local before = bytes_of('changed')
        space:alter({ compression = 'zstd', bloom_bits = 4, page_size = 16384, dictionary = true })
        assert.same({ compaction = 'time-window', compaction_window = 60, compression = 'zstd',
            dictionary = true, page_size = 16384, bloom_bits = 4, filter = 'bloom',
            run_count_per_level = 4, range_size = 32 * 2 ^ 20 }, space.options)
        assert.same(space.options, in_force('changed'))
        assert.equal(before, bytes_of('changed'))
        assert.is_true(space:compact())
        assert.is_true(bytes_of('changed') < before / 2)
        space:alter({ compaction = 'levelled', dictionary = false })
        assert.is_nil(space.options.compaction_window)
        assert.equal('levelled', in_force('changed').compaction)
        assert.is_false(in_force('changed').dictionary)
        space:rename('renamed')
        made[#made + 1] = 'renamed'
        assert.equal('zstd', in_force('renamed').compression)
        space:truncate()
        assert.equal('zstd', in_force('renamed').compression)
        assert.equal(16384, box.space.renamed.options.page_size)
        fill(box.space.renamed, 1, 10)
        assert.is_true(box.checkpoint())
        assert.equal(10, box.space.renamed:count())
    end)

    it('change to another way of compaction and back, and every row stays', function()
        local space, expected = make('turns', { engine = 'lsm' }), {}
        local kinds = { 'size-tiered', 'levelled', 'universal', 'time-window' }
        for round, kind in ipairs(kinds) do
            for step = 1, 2 do
                box.atomic(function()
                    for id = step, 300, 1 + round do
                        space:replace({ id, round * 10 + step })
                        expected[id] = round * 10 + step
                    end
                    space:delete(round * step)
                end)
                expected[round * step] = nil
                assert.is_true(box.checkpoint())
            end
            space:alter({ compaction = kind })
            testing.eventually(function()
                return box.stat.lsm.turns.urgency == 'idle' and box.stat.lsm.turns.compaction.running == 0
            end)
            assert.is_true(box.verify('turns'))
        end
        local count = 0
        for id, value in pairs(expected) do
            count = count + 1
            assert.equal(value, space:get(id)[2])
        end
        assert.equal(count, space:count())
    end)

    it('stay as they were where a change is refused or taken back', function()
        local space = make('kept', { engine = 'lsm', compression = 'zstd', dictionary = true })
        local before = space.options
        local problem = problem_of(space.alter, space, { compression = 'lz4' })
        assert.equal('ERROR_INVALID', problem.name)
        assert.matches("on the last level, not of 'lz4'", problem.message, 1, true)
        problem = problem_of(space.alter, space, { bloom_bits = 10, compaction_window = 5 })
        assert.matches("compaction_window is of compaction = 'time-window'", problem.message, 1, true)
        box.begin({ schema = true })
        space:alter({ bloom_bits = 3, compaction = 'universal' })
        assert.equal(3, space.options.bloom_bits)
        box.rollback()
        assert.same(before, space.options)
        assert.same(before, in_force('kept'))

        local pages = make('pages', { engine = 'btree', page_size = 8192 })
        problem = problem_of(pages.alter, pages, { page_size = 16384 })
        assert.equal('ERROR_UNSUPPORTED', problem.name)
        assert.matches("page_size of a space of engine 'btree' stays", problem.message, 1, true)
        pages:alter({ page_size = 8192 })
        problem = problem_of(pages.alter, pages, { page_size = 8192, compression = 'lz4' })
        assert.equal('ERROR_UNSUPPORTED', problem.name)
        assert.equal('ERROR_INVALID', problem_of(pages.alter, pages, { page_size = 1 }).name)
        assert.same({ page_size = 8192 }, pages.options)
        pages = make('small', { engine = 'btree' })
        pages:alter({ page_size = 4096 })
        assert.equal('ERROR_UNSUPPORTED', problem_of(pages.alter, pages, { page_size = 8192 }).name)
        local rows = make('rows')
        problem = problem_of(rows.alter, rows, { compaction = 'universal' })
        assert.equal('ERROR_UNSUPPORTED', problem.name)
    end)

    it('go with a schema transaction that makes the space', function()
        box.begin({ schema = true })
        made[#made + 1] = 'inside'
        local space = create('inside', { engine = 'lsm', compression = 'none' })
        space:alter({ compression = 'zstd' })
        box.commit()
        assert.equal('zstd', in_force('inside').compression)
        fill(space, 1, 100)
        assert.is_true(box.checkpoint())
        assert.equal(100, space:count())
    end)
end)
