/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Update operations: a tuple taken apart into fields, changed one operation after the other, put
 * together again. Each operation sees what those before it did.
 *
 *   =      assign; field count + 1 appends
 *   !      insert before
 *   #      delete n fields
 *   + -    arithmetic on numbers
 *   & | ^  bit operations on unsigned integers
 *   :      splice of a string: position, length, text
 *
 * Nothing can end an update before it is done, so its work is bounded: in operations, and in bytes
 * that inserting, deleting and splicing move.
 */
#include "db/db_private.h"

#include <math.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

enum { OPERATIONS_MAX = 4000 };
#define MOVED_BYTES_MAX ((size_t)512 << 20)

struct field {
    const char *data;
    size_t size;
};

struct change {
    struct arena *arena;
    const struct space *space;
    struct field *fields;
    uint32_t count, capacity;
    int field_base;
    size_t moved_bytes;
};

/* One operation, taken apart. */
struct operation {
    char code;
    int64_t field;          /* from 0 */
    const char *field_text; /* as given, for messages */
    const char *args;
    uint32_t arg_count;
};

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for an update");
}

static int take_apart(struct change *change, const char *tuple, uint32_t op_count)
{
    const char *data = tuple;
    change->count = mp_decode_array(&data);
    change->capacity = change->count + op_count;
    change->fields = arena_alloc(change->arena, (change->capacity + 1) * sizeof *change->fields);
    if (change->fields == NULL)
        return no_memory();
    for (uint32_t i = 0; i < change->count; i++) {
        const char *start = data;
        mp_next(&data);
        change->fields[i] = (struct field){start, (size_t)(data - start)};
    }
    return 0;
}

static int put_together(struct change *change, struct tuple_ref *out)
{
    size_t size = 5;
    for (uint32_t i = 0; i < change->count; i++)
        size += change->fields[i].size;
    char *data = arena_alloc(change->arena, size);
    if (data == NULL)
        return no_memory();
    char *end = mp_encode_array(data, change->count);
    for (uint32_t i = 0; i < change->count; i++) {
        memcpy(end, change->fields[i].data, change->fields[i].size);
        end += change->fields[i].size;
    }
    *out = (struct tuple_ref){data, (uint32_t)(end - data)};
    return 0;
}

static int bad(const struct operation *op, const char *what)
{
    return diag_set(ERROR_INVALID, "update operation '%c' on field %lld: %s", op->code,
                    (long long)op->field + 1, what);
}

/* Number (from field_base, negative from the end) or name to a position. */
static int field_resolve(struct change *change, const char **data, struct operation *op)
{
    if (mp_typeof(**data) == MP_STR) {
        uint32_t size;
        const char *name = mp_decode_str(data, &size);
        op->field = space_field(change->space, name, size);
        if (op->field < 0)
            return diag_set(ERROR_INVALID, "space \"%s\" has no field \"%.*s\"",
                            change->space->name, (int)size, name);
        return 0;
    }
    int64_t number;
    if (!mp_read_int(data, &number))
        return diag_set(ERROR_INVALID, "an update operation names its field by number or name");
    if (number < 0)
        op->field = (int64_t)change->count + number +
                    (op->code == '!' || op->code == '=' ? (op->code == '!') : 0);
    else
        op->field = number - change->field_base;
    if (op->field < 0)
        return diag_set(
            ERROR_INVALID,
            "an update operation names field %lld, which the tuple of %u fields does not have",
            (long long)number, change->count);
    return 0;
}

static int operation_read(struct change *change, const char **data, struct operation *op)
{
    if (mp_typeof(**data) != MP_ARRAY)
        return diag_set(ERROR_INVALID,
                        "an update operation is an array: {operator, field, argument}");
    uint32_t count = mp_decode_array(data), size = 0;
    const char *code = count >= 3 && mp_typeof(**data) == MP_STR ? mp_decode_str(data, &size) : "";
    if (size != 1 || strchr("=!#+-&|^:", *code) == NULL)
        return diag_set(ERROR_INVALID, "an update operation is {operator, field, argument} with "
                                       "one of = ! # + - & | ^ : as operator");
    op->code = *code;
    op->arg_count = count - 2;
    if (op->arg_count != (op->code == ':' ? 3 : 1))
        return diag_set(ERROR_INVALID, "update operation '%c' takes %d argument%s", op->code,
                        op->code == ':' ? 3 : 1,
                        op->code == ':' ? "s: position, length, text" : "");
    int rc = field_resolve(change, data, op);
    op->args = *data;
    for (uint32_t i = 0; rc == 0 && i < op->arg_count; i++)
        mp_next(data);
    return rc;
}

