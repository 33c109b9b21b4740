/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Checkpoints (invariant 19), over the test disk: what is found after a cut is what was committed,
 * whatever was written, dropped or failed meanwhile; the cost is that of the changes; the log is
 * cut, and not too early. Each part of the rule is taken out once, and something is lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/checkpoint_private.h"
#include "db/db_fixture.h"

enum { EIO_NUMBER = 5, ENOSPC_NUMBER = 28 };

static struct db_fixture f;

/* ------------------------------------------------------------- between the database and the disk */

/* What the checkpoint's thread asks of the disk tells how far it is: the first file that ends in
 * ".run" is opened when K is fixed and the changed rows are taken. A test's function is called
 * before, on that thread, and may refuse by an error. */
struct hook_io {
    struct io base;
    struct io *under;
};

enum hook_call { HOOK_OPEN, HOOK_RENAME, HOOK_UNLINK };

typedef int (*hook_fn)(enum hook_call call, const char *path);
static struct {
    _Atomic(hook_fn) fn;
    unsigned calls; /* that the function has acted on */
} hook;

static int hook_run(enum hook_call call, const char *path)
{
    hook_fn fn = atomic_load(&hook.fn);
    return fn == NULL ? 0 : fn(call, path);
}

static struct io *under(struct io *io)
{
    return ((struct hook_io *)io)->under;
}

static int hook_open(struct io *io, const char *path, int flags, struct io_file **out)
{
    int rc = flags & IO_CREATE ? hook_run(HOOK_OPEN, path) : 0;
    return rc != 0 ? rc : io_open(under(io), path, flags, out);
}

static int hook_rename(struct io *io, const char *from, const char *to)
{
    int rc = hook_run(HOOK_RENAME, to);
    return rc != 0 ? rc : io_rename(under(io), from, to);
}

static int hook_unlink(struct io *io, const char *path)
{
    int rc = hook_run(HOOK_UNLINK, path);
    return rc != 0 ? rc : io_unlink(under(io), path);
}

static int hook_sync_dir(struct io *io)
{
    return io_sync_dir(under(io));
}

static int hook_list(struct io *io, int (*each)(const char *name, uint64_t size, void *arg),
                     void *arg)
{
    return io_list(under(io), each, arg);
}

static int hook_lock(struct io *io, const char *path)
{
    return io_lock(under(io), path);
}

static int hook_queue_new(struct io *io, unsigned depth, struct io_queue **out)
{
    return io_queue_new(under(io), depth, out);
}

static void hook_delete(struct io *io)
{
    io_delete(under(io));
    free(io);
}

static const struct io_vtab hook_vtab = {.open = hook_open,
                                         .rename = hook_rename,
                                         .unlink = hook_unlink,
                                         .sync_dir = hook_sync_dir,
                                         .list = hook_list,
                                         .lock = hook_lock,
                                         .queue_new = hook_queue_new,
                                         .delete = hook_delete};

static struct io *hook_wrap(struct io *io)
{
    struct hook_io *made = calloc(1, sizeof *made);
    made->base.vtab = &hook_vtab;
    atomic_init(&made->base.direct_variant, "unknown");
    atomic_init(&made->base.queue_variant, "unknown");
    made->under = io;
    return &made->base;
}

static bool is_run(const char *path)
{
    return strstr(path, ".run") != NULL;
}

/* From now on, at every start. */
static void hook_set(hook_fn fn)
{
    hook.calls = 0;
    atomic_store(&hook.fn, fn);
}

/* ------------------------------------------------------------------------------------- statements */

