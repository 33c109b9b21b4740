/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The data commands over a real database: replies, errors and their order as Redis 7.2 documents
 * them.
 */
#include <ctype.h>
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
#include "redis/redis_test.h"
#include "redis/redis_value.h"

#define NOT_INTEGER "!ERR value is not an integer or out of range"

static void pass_ms(uint64_t ms)
{
    clock_manual_advance_ms(&fixture->clock, ms);
}

static void set_and_get_keep_bytes(void **state)
{
    (void)state;
    expect("nil", "get a");
    expect("OK", "set a 1");
    expect("\"1\"", "GET a");
    expect("OK", "set a ''");
    expect("\"\"", "get a");
    expect("OK", "set '' empty-key");
    expect("\"empty-key\"", "get ''");
    expect("!ERR wrong number of arguments for 'get' command", "get");
    expect("!ERR wrong number of arguments for 'set' command", "set a");
}

static void set_takes_its_options_in_any_order(void **state)
{
    (void)state;
    expect("nil", "set a 1 xx");
    expect("OK", "set a 1 nx");
    expect("nil", "set a 2 nx");
    expect("OK", "set a 2 xx");
    expect("\"2\"", "set a 3 get");
    expect("\"3\"", "set a 4 nx get");
    expect("\"3\"", "get a");
    expect("nil", "set b 1 get nx");
    expect("OK", "set a 5 px 1000 xx");
    expect("1000", "pttl a");
    expect("OK", "set a 6 keepttl");
    expect("1000", "pttl a");
    expect("OK", "set a 7");
    expect("-1", "pttl a");
    expect("OK", "set a 8 exat 2000");
    expect("1000000", "pttl a");
    expect("OK", "set a 9 pxat 1000500");
    expect("500", "pttl a");
    expect("OK", "set a 9 pxat 500");
    expect("nil", "get a");
}

static void set_refuses_what_does_not_fit_together(void **state)
{
    (void)state;
    const char *const wrong[] = {
        "set a 1 nx xx",        "set a 1 ex",    "set a 1 ex 1 px 1", "set a 1 keepttl ex 1",
        "set a 1 ex 1 keepttl", "set a 1 bogus", "set a 1 xx nx"};
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++)
        expect("!ERR syntax error", "%s", wrong[n]);
    expect(NOT_INTEGER, "set a 1 ex ten");
    expect("!ERR invalid expire time in 'set' command", "set a 1 ex 0");
    expect("!ERR invalid expire time in 'set' command", "set a 1 px -5");
    expect("!ERR invalid expire time in 'set' command", "set a 1 ex 9223372036854775807");
    expect("!ERR invalid expire time in 'set' command", "set a 1 px 9223372036854775807");
    expect("nil", "get a");
}

static void the_older_ways_to_set_behave_as_set_does(void **state)
{
    (void)state;
    expect("1", "setnx a 1");
    expect("0", "setnx a 2");
    expect("OK", "setex a 10 3");
    expect("10", "ttl a");
    expect("OK", "psetex a 1500 3");
    expect("1500", "pttl a");
    expect("!ERR invalid expire time in 'setex' command", "setex a 0 3");
    expect("!ERR invalid expire time in 'psetex' command", "psetex a -1 3");
    expect("\"3\"", "getset a 4");
    expect("-1", "ttl a");
    expect("nil", "getset b 4");
    expect("\"4\"", "getdel a");
    expect("nil", "getdel a");
    expect("\"4\"", "getex b ex 10");
    expect("10", "ttl b");
    expect("\"4\"", "getex b persist");
    expect("-1", "ttl b");
    expect("\"4\"", "getex b");
    expect("nil", "getex c ex 10");
    expect("!ERR syntax error", "getex b ex 10 persist");
}

static void counters_count_within_64_bits(void **state)
{
    (void)state;
    expect("1", "incr a");
    expect("11", "incrby a 10");
    expect("10", "decr a");
    expect("-5", "decrby a 15");
    expect("\"-5\"", "get a");
    expect("OK", "set a 9223372036854775806");
    expect("9223372036854775807", "incr a");
    expect("!ERR increment or decrement would overflow", "incr a");
    expect("OK", "set a -9223372036854775808");
    expect("!ERR increment or decrement would overflow", "decr a");
    expect("!ERR decrement would overflow", "decrby a -9223372036854775808");
    expect(NOT_INTEGER, "incrby a 1.5");
    const char *const no_integers[] = {
        "''", "+1", "01", "-0", "1x", "x", "--1", "9223372036854775808", "-"};
    for (size_t n = 0; n < sizeof no_integers / sizeof *no_integers; n++) {
        expect("OK", "set b %s", no_integers[n]);
        expect(NOT_INTEGER, "incr b");
    }
    expect("OK", "set a 1 px 700");
    expect("2", "incr a");
    expect("700", "pttl a"); /* the expiry stays */
}

