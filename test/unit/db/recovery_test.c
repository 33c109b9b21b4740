/* SPDX-License-Identifier: Apache-2.0 */
/* What a database finds when it is opened again on the same disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/db_fixture.h"
#include "storage/engines.h"

static struct db_fixture f;

static int open(void **state)
{
    (void)state;
    db_fixture_open(&f);
    return 0;
}

static int close(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static void fill(void)
{
    assert_int_equal(make_space(&f, "s",
                                "{\"format\": [[\"id\", \"unsigned\"], [\"text\", "
                                "\"string\"]]}"),
                     0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [\"text\"]}"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[1, \"a\"]"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[2, \"b\"]"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[3, \"c\"]"), 0);
}

static void rows_schema_and_secondary_indexes_are_found_again(void **state)
{
    (void)state;
    fill();
    assert_int_equal(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, \"z\"]]"), 0);
    assert_int_equal(delete_by(&f, NULL, "s", "pk", "[2]"), 0);
    assert_int_equal(
        ddl_func_create(f.workers[0], "f", 1, mp_of("{\"body\": \"function() end\"}", NULL)), 0);
    for (unsigned i = 0; i < 3; i++) {
        db_fixture_reopen(&f);
        assert_string_equal(select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL),
                            "[1,\"z\"] [3,\"c\"]");
        assert_string_equal(select_by(&f, NULL, "s", "text", ITERATOR_ALL, NULL),
                            "[3,\"c\"] [1,\"z\"]");
        assert_int_equal(tree_count(index_of(&f, NULL, "s", "text")->scan.tree), 2);
        assert_int_equal(space_len(space_of(&f, NULL, "s")), 2);
        assert_string_equal(space_of(&f, NULL, "s")->fields[1].name, "text");
        assert_non_null(catalog_func(db_catalog(f.workers[0]), "f", 1));
        assert_int_equal(insert(&f, NULL, "s", "[9, \"z\"]"), ERROR_DUPLICATE);
    }
}

static void a_timestamp_is_never_used_again(void **state)
{
    (void)state;
    fill();
    uint64_t last = txn_worker_seen_ts(db_worker_txn(f.workers[0]));
    db_fixture_reopen(&f);
    assert_int_equal(insert(&f, NULL, "s", "[4, \"d\"]"), 0);
    assert_true(txn_worker_seen_ts(db_worker_txn(f.workers[0])) > last);
}

static void what_was_dropped_or_truncated_does_not_come_back(void **state)
{
    (void)state;
    fill();
    assert_int_equal(truncate_space(&f, "s"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[7, \"new\"]"), 0);
    assert_int_equal(make_space(&f, "gone", NULL), 0);
    assert_int_equal(make_index(&f, "gone", "pk", NULL), 0);
    assert_int_equal(insert(&f, NULL, "gone", "[1]"), 0);
    uint32_t id = space_of(&f, NULL, "gone")->id;
    assert_int_equal(drop_space(&f, "gone"), 0);
    db_fixture_reopen(&f);
    assert_string_equal(select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL), "[7,\"new\"]");
    assert_string_equal(select_by(&f, NULL, "s", "text", ITERATOR_ALL, NULL), "[7,\"new\"]");
    assert_null(space_of(&f, NULL, "gone"));
    char options[32];
    snprintf(options, sizeof options, "{\"id\": %u}", id);
    assert_int_equal(make_space(&f, "again", options), 0);
    assert_int_equal(make_index(&f, "again", "pk", NULL), 0);
    assert_string_equal(select_by(&f, NULL, "again", "pk", ITERATOR_ALL, NULL), "");
    db_fixture_reopen(&f);
    assert_string_equal(select_by(&f, NULL, "again", "pk", ITERATOR_ALL, NULL), "");
}

static void an_index_made_or_dropped_later_is_as_it_was(void **state)
{
    (void)state;
    fill();
    assert_int_equal(drop_index(&f, "s", "text"), 0);
    assert_int_equal(
        make_index(&f, "s", "both", "{\"unique\": false, \"parts\": [\"text\", \"id\"]}"), 0);
    assert_int_equal(make_space(&f, "empty", NULL), 0);
    db_fixture_reopen(&f);
    assert_int_equal(space_of(&f, NULL, "s")->index_count, 2);
    assert_string_equal(select_by(&f, NULL, "s", "both", ITERATOR_REQ, NULL),
                        "[3,\"c\"] [2,\"b\"] [1,\"a\"]");
    assert_int_equal(insert(&f, NULL, "s", "[4, \"a\"]"), 0);
    assert_int_equal(space_of(&f, NULL, "empty")->index_count, 0);
    assert_int_equal(make_index(&f, "empty", "pk", NULL), 0);
    assert_int_equal(insert(&f, NULL, "empty", "[1]"), 0);
}

/* Every call that opening makes fails once: it opens or says why, and loses nothing either way. */
static void opening_fails_cleanly_wherever_the_disk_does(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (uint64_t n = 1, calls = n; calls >= n; n++) {
        fill();
        db_fixture_stop(&f);
        uint64_t before = disk_calls(f.disk);
        disk_fail_nth(f.disk, n, EIO);
        int rc = db_fixture_start(&f, false);
        calls = disk_calls(f.disk) - before;
        disk_fail_nth(f.disk, 0, 0);
        failures += rc != 0;
        if (rc == 0)
            db_fixture_stop(&f);
        assert_int_equal(db_fixture_start(&f, false), 0);
        assert_string_equal(select_by(&f, NULL, "s", "text", ITERATOR_ALL, NULL),
                            "[1,\"a\"] [2,\"b\"] [3,\"c\"]");
        db_fixture_close(&f);
        db_fixture_open(&f);
    }
    assert_true(failures > 0);
}

