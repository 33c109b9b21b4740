/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power is cut at a random call while transactions over several rows and spaces run and
 * checkpoints are made, and sometimes again while recovering. An oracle outside of the database
 * keeps every transaction that was committed, in order, and how many of them were acknowledged:
 * what is found afterwards must be the state after some number of them, all those acknowledged
 * among them. So none is there in part, none without those before it, and nothing that was
 * acknowledged is lost.
 *
 * All of it for spaces of each engine.
 *
 * The same against a log writer that skips its flush must lose something: that shows that this test
 * would notice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/checkpoint.h"
#include "db/db_fixture.h"
#include "storage/engines.h"

enum { SPACES = 2, KEYS = 12, TRANSACTIONS = 60, OPS_MAX = 8, RUNS = 150, CALLS_MAX = 400 };

/* What one transaction does: values[space][key], -1 where it does nothing, 0 deletes. */
struct change {
    int values[SPACES][KEYS];
};

struct run {
    struct db_fixture f;
    struct random random;
    struct change changes[TRANSACTIONS]; /* committed, in order of their timestamps */
    unsigned committed, acknowledged;
    bool skip_flush;
};

static const char *const names[SPACES] = {"left", "right"};

static void schema_make(struct db_fixture *f)
{
    for (unsigned i = 0; i < SPACES; i++) {
        assert_int_equal(make_space(f, names[i], NULL), 0);
        assert_int_equal(make_index(f, names[i], "pk", NULL), 0);
        assert_int_equal(make_index(f, names[i], "value",
                                    "{\"unique\": false, \"parts\": [[2, "
                                    "\"unsigned\"]]}"),
                         0);
    }
}

static struct change change_choose(struct random *random, int number)
{
    struct change change;
    memset(&change, 0xff, sizeof change);
    for (uint64_t ops = 1 + random_below(random, OPS_MAX); ops > 0; ops--)
        change.values[random_below(random, SPACES)][random_below(random, KEYS)] =
            random_below(random, 4) == 0 ? 0 : number;
    return change;
}

static int change_apply(struct run *run, struct txn *txn, const struct change *change)
{
    char text[64];
    int rc = 0;
    for (unsigned i = 0; i < SPACES; i++)
        for (unsigned key = 0; rc == 0 && key < KEYS; key++) {
            int value = change->values[i][key];
            if (value > 0) {
                snprintf(text, sizeof text, "[%u, %d]", key, value);
                rc = replace(&run->f, txn, names[i], text);
            } else if (value == 0) {
                snprintf(text, sizeof text, "[%u]", key);
                rc = delete_by(&run->f, txn, names[i], "pk", text);
            }
        }
    return rc;
}

/* A group is acknowledged at the largest of its timestamps. A transaction that wrote nothing, since
 * what it deletes is not there, has one that is older than those before it. */
static void rest_on(uint64_t *ts, uint64_t seen_ts)
{
    if (seen_ts > *ts)
        *ts = seen_ts;
}

/* One transaction; 0, ERROR_CONFLICT, or what the failing log says. */
static int transaction_run(struct run *run, unsigned worker, uint64_t *ts)
{
    struct txn *txn;
    struct txn_worker *txn_worker = db_worker_txn(run->f.workers[worker]);
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    int rc = txn_begin(txn_worker, &options, &txn);
    if (rc != 0)
        return rc;
    struct change change = change_choose(&run->random, (int)run->committed + 1);
    rc = change_apply(run, txn, &change);
    if (rc != 0) {
        txn_rollback(txn);
        return rc;
    }
    if ((rc = txn_commit(txn)) != 0)
        return rc;
    rest_on(ts, txn_worker_seen_ts(txn_worker));
    run->changes[run->committed++] = change;
    return 0;
}

/* A truncation is a transaction like the others. */
static int truncation_run(struct run *run, uint64_t *ts)
{
    struct change change;
    memset(&change, 0xff, sizeof change);
    memset(change.values[1], 0, sizeof change.values[1]);
    int rc = truncate_space(&run->f, names[1]);
    if (rc != 0)
        return rc;
    rest_on(ts, txn_worker_seen_ts(db_worker_txn(run->f.workers[0])));
    run->changes[run->committed++] = change;
    return 0;
}

/* Commits in groups over all workers and waits after each, until the first error. */
static void work(struct run *run)
{
    while (run->committed < TRANSACTIONS) {
        uint64_t ts = 0;
        for (uint64_t group = 1 + random_below(&run->random, 5);
             group > 0 && run->committed < TRANSACTIONS; group--) {
            int rc = random_below(&run->random, 16) == 0
                         ? truncation_run(run, &ts)
                         : transaction_run(
                               run, (unsigned)random_below(&run->random, DB_FIXTURE_WORKERS), &ts);
            if (rc != 0)
                return;
            if (random_below(&run->random, 3) == 0)
                wal_kick(db_wal(run->f.db));
            if (random_below(&run->random, 2) == 0) /* what was deleted leaves the trees */
                txn_collect(
                    db_worker_txn(run->f.workers[random_below(&run->random, DB_FIXTURE_WORKERS)]),
                    SIZE_MAX);
        }
        if (wal_wait(db_wal(run->f.db), ts) != 0)
            return;
        run->acknowledged = run->committed;
        if (random_below(&run->random, 4) == 0)
            db_checkpoint(run->f.db); /* which may fail: the power may be cut in it */
    }
}

