/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several workers and the log writer at once: rules 1 and 12 under random schedules. For
 * ThreadSanitizer too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/random.h"
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal_internal.h"

enum { WORKERS = 4, COMMITS = 400, CUTS_MAX = 1 << 16 };

/* What a worker saw of the cut after taking its timestamp (rule 12). */
struct pruning {
    uint64_t ts, last_cut;
    bool flag_down;
};

struct fixture {
    uint64_t seed;
    struct disk *disk;
    struct wal_options options;
    struct wal *wal;
    unsigned mutations;
    size_t size_max;
    bool validation_fails;   /* now and then: a timestamp without a record */
    uint64_t cuts[CUTS_MAX]; /* every D that was published; the log writer's until it has ended */
    size_t cut_count;
    struct pruning prunings[WORKERS][COMMITS];
    unsigned char present[WORKERS][COMMITS];
    struct log_seen seen;
};

struct worker {
    struct fixture *f;
    unsigned number;
    pthread_t thread;
};

static void record_cut(void *arg)
{
    struct fixture *f = arg;
    if (f->cut_count < CUTS_MAX)
        f->cuts[f->cut_count++] = wal_durable_ts(f->wal);
}

static int create(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->seed = log_seed();
    f->disk = disk_new(f->seed);
    disk_offer_direct(f->disk, true);
    f->options = log_options(disk_io(f->disk));
    f->options.arg = f;
    f->options.on_advance = record_cut;
    f->size_max = 600;
    f->options.compression = f->seed % 3 == 0;
    *state = f;
    return 0;
}

static int destroy(void **state)
{
    struct fixture *f = *state;
    log_seen_destroy(&f->seen);
    io_delete(f->options.io);
    disk_delete(f->disk);
    free(f);
    return 0;
}

static void work_once(struct fixture *f, struct wal_buffer *buffer, unsigned number, unsigned i,
                      struct random *random)
{
    unsigned char body[1024];
    size_t size = 8 + random_below(random, f->size_max);
    uint64_t id = (uint64_t)number << 32 | i;
    struct pruning *pruning = &f->prunings[number][i];
    log_body(body, id, size);
    ASSERT(wal_reserve(buffer, size) == 0);
    wal_begin(buffer);
    uint64_t ts = wal_clock_next(f->wal);
    if (random_below(random, 4) == 0)
        sched_yield();
    if (!f->validation_fails || random_below(random, 4) != 0) {
        wal_append(buffer, ts, body, size);
        f->present[number][i] = 1;
    }
    wal_end(buffer);
    pruning->ts = ts;
    pruning->flag_down = wal_cut_state(f->wal, &pruning->last_cut);
    if (random_below(random, 3) == 0)
        wal_kick(f->wal);
    if (random_below(random, 8) == 0)
        ASSERT(wal_wait(f->wal, ts) == 0);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct fixture *f = worker->f;
    struct random random;
    struct wal_buffer *buffer;
    random_create(&random, f->seed + worker->number);
    ASSERT(wal_buffer_open(f->wal, &buffer) == 0);
    for (unsigned i = 0; i < COMMITS; i++)
        work_once(f, buffer, worker->number, i, &random);
    wal_buffer_close(buffer);
    return NULL;
}

static void run(struct fixture *f)
{
    struct worker workers[WORKERS];
    struct wal_replay_stats stats;
    assert_int_equal(wal__open(&f->options, f->mutations, log_seen_add, &f->seen, &stats, &f->wal),
                     0);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.f = f, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(wal_close(f->wal), 0);
}

/* What was appended is there and nothing else. */
static void check(struct fixture *f)
{
    size_t expected = 0;
    struct wal_replay_stats stats;
    log_seen_destroy(&f->seen);
    assert_int_equal(
        wal_read(
            &(struct wal_read_options){.io = f->options.io, .each = log_seen_add, .arg = &f->seen},
            &stats),
        0);
    for (unsigned i = 0; i < WORKERS; i++)
        for (unsigned j = 0; j < COMMITS; j++)
            expected += f->present[i][j];
    assert_int_equal(f->seen.count, expected);
    for (size_t i = 0; i < f->seen.count; i++) {
        const struct log_record *record = &f->seen.items[i];
        unsigned worker = (unsigned)(record->id >> 32), number = (unsigned)record->id;
        assert_true(record->whole);
        assert_true(worker < WORKERS && number < COMMITS);
        assert_int_equal(f->present[worker][number], 1);
        assert_int_equal(f->prunings[worker][number].ts, record->ts);
        f->present[worker][number] = 2;
    }
}

