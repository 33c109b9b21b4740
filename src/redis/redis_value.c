/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows of the Redis space; see the header for their layout.
 *
 * Packing writes the header and the pieces straight into the version that txn_put hands out, so a
 * SET copies its value once, and a large one, which was received in a parcel, not at all. Of a string,
 * the header is 93 | A1 's' | C0 or CF + 8 bytes | C4 n or C5 nn or C6 nnnn | data
 *
 * What was under the key before is found below the new version: a spread collection there is given
 * to those who clear up, whoever writes over it.
 */
#include "redis/redis_value.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "base/random.h"
#include "codec/key.h"
#include "codec/mp.h"
#include "mem/parcel.h"
#include "redis/redis_access.h"
#include "redis/redis_spread.h"

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

const char *redis_type_name(int type)
{
    switch (type) {
    case REDIS_TYPE_STRING:
        return "string";
    case REDIS_TYPE_LIST:
        return "list";
    case REDIS_TYPE_SET:
        return "set";
    case REDIS_TYPE_ZSET:
        return "zset";
    case REDIS_TYPE_HASH:
        return "hash";
    case REDIS_TYPE_STREAM:
        return "stream";
    }
    return "none";
}

int redis_type_error(void)
{
    return diag_set(ERROR_TYPE, "Operation against a key holding the wrong kind of value");
}

static int damaged(const char *what)
{
    return diag_set(ERROR_CORRUPT, "a value in the Redis space is damaged: %s", what);
}

/* The third element and what follows. */
static int data_unpack(const char *at, const char *end, unsigned count, struct redis_value *out)
{
    const char *data = at, *behind = at;
    if (at >= end || mp_check(&behind, end))
        return damaged("its bytes are cut off");
    if (count == 4) {
        if (!mp_read_uint(&at, &out->id) || at >= end || mp_check(&(const char *){at}, end))
            return damaged("it has no number");
        out->spread = true;
        out->data = at;
        mp_next(&at);
        out->size = (uint32_t)(at - out->data);
    } else if (out->type == REDIS_TYPE_STRING) {
        if (mp_typeof(*at) != MP_BIN)
            return damaged("it is no string");
        out->data = mp_decode_bin(&at, &out->size);
    } else {
        if (mp_typeof(*at) != MP_ARRAY)
            return damaged("it has no elements");
        out->data = data;
        out->size = (uint32_t)(behind - data);
    }
    return 0;
}

int redis_value_unpack(const struct version *version, uint64_t now_ms, struct redis_value *out)
{
    *out = (struct redis_value){.type = REDIS_TYPE_NONE};
    if (!version || (version_flags(version) & VERSION_TOMBSTONE))
        return 0;
    const char *at = version->bytes, *end = at + version->size;
    unsigned char head = version->size < 6 ? 0 : (unsigned char)at[0];
    if ((head != 0x93 && head != 0x94) || (unsigned char)at[1] != 0xa1 ||
        !memchr("sltzhx", at[2], 6))
        return damaged("its header is unknown");
    int type = at[2];
    at += 3;
    uint64_t expire_ms = 0;
    if ((unsigned char)*at == 0xc0)
        at++;
    else if (mp_check(&(const char *){at}, end) || !mp_read_uint(&at, &expire_ms))
        return damaged("its expiry is no integer");
    if (expire_ms && expire_ms <= now_ms)
        return 0;
    out->type = type;
    out->own = (load_relaxed(&version->stamp) & STAMP_TAG) != 0;
    out->expire_ms = expire_ms;
    out->access = version_note(version);
    out->parcel = txn_version_parcel(version);
    return data_unpack(at, end, head & 0x0f, out);
}

static struct head *head_of(const struct redis_call *call)
{
    return db_redis_head(db_worker_db(call->worker), call->database);
}

/* The key is used: that is noted in the version, if there is something new to note. */
static void touch(struct redis_call *call, const struct version *version)
{
    const struct redis_config *config = call->config;
    call->opened = version;
    if (!version || call->no_touch)
        return;
    bool draws = redis_policy_is_lfu(load_relaxed(&config->maxmemory_policy));
    uint32_t note = version_note(version);
    uint32_t used = redis_access_used(config, note, call->now_ms, draws ? redis_random(call) : 0);
    if (used != note)
        version_note_set(version, used);
}

