/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tuples against the format of their space: what it puts into them, and whether they fit.
 *
 * Checking is done for every write, so a field costs a look at its first byte, a bit test and a step
 * to the next one. Shaping happens only in spaces that have defaults or generated fields: the tuple
 * is taken apart into fields and put together again.
 *
 * A default takes the place of a field that is nil or not there. Those that are computed see the
 * tuple with the other defaults in it, their own too when the field has one by value. A generated
 * field is computed last, from a tuple in which generated fields behind it are nil. What a user
 * gives for one must be nil or what comes out; of an update only what its operations have changed
 * counts as given.
 */
#include "db/format_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

enum { ROW_TEXT_MAX = 160 };

/* ": row {1}" when the tuple has a whole primary key. */
static const char *row_text(const struct space *space, const char *tuple, char *out, size_t size)
{
    static const char prefix[] = ": row ";
    const struct index *primary = space->index_count > 0 ? space->indexes[0] : NULL;
    for (uint32_t i = 0; primary != NULL && i < primary->part_count; i++) {
        const char *value = mp_array_at(tuple, primary->parts[i].field);
        if (value == NULL || mp_typeof(*value) == MP_NIL)
            primary = NULL;
    }
    if (primary == NULL)
        return "";
    memcpy(out, prefix, sizeof prefix);
    db__row_text(space, tuple, out + sizeof prefix - 1, size - sizeof prefix + 1);
    return out;
}

static int field_error(const struct space *space, uint32_t i, const char *value, const char *tuple)
{
    char row[ROW_TEXT_MAX];
    const struct field_def *field = &space->fields[i];
    if (field->kind == FIELD_ANY)
        return diag_set(ERROR_SCHEMA, "field %u (%s) of space \"%s\" must not be nil%s", i + 1,
                        field->name, space->name, row_text(space, tuple, row, sizeof row));
    return diag_set(ERROR_SCHEMA, "field %u (%s) of space \"%s\" must be %s%s, not %s%s", i + 1,
                    field->name, space->name, field->type_name, field->nullable ? " or nil" : "",
                    value_type_name(value), row_text(space, tuple, row, sizeof row));
}

static int field_missing(const struct space *space, uint32_t count, const char *tuple)
{
    char row[ROW_TEXT_MAX];
    while (space->fields[count].nullable)
        count++;
    return diag_set(ERROR_SCHEMA, "field %u (%s) of space \"%s\" is missing%s", count + 1,
                    space->fields[count].name, space->name,
                    row_text(space, tuple, row, sizeof row));
}

int db__tuple_check(const struct space *space, const char *tuple, size_t size)
{
    char row[ROW_TEXT_MAX];
    const char *data = tuple;
    if (size == 0 || mp_typeof(*data) != MP_ARRAY)
        return diag_set(ERROR_SCHEMA, "a tuple must be an array");
    if (size > UINT32_MAX / 2)
        return diag_set(ERROR_TOO_LARGE, "a tuple of %zu bytes is above the limit of 2 GiB", size);
    uint32_t given = mp_decode_array(&data), count = given;
    if (space->exact_count != 0 && given != space->exact_count)
        return diag_set(ERROR_SCHEMA, "a tuple of space \"%s\" has exactly %u fields, not %u%s",
                        space->name, space->exact_count, given,
                        row_text(space, tuple, row, sizeof row));
    if (count < space->required_count)
        return field_missing(space, count, tuple);
    if (count > space->field_count)
        count = space->field_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t accepts = space->accepts[i];
        if (!(accepts >> mp_typeof(*data) & 1) &&
            !field_accepts(accepts, space->fields[i].kind, data))
            return field_error(space, i, data, tuple);
        mp_next(&data);
    }
    return 0;
}

int db__evaluate(const struct space *space, const struct expression *expression, const char *tuple,
                 struct mp_buffer *out)
{
    const struct store *store = space->head->arg;
    const struct db_expressions *expressions = store->db->expressions;
    if (expressions == NULL)
        return diag_set(ERROR_UNSUPPORTED, "space \"%s\": %s cannot be evaluated here", space->name,
                        expression->name);
    int rc = expressions->evaluate(expressions->arg, expression, space, tuple, out);
    if (rc == 0 && out->failed)
        rc = diag_set(ERROR_MEMORY, "no memory for the result of an expression");
    return rc;
}

struct piece {
    const char *data;
    uint32_t size;
};

struct shape {
    struct arena *arena;
    const struct space *space;
    struct piece *fields;
    uint32_t count;
    struct mp_buffer results;
};

static const char nil[1] = {(char)0xc0};
static const struct piece nil_piece = {nil, 1};

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for a tuple");
}

static bool is_nil(const struct piece *piece)
{
    return mp_typeof(*piece->data) == MP_NIL;
}

static bool same(const struct piece *left, const struct piece *right)
{
    return left->size == right->size && memcmp(left->data, right->data, left->size) == 0;
}

/* The fields of a tuple; `room` of them at least, those that are not there as nil. */
static int take_apart(struct arena *arena, const char *tuple, uint32_t room, struct piece **out,
                      uint32_t *count)
{
    *count = mp_decode_array(&tuple);
    uint32_t all = *count > room ? *count : room;
    struct piece *fields = arena_alloc(arena, (all + 1) * sizeof *fields);
    if (fields == NULL)
        return no_memory();
    for (uint32_t i = 0; i < all; i++) {
        const char *start = tuple;
        if (i < *count)
            mp_next(&tuple);
        fields[i] = i < *count ? (struct piece){start, (uint32_t)(tuple - start)} : nil_piece;
    }
    *out = fields;
    return 0;
}

