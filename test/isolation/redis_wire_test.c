/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Redis commands on several keys are strictly serializable over the wire: eight connections send
 * random ones, alone, in MULTI (also behind WATCH) and in scripts, in pipelines, to few keys of all
 * types, packed or spread over rows, and what they are told is what some order of all requests
 * gives that agrees with time (history/redis_order.h).
 *
 * Time is cut into rounds. In each, some keys are at work; when all have their replies one
 * connection reads all that is there, and that is where the next round begins.
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
#include "history/redis_order.h"
#include "server/resp_client.h"

enum {
    CLIENTS = REDIS_MODEL_SESSIONS,
    OPS = 12, /* of a client in a round */
    PIPELINE_MAX = 3,
    HOMES = 5,        /* types of values, each with keys of its own */
    HOME_KEYS = 3,    /* and commands go astray now and then */
    PUSHES_MAX = 3,   /* of a client in a round */
    ELEMENTS_MAX = 12 /* of all lists when a round begins */
};

/* What a script is given: how many words, and the words, of each command. */
static const char SCRIPT[] = "local out, n = {}, 1 "
                             "while n <= #ARGV do "
                             "  local size = tonumber(ARGV[n]) "
                             "  out[#out + 1] = redis.pcall(unpack(ARGV, n + 1, n + size)) "
                             "  n = n + size + 1 "
                             "end "
                             "return out";

/* What a round is about. */
struct mood {
    unsigned focus;         /* types that are at work, as bits */
    unsigned keys, members; /* of each type; of each key */
    bool alone;             /* commands come by themselves only */
};

struct client {
    struct server_client to;
    struct random random;
    struct redis_order_session *said;
    const struct mood *mood;
    unsigned pushes;
    uint16_t *element; /* the last one pushed */
    bool watches;
    bool gone;
};

static uint64_t now(void)
{
    return clock_monotonic_ns(clock_system());
}

/* --------------------------------------------------------------------------------- replies */

enum { CHILDREN_MAX = 64, CHILD_MAX = 24 };

/* Sorts `count` groups of `each` texts by the first of the group. */
static void children_sort(char (*children)[CHILD_MAX], unsigned count, unsigned each)
{
    for (unsigned i = 1; i < count; i++)
        for (unsigned j = i; j > 0 && strcmp(children[j * each], children[(j - 1) * each]) < 0; j--)
            for (unsigned n = 0; n < each; n++) {
                char *one = children[j * each + n], *two = children[(j - 1) * each + n];
                char swap[CHILD_MAX];
                memcpy(swap, one, CHILD_MAX);
                memcpy(one, two, CHILD_MAX);
                memcpy(two, swap, CHILD_MAX);
            }
}

static bool reply_read(struct client *client, unsigned unordered, struct redis_model_text *out);

/* An array as the model writes it. */
static bool array_read(struct client *client, long long count, unsigned unordered,
                       struct redis_model_text *out)
{
    char children[CHILDREN_MAX][CHILD_MAX];
    for (long long i = 0; i < count; i++) {
        struct redis_model_text child = {.size = 0};
        if (!reply_read(client, 0, &child))
            return false;
        if (i < CHILDREN_MAX && child.size < CHILD_MAX)
            strcpy(children[i], child.data);
        else
            out->cut = true;
    }
    if (out->cut)
        return true;
    if (unordered != 0)
        children_sort(children, (unsigned)count / unordered, unordered);
    redis_model_say(out, "[");
    for (long long i = 0; i < count; i++)
        redis_model_say(out, i == 0 ? "%s" : " %s", children[i]);
    redis_model_say(out, "]");
    return true;
}

