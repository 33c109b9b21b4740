/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.stat: what has been counted, where conflicts are lost, and who holds or waits for which lock;
 * box.checkpoint, and what there is to know of checkpoints.
 *
 * Each answer is made as MessagePack first, because those who call back for each lock may not raise
 * Lua errors, and then pushed. Keys are decoded into their values; of the beginning of a key, as
 * conflicts are counted by it, a string that was cut ends with three dots.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/key.h"
#include "db/access.h"
#include "db/checkpoint.h"
#include "lua/internal.h"

/* Keys of all spaces are for those who may read everything, and the server's work for those who
 * administer it. */
static void check_access(lua_State *L, unsigned privilege)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int code = lua__may_administer(runtime, privilege);
    if (code != 0)
        lua__raise(L, runtime, code);
}

enum { LOCKS_SHOWN_MAX = 10000, CONFLICTS_SHOWN_MAX = 32 };

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static void put_count(struct mp_buffer *out, const char *name, uint64_t value)
{
    put_text(out, name);
    mp_put_uint(out, value);
}

/* ---------------------------------------------------------------------------------------- keys */

/* A string part that was cut: its bytes, where 00 FF stands for 00, and three dots. */
static void put_cut_string(struct mp_buffer *out, const unsigned char *key,
                           const unsigned char *end)
{
    char text[TXN_PREFIX_MAX + 3];
    size_t size = 0;
    for (key++; key < end && size < TXN_PREFIX_MAX; key++) {
        text[size++] = (char)*key;
        if (*key == 0 && key + 1 < end)
            key++;
    }
    memcpy(text + size, "...", 3);
    mp_put_str(out, text, size + 3);
}

/* How many parts can be shown; `cut`: the last of them is a string without its end. */
static uint32_t count_parts(struct lua_runtime *runtime, const unsigned char *key,
                            const unsigned char *end, bool *cut)
{
    uint32_t count = 0;
    *cut = false;
    while (key < end) {
        mp_buffer_reset(&runtime->scratch, 65536);
        char *out = mp_buffer_reserve(&runtime->scratch, 2 * (size_t)(end - key) + 16);
        if (out == NULL)
            break;
        if (key_part_decode(&key, end, &out) != 0) {
            *cut = *key == 0x20 || *key == 0x30;
            return count + *cut;
        }
        count++;
    }
    return count;
}

/* "key", and an array of its parts. */
static void put_key(struct lua_runtime *runtime, struct mp_buffer *out, const unsigned char *key,
                    size_t size)
{
    bool cut;
    const unsigned char *end = key + size;
    uint32_t count = count_parts(runtime, key, end, &cut);
    put_text(out, "key");
    mp_put_array(out, count);
    for (uint32_t i = 0; i < count - cut; i++) {
        mp_buffer_reset(&runtime->scratch, 65536);
        char *from = mp_buffer_reserve(&runtime->scratch, 2 * (size_t)(end - key) + 16), *to = from;
        if (from == NULL || key_part_decode(&key, end, &to) != 0) {
            out->failed = true;
            return;
        }
        mp_put_raw(out, from, (size_t)(to - from));
    }
    if (cut)
        put_cut_string(out, key, end);
}

/* "space", and its name; of one that has been dropped, its number. */
static void put_space(struct lua_runtime *runtime, struct mp_buffer *out, uint32_t id)
{
    const struct space *space = catalog_space_by_id(db_catalog(runtime->worker), id);
    put_text(out, "space");
    if (space != NULL)
        put_text(out, space->name);
    else
        mp_put_uint(out, id);
}

/* -------------------------------------------------------------------------------- transactions */

static void put_conflicts(struct lua_runtime *runtime, struct mp_buffer *out)
{
    struct txn_conflict conflicts[CONFLICTS_SHOWN_MAX];
    unsigned count =
        txn_conflicts_get(txn_worker_system(runtime->txn_worker), conflicts, CONFLICTS_SHOWN_MAX);
    put_text(out, "conflict_places");
    mp_put_array(out, count);
    for (unsigned i = 0; i < count; i++) {
        mp_put_map(out, 3);
        put_space(runtime, out, conflicts[i].space_id);
        put_key(runtime, out, conflicts[i].prefix, conflicts[i].prefix_size);
        put_count(out, "count", conflicts[i].count);
    }
}

static void put_oldest(struct mp_buffer *out, const struct txn_oldest *oldest)
{
    put_text(out, "oldest");
    mp_put_map(out, 5);
    put_count(out, "snapshot", oldest->snapshot_ts);
    put_count(out, "session", oldest->session_id);
    put_text(out, "age");
    mp_put_double(out, (double)oldest->age_ns / 1e9);
    put_text(out, "parked");
    mp_put_bool(out, oldest->parked);
    put_text(out, "readonly");
    mp_put_bool(out, oldest->readonly);
}

