/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading of the parts of an index and of what else in its definition names fields: conditions and
 * included fields. A field is given by its number from 1, by its name, or with a path below it:
 * 'data.address.city', '[3].x', {field = 'data', path = 'address.city'}.
 */
#include "db/ddl_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for the definition of an index");
}

static int path_add(struct arena *arena, const char *text, size_t size, struct field_path *path)
{
    int rc = field_path_read(arena, text, size, path);
    if (rc == ERROR_MEMORY)
        return no_memory();
    return rc == 0 ? 0 : diag_set(rc, "\"%.*s\" is no path", (int)size, text);
}

/* [3].x: a field by its number. */
static int bracket_field(struct arena *arena, const char *text, size_t size, uint32_t *field,
                         struct field_path *path)
{
    struct path reader = {.text = text, .size = size};
    struct path_step step = path_next(&reader);
    if (step.kind != PATH_NUMBER || step.number > SPACE_FIELDS_MAX)
        return diag_set(ERROR_INVALID, "\"%.*s\" does not begin with the number of a field",
                        (int)size, text);
    *field = step.number - 1;
    return path_add(arena, text + reader.offset, size - reader.offset, path);
}

int ddl__field_find(struct arena *arena, const struct space *space, const char *text, size_t size,
                    uint32_t *field, struct field_path *path)
{
    int64_t found = space_field(space, text, size);
    if (found >= 0) {
        *field = (uint32_t)found;
        return path_add(arena, "", 0, path);
    }
    if (size > 0 && text[0] == '[')
        return bracket_field(arena, text, size, field, path);
    size_t end = 0;
    while (end < size && text[end] != '.' && text[end] != '[')
        end++;
    found = end == size ? -1 : space_field(space, text, end);
    if (found < 0)
        return diag_set(ERROR_INVALID, "space \"%s\" has no field \"%.*s\" in its format",
                        space->name, (int)end, text);
    *field = (uint32_t)found;
    return path_add(arena, text + end, size - end, path);
}

/* A field by number from 1, or by name, perhaps with a path. */
static int field_read(struct arena *arena, const struct space *space, const char **data,
                      uint32_t *field, struct field_path *path)
{
    uint64_t number;
    if (mp_typeof(**data) == MP_STR) {
        uint32_t size;
        const char *text = mp_decode_str(data, &size);
        return ddl__field_find(arena, space, text, size, field, path);
    }
    if (!mp_read_uint(data, &number) || number == 0 || number > SPACE_FIELDS_MAX)
        return diag_set(ERROR_INVALID, "a part names its field by number, from 1 to %d, or by name",
                        SPACE_FIELDS_MAX);
    *field = (uint32_t)number - 1;
    return path_add(arena, "", 0, path);
}

/* What a part is being read into. */
struct part_reader {
    struct arena *arena;
    const struct space *space;
    bool of_func; /* fields are values of what a function returns */
    struct index_part *part;
    bool type_given, nullable_given;
};

static int reader_field(struct part_reader *reader, const char **data)
{
    uint64_t number;
    if (!reader->of_func)
        return field_read(reader->arena, reader->space, data, &reader->part->field,
                          &reader->part->path);
    if (!mp_read_uint(data, &number) || number == 0 || number > INDEX_PARTS_MAX)
        return diag_set(
            ERROR_INVALID,
            "a part of a functional index gives the number of a value that the function "
            "returns, from 1 to %d",
            INDEX_PARTS_MAX);
    reader->part->field = (uint32_t)number - 1;
    return path_add(reader->arena, "", 0, &reader->part->path);
}

static int reader_type(struct part_reader *reader, const char **data)
{
    uint32_t size;
    const char *name = mp_decode_str(data, &size);
    int type =
        size == 3 && memcmp(name, "str", 3) == 0 ? (int)KEY_STRING : key_type_parse(name, size);
    if (type < 0)
        return diag_set(ERROR_INVALID,
                        "a part has unknown type \"%.*s\": known are unsigned integer number "
                        "double decimal string boolean varbinary uuid datetime scalar",
                        (int)size, name);
    reader->part->type = (enum key_type)type;
    reader->type_given = true;
    return 0;
}

bool ddl__part_fits(enum key_type part, enum key_type field)
{
    bool number = field <= KEY_DOUBLE || field == KEY_DECIMAL;
    return part == field || part == KEY_ANY || field == KEY_ANY || (part == KEY_NUMBER && number) ||
           (part == KEY_INTEGER && field == KEY_UNSIGNED);
}

bool ddl__field_orders(const struct field_def *field)
{
    return field->kind != FIELD_ARRAY && field->kind != FIELD_MAP && field->kind != FIELD_INTERVAL;
}

