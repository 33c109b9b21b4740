/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Checking and repairing a directory, over test disks: each kind of damage is found and named, and
 * nothing is changed; what is outside of what was reported as lost is in the repaired database.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/key.h"
#include "codec/mp.h"
#include "db/check.h"
#include "db/db_fixture.h"
#include "db/repair.h"
#include "storage/engines.h"
#include "wal/wal_tools.h"

enum { ROWS = 2000, VALUE_BYTES = 300, FINDINGS = 64, LOSSES = 64, FILES = 64, BLOCKS = 4096 };

static struct db_fixture f;
static struct random rng;
static unsigned values[ROWS]; /* what the space has: 0 is no row */
static struct disk *target_disk, *scratch_disk;

static int setup(void **state)
{
    log_level_set(LOG_ERROR);
    random_create(&rng, test_seed());
    memset(&f, 0, sizeof f);
    f.engine = *state;
    memset(values, 0, sizeof values);
    f.disk = disk_new(7);
    f.log_segment_bytes = 64 << 10;
    must(db_fixture_start(&f, false));
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    must(make_index(&f, "s", "value", "{\"unique\": false, \"parts\": [[2, \"unsigned\"]]}"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    disk_delete(f.disk);
    if (target_disk != NULL)
        disk_delete(target_disk);
    if (scratch_disk != NULL)
        disk_delete(scratch_disk);
    target_disk = scratch_disk = NULL;
    return 0;
}

/* The text of each row cannot be compressed, so that runs have many blocks. */
static void put(unsigned id, unsigned value)
{
    char tuple[VALUE_BYTES + 64];
    int size = snprintf(tuple, sizeof tuple, "[%u, %u, \"", id, value);
    for (unsigned i = 0; i < VALUE_BYTES; i++)
        tuple[size++] = (char)('a' + random_below(&rng, 26));
    snprintf(tuple + size, sizeof tuple - (size_t)size, "\"]");
    must(replace(&f, NULL, "s", tuple));
    values[id] = value;
}

static void put_some(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        put((unsigned)random_below(&rng, ROWS), 1 + (unsigned)random_below(&rng, 1000000));
}

/* A directory with several runs, and a log behind them. */
static void data_make(void)
{
    for (unsigned id = 0; id < ROWS; id++)
        put(id, id + 1);
    must(db_checkpoint(f.db));
    put_some(200);
    must(db_checkpoint(f.db));
    for (unsigned i = 0; i < 40; i++) {
        put_some(3);
        must(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))));
    }
    wal_release_wait(db_wal(f.db));
}

/* Ends the database, as a kill does, or in order; the disk stays. */
static void stop(void)
{
    db_fixture_stop(&f);
}

/* --------------------------------------------------------------------------------------- checking */

static struct {
    unsigned count;
    struct {
        bool damage;
        char file[64], check[32], words[160];
        uint64_t offset;
    } items[FINDINGS];
} found;
static struct check_report checked;

static void on_finding(const struct check_finding *finding, void *arg)
{
    (void)arg;
    if (found.count == FINDINGS)
        return;
    found.items[found.count].damage = finding->damage;
    found.items[found.count].offset = finding->offset;
    snprintf(found.items[found.count].file, 64, "%s", finding->file);
    snprintf(found.items[found.count].check, 32, "%s", finding->check);
    snprintf(found.items[found.count].words, 160, "%s", finding->words);
    found.count++;
}

struct files {
    unsigned count;
    struct {
        char name[64];
        uint64_t bytes;
        uint32_t checksum;
    } items[FILES];
};

static int file_note(const char *name, uint64_t size, void *arg)
{
    struct files *files = arg;
    assert_true(files->count < FILES);
    snprintf(files->items[files->count].name, 64, "%s", name);
    files->items[files->count++].bytes = size;
    return 0;
}

static void files_take(struct files *files)
{
    struct io *io = disk_io(f.disk);
    files->count = 0;
    must(io_list(io, file_note, files));
    for (unsigned i = 0; i < files->count; i++)
        must(backup_measure(io, files->items[i].name, &files->items[i].bytes,
                            &files->items[i].checksum, NULL, NULL));
    io_delete(io);
}

