/* SPDX-License-Identifier: Apache-2.0 */
/* The archive of finished segments, reading it back to a point, and when it fails. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal_internal.h"

enum { PAGES = 8, BLOCKS = PAGES - 1 };

struct fixture {
    struct disk *disk, *archive_disk;
    struct io *archive;
    struct clock_manual clock;
    struct wal_options options;
    struct wal *wal;
    struct wal_buffer *buffer;
    struct wal_replay_stats stats;
    struct log_seen seen;
    uint64_t blocks, segments; /* told by wal_read */
    uint64_t stop_at;          /* block */
};

static int create(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->disk = disk_new(7);
    f->archive_disk = disk_new(8);
    f->archive = disk_io(f->archive_disk);
    clock_manual_create(&f->clock, 1000);
    f->options = log_options(disk_io(f->disk));
    f->options.segment_bytes = PAGES * WAL_ALIGN;
    f->options.archive = f->archive;
    f->options.clock = &f->clock.base;
    *state = f;
    return 0;
}

static int destroy(void **state)
{
    struct fixture *f = *state;
    log_seen_destroy(&f->seen);
    io_delete(f->options.io);
    io_delete(f->archive);
    disk_delete(f->disk);
    disk_delete(f->archive_disk);
    free(f);
    return 0;
}

static void start_mutated(struct fixture *f, unsigned mutations)
{
    log_seen_destroy(&f->seen);
    int rc = wal__open(&f->options, mutations, log_seen_add, &f->seen, &f->stats, &f->wal);
    if (rc != 0)
        print_message("%s\n", diag_message_for(rc));
    assert_int_equal(rc, 0);
    assert_int_equal(wal_buffer_open(f->wal, &f->buffer), 0);
}

static void start(struct fixture *f)
{
    start_mutated(f, 0);
}

static void stop(struct fixture *f)
{
    wal_release_wait(f->wal);
    wal_buffer_close(f->buffer);
    assert_int_equal(wal_close(f->wal), 0);
}

/* Each in a block of its own, a second apart. */
static void commit_blocks(struct fixture *f, uint64_t first, uint64_t last)
{
    for (uint64_t id = first; id <= last; id++) {
        uint64_t ts;
        clock_manual_advance_ms(&f->clock, 1000);
        assert_int_equal(log_commit(f->wal, f->buffer, id, 40, &ts), 0);
        assert_int_equal(wal_wait(f->wal, ts), 0);
    }
}

static void release_all(struct fixture *f)
{
    uint64_t first = wal_first_needed(f->wal, wal_durable_ts(f->wal));
    assert_int_equal(wal_release(f->wal, first), 0);
    wal_release_wait(f->wal);
    f->options.first_segment = first;
}

static int count_block(const struct wal_block_info *block, void *arg)
{
    struct fixture *f = arg;
    f->blocks++;
    assert_true(block->c > block->previous_c);
    return f->blocks == f->stop_at ? ERROR_CANCELLED : 0;
}

static int count_segment(const struct wal_segment_info *segment, void *arg)
{
    struct fixture *f = arg;
    f->segments++;
    assert_int_equal(segment->version, WAL_FORMAT_VERSION);
    return 0;
}

static int see(uint64_t ts, const void *body, size_t size, void *arg)
{
    return log_seen_add(ts, body, size, &((struct fixture *)arg)->seen);
}

static int read_archive(struct fixture *f, uint64_t to_ts, uint64_t to_time)
{
    const struct wal_read_options options = {
        .io = f->archive,
        .first_segment = WAL_FIRST_FOUND,
        .to_ts = to_ts,
        .to_time = to_time,
        .each = see,
        .each_block = count_block,
        .each_segment = count_segment,
        .arg = f,
    };
    log_seen_destroy(&f->seen);
    f->blocks = f->segments = 0;
    int rc = wal_read(&options, &f->stats);
    log_seen_sort(&f->seen);
    return rc;
}

