/* SPDX-License-Identifier: Apache-2.0 */
/* Following the log: everything once, in order, from any position, while it is written, given up and
 * opened again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal_internal.h"

/* Blocks of one small record each are one page, so a segment of eight pages has seven. */
enum { PAGES = 8, BLOCKS = PAGES - 1, WRITERS = 4 };

struct fixture {
    struct disk *disk;
    struct io *io;
    struct wal_options options;
    struct wal *wal;
    struct wal_buffer *buffer;
    struct wal_replay_stats stats;
    uint64_t ids; /* committed so far, from 1 */
    uint64_t ts[100000];
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
    io_delete(f->io);
    disk_delete(f->disk);
    free(f);
    return 0;
}

static int pass_over(uint64_t ts, const void *body, size_t size, void *arg)
{
    (void)ts, (void)body, (void)size, (void)arg;
    return 0;
}

static void start(struct fixture *f)
{
    int rc = wal_open(&f->options, pass_over, NULL, &f->stats, &f->wal);
    if (rc != 0)
        print_message("%s\n", diag_message_for(rc));
    assert_int_equal(rc, 0);
    assert_int_equal(wal_buffer_open(f->wal, &f->buffer), 0);
}

static void stop(struct fixture *f)
{
    wal_buffer_close(f->buffer);
    assert_int_equal(wal_close(f->wal), 0);
}

static uint64_t commit(struct fixture *f, size_t size)
{
    uint64_t id = ++f->ids;
    assert_int_equal(log_commit(f->wal, f->buffer, id, size, &f->ts[id]), 0);
    return f->ts[id];
}

/* As blocks of one record each. */
static void commit_blocks(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(wal_wait_durable(f->wal, commit(f, 100)), 0);
}

static int next(struct wal_follower *follower, struct wal_follow_record *record)
{
    int rc;
    do
        rc = wal_follow_next(follower, record);
    while (rc == ERROR_BUSY);
    return rc;
}

/* The records with ids from `id` to `last` come, in this order, and whole; returns last + 1. */
static uint64_t expect(const struct fixture *f, struct wal_follower *follower, uint64_t id,
                       uint64_t last)
{
    struct wal_follow_record record;
    for (; id <= last; id++) {
        int rc = next(follower, &record);
        if (rc != 0)
            print_message("%d %s\n", rc, rc == ERROR_AGAIN ? "again" : diag_message_for(rc));
        assert_int_equal(rc, 0);
        assert_int_equal(record.ts, f->ts[id]);
        unsigned char *body = malloc(record.size + 1);
        log_body(body, id, record.size);
        assert_memory_equal(body, record.body, record.size);
        free(body);
    }
    return id;
}

static void expect_none(struct wal_follower *follower)
{
    struct wal_follow_record record;
    assert_int_equal(next(follower, &record), ERROR_AGAIN);
}

static struct wal_follower *follow(const struct fixture *f, uint64_t from)
{
    struct wal_follower *follower;
    int rc = wal_follow_open(f->wal, from, &follower);
    if (rc != 0)
        print_message("%s\n", diag_message_for(rc));
    assert_int_equal(rc, 0);
    return follower;
}

/* All segments that no recovery needs are given up. */
static void release(struct fixture *f)
{
    uint64_t first = wal_first_needed(f->wal, wal_durable_ts(f->wal));
    assert_int_equal(wal_release(f->wal, first), 0);
    wal_release_wait(f->wal);
    f->options.first_segment = first;
}

static void records_come_in_order_across_segments(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct wal_follower *follower = follow(f, 0);
    expect_none(follower);
    uint64_t id = 1;
    for (unsigned round = 0; round < 5; round++) {
        commit_blocks(f, BLOCKS - 1);
        id = expect(f, follower, id, f->ids);
        expect_none(follower);
        assert_int_equal(wal_follow_position(follower), f->ts[f->ids]);
    }
    wal_follow_close(follower);
    stop(f);
}

static void a_follower_begins_behind_any_position(void **state)
{
    struct fixture *f = *state;
    start(f);
    commit_blocks(f, 3 * BLOCKS);
    stop(f);
    start(f);
    commit_blocks(f, 2 * BLOCKS);
    for (uint64_t id = 0; id <= f->ids; id++) {
        struct wal_follower *follower = follow(f, f->ts[id]);
        assert_int_equal(wal_follow_position(follower), f->ts[id]);
        expect(f, follower, id + 1, f->ids);
        expect_none(follower);
        wal_follow_close(follower);
    }
    stop(f);
}