static void assert_untouched(const struct files *before)
{
    struct files *now = malloc(sizeof *now);
    files_take(now);
    assert_int_equal(now->count, before->count);
    for (unsigned i = 0; i < now->count; i++) {
        unsigned n = 0;
        while (n < before->count && strcmp(before->items[n].name, now->items[i].name) != 0)
            n++;
        assert_true(n < before->count);
        assert_int_equal(now->items[i].bytes, before->items[n].bytes);
        assert_int_equal(now->items[i].checksum, before->items[n].checksum);
    }
    free(now);
}

static int check(void)
{
    struct files *before = malloc(sizeof *before);
    files_take(before);
    if (scratch_disk != NULL)
        disk_delete(scratch_disk);
    scratch_disk = disk_new(3);
    struct io *io = disk_io(f.disk), *scratch = disk_io(scratch_disk);
    struct check_options options = {
        .io = io, .scratch = scratch, .clock = clock_system(), .found = on_finding};
    found.count = 0;
    int rc = db_check(&options, &checked);
    io_delete(io);
    io_delete(scratch);
    char message[DIAG_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", diag_message_for(rc));
    assert_untouched(before);
    free(before);
    return rc == 0 ? 0 : diag_set(rc, "%s", message);
}

/* That there is damage of this file, at this offset unless that is CHECK_NO_OFFSET. */
static void assert_found(const char *file, uint64_t offset)
{
    for (unsigned i = 0; i < found.count; i++)
        if (found.items[i].damage && strcmp(found.items[i].file, file) == 0 &&
            (offset == CHECK_NO_OFFSET || found.items[i].offset == offset))
            return;
    fail_msg("%s, offset %llu: not found among %u findings; the first: %s %llu %s", file,
             (unsigned long long)offset, found.count, found.count ? found.items[0].file : "",
             found.count ? (unsigned long long)found.items[0].offset : 0,
             found.count ? found.items[0].words : "");
}

static bool ends_in(const char *name, const char *end)
{
    return strlen(name) > strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

/* A file of some body. */
static bool has_rows(const char *name)
{
    return ends_in(name, ".run") || ends_in(name, ".btree");
}

static void a_whole_directory_has_nothing_to_be_found(void **state)
{
    (void)state;
    data_make();
    uint32_t spaces = catalog_space_count(db_catalog(f.workers[0]));
    stop();
    must(check());
    assert_int_equal(checked.damages, 0);
    for (unsigned i = 0; i < found.count; i++) /* segments that were to be used again */
        assert_true(ends_in(found.items[i].file, ".spare"));
    assert_true(checked.started);
    assert_true(checked.runs >= 2 && checked.rows >= ROWS && checked.records >= 100);
    assert_int_equal(checked.spaces, spaces);
}

static void a_directory_without_a_checkpoint_is_checked_by_its_log(void **state)
{
    (void)state;
    put_some(50);
    stop();
    must(check());
    assert_int_equal(checked.damages, 0);
    assert_true(checked.started);
    assert_true(checked.records >= 50);
}

static void a_directory_without_a_database_is_told(void **state)
{
    (void)state;
    stop();
    disk_delete(f.disk);
    f.disk = disk_new(8);
    assert_int_equal(check(), ERROR_NOT_FOUND);
}

static void every_flipped_bit_of_manifest_and_runs_is_found(void **state)
{
    (void)state;
    data_make();
    stop();
    struct files *files = malloc(sizeof *files);
    files_take(files);
    unsigned tried = 0;
    for (unsigned i = 0; i < files->count; i++) {
        const char *name = files->items[i].name;
        bool manifest = strcmp(name, "manifest") == 0;
        if (!manifest && !ends_in(name, ".run"))
            continue;
        for (unsigned round = 0; round < 15; round++, tried++) {
            uint64_t offset, seed = random_next(&rng);
            assert_true(disk_flip_random(f.disk, name, seed, &offset));
            int rc = check();
            /* A number of the format's version may have been hit: that is said in words. */
            if (rc != ERROR_VERSION) {
                must(rc);
                assert_found(name, CHECK_NO_OFFSET);
            }
            disk_flip_random(f.disk, name, seed, &offset);
        }
    }
    assert_true(tried >= 45);
    must(check());
    assert_int_equal(checked.damages, 0);
    free(files);
}

static struct {
    unsigned count;
    struct wal_block_info items[BLOCKS];
} blocks;

static int block_note(const struct wal_block_info *block, void *arg)
{
    (void)arg;
    assert_true(blocks.count < BLOCKS);
    blocks.items[blocks.count++] = *block;
    return 0;
}

static void blocks_take(void)
{
    struct wal_replay_stats stats;
    struct io *io = disk_io(f.disk);
    struct wal_read_options reading = {
        .io = io, .first_segment = WAL_FIRST_FOUND, .each_block = block_note};
    blocks.count = 0;
    must(wal_read(&reading, &stats));
    io_delete(io);
}

/* A bit of what a block says, not of the zeros behind it. */
static void block_flip(const struct wal_block_info *block)
{
    char name[WAL_FILE_NAME_BYTES];
    wal_file_name(block->segment, name);
    uint64_t used = 128 + 32 * block->chunks + block->data_bytes;
    assert_true(disk_flip(f.disk, name, block->offset + random_below(&rng, used),
                          (unsigned)random_below(&rng, 8)));
}

static void a_damaged_block_of_the_log_is_named(void **state)
{
    (void)state;
    data_make();
    stop();
    blocks_take();
    struct db_fixture kept = f;
    assert_true(blocks.count > 20);
    const struct wal_block_info *block = &blocks.items[blocks.count / 2];
    block_flip(block);
    must(check());
    char name[WAL_FILE_NAME_BYTES];
    wal_file_name(block->segment, name);
    assert_found(name, block->offset);
    assert_false(checked.started);
    (void)kept;
}

static void a_torn_end_of_the_log_is_no_damage(void **state)
{
    (void)state;
    data_make();
    db_fixture_stop(&f);
    blocks_take();
    block_flip(&blocks.items[blocks.count - 1]);
    must(check());
    assert_int_equal(checked.damages, 0);
    assert_true(checked.started);
}

static void missing_and_cut_files_are_named(void **state)
{
    (void)state;
    data_make();
    stop();
    struct files *files = malloc(sizeof *files);
    files_take(files);
    for (unsigned i = 0; i < files->count; i++) {
        const char *name = files->items[i].name;
        if (!ends_in(name, ".run"))
            continue;
        struct io *io = disk_io(f.disk);
        struct io_file *file;
        must(io_open(io, name, IO_WRITE, &file));
        must(io_truncate(file, files->items[i].bytes - 10));
        io_close(file);
        io_delete(io);
        must(check());
        assert_found(name, CHECK_NO_OFFSET);
        assert_true(disk_vanish(f.disk, name));
        must(check());
        assert_found(name, CHECK_NO_OFFSET);
    }
    free(files);
}

static void a_missing_segment_is_named(void **state)
{
    (void)state;
    char name[WAL_FILE_NAME_BYTES];
    data_make();
    stop();
    blocks_take();
    wal_file_name(blocks.items[0].segment, name);
    assert_true(disk_vanish(f.disk, name));
    must(check());
    assert_true(checked.damages > 0);
    bool named = false;
    for (unsigned i = 0; i < found.count; i++)
        named |= strstr(found.items[i].words, name) != NULL ||
                 strstr(found.items[i].words, "missing") != NULL;
    assert_true(named);
}

static void file_make(const char *name, const char *text, size_t size)
{
    struct io *io = disk_io(f.disk);
    struct io_file *file;
    must(io_open(io, name, IO_WRITE | IO_CREATE | IO_TRUNCATE, &file));
    must(io_write(file, text, size, 0));
    io_close(file);
    io_delete(io);
}

static void left_over_and_foreign_files_are_named_as_such(void **state)
{
    (void)state;
    data_make();
    stop();
    file_make("999-1-999.run", "half", 4);
    file_make("manifest.new", "half", 4);
    file_make("notes.txt", "mine", 4);
    must(check());
    assert_int_equal(checked.damages, 0);
    assert_true(checked.notes >= 3);
    for (unsigned i = 0; i < found.count; i++)
        assert_string_equal(found.items[i].check, strcmp(found.items[i].file, "notes.txt") == 0
                                                      ? "unknown"
                                                      : "left over");
}

/* Overwrites bytes of a file. */
static void patch(const char *name, uint64_t offset, const void *bytes, size_t size)
{
    struct io *io = disk_io(f.disk);
    struct io_file *file;
    must(io_open(io, name, IO_WRITE, &file));
    must(io_write(file, bytes, size, offset));
    io_close(file);
    io_delete(io);
}

static void a_manifest_of_a_newer_version_or_of_another_machine_is_refused_in_words(void **state)
{
    (void)state;
    char text[64] = "";
    data_make();
    stop();
    struct io *io = disk_io(f.disk);
    struct io_file *file;
    must(io_open(io, "manifest", IO_READ, &file));
    assert_true(io_read(file, text, sizeof text - 1, 0) > 0);
    io_close(file);
    io_delete(io);
    char *version = strchr(text, ' ') + 1;
    while (*version < '0' || *version > '9')
        version++;
    patch("manifest", (uint64_t)(version - text), "9", 1);
    assert_int_equal(check(), ERROR_VERSION);
    assert_non_null(strstr(diag_message(), "newer perigee"));
    patch("manifest", (uint64_t)(version - text), version, 1);
    char *order = strstr(text, "little-endian\n");
    assert_non_null(order);
    patch("manifest", (uint64_t)(order - text), "big-endian\n", 11);
    assert_int_equal(check(), ERROR_VERSION);
    assert_non_null(strstr(diag_message(), "order of bytes"));
}

/* -------------------------------------------------------------------------------------- repairing */

static struct {
    unsigned count;
    struct {
        char file[64];
        bool run;
        uint32_t space_id;
        int64_t first, last; /* ids of rows: -1, ROWS without a bound */
        uint64_t rows, after_ts, through_ts;
    } items[LOSSES];
} lost;
static struct repair_report repaired;

static int64_t id_of(const unsigned char *key, size_t size, int64_t none)
{
    char value[512], *to = value;
    const char *at = value;
    uint64_t id;
    if (key == NULL || key_part_decode(&key, key + size, &to) != 0 || !mp_read_uint(&at, &id))
        return none;
    return (int64_t)id;
}

static void on_loss(const struct repair_loss *loss, void *arg)
{
    (void)arg;
    assert_true(lost.count < LOSSES);
    snprintf(lost.items[lost.count].file, 64, "%s", loss->file);
    lost.items[lost.count].run = loss->run;
    lost.items[lost.count].space_id = loss->space_id;
    lost.items[lost.count].first = id_of(loss->after, loss->after_size, -1);
    lost.items[lost.count].last = id_of(loss->before, loss->before_size, ROWS);
    lost.items[lost.count].rows = loss->rows;
    lost.items[lost.count].after_ts = loss->after_ts;
    lost.items[lost.count].through_ts = loss->through_ts;
    lost.count++;
}

static int repair(bool past_gaps)
{
    struct files *before = malloc(sizeof *before);
    files_take(before);
    if (target_disk != NULL)
        disk_delete(target_disk);
    target_disk = disk_new(4);
    struct io *io = disk_io(f.disk), *target = disk_io(target_disk);
    struct repair_options options = {.io = io,
                                     .target = target,
                                     .past_gaps = past_gaps,
                                     .clock = clock_system(),
                                     .lost = on_loss};
    lost.count = 0;
    int rc = db_repair(&options, &repaired);
    io_delete(io);
    io_delete(target);
    assert_untouched(before);
    free(before);
    return rc;
}

/* The value of each row in the repaired database, 0 for none. False: it has no such space. */
static bool repaired_read(unsigned *out)
{
    struct db_fixture result = {.disk = target_disk};
    must(db_fixture_start(&result, false));
    memset(out, 0, ROWS * sizeof *out);
    struct space *space = space_of(&result, NULL, "s");
    bool there = space != NULL && space_index(space, "pk", 2) != NULL;
    for (unsigned id = 0; there && id < ROWS; id++) {
        char key[32];
        unsigned found_id;
        snprintf(key, sizeof key, "[%u]", id);
        const char *tuple = get_by(&result, NULL, "s", "pk", key);
        if (tuple != NULL && sscanf(tuple, "[%u,%u", &found_id, &out[id]) != 2)
            out[id] = UINT32_MAX;
    }
    db_fixture_stop(&result);
    return there;
}

static bool is_reported(unsigned id)
{
    for (unsigned i = 0; i < lost.count; i++)
        if (lost.items[i].run && lost.items[i].space_id >= 512 &&
            (int64_t)id >= lost.items[i].first && (int64_t)id <= lost.items[i].last)
            return true;
    return false;
}

static void what_is_whole_is_repaired_without_a_loss(void **state)
{
    (void)state;
    unsigned now[ROWS];
    data_make();
    stop();
    must(repair(false));
    assert_int_equal(repaired.losses, 0);
    assert_int_equal(repaired.rows, ROWS);
    assert_int_equal(repaired.spaces, 1);
    assert_true(repaired_read(now));
    assert_memory_equal(now, values, sizeof now);
}

/* The largest run, or file of pages, which has the rows. */
static const char *run_find(const struct files *files)
{
    unsigned largest = 0;
    for (unsigned i = 1; i < files->count; i++)
        if (has_rows(files->items[i].name) && (!has_rows(files->items[largest].name) ||
                                               files->items[i].bytes > files->items[largest].bytes))
            largest = i;
    return files->items[largest].name;
}

static void rows_outside_of_damaged_blocks_are_all_saved(void **state)
{
    (void)state;
    unsigned now[ROWS], saved = 0, reported = 0;
    data_make();
    stop();
    struct files *files = malloc(sizeof *files);
    files_take(files);
    const char *name = run_find(files);
    for (unsigned round = 0; round < 15; round++) {
        uint64_t offsets[3], seeds[3];
        unsigned flips = 1 + (unsigned)random_below(&rng, 3);
        bool header = false;
        for (unsigned i = 0; i < flips; i++) {
            seeds[i] = random_next(&rng);
            assert_true(disk_flip_random(f.disk, name, seeds[i], &offsets[i]));
            header |= offsets[i] < 64;
        }
        int rc = repair(false);
        for (unsigned i = 0; i < flips; i++)
            disk_flip_random(f.disk, name, seeds[i], &offsets[i]);
        if (rc == ERROR_VERSION)
            continue;
        must(rc);
        assert_true(repaired_read(now));
        for (unsigned id = 0; id < ROWS; id++) {
            if (now[id] != values[id] && !is_reported(id))
                fail_msg("row %u has %u, not %u, and was not reported as lost", id, now[id],
                         values[id]);
            saved += now[id] == values[id];
            reported += is_reported(id);
        }
        if (!header)
            assert_true(repaired.run_rows > ROWS / 2);
    }
    assert_true(saved > 10 * ROWS && reported > 0);
    free(files);
}

/* Pages that are in no use may say what they like. */
static void a_flipped_bit_of_a_body_is_found_or_costs_nothing(void **state)
{
    enum { TRIED = 5 };
    unsigned now[ROWS], missed = 0;
    data_make();
    stop();
    struct files *files = malloc(sizeof *files);
    files_take(files);
    const char *name = run_find(files);
    for (unsigned round = 0; round < TRIED; round++) {
        uint64_t offset, seed = random_next(&rng);
        assert_true(disk_flip_random(f.disk, name, seed, &offset));
        int rc = check();
        if (rc != ERROR_VERSION)
            must(rc);
        if (rc == 0 && checked.damages == 0) {
            missed++;
            must(repair(false));
            assert_int_equal(repaired.losses, 0);
            assert_true(repaired_read(now));
            assert_memory_equal(now, values, sizeof now);
        }
        disk_flip_random(f.disk, name, seed, &offset);
    }
    if (!engines_changes_files(*state))
        assert_int_equal(missed, 0);
    free(files);
}

static void the_number_of_lost_rows_is_told(void **state)
{
    (void)state;
    unsigned now[ROWS], missing = 0;
    for (unsigned id = 0; id < ROWS; id++)
        put(id, id + 1);
    must(db_checkpoint(f.db));
    wal_release_wait(db_wal(f.db));
    stop();
    struct files *files = malloc(sizeof *files);
    files_take(files);
    const char *name = run_find(files);
    assert_true(disk_flip(f.disk, name, 100000, 1));
    must(repair(false));
    assert_true(repaired_read(now));
    for (unsigned id = 0; id < ROWS; id++)
        missing += now[id] == 0;
    assert_int_equal(repaired.losses, 1);
    assert_int_equal(lost.count, 2);
    assert_true(lost.items[1].rows >= missing && lost.items[1].rows < 200);
    free(files);
}

static void a_run_that_was_cut_gives_what_it_has(void **state)
{
    (void)state;
    unsigned now[ROWS], saved = 0;
    data_make();
    stop();
    struct files *files = malloc(sizeof *files);
    files_take(files);
    const char *name = run_find(files);
    struct io *io = disk_io(f.disk);
    struct io_file *file;
    must(io_open(io, name, IO_WRITE, &file));
    must(io_truncate(file, (uint64_t)io_size(file) / 2));
    io_close(file);
    io_delete(io);
    must(repair(false));
    assert_true(repaired_read(now));
    for (unsigned id = 0; id < ROWS; id++) {
        assert_true(now[id] == values[id] || is_reported(id));
        saved += now[id] == values[id];
    }
    assert_true(saved > ROWS / 4);
    free(files);
}

/* Copies one file of the disk over another. */
static void file_copy(const char *from, const char *to)
{
    struct io *io = disk_io(f.disk);
    struct io_file *source, *target;
    must(io_open(io, from, IO_READ, &source));
    must(io_open(io, to, IO_WRITE | IO_TRUNCATE, &target));
    int64_t bytes = io_size(source);
    void *data = malloc((size_t)bytes);
    assert_int_equal(io_read(source, data, (size_t)bytes, 0), bytes);
    must(io_write(target, data, (size_t)bytes, 0));
    free(data);
    io_close(source);
    io_close(target);
    io_delete(io);
}

static void a_run_that_was_copied_over_another_is_no_substitute_for_it(void **state)
{
    (void)state;
    data_make();
    stop();
    struct files *files = malloc(sizeof *files);
    files_take(files);
    const char *large = run_find(files), *other = NULL;
    for (unsigned i = 0; i < files->count; i++)
        if (has_rows(files->items[i].name) && strcmp(files->items[i].name, large) != 0 &&
            (other == NULL || strncmp(files->items[i].name, "512-", 4) == 0))
            other = files->items[i].name;
    assert_non_null(other);
    file_copy(other, large);
    must(check());
    assert_true(checked.damages > 0);
    must(repair(false));
    assert_int_equal(lost.count, 1);
    assert_string_equal(lost.items[0].file, large);
    /* What a body has besides them is counted as well: an entry of the other index each. */
    assert_int_equal(lost.items[0].rows, engines_resident(f.engine) ? ROWS : 2 * ROWS);
    free(files);
}

static void without_a_manifest_all_runs_are_taken(void **state)
{
    (void)state;
    unsigned now[ROWS];
    data_make();
    stop();
    assert_true(disk_flip(f.disk, "manifest", 40, 2));
    must(repair(false));
    assert_true(repaired.manifest_lost);
    assert_true(repaired_read(now));
    assert_memory_equal(now, values, sizeof now);
    assert_true(disk_vanish(f.disk, "manifest"));
    must(repair(false));
    assert_true(repaired_read(now));
    assert_memory_equal(now, values, sizeof now);
}

/* Commits one after the other, each durable before the next: a block each. */
static struct {
    uint64_t ts;
    unsigned id, value;
} commits[400];

static void commits_make(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned id = (unsigned)random_below(&rng, 50);
        put(id, 1 + (unsigned)random_below(&rng, 1000000));
        must(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))));
        commits[i].ts = wal_durable_ts(db_wal(f.db));
        commits[i].id = id;
        commits[i].value = values[id];
        if (i == count / 3)
            db_fixture_reopen(&f);
    }
}

