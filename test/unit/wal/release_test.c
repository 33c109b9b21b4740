/* SPDX-License-Identifier: Apache-2.0 */
/* Giving segments up: which are needed, where a log may begin, recycling, and that each rule about
 * it is needed. */
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
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal_internal.h"

/* Blocks of one small record each are one page, so a segment of eight pages has seven. */
enum { PAGES = 8, BLOCKS = PAGES - 1 };

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
    f->options.segment_bytes = PAGES * WAL_ALIGN;
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

static void power_off_and_on(struct fixture *f, uint64_t seed)
{
    stop(f);
    io_delete(f->io);
    disk_cut(f->disk, seed);
    f->io = f->options.io = disk_io(f->disk);
}

/* Commits ids first to last, each in a block of its own; with the first log that is used their
 * timestamps are the ids. */
static void commit_blocks(struct fixture *f, uint64_t first, uint64_t last)
{
    for (uint64_t id = first; id <= last; id++) {
        uint64_t ts;
        assert_int_equal(log_commit(f->wal, f->buffer, id, 40, &ts), 0);
        assert_int_equal(wal_wait(f->wal, ts), 0);
    }
}

/* Exactly the ids first to last, each once and whole. */
static void assert_seen(const struct fixture *f, uint64_t first, uint64_t last)
{
    assert_int_equal(f->seen.count, last - first + 1);
    for (uint64_t id = first; id <= last; id++) {
        const struct log_record *record = log_seen_find(&f->seen, id);
        assert_non_null(record);
        assert_true(record->whole);
    }
}

static void release(struct fixture *f, uint64_t first)
{
    assert_int_equal(wal_release(f->wal, first), 0);
    wal_release_wait(f->wal);
    f->options.first_segment = first;
}

static bool exists(struct fixture *f, uint64_t number)
{
    char name[32];
    struct io_file *file;
    wal__segment_name(number, name);
    int rc = io_open(f->io, name, IO_READ, &file);
    if (rc == 0)
        io_close(file);
    return rc == 0;
}

static void flip(struct fixture *f, uint64_t number, uint64_t offset)
{
    char name[32];
    unsigned char byte;
    struct io_file *file;
    wal__segment_name(number, name);
    assert_int_equal(io_open(f->io, name, IO_WRITE, &file), 0);
    assert_int_equal(io_read(file, &byte, 1, offset), 1);
    byte ^= 0x10;
    assert_int_equal(io_write(file, &byte, 1, offset), 0);
    io_close(file);
}

static void the_oldest_segment_with_a_newer_record_is_the_first_needed(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(wal_first_needed(f->wal, 0), 1);
    commit_blocks(f, 1, 3 * BLOCKS + 2);
    assert_int_equal(wal_first_needed(f->wal, 0), 1);
    assert_int_equal(wal_first_needed(f->wal, BLOCKS - 1), 1);
    assert_int_equal(wal_first_needed(f->wal, BLOCKS), 2);
    assert_int_equal(wal_first_needed(f->wal, 2 * BLOCKS), 3);
    assert_int_equal(wal_first_needed(f->wal, 3 * BLOCKS), 4);
    assert_int_equal(wal_first_needed(f->wal, 3 * BLOCKS + 2), 4);
    stop(f);
    start(f);
    assert_seen(f, 1, 3 * BLOCKS + 2);
    assert_int_equal(wal_first_needed(f->wal, BLOCKS), 2);
    assert_int_equal(wal_first_needed(f->wal, 3 * BLOCKS), 4);
    assert_int_equal(wal_first_needed(f->wal, 3 * BLOCKS + 2), 5);
    stop(f);
}

static void what_was_released_is_gone_and_the_log_begins_behind_it(void **state)
{
    struct fixture *f = *state;
    struct wal_stats stats;
    start(f);
    commit_blocks(f, 1, 5 * BLOCKS);
    wal_stats_get(f->wal, &stats);
    uint64_t used = stats.used_bytes;
    assert_int_equal(used, 5 * PAGES * WAL_ALIGN);
    release(f, wal_first_needed(f->wal, 3 * BLOCKS + 2));
    assert_int_equal(f->options.first_segment, 4);
    wal_stats_get(f->wal, &stats);
    assert_int_equal(stats.released, 3);
    assert_int_equal(used - stats.used_bytes, 3 * PAGES * WAL_ALIGN);
    for (uint64_t number = 1; number <= 5; number++)
        assert_int_equal(exists(f, number), number >= 4);
    stop(f);
    for (uint64_t last = 5 * BLOCKS; last < 5 * BLOCKS + 4; last++) {
        start(f);
        assert_seen(f, 3 * BLOCKS + 1, last);
        commit_blocks(f, last + 1, last + 1);
        stop(f);
    }
}

