/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Everything at once: writers that put and delete rows of two spaces and wait for the log, one that
 * truncates a third space and makes and drops a fourth, checkpoints and merging without a pause;
 * then the power is cut, and what is found must be what was acknowledged, or what was on its way.
 * Several lives of one database, so that runs, manifests and logs of earlier ones are there as well.
 *
 * PERIGEE_STRESS_SECONDS: how long, in all (2), for each engine.
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
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/checkpoint.h"
#include "db/db_fixture.h"
#include "storage/engines.h"

enum { WRITERS = 2, KEYS = 300, LIFE_MS = 250, SCHEMA_WORKER = 0 };

/* A row's value is how often its writer has changed it; a value that 4 divides: deleted. */
struct writer {
    unsigned number;
    struct random random;
    unsigned acknowledged[KEYS], tried[KEYS];
};

static struct db_fixture f;
static struct writer writers[WRITERS];
static _Atomic bool stop;
static unsigned truncations;

static const char *const spaces[WRITERS] = {"left", "right"};

static int change(struct writer *writer, unsigned key)
{
    char text[64];
    struct txn *txn;
    struct txn_worker *worker = db_worker_txn(f.workers[writer->number + 1]);
    const char *space = spaces[writer->number];
    unsigned value = writer->tried[key] + 1;
    int rc = txn_begin(worker, &(struct txn_options){.level = TXN_SERIALIZABLE}, &txn);
    if (rc != 0)
        return rc;
    if (value % 4 != 0) {
        snprintf(text, sizeof text, "[%u, %u]", key, value);
        rc = replace(&f, txn, space, text);
    } else {
        snprintf(text, sizeof text, "[%u]", key);
        rc = delete_by(&f, txn, space, "pk", text);
    }
    if (rc != 0) {
        txn_rollback(txn);
        return rc;
    }
    if ((rc = txn_commit(txn)) != 0)
        return rc;
    writer->tried[key] = value;
    if (random_below(&writer->random, 8) != 0)
        return 0; /* the next wait is for this one as well */
    rc = wal_wait(db_wal(f.db), txn_worker_seen_ts(worker));
    if (rc == 0)
        memcpy(writer->acknowledged, writer->tried, sizeof writer->tried);
    return rc;
}

static void *writer_main(void *arg)
{
    struct writer *writer = arg;
    while (!atomic_load(&stop)) {
        int rc = change(writer, (unsigned)random_below(&writer->random, KEYS));
        if (rc != 0 && rc != ERROR_CONFLICT)
            break; /* the power is off */
    }
    return NULL;
}

/* An insertion by the worker that changes the schema; of the fixture's the beginning may not fail. */
static int insert_into(const char *space, const char *text)
{
    struct txn *txn;
    struct txn_worker *worker = db_worker_txn(f.workers[SCHEMA_WORKER]);
    int rc = txn_begin(worker, &(struct txn_options){.level = TXN_SERIALIZABLE}, &txn);
    if (rc != 0)
        return rc;
    rc = insert(&f, txn, space, text);
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

/* Truncates one space and fills it a little, and makes, fills and drops another. */
static void *schema_main(void *arg)
{
    struct random *random = arg;
    while (!atomic_load(&stop)) {
        char text[64];
        snprintf(text, sizeof text, "[%u, 1]", (unsigned)random_below(random, 50));
        int rc = random_below(random, 20) == 0 ? truncate_space(&f, "third")
                                               : insert_into("third", text);
        truncations += rc == 0;
        if (random_below(random, 20) == 0 && make_space(&f, "fourth", NULL) == 0) {
            make_index(&f, "fourth", "pk", NULL);
            for (unsigned i = 0; i < 10 && space_of(&f, NULL, "fourth") != NULL; i++)
                insert_into("fourth", text);
            drop_space(&f, "fourth");
        }
        if (rc != 0 && rc != ERROR_DUPLICATE && rc != ERROR_CONFLICT)
            break;
    }
    return NULL;
}

static void *checkpoint_main(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop))
        db_checkpoint(f.db);
    return NULL;
}