/* What the space has with the commits outside of (after, through], and none behind `last`. */
static void commits_replay(unsigned count, uint64_t after, uint64_t through, uint64_t last,
                           unsigned *out)
{
    memset(out, 0, ROWS * sizeof *out);
    for (unsigned i = 0; i < count; i++)
        if ((commits[i].ts <= after || commits[i].ts > through) && commits[i].ts <= last)
            out[commits[i].id] = commits[i].value;
}

static void of_a_damaged_log_all_before_the_damage_is_saved_or_on_request_all_but_it(void **state)
{
    (void)state;
    unsigned now[ROWS], expected[ROWS], count = 300;
    commits_make(count);
    stop();
    blocks_take();
    const struct wal_block_info *block =
        &blocks.items[blocks.count / 4 + random_below(&rng, blocks.count / 2)];
    block_flip(block);
    must(repair(false));
    assert_int_equal(repaired.losses, 1);
    assert_true(repaired.blocks_left > 10);
    assert_true(repaired_read(now));
    commits_replay(count, UINT64_MAX, 0, block->previous_c, expected);
    assert_memory_equal(now, expected, sizeof now);
    assert_int_equal(lost.items[0].after_ts, block->previous_c);
    assert_int_equal(repaired.left_after_ts, block->c);

    must(repair(true));
    assert_int_equal(repaired.losses, 1);
    assert_int_equal(repaired.blocks_left, 0);
    assert_true(repaired_read(now));
    commits_replay(count, block->previous_c, block->c, UINT64_MAX, expected);
    assert_memory_equal(now, expected, sizeof now);
}

