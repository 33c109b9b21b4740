/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.stat.lsm: the files of each space whose body has levels, and what compaction does; what space:compact needs.
 */
#include "db/compaction.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "lua/internal.h"

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

/* "levels": an array of those that have files, `level` in each. */
static void put_levels(struct mp_buffer *out, const struct lsm_stats *files)
{
    uint32_t count = 0;
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        count += files->levels[level].files > 0;
    put_text(out, "levels");
    mp_put_array(out, count);
    for (unsigned level = 0; level < LSM_LEVELS; level++) {
        if (files->levels[level].files == 0)
            continue;
        mp_put_map(out, 6);
        put_count(out, "level", level);
        put_count(out, "sequences", files->levels[level].sequences);
        put_count(out, "files", files->levels[level].files);
        put_count(out, "bytes", files->levels[level].bytes);
        put_count(out, "rows", files->levels[level].rows);
        put_count(out, "tombstones", files->levels[level].tombstones);
    }
}

static void put_reads(struct mp_buffer *out, const struct lsm_stats *files)
{
    put_text(out, "reads");
    mp_put_map(out, 3);
    put_count(out, "gets", files->gets);
    put_count(out, "probes", files->probes);
    put_count(out, "filtered", files->filtered);
}

static void put_compaction(struct mp_buffer *out, const struct db_compaction *compaction)
{
    const struct lsm_stats *files = &compaction->files;
    put_text(out, "compaction");
    mp_put_map(out, 10);
    put_count(out, "running", compaction->running);
    put_count(out, "written", compaction->written);
    put_text(out, "wanted");
    mp_put_bool(out, compaction->wanted);
    put_count(out, "count", files->compactions);
    put_count(out, "moves", files->moves);
    put_count(out, "failed", compaction->failures);
    put_count(out, "read_bytes", files->read_bytes);
    put_count(out, "written_bytes", files->compacted_bytes);
    put_count(out, "dropped_rows", files->dropped_rows);
    put_count(out, "expired_rows", files->expired_rows);
}

static void put_space(struct mp_buffer *out, const struct db_compaction *compaction)
{
    static const char *const URGENCIES[] = {"idle", "normal", "high", "critical"};
    const struct lsm_stats *files = &compaction->files;
    uint64_t count = 0, bytes = 0;
    for (unsigned level = 0; level < LSM_LEVELS; level++) {
        count += files->levels[level].files;
        bytes += files->levels[level].bytes;
    }
    mp_put_map(out, 14);
    put_count(out, "files", count);
    put_count(out, "bytes", bytes);
    put_count(out, "runs", files->sequences);
    put_count(out, "absorbed_bytes", files->absorbed_bytes);
    put_count(out, "ingested_bytes", files->ingested_bytes);
    put_number(out, "write_amplification", files->write_amplification);
    put_number(out, "read_amplification", files->read_amplification);
    put_number(out, "space_amplification", files->space_amplification);
    put_number(out, "debt", files->debt);
    put_text(out, "urgency");
    put_text(out, URGENCIES[files->urgency]);
    put_levels(out, files);
    put_reads(out, files);
    put_compaction(out, compaction);
    put_text(out, "options");
    body_options_put(&engine_lsm, &compaction->options, out);
}

/* stat_lsm(): a table of spaces by name. */
static int native_stat_lsm(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *out = &runtime->pairs;
    const struct catalog *catalog = db_catalog(runtime->worker);
    struct db_compaction compaction;
    int code = lua__may_administer(runtime, ACCESS_READ);
    if (code != 0)
        return lua__raise(L, runtime, code);
    uint32_t count = 0;
    for (uint32_t i = 0; i < catalog_space_count(catalog); i++)
        count += db_compaction_get(catalog_space_at(catalog, i), &compaction);
    mp_buffer_reset(out, 65536);
    mp_put_map(out, count);
    for (uint32_t i = 0; i < catalog_space_count(catalog); i++) {
        const struct space *space = catalog_space_at(catalog, i);
        if (!db_compaction_get(space, &compaction))
            continue;
        put_text(out, space->name);
        put_space(out, &compaction);
    }
    if (out->failed)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    const char *answer = out->data;
    lua__push(L, runtime, &answer);
    return 1;
}

static uint32_t check_id(lua_State *L, int index)
{
    lua_Number id = luaL_checknumber(L, index);
    luaL_argcheck(L, id >= 0 && id <= UINT32_MAX, index, "not the number of a space");
    return (uint32_t)id;
}

/* compact_begin(id): what compact_ended is asked with. */
static int native_compact_begin(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    uint64_t failures;
    int code = db_compaction_begin(runtime->worker, check_id(L, 1), &failures);
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_pushnumber(L, (lua_Number)failures);
    return 1;
}

/* compact_ended(id, failures): whether it has; raises when it has failed. */
static int native_compact_ended(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    uint64_t failures = (uint64_t)luaL_checknumber(L, 2);
    int code = db_compaction_ended(runtime->worker, check_id(L, 1), failures);
    if (code != 0 && code != ERROR_WAIT)
        return lua__raise(L, runtime, code);
    lua_pushboolean(L, code == 0);
    return 1;
}

void lua__open_compaction(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"stat_lsm", native_stat_lsm},
        {"compact_begin", native_compact_begin},
        {"compact_ended", native_compact_ended},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
