/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power is cut at every call in turn, and again while recovering from that. Every record whose
 * wal_wait returned 0 is there afterwards, whole, and none is there in part. The same run against a
 * log that skips its flush must lose something: that shows that the run would notice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal_internal.h"

enum { COMMITS = 24, IDS_MAX = 8 * COMMITS };

struct run {
    uint64_t seed;
    struct disk *disk;
    struct wal_options options;
    unsigned mutations;
    uint64_t next_id;
    bool acknowledged[IDS_MAX];
    struct log_seen seen;
    bool opened; /* the last recovery succeeded */
    int lost;
};

/* Commits in groups, waiting after each; stops at the first error. */
static int work_in_groups(struct run *run, struct wal *wal, struct wal_buffer **buffers,
                          struct random *random)
{
    for (unsigned group = 0; group < COMMITS / 4; group++) {
        uint64_t first = run->next_id, last_ts = 0;
        for (uint64_t count = 1 + random_below(random, 4); count > 0; count--) {
            size_t size = 8 + random_below(random, 3000);
            int rc =
                log_commit(wal, buffers[random_below(random, 2)], run->next_id, size, &last_ts);
            if (rc != 0)
                return rc;
            run->next_id++;
        }
        int rc = wal_wait(wal, last_ts);
        if (rc != 0)
            return rc;
        while (first < run->next_id)
            run->acknowledged[first++] = true;
    }
    return 0;
}

/* Commits without waiting, so that several blocks are in flight; what is at most D at the end
 * counts as acknowledged. */
static void work_in_flight(struct run *run, struct wal *wal, struct wal_buffer **buffers,
                           struct random *random)
{
    uint64_t first = run->next_id, ts[COMMITS], count = 0;
    while (count < COMMITS &&
           log_commit(wal, buffers[random_below(random, 2)], run->next_id, 100, &ts[count]) == 0) {
        run->next_id++;
        count++;
        wal_kick(wal);
        if (random_below(random, 2))
            sched_yield();
    }
    if (count > 0)
        wal_wait(wal, ts[count - 1]);
    for (uint64_t i = 0; i < count; i++)
        run->acknowledged[first + i] = ts[i] <= wal_durable_ts(wal);
}

