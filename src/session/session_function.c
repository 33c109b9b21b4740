/* SPDX-License-Identifier: Apache-2.0 */

/*
 * FUNCTION and FCALL: libraries of Redis functions, which are kept in the database
 * (lua/redis_function.c), and calls of them and of stored procedures with keys and arguments.
 */
#include "session/session_internal.h"

#include "redis/redis_value.h"

/* --------------------------------------------------------------------------------------- FCALL */

/* Keys and arguments as two arrays, which is what functions of Redis get. */
static const char *fcall_args_pack(struct session_worker *worker,
                                   const struct session_request *request, unsigned keys)
{
    const unsigned counts[2] = {keys, request->argc - 3 - keys};
    unsigned n = 3;
    mp_buffer_reset(&worker->args, SESSION_BUFFER_KEEP_BYTES);
    mp_put_array(&worker->args, 2);
    for (int i = 0; i < 2; i++) {
        mp_put_array(&worker->args, counts[i]);
        for (unsigned end = n + counts[i]; n < end; n++)
            mp_put_str(&worker->args, request->argv[n].data, request->argv[n].size);
    }
    return worker->args.failed ? NULL : worker->args.data;
}

static int call_procedure(struct session *session, struct session_request *request, bool readonly)
{
    unsigned keys = 0;
    int rc = session__numkeys_parse(request, "Bad number of keys provided", &keys);
    if (rc)
        return rc;
    struct session_lua_run run = {.name = request->argv[1].data,
                                  .name_size = request->argv[1].size,
                                  .args = fcall_args_pack(session->worker, request, keys),
                                  .readonly = readonly};
    return session__run_packed(session, request, &run);
}

/* Whether the message says that it is the procedure itself that there is none of. */
static bool is_unknown(const struct redis_slice *name)
{
    const char *message = diag_message_for(ERROR_NOT_FOUND);
    return strstr(message, "procedure") && memmem(message, strlen(message), name->data, name->size);
}

/* A function of a library; when there is none of this name, a procedure. */
static int fcall(struct session *session, struct session_request *request, bool readonly)
{
    const struct redis_slice *name = &request->argv[1];
    struct lua_runtime *lua = session->worker->lua;
    if (lua_runtime_redis_function_find(lua, name->data, name->size))
        return session__script_run(session, request, name, true, readonly);
    int rc = call_procedure(session, request, readonly);
    if (rc == ERROR_NOT_FOUND && is_unknown(name))
        return diag_set(ERROR_INVALID, "Function not found");
    return rc;
}

int session__fcall(struct session *session, struct session_request *request)
{
    return fcall(session, request, false);
}

int session__fcall_ro(struct session *session, struct session_request *request)
{
    return fcall(session, request, true);
}

/* ------------------------------------------------------------------------------------ FUNCTION */

enum { FUNCTION_ARGS_MAX = 64 };

/* A subcommand and its arguments, as Lua knows them. */
static int command_run(struct session *session, struct session_request *request,
                       const struct redis_slice *argv, unsigned argc)
{
    const struct lua_request how = {.latest = session__reads_latest(session),
                                    .session_id = session->about.id,
                                    .user_id = session->user_id,
                                    .txn = request->txn, /* EXEC's */
                                    .now_ms = request->txn ? request->now_ms : 0,
                                    .undone_by_caller = request->txn != NULL};
    return lua_runtime_redis_function(session->worker->lua, &how, argv, argc, &session->sink.base,
                                      &request->reply_ts);
}

/* The subcommand's name is what follows the bar; it and what follows it, as Lua knows them. */
static int run(struct session *session, struct session_request *request)
{
    const char *subcommand = strchr(request->command->name, '|') + 1;
    struct redis_slice argv[FUNCTION_ARGS_MAX];
    unsigned argc = request->argc - 1;
    if (argc > FUNCTION_ARGS_MAX)
        return diag_set(ERROR_INVALID, "too many arguments");
    argv[0] = (struct redis_slice){subcommand, strlen(subcommand)};
    for (unsigned n = 1; n < argc; n++)
        argv[n] = request->argv[n + 1];
    return command_run(session, request, argv, argc);
}

static int run_up_to(struct session *session, struct session_request *request, unsigned argc_max)
{
    const struct redis_slice *name = &request->argv[1];
    if (request->argc <= argc_max)
        return run(session, request);
    return diag_set(
        ERROR_INVALID,
        "unknown subcommand or wrong number of arguments for '%.*s'. Try FUNCTION HELP.",
        (int)name->size, name->data);
}

static int function_flush(struct session *session, struct session_request *request)
{
    return run_up_to(session, request, 3);
}

static int function_restore(struct session *session, struct session_request *request)
{
    return run_up_to(session, request, 4);
}

static int function_kill(struct session *session, struct session_request *request)
{
    (void)request;
    return session__scripts_kill(session, true);
}

enum { RUNNING_WORDS_MAX = 1000 };

