/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Backing up and restoring, over test disks: what comes back is what was there at that moment, of a
 * full backup, of a chain, and with the archive at any timestamp or time; damage anywhere is found
 * before anything is written; what fails or is cut in the middle never passes for a backup.
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
#include "db/backup.h"
#include "db/checkpoint_private.h"
#include "db/db_fixture.h"
#include "db/restore.h"
#include "io/io_readonly.h"
#include "storage/engines.h"
#include "wal/wal_tools.h"

enum { EIO_NUMBER = 5, ROWS = 60, DISKS = 12, SEGMENT_BYTES = 32 << 10, MOMENTS = 12, LIVES = 20 };

static struct db_fixture f;
static struct clock_manual clock_of_test;
static struct random rng;

/* Directories, each a disk of its own, made as they are asked for. */
static struct disk *disks[DISKS];
static struct io *ios[DISKS];

static struct io *dir(unsigned number)
{
    if (disks[number] == NULL) {
        disks[number] = disk_new(number + 1);
        ios[number] = disk_io(disks[number]);
    }
    return ios[number];
}

/* Empties it. */
static struct io *dir_new(unsigned number)
{
    if (disks[number] != NULL) {
        io_delete(ios[number]);
        disk_delete(disks[number]);
        disks[number] = NULL;
    }
    return dir(number);
}

enum { ARCHIVE, TARGET, FULL, SECOND, THIRD };

static int setup(void **state)
{
    log_level_set(LOG_ERROR);
    random_create(&rng, test_seed());
    memset(&f, 0, sizeof f);
    f.engine = *state;
    clock_manual_create(&clock_of_test, UINT64_C(1700000000000));
    f.disk = disk_new(99);
    f.clock = &clock_of_test.base;
    f.log_segment_bytes = SEGMENT_BYTES;
    f.log_archive = dir_new(ARCHIVE);
    assert_int_equal(db_fixture_start(&f, false), 0);
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    assert_int_equal(
        make_index(&f, "s", "value", "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}"), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    for (unsigned i = 0; i < DISKS; i++)
        if (disks[i] != NULL) {
            io_delete(ios[i]);
            disk_delete(disks[i]);
            disks[i] = NULL;
        }
    return 0;
}

static void put(unsigned id, unsigned value)
{
    char tuple[1200];
    snprintf(tuple, sizeof tuple, "[%u, %u, \"%*u\"]", id, value, 600, value);
    must(replace(&f, NULL, "s", tuple));
}

static void change(unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        unsigned id = (unsigned)random_below(&rng, ROWS);
        if (random_below(&rng, 5) == 0) {
            char key[32];
            snprintf(key, sizeof key, "[%u]", id);
            must(delete_by(&f, NULL, "s", "pk", key));
        } else {
            put(id, (unsigned)random_below(&rng, 1000000));
        }
        clock_manual_advance_ms(&clock_of_test, 1 + random_below(&rng, 20));
    }
    must(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))));
}

/* Everything that the space has, as text that the caller frees. */
static char *picture(struct db_fixture *of)
{
    char *text = strdup(select_by(of, NULL, "s", "pk", ITERATOR_ALL, NULL)), *to = text;
    assert_non_null(text);
    for (const char *from = text; *from != '\0'; from++)
        if (*from != ' ') /* what makes the rows long */
            *to++ = *from;
    *to = '\0';
    return text;
}

static struct backup_result back_up_to(unsigned target, struct io *base)
{
    struct backup_result result;
    struct backup_options options = {
        .target = dir_new(target), .base = base, .base_folder = "/base"};
    must(db_backup(f.db, &options, &result));
    return result;
}

static struct restore_report report;

static int restore_to(const unsigned *chain, unsigned count, bool archive, uint64_t ts,
                      uint64_t time_ns)
{
    /* What is finished is in the archive: one that grows while it is listed may seem to have a gap. */
    wal_release_wait(db_wal(f.db));
    struct restore_folder folders[DISKS];
    char names[DISKS][16];
    for (unsigned i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "dir%u", chain[i]);
        folders[i] = (struct restore_folder){dir(chain[i]), names[i]};
    }
    struct restore_options options = {.chain = folders,
                                      .chain_count = count,
                                      .target = dir_new(TARGET),
                                      .archive = archive ? dir(ARCHIVE) : NULL,
                                      .log = archive ? f.io : NULL,
                                      .to_ts = ts,
                                      .to_time_ns = time_ns,
                                      .clock = &clock_of_test.base};
    return db_restore(&options, &report);
}

static int any_file(const char *name, uint64_t size, void *arg)
{
    (void)name, (void)size, (void)arg;
    return ERROR_EXISTS;
}