/* One reply; false when the connection is gone. */
static bool reply_read(struct client *client, unsigned unordered, struct redis_model_text *out)
{
    char line[256];
    if (!server_client_line(&client->to, line, sizeof line))
        return false;
    long long number = strtoll(line + 1, NULL, 10);
    if (line[0] == '*' && number >= 0)
        return array_read(client, number, unordered, out);
    if ((line[0] == '*' || line[0] == '$') && number < 0)
        redis_model_say(out, "nil");
    else if (line[0] == '-')
        redis_model_say(out, "-%.*s", (int)strcspn(line + 1, " "), line + 1);
    else if (line[0] != '$')
        redis_model_say(out, "%s", line + 1);
    else if (!server_client_line(&client->to, line, sizeof line))
        return false;
    else
        redis_model_say(out, "%s", line);
    return true;
}

/* A command's reply, with a ';' behind it. */
static bool command_read(struct client *client, const struct redis_model_command *command,
                         struct redis_model_text *out)
{
    bool pushes = command->verb == REDIS_MODEL_DO_RPUSH || command->verb == REDIS_MODEL_DO_LPUSH;
    struct redis_model_text one = {.size = 0};
    if (!reply_read(client, redis_model_unordered(command->verb), &one))
        return false;
    if (pushes && strtol(one.data, NULL, 10) > 0)
        redis_model_say(out, "pushed;");
    else
        redis_model_say(out, "%s;", one.data);
    out->cut = out->cut || one.cut;
    return true;
}

/* The array of EXEC or of a script, or what came instead. */
static bool several_read(struct client *client, const struct redis_order_op *op,
                         struct redis_model_text *out)
{
    char line[256];
    if (!server_client_line(&client->to, line, sizeof line))
        return false;
    if (line[0] != '*' || strtoll(line + 1, NULL, 10) != op->count) {
        redis_model_say(out, "%s", strcmp(line, "*-1") == 0 ? "refused" : line);
        return true;
    }
    for (unsigned n = 0; n < op->count; n++)
        if (!command_read(client, &op->commands[n], out))
            return false;
    return true;
}

static bool op_read(struct client *client, struct redis_order_op *op)
{
    struct redis_model_text out = {.size = 0};
    bool there = true;
    for (unsigned n = 0; op->way == REDIS_ORDER_MULTI && n < 1 + op->count; n++) {
        struct redis_model_text queued = {.size = 0};
        there = there && reply_read(client, 0, &queued);
    }
    there = there && (op->way == REDIS_ORDER_MULTI || op->way == REDIS_ORDER_SCRIPT
                          ? several_read(client, op, &out)
                          : command_read(client, &op->commands[0], &out));
    op->end = now();
    snprintf(op->reply, sizeof op->reply, "%s", out.data);
    return there;
}

/* --------------------------------------------------------------------------------- requests */

static bool script_send(struct client *client, const struct redis_order_op *op)
{
    struct redis_model_text texts[REDIS_ORDER_COMMANDS];
    char sizes[REDIS_ORDER_COMMANDS][4];
    const char *arguments[RESP_ARGUMENTS_MAX] = {"EVAL", SCRIPT, "0"};
    unsigned count = 3;
    for (unsigned n = 0; n < op->count; n++) {
        unsigned size = count++;
        char *rest = NULL;
        texts[n] = (struct redis_model_text){.size = 0};
        redis_model_words(&op->commands[n], &texts[n]);
        for (char *word = strtok_r(texts[n].data, " ", &rest); word != NULL;
             word = strtok_r(NULL, " ", &rest))
            arguments[count++] = word;
        snprintf(sizes[n], sizeof *sizes, "%u", (count - size - 1) & 0xff);
        arguments[size] = sizes[n];
    }
    return resp_send(&client->to, count, arguments);
}

static bool command_send(struct client *client, const struct redis_model_command *command)
{
    struct redis_model_text text = {.size = 0};
    redis_model_words(command, &text);
    return resp_sendf(&client->to, "%s", text.data);
}

