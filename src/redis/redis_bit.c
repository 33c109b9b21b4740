/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Strings as arrays of bits: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP.
 *
 * Bit 0 is the highest of the first byte. A string is as if zeros followed it without end, except
 * where a command was given an end. BITFIELD is in redis_bitfield.c.
 */
#include "redis/redis_bit.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"

static int reply_integer(struct redis_call *call, int rc, int64_t value)
{
    if (!rc)
        call->sink->vtab->integer(call->sink, value);
    return rc;
}

int redis_bit_offset(const struct redis_slice *text, unsigned scale, uint64_t *out)
{
    int64_t offset;
    bool scaled = scale && text->size && text->data[0] == '#';
    bool right = redis_integer_parse(text->data + scaled, text->size - scaled, &offset);
    if (right && scaled)
        right = !__builtin_mul_overflow(offset, (int64_t)scale, &offset);
    if (!right || offset < 0 || offset >> 3 >= REDIS_BIT_BYTES_MAX)
        return diag_set(ERROR_INVALID, "bit offset is not an integer or out of range");
    *out = (uint64_t)offset;
    return 0;
}

int redis_bit_grown(struct redis_call *call, const struct redis_value *value, size_t size,
                    unsigned char **out, size_t *out_size)
{
    *out_size = value->size > size ? value->size : size;
    if (*out_size > REDIS_STRING_SIZE_MAX)
        return diag_set(ERROR_TOO_LARGE,
                        "string exceeds maximum allowed size (proto-max-bulk-len)");
    *out = arena_alloc(txn_arena(call->txn), *out_size ? *out_size : 1);
    if (!*out)
        return diag_set(ERROR_MEMORY, "out of memory");
    if (value->size)
        memcpy(*out, value->data, value->size);
    memset(*out + value->size, 0, *out_size - value->size);
    return 0;
}

static int bit_arg(const struct redis_call *call, unsigned n, int64_t *bit)
{
    if (redis_integer_parse(call->argv[n].data, call->argv[n].size, bit) && (*bit & ~1) == 0)
        return 0;
    return diag_set(ERROR_INVALID, "bit is not an integer or out of range");
}

int redis__setbit(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    uint64_t offset;
    int64_t bit;
    unsigned char *bytes;
    size_t size;
    int rc = redis_bit_offset(&call->argv[2], 0, &offset);
    if (!rc)
        rc = bit_arg(call, 3, &bit);
    if (!rc)
        rc = redis_string_get_for_update(call, 1, &key, &value);
    if (!rc)
        rc = redis_bit_grown(call, &value, (size_t)(offset >> 3) + 1, &bytes, &size);
    if (rc)
        return rc;
    unsigned char mask = (unsigned char)(0x80 >> (offset & 7)), *byte = &bytes[offset >> 3];
    bool old = *byte & mask;
    *byte = (unsigned char)(bit ? *byte | mask : *byte & ~mask);
    rc = redis_string_put(call, &key, value.expire_ms,
                          (struct redis_slice){(const char *)bytes, size},
                          (struct redis_slice){NULL, 0});
    if (!rc)
        rc = redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_STRING, "setbit");
    return reply_integer(call, rc, old);
}

static bool bit_at(const char *data, uint64_t at)
{
    return (unsigned char)data[at >> 3] & (0x80 >> (at & 7));
}

int redis__getbit(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    uint64_t offset;
    int rc = redis_bit_offset(&call->argv[2], 0, &offset);
    if (!rc)
        rc = redis_string_get(call, 1, &key, &value);
    return reply_integer(call, rc, !rc && offset >> 3 < value.size && bit_at(value.data, offset));
}

/* --------------------------------------------------------------------------------------- ranges */

/* What BITCOUNT and BITPOS look at. */
struct range {
    int64_t from, to; /* as given */
    bool bits;        /* counted in bits, not in bytes */
    bool end_given;
};

