/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Scripts, stored procedures and Lua text over both protocols: how arguments and results travel,
 * and how transactions around them behave.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/json.h"
#include "codec/mp.h"
#include "lua/watchdog.h"
#include "proto/msgpack_rpc.h"
#include "session/session_internal.h"
#include "session/sessions.h"

static void start(const char *password, unsigned lua_time_max_ms)
{
    struct service_limits limits = {.lua_time_max_ms = lua_time_max_ms};
    sessions_start(password, limits);
}

static int setup(void **state)
{
    (void)state;
    start(NULL, 600000); /* of what ends by itself, on however busy a machine */
    return 0;
}

static int setup_with_little_time(void **state)
{
    (void)state;
    start(NULL, 200);
    return 0;
}

static int setup_password(void **state)
{
    (void)state;
    start("secret", 600000);
    return 0;
}

/* -------------------------------------------------------------------------------------- scripts */

static void a_script_is_one_transaction(void **state)
{
    (void)state;
    expect(one, "$1\r\n1\r\n",
           "eval \"redis.call('set', KEYS[1], ARGV[1]) return redis.call('get', KEYS[1])\" 1 k 1");
    expect(two, "$1\r\n1\r\n", "get k");
    expect_in(one, "-", "eval \"redis.call('set', 'k', 2) error('no')\" 0");
    expect(two, "$1\r\n1\r\n", "get k");
    expect(one, "*3\r\n:1\r\n$1\r\na\r\n:3\r\n", "eval \"return {1, 'a', 3.7}\" 0");
    expect(one, "*2\r\n$1\r\nk\r\n$1\r\na\r\n", "eval \"return {KEYS[1], ARGV[1]}\" 1 k a");
    expect(one, "$-1\r\n", "eval \"return nil\" 0");
    expect(one, "+fine\r\n", "eval \"return redis.status_reply('fine')\" 0");
    expect(one, "-MY error\r\n", "eval \"return redis.error_reply('MY error')\" 0");
}

static void the_keys_of_a_script_are_counted(void **state)
{
    (void)state;
    expect(one, "-ERR value is not an integer or out of range\r\n", "eval \"return 1\" x");
    expect(one, "-ERR Number of keys can't be greater than number of args\r\n",
           "eval \"return 1\" 1");
    expect(one, "-ERR Number of keys can't be negative\r\n", "eval \"return 1\" -1");
    expect(one, "-ERR wrong number of arguments for 'eval' command\r\n", "eval \"return 1\"");
}

static void a_script_is_known_to_every_connection_by_its_digest(void **state)
{
    (void)state;
    const char sha1[] = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"; /* of: return 1 */
    expect(one, "-NOSCRIPT No matching script. Please use EVAL.\r\n", "evalsha %s 0", sha1);
    expect(one, "*1\r\n:0\r\n", "script exists %s", sha1);
    expect(one, "$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n", "script load \"return 1\"");
    expect(two, ":1\r\n", "evalsha %s 0", sha1);
    expect(two, ":1\r\n", "evalsha E0E1F9FABFC9D4800C877A703B823AC0578FF8DB 0");
    expect(two, "*2\r\n:1\r\n:0\r\n", "script exists %s nonsense", sha1);
    expect(one, "+OK\r\n", "script flush");
    expect(two, "-NOSCRIPT No matching script. Please use EVAL.\r\n", "evalsha %s 0", sha1);
    expect(one, "-NOSCRIPT No matching script. Please use EVAL.\r\n", "evalsha %s 0", sha1);
    expect(two, ":1\r\n", "eval \"return 1\" 0");
    expect(one, ":1\r\n", "evalsha %s 0", sha1);
    expect(one, "-NOSCRIPT No matching script. Please use EVAL.\r\n", "evalsha short 0");
}

static void a_read_only_script_may_not_write(void **state)
{
    (void)state;
    expect(one, ":1\r\n", "eval_ro \"return 1\" 0");
    expect_in(one, "-", "eval_ro \"return redis.call('set', 'k', 1)\" 0");
    expect(one, "$-1\r\n", "get k");
}

