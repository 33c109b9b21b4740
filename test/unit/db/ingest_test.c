/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that come to a space as finished runs (invariant 36): beside rows in the head and in files, snapshots and
 * secondary indexes, compared with a model; what is refused; what a failing disk and a power cut leave.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/mp.h"
#include "db/backup.h"
#include "db/db_fixture.h"
#include "db/ingest_fixture.h"
#include "db/ingest_private.h"
#include "db/restore.h"
#include "storage/lsm/lsm.h"

enum { KEYS = 400, ROUNDS = 40 };

/* ------------------------------------------------------------------------------------------------ rows */

static void rows_come_in_any_order(void **state)
{
    (void)state;
    must(ingest_take("[3, 30]", "[1, 10]", "[2, 20]", NULL));
    assert_string_equal(ingest_all("pk"), "[1,10] [2,20] [3,30]");
    assert_int_equal(tree_count(index_of(&ingest_f, NULL, "s", "pk")->scan.tree), 0);
    ingest_assert_whole();
    ingest_reopen();
    assert_string_equal(ingest_all("pk"), "[1,10] [2,20] [3,30]");
    must(replace(&ingest_f, NULL, "s", "[2, 21]"));
    must(delete_by(&ingest_f, NULL, "s", "pk", "[3]"));
    assert_string_equal(ingest_all("pk"), "[1,10] [2,21]");
    db_settle(&ingest_f);
    ingest_reopen();
    assert_string_equal(ingest_all("pk"), "[1,10] [2,21]");
}

static void none_change_nothing(void **state)
{
    (void)state;
    must(ingest_take(NULL));
    assert_string_equal(ingest_all("pk"), "");
}

/* Whether what is replaced has left the head, is in a file and in the head, or is not yet in a file. */
static void they_replace_what_is_there(void **state)
{
    (void)state;
    must(make_index(&ingest_f, "s", "i", ingest_plain));
    must(insert(&ingest_f, NULL, "s", "[1, 1]"));
    must(insert(&ingest_f, NULL, "s", "[2, 2]"));
    db_settle(&ingest_f);
    must(insert(&ingest_f, NULL, "s", "[3, 3]"));
    must(insert(&ingest_f, NULL, "s", "[4, 4]"));
    must(replace(&ingest_f, NULL, "s", "[2, 5]"));
    must(delete_by(&ingest_f, NULL, "s", "pk", "[4]"));
    must(ingest_take("[1, 11]", "[2, 12]", "[3, 13]", "[4, 14]", NULL));
    assert_string_equal(ingest_all("pk"), "[1,11] [2,12] [3,13] [4,14]");
    assert_string_equal(ingest_all("i"), "[1,11] [2,12] [3,13] [4,14]");
    ingest_assert_whole();
    ingest_reopen();
    assert_string_equal(ingest_all("i"), "[1,11] [2,12] [3,13] [4,14]");
    must(delete_by(&ingest_f, NULL, "s", "pk", "[2]"));
    must(replace(&ingest_f, NULL, "s", "[1, 1]"));
    db_settle(&ingest_f);
    assert_string_equal(ingest_all("i"), "[1,1] [3,13] [4,14]");
    ingest_reopen();
    assert_string_equal(ingest_all("i"), "[1,1] [3,13] [4,14]");
    ingest_assert_whole();
}

/* Rows of the head leave it although he holds their versions. */
static void a_reader_from_before_sees_what_was(void **state)
{
    (void)state;
    must(make_index(&ingest_f, "s", "i", ingest_plain));
    must(insert(&ingest_f, NULL, "s", "[1, 1]"));
    db_settle(&ingest_f);
    must(insert(&ingest_f, NULL, "s", "[2, 2]"));
    must(replace(&ingest_f, NULL, "s", "[1, 3]"));
    struct txn *txn;
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    must(txn_open(ingest_f.workers[1]->txn, &options, &txn));
    assert_string_equal(select_by(&ingest_f, txn, "s", "pk", ITERATOR_ALL, NULL), "[1,3] [2,2]");
    txn_park(txn);
    must(replace(&ingest_f, NULL, "s", "[1, 4]"));
    must(ingest_take("[1, 11]", "[2, 12]", "[3, 13]", NULL));
    must(txn_resume(txn));
    assert_string_equal(select_by(&ingest_f, txn, "s", "pk", ITERATOR_ALL, NULL), "[1,3] [2,2]");
    assert_string_equal(select_by(&ingest_f, txn, "s", "i", ITERATOR_ALL, NULL), "[2,2] [1,3]");
    txn_park(txn);
    must(replace(&ingest_f, NULL, "s", "[2, 22]"));
    db_settle(&ingest_f);
    must(txn_resume(txn));
    assert_string_equal(select_by(&ingest_f, txn, "s", "i", ITERATOR_ALL, NULL), "[2,2] [1,3]");
    txn_rollback(txn);
    assert_string_equal(ingest_all("pk"), "[1,11] [2,22] [3,13]");
    ingest_assert_whole();
}

