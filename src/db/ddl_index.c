/* SPDX-License-Identifier: Apache-2.0 */

/* Changes of the catalog: indexes. */
#include "db/ddl_private.h"
#include "db/format_private.h"
#include "db/sequence.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct index_args {
    uint32_t space_id;
    const char *name;
    size_t name_size;
    const char *options;
    uint32_t id;
    bool present;           /* if_not_exists, and it does */
    bool standalone;        /* not within a schema transaction */
    bool online;            /* it is filled while others write */
    struct mp_buffer ready; /* then its row of _index in the end */
};

enum {
    INDEX_TYPE,
    INDEX_UNIQUE,
    INDEX_IF_NOT_EXISTS,
    INDEX_PARTS,
    INDEX_ID,
    INDEX_FUNC,
    INDEX_MULTIKEY,
    INDEX_CONDITION,
    INDEX_COVERS,
    INDEX_SEQUENCE,
    INDEX_SEQUENCE_FIELD,
    INDEX_OPTIONS
};

/* A definition as it was given. */
struct index_definition {
    enum index_type type;
    bool unique, multikey;
    const char *func, *func_name; /* Lua text or NULL; the name of the one in _func, or NULL */
    size_t func_size;
    const char *condition, *covers;    /* MessagePack, or NULL */
    uint64_t sequence, sequence_field; /* the id, 0: none; the field from 0 */
    uint32_t part_count;
    struct index_part parts[INDEX_PARTS_MAX];
};

static void put_text(struct mp_buffer *tuple, const char *name, const char *text, size_t size)
{
    mp_put_str(tuple, name, strlen(name));
    mp_put_str(tuple, text, size);
}

static void put_flag(struct mp_buffer *tuple, const char *name, bool value)
{
    mp_put_str(tuple, name, strlen(name));
    mp_put_bool(tuple, value);
}

/* Whether the text compiles as what `what` says. */
static int expression_check(struct ddl *ddl, const char *what, const char *text, size_t size)
{
    const struct db_expressions *expressions = ddl->db->expressions;
    if (expressions == NULL)
        return diag_set(ERROR_UNSUPPORTED, "Lua expressions cannot be evaluated here");
    char *copy = arena_alloc(txn_arena(ddl->txn), size + 1);
    if (copy == NULL)
        return diag_set(ERROR_MEMORY, "no memory for the %s of an index", what);
    memcpy(copy, text, size);
    copy[size] = '\0';
    struct expression expression = {.text = copy, .name = what};
    int rc = expressions->check(expressions->arg, &expression);
    if (rc != 0)
        diag_add("the %s of the index", what);
    return rc;
}

static bool func_deterministic(const struct func *func)
{
    const char *data = func->options;
    for (uint32_t n = mp_decode_map(&data); n > 0; n--) {
        bool found = ddl__name_is(data, "is_deterministic");
        mp_next(&data);
        if (found && mp_typeof(*data) == MP_BOOL)
            return mp_decode_bool(&data);
        mp_next(&data);
    }
    return false;
}

/* The text of a function: of the one in _func that is called so, or as it is given. */
static int func_find(struct ddl *ddl, struct index_definition *def, const char *value)
{
    uint32_t size;
    const char *text = mp_decode_str(&value, &size);
    struct func *func = catalog_func(ddl->before, text, size);
    size_t letters = 0;
    while (letters < size && (isalnum((unsigned char)text[letters]) || text[letters] == '_'))
        letters++;
    if (func == NULL && letters == size)
        return diag_set(ERROR_NOT_FOUND, "there is no function \"%.*s\"", (int)size, text);
    if (func != NULL && !func_deterministic(func))
        return diag_set(
            ERROR_SCHEMA,
            "function \"%s\" is not declared deterministic, so an index cannot rest on it",
            func->name);
    def->func_name = func == NULL ? NULL : func->name;
    def->func = func == NULL ? text : func->body;
    def->func_size = func == NULL ? size : func->body_size;
    return expression_check(ddl, "function", def->func, def->func_size);
}

