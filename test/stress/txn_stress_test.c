/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads run random transactions over few keys, and a checker that knows nothing of the
 * implementation looks at what came out:
 *
 *   transfers      the sum over all accounts is the same in every snapshot, also by the secondary
 *                  index, and at the end
 *   registers      every write puts a number of its own into a register; each committed transaction
 *                  notes what it read and over what it wrote. From that follows who came after whom
 *                  (Adya 1999: read, write and anti-dependencies), and a cycle is a violation
 *   pairs          of two keys that exclude each other never both exist
 *   counters       txn_get_for_update and txn_put at read committed lose no increment
 *   unique keys    at most one row has a secondary key, whatever races for it
 *
 * Rows come and go all the time, so anchors end and are made anew under the readers. Short by
 * default; PERIGEE_STRESS_SECONDS makes it longer. The schedule is the machine's; the seed,
 * printed, gives the choices of each thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "txn/txn_fixture.h"

enum { THREADS = 4 };

static struct txn_fixture f;
static uint64_t seed;

/* A thread of a test. Failed checks are counted, not asserted: cmocka's jumps belong to the main
 * thread. */
struct thread {
    unsigned number;
    struct random random;
    pthread_t id;
    uint64_t done, failures;
    void *(*run)(struct thread *thread);
    void *result;
};

static _Atomic uint64_t stop_ns;

static bool go_on(const struct thread *thread)
{
    return thread->done == 0 || clock_monotonic_ns(clock_system()) < load_relaxed(&stop_ns);
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;
    thread->result = thread->run(thread);
    return NULL;
}

static void check(struct thread *thread, bool right, const char *what)
{
    if (right)
        return;
    if (thread->failures++ < 5)
        fprintf(stderr, "thread %u: %s\n", thread->number, what);
}

/* Runs the threads for a share of the time; returns how many transactions they did. */
static uint64_t run_threads(struct thread *threads, void *(*run)(struct thread *thread))
{
    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t seconds = text == NULL ? 5 : strtoull(text, NULL, 10);
    store_relaxed(&stop_ns,
                  clock_monotonic_ns(clock_system()) + seconds * UINT64_C(1000000000) / 5);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.number = i, .run = run};
        random_create(&threads[i].random, seed + i);
        assert_int_equal(pthread_create(&threads[i].id, NULL, thread_main, &threads[i]), 0);
    }
    uint64_t done = 0, failures = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        done += threads[i].done;
        failures += threads[i].failures;
    }
    assert_int_equal(failures, 0);
    assert_true(done > 0);
    struct txn_stats stats;
    txn_stats_get(f.system, &stats);
    printf("%llu done; %llu commits, %llu conflicts, %llu times in the gate\n",
           (unsigned long long)done, (unsigned long long)stats.commits,
           (unsigned long long)stats.conflicts, (unsigned long long)stats.gate_entries);
    return done;
}

static int open(void **state)
{
    (void)state;
    seed = test_seed();
    fixture_open(&f, THREADS);
    return 0;
}

static int close(void **state)
{
    (void)state;
    fixture_settle(&f);
    assert_int_equal(tree_verify(f.head.tree), 0);
    assert_int_equal(tree_verify(f.secondary.tree), 0);
    fixture_close(&f);
    return 0;
}

/* ---------------------------------------------------------------------------------- transfers */

/* An account without money has no row, so rows come and go. The value is "secondary|amount", with a
 * secondary key that changes with each write. */
enum { ACCOUNTS = 12, START_AMOUNT = 3 };

struct transfer {
    struct thread *thread;
    unsigned from, to;
    int amount;
};

static void account_key(char *key, unsigned account)
{
    snprintf(key, 8, "acc%02u", account);
}

static int account_read(struct txn *txn, unsigned account, int *amount)
{
    char key[8];
    account_key(key, account);
    const struct version *version;
    int rc = txn_get(txn, &f.head, key, strlen(key), &version);
    *amount = 0;
    if (rc == 0 && version != NULL) {
        const char *bar = memchr(version->bytes, '|', version->size);
        *amount = (int)strtol(bar + 1, NULL, 10);
    }
    return rc;
}

static int account_write(struct thread *thread, struct txn *txn, unsigned account, int amount)
{
    char key[8], value[32];
    account_key(key, account);
    if (amount == 0)
        return fixture_delete(&f, txn, key);
    snprintf(value, sizeof value, "s%02u%c|%d.", account,
             (char)('a' + random_below(&thread->random, 3)), amount);
    return fixture_put(&f, txn, key, value);
}

