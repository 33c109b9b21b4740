-- SPDX-License-Identifier: Apache-2.0
package.path = 'lua/?.lua;' .. package.path

local ffi = require('ffi')
local msgpack = require('client.msgpack')

local function hex(bytes)
    return (bytes:gsub('.', function(c) return ('%02x'):format(c:byte()) end))
end

local function through(value)
    return (msgpack.decode(msgpack.encode(value)))
end

describe('MessagePack in plain Lua', function()
    it('writes integers in the shortest form', function()
        local forms = {
            [0] = '00', [127] = '7f', [128] = 'cc80', [255] = 'ccff', [256] = 'cd0100', [65535] = 'cdffff',
            [65536] = 'ce00010000', [2 ^ 32 - 1] = 'ceffffffff', [2 ^ 32] = 'cf0000000100000000',
            [-1] = 'ff', [-32] = 'e0', [-33] = 'd0df', [-128] = 'd080', [-129] = 'd1ff7f',
            [-32769] = 'd2ffff7fff', [-2 ^ 31 - 1] = 'd3ffffffff7fffffff',
        }
        for number, bytes in pairs(forms) do
            assert.equal(bytes, hex(msgpack.encode(number)))
            assert.equal(number, through(number))
        end
    end)

    it('keeps 64-bit integers and doubles as they are', function()
        for _, number in ipairs({ 9223372036854775807LL, -9223372036854775807LL - 1, 2 ^ 53 + 2 + 0LL }) do
            assert.is_true(ffi.istype('int64_t', through(number)))
            assert.is_true(through(number) == number)
        end
        assert.is_true(through(18446744073709551615ULL) == 18446744073709551615ULL)
        assert.equal(5, through(5LL))
        for _, number in ipairs({ 1.5, -0.1, 1e300, math.huge, -math.huge, 2 ^ 60 }) do
            assert.equal(number, through(number))
        end
        local nan = through(0 / 0)
        assert.is_true(nan ~= nan)
    end)

    it('carries strings of every length', function()
        for _, size in ipairs({ 0, 1, 31, 32, 255, 256, 65535, 65536 }) do
            local text = ('\0x'):rep(size):sub(1, size)
            assert.equal(text, through(text))
        end
    end)

    it('tells arrays, maps and nil inside of them apart', function()
        assert.equal('90', hex(msgpack.encode({})))
        assert.equal('80', hex(msgpack.encode(msgpack.map({}))))
        assert.equal('80', hex(msgpack.encode(msgpack.decode('\x80'))))
        assert.equal('9301c003', hex(msgpack.encode({ 1, nil, 3 })))
        assert.equal('9201c0', hex(msgpack.encode_array(2, 1, nil)))
        local decoded = through({ 1, msgpack.NULL, { a = { b = 'c' } } })
        assert.equal(3, #decoded)
        assert.is_true(decoded[2] == nil)
        assert.equal('c', decoded[3].a.b)
    end)

    it('refuses what has no form, and tables without an end', function()
        assert.has_error(function() msgpack.encode(print) end)
        assert.has_error(function() msgpack.encode(ffi.new('int[2]')) end)
        local ring = {}
        ring[1] = ring
        assert.has_error(function() msgpack.encode(ring) end)
    end)

    it('finds the end of a value in however many pieces it comes', function()
        local value = { 1, -70000, 'text', 'long', { a = { 1.5, true }, b = 2 ^ 40 }, {}, msgpack.NULL }
        local bytes = msgpack.encode(value)
        local scanner = msgpack.scanner(1)
        for size = 0, #bytes - 1 do
            assert.is_false(msgpack.scan(scanner, bytes:sub(1, size)))
        end
        assert.is_true(msgpack.scan(scanner, bytes .. 'more'))
        assert.equal(#bytes + 1, scanner.position)
    end)

    it('reads no value out of bytes that end early or mean nothing', function()
        local bytes = msgpack.encode({ 1, 'abc', { a = 1 } })
        for size = 0, #bytes - 1 do
            assert.has_error(function() msgpack.decode(bytes:sub(1, size)) end)
        end
        assert.has_error(function() msgpack.decode('\xc1') end)
    end)

    it('keeps extensions, and shows those of the server', function()
        local texts = {
            ['\xd6\1\3\x12\x34\x5d'] = '-12.345',
            ['\xc7\3\1\xd0\xdb\x1c'] = '1' .. ('0'):rep(37),
            ['\xd5\1\0\x0c'] = '0',
            ['\xd5\1\3\x1d'] = '-0.001',
            ['\xd8\2' .. ('\0'):rep(15) .. '\xff'] = '00000000-0000-0000-0000-0000000000ff',
            ['\xd7\4\x80\x51\1\0\0\0\0\0'] = '1970-01-02T00:00:00Z',
            ['\xd8\4\1' .. ('\0'):rep(7) .. '\0\x65\xcd\x1d\xb4\0\0\0'] = '1970-01-01T03:00:01.500+0300',
            ['\xc7\5\6\2\0\2\8\1'] = '+2 years',
            ['\xc7\3\99abc'] = 'extension 99 of 3 bytes',
            ['\xd4\1\1'] = 'extension 1 of 1 bytes',
            ['\xc7\0\5'] = 'extension 5 of 0 bytes',
        }
        for bytes, expected in pairs(texts) do
            local value, position = msgpack.decode(bytes)
            assert.equal(expected, tostring(value))
            assert.equal(#bytes + 1, position)
            assert.equal(bytes, msgpack.encode(value))
            assert.is_true(value == msgpack.decode(bytes))
        end
        local value = msgpack.decode('\x91\xd4\xfe\7')[1]
        assert.equal(-2, value.type)
        assert.equal('\7', value.data)
        local long = '\xc8\1\0\5' .. ('x'):rep(256)
        assert.equal(long, msgpack.encode((msgpack.decode(long))))
    end)

    it('gives back random values', function()
        local seed = tonumber(os.getenv('PERIGEE_SEED')) or os.time()
        print('PERIGEE_SEED=' .. seed)
        math.randomseed(seed)
        local make
        local makers = {
            function() return math.random(-1000, 1000) end,
            function() return math.floor((math.random() - 0.5) * 2 ^ math.random(1, 53)) end,
            function() return math.random() end,
            function() return ('s'):rep(math.random(0, 300)) end,
            function() return math.random() < 0.5 end,
            function(depth)
                local t = {}
                for n = 1, math.random(0, 20) do
                    t[n] = make(depth + 1)
                end
                return t
            end,
            function(depth)
                local t = { key = 1 }
                for n = 1, math.random(0, 20) do
                    t['key ' .. n] = make(depth + 1)
                end
                return t
            end,
        }
        function make(depth)
            return makers[math.random(1, depth > 4 and 5 or #makers)](depth)
        end
        for _ = 1, 300 do
            local value = make(1)
            assert.same(value, through(value))
        end
    end)
end)
