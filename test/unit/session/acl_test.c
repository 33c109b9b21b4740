/* SPDX-License-Identifier: Apache-2.0 */

/*
 * ACL: rules as they are written, what they allow on every path, and that they are the users of
 * box.schema.user.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/sessions.h"

static int setup(void **state)
{
    (void)state;
    sessions_start(NULL, (struct service_limits){.subscriber_bytes_max = 0});
    return 0;
}

#define COMMAND(name) "-NOPERM User bob has no permissions to run the '" name "' command\r\n"
#define KEY           "-NOPERM No permissions to access a key\r\n"
#define CHANNEL       "-NOPERM No permissions to access a channel\r\n"

static void a_new_user_may_nothing_and_rules_add_up(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "acl setuser bob");
    session_fixture_text(fixture, one, "acl list");
    assert_non_null(strstr(fixture->reply, "user bob off resetchannels -@all\r\n"));
    expect(one, "+OK\r\n", "acl setuser bob on nopass +get ~a");
    expect(two, "+OK\r\n$-1\r\n" KEY COMMAND("set"), "auth bob x\r\nget a\r\nget b\r\nset a 1");
    expect(one, "+OK\r\n", "acl setuser bob ~b");
    expect(two, "$-1\r\n", "get b");
    expect(one, "+OK\r\n", "acl setuser bob reset");
    expect(two, COMMAND("get"), "get a");
}

static void rules_are_shown_as_redis_shows_them(void **state)
{
    (void)state;
    expect(one, "*1\r\n$34\r\nuser default on nopass ~* &* +@all\r\n", "acl list");
    expect(one, "+OK\r\n",
           "acl setuser bob on >pw +@read -get ~a* %%R~b* &c* (+set ~x) +config|get");
    session_fixture_text(fixture, one, "acl list");
    assert_non_null(strstr(
        fixture->reply,
        "user bob on #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~a* %R~b* "
        "resetchannels &c* -@all +@read -get +config|get (~x resetchannels -@all +set)\r\n"));
    expect(one,
           "*12\r\n$5\r\nflags\r\n*1\r\n$2\r\non\r\n$9\r\npasswords\r\n*1\r\n$64\r\n"
           "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4\r\n"
           "$8\r\ncommands\r\n$29\r\n-@all +@read -get +config|get\r\n$4\r\nkeys\r\n$9\r\n~a* %R~b*"
           "\r\n$8\r\nchannels\r\n$3\r\n&c*\r\n$9\r\nselectors\r\n*1\r\n*6\r\n$8\r\ncommands\r\n"
           "$10\r\n-@all +set\r\n$4\r\nkeys\r\n$2\r\n~x\r\n$8\r\nchannels\r\n$0\r\n\r\n",
           "acl getuser bob");
    expect(one, "+OK\r\n", "acl setuser c +@all -set +get +client|id -client +set");
    session_fixture_text(fixture, one, "acl getuser c");
    assert_non_null(strstr(fixture->reply, "+@all +get -client +set\r\n"));
    expect(one, "$-1\r\n", "acl getuser none");
    expect(one, "*3\r\n$7\r\ndefault\r\n$3\r\nbob\r\n$1\r\nc\r\n", "acl users");
}

#define RUNS(command) expect(one, "+OK\r\n", "acl dryrun bob " command)
#define RUNS_NOT(command, name)                                                 \
    expect_in(one, "User bob has no permissions to run the '" name "' command", \
              "acl dryrun bob " command)

static void a_command_is_allowed_with_one_first_argument(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "acl setuser bob on ~* +SELECT|0 +select|Foo +get|x");
    session_fixture_text(fixture, one, "acl list");
    assert_non_null(strstr(fixture->reply, "-@all +select|0 +select|foo +get|x\r\n"));
    RUNS("select 0");
    RUNS("select FOO");
    RUNS_NOT("select 1", "select");
    RUNS("get x");
    RUNS_NOT("get y", "get");
    RUNS_NOT("mget x", "mget");
    expect(one, "+OK\r\n", "acl setuser bob -select +get");
    RUNS_NOT("select 0", "select");
    RUNS("get y");
    session_fixture_text(fixture, one, "acl list");
    assert_non_null(strstr(fixture->reply, "-@all -select +get\r\n"));
    expect(one, "+OK\r\n", "acl setuser bob -@all +select|0 -@connection");
    RUNS_NOT("select 0", "select"); /* by its category */
    expect(one, "+OK\r\n", "acl setuser bob -@all (~a* +get|a1) +select|0 -@all");
    RUNS_NOT("select 0", "select");
    RUNS("get a1");
    expect(
        one,
        "-ERR Error in ACL SETUSER modifier '+config|get|x': Allowing first-arg of a subcommand is "
        "not supported\r\n",
        "acl setuser bob +config|get|x");
    expect(one, "-ERR Error in ACL SETUSER modifier '+select|': Syntax error\r\n",
           "acl setuser bob +select|");
    static const char *const UNKNOWN[] = {"+config|x", "-select|0", "+nosuch|0", "+get|x|y"};
    for (size_t n = 0; n < sizeof UNKNOWN / sizeof *UNKNOWN; n++)
        expect_in(one, "Unknown command or category name in ACL", "acl setuser bob %s", UNKNOWN[n]);
}

