/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 2Q, the full version (T. Johnson, D. Shasha, 2Q: a low overhead high performance buffer management
 * replacement algorithm, VLDB 1994).
 *
 *      A1in    new entries, first in first out, a quarter of the budget; hits there mean nothing
 *      A1out   the keys of those that went from A1in, as many as half of the budget would hold
 *      Am      what was asked for again while its key was in A1out, least recently used
 */
#include "storage/cache/policy.h"

#include "base/error.h"
#include "mem/system.h"
#include "storage/cache/policy_list.h"

enum { IN = 1, MAIN };

struct two_q {
    struct cache_policy base;
    size_t in_bytes_max, out_bytes_max;
    struct policy_list in, main, out;
    struct policy_ghosts ghosts;
    uint64_t ghost_hits;
};

static void two_q_resize(struct cache_policy *policy, size_t budget_bytes)
{
    struct two_q *two_q = (struct two_q *)policy;
    two_q->in_bytes_max = budget_bytes / 4;
    two_q->out_bytes_max = budget_bytes / 2;
    policy_list_trim(&two_q->out, &two_q->ghosts, two_q->out_bytes_max);
}

static int two_q_new(size_t budget_bytes, struct cache_policy **out)
{
    struct two_q *two_q = system_alloc(sizeof *two_q, 16);
    if (two_q == NULL)
        return ERROR_MEMORY;
    if (policy_ghosts_create(&two_q->ghosts) != 0) {
        system_free(two_q);
        return ERROR_MEMORY;
    }
    two_q->base.vtab = &cache_policy_2q;
    two_q->ghost_hits = 0;
    policy_list_create(&two_q->in);
    policy_list_create(&two_q->main);
    policy_list_create(&two_q->out);
    two_q_resize(&two_q->base, budget_bytes);
    *out = &two_q->base;
    return 0;
}

static void two_q_free(struct cache_policy *policy)
{
    policy_ghosts_destroy(&((struct two_q *)policy)->ghosts);
    system_free(policy);
}

static struct policy_list *two_q_list(struct two_q *two_q, const struct cache_frame *frame)
{
    return frame->node.where == MAIN ? &two_q->main : &two_q->in;
}

static void two_q_hit(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)flags;
    if (frame->node.where == MAIN)
        policy_list_touch(&((struct two_q *)policy)->main, &frame->node);
}

static int two_q_prepare(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)flags;
    struct two_q *two_q = (struct two_q *)policy;
    struct policy_ghost *ghost = policy_ghosts_find(&two_q->ghosts, frame);
    frame->node.where = ghost != NULL ? MAIN : IN;
    if (ghost != NULL) {
        policy_list_forget(&two_q->out, &two_q->ghosts, ghost);
        two_q->ghost_hits++;
    }
    return 0;
}

static struct cache_frame *two_q_evict_in(struct two_q *two_q)
{
    struct cache_frame *frame = policy_list_claim(&two_q->in);
    if (frame != NULL) {
        policy_list_remember(&two_q->out, &two_q->ghosts, frame);
        policy_list_trim(&two_q->out, &two_q->ghosts, two_q->out_bytes_max);
    }
    return frame;
}

static struct cache_frame *two_q_evict(struct cache_policy *policy, const struct cache_frame *next)
{
    (void)next;
    struct two_q *two_q = (struct two_q *)policy;
    struct cache_frame *frame = NULL;
    bool from_in = two_q->in.bytes > two_q->in_bytes_max;
    if (from_in)
        frame = two_q_evict_in(two_q);
    if (frame == NULL)
        frame = policy_list_claim(&two_q->main);
    if (frame == NULL && !from_in)
        frame = two_q_evict_in(two_q);
    return frame;
}

static void two_q_insert(struct cache_policy *policy, struct cache_frame *frame)
{
    policy_list_add(two_q_list((struct two_q *)policy, frame), &frame->node);
}

static void two_q_remove(struct cache_policy *policy, struct cache_frame *frame)
{
    policy_list_remove(two_q_list((struct two_q *)policy, frame), &frame->node);
}

static void two_q_stats(const struct cache_policy *policy, struct cache_policy_stats *out)
{
    const struct two_q *two_q = (const struct two_q *)policy;
    *out = (struct cache_policy_stats){
        .ghost_hits_recency = two_q->ghost_hits,
        .recency_bytes = two_q->in_bytes_max,
        .tables_bytes = sizeof *two_q + policy_ghosts_bytes(&two_q->ghosts),
    };
}

const struct cache_policy_vtab cache_policy_2q = {
    .name = "2q",
    .wants_hits = true,
    .new = two_q_new,
    .free = two_q_free,
    .resize = two_q_resize,
    .hit = two_q_hit,
    .prepare = two_q_prepare,
    .evict = two_q_evict,
    .insert = two_q_insert,
    .remove = two_q_remove,
    .stats = two_q_stats,
};
