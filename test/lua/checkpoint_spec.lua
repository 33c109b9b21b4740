-- SPDX-License-Identifier: Apache-2.0

describe('box.checkpoint', function()
    it('writes what has changed, and waits for it in a file', function()
        local s = box.schema.space.create('kept')
        s:create_index('pk')
        s:insert({ 1, 'one' })
        local before = box.info.checkpoint
        assert.is_true(box.checkpoint())
        local after = box.info.checkpoint
        assert.equal(before.count + 1, after.count)
        assert.is_true(after.rows > before.rows)
        assert.equal(0, after.changes)
        assert.is_false(after.running)
        assert.is_nil(after.failure)
        assert.is_true(after.files > 0 and after.file_bytes >= after.live_bytes)
        assert.is_true(box.checkpoint())
        assert.equal(after.count, box.info.checkpoint.count)
        s:drop()
    end)

    it('does not wait inside of a transaction', function()
        box.atomic(function() assert.is_false(box.checkpoint()) end)
    end)
end)