static void a_position_ahead_of_the_clock_is_refused(void **state)
{
    struct fixture *f = *state;
    struct wal_follower *follower;
    start(f);
    commit_blocks(f, 3);
    assert_int_equal(wal_follow_open(f->wal, f->ts[3] + 1, &follower), ERROR_INVALID);
    stop(f);
}

static void the_position_is_before_what_has_not_been_handed_over(void **state)
{
    struct fixture *f = *state;
    struct wal_follow_record record;
    start(f);
    struct wal_follower *follower = follow(f, 0);
    uint64_t last = 0;
    for (unsigned i = 0; i < 20; i++)
        last = commit(f, 50);
    assert_int_equal(wal_wait_durable(f->wal, last), 0);
    for (uint64_t id = 1; id <= 20; id++) {
        assert_int_equal(next(follower, &record), 0);
        assert_true(wal_follow_position(follower) >= f->ts[id]);
        assert_true(id == 20 || wal_follow_position(follower) < f->ts[id + 1]);
        struct wal_follower *other = follow(f, wal_follow_position(follower));
        expect(f, other, id + 1, 20);
        wal_follow_close(other);
    }
    wal_follow_close(follower);
    stop(f);
}

static void what_is_not_durable_is_not_handed_over(void **state)
{
    struct fixture *f = *state;
    f->options.durability = WAL_DURABILITY_INTERVAL;
    f->options.flush_interval_ms = 3600 * 1000;
    start(f);
    struct wal_follower *follower = follow(f, 0);
    uint64_t ts = commit(f, 100);
    assert_int_equal(wal_wait(f->wal, ts), 0);
    expect_none(follower);
    assert_int_equal(wal_wait_durable(f->wal, ts), 0);
    expect(f, follower, 1, 1);
    wal_follow_close(follower);
    stop(f);
}

static void segments_stay_while_a_follower_is_there(void **state)
{
    struct fixture *f = *state;
    struct wal_stats stats;
    start(f);
    commit_blocks(f, BLOCKS + 2);
    struct wal_follower *follower = follow(f, f->ts[BLOCKS + 1]);
    commit_blocks(f, 4 * BLOCKS);
    release(f);
    wal_stats_get(f->wal, &stats);
    assert_int_equal(stats.released, 1);
    expect(f, follower, BLOCKS + 2, f->ids);
    release(f);
    wal_stats_get(f->wal, &stats);
    assert_true(stats.released >= 4);
    expect_none(follower);
    commit_blocks(f, 3 * BLOCKS);
    expect(f, follower, 5 * BLOCKS + 3, f->ids);
    wal_follow_close(follower);
    stop(f);
}

static void a_position_that_was_given_up_is_refused(void **state)
{
    struct fixture *f = *state;
    struct wal_follower *follower;
    start(f);
    commit_blocks(f, 5 * BLOCKS);
    release(f);
    uint64_t begin = wal_follow_begin(f->wal);
    assert_true(begin >= f->ts[3 * BLOCKS]);
    assert_int_equal(wal_follow_open(f->wal, f->ts[2], &follower), ERROR_NOT_FOUND);
    assert_non_null(strstr(diag_message(), "changes since 2 are no longer in the log"));
    follower = follow(f, begin);
    wal_follow_close(follower);
    stop(f);
    start(f); /* reading finds the same beginning */
    assert_int_equal(wal_follow_begin(f->wal), begin);
    assert_int_equal(wal_follow_open(f->wal, begin - 1, &follower), ERROR_NOT_FOUND);
    follower = follow(f, begin);
    uint64_t id = 1;
    while (f->ts[id] <= begin)
        id++;
    expect(f, follower, id, f->ids);
    wal_follow_close(follower);
    stop(f);
}

