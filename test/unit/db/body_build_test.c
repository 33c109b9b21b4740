/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Indexes of spaces whose rows have left the head (invariant 29): made of what is in the body, while
 * others write. At each stage of a build this test does what others could do in this moment, on the thread
 * that has come so far. The keys are sorted in little memory, and a checkpoint takes few of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/backup.h"
#include "db/checkpoint_private.h"
#include "db/db_fixture.h"
#include "db/restore.h"

enum { ROWS = 1000, FAULT_ROWS = 200, FAULTS = 100, STAGES = BUILD_LOOKS + 1 };

static struct db_fixture f;

static const char *const plain = "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}";
static const char *const unique = "{\"parts\": [[2, \"unsigned\"]]}";

/* What happens at a stage; at the first part only, of a stage that has several. */
static void (*steps[STAGES])(void);
static _Atomic unsigned stages[STAGES];

static _Atomic bool held; /* at the first stage that is come to */

static void at_build(enum checkpoint_build_stage stage)
{
    void (*step)(void) = steps[stage];
    steps[stage] = NULL;
    if (step != NULL)
        step();
    atomic_fetch_add(&stages[stage], 1);
    while (load_acquire(&held))
        sched_yield();
}

static void at(enum checkpoint_build_stage stage, void (*step)(void))
{
    steps[stage] = step;
}

static void settings(void)
{
    f.db->build_sort_bytes = 0; /* the least */
    f.db->build_round_bytes = 4000;
    memset(steps, 0, sizeof steps);
    memset((void *)stages, 0, sizeof stages);
    store_release(&f.db->checkpoint->at_build, at_build);
}

static void reopen(void)
{
    db_fixture_reopen(&f);
    settings();
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

static void remove_row(unsigned worker, const char *key)
{
    struct txn *txn = begin(&f, worker, TXN_READ_COMMITTED);
    assert_int_equal(delete_by(&f, txn, "s", "pk", key), 0);
    assert_int_equal(txn_commit(txn), 0);
}

/* Rows [key, key + 1000], which have left. */
static void open_with(const char *engine, unsigned rows)
{
    memset(&f, 0, sizeof f);
    f.engine = engine;
    f.disk = disk_new(1);
    must(db_fixture_start(&f, false));
    settings();
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned i = 1; i <= rows; i++) {
        char text[32];
        snprintf(text, sizeof text, "[%u, %u]", i, i + 1000);
        must(insert(&f, txn, "s", text));
    }
    must(txn_commit(txn));
    db_settle(&f);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "pk")->scan.tree), 0);
}

static int open(void **state)
{
    open_with(*state, ROWS);
    return 0;
}

