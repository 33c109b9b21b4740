/* SPDX-License-Identifier: Apache-2.0 */

/* Changes of the catalog: indexes. */
#include "db/ddl_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct index_args {
    uint32_t space_id;
    const char *name;
    size_t name_size;
    const char *options;
    uint32_t id;
    bool present; /* if_not_exists, and it does */
};

enum { INDEX_TYPE, INDEX_UNIQUE, INDEX_IF_NOT_EXISTS, INDEX_PARTS, INDEX_ID, INDEX_OPTIONS };

/* A part as given: a field by number from 1 or by name, a type or none. */
static int part_field(const struct space *space, const char **data, struct index_part *part)
{
    if (mp_typeof(**data) == MP_STR) {
        uint32_t size;
        const char *name = mp_decode_str(data, &size);
        int64_t field = space_field(space, name, size);
        if (field < 0)
            return diag_set(ERROR_INVALID, "space \"%s\" has no field \"%.*s\" in its format",
                            space->name, (int)size, name);
        part->field = (uint32_t)field;
        return 0;
    }
    uint64_t number;
    if (!mp_read_uint(data, &number) || number == 0 || number > SPACE_FIELDS_MAX)
        return diag_set(ERROR_INVALID, "a part names its field by number, from 1 to %d, or by name",
                        SPACE_FIELDS_MAX);
    part->field = (uint32_t)number - 1;
    return 0;
}

static int part_type(const char **data, struct index_part *part, bool *given)
{
    uint32_t size;
    const char *name = mp_decode_str(data, &size);
    int type =
        size == 3 && memcmp(name, "str", 3) == 0 ? (int)KEY_STRING : key_type_parse(name, size);
    if (type < 0)
        return diag_set(ERROR_INVALID,
                        "a part has unknown type \"%.*s\": known are unsigned integer number "
                        "double string boolean varbinary scalar",
                        (int)size, name);
    part->type = (enum key_type)type;
    *given = true;
    return 0;
}

bool ddl__part_fits(enum key_type part, enum key_type field)
{
    return part == field || part == KEY_ANY || field == KEY_ANY ||
           (part == KEY_NUMBER && field <= KEY_DOUBLE) ||
           (part == KEY_INTEGER && field == KEY_UNSIGNED);
}

/* Fills in what the format says and checks that the two agree. */
static int part_settle(const struct space *space, struct index_part *part, bool type_given,
                       bool nullable_given)
{
    const struct field_def *field =
        part->field < space->field_count ? &space->fields[part->field] : NULL;
    if (field == NULL) {
        part->type = type_given ? part->type : KEY_ANY;
        return 0;
    }
    if (strcmp(field->type_name, "array") == 0 || strcmp(field->type_name, "map") == 0)
        return diag_set(ERROR_UNSUPPORTED,
                        "field \"%s\" is of type %s and cannot be indexed as a whole", field->name,
                        field->type_name);
    if (!type_given)
        part->type = field->type;
    else if (!ddl__part_fits(part->type, field->type))
        return diag_set(ERROR_SCHEMA, "the part is %s, but field \"%s\" is %s",
                        key_type_name(part->type), field->name, field->type_name);
    if (!nullable_given)
        part->nullable = field->nullable;
    return 0;
}

static int part_map_read(const struct space *space, const char *data, struct index_part *part,
                         bool *type_given, bool *nullable_given)
{
    const char *field = NULL, *type = NULL;
    for (uint32_t n = mp_decode_map(&data); n > 0; n--) {
        bool first = mp_typeof(*data) == MP_UINT, is_field = ddl__name_is(data, "field"),
             is_type = ddl__name_is(data, "type");
        bool is_nullable = ddl__name_is(data, "is_nullable");
        uint64_t position = 0;
        const char *key = data;
        if (first)
            mp_read_uint(&key, &position);
        mp_next(&data);
        if (is_field || position == 1)
            field = data;
        else if (is_type || position == 2)
            type = data;
        else if (is_nullable && mp_typeof(*data) == MP_BOOL) {
            const char *value = data;
            part->nullable = mp_decode_bool(&value);
            *nullable_given = true;
        } else
            return diag_set(ERROR_INVALID, "a part is {field = .., type = .., is_nullable = ..}");
        mp_next(&data);
    }
    if (field == NULL || (type != NULL && mp_typeof(*type) != MP_STR))
        return diag_set(ERROR_INVALID, "a part is {field = .., type = .., is_nullable = ..}");
    int rc = part_field(space, &field, part);
    return rc != 0 || type == NULL ? rc : part_type(&type, part, type_given);
}

/* One element of `parts`; *data is advanced behind it, and behind the type that follows it in the
 * flat form {1, 'unsigned', 2, 'string'}. *left counts elements. */
