/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARC with scan isolation: the four lists of ARC (policy_arc.c) and what follows from how a database
 * reads.
 *
 *      SCAN  what scans bring in and nobody else has used, first in first out, with no ghosts
 *      T1    used lately          B1    ghosts of T1
 *      T2    used lately and      B2    ghosts of T2
 *            some time before
 *
 * 1. An access that is part of a scan (CACHE_SCAN) changes nothing but SCAN. SCAN has a sixteenth of
 *    the budget; what has been there while as many entries were inserted as a quarter of those in the
 *    cache goes before all others. What something else than a scan uses moves on to T1.
 * 2. A scan that does not say that it is one often uses each page some times, one right after the
 *    other. A use counts as another one, and moves an entry on to T2, only if as many entries were
 *    inserted since it came to T1 as a sixteenth of those in the cache: the test for correlated
 *    references of S. Bansal and D. S. Modha, CAR: clock with adaptive replacement, FAST 2004, whose
 *    CART filters them too, by another rule.
 * 3. The ghosts together are of as many bytes as the budget. How many of them are in B1 follows from
 *    where they are hit: the share of its hits, between an eighth and seven eighths.
 * 4. How much T1 should have is set by a controller, each time that as many entries were inserted as an
 *    eighth of those in the cache (sixteen at least). Its error is the difference of hits on a byte of
 *    B1 and on one of B2 divided by their sum; hits decay by a half from one time to the next. It moves
 *    the target by a sixteenth of the budget for the error and by a thirty-second for the sum of
 *    errors, which decays by a half as well. The target is between a thirty-second of the budget, where it
 *    begins, and what that leaves. ARC moves its target at each hit of a ghost, which follows every wave.
 */
#include "storage/cache/policy.h"

#include "base/error.h"
#include "mem/system.h"
#include "storage/cache/cache.h"
#include "storage/cache/policy_list.h"

enum { SCAN = 1, T1, T2 };
enum { BORN }; /* in frame->stamps: `inserts` when it came to SCAN or T1 */
enum { WINDOW_LEAST = 16 };

struct arc_scan {
    struct cache_policy base;
    size_t budget_bytes;
    double target;              /* bytes that T1 should have */
    double b1_share;            /* of the ghosts' bytes */
    double integral;            /* of the controller's error */
    uint64_t inserts, adjusted; /* entries inserted; how many when the controller last ran */
    double decayed_b1, decayed_b2;
    uint64_t window_b1, window_b2; /* hits since the controller last ran */
    struct policy_list scan, t1, t2, b1, b2;
    struct policy_ghosts ghosts;
    uint64_t hits_b1, hits_b2;
};

static uint64_t entries_of(const struct arc_scan *arc)
{
    return arc->scan.count + arc->t1.count + arc->t2.count;
}

static double clamp(double value, double least, double most)
{
    return value < least ? least : value > most ? most : value;
}

static void ghosts_limit(struct arc_scan *arc)
{
    double budget = (double)arc->budget_bytes;
    policy_list_trim(&arc->b1, &arc->ghosts, (size_t)(budget * arc->b1_share));
    policy_list_trim(&arc->b2, &arc->ghosts, (size_t)(budget * (1 - arc->b1_share)));
}

/* ------------------------------------------------------------------------------------- controller */

static void target_set(struct arc_scan *arc, double target)
{
    double budget = (double)arc->budget_bytes;
    arc->target = clamp(target, budget / 32, budget - budget / 32);
}

/* Hits for each byte of ghosts; none where there are none. */
static double density(double hits, const struct policy_list *ghosts)
{
    return ghosts->bytes > 0 ? hits / (double)ghosts->bytes : 0;
}

static void control(struct arc_scan *arc)
{
    double budget = (double)arc->budget_bytes, error = 0;
    arc->decayed_b1 = arc->decayed_b1 / 2 + (double)arc->window_b1;
    arc->decayed_b2 = arc->decayed_b2 / 2 + (double)arc->window_b2;
    arc->window_b1 = arc->window_b2 = 0;
    arc->adjusted = arc->inserts;
    double hits = arc->decayed_b1 + arc->decayed_b2;
    if (hits < 1)
        return;
    double recency = density(arc->decayed_b1, &arc->b1);
    double frequency = density(arc->decayed_b2, &arc->b2);
    if (recency + frequency > 0)
        error = (recency - frequency) / (recency + frequency);
    arc->integral = arc->integral / 2 + error;
    target_set(arc, arc->target + budget * (error / 16 + arc->integral / 32));
    arc->b1_share = clamp(arc->decayed_b1 / hits, 0.125, 0.875);
    ghosts_limit(arc);
}

static void inserted(struct arc_scan *arc)
{
    uint64_t window = entries_of(arc) / 8;
    arc->inserts++;
    if (arc->inserts - arc->adjusted >= (window > WINDOW_LEAST ? window : WINDOW_LEAST))
        control(arc);
}

/* ---------------------------------------------------------------------------------------- policy */

static void arc_scan_resize(struct cache_policy *policy, size_t budget_bytes)
{
    struct arc_scan *arc = (struct arc_scan *)policy;
    double part = arc->budget_bytes > 0 ? arc->target / (double)arc->budget_bytes : 0;
    arc->budget_bytes = budget_bytes;
    target_set(arc, part * (double)budget_bytes);
    ghosts_limit(arc);
}

static int arc_scan_new(size_t budget_bytes, struct cache_policy **out)
{
    struct arc_scan *arc = system_alloc(sizeof *arc, 16);
    if (arc == NULL)
        return ERROR_MEMORY;
    *arc = (struct arc_scan){.base.vtab = &cache_policy_arc_scan, .b1_share = 0.5};
    policy_list_create(&arc->scan);
    policy_list_create(&arc->t1);
    policy_list_create(&arc->t2);
    policy_list_create(&arc->b1);
    policy_list_create(&arc->b2);
    if (policy_ghosts_create(&arc->ghosts) != 0) {
        system_free(arc);
        return ERROR_MEMORY;
    }
    arc_scan_resize(&arc->base, budget_bytes);
    *out = &arc->base;
    return 0;
}

