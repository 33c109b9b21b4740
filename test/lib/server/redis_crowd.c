/* SPDX-License-Identifier: Apache-2.0 */

/* What each client sends, and what must be there in the end. */
#include "server/redis_crowd.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "server/resp_client.h"

enum { PIPELINE = 16, OWN = 50 /* fields or members of a client */, ELEMENTS = 500 };

struct crowd_client {
    const struct server_process *server;
    struct server_client to;
    enum redis_crowd_kind kind;
    unsigned number, each;
    bool right; /* no reply was an error or nil */
};

const char *redis_crowd_name(enum redis_crowd_kind kind)
{
    static const char *const names[] = {
        "fields of one hash",    "members of one set", "scores of one sorted set",
        "both ends of one list", "one stream",         "one field of one hash",
    };
    return names[kind];
}

/* ------------------------------------------------------------------------------------ requests */

static bool send_one(struct crowd_client *client, unsigned n)
{
    struct server_client *to = &client->to;
    unsigned own = client->number;
    switch (client->kind) {
    case REDIS_CROWD_HASH:
        return resp_sendf(to, "HINCRBY crowd field:%u:%u 1", own, n % OWN);
    case REDIS_CROWD_SET: /* in the end all of them are there */
        return resp_sendf(to, n % 2 ? "SADD crowd member:%u:%u" : "SREM crowd member:%u:%u", own,
                          n / 2 % OWN);
    case REDIS_CROWD_ZSET:
        return resp_sendf(to, "ZINCRBY crowd 1 member:%u:%u", own, n % OWN);
    case REDIS_CROWD_LIST:
        return own % 2 ? resp_sendf(to, "LPOP crowd") : resp_sendf(to, "RPUSH crowd %u", n);
    case REDIS_CROWD_STREAM:
        return resp_sendf(to, "XADD crowd * client %u", own);
    default:
        return resp_sendf(to, "HINCRBY crowd all 1");
    }
}

static void *client_run(void *arg)
{
    struct crowd_client *client = arg;
    struct resp_reply *reply = malloc(sizeof *reply);
    ASSERT(reply != NULL);
    for (unsigned n = 0; n < client->each && client->right;) {
        unsigned count = client->each - n < PIPELINE ? client->each - n : PIPELINE;
        for (unsigned i = 0; i < count; i++)
            client->right = client->right && send_one(client, n + i);
        for (unsigned i = 0; i < count && client->right; i++)
            client->right = resp_read(&client->to, reply) && reply->items[0].type != '-' &&
                            !reply->items[0].nil;
        n += count;
    }
    free(reply);
    return NULL;
}

/* ---------------------------------------------------------------------------- before and after */

static struct resp_reply reply;

static const struct resp_item *ask(struct server_client *to, const char *command)
{
    bool there = resp_sendf(to, "%s", command) && resp_read(to, &reply);
    ASSERT(there);
    return &reply.items[0];
}

/* Elements that nobody works on, so that the collection is spread; of a list, enough to be popped. */
static void collection_make(struct server_client *to, enum redis_crowd_kind kind, unsigned each)
{
    static const char *const starts[] = {"HSET crowd other:",   "SADD crowd other:",
                                         "ZADD crowd 0 other:", "RPUSH crowd ",
                                         "XADD crowd * other ", "HSET crowd other:"};
    bool pairs = kind == REDIS_CROWD_HASH || kind == REDIS_CROWD_FIELD;
    unsigned count =
        kind == REDIS_CROWD_LIST ? ELEMENTS + each * REDIS_CROWD_CLIENTS / 2 : ELEMENTS;
    ask(to, "DEL crowd");
    for (unsigned n = 0; n < count; n++) {
        char command[64];
        snprintf(command, sizeof command, "%s%u%s", starts[kind], n, pairs ? " 1" : "");
        ASSERT(ask(to, command)->type != '-');
    }
}

