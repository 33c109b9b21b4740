/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The search for an order of one key's commands.
 *
 * Calls and returns stand in a list in the order of time. Whoever's call stands before the first
 * return may be next; if its reply is what the model gives, both are taken out of the list and the
 * search goes on from the new value. When the first return is reached with nothing to choose, the
 * last choice was wrong: it is put back, and the next one tried. A set of commands done together
 * with the value they led to is visited once. A set is known by the sum of random numbers of its
 * members, 128 bits; two sets with one sum would make a right history look wrong, never the other
 * way round.
 *
 * A command without a reply has two outcomes: it did not happen, or it did.
 */
#include "history/linear.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/random.h"
#include "history/memory.h"

void linear_history_create(struct linear_history *history)
{
    memset(history, 0, sizeof *history);
}

void linear_history_destroy(struct linear_history *history)
{
    free(history->ops);
}

static void text_copy(char *out, const char *text)
{
    ASSERT(text == NULL || strlen(text) < LINEAR_TEXT_MAX);
    strcpy(out, text == NULL ? "" : text);
}

struct linear_op *linear_call(struct linear_history *history, uint32_t key, enum linear_verb verb,
                              const char *argument, const char *expected, uint64_t time)
{
    history_room(history->ops, history->count, history->room, 1);
    struct linear_op *op = &history->ops[history->count++];
    *op = (struct linear_op){.key = key, .verb = verb, .begin = time, .end = UINT64_MAX};
    text_copy(op->argument, argument);
    text_copy(op->expected, expected);
    return op;
}

void linear_reply(struct linear_op *op, const char *reply, uint64_t time)
{
    op->has_reply = true;
    op->nil = reply == NULL;
    text_copy(op->reply, reply);
    op->end = time;
}

void linear_history_join(struct linear_history *history, const struct linear_history *from)
{
    history_room(history->ops, history->count, history->room, from->count);
    for (size_t i = 0; i < from->count; i++)
        history->ops[history->count++] = from->ops[i];
}

/* ------------------------------------------------------------------------------------ model */

static bool number_of(const char *text, bool there, long long *out)
{
    char *end;
    *out = there ? strtoll(text, &end, 10) : 0;
    return !there || (*text != '\0' && *end == '\0');
}

static bool apply_incr(bool *there, char *value, char *reply)
{
    long long number;
    if (!number_of(value, *there, &number)) {
        strcpy(reply, LINEAR_ERROR);
        return true;
    }
    snprintf(value, LINEAR_TEXT_MAX, "%lld", number + 1);
    strcpy(reply, value);
    *there = true;
    return true;
}

static bool apply_set(const struct linear_op *op, bool *there, char *value)
{
    strcpy(value, op->argument);
    *there = true;
    return true;
}

bool linear_apply(const struct linear_op *op, bool *there, char *value, char *reply)
{
    bool was_there = *there;
    switch (op->verb) {
    case LINEAR_GET:
        strcpy(reply, value);
        return was_there;
    case LINEAR_SET:
        strcpy(reply, "OK");
        return apply_set(op, there, value);
    case LINEAR_SETNX:
        strcpy(reply, was_there ? "0" : "1");
        return was_there || apply_set(op, there, value);
    case LINEAR_GETSET:
        strcpy(reply, value);
        apply_set(op, there, value);
        return was_there;
    case LINEAR_DEL:
        strcpy(reply, was_there ? "1" : "0");
        *there = false;
        value[0] = '\0';
        return true;
    case LINEAR_INCR:
        return apply_incr(there, value, reply);
    case LINEAR_APPEND:
        ASSERT(strlen(value) + strlen(op->argument) < LINEAR_TEXT_MAX);
        strcat(value, op->argument);
        *there = true;
        snprintf(reply, LINEAR_TEXT_MAX, "%zu", strlen(value));
        return true;
    default: {
        bool same = was_there && strcmp(value, op->expected) == 0;
        strcpy(reply, same ? "1" : "0");
        return !same || apply_set(op, there, value);
    }
    }
}

/* ------------------------------------------------------------------------------ the search */

struct event {
    const struct linear_op *op;
    uint32_t number; /* of the operation among those of its key */
    bool end;
    uint64_t time;
    struct event *before, *after;
    struct event *match; /* of a call: its return */
};

struct value {
    bool there;
    char text[LINEAR_TEXT_MAX];
};

struct seen {
    uint64_t sum[2];
    struct value value;
    struct seen *next;
};

struct choice {
    struct event *call;
    struct value before;
    bool happened; /* of two outcomes the second */
};

