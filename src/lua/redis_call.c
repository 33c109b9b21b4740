/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis.call and redis.pcall: Redis commands from Lua, in scripts and in procedures.
 *
 * In a transaction the command is a part of it; outside of one it is a transaction of its own, at
 * the level that its flags ask for. A conflict dooms the transaction, whether or not pcall hides
 * the error. Replies are converted as Redis does for RESP2: an integer to a number, a bulk string
 * to a string, null to false, a status to {ok = text}, an error to {err = text}, an array to a
 * table, a map to a table of alternating keys and values, a double to its text; after
 * redis.setresp(3) null is nil, and what RESP2 does not have is {map = ..}, {set = ..}, {double = ..},
 * {big_number = ..} or {verbatim_string = ..}.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "db/access.h"
#include "lua/fiber.h"
#include "lua/internal.h"
#include "lua/reply.h"
#include "lua/sha1.h"
#include "redis/redis_glob.h"
#include "redis/redis_memory.h"
#include "redis/redis_spec.h"
#include "redis/redis_value.h"

enum { CALL_ARGS_ON_STACK = 32 };

/* --------------------------------------------------------------------------------- replies */

static void push_reply(lua_State *L, struct lua_runtime *runtime, const char **reply);

static void push_field_table(lua_State *L, const char *field, const char *text, size_t size)
{
    lua_createtable(L, 0, 1);
    lua_pushlstring(L, text, size);
    lua_setfield(L, -2, field);
}

static void push_elements(lua_State *L, struct lua_runtime *runtime, const char **reply,
                          uint32_t count)
{
    luaL_checkstack(L, 4, "nested reply");
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 1; i <= count; i++) {
        if (i % LUA__VALUES_AT_ONCE == 0)
            lua__pause(runtime);
        push_reply(L, runtime, reply);
        lua_rawseti(L, -2, (int)i);
    }
}

/* The table of a RESP3 reply that is more than one value: {field = {key = value}}, or {key = true}. */
static void push_keys(lua_State *L, struct lua_runtime *runtime, const char **reply, uint32_t count,
                      const char *field)
{
    luaL_checkstack(L, 6, "nested reply");
    lua_createtable(L, 0, 1);
    lua_createtable(L, 0, (int)count);
    for (uint32_t i = 1; i <= count; i++) {
        if (i % LUA__VALUES_AT_ONCE == 0)
            lua__pause(runtime);
        push_reply(L, runtime, reply);
        if (field[0] == 'm')
            push_reply(L, runtime, reply);
        else
            lua_pushboolean(L, 1);
        if (lua_isnil(L, -2))
            lua_pop(L, 2); /* can't be a key */
        else
            lua_rawset(L, -3);
    }
    lua_setfield(L, -2, field);
}

static void push_double(lua_State *L, double value, bool resp3)
{
    char text[40];
    if (resp3) {
        lua_createtable(L, 0, 1);
        lua_pushnumber(L, value);
        lua_setfield(L, -2, "double");
        return;
    }
    snprintf(text, sizeof text, "%.17g", value);
    lua_pushstring(L, text);
}

static void push_verbatim(lua_State *L, const char *text, uint32_t size, bool resp3)
{
    if (!resp3) {
        lua_pushlstring(L, text + 3, size - 3);
        return;
    }
    lua_createtable(L, 0, 1);
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, text, 3);
    lua_setfield(L, -2, "format");
    lua_pushlstring(L, text + 3, size - 3);
    lua_setfield(L, -2, "string");
    lua_setfield(L, -2, "verbatim_string");
}

/* What Redis marks its table of a command's error with; scripts that walk over it see that. */
static void mark_counted(lua_State *L)
{
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "ignore_error_stats_update");
}

