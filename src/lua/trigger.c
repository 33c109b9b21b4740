/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Triggers: statements that run Lua while they run.
 *
 * A statement is called through FFI, out of compiled traces, and what is called so must not call Lua.
 * So a writing statement on a space that may run triggers answers LUA__CALLS_OUT without having done
 * anything, and lua/box/space.lua makes it again through native.write, which is a C function. It
 * takes the arguments out of the runtime's buffers, for the triggers' own statements need those, and
 * notes the Lua state that triggers are called on.
 *
 * While triggers run the transaction is the statement's: it can't be ended or parked, and savepoints
 * and iterators from before are out of reach, because the statement still holds on to rows that
 * returning to one would take away. A lock that a trigger would have to wait for makes the outermost
 * statement wait.
 *
 * The functions themselves, and which of them run in which order, are in lua/box/trigger.lua.
 */
#include "db/trigger.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mutation.h"
#include "db/ddl.h"
#include "lua/internal.h"

static const char *const operation_names[] = {
    [TRIGGER_INSERT] = "INSERT", [TRIGGER_REPLACE] = "REPLACE", [TRIGGER_UPDATE] = "UPDATE",
    [TRIGGER_UPSERT] = "UPSERT", [TRIGGER_DELETE] = "DELETE",
};

/* Sequence numbers of what is inside of triggers: never those of a transaction. */
#define SEQUENCE_INSIDE (UINT64_C(1) << 63)

/* ---------------------------------------------------------------------------------- running them */

struct run {
    struct trigger_call *call;
    struct txn *txn;
};

