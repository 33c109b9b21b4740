/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows are referred to and taken away by several threads at once (invariant 30), at every level, with
 * keys that restrict, cascade and set to nil, also when they change, by primary and by secondary
 * unique keys, and with savepoints. Whoever looks meanwhile, and at the end, and after a restart,
 * finds no reference to a row that is not there.
 *
 * PERIGEE_STRESS_SECONDS: how long, in all (2).
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
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/mp.h"
#include "db/db_fixture.h"

enum { WRITERS = DB_FIXTURE_WORKERS - 1, PARENTS = 12, CHILDREN = 60, KEYS = 3 };

static struct db_fixture f;
static _Atomic bool stop;
static _Atomic unsigned written, turned_down, conflicts;
static uint64_t seed;

/* p: [id, code]; c: [id, parent by id or nil, parent's code or nil, other row of c or nil]. */
static void spaces_make(const char *action, const char *by_code, const char *own)
{
    char options[700];
    snprintf(options, sizeof options,
             "{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"p\", \"type\": \"unsigned\", "
             "\"is_nullable\": true}, {\"name\": \"code\", \"type\": \"unsigned\", "
             "\"is_nullable\": true}, {\"name\": \"own\", \"type\": \"unsigned\", \"is_nullable\": "
             "true}], \"foreign_key\": {\"a\": {\"space\": \"p\", \"field\": {\"p\": \"id\"}, "
             "\"on_delete\": \"%s\"}, \"b\": {\"space\": \"p\", \"field\": {\"code\": \"code\"}, "
             "\"on_delete\": \"%s\", \"on_update\": \"%s\"}, \"o\": {\"space\": \"c\", \"field\": "
             "{\"own\": \"id\"}, "
             "\"on_delete\": \"%s\"}}}",
             action, by_code, own, own);
    assert_int_equal(
        make_space(&f, "p", "{\"format\": [[\"id\", \"unsigned\"], [\"code\", \"unsigned\"]]}"), 0);
    assert_int_equal(make_index(&f, "p", "pk", NULL), 0);
    assert_int_equal(make_index(&f, "p", "code", "{\"parts\": [\"code\"]}"), 0);
    if (make_space(&f, "c", options) != 0)
        fail_msg("%s", diag_message());
    assert_int_equal(make_index(&f, "c", "pk", NULL), 0);
    assert_int_equal(make_index(&f, "c", "p", "{\"unique\": false, \"parts\": [\"p\"]}"), 0);
    assert_int_equal(make_index(&f, "c", "code", "{\"unique\": false, \"parts\": [\"code\"]}"), 0);
    assert_int_equal(make_index(&f, "c", "own", "{\"unique\": false, \"parts\": [\"own\"]}"), 0);
}

static const char *or_nil(char *out, struct random *random, unsigned bound)
{
    if (random_below(random, 3) == 0)
        return "null";
    snprintf(out, 16, "%u", (unsigned)random_below(random, bound));
    return out;
}

static int row_write(struct txn *txn, struct random *random)
{
    char text[96], one[16], two[16], three[16];
    unsigned parent = (unsigned)random_below(random, PARENTS);
    unsigned child = (unsigned)random_below(random, CHILDREN);
    switch (random_below(random, 6)) {
    case 0:
        snprintf(text, sizeof text, "[%u]", parent);
        return delete_by(&f, txn, "p", "pk", text);
    case 1: /* a code that only this row takes, of a few */
        snprintf(text, sizeof text, "[%u, %u]", parent,
                 parent * 2 + (unsigned)random_below(random, 2));
        return replace(&f, txn, "p", text);
    case 2:
        snprintf(text, sizeof text, "[%u]", child);
        return delete_by(&f, txn, "c", "pk", text);
    default:
        snprintf(text, sizeof text, "[%u, %s, %s, %s]", child, or_nil(one, random, PARENTS),
                 or_nil(two, random, PARENTS * 2), or_nil(three, random, CHILDREN));
        return replace(&f, txn, "c", text);
    }
}

