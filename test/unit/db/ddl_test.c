/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the schema (invariant 21): what they do to filled spaces, what they refuse, that what
 * fails leaves nothing, and what transactions that overlap them see.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/db_fixture.h"

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

static void fill(const char *space)
{
    assert_int_equal(make_space(&f, space, NULL), 0);
    assert_int_equal(make_index(&f, space, "pk", NULL), 0);
    assert_int_equal(insert(&f, NULL, space, "[1, \"a\", 10]"), 0);
    assert_int_equal(insert(&f, NULL, space, "[2, \"b\", 10]"), 0);
}

static void a_space_without_an_index_takes_no_statements(void **state)
{
    (void)state;
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(insert(&f, NULL, "s", "[1]"), ERROR_SCHEMA);
    assert_non_null(strstr(diag_message(), "no primary index"));
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(insert(&f, NULL, "s", "[1]"), 0);
}

static void a_space_is_made_once(void **state)
{
    (void)state;
    uint32_t id, again;
    assert_int_equal(ddl_space_create(f.workers[0], "s", 1, NULL, &id), 0);
    assert_int_equal(make_space(&f, "s", NULL), ERROR_EXISTS);
    assert_int_equal(
        ddl_space_create(f.workers[0], "s", 1, mp_of("{\"if_not_exists\": true}", NULL), &again),
        0);
    assert_int_equal(id, again);
    assert_true(id >= SPACE_ID_USER_MIN);
    assert_int_equal(make_space(&f, "t", "{\"id\": 512}"), ERROR_EXISTS);
    assert_int_equal(make_space(&f, "t", "{\"id\": 511}"), ERROR_INVALID);
    assert_int_equal(make_space(&f, "t", "{\"id\": 1000}"), 0);
    assert_int_equal(space_of(&f, NULL, "t")->id, 1000);
    assert_int_equal(make_space(&f, "u", NULL), 0);
    assert_int_equal(space_of(&f, NULL, "u")->id, 1001);
}

static void options_that_make_no_sense_are_refused_and_leave_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        int code;
    } cases[] = {
        {"{\"colour\": 1}", ERROR_INVALID},
        {"{\"format\": 1}", ERROR_INVALID},
        {"{\"engine\": \"tape\"}", ERROR_UNSUPPORTED},
        {"{\"format\": [[\"a\", \"unsigned\"], [\"a\", \"string\"]]}", ERROR_INVALID},
        {"{\"format\": [[\"a\", \"colour\"]]}", ERROR_INVALID},
        {"{\"format\": [1]}", ERROR_INVALID},
        {"{\"format\": [{\"type\": \"string\"}]}", ERROR_INVALID},
        {"[1]", ERROR_INVALID},
    };
    uint64_t version = db_schema_version(f.workers[0]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(make_space(&f, "s", cases[i].options), cases[i].code);
    assert_int_equal(ddl_space_create(f.workers[0], "", 0, NULL, NULL), ERROR_INVALID);
    assert_int_equal(db_schema_version(f.workers[0]), version);
    assert_null(space_of(&f, NULL, "s"));
    assert_string_equal(select_by(&f, NULL, "_space", "primary", ITERATOR_ALL, NULL), "");
    assert_int_equal(make_space(&f, "s", "[]"), 0);
}