static int push_answer(lua_State *L, struct lua_runtime *runtime)
{
    const char *answer = runtime->pairs.data;
    if (runtime->pairs.failed)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    lua__push(L, runtime, &answer);
    return 1;
}

/* stat_txn() */
static int native_stat_txn(lua_State *L)
{
    check_access(L, ACCESS_READ);
    struct lua_runtime *runtime = lua__runtime(L);
    struct txn_system *system = txn_worker_system(runtime->txn_worker);
    struct mp_buffer *out = &runtime->pairs;
    struct txn_stats stats;
    struct txn_oldest oldest;
    txn_stats_get(system, &stats);
    bool held = txn_oldest_get(system, &oldest);
    mp_buffer_reset(out, 65536);
    mp_put_map(out, 10 + held);
    put_count(out, "commits", stats.commits);
    put_count(out, "rollbacks", stats.rollbacks);
    put_count(out, "conflicts", stats.conflicts);
    put_count(out, "retries", stats.retries);
    put_count(out, "gate_entries", stats.gate_entries);
    put_count(out, "rows_queued", stats.rows_queued);
    put_count(out, "deferred", stats.deferred);
    put_count(out, "open", stats.open);
    put_text(out, "aborts");
    mp_put_map(out, TXN_CAUSE_MAX);
    for (int cause = 0; cause < TXN_CAUSE_MAX; cause++)
        put_count(out, txn_cause_name((enum txn_cause)cause), stats.aborts[cause]);
    put_conflicts(runtime, out);
    if (held)
        put_oldest(out, &oldest);
    return push_answer(L, runtime);
}

/* --------------------------------------------------------------------------------------- locks */

struct locks {
    struct lua_runtime *runtime;
    struct mp_buffer entries;
    uint32_t count;
    uint64_t now_ns;
};

static void put_lock(struct locks *locks, const struct lock_view *view)
{
    struct mp_buffer *out = &locks->entries;
    bool owner = view->name.kind == LOCK_OWNER, row = view->name.kind == LOCK_ROW;
    mp_put_map(out, 6 + row + 2 * (uint32_t)view->waiting);
    put_count(out, "owner", view->owner_id);
    put_count(out, "session", view->session_id);
    put_text(out, "kind");
    put_text(out, owner ? "transaction" : lock_kind_name(view->name.kind));
    if (owner)
        put_count(out, "of", view->name.space);
    else
        put_space(locks->runtime, out, (uint32_t)(view->name.space >> 32));
    if (row)
        put_key(locks->runtime, out, view->name.key, view->name.key_size);
    put_text(out, "mode");
    put_text(out, lock_mode_name(view->mode));
    put_text(out, "granted");
    mp_put_bool(out, !view->waiting);
    if (!view->waiting)
        return;
    uint64_t waited = locks->now_ns > view->since_ns ? locks->now_ns - view->since_ns : 0;
    put_text(out, "waited");
    mp_put_double(out, (double)waited / 1e9);
    size_t count =
        view->blocker_count < LOCK_VIEW_BLOCKERS_MAX ? view->blocker_count : LOCK_VIEW_BLOCKERS_MAX;
    put_text(out, "waits_for");
    mp_put_array(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        mp_put_uint(out, view->blockers[i]);
}

static int show_lock(const struct lock_view *view, void *arg)
{
    struct locks *locks = arg;
    if (locks->count == LOCKS_SHOWN_MAX)
        return ERROR_END;
    put_lock(locks, view);
    locks->count++;
    return locks->entries.failed ? ERROR_MEMORY : 0;
}

static void put_lock_stats(struct mp_buffer *out, struct lock_table *table)
{
    struct lock_stats stats;
    lock_stats_get(table, &stats);
    put_count(out, "held", stats.held);
    put_count(out, "waiting", stats.waiting);
    put_count(out, "owners", stats.owners);
    put_count(out, "waits", stats.waits);
    put_count(out, "deadlocks", stats.deadlocks);
    put_count(out, "timeouts", stats.timeouts);
    put_count(out, "escalations", stats.escalations);
}

/* stat_locks() */
static int native_stat_locks(lua_State *L)
{
    check_access(L, ACCESS_READ);
    struct lua_runtime *runtime = lua__runtime(L);
    struct lock_table *table = txn_system_locks(txn_worker_system(runtime->txn_worker));
    struct mp_buffer *out = &runtime->pairs;
    struct locks locks = {.runtime = runtime, .now_ns = clock_monotonic_ns(runtime->clock)};
    mp_buffer_create(&locks.entries);
    int code = lock_table_each(table, show_lock, &locks);
    mp_buffer_reset(out, 65536);
    mp_put_map(out, 8);
    put_lock_stats(out, table);
    put_text(out, "locks");
    mp_put_array(out, locks.count);
    mp_put_raw(out, locks.entries.data, locks.entries.size);
    out->failed = out->failed || code == ERROR_MEMORY;
    mp_buffer_destroy(&locks.entries);
    return push_answer(L, runtime);
}

/* -------------------------------------------------------------------------------------- changes */

static void put_change(struct mp_buffer *out, const struct space *space)
{
    struct space_change_stats stats = space_change_stats(space);
    mp_put_map(out, space->building == NULL ? 3 : 4);
    put_text(out, "space");
    put_text(out, space->name);
    if (space->building != NULL) {
        put_text(out, "index");
        put_text(out, space->building->name);
    }
    put_count(out, "rows", stats.rows);
    put_count(out, "total", stats.total);
}

/* stat_schema(): an array of the changes of spaces that look at rows now. */
static int native_stat_schema(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct catalog *catalog = db_catalog(runtime->worker);
    struct mp_buffer *out = &runtime->pairs;
    uint32_t count = 0;
    for (uint32_t i = 0; i < catalog_space_count(catalog); i++)
        count += space_is_changing(catalog_space_at(catalog, i));
    mp_buffer_reset(out, 65536);
    mp_put_array(out, count);
    for (uint32_t i = 0; i < catalog_space_count(catalog); i++)
        if (space_is_changing(catalog_space_at(catalog, i)))
            put_change(out, catalog_space_at(catalog, i));
    return push_answer(L, runtime);
}

/* ------------------------------------------------------------------------------------ overview */

/* statistics(): a table of counters of transactions and log. */
static int native_statistics(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct txn_stats txn;
    struct wal_stats wal;
    struct lock_stats locks;
    struct txn_system *system = txn_worker_system(runtime->txn_worker);
    txn_stats_get(system, &txn);
    lock_stats_get(txn_system_locks(system), &locks);
    wal_stats_get(runtime->wal, &wal);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"commits", txn.commits},
        {"rollbacks", txn.rollbacks},
        {"conflicts", txn.conflicts},
        {"retries", txn.retries},
        {"gate_entries", txn.gate_entries},
        {"rows_queued", txn.rows_queued},
        {"open_transactions", txn.open},
        {"locks_held", locks.held},
        {"locks_waiting", locks.waiting},
        {"deadlocks", locks.deadlocks},
        {"log_blocks", wal.blocks},
        {"log_records", wal.records},
        {"log_bytes", wal.log_bytes},
        {"log_flushes", wal.flushes},
        {"log_blocks_by_workers", wal.stood_in},
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lua_pushnumber(L, (lua_Number)rows[i].value);
        lua_setfield(L, -2, rows[i].name);
    }
    return 1;
}

