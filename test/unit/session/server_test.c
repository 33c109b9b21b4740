/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands of the server: what one connection does to others (CLIENT KILL, PAUSE, UNBLOCK), settings,
 * and what monitoring reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "session/session_internal.h"
#include "session/sessions.h"

static struct session *three;

static int setup(void **state)
{
    (void)state;
    sessions_start(NULL, (struct service_limits){0});
    three = session_fixture_connect(fixture, 1);
    return 0;
}

static int teardown(void **state)
{
    session_delete(three);
    return sessions_teardown(state);
}

#define expect_not_in(session, part, ...) \
    assert_null(strstr(session_fixture_text(fixture, session, __VA_ARGS__), part))

/* ------------------------------------------------------------------------------ other connections */

static void a_connection_is_killed_by_its_id(void **state)
{
    (void)state;
    expect(one, ":1\r\n", "client kill id 2");
    expect(one, ":0\r\n", "client kill id 2"); /* although its worker has not had its turn yet */
    session_fixture_run(fixture);
    assert_true(session_wants_close(two));
    assert_false(session_wants_close(three));
    expect(one, ":0\r\n", "client kill id 99");
}

static void killing_by_address_takes_the_caller_along_once_it_has_its_reply(void **state)
{
    (void)state;
    expect(one, "-ERR No such client\r\n", "client kill 1.2.3.4:5");
    expect(one, "+OK\r\n", "client kill 127.0.0.1:50000");
    session_fixture_run(fixture);
    assert_true(session_wants_close(one));
    assert_true(session_wants_close(two));
    assert_true(session_wants_close(three));
}

static void filters_of_kill_are_joined(void **state)
{
    (void)state;
    expect(one, ":0\r\n", "client kill type pubsub");
    expect(one, ":0\r\n", "client kill type normal user default addr 1.1.1.1:1");
    expect(one, ":0\r\n", "client kill type master laddr 127.0.0.1:6379");
    expect_in(two, "subscribe", "subscribe c");
    expect(one, ":1\r\n", "client kill type pubsub skipme no laddr 127.0.0.1:6379");
    session_fixture_run(fixture);
    assert_true(session_wants_close(two));
    expect(one, ":1\r\n", "client kill skipme yes user default"); /* the other is gone */
}

static void mistakes_in_kill_are_told(void **state)
{
    (void)state;
    expect(one, "-ERR client-id should be greater than 0\r\n", "client kill id 0");
    expect(one, "-ERR client-id should be greater than 0\r\n", "client kill id x");
    expect(one, "-ERR Unknown client type 'x'\r\n", "client kill type x");
    expect(one, "-ERR No such user 'x'\r\n", "client kill user x");
    expect(one, "-ERR syntax error\r\n", "client kill skipme maybe");
    expect(one, "-ERR syntax error\r\n", "client kill id 1 addr");
    expect(one, "-ERR syntax error\r\n", "client kill nosuch 1");
}

static void a_pause_holds_all_commands_until_its_end(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client pause 1000");
    expect(two, "", "get a");
    expect(two, "", "ping");
    clock_manual_advance_ms(&fixture->clock, 999);
    expect_take(two, "");
    clock_manual_advance_ms(&fixture->clock, 2);
    expect_take(two, "$-1\r\n+PONG\r\n");
    expect(one, "+PONG\r\n", "ping");
}

static void a_pause_of_writes_lets_reads_through_and_can_be_lifted(void **state)
{
    (void)state;
    expect(two, "+OK\r\n+QUEUED\r\n", "multi\r\nset a 1");
    expect(one, "+OK\r\n", "client pause 100000 write");
    expect(one, "$-1\r\n", "get a");
    expect(two, "", "exec");
    expect(three, "", "eval \"return redis.call('set', 'b', '2')\" 0");
    expect(one, "$-1\r\n", "get a");
    expect_in(one, "flags=x ", "client list id 2");
    expect(one, ":0\r\n", "client unblock 2");
    expect(one, "+OK\r\n", "client unpause");
    expect_take(two, "*1\r\n+OK\r\n");
    expect_take(three, "+OK\r\n");
}