static int close(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
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

static uint64_t count_by(const char *index)
{
    uint64_t rows;
    struct txn *txn = begin_readonly(&f, 0);
    must(space_count(txn, index_of(&f, txn, "s", index), ITERATOR_ALL, NULL, &rows));
    txn_rollback(txn);
    return rows;
}

static int go_to_the_end(struct ddl_job *of)
{
    int rc;
    while ((rc = ddl_job_step(of)) == ERROR_WAIT)
        continue;
    return rc;
}

/* The index leads to every row, and to nothing else, as `box.verify` sees it; as many as the space has. */
static void assert_whole(void)
{
    struct ddl_job *job;
    must(ddl_verify_begin(f.workers[0], space_of(&f, NULL, "s")->id, &job));
    must(go_to_the_end(job));
    assert_int_equal(count_by("i"), count_by("pk"));
}

/* ------------------------------------------------------------------------------------------- rows */

static void rows_of_the_body_are_in_it(void **state)
{
    (void)state;
    must(make_index(&f, "s", "i", plain));
    assert_true(stages[BUILD_ABSORBS] > 3);
    assert_string_equal(found("[1001]"), "[1,1001]");
    assert_string_equal(found("[2000]"), "[1000,2000]");
    assert_string_equal(found("[1000]"), "");
    assert_whole();
    reopen();
    assert_whole();
    write_row(1, "[7, 5]", 0);
    assert_string_equal(found("[5]"), "[7,5]");
    assert_string_equal(found("[1007]"), "");
    db_settle(&f);
    assert_string_equal(found("[5]"), "[7,5]");
    assert_string_equal(found("[1007]"), "");
    assert_whole();
}

static void rows_that_have_not_left_are_in_it(void **state)
{
    (void)state;
    write_row(1, "[10, 5]", 0);
    write_row(1, "[4000, 5]", 0);
    remove_row(1, "[11]");
    must(make_index(&f, "s", "i", plain));
    assert_string_equal(found("[5]"), "[10,5] [4000,5]");
    assert_string_equal(found("[1010]"), "");
    assert_string_equal(found("[1011]"), "");
    assert_whole();
}

static void one_without_rows_is_made_at_once(void **state)
{
    (void)state;
    must(truncate_space(&f, "s"));
    must(make_index(&f, "s", "i", plain));
    assert_int_equal(stages[BUILD_WALKS], 0);
    write_row(1, "[1, 2]", 0);
    assert_string_equal(found("[2]"), "[1,2]");
}

static unsigned base;

/* Each stage has rows of its own. */
static void others_write(void)
{
    char text[64];
    unsigned first = base += 100;
    const struct {
        const char *form;
        unsigned key;
    } puts[] = {{"[%u, 5]", first}, {"[%u, 6]", first + 500}, {"[%u, 7]", first + 9000}};
    for (unsigned i = 0; i < 3; i++) {
        snprintf(text, sizeof text, puts[i].form, puts[i].key);
        write_row(1, text, 0);
    }
    snprintf(text, sizeof text, "[%u]", first + 1);
    remove_row(1, text);
    /* There and back, and out and in. */
    snprintf(text, sizeof text, "[%u, 8]", first + 2);
    write_row(1, text, 0);
    snprintf(text, sizeof text, "[%u, %u]", first + 2, first + 1002);
    write_row(1, text, 0);
    snprintf(text, sizeof text, "[%u]", first + 3);
    remove_row(1, text);
    snprintf(text, sizeof text, "[%u, %u]", first + 3, first + 1003);
    write_row(1, text, 0);
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    snprintf(text, sizeof text, "[%u, 9]", first + 4);
    must(replace(&f, txn, "s", text));
    txn_rollback(txn);
}

static void assert_written(void)
{
    char text[32], expected[64];
    for (unsigned first = 100; first <= base; first += 100) {
        snprintf(text, sizeof text, "[%u]", first + 1002);
        snprintf(expected, sizeof expected, "[%u,%u]", first + 2, first + 1002);
        assert_string_equal(found(text), expected);
        snprintf(text, sizeof text, "[%u]", first + 1003);
        snprintf(expected, sizeof expected, "[%u,%u]", first + 3, first + 1003);
        assert_string_equal(found(text), expected);
        snprintf(text, sizeof text, "[%u]", first + 1001);
        assert_string_equal(found(text), "");
    }
    assert_string_equal(found("[5]"), "[100,5] [200,5] [300,5] [400,5]");
    assert_string_equal(found("[6]"), "[600,6] [700,6] [800,6] [900,6]");
    assert_string_equal(found("[7]"), "[9100,7] [9200,7] [9300,7] [9400,7]");
    assert_string_equal(found("[8]"), "");
    assert_string_equal(found("[9]"), "");
    assert_whole();
}

static void what_is_written_meanwhile_is_in_it(void **state)
{
    (void)state;
    base = 0;
    for (unsigned i = 0; i < STAGES; i++)
        at(i, others_write);
    must(make_index(&f, "s", "i", plain));
    assert_int_equal(base, 400);
    assert_written();
    db_settle(&f);
    assert_written();
    reopen();
    assert_written();
}

static void others_write_and_files_are_replaced(void)
{
    others_write();
    must(db_checkpoint(f.db));
}

static void files_that_it_reads_may_be_replaced_meanwhile(void **state)
{
    (void)state;
    base = 0;
    struct txn *old = begin_readonly(&f, 2);
    for (unsigned i = 0; i < STAGES; i++)
        at(i, i == BUILD_ABSORBS ? others_write : others_write_and_files_are_replaced);
    must(make_index(&f, "s", "i", plain));
    bool sees = strcmp(select_by(&f, old, "s", "i", ITERATOR_EQ, "[1101]"), "[101,1101]") == 0 &&
                strcmp(select_by(&f, old, "s", "i", ITERATOR_EQ, "[1404]"), "[404,1404]") == 0 &&
                strcmp(select_by(&f, old, "s", "i", ITERATOR_EQ, "[5]"), "") == 0;
    txn_rollback(old);
    assert_true(sees);
    assert_written();
}

static void nobody_reads(void)
{
    struct txn *txn = begin_readonly(&f, 2);
    struct space *space = space_of(&f, txn, "s");
    assert_int_equal(space->index_count, 1);
    assert_non_null(space->building);
    txn_rollback(txn);
}

static void nobody_reads_it_before_it_is_ready(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STAGES; i++)
        at(i, nobody_reads);
    must(make_index(&f, "s", "i", plain));
    assert_null(space_of(&f, NULL, "s")->building);
}

