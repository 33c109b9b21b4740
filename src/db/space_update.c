/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Update operations: a tuple taken apart into fields, changed one operation after the other, put
 * together again. Each operation sees what those before it did.
 *
 *   =      assign; behind the last element it appends, in a map it adds
 *   !      insert before; in a map: add what must not be there
 *   #      delete n elements
 *   + -    arithmetic on numbers
 *   & | ^  bit operations on unsigned integers
 *   :      splice of a string: position, length, text
 *
 * A field is named by number or name, or by a path into maps and arrays (codec/path.h). A name that
 * the format has is that field, also when it looks like a path. A path changes its field in place:
 * the bytes before and behind what it leads to are copied, with the new number of elements in the
 * head of each container on the way.
 *
 * Arithmetic is exact as long as both are integers (64 bits, signed or not: what does not fit is an
 * error) or one is a decimal; else it is that of doubles.
 *
 * Nothing can end an update before it is done, so its work is bounded: in operations, and in bytes
 * that inserting, deleting, splicing and going down paths move.
 */
#include "db/db_private.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/decimal.h"
#include "codec/mp.h"
#include "codec/path.h"

enum { OPERATIONS_MAX = 4000, NAME_SHOWN_MAX = 64 };
#define MOVED_BYTES_MAX ((size_t)512 << 20)

struct field {
    const char *data;
    size_t size;
};

struct change {
    struct arena *arena;
    const struct space *space; /* NULL: a tuple of none */
    struct field *fields;
    uint32_t count, capacity;
    int field_base;
    size_t moved_bytes;
    bool nested; /* values were put into others: how deep has to be looked at */
};

/* One operation, taken apart. */
struct operation {
    char code;
    int64_t field;    /* from 0 */
    struct path path; /* what is left of it behind the field; size 0: nothing */
    const char *args;
    uint32_t arg_count;
    char shown[NAME_SHOWN_MAX + 1]; /* the field as given, for messages */
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
    if (change->space != NULL)
        change->capacity += change->space->field_count; /* nils up to a field that is assigned */
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
    char *data = size > UINT32_MAX ? NULL : arena_alloc(change->arena, size);
    if (data == NULL)
        return no_memory();
    char *end = mp_encode_array(data, change->count);
    for (uint32_t i = 0; i < change->count; i++) {
        memcpy(end, change->fields[i].data, change->fields[i].size);
        end += change->fields[i].size;
    }
    *out = (struct tuple_ref){data, (uint32_t)(end - data)};
    const char *checked = data;
    if (change->nested && !mp_check_limited(&checked, end))
        return diag_set(ERROR_INVALID, "the update nests arrays and maps more than %d deep",
                        MP_DEPTH_MAX);
    return 0;
}

static int bad(const struct operation *op, const char *what)
{
    return diag_set(ERROR_INVALID, "update operation '%c' on field %s: %s", op->code, op->shown,
                    what);
}

