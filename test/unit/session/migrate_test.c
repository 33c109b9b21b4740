/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MIGRATE with a connection to the target that the test plays: what is sent, what each reply leads to, and
 * what others do between two of them. The network itself: test/redis/migrate_test.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "session/session_internal.h"
#include "session/sessions.h"

/* ---------------------------------------------------------------------------------- the target */

static struct target {
    struct remote remote;
    struct remote_user user;
    char host[64];
    uint16_t port;
    uint64_t timeout_ms;
    bool open;
    int refusal; /* what opening it returns */
    const char *sent;
    size_t sent_size;
    char words[512]; /* of what was sent last, as text; payloads as one '#' */
} target;

static void on_send(struct remote *remote, const char *data, size_t size)
{
    assert_ptr_equal(remote, &target.remote);
    assert_true(target.open);
    target.sent = data;
    target.sent_size = size;
}

static void on_close(struct remote *remote)
{
    assert_ptr_equal(remote, &target.remote);
    assert_true(target.open);
    target.open = false;
}

static int open_target(void *worker_user, const struct remote_target *to,
                       const struct remote_user *user, struct remote **out)
{
    static const struct remote_vtab VTAB = {.send = on_send, .close = on_close};
    (void)worker_user;
    assert_false(target.open);
    if (target.refusal)
        return diag_set(target.refusal, "refused by the test");
    target.remote.vtab = &VTAB;
    target.user = *user;
    snprintf(target.host, sizeof target.host, "%.*s", (int)to->host_size, to->host);
    target.port = to->port;
    target.timeout_ms = to->timeout_ms;
    target.open = true;
    target.sent = NULL;
    *out = &target.remote;
    return 0;
}

static const char *words_sent(void)
{
    const char *at = target.sent, *end = at ? at + target.sent_size : NULL;
    size_t used = 0;
    while (at < end) {
        bool string = *at == '$';
        size_t size = strtoul(at + 1, NULL, 10);
        at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
        if (!string)
            continue;
        bool plain = true;
        for (size_t n = 0; n < size; n++)
            plain &= at[n] >= ' ' && at[n] <= '~';
        used += (size_t)snprintf(target.words + used, sizeof target.words - used, "%s%.*s",
                                 used ? " " : "", plain ? (int)size : 1, plain ? at : "#");
        at += size + 2;
    }
    target.words[used] = 0;
    target.sent = NULL;
    return target.words;
}

/* What the session answers when the target has replied. */
static const char *reply(const char *text)
{
    target.user.bytes(target.user.arg, text, strlen(text));
    return session_fixture_take(fixture, one);
}

static const char *end(enum remote_end how)
{
    target.user.ended(target.user.arg, how);
    return session_fixture_take(fixture, one);
}

static int setup(void **state)
{
    int rc = sessions_setup(state);
    target = (struct target){.open = false};
    service_remotes_set(fixture->service, open_target);
    return rc;
}

static int teardown(void **state)
{
    int rc = sessions_teardown(state);
    assert_false(target.open);
    return rc;
}

#define OK      "+OK\r\n"
#define WORDS_A "RESTORE a 0 #"

/* Until it waits for RESTORE's reply. */
static void begin(const char *keys)
{
    expect(one, "", "migrate there 7 \"\" 0 100 keys %s", keys);
    assert_string_equal(words_sent(), "SELECT 0");
    assert_string_equal(reply(OK), "");
    assert_true(target.open);
}

/* --------------------------------------------------------------------------------------- tests */

static void it_sends_a_key_and_deletes_it(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    expect(one, "", "migrate there 7 a 3 100");
    assert_string_equal(target.host, "there");
    assert_int_equal(target.port, 7);
    assert_int_equal(target.timeout_ms, 100);
    assert_string_equal(words_sent(), "SELECT 3");
    assert_string_equal(reply(OK), "");
    assert_string_equal(words_sent(), WORDS_A);
    expect(two, ":1\r\n", "exists a");
    assert_string_equal(reply(OK), OK);
    assert_false(target.open);
    expect(two, ":0\r\n", "exists a");
}

static void options_and_expiries_are_sent(void **state)
{
    (void)state;
    expect(one, OK, "set a 1 px 5000");
    expect(one, OK, "set b 1");
    expect(one, "",
           "migrate there 7 \"\" 0 0 auth2 me secret auth other copy replace keys a none b");
    assert_int_equal(target.timeout_ms, 1000);
    assert_string_equal(words_sent(), "AUTH me other SELECT 0");
    assert_string_equal(reply(OK), "");
    assert_null(target.sent);
    assert_string_equal(reply(OK), "");
    assert_string_equal(words_sent(), "RESTORE a 5000 # REPLACE RESTORE b 0 # REPLACE");
    assert_string_equal(reply(OK OK), OK);
    expect(two, ":2\r\n", "exists a b");
}

static void replies_come_in_any_pieces(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    expect(one, OK, "set b 1");
    begin("a b");
    for (const char *at = OK OK; at[1]; at++)
        assert_string_equal(reply((char[]){*at, 0}), "");
    assert_string_equal(reply("\n"), OK);
    expect(two, ":0\r\n", "exists a b");
}