/* He has looked at nothing before, so he comes to know the index. */
static void a_reader_from_before_finds_his_versions_by_it(void **state)
{
    (void)state;
    struct txn *old = begin_readonly(&f, 2);
    write_row(1, "[20, 5]", 0);
    write_row(1, "[21, 6]", 0);
    remove_row(1, "[22]");
    db_settle(&f);
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct txn *middle;
    must(txn_open(db_worker_txn(f.workers[1]), &options, &middle));
    txn_park(middle);
    write_row(1, "[20, 7]", 0);
    db_settle(&f);
    must(make_index(&f, "s", "i", plain));
    assert_string_equal(select_by(&f, old, "s", "i", ITERATOR_EQ, "[1020]"), "[20,1020]");
    assert_string_equal(select_by(&f, old, "s", "i", ITERATOR_EQ, "[1022]"), "[22,1022]");
    assert_string_equal(select_by(&f, old, "s", "i", ITERATOR_EQ, "[1023]"), "[23,1023]");
    assert_string_equal(select_by(&f, old, "s", "i", ITERATOR_EQ, "[5]"), "");
    txn_rollback(old);
    must(txn_resume(middle));
    assert_string_equal(select_by(&f, middle, "s", "i", ITERATOR_EQ, "[5]"), "[20,5]");
    assert_string_equal(select_by(&f, middle, "s", "i", ITERATOR_EQ, "[6]"), "[21,6]");
    assert_string_equal(select_by(&f, middle, "s", "i", ITERATOR_EQ, "[7]"), "");
    assert_string_equal(select_by(&f, middle, "s", "i", ITERATOR_EQ, "[1020]"), "");
    txn_rollback(middle);
    assert_string_equal(found("[7]"), "[20,7]");
    assert_whole();
}

/* He has looked at nothing before; whatever he sees was deleted since, all of it. */
static void a_reader_from_before_finds_rows_that_are_no_more(void **state)
{
    (void)state;
    struct txn *old = begin_readonly(&f, 2);
    for (unsigned i = 1; i <= ROWS; i++) {
        char key[32];
        snprintf(key, sizeof key, "[%u]", i);
        remove_row(1, key);
    }
    must(make_index(&f, "s", "i", plain));
    bool sees = strcmp(select_by(&f, old, "s", "i", ITERATOR_EQ, "[1020]"), "[20,1020]") == 0;
    txn_rollback(old);
    assert_true(sees);
    assert_string_equal(found("[1020]"), "");
    db_settle(&f);
    assert_whole();
}

