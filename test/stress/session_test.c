/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Connections of several workers at once on the same keys. What is checked holds whatever the
 * schedule: a counter counts every acknowledged increment, transfers keep the sum, and a read of
 * several keys sees a sum that is right at every moment.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "session/session_fixture.h"

enum { ACCOUNTS = 8, BALANCE = 1000, ROUNDS = 1000, THREADS = SESSION_FIXTURE_WORKERS };

struct client {
    struct session_fixture fixture; /* a copy: the reply is the thread's own */
    struct session *session;
    unsigned number;
    uint64_t seed;
    unsigned committed, refused, wrong; /* assertions belong to the main thread */
};

static const char *ask(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static const char *ask(struct client *client, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return session_fixture_text(&client->fixture, client->session, "%s", line);
}

static void check(struct client *client, bool right, const char *what, const char *reply)
{
    if (!right && client->wrong++ < 3)
        fprintf(stderr, "client %u: %s was answered\n%s\n", client->number, what, reply);
}

/* Reads all accounts in one command; false when the sum is not what it must be. */
static bool sum_right(struct client *client)
{
    char keys[ACCOUNTS * 8] = "";
    long sum = 0;
    for (unsigned n = 0; n < ACCOUNTS; n++)
        sprintf(keys + strlen(keys), " acc%u", n);
    const char *reply = ask(client, "mget%s", keys), *at = reply;
    for (unsigned n = 0; n < ACCOUNTS; n++) {
        at = strchr(at, '$');
        at = at ? strchr(at, '\n') : NULL;
        if (!at)
            break;
        sum += strtol(at + 1, NULL, 10);
    }
    check(client, sum == ACCOUNTS * BALANCE, keys, reply);
    return sum == ACCOUNTS * BALANCE;
}

static void transfer(struct client *client, unsigned from, unsigned to, bool watched)
{
    if (watched)
        ask(client, "watch acc%u acc%u\r\nmget acc%u acc%u", from, to, from, to);
    const char *reply = ask(client, "multi\r\ndecrby acc%u 7\r\nincrby acc%u 7\r\nexec", from, to);
    const char *exec = strchr(reply, '*');
    if (exec && strncmp(exec, "*2\r\n:", 5) == 0)
        client->committed++;
    else if (exec && watched && strcmp(exec, "*-1\r\n") == 0)
        client->refused++;
    else
        check(client, false, "a transfer", reply);
}

static void *client_run(void *arg)
{
    struct client *client = arg;
    struct random random;
    random_create(&random, client->seed + client->number);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned from = (unsigned)random_below(&random, ACCOUNTS),
                 to = (from + 1 + (unsigned)random_below(&random, ACCOUNTS - 1)) % ACCOUNTS;
        const char *reply = ask(client, "incr hits");
        check(client, reply[0] == ':', "incr", reply);
        transfer(client, from, to, round % 3 == 0);
        sum_right(client);
        if (round % 10 == 0)
            ask(client, "client setname n%u\r\nclient list\r\ninfo all", round);
        if (round % 25 == 0) {
            ask(client,
                "eval \"return redis.call('incr', 'scripted')\" 0\r\nscan 0\r\nscript exists x");
            session_delete(client->session);
            client->session = session_fixture_connect(&client->fixture, client->number);
        }
    }
    return NULL;
}

static void connections_of_several_workers_lose_nothing(void **state)
{
    (void)state;
    struct session_fixture *fixture = session_fixture_new(NULL, (struct service_limits){0});
    struct client clients[THREADS] = {0};
    pthread_t threads[THREADS];
    uint64_t seed = test_seed();
    char wanted[64];
    for (unsigned n = 0; n < THREADS; n++) {
        clients[n] = (struct client){.fixture = *fixture, .number = n, .seed = seed};
        clients[n].session = session_fixture_connect(fixture, n);
        for (unsigned other = 0; other < SESSION_FIXTURE_WORKERS; other++)
            if (other != n) /* a worker belongs to one thread */
                clients[n].fixture.workers[other] = NULL;
    }
    for (unsigned n = 0; n < ACCOUNTS; n++)
        assert_string_equal(ask(&clients[0], "set acc%u %d", n, BALANCE), "+OK\r\n");
    for (unsigned n = 0; n < THREADS; n++)
        assert_int_equal(pthread_create(&threads[n], NULL, client_run, &clients[n]), 0);
    for (unsigned n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
    for (unsigned n = 0; n < THREADS; n++) {
        assert_int_equal(clients[n].wrong, 0);
        assert_int_equal(clients[n].committed + clients[n].refused, ROUNDS);
        assert_true(clients[n].committed > 0);
    }
    sprintf(wanted, ":%d\r\n", THREADS * ROUNDS + 1);
    assert_string_equal(ask(&clients[0], "incr hits"), wanted);
    sprintf(wanted, ":%d\r\n", THREADS * ((ROUNDS + 24) / 25) + 1);
    assert_string_equal(ask(&clients[0], "incr scripted"), wanted);
    assert_true(sum_right(&clients[0]));
    for (unsigned n = 0; n < THREADS; n++) {
        session_delete(clients[n].session);
        free(clients[n].fixture.reply);
    }
    session_fixture_delete(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_of_several_workers_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
