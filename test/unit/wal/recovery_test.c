/* SPDX-License-Identifier: Apache-2.0 */
/* Where the log ends, what is damage, what stays dead: rules 1 to 3, and that each of them is
 * needed. */
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
#include "codec/crc32c.h"
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal_internal.h"

struct fixture {
    struct disk *disk;
    struct io *io;
    struct wal_options options;
    struct wal *wal;
    struct wal_buffer *buffer;
    struct wal_replay_stats stats;
    struct log_seen seen;
};

static int create(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->disk = disk_new(7);
    f->io = disk_io(f->disk);
    f->options = log_options(f->io);
    *state = f;
    return 0;
}

static int destroy(void **state)
{
    struct fixture *f = *state;
    log_seen_destroy(&f->seen);
    io_delete(f->io);
    disk_delete(f->disk);
    free(f);
    return 0;
}

static int start_mutated(struct fixture *f, unsigned mutations)
{
    log_seen_destroy(&f->seen);
    int rc = wal__open(&f->options, mutations, log_seen_add, &f->seen, &f->stats, &f->wal);
    if (rc == 0)
        assert_int_equal(wal_buffer_open(f->wal, &f->buffer), 0);
    log_seen_sort(&f->seen);
    return rc;
}

static void start(struct fixture *f)
{
    int rc = start_mutated(f, 0);
    if (rc != 0)
        print_message("%s\n", diag_message_for(rc));
    assert_int_equal(rc, 0);
}

static void stop(struct fixture *f)
{
    wal_buffer_close(f->buffer);
    assert_int_equal(wal_close(f->wal), 0);
}

/* Commits ids first to last, each in a block of its own. */
static void commit_blocks(struct fixture *f, uint64_t first, uint64_t last)
{
    for (uint64_t id = first; id <= last; id++) {
        uint64_t ts;
        assert_int_equal(log_commit(f->wal, f->buffer, id, 40, &ts), 0);
        assert_int_equal(wal_wait(f->wal, ts), 0);
    }
}

static void assert_seen(const struct fixture *f, uint64_t first, uint64_t last)
{
    assert_int_equal(f->seen.count, last - first + 1);
    for (uint64_t id = first; id <= last; id++) {
        const struct log_record *record = log_seen_find(&f->seen, id);
        assert_non_null(record);
        assert_true(record->whole);
    }
}

/* Opens segment `number` and reads or writes at `offset`. */
static void segment_io(struct fixture *f, uint64_t number, uint64_t offset, void *data, size_t size,
                       bool write)
{
    char name[32];
    struct io_file *file;
    wal__segment_name(number, name);
    assert_int_equal(io_open(f->io, name, IO_WRITE, &file), 0);
    if (write)
        assert_int_equal(io_write(file, data, size, offset), 0);
    else
        assert_int_equal(io_read(file, data, size, offset), size);
    io_close(file);
}

static void flip(struct fixture *f, uint64_t number, uint64_t offset)
{
    unsigned char byte;
    segment_io(f, number, offset, &byte, 1, false);
    byte ^= 0x10;
    segment_io(f, number, offset, &byte, 1, true);
}

/* Blocks of one small record each are one page: block n of the first segment begins here. */
static uint64_t block_offset(uint64_t n)
{
    return n * WAL_ALIGN;
}

static void a_torn_last_block_is_the_end_of_the_log(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 5);
    stop(f);
    flip(f, 1, block_offset(5) + 200);
    start(f);
    assert_seen(f, 1, 4);
    assert_int_equal(f->stats.last_ts, 4);
    stop(f);
}

static void the_clock_starts_above_a_torn_block_whose_header_is_whole(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 5);
    stop(f);
    flip(f, 1, block_offset(5) + 200);
    start(f);
    assert_int_equal(f->stats.clock, 5);
    assert_int_equal(wal_clock_next(f->wal), 6);
    stop(f);
}

static void without_rule_1_a_timestamp_would_be_handed_out_twice(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 5);
    stop(f);
    flip(f, 1, block_offset(5) + 200);
    assert_int_equal(start_mutated(f, WAL_MUTATION_CLOCK_USED), 0);
    assert_int_equal(wal_clock_next(f->wal), 5);
    stop(f);
}

static void a_bad_block_that_a_later_one_knows_durable_is_damage(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 5);
    stop(f);
    flip(f, 1, block_offset(3) + 200);
    assert_int_equal(start_mutated(f, 0), ERROR_CORRUPT);
    assert_non_null(
        strstr(diag_message(), "wal-0000000000000001.log, offset 12288: record checksum"));
    assert_int_equal(start_mutated(f, 0), ERROR_CORRUPT); /* nothing was changed by trying */
    flip(f, 1, block_offset(3) + 200);
    start(f);
    assert_seen(f, 1, 5);
    stop(f);
}