static void what_is_wrong_is_said_and_changes_nothing(void **state)
{
    (void)state;
    expect(
        one,
        "-ERR Error in ACL SETUSER modifier 'foo': Syntax error\r\n"
        "-ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL\r\n"
        "-ERR Error in ACL SETUSER modifier '#12': The password hash must be exactly 64 "
        "characters and contain only lowercase hexadecimal characters\r\n"
        "-ERR Error in ACL SETUSER modifier '<no': The password you are trying to remove from "
        "the user does not exist\r\n",
        "acl setuser bob on foo\r\nacl setuser bob +nosuch\r\nacl setuser bob #12\r\n"
        "acl setuser bob <no");
    expect(one, "$-1\r\n", "acl getuser bob");
    expect(one, "-ERR The 'default' user cannot be removed\r\n", "acl deluser default");
    expect(one, "-ERR Unknown category 'x'\r\n", "acl cat x");
    session_fixture_text(fixture, one, "acl genpass 5");
    assert_memory_equal(fixture->reply, "$2\r\n", 4);
}

static void rules_hold_on_every_path(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n",
           "acl setuser bob on >pw +@read +set +multi +exec +eval +publish +subscribe +psubscribe "
           "~a* %%R~b* &c*\r\nset b 1");
    expect(two, "+OK\r\n+OK\r\n$1\r\n1\r\n" KEY KEY COMMAND("del") KEY,
           "auth bob pw\r\nset a 1\r\nget b\r\nset b 2\r\nmget a x\r\ndel a\r\nget x");
    expect(two,
           "+OK\r\n+QUEUED\r\n" KEY "-EXECABORT Transaction discarded because of previous "
           "errors.\r\n",
           "multi\r\nset a 2\r\nset x 2\r\nexec");
    expect(two, "$1\r\n1\r\n", "eval \"return redis.call('get', 'b')\" 0");
    session_fixture_text(fixture, two, "eval \"return redis.call('set', 'b', 2)\" 0");
    assert_non_null(
        strstr(fixture->reply, "ACL failure in script: No permissions to access a key"));
    session_fixture_text(fixture, two, "eval \"return redis.call('del', 'a')\" 0");
    assert_non_null(strstr(fixture->reply,
                           "ACL failure in script: User bob has no permissions to run the 'del'"));
    session_fixture_text(fixture, two, "eval \"return redis.call('info', 'nosuch')\" 0");
    assert_non_null(strstr(fixture->reply,
                           "ACL failure in script: User bob has no permissions to run the 'info'"));
    expect(one, "+OK\r\n", "acl setuser bob +info");
    expect(two, "$0\r\n\r\n", "eval \"return redis.call('info', 'nosuch')\" 0");
    expect(two, ":1\r\n", "eval \"return redis.call('memory', 'usage', 'b') > 0\" 0");
    session_fixture_text(fixture, two, "eval \"return redis.call('memory', 'usage', 'x')\" 0");
    assert_non_null(
        strstr(fixture->reply, "ACL failure in script: No permissions to access a key"));
    expect(one, "+OK\r\n", "acl setuser bob -memory|usage");
    session_fixture_text(fixture, two, "eval \"return redis.call('memory', 'usage', 'b')\" 0");
    assert_non_null(strstr(
        fixture->reply,
        "ACL failure in script: User bob has no permissions to run the 'memory|usage' command"));
    session_fixture_text(fixture, two, "lua \"return 1\"");
    assert_memory_equal(fixture->reply, "-NOPERM ", 8);
    expect(two, ":0\r\n" CHANNEL CHANNEL CHANNEL,
           "publish c1 x\r\npublish d x\r\nsubscribe d\r\npsubscribe c?");
    expect(two, KEY KEY, "sort_ro a by w*\r\nsort_ro a get z*");
    expect(two, COMMAND("acl|setuser"), "acl setuser bob +@all");
    expect(one, "+OK\r\n", "acl setuser bob +del");
    expect(two, ":1\r\n", "del a");
}