static void longer_and_wider_pauses_win(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client pause 1000 all");
    expect(two, "", "client pause 5 write");
    expect(one, "+OK\r\n", "client unpause");
    expect_take(two, "+OK\r\n");
    clock_manual_advance_ms(&fixture->clock, 6);
    expect(one, "+OK\r\n", "set a 1");
    expect(one, "-ERR timeout is negative\r\n", "client pause -1");
    expect(one, "-ERR timeout is not an integer or out of range\r\n", "client pause x");
    expect(one, "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n", "client pause 1 x");
    expect(one, "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n", "client pause x x");
}

static void a_request_waits_no_longer_than_the_pause_that_is(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client pause 100000");
    expect(two, "", "ping");
    expect(three, "", "set a 1");
    expect(one, "+OK\r\n+OK\r\n", "client unpause\r\nclient pause 1000 write");
    expect_take(two, "+PONG\r\n");
    expect_take(three, "");
    clock_manual_advance_ms(&fixture->clock, 1001);
    expect_take(three, "+OK\r\n");
}

static unsigned looks; /* at the clock, until another pause begins */

static uint64_t pause_at_a_look(struct clock *clock)
{
    (void)clock;
    if (looks > 0 && --looks == 0)
        service__pause(fixture->service, 1000, true);
    return clock_monotonic_ns(&fixture->clock.base);
}

static uint64_t manual_ms(struct clock *clock)
{
    (void)clock;
    return clock_realtime_ms(&fixture->clock.base);
}

static void a_pause_that_begins_while_another_is_found_over_stays(void **state)
{
    (void)state;
    struct clock watched = {.monotonic_ns = pause_at_a_look, .realtime_ms = manual_ms};
    struct clock *clock = fixture->service->options.clock;
    fixture->service->options.clock = &watched;
    unsigned reached = 0;
    for (unsigned look = 1; reached + 1 == look; look++) {
        expect(one, "+OK\r\n", "client pause 10");
        clock_manual_advance_ms(&fixture->clock, 11);
        looks = look;
        session_fixture_text(fixture, two, "ping");
        if (looks == 0) {
            expect(three, "", "ping");
            reached = look;
        }
        looks = 0;
        expect(one, "+OK\r\n", "client unpause");
        session_fixture_take(fixture, two);
        session_fixture_take(fixture, three);
    }
    assert_true(reached > 0);
    fixture->service->options.clock = clock;
}

static void a_paused_request_of_a_connection_that_ends_is_given_up(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client pause 1000");
    expect(two, "", "set a 1");
    expect(one, "+OK\r\n", "client unpause");
    expect_take(two, "+OK\r\n");
    expect(one, "+OK\r\n", "client pause 1000 write");
    expect(two, "", "set a 2");
    session_end(two);
    expect(one, "$1\r\n1\r\n", "get a");
}

static void who_waits_for_a_lock_can_be_unblocked(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "", "set a 2");
    expect(three, "", "set a 3");
    expect_in(one, "flags=b ", "client list id 2");
    expect(one, ":1\r\n", "client unblock 2 error");
    expect_take(two, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    expect(one, ":1\r\n", "client unblock 3 timeout");
    expect_in(three, "LOCKTIMEOUT", "ping");
    expect(one, ":0\r\n", "client unblock 3");
    expect(one, "+OK\r\n", "commit");
    expect(two, "$1\r\n1\r\n", "get a");
    expect(one, "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n", "client unblock 3 x");
    expect(one, "-ERR value is not an integer or out of range\r\n", "client unblock x");
}

static void what_a_connection_says_of_itself_is_listed(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client no-evict on");
    expect(one, "+OK\r\n", "client no-touch on");
    expect_in(two, "flags=eT ", "client list id 1");
    expect(one, "+OK\r\n", "client no-evict off");
    expect(one, "-ERR syntax error\r\n", "client no-touch maybe");
    expect_in(two, "flags=T ", "client list id 1");
    expect(one, ":-1\r\n", "client getredir");
    expect(
        one,
        "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n",
        "client trackinginfo");
    expect(one, "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n",
           "client setinfo lib-name \"a b\"");
    expect_in(one, "+CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n",
              "client help");
}

