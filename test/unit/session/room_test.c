/* SPDX-License-Identifier: Apache-2.0 */

/* Writes beyond maxmemory: they wait until what was evicted is free, and are refused if nothing can
 * go. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "db/checkpoint_private.h"
#include "db/memory.h"
#include "mem/heap.h"
#include "session/sessions.h"

enum { VALUE_SIZE = 1000 };

static char value[VALUE_SIZE + 1];

static int setup(void **state)
{
    (void)state;
    sessions_start(NULL, (struct service_limits){0});
    memset(value, 'v', VALUE_SIZE);
    return 0;
}

/* What a request is answered, at last. Before time goes on, those who free memory in the background have done
 * what they can: else more and more keys would go, and none would be left in the end. */
static const char *answer(struct session *session, const char *reply)
{
    while (*reply == '\0') {
        assert_int_equal(wal_wait_durable(db_wal(fixture->db), wal_clock(db_wal(fixture->db))), 0);
        db__checkpoint_wait_idle(fixture->db);
        clock_manual_advance_ms(&fixture->clock, 1);
        reply = session_fixture_take(fixture, session);
    }
    return reply;
}

#define expect_at_last(reply, session, ...) \
    assert_string_equal(answer(session, session_fixture_text(fixture, session, __VA_ARGS__)), reply)

static uint64_t info(const char *name)
{
    const char *found = strstr(session_fixture_text(fixture, two, "info everything"), name);
    assert_non_null(found);
    return strtoull(found + strlen(name), NULL, 10);
}

static uint64_t used(void)
{
    return heap_used_bytes(db_heap(fixture->db));
}

static void fill(unsigned keys)
{
    for (unsigned n = 0; n < keys; n++)
        expect_at_last("+OK\r\n", one, "set key%u %s", n, value);
}

/* So many bytes more than are in use now, or fewer. */
static void limit(const char *policy, int64_t more)
{
    expect_at_last("+OK\r\n", one, "config set maxmemory-policy %s maxmemory %llu", policy,
                   (unsigned long long)((int64_t)used() + more));
}

static void a_writer_waits_until_there_is_memory(void **state)
{
    (void)state;
    expect_at_last("+OK\r\n", one, "locktimeout 0");
    fill(500);
    limit("allkeys-lru", -100 * VALUE_SIZE);
    assert_string_equal(session_fixture_text(fixture, one, "set more %s", value), "");
    expect_at_last("+OK\r\n", two, "client setname other"); /* nobody else waits */
    assert_string_equal(answer(one, ""), "+OK\r\n");
    assert_true(info("evicted_keys:") >= 50);
    assert_true(used() <= info("\nmaxmemory:"));
    expect_at_last(":1\r\n", one, "exists more");
    /* What no run has leaves nothing: a checkpoint would keep it. */
    assert_int_equal(db_checkpoint_begun(fixture->db), 0);
}

static void of_a_flood_of_writes_none_is_refused(void **state)
{
    (void)state;
    expect_at_last("+OK\r\n", one, "locktimeout 0");
    fill(100);
    limit("allkeys-lru", 100 * VALUE_SIZE);
    fill(400);
    assert_true(info("evicted_keys:") >= 100);
}

static void transactions_and_scripts_wait_before_they_begin(void **state)
{
    (void)state;
    expect_at_last("+OK\r\n", one, "locktimeout 0");
    fill(300);
    limit("allkeys-random", -50 * VALUE_SIZE);
    expect_at_last("+OK\r\n", one, "multi");
    expect_at_last("+QUEUED\r\n", one, "set a %s", value);
    expect_at_last("+QUEUED\r\n", one, "set b %s", value);
    assert_string_equal(session_fixture_text(fixture, one, "exec"), "");
    assert_string_equal(answer(one, ""), "*2\r\n+OK\r\n+OK\r\n");
    limit("allkeys-random", -50 * VALUE_SIZE);
    const char *eval = "eval \"return redis.call('set', KEYS[1], ARGV[1])\" 1 c v";
    assert_string_equal(session_fixture_text(fixture, one, "%s", eval), "");
    assert_string_equal(answer(one, ""), "+OK\r\n");
}

