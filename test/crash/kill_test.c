/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A killed process, and an oracle outside of it.
 *
 * Clients write numbers that only grow, each under keys of its own, and note what they have sent
 * and what was acknowledged. The server is killed at a random moment under this load and started
 * again. Then each key holds a number that is at least the last one acknowledged and at most the
 * last one sent; two keys that are written by one MULTI hold the same; and a counter that all of
 * them increment is at least the number of acknowledged increments and at most the number sent.
 * What has been found counts as acknowledged from then on: it must not go away either.
 *
 * CRASH_ROUNDS sets the number of rounds, PERIGEE_SEED the seed.
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

#include "base/random.h"
#include "base/test_seed.h"
#include "server/server_process.h"

enum { CLIENTS = 8, KEYS = 16, BATCH_MAX = 16, ROUNDS_DEFAULT = 5, KILL_MS_MAX = 300 };

/* What a client knows of one number that it writes. */
struct slot {
    uint64_t sent, acknowledged;
};

struct writer {
    const struct server_process *server;
    unsigned number;
    struct random random;
    struct slot keys[KEYS]; /* SET */
    struct slot pair;       /* both keys of MULTI */
    struct slot count;      /* increments */
    uint64_t next;
    bool wrong; /* a reply that nobody expects */
    char wrong_reply[128];
};

/* Of what one batch consists: the slot that each command writes, and what. */
struct command {
    struct slot *slot;
    uint64_t value;
    unsigned lines; /* of a good reply */
    char last;      /* the first letter of the last of them */
};

static unsigned rounds(void)
{
    const char *text = getenv("CRASH_ROUNDS");
    return text && atoi(text) > 0 ? (unsigned)atoi(text) : ROUNDS_DEFAULT;
}

static size_t command_make(struct writer *writer, char *out, size_t room, struct command *command)
{
    uint64_t kind = random_below(&writer->random, 4);
    uint64_t value = ++writer->next;
    unsigned key = (unsigned)random_below(&writer->random, KEYS);
    unsigned long long shown = value;
    if (kind == 0) {
        *command = (struct command){&writer->count, writer->count.sent + 1, 1, ':'};
        return (size_t)snprintf(out, room, "INCR count\r\n");
    }
    if (kind == 1) {
        *command = (struct command){&writer->pair, value, 6, '+'};
        return (size_t)snprintf(out, room,
                                "MULTI\r\nSET left:%u %llu\r\nSET right:%u %llu\r\nEXEC\r\n",
                                writer->number, shown, writer->number, shown);
    }
    *command = (struct command){&writer->keys[key], value, 1, '+'};
    return (size_t)snprintf(out, room, "SET key:%u:%u %llu\r\n", writer->number, key, shown);
}

/* Reads one command's reply; false when the connection is gone, or the reply is wrong. */
static bool reply_read(struct writer *writer, struct server_client *client,
                       const struct command *command)
{
    char line[512];
    for (unsigned n = 0; n < command->lines; n++) {
        if (!server_client_line(client, line, sizeof line))
            return false;
        if (line[0] == '-' || (n + 1 == command->lines && line[0] != command->last)) {
            writer->wrong = true;
            snprintf(writer->wrong_reply, sizeof writer->wrong_reply, "%.100s", line);
            return false;
        }
    }
    command->slot->acknowledged = command->value;
    return true;
}

/* Writes until the server is gone. */
static void *writer_run(void *arg)
{
    struct writer *writer = arg;
    struct server_client client;
    struct command commands[BATCH_MAX];
    char text[BATCH_MAX * 128];
    server_client_open(&client, writer->server);
    for (bool going = true; going;) {
        unsigned count = 1 + (unsigned)random_below(&writer->random, BATCH_MAX);
        size_t size = 0;
        for (unsigned n = 0; n < count; n++) {
            size += command_make(writer, text + size, sizeof text - size, &commands[n]);
            commands[n].slot->sent = commands[n].value;
        }
        going = server_client_send(&client, text, size);
        for (unsigned n = 0; n < count && going; n++)
            going = reply_read(writer, &client, &commands[n]);
    }
    server_client_close(&client);
    return NULL;
}

static uint64_t number_of(const char *reply)
{
    return reply ? strtoull(reply, NULL, 10) : 0;
}

