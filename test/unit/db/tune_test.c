/* SPDX-License-Identifier: Apache-2.0 */

/* The knobs of a database: what they measure, which way they go by it, and what they do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "db/checkpoint_private.h"
#include "db/db_fixture.h"
#include "db/db_private.h"
#include "db/memory.h"
#include "db/tune.h"
#include "mem/heap.h"
#include "wal/wal_internal.h"

enum { MB = 1 << 20 };

static struct db_fixture f;
static struct clock_manual now;

static int setup(void **state)
{
    (void)state;
    clock_manual_create(&now, 1000);
    db_fixture_open(&f);
    f.clock = &now.base;
    f.interval = true;
    f.memory_cache = 20;
    db_fixture_reopen(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

struct search {
    const char *name;
    struct tuner_knob found;
};

static void look(const struct tuner_knob *knob, void *arg)
{
    struct search *search = arg;
    if (strcmp(knob->name, search->name) == 0)
        search->found = *knob;
}

static struct tuner_knob knob(const char *name)
{
    struct search search = {.name = name};
    tuner_each(db_tuner(f.db), look, &search);
    assert_non_null(search.found.name);
    return search.found;
}

/* A cache that is full, or empty. */
static _Atomic uint64_t cache_bytes;
static _Atomic bool cache_full;

static void on_resize(void *arg, uint64_t bytes)
{
    (void)arg;
    store_relaxed(&cache_bytes, bytes);
}

static uint64_t on_used(void *arg)
{
    (void)arg;
    return load_relaxed(&cache_full) ? load_relaxed(&cache_bytes) : 0;
}

static struct budget_client cache = {
    .name = "cache", .part = BUDGET_CACHES, .resize = on_resize, .used = on_used};

/* So much that what threads count apart is little beside it. */
static void fill(void)
{
    char tuple[2048];
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    for (unsigned n = 0; n < 3000; n++) {
        snprintf(tuple, sizeof tuple, "[%u, \"%01000d\"]", n + 1, 0);
        must(insert(&f, NULL, "s", tuple));
    }
}

/* Second by second, by this thread or by the checkpoint's. */
static void tune_until(const char *name, uint64_t value)
{
    while (knob(name).value != value) {
        clock_manual_advance_ms(&now, TUNER_LOOK_MS);
        tuner_tick(db_tuner(f.db), clock_monotonic_ns(&now.base));
    }
}

static void caches_get_more_while_rows_need_little_and_less_when_they_need_more(void **state)
{
    (void)state;
    struct heap *heap = db_heap(f.db);
    fill();
    db_memory_max_set(f.db, 1000 * MB);
    budget_join(db_budget(f.db), &cache);
    store_relaxed(&cache_full, true);
    assert_int_equal(load_relaxed(&cache_bytes), 200 * MB);
    tuner_switch(db_tuner(f.db), true);
    tune_until("cache_share", 30);
    struct budget_view view;
    db_memory_view(f.db, &view); /* behind the look that has set it */
    assert_int_equal(load_relaxed(&cache_bytes), 300 * MB);
    assert_int_equal(heap_limit_bytes(heap), 700 * MB);
    tune_until("cache_share", 40); /* the most */
    assert_non_null(strstr(knob("cache_share").reason, "rows and indexes take of their limit"));
    assert_int_equal(knob("cache_share").ups, 4);
    /* Now what rows have is nearly all of their part. */
    tuner_switch(db_tuner(f.db), false);
    uint64_t used = heap_used_bytes(heap);
    assert_true(used > 0);
    db_memory_max_set(f.db, used * 100 / 60 * 100 / 97);
    tuner_switch(db_tuner(f.db), true);
    tune_until("cache_share", 35);
    assert_int_equal(knob("cache_share").downs, 1);
    db_memory_view(f.db, &view);
    assert_int_equal(load_relaxed(&cache_bytes),
                     view.bytes_max / 100 * 35 + view.bytes_max % 100 * 35 / 100 - view.lent_bytes);
    tuner_switch(db_tuner(f.db), false);
    budget_leave(db_budget(f.db), &cache);
}

