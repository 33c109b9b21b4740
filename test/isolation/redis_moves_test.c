/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Elements that move between large collections are neither lost nor doubled, also for those who look
 * while they move: eight connections move members, list elements and amounts, alone, in MULTI and in
 * scripts, and others of them count all there are, in one command, one transaction or one script.
 *
 * PERIGEE_STRESS_SECONDS says for how long, PERIGEE_SEED what is sent.
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

#include "base/clock.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "server/resp_client.h"

enum { CLIENTS = 8, PLACES = 3, ELEMENTS = 600, AMOUNT = 100 };

struct client {
    struct server_client to;
    struct random random;
    unsigned number;
    uint64_t until;
    unsigned moves, looks;
    struct resp_reply reply;
    char wrong[256];
};

static uint64_t now(void)
{
    return clock_monotonic_ns(clock_system());
}

static unsigned below(struct client *client, unsigned limit)
{
    return (unsigned)random_below(&client->random, limit);
}

static void wrong(struct client *client, const char *what)
{
    if (client->wrong[0] == '\0')
        snprintf(client->wrong, sizeof client->wrong, "%s: %c%.180s", what,
                 client->reply.items[0].type, client->reply.items[0].text);
}

/* The next reply, which must not be an error. */
static bool take(struct client *client, const char *what)
{
    if (!resp_read(&client->to, &client->reply) || client->reply.items[0].type == '-') {
        wrong(client, what);
        return false;
    }
    return true;
}

/* ---------------------------------------------------------------------------------------- moves */

static bool member_send(struct client *client)
{
    return resp_sendf(&client->to, "SMOVE set:%u set:%u member:%u", below(client, PLACES),
                      below(client, PLACES), below(client, ELEMENTS));
}

static bool element_send(struct client *client)
{
    static const char *const ends[] = {"LEFT", "RIGHT"};
    unsigned from = below(client, PLACES), to = below(client, PLACES);
    return below(client, 3) == 0 ? resp_sendf(&client->to, "RPOPLPUSH list:%u list:%u", from, to)
                                 : resp_sendf(&client->to, "LMOVE list:%u list:%u %s %s", from, to,
                                              ends[below(client, 2)], ends[below(client, 2)]);
}

/* An amount from one hash to another and, by the same script, from one sorted set to another. */
static bool amount_send(struct client *client)
{
    static const char script[] =
        "redis.call('hincrby', KEYS[1], ARGV[1], -1) redis.call('hincrby', KEYS[2], ARGV[2], 1) "
        "redis.call('zincrby', KEYS[3], -1, ARGV[1]) redis.call('zincrby', KEYS[4], 1, ARGV[2]) "
        "return 1";
    char keys[4][16], fields[2][16];
    const char *arguments[9] = {"EVAL", script, "4"};
    for (unsigned n = 0; n < 4; n++) {
        snprintf(keys[n], sizeof keys[n], "%s:%u", n < 2 ? "hash" : "zset", below(client, PLACES));
        arguments[3 + n] = keys[n];
    }
    for (unsigned n = 0; n < 2; n++) {
        snprintf(fields[n], sizeof fields[n], "f:%u", below(client, AMOUNT));
        arguments[7 + n] = fields[n];
    }
    return resp_send(&client->to, 9, arguments);
}

static void move(struct client *client)
{
    unsigned count = 1;
    if (below(client, 4) == 0) { /* several of them, in MULTI */
        count = 1 + below(client, 3);
        resp_sendf(&client->to, "MULTI");
        for (unsigned n = 0; n < count; n++)
            n % 2 ? element_send(client) : member_send(client);
        resp_sendf(&client->to, "EXEC");
        for (unsigned n = 0; n < count + 2; n++)
            if (!take(client, "a transaction"))
                return;
        for (unsigned n = 1; n < client->reply.count; n++)
            if (client->reply.items[n].type == '-')
                wrong(client, "in a transaction");
    } else {
        unsigned what = below(client, 3);
        if (what == 0)
            member_send(client);
        else if (what == 1)
            element_send(client);
        else
            amount_send(client);
        take(client, "a move");
    }
    client->moves += count;
}

/* ---------------------------------------------------------------------------------------- looks */

static void expect(struct client *client, const char *what, long long seen, long long right)
{
    client->looks++;
    if (seen == right || client->wrong[0] != '\0')
        return;
    snprintf(client->wrong, sizeof client->wrong, "%s: %lld, not %lld", what, seen, right);
}

/* Sizes of all places in one transaction. */
static void look_at_sizes(struct client *client, const char *command, const char *name)
{
    long long sum = 0;
    resp_sendf(&client->to, "MULTI");
    for (unsigned n = 0; n < PLACES; n++)
        resp_sendf(&client->to, "%s %s:%u", command, name, n);
    resp_sendf(&client->to, "EXEC");
    for (unsigned n = 0; n < PLACES + 2; n++)
        if (!take(client, command))
            return;
    for (unsigned n = 1; n < client->reply.count; n++)
        sum += client->reply.items[n].number;
    expect(client, command, sum, ELEMENTS);
}

