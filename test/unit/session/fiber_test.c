/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests that sleep: others of the same worker are served meanwhile, replies keep their order, and
 * neither a connection that goes away nor the end of the server waits for them. Time stands still
 * until a test moves it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/mp.h"
#include "lua/runtime.h"
#include "proto/msgpack_rpc.h"
#include "session/session_fixture.h"

static struct session_fixture *fixture;
static struct session *one, *two;

static int setup(void **state)
{
    (void)state;
    fixture = session_fixture_new(NULL, (struct service_limits){.lua_time_max_ms = 60000});
    one = session_fixture_connect(fixture, 0);
    two = session_fixture_connect(fixture, 0); /* the same worker */
    session_fixture_text(fixture, one, "lua \"fiber = require('fiber')\"");
    session_fixture_text(fixture, one,
                         "lua \"box.schema.space.create('s'):create_index('pk') "
                         "box.space.s:insert{1, 10}\"");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (one)
        session_delete(one);
    session_delete(two);
    session_fixture_delete(fixture);
    return 0;
}

#define expect(session, reply, ...) \
    assert_string_equal(session_fixture_text(fixture, session, __VA_ARGS__), reply)
#define expect_take(session, reply) \
    assert_string_equal(session_fixture_take(fixture, session), reply)

static void pass(uint64_t ms)
{
    clock_manual_advance_ms(&fixture->clock, ms);
    for (int turn = 0; turn < 4; turn++)
        session_fixture_run(fixture);
}

static void others_of_the_worker_are_served_while_one_sleeps(void **state)
{
    (void)state;
    expect(one, "", "lua \"fiber.sleep(10) return 'rested'\"");
    assert_true(session_suspended(one));
    expect(two, ":3\r\n", "lua \"1 + 2\"");
    expect(two, "+OK\r\n", "set k v");
    pass(9999);
    expect_take(one, "");
    pass(1);
    expect_take(one, "$6\r\nrested\r\n");
    assert_false(session_suspended(one));
}

static void replies_keep_their_order(void **state)
{
    (void)state;
    expect(one, "+PONG\r\n",
           "ping\r\nlua \"fiber.sleep(1) box.space.s:replace{1, 11} return 1\"\r\n"
           "lua \"box.space.s:get(1)[2]\"\r\nping");
    expect(two, ":10\r\n", "lua \"box.space.s:get(1)[2]\"");
    pass(1000);
    expect_take(one, ":1\r\n:11\r\n+PONG\r\n");
}

static void errors_after_a_sleep_are_replies_like_others(void **state)
{
    (void)state;
    expect(one, "", "lua \"fiber.sleep(1) error('tired')\"\r\nping");
    pass(1000);
    expect_take(one, "-ERR eval:1: tired\r\n+PONG\r\n");
    expect(one, "", "lua \"fiber.sleep(1) box.begin() fiber.sleep(1)\"");
    pass(1000);
    expect_take(one, "-ERR eval:1: a transaction does not yield: commit before fiber.sleep\r\n");
    expect(one,
           "-ERR a transaction does not yield: commit before fiber.sleep script: "
           "0af6c9499a8fba34fa5192385fea96cb04813232, on @user_script:1.\r\n",
           "eval \"require('fiber').sleep(1)\" 0");
}

static void in_an_interactive_transaction_nothing_sleeps(void **state)
{
    (void)state;
    expect(one, "+OK\r\n:7\r\n", "begin\r\nlua \"box.space.s:replace{1, 7}[2]\"");
    assert_non_null(strstr(session_fixture_text(fixture, one, "lua \"fiber.sleep(1)\""),
                           "a transaction does not yield"));
    expect(one, "$2\r\nOK\r\n", "lua \"'OK'\"");
    expect(one, "+OK\r\n", "commit");
    expect(two, ":7\r\n", "lua \"box.space.s:get(1)[2]\"");
}

static void a_request_waits_for_another_connections(void **state)
{
    (void)state;
    session_fixture_text(fixture, two, "lua \"channel = fiber.channel()\"");
    expect(one, "", "lua \"return channel:get()\"");
    expect(two, ":1\r\n", "lua \"return channel:put('here') and 1\"");
    pass(0);
    expect_take(one, "$4\r\nhere\r\n");
}

static void a_connection_that_goes_away_ends_its_request(void **state)
{
    (void)state;
    expect(one, "", "lua \"local ok, err = pcall(fiber.sleep, 1000) how = tostring(err)\"");
    session_delete(one);
    one = NULL;
    pass(0);
    expect(two, "$18\r\nfiber is cancelled\r\n", "lua \"how\"");
    assert_false(lua_runtime_has_fibers(session_worker_lua(fixture->workers[0])));
}