static void without_a_cache_its_share_stays(void **state)
{
    (void)state;
    db_memory_max_set(f.db, 1000 * MB);
    tuner_switch(db_tuner(f.db), true);
    for (unsigned n = 0; n < 50; n++) {
        clock_manual_advance_ms(&now, TUNER_LOOK_MS);
        tuner_tick(db_tuner(f.db), clock_monotonic_ns(&now.base));
    }
    assert_int_equal(knob("cache_share").value, 20);
    assert_int_equal(heap_limit_bytes(db_heap(f.db)), 1000 * MB);
}

/* ------------------------------------------------------------------------------- what the test says */

/* Means since the last look; 0: there was nothing. */
struct measured {
    uint64_t flush_ms, read_ms, step_ms;
    double debt;
    /* Of ten writes of the log, if they took any time: whether most found somebody waiting for them, before how many the
     * log waited, and how often nobody came. */
    uint64_t write_us, gathered, in_vain;
    bool crowded;
};

static void say_one(uint64_t ms, uint64_t count, uint64_t ns, uint64_t *last_count,
                    uint64_t *last_ns)
{
    *last_count = count - (ms > 0);
    *last_ns = ns - ms * 1000000;
}

/* One look that sees this, by this thread or by the checkpoint's. */
static void look_at(struct measured measured)
{
    struct db_tuning *tuning = &f.db->tuning;
    struct wal_stats stats;
    uint64_t steps, steps_ns;
    struct throttle_memory memory = {.now_ns = clock_monotonic_ns(&now.base)};
    pthread_mutex_lock(&tuning->tuner.mutex);
    wal_stats_get(f.db->wal, &stats);
    checkpoint__steps_get(f.db->checkpoint, &steps, &steps_ns);
    say_one(measured.flush_ms, stats.flushes, stats.flush_ns, &tuning->flushes, &tuning->flush_ns);
    tuning->blocks = stats.blocks - (measured.write_us > 0 ? 10 : 0);
    tuning->blocks_ns = stats.write_ns - 10 * measured.write_us * 1000;
    tuning->followed = stats.followed - (measured.crowded ? 6 : 5);
    tuning->gathered = stats.gathered - measured.gathered;
    tuning->gathered_in_vain = stats.gathered_in_vain - measured.in_vain;
    say_one(measured.step_ms, steps, steps_ns, &tuning->steps, &tuning->steps_ns);
    say_one(measured.read_ms, 0, 0, &tuning->reads, &tuning->read_ns);
    pthread_mutex_unlock(&tuning->tuner.mutex);
    throttle_debt_set(&f.db->memory.throttle, &memory, measured.debt);
    clock_manual_advance_ms(&now, TUNER_LOOK_MS);
    tuner_tick(&tuning->tuner, clock_monotonic_ns(&now.base));
    pthread_mutex_lock(&tuning->tuner.mutex); /* behind the look */
    pthread_mutex_unlock(&tuning->tuner.mutex);
}

static void look_often_at(unsigned times, struct measured measured)
{
    for (unsigned n = 0; n < times; n++)
        look_at(measured);
}

/* With other options; the tuner is off, as in the fixture. */
static void open_with(const char *limits, unsigned threads)
{
    f.tuner_limits = limits;
    f.checkpoint.threads = threads;
    db_fixture_reopen(&f);
}

/* ------------------------------------------------------------------------------------ what is logged */

static FILE *logged;
static int standard_error;

static void log_begin(void)
{
    logged = tmpfile();
    assert_non_null(logged);
    fflush(stderr);
    standard_error = dup(2);
    assert_true(standard_error >= 0 && dup2(fileno(logged), 2) == 2);
}

static const char *log_end(void)
{
    static char text[4096];
    fflush(stderr);
    assert_int_equal(dup2(standard_error, 2), 2);
    close(standard_error);
    rewind(logged);
    text[fread(text, 1, sizeof text - 1, logged)] = '\0';
    fclose(logged);
    return text;
}

/* ---------------------------------------------------------------------------------- log_flush_interval */

/* A row that is not flushed as long as nobody sets the interval. */
static uint64_t write_unflushed(struct wal_stats *before)
{
    static unsigned row;
    char tuple[16];
    wal_flush_interval_set(f.db->wal, 1000000000);
    assert_int_equal(wal_wait_durable(f.db->wal, wal_clock(f.db->wal)), 0);
    snprintf(tuple, sizeof tuple, "[%u]", ++row);
    must(insert(&f, NULL, "s", tuple));
    wal_stats_get(f.db->wal, before);
    return wal_clock(f.db->wal);
}

