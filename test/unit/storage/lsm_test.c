/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The body of the engine "lsm" against a model, which is a list of all versions: by every strategy,
 * with deletes, snapshots, views that stay open, attempts that are taken back, calls that fail, and
 * power cuts at every call. What it has in common with other engines is tested in engine_test.c, what
 * is picked to be compacted in lsm_pick_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "io/disk.h"
#include "storage/cache/cache.h"
#include "storage/lsm/lsm_internal.h"

enum {
    KEYS = 400,
    HISTORY_MAX = 60000,
    HELD = 4,
    FILES_MAX = 4000,
    DATA_BYTES_MAX = 60,
    ROUNDS = 150
};

/* A version: `bytes` of data made of its timestamp; 0: a tombstone. */
struct version {
    uint64_t ts;
    unsigned key, bytes;
    int older; /* of the same key, -1: none */
};

struct world {
    struct disk *disk;
    struct io *io;
    struct cache *cache; /* small, so that much goes; or NULL */
    _Atomic uint64_t next_file;
    struct clock_manual clock_ms;
    struct lsm_options options;
    struct body *body; /* NULL: the power is off */
    struct random random;
    uint64_t clock;
    struct version *history;
    int count, absorbed, settled; /* so many versions there are, in the body, named by a manifest */
    int newest[KEYS];
    uint64_t held[HELD]; /* snapshots; 0: none */
    struct engine_file files[FILES_MAX];
    unsigned file_count; /* of the manifest */
};

static const struct engine_snapshots none = {NULL, 0};
static const enum lsm_strategy strategies[] = {LSM_LEVELLED, LSM_TIERED, LSM_UNIVERSAL,
                                               LSM_TIME_WINDOW};
enum { STRATEGIES = sizeof strategies / sizeof *strategies };

/* ---------------------------------------------------------------------------------------- the world
 */

static int body_begin(struct world *world)
{
    struct engine_options options = {.io = world->io,
                                     .space_id = 512,
                                     .incarnation = 1,
                                     .next_file = &world->next_file,
                                     .files = world->files,
                                     .file_count = world->file_count,
                                     .cache = world->cache,
                                     .lsm = &world->options};
    return body_open(&engine_lsm, &options, &world->body);
}

static struct world *world_new(uint64_t seed, enum lsm_strategy strategy)
{
    struct world *world = calloc(1, sizeof *world);
    world->history = calloc(HISTORY_MAX, sizeof *world->history);
    world->disk = disk_new(seed);
    world->io = disk_io(world->disk);
    random_create(&world->random, seed);
    atomic_init(&world->next_file, 1);
    if (random_below(&world->random, 2) == 0)
        assert_int_equal(cache_new(&(struct cache_options){.budget_bytes = 20 << 10, .shards = 1},
                                   &world->cache),
                         0);
    clock_manual_create(&world->clock_ms, 1000000);
    lsm_options_default(&world->options);
    world->options.strategy = strategy;
    world->options.size_ratio = 3;
    world->options.level_bytes = 16 << 10;
    world->options.file_bytes = 4 << 10;
    world->options.block_bytes = 256;
    world->options.window_ms = 5000;
    world->options.clock = &world->clock_ms.base;
    for (unsigned i = 0; i < KEYS; i++)
        world->newest[i] = -1;
    assert_int_equal(body_begin(world), 0);
    return world;
}

static void world_delete(struct world *world)
{
    if (world->body != NULL)
        body_close(world->body);
    cache_delete(world->cache);
    io_delete(world->io);
    disk_delete(world->disk);
    free(world->history);
    free(world);
}

/* Keys that share much, and that differ early. */
static size_t key_make(unsigned key, unsigned char *out)
{
    return (size_t)snprintf((char *)out, 32, "%s/%05u", key % 3 == 0 ? "a" : "collection", key);
}

static void data_make(const struct version *version, char *out)
{
    struct random random;
    random_create(&random, version->ts);
    for (unsigned i = 0; i < version->bytes; i++)
        out[i] = (char)random_below(&random, i % 2 ? 256 : 4);
}

static void set(struct world *world, unsigned key, bool present)
{
    assert_true(world->count < HISTORY_MAX);
    struct version *version = &world->history[world->count];
    *version = (struct version){
        .ts = ++world->clock,
        .key = key,
        .bytes = present ? 1 + (unsigned)random_below(&world->random, DATA_BYTES_MAX) : 0,
        .older = world->newest[key]};
    world->newest[key] = world->count++;
}

/* Versions from `count` on have never been. */
static void forget(struct world *world, int count)
{
    while (world->count > count) {
        const struct version *version = &world->history[--world->count];
        world->newest[version->key] = version->older;
    }
}

/* Of what is in the body; NULL: nothing, or a tombstone. */
static const struct version *model_get(const struct world *world, unsigned key, uint64_t ts,
                                       int absorbed)
{
    int at = world->newest[key];
    while (at >= 0 && (at >= absorbed || world->history[at].ts > ts))
        at = world->history[at].older;
    return at < 0 || world->history[at].bytes == 0 ? NULL : &world->history[at];
}

static void change(struct world *world)
{
    unsigned shape = (unsigned)random_below(&world->random, 4);
    uint64_t count = random_below(&world->random, shape == 0 ? KEYS : 60);
    unsigned first = (unsigned)random_below(&world->random, KEYS);
    for (uint64_t n = 0; n < count; n++)
        set(world,
            shape < 2 ? (unsigned)random_below(&world->random, KEYS) : (first + (unsigned)n) % KEYS,
            shape != 3 && random_below(&world->random, 5) != 0);
}

struct source {
    struct engine_source base;
    const struct world *world;
    int order[HISTORY_MAX];
    int count, next;
    unsigned char key[32];
    char data[DATA_BYTES_MAX];
};

static const struct world *sorted_world; /* of the comparison */