static int part_read(const struct space *space, const char **data, uint32_t *left,
                     struct index_part *part)
{
    bool type_given = false, nullable_given = false;
    *part = (struct index_part){0};
    int rc;
    --*left;
    if (mp_typeof(**data) == MP_MAP) {
        rc = part_map_read(space, *data, part, &type_given, &nullable_given);
        mp_next(data);
    } else if (mp_typeof(**data) == MP_ARRAY) {
        uint32_t count = mp_decode_array(data);
        rc = count >= 1 && count <= 2 ? part_field(space, data, part)
                                      : diag_set(ERROR_INVALID, "a part is {field, type}");
        if (rc == 0 && count == 2)
            rc = mp_typeof(**data) == MP_STR ? part_type(data, part, &type_given)
                                             : diag_set(ERROR_INVALID, "a part is {field, type}");
    } else {
        bool by_number = mp_typeof(**data) == MP_UINT;
        rc = part_field(space, data, part);
        if (rc == 0 && by_number && *left > 0 && mp_typeof(**data) == MP_STR) {
            const char *name = *data;
            uint32_t size;
            name = mp_decode_str(&name, &size);
            if (space_field(space, name, size) < 0) {
                --*left;
                rc = part_type(data, part, &type_given);
            }
        }
    }
    return rc != 0 ? rc : part_settle(space, part, type_given, nullable_given);
}

static int parts_read(const struct space *space, const char *data, struct index_part *parts,
                      uint32_t *count)
{
    *count = 0;
    if (data == NULL) {
        parts[(*count)++] = (struct index_part){0, KEY_UNSIGNED, false};
        return part_settle(space, &parts[0], space->field_count == 0, true);
    }
    uint32_t left = mp_decode_array(&data);
    while (left > 0) {
        if (*count == INDEX_PARTS_MAX)
            return diag_set(ERROR_TOO_LARGE, "an index has at most %d parts", INDEX_PARTS_MAX);
        int rc = part_read(space, &data, &left, &parts[*count]);
        if (rc != 0)
            return rc;
        for (uint32_t i = 0; i < *count; i++)
            if (parts[i].field == parts[*count].field)
                return diag_set(ERROR_INVALID, "field %u is twice among the parts",
                                parts[i].field + 1);
        ++*count;
    }
    return *count > 0 ? 0 : diag_set(ERROR_INVALID, "an index has at least one part");
}

static void index_row(struct ddl *ddl, const struct index_args *args, bool unique,
                      const struct index_part *parts, uint32_t count)
{
    struct mp_buffer *tuple = ddl__tuple(ddl, 6);
    mp_put_uint(tuple, args->space_id);
    mp_put_uint(tuple, args->id);
    mp_put_str(tuple, args->name, args->name_size);
    mp_put_str(tuple, "tree", 4);
    mp_put_map(tuple, 1);
    mp_put_str(tuple, "unique", 6);
    mp_put_bool(tuple, unique);
    mp_put_array(tuple, count);
    for (uint32_t i = 0; i < count; i++) {
        const char *type = key_type_name(parts[i].type);
        mp_put_map(tuple, parts[i].nullable ? 3 : 2);
        mp_put_str(tuple, "field", 5);
        mp_put_uint(tuple, parts[i].field);
        mp_put_str(tuple, "type", 4);
        mp_put_str(tuple, type, strlen(type));
        if (parts[i].nullable) {
            mp_put_str(tuple, "is_nullable", 11);
            mp_put_bool(tuple, true);
        }
    }
}

static int index_id_choose(const struct space *space, const struct ddl_option *given, uint32_t *out)
{
    uint32_t next = space->index_count == 0 ? 0 : space->indexes[space->index_count - 1]->id + 1;
    uint64_t id = next;
    if (given->value != NULL) {
        const char *value = given->value;
        id = mp_decode_uint(&value);
    }
    if (id >= INDEX_MAX)
        return diag_set(ERROR_TOO_LARGE, "the id of an index is below %d", INDEX_MAX);
    if (space->index_count == 0 && id != 0)
        return diag_set(ERROR_SCHEMA, "the first index of a space is its primary key and has id 0");
    if (space_index_by_id(space, (uint32_t)id) != NULL)
        return diag_set(ERROR_EXISTS, "space \"%s\" has an index with id %llu", space->name,
                        (unsigned long long)id);
    *out = (uint32_t)id;
    return 0;
}

/* Makes the commits of transactions that worked under the old picture fail (invariant 21): the row
 * of the space gets a new version. */
static int space_row_touch(struct ddl *ddl, const struct space *space)
{
    mp_buffer_reset(&ddl->tuple, 65536);
    mp_put_raw(&ddl->tuple, space->row_version->bytes, space->row_version->size);
    return ddl__put(ddl, SPACE_ID_SPACE);
}

