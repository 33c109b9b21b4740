/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CLOCK (F. J. Corbató, A Paging Experiment with the Multics System, 1968): the entries stand in a
 * circle; a hit sets a mark and nothing else; the hand takes marks back as it passes and evicts the
 * first entry that has none. A new entry stands behind the hand and has no mark before its first hit.
 *
 * The circle is a list whose first entry is where the hand is; what the hand passes becomes the last.
 */
#include "storage/cache/policy.h"

#include "base/error.h"
#include "mem/system.h"

struct clock_policy {
    struct cache_policy base;
    struct list circle;
    uint64_t count;
};

static int clock_new(size_t budget_bytes, struct cache_policy **out)
{
    (void)budget_bytes;
    struct clock_policy *clock = system_alloc(sizeof *clock, 16);
    if (clock == NULL)
        return ERROR_MEMORY;
    clock->base.vtab = &cache_policy_clock;
    list_create(&clock->circle);
    clock->count = 0;
    *out = &clock->base;
    return 0;
}

static void clock_delete(struct cache_policy *policy)
{
    system_free(policy);
}

static void clock_resize(struct cache_policy *policy, size_t budget_bytes)
{
    (void)policy, (void)budget_bytes;
}

static void clock_hit(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)policy, (void)flags;
    store_relaxed(&frame->referenced, true);
}

static int clock_prepare(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)policy, (void)frame, (void)flags;
    return 0;
}

static void clock_remove(struct cache_policy *policy, struct cache_frame *frame)
{
    struct clock_policy *clock = (struct clock_policy *)policy;
    list_remove(&frame->node.link);
    clock->count--;
}

/* Two rounds take back all marks; who is still pinned then, is pinned. */
static struct cache_frame *clock_evict(struct cache_policy *policy, const struct cache_frame *next)
{
    (void)next;
    struct clock_policy *clock = (struct clock_policy *)policy;
    for (uint64_t steps = 2 * clock->count; steps > 0; steps--) {
        struct cache_frame *frame = cache_frame_of_node(list_first(&clock->circle));
        if (!load_relaxed(&frame->referenced) && cache_frame_claim(frame)) {
            clock_remove(policy, frame);
            return frame;
        }
        store_relaxed(&frame->referenced, false);
        list_remove(&frame->node.link);
        list_add_tail(&clock->circle, &frame->node.link);
    }
    return NULL;
}

static void clock_insert(struct cache_policy *policy, struct cache_frame *frame)
{
    struct clock_policy *clock = (struct clock_policy *)policy;
    store_relaxed(&frame->referenced, false);
    list_add_tail(&clock->circle, &frame->node.link);
    clock->count++;
}

static void clock_stats(const struct cache_policy *policy, struct cache_policy_stats *out)
{
    (void)policy;
    *out = (struct cache_policy_stats){.tables_bytes = sizeof(struct clock_policy)};
}

const struct cache_policy_vtab cache_policy_clock = {
    .name = "clock",
    .wants_hits = false,
    .new = clock_new,
    .free = clock_delete,
    .resize = clock_resize,
    .hit = clock_hit,
    .prepare = clock_prepare,
    .evict = clock_evict,
    .insert = clock_insert,
    .remove = clock_remove,
    .stats = clock_stats,
};
