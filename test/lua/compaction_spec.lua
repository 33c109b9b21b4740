-- SPDX-License-Identifier: Apache-2.0

local testing = require('testing')

describe('compaction of a space', function()
    local space

    local function write_file(number)
        for id = 1, 200 do
            space:replace({ id, number, ('text'):rep(20) })
        end
        assert.is_true(box.checkpoint())
    end

    before_each(function()
        space = box.schema.space.create('compacted', { engine = 'lsm' })
        space:create_index('pk')
        for number = 1, 3 do -- fewer than are merged without being asked
            write_file(number)
        end
    end)

    after_each(function() space:drop() end)

    it('merges all files when it is asked for, and nothing is lost', function()
        local before = box.stat.lsm.compacted
        assert.equal(3, before.runs)
        assert.equal(3, before.files)
        assert.equal(600, before.levels[1].rows)
        assert.is_true(space:compact())
        local after = box.stat.lsm().compacted
        assert.equal(1, after.runs)
        assert.equal(1, #after.levels)
        assert.equal(200, after.levels[1].rows)
        assert.equal(400, after.compaction.dropped_rows)
        assert.is_false(after.compaction.wanted)
        assert.equal(0, after.compaction.failed)
        assert.equal(before.compaction.count + 1, after.compaction.count)
        assert.is_true(after.write_amplification > 1)
        assert.is_true(after.bytes < before.bytes)
        assert.equal(200, space:count())
        assert.equal(3, space:get(77)[2])
        assert.is_true(box.verify('compacted'))
    end)

    it('drops what is deleted', function()
        assert.is_true(space:compact()) -- so that one more file is not merged without being asked
        for id = 1, 100 do
            space:delete(id)
        end
        assert.is_true(box.checkpoint())
        assert.equal(100, box.stat.lsm.compacted.levels[1].tombstones)
        assert.is_true(space:compact())
        local levels = box.stat.lsm.compacted.levels
        assert.equal(1, #levels)
        assert.equal(100, levels[1].rows)
        assert.equal(0, levels[1].tombstones)
        assert.equal(100, space:count())
    end)

    it('of a space without files has ended at once', function()
        local empty = box.schema.space.create('empty', { engine = 'lsm' })
        empty:create_index('pk')
        assert.is_true(empty:compact())
        assert.equal(0, box.stat.lsm.empty.files)
        empty:drop()
    end)

    it('goes on behind a caller who cannot wait', function()
        testing.eventually(function()
            if not box.atomic(function() return space:compact() end) then
                return true
            end
            write_file(4) -- it had ended before it was looked at
        end)
        testing.eventually(function() return not box.stat.lsm.compacted.compaction.wanted end)
        assert.equal(1, box.stat.lsm.compacted.runs)
    end)

    it('is refused where there is nothing to compact', function()
        local other = box.schema.space.create('other')
        other:create_index('pk')
        local _, problem = pcall(other.compact, other)
        assert.equal('ERROR_UNSUPPORTED', problem.name)
        assert.truthy(problem.message:find("engine 'lsm'", 1, true))
        assert.is_nil(box.stat.lsm.other)
        other:drop()
        _, problem = pcall(other.compact, other)
        assert.equal('ERROR_NOT_FOUND', problem.name)
    end)

    it('counts what reads ask files', function()
        testing.eventually(function()
            assert.is_true(box.checkpoint())
            for i = 1, 50 do
                redis.call('set', 'stirred', i)
            end
            return space.index[0]:stat().entries == 0
        end)
        local before = box.stat.lsm.compacted.reads
        assert.equal(3, space:get(7)[2])
        assert.is_nil(space:get(1000))
        local after = box.stat.lsm.compacted.reads
        assert.equal(before.gets + 2, after.gets)
        assert.is_true(after.probes > before.probes)
    end)
end)
