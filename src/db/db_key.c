/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From tuples to keys: the parts of an index, encoded in order; behind those of a secondary index
 * the primary key, so that every entry has a key of its own.
 */
#include "db/db_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/ext.h"
#include "codec/mp.h"

static const char *mp_type_name(const char *value)
{
    switch (mp_typeof(*value)) {
    case MP_NIL:
        return "nil";
    case MP_UINT:
        return "unsigned";
    case MP_INT:
        return "integer";
    case MP_STR:
        return "string";
    case MP_BIN:
        return "varbinary";
    case MP_ARRAY:
        return "array";
    case MP_MAP:
        return "map";
    case MP_BOOL:
        return "boolean";
    case MP_FLOAT:
    case MP_DOUBLE:
        return "double";
    default:
        return ext_kind_name(ext_kind(value));
    }
}

/* Starts of the fields of a tuple that an index needs; NULL for those behind its end. */
static void fields_find(const char *tuple, const struct index *index, const char **fields)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < index->part_count; i++) {
        fields[i] = NULL;
        if (index->parts[i].field > last)
            last = index->parts[i].field;
    }
    const char *data = tuple;
    uint32_t count = mp_decode_array(&data);
    for (uint32_t n = 0; n < count && n <= last; n++) {
        for (uint32_t i = 0; i < index->part_count; i++)
            if (index->parts[i].field == n)
                fields[i] = data;
        if (n < last)
            mp_next(&data);
    }
}

static const char nil_value[1] = {(char)0xc0};

static int part_type_error(const struct index *index, uint32_t part, const char *value,
                           const char *what)
{
    const struct index_part *def = &index->parts[part];
    return diag_set(ERROR_SCHEMA, "%s %u of index \"%s\" of space \"%s\" must be %s%s, not %s",
                    what, part + 1, index->name, index->space->name, key_type_name(def->type),
                    def->nullable ? " or nil" : "", mp_type_name(value));
}

static size_t parts_size_max(const struct index *index, const char *const *fields)
{
    size_t size = 0;
    for (uint32_t i = 0; i < index->part_count; i++)
        size += key_part_size_max(fields[i] == NULL ? nil_value : fields[i]);
    return size;
}

/* Encodes the parts of one index; NULL when one does not fit. */
static unsigned char *parts_encode(const struct index *index, const char *const *fields,
                                   unsigned char *out, bool *has_nil, bool complain)
{
    for (uint32_t i = 0; i < index->part_count; i++) {
        const char *value = fields[i] == NULL ? nil_value : fields[i];
        const char *next = value;
        if (mp_typeof(*value) == MP_NIL)
            *has_nil = true;
        if (key_part_encode(&next, index->parts[i].type, index->parts[i].nullable, &out) != 0) {
            if (complain && fields[i] == NULL)
                diag_set(ERROR_SCHEMA, "field %u is missing: index \"%s\" of space \"%s\" needs it",
                         index->parts[i].field + 1, index->name, index->space->name);
            else if (complain)
                part_type_error(index, i, value, "part");
            return NULL;
        }
    }
    return out;
}

static int key_of_tuple(struct arena *arena, const struct index *index, const char *tuple,
                        bool complain, struct key_bytes *out)
{
    const struct index *primary = index->space->indexes[0];
    const char *fields[INDEX_PARTS_MAX], *primary_fields[INDEX_PARTS_MAX];
    fields_find(tuple, index, fields);
    size_t size = parts_size_max(index, fields);
    if (index != primary) {
        fields_find(tuple, primary, primary_fields);
        size += parts_size_max(primary, primary_fields);
    }
    unsigned char *data = arena_alloc(arena, size);
    if (data == NULL)
        return complain ? diag_set(ERROR_MEMORY, "no memory for a key") : ERROR_MEMORY;
    out->data = data;
    out->has_nil = false;
    unsigned char *end = parts_encode(index, fields, data, &out->has_nil, complain);
    if (end == NULL)
        return ERROR_SCHEMA;
    out->parts_size = (size_t)(end - data);
    if (index != primary) {
        bool unused = false;
        if ((end = parts_encode(primary, primary_fields, end, &unused, complain)) == NULL)
            return ERROR_SCHEMA;
    }
    out->size = (size_t)(end - data);
    return 0;
}

int db__key_of_tuple(struct arena *arena, const struct index *index, const char *tuple,
                     struct key_bytes *out)
{
    return key_of_tuple(arena, index, tuple, true, out);
}