static void what_the_target_refuses_stays(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    expect(one, OK, "set b 1");
    expect(one, OK, "set c 1");
    begin("a b c");
    assert_string_equal(reply(OK "-BUSYKEY is there\r\n-OOM\r\n"),
                        "-ERR Target instance replied with error: BUSYKEY is there\r\n");
    expect(two, ":2\r\n", "exists a b c");
    expect(one, "", "migrate there 7 b 0 100 auth x");
    assert_string_equal(reply("-WRONGPASS no\r\n-NOAUTH\r\n"),
                        "-ERR Target instance replied with error: WRONGPASS no\r\n");
    expect(two, ":2\r\n", "exists a b c");
}

static void a_long_error_is_cut(void **state)
{
    (void)state;
    static char line[5000];
    expect(one, OK, "set a 1");
    begin("a");
    memset(line, 'x', sizeof line - 3);
    line[0] = '-';
    memcpy(line + sizeof line - 3, "\r\n", 3);
    const char *answer = reply(line);
    assert_memory_equal(answer, "-ERR Target instance replied with error: xxx", 44);
    assert_in_range(strlen(answer), 900, 1200);
    expect(two, ":1\r\n", "exists a");
}

static void what_is_no_reply_ends_it(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {":1\r\n", "+QUEUED\r\n", "\r\n", "+OKAY\r\n", "$2\r\n"};
    for (size_t n = 0; n < sizeof TEXTS / sizeof *TEXTS; n++) {
        expect(one, OK, "set a 1");
        begin("a");
        assert_string_equal(reply(TEXTS[n]),
                            "-IOERR error or timeout reading to target instance\r\n");
        expect(two, ":1\r\n", "exists a");
    }
}

static void an_end_before_all_was_taken_is_an_error(void **state)
{
    (void)state;
    static const char *const ENDS[] = {
        [REMOTE_NOT_FOUND] = "-IOERR error or timeout connecting to the client\r\n",
        [REMOTE_CONNECT_TIMEOUT] = "-IOERR error or timeout connecting to the client\r\n",
        [REMOTE_WRITING] = "-IOERR error or timeout writing to target instance\r\n",
        [REMOTE_READING] = "-IOERR error or timeout reading to target instance\r\n"};
    for (enum remote_end how = REMOTE_NOT_FOUND; how <= REMOTE_READING; how++) {
        expect(one, OK, "set a 1");
        expect(one, OK, "set b 1");
        expect(one, "", "migrate there 7 a 0 100");
        assert_string_equal(end(how), ENDS[how]);
        assert_false(target.open);
        begin("a b");
        assert_string_equal(end(how), ENDS[how]);
        expect(two, ":2\r\n", "exists a b");
        begin("a b");
        assert_string_equal(reply(OK), "");
        assert_string_equal(end(how), ENDS[how]);
        expect(two, ":0\r\n", "exists a");
        expect(two, ":1\r\n", "exists b");
    }
    target.refusal = ERROR_IO;
    expect(one, "-IOERR error or timeout connecting to the client\r\n", "migrate there 7 b 0 100");
    target.refusal = ERROR_MEMORY;
    expect_in(one, "-OOM ", "migrate there 7 b 0 100");
}

static void replies_to_what_was_not_sent_end_it(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    expect(one, "", "migrate there 7 a 0 100");
    assert_string_equal(reply(OK OK), "-IOERR error or timeout reading to target instance\r\n");
    expect(one, "", "migrate there 7 a 0 100");
    target.user.bytes(target.user.arg, OK, 5);
    assert_string_equal(reply(OK), "-IOERR error or timeout reading to target instance\r\n");
    expect(one, "", "migrate there 7 a 0 100");
    expect(two, OK, "client pause 1000 all"); /* holds what is to be sent */
    assert_string_equal(reply(OK), "");
    assert_string_equal(reply(OK), "");
    expect(two, OK, "client unpause");
    expect_take(one, "-IOERR error or timeout reading to target instance\r\n");
    expect(two, ":1\r\n", "exists a");
}

static void an_end_after_the_last_reply_is_none(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    begin("a");
    target.user.bytes(target.user.arg, OK, 5);
    assert_string_equal(end(REMOTE_READING), OK);
    expect(two, ":0\r\n", "exists a");
}

static void an_end_between_two_talks_is_told_when_keys_are_to_be_sent(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    expect(one, "", "migrate there 7 a 0 100");
    target.user.bytes(target.user.arg, OK, 5);
    assert_string_equal(end(REMOTE_READING),
                        "-IOERR error or timeout reading to target instance\r\n");
    expect(two, ":1\r\n", "exists a");
}