static void a_row_that_was_written_often_is_found_with_its_last_value(void **state)
{
    (void)state;
    fill();
    char ops[64];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(ops, sizeof ops, "[[\"=\", 2, \"v%u\"]]", i);
        assert_int_equal(update_by(&f, NULL, "s", "pk", "[2]", ops), 0);
    }
    db_fixture_reopen(&f);
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[2]"), "[2,\"v199\"]");
    assert_string_equal(get_by(&f, NULL, "s", "text", "[\"v199\"]"), "[2,\"v199\"]");
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "text")->scan.tree), 3);
    assert_true(f.stats.rows > 200);
}

/* What replay puts into a head is in no run, as no manifest names the tree. So the deletion of it would need no tombstone,
 * but for the version that a snapshot still sees: the run has that, and would show it to all. */
static void what_was_replayed_and_deleted_stays_deleted(void **state)
{
    const char *name;
    (void)state;
    for (unsigned n = 0; (name = engines_name(n)) != NULL; n++) {
        f.engine = name;
        assert_int_equal(make_space(&f, name, NULL), 0);
        assert_int_equal(make_index(&f, name, "pk", NULL), 0);
        assert_int_equal(insert(&f, NULL, name, "[1, 1]"), 0);
    }
    db_fixture_reopen(&f);
    struct txn *reader = begin(&f, 1, TXN_SNAPSHOT);
    for (unsigned n = 0; (name = engines_name(n)) != NULL; n++)
        assert_int_equal(delete_by(&f, NULL, name, "pk", "[1]"), 0);
    assert_int_equal(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))), 0);
    assert_int_equal(db_checkpoint(f.db), 0);
    for (unsigned n = 0; (name = engines_name(n)) != NULL; n++)
        assert_string_equal(get_by(&f, reader, name, "pk", "[1]"), "[1,1]");
    txn_rollback(reader);
    assert_int_equal(db_checkpoint(f.db), 0);
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned n = 0; (name = engines_name(n)) != NULL; n++)
            assert_null(get_by(&f, NULL, name, "pk", "[1]"));
        db_fixture_reopen(&f);
    }
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(rows_schema_and_secondary_indexes_are_found_again),
        WITH_FIXTURE(a_timestamp_is_never_used_again),
        WITH_FIXTURE(what_was_dropped_or_truncated_does_not_come_back),
        WITH_FIXTURE(an_index_made_or_dropped_later_is_as_it_was),
        WITH_FIXTURE(opening_fails_cleanly_wherever_the_disk_does),
        WITH_FIXTURE(a_row_that_was_written_often_is_found_with_its_last_value),
        WITH_FIXTURE(what_was_replayed_and_deleted_stays_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
