/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading damaged files of the engine "btree": what is not within a gap that was told is all there, with
 * the manifest's line of the file or without it, wherever the damage is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "io/disk.h"
#include "storage/btree/btree_internal.h"
#include "storage/btree/btree_salvage.h"

enum { KEYS = 3000, DATA_MAX = 9000, GAPS_MAX = 256, FAR = KEYS };

/* Rows by number: the timestamp of the newest version, 0 for none, and what was salvaged. */
static struct {
    struct disk *disk;
    struct io *io;
    struct body *body;
    _Atomic uint64_t next_file;
    uint64_t clock, ts[KEYS];
    bool changed[KEYS];
    struct engine_file file;
    struct random random;
} w;

static struct {
    uint64_t ts[KEYS];
    unsigned rows, gap_count;
    struct {
        unsigned first, last;
    } gaps[GAPS_MAX];
} found;

static unsigned data_make(unsigned number, uint64_t ts, char *out)
{
    struct random random;
    random_create(&random, ts * 7919 + number);
    unsigned size = 20 + (unsigned)random_below(&random, 100);
    if (number % 97 == 0)
        size = 2000 + (unsigned)random_below(&random, DATA_MAX - 2000);
    for (unsigned i = 0; i < size; i++)
        out[i] = i % 32 == 0 ? (char)random_next(&random) : (char)i;
    return size;
}

struct source {
    struct engine_source base;
    unsigned next;
    char key[16], data[DATA_MAX];
};

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    while (source->next < KEYS && !w.changed[source->next])
        source->next++;
    if (source->next == KEYS)
        return ERROR_END;
    unsigned number = source->next++;
    int size = sprintf(source->key, "row %06u", number);
    *out = (struct engine_row){
        .key = (unsigned char *)source->key, .key_size = (size_t)size, .ts = w.clock};
    if (w.ts[number] != 0) {
        out->size = data_make(number, w.ts[number], source->data);
        out->data = source->data;
    }
    return 0;
}

static int file_take(const struct engine_file *file, void *arg)
{
    (void)arg;
    w.file = *file;
    return 0;
}

/* Writes so many of the rows anew, and deletes some. */
static void change(unsigned count)
{
    static struct source source;
    static const struct engine_snapshots none = {NULL, 0};
    w.clock++;
    memset(w.changed, 0, sizeof w.changed);
    for (unsigned i = 0; i < count; i++) {
        unsigned number = count == KEYS ? i : (unsigned)random_below(&w.random, KEYS);
        w.changed[number] = true;
        w.ts[number] = random_below(&w.random, 8) == 0 ? 0 : w.clock;
    }
    source = (struct source){.base.next = source_next};
    assert_int_equal(body_absorb(w.body, &source.base, w.clock, &none), 0);
    body_settle(w.body);
    assert_int_equal(body_files(w.body, file_take, NULL), 0);
}

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    random_create(&w.random, test_seed());
    w.disk = disk_new(random_next(&w.random));
    w.io = disk_io(w.disk);
    atomic_init(&w.next_file, 1);
    struct engine_options options = {
        .io = w.io, .space_id = 512, .incarnation = 3, .next_file = &w.next_file};
    assert_int_equal(body_open(&engine_btree, &options, &w.body), 0);
    change(KEYS);
    for (unsigned i = 0; i < 4; i++)
        change(1 + (unsigned)random_below(&w.random, 200));
    body_close(w.body);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    io_delete(w.io);
    disk_delete(w.disk);
    return 0;
}

static unsigned number_of(const unsigned char *key, size_t size, unsigned none)
{
    unsigned number;
    char text[32];
    if (key == NULL)
        return none;
    assert_true(size < sizeof text);
    memcpy(text, key, size);
    text[size] = '\0';
    assert_int_equal(sscanf(text, "row %06u", &number), 1);
    assert_true(number < KEYS);
    return number;
}

