/* SPDX-License-Identifier: Apache-2.0 */

/* Memory runs out, or the disk fails, in backing up, restoring, checking and repairing: each ends
 * cleanly, nothing passes for what it is not, and with memory all of it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/alloc_fault.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/backup.h"
#include "db/check.h"
#include "db/db_fixture.h"
#include "db/repair.h"
#include "db/restore.h"

enum { ROWS = 400, EIO_NUMBER = 5 };

static struct db_fixture f;
static struct disk *backup_disk;

static int back_up(struct disk *disk)
{
    struct io *io = disk_io(disk);
    struct backup_result result;
    struct backup_options options = {.target = io};
    int rc = db_backup(f.db, &options, &result);
    io_delete(io);
    return rc;
}

static int setup(void **state)
{
    (void)state;
    log_level_set(LOG_ERROR);
    db_fixture_open(&f);
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    for (int id = 0; id < ROWS; id++) {
        char tuple[64];
        snprintf(tuple, sizeof tuple, "[%d, \"row %d\"]", id, id);
        must(replace(&f, NULL, "s", tuple));
        if (id == ROWS / 2)
            must(db_checkpoint(f.db));
    }
    must(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))));
    backup_disk = disk_new(2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    disk_delete(backup_disk);
    disk_delete(f.disk);
    return 0;
}

static void assert_whole(struct disk *disk)
{
    struct db_fixture made = {.disk = disk};
    must(db_fixture_start(&made, false));
    uint64_t rows = space_len(space_of(&made, NULL, "s"));
    db_fixture_stop(&made);
    assert_int_equal(rows, ROWS);
}

static int restore_to(struct disk *target)
{
    struct io *from = disk_io(backup_disk), *to = disk_io(target);
    struct restore_folder folder = {from, "backup"};
    struct restore_options options = {
        .chain = &folder, .chain_count = 1, .target = to, .clock = clock_system()};
    struct restore_report report;
    int rc = db_restore(&options, &report);
    io_delete(from);
    io_delete(to);
    return rc;
}

static int check(bool *whole)
{
    struct disk *scratch_disk = disk_new(5);
    struct io *io = disk_io(f.disk), *scratch = disk_io(scratch_disk);
    struct check_options options = {.io = io, .scratch = scratch, .clock = clock_system()};
    struct check_report report;
    int rc = db_check(&options, &report);
    *whole = report.damages == 0 && report.started;
    io_delete(io);
    io_delete(scratch);
    disk_delete(scratch_disk);
    return rc;
}

static int repair_to(struct disk *target, uint64_t *losses)
{
    struct io *from = disk_io(f.disk), *to = disk_io(target);
    struct repair_options options = {.io = from, .target = to, .clock = clock_system()};
    struct repair_report report;
    int rc = db_repair(&options, &report);
    *losses = report.losses;
    io_delete(from);
    io_delete(to);
    return rc;
}

static void a_backup_without_memory_is_none(void **state)
{
    (void)state;
    unsigned failed = 0;
    bool reached = true;
    for (uint64_t n = 1; reached; n++) {
        struct disk *target = disk_new(n);
        alloc_fail_nth(n);
        int rc = back_up(target);
        reached = alloc_fail_end();
        struct io *io = disk_io(target);
        struct backup found;
        backup_create(&found);
        assert_true(rc == 0 || backup_load(io, &found) == ERROR_NOT_FOUND);
        backup_destroy(&found);
        io_delete(io);
        disk_delete(target);
        failed += rc != 0;
    }
    assert_true(failed > 10);
    must(back_up(backup_disk));
    db_fixture_stop(&f);
    struct disk *target = disk_new(1);
    must(restore_to(target));
    assert_whole(target);
    disk_delete(target);
}

static void a_restore_without_memory_says_so(void **state)
{
    (void)state;
    must(back_up(backup_disk));
    db_fixture_stop(&f);
    unsigned failed = 0;
    bool reached = true;
    for (uint64_t n = 1; reached; n += 1 + n / 40) {
        struct disk *target = disk_new(n);
        alloc_fail_nth(n);
        int rc = restore_to(target);
        reached = alloc_fail_end();
        if (rc == 0)
            assert_whole(target);
        failed += rc != 0;
        disk_delete(target);
    }
    assert_true(failed > 10);
}

static void a_check_without_memory_calls_nothing_damaged(void **state)
{
    (void)state;
    db_fixture_stop(&f);
    unsigned failed = 0;
    bool reached = true, whole;
    for (uint64_t n = 1; reached; n += 1 + n / 40) {
        alloc_fail_nth(n);
        int rc = check(&whole);
        reached = alloc_fail_end();
        assert_true(rc != 0 || whole);
        failed += rc != 0;
    }
    assert_true(failed > 10);
}

static void a_repair_without_memory_calls_nothing_lost(void **state)
{
    (void)state;
    db_fixture_stop(&f);
    unsigned failed = 0;
    bool reached = true;
    uint64_t losses;
    for (uint64_t n = 1; reached; n += 1 + n / 40) {
        struct disk *target = disk_new(n);
        alloc_fail_nth(n);
        int rc = repair_to(target, &losses);
        reached = alloc_fail_end();
        if (rc == 0) {
            assert_int_equal(losses, 0);
            assert_whole(target);
        }
        failed += rc != 0;
        disk_delete(target);
    }
    assert_true(failed > 10);
}

static void a_disk_that_fails_while_it_is_checked_is_told(void **state)
{
    (void)state;
    db_fixture_stop(&f);
    bool whole = false;
    for (uint64_t n = 1, passed = 0; passed < 3; n++) {
        uint64_t calls = disk_calls(f.disk);
        disk_fail_nth(f.disk, n, EIO_NUMBER);
        int rc = check(&whole);
        disk_fail_nth(f.disk, 0, 0);
        bool failed = disk_calls(f.disk) - calls >= n;
        passed += !failed;
        assert_true(failed || (rc == 0 && whole));
    }
}

static void a_disk_that_fails_while_it_is_repaired_costs_what_is_told(void **state)
{
    (void)state;
    db_fixture_stop(&f);
    uint64_t losses;
    for (uint64_t n = 1, passed = 0; passed < 3; n++) {
        struct disk *target = disk_new(n);
        uint64_t calls = disk_calls(f.disk);
        disk_fail_nth(f.disk, n, EIO_NUMBER);
        int rc = repair_to(target, &losses);
        disk_fail_nth(f.disk, 0, 0);
        passed += disk_calls(f.disk) - calls < n;
        if (rc == 0 && losses == 0)
            assert_whole(target);
        disk_delete(target);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_backup_without_memory_is_none),
        TEST(a_restore_without_memory_says_so),
        TEST(a_check_without_memory_calls_nothing_damaged),
        TEST(a_repair_without_memory_calls_nothing_lost),
        TEST(a_disk_that_fails_while_it_is_checked_is_told),
        TEST(a_disk_that_fails_while_it_is_repaired_costs_what_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
