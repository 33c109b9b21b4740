/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MessagePack and what is made of it. The input is taken, in turn, as MessagePack, as a
 * MessagePack-RPC message, as key bytes and as JSON text. Checked, beside what the sanitizers see
 * (every buffer ends where its memory ends):
 *   - a value is accepted or refused, and its end found, alike at once and in pieces, and as
 *     msgpuck walks it;
 *   - an RPC message likewise;
 *   - of any two scalars in it, the keys order as the values do, and decode to what encodes to the
 *     same key;
 *   - key bytes that decode at all encode to the same bytes;
 *   - an accepted value has JSON that is parsed again, and whatever JSON is parsed gives
 *     MessagePack that is accepted.
 */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "codec/datetime.h"
#include "codec/decimal.h"
#include "codec/ext.h"
#include "codec/json.h"
#include "codec/key.h"
#include "codec/mp.h"
#include "codec/uuid.h"
#include "proto/msgpack_rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SCALARS_MAX = 12, PIECE_BYTES = 3 };

static char *copy_of(const void *data, size_t size)
{
    char *copy = malloc(size + (size == 0));
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    return copy;
}

static enum mp_scan_result scan_in_pieces(const uint8_t *data, size_t size, size_t *end)
{
    struct mp_scan scan;
    enum mp_scan_result result = MP_SCAN_MORE;
    size_t have = 0, need = 1;

    mp_scan_create(&scan);
    while (result == MP_SCAN_MORE && have < size) {
        have = have + PIECE_BYTES < size ? have + PIECE_BYTES : size;
        bool hopeless = have < need;
        char *copy = copy_of(data, have);
        result = mp_scan_advance(&scan, copy, have, &need);
        free(copy);
        ASSERT(result != MP_SCAN_MORE || need > have);
        ASSERT(result != MP_SCAN_DONE || !hopeless);
    }
    *end = scan.offset;
    return result;
}

/* ----------------------------------------------------------------------------------------- keys */

/* The order of types in keys; -1 for what is no scalar. */
static int rank_of(const char *value)
{
    switch (mp_typeof(*value)) {
    case MP_NIL:
        return 0;
    case MP_BOOL:
        return mp_decode_bool(&value) ? 2 : 1;
    case MP_UINT:
    case MP_INT:
    case MP_FLOAT:
    case MP_DOUBLE:
        return 3;
    case MP_STR:
        return 4;
    case MP_BIN:
        return 5;
    case MP_EXT:
        switch (ext_kind(value)) {
        case EXT_DECIMAL:
            return 3;
        case EXT_UUID:
            return 6;
        case EXT_DATETIME:
            return 7;
        default:
            return -1;
        }
    default:
        return -1;
    }
}

static const char *payload_of(const char *value, uint32_t *size)
{
    int type;
    return mp_read_ext(&value, &type, size);
}

static struct decimal decimal_of(const char *value)
{
    struct decimal result;
    uint32_t size;
    const char *data = payload_of(value, &size);
    ASSERT(decimal_unpack(&result, data, size) && decimal_is_valid(&result));
    return result;
}

/* 80 bits hold every number of MessagePack exactly. */
static long double number_of(const char *value)
{
    switch (mp_typeof(*value)) {
    case MP_UINT:
        return (long double)mp_decode_uint(&value);
    case MP_INT:
        return (long double)mp_decode_int(&value);
    case MP_FLOAT:
        return (long double)mp_decode_float(&value);
    default:
        return (long double)mp_decode_double(&value);
    }
}

static int compare_bytes(const void *a, size_t a_size, const void *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? (order > 0) - (order < 0) : (a_size > b_size) - (a_size < b_size);
}

