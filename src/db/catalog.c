/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pictures of the catalog: made from the rows of the system spaces, looked up by name and id.
 *
 * The system spaces themselves are described here, not by rows. Names are found through a small
 * open-addressing table, since a lookup by name happens for each call that comes over the wire.
 */
#include "db/checkpoint_private.h"
#include "db/db_private.h"
#include "db/format_private.h"
#include "db/sequence.h"
#include "db/trigger_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

struct name_slot {
    const char *name;
    size_t size;
    void *object;
};

struct name_table {
    size_t mask;
    struct name_slot slots[];
};

/* FNV-1a. */
static uint64_t name_hash(const char *name, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
    return hash ^ (hash >> 32);
}

static struct name_table *name_table_new(struct arena *arena, size_t count)
{
    size_t capacity = 16;
    while (capacity < 2 * count)
        capacity *= 2;
    struct name_table *table =
        arena_alloc(arena, sizeof *table + capacity * sizeof(struct name_slot));
    if (table == NULL)
        return NULL;
    table->mask = capacity - 1;
    memset(table->slots, 0, capacity * sizeof(struct name_slot));
    return table;
}

static void name_table_add(struct name_table *table, const char *name, void *object)
{
    size_t size = strlen(name);
    size_t i = name_hash(name, size) & table->mask;
    while (table->slots[i].name != NULL)
        i = (i + 1) & table->mask;
    table->slots[i] = (struct name_slot){name, size, object};
}

static void *name_table_find(const struct name_table *table, const char *name, size_t size)
{
    for (size_t i = name_hash(name, size) & table->mask; table->slots[i].name != NULL;
         i = (i + 1) & table->mask)
        if (table->slots[i].size == size && memcmp(table->slots[i].name, name, size) == 0)
            return table->slots[i].object;
    return NULL;
}

struct space *catalog_space(const struct catalog *catalog, const char *name, size_t size)
{
    return name_table_find(catalog->space_names, name, size);
}

struct func *catalog_func(const struct catalog *catalog, const char *name, size_t size)
{
    return name_table_find(catalog->func_names, name, size);
}