static void one_that_no_row_has_a_key_for_is_made(void **state)
{
    (void)state;
    must(make_index(&f, "s", "i",
                    "{\"unique\": true, \"parts\": [{\"field\": 3, \"type\": \"unsigned\", "
                    "\"is_nullable\": true, \"exclude_null\": true}]}"));
    assert_int_equal(count_by("i"), 0);
    write_row(1, "[1, 2, 3]", 0);
    write_row(1, "[2, 2, 3]", ERROR_DUPLICATE);
    assert_string_equal(found("[3]"), "[1,2,3]");
    db_settle(&f);
    assert_string_equal(found("[3]"), "[1,2,3]");
}

/* Of one that had the same number the body has entries, and tombstones at the timestamps of versions. */
static void what_an_index_before_has_left_is_passed_over(void **state)
{
    (void)state;
    must(drop_space(&f, "s"));
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    must(make_index(&f, "s", "i", plain));
    for (unsigned i = 1; i <= 50; i++) {
        char text[64];
        snprintf(text, sizeof text, "[%u, 5, 6]", i);
        write_row(1, text, 0);
    }
    db_settle(&f);
    for (unsigned i = 1; i <= 50; i++) {
        char text[64];
        snprintf(text, sizeof text, "[%u, 6, 5]", i); /* 5 goes, from the index, at this time */
        write_row(1, text, 0);
    }
    db_settle(&f);
    must(drop_index(&f, "s", "i"));
    write_row(1, "[3, 7, 8]", 0);
    must(make_index(&f, "s", "i", "{\"unique\": false, \"parts\": [[3, \"unsigned\"]]}"));
    assert_whole();
    assert_string_equal(found("[8]"), "[3,7,8]");
    assert_string_equal(found("[6]"), "");
    db_settle(&f);
    assert_whole();
    must(drop_index(&f, "s", "i"));
    must(make_index(&f, "s", "i", plain));
    assert_whole();
    assert_string_equal(found("[7]"), "[3,7,8]");
    reopen();
    assert_whole();
}

/* ------------------------------------------------------------------------------------- uniqueness */

static void refused_with(const char *row)
{
    int rc = make_index(&f, "s", "i", unique);
    refused(rc, ERROR_DUPLICATE, row);
    assert_no_index();
}

static void two_rows_of_the_body_with_one_key_end_the_build(void **state)
{
    (void)state;
    write_row(1, "[900, 1001]", 0);
    db_settle(&f);
    refused_with("row {900} has a key of another one");
    assert_int_equal(stages[BUILD_ABSORBS], 0); /* nothing was written in vain */
    write_row(1, "[900, 1]", 0);
    must(make_index(&f, "s", "i", unique));
    assert_whole();
    write_row(1, "[900, 1001]", ERROR_DUPLICATE);
}

static void a_duplicate_is_written(void)
{
    write_row(1, "[900, 1001]", 0);
}

/* The writer has found nobody in the body, and is met there by the checkpoint's thread, or the other.
 * Each time in a database of its own: what a build has left in the body stops him as well. */
static void a_row_that_gets_the_key_of_one_in_the_body_ends_the_build(void **state)
{
    for (unsigned stage = BUILD_WALKS; stage < BUILD_LOOKS; stage++) {
        if (stage == BUILD_ABSORBS)
            f.db->build_round_bytes = UINT32_MAX; /* no checkpoint follows that has the row */
        at(stage, a_duplicate_is_written);
        refused_with("has a key of another one");
        write_row(1, "[900, 1900]", 0);
        must(make_index(&f, "s", "i", unique));
        assert_whole();
        close(state);
        open(state);
    }
}

static struct txn *open_txn;

static void a_duplicate_is_begun(void)
{
    open_txn = begin(&f, 1, TXN_READ_COMMITTED);
    must(replace(&f, open_txn, "s", "[900, 1001]"));
}

static void it_is_committed(void)
{
    must(txn_commit(open_txn));
}

