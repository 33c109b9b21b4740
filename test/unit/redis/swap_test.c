/* SPDX-License-Identifier: Apache-2.0 */

/* SWAPDB: what the keys of two databases hold changes places. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "redis/redis_housekeeping.h"
#include "redis/redis_test.h"

static const char *in(unsigned database, const char *command)
{
    fixture->database = database;
    return redis_fixture_run(fixture, "%s", command);
}
#define expect_of(database, reply, command) assert_string_equal(in(database, command), reply)

/* A hash of more than fits into one value. */
static void large_hash(unsigned database, const char *name, const char *value)
{
    fixture->database = database;
    for (unsigned n = 0; n < 600; n++)
        assert_string_equal(redis_fixture_run(fixture, "hset %s f%u %s", name, n, value), "1");
}

/* What has no key any more is cleared up, and nothing else. */
static void keep_house(void)
{
    static struct redis_housekeeping keeping;
    redis_housekeeping_create(&keeping, &fixture->config, NULL);
    for (unsigned n = 0; n < 20; n++) {
        redis_housekeeping_run(&keeping, fixture->worker);
        clock_manual_advance_ms(&fixture->clock, 200);
    }
}

static void keys_change_places_with_all_that_they_hold(void **state)
{
    (void)state;
    expect_of(0, "OK", "set both zero");
    expect_of(1, "OK", "set both one px 1000000");
    expect_of(0, "2", "rpush zero a b");
    expect_of(1, "2", "sadd one 1 2");
    large_hash(0, "large", "zero");
    large_hash(1, "large", "one");
    large_hash(1, "other", "one");
    expect_of(1, "[1]", "hpexpire other 1000000 fields 1 f7");
    expect_of(5, "OK", "set far v");
    expect_of(7, "OK", "swapdb 0 1");
    for (unsigned turn = 0; turn < 2; turn++) {
        expect_of(0, "\"one\"", "get both");
        expect_of(0, "0", "exists zero");
        expect_of(0, "[\"1\" \"2\"]", "sort one");
        expect_of(0, "\"one\"", "hget large f599");
        expect_of(0, "600", "hlen large");
        expect_of(0, "600", "hlen other");
        expect_of(1, "\"zero\"", "get both");
        expect_of(1, "-1", "pttl both");
        expect_of(1, "[\"a\" \"b\"]", "lrange zero 0 -1");
        expect_of(1, "\"zero\"", "hget large f0");
        expect_of(1, "600", "hlen large");
        expect_of(1, "0", "exists other");
        expect_of(0, "4", "dbsize");
        expect_of(1, "3", "dbsize");
        expect_of(5, "\"v\"", "get far");
        keep_house();
        redis_fixture_restart(fixture);
    }
    clock_manual_advance_ms(&fixture->clock, 1000000);
    keep_house();
    expect_of(0, "0", "exists both");
    expect_of(0, "599", "hlen other");
    expect_of(1, "\"zero\"", "get both");
}

static void a_database_that_is_empty_takes_all(void **state)
{
    (void)state;
    expect_of(3, "OK", "set a 1");
    expect_of(3, "OK", "set b 2 px 5");
    clock_manual_advance_ms(&fixture->clock, 5); /* that has expired, and is nothing to be moved */
    expect_of(0, "OK", "swapdb 3 4");
    expect_of(4, "\"1\"", "get a");
    expect_of(4, "1", "dbsize");
    expect_of(3, "0", "dbsize");
    expect_of(0, "OK", "swapdb 4 4");
    expect_of(4, "\"1\"", "get a");
    expect_of(0, "OK", "swapdb 4 3");
    expect_of(3, "\"1\"", "get a");
    expect_of(0, "OK", "swapdb 9 10");
    expect_of(3, "OK", "flushdb");
    expect_of(0, "OK", "swapdb 3 0");
    expect_of(0, "0", "dbsize");
}

static void its_arguments_are_looked_at_in_the_order_of_redis(void **state)
{
    (void)state;
    expect_of(0, "!ERR invalid first DB index", "swapdb a b");
    expect_of(0, "!ERR invalid second DB index", "swapdb 0 b");
    expect_of(0, "!ERR invalid second DB index", "swapdb 99 99999999999");
    expect_of(0, "!ERR DB index is out of range", "swapdb 0 16");
    expect_of(0, "!ERR DB index is out of range", "swapdb -1 0");
    expect_of(0, "!ERR DB index is out of range", "swapdb 16 16");
}

int main(void)
{
#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, redis_setup, redis_teardown)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(keys_change_places_with_all_that_they_hold),
        WITH_FIXTURE(a_database_that_is_empty_takes_all),
        WITH_FIXTURE(its_arguments_are_looked_at_in_the_order_of_redis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
