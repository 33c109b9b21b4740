/* SPDX-License-Identifier: Apache-2.0 */
/* When the disk fails: rule 7, rule 4 after a failure, and every call of the disk failing in turn.
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
    _Atomic unsigned advances;
};

static void count_advance(void *arg)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->advances, 1);
}

static void fixture_create(struct fixture *f, uint64_t seed)
{
    memset(f, 0, sizeof(*f));
    f->disk = disk_new(seed);
    f->io = disk_io(f->disk);
    f->options = log_options(f->io);
    f->options.on_advance = count_advance;
    f->options.arg = f;
}

static void fixture_destroy(struct fixture *f)
{
    log_seen_destroy(&f->seen);
    io_delete(f->io);
    disk_delete(f->disk);
}

static int create(void **state)
{
    *state = malloc(sizeof(struct fixture));
    fixture_create(*state, 7);
    return 0;
}

static int destroy(void **state)
{
    fixture_destroy(*state);
    free(*state);
    return 0;
}

static int start(struct fixture *f, unsigned mutations)
{
    log_seen_destroy(&f->seen);
    int rc = wal__open(&f->options, mutations, log_seen_add, &f->seen, &f->stats, &f->wal);
    if (rc == 0)
        assert_int_equal(wal_buffer_open(f->wal, &f->buffer), 0);
    return rc;
}

static int stop(struct fixture *f)
{
    wal_buffer_close(f->buffer);
    return wal_close(f->wal);
}

static uint64_t commit(struct fixture *f, uint64_t id)
{
    uint64_t ts = 0;
    assert_int_equal(log_commit(f->wal, f->buffer, id, 40, &ts), 0);
    return ts;
}

static void power_off_and_on(struct fixture *f, uint64_t seed)
{
    io_delete(f->io);
    disk_cut(f->disk, seed);
    f->io = f->options.io = disk_io(f->disk);
}

static void when_a_write_fails_d_freezes_and_waiters_learn_that_the_outcome_is_unknown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(start(f, 0), 0);
    uint64_t good = commit(f, 1);
    assert_int_equal(wal_wait(f->wal, good), 0);
    assert_string_equal(wal_failure(f->wal), "");
    disk_fail_nth_of(f->disk, DISK_QUEUE_WAIT, 1, 28);
    unsigned before = f->advances;
    uint64_t bad = commit(f, 2);
    assert_int_equal(wal_wait(f->wal, bad), ERROR_UNKNOWN_OUTCOME);
    assert_int_equal(wal_wait_durable(f->wal, bad), ERROR_UNKNOWN_OUTCOME);
    assert_int_equal(wal_wait(f->wal, good), 0);
    assert_true(wal_failed(f->wal));
    assert_non_null(strstr(wal_failure(f->wal), "wal-0000000000000001.log"));
    assert_int_equal(wal_reserve(f->buffer, 10), ERROR_LOG_FAILED);
    assert_int_equal(wal_durable_ts(f->wal), good);
    assert_int_equal(wal_visible_ts(f->wal), good);
    assert_int_equal(wal_reply_ts(f->wal), good);
    assert_int_equal(stop(f), ERROR_LOG_FAILED);
    assert_true(f->advances > before);
    assert_int_equal(start(f, 0), 0);
    assert_non_null(log_seen_find(&f->seen, 1));
    assert_int_equal(stop(f), 0);
}

/* It takes writes and flushes as ever, and would be gone with the process. */
static void in_a_segment_that_was_removed_nothing_becomes_durable(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(start(f, 0), 0);
    uint64_t good = commit(f, 1);
    assert_int_equal(wal_wait(f->wal, good), 0);
    assert_true(disk_vanish(f->disk, "wal-0000000000000001.log"));
    uint64_t bad = commit(f, 2);
    assert_int_equal(wal_wait_durable(f->wal, bad), ERROR_UNKNOWN_OUTCOME);
    assert_non_null(strstr(wal_failure(f->wal), "removed"));
    assert_int_equal(wal_reserve(f->buffer, 10), ERROR_LOG_FAILED);
    assert_int_equal(stop(f), ERROR_LOG_FAILED);
}

