/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A watch that is kept, in a process that is killed.
 *
 * Clients write numbers that grow by one, each under keys of its own, by four connections at once. A
 * procedure, called by the watch, notes each change as a row of another space, in the order in which
 * it is told. The server is killed at random moments and started again with small segments and many
 * checkpoints. In the end the notes of a key, one behind the other, are what was written to it: from
 * 1 up without a gap, at least up to what was acknowledged; a step back, to what it is told again, at
 * most once for each time it was started, and for the few changes whose position was not stored. All of it for
 * spaces of each engine.
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
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "server/resp_client.h"
#include "server/server_process.h"
#include "storage/engines.h"

enum { WRITERS = 4, KEYS = 4, ROUNDS_DEFAULT = 8, KILL_MS_MAX = 300, WAIT_MS_MAX = 60000 };

struct writer {
    const struct server_process *server;
    unsigned number;
    struct random random;
    uint64_t sent[KEYS], acknowledged[KEYS];
    bool wrong;
};

static const char *const setup[] = {
    "box.schema.space.create('numbers', { engine = ENGINE }):create_index('id')",
    "box.schema.sequence.create('order')",
    ("local s = box.schema.space.create('notes', { engine = ENGINE }) "
     "s:create_index('id', { sequence = 'order' })"),
    ("box.schema.func.create('note', { body = [[function(event) "
     "box.space.notes:insert({ box.NULL, event.key[1], event.tuple[2] }) end]] })"),
    "box.schema.watch.create('noter', { space = 'numbers', func = 'note' })",
};

static void sleep_ms(uint64_t ms)
{
    const struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
    nanosleep(&time, NULL);
}

static bool lua(struct server_client *client, const char *text, struct resp_reply *reply)
{
    const char *const arguments[] = {"LUA", text, "0"};
    return resp_send(client, 2, arguments) && resp_read(client, reply);
}

/* Runs text that has to succeed. */
static void lua_must(struct server_client *client, const char *text, struct resp_reply *reply)
{
    assert_true(lua(client, text, reply));
    if (reply->items[0].type == '-')
        print_message("%s: %s\n", text, reply->items[0].text);
    assert_int_not_equal(reply->items[0].type, '-');
}

/* A number that text gives. */
static uint64_t lua_number(struct server_client *client, const char *text)
{
    struct resp_reply reply;
    lua_must(client, text, &reply);
    for (unsigned i = 0; i < reply.count; i++)
        if (reply.items[i].type == ':')
            return (uint64_t)reply.items[i].number;
    return 0;
}

static void *write_numbers(void *arg)
{
    struct writer *writer = arg;
    struct server_client client;
    struct resp_reply reply;
    if (!server_client_open(&client, writer->server))
        return NULL;
    for (;;) {
        char text[128];
        unsigned key = (unsigned)random_below(&writer->random, KEYS);
        uint64_t value = writer->sent[key] + 1;
        snprintf(text, sizeof text, "box.space.numbers:replace({%u, %llu})",
                 writer->number * KEYS + key, (unsigned long long)value);
        writer->sent[key] = value;
        if (!lua(&client, text, &reply))
            break;
        writer->wrong |= reply.items[0].type == '-';
        if (writer->wrong) {
            print_message("%s\n", reply.items[0].text);
            break;
        }
        writer->acknowledged[key] = value;
    }
    server_client_close(&client);
    return NULL;
}

static void server_start(struct server_process *server, const char *folder)
{
    static const char *const options[] = {
        "--workers", "2", "--checkpoint_log_bytes", "64kb", "--log_segment_max", "64kb", NULL};
    server_process_start(server, folder, options);
}

/* What is there counts from now on: the next number is one more. */
static void numbers_read(struct writer *writers, struct server_client *client)
{
    for (unsigned n = 0; n < WRITERS * KEYS; n++) {
        char text[128];
        struct writer *writer = &writers[n / KEYS];
        snprintf(text, sizeof text, "local t = box.space.numbers:get(%u) return t and t[2] or 0",
                 n);
        uint64_t value = lua_number(client, text);
        assert_true(value >= writer->acknowledged[n % KEYS]);
        assert_true(value <= writer->sent[n % KEYS]);
        writer->sent[n % KEYS] = writer->acknowledged[n % KEYS] = value;
    }
}