/* --------------------------------------------------------------------------------------- settings */

static void settings_are_read_and_set_several_at_once(void **state)
{
    (void)state;
    expect(one, "+OK\r\n",
           "config set hash-max-ziplist-entries 7 maxmemory 1mb latency-tracking no");
    expect(one, "*2\r\n$25\r\nhash-max-listpack-entries\r\n$1\r\n7\r\n",
           "config get hash-max-listpack-entries");
    assert_int_equal(load_relaxed(&fixture->service->config.hash_max_listpack_entries), 7);
    expect(two, "*4\r\n$16\r\nlatency-tracking\r\n$2\r\nno\r\n$9\r\nmaxmemory\r\n$7\r\n1048576\r\n",
           "config get maxmemory latency-tracking");
    expect(one, "+OK\r\n", "config set maxmemory 0 list-max-listpack-size -3");
    assert_int_equal(redis_config_list_bytes(&fixture->service->config), 16384);
    expect(one, "+OK\r\n", "config set notify-keyspace-events KEA maxmemory-policy allkeys-lru");
    expect(one, "*2\r\n$22\r\nnotify-keyspace-events\r\n$3\r\nAKE\r\n", "config get NOTIFY-*");
    expect_in(one, "maxmemory_policy:allkeys-lru", "info memory");
    expect(one, "+OK\r\n", "config set save \"\" appendonly yes");
}

static void the_process_logs_as_much_as_is_set(void **state)
{
    (void)state;
    enum log_level before = log_level_get();
    expect(one, "+OK\r\n", "config set loglevel Debug");
    assert_int_equal(log_level_get(), LOG_DEBUG);
    expect(one, "*2\r\n$8\r\nloglevel\r\n$5\r\ndebug\r\n", "config get loglevel");
    expect(one, "+OK\r\n", "config set loglevel nothing");
    assert_int_equal(log_level_get(), LOG_ERROR);
    expect_in(one, "- argument(s) must be one of the following: debug, ",
              "config set loglevel loud");
    expect_in(one, "nothing", "config get loglevel");
    log_level_set(before);
}

static void nothing_is_set_when_one_value_is_wrong(void **state)
{
    (void)state;
    expect(one,
           "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a "
           "memory value\r\n",
           "config set slowlog-max-len 5 maxmemory x");
    expect(one, "*2\r\n$15\r\nslowlog-max-len\r\n$3\r\n128\r\n", "config get slowlog-max-len");
    expect(one, "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n",
           "config set slowlog-max-len 5 nosuch 1");
    expect(one, "-ERR syntax error\r\n", "config set slowlog-max-len 5 timeout");
    expect_in(one, "- duplicate parameter\r\n", "config set timeout 5 TIMEOUT 6");
    expect_in(one, "- can't set immutable config\r\n", "config set databases 3");
    expect_in(one, "- can't set immutable config\r\n", "config set dir /tmp");
    expect_in(one, "- argument couldn't be parsed into an integer\r\n", "config set timeout x");
    expect_in(one, "- argument must be between 0 and 2147483647 inclusive\r\n",
              "config set timeout -1");
    expect_in(one, "- argument must be 'yes' or 'no'\r\n", "config set latency-tracking maybe");
    expect_in(one, "- argument(s) must be one of the following: volatile-lru, volatile-lfu, ",
              "config set maxmemory-policy x");
    expect_in(one, "- Invalid event class character. Use 'Ag$lshzxeKEtmdn'.\r\n",
              "config set notify-keyspace-events q");
    expect_in(one, "parameters should sit between [0.0,100.0]\r\n",
              "config set latency-tracking-info-percentiles 101");
    expect(one, "-ERR The server is running without a config file\r\n", "config rewrite");
}

static void idle_connections_are_closed_when_that_is_set(void **state)
{
    (void)state;
    expect_in(three, "subscribe", "subscribe c");
    clock_manual_advance_ms(&fixture->clock, 9000);
    expect(one, "+OK\r\n", "config set timeout 10");
    session_fixture_run(fixture);
    clock_manual_advance_ms(&fixture->clock, 2000);
    session_fixture_run(fixture);
    assert_false(session_wants_close(one));
    assert_true(session_wants_close(two));
    assert_false(session_wants_close(three));
}