static void a_follower_that_keeps_too_much_is_cut_off(void **state)
{
    struct fixture *f = *state;
    struct wal_stats stats;
    struct wal_follow_record record;
    f->options.follow_bytes_max = 3 * PAGES * WAL_ALIGN;
    start(f);
    struct wal_follower *slow = follow(f, 0);
    commit_blocks(f, 3 * BLOCKS);
    struct wal_follower *quick = follow(f, f->ts[f->ids]);
    release(f);
    assert_int_equal(next(slow, &record), 0);
    commit_blocks(f, 6 * BLOCKS);
    expect(f, quick, 3 * BLOCKS + 1, f->ids);
    release(f);
    wal_stats_get(f->wal, &stats);
    assert_int_equal(stats.followers_cut, 1);
    assert_int_equal(next(slow, &record), ERROR_NOT_FOUND);
    assert_non_null(strstr(diag_message(), "are no longer in the log, which begins at"));
    wal_follow_close(slow);
    commit_blocks(f, 1);
    expect(f, quick, f->ids, f->ids);
    wal_follow_close(quick);
    stop(f);
}

static void damage_that_a_follower_meets_is_named(void **state)
{
    struct fixture *f = *state;
    struct wal_follow_record record;
    struct io_file *file;
    start(f);
    commit_blocks(f, 3);
    assert_int_equal(io_open(f->io, "wal-0000000000000001.log", IO_WRITE, &file), 0);
    assert_int_equal(io_write(file, "?", 1, 2 * WAL_ALIGN + 200), 0);
    io_close(file);
    struct wal_follower *follower = follow(f, 0);
    assert_int_equal(next(follower, &record), 0);
    assert_int_equal(next(follower, &record), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), "wal-0000000000000001.log, offset 8192"));
    wal_follow_close(follower);
    stop(f);
}

static void post(void *arg)
{
    sem_post(arg);
}

static void who_arms_itself_when_there_is_something_does_not_wait(void **state)
{
    struct fixture *f = *state;
    struct wal_follow_record record;
    sem_t woken;
    sem_init(&woken, 0, 0);
    start(f);
    struct wal_follower *follower = follow(f, 0);
    expect_none(follower);
    uint64_t last = 0;
    for (unsigned i = 0; i < 3; i++)
        last = commit(f, 10);
    assert_int_equal(wal_wait_durable(f->wal, last), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(wal_follow_arm(follower, post, &woken));
        assert_int_equal(next(follower, &record), 0);
        assert_int_equal(record.ts, f->ts[i + 1]);
    }
    assert_true(wal_follow_arm(follower, post, &woken));
    commit_blocks(f, 1);
    sem_wait(&woken);
    assert_false(wal_follow_arm(follower, post, &woken));
    assert_int_equal(next(follower, &record), 0);
    assert_true(wal_follow_arm(follower, post, &woken));
    wal_follow_disarm(follower);
    commit_blocks(f, 1);
    assert_int_not_equal(sem_trywait(&woken), 0);
    wal_follow_close(follower);
    sem_destroy(&woken);
    stop(f);
}

/* Commits, power cuts, releases and followers at random, against what was appended. */
static void any_history_is_followed_without_a_gap(void **state)
{
    struct fixture *f = *state;
    struct random random;
    uint64_t seed = log_seed();
    random_create(&random, seed);
    f->options.compression = true;
    start(f);
    struct wal_follower *follower = follow(f, 0);
    uint64_t id = 1;
    for (unsigned round = 0; round < 400; round++) {
        switch (random_next(&random) % 8) {
        case 0:
            commit_blocks(f, (unsigned)(random_next(&random) % (2 * BLOCKS)));
            break;
        case 1: {
            uint64_t last = 0;
            for (uint64_t n = random_next(&random) % 100; n > 0; n--)
                last = commit(f, random_next(&random) % (n == 7 ? 9000 : 200));
            if (last != 0)
                assert_int_equal(wal_wait_durable(f->wal, last), 0);
            break;
        }
        case 2:
            release(f);
            break;
        case 3: {
            uint64_t position = wal_follow_position(follower);
            wal_follow_close(follower);
            if (random_next(&random) % 2 == 0) {
                stop(f);
                start(f);
            }
            follower = follow(f, position);
            break;
        }
        default:
            if (id <= f->ids)
                id = expect(f, follower, id, id + random_next(&random) % (f->ids - id + 1));
        }
        if (f->ids > 90000)
            break;
    }
    expect(f, follower, id, f->ids);
    expect_none(follower);
    wal_follow_close(follower);
    stop(f);
}

