/* SPDX-License-Identifier: Apache-2.0 */

/* Requests that ask for more time or memory than there is cost no more than their share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/sessions.h"

enum { OUTPUT_BYTES_MAX = 1 << 20, VALUE_BYTES = 100000, SCRIPT_BYTES = 4 << 20, SCRIPTS = 20 };

static void start(unsigned lua_time_max_ms)
{
    struct service_limits limits = {.lua_time_max_ms = lua_time_max_ms,
                                    .output_bytes_max = OUTPUT_BYTES_MAX};
    sessions_start(NULL, limits);
}

static int setup(void **state)
{
    (void)state;
    start(600000); /* of what ends by itself, on however busy a machine */
    return 0;
}

static int setup_with_little_time(void **state)
{
    (void)state;
    start(200);
    return 0;
}

/* SET big, a value of which ten are more than may wait to be sent. */
static void set_big(void)
{
    static char request[VALUE_BYTES + 64];
    int size = snprintf(request, sizeof request, "*3\r\n$3\r\nset\r\n$3\r\nbig\r\n$%d\r\n%0*d\r\n",
                        VALUE_BYTES, VALUE_BYTES, 0);
    assert_string_equal(session_fixture_bytes(fixture, one, request, (size_t)size), "+OK\r\n");
}

static void a_transaction_ends_when_a_script_of_it_had_no_time_left(void **state)
{
    (void)state;
    const char *reply = session_fixture_text(
        fixture, one, "multi\r\nset a 1\r\neval \"while true do end\" 0\r\nset b 2\r\nexec");
    assert_non_null(strstr(reply, "+QUEUED\r\n-"));
    assert_non_null(strstr(reply, "time limit exceeded"));
    expect(one, "*2\r\n$-1\r\n$-1\r\n", "mget a b");
    expect(one, "-ERR EXEC without MULTI\r\n", "exec");
}

static void a_reply_that_is_too_large_closes_its_connection(void **state)
{
    (void)state;
    set_big();
    expect(one, "", "mget big big big big big big big big big big big big");
    assert_true(session_wants_close(one));
    expect(two, ":100000\r\n", "strlen big");
}

static void replies_of_a_transaction_that_are_too_large_end_it(void **state)
{
    (void)state;
    set_big();
    session_fixture_text(fixture, one, "multi");
    for (int n = 0; n < 12; n++)
        expect(one, "+QUEUED\r\n", "get big");
    expect(one, "+QUEUED\r\n", "set done 1");
    expect(one, "", "exec");
    assert_true(session_wants_close(one));
    expect(two, "$-1\r\n", "get done");
}

/* Loads a script that is mostly a comment; its digest goes to `sha1`. */
static void load_large(unsigned number, char sha1[41])
{
    size_t room = SCRIPT_BYTES + 128;
    char *request = malloc(room);
    assert_non_null(request);
    int size =
        snprintf(request, room, "*3\r\n$6\r\nscript\r\n$4\r\nload\r\n$%d\r\n--%0*u\n         \r\n",
                 SCRIPT_BYTES + 12, SCRIPT_BYTES, number);
    const char *reply = session_fixture_bytes(fixture, one, request, (size_t)size);
    assert_memory_equal(reply, "$40\r\n", 5);
    snprintf(sha1, 41, "%s", reply + 5);
    free(request);
}

static void the_oldest_of_large_scripts_are_forgotten(void **state)
{
    (void)state;
    char first[41], last[41];
    load_large(0, first);
    for (unsigned n = 1; n < SCRIPTS; n++)
        load_large(n, last);
    expect(two, "*2\r\n:0\r\n:1\r\n", "script exists %s %s", first, last);
    expect(two, "$-1\r\n", "evalsha %s 0", last);
    session_fixture_text(fixture, one, "script flush");
    expect(two, "*1\r\n:0\r\n", "script exists %s", last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, sessions_teardown)
        cmocka_unit_test_setup_teardown(a_transaction_ends_when_a_script_of_it_had_no_time_left,
                                        setup_with_little_time, sessions_teardown),
        TEST(a_reply_that_is_too_large_closes_its_connection),
        TEST(replies_of_a_transaction_that_are_too_large_end_it),
        TEST(the_oldest_of_large_scripts_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
