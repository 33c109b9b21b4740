/* SPDX-License-Identifier: Apache-2.0 */

/* Blocks as bytes: what a search meets in one that is wrong, whatever its checksum says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "storage/run/run_block.h"

enum { UP_TO_TS = 100, KEY_ROOM = 8 };

#define TAIL(restarts, rows) rows, 0, 0, 0, restarts, 0, 0, 0
#define OFFSET(n)            n, 0, 0, 0
#define ROW_A                0, 1, 10, 2, 'a', 'x'
#define ROW_AB               1, 1, 10, 2, 'b', 'x' /* behind ROW_A */
#define ROW_C                0, 1, 10, 0, 'c'

enum way { FIRST, LAST, PREV, SEEK, CHECK };

/* Ways to go through a block, each to the end it comes to. */
static int go(struct run_block_iter *iter, enum way way)
{
    int rc;
    switch (way) {
    case FIRST:
        for (rc = run_block_first(iter); rc == 0; rc = run_block_next(iter))
            ;
        return rc;
    case LAST:
        rc = run_block_last(iter);
        return rc == 0 ? ERROR_END : rc;
    case PREV:
        for (rc = run_block_first(iter); rc == 0; rc = run_block_next(iter))
            ;
        while (rc == ERROR_END && iter->at > 0 && (rc = run_block_prev(iter)) == 0)
            rc = ERROR_END;
        return rc;
    case SEEK:
        rc = run_block_seek(iter, "d", 1, UP_TO_TS);
        return rc == 0 ? ERROR_END : rc;
    default:
        rc = run_block_check(iter);
        return rc == 0 ? ERROR_END : rc;
    }
}

static const struct wrong_block {
    const char *check;
    enum way way;
    size_t size;
    unsigned char bytes[64];
} WRONG[] = {
    {"counts of the block", FIRST, 7, {0, 0, 0, 0, 0, 0, 0}},
    {"number of restart points", FIRST, 8, {TAIL(1, 0)}},
    {"number of restart points", FIRST, 8, {0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
    {"number of restart points", FIRST, 14, {ROW_A, TAIL(0, 1)}},
    {"number of restart points", FIRST, 12, {OFFSET(0), TAIL(1, 0)}},
    {"numbers of a row", FIRST, 13, {0, OFFSET(0), TAIL(1, 1)}},
    {"numbers of a row", FIRST, 15, {0, 1, 10, OFFSET(0), TAIL(1, 1)}},
    {"numbers of a row",
     FIRST,
     26,
     {0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2, 0, 'a', OFFSET(0),
      TAIL(1, 1)}},
    {"key beyond its block", FIRST, 18, {0, 9, 10, 2, 'a', 'x', OFFSET(0), TAIL(1, 1)}},
    {"data beyond its block", FIRST, 18, {0, 1, 10, 3, 'a', 'x', OFFSET(0), TAIL(1, 1)}},
    {"timestamp of a row", FIRST, 18, {0, 1, 101, 2, 'a', 'x', OFFSET(0), TAIL(1, 1)}},
    {"key longer than the longest",
     FIRST,
     25,
     {0, 9, 10, 0, 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', OFFSET(0), TAIL(1, 1)}},
    {"key shares more", FIRST, 18, {1, 1, 10, 2, 'a', 'x', OFFSET(0), TAIL(1, 1)}},
    {"key shares more", FIRST, 24, {ROW_A, 2, 1, 10, 2, 'b', 'x', OFFSET(0), TAIL(1, 2)}},
    {"restart point beyond its block", LAST, 18, {ROW_A, OFFSET(6), TAIL(1, 1)}},
    {"restart point beyond its block", SEEK, 18, {ROW_A, OFFSET(6), TAIL(1, 1)}},
    {"restart point beyond its block", SEEK, 18, {ROW_A, 0, 0, 0, 0x80, TAIL(1, 1)}},
    {"restart point with a shared key", SEEK, 24, {ROW_A, ROW_AB, OFFSET(6), TAIL(1, 2)}},
    {"key shares more", LAST, 24, {ROW_A, ROW_AB, OFFSET(6), TAIL(1, 2)}},
    /* The data of the first row looks like a row. */
    {"restart point between two rows",
     PREV,
     33,
     {0, 1, 10, 8, 'a', 0, 1, 10, 0, 'q', 0, 0, ROW_C, OFFSET(0), OFFSET(5), TAIL(2, 2)}},
    {"restart points out of order", PREV, 23, {ROW_A, ROW_C, OFFSET(6), TAIL(1, 2)}},
    {"restart point in the wrong place", CHECK, 23, {ROW_A, ROW_C, OFFSET(6), TAIL(1, 2)}},
    {"number of rows in the block", CHECK, 23, {ROW_A, ROW_C, OFFSET(0), TAIL(1, 3)}},
    {"number of restart points", CHECK, 27, {ROW_A, ROW_C, OFFSET(0), OFFSET(6), TAIL(2, 2)}},
};

static void each_thing_that_can_be_wrong_is_found_by_its_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        const struct wrong_block *wrong = &WRONG[i];
        unsigned char key[KEY_ROOM];
        struct run_block_iter iter;
        int rc = run_block_open(&iter, wrong->bytes, wrong->size, UP_TO_TS, key, sizeof key);
        if (rc == 0)
            rc = go(&iter, wrong->way);
        if (rc != ERROR_CORRUPT || strstr(iter.check, wrong->check) == NULL)
            fail_msg("block %zu (%s): %s, %s", i, wrong->check, error_name(rc),
                     rc == ERROR_CORRUPT ? iter.check : "");
    }
}

static void a_right_block_passes_in_every_way(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {ROW_A, ROW_AB, ROW_C, OFFSET(0), TAIL(1, 3)};
    for (enum way way = FIRST; way <= CHECK; way++) {
        unsigned char key[KEY_ROOM];
        struct run_block_iter iter;
        assert_int_equal(run_block_open(&iter, bytes, sizeof bytes, UP_TO_TS, key, sizeof key), 0);
        assert_int_equal(go(&iter, way), ERROR_END);
    }
}

static void an_empty_block_has_no_rows_in_any_way(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {TAIL(0, 0)};
    unsigned char key[1];
    struct run_block_iter iter;
    assert_int_equal(run_block_open(&iter, bytes, sizeof bytes, UP_TO_TS, key, sizeof key), 0);
    assert_int_equal(run_block_first(&iter), ERROR_END);
    assert_int_equal(run_block_last(&iter), ERROR_END);
    assert_int_equal(run_block_next(&iter), ERROR_END);
    assert_int_equal(run_block_prev(&iter), ERROR_END);
    assert_int_equal(run_block_seek(&iter, "", 0, 0), ERROR_END);
    assert_int_equal(run_block_check(&iter), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_thing_that_can_be_wrong_is_found_by_its_check),
        cmocka_unit_test(a_right_block_passes_in_every_way),
        cmocka_unit_test(an_empty_block_has_no_rows_in_any_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