static int put_together(const struct shape *shape, struct tuple_ref *out)
{
    size_t size = 5;
    for (uint32_t i = 0; i < shape->count; i++)
        size += shape->fields[i].size;
    if (size > UINT32_MAX / 2)
        return diag_set(ERROR_TOO_LARGE, "a tuple of %zu bytes is above the limit of 2 GiB", size);
    char *data = arena_alloc(shape->arena, size);
    if (data == NULL)
        return no_memory();
    char *end = mp_encode_array(data, shape->count);
    for (uint32_t i = 0; i < shape->count; i++) {
        memcpy(end, shape->fields[i].data, shape->fields[i].size);
        end += shape->fields[i].size;
    }
    *out = (struct tuple_ref){data, (uint32_t)(end - data)};
    return 0;
}

/* Sets field i to the first result of an expression over the tuple as it is. */
static int field_compute(struct shape *shape, const struct expression *expression,
                         struct piece *out)
{
    struct tuple_ref tuple;
    int rc = put_together(shape, &tuple);
    mp_buffer_reset(&shape->results, 65536);
    if (rc == 0)
        rc = db__evaluate(shape->space, expression, tuple.data, &shape->results);
    if (rc != 0)
        return rc == ERROR_MEMORY || rc == ERROR_TOO_LARGE
                   ? rc
                   : diag_add("space \"%s\"", shape->space->name);
    const char *first = mp_array_at(shape->results.data, 0), *end = first;
    *out = nil_piece;
    if (first == NULL)
        return 0;
    mp_next(&end);
    *out = (struct piece){arena_copy(shape->arena, first, (size_t)(end - first)),
                          (uint32_t)(end - first)};
    return out->data == NULL ? no_memory() : 0;
}

/* Fields are counted up to the last one that is set. */
static void field_set(struct shape *shape, uint32_t i, struct piece value)
{
    shape->fields[i] = value;
    if (i >= shape->count && !is_nil(&value))
        shape->count = i + 1;
}

static struct piece value_piece(const struct field_def *field)
{
    return (struct piece){field->value, field->value_size};
}

static int defaults_set(struct shape *shape)
{
    const struct space *space = shape->space;
    for (uint32_t i = 0; i < space->shaped_count; i++)
        if (space->fields[i].value != NULL && space->fields[i].value_func.text == NULL &&
            is_nil(&shape->fields[i]))
            field_set(shape, i, value_piece(&space->fields[i]));
    for (uint32_t i = 0; space->value_funcs && i < space->shaped_count; i++) {
        struct piece value;
        if (space->fields[i].value_func.text == NULL || !is_nil(&shape->fields[i]))
            continue;
        if (space->fields[i].value != NULL)
            field_set(shape, i, value_piece(&space->fields[i]));
        int rc = field_compute(shape, &space->fields[i].value_func, &value);
        if (rc != 0)
            return rc;
        field_set(shape, i, value);
    }
    return 0;
}

/* `before`: the fields of the row that an update has started from, `before_count` of them. */
static int generated_set(struct shape *shape, const struct piece *before, uint32_t before_count)
{
    const struct space *space = shape->space;
    struct piece *given = arena_alloc(shape->arena, space->shaped_count * sizeof *given);
    if (given == NULL)
        return no_memory();
    for (uint32_t i = 0; i < space->shaped_count; i++) {
        given[i] = nil_piece;
        if (space->fields[i].generated.text == NULL)
            continue;
        if (before == NULL || i >= before_count || !same(&before[i], &shape->fields[i]))
            given[i] = shape->fields[i];
        shape->fields[i] = nil_piece;
    }
    for (uint32_t i = 0; i < space->shaped_count; i++) {
        struct piece value;
        if (space->fields[i].generated.text == NULL)
            continue;
        int rc = field_compute(shape, &space->fields[i].generated, &value);
        if (rc != 0)
            return rc;
        if (!is_nil(&given[i]) && !same(&given[i], &value))
            return diag_set(ERROR_SCHEMA,
                            "field %u (%s) of space \"%s\" is generated: leave it out, or give "
                            "what it will be",
                            i + 1, space->fields[i].name, space->name);
        field_set(shape, i, value);
    }
    return 0;
}

int db__tuple_shape(struct arena *arena, const struct space *space, const char *before,
                    struct tuple_ref *tuple)
{
    struct shape shape = {.arena = arena, .space = space};
    struct piece *old = NULL;
    uint32_t old_count = 0;
    if (tuple->size == 0 || mp_typeof(*tuple->data) != MP_ARRAY ||
        (before != NULL && !space->generated))
        return 0; /* the check says what is wrong */
    int rc = take_apart(arena, tuple->data, space->shaped_count, &shape.fields, &shape.count);
    if (rc == 0 && before != NULL)
        rc = take_apart(arena, before, 0, &old, &old_count);
    if (rc != 0)
        return rc;
    mp_buffer_create(&shape.results);
    if (before == NULL)
        rc = defaults_set(&shape);
    if (rc == 0 && space->generated)
        rc = generated_set(&shape, old, old_count);
    if (rc == 0)
        rc = put_together(&shape, tuple);
    mp_buffer_destroy(&shape.results);
    return rc;
}
