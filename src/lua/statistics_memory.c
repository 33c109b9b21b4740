/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.stat.memory: what the process's memory is for, space by space, and where it is going.
 *
 * Three sums meet here. The heap counts what the head has, by kind, and what of its slabs is free. The
 * account of the process counts what else was taken in slow paths, by subsystem. The allocator says what
 * it has given out in all; the rest of that is `others`.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "db/memory.h"
#include "db/tune.h"
#include "lua/internal.h"
#include "mem/account.h"
#include "mem/heap.h"
#include "mem/system.h"

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static void put_count(struct mp_buffer *out, const char *name, uint64_t value)
{
    put_text(out, name);
    mp_put_uint(out, value);
}

static void put_number(struct mp_buffer *out, const char *name, double value)
{
    put_text(out, name);
    mp_put_double(out, value);
}

/* "heap", and what there is. */
static void put_heap(struct mp_buffer *out, const struct heap_stats *heap)
{
    put_text(out, "heap");
    mp_put_map(out, HEAP_KIND_MAX + 5);
    for (unsigned kind = 0; kind < HEAP_KIND_MAX; kind++)
        put_count(out, heap_kind_name((enum heap_kind)kind), heap->kinds[kind]);
    put_count(out, "used", heap->used);
    put_count(out, "free", heap->free);
    put_count(out, "mapped", heap->mapped);
    put_count(out, "large", heap->large);
    put_count(out, "huge", heap->huge);
}

/* "process": large objects of the heap are the allocator's as well, but for those that are mappings of
 * their own, and not counted twice. */
static void put_process(struct mp_buffer *out, const struct heap_stats *heap, uint64_t allocated)
{
    uint64_t known = heap->large > heap->huge ? heap->large - heap->huge : 0;
    put_text(out, "process");
    mp_put_map(out, ACCOUNT_KIND_MAX + 2);
    for (unsigned kind = 0; kind < ACCOUNT_KIND_MAX; kind++) {
        uint64_t bytes = account_bytes((enum account_kind)kind);
        put_count(out, account_name((enum account_kind)kind), bytes);
        known += bytes;
    }
    put_count(out, "allocated", allocated);
    put_count(out, "others", allocated > known ? allocated - known : 0);
}

static void put_space_bytes(struct mp_buffer *out, const struct db_memory_space *space)
{
    put_count(out, "rows", space->rows);
    put_count(out, "tuples", space->tuples);
    put_count(out, "keys", space->keys);
    put_count(out, "entries", space->entries);
    put_count(out, "nodes", space->nodes);
    put_count(out, "directories", space->directories);
}

/* "spaces": those of users, by name. */
static void put_spaces(struct lua_runtime *runtime, struct mp_buffer *out)
{
    const struct catalog *catalog = db_catalog(runtime->worker);
    uint32_t count = 0;
    for (uint32_t i = 0; i < catalog_space_count(catalog); i++)
        count += catalog_space_at(catalog, i)->id >= SPACE_ID_USER_MIN;
    put_text(out, "spaces");
    mp_put_map(out, count);
    for (uint32_t i = 0; i < catalog_space_count(catalog); i++) {
        const struct space *space = catalog_space_at(catalog, i);
        struct db_memory_space bytes;
        if (space->id < SPACE_ID_USER_MIN)
            continue;
        db_memory_space(space, &bytes);
        put_text(out, space->name);
        mp_put_map(out, 6);
        put_space_bytes(out, &bytes);
    }
}

/* "redis": an array of the numbered databases that have keys, and of what their large collections
 * are spread over, without a number. */
static void put_redis(struct db *db, struct mp_buffer *out)
{
    struct db_memory_space bytes[REDIS_DATABASES + 1];
    uint32_t count = 0;
    for (unsigned n = 0; n <= REDIS_DATABASES; n++) {
        db_memory_redis(db, n, &bytes[n]);
        count += bytes[n].rows > 0;
    }
    put_text(out, "redis");
    mp_put_array(out, count);
    for (unsigned n = 0; n <= REDIS_DATABASES; n++) {
        if (bytes[n].rows == 0)
            continue;
        mp_put_map(out, 6 + (n < REDIS_DATABASES));
        if (n < REDIS_DATABASES)
            put_count(out, "database", n);
        put_space_bytes(out, &bytes[n]);
    }
}

/* "budget": its parts, and what it has done. */
static void put_budget(struct mp_buffer *out, const struct budget_view *view)
{
    put_text(out, "budget");
    mp_put_map(out, 11);
    put_count(out, "max", view->bytes_max);
    put_text(out, "stage");
    put_text(out, budget_stage_name(view->stage));
    put_text(out, "parts");
    mp_put_map(out, BUDGET_PARTS);
    for (unsigned part = 0; part < BUDGET_PARTS; part++) {
        uint64_t used = view->parts[part].used;
        put_text(out, budget_part_name((enum budget_part)part));
        mp_put_map(out, 2);
        put_count(out, "limit", view->parts[part].limit);
        put_count(out, "used", part == BUDGET_LUA ? used + account_bytes(ACCOUNT_LUA) : used);
    }
    put_text(out, "entered");
    mp_put_map(out, BUDGET_STAGES - 1);
    for (unsigned stage = 1; stage < BUDGET_STAGES; stage++)
        put_count(out, budget_stage_name((enum budget_stage)stage), view->entered[stage]);
    put_count(out, "early", view->early);
    put_count(out, "flushes", view->flushes);
    put_count(out, "evicted", view->evicted_bytes);
    put_count(out, "lent", view->lent_bytes);
    put_count(out, "slowed", view->slowed);
    put_number(out, "slowed_time", (double)view->slowed_ns / 1e9);
    put_number(out, "delay", (double)view->delay_ns / 1e9);
}