static void it_is_rolled_back(void)
{
    txn_rollback(open_txn);
}

static void what_is_in_doubt_is_decided_in_the_end(void **state)
{
    at(BUILD_ABSORBS, a_duplicate_is_begun);
    at(BUILD_LOOKS, it_is_committed);
    refused_with("has a key of another one");
    close(state);
    open(state);
    at(BUILD_ABSORBS, a_duplicate_is_begun);
    at(BUILD_LOOKS, it_is_rolled_back);
    must(make_index(&f, "s", "i", unique));
    assert_whole();
    write_row(1, "[900, 1001]", ERROR_DUPLICATE);
}

static void it_is_committed_and_leaves(void)
{
    must(txn_commit(open_txn));
    db_checkpoint_request(f.db);
}

static void what_is_in_doubt_may_have_left_when_it_is_decided(void **state)
{
    (void)state;
    at(BUILD_ABSORBS, a_duplicate_is_begun);
    at(BUILD_LOOKS, it_is_committed_and_leaves);
    refused_with("has a key of another one");
}

static void a_duplicate_is_begun_and_waits(void)
{
    const struct txn_options options = {.level = TXN_READ_COMMITTED};
    must(txn_open(db_worker_txn(f.workers[1]), &options, &open_txn));
    must(replace(&f, open_txn, "s", "[900, 1001]"));
    txn_park(open_txn);
}

/* Of what he has written there is something left while he has not looked. The row has had the key once,
 * of which the body has an entry for the old reader. */
static void what_the_gate_has_ended_is_no_duplicate(void **state)
{
    (void)state;
    write_row(1, "[1, 1]", 0);
    write_row(1, "[900, 1001]", 0);
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct txn *old;
    must(txn_open(db_worker_txn(f.workers[2]), &options, &old));
    txn_park(old);
    db_settle(&f);
    write_row(1, "[900, 1900]", 0);
    write_row(1, "[1, 1001]", 0);
    db_settle(&f);
    at(BUILD_ABSORBS, a_duplicate_is_begun_and_waits);
    int made = make_index(&f, "s", "i", unique), resumed = txn_resume(open_txn);
    if (resumed == 0)
        txn_rollback(open_txn);
    must(txn_resume(old));
    txn_rollback(old);
    must(made);
    assert_int_not_equal(resumed, 0);
    assert_string_equal(found("[1001]"), "[1,1001]");
    assert_whole();
}

static void a_duplicate_is_refused(void)
{
    write_row(1, "[900, 1001]", ERROR_DUPLICATE);
    write_row(1, "[5000, 1001]", ERROR_DUPLICATE);
    remove_row(1, "[2]");
    write_row(1, "[5000, 1002]", 0);
}

static void a_writer_meets_what_is_in_the_body(void **state)
{
    (void)state;
    at(BUILD_LOOKS, a_duplicate_is_refused);
    must(make_index(&f, "s", "i", unique));
    assert_string_equal(found("[1002]"), "[5000,1002]");
    assert_whole();
}

static void keys_change_hands(void)
{
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    must(replace(&f, txn, "s", "[1, 1]"));
    must(replace(&f, txn, "s", "[2, 1001]"));
    must(replace(&f, txn, "s", "[1, 1002]"));
    must(txn_commit(txn));
}

static void a_key_may_change_hands_meanwhile(void **state)
{
    (void)state;
    for (unsigned stage = BUILD_WALKS; stage <= BUILD_LOOKS; stage++) {
        at(stage, keys_change_hands);
        must(make_index(&f, "s", "i", unique));
        assert_string_equal(found("[1001]"), "[2,1001]");
        assert_string_equal(found("[1002]"), "[1,1002]");
        assert_whole();
        must(drop_index(&f, "s", "i"));
        write_row(1, "[1, 1001]", 0);
        write_row(1, "[2, 1002]", 0);
        db_settle(&f);
    }
}