/* Also one that has read the space alone. */
static void an_open_transaction_that_may_write_ends(void **state)
{
    (void)state;
    struct txn *txn;
    must(insert(&ingest_f, NULL, "s", "[1, 1]"));
    db_settle(&ingest_f);
    const struct txn_options options = {.level = TXN_SERIALIZABLE};
    must(txn_open(ingest_f.workers[1]->txn, &options, &txn));
    assert_string_equal(select_by(&ingest_f, txn, "s", "pk", ITERATOR_ALL, NULL), "[1,1]");
    txn_park(txn);
    must(ingest_take("[1, 11]", NULL));
    refused(txn_resume(txn), ERROR_CANCELLED, "rows were being ingested");
}

static void its_timestamp_stays_ahead_of_the_clock(void **state)
{
    (void)state;
    ingest_f.db->ingest_margin = 2; /* so it is chosen again */
    must(ingest_take("[1, 1]", NULL));
    assert_string_equal(ingest_all("pk"), "[1,1]");
    must(ingest_take("[1, 2]", "[2, 2]", NULL));
    assert_string_equal(ingest_all("pk"), "[1,2] [2,2]");
    ingest_assert_no_file_left();
}

static void many_rows_are_sorted_in_little_memory(void **state)
{
    (void)state;
    char text[64];
    must(make_index(&ingest_f, "s", "i", ingest_plain));
    struct ingest *ingest = ingest_begin();
    for (unsigned i = 0; i < 20000; i++) {
        unsigned key = i * 7919 % 20000;
        snprintf(text, sizeof text, "[%u, %u]", key, 20000 - key);
        must(ingest_add_json(ingest, text));
    }
    assert_int_equal(ingest_rows(ingest), 20000);
    assert_true(run_sort_runs(ingest->sort) > 3);
    must(ingest_end(ingest));
    assert_string_equal(get_by(&ingest_f, NULL, "s", "pk", "[777]"), "[777,19223]");
    assert_string_equal(select_by(&ingest_f, NULL, "s", "i", ITERATOR_EQ, "[19223]"),
                        "[777,19223]");
    ingest_assert_whole();
    ingest_assert_no_file_left();
}

static void what_is_told_survives_a_power_cut(void **state)
{
    (void)state;
    must(insert(&ingest_f, NULL, "s", "[1, 1]"));
    must(ingest_take("[1, 11]", "[2, 12]", NULL));
    disk_cut(ingest_f.disk, 1);
    db_fixture_stop(&ingest_f);
    must(ingest_start());
    assert_string_equal(ingest_all("pk"), "[1,11] [2,12]");
    must(replace(&ingest_f, NULL, "s", "[2, 22]"));
    must(wal_wait_durable(db_wal(ingest_f.db), wal_clock(db_wal(ingest_f.db))));
    disk_cut(ingest_f.disk, 2);
    db_fixture_stop(&ingest_f);
    must(ingest_start());
    assert_string_equal(ingest_all("pk"), "[1,11] [2,22]");
}

static void a_backup_behind_it_has_the_rows(void **state)
{
    (void)state;
    struct disk *disks[2] = {disk_new(7), disk_new(8)};
    struct io *backup = disk_io(disks[0]), *target = disk_io(disks[1]);
    struct backup_result result;
    const struct backup_options options = {.target = backup};
    must(insert(&ingest_f, NULL, "s", "[1, 1]"));
    must(ingest_take("[1, 11]", "[2, 12]", NULL));
    must(db_backup(ingest_f.db, &options, &result));
    must(replace(&ingest_f, NULL, "s", "[2, 22]"));
    must(wal_wait_durable(db_wal(ingest_f.db), wal_clock(db_wal(ingest_f.db))));
    const struct restore_folder folder = {backup, "backup"};
    const struct restore_options restoring = {.chain = &folder,
                                              .chain_count = 1,
                                              .target = target,
                                              .log = ingest_f.io,
                                              .clock = ingest_f.db->clock};
    struct restore_report report;
    int rc = db_restore(&restoring, &report);
    io_delete(backup);
    io_delete(target);
    disk_delete(disks[0]);
    db_fixture_stop(&ingest_f);
    disk_delete(ingest_f.disk);
    ingest_f.disk = disks[1];
    int opened = ingest_start();
    must(rc);
    must(opened);
    assert_string_equal(ingest_all("pk"), "[1,11] [2,22]");
    ingest_assert_whole();
}