static int version_compare(const void *a_pointer, const void *b_pointer)
{
    const struct version *a = &sorted_world->history[*(const int *)a_pointer],
                         *b = &sorted_world->history[*(const int *)b_pointer];
    unsigned char a_key[32], b_key[32];
    size_t a_size = key_make(a->key, a_key), b_size = key_make(b->key, b_key);
    int order = run_key_compare(a_key, a_size, b_key, b_size);
    return order != 0 ? order : (a->ts < b->ts) - (a->ts > b->ts);
}

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    if (source->next == source->count)
        return ERROR_END;
    const struct version *version = &source->world->history[source->order[source->next++]];
    data_make(version, source->data);
    *out = (struct engine_row){source->key, key_make(version->key, source->key), version->ts,
                               version->bytes > 0 ? source->data : NULL, version->bytes};
    return 0;
}

static int absorb(struct world *world)
{
    struct source *source = calloc(1, sizeof *source);
    source->base.next = source_next;
    source->world = sorted_world = world;
    for (int i = world->absorbed; i < world->count; i++)
        source->order[source->count++] = i;
    qsort(source->order, (size_t)source->count, sizeof *source->order, version_compare);
    int rc = body_absorb(world->body, &source->base, world->clock, &none);
    if (rc == 0)
        world->absorbed = world->count;
    free(source);
    return rc;
}

static int file_note(const struct engine_file *file, void *arg)
{
    struct world *world = arg;
    assert_true(world->file_count < FILES_MAX);
    world->files[world->file_count++] = *file;
    return 0;
}

static bool file_named(const struct world *world, const char *name)
{
    for (unsigned i = 0; i < world->file_count; i++)
        if (strcmp(world->files[i].name, name) == 0)
            return true;
    return false;
}

static int left_over_remove(const char *name, uint64_t size, void *arg)
{
    (void)size;
    struct world *world = arg;
    return file_named(world, name) ? 0 : io_unlink(world->io, name);
}

/* What a manifest does: names are durable, and files that are no longer named go. */
static int settle(struct world *world)
{
    int rc = io_sync_dir(world->io);
    if (rc != 0)
        return rc;
    world->file_count = 0;
    assert_int_equal(body_files(world->body, file_note, world), 0);
    world->settled = world->absorbed;
    body_settle(world->body);
    /* Not those that a job is writing: they are in no version yet. */
    if (((struct lsm_body *)world->body)->job == NULL)
        io_list(world->io, left_over_remove, world);
    return 0;
}

static void revert(struct world *world)
{
    body_revert(world->body, random_below(&world->random, 4) == 0);
    forget(world, world->settled);
    world->absorbed = world->settled;
}

static void power_cut(struct world *world)
{
    body_close(world->body);
    world->body = NULL;
    io_delete(world->io);
    disk_cut(world->disk, random_next(&world->random));
    world->io = disk_io(world->disk);
    assert_int_equal(io_list(world->io, left_over_remove, world), 0);
    forget(world, world->settled);
    world->absorbed = world->settled;
    int rc = body_begin(world);
    if (rc != 0)
        fail_msg("after a cut: %s", diag_message_for(rc));
}

static struct engine_snapshots snapshots_of(struct world *world)
{
    return (struct engine_snapshots){world->held, HELD};
}

static int tidy_all(struct world *world)
{
    struct engine_snapshots snapshots = snapshots_of(world);
    struct engine_tidied done;
    int rc;
    do
        rc = body_tidy(world->body, &snapshots, 4 << 10, &done);
    while (rc == 0 && done.what != ENGINE_TIDY);
    return rc;
}

/* ---------------------------------------------------------------------------------------- checking
 */

static void assert_row(const struct engine_row *row, const struct version *version)
{
    char data[DATA_BYTES_MAX];
    data_make(version, data);
    assert_int_equal(row->ts, version->ts);
    assert_int_equal(row->size, version->bytes);
    assert_memory_equal(row->data, data, row->size);
}

static void check_gets(struct world *world, struct body_view *view, uint64_t ts, int absorbed,
                       unsigned step)
{
    struct arena arena;
    arena_create(&arena, 1 << 16);
    for (unsigned key = (unsigned)random_below(&world->random, step); key < KEYS; key += step) {
        unsigned char bytes[32];
        struct engine_row row;
        size_t size = key_make(key, bytes);
        const struct version *version = model_get(world, key, ts, absorbed);
        int rc = body_get(view, bytes, size, ts, &arena, &row);
        if (rc != (version == NULL ? ERROR_NOT_FOUND : 0))
            fail_msg("key %u at %llu: %d", key, (unsigned long long)ts, rc);
        if (version != NULL)
            assert_row(&row, version);
        arena_reset(&arena);
    }
    arena_destroy(&arena);
}

static bool key_inside(const unsigned char *key, size_t size, const struct engine_range *range)
{
    int low =
        range->lower == NULL ? 1 : run_key_compare(key, size, range->lower, range->lower_size);
    int high =
        range->upper == NULL ? -1 : run_key_compare(key, size, range->upper, range->upper_size);
    return (low > 0 || (low == 0 && range->lower_inclusive)) &&
           (high < 0 || (high == 0 && range->upper_inclusive));
}

/* The digits behind the slash. */
static unsigned key_read(const struct engine_row *row)
{
    unsigned key = 0;
    for (size_t i = row->key_size - 5; i < row->key_size; i++)
        key = 10 * key + (unsigned)(row->key[i] - '0');
    return key;
}

