/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the catalog: rows whose meaning is known above (users, privileges, triggers, modules,
 * sequences), so that whatever they describe changes with the picture, on every worker at once.
 */
#include "db/ddl_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct record_args {
    uint32_t space_id;
    const char *tuple; /* or the key */
    bool fresh;
    uint32_t id_min, id;
};

static int space_of(struct ddl *ddl, uint32_t id, struct space **out)
{
    if (catalog_kind_of(id) < 0 && id != SPACE_ID_MODULE_FILE && id != SPACE_ID_MIGRATION)
        return diag_set(ERROR_INVALID, "space %u holds no records", id);
    *out = catalog_space_by_id(ddl->before, id);
    return 0;
}

/* The smallest number from id_min on that is above all others in use. */
static uint32_t id_next(const struct catalog *catalog, enum catalog_kind kind, uint32_t id_min)
{
    uint32_t count = catalog_record_count(catalog, kind);
    if (count == 0)
        return id_min;
    const char *last = mp_array_at(catalog_record_at(catalog, kind, count - 1)->tuple, 0);
    uint64_t id = mp_decode_uint(&last);
    return id < id_min ? id_min : (uint32_t)id + 1;
}

/* ERROR_EXISTS when another row has the tuple's name. */
static int name_is_new(const struct catalog *catalog, const struct space *space, const char *tuple)
{
    int kind = catalog_kind_of(space->id);
    const char *name = mp_array_at(tuple, 2);
    if (kind < 0 || kind == CATALOG_PRIV || name == NULL || mp_typeof(*name) != MP_STR)
        return 0;
    uint32_t size;
    const char *text = mp_decode_str(&name, &size);
    return catalog_record(catalog, (enum catalog_kind)kind, text, size) == NULL
               ? 0
               : diag_set(ERROR_EXISTS, "%s \"%.*s\" exists already", space->name + 1, (int)size,
                          text);
}

/* Whether the row's key is in use. */
static int key_is_new(struct ddl *ddl, struct space *space, const char *tuple)
{
    struct key_bytes key;
    const struct version *present;
    int rc = db__key_of_tuple(txn_arena(ddl->txn), space->indexes[0], tuple, &key);
    if (rc == 0)
        rc = txn_get(ddl->txn, space->head, key.data, key.size, &present);
    return rc != 0 || present == NULL
               ? rc
               : diag_set(ERROR_EXISTS, "the key exists already in space \"%s\"", space->name);
}

/* The row whose first field is that of the tuple or key; NULL: there is none. */
static const char *row_present(const struct catalog *catalog, uint32_t space_id, const char *tuple)
{
    int kind = catalog_kind_of(space_id);
    const char *field = mp_array_at(tuple, 0);
    uint64_t id, other;
    if (kind < 0 || field == NULL || !mp_read_uint(&field, &id))
        return NULL;
    for (uint32_t i = 0; i < catalog_record_count(catalog, (enum catalog_kind)kind); i++) {
        const char *row = catalog_record_at(catalog, (enum catalog_kind)kind, i)->tuple;
        field = mp_array_at(row, 0);
        if (mp_read_uint(&field, &other) && other == id)
            return row;
    }
    return NULL;
}

/* Field n as a number, `otherwise` when it is none. */
static uint32_t number_at(const char *row, uint32_t n, uint32_t otherwise)
{
    const char *field = row == NULL ? NULL : mp_array_at(row, n);
    uint64_t value;
    return field != NULL && mp_read_uint(&field, &value) && value <= UINT32_MAX ? (uint32_t)value
                                                                                : otherwise;
}

static int may_change_trigger(struct ddl *ddl, const char *row)
{
    const struct space *space = catalog_space_by_id(ddl->before, number_at(row, 3, UINT32_MAX));
    if (space == NULL)
        return ddl__may(ddl, ACCESS_ALTER, ACCESS_UNIVERSE, 0, ACCESS_ADMIN, NULL);
    return ddl__may(ddl, ACCESS_ALTER, ACCESS_SPACE, space->id,
                    space->system ? ACCESS_ADMIN : space->owner, space->name);
}

/* Whether the worker's user may make a row of this one, NULL when it is to go. Users and their
 * privileges have changes of their own (access.h), which look at more. */
static int may_change(struct ddl *ddl, uint32_t space_id, const char *key, const char *row)
{
    const char *present = row_present(ddl->before, space_id, key);
    int rc = 0;
    switch (space_id) {
    case SPACE_ID_SEQUENCE:
        if (present == NULL)
            return ddl__may_create(ddl, ACCESS_SEQUENCE);
        return ddl__may(ddl, row == NULL ? ACCESS_DROP : ACCESS_ALTER, ACCESS_SEQUENCE,
                        number_at(present, 0, 0), number_at(present, 1, ACCESS_ADMIN), NULL);
    case SPACE_ID_TRIGGER:
    case SPACE_ID_WATCH:
        if (present != NULL)
            rc = may_change_trigger(ddl, present);
        return rc == 0 && row != NULL ? may_change_trigger(ddl, row) : rc;
    default:
        return ddl__may(ddl, ACCESS_ALTER, ACCESS_UNIVERSE, 0, ACCESS_ADMIN, NULL);
    }
}