/* ------------------------------------------------------------------------------------------- uniqueness */

static void two_of_one_key_are_refused(void **state)
{
    (void)state;
    must(make_index(&ingest_f, "s", "u", ingest_unique));
    must(insert(&ingest_f, NULL, "s", "[9, 9, 9]"));
    refused(ingest_take("[1, 1, 1]", "[2, 2, 2]", "[1, 3, 3]", NULL), ERROR_DUPLICATE, "pk");
    refused(ingest_take("[1, 1, 1]", "[2, 2, 1]", NULL), ERROR_DUPLICATE, "\"u\"");
    assert_string_equal(ingest_all("pk"), "[9,9,9]");
    must(ingest_take("[1, 1, null]", "[2, 2, null]", "[3, 3, 3]", NULL));
    assert_string_equal(ingest_all("u"), "[1,1,null] [2,2,null] [3,3,3] [9,9,9]");
    ingest_assert_no_file_left();
}

static void a_key_of_a_row_that_stays_is_refused(void **state)
{
    (void)state;
    must(make_index(&ingest_f, "s", "u", ingest_unique));
    must(insert(&ingest_f, NULL, "s", "[1, 1, 1]"));
    must(insert(&ingest_f, NULL, "s", "[5, 5, null]"));
    db_settle(&ingest_f);
    must(insert(&ingest_f, NULL, "s", "[2, 2, 2]"));
    refused(ingest_take("[3, 3, 1]", NULL), ERROR_DUPLICATE, "\"u\"");
    refused(ingest_take("[3, 3, 2]", NULL), ERROR_DUPLICATE, "\"u\"");
    must(ingest_take("[6, 6, null]", NULL));
    assert_string_equal(ingest_all("pk"), "[1,1,1] [2,2,2] [5,5,null] [6,6,null]");
    must(delete_by(&ingest_f, NULL, "s", "pk", "[1]"));
    must(replace(&ingest_f, NULL, "s", "[2, 2, 4]"));
    must(ingest_take("[3, 3, 1]", "[4, 4, 2]", NULL)); /* both are free by now */
    must(ingest_take("[3, 3, 2]", "[4, 4, 1]", NULL)); /* they change hands */
    assert_string_equal(ingest_all("u"), "[5,5,null] [6,6,null] [4,4,1] [3,3,2] [2,2,4]");
    refused(insert(&ingest_f, NULL, "s", "[7, 7, 2]"), ERROR_DUPLICATE, "\"u\"");
    ingest_assert_whole();
    ingest_assert_no_file_left();
}

enum { OLD_ROWS = 300 };

static const char *const old_indexes[] = {
    "{\"unique\": true, \"parts\": [[2, \"unsigned\"], [3, \"unsigned\"]]}",
    "{\"unique\": false, \"parts\": [[2, \"unsigned\"], [3, \"unsigned\"]]}",
    "{\"unique\": false, \"parts\": [[3, \"unsigned\"]]}",
};

/* They lie between those of the index that has the number by now, and have other parts. */
static void entries_of_a_dropped_index_hide_no_holder(void **state)
{
    char text[64], expected[64];
    (void)state;
    for (unsigned n = 0; n < sizeof old_indexes / sizeof *old_indexes; n++) {
        must(make_index(&ingest_f, "s", "u", old_indexes[n]));
        for (unsigned i = 0; i < OLD_ROWS; i++) {
            snprintf(text, sizeof text, "[%u, %u, %u]", 1000 + i, 2 * i, i % 7);
            must(insert(&ingest_f, NULL, "s", text));
        }
        db_settle(&ingest_f);
        must(drop_index(&ingest_f, "s", "u"));
        must(make_index(&ingest_f, "s", "u", "{\"parts\": [[2, \"unsigned\"]]}"));
        db_settle(&ingest_f);
        for (unsigned i = 0; i < OLD_ROWS; i += 37) {
            snprintf(text, sizeof text, "[%u, %u, 5]", 2000 + i, 2 * i);
            refused(ingest_take(text, "[9000, 1, 1]", NULL), ERROR_DUPLICATE, "\"u\"");
        }
        must(ingest_take("[1003, 6, 5]", "[1004, 2001, 5]", "[9001, 8, 5]", "[9000, 1, 1]", NULL));
        for (unsigned i = 0; i < 4; i++) {
            static const char *const rows[] = {"[1003,6,5]", "[1004,2001,5]", "[9001,8,5]",
                                               "[9000,1,1]"};
            static const char *const keys[] = {"[6]", "[2001]", "[8]", "[1]"};
            snprintf(expected, sizeof expected, "%s", rows[i]);
            assert_string_equal(get_by(&ingest_f, NULL, "s", "u", keys[i]), expected);
        }
        ingest_assert_whole();
        must(truncate_space(&ingest_f, "s"));
        must(drop_index(&ingest_f, "s", "u"));
    }
}

