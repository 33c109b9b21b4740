/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Dispatch and the commands of the connection: errors in Redis's words and order, identity, MULTI
 * and WATCH, what monitoring asks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/session_internal.h"
#include "session/sessions.h"

/* ------------------------------------------------------------------------------------ dispatch */

static void errors_have_the_words_that_clients_look_for(void **state)
{
    (void)state;
    expect(one, "-ERR unknown command 'foo', with args beginning with: \r\n", "foo");
    expect(one, "-ERR unknown command 'FoO', with args beginning with: 'a' 'b c' \r\n",
           "FoO a \"b c\"");
    expect(one, "-ERR wrong number of arguments for 'get' command\r\n", "GET");
    expect(one, "-ERR wrong number of arguments for 'get' command\r\n", "get a b");
    expect(one, "-ERR wrong number of arguments for 'ping' command\r\n", "ping a b");
    expect(one, "-ERR unknown subcommand 'foo'. Try CLIENT HELP.\r\n", "client foo");
    expect(one, "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.\r\n",
           "client MAINT_NOTIFICATIONS on");
    expect(one, "-ERR wrong number of arguments for 'client' command\r\n", "client");
    expect(one, "-ERR wrong number of arguments for 'client|setname' command\r\n",
           "client setname");
    expect(one, "-ERR DB index is out of range\r\n", "select 16");
    expect(one, "-ERR value is not an integer or out of range\r\n", "select x");
    expect(one, "+OK\r\n", "select 0");
    expect(one, "$2\r\nhi\r\n", "echo hi");
    expect(one, "$2\r\nhi\r\n", "PING hi");
}

static void a_long_unknown_command_is_cut(void **state)
{
    (void)state;
    char name[400], wanted[600];
    memset(name, 'x', 399);
    name[399] = 0;
    snprintf(wanted, sizeof wanted,
             "-ERR unknown command '%.128s', with args beginning with: '%.128s' \r\n", name, name);
    expect(one, wanted, "%s %s", name, name);
}

/* ------------------------------------------------------------------------------------ identity */

static void hello_tells_who_answers(void **state)
{
    (void)state;
    expect_in(one,
              "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n$"
              "5\r\nproto\r\n:2\r\n",
              "hello");
    expect_in(one, "%7\r\n$6\r\nserver\r\n", "hello 3");
    expect_in(one, "$5\r\nproto\r\n:3\r\n", "hello");
    expect(one, "_\r\n", "get nothing");
    expect(one, "-NOPROTO unsupported protocol version\r\n", "hello 4");
    expect(one, "-ERR Protocol version is not an integer or out of range\r\n", "hello x");
    expect(one, "-ERR Syntax error in HELLO option 'foo'\r\n", "hello 3 foo");
    expect(one, "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
           "hello 3 setname \"a b\"");
    expect_in(one, "%7\r\n", "hello 3 auth default any setname me");
    expect(one, "$2\r\nme\r\n", "client getname");
    expect(one, "+RESET\r\n", "reset");
    expect(one, "$-1\r\n", "client getname");
}

static void nothing_is_done_before_the_password_is_given(void **state)
{
    (void)state;
    expect(one, "-NOAUTH Authentication required.\r\n", "get a");
    expect(one, "-NOAUTH Authentication required.\r\n", "ping");
    expect(one, "-NOAUTH Authentication required.\r\n", "lua 1");
    expect(one, "-ERR unknown command 'foo', with args beginning with: \r\n", "foo");
    expect_in(one, "-NOAUTH HELLO must be called with the client already authenticated", "hello 3");
    expect(one, "-WRONGPASS invalid username-password pair or user is disabled.\r\n", "auth wrong");
    expect(one, "-WRONGPASS invalid username-password pair or user is disabled.\r\n", "auth secre");
    expect(one, "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
           "auth other secret");
    expect(one, "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
           "hello 3 auth default wrong");
    expect(one, "-ERR syntax error\r\n", "auth a b c");
    expect(one, "+OK\r\n$-1\r\n", "auth secret\r\nget a");
    expect(one, "+RESET\r\n-NOAUTH Authentication required.\r\n", "reset\r\nget a");
    expect_in(two, "%7\r\n", "hello 3 auth default secret");
    expect(two, "+PONG\r\n", "ping");
}

static void a_stranger_may_not_send_much(void **state)
{
    (void)state;
    expect(one, "-ERR Protocol error: unauthenticated multibulk length\r\n", "*11");
    assert_true(session_wants_close(one));
    expect(two, "-ERR Protocol error: unauthenticated bulk length\r\n",
           "*2\r\n$3\r\nget\r\n$16385");
}