/* "throttle": how fast may be written. */
static void put_throttle(struct mp_buffer *out, const struct throttle_view *view)
{
    put_text(out, "throttle");
    mp_put_map(out, 6);
    put_number(out, "debt", view->debt);
    put_count(out, "rate", view->rate);
    put_count(out, "flush_rate", view->flush_rate);
    put_count(out, "slowed", view->slowed);
    put_number(out, "slowed_time", (double)view->slowed_ns / 1e9);
    put_number(out, "longest", (double)view->longest_ns / 1e9);
}

static void put_forecast(struct mp_buffer *out, const struct forecast_view *forecast)
{
    static const char *const AHEAD[FORECAST_AHEAD] = {"in_30", "in_60", "in_120"};
    struct forecast_view view = *forecast;
    put_text(out, "forecast");
    mp_put_map(out, FORECAST_AHEAD + 4 + (view.limit_s >= 0));
    put_count(out, "samples", view.samples);
    put_number(out, "trend", view.trend);
    put_number(out, "fit", view.fit);
    for (unsigned n = 0; n < FORECAST_AHEAD; n++)
        put_count(out, AHEAD[n], view.ahead[n]);
    if (view.limit_s >= 0)
        put_number(out, "limit_in", view.limit_s);
    put_text(out, "advice");
    put_text(out, forecast_advice_text(view.advice));
}

/* "cache": what spaces on disk have read and may read again. */
static void put_cache(struct mp_buffer *out, struct db *db)
{
    struct cache_stats stats;
    const char *policy = db_cache_stats(db, &stats);
    put_text(out, "cache");
    mp_put_map(out, 11);
    put_text(out, "policy");
    put_text(out, policy);
    put_count(out, "limit", stats.budget_bytes);
    put_count(out, "used", stats.used_bytes);
    put_count(out, "tables", stats.tables_bytes);
    put_count(out, "entries", stats.entries);
    put_count(out, "hits", stats.hits);
    put_count(out, "misses", stats.misses);
    put_count(out, "waits", stats.waits);
    put_count(out, "evictions", stats.evictions);
    put_count(out, "ghosts_recency", stats.ghost_hits_recency);
    put_count(out, "ghosts_frequency", stats.ghost_hits_frequency);
}

static void count_knob(const struct tuner_knob *knob, void *arg)
{
    (void)knob;
    ++*(uint32_t *)arg;
}

static void put_knob(const struct tuner_knob *knob, void *arg)
{
    struct mp_buffer *out = arg;
    put_text(out, knob->name);
    mp_put_map(out, 7);
    put_count(out, "value", knob->value);
    put_text(out, "unit");
    put_text(out, knob->unit);
    put_count(out, "min", knob->min);
    put_count(out, "max", knob->max);
    put_count(out, "ups", knob->ups);
    put_count(out, "downs", knob->downs);
    put_text(out, "reason");
    put_text(out, knob->reason);
}

/* "tuner": knobs do not come and go while the database is open. */
static void put_tuner(struct tuner *tuner, struct mp_buffer *out)
{
    uint32_t count = 0;
    tuner_each(tuner, count_knob, &count);
    put_text(out, "tuner");
    mp_put_map(out, 2);
    put_text(out, "on");
    mp_put_bool(out, tuner_is_on(tuner));
    put_text(out, "knobs");
    mp_put_map(out, count);
    tuner_each(tuner, put_knob, out);
}

/* stat_memory() */
static int native_stat_memory(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct db *db = db_worker_db(runtime->worker);
    struct mp_buffer *out = &runtime->pairs;
    struct heap_stats heap;
    struct budget_view view;
    int code = lua__may_administer(runtime, ACCESS_READ);
    if (code != 0)
        return lua__raise(L, runtime, code);
    uint64_t allocated = system_allocated_bytes() + lua__mapped_bytes();
    heap_stats_get(db_heap(db), &heap);
    db_memory_view(db, &view);
    mp_buffer_reset(out, 65536);
    mp_put_map(out, 14);
    put_count(out, "limit", heap_limit_bytes(db_heap(db)));
    put_count(out, "used", heap.used);
    put_count(out, "total", heap.mapped + heap.huge + allocated);
    put_count(out, "resident", system_resident_bytes());
    put_count(out, "peak", system_peak_bytes());
    put_heap(out, &heap);
    put_process(out, &heap, allocated);
    put_spaces(runtime, out);
    put_redis(db, out);
    put_budget(out, &view);
    put_cache(out, db);
    struct throttle_view throttle;
    db_throttle_view(db, &throttle);
    put_throttle(out, &throttle);
    put_forecast(out, &view.forecast);
    put_tuner(db_tuner(db), out);
    if (out->failed)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    const char *answer = out->data;
    lua__push(L, runtime, &answer);
    return 1;
}

void lua__open_statistics_memory(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"stat_memory", native_stat_memory},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
