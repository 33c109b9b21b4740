/* SPDX-License-Identifier: Apache-2.0 */

/* Writing runs and reading them: what each function promises, on a disk in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "io/disk.h"
#include "storage/cache/cache.h"
#include "storage/run/run_filter.h"
#include "storage/run/run_format.h"
#include "storage/run/run_salvage.h"
#include "storage/run_fixture.h"

static struct disk *disk;
static struct io *io;

static int set_up(void **state)
{
    (void)state;
    disk = disk_new(1);
    io = disk_io(disk);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    io_delete(io);
    disk_delete(disk);
    return 0;
}

static struct run_options options_of(const char *name)
{
    return (struct run_options){.io = io, .name = name, .space_id = 512, .up_to_ts = 1000};
}

static struct run *open_of(const struct run_options *options, const struct run_text *texts,
                           size_t count)
{
    struct run *run;
    assert_int_equal(run_text_write(options, texts, count, NULL), 0);
    assert_int_equal(run_open(io, options->name, &run), 0);
    assert_int_equal(run_verify(run, NULL, NULL), 0);
    return run;
}

/* The rows of a range as text: "key@ts=data key@ts- ...". */
static const char *range_text(struct run *run, const struct engine_range *range)
{
    static char text[1000];
    struct run_cursor *cursor;
    struct engine_row row;
    size_t size = 0;
    text[0] = '\0';
    assert_int_equal(run_cursor_open(run, range, &cursor), 0);
    int rc;
    while ((rc = run_cursor_next(cursor, &row)) == 0)
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%.*s@%u%s%.*s",
                                 size > 0 ? " " : "", (int)row.key_size, (const char *)row.key,
                                 (unsigned)row.ts, row.data == NULL ? "-" : "=", (int)row.size,
                                 row.data == NULL ? "" : row.data);
    assert_int_equal(rc, ERROR_END);
    assert_int_equal(run_cursor_next(cursor, &row), ERROR_END);
    run_cursor_close(cursor);
    return text;
}

static struct engine_range range_of(const char *lower, bool lower_inclusive, const char *upper,
                                    bool upper_inclusive, bool backward)
{
    return (struct engine_range){.lower = lower,
                                 .lower_size = lower == NULL ? 0 : strlen(lower),
                                 .lower_inclusive = lower_inclusive,
                                 .upper = upper,
                                 .upper_size = upper == NULL ? 0 : strlen(upper),
                                 .upper_inclusive = upper_inclusive,
                                 .backward = backward};
}

static const struct run_text FEW[] = {
    {"a", 9, "nine"}, {"a", 3, "three"}, {"ab", 5, NULL}, {"ab", 0, ""}, {"b", 7, "seven"},
};
enum { FEW_COUNT = sizeof FEW / sizeof *FEW };
static const char FEW_TEXT[] = "a@9=nine a@3=three ab@5- ab@0= b@7=seven";
static const char FEW_BACKWARD[] = "b@7=seven ab@0= ab@5- a@3=three a@9=nine";

static void what_was_added_is_read_in_order(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run *run = open_of(&options, FEW, FEW_COUNT);
    assert_string_equal(range_text(run, NULL), FEW_TEXT);
    struct engine_range backward = {.backward = true};
    assert_string_equal(range_text(run, &backward), FEW_BACKWARD);
    run_close(run);
}

static void the_info_is_the_same_from_writer_and_reader(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run_info info;
    struct run *run;
    options.incarnation = 3;
    options.index_id = 2;
    options.level = 4;
    options.sequence = 77;
    run_options_way(&options, RUN_WAYS - 1);
    assert_int_equal(run_text_write(&options, FEW, FEW_COUNT, &info), 0);
    assert_int_equal(run_open(io, "r", &run), 0);
    const struct run_info *read = run_info(run);
    assert_string_equal(run_name(run), "r");
    assert_int_equal(read->space_id, 512);
    assert_int_equal(read->incarnation, 3);
    assert_int_equal(read->index_id, 2);
    assert_int_equal(read->level, 4);
    assert_int_equal(read->sequence, 77);
    assert_int_equal(read->up_to_ts, 1000);
    assert_int_equal(read->rows, 5);
    assert_int_equal(read->tombstones, 1);
    assert_int_equal(read->blocks, 1);
    assert_int_equal(read->data_bytes, 1 + 4 + 1 + 5 + 2 + 2 + 1 + 5);
    assert_int_equal(read->min_ts, 0);
    assert_int_equal(read->max_ts, 9);
    assert_int_equal(read->key_bytes_max, 2);
    assert_int_equal(read->compression, COMPRESS_ZSTD);
    assert_int_equal(read->dictionary_bytes, options.dictionary_size);
    assert_int_equal(read->first_key_size, 1);
    assert_memory_equal(read->first_key, "a", 1);
    assert_int_equal(read->last_key_size, 1);
    assert_memory_equal(read->last_key, "b", 1);
    assert_null(info.first_key);
    assert_null(info.last_key);
    info.first_key = read->first_key;
    info.last_key = read->last_key;
    assert_memory_equal(&info, read, sizeof info);
    run_close(run);
}