static void check_range(struct world *world, struct body_view *view, uint64_t ts, int absorbed)
{
    unsigned char lower[32], upper[32], previous[32];
    size_t previous_size = 0;
    struct random *random = &world->random;
    struct engine_range range = {.lower_inclusive = random_below(random, 2) == 0,
                                 .upper_inclusive = random_below(random, 2) == 0,
                                 .backward = random_below(random, 2) == 0};
    range.lower_size = key_make((unsigned)random_below(random, KEYS + 9), lower);
    range.upper_size = key_make((unsigned)random_below(random, KEYS + 9), upper);
    range.lower = random_below(random, 4) != 0 ? lower : NULL;
    range.upper = random_below(random, 4) != 0 ? upper : NULL;
    struct body_cursor *cursor;
    struct engine_row row;
    unsigned expected = 0, seen = 0;
    int rc;
    for (unsigned key = 0; key < KEYS; key++) {
        unsigned char bytes[32];
        size_t size = key_make(key, bytes);
        expected += key_inside(bytes, size, &range) && model_get(world, key, ts, absorbed) != NULL;
    }
    assert_int_equal(body_cursor_open(view, &range, ts, &cursor), 0);
    while ((rc = body_cursor_next(cursor, &row)) == 0) {
        assert_true(key_inside(row.key, row.key_size, &range));
        if (seen++ > 0) {
            int order = run_key_compare(row.key, row.key_size, previous, previous_size);
            assert_true(range.backward ? order < 0 : order > 0);
        }
        memcpy(previous, row.key, row.key_size);
        previous_size = row.key_size;
        const struct version *version = model_get(world, key_read(&row), ts, absorbed);
        assert_non_null(version);
        assert_row(&row, version);
    }
    assert_int_equal(rc, ERROR_END);
    assert_int_equal(seen, expected);
    assert_int_equal(body_cursor_next(cursor, &row), ERROR_END);
    body_cursor_close(cursor);
}

/* At the latest and at each snapshot. */
static void check(struct world *world, unsigned step)
{
    struct body_view *view;
    assert_int_equal(body_view_open(world->body, &view), 0);
    check_gets(world, view, UINT64_MAX, world->absorbed, step);
    check_range(world, view, UINT64_MAX, world->absorbed);
    for (unsigned i = 0; i < HELD; i++)
        if (world->held[i] != 0) {
            check_gets(world, view, world->held[i], world->absorbed, step);
            check_range(world, view, world->held[i], world->absorbed);
        }
    body_view_close(view);
}

/* ------------------------------------------------------------------------------------------- tests
 */

/* Snapshots are taken of what is in the body, so that none is of what may be taken back. */
static void snapshots_change(struct world *world)
{
    if (random_below(&world->random, 3) == 0)
        world->held[random_below(&world->random, HELD)] =
            random_below(&world->random, 2) == 0 ? 0 : world->clock;
}

/* A few steps of tidying, which a disk that fails may end. */
static unsigned tidy_some(struct world *world)
{
    struct engine_snapshots snapshots = snapshots_of(world);
    struct engine_tidied done = {ENGINE_TIDY_WORKING, 0};
    unsigned merges = 0;
    for (uint64_t n = random_below(&world->random, 12); n > 0 && done.what != ENGINE_TIDY; n--) {
        if (body_tidy(world->body, &snapshots, random_below(&world->random, 6000), &done) != 0)
            break;
        merges += done.what == ENGINE_TIDY_CHANGED;
    }
    return merges;
}

/* A job that goes on from round to round, whatever becomes of the body meanwhile. */
struct lent {
    struct body_job *job;
    bool through, failed;
};

static unsigned lent_end(struct world *world, struct lent *lent, bool keep)
{
    struct engine_tidied done = {ENGINE_TIDY, 0};
    if (lent->job != NULL &&
        body_job_end(world->body, lent->job, keep && !lent->failed, &done) != 0)
        done.what = ENGINE_TIDY;
    *lent = (struct lent){.job = NULL};
    return done.what == ENGINE_TIDY_CHANGED;
}

static unsigned lent_work(struct world *world, struct lent *lent)
{
    struct engine_snapshots snapshots = snapshots_of(world);
    struct engine_tidied done = {ENGINE_TIDY, 0};
    if (lent->job == NULL && body_job_begin(world->body, &snapshots, &done, &lent->job) != 0)
        assert_null(lent->job);
    if (lent->job == NULL)
        return done.what == ENGINE_TIDY_CHANGED;
    assert_int_equal(body_tidy(world->body, &snapshots, 1000, &done), 0);
    assert_int_equal(done.what, ENGINE_TIDY); /* the work is lent */
    for (uint64_t n = random_below(&world->random, 6); n > 0 && !lent->through && !lent->failed;
         n--) {
        bool urgent = random_below(&world->random, 2) == 0;
        lent->failed =
            body_job_step(lent->job, urgent, random_below(&world->random, 6000), &done) != 0;
        lent->through = done.what != ENGINE_TIDY_WORKING;
    }
    bool end = lent->through || lent->failed || random_below(&world->random, 20) == 0;
    return end ? lent_end(world, lent, true) : 0;
}

static void random_rounds(enum lsm_strategy strategy, uint64_t seed, unsigned rounds, bool lends)
{
    struct lent lent = {.job = NULL};
    struct world *world = world_new(seed, strategy);
    struct body_view *old = NULL;
    uint64_t old_ts = 0;
    int old_absorbed = 0;
    unsigned cuts = 0, merges = 0;
    for (unsigned round = 0; round < rounds; round++) {
        clock_manual_advance_ms(&world->clock_ms, random_below(&world->random, 2000));
        change(world);
        if (random_below(&world->random, 3) == 0)
            disk_fail_nth(world->disk, 1 + random_below(&world->random, 60), 28 /* ENOSPC */);
        absorb(world);
        snapshots_change(world);
        struct engine_snapshots snapshots = snapshots_of(world);
        merges += lends ? lent_work(world, &lent) : tidy_some(world);
        disk_fail_nth(world->disk, 0, 0);
        if (old != NULL && random_below(&world->random, 3) == 0) {
            check_gets(world, old, old_ts, old_absorbed, 3);
            body_view_close(old);
            old = NULL;
        }
        switch (random_below(&world->random, 12)) {
        case 0: /* names that could not be made durable end in a restart */
        case 1:
            if (old != NULL)
                body_view_close(old);
            old = NULL;
            lent_end(world, &lent, random_below(&world->random, 2) == 0);
            power_cut(world);
            cuts++;
            break;
        case 2:
            if (old != NULL) /* what it shows may be forgotten */
                body_view_close(old);
            old = NULL;
            revert(world);
            break;
        case 3:
            assert_int_equal(body_compact(world->body, &snapshots),
                             lent.job != NULL ? ERROR_BUSY : 0);
            break;
        case 4:
        case 5:
        case 6:
        case 7:
            assert_int_equal(settle(world), 0);
            break;
        default:
            break;
        }
        assert_int_equal(body_verify(world->body), 0);
        check(world, 4);
        if (old == NULL) {
            assert_int_equal(body_view_open(world->body, &old), 0);
            old_ts = world->clock;
            old_absorbed = world->absorbed;
        }
    }
    body_view_close(old);
    lent_end(world, &lent, true);
    assert_true(cuts > 0 && merges > 0);
    check(world, 1);
    world_delete(world);
}

