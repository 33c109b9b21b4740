/* SPDX-License-Identifier: Apache-2.0 */
/* Temporary spaces: their definition lasts, their rows do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/checkpoint.h"
#include "db/db_fixture.h"

static struct db_fixture f;

static int setup(void **state)
{
    (void)state;
    db_fixture_open(&f);
    must(make_space(&f, "s", "{\"temporary\": true, \"is_local\": true}"));
    must(make_index(&f, "s", "pk", NULL));
    must(make_index(&f, "s", "v", "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}"));
    must(make_space(&f, "lasting", NULL));
    must(make_index(&f, "lasting", "pk", NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static const char *rows(const char *space)
{
    return select_by(&f, NULL, space, "pk", ITERATOR_ALL, NULL);
}

static void write_both(void)
{
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
    must(replace(&f, txn, "s", "[1, 10]"));
    must(replace(&f, txn, "lasting", "[1]"));
    must(replace(&f, txn, "s", "[2, 10]"));
    must(txn_commit(txn));
}

static void rows_last_until_the_database_is_closed(void **state)
{
    (void)state;
    write_both();
    assert_string_equal(rows("s"), "[1,10] [2,10]");
    assert_string_equal(select_by(&f, NULL, "s", "v", ITERATOR_EQ, "[10]"), "[1,10] [2,10]");
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 2);
    db_fixture_reopen(&f);
    assert_true(space_of(&f, NULL, "s")->temporary);
    assert_true(space_of(&f, NULL, "s")->local);
    assert_string_equal(rows("s"), "");
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 0);
    assert_string_equal(rows("lasting"), "[1]");
    write_both();
    assert_string_equal(rows("s"), "[1,10] [2,10]");
}

static void a_checkpoint_has_none_of_them(void **state)
{
    (void)state;
    write_both();
    db_settle(&f);
    struct db_checkpoint_stats before, after;
    db_checkpoint_stats_get(f.db, &before);
    must(replace(&f, NULL, "s", "[3, 10]"));
    must(delete_by(&f, NULL, "s", "pk", "[1]"));
    must(db_checkpoint(f.db));
    db_checkpoint_stats_get(f.db, &after);
    assert_int_equal(after.rows, before.rows);
    assert_string_equal(rows("s"), "[2,10] [3,10]");
    db_fixture_reopen(&f);
    assert_string_equal(rows("s"), "");
    assert_string_equal(rows("lasting"), "[1]");
}

static void a_transaction_of_them_alone_is_one(void **state)
{
    (void)state;
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE), *other = begin(&f, 1, TXN_SERIALIZABLE);
    must(insert(&f, txn, "s", "[1, 1]"));
    assert_int_equal(insert(&f, other, "s", "[1, 2]"), ERROR_CONFLICT);
    txn_rollback(other);
    must(txn_commit(txn));
    for (unsigned i = 0; i < 100; i++)
        must(replace(&f, NULL, "s", "[1, 3]"));
    assert_string_equal(rows("s"), "[1,3]");
    db_settle(&f);
    db_fixture_reopen(&f);
    assert_string_equal(rows("s"), "");
}

static void truncated_it_is_as_temporary_as_before(void **state)
{
    (void)state;
    write_both();
    must(truncate_space(&f, "s"));
    must(replace(&f, NULL, "s", "[7, 7]"));
    assert_string_equal(rows("s"), "[7,7]");
    db_fixture_reopen(&f);
    assert_string_equal(rows("s"), "");
}

static void what_lasts_refers_to_nothing_temporary(void **state)
{
    (void)state;
    assert_int_equal(make_space(&f, "t",
                                "{\"format\": [\"id\"], \"foreign_key\": {\"space\": \"s\", "
                                "\"field\": [[0, 0]]}}"),
                     ERROR_SCHEMA);
    assert_non_null(strstr(diag_message(), "do not last"));
    must(make_space(&f, "t",
                    "{\"temporary\": true, \"format\": [\"id\"], \"foreign_key\": "
                    "{\"space\": \"s\", \"field\": [[0, 0]]}}"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(rows_last_until_the_database_is_closed), TEST(a_checkpoint_has_none_of_them),
        TEST(a_transaction_of_them_alone_is_one),     TEST(truncated_it_is_as_temporary_as_before),
        TEST(what_lasts_refers_to_nothing_temporary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