static int type_choose(struct index_definition *def, const char *type)
{
    if (type == NULL || ddl__name_is(type, "tree") || ddl__name_is(type, "TREE"))
        def->type = INDEX_TREE;
    else if (ddl__name_is(type, "hash") || ddl__name_is(type, "HASH"))
        def->type = INDEX_HASH;
    else
        return diag_set(ERROR_UNSUPPORTED, "the type of an index is 'tree' or 'hash'");
    return 0;
}

static int condition_check(struct ddl *ddl, const char *condition)
{
    uint32_t size;
    if (mp_typeof(*condition) == MP_ARRAY)
        return 0;
    if (mp_typeof(*condition) != MP_STR)
        return diag_set(ERROR_INVALID,
                        "the condition of an index is Lua text or {field, operator, value}");
    const char *text = mp_decode_str(&condition, &size);
    return expression_check(ddl, "condition", text, size);
}

static int definition_read(struct ddl *ddl, const struct space *space,
                           const struct ddl_option *options, struct index_definition *def)
{
    def->unique = ddl__option_bool(&options[INDEX_UNIQUE], true);
    def->multikey = ddl__option_bool(&options[INDEX_MULTIKEY], false);
    def->condition = options[INDEX_CONDITION].value;
    def->covers = options[INDEX_COVERS].value;
    const char *sequence = options[INDEX_SEQUENCE].value,
               *field = options[INDEX_SEQUENCE_FIELD].value;
    def->sequence = sequence == NULL ? 0 : mp_decode_uint(&sequence);
    def->sequence_field = field == NULL ? 0 : mp_decode_uint(&field);
    int rc = type_choose(def, options[INDEX_TYPE].value);
    if (rc == 0 && options[INDEX_FUNC].value != NULL)
        rc = func_find(ddl, def, options[INDEX_FUNC].value);
    if (rc == 0 && def->multikey && def->func == NULL)
        rc = diag_set(ERROR_INVALID,
                      "is_multikey is for indexes with a function: give [*] in a path");
    if (rc == 0 && def->condition != NULL)
        rc = condition_check(ddl, def->condition);
    return rc != 0 ? rc
                   : ddl__parts_read(ddl, space, options[INDEX_PARTS].value, def->func != NULL,
                                     def->parts, &def->part_count);
}