/* A part over a whole field: what the format says is filled in, and the two have to agree. */
static int settle_field(struct part_reader *reader, const struct field_def *field)
{
    struct index_part *part = reader->part;
    if (field->kind == FIELD_INTERVAL)
        return diag_set(ERROR_UNSUPPORTED,
                        "field \"%s\" is of type interval and cannot be indexed: intervals have no "
                        "order",
                        field->name);
    if (!ddl__field_orders(field))
        return diag_set(ERROR_UNSUPPORTED,
                        "field \"%s\" is of type %s and cannot be indexed as a whole: give a path "
                        "below it",
                        field->name, field->type_name);
    if (!reader->type_given)
        part->type = field->type;
    else if (!ddl__part_fits(part->type, field->type))
        return diag_set(ERROR_SCHEMA, "the part is %s, but field \"%s\" is %s",
                        key_type_name(part->type), field->name, field->type_name);
    if (!reader->nullable_given)
        part->nullable = field->nullable;
    return 0;
}

/* A part over something below a field, which has to be able to have something below it. */
static int settle_path(struct part_reader *reader, const struct field_def *field)
{
    struct index_part *part = reader->part;
    bool container = field == NULL || strcmp(field->type_name, "any") == 0 ||
                     strcmp(field->type_name, "map") == 0 || strcmp(field->type_name, "array") == 0;
    if (!container)
        return diag_set(ERROR_SCHEMA, "field \"%s\" is %s: nothing is below it", field->name,
                        field->type_name);
    if (!reader->type_given)
        part->type = KEY_ANY;
    return 0;
}

static int part_settle(struct part_reader *reader)
{
    struct index_part *part = reader->part;
    const struct field_def *field = !reader->of_func && part->field < reader->space->field_count
                                        ? &reader->space->fields[part->field]
                                        : NULL;
    int rc = 0;
    if (part->path.count > 0)
        rc = settle_path(reader, field);
    else if (field != NULL)
        rc = settle_field(reader, field);
    else if (!reader->type_given)
        part->type = KEY_ANY;
    if (part->exclude_null)
        part->nullable = true;
    return rc;
}

/* What a part given as a map may have, and where it is in the map. */
enum { PART_FIELD, PART_TYPE, PART_NULLABLE, PART_PATH, PART_ORDER, PART_EXCLUDE, PART_OPTIONS };
static const char *const part_names[PART_OPTIONS] = {"field", "type",       "is_nullable",
                                                     "path",  "sort_order", "exclude_null"};

static int part_option(const char *key)
{
    uint64_t position;
    for (int i = 0; i < PART_OPTIONS; i++)
        if (ddl__name_is(key, part_names[i]))
            return i;
    return mp_typeof(*key) == MP_UINT && mp_read_uint(&key, &position) && position >= 1 &&
                   position <= 2
               ? (int)position - 1
               : -1;
}

static int part_invalid(void)
{
    return diag_set(ERROR_INVALID, "a part is {field = .., type = .., is_nullable = .., path = .., "
                                   "sort_order = 'asc' or 'desc', exclude_null = ..}");
}

static int bool_read(const char *value, bool *out, bool *given)
{
    if (value == NULL)
        return 0;
    if (mp_typeof(*value) != MP_BOOL)
        return part_invalid();
    *out = mp_decode_bool(&value);
    *given = true;
    return 0;
}

static int order_read(struct index_part *part, const char *value)
{
    if (value == NULL)
        return 0;
    part->descending = ddl__name_is(value, "desc");
    return part->descending || ddl__name_is(value, "asc") || ddl__name_is(value, "undef")
               ? 0
               : part_invalid();
}

static int part_map_read(struct part_reader *reader, const char *data)
{
    const char *values[PART_OPTIONS] = {NULL};
    struct index_part *part = reader->part;
    for (uint32_t n = mp_decode_map(&data); n > 0; n--) {
        int option = part_option(data);
        if (option < 0)
            return part_invalid();
        mp_next(&data);
        values[option] = mp_typeof(*data) == MP_NIL ? NULL : data;
        mp_next(&data);
    }
    const char *type = values[PART_TYPE], *path = values[PART_PATH];
    if (values[PART_FIELD] == NULL || (type != NULL && mp_typeof(*type) != MP_STR) ||
        (path != NULL && mp_typeof(*path) != MP_STR))
        return part_invalid();
    bool unused;
    int rc = reader_field(reader, &values[PART_FIELD]);
    if (rc == 0 && type != NULL)
        rc = reader_type(reader, &type);
    if (rc == 0)
        rc = bool_read(values[PART_NULLABLE], &part->nullable, &reader->nullable_given);
    if (rc == 0)
        rc = bool_read(values[PART_EXCLUDE], &part->exclude_null, &unused);
    if (rc == 0)
        rc = order_read(part, values[PART_ORDER]);
    if (rc == 0 && path != NULL && part->path.count > 0)
        rc = diag_set(ERROR_INVALID, "a part has a path behind its field and as an option");
    if (rc != 0 || path == NULL)
        return rc;
    uint32_t size;
    const char *text = mp_decode_str(&path, &size);
    return path_add(reader->arena, text, size, &part->path);
}

