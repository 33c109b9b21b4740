/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests that wait for keys: who is served, in which order, and how waiting ends. The last test has
 * a thread for each worker.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "session/session_internal.h"
#include "session/sessions.h"

static struct session *three, *four;

static int setup(void **state)
{
    (void)state;
    sessions_start(NULL, (struct service_limits){.lock_timeout_ms = 10000});
    three = session_fixture_connect(fixture, 2);
    four = session_fixture_connect(fixture, 0);
    return 0;
}

static int teardown(void **state)
{
    session_delete(three);
    session_delete(four);
    assert_int_equal(load_relaxed(&fixture->service->interest.waiting), 0);
    return sessions_teardown(state);
}

#define POPPED(key, item) "*2\r\n$1\r\n" key "\r\n$1\r\n" item "\r\n"
#define NOTHING           "*-1\r\n"
#define WRONGTYPE         "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"

static void who_waits_gets_what_is_pushed(void **state)
{
    (void)state;
    expect(one, "", "blpop k 0");
    expect(four, "", "brpop none k 0");
    expect(two, ":1\r\n", "rpush k a");
    expect_take(one, POPPED("k", "a"));
    expect_take(four, "");
    expect(two, ":0\r\n", "exists k");
    expect(two, ":1\r\n", "rpush k b");
    expect_take(four, POPPED("k", "b"));
    expect(two, ":1\r\n", "rpush k c");
    expect_take(one, "");
    expect(one, POPPED("k", "c"), "blpop k 0");
}

static void several_are_served_in_the_order_of_waiting(void **state)
{
    (void)state;
    expect(three, "", "blpop k 0");
    expect(one, "", "blpop j k 0");
    expect(two, "", "brpop k 0");
    expect(four, ":3\r\n", "rpush k a b c");
    expect_take(three, POPPED("k", "a"));
    expect_take(one, POPPED("k", "b"));
    expect_take(two, POPPED("k", "c"));
    expect(four, ":0\r\n", "exists k");
}

static void the_first_of_its_keys_that_has_something_serves(void **state)
{
    (void)state;
    expect(one, "", "blmpop 0 2 a b left count 2");
    expect(two, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:3\r\n:1\r\n",
           "multi\r\nrpush b 1 2 3\r\nrpush a 4\r\nexec");
    expect_take(one, "*2\r\n$1\r\na\r\n*1\r\n$1\r\n4\r\n");
    expect(one, "*2\r\n$1\r\nb\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n", "blmpop 0 2 a b left count 2");
}

static void time_is_over_at_last(void **state)
{
    (void)state;
    expect(one, "", "blpop k 1.5");
    expect(two, "", "brpoplpush k l 2");
    expect(three, "", "blmove k l left left 0");
    clock_manual_advance_ms(&fixture->clock, 1499);
    expect_take(one, "");
    clock_manual_advance_ms(&fixture->clock, 1);
    expect_take(one, NOTHING);
    expect_take(two, "");
    clock_manual_advance_ms(&fixture->clock, 500);
    expect_take(two, NOTHING);
    clock_manual_advance_ms(&fixture->clock, 1000000);
    expect_take(three, "");
    expect(one, ":1\r\n", "lpush k x");
    expect_take(three, "$1\r\nx\r\n");
    expect(one, "*1\r\n$1\r\nx\r\n", "lrange l 0 -1");
    expect(one, "-ERR timeout is negative\r\n", "blpop k -1");
    expect(one, "-ERR timeout is not a float or out of range\r\n", "blpop k soon");
}

static void nobody_waits_inside_of_a_transaction_or_a_script(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n*-1\r\n$-1\r\n",
           "multi\r\nblpop k 0\r\nblmove k l left left 0\r\nexec");
    expect(one, "+OK\r\n*-1\r\n+OK\r\n", "begin\r\nblpop k 0\r\nrollback");
    expect(one, "$-1\r\n", "eval \"return redis.call('blmpop', 0, 1, 'k', 'left')\" 0");
    /* Redis 7.2 does not have this one in scripts */
    expect(one, "-ERR This Redis command is not allowed from script\r\n",
           "eval \"local r = redis.pcall('blmove', 'k', 'l', 'left', 'left', 0) return {err = "
           "r.err}\" 0");
}

static void requests_behind_one_that_waits_are_run_after_it(void **state)
{
    (void)state;
    expect(one, "", "blpop k 0\r\nset s x\r\nget s");
    expect(two, "$-1\r\n", "get s");
    expect(two, ":1\r\n", "lpush k a");
    expect_take(one, POPPED("k", "a") "+OK\r\n$1\r\nx\r\n");
}