static void no_more_clients_than_maxclients_are_served(void **state)
{
    (void)state;
    struct session_peer peer = {.address = "a", .local_address = "b", .fd = 1};
    struct session *more;
    expect(one, "+OK\r\n", "config set maxclients 3");
    assert_int_equal(session_new(fixture->workers[0], &peer, &more), ERROR_BUSY);
    expect(one, "+OK\r\n", "config set maxclients 4");
    assert_int_equal(session_new(fixture->workers[0], &peer, &more), 0);
    session_delete(more);
}

static void statistics_can_begin_anew(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "get a\r\nget\r\nnosuch");
    expect_in(one, "cmdstat_get:calls=1", "info commandstats");
    expect_in(one, "latency_percentiles_usec_get:p50=", "info latencystats");
    expect(two, "+OK\r\n", "config resetstat");
    expect_not_in(one, "cmdstat_get:", "info commandstats");
    expect_not_in(one, "usec_get:", "info latencystats");
    expect_not_in(one, "errorstat", "info errorstats");
    expect_in(one, "total_connections_received:0\r\n", "info stats");
    expect_in(one, "total_reads_processed:5\r\n", "info stats"); /* one for each request since */
    expect_not_in(one, "total_writes_processed:0\r\n", "info stats");
    session_fixture_text(fixture, one, "get a");
    expect_in(one, "cmdstat_get:calls=1", "info commandstats");
}

/* ------------------------------------------------------------------------------- slow requests */

static void slow_requests_are_logged_with_their_arguments(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "config set slowlog-log-slower-than 0 slowlog-max-len 3");
    expect(one, "+OK\r\n", "slowlog reset");
    expect(one, "+OK\r\n", "client setname me");
    expect(one, "$-1\r\n", "get a");
    expect_in(one, "*2\r\n$3\r\nget\r\n$1\r\na\r\n$15\r\n127.0.0.1:50000\r\n$2\r\nme\r\n",
              "slowlog get 1");
    expect(one, ":3\r\n", "slowlog len");
    char text[400];
    memset(text, 'x', 300);
    text[300] = 0;
    expect(one, "$-1\r\n", "get %s", text);
    expect_in(one, "xx... (172 more bytes)\r\n", "slowlog get 1");
    expect(one, ":0\r\n",
           "exists 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 "
           "26 27 28 29 30 31 32 33");
    expect_in(one, "$2\r\n30\r\n$22\r\n... (3 more arguments)\r\n", "slowlog get 1");
    expect(one, "-ERR count should be greater than or equal to -1\r\n", "slowlog get -2");
    expect_in(one, "*3\r\n*6\r\n", "slowlog get -1");
    expect(one, "+OK\r\n", "config set slowlog-log-slower-than -1");
    expect(one, "+OK\r\n", "slowlog reset");
    expect(one, "$-1\r\n", "get a");
    expect(one, ":0\r\n", "slowlog len");
    expect(one, "*0\r\n", "slowlog get");
}

static void passwords_are_not_in_the_slow_log(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "config set slowlog-log-slower-than 0");
    session_fixture_text(fixture, one, "auth geheim");
    expect_in(one, "$4\r\nauth\r\n$10\r\n(redacted)\r\n", "slowlog get 1");
    session_fixture_text(fixture, one, "hello 3 setname x auth default geheim");
    expect_not_in(one, "geheim", "slowlog get");
}