/* Until each key's last number has been noted. */
static void notes_await(const struct writer *writers, struct server_client *client)
{
    static const char text[] =
        "local last, missing = {}, 0 "
        "for _, t in box.space.notes:pairs() do last[t[2]] = t[3] end "
        "for _, t in box.space.numbers:pairs() do "
        "if last[t[1]] ~= t[2] then missing = missing + 1 end end return missing";
    (void)writers;
    for (unsigned ms = 0; lua_number(client, text) > 0; ms += 20) {
        assert_true(ms < WAIT_MS_MAX);
        sleep_ms(20);
    }
}

/* The notes of each key: no gap. Returns the steps back of all keys. */
static uint64_t notes_check(struct server_client *client)
{
    static const char text[] =
        "local last, high, gaps = {}, {}, 0 "
        "for _, t in box.space.notes:pairs() do "
        "local key, value = t[2], t[3] "
        "if value > (high[key] or 0) + 1 then gaps = gaps + 1 end "
        "if value ~= (last[key] or 0) + 1 and value > (last[key] or 0) then gaps = gaps + 1 end "
        "last[key], high[key] = value, math.max(high[key] or 0, value) end return gaps";
    static const char back[] = "local last, back = {}, 0 "
                               "for _, t in box.space.notes:pairs() do "
                               "if t[3] <= (last[t[2]] or 0) then back = back + 1 end "
                               "last[t[2]] = t[3] end return back";
    assert_int_equal(lua_number(client, text), 0);
    return lua_number(client, back);
}

static unsigned rounds(void)
{
    const char *text = getenv("CRASH_ROUNDS");
    return text == NULL ? (unsigned)ROUNDS_DEFAULT : (unsigned)strtoul(text, NULL, 10);
}

static void a_kept_watch_is_told_of_all_that_was_acknowledged_in_order(void **state)
{
    char folder[256];
    struct server_process server;
    struct server_client client;
    struct resp_reply reply;
    struct writer writers[WRITERS] = {0};
    struct random random;
    random_create(&random, test_seed());
    server_folder_make(folder);
    server_start(&server, folder);
    assert_true(server_client_open(&client, &server));
    for (size_t i = 0; i < sizeof setup / sizeof *setup; i++) {
        char text[512];
        snprintf(text, sizeof text, "local ENGINE = '%s' %s", (const char *)*state, setup[i]);
        lua_must(&client, text, &reply);
    }
    server_client_close(&client);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i].number = i;
        random_create(&writers[i].random, random_next(&random));
    }
    unsigned lives = rounds();
    for (unsigned round = 0; round < lives; round++) {
        pthread_t threads[WRITERS];
        for (unsigned i = 0; i < WRITERS; i++) {
            writers[i].server = &server;
            pthread_create(&threads[i], NULL, write_numbers, &writers[i]);
        }
        sleep_ms(random_below(&random, KILL_MS_MAX));
        server_process_signal(&server, SIGKILL);
        server_process_wait(&server);
        for (unsigned i = 0; i < WRITERS; i++) {
            pthread_join(threads[i], NULL);
            assert_false(writers[i].wrong);
        }
        server_start(&server, folder);
        assert_true(server_client_open(&client, &server));
        numbers_read(writers, &client);
        if (random_below(&random, 2) == 0) {
            notes_await(writers, &client);
            notes_check(&client);
        }
        server_client_close(&client);
    }
    assert_true(server_client_open(&client, &server));
    notes_await(writers, &client);
    uint64_t back = notes_check(&client);
    print_message("%llu notes, %llu steps back\n",
                  (unsigned long long)lua_number(&client, "return box.space.notes:len()"),
                  (unsigned long long)back);
    assert_true(back <= (uint64_t)lives * WRITERS * KEYS);
    server_client_close(&client);
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    server_folder_remove(folder);
}

int main(void)
{
    struct CMUnitTest tests[ENGINES_MAX];
    unsigned count =
        engines_tests(tests, "a_kept_watch_is_told_of_all_that_was_acknowledged_in_order",
                      a_kept_watch_is_told_of_all_that_was_acknowledged_in_order, NULL, NULL);
    return engines_run("watches and kills", tests, count);
}