static void a_damaged_header_of_a_segment_costs_nothing_but_is_told(void **state)
{
    (void)state;
    char name[WAL_FILE_NAME_BYTES];
    unsigned now[ROWS];
    commits_make(200);
    stop();
    blocks_take();
    wal_file_name(blocks.items[blocks.count / 2].segment, name);
    assert_true(disk_flip(f.disk, name, 50, 4));
    must(repair(false));
    assert_int_equal(repaired.losses, 1);
    assert_string_equal(lost.items[0].file, name);
    assert_true(repaired_read(now));
    assert_memory_equal(now, values, sizeof now);
}

static void a_missing_segment_is_a_gap(void **state)
{
    (void)state;
    char name[WAL_FILE_NAME_BYTES];
    unsigned now[ROWS], expected[ROWS], count = 300;
    commits_make(count);
    stop();
    blocks_take();
    uint64_t segment = blocks.items[blocks.count / 2].segment, after = 0, through = 0;
    for (unsigned i = 0; i < blocks.count; i++) {
        if (blocks.items[i].segment < segment)
            after = blocks.items[i].c;
        if (blocks.items[i].segment <= segment)
            through = blocks.items[i].c;
    }
    wal_file_name(segment, name);
    assert_true(disk_vanish(f.disk, name));
    must(repair(false));
    assert_true(repaired.losses > 0);
    assert_true(repaired_read(now));
    commits_replay(count, UINT64_MAX, 0, after, expected);
    assert_memory_equal(now, expected, sizeof now);
    must(repair(true));
    assert_true(repaired_read(now));
    commits_replay(count, after, through, UINT64_MAX, expected);
    assert_memory_equal(now, expected, sizeof now);
}

