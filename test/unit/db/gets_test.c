/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Gets of many keys (space_gets), for every engine: they give what single gets give, and are validated as these are, whatever
 * was read ahead for them.
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
#include "db/checkpoint_fixture.h"
#include "db/space_gets.h"

enum { KEYS = 150, STEPS = 60, TEXT_BYTES = 16 << 10, ERROR_NUMBER = 5 };

#define TESTS_OF(engine)                                                            \
    TEST(engine, each_key_has_its_place), TEST(engine, one_that_is_wrong_is_named), \
        TEST(engine, they_give_what_single_gets_give),                              \
        TEST(engine, what_they_have_read_is_validated),                             \
        TEST(engine, they_read_at_the_snapshot_of_their_transaction),               \
        TEST(engine, a_read_that_fails_is_told_and_decides_nothing)
#define TEST(engine, test)                                                   \
    {                                                                        \
#test " (" #engine ")", test, checkpoint_setup, checkpoint_teardown, \
            (void *)(uintptr_t) #engine                                      \
    }

/* ---------------------------------------------------------------------------------------- fixture */

/* Rows [id, name, value]; names are unique: "n7" of 7. */
static void space_make(void)
{
    must(make_space(&f, "s", "{}"));
    must(make_index(&f, "s", "pk", "{}"));
    must(make_index(&f, "s", "name", "{\"parts\": [[2, \"string\"]]}"));
    must(make_index(&f, "s", "value", "{\"unique\": false, \"parts\": [[3, \"unsigned\"]]}"));
}

static void put(struct txn *txn, unsigned id, unsigned value)
{
    char text[64];
    snprintf(text, sizeof text, "[%u, \"n%u\", %u]", id, id, value);
    must(replace(&f, txn, "s", text));
}

static void drop(struct txn *txn, unsigned id)
{
    char text[32];
    snprintf(text, sizeof text, "[%u]", id);
    must(delete_by(&f, txn, "s", "pk", text));
}

/* The rows leave the head, if the engine's do, and nothing of them is in a cache. */
static void cool(void)
{
    checkpoint();
    db_fixture_reopen(&f);
}

static int gets(struct txn *txn, const char *index, const char *keys, char *out)
{
    struct space_gets gets;
    struct tuple_ref tuple;
    size_t used = 0;
    out[0] = '\0';
    int rc = space_gets_open(&gets, txn, index_of(&f, txn, "s", index), mp_of(keys, NULL));
    for (uint32_t n = 0; rc == 0 && n < gets.count; n++) {
        uint64_t value = 0;
        if ((rc = space_gets_next(&gets, &tuple)) != 0)
            break;
        const char *field = tuple.data == NULL ? NULL : mp_array_at(tuple.data, 2);
        bool read = field != NULL && mp_read_uint(&field, &value);
        assert_int_equal(read, tuple.data != NULL);
        used += (size_t)snprintf(out + used, TEXT_BYTES - used, read ? "%s%u" : "%s-",
                                 n > 0 ? " " : "", (unsigned)value);
    }
    return rc;
}

/* The values of the rows, "-" for those that are not there. */
static const char *values(struct txn *txn, const char *index, const char *keys)
{
    static char text[TEXT_BYTES];
    must(gets(txn, index, keys, text));
    return text;
}

/* [0, 1, .. KEYS - 1], or ["n0", "n1", .. ] for the index "name". */
static const char *all_keys_of(const char *index)
{
    static char text[TEXT_BYTES];
    const char *form = strcmp(index, "name") == 0 ? "%c\"n%u\"" : "%c%u";
    size_t used = 0;
    for (unsigned n = 0; n < KEYS; n++)
        used += (size_t)snprintf(text + used, sizeof text - used, form, n == 0 ? '[' : ',', n);
    snprintf(text + used, sizeof text - used, "]");
    return text;
}

static const char *all_keys(void)
{
    return all_keys_of("pk");
}

/* ------------------------------------------------------------------------------------------- tests */

