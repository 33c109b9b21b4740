/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The checker of linearizability is right: on histories written by hand, on all small random ones
 * when compared with a search that tries every order, and on large ones that come from a register
 * which is atomic, or is not.
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
#include "history/linear.h"

/* --------------------------------------------------------------------------------- by hand */

struct line {
    uint64_t begin, end; /* end 0: no reply, and for ever */
    enum linear_verb verb;
    const char *argument, *expected, *reply;
    bool lost; /* no reply, but it cannot happen after `end` */
};

struct example {
    const char *what;
    bool right;
    struct line lines[6];
};

static const struct example EXAMPLES[] = {
    {"one after the other",
     true,
     {{1, 2, LINEAR_SET, "a", NULL, "OK", false}, {3, 4, LINEAR_GET, NULL, NULL, "a", false}}},
    {"a read of what was never written",
     false,
     {{1, 2, LINEAR_SET, "a", NULL, "OK", false}, {3, 4, LINEAR_GET, NULL, NULL, "b", false}}},
    {"a stale read",
     false,
     {{1, 2, LINEAR_SET, "a", NULL, "OK", false},
      {3, 4, LINEAR_SET, "b", NULL, "OK", false},
      {5, 6, LINEAR_GET, NULL, NULL, "a", false}}},
    {"a read of nothing after a write",
     false,
     {{1, 2, LINEAR_SET, "a", NULL, "OK", false}, {3, 4, LINEAR_GET, NULL, NULL, NULL, false}}},
    {"a read beside a write may give either",
     true,
     {{1, 9, LINEAR_SET, "a", NULL, "OK", false},
      {2, 3, LINEAR_GET, NULL, NULL, NULL, false},
      {4, 5, LINEAR_GET, NULL, NULL, "a", false}}},
    {"but not the new one first and then the old",
     false,
     {{1, 9, LINEAR_SET, "a", NULL, "OK", false},
      {2, 3, LINEAR_GET, NULL, NULL, "a", false},
      {4, 5, LINEAR_GET, NULL, NULL, NULL, false}}},
    {"both of two set where nothing was",
     false,
     {{1, 5, LINEAR_SETNX, "a", NULL, "1", false}, {2, 6, LINEAR_SETNX, "b", NULL, "1", false}}},
    {"one of two set where nothing was",
     true,
     {{1, 5, LINEAR_SETNX, "a", NULL, "0", false},
      {2, 6, LINEAR_SETNX, "b", NULL, "1", false},
      {7, 8, LINEAR_GET, NULL, NULL, "b", false}}},
    {"a lost increment",
     false,
     {{1, 5, LINEAR_INCR, NULL, NULL, "1", false}, {2, 6, LINEAR_INCR, NULL, NULL, "1", false}}},
    {"increments in the other order",
     true,
     {{1, 5, LINEAR_INCR, NULL, NULL, "2", false}, {2, 6, LINEAR_INCR, NULL, NULL, "1", false}}},
    {"increments in an order that time forbids",
     false,
     {{1, 2, LINEAR_INCR, NULL, NULL, "2", false}, {3, 4, LINEAR_INCR, NULL, NULL, "1", false}}},
    {"appends",
     true,
     {{1, 5, LINEAR_APPEND, "xy", NULL, "3", false},
      {2, 6, LINEAR_APPEND, "z", NULL, "1", false},
      {7, 8, LINEAR_GET, NULL, NULL, "zxy", false}}},
    {"appends that do not add up",
     false,
     {{1, 5, LINEAR_APPEND, "xy", NULL, "3", false},
      {2, 6, LINEAR_APPEND, "z", NULL, "1", false},
      {7, 8, LINEAR_GET, NULL, NULL, "xyz", false}}},
    {"both of two exchanged the same",
     false,
     {{1, 2, LINEAR_SET, "a", NULL, "OK", false},
      {3, 6, LINEAR_CAS, "b", "a", "1", false},
      {4, 7, LINEAR_CAS, "c", "a", "1", false}}},
    {"one exchanged what the other had put there",
     true,
     {{1, 2, LINEAR_SET, "a", NULL, "OK", false},
      {3, 6, LINEAR_CAS, "a", "b", "1", false},
      {4, 7, LINEAR_CAS, "b", "a", "1", false},
      {8, 9, LINEAR_GET, NULL, NULL, "a", false}}},
    {"deleted twice",
     false,
     {{1, 2, LINEAR_SET, "a", NULL, "OK", false},
      {3, 6, LINEAR_DEL, NULL, NULL, "1", false},
      {4, 7, LINEAR_DEL, NULL, NULL, "1", false}}},
    {"set and got at once",
     true,
     {{1, 2, LINEAR_SET, "a", NULL, "OK", false},
      {3, 6, LINEAR_GETSET, "b", NULL, "c", false},
      {4, 7, LINEAR_GETSET, "c", NULL, "a", false},
      {8, 9, LINEAR_GET, NULL, NULL, "b", false}}},
    {"what has no reply may have happened",
     true,
     {{1, 0, LINEAR_SET, "a", NULL, NULL, false}, {3, 4, LINEAR_GET, NULL, NULL, "a", false}}},
    {"or not",
     true,
     {{1, 0, LINEAR_SET, "a", NULL, NULL, false}, {3, 4, LINEAR_GET, NULL, NULL, NULL, false}}},
    {"or later",
     true,
     {{1, 0, LINEAR_SET, "a", NULL, NULL, false},
      {3, 4, LINEAR_GET, NULL, NULL, NULL, false},
      {5, 6, LINEAR_GET, NULL, NULL, "a", false}}},
    {"but not once and then not",
     false,
     {{1, 0, LINEAR_SET, "a", NULL, NULL, false},
      {3, 4, LINEAR_GET, NULL, NULL, "a", false},
      {5, 6, LINEAR_GET, NULL, NULL, NULL, false}}},
    {"not before it was sent",
     false,
     {{3, 0, LINEAR_SET, "a", NULL, NULL, false}, {1, 2, LINEAR_GET, NULL, NULL, "a", false}}},
    {"not after it can no longer happen",
     false,
     {{1, 3, LINEAR_SET, "a", NULL, NULL, true},
      {4, 5, LINEAR_GET, NULL, NULL, NULL, false},
      {6, 7, LINEAR_GET, NULL, NULL, "a", false}}},
    {"before it can no longer happen",
     true,
     {{1, 3, LINEAR_SET, "a", NULL, NULL, true}, {6, 7, LINEAR_GET, NULL, NULL, "a", false}}},
    {"not both, if what was there is kept",
     false,
     {{1, 2, LINEAR_SET, "a", NULL, "OK", false},
      {3, 6, LINEAR_APPEND, "b", NULL, NULL, true},
      {7, 8, LINEAR_GET, NULL, NULL, "b", false}}},
};

