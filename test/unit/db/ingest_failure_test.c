/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that come to a space as finished runs (invariant 36), and what goes wrong meanwhile: they are cancelled, calls of the
 * disk fail, a backup is made.
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
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/backup.h"
#include "db/ingest_fixture.h"
#include "db/ingest_private.h"
#include "db/repair.h"

enum { FAULTS = 120 };

/* What was cancelled is gone. */
static void await_none(void)
{
    struct store *store = space_of(&ingest_f, NULL, "s")->head->arg;
    while (atomic_load(&store->ingesting))
        sched_yield();
}

/* The only one has come to this state, or is past it. */
static void await_state(enum ingest_state state)
{
    struct checkpoint *checkpoint = ingest_f.db->checkpoint;
    for (bool reached = false; !reached; sched_yield()) {
        pthread_mutex_lock(&checkpoint->mutex);
        const struct ingest *ingest = checkpoint->ingests;
        reached = ingest != NULL && ingest->state >= state;
        pthread_mutex_unlock(&checkpoint->mutex);
        assert_non_null(ingest); /* it is in the list until its job is ended */
    }
}

/* The checkpoint's thread stays behind a checkpoint, where `stays` is told, until it says no. */
static bool (*_Atomic stays)(void);
static _Atomic unsigned stood;

static void on_end(void *arg)
{
    (void)arg;
    bool (*wanted)(void) = load_acquire(&stays);
    if (wanted == NULL)
        return;
    atomic_fetch_add(&stood, 1);
    while ((wanted = load_acquire(&stays)) != NULL && wanted())
        sched_yield();
}

/* Behind a checkpoint. */
static void hold_checkpoints(bool (*wanted)(void))
{
    db__checkpoint_wait_idle(ingest_f.db);
    pthread_mutex_lock(&ingest_f.db->checkpoint->mutex);
    ingest_f.db->checkpoint->on_end = on_end;
    pthread_mutex_unlock(&ingest_f.db->checkpoint->mutex);
    store_release(&stood, 0);
    store_release(&stays, wanted);
}

static bool always(void)
{
    return true;
}

static bool ahead(void)
{
    return manifest_is_ahead(&ingest_f.db->checkpoint->manifest);
}

static bool doubtful(void)
{
    const struct checkpoint *checkpoint = ingest_f.db->checkpoint;
    for (size_t i = 0; i < checkpoint->store_count; i++)
        if (load_relaxed(&checkpoint->stores[i]->head.doubtful))
            return true;
    return false;
}

/* ------------------------------------------------------------------------------------------- a backup */

static _Atomic bool backup_ended;
static _Atomic uint64_t requests; /* how many checkpoints had been asked for */

static uint64_t requested(void)
{
    struct checkpoint *checkpoint = ingest_f.db->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    uint64_t count = checkpoint->requested;
    pthread_mutex_unlock(&checkpoint->mutex);
    return count;
}

/* Some tree is ahead: until the backup has taken that manifest all the same, or asked for another one, as
 * taking the rows in has done. */
static bool backup_looks(void)
{
    return ahead() && !load_acquire(&backup_ended) && requested() < load_acquire(&requests) + 3;
}

static bool backup_asks(void)
{
    return requested() < load_acquire(&requests) + 1;
}

struct backing {
    pthread_t thread;
    struct io *target;
    int rc;
};

static void *backup_main(void *arg)
{
    struct backing *backing = arg;
    struct backup_result result;
    backing->rc =
        db_backup(ingest_f.db, &(struct backup_options){.target = backing->target}, &result);
    store_release(&backup_ended, true);
    return NULL;
}

/* Its checkpoint is that behind which they are taken in. */
static void a_backup_meanwhile_is_of_one_moment(void **state)
{
    (void)state;
    struct disk *disk = disk_new(7);
    struct backing backing = {.target = disk_io(disk)};
    struct ddl_job *job;
    struct manifest manifest;
    int rc;
    must(insert(&ingest_f, NULL, "s", "[1, 1]"));
    struct ingest *ingest = ingest_begin();
    must(ingest_add_json(ingest, "[2, 2]"));
    hold_checkpoints(always);
    db_checkpoint_request(ingest_f.db);
    while (load_acquire(&stood) == 0)
        sched_yield();
    must(ingest_run(ingest, &job));
    await_state(INGEST_PUBLISH_WANTED);
    store_release(&backup_ended, false);
    store_release(&requests, requested());
    assert_int_equal(pthread_create(&backing.thread, NULL, backup_main, &backing), 0);
    while (backup_asks())
        sched_yield();
    store_release(&stays, backup_looks);
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        continue;
    must(rc);
    pthread_join(backing.thread, NULL);
    store_release(&stays, NULL);
    must(backing.rc);
    manifest_create(&manifest);
    must(manifest_load(backing.target, &manifest));
    assert_false(manifest_is_ahead(&manifest));
    manifest_destroy(&manifest);
    io_delete(backing.target);
    disk_delete(disk);
}

