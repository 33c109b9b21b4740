/* SPDX-License-Identifier: Apache-2.0 */

/* Rows of collections: spread ones and what becomes of them, packed ones, and the order of expiry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/key.h"
#include "codec/mp.h"
#include "redis/redis_packed.h"
#include "redis/redis_spread.h"
#include "redis/redis_test.h"

static const struct redis_slice NAME = {"key", 3};

static struct redis_call begin_on(struct db_worker *worker, enum txn_level level)
{
    struct redis_call call = {.worker = worker,
                              .now_ms = clock_realtime_ms(&fixture->clock.base),
                              .config = &fixture->config};
    assert_int_equal(
        txn_begin(db_worker_txn(worker), &(struct txn_options){.level = level}, &call.txn), 0);
    return call;
}

static struct redis_call begin(void)
{
    return begin_on(fixture->worker, TXN_READ_COMMITTED);
}

/* Commits and waits, so that those who read at V see it. */
static void commit(struct redis_call *call)
{
    struct wal *wal = db_wal(fixture->db);
    assert_int_equal(txn_commit(call->txn), 0);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
}

static void element_add(struct redis_call *call, uint64_t id, const char *name)
{
    assert_int_equal(redis_element_put(call, id, REDIS_ELEMENT, name, strlen(name),
                                       (struct redis_slice){"\xc0", 1}, 0),
                     0);
    assert_int_equal(redis_count_add(call, id, 0, 1), 0);
}

