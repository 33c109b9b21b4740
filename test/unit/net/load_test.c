/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Connections that are busy all the time sit on one worker: some of them go to others, and nobody notices.
 * None of what they ask for is Lua, so it is not move_test.c's reason that they go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "net/net_fixture.h"
#include "net/net_internal.h"

enum { BUSY = 8, EACH = 25, AHEAD = 2, LARGE = 512 << 10, PERIOD_MS = 10, STANDBYS = 2 };

/* On one worker they are; who asks is on another. */
struct scene {
    int fds[BUSY], asker;
    unsigned worker;
    bool multi;                          /* each round has a transaction */
    unsigned sent[BUSY], received[BUSY]; /* rounds */
};

/* A new connection, and whose it is. */
static int open_at(unsigned *worker)
{
    unsigned before[NET_FIXTURE_WORKERS];
    for (unsigned n = 0; n < NET_FIXTURE_WORKERS; n++)
        before[n] = net_worker_connections(net_fixture.net, n);
    int fd = client_open();
    client_ask(fd, "PING\r\n", "+PONG\r\n");
    for (*worker = 0; net_worker_connections(net_fixture.net, *worker) == before[*worker];)
        ++*worker;
    return fd;
}

/* Nobody moves before. */
static void balance_begin(void)
{
    store_relaxed(&net_fixture.net->balance, true);
}

/* They come to all workers in turn; those of the others leave when all have come. */
static void scene_create(struct scene *scene)
{
    int rest[BUSY * NET_FIXTURE_WORKERS];
    unsigned count, rest_count = 0, worker;
    char request[64], reply[64];
    *scene = (struct scene){.asker = -1};
    scene->fds[0] = open_at(&scene->worker);
    for (count = 1; count < BUSY || scene->asker < 0;) {
        int fd = open_at(&worker);
        if (worker == scene->worker && count < BUSY) {
            scene->fds[count++] = fd;
        } else if (scene->asker < 0 && worker != scene->worker) {
            scene->asker = fd;
        } else {
            assert_true(rest_count < BUSY * NET_FIXTURE_WORKERS);
            rest[rest_count++] = fd;
        }
    }
    for (unsigned n = 0; n < BUSY; n++) { /* each has a database of its own selected */
        snprintf(request, sizeof request, "SELECT %u\r\nSETRANGE large %u x\r\n", n + 1, LARGE - 1);
        snprintf(reply, sizeof reply, "+OK\r\n:%u\r\n", LARGE);
        client_ask(scene->fds[n], request, reply);
    }
    while (rest_count > 0)
        close(rest[--rest_count]);
}

static void scene_destroy(struct scene *scene)
{
    for (unsigned n = 0; n < BUSY; n++)
        close(scene->fds[n]);
    close(scene->asker);
}

/* Costs the server much and the client little. The last part of it comes with the next round. */
static void round_send(struct scene *scene, unsigned n)
{
    char text[EACH * 64 + 256], *at = text;
    at += sprintf(at, "%sINCR count\r\n", scene->sent[n] ? "UNT large\r\n" : "");
    if (scene->multi)
        at += sprintf(at, "MULTI\r\nGET count\r\nSTRLEN large\r\nEXEC\r\n");
    for (unsigned i = 0; i < EACH; i++)
        at +=
            sprintf(at, "%sECHO %u-%u-%u\r\nBITCO", i ? "UNT large\r\n" : "", n, scene->sent[n], i);
    client_send(scene->fds[n], text);
    scene->sent[n]++;
}

static void round_receive(struct scene *scene, unsigned n)
{
    unsigned round = scene->received[n]++;
    char text[128], reply[256];
    int size = snprintf(text, sizeof text, "%u", round + 1);
    snprintf(reply, sizeof reply, "%s:%s\r\n", round ? ":4\r\n" : "", text);
    client_expect(scene->fds[n], reply);
    if (scene->multi) {
        snprintf(reply, sizeof reply, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$%d\r\n%s\r\n:%u\r\n",
                 size, text, LARGE);
        client_expect(scene->fds[n], reply);
    }
    for (unsigned i = 0; i < EACH; i++) {
        size = snprintf(text, sizeof text, "%u-%u-%u", n, round, i);
        snprintf(reply, sizeof reply, "%s$%d\r\n%s\r\n", i ? ":4\r\n" : "", size, text);
        client_expect(scene->fds[n], reply);
    }
}

/* So many rounds, the requests of the next ones always being there before the replies of the last are
 * read: so none of them is ever without something to do. */
