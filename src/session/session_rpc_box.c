/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MessagePack-RPC: spaces. box.insert and its kin are the commands SPACE.INSERT .. (session_space.c)
 * with the same arguments, as values; box.create_space and its kin change the schema.
 */
#include "session/session_rpc.h"

enum { ARGS_MAX = 16 };

/* Each argument as a slice; how many. */
static unsigned arguments(const struct rpc_call *call, struct redis_slice argv[ARGS_MAX])
{
    const char *at = call->args;
    unsigned count = 0;
    while (count < call->arg_count && count < ARGS_MAX) {
        argv[count].data = at;
        mp_next(&at);
        argv[count].size = (size_t)(at - argv[count].data);
        count++;
    }
    return count;
}

int session__rpc_statement(struct session *session, struct rpc_call *call)
{
    struct redis_slice argv[ARGS_MAX];
    struct space_request read;
    enum space_operation operation = (enum space_operation)call->method->number;
    int rc = space_request_read(&read, operation, WIRE_MSGPACK, argv, arguments(call, argv),
                                &session->worker->taken);
    if (rc)
        return rc;
    struct lua_space_call statement = session__space_call(&read);
    struct session_lua_run run = {.space = &statement, .readonly = operation >= SPACE_GET};
    return session__rpc_lua(session, call, &run);
}

int session__rpc_alter(struct session *session, struct rpc_call *call)
{
    static const struct {
        const char *function; /* of lua/box/schema_command.lua */
        unsigned args_min, args_max;
    } changes[] = {
        [RPC_SPACE_CREATE] = {"space_create", 1, 2},     [RPC_SPACE_ALTER] = {"space_alter", 2, 2},
        [RPC_SPACE_TRUNCATE] = {"space_truncate", 1, 1}, [RPC_SPACE_DROP] = {"space_drop", 1, 1},
        [RPC_SPACE_INFO] = {"space_info", 1, 1},         [RPC_SPACE_LIST] = {"space_list", 0, 0},
        [RPC_INDEX_CREATE] = {"index_create", 2, 3},     [RPC_INDEX_ALTER] = {"index_alter", 3, 3},
        [RPC_INDEX_DROP] = {"index_drop", 2, 2},
    };
    struct mp_buffer *args = &session->worker->args;
    int number = call->method->number;
    if (call->arg_count < changes[number].args_min || call->arg_count > changes[number].args_max)
        return diag_set(ERROR_INVALID, "wrong number of arguments");
    mp_buffer_reset(args, SESSION_BUFFER_KEEP_BYTES);
    mp_put_array(args, call->arg_count + 1);
    mp_put_str(args, changes[number].function, strlen(changes[number].function));
    mp_put_raw(args, call->args, (size_t)(call->args_end - call->args));
    if (args->failed)
        return diag_set(ERROR_MEMORY, "out of memory");
    struct session_lua_run run = {.schema = true,
                                  .args = args->data,
                                  .readonly = number == RPC_SPACE_INFO || number == RPC_SPACE_LIST};
    return session__rpc_lua(session, call, &run);
}
