/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A space is altered while others write (invariant 29): writers insert, change, delete and roll back
 * rows of it, some of which do not fit what is coming, and rows that they refer to; one thread puts a
 * format, a constraint or a foreign key in force. When it has succeeded each row fits and refers to a
 * row that is there, then and for as long as it stays in force; when it has failed nothing of it is
 * left. At the end, and after a restart, too.
 *
 * All of it for spaces of each engine. Where rows leave memory there are no foreign keys, and checkpoints take rows away
 * meanwhile.
 *
 * PERIGEE_STRESS_SECONDS: how long, of each engine (2).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/mp.h"
#include "db/db_fixture.h"
#include "db/db_private.h"
#include "storage/engines.h"

enum { WRITERS = DB_FIXTURE_WORKERS - 1, KEYS = 3000, PARENTS = 30 };

static struct db_fixture f;
static _Atomic bool stop;
static _Atomic unsigned committed, turned_down;
static _Atomic unsigned bad_one_in; /* a row that does not fit, of so many */
static uint64_t seed;

struct kind {
    const char *options, *none;
};

static const struct kind kinds[] = {
    {"{\"format\": [[\"id\", \"unsigned\"], [\"value\", \"unsigned\"]]}", "{\"format\": []}"},
    {"{\"constraint\": {\"positive\": [[1, \"\", \">=\", 0]]}}", "{\"constraint\": {}}"},
    {"{\"foreign_key\": {\"up\": {\"space\": \"p\", \"field\": [[2, 0]]}}}",
     "{\"foreign_key\": {}}"},
};
enum { KINDS = sizeof kinds / sizeof *kinds, REFERRING = 2 };

/* s: [id, value, parent]; p: [id]. */
static int row_write(struct txn *txn, struct random *random)
{
    char text[64];
    unsigned key = (unsigned)random_below(random, KEYS), one_in = load_relaxed(&bad_one_in);
    unsigned parent = (unsigned)random_below(random, PARENTS);
    bool bad = one_in != 0 && random_below(random, one_in) == 0;
    switch (random_below(random, 8)) {
    case 0:
        snprintf(text, sizeof text, "[%u]", key);
        return delete_by(&f, txn, "s", "pk", text);
    case 1: /* of those that nothing refers to but bad rows, and some that are referred to */
        snprintf(text, sizeof text, "[%u]", parent + (one_in == 0 || bad ? 0 : PARENTS));
        return delete_by(&f, txn, "p", "pk", text);
    case 2:
        snprintf(text, sizeof text, "[%u]", parent + PARENTS * (unsigned)random_below(random, 2));
        return replace(&f, txn, "p", text);
    default:
        snprintf(text, sizeof text, "[%u, %d, %u]", key, bad ? -1 : (int)random_below(random, 100),
                 bad ? parent + PARENTS : parent);
        return replace(&f, txn, "s", text);
    }
}

static void write_once(struct txn_worker *worker, struct random *random)
{
    static const enum txn_level levels[] = {TXN_READ_COMMITTED, TXN_SNAPSHOT, TXN_SERIALIZABLE};
    struct txn *txn;
    int rc =
        txn_begin(worker, &(struct txn_options){.level = levels[random_below(random, 3)]}, &txn);
    assert_int_equal(rc, 0);
    for (uint64_t n = 1 + random_below(random, 4); rc == 0 && n > 0; n--) {
        rc = row_write(txn, random);
        if (rc == ERROR_CONSTRAINT || rc == ERROR_SCHEMA) { /* it has changed nothing */
            atomic_fetch_add(&turned_down, 1);
            rc = 0;
        }
    }
    if (rc != 0 || random_below(random, 8) == 0)
        txn_rollback(txn);
    else
        rc = txn_commit(txn);
    if (rc == 0)
        atomic_fetch_add(&committed, 1);
    else if (rc != ERROR_CONFLICT)
        fail_msg("seed %llu: %s: %s", (unsigned long long)seed, error_name(rc),
                 diag_message_for(rc));
}

static void *writer_main(void *arg)
{
    unsigned writer = (unsigned)(uintptr_t)arg;
    struct random random;
    random_create(&random, seed + writer + 1);
    while (!load_relaxed(&stop))
        write_once(db_worker_txn(f.workers[1 + writer]), &random);
    return NULL;
}

static bool fits(struct txn *txn, unsigned kind, const char *tuple)
{
    struct tuple_ref found;
    const char *value = mp_array_at(tuple, kind == REFERRING ? 2 : 1), *end = value;
    if (kind != REFERRING)
        return mp_typeof(*value) == MP_UINT;
    char key[16] = "\x91";
    mp_next(&end);
    memcpy(key + 1, value, (size_t)(end - value));
    assert_int_equal(space_get(txn, index_of(&f, txn, "p", "pk"), key, &found), 0);
    return found.data != NULL;
}

