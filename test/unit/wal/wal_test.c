/* SPDX-License-Identifier: Apache-2.0 */
/* The log from outside: what is committed comes back, at every level, of every size, over segments
 * and restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/diag.h"
#include "base/error.h"
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal.h"
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
    disk_offer_direct(f->disk, true);
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

static void start(struct fixture *f)
{
    log_seen_destroy(&f->seen);
    int rc = wal_open(&f->options, log_seen_add, &f->seen, &f->stats, &f->wal);
    if (rc != 0)
        print_message("%s\n", diag_message_for(rc));
    assert_int_equal(rc, 0);
    assert_int_equal(wal_buffer_open(f->wal, &f->buffer), 0);
    log_seen_sort(&f->seen);
}

static void stop(struct fixture *f)
{
    wal_buffer_close(f->buffer);
    assert_int_equal(wal_close(f->wal), 0);
}

static uint64_t commit(struct fixture *f, uint64_t id, size_t size)
{
    uint64_t ts;
    assert_int_equal(log_commit(f->wal, f->buffer, id, size, &ts), 0);
    return ts;
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

static void an_empty_directory_is_an_empty_log(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(f->stats.records, 0);
    assert_int_equal(f->stats.clock, 0);
    assert_int_equal(wal_clock(f->wal), 0);
    stop(f);
    start(f);
    assert_int_equal(f->stats.records, 0);
    stop(f);
}

static void what_was_committed_comes_back_after_a_restart(void **state)
{
    struct fixture *f = *state;
    start(f);
    uint64_t ts = 0;
    for (uint64_t id = 1; id <= 100; id++)
        ts = commit(f, id, 8 + id);
    assert_int_equal(wal_wait(f->wal, ts), 0);
    assert_true(wal_durable_ts(f->wal) >= ts);
    stop(f);
    start(f);
    assert_seen(f, 1, 100);
    for (size_t i = 0; i < f->seen.count; i++)
        assert_int_equal(f->seen.items[i].ts, i + 1);
    assert_int_equal(f->stats.last_ts, ts);
    assert_int_equal(wal_clock(f->wal), ts);
    assert_int_equal(wal_durable_ts(f->wal), ts);
    stop(f);
}

static void power_off_and_on(struct fixture *f)
{
    disk_cut(f->disk, 3);
    io_delete(f->io);
    f->io = f->options.io = disk_io(f->disk);
}

static void closing_makes_durable_what_nobody_waited_for(void **state)
{
    struct fixture *f = *state;
    for (int level = WAL_DURABILITY_NONE; level <= WAL_DURABILITY_COMMIT; level++) {
        f->options.durability = (enum wal_durability)level;
        start(f);
        uint64_t before = f->seen.count;
        commit(f, before + 1, 20);
        commit(f, before + 2, 20);
        stop(f);
        power_off_and_on(f);
    }
    start(f);
    assert_seen(f, 1, 6);
    stop(f);
}

static _Atomic bool writer_idle;

static void idle_until_closing(struct wal *wal)
{
    unsigned turn = 0;
    store_release(&writer_idle, true);
    while (!load_acquire(&wal->closing))
        spin_wait(&turn);
}

/* The log is written to and closed while the log writer has just looked and found nothing to do. */
static void closing_makes_durable_what_the_log_writer_has_not_seen_yet(void **state)
{
    struct fixture *f = *state;
    for (int level = WAL_DURABILITY_NONE; level <= WAL_DURABILITY_COMMIT; level++) {
        unsigned turn = 0;
        f->options.durability = (enum wal_durability)level;
        start(f);
        uint64_t before = f->seen.count;
        store_release(&writer_idle, false);
        store_release(&f->wal->found_nothing, idle_until_closing);
        wal_kick(f->wal);
        while (!load_acquire(&writer_idle))
            spin_wait(&turn);
        commit(f, before + 1, 20);
        stop(f);
        power_off_and_on(f);
    }
    start(f);
    assert_seen(f, 1, 3);
    stop(f);
}

