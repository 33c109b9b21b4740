/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Indexes are built, made again and dropped while others write (invariant 29): writers insert, change,
 * delete and roll back rows without a pause; one thread makes an index of some kind, or the present one again,
 * and looks whether it holds exactly what the rows say. At the end, and after a restart, too. In spaces whose
 * rows leave memory checkpoints take them away meanwhile, and the indexes are made of what is in the body.
 *
 * PERIGEE_STRESS_SECONDS: how long, of each engine (2).
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
#include "db/db_private.h"

enum { WRITERS = 2, KEYS = 3000, VALUES = 40 };

static struct db_fixture f;
static _Atomic bool stop;
static _Atomic unsigned committed;
static uint64_t seed;

/* What each kind demands of the rows: pairs of a key and a row's number. */
struct kind {
    const char *options;
    const char *elsewhere; /* of another engine than 'memory'; NULL: none */
};

#define PLAIN   "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}"
#define MULTI   "{\"unique\": false, \"parts\": [{\"field\": \"[3][*]\", \"type\": \"unsigned\"}]}"
#define PARTIAL "{\"unique\": false, \"parts\": [[2, \"unsigned\"]], \"condition\": [2, \">\", 20]}"
#define DESCENDING                                                                            \
    "{\"unique\": false, \"parts\": [{\"field\": 2, \"type\": \"unsigned\", \"sort_order\": " \
    "\"desc\"}]}"

static const struct kind kinds[] = {
    {PLAIN, PLAIN},
    {MULTI, MULTI},
    {PARTIAL, PARTIAL},
    {"{\"parts\": [[4, \"unsigned\"]], \"type\": \"hash\"}", "{\"parts\": [[4, \"unsigned\"]]}"},
    {DESCENDING, DESCENDING},
    {"{\"unique\": false, \"func\": \"value()\"}", NULL},
};

/* Lua's part: the second field. */
static int evaluate(void *arg, const struct expression *expression, const struct space *space,
                    const char *tuple, struct mp_buffer *out)
{
    (void)arg, (void)expression, (void)space;
    const char *value = mp_array_at(tuple, 1);
    mp_put_array(out, 1);
    mp_put_uint(out, mp_decode_uint(&value));
    return 0;
}

static int check(void *arg, const struct expression *expression)
{
    (void)arg, (void)expression;
    return 0;
}

static const struct db_expressions expressions = {evaluate, check, NULL};

/* [key, a value, [values], a number that no other row has]. */
static int row_write(struct txn *txn, struct random *random, unsigned writer)
{
    char text[128];
    unsigned key = (unsigned)random_below(random, KEYS);
    if (random_below(random, 4) == 0) {
        snprintf(text, sizeof text, "[%u]", key);
        return delete_by(&f, txn, "s", "pk", text);
    }
    /* Each writer has numbers of its own, and a row takes one of a few. */
    unsigned number = (key * 8 + (unsigned)random_below(random, 4)) * WRITERS + writer;
    snprintf(text, sizeof text, "[%u, %u, [%u, %u, %u], %u]", key,
             (unsigned)random_below(random, VALUES), (unsigned)random_below(random, VALUES),
             (unsigned)random_below(random, VALUES), (unsigned)random_below(random, VALUES),
             number);
    return replace(&f, txn, "s", text);
}

static void write_once(struct txn_worker *worker, struct random *random, unsigned writer)
{
    static const enum txn_level levels[] = {TXN_READ_COMMITTED, TXN_SNAPSHOT, TXN_SERIALIZABLE};
    struct txn *txn;
    int rc =
        txn_begin(worker, &(struct txn_options){.level = levels[random_below(random, 3)]}, &txn);
    assert_int_equal(rc, 0);
    for (uint64_t n = 1 + random_below(random, 4); rc == 0 && n > 0; n--)
        rc = row_write(txn, random, writer);
    if (rc != 0 || random_below(random, 8) == 0)
        txn_rollback(txn);
    else
        rc = txn_commit(txn);
    if (rc == 0)
        atomic_fetch_add(&committed, 1);
    else
        assert_int_equal(rc, ERROR_CONFLICT);
}

static void *writer_main(void *arg)
{
    unsigned writer = (unsigned)(uintptr_t)arg;
    struct random random;
    random_create(&random, seed + writer + 1);
    while (!load_relaxed(&stop))
        write_once(db_worker_txn(f.workers[1 + writer]), &random, writer);
    return NULL;
}

/* How many entries the rows want, and a sum over their keys and rows. */
struct sums {
    uint64_t count, sum;
};