static bool op_send(struct client *client, struct redis_order_op *op)
{
    op->begin = now();
    if (op->way == REDIS_ORDER_SCRIPT)
        return script_send(client, op);
    if (op->way == REDIS_ORDER_WATCH)
        return resp_sendf(&client->to, "WATCH k%u", op->commands[0].key[0]);
    bool sent = op->way == REDIS_ORDER_SINGLE || resp_sendf(&client->to, "MULTI");
    for (unsigned n = 0; n < op->count; n++)
        sent = sent && command_send(client, &op->commands[n]);
    return sent && (op->way == REDIS_ORDER_SINGLE || resp_sendf(&client->to, "EXEC"));
}

/* A key of the type, or, seldom, of another one that is at work. */
static uint8_t key_choose(struct client *client, unsigned home)
{
    struct random *random = &client->random;
    if (random_below(random, 12) == 0)
        do
            home = (unsigned)random_below(random, HOMES);
        while ((client->mood->focus & 1u << home) == 0);
    return (uint8_t)(home * HOME_KEYS + random_below(random, client->mood->keys));
}

static bool pushes(enum redis_model_verb verb)
{
    return verb == REDIS_MODEL_DO_RPUSH || verb == REDIS_MODEL_DO_LPUSH;
}

static struct redis_model_command command_choose(struct client *client)
{
    struct random *random = &client->random;
    struct redis_model_command command;
    unsigned home;
    do {
        command.verb = (enum redis_model_verb)random_below(random, REDIS_MODEL_VERBS);
        home = (unsigned)redis_model_home(command.verb);
        home = home == REDIS_MODEL_NONE ? (unsigned)random_below(random, HOMES) : home - 1;
    } while ((client->mood->focus & 1u << home) == 0 ||
             (pushes(command.verb) && client->pushes == PUSHES_MAX));
    client->pushes += pushes(command.verb);
    for (unsigned n = 0; n < 3; n++)
        command.key[n] = key_choose(client, home);
    for (unsigned n = 0; n < 2; n++) {
        command.member[n] = (uint8_t)random_below(random, client->mood->members);
        command.number[n] = (uint16_t)random_below(random, 10);
    }
    if (pushes(command.verb))
        command.number[0] = ++*client->element;
    return command;
}

/* No watch outlasts a round: its own reply does not tell what came before it. */
static void op_choose(struct client *client, bool last)
{
    struct redis_order_op *op = redis_order_add(client->said);
    if (client->watches) { /* what was watched has a use */
        op->way = REDIS_ORDER_MULTI;
        client->watches = false;
    } else {
        static const enum redis_order_way ways[] = {
            REDIS_ORDER_SINGLE, REDIS_ORDER_SINGLE, REDIS_ORDER_SINGLE, REDIS_ORDER_MULTI,
            REDIS_ORDER_MULTI,  REDIS_ORDER_SCRIPT, REDIS_ORDER_SCRIPT, REDIS_ORDER_WATCH};
        op->way = ways[random_below(&client->random, sizeof ways / sizeof *ways - last)];
        client->watches = op->way == REDIS_ORDER_WATCH && !client->mood->alone;
    }
    if (client->mood->alone)
        op->way = REDIS_ORDER_SINGLE;
    bool one = op->way == REDIS_ORDER_SINGLE || op->way == REDIS_ORDER_WATCH;
    op->count = one ? 1 : 1 + (unsigned)random_below(&client->random, REDIS_ORDER_COMMANDS);
    for (unsigned n = 0; n < op->count; n++)
        op->commands[n] = command_choose(client);
}

static bool pipeline_run(struct client *client, unsigned count, bool last)
{
    struct redis_order_session *said = client->said;
    size_t first = said->count;
    bool there = true;
    for (unsigned n = 0; n < count; n++)
        op_choose(client, last && n + 1 == count);
    for (unsigned n = 0; n < count; n++)
        there = there && op_send(client, &said->ops[first + n]);
    for (unsigned n = 0; n < count; n++)
        there = there && op_read(client, &said->ops[first + n]);
    return there;
}