static void example_history(const struct example *example, struct linear_history *history)
{
    linear_history_create(history);
    for (size_t i = 0; i < 6 && example->lines[i].begin != 0; i++) {
        const struct line *line = &example->lines[i];
        struct linear_op *op =
            linear_call(history, 0, line->verb, line->argument, line->expected, line->begin);
        if (line->lost)
            op->end = line->end;
        else if (line->end != 0)
            linear_reply(op, line->reply, line->end);
    }
}

static void histories_written_by_hand_are_judged_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof EXAMPLES / sizeof *EXAMPLES; i++) {
        struct linear_history history;
        struct linear_report report;
        example_history(&EXAMPLES[i], &history);
        if (linear_check(&history, &report) != EXAMPLES[i].right)
            fail_msg("%s: %s", EXAMPLES[i].what, report.text);
        linear_history_destroy(&history);
    }
}

static void one_key_without_an_order_is_found_among_others(void **state)
{
    (void)state;
    struct linear_history history;
    struct linear_report report;
    linear_history_create(&history);
    for (uint32_t key = 0; key < 5; key++) {
        linear_reply(linear_call(&history, key, LINEAR_SET, "a", NULL, key + 1), "OK", key + 2);
        linear_reply(linear_call(&history, key, LINEAR_GET, NULL, NULL, key + 3),
                     key == 3 ? "b" : "a", key + 4);
    }
    assert_false(linear_check(&history, &report));
    assert_int_equal(report.keys, 5);
    assert_int_equal(report.wrong, 1);
    assert_memory_equal(report.text, "key 3:", 6);
    linear_history_destroy(&history);
}

/* --------------------------------------------------------------- against every possible order */

enum { SMALL = 6 };

/* Tries every order, and both outcomes of what has no reply. */
static bool order_exists(const struct linear_history *history, unsigned done, bool there,
                         const char *text)
{
    if (done == (1u << history->count) - 1)
        return true;
    for (size_t i = 0; i < history->count; i++) {
        const struct linear_op *op = &history->ops[i];
        bool first = !(done & 1u << i);
        for (size_t k = 0; first && k < history->count; k++)
            first = (done & 1u << k) || k == i || history->ops[k].end >= op->begin;
        if (!first)
            continue;
        char value[LINEAR_TEXT_MAX], reply[LINEAR_TEXT_MAX];
        bool now_there = there;
        strcpy(value, text);
        bool something = linear_apply(op, &now_there, value, reply);
        bool fits =
            !op->has_reply || (something != op->nil && (op->nil || strcmp(reply, op->reply) == 0));
        if (fits && order_exists(history, done | 1u << i, now_there, value))
            return true;
        if (!op->has_reply && order_exists(history, done | 1u << i, there, text))
            return true;
    }
    return false;
}

static const char *random_reply(struct random *random, const struct linear_op *op)
{
    static const char *const values[] = {NULL, "1", "2", "3"};
    switch (op->verb) {
    case LINEAR_SET:
        return "OK";
    case LINEAR_SETNX:
    case LINEAR_DEL:
    case LINEAR_CAS:
        return random_below(random, 2) ? "1" : "0";
    case LINEAR_GET:
    case LINEAR_GETSET:
        return values[random_below(random, 4)];
    default:
        return values[1 + random_below(random, 3)];
    }
}

