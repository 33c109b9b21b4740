/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows that expire (invariant 35): for whoever reads at their time or later they are absent, in memory and in
 * files, by every index; compaction drops them with their entries when nobody can see them any more.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/checkpoint_fixture.h"
#include "db/checkpoint_private.h"
#include "db/compaction.h"
#include "db/ingest.h"
#include "storage/lsm/lsm.h"

enum { BEGIN_S = 1000, KEYS = 60, STEPS = 900 };

static struct clock_manual now;

static int setup(void **state)
{
    static char engine[] = "lsm";
    *state = engine;
    checkpoint_setup(state);
    clock_manual_create(&now, BEGIN_S * 1000);
    f.clock = &now.base;
    db_fixture_reopen(&f);
    return 0;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, checkpoint_teardown)

static void space_make(void)
{
    must(
        make_space(&f, "s",
                   "{\"format\": [[\"id\", \"unsigned\"], {\"name\": \"at\", \"type\": \"number\", "
                   "\"is_nullable\": true}, [\"name\", \"string\"], [\"kind\", \"unsigned\"]], "
                   "\"expire\": {\"field\": \"at\"}}"));
    must(make_index(&f, "s", "pk", "{}"));
    must(make_index(&f, "s", "name", "{\"parts\": [[3, \"string\"]]}"));
    must(make_index(&f, "s", "kind", "{\"unique\": false, \"parts\": [[4, \"unsigned\"]]}"));
}

/* The time is from now on so many seconds. */
static void go_to(unsigned seconds)
{
    clock_manual_advance_ms(&now, (uint64_t)seconds * 1000 - clock_realtime_ms(&now.base));
}

static struct body *body_of(const char *space)
{
    return ((struct store *)space_of(&f, NULL, space)->head->arg)->body;
}

static struct lsm_stats files(void)
{
    struct lsm_stats out;
    lsm_stats_get(body_of("s"), &out);
    return out;
}

static uint64_t rows_in_files(void)
{
    struct engine_stats out;
    body_stats(body_of("s"), &out);
    return out.rows;
}

static void compact(void)
{
    uint64_t failures;
    int rc;
    must(db_compaction_begin(f.workers[0], space_of(&f, NULL, "s")->id, &failures));
    while ((rc = db_compaction_ended(f.workers[0], space_of(&f, NULL, "s")->id, failures)) ==
           ERROR_WAIT)
        sched_yield();
    must(rc);
}

/* Whatever there is is in files, and the head has nothing. */
static void let_leave(void)
{
    checkpoint();
    db_settle(&f);
}

static void assert_text(const char *found, const char *expected)
{
    assert_string_equal(found == NULL ? "nothing" : found, expected == NULL ? "nothing" : expected);
}

static uint64_t count_of(struct txn *txn, const char *index)
{
    uint64_t count;
    must(space_count(txn, index_of(&f, txn, "s", index), ITERATOR_ALL, NULL, &count));
    return count;
}

static void verify(void)
{
    struct ddl_job *job;
    int rc;
    must(ddl_verify_begin(f.workers[0], space_of(&f, NULL, "s")->id, &job));
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        ;
    must(rc);
}

/* ----------------------------------------------------------------------------------------- ingested */

/* Two rows, NULL for the second: one. */
static int ingest(const char *first, const char *second)
{
    const char *const rows[] = {first, second};
    struct ingest *ingest;
    struct ddl_job *job;
    int rc;
    must(ingest_new(f.workers[0], space_of(&f, NULL, "s")->id, &ingest));
    for (unsigned i = 0; i < 2 && rows[i] != NULL; i++) {
        size_t size;
        const char *tuple = mp_of(rows[i], &size);
        must(ingest_add(ingest, tuple, size));
    }
    if ((rc = ingest_run(ingest, &job)) != 0)
        return rc;
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        continue;
    return rc;
}