/* A decimal with any number. */
static int compare_decimal(const char *a, const char *b)
{
    struct decimal left = decimal_of(a), right;

    if (mp_typeof(*b) == MP_FLOAT || mp_typeof(*b) == MP_DOUBLE)
        return decimal_compare_double(&left, (double)number_of(b));
    if (mp_typeof(*b) == MP_EXT)
        right = decimal_of(b);
    else if (mp_typeof(*b) == MP_UINT)
        decimal_of_uint(&right, mp_decode_uint(&b));
    else
        decimal_of_int(&right, mp_decode_int(&b));
    return decimal_compare(&left, &right);
}

static int compare_exts(const char *a, const char *b, int rank)
{
    struct datetime left, right;
    uint32_t a_size, b_size;
    const char *a_data = payload_of(a, &a_size), *b_data = payload_of(b, &b_size);

    if (rank == 6)
        return compare_bytes(a_data, a_size, b_data, b_size);
    ASSERT(datetime_unpack(&left, a_data, a_size) && datetime_unpack(&right, b_data, b_size));
    return datetime_compare(&left, &right);
}

static int compare_values(const char *a, const char *b)
{
    int a_rank = rank_of(a), b_rank = rank_of(b);
    uint32_t a_size, b_size;

    if (a_rank != b_rank)
        return a_rank < b_rank ? -1 : 1;
    if (a_rank < 3)
        return 0;
    if (a_rank == 3 && mp_typeof(*a) == MP_EXT)
        return compare_decimal(a, b);
    if (a_rank == 3 && mp_typeof(*b) == MP_EXT)
        return -compare_decimal(b, a);
    if (a_rank > 5)
        return compare_exts(a, b, a_rank);
    if (a_rank == 3)
        return (number_of(a) > number_of(b)) - (number_of(a) < number_of(b));
    a = mp_decode_strbin(&a, &a_size);
    b = mp_decode_strbin(&b, &b_size);
    return compare_bytes(a, a_size, b, b_size);
}

struct key {
    const char *value;
    unsigned char *data;
    size_t size;
};

/* Encodes the scalar at `value`; false when there is no key for it. Checks that it comes back. */
static bool key_make(const char *value, struct key *key)
{
    const char *at = value, *next = value;
    unsigned char *end;

    key->value = value;
    key->data = end = malloc(key_part_size_max(value));
    int rc = key_part_encode(&at, KEY_ANY, 1, &end);
    if (rc != 0) {
        ASSERT(rank_of(value) < 0 || (rc == ERROR_UNSUPPORTED && ext_kind(value) == EXT_DECIMAL) ||
               (rank_of(value) == 3 && isnan(number_of(value))));
        free(key->data);
        return false;
    }
    mp_next(&next);
    ASSERT(at == next);
    key->size = (size_t)(end - key->data);
    ASSERT(key->size <= key_part_size_max(value));

    char *back = malloc(2 * key->size + 16), *back_end = back;
    const unsigned char *key_at = key->data;
    ASSERT(key_part_decode(&key_at, end, &back_end) == 0 && key_at == end);
    ASSERT((size_t)(back_end - back) <= 2 * key->size + 16);
    ASSERT(compare_values(value, back) == 0);
    free(back);
    return true;
}

/* Every scalar of a checked value, in containers too, up to a bound. */
static void check_keys(const char *value, const char *end)
{
    struct key keys[SCALARS_MAX];
    size_t count = 0;

    while (value < end && count < SCALARS_MAX) {
        if (mp_typeof(*value) == MP_ARRAY) {
            mp_decode_array(&value);
            continue;
        }
        if (mp_typeof(*value) == MP_MAP) {
            mp_decode_map(&value);
            continue;
        }
        count += key_make(value, &keys[count]);
        mp_next(&value);
    }
    for (size_t a = 0; a < count; a++) {
        for (size_t b = 0; b < count; b++) {
            int order = compare_bytes(keys[a].data, keys[a].size, keys[b].data, keys[b].size);
            ASSERT(order == compare_values(keys[a].value, keys[b].value));
        }
    }
    for (size_t i = 0; i < count; i++)
        free(keys[i].data);
}