static void a_run_without_rows_is_a_run(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run *run = open_of(&options, NULL, 0);
    struct arena arena;
    struct engine_row row;
    struct engine_range backward = {.backward = true};
    struct engine_range from = range_of("a", true, NULL, false, false);
    struct engine_range to = range_of(NULL, false, "a", true, true);
    assert_string_equal(range_text(run, NULL), "");
    assert_string_equal(range_text(run, &backward), "");
    assert_string_equal(range_text(run, &from), "");
    assert_string_equal(range_text(run, &to), "");
    assert_null(run_info(run)->first_key);
    arena_create(&arena, 0);
    assert_int_equal(run_get(run, "a", 1, 1000, &arena, &row), ERROR_NOT_FOUND);
    arena_destroy(&arena);
    run_close(run);
}

static void ranges_begin_and_end_where_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *lower, *upper;
        bool lower_inclusive, upper_inclusive;
        const char *rows;
    } cases[] = {
        {"a", NULL, true, false, "a@9=nine a@3=three ab@5- ab@0= b@7=seven"},
        {"a", NULL, false, false, "ab@5- ab@0= b@7=seven"},
        {"ab", NULL, false, false, "b@7=seven"},
        {"b", NULL, false, false, ""},
        {"c", NULL, true, false, ""},
        {NULL, "ab", false, true, "a@9=nine a@3=three ab@5- ab@0="},
        {NULL, "ab", false, false, "a@9=nine a@3=three"},
        {NULL, "a", false, false, ""},
        {NULL, "c", false, false, "a@9=nine a@3=three ab@5- ab@0= b@7=seven"},
        {"aa", "az", true, true, "ab@5- ab@0="},
        {"ab", "ab", true, true, "ab@5- ab@0="},
        {"ab", "ab", true, false, ""},
        {"b", "a", true, true, ""},
    };
    for (size_t block_bytes = RUN_BLOCK_BYTES_MIN; block_bytes <= 4096; block_bytes *= 64) {
        struct run_options options = options_of("r");
        options.block_bytes = block_bytes;
        struct run *run = open_of(&options, FEW, FEW_COUNT);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct engine_range range = range_of(cases[i].lower, cases[i].lower_inclusive,
                                                 cases[i].upper, cases[i].upper_inclusive, false);
            assert_string_equal(range_text(run, &range), cases[i].rows);
        }
        run_close(run);
        assert_int_equal(io_unlink(io, "r"), 0);
    }
}

static void get_finds_the_newest_version_not_above_a_timestamp(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run *run = open_of(&options, FEW, FEW_COUNT);
    struct arena arena;
    struct engine_row row;
    arena_create(&arena, 0);
    assert_int_equal(run_get(run, "a", 1, UINT64_MAX, &arena, &row), 0);
    assert_int_equal(row.ts, 9);
    assert_memory_equal(row.data, "nine", 4);
    assert_memory_equal(row.key, "a", 1);
    assert_int_equal(run_get(run, "a", 1, 8, &arena, &row), 0);
    assert_int_equal(row.ts, 3);
    assert_int_equal(run_get(run, "a", 1, 2, &arena, &row), ERROR_NOT_FOUND);
    assert_int_equal(run_get(run, "ab", 2, 10, &arena, &row), 0);
    assert_null(row.data);
    assert_int_equal(run_get(run, "ab", 2, 4, &arena, &row), 0);
    assert_non_null(row.data);
    assert_int_equal(row.size, 0);
    assert_int_equal(run_get(run, "aa", 2, 10, &arena, &row), ERROR_NOT_FOUND);
    assert_int_equal(run_get(run, "", 0, 10, &arena, &row), ERROR_NOT_FOUND);
    assert_int_equal(run_get(run, "c", 1, 10, &arena, &row), ERROR_NOT_FOUND);
    arena_destroy(&arena);
    run_close(run);
}