struct space *catalog_space_by_id(const struct catalog *catalog, uint32_t id)
{
    size_t low = 0, high = catalog->space_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (catalog->spaces[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < catalog->space_count && catalog->spaces[low]->id == id ? catalog->spaces[low]
                                                                        : NULL;
}

uint32_t catalog_space_count(const struct catalog *catalog)
{
    return catalog->space_count;
}

struct space *catalog_space_at(const struct catalog *catalog, uint32_t n)
{
    return catalog->spaces[n];
}

uint32_t catalog_func_count(const struct catalog *catalog)
{
    return catalog->func_count;
}

struct func *catalog_func_at(const struct catalog *catalog, uint32_t n)
{
    return catalog->funcs[n];
}

uint32_t catalog_record_count(const struct catalog *catalog, enum catalog_kind kind)
{
    return catalog->record_count[kind];
}

const struct catalog_record *catalog_record_at(const struct catalog *catalog,
                                               enum catalog_kind kind, uint32_t n)
{
    return &catalog->records[kind][n];
}

const struct catalog_record *catalog_record(const struct catalog *catalog, enum catalog_kind kind,
                                            const char *name, size_t size)
{
    for (uint32_t i = 0; i < catalog->record_count[kind]; i++) {
        const char *field = mp_array_at(catalog->records[kind][i].tuple, 2);
        uint32_t field_size;
        if (field == NULL || mp_typeof(*field) != MP_STR)
            continue;
        const char *text = mp_decode_str(&field, &field_size);
        if (field_size == size && memcmp(text, name, size) == 0)
            return &catalog->records[kind][i];
    }
    return NULL;
}

int catalog_kind_of(uint32_t space_id)
{
    switch (space_id) {
    case SPACE_ID_SEQUENCE:
        return CATALOG_SEQUENCE;
    case SPACE_ID_USER:
        return CATALOG_USER;
    case SPACE_ID_PRIV:
        return CATALOG_PRIV;
    case SPACE_ID_TRIGGER:
        return CATALOG_TRIGGER;
    case SPACE_ID_MODULE:
        return CATALOG_MODULE;
    case SPACE_ID_WATCH:
        return CATALOG_WATCH;
    case SPACE_ID_REDIS_LIBRARY:
        return CATALOG_REDIS_LIBRARY;
    default:
        return -1;
    }
}

uint64_t catalog_version(const struct catalog *catalog)
{
    return catalog->version;
}

struct index *space_index(const struct space *space, const char *name, size_t size)
{
    for (uint32_t i = 0; i < space->index_count; i++)
        if (strlen(space->indexes[i]->name) == size &&
            memcmp(space->indexes[i]->name, name, size) == 0)
            return space->indexes[i];
    return NULL;
}

struct index *space_index_by_id(const struct space *space, uint32_t id)
{
    for (uint32_t i = 0; i < space->index_count; i++)
        if (space->indexes[i]->id == id)
            return space->indexes[i];
    return NULL;
}

int64_t space_field(const struct space *space, const char *name, size_t size)
{
    for (uint32_t i = 0; i < space->field_count; i++)
        if (space->fields[i].name_size == size && memcmp(space->fields[i].name, name, size) == 0)
            return i;
    return -1;
}

void db__catalog_release(struct catalog *catalog)
{
    if (atomic_fetch_sub(&catalog->references, 1) > 1)
        return;
    arena_destroy(&catalog->arena);
    free(catalog);
}

void db__catalog_publish(struct db *db, struct catalog *catalog)
{
    bool untidy = false; /* with other options there may be something to compact */
    for (uint32_t i = 0; i < catalog->space_count; i++) {
        struct space *space = catalog->spaces[i];
        struct store *store = space->head->arg;
        if (space->options != NULL)
            untidy |= db__store_configure(store, space->options);
        store->space = space;
    }
    pthread_mutex_lock(&db->catalog_mutex);
    struct catalog *old = db->catalog;
    db->catalog = catalog;
    store_release(&db->schema_version, catalog->version);
    pthread_mutex_unlock(&db->catalog_mutex);
    if (old != NULL)
        db__catalog_release(old);
    if (untidy && db->checkpoint != NULL)
        db__checkpoint_untidy(db);
}

/* The system spaces, as rows would describe them. */
struct system_space {
    uint32_t id;
    const char *name;
    struct {
        const char *name;
        enum key_type type;
        const char *type_name;
        bool nullable;
    } fields[8];
    uint32_t part_count;
    bool unreadable; /* rows are not tuples: Redis values by their key */
};

static const struct system_space system_spaces[] = {
    {SPACE_ID_SPACE,
     "_space",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"owner", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"engine", KEY_STRING, "string", false},
      {"field_count", KEY_UNSIGNED, "unsigned", false},
      {"flags", KEY_ANY, "map", false},
      {"format", KEY_ANY, "array", false}},
     1,
     false},
    {SPACE_ID_SEQUENCE,
     "_sequence",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"owner", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"opts", KEY_ANY, "map", false}},
     1,
     false},
    {SPACE_ID_SEQUENCE_DATA,
     "_sequence_data",
     {{"id", KEY_UNSIGNED, "unsigned", false}, {"value", KEY_INTEGER, "integer", false}},
     1,
     false},
    {SPACE_ID_INDEX,
     "_index",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"iid", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"type", KEY_STRING, "string", false},
      {"opts", KEY_ANY, "map", false},
      {"parts", KEY_ANY, "array", false}},
     2,
     false},
    {SPACE_ID_FUNC,
     "_func",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"owner", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"body", KEY_STRING, "string", false},
      {"opts", KEY_ANY, "map", false}},
     1,
     false},
    {SPACE_ID_REDIS, "_redis", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_USER,
     "_user",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"owner", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"type", KEY_STRING, "string", false},
      {"auth", KEY_ANY, "map", false},
      {"flags", KEY_ANY, "map", false}},
     1,
     false},
    {SPACE_ID_PRIV,
     "_priv",
     {{"grantee", KEY_UNSIGNED, "unsigned", false},
      {"object_type", KEY_STRING, "string", false},
      {"object_id", KEY_UNSIGNED, "unsigned", false},
      {"grantor", KEY_UNSIGNED, "unsigned", false},
      {"privilege", KEY_UNSIGNED, "unsigned", false}},
     3,
     false},
    {SPACE_ID_TRIGGER,
     "_trigger",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"owner", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"space_id", KEY_UNSIGNED, "unsigned", false},
      {"body", KEY_STRING, "string", false},
      {"opts", KEY_ANY, "map", false}},
     1,
     false},
    {SPACE_ID_MODULE,
     "_module",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"owner", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"version", KEY_STRING, "string", false},
      {"manifest", KEY_ANY, "map", false}},
     1,
     false},
    {SPACE_ID_MODULE_FILE,
     "_module_file",
     {{"module_id", KEY_UNSIGNED, "unsigned", false},
      {"path", KEY_STRING, "string", false},
      {"content", KEY_STRING, "string", false}},
     2,
     false},
    {SPACE_ID_MIGRATION,
     "_migration",
     {{"module", KEY_STRING, "string", false},
      {"number", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"time", KEY_NUMBER, "number", false},
      {"digest", KEY_STRING, "string", false},
      {"body", KEY_STRING, "string", false}},
     2,
     false},
    {SPACE_ID_WATCH,
     "_watch",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"owner", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"space_id", KEY_UNSIGNED, "unsigned", false},
      {"opts", KEY_ANY, "map", false}},
     1,
     false},
    {SPACE_ID_WATCH_POSITION,
     "_watch_position",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"position", KEY_UNSIGNED, "unsigned", false},
      {"revision", KEY_UNSIGNED, "unsigned", false}},
     1,
     false},
    {SPACE_ID_REDIS_1 + 0, "_redis_1", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 1, "_redis_2", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 2, "_redis_3", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 3, "_redis_4", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 4, "_redis_5", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 5, "_redis_6", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 6, "_redis_7", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 7, "_redis_8", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 8, "_redis_9", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 9, "_redis_10", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 10, "_redis_11", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 11, "_redis_12", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 12, "_redis_13", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 13, "_redis_14", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_1 + 14, "_redis_15", {{"key", KEY_STRING, "string", false}}, 1, true},
    {SPACE_ID_REDIS_LIBRARY,
     "_redis_library",
     {{"id", KEY_UNSIGNED, "unsigned", false},
      {"owner", KEY_UNSIGNED, "unsigned", false},
      {"name", KEY_STRING, "string", false},
      {"text", KEY_STRING, "string", false}},
     1,
     false},
    {SPACE_ID_REDIS_ELEMENT, "_redis_element", {{"key", KEY_BINARY, "varbinary", false}}, 1, true},
};