static void assert_target_empty(void)
{
    assert_int_equal(io_list(dir(TARGET), any_file, NULL), 0);
}

/* Opens what was restored and compares; writes to it as well. */
static void assert_restored(const char *expected)
{
    struct db_fixture restored = {.disk = disks[TARGET], .clock = &clock_of_test.base};
    must(db_fixture_start(&restored, false));
    char *found = picture(&restored);
    bool above = wal_clock(db_wal(restored.db)) >= report.ts;
    int rc = replace(&restored, NULL, "s", "[5000, 1, \"new\"]");
    db_fixture_reopen(&restored);
    bool kept = get_by(&restored, NULL, "s", "pk", "[5000]") != NULL;
    db_fixture_stop(&restored); /* before anything ends the test */
    assert_string_equal(found, expected);
    free(found);
    assert_true(above);
    must(rc);
    assert_true(kept);
}

/* ---------------------------------------------------------------------------------------- backups */

static void a_full_backup_has_what_was_there_and_nothing_of_what_came_later(void **state)
{
    (void)state;
    change(200);
    char *then = picture(&f);
    struct backup_result result = back_up_to(FULL, NULL);
    assert_int_equal(result.files, result.stored_files);
    assert_true(result.stored_bytes > 0);
    change(100);
    must(restore_to((unsigned[]){FULL}, 1, false, 0, 0));
    assert_int_equal(report.ts, result.k);
    assert_restored(then);
    free(then);
}

static void a_database_without_a_row_can_be_backed_up(void **state)
{
    (void)state;
    must(drop_space(&f, "s"));
    back_up_to(FULL, NULL);
    must(restore_to((unsigned[]){FULL}, 1, false, 0, 0));
    struct db_fixture restored = {.disk = disks[TARGET]};
    must(db_fixture_start(&restored, false));
    assert_null(space_of(&restored, NULL, "s"));
    db_fixture_stop(&restored);
}

static void a_database_in_which_nothing_was_ever_written_can_be_backed_up(void **state)
{
    (void)state;
    struct db_fixture empty = {.disk = disk_new(55), .clock = &clock_of_test.base};
    must(db_fixture_start(&empty, false));
    struct backup_result result;
    struct backup_options options = {.target = dir_new(FULL)};
    int rc = db_backup(empty.db, &options, &result);
    db_fixture_stop(&empty);
    disk_delete(empty.disk);
    must(rc);
    must(restore_to((unsigned[]){FULL}, 1, false, 0, 0));
    struct db_fixture restored = {.disk = disks[TARGET]};
    must(db_fixture_start(&restored, false));
    db_fixture_stop(&restored);
}

static void an_incremental_backup_stores_only_what_its_chain_has_not(void **state)
{
    (void)state;
    for (unsigned id = 0; id < 2000; id++)
        put(id, id);
    struct backup_result full = back_up_to(FULL, NULL);
    change(10);
    struct backup_result second = back_up_to(SECOND, dir(FULL));
    /* A file that is written again where nobody reads is another file as a whole; nothing else is. */
    if (engines_changes_files(f.engine))
        assert_true(second.stored_files < full.stored_files);
    else
        assert_true(second.stored_bytes < full.stored_bytes / 10);
    assert_true(second.bytes >= full.bytes);
    change(10);
    char *then = picture(&f);
    struct backup_result third = back_up_to(THIRD, dir(SECOND));
    assert_true(third.stored_files < third.files);
    change(10);

    assert_int_equal(restore_to((unsigned[]){THIRD, SECOND}, 2, false, 0, 0), ERROR_NOT_FOUND);
    assert_non_null(strstr(diag_message(), full.id));
    assert_non_null(strstr(diag_message(), "--base"));
    assert_target_empty();
    must(restore_to((unsigned[]){THIRD, FULL, SECOND}, 3, false, 0, 0));
    assert_restored(then);
    free(then);
}

static void files_that_a_merge_replaces_meanwhile_stay_until_they_are_stored(void **state)
{
    (void)state;
    /* Many checkpoints make many runs to merge, and each backup holds those of its moment. */
    for (unsigned round = 0; round < 12; round++) {
        change(20);
        char *then = picture(&f);
        back_up_to(FULL, NULL);
        must(restore_to((unsigned[]){FULL}, 1, false, 0, 0));
        assert_restored(then);
        free(then);
    }
}

static unsigned files_in_data_max;

static int run_count(const char *name, uint64_t size, void *arg)
{
    (void)size;
    *(unsigned *)arg += strstr(name, ".run") != NULL || strstr(name, ".btree") != NULL;
    return 0;
}