static void without_rule_2_damage_would_pass_for_the_end(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 5);
    stop(f);
    flip(f, 1, block_offset(3) + 200);
    assert_int_equal(start_mutated(f, WAL_MUTATION_NO_DAMAGE), 0);
    assert_seen(f, 1, 2);
    stop(f);
}

static void a_zeroed_block_in_the_middle_is_damage_too(void **state)
{
    struct fixture *f = *state;
    unsigned char zeros[WAL_ALIGN] = {0};
    start(f);
    commit_blocks(f, 1, 5);
    stop(f);
    segment_io(f, 1, block_offset(2), zeros, sizeof(zeros), true);
    assert_int_equal(start_mutated(f, 0), ERROR_CORRUPT);
}

/* Rewrites the header of block n so that it knows only `known` durable, as one that was in flight
 * with those before. */
static void pretend_in_flight(struct fixture *f, uint64_t n, uint64_t known)
{
    unsigned char block[WAL_ALIGN], page[WAL_ALIGN];
    struct wal_segment_header segment;
    struct wal_block_header header;
    const char *check;
    segment_io(f, 1, 0, page, sizeof(page), false);
    assert_int_equal(wal_segment_header_decode(page, &segment, &check), 0);
    segment_io(f, 1, block_offset(n), block, sizeof(block), false);
    memcpy(&header, block, sizeof(header));
    header.durable_sequence = known;
    memcpy(block, &header, sizeof(header));
    wal_block_header_seal(block, segment.salt);
    segment_io(f, 1, block_offset(n), block, sizeof(block), true);
}

/* Blocks 1 to 5, where 3 is torn and 4 and 5 were in flight with it. */
static void make_gap(struct fixture *f)
{
    start(f);
    commit_blocks(f, 1, 5);
    stop(f);
    flip(f, 1, block_offset(3) + 200);
    pretend_in_flight(f, 4, 2);
    pretend_in_flight(f, 5, 2);
}

static void blocks_behind_a_gap_stay_dead_over_many_restarts(void **state)
{
    struct fixture *f = *state;
    make_gap(f);
    start(f);
    assert_seen(f, 1, 2);
    assert_int_equal(f->stats.clock, 5);
    commit_blocks(f, 3, 3);
    stop(f);
    for (uint64_t id = 4; id < 10; id++) {
        start(f);
        assert_seen(f, 1, id - 1);
        const struct log_record *record = log_seen_find(&f->seen, 3);
        assert_int_equal(record->ts, 6);
        commit_blocks(f, id, id);
        stop(f);
    }
}

static void the_dead_stay_dead_when_a_crash_comes_before_they_are_removed(void **state)
{
    struct fixture *f = *state;
    make_gap(f);
    for (int round = 0; round < 3; round++) {
        /* The first segment of the new incarnation is durable, then the power fails. */
        disk_fail_nth_of(f->disk, DISK_UNLINK, 1, 5);
        disk_fail_nth_of(f->disk, DISK_TRUNCATE, 1, 5);
        int rc = start_mutated(f, 0);
        assert_int_equal(f->seen.count, 2);
        if (rc == 0)
            stop(f);
    }
    disk_fail_nth_of(f->disk, DISK_UNLINK, 0, 0);
    disk_fail_nth_of(f->disk, DISK_TRUNCATE, 0, 0);
    start(f);
    assert_seen(f, 1, 2);
    commit_blocks(f, 3, 3);
    stop(f);
    start(f);
    assert_seen(f, 1, 3);
    stop(f);
}

static void the_last_block_of_an_old_incarnation_can_not_vanish(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 3);
    stop(f);
    start(f);
    commit_blocks(f, 4, 4);
    stop(f);
    flip(f, 1, block_offset(3) + 200);
    assert_int_equal(start_mutated(f, 0), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), "the log is recorded to end at 3"));
}

static void without_a_recorded_end_the_last_block_of_an_old_incarnation_would_vanish(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 3);
    stop(f);
    assert_int_equal(start_mutated(f, WAL_MUTATION_NO_END), 0);
    commit_blocks(f, 4, 4);
    stop(f);
    flip(f, 1, block_offset(3) + 200);
    assert_int_equal(start_mutated(f, WAL_MUTATION_NO_END), 0);
    assert_int_equal(f->seen.count, 3);
    assert_null(log_seen_find(&f->seen, 3));
    stop(f);
}