static int transfer_run(struct txn *txn, void *arg)
{
    struct transfer *transfer = arg;
    int from, to;
    int rc = account_read(txn, transfer->from, &from);
    if (rc == 0)
        rc = account_read(txn, transfer->to, &to);
    if (rc != 0 || from < transfer->amount)
        return rc;
    rc = account_write(transfer->thread, txn, transfer->from, from - transfer->amount);
    return rc != 0 ? rc : account_write(transfer->thread, txn, transfer->to, to + transfer->amount);
}

/* The sum over an index, -1 after a conflict. */
static int sum_of(struct txn *txn, struct txn_index *index, bool backward, unsigned *rows)
{
    struct txn_range range = {.lower = index == &f.primary ? "acc" : "s",
                              .lower_size = index == &f.primary ? 3 : 1,
                              .lower_inclusive = true,
                              .backward = backward};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int sum = 0, rc;
    *rows = 0;
    txn_cursor_open(&cursor, txn, index, &range);
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0) {
        const char *bar = memchr(version->bytes, '|', version->size);
        sum += (int)strtol(bar + 1, NULL, 10);
        ++*rows;
    }
    return rc == ERROR_END ? sum : -1;
}

static void look_at_sums(struct thread *thread)
{
    struct txn_worker *worker = f.workers[thread->number];
    bool readonly = random_below(&thread->random, 2), backward = random_below(&thread->random, 2);
    struct txn_options options = {.level = random_below(&thread->random, 2) ? TXN_SNAPSHOT
                                                                            : TXN_SERIALIZABLE,
                                  .readonly = readonly,
                                  .latest = random_below(&thread->random, 2)};
    struct txn *txn;
    if (txn_begin(worker, &options, &txn) != 0) {
        check(thread, false, "a transaction could not begin");
        return;
    }
    unsigned rows, entries;
    int sum = sum_of(txn, &f.primary, backward, &rows);
    int other = sum_of(txn, &f.secondary, backward, &entries);
    check(thread, sum == other && rows == entries, "the two indexes differ");
    check(thread, sum == ACCOUNTS * START_AMOUNT, "the sum is not what it was");
    check(thread, !(readonly && !options.latest) || txn_seen_ts(txn) <= wal_durable_ts(f.wal),
          "a read at V saw what is not durable");
    txn_rollback(txn);
}

static void *transfers_main(struct thread *thread)
{
    while (go_on(thread)) {
        struct transfer transfer = {.thread = thread,
                                    .from = (unsigned)random_below(&thread->random, ACCOUNTS),
                                    .amount = 1 + (int)random_below(&thread->random, 3)};
        transfer.to =
            (transfer.from + 1 + (unsigned)random_below(&thread->random, ACCOUNTS - 1)) % ACCOUNTS;
        struct txn_options options = {.level = TXN_SERIALIZABLE};
        if (random_below(&thread->random, 3) == 0)
            options.level = TXN_SNAPSHOT; /* it writes what it reads: enough for the sum */
        int rc = txn_run(f.workers[thread->number], &options, transfer_run, &transfer);
        check(thread, rc == 0, "a transfer failed");
        if (random_below(&thread->random, 4) == 0)
            look_at_sums(thread);
        if (random_below(&thread->random, 64) == 0)
            wal_kick(f.wal);
        thread->done++;
    }
    return NULL;
}