static void a_body_of_any_size_travels_whole(void **state)
{
    static const size_t sizes[] = {8,    9,    15,    16,     17,     4095, 8175,
                                   8176, 8177, 16384, 100000, 300000, 8,    1000000};
    struct fixture *f = *state;
    start(f);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        commit(f, 1000 + i, sizes[i]);
    assert_int_equal(wal_wait(f->wal, wal_clock(f->wal)), 0);
    stop(f);
    start(f);
    assert_seen(f, 1000, 1000 + sizeof(sizes) / sizeof(sizes[0]) - 1);
    for (size_t i = 0; i < f->seen.count; i++)
        assert_int_equal(f->seen.items[i].size, sizes[i]);
    stop(f);
}

/* Alone in their epochs their memory is the block; several of one epoch, and with small ones between
 * them, are copied. Reservations that are not used, or not wholly, are no matter. */
static void large_records_are_built_where_they_stay(void **state)
{
    static const size_t sizes[] = {9000, 100000, 9001, 8, 5 << 20, 8190, 8, 70000};
    enum { COUNT = sizeof(sizes) / sizeof(sizes[0]), ROUNDS = 3 };
    struct fixture *f = *state;
    uint64_t id = 0;
    for (int level = WAL_DURABILITY_NONE; level <= WAL_DURABILITY_COMMIT; level++) {
        f->options.durability = (enum wal_durability)level;
        start(f);
        for (unsigned round = 0; round < ROUNDS; round++)
            for (unsigned n = 0; n < COUNT; n++, id++) {
                assert_int_equal(wal_reserve(f->buffer, sizes[n] + round * 100), 0);
                assert_int_equal(wal_reserved_body(f->buffer) != NULL, sizes[n] > 8);
                commit(f, id, sizes[n]);
                if (round > 0)
                    assert_int_equal(wal_wait(f->wal, wal_clock(f->wal)), 0);
            }
        assert_int_equal(wal_reserve(f->buffer, 1 << 20), 0); /* never used */
        stop(f);
    }
    start(f);
    assert_seen(f, 0, id - 1);
    for (size_t i = 0; i < f->seen.count; i++)
        assert_int_equal(f->seen.items[i].size, sizes[i % COUNT]);
    stop(f);
}

static void a_record_may_be_smaller_than_its_reservation(void **state)
{
    struct fixture *f = *state;
    unsigned char body[64];
    start(f);
    assert_int_equal(wal_reserve(f->buffer, 6 << 20), 0);
    wal_begin(f->buffer);
    log_body(body, 1, sizeof(body));
    wal_append(f->buffer, wal_clock_next(f->wal), body, sizeof(body));
    wal_end(f->buffer);
    stop(f);
    start(f);
    assert_seen(f, 1, 1);
    stop(f);
}

static void an_empty_body_is_a_record(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(wal_reserve(f->buffer, 0), 0);
    wal_begin(f->buffer);
    wal_append(f->buffer, wal_clock_next(f->wal), NULL, 0);
    wal_end(f->buffer);
    stop(f);
    start(f);
    assert_int_equal(f->seen.count, 1);
    assert_int_equal(f->seen.items[0].size, 0);
    stop(f);
}

static void a_small_ring_goes_round_many_times_over_many_segments(void **state)
{
    struct fixture *f = *state;
    f->options.buffer_bytes = 4096;
    f->options.segment_bytes = 32768;
    start(f);
    for (uint64_t id = 1; id <= 2000; id++)
        commit(f, id, 8 + id * 37 % 900);
    stop(f);
    start(f);
    assert_true(f->stats.segments > 10);
    assert_seen(f, 1, 2000);
    stop(f);
}

static void several_records_may_share_one_reservation_and_timestamp(void **state)
{
    struct fixture *f = *state;
    unsigned char body[24];
    start(f);
    assert_int_equal(wal_reserve(f->buffer, 200), 0);
    wal_begin(f->buffer);
    uint64_t ts = wal_clock_next(f->wal);
    for (uint64_t id = 1; id <= 3; id++) {
        log_body(body, id, sizeof(body));
        wal_append(f->buffer, ts, body, sizeof(body));
    }
    wal_end(f->buffer);
    assert_int_equal(wal_wait(f->wal, ts), 0);
    stop(f);
    start(f);
    assert_seen(f, 1, 3);
    stop(f);
}