/* Each of a body of its own. */
static unsigned courses_wanted(void)
{
    const char *text = getenv("LSM_MODEL_COURSES");
    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : 1;
}

static void every_strategy_reads_what_a_list_of_all_versions_says(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (unsigned i = 0; i < STRATEGIES * courses_wanted(); i++)
        random_rounds(strategies[i % STRATEGIES], seed + i, ROUNDS, false);
}

static void the_same_while_somebody_else_compacts(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (unsigned i = 0; i < STRATEGIES * courses_wanted(); i++)
        random_rounds(strategies[i % STRATEGIES], seed + 77 + i, ROUNDS, true);
}

static void a_job_of_what_is_reverted_is_in_vain_and_one_of_what_stays_is_not(void **state)
{
    (void)state;
    for (unsigned settled = 0; settled < 2; settled++) {
        struct world *world = world_new(test_seed(), LSM_UNIVERSAL);
        struct body_job *job;
        struct engine_tidied done;
        struct engine_stats before, after;
        set(world, 1, true);
        assert_int_equal(absorb(world), 0);
        assert_int_equal(settle(world), 0);
        for (unsigned i = 0; i < 8; i++) {
            set(world, 1 + i % 3, true);
            assert_int_equal(absorb(world), 0);
        }
        if (settled == 1)
            assert_int_equal(settle(world), 0);
        assert_int_equal(body_job_begin(world->body, &none, &done, &job), 0);
        assert_non_null(job);
        do
            assert_int_equal(body_job_step(job, false, 1 << 10, &done), 0);
        while (done.what == ENGINE_TIDY_WORKING);
        set(world, 9, true);
        assert_int_equal(absorb(world), 0);
        revert(world);
        body_stats(world->body, &before);
        assert_int_equal(body_job_end(world->body, job, true, &done), 0);
        assert_int_equal(done.what, settled == 1 ? ENGINE_TIDY_CHANGED : ENGINE_TIDY);
        body_stats(world->body, &after);
        assert_int_equal(after.files < before.files, settled);
        assert_int_equal(body_verify(world->body), 0);
        check(world, 1);
        world_delete(world);
    }
}

static void changing_the_strategy_of_a_body_loses_nothing(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    for (unsigned round = 0; round < 60; round++) {
        change(world);
        assert_int_equal(absorb(world), 0);
        assert_int_equal(tidy_all(world), 0);
        if (round % 5 == 0) {
            assert_int_equal(settle(world), 0);
            world->options.strategy = strategies[random_below(&world->random, STRATEGIES)];
            power_cut(world);
        } else if (round % 5 == 3) {
            struct engine_options options = {.io = world->io, .lsm = &world->options};
            struct lsm_options now;
            world->options.strategy = strategies[random_below(&world->random, STRATEGIES)];
            for (unsigned i = 0; i < LSM_LEVELS; i++)
                world->options.compression[i] = random_below(&world->random, COMPRESS_METHODS);
            world->options.filter_bits = (unsigned)random_below(&world->random, 16);
            world->options.filter_kind = RUN_FILTER_BLOOM + random_below(&world->random, 2);
            body_configure(world->body, &options);
            lsm_options_get(world->body, &now);
            assert_int_equal(now.strategy, world->options.strategy);
            assert_int_equal(now.filter_bits, world->options.filter_bits);
            assert_int_equal(now.filter_kind, world->options.filter_kind);
        }
        assert_int_equal(body_verify(world->body), 0);
        check(world, 4);
    }
    world_delete(world);
}

static void compaction_keeps_the_number_of_sequences_within_a_bound(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STRATEGIES; i++) {
        struct world *world = world_new(test_seed() + i, strategies[i]);
        unsigned most = 0;
        for (unsigned round = 0; round < 150; round++) {
            clock_manual_advance_ms(&world->clock_ms, 200);
            change(world);
            assert_int_equal(absorb(world), 0);
            assert_int_equal(tidy_all(world), 0);
            const struct lsm_version *version = ((struct lsm_body *)world->body)->version;
            most = version->count > most ? version->count : most;
        }
        /* Levels and what has been absorbed last; or what has not found its like; windows. */
        assert_true(most < (strategies[i] == LSM_TIME_WINDOW ? 20 : 12));
        check(world, 1);
        world_delete(world);
    }
}

static void what_nobody_needs_is_gone_after_a_full_compaction(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STRATEGIES; i++) {
        struct world *world = world_new(test_seed() + i, strategies[i]);
        struct engine_stats stats;
        for (unsigned round = 0; round < 20; round++) {
            change(world);
            assert_int_equal(absorb(world), 0);
        }
        assert_int_equal(body_compact(world->body, &none), 0);
        unsigned alive = 0;
        for (unsigned key = 0; key < KEYS; key++)
            alive += model_get(world, key, UINT64_MAX, world->absorbed) != NULL;
        body_stats(world->body, &stats);
        assert_int_equal(stats.rows, alive);
        for (unsigned key = 0; key < KEYS; key++)
            set(world, key, false);
        assert_int_equal(absorb(world), 0);
        assert_int_equal(body_compact(world->body, &none), 0);
        body_stats(world->body, &stats);
        assert_int_equal(stats.rows, 0);
        assert_int_equal(disk_used(world->disk), 0);
        check(world, 1);
        world_delete(world);
    }
}