static void auth_without_a_password_set_says_so(void **state)
{
    (void)state;
    expect_in(one, "-ERR AUTH <password> called without any password configured", "auth x");
    expect(one, "+OK\r\n", "auth default x");
}

static void clients_are_told_apart_and_listed(void **state)
{
    (void)state;
    expect(one, ":1\r\n", "client id");
    expect(two, ":2\r\n", "client id");
    expect(one, "+OK\r\n", "client setname first");
    expect(one, "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
           "client setname \"a b\"");
    expect(one, "+OK\r\n", "client setinfo lib-name mylib");
    expect(one, "-ERR Unrecognized option 'lib-foo'\r\n", "client setinfo lib-foo x");
    expect_in(
        two,
        "id=1 addr=127.0.0.1:50000 laddr=127.0.0.1:6379 fd=7 name=first age=0 idle=0 flags=N db=0",
        "client list");
    expect_in(two, "lib-name=mylib lib-ver= txn=none\n", "client list id 1");
    assert_null(strstr(session_fixture_text(fixture, two, "client list id 2"), "id=1 "));
    expect_in(two, "cmd=client|info", "client info");
    expect(two, "$0\r\n\r\n", "client list type replica");
    expect(two, "-ERR Unknown client type 'x'\r\n", "client list type x");
}

static void client_reply_silences(void **state)
{
    (void)state;
    expect(one, "+PONG\r\n", "client reply skip\r\nset a 1\r\nping");
    expect(one, "+OK\r\n", "client reply off\r\nset a 2\r\nping\r\nclient reply on");
    expect(one, "$1\r\n2\r\n", "get a");
}

/* ---------------------------------------------------------------------------------------- MULTI */

static void a_transaction_runs_what_was_queued_at_once(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n", "multi\r\nset a 1\r\nincr a\r\nping");
    expect(two, "$-1\r\n", "get a");
    expect(one, "*3\r\n+OK\r\n:2\r\n+PONG\r\n", "exec");
    expect(two, "$1\r\n2\r\n", "get a");
    expect(one, "+OK\r\n*0\r\n", "multi\r\nexec");
    expect(one, "+OK\r\n+QUEUED\r\n*1\r\n$1\r\n2\r\n", "multi\r\nget a\r\nexec");
}

static void a_command_that_fails_in_a_transaction_undoes_only_itself(void **state)
{
    (void)state;
    expect(one,
           "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n-ERR value is not an integer or "
           "out of range\r\n+OK\r\n",
           "multi\r\nset a x\r\nincr a\r\nset b y\r\nexec");
    expect(one, "*2\r\n$1\r\nx\r\n$1\r\ny\r\n", "mget a b");
}

static void a_mistake_while_queueing_aborts_the_transaction(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+QUEUED\r\n-ERR wrong number of arguments for 'get' command\r\n",
           "multi\r\nset a 1\r\nget");
    expect(one, "-EXECABORT Transaction discarded because of previous errors.\r\n", "exec");
    expect(one, "$-1\r\n", "get a");
    expect_in(one, "-ERR unknown command", "multi\r\nfoo");
    expect(one, "-EXECABORT Transaction discarded because of previous errors.\r\n", "exec");
    expect(one, "+OK\r\n-ERR Command not allowed inside a transaction\r\n", "multi\r\nsave");
    expect(one, "-EXECABORT Transaction discarded because of previous errors.\r\n", "exec");
}

static void transaction_commands_out_of_place_are_errors(void **state)
{
    (void)state;
    expect(one, "-ERR EXEC without MULTI\r\n", "exec");
    expect(one, "-ERR DISCARD without MULTI\r\n", "discard");
    expect(one, "+OK\r\n-ERR MULTI calls can not be nested\r\n", "multi\r\nmulti");
    expect(one, "-ERR WATCH inside MULTI is not allowed\r\n", "watch a");
    expect(one, "+QUEUED\r\n+OK\r\n$-1\r\n", "set a 1\r\ndiscard\r\nget a");
}

static void exec_fails_when_a_watched_key_has_changed(void **state)
{
    (void)state;
    static const char *const changes[] = {"set w 2",      "del w",   "append w x",
                                          "expire w 100", "set w 1", "flushall"};
    for (size_t n = 0; n < sizeof changes / sizeof *changes; n++) {
        session_fixture_text(fixture, one, "set w 1");
        expect(one, "+OK\r\n", "watch other w");
        session_fixture_text(fixture, two, "%s", changes[n]);
        expect(one, "+OK\r\n+QUEUED\r\n*-1\r\n", "multi\r\nset mine 1\r\nexec");
        expect(one, "$-1\r\n", "get mine");
    }
}

