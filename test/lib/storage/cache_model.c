/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/cache_model.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A row of pages, [0] the most recent. */
struct row {
    unsigned count;
    uint32_t pages[4096];
};

static bool row_has(const struct row *row, uint32_t page)
{
    for (unsigned i = 0; i < row->count; i++) {
        if (row->pages[i] == page)
            return true;
    }
    return false;
}

static void row_remove(struct row *row, uint32_t page)
{
    for (unsigned i = 0; i < row->count; i++) {
        if (row->pages[i] == page) {
            memmove(row->pages + i, row->pages + i + 1,
                    (row->count - i - 1) * sizeof row->pages[0]);
            row->count--;
            return;
        }
    }
    abort();
}

static void row_push(struct row *row, uint32_t page)
{
    if (row->count == sizeof row->pages / sizeof row->pages[0])
        abort();
    memmove(row->pages + 1, row->pages, row->count * sizeof row->pages[0]);
    row->pages[0] = page;
    row->count++;
}

static uint32_t row_pop(struct row *row)
{
    if (row->count == 0)
        abort();
    return row->pages[--row->count];
}

static void row_cut(struct row *row, double most)
{
    while (row->count > most)
        row_pop(row);
}

/* What all of them may use; made anew for each run, all zero. */
struct model {
    unsigned room; /* c */
    uint64_t now;
    struct row a, b, c, d, e;
    double target;
    unsigned hand;
    uint64_t last[TRACE_PAGES], once[TRACE_PAGES], twice[TRACE_PAGES];
    uint8_t state[TRACE_PAGES];
    /* Of arc-scan. */
    uint64_t inserts, controlled;
    double share, integral, old_b1, old_b2, new_b1, new_b2;
};

/* ------------------------------------------------------------------------------------- LRU, CLOCK */

static bool lru(struct model *m, uint32_t page)
{
    bool hit = row_has(&m->a, page);
    if (hit)
        row_remove(&m->a, page);
    else if (m->a.count == m->room)
        row_pop(&m->a);
    row_push(&m->a, page);
    return hit;
}

/* a.pages is the ring of frames, state the mark of a page. */
static bool clock_model(struct model *m, uint32_t page)
{
    if (row_has(&m->a, page)) {
        m->state[page] = 1;
        return true;
    }
    m->state[page] = 0;
    if (m->a.count < m->room) {
        m->a.pages[m->a.count++] = page;
        return false;
    }
    while (m->state[m->a.pages[m->hand]]) {
        m->state[m->a.pages[m->hand]] = 0;
        m->hand = (m->hand + 1) % m->room;
    }
    m->a.pages[m->hand] = page;
    m->hand = (m->hand + 1) % m->room;
    return false;
}

/* -------------------------------------------------------------------------------------------- 2Q */

/* Johnson, Shasha, figure "2Q, full version": a A1in, b A1out, c Am. */
static void two_q_reclaim(struct model *m)
{
    if (m->a.count + m->c.count < m->room)
        return;
    if (m->a.count > m->room / 4 || m->c.count == 0) {
        row_push(&m->b, row_pop(&m->a));
        row_cut(&m->b, m->room / 2);
    } else {
        row_pop(&m->c);
    }
}

static bool two_q(struct model *m, uint32_t page)
{
    if (row_has(&m->c, page)) {
        row_remove(&m->c, page);
        row_push(&m->c, page);
        return true;
    }
    if (row_has(&m->a, page))
        return true;
    if (row_has(&m->b, page)) {
        row_remove(&m->b, page);
        two_q_reclaim(m);
        row_push(&m->c, page);
    } else {
        two_q_reclaim(m);
        row_push(&m->a, page);
    }
    return false;
}

/* ----------------------------------------------------------------------------------------- LRU-2 */

enum { CORRELATED_PERIOD = 16 };

/* O'Neil, O'Neil, Weikum, figure 2.1, with K = 2; a the pages in the buffer, b those with history. */
static uint32_t lru_k_victim(const struct model *m, bool any)
{
    uint32_t victim = UINT32_MAX;
    for (unsigned i = 0; i < m->a.count; i++) {
        uint32_t q = m->a.pages[i];
        if (!any && m->now - m->last[q] <= CORRELATED_PERIOD)
            continue;
        if (victim == UINT32_MAX || m->twice[q] < m->twice[victim] ||
            (m->twice[q] == m->twice[victim] && m->once[q] < m->once[victim]))
            victim = q;
    }
    return victim;
}

