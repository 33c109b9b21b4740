/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever wants little written while the log writer sleeps writes it himself (wal_write_now): when that is
 * so, when not, and what the log writer is left with (rule 2: one thread writes at any time). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal_internal.h"

struct fixture {
    struct disk *disk;
    struct io *io;
    struct wal_options options;
    struct wal *wal;
    struct wal_buffer *buffer, *other;
    struct log_seen seen;
    uint64_t last_id;
};

static int create(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->disk = disk_new(log_seed());
    f->io = disk_io(f->disk);
    f->options = log_options(f->io);
    f->options.durability = WAL_DURABILITY_INTERVAL;
    f->options.segment_bytes = 1 << 20;
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

static void start(struct fixture *f, unsigned mutations)
{
    struct wal_replay_stats stats;
    log_seen_destroy(&f->seen);
    assert_int_equal(wal__open(&f->options, mutations, log_seen_add, &f->seen, &stats, &f->wal), 0);
    assert_int_equal(wal_buffer_open(f->wal, &f->buffer), 0);
    assert_int_equal(wal_buffer_open(f->wal, &f->other), 0);
    log_seen_sort(&f->seen);
}

/* Until the log writer has nothing to do, nothing is on its way to it, and the next segment, whose thread takes the mutex,
 * is ready; no write counts as slow from now on. */
static void sleep_await(struct fixture *f)
{
    struct wal *wal = f->wal;
    for (unsigned turn = 0;; spin_wait(&turn)) {
        pthread_mutex_lock(&wal->mutex);
        wal->stand_in_slow_ns = UINT64_MAX;
        wal->stand_in_ns = 0;
        bool sleeps = load_seq_cst(&wal->sleeping) == WAL_SLEEPING &&
                      load_seq_cst(&wal->kicked) == 0 && wal->epoch_first == wal->epoch_next &&
                      wal->prepared != NULL && wal->prepare_bytes_min == 0;
        pthread_mutex_unlock(&wal->mutex);
        if (sleeps)
            return;
    }
}

static int stop(struct fixture *f)
{
    wal_buffer_close(f->buffer);
    wal_buffer_close(f->other);
    return wal_close(f->wal);
}

static uint64_t commit(struct fixture *f, struct wal_buffer *buffer, size_t size)
{
    uint64_t ts;
    assert_int_equal(log_commit(f->wal, buffer, ++f->last_id, size, &ts), 0);
    return ts;
}

static uint64_t stood_in(const struct fixture *f)
{
    struct wal_stats stats;
    wal_stats_get(f->wal, &stats);
    return stats.stood_in;
}

static void written_await(const struct fixture *f, uint64_t ts)
{
    for (unsigned turn = 0; wal_reply_ts(f->wal) < ts; spin_wait(&turn))
        assert_false(wal_failed(f->wal));
}

static void assert_all_seen(struct fixture *f)
{
    start(f, 0);
    assert_int_equal(f->seen.count, f->last_id);
    for (uint64_t id = 1; id <= f->last_id; id++) {
        const struct log_record *record = log_seen_find(&f->seen, id);
        assert_true(record != NULL && record->whole);
    }
    assert_int_equal(stop(f), 0);
}

/* The log writer may be about to wake up, since something has been written that it is to flush: then once more. */
static void stand_in(struct fixture *f, struct wal_buffer *buffer, size_t size)
{
    uint64_t before = stood_in(f);
    while (stood_in(f) == before) {
        sleep_await(f);
        uint64_t ts = commit(f, buffer, size);
        wal_write_now(f->wal);
        written_await(f, ts);
    }
    assert_int_equal(stood_in(f), before + 1);
}

static void while_the_log_writer_sleeps_who_waits_writes(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    for (unsigned n = 1; n <= 100; n++)
        stand_in(f, n % 2 ? f->buffer : f->other, 8 + n);
    assert_int_equal(stop(f), 0);
    assert_all_seen(f);
}

static void with_nothing_to_write_nobody_writes(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    sleep_await(f);
    wal_write_now(f->wal);
    assert_int_equal(stood_in(f), 0);
    assert_int_equal(stop(f), 0);
}

static void who_waits_for_the_disk_or_for_nothing_leaves_it_to_the_log_writer(void **state)
{
    static const enum wal_durability levels[] = {WAL_DURABILITY_COMMIT, WAL_DURABILITY_NONE};
    struct fixture *f = *state;
    for (unsigned n = 0; n < 2; n++) {
        f->options.durability = levels[n];
        start(f, 0);
        sleep_await(f);
        uint64_t ts = commit(f, f->buffer, 20);
        wal_write_now(f->wal);
        written_await(f, ts);
        assert_int_equal(stood_in(f), 0);
        assert_int_equal(stop(f), 0);
    }
    assert_all_seen(f);
}

static void much_is_left_to_the_log_writer(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    sleep_await(f);
    uint64_t ts = commit(f, f->buffer, WAL_STAND_IN_BYTES + 1);
    wal_write_now(f->wal);
    written_await(f, ts);
    assert_int_equal(stood_in(f), 0);
    assert_int_equal(stop(f), 0);
    assert_all_seen(f);
}

/* Who has begun may leave a large record, for which whoever ends the epoch waits. */
static void who_is_committing_leaves_it_to_the_log_writer(void **state)
{
    struct fixture *f = *state;
    unsigned char body[8];
    start(f, 0);
    sleep_await(f);
    uint64_t ts = commit(f, f->buffer, 20);
    assert_int_equal(wal_reserve(f->other, sizeof(body)), 0);
    wal_begin(f->other);
    wal_write_now(f->wal);
    log_body(body, ++f->last_id, sizeof(body));
    wal_append(f->other, wal_clock_next(f->wal), body, sizeof(body));
    wal_end(f->other);
    wal_kick(f->wal);
    written_await(f, ts + 1);
    assert_int_equal(stood_in(f), 0);
    assert_int_equal(stop(f), 0);
    assert_all_seen(f);
}

/* Segments are full sooner or later, and the next one is waited for by the log writer. */
static void the_next_segment_is_the_log_writers(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    for (unsigned n = 0; n < 400; n++) {
        sleep_await(f);
        uint64_t ts = commit(f, f->buffer, WAL_STAND_IN_BYTES / 2);
        uint64_t room = f->wal->current->bytes - f->wal->current->used, before = stood_in(f);
        wal_write_now(f->wal);
        assert_true(room >= WAL_STAND_IN_ROOM_BYTES || stood_in(f) == before);
        written_await(f, ts);
    }
    struct wal_stats stats;
    wal_stats_get(f->wal, &stats);
    assert_true(stats.segments > 2 && stats.stood_in > 0);
    assert_int_equal(stop(f), 0);
    assert_all_seen(f);
}

/* Nobody asks for it. */
static void a_flush_comes_behind_it(void **state)
{
    struct fixture *f = *state;
    f->options.flush_interval_ms = 1;
    start(f, 0);
    sleep_await(f);
    uint64_t ts = commit(f, f->buffer, 20);
    wal_write_now(f->wal);
    assert_int_equal(stood_in(f), 1);
    for (unsigned turn = 0; wal_durable_ts(f->wal) < ts; spin_wait(&turn))
        ;
    assert_int_equal(stop(f), 0);
}

static void durable_await(const struct fixture *f, uint64_t ts)
{
    for (unsigned turn = 0; wal_durable_ts(f->wal) < ts; spin_wait(&turn))
        assert_false(wal_failed(f->wal));
}

/* A little each time, until it is much; returns the timestamp of the first. */
static uint64_t write_much(struct fixture *f)
{
    uint64_t first_ts = 0;
    for (unsigned bytes = 0; bytes < WAL_FLUSH_BYTES; bytes += WAL_STAND_IN_BYTES / 2) {
        sleep_await(f);
        uint64_t ts = commit(f, f->buffer, WAL_STAND_IN_BYTES / 2);
        wal_write_now(f->wal);
        written_await(f, ts);
        first_ts = first_ts == 0 ? ts : first_ts;
    }
    return first_ts;
}

static void much_is_flushed_before_the_interval_is_over(void **state)
{
    struct fixture *f = *state;
    f->options.flush_interval_ms = 3600 * 1000;
    f->options.segment_bytes = 4 << 20;
    start(f, 0);
    sleep_await(f);
    uint64_t ts = commit(f, f->buffer, WAL_FLUSH_BYTES);
    wal_write_now(f->wal);
    durable_await(f, ts);
    durable_await(f, write_much(f));
    assert_true(stood_in(f) > 0);
    assert_int_equal(stop(f), 0);
    assert_all_seen(f);
}

/* Flushes hold up those who write. */
static void but_not_soon_behind_a_flush_that_took_long(void **state)
{
    struct fixture *f = *state;
    struct wal_stats before, after;
    f->options.flush_interval_ms = 3600 * 1000;
    f->options.segment_bytes = 4 << 20;
    start(f, 0);
    uint64_t began_ns = clock_monotonic_ns(clock_system());
    durable_await(f, write_much(f));
    sleep_await(f);
    wal_stats_get(f->wal, &before);
    pthread_mutex_lock(&f->wal->mutex);
    assert_true(f->wal->flush_rested_ns > began_ns + WAL_FLUSH_REST * before.flush_ns);
    f->wal->flush_rested_ns = UINT64_MAX; /* it is as if it had taken for ever */
    pthread_mutex_unlock(&f->wal->mutex);
    uint64_t ts = write_much(f);
    sleep_await(f);
    wal_stats_get(f->wal, &after);
    assert_int_equal(after.flushes, before.flushes);
    assert_true(wal_durable_ts(f->wal) < ts);
    assert_int_equal(stop(f), 0);
    assert_all_seen(f);
}

/* There is more to write whenever something has been written. */
static struct {
    struct fixture *f;
    uint64_t first_ts;
    unsigned late; /* blocks that were begun when a flush was due, or wanted */
} flood;

static bool flush_waits(const struct wal *wal)
{
    uint64_t durable = wal_durable_ts(wal), written = wal_reply_ts(wal);
    uint64_t wanted = load_seq_cst(&wal->flush_wanted);
    uint64_t due_ns = wal->flush_from_ns + load_relaxed(&wal->flush_interval_ns);
    return written > durable && (clock_monotonic_ns(clock_system()) >= due_ns ||
                                 (wanted > durable && wanted <= written));
}

static void flood_go_on(struct wal *wal)
{
    flood.late += flush_waits(wal);
    if (wal_durable_ts(wal) >= flood.first_ts || flood.late > 100) {
        wal->clock_read = NULL;
        return;
    }
    commit(flood.f, flood.f->other, 20);
    wal_kick(wal);
}

static void flood_begin(struct fixture *f, unsigned interval_ms)
{
    f->options.flush_interval_ms = interval_ms;
    f->options.segment_bytes = 4 << 20;
    start(f, 0);
    sleep_await(f);
    flood.f = f;
    flood.late = 0;
    flood.first_ts = commit(f, f->buffer, 20);
    f->wal->clock_read = flood_go_on;
    wal_kick(f->wal);
}

/* One may have become due behind the look. */
static void flood_end(struct fixture *f)
{
    sleep_await(f);
    assert_in_range(flood.late, 0, 1);
    assert_int_equal(stop(f), 0);
    assert_all_seen(f);
}

static void a_flush_does_not_wait_until_there_is_nothing_to_write(void **state)
{
    struct fixture *f = *state;
    flood_begin(f, 1);
    durable_await(f, flood.first_ts);
    flood_end(f);
}

static void nor_does_one_that_somebody_waits_for(void **state)
{
    struct fixture *f = *state;
    flood_begin(f, 3600 * 1000);
    assert_int_equal(wal_wait_durable(f->wal, flood.first_ts), 0);
    flood_end(f);
}

static void a_write_that_fails_is_told_to_all(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    uint64_t good = commit(f, f->buffer, 20);
    assert_int_equal(wal_wait_durable(f->wal, good), 0);
    sleep_await(f);
    uint64_t bad = commit(f, f->buffer, 20);
    disk_fail_nth_of(f->disk, DISK_QUEUE_WAIT, 1, 28);
    wal_write_now(f->wal);
    assert_int_equal(wal_wait(f->wal, bad), ERROR_UNKNOWN_OUTCOME);
    assert_true(wal_failed(f->wal));
    assert_int_equal(wal_reply_ts(f->wal), good);
    assert_int_equal(wal_reserve(f->buffer, 10), ERROR_LOG_FAILED);
    wal_write_now(f->wal);
    assert_int_equal(stop(f), ERROR_LOG_FAILED);
}

/* ------------------------------------------------------------------------- while somebody stands in */

static struct {
    struct fixture *f;
    _Atomic unsigned cutting; /* how many end an epoch */
    uint64_t ts;              /* committed meanwhile */
} meanwhile;

static void meanwhile_commit(struct wal *wal)
{
    wal->clock_read = NULL;
    meanwhile.ts = commit(meanwhile.f, meanwhile.f->other, 30);
    wal_kick(wal);
}

/* Which the cut has just missed. */
static void what_is_asked_for_meanwhile_is_written_by_the_log_writer(void **state)
{
    struct fixture *f = *state;
    meanwhile.f = f;
    start(f, 0);
    sleep_await(f);
    f->wal->clock_read = meanwhile_commit;
    uint64_t ts = commit(f, f->buffer, 20);
    wal_write_now(f->wal);
    assert_true(meanwhile.ts > ts);
    written_await(f, meanwhile.ts);
    assert_int_equal(stood_in(f), 1);
    assert_int_equal(stop(f), 0);
    assert_all_seen(f);
}

static void meanwhile_slow(struct wal *wal)
{
    uint64_t began_ns = clock_monotonic_ns(clock_system());
    wal->clock_read = NULL;
    while (clock_monotonic_ns(clock_system()) <= began_ns + WAL_STAND_IN_SLOW_NS)
        ;
    wal->stand_in_slow_ns = WAL_STAND_IN_SLOW_NS;
}

static void who_took_long_is_the_last_for_a_while(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    sleep_await(f);
    f->wal->clock_read = meanwhile_slow;
    uint64_t before_ns = clock_monotonic_ns(clock_system());
    commit(f, f->buffer, 20);
    wal_write_now(f->wal);
    assert_true(f->wal->stand_in_ns >= before_ns + WAL_STAND_IN_REST_NS);
    sleep_await(f);
    f->wal->stand_in_ns = UINT64_MAX;
    uint64_t ts = commit(f, f->buffer, 20);
    wal_write_now(f->wal);
    written_await(f, ts);
    assert_int_equal(stood_in(f), 1);
    assert_int_equal(stop(f), 0);
    assert_all_seen(f);
}

/* Holds who stands in until the log writer, which has been woken with something to do, ends an epoch as well or waits. */
static void meanwhile_wake(struct wal *wal)
{
    if (atomic_fetch_add(&meanwhile.cutting, 1) != 0)
        _exit(1);
    commit(meanwhile.f, meanwhile.f->other, 30);
    wal_kick(wal);
    for (unsigned turn = 0;; spin_wait(&turn)) {
        pthread_mutex_lock(&wal->mutex);
        pthread_cond_signal(&wal->wake);
        bool waits = wal->awaited && !(wal->mutations & WAL_MUTATION_TWO_WRITERS);
        pthread_mutex_unlock(&wal->mutex);
        if (waits)
            break;
    }
    wal->clock_read = NULL;
}

/* In a process of its own, of which nothing may be left. */
static int two_write(struct fixture *f, unsigned mutations)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(250); /* rather than hanging for ever */
        meanwhile.f = f;
        start(f, mutations);
        sleep_await(f);
        f->wal->clock_read = meanwhile_wake;
        commit(f, f->buffer, 20);
        wal_write_now(f->wal);
        written_await(f, wal_clock(f->wal));
        _exit(stood_in(f) == 1 && stop(f) == 0 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void the_log_writer_waits_for_who_stands_in(void **state)
{
    assert_int_equal(two_write(*state, 0), 0);
}

static void if_it_did_not_two_would_write_at_a_time(void **state)
{
    assert_int_equal(two_write(*state, WAL_MUTATION_TWO_WRITERS), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
    const struct CMUnitTest tests[] = {
        TEST(while_the_log_writer_sleeps_who_waits_writes),
        TEST(with_nothing_to_write_nobody_writes),
        TEST(who_waits_for_the_disk_or_for_nothing_leaves_it_to_the_log_writer),
        TEST(much_is_left_to_the_log_writer),
        TEST(who_is_committing_leaves_it_to_the_log_writer),
        TEST(the_next_segment_is_the_log_writers),
        TEST(a_flush_comes_behind_it),
        TEST(much_is_flushed_before_the_interval_is_over),
        TEST(but_not_soon_behind_a_flush_that_took_long),
        TEST(a_flush_does_not_wait_until_there_is_nothing_to_write),
        TEST(nor_does_one_that_somebody_waits_for),
        TEST(a_write_that_fails_is_told_to_all),
        TEST(what_is_asked_for_meanwhile_is_written_by_the_log_writer),
        TEST(who_took_long_is_the_last_for_a_while),
        TEST(the_log_writer_waits_for_who_stands_in),
        TEST(if_it_did_not_two_would_write_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