static int primary_check(const struct space *space, bool unique, const struct index_part *parts,
                         uint32_t count)
{
    if (!unique)
        return diag_set(ERROR_SCHEMA, "the primary index of space \"%s\" must be unique",
                        space->name);
    for (uint32_t i = 0; i < count; i++)
        if (parts[i].nullable)
            return diag_set(ERROR_SCHEMA,
                            "the primary index of space \"%s\" must not have nullable parts",
                            space->name);
    return 0;
}

static int index_create(struct ddl *ddl, void *arg)
{
    struct index_args *args = arg;
    struct ddl_option options[INDEX_OPTIONS] = {{"type", MP_STR, NULL},
                                                {"unique", MP_BOOL, NULL},
                                                {"if_not_exists", MP_BOOL, NULL},
                                                {"parts", MP_ARRAY, NULL},
                                                {"id", MP_UINT, NULL}};
    struct space *space;
    int rc = ddl__name_check("index", args->name, args->name_size);
    if (rc == 0)
        rc = ddl__options_read("an index", args->options, options, INDEX_OPTIONS);
    if (rc == 0)
        rc = ddl__space_find(ddl, args->space_id, &space);
    if (rc != 0)
        return rc;
    struct index *present = space_index(space, args->name, args->name_size);
    if (present != NULL) {
        args->id = present->id;
        args->present = true;
        return ddl__option_bool(&options[INDEX_IF_NOT_EXISTS], false)
                   ? 0
                   : diag_set(ERROR_EXISTS, "space \"%s\" has an index \"%s\" already", space->name,
                              present->name);
    }
    const char *type = options[INDEX_TYPE].value;
    if (type != NULL && !ddl__name_is(type, "tree") && !ddl__name_is(type, "TREE"))
        return diag_set(ERROR_UNSUPPORTED, "the type of an index is 'tree'");
    struct index_part parts[INDEX_PARTS_MAX];
    uint32_t count;
    bool unique = ddl__option_bool(&options[INDEX_UNIQUE], true);
    if ((rc = index_id_choose(space, &options[INDEX_ID], &args->id)) != 0 ||
        (rc = parts_read(space, options[INDEX_PARTS].value, parts, &count)) != 0)
        return rc;
    if (args->id == 0 && (rc = primary_check(space, unique, parts, count)) != 0)
        return rc;
    index_row(ddl, args, unique, parts, count);
    if ((rc = ddl__put(ddl, SPACE_ID_INDEX)) != 0)
        return rc;
    if (args->id != 0) {
        struct store *store = space->head->arg;
        if ((rc = ddl__tree_make(ddl, store, args->id)) != 0)
            return rc;
    }
    return space_row_touch(ddl, space);
}

static int index_create_finish(struct ddl *ddl, void *arg)
{
    struct index_args *args = arg;
    if (args->id == 0 || args->present)
        return 0;
    struct space *space = catalog_space_by_id(ddl->after, args->space_id);
    return db__index_fill(ddl->db, txn_worker_thread(ddl->worker->txn),
                          space_index_by_id(space, args->id), true);
}

int ddl_index_create(struct db_worker *worker, uint32_t space_id, const char *name,
                     size_t name_size, const char *options, uint32_t *id)
{
    struct index_args args = {
        .space_id = space_id, .name = name, .name_size = name_size, .options = options};
    int rc = ddl__run(worker, index_create, index_create_finish, &args);
    if (id != NULL)
        *id = args.id;
    return rc;
}

static int index_drop(struct ddl *ddl, void *arg)
{
    struct index_args *args = arg;
    struct space *space;
    int rc = ddl__space_find(ddl, args->space_id, &space);
    if (rc != 0)
        return rc;
    struct index *index = space_index_by_id(space, args->id);
    if (index == NULL)
        return diag_set(ERROR_NOT_FOUND, "space \"%s\" has no index with id %u", space->name,
                        args->id);
    if (args->id == 0 && space->index_count > 1)
        return diag_set(ERROR_SCHEMA,
                        "drop the other indexes of space \"%s\" before the primary one",
                        space->name);
    if (args->id == 0) {
        uint64_t rows;
        if ((rc = space_count(ddl->txn, index, ITERATOR_ALL, NULL, &rows)) != 0)
            return rc;
        if (rows > 0)
            return diag_set(
                ERROR_SCHEMA,
                "the primary index of space \"%s\" holds rows: truncate or drop the space",
                space->name);
    }
    struct mp_buffer *key = ddl__tuple(ddl, 2);
    mp_put_uint(key, args->space_id);
    mp_put_uint(key, args->id);
    if ((rc = ddl__delete(ddl, SPACE_ID_INDEX)) != 0)
        return rc;
    if (args->id != 0 && (rc = ddl__tree_drop(ddl, space->head->arg, args->id)) != 0)
        return rc;
    return space_row_touch(ddl, space);
}

int ddl_index_drop(struct db_worker *worker, uint32_t space_id, uint32_t index_id)
{
    struct index_args args = {.space_id = space_id, .id = index_id};
    return ddl__run(worker, index_drop, NULL, &args);
}