static void assert_seen(const struct fixture *f, uint64_t first, uint64_t last)
{
    assert_int_equal(f->seen.count, last - first + 1);
    for (uint64_t id = first; id <= last; id++)
        assert_true(log_seen_find(&f->seen, id)->whole);
}

static void finished_segments_are_archived_and_read_back(void **state)
{
    struct fixture *f = *state;
    struct wal_stats stats;
    start(f);
    commit_blocks(f, 1, 3 * BLOCKS + 2);
    wal_release_wait(f->wal);
    assert_int_equal(read_archive(f, 0, 0), 0);
    assert_seen(f, 1, 3 * BLOCKS);
    assert_int_equal(f->segments, 3);
    assert_int_equal(f->blocks, 3 * BLOCKS);
    wal_stats_get(f->wal, &stats);
    assert_int_equal(stats.archived, 3);
    assert_true(stats.segments >= 4); /* nothing was given up */
    stop(f);
}

static void an_archive_spans_incarnations(void **state)
{
    struct fixture *f = *state;
    uint64_t last = 0;
    for (int life = 0; life < 5; life++) {
        start(f);
        commit_blocks(f, last + 1, last + 2 * BLOCKS + (uint64_t)life);
        last += 2 * BLOCKS + (uint64_t)life;
        release_all(f);
        stop(f);
    }
    start(f);
    stop(f);
    assert_int_equal(read_archive(f, 0, 0), 0);
    assert_seen(f, 1, last);
    assert_int_equal(f->stats.last_ts, last);
    /* The oldest may go, and any one between may not. */
    assert_int_equal(io_unlink(f->archive, "wal-0000000000000001.log"), 0);
    assert_int_equal(read_archive(f, 0, 0), 0);
    assert_seen(f, BLOCKS + 1, last);
    assert_int_equal(io_unlink(f->archive, "wal-0000000000000006.log"), 0);
    assert_int_equal(read_archive(f, 0, 0), ERROR_CORRUPT);
}

static void reading_stops_at_a_timestamp_or_a_time(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 2 * BLOCKS + 1);
    stop(f);
    for (uint64_t to = 1; to <= 2 * BLOCKS; to++) {
        assert_int_equal(read_archive(f, to, 0), 0);
        assert_seen(f, 1, to);
        assert_int_equal(f->stats.last_ts, to);
        assert_int_equal(read_archive(f, 0, UINT64_C(1000000) * (1999 + 1000 * to)), 0);
        assert_seen(f, 1, to);
        assert_int_equal(f->stats.last_time, UINT64_C(1000000000) * (1 + to));
    }
    assert_int_equal(read_archive(f, 1000, 0), 0);
    assert_seen(f, 1, 2 * BLOCKS);
    f->stop_at = 3;
    assert_int_equal(read_archive(f, 0, 0), ERROR_CANCELLED);
    assert_seen(f, 1, 2);
}

static void a_timestamp_within_a_block_cuts_it(void **state)
{
    struct fixture *f = *state;
    uint64_t ts;
    f->options.durability = WAL_DURABILITY_INTERVAL;
    start(f);
    for (uint64_t id = 1; id <= 9; id++)
        assert_int_equal(log_commit(f->wal, f->buffer, id, 40, &ts), 0);
    assert_int_equal(wal_wait_durable(f->wal, ts), 0);
    stop(f);
    start(f);
    stop(f);
    for (uint64_t to = 1; to <= 9; to++) {
        assert_int_equal(read_archive(f, to, 0), 0);
        assert_seen(f, 1, to);
        assert_int_equal(f->stats.last_ts, to);
    }
}

