/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making an index again of the rows (db/ddl_rebuild.c): whatever has become of it, verification finds it
 * right behind that; who writes meanwhile is in it, who reads has the old one. The damage is done behind the
 * back of the database, to trees and bodies.
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
#include "db/checkpoint_private.h"
#include "db/db_fixture.h"
#include "db/db_private.h"
#include "storage/engines.h"

enum { ROWS = 700, NAME = 1, GROUP = 2 }; /* a slice has 256 */

static struct db_fixture f;
static bool resident;

/* Rows {i, "name i", i % 10}; by the name uniquely, and by the third field. */
static int open(void **state)
{
    char text[64];
    memset(&f, 0, sizeof f);
    f.engine = *state;
    resident = engines_resident(*state);
    f.disk = disk_new(1);
    must(db_fixture_start(&f, false));
    f.db->online_rows_min = 1;
    must(make_space(&f, "s", "{\"format\": [[\"id\", \"unsigned\"], [\"name\", \"string\"]]}"));
    must(make_index(&f, "s", "pk", NULL));
    must(make_index(&f, "s", "name", "{\"parts\": [2]}"));
    must(make_index(&f, "s", "group",
                    "{\"unique\": false, \"parts\": [{\"field\": 3, \"type\": \"unsigned\"}]}"));
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned i = 1; i <= ROWS; i++) {
        snprintf(text, sizeof text, "[%u, \"name %u\", %u]", i, i, i % 10);
        must(insert(&f, txn, "s", text));
    }
    must(txn_commit(txn));
    return 0;
}

