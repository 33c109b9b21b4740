/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests, checksums, base64 and random bytes for lua/digest.lua and lua/crypto.lua.
 *
 * Message digests and their HMAC are OpenSSL's, CRC-32 (the polynomial of zlib) is isa-l's, xxHash
 * and CRC-32C are those of the engine's libraries. Long texts are taken in pieces, between which the
 * time limit of the call is looked at; so are the rounds of PBKDF2 (RFC 8018, 5.2).
 *
 * A digest that goes on is a userdata of one of two kinds, EVP or xxHash. It frees itself.
 */
#include <isa-l.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>
#include <xxhash.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"
#include "lua/internal.h"

enum { PIECE = 1 << 20, RANDOM_MAX = 1 << 20, KEY_MAX = 1 << 16, ROUNDS_AT_ONCE = 1024 };

static const char digest_type[] = "perigee.digest";

enum kind { KIND_EVP, KIND_HMAC, KIND_XXH32, KIND_XXH64 };
struct digest {
    enum kind kind;
    union {
        EVP_MD_CTX *evp;
        EVP_MAC_CTX *mac;
        XXH32_state_t *xxh32;
        XXH64_state_t *xxh64;
    };
};

static int out_of_memory(lua_State *L)
{
    return lua__raise(L, lua__runtime(L), diag_set(ERROR_MEMORY, "out of memory"));
}

/* ------------------------------------------------------------------------------------ objects */

static int native_digest_gc(lua_State *L)
{
    struct digest *digest = luaL_checkudata(L, 1, digest_type);
    if (digest->kind == KIND_EVP)
        EVP_MD_CTX_free(digest->evp);
    else if (digest->kind == KIND_HMAC)
        EVP_MAC_CTX_free(digest->mac);
    else if (digest->kind == KIND_XXH32)
        XXH32_freeState(digest->xxh32);
    else
        XXH64_freeState(digest->xxh64);
    digest->evp = NULL;
    return 0;
}