/* Nor does one that has expired, here or there, keep others from its unique keys, or hide or show anything. */
static void rows_that_are_ingested_expire_as_others(void **state)
{
    (void)state;
    space_make();
    must(insert(&f, NULL, "s", "[1, 1100, \"in a file\", 1]"));
    let_leave();
    must(insert(&f, NULL, "s", "[2, 1100, \"in memory\", 1]"));
    refused(ingest("[3, 1300, \"in a file\", 2]", NULL), ERROR_DUPLICATE, "name");
    refused(ingest("[3, 1300, \"in memory\", 2]", NULL), ERROR_DUPLICATE, "name");
    go_to(1200);
    must(ingest("[3, 1300, \"in a file\", 2]", "[4, 1300, \"in memory\", 2]"));
    must(ingest("[5, 1150, \"expired\", 2]", "[6, null, \"stays\", 2]"));
    for (unsigned i = 0; i < 2; i++) {
        struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
        assert_int_equal(count_of(txn, "pk"), 3);
        assert_int_equal(count_of(txn, "name"), 3);
        assert_int_equal(count_of(txn, "kind"), 3);
        must(txn_commit(txn));
        assert_text(get_by(&f, NULL, "s", "name", "[\"in a file\"]"), "[3,1300,\"in a file\",2]");
        assert_text(get_by(&f, NULL, "s", "pk", "[5]"), NULL);
        verify();
        if (i == 0)
            db_fixture_reopen(&f);
    }
    must(insert(&f, NULL, "s", "[7, null, \"expired\", 2]"));
    must(ingest("[4, 1400, \"renewed\", 3]", NULL));
    go_to(1350);
    assert_text(get_by(&f, NULL, "s", "pk", "[3]"), NULL);
    assert_text(get_by(&f, NULL, "s", "pk", "[4]"), "[4,1400,\"renewed\",3]");
    let_leave();
    compact();
    verify();
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(count_of(txn, "name"), 3);
    must(txn_commit(txn));
}

/* ------------------------------------------------------------------------------------------- absent */

static void what_has_expired_is_absent_for_every_statement(void **state)
{
    (void)state;
    space_make();
    for (unsigned in_files = 0; in_files < 2; in_files++) {
        unsigned at = BEGIN_S + 100 * (in_files + 1);
        char text[64], ids[32];
        for (unsigned id = 1; id <= 5; id++) {
            snprintf(text, sizeof text, "[%u, %u, \"%c\", 7]", id, at, 'a' + id);
            must(insert(&f, NULL, "s", text));
        }
        must(insert(&f, NULL, "s", "[6, null, \"stays\", 7]"));
        if (in_files)
            let_leave();
        go_to(at - 1);
        struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
        assert_int_equal(count_of(txn, "pk"), 6);
        assert_int_equal(count_of(txn, "kind"), 6);
        must(txn_commit(txn));
        go_to(at);
        txn = begin(&f, 0, TXN_SERIALIZABLE);
        assert_int_equal(count_of(txn, "pk"), 1);
        assert_int_equal(count_of(txn, "kind"), 1);
        assert_int_equal(count_of(txn, "name"), 1);
        must(txn_commit(txn));
        assert_text(get_by(&f, NULL, "s", "pk", "[1]"), NULL);
        assert_text(get_by(&f, NULL, "s", "name", "[\"b\"]"), NULL);
        assert_text(select_by(&f, NULL, "s", "kind", ITERATOR_EQ, "[7]"), "[6,null,\"stays\",7]");
        must(delete_by(&f, NULL, "s", "pk", "[1]"));
        must(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, 9000]]"));
        assert_text(get_by(&f, NULL, "s", "pk", "[1]"), NULL);
        must(insert(&f, NULL, "s", "[1, 9000, \"b\", 8]")); /* key and name are free */
        must(insert(&f, NULL, "s", "[9, 9000, \"d\", 8]"));
        must(upsert(&f, NULL, "s", "[4, 9000, \"e\", 8]", "[[\"=\", 4, 9]]"));
        snprintf(text, sizeof text, "[5, %u, \"late\", 8]", at);
        must(insert(&f, NULL, "s", text)); /* of the past */
        assert_text(get_by(&f, NULL, "s", "pk", "[5]"), NULL);
        assert_text(select_by(&f, NULL, "s", "kind", ITERATOR_EQ, "[8]"),
                    "[1,9000,\"b\",8] [4,9000,\"e\",8] [9,9000,\"d\",8]");
        refused(insert(&f, NULL, "s", "[10, 9000, \"b\", 8]"), ERROR_DUPLICATE, "name");
        verify();
        let_leave();
        verify();
        for (unsigned id = 1; id < 10; id++) {
            snprintf(ids, sizeof ids, "[%u]", id);
            must(delete_by(&f, NULL, "s", "pk", ids));
        }
    }
}