static void strings_grow_and_are_cut(void **state)
{
    (void)state;
    expect("5", "append a hello");
    expect("10", "append a world");
    expect("10", "strlen a");
    expect("0", "strlen b");
    expect("\"world\"", "getrange a -5 -1");
    expect("\"hello\"", "getrange a 0 4");
    expect("\"helloworld\"", "getrange a -100 100");
    expect("\"\"", "getrange a 5 3");
    expect("\"\"", "getrange a 100 200");
    expect("\"\"", "getrange b 0 -1");
    expect(NOT_INTEGER, "getrange a x 1");
    expect("1", "pexpire a 300");
    expect("11", "append a !");
    expect("300", "pttl a");
}

static void several_keys_are_one_command(void **state)
{
    (void)state;
    expect("OK", "mset a 1 b 2 c 3 a 4");
    expect("[\"4\" \"2\" nil \"3\"]", "mget a b x c");
    expect("0", "msetnx d 1 a 1");
    expect("nil", "get d");
    expect("1", "msetnx d 1 e 1");
    expect("!ERR wrong number of arguments for 'mset' command", "mset a 1 b");
    expect("!ERR wrong number of arguments for 'msetnx' command", "msetnx a 1 b");
    expect("3", "exists a a b x");
    expect("2", "del a b x");
    expect("1", "unlink c");
    expect("0", "del a");
    expect("[nil nil]", "mget a b");
}

static void a_key_expires_at_its_time_and_not_before(void **state)
{
    (void)state;
    expect("OK", "set a 1 px 1000");
    pass_ms(999);
    expect("\"1\"", "get a");
    expect("1", "pttl a");
    pass_ms(1);
    expect("nil", "get a");
    expect("-2", "ttl a");
    expect("0", "exists a");
    expect("none", "type a");
    expect("0", "del a");
    expect("0", "persist a");
    expect("0", "expire a 10");
    expect("0", "strlen a");
    expect("OK", "set a 5 px 1000");
    pass_ms(1000);
    expect("1", "incr a"); /* from nothing */
    expect("-1", "ttl a");
    expect("OK", "set a 5 px 1000");
    pass_ms(1000);
    expect("1", "setnx a 6");
}

static void expiry_is_set_under_conditions(void **state)
{
    (void)state;
    expect("0", "expire a 10");
    expect("OK", "set a 1");
    expect("0", "expire a 10 xx");
    expect("0", "expire a 10 gt");
    expect("1", "expire a 10 lt");
    expect("0", "expire a 10 nx");
    expect("0", "expire a 5 gt");
    expect("0", "expire a 10 gt");
    expect("1", "expire a 20 gt");
    expect("0", "expire a 30 lt");
    expect("1", "expire a 15 lt xx");
    expect("15", "ttl a");
    expect("!ERR NX and XX, GT or LT options at the same time are not compatible",
           "expire a 1 nx gt");
    expect("!ERR GT and LT options at the same time are not compatible", "expire a 1 gt lt");
    expect("!ERR Unsupported option foo", "expire a 1 foo");
    expect(NOT_INTEGER, "expire a x");
    expect("!ERR invalid expire time in 'expire' command", "expire a 9223372036854775807");
    expect("!ERR invalid expire time in 'pexpire' command", "pexpire a 9223372036854775807");
    expect("1", "persist a");
    expect("0", "persist a");
    expect("1", "expireat a 3000");
    expect("3000", "expiretime a");
    expect("3000000", "pexpiretime a");
    expect("2000", "ttl a");
    expect("1", "pexpireat a 1000400");
    expect("0", "ttl a");
    expect("400", "pttl a");
    expect("1", "expire a -1");
    expect("nil", "get a");
    expect("-2", "expiretime a");
}

static void keys_are_found_by_pattern(void **state)
{
    (void)state;
    expect("OK", "mset user:1 a user:2 b usher c user d b*d x");
    expect("[\"user:1\" \"user:2\"]", "keys user:*");
    expect("[\"b*d\"]", "keys b\\*d");
    expect("[]", "keys nothing*");
    expect("5", "dbsize");
    expect("1", "pexpire user:1 100");
    pass_ms(100);
    expect("[\"user\" \"user:2\" \"usher\"]", "keys us*");
    expect("4", "dbsize");
    expect("OK", "flushall");
    expect("0", "dbsize");
    expect("!ERR syntax error", "flushdb now");
    expect("OK", "flushdb async");
}

/* Iterates with a COUNT and counts how often each key n was returned; deletes the keys of odd
 * number when half has been seen. */
