/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Checkpoints and failures: each call of the disk fails once, the power fails in each, directories
 * can't be synced, disks are full, files are damaged or missing. Nothing acknowledged is lost, and
 * what is wrong is named.
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
#include "base/log.h"
#include "base/test_seed.h"
#include "db/checkpoint_fixture.h"
#include "db/checkpoint_private.h"
#include "storage/engines.h"

enum { EIO_NUMBER = 5, ENOSPC_NUMBER = 28, CHECKPOINTS = 11 };

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
    for (unsigned i = 0; i < CHECKPOINTS; i++) {
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
    assert_int_equal(db_checkpoint(f.db), ERROR_IO); /* a failed flush is not made good */
    set(3, 3);
    durable();
    cut(3);
    assert_string_equal(all(), "[1,1] [2,2] [3,3]");
    checkpoint();
    assert_string_equal(stats().failure, "");
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

/* ------------------------------------------------------------------------- damage, and foreign
 * files */

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

int main(void)
{
    log_level_set(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        WITH_CHECKPOINT_FIXTURE(any_call_may_fail_and_nothing_acknowledged_is_lost),
        WITH_CHECKPOINT_FIXTURE(the_power_may_fail_in_any_call_and_nothing_acknowledged_is_lost),
        WITH_CHECKPOINT_FIXTURE(a_directory_that_cannot_be_synced_stops_checkpoints_only),
        WITH_CHECKPOINT_FIXTURE(no_checkpoint_is_made_after_the_log_has_failed),
        WITH_CHECKPOINT_FIXTURE(a_full_disk_stops_checkpoints_until_there_is_room),
        WITH_CHECKPOINT_FIXTURE(a_missing_run_is_named),
        WITH_CHECKPOINT_FIXTURE(a_damaged_manifest_is_named),
        WITH_CHECKPOINT_FIXTURE(left_over_files_are_removed_and_others_are_not),
    };
    return engines_run_all("failing checkpoints", tests, sizeof tests / sizeof *tests);
}
