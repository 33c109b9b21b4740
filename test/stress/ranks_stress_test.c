/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Ranks of one sorted set that is counted (redis_zset_rank.h) while four connections of three workers
 * add members to it, give them other scores, take them away and ask for ranks. Each round has a set
 * of its own; in the end each member's rank is the place at which it stands among all of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "server/resp_client.h"
#include "server/server_process.h"

enum { CLIENTS = 4, ROUNDS = 6, BATCHES = 60, BATCH = 16, OWN = 400, SCORES = 1000 };

static struct server_process server;
static char folder[256];

static int server_begin(void **state)
{
    static const char *const options[] = {
        "--durability", "interval", "--workers", "3", "--zset-ranks-after", "8",
        "--log_level",  "warn",     NULL};
    (void)state;
    server_folder_make(folder);
    server_process_start(&server, folder, options);
    return 0;
}

static int server_end(void **state)
{
    (void)state;
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    server_folder_remove(folder);
    return 0;
}

struct client {
    struct server_client to;
    struct random random;
    unsigned number, round;
    bool right; /* no reply was an error */
};

static bool send_one(struct client *client)
{
    struct server_client *to = &client->to;
    unsigned own = client->number, round = client->round;
    unsigned member = (unsigned)random_below(&client->random, OWN);
    unsigned score = (unsigned)random_below(&client->random, SCORES);
    switch (random_below(&client->random, 8)) {
    case 0:
        return resp_sendf(to, "ZREM z%u m%u:%u", round, own, member);
    case 1:
        return resp_sendf(to, "ZRANK z%u m%u:%u", round, own, member);
    case 2:
        return resp_sendf(to, "ZCOUNT z%u %u +inf", round, score);
    default:
        return resp_sendf(to, "ZADD z%u %u m%u:%u", round, score, own, member);
    }
}

static void *client_run(void *arg)
{
    struct client *client = arg;
    struct resp_reply *reply = malloc(sizeof *reply);
    client->right = reply != NULL;
    for (unsigned n = 0; n < BATCHES && client->right; n++) {
        for (unsigned i = 0; i < BATCH; i++)
            client->right = client->right && send_one(client);
        for (unsigned i = 0; i < BATCH && client->right; i++)
            client->right = resp_read(&client->to, reply) && reply->items[0].type != '-';
    }
    free(reply);
    return NULL;
}

static struct resp_reply reply;

static const struct resp_item *ask(struct server_client *to, const char *format, unsigned round,
                                   const char *member)
{
    assert_true(resp_sendf(to, format, round, member) && resp_read(to, &reply));
    assert_int_not_equal(reply.items[0].type, '-');
    return &reply.items[0];
}

/* As many as there are, one after the other: by their scores, which takes no ranks. */
static void ranks_check(struct server_client *to, unsigned round)
{
    enum { PAGE = 50, NAME_MAX = 32 };
    char members[PAGE][NAME_MAX];
    unsigned rank = 0, count;
    do {
        assert_true(resp_sendf(to, "ZRANGEBYSCORE z%u -inf +inf LIMIT %u %d", round, rank, PAGE) &&
                    resp_read(to, &reply));
        count = reply.count - 1;
        for (unsigned n = 0; n < count; n++)
            snprintf(members[n], NAME_MAX, "%.*s", NAME_MAX - 1, reply.items[1 + n].text);
        for (unsigned n = 0; n < count; n++)
            assert_int_equal(ask(to, "ZRANK z%u %s", round, members[n])->number, rank++);
    } while (count == PAGE);
    assert_int_equal(ask(to, "ZCARD z%u%s", round, "")->number, rank);
    assert_int_equal(ask(to, "ZCOUNT z%u -inf %s", round, "+inf")->number, rank);
}

/* How many members the server has counted. */
static long long counted(struct server_client *to)
{
    static const char NAME[] = "ranks_counted:";
    char line[256];
    long long left, value = -1;
    assert_true(resp_sendf(to, "INFO stats") && server_client_line(to, line, sizeof line));
    for (left = strtoll(line + 1, NULL, 10); left >= 0;) {
        assert_true(server_client_line(to, line, sizeof line));
        left -= (long long)strlen(line) + 2;
        if (strncmp(line, NAME, strlen(NAME)) == 0)
            value = strtoll(line + strlen(NAME), NULL, 10);
    }
    return value;
}

static void ranks_hold_while_members_are_counted(void **state)
{
    (void)state;
    static struct client clients[CLIENTS];
    static struct server_client to;
    pthread_t threads[CLIENTS];
    uint64_t seed = test_seed();
    assert_true(server_client_open(&to, &server));
    for (unsigned n = 0; n < CLIENTS; n++)
        assert_true(server_client_open(&clients[n].to, &server));
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned n = 0; n < CLIENTS; n++) {
            clients[n].number = n;
            clients[n].round = round;
            random_create(&clients[n].random, seed + round * CLIENTS + n);
            assert_int_equal(pthread_create(&threads[n], NULL, client_run, &clients[n]), 0);
        }
        for (unsigned n = 0; n < CLIENTS; n++)
            pthread_join(threads[n], NULL);
        for (unsigned n = 0; n < CLIENTS; n++)
            assert_true(clients[n].right);
        ranks_check(&to, round);
    }
    while (counted(&to) == 0)
        ranks_check(&to, 0);
    for (unsigned round = 0; round < ROUNDS; round++)
        ranks_check(&to, round);
    for (unsigned n = 0; n < CLIENTS; n++)
        server_client_close(&clients[n].to);
    server_client_close(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranks_hold_while_members_are_counted, server_begin,
                                        server_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
