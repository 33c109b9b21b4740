/* SPDX-License-Identifier: Apache-2.0 */

/* Changes of the catalog: spaces. */
#include "db/format_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct space_args {
    const char *name;
    size_t name_size;
    const char *options;
    uint32_t id;
};

enum {
    SPACE_ID,
    SPACE_ENGINE,
    SPACE_IF_NOT_EXISTS,
    SPACE_FORMAT,
    SPACE_FIELD_COUNT,
    SPACE_OPTIONS
};

static void flags_put(struct mp_buffer *tuple, uint32_t incarnation)
{
    mp_put_map(tuple, 1);
    mp_put_str(tuple, "incarnation", 11);
    mp_put_uint(tuple, incarnation);
}

static uint32_t space_id_next(const struct catalog *catalog)
{
    uint32_t last = catalog_space_at(catalog, catalog_space_count(catalog) - 1)->id;
    return last < SPACE_ID_USER_MIN ? SPACE_ID_USER_MIN : last + 1;
}

/* An incarnation that no store of this id, alive or still being freed, has. Timestamps only rise,
 * so the clock's low bits serve across restarts, too. */
static uint32_t incarnation_next(struct ddl *ddl)
{
    return (uint32_t)(wal_clock(ddl->db->wal) + 1);
}

static int engine_choose(const struct ddl_option *option, const struct engine_vtab **out)
{
    const char *value = option->value, *name = "memory";
    uint32_t size = 6;
    if (value != NULL)
        name = mp_decode_str(&value, &size);
    *out = engine_find(name, size);
    if (*out == NULL || !((*out)->flags & ENGINE_RESIDENT))
        return diag_set(ERROR_UNSUPPORTED, "a space cannot have engine \"%.*s\": use 'memory'",
                        (int)size, name);
    return 0;
}

static int space_create(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct ddl_option options[SPACE_OPTIONS] = {{"id", MP_UINT, NULL},
                                                {"engine", MP_STR, NULL},
                                                {"if_not_exists", MP_BOOL, NULL},
                                                {"format", MP_ARRAY, NULL},
                                                {"field_count", MP_UINT, NULL}};
    int rc = ddl__name_check("space", args->name, args->name_size);
    if (rc == 0)
        rc = ddl__options_read("a space", args->options, options, SPACE_OPTIONS);
    if (rc != 0)
        return rc;
    struct space *present = catalog_space(ddl->before, args->name, args->name_size);
    if (present != NULL) {
        args->id = present->id;
        return ddl__option_bool(&options[SPACE_IF_NOT_EXISTS], false)
                   ? 0
                   : diag_set(ERROR_EXISTS, "space \"%.*s\" exists already", (int)args->name_size,
                              args->name);
    }
    const struct engine_vtab *engine;
    if ((rc = ddl__may_create(ddl, ACCESS_SPACE)) != 0 ||
        (rc = engine_choose(&options[SPACE_ENGINE], &engine)) != 0)
        return rc;
    uint64_t id = space_id_next(ddl->before);
    if (options[SPACE_ID].value != NULL)
        id = mp_decode_uint(&options[SPACE_ID].value);
    if (id < SPACE_ID_USER_MIN || id > INT32_MAX)
        return diag_set(ERROR_INVALID, "the id of a space is between %d and %d", SPACE_ID_USER_MIN,
                        INT32_MAX);
    if (catalog_space_by_id(ddl->before, (uint32_t)id) != NULL)
        return diag_set(ERROR_EXISTS, "a space with id %llu exists already",
                        (unsigned long long)id);
    uint64_t exact = 0;
    if (options[SPACE_FIELD_COUNT].value != NULL)
        exact = mp_decode_uint(&options[SPACE_FIELD_COUNT].value);
    if (exact > INT32_MAX)
        return diag_set(ERROR_INVALID, "field_count is at most %d", INT32_MAX);
    args->id = (uint32_t)id;
    uint32_t incarnation = incarnation_next(ddl);
    struct mp_buffer *tuple = ddl__tuple(ddl, 7);
    mp_put_uint(tuple, id);
    mp_put_uint(tuple, ddl__owner(ddl));
    mp_put_str(tuple, args->name, args->name_size);
    mp_put_str(tuple, engine->name, strlen(engine->name));
    mp_put_uint(tuple, exact);
    flags_put(tuple, incarnation);
    if ((rc = ddl__format_put(ddl, tuple, options[SPACE_FORMAT].value)) != 0)
        return rc;
    struct store *store;
    rc = ddl__store_make(ddl, args->id, incarnation, &store);
    return rc != 0 ? rc : ddl__put(ddl, SPACE_ID_SPACE);
}