static void a_script_takes_part_in_a_transaction(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:2\r\n",
           "multi\r\nset k 1\r\neval \"return redis.call('incr', 'k')\" 0\r\nexec");
    expect_in(
        one, "*3\r\n:3\r\n-",
        "multi\r\nincr k\r\neval \"redis.call('set', 'k', 9) error('no')\" 0\r\nget k\r\nexec");
    expect(two, "$1\r\n3\r\n", "get k");
}

static void a_script_without_end_is_stopped_and_undone(void **state)
{
    (void)state;
    expect_in(one, "-", "eval \"redis.call('set', 'k', 1) while true do end\" 0");
    expect(one, "$-1\r\n", "get k");
    const char *reply;
    do /* a busy machine may give all of its time to others */
        reply = session_fixture_text(fixture, one, "eval \"return 1\" 0");
    while (strstr(reply, "time limit exceeded") != NULL);
    assert_string_equal(reply, ":1\r\n");
}

/* -------------------------------------------------------------------------- procedures and text */

static void lua_text_gives_its_value(void **state)
{
    (void)state;
    expect(one, ":3\r\n", "lua \"1 + 2\"");
    expect(one, "$-1\r\n", "lua \"return\"");
    expect(one, "$-1\r\n", "lua \"return nil\"");
    expect(one, "*2\r\n:1\r\n:2\r\n", "lua \"return 1, 2\"");
    expect(one, "$3\r\n1.5\r\n", "lua \"return 1.5\"");
    expect(one, ":1\r\n", "lua \"return true\"");
    expect(one, "$1\r\nx\r\n", "lua \"return ...\" x");
    expect(one, "*2\r\n$1\r\na\r\n:1\r\n", "lua \"return {a = 1}\"");
    expect_in(one, "%7", "hello 3");
    expect(one, ",1.5\r\n", "lua \"return 1.5\"");
    expect(one, "#t\r\n", "lua \"return true\"");
    expect(one, "%1\r\n$1\r\na\r\n:1\r\n", "lua \"return {a = 1}\"");
    expect(one, "_\r\n", "lua \"return nil\"");
    expect_in(one, "-ERR ", "lua \"error('no')\"");
    expect_in(one, "-ERR ", "lua \"this is no Lua\"");
}

static void make_procedure(void)
{
    session_fixture_text(fixture, one,
                         "lua \"box.schema.func.create('sum', {body = 'function(a, b) return "
                         "tonumber(a) + tonumber(b) end'})\"");
}

static void a_procedure_is_called_by_any_connection(void **state)
{
    (void)state;
    make_procedure();
    expect(one, ":5\r\n", "call sum 2 3");
    expect(two, ":5\r\n", "call sum 2 3");
    expect_in(two, "-ERR ", "call nosuch");
    expect(one, "-ERR wrong number of arguments for 'call' command\r\n", "call");
}

/* ------------------------------------------------------------------------------ MessagePack-RPC */

/* Sends a request whose params are given as JSON; the response as JSON. */
static const char *rpc(struct session *session, const char *method, const char *params)
{
    static char text[4096];
    struct mp_buffer message;
    struct json_buffer json;
    mp_buffer_create(&message);
    json_buffer_create(&json);
    rpc_put_request_begin(&message, 7, method);
    assert_int_equal(json_to_msgpack(params, strlen(params), &json), 0);
    mp_put_raw(&message, json.data, json.size);
    const char *reply = session_fixture_bytes(fixture, session, message.data, message.size);
    const char *at = reply, *end = reply + fixture->reply_size;
    assert_true(mp_check_limited(&at, end));
    assert_ptr_equal(at, end);
    json.size = 0;
    at = reply;
    assert_int_equal(json_from_msgpack(&json, &at), 0);
    snprintf(text, sizeof text, "%.*s", (int)json.size, json.data);
    json_buffer_destroy(&json);
    mp_buffer_destroy(&message);
    return text;
}