static void a_failed_write_is_not_tried_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(start(f, 0), 0);
    disk_fail_nth_of(f->disk, DISK_QUEUE_WRITE, 1, 5);
    uint64_t ts = commit(f, 1);
    assert_int_equal(wal_wait(f->wal, ts), ERROR_UNKNOWN_OUTCOME);
    uint64_t writes = disk_call_count(f->disk, DISK_QUEUE_WRITE);
    wal_kick(f->wal);
    assert_int_equal(wal_wait_durable(f->wal, ts), ERROR_UNKNOWN_OUTCOME);
    assert_int_equal(stop(f), ERROR_LOG_FAILED);
    assert_int_equal(disk_call_count(f->disk, DISK_QUEUE_WRITE), writes);
}

static void a_reservation_from_before_the_failure_still_can_not_fail(void **state)
{
    struct fixture *f = *state;
    unsigned char body[100] = {0};
    struct wal_buffer *other;
    assert_int_equal(start(f, 0), 0);
    assert_int_equal(wal_buffer_open(f->wal, &other), 0);
    assert_int_equal(wal_reserve(other, sizeof(body)), 0);
    disk_fail_nth_of(f->disk, DISK_QUEUE_WAIT, 1, 5);
    assert_int_equal(wal_wait(f->wal, commit(f, 1)), ERROR_UNKNOWN_OUTCOME);
    wal_begin(other);
    uint64_t ts = wal_clock_next(f->wal);
    wal_append(other, ts, body, sizeof(body));
    wal_end(other);
    assert_int_equal(wal_wait(f->wal, ts), ERROR_UNKNOWN_OUTCOME);
    wal_buffer_close(other);
    assert_int_equal(stop(f), ERROR_LOG_FAILED);
}

static void a_failed_flush_under_interval_and_none_freezes_too(void **state)
{
    struct fixture *f = *state;
    for (int level = WAL_DURABILITY_NONE; level <= WAL_DURABILITY_INTERVAL; level++) {
        struct wal_stats stats = {0};
        f->options.durability = (enum wal_durability)level;
        f->options.flush_interval_ms = 1000000;
        assert_int_equal(start(f, 0), 0);
        uint64_t first = f->stats.segments + 1;
        while (stats.segments < first + 1) { /* the next one is being prepared, and flushed */
            sched_yield();
            wal_stats_get(f->wal, &stats);
        }
        uint64_t durable = wal_durable_ts(f->wal);
        uint64_t ts = commit(f, 1);
        assert_int_equal(wal_wait(f->wal, ts), 0);
        disk_fail_nth_of(f->disk, DISK_SYNC, 1, 5);
        assert_int_equal(wal_wait_durable(f->wal, ts), ERROR_UNKNOWN_OUTCOME);
        assert_int_equal(wal_durable_ts(f->wal), durable);
        assert_int_equal(wal_visible_ts(f->wal), durable);
        assert_int_equal(wal_reserve(f->buffer, 10), ERROR_LOG_FAILED);
        uint64_t reply = wal_reply_ts(f->wal);
        wal_clock_next(f->wal);
        assert_int_equal(wal_reply_ts(f->wal), reply);
        assert_int_equal(stop(f), ERROR_LOG_FAILED);
    }
}

static void a_worker_that_waits_for_room_is_told_of_the_failure(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(start(f, 0), 0);
    disk_fail_nth_of(f->disk, DISK_QUEUE_WAIT, 3, 5);
    uint64_t ts;
    int rc = 0;
    for (uint64_t id = 1; rc == 0; id++)
        rc = log_commit(f->wal, f->buffer, id, 4000, &ts);
    assert_int_equal(rc, ERROR_LOG_FAILED);
    assert_int_equal(stop(f), ERROR_LOG_FAILED);
}

