/* SPDX-License-Identifier: Apache-2.0 */

/* Patterns: Redis's rules, and that no pattern takes long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "redis/redis_glob.h"

static bool match(const char *pattern, const char *text)
{
    return redis_glob_match(pattern, strlen(pattern), text, strlen(text));
}

static void plain_bytes_and_wildcards_match_as_in_redis(void **state)
{
    (void)state;
    assert_true(match("", ""));
    assert_false(match("", "a"));
    assert_true(match("*", ""));
    assert_true(match("**", "anything"));
    assert_true(match("h?llo", "hello"));
    assert_false(match("h?llo", "hllo"));
    assert_true(match("h*llo", "heeeello"));
    assert_true(match("*llo", "lllo"));
    assert_true(match("a*b*c", "a-b-b-c"));
    assert_false(match("a*b*c", "a-c-b"));
    assert_false(match("abc", "abcd"));
    assert_false(match("abcd", "abc"));
    assert_false(match("?", ""));
}

static void sets_ranges_and_negation_match_one_byte(void **state)
{
    (void)state;
    assert_true(match("h[ae]llo", "hello"));
    assert_false(match("h[ae]llo", "hillo"));
    assert_true(match("h[a-c]llo", "hbllo"));
    assert_true(match("h[c-a]llo", "hbllo"));
    assert_false(match("h[^e]llo", "hello"));
    assert_true(match("h[^e]llo", "hallo"));
    assert_true(match("[\\]]", "]"));
    assert_true(match("x[abc", "xc"));
    assert_true(match("*[0-9]", "key7"));
}

static void a_backslash_takes_the_next_byte_for_itself(void **state)
{
    (void)state;
    assert_true(match("\\*", "*"));
    assert_false(match("\\*", "x"));
    assert_true(match("a\\", "a\\"));
    assert_true(match("\\?\\[", "?["));
}

static void a_pattern_of_many_stars_ends_soon(void **state)
{
    (void)state;
    char pattern[201], text[100001];
    for (unsigned n = 0; n < 200; n += 2)
        memcpy(pattern + n, "*a", 2);
    pattern[200] = 0;
    memset(text, 'a', 100000);
    text[100000] = 0;
    assert_true(match(pattern, text));
    pattern[199] = 'b';
    assert_false(match(pattern, text));
}

static void a_text_matches_the_pattern_that_is_made_of_it(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned round = 0; round < 20000; round++) {
        char text[16], pattern[64];
        size_t size = random_below(&random, 12), n = 0, p = 0;
        for (; n < size; n++)
            text[n] = (char)random_next(&random);
        for (n = 0; n < size;) {
            switch (random_below(&random, 4)) {
            case 0:
                pattern[p++] = '?';
                n++;
                break;
            case 1:
                pattern[p++] = '*';
                n += random_below(&random, size - n + 1);
                break;
            default:
                pattern[p++] = '\\';
                pattern[p++] = text[n++];
            }
        }
        assert_true(redis_glob_match(pattern, p, text, size));
    }
}

static void the_prefix_of_a_pattern_is_what_stands_for_itself(void **state)
{
    (void)state;
    assert_int_equal(redis_glob_prefix("user:*", 6), 5);
    assert_int_equal(redis_glob_prefix("user", 4), 4);
    assert_int_equal(redis_glob_prefix("u\\*", 3), 1);
    assert_int_equal(redis_glob_prefix("*", 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_bytes_and_wildcards_match_as_in_redis),
        cmocka_unit_test(sets_ranges_and_negation_match_one_byte),
        cmocka_unit_test(a_backslash_takes_the_next_byte_for_itself),
        cmocka_unit_test(a_pattern_of_many_stars_ends_soon),
        cmocka_unit_test(a_text_matches_the_pattern_that_is_made_of_it),
        cmocka_unit_test(the_prefix_of_a_pattern_is_what_stands_for_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