static void push_ext(lua_State *L, struct lua_runtime *runtime, const char **reply, bool resp3)
{
    uint32_t size, count;
    int type;
    const char *text = lua__reply_take_ext(reply, &type, &size);
    switch (type) {
    case LUA__REPLY_SET:
        memcpy(&count, text, sizeof count);
        if (resp3)
            push_keys(L, runtime, reply, count, "set");
        else
            push_elements(L, runtime, reply, count);
        return;
    case LUA__REPLY_BIG_NUMBER:
        if (resp3)
            push_field_table(L, "big_number", text, size);
        else
            lua_pushlstring(L, text, size);
        return;
    case LUA__REPLY_VERBATIM:
        push_verbatim(L, text, size, resp3);
        return;
    default:
        push_field_table(L, type == LUA__REPLY_STATUS ? "ok" : "err", text, size);
        if (type != LUA__REPLY_STATUS)
            mark_counted(L);
    }
}

static void push_reply(lua_State *L, struct lua_runtime *runtime, const char **reply)
{
    uint32_t size;
    const char *text;
    bool resp3 = lua__runtime(L)->script.resp == 3;
    switch (mp_typeof(**reply)) {
    case MP_NIL:
        mp_decode_nil(reply);
        if (resp3)
            lua_pushnil(L);
        else
            lua_pushboolean(L, 0);
        return;
    case MP_BOOL:
        if (resp3)
            lua_pushboolean(L, mp_decode_bool(reply));
        else
            lua_pushinteger(L, mp_decode_bool(reply));
        return;
    case MP_UINT:
        lua_pushnumber(L, (double)mp_decode_uint(reply));
        return;
    case MP_INT:
        lua_pushnumber(L, (double)mp_decode_int(reply));
        return;
    case MP_DOUBLE:
        push_double(L, mp_decode_double(reply), resp3);
        return;
    case MP_STR:
        text = mp_decode_str(reply, &size);
        lua__push_bytes(L, runtime, text, size);
        return;
    case MP_ARRAY:
        push_elements(L, runtime, reply, mp_decode_array(reply));
        return;
    case MP_MAP:
        size = mp_decode_map(reply);
        if (resp3)
            push_keys(L, runtime, reply, size, "map");
        else
            push_elements(L, runtime, reply, 2 * size);
        return;
    default:
        push_ext(L, runtime, reply, resp3);
    }
}

/* -------------------------------------------------------------------------------- arguments */

/* Numbers as Redis writes them: integers in full, others with 17 digits. Replaces the value on the
 * stack. */
static void number_to_text(lua_State *L, int index)
{
    char text[40];
    double number = lua_tonumber(L, index);
    if (number == 0 && signbit(number))
        snprintf(text, sizeof text, "-0");
    else if (number == floor(number) && fabs(number) < 9.2e18)
        snprintf(text, sizeof text, "%lld", (long long)number);
    else
        snprintf(text, sizeof text, "%.17g", number);
    lua_pushstring(L, text);
    lua_replace(L, index);
}