enum { SYSTEM_SPACE_COUNT = sizeof system_spaces / sizeof *system_spaces };

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for the catalog");
}

/* A row that could not be read: since it is damaged, unless memory was out. */
static int damaged(const struct catalog *catalog, const char *space, const char *what)
{
    if (catalog->memory_out)
        return no_memory();
    return diag_set(ERROR_CORRUPT, "a row of %s is damaged: %s", space, what);
}

static struct index *index_new(struct catalog *catalog, struct space *space, uint32_t id,
                               const char *name)
{
    struct index *index = arena_alloc(&catalog->arena, sizeof *index);
    if (index == NULL)
        return NULL;
    memset(index, 0, sizeof *index);
    index->id = id;
    index->name = name;
    index->space = space;
    index->scan.head = space->head;
    index->scan.number = (unsigned char)id;
    index->scan.arg = index;
    if (id == 0) {
        index->scan.tree = space->head->tree;
    } else {
        index->scan.tree = ((struct store *)space->head)->trees[id];
        index->scan.matches = db__index_matches;
    }
    return index;
}

/* What follows from the definition. */
static void index_settle(struct index *index)
{
    bool plain =
        index->func.text == NULL && index->condition.text == NULL && index->terms.count == 0;
    index->multikey_part = index->part_count;
    for (uint32_t i = index->part_count; i-- > 0;) {
        const struct index_part *part = &index->parts[i];
        plain = plain && part->path.count == 0 && !part->exclude_null;
        if (part->path.each < part->path.count)
            index->multikey_part = i;
    }
    index->plain = plain;
    index->scan.counted = index->func.text != NULL || index->condition.text != NULL;
}

/* Opens the body that the store has not got yet. */
static int body_ensure(struct store *store, const char *engine_name,
                       const struct body_options *options)
{
    if (store->body != NULL)
        return 0;
    const struct engine_vtab *engine = engine_find(engine_name, strlen(engine_name));
    if (engine == NULL)
        return diag_set(ERROR_UNSUPPORTED,
                        "space %u has engine \"%s\", which this version does not know",
                        store->head.id, engine_name);
    return db__store_body_open(store, engine, NULL, 0, options);
}