static void indexes_that_make_no_sense_are_refused_and_leave_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        int code;
    } cases[] = {
        {"{\"colour\": 1}", ERROR_INVALID},
        {"{\"type\": \"rtree\"}", ERROR_UNSUPPORTED},
        {"{\"type\": \"hash\", \"unique\": false}", ERROR_SCHEMA},
        {"{\"parts\": []}", ERROR_INVALID},
        {"{\"parts\": [0]}", ERROR_INVALID},
        {"{\"parts\": [5000]}", ERROR_INVALID},
        {"{\"parts\": [\"nothing\"]}", ERROR_INVALID},
        {"{\"parts\": [[\"id\", \"colour\"]]}", ERROR_INVALID},
        {"{\"parts\": [[\"id\", \"string\"]]}", ERROR_SCHEMA},
        {"{\"parts\": [\"id\", 1]}", ERROR_INVALID},
        {"{\"parts\": [\"list\"]}", ERROR_UNSUPPORTED},
        {"{\"parts\": [3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]}", ERROR_TOO_LARGE},
        {"{\"id\": 32}", ERROR_TOO_LARGE},
        {"{\"id\": 0}", ERROR_EXISTS},
    };
    assert_int_equal(make_space(&f, "s",
                                "{\"format\": [[\"id\", \"unsigned\"], [\"list\", "
                                "\"array\"]]}"),
                     0);
    assert_int_equal(make_index(&f, "s", "pk", "{\"id\": 1}"), ERROR_SCHEMA);
    assert_int_equal(make_index(&f, "s", "pk", "{\"unique\": false}"), ERROR_SCHEMA);
    assert_int_equal(
        make_index(&f, "s", "pk", "{\"parts\": [{\"field\": 1, \"is_nullable\": true}]}"),
        ERROR_SCHEMA);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    uint64_t version = db_schema_version(f.workers[0]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rc = make_index(&f, "s", "i", cases[i].options);
        if (rc != cases[i].code)
            fail_msg("case %zu: %d: %s", i, rc, diag_message_for(rc));
    }
    assert_int_equal(make_index(&f, "s", "pk", NULL), ERROR_EXISTS);
    assert_int_equal(make_index(&f, "s", "pk", "{\"if_not_exists\": true}"), 0);
    assert_int_equal(db_schema_version(f.workers[0]), version);
    assert_int_equal(space_of(&f, NULL, "s")->index_count, 1);
}

static void an_index_over_rows_that_are_there_finds_them(void **state)
{
    (void)state;
    fill("s");
    struct txn *old = begin_readonly(&f, 1);
    assert_int_equal(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, \"z\"]]"), 0);
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
    assert_int_equal(
        make_index(&f, "s", "n", "{\"unique\": false, \"parts\": [[3, \"unsigned\"]]}"), 0);
    assert_string_equal(get_by(&f, NULL, "s", "text", "[\"z\"]"), "[1,\"z\",10]");
    assert_string_equal(select_by(&f, NULL, "s", "n", ITERATOR_EQ, "[10]"),
                        "[1,\"z\",10] [2,\"b\",10]");
    /* A snapshot older than the index finds by it what it has to see. */
    assert_string_equal(get_by(&f, old, "s", "text", "[\"a\"]"), "[1,\"a\",10]");
    assert_null(get_by(&f, old, "s", "text", "[\"z\"]"));
    txn_rollback(old);
    assert_int_equal(insert(&f, NULL, "s", "[3, \"z\", 1]"), ERROR_DUPLICATE);
    db_settle(&f);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "text")->scan.tree), 2);
}

static void an_index_that_the_rows_do_not_allow_leaves_nothing(void **state)
{
    (void)state;
    fill("s");
    assert_int_equal(make_index(&f, "s", "n", "{\"parts\": [[3, \"unsigned\"]]}"), ERROR_DUPLICATE);
    assert_non_null(strstr(diag_message_for(ERROR_DUPLICATE), "\"n\" in space \"s\""));
    assert_int_equal(make_index(&f, "s", "n", "{\"parts\": [[2, \"unsigned\"]]}"), ERROR_SCHEMA);
    assert_int_equal(make_index(&f, "s", "n", "{\"parts\": [[4, \"unsigned\"]]}"), ERROR_SCHEMA);
    assert_int_equal(space_of(&f, NULL, "s")->index_count, 1);
    assert_int_equal(insert(&f, NULL, "s", "[3, \"c\", 10]"), 0);
    assert_int_equal(make_index(&f, "s", "n",
                                "{\"unique\": false, \"parts\": [[3, "
                                "\"unsigned\"]]}"),
                     0);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "n")->scan.tree), 3);
}

