/* SPDX-License-Identifier: Apache-2.0 */

/* What requests are going to look for: the rows that are hinted at are those that are there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "codec/key.h"
#include "redis/redis_hint.h"
#include "redis/redis_test.h"

static void small_thresholds(void)
{
    fixture->config.zset_max_listpack_entries = 2;
    fixture->config.hash_max_listpack_entries = 2;
    fixture->config.set_max_listpack_entries = 2;
    fixture->config.set_max_intset_entries = 2;
}

static size_t words(const char *const *text, struct redis_slice *argv)
{
    size_t argc = 0;
    for (; text[argc]; argc++)
        argv[argc] = (struct redis_slice){text[argc], strlen(text[argc])};
    return argc;
}

static bool wanted(const char *const *text)
{
    struct redis_slice argv[8];
    return redis_hint_wanted(argv, words(text, argv));
}

static const struct version *version_of(const char *name)
{
    unsigned char key[64];
    size_t size = (size_t)(key_encode_string(key, name, strlen(name)) - key);
    const struct row *row = (const void *)tree_get(db_redis_head(fixture->db, 0)->tree, key, size);
    return row ? load_acquire(&row->newest) : NULL;
}

static struct epoch_slot *epoch(void)
{
    return txn_worker_thread(db_worker_txn(fixture->worker))->epoch;
}

/* The hint of a request on its key as it is now; false: there is none. */
static bool hint_of(const char *const *text, struct redis_hint *out)
{
    struct redis_slice argv[8];
    size_t argc = words(text, argv);
    assert_true(redis_hint_wanted(argv, argc));
    epoch_enter(epoch());
    bool made = redis_hint_make(argv, argc, version_of(text[1]), out);
    epoch_leave(epoch());
    return made;
}

static bool is_there(struct tree *tree, const void *key, size_t size)
{
    epoch_enter(epoch());
    bool found = tree_get(tree, key, size) != NULL;
    epoch_leave(epoch());
    return found;
}

#define TEXT(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Whether the request's element has a row, and its place an entry. */
static void expect_rows(bool element, bool place, const char *const *text)
{
    struct redis_hint hint;
    assert_true(hint_of(text, &hint));
    assert_int_equal(
        is_there(db_redis_elements(fixture->db)->tree, hint.element, hint.element_size), element);
    assert_int_equal(hint.place_size > 0 &&
                         is_there(db_redis_numbers(fixture->db)->tree, hint.place, hint.place_size),
                     place);
}

static void a_hint_is_the_key_of_the_row_that_a_command_looks_for(void **state)
{
    (void)state;
    small_thresholds();
    expect("4", "zadd z 1 a -2.5 b 3 c 0 d");
    expect("3", "hset h a 1 b 2 c 3");
    expect("3", "sadd s a b c");
    expect_rows(true, true, TEXT("ZADD", "z", "1", "a"));
    expect_rows(true, true, TEXT("zadd", "z", "ch", "-2.5", "b"));
    expect_rows(true, true, TEXT("zadd", "z", "0", "d"));
    expect_rows(true, false, TEXT("zadd", "z", "2", "a"));
    expect_rows(true, false, TEXT("zadd", "z", "no score", "a"));
    expect_rows(false, false, TEXT("zadd", "z", "1", "x"));
    expect_rows(true, false, TEXT("zincrby", "z", "1", "a"));
    expect_rows(true, false, TEXT("zrem", "z", "c"));
    expect_rows(true, false, TEXT("hset", "h", "a", "2"));
    expect_rows(false, false, TEXT("hget", "h", "x"));
    expect_rows(true, false, TEXT("sadd", "s", "c"));
    expect_rows(false, false, TEXT("sismember", "s", "x"));
}

static void of_what_is_not_spread_there_is_no_hint(void **state)
{
    (void)state;
    struct redis_hint hint;
    expect("OK", "set string 0123456789");
    expect("1", "zadd z 1 a");
    expect("2", "rpush list a b");
    assert_false(hint_of(TEXT("zadd", "none", "1", "a"), &hint));
    assert_false(hint_of(TEXT("zadd", "z", "1", "a"), &hint));
    assert_false(hint_of(TEXT("zadd", "string", "1", "a"), &hint));
    assert_false(hint_of(TEXT("zadd", "list", "1", "a"), &hint));
    assert_true(strlen(redis_fixture_run(fixture, "del z")) > 0);
    assert_false(hint_of(TEXT("zadd", "z", "1", "a"), &hint));
}

static void requests_that_name_no_element_are_passed_over(void **state)
{
    (void)state;
    assert_false(wanted(TEXT("ping")));
    assert_false(wanted(TEXT("get", "a")));
    assert_false(wanted(TEXT("set", "a", "b")));
    assert_false(wanted(TEXT("zpopmin", "z")));
    assert_false(wanted(TEXT("zrange", "z", "0", "-1")));
    assert_false(wanted(TEXT("lpush", "l", "a")));
    assert_false(wanted(TEXT("zadd", "z")));
    assert_false(wanted(TEXT("", "z", "a")));
}

static void what_is_longer_than_a_hint_is_passed_over(void **state)
{
    (void)state;
    char longest[REDIS_HINT_MEMBER_MAX + 2];
    memset(longest, 'm', sizeof longest);
    small_thresholds();
    expect("3", "zadd z 1 a 2 b 3 c");
    longest[REDIS_HINT_MEMBER_MAX + 1] = '\0';
    assert_false(wanted(TEXT("zadd", "z", "1", longest)));
    longest[REDIS_HINT_MEMBER_MAX] = '\0';
    expect_rows(false, false, TEXT("zadd", "z", "1", longest));
    expect("1", "zadd z 1 %s", longest);
    expect_rows(true, true, TEXT("zadd", "z", "1", longest));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, redis_setup, redis_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_hint_is_the_key_of_the_row_that_a_command_looks_for),
        TEST(of_what_is_not_spread_there_is_no_hint),
        TEST(requests_that_name_no_element_are_passed_over),
        TEST(what_is_longer_than_a_hint_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
