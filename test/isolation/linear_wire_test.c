/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands on single keys are linearizable over the wire, with durability commit, also when the
 * process is killed: each looks as if it had happened at one moment between call and reply, and
 * what has no reply because the server died has happened before its death or not at all.
 *
 * Several connections send commands to few keys, in pipelines, until the server is killed; then it
 * is started again on the same folder, and all go on. Checked by the search in history/linear.h.
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
#include <time.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "history/linear.h"
#include "server/resp_client.h"

enum {
    CLIENTS = 6,
    KEYS = 5,
    PIPELINE_MAX = 3,
    LIVES = 3,        /* of the server */
    OPS_MAX = 4000,   /* of a client in one life */
    LIFE_MS_MAX = 500 /* at most, with as many operations as there then are */
};

#define WAIT_NS_MAX UINT64_C(60000000000)

struct client {
    const struct server_process *server;
    struct random random;
    struct linear_history history;
    uint32_t session, values;
    char wrong[128]; /* a reply that nobody expects */
};

static _Atomic unsigned replies; /* in the present life */

static uint64_t now(void)
{
    return clock_monotonic_ns(clock_system());
}

static const char CAS[] = "if redis.call('get', KEYS[1]) == ARGV[1] then "
                          "redis.call('set', KEYS[1], ARGV[2]) return 1 end return 0";

static bool op_send(struct server_client *to, const struct linear_op *op)
{
    static const char *const names[LINEAR_VERBS] = {"GET", "SET",  "SETNX",  "GETSET",
                                                    "DEL", "INCR", "APPEND", "EVAL"};
    char key[16];
    snprintf(key, sizeof key, "key:%u", op->key);
    const char *set_nx[] = {"SET", key, op->argument, "NX"};
    const char *cas[] = {"EVAL", CAS, "1", key, op->expected, op->argument};
    const char *plain[] = {names[op->verb], key, op->argument};
    if (op->verb == LINEAR_CAS)
        return resp_send(to, 6, cas);
    if (op->verb == LINEAR_SETNX && op->session % 2)
        return resp_send(to, 4, set_nx);
    return resp_send(to, op->argument[0] != '\0' ? 3 : 2, plain);
}

/* The reply as the model gives it; false when it is none that tells of the outcome. */
static bool reply_note(struct client *client, struct linear_op *op, const struct resp_reply *reply,
                       uint64_t time)
{
    const struct resp_item *item = &reply->items[0];
    const char *text = item->nil ? NULL : item->text;
    if (item->type == '-') {
        if (!resp_is_error(reply, "ERR value is not an integer")) {
            snprintf(client->wrong, sizeof client->wrong, "%.120s", item->text);
            return false;
        }
        text = LINEAR_ERROR;
    }
    if (op->verb == LINEAR_SETNX && op->session % 2) /* SET NX: OK or nil */
        text = item->nil ? "0" : "1";
    linear_reply(op, text, time);
    return true;
}

static void op_make(struct client *client)
{
    struct random *random = &client->random;
    char value[16], expected[16] = "";
    uint32_t key = (uint32_t)random_below(random, KEYS);
    enum linear_verb verb = (enum linear_verb)random_below(random, LINEAR_VERBS);
    bool writes =
        verb == LINEAR_SET || verb == LINEAR_SETNX || verb == LINEAR_GETSET || verb == LINEAR_CAS;
    snprintf(value, sizeof value, "%u", client->session * 100000 + ++client->values);
    if (verb == LINEAR_APPEND)
        snprintf(value, sizeof value, "%c", (char)('a' + random_below(random, 26)));
    if (verb == LINEAR_CAS && client->history.count > 0) { /* what a reply told lately */
        const struct linear_op *known =
            &client->history
                 .ops[client->history.count - 1 -
                      random_below(random, client->history.count < 8 ? client->history.count : 8)];
        key = known->key;
        snprintf(expected, sizeof expected, "%.15s",
                 known->verb == LINEAR_SET ? known->argument : known->reply);
    }
    struct linear_op *op =
        linear_call(&client->history, key, verb, writes || verb == LINEAR_APPEND ? value : NULL,
                    verb == LINEAR_CAS ? expected : NULL, 0);
    op->session = client->session;
}