static struct digest *push_digest(lua_State *L, enum kind kind)
{
    struct digest *digest = lua_newuserdata(L, sizeof *digest);
    digest->kind = kind;
    digest->evp = NULL;
    if (luaL_newmetatable(L, digest_type)) {
        lua_pushcfunction(L, native_digest_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return digest;
}

/* digest_new(name): of OpenSSL; nil: it has none called so. */
static int native_digest_new(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const EVP_MD *md = EVP_get_digestbyname(name);
    if (md == NULL)
        return 0;
    struct digest *digest = push_digest(L, KIND_EVP);
    digest->evp = EVP_MD_CTX_new();
    if (digest->evp == NULL || EVP_DigestInit_ex(digest->evp, md, NULL) != 1)
        return out_of_memory(L);
    return 1;
}

static EVP_MAC_CTX *hmac_new(const char *name, const char *key, size_t size)
{
    char copy[32];
    snprintf(copy, sizeof copy, "%s", name);
    OSSL_PARAM params[2] = {OSSL_PARAM_END, OSSL_PARAM_END};
    params[0] = (OSSL_PARAM){"digest", OSSL_PARAM_UTF8_STRING, copy, strlen(copy), 0};
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *result = mac == NULL ? NULL : EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);
    /* no key at all would mean the key of before */
    if (result != NULL && EVP_MAC_init(result, (const unsigned char *)key, size, params) != 1) {
        EVP_MAC_CTX_free(result);
        result = NULL;
    }
    return result;
}

/* hmac_new(name, key); nil as above. */
static int native_hmac_new(lua_State *L)
{
    size_t size;
    const char *name = luaL_checkstring(L, 1), *key = luaL_checklstring(L, 2, &size);
    if (EVP_get_digestbyname(name) == NULL)
        return 0;
    struct digest *digest = push_digest(L, KIND_HMAC);
    digest->mac = hmac_new(name, key, size);
    return digest->mac == NULL ? out_of_memory(L) : 1;
}

/* xxhash_new(bits, seed as two numbers: its upper and lower 32 bits) */
static uint64_t seed_at(lua_State *L, int index)
{
    return (uint64_t)luaL_optnumber(L, index, 0) << 32 | (uint32_t)luaL_optnumber(L, index + 1, 0);
}

static int native_xxhash_new(lua_State *L)
{
    uint64_t seed = seed_at(L, 2);
    bool narrow = luaL_checkinteger(L, 1) == 32;
    struct digest *digest = push_digest(L, narrow ? KIND_XXH32 : KIND_XXH64);
    if (narrow) {
        digest->xxh32 = XXH32_createState();
        if (digest->xxh32 == NULL || XXH32_reset(digest->xxh32, (uint32_t)seed) != XXH_OK)
            return out_of_memory(L);
        return 1;
    }
    digest->xxh64 = XXH64_createState();
    if (digest->xxh64 == NULL || XXH64_reset(digest->xxh64, seed) != XXH_OK)
        return out_of_memory(L);
    return 1;
}

static void add(struct digest *digest, const char *data, size_t size)
{
    switch (digest->kind) {
    case KIND_EVP:
        EVP_DigestUpdate(digest->evp, data, size);
        break;
    case KIND_HMAC:
        EVP_MAC_update(digest->mac, (const unsigned char *)data, size);
        break;
    case KIND_XXH32:
        XXH32_update(digest->xxh32, data, size);
        break;
    case KIND_XXH64:
        XXH64_update(digest->xxh64, data, size);
        break;
    }
}

static struct digest *check_digest(lua_State *L)
{
    struct digest *digest = luaL_checkudata(L, 1, digest_type);
    if (digest->evp == NULL)
        luaL_error(L, "this digest has ended");
    return digest;
}

/* digest_update(digest, text) */
static int native_digest_update(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct digest *digest = check_digest(L);
    size_t size;
    const char *data = luaL_checklstring(L, 2, &size);
    for (size_t piece; size > 0; data += piece, size -= piece) {
        piece = size < PIECE ? size : PIECE;
        add(digest, data, piece);
        if (size > PIECE && lua__interrupted(runtime))
            return lua__raise(L, runtime, ERROR_TIMEOUT);
    }
    return 0;
}

/* digest_result(digest): of what it has been given so far; it goes on. A number's two halves for
 * xxHash. An HMAC can be asked once. */
static int native_digest_result(lua_State *L)
{
    struct digest *digest = check_digest(L);
    unsigned char bytes[EVP_MAX_MD_SIZE];
    size_t size = 0;
    if (digest->kind == KIND_XXH32) {
        lua_pushnumber(L, 0);
        lua_pushnumber(L, XXH32_digest(digest->xxh32));
        return 2;
    }
    if (digest->kind == KIND_XXH64) {
        uint64_t hash = XXH64_digest(digest->xxh64);
        lua_pushnumber(L, (double)(hash >> 32));
        lua_pushnumber(L, (double)(uint32_t)hash);
        return 2;
    }
    if (digest->kind == KIND_HMAC) {
        int good = EVP_MAC_final(digest->mac, bytes, &size, sizeof bytes);
        native_digest_gc(L);
        if (good != 1)
            return out_of_memory(L);
    } else {
        unsigned count = 0;
        EVP_MD_CTX *copy = EVP_MD_CTX_new();
        bool good = copy != NULL && EVP_MD_CTX_copy_ex(copy, digest->evp) == 1 &&
                    EVP_DigestFinal_ex(copy, bytes, &count) == 1;
        EVP_MD_CTX_free(copy);
        if (!good)
            return out_of_memory(L);
        size = count;
    }
    lua_pushlstring(L, (const char *)bytes, size);
    return 1;
}

/* ---------------------------------------------------------------------------------- checksums */

/* crc32(text, crc so far), crc32c(text, crc so far). */
static int native_crc32(lua_State *L)
{
    size_t size;
    const char *data = luaL_checklstring(L, 1, &size);
    uint32_t crc = (uint32_t)luaL_optnumber(L, 2, 0);
    lua_pushnumber(L, crc32_gzip_refl(crc, (const unsigned char *)data, size));
    return 1;
}

/* Without the inversions at both ends, as Tarantool gives it. */
static int native_crc32c(lua_State *L)
{
    size_t size;
    const char *data = luaL_checklstring(L, 1, &size);
    uint32_t crc = (uint32_t)luaL_optnumber(L, 2, 4294967295.0);
    lua_pushnumber(L, (uint32_t)~crc32c(~crc, data, size));
    return 1;
}

/* ------------------------------------------------------------------------------------- base64 */

static const char digits[2][65] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

enum { LINE = 72, BASE64_AT_ONCE = 1 << 16 };

/* base64_encode(text, urlsafe, no padding, no line breaks) */
static int native_base64_encode(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size, at = 0, column = 0;
    const unsigned char *in = (const unsigned char *)luaL_checklstring(L, 1, &size);
    const char *digit = digits[lua_toboolean(L, 2)];
    bool pad = !lua_toboolean(L, 3), wrap = !lua_toboolean(L, 4);
    size_t room = (size + 2) / 3 * 4;
    char *out = lua_newuserdata(L, room + room / LINE + 1);
    for (size_t i = 0; i < size; i += 3) {
        unsigned left = size - i < 3 ? (unsigned)(size - i) : 3;
        uint32_t bits = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                        (left > 2 ? in[i + 2] : 0);
        if (wrap && column == LINE) {
            out[at++] = '\n';
            column = 0;
        }
        for (unsigned n = 0; n < 4; n++)
            if (n <= left)
                out[at++] = digit[bits >> (18 - 6 * n) & 63];
            else if (pad)
                out[at++] = '=';
        column += 4;
        if (i % (3 * BASE64_AT_ONCE) == 0)
            lua__pause(runtime);
    }
    lua__push_bytes(L, runtime, out, at);
    return 1;
}

static int digit_value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

/* Of either alphabet, padded or not; what is no digit is passed over, and a '=' ends it. `out` has
 * room for three quarters of the size. */
size_t lua__base64_decode(struct lua_runtime *runtime, char *out, const char *in, size_t size)
{
    uint32_t bits = 0;
    unsigned count = 0;
    size_t at = 0;
    for (size_t i = 0; i < size && in[i] != '='; i++) {
        int value = digit_value((unsigned char)in[i]);
        if (i % BASE64_AT_ONCE == BASE64_AT_ONCE - 1)
            lua__pause(runtime);
        if (value < 0)
            continue;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[at++] = (char)(bits >> count & 255);
        }
    }
    return at;
}