/* Between the files of a backup: checkpoints, and merges that replace what it has still to store. */
static void merge_meanwhile(void *arg, const char *what, uint64_t done, uint64_t total)
{
    unsigned count = 0;
    (void)arg, (void)what, (void)done, (void)total;
    for (unsigned i = 0; i < 6; i++) {
        change(30);
        must(db_checkpoint(f.db));
    }
    db__checkpoint_wait_idle(f.db);
    must(io_list(f.io, run_count, &count));
    files_in_data_max = count > files_in_data_max ? count : files_in_data_max;
}

static void what_a_merge_replaces_goes_only_after_the_backup(void **state)
{
    (void)state;
    change(200);
    must(db_checkpoint(f.db));
    change(30);
    char *then = picture(&f);
    struct backup_result result;
    struct backup_options options = {.target = dir_new(FULL), .progress = {merge_meanwhile, NULL}};
    must(db_backup(f.db, &options, &result));
    db__checkpoint_wait_idle(f.db);
    db__checkpoint_wait_idle(f.db);
    unsigned left = 0;
    struct db_checkpoint_stats stats;
    must(io_list(f.io, run_count, &left));
    db_checkpoint_stats_get(f.db, &stats);
    /* An engine with one file writes it anew around what the backup reads. */
    if (!engines_changes_files(f.engine)) {
        assert_true(stats.merges > 0);
        assert_true(left < files_in_data_max);
    }
    assert_int_equal(left, stats.files);
    must(restore_to((unsigned[]){FULL}, 1, false, 0, 0));
    assert_restored(then);
    free(then);
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    change(10);
    back_up_to(FULL, NULL);
    struct backup_result result;
    struct backup_options options = {.target = dir(FULL)};
    assert_int_equal(db_backup(f.db, &options, &result), ERROR_EXISTS);
    must(restore_to((unsigned[]){FULL}, 1, false, 0, 0));
    struct restore_folder folder = {dir(FULL), "full"};
    struct restore_options again = {
        .chain = &folder, .chain_count = 1, .target = dir(TARGET), .clock = &clock_of_test.base};
    assert_int_equal(db_restore(&again, &report), ERROR_EXISTS);
}

/* ------------------------------------------------------------------------- under a load of writes */

enum { ACCOUNTS = 20, BALANCE = 1000 };

static _Atomic bool stop;

static unsigned balance(struct txn *txn, unsigned account)
{
    char key[32];
    unsigned id, value = 0;
    snprintf(key, sizeof key, "[%u]", account);
    const char *tuple = get_by(&f, txn, "s", "pk", key);
    assert_non_null(tuple);
    assert_int_equal(sscanf(tuple, "[%u,%u", &id, &value), 2);
    return value;
}

/* Moves money from one account to another, one transaction each. */
static void *mover_main(void *arg)
{
    struct random own;
    random_create(&own, *(uint64_t *)arg);
    while (!atomic_load(&stop)) {
        unsigned from = (unsigned)random_below(&own, ACCOUNTS), to = (from + 1) % ACCOUNTS;
        char tuple[64];
        struct txn *txn = begin(&f, 1, TXN_SERIALIZABLE);
        unsigned a = balance(txn, from), b = balance(txn, to);
        if (a > 0) {
            snprintf(tuple, sizeof tuple, "[%u, %u]", from, a - 1);
            must(replace(&f, txn, "s", tuple));
            snprintf(tuple, sizeof tuple, "[%u, %u]", to, b + 1);
            must(replace(&f, txn, "s", tuple));
        }
        must(txn_commit(txn));
    }
    return NULL;
}

static void a_backup_under_writes_is_one_consistent_state(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ACCOUNTS; i++)
        put(i, BALANCE);
    uint64_t seed = random_next(&rng);
    pthread_t mover;
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&mover, NULL, mover_main, &seed), 0);
    for (unsigned round = 0; round < 6; round++) {
        back_up_to(round % 2 == 0 ? FULL : SECOND, round % 2 == 0 ? NULL : dir(FULL));
        must(restore_to((unsigned[]){round % 2 == 0 ? FULL : SECOND, FULL}, 2, false, 0, 0));
        struct db_fixture live = f, restored = {.disk = disks[TARGET]};
        must(db_fixture_start(&restored, false));
        unsigned sum = 0, id, value;
        for (unsigned i = 0; i < ACCOUNTS; i++) {
            char key[32];
            snprintf(key, sizeof key, "[%u]", i);
            const char *tuple = get_by(&restored, NULL, "s", "pk", key);
            assert_non_null(tuple);
            assert_int_equal(sscanf(tuple, "[%u,%u", &id, &value), 2);
            sum += value;
        }
        assert_int_equal(sum, ACCOUNTS * BALANCE);
        db_fixture_stop(&restored);
        (void)live;
    }
    atomic_store(&stop, true);
    pthread_join(mover, NULL);
}