static int unit_parse(const struct redis_call *call, unsigned n, struct range *range)
{
    if (call->argc <= n)
        return 0;
    range->bits = redis_word(call, n, "bit");
    return range->bits || redis_word(call, n, "byte") ? 0 : redis_syntax_error();
}

static bool range_turned(const struct range *range)
{
    return range->from < 0 && range->to < 0 && range->from > range->to;
}

/* argv[n] and what follows: [start [end [BYTE | BIT]]]. Of two mistakes BITPOS tells of the unit's
 * first, BITCOUNT of the end's. */
static int range_parse(const struct redis_call *call, unsigned n, bool unit_first,
                       struct range *range)
{
    *range = (struct range){.from = 0, .to = -1, .end_given = call->argc > n + 1};
    if (call->argc > n + 3)
        return redis_syntax_error();
    int rc = call->argc > n ? redis_integer_arg(call, n, &range->from) : 0;
    if (!rc && unit_first)
        rc = unit_parse(call, n + 2, range);
    if (!rc && range->end_given)
        rc = redis_integer_arg(call, n + 1, &range->to);
    if (rc || unit_first || range_turned(range)) /* nothing: no need to know the unit */
        return rc;
    return unit_parse(call, n + 2, range);
}

/* The same in bits of a string of `size` bytes, [*from, *to); false when it is empty. */
static bool range_resolve(const struct range *range, uint32_t size, uint64_t *from, uint64_t *to)
{
    int64_t total = range->bits ? (int64_t)size * 8 : size;
    int64_t first = range->from < 0 ? range->from + total : range->from;
    int64_t last = range->to < 0 ? range->to + total : range->to;
    first = first < 0 ? 0 : first;
    last = last < 0 ? 0 : last;
    last = last >= total ? total - 1 : last; /* -1 of an empty string */
    if (first > last)
        return false;
    *from = (uint64_t)first * (range->bits ? 1 : 8);
    *to = (uint64_t)(last + 1) * (range->bits ? 1 : 8);
    return true;
}

