/* SPDX-License-Identifier: Apache-2.0 */

/*
 * BITFIELD: a string as integers of any width at any bit.
 *
 * All operations are parsed before the first is done, so a wrong one leaves nothing. An overflow is
 * found in 128 bits, in which no sum of two fields overflows.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_bit.h"
#include "redis/redis_commands.h"

enum field_operation { FIELD_GET, FIELD_SET, FIELD_INCRBY };
enum field_overflow { OVERFLOW_WRAP, OVERFLOW_SAT, OVERFLOW_FAIL };

struct field {
    enum field_operation operation;
    enum field_overflow overflow;
    bool is_signed;
    unsigned width; /* bits: 1 .. 64, 63 when it has no sign */
    uint64_t at;    /* bit */
    int64_t amount; /* of SET and INCRBY */
};

static int type_parse(const struct redis_slice *text, struct field *field)
{
    int64_t width;
    field->is_signed = text->size && text->data[0] == 'i';
    if (text->size < 2 || (text->data[0] != 'i' && text->data[0] != 'u') ||
        !redis_integer_parse(text->data + 1, text->size - 1, &width) || width < 1 ||
        width > (field->is_signed ? 64 : 63))
        return diag_set(ERROR_INVALID, "Invalid bitfield type. Use something like i16 u8. Note "
                                       "that u64 is not supported but i64 is.");
    field->width = (unsigned)width;
    return 0;
}

static int overflow_parse(const struct redis_call *call, unsigned n, enum field_overflow *out)
{
    if (redis_word(call, n, "wrap"))
        *out = OVERFLOW_WRAP;
    else if (redis_word(call, n, "sat"))
        *out = OVERFLOW_SAT;
    else if (redis_word(call, n, "fail"))
        *out = OVERFLOW_FAIL;
    else
        return diag_set(ERROR_INVALID, "Invalid OVERFLOW type specified");
    return 0;
}

/* The operation at argv[*n], which is advanced behind it. */
static int field_parse(const struct redis_call *call, unsigned *n, struct field *field)
{
    unsigned behind = call->argc - *n - 1;
    if (redis_word(call, *n, "get") && behind >= 2)
        field->operation = FIELD_GET;
    else if (redis_word(call, *n, "set") && behind >= 3)
        field->operation = FIELD_SET;
    else if (redis_word(call, *n, "incrby") && behind >= 3)
        field->operation = FIELD_INCRBY;
    else
        return redis_syntax_error();
    int rc = type_parse(&call->argv[*n + 1], field);
    if (!rc)
        rc = redis_bit_offset(&call->argv[*n + 2], field->width, &field->at);
    if (!rc && field->operation != FIELD_GET)
        rc = redis_integer_arg(call, *n + 3, &field->amount);
    *n += field->operation == FIELD_GET ? 3 : 4;
    return rc;
}

/* All of them; *write_bits: where the last bit ends that is written, 0 when none is. */
static int fields_parse(const struct redis_call *call, struct field *fields, size_t *count,
                        uint64_t *write_bits)
{
    enum field_overflow overflow = OVERFLOW_WRAP;
    int rc = 0;
    *count = *write_bits = 0;
    for (unsigned n = 2; n < call->argc && !rc;) {
        if (redis_word(call, n, "overflow") && n + 1 < call->argc) {
            rc = overflow_parse(call, n + 1, &overflow);
            n += 2;
            continue;
        }
        struct field *field = &fields[(*count)++];
        *field = (struct field){.overflow = overflow};
        rc = field_parse(call, &n, field);
        if (field->operation != FIELD_GET && field->at + field->width > *write_bits)
            *write_bits = field->at + field->width;
    }
    return rc;
}

static uint64_t field_mask(const struct field *field)
{
    return field->width == 64 ? UINT64_MAX : ((uint64_t)1 << field->width) - 1;
}

/* The low bits as the number that they are. */
static __int128 field_number(const struct field *field, uint64_t bits)
{
    bits &= field_mask(field);
    bool negative = field->is_signed && bits >> (field->width - 1);
    return negative ? (__int128)bits - ((__int128)field_mask(field) + 1) : (__int128)bits;
}

