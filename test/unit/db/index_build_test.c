/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Indexes that are built while others write (invariant 29). A function of the index is called for each
 * row that is filled in: in it this test does what others could do in this moment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/db_fixture.h"
#include "db/db_private.h"

enum { ROWS = 600 };

static struct db_fixture f;

/* Called when the row with this primary key is filled in, once. */
static uint64_t step_at;
static void (*step)(void);

/* The second field; -1 is an error. */
static int evaluate(void *arg, const struct expression *expression, const struct space *space,
                    const char *tuple, struct mp_buffer *out)
{
    (void)arg, (void)expression, (void)space;
    const char *key = mp_array_at(tuple, 0), *value = mp_array_at(tuple, 1);
    if (step != NULL && mp_decode_uint(&key) == step_at) {
        void (*now)(void) = step;
        step = NULL;
        now();
    }
    if (mp_typeof(*value) == MP_INT)
        return diag_set(ERROR_LUA, "there is no root of %lld", (long long)mp_decode_int(&value));
    const char *end = value;
    mp_next(&end);
    mp_put_array(out, 1);
    mp_put_raw(out, value, (size_t)(end - value));
    return 0;
}

static int check(void *arg, const struct expression *expression)
{
    (void)arg, (void)expression;
    return 0;
}

static const struct db_expressions expressions = {evaluate, check, NULL};
static const char *const plain = "{\"func\": \"value()\", \"unique\": false}";
static const char *const unique = "{\"func\": \"value()\"}";

static void at_row(uint64_t key, void (*what)(void))
{
    step_at = key;
    step = what;
}

static void write_row(unsigned worker, const char *tuple, int expected)
{
    struct txn *txn = begin(&f, worker, TXN_READ_COMMITTED);
    int rc = replace(&f, txn, "s", tuple);
    if (rc == 0)
        rc = txn_commit(txn);
    else
        txn_rollback(txn);
    assert_int_equal(rc, expected);
}