static int definition_put(struct ddl *ddl, const struct space *space, const struct index_args *args,
                          const struct index_definition *def, bool building)
{
    struct arena *arena = txn_arena(ddl->txn);
    struct mp_buffer *tuple = ddl__tuple(ddl, 6);
    int rc = 0;
    mp_put_uint(tuple, args->space_id);
    mp_put_uint(tuple, args->id);
    mp_put_str(tuple, args->name, args->name_size);
    mp_put_str(tuple, def->type == INDEX_HASH ? "hash" : "tree", 4);
    mp_put_map(tuple, 1u + (def->func != NULL) + (def->func_name != NULL) + def->multikey +
                          (def->condition != NULL) + (def->covers != NULL) + building +
                          (def->sequence != 0 ? 2 : 0));
    put_flag(tuple, "unique", def->unique);
    if (building)
        put_flag(tuple, "building", true);
    if (def->func != NULL)
        put_text(tuple, "func", def->func, def->func_size);
    if (def->func_name != NULL)
        put_text(tuple, "func_name", def->func_name, strlen(def->func_name));
    if (def->multikey)
        put_flag(tuple, "is_multikey", true);
    if (def->condition != NULL) {
        const char *end = def->condition;
        mp_next(&end);
        mp_put_str(tuple, "condition", 9);
        if (mp_typeof(*def->condition) == MP_STR)
            mp_put_raw(tuple, def->condition, (size_t)(end - def->condition));
        else
            rc = ddl__condition_put(arena, space, def->condition, tuple);
    }
    if (rc == 0 && def->covers != NULL) {
        mp_put_str(tuple, "covers", 6);
        rc = ddl__covers_put(arena, space, def->covers, tuple);
    }
    if (def->sequence != 0) {
        mp_put_str(tuple, "sequence", 8);
        mp_put_uint(tuple, def->sequence);
        mp_put_str(tuple, "sequence_field", 14);
        mp_put_uint(tuple, def->sequence_field);
    }
    ddl__parts_put(tuple, def->parts, def->part_count);
    return rc;
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

int ddl__space_touch(struct ddl *ddl, const struct space *space)
{
    mp_buffer_reset(&ddl->tuple, 65536);
    mp_put_raw(&ddl->tuple, space->row_version->bytes, space->row_version->size);
    return ddl__put(ddl, SPACE_ID_SPACE);
}

/* Every row has one place in the primary index, and a place of its own. */
static int primary_check(const struct space *space, const struct index_definition *def)
{
    const char *wrong = NULL;
    if (!def->unique)
        wrong = "must be unique";
    if (def->func != NULL)
        wrong = "must not have a function";
    if (def->condition != NULL)
        wrong = "must not have a condition";
    for (uint32_t i = 0; i < def->part_count; i++) {
        const struct index_part *part = &def->parts[i];
        if (part->nullable)
            wrong = "must not have nullable parts";
        if (part->path.each < part->path.count)
            wrong = "must not have [*] in a part";
    }
    return wrong == NULL
               ? 0
               : diag_set(ERROR_SCHEMA, "the primary index of space \"%s\" %s", space->name, wrong);
}

/* Where rows leave the head their index is made beside writers, however few there are: by checkpoints,
 * for which a schema transaction would have to wait in the gate. What was deleted may be in the body for
 * those who read below. */
int ddl__rows_wait(struct ddl *ddl, const struct space *space, bool standalone, const char *what,
                   bool *online)
{
    const struct store *store = space->head->arg;
    struct engine_stats stats;
    struct space_cursor cursor;
    struct tuple_ref tuple;
    if (space->index_count == 0)
        return 0;
    body_stats(store->body, &stats);
    *online = standalone && stats.files > 0;
    if (*online)
        return 0;
    int rc = space_cursor_open(&cursor, ddl->txn, space->indexes[0], ITERATOR_ALL, NULL);
    if (rc == 0)
        rc = space_cursor_next(&cursor, &tuple);
    *online = rc == 0;
    if (rc == 0 && !standalone)
        rc = diag_set(ERROR_UNSUPPORTED,
                      "an index of a space of engine '%s' that has rows is %s outside of a schema "
                      "transaction",
                      space->engine, what);
    return rc == ERROR_END ? 0 : rc;
}

/* Where rows leave the head, only what is in order of keys can be merged with what has left. */
static int engine_check(struct ddl *ddl, const struct space *space, struct index_args *args,
                        const struct index_definition *def)
{
    if (ddl__resident(space))
        return 0;
    if (def->type == INDEX_HASH)
        return diag_set(ERROR_UNSUPPORTED,
                        "an index of a space of engine '%s' has type 'tree', not 'hash'",
                        space->engine);
    if (def->func != NULL || (def->condition != NULL && mp_typeof(*def->condition) == MP_STR))
        return diag_set(
            ERROR_UNSUPPORTED,
            "an index of a space of engine '%s' has fields for its parts, and a condition "
            "{field, operator, value}: Lua code is for engine 'memory'",
            space->engine);
    return args->id == 0 ? 0 : ddl__rows_wait(ddl, space, args->standalone, "made", &args->online);
}

/* The field of a sequence is one of the primary key's, a number; from 1 as it is given, 0: the first
 * part. */
static int sequence_check(struct ddl *ddl, const struct index_args *args,
                          struct index_definition *def)
{
    struct sequence_def sequence;
    if (def->sequence == 0)
        return 0;
    if (args->id != 0)
        return diag_set(ERROR_SCHEMA, "only a primary index has a sequence");
    int rc = def->sequence > UINT32_MAX
                 ? diag_set(ERROR_NOT_FOUND, "there is no such sequence")
                 : sequence_find(ddl->before, (uint32_t)def->sequence, &sequence);
    if (rc != 0)
        return rc;
    uint64_t field = def->sequence_field == 0 ? def->parts[0].field : def->sequence_field - 1;
    def->sequence_field = field;
    for (uint32_t i = 0; i < def->part_count; i++) {
        enum key_type type = def->parts[i].type;
        if (def->parts[i].field == field && def->parts[i].path.count == 0 &&
            (type == KEY_UNSIGNED || type == KEY_INTEGER || type == KEY_NUMBER))
            return 0;
    }
    return diag_set(ERROR_SCHEMA,
                    "the field of a sequence is a part of the primary key, and a number");
}

/* Whole keys are looked up in it, and each leads to one row. */
static int hash_check(const struct index_definition *def)
{
    if (def->type != INDEX_HASH)
        return 0;
    if (!def->unique)
        return diag_set(ERROR_SCHEMA, "an index of type 'hash' must be unique");
    for (uint32_t i = 0; i < def->part_count; i++)
        if (def->parts[i].nullable && !def->parts[i].exclude_null)
            return diag_set(ERROR_SCHEMA,
                            "an index of type 'hash' must not have nullable parts, unless they "
                            "exclude nil");
    return 0;
}

static int index_create(struct ddl *ddl, void *arg)
{
    struct index_args *args = arg;
    struct ddl_option options[INDEX_OPTIONS] = {{"type", MP_STR, NULL},
                                                {"unique", MP_BOOL, NULL},
                                                {"if_not_exists", MP_BOOL, NULL},
                                                {"parts", MP_ARRAY, NULL},
                                                {"id", MP_UINT, NULL},
                                                {"func", MP_STR, NULL},
                                                {"is_multikey", MP_BOOL, NULL},
                                                {"condition", MP_NIL, NULL},
                                                {"covers", MP_ARRAY, NULL},
                                                {"sequence", MP_UINT, NULL},
                                                {"sequence_field", MP_UINT, NULL}};
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
    struct index_definition def = {.func = NULL};
    if ((rc = index_id_choose(space, &options[INDEX_ID], &args->id)) != 0 ||
        (rc = definition_read(ddl, space, options, &def)) != 0 || (rc = hash_check(&def)) != 0 ||
        (rc = sequence_check(ddl, args, &def)) != 0)
        return rc;
    if (args->id == 0 && (rc = primary_check(space, &def)) != 0)
        return rc;
    if ((rc = engine_check(ddl, space, args, &def)) != 0)
        return rc;
    /* A space with many rows gets its index while others write; not within a schema transaction,
     * which is alone in the gate anyhow. */
    if (ddl__resident(space))
        args->online =
            args->id != 0 && args->standalone && space_len(space) >= ddl->db->online_rows_min;
    if ((rc = definition_put(ddl, space, args, &def, false)) != 0)
        return rc;
    if (args->online) {
        mp_put_raw(&args->ready, ddl->tuple.data, ddl->tuple.size);
        if ((rc = definition_put(ddl, space, args, &def, true)) != 0)
            return rc;
    }
    if (args->ready.failed)
        return diag_set(ERROR_MEMORY, "no memory for an index");
    if ((rc = ddl__put(ddl, SPACE_ID_INDEX)) != 0)
        return rc;
    if (args->id != 0) {
        struct store *store = space->head->arg;
        if ((rc = ddl__tree_make(ddl, store, args->id)) != 0)
            return rc;
    }
    return ddl__space_touch(ddl, space);
}

static int index_create_finish(struct ddl *ddl, void *arg)
{
    struct index_args *args = arg;
    if (args->present)
        return 0;
    struct tree_thread *thread = txn_worker_thread(ddl->worker->txn);
    struct space *space = catalog_space_by_id(ddl->after, args->space_id);
    struct index *index = args->online ? space->building : space_index_by_id(space, args->id);
    int rc = db__directory_make(thread, index, index->scan.tree);
    return rc != 0 || args->id == 0 || args->online ? rc
                                                    : db__index_fill(ddl->db, thread, index, true);
}

int ddl_index_create_begin(struct db_worker *worker, uint32_t space_id, const char *name,
                           size_t name_size, const char *options, uint32_t *id,
                           struct ddl_job **job)
{
    struct index_args args = {
        .space_id = space_id, .name = name, .name_size = name_size, .options = options};
    struct ddl_job *build;
    *job = NULL;
    int rc = ddl__build_new(&build);
    if (rc != 0)
        return rc;
    args.standalone = !ddl_active(worker);
    mp_buffer_create(&args.ready);
    rc = ddl__run(worker, index_create, index_create_finish, &args);
    if (rc == 0 && args.online)
        rc = ddl__build_begin(build, worker, space_id, args.id, &args.ready);
    if (rc == 0 && args.online)
        *job = build;
    else
        free(build);
    mp_buffer_destroy(&args.ready);
    *id = args.id;
    return rc;
}

int ddl_index_create(struct db_worker *worker, uint32_t space_id, const char *name,
                     size_t name_size, const char *options, uint32_t *id)
{
    struct ddl_job *job;
    uint32_t made;
    int rc = ddl_index_create_begin(worker, space_id, name, name_size, options, &made, &job);
    if (job != NULL)
        rc = ddl__job_run(job);
    if (id != NULL)
        *id = made;
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
    if ((rc = ddl__index_unused_check(index)) != 0)
        return rc;
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
    return ddl__space_touch(ddl, space);
}

int ddl_index_drop(struct db_worker *worker, uint32_t space_id, uint32_t index_id)
{
    struct index_args args = {.space_id = space_id, .id = index_id};
    return ddl__run(worker, index_drop, NULL, &args);
}

/* Writes the row of an index with another name. */
static int index_rename(struct ddl *ddl, void *arg)
{
    struct index_args *args = arg;
    struct space *space;
    unsigned char key[32];
    const struct version *row;
    int rc = ddl__name_check("index", args->name, args->name_size);
    if (rc == 0)
        rc = ddl__space_find(ddl, args->space_id, &space);
    if (rc != 0)
        return rc;
    struct index *index = space_index_by_id(space, args->id);
    if (index == NULL)
        return diag_set(ERROR_NOT_FOUND, "space \"%s\" has no index with id %u", space->name,
                        args->id);
    struct index *other = space_index(space, args->name, args->name_size);
    if (other != NULL && other != index)
        return diag_set(ERROR_EXISTS, "space \"%s\" has an index \"%s\" already", space->name,
                        other->name);
    size_t key_size =
        (size_t)(key_encode_uint(key_encode_uint(key, args->space_id), args->id) - key);
    rc = txn_get(ddl->txn, &ddl->db->index_store->head, key, key_size, &row);
    if (rc != 0 || row == NULL)
        return rc != 0 ? rc : diag_set(ERROR_CORRUPT, "the row of an index is missing");
    const char *data = row->bytes, *end = row->bytes + row->size;
    struct mp_buffer *tuple = ddl__tuple(ddl, mp_decode_array(&data));
    const char *rest = data;
    for (int i = 0; i < 2; i++)
        mp_next(&rest);
    mp_put_raw(tuple, data, (size_t)(rest - data));
    mp_put_str(tuple, args->name, args->name_size);
    mp_next(&rest);
    mp_put_raw(tuple, rest, (size_t)(end - rest));
    if ((rc = ddl__put(ddl, SPACE_ID_INDEX)) != 0)
        return rc;
    return ddl__space_touch(ddl, space);
}

int ddl_index_rename(struct db_worker *worker, uint32_t space_id, uint32_t index_id,
                     const char *name, size_t name_size)
{
    struct index_args args = {
        .space_id = space_id, .id = index_id, .name = name, .name_size = name_size};
    return ddl__run(worker, index_rename, NULL, &args);
}