static void exec_fails_when_anything_of_a_large_collection_has_changed(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        {"rpush k 1 2 3 4", "lpush k 0"},
        {"rpush k 1 2 3 4", "rpop k"},
        {"rpush k 1 2 3 4", "lset k 0 x"},
        {"rpush k 1 2 3 4", "lset k 2 x"},
        {"rpush k 1 2 3 4", "linsert k before 3 x"},
        {"rpush k 1 2 3 4", "rpoplpush k k"},
        {"sadd k a b c d", "sadd k e"},
        {"sadd k a b c d", "smove k other a"},
        {"hset k a 1 b 2 c 3 d 4", "hset k a 2"},
        {"hset k a 1 b 2 c 3 d 4", "hdel k d"},
        {"zadd k 1 a 2 b 3 c 4 d", "zincrby k 1 a"},
        {"zadd k 1 a 2 b 3 c 4 d", "zpopmin k"},
        {"xadd k 1 a b", "xadd k 2 a b"},
        {"xadd k 1 a b", "xgroup create k g 0"},
    };
    session_fixture_text(fixture, one,
                         "config set hash-max-listpack-entries 2 set-max-listpack-entries 2 "
                         "zset-max-listpack-entries 2 list-max-listpack-size 2");
    for (size_t n = 0; n < sizeof changes / sizeof *changes; n++) {
        session_fixture_text(fixture, one, "%s", changes[n][0]);
        expect(one, "+OK\r\n", "watch k");
        assert_true(session_fixture_text(fixture, two, "%s", changes[n][1])[0] != '-');
        expect(one, "+OK\r\n+QUEUED\r\n*-1\r\n", "multi\r\nset mine 1\r\nexec");
        session_fixture_text(fixture, one, "flushall");
    }
}

static void exec_succeeds_when_nothing_watched_has_changed(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set w 1");
    expect(one, "+OK\r\n$1\r\n1\r\n", "watch w absent\r\nget w");
    expect(two, "+OK\r\n", "set x 1");
    expect(one, "+OK\r\n+QUEUED\r\n*1\r\n:2\r\n", "multi\r\nincr w\r\nexec");
    /* EXEC has ended the watch; so have UNWATCH and DISCARD */
    expect(two, "+OK\r\n", "set w 5");
    expect(one, "+OK\r\n+QUEUED\r\n*1\r\n:6\r\n", "multi\r\nincr w\r\nexec");
    expect(one, "+OK\r\n+OK\r\n", "watch w\r\nunwatch");
    expect(two, "+OK\r\n", "set w 7");
    expect(one, "+OK\r\n+QUEUED\r\n*1\r\n:8\r\n", "multi\r\nincr w\r\nexec");
    expect(one, "+OK\r\n+OK\r\n+OK\r\n", "watch w\r\nmulti\r\ndiscard");
    expect(two, "+OK\r\n", "set w 9");
    expect(one, "+OK\r\n+QUEUED\r\n*1\r\n:10\r\n", "multi\r\nincr w\r\nexec");
}

/* What the server does by itself: members of a sorted set are counted. */
static void a_watched_set_that_is_being_counted_has_not_changed(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 1000; n++)
        session_fixture_text(fixture, one, "zadd z %u m%u", n, n);
    expect(one, "+OK\r\n", "watch z");
    expect(two, ":900\r\n", "zrank z m900");
    while (!strstr(session_fixture_text(fixture, two, "info stats"), "\r\nranks_counted:1000\r\n"))
        ;
    expect(one, "+OK\r\n+QUEUED\r\n*1\r\n:1000\r\n", "multi\r\nzcard z\r\nexec");
    expect(one, "+OK\r\n", "watch z");
    expect(two, ":0\r\n", "zadd z 2000 m1");
    expect(one, "+OK\r\n+QUEUED\r\n*-1\r\n", "multi\r\nzcard z\r\nexec");
    expect(one, "+OK\r\n", "watch z");
    expect(two, ":1\r\n", "zrem z m1");
    expect(one, "+OK\r\n+QUEUED\r\n*-1\r\n", "multi\r\nzcard z\r\nexec");
}