static void an_index_that_was_dropped_is_checked_no_more(void **state)
{
    (void)state;
    fill("s");
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
    assert_int_equal(drop_index(&f, "s", "pk"), ERROR_SCHEMA);
    assert_int_equal(drop_index(&f, "s", "text"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[3, \"a\", 1]"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[4, 4]"), 0);
    assert_int_equal(drop_index(&f, "s", "pk"), ERROR_SCHEMA);
    assert_int_equal(ddl_index_drop(f.workers[0], space_of(&f, NULL, "s")->id, 9), ERROR_NOT_FOUND);
    assert_int_equal(truncate_space(&f, "s"), 0);
    assert_int_equal(drop_index(&f, "s", "pk"), 0);
    assert_int_equal(make_index(&f, "s", "pk", "{\"parts\": [[1, \"string\"]]}"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[\"now a string\"]"), 0);
}

static void a_format_has_to_fit_the_rows_and_the_indexes(void **state)
{
    (void)state;
    fill("s");
    assert_int_equal(make_index(&f, "s", "n",
                                "{\"unique\": false, \"parts\": [[3, "
                                "\"integer\"]]}"),
                     0);
    assert_int_equal(format_space(&f, "s", "[[\"id\", \"unsigned\"], [\"text\", \"unsigned\"]]"),
                     ERROR_SCHEMA);
    assert_int_equal(format_space(&f, "s", "[[\"id\", \"string\"]]"), ERROR_SCHEMA);
    assert_int_equal(format_space(&f, "s", "7"), ERROR_INVALID);
    assert_int_equal(space_of(&f, NULL, "s")->field_count, 0);
    /* narrower than the part: every value fits it */
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(format_space(&f, "s",
                                      "[[\"id\", \"unsigned\"], [\"text\", \"str\"],"
                                      "[\"n\", \"unsigned\"]]"),
                         0);
    assert_int_equal(insert(&f, NULL, "s", "[3, 3, 3]"), ERROR_SCHEMA);
    assert_int_equal(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", \"text\", \"changed\"]]"), 0);
    assert_string_equal(select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL),
                        "[1,\"changed\",10] [2,\"b\",10]");
}

static void a_space_that_was_dropped_is_gone_and_its_name_free(void **state)
{
    (void)state;
    fill("s");
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
    uint32_t id = space_of(&f, NULL, "s")->id;
    assert_int_equal(drop_space(&f, "s"), 0);
    assert_null(space_of(&f, NULL, "s"));
    assert_int_equal(ddl_space_drop(f.workers[0], id), ERROR_NOT_FOUND);
    assert_string_equal(select_by(&f, NULL, "_index", "primary", ITERATOR_ALL, NULL), "");
    char options[32];
    snprintf(options, sizeof options, "{\"id\": %u}", id);
    assert_int_equal(make_space(&f, "s", options), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_string_equal(select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL), "");
}

static void truncation_empties_all_indexes_and_keeps_them(void **state)
{
    (void)state;
    fill("s");
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
    assert_int_equal(truncate_space(&f, "s"), 0);
    assert_string_equal(select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL), "");
    assert_string_equal(select_by(&f, NULL, "s", "text", ITERATOR_ALL, NULL), "");
    assert_int_equal(insert(&f, NULL, "s", "[1, \"a\", 1]"), 0);
    assert_int_equal(insert(&f, NULL, "s", "[2, \"a\", 1]"), ERROR_DUPLICATE);
    assert_string_equal(get_by(&f, NULL, "s", "text", "[\"a\"]"), "[1,\"a\",1]");
}

/* A reader that began before goes on with what it sees. */
static void a_running_reader_outlives_what_it_reads(void **state)
{
    (void)state;
    fill("s");
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
    struct txn *reader = begin_readonly(&f, 1);
    assert_non_null(space_of(&f, reader, "s"));
    assert_int_equal(drop_index(&f, "s", "text"), 0);
    assert_int_equal(truncate_space(&f, "s"), 0);
    assert_int_equal(drop_space(&f, "s"), 0);
    for (unsigned i = 0; i < 40; i++) { /* gives what was dropped every chance to be freed */
        assert_int_equal(make_space(&f, "other", NULL), 0);
        assert_int_equal(drop_space(&f, "other"), 0);
        db_settle(&f);
    }
    assert_string_equal(select_by(&f, reader, "s", "text", ITERATOR_ALL, NULL),
                        "[1,\"a\",10] [2,\"b\",10]");
    txn_rollback(reader);
    reader = begin_readonly(&f, 1);
    assert_null(space_of(&f, reader, "s"));
    txn_rollback(reader);
}

/* Each worker sees the newest, however often the schema changes and wherever it asks. */
static void no_worker_is_left_with_an_old_catalog(void **state)
{
    (void)state;
    char name[16];
    for (unsigned i = 0; i < 30; i++) {
        uint32_t id;
        int size = snprintf(name, sizeof name, "s%u", i);
        assert_int_equal(ddl_space_create(f.workers[0], name, (size_t)size, NULL, &id), 0);
        assert_int_equal(ddl_index_create(f.workers[0], id, "pk", 2, NULL, NULL), 0);
        struct txn *txn = begin(&f, 1, TXN_SERIALIZABLE);
        assert_int_equal(insert(&f, txn, name, "[1]"), 0);
        assert_int_equal(txn_commit(txn), 0);
        assert_int_equal(ddl_space_drop(f.workers[2], id), 0);
        txn = begin(&f, 1, TXN_SERIALIZABLE);
        assert_null(space_of(&f, txn, name));
        txn_rollback(txn);
    }
}

static void a_transaction_keeps_the_catalog_it_took(void **state)
{
    (void)state;
    struct txn *reader = begin_readonly(&f, 1);
    const struct catalog *catalog = db_catalog(f.workers[1]);
    fill("s");
    assert_ptr_equal(db_catalog(f.workers[1]), catalog);
    txn_rollback(reader);
    assert_ptr_not_equal(db_catalog(f.workers[1]), catalog);
    assert_non_null(catalog_space(db_catalog(f.workers[1]), "s", 1));
}

/* The picture that a writer works under cannot change below it, for writers wait at the gate; one
 * that was taken earlier makes the commit fail. */
static void a_commit_under_an_old_picture_fails(void **state)
{
    (void)state;
    fill("s");
    struct txn *reader = begin_readonly(&f, 2); /* holds the old picture and what it leads to */
    struct space *old = space_of(&f, reader, "s");
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
    struct txn *writer = begin(&f, 1, TXN_SNAPSHOT);
    size_t size;
    const char *tuple = mp_of("[3, \"a\", 3]", &size);
    struct tuple_ref out;
    assert_int_equal(space_insert(writer, old, tuple, size, &out), 0);
    assert_int_equal(txn_commit(writer), ERROR_CONFLICT);
    txn_rollback(reader);
    assert_null(get_by(&f, NULL, "s", "pk", "[3]"));
}

static void the_schema_is_not_changed_inside_a_transaction(void **state)
{
    (void)state;
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    uint32_t id;
    assert_int_equal(ddl_space_create(f.workers[0], "s", 1, NULL, &id), ERROR_INVALID);
    txn_rollback(txn);
}

/* It would hold on to rows and trees that are about to go. */
static void a_parked_transaction_is_rolled_back_by_a_change_of_spaces_and_not_of_functions(
    void **state)
{
    (void)state;
    struct txn *txn;
    const struct txn_options options = {.level = TXN_SERIALIZABLE};
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(txn_open(db_worker_txn(f.workers[0]), &options, &txn), 0);
    assert_int_equal(insert(&f, txn, "s", "[1]"), 0);
    txn_park(txn);
    const char *body = "{\"body\": \"function() end\"}";
    assert_int_equal(ddl_func_create(f.workers[0], "f", 1, mp_of(body, NULL)), 0);
    assert_int_equal(txn_resume(txn), 0);
    assert_int_equal(insert(&f, txn, "s", "[2]"), 0);
    txn_park(txn);
    assert_int_equal(truncate_space(&f, "s"), 0);
    assert_int_equal(txn_resume(txn), ERROR_CANCELLED);
    assert_int_equal(txn_open(db_worker_txn(f.workers[0]), &options, &txn), 0);
    assert_int_equal(insert(&f, txn, "s", "[1]"), 0);
    txn_park(txn);
    assert_int_equal(drop_space(&f, "s"), 0);
    assert_int_equal(txn_resume(txn), ERROR_CANCELLED);
}

/* Invariant 8: readers at V do not wait, so they must not see what a crash takes back. */
static void a_change_that_is_in_force_is_durable(void **state)
{
    (void)state;
    assert_int_equal(make_space(&f, "s", NULL), 0);
    struct wal *wal = db_wal(f.db);
    assert_true(wal_durable_ts(wal) >= txn_worker_seen_ts(db_worker_txn(f.workers[0])));
}

static void functions_are_made_replaced_and_dropped(void **state)
{
    (void)state;
    struct db_worker *worker = f.workers[0];
    const char *options = "{\"body\": \"function() end\", \"isolation\": \"snapshot\", "
                          "\"readonly\": true}";
    assert_int_equal(ddl_func_create(worker, "f", 1, mp_of(options, NULL)), 0);
    const struct func *func = catalog_func(db_catalog(worker), "f", 1);
    assert_non_null(func);
    assert_string_equal(func->body, "function() end");
    assert_int_equal(func->level, TXN_SNAPSHOT);
    assert_true(func->readonly && func->transaction);
    uint64_t revision = func->version_ts;
    assert_int_equal(ddl_func_create(worker, "f", 1, mp_of(options, NULL)), ERROR_EXISTS);
    assert_int_equal(
        ddl_func_create(worker, "f", 1, mp_of("{\"body\": \"x\", \"if_not_exists\": true}", NULL)),
        0);
    assert_string_equal(catalog_func(db_catalog(worker), "f", 1)->body, "function() end");
    assert_int_equal(
        ddl_func_create(
            worker, "f", 1,
            mp_of("{\"body\": \"x\", \"replace\": true, \"transaction\": false}", NULL)),
        0);
    func = catalog_func(db_catalog(worker), "f", 1);
    assert_string_equal(func->body, "x");
    assert_false(func->transaction);
    assert_true(func->version_ts > revision);
    assert_int_equal(ddl_func_create(worker, "g", 1, mp_of("{}", NULL)), ERROR_INVALID);
    assert_int_equal(
        ddl_func_create(worker, "g", 1, mp_of("{\"body\": \"x\", \"isolation\": \"chaos\"}", NULL)),
        ERROR_INVALID);
    assert_int_equal(ddl_func_drop(worker, "f", 1), 0);
    assert_int_equal(ddl_func_drop(worker, "f", 1), ERROR_NOT_FOUND);
    assert_int_equal(catalog_func_count(db_catalog(worker)), 0);
}

/* Two threads write and read while a third changes the schema under them. What they do may fail as
 * documented, and nothing else. */
struct churn {
    struct db_worker *worker;
    _Atomic bool *stop;
    bool writes;
    uint64_t done;
};

static int churn_once(struct churn *churn, struct txn *txn)
{
    struct space *space = catalog_space(db_catalog(churn->worker), "s", 1);
    if (space == NULL || space->index_count == 0)
        return 0;
    size_t size;
    const char *tuple = mp_of(churn->done % 2 ? "[1, \"a\", 1]" : "[2, \"b\", 2]", &size);
    struct tuple_ref out;
    uint64_t count;
    int rc = churn->writes ? space_replace(txn, space, tuple, size, &out, NULL) : 0;
    for (uint32_t i = 0; rc == 0 && i < space->index_count; i++)
        rc = space_count(txn, space->indexes[i], ITERATOR_ALL, NULL, &count);
    return rc;
}

static void *churn_main(void *arg)
{
    struct churn *churn = arg;
    while (!load_acquire(churn->stop)) {
        struct txn *txn;
        struct txn_options options = {.level = TXN_SERIALIZABLE, .readonly = !churn->writes};
        if (txn_begin(db_worker_txn(churn->worker), &options, &txn) != 0)
            abort();
        int rc = churn_once(churn, txn);
        if (rc == 0)
            rc = txn_commit(txn);
        else
            txn_rollback(txn);
        if (rc != 0 && rc != ERROR_CONFLICT)
            abort();
        churn->done++;
    }
    return NULL;
}

static void statements_run_beside_changes_of_the_schema(void **state)
{
    (void)state;
    _Atomic bool stop = false;
    struct churn churns[2] = {{.worker = f.workers[1], .stop = &stop, .writes = true},
                              {.worker = f.workers[2], .stop = &stop}};
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn_main, &churns[i]), 0);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(make_space(&f, "s", NULL), 0);
        assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
        assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
        assert_int_equal(truncate_space(&f, "s"), 0);
        assert_int_equal(drop_index(&f, "s", "text"), 0);
        assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[3, \"unsigned\"]]}"), 0);
        assert_int_equal(drop_space(&f, "s"), 0);
    }
    store_release(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

static void records_have_numbers_and_names_of_their_own_and_persist(void **state)
{
    (void)state;
    struct db_worker *worker = f.workers[0];
    uint32_t id;
    const char *alice = mp_of("[null, 1, \"alice\", \"user\", {}, {}]", NULL);
    assert_int_equal(ddl_record_put(worker, SPACE_ID_USER, alice, true, 32, &id), 0);
    assert_int_equal(id, 32);
    assert_int_equal(ddl_record_put(worker, SPACE_ID_USER, alice, true, 32, &id), ERROR_EXISTS);
    assert_non_null(strstr(diag_message(), "\"alice\" exists already"));
    const char *bob = mp_of("[null, 1, \"bob\", \"user\", {}, {}]", NULL);
    assert_int_equal(ddl_record_put(worker, SPACE_ID_USER, bob, true, 32, &id), 0);
    assert_int_equal(id, 33);
    const char *taken = mp_of("[33, 1, \"eve\", \"user\", {}, {}]", NULL);
    assert_int_equal(ddl_record_put(worker, SPACE_ID_USER, taken, true, 32, &id), ERROR_EXISTS);
    assert_int_equal(ddl_record_put(worker, SPACE_ID_USER, taken, false, 32, &id), 0);
    const char *wrong = mp_of("[34, 1, 5, \"user\", {}, {}]", NULL);
    assert_int_equal(ddl_record_put(worker, SPACE_ID_USER, wrong, true, 32, &id), ERROR_SCHEMA);
    assert_int_equal(ddl_record_put(worker, SPACE_ID_REDIS, bob, true, 32, &id), ERROR_INVALID);

    db_fixture_reopen(&f);
    const struct catalog *catalog = db_catalog(f.workers[0]);
    assert_int_equal(catalog_record_count(catalog, CATALOG_USER), 2);
    assert_non_null(catalog_record(catalog, CATALOG_USER, "alice", 5));
    assert_null(catalog_record(catalog, CATALOG_USER, "bob", 3));
    assert_non_null(catalog_record(catalog, CATALOG_USER, "eve", 3));
    assert_int_equal(ddl_record_delete(f.workers[0], SPACE_ID_USER, mp_of("[33]", NULL)), 0);
    assert_int_equal(catalog_record_count(db_catalog(f.workers[1]), CATALOG_USER), 1);
}

/* A schema transaction of the first worker that makes a space with an index, fills it, drops an
 * index of the space "s" and makes another one in its place. */
static struct txn *alter(void)
{
    struct txn *txn;
    assert_int_equal(ddl_begin(f.workers[0], NULL, &txn), 0);
    assert_int_equal(make_space(&f, "t", NULL), 0);
    assert_int_equal(make_index(&f, "t", "pk", NULL), 0);
    assert_int_equal(insert(&f, txn, "t", "[1, \"x\"]"), 0);
    assert_int_equal(make_index(&f, "t", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
    assert_int_equal(insert(&f, txn, "t", "[2, \"y\"]"), 0);
    assert_int_equal(drop_index(&f, "s", "text"), 0);
    assert_int_equal(insert(&f, txn, "s", "[3, \"a\", 10]"), 0);
    assert_int_equal(make_index(&f, "s", "number",
                                "{\"parts\": [[3, \"unsigned\"]], \"unique\": false, \"id\": 1}"),
                     0);
    assert_string_equal(select_by(&f, txn, "t", "text", ITERATOR_EQ, "[\"y\"]"), "[2,\"y\"]");
    return txn;
}

static void fill_for_alter(void)
{
    fill("s");
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
}

static void several_changes_and_rows_are_one_transaction(void **state)
{
    (void)state;
    fill_for_alter();
    alter();
    struct txn *reader = begin_readonly(&f, 1);
    assert_null(space_of(&f, reader, "t")); /* nobody else sees any of it before the end */
    txn_rollback(reader);
    assert_int_equal(ddl_commit(f.workers[0]), 0);
    assert_false(ddl_active(f.workers[0]));
    for (unsigned i = 0; i < 2; i++) {
        assert_string_equal(select_by(&f, NULL, "t", "text", ITERATOR_ALL, NULL),
                            "[1,\"x\"] [2,\"y\"]");
        assert_string_equal(select_by(&f, NULL, "s", "number", ITERATOR_ALL, NULL),
                            "[1,\"a\",10] [2,\"b\",10] [3,\"a\",10]");
        assert_null(space_index(space_of(&f, NULL, "s"), "text", 4));
        db_fixture_reopen(&f);
    }
}

static void a_schema_transaction_that_is_rolled_back_leaves_nothing(void **state)
{
    (void)state;
    fill_for_alter();
    uint64_t version = db_schema_version(f.workers[0]);
    alter();
    assert_int_not_equal(db_schema_version(f.workers[0]), version);
    assert_int_equal(db_schema_version(f.workers[1]), version);
    ddl_rollback(f.workers[0]);
    for (unsigned i = 0; i < 2; i++) {
        assert_null(space_of(&f, NULL, "t"));
        assert_string_equal(select_by(&f, NULL, "s", "text", ITERATOR_ALL, NULL),
                            "[1,\"a\",10] [2,\"b\",10]");
        assert_int_equal(insert(&f, NULL, "s", "[4, \"a\", 1]"), ERROR_DUPLICATE);
        assert_null(space_index(space_of(&f, NULL, "s"), "number", 6));
        /* A number of a picture is not given again. */
        assert_int_equal(make_space(&f, "u", "{\"if_not_exists\": true}"), 0);
        assert_true(db_schema_version(f.workers[0]) > version + 5 || i == 1);
        db_fixture_reopen(&f);
    }
}

static void a_savepoint_takes_back_changes_of_the_schema(void **state)
{
    (void)state;
    fill_for_alter();
    struct txn *txn = alter();
    struct txn_savepoint savepoint = txn_savepoint(txn);
    assert_int_equal(drop_space(&f, "t"), 0);
    assert_int_equal(truncate_space(&f, "s"), 0);
    assert_int_equal(drop_index(&f, "s", "number"), 0);
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"), 0);
    assert_int_equal(insert(&f, txn, "s", "[9, \"z\", 1]"), 0);
    ddl_rollback_to(f.workers[0], savepoint);
    /* A change that fails is taken back by itself. */
    assert_int_equal(make_index(&f, "s", "text", "{\"parts\": [[2, \"string\"]]}"),
                     ERROR_DUPLICATE);
    assert_string_equal(select_by(&f, txn, "t", "text", ITERATOR_ALL, NULL), "[1,\"x\"] [2,\"y\"]");
    assert_int_equal(insert(&f, txn, "s", "[4, \"d\", 11]"), 0);
    assert_int_equal(ddl_commit(f.workers[0]), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_string_equal(select_by(&f, NULL, "t", "text", ITERATOR_ALL, NULL),
                            "[1,\"x\"] [2,\"y\"]");
        assert_string_equal(select_by(&f, NULL, "s", "number", ITERATOR_ALL, NULL),
                            "[1,\"a\",10] [2,\"b\",10] [3,\"a\",10] [4,\"d\",11]");
        db_fixture_reopen(&f);
    }
}

static void a_space_made_and_dropped_in_one_transaction_leaves_nothing(void **state)
{
    (void)state;
    struct txn *txn;
    for (unsigned commit = 0; commit < 2; commit++) {
        assert_int_equal(ddl_begin(f.workers[0], NULL, &txn), 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(make_space(&f, "t", NULL), 0);
            assert_int_equal(make_index(&f, "t", "pk", NULL), 0);
            assert_int_equal(make_index(&f, "t", "two", "{\"parts\": [[2, \"string\"]]}"), 0);
            assert_int_equal(insert(&f, txn, "t", "[1, \"x\"]"), 0);
            assert_int_equal(truncate_space(&f, "t"), 0);
            assert_int_equal(insert(&f, txn, "t", "[2, \"x\"]"), 0);
            assert_int_equal(drop_space(&f, "t"), 0);
        }
        if (commit)
            assert_int_equal(ddl_commit(f.workers[0]), 0);
        else
            ddl_rollback(f.workers[0]);
        assert_null(space_of(&f, NULL, "t"));
        db_settle(&f);
        db_fixture_reopen(&f);
        assert_null(space_of(&f, NULL, "t"));
    }
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_space_without_an_index_takes_no_statements),
        WITH_FIXTURE(a_space_is_made_once),
        WITH_FIXTURE(options_that_make_no_sense_are_refused_and_leave_nothing),
        WITH_FIXTURE(indexes_that_make_no_sense_are_refused_and_leave_nothing),
        WITH_FIXTURE(an_index_over_rows_that_are_there_finds_them),
        WITH_FIXTURE(an_index_that_the_rows_do_not_allow_leaves_nothing),
        WITH_FIXTURE(an_index_that_was_dropped_is_checked_no_more),
        WITH_FIXTURE(a_format_has_to_fit_the_rows_and_the_indexes),
        WITH_FIXTURE(a_space_that_was_dropped_is_gone_and_its_name_free),
        WITH_FIXTURE(truncation_empties_all_indexes_and_keeps_them),
        WITH_FIXTURE(a_running_reader_outlives_what_it_reads),
        WITH_FIXTURE(no_worker_is_left_with_an_old_catalog),
        WITH_FIXTURE(a_transaction_keeps_the_catalog_it_took),
        WITH_FIXTURE(a_commit_under_an_old_picture_fails),
        WITH_FIXTURE(the_schema_is_not_changed_inside_a_transaction),
        WITH_FIXTURE(
            a_parked_transaction_is_rolled_back_by_a_change_of_spaces_and_not_of_functions),
        WITH_FIXTURE(a_change_that_is_in_force_is_durable),
        WITH_FIXTURE(functions_are_made_replaced_and_dropped),
        WITH_FIXTURE(several_changes_and_rows_are_one_transaction),
        WITH_FIXTURE(a_schema_transaction_that_is_rolled_back_leaves_nothing),
        WITH_FIXTURE(a_savepoint_takes_back_changes_of_the_schema),
        WITH_FIXTURE(a_space_made_and_dropped_in_one_transaction_leaves_nothing),
        WITH_FIXTURE(records_have_numbers_and_names_of_their_own_and_persist),
        WITH_FIXTURE(statements_run_beside_changes_of_the_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