static void a_missing_segment_is_damage(void **state)
{
    struct fixture *f = *state;
    f->options.segment_bytes = 4 * WAL_ALIGN;
    start(f);
    commit_blocks(f, 1, 10);
    stop(f);
    assert_int_equal(io_unlink(f->io, "wal-0000000000000002.log"), 0);
    assert_int_equal(start_mutated(f, 0), ERROR_CORRUPT);
    start_mutated(f, 0);
    assert_non_null(strstr(diag_message(), "segment before this one is missing"));
}

static void a_missing_incarnation_is_damage(void **state)
{
    struct fixture *f = *state;
    for (uint64_t id = 1; id <= 3; id++) {
        start(f);
        commit_blocks(f, id, id);
        stop(f);
    }
    assert_int_equal(io_unlink(f->io, "wal-0000000000000002.log"), 0);
    int rc = start_mutated(f, 0);
    assert_int_equal(rc, ERROR_CORRUPT);
}

static void a_bad_segment_header_is_damage(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 2);
    stop(f);
    flip(f, 1, 24);
    assert_int_equal(start_mutated(f, 0), ERROR_CORRUPT);
    assert_non_null(
        strstr(diag_message(), "wal-0000000000000001.log, offset 0: segment header checksum"));
}

static void a_segment_whose_making_was_interrupted_is_removed(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 2);
    stop(f);
    struct io_file *file;
    assert_int_equal(io_open(f->io, "wal-0000000000000002.tmp", IO_WRITE | IO_CREATE, &file), 0);
    assert_int_equal(io_write(file, "torn", 4, 0), 0);
    io_close(file);
    start(f);
    assert_seen(f, 1, 2);
    assert_int_equal(io_open(f->io, "wal-0000000000000002.tmp", IO_READ, &file), ERROR_NOT_FOUND);
    stop(f);
}

/* A flush fails, so the outcome is unknown; the process starts again while the page cache still has
 * the block. */
static int survives_a_failed_flush(unsigned mutations, uint64_t seed)
{
    struct disk *disk = disk_new(seed);
    struct io *io = disk_io(disk);
    struct fixture f = {.disk = disk, .io = io, .options = log_options(io)};
    struct wal_stats stats = {0};
    f.options.durability = WAL_DURABILITY_INTERVAL;
    start(&f);
    while (stats.segments < 2) { /* the next one is being prepared, and flushed */
        sched_yield();
        wal_stats_get(f.wal, &stats);
    }
    uint64_t ts;
    assert_int_equal(log_commit(f.wal, f.buffer, 1, 40, &ts), 0);
    assert_int_equal(wal_wait(f.wal, ts), 0);
    disk_fail_nth_of(disk, DISK_SYNC, 1, 5);
    assert_int_equal(wal_wait_durable(f.wal, ts), ERROR_UNKNOWN_OUTCOME);
    wal_buffer_close(f.buffer);
    assert_int_equal(wal_close(f.wal), ERROR_LOG_FAILED);
    disk_fail_nth_of(disk, DISK_SYNC, 0, 0);
    f.options.durability = WAL_DURABILITY_COMMIT;
    assert_int_equal(start_mutated(&f, mutations), 0);
    commit_blocks(&f, 2, 2);
    stop(&f);
    io_delete(io);
    disk_cut(disk, seed);
    f.io = f.options.io = io = disk_io(disk);
    int rc = start_mutated(&f, mutations);
    if (rc == 0) {
        assert_non_null(log_seen_find(&f.seen, 2));
        stop(&f);
    }
    log_seen_destroy(&f.seen);
    io_delete(io);
    disk_delete(disk);
    return rc;
}

static void what_recovery_takes_over_is_durable_before_anything_rests_on_it(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++)
        assert_int_equal(survives_a_failed_flush(0, seed), 0);
}

static void without_writing_it_again_a_block_taken_over_could_be_lost(void **state)
{
    (void)state;
    int lost = 0;
    for (uint64_t seed = 1; seed <= 50; seed++)
        lost += survives_a_failed_flush(WAL_MUTATION_NO_ADOPT, seed) == ERROR_CORRUPT;
    assert_true(lost > 0);
}

static void replay_may_be_repeated(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 20);
    stop(f);
    struct log_seen again = {0};
    struct wal_replay_stats stats;
    start(f);
    assert_int_equal(
        wal_read(&(struct wal_read_options){.io = f->io, .each = log_seen_add, .arg = &again},
                 &stats),
        0);
    log_seen_sort(&again);
    assert_int_equal(again.count, f->seen.count);
    assert_memory_equal(again.items, f->seen.items, again.count * sizeof(*again.items));
    log_seen_destroy(&again);
    stop(f);
}

static void dead_space_is_given_back_at_the_next_start(void **state)
{
    struct fixture *f = *state;
    for (uint64_t id = 1; id <= 10; id++) {
        start(f);
        commit_blocks(f, id, id);
        stop(f);
    }
    start(f);
    assert_int_equal(f->stats.segments, 10);
    assert_true(f->stats.log_bytes <= 9 * 2 * WAL_ALIGN + f->options.segment_bytes);
    stop(f);
}