static void slot_check(struct slot *slot, const char *name, uint64_t found)
{
    if (found < slot->acknowledged || found > slot->sent)
        fail_msg("%s holds %llu: acknowledged %llu, sent %llu", name, (unsigned long long)found,
                 (unsigned long long)slot->acknowledged, (unsigned long long)slot->sent);
    slot->acknowledged = slot->sent = found;
}

static void writer_check(struct writer *writer, struct server_client *client)
{
    char command[64];
    if (writer->wrong)
        fail_msg("a client was told: %s", writer->wrong_reply);
    for (unsigned key = 0; key < KEYS; key++) {
        snprintf(command, sizeof command, "GET key:%u:%u", writer->number, key);
        slot_check(&writer->keys[key], command, number_of(server_client_ask(client, command)));
    }
    snprintf(command, sizeof command, "GET left:%u", writer->number);
    uint64_t left = number_of(server_client_ask(client, command));
    snprintf(command, sizeof command, "GET right:%u", writer->number);
    uint64_t right = number_of(server_client_ask(client, command));
    assert_int_equal(left, right);
    slot_check(&writer->pair, "the pair", left);
}

/* The counter is everybody's: the sums of what they know bound it. */
static void count_check(struct writer *writers, struct server_client *client)
{
    struct slot all = {0, 0};
    for (unsigned n = 0; n < CLIENTS; n++) {
        all.sent += writers[n].count.sent;
        all.acknowledged += writers[n].count.acknowledged;
        writers[n].count = (struct slot){0, 0};
    }
    slot_check(&all, "GET count", number_of(server_client_ask(client, "GET count")));
    writers[0].count = all;
}

static void sleep_ms(uint64_t ms)
{
    struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* Lets the writers write and ends the server by the signal at some moment of it. */
static int round_run(struct writer *writers, struct server_process *server, uint64_t after_ms,
                     int signal_number)
{
    pthread_t threads[CLIENTS];
    for (unsigned n = 0; n < CLIENTS; n++) {
        writers[n].server = server;
        assert_int_equal(pthread_create(&threads[n], NULL, writer_run, &writers[n]), 0);
    }
    sleep_ms(after_ms);
    server_process_signal(server, signal_number);
    for (unsigned n = 0; n < CLIENTS; n++)
        pthread_join(threads[n], NULL);
    return server_process_wait(server);
}

static void all_check(struct writer *writers, const struct server_process *server)
{
    struct server_client client;
    server_client_open(&client, server);
    for (unsigned n = 0; n < CLIENTS; n++)
        writer_check(&writers[n], &client);
    count_check(writers, &client);
    server_client_close(&client);
}

static void writers_create(struct writer *writers, struct random *random)
{
    memset(writers, 0, CLIENTS * sizeof *writers);
    for (unsigned n = 0; n < CLIENTS; n++) {
        writers[n].number = n;
        random_create(&writers[n].random, random_next(random));
    }
}

static void rounds_run(const char *durability, int signal_number, int status_wanted)
{
    struct writer *writers = calloc(CLIENTS, sizeof *writers);
    struct server_process server;
    struct random random;
    char folder[256];
    const char *const options[] = {"--durability", durability, "--workers", "2",
                                   "--log_level",  "warn",     NULL};
    assert_non_null(writers);
    random_create(&random, test_seed());
    writers_create(writers, &random);
    server_folder_make(folder);
    for (unsigned round = 0; round < rounds(); round++) {
        server_process_start(&server, folder, options);
        all_check(writers, &server);
        uint64_t after_ms = random_below(&random, KILL_MS_MAX);
        assert_int_equal(round_run(writers, &server, after_ms, signal_number), status_wanted);
    }
    server_process_start(&server, folder, options);
    all_check(writers, &server);
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    server_folder_remove(folder);
    free(writers);
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
    (void)state;
    rounds_run("commit", SIGKILL, -SIGKILL);
}

static void what_the_system_has_survives_a_kill_under_interval(void **state)
{
    (void)state;
    rounds_run("interval", SIGKILL, -SIGKILL);
}

static void an_orderly_stop_under_load_loses_nothing_at_any_level(void **state)
{
    (void)state;
    rounds_run("commit", SIGTERM, 0);
    rounds_run("none", SIGTERM, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_survives_a_kill),
        cmocka_unit_test(what_the_system_has_survives_a_kill_under_interval),
        cmocka_unit_test(an_orderly_stop_under_load_loses_nothing_at_any_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