static void flush_await(uint64_t ts, const struct wal_stats *before)
{
    struct wal_stats stats;
    do {
        sched_yield();
        wal_stats_get(f.db->wal, &stats);
    } while (wal_durable_ts(f.db->wal) < ts || stats.flushes == before->flushes ||
             stats.flush_ns == before->flush_ns);
}

static void the_log_is_flushed_sooner_when_that_is_cheap_and_less_often_when_it_takes_long(
    void **state)
{
    (void)state;
    struct wal_stats before;
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    uint64_t ts = write_unflushed(&before);
    tuner_switch(db_tuner(f.db), true);
    log_begin();
    look_often_at(TUNER_PATIENCE, (struct measured){.flush_ms = 1});
    const char *text = log_end();
    assert_int_equal(knob("log_flush_interval").value, 900);
    assert_int_equal(knob("log_flush_interval").downs, 1);
    assert_non_null(strstr(text, "tuner: log_flush_interval from 1000 to 900 ms: a flush of the "
                                 "log took 1 ms, below 2\n"));
    flush_await(ts, &before);
    ts = write_unflushed(&before);
    log_begin();
    look_often_at(2 * TUNER_PATIENCE, (struct measured){.flush_ms = 30});
    text = log_end();
    assert_int_equal(knob("log_flush_interval").value, 1000);
    assert_int_equal(knob("log_flush_interval").ups, 1);
    assert_non_null(strstr(text, "tuner: log_flush_interval from 900 to 1000 ms: a flush of the "
                                 "log took 30 ms, above 20\n"));
    flush_await(ts, &before);
}

static void flushes_of_the_log_are_measured(void **state)
{
    (void)state;
    struct tuner_reading reading;
    must(make_space(&f, "s", NULL));
    assert_int_equal(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))), 0);
    struct tuner_knob flush = knob("log_flush_interval");
    assert_true(flush.measure(f.db, &reading));
    assert_true(reading.value > 0);
}

/* ------------------------------------------------------------------------------------------- log_gather */

static void the_log_waits_for_those_it_has_served_when_its_writes_take_long(void **state)
{
    (void)state;
    f.interval = false;
    open_with("log_gather=0..150", 0);
    tuner_switch(db_tuner(f.db), true);
    look_often_at(4 * TUNER_PATIENCE, (struct measured){.write_us = 390, .crowded = true});
    look_often_at(4 * TUNER_PATIENCE, (struct measured){.write_us = 3000}); /* nobody waits */
    assert_int_equal(knob("log_gather").value, 0);
    log_begin();
    look_often_at(TUNER_PATIENCE, (struct measured){.write_us = 3000, .crowded = true});
    const char *text = log_end();
    assert_int_equal(knob("log_gather").value, 100);
    assert_int_equal(knob("log_gather").ups, 1);
    assert_int_equal(load_relaxed(&f.db->wal->gather_ns), 100000);
    assert_non_null(strstr(text,
                           "tuner: log_gather from 0 to 100 us: a write of the log took 3 ms, "
                           "above 0.4\n"));
    look_often_at(4 * TUNER_PATIENCE, (struct measured){.write_us = 790, .crowded = true});
    assert_int_equal(knob("log_gather").value, 100); /* it would be too much of a write */
    look_often_at(TUNER_PATIENCE, (struct measured){.write_us = 3000, .gathered = 6});
    assert_int_equal(knob("log_gather").value, 150);
    log_begin();
    look_often_at(2 * TUNER_PATIENCE,
                  (struct measured){.write_us = 3000, .gathered = 10, .in_vain = 8});
    text = log_end();
    assert_int_equal(knob("log_gather").value, 50);
    assert_int_equal(knob("log_gather").downs, 1);
    assert_non_null(strstr(text,
                           "tuner: log_gather from 150 to 50 us: those whom the log waited for "
                           "did not come in 80 %, above 50\n"));
    look_often_at(2 * TUNER_PATIENCE, (struct measured){.write_us = 90, .crowded = true});
    assert_int_equal(knob("log_gather").value, 0);
    assert_int_equal(load_relaxed(&f.db->wal->gather_ns), 0);
    f.interval = true;
}