static void one_that_is_being_closed_gets_an_error(void **state)
{
    (void)state;
    expect(one, "", "lua \"fiber.sleep(1000)\"\r\nping");
    session_hurry(one);
    session_resume(one);
    expect_take(one, "-ERR cancelled while it was sleeping: the connection is being closed\r\n"
                     "+PONG\r\n");
    assert_false(session_suspended(one));
}

static void what_a_request_has_begun_lives_on(void **state)
{
    (void)state;
    expect(one, ":1\r\n",
           "lua \"fiber.create(function() while true do fiber.sleep(1) "
           "box.space.s:update(1, {{'+', 2, 1}}) end end) return 1\"");
    session_delete(one);
    one = NULL;
    pass(1000);
    pass(1000);
    expect(two, "+OK\r\n:12\r\n", "set k v\r\nlua \"box.space.s:get(1)[2]\"");
    assert_true(session_worker_due_ms(fixture->workers[0]) <= 1000);
}

static void after_a_sleep_a_lock_parks_the_request(void **state)
{
    (void)state;
    struct session *three = session_fixture_connect(fixture, 1);
    expect(two, "+OK\r\n:10\r\n", "begin\r\nlua \"box.space.s:get(1, {lock = 'exclusive'})[2]\"");
    expect(one, "",
           "lua \"fiber.sleep(1) n = (n or 0) + 1 box.space.s:update(1, {{'+', 2, 1}}) return n\"");
    pass(1000);
    expect_take(one, "");
    expect(three, ":1\r\n", "lua \"1\"");
    expect(two, "+OK\r\n", "rollback");
    pass(0);
    expect_take(one, ":1\r\n");
    session_delete(three);
}

static void sockets_are_for_those_who_have_been_granted_them(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "box.schema.user.create('eve', {password = 'apple'})",
        "box.schema.user.grant('eve', 'execute', 'lua_eval')",
    };
    for (int n = 0; n < 2; n++)
        expect(one, "$-1\r\n", "lua \"%s\"", texts[n]);
    const char *known = session_fixture_text(fixture, two, "auth eve apple");
    while (*known == 0) /* a thread computes */
        known = session_fixture_take(fixture, two);
    assert_string_equal(known, "+OK\r\n");
    for (int n = 0; n < 3; n++) {
        static const char *const calls[] = {"require('socket').tcp_connect('127.0.0.1', 1)",
                                            "require('socket').tcp_server('127.0.0.1', 0, print)",
                                            "require('http.client').get('http://127.0.0.1:1')"};
        const char *reply = session_fixture_text(fixture, two, "lua \"%s\"", calls[n]);
        if (strncmp(reply, "-NOPERM ", 8) != 0)
            fail_msg("%s: %s", calls[n], reply);
    }
    session_fixture_text(fixture, one, "lua \"f = require('fiber').create(fiber.sleep, 1000)\"");
    expect(two, "$3\r\nnil\r\n", "lua \"tostring(require('fiber').find(102))\"");
    expect(one, ":1\r\n", "lua \"fiber.find(f:id()) == f and 1\"");
    for (int id = 100; id < 120; id++)
        expect(two, "$4\r\ndead\r\n", "lua \"require('fiber').status(%d)\"", id);
}

static void rpc_answers_what_does_not_sleep_first(void **state)
{
    (void)state;
    struct mp_buffer out;
    mp_buffer_create(&out);
    static const char *const texts[] = {"fiber.sleep(1) return 'late'", "return 'early'"};
    for (uint64_t id = 1; id <= 2; id++) {
        mp_put_array(&out, 4);
        mp_put_uint(&out, 0);
        mp_put_uint(&out, id);
        mp_put_str(&out, "eval", 4);
        mp_put_array(&out, 1);
        mp_put_str(&out, texts[id - 1], strlen(texts[id - 1]));
    }
    struct session *rpc = session_fixture_connect(fixture, 0);
    const char *reply = session_fixture_bytes(fixture, rpc, out.data, out.size);
    assert_non_null(memmem(reply, fixture->reply_size, "early", 5));
    assert_null(memmem(reply, fixture->reply_size, "late", 4));
    pass(1000);
    reply = session_fixture_take(fixture, rpc);
    assert_non_null(memmem(reply, fixture->reply_size, "late", 4));
    session_delete(rpc);
    mp_buffer_destroy(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(others_of_the_worker_are_served_while_one_sleeps),
        TEST(replies_keep_their_order),
        TEST(errors_after_a_sleep_are_replies_like_others),
        TEST(in_an_interactive_transaction_nothing_sleeps),
        TEST(a_request_waits_for_another_connections),
        TEST(a_connection_that_goes_away_ends_its_request),
        TEST(one_that_is_being_closed_gets_an_error),
        TEST(what_a_request_has_begun_lives_on),
        TEST(after_a_sleep_a_lock_parks_the_request),
        TEST(sockets_are_for_those_who_have_been_granted_them),
        TEST(rpc_answers_what_does_not_sleep_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