static void scan_all(unsigned count, unsigned char *seen, unsigned keys, bool deleting)
{
    char cursor[32] = "0";
    unsigned calls = 0;
    do {
        char reply[4096];
        snprintf(reply, sizeof reply, "%s",
                 redis_fixture_run(fixture, "scan %s count %u match key:*", cursor, count));
        assert_int_equal(sscanf(reply, "[\"%31[0-9]\"", cursor), 1);
        for (char *at = reply; (at = strstr(at, "key:")) != NULL; at++) {
            unsigned long key = strtoul(at + 4, NULL, 10);
            assert_true(key < keys);
            seen[key]++;
        }
        if (deleting && ++calls == 3)
            for (unsigned key = 1; key < keys; key += 2)
                redis_fixture_run(fixture, "del key:%u", key);
    } while (strcmp(cursor, "0") != 0);
}

static void scan_returns_what_is_there_all_the_time_exactly_once(void **state)
{
    (void)state;
    enum { KEYS = 100 };
    unsigned char seen[KEYS] = {0};
    for (unsigned key = 0; key < KEYS; key++)
        redis_fixture_run(fixture, "set key:%u v", key);
    redis_fixture_run(fixture, "set other v");
    scan_all(7, seen, KEYS, false);
    for (unsigned key = 0; key < KEYS; key++)
        assert_int_equal(seen[key], 1);
    memset(seen, 0, sizeof seen);
    scan_all(7, seen, KEYS, true);
    for (unsigned key = 0; key < KEYS; key += 2)
        assert_int_equal(seen[key], 1);
}

static void scan_checks_its_arguments(void **state)
{
    (void)state;
    expect("OK", "set a 1");
    expect("!ERR invalid cursor", "scan x");
    expect("!ERR invalid cursor", "scan 12345");
    expect("!ERR syntax error", "scan 0 count 0");
    expect("!ERR syntax error", "scan 0 match");
    expect("!ERR syntax error", "scan 0 bogus 1");
    expect(NOT_INTEGER, "scan 0 count x");
    expect("[\"0\" []]", "scan 0 type list");
    expect("[\"0\" [\"a\"]]", "scan 0 type string match * count 100");
}

static void keys_with_any_bytes_are_told_apart(void **state)
{
    (void)state;
    struct txn *txn;
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    const struct redis_slice names[] = {{"a", 1},  {"a\0", 2},      {"a\0b", 3},
                                        {"\0", 1}, {"\xff\xff", 2}, {"a\xff", 2}};
    assert_int_equal(txn_begin(db_worker_txn(fixture->worker), &options, &txn), 0);
    for (unsigned n = 0; n < 6; n++) {
        struct redis_call call = {
            .worker = fixture->worker, .txn = txn, .now_ms = 1, .config = redis_config_default()};
        struct redis_key key;
        char digit = (char)('0' + n);
        assert_int_equal(redis_key_encode(&call, &names[n], &key), 0);
        assert_int_equal(redis_string_put(&call, &key, 0, (struct redis_slice){&digit, 1},
                                          (struct redis_slice){NULL, 0}),
                         0);
    }
    for (unsigned n = 0; n < 6; n++) {
        struct redis_slice argv[2] = {{"get", 3}, names[n]};
        struct redis_call call = {.worker = fixture->worker,
                                  .txn = txn,
                                  .argv = argv,
                                  .argc = 2,
                                  .now_ms = 1,
                                  .config = redis_config_default()};
        struct redis_key key;
        struct redis_value value;
        assert_int_equal(redis_string_get(&call, 1, &key, &value), 0);
        assert_int_equal(value.size, 1);
        assert_int_equal(value.data[0], '0' + (int)n);
    }
    assert_int_equal(txn_commit(txn), 0);
}

static void a_key_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct txn *txn;
    struct txn_options options = {.level = TXN_READ_COMMITTED};
    char *name = malloc(70000);
    memset(name, 'k', 70000);
    assert_int_equal(txn_begin(db_worker_txn(fixture->worker), &options, &txn), 0);
    struct redis_call call = {
        .worker = fixture->worker, .txn = txn, .now_ms = 1, .config = redis_config_default()};
    struct redis_key key;
    assert_int_equal(redis_key_encode(&call, &(struct redis_slice){name, 70000}, &key),
                     ERROR_TOO_LARGE);
    txn_rollback(txn);
    free(name);
}