int ddl_space_create(struct db_worker *worker, const char *name, size_t name_size,
                     const char *options, uint32_t *id)
{
    struct space_args args = {.name = name, .name_size = name_size, .options = options};
    int rc = ddl__run(worker, space_create, NULL, &args);
    if (id != NULL)
        *id = args.id;
    return rc;
}

static int space_drop(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct space *space;
    int rc = ddl__space_find_for(ddl, args->id, ACCESS_DROP, &space);
    if (rc == 0)
        rc = ddl__privileges_drop(ddl, ACCESS_SPACE, args->id);
    if (rc == 0)
        rc = ddl__triggers_drop(ddl, args->id);
    for (uint32_t i = 0; rc == 0 && i < space->index_count; i++) {
        struct mp_buffer *key = ddl__tuple(ddl, 2);
        mp_put_uint(key, space->id);
        mp_put_uint(key, space->indexes[i]->id);
        rc = ddl__delete(ddl, SPACE_ID_INDEX);
    }
    if (rc != 0)
        return rc;
    mp_put_uint(ddl__tuple(ddl, 1), space->id);
    rc = ddl__store_drop(ddl, space->head->arg);
    return rc != 0 ? rc : ddl__delete(ddl, SPACE_ID_SPACE);
}

int ddl_space_drop(struct db_worker *worker, uint32_t id)
{
    struct space_args args = {.id = id};
    return ddl__run(worker, space_drop, NULL, &args);
}

/* The row of a space with another format or incarnation. `format` NULL: the one it has. */
static int space_row_put(struct ddl *ddl, struct space *space, const char *format,
                         uint32_t incarnation)
{
    const char *row = space->row_version->bytes;
    struct mp_buffer *tuple = ddl__tuple(ddl, 7);
    const char *start = mp_array_at(row, 0), *end = mp_array_at(row, 5);
    mp_put_raw(tuple, start, (size_t)(end - start));
    flags_put(tuple, incarnation);
    int rc = ddl__format_put(ddl, tuple, format != NULL ? format : mp_array_at(row, 6));
    return rc != 0 ? rc : ddl__put(ddl, SPACE_ID_SPACE);
}

static int space_format(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct space *space;
    int rc = ddl__space_find(ddl, args->id, &space);
    if (rc == 0 && (args->options == NULL || mp_typeof(*args->options) != MP_ARRAY))
        rc = diag_set(ERROR_INVALID, "a format is an array of fields");
    return rc != 0 ? rc : space_row_put(ddl, space, args->options, space->head->incarnation);
}

/* Every row has to fit the new format, and every index its fields. */
static int space_format_finish(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct space *space = catalog_space_by_id(ddl->after, args->id);
    for (uint32_t i = 0; i < space->index_count; i++)
        for (uint32_t n = 0; n < space->indexes[i]->part_count; n++) {
            const struct index_part *part = &space->indexes[i]->parts[n];
            if (part->path.count == 0 && space->indexes[i]->func.text == NULL &&
                part->field < space->field_count &&
                !ddl__part_fits(part->type, space->fields[part->field].type))
                return diag_set(ERROR_SCHEMA, "field \"%s\" is indexed by \"%s\" as %s",
                                space->fields[part->field].name, space->indexes[i]->name,
                                key_type_name(part->type));
        }
    if (space->index_count == 0)
        return 0;
    struct space_cursor cursor;
    struct tuple_ref tuple;
    int rc = space_cursor_open(&cursor, ddl->txn, space->indexes[0], ITERATOR_ALL, NULL);
    while (rc == 0 && (rc = space_cursor_next(&cursor, &tuple)) == 0)
        rc = db__tuple_check(space, tuple.data, tuple.size);
    return rc == ERROR_END ? 0 : rc;
}

int ddl_space_format(struct db_worker *worker, uint32_t id, const char *format)
{
    struct space_args args = {.id = id, .options = format};
    return ddl__run(worker, space_format, space_format_finish, &args);
}

/* A new incarnation with empty trees takes the place of the old one. */
static int space_truncate(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct space *space;
    int rc = ddl__space_find_for(ddl, args->id, ACCESS_WRITE, &space);
    if (rc != 0)
        return rc;
    uint32_t incarnation = incarnation_next(ddl);
    struct store *store;
    if ((rc = ddl__store_make(ddl, args->id, incarnation, &store)) != 0)
        return rc;
    for (uint32_t i = 1; i < space->index_count; i++)
        if ((rc = ddl__tree_make(ddl, store, space->indexes[i]->id)) != 0)
            return rc;
    if ((rc = ddl__store_drop(ddl, space->head->arg)) != 0)
        return rc;
    return space_row_put(ddl, space, NULL, incarnation);
}

int ddl_space_truncate(struct db_worker *worker, uint32_t id)
{
    struct space_args args = {.id = id};
    return ddl__run(worker, space_truncate, NULL, &args);
}
