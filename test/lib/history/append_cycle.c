/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cycles: whether there is a forbidden one, and then the shortest of each kind, in words.
 *
 * Which edges may follow each other depends on how a transaction was entered (see append.h), so the
 * graph that is searched has two states for each transaction: entered by rw or otherwise. A cycle
 * of states is a forbidden cycle, and the other way round. Its strongly connected components are
 * found in linear time (Tarjan 1972, without recursion), which is all that a clean history needs.
 * Only inside of those that have a cycle one is then looked for, by breadth.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "history/append_private.h"

enum { STARTS_MAX = 4000 }; /* edges from which the shortest cycle of a kind is searched */

static int edge_order(const void *a, const void *b)
{
    const struct append_edge *left = a, *right = b;
    if (left->from != right->from)
        return left->from < right->from ? -1 : 1;
    if (left->kind != right->kind)
        return left->kind < right->kind ? -1 : 1;
    return left->to < right->to ? -1 : left->to > right->to;
}

static void edges_sort(struct append_check *check)
{
    size_t txns = check->history->txn_count;
    if (check->edge_count > 0)
        qsort(check->edges, check->edge_count, sizeof *check->edges, edge_order);
    check->edge_first = history_memory(NULL, txns + 1, sizeof *check->edge_first);
    for (size_t t = 0, edge = 0; t <= txns; t++) {
        while (edge < check->edge_count && check->edges[edge].from < t)
            edge++;
        check->edge_first[t] = edge;
    }
}

/* A state: the transaction, and whether it was entered by another edge than rw. */
static bool may_leave(const struct append_check *check, const struct append_edge *edge,
                      bool entered_forward)
{
    if (edge->kind != EDGE_RW)
        return true;
    enum append_level level = append__level(check, edge->from);
    return level == APPEND_SERIALIZABLE || (level == APPEND_SNAPSHOT && entered_forward);
}

static uint32_t state_after(const struct append_edge *edge)
{
    return 2 * edge->to + (edge->kind != EDGE_RW);
}

/* ------------------------------------------------------------------------------- components */

struct components {
    const struct append_check *check;
    uint32_t *number;    /* by state: when it was met, from 1 */
    uint32_t *low;       /* the smallest number that it leads back to */
    size_t *next;        /* the edge to go on with */
    uint32_t *stack;     /* states whose component is not known yet */
    uint32_t *path;      /* states from the start to where the search is */
    uint32_t *component; /* by transaction: a component with a cycle that it is in, 0 none */
    bool *on_stack;
    size_t stack_size, path_size;
    uint32_t numbers, found;
};

static void state_enter(struct components *c, uint32_t state)
{
    c->number[state] = c->low[state] = ++c->numbers;
    c->next[state] = c->check->edge_first[state / 2];
    c->stack[c->stack_size++] = state;
    c->on_stack[state] = true;
    c->path[c->path_size++] = state;
}

/* The component that `state` was the first of goes off the stack. */
static void component_close(struct components *c, uint32_t state)
{
    bool cycle = c->stack[c->stack_size - 1] != state;
    c->found += cycle;
    for (;;) {
        uint32_t member = c->stack[--c->stack_size];
        c->on_stack[member] = false;
        if (cycle)
            c->component[member / 2] = c->found;
        if (member == state)
            return;
    }
}

static void state_leave(struct components *c, uint32_t state)
{
    c->path_size--;
    if (c->path_size > 0) {
        uint32_t *low = &c->low[c->path[c->path_size - 1]];
        *low = c->low[state] < *low ? c->low[state] : *low;
    }
    if (c->low[state] == c->number[state])
        component_close(c, state);
}

static void components_from(struct components *c, uint32_t start)
{
    state_enter(c, start);
    while (c->path_size > 0) {
        uint32_t state = c->path[c->path_size - 1];
        if (c->next[state] == c->check->edge_first[state / 2 + 1]) {
            state_leave(c, state);
            continue;
        }
        const struct append_edge *edge = &c->check->edges[c->next[state]++];
        if (!may_leave(c->check, edge, state % 2))
            continue;
        uint32_t to = state_after(edge);
        if (c->number[to] == 0)
            state_enter(c, to);
        else if (c->on_stack[to] && c->number[to] < c->low[state])
            c->low[state] = c->number[to];
    }
}