static void segments_of_earlier_incarnations_are_released_too(void **state)
{
    struct fixture *f = *state;
    for (uint64_t life = 0; life < 4; life++) {
        start(f);
        commit_blocks(f, life * 10 + 1, life * 10 + 10);
        stop(f);
    }
    start(f);
    assert_seen(f, 1, 40);
    release(f, wal_first_needed(f->wal, 20));
    assert_int_equal(f->options.first_segment, 5);
    stop(f);
    start(f);
    assert_seen(f, 21, 40);
    release(f, wal_first_needed(f->wal, 38));
    assert_int_equal(f->options.first_segment, 8);
    stop(f);
    start(f);
    assert_seen(f, 38, 40);
    release(f, wal_first_needed(f->wal, wal_durable_ts(f->wal)));
    stop(f);
    start(f);
    assert_int_equal(f->seen.count, 0);
    assert_int_equal(wal_clock_next(f->wal), 41);
    stop(f);
}

static void segments_below_the_first_are_left_over_and_go(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 4 * BLOCKS);
    stop(f);
    flip(f, 1, 3 * WAL_ALIGN); /* whatever is in them */
    flip(f, 2, 30);
    f->options.first_segment = 3;
    start(f);
    assert_seen(f, 2 * BLOCKS + 1, 4 * BLOCKS);
    wal_release_wait(f->wal);
    assert_false(exists(f, 1));
    assert_false(exists(f, 2));
    assert_true(exists(f, 3));
    stop(f);
}

static void a_log_without_its_first_segment_is_damaged(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 4 * BLOCKS);
    stop(f);
    f->options.first_segment = 3;
    assert_int_equal(io_unlink(f->io, "wal-0000000000000003.log"), 0);
    int rc = start_mutated(f, 0);
    assert_int_equal(rc, ERROR_CORRUPT);
    start_mutated(f, 0);
    assert_non_null(strstr(diag_message(), "wal-0000000000000003.log is missing"));
}

static void a_beginning_that_nobody_recorded_is_damage(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 4 * BLOCKS);
    release(f, 3);
    stop(f);
    f->options.first_segment = 0;
    assert_int_equal(start_mutated(f, 0), ERROR_CORRUPT);
    f->options.first_segment = 3;
    start(f);
    assert_seen(f, 2 * BLOCKS + 1, 4 * BLOCKS);
    stop(f);
}

static void a_bad_first_block_of_the_log_is_damage(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 2 * BLOCKS + 1);
    release(f, 3);
    stop(f);
    start(f);
    assert_seen(f, 2 * BLOCKS + 1, 2 * BLOCKS + 1);
    stop(f);
    flip(f, 3, WAL_ALIGN + 200);
    assert_int_equal(start_mutated(f, 0), ERROR_CORRUPT);
    start_mutated(f, 0);
    assert_non_null(
        strstr(diag_message(), "wal-0000000000000003.log, offset 4096: record checksum"));
    assert_non_null(strstr(diag_message(), "the first block of the log"));
}

/* The first block of the second segment is written and not flushed when the log is cut there; then
 * the power fails. Returns what opening says, over several seeds the worst. */
static int begins_at_what_is_not_durable(unsigned mutations)
{
    int worst = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture *f;
        create((void **)&f);
        f->options.durability = WAL_DURABILITY_INTERVAL;
        f->options.flush_interval_ms = 1000000;
        assert_int_equal(start_mutated(f, mutations), 0);
        commit_blocks(f, 1, BLOCKS);
        assert_int_equal(wal_wait_durable(f->wal, BLOCKS), 0);
        commit_blocks(f, BLOCKS + 1, BLOCKS + 2);
        f->options.first_segment = wal_first_needed(f->wal, BLOCKS);
        disk_cut(f->disk, seed); /* before the log ends: what it does then has no effect */
        wal_buffer_close(f->buffer);
        wal_close(f->wal);
        io_delete(f->io);
        f->io = f->options.io = disk_io(f->disk);
        int rc = start_mutated(f, 0);
        if (rc == 0)
            stop(f);
        else
            worst = rc;
        destroy((void **)&f);
    }
    return worst;
}

static void the_log_never_begins_at_what_is_not_durable(void **state)
{
    (void)state;
    assert_int_equal(begins_at_what_is_not_durable(0), 0);
}

