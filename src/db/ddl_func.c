/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the catalog: functions.
 *
 * A function that is replaced keeps what it was before: the row has, behind the options, the former
 * versions, the newest last, as many as there is room for. Going back to one makes a new version of
 * it, so that a number always means the same text.
 */
#include "db/ddl_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

enum { FORMER_MAX = 16, FORMER_BYTES_MAX = 1024 * 1024 };

struct func_args {
    const char *name;
    size_t name_size;
    const char *options;
    const char *to; /* of a rename */
    size_t to_size;
    uint32_t version; /* of a return to a former one */
};

enum {
    FUNC_BODY,
    FUNC_IF_NOT_EXISTS,
    FUNC_REPLACE,
    FUNC_ISOLATION, /* from here on: kept in the row */
    FUNC_READONLY,
    FUNC_TRANSACTION,
    FUNC_SETUID,
    FUNC_MODULE,
    FUNC_ARGS,
    FUNC_RETURNS,
    FUNC_TIMEOUT,
    FUNC_MEMORY,
    FUNC_ROWS_MAX,
    FUNC_COMMENT,
    FUNC_DETERMINISTIC, /* up to here */
    FUNC_LANGUAGE,
    FUNC_OPTIONS
};

static const struct ddl_option known_options[FUNC_OPTIONS] = {
    [FUNC_BODY] = {"body", MP_STR, NULL},
    [FUNC_IF_NOT_EXISTS] = {"if_not_exists", MP_BOOL, NULL},
    [FUNC_REPLACE] = {"replace", MP_BOOL, NULL},
    [FUNC_ISOLATION] = {"isolation", MP_STR, NULL},
    [FUNC_READONLY] = {"readonly", MP_BOOL, NULL},
    [FUNC_TRANSACTION] = {"transaction", MP_BOOL, NULL},
    [FUNC_SETUID] = {"setuid", MP_BOOL, NULL},
    [FUNC_MODULE] = {"module", MP_STR, NULL},
    [FUNC_ARGS] = {"args", MP_ARRAY, NULL},
    [FUNC_RETURNS] = {"returns", MP_ARRAY, NULL},
    [FUNC_TIMEOUT] = {"timeout_ms", MP_UINT, NULL},
    [FUNC_MEMORY] = {"memory", MP_UINT, NULL},
    [FUNC_ROWS_MAX] = {"rows_max", MP_UINT, NULL},
    [FUNC_COMMENT] = {"comment", MP_STR, NULL},
    [FUNC_DETERMINISTIC] = {"is_deterministic", MP_BOOL, NULL},
    [FUNC_LANGUAGE] = {"language", MP_STR, NULL},
};

static int func_options_check(const struct ddl_option *options)
{
    if ((options[FUNC_BODY].value == NULL) == (options[FUNC_MODULE].value == NULL))
        return diag_set(ERROR_INVALID,
                        "a function needs either a body: {body = 'function(a, b) ... end'}, or a "
                        "function of a module: {module = 'name.fn'}");
    const char *isolation = options[FUNC_ISOLATION].value;
    uint32_t size = 0;
    enum txn_level level;
    const char *name = isolation == NULL ? NULL : mp_decode_str(&isolation, &size);
    if (name != NULL && !txn_level_parse(name, size, &level))
        return diag_set(ERROR_INVALID, "unknown isolation level '%.*s'", (int)size, name);
    if (options[FUNC_LANGUAGE].value != NULL && !ddl__name_is(options[FUNC_LANGUAGE].value, "LUA"))
        return diag_set(ERROR_UNSUPPORTED, "functions are written in 'LUA'");
    return 0;
}

static uint32_t func_id_next(const struct catalog *catalog)
{
    uint32_t count = catalog_func_count(catalog);
    return count == 0 ? 1 : catalog_func_at(catalog, count - 1)->id + 1;
}

/* What runs with its owner's rights is nobody else's to write: who replaces it owns it. */
static uint32_t owner_of(const struct ddl *ddl, const struct func *present, bool setuid)
{
    return present != NULL && !setuid ? present->owner : ddl__owner(ddl);
}

static void put_value(struct mp_buffer *tuple, const char *value)
{
    const char *end = value;
    mp_next(&end);
    mp_put_raw(tuple, value, (size_t)(end - value));
}

