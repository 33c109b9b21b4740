/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Connections that move between workers while all of them are in use: some clients keep workers
 * within Lua code again and again, or busy with short requests on now this and now that connection; the others
 * know what each reply has to be. What one of them has
 * (a counter, what it has selected and queued, what it waits for) is the same wherever it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "net/net_fixture.h"

enum { HOGS_MAX = NET_FIXTURE_WORKERS, USERS = 3, EACH = 5, ROUNDS = 500, MOVES = 150 };
enum { BALANCE_MS = 2, BALANCED = 40, LOADS = 6, LOAD_REQUESTS = 50, LOAD_ROUNDS = 40 };

struct user {
    pthread_t thread;
    unsigned number;
    struct random random;
    int fds[EACH];
    unsigned counts[EACH]; /* of each one's own key */
};

static unsigned hog_count;
static void *(*hog)(void *random);
static unsigned long (*client_count)(int fd); /* of those that have moved, */
static unsigned long wanted;                  /* until there are so many */
static _Atomic bool enough;                   /* has been done */

static void give_up(const char *what, const char *got)
{
    fprintf(stderr, "expected %s, got %s\n", what, got);
    abort(); /* no thread but the first may end a test */
}

static void user_send(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        give_up("to send", text);
}

static void user_expect(int fd, const char *text)
{
    char got[512] = "";
    client_receive(fd, got, strlen(text));
    if (strcmp(got, text) != 0)
        give_up(text, got);
}

static void *hog_run(void *arg)
{
    struct random *random = arg;
    int fd = client_open();
    while (!load_relaxed(&enough)) {
        char request[128], reply[64];
        unsigned turns = 5000000 + (unsigned)random_below(random, 20000000);
        snprintf(request, sizeof request,
                 "EVAL 'local n = 0 for i = 1, %u do n = n + 1 end return n' 0\r\n", turns);
        snprintf(reply, sizeof reply, ":%u\r\n", turns);
        user_send(fd, request);
        user_expect(fd, reply);
    }
    close(fd);
    return NULL;
}

/* One after the other of its connections is busy for some time, with the next requests always there before
 * the replies to the last are read. */
static void *load_run(void *arg)
{
    struct random *random = arg;
    char requests[LOAD_REQUESTS * 24] = "", replies[LOAD_REQUESTS * 8] = "";
    int fds[LOADS];
    for (unsigned n = 0; n < LOADS; n++)
        fds[n] = client_open();
    for (unsigned n = 0; n < LOAD_REQUESTS; n++) {
        strcat(requests, n % 2 ? "BITCOUNT large\r\n" : "STRLEN large\r\n");
        strcat(replies, n % 2 ? ":4\r\n" : ":262144\r\n");
    }
    while (!load_relaxed(&enough)) {
        int fd = fds[random_below(random, LOADS)];
        unsigned rounds = 1 + (unsigned)random_below(random, LOAD_ROUNDS);
        user_send(fd, requests);
        for (unsigned n = 1; n < rounds; n++) {
            user_send(fd, requests);
            user_expect(fd, replies);
        }
        user_expect(fd, replies);
    }
    for (unsigned n = 0; n < LOADS; n++)
        close(fds[n]);
    return NULL;
}

/* Several requests at once, of which the last comes in two parts. */
static void count_up(struct user *user, unsigned which)
{
    char request[256] = "", reply[128] = "";
    size_t at = 0, size = 0;
    unsigned times = 1 + (unsigned)random_below(&user->random, 4);
    for (unsigned n = 0; n < times; n++) {
        at += (size_t)snprintf(request + at, sizeof request - at, "INCR c%u:%u\r\n", user->number,
                               which);
        size +=
            (size_t)snprintf(reply + size, sizeof reply - size, ":%u\r\n", ++user->counts[which]);
    }
    size_t first = random_below(&user->random, at);
    char rest[256];
    snprintf(rest, sizeof rest, "%s", request + first);
    request[first] = 0;
    user_send(user->fds[which], request);
    user_send(user->fds[which], rest);
    user_expect(user->fds[which], reply);
}

static void transact(struct user *user, unsigned which)
{
    char request[256], reply[128];
    snprintf(request, sizeof request, "WATCH c%u:%u\r\nMULTI\r\nINCR c%u:%u\r\n", user->number,
             which, user->number, which);
    user_send(user->fds[which], request);
    user_expect(user->fds[which], "+OK\r\n+OK\r\n+QUEUED\r\n");
    user_send(user->fds[which], "EXEC\r\n");
    snprintf(reply, sizeof reply, "*1\r\n:%u\r\n", ++user->counts[which]);
    user_expect(user->fds[which], reply);
}

static void wait_for_another(struct user *user, unsigned which)
{
    char request[64], reply[64];
    unsigned other = (which + 1) % EACH;
    snprintf(request, sizeof request, "BLPOP q%u 0\r\n", user->number);
    user_send(user->fds[which], request);
    snprintf(request, sizeof request, "RPUSH q%u v\r\n", user->number);
    user_send(user->fds[other], request);
    user_expect(user->fds[other], ":1\r\n");
    snprintf(reply, sizeof reply, "*2\r\n$2\r\nq%u\r\n$1\r\nv\r\n", user->number);
    user_expect(user->fds[which], reply);
}

static void come_anew(struct user *user, unsigned which)
{
    close(user->fds[which]);
    user->fds[which] = client_open();
}