/* ---------------------------------------------------------------------------------- checkpoints */

/*
 * checkpoint(): asks for a checkpoint. A file that the operator runs waits for its end, outside of a
 * transaction; then the result is true. What serves others does not wait: false.
 */
static int native_checkpoint(lua_State *L)
{
    check_access(L, ACCESS_ALTER);
    struct lua_runtime *runtime = lua__runtime(L);
    struct db *db = db_worker_db(runtime->worker);
    bool wait = runtime->options.trusted && txn_current(runtime->txn_worker) == NULL;
    int code = 0;
    if (wait)
        code = db_checkpoint(db);
    else
        db_checkpoint_request(db);
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_pushboolean(L, wait);
    return 1;
}

/* checkpoint_info(): a table. */
static int native_checkpoint_info(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct db_checkpoint_stats stats;
    db_checkpoint_stats_get(db_worker_db(runtime->worker), &stats);
    const struct {
        const char *name;
        double value;
    } rows[] = {
        {"count", (double)stats.count},
        {"failed", (double)stats.failed},
        {"timestamp", (double)stats.k},
        {"time", (double)stats.time_ms / 1e3},
        {"duration", (double)stats.duration_ns / 1e9},
        {"rows", (double)stats.rows},
        {"bytes", (double)stats.bytes},
        {"merges", (double)stats.merges},
        {"merged_bytes", (double)stats.merged_bytes},
        {"files", (double)stats.files},
        {"file_bytes", (double)stats.file_bytes},
        {"live_bytes", (double)stats.live_bytes},
        {"changes", (double)stats.changes},
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lua_pushnumber(L, rows[i].value);
        lua_setfield(L, -2, rows[i].name);
    }
    lua_pushboolean(L, stats.running);
    lua_setfield(L, -2, "running");
    if (stats.last_code != 0) {
        lua_pushstring(L, stats.failure);
        lua_setfield(L, -2, "failure");
    }
    return 1;
}

void lua__open_statistics(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"statistics", native_statistics},
        {"stat_txn", native_stat_txn},
        {"stat_locks", native_stat_locks},
        {"checkpoint", native_checkpoint},
        {"stat_schema", native_stat_schema},
        {"checkpoint_info", native_checkpoint_info},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