static void what_many_workers_commit_is_there_once_and_whole(void **state)
{
    struct fixture *f = *state;
    run(f);
    check(f);
}

static void timestamps_without_records_hold_nobody_up(void **state)
{
    struct fixture *f = *state;
    f->validation_fails = true;
    run(f);
    check(f);
}

static void small_rings_make_workers_wait_and_lose_nothing(void **state)
{
    struct fixture *f = *state;
    f->options.buffer_bytes = 4096;
    f->size_max = 1000;
    run(f);
    check(f);
}

static void every_level_keeps_what_many_workers_commit(void **state)
{
    struct fixture *f = *state;
    f->options.durability = f->seed % 2 ? WAL_DURABILITY_NONE : WAL_DURABILITY_INTERVAL;
    f->options.flush_interval_ms = 1;
    run(f);
    check(f);
}

/* Rule 1: while a worker has taken a timestamp and not appended, no D at or above it is published.
 */
static uint64_t durable_while_a_worker_is_between(struct fixture *f, unsigned mutations)
{
    struct wal_replay_stats stats;
    struct wal_buffer *slow, *quick;
    unsigned char body[8] = {0};
    uint64_t last_cut, ts;
    assert_int_equal(wal__open(&f->options, mutations, log_seen_add, &f->seen, &stats, &f->wal), 0);
    assert_int_equal(wal_buffer_open(f->wal, &slow), 0);
    assert_int_equal(wal_buffer_open(f->wal, &quick), 0);
    assert_int_equal(wal_reserve(slow, sizeof(body)), 0);
    wal_begin(slow);
    uint64_t slow_ts = wal_clock_next(f->wal);
    assert_int_equal(log_commit(f->wal, quick, 2, 8, &ts), 0);
    wal_kick(f->wal);
    do {
        sched_yield(); /* until the writer has read a C that covers both */
    } while (wal_cut_state(f->wal, &last_cut), last_cut < ts);
    for (int i = 0; (i < 1000 || mutations != 0) && wal_durable_ts(f->wal) < ts; i++)
        sched_yield();
    uint64_t durable = wal_durable_ts(f->wal);
    wal_append(slow, slow_ts, body, sizeof(body));
    wal_end(slow);
    assert_int_equal(wal_wait(f->wal, ts), 0);
    wal_buffer_close(slow);
    wal_buffer_close(quick);
    wal_close(f->wal);
    return durable;
}

static void a_cut_waits_for_a_worker_that_has_a_timestamp_and_no_record_yet(void **state)
{
    assert_int_equal(durable_while_a_worker_is_between(*state, 0), 0);
}

static void a_cut_that_did_not_wait_would_publish_what_is_not_in_the_log(void **state)
{
    struct fixture *f = *state;
    struct wal_replay_stats stats;
    durable_while_a_worker_is_between(f, WAL_MUTATION_NO_WAIT);
    /* The late record is in a block whose range it is below: the reader refuses it. */
    log_seen_destroy(&f->seen);
    wal_read(&(struct wal_read_options){.io = f->options.io, .each = log_seen_add, .arg = &f->seen},
             &stats);
    assert_true(f->seen.count < 2);
}

/* Gives up what is durable, again and again, until the workers have ended, and once more. */
struct releaser {
    struct fixture *f;
    _Atomic bool stop;
    uint64_t k, first_segment; /* of the last time */
};

static void *release_until_stopped(void *arg)
{
    struct releaser *releaser = arg;
    for (bool last = false; !last;) {
        last = load_seq_cst(&releaser->stop);
        releaser->k = wal_durable_ts(releaser->f->wal);
        uint64_t first = wal_first_needed(releaser->f->wal, releaser->k);
        ASSERT(first >= releaser->first_segment);
        releaser->first_segment = first;
        ASSERT(wal_release(releaser->f->wal, first) == 0);
        sched_yield();
    }
    return NULL;
}