/* A merge puts a manifest in force, too, which is ahead as well. */
static void a_checkpoint_behind_a_merge_is_of_one_moment(void **state)
{
    struct ddl_job *job;
    int rc;
    (void)state;
    struct ingest *ingest = ingest_begin();
    must(ingest_add_json(ingest, "[1, 1]"));
    hold_checkpoints(ahead);
    must(ingest_run(ingest, &job));
    while ((rc = ddl_job_step(job)) == ERROR_WAIT)
        continue;
    must(rc);
    while (load_acquire(&stood) == 0)
        sched_yield();
    ingest_f.db->checkpoint->stale = false; /* what it does */
    store_release(&stays, NULL);
    must(db_checkpoint(ingest_f.db));
    db__checkpoint_wait_idle(ingest_f.db);
    assert_false(ahead());
}

/* As a server that dies before the next checkpoint leaves it. */
static void what_is_ahead_is_saved_from_a_damaged_folder(void **state)
{
    (void)state;
    struct disk *disk = disk_new(7);
    struct io *target = disk_io(disk);
    struct repair_report report;
    must(insert(&ingest_f, NULL, "s", "[1, 1]"));
    hold_checkpoints(ahead);
    must(ingest_take("[1, 11]", "[2, 12]", NULL));
    while (load_acquire(&stood) == 0)
        sched_yield();
    must(replace(&ingest_f, NULL, "s", "[3, 3]"));
    must(wal_wait_durable(db_wal(ingest_f.db), wal_clock(db_wal(ingest_f.db))));
    int rc = db_repair(
        &(struct repair_options){.io = ingest_f.io, .target = target, .clock = ingest_f.db->clock},
        &report);
    store_release(&stays, NULL);
    io_delete(target);
    db_fixture_stop(&ingest_f);
    disk_delete(ingest_f.disk);
    ingest_f.disk = disk;
    int opened = ingest_start();
    must(rc);
    must(opened);
    assert_int_equal(report.losses, 0);
    assert_string_equal(ingest_all("pk"), "[1,11] [2,12] [3,3]");
    must(replace(&ingest_f, NULL, "s", "[2, 22]"));
    ingest_reopen();
    assert_string_equal(ingest_all("pk"), "[1,11] [2,22] [3,3]");
}

/* ------------------------------------------------------------------------------------------- cancelled */

static void one_that_is_cancelled_leaves_nothing(void **state)
{
    struct ddl_job *job;
    (void)state;
    must(insert(&ingest_f, NULL, "s", "[9, 9]"));
    struct ingest *ingest = ingest_begin();
    must(ingest_add_json(ingest, "[1, 1]"));
    must(ingest_run(ingest, &job));
    ddl_job_cancel(job); /* wherever it is */
    const char *now = ingest_all("pk");
    assert_true(strcmp(now, "[9,9]") == 0 || strcmp(now, "[1,1] [9,9]") == 0);
    await_none();
    must(make_index(&ingest_f, "s", "i", ingest_plain));
    ingest_assert_whole();
    db_settle(&ingest_f);
    ingest_assert_no_file_left();
}

/* He may own the gate, which it waits for. */
static void who_cancels_does_not_wait_for_it(void **state)
{
    struct ddl_job *job;
    struct txn *txn;
    (void)state;
    const struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    struct ingest *ingest = ingest_begin();
    must(ingest_add_json(ingest, "[1, 1]"));
    must(txn_begin(ingest_f.workers[1]->txn, &options, &txn));
    must(ingest_run(ingest, &job));
    await_state(INGEST_PUBLISH_COMING);
    ddl_job_cancel(job);
    txn_rollback(txn);
    await_none();
    assert_string_equal(ingest_all("pk"), "");
    must(ingest_take("[2, 2]", NULL));
    assert_string_equal(ingest_all("pk"), "[2,2]");
    ingest_assert_no_file_left();
}

static void one_that_was_cancelled_ends_with_the_database(void **state)
{
    struct ddl_job *job;
    (void)state;
    must(make_index(&ingest_f, "s", "u", ingest_unique));
    must(insert(&ingest_f, NULL, "s", "[9, 9, 9]"));
    struct ingest *ingest = ingest_begin();
    must(ingest_add_json(ingest, "[1, 1, 1]"));
    must(ingest_run(ingest, &job));
    ddl_job_cancel(job);
    ingest_reopen();
    const char *now = ingest_all("pk");
    assert_true(strcmp(now, "[9,9,9]") == 0 || strcmp(now, "[1,1,1] [9,9,9]") == 0);
    ingest_assert_no_file_left();
}

