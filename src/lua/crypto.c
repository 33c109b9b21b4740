/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ciphers of OpenSSL for lua/crypto.lua: AES in the modes cbc, ctr, gcm, cfb, ofb and ecb.
 *
 * A cipher is a userdata that frees its context; after it has ended, or failed, it takes no more. What
 * OpenSSL says is wrong comes back as a text: Lua raises it. The key's and the initial vector's sizes
 * are checked before OpenSSL reads them.
 */
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/internal.h"

enum { PIECE = 1 << 20, TAG_SIZE = 16, BLOCK_MAX = EVP_MAX_BLOCK_LENGTH };

static const char cipher_type[] = "perigee.cipher";

struct cipher {
    EVP_CIPHER_CTX *context; /* NULL: it has ended */
    bool gcm, encrypts;
};

static int native_cipher_gc(lua_State *L)
{
    struct cipher *cipher = luaL_checkudata(L, 1, cipher_type);
    EVP_CIPHER_CTX_free(cipher->context);
    cipher->context = NULL;
    return 0;
}

static int fail(lua_State *L, const char *what)
{
    ERR_clear_error();
    native_cipher_gc(L);
    return lua__raise(L, lua__runtime(L), diag_set(ERROR_INVALID, "%s", what));
}

static struct cipher *check_cipher(lua_State *L)
{
    struct cipher *cipher = luaL_checkudata(L, 1, cipher_type);
    if (cipher->context == NULL)
        luaL_error(L, "this cipher has ended");
    return cipher;
}

/* cipher_sizes(name): of its key and its initial vector; nothing when there is none called so. */
static int native_cipher_sizes(lua_State *L)
{
    const EVP_CIPHER *kind = EVP_get_cipherbyname(luaL_checkstring(L, 1));
    if (kind == NULL)
        return 0;
    lua_pushinteger(L, EVP_CIPHER_get_key_length(kind));
    lua_pushinteger(L, EVP_CIPHER_get_iv_length(kind));
    return 2;
}

static struct cipher *push_cipher(lua_State *L)
{
    struct cipher *cipher = lua_newuserdata(L, sizeof *cipher);
    memset(cipher, 0, sizeof *cipher);
    if (luaL_newmetatable(L, cipher_type)) {
        lua_pushcfunction(L, native_cipher_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return cipher;
}

/* cipher_new(name, encrypts, key, iv, additional data or nil) */
static int native_cipher_new(lua_State *L)
{
    size_t key_size, iv_size, more_size = 0;
    const EVP_CIPHER *kind = EVP_get_cipherbyname(luaL_checkstring(L, 1));
    bool encrypts = lua_toboolean(L, 2);
    const char *key = luaL_checklstring(L, 3, &key_size), *iv = luaL_checklstring(L, 4, &iv_size);
    const char *more = luaL_optlstring(L, 5, NULL, &more_size);
    luaL_argcheck(L, kind != NULL, 1, "no such cipher");
    luaL_argcheck(L, key_size == (size_t)EVP_CIPHER_get_key_length(kind), 3, "size of the key");
    luaL_argcheck(L, iv_size == (size_t)EVP_CIPHER_get_iv_length(kind), 4, "size of the vector");
    luaL_argcheck(L, more_size < INT_MAX, 5, "too long");
    struct cipher *cipher = push_cipher(L);
    int written;
    cipher->encrypts = encrypts;
    cipher->gcm = EVP_CIPHER_get_mode(kind) == EVP_CIPH_GCM_MODE;
    cipher->context = EVP_CIPHER_CTX_new();
    if (cipher->context == NULL ||
        EVP_CipherInit_ex(cipher->context, kind, NULL, (const unsigned char *)key,
                          (const unsigned char *)iv, encrypts) != 1)
        return lua__raise(L, lua__runtime(L), diag_set(ERROR_MEMORY, "out of memory"));
    if (cipher->gcm && more_size > 0)
        EVP_CipherUpdate(cipher->context, NULL, &written, (const unsigned char *)more,
                         (int)more_size);
    return 1;
}

/* cipher_update(cipher, text): what it gives for it so far. */
static int native_cipher_update(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct cipher *cipher = check_cipher(L);
    size_t size, at = 0;
    const unsigned char *data = (const unsigned char *)luaL_checklstring(L, 2, &size);
    unsigned char *out = lua_newuserdata(L, size + BLOCK_MAX);
    for (size_t done = 0, piece; done < size; done += piece) {
        int written = 0;
        piece = size - done < PIECE ? size - done : PIECE;
        if (EVP_CipherUpdate(cipher->context, out + at, &written, data + done, (int)piece) != 1)
            return fail(L, "the cipher refuses this");
        at += (size_t)written;
        if (size > PIECE && lua__interrupted(runtime))
            return lua__raise(L, runtime, ERROR_TIMEOUT);
    }
    lua__push_bytes(L, runtime, (const char *)out, at);
    return 1;
}

/* cipher_result(cipher, tag of gcm): the last bytes; of gcm that encrypts, its tag. It ends. */
static int native_cipher_result(lua_State *L)
{
    struct cipher *cipher = check_cipher(L);
    unsigned char out[BLOCK_MAX];
    char tag[TAG_SIZE];
    int written = 0;
    if (cipher->gcm && !cipher->encrypts) {
        size_t size;
        const char *given = luaL_optlstring(L, 2, "", &size);
        if (size != sizeof tag)
            return fail(L, "gcm has to be given the tag of 16 bytes");
        memcpy(tag, given, sizeof tag);
        EVP_CIPHER_CTX_ctrl(cipher->context, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag);
    }
    if (EVP_CipherFinal_ex(cipher->context, out, &written) != 1)
        return fail(L, cipher->gcm        ? "this is not what was encrypted with this key"
                       : cipher->encrypts ? "the cipher refuses this"
                                          : "wrong key, or damaged: the padding is not right");
    lua_pushlstring(L, (const char *)out, (size_t)written);
    int results = 1;
    if (cipher->gcm && cipher->encrypts) {
        EVP_CIPHER_CTX_ctrl(cipher->context, EVP_CTRL_AEAD_GET_TAG, sizeof tag, tag);
        lua_pushlstring(L, tag, sizeof tag);
        results = 2;
    }
    native_cipher_gc(L);
    return results;
}

void lua__open_crypto(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"cipher_sizes", native_cipher_sizes},
        {"cipher_new", native_cipher_new},
        {"cipher_update", native_cipher_update},
        {"cipher_result", native_cipher_result},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
