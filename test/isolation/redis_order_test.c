/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The checker of orders is right: on histories written by hand, on random ones of a server that is
 * strictly serializable, and on the same when it is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "history/redis_order.h"

static struct redis_order_session sessions[REDIS_MODEL_SESSIONS];
static struct redis_order_report report;

static void sessions_clear(void)
{
    for (unsigned s = 0; s < REDIS_MODEL_SESSIONS; s++)
        sessions[s].count = 0;
}

static enum redis_order_verdict check(void)
{
    struct redis_model model = {0};
    return redis_order_check(&model, sessions, &report);
}

/* ------------------------------------------------------------------------------------- by hand */

struct line {
    unsigned session;
    uint64_t begin, end;
    const char *commands, *reply; /* "MSET 0 1 1 1": the verb, then keys, then what else it takes */
    enum redis_order_way way;
};

struct example {
    const char *what;
    bool right;
    struct line lines[6];
};

#define NAME(name, type, text) #name,
static const char *const NAMES[] = {REDIS_MODEL_COMMANDS(NAME)};

/* "VERB a b c / m n / x y": keys, members and numbers. */
static struct redis_model_command command_of(const char *text)
{
    struct redis_model_command command = {.verb = REDIS_MODEL_VERBS};
    char name[16];
    unsigned k[3] = {0}, m[2] = {0}, x[2] = {0};
    int size = 0;
    assert_true(sscanf(text, "%15s%n", name, &size) == 1);
    for (unsigned v = 0; v < REDIS_MODEL_VERBS; v++)
        if (strcmp(NAMES[v], name) == 0)
            command.verb = (enum redis_model_verb)v;
    assert_true(command.verb < REDIS_MODEL_VERBS);
    sscanf(text + size, "%u %u %u / %u %u / %u %u", &k[0], &k[1], &k[2], &m[0], &m[1], &x[0],
           &x[1]);
    for (unsigned n = 0; n < 3; n++)
        command.key[n] = (uint8_t)k[n];
    for (unsigned n = 0; n < 2; n++) {
        command.member[n] = (uint8_t)m[n];
        command.number[n] = (uint16_t)x[n];
    }
    return command;
}

static void line_add(const struct line *line)
{
    char text[256], *rest = NULL;
    struct redis_order_op *op = redis_order_add(&sessions[line->session]);
    snprintf(text, sizeof text, "%s", line->commands);
    for (char *one = strtok_r(text, ";", &rest); one != NULL; one = strtok_r(NULL, ";", &rest))
        op->commands[op->count++] = command_of(one);
    op->way = line->way;
    op->begin = line->begin;
    op->end = line->end;
    snprintf(op->reply, sizeof op->reply, "%s", line->reply);
}

#define SINGLE REDIS_ORDER_SINGLE
#define MULTI  REDIS_ORDER_MULTI
#define WATCH  REDIS_ORDER_WATCH

