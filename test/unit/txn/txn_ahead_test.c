/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Entries of a body that are read ahead (txn_ahead.c), over a body of its own that says which keys it was asked for
 * and fails when it is told to.
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
#include "txn/txn_fixture.h"
#include "txn/txn_gets.h"
#include "txn/txn_private.h"

enum { ENTRIES_MAX = 500, KEY_BYTES = 32, PARTS = 5 };

/* Gives the entries 0 to `entries` - 1, and counts. */
static struct {
    struct engine_vtab vtab;
    struct body_view view;
    struct body_cursor cursor;
    struct head_body published;
    unsigned entries, next, fail_at; /* UINT_MAX: it does not fail */
    int error;
    unsigned done_max, reads; /* what prefetch answers */
    unsigned calls, asked[ENTRIES_MAX];
    unsigned char key[KEY_BYTES];
    char data[BODY_ENTRY_SIZE];
} fake;

static struct txn_fixture f;
static struct txn *txn;

/* Under the number 3 of an index, parts "p0042", primary key "row 042". */
static size_t entry_key(unsigned number, unsigned char *out)
{
    out[0] = 3;
    return 1 + (size_t)snprintf((char *)out + 1, KEY_BYTES - 1, "p%04urow %03u", number, number);
}

static int fake_next(struct body_cursor *cursor, struct engine_row *out)
{
    (void)cursor;
    if (fake.next == fake.fail_at)
        return diag_set(fake.error, "entry %u is damaged", fake.next);
    if (fake.next >= fake.entries)
        return ERROR_END;
    /* What was given before must not be looked at any more. */
    memset(fake.key, 0xff, sizeof fake.key);
    txn_body_entry_put(fake.data, PARTS, EXPIRES_NEVER);
    *out = (struct engine_row){fake.key, entry_key(fake.next++, fake.key), 7, fake.data,
                               BODY_ENTRY_SIZE};
    return 0;
}

static unsigned fake_prefetch(struct body_view *view, const struct engine_key *keys, unsigned count,
                              uint64_t ts, unsigned *reads)
{
    assert_ptr_equal(view, &fake.view);
    assert_int_equal(ts, txn->snapshot);
    assert_in_range(count, 1, ENGINE_PREFETCH_MAX);
    unsigned done = count < fake.done_max ? count : fake.done_max;
    for (unsigned i = 0; i < done; i++) {
        unsigned number;
        assert_int_equal(keys[i].size, 8);
        assert_int_equal(keys[i].data[0], 0);
        char text[8] = "";
        memcpy(text, keys[i].data + 1, 7);
        assert_int_equal(sscanf(text, "row %u", &number), 1);
        fake.asked[number]++;
    }
    fake.calls++;
    *reads = fake.reads;
    return done;
}

static int setup(void **state)
{
    (void)state;
    fixture_open(&f, 1);
    memset(&fake, 0, sizeof fake);
    fake.vtab = (struct engine_vtab){.cursor_next = fake_next, .prefetch = fake_prefetch};
    fake.view.vtab = fake.cursor.vtab = &fake.vtab;
    fake.fail_at = UINT32_MAX;
    fake.done_max = ENGINE_PREFETCH_MAX;
    fake.reads = 1;
    fake.entries = ENTRIES_MAX;
    atomic_init(&fake.published.view, &fake.view);
    f.other.body = &fake.published;
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    txn_rollback(txn);
    f.other.body = NULL;
    fixture_close(&f);
    return 0;
}

static struct txn_ahead *ahead_new(void)
{
    struct txn_ahead *ahead = txn__ahead_new(txn, &f.other);
    assert_non_null(ahead);
    fake.next = fake.calls = 0;
    memset(fake.asked, 0, sizeof fake.asked);
    return ahead;
}

static void assert_entry(struct txn_ahead *ahead, unsigned number)
{
    unsigned char key[KEY_BYTES];
    struct engine_row row;
    assert_int_equal(txn__ahead_next(ahead, &fake.cursor, &row), 0);
    assert_int_equal(row.key_size, entry_key(number, key));
    assert_memory_equal(row.key, key, row.key_size);
    assert_int_equal(row.size, BODY_ENTRY_SIZE);
    assert_int_equal(row.ts, 7);
}