static void check_key_bytes(const uint8_t *data, size_t size)
{
    char *copy = copy_of(data, size), *value = malloc(2 * size + 16), *value_end = value;
    const unsigned char *key = (unsigned char *)copy, *at = key;

    if (key_part_decode(&at, key + size, &value_end) == 0) {
        const char *value_at = value;
        unsigned char *again = malloc(key_part_size_max(value)), *again_end = again;
        enum key_type type = *key == 0x18 ? KEY_DECIMAL : KEY_ANY;
        ASSERT(key_part_encode(&value_at, type, 1, &again_end) == 0 && value_at == value_end);
        ASSERT(compare_bytes(key, (size_t)(at - key), again, (size_t)(again_end - again)) == 0);
        free(again);
    }
    free(value);
    free(copy);
}

/* ----------------------------------------------------------------------------------------- JSON */

static void check_parsed(const char *text, size_t size, bool ours)
{
    struct json_buffer value;

    json_buffer_create(&value);
    diag_clear();
    int rc = json_to_msgpack(text, size, &value);
    if (rc == 0) {
        const char *at = value.data;
        ASSERT(mp_check_limited(&at, value.data + value.size));
        ASSERT(at == value.data + value.size);
    } else if (ours) {
        /* Only what the header names: unsigned integers above 2^63-1, decimals beyond; a NUL in
         * an object's key; and a map that looks like {"$msgpack": ..} of what is nested deep.
         */
        ASSERT(strstr(diag_message(), "too big integer") != NULL ||
               strstr(diag_message(), "too big negative integer") != NULL ||
               strstr(diag_message(), "NUL byte in object key") != NULL ||
               strstr(diag_message(), "nested deeper") != NULL);
    }
    json_buffer_destroy(&value);
}

static void check_json(const char *value, const char *end)
{
    struct json_buffer text;

    json_buffer_create(&text);
    ASSERT(json_from_msgpack(&text, &value) == 0 && value == end);
    check_parsed(text.data, text.size, true);
    json_buffer_destroy(&text);
}

/* ------------------------------------------------------------------------------------------ RPC */

static enum rpc_parse_result rpc_parse_in(const uint8_t *data, size_t size, size_t step,
                                          size_t *end, const char **error)
{
    struct rpc_parser parser;
    struct rpc_request request = {0};
    enum rpc_parse_result result = RPC_PARSE_MORE;
    size_t need;

    rpc_parser_create(&parser, 100000);
    for (size_t have = 0; result == RPC_PARSE_MORE && have < size;) {
        have = have + step < size ? have + step : size;
        char *copy = copy_of(data, have);
        result = rpc_parse(&parser, copy, have, &request, &need);
        if (result == RPC_PARSE_DONE) {
            const char *params = request.params;
            ASSERT(mp_check_limited(&params, request.params + request.params_size));
            ASSERT(params == copy + request.size);
        }
        free(copy);
    }
    *end = request.size;
    *error = parser.error;
    return result;
}

static void check_rpc(const uint8_t *data, size_t size)
{
    size_t end, end_in_pieces;
    const char *error, *error_in_pieces;
    enum rpc_parse_result result = rpc_parse_in(data, size, size, &end, &error);

    ASSERT(rpc_parse_in(data, size, 1, &end_in_pieces, &error_in_pieces) == result);
    ASSERT(end == end_in_pieces && error == error_in_pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = copy_of(data, size);
    const char *end = copy;
    size_t scanned;
    bool accepted = mp_check_limited(&end, copy + size);
    enum mp_scan_result result = scan_in_pieces(data, size, &scanned);

    ASSERT(accepted == (result == MP_SCAN_DONE));
    if (accepted) {
        const char *next = copy;
        mp_next(&next);
        ASSERT(next == end && scanned == (size_t)(end - copy));
        check_keys(copy, end);
        check_json(copy, end);
    } else {
        ASSERT(end == copy);
    }
    if (size > 0)
        check_rpc(data, size);
    check_key_bytes(data, size);
    check_parsed(copy, size, false);
    free(copy);
    return 0;
}
