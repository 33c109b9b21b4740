/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows of the Redis space; see the header for their layout.
 *
 * Packing writes the header and the pieces straight into the version that txn_put hands out, so a
 * SET copies its value once. The header is 93 | A1 's' | C0 or CF + 8 bytes | C4 n or C5 nn or C6
 * nnnn | data
 */
#include "redis/redis_value.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/key.h"
#include "codec/mp.h"

int redis_key_encode(struct redis_call *call, const struct redis_slice *name, struct redis_key *out)
{
    unsigned char *data = arena_alloc(txn_arena(call->txn), key_string_size_max(name->size));
    if (!data)
        return diag_set(ERROR_MEMORY, "out of memory");
    out->size = (size_t)(key_encode_string(data, name->data, name->size) - data);
    out->data = data;
    if (out->size > TREE_KEY_SIZE_MAX)
        return diag_set(ERROR_TOO_LARGE, "key is too large: at most %d bytes when encoded",
                        TREE_KEY_SIZE_MAX);
    return 0;
}

int redis_value_unpack(const struct version *version, uint64_t now_ms, struct redis_value *out)
{
    *out = (struct redis_value){.type = REDIS_TYPE_NONE};
    if (!version || (version->flags & VERSION_TOMBSTONE))
        return 0;
    const char *at = version->bytes, *end = at + version->size;
    if (version->size < 6 || (unsigned char)at[0] != 0x93 || (unsigned char)at[1] != 0xa1 ||
        at[2] != REDIS_TYPE_STRING)
        return diag_set(ERROR_CORRUPT,
                        "a value in the Redis space is damaged: its header is not one of a string");
    at += 3;
    uint64_t expire_ms = 0;
    if ((unsigned char)*at == 0xc0)
        at++;
    else if (!mp_check(&(const char *){at}, end) && mp_read_uint(&at, &expire_ms) && at < end)
        ;
    else
        return diag_set(ERROR_CORRUPT,
                        "a value in the Redis space is damaged: its expiry is no integer");
    if (at >= end || mp_typeof(*at) != MP_BIN || mp_check(&(const char *){at}, end))
        return diag_set(ERROR_CORRUPT,
                        "a value in the Redis space is damaged: its bytes are cut off");
    if (expire_ms && expire_ms <= now_ms)
        return 0;
    out->type = REDIS_TYPE_STRING;
    out->own = (load_relaxed(&version->stamp) & STAMP_TAG) != 0;
    out->expire_ms = expire_ms;
    out->data = mp_decode_bin(&at, &out->size);
    return 0;
}

int redis_value_get(struct redis_call *call, unsigned n, struct redis_key *key,
                    struct redis_value *out)
{
    const struct version *version;
    int rc = redis_key_encode(call, &call->argv[n], key);
    if (!rc)
        rc = txn_get(call->txn, db_redis_head(db_worker_db(call->worker)), key->data, key->size,
                     &version);
    return rc ? rc : redis_value_unpack(version, call->now_ms, out);
}

int redis_value_get_for_update(struct redis_call *call, unsigned n, struct redis_key *key,
                               struct redis_value *out)
{
    const struct version *version;
    int rc = redis_key_encode(call, &call->argv[n], key);
    if (!rc)
        rc = txn_get_for_update(call->txn, db_redis_head(db_worker_db(call->worker)), key->data,
                                key->size, &version);
    return rc ? rc : redis_value_unpack(version, call->now_ms, out);
}

static int type_check(int rc, const struct redis_value *value)
{
    if (rc || value->type == REDIS_TYPE_STRING || value->type == REDIS_TYPE_NONE)
        return rc;
    return diag_set(ERROR_TYPE, "Operation against a key holding the wrong kind of value");
}

int redis_string_get(struct redis_call *call, unsigned n, struct redis_key *key,
                     struct redis_value *out)
{
    return type_check(redis_value_get(call, n, key, out), out);
}

int redis_string_get_for_update(struct redis_call *call, unsigned n, struct redis_key *key,
                                struct redis_value *out)
{
    return type_check(redis_value_get_for_update(call, n, key, out), out);
}

