/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARC (N. Megiddo, D. S. Modha, ARC: a self-tuning, low overhead replacement cache, FAST 2003).
 *
 *      B1 ghosts ◀── T1 used once          T2 used more often ──▶ B2 ghosts of T2
 *      of T1         lately
 *
 * All four are in the order of the last use. `target` is how much T1 should have: a miss on a ghost
 * of B1 says that it should have had more, one on a ghost of B2, less. T1 and B1 together are at most
 * the budget, all four at most twice of it.
 */
#include "storage/cache/policy.h"

#include "base/error.h"
#include "mem/system.h"
#include "storage/cache/policy_list.h"

enum { T1 = 1, T2, B1, B2 };

struct arc {
    struct cache_policy base;
    size_t budget_bytes;
    double target; /* bytes, 0 to the budget */
    struct policy_list t1, t2, b1, b2;
    struct policy_ghosts ghosts;
    uint64_t hits_b1, hits_b2;
};

static void ghosts_limit(struct arc *arc)
{
    size_t budget = arc->budget_bytes, all;
    while (arc->b1.count > 0 && arc->t1.bytes + arc->b1.bytes > budget)
        policy_list_forget(&arc->b1, &arc->ghosts,
                           policy_ghost_of_node(policy_list_last(&arc->b1)));
    while ((all = arc->t1.bytes + arc->t2.bytes + arc->b1.bytes + arc->b2.bytes) > 2 * budget &&
           arc->b2.count > 0)
        policy_list_forget(&arc->b2, &arc->ghosts,
                           policy_ghost_of_node(policy_list_last(&arc->b2)));
}

static void arc_resize(struct cache_policy *policy, size_t budget_bytes)
{
    struct arc *arc = (struct arc *)policy;
    if (arc->budget_bytes > 0)
        arc->target *= (double)budget_bytes / (double)arc->budget_bytes;
    arc->budget_bytes = budget_bytes;
    ghosts_limit(arc);
}

static int arc_new(size_t budget_bytes, struct cache_policy **out)
{
    struct arc *arc = system_alloc(sizeof *arc, 16);
    if (arc == NULL)
        return ERROR_MEMORY;
    *arc = (struct arc){.base.vtab = &cache_policy_arc, .budget_bytes = budget_bytes};
    policy_list_create(&arc->t1);
    policy_list_create(&arc->t2);
    policy_list_create(&arc->b1);
    policy_list_create(&arc->b2);
    if (policy_ghosts_create(&arc->ghosts) != 0) {
        system_free(arc);
        return ERROR_MEMORY;
    }
    *out = &arc->base;
    return 0;
}

static void arc_free(struct cache_policy *policy)
{
    policy_ghosts_destroy(&((struct arc *)policy)->ghosts);
    system_free(policy);
}

static struct policy_list *arc_list(struct arc *arc, const struct cache_frame *frame)
{
    return frame->node.where == T1 ? &arc->t1 : &arc->t2;
}

static void arc_hit(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)flags;
    struct arc *arc = (struct arc *)policy;
    policy_list_remove(arc_list(arc, frame), &frame->node);
    frame->node.where = T2;
    policy_list_add(&arc->t2, &frame->node);
}

/* Moves the target by as many entries as the other list of ghosts is longer than the one that was
 * hit, at least by one. */
static void target_move(struct arc *arc, const struct cache_frame *frame, bool up)
{
    const struct policy_list *hit = up ? &arc->b1 : &arc->b2, *other = up ? &arc->b2 : &arc->b1;
    double ratio = (double)other->bytes / (double)hit->bytes;
    double step = (ratio > 1 ? ratio : 1) * (double)frame->node.charge;
    double most = (double)arc->budget_bytes;
    arc->target += up ? step : -step;
    arc->target = arc->target < 0 ? 0 : arc->target > most ? most : arc->target;
}

static int arc_prepare(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)flags;
    struct arc *arc = (struct arc *)policy;
    struct policy_ghost *ghost = policy_ghosts_find(&arc->ghosts, frame);
    frame->node.where = ghost != NULL ? T2 : T1;
    frame->node.flags = 0;
    if (ghost == NULL)
        return 0;
    bool recency = ghost->node.where == B1;
    *(recency ? &arc->hits_b1 : &arc->hits_b2) += 1;
    target_move(arc, frame, recency);
    policy_list_forget(recency ? &arc->b1 : &arc->b2, &arc->ghosts, ghost);
    frame->node.flags = recency ? B1 : B2;
    return 0;
}

static struct cache_frame *evict_from(struct arc *arc, bool t1)
{
    struct cache_frame *frame = policy_list_claim(t1 ? &arc->t1 : &arc->t2);
    struct policy_ghost *ghost;
    if (frame != NULL && (ghost = policy_ghosts_add(&arc->ghosts, frame)) != NULL) {
        ghost->node.where = t1 ? B1 : B2;
        policy_list_add(t1 ? &arc->b1 : &arc->b2, &ghost->node);
    }
    return frame;
}

static struct cache_frame *arc_evict(struct cache_policy *policy, const struct cache_frame *next)
{
    struct arc *arc = (struct arc *)policy;
    double t1 = (double)arc->t1.bytes;
    bool from_t1 =
        arc->t1.count > 0 && (t1 > arc->target || (next != NULL && next->node.flags == B2 &&
                                                   t1 + (double)next->node.charge > arc->target));
    struct cache_frame *frame = evict_from(arc, from_t1);
    if (frame == NULL)
        frame = evict_from(arc, !from_t1);
    ghosts_limit(arc);
    return frame;
}

static void arc_insert(struct cache_policy *policy, struct cache_frame *frame)
{
    struct arc *arc = (struct arc *)policy;
    policy_list_add(arc_list(arc, frame), &frame->node);
    ghosts_limit(arc);
}

static void arc_remove(struct cache_policy *policy, struct cache_frame *frame)
{
    struct arc *arc = (struct arc *)policy;
    policy_list_remove(arc_list(arc, frame), &frame->node);
}

static void arc_stats(const struct cache_policy *policy, struct cache_policy_stats *out)
{
    const struct arc *arc = (const struct arc *)policy;
    *out = (struct cache_policy_stats){
        .ghost_hits_recency = arc->hits_b1,
        .ghost_hits_frequency = arc->hits_b2,
        .recency_bytes = (size_t)arc->target,
        .tables_bytes = sizeof *arc + policy_ghosts_bytes(&arc->ghosts),
    };
}

const struct cache_policy_vtab cache_policy_arc = {
    .name = "arc",
    .wants_hits = true,
    .new = arc_new,
    .free = arc_free,
    .resize = arc_resize,
    .hit = arc_hit,
    .prepare = arc_prepare,
    .evict = arc_evict,
    .insert = arc_insert,
    .remove = arc_remove,
    .stats = arc_stats,
};