static void write_once(struct txn_worker *worker, struct random *random)
{
    static const enum txn_level levels[] = {TXN_READ_UNCOMMITTED, TXN_READ_COMMITTED, TXN_SNAPSHOT,
                                            TXN_SERIALIZABLE};
    struct txn *txn;
    int rc =
        txn_begin(worker, &(struct txn_options){.level = levels[random_below(random, 4)]}, &txn);
    assert_int_equal(rc, 0);
    for (uint64_t n = 1 + random_below(random, 4); rc == 0 && n > 0; n--) {
        struct txn_savepoint savepoint = txn_savepoint(txn);
        txn_statement(txn);
        rc = row_write(txn, random);
        if (rc == ERROR_CONSTRAINT) { /* it has changed nothing, and the rest goes on */
            atomic_fetch_add(&turned_down, 1);
            rc = 0;
        } else if (rc == 0 && random_below(random, 8) == 0) {
            txn_rollback_to(txn, savepoint);
        }
    }
    if (rc != 0 || random_below(random, 8) == 0)
        txn_rollback(txn);
    else
        rc = txn_commit(txn);
    if (rc != 0 && rc != ERROR_CONFLICT)
        fail_msg("seed %llu: %s: %s", (unsigned long long)seed, error_name(rc),
                 diag_message_for(rc));
    atomic_fetch_add(rc == 0 ? &written : &conflicts, 1);
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

static bool is_there(struct txn *txn, const char *space, const char *index, const char *value)
{
    char key[16] = "\x91";
    const char *end = value;
    struct tuple_ref found;
    mp_next(&end);
    memcpy(key + 1, value, (size_t)(end - value));
    assert_int_equal(space_get(txn, index_of(&f, txn, space, index), key, &found), 0);
    return found.data != NULL;
}

static void compare(const char *when)
{
    static const struct {
        uint32_t field;
        const char *space, *index;
    } keys[KEYS] = {{1, "p", "pk"}, {2, "p", "code"}, {3, "c", "pk"}};
    struct txn *txn = begin_readonly(&f, 0);
    struct space_cursor cursor;
    struct tuple_ref tuple;
    assert_int_equal(
        space_cursor_open(&cursor, txn, index_of(&f, txn, "c", "pk"), ITERATOR_ALL, NULL), 0);
    while (space_cursor_next(&cursor, &tuple) == 0)
        for (unsigned i = 0; i < KEYS; i++) {
            const char *value = mp_array_at(tuple.data, keys[i].field);
            if (value != NULL && mp_typeof(*value) != MP_NIL &&
                !is_there(txn, keys[i].space, keys[i].index, value))
                fail_msg("seed %llu, %s: a row refers to nothing by key %u",
                         (unsigned long long)seed, when, i);
        }
    txn_rollback(txn);
}

static void no_reference_leads_to_a_row_that_is_not_there(void **state)
{
    (void)state;
    static const char *const actions[] = {"restrict", "cascade", "set_null"};
    const char *seconds = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t each = (seconds == NULL ? 2 : strtoull(seconds, NULL, 10)) * UINT64_C(1000000000) / 3;
    seed = test_seed();
    for (unsigned round = 0; round < 3; round++) {
        pthread_t writers[WRITERS];
        db_fixture_open(&f);
        spaces_make(actions[round], actions[(round + 1) % 3], actions[(round + 2) % 3]);
        store_relaxed(&stop, false);
        for (unsigned i = 0; i < WRITERS; i++)
            assert_int_equal(pthread_create(&writers[i], NULL, writer_main, (void *)(uintptr_t)i),
                             0);
        uint64_t end = clock_monotonic_ns(clock_system()) + each;
        while (clock_monotonic_ns(clock_system()) < end)
            compare("meanwhile");
        store_relaxed(&stop, true);
        for (unsigned i = 0; i < WRITERS; i++)
            pthread_join(writers[i], NULL);
        compare("in the end");
        db_fixture_reopen(&f);
        compare("after a restart");
        db_fixture_close(&f);
    }
    assert_true(load_relaxed(&written) > 0);
    print_message("%u committed, %u statements refused, %u lost\n", load_relaxed(&written),
                  load_relaxed(&turned_down), load_relaxed(&conflicts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_reference_leads_to_a_row_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