/* ----------------------------------------------------------------------------------------------- faults */

static void faults_open(void)
{
    ingest_open(NULL);
    must(make_index(&ingest_f, "s", "u", ingest_unique));
    must(insert(&ingest_f, NULL, "s", "[1, 1, 1]"));
    must(insert(&ingest_f, NULL, "s", "[2, 2, 2]"));
    db_settle(&ingest_f);
    must(insert(&ingest_f, NULL, "s", "[3, 3, 3]"));
    must(replace(&ingest_f, NULL, "s", "[1, 1, 5]"));
    must(wal_wait_durable(db_wal(ingest_f.db), wal_clock(db_wal(ingest_f.db))));
}

static const char *const before = "[1,1,5] [2,2,2] [3,3,3]";
static const char *const behind = "[1,1,11] [2,2,2] [3,3,13] [4,4,1]";

static int faults_take(void)
{
    return ingest_take("[4, 4, 1]", "[1, 1, 11]", "[3, 3, 13]", NULL);
}

/* Of whichever call: what is told holds, before the next start and behind it, unless nobody knows. */
static bool disk_call_fails(uint64_t n)
{
    faults_open();
    disk_fail_nth(ingest_f.disk, n, EIO);
    int rc = faults_take();
    disk_fail_nth(ingest_f.disk, 0, 0);
    db__checkpoint_wait_idle(ingest_f.db); /* a call that has failed has had its consequences */
    bool known = !wal_failed(db_wal(ingest_f.db)) && rc != ERROR_UNKNOWN_OUTCOME;
    if (known) {
        assert_string_equal(ingest_all("pk"), rc == 0 ? behind : before);
        must(replace(&ingest_f, NULL, "s", "[9, 9, 9]")); /* later than what has failed */
    }
    ingest_reopen();
    const char *now = ingest_all("pk");
    if (known) {
        assert_string_equal(get_by(&ingest_f, NULL, "s", "pk", "[9]"), "[9,9,9]");
        must(delete_by(&ingest_f, NULL, "s", "pk", "[9]"));
        assert_string_equal(ingest_all("pk"), rc == 0 ? behind : before);
    } else {
        assert_true(strcmp(now, before) == 0 || strcmp(now, behind) == 0);
    }
    ingest_assert_whole();
    must(faults_take());
    assert_string_equal(ingest_all("pk"), behind);
    db_settle(&ingest_f);
    ingest_assert_no_file_left();
    db_fixture_close(&ingest_f);
    return rc != 0;
}

static void when_the_disk_fails_all_are_there_or_none(void **state)
{
    unsigned failed = 0;
    (void)state;
    for (uint64_t n = 1; n <= FAULTS; n += 1 + n / 40)
        failed += disk_call_fails(n);
    assert_true(failed > 10);
}

/* Nobody knows whether they are there: whoever wrote as if they were not might be wrong. */
static bool doubt(enum disk_call call, uint64_t n)
{
    faults_open();
    hold_checkpoints(NULL);
    disk_fail_nth_of(ingest_f.disk, call, n, EIO);
    store_release(&stays, doubtful);
    int rc = faults_take();
    if (rc == ERROR_UNKNOWN_OUTCOME) {
        refused(replace(&ingest_f, NULL, "s", "[9, 9, 9]"), ERROR_BUSY,
                "until the next checkpoint");
        refused(delete_by(&ingest_f, NULL, "s", "pk", "[1]"), ERROR_BUSY,
                "until the next checkpoint");
        refused(make_index(&ingest_f, "s", "i", ingest_plain), ERROR_BUSY, "or changed until");
        refused(drop_index(&ingest_f, "s", "u"), ERROR_BUSY, "or changed until");
        refused(truncate_space(&ingest_f, "s"), ERROR_BUSY, "or changed until");
        assert_string_equal(ingest_all("pk"), before);
    }
    store_release(&stays, NULL);
    disk_fail_nth(ingest_f.disk, 0, 0);
    return rc == ERROR_UNKNOWN_OUTCOME;
}

static void while_nobody_knows_nobody_writes(void **state)
{
    bool doubts = false;
    (void)state;
    for (uint64_t n = 1; !doubts && n <= FAULTS; n++) {
        if ((doubts = doubt(DISK_RENAME, n))) {
            must(db_checkpoint(ingest_f.db));
            must(replace(&ingest_f, NULL, "s", "[9, 9, 1]")); /* one that comes had that */
            ingest_reopen();
            assert_string_equal(ingest_all("u"), "[9,9,1] [2,2,2] [3,3,3] [1,1,5]");
            ingest_assert_whole();
            db_settle(&ingest_f);
            ingest_assert_no_file_left();
        }
        db_fixture_close(&ingest_f);
    }
    assert_true(doubts);
}

