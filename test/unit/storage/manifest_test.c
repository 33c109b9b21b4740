/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The manifest: what is written is read, whatever is damaged is told, and a start finds the old one
 * or the new one wherever the power is cut.
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
#include "codec/crc32c.h"
#include "io/disk.h"
#include "storage/manifest.h"

static void fill(struct manifest *manifest, uint64_t clock)
{
    struct manifest_tree *tree;
    manifest_create(manifest);
    manifest->clock = clock;
    manifest->first_segment = 7;
    manifest->next_file = 12;
    assert_int_equal(manifest_tree_add(manifest, 512, 1, 0, "memory", clock - 1, &tree), 0);
    struct engine_file file = {.name = "512-1-3.run", .bytes = 40960, .rows = 812};
    assert_int_equal(manifest_file_add(tree, &file), 0);
    struct engine_file newer = {.name = "512-1-9.run", .bytes = 4096, .rows = 12, .tombstones = 3};
    assert_int_equal(manifest_file_add(tree, &newer), 0);
    assert_int_equal(manifest_tree_add(manifest, 280, 0, 0, "memory", clock, &tree), 0);
}

static void assert_same(const struct manifest *a, const struct manifest *b)
{
    char *a_text, *b_text;
    size_t a_size, b_size;
    assert_int_equal(manifest_encode(a, &a_text, &a_size), 0);
    assert_int_equal(manifest_encode(b, &b_text, &b_size), 0);
    assert_int_equal(a_size, b_size);
    assert_memory_equal(a_text, b_text, a_size);
    free(a_text);
    free(b_text);
}

static void a_manifest_is_text_that_a_person_can_read(void **state)
{
    (void)state;
    static const char expected[] = "perigee-manifest 1 little-endian\n"
                                   "clock 81273\n"
                                   "log 7\n"
                                   "next-file 12\n"
                                   "trees 2\n"
                                   "tree 512 1 0 memory 81272 2\n"
                                   "file 512-1-3.run 40960 812 0\n"
                                   "file 512-1-9.run 4096 12 3\n"
                                   "tree 280 0 0 memory 81273 0\n"
                                   "end ";
    struct manifest manifest;
    char *text;
    size_t size;
    fill(&manifest, 81273);
    assert_int_equal(manifest_encode(&manifest, &text, &size), 0);
    assert_int_equal(size, sizeof expected - 1 + 9);
    assert_memory_equal(text, expected, sizeof expected - 1);
    assert_true(manifest_names(&manifest, "512-1-9.run"));
    assert_false(manifest_names(&manifest, "512-1-8.run"));
    free(text);
    manifest_destroy(&manifest);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned round = 0; round < 200; round++) {
        struct manifest manifest, read;
        char *text;
        size_t size;
        manifest_create(&manifest);
        manifest_create(&read);
        manifest.clock = random_next(&random) >> random_below(&random, 64);
        manifest.first_segment = random_next(&random) >> random_below(&random, 64);
        manifest.next_file = UINT64_MAX >> random_below(&random, 64);
        for (uint64_t n = random_below(&random, 20); n > 0; n--) {
            struct manifest_tree *tree;
            assert_int_equal(manifest_tree_add(&manifest, (uint32_t)random_next(&random),
                                               (uint32_t)random_next(&random),
                                               (uint32_t)random_below(&random, 3), "memory",
                                               manifest.clock >> random_below(&random, 8), &tree),
                             0);
            for (uint64_t i = random_below(&random, 6); i > 0; i--) {
                struct engine_file file = {.bytes = random_next(&random),
                                           .rows = random_next(&random)};
                file.tombstones = file.rows >> random_below(&random, 64);
                if (random_below(&random, 2) == 0) {
                    file.level = (uint32_t)random_below(&random, 7);
                    file.group = random_next(&random) >> random_below(&random, 64);
                    file.time_ms = random_next(&random) >> random_below(&random, 64);
                }
                snprintf(file.name, sizeof file.name, "f-%llu.run", (unsigned long long)i);
                assert_int_equal(manifest_file_add(tree, &file), 0);
            }
        }
        assert_int_equal(manifest_encode(&manifest, &text, &size), 0);
        assert_int_equal(manifest_decode(&read, text, size), 0);
        assert_same(&manifest, &read);
        free(text);
        manifest_destroy(&manifest);
        manifest_destroy(&read);
    }
}