static int setup(void **state)
{
    (void)state;
    hook_set(NULL);
    db_fixture_open(&f);
    f.wrap = hook_wrap;
    db_fixture_reopen(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static void schema_make(void)
{
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(
        make_index(&f, "s", "value", "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}"), 0);
}

static void set(unsigned key, unsigned value)
{
    char text[64];
    snprintf(text, sizeof text, "[%u, %u]", key, value);
    assert_int_equal(replace(&f, NULL, "s", text), 0);
}

static void unset(unsigned key)
{
    char text[64];
    snprintf(text, sizeof text, "[%u]", key);
    assert_int_equal(delete_by(&f, NULL, "s", "pk", text), 0);
}

static const char *all(void)
{
    return select_by(&f, NULL, "s", "pk", ITERATOR_ALL, NULL);
}

static void durable(void)
{
    struct wal *wal = db_wal(f.db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
}

static void checkpoint(void)
{
    int rc = db_checkpoint(f.db);
    if (rc != 0)
        fail_msg("%s", diag_message_for(rc));
}

/* Ends it as a power cut does. */
static int cut_and_start(uint64_t seed)
{
    disk_cut(f.disk, seed);
    db_fixture_stop(&f);
    return db_fixture_start(&f, false);
}

static void cut(uint64_t seed)
{
    int rc = cut_and_start(seed);
    if (rc != 0)
        fail_msg("the database does not open again: %s", diag_message_for(rc));
}

static struct db_checkpoint_stats stats(void)
{
    struct db_checkpoint_stats result;
    db_checkpoint_stats_get(f.db, &result);
    return result;
}

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

static void mutate(unsigned mutations)
{
    store_relaxed(&f.db->checkpoint->mutations, mutations);
}

static void assert_one(unsigned key, const char *expected)
{
    char text[64];
    snprintf(text, sizeof text, "[%u]", key);
    const char *found = get_by(&f, NULL, "s", "pk", text);
    if (expected == NULL)
        assert_null(found);
    else
        assert_string_equal(found, expected);
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

static void tombstones_go_from_the_head_when_a_run_has_them(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    set(2, 1);
    unset(1);
    struct tree *tree = space_of(&f, NULL, "s")->head->tree;
    durable();
    for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
        txn_collect(db_worker_txn(f.workers[i]), SIZE_MAX);
    assert_int_equal(tree_count(tree), 2);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 1);
    db_settle(&f);
    assert_int_equal(tree_count(tree), 1);
}

/* ---------------------------------------------------------------------------------- the rule's parts */

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
        struct txn *txn = begin(&f, writer->worker, TXN_SNAPSHOT);
        int rc = replace(&f, txn, "s", text);
        rc = rc == 0 ? txn_commit(txn) : (txn_rollback(txn), rc);
        if (rc != 0 || wal_wait(db_wal(f.db), txn_worker_seen_ts(worker)) != 0)
            break;
        atomic_store(&writer->acknowledged[key], value);
    }
    return NULL;
}

static unsigned value_of(unsigned key)
{
    char text[64];
    unsigned found_key, value = 0;
    snprintf(text, sizeof text, "[%u]", key);
    const char *found = get_by(&f, NULL, "s", "pk", text);
    if (found != NULL)
        assert_int_equal(sscanf(found, "[%u,%u]", &found_key, &value), 2);
    return value;
}

/* Two write and wait while checkpoints follow one another; then the power is cut. Whether all that
 * was acknowledged is there. */
static bool written_beside_checkpoints(unsigned mutations, unsigned checkpoints, uint64_t seed)
{
    _Atomic bool stop = false;
    static struct writer writers[2];
    pthread_t threads[2];
    schema_make();
    mutate(mutations);
    for (unsigned i = 0; i < 2; i++) {
        memset(&writers[i], 0, sizeof writers[i]);
        writers[i].worker = i + 1;
        writers[i].first = i * 1000;
        writers[i].stop = &stop;
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, &writers[i]), 0);
    }
    for (unsigned i = 0; i < checkpoints; i++)
        checkpoint();
    disk_cut(f.disk, seed);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    db_fixture_stop(&f);
    if (db_fixture_start(&f, false) != 0)
        fail_msg("%s", diag_message());
    bool all_there = true;
    for (unsigned i = 0; i < 2; i++)
        for (unsigned key = 0; key < 64; key++)
            all_there = all_there && value_of(writers[i].first + key) >=
                                         atomic_load(&writers[i].acknowledged[key]);
    return all_there;
}

static void what_is_acknowledged_beside_checkpoints_survives(void **state)
{
    (void)state;
    assert_true(written_beside_checkpoints(0, 30, test_seed()));
}

static void rows_taken_before_k_is_known_are_not_all_up_to_k(void **state)
{
    (void)state;
    bool lost = false;
    for (unsigned round = 0; round < 20 && !lost; round++) {
        lost = !written_beside_checkpoints(CHECKPOINT_MUTATION_TAKE_FIRST, 3, round);
        assert_int_equal(drop_space(&f, "s"), 0);
    }
    assert_true(lost);
}

