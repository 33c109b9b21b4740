/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Blocks as bytes, those in which keys borrow and those in which they do not: what a search meets in
 * one that is wrong, whatever its checksum says; and that random rows come out as they went in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "storage/run/run_block.h"

enum { UP_TO_TS = 100, KEY_ROOM = 8 };

#define TAIL(restarts, rows) rows, 0, 0, 0, restarts, 0, 0, 0
#define OFFSET(n)            n, 0, 0, 0
#define ROW_A                0, 1, 10, 2, 'a', 'x'
#define ROW_AB               1, 1, 10, 2, 'b', 'x' /* behind ROW_A */
#define ROW_C                0, 1, 10, 0, 'c'

/* The same where keys borrow, in a block whose piece is at 1 of the key and at 2 of the data. */
#define PIECE_TAIL(restarts, rows) 1, 0, 2, 0, TAIL(restarts, rows)
#define BORROWER_A                 0, 1, 10, 2, 'a', 'x'
#define BORROWER_ABCD              5, 1, 10, 6, 'd', '-', '-', 'b', 'c', '-' /* behind BORROWER_A */
#define BORROWER_ABCE              6, 1, 10, 2, 'e', 'x'                     /* behind that */

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

static const struct wrong_block WRONG_BORROWERS[] = {
    {"counts of the block", FIRST, 11, {0, 0, 0, TAIL(0, 0)}},
    {"number of restart points", FIRST, 12, {PIECE_TAIL(1, 0)}},
    /* Data of four bytes has two where the piece is; of two, none; of none, none. */
    {"key borrows more",
     FIRST,
     31,
     {BORROWER_A, 7, 1, 10, 5, 'd', '-', '-', 'b', 'c', OFFSET(0), PIECE_TAIL(1, 2)}},
    {"key borrows more",
     FIRST,
     29,
     {BORROWER_A, 3, 1, 10, 3, 'd', '-', '-', OFFSET(0), PIECE_TAIL(1, 2)}},
    {"key borrows more", SEEK, 27, {BORROWER_A, 3, 1, 10, 0, 'd', OFFSET(0), PIECE_TAIL(1, 2)}},
    /* The longest borrowing that the numbers can say. */
    {"key borrows more",
     FIRST,
     40,
     {BORROWER_A, 0xff, 0xff, 0xff, 0xff, 0xff,      0xff,
      0xff,       0xff, 0xff, 1,    1,    10,        5,
      'd',        '-',  '-',  'b',  'c',  OFFSET(0), PIECE_TAIL(1, 2)}},
    {"key shares more", FIRST, 32, {BORROWER_ABCD, BORROWER_A, OFFSET(0), PIECE_TAIL(1, 2)}},
    {"key longer than the longest",
     FIRST,
     36,
     {BORROWER_A, 13, 2, 10, 9, 'd', 'd', '-', '-', 'b', 'c', 'b', 'c', 'b', 'c', OFFSET(0),
      PIECE_TAIL(1, 2)}},
    {"key longer than the longest",
     SEEK,
     36,
     {BORROWER_A, 13, 2, 10, 9, 'd', 'd', '-', '-', 'b', 'c', 'b', 'c', 'b', 'c', OFFSET(0),
      PIECE_TAIL(1, 2)}},
    {"restart point with a shared key",
     SEEK,
     36,
     {BORROWER_A, BORROWER_ABCD, OFFSET(0), OFFSET(6), PIECE_TAIL(2, 2)}},
    {"restart point in the wrong place",
     CHECK,
     32,
     {BORROWER_A, BORROWER_ABCD, OFFSET(6), PIECE_TAIL(1, 2)}},
};

static void expect_found(const struct wrong_block *wrong, bool borrows)
{
    unsigned char key[KEY_ROOM];
    struct run_block_iter iter;
    int rc = run_block_open(&iter, wrong->bytes, wrong->size, borrows, UP_TO_TS, key, sizeof key);
    if (rc == 0)
        rc = go(&iter, wrong->way);
    if (rc != ERROR_CORRUPT || strstr(iter.check, wrong->check) == NULL)
        fail_msg("a block that should fail by '%s' (borrows: %d): %s, %s", wrong->check, borrows,
                 error_name(rc), rc == ERROR_CORRUPT ? iter.check : "");
}