static void each_key_has_its_place(void **state)
{
    (void)state;
    space_make();
    for (unsigned id = 1; id <= 5; id++)
        put(NULL, id, id * 10);
    for (unsigned cold = 0; cold < 2; cold++) {
        struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
        assert_string_equal(values(txn, "pk", "[]"), "");
        assert_string_equal(values(txn, "pk", "[3]"), "30");
        assert_string_equal(values(txn, "pk", "[3, [1], 9, 3, 5, [9], 3]"), "30 10 - 30 50 - 30");
        assert_string_equal(values(txn, "name", "[\"n2\", \"no\", [\"n1\"], \"n2\"]"),
                            "20 - 10 20");
        put(txn, 3, 31);
        put(txn, 9, 90);
        drop(txn, 1);
        assert_string_equal(values(txn, "pk", "[3, [1], 9, 3, 5]"), "31 - 90 31 50");
        assert_string_equal(values(txn, "name", "[\"n9\", \"n1\", \"n3\"]"), "90 - 31");
        txn_rollback(txn);
        cool();
    }
}

static void one_that_is_wrong_is_named(void **state)
{
    (void)state;
    static char text[TEXT_BYTES], keys[TEXT_BYTES];
    space_make();
    put(NULL, 1, 10);
    struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
    refused(gets(txn, "pk", "[1, \"x\", 2]", text), ERROR_SCHEMA,
            "key 2 of 3: key part 1 of index \"pk\" of space \"s\" must be unsigned, not string");
    refused(gets(txn, "pk", "[1, 1, [1, 2]]", text), ERROR_INVALID,
            "key 3 of 3: index \"pk\" of space \"s\" takes a key of 1 part, not 2");
    refused(gets(txn, "pk", "[null]", text), ERROR_SCHEMA, "key 1 of 1: key part 1");
    refused(gets(txn, "pk", "[[]]", text), ERROR_INVALID, "key 1 of 1: index");
    refused(gets(txn, "pk", "[{\"id\": 1}]", text), ERROR_INVALID, "key 1 of 1: it is a map");
    refused(gets(txn, "pk", "7", text), ERROR_INVALID, "the list of keys must be an array");
    refused(gets(txn, "value", "[1]", text), ERROR_INVALID,
            "key 1 of 1: index \"value\" of space \"s\" is not unique: use select");
    snprintf(keys, sizeof keys, "%.*s,true]", (int)strlen(all_keys()) - 1, all_keys());
    refused(gets(txn, "pk", keys, text), ERROR_SCHEMA, "key 151 of 151: key part 1");
    assert_string_equal(values(txn, "pk", "[1]"), "10"); /* the transaction goes on */
    must(txn_commit(txn));
}

static void they_give_what_single_gets_give(void **state)
{
    (void)state;
    struct random random;
    static char keys[TEXT_BYTES], names[TEXT_BYTES], expected[TEXT_BYTES];
    unsigned value[KEYS] = {0}; /* 0: there is none */
    random_create(&random, test_seed());
    space_make();
    for (unsigned step = 0; step < STEPS; step++) {
        struct txn *txn = begin(&f, 0, TXN_SERIALIZABLE);
        for (unsigned n = (unsigned)random_below(&random, 20); n > 0; n--) {
            unsigned id = (unsigned)random_below(&random, KEYS);
            value[id] = random_below(&random, 3) == 0 ? 0 : step + 1;
            if (value[id] == 0)
                drop(txn, id);
            else
                put(txn, id, value[id]);
        }
        size_t used = 0, names_used = 0, key_size = 0;
        for (unsigned n = 0, count = 1 + (unsigned)random_below(&random, KEYS); n < count; n++) {
            unsigned id = (unsigned)random_below(&random, KEYS);
            char first = n == 0 ? '[' : ',';
            key_size +=
                (size_t)snprintf(keys + key_size, sizeof keys - key_size, "%c%u", first, id);
            names_used += (size_t)snprintf(names + names_used, sizeof names - names_used,
                                           "%c\"n%u\"", first, id);
            used += (size_t)snprintf(expected + used, sizeof expected - used,
                                     value[id] == 0 ? "%s-" : "%s%u", n > 0 ? " " : "", value[id]);
        }
        strcat(keys, "]");
        strcat(names, "]");
        assert_string_equal(values(txn, "pk", keys), expected);
        assert_string_equal(values(txn, "name", names), expected);
        must(txn_commit(txn));
        if (step % 10 == 9)
            checkpoint();
        if (step % 20 == 19)
            db_fixture_reopen(&f);
    }
}