static void many_rows_may_have_nil(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 40; i++) {
        char text[32];
        snprintf(text, sizeof text, "[%u, null]", i);
        write_row(1, text, 0);
    }
    db_settle(&f);
    must(
        make_index(&f, "s", "i",
                   "{\"parts\": [{\"field\": 2, \"type\": \"unsigned\", \"is_nullable\": true}]}"));
    assert_whole();
}

/* -------------------------------------------------------------------------------------- its end */

static void a_row_that_it_cannot_have_ends_the_build(void **state)
{
    (void)state;
    write_row(1, "[77, \"text\"]", 0);
    db_settle(&f);
    refused(make_index(&f, "s", "i", plain), ERROR_SCHEMA, "must be unsigned, not string");
    assert_no_index();
    write_row(1, "[77, 7]", 0);
    must(make_index(&f, "s", "i", plain));
    assert_whole();
}

static struct ddl_job *job;

static void hold(void)
{
    store_release(&held, true);
}

static int begin_build(void)
{
    uint32_t id;
    return ddl_index_create_begin(f.workers[0], space_of(&f, NULL, "s")->id, "i", 1,
                                  mp_of(plain, NULL), &id, &job);
}

/* Which is held at the stage then. */
static void build_until(unsigned stage)
{
    memset((void *)stages, 0, sizeof stages);
    at(stage, hold);
    must(begin_build());
    while (stages[stage] == 0)
        assert_int_equal(ddl_job_step(job), ERROR_WAIT);
}

static void one_that_is_cancelled_leaves_nothing(void **state)
{
    (void)state;
    for (unsigned stage = 0; stage < STAGES; stage++) {
        build_until(stage);
        store_release(&held, false);
        ddl_job_cancel(job);
        assert_no_index();
        db_settle(&f);
    }
    must(make_index(&f, "s", "i", plain));
    assert_whole();
}

static void the_space_is_not_changed_meanwhile(void **state)
{
    (void)state;
    must(begin_build());
    refused(drop_space(&f, "s"), ERROR_SCHEMA, "while its index \"i\" is being built");
    refused(truncate_space(&f, "s"), ERROR_SCHEMA, "while its index \"i\" is being built");
    must(go_to_the_end(job));
    assert_whole();
}

static struct ddl_job *begin_build_of(const char *space, unsigned worker)
{
    uint32_t id;
    struct ddl_job *made;
    must(ddl_index_create_begin(f.workers[worker], space_of(&f, NULL, space)->id, "i", 1,
                                mp_of(plain, NULL), &id, &made));
    return made;
}

/* One goes on while the other is cancelled, or fails; each in a space of its own. */
static void two_at_once_do_not_meet(void **state)
{
    char options[64], text[32];
    snprintf(options, sizeof options, "{\"engine\": \"%s\"}", (const char *)*state);
    must(make_space(&f, "t", options));
    must(make_index(&f, "t", "pk", NULL));
    for (unsigned i = 1; i <= ROWS; i++) {
        snprintf(text, sizeof text, "[%u, %u]", i, i + 1000);
        must(replace(&f, NULL, "t", text));
    }
    db_settle(&f);
    for (unsigned steps_done = 0; steps_done < 40; steps_done += 3) {
        struct ddl_job *one = begin_build_of("s", 0), *other = begin_build_of("t", 1);
        bool goes_on = true;
        for (unsigned i = 0; i < steps_done && goes_on; i++)
            goes_on = ddl_job_step(other) == ERROR_WAIT;
        if (goes_on)
            ddl_job_cancel(other);
        must(go_to_the_end(one));
        assert_whole();
        must(drop_index(&f, "s", "i"));
        if (!goes_on)
            must(drop_index(&f, "t", "i"));
    }
    must(replace(&f, NULL, "t", "[500, \"text\"]"));
    struct ddl_job *one = begin_build_of("s", 0), *other = begin_build_of("t", 1);
    assert_int_equal(go_to_the_end(other), ERROR_SCHEMA);
    must(go_to_the_end(one));
    assert_whole();
    assert_null(space_of(&f, NULL, "t")->building);
}