static bool system_fields(struct catalog *catalog, const struct system_space *from,
                          struct space *space)
{
    space->fields = arena_alloc(&catalog->arena, space->field_count * sizeof *space->fields);
    if (space->fields == NULL)
        return false;
    memset(space->fields, 0, space->field_count * sizeof *space->fields);
    for (uint32_t i = 0; i < space->field_count; i++) {
        struct field_def *field = &space->fields[i];
        const char *type = from->fields[i].type_name;
        field->name = from->fields[i].name;
        field->kind = (enum field_type)field_type_parse(type, strlen(type));
        field->nullable = from->fields[i].nullable;
    }
    return db__format_settle(&catalog->arena, space) == 0;
}

static int system_space_add(struct db *db, struct catalog *catalog, const struct system_space *from)
{
    struct space *space = arena_alloc(&catalog->arena, sizeof *space);
    if (space == NULL)
        return no_memory();
    memset(space, 0, sizeof *space);
    space->id = from->id;
    space->name = from->name;
    space->engine = "memory";
    space->system = true;
    while (space->field_count < 8 && from->fields[space->field_count].name != NULL)
        space->field_count++;
    if (!system_fields(catalog, from, space))
        return no_memory();
    space->head = &db__store_find(db, from->id, 0)->head;
    struct index *index = index_new(catalog, space, 0, "primary");
    if (index == NULL)
        return no_memory();
    index->unique = true;
    index->part_count = from->part_count;
    for (uint32_t i = 0; i < from->part_count; i++)
        index->parts[i] = (struct index_part){.field = i, .type = from->fields[i].type};
    index_settle(index);
    if (!from->unreadable)
        space->indexes[space->index_count++] = index;
    catalog->spaces[catalog->space_count++] = space;
    return body_ensure(space->head->arg, space->engine, space->options);
}

/* Reading of system tuples, which ddl.c has written. */
static bool read_string(struct catalog *catalog, const char **data, const char **out)
{
    if (mp_typeof(**data) != MP_STR)
        return false;
    uint32_t size;
    const char *text = mp_decode_str(data, &size);
    char *copy = arena_alloc(&catalog->arena, (size_t)size + 1);
    catalog->memory_out |= copy == NULL;
    if (copy == NULL)
        return false;
    memcpy(copy, text, size);
    copy[size] = '\0';
    *out = copy;
    return true;
}