static void each_thing_that_can_be_wrong_is_found_by_its_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++)
        expect_found(&WRONG[i], false);
    for (size_t i = 0; i < sizeof WRONG_BORROWERS / sizeof *WRONG_BORROWERS; i++)
        expect_found(&WRONG_BORROWERS[i], true);
}

static void a_right_block_passes_in_every_way(void **state)
{
    (void)state;
    static const unsigned char plain[] = {ROW_A, ROW_AB, ROW_C, OFFSET(0), TAIL(1, 3)};
    static const unsigned char borrows[] = {BORROWER_A, BORROWER_ABCD, BORROWER_ABCE, OFFSET(0),
                                            PIECE_TAIL(1, 3)};
    for (enum way way = FIRST; way <= CHECK; way++) {
        unsigned char key[KEY_ROOM];
        struct run_block_iter iter;
        assert_int_equal(
            run_block_open(&iter, plain, sizeof plain, false, UP_TO_TS, key, sizeof key), 0);
        assert_int_equal(go(&iter, way), ERROR_END);
        assert_int_equal(
            run_block_open(&iter, borrows, sizeof borrows, true, UP_TO_TS, key, sizeof key), 0);
        assert_int_equal(go(&iter, way), ERROR_END);
    }
}

static void a_key_is_what_it_shares_and_borrows_and_the_rest(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {BORROWER_A, BORROWER_ABCD, BORROWER_ABCE, OFFSET(0),
                                          PIECE_TAIL(1, 3)};
    unsigned char key[KEY_ROOM];
    struct run_block_iter iter;
    assert_int_equal(run_block_open(&iter, bytes, sizeof bytes, true, UP_TO_TS, key, sizeof key),
                     0);
    assert_int_equal(run_block_first(&iter), 0);
    assert_int_equal(run_block_next(&iter), 0);
    assert_int_equal(iter.row.key_size, 4);
    assert_memory_equal(iter.row.key, "abcd", 4);
    assert_int_equal(iter.row.size, 5);
    assert_memory_equal(iter.row.data, "--bc-", 5);
    assert_int_equal(run_block_next(&iter), 0);
    assert_int_equal(iter.row.key_size, 4);
    assert_memory_equal(iter.row.key, "abce", 4);
}

static void an_empty_block_has_no_rows_in_any_way(void **state)
{
    (void)state;
    static const unsigned char plain[] = {TAIL(0, 0)}, borrows[] = {PIECE_TAIL(0, 0)};
    for (unsigned form = 0; form < 2; form++) {
        unsigned char key[1];
        struct run_block_iter iter;
        assert_int_equal(run_block_open(&iter, form == 0 ? plain : borrows,
                                        form == 0 ? sizeof plain : sizeof borrows, form == 1,
                                        UP_TO_TS, key, sizeof key),
                         0);
        assert_int_equal(run_block_first(&iter), ERROR_END);
        assert_int_equal(run_block_last(&iter), ERROR_END);
        assert_int_equal(run_block_next(&iter), ERROR_END);
        assert_int_equal(run_block_prev(&iter), ERROR_END);
        assert_int_equal(run_block_seek(&iter, "", 0, 0), ERROR_END);
        assert_int_equal(run_block_check(&iter), 0);
    }
}

/* -------------------------------------------------------------------------------------- random rows
 */

enum {
    ROWS_MAX = 150,
    KEY_MAX = 400, /* lengths of one byte and of two */
    DATA_MAX = 900,
    SEEKS = 60,
    DAMAGES = 30,
    ROUNDS = 60
};

struct random_row {
    unsigned char key[KEY_MAX], data[DATA_MAX];
    struct engine_row row; /* points to those */
};

/* What the keys and data of a block's rows look like. */
struct shape {
    size_t common, varied, letters, at; /* the piece's place in the data */
    uint64_t ts;                        /* number of them */
};

static void key_random(struct random *random, const struct shape *shape, struct random_row *row)
{
    size_t size = shape->common, varied = random_below(random, shape->varied + 1);
    memset(row->key, 'k', size);
    for (; varied > 0; varied--)
        row->key[size++] = (unsigned char)(0xf8 + random_below(random, shape->letters));
    row->row.key = row->key;
    row->row.key_size = size;
}