static void selectors_are_alternatives(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "acl setuser bob on nopass +get ~a (+set ~b)");
    expect(two, "+OK\r\n$-1\r\n+OK\r\n" KEY KEY,
           "auth bob any\r\nget a\r\nset b 1\r\nset a 1\r\nget b");
    expect(one, "+OK\r\n$49\r\nUser bob has no permissions to access the 'b' key\r\n",
           "acl dryrun bob get a\r\nacl dryrun bob get b");
    expect(one, "+OK\r\n", "acl setuser bob clearselectors");
    expect(two, COMMAND("set"), "set b 1");
}

static void who_is_off_or_gone_does_not_log_in(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "acl setuser bob on >pw >other +@all ~*\r\nacl setuser bob <pw");
    expect(two, "-WRONGPASS invalid username-password pair or user is disabled.\r\n+OK\r\n",
           "auth bob pw\r\nauth bob other");
    expect(two, "$3\r\nbob\r\n", "acl whoami");
    expect(one, "+OK\r\n", "acl setuser bob off");
    expect(two, "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
           "auth bob other");
    expect(one, ":1\r\n$-1\r\n", "acl deluser bob nobody\r\nacl getuser bob");
}

static void the_default_user_may_ask_for_a_password(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "acl setuser default >pw");
    expect(two, "-NOAUTH Authentication required.\r\n", "get k");
    expect(two, "+OK\r\n$-1\r\n", "auth pw\r\nget k");
    expect(one, "-NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n",
           "get k\r\nauth default pw\r\nacl setuser default nopass");
}

static void users_are_those_of_the_schema(void **state)
{
    (void)state;
    expect(one, "$-1\r\n", "lua \"box.schema.user.create('ann', {password = 'secret'})\"");
    expect(one, "$-1\r\n", "lua \"box.schema.user.grant('ann', 'read', 'space', '_redis')\"");
    session_fixture_text(fixture, one, "acl list");
    assert_non_null(strstr(fixture->reply, "user ann on %R~* &* -@all +@read +@connection\r\n"));
    expect(one, "+OK\r\n", "acl setuser bob on >pw");
    expect(one, ":1\r\n", "lua \"return box.schema.user.exists('bob')\"");
}

static void what_was_denied_is_logged(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "acl setuser bob on nopass +get ~a");
    session_fixture_text(fixture, two, "auth bob x\r\nget b\r\nget b\r\nset a 1");
    session_fixture_text(fixture, one, "acl log");
    assert_memory_equal(fixture->reply,
                        "*2\r\n*20\r\n$5\r\ncount\r\n:1\r\n$6\r\nreason\r\n$7\r\ncommand", 47);
    assert_non_null(strstr(fixture->reply, "$5\r\ncount\r\n:2\r\n$6\r\nreason\r\n$3\r\nkey\r\n"));
    expect(one, "+OK\r\n*0\r\n", "acl log reset\r\nacl log");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, sessions_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_user_may_nothing_and_rules_add_up),
        TEST(rules_are_shown_as_redis_shows_them),
        TEST(a_command_is_allowed_with_one_first_argument),
        TEST(what_is_wrong_is_said_and_changes_nothing),
        TEST(rules_hold_on_every_path),
        TEST(selectors_are_alternatives),
        TEST(who_is_off_or_gone_does_not_log_in),
        TEST(the_default_user_may_ask_for_a_password),
        TEST(users_are_those_of_the_schema),
        TEST(what_was_denied_is_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