static void in_a_schema_transaction_it_is_refused(void **state)
{
    (void)state;
    struct txn *txn;
    must(ddl_begin(f.workers[0], NULL, &txn));
    refused(make_index(&f, "s", "i", plain), ERROR_UNSUPPORTED, "outside of a schema transaction");
    ddl_rollback(f.workers[0]);
    assert_no_index();
}

static void a_power_cut_leaves_all_of_it_or_nothing(void **state)
{
    (void)state;
    for (unsigned stage = 0; stage < STAGES; stage++) {
        build_until(stage);
        disk_cut(f.disk, stage + 1);
        store_release(&held, false);
        ddl_job_cancel(job);
        db_fixture_stop(&f);
        must(db_fixture_start(&f, false));
        settings();
        assert_no_index();
        assert_int_equal(count_by("pk"), ROWS);
    }
    must(make_index(&f, "s", "i", plain));
    disk_cut(f.disk, 77);
    db_fixture_stop(&f);
    must(db_fixture_start(&f, false));
    settings();
    assert_whole();
}

/* What the backup has of the space has nothing of the index, which the log says to be whole. */
static void where_it_is_restored_it_is_made_again(void **state)
{
    (void)state;
    struct disk *disks[2] = {disk_new(7), disk_new(8)};
    struct io *backup = disk_io(disks[0]), *target = disk_io(disks[1]);
    struct backup_result result;
    const struct backup_options options = {.target = backup};
    must(make_index(&f, "s", "old", "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}"));
    write_row(1, "[4000, 5]", 0);
    must(db_backup(f.db, &options, &result));
    write_row(1, "[4001, 6]", 0);
    write_row(1, "[4, 5]", 0);
    must(make_index(&f, "s", "i",
                    "{\"unique\": false, \"parts\": [[2, \"unsigned\"], [1, \"unsigned\"]]}"));
    write_row(1, "[5, 7]", 0);
    must(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))));
    const struct restore_folder folder = {backup, "backup"};
    const struct restore_options restoring = {
        .chain = &folder, .chain_count = 1, .target = target, .log = f.io, .clock = f.db->clock};
    struct restore_report report;
    int rc = db_restore(&restoring, &report);
    io_delete(backup);
    io_delete(target);
    disk_delete(disks[0]);
    db_fixture_stop(&f);
    disk_delete(f.disk);
    f.disk = disks[1];
    int opened = db_fixture_start(&f, false);
    must(rc);
    must(opened);
    settings();
    assert_string_equal(found("[1001]"), "[1,1001]");
    assert_string_equal(found("[5]"), "[4,5] [4000,5]");
    assert_string_equal(found("[7]"), "[5,7]");
    assert_string_equal(found("[1005]"), "");
    assert_whole();
    write_row(1, "[5, 1005]", 0);
    db_settle(&f);
    assert_whole();
}

/* Of whichever call, the later the fewer: the build fails, or what has failed was nothing to it; or, where the log has failed
 * with its last words, that is known after the next start. */
static void disk_call_fails(const char *engine, uint64_t n)
{
    open_with(engine, FAULT_ROWS);
    f.db->build_round_bytes = 2000;
    disk_fail_nth(f.disk, n, EIO);
    int rc = make_index(&f, "s", "i", unique);
    bool known = !wal_failed(db_wal(f.db));
    disk_fail_nth(f.disk, 0, 0);
    reopen();
    bool made = space_of(&f, NULL, "s")->index_count == 2;
    if (known)
        assert_int_equal(made, rc == 0);
    assert_int_equal(count_by("pk"), FAULT_ROWS);
    if (!made)
        assert_no_index();
    if (!made)
        must(make_index(&f, "s", "i", unique));
    assert_whole();
    db_fixture_close(&f);
}

