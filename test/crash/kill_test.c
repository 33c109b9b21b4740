/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A killed process, and an oracle outside of it.
 *
 * Clients write numbers that only grow, each under keys of its own, and note what they have sent
 * and what was acknowledged; some values are long, so that blocks are. Another one asks for
 * checkpoints. Under this load the server is killed, at a random moment or at a crash point
 * (base/crash_point.h), and started again with other options. Then each key holds a number that is
 * at least the last one acknowledged and at most the last one sent, and all of its value; two keys
 * that are written by one MULTI hold the same; and a counter that all of them increment is at least
 * the number of acknowledged increments and at most the number sent. What has been found counts as
 * acknowledged from then on: it must not go away either. `perigee check` finds nothing damaged
 * after a crash point, and the archive of all lives has no gap.
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

#include "base/crash_point.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "server/server_process.h"

enum {
    CLIENTS = 8,
    KEYS = 16,
    BATCH_MAX = 16,
    ROUNDS_DEFAULT = 50,
    ROUNDS_FOLDER = 25,  /* then with a new folder */
    ROUNDS_LOSING = 20,  /* at most, until something is lost that was not promised */
    ROUNDS_ORDERLY = 10, /* of those that kill, one that stops */
    KILL_MS_MAX = 200,   /* when a moment is chosen */
    POINT_MS_MAX = 500,  /* how long a crash point is waited for */
    LONG_ONE_OF = 64,    /* values */
    LONG_BYTES_MAX = 60000,
    COMMAND_BYTES_MAX = 256 + LONG_BYTES_MAX,
    POINTS_MAX = 32,
    OPTIONS_MAX = 24,
    SAVE_MS_MAX = 60, /* between two checkpoints on request */
};

/* ---------------------------------------------------------------- the writers */

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
    unsigned *lost; /* counts what is not as it must be; NULL: that fails the test */
};

/* Of what one batch consists: the slot that each command writes, and what. */
struct command {
    struct slot *slot;
    uint64_t value;
    unsigned lines; /* of a good reply */
    char last;      /* the first letter of the last of them */
};

/* The dots behind a number: few values are long. */
static size_t padding_of(uint64_t value)
{
    return value % LONG_ONE_OF == 0 ? (size_t)(value * 7919 % LONG_BYTES_MAX) : 0;
}

static size_t set_make(char *out, size_t room, unsigned writer, unsigned key, uint64_t value)
{
    char name[64], number[32];
    size_t padding = padding_of(value);
    int name_size = snprintf(name, sizeof name, "key:%u:%u", writer, key);
    int size = snprintf(number, sizeof number, "%llu", (unsigned long long)value);
    size_t made = (size_t)snprintf(out, room, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%zu\r\n%s",
                                   name_size, name, (size_t)size + padding, number);
    memset(out + made, '.', padding);
    memcpy(out + made + padding, "\r\n", 2);
    return made + padding + 2;
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
    return set_make(out, room, writer->number, key, value);
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
    if (command->slot == &writer->count)
        writer->count.acknowledged++; /* one sent in an earlier life may never have arrived */
    else
        command->slot->acknowledged = command->value;
    return true;
}

static bool batch_run(struct writer *writer, struct server_client *client, char *text)
{
    struct command commands[BATCH_MAX];
    unsigned count = 1 + (unsigned)random_below(&writer->random, BATCH_MAX);
    size_t size = 0;
    for (unsigned n = 0; n < count; n++) {
        size += command_make(writer, text + size, COMMAND_BYTES_MAX, &commands[n]);
        commands[n].slot->sent = commands[n].value;
    }
    bool going = server_client_send(client, text, size);
    for (unsigned n = 0; n < count && going; n++)
        going = reply_read(writer, client, &commands[n]);
    return going;
}

/* Writes until the server is gone. */
static void *writer_run(void *arg)
{
    struct writer *writer = arg;
    struct server_client client;
    if (!server_client_open(&client, writer->server))
        return NULL;
    char *text = malloc((size_t)BATCH_MAX * COMMAND_BYTES_MAX);
    while (text != NULL && batch_run(writer, &client, text))
        ;
    free(text);
    server_client_close(&client);
    return NULL;
}

/* ---------------------------------------------------------------- the keeper */

/* Asks for checkpoints. */
struct keeper {
    const struct server_process *server;
    struct random random;
    bool wrong;
    char wrong_reply[128];
};