int db__key_of_array(struct arena *arena, const struct index *index, const char *key, bool exact,
                     struct key_bytes *out)
{
    const char *data = key;
    uint32_t count = mp_decode_array(&data);
    if (count > index->part_count || (exact && count < index->part_count))
        return diag_set(ERROR_INVALID,
                        "index \"%s\" of space \"%s\" takes a key of %s%u part%s, not %u",
                        index->name, index->space->name, exact ? "" : "at most ", index->part_count,
                        index->part_count == 1 ? "" : "s", count);
    size_t size = 0;
    const char *value = data;
    for (uint32_t i = 0; i < count; i++) {
        size += key_part_size_max(value);
        mp_next(&value);
    }
    unsigned char *encoded = arena_alloc(arena, size + 1);
    if (encoded == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a key");
    *out = (struct key_bytes){.data = encoded};
    unsigned char *end = encoded;
    for (uint32_t i = 0; i < count; i++) {
        value = data;
        if (mp_typeof(*value) == MP_NIL)
            out->has_nil = true;
        if (key_part_encode(&data, index->parts[i].type, index->parts[i].nullable, &end) != 0)
            return part_type_error(index, i, value, "key part");
    }
    out->size = out->parts_size = (size_t)(end - encoded);
    return 0;
}

bool db__index_matches(const struct txn_index *scan, const struct entry *entry,
                       const struct version *version)
{
    const struct index *index = scan->arg;
    const char *fields[INDEX_PARTS_MAX];
    unsigned char small[512];
    fields_find(version->bytes, index, fields);
    size_t size = parts_size_max(index, fields);
    struct arena arena;
    unsigned char *data = small;
    if (size > sizeof small) {
        arena_create(&arena, 0);
        data = arena_alloc(&arena, size);
    }
    bool has_nil = false;
    /* Without memory it says that the entry is needed: to keep one too many is harmless. */
    bool same = data == NULL;
    if (data != NULL) {
        unsigned char *end = parts_encode(index, fields, data, &has_nil, false);
        same = end != NULL && (size_t)(end - data) <= entry->key_size &&
               memcmp(data, entry->key, (size_t)(end - data)) == 0;
    }
    if (size > sizeof small)
        arena_destroy(&arena);
    return same;
}

void db__version_dropped(struct head *head, struct txn_worker *worker, struct row *row,
                         const struct version *dropped)
{
    struct store *store = head->arg;
    struct space *space = store->space;
    if (space == NULL || space->index_count < 2 || (dropped->flags & VERSION_TOMBSTONE))
        return;
    struct arena arena;
    arena_create(&arena, 0);
    for (uint32_t i = 1; i < space->index_count; i++) {
        struct key_bytes key;
        /* Quietly: a statement that failed keeps its message when it is undone. */
        if (key_of_tuple(&arena, space->indexes[i], dropped->bytes, false, &key) == 0)
            txn_entry_sweep(worker, &space->indexes[i]->scan, key.data, key.size, row);
    }
    arena_destroy(&arena);
}

static int field_type_error(const struct space *space, uint32_t field, const char *value)
{
    const struct field_def *def = &space->fields[field];
    return diag_set(ERROR_SCHEMA, "field %u (%s) of space \"%s\" must be %s%s, not %s", field + 1,
                    def->name, space->name, def->type_name, def->nullable ? " or nil" : "",
                    mp_type_name(value));
}

/* What KEY_ANY leaves open: arrays, maps, scalars. */
static bool field_fits(const struct field_def *def, const char *value)
{
    enum mp_type type = mp_typeof(*value);
    if (type == MP_NIL)
        return def->nullable || strcmp(def->type_name, "any") == 0;
    switch (def->type) {
    case KEY_UNSIGNED:
        return type == MP_UINT;
    case KEY_INTEGER:
        return type == MP_UINT || type == MP_INT;
    case KEY_NUMBER:
        return type == MP_UINT || type == MP_INT || type == MP_FLOAT || type == MP_DOUBLE ||
               ext_kind(value) == EXT_DECIMAL;
    case KEY_DOUBLE:
        return type == MP_FLOAT || type == MP_DOUBLE;
    case KEY_STRING:
        return type == MP_STR;
    case KEY_BOOLEAN:
        return type == MP_BOOL;
    case KEY_BINARY:
        return type == MP_BIN;
    case KEY_DECIMAL:
        return ext_kind(value) == EXT_DECIMAL;
    case KEY_UUID:
        return ext_kind(value) == EXT_UUID;
    case KEY_DATETIME:
        return ext_kind(value) == EXT_DATETIME;
    case KEY_ANY:
        break;
    }
    if (strcmp(def->type_name, "array") == 0)
        return type == MP_ARRAY;
    if (strcmp(def->type_name, "map") == 0)
        return type == MP_MAP;
    if (strcmp(def->type_name, "scalar") == 0)
        return type != MP_ARRAY && type != MP_MAP && ext_kind(value) != EXT_INTERVAL &&
               ext_kind(value) != EXT_UNKNOWN;
    if (strcmp(def->type_name, "interval") == 0)
        return ext_kind(value) == EXT_INTERVAL;
    return true;
}

int db__tuple_check(const struct space *space, const char *tuple, size_t size)
{
    const char *data = tuple;
    if (size == 0 || mp_typeof(*data) != MP_ARRAY)
        return diag_set(ERROR_SCHEMA, "a tuple must be an array");
    if (size > UINT32_MAX / 2)
        return diag_set(ERROR_TOO_LARGE, "a tuple of %zu bytes is above the limit of 2 GiB", size);
    uint32_t count = mp_decode_array(&data);
    for (uint32_t i = 0; i < space->field_count; i++) {
        const struct field_def *def = &space->fields[i];
        if (i >= count) {
            if (!def->nullable && strcmp(def->type_name, "any") != 0)
                return diag_set(ERROR_SCHEMA, "field %u (%s) of space \"%s\" is missing", i + 1,
                                def->name, space->name);
            continue;
        }
        if (!field_fits(def, data))
            return field_type_error(space, i, data);
        mp_next(&data);
    }
    return 0;
}
