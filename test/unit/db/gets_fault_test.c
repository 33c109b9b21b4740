/* SPDX-License-Identifier: Apache-2.0 */

/* Gets of many keys while allocations fail: they say so, or give what is there, and the next ones find everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "alloc/alloc_fault.h"
#include "base/diag.h"
#include "base/error.h"
#include "db/checkpoint_fixture.h"
#include "db/space_gets.h"

enum { ROWS = 200, KEYS = 100 };

/* Every third row, by the scalar and by an array. */
static const char *keys_of(void)
{
    static char text[1 << 12];
    size_t used = 0;
    for (unsigned n = 0; n < KEYS; n++)
        used += (size_t)snprintf(text + used, sizeof text - used, n % 2 ? "%c[%u]" : "%c%u",
                                 n == 0 ? '[' : ',', n * 3);
    snprintf(text + used, sizeof text - used, "]");
    return mp_of(text, NULL);
}

/* 0 when each of them has what belongs to it. */
static int get_all(struct txn *txn, struct index *index, const char *keys)
{
    struct space_gets gets;
    struct tuple_ref tuple;
    int rc = space_gets_open(&gets, txn, index, keys);
    for (uint32_t n = 0; rc == 0 && n < KEYS; n++) {
        rc = space_gets_next(&gets, &tuple);
        assert_true(rc != 0 || (tuple.data != NULL) == (n * 3 < ROWS));
    }
    return rc;
}

static void run(void (*arm)(uint64_t n))
{
    unsigned failed = 0;
    bool more = true;
    schema_make();
    for (unsigned key = 0; key < ROWS; key++)
        set(key, key);
    checkpoint();
    for (uint64_t n = 1; more; n += 1 + n / 8) {
        db_fixture_reopen(&f); /* nothing is in memory, nor in an arena */
        struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
        struct index *index = index_of(&f, txn, "s", "pk");
        const char *keys = keys_of();
        arm(n);
        int rc = get_all(txn, index, keys);
        more = alloc_fail_end();
        assert_true(rc == 0 || rc == ERROR_MEMORY);
        failed += rc != 0;
        diag_clear();
        if (!txn_doomed(txn))
            assert_int_equal(get_all(txn, index, keys), 0);
        txn_rollback(txn);
    }
    assert_true(failed > 0);
}

static void an_allocation_that_fails_is_told(void **state)
{
    (void)state;
    run(alloc_fail_nth);
}

static void so_is_memory_that_runs_out(void **state)
{
    (void)state;
    run(alloc_fail_from);
}

#define TEST(test, engine)                                                           \
    {                                                                                \
#test " (" engine ")", test, checkpoint_setup, checkpoint_teardown, (char[]) \
        {                                                                            \
            engine                                                                   \
        }                                                                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_allocation_that_fails_is_told, "lsm"),
        TEST(an_allocation_that_fails_is_told, "btree"),
        TEST(so_is_memory_that_runs_out, "lsm"),
        TEST(so_is_memory_that_runs_out, "btree"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
