/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Checkpoints (invariant 19): what is found after a cut is what was committed, whatever was written
 * or dropped meanwhile; the cost is that of the changes; the log is cut, and not too early. Each
 * part of the rule is taken out once, and something is lost.
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
#include "base/log.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/checkpoint_fixture.h"
#include "db/checkpoint_private.h"

static void what_a_checkpoint_has_written_need_not_be_replayed(void **state)
{
    (void)state;
    schema_make();
    for (unsigned key = 0; key < 100; key++)
        set(key, key);
    unset(50);
    checkpoint();
    set(100, 100);
    unset(7);
    durable();
    uint64_t k = stats().k;
    assert_true(k > 0);
    cut(1);
    assert_int_equal(f.stats.k, k);
    assert_int_equal(f.stats.rows, 2);
    assert_true(f.stats.run_rows >= 99);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 99);
    assert_int_equal(tree_count(index_of(&f, NULL, "s", "value")->scan.tree), 99);
    assert_null(get_by(&f, NULL, "s", "pk", "[7]"));
    assert_null(get_by(&f, NULL, "s", "pk", "[50]"));
    assert_string_equal(get_by(&f, NULL, "s", "pk", "[100]"), "[100,100]");
}

static void checkpoint_after_checkpoint_and_a_start_in_between_lose_nothing(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    schema_make();
    for (unsigned round = 0; round < 30; round++) {
        for (uint64_t n = random_below(&random, 20); n > 0; n--) {
            unsigned key = (unsigned)random_below(&random, 40);
            if (random_below(&random, 3) == 0)
                unset(key);
            else
                set(key, round);
        }
        if (random_below(&random, 2) == 0)
            checkpoint();
        durable();
        char *before = strdup(all());
        if (random_below(&random, 3) == 0)
            cut(round);
        assert_string_equal(all(), before);
        free(before);
    }
}

