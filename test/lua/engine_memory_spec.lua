-- SPDX-License-Identifier: Apache-2.0
-- A space of an engine whose rows leave memory may be ten times as large as memory_max: writers wait until
-- rows have left.
local engines = { 'lsm', 'btree' }

local script = [[
local space = box.schema.space.create('big', { engine = '%s' })
space:create_index('primary', { parts = { { 1, 'unsigned' } } })
local text = ('x'):rep(1000)
for batch = 0, 2399 do
    box.atomic(function()
        for i = 1, 100 do
            space:replace({ batch * 100 + i, text })
        end
    end)
    local used = box.stat.memory().heap.used
    assert(used < 24 * 1024 * 1024, used)
end
print(space:count(), #space:get({ 239999 })[2], #space:get({ 1 })[2])
]]

describe('an engine whose rows leave memory', function()
    for _, engine in ipairs(engines) do
        it(engine .. ': takes ten times memory_max', function()
            local path = os.tmpname()
            local file = assert(io.open(path, 'w'))
            file:write(script:format(engine))
            file:close()
            local command = ('%s --dir %s.d --memory_max 24mb %s 2>&1')
            local pipe = assert(io.popen(command:format(os.getenv('TEST_PERIGEE'), path, path)))
            local output = pipe:read('*a')
            pipe:close()
            os.execute(('rm -rf %s %s.d'):format(path, path))
            assert.equal('240000\t1000\t1000\n', output)
        end)
    end
end)