static bool read_uint32(const char **data, uint32_t *out)
{
    uint64_t value;
    if (!mp_read_uint(data, &value) || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

bool db__map_bool(const char *map, const char *name, bool otherwise)
{
    const char *value = mp_map_find(map, name);
    return value != NULL && mp_typeof(*value) == MP_BOOL ? mp_decode_bool(&value) : otherwise;
}

/* What a row of _space says. */
static int space_read(struct db *db, struct catalog *catalog, const char *data, struct space **out)
{
    struct space *space = arena_alloc(&catalog->arena, sizeof *space);
    if (space == NULL)
        return no_memory();
    memset(space, 0, sizeof *space);
    uint32_t incarnation = 0;
    int rc;
    if (mp_typeof(*data) != MP_ARRAY || mp_decode_array(&data) < 7 ||
        !read_uint32(&data, &space->id) || !read_uint32(&data, &space->owner) ||
        !read_string(catalog, &data, &space->name) ||
        !read_string(catalog, &data, &space->engine) || !read_uint32(&data, &space->exact_count))
        return damaged(catalog, "_space", "not as expected");
    const char *found = mp_map_find(data, "incarnation"), *flags = data;
    if (found != NULL && !read_uint32(&found, &incarnation))
        return damaged(catalog, "_space", "incarnation");
    mp_next(&data);
    if ((rc = db__format_read(&catalog->arena, data, space)) != 0 ||
        (rc = db__constraints_read(&catalog->arena, flags, data, space)) != 0 ||
        (rc = db__foreign_read(&catalog->arena, flags, data, space)) != 0) {
        catalog->memory_out |= rc == ERROR_MEMORY;
        return damaged(catalog, "_space", "format");
    }
    if ((rc = db__body_options_read(&catalog->arena, flags, space)) != 0)
        return rc;
    struct store *store = db__store_find(db, space->id, incarnation);
    if (store == NULL)
        return damaged(catalog, "_space", "a space without a store");
    space->temporary = db__map_bool(flags, "temporary", false);
    space->local = db__map_bool(flags, "is_local", false);
    space->quiet = !db__map_bool(flags, "run_triggers", true);
    store->head.unlogged = space->temporary;
    db__store_track(store, !space->temporary);
    space->head = &store->head;
    *out = space;
    return 0;
}

/* What the space is being altered to: as the change says, or as the newest picture has it. */
static int coming_add(struct db *db, struct catalog *catalog, const struct coming *change,
                      struct space *space)
{
    const struct store *store = space->head->arg;
    const struct space *before = store->space;
    const struct space *now = before == NULL ? NULL : before->coming;
    struct coming coming = {.space_id = space->id};
    if (change != NULL && change->space_id == space->id)
        coming = *change;
    else if (now != NULL)
        coming = (struct coming){.row = now->definition, .size = now->definition_size};
    else if (before != NULL)
        coming.again_id = before->again_id;
    space->again_id = coming.again_id;
    if (coming.row == NULL)
        return 0;
    const char *row = arena_copy(&catalog->arena, coming.row, coming.size);
    if (row == NULL)
        return no_memory();
    int rc = space_read(db, catalog, row, &space->coming);
    if (rc != 0)
        return rc;
    space->coming->definition = row;
    space->coming->definition_size = (uint32_t)coming.size;
    return 0;
}

static int space_add(struct db *db, struct catalog *catalog, const struct coming *coming,
                     struct row *row, const struct version *version)
{
    struct space *space;
    int rc = space_read(db, catalog, version->bytes, &space);
    if (rc == 0)
        rc = coming_add(db, catalog, coming, space);
    if (rc != 0)
        return rc;
    space->row = row;
    space->row_version = version;
    catalog->spaces[catalog->space_count++] = space;
    return body_ensure(space->head->arg, space->engine, space->options);
}

/* An optional string of a map: *out stays NULL when it is absent. */
static bool map_string(struct catalog *catalog, const char *map, const char *name, const char **out)
{
    const char *value = mp_map_find(map, name);
    return value == NULL || read_string(catalog, &value, out);
}

static bool read_path(struct catalog *catalog, const char *part, struct field_path *out)
{
    uint32_t size = 0;
    const char *path = mp_map_find(part, "path"), *text = "";
    if (path != NULL && mp_typeof(*path) != MP_STR)
        return false;
    if (path != NULL)
        text = mp_decode_str(&path, &size);
    int rc = field_path_read(&catalog->arena, text, size, out);
    catalog->memory_out |= rc == ERROR_MEMORY;
    return rc == 0;
}

static bool read_part(struct catalog *catalog, const char *data, struct index_part *part)
{
    const char *field = mp_map_find(data, "field"), *type = mp_map_find(data, "type"),
               *order = NULL;
    uint32_t size;
    if (field == NULL || type == NULL || !read_uint32(&field, &part->field) ||
        mp_typeof(*type) != MP_STR || !map_string(catalog, data, "sort_order", &order) ||
        !read_path(catalog, data, &part->path))
        return false;
    const char *name = mp_decode_str(&type, &size);
    int parsed = key_type_parse(name, size);
    if (parsed < 0)
        return false;
    part->type = (enum key_type)parsed;
    part->nullable = db__map_bool(data, "is_nullable", false);
    part->exclude_null = db__map_bool(data, "exclude_null", false);
    part->descending = order != NULL && strcmp(order, "desc") == 0;
    return true;
}

static bool read_parts(struct catalog *catalog, const char *data, struct index *index)
{
    if (mp_typeof(*data) != MP_ARRAY)
        return false;
    index->part_count = mp_decode_array(&data);
    if (index->part_count == 0 || index->part_count > INDEX_PARTS_MAX)
        return false;
    for (uint32_t i = 0; i < index->part_count; i++) {
        if (!read_part(catalog, data, &index->parts[i]))
            return false;
        mp_next(&data);
    }
    return true;
}

/* Text of Lua, under the hash of it. */
static bool read_expression(struct catalog *catalog, const char *text, const char *what,
                            const struct index *index, struct expression *out)
{
    size_t size = strlen(what) + strlen(index->name) + 16;
    char *name = arena_alloc(&catalog->arena, size);
    catalog->memory_out |= name == NULL;
    if (name == NULL)
        return false;
    snprintf(name, size, "%s of index \"%s\"", what, index->name);
    *out = (struct expression){text, name_hash(text, strlen(text)), name};
    return true;
}

static bool read_condition(struct catalog *catalog, const char *options, struct index *index)
{
    const char *condition = mp_map_find(options, "condition"), *text;
    if (condition == NULL)
        return true;
    if (mp_typeof(*condition) == MP_STR)
        return read_string(catalog, &condition, &text) &&
               read_expression(catalog, text, "condition", index, &index->condition);
    int rc = condition_read(&catalog->arena, condition, &index->terms);
    catalog->memory_out |= rc == ERROR_MEMORY;
    return rc == 0;
}

static bool read_covers(struct catalog *catalog, const char *options, struct index *index)
{
    const char *covers = mp_map_find(options, "covers");
    if (covers == NULL)
        return true;
    if (mp_typeof(*covers) != MP_ARRAY)
        return false;
    uint32_t count = mp_decode_array(&covers), *fields;
    fields = arena_alloc(&catalog->arena, count * sizeof *fields);
    catalog->memory_out |= fields == NULL;
    for (uint32_t i = 0; fields != NULL && i < count; i++)
        if (!read_uint32(&covers, &fields[i]))
            return false;
    index->cover_count = count;
    index->covers = fields;
    return fields != NULL;
}

static bool read_index_options(struct catalog *catalog, const char *options, struct index *index)
{
    const char *text = NULL;
    index->unique = db__map_bool(options, "unique", true);
    index->building = db__map_bool(options, "building", false);
    index->func_multikey = db__map_bool(options, "is_multikey", false);
    return map_string(catalog, options, "func_name", &index->func_name) &&
           map_string(catalog, options, "func", &text) &&
           (text == NULL || read_expression(catalog, text, "function", index, &index->func)) &&
           read_condition(catalog, options, index) && read_covers(catalog, options, index);
}

static void read_sequence(const char *options, struct space *space)
{
    const char *id = mp_map_find(options, "sequence"),
               *field = mp_map_find(options, "sequence_field");
    if (id != NULL && field != NULL &&
        !(read_uint32(&id, &space->sequence_id) && read_uint32(&field, &space->sequence_field)))
        space->sequence_id = 0;
}

/* After the records have been read. */
static int sequences_bind(struct catalog *catalog)
{
    for (uint32_t i = 0; i < catalog->space_count; i++) {
        struct space *space = catalog->spaces[i];
        if (space->sequence_id == 0)
            continue;
        struct sequence_def *def = arena_alloc(&catalog->arena, sizeof *def);
        if (def == NULL)
            return no_memory();
        if (sequence_find(catalog, space->sequence_id, def) == 0)
            space->sequence = def;
    }
    return 0;
}

/* The same once more, with another tree: for writers alone. */
static int again_add(struct catalog *catalog, struct space *space, const struct index *index)
{
    struct index *again = arena_alloc(&catalog->arena, sizeof *again);
    if (again == NULL)
        return no_memory();
    *again = *index;
    again->building = again->again = again->scan.filling = true;
    again->scan.tree = ((struct store *)space->head)->trees[TREE_AGAIN];
    again->scan.arg = again;
    space->building = again;
    return 0;
}

static int index_add(struct catalog *catalog, const struct version *version)
{
    const char *data = version->bytes, *name, *type, *options;
    uint32_t space_id, id;
    if (mp_typeof(*data) != MP_ARRAY || mp_decode_array(&data) < 6 ||
        !read_uint32(&data, &space_id) || !read_uint32(&data, &id) || id >= INDEX_MAX ||
        !read_string(catalog, &data, &name) || !read_string(catalog, &data, &type))
        return damaged(catalog, "_index", "not as expected");
    struct space *space = catalog_space_by_id(catalog, space_id);
    if (space == NULL || space->index_count == INDEX_MAX)
        return damaged(catalog, "_index", "an index without a space");
    struct index *index = index_new(catalog, space, id, name);
    if (index == NULL)
        return no_memory();
    index->type = strcmp(type, "hash") == 0 ? INDEX_HASH : INDEX_TREE;
    options = data;
    mp_next(&data);
    if (!read_index_options(catalog, options, index) || !read_parts(catalog, data, index))
        return damaged(catalog, "_index", "parts or options");
    index_settle(index);
    if (id == 0)
        read_sequence(options, space);
    index->scan.filling = index->building;
    if (!index->building)
        space->indexes[space->index_count++] = index;
    else if (index->scan.tree != NULL) /* else it was being built before a restart */
        space->building = index;
    return id != 0 && id == space->again_id ? again_add(catalog, space, index) : 0;
}

bool db__index_row_building(const char *tuple)
{
    const char *options = mp_array_at(tuple, 4);
    return options != NULL && db__map_bool(options, "building", false);
}

static bool read_level(const char *options, enum txn_level *out)
{
    uint32_t size;
    const char *value = mp_map_find(options, "isolation");
    *out = TXN_SERIALIZABLE;
    if (value == NULL || mp_typeof(*value) != MP_STR)
        return false;
    const char *name = mp_decode_str(&value, &size);
    return txn_level_parse(name, size, out);
}

static uint64_t map_uint(const char *map, const char *name, uint64_t otherwise)
{
    uint64_t value;
    const char *found = mp_map_find(map, name);
    return found != NULL && mp_read_uint(&found, &value) ? value : otherwise;
}

static int func_add(struct catalog *catalog, const struct version *version)
{
    struct func *func = arena_alloc(&catalog->arena, sizeof *func);
    if (func == NULL)
        return no_memory();
    memset(func, 0, sizeof *func);
    const char *data = version->bytes;
    if (mp_typeof(*data) != MP_ARRAY || mp_decode_array(&data) < 5 ||
        !read_uint32(&data, &func->id) || !read_uint32(&data, &func->owner) ||
        !read_string(catalog, &data, &func->name) || mp_typeof(*data) != MP_STR)
        return damaged(catalog, "_func", "not as expected");
    const char *body = data;
    uint32_t size;
    mp_decode_str(&body, &size);
    func->body_size = size;
    if (!read_string(catalog, &data, &func->body))
        return damaged(catalog, "_func", "body");
    const char *end = data;
    mp_next(&end);
    if ((func->options = arena_copy(&catalog->arena, data, (size_t)(end - data))) == NULL)
        return no_memory();
    func->readonly = db__map_bool(func->options, "readonly", false);
    func->transaction = db__map_bool(func->options, "transaction", true);
    func->setuid = db__map_bool(func->options, "setuid", false);
    func->level_given = read_level(func->options, &func->level);
    const char *revision = mp_map_find(func->options, "revision");
    uint64_t value = 0;
    if (revision != NULL)
        mp_read_uint(&revision, &value);
    func->version_ts = value;
    func->version = (uint32_t)map_uint(func->options, "version", 1);
    func->timeout_ms = map_uint(func->options, "timeout_ms", 0);
    func->memory = map_uint(func->options, "memory", 0);
    func->rows_max = map_uint(func->options, "rows_max", 0);
    catalog->funcs[catalog->func_count++] = func;
    return 0;
}

static int record_add(struct catalog *catalog, enum catalog_kind kind,
                      const struct version *version)
{
    struct catalog_record *record = &catalog->records[kind][catalog->record_count[kind]++];
    record->tuple = arena_copy(&catalog->arena, version->bytes, version->size);
    record->size = version->size;
    return record->tuple == NULL ? no_memory() : 0;
}

/* Reads all rows of a system space, in order of key. */
static int rows_read(struct db *db, struct catalog *catalog, struct txn *txn,
                     const struct coming *coming, uint32_t space_id)
{
    struct store *store = db__store_find(db, space_id, 0);
    struct txn_index scan = {.tree = store->head.tree, .head = &store->head};
    struct txn_cursor cursor;
    txn_cursor_open(&cursor, txn, &scan, &(struct txn_range){0});
    struct row *row;
    const struct version *version;
    int rc;
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0) {
        if (space_id == SPACE_ID_SPACE)
            rc = space_add(db, catalog, coming, row, version);
        else if (space_id == SPACE_ID_INDEX)
            rc = index_add(catalog, version);
        else if (space_id == SPACE_ID_FUNC)
            rc = func_add(catalog, version);
        else
            rc = record_add(catalog, (enum catalog_kind)catalog_kind_of(space_id), version);
        if (rc != 0)
            return rc;
    }
    return rc == ERROR_END ? 0 : rc;
}

static int names_make(struct catalog *catalog)
{
    catalog->space_names = name_table_new(&catalog->arena, catalog->space_count);
    catalog->func_names = name_table_new(&catalog->arena, catalog->func_count);
    if (catalog->space_names == NULL || catalog->func_names == NULL)
        return no_memory();
    for (uint32_t i = 0; i < catalog->space_count; i++)
        name_table_add(catalog->space_names, catalog->spaces[i]->name, catalog->spaces[i]);
    for (uint32_t i = 0; i < catalog->func_count; i++)
        name_table_add(catalog->func_names, catalog->funcs[i]->name, catalog->funcs[i]);
    return 0;
}

int db__system_stores_make(struct db *db)
{
    for (size_t i = 0; i < SYSTEM_SPACE_COUNT; i++) {
        struct store *store;
        int rc = db__store_make(db, &db->boot, system_spaces[i].id, 0, &store);
        if (rc != 0)
            return rc;
    }
    db->space_store = db__store_find(db, SPACE_ID_SPACE, 0);
    db->index_store = db__store_find(db, SPACE_ID_INDEX, 0);
    return db__redis_stores_make(db);
}

/* Room for as many rows as the store of a system space can have: tombstones and dead rows are
 * counted too. */
static void *rows_alloc(struct db *db, struct catalog *catalog, uint32_t space_id, size_t more,
                        size_t size)
{
    size_t count = tree_count(db__store_find(db, space_id, 0)->head.tree) + more;
    return arena_alloc(&catalog->arena, count * size);
}

static int records_read(struct db *db, struct catalog *catalog, struct txn *txn)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SYSTEM_SPACE_COUNT; i++) {
        int kind = catalog_kind_of(system_spaces[i].id);
        if (kind < 0)
            continue;
        catalog->records[kind] =
            rows_alloc(db, catalog, system_spaces[i].id, 1, sizeof **catalog->records);
        rc = catalog->records[kind] == NULL
                 ? no_memory()
                 : rows_read(db, catalog, txn, NULL, system_spaces[i].id);
    }
    return rc;
}

