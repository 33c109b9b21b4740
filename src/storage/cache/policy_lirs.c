/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LIRS (S. Jiang, X. Zhang, LIRS: an efficient low inter-reference recency set replacement policy,
 * SIGMETRICS 2002). What matters is not how long ago an entry was used, but how many others were
 * between its last two uses.
 *
 *      stack   by the last use: all LIR entries (few others between their uses); HIR entries (all
 *              others) that were used since the LIR entry that was used longest ago, among them such
 *              as are no longer in the cache: ghosts
 *      queue   the HIR entries in the cache, a hundredth of the budget; the first is the next to go
 *
 * An HIR entry that is used while it is in the stack becomes LIR, and the LIR entry at the bottom
 * becomes HIR for it. Ghosts are limited, which the paper leaves open: those of more than twice the
 * budget are forgotten, the one that went first before the others.
 *
 * Invariant: the bottom of the stack is an LIR entry, or the stack is empty.
 */
#include "storage/cache/policy.h"

#include "base/error.h"
#include "mem/system.h"
#include "storage/cache/policy_list.h"

enum { LIR = 1, HIR };
enum { IN_STACK = 1 };

struct lirs {
    struct cache_policy base;
    size_t lir_bytes, lir_bytes_max;
    size_t ghost_bytes, ghost_bytes_max;
    struct list stack; /* of nodes, frames and ghosts; the top is the first */
    struct list queue; /* of frames by `second` */
    struct list age;   /* of ghosts by `age`, the oldest first */
    struct policy_ghosts ghosts;
    uint64_t ghost_hits;
};

static struct cache_frame *frame_of_queue(struct list *link)
{
    return list_entry(link, struct cache_frame, second);
}

/* ----------------------------------------------------------------------------------------- stack */

static void stack_remove(struct cache_node *node)
{
    list_remove(&node->link);
    node->flags &= (uint8_t)~IN_STACK;
}

static void stack_push(struct lirs *lirs, struct cache_node *node)
{
    if (node->flags & IN_STACK)
        list_remove(&node->link);
    list_add_head(&lirs->stack, &node->link);
    node->flags |= IN_STACK;
}

static void ghost_forget(struct lirs *lirs, struct policy_ghost *ghost)
{
    list_remove(&ghost->node.link);
    list_remove(&ghost->age);
    lirs->ghost_bytes -= ghost->node.charge;
    policy_ghosts_remove(&lirs->ghosts, ghost);
}

/* Takes away what lies below the last LIR entry. */
static void stack_prune(struct lirs *lirs)
{
    struct list *link;
    while ((link = list_last(&lirs->stack)) != NULL) {
        struct cache_node *node = list_entry(link, struct cache_node, link);
        if (node->is_ghost)
            ghost_forget(lirs, policy_ghost_of_node(node));
        else if (node->where == HIR)
            stack_remove(node);
        else
            return;
    }
}

static void queue_push(struct lirs *lirs, struct cache_frame *frame)
{
    frame->node.where = HIR;
    list_add_tail(&lirs->queue, &frame->second);
}

/* LIR entries at the bottom become HIR until the others have room. */
static void lir_limit(struct lirs *lirs)
{
    while (lirs->lir_bytes > lirs->lir_bytes_max) {
        struct cache_frame *frame = cache_frame_of_node(list_last(&lirs->stack));
        lirs->lir_bytes -= frame->node.charge;
        stack_remove(&frame->node);
        queue_push(lirs, frame);
        stack_prune(lirs);
    }
}

static void lir_make(struct lirs *lirs, struct cache_frame *frame)
{
    frame->node.where = LIR;
    lirs->lir_bytes += frame->node.charge;
    stack_push(lirs, &frame->node);
    lir_limit(lirs);
}

/* ---------------------------------------------------------------------------------------- policy */

static void ghosts_limit(struct lirs *lirs)
{
    while (lirs->ghost_bytes > lirs->ghost_bytes_max)
        ghost_forget(lirs, list_entry(list_first(&lirs->age), struct policy_ghost, age));
}

static void lirs_resize(struct cache_policy *policy, size_t budget_bytes)
{
    struct lirs *lirs = (struct lirs *)policy;
    lirs->lir_bytes_max = budget_bytes - (budget_bytes + 99) / 100;
    lirs->ghost_bytes_max = budget_bytes * 2;
    lir_limit(lirs);
    ghosts_limit(lirs);
}

