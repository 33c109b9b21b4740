/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.watch: streams (stream/stream.h) that fibers read.
 *
 * Nothing here waits. A fiber takes events one by one; when there is none it says that it is going to
 * wait (watch_wait) and gives its turn away. Whoever writes the log wakes it by way of a flag and the
 * runtime's loop, so nobody looks at the log in the meantime.
 *
 *      log writer ──▶ on_wake: watch->woken, fibers->stirred, the loop's async handle
 *      runtime    ──▶ its next turn: lua__watches_wake ──▶ the fiber is ready
 *
 * A watch is owned by a userdata of Lua, whose collection closes it; closing the state closes all.
 */
#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "db/condition.h"
#include "db/ddl.h"
#include "db/watch.h"
#include "lua/fiber.h"
#include "stream/stream.h"

enum {
    WATCHES_MAX = 256, /* of a runtime: each has a file open */
    PASSED_AT_ONCE = 1024
};

struct lua__watch {
    struct list link; /* in fibers->watches */
    struct lua_runtime *runtime;
    struct stream *stream;
    uint32_t space_id;
    uint64_t fiber; /* that waits, 0: what is outside of one */
    bool waits;
    struct condition filter; /* no terms: none */
    struct arena arena;      /* of the filter */
    uint64_t passed_over;    /* rows that the filter did not want */
    _Atomic bool woken;
};

static void watch_close(struct lua__watch *watch)
{
    stream_close(watch->stream); /* from here on nobody wakes it */
    list_remove(&watch->link);
    watch->runtime->fibers->watch_count--;
    arena_destroy(&watch->arena);
    free(watch);
}

/* By the log writer. */
static void on_wake(void *arg)
{
    struct lua__watch *watch = arg;
    struct lua__fibers *fibers = watch->runtime->fibers;
    pthread_mutex_lock(&fibers->mutex);
    store_seq_cst(&watch->woken, true);
    if (!atomic_exchange_explicit(&fibers->stirred, true, memory_order_acq_rel))
        lua__loop_async(watch->runtime);
    pthread_mutex_unlock(&fibers->mutex);
}

void lua__watches_wake(struct lua_runtime *runtime)
{
    list_for_each (link, &runtime->fibers->watches) {
        struct lua__watch *watch = list_entry(link, struct lua__watch, link);
        if (!atomic_exchange(&watch->woken, false) || !watch->waits)
            continue;
        watch->waits = false;
        struct lua_fiber *fiber = watch->fiber == 0 ? NULL : lua__fiber_find(runtime, watch->fiber);
        if (watch->fiber == 0 || fiber != NULL)
            lua__fiber_ready(runtime, fiber);
    }
}

/* ---------------------------------------------------------------------------- called from Lua */

static struct lua__watch **check_watch(lua_State *L)
{
    return luaL_checkudata(L, 1, "perigee.watch");
}

static struct lua__watch *open_watch(lua_State *L)
{
    struct lua__watch *watch = *check_watch(L);
    if (watch == NULL)
        luaL_error(L, "the watch has ended");
    return watch;
}

static int native_close(lua_State *L)
{
    struct lua__watch **watch = check_watch(L);
    if (*watch != NULL)
        watch_close(*watch);
    *watch = NULL;
    return 0;
}

/* Rows of the space are in the log, and are tuples. */
static int check_space(const struct space *space)
{
    if (space->temporary)
        return diag_set(ERROR_UNSUPPORTED,
                        "changes of temporary space \"%s\" are in no log: it can't be watched",
                        space->name);
    if (space_id_is_redis(space->id) || space->index_count == 0)
        return diag_set(ERROR_UNSUPPORTED, "space \"%s\" has no tuples that could be watched",
                        space->name);
    return 0;
}

static uint32_t descending_parts(const struct index *primary)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < primary->part_count; i++)
        bits |= (uint32_t)primary->parts[i].descending << i;
    return bits;
}

static int open_stream(struct lua_runtime *runtime, uint32_t space_id, uint64_t from,
                       struct stream **out)
{
    const struct space *space = lua__find_space(runtime, space_id, ACCESS_READ);
    if (space == NULL)
        return diag_code();
    int code = check_space(space);
    if (code == 0 && runtime->fibers->watch_count >= WATCHES_MAX)
        code = diag_set(ERROR_BUSY, "too many watches: a worker has at most %d", WATCHES_MAX);
    if (code != 0)
        return code;
    const struct stream_options options = {
        .space_id = space_id, .from_ts = from, .descending = descending_parts(space->indexes[0])};
    return stream_open(runtime->wal, &options, out);
}