/* Of all other workers the function that has been running for longest: its name and the words of its
 * request are left in the worker's buffer; how many strings these are. */
static unsigned running_find(struct session *session, uint64_t *ms)
{
    struct service *service = session->service;
    struct mp_buffer *out = &session->worker->args;
    unsigned count = 0;
    mp_buffer_reset(out, SESSION_BUFFER_KEEP_BYTES);
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++) {
        size_t before = out->size;
        uint64_t its_ms;
        unsigned its_count = service->workers[n] && service->workers[n] != session->worker
                                 ? lua_runtime_function_running(service->workers[n]->lua, out,
                                                                RUNNING_WORDS_MAX, &its_ms)
                                 : 0;
        if (its_count && (count == 0 || its_ms > *ms) && !out->failed) {
            memmove(out->data, out->data + before, out->size - before);
            out->size -= before;
            *ms = its_ms;
            count = its_count;
        } else {
            out->size = before;
        }
    }
    pthread_mutex_unlock(&service->mutex);
    return count;
}

static int function_stats(struct session *session, struct session_request *request)
{
    struct redis_slice argv[RUNNING_WORDS_MAX + 3] = {{"stats", 5}};
    uint64_t ms = 0;
    uint32_t size;
    char text[24];
    unsigned count = running_find(session, &ms), argc = 1;
    const char *at = session->worker->args.data;
    for (unsigned n = 0; n < count; n++) {
        argv[argc].data = mp_decode_str(&at, &size);
        argv[argc++].size = size;
        if (n == 0)
            argv[argc++] = (struct redis_slice){text, redis_integer_format((int64_t)ms, text)};
    }
    return command_run(session, request, argv, argc);
}

static int function_help(struct session *session, struct session_request *request)
{
    static const char *const lines[] = {
        "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "LOAD [REPLACE] <FUNCTION CODE>",
        "    Create a new library with the given library name and code.",
        "DELETE <LIBRARY NAME>",
        "    Delete the given library.",
        "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
        "    Return general information on all the libraries:",
        "    * Library name",
        "    * The engine used to run the Library",
        "    * Library description",
        "    * Functions list",
        "    * Library code (if WITHCODE is given)",
        ("    It also possible to get only function that matches a pattern using "
         "LIBRARYNAME argument."),
        "STATS",
        "    Return information about the current function running:",
        "    * Function name",
        "    * Command used to run the function",
        "    * Duration in MS that the function is running",
        "    If no function is running, return nil",
        "    In addition, returns a list of available engines.",
        "KILL",
        "    Kill the current running function.",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all the libraries.",
        ("    When called without the optional mode argument, the behavior is determined "
         "by the"),
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the libraries.",
        "    * SYNC: Synchronously flush the libraries.",
        "DUMP",
        ("    Return a serialized payload representing the current libraries, can be "
         "restored using FUNCTION RESTORE command"),
        "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
        ("    Restore the libraries represented by the given payload, it is possible to "
         "give a restore policy to"),
        "    control how to handle existing libraries (default APPEND):",
        "    * FLUSH: delete all existing libraries.",
        ("    * APPEND: appends the restored libraries to the existing libraries. On "
         "collision, abort."),
        ("    * REPLACE: appends the restored libraries to the existing libraries, On "
         "collision, replace the old"),
        ("      libraries with the new libraries (notice that even on this option there "
         "is a chance of failure"),
        "      in case of functions name collision with another library).",
        "HELP",
        "    Prints this help.",
        NULL};
    (void)request;
    session__put_lines(session, lines);
    return 0;
}

enum {
    FUNCTION = SESSION_DATA | SESSION_NO_TXN | SESSION_NOSCRIPT,
    CHANGE = FUNCTION | SESSION_ALTERS
};

#define ROW(name, arity, flags, summary, run)                                          \
    {                                                                                  \
        name, arity, flags, 0, 0, 0, summary, "7.0.0", "scripting", run, NULL, NULL, 0 \
    }
const struct session_command session__function_commands[] = {
    ROW("function|delete", 3, CHANGE, "Deletes a library and its functions.", run),
    ROW("function|dump", 2, FUNCTION, "Dumps all libraries into a serialized binary payload.", run),
    ROW("function|flush", -2, CHANGE, "Deletes all libraries and functions.", function_flush),
    ROW("function|help", 2, FUNCTION, "Returns helpful text about the different subcommands.",
        function_help),
    ROW("function|kill", 2, FUNCTION, "Terminates a function during execution.", function_kill),
    ROW("function|list", -2, FUNCTION, "Returns information about all libraries.", run),
    ROW("function|load", -3, CHANGE, "Creates a library.", run),
    ROW("function|restore", -3, CHANGE, "Restores all libraries from a payload.", function_restore),
    ROW("function|stats", 2, FUNCTION, "Returns information about a function during execution.",
        function_stats),
    {0},
};