static void the_torn_end_of_a_log_is_no_loss(void **state)
{
    (void)state;
    unsigned now[ROWS], expected[ROWS], count = 100;
    commits_make(count);
    stop();
    blocks_take();
    const struct wal_block_info *block = &blocks.items[blocks.count - 1];
    block_flip(block);
    must(repair(true));
    assert_int_equal(repaired.losses, 0);
    assert_true(repaired_read(now));
    commits_replay(count, UINT64_MAX, 0, block->previous_c, expected);
    assert_memory_equal(now, expected, sizeof now);
}

/* What a start finds on the disk, as values by id. */
static void recovered_read(unsigned *out)
{
    memset(out, 0, ROWS * sizeof *out);
    for (unsigned id = 0; id < ROWS; id++) {
        char key[32];
        unsigned found_id;
        snprintf(key, sizeof key, "[%u]", id);
        const char *tuple = get_by(&f, NULL, "s", "pk", key);
        if (tuple != NULL && sscanf(tuple, "[%u,%u", &found_id, &out[id]) != 2)
            out[id] = UINT32_MAX;
    }
}

/* Segments that were used again, dead blocks, blocks that were in flight: none of them counts. */
static void after_a_power_cut_repairing_finds_what_a_start_finds(void **state)
{
    (void)state;
    unsigned now[ROWS], expected[ROWS];
    must(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))));
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < 10; i++) {
            put_some(1 + (unsigned)random_below(&rng, 30));
            if (random_below(&rng, 3) == 0)
                must(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))));
            if (random_below(&rng, 6) == 0)
                must(db_checkpoint(f.db));
        }
        disk_cut(f.disk, random_next(&rng));
        stop();
        /* As the disk is, and as each of them finds it; a start changes it. */
        must(repair(false));
        assert_int_equal(repaired.losses, 0);
        assert_true(repaired_read(now));
        must(repair(true));
        assert_int_equal(repaired.losses, 0);
        unsigned past[ROWS];
        assert_true(repaired_read(past));
        must(check());
        assert_int_equal(checked.damages, 0);
        must(db_fixture_start(&f, false));
        recovered_read(expected);
        for (unsigned id = 0; id < ROWS; id++) {
            if (now[id] == expected[id] && past[id] == expected[id])
                continue;
            stop();
            fail_msg("row %u: %u was saved, %u past gaps; a start finds %u", id, now[id], past[id],
                     expected[id]);
        }
    }
    stop();
}