static void commands_of_one_transaction_see_each_other(void **state)
{
    (void)state;
    struct txn *txn;
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    expect("OK", "set a 1");
    assert_int_equal(txn_begin(db_worker_txn(fixture->worker), &options, &txn), 0);
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "append a 2"), "2");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "append a 3"), "3");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "getset a 4"), "\"123\"");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "set a 5 get"), "\"4\"");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "incr a"), "6");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "expire a 10"), "1");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "getex a persist"), "\"6\"");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "mset b 1 c 2"), "OK");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "keys *"), "[\"a\" \"b\" \"c\"]");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "getdel b"), "\"1\"");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "dbsize"), "2");
    txn_rollback(txn);
    expect("\"1\"", "get a");
    expect("1", "dbsize");
}

static void what_was_written_is_there_after_a_restart(void **state)
{
    (void)state;
    expect("OK", "mset a 1 b 2");
    expect("1", "pexpire a 1000");
    expect("1", "del b");
    redis_fixture_restart(fixture);
    expect("\"1\"", "get a");
    expect("1000", "pttl a");
    expect("nil", "get b");
    expect("1", "dbsize");
}

static void integers_are_read_and_written_alike(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned round = 0; round < 100000; round++) {
        char text[24], wanted[24];
        int64_t value = (int64_t)(random_next(&random) >> random_below(&random, 64)), back;
        if (round % 2)
            value = (int64_t)(0 - (uint64_t)value);
        size_t size = redis_integer_format(value, text);
        assert_int_equal(size, snprintf(wanted, sizeof wanted, "%lld", (long long)value));
        assert_memory_equal(text, wanted, size);
        assert_true(redis_integer_parse(text, size, &back));
        assert_int_equal(back, value);
    }
}

static void every_command_is_found_by_its_name_in_any_case(void **state)
{
    (void)state;
    const struct redis_command *command, *before = NULL;
    for (unsigned n = 0; (command = redis_command_at(n)) != NULL; n++) {
        char upper[64];
        size_t size = strlen(command->name);
        for (size_t i = 0; i < size; i++)
            upper[i] = (char)toupper((unsigned char)command->name[i]);
        assert_ptr_equal(redis_command_find(command->name, size), command);
        assert_ptr_equal(redis_command_find(upper, size), command);
        assert_null(redis_command_find(command->name, size - 1) == command ? command : NULL);
        assert_true(!before || strcmp(before->name, command->name) < 0);
        assert_true(!(command->flags & REDIS_WRITE) != !(command->flags & REDIS_READONLY));
        before = command;
    }
    assert_null(redis_command_find("nosuch", 6));
    assert_null(redis_command_find("", 0));
}

static void damage_in_a_value_is_an_error_not_a_value(void **state)
{
    (void)state;
    static const char *const damaged[] = {"",
                                          "\x93",
                                          "\x93\xa1s\xc0",
                                          "\x93\xa1s\xc0\xc4\x05"
                                          "ab",
                                          "\x93\xa1s\xa1x\xc4\x01"
                                          "a",
                                          "\x92\xa1s\xc0\xc4\x01"
                                          "a",
                                          "\x93\xa1?\xc0\xc4\x01"
                                          "a",
                                          "\x93\xa1s\xcf\x01"};
    for (size_t n = 0; n < sizeof damaged / sizeof *damaged; n++) {
        size_t size = strlen(damaged[n]);
        struct version *version = calloc(1, sizeof *version + size);
        struct redis_value value;
        version->size = (uint32_t)size;
        memcpy(version->bytes, damaged[n], size);
        assert_int_equal(redis_value_unpack(version, 1, &value), ERROR_CORRUPT);
        free(version);
    }
}

int main(void)
{
#define WITH_DB(test) cmocka_unit_test_setup_teardown(test, redis_setup, redis_teardown)
    const struct CMUnitTest tests[] = {
        WITH_DB(set_and_get_keep_bytes),
        WITH_DB(set_takes_its_options_in_any_order),
        WITH_DB(set_refuses_what_does_not_fit_together),
        WITH_DB(the_older_ways_to_set_behave_as_set_does),
        WITH_DB(counters_count_within_64_bits),
        WITH_DB(strings_grow_and_are_cut),
        WITH_DB(several_keys_are_one_command),
        WITH_DB(a_key_expires_at_its_time_and_not_before),
        WITH_DB(expiry_is_set_under_conditions),
        WITH_DB(keys_are_found_by_pattern),
        WITH_DB(scan_returns_what_is_there_all_the_time_exactly_once),
        WITH_DB(scan_checks_its_arguments),
        WITH_DB(keys_with_any_bytes_are_told_apart),
        WITH_DB(a_key_that_does_not_fit_is_refused),
        WITH_DB(commands_of_one_transaction_see_each_other),
        WITH_DB(what_was_written_is_there_after_a_restart),
        cmocka_unit_test(integers_are_read_and_written_alike),
        cmocka_unit_test(every_command_is_found_by_its_name_in_any_case),
        cmocka_unit_test(damage_in_a_value_is_an_error_not_a_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
