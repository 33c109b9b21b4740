/* SPDX-License-Identifier: Apache-2.0 */

/* Changes of the catalog: spaces. */
#include "db/format_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct space_args {
    const char *name;
    size_t name_size;
    const char *options;
    uint32_t id;
    bool rows_stay;  /* what fitted fits */
    bool standalone; /* not within a schema transaction */
    bool online;     /* rows are looked at while others write */
};

enum {
    SPACE_ID,
    SPACE_ENGINE,
    SPACE_IF_NOT_EXISTS,
    SPACE_FORMAT,
    SPACE_FIELD_COUNT,
    SPACE_CONSTRAINT,
    SPACE_FOREIGN_KEY,
    SPACE_VIEW,
    SPACE_TEMPORARY,
    SPACE_IS_LOCAL,
    SPACE_OWNER,
    SPACE_OPTIONS
};

enum {
    ALTER_NAME,
    ALTER_FORMAT,
    ALTER_FIELD_COUNT,
    ALTER_CONSTRAINT,
    ALTER_FOREIGN_KEY,
    ALTER_RUN_TRIGGERS,
    ALTER_OPTIONS
};

bool ddl__resident(const struct space *space)
{
    const struct engine_vtab *engine = engine_find(space->engine, strlen(space->engine));
    return engine == NULL || (engine->flags & ENGINE_RESIDENT) != 0;
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

static bool engine_offered(const struct engine_vtab *engine)
{
    return (engine->flags & (ENGINE_DURABLE | ENGINE_NOT_OFFERED)) == ENGINE_DURABLE;
}

/* Those that a space can have: 'a' or 'b'. */
static void engines_name(char *out, size_t size)
{
    const struct engine_vtab *engine;
    size_t used = 0;
    for (unsigned i = 0; used < size && (engine = engine_at(i)) != NULL; i++)
        if (engine_offered(engine))
            used += (size_t)snprintf(out + used, size - used, "%s'%s'", used > 0 ? " or " : "",
                                     engine->name);
}

static int engine_choose(const struct ddl_option *option, const struct engine_vtab **out)
{
    const char *value = option->value, *name = "memory";
    uint32_t size = 6;
    if (value != NULL)
        name = mp_decode_str(&value, &size);
    *out = engine_find(name, size);
    if (*out != NULL && engine_offered(*out))
        return 0;
    char names[128];
    engines_name(names, sizeof names);
    return diag_set(ERROR_UNSUPPORTED, "a space cannot have engine \"%.*s\": use %s", (int)size,
                    name, names);
}

/* What lasts only until the end has no use for a body. */
static int engine_check(const struct engine_vtab *engine, const struct space_def *def)
{
    if ((engine->flags & ENGINE_RESIDENT) || !def->temporary)
        return 0;
    return diag_set(ERROR_UNSUPPORTED, "a space of engine '%s' cannot be temporary: use 'memory'",
                    engine->name);
}

static int exact_read(const struct ddl_option *option, uint32_t *out)
{
    const char *value = option->value;
    uint64_t count = value == NULL ? 0 : mp_decode_uint(&value);
    if (count > INT32_MAX)
        return diag_set(ERROR_INVALID, "field_count is at most %d", INT32_MAX);
    if (option->value != NULL)
        *out = (uint32_t)count;
    return 0;
}

/* To whom it belongs: who makes it, unless a user who may do everything names another. */
static int owner_read(struct ddl *ddl, const char *value, uint32_t *out)
{
    const struct access_user *user = NULL;
    uint32_t size;
    uint64_t id;
    *out = ddl__owner(ddl);
    if (value == NULL)
        return 0;
    const struct access *access = access_of(ddl->worker);
    if (access == NULL)
        return diag_code();
    if (mp_typeof(*value) == MP_STR) {
        const char *name = mp_decode_str(&value, &size);
        user = access_user(access, name, size);
    } else if (mp_read_uint(&value, &id) && id < UINT32_MAX) {
        user = access_user_by_id(access, (uint32_t)id);
    }
    if (user == NULL || user->role)
        return diag_set(ERROR_NOT_FOUND, "the owner of a space is a user, by name or number");
    if (user->id != *out &&
        access_rights(access, *out, ACCESS_UNIVERSE, 0, ACCESS_ADMIN) != ACCESS_ALL)
        return diag_set(ERROR_ACCESS, "only who may do everything makes spaces for others");
    *out = user->id;
    return 0;
}

static void body_options_name(struct ddl_option options[BODY_OPTIONS])
{
    for (unsigned i = 0; i < BODY_OPTIONS; i++)
        options[i] = (struct ddl_option){body_option_name(i), MP_NIL, NULL};
}

static void body_options_given(const struct ddl_option options[BODY_OPTIONS],
                               struct body_option_values *out)
{
    for (unsigned i = 0; i < BODY_OPTIONS; i++)
        out->at[i] = options[i].value;
}

static int space_create(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct ddl_option options[SPACE_OPTIONS + BODY_OPTIONS] = {{"id", MP_UINT, NULL},
                                                               {"engine", MP_STR, NULL},
                                                               {"if_not_exists", MP_BOOL, NULL},
                                                               {"format", MP_ARRAY, NULL},
                                                               {"field_count", MP_UINT, NULL},
                                                               {"constraint", MP_NIL, NULL},
                                                               {"foreign_key", MP_NIL, NULL},
                                                               {"view", MP_STR, NULL},
                                                               {"temporary", MP_BOOL, NULL},
                                                               {"is_local", MP_BOOL, NULL},
                                                               {"owner", MP_NIL, NULL}};
    body_options_name(options + SPACE_OPTIONS);
    int rc = ddl__name_check("space", args->name, args->name_size);
    if (rc == 0)
        rc = ddl__options_read("a space", args->options, options, SPACE_OPTIONS + BODY_OPTIONS);
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
    struct body_options body;
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
    args->id = (uint32_t)id;
    struct space_def def = {.id = args->id,
                            .incarnation = incarnation_next(ddl),
                            .name = args->name,
                            .name_size = args->name_size,
                            .engine = engine->name,
                            .format = options[SPACE_FORMAT].value,
                            .constraint = options[SPACE_CONSTRAINT].value,
                            .foreign_key = options[SPACE_FOREIGN_KEY].value,
                            .view = options[SPACE_VIEW].value,
                            .temporary = ddl__option_bool(&options[SPACE_TEMPORARY], false),
                            .local = ddl__option_bool(&options[SPACE_IS_LOCAL], false)};
    body_options_given(options + SPACE_OPTIONS, &def.body);
    if ((rc = engine_check(engine, &def)) != 0 ||
        (rc = body_options_read(engine, &def.body, &body)) != 0 ||
        (rc = owner_read(ddl, options[SPACE_OWNER].value, &def.owner)) != 0 ||
        (rc = exact_read(&options[SPACE_FIELD_COUNT], &def.exact_count)) != 0 ||
        (rc = ddl__space_put(ddl, &def)) != 0)
        return rc;
    struct store *store;
    return ddl__store_make(ddl, def.id, def.incarnation, &store);
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
        rc = ddl__referrers_check(space, "dropped");
    if (rc == 0)
        rc = ddl__privileges_drop(ddl, ACCESS_SPACE, args->id);
    if (rc == 0)
        rc = ddl__triggers_drop(ddl, args->id);
    if (rc == 0)
        rc = ddl__watches_drop(ddl, args->id);
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

/* Puts the definition in force; over many rows it is only coming, until they have been looked at. */
static int definition_put(struct ddl *ddl, struct space_args *args, const struct space *space,
                          const struct space_def *def)
{
    args->online = args->standalone && !args->rows_stay && space->index_count > 0 &&
                   space_len(space) >= ddl->db->online_rows_min;
    if (!args->online)
        return ddl__space_put(ddl, def);
    int rc = ddl__space_encode(ddl, def);
    if (rc != 0)
        return rc;
    ddl->coming.space_id = space->id;
    ddl->coming.size = ddl->tuple.size;
    ddl->coming.row = arena_copy(&ddl->arena, ddl->tuple.data, ddl->tuple.size);
    if (ddl->coming.row == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a change of the schema");
    return ddl__space_touch(ddl, space);
}

static int space_format(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct space *space;
    struct space_def def;
    int rc = ddl__space_find(ddl, args->id, &space);
    if (rc == 0 && (args->options == NULL || mp_typeof(*args->options) != MP_ARRAY))
        rc = diag_set(ERROR_INVALID, "a format is an array of fields");
    if (rc != 0)
        return rc;
    ddl__space_def(space, &def);
    def.format = args->options;
    return definition_put(ddl, args, space, &def);
}

/* Whether every index fits its fields. */
static int indexes_check(const struct space *space)
{
    for (uint32_t i = 0; i < space->index_count; i++)
        for (uint32_t n = 0; n < space->indexes[i]->part_count; n++) {
            const struct index_part *part = &space->indexes[i]->parts[n];
            if (part->path.count == 0 && space->indexes[i]->func.text == NULL &&
                part->field < space->field_count &&
                (!ddl__part_fits(part->type, space->fields[part->field].type) ||
                 !ddl__field_orders(&space->fields[part->field])))
                return diag_set(ERROR_SCHEMA, "field \"%s\" is indexed by \"%s\" as %s",
                                space->fields[part->field].name, space->indexes[i]->name,
                                key_type_name(part->type));
        }
    return 0;
}

/* Every row has to fit the new format; of one that is only coming that is looked at later. */
static int space_format_finish(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct space *space = catalog_space_by_id(ddl->after, args->id);
    int rc = indexes_check(args->online ? space->coming : space);
    if (rc != 0 || space->index_count == 0 || args->rows_stay || args->online)
        return rc;
    struct space_cursor cursor;
    struct tuple_ref tuple;
    rc = space_cursor_open(&cursor, ddl->txn, space->indexes[0], ITERATOR_ALL, NULL);
    while (rc == 0 && (rc = space_cursor_next(&cursor, &tuple)) == 0)
        rc = ddl__row_check(ddl->txn, space, tuple.data, tuple.size);
    return rc == ERROR_END ? 0 : rc;
}

/* Makes the change, or begins it: what is left is *job's. */
static int alter_begin(struct db_worker *worker, ddl_fn change, struct space_args *args,
                       struct ddl_job **job)
{
    struct ddl_job *begun = calloc(1, sizeof *begun);
    *job = NULL;
    if (begun == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a change of the schema");
    args->standalone = !ddl_active(worker);
    int rc = ddl__run(worker, change, space_format_finish, args);
    if (rc == 0 && args->online) {
        ddl__alter_begin(begun, worker, catalog_space_by_id(db_catalog(worker), args->id));
        *job = begun;
        return 0;
    }
    free(begun);
    return rc;
}

int ddl_space_format_begin(struct db_worker *worker, uint32_t id, const char *format,
                           struct ddl_job **job)
{
    struct space_args args = {.id = id, .options = format};
    return alter_begin(worker, space_format, &args, job);
}

int ddl_space_format(struct db_worker *worker, uint32_t id, const char *format)
{
    struct ddl_job *job;
    int rc = ddl_space_format_begin(worker, id, format, &job);
    return job == NULL ? rc : ddl__job_run(job);
}

static int name_change(struct ddl *ddl, const char *value, struct space_def *def)
{
    uint32_t size;
    const char *name = mp_decode_str(&value, &size);
    int rc = ddl__name_check("space", name, size);
    const struct space *other = catalog_space(ddl->before, name, size);
    if (rc == 0 && other != NULL && other->id != def->id)
        rc = diag_set(ERROR_EXISTS, "space \"%.*s\" exists already", (int)size, name);
    def->name = name;
    def->name_size = size;
    return rc;
}

static int body_options_alter(struct space_def *def, const struct ddl_option given[BODY_OPTIONS])
{
    const struct engine_vtab *engine = engine_find(def->engine, strlen(def->engine));
    struct body_option_values values;
    struct body_options body;
    body_options_given(given, &values);
    int rc = body_options_change(engine, &def->body, &values);
    return rc != 0 ? rc : body_options_read(engine, &def->body, &body);
}

static int space_alter(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct ddl_option options[ALTER_OPTIONS + BODY_OPTIONS] = {
        {"name", MP_STR, NULL},         {"format", MP_ARRAY, NULL},
        {"field_count", MP_UINT, NULL}, {"constraint", MP_NIL, NULL},
        {"foreign_key", MP_NIL, NULL},  {"run_triggers", MP_BOOL, NULL}};
    struct space *space;
    struct space_def def;
    body_options_name(options + ALTER_OPTIONS);
    int rc = ddl__space_find(ddl, args->id, &space);
    if (rc == 0)
        rc = ddl__options_read("the change of a space", args->options, options,
                               ALTER_OPTIONS + BODY_OPTIONS);
    if (rc != 0)
        return rc;
    ddl__space_def(space, &def);
    if (options[ALTER_FORMAT].value != NULL)
        def.format = options[ALTER_FORMAT].value;
    if (options[ALTER_CONSTRAINT].value != NULL)
        def.constraint = options[ALTER_CONSTRAINT].value;
    if (options[ALTER_FOREIGN_KEY].value != NULL)
        def.foreign_key = options[ALTER_FOREIGN_KEY].value;
    def.quiet = !ddl__option_bool(&options[ALTER_RUN_TRIGGERS], !def.quiet);
    rc = body_options_alter(&def, options + ALTER_OPTIONS);
    if (rc == 0)
        rc = exact_read(&options[ALTER_FIELD_COUNT], &def.exact_count);
    if (rc == 0 && options[ALTER_NAME].value != NULL)
        rc = name_change(ddl, options[ALTER_NAME].value, &def);
    args->rows_stay =
        options[ALTER_FORMAT].value == NULL && options[ALTER_FIELD_COUNT].value == NULL &&
        options[ALTER_CONSTRAINT].value == NULL && options[ALTER_FOREIGN_KEY].value == NULL;
    return rc != 0 ? rc : definition_put(ddl, args, space, &def);
}

int ddl_space_alter_begin(struct db_worker *worker, uint32_t id, const char *options,
                          struct ddl_job **job)
{
    struct space_args args = {.id = id, .options = options};
    return alter_begin(worker, space_alter, &args, job);
}

int ddl_space_alter(struct db_worker *worker, uint32_t id, const char *options)
{
    struct ddl_job *job;
    int rc = ddl_space_alter_begin(worker, id, options, &job);
    return job == NULL ? rc : ddl__job_run(job);
}

/* An empty tree for an index of the new store. */
static int index_renew(struct ddl *ddl, struct store *store, const struct index *index)
{
    int rc = index->id == 0 ? 0 : ddl__tree_make(ddl, store, index->id);
    struct tree *tree = index->id == 0 ? store->head.tree : store->trees[index->id];
    return rc != 0 ? rc : db__directory_make(txn_worker_thread(ddl->worker->txn), index, tree);
}

/* A new incarnation with empty trees takes the place of the old one. */
static int space_truncate(struct ddl *ddl, void *arg)
{
    struct space_args *args = arg;
    struct space *space;
    struct space_def def;
    int rc = ddl__space_find_for(ddl, args->id, ACCESS_WRITE, &space);
    if (rc == 0)
        rc = ddl__referrers_check(space, "truncated");
    if (rc != 0)
        return rc;
    ddl__space_def(space, &def);
    def.incarnation = incarnation_next(ddl);
    txn_spare(ddl->txn, true); /* it frees more than it takes */
    struct store *store;
    if ((rc = ddl__store_make(ddl, args->id, def.incarnation, &store)) != 0)
        return rc;
    for (uint32_t i = 0; i < space->index_count; i++)
        if ((rc = index_renew(ddl, store, space->indexes[i])) != 0)
            return rc;
    if ((rc = ddl__store_drop(ddl, space->head->arg)) != 0)
        return rc;
    return ddl__space_put(ddl, &def);
}

int ddl_space_truncate(struct db_worker *worker, uint32_t id)
{
    struct space_args args = {.id = id};
    return ddl__run(worker, space_truncate, NULL, &args);
}
