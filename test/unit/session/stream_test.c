/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Streams of MessagePack-RPC: several interactive transactions on one connection, and requests that
 * wait while others go on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "codec/json.h"
#include "codec/mp.h"
#include "db/memory.h"
#include "mem/heap.h"
#include "proto/msgpack_rpc.h"
#include "session/sessions.h"
#include "txn/lock.h"

enum { NO_STREAM = -1 };

static struct json_buffer answers;

static int setup(void **state)
{
    (void)state;
    sessions_start(
        NULL, (struct service_limits){.lock_timeout_ms = 10000, .transaction_idle_max_ms = 60000});
    json_buffer_create(&answers);
    return 0;
}

static int teardown(void **state)
{
    json_buffer_destroy(&answers);
    return sessions_teardown(state);
}

/* [stream option, params..], from JSON without its brackets. */
static void put_params(struct mp_buffer *message, int stream, const char *params)
{
    struct json_buffer packed;
    char text[2000];
    snprintf(text, sizeof text, "[%s]", params);
    json_buffer_create(&packed);
    assert_int_equal(json_to_msgpack(text, strlen(text), &packed), 0);
    const char *at = packed.data;
    uint32_t count = mp_decode_array(&at);
    mp_put_array(message, count + (stream != NO_STREAM));
    if (stream != NO_STREAM) { /* ext 8 of type 1: {"stream": uint 8} */
        mp_put_raw(message, "\xc7\x0a\x01\x81\xa6stream\xcc", 12);
        mp_put_raw(message, &(char){(char)stream}, 1);
    }
    mp_put_raw(message, at, (size_t)(packed.data + packed.size - at));
    json_buffer_destroy(&packed);
}

/* What has come, each message as JSON on a line of its own. */
static const char *take(struct session *session)
{
    const char *at = session_fixture_take(fixture, session), *end = at + fixture->reply_size;
    answers.size = 0;
    while (at < end) {
        json_from_msgpack(&answers, &at);
        json_append(&answers, "\n", 1);
    }
    json_append(&answers, "", 1);
    return answers.data;
}

static const char *ask(struct session *session, unsigned id, int stream, const char *method,
                       const char *params)
{
    struct mp_buffer message;
    mp_buffer_create(&message);
    if (id)
        rpc_put_request_begin(&message, id, method);
    else
        rpc_put_notification_begin(&message, method);
    put_params(&message, stream, params);
    session_on_bytes(session, message.data, message.size);
    mp_buffer_destroy(&message);
    return take(session);
}

#define answered(reply, ...)   assert_string_equal(ask(__VA_ARGS__), reply)
#define answered_in(part, ...) assert_non_null(strstr(ask(__VA_ARGS__), part))

#define GET    "\"return redis.call('get', 'a')\""
#define OK(id) "[1," #id ",null,true]\n"

static void space_make(void)
{
    answered("[1,9,null,null]\n", one, 9, NO_STREAM, "eval",
             "\"local _ = box.schema.space.create('s'):create_index('p')\"");
}

#define PUT(key, value) "\"local _ = box.space.s:replace{" key ", ...}\", " value
#define LOOK(key)       "\"local t = box.space.s:get(" key ") return t and t[2]\""
#define NIL(id)         "[1," #id ",null,null]\n"

static void each_stream_is_a_transaction(void **state)
{
    (void)state;
    space_make();
    answered(OK(1), one, 1, 5, "begin", "");
    answered(OK(2), one, 2, 6, "begin", "{\"isolation\": \"snapshot\"}");
    answered(NIL(3), one, 3, 5, "eval", PUT("1", "\"five\""));
    answered(NIL(4), one, 4, 6, "eval", PUT("2", "\"six\""));
    answered("[1,5,null,\"five\"]\n", one, 5, 5, "eval", LOOK("1"));
    answered(NIL(6), one, 6, 6, "eval", LOOK("1"));
    answered(NIL(7), one, 7, NO_STREAM, "eval", LOOK("1"));
    answered(OK(8), one, 8, 5, "commit", "");
    answered("[1,9,null,\"five\"]\n", one, 9, NO_STREAM, "eval", LOOK("1"));
    answered(NIL(10), one, 10, 6, "eval", LOOK("1"));
    answered(OK(11), one, 11, 6, "rollback", "");
    answered(NIL(12), one, 12, NO_STREAM, "eval", LOOK("2"));
}