/* A level's file is compacted with what it meets in the next one, and not with all of it. */
static void one_compaction_of_a_level_writes_a_part_of_it(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    uint64_t largest = 0, total = 0;
    world->options.level_bytes = 2 << 10;
    world->options.file_bytes = 512;
    assert_int_equal(settle(world), 0);
    power_cut(world);
    for (unsigned round = 0; round < 300; round++) {
        struct engine_tidied done;
        uint64_t job = 0;
        for (unsigned n = 0; n < 20; n++)
            set(world, (unsigned)random_below(&world->random, KEYS), true);
        assert_int_equal(absorb(world), 0);
        do {
            assert_int_equal(body_tidy(world->body, &none, 1 << 10, &done), 0);
            assert_true(done.bytes < 2 << 10);
            job += done.bytes;
            largest = job > largest ? job : largest;
            job = done.what == ENGINE_TIDY_CHANGED ? 0 : job;
        } while (done.what != ENGINE_TIDY);
    }
    struct engine_stats stats;
    body_stats(world->body, &stats);
    total = stats.bytes;
    assert_true(largest > 0 && largest < total / 2);
    check(world, 1);
    world_delete(world);
}

/* Rows in order of keys: nothing is written twice. */
static void files_that_overlap_nothing_move_without_being_written(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    uint64_t written = 0;
    world->options.file_bytes = 1 << 10;
    assert_int_equal(settle(world), 0);
    power_cut(world);
    /* Those with one prefix, since key_make puts every third one elsewhere. */
    for (unsigned round = 0; round < 12; round++) {
        struct engine_tidied done;
        for (unsigned n = 0; n < 33; n++) {
            unsigned key = round * 33 + n;
            set(world, key % 3 == 0 ? key + 1 : key, true);
        }
        assert_int_equal(absorb(world), 0);
        do {
            assert_int_equal(body_tidy(world->body, &none, 1 << 20, &done), 0);
            written += done.bytes;
        } while (done.what != ENGINE_TIDY);
    }
    const struct lsm_version *version = ((struct lsm_body *)world->body)->version;
    assert_int_equal(written, 0);
    assert_int_equal(version->sequences[version->count - 1].level, LSM_LEVEL_LAST);
    assert_int_equal(body_verify(world->body), 0);
    check(world, 1);
    world_delete(world);
}

static void a_version_that_a_snapshot_sees_is_kept_and_then_dropped(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STRATEGIES; i++) {
        struct world *world = world_new(test_seed(), strategies[i]);
        struct engine_snapshots held = snapshots_of(world);
        struct engine_stats stats;
        set(world, 7, true);
        world->held[0] = world->clock;
        assert_int_equal(absorb(world), 0);
        set(world, 7, false);
        assert_int_equal(absorb(world), 0);
        assert_int_equal(body_compact(world->body, &held), 0);
        body_stats(world->body, &stats);
        assert_int_equal(stats.rows, 2);
        check(world, 1);
        assert_int_equal(body_compact(world->body, &none), 0);
        world->held[0] = 0;
        body_stats(world->body, &stats);
        assert_int_equal(stats.rows, 0);
        check(world, 1);
        world_delete(world);
    }
}

static void a_view_outlives_the_files_it_was_opened_on(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    struct body_view *view;
    for (unsigned key = 0; key < KEYS; key++)
        set(world, key, true);
    assert_int_equal(absorb(world), 0);
    assert_int_equal(body_view_open(world->body, &view), 0);
    int absorbed = world->absorbed;
    uint64_t ts = world->clock;
    for (unsigned key = 0; key < KEYS; key++)
        set(world, key, key % 2 == 0);
    assert_int_equal(absorb(world), 0);
    assert_int_equal(body_compact(world->body, &none), 0);
    assert_int_equal(settle(world), 0);
    check_gets(world, view, ts, absorbed, 1);
    check_range(world, view, ts, absorbed);
    body_view_close(view);
    check(world, 1);
    world_delete(world);
}

static void parts_of_a_body_have_all_of_its_rows(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    struct engine_key keys[15];
    struct arena arena;
    struct body_view *view;
    unsigned count = 0;
    arena_create(&arena, 0);
    for (unsigned key = 0; key < KEYS; key++)
        set(world, key, true);
    assert_int_equal(absorb(world), 0);
    assert_int_equal(body_view_open(world->body, &view), 0);
    for (unsigned parts = 2; parts <= 16; parts += 7) {
        unsigned all = 0;
        assert_int_equal(body_split(view, parts, &arena, keys, &count), 0);
        assert_true(count > 0 && count < parts);
        for (unsigned i = 0; i <= count; i++) {
            struct body_cursor *cursor;
            struct engine_row row;
            struct engine_range range = {.upper_inclusive = true};
            if (i > 0) {
                range.lower = keys[i - 1].data;
                range.lower_size = keys[i - 1].size;
            }
            if (i < count) {
                range.upper = keys[i].data;
                range.upper_size = keys[i].size;
            }
            assert_int_equal(body_cursor_open(view, &range, UINT64_MAX, &cursor), 0);
            while (body_cursor_next(cursor, &row) == 0)
                all++;
            body_cursor_close(cursor);
        }
        assert_int_equal(all, KEYS);
    }
    body_view_close(view);
    arena_destroy(&arena);
    world_delete(world);
}