/* --------------------------------------------------------------------------------- point in time */

struct moment {
    uint64_t ts, time_ns;
    char *picture;
};

static struct moment moments[MOMENTS];

/* Changes that go over several segments and starts, with the state noted now and then. */
static void history_make(void)
{
    for (unsigned i = 0; i < MOMENTS; i++) {
        change(30);
        moments[i] = (struct moment){.ts = wal_durable_ts(db_wal(f.db)),
                                     .time_ns = clock_realtime_ms(f.clock) * UINT64_C(1000000),
                                     .picture = picture(&f)};
        clock_manual_advance_ms(&clock_of_test, 50);
        if (i % 4 == 3)
            db_fixture_reopen(&f);
        if (i % 5 == 4)
            must(db_checkpoint(f.db));
    }
    wal_release_wait(db_wal(f.db));
}

static void history_free(void)
{
    for (unsigned i = 0; i < MOMENTS; i++)
        free(moments[i].picture);
}

static void every_recorded_timestamp_can_be_gone_back_to(void **state)
{
    (void)state;
    change(50);
    back_up_to(FULL, NULL);
    clock_manual_advance_ms(&clock_of_test, 50);
    history_make();
    for (unsigned i = 0; i < MOMENTS; i++) {
        must(restore_to((unsigned[]){FULL}, 1, true, moments[i].ts, 0));
        assert_int_equal(report.ts, moments[i].ts);
        assert_restored(moments[i].picture);
    }
    history_free();
}

/* Blocks have many commits here: a timestamp in the middle of one is as good as any. */
static void a_timestamp_is_exact_to_the_commit(void **state)
{
    (void)state;
    enum { COMMITS = 120, TRIED = 10 };
    static struct moment all[COMMITS];
    change(20);
    back_up_to(FULL, NULL);
    for (unsigned i = 0; i < COMMITS; i++) {
        put((unsigned)random_below(&rng, ROWS), i);
        all[i].ts = wal_clock(db_wal(f.db));
        all[i].picture = picture(&f);
    }
    must(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))));
    for (unsigned i = 0; i < TRIED; i++) {
        const struct moment *moment = &all[random_below(&rng, COMMITS)];
        must(restore_to((unsigned[]){FULL}, 1, true, moment->ts, 0));
        assert_restored(moment->picture);
    }
    for (unsigned i = 0; i < COMMITS; i++)
        free(all[i].picture);
}

static void every_recorded_time_can_be_gone_back_to(void **state)
{
    (void)state;
    change(50);
    back_up_to(FULL, NULL);
    clock_manual_advance_ms(&clock_of_test, 50);
    history_make();
    for (unsigned i = 0; i < MOMENTS; i++) {
        must(restore_to((unsigned[]){FULL}, 1, true, 0, moments[i].time_ns));
        assert_restored(moments[i].picture);
        assert_false(report.short_of_time && i + 1 < MOMENTS);
    }
    must(restore_to((unsigned[]){FULL}, 1, true, 0, moments[MOMENTS - 1].time_ns + 1000000000));
    assert_true(report.short_of_time);
    assert_restored(moments[MOMENTS - 1].picture);
    must(restore_to((unsigned[]){FULL}, 1, true, 0, 0));
    assert_restored(moments[MOMENTS - 1].picture);
    history_free();
}

static void an_incremental_backup_and_the_archive_reach_what_came_after_it(void **state)
{
    (void)state;
    change(50);
    back_up_to(FULL, NULL);
    change(50);
    uint64_t before = wal_durable_ts(db_wal(f.db));
    change(5);
    back_up_to(SECOND, dir(FULL));
    history_make();
    for (unsigned i = 0; i < MOMENTS; i += 3) {
        must(restore_to((unsigned[]){SECOND, FULL}, 2, true, moments[i].ts, 0));
        assert_restored(moments[i].picture);
    }
    assert_int_equal(restore_to((unsigned[]){SECOND, FULL}, 2, true, before, 0), ERROR_INVALID);
    assert_non_null(strstr(diag_message(), "older backup"));
    assert_target_empty();
    history_free();
}

static void what_lies_behind_the_log_is_refused(void **state)
{
    (void)state;
    back_up_to(FULL, NULL);
    history_make();
    uint64_t last = wal_clock(db_wal(f.db));
    assert_int_equal(restore_to((unsigned[]){FULL}, 1, true, last + 100, 0), ERROR_INVALID);
    assert_int_equal(restore_to((unsigned[]){FULL}, 1, false, last, 0), ERROR_INVALID);
    assert_target_empty();
    history_free();
}

