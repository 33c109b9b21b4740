/* SPDX-License-Identifier: Apache-2.0 */

/* SWAPDB among others: who watches keys, who waits for them, and transactions that are undone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "session/sessions.h"

static void a_watched_key_that_changes_places_is_a_change(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "select 1");
    expect(one, "+OK\r\n", "set a one");
    expect(two, "+OK\r\n", "watch a");
    expect(one, "+OK\r\n", "swapdb 0 1");
    expect(two, "+OK\r\n", "multi");
    expect(two, "+QUEUED\r\n", "get a");
    expect(two, "*-1\r\n", "exec");
    expect(two, "$3\r\none\r\n", "get a");
    expect(two, "+OK\r\n", "watch nothing");
    expect(one, "+OK\r\n", "swapdb 0 1");
    expect(two, "+OK\r\n", "multi");
    expect(two, "+QUEUED\r\n", "get a");
    expect(two, "*1\r\n$-1\r\n", "exec");
}

static void who_waits_for_a_key_gets_what_comes_there(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "select 2");
    expect(one, ":1\r\n", "rpush q x");
    expect(two, "", "blpop q 0");
    expect(one, "+OK\r\n", "swapdb 2 0");
    assert_string_equal(session_fixture_take(fixture, two), "*2\r\n$1\r\nq\r\n$1\r\nx\r\n");
    expect(one, ":0\r\n", "exists q");
}

static void a_swap_is_undone_with_its_transaction(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set a v");
    expect(one, "+OK\r\n", "multi atomic");
    expect(one, "+QUEUED\r\n", "swapdb 0 1");
    expect(one, "+QUEUED\r\n", "get a");
    expect(one, "+QUEUED\r\n", "swapdb 0 99");
    assert_memory_equal(session_fixture_text(fixture, one, "exec"), "-EXECABORT ", 11);
    expect(one, "$1\r\nv\r\n", "get a");
    expect(one, "+OK\r\n", "multi");
    expect(one, "+QUEUED\r\n", "set b w");
    expect(one, "+QUEUED\r\n", "swapdb 0 1");
    expect(one, "+QUEUED\r\n", "get a");
    expect(one, "+QUEUED\r\n", "set a w");
    expect(one, "+QUEUED\r\n", "swapdb 0 1");
    expect(one, "+QUEUED\r\n", "mget a b");
    expect(one, "*6\r\n+OK\r\n+OK\r\n$-1\r\n+OK\r\n+OK\r\n*2\r\n$1\r\nv\r\n$1\r\nw\r\n", "exec");
    expect(one, "+OK\r\n", "select 1");
    expect(one, "$1\r\nw\r\n", "get a");
}

int main(void)
{
#define WITH_SESSIONS(test) cmocka_unit_test_setup_teardown(test, sessions_setup, sessions_teardown)
    const struct CMUnitTest tests[] = {
        WITH_SESSIONS(a_watched_key_that_changes_places_is_a_change),
        WITH_SESSIONS(who_waits_for_a_key_gets_what_comes_there),
        WITH_SESSIONS(a_swap_is_undone_with_its_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