/* ----------------------------------------------------------------------------------------- what is refused */

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    must(format_space(&ingest_f, "s", "[[\"id\", \"unsigned\"], [\"name\", \"string\"]]"));
    struct ingest *ingest = ingest_begin();
    refused(ingest_add_json(ingest, "[1, 1]"), ERROR_SCHEMA, "name");
    refused(ingest_add_json(ingest, "[\"a\", \"a\"]"), ERROR_SCHEMA, "id");
    must(ingest_add_json(ingest, "[1, \"a\"]"));
    must(ingest_end(ingest));
    assert_string_equal(ingest_all("pk"), "[1,\"a\"]");
}

static void the_space_is_not_changed_meanwhile(void **state)
{
    struct ingest *other;
    (void)state;
    struct ingest *ingest = ingest_begin();
    refused(make_index(&ingest_f, "s", "i", ingest_plain), ERROR_SCHEMA, "being ingested");
    refused(truncate_space(&ingest_f, "s"), ERROR_SCHEMA, "being ingested");
    refused(drop_space(&ingest_f, "s"), ERROR_SCHEMA, "being ingested");
    refused(make_space(&ingest_f, "child",
                       "{\"engine\": \"memory\", \"format\": [[\"id\", \"unsigned\"]], "
                       "\"foreign_key\": {\"to\": {\"space\": \"s\", \"field\": {\"id\": 1}}}}"),
            ERROR_SCHEMA, "being ingested");
    refused(ingest_new(ingest_f.workers[1], space_of(&ingest_f, NULL, "s")->id, &other), ERROR_BUSY,
            "already");
    ingest_delete(ingest);
    must(make_index(&ingest_f, "s", "i", ingest_plain));
}

static void of_other_spaces_it_says_why_not(void **state)
{
    struct ingest *ingest;
    struct txn *txn;
    (void)state;
    must(make_space(&ingest_f, "m", "{\"engine\": \"memory\"}"));
    must(make_index(&ingest_f, "m", "pk", NULL));
    must(make_space(&ingest_f, "b", "{\"engine\": \"btree\"}"));
    must(make_index(&ingest_f, "b", "pk", NULL));
    must(make_space(&ingest_f, "e", NULL));
    uint32_t id = space_of(&ingest_f, NULL, "s")->id;
    refused(ingest_new(ingest_f.workers[0], space_of(&ingest_f, NULL, "m")->id, &ingest),
            ERROR_UNSUPPORTED, "'lsm'");
    refused(ingest_new(ingest_f.workers[0], space_of(&ingest_f, NULL, "b")->id, &ingest),
            ERROR_UNSUPPORTED, "'lsm'");
    refused(ingest_new(ingest_f.workers[0], space_of(&ingest_f, NULL, "e")->id, &ingest),
            ERROR_SCHEMA, "no primary index");
    refused(ingest_new(ingest_f.workers[0], SPACE_ID_SPACE, &ingest), ERROR_ACCESS, "system space");
    refused(ingest_new(ingest_f.workers[0], 9999, &ingest), ERROR_NOT_FOUND, "9999");
    txn = begin(&ingest_f, 0, TXN_SNAPSHOT);
    refused(ingest_new(ingest_f.workers[0], id, &ingest), ERROR_INVALID, "transaction");
    txn_rollback(txn);
}

static void who_has_begun_a_transaction_meanwhile_is_refused(void **state)
{
    struct ddl_job *job;
    struct txn *txn;
    (void)state;
    for (unsigned exclusive = 0; exclusive < 2; exclusive++) {
        const struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = exclusive};
        struct ingest *ingest = ingest_begin();
        must(ingest_add_json(ingest, "[1, 1]"));
        must(txn_begin(ingest_f.workers[0]->txn, &options, &txn));
        refused(ingest_run(ingest, &job), ERROR_INVALID, "inside of a transaction");
        txn_rollback(txn);
    }
    must(ingest_take("[2, 2]", NULL));
    assert_string_equal(ingest_all("pk"), "[2,2]");
}

/* ------------------------------------------------------------------------------------------------ random */

static struct random chance;
static struct {
    bool there;
    unsigned value, number;
} model[KEYS];

static unsigned number_free(void)
{
    for (;;) {
        unsigned number = (unsigned)random_below(&chance, 4 * KEYS), i = 0;
        while (i < KEYS && !(model[i].there && model[i].number == number))
            i++;
        if (i == KEYS)
            return number;
    }
}