static void damage_in_the_definitions_of_spaces_does_not_keep_it_from_opening(void **state)
{
    (void)state;
    unsigned now[ROWS];
    data_make();
    wal_release_wait(db_wal(f.db));
    stop();
    struct files *files = malloc(sizeof *files);
    files_take(files);
    for (unsigned i = 0; i < files->count; i++) {
        const char *name = files->items[i].name;
        if (strncmp(name, "280-", 4) != 0 && strncmp(name, "288-", 4) != 0)
            continue;
        assert_true(disk_flip(f.disk, name, 64 + 24 + 5, 1));
        must(repair(false));
        assert_true(lost.count > 0);
        if (!repaired_read(now))
            assert_true(repaired.rows_undefined > 0 || repaired.indexes_dropped > 0);
        assert_true(disk_flip(f.disk, name, 64 + 24 + 5, 1));
    }
    free(files);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_whole_directory_has_nothing_to_be_found),
        TEST(a_directory_without_a_checkpoint_is_checked_by_its_log),
        TEST(a_directory_without_a_database_is_told),
        TEST(every_flipped_bit_of_manifest_and_runs_is_found),
        TEST(a_damaged_block_of_the_log_is_named),
        TEST(a_torn_end_of_the_log_is_no_damage),
        TEST(missing_and_cut_files_are_named),
        TEST(a_missing_segment_is_named),
        TEST(left_over_and_foreign_files_are_named_as_such),
        TEST(a_manifest_of_a_newer_version_or_of_another_machine_is_refused_in_words),
        TEST(what_is_whole_is_repaired_without_a_loss),
        TEST(rows_outside_of_damaged_blocks_are_all_saved),
        TEST(a_flipped_bit_of_a_body_is_found_or_costs_nothing),
        TEST(the_number_of_lost_rows_is_told),
        TEST(a_run_that_was_cut_gives_what_it_has),
        TEST(a_run_that_was_copied_over_another_is_no_substitute_for_it),
        TEST(without_a_manifest_all_runs_are_taken),
        TEST(of_a_damaged_log_all_before_the_damage_is_saved_or_on_request_all_but_it),
        TEST(a_damaged_header_of_a_segment_costs_nothing_but_is_told),
        TEST(a_missing_segment_is_a_gap),
        TEST(the_torn_end_of_a_log_is_no_loss),
        TEST(after_a_power_cut_repairing_finds_what_a_start_finds),
        TEST(damage_in_the_definitions_of_spaces_does_not_keep_it_from_opening),
    };
    return engines_run_all("check and repair", tests, sizeof tests / sizeof *tests);
}