/* What all sets have together, and what two have in common, by one command each. */
static void look_at_members(struct client *client)
{
    resp_sendf(&client->to, "SUNIONSTORE all:%u set:0 set:1 set:2", client->number);
    resp_sendf(&client->to, "SINTERCARD 2 set:%u set:%u", 0, 1 + below(client, 2));
    if (!take(client, "SUNIONSTORE"))
        return;
    expect(client, "members of all sets", client->reply.items[0].number, ELEMENTS);
    if (take(client, "SINTERCARD"))
        expect(client, "members of two sets", client->reply.items[0].number, 0);
}

/* The sum of all amounts, by one script. */
static void look_at_amounts(struct client *client)
{
    static const char script[] =
        "local sum = 0 "
        "for n = 0, ARGV[1] - 1 do "
        "  for _, amount in ipairs(redis.call('hvals', 'hash:' .. n)) do sum = sum + amount end "
        "  local all = redis.call('zrange', 'zset:' .. n, 0, -1, 'withscores') "
        "  for i = 2, #all, 2 do sum = sum + all[i] end "
        "end "
        "return sum";
    static const char places[] = {'0' + PLACES, '\0'};
    const char *arguments[] = {"EVAL", script, "0", places};
    resp_send(&client->to, 4, arguments);
    if (take(client, "sum"))
        expect(client, "amounts", client->reply.items[0].number, 2LL * PLACES * AMOUNT);
}

static void look(struct client *client)
{
    unsigned what = below(client, 8);
    if (what < 3)
        look_at_sizes(client, "SCARD", "set");
    else if (what < 6)
        look_at_sizes(client, "LLEN", "list");
    else if (what == 6)
        look_at_members(client);
    else
        look_at_amounts(client);
}

static void *client_run(void *arg)
{
    struct client *client = arg;
    do {
        if (below(client, 12) == 0)
            look(client);
        else
            move(client);
    } while (client->wrong[0] == '\0' && now() < client->until);
    return NULL;
}

/* --------------------------------------------------------------------------------- the beginning */

static void make(struct client *client)
{
    bool right = true;
    for (unsigned n = 0; n < ELEMENTS && right; n++) {
        resp_sendf(&client->to, "SADD set:%u member:%u", n % PLACES, n);
        resp_sendf(&client->to, "RPUSH list:%u %u", n % PLACES, n);
        right = take(client, "SADD") && take(client, "RPUSH");
    }
    for (unsigned n = 0; n < PLACES * AMOUNT && right; n++) {
        resp_sendf(&client->to, "HSET hash:%u f:%u 1", n % PLACES, n / PLACES);
        resp_sendf(&client->to, "ZADD zset:%u 1 f:%u", n % PLACES, n / PLACES);
        right = take(client, "HSET") && take(client, "ZADD");
    }
    assert_true(right);
}

/* Each element of the lists is there once. */
static void lists_check(struct client *client)
{
    bool seen[ELEMENTS] = {false};
    for (unsigned list = 0; list < PLACES; list++)
        for (;;) {
            assert_true(resp_sendf(&client->to, "LPOP list:%u", list));
            assert_true(take(client, "LPOP"));
            if (client->reply.items[0].nil)
                break;
            unsigned long element = strtoul(client->reply.items[0].text, NULL, 10);
            assert_true(element < ELEMENTS);
            assert_false(seen[element]);
            seen[element] = true;
        }
    for (unsigned n = 0; n < ELEMENTS; n++)
        assert_true(seen[n]);
}

static uint64_t seconds(void)
{
    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

static void elements_that_move_are_neither_lost_nor_doubled(void **state)
{
    (void)state;
    static struct client clients[CLIENTS];
    static const char *const options[] = {"--durability", "interval", "--workers", "4",
                                          "--log_level",  "warn",     NULL};
    struct server_process server;
    struct random random;
    pthread_t threads[CLIENTS];
    char folder[256];
    unsigned moves = 0, looks = 0;
    random_create(&random, test_seed());
    server_folder_make(folder);
    server_process_start(&server, folder, options);
    for (unsigned n = 0; n < CLIENTS; n++) {
        random_create(&clients[n].random, random_next(&random));
        clients[n].number = n;
        assert_true(server_client_open(&clients[n].to, &server));
    }
    make(&clients[0]);
    uint64_t until = now() + seconds() * UINT64_C(1000000000);
    for (unsigned n = 0; n < CLIENTS; n++) {
        clients[n].until = until;
        assert_int_equal(pthread_create(&threads[n], NULL, client_run, &clients[n]), 0);
    }
    for (unsigned n = 0; n < CLIENTS; n++)
        pthread_join(threads[n], NULL);
    for (unsigned n = 0; n < CLIENTS; n++) {
        if (clients[n].wrong[0] != '\0')
            fail_msg("%s", clients[n].wrong);
        moves += clients[n].moves;
        looks += clients[n].looks;
    }
    printf("%u moves, %u looks\n", moves, looks);
    for (unsigned n = 0; n < 100; n++)
        look(&clients[0]);
    assert_string_equal(clients[0].wrong, "");
    lists_check(&clients[0]);
    for (unsigned n = 0; n < CLIENTS; n++)
        server_client_close(&clients[n].to);
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    server_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_that_move_are_neither_lost_nor_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