static int hook_no_space(enum hook_call call, const char *path)
{
    if (call != HOOK_OPEN || !is_run(path))
        return 0;
    hook.calls++;
    return diag_set(ERROR_IO, "open %s: no space left on device", path);
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

static void big_rows(struct txn *txn, unsigned first, unsigned count)
{
    enum { BYTES = 30000 };
    char *text = malloc(BYTES + 64);
    for (unsigned key = first; key < first + count; key++) {
        int size = snprintf(text, 64, "[%u, 1, \"", key);
        for (unsigned i = 0; i < BYTES; i++)
            text[size + (int)i] = (char)('a' + (key * 31 + i * i) % 26);
        strcpy(text + size + BYTES, "\"]");
        assert_int_equal(replace(&f, txn, "s", text), 0);
    }
    free(text);
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

/* ----------------------------------------------------------------------- failures, and power cuts */

/* A life in which everything happens: changes, checkpoints, a merge. Stops at the first error of
 * the log; errors of checkpoints are noted. What is acknowledged goes to `values`. */
struct life {
    unsigned values[4];
    unsigned unsure; /* the key whose last change has an unknown outcome, 4: none */
    unsigned unsure_value;
    unsigned failures;
};

static int life_change(struct life *life, unsigned key, unsigned value)
{
    char text[64];
    struct txn *txn;
    struct txn_worker *worker = db_worker_txn(f.workers[0]);
    int rc = txn_begin(worker, &(struct txn_options){.level = TXN_SNAPSHOT}, &txn);
    if (rc != 0)
        return rc;
    if (value != 0) {
        snprintf(text, sizeof text, "[%u, %u]", key, value);
        rc = replace(&f, txn, "s", text);
    } else {
        snprintf(text, sizeof text, "[%u]", key);
        rc = delete_by(&f, txn, "s", "pk", text);
    }
    if (rc != 0) {
        txn_rollback(txn);
        return rc;
    }
    life->unsure = key;
    life->unsure_value = value;
    if ((rc = txn_commit(txn)) != 0 ||
        (rc = wal_wait(db_wal(f.db), txn_worker_seen_ts(worker))) != 0)
        return rc;
    life->values[key] = value;
    life->unsure = 4;
    return 0;
}

static void life_live(struct life *life)
{
    life->unsure = 4;
    for (unsigned i = 0; i < CHECKPOINTS_TO_MERGE + 2; i++) {
        if (life_change(life, i % 3, i % 4 == 3 ? 0 : i + 1) != 0 ||
            life_change(life, 3, i + 1) != 0)
            return;
        life->failures += db_checkpoint(f.db) != 0;
    }
    db__checkpoint_wait_idle(f.db);
    life->failures += stats().merges_failed > 0;
}

static bool life_found(const struct life *life)
{
    for (unsigned key = 0; key < 4; key++) {
        unsigned value = value_of(key);
        bool unsure = key == life->unsure && value == life->unsure_value;
        if (value != life->values[key] && !unsure)
            return false;
    }
    return true;
}

/* Starts, also when something is armed that lets the first attempts fail. */
static void start_at_last(uint64_t n)
{
    disk_fail_nth(f.disk, n, EIO_NUMBER);
    int rc = db_fixture_start(&f, false);
    disk_fail_nth(f.disk, 0, 0);
    if (rc == 0) { /* the failure may have come later, to the log or to nobody */
        db_fixture_stop(&f);
        rc = db_fixture_start(&f, false);
    } else {
        rc = db_fixture_start(&f, false);
    }
    if (rc != 0)
        fail_msg("call %llu: the database does not open: %s", (unsigned long long)n,
                 diag_message_for(rc));
}

static void any_call_may_fail_and_nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    unsigned failures = 0;
    bool whole = false;
    for (uint64_t n = 1; !whole; n += 1 + n / 40) {
        struct life life = {.unsure = 4};
        db_fixture_close(&f);
        db_fixture_open(&f);
        schema_make();
        durable();
        disk_fail_nth(f.disk, n, n % 2 ? EIO_NUMBER : ENOSPC_NUMBER);
        uint64_t calls = disk_calls(f.disk);
        life_live(&life);
        whole = disk_calls(f.disk) - calls < n;
        disk_fail_nth(f.disk, 0, 0);
        failures += life.failures;
        disk_cut(f.disk, seed + n);
        db_fixture_stop(&f);
        start_at_last(1 + n % 60);
        if (!life_found(&life))
            fail_msg("call %llu failed (PERIGEE_SEED=%llu): something acknowledged is lost",
                     (unsigned long long)n, (unsigned long long)seed);
        checkpoint();
        cut(seed);
        assert_true(life_found(&life));
    }
    assert_true(failures > 20);
}

static void the_power_may_fail_in_any_call_and_nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    bool whole = false;
    for (uint64_t n = 1; !whole; n += 1 + n / 40) {
        struct life life = {.unsure = 4};
        db_fixture_close(&f);
        db_fixture_open(&f);
        schema_make();
        durable();
        if (n % 2)
            disk_tear(f.disk, 512);
        disk_cut_after(f.disk, n);
        life_live(&life);
        whole = !disk_is_cut(f.disk);
        cut(seed + n);
        if (!life_found(&life))
            fail_msg("cut in call %llu (PERIGEE_SEED=%llu): something acknowledged is lost",
                     (unsigned long long)n, (unsigned long long)seed);
        checkpoint();
        cut(seed);
        assert_true(life_found(&life));
    }
}