static void *client_run(void *arg)
{
    struct client *client = arg;
    for (unsigned left = OPS; left > 0 && !client->gone;) {
        unsigned count = 1 + (unsigned)random_below(&client->random, PIPELINE_MAX);
        count = count < left ? count : left;
        left -= count;
        client->gone = !pipeline_run(client, count, left == 0);
    }
    return NULL;
}

/* ----------------------------------------------------------------------------------- rounds */

struct rounds {
    struct server_process server;
    struct client clients[CLIENTS];
    struct redis_order_session said[CLIENTS];
    uint16_t elements[CLIENTS];
    struct random random;
    struct redis_model model;
    unsigned count, undecided;
    size_t requests;
    uint64_t steps;
};

/* One request of the first connection, when nobody else is at work. */
static struct redis_order_op *alone(struct rounds *rounds, enum redis_model_verb verb, unsigned key)
{
    struct client *client = &rounds->clients[0];
    struct redis_order_op *op = redis_order_add(client->said);
    op->count = 1;
    op->commands[0].verb = verb;
    op->commands[0].key[0] = op->commands[0].key[1] = (uint8_t)key;
    assert_true(op_send(client, op) && op_read(client, op));
    return op;
}

/* All that is there. */
static void all_read(struct rounds *rounds)
{
    static const struct {
        const char *type;
        enum redis_model_verb verb;
    } ways[] = {{"string;", REDIS_MODEL_DO_GET},
                {"list;", REDIS_MODEL_DO_LRANGE},
                {"set;", REDIS_MODEL_DO_SMEMBERS},
                {"hash;", REDIS_MODEL_DO_HGETALL},
                {"zset;", REDIS_MODEL_DO_ZRANGE}};
    for (unsigned key = 0; key < REDIS_MODEL_KEYS; key++) {
        const char *type = alone(rounds, REDIS_MODEL_DO_TYPE, key)->reply;
        for (unsigned n = 0; n < sizeof ways / sizeof *ways; n++)
            if (strcmp(type, ways[n].type) == 0) {
                alone(rounds, ways[n].verb, key);
                break;
            }
    }
}

/* Lists may not become too long for the model. */
static void lists_shorten(struct rounds *rounds)
{
    unsigned elements = 0;
    for (unsigned key = 0; key < REDIS_MODEL_KEYS; key++)
        if (rounds->model.keys[key].type == REDIS_MODEL_LIST)
            elements += rounds->model.keys[key].count;
    for (unsigned key = 0; key < REDIS_MODEL_KEYS && elements > ELEMENTS_MAX; key++)
        if (rounds->model.keys[key].type == REDIS_MODEL_LIST)
            alone(rounds, REDIS_MODEL_DO_DEL, key);
}

/* From how many elements on collections are spread over rows. */
static void threshold_set(struct rounds *rounds)
{
    static const char *const names[] = {
        "hash-max-listpack-entries", "set-max-listpack-entries", "set-max-intset-entries",
        "zset-max-listpack-entries", "list-max-listpack-size",   "zset-ranks-after",
    };
    static const unsigned values[] = {1, 2, 4, 128};
    unsigned value = values[random_below(&rounds->random, sizeof values / sizeof *values)];
    for (unsigned n = 0; n < sizeof names / sizeof *names; n++) {
        struct redis_model_text reply = {.size = 0};
        assert_true(resp_sendf(&rounds->clients[0].to, "CONFIG SET %s %u", names[n], value) &&
                    reply_read(&rounds->clients[0], 0, &reply));
        assert_string_equal(reply.data, "OK");
    }
}

/* Every third round is narrow: all meet at one key that often comes and goes. */
static struct mood mood_choose(struct random *random)
{
    bool narrow = random_below(random, 3) == 0;
    struct mood mood = {.keys = 1 + (unsigned)random_below(random, HOME_KEYS),
                        .members = 2u << random_below(random, 4),
                        .alone = narrow || random_below(random, 6) == 0};
    if (narrow) {
        mood.keys = 1;
        mood.members = 2;
    }
    for (unsigned n = narrow ? 1 : 1 + (unsigned)random_below(random, 3); n > 0; n--)
        mood.focus |= 1u << random_below(random, HOMES);
    return mood;
}