static void the_cost_is_that_of_the_changes(void **state)
{
    (void)state;
    schema_make();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned key = 0; key < 20000; key++) {
        char text[64];
        snprintf(text, sizeof text, "[%u, %u]", key, key * 7919);
        assert_int_equal(replace(&f, txn, "s", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    checkpoint();
    uint64_t first = stats().last_bytes;
    assert_true(stats().last_rows >= 20000);
    for (unsigned key = 0; key < 20000; key += 100)
        set(key, 1);
    checkpoint();
    assert_int_equal(stats().last_rows, 200);
    assert_true(stats().last_bytes < first / 20);
}

/* The file of an engine that writes into it gets shorter: less than nothing was never written. */
static void what_was_written_is_told_when_a_file_gets_shorter(void **state)
{
    (void)state;
    schema_make();
    big_rows(NULL, 0, 100);
    checkpoint();
    uint64_t whole = stats().file_bytes, shortest = whole;
    assert_true(stats().last_bytes > 100 * 30000);
    for (unsigned key = 1; key < 100; key++)
        unset(key);
    for (unsigned round = 0; round < 4; round++) {
        set(0, round);
        checkpoint();
        assert_true(stats().last_bytes > 0 && stats().last_bytes < whole / 10);
        shortest = stats().file_bytes < shortest ? stats().file_bytes : shortest;
    }
    assert_true(shortest < whole / 10);
    assert_true(stats().bytes < 2 * whole);
}

/* A few rows of each page cost the page, and the pace is that of what is written. */
static void the_pace_is_that_of_the_pages_that_are_written(void **state)
{
    (void)state;
    enum { ROWS = 4000, EVERY = 20 };
    schema_make();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned key = 0; key < ROWS; key++) {
        char text[512];
        snprintf(text, sizeof text, "[%u, %u, \"%0400u\"]", key, key, key);
        assert_int_equal(replace(&f, txn, "s", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    checkpoint();
    db__checkpoint_wait_idle(f.db);
    for (unsigned key = 0; key < ROWS; key += EVERY)
        set(key, 1);
    checkpoint();
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().last_rows, ROWS / EVERY);
    assert_true(stats().last_bytes > ROWS / EVERY * 2000);
    assert_int_equal(f.db->checkpoint->paced_bytes, stats().last_bytes);
}

static void nothing_is_written_when_nothing_has_changed(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    checkpoint();
    struct db_checkpoint_stats before = stats();
    uint64_t next_file = atomic_load(&f.db->next_file);
    for (unsigned i = 0; i < 3; i++)
        checkpoint();
    assert_int_equal(stats().count, before.count);
    assert_int_equal(stats().skipped, before.skipped + 3);
    assert_int_equal(atomic_load(&f.db->next_file), next_file);
    cut(1);
    checkpoint(); /* gives up the log of the life before, and writes no row */
    assert_int_equal(stats().rows, 0);
    checkpoint();
    assert_int_equal(stats().count, 1);
}

static void a_row_that_did_not_change_since_is_not_written_again(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    set(2, 1);
    checkpoint();
    set(1, 2);
    checkpoint();
    assert_int_equal(stats().last_rows, 1);
}

static struct tree *tree_of_s(void)
{
    return space_of(&f, NULL, "s")->head->tree;
}

static void collect(void)
{
    durable();
    for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
        txn_collect(db_worker_txn(f.workers[i]), SIZE_MAX);
}

static void tombstones_go_from_the_head_when_a_run_has_them(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    set(2, 1);
    checkpoint();
    unset(1);
    struct tree *tree = tree_of_s();
    collect();
    assert_int_equal(tree_count(tree), 2);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 1);
    db_settle(&f);
    assert_int_equal(tree_count(tree), 1);
}

/* ------------------------------------------------------------------ rows that no run has (rule 33) */

static void what_is_made_and_deleted_between_two_checkpoints_leaves_at_once_and_is_in_no_run(
    void **state)
{
    (void)state;
    schema_make();
    set(100, 1);
    checkpoint(); /* so that there is a run */
    for (unsigned key = 0; key < 50; key++)
        set(key, key);
    for (unsigned key = 0; key < 50; key++)
        unset(key);
    collect();
    assert_int_equal(tree_count(tree_of_s()), 1);
    checkpoint();
    assert_int_equal(stats().last_rows, 0);
    assert_int_equal(stats().changes, 0);
    cut(1);
    assert_int_equal(f.stats.rows, 0);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 1);
}

static void a_tombstone_of_what_no_run_has_is_not_written_when_it_is_still_there(void **state)
{
    (void)state;
    schema_make();
    set(100, 1);
    checkpoint();
    set(1, 1);
    unset(1);
    checkpoint();
    assert_int_equal(stats().last_rows, 0);
    collect();
    assert_int_equal(tree_count(tree_of_s()), 1);
}

static void a_row_of_the_key_of_one_that_has_left_is_another_one(void **state)
{
    (void)state;
    schema_make();
    checkpoint();
    for (unsigned turn = 1; turn <= 3; turn++) { /* the list has three rows of one key */
        set(1, turn);
        if (turn < 3)
            unset(1);
        collect();
    }
    checkpoint();
    assert_int_equal(stats().last_rows, 1);
    collect();
    cut(1);
    assert_one(1, "[1,3]");
    unset(1);
    collect();
    assert_int_equal(tree_count(tree_of_s()), 1);
    checkpoint();
    assert_int_equal(stats().last_rows, 1);
    cut(1);
    assert_null(get_by(&f, NULL, "s", "pk", "[1]"));
}

static void what_the_log_has_made_and_deleted_is_not_there_after_a_start(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    set(2, 2);
    checkpoint();
    for (unsigned key = 1; key < 50; key++)
        set(key, 7);
    for (unsigned key = 1; key < 50; key++)
        unset(key);
    durable();
    uint64_t changes = stats().changes;
    cut(1);
    assert_int_equal(tree_count(tree_of_s()), 2);
    assert_int_equal(stats().changes, changes - 47);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 0);
    checkpoint();
    assert_int_equal(stats().last_rows, 2);
    cut(1);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 0);
}