/* It had begun before anybody waited, and ends long after. */
static void a_transaction_that_was_open_already_wakes_too(void **state)
{
    (void)state;
    expect(two, "+OK\r\n:1\r\n", "begin\r\nlpush k a");
    expect(one, "", "blpop k 0");
    expect(two, "+OK\r\n", "commit");
    expect_take(one, POPPED("k", "a"));
    expect(two, "+OK\r\n:1\r\n", "begin\r\nlpush k a");
    expect(one, "", "blpop k 0");
    expect(two, "+OK\r\n", "rollback");
    expect_take(one, "");
    expect(two, ":1\r\n", "lpush k b");
    expect_take(one, POPPED("k", "b"));
}

static void what_is_taken_in_the_same_transaction_serves_nobody(void **state)
{
    (void)state;
    expect(one, "", "blpop k 0");
    expect(two, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:1\r\n",
           "multi\r\nlpush k a\r\ndel k\r\nexec");
    expect_take(one, "");
    expect(two, ":1\r\n", "lpush k b");
    expect_take(one, POPPED("k", "b"));
}

static void another_type_is_an_error_at_first_and_nothing_later(void **state)
{
    (void)state;
    expect(two, "+OK\r\n", "set s x");
    expect(one, WRONGTYPE, "blpop s 0");
    expect(one, "", "blpop k l 0");
    expect(two, "+OK\r\n", "set k x");
    expect_take(one, "");
    expect(two, ":1\r\n", "rpush l a");
    expect_take(one, POPPED("l", "a"));
    expect(one, "", "blmove m s left left 0");
    expect(two, ":1\r\n", "rpush m a");
    expect_take(one, WRONGTYPE);
    expect(two, ":1\r\n", "llen m");
}

static void a_move_serves_who_waits_for_its_destination(void **state)
{
    (void)state;
    expect(one, "", "blpop b 0");
    expect(two, "", "blmove a b left right 0");
    expect(three, ":2\r\n", "rpush a x y");
    expect_take(two, "$1\r\nx\r\n");
    expect_take(one, POPPED("b", "x"));
    expect(three, ":1\r\n", "llen a");
}

static void who_goes_away_leaves_no_trace(void **state)
{
    (void)state;
    expect(one, "", "blpop k 0");
    expect(two, "", "blpop k 0");
    session_delete(one);
    one = NULL;
    expect(three, ":1\r\n", "rpush k a");
    expect_take(two, POPPED("k", "a"));
}

/* Something has arrived for it, but it goes before it has looked. */
static void who_goes_away_in_its_turn_leaves_it_to_the_next(void **state)
{
    (void)state;
    expect(one, "", "blpop k 0");
    expect(two, "", "blpop k 0");
    static const char PUSH[] = "rpush k a\r\n";
    session_on_bytes(three, PUSH, sizeof PUSH - 1);
    session_delete(one);
    one = NULL;
    expect_take(three, ":1\r\n");
    expect_take(two, POPPED("k", "a"));
}

static void who_is_unblocked_has_waited_in_vain(void **state)
{
    (void)state;
    expect(one, "", "blpop k 0");
    expect(two, "", "blpop k 0");
    assert_true(session__unblock(one, false));
    assert_true(session__unblock(two, true));
    assert_false(session__unblock(three, true));
    expect_take(one, NOTHING);
    expect_take(two, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    assert_false(session__unblock(one, false));
    expect(three, ":1\r\n", "rpush k a");
    expect(one, POPPED("k", "a"), "blpop k 0");
}

static void databases_are_apart(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "select 1\r\nblpop k 0");
    expect(two, ":1\r\n", "rpush k a");
    expect_take(one, "");
    expect(two, "+OK\r\n:1\r\n", "select 1\r\nrpush k b");
    expect_take(one, POPPED("k", "b"));
}

static void a_session_that_is_told_to_hurry_ends_without_a_reply(void **state)
{
    (void)state;
    expect(one, "", "blpop k 0\r\nset after 1");
    session_hurry(one);
    expect_take(one, "");
    assert_true(session_wants_close(one));
    expect(two, "$-1\r\n", "get after");
    expect(two, ":1\r\n", "rpush k a");
    expect(two, ":1\r\n", "llen k");
}

/* ---------------------------------------------------------------------------- many at one time */

enum { THREADS = 4, CLIENTS = 6, PUSHES = 300, KEYS = 3 };

struct crowd {
    _Atomic unsigned popped; /* of all consumers together */
    _Atomic bool over, wrong;
    _Atomic bool taken[THREADS * PUSHES];
};