static void if_it_did_a_lost_block_would_pass_for_damage(void **state)
{
    (void)state;
    assert_int_equal(begins_at_what_is_not_durable(WAL_MUTATION_FIRST_ANY), ERROR_CORRUPT);
}

static void a_segment_that_was_passed_over_is_never_the_first(void **state)
{
    struct fixture *f = *state;
    uint64_t ts;
    start(f);
    commit_blocks(f, 1, BLOCKS);
    assert_int_equal(log_commit(f->wal, f->buffer, BLOCKS + 1, 2 * PAGES * WAL_ALIGN, &ts), 0);
    assert_int_equal(wal_wait(f->wal, ts), 0);
    assert_int_equal(wal_first_needed(f->wal, BLOCKS - 1), 1);
    assert_int_equal(wal_first_needed(f->wal, BLOCKS), 3);
    release(f, 3);
    stop(f);
    start(f);
    assert_seen(f, BLOCKS + 1, BLOCKS + 1);
    stop(f);
}

static void the_current_segment_is_the_last_that_can_be_asked_for(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 1, 2);
    assert_int_equal(wal_release(f->wal, 1), 0);
    assert_int_equal(wal_release(f->wal, 2), ERROR_INVALID);
    stop(f);
}

static void a_log_that_has_failed_gives_nothing_up(void **state)
{
    struct fixture *f = *state;
    uint64_t ts;
    start(f);
    commit_blocks(f, 1, 2 * BLOCKS);
    disk_fail_nth_of(f->disk, DISK_QUEUE_WAIT, 1, 5);
    assert_int_equal(log_commit(f->wal, f->buffer, 100, 40, &ts), 0);
    assert_int_equal(wal_wait(f->wal, ts), ERROR_UNKNOWN_OUTCOME);
    assert_int_equal(wal_release(f->wal, 2), ERROR_LOG_FAILED);
    wal_buffer_close(f->buffer);
    assert_int_equal(wal_close(f->wal), ERROR_LOG_FAILED);
    start(f);
    assert_true(f->seen.count >= 2 * BLOCKS);
    stop(f);
}

/* Fills the log, giving everything up as soon as it is durable. Returns the last id. */
static uint64_t commit_and_release(struct fixture *f, uint64_t from, uint64_t count)
{
    for (uint64_t id = from; id < from + count; id++) {
        commit_blocks(f, id, id);
        release(f, wal_first_needed(f->wal, wal_durable_ts(f->wal)));
    }
    return from + count - 1;
}

static int count_file(const char *name, uint64_t size, void *arg)
{
    (void)name;
    (void)size;
    ++*(unsigned *)arg;
    return 0;
}

static void segments_are_recycled_and_few_are_kept(void **state)
{
    struct fixture *f = *state;
    struct wal_stats stats;
    unsigned files = 0;
    start(f);
    commit_and_release(f, 1, 20 * BLOCKS);
    wal_stats_get(f->wal, &stats);
    assert_true(stats.recycled >= 10);
    assert_true(stats.released >= 19);
    assert_int_equal(io_list(f->io, count_file, &files), 0);
    assert_true(files <= 2 + WAL_SPARES_MAX); /* the current one, the next, the spare ones */
    stop(f);
}

/* Ends in a recycled segment that is used in part, and starts again: what is behind its own blocks
 * are those of older segments. Returns how many records too many or too old were handed over. */
static int stale_after(struct fixture *f, uint64_t blocks, unsigned mutations, bool cut)
{
    start(f);
    uint64_t last = commit_and_release(f, 1, 6 * BLOCKS + blocks);
    uint64_t first = f->options.first_segment;
    commit_blocks(f, last + 1, last + 3);
    if (cut)
        power_off_and_on(f, blocks);
    else
        stop(f);
    int rc = start_mutated(f, mutations), stale = 0;
    if (rc != 0)
        return -1;
    assert_true(first >= 6);
    for (size_t i = 0; i < f->seen.count; i++)
        stale += f->seen.items[i].id <= (first - 1) * BLOCKS ||
                 (i > 0 && f->seen.items[i].id == f->seen.items[i - 1].id);
    assert_non_null(log_seen_find(&f->seen, last + 3));
    stop(f);
    return stale;
}

static void blocks_that_a_recycled_segment_still_has_stay_dead(void **state)
{
    (void)state;
    for (uint64_t blocks = 0; blocks < 2 * BLOCKS; blocks++) {
        struct fixture *f;
        create((void **)&f);
        assert_int_equal(stale_after(f, blocks, 0, blocks % 2), 0);
        destroy((void **)&f);
    }
}

