/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spaces that are altered while others write (invariant 29). A constraint is asked for each row that is
 * looked at: in it this test does what others could do in this moment.
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

/* Called when the row with this primary key is looked at, once. */
static uint64_t step_at;
static void (*step)(void);

/* The second field is not negative. */
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
    mp_put_array(out, 1);
    mp_put_bool(out, mp_typeof(*value) != MP_INT);
    return 0;
}

static int check(void *arg, const struct expression *expression)
{
    (void)arg, (void)expression;
    return 0;
}

static const struct db_expressions expressions = {evaluate, check, NULL};
static const char *const positive = "{\"constraint\": {\"positive\": \"value()\"}}";
static const char *const referring =
    "{\"constraint\": {\"positive\": \"value()\"},"
    " \"foreign_key\": {\"up\": {\"space\": \"p\", \"field\": [[2, 0]]}}}";

static void at_row(uint64_t key, void (*what)(void))
{
    step_at = key;
    step = what;
}

static int alter(const char *options)
{
    return ddl_space_alter(f.workers[0], space_of(&f, NULL, "s")->id, mp_of(options, NULL));
}

static int end(struct txn *txn, int rc)
{
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

static void write_row(const char *space, const char *tuple, int expected)
{
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_int_equal(end(txn, replace(&f, txn, space, tuple)), expected);
}

static void delete_row(const char *space, const char *key, int expected)
{
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_int_equal(end(txn, delete_by(&f, txn, space, "pk", key)), expected);
}

/* Rows {i, i + 1000, i % 10} of `s`, and {0} to {9} of `p`. */
static int open(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    step = NULL;
    f.disk = disk_new(1);
    f.expressions = &expressions;
    assert_int_equal(db_fixture_start(&f, false), 0);
    f.db->online_rows_min = 1;
    assert_int_equal(make_space(&f, "p", NULL), 0);
    assert_int_equal(make_index(&f, "p", "pk", NULL), 0);
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(make_index(&f, "s", "up",
                                "{\"unique\": false, \"parts\": [{\"field\": 3, \"type\": "
                                "\"unsigned\", \"is_nullable\": true}]}"),
                     0);
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    char text[40];
    for (unsigned i = 0; i < 10; i++) {
        snprintf(text, sizeof text, "[%u]", i);
        assert_int_equal(insert(&f, txn, "p", text), 0);
    }
    for (unsigned i = 1; i <= ROWS; i++) {
        snprintf(text, sizeof text, "[%u, %u, %u]", i, i + 1000, i % 10);
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

static void assert_unchanged(void)
{
    const struct space *space = space_of(&f, NULL, "s");
    assert_null(space->coming);
    assert_int_equal(space->constraint_count, 0);
    assert_int_equal(space->foreign_key_count, 0);
    assert_null(space_of(&f, NULL, "p")->referrers);
    write_row("s", "[700, -1, 77]", 0);
    delete_row("s", "[700]", 0);
}

static void others_write(void)
{
    write_row("s", "[10, 5, 1]", 0);
    write_row("s", "[500, 6, 2]", 0);
    write_row("s", "[11, -1, 1]", ERROR_CONSTRAINT); /* looked at already */
    write_row("s", "[501, -1, 1]", ERROR_CONSTRAINT);
    assert_non_null(strstr(diag_message(), "space \"s\" is being altered"));
    assert_non_null(strstr(diag_message(), "row {501}"));
    write_row("s", "[0, -1, 1]", ERROR_CONSTRAINT);
    write_row("s", "[9999, -1, 1]", ERROR_CONSTRAINT);
    write_row("s", "[9998, 3, 1]", 0);
    delete_row("s", "[12]", 0);
    delete_row("s", "[502]", 0);
    assert_int_equal(space_of(&f, NULL, "s")->constraint_count, 0);
}

static void what_is_written_meanwhile_fits_both(void **state)
{
    (void)state;
    at_row(300, others_write);
    assert_int_equal(alter(positive), 0);
    assert_null(step);
    for (int i = 0; i < 2; i++) {
        assert_null(space_of(&f, NULL, "s")->coming);
        assert_int_equal(space_of(&f, NULL, "s")->constraint_count, 1);
        write_row("s", "[11, -1, 1]", ERROR_CONSTRAINT);
        assert_string_equal(get_by(&f, NULL, "s", "pk", "[500]"), "[500,6,2]");
        db_fixture_reopen(&f);
    }
}

static void a_row_that_does_not_fit_ends_it(void **state)
{
    (void)state;
    write_row("s", "[590, -1, 0]", 0);
    assert_int_equal(alter(positive), ERROR_CONSTRAINT);
    assert_non_null(strstr(diag_message(), "row {590}"));
    assert_unchanged();
    const char *format = "[[\"id\", \"unsigned\"], [\"value\", \"unsigned\"]]";
    assert_int_equal(format_space(&f, "s", format), ERROR_SCHEMA);
    assert_non_null(strstr(diag_message(), "row {590}"));
    assert_int_equal(alter("{\"field_count\": 2}"), ERROR_SCHEMA);
    assert_non_null(strstr(diag_message(), "row {1}"));
    assert_unchanged();
    write_row("s", "[590, 1, 0]", 0);
    assert_int_equal(format_space(&f, "s", format), 0);
    write_row("s", "[590, -1, 0]", ERROR_SCHEMA);
    assert_int_equal(alter("{\"field_count\": 3}"), 0);
    write_row("s", "[590, 1]", ERROR_SCHEMA);
}

static void ends_of_references_go(void)
{
    delete_row("p", "[3]", ERROR_CONSTRAINT); /* of rows that are looked at, and that are not yet */
    assert_non_null(strstr(diag_message(), "foreign key \"up\""));
    write_row("s", "[10, 1, 77]", ERROR_CONSTRAINT);
    write_row("s", "[500, 1, 77]", ERROR_CONSTRAINT);
    write_row("s", "[501, 1]", 0); /* refers to nothing */
    write_row("p", "[77]", 0);
    write_row("s", "[500, 1, 77]", 0);
    delete_row("p", "[77]", ERROR_CONSTRAINT);
    assert_int_equal(ddl_space_drop(f.workers[2], space_of(&f, NULL, "p")->id), ERROR_SCHEMA);
}

static void nothing_takes_away_what_a_coming_key_needs(void **state)
{
    (void)state;
    at_row(300, ends_of_references_go);
    assert_int_equal(alter(referring), 0);
    assert_null(step);
    delete_row("p", "[77]", ERROR_CONSTRAINT);
    write_row("s", "[500, 1, 78]", ERROR_CONSTRAINT);
}

static void a_row_that_refers_to_nothing_ends_it(void **state)
{
    (void)state;
    write_row("s", "[400, 1, 99]", 0);
    assert_int_equal(alter(referring), ERROR_CONSTRAINT);
    assert_non_null(strstr(diag_message(), "row {400} refers to {99}"));
    assert_unchanged();
    delete_row("p", "[3]", 0);
}

/* A key that is there already keeps what it does. */
static void a_parent_goes_with_its_rows(void)
{
    delete_row("p", "[3]", 0);
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_null(get_by(&f, txn, "s", "pk", "[3]"));
    assert_null(get_by(&f, txn, "s", "pk", "[503]"));
    txn_rollback(txn);
}

static void keys_that_stay_do_what_they_did(void **state)
{
    (void)state;
    const char *cascade =
        "{\"foreign_key\": {\"up\": {\"space\": \"p\", \"field\": [[2, 0]], \"on_delete\": "
        "\"cascade\"}}}";
    assert_int_equal(alter(cascade), 0);
    at_row(300, a_parent_goes_with_its_rows);
    assert_int_equal(alter(positive), 0);
    assert_null(step);
    delete_row("p", "[4]", 0);
    assert_null(get_by(&f, NULL, "s", "pk", "[4]"));
}

static void the_schema_is_changed(void)
{
    struct db_worker *worker = f.workers[2];
    uint32_t id = space_of(&f, NULL, "s")->id, other;
    assert_int_equal(ddl_space_drop(worker, id), ERROR_SCHEMA);
    assert_non_null(strstr(diag_message(), "while it is being altered"));
    assert_int_equal(ddl_space_truncate(worker, id), ERROR_SCHEMA);
    assert_int_equal(ddl_index_create(worker, id, "j", 1, NULL, &other), ERROR_SCHEMA);
    assert_int_equal(ddl_space_create(worker, "other", 5, NULL, &other), 0);
    write_row("s", "[501, -1, 1]", ERROR_CONSTRAINT); /* other changes take nothing of it along */
}

static void the_space_stays_as_it_is_and_others_may_change(void **state)
{
    (void)state;
    at_row(300, the_schema_is_changed);
    assert_int_equal(alter(positive), 0);
    assert_null(step);
    at_row(300, the_schema_is_changed);
    assert_int_equal(drop_space(&f, "other"), 0);
    assert_int_equal(alter("{\"constraint\": {\"again\": \"value()\"}, \"name\": \"other\"}"),
                     ERROR_EXISTS);
    assert_string_equal(space_of(&f, NULL, "s")->constraints[0].name, "positive");
}

static struct ddl_job *job_begin(const char *options)
{
    struct ddl_job *job;
    assert_int_equal(ddl_space_alter_begin(f.workers[0], space_of(&f, NULL, "s")->id,
                                           mp_of(options, NULL), &job),
                     0);
    assert_non_null(job);
    return job;
}

static void between_steps_its_worker_does_other_things(void **state)
{
    (void)state;
    struct ddl_job *job = job_begin(positive);
    int rc;
    unsigned n = 0;
    do {
        char text[32];
        snprintf(text, sizeof text, "[%u, 1, 1]", 1000 + n++);
        assert_int_equal(replace(&f, NULL, "s", text), 0);
        assert_int_equal(replace(&f, NULL, "s", "[1, -1, 1]"), ERROR_CONSTRAINT);
    } while ((rc = ddl_job_step(job)) == ERROR_WAIT);
    assert_int_equal(rc, 0);
    assert_int_equal(space_of(&f, NULL, "s")->constraint_count, 1);
}

static void one_that_is_cancelled_leaves_nothing(void **state)
{
    (void)state;
    ddl_job_cancel(job_begin(referring));
    assert_unchanged();
    struct ddl_job *job;
    uint32_t id = space_of(&f, NULL, "s")->id, index;
    const char *options = mp_of("{\"parts\": [[2, \"unsigned\"]]}", NULL);
    assert_int_equal(ddl_index_create_begin(f.workers[0], id, "i", 1, options, &index, &job), 0);
    assert_non_null(space_of(&f, NULL, "s")->building);
    ddl_job_cancel(job);
    assert_null(space_of(&f, NULL, "s")->building);
    assert_null(space_index(space_of(&f, NULL, "s"), "i", 1));
    assert_int_equal(alter(positive), 0);
}

static void the_power_fails(void)
{
    struct wal *wal = db_wal(f.db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    disk_cut(f.disk, 1);
}

static void after_a_crash_the_space_is_what_it_was(void **state)
{
    (void)state;
    at_row(300, the_power_fails);
    alter(referring); /* whose reply would wait for the log */
    db_fixture_stop(&f);
    assert_int_equal(db_fixture_start(&f, false), 0);
    assert_unchanged();
    f.db->online_rows_min = 1;
    assert_int_equal(alter(referring), 0);
    db_fixture_reopen(&f);
    write_row("s", "[500, 1, 78]", ERROR_CONSTRAINT);
}

static void a_transaction_from_before_does_not_commit(void **state)
{
    (void)state;
    struct txn *txn;
    assert_int_equal(txn_open(db_worker_txn(f.workers[1]),
                              &(struct txn_options){.level = TXN_READ_COMMITTED}, &txn),
                     0);
    assert_int_equal(replace(&f, txn, "s", "[1, -1, 1]"), 0);
    txn_park(txn);
    struct ddl_job *job = job_begin(positive);
    assert_int_equal(txn_resume(txn), ERROR_CANCELLED);
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[1]"), "[1,1001,1]");
    int rc;
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        ;
    assert_int_equal(rc, 0);
}

static struct clock_manual moved;

static void a_second_passes(void)
{
    clock_manual_advance_ms(&moved, 1000);
}

static void how_far_it_is_is_told_now_and_then(void **state)
{
    (void)state;
    struct ddl_progress progress;
    db_fixture_stop(&f);
    clock_manual_create(&moved, 1000);
    f.clock = &moved.base;
    assert_int_equal(db_fixture_start(&f, false), 0);
    f.db->online_rows_min = 1;
    struct ddl_job *job = job_begin(positive);
    assert_false(ddl_job_tells(job, &progress));
    at_row(10, a_second_passes);
    assert_int_equal(ddl_job_step(job), ERROR_WAIT);
    assert_true(ddl_job_tells(job, &progress));
    assert_string_equal(progress.name, "space \"s\"");
    assert_string_equal(progress.doing, "is being altered");
    assert_in_range(progress.rows, 10, ROWS - 1);
    assert_int_equal(progress.total, ROWS);
    assert_false(ddl_job_tells(job, &progress));
    clock_manual_advance_ms(&moved, 249);
    assert_false(ddl_job_tells(job, &progress));
    clock_manual_advance_ms(&moved, 1);
    assert_true(ddl_job_tells(job, &progress));
    assert_int_equal(ddl_job_step(job), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open, close)
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_meanwhile_fits_both),
        TEST(a_row_that_does_not_fit_ends_it),
        TEST(nothing_takes_away_what_a_coming_key_needs),
        TEST(a_row_that_refers_to_nothing_ends_it),
        TEST(keys_that_stay_do_what_they_did),
        TEST(the_space_stays_as_it_is_and_others_may_change),
        TEST(between_steps_its_worker_does_other_things),
        TEST(one_that_is_cancelled_leaves_nothing),
        TEST(after_a_crash_the_space_is_what_it_was),
        TEST(a_transaction_from_before_does_not_commit),
        TEST(how_far_it_is_is_told_now_and_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