static void when_the_disk_fails_there_is_all_of_it_or_nothing(void **state)
{
    for (uint64_t n = 1; n <= FAULTS; n += 1 + n / 16)
        disk_call_fails(*state, n);
}

/* ------------------------------------------------------------------------------------------ random */

static struct random chance;

static void writes_random(unsigned count)
{
    while (count-- > 0) {
        char text[64];
        unsigned key = 1 + (unsigned)random_below(&chance, 1200);
        if (random_below(&chance, 4) == 0) {
            struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
            snprintf(text, sizeof text, "[%u]", key);
            must(delete_by(&f, txn, "s", "pk", text));
            must(txn_commit(txn));
        } else {
            snprintf(text, sizeof text, "[%u, %u, [%u, %u]]", key,
                     (unsigned)random_below(&chance, 40), (unsigned)random_below(&chance, 9),
                     (unsigned)random_below(&chance, 9));
            write_row(1, text, 0);
        }
    }
}

static void some_write(void)
{
    writes_random(60);
}

static void whatever_was_written_it_leads_to_all_rows(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    random_create(&chance, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned n = 0; n < 6; n++) {
        for (unsigned i = 0; i < STAGES; i++)
            at(i, random_below(&chance, 2) == 0 ? some_write : NULL);
        writes_random(100);
        if (random_below(&chance, 2) == 0)
            db_settle(&f);
        must(make_index(&f, "s", "i", plain));
        assert_whole();
        writes_random(60);
        db_settle(&f);
        assert_whole();
        if (random_below(&chance, 3) == 0) {
            reopen();
            assert_whole();
        }
        must(drop_index(&f, "s", "i"));
    }
}

#define TEST(test)                                 \
    {#test " (lsm)", test, open, close, lsm},      \
    {                                              \
#test " (btree)", test, open, close, btree \
    }

int main(void)
{
    static char lsm[] = "lsm", btree[] = "btree";
    const struct CMUnitTest tests[] = {
        TEST(rows_of_the_body_are_in_it),
        TEST(rows_that_have_not_left_are_in_it),
        TEST(one_without_rows_is_made_at_once),
        TEST(what_is_written_meanwhile_is_in_it),
        TEST(files_that_it_reads_may_be_replaced_meanwhile),
        TEST(nobody_reads_it_before_it_is_ready),
        TEST(a_reader_from_before_finds_his_versions_by_it),
        TEST(a_reader_from_before_finds_rows_that_are_no_more),
        TEST(one_that_no_row_has_a_key_for_is_made),
        TEST(what_an_index_before_has_left_is_passed_over),
        TEST(two_rows_of_the_body_with_one_key_end_the_build),
        TEST(a_row_that_gets_the_key_of_one_in_the_body_ends_the_build),
        TEST(what_is_in_doubt_is_decided_in_the_end),
        TEST(what_is_in_doubt_may_have_left_when_it_is_decided),
        TEST(what_the_gate_has_ended_is_no_duplicate),
        TEST(a_writer_meets_what_is_in_the_body),
        TEST(a_key_may_change_hands_meanwhile),
        TEST(many_rows_may_have_nil),
        TEST(a_row_that_it_cannot_have_ends_the_build),
        TEST(one_that_is_cancelled_leaves_nothing),
        TEST(the_space_is_not_changed_meanwhile),
        TEST(two_at_once_do_not_meet),
        TEST(in_a_schema_transaction_it_is_refused),
        TEST(a_power_cut_leaves_all_of_it_or_nothing),
        TEST(where_it_is_restored_it_is_made_again),
        TEST(whatever_was_written_it_leads_to_all_rows),
        {"when_the_disk_fails_there_is_all_of_it_or_nothing (lsm)",
         when_the_disk_fails_there_is_all_of_it_or_nothing, NULL, NULL, lsm},
        {"when_the_disk_fails_there_is_all_of_it_or_nothing (btree)",
         when_the_disk_fails_there_is_all_of_it_or_nothing, NULL, NULL, btree},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