static void an_absent_watched_key_that_appears_is_a_change(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "watch a");
    expect(two, "+OK\r\n", "set a 1");
    expect(one, "+OK\r\n+QUEUED\r\n*-1\r\n", "multi\r\nset a 2\r\nexec");
}

static void a_key_written_between_two_watches_is_no_change(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "watch a");
    expect(two, "+OK\r\n", "set b 1");
    expect(one, "+OK\r\n", "watch b");
    expect(one, "+OK\r\n+QUEUED\r\n*1\r\n:2\r\n", "multi\r\nincr b\r\nexec");
}

static void a_watched_key_that_expires_is_a_change(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "set a 1 px 50\r\nwatch a");
    clock_manual_advance_ms(&fixture->clock, 50);
    expect(one, "+OK\r\n+QUEUED\r\n*-1\r\n", "multi\r\nset a 2\r\nexec");
    expect(one, "+OK\r\n", "watch a"); /* expired before: nothing changes any more */
    expect(one, "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", "multi\r\nset a 2\r\nexec");
}

static void a_write_of_ones_own_between_watch_and_exec_is_a_change(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n",
           "watch a\r\nset a 1\r\nmulti\r\nset a 2\r\nexec");
    expect(one, "$1\r\n1\r\n", "get a");
}

/* ----------------------------------------------------------------------------------- monitoring */

static void the_command_table_describes_itself(void **state)
{
    (void)state;
    expect_in(one, ":", "command count");
    expect_in(one, "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n",
              "command info get");
    expect(one, "*1\r\n$-1\r\n", "command info nosuch");
    expect_in(one, "*2\r\n$3\r\nget\r\n*10\r\n$7\r\nsummary\r\n", "command docs get nosuch");
    expect_in(one,
              "$4\r\nname\r\n$9\r\ncondition\r\n$4\r\ntype\r\n$5\r\noneof\r\n$5\r\nsince\r\n"
              "$6\r\n2.6.12\r\n$5\r\nflags\r\n*1\r\n+optional\r\n$9\r\narguments\r\n*2\r\n",
              "command docs set");
    expect_in(one, "+@read\r\n+@string\r\n+@fast\r\n", "command info get");
    expect_in(one, "$9\r\nclient|id\r\n", "command info client");
    expect(one, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "command getkeys mset a 1 b 2");
    expect(one, "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", "command getkeys del a b c");
    expect(one, "*1\r\n$1\r\nk\r\n", "command getkeys eval x 1 k arg");
    expect(one, "-ERR The command has no key arguments\r\n", "command getkeys ping");
    expect(one, "-ERR Invalid command specified\r\n", "command getkeys nosuch");
    expect(one, "-ERR Invalid number of arguments specified for command\r\n",
           "command getkeys get");
    expect(one, "*2\r\n$4\r\nexec\r\n$6\r\nexists\r\n",
           "command list filterby pattern ex[ei][cs]*");
    expect(one, "*0\r\n", "command list filterby module x");
    expect(one, "*0\r\n", "command list filterby aclcat x");
    expect(one, "*1\r\n$15\r\nobject|encoding\r\n", "command list filterby pattern object|e*");
    expect_in(one, "*1\r\n*10\r\n$15\r\nobject|encoding\r\n:3\r\n", "command info OBJECT|encoding");
    expect_in(one, "$6\r\nappend\r\n", "command list filterby aclcat STRING");
    expect(one, "-ERR syntax error\r\n", "command list filterby x y");
    expect(one, "*1\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+update\r\n",
           "command getkeysandflags set a b get");
    expect(one, "*0\r\n", "command getkeys eval x 0");
    expect_in(one, "+COMMAND <subcommand> [<arg>", "command help");
    assert_int_equal(strncmp(session_fixture_text(fixture, one, "command"), "*", 1), 0);
    assert_int_equal(strncmp(session_fixture_text(fixture, one, "command docs"), "*", 1), 0);
}

static void every_command_of_the_server_is_published(void **state)
{
    (void)state;
    const struct service *service = fixture->service;
    for (unsigned n = 0; n < service->command_count + service->subcommand_count; n++) {
        if (!service->commands[n].name)
            continue;
        assert_non_null(service->specs[n]);
        assert_int_equal(service->specs[n]->arity, service->commands[n].arity);
    }
}

