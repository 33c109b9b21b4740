/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Checkpoints (invariant 19), over the test disk: what is found after a cut is what was committed,
 * whatever was written, dropped or failed meanwhile; the cost is that of the changes; the log is
 * cut, and not too early. Each part of the rule is taken out once, and something is lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/checkpoint_private.h"
#include "db/db_fixture.h"

static struct db_fixture f;

static int setup(void **state)
{
    (void)state;
    db_fixture_open(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static void schema_make(void)
{
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(
        make_index(&f, "s", "value", "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}"), 0);
}

static void set(unsigned key, unsigned value)
{
    char text[64];
    snprintf(text, sizeof text, "[%u, %u]", key, value);
    assert_int_equal(replace(&f, NULL, "s", text), 0);
}

static void unset(unsigned key)
{
    char text[64];
    snprintf(text, sizeof text, "[%u]", key);
    assert_int_equal(delete_by(&f, NULL, "s", "pk", text), 0);
}

static const char *all(void)
{
    return select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL);
}

static void durable(void)
{
    struct wal *wal = db_wal(f.db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
}

static void checkpoint(void)
{
    int rc = db_checkpoint(f.db);
    if (rc != 0)
        fail_msg("%s", diag_message_for(rc));
}

/* Ends it as a power cut does. */
static int cut_and_start(uint64_t seed)
{
    disk_cut(f.disk, seed);
    db_fixture_stop(&f);
    return db_fixture_start(&f, false);
}

static void cut(uint64_t seed)
{
    int rc = cut_and_start(seed);
    if (rc != 0)
        fail_msg("the database does not open again: %s", diag_message_for(rc));
}

static struct db_checkpoint_stats stats(void)
{
    struct db_checkpoint_stats result;
    db_checkpoint_stats_get(f.db, &result);
    return result;
}

static void what_a_checkpoint_has_written_need_not_be_replayed(void **state)
{
    (void)state;
    schema_make();
    for (unsigned key = 0; key < 100; key++)
        set(key, key);
    unset(50);
    checkpoint();
    set(100, 100);
    unset(7);
    durable();
    uint64_t k = stats().k;
    assert_true(k > 0);
    cut(1);
    assert_int_equal(f.stats.k, k);
    assert_int_equal(f.stats.rows, 2);
    assert_true(f.stats.run_rows >= 99);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 99);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "value")->scan.tree), 99);
    assert_null(get_by(&f, NULL, "s", "pk", "[7]"));
    assert_null(get_by(&f, NULL, "s", "pk", "[50]"));
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[100]"), "[100,100]");
}

static void checkpoint_after_checkpoint_and_a_start_in_between_lose_nothing(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    schema_make();
    for (unsigned round = 0; round < 30; round++) {
        for (uint64_t n = random_below(&random, 20); n > 0; n--) {
            unsigned key = (unsigned)random_below(&random, 40);
            if (random_below(&random, 3) == 0)
                unset(key);
            else
                set(key, round);
        }
        if (random_below(&random, 2) == 0)
            checkpoint();
        durable();
        char *before = strdup(all());
        if (random_below(&random, 3) == 0)
            cut(round);
        assert_string_equal(all(), before);
        free(before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_checkpoint_has_written_need_not_be_replayed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            checkpoint_after_checkpoint_and_a_start_in_between_lose_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