static void the_newest_archived_segment_may_be_incomplete(void **state)
{
    struct fixture *f = *state;
    struct io_file *file;
    start(f);
    commit_blocks(f, 1, 3 * BLOCKS);
    release_all(f);
    stop(f);
    assert_int_equal(io_open(f->archive, "wal-0000000000000002.log", IO_WRITE, &file), 0);
    assert_int_equal(io_truncate(file, 4 * WAL_ALIGN + 100), 0);
    io_close(file);
    assert_int_equal(read_archive(f, 0, 0), 0);
    assert_seen(f, 1, BLOCKS + 3);
    start(f); /* what the log still has would have been copied again; this one is gone */
    stop(f);
}

static void a_segment_stays_until_it_is_archived(void **state)
{
    struct fixture *f = *state;
    struct wal_stats stats;
    char reason[256];
    start(f);
    commit_blocks(f, 1, BLOCKS);
    disk_fail_nth_of(f->archive_disk, DISK_SYNC, 1, 28);
    commit_blocks(f, BLOCKS + 1, 2 * BLOCKS + 1);
    wal_release_wait(f->wal);
    wal_archive_failure(f->wal, reason, sizeof(reason));
    wal_stats_get(f->wal, &stats);
    assert_int_equal(stats.archive_failures, 1);
    release_all(f);
    wal_stats_get(f->wal, &stats);
    assert_int_equal(stats.released, 2); /* the second attempt */
    assert_int_equal(stats.archived, 2);
    wal_archive_failure(f->wal, reason, sizeof(reason));
    assert_string_equal(reason, "");
    stop(f);
    assert_int_equal(read_archive(f, 0, 0), 0);
    assert_seen(f, 1, 2 * BLOCKS);
}

/* Nothing is finished or given up any more that would make it try again. */
static void a_segment_is_archived_in_the_end_although_nothing_is_written(void **state)
{
    struct fixture *f = *state;
    struct wal_stats stats;
    f->options.archive_retry_ms = 1;
    start(f);
    disk_fail_always(f->archive_disk, DISK_WRITE, 28);
    commit_blocks(f, 1, BLOCKS + 1);
    wal_release_wait(f->wal);
    wal_stats_get(f->wal, &stats);
    assert_true(stats.archive_failures > 0 && stats.archived == 0);
    disk_fail_always(f->archive_disk, DISK_WRITE, 0);
    while (stats.archived == 0) {
        sched_yield();
        wal_stats_get(f->wal, &stats);
    }
    stop(f);
}

/* The archive is there no more from some moment on; everything is given up all the same. Returns
 * how many records neither the archive nor the log has. */
static unsigned missing_without_archive(unsigned mutations)
{
    struct fixture *f;
    unsigned missing = 0;
    create((void **)&f);
    start_mutated(f, mutations);
    commit_blocks(f, 1, BLOCKS + 1);
    wal_release_wait(f->wal);
    disk_cut_after(f->archive_disk, 1);
    commit_blocks(f, BLOCKS + 2, 4 * BLOCKS);
    release_all(f);
    struct wal_stats stats;
    char reason[256];
    wal_stats_get(f->wal, &stats);
    wal_archive_failure(f->wal, reason, sizeof(reason));
    assert_true(stats.archive_failures > 0);
    assert_string_not_equal(reason, "");
    stop(f);
    io_delete(f->archive);
    disk_cut(f->archive_disk, 1);
    f->archive = f->options.archive = disk_io(f->archive_disk);
    start(f); /* left-overs are archived before they go */
    stop(f);
    assert_int_equal(read_archive(f, 0, 0), mutations == 0 ? 0 : ERROR_CORRUPT);
    for (uint64_t id = 1; id <= 4 * BLOCKS; id++)
        missing += log_seen_find(&f->seen, id) == NULL;
    destroy((void **)&f);
    return missing;
}

static void nothing_is_lost_while_the_archive_is_away(void **state)
{
    (void)state;
    assert_int_equal(missing_without_archive(0), 0);
}

static void something_would_be_if_segments_went_before_they_are_archived(void **state)
{
    (void)state;
    assert_true(missing_without_archive(WAL_MUTATION_NO_ARCHIVE_WAIT) > 0);
}

