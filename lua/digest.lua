-- SPDX-License-Identifier: Apache-2.0
--
-- digest: message digests, checksums, base64 and random bytes, under Tarantool's names. digest.NAME(text)
-- gives the bytes, digest.NAME_hex(text) their hexadecimal digits.

local core = require('box.core')
local ffi = require('ffi')

local native = core.native

local digest = {}

local function hex(bytes)
    return (bytes:gsub('.', function(c) return ('%02x'):format(c:byte()) end))
end

local function text_of(text, usage, level)
    if type(text) ~= 'string' then
        error('Usage: ' .. usage, (level or 2) + 1)
    end
    return text
end

-- ------------------------------------------------------------------------------ digests

for _, name in ipairs({ 'md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512' }) do
    local usage = ('digest.%s(string)'):format(name)
    digest[name] = function(text)
        local handle = native.digest_new(name)
        native.digest_update(handle, text_of(text, usage))
        return native.digest_result(handle)
    end
    digest[name .. '_hex'] = function(text)
        return hex(digest[name](text_of(text, usage)))
    end
end

-- ---------------------------------------------------------------------------- checksums

--- An object made by new(), and a function by calling it, of a checksum that goes on.
local function rolling(first, step, usage)
    local function new()
        local state = first
        return core.object({
            update = function(_, text) state = step(text_of(text, usage), state) end,
            result = function() return state end,
            clear = function() state = first end,
        })
    end
    return core.object({ new = new }, {
        __call = function(_, text) return step(text_of(text, usage), first) end,
    })
end

--- digest.crc32(text): CRC-32 as zlib, gzip and Ethernet have it (Tarantool's is digest.crc32c).
digest.crc32 = rolling(0, native.crc32, 'digest.crc32(string)')
--- digest.crc32c(text): Castagnoli's polynomial, begun with all ones and not inverted at the end:
--- what Tarantool calls crc32.
digest.crc32c = rolling(0xffffffff, native.crc32c, 'digest.crc32c(string)')

local uint64 = ffi.typeof('uint64_t')

--- The two halves of a seed, a number or a 64-bit integer.
local function halves(seed)
    local value = ffi.cast(uint64, seed or 0)
    return tonumber(value / 2 ^ 32), tonumber(value % 2 ^ 32)
end

local function xxhash(bits)
    local function result(handle)
        local upper, lower = native.digest_result(handle)
        return bits == 32 and lower or ffi.cast(uint64, upper) * 2 ^ 32 + ffi.cast(uint64, lower)
    end
    local usage = ('digest.xxhash%d(string[, seed])'):format(bits)
    local function new(seed)
        local handle = native.xxhash_new(bits, halves(seed))
        return core.object({
            update = function(_, text) native.digest_update(handle, text_of(text, usage)) end,
            result = function() return result(handle) end,
            clear = function(_, other) handle = native.xxhash_new(bits, halves(other or seed)) end,
        })
    end
    return core.object({ new = new }, {
        __call = function(_, text, seed)
            local handle = native.xxhash_new(bits, halves(seed))
            native.digest_update(handle, text_of(text, usage))
            return result(handle)
        end,
    })
end
--- digest.xxhash32(text, seed), a number; digest.xxhash64(text, seed), an unsigned 64-bit integer.
digest.xxhash32, digest.xxhash64 = xxhash(32), xxhash(64)

-- ------------------------------------------------------------------------------- base64

--- Options: urlsafe (the other alphabet, neither padding nor line breaks), nopad, nowrap; else a line has
--- 72 digits.
function digest.base64_encode(text, options)
    text_of(text, 'digest.base64_encode(string[, {urlsafe, nopad, nowrap}])')
    options = options or {}
    local urlsafe = options.urlsafe and true or false
    return native.base64_encode(text, urlsafe, urlsafe or options.nopad, urlsafe or options.nowrap)
end

--- Of either alphabet, padded or not; what is no digit is passed over.
function digest.base64_decode(text)
    return native.base64_decode(text_of(text, 'digest.base64_decode(string)'))
end

-- --------------------------------------------------------------------- random and passwords

--- Random bytes for keys.
function digest.urandom(count)
    if type(count) ~= 'number' then
        error('Usage: digest.urandom(size)', 2)
    end
    return native.urandom(count)
end

--- A key made of a password: PBKDF2 with HMAC-SHA-256, 100000 rounds and 128 bytes unless said otherwise.
function digest.pbkdf2(password, salt, rounds, size)
    local usage = 'digest.pbkdf2(password, salt[, iterations[, size]])'
    text_of(password, usage)
    text_of(salt, usage)
    return native.pbkdf2('sha256', password, salt, rounds or 100000, size or 128)
end

function digest.pbkdf2_hex(...)
    return hex(digest.pbkdf2(...))
end

--- A bucket of `count` for a number, such that few numbers change theirs when there is one bucket more
--- (Lamping and Veach, A Fast, Minimal Memory, Consistent Hash Algorithm, 2014).
function digest.guava(state, count)
    if type(count) ~= 'number' or count < 1 then
        error('Usage: digest.guava(number, buckets)', 2)
    end
    local key, bucket, jump = ffi.cast(uint64, state), -1, 0
    while jump < count do
        bucket = jump
        key = key * 2862933555777941757ULL + 1
        jump = math.floor((bucket + 1) * (2 ^ 31 / (tonumber(key / 2 ^ 33) + 1)))
    end
    return bucket
end

return core.object(digest)