static void row_text(unsigned key, char *text, size_t size)
{
    snprintf(text, size, "[%u, %u, %u]", key, model[key].value, model[key].number);
}

static void write_random(void)
{
    char text[64];
    unsigned key = (unsigned)random_below(&chance, KEYS);
    if (random_below(&chance, 3) == 0) {
        snprintf(text, sizeof text, "[%u]", key);
        must(delete_by(&ingest_f, NULL, "s", "pk", text));
        model[key].there = false;
        return;
    }
    unsigned number = number_free();
    model[key].there = true;
    model[key].value = (unsigned)random_below(&chance, 20);
    model[key].number = number;
    row_text(key, text, sizeof text);
    must(replace(&ingest_f, NULL, "s", text));
}

static void ingest_random(void)
{
    char text[64];
    bool chosen[KEYS] = {false};
    struct ingest *ingest = ingest_begin();
    for (unsigned n = (unsigned)random_below(&chance, 80); n > 0; n--)
        chosen[random_below(&chance, KEYS)] = true;
    for (unsigned key = 0; key < KEYS; key++)
        if (chosen[key])
            model[key].there = false; /* their numbers may go to others of them */
    for (unsigned key = KEYS; key-- > 0;) {
        if (!chosen[key])
            continue;
        unsigned number = number_free();
        model[key].there = true;
        model[key].value = (unsigned)random_below(&chance, 20);
        model[key].number = number;
        row_text(key, text, sizeof text);
        must(ingest_add_json(ingest, text));
    }
    must(ingest_end(ingest));
}

static void assert_model(void)
{
    char text[64], *end;
    unsigned rows = 0;
    for (unsigned key = 0; key < KEYS; key++) {
        snprintf(text, sizeof text, "[%u]", key);
        const char *row = get_by(&ingest_f, NULL, "s", "pk", text);
        if (!model[key].there) {
            assert_null(row);
            continue;
        }
        rows++;
        snprintf(text, sizeof text, "[%u,%u,%u]", key, model[key].value, model[key].number);
        assert_string_equal(row, text);
        snprintf(text, sizeof text, "[%u]", model[key].number);
        row = get_by(&ingest_f, NULL, "s", "u", text);
        assert_non_null(row);
        assert_int_equal(strtoul(row + 1, &end, 10), key);
    }
    const char *const indexes[] = {"pk", "i", "u"};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t count;
        struct txn *txn = begin(&ingest_f, 0, TXN_SNAPSHOT);
        must(space_count(txn, index_of(&ingest_f, txn, "s", indexes[i]), ITERATOR_ALL, NULL,
                         &count));
        txn_rollback(txn);
        assert_int_equal(count, rows);
    }
}