static void every_byte_that_is_changed_or_missing_is_told(void **state)
{
    (void)state;
    struct manifest manifest, read;
    char *text;
    size_t size;
    fill(&manifest, 100);
    manifest_create(&read);
    assert_int_equal(manifest_encode(&manifest, &text, &size), 0);
    for (size_t i = 0; i < size; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            text[i] ^= (char)(1 << bit);
            int rc = manifest_decode(&read, text, size);
            assert_true(rc == ERROR_CORRUPT || rc == ERROR_VERSION);
            assert_non_null(strstr(diag_message(), "manifest"));
            assert_int_equal(read.tree_count, 0);
            text[i] ^= (char)(1 << bit);
        }
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(manifest_decode(&read, text, cut), ERROR_CORRUPT);
    free(text);
    manifest_destroy(&manifest);
}

static int decode_sealed(const char *text)
{
    struct manifest manifest;
    char whole[1024];
    manifest_create(&manifest);
    snprintf(whole, sizeof whole, "%send %08x\n", text, crc32c(0, text, strlen(text)));
    int rc = manifest_decode(&manifest, whole, strlen(whole));
    manifest_destroy(&manifest);
    return rc;
}

static void a_newer_format_and_another_order_of_bytes_are_refused_in_words(void **state)
{
    (void)state;
    assert_int_equal(decode_sealed("perigee-manifest 4 little-endian\nunknown\n"), ERROR_VERSION);
    assert_non_null(strstr(diag_message(), "newer perigee"));
    assert_int_equal(decode_sealed("perigee-manifest 1 big-endian\nclock 1\n"), ERROR_VERSION);
    assert_non_null(strstr(diag_message(), "order of bytes"));
    assert_int_equal(decode_sealed("perigee-manifest 0 little-endian\n"), ERROR_CORRUPT);
}

/* Levels are words of version 2, which is written only when there are some. */
static void files_of_levels_say_so_and_others_are_as_older_programs_read_them(void **state)
{
    (void)state;
    static const char expected[] = "perigee-manifest 2 little-endian\n"
                                   "clock 9\nlog 1\nnext-file 1\ntrees 1\n"
                                   "tree 512 1 0 lsm 9 2\n"
                                   "file 512-1-3.run 40960 812 0 6 3 1764000000000\n"
                                   "file 512-1-9.run 4096 12 3\n";
    struct manifest manifest;
    char whole[1024];
    manifest_create(&manifest);
    snprintf(whole, sizeof whole, "%send %08x\n", expected, crc32c(0, expected, strlen(expected)));
    assert_int_equal(manifest_decode(&manifest, whole, strlen(whole)), 0);
    const struct engine_file *files = manifest.trees[0].files;
    assert_int_equal(files[0].level, 6);
    assert_int_equal(files[0].group, 3);
    assert_int_equal(files[0].time_ms, 1764000000000);
    assert_int_equal(files[1].level + files[1].group + files[1].time_ms, 0);
    manifest_destroy(&manifest);
}

/* As behind rows that were ingested: version 3, which is written only then. */
static void a_tree_may_be_above_the_clock(void **state)
{
    (void)state;
    static const char expected[] = "perigee-manifest 3 little-endian\n"
                                   "clock 9\nlog 1\nnext-file 1\ntrees 2\n"
                                   "tree 512 1 0 lsm 16777225 0\n"
                                   "tree 513 1 0 lsm 9 0\n";
    struct manifest manifest;
    struct manifest_tree *tree;
    char *text;
    size_t size;
    manifest_create(&manifest);
    manifest.clock = 9;
    manifest.first_segment = 1;
    assert_int_equal(manifest_tree_add(&manifest, 512, 1, 0, "lsm", 16777225, &tree), 0);
    assert_int_equal(manifest_tree_add(&manifest, 513, 1, 0, "lsm", 9, &tree), 0);
    assert_int_equal(manifest_encode(&manifest, &text, &size), 0);
    assert_memory_equal(text, expected, sizeof expected - 1);
    manifest_destroy(&manifest);
    assert_int_equal(manifest_decode(&manifest, text, size), 0);
    assert_int_equal(manifest.trees[0].k, 16777225);
    manifest_destroy(&manifest);
    free(text);
}

#define FIRST_LINES "perigee-manifest 1 little-endian\nclock 9\nlog 1\nnext-file 1\n"