static int type_check(int rc, int type, const struct redis_value *value)
{
    if (rc || type == REDIS_TYPE_NONE || value->type == type || value->type == REDIS_TYPE_NONE)
        return rc;
    return redis_type_error();
}

static void lookup_count(const struct redis_call *call, const struct redis_value *value)
{
    struct redis_lookups *lookups = call->lookups;
    if (!lookups)
        return;
    _Atomic uint64_t *count = value->type == REDIS_TYPE_NONE ? &lookups->misses : &lookups->hits;
    store_relaxed(count, load_relaxed(count) + 1);
}

int redis_open(struct redis_call *call, const struct redis_slice *name, int type,
               struct redis_key *key, struct redis_value *out)
{
    const struct version *version;
    int rc = redis_key_encode(call, name, key);
    if (!rc)
        rc = txn_get(call->txn, head_of(call), key->data, key->size, &version);
    if (!rc)
        rc = redis_value_unpack(version, call->now_ms, out);
    if (!rc)
        touch(call, version);
    if (!rc)
        lookup_count(call, out);
    if (!rc && out->type == REDIS_TYPE_NONE &&
        (load_relaxed(&call->config->notify_flags) & REDIS_NOTIFY_KEY_MISS))
        return redis__missed(call, name);
    return type_check(rc, type, out);
}

bool redis_value_is_spread(const struct version *version)
{
    return version->size > 0 && (unsigned char)version->bytes[0] == 0x94;
}

/* Whether the key's newest value is a spread one, as far as one can tell without looking twice. */
static bool is_spread(struct redis_call *call, const struct redis_key *key)
{
    const struct version *version;
    if (txn_get(call->txn, head_of(call), key->data, key->size, &version) || !version)
        return false;
    return redis_value_is_spread(version);
}

int redis_open_for_update(struct redis_call *call, const struct redis_slice *name, int type,
                          struct redis_key *key, struct redis_value *out)
{
    const struct version *version;
    int rc = redis_key_encode(call, name, key);
    if (rc)
        return rc;
    /* A string is never spread, and what is no string is an error to those who want one. Of a stream
     * all writers write the row: they tag it, and see the rest as it is from then on. */
    bool tags = type == REDIS_TYPE_STRING || type == REDIS_TYPE_STREAM;
    bool spread = !tags && is_spread(call, key);
    if (spread && !MUTATION(SPREAD_WEAKLY))
        txn_strengthen(call->txn);
    rc = spread && MUTATION(SPREAD_WEAKLY)
             ? txn_get(call->txn, head_of(call), key->data, key->size, &version)
             : txn_get_for_update(call->txn, head_of(call), key->data, key->size, &version);
    if (!rc && type == REDIS_TYPE_STREAM)
        txn_statement(call->txn);
    if (!rc)
        rc = redis_value_unpack(version, call->now_ms, out);
    if (!rc)
        touch(call, version);
    /* Somebody has spread it since our snapshot, which does not have its elements. */
    if (!rc && out->spread && !spread && !tags)
        return diag_set(ERROR_CONFLICT, "the key was changed by another transaction");
    return type_check(rc, type, out);
}

int redis_value_get(struct redis_call *call, unsigned n, struct redis_key *key,
                    struct redis_value *out)
{
    return redis_open(call, &call->argv[n], REDIS_TYPE_NONE, key, out);
}

int redis_value_get_for_update(struct redis_call *call, unsigned n, struct redis_key *key,
                               struct redis_value *out)
{
    return redis_open_for_update(call, &call->argv[n], REDIS_TYPE_NONE, key, out);
}

int redis_string_get(struct redis_call *call, unsigned n, struct redis_key *key,
                     struct redis_value *out)
{
    return redis_open(call, &call->argv[n], REDIS_TYPE_STRING, key, out);
}

int redis_string_get_for_update(struct redis_call *call, unsigned n, struct redis_key *key,
                                struct redis_value *out)
{
    return redis_open_for_update(call, &call->argv[n], REDIS_TYPE_STRING, key, out);
}

/* What the key held before a version that was just put, NULL when there was nothing: our tag is on
 * the row, so what lies below stays. */