static void sleep_ms(uint64_t ms)
{
    struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* Until the server is gone. */
static void *keeper_run(void *arg)
{
    struct keeper *keeper = arg;
    struct server_client client;
    char line[512];
    if (!server_client_open(&client, keeper->server))
        return NULL;
    for (bool going = true; going && !keeper->wrong;) {
        sleep_ms(random_below(&keeper->random, SAVE_MS_MAX));
        going = server_client_send(&client, "SAVE\r\n", 6) &&
                server_client_line(&client, line, sizeof line);
        /* An orderly stop does not wait for it. */
        keeper->wrong =
            going && strcmp(line, "+OK") != 0 && strstr(line, "is being closed") == NULL;
    }
    if (keeper->wrong)
        snprintf(keeper->wrong_reply, sizeof keeper->wrong_reply, "%.100s", line);
    server_client_close(&client);
    return NULL;
}

/* ---------------------------------------------------------------- what is found */

static uint64_t number_of(const char *reply)
{
    return reply ? strtoull(reply, NULL, 10) : 0;
}

static void slot_check(struct slot *slot, const char *name, uint64_t found, unsigned *lost)
{
    bool right = found >= slot->acknowledged && found <= slot->sent;
    if (!right && lost != NULL)
        ++*lost;
    else if (!right)
        fail_msg("%s holds %llu: acknowledged %llu, sent %llu", name, (unsigned long long)found,
                 (unsigned long long)slot->acknowledged, (unsigned long long)slot->sent);
    slot->acknowledged = slot->sent = found;
}

static void key_check(struct writer *writer, struct server_client *client, unsigned key)
{
    char command[64], number[32];
    snprintf(command, sizeof command, "GETRANGE key:%u:%u 0 19", writer->number, key);
    uint64_t found = number_of(server_client_ask(client, command));
    slot_check(&writer->keys[key], command, found, writer->lost);
    snprintf(command, sizeof command, "STRLEN key:%u:%u", writer->number, key);
    size_t size =
        found == 0 ? 0 : (size_t)snprintf(number, sizeof number, "%llu", (unsigned long long)found);
    assert_int_equal(number_of(server_client_ask(client, command) + 1), size + padding_of(found));
}

static void writer_check(struct writer *writer, struct server_client *client)
{
    char command[64];
    if (writer->wrong)
        fail_msg("a client was told: %s", writer->wrong_reply);
    for (unsigned key = 0; key < KEYS; key++)
        key_check(writer, client, key);
    snprintf(command, sizeof command, "GET left:%u", writer->number);
    uint64_t left = number_of(server_client_ask(client, command));
    snprintf(command, sizeof command, "GET right:%u", writer->number);
    uint64_t right = number_of(server_client_ask(client, command));
    assert_int_equal(left, right);
    slot_check(&writer->pair, "the pair", left, writer->lost);
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
    slot_check(&all, "GET count", number_of(server_client_ask(client, "GET count")),
               writers[0].lost);
    writers[0].count = all;
}

static void all_check(struct writer *writers, const struct server_process *server)
{
    struct server_client client;
    assert_true(server_client_open(&client, server));
    for (unsigned n = 0; n < CLIENTS; n++)
        writer_check(&writers[n], &client);
    count_check(writers, &client);
    server_client_close(&client);
}

/* ---------------------------------------------------------------- options */

/* Of one crash point. */
struct point {
    unsigned armed, hit;
};

struct game {
    struct writer writers[CLIENTS];
    struct keeper keeper;
    struct random random;
    struct server_process server;
    struct point points[POINTS_MAX];
    char folder[256];
    char archive[256]; /* "": this folder has none */
    const char *options[OPTIONS_MAX];
};

/* What is rolled at each start. */
struct rolled {
    const char *name;
    const char *values[6];
};

static const struct rolled rolled_options[] = {
    {"--durability", {"commit", "interval"}},
    {"--workers", {"1", "2", "4"}},
    {"--log_segment_max", {"64kb", "1mb", "64mb"}},
    {"--checkpoint_log_bytes", {"0", "256kb", "8mb"}},
    {"--checkpoint_interval", {"0", "20ms", "1h"}},
    {"--checkpoint_rate", {"0", "4mb"}},
    {"--log_compression", {"on", "off"}},
    {"--tuner", {"off", "on"}}, /* how the log writer waits for more to write */
    {"--tuner_limits", {"log_gather=0..2000", "log_gather=1000..2000"}},
};

/* With `released`, so that segments of the log are given up and used again soon. */
static void options_roll(struct game *game, bool released)
{
    struct random *random = &game->random;
    const char **options = game->options;
    size_t count = 0;
    options[count++] = "--log_level";
    options[count++] = "error";
    for (size_t n = 0; n < sizeof rolled_options / sizeof *rolled_options; n++) {
        const struct rolled *rolled = &rolled_options[n];
        unsigned values = 0;
        while (values < 6 && rolled->values[values] != NULL)
            values++;
        options[count++] = rolled->name;
        options[count++] = rolled->values[random_below(random, values)];
    }
    for (size_t n = 0; released && n < count; n += 2) {
        if (strcmp(options[n], "--log_segment_max") == 0)
            options[n + 1] = "64kb";
        if (strcmp(options[n], "--checkpoint_log_bytes") == 0)
            options[n + 1] = "256kb";
    }
    if (game->archive[0] != 0) {
        options[count++] = "--archive";
        options[count++] = game->archive;
    }
    options[count] = NULL;
}

/* ---------------------------------------------------------------- crash points */

/* "name:pass". What happens for each block has many passes to choose from. */
static void point_choose(struct random *random, unsigned number, char *out, size_t size)
{
    const char *name = crash_point_name(number);
    uint64_t most = strncmp(name, "wal.block.", 10) == 0 ? 400 : 3;
    snprintf(out, size, "%s:%llu", name, (unsigned long long)(1 + random_below(random, most)));
}

/* Those of index builds are the last; crash_index_build comes to them. */
static unsigned point_count(void)
{
    unsigned count = 0;
    while (crash_point_name(count) != NULL && strncmp(crash_point_name(count), "index.", 6) != 0)
        count++;
    assert_true(count <= POINTS_MAX);
    return count;
}

/* ---------------------------------------------------------------- rounds */

static unsigned rounds(void)
{
    const char *text = getenv("CRASH_ROUNDS");
    return text && atoi(text) > 0 ? (unsigned)atoi(text) : ROUNDS_DEFAULT;
}

static void folder_begin(struct game *game)
{
    memset(game->writers, 0, sizeof game->writers);
    for (unsigned n = 0; n < CLIENTS; n++) {
        game->writers[n].number = n;
        random_create(&game->writers[n].random, random_next(&game->random));
    }
    random_create(&game->keeper.random, random_next(&game->random));
    server_folder_make(game->folder);
    game->archive[0] = 0;
    if (random_below(&game->random, 2) == 0)
        server_folder_make(game->archive);
}

/* Offline: nothing is damaged, whatever was half done. */
static void folder_check(const struct game *game)
{
    const char *const words[] = {"check", game->folder, NULL};
    assert_int_equal(server_process_run(words), 0);
}

/* Lets the writers write until the server has ended by itself, or ends it by the signal when the
 * time is over. True when it ended by itself. */
static bool load_run(struct game *game, uint64_t for_ms, int signal_number)
{
    pthread_t threads[CLIENTS], keeper;
    game->keeper.server = &game->server;
    assert_int_equal(pthread_create(&keeper, NULL, keeper_run, &game->keeper), 0);
    for (unsigned n = 0; n < CLIENTS; n++) {
        game->writers[n].server = &game->server;
        assert_int_equal(pthread_create(&threads[n], NULL, writer_run, &game->writers[n]), 0);
    }
    bool ended = false;
    for (uint64_t ms = 0; !(ended = server_process_ended(&game->server)) && ms < for_ms; ms++)
        sleep_ms(1);
    if (!ended)
        server_process_signal(&game->server, signal_number);
    for (unsigned n = 0; n < CLIENTS; n++)
        pthread_join(threads[n], NULL);
    pthread_join(keeper, NULL);
    if (game->keeper.wrong)
        fail_msg("SAVE was told: %s", game->keeper.wrong_reply);
    return ended;
}

static void life_print(const struct game *game, const char *end)
{
    for (unsigned n = 2; game->options[n] != NULL; n += 2)
        printf("%s=%s ", game->options[n] + 2, game->options[n + 1]);
    printf("ended by %s\n", end);
    fflush(stdout);
}

/* A life that a crash point ends, or else the end of our patience. */
static void life_to_point(struct game *game, unsigned number)
{
    char point[64];
    point_choose(&game->random, number, point, sizeof point);
    options_roll(game, strncmp(point, "wal.segment.", 12) == 0);
    bool hit = !server_process_start_armed(&game->server, game->folder, game->options, point) ||
               load_run(game, POINT_MS_MAX, SIGKILL);
    assert_int_equal(server_process_wait(&game->server), -SIGKILL);
    life_print(game, hit ? point : "nothing hit");
    folder_check(game);
    game->points[number].armed++;
    game->points[number].hit += hit;
}

/* A life that begins with a look at what the last one left, and ends by a signal under load. */
static void life_to_signal(struct game *game, int signal_number)
{
    options_roll(game, false);
    server_process_start(&game->server, game->folder, game->options);
    all_check(game->writers, &game->server);
    load_run(game, random_below(&game->random, KILL_MS_MAX), signal_number);
    life_print(game, signal_number == SIGKILL ? "a kill" : "a stop");
    assert_int_equal(server_process_wait(&game->server), signal_number == SIGKILL ? -SIGKILL : 0);
}

/* A last look, and an orderly stop. */
static void folder_end(struct game *game)
{
    options_roll(game, false);
    server_process_start(&game->server, game->folder, game->options);
    all_check(game->writers, &game->server);
    server_process_signal(&game->server, SIGTERM);
    assert_int_equal(server_process_wait(&game->server), 0);
    folder_check(game);
    server_folder_remove(game->folder);
    if (game->archive[0] != 0) {
        const char *const words[] = {"wal", "verify", game->archive, NULL};
        assert_int_equal(server_process_run(words), 0); /* it has no gap */
        server_folder_remove(game->archive);
    }
}

static void points_print(const struct game *game, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        printf("%-30s armed %3u times, hit %3u\n", crash_point_name(n), game->points[n].armed,
               game->points[n].hit);
    fflush(stdout);
}

/* Every second round has a crash point, in turn, beginning with one that the seed chooses. */
static void what_was_acknowledged_survives_a_kill_at_any_moment_and_at_every_point(void **state)
{
    (void)state;
    struct game *game = calloc(1, sizeof *game);
    assert_non_null(game);
    random_create(&game->random, test_seed());
    unsigned points = point_count(), next = (unsigned)random_below(&game->random, points);
    folder_begin(game);
    for (unsigned round = 0; round < rounds(); round++) {
        if (round % 2 == 0)
            life_to_point(game, next++ % points);
        life_to_signal(game, round % ROUNDS_ORDERLY == ROUNDS_ORDERLY - 1 ? SIGTERM : SIGKILL);
        if (round % ROUNDS_FOLDER == ROUNDS_FOLDER - 1) {
            folder_end(game);
            folder_begin(game);
        }
    }
    folder_end(game);
    points_print(game, points);
    free(game);
}

/* At `none` nothing else is promised. */
static void an_orderly_stop_under_load_loses_nothing_at_the_lowest_level(void **state)
{
    (void)state;
    static const char *const options[] = {"--durability", "none", "--log_level", "error", NULL};
    struct game *game = calloc(1, sizeof *game);
    assert_non_null(game);
    random_create(&game->random, test_seed());
    folder_begin(game);
    for (unsigned round = 0; round < 3; round++) {
        server_process_start(&game->server, game->folder, options);
        all_check(game->writers, &game->server);
        load_run(game, random_below(&game->random, KILL_MS_MAX), SIGTERM);
        assert_int_equal(server_process_wait(&game->server), 0);
    }
    folder_end(game);
    free(game);
}

/* So this test would notice. */
static void a_kill_at_the_lowest_level_loses_what_was_acknowledged(void **state)
{
    (void)state;
    static const char *const options[] = {"--durability", "none", "--log_level", "error", NULL};
    struct game *game = calloc(1, sizeof *game);
    unsigned lost = 0;
    assert_non_null(game);
    random_create(&game->random, test_seed());
    folder_begin(game);
    for (unsigned n = 0; n < CLIENTS; n++)
        game->writers[n].lost = &lost;
    for (unsigned round = 0; round < ROUNDS_LOSING && lost == 0; round++) {
        server_process_start(&game->server, game->folder, options);
        all_check(game->writers, &game->server);
        load_run(game, 50 + random_below(&game->random, KILL_MS_MAX), SIGKILL);
        assert_int_equal(server_process_wait(&game->server), -SIGKILL);
    }
    folder_end(game);
    assert_true(lost > 0);
    free(game);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_survives_a_kill_at_any_moment_and_at_every_point),
        cmocka_unit_test(an_orderly_stop_under_load_loses_nothing_at_the_lowest_level),
        cmocka_unit_test(a_kill_at_the_lowest_level_loses_what_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