static void info_has_the_lines_that_monitoring_parses(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "set a 1\r\nget a\r\nget\r\nfoo\r\nincr a\r\nget a");
    expect_in(one, "# Server\r\nredis_version:7.2.0\r\n", "info");
    expect_in(one, "perigee_version:0.1.0\r\n", "info");
    expect_in(one, "\r\nluajit:of the test\r\n", "info perigee");
    expect_in(one, "connected_clients:2\r\n", "info clients");
    expect_in(one, "\r\nmaxmemory_policy:noeviction\r\n", "info memory");
    expect_in(one, "loading:0\r\n", "info persistence");
    expect_in(one, "cmdstat_get:calls=2,usec=", "info commandstats");
    expect_in(one, "errorstat_ERR:count=2\r\n", "info errorstats");
    expect_in(one, "db0:keys=1,expires=0,avg_ttl=0\r\n", "info keyspace");
    assert_null(strstr(session_fixture_text(fixture, one, "info server"), "# Clients"));
    assert_null(strstr(session_fixture_text(fixture, one, "info"), "cmdstat_"));
    expect_in(one, "cmdstat_", "info all");
    expect(one, "$0\r\n\r\n", "info nosuch");
}

static void config_answers_what_tools_ask(void **state)
{
    (void)state;
    expect(one, "*4\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n$4\r\nsave\r\n$0\r\n\r\n",
           "config get save appendonly");
    expect(one, "*2\r\n$9\r\ndatabases\r\n$2\r\n16\r\n", "CONFIG GET databases");
    expect(one, "*2\r\n$3\r\ndir\r\n$10\r\n/in/memory\r\n", "config get dir");
    expect(one, "*0\r\n", "config get nosuch");
    expect_in(one, "$9\r\nmaxmemory\r\n$1\r\n0\r\n", "config get maxmemory*");
    expect_in(one, "$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n", "config get maxmemory*");
    expect_in(one, "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'",
              "config set nosuch 1");
    expect_in(one, "can't set immutable config", "config set appendonly no");
    expect_in(
        one,
        "-ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters",
        "config set save x");
    expect(one, "*2\r\n$4\r\n1000\r\n$1\r\n0\r\n", "time");
}

static void data_commands_wait_until_the_data_is_loaded(void **state)
{
    (void)state;
    service_loading_set(fixture->service, true);
    expect(one, "-LOADING Perigee is loading the dataset in memory\r\n", "get a");
    expect(one, "+PONG\r\n", "ping");
    service_loading_set(fixture->service, false);
    expect(one, "$-1\r\n", "get a");
}

int main(void)
{
#define WITH_SESSIONS(test) cmocka_unit_test_setup_teardown(test, sessions_setup, sessions_teardown)
    const struct CMUnitTest tests[] = {
        WITH_SESSIONS(errors_have_the_words_that_clients_look_for),
        WITH_SESSIONS(a_long_unknown_command_is_cut),
        WITH_SESSIONS(hello_tells_who_answers),
        cmocka_unit_test_setup_teardown(nothing_is_done_before_the_password_is_given,
                                        sessions_setup_password, sessions_teardown),
        cmocka_unit_test_setup_teardown(a_stranger_may_not_send_much, sessions_setup_password,
                                        sessions_teardown),
        WITH_SESSIONS(auth_without_a_password_set_says_so),
        WITH_SESSIONS(clients_are_told_apart_and_listed),
        WITH_SESSIONS(client_reply_silences),
        WITH_SESSIONS(a_transaction_runs_what_was_queued_at_once),
        WITH_SESSIONS(a_command_that_fails_in_a_transaction_undoes_only_itself),
        WITH_SESSIONS(a_mistake_while_queueing_aborts_the_transaction),
        WITH_SESSIONS(transaction_commands_out_of_place_are_errors),
        WITH_SESSIONS(exec_fails_when_a_watched_key_has_changed),
        WITH_SESSIONS(exec_fails_when_anything_of_a_large_collection_has_changed),
        WITH_SESSIONS(exec_succeeds_when_nothing_watched_has_changed),
        WITH_SESSIONS(a_watched_set_that_is_being_counted_has_not_changed),
        WITH_SESSIONS(an_absent_watched_key_that_appears_is_a_change),
        WITH_SESSIONS(a_key_written_between_two_watches_is_no_change),
        WITH_SESSIONS(a_watched_key_that_expires_is_a_change),
        WITH_SESSIONS(a_write_of_ones_own_between_watch_and_exec_is_a_change),
        WITH_SESSIONS(the_command_table_describes_itself),
        WITH_SESSIONS(every_command_of_the_server_is_published),
        WITH_SESSIONS(info_has_the_lines_that_monitoring_parses),
        WITH_SESSIONS(config_answers_what_tools_ask),
        WITH_SESSIONS(data_commands_wait_until_the_data_is_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
