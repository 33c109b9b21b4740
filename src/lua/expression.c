/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Expressions of tuples: see expression.h.
 *
 * Each thread has a Lua state for them, apart from that of a runtime: expressions are evaluated in
 * the middle of statements, also where a compiled trace has called C and its own state must not be
 * touched. It is a struct lua_runtime that has no worker, so that values are converted by the same
 * code; the database can't be reached from it.
 *
 * The compiler is off, and a count hook is set before each evaluation: short texts that are called
 * from C gain nothing by being compiled, and are stopped after the same number of instructions
 * everywhere. What that costs is in README.md. One C call has no instructions: a pattern looks at
 * the time, as in a runtime, and the memory bounds the rest.
 *
 * What has been compiled is kept in a table of slots by digest, beside the text, since a digest may
 * be two texts'.
 */
#include "lua/expression.h"

#include <luajit.h>
#include <lualib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/internal.h"
#include "mem/account.h"

enum { COMPILED_SLOTS = 512 };

/* What `t` is in Lua: a userdata, one a state. */
struct subject {
    const char *tuple; /* NULL while nothing is evaluated */
    const struct space *space;
};

struct compiled {
    uint64_t digest;
    char *text; /* NULL: the slot is free */
    int ref;
};

struct evaluator {
    struct lua_runtime runtime;
    struct subject *subject;
    int ref_evaluate, ref_compile, ref_subject, ref_message;
    bool stopped; /* by the hook */
    struct compiled compiled[COMPILED_SLOTS];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_exit;
static _Thread_local struct evaluator *own;

/* --------------------------------------------------------------------------------- the tuple */

static const struct subject *subject_check(lua_State *L)
{
    const struct subject *subject = lua_touserdata(L, 1); /* there is no other userdata */
    if (lua_type(L, 1) != LUA_TUSERDATA || subject->tuple == NULL)
        luaL_error(L, "a tuple is expected, and only while the expression is evaluated");
    return subject;
}

/* Pushes what a field contains: nil as nil. */
static void push_field(lua_State *L, struct lua_runtime *runtime, const char *value)
{
    if (value == NULL || mp_typeof(*value) == MP_NIL)
        lua_pushnil(L);
    else
        lua__push(L, runtime, &value);
}

/* subject[key]; methods are in the second upvalue. */
static int subject_index(lua_State *L)
{
    const struct subject *subject = subject_check(L);
    int64_t field = -1;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_Number number = lua_tonumber(L, 2);
        field = number >= 1 && number <= UINT32_MAX ? (int64_t)number - 1 : -1;
    } else if (lua_type(L, 2) == LUA_TSTRING) {
        size_t size;
        const char *name = lua_tolstring(L, 2, &size);
        field = subject->space == NULL ? -1 : space_field(subject->space, name, size);
        if (field < 0) {
            lua_pushvalue(L, 2);
            lua_rawget(L, lua_upvalueindex(2));
            return 1;
        }
    }
    push_field(L, lua__runtime(L), field < 0 ? NULL : mp_array_at(subject->tuple, (uint32_t)field));
    return 1;
}

static int subject_assign(lua_State *L)
{
    return luaL_error(L, "a tuple can not be changed");
}

static int subject_length(lua_State *L)
{
    const char *tuple = subject_check(L)->tuple;
    lua_pushinteger(L, mp_decode_array(&tuple));
    return 1;
}

/* t:totable() */
static int subject_totable(lua_State *L)
{
    const char *tuple = subject_check(L)->tuple;
    lua__push(L, lua__runtime(L), &tuple);
    return 1;
}

/* t:unpack() */
static int subject_unpack(lua_State *L)
{
    return lua__push_array(L, lua__runtime(L), subject_check(L)->tuple);
}

/* t:tomap(): the fields that have names. */
static int subject_tomap(lua_State *L)
{
    const struct subject *subject = subject_check(L);
    const char *data = subject->tuple;
    uint32_t count = mp_decode_array(&data);
    lua_newtable(L);
    for (uint32_t i = 0; subject->space != NULL && i < count && i < subject->space->field_count;
         i++) {
        lua__push(L, lua__runtime(L), &data);
        lua_setfield(L, -2, subject->space->fields[i].name);
    }
    return 1;
}

/* Leaves the userdata on the stack. */
static struct subject *subject_new(lua_State *L, struct lua_runtime *runtime)
{
    static const luaL_Reg methods[] = {{"totable", subject_totable},
                                       {"unpack", subject_unpack},
                                       {"tomap", subject_tomap},
                                       {NULL, NULL}};
    struct subject *subject = lua_newuserdata(L, sizeof *subject);
    *subject = (struct subject){NULL, NULL};
    lua_newtable(L);
    lua_pushlightuserdata(L, runtime);
    lua_newtable(L);
    lua__register(runtime, methods);
    lua_pushcclosure(L, subject_index, 2);
    lua_setfield(L, -2, "__index");
    static const luaL_Reg events[] = {
        {"__newindex", subject_assign}, {"__len", subject_length}, {NULL, NULL}};
    lua__register(runtime, events);
    lua_pushliteral(L, "protected");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    return subject;
}