static void rpc_calls_procedures_and_runs_text(void **state)
{
    (void)state;
    make_procedure();
    assert_string_equal(rpc(two, "ping", "[]"), "[1,7,null,\"pong\"]");
    assert_string_equal(rpc(two, "call", "[\"sum\", 2, 3]"), "[1,7,null,5]");
    assert_string_equal(rpc(two, "sum", "[2, 3]"), "[1,7,null,5]");
    assert_string_equal(rpc(two, "eval", "[\"return ...\", 1, \"a\", [true, null]]"),
                        "[1,7,null,[1,\"a\",[true,null]]]");
    assert_string_equal(rpc(two, "eval", "[\"return {a = 1}\"]"), "[1,7,null,{\"a\":1}]");
    assert_string_equal(rpc(two, "eval", "[\"local x\"]"), "[1,7,null,null]");
}

static void rpc_errors_carry_code_name_and_message(void **state)
{
    (void)state;
    assert_string_equal(rpc(one, "nosuch", "[]"), "[1,7,{\"code\":-5,\"name\":\"ERROR_NOT_FOUND\","
                                                  "\"message\":\"unknown method 'nosuch'\"},null]");
    assert_non_null(
        strstr(rpc(one, "call", "[]"),
               "\"message\":\"the procedure's name must be a string at the head of the params\""));
    assert_non_null(strstr(rpc(one, "eval", "[1]"), "\"name\":\"ERROR_INVALID\""));
    assert_non_null(strstr(rpc(one, "eval", "[\"error('no')\"]"), "\"name\":\"ERROR_LUA\""));
    const char bad[] = "\x94\x05\x01\xa4ping\x90";
    session_fixture_bytes(fixture, one, bad, sizeof bad - 1);
    assert_true(session_wants_close(one));
}

static void rpc_errors_of_stored_code_say_where(void **state)
{
    (void)state;
    session_fixture_text(
        fixture, one,
        "lua \"box.schema.func.create('bad', {body = 'function() error({code = -5, "
        "message = [[gone]]}) end'})\"");
    const char *said = rpc(two, "call", "[\"bad\"]");
    assert_non_null(strstr(said, "\"trace\":[{\"file\":\"bad\",\"line\":1,\"name\":"));
    assert_null(strstr(rpc(two, "call", "[\"nosuch\"]"), "trace"));
    assert_null(strstr(rpc(two, "call", "[]"), "trace"));
}

static void redis_calls_a_procedure_as_a_function_of_its_own(void **state)
{
    (void)state;
    session_fixture_text(
        fixture, one,
        "lua \"box.schema.func.create('put', {body = 'function(keys, args) "
        "redis.call([[set]], keys[1], args[1]) return {#keys, #args, args[2]} end'})\"");
    expect(two, "*3\r\n:1\r\n:2\r\n$1\r\ny\r\n", "fcall put 1 k x y");
    expect(one, "$1\r\nx\r\n", "get k");
    expect_in(one, "-ERR Write commands are not allowed", "fcall_ro put 1 k z y");
    expect(one, "$1\r\nx\r\n", "get k");
    expect(one, "-ERR Bad number of keys provided\r\n", "fcall put x");
    expect(one, "-ERR Number of keys can't be greater than number of args\r\n", "fcall put 2 k");
    expect(one, "-ERR Function not found\r\n", "fcall nosuch 0");
}

static void triggers_see_sessions_come_and_go(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "lua \"box.schema.space.create('log'):create_index('pk')\"");
    session_fixture_text(
        fixture, one,
        "lua \"for _, e in ipairs{'on_connect', 'on_disconnect'} do "
        "box.schema.trigger.create(e, {event = e, body = [[local id, address, user = ... "
        "local l = box.space.log l:insert{l:count() + 1, ']] .. e .. [[', user}]]}) end\"");
    struct session *three = session_fixture_connect(fixture, 0);
    session_delete(three);
    session_fixture_text(fixture, one, "set durable yes");
    expect(one, "$54\r\n[[1,\"on_connect\",\"guest\"],[2,\"on_disconnect\",\"guest\"]]\r\n",
           "lua \"require('json').encode(box.space.log:select())\"");
    session_fixture_text(fixture, one,
                         "lua \"box.schema.trigger.create('on_connect', {replace = true, event = "
                         "'on_connect', body = [[error('not you')]]})\"");
    const struct session_peer peer = {.address = "x", .local_address = "y", .fd = -1};
    assert_int_equal(session_new(fixture->workers[0], &peer, &three), ERROR_ACCESS);
    expect(one, ":2\r\n", "lua \"box.space.log:count()\"");
    session_fixture_text(fixture, one, "lua \"box.schema.trigger.drop('on_connect')\"");
}