/* A transaction that has got them all, and writes a row of its own, loses to another that has changed the row `id`. */
static void assert_loses(const char *index, unsigned id, bool drops, bool loses)
{
    struct txn *reader = begin(&f, 1, TXN_SERIALIZABLE);
    values(reader, index, all_keys_of(index));
    put(reader, KEYS + 1, 1);
    struct txn *writer = begin(&f, 0, TXN_SERIALIZABLE);
    if (drops)
        drop(writer, id);
    else
        put(writer, id, 77);
    must(txn_commit(writer));
    assert_int_equal(txn_commit(reader), loses ? ERROR_CONFLICT : 0);
    diag_clear();
}

static void what_they_have_read_is_validated(void **state)
{
    (void)state;
    space_make();
    for (unsigned id = 0; id < KEYS; id += 2)
        put(NULL, id, id);
    for (unsigned turn = 0; turn < 4; turn++) {
        const char *index = turn % 2 == 0 ? "pk" : "name";
        if (turn >= 2)
            cool();
        for (unsigned id = 0; id < KEYS; id += 31) /* there and not there, in each batch */
            assert_loses(index, id, false, true);
        assert_loses(index, 2, true, true);
        assert_loses(index, 100, true, true);
        assert_loses(index, KEYS + 5, false, false); /* it has not read that one */
        for (unsigned id = 0; id < KEYS; id++)
            if (id % 2 == 0)
                put(NULL, id, id);
            else
                drop(NULL, id);
    }
}

static void they_read_at_the_snapshot_of_their_transaction(void **state)
{
    (void)state;
    static char before[TEXT_BYTES], text[TEXT_BYTES];
    space_make();
    for (unsigned id = 0; id < KEYS; id += 2)
        put(NULL, id, id);
    cool();
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    must(gets(txn, "pk", all_keys(), before));
    for (unsigned id = 0; id < KEYS; id++) {
        if (id % 3 == 0)
            drop(NULL, id);
        else
            put(NULL, id, 1000);
        if (id % 50 == 49)
            checkpoint();
        if (id % 10 == 0) {
            must(gets(txn, "pk", all_keys(), text));
            assert_string_equal(text, before);
        }
    }
    txn_rollback(txn);
}

/* Some get of them says that a read has failed, or they give what is there. */
static void a_read_that_fails_is_told_and_decides_nothing(void **state)
{
    (void)state;
    static char expected[TEXT_BYTES], text[TEXT_BYTES];
    space_make();
    for (unsigned id = 0; id < KEYS; id += 2)
        put(NULL, id, id);
    cool();
    struct txn *txn = begin_readonly(&f, 0);
    must(gets(txn, "pk", all_keys(), expected));
    txn_rollback(txn);
    for (unsigned n = 1; n < 12; n++) {
        db_fixture_reopen(&f);
        txn = begin_readonly(&f, 0);
        disk_fail_nth_of(f.disk, DISK_READ, n, ERROR_NUMBER);
        int rc = gets(txn, "pk", all_keys(), text);
        disk_fail_nth(f.disk, 0, 0);
        assert_true(rc == 0 || rc == ERROR_IO);
        if (rc == 0)
            assert_string_equal(text, expected);
        diag_clear();
        assert_string_equal(values(txn, "pk", all_keys()), expected);
        txn_rollback(txn);
    }
    db_fixture_reopen(&f);
    txn = begin_readonly(&f, 0);
    disk_fail_always(f.disk, DISK_READ, ERROR_NUMBER);
    int rc = gets(txn, "pk", all_keys(), text);
    disk_fail_always(f.disk, DISK_READ, 0);
    assert_true(rc == ERROR_IO || (rc == 0 && strcmp(*state, "memory") == 0));
    diag_clear();
    assert_string_equal(values(txn, "pk", all_keys()), expected);
    txn_rollback(txn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TESTS_OF(memory), TESTS_OF(lsm), TESTS_OF(btree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