static void waiting_for_a_timestamp_without_a_record_ends(void **state)
{
    struct fixture *f = *state;
    for (int level = WAL_DURABILITY_NONE; level <= WAL_DURABILITY_COMMIT; level++) {
        f->options.durability = (enum wal_durability)level;
        start(f);
        assert_int_equal(wal_reserve(f->buffer, 100), 0);
        wal_begin(f->buffer);
        uint64_t ts = wal_clock_next(f->wal);
        wal_end(f->buffer);
        assert_int_equal(wal_wait(f->wal, ts), 0);
        assert_int_equal(wal_wait_durable(f->wal, ts), 0);
        assert_true(wal_durable_ts(f->wal) >= ts);
        struct wal_stats stats;
        wal_stats_get(f->wal, &stats);
        assert_int_equal(stats.blocks, 0);
        stop(f);
    }
}

static void a_record_above_the_limit_is_refused(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(wal_reserve(f->buffer, (size_t)WAL_RECORD_SIZE_MAX + 1), ERROR_TOO_LARGE);
    stop(f);
}

static void there_are_as_many_buffers_as_asked_for(void **state)
{
    struct fixture *f = *state;
    f->options.buffer_max = 2;
    start(f);
    struct wal_buffer *second, *third;
    assert_int_equal(wal_buffer_open(f->wal, &second), 0);
    assert_int_equal(wal_buffer_open(f->wal, &third), ERROR_INVALID);
    uint64_t ts;
    assert_int_equal(log_commit(f->wal, second, 1, 30, &ts), 0);
    wal_buffer_close(second);
    assert_int_equal(wal_buffer_open(f->wal, &third), 0);
    assert_int_equal(log_commit(f->wal, third, 2, 30, &ts), 0);
    wal_buffer_close(third);
    stop(f);
    start(f);
    assert_seen(f, 1, 2);
    stop(f);
}

static void under_commit_a_reply_waits_until_the_record_is_durable(void **state)
{
    struct fixture *f = *state;
    start(f);
    uint64_t ts = commit(f, 1, 50);
    assert_int_equal(wal_wait(f->wal, ts), 0);
    disk_cut(f->disk, 1);
    wal_buffer_close(f->buffer);
    wal_close(f->wal);
    io_delete(f->io);
    f->io = f->options.io = disk_io(f->disk);
    start(f);
    assert_seen(f, 1, 1);
    stop(f);
}

/* Rule 6: what the operating system has survives the process. A log that is given up without
 * closing stands for that. */
static void under_interval_a_reply_waits_until_the_record_is_with_the_system(void **state)
{
    struct fixture *f = *state;
    f->options.durability = WAL_DURABILITY_INTERVAL;
    f->options.flush_interval_ms = 1000000;
    start(f);
    uint64_t ts = commit(f, 1, 50);
    assert_int_equal(wal_visible_ts(f->wal), ts);
    assert_int_equal(wal_wait(f->wal, ts), 0);
    assert_true(wal_durable_ts(f->wal) < ts);
    struct log_seen seen = {0};
    struct wal_replay_stats stats;
    assert_int_equal(
        wal_read(&(struct wal_read_options){.io = f->io, .each = log_seen_add, .arg = &seen},
                 &stats),
        0);
    assert_int_equal(seen.count, 1);
    log_seen_destroy(&seen);
    assert_int_equal(wal_wait_durable(f->wal, ts), 0);
    assert_int_equal(wal_durable_ts(f->wal), ts);
    stop(f);
}