/* A hash of these elements under NAME; its number. */
static uint64_t spread_make(const char *const *elements, uint64_t expire_ms)
{
    struct redis_call call = begin();
    struct redis_key key;
    struct redis_value value;
    uint64_t id;
    assert_int_equal(redis_open_for_update(&call, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    assert_int_equal(redis_spread_new(&call, &id), 0);
    assert_int_equal(redis_value_put_spread(&call, &key, REDIS_TYPE_HASH, expire_ms, id,
                                            (struct redis_slice){NULL, 0}),
                     0);
    for (; *elements; elements++)
        element_add(&call, id, *elements);
    commit(&call);
    return id;
}

static size_t garbage_count(void)
{
    struct redis_call call = begin();
    struct redis_elements elements;
    struct redis_element element;
    size_t count = 0;
    assert_int_equal(redis_elements_open(&elements, &call, 0, REDIS_GARBAGE, NULL), 0);
    while (redis_elements_next(&elements, &element) == 0)
        count++;
    txn_rollback(call.txn);
    return count;
}

static const char *const AB[] = {"a", "b", NULL};

static void elements_are_found_in_order_and_counted(void **state)
{
    (void)state;
    uint64_t id = spread_make((const char *const[]){"b", "c", "a", NULL}, 0);
    redis_fixture_restart(fixture);
    struct redis_call call = begin();
    struct redis_key key;
    struct redis_value value;
    assert_int_equal(redis_open(&call, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    assert_true(value.spread && value.id == id);
    struct redis_elements elements;
    struct redis_element element;
    struct redis_element_range backward = {
        .backward = true, .upper = {"c", 1}, .upper_exclusive = true};
    assert_int_equal(redis_elements_open(&elements, &call, id, REDIS_ELEMENT, &backward), 0);
    assert_int_equal(redis_elements_next(&elements, &element), 0);
    assert_memory_equal(element.key, "b", element.key_size);
    assert_int_equal(redis_elements_next(&elements, &element), 0);
    assert_memory_equal(element.key, "a", element.key_size);
    assert_int_equal(redis_elements_next(&elements, &element), ERROR_END);
    int64_t count;
    assert_int_equal(redis_count_get(&call, id, 0, &count), 0);
    assert_int_equal(count, 3);
    for (unsigned n = 0; n < 20; n++)
        assert_int_equal(redis_element_random(&call, id, REDIS_ELEMENT, n * 7919, &element, NULL),
                         0);
    txn_rollback(call.txn);
    expect("hash", "type key");
    expect("!WRONGTYPE Operation against a key holding the wrong kind of value", "get key");
}

/* A hash of `count` elements; names[n] is the name of the n-th. Returns its number. */
enum { NAMES_MAX = 3000 };
static char names[NAMES_MAX][24];

static uint64_t numbered_make(unsigned count)
{
    static const char *list[NAMES_MAX + 1];
    for (unsigned n = 0; n < count; n++) {
        snprintf(names[n], sizeof names[n], "element:%012u", n);
        list[n] = names[n];
    }
    list[count] = NULL;
    return spread_make(list, 0);
}

/* Names that end in digits lie close together: each of them is drawn about as often. */
static void elements_are_drawn_evenly(void **state)
{
    (void)state;
    enum { ELEMENTS = NAMES_MAX, DRAWS = 30000 };
    static unsigned drawn[ELEMENTS];
    uint64_t id = numbered_make(ELEMENTS);
    struct redis_call call = begin();
    struct redis_element element;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned n = 0; n < DRAWS; n++) {
        char name[24] = "";
        uint64_t seed = random_next(&random);
        assert_int_equal(redis_element_random(&call, id, REDIS_ELEMENT, seed, &element, NULL), 0);
        assert_int_equal(element.key_size, strlen(names[0]));
        memcpy(name, element.key, element.key_size);
        drawn[strtoul(name + 8, NULL, 10)]++;
    }
    txn_rollback(call.txn);
    unsigned never = 0;
    for (unsigned n = 0; n < ELEMENTS; n++)
        never += drawn[n] == 0;
    assert_true(never < ELEMENTS / 20); /* ten draws each: of 3000, 0.1 are expected */
}

static void the_last_of_many_is_drawn(void **state)
{
    (void)state;
    enum { ELEMENTS = 2000 };
    uint64_t id = numbered_make(ELEMENTS);
    struct redis_call call = begin();
    struct redis_element element;
    for (unsigned n = 0; n < ELEMENTS; n++)
        if (n != 1234)
            assert_int_equal(
                redis_element_delete(&call, id, REDIS_ELEMENT, names[n], strlen(names[n])), 0);
    for (unsigned n = 0; n < 100; n++) {
        assert_int_equal(redis_element_random(&call, id, REDIS_ELEMENT, n * 7919, &element, NULL),
                         0);
        assert_memory_equal(element.key, names[1234], element.key_size);
    }
    assert_int_equal(
        redis_element_delete(&call, id, REDIS_ELEMENT, names[1234], strlen(names[1234])), 0);
    assert_int_equal(redis_element_random(&call, id, REDIS_ELEMENT, 1, &element, NULL), ERROR_END);
    txn_rollback(call.txn);
}

/* Removes an element in a transaction that is still open. */
static struct redis_call shrink(struct db_worker *worker, const char *name, bool *ended)
{
    struct redis_call call = begin_on(worker, TXN_READ_COMMITTED);
    struct redis_key key;
    struct redis_value value;
    assert_int_equal(redis_open_for_update(&call, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    assert_int_equal(redis_element_delete(&call, value.id, REDIS_ELEMENT, name, strlen(name)), 0);
    assert_int_equal(redis_count_add(&call, value.id, 0, -1), 0);
    assert_int_equal(
        redis_spread_shrunk(&call, &key, &value, REDIS_ELEMENT, name, strlen(name), ended), 0);
    return call;
}

static void the_key_ends_with_its_last_element(void **state)
{
    (void)state;
    bool ended;
    spread_make(AB, 0);
    struct redis_call call = shrink(fixture->worker, "b", &ended);
    assert_false(ended);
    commit(&call);
    expect("1", "exists key");
    call = shrink(fixture->worker, "a", &ended);
    assert_true(ended);
    commit(&call);
    expect("0", "exists key");
    assert_int_equal(garbage_count(), 1);
}

/* Each sees the other's element: without validation both would commit, and leave an empty key. */
static void of_two_that_take_the_last_two_away_one_runs_again(void **state)
{
    (void)state;
    struct db_worker *other;
    bool ended;
    spread_make(AB, 0);
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    struct redis_call first = shrink(fixture->worker, "a", &ended);
    assert_false(ended);
    struct redis_call second = shrink(other, "b", &ended);
    assert_false(ended);
    commit(&first);
    assert_int_equal(txn_commit(second.txn), ERROR_CONFLICT);
    second = shrink(other, "b", &ended);
    assert_true(ended);
    commit(&second);
    redis_fixture_close(fixture, other);
    expect("0", "exists key");
}

static void those_who_add_and_take_away_different_elements_do_not_meet(void **state)
{
    (void)state;
    struct db_worker *other;
    bool ended;
    uint64_t id = spread_make((const char *const[]){"a", "b", "c", "d", NULL}, 0);
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    struct redis_call first = shrink(fixture->worker, "a", &ended);
    struct redis_call second = begin_on(other, TXN_READ_COMMITTED);
    struct redis_key key;
    struct redis_value value;
    assert_int_equal(redis_open_for_update(&second, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    element_add(&second, id, "e");
    commit(&first);
    commit(&second);
    redis_fixture_close(fixture, other);
    struct redis_call call = begin();
    int64_t count;
    assert_int_equal(redis_count_get(&call, id, 0, &count), 0);
    assert_int_equal(count, 4);
    txn_rollback(call.txn);
}

/* Of one that adds and one that deletes the key the later one runs again. */
static void who_adds_to_a_key_that_goes_runs_again(void **state)
{
    (void)state;
    struct db_worker *other;
    uint64_t id = spread_make(AB, 0);
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    struct redis_call adds = begin_on(other, TXN_READ_COMMITTED);
    struct redis_key key;
    struct redis_value value;
    assert_int_equal(redis_open_for_update(&adds, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    element_add(&adds, id, "c");
    expect("1", "del key");
    assert_int_equal(txn_commit(adds.txn), ERROR_CONFLICT);
    redis_fixture_close(fixture, other);
}

static void what_is_written_over_goes_with_its_elements(void **state)
{
    (void)state;
    spread_make(AB, 0);
    expect("OK", "set key 1");
    assert_int_equal(garbage_count(), 1);
    expect("1", "del key");
    spread_make(AB, REDIS_FIXTURE_NOW_MS + 10);
    expect("1", "expire key 100");
    assert_int_equal(garbage_count(), 1);
    expect("1", "del key");
    assert_int_equal(garbage_count(), 2);
    spread_make(AB, REDIS_FIXTURE_NOW_MS + 10);
    clock_manual_advance_ms(&fixture->clock, 10);
    expect("OK", "set key 1");
    assert_int_equal(garbage_count(), 3);
    expect("1", "del key");
    spread_make(AB, 0);
    expect("OK", "flushall");
    assert_int_equal(garbage_count(), 4);
}

/* The names of keys in their order of expiry. */
static void expect_expiries(const char *wanted)
{
    char text[256] = "";
    struct redis_call call = begin();
    struct txn_index *index = db_redis_expiries(fixture->db, 0);
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    txn_cursor_open(&cursor, call.txn, index, &(struct txn_range){0});
    while (txn_cursor_next(&cursor, &row, &version) == 0) {
        char name[32];
        int64_t size = key_decode_string(row->key, row->key + row->key_size, name);
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%.*s=%llu ", (int)size, name,
                 (unsigned long long)db_redis_expiry(version));
    }
    txn_rollback(call.txn);
    assert_string_equal(text, wanted);
}

static void keys_that_expire_are_known_in_order_of_time(void **state)
{
    (void)state;
    expect("OK", "set a 1 pxat 1000300");
    expect("OK", "set b 1 pxat 1000100");
    expect("OK", "set c 1");
    expect("OK", "set d 1 pxat 1000200");
    expect_expiries("b=1000100 d=1000200 a=1000300 ");
    expect("1", "persist d");
    expect("1", "pexpireat b 1000400");
    expect("OK", "set e 2 pxat 1000050");
    expect("1", "del e");
    expect_expiries("a=1000300 b=1000400 ");
    redis_fixture_restart(fixture);
    expect_expiries("a=1000300 b=1000400 ");
}

static void databases_are_apart(void **state)
{
    (void)state;
    expect("OK", "set a 0");
    fixture->database = 3;
    expect("nil", "get a");
    expect("OK", "set a 3");
    redis_fixture_restart(fixture);
    expect("\"3\"", "get a");
    expect("OK", "flushdb");
    expect("nil", "get a");
    fixture->database = 0;
    expect("\"0\"", "get a");
    expect("OK", "flushall");
    expect("0", "dbsize");
}

static void keys_change_name_and_database_with_all_they_hold(void **state)
{
    (void)state;
    uint64_t id = spread_make(AB, 0);
    expect("OK", "rename key other");
    expect("0", "exists key");
    expect("hash", "type other");
    expect("OK", "set third 1 px 100");
    expect("0", "renamenx other third");
    expect("OK", "rename other third");
    expect("-1", "pttl third");
    expect("!ERR no such key", "rename other third");
    expect("!ERR no such key", "renamenx other third");
    expect("OK", "rename third third");
    expect("0", "renamenx third third");
    assert_int_equal(garbage_count(), 0);
    expect("1", "move third 5");
    expect("0", "exists third");
    fixture->database = 5;
    expect("hash", "type third");
    expect("!ERR source and destination objects are the same", "move third 5");
    expect("!ERR DB index is out of range", "move third 16");
    expect("OK", "rename third key");
    struct redis_call call = begin();
    struct redis_key key;
    struct redis_value value;
    call.database = 5;
    assert_int_equal(redis_open(&call, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    assert_true(value.id == id);
    txn_rollback(call.txn);
}

static void a_copy_has_elements_of_its_own(void **state)
{
    (void)state;
    bool ended;
    uint64_t id = spread_make(AB, 0);
    expect("1", "copy key other");
    expect("0", "copy key other");
    expect("1", "copy key other replace");
    assert_int_equal(garbage_count(), 1);
    expect("1", "copy key key db 2");
    expect("!ERR source and destination objects are the same", "copy key key");
    expect("!ERR syntax error", "copy key other bogus");
    struct redis_call call = shrink(fixture->worker, "a", &ended);
    commit(&call);
    expect("OK", "rename other key");
    call = begin();
    struct redis_key key;
    struct redis_value value;
    struct redis_slice element;
    int64_t count;
    assert_int_equal(redis_open(&call, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    assert_true(value.id != id);
    assert_int_equal(redis_element_get(&call, value.id, REDIS_ELEMENT, "a", 1, &element), 0);
    assert_non_null(element.data);
    assert_int_equal(redis_count_get(&call, value.id, 0, &count), 0);
    assert_int_equal(count, 2);
    txn_rollback(call.txn);
    expect("OK", "set s 12345 px 50");
    expect("1", "copy s t");
    expect("50", "pttl t");
}

static void keys_tell_about_themselves(void **state)
{
    (void)state;
    expect("nil", "randomkey");
    expect("nil", "object encoding a");
    expect("OK", "set a 12");
    expect("\"int\"", "object encoding a");
    expect("OK", "set a short");
    expect("\"embstr\"", "object encoding a");
    expect("1", "object refcount a");
    expect("\"a\"", "randomkey");
    expect("2", "touch a b a");
    expect("OK", "set a x px 10");
    clock_manual_advance_ms(&fixture->clock, 10);
    expect("nil", "randomkey");
    spread_make(AB, 0);
    expect("\"hashtable\"", "object encoding key");
}

static void what_frees_memory_is_not_refused_for_want_of_it(void **state)
{
    (void)state;
    struct heap *heap = db_heap(fixture->db);
    spread_make(AB, 0);
    for (unsigned n = 0; n < 300; n++)
        redis_fixture_run(fixture, "rpush l %u", n);
    expect("OK", "set s 1");
    heap_limit_set(heap, 1);
    expect("!OOM command not allowed when used memory > 'maxmemory'.", "set t 1");
    expect("!OOM command not allowed when used memory > 'maxmemory'.", "rpush l 1");
    expect("\"0\"", "lpop l");
    expect("1", "expire s 100");
    expect("OK", "ltrim l 0 9");
    expect("2", "del key l");
    assert_int_equal(garbage_count(), 2);
    heap_limit_set(heap, 0);
    expect("OK", "set t 1");
}

static void packed_elements_keep_their_bytes(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "a", "12", "-7", "012", "", "9223372036854775807", "9223372036854775808", "1.5", "-0"};
    enum { COUNT = sizeof TEXTS / sizeof *TEXTS };
    struct redis_call call = begin();
    struct redis_key key;
    struct redis_value value;
    struct redis_packer packer;
    assert_int_equal(redis_open_for_update(&call, &NAME, REDIS_TYPE_LIST, &key, &value), 0);
    redis_packer_create(&packer, &call, 0);
    for (unsigned n = 0; n < COUNT; n++)
        redis_packer_add(&packer, TEXTS[n], strlen(TEXTS[n]));
    redis_packer_add_double(&packer, 0.1);
    assert_int_equal(redis_packer_put(&packer, &key, REDIS_TYPE_LIST, 0), 0);
    commit(&call);
    call = begin();
    assert_int_equal(redis_open(&call, &NAME, REDIS_TYPE_LIST, &key, &value), 0);
    struct redis_packed packed;
    struct redis_item item;
    redis_packed_open(&packed, &value);
    assert_int_equal(packed.count, COUNT + 1);
    for (unsigned n = 0; n < COUNT; n++) {
        assert_true(redis_packed_next(&packed, &item));
        assert_int_equal(item.size, strlen(TEXTS[n]));
        assert_memory_equal(item.data, TEXTS[n], item.size);
    }
    assert_true(redis_packed_next(&packed, &item));
    assert_memory_equal(item.data, "0.1", item.size);
    assert_false(redis_packed_next(&packed, &item));
    txn_rollback(call.txn);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, redis_setup, redis_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(elements_are_found_in_order_and_counted),
        WITH_FIXTURE(elements_are_drawn_evenly),
        WITH_FIXTURE(the_last_of_many_is_drawn),
        WITH_FIXTURE(the_key_ends_with_its_last_element),
        WITH_FIXTURE(of_two_that_take_the_last_two_away_one_runs_again),
        WITH_FIXTURE(those_who_add_and_take_away_different_elements_do_not_meet),
        WITH_FIXTURE(who_adds_to_a_key_that_goes_runs_again),
        WITH_FIXTURE(what_is_written_over_goes_with_its_elements),
        WITH_FIXTURE(keys_that_expire_are_known_in_order_of_time),
        WITH_FIXTURE(databases_are_apart),
        WITH_FIXTURE(keys_change_name_and_database_with_all_they_hold),
        WITH_FIXTURE(a_copy_has_elements_of_its_own),
        WITH_FIXTURE(keys_tell_about_themselves),
        WITH_FIXTURE(what_frees_memory_is_not_refused_for_want_of_it),
        WITH_FIXTURE(packed_elements_keep_their_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