static void writes_of_the_log_are_measured(void **state)
{
    (void)state;
    struct tuner_reading reading;
    f.interval = false;
    open_with(NULL, 0);
    must(make_space(&f, "s", NULL));
    struct tuner_knob gather = knob("log_gather");
    assert_true(gather.measure(f.db, &reading));
    assert_true(reading.value > 0);
    assert_false(gather.measure(f.db, &reading));
    f.interval = true;
}

/* ------------------------------------------------------------------------------------- compaction */

enum { FILES = 4, ROWS = 20, ROW_BYTES = 30000 };

/* As many sequences as are merged, of the same rows in each. */
static void sequences_make(const char *space)
{
    static char tuple[ROW_BYTES + 100];
    must(make_space(&f, space, "{\"engine\": \"lsm\", \"compression\": \"none\"}"));
    must(make_index(&f, space, "pk", NULL));
    for (unsigned file = 0; file < FILES; file++) {
        for (unsigned n = 0; n < ROWS; n++) {
            snprintf(tuple, sizeof tuple, "[%u, \"%0*u\"]", file * ROWS + n, ROW_BYTES, n);
            must(replace(&f, NULL, space, tuple));
        }
        assert_int_equal(db_checkpoint(f.db), 0);
    }
}

/* Threads that are before a step, where they wait while they are held; and how many were at one at a time at most, behind
 * the first two steps. */
static struct {
    _Atomic bool held;
    _Atomic unsigned inside, most;
} steps;

static void step_hook(uint32_t space_id)
{
    struct checkpoint *checkpoint = f.db->checkpoint;
    (void)space_id;
    atomic_fetch_add(&steps.inside, 1);
    while (atomic_load(&steps.held) && !load_relaxed(&checkpoint->stop))
        sched_yield();
    atomic_fetch_sub(&steps.inside, 1);
    pthread_mutex_lock(&checkpoint->mutex);
    if (checkpoint->steps >= 2 && checkpoint->jobs_running > atomic_load(&steps.most))
        atomic_store(&steps.most, checkpoint->jobs_running);
    pthread_mutex_unlock(&checkpoint->mutex);
}

static void inside_await(unsigned count)
{
    while (atomic_load(&steps.inside) != count)
        sched_yield();
}

/* How many jobs wait or are worked on. */
static void jobs_await(unsigned count)
{
    for (unsigned jobs = 0; jobs != count; sched_yield()) {
        pthread_mutex_lock(&f.db->checkpoint->mutex);
        jobs = f.db->checkpoint->jobs_open;
        pthread_mutex_unlock(&f.db->checkpoint->mutex);
    }
}

static void compaction_gets_a_thread_when_it_is_behind_and_gives_it_up_for_reads(void **state)
{
    (void)state;
    open_with("compaction_threads=1..2, compaction_step=16..16", 1);
    tuner_switch(db_tuner(f.db), true);
    look_at((struct measured){.debt = 0}); /* its limits */
    atomic_store(&steps.held, true);
    atomic_store(&steps.most, 0);
    store_release(&f.db->checkpoint->before_step, step_hook);
    sequences_make("a");
    sequences_make("b");
    jobs_await(2);
    inside_await(1); /* the other one has no thread */
    look_often_at(TUNER_PATIENCE - 1, (struct measured){.debt = 0.6, .read_ms = 1});
    assert_int_equal(knob("compaction_threads").value, 1);
    /* While reads are slow, too, it stays as it is, until it is badly behind. */
    look_often_at(2 * TUNER_PATIENCE, (struct measured){.debt = 0.6, .read_ms = 30});
    assert_int_equal(knob("compaction_threads").value, 1);
    log_begin();
    look_often_at(TUNER_PATIENCE, (struct measured){.debt = 0.8, .read_ms = 30});
    const char *text = log_end();
    assert_int_equal(knob("compaction_threads").value, 2);
    assert_int_equal(knob("compaction_threads").ups, 1);
    assert_non_null(strstr(text, "tuner: compaction_threads from 1 to 2 threads: compaction is "
                                 "behind by 80 %, above 50\n"));
    inside_await(2);
    log_begin();
    look_often_at(2 * TUNER_PATIENCE, (struct measured){.debt = 0.4, .read_ms = 6});
    text = log_end();
    assert_int_equal(knob("compaction_threads").value, 1);
    assert_int_equal(knob("compaction_threads").downs, 1);
    assert_non_null(strstr(text, "tuner: compaction_threads from 2 to 1 threads: a read of a file "
                                 "took 6 ms, above 5\n"));
    /* Both are at a step yet; from the next one on, one of them is. */
    uint64_t done, ns;
    checkpoint__steps_get(f.db->checkpoint, &done, &ns);
    assert_int_equal(done, 0);
    atomic_store(&steps.held, false);
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(atomic_load(&steps.most), 1);
    checkpoint__steps_get(f.db->checkpoint, &done, &ns);
    assert_true(done > FILES * ROWS); /* so many that two threads would have met */
    /* Fast reads with nothing behind change nothing. */
    look_often_at(4 * TUNER_PATIENCE, (struct measured){.debt = 0.4, .read_ms = 1});
    assert_int_equal(knob("compaction_threads").downs + knob("compaction_threads").ups, 2);
}