/* A pipeline; false when the server is gone. */
static bool pipeline_run(struct client *client, struct server_client *to)
{
    struct resp_reply reply;
    unsigned count = 1 + (unsigned)random_below(&client->random, PIPELINE_MAX);
    size_t first = client->history.count;
    bool sent = true;
    for (unsigned i = 0; i < count; i++)
        op_make(client);
    for (unsigned i = 0; i < count; i++) {
        client->history.ops[first + i].begin = now();
        sent = sent && op_send(to, &client->history.ops[first + i]);
    }
    for (unsigned i = 0; i < count; i++)
        if (!resp_read(to, &reply) ||
            !reply_note(client, &client->history.ops[first + i], &reply, now()))
            return false;
    atomic_fetch_add(&replies, count);
    return sent;
}

static void *client_run(void *arg)
{
    struct client *client = arg;
    struct server_client *to = malloc(sizeof *to);
    size_t before = client->history.count;
    if (to == NULL)
        abort();
    if (server_client_open(to, client->server)) {
        while (client->history.count - before < OPS_MAX && pipeline_run(client, to)) {
        }
        server_client_close(to);
    } /* else the server has ended already */
    free(to);
    return NULL;
}

static void sleep_ms(uint64_t ms)
{
    struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* What has no reply can happen no more. */
static void unanswered_end(struct client *client)
{
    for (size_t i = 0; i < client->history.count; i++)
        if (!client->history.ops[i].has_reply && client->history.ops[i].end == UINT64_MAX)
            client->history.ops[i].end = now();
}

/* Ends when the time is over, and not before there are so many replies. */
static void life_run(struct client *clients, struct server_process *server, uint64_t ms,
                     unsigned replies_min)
{
    pthread_t threads[CLIENTS];
    store_relaxed(&replies, 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i].server = server;
        assert_int_equal(pthread_create(&threads[i], NULL, client_run, &clients[i]), 0);
    }
    sleep_ms(ms);
    for (uint64_t end = now() + WAIT_NS_MAX; load_relaxed(&replies) < replies_min && now() < end;)
        sleep_ms(1);
    server_process_signal(server, SIGKILL);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(server_process_wait(server), -SIGKILL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (clients[i].wrong[0] != '\0')
            fail_msg("a client was told: %s", clients[i].wrong);
        unanswered_end(&clients[i]);
    }
}

/* What is there in the end. */
static void read_all(struct client *client, const struct server_process *server)
{
    static struct server_client to;
    struct resp_reply reply;
    server_client_open(&to, server);
    for (uint32_t key = 0; key < KEYS; key++) {
        struct linear_op *op = linear_call(&client->history, key, LINEAR_GET, NULL, NULL, now());
        assert_true(op_send(&to, op) && resp_read(&to, &reply));
        assert_true(reply_note(client, op, &reply, now()));
    }
    server_client_close(&to);
}

static void clients_start(struct client *clients, struct random *random)
{
    memset(clients, 0, CLIENTS * sizeof *clients);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i].session = i;
        random_create(&clients[i].random, random_next(random));
        linear_history_create(&clients[i].history);
    }
}

static void histories_check(struct client *clients)
{
    struct linear_history history;
    static struct linear_report report;
    size_t answered = 0;
    linear_history_create(&history);
    for (unsigned i = 0; i < CLIENTS; i++) {
        linear_history_join(&history, &clients[i].history);
        linear_history_destroy(&clients[i].history);
    }
    for (size_t i = 0; i < history.count; i++)
        answered += history.ops[i].has_reply;
    bool right = linear_check(&history, &report);
    printf("%zu commands on %u keys, %zu without a reply, %llu steps of the search\n",
           history.count, report.keys, history.count - answered, (unsigned long long)report.steps);
    if (!right)
        fail_msg("%s", report.text);
    assert_true(answered > CLIENTS);
    linear_history_destroy(&history);
}

static void commands_on_single_keys_are_linearizable_also_across_kills(void **state)
{
    (void)state;
    static struct client clients[CLIENTS];
    static const char *const options[] = {"--durability", "commit", "--workers", "2",
                                          "--log_level",  "warn",   NULL};
    struct server_process server;
    struct random random;
    char folder[256];
    random_create(&random, test_seed());
    clients_start(clients, &random);
    server_folder_make(folder);
    for (unsigned life = 0; life < LIVES; life++) {
        server_process_start(&server, folder, options);
        life_run(clients, &server, 1 + random_below(&random, LIFE_MS_MAX),
                 life == LIVES - 1 ? 2 * CLIENTS : 0);
    }
    server_process_start(&server, folder, options);
    read_all(&clients[0], &server);
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    server_folder_remove(folder);
    histories_check(clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_on_single_keys_are_linearizable_also_across_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