/* What waits for the interval before does not wait for it any more. */
static void a_shorter_interval_counts_at_once(void **state)
{
    (void)state;
    struct fixture *f = *state;
    struct wal_stats stats;
    f->options.durability = WAL_DURABILITY_INTERVAL;
    f->options.flush_interval_ms = 1000000;
    start(f);
    uint64_t ts = commit(f, 1, 50);
    assert_int_equal(wal_wait(f->wal, ts), 0);
    assert_true(wal_durable_ts(f->wal) < ts);
    wal_stats_get(f->wal, &stats);
    assert_int_equal(stats.flush_ns, 0);
    wal_flush_interval_set(f->wal, 1);
    while (wal_durable_ts(f->wal) < ts)
        sched_yield();
    wal_stats_get(f->wal, &stats);
    assert_true(stats.flush_ns > 0 && stats.flushes > 0);
    stop(f);
}

static void what_is_wanted_on_stable_storage_gets_there_with_nobody_waiting(void **state)
{
    struct fixture *f = *state;
    f->options.durability = WAL_DURABILITY_INTERVAL;
    f->options.flush_interval_ms = 1000000;
    start(f);
    uint64_t ts = commit(f, 1, 50);
    wal_want_durable(f->wal, ts);
    while (wal_durable_ts(f->wal) < ts)
        sched_yield();
    wal_want_durable(f->wal, ts); /* it is there */
    stop(f);
}

static void under_none_a_reply_does_not_wait_and_the_record_still_gets_written(void **state)
{
    struct fixture *f = *state;
    f->options.durability = WAL_DURABILITY_NONE;
    f->options.flush_interval_ms = 1;
    start(f);
    uint64_t ts = commit(f, 1, 50);
    assert_int_equal(wal_reply_ts(f->wal), ts);
    assert_int_equal(wal_visible_ts(f->wal), ts);
    while (wal_durable_ts(f->wal) < ts) /* by itself */
        sched_yield();
    stop(f);
    start(f);
    assert_seen(f, 1, 1);
    stop(f);
}

static void reading_a_running_log_gives_what_is_durable(void **state)
{
    struct fixture *f = *state;
    start(f);
    for (uint64_t id = 1; id <= 50; id++) {
        assert_int_equal(wal_wait(f->wal, commit(f, id, 100)), 0);
        struct log_seen seen = {0};
        struct wal_replay_stats stats;
        assert_int_equal(
            wal_read(&(struct wal_read_options){.io = f->io, .each = log_seen_add, .arg = &seen},
                     &stats),
            0);
        assert_int_equal(seen.count, id);
        assert_int_equal(stats.last_ts, wal_durable_ts(f->wal));
        log_seen_destroy(&seen);
    }
    stop(f);
}

static void what_replay_answers_ends_the_opening(void **state)
{
    struct fixture *f = *state;
    start(f);
    for (uint64_t id = 1; id <= 10; id++)
        commit(f, id, 100);
    stop(f);
    log_seen_destroy(&f->seen);
    f->seen.fail_at = 5;
    assert_int_equal(wal_open(&f->options, log_seen_add, &f->seen, &f->stats, &f->wal),
                     ERROR_CANCELLED);
    assert_int_equal(f->seen.count, 4);
    f->seen.fail_at = 0;
    start(f);
    assert_seen(f, 1, 10);
    stop(f);
}

static void restarts_add_up(void **state)
{
    struct fixture *f = *state;
    for (uint64_t round = 0; round < 20; round++) {
        start(f);
        assert_int_equal(f->seen.count, round * 10);
        for (uint64_t id = 1; id <= 10; id++)
            commit(f, round * 10 + id, 300);
        stop(f);
    }
    start(f);
    assert_seen(f, 1, 200);
    for (size_t i = 1; i < f->seen.count; i++)
        assert_true(f->seen.items[i].ts > f->seen.items[i - 1].ts);
    stop(f);
}

static void large_blocks_are_compressed_and_come_back(void **state)
{
    struct fixture *f = *state;
    struct wal_stats stats;
    f->options.compression = true;
    f->options.buffer_bytes = 1 << 20;
    f->options.segment_bytes = 8 << 20;
    for (uint64_t life = 0; life < 3; life++) {
        start(f);
        assert_int_equal(f->seen.count, life * 40);
        uint64_t ts = 0;
        for (uint64_t id = 1; id <= 40; id++)
            ts = commit(f, life * 40 + id, id % 7 == 0 ? 700000 : id * 1000);
        assert_int_equal(wal_wait(f->wal, ts), 0);
        wal_stats_get(f->wal, &stats);
        assert_true(stats.compressed_from > 1000000);
        assert_true(stats.compressed_to < stats.compressed_from * 3 / 4);
        assert_true(stats.bytes < stats.compressed_from);
        stop(f);
    }
    f->options.compression = false; /* what is compressed is read whatever is set */
    start(f);
    assert_seen(f, 1, 120);
    stop(f);
}