static struct random_row *row_random(struct random *random, const struct shape *shape)
{
    struct random_row *row = calloc(1, sizeof *row);
    key_random(random, shape, row);
    row->row.ts = random_below(random, shape->ts);
    if (random_below(random, 8) == 0)
        return row;
    /* Some way into the data, usually the same, a piece of the key; it may begin or end too early. */
    size_t at = random_below(random, 6) == 0 ? random_below(random, 5) : shape->at;
    size_t from = random_below(random, row->row.key_size + 1) * random_below(random, 2);
    size_t bytes = row->row.key_size - from;
    if (random_below(random, 3) == 0)
        bytes = random_below(random, bytes + 1);
    memset(row->data, '=', sizeof row->data);
    memcpy(row->data + at, row->key + from, bytes);
    row->row.data = (const char *)row->data;
    row->row.size = (uint32_t)(at + bytes + random_below(random, 100) * random_below(random, 2));
    return row;
}

static int row_order(const void *a, const void *b)
{
    return run_row_compare(&(*(struct random_row *const *)a)->row,
                           &(*(struct random_row *const *)b)->row);
}

/* Sorted, no two of one key and ts. Returns how many. */
static size_t rows_random(struct random *random, struct shape *shape, struct random_row **rows)
{
    size_t count = random_below(random, ROWS_MAX + 1), kept = 0;
    *shape = (struct shape){.common = random_below(random, 2) * random_below(random, 200),
                            .varied = 1 + random_below(random, 2) * random_below(random, 150),
                            .letters = 2 + random_below(random, 7),
                            .at = random_below(random, 2) * random_below(random, 300),
                            .ts = 1 + random_below(random, UP_TO_TS)};
    for (size_t i = 0; i < count; i++)
        rows[i] = row_random(random, shape);
    qsort(rows, count, sizeof(struct random_row *), row_order);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && row_order(&rows[kept - 1], &rows[i]) == 0)
            free(rows[i]);
        else
            rows[kept++] = rows[i];
    }
    return kept;
}

static void block_make(struct run_block_builder *builder, bool borrows, struct random_row **rows,
                       size_t count)
{
    *builder = (struct run_block_builder){.up_to_ts = UP_TO_TS, .borrows = borrows};
    /* What another block has left behind. */
    static const unsigned char other_key[] = {'k', 'k', 'k', 'k', 'k'};
    struct engine_row other = {
        .key = other_key, .key_size = sizeof other_key, .ts = 1, .data = "kkkkkk", .size = 6};
    assert_int_equal(run_block_add(builder, &other), 0);
    assert_int_equal(run_block_add(builder, &other), 0);
    run_block_reset(builder);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(run_block_add(builder, &rows[i]->row), 0);
    assert_int_equal(run_block_end(builder), 0);
}

static void expect_row(const struct run_block_iter *iter, const struct random_row *row)
{
    assert_int_equal(iter->row.key_size, row->row.key_size);
    assert_int_equal(run_row_compare(&iter->row, &row->row), 0);
    assert_int_equal(iter->row.size, row->row.size);
    assert_int_equal(iter->row.data == NULL, row->row.data == NULL);
    if (row->row.size > 0)
        assert_memory_equal(iter->row.data, row->row.data, row->row.size);
}

/* Goes to a random place, and from there one row on. */
static void expect_seek(struct random *random, const struct shape *shape,
                        struct run_block_iter *iter, struct random_row **rows, size_t count)
{
    static struct random_row target;
    key_random(random, shape, &target);
    if (count > 0 && random_below(random, 2) == 0) {
        const struct random_row *row = rows[random_below(random, count)];
        target.row.key_size = row->row.key_size;
        memcpy(target.key, row->key, row->row.key_size);
    }
    target.row.ts = random_below(random, 3) == 0 ? UP_TO_TS : random_below(random, shape->ts);
    size_t n = 0;
    while (n < count && run_row_compare(&rows[n]->row, &target.row) < 0)
        n++;
    int rc = run_block_seek(iter, target.key, target.row.key_size, target.row.ts);
    for (size_t i = n; i < n + 2; i++, rc = run_block_next(iter)) {
        assert_int_equal(rc, i < count ? 0 : ERROR_END);
        if (rc != 0)
            return;
        expect_row(iter, rows[i]);
    }
}