/* A counter of INFO transactions, which comes as lines behind its size. */
static uint64_t counter(struct server_client *to, const char *name)
{
    char line[256];
    long long left = 0;
    uint64_t value = 0;
    bool there = resp_sendf(to, "INFO transactions") && server_client_line(to, line, sizeof line);
    ASSERT(there && line[0] == '$');
    for (left = strtoll(line + 1, NULL, 10); left >= 0;) {
        there = server_client_line(to, line, sizeof line);
        ASSERT(there);
        left -= (long long)strlen(line) + 2;
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            value = strtoull(line + strlen(name) + 1, NULL, 10);
    }
    return value;
}

/* The sum of what the clients have counted, or how much there is. */
static bool is_right(struct server_client *to, enum redis_crowd_kind kind, unsigned each)
{
    uint64_t all = (uint64_t)each * REDIS_CROWD_CLIENTS, sum = 0;
    char command[64];
    switch (kind) {
    case REDIS_CROWD_HASH:
    case REDIS_CROWD_ZSET:
        for (unsigned n = 0; n < REDIS_CROWD_CLIENTS * OWN; n++) {
            snprintf(command, sizeof command,
                     kind == REDIS_CROWD_HASH ? "HGET crowd field:%u:%u"
                                              : "ZSCORE crowd member:%u:%u",
                     n / OWN, n % OWN);
            sum += strtoull(ask(to, command)->text, NULL, 10);
        }
        return sum == all;
    case REDIS_CROWD_SET:
        for (unsigned n = 0; n < REDIS_CROWD_CLIENTS * OWN; n++) {
            snprintf(command, sizeof command, "SISMEMBER crowd member:%u:%u", n / OWN, n % OWN);
            sum += (uint64_t)ask(to, command)->number;
        }
        return (uint64_t)ask(to, "SCARD crowd")->number == ELEMENTS + sum &&
               sum == (uint64_t)REDIS_CROWD_CLIENTS * OWN;
    case REDIS_CROWD_LIST: /* as much has come as has gone */
        return (uint64_t)ask(to, "LLEN crowd")->number == ELEMENTS + all / 2;
    case REDIS_CROWD_STREAM:
        return (uint64_t)ask(to, "XLEN crowd")->number == ELEMENTS + all;
    default:
        return strtoull(ask(to, "HGET crowd all")->text, NULL, 10) == all;
    }
}

void redis_crowd_run(const struct server_process *server, enum redis_crowd_kind kind, unsigned each,
                     struct redis_crowd_result *result)
{
    struct crowd_client clients[REDIS_CROWD_CLIENTS];
    pthread_t threads[REDIS_CROWD_CLIENTS];
    static struct server_client to;
    bool there = server_client_open(&to, server);
    ASSERT(there && each >= OWN && each % (2 * OWN) == 0);
    collection_make(&to, kind, each);
    uint64_t conflicts = counter(&to, "txn_conflicts"), retries = counter(&to, "txn_retries");
    uint64_t start_ns = clock_monotonic_ns(clock_system());
    for (unsigned n = 0; n < REDIS_CROWD_CLIENTS; n++) {
        clients[n] = (struct crowd_client){
            .server = server, .kind = kind, .number = n, .each = each, .right = true};
        there = server_client_open(&clients[n].to, server);
        int rc = pthread_create(&threads[n], NULL, client_run, &clients[n]);
        ASSERT(there && rc == 0);
    }
    *result = (struct redis_crowd_result){.operations = (uint64_t)each * REDIS_CROWD_CLIENTS,
                                          .right = true};
    for (unsigned n = 0; n < REDIS_CROWD_CLIENTS; n++) {
        pthread_join(threads[n], NULL);
        result->right = result->right && clients[n].right;
        server_client_close(&clients[n].to);
    }
    result->time_ns = clock_monotonic_ns(clock_system()) - start_ns;
    result->conflicts = counter(&to, "txn_conflicts") - conflicts;
    result->retries = counter(&to, "txn_retries") - retries;
    result->right = result->right && is_right(&to, kind, each);
    server_client_close(&to);
}