static uint64_t found_segment, found_ts;

static int find_block(const struct wal_block_info *block, void *arg)
{
    (void)arg;
    if (block->previous_c < found_ts)
        found_segment = block->segment;
    return 0;
}

/* The segment of the archive that has the block with a timestamp. */
static uint64_t segment_of(uint64_t ts)
{
    struct wal_read_options reading = {
        .io = dir(ARCHIVE), .first_segment = WAL_FIRST_FOUND, .each_block = find_block};
    struct wal_replay_stats stats;
    found_ts = ts;
    found_segment = 0;
    must(wal_read(&reading, &stats));
    assert_true(found_segment != 0 && stats.last_ts >= ts);
    return found_segment;
}

static void a_missing_segment_is_named_and_what_lies_before_it_is_reached(void **state)
{
    (void)state;
    char name[WAL_FILE_NAME_BYTES], number[32];
    back_up_to(FULL, NULL);
    history_make();
    uint64_t missing = segment_of(moments[MOMENTS / 2].ts);
    wal_file_name(missing, name);
    assert_true(disk_vanish(disks[ARCHIVE], name));
    snprintf(number, sizeof number, " %llu ", (unsigned long long)missing);
    assert_int_equal(restore_to((unsigned[]){FULL}, 1, true, 0, 0), ERROR_INVALID);
    assert_non_null(strstr(diag_message(), number));
    assert_int_equal(restore_to((unsigned[]){FULL}, 1, true, moments[MOMENTS - 1].ts, 0),
                     ERROR_INVALID);
    assert_non_null(strstr(diag_message(), number));
    assert_target_empty();
    unsigned reached = 0;
    while (restore_to((unsigned[]){FULL}, 1, true, moments[reached].ts, 0) == 0)
        assert_restored(moments[reached++].picture);
    assert_in_range(reached, 1, MOMENTS / 2);
    history_free();
}

static void a_restored_database_does_not_get_into_the_archive_it_came_from(void **state)
{
    (void)state;
    change(20);
    back_up_to(FULL, NULL);
    history_make();
    must(restore_to((unsigned[]){FULL}, 1, true, moments[MOMENTS / 2].ts, 0));
    struct db_fixture restored = {.disk = disks[TARGET],
                                  .clock = &clock_of_test.base,
                                  .log_archive = dir(ARCHIVE),
                                  .log_segment_bytes = SEGMENT_BYTES};
    char failure[256];
    struct wal_stats stats;
    must(db_fixture_start(&restored, false));
    for (unsigned i = 0; i < 200; i++) {
        char tuple[700];
        snprintf(tuple, sizeof tuple, "[%u, 1, \"%*u\"]", i, 600, i);
        must(replace(&restored, NULL, "s", tuple));
    }
    int rc = db_checkpoint(restored.db);
    wal_release_wait(db_wal(restored.db));
    wal_stats_get(db_wal(restored.db), &stats);
    wal_archive_failure(db_wal(restored.db), failure, sizeof failure);
    db_fixture_stop(&restored);
    must(rc);
    assert_int_equal(stats.archived, 0);
    assert_true(stats.archive_failures > 0);
    assert_non_null(strstr(failure, "of another log"));
    /* Of the old history everything is there still. */
    must(restore_to((unsigned[]){FULL}, 1, true, 0, 0));
    assert_restored(moments[MOMENTS - 1].picture);
    history_free();
}

struct late_segment {
    uint64_t number;
    unsigned asked;
};

/* Whether a name is in the archive: that of one segment, not when it is asked for first. */
static bool is_there_later(const char *name, void *arg)
{
    struct late_segment *late = arg;
    uint64_t number;
    return !wal_file_number(name, &number) || number != late->number || late->asked++ > 0;
}

static void a_segment_that_comes_while_the_archive_is_listed_is_no_gap(void **state)
{
    (void)state;
    back_up_to(FULL, NULL);
    history_make();
    wal_release_wait(db_wal(f.db));
    struct late_segment late = {.number = segment_of(moments[MOMENTS / 2].ts)};
    struct io *archive = dir(ARCHIVE);
    struct restore_folder folder = {dir(FULL), "full"};
    struct restore_options options = {.chain = &folder,
                                      .chain_count = 1,
                                      .target = dir_new(TARGET),
                                      .to_ts = moments[MOMENTS / 2].ts,
                                      .clock = &clock_of_test.base};
    must(io_readonly_new(&archive, 1, is_there_later, &late, &options.archive));
    int rc = db_restore(&options, &report);
    io_delete(options.archive);
    must(rc);
    assert_true(late.asked > 1);
    assert_restored(moments[MOMENTS / 2].picture);
    history_free();
}

