/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification of a space: what is wrong is found and named, whatever it is, and what others do
 * meanwhile is not taken for wrong. The damage is done behind the back of the database, to trees and
 * versions.
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
#include "base/random.h"
#include "base/test_seed.h"
#include "db/db_fixture.h"
#include "db/db_private.h"
#include "storage/engines.h"

enum { ROWS = 700 }; /* a slice has 256 */

static struct db_fixture f;

/* Rows {i, "name i", i % 10}; by the name uniquely, and by the third field. */
static int open(void **state)
{
    char text[64];
    memset(&f, 0, sizeof f);
    f.engine = *state;
    f.disk = disk_new(1);
    assert_int_equal(db_fixture_start(&f, false), 0);
    assert_int_equal(
        make_space(&f, "s", "{\"format\": [[\"id\", \"unsigned\"], [\"name\", \"string\"]]}"), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(make_index(&f, "s", "name", "{\"parts\": [2]}"), 0);
    assert_int_equal(make_index(&f, "s", "group",
                                "{\"unique\": false, \"parts\": [{\"field\": 3, \"type\": "
                                "\"unsigned\"}]}"),
                     0);
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned i = 1; i <= ROWS; i++) {
        snprintf(text, sizeof text, "[%u, \"name %u\", %u]", i, i, i % 10);
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

/* All of its steps; `between` (may be NULL) is called between two of them. */
static int verify(void (*between)(void))
{
    struct ddl_job *job;
    int rc = ddl_verify_begin(f.workers[0], space_of(&f, NULL, "s")->id, &job);
    while (rc == 0 && (rc = ddl_job_step(job)) == ERROR_WAIT) {
        if (between != NULL)
            between();
        rc = 0;
        continue;
    }
    return rc;
}

/* The item of a tuple in an index. */
static struct item *item_of(unsigned index, const char *tuple)
{
    struct space *space = space_of(&f, NULL, "s");
    struct arena arena;
    struct key_bytes key;
    arena_create(&arena, 0);
    assert_int_equal(db__key_of_tuple(&arena, space->indexes[index], mp_of(tuple, NULL), &key), 0);
    struct item *item = tree_get(space->indexes[index]->scan.tree, key.data, key.size);
    assert_non_null(item);
    arena_destroy(&arena);
    return item;
}

#define SEVEN "[7, \"name 7\", 7]"
#define EIGHT "[8, \"name 8\", 8]"

static void assert_found(const char *words)
{
    assert_int_equal(verify(NULL), ERROR_CORRUPT);
    if (strcmp(diag_message(), words) != 0)
        fail_msg("%s", diag_message());
}

static void a_space_that_is_right_is_found_right(void **state)
{
    (void)state;
    assert_int_equal(verify(NULL), 0);
}

/* Where rows leave memory they are found in the body, and those that come back are in both. */
static void a_space_whose_rows_have_been_written_to_files_is_found_right(void **state)
{
    (void)state;
    char text[64];
    for (unsigned round = 0; round < 4; round++) {
        db_settle(&f);
        assert_int_equal(verify(NULL), 0);
        for (unsigned i = 1 + round; i <= ROWS; i += 50) {
            snprintf(text, sizeof text, "[%u, \"name %u\", %u]", i, i, round);
            assert_int_equal(replace(&f, NULL, "s", text), 0);
        }
        assert_int_equal(
            delete_by(&f, NULL, "s", "name", round % 2 ? "[\"name 600\"]" : "[\"name 601\"]"), 0);
        assert_int_equal(verify(NULL), 0);
    }
    db_fixture_reopen(&f);
    assert_int_equal(verify(NULL), 0);
}

static void an_entry_that_is_missing_is_found(void **state)
{
    (void)state;
    struct item *entry = item_of(1, "[600, \"name 600\", 0]"), *present;
    struct tree *tree = space_of(&f, NULL, "s")->indexes[1]->scan.tree;
    struct tree_thread *thread = txn_worker_thread(f.workers[0]->txn);
    assert_true(tree_remove(tree, thread, entry, NULL, NULL));
    assert_found("space \"s\", row {600}: index \"name\" has no entry for it");
    assert_int_equal(tree_insert(tree, thread, entry, NULL, NULL, &present), 0);
    assert_int_equal(verify(NULL), 0);
}

static void an_entry_that_leads_to_another_row_is_found(void **state)
{
    (void)state;
    struct entry *entry = (struct entry *)(void *)item_of(2, SEVEN);
    struct row *row = load_relaxed(&entry->row);
    store_relaxed(&entry->row, (struct row *)(void *)item_of(0, EIGHT));
    assert_found("space \"s\", row {7}: index \"group\" leads to another row from its entry");
    store_relaxed(&entry->row, row);
    assert_int_equal(verify(NULL), 0);
}

/* The version of a row, whose bytes are changed in place. */
static char *bytes_of(const char *tuple)
{
    struct row *row = (struct row *)(void *)item_of(0, tuple);
    return load_relaxed(&row->newest)->bytes;
}

static void a_row_whose_bytes_have_changed_is_found(void **state)
{
    (void)state;
    char *bytes = bytes_of(SEVEN);
    bytes[1] = 9; /* its key */
    assert_found("space \"s\", row {9}: it lies under the key of another row");
    bytes[1] = 7;
    bytes[0] = (char)0x95; /* an array of five */
    assert_int_equal(verify(NULL), ERROR_CORRUPT);
    assert_string_equal(diag_message(), "space \"s\": a row of 10 bytes is no MessagePack array");
    bytes[0] = (char)0x93;
    bytes[2] = (char)0xc4; /* what was a string: binary, whose length is the next byte */
    assert_int_equal(verify(NULL), ERROR_CORRUPT);
    bytes[2] = (char)0xa6;
    assert_int_equal(verify(NULL), 0);
    bytes[1] = (char)0xc2; /* false, where a number has to be */
    assert_int_equal(verify(NULL), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), "must be unsigned"));
    bytes[1] = 7;
}