static void a_login_may_be_refused_by_a_trigger(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "auth secret");
    session_fixture_text(
        fixture, one,
        "lua \"box.schema.trigger.create('a', {event = 'on_auth', body = [[error('not "
        "today')]]})\"");
    expect_in(two, "-ERR trigger a:1: not today", "auth secret");
    expect_in(two, "-NOAUTH", "get x");
}

static void rpc_asks_for_the_password(void **state)
{
    (void)state;
    assert_non_null(strstr(rpc(one, "ping", "[]"), "\"name\":\"ERROR_AUTH\""));
    assert_non_null(strstr(rpc(one, "auth", "[\"wrong\"]"), "\"name\":\"ERROR_ACCESS\""));
    assert_non_null(strstr(rpc(one, "auth", "[]"), "\"name\":\"ERROR_INVALID\""));
    assert_non_null(
        strstr(rpc(one, "auth", "[\"a\", \"b\", \"c\"]"), "\"name\":\"ERROR_INVALID\""));
    assert_string_equal(rpc(one, "auth", "[\"secret\"]"), "[1,7,null,true]");
    assert_string_equal(rpc(one, "ping", "[]"), "[1,7,null,\"pong\"]");
    assert_string_equal(rpc(two, "auth", "[\"default\", \"secret\"]"), "[1,7,null,true]");
}

static void a_stranger_may_not_send_a_large_message(void **state)
{
    (void)state;
    const char begun[] = "\x94\x00\x01\xa4"
                         "ping\x91\xdb\x00\x01\x00\x00";
    assert_string_equal(rpc(two, "auth", "[\"secret\"]"), "[1,7,null,true]");
    session_fixture_bytes(fixture, two, begun, sizeof begun - 1);
    assert_false(session_wants_close(two));
    session_fixture_bytes(fixture, one, begun, sizeof begun - 1);
    assert_true(session_wants_close(one));
}

static void a_notification_is_executed_and_not_answered(void **state)
{
    (void)state;
    struct mp_buffer message;
    mp_buffer_create(&message);
    rpc_put_notification_begin(&message, "eval");
    mp_put_array(&message, 1);
    mp_put_str(&message, "x = 41", 6);
    rpc_put_notification_begin(&message, "nosuch");
    mp_put_array(&message, 0);
    session_fixture_bytes(fixture, one, message.data, message.size);
    assert_int_equal(fixture->reply_size, 0);
    mp_buffer_destroy(&message);
    assert_string_equal(rpc(one, "eval", "[\"return x + 1\"]"), "[1,7,null,42]");
}

static void an_rpc_write_that_the_log_lost_is_answered_so(void **state)
{
    (void)state;
    make_procedure();
    session_fixture_text(fixture, two,
                         "lua \"box.schema.space.create('s'); box.space.s:create_index('pk')\"");
    assert_string_equal(
        rpc(one = (session_delete(one), session_fixture_connect(fixture, 0)), "ping", "[]"),
        "[1,7,null,\"pong\"]");
    disk_cut_after(fixture->disk, 1);
    assert_non_null(strstr(rpc(one, "eval", "[\"box.space.s:insert{1}\"]"),
                           "\"name\":\"ERROR_UNKNOWN_OUTCOME\""));
    assert_non_null(
        strstr(rpc(one, "eval", "[\"box.space.s:insert{2}\"]"), "\"name\":\"ERROR_LOG_FAILED\""));
    assert_string_equal(rpc(one, "eval", "[\"return box.space.s:count()\"]"), "[1,7,null,0]");
}