static int native_base64_decode(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *in = luaL_checklstring(L, 1, &size);
    char *out = lua_newuserdata(L, size / 4 * 3 + 3);
    size = lua__base64_decode(runtime, out, in, size);
    lua__push_bytes(L, runtime, out, size);
    return 1;
}

/* ------------------------------------------------------------------------------ random, PBKDF2 */

/* urandom(count): bytes of OpenSSL's generator. */
static int native_urandom(lua_State *L)
{
    lua_Number count = luaL_checknumber(L, 1);
    luaL_argcheck(L, count >= 0 && count <= RANDOM_MAX, 1, "between 0 and 1048576 bytes");
    unsigned char *out = lua_newuserdata(L, (size_t)count + 1);
    if (RAND_bytes(out, (int)count) != 1)
        return luaL_error(L, "there are no random bytes");
    lua_pushlstring(L, (const char *)out, (size_t)count);
    return 1;
}

/* u = HMAC(the context's key, data); false: out of memory. */
static bool hmac_once(EVP_MAC_CTX *mac, const void *data, size_t size, const void *more,
                      size_t more_size, unsigned char *u)
{
    size_t written;
    return EVP_MAC_init(mac, NULL, 0, NULL) == 1 && EVP_MAC_update(mac, data, size) == 1 &&
           (more_size == 0 || EVP_MAC_update(mac, more, more_size) == 1) &&
           EVP_MAC_final(mac, u, &written, EVP_MAX_MD_SIZE) == 1;
}

/* One block of the key: ERROR_MEMORY, ERROR_TIMEOUT. */
static int derive(struct lua_runtime *runtime, EVP_MAC_CTX *mac, const char *salt, size_t salt_size,
                  uint32_t number, double rounds, unsigned char *out)
{
    unsigned char u[EVP_MAX_MD_SIZE];
    const unsigned char tail[4] = {(unsigned char)(number >> 24), (unsigned char)(number >> 16),
                                   (unsigned char)(number >> 8), (unsigned char)number};
    size_t size = EVP_MAC_CTX_get_mac_size(mac);
    if (!hmac_once(mac, salt, salt_size, tail, sizeof tail, u))
        return diag_set(ERROR_MEMORY, "out of memory");
    memcpy(out, u, size);
    for (double round = 1; round < rounds; round++) {
        if (!hmac_once(mac, u, size, NULL, 0, u))
            return diag_set(ERROR_MEMORY, "out of memory");
        for (size_t i = 0; i < size; i++)
            out[i] ^= u[i];
        if ((uint64_t)round % ROUNDS_AT_ONCE == 0 && lua__interrupted(runtime))
            return ERROR_TIMEOUT;
    }
    return 0;
}

/* pbkdf2(digest's name, password, salt, rounds, size of the key) */
static int native_pbkdf2(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t password_size, salt_size;
    const char *name = luaL_checkstring(L, 1);
    const char *password = luaL_checklstring(L, 2, &password_size);
    const char *salt = luaL_checklstring(L, 3, &salt_size);
    lua_Number rounds = luaL_checknumber(L, 4), wanted = luaL_checknumber(L, 5);
    luaL_argcheck(L, rounds >= 1 && rounds <= 1e9, 4, "between 1 and 1000000000 rounds");
    luaL_argcheck(L, wanted >= 1 && wanted <= KEY_MAX, 5, "between 1 and 65536 bytes");
    luaL_argcheck(L, EVP_get_digestbyname(name) != NULL, 1, "no such digest");
    unsigned char *out = lua_newuserdata(L, (size_t)wanted + EVP_MAX_MD_SIZE);
    struct digest *digest = push_digest(L, KIND_HMAC); /* frees the context */
    digest->mac = hmac_new(name, password, password_size);
    if (digest->mac == NULL)
        return out_of_memory(L);
    int code = 0;
    size_t at = 0;
    for (uint32_t number = 1; code == 0 && at < (size_t)wanted; number++) {
        code = derive(runtime, digest->mac, salt, salt_size, number, rounds, out + at);
        at += EVP_MAC_CTX_get_mac_size(digest->mac);
    }
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_pushlstring(L, (const char *)out, (size_t)wanted);
    return 1;
}

void lua__open_digest(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"digest_new", native_digest_new},
        {"hmac_new", native_hmac_new},
        {"xxhash_new", native_xxhash_new},
        {"digest_update", native_digest_update},
        {"digest_result", native_digest_result},
        {"crc32", native_crc32},
        {"crc32c", native_crc32c},
        {"base64_encode", native_base64_encode},
        {"base64_decode", native_base64_decode},
        {"urandom", native_urandom},
        {"pbkdf2", native_pbkdf2},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