static void latency_is_sampled_above_its_threshold(void **state)
{
    (void)state;
    expect(one, "*0\r\n", "latency latest");
    expect_in(one, "monitoring is disabled", "latency doctor");
    expect(one, "+OK\r\n", "config set latency-monitor-threshold 100");
    session__latency_add(fixture->service, true, 150);
    session__latency_add(fixture->service, true, 120);
    clock_manual_advance_ms(&fixture->clock, 5000);
    session__latency_add(fixture->service, true, 110);
    expect(one, "*1\r\n*4\r\n$12\r\nfast-command\r\n:1005\r\n:110\r\n:150\r\n", "latency latest");
    expect(one, "*2\r\n*2\r\n:1000\r\n:150\r\n*2\r\n:1005\r\n:110\r\n",
           "latency history fast-command");
    expect(one, "*0\r\n", "latency history nosuch");
    expect_in(one, "fast-command - high 150 ms, low 110 ms (all time high 150 ms)\n",
              "latency graph fast-command");
    expect(one, "-ERR No samples available for event 'command'\r\n", "latency graph command");
    expect_in(one, "fast-command: 2 latency spikes", "latency doctor");
    expect(one, ":0\r\n", "latency reset command");
    expect(one, ":1\r\n", "latency reset");
    expect(one, "*0\r\n", "latency latest");
}

static void histograms_tell_how_long_commands_take(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "set a 1\r\nget a\r\nget a");
    session_fixture_text(fixture, two, "get a");
    expect_in(one, "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:3\r\n$14\r\nhistogram_usec\r\n*",
              "latency histogram get nosuch");
    expect_in(one, "$3\r\nset\r\n*4\r\n", "latency histogram");
    expect(one, "*0\r\n", "latency histogram nosuch mset");
}

/* --------------------------------------------------------------------------------------- MONITOR */

static void who_monitors_sees_what_others_execute(void **state)
{
    (void)state;
    expect(two, "+OK\r\n", "monitor");
    session_fixture_text(fixture, one,
                         "set \"a b\" \"\\x01\\n\\\"\"\r\nconfig get nosuch\r\nselect 3");
    session_fixture_text(fixture, one, "hello 2 auth default geheim");
    expect_take(two, "+1000.000000 [0 127.0.0.1:50000] \"set\" \"a b\" \"\\x01\\n\\\"\"\r\n"
                     "+1000.000000 [3 127.0.0.1:50000] \"select\" \"3\"\r\n"
                     "+1000.000000 [3 127.0.0.1:50000] \"hello\" \"2\" \"auth\" "
                     "\"(redacted)\" \"(redacted)\"\r\n");
    expect_in(one, "flags=O ", "client list id 2");
    session_fixture_take(fixture, two);
    session_fixture_text(fixture, one, "multi\r\nget a\r\nexec");
    expect_take(two, "+1000.000000 [3 127.0.0.1:50000] \"multi\"\r\n"
                     "+1000.000000 [3 127.0.0.1:50000] \"get\" \"a\"\r\n"
                     "+1000.000000 [3 127.0.0.1:50000] \"exec\"\r\n");
    expect_in(two, "+RESET\r\n", "reset");
    session_fixture_take(fixture, two);
    session_fixture_text(fixture, one, "get a");
    expect_take(two, "");
}

static void nobody_pays_for_monitoring_when_nobody_does(void **state)
{
    (void)state;
    struct session *more = session_fixture_connect(fixture, 2);
    uint64_t before = load_relaxed(&fixture->service->slow_ticks);
    expect(more, "+OK\r\n", "monitor");
    assert_int_equal(load_relaxed(&fixture->service->slow_ticks), 0);
    session_delete(more);
    assert_int_equal(load_relaxed(&fixture->service->slow_ticks), before);
    assert_int_equal(load_relaxed(&fixture->service->attention), 0);
}

/* ---------------------------------------------------------------------------------- what is left */

static void memory_tells_what_a_key_takes(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set a 12345678");
    expect(one, ":100\r\n", "memory usage a");
    expect(one, ":100\r\n", "memory usage a samples 0");
    expect(one, "$-1\r\n", "memory usage nosuch");
    expect(one, "-ERR syntax error\r\n", "memory usage a samples -1");
    expect(one, "-ERR syntax error\r\n", "memory usage a samples");
    expect(one, "+OK\r\n+QUEUED\r\n*1\r\n:100\r\n", "multi\r\nmemory usage a\r\nexec");
    expect_in(one, "$10\r\nkeys.count\r\n:1\r\n", "memory stats");
    expect(one, "+OK\r\n", "memory purge");
    expect_in(one, "any memory issue", "memory doctor");
    expect_in(one, "bytes resident", "memory malloc-stats");
}