static void runs_of_one_number_may_share_a_cache(void **state)
{
    (void)state;
    static const struct run_text one[] = {{"k", 5, "of the first"}},
                                 other[] = {{"k", 5, "another"}};
    struct run_options options[] = {options_of("a"), options_of("b")};
    struct run *runs[2];
    struct cache *cache;
    struct engine_row row;
    struct arena arena;
    arena_create(&arena, 0);
    assert_int_equal(cache_new(&(struct cache_options){.budget_bytes = 1 << 20}, &cache), 0);
    assert_int_equal(run_text_write(&options[0], one, 1, NULL), 0);
    assert_int_equal(run_text_write(&options[1], other, 1, NULL), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(run_open_cached(io, options[i].name, cache, &runs[i]), 0);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(run_get(runs[0], "k", 1, 9, &arena, &row), 0);
        assert_memory_equal(row.data, "of the first", row.size);
        assert_int_equal(run_get(runs[1], "k", 1, 9, &arena, &row), 0);
        assert_memory_equal(row.data, "another", row.size);
    }
    for (unsigned i = 0; i < 2; i++)
        run_close(runs[i]);
    cache_delete(cache);
    arena_destroy(&arena);
}

static void get_leaves_nothing_in_the_arena_when_it_finds_nothing(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run *run = open_of(&options, FEW, FEW_COUNT);
    struct arena arena;
    struct engine_row row;
    arena_create(&arena, 0);
    assert_int_equal(run_get(run, "aa", 2, 10, &arena, &row), ERROR_NOT_FOUND);
    assert_int_equal(arena.used_bytes, 0);
    arena_destroy(&arena);
    run_close(run);
}

/* Versions of one key that fill many blocks, between keys that are prefixes and successors of it. */
static void the_versions_of_one_key_may_fill_many_blocks(void **state)
{
    (void)state;
    enum { VERSIONS = 300 };
    struct run_options options = options_of("r");
    options.block_bytes = RUN_BLOCK_BYTES_MIN;
    struct run_writer *writer;
    struct engine_row row = run_text_row(&(struct run_text){"k", 500, "before"});
    assert_int_equal(run_writer_new(&options, &writer), 0);
    assert_int_equal(run_writer_add(writer, &row), 0);
    for (unsigned n = 0; n < VERSIONS; n++) {
        row = run_text_row(&(struct run_text){"key", 2 * (VERSIONS - n), "some data"});
        assert_int_equal(run_writer_add(writer, &row), 0);
    }
    row = run_text_row(&(struct run_text){"key\x01", 500, "after"});
    assert_int_equal(run_writer_add(writer, &row), 0);
    assert_int_equal(run_writer_finish(writer, NULL), 0);

    struct run *run;
    struct arena arena;
    arena_create(&arena, 1 << 20);
    assert_int_equal(run_open(io, "r", &run), 0);
    assert_int_equal(run_verify(run, NULL, NULL), 0);
    assert_true(run_info(run)->blocks > 20);
    for (uint64_t ts = 2; ts <= 2 * VERSIONS + 1; ts++) {
        assert_int_equal(run_get(run, "key", 3, ts, &arena, &row), 0);
        assert_int_equal(row.ts, ts & ~UINT64_C(1));
        arena_reset(&arena);
    }
    assert_int_equal(run_get(run, "key", 3, 1, &arena, &row), ERROR_NOT_FOUND);
    struct engine_range none = range_of("key", false, "key\x01", false, false);
    assert_string_equal(range_text(run, &none), "");
    none.backward = true;
    assert_string_equal(range_text(run, &none), "");
    struct engine_range all = range_of("key", true, "key", true, true);
    struct run_cursor *cursor;
    assert_int_equal(run_cursor_open(run, &all, &cursor), 0);
    for (unsigned n = 1; n <= VERSIONS; n++) {
        assert_int_equal(run_cursor_next(cursor, &row), 0);
        assert_int_equal(row.ts, 2 * n);
    }
    assert_int_equal(run_cursor_next(cursor, &row), ERROR_END);
    run_cursor_close(cursor);
    run_close(run);
    arena_destroy(&arena);
}