static int open(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    step = NULL;
    f.disk = disk_new(1);
    f.expressions = &expressions;
    assert_int_equal(db_fixture_start(&f, false), 0);
    f.db->online_rows_min = 1;
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned i = 1; i <= ROWS; i++) {
        char text[32];
        snprintf(text, sizeof text, "[%u, %u]", i, i + 1000);
        assert_int_equal(insert(&f, txn, "s", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    return 0;
}

static int close(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static size_t entries(const char *name)
{
    return tree_count(index_of(&f, NULL, "s", name)->scan.tree);
}

static const char *found(const char *key)
{
    return select_by(&f, NULL, "s", "i", ITERATOR_EQ, key);
}

static void assert_no_index(void)
{
    assert_int_equal(space_of(&f, NULL, "s")->index_count, 1);
    assert_null(space_of(&f, NULL, "s")->building);
    assert_string_equal(select_by(&f, NULL, "_index", "primary", ITERATOR_GE, "[512, 1]"), "");
}

static void others_write(void)
{
    write_row(1, "[10, 5]", 0);   /* filled in before */
    write_row(1, "[500, 6]", 0);  /* not yet */
    write_row(1, "[9999, 7]", 0); /* new */
    write_row(1, "[0, 8]", 0);
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_int_equal(replace(&f, txn, "s", "[11, 9]"), 0);
    assert_int_equal(replace(&f, txn, "s", "[501, 9]"), 0);
    assert_int_equal(delete_by(&f, txn, "s", "pk", "[12]"), 0);
    assert_int_equal(delete_by(&f, txn, "s", "pk", "[502]"), 0);
    txn_rollback(txn);
    txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_int_equal(delete_by(&f, txn, "s", "pk", "[13]"), 0);
    assert_int_equal(delete_by(&f, txn, "s", "pk", "[503]"), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static void what_is_written_meanwhile_is_in_it(void **state)
{
    (void)state;
    at_row(300, others_write);
    assert_int_equal(make_index(&f, "s", "i", plain), 0);
    assert_string_equal(found("[5]"), "[10,5]");
    assert_string_equal(found("[6]"), "[500,6]");
    assert_string_equal(found("[7]"), "[9999,7]");
    assert_string_equal(found("[8]"), "[0,8]");
    assert_string_equal(found("[9]"), "");
    assert_string_equal(found("[1011]"), "[11,1011]");
    assert_string_equal(found("[1501]"), "[501,1501]");
    assert_string_equal(found("[1013]"), "");
    assert_string_equal(found("[1503]"), "");
    db_settle(&f);
    assert_int_equal(entries("i"), ROWS);
    db_fixture_reopen(&f);
    assert_string_equal(found("[6]"), "[500,6]");
}

static void nobody_reads(void)
{
    struct space *space = space_of(&f, NULL, "s");
    assert_int_equal(space->index_count, 1);
    assert_non_null(space->building);
    assert_null(space_index(space, "i", 1));
}

static void nobody_reads_it_before_it_is_ready(void **state)
{
    (void)state;
    at_row(300, nobody_reads);
    assert_int_equal(make_index(&f, "s", "i", plain), 0);
    assert_null(step);
    assert_null(space_of(&f, NULL, "s")->building);
}

static struct txn *old;

static void a_snapshot_is_taken_and_rows_change(void)
{
    old = begin_readonly(&f, 2);
    assert_string_equal(get_by(&f, old, "s", "pk", "[20]"), "[20,1020]");
    write_row(1, "[20, 5]", 0);
    write_row(1, "[400, 6]", 0);
}

static void versions_that_a_snapshot_needs_have_their_entries(void **state)
{
    (void)state;
    at_row(300, a_snapshot_is_taken_and_rows_change);
    assert_int_equal(make_index(&f, "s", "i", plain), 0);
    /* The reader has the picture from before; who comes to read at its snapshot would find both. */
    assert_int_equal(entries("i"), ROWS + 2);
    assert_string_equal(get_by(&f, old, "s", "pk", "[400]"), "[400,1400]");
    txn_rollback(old);
    db_settle(&f);
    assert_int_equal(entries("i"), ROWS);
}

static void two_rows_with_one_key_end_the_build(void **state)
{
    (void)state;
    write_row(0, "[590, 1002]", 0);
    assert_int_equal(make_index(&f, "s", "i", unique), ERROR_DUPLICATE);
    assert_non_null(strstr(diag_message(), "row {590}"));
    assert_non_null(strstr(diag_message(), "index \"i\""));
    assert_no_index();
    write_row(0, "[590, 1590]", 0);
    assert_int_equal(make_index(&f, "s", "i", unique), 0);
}

static void a_duplicate_is_written(void)
{
    write_row(1, "[900, 1005]", ERROR_DUPLICATE); /* of one that is filled in: refused */
    write_row(1, "[901, 1500]", 0);               /* of one that is not */
}

static void a_writer_that_meets_a_key_is_refused_and_one_that_does_not_is_found(void **state)
{
    (void)state;
    at_row(300, a_duplicate_is_written);
    assert_int_equal(make_index(&f, "s", "i", unique), ERROR_DUPLICATE);
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[901]"), "[901,1500]");
    assert_no_index();
}

static struct txn *pending;
static int pending_rc;

static void a_duplicate_is_begun(void)
{
    pending = begin(&f, 1, TXN_READ_COMMITTED);
    assert_int_equal(replace(&f, pending, "s", "[901, 1400]"), 0);
}

static void it_is_ended(void)
{
    if (pending_rc == 0)
        assert_int_equal(txn_commit(pending), 0);
    else
        txn_rollback(pending);
}

static void it_is_begun_and_ended_later(void)
{
    a_duplicate_is_begun();
    at_row(500, it_is_ended);
}

static void a_key_of_which_nobody_could_say_is_looked_at_in_the_end(void **state)
{
    (void)state;
    pending_rc = ERROR_CONFLICT;
    at_row(300, it_is_begun_and_ended_later);
    assert_int_equal(make_index(&f, "s", "i", unique), 0);
    assert_int_equal(drop_index(&f, "s", "i"), 0);
    pending_rc = 0;
    at_row(300, it_is_begun_and_ended_later);
    assert_int_equal(make_index(&f, "s", "i", unique), ERROR_DUPLICATE);
    assert_no_index();
}

static void a_row_that_the_function_fails_for_ends_the_build(void **state)
{
    (void)state;
    write_row(0, "[590, -4]", 0);
    assert_int_equal(make_index(&f, "s", "i", plain), ERROR_LUA);
    assert_non_null(strstr(diag_message(), "row {590}"));
    assert_non_null(strstr(diag_message(), "no root of -4"));
    assert_no_index();
}

static void a_bad_row_is_written(void)
{
    write_row(1, "[300, -4]", ERROR_LUA);
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[301]"), "[301,1301]");
}

static void a_writer_is_refused_what_the_function_fails_for(void **state)
{
    (void)state;
    at_row(300, a_bad_row_is_written);
    assert_int_equal(make_index(&f, "s", "i", plain), 0);
    assert_string_equal(found("[1300]"), "[300,1300]");
}

static void the_schema_is_changed(void)
{
    struct db_worker *worker = f.workers[2];
    uint32_t id = space_of(&f, NULL, "s")->id, other;
    assert_int_equal(ddl_space_drop(worker, id), ERROR_SCHEMA);
    assert_non_null(strstr(diag_message(), "index \"i\" is being built"));
    assert_int_equal(ddl_space_truncate(worker, id), ERROR_SCHEMA);
    assert_int_equal(ddl_index_create(worker, id, "j", 1, NULL, &other), ERROR_SCHEMA);
    assert_int_equal(ddl_index_drop(worker, id, 0), ERROR_SCHEMA);
    assert_int_equal(ddl_space_create(worker, "other", 5, NULL, &other), 0);
    assert_int_equal(ddl_index_create(worker, other, "pk", 2, NULL, NULL), 0);
}

static void the_space_stays_as_it_is_and_others_may_change(void **state)
{
    (void)state;
    at_row(300, the_schema_is_changed);
    assert_int_equal(make_index(&f, "s", "i", plain), 0);
    assert_non_null(space_of(&f, NULL, "other"));
    assert_string_equal(found("[1300]"), "[300,1300]");
}

static void the_power_fails(void)
{
    struct wal *wal = db_wal(f.db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    disk_cut(f.disk, 1);
}

static void after_a_crash_nothing_of_it_is_left(void **state)
{
    (void)state;
    at_row(300, the_power_fails);
    make_index(&f, "s", "i", plain); /* whose reply would wait for the log */
    db_fixture_stop(&f);
    assert_int_equal(db_fixture_start(&f, false), 0);
    assert_no_index();
    f.db->online_rows_min = 1;
    assert_int_equal(make_index(&f, "s", "i", plain), 0);
    assert_string_equal(found("[1300]"), "[300,1300]");
    assert_int_equal(drop_space(&f, "s"), 0);
    db_fixture_reopen(&f);
}

static void in_a_schema_transaction_it_is_filled_at_once(void **state)
{
    (void)state;
    struct txn *txn;
    assert_int_equal(ddl_begin(f.workers[0], NULL, &txn), 0);
    assert_int_equal(insert(&f, txn, "s", "[700, 7]"), 0);
    assert_int_equal(make_index(&f, "s", "i", plain), 0);
    assert_string_equal(select_by(&f, txn, "s", "i", ITERATOR_EQ, "[7]"), "[700,7]");
    assert_int_equal(ddl_commit(f.workers[0]), 0);
    assert_string_equal(found("[1300]"), "[300,1300]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open, close)
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_meanwhile_is_in_it),
        TEST(nobody_reads_it_before_it_is_ready),
        TEST(versions_that_a_snapshot_needs_have_their_entries),
        TEST(two_rows_with_one_key_end_the_build),
        TEST(a_writer_that_meets_a_key_is_refused_and_one_that_does_not_is_found),
        TEST(a_key_of_which_nobody_could_say_is_looked_at_in_the_end),
        TEST(a_row_that_the_function_fails_for_ends_the_build),
        TEST(a_writer_is_refused_what_the_function_fails_for),
        TEST(the_space_stays_as_it_is_and_others_may_change),
        TEST(after_a_crash_nothing_of_it_is_left),
        TEST(in_a_schema_transaction_it_is_filled_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