static void a_directory_that_cannot_be_synced_stops_checkpoints_only(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    durable();
    disk_fail_always(f.disk, DISK_SYNC_DIR, EIO_NUMBER);
    assert_int_equal(db_checkpoint(f.db), ERROR_IO);
    set(2, 2);
    durable();
    disk_fail_always(f.disk, DISK_SYNC_DIR, 0);
    checkpoint();
    assert_string_equal(stats().failure, "");
    cut(3);
    assert_string_equal(all(), "[1,1] [2,2]");
}

static void no_checkpoint_is_made_after_the_log_has_failed(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    durable();
    disk_fail_always(f.disk, DISK_QUEUE_WRITE, EIO_NUMBER);
    disk_fail_always(f.disk, DISK_QUEUE_WAIT, EIO_NUMBER);
    assert_int_equal(replace(&f, NULL, "s", "[2, 2]"), 0);
    wal_wait(db_wal(f.db), wal_clock(db_wal(f.db)));
    disk_fail_always(f.disk, DISK_QUEUE_WRITE, 0);
    disk_fail_always(f.disk, DISK_QUEUE_WAIT, 0);
    assert_true(wal_failed(db_wal(f.db)));
    assert_int_equal(db_checkpoint(f.db), ERROR_LOG_FAILED);
    assert_int_equal(stats().count, 0);
    cut(1);
    assert_one(1, "[1,1]");
}

static void a_full_disk_stops_checkpoints_until_there_is_room(void **state)
{
    (void)state;
    schema_make();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    big_rows(txn, 0, 20);
    assert_int_equal(txn_commit(txn), 0);
    durable();
    disk_capacity(f.disk, disk_used(f.disk) + 64);
    assert_int_equal(db_checkpoint(f.db), ERROR_IO);
    assert_non_null(strstr(diag_message(), "No space left"));
    set(1000, 1); /* the log has room: its segments are filled ahead */
    durable();
    disk_capacity(f.disk, 0);
    checkpoint();
    cut(1);
    assert_int_equal(f.stats.rows, 0);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 21);
}

/* --------------------------------------------------------------------------------------- by itself */

static void a_checkpoint_comes_when_the_log_has_grown(void **state)
{
    (void)state;
    f.checkpoint.log_bytes = 1 << 20;
    db_fixture_reopen(&f);
    schema_make();
    set(1, 1);
    durable();
    for (unsigned i = 0; i < 3; i++)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 0);
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    big_rows(txn, 100, 50);
    assert_int_equal(txn_commit(txn), 0);
    durable();
    while (stats().count == 0)
        db__checkpoint_wait_idle(f.db);
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 1);
    cut(1);
    assert_int_equal(f.stats.rows, 0);
    while (stats().count == 0) /* what is left of the log can go now, and nothing is written */
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().rows, 0);
}

/* What was replayed counts as well: else a database that often starts would never cut its log. */
static void the_log_of_the_lives_before_counts(void **state)
{
    (void)state;
    schema_make();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    big_rows(txn, 100, 50);
    assert_int_equal(txn_commit(txn), 0);
    f.checkpoint.log_bytes = 1 << 20;
    db_fixture_reopen(&f);
    while (stats().count == 0)
        db__checkpoint_wait_idle(f.db);
    assert_true(stats().rows >= 50);
}