static void expect_rows(struct random *random, const struct shape *shape,
                        const struct run_block_builder *builder, struct random_row **rows,
                        size_t count)
{
    unsigned char key[KEY_MAX];
    struct run_block_iter iter;
    assert_int_equal(run_block_open(&iter, builder->bytes.data, builder->bytes.size,
                                    builder->borrows, UP_TO_TS, key, sizeof key),
                     0);
    assert_int_equal(run_block_check(&iter), 0);
    int rc = run_block_first(&iter);
    for (size_t i = 0; i < count; i++, rc = run_block_next(&iter)) {
        assert_int_equal(rc, 0);
        expect_row(&iter, rows[i]);
    }
    assert_int_equal(rc, ERROR_END);
    rc = run_block_last(&iter);
    for (size_t i = count; i > 0; i--, rc = run_block_prev(&iter)) {
        assert_int_equal(rc, 0);
        expect_row(&iter, rows[i - 1]);
    }
    assert_int_equal(rc, ERROR_END);
    for (unsigned i = 0; i < SEEKS; i++)
        expect_seek(random, shape, &iter, rows, count);
}

/* Whatever a byte says instead, every way comes to an end, and reads nothing beyond the block. */
static void expect_no_harm(struct random *random, const struct run_block_builder *builder)
{
    size_t size = builder->bytes.size;
    for (unsigned i = 0; i < DAMAGES; i++) {
        unsigned char *bytes = malloc(size), *key = malloc(KEY_MAX);
        memcpy(bytes, builder->bytes.data, size);
        for (uint64_t n = 1 + random_below(random, 3); n > 0; n--)
            bytes[random_below(random, size)] = (unsigned char)random_next(random);
        for (enum way way = FIRST; way <= CHECK; way++) {
            struct run_block_iter iter;
            int rc = run_block_open(&iter, bytes, size, builder->borrows, UP_TO_TS, key, KEY_MAX);
            if (rc == 0)
                rc = go(&iter, way);
            assert_true(rc == ERROR_END || rc == ERROR_CORRUPT);
        }
        free(bytes);
        free(key);
    }
}

static void random_rows_come_out_of_both_forms_as_they_went_in(void **state)
{
    (void)state;
    struct random random;
    struct random_row *rows[ROWS_MAX];
    random_create(&random, test_seed());
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct shape shape;
        size_t count = rows_random(&random, &shape, rows);
        for (unsigned form = 0; form < 2; form++) {
            struct run_block_builder builder;
            block_make(&builder, form == 1, rows, count);
            expect_rows(&random, &shape, &builder, rows, count);
            expect_no_harm(&random, &builder);
            run_block_builder_destroy(&builder);
        }
        for (size_t i = 0; i < count; i++)
            free(rows[i]);
    }
}

/* Of strings in order, which share their first letter or two. */
static unsigned letter(unsigned number, unsigned at)
{
    return at == 0 ? number / 26 : at == 1 ? number % 26 : (number + 1) * 7 * at % 23;
}

/* A tuple of a string, whose key is that string, as spaces have them. */
static void a_key_that_its_data_has_takes_few_bytes(void **state)
{
    (void)state;
    struct run_block_builder builders[2] = {{.up_to_ts = UP_TO_TS},
                                            {.up_to_ts = UP_TO_TS, .borrows = true}};
    enum { ROWS = 160, STRING = 10 };
    for (unsigned i = 0; i < ROWS; i++) {
        unsigned char key[STRING + 3] = {1};
        char data[STRING + 3] = "\x92\xaa";
        for (unsigned n = 0; n < STRING; n++)
            key[1 + n] = (unsigned char)('a' + letter(i, n));
        memcpy(data + 2, key + 1, STRING);
        data[STRING + 2] = (char)i;
        struct engine_row row = {
            .key = key, .key_size = sizeof key, .ts = 90, .data = data, .size = sizeof data};
        for (unsigned form = 0; form < 2; form++)
            assert_int_equal(run_block_add(&builders[form], &row), 0);
    }
    size_t borrowers = ROWS - ROWS / RUN_RESTART_ROWS;
    assert_true(builders[1].bytes.size + borrowers * (STRING - 2) <= builders[0].bytes.size);
    for (unsigned form = 0; form < 2; form++)
        run_block_builder_destroy(&builders[form]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_thing_that_can_be_wrong_is_found_by_its_check),
        cmocka_unit_test(a_right_block_passes_in_every_way),
        cmocka_unit_test(a_key_is_what_it_shares_and_borrows_and_the_rest),
        cmocka_unit_test(an_empty_block_has_no_rows_in_any_way),
        cmocka_unit_test(random_rows_come_out_of_both_forms_as_they_went_in),
        cmocka_unit_test(a_key_that_its_data_has_takes_few_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