static void random_history(struct random *random, struct linear_history *history)
{
    static const char *const values[] = {"1", "2", "3"};
    linear_history_create(history);
    for (unsigned i = 0; i < 2 + random_below(random, SMALL - 1) && i < SMALL; i++) {
        uint64_t begin = 1 + random_below(random, 12);
        struct linear_op *op =
            linear_call(history, 0, (enum linear_verb)random_below(random, LINEAR_VERBS),
                        values[random_below(random, 3)], values[random_below(random, 3)], begin);
        if (random_below(random, 5) != 0)
            linear_reply(op, random_reply(random, op), begin + 1 + random_below(random, 6));
        else if (random_below(random, 2))
            op->end = begin + 1 + random_below(random, 6);
    }
}

static void small_histories_are_judged_as_by_trying_every_order(void **state)
{
    (void)state;
    struct random random;
    unsigned right = 0, wrong = 0;
    random_create(&random, test_seed());
    for (unsigned i = 0; i < 20000; i++) {
        struct linear_history history;
        struct linear_report report;
        random_history(&random, &history);
        bool expected = order_exists(&history, 0, false, "");
        if (linear_check(&history, &report) != expected)
            fail_msg("history %u is %s: %s", i, expected ? "right" : "wrong", report.text);
        right += expected;
        wrong += !expected;
        linear_history_destroy(&history);
    }
    assert_true(right > 1000 && wrong > 1000);
}

/* ------------------------------------------------------------------------- from a register */

enum { SESSIONS = 5, LARGE = 4000, KEYS = 3, PAST = 8 };

/* Each session calls, some time later its command takes effect, and some time later it returns.
 * With a defect some reads are of a value that was there a while ago. */
static void register_run(struct random *random, struct linear_history *history, bool defect)
{
    struct {
        bool there[PAST];
        char text[PAST][LINEAR_TEXT_MAX];
    } keys[KEYS];
    struct {
        size_t op;
        unsigned step; /* 0 none, 1 called, 2 done */
        bool nil;
        char reply[LINEAR_TEXT_MAX];
    } sessions[SESSIONS] = {{0}};
    memset(keys, 0, sizeof keys);
    linear_history_create(history);
    for (uint64_t time = 1; history->count < LARGE; time++) {
        unsigned s = (unsigned)random_below(random, SESSIONS);
        if (sessions[s].step == 0) {
            char value[16];
            snprintf(value, sizeof value, "%u", (unsigned)random_below(random, 100));
            enum linear_verb verb = (enum linear_verb)random_below(random, LINEAR_VERBS);
            linear_call(history, (uint32_t)random_below(random, KEYS),
                        verb == LINEAR_APPEND ? LINEAR_GET : verb, value, value, time);
            sessions[s].op = history->count - 1;
            sessions[s].step = 1;
        } else if (sessions[s].step == 1) {
            const struct linear_op *op = &history->ops[sessions[s].op];
            unsigned past =
                defect && op->verb == LINEAR_GET && random_below(random, 50) == 0 ? PAST - 1 : 0;
            bool there = keys[op->key].there[past];
            char text[LINEAR_TEXT_MAX];
            strcpy(text, keys[op->key].text[past]);
            sessions[s].nil = !linear_apply(op, &there, text, sessions[s].reply);
            if (op->verb != LINEAR_GET) {
                memmove(keys[op->key].there + 1, keys[op->key].there,
                        (PAST - 1) * sizeof keys[op->key].there[0]);
                memmove(keys[op->key].text + 1, keys[op->key].text,
                        (PAST - 1) * sizeof keys[op->key].text[0]);
                keys[op->key].there[0] = there;
                strcpy(keys[op->key].text[0], text);
            }
            sessions[s].step = 2;
        } else {
            if (random_below(random, 200) != 0) /* else its reply is lost */
                linear_reply(&history->ops[sessions[s].op],
                             sessions[s].nil ? NULL : sessions[s].reply, time);
            sessions[s].step = 0;
        }
    }
}

static void what_an_atomic_register_gives_has_an_order(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned i = 0; i < 5; i++) {
        struct linear_history history;
        struct linear_report report;
        register_run(&random, &history, false);
        if (!linear_check(&history, &report))
            fail_msg("%s", report.text);
        linear_history_destroy(&history);
    }
}

static void stale_reads_of_a_register_are_found(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned i = 0; i < 5; i++) {
        struct linear_history history;
        struct linear_report report;
        register_run(&random, &history, true);
        assert_false(linear_check(&history, &report));
        linear_history_destroy(&history);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_written_by_hand_are_judged_right),
        cmocka_unit_test(one_key_without_an_order_is_found_among_others),
        cmocka_unit_test(small_histories_are_judged_as_by_trying_every_order),
        cmocka_unit_test(what_an_atomic_register_gives_has_an_order),
        cmocka_unit_test(stale_reads_of_a_register_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