static int part_array_read(struct part_reader *reader, const char **data)
{
    uint32_t count = mp_decode_array(data);
    if (count < 1 || count > 2)
        return diag_set(ERROR_INVALID, "a part is {field, type}");
    int rc = reader_field(reader, data);
    if (rc != 0 || count == 1)
        return rc;
    return mp_typeof(**data) == MP_STR ? reader_type(reader, data)
                                       : diag_set(ERROR_INVALID, "a part is {field, type}");
}

/* A field alone, or with its type behind it in the flat form {1, 'unsigned', 'name', 'string'}. */
static int part_flat_read(struct part_reader *reader, const char **data, uint32_t *left)
{
    bool by_number = mp_typeof(**data) == MP_UINT;
    int rc = reader_field(reader, data);
    if (rc != 0 || *left == 0 || mp_typeof(**data) != MP_STR)
        return rc;
    const char *name = *data;
    uint32_t size;
    name = mp_decode_str(&name, &size);
    bool field = space_field(reader->space, name, size) >= 0;
    if (field || (!by_number && key_type_parse(name, size) < 0))
        return 0; /* the next part */
    --*left;
    return reader_type(reader, data);
}

/* One element of `parts`; *data is advanced behind it. *left counts elements. */
static int part_read(struct part_reader *reader, const char **data, uint32_t *left)
{
    int rc;
    --*left;
    if (mp_typeof(**data) == MP_MAP) {
        rc = part_map_read(reader, *data);
        mp_next(data);
    } else if (mp_typeof(**data) == MP_ARRAY) {
        rc = part_array_read(reader, data);
    } else {
        rc = part_flat_read(reader, data, left);
    }
    return rc != 0 ? rc : part_settle(reader);
}

static bool part_same(const struct index_part *one, const struct index_part *other)
{
    return one->field == other->field && strcmp(one->path.text, other->path.text) == 0;
}

/* All parts with [*] go over one array. */
static int multikey_check(const struct index_part *parts, uint32_t count)
{
    const struct index_part *first = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct index_part *part = &parts[i];
        if (part->path.each == part->path.count)
            continue;
        if (first == NULL)
            first = part;
        const char *end = strstr(part->path.text, "[*]");
        if (part->field != first->field || part->path.each != first->path.each ||
            strncmp(part->path.text, first->path.text, (size_t)(end - part->path.text) + 3) != 0)
            return diag_set(ERROR_INVALID, "parts with [*] must go over one and the same array");
    }
    return 0;
}

int ddl__parts_read(struct ddl *ddl, const struct space *space, const char *data, bool of_func,
                    struct index_part *parts, uint32_t *count)
{
    static const char first[] = {(char)0x91, 1}; /* the first field */
    struct part_reader reader = {txn_arena(ddl->txn), space, of_func, NULL, false, false};
    bool standard = data == NULL;
    *count = 0;
    if (standard)
        data = first;
    uint32_t left = mp_decode_array(&data);
    while (left > 0) {
        if (*count == INDEX_PARTS_MAX)
            return diag_set(ERROR_TOO_LARGE, "an index has at most %d parts", INDEX_PARTS_MAX);
        struct index_part *part = &parts[*count];
        *part = (struct index_part){.type = KEY_UNSIGNED};
        reader.part = part;
        reader.type_given = standard && space->field_count == 0;
        reader.nullable_given = standard;
        int rc = part_read(&reader, &data, &left);
        if (rc != 0)
            return rc;
        for (uint32_t i = 0; i < *count; i++)
            if (part_same(&parts[i], part))
                return diag_set(ERROR_INVALID, "field %u%s%s is twice among the parts",
                                part->field + 1, part->path.count > 0 ? " " : "", part->path.text);
        ++*count;
    }
    if (*count == 0)
        return diag_set(ERROR_INVALID, "an index has at least one part");
    return multikey_check(parts, *count);
}

static void map_flag(struct mp_buffer *out, const char *name)
{
    mp_put_str(out, name, strlen(name));
    mp_put_bool(out, true);
}