static void a_file_that_is_not_the_one_that_was_named_is_told(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    for (unsigned key = 0; key < KEYS; key++)
        set(world, key, true);
    assert_int_equal(absorb(world), 0);
    assert_int_equal(body_compact(world->body, &none), 0);
    assert_int_equal(settle(world), 0);
    assert_true(world->file_count > 2);
    body_close(world->body);
    world->body = NULL;
    world->files[1].rows++;
    assert_int_equal(body_begin(world), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), world->files[1].name));
    world->files[1].rows--;
    struct engine_file second = world->files[1];
    world->files[1] = world->files[0];
    assert_int_equal(body_begin(world), ERROR_CORRUPT); /* keys overlap */
    world->files[1] = second;
    world->files[0].level = 0;
    assert_int_equal(body_begin(world), ERROR_CORRUPT); /* below a level that is newer */
    world->files[0].level = LSM_LEVEL_LAST;
    disk_vanish(world->disk, world->files[1].name);
    assert_int_equal(body_begin(world), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), world->files[1].name));
    world->body = NULL;
    world_delete(world);
}

/* The time at which a row expires is its key. */
static uint64_t row_expires_ms(const struct lsm_filter *filter, const struct engine_row *row)
{
    (void)filter;
    return key_read(row);
}

static uint64_t horizon;
static uint64_t horizon_ms(const struct lsm_filter *filter)
{
    (void)filter;
    return horizon;
}

static const struct lsm_filter expiry = {row_expires_ms, horizon_ms};

/* Of a key that has expired there is its newest version, or nothing: never an older one. */
static void expired_check(struct world *world)
{
    struct body_view *view;
    struct arena arena;
    arena_create(&arena, 1 << 16);
    assert_int_equal(body_view_open(world->body, &view), 0);
    for (unsigned key = 0; key < KEYS; key++)
        for (unsigned i = 0; i <= HELD; i++) {
            unsigned char bytes[32];
            struct engine_row row;
            uint64_t ts = i == HELD ? UINT64_MAX : world->held[i];
            if (ts == 0)
                continue;
            const struct version *version = model_get(world, key, ts, world->absorbed);
            int rc = body_get(view, bytes, key_make(key, bytes), ts, &arena, &row);
            assert_true(rc == 0 || rc == ERROR_NOT_FOUND);
            if (rc == 0) {
                assert_non_null(version);
                assert_row(&row, version);
            } else {
                assert_true(version == NULL || key <= horizon);
            }
            arena_reset(&arena);
        }
    body_view_close(view);
    arena_destroy(&arena);
}

static void what_expires_goes_at_random(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (unsigned i = 0; i < STRATEGIES; i++) {
        struct world *world = world_new(seed + i, strategies[i]);
        struct lsm_stats stats;
        struct lent lent = {.job = NULL};
        uint64_t expired = 0; /* before the present body was opened */
        horizon = 0;
        world->options.filter = &expiry;
        assert_int_equal(settle(world), 0);
        power_cut(world);
        for (unsigned round = 0; round < ROUNDS; round++) {
            clock_manual_advance_ms(&world->clock_ms, random_below(&world->random, 2000));
            change(world);
            assert_int_equal(absorb(world), 0);
            if (random_below(&world->random, 4) != 0)
                assert_int_equal(settle(world), 0);
            snapshots_change(world);
            if (random_below(&world->random, 8) == 0 && horizon < KEYS)
                horizon += random_below(&world->random, KEYS / 8);
            if (i % 2 == 0)
                tidy_some(world);
            else
                lent_work(world, &lent);
            expired_check(world);
            if (random_below(&world->random, 20) == 0) {
                lent_end(world, &lent, false);
                memset(world->held, 0, sizeof world->held);
                lsm_stats_get(world->body, &stats);
                expired += stats.expired_rows;
                power_cut(world);
            }
        }
        lent_end(world, &lent, false);
        memset(world->held, 0, sizeof world->held);
        horizon = KEYS;
        assert_int_equal(tidy_all(world), 0);
        expired_check(world);
        lsm_compact_request(world->body);
        assert_int_equal(tidy_all(world), 0);
        lsm_stats_get(world->body, &stats);
        assert_int_equal(stats.sequences, 0);
        assert_true(expired + stats.expired_rows > 0);
        assert_true(stats.expired_rows <= stats.dropped_rows);
        world_delete(world);
    }
}

/* It is compacted for that alone, once, and what of it hides something older is kept. */
static void a_file_of_which_all_has_expired_is_compacted(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_TIME_WINDOW);
    struct lsm_stats stats;
    world->options.filter = &expiry;
    horizon = 0;
    assert_int_equal(settle(world), 0);
    power_cut(world);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned key = 0; key < (round == 1 ? 50 : 100); key++)
            set(world, key, true);
        set(world, 200 + round, round != 1); /* as old as what is below it, or one that stays */
        assert_int_equal(absorb(world), 0);
        assert_int_equal(settle(world), 0);
        clock_manual_advance_ms(&world->clock_ms, 2 * world->options.window_ms);
    }
    power_cut(world); /* what is in the files tells */
    horizon = 50;
    assert_int_equal(tidy_all(world), 0);
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.compactions, 1); /* the second sequence */
    assert_int_equal(stats.sequences, 3);
    assert_int_equal(stats.expired_rows, 0);
    assert_int_equal(stats.urgency, ENGINE_IDLE);
    expired_check(world);
    horizon = 300;
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.urgency, ENGINE_NORMAL);
    assert_int_equal(tidy_all(world), 0);
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.urgency, ENGINE_IDLE);
    expired_check(world);
    world_delete(world);
}

static void what_has_expired_goes_when_it_is_compacted(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    struct engine_stats stats;
    assert_int_equal(settle(world), 0);
    world->options.filter = &expiry;
    horizon = 99;
    power_cut(world);
    for (unsigned key = 0; key < KEYS; key++)
        set(world, key, true);
    assert_int_equal(absorb(world), 0);
    check(world, 1);
    assert_int_equal(body_compact(world->body, &none), 0);
    body_stats(world->body, &stats);
    assert_int_equal(stats.rows, KEYS - 100);
    for (unsigned key = 0; key < 100; key++)
        set(world, key, false);
    world->absorbed = world->count; /* as if they had been deleted */
    check(world, 1);
    world_delete(world);
}