static void what_a_start_has_loaded_leaves_a_tombstone(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    set(2, 2);
    checkpoint();
    cut(1);
    unset(1);
    collect();
    assert_int_equal(tree_count(tree_of_s()), 2);
    checkpoint();
    collect();
    assert_int_equal(tree_count(tree_of_s()), 1);
    cut(1);
    assert_null(get_by(&f, NULL, "s", "pk", "[1]"));
}

/* Deletes a row above K, after the checkpoint has read it, makes that durable and collects. */
static int hook_unset(enum hook_call call, const char *path)
{
    if (call != HOOK_RENAME || strcmp(path, "manifest") != 0 || hook.calls > 0)
        return 0;
    hook.calls++;
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(delete_by(&f, txn, "s", "pk", "[1]"), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))), 0);
    for (unsigned round = 0; round < 3; round++)
        txn_collect(db_worker_txn(f.workers[1]), SIZE_MAX);
    return 0;
}

static bool row_deleted_during_its_first_checkpoint_stays_away(bool mutated)
{
    schema_make();
    set(1, 1);
    set(2, 2);
    hook_set(hook_unset);
    mutate(mutated ? CHECKPOINT_MUTATION_UNNOTED : 0);
    checkpoint();
    assert_int_equal(hook.calls, 1);
    set(3, 3);
    checkpoint(); /* the log counts from here on */
    cut(1);
    return get_by(&f, NULL, "s", "pk", "[1]") == NULL;
}

static void a_row_that_is_deleted_during_its_first_checkpoint_leaves_a_tombstone(void **state)
{
    (void)state;
    assert_true(row_deleted_during_its_first_checkpoint_stays_away(false));
}

static void without_a_note_a_row_that_was_deleted_during_its_first_checkpoint_comes_back(
    void **state)
{
    (void)state;
    assert_false(row_deleted_during_its_first_checkpoint_stays_away(true));
}

static void a_space_goes_with_the_rows_that_have_left_its_tree(void **state)
{
    (void)state;
    schema_make();
    assert_int_equal(make_space(&f, "gone", NULL), 0);
    assert_int_equal(make_index(&f, "gone", "pk", NULL), 0);
    db_settle(&f);
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned key = 0; key < 20; key++) {
            char text[64];
            snprintf(text, sizeof text, "[%u]", key);
            assert_int_equal(insert(&f, NULL, "gone", text), 0);
            assert_int_equal(delete_by(&f, NULL, "gone", "pk", text), 0);
        }
        collect();
        if (turn == 0)
            assert_int_equal(truncate_space(&f, "gone"), 0);
        else
            assert_int_equal(drop_space(&f, "gone"), 0);
    }
    checkpoint();
    db_settle(&f);
    assert_int_equal(stats().changes, 0);
}

/* ---------------------------------------------------------------------------------- the rule's
 * parts */

static bool row_that_was_deleted_stays_away(bool mutated)
{
    schema_make();
    set(1, 1);
    set(2, 2);
    checkpoint();
    unset(1);
    mutate(mutated ? CHECKPOINT_MUTATION_NO_TOMBSTONE : 0);
    checkpoint();
    cut(1);
    return get_by(&f, NULL, "s", "pk", "[1]") == NULL;
}

static void a_tombstone_is_in_a_run_before_it_is_forgotten(void **state)
{
    (void)state;
    assert_true(row_that_was_deleted_stays_away(false));
}

static void without_tombstones_in_runs_deleted_rows_come_back(void **state)
{
    (void)state;
    assert_false(row_that_was_deleted_stays_away(true));
}

