/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments are given up, archived and recycled while the power is cut at every call in turn, or
 * while every call fails in turn.
 *
 * A manifest, written as a checkpoint writes it, holds a timestamp K and the segment at which the
 * log begins: what is at most K is safe elsewhere. Afterwards everything acknowledged above K is in
 * the log, nothing comes out of it twice, and the archive and the log together have all of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal_internal.h"

enum { COMMITS = 60, IDS_MAX = 8 * COMMITS };

struct manifest {
    uint64_t k, first_segment;
};

struct run {
    uint64_t seed;
    struct disk *disk, *archive_disk;
    struct wal_options options;
    unsigned mutations;
    struct manifest manifest;
    uint64_t next_id;
    uint64_t ts[IDS_MAX]; /* of what was acknowledged, else 0 */
    struct log_seen seen;
    int rc; /* of the last opening */
    unsigned lost, recycled;
    bool idle; /* the next life commits nothing */
};

static int manifest_write(struct io *io, const struct manifest *manifest)
{
    struct io_file *file;
    int rc = io_open(io, "manifest.tmp", IO_WRITE | IO_CREATE | IO_TRUNCATE, &file);
    if (rc != 0)
        return rc;
    rc = io_write(file, manifest, sizeof(*manifest), 0);
    if (rc == 0)
        rc = io_sync(file);
    io_close(file);
    if (rc == 0)
        rc = io_rename(io, "manifest.tmp", "manifest");
    return rc == 0 ? io_sync_dir(io) : rc;
}

static int manifest_read(struct io *io, struct manifest *manifest)
{
    struct io_file *file;
    memset(manifest, 0, sizeof(*manifest));
    int rc = io_open(io, "manifest", IO_READ, &file);
    if (rc != 0)
        return rc == ERROR_NOT_FOUND ? 0 : rc;
    int64_t got = io_read(file, manifest, sizeof(*manifest), 0);
    io_close(file);
    return got < 0 ? (int)got : 0;
}

static int checkpoint(struct run *run, struct wal *wal)
{
    struct manifest next = {.k = wal_durable_ts(wal)};
    next.first_segment = wal_first_needed(wal, next.k);
    int rc = manifest_write(run->options.io, &next);
    return rc == 0 ? wal_release(wal, next.first_segment) : rc;
}

static void work(struct run *run, struct wal *wal, struct random *random)
{
    struct wal_buffer *buffer;
    assert_int_equal(wal_buffer_open(wal, &buffer), 0);
    for (unsigned i = 0; i < COMMITS && !run->idle; i++) {
        uint64_t ts, id = run->next_id;
        size_t size = random_below(random, 8) == 0 ? 9000 : 8 + random_below(random, 3000);
        if (log_commit(wal, buffer, id, size, &ts) != 0)
            break;
        run->next_id++;
        if (wal_wait(wal, ts) != 0)
            break;
        run->ts[id] = ts;
        if (random_below(random, 6) == 0 && checkpoint(run, wal) != 0)
            break;
        if (random_below(random, 12) == 0)
            wal_release_wait(wal);
    }
    wal_release_wait(wal);
    struct wal_stats stats;
    wal_stats_get(wal, &stats);
    run->recycled += (unsigned)stats.recycled;
    wal_buffer_close(buffer);
}

static void check(struct run *run)
{
    log_seen_sort(&run->seen);
    for (size_t i = 0; i < run->seen.count; i++) {
        assert_true(run->seen.items[i].whole);
        run->lost += i > 0 && run->seen.items[i].ts == run->seen.items[i - 1].ts;
    }
    for (uint64_t id = 1; id < run->next_id; id++)
        run->lost += run->ts[id] > run->manifest.k && log_seen_find(&run->seen, id) == NULL;
}

/* One start of the database; the power, or one call, may fail at any moment. True when it did. */
static bool live(struct run *run, uint64_t n, bool cutting)
{
    struct random random;
    struct wal *wal;
    struct wal_replay_stats stats;
    random_create(&random, run->seed + n);
    run->options.io = disk_io(run->disk);
    log_seen_destroy(&run->seen);
    uint64_t calls = disk_calls(run->disk);
    if (cutting)
        disk_cut_after(run->disk, n);
    else
        disk_fail_nth(run->disk, n, 5);
    run->rc = manifest_read(run->options.io, &run->manifest);
    run->options.first_segment = run->manifest.first_segment;
    if (run->rc == 0)
        run->rc = wal__open(&run->options, run->mutations, log_seen_add, &run->seen, &stats, &wal);
    if (run->rc == 0) {
        check(run);
        work(run, wal, &random);
        wal_close(wal);
    } else if (n == 0) {
        run->lost++; /* nothing was in the way of opening */
    }
    bool reached = n > 0 && disk_calls(run->disk) - calls >= n;
    disk_fail_nth(run->disk, 0, 0);
    io_delete(run->options.io);
    disk_cut(run->disk, run->seed + n);
    return reached;
}