static void work(struct run *run, struct wal *wal, struct random *random)
{
    struct wal_buffer *buffers[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(wal_buffer_open(wal, &buffers[i]), 0);
    assert_true(run->next_id + COMMITS <= IDS_MAX);
    if (run->mutations & WAL_MUTATION_EAGER)
        work_in_flight(run, wal, buffers, random);
    else
        work_in_groups(run, wal, buffers, random);
    for (int i = 0; i < 2; i++)
        wal_buffer_close(buffers[i]);
}

static void check(struct run *run)
{
    for (uint64_t id = 1; id < run->next_id; id++) {
        if (!run->acknowledged[id])
            continue;
        if (!run->opened || log_seen_find(&run->seen, id) == NULL)
            run->lost++;
    }
    for (size_t i = 0; i < run->seen.count; i++)
        assert_true(run->seen.items[i].whole);
}

/* One start of the database: recovers, checks what is there, works, ends. The power may fail at any
 * moment, with the call after which it does; then it is off and on again. */
static bool live(struct run *run, uint64_t cut_after, bool working)
{
    struct random random;
    struct wal *wal;
    struct wal_replay_stats stats;
    random_create(&random, run->seed + cut_after);
    disk_cut_after(run->disk, cut_after);
    run->options.io = disk_io(run->disk);
    log_seen_destroy(&run->seen);
    int rc = wal__open(&run->options, run->mutations, log_seen_add, &run->seen, &stats, &wal);
    bool cut = disk_is_cut(run->disk);
    run->opened = rc == 0;
    if (rc == 0 || !cut)
        check(run);
    if (rc == 0) {
        if (working)
            work(run, wal, &random);
        rc = wal_close(wal);
        cut = disk_is_cut(run->disk);
        assert_true(rc == 0 || cut);
    }
    io_delete(run->options.io);
    if (working || cut)
        disk_cut(run->disk, run->seed + cut_after);
    else
        disk_cut_after(run->disk, 0);
    return cut;
}

static void run_create(struct run *run, uint64_t seed, bool direct)
{
    memset(run, 0, sizeof(*run));
    run->seed = seed;
    run->next_id = 1;
    run->disk = disk_new(seed);
    disk_offer_direct(run->disk, direct);
    disk_tear(run->disk, seed % 5 < 2 ? 512 : 4096);
    run->options = log_options(NULL);
    run->options.segment_bytes = 32768;
    run->options.compression = seed % 3 == 0;
}

static void run_destroy(struct run *run)
{
    log_seen_destroy(&run->seen);
    disk_delete(run->disk);
}

/* Cuts at call n of a life that follows an undisturbed one, then lives on. */
static bool cut_once(struct run *run, uint64_t n)
{
    live(run, 0, true);
    bool cut = live(run, n, true);
    live(run, 0, true);
    live(run, 0, false);
    return cut;
}

static void cut_at_every_call(uint64_t seed, bool direct, unsigned mutations)
{
    for (uint64_t n = 1, cut = 1; cut; n++) {
        struct run run;
        run_create(&run, seed + n * 7919, direct);
        run.mutations = mutations | WAL_MUTATION_COMPRESS_SMALL;
        cut = cut_once(&run, n);
        assert_int_equal(run.lost, 0);
        run_destroy(&run);
    }
}

static void every_acknowledged_record_survives_a_cut_at_any_call(void **state)
{
    cut_at_every_call(*(uint64_t *)*state, false, 0);
}

static void every_acknowledged_record_survives_a_cut_at_any_call_with_direct_writes(void **state)
{
    cut_at_every_call(*(uint64_t *)*state, true, 0);
}

static void every_acknowledged_record_survives_with_several_blocks_in_flight(void **state)
{
    for (uint64_t round = 0; round < 10; round++)
        cut_at_every_call(*(uint64_t *)*state + round, true, WAL_MUTATION_EAGER);
}

static void a_second_cut_while_recovering_takes_nothing_either(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    struct random random;
    random_create(&random, seed);
    for (uint64_t n = 1, cut = 1; cut; n++) {
        struct run run;
        run_create(&run, seed + n * 104729, n % 2);
        live(&run, 0, true);
        live(&run, 20 + random_below(&random, 60), true);
        cut = live(&run, n, false);
        live(&run, 1 + random_below(&random, 20), false);
        live(&run, 0, true);
        live(&run, 0, false);
        assert_int_equal(run.lost, 0);
        run_destroy(&run);
    }
}

/* Under interval nothing is promised against a loss of power, except after wal_wait_durable; but
 * what is there is whole and is a beginning of the log. */
static void under_interval_and_none_a_cut_leaves_a_beginning_of_the_log(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    for (uint64_t n = 1; n <= 100; n++) {
        struct run run;
        run_create(&run, seed + n, false);
        run.options.durability = n % 2 ? WAL_DURABILITY_INTERVAL : WAL_DURABILITY_NONE;
        live(&run, 10 + n, true);
        live(&run, 0, false);
        assert_true(run.opened);
        for (uint64_t id = 2; id < run.next_id; id++)
            if (log_seen_find(&run.seen, id) != NULL)
                assert_non_null(log_seen_find(&run.seen, id - 1));
        run_destroy(&run);
    }
}

/* How many acknowledged records a log that skips its flush loses, over many cuts until it loses
 * some. */
static int lost_without_flush(uint64_t seed)
{
    int lost = 0;
    for (uint64_t n = 1; n <= 1000 && lost == 0; n++) {
        struct run run;
        run_create(&run, seed + n * 31, true);
        run.options.skip_flush = true;
        live(&run, 10 + n % 60, true);
        live(&run, 0, false);
        lost += run.lost;
        run_destroy(&run);
    }
    return lost;
}

static void a_log_that_skips_its_flush_is_found_out(void **state)
{
    assert_true(lost_without_flush(*(uint64_t *)*state) > 0);
}

int main(void)
{
    static uint64_t seed;
    seed = log_seed();
#define TEST(name) cmocka_unit_test_prestate(name, &seed)
    const struct CMUnitTest tests[] = {
        TEST(every_acknowledged_record_survives_a_cut_at_any_call),
        TEST(every_acknowledged_record_survives_a_cut_at_any_call_with_direct_writes),
        TEST(every_acknowledged_record_survives_with_several_blocks_in_flight),
        TEST(a_second_cut_while_recovering_takes_nothing_either),
        TEST(under_interval_and_none_a_cut_leaves_a_beginning_of_the_log),
        TEST(a_log_that_skips_its_flush_is_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