static int close(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static int to_the_end(struct ddl_job *job, void (*between)(void))
{
    int rc;
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        if (between != NULL)
            between();
    return rc;
}

static int verify(void)
{
    struct ddl_job *job;
    int rc = ddl_verify_begin(f.workers[0], space_of(&f, NULL, "s")->id, &job);
    return rc != 0 ? rc : to_the_end(job, NULL);
}

/* With `between` (may be NULL) between two of its steps. */
static int rebuild(unsigned index, void (*between)(void))
{
    struct ddl_job *job;
    int rc = ddl_index_rebuild_begin(f.workers[0], space_of(&f, NULL, "s")->id, index, &job);
    return job == NULL ? rc : to_the_end(job, between);
}

static struct tree *tree_of(unsigned index)
{
    return space_of(&f, NULL, "s")->indexes[index]->scan.tree;
}

/* The key of a tuple in an index, in the arena. */
static struct key_bytes key_of(struct arena *arena, unsigned index, const char *tuple)
{
    struct key_bytes key;
    must(
        db__key_of_tuple(arena, space_of(&f, NULL, "s")->indexes[index], mp_of(tuple, NULL), &key));
    return key;
}

static struct item *item_of(unsigned index, const char *tuple)
{
    struct arena arena;
    arena_create(&arena, 0);
    struct key_bytes key = key_of(&arena, index, tuple);
    struct item *item = tree_get(tree_of(index), key.data, key.size);
    arena_destroy(&arena);
    assert_non_null(item);
    return item;
}

static struct tree_thread *thread(void)
{
    return txn_worker_thread(f.workers[0]->txn);
}

/* What is taken out of a tree so is not freed with it; where code computes no keys nothing counts it. */
static void entry_remove(unsigned index, const char *tuple)
{
    struct item *entry = item_of(index, tuple);
    assert_true(tree_remove(tree_of(index), thread(), entry, NULL, NULL));
    heap_free_as(thread()->heap, entry, item_alloc_size(entry->key_size), HEAP_ENTRY);
}

#define SEVEN      "[7, \"name 7\", 7]"
#define EIGHT      "[8, \"name 8\", 8]"
#define SEVEN_JSON "[7,\"name 7\",7]"

static void an_entry_that_is_missing_is_there_again(void **state)
{
    (void)state;
    entry_remove(NAME, "[600, \"name 600\", 0]");
    entry_remove(GROUP, SEVEN);
    assert_int_equal(verify(), ERROR_CORRUPT);
    must(rebuild(NAME, NULL));
    assert_string_equal(get_by(&f, NULL, "s", "name", "[\"name 600\"]"), "[600,\"name 600\",0]");
    /* A checkpoint derives entries of the rows that it takes, whatever the tree has. */
    assert_int_equal(verify(), resident ? ERROR_CORRUPT : 0);
    must(rebuild(GROUP, NULL));
    must(verify());
    db_settle(&f);
    must(verify());
    db_fixture_reopen(&f);
    must(verify());
}

static void an_entry_that_leads_to_another_row_leads_to_its_own(void **state)
{
    (void)state;
    struct entry *entry = (struct entry *)(void *)item_of(GROUP, SEVEN);
    store_relaxed(&entry->row, (struct row *)(void *)item_of(0, EIGHT));
    assert_int_equal(verify(), ERROR_CORRUPT);
    must(rebuild(GROUP, NULL));
    must(verify());
}

/* Where code computes the keys of no index, a row goes without asking who leads to it. */
static void an_entry_that_should_not_be_there_has_gone(void **state)
{
    (void)state;
    struct arena arena;
    struct item *present;
    if (!resident)
        return;
    arena_create(&arena, 0);
    struct key_bytes key = key_of(&arena, NAME, "[9000, \"name 9000\", 0]");
    struct entry *entry =
        heap_alloc_as(thread()->heap, item_alloc_size((uint32_t)key.size), HEAP_ENTRY);
    assert_non_null(entry);
    atomic_init(&entry->row, (struct row *)(void *)item_of(0, SEVEN));
    atomic_init(&entry->state, (uint32_t)key.parts_size);
    entry->key_size = (uint32_t)key.size;
    memcpy(entry->key, key.data, key.size);
    must(tree_insert(tree_of(NAME), thread(), (struct item *)(void *)entry, NULL, NULL, &present));
    arena_destroy(&arena);
    assert_int_equal(tree_count(tree_of(NAME)), ROWS + 1);
    must(rebuild(NAME, NULL));
    assert_int_equal(tree_count(tree_of(NAME)), ROWS);
    must(verify());
}

/* -------------------------------------------------------------------------------------------- bodies */

struct one_row {
    struct engine_source base;
    struct engine_row row;
    bool given;
};

static int one_row_next(struct engine_source *base, struct engine_row *out)
{
    struct one_row *source = (struct one_row *)(void *)base;
    if (source->given)
        return ERROR_END;
    source->given = true;
    *out = source->row;
    return 0;
}

/* A tombstone where the entry is, as of the last checkpoint. Bodies are changed by the checkpoint's thread alone:
 * what it merges behind a checkpoint has to have ended. */
static void entry_hide(unsigned index, const char *tuple)
{
    db__checkpoint_wait_idle(f.db);
    struct store *store = space_of(&f, NULL, "s")->head->arg;
    static const struct engine_snapshots none = {NULL, 0};
    struct arena arena;
    arena_create(&arena, 0);
    struct key_bytes key = key_of(&arena, index, tuple);
    unsigned char *there = arena_alloc(&arena, key.size + 1);
    assert_non_null(there);
    there[0] = (unsigned char)index;
    memcpy(there + 1, key.data, key.size);
    struct one_row source = {.base.next = one_row_next,
                             .row = {.key = there, .key_size = key.size + 1, .ts = store->k}};
    must(body_absorb(store->body, &source.base, store->k, &none));
    must(db__store_publish(store, thread(), store->k));
    arena_destroy(&arena);
}

/* Of the timestamp of the row, or newer than that. */
static void an_entry_that_a_body_has_lost_is_there_again(void **state)
{
    (void)state;
    if (resident)
        return;
    db_settle(&f);
    assert_int_equal(tree_count(tree_of(0)), 0);
    entry_hide(NAME, SEVEN);
    assert_int_equal(verify(), ERROR_CORRUPT);
    must(rebuild(NAME, NULL));
    must(verify());
    must(replace(&f, NULL, "s", EIGHT));
    db_settle(&f);
    entry_hide(NAME, SEVEN);
    entry_hide(GROUP, "[17, \"name 17\", 7]");
    assert_null(get_by(&f, NULL, "s", "name", "[\"name 7\"]"));
    assert_int_equal(verify(), ERROR_CORRUPT);
    must(rebuild(NAME, NULL));
    assert_string_equal(get_by(&f, NULL, "s", "name", "[\"name 7\"]"), SEVEN_JSON);
    assert_int_equal(verify(), ERROR_CORRUPT);
    struct txn *old = begin_readonly(&f, 2); /* then each version has an entry of its own, too */
    must(replace(&f, NULL, "s", EIGHT));
    must(rebuild(GROUP, NULL));
    txn_rollback(old);
    must(verify());
    must(replace(&f, NULL, "s", "[7, \"name 7000\", 3]"));
    db_settle(&f);
    assert_null(get_by(&f, NULL, "s", "name", "[\"name 7\"]"));
    must(verify());
    db_fixture_reopen(&f);
    must(verify());
}

/* ---------------------------------------------------------------------------------- with others at work */

static struct random random_writes;

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
            snprintf(text, sizeof text, "[%u, \"name %u%s\", %u]", i, i,
                     random_below(&random_writes, 2) ? "" : " new",
                     (unsigned)random_below(&random_writes, 10));
            rc = replace(&f, txn, "s", text);
        }
        if (rc == 0 && random_below(&random_writes, 5) != 0)
            must(txn_commit(txn));
        else
            txn_rollback(txn);
        assert_true(rc == 0 || rc == ERROR_NOT_FOUND);
    }
    txn_collect(f.workers[1]->txn, 1000);
}