static int record_put(struct ddl *ddl, void *arg)
{
    struct record_args *args = arg;
    struct space *space = NULL;
    int rc = space_of(ddl, args->space_id, &space);
    if (rc != 0)
        return rc;
    ddl->only_functions = args->space_id != SPACE_ID_TRIGGER;
    const char *data = args->tuple, *end = args->tuple;
    if (mp_typeof(*data) != MP_ARRAY)
        return diag_set(ERROR_INVALID, "a row of \"%s\" is an array", space->name);
    if ((rc = may_change(ddl, space->id, args->tuple, args->tuple)) != 0)
        return rc;
    mp_next(&end);
    uint32_t count = mp_decode_array(&data);
    struct mp_buffer *tuple = ddl__tuple(ddl, count);
    if (args->fresh && count > 0 && mp_typeof(*data) == MP_NIL && catalog_kind_of(space->id) >= 0) {
        args->id =
            id_next(ddl->before, (enum catalog_kind)catalog_kind_of(space->id), args->id_min);
        mp_put_uint(tuple, args->id);
        mp_next(&data);
    }
    mp_put_raw(tuple, data, (size_t)(end - data));
    if (tuple->failed)
        return diag_set(ERROR_MEMORY, "no memory for a row of the catalog");
    if (args->fresh && (rc = name_is_new(ddl->before, space, tuple->data)) == 0)
        rc = key_is_new(ddl, space, tuple->data);
    if (rc == 0 && (rc = ddl__put(ddl, args->space_id)) == 0) {
        uint64_t id;
        const char *first = mp_array_at(tuple->data, 0);
        if (mp_read_uint(&first, &id))
            args->id = (uint32_t)id;
    }
    return rc;
}

int ddl_record_put(struct db_worker *worker, uint32_t space_id, const char *tuple, bool fresh,
                   uint32_t id_min, uint32_t *id)
{
    struct record_args args = {
        .space_id = space_id, .tuple = tuple, .fresh = fresh, .id_min = id_min};
    int rc = ddl__run(worker, record_put, NULL, &args);
    if (id != NULL)
        *id = args.id;
    return rc;
}

/* With where it stands, if that is known. */
static int watch_drop(struct ddl *ddl, uint32_t id)
{
    unsigned char key[16];
    const struct version *position;
    const struct space *positions = catalog_space_by_id(ddl->before, SPACE_ID_WATCH_POSITION);
    int rc = txn_get(ddl->txn, positions->head, key, (size_t)(key_encode_uint(key, id) - key),
                     &position);
    if (rc == 0 && position != NULL) {
        mp_put_uint(ddl__tuple(ddl, 1), id);
        rc = ddl__delete(ddl, SPACE_ID_WATCH_POSITION);
    }
    if (rc != 0)
        return rc;
    mp_put_uint(ddl__tuple(ddl, 1), id);
    return ddl__delete(ddl, SPACE_ID_WATCH);
}

int ddl__watches_drop(struct ddl *ddl, uint32_t space_id)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < catalog_record_count(ddl->before, CATALOG_WATCH); i++) {
        const char *row = catalog_record_at(ddl->before, CATALOG_WATCH, i)->tuple;
        if (number_at(row, 3, 0) == space_id)
            rc = watch_drop(ddl, number_at(row, 0, 0));
    }
    return rc;
}

static int record_delete(struct ddl *ddl, void *arg)
{
    struct record_args *args = arg;
    struct space *space = NULL;
    int rc = space_of(ddl, args->space_id, &space);
    if (rc != 0)
        return rc;
    ddl->only_functions = args->space_id != SPACE_ID_TRIGGER;
    const char *key = args->tuple, *end = key;
    if (mp_typeof(*key) != MP_ARRAY)
        return diag_set(ERROR_INVALID, "a key of \"%s\" is an array", space->name);
    if ((rc = may_change(ddl, space->id, args->tuple, NULL)) != 0)
        return rc;
    mp_next(&end);
    if (space->id == SPACE_ID_SEQUENCE &&
        (rc = ddl__privileges_drop(ddl, ACCESS_SEQUENCE, number_at(key, 0, UINT32_MAX))) != 0)
        return rc;
    if (space->id == SPACE_ID_WATCH)
        return watch_drop(ddl, number_at(key, 0, UINT32_MAX));
    mp_buffer_reset(&ddl->tuple, 65536);
    mp_put_raw(&ddl->tuple, key, (size_t)(end - key));
    return ddl__delete(ddl, args->space_id);
}

int ddl__triggers_drop(struct ddl *ddl, uint32_t space_id)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < catalog_record_count(ddl->before, CATALOG_TRIGGER); i++) {
        const char *row = catalog_record_at(ddl->before, CATALOG_TRIGGER, i)->tuple;
        if (number_at(row, 3, 0) != space_id)
            continue;
        mp_put_uint(ddl__tuple(ddl, 1), number_at(row, 0, 0));
        rc = ddl__delete(ddl, SPACE_ID_TRIGGER);
    }
    return rc;
}

int ddl_record_delete(struct db_worker *worker, uint32_t space_id, const char *key)
{
    struct record_args args = {.space_id = space_id, .tuple = key};
    return ddl__run(worker, record_delete, NULL, &args);
}