/* Reads both spaces by an index; -1 where there is no row. */
static void state_read(struct run *run, const char *index, struct change *state)
{
    memset(state, 0, sizeof *state);
    for (unsigned i = 0; i < SPACES; i++) {
        const char *at = select_by(&run->f, NULL, names[i], index, ITERATOR_ALL, NULL);
        assert_string_not_equal(at, "error");
        unsigned key;
        int value, size;
        while (sscanf(at, " [%u,%d]%n", &key, &value, &size) == 2) {
            assert_true(key < KEYS && state->values[i][key] == 0);
            state->values[i][key] = value;
            at += size;
        }
        assert_int_equal(*at, '\0');
    }
}

/* Whether what is found is the state after as many transactions as were acknowledged, or more. */
static bool state_is_right(struct run *run)
{
    struct change found, by_value, expected = {0};
    state_read(run, "pk", &found);
    state_read(run, "value", &by_value);
    assert_memory_equal(&found, &by_value, sizeof found);
    for (unsigned count = 0;; count++) {
        if (count >= run->acknowledged && memcmp(&expected, &found, sizeof found) == 0)
            return true;
        if (count == run->committed)
            return false;
        for (unsigned i = 0; i < SPACES; i++)
            for (unsigned key = 0; key < KEYS; key++)
                if (run->changes[count].values[i][key] >= 0)
                    expected.values[i][key] = run->changes[count].values[i][key];
    }
}

/* Recovers, perhaps interrupted by further cuts. False: what is on the disk cannot be opened. */
static bool recover(struct run *run)
{
    for (unsigned cuts = (unsigned)random_below(&run->random, 3); cuts > 0; cuts--) {
        disk_cut_after(run->f.disk, 1 + random_below(&run->random, 40));
        if (db_fixture_start(&run->f, run->skip_flush) == 0) {
            if (random_below(&run->random, 2) == 0)
                db_checkpoint(run->f.db);
            db_fixture_stop(&run->f);
        }
        disk_cut(run->f.disk, random_next(&run->random));
    }
    int rc = db_fixture_start(&run->f, false);
    if (rc != 0 && !run->skip_flush)
        fail_msg("the database does not open: %s", diag_message_for(rc));
    return rc == 0;
}

/* One life of a database, and what is found after its end. False: it is not right. */
static bool run_once(const char *engine, uint64_t seed, bool skip_flush)
{
    struct run *run = calloc(1, sizeof *run);
    run->skip_flush = skip_flush;
    run->f.engine = engine;
    random_create(&run->random, seed);
    run->f.disk = disk_new(seed);
    disk_tear(run->f.disk, random_below(&run->random, 2) ? 512 : 4096);
    assert_int_equal(db_fixture_start(&run->f, false), 0);
    schema_make(&run->f);
    db_fixture_stop(&run->f);
    assert_int_equal(db_fixture_start(&run->f, skip_flush), 0);
    disk_cut_after(run->f.disk, 1 + random_below(&run->random, CALLS_MAX));
    work(run);
    db_fixture_stop(&run->f);
    disk_cut(run->f.disk, random_next(&run->random));
    bool right = false;
    if (recover(run)) {
        right = space_of(&run->f, NULL, "left") != NULL &&
                space_of(&run->f, NULL, "right") != NULL && state_is_right(run);
        db_fixture_stop(&run->f);
    }
    disk_delete(run->f.disk);
    free(run);
    return right;
}

static void what_was_acknowledged_survives_and_nothing_is_there_in_part(void **state)
{
    const char *engine = *state, *text = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t seed = test_seed(), runs = 0;
    uint64_t stop_ns = clock_monotonic_ns(clock_system()) +
                       (text == NULL ? 0 : strtoull(text, NULL, 10) * UINT64_C(1000000000));
    for (; runs < RUNS || clock_monotonic_ns(clock_system()) < stop_ns; runs++)
        if (!run_once(engine, seed + runs, false))
            fail_msg("run %llu (PERIGEE_SEED=%llu): an acknowledged transaction is lost, or one is "
                     "there in part",
                     (unsigned long long)runs, (unsigned long long)(seed + runs));
    printf("%llu lives\n", (unsigned long long)runs);
}

static void a_log_that_skips_its_flush_is_found_out(void **state)
{
    uint64_t seed = test_seed(), lost = 0;
    for (uint64_t run = 0; run < RUNS / 3; run++)
        lost += !run_once(*state, seed + run, true);
    printf("%llu of %d lives lost what was acknowledged\n", (unsigned long long)lost, RUNS / 3);
    assert_true(lost > 0);
}

int main(void)
{
    log_level_set(LOG_ERROR);
    struct CMUnitTest tests[2 * ENGINES_MAX];
    unsigned count =
        engines_tests(tests, "what_was_acknowledged_survives_and_nothing_is_there_in_part",
                      what_was_acknowledged_survives_and_nothing_is_there_in_part, NULL, NULL);
    count += engines_tests(tests + count, "a_log_that_skips_its_flush_is_found_out",
                           a_log_that_skips_its_flush_is_found_out, NULL, NULL);
    return engines_run("power cuts", tests, count);
}