static uint64_t word_at(const char *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

static uint64_t count_bits(const char *data, uint64_t from, uint64_t to)
{
    uint64_t count = 0;
    for (; from < to && from & 7; from++)
        count += bit_at(data, from);
    for (; to - from >= 64; from += 64)
        count += (uint64_t)__builtin_popcountll(word_at(data + (from >> 3)));
    for (; from < to; from++)
        count += bit_at(data, from);
    return count;
}

int redis__bitcount(struct redis_call *call)
{
    struct range range;
    struct redis_key key;
    struct redis_value value;
    uint64_t from, to;
    int rc = redis_string_get(call, 1, &key, &value);
    if (rc || value.type == REDIS_TYPE_NONE) /* whatever the arguments are */
        return reply_integer(call, rc, 0);
    if (call->argc == 3)
        return redis_syntax_error();
    rc = range_parse(call, 2, false, &range);
    if (rc)
        return rc;
    bool some =
        !range_turned(&range) && value.size && range_resolve(&range, value.size, &from, &to);
    return reply_integer(call, 0, some ? (int64_t)count_bits(value.data, from, to) : 0);
}

/* The first bit that is `bit`; `to` when there is none. */
static uint64_t find_bit(const char *data, uint64_t from, uint64_t to, bool bit)
{
    const uint64_t none = bit ? 0 : UINT64_MAX;
    for (; from < to && from & 7; from++)
        if (bit_at(data, from) == bit)
            return from;
    while (to - from >= 64 && word_at(data + (from >> 3)) == none)
        from += 64;
    while (from < to && bit_at(data, from) != bit)
        from++;
    return from;
}

int redis__bitpos(struct redis_call *call)
{
    struct range range;
    struct redis_key key;
    struct redis_value value;
    int64_t bit;
    uint64_t from, to;
    int rc = redis_integer_arg(call, 2, &bit);
    if (!rc && (bit & ~1))
        return diag_set(ERROR_INVALID, "The bit argument must be 1 or 0.");
    if (!rc)
        rc = redis_string_get(call, 1, &key, &value);
    if (rc || value.type == REDIS_TYPE_NONE) /* whatever the arguments are */
        return reply_integer(call, rc, bit ? -1 : 0);
    rc = range_parse(call, 3, true, &range);
    if (rc)
        return rc;
    if (!range_resolve(&range, value.size, &from, &to))
        return reply_integer(call, 0, -1);
    uint64_t at = find_bit(value.data, from, to, bit);
    bool found = at < to || (!bit && !range.end_given);
    return reply_integer(call, 0, found ? (int64_t)at : -1);
}

/* ---------------------------------------------------------------------------------------- BITOP */

enum bitop { BITOP_AND, BITOP_OR, BITOP_XOR, BITOP_NOT };

static int bitop_parse(const struct redis_call *call, enum bitop *op)
{
    static const char *const NAMES[] = {"and", "or", "xor", "not"};
    unsigned n = 0;
    while (n < 4 && !redis_word(call, 1, NAMES[n]))
        n++;
    if (n == 4)
        return redis_syntax_error();
    *op = (enum bitop)n;
    if (*op == BITOP_NOT && call->argc != 4)
        return diag_set(ERROR_INVALID, "BITOP NOT must be called with a single source key.");
    return 0;
}

/* Folds the next string into the result, as if zeros followed it. */
static void bitop_fold(enum bitop op, unsigned char *result, size_t size,
                       const struct redis_value *value)
{
    for (size_t n = 0; n < size; n++) {
        unsigned char byte = n < value->size ? (unsigned char)value->data[n] : 0;
        if (op == BITOP_AND)
            result[n] &= byte;
        else if (op == BITOP_OR)
            result[n] |= byte;
        else
            result[n] ^= byte;
    }
}

static int bitop_calculate(struct redis_call *call, enum bitop op, const struct redis_value *values,
                           size_t size, unsigned char **result)
{
    unsigned count = call->argc - 3;
    int rc = redis_bit_grown(call, &values[0], size, result, &size);
    for (unsigned n = 1; n < count && !rc; n++)
        bitop_fold(op, *result, size, &values[n]);
    for (size_t n = 0; op == BITOP_NOT && !rc && n < size; n++)
        (*result)[n] = (unsigned char)~(*result)[n];
    return rc;
}

/* The result to argv[2]; an empty one is none. */
static int bitop_store(struct redis_call *call, struct redis_slice result)
{
    struct redis_key key;
    struct redis_value old;
    int rc = redis_value_get_for_update(call, 2, &key, &old);
    if (rc || (!result.size && old.type == REDIS_TYPE_NONE))
        return rc;
    rc = result.size ? redis_string_put(call, &key, 0, result, (struct redis_slice){NULL, 0})
                     : redis_value_delete(call, &key, &old);
    if (rc)
        return rc;
    return redis_changed(call, &call->argv[2], REDIS_TYPE_NONE,
                         result.size ? REDIS_NOTIFY_STRING : REDIS_NOTIFY_GENERIC,
                         result.size ? "set" : "del");
}

int redis__bitop(struct redis_call *call)
{
    enum bitop op = BITOP_AND;
    struct redis_key key;
    unsigned char *result;
    size_t size = 0;
    int rc = bitop_parse(call, &op);
    unsigned count = call->argc - 3;
    struct redis_value *values = arena_alloc(txn_arena(call->txn), count * sizeof *values);
    if (!rc && !values)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (unsigned n = 0; n < count && !rc; n++) {
        rc = redis_string_get(call, n + 3, &key, &values[n]);
        if (!rc && values[n].size > size)
            size = values[n].size;
    }
    if (!rc)
        rc = bitop_calculate(call, op, values, size, &result);
    if (!rc)
        rc = bitop_store(call, (struct redis_slice){(const char *)result, size});
    return reply_integer(call, rc, (int64_t)size);
}