static void a_key_that_was_changed_meanwhile_stays(void **state)
{
    (void)state;
    static const char *const CHANGES[] = {"set a 2", "set a 1", "append a x", "expire a 100",
                                          "del a"};
    static const char CHANGED[] = "-ERR 1 of 2 keys changed while they were sent";
    for (size_t n = 0; n < sizeof CHANGES / sizeof *CHANGES; n++) {
        expect(one, OK, "set a 1");
        expect(one, OK, "set b 1");
        begin("a b");
        session_fixture_text(fixture, two, "%s", CHANGES[n]);
        assert_memory_equal(reply(OK OK), CHANGED, sizeof CHANGED - 1);
        expect(two, strcmp(CHANGES[n], "del a") == 0 ? ":0\r\n" : ":1\r\n", "exists a b");
    }
}

static void a_key_that_has_expired_meanwhile_is_gone(void **state)
{
    (void)state;
    expect(one, OK, "set a 1 px 50");
    begin("a");
    clock_manual_advance_ms(&fixture->clock, 50);
    assert_string_equal(reply(OK), OK);
    expect(one, OK, "set a 1 px 50");
    expect(one, "", "migrate there 7 a 0 100");
    clock_manual_advance_ms(&fixture->clock, 50);
    assert_string_equal(reply(OK), "+NOKEY\r\n");
    assert_false(target.open);
}

/* Deleting waits as DEL does for who has written the key in a transaction. */
static void a_key_that_is_locked_is_waited_for(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    begin("a");
    expect(two, OK, "begin");
    expect(two, OK, "set a 2");
    assert_string_equal(reply(OK), "");
    expect(two, OK, "rollback");
    expect_take(one, OK);
    expect(two, ":0\r\n", "exists a");

    expect(one, OK, "set a 1");
    begin("a");
    expect(two, OK, "begin");
    expect(two, OK, "set a 2");
    assert_string_equal(reply(OK), "");
    expect(two, OK, "commit");
    assert_memory_equal(session_fixture_take(fixture, one), "-ERR 1 of 1 keys changed", 24);
    expect(two, "$1\r\n2\r\n", "get a");
}

static void who_may_not_wait_any_more_ends_it(void **state)
{
    (void)state;
    char number[64];
    expect(one, OK, "set a 1");
    expect(one, OK, "set b 1");
    snprintf(number, sizeof number, "%s", session_fixture_text(fixture, one, "client id"));
    begin("a b");
    assert_string_equal(reply(OK), "");
    expect(two, ":1\r\n", "client unblock %lu", strtoul(number + 1, NULL, 10));
    expect_take(one, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    assert_false(target.open);
    expect(two, ":1\r\n", "exists a b");
    begin("b");
    session_hurry(one);
    expect_take(one, "-ERR cancelled while waiting for the target instance: the connection is "
                     "being closed\r\n");
    expect(two, ":1\r\n", "exists b");
}

static void a_connection_that_is_closed_leaves_all_keys(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    expect(one, OK, "set b 1");
    begin("a b");
    assert_string_equal(reply(OK), "");
    session_delete(one);
    one = NULL;
    assert_false(target.open);
    expect(two, ":2\r\n", "exists a b");
}

static void a_pause_holds_it_between_two_talks(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    begin("a");
    expect(two, OK, "client pause 1000 write");
    assert_string_equal(reply(OK), "");
    expect(two, ":1\r\n", "exists a");
    expect(two, OK, "client unpause");
    expect_take(one, OK);
    expect(two, ":0\r\n", "exists a");
}

static void it_does_not_move_to_another_worker(void **state)
{
    (void)state;
    expect(one, OK, "set a 1");
    assert_true(session_may_leave(one));
    begin("a");
    assert_false(session_may_leave(one));
    target.user.bytes(target.user.arg, OK, 5);
    assert_false(session_may_leave(one));
    expect_take(one, OK);
    assert_true(session_may_leave(one));
}

static void without_a_network_there_is_no_target(void **state)
{
    (void)state;
    service_remotes_set(fixture->service, NULL);
    expect(one, "+NOKEY\r\n", "migrate there 7 a 0 100");
    expect(one, OK, "set a 1");
    expect_in(one, "there is no network to reach the target instance", "migrate there 7 a 0 100");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_sends_a_key_and_deletes_it),
        TEST(options_and_expiries_are_sent),
        TEST(replies_come_in_any_pieces),
        TEST(what_the_target_refuses_stays),
        TEST(a_long_error_is_cut),
        TEST(what_is_no_reply_ends_it),
        TEST(an_end_before_all_was_taken_is_an_error),
        TEST(replies_to_what_was_not_sent_end_it),
        TEST(an_end_after_the_last_reply_is_none),
        TEST(an_end_between_two_talks_is_told_when_keys_are_to_be_sent),
        TEST(a_key_that_was_changed_meanwhile_stays),
        TEST(a_key_that_has_expired_meanwhile_is_gone),
        TEST(a_key_that_is_locked_is_waited_for),
        TEST(who_may_not_wait_any_more_ends_it),
        TEST(a_connection_that_is_closed_leaves_all_keys),
        TEST(a_pause_holds_it_between_two_talks),
        TEST(it_does_not_move_to_another_worker),
        TEST(without_a_network_there_is_no_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