static const char *arguments_error(lua_State *L, int argc)
{
    if (argc == 0)
        return "Please specify at least one argument for this redis lib call";
    for (int i = 1; i <= argc; i++) {
        if (lua_type(L, i) == LUA_TNUMBER)
            number_to_text(L, i);
        else if (lua_type(L, i) != LUA_TSTRING)
            return "Lua redis lib command arguments must be strings or integers";
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------ running */

static int run_once(struct lua_runtime *runtime, const struct redis_command *command,
                    struct redis_call *call)
{
    struct lua__reply_sink sink;
    mp_buffer_reset(&runtime->reply, 65536);
    lua__reply_sink_create(&sink, &runtime->reply);
    call->txn = runtime->txn;
    MUTATION_POINT(SCRIPT_COMMAND);
    call->now_ms = MUTATION(NOW_TAKEN_TWICE) ? clock_realtime_ms(runtime->clock) : runtime->now_ms;
    call->sink = &sink.base;
    txn_statement(call->txn);
    int code = redis_command_run(command, call);
    if (code == 0 && runtime->reply.failed)
        code = diag_set(ERROR_MEMORY, "out of memory");
    return code;
}

/* In the runtime's transaction. */
static int run_in(struct lua_runtime *runtime, const struct redis_command *command,
                  struct redis_call *call)
{
    for (;;) {
        int code =
            runtime->txn_checks ? lua__check(runtime, (command->flags & REDIS_WRITE) != 0) : 0;
        if (code != 0)
            return code;
        struct txn_savepoint point = {.writes = 0};
        if (runtime->txn_opened)
            point = txn_savepoint(runtime->txn);
        code = run_once(runtime, command, call);
        if (code != ERROR_WAIT || !runtime->txn_opened)
            return code == 0 ? 0 : lua__failed(runtime, code);
        if ((code = lua__wait_in_place(runtime, point)) != 0)
            return code;
    }
}

static int run_and_commit(struct lua_runtime *runtime, const struct redis_command *command,
                          struct redis_call *call, struct txn_options *options)
{
    options->latest = lua__latest(runtime);
    int code = lua__begin(runtime, options);
    if (code != 0)
        return code;
    code = run_once(runtime, command, call);
    if (code != 0) {
        lua__rollback(runtime);
        return code;
    }
    code = lua__commit(runtime);
    runtime->committed = runtime->committed || (code == 0 && !options->readonly);
    return code;
}

bool lua__misses_wanted(const struct lua_runtime *runtime)
{
    const struct redis_config *config = runtime->options.callbacks.config;
    return config != NULL && (load_relaxed(&config->notify_flags) & REDIS_NOTIFY_KEY_MISS) != 0;
}

static int run_alone(struct lua_runtime *runtime, const struct redis_command *command,
                     struct redis_call *call)
{
    struct txn_options options = {
        .level = (command->flags & REDIS_ONE_ROW) != 0 || MUTATION(SEVERAL_ROWS_WEAKLY)
                     ? TXN_READ_COMMITTED
                     : TXN_SERIALIZABLE,
        .readonly = (command->flags & REDIS_WRITE) == 0 && !lua__misses_wanted(runtime)};
    for (unsigned losses = 0;;) {
        int code = run_and_commit(runtime, command, call, &options);
        if (code == 0)
            return 0;
        if ((code = lua__lost(runtime, code, &losses, &options)) != 0)
            return code;
    }
}

/* The rights on the space that Redis's keys live in. */
static int may_run(struct lua_runtime *runtime, const struct redis_command *command)
{
    unsigned wanted = (command->flags & REDIS_WRITE) != 0      ? ACCESS_WRITE
                      : (command->flags & REDIS_READONLY) != 0 ? ACCESS_READ
                                                               : 0;
    if (lua__find_space(runtime, SPACE_ID_REDIS, wanted) != NULL)
        return 0;
    if (diag_code() != ERROR_ACCESS)
        return diag_code();
    const struct access *access = access_of(runtime->worker);
    return diag_set(ERROR_ACCESS, "User %s has no permissions to run the '%s' command",
                    access == NULL ? ""
                                   : access_user_name(access, access_user_get(runtime->worker)),
                    command->name);
}

/* What whoever embeds the runtime has to say about it. */
static int before(struct lua_runtime *runtime, const struct redis_command *command,
                  const struct redis_slice *argv, unsigned argc)
{
    const struct lua_callbacks *callbacks = &runtime->options.callbacks;
    if (callbacks->before_command == NULL)
        return 0;
    return callbacks->before_command(callbacks->arg, runtime->worker, runtime->request->session_id,
                                     access_user_get(runtime->worker), command, argv, argc,
                                     runtime->txn != NULL ? txn_snapshot_ts(runtime->txn)
                                                          : UINT64_MAX);
}

/* What a server has besides the commands of redis/, and scripts may call. */
static int run_ping(struct redis_call *call)
{
    if (call->argc > 2)
        return diag_set(ERROR_INVALID, "wrong number of arguments for 'ping' command");
    if (call->argc == 2)
        call->sink->vtab->bulk(call->sink, call->argv[1].data, call->argv[1].size);
    else
        call->sink->vtab->status(call->sink, "PONG");
    return 0;
}

static int run_echo(struct redis_call *call)
{
    call->sink->vtab->bulk(call->sink, call->argv[1].data, call->argv[1].size);
    return 0;
}

static int run_time(struct redis_call *call)
{
    char text[24];
    call->sink->vtab->array(call->sink, 2);
    int size = snprintf(text, sizeof text, "%llu", (unsigned long long)(call->now_ms / 1000));
    call->sink->vtab->bulk(call->sink, text, (size_t)size);
    size = snprintf(text, sizeof text, "%llu", (unsigned long long)(call->now_ms % 1000 * 1000));
    call->sink->vtab->bulk(call->sink, text, (size_t)size);
    return 0;
}

/* For the further commands of the script, or of the request; the connection keeps its own. */
static int run_select(struct redis_call *call)
{
    int64_t number;
    int rc = redis_integer_arg(call, 1, &number);
    if (rc != 0)
        return rc;
    if (number < 0 || number >= REDIS_DATABASES)
        return diag_set(ERROR_INVALID, "DB index is out of range");
    call->database = (unsigned)number;
    call->sink->vtab->status(call->sink, "OK");
    return 0;
}

static const struct redis_command own_commands[] = {
    {.name = "ping", .arity = -1, .flags = REDIS_READONLY | REDIS_FAST, .run = run_ping},
    {.name = "echo", .arity = 2, .flags = REDIS_READONLY | REDIS_FAST, .run = run_echo},
    {.name = "select", .arity = 2, .flags = REDIS_READONLY | REDIS_FAST, .run = run_select},
    {.name = "time", .arity = 1, .flags = REDIS_READONLY | REDIS_FAST, .run = run_time},
    {.name = NULL},
};

static bool is(const struct redis_slice *word, const char *text)
{
    return word->size == strlen(text) && strncasecmp(word->data, text, word->size) == 0;
}

static const struct redis_command *own_find(const struct redis_slice *name)
{
    for (const struct redis_command *command = own_commands; command->name != NULL; command++)
        if (is(name, command->name))
            return command;
    return NULL;
}

/* MEMORY USAGE is the one command on data whose name is two words. */
static const struct redis_command *data_find(const struct redis_slice *argv, unsigned argc)
{
    if (argc > 1 && is(&argv[0], "memory") && is(&argv[1], "usage"))
        return &redis_memory_usage;
    return redis_command_find(argv[0].data, argv[0].size);
}

static bool taken(struct lua_runtime *runtime, const struct redis_slice *name)
{
    const struct lua_callbacks *callbacks = &runtime->options.callbacks;
    return callbacks->command_taken != NULL &&
           callbacks->command_taken(callbacks->arg, name->data, name->size);
}

static int unknown(struct lua_runtime *runtime, const struct redis_slice *name)
{
    return diag_set(ERROR_INVALID, taken(runtime, name)
                                       ? "This Redis command is not allowed from script"
                                       : "Unknown Redis command called from script");
}

/* Whether it names a subcommand that there is not. */
static bool is_unknown_part(const struct redis_command *command, const struct redis_slice *argv,
                            unsigned argc)
{
    return (command->flags & REDIS_CONTAINER) != 0 && argc > 1 &&
           redis_subcommand_find(argv) == NULL;
}

/* What stands against calling it from a script, in Redis's words and order. */
static int check(const struct redis_command *command, const struct redis_slice *argv, unsigned argc)
{
    if (is_unknown_part(command, argv, argc))
        return diag_set(ERROR_INVALID, "Unknown Redis command called from script");
    if (redis_command_check(command, argv, argc) != 0)
        return diag_set(ERROR_INVALID, "Wrong number of args calling Redis command from script");
    if ((command->flags & REDIS_NOSCRIPT) != 0)
        return diag_set(ERROR_INVALID, "This Redis command is not allowed from script");
    return 0;
}

/* What is none of redis/: INFO and its like. */
static int run_of_server(struct lua_runtime *runtime, const struct redis_slice *argv, unsigned argc)
{
    const struct lua_callbacks *callbacks = &runtime->options.callbacks;
    struct lua__reply_sink sink;
    if (callbacks->server_command == NULL)
        return unknown(runtime, &argv[0]);
    mp_buffer_reset(&runtime->reply, 65536);
    lua__reply_sink_create(&sink, &runtime->reply);
    int code = callbacks->server_command(
        callbacks->arg, runtime->worker, runtime->request->session_id, runtime->txn,
        runtime->now_ms, runtime->script.resp == 3 ? 3 : 2, argv, argc, &sink.base);
    if (code == 0 && runtime->reply.failed)
        code = diag_set(ERROR_MEMORY, "out of memory");
    return code;
}

static void pause_for_others(void *runtime)
{
    lua__pause(runtime);
}

/* Returns a code whose message is in the diagnostics; the reply is in runtime->reply. */
static int run_command(struct lua_runtime *runtime, const struct redis_slice *argv, unsigned argc)
{
    const struct redis_command *command = data_find(argv, argc);
    if (command == NULL)
        command = own_find(&argv[0]);
    if (command == NULL)
        return run_of_server(runtime, argv, argc);
    int code = check(command, argv, argc);
    if (code != 0)
        return code;
    bool writes = (command->flags & REDIS_WRITE) != 0;
    if ((code = before(runtime, command, argv, argc)) < 0 ||
        (code == 0 && (code = may_run(runtime, command)) != 0))
        return code;
    if (writes && (runtime->request->readonly || runtime->script.readonly ||
                   (runtime->txn != NULL && txn_readonly(runtime->txn))))
        return diag_set(ERROR_LUA, "Write commands are not allowed from read-only scripts.");
    bool script = runtime->script.runs || runtime->script.reads;
    unsigned *database = script ? &runtime->script.database : &runtime->database;
    struct redis_call call = {.worker = runtime->worker,
                              .lookups = runtime->options.callbacks.lookups,
                              .protocol = runtime->script.resp == 3 ? 3 : 2,
                              .argv = argv,
                              .argc = argc,
                              .audience = runtime->options.callbacks.audience,
                              .config = runtime->options.callbacks.config
                                            ? runtime->options.callbacks.config
                                            : redis_config_default(),
                              .database = *database,
                              .interest = runtime->options.callbacks.interest,
                              .client_id = runtime->request->session_id,
                              .granted = runtime->request->granted,
                              .scripted = true,
                              .pause = pause_for_others,
                              .pause_arg = runtime,
                              .no_touch = runtime->request->no_touch};
    code =
        runtime->txn != NULL ? run_in(runtime, command, &call) : run_alone(runtime, command, &call);
    if (code == 0)
        *database = call.database;
    return code;
}

/* Pushes {err = "PREFIX message"}. */
static void push_error(lua_State *L, int code)
{
    lua_createtable(L, 0, 2);
    lua_pushfstring(L, "%s %s", error_prefix(code), diag_message_for(code));
    lua_setfield(L, -2, "err");
}

/* Runs the command; pushes its reply or an error table; returns the code. */
static int call_command(lua_State *L, struct lua_runtime *runtime)
{
    struct redis_slice few[CALL_ARGS_ON_STACK], *argv = few;
    int argc = lua_gettop(L), code;
    const char *wrong = arguments_error(L, argc);
    if (wrong == NULL) {
        if (argc > CALL_ARGS_ON_STACK)
            argv = lua_newuserdata(L, (size_t)argc * sizeof *argv);
        for (int i = 0; i < argc; i++)
            argv[i].data = lua_tolstring(L, i + 1, &argv[i].size);
        code = run_command(runtime, argv, (unsigned)argc);
    } else {
        code = diag_set(ERROR_INVALID, "%s", wrong);
    }
    if (code == ERROR_WAIT && runtime->fiber != NULL && runtime->fiber->waiting) {
        lua_pushlightuserdata(L, runtime); /* the mark: Lua yields, and calls again */
        return 0;
    }
    if (code == ERROR_CONFLICT || code == ERROR_TIMEOUT || code == ERROR_WAIT ||
        code == ERROR_DEADLOCK || code == ERROR_CANCELLED)
        return lua__raise(L, runtime, code);
    if (code != 0) {
        push_error(L, code);
        if (wrong == NULL)
            mark_counted(L);
        return code;
    }
    const char *reply = runtime->reply.data;
    push_reply(L, runtime, &reply);
    return 0;
}

static int native_redis_call(lua_State *L)
{
    if (call_command(L, lua__runtime(L)) != 0)
        return lua_error(L);
    if (!lua_istable(L, -1))
        return 1;
    lua_getfield(L, -1, "err");
    if (!lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return lua_error(L);
    }
    lua_pop(L, 1);
    return 1;
}

static int native_redis_pcall(lua_State *L)
{
    call_command(L, lua__runtime(L));
    return 1;
}

/* redis_read(database, command ..): pcall in that database, with the shapes of RESP2. */
static int native_redis_read(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    bool reads = runtime->script.reads;
    unsigned database = runtime->script.database;
    int resp = runtime->script.resp;
    runtime->script.database = (unsigned)luaL_checkinteger(L, 1);
    runtime->script.reads = true;
    runtime->script.resp = 2;
    lua_pushlightuserdata(L, runtime);
    lua_pushcclosure(L, native_redis_pcall, 1);
    lua_replace(L, 1);
    int status = lua_pcall(L, lua_gettop(L) - 1, 1, 0);
    runtime->script.reads = reads;
    runtime->script.database = database;
    runtime->script.resp = resp;
    return status == 0 ? 1 : lua_error(L);
}

static int native_sha1_hex(lua_State *L)
{
    size_t size;
    char digits[LUA_SHA1_SIZE];
    const char *text = luaL_checklstring(L, 1, &size);
    lua__sha1_hex(text, size, digits);
    lua_pushlstring(L, digits, LUA_SHA1_SIZE - 1);
    return 1;
}

/* setresp(2 or 3) */
static int native_redis_setresp(lua_State *L)
{
    lua__runtime(L)->script.resp = (int)luaL_checknumber(L, 1);
    return 0;
}

/* As `before`, of the command that is on the stack with its arguments. */
static int ask(lua_State *L, struct lua_runtime *runtime, const struct redis_command *command)
{
    int argc = lua_gettop(L);
    struct redis_slice *argv = lua_newuserdata(L, (size_t)argc * sizeof *argv);
    for (int i = 0; i < argc; i++)
        argv[i].data = luaL_checklstring(L, i + 1, &argv[i].size);
    return before(runtime, command, argv, (unsigned)argc);
}

/* acl_check_cmd(command, arguments ..): whether the effective user may run it; nil: there is none. */
static int native_redis_may_run(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct redis_slice words[2];
    unsigned count = lua_gettop(L) > 1 ? 2 : 1;
    for (unsigned n = 0; n < count; n++)
        words[n].data = luaL_checklstring(L, (int)n + 1, &words[n].size);
    const struct redis_command *command = data_find(words, count);
    if (command == NULL && own_find(&words[0]) == NULL && !taken(runtime, &words[0]))
        return 0;
    if (command != NULL && is_unknown_part(command, words, count))
        return 0;
    int code = command == NULL ? 1 : ask(L, runtime, command);
    lua_pushboolean(L,
                    code > 0 || (code == 0 && (command == NULL || may_run(runtime, command) == 0)));
    return 1;
}

/* glob(pattern, text): whether it matches, as KEYS does. */
static int native_redis_glob(lua_State *L)
{
    size_t pattern_size, size;
    const char *pattern = luaL_checklstring(L, 1, &pattern_size),
               *text = luaL_checklstring(L, 2, &size);
    lua_pushboolean(L, redis_glob_match(pattern, pattern_size, text, size));
    return 1;
}

void lua__open_redis(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"redis_call", native_redis_call},       {"redis_pcall", native_redis_pcall},
        {"redis_read", native_redis_read},       {"sha1_hex", native_sha1_hex},
        {"redis_setresp", native_redis_setresp}, {"redis_may_run", native_redis_may_run},
        {"redis_glob", native_redis_glob},       {NULL, NULL},
    };
    lua__register(runtime, functions);
}