static uint64_t told_segment, skipped_segments;

static int tell_segment(const struct wal_segment_info *segment, void *arg)
{
    (void)arg;
    skipped_segments += told_segment != 0 && segment->number > told_segment + 1;
    told_segment = segment->number;
    return 0;
}

/* Segments of the archive that come behind a number that is not there. */
static uint64_t segments_skipped(void)
{
    struct wal_read_options reading = {
        .io = dir(ARCHIVE), .first_segment = WAL_FIRST_FOUND, .each_segment = tell_segment};
    struct wal_replay_stats stats;
    told_segment = skipped_segments = 0;
    must(wal_read(&reading, &stats));
    return skipped_segments;
}

/* A segment that was prepared and not used leaves a number out. */
static void numbers_that_a_killed_server_left_unused_are_no_gap(void **state)
{
    (void)state;
    back_up_to(FULL, NULL);
    uint64_t middle = 0;
    char *then = NULL;
    for (unsigned life = 0; life < LIVES; life++) {
        change(15);
        if (life == LIVES / 2) {
            middle = wal_durable_ts(db_wal(f.db));
            then = picture(&f);
        }
        disk_cut(f.disk, random_next(&rng));
        db_fixture_reopen(&f);
        wal_release_wait(db_wal(f.db));
    }
    assert_true(segments_skipped() > 0);
    char *now = picture(&f);
    must(restore_to((unsigned[]){FULL}, 1, true, 0, 0));
    assert_restored(now);
    must(restore_to((unsigned[]){FULL}, 1, true, middle, 0));
    assert_restored(then);
    free(now);
    free(then);
}

static void the_archive_of_another_database_is_told_apart(void **state)
{
    (void)state;
    change(20);
    back_up_to(FULL, NULL);
    db_fixture_stop(&f);
    disk_delete(f.disk);
    f.disk = disk_new(98);
    f.log_archive = dir_new(ARCHIVE);
    must(db_fixture_start(&f, false));
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    change(200);
    wal_release_wait(db_wal(f.db));
    assert_int_equal(restore_to((unsigned[]){FULL}, 1, true, 0, 0), ERROR_INVALID);
    assert_non_null(strstr(diag_message(), "another database"));
    assert_target_empty();
}

/* ----------------------------------------------------------------------------------------- damage */

struct names {
    char names[64][ENGINE_FILE_NAME_MAX + 1];
    unsigned count;
};

static int name_note(const char *name, uint64_t size, void *arg)
{
    struct names *names = arg;
    (void)size;
    assert_true(names->count < 64 && strlen(name) <= ENGINE_FILE_NAME_MAX);
    strcpy(names->names[names->count++], name);
    return 0;
}

static void damage_in_any_file_is_found_before_anything_is_written(void **state)
{
    (void)state;
    change(300);
    back_up_to(FULL, NULL);
    change(30);
    back_up_to(SECOND, dir(FULL));
    unsigned tried = 0;
    for (unsigned in = FULL; in <= SECOND; in++) {
        struct names names = {.count = 0};
        must(io_list(dir(in), name_note, &names));
        for (unsigned i = 0; i < names.count; i++) {
            bool unused = in == FULL && (strcmp(names.names[i], "manifest") == 0 ||
                                         strstr(names.names[i], ".btree") != NULL);
            for (unsigned round = 0; round < 12 && !unused; round++, tried++) {
                uint64_t offset, seed = random_next(&rng);
                assert_true(disk_flip_random(disks[in], names.names[i], seed, &offset));
                int rc = restore_to((unsigned[]){SECOND, FULL}, 2, false, 0, 0);
                if (rc == 0)
                    fail_msg("%s, offset %llu: damage was not found", names.names[i],
                             (unsigned long long)offset);
                assert_non_null(strstr(diag_message(), names.names[i]));
                assert_target_empty();
                disk_flip_random(disks[in], names.names[i], seed, &offset); /* as it was */
            }
        }
    }
    assert_true(tried > 30);
    must(restore_to((unsigned[]){SECOND, FULL}, 2, false, 0, 0));
}

static void a_file_that_is_missing_or_cut_is_found(void **state)
{
    (void)state;
    change(100);
    back_up_to(FULL, NULL);
    struct names names = {.count = 0};
    must(io_list(dir(FULL), name_note, &names));
    for (unsigned i = 0; i < names.count; i++) {
        struct io_file *file;
        back_up_to(FULL, NULL);
        must(io_open(dir(FULL), names.names[i], IO_WRITE, &file));
        must(io_truncate(file, (uint64_t)io_size(file) - 1));
        io_close(file);
        assert_int_equal(restore_to((unsigned[]){FULL}, 1, false, 0, 0), ERROR_CORRUPT);
        assert_target_empty();
        back_up_to(FULL, NULL);
        assert_true(disk_vanish(disks[FULL], names.names[i]));
        assert_int_not_equal(restore_to((unsigned[]){FULL}, 1, false, 0, 0), 0);
        assert_non_null(strstr(diag_message(), names.names[i]));
        assert_target_empty();
    }
}