static void whatever_comes_before_and_behind_it_is_as_in_the_model(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    random_create(&chance, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    memset(model, 0, sizeof model);
    must(make_index(&ingest_f, "s", "i", ingest_plain));
    must(make_index(&ingest_f, "s", "u", ingest_unique));
    struct txn *held = NULL;
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    char *seen = NULL;
    for (unsigned n = 0; n < ROUNDS; n++) {
        for (unsigned i = (unsigned)random_below(&chance, 60); i > 0; i--)
            write_random();
        if (random_below(&chance, 3) == 0)
            db_settle(&ingest_f);
        if (held == NULL && random_below(&chance, 2) == 0) {
            must(txn_open(ingest_f.workers[1]->txn, &options, &held));
            seen = strdup(select_by(&ingest_f, held, "s", "u", ITERATOR_LT, "[60]"));
            txn_park(held);
        }
        ingest_random();
        assert_model();
        if (held != NULL && random_below(&chance, 3) == 0) {
            must(txn_resume(held));
            assert_string_equal(select_by(&ingest_f, held, "s", "u", ITERATOR_LT, "[60]"), seen);
            txn_rollback(held);
            held = NULL;
            free(seen);
        }
        if (held == NULL && random_below(&chance, 5) == 0) {
            ingest_reopen();
            assert_model();
        }
    }
    if (held != NULL) {
        must(txn_resume(held));
        assert_string_equal(select_by(&ingest_f, held, "s", "u", ITERATOR_LT, "[60]"), seen);
        txn_rollback(held);
        free(seen);
    }
    ingest_assert_whole();
    db_settle(&ingest_f);
    ingest_assert_no_file_left();
    ingest_reopen();
    assert_model();
}

/* ------------------------------------------------------------------------------------ beside others */

enum { CROWD = 40, GENERATIONS = 25, CROWD_THREADS = 3, SESSION = 77 };

static _Atomic bool crowd_ends;
static _Atomic unsigned crowd_seen;

/* All rows that one snapshot has are of one ingest, by whichever index; which is given. */
static int generation_see(struct txn *txn, struct space *space, unsigned *out)
{
    for (unsigned i = 0; i < 2; i++) {
        struct space_cursor cursor;
        struct tuple_ref tuple;
        unsigned rows = 0;
        int rc = space_cursor_open(&cursor, txn, space->indexes[i], ITERATOR_ALL, NULL);
        while (rc == 0 && (rc = space_cursor_next(&cursor, &tuple)) == 0) {
            const char *field = mp_array_at(tuple.data, 1);
            uint64_t generation;
            assert_true(mp_read_uint(&field, &generation));
            if (i + rows == 0)
                *out = (unsigned)generation;
            assert_int_equal(generation, *out);
            rows++;
        }
        if (rc != ERROR_END)
            return rc;
        assert_int_equal(rows, CROWD);
    }
    return 0;
}

static struct member {
    pthread_t thread;
    unsigned number;
    struct db_worker *worker;
    struct random chance;
} members[CROWD_THREADS];

static void crowd_gather(uint64_t seed, void *(*member_main)(void *))
{
    print_message("seed %llu\n", (unsigned long long)seed);
    store_release(&crowd_ends, false);
    for (unsigned i = 0; i < CROWD_THREADS; i++) {
        members[i].number = i;
        if (i + 1 < DB_FIXTURE_WORKERS)
            members[i].worker = ingest_f.workers[i + 1];
        else
            must(db_worker_open(ingest_f.db, &members[i].worker));
        random_create(&members[i].chance, seed + i);
        assert_int_equal(pthread_create(&members[i].thread, NULL, member_main, &members[i]), 0);
    }
}

static void crowd_dismiss(void)
{
    store_release(&crowd_ends, true);
    for (unsigned i = 0; i < CROWD_THREADS; i++)
        pthread_join(members[i].thread, NULL);
    db_worker_close(members[CROWD_THREADS - 1].worker);
}

static struct space *crowd_space(const struct member *member)
{
    return catalog_space(db_catalog(member->worker), "s", 1);
}

/* Writes a row as it was, of the generation that it has read. */
static int row_touch(struct txn *txn, void *arg)
{
    struct member *member = arg;
    struct space *space = crowd_space(member);
    unsigned generation = 0;
    char tuple[32], *end = mp_encode_array(tuple, 3);
    int rc = generation_see(txn, space, &generation);
    if (rc != 0)
        return rc;
    end = mp_encode_uint(end, random_below(&member->chance, CROWD));
    end = mp_encode_uint(end, generation);
    end = mp_encode_uint(end, random_next(&member->chance) >> 32);
    return space_replace(txn, space, tuple, (size_t)(end - tuple), NULL, NULL);
}

static void look(struct member *member)
{
    const struct txn_options options = {
        .level = TXN_SNAPSHOT, .readonly = true, .latest = random_below(&member->chance, 2) == 0};
    struct txn *txn;
    unsigned first = 0, again = 0;
    must(txn_begin(db_worker_txn(member->worker), &options, &txn));
    must(generation_see(txn, crowd_space(member), &first));
    must(generation_see(txn, crowd_space(member), &again));
    assert_int_equal(first, again);
    txn_rollback(txn);
}

/* The same in a transaction that is parked between reading and writing, and ended by others now and then. */
static void touch_parked(struct member *member)
{
    struct txn_worker *worker = db_worker_txn(member->worker);
    const struct txn_options options = {.level = TXN_SERIALIZABLE, .session_id = SESSION};
    struct txn *txn;
    unsigned generation = 0;
    must(txn_open(worker, &options, &txn));
    int rc = generation_see(txn, crowd_space(member), &generation);
    for (unsigned parks = 0; rc == 0 && parks < 2; parks++) {
        txn_park(txn);
        if (random_below(&member->chance, 3) == 0)
            txn_cancel_session(worker, SESSION);
        if ((rc = txn_resume(txn)) != 0) {
            assert_int_equal(rc, ERROR_CANCELLED);
            return;
        }
        if (parks == 0)
            rc = row_touch(txn, member);
    }
    if (rc == 0)
        rc = txn_commit(txn);
    else
        txn_rollback(txn);
    assert_true(rc == 0 || rc == ERROR_CONFLICT || rc == ERROR_WAIT || rc == ERROR_DEADLOCK);
}

static void *member_main(void *arg)
{
    struct member *member = arg;
    const struct txn_options options = {.level =
                                            member->number == 0 ? TXN_SERIALIZABLE : TXN_SNAPSHOT};
    while (!load_acquire(&crowd_ends)) {
        if (member->number == 1 && random_below(&member->chance, 2) == 0)
            touch_parked(member);
        else if (member->number < 2)
            must(txn_run(db_worker_txn(member->worker), &options, row_touch, member));
        else
            look(member);
        atomic_fetch_add(&crowd_seen, 1);
    }
    return NULL;
}

static void ingest_generation(unsigned generation)
{
    char text[64];
    struct ingest *ingest = ingest_begin();
    for (unsigned key = 0; key < CROWD; key++) {
        snprintf(text, sizeof text, "[%u, %u, 0]", key, generation);
        must(ingest_add_json(ingest, text));
    }
    must(ingest_end(ingest));
}

static void everybody_sees_all_rows_of_one_or_none(void **state)
{
    (void)state;
    must(make_index(&ingest_f, "s", "i", ingest_plain));
    ingest_generation(1);
    crowd_gather(test_seed(), member_main);
    for (unsigned n = 2; n <= GENERATIONS; n++) {
        unsigned seen = load_relaxed(&crowd_seen);
        ingest_generation(n);
        while (load_relaxed(&crowd_seen) < seen + 2 * CROWD_THREADS)
            sched_yield();
    }
    crowd_dismiss();
    struct txn *txn = begin(&ingest_f, 0, TXN_SNAPSHOT);
    unsigned last = 0;
    must(generation_see(txn, space_of(&ingest_f, txn, "s"), &last));
    txn_rollback(txn);
    assert_int_equal(last, GENERATIONS);
    ingest_assert_whole();
    ingest_reopen();
    txn = begin(&ingest_f, 0, TXN_SNAPSHOT);
    must(generation_see(txn, space_of(&ingest_f, txn, "s"), &last));
    txn_rollback(txn);
    assert_int_equal(last, GENERATIONS);
    ingest_assert_no_file_left();
}

/* ------------------------------------------------------------------------- unique keys beside writers */

enum { SHARED_KEYS = 60, SHARED_NUMBERS = 70, SHARED_INGESTS = 60, SHARED_ROWS_MAX = 5 };

/* Who has which number, by an index; 0: nobody. */
struct holders {
    unsigned number[SHARED_KEYS], key[SHARED_NUMBERS];
};

static void holders_see(struct txn *txn, struct index *index, struct holders *out)
{
    struct space_cursor cursor;
    struct tuple_ref tuple;
    memset(out, 0, sizeof *out);
    int rc = space_cursor_open(&cursor, txn, index, ITERATOR_ALL, NULL);
    while (rc == 0 && (rc = space_cursor_next(&cursor, &tuple)) == 0) {
        const char *field = mp_array_at(tuple.data, 0);
        uint64_t key, number;
        assert_true(mp_read_uint(&field, &key));
        field = mp_array_at(tuple.data, 2);
        assert_true(mp_read_uint(&field, &number));
        assert_int_equal(out->number[key], 0);
        assert_int_equal(out->key[number], 0);
        out->number[key] = (unsigned)number + 1;
        out->key[number] = (unsigned)key + 1;
    }
    assert_int_equal(rc, ERROR_END);
}

/* Each number is one row's, and both indexes have the same. */
static void uniqueness_see(struct db_worker *worker, bool latest)
{
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = latest};
    struct holders rows, entries;
    struct txn *txn;
    must(txn_begin(db_worker_txn(worker), &options, &txn));
    struct space *space = catalog_space(db_catalog(worker), "s", 1);
    holders_see(txn, space->indexes[0], &rows);
    holders_see(txn, space->indexes[1], &entries);
    txn_rollback(txn);
    assert_memory_equal(&rows, &entries, sizeof rows);
}