/* Larger than a block, than the writer's buffer, and than what is compressed. */
static void a_row_may_be_larger_than_everything(void **state)
{
    (void)state;
    enum { SIZE = 17 << 20 };
    char *data = malloc(SIZE);
    assert_non_null(data);
    memset(data, 'x', SIZE);
    struct run_options options = options_of("r");
    options.compression = COMPRESS_ZSTD;
    struct run_writer *writer;
    struct engine_row row = run_text_row(&(struct run_text){"a", 1, "small"});
    assert_int_equal(run_writer_new(&options, &writer), 0);
    assert_int_equal(run_writer_add(writer, &row), 0);
    row = (struct engine_row){(const unsigned char *)"b", 1, 1, data, SIZE};
    assert_int_equal(run_writer_add(writer, &row), 0);
    assert_true(run_writer_bytes(writer) > SIZE);
    row.key = (const unsigned char *)"c";
    row.size = 1 << 20;
    assert_int_equal(run_writer_add(writer, &row), 0);
    assert_int_equal(run_writer_finish(writer, NULL), 0);

    struct run *run;
    struct arena arena;
    arena_create(&arena, 0);
    assert_int_equal(run_open(io, "r", &run), 0);
    assert_int_equal(run_verify(run, NULL, NULL), 0);
    assert_int_equal(run_get(run, "b", 1, 1, &arena, &row), 0);
    assert_int_equal(row.size, SIZE);
    assert_memory_equal(row.data, data, SIZE);
    assert_int_equal(run_get(run, "c", 1, 1, &arena, &row), 0);
    assert_int_equal(row.size, 1 << 20);
    assert_in_range(run_info(run)->file_bytes, SIZE, SIZE + (1 << 16));
    arena_destroy(&arena);
    run_close(run);
    free(data);
}

static void compression_makes_the_file_smaller_and_changes_nothing_else(void **state)
{
    (void)state;
    enum { ROWS = 2000 };
    struct run_info info[RUN_WAYS];
    for (unsigned way = 0; way < RUN_WAYS; way++) {
        struct run_options options = options_of("r");
        run_options_way(&options, way);
        struct run_writer *writer;
        assert_int_equal(run_writer_new(&options, &writer), 0);
        for (unsigned i = 0; i < ROWS; i++) {
            char key[16];
            snprintf(key, sizeof key, "key %05u", i);
            struct engine_row row =
                run_text_row(&(struct run_text){key, i % 1000, "text that repeats, that repeats"});
            assert_int_equal(run_writer_add(writer, &row), 0);
        }
        assert_int_equal(run_writer_finish(writer, &info[way]), 0);
        assert_int_equal(run_read_all(io, options.name), 0);
        assert_int_equal(io_unlink(io, options.name), 0);
        assert_true(way == 0 || info[way].file_bytes * 4 < info[0].file_bytes);
        assert_int_equal(info[way].data_bytes, info[0].data_bytes);
        assert_int_equal(info[way].rows, info[0].rows);
    }
}

static void a_dictionary_that_is_none_is_refused_and_leaves_no_file(void **state)
{
    (void)state;
    static char large[RUN_DICTIONARY_BYTES_MAX + 1];
    struct run_options options = options_of("r");
    struct run_writer *writer;
    struct run *run;
    run_options_way(&options, RUN_WAYS - 1);
    struct run_options wrong[3] = {options, options, options};
    wrong[0].compression = COMPRESS_LZ4;
    wrong[1].dictionary = "no dictionary";
    wrong[1].dictionary_size = 13;
    memcpy(large, options.dictionary, options.dictionary_size);
    wrong[2].dictionary = large;
    wrong[2].dictionary_size = sizeof large;
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(run_writer_new(&wrong[n], &writer), ERROR_INVALID);
        assert_non_null(strstr(diag_message(), "the run r cannot have this dictionary"));
        assert_int_equal(run_open(io, "r", &run), ERROR_NOT_FOUND);
    }
}

enum { FILTERED_ROWS = 2000 };

/* Even numbers, each in two versions. */
static struct run *filtered_run(unsigned bits, enum run_filter_kind kind)
{
    struct run_options options = options_of("r");
    struct run_writer *writer;
    struct run *run;
    options.filter_bits = bits;
    options.filter = kind;
    assert_int_equal(run_writer_new(&options, &writer), 0);
    for (unsigned i = 0; i < FILTERED_ROWS; i++) {
        char key[16];
        snprintf(key, sizeof key, "%06u", i / 2 * 2);
        struct engine_row row = run_text_row(&(struct run_text){key, 9 - i % 2, "x"});
        assert_int_equal(run_writer_add(writer, &row), 0);
    }
    struct run_info info;
    assert_int_equal(run_writer_finish(writer, &info), 0);
    assert_int_equal(run_open(io, "r", &run), 0);
    assert_int_equal(run_verify(run, NULL, NULL), 0);
    assert_int_equal(run_info(run)->filter, info.filter);
    assert_int_equal(run_info(run)->filter_bytes, info.filter_bytes);
    return run;
}