static void a_server_without_replicas_says_so(void **state)
{
    (void)state;
    expect(one, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", "role");
    expect(one, ":0\r\n", "wait 0 0");
    expect(two, "", "wait 1 500");
    clock_manual_advance_ms(&fixture->clock, 501);
    expect_take(two, ":0\r\n");
    expect(two, "", "wait 1 0");
    expect(one, ":1\r\n", "client unblock 2");
    expect_take(two, ":0\r\n");
    expect(one, "-ERR timeout is negative\r\n", "wait 1 -1");
    expect(one, "-ERR value is not an integer or out of range\r\n", "wait x 0");
    expect(one, "+OK\r\n", "replicaof no one");
    expect(one, "-ERR FAILOVER requires connected replicas.\r\n", "failover");
    expect(one, "-ERR No failover in progress.\r\n", "failover abort");
    expect(one, "-ERR This instance has cluster support disabled\r\n", "cluster info");
    expect(one, "-ERR unknown subcommand 'nosuch'. Try CLUSTER HELP.\r\n", "cluster nosuch");
    expect(one, "*0\r\n", "module list");
    expect_in(one, "-ERR MODULE command not allowed.", "module load x");
    expect_in(one, "Redis ver. 7.2.0\n", "lolwut version 5 1 1 1");
    expect(one, "+Background append only file rewriting started\r\n", "bgrewriteaof");
}

static void waitaof_waits_for_the_log(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set a 1");
    expect(one, "*2\r\n:1\r\n:0\r\n", "waitaof 0 0 0");
    expect(one, "*2\r\n:1\r\n:0\r\n", "waitaof 1 0 0");
    expect(two, "", "waitaof 1 1 100");
    clock_manual_advance_ms(&fixture->clock, 101);
    expect_take(two, "*2\r\n:1\r\n:0\r\n");
    expect(one, "-ERR value is out of range, must between 0 and 1\r\n", "waitaof 2 0 0");
    expect(one, "-ERR value is out of range, must be positive\r\n", "waitaof 0 -1 0");
}

static void settings_for_what_is_not_there_are_kept(void **state)
{
    (void)state;
    expect(one, "+OK\r\n",
           "config set stop-writes-on-bgsave-error no activerehashing no hz 50 "
           "lazyfree-lazy-expire YES");
    expect(two, "*2\r\n$2\r\nhz\r\n$2\r\n50\r\n", "config get hz");
    expect(two, "*2\r\n$27\r\nstop-writes-on-bgsave-error\r\n$2\r\nno\r\n",
           "config get stop-writes-*");
    expect(two, "*2\r\n$20\r\nlazyfree-lazy-expire\r\n$3\r\nyes\r\n",
           "config get lazyfree-lazy-expire");
    expect(two, "*2\r\n$22\r\nlazyfree-lazy-eviction\r\n$2\r\nno\r\n",
           "config get lazyfree-lazy-eviction");
    expect(one, "+OK\r\n", "config set lua-time-limit 250");
    expect(two, "*2\r\n$20\r\nbusy-reply-threshold\r\n$3\r\n250\r\n",
           "config get busy-reply-threshold");
    expect(two, "*2\r\n$14\r\nlua-time-limit\r\n$3\r\n250\r\n", "config get lua-time-limit");
    expect_in(one, "- argument must be between 0 and ", "config set busy-reply-threshold -1");
    expect_in(one, "- argument must be 'yes' or 'no'\r\n", "config set rdbcompression maybe");
    expect_in(one, "- argument couldn't be parsed into an integer\r\n",
              "config set repl-timeout x");
    expect_in(one, "$8\r\nloglevel\r\n$", "config get loglevel");
}

static void debug_helps_the_tests_of_clients(void **state)
{
    (void)state;
    expect(two, "", "debug sleep 0.5");
    expect(one, "+PONG\r\n", "ping");
    clock_manual_advance_ms(&fixture->clock, 501);
    expect_take(two, "+OK\r\n");
    expect(one, "+OK\r\n", "debug set-active-expire 0");
    assert_false(load_relaxed(&fixture->service->config.active_expire));
    expect(one, ":12345\r\n", "debug protocol integer");
    expect(one, "-ERR text\r\n", "debug error \"ERR text\"");
    expect_in(one, "Try DEBUG HELP.", "debug nosuch");
    expect_in(one, "+DEBUG <subcommand>", "debug help");
    expect(one, "-ERR no such key\r\n", "debug object none");
    expect(one, "+OK\r\n", "set k abcdef");
    expect_in(one, "+Value at:0x", "debug object k");
    expect_in(one, " refcount:1 encoding:embstr serializedlength:7 lru:", "debug object k");
    expect_in(one, " lru_seconds_idle:0\r\n", "debug object k");
    expect(one, "$39\r\nSome real reply following the attribute\r\n", "debug protocol attrib");
    expect(one, "-ERR RESP2 is not supported by this command\r\n", "debug protocol push");
}

static void debug_populate_makes_the_keys_that_are_not_there(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set p:1 mine");
    expect(one, "+OK\r\n", "debug populate 12 p");
    expect(one, ":12\r\n", "dbsize");
    expect(one, "*3\r\n$7\r\nvalue:0\r\n$4\r\nmine\r\n$8\r\nvalue:11\r\n", "mget p:0 p:1 p:11");
    expect(one, "+OK\r\n", "debug populate 11 q 4");
    expect(one, "*2\r\n$4\r\nvalu\r\n$4\r\nvalu\r\n", "mget q:0 q:10");
    expect(one, "+OK\r\n", "debug populate 11 r 10");
    expect(one, ":10\r\n", "strlen r:10");
    expect(one, "$8\r\nvalue:10\r\n", "getrange r:10 0 7");
    expect(one, "+OK\r\n", "debug populate 2");
    expect(one, "$7\r\nvalue:1\r\n", "get key:1");
    expect(one, "-ERR value is not an integer or out of range\r\n", "debug populate x");
    expect(one, "-ERR value is out of range, must be positive\r\n", "debug populate 1 p -1");
}

/* Nobody may believe that it is only tried. */
static void a_script_that_is_to_be_debugged_is_refused_with_the_connection(void **state)
{
    (void)state;
    const char *refused = "-ERR scripts are not debugged in Redis's protocol: perigee console runs "
                          "procedures and other Lua line by line, with \\break and \\step\r\n";
    char ended[256];
    expect(two, refused, "script debug yes");
    expect(two, "+OK\r\n", "script debug no");
    expect(two, ":1\r\n", "eval \"return 1\" 0");
    expect(two, refused, "script debug sync");
    snprintf(ended, sizeof ended, "*1\r\n+<endsession>\r\n%s", refused);
    expect(two, ended, "eval \"return redis.call('set', 'k', 'v')\" 0");
    expect(one, ":0\r\n", "exists k");
}

static void lookups_and_keys_that_expire_are_counted(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "set a 1\r\nset b 1 px 100000\r\nset c 1 px 300000");
    session_fixture_text(fixture, one, "get a\r\nget no\r\nmget a no b\r\nexists no\r\nwatch a no");
    expect_in(two, "\r\nkeyspace_hits:3\r\nkeyspace_misses:3\r\n", "info stats");
    session_fixture_text(fixture, two, "multi\r\nget a\r\nset no 1\r\ninfo keyspace\r\nexec");
    expect_in(one, "\r\nkeyspace_hits:4\r\nkeyspace_misses:3\r\n", "info stats");
    session_fixture_text(fixture, one, "eval \"return redis.call('get', 'a')\" 0");
    expect_in(two, "\r\nkeyspace_hits:5\r\nkeyspace_misses:3\r\n", "info stats");
    const char *keys = session_fixture_text(fixture, one, "info keyspace");
    const char *average = strstr(keys, "db0:keys=4,expires=2,avg_ttl=");
    assert_non_null(average);
    assert_in_range(strtoul(strstr(average, "avg_ttl=") + 8, NULL, 10), 100000, 300000);
    expect(one, "+OK\r\n", "config resetstat");
    expect_in(two, "\r\nkeyspace_hits:0\r\nkeyspace_misses:0\r\n", "info stats");
}