static bool lru_k(struct model *m, uint32_t page)
{
    m->now++;
    if (row_has(&m->a, page)) {
        if (m->now - m->last[page] > CORRELATED_PERIOD) {
            uint64_t correlated = m->last[page] - m->once[page];
            m->twice[page] = m->once[page] + correlated;
            m->once[page] = m->now;
        }
        m->last[page] = m->now;
        return true;
    }
    if (row_has(&m->b, page)) {
        row_remove(&m->b, page);
        m->twice[page] = m->once[page];
    } else {
        m->twice[page] = 0;
    }
    if (m->a.count == m->room) {
        uint32_t victim = lru_k_victim(m, false);
        if (victim == UINT32_MAX)
            victim = lru_k_victim(m, true);
        row_remove(&m->a, victim);
        row_push(&m->b, victim);
        row_cut(&m->b, m->room);
    }
    m->once[page] = m->last[page] = m->now;
    row_push(&m->a, page);
    return false;
}

/* ------------------------------------------------------------------------------------------ LIRS */

/* Jiang, Zhang, section 3: a the stack S, b the list Q (its end is its front), c the pages that are in
 * S and not in the cache, by the time they went. */
enum { NONE, LIR, HIR, GONE };

static void lirs_prune(struct model *m)
{
    while (m->a.count > 0 && m->state[m->a.pages[m->a.count - 1]] != LIR) {
        uint32_t page = row_pop(&m->a);
        if (m->state[page] == GONE) {
            row_remove(&m->c, page);
            m->state[page] = NONE;
        }
    }
}

static unsigned lirs_lir_count(const struct model *m)
{
    unsigned count = 0;
    for (unsigned i = 0; i < m->a.count; i++)
        count += m->state[m->a.pages[i]] == LIR;
    return count;
}

static void lirs_turn_bottom(struct model *m)
{
    uint32_t bottom = row_pop(&m->a);
    m->state[bottom] = HIR;
    row_push(&m->b, bottom);
    lirs_prune(m);
}

static bool lirs(struct model *m, uint32_t page)
{
    unsigned lir_most = m->room - (m->room + 99) / 100;
    bool in_stack = row_has(&m->a, page);
    if (in_stack)
        row_remove(&m->a, page);
    if (m->state[page] == LIR) {
        row_push(&m->a, page);
        lirs_prune(m);
        return true;
    }
    if (m->state[page] == HIR) {
        row_remove(&m->b, page);
        row_push(&m->a, page);
        if (in_stack) {
            m->state[page] = LIR;
            lirs_turn_bottom(m);
        } else {
            row_push(&m->b, page);
        }
        return true;
    }
    if (m->state[page] == GONE)
        row_remove(&m->c, page);
    unsigned lir = lirs_lir_count(m);
    if (lir < lir_most) {
        m->state[page] = LIR;
        row_push(&m->a, page);
        return false;
    }
    if (lir + m->b.count == m->room) {
        uint32_t victim = row_pop(&m->b);
        m->state[victim] = row_has(&m->a, victim) ? GONE : NONE;
        if (m->state[victim] == GONE)
            row_push(&m->c, victim);
        if (m->c.count > 2 * m->room) {
            uint32_t oldest = row_pop(&m->c);
            row_remove(&m->a, oldest);
            m->state[oldest] = NONE;
        }
    }
    row_push(&m->a, page);
    if (in_stack) {
        m->state[page] = LIR;
        lirs_turn_bottom(m);
    } else {
        m->state[page] = HIR;
        row_push(&m->b, page);
    }
    return false;
}

/* ------------------------------------------------------------------------------------------- ARC */

/* Megiddo, Modha, figure 4: a T1, b B1, c T2, d B2. */
static void arc_replace(struct model *m, bool in_b2)
{
    if (m->a.count > 0 && (m->a.count > m->target || (in_b2 && m->a.count == m->target)))
        row_push(&m->b, row_pop(&m->a));
    else
        row_push(&m->d, row_pop(&m->c));
}

static double larger(double x, double y)
{
    return x > y ? x : y;
}

static double smaller(double x, double y)
{
    return x < y ? x : y;
}

static bool arc(struct model *m, uint32_t page)
{
    unsigned c = m->room;
    if (row_has(&m->a, page) || row_has(&m->c, page)) {
        row_remove(row_has(&m->a, page) ? &m->a : &m->c, page);
        row_push(&m->c, page);
        return true;
    }
    if (row_has(&m->b, page)) {
        m->target = smaller(m->target + larger((double)m->d.count / m->b.count, 1), c);
        arc_replace(m, false);
        row_remove(&m->b, page);
        row_push(&m->c, page);
        return false;
    }
    if (row_has(&m->d, page)) {
        m->target = larger(m->target - larger((double)m->b.count / m->d.count, 1), 0);
        arc_replace(m, true);
        row_remove(&m->d, page);
        row_push(&m->c, page);
        return false;
    }
    unsigned all = m->a.count + m->b.count + m->c.count + m->d.count;
    if (m->a.count + m->b.count == c) {
        if (m->a.count < c) {
            row_pop(&m->b);
            arc_replace(m, false);
        } else {
            row_pop(&m->a);
        }
    } else if (all >= c) {
        if (all == 2 * c)
            row_pop(&m->d);
        arc_replace(m, false);
    }
    row_push(&m->a, page);
    return false;
}