/* Looks for each number; returns how many of the odd ones, which are not there, cost a read. */
static unsigned looks_in_vain(struct run *run)
{
    struct engine_row row;
    struct arena arena;
    unsigned reads = 0;
    arena_create(&arena, 0);
    for (unsigned i = 0; i < FILTERED_ROWS - 1; i++) {
        char key[16];
        snprintf(key, sizeof key, "%06u", i);
        uint64_t before = disk_call_count(disk, DISK_READ);
        int rc = run_get(run, key, 6, 1000, &arena, &row);
        assert_int_equal(rc, i % 2 == 0 ? 0 : ERROR_NOT_FOUND);
        reads += i % 2 == 1 && disk_call_count(disk, DISK_READ) != before;
        assert_true(rc != 0 || run_may_contain(run, key, 6));
        arena_reset(&arena);
    }
    arena_destroy(&arena);
    return reads;
}

static void a_filter_spares_the_reads_for_keys_that_are_not_there(void **state)
{
    (void)state;
    struct run *run = filtered_run(0, RUN_FILTER_RIBBON);
    assert_int_equal(run_info(run)->filter_bytes, 0);
    assert_int_equal(run_info(run)->filter, RUN_FILTER_NONE);
    assert_int_equal(looks_in_vain(run), FILTERED_ROWS / 2 - 1);
    run_close(run);
    assert_int_equal(io_unlink(io, "r"), 0);
    run = filtered_run(10, RUN_FILTER_BLOOM);
    /* Ten bits for each of a thousand keys, in blocks of 512. */
    assert_int_equal(run_info(run)->filter_bytes, RUN_FILTER_HEADER_BYTES + 20 * 64);
    assert_int_equal(run_info(run)->filter, RUN_FILTER_BLOOM);
    assert_in_range(looks_in_vain(run), 0, 30); /* the hash has no seed: the same each time */
    assert_false(run_may_contain(run, "0", 1));
    assert_false(run_may_contain(run, "9", 1));
    run_close(run);
    assert_int_equal(io_unlink(io, "r"), 0);
    run = filtered_run(10, RUN_FILTER_RIBBON);
    /* Nine blocks of 128 rows, four of six columns, five of seven. */
    assert_int_equal(run_info(run)->filter_bytes, RUN_FILTER_RIBBON_BYTES + (4 * 6 + 5 * 7) * 16);
    assert_int_equal(run_info(run)->filter, RUN_FILTER_RIBBON);
    assert_in_range(looks_in_vain(run), 0, 30);
    assert_false(run_may_contain(run, "0", 1));
    run_close(run);
}

static void few_keys_have_a_bloom_filter_where_a_ribbon_is_no_smaller(void **state)
{
    (void)state;
    static const struct run_text texts[] = {{"a", 9, "x"}, {"b", 8, "y"}};
    struct run_options options = options_of("r");
    options.filter_bits = 10;
    options.filter = RUN_FILTER_RIBBON;
    for (unsigned count = 0; count <= 2; count++) {
        struct run *run = open_of(&options, texts, count);
        assert_int_equal(run_info(run)->filter, RUN_FILTER_BLOOM);
        assert_int_equal(run_info(run)->filter_bytes, RUN_FILTER_HEADER_BYTES + 64);
        run_close(run);
        assert_int_equal(io_unlink(io, "r"), 0);
    }
}