static void what_a_connection_holds_is_listed(void **state)
{
    (void)state;
    static const char PART[] = "*2\r\n$3\r\nGET\r\n$100\r\nabc", WHOLE[] = "get big\r\n";
    char big[1001];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    expect_in(one, " qbuf=0 qbuf-free=", "client list id 2");
    session_fixture_bytes(fixture, two, PART, sizeof PART - 1);
    expect_in(one, " qbuf=22 qbuf-free=", "client list id 2");
    expect_in(one, " multi-mem=0 ", "client list id 3");
    expect(three, "+OK\r\n+QUEUED\r\n", "multi\r\nset big %s", big);
    expect_not_in(one, " multi-mem=0 ", "client list id 3");
    expect(three, "*1\r\n+OK\r\n", "exec");
    expect_in(one, " multi-mem=0 ", "client list id 3");
    expect_in(one, " omem=0 ", "client list id 3");
    session_on_bytes(three, WHOLE, sizeof WHOLE - 1);
    expect_in(one, " obl=1009 ", "client list id 3");
    expect_in(one, " omem=1009 tot-mem=", "client list id 3");
    assert_int_equal(strlen(session_fixture_take(fixture, three)), 1009);
    expect_in(one, " obl=0 ", "client list id 3");
}

int main(void)
{
#define WITH_SESSIONS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_SESSIONS(a_connection_is_killed_by_its_id),
        WITH_SESSIONS(killing_by_address_takes_the_caller_along_once_it_has_its_reply),
        WITH_SESSIONS(filters_of_kill_are_joined),
        WITH_SESSIONS(mistakes_in_kill_are_told),
        WITH_SESSIONS(a_pause_holds_all_commands_until_its_end),
        WITH_SESSIONS(a_pause_of_writes_lets_reads_through_and_can_be_lifted),
        WITH_SESSIONS(longer_and_wider_pauses_win),
        WITH_SESSIONS(a_request_waits_no_longer_than_the_pause_that_is),
        WITH_SESSIONS(a_pause_that_begins_while_another_is_found_over_stays),
        WITH_SESSIONS(a_paused_request_of_a_connection_that_ends_is_given_up),
        WITH_SESSIONS(who_waits_for_a_lock_can_be_unblocked),
        WITH_SESSIONS(what_a_connection_says_of_itself_is_listed),
        WITH_SESSIONS(settings_are_read_and_set_several_at_once),
        WITH_SESSIONS(the_process_logs_as_much_as_is_set),
        WITH_SESSIONS(nothing_is_set_when_one_value_is_wrong),
        WITH_SESSIONS(idle_connections_are_closed_when_that_is_set),
        WITH_SESSIONS(no_more_clients_than_maxclients_are_served),
        WITH_SESSIONS(statistics_can_begin_anew),
        WITH_SESSIONS(slow_requests_are_logged_with_their_arguments),
        WITH_SESSIONS(passwords_are_not_in_the_slow_log),
        WITH_SESSIONS(latency_is_sampled_above_its_threshold),
        WITH_SESSIONS(histograms_tell_how_long_commands_take),
        WITH_SESSIONS(who_monitors_sees_what_others_execute),
        WITH_SESSIONS(nobody_pays_for_monitoring_when_nobody_does),
        WITH_SESSIONS(memory_tells_what_a_key_takes),
        WITH_SESSIONS(a_server_without_replicas_says_so),
        WITH_SESSIONS(waitaof_waits_for_the_log),
        WITH_SESSIONS(settings_for_what_is_not_there_are_kept),
        WITH_SESSIONS(debug_helps_the_tests_of_clients),
        WITH_SESSIONS(debug_populate_makes_the_keys_that_are_not_there),
        WITH_SESSIONS(a_script_that_is_to_be_debugged_is_refused_with_the_connection),
        WITH_SESSIONS(lookups_and_keys_that_expire_are_counted),
        WITH_SESSIONS(what_a_connection_holds_is_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