static void all_entries_come_in_order_and_each_row_is_asked_for_once(void **state)
{
    (void)state;
    struct engine_row row;
    for (unsigned most = 1; most <= ENGINE_PREFETCH_MAX; most = 3 * most + 1) {
        fake.done_max = most;
        struct txn_ahead *ahead = ahead_new();
        for (unsigned i = 0; i < ENTRIES_MAX; i++) {
            assert_entry(ahead, i);
            assert_int_equal(fake.asked[i], i >= 2); /* the first two come alone */
            assert_true(fake.next <= i + 1 + ENGINE_PREFETCH_MAX);
        }
        assert_int_equal(txn__ahead_next(ahead, &fake.cursor, &row), ERROR_END);
        assert_int_equal(txn__ahead_next(ahead, &fake.cursor, &row), ERROR_END);
        txn__ahead_delete(ahead);
    }
}

static void a_short_range_reads_nothing_that_it_does_not_want(void **state)
{
    (void)state;
    struct txn_ahead *ahead = ahead_new();
    for (unsigned i = 0; i < 2; i++)
        assert_entry(ahead, i);
    assert_int_equal(fake.next, 2);
    assert_int_equal(fake.calls, 0);
    txn__ahead_delete(ahead);
    ahead = ahead_new();
    txn__ahead_expect(ahead, 1);
    assert_entry(ahead, 0);
    assert_int_equal(fake.next, 1);
    txn__ahead_delete(ahead);
}

static void who_says_how_many_rows_are_wanted_gets_these_at_once(void **state)
{
    (void)state;
    for (unsigned wanted = 2; wanted < 100; wanted += 7) {
        unsigned expected = wanted < ENGINE_PREFETCH_MAX ? wanted : ENGINE_PREFETCH_MAX;
        struct txn_ahead *ahead = ahead_new();
        txn__ahead_expect(ahead, wanted);
        assert_entry(ahead, 0);
        assert_int_equal(fake.next, expected);
        assert_int_equal(fake.calls, 1);
        for (unsigned i = 1; i < expected; i++)
            assert_entry(ahead, i);
        assert_int_equal(fake.calls, 1);
        txn__ahead_delete(ahead);
    }
}

