/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows of a body that are asked for together: body_prefetch, and where the cursors of the engine "lsm" begin. What it reads is
 * what gets would have read; what fails, or does not fit, changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "storage/body_rows.h"
#include "storage/btree/btree.h"
#include "storage/lsm/lsm.h"

enum { ROWS = 3000, CACHE_BYTES = 8 << 20, MANY = ENGINE_PREFETCH_MAX, ERROR_NUMBER = 5 };

static const struct engine_vtab *const engines[] = {&engine_lsm, &engine_btree};
enum { ENGINES = sizeof engines / sizeof *engines };

/* Rows [0, ROWS), of which every eleventh is missing, in several sequences where there are such. */
static void fill(struct body_rows *rows, const struct engine_vtab *engine, size_t cache_bytes)
{
    body_rows_open(rows, engine, cache_bytes);
    for (unsigned first = 1; first < 11; first++)
        body_rows_add(rows, first, ROWS, 11);
    body_rows_cool(rows);
}

static bool present(unsigned number)
{
    return number < ROWS && number % 11 != 0;
}

static void assert_nothing_is_pinned(struct body_rows *rows)
{
    struct cache_stats stats;
    cache_stats_get(rows->cache, &stats);
    assert_int_equal(stats.pinned, 0);
    assert_true(stats.used_bytes <= stats.budget_bytes);
}

/* Of present and absent rows. */
static unsigned choose(struct random *random, unsigned *numbers)
{
    unsigned count = 1 + (unsigned)random_below(random, MANY);
    for (unsigned i = 0; i < count; i++)
        numbers[i] = (unsigned)random_below(random, ROWS + ROWS / 10);
    return count;
}

static void assert_gets(struct body_rows *rows, const unsigned *numbers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(body_rows_get(rows, numbers[i]),
                         present(numbers[i]) ? 0 : ERROR_NOT_FOUND);
}

static void rows_that_are_asked_for_together_are_found_without_reading(void **state)
{
    (void)state;
    for (unsigned e = 0; e < ENGINES; e++) {
        struct body_rows rows;
        struct random random;
        unsigned numbers[MANY], reads, more;
        fill(&rows, engines[e], CACHE_BYTES);
        random_create(&random, test_seed());
        for (unsigned round = 0; round < 50; round++) {
            unsigned count = choose(&random, numbers);
            for (unsigned i = 0; i < count; i++)
                numbers[i] -= !present(numbers[i]) && numbers[i] % 11 == 0 && numbers[i] < ROWS &&
                              numbers[i] > 0;
            body_rows_cool(&rows);
            uint64_t before = body_rows_reads(&rows);
            assert_int_equal(body_rows_prefetch(&rows, numbers, count, &reads), count);
            assert_int_equal(body_rows_reads(&rows) - before, reads);
            assert_int_equal(body_rows_prefetch(&rows, numbers, count, &more), count);
            assert_int_equal(more, 0);
            before = body_rows_reads(&rows);
            unsigned found = 0;
            for (unsigned i = 0; i < count; i++)
                found += present(numbers[i]);
            assert_gets(&rows, numbers, count);
            /* A filter may have let something through for nothing. */
            assert_true(body_rows_reads(&rows) - before <= count / 4 + 2);
            assert_true(found == 0 || reads > 0);
            assert_nothing_is_pinned(&rows);
        }
        body_rows_close(&rows);
    }
}

static void what_could_not_be_read_before_is_read_when_it_is_wanted(void **state)
{
    (void)state;
    for (unsigned e = 0; e < ENGINES; e++) {
        struct body_rows rows;
        struct random random;
        unsigned numbers[MANY], reads;
        fill(&rows, engines[e], CACHE_BYTES);
        random_create(&random, test_seed());
        for (unsigned n = 1; n < 40; n++) {
            unsigned count = choose(&random, numbers);
            body_rows_cool(&rows);
            diag_clear(); /* what making the rows has left, where nothing is read */
            disk_fail_nth_of(rows.disk, DISK_READ, n, ERROR_NUMBER);
            body_rows_prefetch(&rows, numbers, count, &reads);
            disk_fail_nth(rows.disk, 0, 0);
            assert_int_equal(diag_code(), 0);
            assert_gets(&rows, numbers, count);
            assert_nothing_is_pinned(&rows);
        }
        disk_fail_always(rows.disk, DISK_READ, ERROR_NUMBER);
        body_rows_cool(&rows);
        numbers[0] = 5;
        assert_int_equal(body_rows_prefetch(&rows, numbers, 1, &reads), 1);
        assert_int_equal(diag_code(), 0);
        assert_int_equal(body_rows_get(&rows, 5), ERROR_IO);
        diag_clear();
        disk_fail_always(rows.disk, DISK_READ, 0);
        assert_int_equal(body_rows_get(&rows, 5), 0);
        assert_nothing_is_pinned(&rows);
        body_rows_close(&rows);
    }
}

static int first_file(const struct engine_file *file, void *arg)
{
    memcpy(arg, file->name, sizeof file->name);
    return 0;
}