void ddl__parts_put(struct mp_buffer *out, const struct index_part *parts, uint32_t count)
{
    mp_put_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct index_part *part = &parts[i];
        const char *type = key_type_name(part->type);
        mp_put_map(out, 2 + (uint32_t)part->nullable + (part->path.count > 0) +
                            (uint32_t)part->descending + (uint32_t)part->exclude_null);
        mp_put_str(out, "field", 5);
        mp_put_uint(out, part->field);
        mp_put_str(out, "type", 4);
        mp_put_str(out, type, strlen(type));
        if (part->nullable)
            map_flag(out, "is_nullable");
        if (part->path.count > 0) {
            mp_put_str(out, "path", 4);
            mp_put_str(out, part->path.text, strlen(part->path.text));
        }
        if (part->descending) {
            mp_put_str(out, "sort_order", 10);
            mp_put_str(out, "desc", 4);
        }
        if (part->exclude_null)
            map_flag(out, "exclude_null");
    }
}

int ddl__term_value_check(struct arena *arena, const char *value)
{
    unsigned char *key = arena_alloc(arena, key_part_size_max(value));
    if (key == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    int rc = key_part_encode(&value, KEY_ANY, true, &key);
    if (rc == ERROR_UNSUPPORTED)
        return diag_set(ERROR_INVALID, "a condition can't compare with a decimal beyond 2^53 that "
                                       "has a fraction");
    return rc == 0
               ? 0
               : diag_set(ERROR_INVALID, "a condition compares with a scalar, and not with NaN");
}

/* [field, operator, value] as [field from 0, path, operator, value]. */
static int term_put(struct arena *arena, const struct space *space, const char **data,
                    struct mp_buffer *out)
{
    uint32_t field, size;
    struct field_path path;
    if (mp_typeof(**data) != MP_ARRAY || mp_decode_array(data) != 3)
        return diag_set(ERROR_INVALID, "a condition is {field, operator, value}");
    int rc = field_read(arena, space, data, &field, &path);
    if (rc != 0)
        return rc;
    const char *text = mp_typeof(**data) == MP_STR ? mp_decode_str(data, &size) : (size = 0, "");
    int op = condition_op_parse(text, size);
    if (op < 0 || path.each < path.count)
        return diag_set(ERROR_INVALID, op < 0
                                           ? "the operator of a condition is one of == ~= < <= > >="
                                           : "the path of a condition has no [*]");
    if ((rc = ddl__term_value_check(arena, *data)) != 0)
        return rc;
    mp_put_array(out, 4);
    mp_put_uint(out, field);
    mp_put_str(out, path.text, strlen(path.text));
    mp_put_str(out, condition_op_name((enum condition_op)op),
               strlen(condition_op_name((enum condition_op)op)));
    const char *value = *data;
    mp_next(data);
    mp_put_raw(out, value, (size_t)(*data - value));
    return 0;
}

int ddl__condition_put(struct arena *arena, const struct space *space, const char *data,
                       struct mp_buffer *out)
{
    const char *terms = data;
    uint32_t count = mp_decode_array(&terms);
    if (count == 0 || mp_typeof(*terms) != MP_ARRAY) {
        mp_put_array(out, 1);
        return term_put(arena, space, &data, out);
    }
    mp_put_array(out, count);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = term_put(arena, space, &terms, out);
    return rc;
}

int ddl_condition_read(struct arena *arena, const struct space *space, const char *data,
                       struct condition *out)
{
    struct mp_buffer resolved;
    if (mp_typeof(*data) != MP_ARRAY)
        return diag_set(ERROR_INVALID,
                        "a condition is {field, operator, value}, or a list of them");
    mp_buffer_create(&resolved);
    int rc = ddl__condition_put(arena, space, data, &resolved);
    if (rc == 0 && resolved.failed)
        rc = diag_set(ERROR_MEMORY, "out of memory");
    if (rc == 0 && (rc = condition_read(arena, resolved.data, out)) != 0)
        rc = diag_set(rc, "a condition compares a field with a scalar");
    mp_buffer_destroy(&resolved);
    return rc;
}

int ddl__covers_put(struct arena *arena, const struct space *space, const char *data,
                    struct mp_buffer *out)
{
    uint32_t count = mp_decode_array(&data);
    int rc = 0;
    mp_put_array(out, count);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        uint32_t field = 0;
        struct field_path path;
        rc = field_read(arena, space, &data, &field, &path);
        if (rc == 0 && path.count > 0)
            rc = diag_set(ERROR_INVALID, "an index covers whole fields");
        mp_put_uint(out, field);
    }
    return rc;
}