static void a_transaction_sees_what_had_not_expired_at_its_time(void **state)
{
    (void)state;
    static const enum txn_level levels[] = {TXN_SNAPSHOT, TXN_SERIALIZABLE};
    space_make();
    for (unsigned i = 0; i < 2; i++) {
        unsigned at = BEGIN_S + 100 * (i + 1);
        char text[64], row[64];
        snprintf(text, sizeof text, "[1, %u, \"one\", 7]", at);
        snprintf(row, sizeof row, "[1,%u,\"one\",7]", at);
        must(insert(&f, NULL, "s", text));
        let_leave();
        struct txn *old = begin(&f, 1, levels[i]);
        assert_text(get_by(&f, old, "s", "pk", "[1]"), row);
        go_to(at + 1);
        struct txn *young = begin(&f, 2, levels[i]);
        assert_text(get_by(&f, young, "s", "pk", "[1]"), NULL);
        txn_rollback(young);
        uint64_t expired = files().expired_rows;
        compact();
        assert_int_equal(files().expired_rows, expired); /* somebody still sees it */
        assert_text(get_by(&f, old, "s", "pk", "[1]"), row);
        assert_text(get_by(&f, old, "s", "name", "[\"one\"]"), row);
        assert_text(select_by(&f, old, "s", "kind", ITERATOR_EQ, "[7]"), row);
        must(txn_commit(old));
        compact();
        assert_int_equal(files().expired_rows, expired + 3); /* with its entries */
        assert_int_equal(rows_in_files(), 0);
    }
}

static void at_read_committed_each_statement_has_its_time(void **state)
{
    (void)state;
    space_make();
    must(insert(&f, NULL, "s", "[1, 1100, \"one\", 7]"));
    struct txn *txn = begin(&f, 1, TXN_READ_COMMITTED);
    assert_text(get_by(&f, txn, "s", "pk", "[1]"), "[1,1100,\"one\",7]");
    go_to(1100);
    txn_statement(txn);
    assert_text(get_by(&f, txn, "s", "pk", "[1]"), NULL);
    assert_int_equal(txn_horizon_ms(f.db->txn), 1100 * 1000);
    txn_rollback(txn);
}

/* ----------------------------------------------------------------------------------------- unique keys */