/* Every word of a ribbon filter's header in turn is another one. */
static void a_ribbon_filter_with_another_header_is_damage_or_reads_what_is_there(void **state)
{
    (void)state;
    static const uint32_t words[] = {0, 1, 2, 3, 5, 7, 9, 32, 256, 0x10000, 0x7fffffff, UINT32_MAX};
    struct run_filter_builder builder = {0};
    struct run_memory contents = {0};
    struct run_filter filter;
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(run_filter_add(&builder, &i, sizeof i), 0);
    assert_int_equal(run_filter_end(&builder, RUN_FILTER_RIBBON, 10, &contents), 0);
    assert_int_equal(run_filter_kind_of(&contents), RUN_FILTER_RIBBON);
    for (size_t at = RUN_FILTER_HEADER_BYTES; at < RUN_FILTER_RIBBON_BYTES; at += sizeof *words)
        for (size_t n = 0; n < sizeof words / sizeof *words; n++) {
            unsigned char *copy = malloc(contents.size);
            assert_non_null(copy);
            memcpy(copy, contents.data, contents.size);
            memcpy(copy + at, &words[n], sizeof *words);
            int rc = run_filter_open(&filter, copy, contents.size);
            assert_true(rc == 0 || rc == ERROR_CORRUPT);
            free(copy);
            for (unsigned i = 0; rc == 0 && i < 3000; i++)
                run_filter_may_contain(&filter, &i, sizeof i);
            run_filter_close(&filter);
        }
    for (size_t size = 0; size < contents.size; size++)
        assert_int_equal(run_filter_open(&filter, contents.data, size), ERROR_CORRUPT);
    assert_int_equal(run_filter_open(&filter, contents.data, contents.size), 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(run_filter_may_contain(&filter, &i, sizeof i));
    run_filter_close(&filter);
    run_memory_destroy(&contents);
    run_filter_builder_destroy(&builder);
}

/* The bytes of the section of a run with two keys, against what the header describes. */
static void the_bytes_of_a_filter_are_those_that_its_header_describes(void **state)
{
    (void)state;
    static const uint64_t HASHES[] = {UINT64_C(0xe6c632b61e964e1f) /* "a" */,
                                      UINT64_C(0x78af5f94892f3950) /* "abc" */};
    static const uint32_t SALTS[] = {0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d,
                                     0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31};
    static const struct run_text texts[] = {{"a", 9, "x"}, {"a", 8, "y"}, {"abc", 7, NULL}};
    unsigned char expected[RUN_FILTER_HEADER_BYTES + 64] = {1, 0, 0, 0, 0, 0, 0, 0, 2};
    struct run_options options = options_of("r");
    struct arena arena;
    const void *data;
    size_t size;
    for (unsigned n = 0; n < 2; n++)
        for (unsigned i = 0; i < 8; i++) {
            unsigned bit = ((uint32_t)HASHES[n] * SALTS[i]) >> 26;
            expected[RUN_FILTER_HEADER_BYTES + i * 8 + bit / 8] |= (unsigned char)(1 << bit % 8);
        }
    options.filter_bits = 10;
    struct run *run = open_of(&options, texts, 3);
    arena_create(&arena, 0);
    assert_int_equal(run_section_read(run, RUN_SECTION_FILTER, &arena, &data, &size), 0);
    assert_int_equal(size, sizeof expected);
    assert_memory_equal(data, expected, sizeof expected);
    arena_destroy(&arena);
    run_close(run);
}

static void a_filter_of_a_later_version_is_passed_over_and_another_size_is_damage(void **state)
{
    (void)state;
    unsigned char contents[RUN_FILTER_HEADER_BYTES + 65] = {3};
    struct run_filter filter;
    assert_int_equal(run_filter_open(&filter, contents, sizeof contents), 0);
    assert_true(run_filter_may_contain(&filter, "a", 1));
    assert_int_equal(filter.kind, RUN_FILTER_UNKNOWN);
    contents[0] = RUN_FILTER_BLOOM;
    assert_int_equal(run_filter_open(&filter, contents, sizeof contents), ERROR_CORRUPT);
    assert_int_equal(run_filter_open(&filter, contents, RUN_FILTER_HEADER_BYTES), ERROR_CORRUPT);
    assert_int_equal(run_filter_open(&filter, contents, 3), ERROR_CORRUPT);
    assert_int_equal(run_filter_open(&filter, contents, sizeof contents - 1), 0);
    assert_false(run_filter_may_contain(&filter, "a", 1));
    run_filter_close(&filter);
}

static uint64_t bytes_lost;

static void on_gap(const struct run_gap *gap, void *arg)
{
    (void)arg;
    bytes_lost += gap->bytes;
}

/* How many rows are saved of the run "r". */
static unsigned rows_saved(void)
{
    struct run_salvage *salvage;
    struct engine_row row;
    unsigned rows = 0;
    bytes_lost = 0;
    assert_int_equal(run_salvage_open(io, "r", on_gap, NULL, &salvage), 0);
    while (run_salvage_next(salvage, &row) == 0)
        rows++;
    run_salvage_close(salvage);
    return rows;
}

static void rows_are_saved_by_the_dictionary_and_lost_with_it(void **state)
{
    (void)state;
    enum { ROWS = 200 };
    struct run_options options = options_of("r");
    struct run_writer *writer;
    run_options_way(&options, RUN_WAYS - 1);
    options.block_bytes = 512;
    assert_int_equal(run_writer_new(&options, &writer), 0);
    for (unsigned i = 0; i < ROWS; i++) {
        char key[16];
        snprintf(key, sizeof key, "key %05u", i);
        struct engine_row row = run_text_row(
            &(struct run_text){key, 1, "{\"name\": \"gold\", \"city\": \"Perigee\", \"n\": 7}"});
        assert_int_equal(run_writer_add(writer, &row), 0);
    }
    assert_int_equal(run_writer_finish(writer, NULL), 0);
    assert_int_equal(rows_saved(), ROWS);
    assert_int_equal(bytes_lost, 0);

    size_t size;
    unsigned char *bytes = run_file_read(io, "r", &size);
    bytes[RUN_HEADER_BYTES + RUN_FRAME_BYTES + 20] ^= 1;
    run_file_write(io, "r", bytes, size);
    assert_int_equal(rows_saved(), 0);
    assert_true(bytes_lost > options.dictionary_size);
    free(bytes);
}

static void rows_out_of_order_are_refused_and_leave_no_file(void **state)
{
    (void)state;
    static const struct run_text wrong[][2] = {
        {{"b", 1, "x"}, {"a", 1, "x"}},
        {{"a", 1, "x"}, {"a", 2, "x"}},
        {{"a", 1, "x"}, {"a", 1, "x"}},
        {{"ab", 1, "x"}, {"a", 1, "x"}},
        {{"a", 1, "x"}, {"b", 1001, "newer than up_to_ts"}},
    };
    struct run_options options = options_of("r");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct io_file *file;
        assert_int_equal(run_text_write(&options, wrong[i], 2, NULL), ERROR_INVALID);
        assert_int_equal(diag_code(), ERROR_INVALID);
        assert_non_null(strstr(diag_message(), "run r"));
        assert_int_equal(io_open(io, "r", IO_READ, &file), ERROR_NOT_FOUND);
    }
}

