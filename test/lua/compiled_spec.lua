-- SPDX-License-Identifier: Apache-2.0
--
-- What is read out of tuples in loops that LuaJIT compiles. Fields are read through one struct in
-- memory, so a load that compiled code put off would find the next field's value there.

describe('a loop that is compiled', function()
    local ROWS = 3000
    local space

    setup(function()
        space = box.schema.space.create('compiled')
        space:create_index('primary', { parts = { { 1, 'unsigned' } } })
        for n = 1, ROWS do
            local other = n % 100 == 0 and 1 or 0
            space:replace({ n, n + other, 2 ^ 60 + 0LL + n, 2 ^ 60 + 0LL + n + other,
                18446744073709551615ULL - n, 18446744073709551615ULL - n - other })
        end
    end)

    teardown(function() space:drop() end)

    -- The comparison comes last, so that nothing else makes the code load the first field early.
    local function differing_numbers()
        local count = 0
        for _, tuple in space:pairs() do
            local key = tuple[1]
            if key ~= nil then
                local other = space:get(key)
                local left, right = other[2], tuple[1]
                if left ~= right then
                    count = count + 1
                end
            end
        end
        return count
    end

    local function differing_signed()
        local count = 0
        for _, tuple in space:pairs() do
            local key = tuple[1]
            if key ~= nil then
                local other = space:get(key)
                local left, right = other[4], tuple[3]
                if left ~= right then
                    count = count + 1
                end
            end
        end
        return count
    end

    local function differing_unsigned()
        local count = 0
        for _, tuple in space:pairs() do
            local key = tuple[1]
            if key ~= nil then
                local other = space:get(key)
                local left, right = other[6], tuple[5]
                if left ~= right then
                    count = count + 1
                end
            end
        end
        return count
    end

    it('compares fields of two tuples as they are', function()
        for _ = 1, 3 do
            assert.equal(ROWS / 100, differing_numbers())
            assert.equal(ROWS / 100, differing_signed())
            assert.equal(ROWS / 100, differing_unsigned())
        end
    end)
end)