static void savepoints_and_errors_are_of_a_stream(void **state)
{
    (void)state;
    space_make();
    answered(OK(1), one, 1, 1, "begin", "");
    answered(NIL(2), one, 2, 1, "eval", PUT("1", "1"));
    answered(OK(3), one, 3, 1, "savepoint", "\"here\"");
    answered(NIL(4), one, 4, 1, "eval", PUT("1", "2"));
    answered_in("\"name\":\"ERROR_LUA\"", one, 5, 1, "eval",
                "\"box.space.s:replace{1, 3} error('no')\"");
    answered("[1,6,null,2]\n", one, 6, 1, "eval", LOOK("1"));
    answered(OK(7), one, 7, 1, "rollback", "\"here\"");
    answered("[1,8,null,1]\n", one, 8, 1, "eval", LOOK("1"));
    answered(OK(9), one, 9, 1, "release", "\"here\"");
    answered_in("there is no savepoint 'here'", one, 10, 1, "rollback", "\"here\"");
    answered(OK(11), one, 11, 1, "commit", "");
}

static void mistakes_are_told(void **state)
{
    (void)state;
    answered_in("begin needs a stream", one, 1, NO_STREAM, "begin", "");
    answered_in("no transaction is open in this stream", one, 2, 1, "commit", "");
    answered_in("no transaction is open in this stream", one, 3, 1, "eval", GET);
    answered_in("there is no isolation level 'none'", one, 4, 1, "begin",
                "{\"isolation\": \"none\"}");
    answered_in("begin's options are", one, 5, 1, "begin", "{\"readonly\": 1}");
    answered_in("begin takes one map", one, 6, 1, "begin", "1");
    answered(OK(7), one, 7, 1, "begin", "{\"readonly\": true}");
    answered_in("open in this stream already", one, 8, 1, "begin", "");
    answered_in("ERROR_READONLY", one, 9, 1, "publish", "\"c\", 1");
    answered_in("savepoint takes", one, 10, 1, "savepoint", "");
    answered(OK(11), one, 11, 1, "rollback", "");
    answered_in("isolation takes the name", one, 12, NO_STREAM, "isolation", "\"none\"");
    answered(OK(13), one, 13, NO_STREAM, "isolation", "\"snapshot\"");
    /* an option that does not exist */
    static const char OTHER[] = "\x94\x00\x0e\xa4ping\x91\xc7\x08\x01\x81\xa5other\x01";
    session_on_bytes(one, OTHER, sizeof OTHER - 1);
    assert_non_null(strstr(take(one), "the only option of a request is 'stream'"));
}

static void while_a_stream_waits_others_go_on(void **state)
{
    (void)state;
    space_make();
    answered(OK(1), one, 1, 1, "begin", "");
    answered(NIL(2), one, 2, 1, "eval", PUT("1", "1"));
    answered(OK(3), one, 3, 2, "begin", "{\"isolation\": \"read committed\"}");
    answered("", one, 4, 2, "eval", PUT("1", "2"));         /* waits for the other stream */
    answered("", one, 5, 2, "eval", LOOK("1"));             /* waits behind it */
    answered("", one, 6, NO_STREAM, "eval", PUT("1", "3")); /* waits for itself */
    answered("[1,7,null,\"pong\"]\n", one, 7, NO_STREAM, "ping", "");
    answered("[1,8,null,1]\n", one, 8, 1, "eval", LOOK("1"));
    assert_true(session_suspended(one));
    answered(OK(9) NIL(4) "[1,5,null,2]\n", one, 9, 1, "commit", "");
    answered(OK(10) NIL(6), one, 10, 2, "commit", "");
    assert_false(session_suspended(one));
    answered("[1,11,null,3]\n", one, 11, NO_STREAM, "eval", LOOK("1"));
}

