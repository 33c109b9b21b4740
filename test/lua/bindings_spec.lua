-- SPDX-License-Identifier: Apache-2.0

local crypto, digest, fio = require('crypto'), require('digest'), require('fio')
local json, msgpack, yaml = require('json'), require('msgpack'), require('yaml')
local fiber = require('fiber')

local function bytes(hex)
    return (hex:gsub('%x%x', function(pair) return string.char(tonumber(pair, 16)) end))
end

local function hex(text)
    return (text:gsub('.', function(c) return ('%02x'):format(c:byte()) end))
end

describe('digest', function()
    it('gives the values that the standards give for abc', function()
        assert.equal('a9993e364706816aba3e25717850c26c9cd0d89d', digest.sha1_hex('abc'))
        assert.equal('23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7', digest.sha224_hex('abc'))
        assert.equal('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
            digest.sha256_hex('abc'))
        assert.equal('cb00753f45a35e8bb5a03d699ac65007', digest.sha384_hex('abc'):sub(1, 32))
        assert.equal('ddaf35a193617abacc417349ae204131', digest.sha512_hex('abc'):sub(1, 32))
    end)

    it('derives the keys of PBKDF2 with HMAC-SHA-256', function()
        assert.equal('120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b',
            digest.pbkdf2_hex('password', 'salt', 1, 32))
        assert.equal('c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a',
            digest.pbkdf2_hex('password', 'salt', 4096, 32))
        assert.equal('348c89dbcbd32b2f32d814b8116e84cf2b17347ebc1800181c4e2a1fb8dd53e1c635518c7dac47e9',
            digest.pbkdf2_hex('passwordPASSWORDpassword', 'saltSALTsaltSALTsaltSALTsaltSALTsalt', 4096, 40))
    end)

    it('is the same whether a text comes at once or in parts', function()
        local text = digest.urandom(1000)
        for _, kind in ipairs({ digest.crc32, digest.crc32c, digest.xxhash32, digest.xxhash64 }) do
            local parts = kind.new()
            for n = 1, 1000, 7 do
                parts:update(text:sub(n, n + 6))
            end
            assert.equal(kind(text), parts:result())
            parts:clear()
            assert.equal(kind(''), parts:result())
        end
    end)

    it('brings back every text that base64 was made of', function()
        for size = 0, 200 do
            local text = digest.urandom(size)
            for _, options in ipairs({ {}, { nowrap = true }, { nopad = true }, { urlsafe = true } }) do
                assert.equal(text, digest.base64_decode(digest.base64_encode(text, options)))
            end
        end
        assert.equal(73, digest.base64_encode(('x'):rep(57)):find('\n'))
        assert.equal('', digest.base64_decode('='))
    end)
end)

describe('crypto', function()
    it('encrypts as FIPS 197 and NIST SP 800-38A say', function()
        local text = bytes('6bc1bee22e409f96e93d7e117393172a')
        local key, iv = bytes('2b7e151628aed2a6abf7158809cf4f3c'), bytes('000102030405060708090a0b0c0d0e0f')
        assert.equal('7649abac8119b246cee98e9b12e9197d',
            hex(crypto.cipher.aes128.cbc.encrypt(text, key, iv)):sub(1, 32))
        assert.equal('3ad77bb40d7a3660a89ecaf32466ef97',
            hex(crypto.cipher.aes128.ecb.encrypt(text, key)):sub(1, 32))
        assert.equal('874d6191b620e3261bef6864990db6ce', hex(crypto.cipher.aes128.ctr.encrypt(text, key,
            bytes('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'))))
    end)

    it('brings back what it has encrypted, in every mode and size of key', function()
        for size, name in pairs({ [16] = 'aes128', [24] = 'aes192', [32] = 'aes256' }) do
            for _, mode in ipairs({ 'cbc', 'ctr', 'gcm', 'cfb', 'ofb', 'ecb' }) do
                local cipher, key = crypto.cipher[name][mode], digest.urandom(size)
                local iv = mode ~= 'ecb' and digest.urandom(mode == 'gcm' and 12 or 16) or nil
                local secret, tag = cipher.encrypt('the text', key, iv)
                assert.equal('the text', cipher.decrypt(secret, key, iv, tag))
                local parts = cipher.decrypt.new(key, iv)
                local plain = parts:update(secret:sub(1, 3)) .. parts:update(secret:sub(4))
                assert.equal('the text', plain .. parts:result(tag))
                assert.has_error(function() parts:update('more') end)
            end
        end
    end)

    it('refuses wrong keys, vectors and tags', function()
        local gcm, cbc = crypto.cipher.aes128.gcm, crypto.cipher.aes128.cbc
        local key, iv = ('k'):rep(16), ('v'):rep(12)
        local secret, tag = gcm.encrypt('text', key, iv)
        assert.has_error(function() gcm.decrypt(secret, ('x'):rep(16), iv, tag) end)
        assert.has_error(function() gcm.decrypt(secret, key, iv, tag:sub(2) .. 'x') end)
        assert.has_error(function() gcm.decrypt(secret, key, iv) end)
        assert.has_error(function() gcm.encrypt('text', 'short', iv) end)
        assert.has_error(function() cbc.encrypt('text', key, iv) end)
        assert.has_error(function() cbc.encrypt('text', nil, nil) end)
        assert.has_error(function() cbc.decrypt('no whole block', key, ('v'):rep(16)) end)
    end)
end)