/* Commits to a row that the checkpoint has taken, after K. */
static int hook_write(enum hook_call call, const char *path)
{
    char text[64];
    if (call != HOOK_OPEN || !is_run(path) || hook.calls > 0)
        return 0;
    hook.calls++;
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    for (unsigned key = 0; key < 100; key += 10) {
        snprintf(text, sizeof text, "[%u, 77]", key);
        assert_int_equal(replace(&f, txn, "s", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    return 0;
}

static void a_row_written_during_a_checkpoint_is_listed_again(void **state)
{
    (void)state;
    schema_make();
    for (unsigned key = 0; key < 100; key++)
        set(key, key);
    hook_set(hook_write);
    checkpoint();
    assert_int_equal(hook.calls, 1);
    assert_int_equal(stats().changes, 10);
    uint64_t k = stats().k;
    checkpoint();
    assert_int_equal(stats().last_rows, 10);
    assert_true(stats().k > k);
    cut(1);
    assert_int_equal(f.stats.rows, 0);
    assert_one(10, "[10,77]");
    assert_one(11, "[11,11]");
}

static void what_is_newer_than_k_is_not_in_the_runs_and_comes_from_the_log(void **state)
{
    (void)state;
    schema_make();
    for (unsigned key = 0; key < 100; key++)
        set(key, key);
    hook_set(hook_write);
    checkpoint();
    durable();
    cut(1);
    assert_int_equal(f.stats.rows, 10);
    assert_one(10, "[10,77]");
}

static void an_uncommitted_change_is_listed_by_its_commit(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(replace(&f, txn, "s", "[1, 2]"), 0);
    checkpoint();
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(stats().changes, 1);
    checkpoint();
    cut(1);
    assert_int_equal(f.stats.rows, 0);
    assert_one(1, "[1,2]");
}

/* K is above D: what the checkpoint has, the log has not. */
static void k_above_d_is_found_out_at_the_next_start(void **state)
{
    (void)state;
    schema_make();
    durable();
    set(1, 1); /* committed, and nobody has asked for a flush */
    mutate(CHECKPOINT_MUTATION_LATEST);
    checkpoint();
    assert_true(stats().k > wal_durable_ts(db_wal(f.db)));
    disk_cut(f.disk, 1);
    db_fixture_stop(&f);
    assert_int_equal(db_fixture_start(&f, false), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), "manifest"));
    disk_delete(f.disk);
    db_fixture_open(&f); /* for teardown */
}

struct writer {
    unsigned worker, first;
    _Atomic bool *stop;
    _Atomic unsigned acknowledged[64];
};

static void *writer_main(void *arg)
{
    struct writer *writer = arg;
    struct txn_worker *worker = db_worker_txn(f.workers[writer->worker]);
    for (unsigned value = 1; !atomic_load(writer->stop); value++) {
        unsigned key = value % 64;
        char text[64];
        snprintf(text, sizeof text, "[%u, %u]", writer->first + key, value);
        struct txn *txn;
        int rc = txn_begin(worker, &(struct txn_options){.level = TXN_SNAPSHOT}, &txn);
        if (rc != 0)
            break; /* the log has failed with what the other one wrote */
        rc = replace(&f, txn, "s", text);
        rc = rc == 0 ? txn_commit(txn) : (txn_rollback(txn), rc);
        if (rc != 0 || wal_wait(db_wal(f.db), txn_worker_seen_ts(worker)) != 0)
            break;
        atomic_store(&writer->acknowledged[key], value);
    }
    return NULL;
}

/* Two write and wait while checkpoints follow one another; then the power is cut. */
static void what_is_acknowledged_beside_checkpoints_survives(void **state)
{
    (void)state;
    _Atomic bool stop = false;
    static struct writer writers[2];
    pthread_t threads[2];
    schema_make();
    for (unsigned i = 0; i < 2; i++) {
        memset(&writers[i], 0, sizeof writers[i]);
        writers[i].worker = i + 1;
        writers[i].first = i * 1000;
        writers[i].stop = &stop;
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, &writers[i]), 0);
    }
    for (unsigned i = 0; i < 30; i++)
        checkpoint();
    disk_cut(f.disk, test_seed());
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    db_fixture_stop(&f);
    if (db_fixture_start(&f, false) != 0)
        fail_msg("%s", diag_message());
    for (unsigned i = 0; i < 2; i++)
        for (unsigned key = 0; key < 64; key++)
            assert_true(value_of(writers[i].first + key) >=
                        atomic_load(&writers[i].acknowledged[key]));
}