static void a_request_with_bad_options_leaves_its_stream_waiting(void **state)
{
    (void)state;
    /* [0, 4, "ping", [ext 1 {"stream": 2, "o": 1}]] */
    static const char BAD[] = "\x94\x00\x04\xa4ping\x91\xc7\x0c\x01\x82\xa6stream\x02\xa1o\x01";
    space_make();
    answered(OK(1), one, 1, 1, "begin", "");
    answered(NIL(2), one, 2, 1, "eval", PUT("1", "1"));
    answered(OK(3), two, 3, 2, "begin", "{\"isolation\": \"read committed\"}");
    answered("", two, 5, 2, "eval", PUT("1", "2"));
    session_on_bytes(two, BAD, sizeof BAD - 1);
    assert_non_null(strstr(take(two), "the only option of a request is 'stream'"));
    assert_true(session_suspended(two));
    answered(OK(6), one, 6, 1, "commit", "");
    assert_string_equal(take(two), NIL(5));
    answered(OK(7), two, 7, 2, "commit", "");
    answered("[1,8,null,2]\n", two, 8, NO_STREAM, "eval", LOOK("1"));
}

static void a_deadlock_ends_the_younger_stream(void **state)
{
    (void)state;
    space_make();
    answered(OK(1), one, 1, 1, "begin", "");
    answered(OK(2), two, 2, 1, "begin", "");
    answered(NIL(3), one, 3, 1, "eval", PUT("1", "1"));
    answered(NIL(4), two, 4, 1, "eval", PUT("2", "2"));
    answered("", one, 5, 1, "eval", PUT("2", "1"));
    answered_in("\"name\":\"ERROR_DEADLOCK\"", two, 6, 1, "eval", PUT("1", "2"));
    assert_string_equal(take(one), NIL(5));
    answered_in("ERROR_DEADLOCK", two, 7, 1, "eval", LOOK("1"));
    answered_in("ERROR_DEADLOCK", two, 8, 1, "begin", "");
    answered_in("ERROR_DEADLOCK", two, 9, 1, "commit", "");
    answered(OK(10), two, 10, 1, "begin", "");
    answered(OK(11), one, 11, 1, "commit", "");
    answered("[1,12,null,1]\n", two, 12, NO_STREAM, "eval", LOOK("2"));
}

static void the_lock_timeout_ends_a_request_not_its_stream(void **state)
{
    (void)state;
    space_make();
    answered(OK(1), one, 1, 1, "begin", "");
    answered(NIL(2), one, 2, 1, "eval", PUT("1", "1"));
    answered(OK(3), one, 3, 2, "begin", "");
    answered("", one, 4, 2, "eval", PUT("1", "2"));
    answered_in("lock_timeout takes", two, 8, NO_STREAM, "lock_timeout", "-1");
    answered(OK(9), two, 9, NO_STREAM, "lock_timeout", "9000");
    answered("", two, 5, NO_STREAM, "eval", PUT("1", "3"));
    clock_manual_advance_ms(&fixture->clock, 10000);
    assert_non_null(strstr(take(one), "[1,4,{\"code\":-29,\"name\":\"ERROR_LOCK_TIMEOUT\""));
    assert_non_null(strstr(take(two), "[1,5,{\"code\":-29"));
    answered(OK(6), one, 6, 2, "commit", "");
    clock_manual_advance_ms(&fixture->clock, 50000);
    session_fixture_run(fixture);
    answered_in("the transaction was idle", one, 7, 1, "commit", "");
}

