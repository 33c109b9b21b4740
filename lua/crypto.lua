-- SPDX-License-Identifier: Apache-2.0
--
-- crypto: ciphers, digests and HMAC of OpenSSL, under Tarantool's names.
--
--   crypto.cipher.aes256.cbc.encrypt(text, key, iv)    crypto.cipher.aes256.cbc.encrypt.new(key, iv)
--   crypto.digest.sha256(text)                         crypto.digest.sha256.new()
--   crypto.hmac.sha256(key, text)                      crypto.hmac.sha256.new(key)
--
-- What new() gives takes texts by update and ends with result. gcm is beyond Tarantool: encrypt gives the
-- text and a tag of 16 bytes, which decrypt has to be given.

local core = require('box.core')

local native = core.native

local MODES = { 'cbc', 'ctr', 'gcm', 'cfb', 'ofb', 'ecb' }
local DIGESTS = { 'md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512' }

local function invalid(format, ...)
    core.raise(core.ERROR_INVALID, format:format(...))
end

local function check_text(value, what)
    if type(value) ~= 'string' then
        invalid('%s is a string', what)
    end
end

-- ------------------------------------------------------------------------------- ciphers

local function open(name, encrypts, key, iv, aad)
    local key_size, iv_size = native.cipher_sizes(name)
    if iv_size == 0 and iv == nil then
        iv = ''
    end
    check_text(key, 'the key')
    check_text(iv, 'the initial vector')
    if aad ~= nil then
        check_text(aad, 'the additional data')
    end
    if #key ~= key_size then
        invalid('the key of %s has %d bytes, not %d', name, key_size, #key)
    elseif #iv ~= iv_size then
        invalid('the initial vector of %s has %d bytes, not %d', name, iv_size, #iv)
    end
    return native.cipher_new(name, encrypts, key, iv, aad)
end

--- An object: init(key, iv), update(text) -> bytes, result([tag]) -> the last bytes and, of gcm, the tag.
local function new_stream(name, encrypts, key, iv, aad)
    local handle = key and open(name, encrypts, key, iv, aad)
    local function get()
        if not handle then
            invalid('the cipher has not been given a key: init(key, iv)')
        end
        return handle
    end
    return core.object({
        init = function(_, ...) handle = open(name, encrypts, ...) end,
        update = function(_, text)
            check_text(text, 'what a cipher is given')
            return native.cipher_update(get(), text)
        end,
        result = function(_, tag)
            local last = get()
            handle = nil
            return native.cipher_result(last, tag)
        end,
        free = function() handle = nil end,
    })
end

local function at_once(name, encrypts, text, key, iv, tag, aad)
    check_text(text, 'what a cipher is given')
    local handle = open(name, encrypts, key, iv, aad)
    local bytes = native.cipher_update(handle, text)
    local last, made = native.cipher_result(handle, tag)
    return bytes .. last, made
end

local cipher = {}
for _, bits in ipairs({ 128, 192, 256 }) do
    local modes = {}
    for _, mode in ipairs(MODES) do
        local name = ('aes-%d-%s'):format(bits, mode)
        modes[mode] = core.object({
            encrypt = core.object({
                new = function(key, iv, aad) return new_stream(name, true, key, iv, aad) end,
            }, {
                -- (text, key, iv[, additional data]), bytes and, of gcm, the tag
                __call = function(_, text, key, iv, aad)
                    return at_once(name, true, text, key, iv, nil, aad)
                end,
            }),
            decrypt = core.object({
                new = function(key, iv, aad) return new_stream(name, false, key, iv, aad) end,
            }, {
                -- (text, key, iv[, tag, additional data])
                __call = function(_, text, key, iv, tag, aad)
                    return (at_once(name, false, text, key, iv, tag, aad))
                end,
            }),
        })
    end
    cipher['aes' .. bits] = core.object(modes)
end

-- ---------------------------------------------------------------------- digests and HMAC

local function hex(bytes)
    return (bytes:gsub('.', function(c) return ('%02x'):format(c:byte()) end))
end

local function new_digest(make)
    local handle = make()
    return core.object({
        init = function() handle = make() end,
        update = function(_, text)
            check_text(text, 'what a digest is given')
            native.digest_update(handle, text)
        end,
        result = function() return native.digest_result(handle) end,
        free = function() handle = make() end,
    })
end

local function digest_of(handle, text)
    check_text(text, 'what a digest is given')
    native.digest_update(handle, text)
    return native.digest_result(handle)
end

local digest, hmac = {}, {}
for _, name in ipairs(DIGESTS) do
    digest[name] = core.object({
        new = function() return new_digest(function() return native.digest_new(name) end) end,
    }, { __call = function(_, text) return digest_of(native.digest_new(name), text) end })
    local function mac(_, key, text)
        check_text(key, 'the key')
        return digest_of(native.hmac_new(name, key), text)
    end
    hmac[name] = core.object({
        new = function(key)
            check_text(key, 'the key')
            return new_digest(function() return native.hmac_new(name, key) end)
        end,
    }, { __call = mac })
    hmac[name .. '_hex'] = function(key, text) return hex(mac(nil, key, text)) end
end

return core.object({ cipher = core.object(cipher), digest = core.object(digest), hmac = core.object(hmac) })