struct member {
    struct crowd *crowd;
    unsigned number;
    struct session_worker *worker;
    struct session *pusher, *clients[CLIENTS];
    unsigned pushed;
    struct random random;
};

static void nothing_to_do(struct session *session, void *arg)
{
    (void)arg;
    session_resume(session);
}

/* What the session sends now, appended to text. */
static size_t member_take(struct session *session, char *text, size_t room)
{
    struct session_output output = session_output(session);
    if (output.size >= room)
        abort();
    if (output.size > 0)
        memcpy(text, output.data, output.size);
    text[output.size] = 0;
    session_sent(session, output.size);
    return output.size;
}

static void request(struct session *session, const char *text)
{
    session_on_bytes(session, text, strlen(text));
}

static void client_turn(struct member *member, struct session *client)
{
    char text[256];
    size_t size = member_take(client, text, sizeof text);
    if (size == 0)
        return;
    unsigned number;
    if (sscanf(text, "*2\r\n$2\r\nk%*u\r\n$%*u\r\n%u", &number) != 1 ||
        number >= THREADS * PUSHES || atomic_exchange(&member->crowd->taken[number], true))
        store_relaxed(&member->crowd->wrong, true);
    atomic_fetch_add(&member->crowd->popped, 1);
    request(client, "blpop k0 k1 k2 0\r\n");
}

static void pusher_turn(struct member *member)
{
    char text[64];
    if (member_take(member->pusher, text, sizeof text) > 0 && text[0] != ':')
        store_relaxed(&member->crowd->wrong, true);
    if (member->pushed == PUSHES || session_waiting(member->pusher) ||
        random_below(&member->random, 3) == 0)
        return;
    snprintf(text, sizeof text, "rpush k%u %u\r\n", (unsigned)random_below(&member->random, KEYS),
             member->number * PUSHES + member->pushed++);
    request(member->pusher, text);
}

static void *member_run(void *arg)
{
    struct member *member = arg;
    for (unsigned n = 0; n < CLIENTS; n++)
        request(member->clients[n], "blpop k0 k1 k2 0\r\n");
    while (!load_relaxed(&member->crowd->over)) {
        session_worker_run(member->worker, nothing_to_do, NULL);
        pusher_turn(member);
        for (unsigned n = 0; n < CLIENTS; n++)
            client_turn(member, member->clients[n]);
        wal_kick(db_wal(fixture->db));
        if (load_relaxed(&member->crowd->popped) == THREADS * PUSHES)
            store_relaxed(&member->crowd->over, true);
        sched_yield();
    }
    return NULL;
}

static void each_element_is_handed_out_once_to_whoever_waits(void **state)
{
    static struct crowd crowd;
    struct member members[THREADS];
    pthread_t threads[THREADS];
    uint64_t seed = test_seed();
    (void)state;
    for (unsigned n = 0; n < THREADS; n++) {
        members[n] = (struct member){.crowd = &crowd, .number = n, .worker = fixture->workers[n]};
        random_create(&members[n].random, seed + n);
        members[n].pusher = session_fixture_connect(fixture, n);
        for (unsigned k = 0; k < CLIENTS; k++)
            members[n].clients[k] = session_fixture_connect(fixture, n);
    }
    for (unsigned n = 0; n < THREADS; n++)
        assert_int_equal(pthread_create(&threads[n], NULL, member_run, &members[n]), 0);
    for (unsigned n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
    for (unsigned n = 0; n < THREADS; n++) {
        session_delete(members[n].pusher);
        for (unsigned k = 0; k < CLIENTS; k++)
            session_delete(members[n].clients[k]);
    }
    assert_false(crowd.wrong);
    expect(one, ":0\r\n", "exists k0 k1 k2");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(who_waits_gets_what_is_pushed),
        TEST(several_are_served_in_the_order_of_waiting),
        TEST(the_first_of_its_keys_that_has_something_serves),
        TEST(time_is_over_at_last),
        TEST(nobody_waits_inside_of_a_transaction_or_a_script),
        TEST(requests_behind_one_that_waits_are_run_after_it),
        TEST(a_transaction_that_was_open_already_wakes_too),
        TEST(what_is_taken_in_the_same_transaction_serves_nobody),
        TEST(another_type_is_an_error_at_first_and_nothing_later),
        TEST(a_move_serves_who_waits_for_its_destination),
        TEST(who_goes_away_leaves_no_trace),
        TEST(who_goes_away_in_its_turn_leaves_it_to_the_next),
        TEST(who_is_unblocked_has_waited_in_vain),
        TEST(databases_are_apart),
        TEST(a_session_that_is_told_to_hurry_ends_without_a_reply),
        TEST(each_element_is_handed_out_once_to_whoever_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
