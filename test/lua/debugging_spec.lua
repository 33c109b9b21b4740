-- SPDX-License-Identifier: Apache-2.0

local fiber = require('fiber')

--- Profiles until the stacks match, with a fiber that calls fn all the time.
local function profile_of(fn, pattern, options)
    local stop = false
    local other = fiber.new(function()
        while not stop do
            fn()
            fiber.yield()
        end
    end)
    other:set_joinable(true)
    local folded
    repeat
        folded = box.debug.profile(0.1, options)
    until folded:find(pattern)
    stop = true
    other:join()
    return folded
end

local function spend()
    local sum = 0
    for n = 1, 200000 do
        sum = sum + n % 7
    end
    return sum
end

describe('box.debug.profile', function()
    it('shows the lines in which time is spent', function()
        local folded = profile_of(spend, 'debugging_spec%.lua:%d+ %d+\n')
        for line in folded:gmatch('[^\n]+') do
            assert.truthy(line:find('^.+ %d+$'), line)
        end
    end)

    it('shows functions by their names', function()
        profile_of(function() return (spend()) end, 'debugging_spec%.lua:[%a_]+', { mode = 'functions' })
    end)

    it('leaves compiled loops as fast as they were made, and states that can be profiled again', function()
        for _ = 1, 3 do
            box.debug.profile(0.01)
            assert.equal(spend(), spend())
        end
    end)

    it('refuses what it does not know', function()
        for _, call in ipairs({
            function() box.debug.profile(0) end, function() box.debug.profile(1e9) end,
            function() box.debug.profile(1, { mode = 'bytes' }) end,
            function() box.debug.profile(1, { wroker = 1 }) end,
            function() box.debug.profile(0.1, { worker = 99 }) end,
            function() box.debug.profile(0.1, { interval = 0 }) end,
            function() box.atomic(function() box.debug.profile(0.1) end) end,
        }) do
            assert.has_error(call)
        end
        assert.equal('string', type(box.debug.profile(0.01)))
    end)
end)

describe('box.debug.flamegraph', function()
    it('draws a box for each function, as wide as its share', function()
        local svg = box.debug.flamegraph('a;b 3\na;c 1\n', { title = 'x < y' })
        assert.truthy(svg:find('x &lt; y', 1, true))
        assert.truthy(svg:find('<title>all (4 samples, 100.00%)</title>', 1, true))
        assert.truthy(svg:find('<title>a (4 samples, 100.00%)</title>', 1, true))
        assert.truthy(svg:find('<title>b (3 samples, 75.00%)</title>', 1, true))
        assert.truthy(svg:find('width="885.0"', 1, true))
        assert.truthy(svg:find('<title>c (1 samples, 25.00%)</title>', 1, true))
    end)

    it('draws names with any characters, and nothing at all', function()
        local svg = box.debug.flamegraph('<&"\1>;x y 2\n')
        assert.truthy(svg:find('&lt;&amp;&quot; &gt; (2 samples', 1, true))
        assert.truthy(box.debug.flamegraph(''):find('no samples', 1, true))
        assert.has_error(function() box.debug.flamegraph(nil) end)
    end)
end)