/* Everything above K is in the log that begins at the segment said to be needed then. */
static void segments_go_while_many_workers_commit(void **state)
{
    struct fixture *f = *state;
    struct worker workers[WORKERS];
    struct releaser releaser = {.f = f};
    struct wal_replay_stats stats;
    struct wal_stats log;
    pthread_t thread;
    f->options.segment_bytes = 8 * WAL_ALIGN;
    assert_int_equal(wal_open(&f->options, log_seen_add, &f->seen, &stats, &f->wal), 0);
    assert_int_equal(pthread_create(&thread, NULL, release_until_stopped, &releaser), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.f = f, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(wal_wait_durable(f->wal, wal_clock(f->wal)), 0);
    store_seq_cst(&releaser.stop, true);
    pthread_join(thread, NULL);
    wal_release_wait(f->wal);
    wal_stats_get(f->wal, &log);
    assert_true(log.released > 5);
    assert_int_equal(wal_close(f->wal), 0);
    f->options.first_segment = releaser.first_segment;
    log_seen_destroy(&f->seen);
    assert_int_equal(wal_open(&f->options, log_seen_add, &f->seen, &stats, &f->wal), 0);
    assert_int_equal(wal_close(f->wal), 0);
    size_t expected = 0, found = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        for (unsigned j = 0; j < COMMITS; j++)
            expected += f->present[i][j] && f->prunings[i][j].ts > releaser.k;
    for (size_t i = 0; i < f->seen.count; i++)
        found += f->seen.items[i].ts > releaser.k;
    assert_int_equal(found, expected);
}

/*
 * A flag is raised and wal_quiesce returns: from then on no worker that did not see the flag adds a
 * record. Returns how many did.
 */
struct flag {
    struct fixture *f;
    _Atomic bool raised, settled;
    _Atomic unsigned late;
    _Atomic unsigned running;
};

static void *commit_until_flagged(void *arg)
{
    struct flag *flag = arg;
    struct fixture *f = flag->f;
    struct wal_buffer *buffer;
    unsigned char body[8] = {0};
    ASSERT(wal_buffer_open(f->wal, &buffer) == 0);
    atomic_fetch_add(&flag->running, 1);
    for (bool seen = false; !seen;) {
        ASSERT(wal_reserve(buffer, sizeof(body)) == 0);
        wal_begin(buffer);
        seen = load_seq_cst(&flag->raised);
        if (!seen) {
            uint64_t ts = wal_clock_next(f->wal);
            sched_yield();
            atomic_fetch_add(&flag->late, load_seq_cst(&flag->settled));
            wal_append(buffer, ts, body, sizeof(body));
        }
        wal_end(buffer);
    }
    wal_buffer_close(buffer);
    return NULL;
}

static unsigned late_after_quiescing(struct fixture *f)
{
    struct wal_replay_stats stats;
    unsigned late = 0;
    for (int round = 0; round < 30; round++) {
        struct flag flag = {.f = f};
        pthread_t threads[WORKERS];
        assert_int_equal(wal_open(&f->options, log_seen_add, &f->seen, &stats, &f->wal), 0);
        for (unsigned i = 0; i < WORKERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, commit_until_flagged, &flag), 0);
        while (load_seq_cst(&flag.running) < WORKERS)
            sched_yield();
        store_seq_cst(&flag.raised, true);
        wal_quiesce(f->wal);
        store_seq_cst(&flag.settled, true);
        for (unsigned i = 0; i < WORKERS; i++)
            pthread_join(threads[i], NULL);
        late += load_seq_cst(&flag.late);
        assert_int_equal(wal_close(f->wal), 0);
    }
    return late;
}

static void after_quiescing_whoever_commits_has_seen_the_flag(void **state)
{
    assert_int_equal(late_after_quiescing(*state), 0);
}

struct quiescer {
    struct wal *wal;
    pthread_t thread;
    _Atomic bool settled;
};

static void *quiesce(void *arg)
{
    struct quiescer *quiescer = arg;
    wal_quiesce(quiescer->wal);
    store_seq_cst(&quiescer->settled, true);
    return NULL;
}

/* The same of one worker that stays between looking at the flag and adding its record: whether the
 * other has settled before it did. */
static bool settled_while_a_worker_is_between(struct fixture *f, unsigned mutations)
{
    struct wal_replay_stats stats;
    struct wal_buffer *buffer;
    unsigned char body[8] = {0};
    assert_int_equal(wal__open(&f->options, mutations, log_seen_add, &f->seen, &stats, &f->wal), 0);
    assert_int_equal(wal_buffer_open(f->wal, &buffer), 0);
    assert_int_equal(wal_reserve(buffer, sizeof(body)), 0);
    wal_begin(buffer);
    uint64_t ts = wal_clock_next(f->wal);
    struct quiescer quiescer = {.wal = f->wal};
    assert_int_equal(pthread_create(&quiescer.thread, NULL, quiesce, &quiescer), 0);
    for (int i = 0; (i < 1000 || mutations != 0) && !load_seq_cst(&quiescer.settled); i += i < 1000)
        sched_yield();
    bool settled = load_seq_cst(&quiescer.settled);
    wal_append(buffer, ts, body, sizeof(body));
    wal_end(buffer);
    pthread_join(quiescer.thread, NULL);
    wal_buffer_close(buffer);
    assert_int_equal(wal_close(f->wal), 0);
    return settled;
}