static void sums_add(struct sums *sums, uint64_t key, uint64_t row)
{
    uint64_t x =
        (key + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (row + 1) * UINT64_C(0xbf58476d1ce4e5b9);
    sums->count++;
    sums->sum += x ^ (x >> 29);
}

static uint64_t number_at(const char *array, uint32_t n)
{
    const char *value = mp_array_at(array, n);
    return mp_decode_uint(&value);
}

static void sums_of_row(struct sums *sums, unsigned kind, const char *tuple)
{
    uint64_t row = number_at(tuple, 0), value = number_at(tuple, 1);
    const char *list = mp_array_at(tuple, 2);
    if (kind == 3) {
        sums_add(sums, number_at(tuple, 3), row);
    } else if (kind == 1) {
        uint64_t a = number_at(list, 0), b = number_at(list, 1), c = number_at(list, 2);
        sums_add(sums, a, row);
        if (b != a)
            sums_add(sums, b, row);
        if (c != a && c != b)
            sums_add(sums, c, row);
    } else if (kind != 2 || value > 20) {
        sums_add(sums, value, row);
    }
}

/* What the index gives: by each key that there can be, so that the key of an entry is known. */
static struct sums sums_of_index(struct txn *txn, unsigned kind)
{
    struct sums sums = {0, 0};
    struct index *index = index_of(&f, txn, "s", "i");
    for (unsigned key = 0; kind != 3 && key < VALUES; key++) {
        char text[16];
        struct space_cursor cursor;
        struct tuple_ref tuple;
        snprintf(text, sizeof text, "[%u]", key);
        assert_int_equal(space_cursor_open(&cursor, txn, index, ITERATOR_EQ, mp_of(text, NULL)), 0);
        while (space_cursor_next(&cursor, &tuple) == 0)
            sums_add(&sums, key, number_at(tuple.data, 0));
    }
    struct space_cursor cursor;
    struct tuple_ref tuple;
    if (kind == 3) {
        assert_int_equal(space_cursor_open(&cursor, txn, index, ITERATOR_ALL, NULL), 0);
        while (space_cursor_next(&cursor, &tuple) == 0)
            sums_add(&sums, number_at(tuple.data, 3), number_at(tuple.data, 0));
    }
    return sums;
}

static struct sums sums_of_rows(struct txn *txn, unsigned kind)
{
    struct sums sums = {0, 0};
    struct space_cursor cursor;
    struct tuple_ref tuple;
    assert_int_equal(
        space_cursor_open(&cursor, txn, index_of(&f, txn, "s", "pk"), ITERATOR_ALL, NULL), 0);
    while (space_cursor_next(&cursor, &tuple) == 0)
        sums_of_row(&sums, kind, tuple.data);
    return sums;
}

static void compare(unsigned kind)
{
    struct txn *txn = begin_readonly(&f, 0);
    struct sums rows = sums_of_rows(txn, kind), entries = sums_of_index(txn, kind);
    if (rows.count != entries.count || rows.sum != entries.sum)
        fail_msg("seed %llu: kind %u: the rows want %llu entries, the index gives %llu",
                 (unsigned long long)seed, kind, (unsigned long long)rows.count,
                 (unsigned long long)entries.count);
    txn_rollback(txn);
}

static const char *options_of(unsigned kind)
{
    return f.engine == NULL ? kinds[kind].options : kinds[kind].elsewhere;
}

static void make(unsigned kind, bool again)
{
    int rc = again ? ddl_index_rebuild(f.workers[0], space_of(&f, NULL, "s")->id, 1)
                   : make_index(&f, "s", "i", options_of(kind));
    if (rc != 0)
        fail_msg("seed %llu: %s", (unsigned long long)seed, diag_message_for(rc));
}

static void an_index_that_is_built_beside_writers_has_what_the_rows_say(void **state)
{
    const char *seconds = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t end = clock_monotonic_ns(clock_system()) +
                   (seconds == NULL ? 2 : strtoull(seconds, NULL, 10)) * UINT64_C(1000000000);
    pthread_t threads[WRITERS];
    struct random random;
    unsigned built = 0;
    seed = test_seed();
    random_create(&random, seed);
    memset(&f, 0, sizeof f);
    store_relaxed(&stop, false);
    store_relaxed(&committed, 0);
    f.engine = *state;
    f.disk = disk_new(1);
    f.expressions = &expressions;
    assert_int_equal(db_fixture_start(&f, false), 0);
    f.db->online_rows_min = 1;
    f.db->build_sort_bytes = 0; /* the least */
    f.db->build_round_bytes = 50000;
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    for (unsigned i = 0; i < 2000; i++)
        write_once(db_worker_txn(f.workers[0]), &random, i % WRITERS);
    for (uintptr_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, (void *)i), 0);
    unsigned kind = 0, count = sizeof kinds / sizeof *kinds - (f.engine == NULL ? 0 : 1);
    while (clock_monotonic_ns(clock_system()) < end) {
        bool again = built > 0 && random_below(&random, 2) == 0;
        if (built > 0 && !again)
            assert_int_equal(drop_index(&f, "s", "i"), 0);
        if (!again)
            kind = (unsigned)random_below(&random, count);
        if (random_below(&random, 2) == 0)
            assert_int_equal(db_checkpoint(f.db), 0);
        make(kind, again);
        compare(kind);
        if (random_below(&random, 2) == 0)
            assert_int_equal(db_checkpoint(f.db), 0);
        compare(kind);
        built++;
    }
    make(kind, built > 0);
    store_relaxed(&stop, true);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    compare(kind);
    db_settle(&f);
    struct txn *txn = begin_readonly(&f, 0);
    assert_int_equal(tree_count(index_of(&f, txn, "s", "i")->scan.tree),
                     f.engine != NULL ? 0 : sums_of_rows(txn, kind).count); /* none is left over */
    txn_rollback(txn);
    db_fixture_reopen(&f);
    compare(kind);
    print_message("%u builds, %u commits\n", built, load_relaxed(&committed));
    db_fixture_close(&f);
}

int main(void)
{
    static char lsm[] = "lsm", btree[] = "btree";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_that_is_built_beside_writers_has_what_the_rows_say),
        cmocka_unit_test_prestate(an_index_that_is_built_beside_writers_has_what_the_rows_say, lsm),
        cmocka_unit_test_prestate(an_index_that_is_built_beside_writers_has_what_the_rows_say,
                                  btree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
