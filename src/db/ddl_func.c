/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the catalog: functions.
 */
#include "db/ddl_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct func_args {
    const char *name;
    size_t name_size;
    const char *options;
};

enum {
    FUNC_BODY,
    FUNC_IF_NOT_EXISTS,
    FUNC_REPLACE,
    FUNC_ISOLATION,
    FUNC_READONLY,
    FUNC_TRANSACTION,
    FUNC_SETUID,
    FUNC_LANGUAGE,
    FUNC_OPTIONS
};

static int func_options_check(const struct ddl_option *options)
{
    if (options[FUNC_BODY].value == NULL)
        return diag_set(ERROR_INVALID,
                        "a function needs a body: {body = 'function(a, b) ... end'}");
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

static void put_option(struct mp_buffer *tuple, const struct ddl_option *option)
{
    const char *end = option->value;
    mp_next(&end);
    mp_put_str(tuple, option->name, strlen(option->name));
    mp_put_raw(tuple, option->value, (size_t)(end - option->value));
}

static int func_create(struct ddl *ddl, void *arg)
{
    ddl->only_functions = true;
    struct func_args *args = arg;
    struct ddl_option options[FUNC_OPTIONS] = {
        {"body", MP_STR, NULL},      {"if_not_exists", MP_BOOL, NULL},
        {"replace", MP_BOOL, NULL},  {"isolation", MP_STR, NULL},
        {"readonly", MP_BOOL, NULL}, {"transaction", MP_BOOL, NULL},
        {"setuid", MP_BOOL, NULL},   {"language", MP_STR, NULL}};
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
    rc = present == NULL ? ddl__may_create(ddl, ACCESS_FUNCTION)
                         : ddl__may(ddl, ACCESS_ALTER, ACCESS_FUNCTION, present->id, present->owner,
                                    present->name);
    if (rc != 0)
        return rc;
    struct mp_buffer *tuple = ddl__tuple(ddl, 5);
    mp_put_uint(tuple, present != NULL ? present->id : func_id_next(ddl->before));
    mp_put_uint(tuple, owner_of(ddl, present, ddl__option_bool(&options[FUNC_SETUID], false)));
    mp_put_str(tuple, args->name, args->name_size);
    const char *body_end = options[FUNC_BODY].value;
    mp_next(&body_end);
    mp_put_raw(tuple, options[FUNC_BODY].value, (size_t)(body_end - options[FUNC_BODY].value));
    uint32_t count = 1;
    for (unsigned i = FUNC_ISOLATION; i <= FUNC_SETUID; i++)
        count += options[i].value != NULL;
    mp_put_map(tuple, count);
    for (unsigned i = FUNC_ISOLATION; i <= FUNC_SETUID; i++)
        if (options[i].value != NULL)
            put_option(tuple, &options[i]);
    mp_put_str(tuple, "revision", 8);
    mp_put_uint(tuple, wal_clock(ddl->db->wal) + 1);
    return ddl__put(ddl, SPACE_ID_FUNC);
}

int ddl_func_create(struct db_worker *worker, const char *name, size_t name_size,
                    const char *options)
{
    struct func_args args = {name, name_size, options};
    return ddl__run(worker, func_create, NULL, &args);
}

static int func_drop(struct ddl *ddl, void *arg)
{
    ddl->only_functions = true;
    struct func_args *args = arg;
    struct func *func = catalog_func(ddl->before, args->name, args->name_size);
    if (func == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no function \"%.*s\"", (int)args->name_size,
                        args->name);
    int rc = ddl__may(ddl, ACCESS_DROP, ACCESS_FUNCTION, func->id, func->owner, func->name);
    if (rc == 0)
        rc = ddl__privileges_drop(ddl, ACCESS_FUNCTION, func->id);
    if (rc != 0)
        return rc;
    mp_put_uint(ddl__tuple(ddl, 1), func->id);
    return ddl__delete(ddl, SPACE_ID_FUNC);
}

int ddl_func_drop(struct db_worker *worker, const char *name, size_t name_size)
{
    struct func_args args = {name, name_size, NULL};
    return ddl__run(worker, func_drop, NULL, &args);
}
