/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a look for one row in a body of the engine "lsm" costs: the reads of a disk that counts them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "storage/body_rows.h"
#include "storage/lsm/lsm.h"

enum { ROWS = 2000, PARTS = 8, CACHE_BYTES = 8 << 20 };

/* Rows [0, ROWS), each in one of PARTS sequences that have keys from everywhere; of PARTS + 1, one is missing. */
static void fill(struct body_rows *rows)
{
    body_rows_open(rows, &engine_lsm, CACHE_BYTES);
    for (unsigned first = 0; first < PARTS; first++)
        body_rows_add(rows, first, ROWS, PARTS + 1);
}

static bool present(unsigned number)
{
    return number < ROWS && number % (PARTS + 1) < PARTS;
}

static struct lsm_stats stats_of(struct body_rows *rows)
{
    struct lsm_stats stats;
    lsm_stats_get(rows->body, &stats);
    return stats;
}

/* What the looks of one thread have read may be in its cache: each begins with an empty one. */
static void a_look_reads_a_block_of_each_sequence_that_its_filter_lets_through(void **state)
{
    (void)state;
    struct body_rows rows;
    uint64_t reads = 0, in_vain = 0;
    fill(&rows);
    assert_int_equal(stats_of(&rows).sequences, PARTS);
    for (unsigned number = 0; number < ROWS; number++) {
        struct lsm_stats before = stats_of(&rows);
        body_rows_cool(&rows);
        uint64_t at = body_rows_reads(&rows);
        assert_int_equal(body_rows_get(&rows, number), present(number) ? 0 : ERROR_NOT_FOUND);
        struct lsm_stats after = stats_of(&rows);
        uint64_t asked = after.probes - before.probes;
        assert_int_equal(after.gets - before.gets, 1);
        assert_true(asked <= PARTS);
        assert_int_equal(body_rows_reads(&rows) - at, asked - (after.filtered - before.filtered));
        reads += body_rows_reads(&rows) - at;
        in_vain += body_rows_reads(&rows) - at - present(number);
    }
    assert_true(stats_of(&rows).read_amplification == (double)reads / ROWS);
    /* With 10 bits for a key a filter lets one of a hundred through, and seven are asked at most. */
    assert_in_range(in_vain, 0, ROWS / 10);
    body_rows_close(&rows);
}

static void looks_count_whether_or_not_the_block_was_in_the_cache(void **state)
{
    (void)state;
    struct body_rows rows;
    body_rows_open(&rows, &engine_lsm, CACHE_BYTES);
    assert_true(stats_of(&rows).read_amplification == 0);
    body_rows_add(&rows, 0, 100, 1);
    body_rows_cool(&rows);
    uint64_t at = body_rows_reads(&rows);
    for (unsigned look = 0; look < 3; look++)
        assert_int_equal(body_rows_get(&rows, 5), 0);
    assert_int_equal(body_rows_reads(&rows) - at, 1);
    assert_true(stats_of(&rows).read_amplification == 1);
    assert_int_equal(body_rows_get(&rows, 100), ERROR_NOT_FOUND); /* behind the last key */
    assert_true(stats_of(&rows).read_amplification == 0.75);
    body_rows_close(&rows);
}

/* Of a sequence that is newer than the snapshot nothing is read, although its filter knows the key. */
static void what_is_newer_than_the_snapshot_is_not_read(void **state)
{
    (void)state;
    struct body_rows rows;
    struct engine_row row;
    char key[BODY_ROW_KEY_BYTES];
    size_t size = body_rows_key(7, key);
    body_rows_open(&rows, &engine_lsm, CACHE_BYTES);
    for (unsigned round = 0; round < 3; round++)
        body_rows_add(&rows, 0, 100, 1);
    for (uint64_t ts = 0; ts <= 3; ts++) {
        struct lsm_stats before = stats_of(&rows);
        body_rows_cool(&rows);
        uint64_t at = body_rows_reads(&rows);
        assert_int_equal(body_get(rows.view, key, size, ts, &rows.arena, &row),
                         ts > 0 ? 0 : ERROR_NOT_FOUND);
        assert_true(ts == 0 || row.ts == ts);
        struct lsm_stats after = stats_of(&rows);
        assert_int_equal(body_rows_reads(&rows) - at, ts > 0);
        assert_int_equal(after.probes - before.probes - (after.filtered - before.filtered), ts > 0);
    }
    body_rows_close(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_look_reads_a_block_of_each_sequence_that_its_filter_lets_through),
        cmocka_unit_test(looks_count_whether_or_not_the_block_was_in_the_cache),
        cmocka_unit_test(what_is_newer_than_the_snapshot_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