static void a_checkpoint_comes_when_time_has_passed_and_something_has_changed(void **state)
{
    (void)state;
    struct clock_manual clock;
    clock_manual_create(&clock, 1000);
    f.clock = &clock.base;
    f.checkpoint.interval_ms = 60000;
    db_fixture_reopen(&f);
    schema_make();
    clock_manual_advance_ms(&clock, 59999);
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 0);
    clock_manual_advance_ms(&clock, 1);
    while (stats().count == 0)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().time_ms, 61000);
    clock_manual_advance_ms(&clock, 60000);
    while (stats().skipped == 0)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 1);
    db_fixture_stop(&f);
    f.clock = NULL; /* this one is gone at teardown */
    assert_int_equal(db_fixture_start(&f, false), 0);
}

static void a_checkpoint_comes_when_memory_is_used_up_by_deleted_rows(void **state)
{
    (void)state;
    struct heap *heap = db_heap(f.db);
    schema_make();
    for (unsigned round = 0; round < 2; round++) {
        struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
        for (unsigned key = 0; key < 20000; key++) {
            char text[64];
            snprintf(text, sizeof text, round == 0 ? "[%u, 1]" : "[%u]", key);
            assert_int_equal(
                round == 0 ? replace(&f, txn, "s", text) : delete_by(&f, txn, "s", "pk", text), 0);
        }
        assert_int_equal(txn_commit(txn), 0);
        durable();
        for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
            txn_collect(db_worker_txn(f.workers[i]), SIZE_MAX);
    }
    assert_int_equal(stats().count, 0);
    heap_limit_set(heap, heap_used_bytes(heap) / 2);
    assert_int_equal(insert(&f, NULL, "s", "[1, 1]"), ERROR_MEMORY);
    while (heap_over_limit(heap)) {
        db__checkpoint_wait_idle(f.db);
        for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
            txn_collect(db_worker_txn(f.workers[i]), SIZE_MAX);
    }
    assert_true(stats().count > 0);
    assert_int_equal(insert(&f, NULL, "s", "[1, 1]"), 0);
}

static void one_that_fails_is_tried_again_after_a_while(void **state)
{
    (void)state;
    struct clock_manual clock;
    clock_manual_create(&clock, 1000);
    f.clock = &clock.base;
    db_fixture_reopen(&f);
    schema_make();
    hook_set(hook_no_space);
    assert_int_equal(db_checkpoint(f.db), ERROR_IO);
    for (unsigned i = 0; i < 3; i++)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().failed, 1);
    for (unsigned i = 2; i <= 4; i++) {
        clock_manual_advance_ms(&clock, 60000);
        while (stats().failed < i)
            db__checkpoint_wait_idle(f.db);
    }
    hook_set(NULL);
    clock_manual_advance_ms(&clock, 60000);
    while (stats().count == 0)
        db__checkpoint_wait_idle(f.db);
    db_fixture_stop(&f);
    f.clock = NULL;
    assert_int_equal(db_fixture_start(&f, false), 0);
}

static void closing_ends_a_checkpoint_that_waits_for_its_pace(void **state)
{
    (void)state;
    f.checkpoint.rate = 1; /* a byte a second */
    db_fixture_reopen(&f);
    schema_make();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned key = 0; key < 1000; key++) {
        char text[64];
        snprintf(text, sizeof text, "[%u, 1]", key);
        assert_int_equal(replace(&f, txn, "s", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    db_checkpoint_request(f.db);
    while (!stats().running)
        sched_yield();
    durable();
    f.checkpoint.rate = 0;
    db_fixture_reopen(&f);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 1000);
    checkpoint();
}

/* ------------------------------------------------------------------------- damage, and foreign files */

static void a_missing_run_is_named(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    checkpoint();
    char name[ENGINE_FILE_NAME_MAX + 1];
    strcpy(name, f.db->checkpoint->manifest.trees[0].files[0].name);
    disk_vanish(f.disk, name);
    db_fixture_stop(&f);
    assert_int_equal(db_fixture_start(&f, false), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), name));
    disk_delete(f.disk);
    db_fixture_open(&f);
}

static void a_damaged_manifest_is_named(void **state)
{
    (void)state;
    schema_make();
    set(1, 1);
    checkpoint();
    assert_true(disk_flip(f.disk, MANIFEST_NAME, 40, 1));
    db_fixture_stop(&f);
    assert_int_equal(db_fixture_start(&f, false), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), MANIFEST_NAME));
    disk_delete(f.disk);
    db_fixture_open(&f);
}

