/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The search for an order.
 *
 * How far each session is makes a place. Whose request was sent before the first reply of all that
 * are open may be next; if the model gives its reply, the search goes on from there. Places are
 * visited once with one state of the keys: both are remembered as a hash of 64 bits. Two with one
 * hash would make a right history look wrong in one of 2^64 comparisons, never the other way round.
 */
#include "history/redis_order.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "history/memory.h"

enum { STEPS_MAX = 400000, TOLD_MAX = 30 };

struct search {
    const struct redis_order_session *sessions;
    uint32_t done[REDIS_MODEL_SESSIONS];
    size_t total, done_total;
    uint64_t *seen; /* a table of hashes, 0 where none is */
    size_t seen_count, seen_room;
    uint64_t steps;
    bool given_up;
    uint64_t start;
    size_t best; /* the longest order */
    uint32_t best_done[REDIS_MODEL_SESSIONS];
    uint8_t *order, *best_order; /* sessions, one for each request done */
    struct redis_model best_model, last;
};

struct redis_order_op *redis_order_add(struct redis_order_session *session)
{
    history_room(session->ops, session->count, session->room, 1);
    struct redis_order_op *op = &session->ops[session->count++];
    memset(op, 0, sizeof *op);
    return op;
}

/* -------------------------------------------------------------------------------- one request */

/* Sessions learn that what they watch has changed. */
static void watchers_tell(const struct redis_model *before, struct redis_model *model)
{
    for (unsigned s = 0; s < REDIS_MODEL_SESSIONS; s++) {
        unsigned key = model->watch[s] - 1u;
        if (model->watch[s] != 0 &&
            memcmp(&before->keys[key], &model->keys[key], sizeof *model->keys) != 0)
            model->dirty[s] = 1;
    }
}

static void unwatch(struct redis_model *model, unsigned session)
{
    model->watch[session] = model->dirty[session] = model->absent[session] = 0;
}

/* The commands, with their replies; false when a list is too long. */
static bool commands_run(struct redis_model *model, const struct redis_order_op *op,
                         struct redis_model_text *reply)
{
    reply->size = 0;
    reply->cut = false;
    for (unsigned n = 0; n < op->count; n++) {
        if (!redis_model_apply(model, &op->commands[n], reply))
            return false;
        if (reply->size + 1 < sizeof reply->data) {
            reply->data[reply->size++] = ';';
            reply->data[reply->size] = '\0';
        }
    }
    return !reply->cut;
}

static void watch(struct redis_model *model, unsigned session, const struct redis_order_op *op)
{
    unsigned key = op->commands[0].key[0];
    unwatch(model, session);
    model->watch[session] = (uint8_t)(key + 1);
    model->absent[session] = model->keys[key].type == REDIS_MODEL_NONE;
}

/* Whether EXEC has to be refused. Of a key that was absent, came, and went again nothing need be
 * left to be seen. */
static bool must_refuse(const struct redis_model *model, unsigned session)
{
    if (!model->dirty[session])
        return false;
    unsigned key = model->watch[session] - 1u;
    return !model->absent[session] || model->keys[key].type != REDIS_MODEL_NONE;
}

bool redis_order_run(struct redis_model *model, unsigned session, struct redis_order_op *op)
{
    struct redis_model_text reply;
    if (op->way == REDIS_ORDER_WATCH) {
        watch(model, session, op);
        strcpy(op->reply, "OK;");
        return true;
    }
    bool refused = op->way == REDIS_ORDER_MULTI && must_refuse(model, session);
    if (op->way == REDIS_ORDER_MULTI)
        unwatch(model, session);
    if (refused) {
        strcpy(op->reply, "refused");
        return true;
    }
    struct redis_model before = *model;
    if (!commands_run(model, op, &reply))
        return false;
    watchers_tell(&before, model);
    strcpy(op->reply, reply.data);
    return true;
}

static const struct redis_order_op *next_of(const struct search *search, unsigned session)
{
    const struct redis_order_session *all = &search->sessions[session];
    return search->done[session] < all->count ? &all->ops[search->done[session]] : NULL;
}