/* The row of a function, which is there. */
static int row_get(struct ddl *ddl, uint32_t id, const char **out)
{
    struct space *space = catalog_space_by_id(ddl->before, SPACE_ID_FUNC);
    struct key_bytes key;
    const struct version *version;
    mp_put_uint(ddl__tuple(ddl, 1), id);
    int rc = db__key_of_array(txn_arena(ddl->txn), space->indexes[0], ddl->tuple.data, true, &key);
    if (rc == 0)
        rc = txn_get(ddl->txn, space->head, key.data, key.size, &version);
    if (rc == 0 && version == NULL)
        rc = diag_set(ERROR_CORRUPT, "a function without a row");
    if (rc == 0)
        *out = version->bytes;
    return rc;
}

/* ------------------------------------------------------------------------------ former versions */

static size_t value_size(const char *value)
{
    const char *end = value;
    mp_next(&end);
    return (size_t)(end - value);
}

/* The former versions of a row whose function is being replaced, and that one as the last of them. */
static void put_former(struct mp_buffer *tuple, const struct func *present, const char *row)
{
    const char *former = row == NULL ? NULL : mp_array_at(row, 5);
    uint32_t count = former == NULL ? 0 : mp_decode_array(&former);
    uint32_t passed = count >= FORMER_MAX ? count - FORMER_MAX + 1 : 0;
    for (uint32_t i = 0; i < passed; i++)
        mp_next(&former);
    size_t bytes = 0;
    const char *end = former;
    for (uint32_t i = passed; i < count; i++)
        mp_next(&end);
    bytes = (size_t)(end - former);
    for (; bytes > FORMER_BYTES_MAX; passed++) {
        bytes -= value_size(former);
        mp_next(&former);
    }
    if (present == NULL) {
        mp_put_array(tuple, 0);
        return;
    }
    mp_put_array(tuple, count - passed + 1);
    mp_put_raw(tuple, former, bytes);
    mp_put_array(tuple, 4);
    mp_put_uint(tuple, present->version);
    put_value(tuple, mp_array_at(row, 1));
    put_value(tuple, mp_array_at(row, 3));
    put_value(tuple, mp_array_at(row, 4));
}

/* The former version with this number, an array; NULL: it is not kept. */
static const char *former_find(const char *row, uint32_t version)
{
    const char *former = mp_array_at(row, 5);
    for (uint32_t n = former == NULL ? 0 : mp_decode_array(&former); n > 0; n--) {
        const char *number = mp_array_at(former, 0);
        uint64_t value;
        if (mp_read_uint(&number, &value) && value == version)
            return former;
        mp_next(&former);
    }
    return NULL;
}

/* ---------------------------------------------------------------------------------------- changes */

/* Opens the row of a function that is made or replaced: what is before its body. */
static void put_head(struct ddl *ddl, const struct func *present, uint32_t owner, const char *name,
                     size_t name_size)
{
    struct mp_buffer *tuple = ddl__tuple(ddl, 6);
    mp_put_uint(tuple, present != NULL ? present->id : func_id_next(ddl->before));
    mp_put_uint(tuple, owner);
    mp_put_str(tuple, name, name_size);
}

/* A number that no other body has had under this process: what was compiled is kept by it. In the
 * gate. Timestamps alone do not serve, since one schema transaction may replace a body twice. */
static uint64_t revision_next(struct db *db)
{
    uint64_t clock = wal_clock(db->wal) + 1;
    db->last_revision = clock > db->last_revision ? clock : db->last_revision + 1;
    return db->last_revision;
}

enum { STAMPS = 3 };

/* The options that tell versions from each other. */
static void put_stamps(struct ddl *ddl, const struct func *present)
{
    struct mp_buffer *tuple = &ddl->tuple;
    mp_put_str(tuple, "revision", 8);
    mp_put_uint(tuple, revision_next(ddl->db));
    mp_put_str(tuple, "version", 7);
    mp_put_uint(tuple, present == NULL ? 1 : present->version + 1);
    mp_put_str(tuple, "time", 4);
    mp_put_uint(tuple, clock_realtime_ms(ddl->db->clock));
}