static void after_an_error_a_writer_repeats_it(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run_writer *writer;
    struct engine_row row = run_text_row(&(struct run_text){"a", 1001, "x"});
    char message[DIAG_MESSAGE_MAX];
    assert_int_equal(run_writer_new(&options, &writer), 0);
    assert_int_equal(run_writer_add(writer, &row), ERROR_INVALID);
    snprintf(message, sizeof message, "%s", diag_message());
    row.ts = 1;
    assert_int_equal(run_writer_add(writer, &row), ERROR_INVALID);
    assert_string_equal(diag_message(), message);
    diag_clear();
    assert_int_equal(run_writer_section(writer, 1000, false, "x", 1), ERROR_INVALID);
    assert_int_equal(run_writer_finish(writer, NULL), ERROR_INVALID);
    assert_string_equal(diag_message(), message);
}

static void a_file_that_is_there_is_not_overwritten(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    assert_int_equal(run_text_write(&options, FEW, FEW_COUNT, NULL), 0);
    assert_int_equal(run_text_write(&options, FEW, 1, NULL), ERROR_EXISTS);
    assert_int_equal(run_read_all(io, "r"), 0);
    struct run *run;
    assert_int_equal(run_open(io, "absent", &run), ERROR_NOT_FOUND);
}

static void an_abandoned_run_leaves_no_file(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run_writer *writer;
    struct io_file *file;
    assert_int_equal(run_writer_new(&options, &writer), 0);
    run_writer_delete(writer);
    assert_int_equal(io_open(io, "r", IO_READ, &file), ERROR_NOT_FOUND);
}

static void a_finished_run_is_durable_before_the_next_call(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    assert_int_equal(run_text_write(&options, FEW, FEW_COUNT, NULL), 0);
    assert_int_equal(io_sync_dir(io), 0);
    disk_cut(disk, 7);
    io_delete(io);
    io = disk_io(disk);
    assert_int_equal(run_read_all(io, "r"), 0);
}

static void sections_are_found_by_type_and_skipped_when_unknown(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run_writer *writer;
    struct engine_row row = run_text_row(&FEW[0]);
    assert_int_equal(run_writer_new(&options, &writer), 0);
    assert_int_equal(run_writer_add(writer, &row), 0);
    assert_int_equal(run_writer_section(writer, 1000, false, "filter", 6), 0);
    assert_int_equal(run_writer_section(writer, 7, false, "of a later version", 18), 0);
    assert_int_equal(run_writer_section(writer, 1001, true, NULL, 0), 0);
    assert_int_equal(run_writer_finish(writer, NULL), 0);
    assert_int_equal(run_read_all(io, "r"), 0);

    struct run *run;
    struct arena arena;
    const void *data;
    size_t size;
    arena_create(&arena, 0);
    assert_int_equal(run_open(io, "r", &run), 0);
    assert_string_equal(range_text(run, NULL), "a@9=nine");
    assert_int_equal(run_section_read(run, 1000, &arena, &data, &size), 0);
    assert_int_equal(size, 6);
    assert_memory_equal(data, "filter", 6);
    assert_int_equal(run_section_read(run, 1001, &arena, &data, &size), 0);
    assert_int_equal(size, 0);
    assert_int_equal(run_section_read(run, 1002, &arena, &data, &size), ERROR_NOT_FOUND);
    run_close(run);
    arena_destroy(&arena);
}