static int on_row(const struct engine_row *row, void *arg)
{
    char data[DATA_MAX];
    unsigned number = number_of(row->key, row->key_size, FAR);
    (void)arg;
    found.rows++;
    assert_true(row->ts <= w.clock);
    if (row->data != NULL) {
        assert_int_equal(row->size, data_make(number, row->ts, data));
        assert_memory_equal(row->data, data, row->size);
    }
    if (row->ts > found.ts[number])
        found.ts[number] = row->ts;
    return 0;
}

static void on_gap(const struct run_gap *gap, void *arg)
{
    (void)arg;
    assert_non_null(gap->check);
    assert_true(found.gap_count < GAPS_MAX);
    found.gaps[found.gap_count].first = number_of(gap->after, gap->after_size, 0);
    found.gaps[found.gap_count++].last = number_of(gap->before, gap->before_size, FAR);
}

static bool is_told(unsigned number)
{
    for (unsigned i = 0; i < found.gap_count; i++)
        if (number >= found.gaps[i].first && number <= found.gaps[i].last)
            return true;
    return false;
}

/* Reads it; all is there but for what was told. Returns how many rows are. */
static unsigned salvage(bool named)
{
    const struct btree_salvage_calls calls = {on_row, on_gap, NULL};
    unsigned whole = 0;
    memset(&found, 0, sizeof found);
    int rc = btree_salvage(w.io, w.file.name, named ? &w.file : NULL, &calls);
    if (rc == ERROR_CORRUPT)
        return 0;
    assert_int_equal(rc, 0);
    for (unsigned i = 0; i < KEYS; i++) {
        if (found.ts[i] == w.ts[i])
            whole++;
        else if (!is_told(i))
            fail_msg("row %u has version %u, not %u, and nobody was told", i, (unsigned)found.ts[i],
                     (unsigned)w.ts[i]);
    }
    return whole;
}

/* -------------------------------------------------------------------------------------- the tests */

static void of_a_whole_file_all_rows_are_read(void **state)
{
    (void)state;
    struct btree_salvage_info info;
    for (unsigned named = 0; named < 2; named++) {
        assert_int_equal(btree_salvage_look(w.io, w.file.name, named ? &w.file : NULL, &info), 0);
        assert_int_equal(info.space_id, 512);
        assert_int_equal(info.incarnation, 3);
        assert_int_equal(info.rows, w.file.rows);
        assert_int_equal(info.timestamp, w.clock);
        assert_int_equal(salvage(named), KEYS);
        assert_int_equal(found.gap_count, 0);
        assert_int_equal(found.rows, w.file.rows);
    }
}

static const char *page_read(uint64_t page, struct btree_header *out)
{
    struct io_file *file;
    static char bytes[BTREE_PAGE_MIN];
    assert_int_equal(io_open(w.io, w.file.name, IO_READ, &file), 0);
    assert_int_equal(io_read(file, bytes, sizeof bytes, page * sizeof bytes), sizeof bytes);
    io_close(file);
    memcpy(out, bytes, sizeof *out);
    return bytes;
}

/* Some page of a kind that is part of the newest tree, by what the root leads to; and damages it. */
static bool page_damage(enum btree_kind kind, unsigned skip)
{
    struct btree_header header;
    for (uint64_t page = 0; page < w.file.bytes / BTREE_PAGE_MIN; page++) {
        page_read(page, &header);
        if (header.kind == kind && header.number == page && skip-- == 0)
            return disk_flip(w.disk, w.file.name, page * BTREE_PAGE_MIN + 100, 3);
    }
    return false;
}

/* Pages that are in no use any more may be among those that are damaged; that costs nothing. */
static void around_each_damaged_page_all_is_read(void **state)
{
    (void)state;
    static const enum btree_kind kinds[] = {BTREE_LEAF, BTREE_BRANCH, BTREE_OVERFLOW, BTREE_MAP,
                                            BTREE_DIRECTORY};
    unsigned gaps = 0;
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (unsigned skip = 0; skip < 6 && page_damage(kinds[i], skip); skip++) {
            assert_true(salvage(true) > KEYS / 2);
            gaps += found.gap_count;
            assert_true(salvage(false) > KEYS / 2);
            page_damage(kinds[i], skip); /* as it was: the header of a damaged page says the same */
        }
    assert_true(gaps > 0);
    assert_int_equal(salvage(true), KEYS);
}