describe('yaml', function()
    it('brings back what it has written', function()
        for _, value in ipairs({
            '', 'text', 'null', '1', '0x1', '1e3', '.inf', ' blanks ', 'a: b', '- a', '#', 'two\nlines\n',
            '\t',
            '\255\0', "it's", '~', '{', 'true', 1, -1, 1.5, 1e300, true, false, {}, { 1, { 2, {} } },
            { a = { b = { 'c' } } }, 9007199254740993ULL, 'привет', '\n', 'a\n', '\na', '---', '...',
        }) do
            local text = yaml.encode(value)
            assert.same(value, yaml.decode(text), text)
        end
        assert.equal(math.huge, yaml.decode(yaml.encode(math.huge)))
        assert.equal(yaml.NULL, yaml.decode(yaml.encode(yaml.NULL)))
    end)

    it('writes tuples and values of box', function()
        local decimal = require('decimal')
        assert.equal('--- 1.50\n...\n', yaml.encode(decimal.new('1.50')))
        assert.equal('---\n- 1\n- a\n...\n', yaml.encode(box.tuple.new({ 1, 'a' })))
    end)

    it('says where a text is wrong', function()
        for text, what in pairs({
            ['a: [1'] = 'line 2', ['*x'] = 'an alias without its anchor', ['&x [*x]'] = 'contains itself',
            ['\1'] = 'control characters', [('['):rep(100)] = 'nested too deep',
        }) do
            local ok, err = pcall(yaml.decode, text)
            assert.is_false(ok)
            assert.truthy(tostring(err):find(what, 1, true), tostring(err))
        end
    end)

    it('does not become gigabytes by aliases', function()
        local lines = { 'a0: &a0 [' .. ('x, '):rep(100) .. ']' }
        for n = 1, 9 do
            lines[#lines + 1] = ('a%d: &a%d [%s]'):format(n, n, ('*a%d, '):format(n - 1):rep(10))
        end
        local ok, err = pcall(yaml.decode, table.concat(lines, '\n'))
        assert.is_false(ok)
        assert.truthy(tostring(err):find('aliases', 1, true))
    end)
end)

describe('json', function()
    it('indents what it writes when asked to', function()
        assert.equal('{\n  "a": [\n    "x,[\\""\n  ]\n}', json.encode({ a = { 'x,["' } }, { pretty = true }))
        assert.equal('[\n  1,\n  []\n]', json.encode({ 1, {} }, { pretty = true }))
        assert.equal('[\n    1\n]', json.encode({ 1 }, { pretty = true, indent = 4 }))
    end)

    it('keeps the settings of one apart from those of others', function()
        local mine = json.new()
        mine.cfg({ encode_invalid_numbers = false, encode_use_tostring = true })
        assert.has_error(function() mine.encode({ 0 / 0 }) end)
        assert.truthy(mine.encode({ print }):find('function', 1, true))
        assert.equal('[null]', json.encode({ 0 / 0 }))
        assert.has_error(function() json.cfg({ encode_invalid_numbers = false }) end)
        assert.has_error(function() mine.cfg({ no_such = true }) end)
    end)
end)

describe('msgpack', function()
    it('puts an object where its value would be', function()
        local object = msgpack.object({ 1, { a = 'b' } })
        local s = box.schema.space.create('objects')
        s:create_index('pk')
        s:insert({ 1, object })
        assert.same({ 1, { a = 'b' } }, s:get(1)[2])
        s:drop()
        assert.has_error(function() msgpack.object_from_raw('\1\2') end)
        assert.has_error(function() msgpack.object_from_raw('\145') end)
    end)
end)

describe('fio', function()
    local folder
    before_each(function() folder = fio.tempdir() end)
    after_each(function() fio.rmtree(folder) end)

    local function path(name)
        return fio.pathjoin(folder, name)
    end

    it('reads what it has written, also what is large', function()
        local text = digest.urandom(1000000):rep(10)
        local file = assert(fio.open(path('large'), { 'O_RDWR', 'O_CREAT' }))
        assert.is_true(file:write(text))
        assert.equal(#text, file:seek(0, 'SEEK_CUR'))
        file:seek(0)
        assert.is_true(text == file:read())
        assert.equal('', file:read(10))
        assert.equal(text:sub(5000001, 9000000), file:pread(4000000, 5000000))
        assert.is_true(file:pwrite('x', 3))
        assert.equal('x', file:pread(1, 3))
        assert.is_true(file:fsync() and file:fdatasync())
        file:close()
        assert.has_error(function() file:read(1) end)
    end)

    it('lets other fibers run while it reads and writes much', function()
        local turns, stop = 0, false
        local other = fiber.new(function()
            while not stop do
                turns = turns + 1
                fiber.yield()
            end
        end)
        other:set_joinable(true)
        local file = fio.open(path('shared'), { 'O_RDWR', 'O_CREAT' })
        file:write(('x'):rep(8000000))
        stop = true
        other:join()
        file:close()
        assert.is_true(turns > 0)
    end)

    it('copies what a loop in a transaction reads', function()
        local file = fio.open(path('small'), { 'O_RDWR', 'O_CREAT' })
        file:write(('y'):rep(200000))
        assert.equal(200000, box.atomic(function() return #file:pread(300000, 0) end))
        file:close()
        assert.is_true(fio.copyfile(path('small'), path('other')))
        assert.equal(200000, fio.stat(path('other')).size)
        assert.is_nil((fio.copyfile(path('small'), path('small'))))
        assert.equal(200000, fio.stat(path('small')).size)
    end)

    it('removes links, not what they lead to', function()
        assert.is_true(fio.mktree(path('a/b')))
        fio.open(path('a/b/kept'), { 'O_CREAT', 'O_WRONLY' }):close()
        assert.is_true(fio.mkdir(path('c')))
        assert.is_true(fio.symlink(path('a'), path('c/link')))
        assert.is_true(fio.path.is_link(path('c/link')))
        assert.equal(path('a'), fio.readlink(path('c/link')))
        assert.is_true(fio.rmtree(path('c')))
        assert.is_true(fio.path.exists(path('a/b/kept')))
    end)

    it('finds names by patterns', function()
        for _, name in ipairs({ 'a.lua', 'b.lua', 'b.txt', '.hidden.lua' }) do
            fio.open(path(name), { 'O_CREAT', 'O_WRONLY' }):close()
        end
        assert.same({ path('a.lua'), path('b.lua') }, fio.glob(path('*.lua')))
        assert.same({ path('b.lua'), path('b.txt') }, fio.glob(path('[!a].*')))
        assert.same({ path('b.txt') }, fio.glob(path('?.tx?')))
        assert.same({}, fio.glob(path('none/*')))
    end)

    it('says why something failed', function()
        local ok, err = fio.open(path('none'))
        assert.is_nil(ok)
        assert.equal('No such file or directory', err)
        assert.is_nil((fio.rmdir(path('none'))))
        assert.has_error(function() fio.open(path('x'), { 'O_NONE' }) end)
        assert.has_error(function() fio.open('a\0b') end)
    end)
end)
