/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nth call of the disk fails, or the nth allocation; for each n, until a life goes by in which
 * none did. A life opens a database, makes spaces, commits transactions over two of them, truncates,
 * drops, makes checkpoints, and closes, with spaces of each engine: rows that have left memory are read from
 * files then, which may fail, and their files are merged beside it all. Whatever fails:
 *
 * - what is told is the error that belongs to the fault, and the statement has changed nothing;
 * - reads go on, and after an allocation that failed so do writes;
 * - opened again, with or without a power cut, the database has all that was acknowledged, nothing
 *   of what was refused, and nothing in part.
 *
 * Of engines whose rows leave memory one fault in five is tried, another one with each seed; all of them when
 * PERIGEE_STRESS_SECONDS is set.
 *
 * Leaks are for AddressSanitizer to find, under which also every object of the heap is an allocation
 * that can fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/alloc_fault.h"
#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "base/test_alloc.h"
#include "base/test_seed.h"
#include "db/checkpoint.h"
#include "db/db_fixture.h"
#include "storage/engines.h"

enum {
    KEYS = 5,
    STEPS = 16,
    LIVES_MAX = 20000,
    ROOMS = 40,
    ROOM_BYTES = 211, /* in all twice a page, in which runs are written */
    FILES_MAX = 64,
    FLIPS = 40,
    EVERY = 5
};

/* Of one key in both spaces: the value that was acknowledged, and those whose outcome is unknown. */
struct slot {
    unsigned value; /* 0: no row */
    unsigned unknown[STEPS];
    unsigned unknown_count;
};

struct life {
    struct db_fixture f;
    const char *engine; /* of its spaces */
    struct slot slots[KEYS];
    bool memory;    /* it is memory that fails, not the disk */
    bool damaged;   /* the disk has lost or changed what was on it */
    bool made;      /* the two spaces exist, by acknowledgement */
    bool failed;    /* some call has returned an error */
    uint64_t fault; /* its number */
    char first[256];
};

static const char *const names[2] = {"left", "right"};

/* ---------------------------------------------------------------- errors */

static bool error_is_clean(const struct life *life, int rc)
{
    if (rc == ERROR_LOG_FAILED || rc == ERROR_UNKNOWN_OUTCOME)
        return true;
    if (life->damaged && (rc == ERROR_CORRUPT || rc == ERROR_VERSION))
        return true;
    return life->memory ? rc == ERROR_MEMORY : rc == ERROR_IO;
}

/* Remembers that something failed, and that it did so with words that fit. */
static int told(struct life *life, const char *what, int rc)
{
    if (rc == 0)
        return 0;
    test_alloc_begin();
    if (!error_is_clean(life, rc))
        fail_msg("%s: %s (%s)", what, error_name(rc), diag_message_for(rc));
    if (!life->failed)
        snprintf(life->first, sizeof life->first, "%s: %s", what, diag_message_for(rc));
    life->failed = true;
    test_alloc_end();
    return rc;
}

/* ---------------------------------------------------------------- a life */

/* MessagePack that is the test's own. */
static const char *own_mp(const char *json, size_t *size)
{
    test_alloc_begin();
    const char *data = mp_of(json, size);
    test_alloc_end();
    return data;
}

static int life_open(struct life *life)
{
    struct db_fixture *f = &life->f;
    f->db = NULL;
    memset(f->workers, 0, sizeof f->workers);
    f->io = disk_io(f->disk);
    struct db_options options = {.io = f->io,
                                 .clock = clock_system(),
                                 .durability = WAL_DURABILITY_COMMIT,
                                 .worker_max = DB_FIXTURE_WORKERS};
    int rc = told(life, "open", db_open(&options, &f->stats, &f->db));
    for (unsigned i = 0; rc == 0 && i < DB_FIXTURE_WORKERS; i++)
        rc = told(life, "worker", db_worker_open(f->db, &f->workers[i]));
    return rc;
}

static int life_close(struct life *life)
{
    struct db_fixture *f = &life->f;
    int rc = 0;
    for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
        if (f->workers[i] != NULL)
            db_worker_close(f->workers[i]);
    if (f->db != NULL)
        rc = told(life, "close", db_close(f->db));
    io_delete(f->io);
    f->db = NULL;
    return rc;
}

/* Waits for what the worker has done last. */
static int acknowledge(struct life *life, unsigned worker)
{
    uint64_t ts = txn_worker_seen_ts(db_worker_txn(life->f.workers[worker]));
    return wal_wait(db_wal(life->f.db), ts);
}