static const struct version *version_below(const struct version *version)
{
    const struct version *below = load_acquire(&version->older);
    while (below && below->size == 0 && !(version_flags(below) & VERSION_TOMBSTONE))
        below = load_acquire(&below->older); /* a placeholder */
    return below && below->size > 0 ? below : NULL;
}

/* The number of the spread collection in it, 0 when it is none. */
static uint64_t id_of(const struct version *below)
{
    struct redis_value value;
    if (!below || !redis_value_is_spread(below) || redis_value_unpack(below, 0, &value))
        return 0;
    return value.id;
}

/* The note of a version that is put on top of another. Who looked at that one has counted the use, and
 * changes what is there; who did not writes something new, which keeps the count, as in Redis. */
static uint32_t note_above(const struct redis_call *call, const struct version *below)
{
    const struct redis_config *config = call->config;
    bool counts = redis_policy_is_lfu(load_relaxed(&config->maxmemory_policy));
    bool changes = below && call->opened == below;
    if (call->access)
        return call->access;
    if (changes && (counts || call->no_touch))
        return version_note(below);
    uint64_t expire_ms = below && counts ? db_redis_expiry(below) : 0;
    if (!below || !counts || (expire_ms && expire_ms <= call->now_ms))
        return redis_access_new(config, call->now_ms);
    return call->no_touch
               ? version_note(below)
               : redis_access_used(config, version_note(below), call->now_ms, redis_random(call));
}

/* Before a write of a key while somebody asks for events of new ones. */
static int tell_if_new(struct redis_call *call, const struct redis_key *key)
{
    const struct version *version;
    struct redis_value old;
    int rc = txn_get_for_update(call->txn, head_of(call), key->data, key->size, &version);
    if (!rc)
        rc = redis_value_unpack(version, call->now_ms, &old);
    if (rc || old.type != REDIS_TYPE_NONE)
        return rc;
    char *name = arena_alloc(txn_arena(call->txn), key->size);
    int64_t size = name ? key_decode_string(key->data, key->data + key->size, name) : -1;
    return size < 0 ? diag_set(ERROR_MEMORY, "out of memory")
                    : redis__created(call, &(struct redis_slice){name, (size_t)size});
}

/* The parcel that the value was received in, taken, when a row can be made of it with such a header. */
static struct parcel *parcel_for(const struct redis_call *call, const struct redis_slice pieces[3])
{
    if (call->parcel_count == 0 || pieces[1].size < PARCEL_BYTES_MIN || pieces[2].size > 0)
        return NULL;
    for (unsigned n = 0; n < call->parcel_count; n++) {
        struct parcel *parcel = call->parcels[n];
        if (parcel_data(parcel) == pieces[1].data && parcel_size(parcel) == pieces[1].size)
            return txn_parcel_fits(parcel, pieces[0].size) && parcel_take(parcel) ? parcel : NULL;
    }
    return NULL;
}

/* A header, at most two pieces, and something of the row behind: how a version is filled. The first
 * piece stays where it is, and the row becomes what is around it, if that is possible. */
static int row_put(struct redis_call *call, const struct redis_key *key, uint64_t expire_ms,
                   const struct redis_slice pieces[3], uint64_t id)
{
    struct version *version;
    struct row *row;
    size_t size = pieces[0].size + pieces[1].size + pieces[2].size;
    int rc =
        load_relaxed(&call->config->notify_flags) & REDIS_NOTIFY_NEW ? tell_if_new(call, key) : 0;
    if (rc)
        return rc;
    struct parcel *parcel = parcel_for(call, pieces);
    rc = parcel ? txn_put_parcel(call->txn, head_of(call), key->data, key->size, parcel,
                                 pieces[0].size, &row, &version)
                : txn_put(call->txn, head_of(call), key->data, key->size, NULL, (uint32_t)size,
                          &row, &version);
    if (rc == ERROR_MEMORY)
        return diag_set(ERROR_MEMORY, "command not allowed when used memory > 'maxmemory'.");
    if (rc)
        return rc;
    char *at = version->bytes;
    for (unsigned n = 0; n < 3; n++)
        if (n == 1 && parcel) {
            at += pieces[n].size; /* these bytes are there */
        } else if (pieces[n].size) {
            memcpy(at, pieces[n].data, pieces[n].size);
            at += pieces[n].size;
        }
    if (expire_ms)
        rc = db_redis_expiry_add(call->txn, db_worker_db(call->worker), call->database, row,
                                 expire_ms);
    if (rc)
        return rc;
    const struct version *below = version_below(version);
    version_note_set(version, note_above(call, below));
    uint64_t id_below = id_of(below);
    return id_below && id_below != id ? redis_spread_discard(call, id_below) : 0;
}

