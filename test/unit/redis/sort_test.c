/* SPDX-License-Identifier: Apache-2.0 */

/* SORT: of each type, by other keys, and stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "redis/redis_test.h"

static void elements_are_sorted_as_numbers_or_as_bytes(void **state)
{
    (void)state;
    expect("5", "rpush k 10 9 1.5 -3 1e2");
    expect("[\"-3\" \"1.5\" \"9\" \"10\" \"1e2\"]", "sort k");
    expect("[\"1e2\" \"10\" \"9\" \"1.5\" \"-3\"]", "sort k desc");
    expect("[\"-3\" \"1.5\" \"10\" \"1e2\" \"9\"]", "sort_ro k alpha");
    expect("[\"9\" \"10\"]", "sort k limit 2 2");
    expect("[]", "sort k limit 9 2");
    expect("[\"10\" \"9\" \"1.5\" \"-3\" \"1e2\"]", "sort k by nosort");
    expect("[\"-3\" \"1.5\"]", "sort k by nosort desc limit 1 2");
    expect("3", "sadd s c a b");
    expect("[\"c\" \"b\" \"a\"]", "sort s alpha desc");
    expect("!ERR One or more scores can't be converted into double", "sort s");
    expect("[]", "sort nothing");
}

static void sorted_sets_keep_their_order_when_nothing_else_is_asked_for(void **state)
{
    (void)state;
    for (unsigned threshold = 0; threshold <= 128; threshold += 128) {
        fixture->config.zset_max_listpack_entries = threshold;
        expect("4", "zadd z%u 3 a 1 10 2 9 0.5 d", threshold);
        expect("[\"d\" \"10\" \"9\" \"a\"]", "sort z%u by nosort", threshold);
        expect("[\"9\" \"10\"]", "sort z%u by nosort desc limit 1 2", threshold);
        expect("[\"10\" \"9\" \"a\" \"d\"]", "sort z%u alpha", threshold);
    }
}

static void arguments_are_looked_at_before_the_key(void **state)
{
    (void)state;
    expect("OK", "set text x");
    expect("!ERR syntax error", "sort text limit 1");
    expect("!ERR syntax error", "sort_ro text store k");
    expect("!ERR value is not an integer or out of range", "sort text limit 1 x");
    expect("!WRONGTYPE Operation against a key holding the wrong kind of value", "sort text");
}

static void other_keys_and_fields_say_the_order_and_what_is_replied(void **state)
{
    (void)state;
    expect("3", "rpush k a b c");
    expect("OK", "mset w_a 3 w_b 1 w_c 2 name_a Ann name_c Cid");
    expect("[\"b\" \"c\" \"a\"]", "sort k by w_*");
    expect("[nil \"b\" \"Cid\" \"c\" \"Ann\" \"a\"]", "sort k by w_* get name_* get #");
    expect("2", "hset h_a n 1 m x");
    expect("1", "hset h_b n 5");
    expect("[\"b\" \"a\" \"c\"]", "sort k by h_*->n desc");
    expect("[\"x\" nil nil]", "sort k by nosort get h_*->m");
    expect("[nil nil nil]", "sort k by nosort get h_*");
    expect("[nil nil nil]", "sort k by nosort get fixed");
    expect("[nil nil nil]", "sort k by nosort get w_*->n");
}

static void a_result_is_stored_as_a_list_even_over_its_source(void **state)
{
    (void)state;
    expect("3", "rpush k 3 1 2");
    expect("3", "sort k store k");
    expect("[\"1\" \"2\" \"3\"]", "lrange k 0 -1");
    expect("OK", "set v_1 one ex 100");
    expect("3", "sort k get v_* store v_1");
    expect("[\"one\" \"\" \"\"]", "lrange v_1 0 -1");
    expect("-1", "ttl v_1");
    expect("0", "sort nothing store k");
    expect("0", "exists k");
}

static int by_value(const void *left, const void *right)
{
    return *(const int *)left - *(const int *)right;
}

static void large_lists_are_sorted_as_an_array_is(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct random random;
    int values[COUNT];
    char expected[16 * COUNT], *at = expected;
    random_create(&random, test_seed());
    for (unsigned n = 0; n < COUNT; n++) {
        values[n] = (int)(random_next(&random) % 5000) - 2500;
        redis_fixture_run(fixture, "rpush k %d", values[n]);
    }
    qsort(values, COUNT, sizeof *values, by_value);
    for (unsigned n = 0; n < COUNT; n++)
        at += sprintf(at, "%s\"%d\"", n ? " " : "[", values[n]);
    strcpy(at, "]");
    expect(expected, "sort k");
    expect("1000", "sort k store to");
    expect(expected, "sort to by nosort");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(elements_are_sorted_as_numbers_or_as_bytes, redis_setup,
                                        redis_teardown),
        cmocka_unit_test_setup_teardown(sorted_sets_keep_their_order_when_nothing_else_is_asked_for,
                                        redis_setup, redis_teardown),
        cmocka_unit_test_setup_teardown(arguments_are_looked_at_before_the_key, redis_setup,
                                        redis_teardown),
        cmocka_unit_test_setup_teardown(other_keys_and_fields_say_the_order_and_what_is_replied,
                                        redis_setup, redis_teardown),
        cmocka_unit_test_setup_teardown(a_result_is_stored_as_a_list_even_over_its_source,
                                        redis_setup, redis_teardown),
        cmocka_unit_test_setup_teardown(large_lists_are_sorted_as_an_array_is, redis_setup,
                                        redis_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