static int space_make(struct life *life, const char *name)
{
    struct db_worker *worker = life->f.workers[0];
    uint32_t id, index;
    char options[64];
    snprintf(options, sizeof options, "{\"if_not_exists\": true, \"engine\": \"%s\"}",
             life->engine);
    int rc = ddl_space_create(worker, name, strlen(name), own_mp(options, NULL), &id);
    if (rc == 0)
        rc = ddl_index_create(worker, id, "pk", 2, own_mp("{\"if_not_exists\": true}", NULL),
                              &index);
    if (rc == 0)
        rc = ddl_index_create(worker, id, "value", 5,
                              own_mp("{\"if_not_exists\": true, \"unique\": false, \"parts\": "
                                     "[[2, \"unsigned\"]]}",
                                     NULL),
                              &index);
    return told(life, "make a space", rc);
}

static struct space *space_named(struct life *life, unsigned worker, const char *name)
{
    const struct catalog *catalog = db_catalog(life->f.workers[worker]);
    return catalog == NULL ? NULL : catalog_space(catalog, name, strlen(name));
}

/* Sets a key to a value in both spaces; 0 deletes it. */
static int key_set(struct life *life, unsigned worker, unsigned key, unsigned value)
{
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    struct txn *txn;
    int rc = txn_begin(db_worker_txn(life->f.workers[worker]), &options, &txn);
    if (rc != 0)
        return rc;
    char text[64];
    size_t size;
    for (unsigned i = 0; rc == 0 && i < 2; i++) {
        struct space *space = space_named(life, worker, names[i]);
        struct tuple_ref out, old;
        if (value > 0)
            snprintf(text, sizeof text, "[%u, %u, \"%040u\"]", key, value, value);
        else
            snprintf(text, sizeof text, "[%u]", key);
        const char *data = own_mp(text, &size);
        rc = value > 0 ? space_replace(txn, space, data, size, &out, &old)
                       : space_delete(txn, space->indexes[0], data, &old);
    }
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

/* What one step may have left behind, by what was told of it. */
static void slot_note(struct slot *slot, unsigned value, int rc)
{
    if (rc == 0) {
        slot->value = value;
        slot->unknown_count = 0;
    } else if (rc == ERROR_UNKNOWN_OUTCOME) {
        slot->unknown[slot->unknown_count++] = value;
    }
}

static int key_step(struct life *life, unsigned worker, unsigned key, unsigned value)
{
    int rc = key_set(life, worker, key, value);
    if (rc == 0)
        rc = acknowledge(life, worker);
    slot_note(&life->slots[key], value, rc);
    return told(life, value > 0 ? "replace" : "delete", rc);
}

/* A space that is made, filled and dropped, or emptied, beside the others. */
static int other_step(struct life *life, bool drop)
{
    struct db_worker *worker = life->f.workers[0];
    int rc = space_make(life, "other");
    if (rc != 0)
        return rc;
    struct space *other = space_named(life, 0, "other");
    rc = drop ? ddl_space_drop(worker, other->id) : ddl_space_truncate(worker, other->id);
    return told(life, drop ? "drop" : "truncate", rc);
}

/* One that fails takes nothing away. */
static void checkpoint_step(struct life *life)
{
    told(life, "checkpoint", db_checkpoint(life->f.db));
}

static void step(struct life *life, unsigned number)
{
    unsigned worker = number % DB_FIXTURE_WORKERS, key = number * 3 % KEYS;
    if (number % 4 == 2)
        checkpoint_step(life);
    else if (number % 8 == 7)
        other_step(life, number % 16 == 15);
    else
        key_step(life, worker, key, number % 5 == 4 ? 0 : number + 1);
}

static void work(struct life *life)
{
    for (unsigned i = 0; i < 2; i++)
        if (space_make(life, names[i]) != 0)
            return;
    life->made = acknowledge(life, 0) == 0;
    for (unsigned number = 0; number < STEPS; number++)
        step(life, number);
}

/* ---------------------------------------------------------------- what is found */

/* The values of all keys by an index; false when it can't be read. */
static bool values_read(struct life *life, const char *space, const char *index,
                        unsigned values[KEYS])
{
    const char *at = select_by(&life->f, NULL, space, index, ITERATOR_ALL, NULL);
    unsigned key, value, same;
    int size;
    memset(values, 0, KEYS * sizeof *values);
    if (strcmp(at, "error") == 0)
        return false;
    for (; sscanf(at, " [%u,%u,\"%u\"]%n", &key, &value, &same, &size) == 3; at += size) {
        assert_true(key < KEYS && values[key] == 0);
        assert_int_equal(value, same);
        values[key] = value;
    }
    assert_int_equal(*at, '\0');
    return true;
}

static void slot_check(const struct life *life, unsigned key, unsigned found)
{
    const struct slot *slot = &life->slots[key];
    bool right = found == slot->value;
    for (unsigned i = 0; i < slot->unknown_count; i++)
        right |= found == slot->unknown[i];
    if (!right)
        fail_msg("key %u has value %u, %u was acknowledged (%s)", key, found, slot->value,
                 life->first);
}

/* Both spaces, by both indexes. */
static void state_check(struct life *life)
{
    unsigned values[2][2][KEYS];
    if (space_named(life, 0, names[0]) == NULL || space_named(life, 0, names[1]) == NULL) {
        assert_false(life->made);
        return;
    }
    for (unsigned i = 0; i < 2; i++)
        for (unsigned j = 0; j < 2; j++) {
            struct space *space = space_named(life, 0, names[i]);
            if (j >= space->index_count) {
                assert_false(life->made);
            } else if (!values_read(life, names[i], j == 0 ? "pk" : "value", values[i][j])) {
                assert_true(life->damaged);
                told(life, "read", diag_code());
                return;
            }
        }
    for (unsigned key = 0; life->made && key < KEYS; key++) {
        for (unsigned i = 1; i < 4; i++)
            if (values[i / 2][i % 2][key] != values[0][0][key])
                fail_msg("fault %llu: key %u has value %u in one index and %u in %s of %s (%s)",
                         (unsigned long long)life->fault, key, values[0][0][key],
                         values[i / 2][i % 2][key], i % 2 ? "value" : "pk", names[i / 2],
                         life->first);
        slot_check(life, key, values[0][0][key]);
    }
}

/* After the fault, on the same open database: reads go on, and writes unless the log has failed. */
static void go_on(struct life *life)
{
    if (life->made)
        state_check(life);
    bool may_write = !wal_failed(db_wal(life->f.db)) && !atomic_load(&life->f.io->dir_failed);
    int rc = space_make(life, "left");
    if (rc == 0)
        rc = space_make(life, "right");
    if (rc == 0)
        rc = key_step(life, 0, 0, STEPS + 1);
    if (rc == 0)
        rc = told(life, "checkpoint", db_checkpoint(life->f.db));
    if (rc != 0 && may_write && !wal_failed(db_wal(life->f.db)))
        fail_msg("after '%s' nothing can be written: %s", life->first, diag_message_for(rc));
}

/* Opened again without faults, twice: what is there, and that it can be worked with. */
static void reopen_and_check(struct life *life, uint64_t cut_seed)
{
    if (cut_seed != 0)
        disk_cut(life->f.disk, cut_seed);
    for (unsigned n = 0; n < 2; n++) {
        int rc = life_open(life);
        if (rc != 0)
            fail_msg("after '%s' it does not open: %s", life->first, diag_message_for(rc));
        state_check(life);
        assert_int_equal(space_make(life, "left"), 0);
        assert_int_equal(space_make(life, "right"), 0);
        assert_int_equal(key_step(life, 0, 0, STEPS + 2 + n), 0);
        life->made = true;
        assert_int_equal(life_close(life), 0);
    }
}

/* ---------------------------------------------------------------- faults */

enum fault { ALLOCATION, ALLOCATIONS_FROM, CALL_EIO, CALL_ENOSPC, CALLS_FROM };

static void fault_arm(struct life *life, enum fault fault, uint64_t n)
{
    if (fault == ALLOCATION)
        alloc_fail_nth(n);
    else if (fault == ALLOCATIONS_FROM)
        alloc_fail_from(n);
    else if (fault == CALLS_FROM)
        disk_fail_from(life->f.disk, n, EIO);
    else
        disk_fail_nth(life->f.disk, n, fault == CALL_EIO ? EIO : ENOSPC);
}

/* Whether it may have happened. The calls of the disk are counted from `before`, also those that
 * another thread makes after nothing is armed any more. */
static bool fault_end(struct life *life, enum fault fault, uint64_t n, uint64_t before)
{
    if (life->memory)
        return alloc_fail_end();
    if (fault == CALLS_FROM)
        disk_fail_from(life->f.disk, 0, 0);
    else
        disk_fail_nth(life->f.disk, 0, 0);
    return disk_calls(life->f.disk) - before >= n;
}

/* What a life with an error in it looks like to those who watch: reads go on, writes too unless the
 * log has failed, and closing tells whether it has. */
static void life_end(struct life *life, bool open)
{
    if (open)
        go_on(life);
    int rc = life_close(life);
    if (open && rc == 0)
        assert_false(life->slots[0].unknown_count > 0);
}

/* One life with one fault, of a new database or of one that was closed. False: there was none, since
 * the life had fewer calls or allocations. */
static bool life_run(const char *engine, enum fault fault, uint64_t n, bool old)
{
    struct life life;
    memset(&life, 0, sizeof life);
    life.engine = engine;
    life.memory = fault <= ALLOCATIONS_FROM;
    life.fault = n;
    life.f.disk = disk_new(n);
    if (old) {
        assert_int_equal(life_open(&life), 0);
        work(&life);
        assert_int_equal(life_close(&life), 0);
    }
    uint64_t before = disk_calls(life.f.disk);
    fault_arm(&life, fault, n);
    bool open = life_open(&life) == 0;
    if (open)
        work(&life);
    bool happened = fault_end(&life, fault, n, before);
    assert_true(happened || (open && !life.failed));
    life_end(&life, open);
    reopen_and_check(&life, n % 2 ? n : 0);
    disk_delete(life.f.disk);
    return happened;
}

/* Of engines that are not the first one in EVERY, from one that the seed chooses, or all when there is time. */
static uint64_t every(const char *engine)
{
    return engines_resident(engine) || getenv("PERIGEE_STRESS_SECONDS") != NULL ? 1 : EVERY;
}

/* Beginning with an empty disk, or only with one that has a database. */
static void lives_run(const char *engine, enum fault fault, bool only_old)
{
    uint64_t step = every(engine), first = step == 1 ? 1 : 1 + test_seed() % step;
    for (unsigned old = only_old; old < 2; old++) {
        uint64_t n = first;
        for (; life_run(engine, fault, n, old); n += step)
            assert_true(n < LIVES_MAX);
        printf("%s: %llu lives\n", old ? "opened again" : "new",
               (unsigned long long)((n - first) / step));
    }
}

/* A database that was worked with and closed. */
static void life_old(struct life *life, const char *engine, uint64_t seed)
{
    memset(life, 0, sizeof *life);
    life->engine = engine;
    life->f.disk = disk_new(seed);
    assert_int_equal(life_open(life), 0);
    work(life);
    assert_int_equal(life_close(life), 0);
}

/* Works while something is wrong with the disk for good; then it is put right. */
static void life_through(struct life *life, void (*wrong)(struct disk *disk, unsigned how),
                         void (*right)(struct disk *disk, unsigned how), unsigned how)
{
    assert_int_equal(life_open(life), 0);
    wrong(life->f.disk, how);
    work(life);
    if (life->made)
        state_check(life);
    right(life->f.disk, how);
    life_end(life, true);
    reopen_and_check(life, how % 2 ? how + 1 : 0);
    disk_delete(life->f.disk);
}

static void disk_full(struct disk *disk, unsigned how)
{
    disk_capacity(disk, disk_used(disk) + (uint64_t)how * ROOM_BYTES);
}

static void disk_with_room(struct disk *disk, unsigned how)
{
    (void)how;
    disk_capacity(disk, 0);
}

static const enum disk_call worn_calls[] = {DISK_WRITE,    DISK_SYNC,      DISK_QUEUE_WRITE,
                                            DISK_RENAME,   DISK_UNLINK,    DISK_ALLOCATE_ZEROS,
                                            DISK_SYNC_DIR, DISK_QUEUE_WAIT};

static void disk_worn(struct disk *disk, unsigned how)
{
    disk_fail_always(disk, worn_calls[how], EIO);
}

static void disk_mended(struct disk *disk, unsigned how)
{
    disk_fail_always(disk, worn_calls[how], 0);
}

/* ---------------------------------------------------------------- damage */

struct files {
    char names[FILES_MAX][64];
    unsigned count;
};

static int file_add(const char *name, uint64_t size, void *arg)
{
    (void)size;
    struct files *all = arg;
    assert_true(all->count < FILES_MAX);
    snprintf(all->names[all->count++], sizeof all->names[0], "%s", name);
    return 0;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void files_of(struct life *life, struct files *out)
{
    struct io *io = disk_io(life->f.disk);
    out->count = 0;
    assert_int_equal(io_list(io, file_add, out), 0);
    io_delete(io);
    qsort(out->names, out->count, sizeof out->names[0], name_compare);
}

/* It opens and has everything, or an error, when it opens or rows are read, names the file. True: there was one. */
static bool damage_check(struct life *life, const char *name)
{
    life->damaged = true;
    if (life_open(life) == 0)
        state_check(life);
    if (life->failed && strstr(life->first, name) == NULL)
        fail_msg("%s is damaged: %s", name, life->first);
    bool found = life->failed;
    life_close(life);
    disk_delete(life->f.disk);
    return found;
}

/* ---------------------------------------------------------------- the tests */

static void whichever_allocation_fails_the_database_goes_on(void **state)
{
    lives_run(*state, ALLOCATION, false);
}

static void from_whichever_allocation_memory_is_out_nothing_is_lost(void **state)
{
    lives_run(*state, ALLOCATIONS_FROM, true);
}

static void whichever_call_fails_with_eio_nothing_is_lost(void **state)
{
    lives_run(*state, CALL_EIO, false);
}

static void whichever_call_fails_with_enospc_nothing_is_lost(void **state)
{
    lives_run(*state, CALL_ENOSPC, true);
}

static void from_whichever_call_the_disk_is_gone_nothing_is_lost(void **state)
{
    lives_run(*state, CALLS_FROM, true);
}

static void on_a_full_disk_writes_are_refused_and_nothing_is_lost(void **state)
{
    struct life life;
    unsigned failed = 0;
    for (unsigned how = 0; how < ROOMS; how++) {
        life_old(&life, *state, how);
        life_through(&life, disk_full, disk_with_room, how);
        failed += life.failed;
    }
    printf("%u of %d lives had no room\n", failed, ROOMS);
    assert_in_range(failed, 1, ROOMS - 1);
}

static void on_a_worn_out_disk_writes_are_refused_and_nothing_is_lost(void **state)
{
    struct life life;
    unsigned failed = 0;
    for (unsigned how = 0; how < sizeof worn_calls / sizeof *worn_calls; how++) {
        life_old(&life, *state, how);
        life_through(&life, disk_worn, disk_mended, how);
        failed += life.failed;
    }
    assert_true(failed > 3);
}

static void a_file_that_vanished_is_named_or_was_not_needed(void **state)
{
    struct life life;
    struct files files;
    unsigned named = 0;
    for (unsigned n = 0, count = 1; n < count; n++) {
        life_old(&life, *state, 1);
        files_of(&life, &files);
        count = files.count; /* where files are merged beside it not the same in each life */
        if (n >= count) {
            disk_delete(life.f.disk);
            break;
        }
        assert_true(disk_vanish(life.f.disk, files.names[n]));
        bool missed = damage_check(&life, files.names[n]);
        printf("%-28s %s\n", files.names[n], missed ? life.first : "is not missed");
        named += missed;
    }
    assert_true(named > 2);
}

static bool is_of_checkpoint(const char *name)
{
    return strcmp(name, "manifest") == 0 || strstr(name, ".run") != NULL ||
           strstr(name, ".btree") != NULL;
}

/* Of the log's last block nobody can tell damage from a write that was cut (rule 2), so these are
 * the files that a checkpoint has made. */
static void a_bit_that_flipped_in_a_checkpoint_is_found(void **state)
{
    struct life life;
    struct files files;
    unsigned found = 0, flips = 0;
    uint64_t seed = test_seed(), offset;
    for (unsigned n = 0, count = 1; n < count; n++)
        for (unsigned flip = 0; flip < FLIPS; flip++) {
            life_old(&life, *state, 1);
            files_of(&life, &files);
            count = files.count;
            const char *name = files.names[n];
            if (n >= count || !is_of_checkpoint(name)) {
                disk_delete(life.f.disk);
                break;
            }
            assert_true(disk_flip_random(life.f.disk, name, seed + flips++, &offset));
            found += damage_check(&life, name);
        }
    printf("%u of %u flips were found, the others made no difference\n", found, flips);
    assert_true(found * 2 > flips);
}

int main(void)
{
    log_level_set(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whichever_allocation_fails_the_database_goes_on),
        cmocka_unit_test(from_whichever_allocation_memory_is_out_nothing_is_lost),
        cmocka_unit_test(whichever_call_fails_with_eio_nothing_is_lost),
        cmocka_unit_test(whichever_call_fails_with_enospc_nothing_is_lost),
        cmocka_unit_test(from_whichever_call_the_disk_is_gone_nothing_is_lost),
        cmocka_unit_test(on_a_full_disk_writes_are_refused_and_nothing_is_lost),
        cmocka_unit_test(on_a_worn_out_disk_writes_are_refused_and_nothing_is_lost),
        cmocka_unit_test(a_file_that_vanished_is_named_or_was_not_needed),
        cmocka_unit_test(a_bit_that_flipped_in_a_checkpoint_is_found),
    };
    return engines_run_all("faults", tests, sizeof tests / sizeof *tests);
}