static void a_compaction_of_everything_is_done_in_steps_when_it_is_asked_for(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_TIERED);
    struct lsm_stats stats;
    assert_false(lsm_compact_request(world->body)); /* of nothing */
    assert_false(lsm_compact_wanted(world->body));
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned key = 0; key < KEYS; key++)
            set(world, key, round == 0 || key % 2 == 0);
        assert_int_equal(absorb(world), 0);
    }
    assert_int_equal(tidy_all(world), 0);
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.sequences, 2);
    assert_int_equal(stats.urgency, ENGINE_IDLE);
    assert_int_equal(settle(world), 0);
    assert_true(lsm_compact_request(world->body));
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.urgency, ENGINE_NORMAL);
    assert_int_equal(tidy_all(world), 0);
    revert(world); /* and anew */
    assert_true(lsm_compact_wanted(world->body));
    assert_int_equal(tidy_all(world), 0);
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.sequences, 1);
    assert_true(lsm_compact_wanted(world->body)); /* no manifest says so */
    assert_int_equal(settle(world), 0);
    assert_false(lsm_compact_wanted(world->body));
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.levels[0].rows, KEYS / 2);
    assert_int_equal(stats.dropped_rows, 2 * (KEYS + KEYS / 2));
    assert_int_equal(stats.compactions, 2);
    assert_int_equal(stats.urgency, ENGINE_IDLE);
    check(world, 1);
    world_delete(world);
}

static void amplification_is_what_was_written_read_and_kept(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    struct lsm_stats stats;
    uint64_t written = 0;
    lsm_stats_get(world->body, &stats);
    assert_true(stats.write_amplification == 0 && stats.space_amplification == 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned key = 0; key < KEYS; key++)
            set(world, key, true);
        assert_int_equal(absorb(world), 0);
    }
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.absorbed_bytes, disk_used(world->disk));
    assert_true(stats.write_amplification == 1 && stats.space_amplification > 2);
    written = stats.absorbed_bytes;
    assert_int_equal(settle(world), 0);
    assert_int_equal(body_compact(world->body, &none), 0);
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.absorbed_bytes, written);
    assert_int_equal(stats.read_bytes, written);
    assert_int_equal(stats.absorbed_bytes + stats.compacted_bytes, disk_used(world->disk));
    assert_true(stats.write_amplification > 1.2 && stats.space_amplification == 1);
    uint64_t gets = stats.gets;
    check(world, 1);
    lsm_stats_get(world->body, &stats);
    assert_int_equal(stats.gets, gets + KEYS);
    assert_true(stats.probes >= stats.filtered + KEYS);
    world_delete(world);
}

/* Writes a run of keys [first, behind) as somebody else would. */
static void foreign_write(struct world *world, unsigned first, unsigned behind, char *name)
{
    uint64_t number = atomic_fetch_add(&world->next_file, 1);
    engine_file_name(name, 512, 1, number);
    const struct run_options options = {.io = world->io,
                                        .name = name,
                                        .space_id = 512,
                                        .incarnation = 1,
                                        .sequence = number,
                                        .up_to_ts = world->clock + behind - first};
    struct run_writer *writer;
    assert_int_equal(run_writer_new(&options, &writer), 0);
    for (unsigned key = first; key < behind; key++) {
        unsigned char bytes[32];
        char data[DATA_BYTES_MAX];
        size_t size = key_make(key, bytes);
        set(world, key, true);
        const struct version *version = &world->history[world->count - 1];
        data_make(version, data);
        const struct engine_row row = {bytes, size, version->ts, data, version->bytes};
        assert_int_equal(run_writer_add(writer, &row), 0);
        key += 2; /* of one prefix */
    }
    assert_int_equal(run_writer_finish(writer, NULL), 0);
}

static void finished_runs_are_taken_in_if_they_are_in_order_and_newer(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    char names[3][ENGINE_FILE_NAME_MAX + 1];
    const char *both[] = {names[0], names[1]}, *swapped[] = {names[1], names[0]},
               *older[] = {names[2]}, *absent[] = {"512-1-99999.run"},
               *twice[] = {names[0], names[0]};
    struct engine_stats stats;
    foreign_write(world, 0, 60, names[2]);
    int count = world->count;
    foreign_write(world, 0, 60, names[0]);
    foreign_write(world, 60, 120, names[1]);
    assert_int_equal(lsm_ingest(world->body, swapped, 2), ERROR_INVALID);
    assert_non_null(strstr(diag_message(), names[0]));
    assert_int_equal(lsm_ingest(world->body, twice, 2), ERROR_INVALID);
    assert_int_equal(lsm_ingest(world->body, absent, 1), ERROR_NOT_FOUND);
    body_stats(world->body, &stats);
    assert_int_equal(stats.files, 0);
    assert_int_equal(lsm_ingest(world->body, both, 2), 0);
    world->absorbed = world->count;
    body_stats(world->body, &stats);
    assert_int_equal(stats.files, 2);
    assert_int_equal(lsm_ingest(world->body, older, 1), ERROR_INVALID); /* what is newer is there */
    assert_int_equal(io_unlink(world->io, names[2]), 0);
    assert_true(count > 0);
    check(world, 1);
    assert_int_equal(settle(world), 0);
    power_cut(world);
    check(world, 1);
    foreign_write(world, 30, 90, names[0]);
    assert_int_equal(lsm_ingest(world->body, both, 1), 0);
    world->absorbed = world->count;
    check(world, 1);
    assert_int_equal(tidy_all(world), 0);
    check(world, 1);
    assert_int_equal(body_verify(world->body), 0);
    world_delete(world);
}

