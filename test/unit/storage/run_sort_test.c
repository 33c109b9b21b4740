/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sorting in little memory: what comes out is what went in, in order, as often as it is asked for; no file
 * has a name behind it, whatever fails.
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

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "io/disk.h"
#include "storage/run/run_sort.h"

enum { KEYS = 700, DATA_MAX = 64 };

static struct disk *disk;
static struct io *io;
static _Atomic uint64_t next_file;
static _Atomic bool stop;

static int setup(void **state)
{
    (void)state;
    disk = disk_new(1);
    io = disk_io(disk);
    atomic_store(&next_file, 1);
    atomic_store(&stop, false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    io_delete(io);
    disk_delete(disk);
    return 0;
}

static struct run_sort *sort_new(void)
{
    const struct run_sort_options options = {
        .io = io, .space_id = 512, .incarnation = 1, .next_file = &next_file, .stop = &stop};
    struct run_sort *sort;
    assert_int_equal(run_sort_new(&options, &sort), 0);
    return sort;
}

static int count_name(const char *name, uint64_t size, void *arg)
{
    (void)name, (void)size;
    ++*(unsigned *)arg;
    return 0;
}

static unsigned names(void)
{
    unsigned count = 0;
    assert_int_equal(io_list(io, count_name, &count), 0);
    return count;
}

/* What the data of a (key, ts) is. */
static uint32_t data_make(unsigned key, uint64_t ts, char *out)
{
    uint32_t size = (uint32_t)((key * 7 + ts * 13) % DATA_MAX);
    memset(out, (int)(key + ts), size);
    return size;
}

static int add(struct run_sort *sort, unsigned key, uint64_t ts)
{
    unsigned char bytes[8];
    char data[DATA_MAX];
    snprintf((char *)bytes, sizeof bytes, "%05u", key);
    struct engine_row row = {.key = bytes, .key_size = 5, .ts = ts};
    if ((key + ts) % 5 != 0) {
        row.data = data;
        row.size = data_make(key, ts, data);
    }
    return run_sort_add(sort, &row);
}

enum { TS = 20 };

/* Reads all, of which `there` says how often each went in. */
static void assert_all(struct run_sort *sort, unsigned (*there)[TS + 1])
{
    struct engine_row row;
    assert_int_equal(run_sort_begin(sort), 0);
    for (unsigned key = 0; key < KEYS; key++)
        for (unsigned ts = TS; ts > 0; ts--) {
            char text[8], data[DATA_MAX];
            if (there[key][ts] == 0)
                continue;
            assert_int_equal(run_sort_next(sort, &row), 0);
            snprintf(text, sizeof text, "%05u", key);
            assert_int_equal(row.key_size, 5);
            assert_memory_equal(row.key, text, 5);
            assert_int_equal(row.ts, ts);
            if ((key + ts) % 5 == 0) {
                assert_null(row.data);
                continue;
            }
            assert_non_null(row.data);
            assert_int_equal(row.size, data_make(key, ts, data));
            assert_memory_equal(row.data, data, row.size);
        }
    assert_int_equal(run_sort_next(sort, &row), ERROR_END);
    assert_int_equal(run_sort_next(sort, &row), ERROR_END);
}

static unsigned there[KEYS][TS + 1];

static void rows_add(struct run_sort *sort, struct random *random, unsigned count)
{
    memset(there, 0, sizeof there);
    for (unsigned i = 0; i < count; i++) {
        unsigned key = (unsigned)random_below(random, KEYS),
                 ts = 1 + (unsigned)random_below(random, TS);
        assert_int_equal(add(sort, key, ts), 0);
        there[key][ts]++;
    }
}

static void what_comes_out_is_in_order_whatever_its_amount(void **state)
{
    (void)state;
    static const unsigned counts[] = {0, 1, 2, 100, 600, 5000, 60000};
    struct random random;
    random_create(&random, test_seed());
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct run_sort *sort = sort_new();
        rows_add(sort, &random, counts[i]);
        assert_all(sort, there);
        assert_all(sort, there);
        assert_int_equal(run_sort_runs(sort) > 0, counts[i] > 1000);
        assert_int_equal(names(), 0);
        run_sort_delete(sort);
    }
}

static void it_may_be_begun_again_in_the_middle(void **state)
{
    (void)state;
    struct random random;
    struct engine_row row;
    random_create(&random, test_seed());
    struct run_sort *sort = sort_new();
    rows_add(sort, &random, 3000);
    assert_int_equal(run_sort_begin(sort), 0);
    for (unsigned i = 0; i < 500; i++)
        assert_int_equal(run_sort_next(sort, &row), 0);
    assert_all(sort, there);
    run_sort_delete(sort);
}

static int sort_some(void)
{
    struct random random;
    struct engine_row row;
    random_create(&random, 5);
    struct run_sort *sort = sort_new();
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < 3000; i++)
        rc = add(sort, (unsigned)random_below(&random, KEYS), 1 + random_below(&random, TS));
    if (rc == 0)
        rc = run_sort_begin(sort);
    while (rc == 0)
        rc = run_sort_next(sort, &row);
    run_sort_delete(sort);
    return rc == ERROR_END ? 0 : rc;
}

static void what_fails_leaves_no_file(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (uint64_t n = 1; n < 60; n++) {
        disk_fail_nth(disk, n, EIO);
        int rc = sort_some();
        disk_fail_nth(disk, 0, 0);
        failed += rc != 0;
        /* What could not be unlinked a start removes. */
        assert_true(names() <= 1);
        teardown(NULL);
        setup(NULL);
    }
    assert_true(failed > 5);
}

static void a_full_disk_is_told_of(void **state)
{
    (void)state;
    disk_capacity(disk, 2000);
    assert_int_equal(sort_some(), ERROR_IO);
    assert_int_equal(names(), 0);
}

static void it_can_be_stopped(void **state)
{
    (void)state;
    atomic_store(&stop, true);
    assert_int_equal(sort_some(), ERROR_CANCELLED);
    assert_int_equal(names(), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_comes_out_is_in_order_whatever_its_amount),
        TEST(it_may_be_begun_again_in_the_middle),
        TEST(what_fails_leaves_no_file),
        TEST(a_full_disk_is_told_of),
        TEST(it_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