static void be_killed(struct user *user, unsigned which)
{
    char request[64], got[32] = "";
    size_t at = 0;
    unsigned other = (which + 1) % EACH;
    user_send(user->fds[which], "CLIENT ID\r\n");
    do
        client_receive(user->fds[which], got + at, 1);
    while (got[at++] != '\n' && at < sizeof got - 1);
    got[at - 2] = 0;
    snprintf(request, sizeof request, "CLIENT KILL ID %s\r\n", got + 1);
    user_send(user->fds[other], request);
    user_expect(user->fds[other], ":1\r\n");
    if (client_receive(user->fds[which], got, 1) != 0)
        give_up("the end", got);
    come_anew(user, which);
}

static void do_something(struct user *user)
{
    unsigned which = (unsigned)random_below(&user->random, EACH);
    switch (random_below(&user->random, 16)) {
    case 0:
        wait_for_another(user, which);
        break;
    case 1:
        come_anew(user, which);
        break;
    case 2:
        be_killed(user, which);
        break;
    case 3:
    case 4:
        transact(user, which);
        break;
    default:
        count_up(user, which);
    }
}

static void *user_run(void *arg)
{
    struct user *user = arg;
    for (unsigned n = 0; n < EACH; n++)
        user->fds[n] = client_open();
    for (unsigned n = 0; n < ROUNDS || !load_relaxed(&enough); n++)
        do_something(user);
    for (unsigned n = 0; n < EACH; n++)
        close(user->fds[n]);
    return NULL;
}

static void all_is_as_if_nobody_had_moved(void **state)
{
    struct user users[USERS] = {{.number = 0}};
    struct random randoms[HOGS_MAX];
    pthread_t hogs[HOGS_MAX];
    uint64_t seed = test_seed();
    (void)state;
    store_relaxed(&enough, false);
    int fd = client_open();
    client_ask(fd, "SETRANGE large 262143 x\r\n", ":262144\r\n");
    for (unsigned n = 0; n < USERS; n++) {
        users[n].number = n;
        random_create(&users[n].random, seed + n);
        assert_int_equal(pthread_create(&users[n].thread, NULL, user_run, &users[n]), 0);
    }
    for (unsigned n = 0; n < hog_count; n++) {
        random_create(&randoms[n], seed + 100 + n);
        assert_int_equal(pthread_create(&hogs[n], NULL, hog, &randoms[n]), 0);
    }
    while (client_count(fd) < wanted) {
    }
    store_relaxed(&enough, true);
    for (unsigned n = 0; n < USERS; n++)
        pthread_join(users[n].thread, NULL);
    for (unsigned n = 0; n < hog_count; n++)
        pthread_join(hogs[n], NULL);
    printf("%lu connections have moved, %lu of them from busy workers\n", client_moved(fd),
           client_balanced(fd));
    close(fd);
}

/* Those that are on their way when the server stops get what they have asked for: it came before. */
static void a_stop_meets_some_that_move(void **state)
{
    int busy = client_open(), fds[4 * NET_FIXTURE_WORKERS];
    char byte;
    (void)state;
    for (unsigned n = 0; n < 4 * NET_FIXTURE_WORKERS; n++) {
        fds[n] = client_open();
        client_ask(fds[n], "PING\r\n", "+PONG\r\n");
    }
    client_send(busy, "EVAL 'local n = 0 for i = 1, 50000000 do n = n + 1 end return n' 0\r\n");
    client_settle(busy);
    client_ask(fds[0], "PING\r\n", "+PONG\r\n");
    for (unsigned n = 0; n < 4 * NET_FIXTURE_WORKERS; n++) {
        client_send(fds[n], "PING\r\n");
        client_settle(fds[n]);
    }
    net_stop(net_fixture.net, false);
    client_expect(busy, ":50000000\r\n");
    for (unsigned n = 0; n < 4 * NET_FIXTURE_WORKERS; n++) {
        client_expect(fds[n], "+PONG\r\n");
        assert_int_equal(client_receive(fds[n], &byte, 1), 0);
        close(fds[n]);
    }
    net_join(net_fixture.net);
    close(busy);
}

static int hogs_setup(unsigned count, void **state)
{
    hog_count = count;
    hog = hog_run;
    client_count = client_moved;
    wanted = MOVES;
    return net_fixture_setup(state);
}

static int some_hogs_setup(void **state)
{
    return hogs_setup(NET_FIXTURE_WORKERS - 1, state);
}

/* One for each worker, and two that stand by. */
static int hogs_everywhere_setup(void **state)
{
    net_fixture.standby_count = 2;
    return hogs_setup(NET_FIXTURE_WORKERS, state);
}

/* Not so many that all workers are busy all the time. */
static int loads_setup(void **state)
{
    hog_count = NET_FIXTURE_WORKERS - 1;
    hog = load_run;
    client_count = client_balanced;
    wanted = BALANCED;
    net_fixture.standby_count = 2;
    net_fixture.balance_ms = BALANCE_MS;
    return net_fixture_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_is_as_if_nobody_had_moved, some_hogs_setup,
                                        net_fixture_teardown),
        cmocka_unit_test_setup_teardown(all_is_as_if_nobody_had_moved, hogs_everywhere_setup,
                                        net_fixture_teardown),
        cmocka_unit_test_setup_teardown(all_is_as_if_nobody_had_moved, loads_setup,
                                        net_fixture_teardown),
        cmocka_unit_test_setup_teardown(a_stop_meets_some_that_move, net_fixture_setup,
                                        net_fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