/* How many steps the compaction of a new space takes. */
static uint64_t steps_of(const char *space)
{
    uint64_t before, after, ns;
    checkpoint__steps_get(f.db->checkpoint, &before, &ns);
    sequences_make(space);
    db__checkpoint_wait_idle(f.db);
    checkpoint__steps_get(f.db->checkpoint, &after, &ns);
    return after - before;
}

static void a_step_of_compaction_takes_less_at_once_when_it_is_slow_and_more_when_it_is_fast(
    void **state)
{
    (void)state;
    open_with("compaction_step=32..512", 1);
    tuner_switch(db_tuner(f.db), true);
    uint64_t usual = steps_of("usual");
    log_begin();
    look_often_at(TUNER_PATIENCE, (struct measured){.step_ms = 30});
    const char *text = log_end();
    assert_int_equal(knob("compaction_step").value, 32);
    assert_int_equal(knob("compaction_step").downs, 1);
    assert_non_null(strstr(text, "tuner: compaction_step from 64 to 32 KB: a step of compaction "
                                 "took 30 ms, above 20\n"));
    uint64_t small = steps_of("small");
    assert_true(small > usual);
    log_begin();
    look_often_at(5 * TUNER_PATIENCE + 20, (struct measured){.step_ms = 1});
    text = log_end();
    assert_int_equal(knob("compaction_step").value, 512);
    assert_int_equal(knob("compaction_step").ups, 4);
    assert_non_null(strstr(text, "tuner: compaction_step from 256 to 512 KB: a step of compaction "
                                 "took 1 ms, below 2\n"));
    uint64_t large = steps_of("large");
    assert_true(large * 3 < usual);
}

/* ---------------------------------------------------------------------------------- off, and limits */

static const char *const NAMES[] = {"log_flush_interval", "cache_share", "compaction_threads",
                                    "compaction_step"};
enum { KNOBS = sizeof NAMES / sizeof *NAMES };

static void what_is_off_changes_nothing_and_can_be_switched_while_it_runs(void **state)
{
    (void)state;
    const struct measured all = {.flush_ms = 1, .debt = 0.9, .step_ms = 30};
    struct tuner_knob before[KNOBS];
    struct wal_stats flushed;
    open_with("compaction_threads=1..8", 3);
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    for (unsigned round = 0; round < 2; round++) {
        uint64_t ts = write_unflushed(&flushed);
        for (unsigned n = 0; n < KNOBS; n++)
            before[n] = knob(NAMES[n]);
        assert_false(tuner_is_on(db_tuner(f.db)));
        log_begin();
        look_often_at(20, all);
        assert_null(strstr(log_end(), "tuner"));
        for (unsigned n = 0; n < KNOBS; n++) {
            assert_int_equal(knob(NAMES[n]).value, before[n].value);
            assert_int_equal(knob(NAMES[n]).ups + knob(NAMES[n]).downs,
                             before[n].ups + before[n].downs);
        }
        assert_int_equal(f.db->checkpoint->options.threads, 3 + round);
        assert_int_equal(f.db->checkpoint->step_bytes, DB_COMPACTION_STEP_BYTES >> round);
        assert_true(wal_durable_ts(f.db->wal) < ts);
        tuner_switch(db_tuner(f.db), true);
        look_often_at(TUNER_PATIENCE, all);
        tuner_switch(db_tuner(f.db), false); /* they stay where they are */
        assert_int_equal(knob("compaction_threads").value, 4 + round);
        assert_int_equal(knob("log_flush_interval").value, 900 - 100 * round);
        flush_await(ts, &flushed);
    }
}

