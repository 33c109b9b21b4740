/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Readers of a body of the engine "lsm" while it is filled and compacted. Each round writes all keys
 * anew, with the round's number as timestamp and data, so a view has to show, at every timestamp that
 * it was opened at, one and the same number for all keys. Meanwhile the options change.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "io/disk.h"
#include "storage/cache/cache.h"
#include "storage/lsm/lsm.h"

enum { KEYS = 60, ROUNDS = 60, READERS = 2 };

struct shared {
    struct body *body;
    _Atomic uint64_t absorbed; /* rounds */
    _Atomic bool ended;
    _Atomic unsigned failed; /* reads that saw something else */
    _Atomic uint64_t views;
};

struct source {
    struct engine_source base;
    uint64_t round;
    unsigned next;
    unsigned char key[4];
};

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    if (source->next == KEYS)
        return ERROR_END;
    memcpy(source->key, (unsigned char[]){'k', 'e', 'y', (unsigned char)source->next++}, 4);
    *out = (struct engine_row){source->key, 4, source->round, (const char *)&source->round,
                               sizeof source->round};
    return 0;
}

static bool row_is(const struct engine_row *row, uint64_t round)
{
    return row->ts == round && row->size == sizeof round &&
           memcmp(row->data, &round, sizeof round) == 0;
}

/* All that the view shows at the timestamp, by gets and by a cursor. */
static bool view_shows(struct body_view *view, uint64_t round, bool backward)
{
    const struct engine_range range = {.backward = backward};
    struct body_cursor *cursor;
    struct engine_row row;
    struct arena arena;
    bool right = true;
    unsigned seen = 0;
    arena_create(&arena, 1 << 16);
    for (unsigned n = 0; n < KEYS; n++) {
        const unsigned char key[4] = {'k', 'e', 'y', (unsigned char)n};
        right &= body_get(view, key, sizeof key, round, &arena, &row) == 0 && row_is(&row, round);
    }
    arena_destroy(&arena);
    if (body_cursor_open(view, &range, round, &cursor) != 0)
        return false;
    while (body_cursor_next(cursor, &row) == 0) {
        right &= row_is(&row, round);
        seen++;
    }
    body_cursor_close(cursor);
    return right && seen == KEYS;
}

static void *reader_main(void *arg)
{
    struct shared *shared = arg;
    for (unsigned n = 0; !atomic_load(&shared->ended); n++) {
        struct body_view *view;
        struct engine_stats stats;
        uint64_t round = atomic_load(&shared->absorbed);
        if (round == 0)
            continue;
        if (body_view_open(shared->body, &view) != 0) {
            atomic_fetch_add(&shared->failed, 1);
            continue;
        }
        body_stats(shared->body, &stats);
        if (!view_shows(view, round, n % 2 == 0) || stats.rows < KEYS)
            atomic_fetch_add(&shared->failed, 1);
        body_view_close(view);
        atomic_fetch_add(&shared->views, 1);
    }
    return NULL;
}

/* Works on jobs that others begin and end. */
struct worker {
    struct body_job *_Atomic job; /* NULL: there is none, or it is through */
    _Atomic bool failed, ended;
};

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    while (!atomic_load(&worker->ended)) {
        struct body_job *job = atomic_load(&worker->job);
        struct engine_tidied done = {ENGINE_TIDY_WORKING, 0};
        if (job == NULL) {
            sched_yield();
            continue;
        }
        for (unsigned n = 0; done.what == ENGINE_TIDY_WORKING; n++)
            if (body_job_step(job, n % 2 == 0, 512, &done) != 0)
                break;
        if (done.what == ENGINE_TIDY_WORKING)
            atomic_store(&worker->failed, true);
        atomic_store(&worker->job, NULL);
    }
    return NULL;
}