/* Commits, and waits until K must be above it. */
static void taken_write(void)
{
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(replace(&f, txn, "s", "[1, 2]"), 0);
    assert_int_equal(txn_commit(txn), 0);
    durable();
}

static void rows_taken_before_k_is_known_are_not_all_up_to_k(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    checkpoint();
    set(2, 2);
    f.db->checkpoint->taken = taken_write;
    mutate(CHECKPOINT_MUTATION_TAKE_FIRST);
    checkpoint();
    cut(1);
    assert_int_equal(f.stats.rows, 0);
    assert_one(1, "[1,1]");
}

static void what_a_failed_checkpoint_took_is_taken_by_the_next(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    hook_set(hook_no_space);
    assert_int_equal(db_checkpoint(f.db), ERROR_IO);
    assert_non_null(strstr(diag_message(), "no space left"));
    assert_int_equal(stats().failed, 1);
    assert_non_null(strstr(stats().failure, "no space left"));
    hook_set(NULL);
    set(2, 2);
    checkpoint();
    cut(1);
    assert_int_equal(f.stats.rows, 0);
    assert_one(1, "[1,1]");
}

static void without_listing_it_again_it_would_be_lost(void **state)
{
    (void)state;
    /* Rows of the catalog are lost with it: there is no space to ask, or no catalog to read. */
    schema_make();
    hook_set(hook_no_space);
    mutate(CHECKPOINT_MUTATION_NO_RETURN);
    assert_int_equal(db_checkpoint(f.db), ERROR_IO);
    hook_set(NULL);
    assert_int_equal(make_space(&f, "other", NULL), 0);
    checkpoint();
    int rc = cut_and_start(1);
    assert_true(rc == ERROR_CORRUPT || space_of(&f, NULL, "s") == NULL);
    if (rc != 0) { /* for teardown */
        disk_delete(f.disk);
        db_fixture_open(&f);
    }
}

static int hook_no_rename(enum hook_call call, const char *path)
{
    (void)path;
    if (call != HOOK_RENAME || strcmp(path, MANIFEST_NAME) != 0)
        return 0;
    hook.calls++;
    return diag_set(ERROR_IO, "rename %s: input/output error", path);
}

/* The manifest fails: the log must still be there from the old one on. */
static bool log_is_there_when_the_manifest_fails(bool mutated)
{
    schema_make();
    set(1, 1);
    durable();
    db_fixture_reopen(&f); /* what there is so far is in a segment of its own */
    set(2, 2);
    hook_set(hook_no_rename);
    mutate(mutated ? CHECKPOINT_MUTATION_CUT_EARLY : 0);
    assert_int_equal(db_checkpoint(f.db), ERROR_IO);
    hook_set(NULL);
    assert_int_equal(io_sync_dir(f.io), 0); /* what has lost its name has lost it for good */
    disk_cut(f.disk, 1);
    db_fixture_stop(&f);
    int rc = db_fixture_start(&f, false);
    bool there =
        rc == 0 && space_of(&f, NULL, "s") != NULL && get_by(&f, NULL, "s", "pk", "[1]") != NULL;
    if (rc != 0) { /* for teardown */
        disk_delete(f.disk);
        db_fixture_open(&f);
    }
    return there;
}

static void the_log_is_cut_when_the_manifest_is_durable(void **state)
{
    (void)state;
    assert_true(log_is_there_when_the_manifest_fails(false));
}

static void a_log_that_is_cut_before_loses_what_was_in_it(void **state)
{
    (void)state;
    assert_false(log_is_there_when_the_manifest_fails(true));
}

/* Commits so much after K that the log goes on in other segments, and waits until all is durable. */
static int hook_write_much(enum hook_call call, const char *path)
{
    if (call != HOOK_OPEN || !is_run(path) || hook.calls > 0)
        return 0;
    hook.calls++;
    for (unsigned n = 0; n < 300; n += 10) {
        struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
        big_rows(txn, 1000 + n, 10);
        assert_int_equal(txn_commit(txn), 0);
    }
    durable();
    return 0;
}