static void rounds_run(struct scene *scene, unsigned count)
{
    for (unsigned round = 0; round < count; round++) {
        for (unsigned n = 0; n < BUSY; n++)
            round_send(scene, n);
        for (unsigned n = 0; n < BUSY; n++)
            while (scene->sent[n] - scene->received[n] > AHEAD)
                round_receive(scene, n);
    }
}

/* What is under way is answered. */
static void rounds_end(struct scene *scene)
{
    for (unsigned n = 0; n < BUSY; n++) {
        while (scene->sent[n] > scene->received[n])
            round_receive(scene, n);
        client_ask(scene->fds[n], "UNT large\r\nPING\r\n", ":4\r\n+PONG\r\n");
    }
}

/* Some have gone to other workers, and go on there. */
static void rounds_until_spread(struct scene *scene)
{
    while (client_balanced(scene->asker) == 0 || client_moved(scene->asker) == 0 ||
           net_worker_connections(net_fixture.net, scene->worker) >= BUSY)
        rounds_run(scene, 1);
    rounds_run(scene, AHEAD + 1);
    for (unsigned n = 0; n < STANDBYS; n++)
        assert_int_equal(net_worker_connections(net_fixture.net, NET_FIXTURE_WORKERS + n), 0);
}

static void busy_connections_of_one_worker_spread_over_others(void **state)
{
    struct scene scene;
    (void)state;
    scene_create(&scene);
    balance_begin();
    rounds_until_spread(&scene);
    rounds_end(&scene);
    scene_destroy(&scene);
}

static void who_has_a_transaction_open_stays(void **state)
{
    struct scene scene;
    char request[64];
    (void)state;
    scene_create(&scene);
    for (unsigned n = 1; n < BUSY; n++) {
        snprintf(request, sizeof request, "BEGIN SNAPSHOT\r\nSET k%u v\r\n", n);
        client_ask(scene.fds[n], request, "+OK\r\n+OK\r\n");
    }
    balance_begin();
    rounds_until_spread(&scene);
    assert_true(net_worker_connections(net_fixture.net, scene.worker) >= BUSY - 1);
    rounds_end(&scene);
    for (unsigned n = 1; n < BUSY; n++) {
        client_ask(scene.fds[n], "COMMIT\r\n", "+OK\r\n");
        snprintf(request, sizeof request, "SELECT %u\r\nGET k%u\r\n", n + 1, n);
        client_ask(scene.asker, request, "+OK\r\n$1\r\nv\r\n");
    }
    scene_destroy(&scene);
}

static void what_a_session_has_goes_with_it(void **state)
{
    struct scene scene;
    (void)state;
    scene_create(&scene);
    scene.multi = true;
    balance_begin();
    rounds_until_spread(&scene);
    rounds_end(&scene);
    scene_destroy(&scene);
}

/* What the system has received before it is answered, wherever its connection is then. */
static void a_stop_meets_some_that_are_given(void **state)
{
    struct scene scene;
    char byte;
    (void)state;
    scene_create(&scene);
    balance_begin();
    rounds_until_spread(&scene);
    for (unsigned n = 0; n < BUSY; n++) {
        round_send(&scene, n);
        client_settle(scene.fds[n]);
    }
    net_stop(net_fixture.net, false);
    for (unsigned n = 0; n < BUSY; n++) {
        while (scene.sent[n] > scene.received[n])
            round_receive(&scene, n);
        assert_int_equal(client_receive(scene.fds[n], &byte, 1), 0);
    }
    net_join(net_fixture.net);
    scene_destroy(&scene);
}

static void nobody_goes_when_it_is_turned_off(void **state)
{
    struct scene scene;
    (void)state;
    scene_create(&scene);
    rounds_run(&scene, 5);
    rounds_end(&scene);
    assert_int_equal(client_balanced(scene.asker), 0);
    assert_int_equal(client_moved(scene.asker), 0);
    scene_destroy(&scene);
}

static int balanced_setup(void **state)
{
    net_fixture.balance_ms = PERIOD_MS;
    net_fixture.standby_count = STANDBYS;
    int rc = net_fixture_setup(state);
    store_relaxed(&net_fixture.net->balance, false);
    return rc;
}

#define balanced(test) cmocka_unit_test_setup_teardown(test, balanced_setup, net_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        balanced(busy_connections_of_one_worker_spread_over_others),
        balanced(who_has_a_transaction_open_stays),
        balanced(what_a_session_has_goes_with_it),
        balanced(a_stop_meets_some_that_are_given),
        balanced(nobody_goes_when_it_is_turned_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