static int absent(const struct operation *op)
{
    return bad(op, "the tuple has no such field");
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

/* ------------------------------------------------------------------------ reading operations */

static int number_resolve(struct change *change, int64_t number, struct operation *op)
{
    snprintf(op->shown, sizeof op->shown, "%lld", (long long)number);
    if (number < 0)
        op->field = (int64_t)change->count + number + (op->code == '!');
    else
        op->field = number - change->field_base;
    return op->field < 0 ? absent(op) : 0;
}

/* A name that the format has, or a path. */
static int name_resolve(struct change *change, const char *name, uint32_t size,
                        struct operation *op)
{
    const struct space *space = change->space;
    snprintf(op->shown, sizeof op->shown, "\"%.*s\"",
             size > NAME_SHOWN_MAX - 2 ? NAME_SHOWN_MAX - 2 : (int)size, name);
    if (space != NULL && (op->field = space_field(space, name, size)) >= 0)
        return 0;
    op->path = (struct path){.text = name, .size = size};
    struct path_step step = path_next(&op->path);
    if (!path_check(name, size, NULL))
        step.kind = PATH_BAD;
    if (step.kind == PATH_NUMBER)
        op->field = step.number - 1;
    else if (step.kind == PATH_NAME && space != NULL)
        op->field = space_field(space, step.name, step.size);
    else
        op->field = -1;
    if (op->field < 0 && space != NULL)
        return diag_set(ERROR_INVALID, "update operation '%c': space \"%s\" has no field %s",
                        op->code, space->name, op->shown);
    if (op->field < 0)
        return diag_set(ERROR_INVALID, "update operation '%c': there is no field %s", op->code,
                        op->shown);
    if (op->path.offset == op->path.size)
        op->path.size = 0;
    return 0;
}

/* Number (from field_base, negative from the end), name or path to a position. */
static int field_resolve(struct change *change, const char **data, struct operation *op)
{
    int64_t number;
    op->path.size = 0;
    if (mp_typeof(**data) == MP_STR) {
        uint32_t size;
        const char *name = mp_decode_str(data, &size);
        return name_resolve(change, name, size, op);
    }
    if (!mp_read_int(data, &number))
        return diag_set(ERROR_INVALID,
                        "update operation '%c' names its field by a number, a name or a path",
                        op->code);
    return number_resolve(change, number, op);
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

static struct field value_at(const char *data)
{
    const char *end = data;
    mp_next(&end);
    return (struct field){data, (size_t)(end - data)};
}

/* How many elements '#' deletes. */
static int delete_count(const struct operation *op, uint64_t *many)
{
    const char *arg = op->args;
    if (!mp_read_uint(&arg, many) || *many == 0)
        return bad(op, "the argument is the number of fields to delete, at least 1");
    return 0;
}

/* ------------------------------------------------------------------------- values of scalars */

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

static bool is_decimal(const char *value, struct decimal *out)
{
    int type;
    uint32_t size;
    if (mp_typeof(*value) != MP_EXT)
        return false;
    const char *data = mp_read_ext(&value, &type, &size);
    return type == DECIMAL_EXT && decimal_unpack(out, data, size);
}

/* Any number as a decimal; false: it is none, or not finite, or too large. */
static bool read_decimal(const char *value, struct decimal *out)
{
    double number;
    if (is_decimal(value, out))
        return true;
    if (mp_typeof(*value) == MP_UINT)
        decimal_of_uint(out, mp_decode_uint(&value));
    else if (mp_typeof(*value) == MP_INT)
        decimal_of_int(out, mp_decode_int(&value));
    else
        return read_double(value, &number) && decimal_of_double(out, number) == 0;
    return true;
}

/* 128 bits hold every sum of two 64-bit integers of either kind. */
static __int128 read_wide(const char *value)
{
    return mp_typeof(*value) == MP_UINT ? (__int128)mp_decode_uint(&value)
                                        : (__int128)mp_decode_int(&value);
}

static int value_set(struct change *change, const char *data, const char *end, struct field *out)
{
    size_t size = (size_t)(end - data);
    *out = (struct field){arena_copy(change->arena, data, size), size};
    return out->data == NULL ? no_memory() : 0;
}

static int integers_add(struct change *change, const struct operation *op, const char *present,
                        struct field *out)
{
    char encoded[16];
    __int128 sum = op->code == '+' ? read_wide(present) + read_wide(op->args)
                                   : read_wide(present) - read_wide(op->args);
    if (sum > (__int128)UINT64_MAX || sum < (__int128)INT64_MIN)
        return bad(op, "integer overflow: the result does not fit 64 bits");
    char *end =
        sum >= 0 ? mp_encode_uint(encoded, (uint64_t)sum) : mp_encode_int(encoded, (int64_t)sum);
    return value_set(change, encoded, end, out);
}

static int decimals_add(struct change *change, const struct operation *op, const char *present,
                        struct field *out)
{
    struct decimal left, right;
    char encoded[DECIMAL_MP_MAX];
    if (!read_decimal(present, &left) || !read_decimal(op->args, &right))
        return bad(op, "field and argument must be numbers that a decimal can hold");
    int rc = op->code == '+' ? decimal_add(&left, &left, &right)
                             : decimal_subtract(&left, &left, &right);
    if (rc != 0)
        return bad(op, "decimal overflow: the result has more than 38 digits");
    return value_set(change, encoded, decimal_pack(encoded, &left), out);
}

static int compute_arithmetic(struct change *change, const struct operation *op,
                              const char *present, struct field *out)
{
    struct decimal unused;
    double a, b;
    char encoded[16];
    if (is_integer(present) && is_integer(op->args))
        return integers_add(change, op, present, out);
    if (is_decimal(present, &unused) || is_decimal(op->args, &unused))
        return decimals_add(change, op, present, out);
    if (!read_double(present, &a))
        return bad(op, "the field is not a number");
    if (!read_double(op->args, &b))
        return bad(op, "the argument must be a number");
    char *end = mp_encode_double(encoded, op->code == '+' ? a + b : a - b);
    return value_set(change, encoded, end, out);
}

static int compute_bits(struct change *change, const struct operation *op, const char *present,
                        struct field *out)
{
    const char *arg = op->args;
    uint64_t a, b;
    if (!mp_read_uint(&present, &a) || !mp_read_uint(&arg, &b))
        return bad(op, "field and argument must be unsigned integers");
    uint64_t result = op->code == '&' ? a & b : op->code == '|' ? a | b : a ^ b;
    char encoded[16];
    return value_set(change, encoded, mp_encode_uint(encoded, result), out);
}

static int compute_splice(struct change *change, const struct operation *op, const char *present,
                          struct field *out)
{
    const char *arg = op->args;
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
    uint64_t result_size = (uint64_t)size - (uint64_t)cut + text_size;
    int rc = moves(change, result_size);
    if (rc != 0)
        return rc;
    char *data = result_size > UINT32_MAX - 5 ? NULL : arena_alloc(change->arena, result_size + 5);
    if (data == NULL)
        return no_memory();
    char *end = mp_encode_strl(data, (uint32_t)result_size);
    memcpy(end, string, (size_t)position);
    memcpy(end + position, text, text_size);
    memcpy(end + position + text_size, string + position + cut,
           size - (size_t)position - (size_t)cut);
    *out = (struct field){data, (size_t)(end + result_size - data)};
    return 0;
}

/* What becomes of a value that is there. */
static int compute(struct change *change, const struct operation *op, const char *present,
                   struct field *out)
{
    switch (op->code) {
    case '=':
        *out = value_at(op->args);
        return 0;
    case '+':
    case '-':
        return compute_arithmetic(change, op, present, out);
    case ':':
        return compute_splice(change, op, present, out);
    default:
        return compute_bits(change, op, present, out);
    }
}

/* ------------------------------------------------------------------------ inside of a field */

/* A container with `count` elements made of its old ones: what is between `cut` and `rest` gives way
 * to `middle` (whose first is a map's key). */
static int rebuild(struct change *change, const char *container, size_t container_size,
                   uint32_t count, const char *cut, const struct field middle[2], const char *rest,
                   struct field *out)
{
    const char *begin = container, *end = container + container_size;
    bool map = mp_typeof(*container) == MP_MAP;
    if (map)
        mp_decode_map(&begin);
    else
        mp_decode_array(&begin);
    size_t size = 5 + container_size + middle[0].size + middle[1].size;
    int rc = moves(change, size);
    if (rc != 0)
        return rc;
    char *data = arena_alloc(change->arena, size);
    if (data == NULL)
        return no_memory();
    char *p = map ? mp_encode_map(data, count) : mp_encode_array(data, count);
    memcpy(p, begin, (size_t)(cut - begin));
    p += cut - begin;
    for (int i = 0; i < 2; i++)
        if (middle[i].size > 0) {
            memcpy(p, middle[i].data, middle[i].size);
            p += middle[i].size;
        }
    memcpy(p, rest, (size_t)(end - rest));
    *out = (struct field){data, (size_t)(p + (end - rest) - data)};
    return 0;
}

static int change_map(struct change *change, const struct operation *op, struct path_step step,
                      struct field map, struct field *out);

/* The last step of a path, in an array. An empty one, which is what an empty table of Lua's becomes,
 * may be the map that gets its first key. */
static int change_array(struct change *change, const struct operation *op, struct path_step step,
                        struct field array, struct field *out)
{
    const char *data = array.data;
    uint32_t count = mp_decode_array(&data), at = step.number - 1;
    struct field middle[2] = {{NULL, 0}, {NULL, 0}};
    static const char empty_map[1] = {(char)0x80};
    uint64_t many = 1;
    int rc = 0;
    if (step.kind == PATH_NAME && count == 0 && (op->code == '=' || op->code == '!'))
        return change_map(change, op, step, (struct field){empty_map, 1}, out);
    if (step.kind != PATH_NUMBER)
        return bad(op, "there is an array, whose elements have numbers");
    if (at > count || (at == count && op->code != '=' && op->code != '!'))
        return op->code == '=' || op->code == '!' ? bad(op, "there is a gap before it")
                                                  : absent(op);
    for (uint32_t i = 0; i < at; i++)
        mp_next(&data);
    const char *rest = data;
    if (op->code == '#') {
        rc = delete_count(op, &many);
        many = many > count - at ? count - at : many;
    }
    bool inserts = op->code == '!' || at == count;
    for (uint64_t i = 0; rc == 0 && !inserts && i < many; i++)
        mp_next(&rest);
    if (rc == 0 && inserts)
        middle[0] = value_at(op->args);
    else if (rc == 0 && op->code != '#')
        rc = compute(change, op, data, &middle[0]);
    count = inserts ? count + 1 : op->code == '#' ? count - (uint32_t)many : count;
    return rc != 0 ? rc : rebuild(change, array.data, array.size, count, data, middle, rest, out);
}

/* The same in a map. */
static int change_map(struct change *change, const struct operation *op, struct path_step step,
                      struct field map, struct field *out)
{
    const char *data = map.data, *end = map.data + map.size;
    uint32_t count = mp_decode_map(&data);
    const char *present = path_child(map.data, &step);
    struct field middle[2] = {{NULL, 0}, {NULL, 0}};
    uint64_t many;
    if (present == NULL && ((op->code != '=' && op->code != '!') || step.kind == PATH_NUMBER))
        return absent(op); /* numbers are elements of arrays: none is made a key */
    if (present != NULL && op->code == '!')
        return bad(op, "the map has this key already");
    if (present == NULL) {
        char *key = arena_alloc(change->arena, step.size + 5);
        if (key == NULL)
            return no_memory();
        char *key_end = mp_encode_str(key, step.name, step.size);
        middle[0] = (struct field){key, (size_t)(key_end - key)};
        middle[1] = value_at(op->args);
        return rebuild(change, map.data, map.size, count + 1, end, middle, end, out);
    }
    const char *rest = present, *key = data;
    mp_next(&rest);
    if (op->code == '#') {
        int rc = delete_count(op, &many);
        for (const char *next = key; rc == 0; key = next) { /* the key before the value */
            mp_next(&next);
            if (next == present)
                break;
            mp_next(&next);
        }
        if (rc == 0 && many != 1)
            rc = bad(op, "of a map one key at a time is deleted");
        return rc != 0 ? rc
                       : rebuild(change, map.data, map.size, count - 1, key, middle, rest, out);
    }
    int rc = compute(change, op, present, &middle[0]);
    return rc != 0 ? rc : rebuild(change, map.data, map.size, count, present, middle, rest, out);
}

/* Goes down a path: `value` with what it leads to changed. At most as deep as the value is. */
static int change_inside(struct change *change, const struct operation *op, struct path path,
                         struct field value, struct field *out)
{
    struct path_step step = path_next(&path);
    enum mp_type type = mp_typeof(*value.data);
    if (step.kind == PATH_EACH)
        return bad(op, "an update can't name each element of an array");
    if (type != MP_ARRAY && type != MP_MAP)
        return bad(op, "the path leads through what is neither array nor map");
    if (path.offset == path.size)
        return type == MP_ARRAY ? change_array(change, op, step, value, out)
                                : change_map(change, op, step, value, out);
    const char *child = path_child(value.data, &step);
    if (child == NULL)
        return absent(op);
    struct field middle[2] = {{NULL, 0}, {NULL, 0}}, present = value_at(child);
    int rc = change_inside(change, op, path, present, &middle[0]);
    if (rc != 0)
        return rc;
    const char *data = value.data;
    uint32_t count = type == MP_ARRAY ? mp_decode_array(&data) : mp_decode_map(&data);
    return rebuild(change, value.data, value.size, count, child, middle, child + present.size, out);
}

/* ------------------------------------------------------------------------------ whole fields */

static int op_insert(struct change *change, const struct operation *op)
{
    if (op->field > change->count)
        return bad(op, "there is a gap before it");
    size_t bytes = (change->count - (size_t)op->field) * sizeof *change->fields;
    int rc = moves(change, bytes);
    if (rc != 0)
        return rc;
    memmove(&change->fields[op->field + 1], &change->fields[op->field], bytes);
    change->fields[op->field] = value_at(op->args);
    change->count++;
    return 0;
}

/* Fields before the one that is assigned, which the format has and lets be nil, become nil. */
static void fill_up(struct change *change, const struct operation *op)
{
    static const char nil[1] = {(char)0xc0};
    const struct space *space = change->space;
    if (space == NULL || op->field >= space->field_count)
        return;
    for (int64_t i = change->count; i < op->field; i++)
        if (!space->fields[i].nullable)
            return;
    while (change->count < op->field)
        change->fields[change->count++] = (struct field){nil, 1};
}

static int op_assign(struct change *change, const struct operation *op)
{
    if (op->field > change->count)
        fill_up(change, op);
    if (op->field == change->count)
        return op_insert(change, op);
    if (op->field > change->count)
        return bad(op, "there is a gap before it");
    change->fields[op->field] = value_at(op->args);
    return 0;
}

static int op_delete(struct change *change, const struct operation *op)
{
    uint64_t many;
    int rc = delete_count(op, &many);
    if (rc != 0)
        return rc;
    if (op->field >= change->count)
        return absent(op);
    if (many > change->count - (uint64_t)op->field)
        many = change->count - (uint64_t)op->field;
    size_t bytes = (change->count - (size_t)op->field - many) * sizeof *change->fields;
    if ((rc = moves(change, bytes)) != 0)
        return rc;
    memmove(&change->fields[op->field], &change->fields[op->field + (int64_t)many], bytes);
    change->count -= (uint32_t)many;
    return 0;
}

static int operation_apply(struct change *change, const struct operation *op)
{
    if (op->path.size == 0 && op->code == '=')
        return op_assign(change, op);
    if (op->path.size == 0 && op->code == '!')
        return op_insert(change, op);
    if (op->path.size == 0 && op->code == '#')
        return op_delete(change, op);
    if (op->field >= change->count)
        return absent(op);
    struct field *field = &change->fields[op->field];
    if (op->path.size == 0)
        return compute(change, op, field->data, field);
    change->nested = true;
    return change_inside(change, op, op->path, *field, field);
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

int space_tuple_update(struct arena *arena, const struct space *space, const char *tuple,
                       const char *ops, struct tuple_ref *out)
{
    int rc = db__array_check(ops, "update operations");
    return rc != 0 ? rc : db__tuple_update(arena, space, tuple, ops, 1, out);
}