int redis_string_put(struct redis_call *call, const struct redis_key *key, uint64_t expire_ms,
                     struct redis_slice first, struct redis_slice second)
{
    char header[REDIS_VALUE_OVERHEAD_MAX];
    size_t size = first.size + second.size;
    if (size > REDIS_STRING_SIZE_MAX)
        return diag_set(ERROR_TOO_LARGE,
                        "string exceeds maximum allowed size (proto-max-bulk-len)");
    memcpy(header, "\x93\xa1s", 3);
    char *at = expire_ms ? mp_encode_uint(header + 3, expire_ms) : mp_encode_nil(header + 3);
    at = mp_encode_binl(at, (uint32_t)size);
    size_t header_size = (size_t)(at - header);

    struct version *version;
    int rc = txn_put(call->txn, db_redis_head(db_worker_db(call->worker)), key->data, key->size,
                     NULL, (uint32_t)(header_size + size), NULL, &version);
    if (rc == ERROR_MEMORY)
        return diag_set(ERROR_MEMORY, "command not allowed when used memory > 'maxmemory'.");
    if (rc)
        return rc;
    memcpy(version->bytes, header, header_size);
    if (first.size)
        memcpy(version->bytes + header_size, first.data, first.size);
    if (second.size)
        memcpy(version->bytes + header_size + first.size, second.data, second.size);
    return 0;
}

int redis_key_delete(struct redis_call *call, const struct redis_key *key)
{
    return txn_delete(call->txn, db_redis_head(db_worker_db(call->worker)), key->data, key->size);
}

int redis_value_keep(struct redis_call *call, struct redis_value *value)
{
    if (!value->own || value->type == REDIS_TYPE_NONE)
        return 0;
    value->data = arena_copy(txn_arena(call->txn), value->data, value->size);
    value->own = false;
    return value->data ? 0 : diag_set(ERROR_MEMORY, "out of memory");
}

int redis_value_put_expiry(struct redis_call *call, const struct redis_key *key,
                           struct redis_value *value, uint64_t expire_ms)
{
    if (expire_ms && expire_ms <= call->now_ms)
        return redis_key_delete(call, key);
    int rc = redis_value_keep(call, value);
    return rc ? rc
              : redis_string_put(call, key, expire_ms,
                                 (struct redis_slice){value->data, value->size},
                                 (struct redis_slice){NULL, 0});
}

bool redis_integer_parse(const char *text, size_t size, int64_t *out)
{
    bool negative = size > 0 && text[0] == '-';
    const char *at = text + negative, *end = text + size;
    if (at == end || end - at > 19 || (*at == '0' && (negative || end - at > 1)))
        return false;
    uint64_t value = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        value = value * 10 + (uint64_t)(*at - '0'); /* 19 digits fit in 64 bits */
    }
    if (value > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

int redis_integer_arg(const struct redis_call *call, unsigned n, int64_t *out)
{
    if (redis_integer_parse(call->argv[n].data, call->argv[n].size, out))
        return 0;
    return diag_set(ERROR_INVALID, "value is not an integer or out of range");
}

size_t redis_integer_format(int64_t value, char *out)
{
    char digits[20];
    size_t n = 0, size = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        out[size++] = '-';
    while (n)
        out[size++] = digits[--n];
    return size;
}

bool redis_word(const struct redis_call *call, unsigned n, const char *word)
{
    const struct redis_slice *arg = &call->argv[n];
    size_t size = strlen(word);
    return arg->size == size && strncasecmp(arg->data, word, size) == 0;
}

int redis_syntax_error(void)
{
    return diag_set(ERROR_INVALID, "syntax error");
}

int redis_expiry_make(const struct redis_call *call, int64_t amount, int unit_ms, bool absolute,
                      bool positive, const char *command, int64_t *out_ms)
{
    int64_t now = (int64_t)call->now_ms;
    bool bad =
        (positive && amount <= 0) || amount > INT64_MAX / unit_ms || amount < INT64_MIN / unit_ms;
    if (!bad) {
        *out_ms = amount * unit_ms;
        bad = !absolute && *out_ms > INT64_MAX - now;
    }
    if (bad)
        return diag_set(ERROR_INVALID, "invalid expire time in '%s' command", command);
    if (!absolute)
        *out_ms += now;
    return 0;
}
