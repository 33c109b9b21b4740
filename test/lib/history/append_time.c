/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of time: an edge from whoever had ended to whoever then began. Not all pairs, but as
 * many as give all by transitivity: a sweep over begins and ends keeps those that have ended and
 * whom nobody has followed entirely; when B ends, those that had ended before B began may go, since
 * whoever begins from now on comes after B, and so after them.
 */
#include <stdlib.h>

#include "history/append_private.h"

struct event {
    uint64_t time;
    uint32_t txn;
    bool end;
};

static int event_order(const void *a, const void *b)
{
    const struct event *left = a, *right = b;
    if (left->time != right->time)
        return left->time < right->time ? -1 : 1;
    return (int)left->end - (int)right->end; /* at the same time: begins first, so no order */
}

static size_t events_collect(const struct append_check *check, struct event *events)
{
    size_t count = 0;
    for (uint32_t t = 0; t < check->history->txn_count; t++) {
        const struct append_txn *txn = &check->history->txns[t];
        if (!check->committed[t])
            continue;
        events[count++] = (struct event){txn->begin, t, false};
        if (txn->end != UINT64_MAX)
            events[count++] = (struct event){txn->end, t, true};
    }
    qsort(events, count, sizeof *events, event_order);
    return count;
}

void append__time_add(struct append_check *check)
{
    const struct append_txn *txns = check->history->txns;
    struct event *events = history_memory(NULL, 2 * check->history->txn_count, sizeof *events);
    size_t count = events_collect(check, events), ended_count = 0, ended_room = 0;
    uint32_t *ended = NULL;
    for (size_t i = 0; i < count; i++) {
        uint32_t txn = events[i].txn;
        if (!events[i].end) {
            for (size_t k = 0; k < ended_count; k++)
                append__edge(check,
                             &(struct append_edge){.from = ended[k], .to = txn, .kind = EDGE_RT});
            continue;
        }
        size_t kept = 0;
        for (size_t k = 0; k < ended_count; k++)
            if (txns[ended[k]].end >= txns[txn].begin)
                ended[kept++] = ended[k];
        ended_count = kept;
        history_room(ended, ended_count, ended_room, 1);
        ended[ended_count++] = txn;
    }
    free(ended);
    free(events);
}