/* Data that has a long text in common: within one small block a dictionary only can tell. */
static int texts_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    static char text[200];
    if (source->next == 4000)
        return ERROR_END;
    size_t key_size = (size_t)snprintf((char *)source->key, 32, "key %06d", source->next);
    int size = snprintf(text, sizeof text,
                        "{\"kind\": \"event\", \"source\": \"sensor in the hall\", \"unit\": "
                        "\"degrees\", \"value\": %d, \"note\": \"nothing to say about it\"}",
                        source->next * 7919 % 10007);
    source->next++;
    *out = (struct engine_row){source->key, key_size, 1, text, (uint32_t)size};
    return 0;
}

/* Bytes of the body of these texts. */
static uint64_t texts_bytes(size_t block_bytes, size_t dictionary_bytes)
{
    struct world *world = world_new(test_seed(), LSM_LEVELLED);
    struct engine_stats stats;
    struct source *source = calloc(1, sizeof *source);
    assert_int_equal(settle(world), 0);
    world->options.compression[LSM_LEVEL_LAST] = COMPRESS_ZSTD;
    world->options.file_bytes = 1 << 20;
    world->options.block_bytes = block_bytes;
    world->options.dictionary_bytes = dictionary_bytes;
    power_cut(world);
    source->base.next = texts_next;
    assert_int_equal(body_absorb(world->body, &source->base, 1, &none), 0);
    assert_int_equal(body_compact(world->body, &none), 0);
    body_stats(world->body, &stats);
    assert_int_equal(stats.rows, 4000);
    assert_int_equal(body_verify(world->body), 0);
    free(source);
    world_delete(world);
    return stats.bytes;
}

static void the_last_level_may_have_a_dictionary(void **state)
{
    (void)state;
    assert_true(texts_bytes(256, 2048) < texts_bytes(256, 0));
}

/* In a block of many such rows zstd sees what they have in common. */
static void a_dictionary_that_saves_less_than_it_takes_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(texts_bytes(32 << 10, 16 << 10), texts_bytes(32 << 10, 0));
}

/* What the tests below do: absorb, settle, absorb, compact, settle. Returns the first error. */
static int course(struct world *world)
{
    int rc = 0;
    for (unsigned round = 0; rc == 0 && round < 5; round++) {
        for (unsigned key = round % 2; key < KEYS / 2; key += 1 + round % 3)
            set(world, key, (key + round) % 4 != 0);
        rc = absorb(world);
        if (rc == 0)
            rc = settle(world);
    }
    return rc != 0 ? rc : (rc = tidy_all(world)) != 0 ? rc : settle(world);
}

static void after_any_failure_nothing_is_lost_and_nothing_is_left(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    unsigned failures = 0;
    for (uint64_t n = 1;; n++) {
        struct world *world = world_new(seed, LSM_LEVELLED);
        disk_fail_nth(world->disk, n, 28 /* ENOSPC */);
        int rc = course(world);
        bool was_last = disk_calls(world->disk) < n;
        disk_fail_nth(world->disk, 0, 0);
        check(world, 2);
        if (atomic_load(&world->io->dir_failed))
            power_cut(world); /* no name is ever durable again: see io_sync_dir */
        while (world->absorbed < world->count)
            assert_int_equal(absorb(world), 0);
        assert_int_equal(tidy_all(world), 0);
        assert_int_equal(settle(world), 0);
        uint64_t bytes = 0;
        for (unsigned i = 0; i < world->file_count; i++)
            bytes += world->files[i].bytes;
        assert_int_equal(disk_used(world->disk), bytes);
        check(world, 2);
        world_delete(world);
        failures += rc != 0;
        if (was_last)
            break;
    }
    assert_true(failures > 100);
}

static void a_power_cut_at_any_call_leaves_what_was_settled(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    bool was_cut = true;
    for (uint64_t n = 1; was_cut; n++) {
        struct world *world = world_new(seed, strategies[n % STRATEGIES]);
        disk_cut_after(world->disk, n);
        course(world);
        was_cut = disk_is_cut(world->disk);
        power_cut(world);
        assert_int_equal(body_verify(world->body), 0);
        check(world, 3);
        world_delete(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_strategy_reads_what_a_list_of_all_versions_says),
        cmocka_unit_test(the_same_while_somebody_else_compacts),
        cmocka_unit_test(a_job_of_what_is_reverted_is_in_vain_and_one_of_what_stays_is_not),
        cmocka_unit_test(changing_the_strategy_of_a_body_loses_nothing),
        cmocka_unit_test(compaction_keeps_the_number_of_sequences_within_a_bound),
        cmocka_unit_test(what_nobody_needs_is_gone_after_a_full_compaction),
        cmocka_unit_test(one_compaction_of_a_level_writes_a_part_of_it),
        cmocka_unit_test(files_that_overlap_nothing_move_without_being_written),
        cmocka_unit_test(a_version_that_a_snapshot_sees_is_kept_and_then_dropped),
        cmocka_unit_test(a_view_outlives_the_files_it_was_opened_on),
        cmocka_unit_test(parts_of_a_body_have_all_of_its_rows),
        cmocka_unit_test(a_file_that_is_not_the_one_that_was_named_is_told),
        cmocka_unit_test(what_has_expired_goes_when_it_is_compacted),
        cmocka_unit_test(what_expires_goes_at_random),
        cmocka_unit_test(a_file_of_which_all_has_expired_is_compacted),
        cmocka_unit_test(a_compaction_of_everything_is_done_in_steps_when_it_is_asked_for),
        cmocka_unit_test(amplification_is_what_was_written_read_and_kept),
        cmocka_unit_test(finished_runs_are_taken_in_if_they_are_in_order_and_newer),
        cmocka_unit_test(the_last_level_may_have_a_dictionary),
        cmocka_unit_test(a_dictionary_that_saves_less_than_it_takes_is_left_out),
        cmocka_unit_test(after_any_failure_nothing_is_lost_and_nothing_is_left),
        cmocka_unit_test(a_power_cut_at_any_call_leaves_what_was_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