/* Who sees a row that has expired for others can't keep a unique key that another row has got meanwhile. */
static void a_unique_key_has_one_row_whoever_looks(void **state)
{
    (void)state;
    static const enum txn_level levels[] = {TXN_SNAPSHOT, TXN_SERIALIZABLE};
    space_make();
    unsigned at = BEGIN_S;
    for (unsigned i = 0; i < 8; i++) {
        bool in_files = i % 2 == 0, ended = i % 4 < 2;
        char text[64];
        at += 100;
        snprintf(text, sizeof text, "[%u, %u, \"key\", 7]", 2 * i, at);
        must(insert(&f, NULL, "s", text));
        if (in_files)
            let_leave();
        struct txn *old = begin(&f, 1, levels[i / 4]);
        snprintf(text, sizeof text, "[%u]", 2 * i);
        assert_non_null(get_by(&f, old, "s", "pk", text));
        go_to(at);
        struct txn *young = begin(&f, 2, levels[i / 4]);
        char other[64];
        snprintf(other, sizeof other, "[%u, %u, \"key\", 7]", 2 * i + 1, at + 50);
        must(insert(&f, young, "s", other));
        if (ended)
            must(txn_commit(young));
        int rc = update_by(&f, old, "s", "pk", text, "[[\"=\", 2, 99000]]");
        if (rc == 0)
            rc = txn_commit(old);
        else
            txn_rollback(old);
        assert_int_equal(rc, ERROR_CONFLICT);
        if (!ended)
            must(txn_commit(young));
        snprintf(other, sizeof other, "[%u,%u,\"key\",7]", 2 * i + 1, at + 50);
        assert_text(select_by(&f, NULL, "s", "name", ITERATOR_EQ, "[\"key\"]"), other);
        at += 50;
        go_to(at);
    }
}

/* ------------------------------------------------------------------------------------------- compaction */

static void entries_stay_as_long_as_their_row(void **state)
{
    (void)state;
    space_make();
    must(insert(&f, NULL, "s", "[1, 1100, \"one\", 7]"));
    must(insert(&f, NULL, "s", "[2, 1100, \"two\", 7]"));
    let_leave();
    compact();
    must(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, 5000]]")); /* all its keys stay */
    let_leave();
    go_to(2000);
    compact();
    assert_text(get_by(&f, NULL, "s", "name", "[\"one\"]"), "[1,5000,\"one\",7]");
    assert_text(select_by(&f, NULL, "s", "kind", ITERATOR_EQ, "[7]"), "[1,5000,\"one\",7]");
    assert_int_equal(rows_in_files(), 3);
    verify();
    must(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, null]]"));
    let_leave();
    go_to(6000);
    compact();
    assert_text(get_by(&f, NULL, "s", "name", "[\"one\"]"), "[1,null,\"one\",7]");
    assert_int_equal(rows_in_files(), 3);
    verify();
    must(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, 7000]]"));
    let_leave();
    go_to(7000);
    compact();
    assert_int_equal(rows_in_files(), 0);
}

static void nothing_older_comes_to_light(void **state)
{
    (void)state;
    space_make();
    must(insert(&f, NULL, "s", "[1, null, \"old\", 7]"));
    let_leave();
    compact();
    must(replace(&f, NULL, "s", "[1, 1100, \"new\", 8]"));
    let_leave();
    go_to(1100);
    for (unsigned i = 0; i < 2; i++) {
        assert_text(get_by(&f, NULL, "s", "pk", "[1]"), NULL);
        assert_text(get_by(&f, NULL, "s", "name", "[\"old\"]"), NULL);
        assert_text(select_by(&f, NULL, "s", "kind", ITERATOR_ALL, NULL), "");
        compact();
    }
    assert_int_equal(rows_in_files(), 0);
}

static void files_of_which_all_has_expired_go_by_themselves(void **state)
{
    (void)state;
    space_make();
    for (unsigned i = 0; i < 3; i++) {
        char text[64];
        snprintf(text, sizeof text, "[%u, %u, \"name %u\", 7]", i, i < 2 ? 1100 + i : 9000, i);
        must(insert(&f, NULL, "s", text));
        let_leave();
    }
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(files().sequences, 3);
    go_to(1110); /* it is looked now and then */
    while (files().sequences > 1)
        sched_yield();
    assert_int_equal(files().expired_rows, 6);
    db_fixture_reopen(&f);
    assert_int_equal(files().sequences, 1);
    go_to(9010);
    while (files().sequences > 0)
        sched_yield();
    assert_int_equal(rows_in_files(), 0);
}