/* -------------------------------------------------------------------------------------- arc-scan */

/* The rules 1 to 4 at the top of policy_arc_scan.c: a T1, b B1, c T2, d B2, e SCAN; once is when a
 * page came to T1 or SCAN. */
static double between(double x, double low, double high)
{
    return smaller(larger(x, low), high);
}

static void arc_scan_control(struct model *m)
{
    double c = m->room, error = 0;
    m->old_b1 = m->old_b1 / 2 + m->new_b1;
    m->old_b2 = m->old_b2 / 2 + m->new_b2;
    m->new_b1 = m->new_b2 = 0;
    if (m->old_b1 + m->old_b2 < 1)
        return;
    double u1 = m->b.count > 0 ? m->old_b1 / m->b.count : 0;
    double u2 = m->d.count > 0 ? m->old_b2 / m->d.count : 0;
    if (u1 + u2 > 0)
        error = (u1 - u2) / (u1 + u2);
    m->integral = m->integral / 2 + error;
    m->target = between(m->target + c * error / 16 + c * m->integral / 32, c / 32, c * 31 / 32);
    m->share = between(m->old_b1 / (m->old_b1 + m->old_b2), 1.0 / 8, 7.0 / 8);
    row_cut(&m->b, c * m->share);
    row_cut(&m->d, c * (1 - m->share));
}

static void arc_scan_evict(struct model *m, bool scan)
{
    unsigned held = m->a.count + m->c.count + m->e.count;
    if (held < m->room)
        return;
    if (m->e.count > 0 && ((m->e.count + scan) * 16 > m->room ||
                           m->inserts - m->once[m->e.pages[m->e.count - 1]] >= held / 4)) {
        row_pop(&m->e);
    } else if (m->a.count > m->target || m->c.count == 0) {
        row_push(&m->b, row_pop(&m->a));
        row_cut(&m->b, m->room * m->share);
    } else {
        row_push(&m->d, row_pop(&m->c));
        row_cut(&m->d, m->room * (1 - m->share));
    }
}

static bool arc_scan_hit(struct model *m, uint32_t page, bool scan)
{
    unsigned held = m->a.count + m->c.count + m->e.count;
    if (row_has(&m->e, page)) {
        if (!scan) {
            row_remove(&m->e, page);
            row_push(&m->a, page);
            m->once[page] = m->inserts;
        }
        return true;
    }
    bool in_t1 = row_has(&m->a, page);
    if (!in_t1 && !row_has(&m->c, page))
        return false;
    if (!scan) {
        row_remove(in_t1 ? &m->a : &m->c, page);
        row_push(in_t1 && m->inserts - m->once[page] < held / 16 ? &m->a : &m->c, page);
    }
    return true;
}

static bool arc_scan(struct model *m, uint32_t page, bool scan)
{
    if (m->share == 0) {
        m->share = 0.5;
        m->target = m->room / 32.0;
    }
    if (arc_scan_hit(m, page, scan))
        return true;
    struct row *to = scan ? &m->e : &m->a;
    if (!scan && row_has(&m->b, page)) {
        row_remove(&m->b, page);
        m->new_b1++;
        to = &m->c;
    } else if (!scan && row_has(&m->d, page)) {
        row_remove(&m->d, page);
        m->new_b2++;
        to = &m->c;
    }
    arc_scan_evict(m, scan);
    row_push(to, page);
    m->once[page] = m->inserts++;
    double held = m->a.count + m->c.count + m->e.count;
    if (m->inserts - m->controlled >= larger((uint64_t)(held / 8), 16)) {
        m->controlled = m->inserts;
        arc_scan_control(m);
    }
    return false;
}

/* ------------------------------------------------------------------------------------------- all */

size_t cache_model_hits(const char *policy, unsigned room, const struct cache_access *trace,
                        size_t count)
{
    static const struct {
        const char *name;
        bool (*access)(struct model *m, uint32_t page);
    } models[] = {{"lru", lru},   {"clock", clock_model}, {"2q", two_q},     {"lru-k", lru_k},
                  {"lirs", lirs}, {"arc", arc},           {"arc-scan", NULL}};
    size_t hits = 0;
    for (unsigned i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (strcmp(models[i].name, policy) != 0)
            continue;
        struct model *m = calloc(1, sizeof *m);
        if (m == NULL)
            abort();
        m->room = room;
        for (size_t n = 0; n < count; n++)
            hits += models[i].access != NULL ? models[i].access(m, trace[n].page)
                                             : arc_scan(m, trace[n].page, trace[n].scan);
        free(m);
        return hits;
    }
    return SIZE_MAX;
}
