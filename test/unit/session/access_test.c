/* SPDX-License-Identifier: Apache-2.0 */

/* Which connections use keys by looking at them: CLIENT NO-TOUCH, and keys that bring their past
 * along. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "session/sessions.h"

static void pass_s(uint64_t seconds)
{
    clock_manual_advance_ms(&fixture->clock, seconds * 1000);
}

static void a_connection_that_does_not_touch_leaves_keys_idle(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set a v");
    expect(one, "+OK\r\n", "client no-touch on");
    pass_s(10);
    expect(one, "$1\r\nv\r\n", "get a");
    expect(one, "+OK\r\n", "multi");
    expect(one, "+QUEUED\r\n", "get a");
    expect(one, "*1\r\n$1\r\nv\r\n", "exec");
    expect(one, "$1\r\nv\r\n", "eval \"return redis.call('get', KEYS[1])\" 1 a");
    expect(one, ":2\r\n", "append a w");
    expect(one, ":10\r\n", "object idletime a");
    expect(one, ":1\r\n", "touch a");
    expect(one, ":0\r\n", "object idletime a");
    pass_s(5);
    expect(one, "+OK\r\n", "set a w"); /* something new */
    expect(one, ":0\r\n", "object idletime a");
    pass_s(5);
    expect(one, "+OK\r\n", "client no-touch off");
    expect(one, ":5\r\n", "object idletime a");
    expect(one, "$1\r\nw\r\n", "eval \"return redis.call('get', KEYS[1])\" 1 a");
    expect(one, ":0\r\n", "object idletime a");
}

static void watching_a_key_is_no_use(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set a v");
    pass_s(10);
    expect(one, "+OK\r\n", "watch a");
    expect(one, "+OK\r\n", "multi");
    expect(one, "+QUEUED\r\n", "object idletime a");
    expect(one, "*1\r\n:10\r\n", "exec");
}

/* RESTORE of what DUMP said, with something behind. */
static void restore(const char *options)
{
    char bytes[512];
    const char *reply = session_fixture_text(fixture, one, "dump from");
    const char *payload = strchr(reply, '\n') + 1;
    size_t payload_size = fixture->reply_size - (size_t)(payload - reply) - 2;
    unsigned words = 5;
    for (const char *at = options; *at; at++)
        words += *at == ' ';
    int size =
        snprintf(bytes, sizeof bytes, "*%u\r\n$7\r\nRESTORE\r\n$2\r\nto\r\n$1\r\n0\r\n$%zu\r\n",
                 words, payload_size);
    memcpy(bytes + size, payload, payload_size + 2);
    size += (int)payload_size + 2;
    char copy[64], *save;
    snprintf(copy, sizeof copy, "%s", options);
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
        size += snprintf(bytes + size, sizeof bytes - (size_t)size, "$%zu\r\n%s\r\n", strlen(word),
                         word);
    assert_string_equal(session_fixture_bytes(fixture, one, bytes, (size_t)size), "+OK\r\n");
}

static void what_is_restored_may_say_when_and_how_often_it_was_used(void **state)
{
    (void)state;
    static const char *const MAKE[] = {"set from v", "rpush from a b", "sadd from a b",
                                       "zadd from 1 a 2 b", "hset from f v"};
    for (unsigned n = 0; n < sizeof MAKE / sizeof *MAKE; n++) {
        expect(one, "+OK\r\n", "config set maxmemory-policy noeviction");
        session_fixture_text(fixture, one, "del from");
        session_fixture_text(fixture, one, "%s", MAKE[n]);
        restore("replace idletime 77");
        expect(one, ":77\r\n", "object idletime to");
        restore("replace freq 200"); /* not what the policy goes by */
        expect(one, ":0\r\n", "object idletime to");
        expect(one, "+OK\r\n", "config set maxmemory-policy allkeys-lfu");
        restore("replace freq 200");
        expect(one, ":200\r\n", "object freq to");
        restore("replace idletime 77");
        expect(one, ":5\r\n", "object freq to");
    }
}

int main(void)
{
#define WITH_SESSIONS(test) cmocka_unit_test_setup_teardown(test, sessions_setup, sessions_teardown)
    const struct CMUnitTest tests[] = {
        WITH_SESSIONS(a_connection_that_does_not_touch_leaves_keys_idle),
        WITH_SESSIONS(watching_a_key_is_no_use),
        WITH_SESSIONS(what_is_restored_may_say_when_and_how_often_it_was_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