static void what_others_write_meanwhile_is_in_it(void **state)
{
    random_create(&random_writes, test_seed());
    for (unsigned round = 0; round < (engines_resident(*state) ? 30 : 6); round++) {
        must(rebuild(1 + round % 2, write_some));
        must(verify());
        if (round % 3 == 2)
            db_settle(&f);
    }
    db_fixture_reopen(&f);
    must(verify());
}

static struct txn *reader;

static void read_meanwhile(void)
{
    if (reader == NULL)
        reader = begin_readonly(&f, 2);
    must(replace(&f, NULL, "s", "[7, \"other\", 1]"));
    assert_string_equal(get_by(&f, reader, "s", "name", "[\"name 7\"]"), SEVEN_JSON);
    assert_string_equal(get_by(&f, NULL, "s", "name", "[\"other\"]"), "[7,\"other\",1]");
}

/* In the picture that he has, and in the one that he comes to know. */
static void a_reader_from_before_goes_on_with_what_he_sees(void **state)
{
    (void)state;
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct txn *parked;
    must(txn_open(db_worker_txn(f.workers[1]), &options, &parked));
    txn_park(parked);
    reader = NULL;
    must(rebuild(NAME, read_meanwhile));
    if (reader == NULL)
        read_meanwhile();
    assert_string_equal(get_by(&f, reader, "s", "name", "[\"name 7\"]"), SEVEN_JSON);
    txn_rollback(reader);
    must(txn_resume(parked));
    assert_string_equal(get_by(&f, parked, "s", "name", "[\"name 7\"]"), SEVEN_JSON);
    assert_null(get_by(&f, parked, "s", "name", "[\"other\"]"));
    txn_rollback(parked);
    must(verify());
}

static void it_can_be_cancelled(void **state)
{
    (void)state;
    struct ddl_job *job;
    uint32_t id = space_of(&f, NULL, "s")->id, other;
    entry_remove(NAME, SEVEN);
    struct tree *tree = tree_of(NAME);
    must(ddl_index_rebuild_begin(f.workers[0], id, NAME, &job));
    assert_non_null(job);
    assert_non_null(space_of(&f, NULL, "s")->building);
    refused(ddl_space_drop(f.workers[1], id), ERROR_SCHEMA, "index \"name\" is being rebuilt");
    refused(ddl_index_rebuild(f.workers[1], id, GROUP), ERROR_SCHEMA, "is being rebuilt");
    must(ddl_space_create(f.workers[1], "other", 5, NULL, &other));
    assert_non_null(space_of(&f, NULL, "s")->building);
    must(replace(&f, NULL, "s", "[9000, \"name 9000\", 1]"));
    ddl_job_cancel(job);
    assert_null(space_of(&f, NULL, "s")->building);
    assert_ptr_equal(tree_of(NAME), tree);
    assert_int_equal(verify(), ERROR_CORRUPT);
    assert_string_equal(get_by(&f, NULL, "s", "name", "[\"name 9000\"]"), "[9000,\"name 9000\",1]");
    must(rebuild(NAME, NULL));
    must(verify());
}

static void two_rows_of_one_key_end_it_and_the_old_one_stays(void **state)
{
    (void)state;
    entry_remove(NAME, SEVEN);
    must(insert(&f, NULL, "s", "[9000, \"name 7\", 0]"));
    struct tree *tree = tree_of(NAME);
    refused(rebuild(NAME, NULL), ERROR_DUPLICATE, "index \"name\" in space \"s\"");
    assert_ptr_equal(tree_of(NAME), tree);
    assert_null(space_of(&f, NULL, "s")->building);
    f.db->online_rows_min = UINT64_MAX; /* all of it in the gate, where that can be */
    refused(rebuild(NAME, NULL), ERROR_DUPLICATE, "index \"name\" in space \"s\"");
    assert_ptr_equal(tree_of(NAME), tree);
    must(delete_by(&f, NULL, "s", "pk", "[9000]"));
    must(rebuild(NAME, NULL));
    must(verify());
}