static unsigned value_of(const char *space, unsigned key)
{
    char text[64];
    unsigned found_key, value = 0;
    snprintf(text, sizeof text, "[%u]", key);
    const char *found = get_by(&f, NULL, space, "pk", text);
    if (found != NULL)
        assert_int_equal(sscanf(found, "[%u,%u]", &found_key, &value), 2);
    return value;
}

static unsigned shown(unsigned value)
{
    return value % 4 == 0 ? 0 : value;
}

/* What is found becomes what the next life begins with. */
static void check(struct writer *writer)
{
    for (unsigned key = 0; key < KEYS; key++) {
        unsigned found = value_of(spaces[writer->number], key);
        unsigned value = writer->acknowledged[key];
        while (shown(value) != found && value < writer->tried[key])
            value++;
        if (shown(value) != found)
            fail_msg("space %s, key %u: found %u, acknowledged %u, tried %u",
                     spaces[writer->number], key, found, writer->acknowledged[key],
                     writer->tried[key]);
        writer->acknowledged[key] = writer->tried[key] = value;
    }
}

static void live(uint64_t seed, struct random *random)
{
    pthread_t threads[WRITERS], schema, checkpoints;
    atomic_store(&stop, false);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, &writers[i]), 0);
    assert_int_equal(pthread_create(&schema, NULL, schema_main, random), 0);
    assert_int_equal(pthread_create(&checkpoints, NULL, checkpoint_main, NULL), 0);
    uint64_t end_ns = clock_monotonic_ns(clock_system()) + LIFE_MS * UINT64_C(1000000);
    while (clock_monotonic_ns(clock_system()) < end_ns)
        sched_yield();
    disk_cut(f.disk, seed);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(schema, NULL);
    pthread_join(checkpoints, NULL);
}

static void what_was_acknowledged_beside_everything_is_there_after_each_cut(void **state)
{
    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t seed = test_seed(), lives = 0, checkpoints = 0, merges = 0;
    uint64_t seconds = text == NULL ? 2 : strtoull(text, NULL, 10);
    uint64_t end_ns = clock_monotonic_ns(clock_system()) + seconds * UINT64_C(1000000000);
    struct random random;
    random_create(&random, seed);
    db_fixture_open(&f);
    f.engine = *state;
    truncations = 0;
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.number = i};
        random_create(&writers[i].random, seed + i);
        assert_int_equal(make_space(&f, spaces[i], NULL), 0);
        assert_int_equal(make_index(&f, spaces[i], "pk", NULL), 0);
    }
    assert_int_equal(make_space(&f, "third", NULL), 0);
    assert_int_equal(make_index(&f, "third", "pk", NULL), 0);
    assert_int_equal(db_checkpoint(f.db), 0);
    for (; clock_monotonic_ns(clock_system()) < end_ns || lives < 2; lives++) {
        struct db_checkpoint_stats stats;
        live(seed + lives, &random);
        db_checkpoint_stats_get(f.db, &stats);
        checkpoints += stats.count;
        merges += stats.merges;
        db_fixture_stop(&f);
        int rc = db_fixture_start(&f, false);
        if (rc != 0)
            fail_msg("the database does not open: %s", diag_message_for(rc));
        for (unsigned i = 0; i < WRITERS; i++)
            check(&writers[i]);
        drop_space(&f, "fourth");
    }
    printf("%llu lives, %llu checkpoints, %llu merges, %u changes of other spaces\n",
           (unsigned long long)lives, (unsigned long long)checkpoints, (unsigned long long)merges,
           truncations);
    db_fixture_close(&f);
}

int main(void)
{
    log_level_set(LOG_ERROR);
    struct CMUnitTest tests[ENGINES_MAX];
    unsigned count =
        engines_tests(tests, "what was acknowledged beside everything is there after each cut",
                      what_was_acknowledged_beside_everything_is_there_after_each_cut, NULL, NULL);
    return engines_run("checkpoints beside everything", tests, count);
}