static void an_index_is_built_of_what_is_there_for_anybody(void **state)
{
    (void)state;
    must(make_space(&f, "s", "{\"expire\": {\"field\": 2, \"after\": 10}}"));
    must(make_index(&f, "s", "pk", "{}"));
    for (unsigned i = 0; i < 20; i++) { /* of two that have one name the first has expired */
        char text[64];
        snprintf(text, sizeof text, "[%u, %u, \"name %u\", 7]", i, i < 10 ? 1100 : 3000, i % 10);
        must(insert(&f, NULL, "s", text));
        if (i == 4 || i == 14)
            let_leave();
    }
    refused(make_index(&f, "s", "name", "{\"parts\": [[3, \"string\"]]}"), ERROR_DUPLICATE, "name");
    go_to(1110);
    must(make_index(&f, "s", "name", "{\"parts\": [[3, \"string\"]]}"));
    assert_text(get_by(&f, NULL, "s", "name", "[\"name 3\"]"), "[13,3000,\"name 3\",7]");
    verify();
    let_leave();
    compact();
    assert_int_equal(rows_in_files(), 20);
    verify();
    go_to(3010);
    compact();
    assert_int_equal(rows_in_files(), 0);
}

/* ------------------------------------------------------------------------------------------ power cuts */

enum { CUT_ROWS = 40 };

/* Of each four rows the first has expired, the second had until it was renewed, the others stay. */
static void cut_check(void)
{
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(count_of(txn, "pk"), CUT_ROWS * 3 / 4);
    assert_int_equal(count_of(txn, "name"), CUT_ROWS * 3 / 4);
    assert_int_equal(count_of(txn, "kind"), CUT_ROWS * 3 / 4);
    txn_rollback(txn);
    verify();
}

static void a_power_cut_at_any_call_of_a_compaction_loses_nothing_else(void **state)
{
    (void)state;
    char text[64];
    bool through = false;
    space_make();
    for (unsigned i = 0; i < CUT_ROWS; i++) {
        snprintf(text, sizeof text, "[%u, %s, \"%u\", %u]", i, i % 4 < 2 ? "1100" : "null", i,
                 i % 3);
        must(insert(&f, NULL, "s", text));
    }
    let_leave();
    compact();
    for (unsigned i = 1; i < CUT_ROWS; i += 4) {
        snprintf(text, sizeof text, "[%u]", i);
        must(update_by(&f, NULL, "s", "pk", text, "[[\"=\", 2, 9000]]"));
    }
    let_leave();
    go_to(1100);
    durable();
    for (uint64_t n = 1; !through; n++) {
        uint64_t failures;
        uint32_t id = space_of(&f, NULL, "s")->id;
        disk_cut_after(f.disk, n);
        must(db_compaction_begin(f.workers[0], id, &failures));
        while (db_compaction_ended(f.workers[0], id, failures) == ERROR_WAIT &&
               !disk_is_cut(f.disk))
            sched_yield();
        through = !disk_is_cut(f.disk);
        disk_cut_after(f.disk, 0);
        cut(test_seed() + n);
        cut_check();
    }
    compact();
    assert_int_equal(rows_in_files(), 3 * CUT_ROWS * 3 / 4);
    cut_check();
}

/* --------------------------------------------------------------------------------------------- a model */

/* What was committed of each row. */
struct model {
    bool there;
    unsigned at, kind, name; /* at 0: it does not expire */
};

static bool model_sees(const struct model *row, unsigned seconds)
{
    return row->there && (row->at == 0 || row->at > seconds);
}

static void model_check(const struct model *rows, unsigned seconds)
{
    char key[32], expected[96], at[16];
    unsigned count = 0;
    for (unsigned id = 0; id < KEYS; id++) {
        const struct model *row = &rows[id];
        bool sees = model_sees(row, seconds);
        snprintf(at, sizeof at, row->at == 0 ? "null" : "%u", row->at);
        snprintf(expected, sizeof expected, "[%u,%s,\"%u\",%u]", id, at, row->name, row->kind);
        snprintf(key, sizeof key, "[%u]", id);
        assert_text(get_by(&f, NULL, "s", "pk", key), sees ? expected : NULL);
        snprintf(key, sizeof key, "[\"%u\"]", row->name);
        if (sees)
            assert_text(get_by(&f, NULL, "s", "name", key), expected);
        count += sees;
    }
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(count_of(txn, "pk"), count);
    assert_int_equal(count_of(txn, "name"), count);
    assert_int_equal(count_of(txn, "kind"), count);
    txn_rollback(txn);
    verify();
}