static bool log_behind_k_stays(bool mutated)
{
    schema_make();
    set(1, 1);
    hook_set(hook_write_much);
    mutate(mutated ? CHECKPOINT_MUTATION_CUT_HIGH : 0);
    checkpoint();
    wal_release_wait(db_wal(f.db));
    assert_int_equal(hook.calls, 1);
    cut(1);
    return space_len(space_of(&f, NULL, "s")) == 301;
}

static void the_log_is_cut_at_k_and_no_higher(void **state)
{
    (void)state;
    assert_true(log_behind_k_stays(false));
    struct wal_stats wal;
    checkpoint();
    wal_release_wait(db_wal(f.db));
    wal_stats_get(db_wal(f.db), &wal);
    assert_true(wal.released >= 3); /* 4, 8 MiB .. */
    cut(2);
    assert_int_equal(f.stats.rows, 0);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 301);
}

static void a_log_that_is_cut_higher_loses_what_is_above_k(void **state)
{
    (void)state;
    assert_false(log_behind_k_stays(true));
}

/* Several threads, if there are cores, load what is large. */
static void a_large_space_is_loaded_in_pieces(void **state)
{
    (void)state;
    enum { ROWS = 6000, BYTES = 900 };
    struct random random;
    char text[BYTES + 64];
    random_create(&random, test_seed());
    schema_make();
    for (unsigned key = 0; key < ROWS;) {
        struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
        for (unsigned end = key + 100; key < end; key++) {
            int size = snprintf(text, 64, "[%u, %u, \"", key, key % 7);
            for (unsigned i = 0; i < BYTES; i++)
                text[size + (int)i] = (char)('0' + random_below(&random, 75) % 43);
            for (unsigned i = 0; i < BYTES; i++)
                if (text[size + (int)i] == '\\')
                    text[size + (int)i] = '_';
            strcpy(text + size + BYTES, "\"]");
            assert_int_equal(replace(&f, txn, "s", text), 0);
        }
        assert_int_equal(txn_commit(txn), 0);
        durable();
    }
    checkpoint();
    assert_true(stats().file_bytes > 3 << 20); /* parts of a megabyte */
    for (unsigned key = 0; key < ROWS; key += 3)
        unset(key);
    checkpoint();
    cut(1);
    assert_int_equal(f.stats.rows, 0);
    assert_int_equal(f.stats.run_rows, ROWS / 3 * 2 + 3); /* and three of the catalog */
    assert_int_equal(space_len(space_of(&f, NULL, "s")), ROWS / 3 * 2);
    assert_int_equal(tree_count(space_of(&f, NULL, "s")->head->tree), ROWS / 3 * 2);
    for (unsigned key = 0; key < ROWS; key++) {
        snprintf(text, sizeof text, "[%u]", key);
        const char *found = get_by(&f, NULL, "s", "pk", text);
        assert_true((found == NULL) == (key % 3 == 0));
    }
}

/* -------------------------------------------------------------------------------------- merging */

enum { CHECKPOINTS_TO_MERGE = 9 }; /* small runs are merged when there are more than eight */

static void checkpoints_make(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        set(i % 3, i);
        if (i % 4 == 3)
            unset(i % 3);
        checkpoint();
    }
}

static void runs_are_merged_in_the_background(void **state)
{
    (void)state;
    schema_make();
    checkpoints_make(CHECKPOINTS_TO_MERGE);
    durable();
    char *before = strdup(all());
    db__checkpoint_wait_idle(f.db);
    assert_true(stats().merges > 0);
    assert_true(stats().files <= 4);
    cut(1);
    assert_string_equal(all(), before);
    assert_int_equal(f.stats.rows, 0);
    free(before);
}

static int hook_fail_merge(enum hook_call call, const char *path)
{
    if (call != HOOK_RENAME || strcmp(path, MANIFEST_NAME) != 0)
        return 0;
    return ++hook.calls <= CHECKPOINTS_TO_MERGE
               ? 0
               : diag_set(ERROR_IO, "rename %s: input/output error", path);
}