/* Begins a job when the last one is through, and puts its work into the body. */
static void job_turn(struct shared *shared, struct worker *worker, struct body_job **job,
                     const struct engine_snapshots *snapshots, unsigned *merged)
{
    struct engine_tidied done;
    if (*job != NULL) {
        if (atomic_load(&worker->job) != NULL)
            return;
        assert_int_equal(body_job_end(shared->body, *job, true, &done), 0);
        assert_int_equal(done.what, ENGINE_TIDY_CHANGED);
        ++*merged;
        body_settle(shared->body);
    }
    do
        assert_int_equal(body_job_begin(shared->body, snapshots, &done, job), 0);
    while (done.what == ENGINE_TIDY_CHANGED);
    atomic_store(&worker->job, *job);
}

static void rounds_run(bool lends)
{
    struct worker worker = {.job = NULL};
    struct body_job *job = NULL;
    pthread_t worker_thread;
    unsigned merged = 0;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    struct cache *cache;
    _Atomic uint64_t next_file = 1;
    struct lsm_options lsm;
    struct shared shared = {.body = NULL};
    pthread_t threads[READERS];
    lsm_options_default(&lsm);
    lsm.level_bytes = 4 << 10;
    lsm.file_bytes = 1 << 10;
    lsm.block_bytes = 256;
    assert_int_equal(cache_new(&(struct cache_options){.budget_bytes = 8 << 10}, &cache), 0);
    const struct engine_options options = {.io = io,
                                           .space_id = 512,
                                           .incarnation = 1,
                                           .next_file = &next_file,
                                           .cache = cache,
                                           .lsm = &lsm};
    assert_int_equal(body_open(&engine_lsm, &options, &shared.body), 0);
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader_main, &shared), 0);
    assert_int_equal(pthread_create(&worker_thread, NULL, worker_main, &worker), 0);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        /* Readers may be at any round, so each is a snapshot. */
        uint64_t ts[ROUNDS];
        const struct engine_snapshots snapshots = {ts, (unsigned)round};
        struct source source = {.base.next = source_next, .round = round};
        struct engine_tidied done;
        lsm.strategy = round % 3 == 0 ? LSM_UNIVERSAL : LSM_LEVELLED;
        lsm.block_bytes = 128 << round % 3;
        lsm.filter_bits = (unsigned)(round % 2) * 10;
        lsm.filter_kind = RUN_FILTER_BLOOM + round / 2 % 2;
        for (unsigned n = 0; n < LSM_LEVELS; n++)
            lsm.compression[n] = (enum compress_method)(round % COMPRESS_METHODS);
        body_configure(shared.body, &options);
        for (uint64_t n = 0; n < round; n++)
            ts[n] = n + 1;
        assert_int_equal(body_absorb(shared.body, &source.base, round, &snapshots), 0);
        atomic_store(&shared.absorbed, round);
        body_settle(shared.body);
        if (lends)
            job_turn(&shared, &worker, &job, &snapshots, &merged);
        do
            assert_int_equal(body_tidy(shared.body, &snapshots, 2 << 10, &done), 0);
        while (done.what != ENGINE_TIDY);
        body_settle(shared.body);
        while (atomic_load(&shared.views) < round) /* none is too early for any reader */
            sched_yield();
    }
    while (atomic_load(&worker.job) != NULL)
        sched_yield();
    if (job != NULL)
        job_turn(&shared, &worker, &job, &(struct engine_snapshots){NULL, 0}, &merged);
    while (atomic_load(&worker.job) != NULL)
        sched_yield();
    atomic_store(&worker.ended, true);
    pthread_join(worker_thread, NULL);
    assert_int_equal(merged > 0, lends);
    assert_false(atomic_load(&worker.failed));
    if (job != NULL) {
        struct engine_tidied done;
        assert_int_equal(body_job_end(shared.body, job, false, &done), 0);
    }
    atomic_store(&shared.ended, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&shared.failed), 0);
    body_close(shared.body);
    cache_delete(cache);
    io_delete(io);
    disk_delete(disk);
}

static void readers_see_whole_rounds_while_more_are_absorbed_and_compacted(void **state)
{
    (void)state;
    rounds_run(false);
}

static void readers_see_whole_rounds_while_another_thread_compacts(void **state)
{
    (void)state;
    rounds_run(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_whole_rounds_while_more_are_absorbed_and_compacted),
        cmocka_unit_test(readers_see_whole_rounds_while_another_thread_compacts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