/* Of everything acknowledged, how much is neither in the archive nor in the log. */
static unsigned missing_everywhere(struct run *run)
{
    struct wal_replay_stats stats;
    unsigned missing = 0;
    run->idle = true;
    live(run, 0, true);
    struct wal_read_options reading = {.io = run->options.archive,
                                       .first_segment = WAL_FIRST_FOUND,
                                       .each = log_seen_add,
                                       .arg = &run->seen};
    assert_int_equal(wal_read(&reading, &stats), 0);
    for (uint64_t id = 1; id < run->next_id; id++)
        missing += run->ts[id] != 0 && log_seen_find(&run->seen, id) == NULL;
    return missing;
}

static void run_create(struct run *run, uint64_t seed)
{
    memset(run, 0, sizeof(*run));
    run->seed = seed;
    run->next_id = 1;
    run->disk = disk_new(seed);
    run->archive_disk = disk_new(seed);
    disk_offer_direct(run->disk, seed % 2);
    disk_tear(run->disk, seed % 5 < 2 ? 512 : 4096);
    run->options = log_options(NULL);
    run->options.segment_bytes = 8 * WAL_ALIGN;
    run->options.compression = seed % 3 == 0;
    run->mutations = WAL_MUTATION_COMPRESS_SMALL;
    run->options.archive = disk_io(run->archive_disk);
}

static void run_destroy(struct run *run)
{
    log_seen_destroy(&run->seen);
    io_delete(run->options.archive);
    disk_delete(run->disk);
    disk_delete(run->archive_disk);
}

static bool live_and_die(struct run *run, uint64_t n, bool cutting)
{
    live(run, 0, true);
    bool reached = live(run, n, cutting);
    live(run, 0, true);
    live(run, 0, true);
    return reached;
}

static void at_every_call(uint64_t seed, bool cutting)
{
    unsigned recycled = 0;
    bool reached = true;
    for (uint64_t n = 1; reached; n += n < 40 ? 1 : 3) {
        struct run run;
        run_create(&run, seed + n * 7919);
        reached = live_and_die(&run, n, cutting);
        if (run.lost > 0)
            print_message("n=%u: %s\n", (unsigned)n, diag_message());
        assert_int_equal(run.lost, 0);
        assert_int_equal(missing_everywhere(&run), 0);
        recycled += run.recycled;
        run_destroy(&run);
    }
    assert_true(recycled > 0);
}

static void whatever_is_needed_survives_a_cut_at_any_call(void **state)
{
    at_every_call(*(uint64_t *)*state, true);
}

static void whatever_is_needed_survives_a_failure_of_any_call(void **state)
{
    at_every_call(*(uint64_t *)*state, false);
}

/* Over cuts at many calls, again and again, until one of them shows it: about ten of four hundred
 * do. */
static unsigned lost_with(uint64_t seed, unsigned mutations)
{
    unsigned lost = 0;
    for (uint64_t n = 1; n < 8000 && lost == 0; n++) {
        struct run run;
        run_create(&run, seed + n * 31);
        run.mutations |= mutations;
        live_and_die(&run, 20 + n % 400, true);
        lost = run.lost;
        run_destroy(&run);
    }
    return lost;
}

static void a_recycled_segment_with_its_name_before_its_header_would_be_damage(void **state)
{
    assert_true(lost_with(*(uint64_t *)*state, WAL_MUTATION_RECYCLE_NAMED) > 0);
}

static void old_blocks_in_recycled_segments_would_come_back(void **state)
{
    assert_true(lost_with(*(uint64_t *)*state, WAL_MUTATION_STALE) > 0);
}

int main(void)
{
    static uint64_t seed;
    seed = log_seed();
#define TEST(name) cmocka_unit_test_prestate(name, &seed)
    const struct CMUnitTest tests[] = {
        TEST(whatever_is_needed_survives_a_cut_at_any_call),
        TEST(whatever_is_needed_survives_a_failure_of_any_call),
        TEST(a_recycled_segment_with_its_name_before_its_header_would_be_damage),
        TEST(old_blocks_in_recycled_segments_would_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
