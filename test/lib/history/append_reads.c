/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What each committed transaction saw: whether a list can have been like that at all, whether it
 * shows what it must not, and the wr and rw edges that follow from it.
 *
 * A list that a transaction reads ends with its own appends so far; what stands before them came
 * from others, and is what edges are made of. At read uncommitted only the own part and the numbers
 * themselves are checked.
 */
#include <stdio.h>

#include "history/append_private.h"

/* One read: the list without what the reader had appended itself. */
struct look {
    struct append_check *check;
    uint32_t reader;
    const struct append_op *op;
    const uint32_t *values;
    uint32_t own, count; /* own appends so far; numbers of others */
    bool first;          /* of this list in its transaction */
};

static const char *list_text(const struct look *look)
{
    static _Thread_local char text[256];
    enum { SHOWN = 8 };
    uint32_t from = look->op->count > SHOWN ? look->op->count - SHOWN : 0;
    int size = snprintf(text, sizeof text, from > 0 ? "[.." : "[");
    for (uint32_t i = from; i < look->op->count; i++)
        size += snprintf(text + size, sizeof text - (size_t)size, "%s%u", i > 0 ? " " : "",
                         look->values[i]);
    snprintf(text + size, sizeof text - (size_t)size, "]");
    return text;
}

static const struct append_written *written_of(const struct look *look, uint32_t value)
{
    const struct append_check *check = look->check;
    if (value >= check->written_count || check->written[value].txn == APPEND_NONE ||
        check->written[value].key != look->op->key)
        return NULL;
    return &check->written[value];
}

/* Every number was appended by somebody, and stands there once. */
static bool numbers_right(const struct look *look)
{
    for (uint32_t i = 0; i < look->op->count; i++) {
        if (written_of(look, look->values[i]) == NULL) {
            append__found(look->check, APPEND_GARBAGE,
                          "T%u read list %u as %s, but nobody appended %u to it", look->reader,
                          look->op->key, list_text(look), look->values[i]);
            return false;
        }
        for (uint32_t k = 0; k < i; k++)
            if (look->values[k] == look->values[i]) {
                append__found(look->check, APPEND_DUPLICATE,
                              "T%u read list %u as %s, which holds %u twice", look->reader,
                              look->op->key, list_text(look), look->values[i]);
                return false;
            }
    }
    return true;
}

/* Finds the own part of the list, which is its end, all of it, and in order. */
static bool own_right(struct look *look)
{
    const struct append_history *history = look->check->history;
    const struct append_txn *txn = &history->txns[look->reader];
    uint32_t own = 0, found = 0;
    for (size_t i = txn->first; &history->ops[i] < look->op; i++)
        own += !history->ops[i].read && history->ops[i].key == look->op->key;
    for (uint32_t i = 0; i < look->op->count; i++)
        found += look->check->written[look->values[i]].txn == look->reader;
    bool right = found == own;
    uint32_t at = look->op->count - found;
    for (size_t i = txn->first; right && &history->ops[i] < look->op; i++)
        if (!history->ops[i].read && history->ops[i].key == look->op->key)
            right = look->values[at++] == history->ops[i].value;
    look->own = own;
    look->count = look->op->count - own;
    if (!right)
        append__found(look->check, APPEND_INTERNAL,
                      "T%u had appended %u of its own to list %u, and read %s", look->reader, own,
                      look->op->key, list_text(look));
    return right;
}

/* A snapshot does not move, and nobody changes a list on which an own append stands. */
static bool repeats(struct look *look)
{
    const struct append_history *history = look->check->history;
    const struct append_txn *txn = &history->txns[look->reader];
    const struct append_op *earlier = NULL;
    uint32_t own = 0, own_then = 0;
    for (size_t i = txn->first; &history->ops[i] < look->op; i++) {
        const struct append_op *op = &history->ops[i];
        if (op->key == look->op->key && op->read) {
            earlier = op;
            own_then = own;
        }
        own += op->key == look->op->key && !op->read;
    }
    look->first = earlier == NULL;
    if (earlier == NULL ||
        (append__level(look->check, look->reader) < APPEND_SNAPSHOT && own_then == 0))
        return true;
    bool same = earlier->count - own_then == look->count;
    for (uint32_t i = 0; same && i < look->count; i++)
        same = history->values[earlier->first + i] == look->values[i];
    if (!same)
        append__found(look->check, APPEND_INTERNAL, "T%u read list %u again, and differently: %s",
                      look->reader, look->op->key, list_text(look));
    return same;
}

static bool order_right(const struct look *look)
{
    const struct append_list *list = &look->check->lists[look->op->key];
    for (uint32_t i = 0; i < look->op->count; i++)
        if (i >= list->count || list->values[i] != look->values[i]) {
            append__found(look->check, APPEND_INCOMPATIBLE,
                          "T%u read list %u as %s, another has something else in place of %u",
                          look->reader, look->op->key, list_text(look), look->values[i]);
            return false;
        }
    return true;
}