static void clients_run(struct rounds *rounds)
{
    pthread_t threads[CLIENTS];
    struct mood mood = mood_choose(&rounds->random);
    for (unsigned n = 0; n < CLIENTS; n++) {
        struct client *client = &rounds->clients[n];
        client->mood = &mood;
        client->pushes = 0;
        assert_int_equal(pthread_create(&threads[n], NULL, client_run, client), 0);
    }
    for (unsigned n = 0; n < CLIENTS; n++)
        pthread_join(threads[n], NULL);
    for (unsigned n = 0; n < CLIENTS; n++)
        assert_false(rounds->clients[n].gone);
}

/* Nobody knows what is there. */
static void all_begins_anew(struct rounds *rounds)
{
    for (unsigned key = 0; key < REDIS_MODEL_KEYS; key++)
        alone(rounds, REDIS_MODEL_DO_DEL, key);
    rounds->said[0].count = 0;
    memset(&rounds->model, 0, sizeof rounds->model);
}

/* What was said has an order; from what it ends with the next round goes on. */
static void round_check(struct rounds *rounds)
{
    static struct redis_order_report report;
    enum redis_order_verdict verdict = redis_order_check(&rounds->model, rounds->said, &report);
    rounds->steps += report.steps;
    if (verdict == REDIS_ORDER_NONE) {
        printf("%s", report.text);
        fail_msg("round %u has no order", rounds->count);
    }
    rounds->undecided += verdict == REDIS_ORDER_UNDECIDED;
    for (unsigned n = 0; n < CLIENTS; n++) {
        rounds->requests += rounds->said[n].count;
        rounds->said[n].count = 0;
    }
    if (verdict == REDIS_ORDER_UNDECIDED)
        all_begins_anew(rounds);
}

static void rounds_begin(struct rounds *rounds)
{
    for (unsigned n = 0; n < CLIENTS; n++) {
        struct client *client = &rounds->clients[n];
        client->said = &rounds->said[n];
        client->element = &rounds->elements[n];
        rounds->elements[n] = (uint16_t)(n * 8000);
        random_create(&client->random, random_next(&rounds->random));
        assert_true(server_client_open(&client->to, &rounds->server));
    }
}

static void rounds_end(struct rounds *rounds)
{
    printf("%u rounds of %zu requests, %u undecided, %llu steps of the search\n", rounds->count,
           rounds->requests, rounds->undecided, (unsigned long long)rounds->steps);
    for (unsigned n = 0; n < CLIENTS; n++) {
        server_client_close(&rounds->clients[n].to);
        free(rounds->said[n].ops);
    }
}

static uint64_t seconds(void)
{
    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    return text == NULL ? 3 : strtoull(text, NULL, 10);
}

static void what_eight_connections_are_told_has_an_order_that_agrees_with_time(void **state)
{
    (void)state;
    static struct rounds rounds;
    static const char *const durabilities[] = {"none", "interval", "commit"};
    const char *options[] = {"--durability", NULL, "--workers", "2", "--log_level", "warn", NULL};
    char folder[256];
    random_create(&rounds.random, test_seed());
    options[1] = durabilities[random_below(&rounds.random, 3)];
    server_folder_make(folder);
    server_process_start(&rounds.server, folder, options);
    rounds_begin(&rounds);
    uint64_t until = now() + seconds() * UINT64_C(1000000000);
    do {
        rounds.count++;
        threshold_set(&rounds);
        lists_shorten(&rounds);
        clients_run(&rounds);
        all_read(&rounds);
        round_check(&rounds);
    } while (now() < until);
    rounds_end(&rounds);
    server_process_signal(&rounds.server, SIGTERM);
    assert_int_equal(server_process_wait(&rounds.server), 0);
    server_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_eight_connections_are_told_has_an_order_that_agrees_with_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