static void limits_are_kept_from_the_first_look_on(void **state)
{
    (void)state;
    open_with("compaction_threads=4..5 log_flush_interval=50..60,cache_share=30..31", 1);
    assert_int_equal(knob("compaction_threads").value, 1);
    log_begin();
    tuner_switch(db_tuner(f.db), true);
    look_at((struct measured){.debt = 0});
    const char *text = log_end();
    assert_non_null(strstr(text, "tuner: compaction_threads from 1 to 4 threads: its limits are 4 "
                                 "and 5\n"));
    assert_int_equal(f.db->checkpoint->options.threads, 4);
    assert_int_equal(knob("compaction_threads").ups, 1);
    assert_int_equal(knob("log_flush_interval").value, 60);
    assert_int_equal(knob("log_flush_interval").downs, 1);
    assert_int_equal(knob("cache_share").value, 30);
    assert_int_equal(knob("compaction_step").value, 64);
    look_often_at(10 * TUNER_PATIENCE, (struct measured){.debt = 1, .flush_ms = 1});
    assert_int_equal(knob("compaction_threads").value, 5);
    assert_int_equal(knob("log_flush_interval").value, 50);
}

static void limits_that_are_none_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *limits, *said;
    } BAD[] = {
        {"threads=1..2", "the tuner has no knob 'threads', but log_flush_interval,"},
        {"compaction_thread=1..2", "no knob 'compaction_thread'"},
        {"compaction_threads", "like compaction_threads=1..16, not 'compaction_threads'"},
        {"compaction_threads=", "like compaction_threads=1..16"},
        {"compaction_threads=3", "not 'compaction_threads=3'"},
        {"compaction_threads=3..", "not 'compaction_threads=3..'"},
        {"compaction_threads=-3..4", "not 'compaction_threads=-3..4'"},
        {"compaction_threads=1..4x", "not 'compaction_threads=1..4x'"},
        {"compaction_threads=1..100000000000000000000000000000000000000000", "like"},
        {"compaction_threads=0..4", "lie between 1 and 16 threads, the lower one first: not 0..4"},
        {"compaction_threads=4..17", "between 1 and 16"},
        {"log_flush_interval=100..1001", "lie between 1 and 1000 ms"},
        {"log_gather=0..20000", "lie between 0 and 10000 us"},
        {"compaction_step=64..16", "between 4 and 16384 KB, the lower one first: not 64..16"},
        {"compaction_threads=1..2, cache_share=10..81", "between 1 and 80 %"},
    };
    db_fixture_stop(&f);
    for (size_t n = 0; n < sizeof BAD / sizeof *BAD; n++) {
        f.tuner_limits = BAD[n].limits;
        refused(db_fixture_start(&f, false), ERROR_INVALID, BAD[n].said);
    }
    f.tuner_limits = " , compaction_threads=1..1,, ";
    must(db_fixture_start(&f, false));
    assert_int_equal(knob("compaction_threads").max, 1);
}

int main(void)
{
#define WITH_DATABASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_DATABASE(caches_get_more_while_rows_need_little_and_less_when_they_need_more),
        WITH_DATABASE(without_a_cache_its_share_stays),
        WITH_DATABASE(flushes_of_the_log_are_measured),
        WITH_DATABASE(
            the_log_is_flushed_sooner_when_that_is_cheap_and_less_often_when_it_takes_long),
        WITH_DATABASE(writes_of_the_log_are_measured),
        WITH_DATABASE(the_log_waits_for_those_it_has_served_when_its_writes_take_long),
        WITH_DATABASE(compaction_gets_a_thread_when_it_is_behind_and_gives_it_up_for_reads),
        WITH_DATABASE(
            a_step_of_compaction_takes_less_at_once_when_it_is_slow_and_more_when_it_is_fast),
        WITH_DATABASE(what_is_off_changes_nothing_and_can_be_switched_while_it_runs),
        WITH_DATABASE(limits_are_kept_from_the_first_look_on),
        WITH_DATABASE(limits_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