static void no_room_for_the_next_segment_is_a_failure_only_when_it_is_needed(void **state)
{
    struct fixture *f = *state;
    f->options.segment_bytes = 4 * WAL_ALIGN;
    disk_fail_nth_of(f->disk, DISK_ALLOCATE_ZEROS, 2, 28);
    assert_int_equal(start(f, 0), 0);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(wal_wait(f->wal, commit(f, id)), 0);
    assert_int_equal(wal_wait(f->wal, commit(f, 4)), ERROR_UNKNOWN_OUTCOME);
    assert_non_null(strstr(wal_failure(f->wal), "no new log segment"));
    assert_int_equal(stop(f), ERROR_LOG_FAILED);
    assert_int_equal(start(f, 0), 0);
    assert_int_equal(f->stats.records, 3);
    assert_int_equal(stop(f), 0);
}

/* A run of commits in which the nth call fails. Returns how many acknowledged ones are missing
 * after the power was off. */
static int lost_when_call_fails(uint64_t n, unsigned mutations, enum disk_call call, bool *failed)
{
    struct fixture f;
    uint64_t acknowledged = 0;
    fixture_create(&f, n);
    f.options.segment_bytes = 4 * WAL_ALIGN;
    if (call == DISK_CALL_MAX)
        disk_fail_nth(f.disk, n, 5);
    else
        disk_fail_nth_of(f.disk, call, n, 5);
    int rc = start(&f, mutations);
    *failed = rc != 0;
    if (rc == 0) {
        for (uint64_t id = 1; id <= 12 && acknowledged + 1 == id; id++) {
            uint64_t ts;
            if (log_commit(f.wal, f.buffer, id, 40, &ts) == 0 && wal_wait(f.wal, ts) == 0)
                acknowledged = id;
        }
        *failed = wal_failed(f.wal);
        int closed = stop(&f);
        assert_true(*failed ? closed == ERROR_LOG_FAILED
                            : closed == 0 || closed == ERROR_LOG_FAILED);
        *failed |= closed != 0;
    }
    disk_fail_nth(f.disk, 0, 0);
    power_off_and_on(&f, n);
    int lost = 0;
    rc = start(&f, 0);
    for (uint64_t id = 1; id <= acknowledged; id++)
        lost += rc != 0 || log_seen_find(&f.seen, id) == NULL;
    for (size_t i = 0; i < f.seen.count; i++)
        assert_true(f.seen.items[i].whole);
    if (rc == 0)
        assert_int_equal(stop(&f), 0);
    else
        assert_true(lost > 0 && mutations != 0);
    fixture_destroy(&f);
    return lost;
}

static void whichever_call_fails_nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 150; n++) {
        bool failed;
        assert_int_equal(lost_when_call_fails(n, 0, DISK_CALL_MAX, &failed), 0);
    }
}

static void a_log_that_went_on_after_a_failed_write_would_lose_what_it_acknowledged(void **state)
{
    (void)state;
    int lost = 0;
    for (uint64_t n = 1; n <= 12; n++) {
        bool failed;
        lost += lost_when_call_fails(n, WAL_MUTATION_GO_ON, DISK_QUEUE_WAIT, &failed);
    }
    assert_true(lost > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
    const struct CMUnitTest tests[] = {
        TEST(when_a_write_fails_d_freezes_and_waiters_learn_that_the_outcome_is_unknown),
        TEST(in_a_segment_that_was_removed_nothing_becomes_durable),
        TEST(a_failed_write_is_not_tried_again),
        TEST(a_reservation_from_before_the_failure_still_can_not_fail),
        TEST(a_failed_flush_under_interval_and_none_freezes_too),
        TEST(a_worker_that_waits_for_room_is_told_of_the_failure),
        TEST(no_room_for_the_next_segment_is_a_failure_only_when_it_is_needed),
        cmocka_unit_test(whichever_call_fails_nothing_acknowledged_is_lost),
        cmocka_unit_test(a_log_that_went_on_after_a_failed_write_would_lose_what_it_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