static void damage_in_the_archive_is_found_before_anything_is_written(void **state)
{
    (void)state;
    back_up_to(FULL, NULL);
    history_make();
    char name[WAL_FILE_NAME_BYTES];
    wal_file_name(segment_of(moments[MOMENTS / 2].ts), name);
    /* The salt of its incarnation is in the header, under a checksum. */
    assert_true(disk_flip(disks[ARCHIVE], name, 33, 3));
    assert_int_equal(restore_to((unsigned[]){FULL}, 1, true, 0, 0), ERROR_CORRUPT);
    if (strstr(diag_message(), name) == NULL)
        fail_msg("%s is not named: %s", name, diag_message());
    assert_target_empty();
    history_free();
}

/* ------------------------------------------------------------------------------ failures and cuts */

static void a_backup_that_fails_at_any_call_is_none_and_harms_nothing(void **state)
{
    (void)state;
    change(60);
    char *then = picture(&f);
    unsigned failures = 0;
    for (uint64_t n = 1;; n++) {
        struct backup_result result;
        struct backup_options options = {.target = dir_new(FULL)};
        disk_fail_nth(disks[FULL], n, EIO_NUMBER);
        int rc = db_backup(f.db, &options, &result);
        disk_fail_nth(disks[FULL], 0, 0);
        if (rc == 0)
            break;
        failures++;
        assert_int_not_equal(restore_to((unsigned[]){FULL}, 1, false, 0, 0), 0);
        char *now = picture(&f);
        assert_string_equal(now, then);
        free(now);
    }
    assert_true(failures > 10);
    must(restore_to((unsigned[]){FULL}, 1, false, 0, 0));
    assert_restored(then);
    free(then);
}

static void a_backup_cut_at_any_call_is_whole_or_refused(void **state)
{
    (void)state;
    change(60);
    char *then = picture(&f);
    unsigned refused = 0;
    for (uint64_t n = 1;; n++) {
        struct backup_result result;
        struct backup_options options = {.target = dir_new(FULL)};
        disk_cut_after(disks[FULL], n);
        int rc = db_backup(f.db, &options, &result);
        disk_cut(disks[FULL], random_next(&rng));
        io_delete(ios[FULL]);
        ios[FULL] = disk_io(disks[FULL]);
        int restored = restore_to((unsigned[]){FULL}, 1, false, 0, 0);
        if (restored == 0)
            assert_restored(then);
        else
            assert_int_not_equal(rc, 0);
        refused += restored != 0;
        if (rc == 0)
            break;
    }
    assert_true(refused > 10);
    free(then);
}

static void a_restore_that_fails_at_any_call_says_so(void **state)
{
    (void)state;
    change(60);
    back_up_to(FULL, NULL);
    change(60);
    char *then = picture(&f);
    wal_release_wait(db_wal(f.db));
    struct restore_folder folder = {dir(FULL), "full"};
    for (uint64_t n = 1;; n += 1 + n / 20) {
        struct restore_options options = {.chain = &folder,
                                          .chain_count = 1,
                                          .target = dir_new(TARGET),
                                          .archive = dir(ARCHIVE),
                                          .log = f.io,
                                          .clock = &clock_of_test.base};
        disk_fail_nth(disks[TARGET], n, EIO_NUMBER);
        int rc = db_restore(&options, &report);
        disk_fail_nth(disks[TARGET], 0, 0);
        if (rc == 0)
            assert_restored(then);
        if (rc == 0 && n > 200)
            break;
    }
    free(then);
}

/* --------------------------------------------------------------------------------- the description
 */