static void dirty_check(const struct look *look)
{
    for (uint32_t i = 0; i < look->count; i++) {
        uint32_t writer = look->check->written[look->values[i]].txn;
        if (look->check->history->txns[writer].status == APPEND_ABORTED)
            append__found(look->check, APPEND_G1A,
                          "T%u read list %u as %s; %u is by T%u, which was rolled back",
                          look->reader, look->op->key, list_text(look), look->values[i], writer);
    }
    if (look->count == 0)
        return;
    uint32_t value = look->values[look->count - 1];
    if (!look->check->written[value].last)
        append__found(look->check, APPEND_G1B,
                      "T%u read list %u as %s; %u is not the last that T%u appended to it",
                      look->reader, look->op->key, list_text(look), value,
                      look->check->written[value].txn);
}

/* The list was read, then appended to, and in between somebody else had appended `next`. */
static void lost_update_check(const struct look *look, uint32_t next)
{
    const struct append_check *check = look->check;
    const struct append_history *history = check->history;
    const struct append_txn *txn = &history->txns[look->reader];
    if (!look->first || append__level(check, look->reader) < APPEND_SNAPSHOT)
        return;
    for (size_t i = txn->first; i < txn->first + txn->count; i++)
        if (!history->ops[i].read && history->ops[i].key == look->op->key) {
            append__found(look->check, APPEND_LOST_UPDATE,
                          "T%u read list %u as %s and appended %u, but T%u had appended %u before",
                          look->reader, look->op->key, list_text(look), history->ops[i].value,
                          check->written[next].txn, next);
            return;
        }
}

/* The edges to those whose appends came next. */
static void overwritten_add(const struct look *look, struct append_edge *edge)
{
    struct append_check *check = look->check;
    const struct append_list *list = &check->lists[look->op->key];
    for (uint32_t i = look->count; i < list->count; i++) {
        edge->value = list->values[i];
        edge->to =
            edge->value < check->written_count ? check->written[edge->value].txn : APPEND_NONE;
        if (edge->to == look->reader)
            return; /* who comes later follows an own append */
        if (edge->to == APPEND_NONE || !check->committed[edge->to])
            continue;
        append__edge(check, edge);
        lost_update_check(look, edge->value);
        return;
    }
    for (size_t i = 0; i < list->unseen_count; i++) {
        edge->value = list->unseen[i];
        edge->to = check->written[edge->value].txn;
        append__edge(check, edge);
    }
}

static void edges_add(const struct look *look)
{
    struct append_check *check = look->check;
    struct append_edge edge = {.key = look->op->key};
    if (look->count > 0) {
        edge.value = look->values[look->count - 1];
        edge.from = check->written[edge.value].txn;
        edge.to = look->reader;
        edge.kind = EDGE_WR;
        append__edge(check, &edge);
    }
    edge.from = look->reader;
    edge.kind = EDGE_RW;
    edge.predicate = look->op->predicate && look->count == 0;
    overwritten_add(look, &edge);
}

/* What had been committed before the reader began must be there, or in a longer list. */
static void lost_check(const struct look *look)
{
    const struct append_check *check = look->check;
    const struct append_list *list = &check->lists[look->op->key];
    for (size_t i = 0; i < list->unseen_count; i++) {
        uint32_t writer = check->written[list->unseen[i]].txn;
        if (check->history->txns[writer].end < check->history->txns[look->reader].begin)
            append__found(look->check, APPEND_LOST_APPEND,
                          "T%u appended %u to list %u and ended before T%u began, which read %s",
                          writer, list->unseen[i], look->op->key, look->reader, list_text(look));
    }
}

static void look_at(struct append_check *check, uint32_t reader, const struct append_op *op)
{
    struct look look = {
        .check = check, .reader = reader, .op = op, .values = check->history->values + op->first};
    if (!numbers_right(&look) || !own_right(&look) || !repeats(&look) ||
        append__level(check, reader) < APPEND_READ_COMMITTED)
        return;
    dirty_check(&look);
    if (!order_right(&look))
        return;
    edges_add(&look);
    if (check->options.real_time)
        lost_check(&look);
}

void append__reads_check(struct append_check *check)
{
    const struct append_history *history = check->history;
    for (uint32_t t = 0; t < history->txn_count; t++) {
        const struct append_txn *txn = &history->txns[t];
        if (txn->status != APPEND_COMMITTED)
            continue;
        for (size_t i = txn->first; i < txn->first + txn->count; i++)
            if (history->ops[i].read)
                look_at(check, t, &history->ops[i]);
    }
}