/* By transaction the component with a cycle that it is in; returns their number. */
static uint32_t components_find(const struct append_check *check, uint32_t **component)
{
    size_t states = 2 * check->history->txn_count + 1;
    struct components c = {.check = check};
    c.number = calloc(states, sizeof *c.number);
    c.low = calloc(states, sizeof *c.low);
    c.next = calloc(states, sizeof *c.next);
    c.stack = calloc(states, sizeof *c.stack);
    c.path = calloc(states, sizeof *c.path);
    c.on_stack = calloc(states, sizeof *c.on_stack);
    c.component = calloc(states, sizeof *c.component);
    ASSERT(c.number && c.low && c.next && c.stack && c.path && c.on_stack && c.component);
    for (uint32_t state = 0; state + 1 < states; state++)
        if (c.number[state] == 0)
            components_from(&c, state);
    free(c.number);
    free(c.low);
    free(c.next);
    free(c.stack);
    free(c.path);
    free(c.on_stack);
    *component = c.component;
    return c.found;
}

/* ----------------------------------------------------------------------------------- search */

/* What a cycle of some kind consists of: its first edge, the others, and whether one of those must
 * be rw. */
struct kind {
    unsigned first, others;
    bool second_rw;
};

/* A place of the search: transaction, entered forward, rw seen. */
struct search {
    const struct append_check *check;
    const uint32_t *component;
    const struct append_edge **came_by; /* by place, NULL: not met */
    uint32_t *came_from;
    uint32_t *queue;
    size_t queue_size;
    const struct append_edge **path, **best; /* cycles, edge by edge */
    size_t best_size;
};

static void place_add(struct search *s, uint32_t place, const struct append_edge *edge,
                      uint32_t from)
{
    if (s->came_by[place] != NULL)
        return;
    s->came_by[place] = edge;
    s->came_from[place] = from;
    s->queue[s->queue_size++] = place;
}

static uint32_t place_of(const struct append_edge *edge, bool seen_rw)
{
    return 2 * state_after(edge) + seen_rw;
}

/* Whether the cycle that began with `start` is closed at this place. */
static bool closed(const struct search *s, const struct append_edge *start, const struct kind *kind,
                   uint32_t place)
{
    return place / 4 == start->from && (!kind->second_rw || place % 2) &&
           may_leave(s->check, start, place / 2 % 2);
}

static void cycle_keep(struct search *s, const struct append_edge *start, uint32_t place)
{
    size_t size = 0;
    while (place != APPEND_NONE) {
        s->path[size++] = s->came_by[place];
        place = s->came_from[place];
    }
    ASSERT(s->path[size - 1] == start);
    if (s->best_size != 0 && size >= s->best_size)
        return;
    for (size_t i = 0; i < size; i++)
        s->best[i] = s->path[size - 1 - i];
    s->best_size = size;
}

static void search_from(struct search *s, const struct append_edge *start, const struct kind *kind)
{
    s->queue_size = 0;
    place_add(s, place_of(start, false), start, APPEND_NONE);
    for (size_t at = 0; at < s->queue_size; at++) {
        uint32_t place = s->queue[at], txn = place / 4;
        if (closed(s, start, kind, place)) {
            cycle_keep(s, start, place);
            break;
        }
        for (size_t i = s->check->edge_first[txn]; i < s->check->edge_first[txn + 1]; i++) {
            const struct append_edge *edge = &s->check->edges[i];
            if ((edge->kind & kind->others) && may_leave(s->check, edge, place / 2 % 2) &&
                s->component[edge->to] == s->component[start->from])
                place_add(s, place_of(edge, place % 2 || edge->kind == EDGE_RW), edge, place);
        }
    }
    for (size_t at = 0; at < s->queue_size; at++)
        s->came_by[s->queue[at]] = NULL;
}

/* The shortest cycle of the kind, in `best`; false when there is none. */
static bool search(struct search *s, const struct kind *kind)
{
    unsigned starts = 0;
    s->best_size = 0;
    for (size_t i = 0; i < s->check->edge_count && starts < STARTS_MAX; i++) {
        const struct append_edge *edge = &s->check->edges[i];
        if (!(edge->kind & kind->first) || s->component[edge->from] == 0 ||
            s->component[edge->from] != s->component[edge->to] ||
            (edge->kind == EDGE_RW && append__level(s->check, edge->from) < APPEND_SNAPSHOT))
            continue;
        starts++;
        search_from(s, edge, kind);
        if (s->best_size == 2)
            break;
    }
    return s->best_size > 0;
}