static bool name_is_free(const struct model *rows, unsigned name, unsigned own, unsigned seconds)
{
    for (unsigned id = 0; id < KEYS; id++)
        if (id != own && rows[id].name == name && model_sees(&rows[id], seconds))
            return false;
    return true;
}

static void model_write(struct random *random, struct model *rows, unsigned seconds)
{
    unsigned id = (unsigned)random_below(random, KEYS), shape = (unsigned)random_below(random, 8);
    char text[96], at[16];
    struct model row = rows[id];
    row.at = shape == 0 ? 0 : seconds + (unsigned)random_below(random, 40);
    if (shape > 3 || !model_sees(&rows[id], seconds)) {
        row.kind = (unsigned)random_below(random, 5);
        row.name = (unsigned)random_below(random, 2 * KEYS);
    }
    if (shape == 7) {
        snprintf(text, sizeof text, "[%u]", id);
        must(delete_by(&f, NULL, "s", "pk", text));
        rows[id].there = rows[id].there && !model_sees(&rows[id], seconds);
        return;
    }
    snprintf(at, sizeof at, row.at == 0 ? "null" : "%u", row.at);
    snprintf(text, sizeof text, "[%u, %s, \"%u\", %u]", id, at, row.name, row.kind);
    int rc = replace(&f, NULL, "s", text);
    assert_int_equal(rc, name_is_free(rows, row.name, id, seconds) ? 0 : ERROR_DUPLICATE);
    row.there = true;
    if (rc == 0)
        rows[id] = row;
}

static void whatever_happens_it_is_as_a_model_says(void **state)
{
    (void)state;
    struct random random;
    uint64_t seed = test_seed();
    struct model rows[KEYS] = {{.there = false}};
    unsigned seconds = BEGIN_S;
    random_create(&random, seed);
    space_make();
    for (unsigned step = 0; step < STEPS; step++) {
        switch (random_below(&random, 40)) {
        case 0:
            checkpoint();
            break;
        case 1:
            let_leave();
            break;
        case 2:
            compact();
            break;
        case 3:
        case 4:
            go_to(seconds += (unsigned)random_below(&random, 30));
            break;
        case 5:
            durable();
            cut(random_next(&random));
            break;
        case 6:
            model_check(rows, seconds);
            break;
        default:
            model_write(&random, rows, seconds);
        }
    }
    model_check(rows, seconds);
    let_leave();
    compact();
    model_check(rows, seconds);
    for (unsigned id = 0; id < KEYS; id++)
        if (rows[id].there && rows[id].at == 0) {
            char key[32];
            snprintf(key, sizeof key, "[%u]", id);
            must(delete_by(&f, NULL, "s", "pk", key));
        }
    let_leave();
    go_to(seconds + 100);
    compact();
    assert_int_equal(rows_in_files(), 0); /* no entry is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_that_are_ingested_expire_as_others),
        TEST(what_has_expired_is_absent_for_every_statement),
        TEST(a_transaction_sees_what_had_not_expired_at_its_time),
        TEST(at_read_committed_each_statement_has_its_time),
        TEST(a_unique_key_has_one_row_whoever_looks),
        TEST(entries_stay_as_long_as_their_row),
        TEST(nothing_older_comes_to_light),
        TEST(files_of_which_all_has_expired_go_by_themselves),
        TEST(an_index_is_built_of_what_is_there_for_anybody),
        TEST(a_power_cut_at_any_call_of_a_compaction_loses_nothing_else),
        TEST(whatever_happens_it_is_as_a_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