static size_t shared_row(struct random *random, unsigned key, char *tuple)
{
    char *end = mp_encode_array(tuple, 3);
    end = mp_encode_uint(end, key);
    end = mp_encode_uint(end, 0);
    end = mp_encode_uint(end, random_below(random, SHARED_NUMBERS));
    return (size_t)(end - tuple);
}

static int shared_write(struct txn *txn, void *arg)
{
    struct member *member = arg;
    struct space *space = crowd_space(member);
    unsigned key = (unsigned)random_below(&member->chance, SHARED_KEYS);
    char bytes[32];
    if (random_below(&member->chance, 4) != 0)
        return space_replace(txn, space, bytes, shared_row(&member->chance, key, bytes), NULL,
                             NULL);
    mp_encode_uint(mp_encode_array(bytes, 1), key);
    int rc = space_delete(txn, space->indexes[0], bytes, NULL);
    return rc == ERROR_NOT_FOUND ? 0 : rc;
}

/* Two writes, between which it is parked. */
static int shared_write_parked(struct member *member)
{
    const struct txn_options options = {.level = TXN_SERIALIZABLE, .session_id = SESSION};
    struct txn *txn;
    must(txn_open(db_worker_txn(member->worker), &options, &txn));
    int rc = shared_write(txn, member);
    if (rc == 0) {
        txn_park(txn);
        sched_yield();
        if ((rc = txn_resume(txn)) != 0)
            return rc;
        rc = shared_write(txn, member);
    }
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

static void *sharer_main(void *arg)
{
    struct member *member = arg;
    const struct txn_options options = {.level =
                                            member->number == 0 ? TXN_SERIALIZABLE : TXN_SNAPSHOT};
    while (!load_acquire(&crowd_ends)) {
        int rc = 0;
        if (member->number == 2)
            uniqueness_see(member->worker, random_below(&member->chance, 2) == 0);
        else if (member->number == 1 && random_below(&member->chance, 3) == 0)
            rc = shared_write_parked(member);
        else
            rc = txn_run(db_worker_txn(member->worker), &options, shared_write, member);
        assert_true(rc == 0 || rc == ERROR_DUPLICATE || rc == ERROR_CANCELLED ||
                    rc == ERROR_CONFLICT || rc == ERROR_WAIT || rc == ERROR_DEADLOCK);
        atomic_fetch_add(&crowd_seen, 1);
    }
    return NULL;
}

/* Some rows, of which two may have one number; it is cancelled now and then. */
static int shared_ingest(struct random *random)
{
    char tuple[32];
    struct ddl_job *job;
    struct store *store = space_of(&ingest_f, NULL, "s")->head->arg;
    unsigned first = (unsigned)random_below(random, SHARED_KEYS);
    struct ingest *ingest = ingest_begin();
    for (unsigned i = (unsigned)random_below(random, SHARED_ROWS_MAX) + 1; i > 0; i--)
        must(ingest_add(ingest, tuple, shared_row(random, (first + 7 * i) % SHARED_KEYS, tuple)));
    uint64_t steps = random_below(random, 6) == 0 ? random_below(random, 8) : UINT64_MAX;
    int rc = ingest_run(ingest, &job);
    must(rc);
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        if (steps-- == 0) {
            ddl_job_cancel(job);
            rc = ERROR_CANCELLED;
            break;
        }
    while (atomic_load(&store->ingesting)) /* one that was cancelled goes on for a while */
        sched_yield();
    return rc;
}

static void no_two_rows_have_one_unique_key_beside_writers(void **state)
{
    struct random random;
    (void)state;
    uint64_t seed = test_seed();
    must(make_index(&ingest_f, "s", "u", ingest_unique));
    random_create(&random, seed + CROWD_THREADS);
    crowd_gather(seed, sharer_main);
    for (unsigned n = 0, taken = 0; taken < SHARED_INGESTS / 3 || n < SHARED_INGESTS; n++) {
        unsigned seen = load_relaxed(&crowd_seen);
        int rc = shared_ingest(&random);
        assert_true(rc == 0 || rc == ERROR_DUPLICATE || rc == ERROR_CANCELLED);
        taken += rc == 0;
        while (load_relaxed(&crowd_seen) < seen + 2 * CROWD_THREADS)
            sched_yield();
        if (random_below(&random, 8) == 0)
            must(db_checkpoint(ingest_f.db));
    }
    crowd_dismiss();
    uniqueness_see(ingest_f.workers[0], true);
    ingest_assert_whole();
    ingest_reopen();
    uniqueness_see(ingest_f.workers[0], true);
    ingest_assert_whole();
    db_settle(&ingest_f);
    ingest_assert_no_file_left();
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, ingest_open, ingest_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_come_in_any_order),
        TEST(none_change_nothing),
        TEST(they_replace_what_is_there),
        TEST(a_reader_from_before_sees_what_was),
        TEST(an_open_transaction_that_may_write_ends),
        TEST(its_timestamp_stays_ahead_of_the_clock),
        TEST(many_rows_are_sorted_in_little_memory),
        TEST(what_is_told_survives_a_power_cut),
        TEST(a_backup_behind_it_has_the_rows),
        TEST(two_of_one_key_are_refused),
        TEST(a_key_of_a_row_that_stays_is_refused),
        TEST(entries_of_a_dropped_index_hide_no_holder),
        TEST(what_does_not_fit_is_refused),
        TEST(the_space_is_not_changed_meanwhile),
        TEST(of_other_spaces_it_says_why_not),
        TEST(who_has_begun_a_transaction_meanwhile_is_refused),
        TEST(whatever_comes_before_and_behind_it_is_as_in_the_model),
        TEST(everybody_sees_all_rows_of_one_or_none),
        TEST(no_two_rows_have_one_unique_key_beside_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