static int lirs_new(size_t budget_bytes, struct cache_policy **out)
{
    struct lirs *lirs = system_alloc(sizeof *lirs, 16);
    if (lirs == NULL)
        return ERROR_MEMORY;
    *lirs = (struct lirs){.base.vtab = &cache_policy_lirs};
    list_create(&lirs->stack);
    list_create(&lirs->queue);
    list_create(&lirs->age);
    if (policy_ghosts_create(&lirs->ghosts) != 0) {
        system_free(lirs);
        return ERROR_MEMORY;
    }
    lirs_resize(&lirs->base, budget_bytes);
    *out = &lirs->base;
    return 0;
}

static void lirs_free(struct cache_policy *policy)
{
    policy_ghosts_destroy(&((struct lirs *)policy)->ghosts);
    system_free(policy);
}

static void lirs_hit(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)flags;
    struct lirs *lirs = (struct lirs *)policy;
    if (frame->node.where == LIR) {
        stack_push(lirs, &frame->node);
        stack_prune(lirs);
        return;
    }
    list_remove(&frame->second);
    if (frame->node.flags & IN_STACK) {
        lir_make(lirs, frame);
        return;
    }
    stack_push(lirs, &frame->node);
    queue_push(lirs, frame);
    stack_prune(lirs);
}

static int lirs_prepare(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)flags;
    struct lirs *lirs = (struct lirs *)policy;
    struct policy_ghost *ghost = policy_ghosts_find(&lirs->ghosts, frame);
    frame->node.where = ghost != NULL ? LIR : HIR;
    frame->node.flags = 0;
    if (ghost != NULL) {
        ghost_forget(lirs, ghost);
        lirs->ghost_hits++;
    }
    return 0;
}

static void lirs_remove(struct cache_policy *policy, struct cache_frame *frame)
{
    struct lirs *lirs = (struct lirs *)policy;
    if (frame->node.where == LIR)
        lirs->lir_bytes -= frame->node.charge;
    else
        list_remove(&frame->second);
    if (frame->node.flags & IN_STACK)
        stack_remove(&frame->node);
    stack_prune(lirs);
}

/* What goes and is in the stack, leaves a ghost in its place there. */
static void leave_ghost(struct lirs *lirs, struct cache_frame *frame)
{
    if (!(frame->node.flags & IN_STACK))
        return;
    struct policy_ghost *ghost = policy_ghosts_add(&lirs->ghosts, frame);
    if (ghost == NULL)
        return;
    list_insert_before(&frame->node.link, &ghost->node.link);
    list_add_tail(&lirs->age, &ghost->age);
    lirs->ghost_bytes += ghost->node.charge;
}

static struct cache_frame *lirs_evict(struct cache_policy *policy, const struct cache_frame *next)
{
    (void)next;
    struct lirs *lirs = (struct lirs *)policy;
    list_for_each (link, &lirs->queue) {
        struct cache_frame *frame = frame_of_queue(link);
        if (cache_frame_claim(frame)) {
            leave_ghost(lirs, frame);
            lirs_remove(policy, frame);
            ghosts_limit(lirs);
            return frame;
        }
    }
    for (struct list *link = lirs->stack.prev; link != &lirs->stack; link = link->prev) {
        if (list_entry(link, struct cache_node, link)->is_ghost)
            continue;
        struct cache_frame *frame = cache_frame_of_node(link);
        if (cache_frame_claim(frame)) {
            lirs_remove(policy, frame);
            return frame;
        }
    }
    return NULL;
}

/* While LIR entries have room, new ones are LIR. */
static void lirs_insert(struct cache_policy *policy, struct cache_frame *frame)
{
    struct lirs *lirs = (struct lirs *)policy;
    if (frame->node.where == LIR || lirs->lir_bytes + frame->node.charge <= lirs->lir_bytes_max) {
        lir_make(lirs, frame);
        return;
    }
    stack_push(lirs, &frame->node);
    queue_push(lirs, frame);
    stack_prune(lirs);
}

static void lirs_stats(const struct cache_policy *policy, struct cache_policy_stats *out)
{
    const struct lirs *lirs = (const struct lirs *)policy;
    *out = (struct cache_policy_stats){
        .ghost_hits_recency = lirs->ghost_hits,
        .tables_bytes = sizeof *lirs + policy_ghosts_bytes(&lirs->ghosts),
    };
}

const struct cache_policy_vtab cache_policy_lirs = {
    .name = "lirs",
    .wants_hits = true,
    .new = lirs_new,
    .free = lirs_free,
    .resize = lirs_resize,
    .hit = lirs_hit,
    .prepare = lirs_prepare,
    .evict = lirs_evict,
    .insert = lirs_insert,
    .remove = lirs_remove,
    .stats = lirs_stats,
};