/* The head gets every third of the first 100 rows, and `txn` sees them. */
static void some_in_the_head(void)
{
    txn_rollback(txn);
    f.other.body = NULL;
    txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    for (unsigned i = 0; i < 100; i += 3) {
        char key[16];
        size_t size = (size_t)snprintf(key, sizeof key, "row %03u", i);
        assert_int_equal(txn_put(txn, &f.other, key, size, "x", 1, NULL, NULL), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    f.other.body = &fake.published;
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
}

static void rows_that_the_head_has_are_not_asked_for(void **state)
{
    (void)state;
    some_in_the_head();
    struct txn_ahead *ahead = ahead_new();
    for (unsigned i = 0; i < 150; i++)
        assert_entry(ahead, i);
    for (unsigned i = 2; i < 150; i++)
        assert_int_equal(fake.asked[i], i >= 100 || i % 3 != 0);
    txn__ahead_delete(ahead);
}

/* Where it is, with its words, though others may have said something meanwhile. */
static void a_failure_is_told_when_the_walk_comes_to_it(void **state)
{
    (void)state;
    struct engine_row row;
    for (unsigned at = 0; at < 200; at += 9) {
        fake.fail_at = at;
        fake.error = at % 2 ? ERROR_CORRUPT : ERROR_IO;
        struct txn_ahead *ahead = ahead_new();
        for (unsigned i = 0; i < at; i++) {
            assert_entry(ahead, i);
            diag_clear();
        }
        for (unsigned again = 0; again < 2; again++) {
            char message[40];
            snprintf(message, sizeof message, "entry %u is damaged", at);
            diag_clear();
            assert_int_equal(txn__ahead_next(ahead, &fake.cursor, &row), fake.error);
            assert_string_equal(diag_message(), message);
        }
        diag_clear();
        txn__ahead_delete(ahead);
    }
}

static void another_cursor_begins_where_it_says(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    struct txn_ahead *ahead = ahead_new();
    for (unsigned round = 0, at = 0; round < 200; round++) {
        unsigned count = (unsigned)random_below(&random, 40);
        for (unsigned i = 0; i < count && at < ENTRIES_MAX; i++)
            assert_entry(ahead, at++);
        txn__ahead_forget(ahead);
        fake.next = at = (unsigned)random_below(&random, ENTRIES_MAX);
    }
    txn__ahead_delete(ahead);
}

/* How often the body is asked by 64 walks that say that they want ten. */
static unsigned asked_by_short_walks(void)
{
    unsigned asking = 0;
    for (unsigned n = 0; n < 64; n++) {
        struct txn_ahead *ahead = ahead_new();
        txn__ahead_expect(ahead, 10);
        for (unsigned i = 0; i < 10; i++)
            assert_entry(ahead, i);
        asking += fake.calls;
        txn__ahead_delete(ahead);
    }
    return asking;
}

/* Where everything is in memory few ask, and where it is not any more all do again. */
static void who_asks_in_vain_asks_seldom(void **state)
{
    (void)state;
    fake.reads = 0;
    struct txn_ahead *ahead = ahead_new();
    for (unsigned i = 0; i < ENTRIES_MAX; i++)
        assert_entry(ahead, i);
    assert_in_range(fake.calls, 1, 8);
    txn__ahead_delete(ahead);
    assert_in_range(asked_by_short_walks(), 1, 16);
    fake.reads = 1;
    assert_true(asked_by_short_walks() >= 56);
}

/* A cache that is too small, or an engine that does not do it. */
static void who_is_not_helped_goes_without(void **state)
{
    (void)state;
    fake.done_max = 0;
    struct txn_ahead *ahead = ahead_new();
    for (unsigned i = 0; i < ENTRIES_MAX; i++)
        assert_entry(ahead, i);
    assert_int_equal(fake.calls, 1);
    txn__ahead_delete(ahead);
}

/* ----------------------------------------------------------------------------------- gets of many keys */

static unsigned char get_keys[ENTRIES_MAX][KEY_BYTES];

/* The rows 0 to `count` - 1, got in order; how often the body is asked. */
static unsigned get_all(unsigned count)
{
    struct txn_gets gets = {.begun = false};
    struct engine_key keys[ENTRIES_MAX];
    fake.calls = 0;
    memset(fake.asked, 0, sizeof fake.asked);
    for (unsigned i = 0; i < count; i++)
        keys[i] = (struct engine_key){
            get_keys[i], (size_t)snprintf((char *)get_keys[i], KEY_BYTES, "row %03u", i)};
    for (unsigned i = 0; i < count;) {
        unsigned until = txn_gets_ahead(txn, &f.other, keys + i, count - i, &gets);
        assert_in_range(until, 1, count - i);
        for (unsigned later = i + until; later < count; later++)
            assert_int_equal(fake.asked[later], 0);
        i += until;
    }
    return fake.calls;
}

static void each_of_many_keys_is_asked_for_once(void **state)
{
    (void)state;
    for (unsigned most = 1; most <= ENGINE_PREFETCH_MAX; most = 3 * most + 1) {
        fake.done_max = most;
        unsigned calls = get_all(ENTRIES_MAX);
        assert_in_range(calls, (ENTRIES_MAX - 1) / most, (ENTRIES_MAX + most - 1) / most);
        for (unsigned i = 0; i + 1 < ENTRIES_MAX; i++)
            assert_int_equal(fake.asked[i], 1);
        assert_in_range(fake.asked[ENTRIES_MAX - 1], 0, 1); /* the last one may be alone */
    }
    assert_int_equal(get_all(1), 0); /* nothing to gain */
    f.other.body = NULL;
    assert_int_equal(get_all(ENTRIES_MAX), 0);
}

static void keys_that_the_head_has_are_not_asked_for(void **state)
{
    (void)state;
    some_in_the_head();
    get_all(150);
    for (unsigned i = 0; i < 150; i++)
        assert_int_equal(fake.asked[i], i >= 100 || i % 3 != 0);
}

static void gets_that_ask_in_vain_ask_seldom(void **state)
{
    (void)state;
    unsigned calls = 0;
    fake.reads = 0;
    assert_in_range(get_all(ENTRIES_MAX), 1, 8);
    for (unsigned n = 0; n < 64; n++)
        calls += get_all(10);
    assert_in_range(calls, 1, 16);
    fake.reads = 1;
    calls = 0;
    for (unsigned n = 0; n < 64; n++)
        calls += get_all(10);
    assert_in_range(calls, 56, 64);
    fake.done_max = 0;
    assert_int_equal(get_all(ENTRIES_MAX), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_entries_come_in_order_and_each_row_is_asked_for_once),
        TEST(a_short_range_reads_nothing_that_it_does_not_want),
        TEST(who_says_how_many_rows_are_wanted_gets_these_at_once),
        TEST(rows_that_the_head_has_are_not_asked_for),
        TEST(a_failure_is_told_when_the_walk_comes_to_it),
        TEST(another_cursor_begins_where_it_says),
        TEST(who_asks_in_vain_asks_seldom),
        TEST(who_is_not_helped_goes_without),
        TEST(each_of_many_keys_is_asked_for_once),
        TEST(keys_that_the_head_has_are_not_asked_for),
        TEST(gets_that_ask_in_vain_ask_seldom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