static void transfers_keep_the_sum_in_every_snapshot(void **state)
{
    (void)state;
    struct thread threads[THREADS];
    struct thread first = {0};
    random_create(&first.random, seed);
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        assert_int_equal(account_write(&first, txn, i, START_AMOUNT), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    run_threads(threads, transfers_main);
    fixture_settle(&f);
    unsigned rows, entries;
    txn = fixture_begin_readonly(&f, 0, true);
    assert_int_equal(sum_of(txn, &f.primary, false, &rows), ACCOUNTS * START_AMOUNT);
    assert_int_equal(sum_of(txn, &f.secondary, false, &entries), ACCOUNTS * START_AMOUNT);
    txn_rollback(txn);
    assert_int_equal(tree_count(f.head.tree), rows);
    assert_int_equal(fixture_entries(&f), rows);
}

/* ---------------------------------------------------------------------------------- registers */

/* What one committed transaction did with a register: it read `read` (a writer's number, 0 the
 * empty register), and wrote its own number over it if `wrote`. */
enum { REGISTERS = 6, HISTORY_MAX = 200000 };

struct register_use {
    uint32_t read;
    bool used, wrote;
};

struct history {
    uint32_t number; /* of the transaction, unique over all threads */
    struct register_use uses[REGISTERS];
};

struct register_run {
    struct thread *thread;
    struct history *history;
    unsigned scan_lower, scan_upper; /* registers read by one range scan */
    unsigned reads, writes;          /* bit sets of registers */
    bool by_key;
    char moved_to;
    char variants[REGISTERS]; /* where each was found, 0 nowhere */
};

/* A register is one row, under one of four keys: who writes it may move it, so that rows come and
 * go and readers depend on keys that are absent and on ranges. */
static void register_key(char *key, unsigned n, char variant)
{
    snprintf(key, 8, "reg%u%c", n, variant);
}

static void register_seen(struct register_run *run, unsigned n, char variant,
                          const struct version *version)
{
    check(run->thread, run->variants[n] == 0 || run->variants[n] == variant,
          "a register is under two keys");
    run->variants[n] = variant;
    memcpy(&run->history->uses[n].read, version->bytes, 4);
}

static void register_use(struct register_run *run, unsigned n)
{
    run->history->uses[n] = (struct register_use){.used = true};
    run->variants[n] = 0;
}

/* Reads the registers from `first` to `last` by a range. */
static int registers_scan(struct register_run *run, struct txn *txn, unsigned first, unsigned last)
{
    char lower[8], upper[8];
    register_key(lower, first, 'a');
    register_key(upper, last, 'd');
    struct txn_range range = {.lower = lower,
                              .lower_size = 5,
                              .lower_inclusive = true,
                              .upper = upper,
                              .upper_size = 5,
                              .upper_inclusive = true,
                              .backward = run->thread->number % 2};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc;
    for (unsigned n = first; n <= last; n++)
        register_use(run, n);
    struct txn_index index = {.tree = f.other.tree, .head = &f.other};
    txn_cursor_open(&cursor, txn, &index, &range);
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0)
        register_seen(run, (unsigned)row->key[3] - '0', (char)row->key[4], version);
    return rc == ERROR_END ? 0 : rc;
}

/* Reads one register key by key. */
static int register_get(struct register_run *run, struct txn *txn, unsigned n)
{
    register_use(run, n);
    for (char variant = 'a'; variant <= 'd'; variant++) {
        char key[8];
        const struct version *version;
        register_key(key, n, variant);
        int rc = txn_get(txn, &f.other, key, 5, &version);
        if (rc != 0)
            return rc;
        if (version != NULL)
            register_seen(run, n, variant, version);
    }
    return 0;
}

static int register_write(struct register_run *run, struct txn *txn, unsigned n)
{
    char key[8];
    int rc = 0;
    run->history->uses[n].wrote = true;
    if (run->variants[n] != 0 && run->variants[n] != run->moved_to) {
        register_key(key, n, run->variants[n]);
        rc = txn_delete(txn, &f.other, key, 5);
    }
    register_key(key, n, run->moved_to);
    return rc != 0 ? rc : txn_put(txn, &f.other, key, 5, &run->history->number, 4, NULL, NULL);
}

static int register_run(struct txn *txn, void *arg)
{
    struct register_run *run = arg;
    memset(run->history->uses, 0, sizeof run->history->uses);
    int rc = registers_scan(run, txn, run->scan_lower, run->scan_upper);
    for (unsigned n = 0; rc == 0 && n < REGISTERS; n++)
        if ((run->reads | run->writes) & 1u << n)
            rc = run->by_key ? register_get(run, txn, n) : registers_scan(run, txn, n, n);
    for (unsigned n = 0; rc == 0 && n < REGISTERS; n++)
        if (run->writes & 1u << n)
            rc = register_write(run, txn, n);
    return rc;
}

static _Atomic uint32_t number_next;