static void put_options(struct ddl *ddl, const struct func *present,
                        const struct ddl_option *options)
{
    struct mp_buffer *tuple = &ddl->tuple;
    uint32_t count = STAMPS;
    for (unsigned i = FUNC_ISOLATION; i <= FUNC_DETERMINISTIC; i++)
        count += options[i].value != NULL;
    mp_put_map(tuple, count);
    for (unsigned i = FUNC_ISOLATION; i <= FUNC_DETERMINISTIC; i++)
        if (options[i].value != NULL) {
            mp_put_str(tuple, options[i].name, strlen(options[i].name));
            put_value(tuple, options[i].value);
        }
    put_stamps(ddl, present);
}

static int may_write(struct ddl *ddl, const struct func *present)
{
    return present == NULL ? ddl__may_create(ddl, ACCESS_FUNCTION)
                           : ddl__may(ddl, ACCESS_ALTER, ACCESS_FUNCTION, present->id,
                                      present->owner, present->name);
}

static int func_create(struct ddl *ddl, void *arg)
{
    ddl->only_functions = true;
    struct func_args *args = arg;
    struct ddl_option options[FUNC_OPTIONS];
    const char *row = NULL;
    memcpy(options, known_options, sizeof options);
    int rc = ddl__name_check("function", args->name, args->name_size);
    if (rc == 0)
        rc = ddl__options_read("a function", args->options, options, FUNC_OPTIONS);
    if (rc == 0)
        rc = func_options_check(options);
    if (rc != 0)
        return rc;
    struct func *present = catalog_func(ddl->before, args->name, args->name_size);
    if (present != NULL && ddl__option_bool(&options[FUNC_IF_NOT_EXISTS], false))
        return 0;
    if (present != NULL && !ddl__option_bool(&options[FUNC_REPLACE], false))
        return diag_set(ERROR_EXISTS,
                        "function \"%.*s\" exists already: {replace = true} replaces it",
                        (int)args->name_size, args->name);
    rc = may_write(ddl, present);
    if (rc == 0 && present != NULL)
        rc = row_get(ddl, present->id, &row);
    if (rc != 0)
        return rc;
    bool setuid = ddl__option_bool(&options[FUNC_SETUID], false);
    put_head(ddl, present, owner_of(ddl, present, setuid), args->name, args->name_size);
    if (options[FUNC_BODY].value != NULL)
        put_value(&ddl->tuple, options[FUNC_BODY].value);
    else
        mp_put_str(&ddl->tuple, "", 0);
    put_options(ddl, present, options);
    put_former(&ddl->tuple, present, row);
    return ddl__put(ddl, SPACE_ID_FUNC);
}

int ddl_func_create(struct db_worker *worker, const char *name, size_t name_size,
                    const char *options)
{
    struct func_args args = {.name = name, .name_size = name_size, .options = options};
    return ddl__run(worker, func_create, NULL, &args);
}

/* The function that is to be changed, and its row. */
static int func_find(struct ddl *ddl, const struct func_args *args, unsigned privilege,
                     struct func **out, const char **row)
{
    ddl->only_functions = true;
    struct func *func = catalog_func(ddl->before, args->name, args->name_size);
    *out = func;
    if (func == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no function \"%.*s\"", (int)args->name_size,
                        args->name);
    int rc = ddl__may(ddl, privilege, ACCESS_FUNCTION, func->id, func->owner, func->name);
    return rc != 0 ? rc : row_get(ddl, func->id, row);
}

static int func_drop(struct ddl *ddl, void *arg)
{
    struct func *func;
    const char *row;
    int rc = func_find(ddl, arg, ACCESS_DROP, &func, &row);
    if (rc == 0)
        rc = ddl__privileges_drop(ddl, ACCESS_FUNCTION, func->id);
    if (rc != 0)
        return rc;
    mp_put_uint(ddl__tuple(ddl, 1), func->id);
    return ddl__delete(ddl, SPACE_ID_FUNC);
}

int ddl_func_drop(struct db_worker *worker, const char *name, size_t name_size)
{
    struct func_args args = {.name = name, .name_size = name_size};
    return ddl__run(worker, func_drop, NULL, &args);
}