/* Whether the session's request can be next: then *next is what `model` is after it. */
static bool follows(struct search *search, const struct redis_model *model, unsigned session,
                    struct redis_model *next)
{
    const struct redis_order_op *op = next_of(search, session);
    struct redis_model_text reply;
    *next = *model;
    if (op->way == REDIS_ORDER_WATCH) {
        watch(next, session, op);
        return strcmp(op->reply, "OK;") == 0;
    }
    bool refused = strcmp(op->reply, "refused") == 0;
    if (op->way == REDIS_ORDER_MULTI) {
        bool may = refused ? next->watch[session] != 0 : !must_refuse(next, session);
        unwatch(next, session);
        if (refused || !may)
            return may;
    }
    if (!commands_run(next, op, &reply)) {
        search->given_up = true;
        return false;
    }
    watchers_tell(model, next);
    return strcmp(op->reply, reply.data) == 0;
}

/* -------------------------------------------------------------------------------- what was seen */

static uint64_t mix(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint32_t word;
    ASSERT(size % sizeof word == 0);
    for (size_t n = 0; n < size; n += sizeof word) {
        memcpy(&word, bytes + n, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

static void seen_put(struct search *search, uint64_t hash)
{
    size_t at = hash % search->seen_room;
    while (search->seen[at] != 0)
        at = (at + 1) % search->seen_room;
    search->seen[at] = hash;
}

static void seen_grow(struct search *search)
{
    uint64_t *old = search->seen;
    size_t room = search->seen_room;
    search->seen_room = room == 0 ? 1024 : 4 * room;
    search->seen = history_memory(NULL, search->seen_room, sizeof *search->seen);
    memset(search->seen, 0, search->seen_room * sizeof *search->seen);
    for (size_t n = 0; n < room; n++)
        if (old[n] != 0)
            seen_put(search, old[n]);
    free(old);
}

/* False when the search was here before. */
static bool visit(struct search *search, const struct redis_model *model)
{
    uint64_t hash = mix(mix(1, search->done, sizeof search->done), model, sizeof *model) | 1;
    if (2 * search->seen_count >= search->seen_room)
        seen_grow(search);
    for (size_t at = hash % search->seen_room; search->seen[at] != 0;
         at = (at + 1) % search->seen_room)
        if (search->seen[at] == hash)
            return false;
    search->seen_count++;
    seen_put(search, hash);
    return true;
}

/* -------------------------------------------------------------------------------------- search */

/* The sessions whose next request may come next, who was answered first before the others. */
static unsigned candidates(const struct search *search, unsigned out[REDIS_MODEL_SESSIONS])
{
    uint64_t first_end = UINT64_MAX;
    unsigned count = 0;
    for (unsigned s = 0; s < REDIS_MODEL_SESSIONS; s++) {
        const struct redis_order_op *op = next_of(search, s);
        if (op != NULL && op->end < first_end)
            first_end = op->end;
    }
    for (unsigned s = 0; s < REDIS_MODEL_SESSIONS; s++) {
        const struct redis_order_op *op = next_of(search, s);
        if (op == NULL || op->begin > first_end)
            continue;
        unsigned at = count++;
        for (; at > 0 && next_of(search, out[at - 1])->end > op->end; at--)
            out[at] = out[at - 1];
        out[at] = s;
    }
    return count;
}

static void note_best(struct search *search, const struct redis_model *model)
{
    if (search->done_total < search->best)
        return;
    search->best = search->done_total;
    memcpy(search->best_done, search->done, sizeof search->done);
    search->best_model = *model;
    memcpy(search->best_order, search->order, search->done_total);
}

static bool find(struct search *search, const struct redis_model *model);

/* Goes on with the session's next request, which leads to `next`. */
static bool go_on(struct search *search, unsigned session, const struct redis_model *next)
{
    search->done[session]++;
    search->order[search->done_total++] = (uint8_t)session;
    if (find(search, next))
        return true;
    search->done_total--;
    search->done[session]--;
    return false;
}

/* By what it was told. A watch is none of these: it forbids what comes later. */
static bool is_harmless(const struct redis_order_op *op)
{
    const char *reply = op->reply;
    if (op->way == REDIS_ORDER_WATCH)
        return false;
    if (op->way == REDIS_ORDER_MULTI && strcmp(reply, "refused") == 0)
        return true;
    for (unsigned n = 0; n < op->count; n++) {
        if (!redis_model_harmless(op->commands[n].verb, reply))
            return false;
        reply += strcspn(reply, ";");
        reply += *reply == ';';
    }
    return true;
}

static bool find(struct search *search, const struct redis_model *model)
{
    unsigned order[REDIS_MODEL_SESSIONS];
    struct redis_model next;
    if (search->done_total == search->total) {
        search->last = *model;
        return true;
    }
    if (!visit(search, model))
        return false;
    search->given_up = search->given_up || ++search->steps >= STEPS_MAX;
    note_best(search, model);
    unsigned count = candidates(search, order);
    /* What fits here and changes nothing, here or elsewhere, can as well be next at once: nothing
     * else needs to be tried. */
    for (unsigned n = 0; n < count && !search->given_up; n++)
        if (next_of(search, order[n])->harmless && follows(search, model, order[n], &next))
            return go_on(search, order[n], &next);
    for (unsigned n = 0; n < count && !search->given_up; n++)
        if (follows(search, model, order[n], &next) && go_on(search, order[n], &next))
            return true;
    return false;
}

/* -------------------------------------------------------------------------------------- report */

static void op_say(struct redis_model_text *out, const struct redis_order_op *op)
{
    static const char *const ways[] = {"", "MULTI ", "EVAL ", "WATCH "};
    redis_model_say(out, "%s", ways[op->way]);
    for (unsigned n = 0; n < op->count; n++) {
        redis_model_words(&op->commands[n], out);
        redis_model_say(out, "; ");
    }
    redis_model_say(out, "-> %s", op->reply);
}

static void report_say(struct redis_order_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void report_say(struct redis_order_report *report, const char *format, ...)
{
    va_list args;
    size_t room = sizeof report->text - report->text_size;
    va_start(args, format);
    size_t size = (size_t)vsnprintf(report->text + report->text_size, room, format, args);
    va_end(args);
    report->text_size += size < room ? size : room - 1;
}

static void report_op(struct search *search, struct redis_order_report *report, unsigned session)
{
    const struct redis_order_op *op = next_of(search, session);
    struct redis_model_text text = {.size = 0};
    op_say(&text, op);
    report_say(report, "  %u, from %llu to %llu us: %.300s\n", session,
               (unsigned long long)(op->begin - search->start) / 1000,
               (unsigned long long)(op->end - search->start) / 1000, text.data);
}

/* The end of the best order, and each session's next request with what the model would reply. */
static void report_write(struct search *search, struct redis_order_report *report)
{
    report_say(report, "%zu of %zu requests have an order, which ends so:\n", search->best,
               search->total);
    memset(search->done, 0, sizeof search->done);
    for (size_t n = 0; n < search->best; n++) {
        if (n + TOLD_MAX >= search->best)
            report_op(search, report, search->best_order[n]);
        search->done[search->best_order[n]]++;
    }
    report_say(report, "then comes none of:\n");
    for (unsigned s = 0; s < REDIS_MODEL_SESSIONS; s++) {
        struct redis_model model = search->best_model;
        struct redis_model_text right = {.size = 0};
        if (next_of(search, s) == NULL)
            continue;
        report_op(search, report, s);
        commands_run(&model, next_of(search, s), &right);
        report_say(report, "       would be -> %.160s%s\n", right.data,
                   must_refuse(&search->best_model, s) ? ", but what it watches was changed" : "");
    }
}

enum redis_order_verdict redis_order_check(
    struct redis_model *model, struct redis_order_session sessions[REDIS_MODEL_SESSIONS],
    struct redis_order_report *report)
{
    struct search *search = history_memory(NULL, 1, sizeof *search);
    memset(search, 0, sizeof *search);
    search->sessions = sessions;
    search->start = UINT64_MAX;
    for (unsigned s = 0; s < REDIS_MODEL_SESSIONS; s++) {
        search->total += sessions[s].count;
        if (sessions[s].count > 0 && sessions[s].ops[0].begin < search->start)
            search->start = sessions[s].ops[0].begin;
        for (size_t n = 0; n < sessions[s].count; n++)
            sessions[s].ops[n].harmless = is_harmless(&sessions[s].ops[n]);
    }
    search->order = history_memory(NULL, search->total + 1, 1);
    search->best_order = history_memory(NULL, search->total + 1, 1);
    bool found = find(search, model);
    bool given_up = search->given_up;
    report->steps = search->steps;
    report->text_size = 0;
    report->text[0] = '\0';
    if (found)
        *model = search->last;
    else
        report_write(search, report);
    free(search->order);
    free(search->best_order);
    free(search->seen);
    free(search);
    return found ? REDIS_ORDER_FOUND : given_up ? REDIS_ORDER_UNDECIDED : REDIS_ORDER_NONE;
}