int db__catalog_build(struct db *db, struct txn *txn, const struct coming *coming,
                      struct catalog **out)
{
    struct catalog *catalog = calloc(1, sizeof *catalog);
    if (catalog == NULL)
        return no_memory();
    atomic_init(&catalog->references, 1);
    catalog->version = atomic_fetch_add(&db->catalogs_made, 1) + 1;
    arena_create(&catalog->arena, 0);
    catalog->spaces =
        rows_alloc(db, catalog, SPACE_ID_SPACE, SYSTEM_SPACE_COUNT, sizeof *catalog->spaces);
    catalog->funcs = rows_alloc(db, catalog, SPACE_ID_FUNC, 1, sizeof *catalog->funcs);
    int rc = catalog->spaces == NULL || catalog->funcs == NULL ? no_memory() : 0;
    for (size_t i = 0; rc == 0 && i < SYSTEM_SPACE_COUNT; i++)
        rc = system_space_add(db, catalog, &system_spaces[i]);
    if (rc == 0)
        rc = rows_read(db, catalog, txn, coming, SPACE_ID_SPACE);
    if (rc == 0)
        rc = rows_read(db, catalog, txn, NULL, SPACE_ID_INDEX);
    if (rc == 0)
        db__foreign_resolve(catalog);
    if (rc == 0)
        rc = rows_read(db, catalog, txn, NULL, SPACE_ID_FUNC);
    if (rc == 0)
        rc = records_read(db, catalog, txn);
    if (rc == 0)
        rc = sequences_bind(catalog);
    if (rc == 0)
        rc = names_make(catalog);
    if (rc == 0)
        rc = db__triggers_read(catalog);
    if (rc == 0)
        db__foreign_settle(catalog);
    if (rc != 0) {
        db__catalog_release(catalog);
        return rc;
    }
    *out = catalog;
    return 0;
}