static void *registers_main(struct thread *thread)
{
    struct history *histories = calloc(HISTORY_MAX, sizeof *histories);
    while (histories != NULL && go_on(thread) && thread->done < HISTORY_MAX) {
        struct register_run run = {.thread = thread, .history = &histories[thread->done]};
        run.history->number = atomic_fetch_add(&number_next, 1) + 1;
        run.scan_lower = (unsigned)random_below(&thread->random, REGISTERS);
        run.scan_upper =
            run.scan_lower + (unsigned)random_below(&thread->random, REGISTERS - run.scan_lower);
        if (run.scan_upper > run.scan_lower + 1)
            run.scan_upper = run.scan_lower + 1;
        run.reads = 1u << random_below(&thread->random, REGISTERS);
        run.writes = 1u << random_below(&thread->random, REGISTERS);
        run.by_key = random_below(&thread->random, 2);
        run.moved_to = (char)('a' + random_below(&thread->random, 4));
        struct txn_options options = {.level = TXN_SERIALIZABLE};
        check(thread, txn_run(f.workers[thread->number], &options, register_run, &run) == 0,
              "a transaction over registers failed");
        if (random_below(&thread->random, 64) == 0)
            wal_kick(f.wal);
        thread->done++;
    }
    return histories;
}

/* The graph: transactions by number, edges to those that came later. */
struct graph {
    uint32_t count;
    const struct history **by_number; /* NULL: did not commit */
    uint32_t *next[REGISTERS];        /* who wrote over what a number had written; [0]: first */
};

static void graph_fill(struct graph *graph, struct thread *threads)
{
    graph->count = load_relaxed(&number_next) + 1;
    graph->by_number = calloc(graph->count, sizeof *graph->by_number);
    for (unsigned n = 0; n < REGISTERS; n++)
        graph->next[n] = calloc(graph->count, sizeof *graph->next[n]);
    for (unsigned i = 0; i < THREADS; i++)
        for (uint64_t k = 0; k < threads[i].done; k++) {
            const struct history *history = &((struct history *)threads[i].result)[k];
            graph->by_number[history->number] = history;
            for (unsigned n = 0; n < REGISTERS; n++) {
                if (!history->uses[n].wrote)
                    continue;
                uint32_t *over = &graph->next[n][history->uses[n].read];
                assert_int_equal(*over, 0); /* two wrote over the same: an update was lost */
                *over = history->number;
            }
        }
}

/* Who read a number that was written: comes after the writer. (Before the one who wrote over it:
 * that is `next`.) */
struct readers {
    uint32_t *first[REGISTERS]; /* of a number: one who read it */
    uint32_t *following[REGISTERS];
};

static void readers_fill(struct readers *readers, const struct graph *graph)
{
    for (unsigned n = 0; n < REGISTERS; n++) {
        readers->first[n] = calloc(graph->count, sizeof(uint32_t));
        readers->following[n] = calloc(graph->count, sizeof(uint32_t));
    }
    for (uint32_t number = 1; number < graph->count; number++)
        for (unsigned n = 0; graph->by_number[number] != NULL && n < REGISTERS; n++) {
            const struct register_use *use = &graph->by_number[number]->uses[n];
            if (!use->used)
                continue;
            readers->following[n][number] = readers->first[n][use->read];
            readers->first[n][use->read] = number;
        }
}

/* Kahn's order: whoever is left has a cycle before it. Returns how many are left. */
static uint32_t count_in_cycles(const struct graph *graph, const struct readers *readers)
{
    uint32_t *before = calloc(graph->count, sizeof *before), *queue = calloc(graph->count, 4);
    uint32_t head = 0, tail = 0, committed = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (uint32_t i = 1; pass == 0 && i < graph->count; i++)
            committed += graph->by_number[i] != NULL;
        for (uint32_t at = 1; pass == 1 && at < graph->count; at++)
            if (graph->by_number[at] != NULL && before[at] == 0)
                queue[tail++] = at;
        /* pass 0 counts the edges into each; pass 1 takes them away in order */
        for (uint32_t at = 1; pass == 0 ? at < graph->count : head < tail; at++) {
            uint32_t number = pass == 0 ? at : queue[head++];
            const struct history *history = graph->by_number[number];
            for (unsigned n = 0; history != NULL && n < REGISTERS; n++) {
                const struct register_use *use = &history->uses[n];
                uint32_t over = use->used ? graph->next[n][use->read] : 0;
                if (over != 0 && over != number) {
                    before[over] += pass == 0 ? 1u : 0u;
                    if (pass == 1 && --before[over] == 0)
                        queue[tail++] = over;
                }
                if (!use->wrote)
                    continue;
                for (uint32_t reader = readers->first[n][number]; reader != 0;
                     reader = readers->following[n][reader]) {
                    before[reader] += pass == 0 ? 1u : 0u;
                    if (pass == 1 && --before[reader] == 0)
                        queue[tail++] = reader;
                }
            }
        }
    }
    free(before);
    free(queue);
    return committed - tail;
}