static void what_has_a_right_checksum_and_makes_no_sense_is_damage(void **state)
{
    (void)state;
    static const char *const texts[] = {
        FIRST_LINES "trees 1\n",
        FIRST_LINES "trees 0\nfile a 1 1 0\n",
        FIRST_LINES "trees 00\n",
        FIRST_LINES "trees 99999999999999999999\n",
        FIRST_LINES "trees 1\ntree 1 0 0 memory 10 0\n", /* K above the clock */
        FIRST_LINES "trees 1\ntree 4294967296 0 0 memory 1 0\n",
        FIRST_LINES "trees 1\ntree 1 0 0 memory 1 1\nfile ../a 1 1 0\n",
        FIRST_LINES "trees 1\ntree 1 0 0 memory 1 1\nfile .. 1 1 0\n",
        FIRST_LINES "trees 1\ntree 1 0 0 memory 1 1\nfile a.run 1 1 2\n",
        FIRST_LINES "trees 1\ntree 1 0 0 lsm 1 1\nfile a.run 1 1 0 0 0 0\n",
        FIRST_LINES "trees 1\ntree 1 0 0 lsm 1 1\nfile a.run 1 1 0 1\n",
        FIRST_LINES "trees 1\ntree 1 0 0 lsm 1 1\nfile a.run 1 1 0 1 1 1\n", /* version 1 */
        "perigee-manifest 2 little-endian\nclock 9\nlog 1\nnext-file 1\ntrees 0\n",
        "perigee-manifest 3 little-endian\nclock 9\nlog 1\nnext-file 1\ntrees 1\n"
        "tree 1 0 0 lsm 9 0\n", /* no K above the clock */
        FIRST_LINES "trees 1\ntree 1 0 0 a-much-longer-name-than-any-engine-has 1 0\n",
    };
    assert_int_equal(decode_sealed(FIRST_LINES "trees 0\n"), 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(decode_sealed(texts[i]), ERROR_CORRUPT);
}

static void a_directory_without_a_manifest_says_so(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    struct manifest manifest;
    manifest_create(&manifest);
    assert_int_equal(manifest_load(io, &manifest), ERROR_NOT_FOUND);
    io_delete(io);
    disk_delete(disk);
}

/* Stores `clock` over what is there. */
static int store(struct io *io, uint64_t clock, bool *replaced)
{
    struct manifest manifest;
    fill(&manifest, clock);
    int rc = manifest_store(io, &manifest, replaced);
    manifest_destroy(&manifest);
    return rc;
}

static uint64_t load(struct io *io)
{
    struct manifest manifest;
    manifest_create(&manifest);
    int rc = manifest_load(io, &manifest);
    if (rc != 0)
        fail_msg("%s", diag_message_for(rc));
    uint64_t clock = manifest.clock;
    manifest_destroy(&manifest);
    return clock;
}

static void a_cut_leaves_the_old_one_or_the_new_one(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), old = 0, new = 0;
    for (uint64_t round = 0; round < 100; round++)
        for (uint64_t n = 1;; n++) {
            struct disk *disk = disk_new(seed + round);
            struct io *io = disk_io(disk);
            bool replaced;
            disk_tear(disk, 512);
            assert_int_equal(store(io, 10, &replaced), 0);
            disk_cut_after(disk, n);
            int rc = store(io, 20, &replaced);
            bool was_cut = disk_is_cut(disk);
            io_delete(io);
            disk_cut(disk, seed + round + n);
            io = disk_io(disk);
            uint64_t found = load(io);
            assert_true(found == 20 || (found == 10 && rc != 0));
            /* While nothing is replaced, the old one is there for certain. */
            assert_true(found == 10 || replaced);
            old += found == 10;
            new += found == 20;
            io_delete(io);
            disk_delete(disk);
            if (!was_cut)
                break;
        }
    assert_true(old > 0 && new > 0);
}

static void after_a_failure_the_next_one_is_durable_all_the_same(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t n = 1;; n++) {
        struct disk *disk = disk_new(seed);
        struct io *io = disk_io(disk);
        bool replaced;
        assert_int_equal(store(io, 10, &replaced), 0);
        disk_fail_nth(disk, n, 5 /* EIO */);
        int failed = store(io, 20, &replaced);
        disk_fail_nth(disk, 0, 0);
        bool named = !atomic_load(&io->dir_failed); /* else there is no next one: see io_sync_dir */
        assert_int_equal(store(io, 30, &replaced), named ? 0 : ERROR_IO);
        io_delete(io);
        disk_cut(disk, seed + n);
        io = disk_io(disk);
        uint64_t found = load(io);
        assert_true(named ? found == 30 : found == 10 || found == 20);
        io_delete(io);
        disk_delete(disk);
        if (failed == 0)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_is_text_that_a_person_can_read),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(every_byte_that_is_changed_or_missing_is_told),
        cmocka_unit_test(a_newer_format_and_another_order_of_bytes_are_refused_in_words),
        cmocka_unit_test(files_of_levels_say_so_and_others_are_as_older_programs_read_them),
        cmocka_unit_test(a_tree_may_be_above_the_clock),
        cmocka_unit_test(what_has_a_right_checksum_and_makes_no_sense_is_damage),
        cmocka_unit_test(a_directory_without_a_manifest_says_so),
        cmocka_unit_test(a_cut_leaves_the_old_one_or_the_new_one),
        cmocka_unit_test(after_a_failure_the_next_one_is_durable_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