static void they_would_come_back_if_nobody_looked_whose_they_are(void **state)
{
    (void)state;
    int stale = 0;
    for (uint64_t blocks = 0; blocks < 2 * BLOCKS; blocks++) {
        struct fixture *f;
        create((void **)&f);
        stale += stale_after(f, blocks, WAL_MUTATION_STALE, false) != 0;
        destroy((void **)&f);
    }
    assert_true(stale > 0);
}

/* The last block, in a recycled segment, is torn: what is under it and behind it is old. */
static void a_torn_block_over_older_ones_is_the_end_of_the_log(void **state)
{
    struct fixture *f = *state;
    start(f);
    uint64_t last = commit_and_release(f, 1, 6 * BLOCKS + 2);
    commit_blocks(f, last + 1, last + 2);
    stop(f);
    flip(f, 7, 4 * WAL_ALIGN + 200);
    start(f);
    assert_seen(f, 6 * BLOCKS + 1, last + 1);
    commit_blocks(f, last + 2, last + 2);
    stop(f);
    start(f);
    assert_seen(f, 6 * BLOCKS + 1, last + 2);
    stop(f);
}

static void a_damaged_block_in_a_recycled_segment_is_damage(void **state)
{
    struct fixture *f = *state;
    start(f);
    uint64_t last = commit_and_release(f, 1, 6 * BLOCKS + 2);
    commit_blocks(f, last + 1, last + 3);
    stop(f);
    flip(f, 7, 3 * WAL_ALIGN + 200);
    assert_int_equal(start_mutated(f, 0), ERROR_CORRUPT);
}

static void what_reads_the_log_begins_where_it_begins(void **state)
{
    struct fixture *f = *state;
    struct wal_replay_stats stats;
    struct log_seen seen = {0};
    start(f);
    uint64_t last = commit_and_release(f, 1, 6 * BLOCKS + 2);
    struct wal_read_options reading = {
        .io = f->io, .first_segment = WAL_FIRST_FOUND, .each = log_seen_add, .arg = &seen};
    assert_int_equal(wal_read(&reading, &stats), 0);
    assert_non_null(log_seen_find(&seen, last));
    assert_null(log_seen_find(&seen, 1));
    reading.first_segment = 0;
    assert_int_equal(wal_read(&reading, &stats), ERROR_CORRUPT);
    log_seen_destroy(&seen);
    stop(f);
}

/* While the log is read, what it is about to come to is given up. */
struct late_reader {
    struct fixture *f;
    bool done;
};

static int release_meanwhile(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct late_reader *reader = arg;
    (void)ts;
    (void)body;
    (void)size;
    if (!reader->done)
        release(reader->f, 4);
    reader->done = true;
    return 0;
}

static void a_segment_that_goes_while_the_log_is_read_is_not_called_damage(void **state)
{
    struct fixture *f = *state;
    struct wal_replay_stats stats;
    struct late_reader reader = {.f = f};
    start(f);
    commit_blocks(f, 1, 4 * BLOCKS);
    const struct wal_read_options reading = {
        .io = f->io, .each = release_meanwhile, .arg = &reader};
    assert_int_equal(wal_read(&reading, &stats), ERROR_BUSY);
    assert_true(reader.done);
    stop(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
    const struct CMUnitTest tests[] = {
        TEST(the_oldest_segment_with_a_newer_record_is_the_first_needed),
        TEST(what_was_released_is_gone_and_the_log_begins_behind_it),
        TEST(segments_of_earlier_incarnations_are_released_too),
        TEST(segments_below_the_first_are_left_over_and_go),
        TEST(a_log_without_its_first_segment_is_damaged),
        TEST(a_beginning_that_nobody_recorded_is_damage),
        TEST(a_bad_first_block_of_the_log_is_damage),
        cmocka_unit_test(the_log_never_begins_at_what_is_not_durable),
        cmocka_unit_test(if_it_did_a_lost_block_would_pass_for_damage),
        TEST(a_segment_that_was_passed_over_is_never_the_first),
        TEST(the_current_segment_is_the_last_that_can_be_asked_for),
        TEST(a_log_that_has_failed_gives_nothing_up),
        TEST(segments_are_recycled_and_few_are_kept),
        cmocka_unit_test(blocks_that_a_recycled_segment_still_has_stay_dead),
        cmocka_unit_test(they_would_come_back_if_nobody_looked_whose_they_are),
        TEST(a_torn_block_over_older_ones_is_the_end_of_the_log),
        TEST(a_damaged_block_in_a_recycled_segment_is_damage),
        TEST(what_reads_the_log_begins_where_it_begins),
        TEST(a_segment_that_goes_while_the_log_is_read_is_not_called_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