static void arc_scan_free(struct cache_policy *policy)
{
    policy_ghosts_destroy(&((struct arc_scan *)policy)->ghosts);
    system_free(policy);
}

static struct policy_list *arc_scan_list(struct arc_scan *arc, const struct cache_frame *frame)
{
    if (frame->node.where == SCAN)
        return &arc->scan;
    return frame->node.where == T1 ? &arc->t1 : &arc->t2;
}

static void move_to(struct arc_scan *arc, struct cache_frame *frame, uint8_t where)
{
    policy_list_remove(arc_scan_list(arc, frame), &frame->node);
    frame->node.where = where;
    policy_list_add(arc_scan_list(arc, frame), &frame->node);
}

static void arc_scan_hit(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    struct arc_scan *arc = (struct arc_scan *)policy;
    if (flags & CACHE_SCAN)
        return;
    if (frame->node.where == SCAN) {
        move_to(arc, frame, T1);
        frame->stamps[BORN] = arc->inserts;
    } else if (frame->node.where == T1 &&
               arc->inserts - frame->stamps[BORN] < entries_of(arc) / 16) {
        policy_list_touch(&arc->t1, &frame->node);
    } else {
        move_to(arc, frame, T2);
    }
}

static int arc_scan_prepare(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    struct arc_scan *arc = (struct arc_scan *)policy;
    frame->node.where = flags & CACHE_SCAN ? SCAN : T1;
    struct policy_ghost *ghost =
        frame->node.where == SCAN ? NULL : policy_ghosts_find(&arc->ghosts, frame);
    if (ghost == NULL)
        return 0;
    bool recency = ghost->node.where == T1;
    *(recency ? &arc->hits_b1 : &arc->hits_b2) += 1;
    *(recency ? &arc->window_b1 : &arc->window_b2) += 1;
    policy_list_forget(recency ? &arc->b1 : &arc->b2, &arc->ghosts, ghost);
    frame->node.where = T2;
    return 0;
}

/* Whether the oldest of what scans brought in goes before all others. */
static bool scan_is_due(const struct arc_scan *arc, const struct cache_frame *next)
{
    if (arc->scan.count == 0)
        return false;
    const struct cache_frame *oldest = cache_frame_of_node(list_last(&arc->scan.list));
    size_t coming = next != NULL && next->node.where == SCAN ? next->node.charge : 0;
    return arc->scan.bytes + coming > arc->budget_bytes / 16 ||
           arc->inserts - oldest->stamps[BORN] >= entries_of(arc) / 4;
}

static struct cache_frame *evict_from(struct arc_scan *arc, uint8_t where)
{
    struct policy_list *list = where == T1 ? &arc->t1 : &arc->t2;
    struct policy_list *ghosts = where == T1 ? &arc->b1 : &arc->b2;
    struct policy_ghost *ghost;
    struct cache_frame *frame = policy_list_claim(list);
    /* A scan's ghost may still be there from before it was one. */
    if (frame == NULL || policy_ghosts_find(&arc->ghosts, frame) != NULL ||
        (ghost = policy_ghosts_add(&arc->ghosts, frame)) == NULL)
        return frame;
    ghost->node.where = where;
    policy_list_add(ghosts, &ghost->node);
    ghosts_limit(arc);
    return frame;
}

static struct cache_frame *arc_scan_evict(struct cache_policy *policy,
                                          const struct cache_frame *next)
{
    struct arc_scan *arc = (struct arc_scan *)policy;
    struct cache_frame *frame = scan_is_due(arc, next) ? policy_list_claim(&arc->scan) : NULL;
    uint8_t first = arc->t2.count == 0 || (double)arc->t1.bytes > arc->target ? T1 : T2;
    if (frame == NULL)
        frame = evict_from(arc, first);
    if (frame == NULL)
        frame = evict_from(arc, first == T1 ? T2 : T1);
    return frame != NULL ? frame : policy_list_claim(&arc->scan);
}

static void arc_scan_insert(struct cache_policy *policy, struct cache_frame *frame)
{
    struct arc_scan *arc = (struct arc_scan *)policy;
    frame->stamps[BORN] = arc->inserts;
    policy_list_add(arc_scan_list(arc, frame), &frame->node);
    inserted(arc);
}

static void arc_scan_remove(struct cache_policy *policy, struct cache_frame *frame)
{
    struct arc_scan *arc = (struct arc_scan *)policy;
    policy_list_remove(arc_scan_list(arc, frame), &frame->node);
}

static void arc_scan_stats(const struct cache_policy *policy, struct cache_policy_stats *out)
{
    const struct arc_scan *arc = (const struct arc_scan *)policy;
    *out = (struct cache_policy_stats){
        .ghost_hits_recency = arc->hits_b1,
        .ghost_hits_frequency = arc->hits_b2,
        .recency_bytes = (size_t)arc->target,
        .tables_bytes = sizeof *arc + policy_ghosts_bytes(&arc->ghosts),
    };
}

const struct cache_policy_vtab cache_policy_arc_scan = {
    .name = "arc-scan",
    .wants_hits = true,
    .new = arc_scan_new,
    .free = arc_scan_free,
    .resize = arc_scan_resize,
    .hit = arc_scan_hit,
    .prepare = arc_scan_prepare,
    .evict = arc_scan_evict,
    .insert = arc_scan_insert,
    .remove = arc_scan_remove,
    .stats = arc_scan_stats,
};
