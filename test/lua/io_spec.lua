-- SPDX-License-Identifier: Apache-2.0

describe('box.stat.io', function()
    local CLASSES = { 'log', 'checkpoint', 'user', 'background' }

    after_each(function()
        if box.space.written then
            box.space.written:drop()
        end
    end)

    local function fill(rows)
        local s = box.space.written or box.schema.space.create('written')
        if not s.index.pk then
            s:create_index('pk')
        end
        box.atomic(function()
            for i = 1, rows do
                s:replace({ i, ('x'):rep(100) })
            end
        end)
    end

    it('has what the log and checkpoints have written', function()
        local before = box.stat.io()
        fill(1000)
        box.sync()
        box.checkpoint()
        local after = box.stat.io()
        for _, class in ipairs({ 'log', 'checkpoint' }) do
            assert.is_true(after[class].writes > before[class].writes, class)
            assert.is_true(after[class].bytes_written > before[class].bytes_written, class)
            assert.equal(after[class].failed, before[class].failed)
        end
        assert.is_true(after.log.bytes_written - before.log.bytes_written > 100000)
    end)

    it('has every request in its histograms', function()
        fill(10)
        box.sync()
        for _, name in ipairs(CLASSES) do
            local class = box.stat.io[name]
            assert.is_true(class.depth > 0)
            for _, histogram in ipairs({ class.wait, class.latency }) do
                local count, last = 0, 0
                for _, bucket in ipairs(histogram.buckets) do
                    assert.is_true(bucket[1] >= last)
                    last, count = bucket[1], count + bucket[2]
                end
                assert.equal(histogram.count, count)
                assert.equal(histogram.max, last)
                assert.is_true(histogram.p50 <= histogram.p99 and histogram.p99 <= histogram.p999)
                assert.is_true(histogram.p999 <= histogram.max)
            end
            assert.equal(class.reads + class.writes, class.latency.count)
        end
    end)

    it('names what carries operations out', function()
        local io = box.stat.io()
        assert.is_true(io.variant == 'io_uring' or io.variant == 'threads')
        assert.equal(tonumber(box.cfg.io_depth), io.depth)
        assert.equal(tonumber(box.cfg.background_rate), io.background.rate)
        assert.equal(tonumber(box.cfg.user_rate), io.user.rate)
    end)
end)