/* Behind all that is durable, and what the caller has done or seen. */
static uint64_t now_position(const struct lua_runtime *runtime)
{
    uint64_t end = wal_follow_end(runtime->wal);
    return runtime->seen_ts > end ? runtime->seen_ts : end;
}

static uint64_t position_arg(lua_State *L, struct lua_runtime *runtime, int index)
{
    if (lua_type(L, index) == LUA_TNUMBER)
        return (uint64_t)lua_tonumber(L, index);
    return *luaL_checkstring(L, index) == 'n' ? now_position(runtime)
                                              : wal_follow_begin(runtime->wal);
}

/* Reads the condition at `index`, if there is one. */
static int read_filter(lua_State *L, struct lua_runtime *runtime, int index,
                       struct lua__watch *watch)
{
    struct mp_buffer *out = &runtime->scratch;
    const struct space *space = lua__find_space(runtime, watch->space_id, ACCESS_READ);
    if (lua_isnoneornil(L, index))
        return 0;
    if (space == NULL)
        return diag_code();
    mp_buffer_reset(out, 65536);
    lua__encode(L, runtime, index, out, LUA__STRICT);
    lua__encode_check(L, runtime, out);
    return ddl_condition_read(&watch->arena, space, out->data, &watch->filter);
}

/* watch_open(space id, position, "now" or "beginning", condition or nil): the watch. */
static int native_open(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    uint32_t space_id = (uint32_t)luaL_checknumber(L, 1);
    uint64_t from = position_arg(L, runtime, 2);
    struct uv_loop_s *loop;
    struct lua__watch **out = lua_newuserdata(L, sizeof *out), *watch;
    *out = NULL;
    if (luaL_newmetatable(L, "perigee.watch")) {
        lua_pushcfunction(L, native_close);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    if ((watch = calloc(1, sizeof *watch)) == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    int code = open_stream(runtime, space_id, from, &watch->stream);
    if (code != 0) {
        free(watch);
        return lua__raise(L, runtime, code);
    }
    (void)lua__loop(runtime, &loop); /* who has none asks by lua_runtime_run */
    watch->runtime = runtime;
    watch->space_id = space_id;
    arena_create(&watch->arena, 0);
    list_add_tail(&runtime->fibers->watches, &watch->link);
    runtime->fibers->watch_count++;
    *out = watch;
    if ((code = read_filter(L, runtime, 3, watch)) == 0)
        return 1;
    watch_close(watch);
    *out = NULL;
    return lua__raise(L, runtime, code);
}

/* Who may no longer read the space is told nothing any more; of one that has been dropped, the rest. */
static int check_reader(const struct lua__watch *watch)
{
    if (lua__find_space(watch->runtime, watch->space_id, ACCESS_READ) != NULL)
        return 0;
    return diag_code() == ERROR_NOT_FOUND ? 0 : diag_code();
}

static const char *const operations[] = {[STREAM_REPLACE] = "replace",
                                         [STREAM_DELETE] = "delete",
                                         [STREAM_TRUNCATE] = "truncate",
                                         [STREAM_DROP] = "drop"};

/* The next event that the filter wants: a condition is of rows, so what has none is always wanted.
 * ERROR_BUSY also after many that it did not want. */
static int next_wanted(struct lua__watch *watch, struct stream_event *event)
{
    for (unsigned n = 0; n < PASSED_AT_ONCE; n++) {
        int code = stream_next(watch->stream, event);
        if (code != 0 || event->tuple == NULL || watch->filter.count == 0)
            return code;
        int holds = condition_holds(&watch->filter, event->tuple);
        if (holds < 0)
            return diag_set(holds, "out of memory");
        if (holds)
            return 0;
        watch->passed_over++;
    }
    return ERROR_BUSY;
}

/* watch_next(watch): the operation, ts, the key (nil: of no row), where the tuple's bytes are until the
 * next call (nil: none) and how many. Nothing: there is none yet; false: after others had their
 * turn. */
static int native_next(lua_State *L)
{
    struct lua__watch *watch = open_watch(L);
    struct lua_runtime *runtime = watch->runtime;
    struct stream_event event;
    int code = check_reader(watch);
    if (code == 0)
        code = next_wanted(watch, &event);
    if (code == ERROR_AGAIN || code == ERROR_END)
        return 0;
    if (code == ERROR_BUSY) {
        lua_pushboolean(L, false);
        return 1;
    }
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_pushstring(L, operations[event.operation]);
    lua_pushnumber(L, (lua_Number)event.ts);
    if (event.key == NULL)
        lua_pushnil(L);
    else
        lua__push(L, runtime, &event.key);
    if (event.tuple == NULL)
        return 3;
    runtime->row = (struct lua__row){event.tuple, event.size};
    lua_pushboolean(L, true);
    return 4;
}

/* watch_wait(watch): true: the caller's fiber is woken when there may be an event; false: now. */
static int native_wait(lua_State *L)
{
    struct lua__watch *watch = open_watch(L);
    struct lua_fiber *fiber = watch->runtime->fiber;
    watch->fiber = fiber == NULL ? 0 : fiber->id;
    watch->waits = true;
    lua_pushboolean(L, stream_arm(watch->stream, on_wake, watch));
    return 1;
}

/* watch_position(watch): where to begin again; how many events it has given, of how many changes;
 * and how many rows its filter has passed over. */
static int native_position(lua_State *L)
{
    const struct lua__watch *watch = open_watch(L);
    struct stream_stats stats;
    stream_stats_get(watch->stream, &stats);
    lua_pushnumber(L, (lua_Number)stream_position(watch->stream));
    lua_pushnumber(L, (lua_Number)stats.events);
    lua_pushnumber(L, (lua_Number)stats.looked_at);
    lua_pushnumber(L, (lua_Number)watch->passed_over);
    return 4;
}

/* watch_log(): the positions at which the log begins and ends, and how many were cut off. */
static int native_log(lua_State *L)
{
    struct wal *wal = lua__runtime(L)->wal;
    struct wal_stats stats;
    wal_stats_get(wal, &stats);
    lua_pushnumber(L, (lua_Number)wal_follow_begin(wal));
    lua_pushnumber(L, (lua_Number)wal_follow_end(wal));
    lua_pushnumber(L, (lua_Number)stats.followers_cut);
    return 3;
}

/* ----------------------------------------------------------------------------- those that are kept */

/* watch_rows(): an array of the rows of _watch, each a table. */
static int native_rows(lua_State *L)
{
    return lua__records_push(L, CATALOG_WATCH);
}

/* watch_put(row): a fresh row of _watch, whose first field is box.NULL. */
static int native_put(lua_State *L)
{
    return lua__record_put(L, SPACE_ID_WATCH, true);
}

/* watch_drop(id) */
static int native_drop(lua_State *L)
{
    return lua__record_drop(L, SPACE_ID_WATCH);
}

/* watch_from(position, "now" or "beginning"): as a number. */
static int native_from(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)position_arg(L, lua__runtime(L), 1));
    return 1;
}

