/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who appended which number, in which order they stand, and which transactions were committed.
 *
 * The longest list that was read of a key is its order: every other one must be the beginning of
 * it. A committed append that no list shows can only come behind the longest: lists do not shrink.
 * A transaction of unknown outcome counts as committed when a list shows one of its appends.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "history/append_private.h"

static void tables_size(struct append_check *check)
{
    const struct append_history *history = check->history;
    for (size_t i = 0; i < history->op_count; i++) {
        const struct append_op *op = &history->ops[i];
        if (op->key >= check->list_count)
            check->list_count = (size_t)op->key + 1;
        if (!op->read && op->value >= check->written_count)
            check->written_count = (size_t)op->value + 1;
    }
}

static void tables_make(struct append_check *check)
{
    tables_size(check);
    check->lists = history_memory(NULL, check->list_count, sizeof *check->lists);
    check->written = history_memory(NULL, check->written_count, sizeof *check->written);
    check->committed = history_memory(NULL, check->history->txn_count, sizeof *check->committed);
    for (size_t key = 0; key < check->list_count; key++)
        check->lists[key] = (struct append_list){.values = NULL};
    for (size_t value = 0; value < check->written_count; value++)
        check->written[value] = (struct append_written){.txn = APPEND_NONE, .place = APPEND_NONE};
}

static bool appends_again(const struct append_history *history, const struct append_txn *txn,
                          size_t op)
{
    for (size_t i = op + 1; i < txn->first + txn->count; i++)
        if (!history->ops[i].read && history->ops[i].key == history->ops[op].key)
            return true;
    return false;
}

static void written_fill(struct append_check *check)
{
    const struct append_history *history = check->history;
    for (uint32_t t = 0; t < history->txn_count; t++) {
        const struct append_txn *txn = &history->txns[t];
        for (size_t i = txn->first; i < txn->first + txn->count; i++) {
            const struct append_op *op = &history->ops[i];
            if (op->read)
                continue;
            struct append_written *written = &check->written[op->value];
            ASSERT(written->txn == APPEND_NONE); /* the client appended a number twice */
            *written = (struct append_written){.txn = t,
                                               .key = op->key,
                                               .place = APPEND_NONE,
                                               .last = !appends_again(history, txn, i)};
        }
    }
}

static void longest_find(struct append_check *check)
{
    const struct append_history *history = check->history;
    for (uint32_t t = 0; t < history->txn_count; t++) {
        const struct append_txn *txn = &history->txns[t];
        if (txn->status != APPEND_COMMITTED || append__level(check, t) < APPEND_READ_COMMITTED)
            continue;
        for (size_t i = txn->first; i < txn->first + txn->count; i++) {
            const struct append_op *op = &history->ops[i];
            if (op->read && op->count > check->lists[op->key].count) {
                check->lists[op->key].values = history->values + op->first;
                check->lists[op->key].count = op->count;
            }
        }
    }
}

static void places_fill(struct append_check *check)
{
    for (uint32_t key = 0; key < check->list_count; key++) {
        const struct append_list *list = &check->lists[key];
        for (uint32_t i = list->count; i-- > 0;)
            if (list->values[i] < check->written_count)
                check->written[list->values[i]].place = i;
    }
}

static void committed_fill(struct append_check *check)
{
    const struct append_history *history = check->history;
    for (uint32_t t = 0; t < history->txn_count; t++)
        check->committed[t] = history->txns[t].status == APPEND_COMMITTED;
    for (size_t value = 0; value < check->written_count; value++) {
        const struct append_written *written = &check->written[value];
        if (written->txn != APPEND_NONE && written->place != APPEND_NONE &&
            history->txns[written->txn].status == APPEND_UNKNOWN)
            check->committed[written->txn] = true;
    }
}

static void unseen_fill(struct append_check *check)
{
    for (uint32_t value = 0; value < check->written_count; value++) {
        const struct append_written *written = &check->written[value];
        if (written->txn == APPEND_NONE || written->place != APPEND_NONE || !written->last ||
            !check->committed[written->txn])
            continue;
        struct append_list *list = &check->lists[written->key];
        history_room(list->unseen, list->unseen_count, list->unseen_room, 1);
        list->unseen[list->unseen_count++] = value;
    }
}

/* The edges between those who follow each other in a list. */
static void followers_add(struct append_check *check, uint32_t key)
{
    const struct append_list *list = &check->lists[key];
    struct append_edge edge = {.from = APPEND_NONE, .kind = EDGE_WW, .key = key};
    for (uint32_t i = 0; i < list->count; i++) {
        edge.value = list->values[i];
        edge.to = edge.value < check->written_count ? check->written[edge.value].txn : APPEND_NONE;
        if (edge.to == APPEND_NONE || !check->committed[edge.to])
            continue;
        if (edge.from != APPEND_NONE)
            append__edge(check, &edge);
        edge.from = edge.to;
    }
    for (size_t i = 0; edge.from != APPEND_NONE && i < list->unseen_count; i++) {
        edge.value = list->unseen[i];
        edge.to = check->written[edge.value].txn;
        append__edge(check, &edge);
    }
}

void append__lists_find(struct append_check *check)
{
    tables_make(check);
    written_fill(check);
    longest_find(check);
    places_fill(check);
    committed_fill(check);
    unseen_fill(check);
    for (uint32_t key = 0; key < check->list_count; key++)
        followers_add(check, key);
}