static void a_writer_is_refused_when_nothing_can_go(void **state)
{
    (void)state;
    const char *oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    fill(10);
    limit("volatile-lru", -1000);
    expect_at_last(oom, one, "set more %s", value);
    expect_at_last(":1\r\n", one, "del key0"); /* frees, and is not refused */
    limit("noeviction", -1000);
    assert_string_equal(session_fixture_text(fixture, one, "set more %s", value), oom);
    assert_int_equal(info("evicted_keys:"), 0);
}

/* What a transaction that is open may still read is not free. */
static void a_writer_waits_no_longer_than_lock_timeout(void **state)
{
    (void)state;
    fill(100);
    expect_at_last("+OK\r\n", two, "begin");
    expect_at_last(":1000\r\n", two, "strlen key1");
    expect_at_last("+OK\r\n", one, "locktimeout 50");
    limit("allkeys-lru", -50 * VALUE_SIZE);
    expect_at_last("-OOM command not allowed when used memory > 'maxmemory'.\r\n", one,
                   "set more %s", value);
    expect_at_last("+OK\r\n", two, "rollback");
    expect_at_last("+OK\r\n", one, "locktimeout 0");
    expect_at_last("+OK\r\n", one, "config set maxmemory 0");
    expect_at_last("+OK\r\n", one, "set more %s", value);
}

/* Somebody who frees memory, or does not. */
static bool busy;

static bool on_busy(void *arg)
{
    (void)arg;
    return busy;
}

static struct budget_client freeing = {.name = "freeing", .busy = on_busy};

static struct budget_view seen(void)
{
    struct budget_view view;
    clock_manual_advance_ms(&fixture->clock, 1000);
    db_memory_view(fixture->db, &view);
    return view;
}

/* So much that what threads count apart is little beside it. */
static void fill_much(void)
{
    for (unsigned n = 0; n < 10; n++)
        expect_at_last("$-1\r\n", one,
                       "eval \"for i = 1, 1000 do redis.call('set', ARGV[1] .. i, ARGV[2]) end\" 0 "
                       "much%u %s",
                       n, value);
}

/* So that what is in use is so much of a hundred parts of the limit. */
static void press(uint64_t percent)
{
    limit("noeviction", (int64_t)(used() * 100 / percent - used()));
    while (seen().stage != BUDGET_SLOW || (seen().delay_ns > 0) != busy)
        sched_yield(); /* the checkpoint's thread may be looking */
}

#define expect_slowed(reply, session, ...)                                            \
    do {                                                                              \
        uint64_t before = seen().slowed;                                              \
        assert_string_equal(session_fixture_text(fixture, session, __VA_ARGS__), ""); \
        assert_int_equal(seen().slowed, before + 1);                                  \
        assert_string_equal(answer(session, ""), reply);                              \
        assert_int_equal(seen().slowed, before + 1);                                  \
    } while (0)

static void writers_are_slowed_before_memory_is_used_up(void **state)
{
    (void)state;
    fill_much();
    busy = true;
    budget_join(db_budget(fixture->db), &freeing);
    press(97);
    expect_slowed("+OK\r\n", one, "set small v");
    expect_slowed("+OK\r\n", one, "set small w");
    expect_slowed("$1\r\nw\r\n", one, "eval \"return redis.call('get', KEYS[1])\" 1 small");
    expect_at_last("+OK\r\n", one, "multi");
    expect_at_last("+QUEUED\r\n", one, "set small x");
    expect_slowed("*1\r\n+OK\r\n", one, "exec");
    uint64_t pipeline = seen().slowed; /* each of a pipeline, one behind the other */
    assert_string_equal(session_fixture_text(fixture, one, "set a 1\r\nset b 2\r\nset c 3"), "");
    for (size_t size = 0; size < strlen("+OK\r\n+OK\r\n+OK\r\n"); size += strlen(answer(one, "")))
        assert_int_equal(size % strlen("+OK\r\n"), 0);
    assert_int_equal(seen().slowed, pipeline + 3);
    uint64_t before = seen().slowed; /* who reads or deletes is not */
    assert_string_equal(session_fixture_text(fixture, two, "get small"), "$1\r\nx\r\n");
    assert_string_equal(session_fixture_text(fixture, two, "del small"), ":1\r\n");
    assert_int_equal(seen().slowed, before);
    expect_at_last("+OK\r\n", one, "config set maxmemory 0");
    assert_string_equal(session_fixture_text(fixture, one, "set small v"), "+OK\r\n");
    budget_leave(db_budget(fixture->db), &freeing);
}