/* The manifest of a merge fails: its runs must still be there. 0, or what opening says. */
static int merged_runs_are_there_when_the_manifest_fails(bool mutated)
{
    schema_make();
    hook_set(hook_fail_merge);
    mutate(mutated ? CHECKPOINT_MUTATION_UNLINK_EARLY : 0);
    checkpoints_make(CHECKPOINTS_TO_MERGE);
    db__checkpoint_wait_idle(f.db);
    assert_true(stats().merges_failed > 0);
    hook_set(NULL);
    assert_int_equal(io_sync_dir(f.io), 0);
    return cut_and_start(1);
}

static void replaced_runs_go_when_the_manifest_is_durable(void **state)
{
    (void)state;
    assert_int_equal(merged_runs_are_there_when_the_manifest_fails(false), 0);
    assert_one(2, "[2,8]");
}

static void runs_that_go_before_are_missing(void **state)
{
    (void)state;
    assert_int_equal(merged_runs_are_there_when_the_manifest_fails(true), ERROR_CORRUPT);
    disk_delete(f.disk);
    db_fixture_open(&f); /* for teardown */
}

/* --------------------------------------------------------------------------- changes of the schema */

static int hook_drop(enum hook_call call, const char *path)
{
    if (call != HOOK_OPEN || !is_run(path) || hook.calls > 0)
        return 0;
    hook.calls++;
    assert_int_equal(drop_space(&f, "s"), 0);
    return 0;
}

static int hook_truncate(enum hook_call call, const char *path)
{
    if (call != HOOK_OPEN || !is_run(path) || hook.calls > 0)
        return 0;
    hook.calls++;
    assert_int_equal(truncate_space(&f, "s"), 0);
    set(500, 5);
    return 0;
}

static void a_space_may_be_dropped_during_a_checkpoint(void **state)
{
    (void)state;
    schema_make();
    assert_int_equal(make_space(&f, "kept", NULL), 0);
    assert_int_equal(make_index(&f, "kept", "pk", NULL), 0);
    assert_int_equal(insert(&f, NULL, "kept", "[1]"), 0);
    for (unsigned key = 0; key < 1000; key++)
        set(key, key);
    hook_set(hook_drop);
    checkpoint();
    assert_int_equal(hook.calls, 1);
    cut(1);
    assert_null(space_of(&f, NULL, "s"));
    assert_string_equal(get_by(&f, NULL, "kept", "pk", "[1]"), "[1]");
    checkpoint();
    cut(2);
    assert_null(space_of(&f, NULL, "s"));
}

static void a_space_may_be_truncated_during_a_checkpoint(void **state)
{
    (void)state;
    schema_make();
    for (unsigned key = 0; key < 1000; key++)
        set(key, key);
    checkpoint();
    set(3, 4);
    hook_set(hook_truncate);
    checkpoint();
    assert_int_equal(hook.calls, 1);
    durable();
    cut(1);
    assert_string_equal(all(), "[500,5]");
    checkpoint();
    cut(2);
    assert_string_equal(all(), "[500,5]");
}

static uint64_t runs_on_disk;

static int count_run(const char *name, uint64_t size, void *arg)
{
    (void)size;
    (void)arg;
    runs_on_disk += is_run(name);
    return 0;
}

static void files_of_a_dropped_space_go_with_the_next_manifest(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    checkpoint();
    assert_int_equal(drop_space(&f, "s"), 0);
    checkpoint();
    runs_on_disk = 0;
    assert_int_equal(io_list(f.io, count_run, NULL), 0);
    assert_int_equal(runs_on_disk, stats().files);
}