static void the_description_of_a_backup_survives_being_written_and_read(void **state)
{
    (void)state;
    struct backup backup, again;
    char *data;
    size_t size;
    backup_create(&backup);
    backup_create(&again);
    snprintf(backup.id, sizeof backup.id, "%032x", 17);
    snprintf(backup.base_id, sizeof backup.base_id, "%032x", 16);
    snprintf(backup.base_folder, sizeof backup.base_folder, "/a \"folder\" \\ of \xc3\xa9");
    backup.k = 12345;
    backup.time_ms = UINT64_C(1700000000123);
    backup.first_segment = 7;
    backup.segment_checksum = 0xfedcba98;
    backup.manifest = (struct backup_entry){.name = "manifest", .bytes = 100, .checksum = 1};
    strcpy(backup.manifest.in, backup.id);
    for (unsigned i = 0; i < 40; i++) {
        struct backup_entry entry = {.bytes = i, .checksum = i * 0x10101010};
        snprintf(entry.name, sizeof entry.name, "512-1-%u.run", i);
        strcpy(entry.in, i % 2 == 0 ? backup.id : backup.base_id);
        must(backup_add(&backup, &entry));
    }
    must(backup_encode(&backup, &data, &size));
    must(backup_decode(&again, data, size));
    assert_string_equal(again.id, backup.id);
    assert_string_equal(again.base_folder, backup.base_folder);
    assert_int_equal(again.k, backup.k);
    assert_int_equal(again.segment_checksum, backup.segment_checksum);
    assert_int_equal(again.count, 40);
    assert_string_equal(again.entries[39].name, backup.entries[39].name);
    assert_string_equal(again.entries[39].in, backup.entries[39].in);
    assert_int_equal(again.entries[39].bytes, backup.entries[39].bytes);
    assert_int_equal(again.entries[39].checksum, backup.entries[39].checksum);
    backup_destroy(&again);
    for (size_t at = 0; at < size; at++) { /* no byte can be another one */
        data[at] ^= 1 << (at % 7);
        assert_int_not_equal(backup_decode(&again, data, size), 0);
        data[at] ^= 1 << (at % 7);
    }
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(backup_decode(&again, data, cut), ERROR_CORRUPT);
    free(data);
    backup_destroy(&backup);
}

static void the_description_of_a_newer_format_is_refused_in_words(void **state)
{
    (void)state;
    static const char newer[] = "{\"format\": \"perigee-backup\", \"version\": 2, \"x\": []}\n";
    struct backup backup;
    backup_create(&backup);
    assert_int_equal(backup_decode(&backup, newer, sizeof newer - 1), ERROR_VERSION);
    assert_non_null(strstr(diag_message(), "newer perigee"));
}

static void a_name_that_leads_out_of_its_folder_is_refused(void **state)
{
    (void)state;
    struct backup backup, again;
    char *data;
    size_t size;
    backup_create(&backup);
    backup_create(&again);
    snprintf(backup.id, sizeof backup.id, "%032x", 17);
    strcpy(backup.manifest.name, "../manifest");
    strcpy(backup.manifest.in, backup.id);
    must(backup_encode(&backup, &data, &size));
    assert_int_equal(backup_decode(&again, data, size), ERROR_CORRUPT);
    free(data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_full_backup_has_what_was_there_and_nothing_of_what_came_later),
        TEST(a_database_without_a_row_can_be_backed_up),
        TEST(a_database_in_which_nothing_was_ever_written_can_be_backed_up),
        TEST(an_incremental_backup_stores_only_what_its_chain_has_not),
        TEST(files_that_a_merge_replaces_meanwhile_stay_until_they_are_stored),
        TEST(what_a_merge_replaces_goes_only_after_the_backup),
        TEST(nothing_is_overwritten),
        TEST(a_backup_under_writes_is_one_consistent_state),
        TEST(every_recorded_timestamp_can_be_gone_back_to),
        TEST(a_timestamp_is_exact_to_the_commit),
        TEST(every_recorded_time_can_be_gone_back_to),
        TEST(an_incremental_backup_and_the_archive_reach_what_came_after_it),
        TEST(what_lies_behind_the_log_is_refused),
        TEST(a_missing_segment_is_named_and_what_lies_before_it_is_reached),
        TEST(a_segment_that_comes_while_the_archive_is_listed_is_no_gap),
        TEST(a_restored_database_does_not_get_into_the_archive_it_came_from),
        TEST(numbers_that_a_killed_server_left_unused_are_no_gap),
        TEST(the_archive_of_another_database_is_told_apart),
        TEST(damage_in_any_file_is_found_before_anything_is_written),
        TEST(a_file_that_is_missing_or_cut_is_found),
        TEST(damage_in_the_archive_is_found_before_anything_is_written),
        TEST(a_backup_that_fails_at_any_call_is_none_and_harms_nothing),
        TEST(a_backup_cut_at_any_call_is_whole_or_refused),
        TEST(a_restore_that_fails_at_any_call_says_so),
        cmocka_unit_test(the_description_of_a_backup_survives_being_written_and_read),
        cmocka_unit_test(the_description_of_a_newer_format_is_refused_in_words),
        cmocka_unit_test(a_name_that_leads_out_of_its_folder_is_refused),
    };
    return engines_run_all("backups", tests, sizeof tests / sizeof *tests);
}