static const struct example EXAMPLES[] = {
    {"a read of two keys beside a write of both sees both",
     true,
     {{0, 1, 9, "MSET 0 1 0 / 0 0 / 5 6", "OK;", SINGLE},
      {1, 2, 3, "MGET 0 1 0", "[nil nil nil];", SINGLE},
      {1, 4, 5, "MGET 0 1 0", "[5 6 5];", SINGLE}}},
    {"or neither",
     false,
     {{0, 1, 9, "MSET 0 1 0 / 0 0 / 5 6", "OK;", SINGLE},
      {1, 2, 3, "MGET 0 1 0", "[5 nil 5];", SINGLE}}},
    {"what was answered is seen by who asks then",
     false,
     {{0, 1, 2, "SET 0 0 0 / 0 0 / 5", "OK;", SINGLE}, {1, 3, 4, "GET 0", "nil;", SINGLE}}},
    {"a connection's own order counts also in a pipeline",
     false,
     {{0, 1, 9, "SET 0 0 0 / 0 0 / 5", "OK;", SINGLE}, {0, 2, 9, "GET 0", "nil;", SINGLE}}},
    {"two that read what the other writes: one was first",
     false,
     {{0, 1, 9, "GET 0; SET 1 0 0 / 0 0 / 5", "nil;OK;", MULTI},
      {1, 1, 9, "GET 1; SET 0 0 0 / 0 0 / 5", "nil;OK;", MULTI}}},
    {"an element that moves is in one place",
     false,
     {{0, 1, 2, "SADD 6 0 0 / 3 3", "1;", SINGLE},
      {0, 3, 9, "SMOVE 6 7 0 / 3", "1;", SINGLE},
      {1, 4, 5, "SISMEMBER 6 0 0 / 3; SISMEMBER 7 0 0 / 3", "0;0;", MULTI}}},
    {"an element is popped once",
     false,
     {{0, 1, 2, "RPUSH 3 0 0 / 0 0 / 7", "pushed;", SINGLE},
      {1, 3, 9, "LPOP 3", "7;", SINGLE},
      {2, 3, 9, "RPOPLPUSH 3 4", "7;", SINGLE}}},
    {"what is renamed is what was there",
     true,
     {{0, 1, 2, "ZADD 12 0 0 / 0 1 / 3 2", "2;", SINGLE},
      {1, 3, 9, "RENAME 12 13", "OK;", SINGLE},
      {2, 3, 9, "ZINCRBY 12 0 0 / 0", "4;", SINGLE},
      {0, 10, 11, "ZRANGE 13", "[b 2 a 4];", SINGLE},
      {0, 12, 13, "ZCARD 12", "0;", SINGLE}}},
    {"what is renamed takes all along",
     false,
     {{0, 1, 2, "ZADD 12 0 0 / 0 1 / 3 2", "2;", SINGLE},
      {1, 3, 9, "RENAME 12 13", "OK;", SINGLE},
      {2, 3, 9, "ZINCRBY 12 0 0 / 0", "4;", SINGLE},
      {0, 10, 11, "ZRANGE 13", "[b 2 a 3];", SINGLE},
      {0, 12, 13, "ZCARD 12", "0;", SINGLE}}},
    {"a transaction on a watched key that has changed is refused",
     true,
     {{0, 1, 2, "GET 0", "OK;", WATCH},
      {1, 3, 4, "SET 0 0 0 / 0 0 / 5", "OK;", SINGLE},
      {0, 5, 6, "GET 0", "refused", MULTI}}},
    {"and is not carried out",
     false,
     {{0, 1, 2, "GET 0", "OK;", WATCH},
      {1, 3, 4, "SET 0 0 0 / 0 0 / 5", "OK;", SINGLE},
      {0, 5, 6, "GET 0", "5;", MULTI}}},
};

static void histories_by_hand_are_judged_rightly(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof EXAMPLES / sizeof *EXAMPLES; n++) {
        const struct example *example = &EXAMPLES[n];
        sessions_clear();
        for (size_t i = 0; i < 6 && example->lines[i].commands != NULL; i++)
            line_add(&example->lines[i]);
        enum redis_order_verdict right = example->right ? REDIS_ORDER_FOUND : REDIS_ORDER_NONE;
        if (check() != right)
            fail_msg("%s: %s", example->what, report.text);
    }
}

/* -------------------------------------------------------------------------------------- random */

enum { OPS = 60, KEYS = 6, HISTORIES = 60 };

enum defect { RIGHT, STALE, LOSES, TORN };