/* Rewrites the first segment, of `blocks` blocks, as version 1 had it. */
static void make_version_1(struct fixture *f, uint64_t blocks)
{
    unsigned char page[WAL_ALIGN];
    struct wal_segment_header segment;
    segment_io(f, 1, 0, page, sizeof(page), false);
    memcpy(&segment, page, sizeof(segment));
    segment.version = 1;
    segment.checksum = 0;
    memcpy(page, &segment, sizeof(segment));
    segment.checksum = crc32c(0, page, sizeof(page));
    memcpy(page, &segment, sizeof(segment));
    segment_io(f, 1, 0, page, sizeof(page), true);
    uint32_t previous = segment.checksum;
    for (uint64_t n = 1; n <= blocks; n++) {
        struct wal_block_header header;
        segment_io(f, 1, block_offset(n), page, sizeof(page), false);
        memcpy(&header, page, sizeof(header));
        header.version = 1;
        header.checksum = 0;
        header.time = header.segment = 0;
        header.previous_checksum = previous;
        memcpy(page, &header, sizeof(header));
        previous = crc32c(crc32c(0, &segment.salt, sizeof(segment.salt)), page,
                          wal_block_header_bytes(header.chunks));
        memcpy(page + offsetof(struct wal_block_header, checksum), &previous, sizeof(previous));
        segment_io(f, 1, block_offset(n), page, sizeof(page), true);
    }
}

static void a_log_of_version_1_is_read_and_continued(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 5);
    stop(f);
    make_version_1(f, 5);
    start(f);
    assert_seen(f, 1, 5);
    commit_blocks(f, 6, 8);
    stop(f);
    start(f);
    assert_seen(f, 1, 8);
    stop(f);
}

static void a_newer_format_and_another_order_of_bytes_are_refused_in_words(void **state)
{
    struct fixture *f = *state;
    unsigned char page[WAL_ALIGN];
    struct wal_segment_header header;
    start(f);
    commit_blocks(f, 1, 2);
    stop(f);
    segment_io(f, 1, 0, page, sizeof(page), false);
    memcpy(&header, page, sizeof(header));
    header.version = WAL_FORMAT_VERSION + 1;
    header.checksum = 0;
    memcpy(page, &header, sizeof(header));
    header.checksum = crc32c(0, page, sizeof(page));
    memcpy(page, &header, sizeof(header));
    segment_io(f, 1, 0, page, sizeof(page), true);
    assert_int_equal(start_mutated(f, 0), ERROR_VERSION);
    start_mutated(f, 0);
    assert_non_null(strstr(diag_message(), "wal-0000000000000001.log has format version 3 and was "
                                           "written by a newer Perigee"));
    header.magic = __builtin_bswap64(header.magic);
    memcpy(page, &header, sizeof(header));
    segment_io(f, 1, 0, page, sizeof(page), true);
    assert_int_equal(start_mutated(f, 0), ERROR_VERSION);
    start_mutated(f, 0);
    assert_non_null(strstr(diag_message(), "the other order of bytes"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
    const struct CMUnitTest tests[] = {
        TEST(a_torn_last_block_is_the_end_of_the_log),
        TEST(the_clock_starts_above_a_torn_block_whose_header_is_whole),
        TEST(without_rule_1_a_timestamp_would_be_handed_out_twice),
        TEST(a_bad_block_that_a_later_one_knows_durable_is_damage),
        TEST(without_rule_2_damage_would_pass_for_the_end),
        TEST(a_zeroed_block_in_the_middle_is_damage_too),
        TEST(blocks_behind_a_gap_stay_dead_over_many_restarts),
        TEST(the_dead_stay_dead_when_a_crash_comes_before_they_are_removed),
        TEST(the_last_block_of_an_old_incarnation_can_not_vanish),
        TEST(without_a_recorded_end_the_last_block_of_an_old_incarnation_would_vanish),
        TEST(a_missing_segment_is_damage),
        TEST(a_missing_incarnation_is_damage),
        TEST(a_bad_segment_header_is_damage),
        TEST(a_segment_whose_making_was_interrupted_is_removed),
        TEST(what_recovery_takes_over_is_durable_before_anything_rests_on_it),
        TEST(without_writing_it_again_a_block_taken_over_could_be_lost),
        TEST(replay_may_be_repeated),
        TEST(dead_space_is_given_back_at_the_next_start),
        TEST(a_log_of_version_1_is_read_and_continued),
        TEST(a_newer_format_and_another_order_of_bytes_are_refused_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