struct search {
    struct event *events, head;
    uint64_t (*marks)[2]; /* by operation */
    struct choice *choices;
    size_t chosen, most;
    struct value value, most_value;
    struct event *most_stuck;
    uint64_t sum[2];
    struct seen **table;
    size_t table_size, seen_count;
    uint64_t steps;
};

static int event_order(const void *a, const void *b)
{
    const struct event *left = a, *right = b;
    if (left->time != right->time)
        return left->time < right->time ? -1 : 1;
    if (left->end != right->end)
        return (int)left->end - (int)right->end;
    return left->number < right->number ? -1 : left->number > right->number;
}

static uint64_t hash_of(const uint64_t sum[2], const struct value *value)
{
    uint64_t hash = sum[0];
    for (const char *at = value->text; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    hash ^= hash >> 29;
    return hash + value->there;
}

static bool value_same(const struct value *a, const struct value *b)
{
    return a->there == b->there && strcmp(a->text, b->text) == 0;
}

static void table_grow(struct search *s)
{
    size_t size = s->table_size == 0 ? 1024 : 2 * s->table_size;
    struct seen **table = calloc(size, sizeof(struct seen *));
    ASSERT(table != NULL);
    for (size_t i = 0; i < s->table_size; i++)
        for (struct seen *seen = s->table[i], *next; seen != NULL; seen = next) {
            next = seen->next;
            struct seen **slot = &table[hash_of(seen->sum, &seen->value) & (size - 1)];
            seen->next = *slot;
            *slot = seen;
        }
    free(s->table);
    s->table = table;
    s->table_size = size;
}

/* Remembers where the search is; false when it has been there. */
static bool remember(struct search *s)
{
    if (s->seen_count >= s->table_size)
        table_grow(s);
    struct seen **slot = &s->table[hash_of(s->sum, &s->value) & (s->table_size - 1)];
    for (struct seen *seen = *slot; seen != NULL; seen = seen->next)
        if (seen->sum[0] == s->sum[0] && seen->sum[1] == s->sum[1] &&
            value_same(&seen->value, &s->value))
            return false;
    struct seen *seen = history_memory(NULL, 1, sizeof *seen);
    *seen = (struct seen){{s->sum[0], s->sum[1]}, s->value, *slot};
    *slot = seen;
    s->seen_count++;
    return true;
}

static void take_out(struct event *event)
{
    event->before->after = event->after;
    if (event->after != NULL)
        event->after->before = event->before;
}

static void put_back(struct event *event)
{
    event->before->after = event;
    if (event->after != NULL)
        event->after->before = event;
}

static void mark(struct search *s, const struct event *call)
{
    s->sum[0] ^= s->marks[call->number][0];
    s->sum[1] ^= s->marks[call->number][1];
}

/* Whether the operation can be next, and then its effect on the value. */
static bool fits(struct search *s, const struct linear_op *op, bool happened)
{
    char reply[LINEAR_TEXT_MAX];
    struct value value = s->value;
    s->steps++;
    if (!happened)
        return !op->has_reply;
    bool something = linear_apply(op, &value.there, value.text, reply);
    if (op->has_reply && (something == op->nil || (something && strcmp(reply, op->reply) != 0)))
        return false;
    s->value = value;
    return true;
}

/* Takes the call as the next one, if that is possible and new. */
static bool choose(struct search *s, struct event *call, bool happened)
{
    struct value before = s->value;
    if (!fits(s, call->op, happened))
        return false;
    mark(s, call);
    if (!remember(s)) {
        mark(s, call);
        s->value = before;
        return false;
    }
    s->choices[s->chosen++] = (struct choice){call, before, happened};
    take_out(call->match); /* first: the call may stand right before it */
    take_out(call);
    return true;
}

/* Takes the last choice back; returns it. */
static struct choice choice_undo(struct search *s)
{
    struct choice choice = s->choices[--s->chosen];
    put_back(choice.call);
    put_back(choice.call->match);
    mark(s, choice.call);
    s->value = choice.before;
    return choice;
}

static bool search_run(struct search *s)
{
    struct event *event = s->head.after;
    while (s->head.after != NULL) {
        if (!event->end) {
            bool taken = choose(s, event, false) || choose(s, event, true);
            event = taken ? s->head.after : event->after;
            continue;
        }
        if (s->chosen >= s->most) {
            s->most = s->chosen;
            s->most_value = s->value;
            s->most_stuck = event;
        }
        if (s->chosen == 0)
            return false;
        struct choice choice = choice_undo(s);
        bool taken = !choice.happened && choose(s, choice.call, true);
        event = taken ? s->head.after : choice.call->after;
    }
    return true;
}

/* --------------------------------------------------------------------------------- one key */

static void events_make(struct search *s, const struct linear_op **ops, size_t count)
{
    struct random random;
    random_create(&random, 1);
    s->events = history_memory(NULL, 2 * count, sizeof *s->events);
    s->marks = history_memory(NULL, count, sizeof *s->marks);
    s->choices = history_memory(NULL, count, sizeof *s->choices);
    for (uint32_t i = 0; i < count; i++) {
        s->marks[i][0] = random_next(&random);
        s->marks[i][1] = random_next(&random);
        s->events[2 * i] = (struct event){.op = ops[i], .number = i, .time = ops[i]->begin};
        s->events[2 * i + 1] =
            (struct event){.op = ops[i], .number = i, .end = true, .time = ops[i]->end};
    }
    qsort(s->events, 2 * count, sizeof *s->events, event_order);
    struct event **calls = history_memory(NULL, count, sizeof *calls), *last = &s->head;
    for (size_t i = 0; i < 2 * count; i++) {
        struct event *event = &s->events[i];
        event->before = last;
        last->after = event;
        last = event;
        if (event->end)
            calls[event->number]->match = event;
        else
            calls[event->number] = event;
    }
    last->after = NULL;
    free(calls);
}

static void say(struct linear_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(struct linear_report *report, const char *format, ...)
{
    va_list args;
    size_t room = sizeof report->text - report->text_size;
    va_start(args, format);
    int size = vsnprintf(report->text + report->text_size, room, format, args);
    va_end(args);
    report->text_size += (size_t)size < room ? (size_t)size : room - 1;
}

static void op_tell(struct linear_report *report, const struct linear_op *op)
{
    static const char *const names[LINEAR_VERBS] = {"GET", "SET",  "SETNX",  "GETSET",
                                                    "DEL", "INCR", "APPEND", "CAS"};
    say(report, "  session %u, %llu to %lld: %s %s %s -> %s\n", op->session,
        (unsigned long long)op->begin, (long long)op->end, names[op->verb], op->expected,
        op->argument,
        !op->has_reply ? "?"
        : op->nil      ? "nil"
                       : op->reply);
}

static void stuck_tell(const struct search *s, uint32_t key, struct linear_report *report)
{
    const struct linear_op *stuck = s->most_stuck->op;
    say(report, "key %u: %zu commands have an order that ends with '%s'%s; then this has none:\n",
        key, s->most, s->most_value.text, s->most_value.there ? "" : " (absent)");
    op_tell(report, stuck);
    say(report, " beside\n");
    for (const struct event *event = s->events; event->op != stuck || !event->end; event++)
        if (!event->end && event->op != stuck && event->op->end >= stuck->begin)
            op_tell(report, event->op);
}

static bool key_check(const struct linear_op **ops, size_t count, struct linear_report *report)
{
    struct search s = {.steps = 0};
    events_make(&s, ops, count);
    bool right = search_run(&s);
    report->steps += s.steps;
    if (!right)
        stuck_tell(&s, ops[0]->key, report);
    for (size_t i = 0; i < s.table_size; i++)
        for (struct seen *seen = s.table[i], *next; seen != NULL; seen = next) {
            next = seen->next;
            free(seen);
        }
    free(s.table);
    free(s.events);
    free(s.marks);
    free(s.choices);
    return right;
}

static int op_order(const void *a, const void *b)
{
    const struct linear_op *left = *(const struct linear_op *const *)a,
                           *right = *(const struct linear_op *const *)b;
    if (left->key != right->key)
        return left->key < right->key ? -1 : 1;
    return left->begin < right->begin ? -1 : left->begin > right->begin;
}

bool linear_check(const struct linear_history *history, struct linear_report *report)
{
    const struct linear_op **ops =
        history_memory(NULL, history->count, sizeof(const struct linear_op *));
    memset(report, 0, sizeof *report);
    for (size_t i = 0; i < history->count; i++)
        ops[i] = &history->ops[i];
    if (history->count > 0)
        qsort(ops, history->count, sizeof *ops, op_order);
    for (size_t from = 0, to; from < history->count; from = to) {
        for (to = from; to < history->count && ops[to]->key == ops[from]->key;)
            to++;
        report->keys++;
        report->wrong += !key_check(ops + from, to - from, report);
    }
    free(ops);
    return report->wrong == 0;
}