static void without_its_root_a_file_gives_its_leaves(void **state)
{
    (void)state;
    uint64_t root = (uint64_t)w.file.level * BTREE_PAGE_MIN;
    assert_true(disk_flip(w.disk, w.file.name, root + 60, 1));
    assert_true(salvage(true) > KEYS / 2);
    assert_true(found.gap_count > 0);
    assert_true(disk_flip(w.disk, w.file.name, root + 60, 1));
    assert_int_equal(salvage(true), KEYS);
}

static void by_a_branch_that_is_lost_leaves_are_found(void **state)
{
    (void)state;
    struct btree_header header;
    struct btree_root_page root;
    const char *bytes =
        page_read((uint64_t)w.file.level * BTREE_PAGE_MIN / BTREE_PAGE_MIN, &header);
    memcpy(&root, bytes + BTREE_HEADER_BYTES, sizeof root);
    assert_true(root.depth > 1);
    /* The node at the top: all that there is has to be found without it, and is. */
    assert_true(
        disk_flip(w.disk, w.file.name, btree_child_page(root.tree) * BTREE_PAGE_MIN + 200, 1));
    assert_int_equal(salvage(true), KEYS);
    assert_int_equal(found.rows, w.file.rows);
    assert_int_equal(found.gap_count, 1);
}

static void whatever_bits_are_flipped_the_rest_is_read(void **state)
{
    (void)state;
    unsigned whole = 0, gaps = 0;
    for (unsigned round = 0; round < 40; round++) {
        uint64_t offset, seeds[4];
        unsigned flips = 1 + (unsigned)random_below(&w.random, 4);
        for (unsigned i = 0; i < flips; i++) {
            seeds[i] = random_next(&w.random);
            assert_true(disk_flip_random(w.disk, w.file.name, seeds[i], &offset));
        }
        whole += salvage(random_below(&w.random, 2) == 0);
        gaps += found.gap_count;
        for (unsigned i = 0; i < flips; i++)
            disk_flip_random(w.disk, w.file.name, seeds[i], &offset);
    }
    assert_true(whole > 30 * KEYS / 2 && gaps > 0);
    assert_int_equal(salvage(true), KEYS);
}

static void of_a_file_that_was_cut_the_beginning_is_read(void **state)
{
    (void)state;
    struct io_file *file;
    uint64_t bytes = w.file.bytes;
    while (bytes > BTREE_PAGE_MIN) {
        bytes -= 1 + random_below(&w.random, bytes / 3);
        assert_int_equal(io_open(w.io, w.file.name, IO_WRITE, &file), 0);
        assert_int_equal(io_truncate(file, bytes), 0);
        io_close(file);
        salvage(true);
        salvage(false);
    }
}

static void what_is_no_file_of_this_engine_is_refused(void **state)
{
    (void)state;
    const struct btree_salvage_calls calls = {on_row, on_gap, NULL};
    struct btree_salvage_info info;
    assert_int_equal(btree_salvage_look(w.io, "512-3.btree", NULL, &info), ERROR_INVALID);
    assert_int_equal(btree_salvage_look(w.io, "512-3-9.btree", NULL, &info), ERROR_NOT_FOUND);
    struct io_file *file;
    assert_int_equal(io_open(w.io, "512-3-8.btree", IO_WRITE | IO_CREATE, &file), 0);
    char zeros[3 * BTREE_PAGE_MIN] = {0};
    assert_int_equal(io_write(file, zeros, sizeof zeros, 0), 0);
    io_close(file);
    assert_int_equal(btree_salvage(w.io, "512-3-8.btree", NULL, &calls), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), "512-3-8.btree"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(of_a_whole_file_all_rows_are_read),
        TEST(around_each_damaged_page_all_is_read),
        TEST(without_its_root_a_file_gives_its_leaves),
        TEST(by_a_branch_that_is_lost_leaves_are_found),
        TEST(whatever_bits_are_flipped_the_rest_is_read),
        TEST(of_a_file_that_was_cut_the_beginning_is_read),
        TEST(what_is_no_file_of_this_engine_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