/* Counts what an operation is about to move. */
static int moves(struct change *change, size_t bytes)
{
    change->moved_bytes += bytes;
    if (change->moved_bytes > MOVED_BYTES_MAX)
        return diag_set(ERROR_INVALID,
                        "the operations of an update move more than %zu MB: make several of it",
                        MOVED_BYTES_MAX >> 20);
    return 0;
}

static struct field arg_field(const struct operation *op)
{
    const char *end = op->args;
    mp_next(&end);
    return (struct field){op->args, (size_t)(end - op->args)};
}

static int op_insert(struct change *change, const struct operation *op)
{
    if (op->field > change->count)
        return bad(op, "there is a gap before it");
    size_t bytes = (change->count - (size_t)op->field) * sizeof *change->fields;
    int rc = moves(change, bytes);
    if (rc != 0)
        return rc;
    memmove(&change->fields[op->field + 1], &change->fields[op->field], bytes);
    change->fields[op->field] = arg_field(op);
    change->count++;
    return 0;
}

static int op_assign(struct change *change, const struct operation *op)
{
    if (op->field == change->count)
        return op_insert(change, op);
    if (op->field > change->count)
        return bad(op, "there is a gap before it");
    change->fields[op->field] = arg_field(op);
    return 0;
}

static int op_delete(struct change *change, const struct operation *op)
{
    const char *arg = op->args;
    uint64_t many;
    if (!mp_read_uint(&arg, &many) || many == 0)
        return bad(op, "the argument is the number of fields to delete, at least 1");
    if (op->field >= change->count)
        return bad(op, "the tuple has no such field");
    if (many > change->count - (uint64_t)op->field)
        many = change->count - (uint64_t)op->field;
    size_t bytes = (change->count - (size_t)op->field - many) * sizeof *change->fields;
    int rc = moves(change, bytes);
    if (rc != 0)
        return rc;
    memmove(&change->fields[op->field], &change->fields[op->field + (int64_t)many], bytes);
    change->count -= (uint32_t)many;
    return 0;
}

static bool is_integer(const char *value)
{
    return mp_typeof(*value) == MP_UINT || mp_typeof(*value) == MP_INT;
}

static bool read_double(const char *value, double *out)
{
    switch (mp_typeof(*value)) {
    case MP_UINT:
        *out = (double)mp_decode_uint(&value);
        return true;
    case MP_INT:
        *out = (double)mp_decode_int(&value);
        return true;
    case MP_FLOAT:
        *out = mp_decode_float(&value);
        return true;
    case MP_DOUBLE:
        *out = mp_decode_double(&value);
        return true;
    default:
        return false;
    }
}

/* 128 bits hold every sum of two 64-bit integers of either kind. */
static __int128 read_wide(const char *value)
{
    return mp_typeof(*value) == MP_UINT ? (__int128)mp_decode_uint(&value)
                                        : (__int128)mp_decode_int(&value);
}

static int field_set(struct change *change, const struct operation *op, const char *data,
                     size_t size)
{
    char *copy = arena_copy(change->arena, data, size);
    if (copy == NULL)
        return no_memory();
    change->fields[op->field] = (struct field){copy, size};
    return 0;
}