static struct random random_writes;

/* Others write while it goes on: rows change, go and come. */
static void write_some(void)
{
    char text[64];
    for (unsigned n = 0; n < 20; n++) {
        unsigned i = 1 + (unsigned)random_below(&random_writes, ROWS + 100);
        struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
        int rc;
        if (random_below(&random_writes, 3) == 0) {
            snprintf(text, sizeof text, "[%u]", i);
            rc = delete_by(&f, txn, "s", "pk", text);
        } else {
            snprintf(text, sizeof text, "[%u, \"name %u\", %u]", i, i,
                     (unsigned)random_below(&random_writes, 10));
            rc = replace(&f, txn, "s", text);
        }
        assert_int_equal(rc == 0 ? txn_commit(txn) : rc, 0);
    }
    txn_collect(f.workers[1]->txn, 1000);
}

static void what_others_write_meanwhile_is_not_taken_for_wrong(void **state)
{
    (void)state;
    random_create(&random_writes, test_seed());
    for (unsigned round = 0; round < 50; round++)
        assert_int_equal(verify(write_some), 0);
}

static struct ddl_job *dropped_under;

static void a_space_that_is_dropped_meanwhile_ends_it(void **state)
{
    (void)state;
    uint32_t id = space_of(&f, NULL, "s")->id;
    assert_int_equal(ddl_verify_begin(f.workers[0], id, &dropped_under), 0);
    assert_int_equal(ddl_space_drop(f.workers[1], id), 0);
    assert_int_equal(ddl_job_step(dropped_under), ERROR_NOT_FOUND);
    assert_int_equal(ddl_verify_begin(f.workers[0], id, &dropped_under), ERROR_NOT_FOUND);
}

static void it_can_be_cancelled_and_has_no_place_in_a_transaction(void **state)
{
    (void)state;
    struct ddl_job *job;
    struct txn *txn;
    uint32_t id = space_of(&f, NULL, "s")->id;
    assert_int_equal(ddl_verify_begin(f.workers[0], id, &job), 0);
    ddl_job_cancel(job);
    assert_string_equal(diag_message(), "the verification was cancelled");
    assert_int_equal(ddl_begin(f.workers[0], &(struct txn_options){0}, &txn), 0);
    assert_int_equal(ddl_verify_begin(f.workers[0], id, &job), ERROR_INVALID);
    ddl_rollback(f.workers[0]);
    assert_int_equal(ddl_verify_begin(f.workers[0], SPACE_ID_REDIS, &job), ERROR_UNSUPPORTED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open, close)
    const struct CMUnitTest tests[] = {
        TEST(a_space_that_is_right_is_found_right),
        TEST(a_space_whose_rows_have_been_written_to_files_is_found_right),
        TEST(an_entry_that_is_missing_is_found),
        TEST(an_entry_that_leads_to_another_row_is_found),
        TEST(a_row_whose_bytes_have_changed_is_found),
        TEST(what_others_write_meanwhile_is_not_taken_for_wrong),
        TEST(a_space_that_is_dropped_meanwhile_ends_it),
        TEST(it_can_be_cancelled_and_has_no_place_in_a_transaction),
    };
    return engines_run_all("verification", tests, sizeof tests / sizeof *tests);
}