static void histories_of_registers_are_serializable(void **state)
{
    (void)state;
    struct thread threads[THREADS];
    store_relaxed(&number_next, 0);
    run_threads(threads, registers_main);
    struct graph graph = {0};
    struct readers readers;
    graph_fill(&graph, threads);
    readers_fill(&readers, &graph);
    assert_int_equal(count_in_cycles(&graph, &readers), 0);
    /* The checker finds a cycle when there is one: two that each read what the other wrote over. */
    struct history *histories[2] = {threads[0].result, threads[1].result};
    histories[0][0].uses[0] = (struct register_use){.used = true, .read = histories[1][0].number};
    histories[1][0].uses[1] = (struct register_use){.used = true, .read = histories[0][0].number};
    histories[0][0].uses[1].wrote = histories[1][0].uses[0].wrote = true;
    struct readers forged;
    readers_fill(&forged, &graph);
    assert_true(count_in_cycles(&graph, &forged) > 0);
    for (unsigned n = 0; n < REGISTERS; n++) {
        free(readers.first[n]);
        free(readers.following[n]);
        free(forged.first[n]);
        free(forged.following[n]);
        free(graph.next[n]);
    }
    free(graph.by_number);
    for (unsigned i = 0; i < THREADS; i++)
        free(threads[i].result);
}

/* -------------------------------------------------------------------------------------- pairs */

/* Of the two keys of a pair at most one exists: who finds neither makes one, who finds one deletes
 * it. All that this rests on is what was absent. */
enum { PAIRS = 3 };

struct pair {
    struct thread *thread;
    unsigned number;
    bool by_range;
    char made;
};

/* Which of the two exist, as bits; -1 after a conflict. */
static int pair_look(struct txn *txn, const struct pair *pair)
{
    char key[8], until[8];
    const struct version *version;
    struct row *row;
    int found = 0, rc = 0;
    if (!pair->by_range) {
        for (unsigned i = 0; rc == 0 && i < 2; i++) {
            snprintf(key, sizeof key, "pair%u%c", pair->number, (char)('a' + i));
            rc = txn_get(txn, &f.other, key, 6, &version);
            found |= version != NULL ? 1 << i : 0;
        }
        return rc == 0 ? found : -1;
    }
    snprintf(key, sizeof key, "pair%u", pair->number);
    snprintf(until, sizeof until, "pair%u~", pair->number);
    struct txn_range range = {.lower = key, .lower_size = 5, .upper = until, .upper_size = 6};
    struct txn_index index = {.tree = f.other.tree, .head = &f.other};
    struct txn_cursor cursor;
    txn_cursor_open(&cursor, txn, &index, &range);
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0)
        found |= row->key[5] == 'a' ? 1 : 2;
    return rc == ERROR_END ? found : -1;
}

static int pair_run(struct txn *txn, void *arg)
{
    const struct pair *pair = arg;
    char key[8];
    int found = pair_look(txn, pair);
    if (found < 0)
        return ERROR_CONFLICT;
    check(pair->thread, found != 3, "both of a pair exist");
    char which = found == 0 ? pair->made : (char)('a' + found - 1);
    snprintf(key, sizeof key, "pair%u%c", pair->number, which);
    return found == 0 ? txn_put(txn, &f.other, key, 6, "", 0, NULL, NULL)
                      : txn_delete(txn, &f.other, key, 6);
}

static void *pairs_main(struct thread *thread)
{
    while (go_on(thread)) {
        struct pair pair = {.thread = thread,
                            .number = (unsigned)random_below(&thread->random, PAIRS),
                            .by_range = random_below(&thread->random, 2),
                            .made = (char)('a' + random_below(&thread->random, 2))};
        struct txn_options options = {.level = TXN_SERIALIZABLE};
        check(thread, txn_run(f.workers[thread->number], &options, pair_run, &pair) == 0,
              "a transaction over a pair failed");
        if (random_below(&thread->random, 16) == 0)
            wal_kick(f.wal);
        thread->done++;
    }
    return NULL;
}

static void of_two_keys_that_exclude_each_other_never_both_exist(void **state)
{
    (void)state;
    struct thread threads[THREADS];
    run_threads(threads, pairs_main);
}

/* ----------------------------------------------------------------------------------- counters */

enum { COUNTERS = 3 };