static __int128 field_read(const struct field *field, const unsigned char *bytes, size_t size)
{
    uint64_t bits = 0;
    for (uint64_t at = field->at; at < field->at + field->width; at++) {
        bool bit = at >> 3 < size && bytes[at >> 3] & (0x80 >> (at & 7));
        bits = bits << 1 | bit;
    }
    return field_number(field, bits);
}

static void field_write(const struct field *field, unsigned char *bytes, uint64_t bits)
{
    for (unsigned n = 0; n < field->width; n++) {
        uint64_t at = field->at + field->width - 1 - n;
        unsigned char mask = (unsigned char)(0x80 >> (at & 7)), *byte = &bytes[at >> 3];
        *byte = (unsigned char)(bits >> n & 1 ? *byte | mask : *byte & ~mask);
    }
}

/* Brings a sum into the field's range by its rule for overflows; false when that is to fail. */
static bool field_fit(const struct field *field, __int128 *value)
{
    __int128 max = field->is_signed ? (__int128)(field_mask(field) >> 1) : field_mask(field);
    __int128 min = field->is_signed ? -max - 1 : 0;
    if (*value >= min && *value <= max)
        return true;
    if (field->overflow == OVERFLOW_SAT)
        *value = *value > max ? max : min;
    else
        *value = field_number(field, (uint64_t)*value);
    return field->overflow != OVERFLOW_FAIL;
}

static void field_run(struct redis_call *call, const struct field *field, unsigned char *bytes,
                      size_t size)
{
    __int128 old = field_read(field, bytes, size), value = old;
    if (field->operation == FIELD_SET) /* without a sign a negative number is a very large one */
        value = field->is_signed ? (__int128)field->amount : (__int128)(uint64_t)field->amount;
    else if (field->operation == FIELD_INCRBY)
        value += field->amount;
    if (field->operation != FIELD_GET) {
        if (!field_fit(field, &value)) {
            call->sink->vtab->null(call->sink);
            return;
        }
        field_write(field, bytes, (uint64_t)value);
    }
    call->sink->vtab->integer(call->sink,
                              (int64_t)(field->operation == FIELD_INCRBY ? value : old));
}

static int fields_run(struct redis_call *call, const struct field *fields, size_t count,
                      uint64_t write_bits)
{
    struct redis_key key;
    struct redis_value value;
    unsigned char *bytes;
    size_t size;
    int rc = write_bits ? redis_string_get_for_update(call, 1, &key, &value)
                        : redis_string_get(call, 1, &key, &value);
    if (!rc)
        rc = redis_bit_grown(call, &value, (size_t)((write_bits + 7) >> 3), &bytes, &size);
    if (rc)
        return rc;
    call->sink->vtab->array(call->sink, count);
    for (size_t n = 0; n < count; n++)
        field_run(call, &fields[n], bytes, size);
    if (!write_bits)
        return 0;
    rc = redis_string_put(call, &key, value.expire_ms,
                          (struct redis_slice){(const char *)bytes, size},
                          (struct redis_slice){NULL, 0});
    return rc ? rc
              : redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_STRING, "setbit");
}

static int bitfield(struct redis_call *call, bool readonly)
{
    uint64_t write_bits;
    size_t count;
    struct field *fields = arena_alloc(txn_arena(call->txn), (call->argc / 3 + 1) * sizeof *fields);
    if (!fields)
        return diag_set(ERROR_MEMORY, "out of memory");
    int rc = fields_parse(call, fields, &count, &write_bits);
    if (!rc && readonly && write_bits)
        return diag_set(ERROR_INVALID, "BITFIELD_RO only supports the GET subcommand");
    return rc ? rc : fields_run(call, fields, count, write_bits);
}

int redis__bitfield(struct redis_call *call)
{
    return bitfield(call, false);
}

int redis__bitfield_ro(struct redis_call *call)
{
    return bitfield(call, true);
}