static void another_logs_segment_is_not_overwritten(void **state)
{
    struct fixture *f = *state, *other;
    struct wal_stats stats;
    char reason[256];
    create((void **)&other);
    other->options.archive = f->archive;
    start(f);
    commit_blocks(f, 1, 2 * BLOCKS + 1);
    stop(f);
    start(other);
    commit_blocks(other, 1, 2 * BLOCKS + 1);
    release_all(other);
    wal_stats_get(other->wal, &stats);
    assert_int_equal(stats.released, 0);
    wal_archive_failure(other->wal, reason, sizeof(reason));
    assert_non_null(strstr(reason, "segment 1 of another log"));
    stop(other);
    assert_int_equal(read_archive(f, 0, 0), 0);
    assert_seen(f, 1, 2 * BLOCKS);
    destroy((void **)&other);
}

/* As if a killed server had left the number unused. */
static void another_log_gets_into_no_hole_of_an_archive(void **state)
{
    struct fixture *f = *state, *other;
    struct wal_stats stats;
    char reason[256];
    create((void **)&other);
    other->options.archive = f->archive;
    start(f);
    commit_blocks(f, 1, 3 * BLOCKS + 1);
    stop(f);
    assert_int_equal(io_unlink(f->archive, "wal-0000000000000001.log"), 0);
    start(other);
    commit_blocks(other, 1, 2 * BLOCKS + 1);
    release_all(other);
    wal_stats_get(other->wal, &stats);
    assert_int_equal(stats.archived, 0);
    wal_archive_failure(other->wal, reason, sizeof(reason));
    assert_non_null(strstr(reason, "segment 2 of another log"));
    stop(other);
    destroy((void **)&other);
}

/* A segment that got lost in the archive is copied again while the log has it. */
static void the_own_log_fills_a_hole_of_its_archive(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 3 * BLOCKS + 1);
    wal_release_wait(f->wal);
    stop(f);
    assert_int_equal(io_unlink(f->archive, "wal-0000000000000001.log"), 0);
    start(f);
    wal_release_wait(f->wal);
    stop(f);
    assert_int_equal(read_archive(f, 0, 0), 0);
    assert_seen(f, 1, 3 * BLOCKS + 1);
}

/* The power of the archive fails at every call in turn, that of the log never. */
static void an_interrupted_copy_is_made_again(void **state)
{
    (void)state;
    bool cut = true;
    for (uint64_t n = 1; cut; n++) {
        struct fixture *f;
        create((void **)&f);
        start(f);
        disk_cut_after(f->archive_disk, n);
        commit_blocks(f, 1, 3 * BLOCKS);
        release_all(f);
        cut = disk_is_cut(f->archive_disk);
        stop(f);
        io_delete(f->archive);
        disk_cut(f->archive_disk, n);
        f->archive = f->options.archive = disk_io(f->archive_disk);
        start(f);
        stop(f);
        assert_int_equal(read_archive(f, 0, 0), 0);
        assert_seen(f, 1, 3 * BLOCKS);
        destroy((void **)&f);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
    const struct CMUnitTest tests[] = {
        TEST(finished_segments_are_archived_and_read_back),
        TEST(an_archive_spans_incarnations),
        TEST(reading_stops_at_a_timestamp_or_a_time),
        TEST(a_timestamp_within_a_block_cuts_it),
        TEST(the_newest_archived_segment_may_be_incomplete),
        TEST(a_segment_stays_until_it_is_archived),
        TEST(a_segment_is_archived_in_the_end_although_nothing_is_written),
        cmocka_unit_test(nothing_is_lost_while_the_archive_is_away),
        cmocka_unit_test(something_would_be_if_segments_went_before_they_are_archived),
        TEST(another_logs_segment_is_not_overwritten),
        TEST(another_log_gets_into_no_hole_of_an_archive),
        TEST(the_own_log_fills_a_hole_of_its_archive),
        cmocka_unit_test(an_interrupted_copy_is_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