static void left_over_files_are_removed_and_others_are_not(void **state)
{
    (void)state;
    static const char *const names[] = {"512-1-99.run", MANIFEST_NAME_NEW, "notes.txt",
                                        "export.run", "512-1-099.run"};
    for (unsigned i = 0; i < 5; i++) {
        struct io_file *file;
        assert_int_equal(io_open(f.io, names[i], IO_WRITE | IO_CREATE, &file), 0);
        io_close(file);
    }
    db_fixture_reopen(&f);
    for (unsigned i = 0; i < 5; i++) {
        struct io_file *file;
        int rc = io_open(f.io, names[i], IO_READ, &file);
        assert_int_equal(rc, i >= 2 ? 0 : ERROR_NOT_FOUND);
        if (rc == 0)
            io_close(file);
    }
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    log_level_set(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(what_a_checkpoint_has_written_need_not_be_replayed),
        WITH_FIXTURE(checkpoint_after_checkpoint_and_a_start_in_between_lose_nothing),
        WITH_FIXTURE(the_cost_is_that_of_the_changes),
        WITH_FIXTURE(nothing_is_written_when_nothing_has_changed),
        WITH_FIXTURE(a_row_that_did_not_change_since_is_not_written_again),
        WITH_FIXTURE(tombstones_go_from_the_head_when_a_run_has_them),
        WITH_FIXTURE(a_tombstone_is_in_a_run_before_it_is_forgotten),
        WITH_FIXTURE(without_tombstones_in_runs_deleted_rows_come_back),
        WITH_FIXTURE(a_row_written_during_a_checkpoint_is_listed_again),
        WITH_FIXTURE(what_is_newer_than_k_is_not_in_the_runs_and_comes_from_the_log),
        WITH_FIXTURE(an_uncommitted_change_is_listed_by_its_commit),
        WITH_FIXTURE(k_above_d_is_found_out_at_the_next_start),
        WITH_FIXTURE(what_is_acknowledged_beside_checkpoints_survives),
        WITH_FIXTURE(rows_taken_before_k_is_known_are_not_all_up_to_k),
        WITH_FIXTURE(what_a_failed_checkpoint_took_is_taken_by_the_next),
        WITH_FIXTURE(without_listing_it_again_it_would_be_lost),
        WITH_FIXTURE(the_log_is_cut_when_the_manifest_is_durable),
        WITH_FIXTURE(a_log_that_is_cut_before_loses_what_was_in_it),
        WITH_FIXTURE(the_log_is_cut_at_k_and_no_higher),
        WITH_FIXTURE(a_log_that_is_cut_higher_loses_what_is_above_k),
        WITH_FIXTURE(a_large_space_is_loaded_in_pieces),
        WITH_FIXTURE(runs_are_merged_in_the_background),
        WITH_FIXTURE(replaced_runs_go_when_the_manifest_is_durable),
        WITH_FIXTURE(runs_that_go_before_are_missing),
        WITH_FIXTURE(a_space_may_be_dropped_during_a_checkpoint),
        WITH_FIXTURE(a_space_may_be_truncated_during_a_checkpoint),
        WITH_FIXTURE(files_of_a_dropped_space_go_with_the_next_manifest),
        WITH_FIXTURE(any_call_may_fail_and_nothing_acknowledged_is_lost),
        WITH_FIXTURE(the_power_may_fail_in_any_call_and_nothing_acknowledged_is_lost),
        WITH_FIXTURE(a_directory_that_cannot_be_synced_stops_checkpoints_only),
        WITH_FIXTURE(no_checkpoint_is_made_after_the_log_has_failed),
        WITH_FIXTURE(a_full_disk_stops_checkpoints_until_there_is_room),
        WITH_FIXTURE(a_checkpoint_comes_when_the_log_has_grown),
        WITH_FIXTURE(the_log_of_the_lives_before_counts),
        WITH_FIXTURE(a_checkpoint_comes_when_time_has_passed_and_something_has_changed),
        WITH_FIXTURE(a_checkpoint_comes_when_memory_is_used_up_by_deleted_rows),
        WITH_FIXTURE(one_that_fails_is_tried_again_after_a_while),
        WITH_FIXTURE(closing_ends_a_checkpoint_that_waits_for_its_pace),
        WITH_FIXTURE(a_missing_run_is_named),
        WITH_FIXTURE(a_damaged_manifest_is_named),
        WITH_FIXTURE(left_over_files_are_removed_and_others_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