static void a_notification_waits_and_is_not_answered(void **state)
{
    (void)state;
    space_make();
    answered(OK(1), one, 1, 1, "begin", "");
    answered(NIL(2), one, 2, 1, "eval", PUT("1", "1"));
    answered("", two, 0, NO_STREAM, "eval", PUT("1", "2"));
    assert_true(session_suspended(two));
    answered(OK(3), one, 3, 1, "commit", "");
    assert_string_equal(take(two), "");
    assert_false(session_suspended(two));
    answered("[1,4,null,2]\n", two, 4, NO_STREAM, "eval", LOOK("1"));
}

static void a_connection_that_ends_leaves_nothing(void **state)
{
    (void)state;
    struct lock_stats stats;
    space_make();
    answered(OK(1), one, 1, 1, "begin", "");
    answered(NIL(2), one, 2, 1, "eval", PUT("1", "1"));
    answered(OK(3), two, 3, 1, "begin", "");
    answered("", two, 4, 1, "eval", PUT("1", "2"));
    answered("", two, 5, 1, "eval", PUT("2", "2"));
    answered("", two, 6, NO_STREAM, "eval", PUT("1", "3"));
    session_delete(two);
    two = session_fixture_connect(fixture, 1);
    answered(OK(7), one, 7, 1, "commit", "");
    lock_stats_get(txn_system_locks(db_txn_system(fixture->db)), &stats);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.owners, 0);
    answered("[1,8,null,1]\n", two, 8, NO_STREAM, "eval", LOOK("1"));
}

static bool is_busy(void *arg)
{
    (void)arg;
    return true;
}

/* Memory is short, and somebody frees some: a request that may write waits, the others do not. */
static void a_request_that_may_write_is_slowed_while_memory_is_short(void **state)
{
    (void)state;
    struct budget_client freeing = {.name = "freeing", .busy = is_busy};
    struct budget *budget = db_budget(fixture->db);
    struct budget_view view;
    space_make();
    for (unsigned n = 0; n < 10; n++) { /* so much that what threads count apart is little */
        char params[128];
        snprintf(params, sizeof params,
                 "\"for i = %u, %u do box.space.s:replace{i, ('v'):rep(1000)} end\"", 1000 * n + 1,
                 1000 * n + 1000);
        answered(NIL(1), one, 1, NO_STREAM, "eval", params);
    }
    budget_join(budget, &freeing);
    db_memory_max_set(fixture->db, heap_used_bytes(db_heap(fixture->db)) * 100 / 97);
    do { /* the checkpoint's thread may be looking */
        clock_manual_advance_ms(&fixture->clock, 1000);
        db_memory_view(fixture->db, &view);
    } while (view.delay_ns == 0);
    answered("", one, 2, NO_STREAM, "eval", PUT("1", "1"));
    answered("", one, 3, NO_STREAM, "eval", PUT("2", "2"));
    clock_manual_advance_ms(&fixture->clock, BUDGET_DELAY_MS_MAX);
    assert_string_equal(take(one), NIL(2) NIL(3));
    db_memory_view(fixture->db, &view);
    assert_int_equal(view.slowed, 2);
    budget_leave(budget, &freeing);
    db_memory_max_set(fixture->db, 0);
}

static void more_than_can_be_kept_is_held_back(void **state)
{
    (void)state;
    enum { REQUESTS = 2500 };
    struct mp_buffer message;
    space_make();
    answered(OK(1), one, 1, 1, "begin", "");
    answered(NIL(2), one, 2, 1, "eval", PUT("1", "0"));
    mp_buffer_create(&message);
    for (unsigned n = 0; n < REQUESTS; n++) {
        rpc_put_request_begin(&message, n, "eval");
        put_params(&message, NO_STREAM,
                   "\"box.space.s:upsert({1, 1}, {{'+', 2, 1}}) return true\"");
    }
    session_on_bytes(two, message.data, message.size);
    mp_buffer_destroy(&message);
    assert_string_equal(take(two), "");
    assert_false(session_wants_read(two));
    answered(OK(3), one, 3, 1, "commit", "");
    const char *at = take(two);
    unsigned count = 0;
    for (; (at = strchr(at, '\n')) != NULL; at++)
        count++;
    assert_int_equal(count, REQUESTS);
    answered("[1,4,null,2500]\n", one, 4, NO_STREAM, "eval", LOOK("1"));
}