/* The value on top is the new row that a trigger wants. */
static int take_new(lua_State *L, struct lua_runtime *runtime, struct run *run)
{
    struct trigger_call *call = run->call;
    struct mp_buffer *out = &runtime->scratch;
    call->changed = true;
    call->new.data = NULL;
    call->new.size = 0;
    if (lua_isnil(L, -1))
        return 0;
    mp_buffer_reset(out, 65536);
    lua__encode(L, runtime, lua_gettop(L), out, LUA__STRICT);
    lua__encode_check(L, runtime, out);
    const char *data = out->data;
    if (mp_typeof(*data) != MP_ARRAY || !mp_check_limited(&data, data + out->size))
        return diag_set(ERROR_INVALID, "a trigger gives a tuple, or a table that is an array");
    call->new.data = arena_copy(txn_arena(run->txn), out->data, out->size);
    call->new.size = (uint32_t)out->size;
    return call->new.data == NULL ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

static void push_argument(lua_State *L, struct lua_runtime *runtime, const char *value)
{
    if (value == NULL)
        lua_pushnil(L);
    else
        lua__push(L, runtime, &value);
}

static int call_triggers(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    struct run *run = arg;
    struct trigger_call *call = run->call;
    lua__push_hook(L, runtime, "run_triggers");
    lua_pushstring(L, trigger_event_name(call->event));
    lua_pushnumber(L, call->space->id);
    lua_pushstring(L, operation_names[call->operation]);
    lua_pushnumber(L, runtime->trigger_depth);
    push_argument(L, runtime, call->key);
    push_argument(L, runtime, call->ops);
    runtime->trigger_rows[0] = (struct lua__row){call->old.data, call->old.size};
    runtime->trigger_rows[1] = (struct lua__row){call->new.data, call->new.size};
    lua_call(L, 6, 2);
    return lua_toboolean(L, -2) ? take_new(L, runtime, run) : 0;
}

static int run_triggers(void *arg, struct txn *txn, struct trigger_call *call)
{
    struct lua_runtime *runtime = arg;
    lua_State *L = runtime->calling;
    if (L == NULL || runtime->txn != txn)
        return diag_set(ERROR_UNSUPPORTED,
                        "space \"%s\" has triggers, which can't be run from here",
                        call->space->name);
    struct mp_buffer *given = runtime->given;
    bool fixed = runtime->txn_fixed;
    uint64_t sequence = runtime->txn_sequence;
    struct run run = {.call = call, .txn = txn};
    runtime->calling = NULL;
    runtime->given = runtime->args;
    runtime->txn_fixed = true;
    if (!MUTATION(TRIGGER_GOES_BACK))
        runtime->txn_sequence = SEQUENCE_INSIDE | ++runtime->trigger_runs;
    runtime->trigger_depth++;
    int code = lua__protect_on(runtime, L, call_triggers, &run);
    runtime->trigger_depth--;
    runtime->txn_sequence = sequence;
    runtime->txn_fixed = fixed;
    runtime->given = given;
    runtime->calling = L;
    /* What ends the transaction counts, whatever pcall has caught (invariants 22 and 23). */
    if (lua__stop(runtime) != 0 && code != lua__stop(runtime))
        code = lua__stopped(runtime);
    return code;
}

/* ------------------------------------------------------------------- transactions of statements */

static int call_begun(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    (void)arg;
    lua__push_hook(L, runtime, "transaction_begun");
    lua_call(L, 0, 0);
    return 0;
}

bool lua__begin_events(struct lua_runtime *runtime)
{
    return (catalog_events(db_catalog(runtime->worker)) &
            (1u << TRIGGER_ON_BEGIN | 1u << TRIGGER_ON_COMMIT | 1u << TRIGGER_ON_ROLLBACK)) != 0;
}

int lua__statement_begun(struct lua_runtime *runtime)
{
    lua_State *L = runtime->calling;
    if (L == NULL || !lua__begin_events(runtime))
        return 0;
    struct mp_buffer *given = runtime->given;
    bool fixed = runtime->txn_fixed;
    runtime->calling = NULL;
    runtime->given = runtime->args;
    runtime->txn_fixed = true;
    int code = lua__protect_on(runtime, L, call_begun, NULL);
    runtime->txn_fixed = fixed;
    runtime->given = given;
    runtime->calling = L;
    return lua__stop(runtime) != 0 ? lua__stopped(runtime) : code;
}

static int call_ended(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    lua__push_hook(L, runtime, "transaction_ended");
    lua_pushboolean(L, *(const bool *)arg);
    lua_call(L, 1, 0);
    return 0;
}

void lua__statement_ended(struct lua_runtime *runtime)
{
    lua_State *L = runtime->calling;
    if (L == NULL || !runtime->handlers)
        return;
    char message[DIAG_MESSAGE_MAX];
    int code = diag_code();
    bool committed = runtime->txn_committed;
    struct mp_buffer *given = runtime->given, copy = runtime->copy; /* what the statement gives */
    snprintf(message, sizeof message, "%s", diag_message());
    runtime->calling = NULL;
    runtime->given = runtime->args;
    mp_buffer_create(&runtime->copy);
    lua__protect_on(runtime, L, call_ended, &committed);
    lua__rollback(runtime); /* what they have left open */
    mp_buffer_destroy(&runtime->copy);
    runtime->copy = copy;
    runtime->given = given;
    runtime->calling = L;
    runtime->handlers = false;
    diag_set(code, "%s", message);
}

/* ----------------------------------------------------------------------------------- the statement */

struct marks {
    bool save;
    int commits, rollbacks;
};

/* How many functions wait for the end of the transaction, or back to that number. */
static int call_marks(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    struct marks *marks = arg;
    lua__push_hook(L, runtime, "transaction_marks");
    if (marks->save) {
        lua_call(L, 0, 2);
        marks->commits = (int)lua_tointeger(L, -2);
        marks->rollbacks = (int)lua_tointeger(L, -1);
        return 0;
    }
    lua_pushinteger(L, marks->commits);
    lua_pushinteger(L, marks->rollbacks);
    lua_call(L, 2, 0);
    return 0;
}

void lua__marks_save(struct lua_runtime *runtime, lua_State *L, struct lua__marks *out)
{
    struct marks marks = {.save = true};
    if (runtime->txn != NULL && runtime->handlers)
        lua__protect_on(runtime, L, call_marks, &marks);
    out->commits = marks.commits;
    out->rollbacks = marks.rollbacks;
}

void lua__marks_return(struct lua_runtime *runtime, lua_State *L, const struct lua__marks *saved)
{
    struct marks marks = {.commits = saved->commits, .rollbacks = saved->rollbacks};
    char message[DIAG_MESSAGE_MAX];
    int code = diag_code();
    if (runtime->txn == NULL || !runtime->handlers)
        return;
    snprintf(message, sizeof message, "%s", diag_message());
    lua__protect_on(runtime, L, call_marks, &marks);
    diag_set(code, "%s", message);
}

int lua__write(struct lua_runtime *runtime, lua_State *L, int operation, uint32_t space_id,
               uint32_t index_id, struct mp_buffer given[2], struct lua__row *row)
{
    struct lua__marks marks;
    struct mp_buffer *before = runtime->given;
    lua_State *calling = runtime->calling;
    bool inside = runtime->txn != NULL;
    lua__marks_save(runtime, L, &marks);
    runtime->calling = L;
    runtime->given = given;
    int code = lua__api_write(runtime, operation, space_id, index_id, row);
    runtime->given = before;
    runtime->calling = calling;
    if (code != 0 && inside)
        lua__marks_return(runtime, L, &marks);
    return code;
}

/* write(operation, space, index): as api.write, of a statement that answered LUA__CALLS_OUT, with the
 * arguments that were encoded for it. Returns the code; the row is in `row`. */
static int native_write(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int operation = (int)lua_tointeger(L, 1);
    uint32_t space_id = (uint32_t)lua_tonumber(L, 2), index_id = (uint32_t)lua_tonumber(L, 3);
    struct mp_buffer given[2] = {runtime->args[0], runtime->args[1]};
    for (int i = 0; i < 2; i++) {
        mp_buffer_create(&runtime->args[i]);
        runtime->args[i].bytes_max = given[i].bytes_max;
    }
    int code = lua__write(runtime, L, operation, space_id, index_id, given, &runtime->row);
    for (int i = 0; i < 2; i++) {
        mp_buffer_destroy(&runtime->args[i]);
        runtime->args[i] = given[i];
    }
    lua_pushinteger(L, code);
    return 1;
}

/* --------------------------------------------------------------------------- events of no space */

struct event {
    enum trigger_event event;
    const char *args;
};

static int call_event(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct event *event = arg;
    lua__push_hook(L, runtime, "run_event");
    lua_pushstring(L, trigger_event_name(event->event));
    int count = event->args == NULL ? 0 : lua__push_array(L, runtime, event->args);
    lua_call(L, count + 1, 0);
    return 0;
}

int lua_runtime_event(struct lua_runtime *runtime, enum trigger_event event, const char *args,
                      uint64_t session_id, uint32_t user_id)
{
    if ((catalog_events(db_catalog(runtime->worker)) & 1u << event) == 0)
        return 0;
    struct lock_owner *waiting = NULL;
    struct lua_request request = {.latest = true,
                                  .may_wait = true,
                                  .waiting = &waiting,
                                  .session_id = session_id,
                                  .user_id = user_id};
    struct event call = {event, args};
    lua__request_begin(runtime, &request);
    int code = lua__protect(runtime, call_event, &call);
    if (code == 0 && lua__expired(runtime))
        code = ERROR_TIMEOUT;
    code = lua__request_end(runtime, code, NULL);
    if (code == ERROR_WAIT) {
        lock_wait_cancel(waiting, true);
        lock_release_all(waiting);
        lock_owner_delete(waiting);
        code = diag_set(ERROR_LOCK_TIMEOUT, "a trigger of %s has met a lock, and does not wait",
                        trigger_event_name(event));
    }
    return code;
}

void lua__schema_changed(lua_State *L, struct lua_runtime *runtime)
{
    struct event event = {TRIGGER_ON_SCHEMA_CHANGE, NULL};
    lua__host_settle_on(L, runtime);
    if (runtime->schema_event ||
        (catalog_events(db_catalog(runtime->worker)) & 1u << TRIGGER_ON_SCHEMA_CHANGE) == 0)
        return;
    runtime->schema_event = true; /* what they change themselves is no event */
    int code = lua__protect_on(runtime, L, call_event, &event);
    runtime->schema_event = false;
    if (code != 0)
        log_error("a trigger of on_schema_change: %s", diag_message_for(code));
}

/* schema_changed(): a transaction that may have changed it has been committed. */
static int native_schema_changed(lua_State *L)
{
    lua__schema_changed(L, lua__runtime(L));
    return 0;
}

/* -------------------------------------------------------------------------------------- the catalog */

/* triggers(): an array of the rows of _trigger, each a table. */
static int native_triggers(lua_State *L)
{
    return lua__records_push(L, CATALOG_TRIGGER);
}

/* trigger_put(row, fresh): a row of _trigger; its first field is box.NULL for a fresh one. */
static int native_trigger_put(lua_State *L)
{
    return lua__record_put(L, SPACE_ID_TRIGGER, lua_toboolean(L, 2));
}

/* trigger_drop(id) */
static int native_trigger_drop(lua_State *L)
{
    return lua__record_drop(L, SPACE_ID_TRIGGER);
}

/* space_name(id), or nil. */
static int native_space_name(lua_State *L)
{
    const struct space *space =
        catalog_space_by_id(db_catalog(lua__runtime(L)->worker), (uint32_t)luaL_checknumber(L, 1));
    if (space == NULL)
        return 0;
    lua_pushstring(L, space->name);
    return 1;
}

/* A number that no other process has, for triggers that end with this one. */
static double process_number(void)
{
    static _Atomic uint64_t number;
    uint64_t none = 0, fresh = random_seed() >> 12 | 1;
    return (double)(atomic_compare_exchange_strong(&number, &none, fresh) ? fresh : none);
}

void lua__open_trigger(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"write", native_write},
        {"schema_changed", native_schema_changed},
        {"triggers", native_triggers},
        {"trigger_put", native_trigger_put},
        {"trigger_drop", native_trigger_drop},
        {"space_name", native_space_name},
        {NULL, NULL},
    };
    runtime->given = runtime->args;
    runtime->triggers = (struct db_triggers){.run = run_triggers, .arg = runtime};
    if (runtime->worker != NULL) /* one that evaluates expressions has none */
        db_triggers_set(runtime->worker, &runtime->triggers);
    lua__register(runtime, functions);
    lua_pushnumber(runtime->L, process_number());
    lua_setfield(runtime->L, -2, "process");
    lua_pushlightuserdata(runtime->L, runtime->trigger_rows);
    lua_setfield(runtime->L, -2, "trigger_rows");
}