static void a_primary_index_is_refused_saying_what_helps(void **state)
{
    (void)state;
    refused(rebuild(0, NULL), ERROR_UNSUPPORTED, "index \"pk\" of space \"s\" is the primary one");
    assert_non_null(strstr(diag_message(), "perigee check --repair"));
    refused(rebuild(9, NULL), ERROR_NOT_FOUND, "space \"s\" has no index with id 9");
    struct ddl_job *job;
    refused(ddl_index_rebuild_begin(f.workers[0], SPACE_ID_INDEX, 1, &job), ERROR_ACCESS,
            "cannot be changed");
    refused(ddl_index_rebuild_begin(f.workers[0], 9999, 1, &job), ERROR_NOT_FOUND, "no space");
}

/* Together with others, or not at all. */
static void it_can_be_part_of_a_schema_transaction(void **state)
{
    (void)state;
    struct txn *txn;
    uint32_t id = space_of(&f, NULL, "s")->id;
    if (!resident) {
        must(ddl_begin(f.workers[0], NULL, &txn));
        refused(ddl_index_rebuild(f.workers[0], id, NAME), ERROR_UNSUPPORTED,
                "is rebuilt outside of a schema transaction");
        ddl_rollback(f.workers[0]);
        return;
    }
    entry_remove(NAME, SEVEN);
    struct tree *tree = tree_of(NAME);
    must(ddl_begin(f.workers[0], NULL, &txn));
    must(ddl_index_rebuild(f.workers[0], id, NAME));
    must(ddl_index_rebuild(f.workers[0], id, NAME));
    ddl_rollback(f.workers[0]);
    assert_ptr_equal(tree_of(NAME), tree);
    assert_int_equal(verify(), ERROR_CORRUPT);
    must(ddl_begin(f.workers[0], NULL, &txn));
    must(replace(&f, txn, "s", "[9000, \"name 9000\", 1]"));
    must(ddl_index_rebuild(f.workers[0], id, NAME));
    must(replace(&f, txn, "s", "[9001, \"name 9001\", 1]"));
    must(ddl_index_rebuild(f.workers[0], id, GROUP));
    must(ddl_commit(f.workers[0]));
    assert_int_equal(tree_count(tree_of(NAME)), ROWS + 2);
    must(verify());
}

static void an_empty_space_has_its_index_at_once(void **state)
{
    (void)state;
    struct ddl_job *job;
    must(truncate_space(&f, "s"));
    must(ddl_index_rebuild_begin(f.workers[0], space_of(&f, NULL, "s")->id, NAME, &job));
    assert_null(job);
    must(insert(&f, NULL, "s", SEVEN));
    must(verify());
}

static void a_hash_index_has_its_directory(void **state)
{
    (void)state;
    if (!resident)
        return;
    must(make_index(&f, "s", "hash", "{\"type\": \"hash\", \"parts\": [2]}"));
    for (unsigned round = 0; round < 2; round++) {
        must(rebuild(3, NULL));
        assert_true(tree_directory_bytes(tree_of(3)) > 0);
        assert_string_equal(get_by(&f, NULL, "s", "hash", "[\"name 7\"]"), SEVEN_JSON);
        must(verify());
        f.db->online_rows_min = UINT64_MAX;
    }
}

/* ------------------------------------------------------------------------------------------- crashes */

static unsigned steps;
static bool failed;

static void the_power_fails(void)
{
    struct wal *wal = db_wal(f.db);
    if (failed || steps-- != 0)
        return;
    failed = true;
    must(wal_wait_durable(wal, wal_clock(wal)));
    disk_cut(f.disk, 1);
}

static void after_a_crash_there_is_a_whole_index(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        steps = round;
        failed = false;
        rebuild(NAME, the_power_fails); /* whose end would wait for the log */
        steps = 0;
        the_power_fails();
        db_fixture_stop(&f);
        must(db_fixture_start(&f, false));
        f.db->online_rows_min = 1;
        assert_null(space_of(&f, NULL, "s")->building);
        must(verify());
        must(rebuild(NAME, NULL));
        must(verify());
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open, close)
    const struct CMUnitTest tests[] = {
        TEST(an_entry_that_is_missing_is_there_again),
        TEST(an_entry_that_leads_to_another_row_leads_to_its_own),
        TEST(an_entry_that_should_not_be_there_has_gone),
        TEST(an_entry_that_a_body_has_lost_is_there_again),
        TEST(what_others_write_meanwhile_is_in_it),
        TEST(a_reader_from_before_goes_on_with_what_he_sees),
        TEST(it_can_be_cancelled),
        TEST(two_rows_of_one_key_end_it_and_the_old_one_stays),
        TEST(a_primary_index_is_refused_saying_what_helps),
        TEST(it_can_be_part_of_a_schema_transaction),
        TEST(an_empty_space_has_its_index_at_once),
        TEST(a_hash_index_has_its_directory),
        TEST(after_a_crash_there_is_a_whole_index),
    };
    return engines_run_all("rebuilding", tests, sizeof tests / sizeof *tests);
}