static void scripts_and_procedures_work_on_the_database_that_was_selected(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "select 3");
    expect(one, "+OK\r\n", "eval \"return redis.call('set', 'a', 'three')\" 0");
    expect(one, "$5\r\nthree\r\n", "get a");
    expect(one, "$5\r\nthree\r\n",
           "eval \"redis.call('select', 0) redis.call('set', 'a', 'none') "
           "redis.call('select', 3) return redis.call('get', 'a')\" 0");
    expect(one, "+OK\r\n", "select 0");
    expect(one, "$4\r\nnone\r\n", "get a");
    expect(one, "$4\r\nnone\r\n", "eval \"redis.call('select', 3) return 'none'\" 0");
    expect(one, "$4\r\nnone\r\n", "get a");
}

/* ---------------------------------------------------------------------------------------- others */

static unsigned served; /* while a reply was made, outside of Lua */

static bool others_wait(void *arg)
{
    (void)arg;
    return true;
}

static void others_serve(void *arg)
{
    const struct session_worker *worker = arg;
    served += worker->lets_in;
}

static void a_large_result_becomes_a_reply_with_others_let_in(void **state)
{
    (void)state;
    enum { TRIES = 200 };
    static const char *const formats[] = {"native", "json"};
    struct session_worker *worker = fixture->workers[0];
    const struct lua_others others = {.wait = others_wait, .serve = others_serve, .arg = worker};
    lua_runtime_others_set(worker->lua, &others);
    for (unsigned n = 0; n < 2; n++) {
        expect(one, "+OK\r\n", "client format %s", formats[n]);
        served = 0;
        for (unsigned tries = 0; tries < TRIES && served == 0; tries++)
            expect_in(one, n == 0 ? "*1000000\r\n:7\r\n" : "\r\n[7,7,",
                      "lua \"local t = {} for i = 1, 1e6 do t[i] = 7 end return t\"");
        assert_true(served > 0);
        assert_false(worker->lets_in);
    }
}

int main(void)
{
#define WITH_SESSIONS(test) cmocka_unit_test_setup_teardown(test, setup, sessions_teardown)
    const struct CMUnitTest tests[] = {
        WITH_SESSIONS(a_script_is_one_transaction),
        WITH_SESSIONS(scripts_and_procedures_work_on_the_database_that_was_selected),
        WITH_SESSIONS(the_keys_of_a_script_are_counted),
        WITH_SESSIONS(a_script_is_known_to_every_connection_by_its_digest),
        WITH_SESSIONS(a_read_only_script_may_not_write),
        WITH_SESSIONS(a_script_takes_part_in_a_transaction),
        cmocka_unit_test_setup_teardown(a_script_without_end_is_stopped_and_undone,
                                        setup_with_little_time, sessions_teardown),
        WITH_SESSIONS(lua_text_gives_its_value),
        WITH_SESSIONS(a_procedure_is_called_by_any_connection),
        WITH_SESSIONS(rpc_calls_procedures_and_runs_text),
        WITH_SESSIONS(rpc_errors_carry_code_name_and_message),
        WITH_SESSIONS(rpc_errors_of_stored_code_say_where),
        WITH_SESSIONS(redis_calls_a_procedure_as_a_function_of_its_own),
        WITH_SESSIONS(triggers_see_sessions_come_and_go),
        cmocka_unit_test_setup_teardown(a_login_may_be_refused_by_a_trigger, setup_password,
                                        sessions_teardown),
        cmocka_unit_test_setup_teardown(rpc_asks_for_the_password, setup_password,
                                        sessions_teardown),
        cmocka_unit_test_setup_teardown(a_stranger_may_not_send_a_large_message, setup_password,
                                        sessions_teardown),
        WITH_SESSIONS(a_notification_is_executed_and_not_answered),
        WITH_SESSIONS(a_large_result_becomes_a_reply_with_others_let_in),
        WITH_SESSIONS(an_rpc_write_that_the_log_lost_is_answered_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