/* ----------------------------------------------------------------------------------- in parallel */

struct writer {
    struct fixture *f;
    struct wal_buffer *buffer;
    unsigned number;
    pthread_t thread;
    uint64_t last;
    _Atomic bool ended;
};

enum { COMMITS = 2000 };

/* The id says who it is and its how-manieth. */
static void *write_commits(void *arg)
{
    struct writer *writer = arg;
    for (uint64_t n = 1; n <= COMMITS; n++) {
        int rc = log_commit(writer->f->wal, writer->buffer, writer->number << 20 | n, 16 + n % 300,
                            &writer->last);
        ASSERT(rc == 0);
        if (n % 16 == 0)
            ASSERT(wal_wait(writer->f->wal, writer->last) == 0);
        else
            wal_kick(writer->f->wal);
    }
    ASSERT(wal_wait_durable(writer->f->wal, writer->last) == 0);
    store_release(&writer->ended, true);
    return NULL;
}

static void *release_now_and_then(void *arg)
{
    struct writer *releaser = arg;
    struct wal *wal = releaser->f->wal;
    while (!load_acquire(&releaser->ended)) {
        ASSERT(wal_release(wal, wal_first_needed(wal, wal_durable_ts(wal))) == 0);
        sched_yield();
    }
    return NULL;
}

static void a_follower_is_woken_for_every_commit_of_four_writers(void **state)
{
    struct fixture *f = *state;
    struct writer writers[WRITERS], releaser = {.f = f};
    uint64_t seen[WRITERS] = {0}, last_ts = 0, count = 0;
    sem_t woken;
    sem_init(&woken, 0, 0);
    start(f);
    struct wal_follower *follower = follow(f, 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.f = f, .number = i};
        assert_int_equal(wal_buffer_open(f->wal, &writers[i].buffer), 0);
        pthread_create(&writers[i].thread, NULL, write_commits, &writers[i]);
    }
    pthread_create(&releaser.thread, NULL, release_now_and_then, &releaser);
    while (count < WRITERS * COMMITS) {
        struct wal_follow_record record;
        int rc = next(follower, &record);
        if (rc == ERROR_AGAIN) {
            if (wal_follow_arm(follower, post, &woken))
                sem_wait(&woken);
            continue;
        }
        if (rc != 0)
            print_message("%s\n", diag_message_for(rc));
        assert_int_equal(rc, 0);
        uint64_t id;
        memcpy(&id, record.body, sizeof id);
        assert_true(record.ts > last_ts);
        last_ts = record.ts;
        assert_int_equal(id & 0xfffff, ++seen[id >> 20]);
        count++;
    }
    expect_none(follower);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        wal_buffer_close(writers[i].buffer);
    }
    store_release(&releaser.ended, true);
    pthread_join(releaser.thread, NULL);
    wal_follow_close(follower);
    sem_destroy(&woken);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_come_in_order_across_segments, create, destroy),
        cmocka_unit_test_setup_teardown(a_follower_begins_behind_any_position, create, destroy),
        cmocka_unit_test_setup_teardown(a_position_ahead_of_the_clock_is_refused, create, destroy),
        cmocka_unit_test_setup_teardown(the_position_is_before_what_has_not_been_handed_over,
                                        create, destroy),
        cmocka_unit_test_setup_teardown(what_is_not_durable_is_not_handed_over, create, destroy),
        cmocka_unit_test_setup_teardown(segments_stay_while_a_follower_is_there, create, destroy),
        cmocka_unit_test_setup_teardown(a_position_that_was_given_up_is_refused, create, destroy),
        cmocka_unit_test_setup_teardown(a_follower_that_keeps_too_much_is_cut_off, create, destroy),
        cmocka_unit_test_setup_teardown(damage_that_a_follower_meets_is_named, create, destroy),
        cmocka_unit_test_setup_teardown(who_arms_itself_when_there_is_something_does_not_wait,
                                        create, destroy),
        cmocka_unit_test_setup_teardown(any_history_is_followed_without_a_gap, create, destroy),
        cmocka_unit_test_setup_teardown(a_follower_is_woken_for_every_commit_of_four_writers,
                                        create, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