/* The type and the expiry: the end of what was written. */
static char *header_encode(char *out, int type, unsigned count, uint64_t expire_ms)
{
    out[0] = (char)(0x90 | count);
    out[1] = (char)0xa1;
    out[2] = (char)type;
    return expire_ms ? mp_encode_uint(out + 3, expire_ms) : mp_encode_nil(out + 3);
}

int redis_value_put(struct redis_call *call, const struct redis_key *key, int type,
                    uint64_t expire_ms, struct redis_slice first, struct redis_slice second)
{
    char header[REDIS_VALUE_OVERHEAD_MAX];
    size_t size = first.size + second.size;
    if (size > REDIS_STRING_SIZE_MAX)
        return diag_set(ERROR_TOO_LARGE,
                        "string exceeds maximum allowed size (proto-max-bulk-len)");
    char *end = header_encode(header, type, 3, expire_ms);
    if (type == REDIS_TYPE_STRING)
        end = mp_encode_binl(end, (uint32_t)size);
    const struct redis_slice pieces[3] = {{header, (size_t)(end - header)}, first, second};
    return row_put(call, key, expire_ms, pieces, 0);
}

int redis_string_put(struct redis_call *call, const struct redis_key *key, uint64_t expire_ms,
                     struct redis_slice first, struct redis_slice second)
{
    return redis_value_put(call, key, REDIS_TYPE_STRING, expire_ms, first, second);
}

int redis_value_put_spread(struct redis_call *call, const struct redis_key *key, int type,
                           uint64_t expire_ms, uint64_t id, struct redis_slice kept)
{
    char header[REDIS_VALUE_OVERHEAD_MAX];
    char *end = mp_encode_uint(header_encode(header, type, 4, expire_ms), id);
    const struct redis_slice pieces[3] = {
        {header, (size_t)(end - header)},
        kept.size ? kept : (struct redis_slice){"\xc0", 1},
    };
    return row_put(call, key, expire_ms, pieces, id);
}

int redis_value_delete(struct redis_call *call, const struct redis_key *key,
                       const struct redis_value *value)
{
    int rc = txn_delete(call->txn, head_of(call), key->data, key->size);
    return !rc && value->spread ? redis_spread_discard(call, value->id) : rc;
}

int redis_row_name(struct redis_call *call, const struct row *row, struct redis_slice *out)
{
    char *text = arena_alloc(txn_arena(call->txn), row->key_size + 1);
    if (!text)
        return diag_set(ERROR_MEMORY, "out of memory");
    int64_t size = key_decode_string(row->key, row->key + row->key_size, text);
    if (size < 0)
        return diag_set(ERROR_CORRUPT, "a key in the Redis space is damaged: it is not one string");
    *out = (struct redis_slice){text, (size_t)size};
    return 0;
}

int redis_row_delete(struct redis_call *call, const struct redis_key *key)
{
    return txn_delete(call->txn, head_of(call), key->data, key->size);
}

uint64_t redis_random(const struct redis_call *call)
{
    static _Thread_local struct random random;
    static _Thread_local bool seeded;
    (void)call;
    if (!seeded)
        random_create(&random, random_seed());
    seeded = true;
    return random_next(&random);
}

int redis_key_delete(struct redis_call *call, const struct redis_key *key)
{
    const struct version *version;
    struct redis_value value;
    int rc = txn_get_for_update(call->txn, head_of(call), key->data, key->size, &version);
    if (!rc)
        rc = redis_value_unpack(version, 0, &value);
    return rc || value.type == REDIS_TYPE_NONE ? rc : redis_value_delete(call, key, &value);
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
        return redis_value_delete(call, key, value);
    int rc = redis_value_keep(call, value);
    if (rc)
        return rc;
    const struct redis_slice data = {value->data, value->size};
    return value->spread
               ? redis_value_put_spread(call, key, value->type, expire_ms, value->id, data)
               : redis_value_put(call, key, value->type, expire_ms, data,
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