/* Of the ring's whole pages. */
static size_t ring_pages_present(const struct fixture *f)
{
    unsigned char present[(1 << 20) / 4096];
    uintptr_t begin = ((uintptr_t)f->buffer->ring + 4095) & ~(uintptr_t)4095;
    uintptr_t end = ((uintptr_t)f->buffer->ring + (1 << 20)) & ~(uintptr_t)4095;
    assert_int_equal(mincore((void *)begin, end - begin, present), 0);
    size_t count = 0;
    for (size_t i = 0; i < (end - begin) / 4096; i++)
        count += present[i] & 1;
    return count;
}

static void a_ring_that_is_trimmed_keeps_what_has_not_been_taken(void **state)
{
    struct fixture *f = *state;
    f->options.durability = WAL_DURABILITY_INTERVAL;
    f->options.buffer_bytes = 1 << 20;
    f->options.segment_bytes = 8 << 20;
    start(f);
    for (uint64_t id = 1; id <= 450; id++) /* less than half of the ring: nobody takes it yet */
        commit(f, id, 1000);
    wal_buffer_trim(f->buffer);
    stop(f);
    start(f);
    assert_seen(f, 1, 450);
    stop(f);
}

static void a_ring_that_is_trimmed_when_all_has_been_taken_has_no_memory_and_goes_on(void **state)
{
    struct fixture *f = *state;
    f->options.buffer_bytes = 1 << 20;
    f->options.segment_bytes = 8 << 20;
    start(f);
    for (uint64_t round = 0; round < 3; round++) {
        uint64_t ts = 0;
        for (uint64_t id = 1; id <= 2000; id++)
            ts = commit(f, round * 2000 + id, 1000);
        assert_int_equal(wal_wait(f->wal, ts), 0);
        assert_true(ring_pages_present(f) > 0);
        wal_buffer_trim(f->buffer);
        assert_int_equal(ring_pages_present(f), 0);
    }
    stop(f);
    start(f);
    assert_seen(f, 1, 6000);
    stop(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_directory_is_an_empty_log),
        TEST(what_was_committed_comes_back_after_a_restart),
        TEST(closing_makes_durable_what_nobody_waited_for),
        TEST(closing_makes_durable_what_the_log_writer_has_not_seen_yet),
        TEST(a_body_of_any_size_travels_whole),
        TEST(large_records_are_built_where_they_stay),
        TEST(a_record_may_be_smaller_than_its_reservation),
        TEST(an_empty_body_is_a_record),
        TEST(a_small_ring_goes_round_many_times_over_many_segments),
        TEST(several_records_may_share_one_reservation_and_timestamp),
        TEST(waiting_for_a_timestamp_without_a_record_ends),
        TEST(a_record_above_the_limit_is_refused),
        TEST(there_are_as_many_buffers_as_asked_for),
        TEST(under_commit_a_reply_waits_until_the_record_is_durable),
        TEST(under_interval_a_reply_waits_until_the_record_is_with_the_system),
        TEST(a_shorter_interval_counts_at_once),
        TEST(what_is_wanted_on_stable_storage_gets_there_with_nobody_waiting),
        TEST(under_none_a_reply_does_not_wait_and_the_record_still_gets_written),
        TEST(reading_a_running_log_gives_what_is_durable),
        TEST(what_replay_answers_ends_the_opening),
        TEST(restarts_add_up),
        TEST(large_blocks_are_compressed_and_come_back),
        TEST(a_ring_that_is_trimmed_keeps_what_has_not_been_taken),
        TEST(a_ring_that_is_trimmed_when_all_has_been_taken_has_no_memory_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