/* -------------------------------------------------------------------------------- the state */

static struct evaluator *evaluator_of(lua_State *L)
{
    return (struct evaluator *)lua__runtime(L);
}

/* From the first time on after each instruction, so that no pcall keeps the error for itself. */
static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    own->stopped = true;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, "the expression takes more than %d instructions", LUA_EXPRESSION_STEPS_MAX);
}

struct evaluation {
    const struct expression *expression;
    bool compile; /* no more than that */
};

/* Pushes the compiled function. */
static void push_compiled(lua_State *L, struct evaluator *evaluator,
                          const struct expression *expression)
{
    struct compiled *slot = &evaluator->compiled[expression->digest % COMPILED_SLOTS];
    if (slot->text != NULL && slot->digest == expression->digest &&
        strcmp(slot->text, expression->text) == 0) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, slot->ref);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, evaluator->ref_compile);
    lua_pushstring(L, expression->text);
    lua_pushstring(L, expression->name);
    lua_call(L, 2, 1);
    if (slot->text != NULL) {
        luaL_unref(L, LUA_REGISTRYINDEX, slot->ref);
        free(slot->text);
        slot->text = NULL;
    }
    lua_pushvalue(L, -1);
    slot->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    slot->digest = expression->digest;
    slot->text = strdup(expression->text); /* without memory: it is compiled again */
    if (slot->text == NULL)
        luaL_unref(L, LUA_REGISTRYINDEX, slot->ref);
}

/* Called in protected mode with the evaluation. */
static int evaluate_protected(lua_State *L)
{
    struct evaluator *evaluator = evaluator_of(L);
    const struct evaluation *evaluation = lua_touserdata(L, 1);
    lua_settop(L, 0);
    push_compiled(L, evaluator, evaluation->expression);
    if (evaluation->compile)
        return 0;
    if (evaluator->subject->tuple == NULL)
        lua_pushnil(L);
    else
        lua_rawgeti(L, LUA_REGISTRYINDEX, evaluator->ref_subject);
    lua_call(L, 1, LUA_MULTRET);
    int results = lua_gettop(L);
    luaL_checkstack(L, 16, "results");
    struct mp_buffer *result = &evaluator->runtime.result; /* which is bounded */
    mp_buffer_reset(result, 65536);
    mp_put_array(result, (uint32_t)results);
    for (int i = 1; i <= results; i++)
        lua__encode(L, &evaluator->runtime, i, result, LUA__STRICT);
    return 0;
}

/* The message of an error, in protected mode. */
static int message_push(lua_State *L)
{
    lua_settop(L, 1);
    if (!lua_isstring(L, 1) && !luaL_callmeta(L, 1, "__tostring"))
        lua_pushfstring(L, "an error that is a %s", luaL_typename(L, 1));
    return 1;
}

static void evaluator_delete(void *arg)
{
    struct evaluator *evaluator = arg;
    if (evaluator->runtime.L != NULL)
        lua_close(evaluator->runtime.L);
    account_add(ACCOUNT_LUA, -(int64_t)evaluator->runtime.memory_told);
    for (unsigned i = 0; i < COMPILED_SLOTS; i++)
        free(evaluator->compiled[i].text);
    lua__buffers_free(&evaluator->runtime);
    free(evaluator);
    own = NULL;
}

static void key_make(void)
{
    if (pthread_key_create(&at_exit, evaluator_delete) != 0)
        abort();
}