static void writers_are_not_slowed_when_nobody_frees_memory(void **state)
{
    (void)state;
    fill_much();
    busy = false;
    budget_join(db_budget(fixture->db), &freeing);
    press(97);
    assert_string_equal(session_fixture_text(fixture, one, "set small v"), "+OK\r\n");
    assert_int_equal(seen().slowed, 0);
    budget_leave(db_budget(fixture->db), &freeing);
}

/* Where keys go, too, but only for as long as a checkpoint runs: memory has to last until it has ended. */
static void writers_are_slowed_while_a_checkpoint_keeps_what_was_evicted(void **state)
{
    (void)state;
    fill_much();
    limit("allkeys-lru", (int64_t)(used() / 9));
    db__checkpoint_wait_idle(fixture->db);
    assert_true(fixture->db->memory.evicts);
    assert_string_equal(session_fixture_text(fixture, one, "set small v"), "+OK\r\n");
    struct throttle_memory at = {clock_monotonic_ns(&fixture->clock.base), used(),
                                 info("\nmaxmemory:"), true};
    throttle_begin(&fixture->db->memory.throttle, &at, 10 * 1000 * 1000, 1000 * 1000);
    expect_at_last("$-1\r\n", one,
                   "eval \"for i = 1, 400 do redis.call('set', 'more' .. i, ARGV[1]) end\" 0 %s",
                   value);
    assert_string_equal(session_fixture_text(fixture, one, "set small w"), "");
    assert_string_equal(answer(one, ""), "+OK\r\n");
    throttle_end(&fixture->db->memory.throttle, &at, false);
    assert_string_equal(session_fixture_text(fixture, one, "set small v"), "+OK\r\n");
    limit("noeviction", (int64_t)used());
    assert_false(fixture->db->memory.evicts);
}

/* One that had all to write when the limit is reached would keep what is evicted for long. */
static void where_keys_go_a_checkpoint_is_made_before_they_must(void **state)
{
    (void)state;
    fill_much();
    limit("allkeys-lru", (int64_t)used());
    for (unsigned n = 0; db_checkpoint_ended(fixture->db) == 0; n++) {
        expect_at_last("$-1\r\n", one,
                       "eval \"for i = 1, 100 do redis.call('set', ARGV[1] .. i, ARGV[2]) end\" 0 "
                       "more%u %s",
                       n, value);
        assert_int_equal(info("evicted_keys:"), 0);
        clock_manual_advance_ms(&fixture->clock, 1);
        db__checkpoint_wait_idle(fixture->db);
    }
}

int main(void)
{
#define WITH_SESSIONS(test) cmocka_unit_test_setup_teardown(test, setup, sessions_teardown)
    const struct CMUnitTest tests[] = {
        WITH_SESSIONS(a_writer_waits_until_there_is_memory),
        WITH_SESSIONS(of_a_flood_of_writes_none_is_refused),
        WITH_SESSIONS(transactions_and_scripts_wait_before_they_begin),
        WITH_SESSIONS(a_writer_is_refused_when_nothing_can_go),
        WITH_SESSIONS(a_writer_waits_no_longer_than_lock_timeout),
        WITH_SESSIONS(writers_are_slowed_before_memory_is_used_up),
        WITH_SESSIONS(writers_are_not_slowed_when_nobody_frees_memory),
        WITH_SESSIONS(writers_are_slowed_while_a_checkpoint_keeps_what_was_evicted),
        WITH_SESSIONS(where_keys_go_a_checkpoint_is_made_before_they_must),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