static void op_choose(struct random *random, struct redis_order_op *op)
{
    static const enum redis_order_way ways[] = {REDIS_ORDER_SINGLE, REDIS_ORDER_MULTI,
                                                REDIS_ORDER_SCRIPT};
    op->way = ways[random_below(random, 3)];
    op->count = op->way == REDIS_ORDER_SINGLE ? 1 : 1 + (unsigned)random_below(random, 3);
    for (unsigned n = 0; n < op->count; n++) {
        struct redis_model_command *command = &op->commands[n];
        command->verb = (enum redis_model_verb)random_below(random, REDIS_MODEL_VERBS);
        unsigned home = redis_model_home(command->verb);
        if (home == REDIS_MODEL_NONE)
            home = 1 + (unsigned)random_below(random, REDIS_MODEL_TYPES - 1);
        for (unsigned i = 0; i < 3; i++) /* two keys of each type */
            command->key[i] = (uint8_t)(2 * (home - 1) + random_below(random, 2));
        for (unsigned i = 0; i < 2; i++) {
            command->member[i] = (uint8_t)random_below(random, 4);
            command->number[i] = (uint16_t)random_below(random, 5);
        }
    }
}

/* Runs an operation as the defect has it. */
static void op_run(struct redis_model *model, struct redis_model *old, unsigned session,
                   struct redis_order_op *op, enum defect defect)
{
    struct redis_model copy = *model;
    struct redis_order_op half = *op;
    switch (defect) {
    case STALE: /* everybody sees what was there some time before */
        copy = *old;
        assert_true(redis_order_run(&copy, session, op));
        half.reply[0] = '\0';
        assert_true(redis_order_run(model, session, &half));
        break;
    case LOSES:
        assert_true(redis_order_run(&copy, session, op));
        *model = copy;
        model->keys[op->commands[0].key[0]] = old->keys[op->commands[0].key[0]];
        break;
    case TORN: /* of several commands all but the last are forgotten */
        assert_true(redis_order_run(&copy, session, op));
        half.commands[0] = op->commands[op->count - 1];
        half.count = 1;
        assert_true(redis_order_run(model, session, &half));
        break;
    default:
        assert_true(redis_order_run(model, session, op));
    }
}

/* Each request has its moment between its begin and its end. */
static void history_make(uint64_t seed, enum defect defect)
{
    struct random random;
    struct redis_model model = {0}, old = {0};
    uint64_t ends[REDIS_MODEL_SESSIONS] = {0};
    random_create(&random, seed);
    sessions_clear();
    for (uint64_t n = 0; n < OPS; n++) {
        unsigned session = (unsigned)random_below(&random, REDIS_MODEL_SESSIONS);
        struct redis_order_op *op = redis_order_add(&sessions[session]);
        uint64_t moment = 1000 + 10 * n, early = moment - random_below(&random, 60);
        op_choose(&random, op);
        op->begin = early > ends[session] ? early : ends[session];
        op->end = moment + random_below(&random, 60);
        if (op->end < ends[session])
            op->end = ends[session];
        ends[session] = op->end;
        if (random_below(&random, 4) == 0)
            old = model;
        op_run(&model, &old, session, op, defect);
        if (op->begin > moment) /* in a pipeline */
            op->begin = moment;
    }
}

static unsigned histories_refused(uint64_t seed, enum defect defect)
{
    unsigned refused = 0;
    for (unsigned n = 0; n < HISTORIES; n++) {
        history_make(seed + n, defect);
        refused += check() == REDIS_ORDER_NONE;
        if (defect == RIGHT && report.text[0] != '\0')
            fail_msg("seed %llu: %s", (unsigned long long)(seed + n), report.text);
    }
    return refused;
}

static void histories_of_one_order_are_accepted_and_others_are_not(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    assert_int_equal(histories_refused(seed, RIGHT), 0);
    for (enum defect defect = STALE; defect <= TORN; defect++) {
        unsigned refused = histories_refused(seed, defect);
        printf("defect %d: %u of %d refused\n", (int)defect, refused, HISTORIES);
        assert_true(refused > HISTORIES / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_by_hand_are_judged_rightly),
        cmocka_unit_test(histories_of_one_order_are_accepted_and_others_are_not),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (unsigned s = 0; s < REDIS_MODEL_SESSIONS; s++)
        free(sessions[s].ops);
    return failed;
}