int main(void)
{
    log_level_set(LOG_ERROR);
    static char btree[] = "btree";
    const struct CMUnitTest tests[] = {
        WITH_CHECKPOINT_FIXTURE(what_a_checkpoint_has_written_need_not_be_replayed),
        WITH_CHECKPOINT_FIXTURE(checkpoint_after_checkpoint_and_a_start_in_between_lose_nothing),
        WITH_CHECKPOINT_FIXTURE(the_cost_is_that_of_the_changes),
        cmocka_unit_test_prestate_setup_teardown(what_was_written_is_told_when_a_file_gets_shorter,
                                                 checkpoint_setup, checkpoint_teardown, btree),
        cmocka_unit_test_prestate_setup_teardown(the_pace_is_that_of_the_pages_that_are_written,
                                                 checkpoint_setup, checkpoint_teardown, btree),
        WITH_CHECKPOINT_FIXTURE(nothing_is_written_when_nothing_has_changed),
        WITH_CHECKPOINT_FIXTURE(a_row_that_did_not_change_since_is_not_written_again),
        WITH_CHECKPOINT_FIXTURE(tombstones_go_from_the_head_when_a_run_has_them),
        WITH_CHECKPOINT_FIXTURE(
            what_is_made_and_deleted_between_two_checkpoints_leaves_at_once_and_is_in_no_run),
        WITH_CHECKPOINT_FIXTURE(
            a_tombstone_of_what_no_run_has_is_not_written_when_it_is_still_there),
        WITH_CHECKPOINT_FIXTURE(a_row_of_the_key_of_one_that_has_left_is_another_one),
        WITH_CHECKPOINT_FIXTURE(what_the_log_has_made_and_deleted_is_not_there_after_a_start),
        WITH_CHECKPOINT_FIXTURE(what_a_start_has_loaded_leaves_a_tombstone),
        WITH_CHECKPOINT_FIXTURE(
            a_row_that_is_deleted_during_its_first_checkpoint_leaves_a_tombstone),
        WITH_CHECKPOINT_FIXTURE(
            without_a_note_a_row_that_was_deleted_during_its_first_checkpoint_comes_back),
        WITH_CHECKPOINT_FIXTURE(a_space_goes_with_the_rows_that_have_left_its_tree),
        WITH_CHECKPOINT_FIXTURE(a_tombstone_is_in_a_run_before_it_is_forgotten),
        WITH_CHECKPOINT_FIXTURE(without_tombstones_in_runs_deleted_rows_come_back),
        WITH_CHECKPOINT_FIXTURE(a_row_written_during_a_checkpoint_is_listed_again),
        WITH_CHECKPOINT_FIXTURE(what_is_newer_than_k_is_not_in_the_runs_and_comes_from_the_log),
        WITH_CHECKPOINT_FIXTURE(an_uncommitted_change_is_listed_by_its_commit),
        WITH_CHECKPOINT_FIXTURE(k_above_d_is_found_out_at_the_next_start),
        WITH_CHECKPOINT_FIXTURE(what_is_acknowledged_beside_checkpoints_survives),
        WITH_CHECKPOINT_FIXTURE(rows_taken_before_k_is_known_are_not_all_up_to_k),
        WITH_CHECKPOINT_FIXTURE(what_a_failed_checkpoint_took_is_taken_by_the_next),
        WITH_CHECKPOINT_FIXTURE(without_listing_it_again_it_would_be_lost),
        WITH_CHECKPOINT_FIXTURE(the_log_is_cut_when_the_manifest_is_durable),
        WITH_CHECKPOINT_FIXTURE(a_log_that_is_cut_before_loses_what_was_in_it),
        WITH_CHECKPOINT_FIXTURE(the_log_is_cut_at_k_and_no_higher),
        WITH_CHECKPOINT_FIXTURE(a_log_that_is_cut_higher_loses_what_is_above_k),
        WITH_CHECKPOINT_FIXTURE(a_large_space_is_loaded_in_pieces),
        WITH_CHECKPOINT_FIXTURE(runs_are_merged_in_the_background),
        WITH_CHECKPOINT_FIXTURE(replaced_runs_go_when_the_manifest_is_durable),
        WITH_CHECKPOINT_FIXTURE(runs_that_go_before_are_missing),
        WITH_CHECKPOINT_FIXTURE(a_space_may_be_dropped_during_a_checkpoint),
        WITH_CHECKPOINT_FIXTURE(a_space_may_be_truncated_during_a_checkpoint),
        WITH_CHECKPOINT_FIXTURE(files_of_a_dropped_space_go_with_the_next_manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