/* A whole request, of any method, in any stream, with a few bytes changed now and then. */
static void put_something(struct mp_buffer *message, struct random *random)
{
    static const char *const METHODS[] = {"begin",     "commit",     "rollback",    "savepoint",
                                          "release",   "eval",       "call",        "subscribe",
                                          "publish",   "psubscribe", "ping",        "unsubscribe",
                                          "isolation", "nothing",    "lock_timeout"};
    static const char *const PARAMS[] = {"",
                                         "\"s\"",
                                         "\"s\", 1",
                                         "{\"isolation\": \"snapshot\"}",
                                         "{\"readonly\": true}",
                                         "[1, {\"a\": [2]}], null, 1.5",
                                         PUT("1", "1"),
                                         PUT("2", "2"),
                                         LOOK("1"),
                                         "\"local t = box.space.s:get(1, {lock = 'shared'})\"",
                                         "\"error('no')\""};
    const char *method = METHODS[random_below(random, sizeof METHODS / sizeof *METHODS)];
    size_t start = message->size;
    if (random_below(random, 8))
        rpc_put_request_begin(message, 1 + random_below(random, 1000), method);
    else
        rpc_put_notification_begin(message, method);
    put_params(message, random_below(random, 3) ? (int)random_below(random, 3) : NO_STREAM,
               PARAMS[random_below(random, sizeof PARAMS / sizeof *PARAMS)]);
    while (random_below(random, 12) == 0)
        message->data[start + random_below(random, message->size - start)] =
            (char)random_below(random, 256);
}

static void no_bytes_break_a_session(void **state)
{
    (void)state;
    struct random random;
    struct lock_stats stats;
    struct session **sessions[] = {&one, &two};
    space_make();
    random_create(&random, test_seed());
    for (unsigned n = 0; n < 3000; n++) {
        unsigned who = (unsigned)random_below(&random, 2);
        struct mp_buffer message;
        mp_buffer_create(&message);
        for (unsigned more = (unsigned)random_below(&random, 4) + 1; more > 0; more--)
            put_something(&message, &random);
        session_on_bytes(*sessions[who], message.data, message.size);
        mp_buffer_destroy(&message);
        if (random_below(&random, 4) == 0)
            clock_manual_advance_ms(&fixture->clock, random_below(&random, 3000));
        session_fixture_take(fixture, *sessions[who]);
        if (session_wants_close(*sessions[who]) || random_below(&random, 200) == 0) {
            session_delete(*sessions[who]);
            *sessions[who] = session_fixture_connect(fixture, who);
        }
    }
    session_delete(one);
    session_delete(two);
    one = session_fixture_connect(fixture, 0);
    two = session_fixture_connect(fixture, 1);
    lock_stats_get(txn_system_locks(db_txn_system(fixture->db)), &stats);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.held, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_stream_is_a_transaction),
        TEST(savepoints_and_errors_are_of_a_stream),
        TEST(mistakes_are_told),
        TEST(while_a_stream_waits_others_go_on),
        TEST(a_request_with_bad_options_leaves_its_stream_waiting),
        TEST(a_deadlock_ends_the_younger_stream),
        TEST(the_lock_timeout_ends_a_request_not_its_stream),
        TEST(a_notification_waits_and_is_not_answered),
        TEST(a_connection_that_ends_leaves_nothing),
        TEST(a_request_that_may_write_is_slowed_while_memory_is_short),
        TEST(more_than_can_be_kept_is_held_back),
        TEST(no_bytes_break_a_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