static void compare(unsigned kind, const char *when)
{
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct txn *txn;
    struct space_cursor cursor;
    struct tuple_ref tuple;
    assert_int_equal(txn_begin(db_worker_txn(f.workers[0]), &options, &txn), 0);
    assert_int_equal(
        space_cursor_open(&cursor, txn, index_of(&f, txn, "s", "pk"), ITERATOR_ALL, NULL), 0);
    while (space_cursor_next(&cursor, &tuple) == 0)
        if (!fits(txn, kind, tuple.data))
            fail_msg("seed %llu, %s: a row does not fit kind %u", (unsigned long long)seed, when,
                     kind);
    txn_rollback(txn);
}

static int alter(const char *options)
{
    return ddl_space_alter(f.workers[0], space_of(&f, NULL, "s")->id, mp_of(options, NULL));
}

/* Alters it, with rows about that do not fit or without; true: it is in force. */
static bool alter_once(struct random *random, unsigned kind)
{
    bool any_bad = random_below(random, 2) == 0;
    unsigned before = load_relaxed(&committed);
    store_relaxed(&bad_one_in, any_bad ? 200 : 0);
    while (any_bad && load_relaxed(&committed) - before < 100)
        sched_yield();
    int rc = alter(kinds[kind].options);
    const struct space *space = space_of(&f, NULL, "s");
    if (rc != 0 && rc != ERROR_CONSTRAINT && rc != ERROR_SCHEMA)
        fail_msg("seed %llu: %s", (unsigned long long)seed, diag_message_for(rc));
    assert_null(space->coming);
    assert_int_equal(space->field_count + space->constraint_count + space->foreign_key_count > 0,
                     rc == 0);
    if (rc != 0)
        return false;
    store_relaxed(&bad_one_in, 20);
    compare(kind, "at once");
    compare(kind, "later");
    return true;
}

/* Rows that do not fit are put right, so that the next time may succeed. */
static void repair(void)
{
    struct txn *txn = begin(&f, 0, TXN_READ_COMMITTED);
    char text[64];
    for (unsigned i = 0; i < PARENTS; i++) {
        snprintf(text, sizeof text, "[%u]", i);
        assert_int_equal(replace(&f, txn, "p", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    for (unsigned key = 0; key < KEYS; key++) {
        snprintf(text, sizeof text, "[%u, 1, %u]", key, key % PARENTS);
        assert_int_equal(replace(&f, NULL, "s", text), 0);
    }
}

static void what_is_in_force_holds_for_all_rows(void **state)
{
    const char *seconds = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t end = clock_monotonic_ns(clock_system()) +
                   (seconds == NULL ? 2 : strtoull(seconds, NULL, 10)) * UINT64_C(1000000000);
    struct random random;
    unsigned done = 0, failed = 0, kind = 0;
    bool in_force = false;
    seed = test_seed();
    random_create(&random, seed);
    db_fixture_open(&f);
    f.engine = *state;
    if (!engines_resident(f.engine)) {
        f.checkpoint.interval_ms = 20;
        db_fixture_reopen(&f);
    }
    f.db->online_rows_min = 1;
    assert_int_equal(make_space(&f, "p", NULL), 0);
    assert_int_equal(make_index(&f, "p", "pk", NULL), 0);
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(
        make_index(&f, "s", "up", "{\"unique\": false, \"parts\": [[3, \"unsigned\"]]}"), 0);
    while (clock_monotonic_ns(clock_system()) < end) {
        pthread_t threads[WRITERS];
        if (in_force)
            assert_int_equal(alter(kinds[kind].none), 0);
        repair();
        store_relaxed(&stop, false);
        for (uintptr_t i = 0; i < WRITERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, writer_main, (void *)i), 0);
        kind = (unsigned)random_below(&random, engines_resident(f.engine) ? KINDS : REFERRING);
        in_force = alter_once(&random, kind);
        store_relaxed(&stop, true);
        for (unsigned i = 0; i < WRITERS; i++)
            pthread_join(threads[i], NULL);
        if (in_force)
            compare(kind, "in the end");
        done += in_force;
        failed += !in_force;
    }
    db_fixture_reopen(&f);
    if (in_force)
        compare(kind, "after a restart");
    print_message("%u in force, %u failed, %u commits, %u statements refused\n", done, failed,
                  load_relaxed(&committed), load_relaxed(&turned_down));
    db_fixture_close(&f);
}

int main(void)
{
    struct CMUnitTest tests[ENGINES_MAX];
    unsigned count = engines_tests(tests, "what_is_in_force_holds_for_all_rows",
                                   what_is_in_force_holds_for_all_rows, NULL, NULL);
    return engines_run("spaces that are altered", tests, count);
}