static int counter_run(struct txn *txn, void *arg)
{
    struct thread *thread = arg;
    char key[8];
    snprintf(key, sizeof key, "cnt%u", (unsigned)(thread->done % COUNTERS));
    const struct version *version;
    uint64_t value = 0;
    int rc = txn_get_for_update(txn, &f.other, key, 4, &version);
    if (rc != 0)
        return rc;
    if (version != NULL)
        memcpy(&value, version->bytes, sizeof value);
    value++;
    return txn_put(txn, &f.other, key, 4, &value, sizeof value, NULL, NULL);
}

static void *counters_main(struct thread *thread)
{
    while (go_on(thread)) {
        struct txn_options options = {.level = TXN_READ_COMMITTED};
        check(thread, txn_run(f.workers[thread->number], &options, counter_run, thread) == 0,
              "an increment failed");
        thread->done++;
        if (thread->done % 256 == 0)
            wal_kick(f.wal);
    }
    return NULL;
}

static void counters_lose_no_increment(void **state)
{
    (void)state;
    struct thread threads[THREADS];
    uint64_t done = run_threads(threads, counters_main), sum = 0;
    struct txn *txn = fixture_begin_readonly(&f, 0, true);
    for (unsigned i = 0; i < COUNTERS; i++) {
        char key[8];
        const struct version *version;
        uint64_t value;
        snprintf(key, sizeof key, "cnt%u", i);
        assert_int_equal(txn_get(txn, &f.other, key, 4, &version), 0);
        memcpy(&value, version->bytes, sizeof value);
        sum += value;
    }
    txn_rollback(txn);
    assert_int_equal(sum, done);
}

/* -------------------------------------------------------------------------------- unique keys */

enum { OWNERS = 8, NAMES = 4 };

struct naming {
    struct thread *thread;
    unsigned owner, name;
    bool release;
};

/* Takes a name for an owner or lets go of it; a duplicate is an answer, too. */
static int naming_run(struct txn *txn, void *arg)
{
    const struct naming *naming = arg;
    char key[8], value[8];
    snprintf(key, sizeof key, "own%u", naming->owner);
    snprintf(value, sizeof value, "n%u|", naming->name);
    if (naming->release)
        return fixture_delete(&f, txn, key);
    int rc = fixture_put(&f, txn, key, value);
    return rc == ERROR_DUPLICATE ? 0 : rc;
}

/* No name twice, in a snapshot. */
static void look_at_names(struct thread *thread)
{
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    if (txn_begin(f.workers[thread->number], &options, &txn) != 0)
        return;
    unsigned seen = 0;
    for (unsigned i = 0; i < OWNERS; i++) {
        char key[8];
        const struct version *version;
        snprintf(key, sizeof key, "own%u", i);
        if (txn_get(txn, &f.head, key, 4, &version) != 0 || version == NULL)
            continue;
        unsigned bit = 1u << (version->bytes[1] - '0');
        check(thread, !(seen & bit), "two rows have one unique key");
        seen |= bit;
    }
    txn_rollback(txn);
}

static void *names_main(struct thread *thread)
{
    static const enum txn_level levels[] = {TXN_READ_COMMITTED, TXN_SNAPSHOT, TXN_SERIALIZABLE};
    while (go_on(thread)) {
        struct naming naming = {.thread = thread,
                                .owner = (unsigned)random_below(&thread->random, OWNERS),
                                .name = (unsigned)random_below(&thread->random, NAMES),
                                .release = random_below(&thread->random, 3) == 0};
        struct txn_options options = {.level = levels[random_below(&thread->random, 3)]};
        check(thread, txn_run(f.workers[thread->number], &options, naming_run, &naming) == 0,
              "taking a name failed");
        if (random_below(&thread->random, 2) == 0)
            look_at_names(thread);
        if (random_below(&thread->random, 64) == 0)
            wal_kick(f.wal);
        thread->done++;
    }
    return NULL;
}

static void a_unique_key_has_one_row_whatever_races_for_it(void **state)
{
    (void)state;
    struct thread threads[THREADS];
    run_threads(threads, names_main);
    fixture_settle(&f);
    assert_int_equal(fixture_entries(&f), tree_count(f.head.tree));
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(transfers_keep_the_sum_in_every_snapshot),
        WITH_FIXTURE(histories_of_registers_are_serializable),
        WITH_FIXTURE(of_two_keys_that_exclude_each_other_never_both_exist),
        WITH_FIXTURE(counters_lose_no_increment),
        WITH_FIXTURE(a_unique_key_has_one_row_whatever_races_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
