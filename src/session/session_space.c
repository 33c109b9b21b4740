/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Spaces over RESP: SPACE.INSERT and its kin. A command is a statement of box.space (lua/runtime.h):
 * by itself a transaction, in MULTI or BEGIN a part of that; the user's privileges on the space count
 * besides the rules of ACL on the command. How its values travel, the connection has chosen by CLIENT
 * FORMAT.
 *
 * Changes of the schema are made by built-in Lua, which knows their options.
 */
#include "session/session_internal.h"

#include "db/space.h"

/* ----------------------------------------------------------------------------------- statements */

struct lua_space_call session__space_call(const struct space_request *request)
{
    static const enum lua_space_operation operations[] = {
        [SPACE_INSERT] = LUA_SPACE_INSERT, [SPACE_REPLACE] = LUA_SPACE_REPLACE,
        [SPACE_UPSERT] = LUA_SPACE_UPSERT, [SPACE_UPDATE] = LUA_SPACE_UPDATE,
        [SPACE_DELETE] = LUA_SPACE_DELETE, [SPACE_GET] = LUA_SPACE_GET,
        [SPACE_MGET] = LUA_SPACE_GET_MANY, [SPACE_SELECT] = LUA_SPACE_SELECT,
        [SPACE_COUNT] = LUA_SPACE_COUNT,
    };
    return (struct lua_space_call){.operation = operations[request->operation],
                                   .space = request->space.data,
                                   .space_size = request->space.size,
                                   .index = request->index.data,
                                   .index_size = request->index.size,
                                   .subject = request->subject.data,
                                   .subject_size = request->subject.size,
                                   .operations = request->operations.data,
                                   .operations_size = request->operations.size,
                                   .after = request->after.data,
                                   .after_size = request->after.size,
                                   .iterator = request->iterator,
                                   .limit = request->limit,
                                   .offset = request->offset};
}

/* What a large request has left in the scratch is given back. */
static void scratch_bound(struct json_buffer *scratch)
{
    if (scratch->capacity > SESSION_BUFFER_KEEP_BYTES)
        json_buffer_destroy(scratch);
}

static int statement(struct session *session, struct session_request *request,
                     enum space_operation operation)
{
    struct json_buffer *scratch = &session->worker->taken;
    struct space_request read;
    int rc = space_request_read(&read, operation, session->format, request->argv + 1,
                                request->argc - 1, scratch);
    if (!rc) {
        struct lua_space_call call = session__space_call(&read);
        struct session_lua_run run = {.space = &call,
                                      .readonly = (request->command->flags & SESSION_READS) != 0};
        rc = session__run_formatted(session, request, &run);
    }
    scratch_bound(scratch);
    return rc;
}

int session__space_insert(struct session *session, struct session_request *request)
{
    return statement(session, request, SPACE_INSERT);
}

int session__space_replace(struct session *session, struct session_request *request)
{
    return statement(session, request, SPACE_REPLACE);
}

int session__space_upsert(struct session *session, struct session_request *request)
{
    return statement(session, request, SPACE_UPSERT);
}

int session__space_update(struct session *session, struct session_request *request)
{
    return statement(session, request, SPACE_UPDATE);
}

int session__space_delete(struct session *session, struct session_request *request)
{
    return statement(session, request, SPACE_DELETE);
}

int session__space_get(struct session *session, struct session_request *request)
{
    return statement(session, request, SPACE_GET);
}

int session__space_mget(struct session *session, struct session_request *request)
{
    return statement(session, request, SPACE_MGET);
}

int session__space_select(struct session *session, struct session_request *request)
{
    return statement(session, request, SPACE_SELECT);
}

int session__space_count(struct session *session, struct session_request *request)
{
    return statement(session, request, SPACE_COUNT);
}

/* ----------------------------------------------------------------------------------- the schema */

/*
 * Calls a function of lua/box/schema_command.lua with `names` names from argv[1] on and, if there is
 * one more argument, a map of options.
 */
static int schema(struct session *session, struct session_request *request, const char *function,
                  unsigned names)
{
    static const char *const WHAT[] = {"the space's name", "the index's name"};
    struct session_worker *worker = session->worker;
    struct mp_buffer *args = &worker->args;
    bool has_options = request->argc > names + 1;
    int rc = 0;
    if (request->argc > names + 2)
        return diag_set(ERROR_INVALID, "wrong number of arguments");
    mp_buffer_reset(args, SESSION_BUFFER_KEEP_BYTES);
    mp_put_array(args, 1 + names + has_options);
    mp_put_str(args, function, strlen(function));
    for (unsigned n = 0; n < names && !rc; n++) {
        struct redis_slice name;
        rc = wire_take_text(session->format, &request->argv[n + 1], WHAT[n], &name);
        if (!rc)
            mp_put_str(args, name.data, name.size);
    }
    if (!rc && has_options) {
        worker->taken.size = 0;
        rc = wire_take_value(session->format, &request->argv[names + 1], "the map of options",
                             &worker->taken);
        if (!rc)
            mp_put_raw(args, worker->taken.data, worker->taken.size);
        scratch_bound(&worker->taken);
    }
    if (rc)
        return rc;
    struct session_lua_run run = {.schema = true,
                                  .args = args->failed ? NULL : args->data,
                                  .readonly = (request->command->flags & SESSION_READS) != 0};
    return session__run_formatted(session, request, &run);
}

int session__space_create(struct session *session, struct session_request *request)
{
    return schema(session, request, "space_create", 1);
}

int session__space_alter(struct session *session, struct session_request *request)
{
    return schema(session, request, "space_alter", 1);
}

int session__space_truncate(struct session *session, struct session_request *request)
{
    return schema(session, request, "space_truncate", 1);
}

int session__space_drop(struct session *session, struct session_request *request)
{
    return schema(session, request, "space_drop", 1);
}

int session__space_info(struct session *session, struct session_request *request)
{
    return schema(session, request, "space_info", 1);
}

int session__space_list(struct session *session, struct session_request *request)
{
    return schema(session, request, "space_list", 0);
}

int session__index_create(struct session *session, struct session_request *request)
{
    return schema(session, request, "index_create", 2);
}

int session__index_alter(struct session *session, struct session_request *request)
{
    return schema(session, request, "index_alter", 2);
}

int session__index_drop(struct session *session, struct session_request *request)
{
    return schema(session, request, "index_drop", 2);
}