/* watch_stored(id, revision): where it stands; nothing: it is gone. */
static int native_stored(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    uint64_t position;
    int code = runtime->txn != NULL
                   ? diag_set(ERROR_INVALID, "a transaction does not ask where a watch stands")
                   : db_watch_position(runtime->worker, (uint32_t)luaL_checknumber(L, 1),
                                       (uint64_t)luaL_checknumber(L, 2), &position);
    if (code == ERROR_NOT_FOUND)
        return 0;
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_pushnumber(L, (lua_Number)position);
    return 1;
}

/* watch_store(id, revision, position): false when the watch is gone. */
static int native_store(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int code = runtime->txn != NULL
                   ? diag_set(ERROR_INVALID, "a transaction is open")
                   : db_watch_position_set(runtime->worker, (uint32_t)luaL_checknumber(L, 1),
                                           (uint64_t)luaL_checknumber(L, 2),
                                           (uint64_t)luaL_checknumber(L, 3));
    if (code != 0 && code != ERROR_NOT_FOUND)
        return lua__raise(L, runtime, code);
    lua_pushboolean(L, code == 0);
    return 1;
}

/* watch_passed(from, to): whether whole segments of the log are between these positions. */
static int native_passed(lua_State *L)
{
    lua_pushboolean(L, wal_held_bytes(lua__runtime(L)->wal, (uint64_t)luaL_checknumber(L, 1),
                                      (uint64_t)luaL_checknumber(L, 2)) > 0);
    return 1;
}

void lua__open_watch(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"watch_open", native_open},         {"watch_close", native_close},
        {"watch_next", native_next},         {"watch_wait", native_wait},
        {"watch_position", native_position}, {"watch_log", native_log},
        {"watch_rows", native_rows},         {"watch_put", native_put},
        {"watch_drop", native_drop},         {"watch_from", native_from},
        {"watch_stored", native_stored},     {"watch_store", native_store},
        {"watch_passed", native_passed},     {NULL, NULL},
    };
    lua__register(runtime, functions);
}