/* A folder that could not be synced has no checkpoint any more until the next start. */
static void nor_until_the_next_start_when_there_is_no_checkpoint(void **state)
{
    bool doubts = false;
    (void)state;
    for (uint64_t n = 1; !doubts && n <= FAULTS; n++) {
        if ((doubts = doubt(DISK_SYNC_DIR, n))) {
            assert_int_equal(db_checkpoint(ingest_f.db), ERROR_IO);
            refused(replace(&ingest_f, NULL, "s", "[9, 9, 1]"), ERROR_BUSY, "or the next start");
            ingest_reopen();
            const char *now = ingest_all("pk");
            assert_true(strcmp(now, before) == 0 || strcmp(now, behind) == 0);
            must(replace(&ingest_f, NULL, "s", "[9, 9, 9]"));
            ingest_assert_whole();
        }
        db_fixture_close(&ingest_f);
    }
    assert_true(doubts);
}

/* All that was written before is durable, so the first block that fails is the one behind the manifest. */
static void when_the_log_fails_behind_the_manifest_the_outcome_is_unknown(void **state)
{
    (void)state;
    faults_open();
    db__checkpoint_wait_idle(ingest_f.db);
    disk_fail_always(ingest_f.disk, DISK_QUEUE_WRITE, EIO);
    assert_int_equal(faults_take(), ERROR_UNKNOWN_OUTCOME);
    assert_true(wal_failed(db_wal(ingest_f.db)));
    disk_fail_always(ingest_f.disk, DISK_QUEUE_WRITE, 0);
    ingest_reopen();
    assert_string_equal(ingest_all("pk"), behind);
    ingest_assert_whole();
    must(replace(&ingest_f, NULL, "s", "[9, 9, 9]"));
    ingest_reopen();
    assert_string_equal(get_by(&ingest_f, NULL, "s", "pk", "[9]"), "[9,9,9]");
    db_fixture_close(&ingest_f);
}

/* What was written before is on its way, and does not arrive. */
static void when_the_log_fails_before_the_manifest_no_row_is_there(void **state)
{
    (void)state;
    faults_open();
    db__checkpoint_wait_idle(ingest_f.db);
    disk_fail_always(ingest_f.disk, DISK_QUEUE_WRITE, EIO);
    must(replace(&ingest_f, NULL, "s", "[9, 9, 9]"));
    assert_int_equal(faults_take(), ERROR_LOG_FAILED);
    assert_true(wal_failed(db_wal(ingest_f.db)));
    disk_fail_always(ingest_f.disk, DISK_QUEUE_WRITE, 0);
    ingest_reopen();
    assert_string_equal(ingest_all("pk"), before);
    ingest_assert_whole();
    db_fixture_close(&ingest_f);
}

static void behind_a_row_of_which_half_was_added_there_is_nothing(void **state)
{
    char text[64];
    struct ddl_job *job;
    int rc = 0;
    (void)state;
    must(make_index(&ingest_f, "s", "i", ingest_plain));
    struct ingest *ingest = ingest_begin();
    db__checkpoint_wait_idle(ingest_f.db);
    disk_fail_always(ingest_f.disk, DISK_WRITE, EIO);
    for (unsigned i = 0; rc == 0; i++) {
        snprintf(text, sizeof text, "[%u, %u]", i, i);
        rc = ingest_add_json(ingest, text);
    }
    disk_fail_always(ingest_f.disk, DISK_WRITE, 0);
    assert_int_equal(rc, ERROR_IO);
    refused(ingest_add_json(ingest, "[1, 1]"), ERROR_IO, "half way");
    refused(ingest_run(ingest, &job), ERROR_IO, "half way");
    must(ingest_take("[1, 1]", NULL));
    ingest_assert_whole();
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, ingest_open, ingest_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_backup_meanwhile_is_of_one_moment),
        TEST(a_checkpoint_behind_a_merge_is_of_one_moment),
        TEST(what_is_ahead_is_saved_from_a_damaged_folder),
        TEST(one_that_is_cancelled_leaves_nothing),
        TEST(who_cancels_does_not_wait_for_it),
        TEST(one_that_was_cancelled_ends_with_the_database),
        TEST(behind_a_row_of_which_half_was_added_there_is_nothing),
        cmocka_unit_test(while_nobody_knows_nobody_writes),
        cmocka_unit_test(nor_until_the_next_start_when_there_is_no_checkpoint),
        cmocka_unit_test(when_the_log_fails_behind_the_manifest_the_outcome_is_unknown),
        cmocka_unit_test(when_the_log_fails_before_the_manifest_no_row_is_there),
        cmocka_unit_test(when_the_disk_fails_all_are_there_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