static void quiescing_waits_for_a_worker_that_may_not_have_seen_the_flag(void **state)
{
    assert_false(settled_while_a_worker_is_between(*state, 0));
}

static void without_quiescing_one_commits_without_having_seen_it(void **state)
{
    assert_true(settled_while_a_worker_is_between(*state, WAL_MUTATION_NO_QUIESCE));
}

/* Rule 12: how many cuts fell between a last cut that a worker saw, with the flag down, and its
 * timestamp: versions in between would have been pruned although the cut needs them. */
static unsigned cuts_missed(struct fixture *f)
{
    unsigned missed = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        for (unsigned j = 0; j < COMMITS; j++) {
            const struct pruning *pruning = &f->prunings[i][j];
            for (size_t k = 0; pruning->flag_down && k < f->cut_count; k++)
                missed += f->cuts[k] > pruning->last_cut && f->cuts[k] < pruning->ts;
        }
    }
    return missed;
}

static void a_worker_that_saw_the_flag_down_knows_every_cut_below_its_timestamp(void **state)
{
    struct fixture *f = *state;
    f->mutations = WAL_MUTATION_SLOW_CUT;
    run(f);
    assert_true(f->cut_count > 0);
    assert_int_equal(cuts_missed(f), 0);
}

/* What a worker looks at that takes its timestamp after the log writer has read C, and before C is
 * recorded as the last cut. */
static struct pruning between_c_and_its_record;

static void take_a_timestamp(struct wal *wal)
{
    struct pruning *pruning = &between_c_and_its_record;
    wal->clock_read = NULL;
    pruning->ts = wal_clock_next(wal);
    pruning->flag_down = wal_cut_state(wal, &pruning->last_cut);
}

static unsigned cuts_missed_between_c_and_its_record(struct fixture *f, unsigned mutations)
{
    struct wal_replay_stats stats;
    struct wal_buffer *buffer;
    uint64_t ts;
    assert_int_equal(wal__open(&f->options, mutations, log_seen_add, &f->seen, &stats, &f->wal), 0);
    assert_int_equal(wal_buffer_open(f->wal, &buffer), 0);
    assert_int_equal(log_commit(f->wal, buffer, 1, 8, &ts), 0);
    f->wal->clock_read = take_a_timestamp;
    assert_int_equal(wal_wait(f->wal, ts), 0);
    wal_buffer_close(buffer);
    assert_int_equal(wal_close(f->wal), 0);
    assert_true(f->cut_count > 0 && between_c_and_its_record.ts > ts);
    f->prunings[0][0] = between_c_and_its_record;
    return cuts_missed(f);
}

static void a_worker_between_c_and_its_record_sees_the_flag(void **state)
{
    assert_int_equal(cuts_missed_between_c_and_its_record(*state, 0), 0);
}

static void without_the_flag_it_would_miss_a_cut(void **state)
{
    assert_int_equal(cuts_missed_between_c_and_its_record(*state, WAL_MUTATION_NO_CUT_FLAG), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
    const struct CMUnitTest tests[] = {
        TEST(what_many_workers_commit_is_there_once_and_whole),
        TEST(timestamps_without_records_hold_nobody_up),
        TEST(small_rings_make_workers_wait_and_lose_nothing),
        TEST(every_level_keeps_what_many_workers_commit),
        TEST(a_cut_waits_for_a_worker_that_has_a_timestamp_and_no_record_yet),
        TEST(a_cut_that_did_not_wait_would_publish_what_is_not_in_the_log),
        TEST(segments_go_while_many_workers_commit),
        TEST(after_quiescing_whoever_commits_has_seen_the_flag),
        TEST(quiescing_waits_for_a_worker_that_may_not_have_seen_the_flag),
        TEST(without_quiescing_one_commits_without_having_seen_it),
        TEST(a_worker_that_saw_the_flag_down_knows_every_cut_below_its_timestamp),
        TEST(a_worker_between_c_and_its_record_sees_the_flag),
        TEST(without_the_flag_it_would_miss_a_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