/* ------------------------------------------------------------------------------------ words */

static void edge_tell(struct append_check *check, const struct append_edge *edge)
{
    switch (edge->kind) {
    case EDGE_WW:
        append__say(check, "  T%u appended to list %u before T%u appended %u\n", edge->from,
                    edge->key, edge->to, edge->value);
        break;
    case EDGE_WR:
        append__say(check, "  T%u appended %u to list %u, which T%u read\n", edge->from,
                    edge->value, edge->key, edge->to);
        break;
    case EDGE_RW:
        append__say(check, "  T%u read list %u %swithout %u, which T%u appended\n", edge->from,
                    edge->key, edge->predicate ? "in a range, absent, " : "", edge->value,
                    edge->to);
        break;
    case EDGE_RT:
        append__say(check, "  T%u had ended when T%u began\n", edge->from, edge->to);
        break;
    }
}

static void txn_tell(struct append_check *check, uint32_t number)
{
    const struct append_history *history = check->history;
    const struct append_txn *txn = &history->txns[number];
    append__say(check, "  T%u (session %u, %s):", number, txn->session,
                append_level_name(txn->level));
    for (size_t i = txn->first; i < txn->first + txn->count; i++) {
        const struct append_op *op = &history->ops[i];
        if (op->read)
            append__say(check, " read %u (%u long)", op->key, op->count);
        else
            append__say(check, " append %u %u", op->key, op->value);
    }
    append__say(check, "\n");
}

static void cycle_tell(struct append_check *check, const struct search *s,
                       enum append_anomaly anomaly)
{
    append__found(check, anomaly, "a cycle of %zu", s->best_size);
    for (size_t i = 0; i < s->best_size; i++)
        edge_tell(check, s->best[i]);
    for (size_t i = 0; i < s->best_size; i++)
        txn_tell(check, s->best[i]->from);
}

/* What several rw edges make of a cycle: snapshots can give it if two of them follow each other. */
static enum append_anomaly anomaly_of(const struct search *s)
{
    bool adjacent = false, predicate = false;
    for (size_t i = 0; i < s->best_size; i++) {
        const struct append_edge *edge = s->best[i], *next = s->best[(i + 1) % s->best_size];
        adjacent |= edge->kind == EDGE_RW && next->kind == EDGE_RW;
        predicate |= edge->predicate;
    }
    return !adjacent ? APPEND_G_NONADJACENT : predicate ? APPEND_G2 : APPEND_G2_ITEM;
}

static void cycles_tell(struct append_check *check, struct search *s)
{
    static const struct kind g0 = {EDGE_WW, EDGE_WW, false},
                             g1c = {EDGE_WR, EDGE_WW | EDGE_WR, false},
                             single = {EDGE_RW, EDGE_WW | EDGE_WR, false},
                             several = {EDGE_RW, EDGE_WW | EDGE_WR | EDGE_RW, true},
                             any = {EDGE_RT, EDGE_WW | EDGE_WR | EDGE_RW | EDGE_RT, false};
    uint32_t before = check->report->total;
    if (search(s, &g0))
        cycle_tell(check, s, APPEND_G0);
    if (search(s, &g1c))
        cycle_tell(check, s, APPEND_G1C);
    if (search(s, &single))
        cycle_tell(check, s, APPEND_G_SINGLE);
    if (check->report->total == before && search(s, &several))
        cycle_tell(check, s, anomaly_of(s));
    if (check->report->total == before && search(s, &any))
        cycle_tell(check, s, APPEND_REAL_TIME);
    if (check->report->total == before)
        append__found(check, APPEND_REAL_TIME, "a cycle too long to be shown");
}

void append__cycles_find(struct append_check *check)
{
    uint32_t *component;
    edges_sort(check);
    if (components_find(check, &component) > 0) {
        size_t places = 4 * check->history->txn_count;
        struct search s = {.check = check, .component = component};
        s.came_by = calloc(places, sizeof *s.came_by);
        s.came_from = calloc(places, sizeof *s.came_from);
        s.queue = calloc(places, sizeof *s.queue);
        s.path = calloc(places, sizeof *s.path);
        s.best = calloc(places, sizeof *s.best);
        ASSERT(s.came_by && s.came_from && s.queue && s.path && s.best);
        cycles_tell(check, &s);
        free(s.came_by);
        free(s.came_from);
        free(s.queue);
        free(s.path);
        free(s.best);
    }
    free(component);
}