static int set_up(lua_State *L)
{
    struct evaluator *evaluator = lua_touserdata(L, 1);
    struct lua_runtime *runtime = &evaluator->runtime;
    luaL_openlibs(L);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua__preload_builtins(L);
    lua__make_native(L, runtime);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "box.expression");
    lua_call(L, 1, 1);
    lua__take_hooks(L, runtime);
    lua__push_hook(L, runtime, "compile");
    evaluator->ref_compile = luaL_ref(L, LUA_REGISTRYINDEX);
    evaluator->subject = subject_new(L, runtime);
    evaluator->ref_subject = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, runtime);
    lua_pushcclosure(L, evaluate_protected, 1);
    evaluator->ref_evaluate = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, message_push);
    evaluator->ref_message = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L); /* no chunk finds the globals */
    lua_replace(L, LUA_GLOBALSINDEX);
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* The thread's own, made when it has none. */
static int evaluator_get(struct evaluator **out)
{
    *out = own;
    if (own != NULL)
        return 0;
    pthread_once(&once, key_make);
    struct evaluator *evaluator = calloc(1, sizeof *evaluator);
    if (evaluator == NULL)
        return diag_set(ERROR_MEMORY, "no memory for Lua");
    struct lua_runtime *runtime = &evaluator->runtime;
    lua__buffers_create(runtime);
    lua__request_none(runtime);
    random_create(&runtime->random, random_seed()); /* names of members nobody can guess */
    runtime->expressions = true;
    runtime->L = lua_newstate(lua__allocate, runtime);
    if (runtime->L == NULL || lua_cpcall(runtime->L, set_up, evaluator) != 0) {
        const char *message = runtime->L == NULL ? NULL : lua_tostring(runtime->L, -1);
        diag_set(message == NULL ? ERROR_MEMORY : ERROR_LUA, "built-in Lua: %s",
                 message == NULL ? "out of memory" : message);
        evaluator_delete(evaluator);
        return diag_code();
    }
    runtime->memory_bytes_max = LUA_EXPRESSION_MEMORY_MAX;
    lua__buffers_bound(runtime);
    pthread_setspecific(at_exit, evaluator);
    *out = own = evaluator;
    return 0;
}

/* ------------------------------------------------------------------------------ evaluating */

static int failed(struct evaluator *evaluator, int status)
{
    lua_State *L = evaluator->runtime.L;
    if (status == LUA_ERRMEM) {
        lua_settop(L, 0);
        lua_gc(L, LUA_GCCOLLECT, 0);
        return diag_set(ERROR_MEMORY, "an expression takes more than %d MB of memory",
                        LUA_EXPRESSION_MEMORY_MAX >> 20);
    }
    bool expired = evaluator->stopped || evaluator->runtime.expired_ns != 0;
    int code = expired                            ? ERROR_TIMEOUT
               : evaluator->runtime.result.failed ? ERROR_MEMORY
                                                  : ERROR_LUA;
    lua_sethook(L, on_count, LUA_MASKCOUNT, LUA_EXPRESSION_STEPS_MAX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, evaluator->ref_message);
    lua_insert(L, -2);
    const char *message = lua_pcall(L, 1, 1, 0) == 0 ? lua_tostring(L, -1) : NULL;
    return diag_set(code, "%s", message == NULL ? "an error without a message" : message);
}

static int run(struct evaluator *evaluator, const struct evaluation *evaluation)
{
    lua_State *L = evaluator->runtime.L;
    evaluator->stopped = false;
    evaluator->runtime.stack_base = __builtin_frame_address(0);
    evaluator->runtime.started_ns = evaluator->runtime.expired_ns = 0;
    lua_sethook(L, on_count, LUA_MASKCOUNT, LUA_EXPRESSION_STEPS_MAX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, evaluator->ref_evaluate);
    union {
        const void *from;
        void *to;
    } pointer = {.from = evaluation};
    lua_pushlightuserdata(L, pointer.to);
    int status = lua_pcall(L, 1, 0, 0);
    int rc = status == 0 ? 0 : failed(evaluator, status);
    /* The last instruction that the hook stopped may have been a caught one. */
    if (rc == 0 && evaluator->stopped)
        rc = diag_set(ERROR_TIMEOUT, "an expression takes more than %d instructions",
                      LUA_EXPRESSION_STEPS_MAX);
    lua_settop(L, 0);
    return rc;
}

static int evaluate(void *arg, const struct expression *expression, const struct space *space,
                    const char *tuple, struct mp_buffer *out)
{
    (void)arg;
    struct evaluator *evaluator;
    int rc = evaluator_get(&evaluator);
    if (rc != 0)
        return rc;
    *evaluator->subject = (struct subject){tuple, space};
    rc = run(evaluator, &(struct evaluation){.expression = expression});
    *evaluator->subject = (struct subject){NULL, NULL};
    if (rc != 0)
        return rc;
    mp_put_raw(out, evaluator->runtime.result.data, evaluator->runtime.result.size);
    return out->failed ? diag_set(ERROR_MEMORY, "no memory for what an expression gives") : 0;
}

static int check(void *arg, const struct expression *expression)
{
    (void)arg;
    struct evaluator *evaluator;
    int rc = evaluator_get(&evaluator);
    return rc != 0
               ? rc
               : run(evaluator, &(struct evaluation){.expression = expression, .compile = true});
}

const struct db_expressions *lua_expressions(void)
{
    static const struct db_expressions expressions = {.evaluate = evaluate, .check = check};
    return &expressions;
}