static int func_rename(struct ddl *ddl, void *arg)
{
    struct func_args *args = arg;
    struct func *func;
    const char *row;
    int rc = ddl__name_check("function", args->to, args->to_size);
    if (rc == 0)
        rc = func_find(ddl, args, ACCESS_ALTER, &func, &row);
    if (rc == 0 && catalog_func(ddl->before, args->to, args->to_size) != NULL)
        rc = diag_set(ERROR_EXISTS, "function \"%.*s\" exists already", (int)args->to_size,
                      args->to);
    if (rc != 0)
        return rc;
    put_head(ddl, func, func->owner, args->to, args->to_size);
    put_value(&ddl->tuple, mp_array_at(row, 3));
    put_value(&ddl->tuple, mp_array_at(row, 4));
    const char *former = mp_array_at(row, 5);
    if (former != NULL)
        put_value(&ddl->tuple, former);
    else
        mp_put_array(&ddl->tuple, 0);
    return ddl__put(ddl, SPACE_ID_FUNC);
}

int ddl_func_rename(struct db_worker *worker, const char *name, size_t name_size, const char *to,
                    size_t to_size)
{
    struct func_args args = {.name = name, .name_size = name_size, .to = to, .to_size = to_size};
    return ddl__run(worker, func_rename, NULL, &args);
}

/* The options of a former version, with the stamps of a new one. */
static void put_options_again(struct ddl *ddl, const struct func *present, const char *options)
{
    static const char *const stamps[STAMPS] = {"revision", "version", "time"};
    uint32_t count = STAMPS, all = mp_decode_map(&options);
    const char *data = options;
    for (int pass = 0; pass < 2; pass++, data = options) {
        if (pass == 1)
            mp_put_map(&ddl->tuple, count);
        for (uint32_t n = 0; n < all; n++) {
            const char *start = data;
            bool stamp = false;
            for (int i = 0; i < STAMPS; i++)
                stamp = stamp || ddl__name_is(data, stamps[i]);
            mp_next(&data);
            mp_next(&data);
            if (pass == 0)
                count += !stamp;
            else if (!stamp)
                mp_put_raw(&ddl->tuple, start, (size_t)(data - start));
        }
    }
    put_stamps(ddl, present);
}

static int func_restore(struct ddl *ddl, void *arg)
{
    struct func_args *args = arg;
    struct func *func;
    const char *row, *former;
    int rc = func_find(ddl, args, ACCESS_ALTER, &func, &row);
    if (rc != 0)
        return rc;
    if ((former = former_find(row, args->version)) == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no former version %u of function \"%s\"",
                        args->version, func->name);
    put_head(ddl, func, owner_of(ddl, func, true), args->name, args->name_size);
    put_value(&ddl->tuple, mp_array_at(former, 2));
    put_options_again(ddl, func, mp_array_at(former, 3));
    put_former(&ddl->tuple, func, row);
    return ddl__put(ddl, SPACE_ID_FUNC);
}

int ddl_func_restore(struct db_worker *worker, const char *name, size_t name_size, uint32_t version)
{
    struct func_args args = {.name = name, .name_size = name_size, .version = version};
    return ddl__run(worker, func_restore, NULL, &args);
}

/* ---------------------------------------------------------------------------------------- reading */

static int former_read(struct db_worker *worker, struct txn *txn, const struct func *func,
                       struct mp_buffer *out)
{
    struct space *space = catalog_space_by_id(db_catalog(worker), SPACE_ID_FUNC);
    struct key_bytes key;
    const struct version *version;
    mp_put_array(out, 1);
    mp_put_uint(out, func->id);
    int rc = db__key_of_array(txn_arena(txn), space->indexes[0], out->data, true, &key);
    if (rc == 0)
        rc = txn_get(txn, space->head, key.data, key.size, &version);
    if (rc != 0)
        return rc;
    const char *former = version == NULL ? NULL : mp_array_at(version->bytes, 5);
    mp_buffer_reset(out, 65536);
    if (former != NULL)
        put_value(out, former);
    else
        mp_put_array(out, 0);
    return out->failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

int ddl_func_former(struct db_worker *worker, const char *name, size_t name_size,
                    struct mp_buffer *out)
{
    struct txn *txn = txn_current(worker->txn);
    bool own = txn == NULL;
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    int rc = own ? txn_begin(worker->txn, &options, &txn) : 0;
    if (rc != 0)
        return rc;
    const struct func *func = catalog_func(db_catalog(worker), name, name_size);
    mp_buffer_reset(out, 65536);
    if (func == NULL)
        rc = diag_set(ERROR_NOT_FOUND, "there is no function \"%.*s\"", (int)name_size, name);
    else
        rc = former_read(worker, txn, func, out);
    if (own)
        txn_rollback(txn);
    return rc;
}