static void an_unknown_section_that_must_be_understood_refuses_the_file(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run_writer *writer;
    struct run *run;
    assert_int_equal(run_writer_new(&options, &writer), 0);
    assert_int_equal(run_writer_section(writer, 7, true, "x", 1), 0);
    assert_int_equal(run_writer_finish(writer, NULL), 0);
    assert_int_equal(run_open(io, "r", &run), ERROR_VERSION);
    assert_non_null(strstr(diag_message(), "use the program that wrote it"));
}

static void rows_after_a_section_are_refused(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run_writer *writer;
    struct engine_row row = run_text_row(&FEW[0]);
    assert_int_equal(run_writer_new(&options, &writer), 0);
    assert_int_equal(run_writer_section(writer, 1000, false, "x", 1), 0);
    assert_int_equal(run_writer_add(writer, &row), ERROR_INVALID);
    run_writer_delete(writer);
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    uint64_t *seen = arg;
    assert_true(done > seen[0] && done <= total);
    seen[0] = done;
    seen[1] = total;
}

static void verify_tells_how_far_it_is(void **state)
{
    (void)state;
    struct run_options options = options_of("r");
    struct run_writer *writer;
    struct run *run;
    uint64_t seen[2] = {0, 0};
    char data[4096];
    memset(data, 'x', sizeof data);
    assert_int_equal(run_writer_new(&options, &writer), 0);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned char key[2] = {(unsigned char)(i >> 8), (unsigned char)i};
        struct engine_row row = {key, 2, 1, data, sizeof data};
        assert_int_equal(run_writer_add(writer, &row), 0);
    }
    assert_int_equal(run_writer_finish(writer, NULL), 0);
    assert_int_equal(run_open(io, "r", &run), 0);
    assert_int_equal(run_verify(run, on_progress, seen), 0);
    assert_int_equal(seen[0], run_info(run)->file_bytes);
    assert_int_equal(seen[1], run_info(run)->file_bytes);
    run_close(run);
}

static void a_timestamp_of_any_size_is_kept(void **state)
{
    (void)state;
    static const struct run_text rows[] = {
        {"a", UINT64_MAX, "x"},
        {"a", UINT64_MAX - 1, "x"},
        {"a", UINT64_C(1) << 63, "x"},
        {"a", 1, "x"},
        {"a", 0, "x"},
    };
    struct run_options options = options_of("r");
    options.up_to_ts = UINT64_MAX;
    struct run *run = open_of(&options, rows, 5);
    struct run_cursor *cursor;
    struct engine_row row;
    assert_int_equal(run_cursor_open(run, NULL, &cursor), 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(run_cursor_next(cursor, &row), 0);
        assert_true(row.ts == rows[i].ts);
    }
    run_cursor_close(cursor);
    run_close(run);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_added_is_read_in_order),
        TEST(the_info_is_the_same_from_writer_and_reader),
        TEST(a_run_without_rows_is_a_run),
        TEST(ranges_begin_and_end_where_they_say),
        TEST(get_finds_the_newest_version_not_above_a_timestamp),
        TEST(runs_of_one_number_may_share_a_cache),
        TEST(get_leaves_nothing_in_the_arena_when_it_finds_nothing),
        TEST(the_versions_of_one_key_may_fill_many_blocks),
        TEST(a_row_may_be_larger_than_everything),
        TEST(rows_are_saved_by_the_dictionary_and_lost_with_it),
        TEST(a_filter_spares_the_reads_for_keys_that_are_not_there),
        TEST(few_keys_have_a_bloom_filter_where_a_ribbon_is_no_smaller),
        TEST(a_ribbon_filter_with_another_header_is_damage_or_reads_what_is_there),
        TEST(the_bytes_of_a_filter_are_those_that_its_header_describes),
        TEST(a_filter_of_a_later_version_is_passed_over_and_another_size_is_damage),
        TEST(a_dictionary_that_is_none_is_refused_and_leaves_no_file),
        TEST(compression_makes_the_file_smaller_and_changes_nothing_else),
        TEST(rows_out_of_order_are_refused_and_leave_no_file),
        TEST(after_an_error_a_writer_repeats_it),
        TEST(a_file_that_is_there_is_not_overwritten),
        TEST(an_abandoned_run_leaves_no_file),
        TEST(a_finished_run_is_durable_before_the_next_call),
        TEST(sections_are_found_by_type_and_skipped_when_unknown),
        TEST(an_unknown_section_that_must_be_understood_refuses_the_file),
        TEST(rows_after_a_section_are_refused),
        TEST(verify_tells_how_far_it_is),
        TEST(a_timestamp_of_any_size_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