/* Damage is told by whoever wants the row, with the place. */
static void damage_is_not_hidden_by_reading_before(void **state)
{
    (void)state;
    for (unsigned e = 0; e < ENGINES; e++) {
        struct body_rows rows;
        char name[ENGINE_FILE_NAME_MAX + 1];
        unsigned numbers[MANY], reads, damaged = 0;
        body_rows_open(&rows, engines[e], CACHE_BYTES);
        body_rows_add(&rows, 0, MANY, 1);
        body_rows_cool(&rows);
        assert_int_equal(body_files(rows.body, first_file, name), 0);
        for (unsigned i = 0; i < MANY; i++)
            numbers[i] = i;
        for (uint64_t offset = 500; disk_flip(rows.disk, name, offset, 3); offset += 1000)
            ;
        body_rows_prefetch(&rows, numbers, MANY, &reads);
        assert_int_equal(diag_code(), 0);
        for (unsigned i = 0; i < MANY; i++) {
            int rc = body_rows_get(&rows, i);
            assert_true(rc == 0 || rc == ERROR_CORRUPT);
            if (rc == ERROR_CORRUPT)
                assert_non_null(strstr(diag_message_for(rc), name));
            damaged += rc != 0;
        }
        assert_true(damaged > 0);
        diag_clear();
        assert_nothing_is_pinned(&rows);
        body_rows_close(&rows);
    }
}

static void a_cache_that_would_lose_them_gets_fewer_or_none(void **state)
{
    (void)state;
    for (unsigned e = 0; e < ENGINES; e++) {
        struct body_rows rows;
        unsigned numbers[MANY], reads, last = MANY;
        for (unsigned i = 0; i < MANY; i++)
            numbers[i] = 1 + i * 44;
        for (size_t bytes = CACHE_BYTES; bytes >= 1024; bytes /= 2) {
            fill(&rows, engines[e], bytes);
            uint64_t before = body_rows_reads(&rows);
            unsigned done = body_rows_prefetch(&rows, numbers, MANY, &reads);
            assert_true(done <= last);
            assert_int_equal(body_rows_reads(&rows) - before, reads);
            assert_true(reads > 0 || done == 0);
            last = done;
            /* What was read is there still. */
            before = body_rows_reads(&rows);
            assert_gets(&rows, numbers, done);
            assert_true(body_rows_reads(&rows) - before <= done / 8);
            assert_nothing_is_pinned(&rows);
            body_rows_close(&rows);
        }
        assert_int_equal(last, 0);
    }
}

/* All that is in range, in order. */
static void assert_range(struct body_rows *rows, unsigned first, unsigned count, bool backward)
{
    char key[BODY_ROW_KEY_BYTES];
    struct body_cursor *cursor;
    struct engine_row row;
    size_t size = body_rows_key(first, key);
    const struct engine_range range = {.lower = backward ? NULL : key,
                                       .lower_size = size,
                                       .lower_inclusive = true,
                                       .upper = backward ? key : NULL,
                                       .upper_size = size,
                                       .upper_inclusive = true,
                                       .backward = backward};
    assert_int_equal(body_cursor_open(rows->view, &range, UINT64_MAX, &cursor), 0);
    for (unsigned n = 0, at = first; n < count && at < ROWS; at += backward ? -1 : 1) {
        if (!present(at))
            continue;
        assert_int_equal(body_cursor_next(cursor, &row), 0);
        assert_true(body_rows_is(&row, at));
        n++;
    }
    body_cursor_close(cursor);
}

static void a_cursor_over_sequences_begins_right_whatever_was_there_before(void **state)
{
    (void)state;
    struct body_rows rows;
    struct random random;
    fill(&rows, &engine_lsm, CACHE_BYTES);
    random_create(&random, test_seed());
    for (unsigned round = 0; round < 200; round++) {
        if (round % 3 == 0)
            body_rows_cool(&rows);
        if (round % 7 == 0)
            disk_fail_nth_of(rows.disk, DISK_READ, 1 + random_below(&random, 5), ERROR_NUMBER);
        /* One that fails was only read before; of the ten that begin, each is read alone then. */
        struct body_cursor *cursor;
        const struct engine_range all = {.backward = round % 2 == 0};
        int rc = body_cursor_open(rows.view, &all, UINT64_MAX, &cursor);
        assert_int_equal(rc, 0);
        body_cursor_close(cursor);
        disk_fail_nth(rows.disk, 0, 0);
        assert_range(&rows, 1 + (unsigned)random_below(&random, ROWS - 1), 30, round % 2 == 1);
        assert_nothing_is_pinned(&rows);
    }
    disk_fail_always(rows.disk, DISK_READ, ERROR_NUMBER);
    body_rows_cool(&rows);
    struct body_cursor *cursor;
    const struct engine_range all = {.backward = false};
    assert_int_equal(body_cursor_open(rows.view, &all, UINT64_MAX, &cursor), ERROR_IO);
    diag_clear();
    assert_nothing_is_pinned(&rows);
    disk_fail_always(rows.disk, DISK_READ, 0);
    body_rows_close(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_are_asked_for_together_are_found_without_reading),
        cmocka_unit_test(what_could_not_be_read_before_is_read_when_it_is_wanted),
        cmocka_unit_test(damage_is_not_hidden_by_reading_before),
        cmocka_unit_test(a_cache_that_would_lose_them_gets_fewer_or_none),
        cmocka_unit_test(a_cursor_over_sequences_begins_right_whatever_was_there_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