static int op_arithmetic(struct change *change, const struct operation *op)
{
    const char *present = change->fields[op->field].data;
    char encoded[16], *end;
    if (is_integer(present) && is_integer(op->args)) {
        __int128 sum = op->code == '+' ? read_wide(present) + read_wide(op->args)
                                       : read_wide(present) - read_wide(op->args);
        if (sum > (__int128)UINT64_MAX || sum < (__int128)INT64_MIN)
            return bad(op, "the result does not fit 64 bits");
        end = sum >= 0 ? mp_encode_uint(encoded, (uint64_t)sum)
                       : mp_encode_int(encoded, (int64_t)sum);
    } else {
        double a, b;
        if (!read_double(present, &a) || !read_double(op->args, &b))
            return bad(op, "field and argument must be numbers");
        end = mp_encode_double(encoded, op->code == '+' ? a + b : a - b);
    }
    return field_set(change, op, encoded, (size_t)(end - encoded));
}

static int op_bits(struct change *change, const struct operation *op)
{
    const char *present = change->fields[op->field].data, *arg = op->args;
    uint64_t a, b;
    if (!mp_read_uint(&present, &a) || !mp_read_uint(&arg, &b))
        return bad(op, "field and argument must be unsigned integers");
    uint64_t result = op->code == '&' ? a & b : op->code == '|' ? a | b : a ^ b;
    char encoded[16];
    char *end = mp_encode_uint(encoded, result);
    return field_set(change, op, encoded, (size_t)(end - encoded));
}

static int op_splice(struct change *change, const struct operation *op)
{
    const char *present = change->fields[op->field].data, *arg = op->args;
    int64_t position, cut;
    if (mp_typeof(*present) != MP_STR || !mp_read_int(&arg, &position) ||
        !mp_read_int(&arg, &cut) || mp_typeof(*arg) != MP_STR)
        return bad(op, "the field must be a string, the arguments position, length, text");
    uint32_t size, text_size;
    const char *string = mp_decode_str(&present, &size), *text = mp_decode_str(&arg, &text_size);
    if (position < 0)
        position += (int64_t)size + 1;
    else
        position -= change->field_base;
    if (position < 0)
        return bad(op, "the position lies before the string");
    if (position > size)
        position = size;
    if (cut < 0)
        cut = (int64_t)size - position + cut < 0 ? 0 : (int64_t)size - position + cut;
    if (cut > (int64_t)size - position)
        cut = (int64_t)size - position;
    int rc = moves(change, (size_t)size - (size_t)cut + text_size);
    if (rc != 0)
        return rc;
    uint32_t result_size = size - (uint32_t)cut + text_size;
    char *data = arena_alloc(change->arena, (size_t)result_size + 5);
    if (data == NULL)
        return no_memory();
    char *end = mp_encode_strl(data, result_size);
    memcpy(end, string, (size_t)position);
    memcpy(end + position, text, text_size);
    memcpy(end + position + text_size, string + position + cut,
           size - (size_t)position - (size_t)cut);
    change->fields[op->field] = (struct field){data, (size_t)(end + result_size - data)};
    return 0;
}

static int operation_apply(struct change *change, const struct operation *op)
{
    switch (op->code) {
    case '=':
        return op_assign(change, op);
    case '!':
        return op_insert(change, op);
    case '#':
        return op_delete(change, op);
    default:
        break;
    }
    if (op->field >= change->count)
        return bad(op, "the tuple has no such field");
    switch (op->code) {
    case '+':
    case '-':
        return op_arithmetic(change, op);
    case ':':
        return op_splice(change, op);
    default:
        return op_bits(change, op);
    }
}

int db__tuple_update(struct arena *arena, const struct space *space, const char *tuple,
                     const char *ops, int field_base, struct tuple_ref *out)
{
    struct change change = {.arena = arena, .space = space, .field_base = field_base};
    uint32_t op_count = mp_decode_array(&ops);
    if (op_count > OPERATIONS_MAX)
        return diag_set(ERROR_INVALID, "an update has at most %d operations, not %u",
                        OPERATIONS_MAX, op_count);
    int rc = take_apart(&change, tuple, op_count);
    for (uint32_t i = 0; rc == 0 && i < op_count; i++) {
        struct operation op;
        rc = operation_read(&change, &ops, &op);
        if (rc == 0)
            rc = operation_apply(&change, &op);
    }
    return rc != 0 ? rc : put_together(&change, out);
}
