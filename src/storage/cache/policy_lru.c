/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Least recently used: a list in the order of the last use (P. J. Denning, The working set model for
 * program behavior, CACM 11(5), 1968, has its reasons; R. L. Mattson et al., Evaluation techniques for
 * storage hierarchies, IBM Systems Journal 9(2), 1970, its curve).
 */
#include "storage/cache/policy.h"

#include "base/error.h"
#include "mem/system.h"
#include "storage/cache/policy_list.h"

struct lru {
    struct cache_policy base;
    struct policy_list used;
};

static int lru_new(size_t budget_bytes, struct cache_policy **out)
{
    (void)budget_bytes;
    struct lru *lru = system_alloc(sizeof *lru, 16);
    if (lru == NULL)
        return ERROR_MEMORY;
    lru->base.vtab = &cache_policy_lru;
    policy_list_create(&lru->used);
    *out = &lru->base;
    return 0;
}

static void lru_free(struct cache_policy *policy)
{
    system_free(policy);
}

static void lru_resize(struct cache_policy *policy, size_t budget_bytes)
{
    (void)policy, (void)budget_bytes;
}

static void lru_hit(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)flags;
    policy_list_touch(&((struct lru *)policy)->used, &frame->node);
}

static int lru_prepare(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)policy, (void)frame, (void)flags;
    return 0;
}

static struct cache_frame *lru_evict(struct cache_policy *policy, const struct cache_frame *next)
{
    (void)next;
    return policy_list_claim(&((struct lru *)policy)->used);
}

static void lru_insert(struct cache_policy *policy, struct cache_frame *frame)
{
    policy_list_add(&((struct lru *)policy)->used, &frame->node);
}

static void lru_remove(struct cache_policy *policy, struct cache_frame *frame)
{
    policy_list_remove(&((struct lru *)policy)->used, &frame->node);
}

static void lru_stats(const struct cache_policy *policy, struct cache_policy_stats *out)
{
    (void)policy;
    *out = (struct cache_policy_stats){.tables_bytes = sizeof(struct lru)};
}

const struct cache_policy_vtab cache_policy_lru = {
    .name = "lru",
    .wants_hits = true,
    .new = lru_new,
    .free = lru_free,
    .resize = lru_resize,
    .hit = lru_hit,
    .prepare = lru_prepare,
    .evict = lru_evict,
    .insert = lru_insert,
    .remove = lru_remove,
    .stats = lru_stats,
};
