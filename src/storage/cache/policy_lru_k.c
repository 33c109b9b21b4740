/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LRU-K with K = 2 (E. J. O'Neil, P. E. O'Neil, G. Weikum, The LRU-K page replacement algorithm for
 * database disk buffering, SIGMOD 1993): the entry goes whose last use but one is longest ago; those
 * that were used once go before all others, least recently used first.
 *
 * Uses that follow each other within CORRELATED accesses to the shard count as one, as those of a
 * cursor that walks over a page do. An entry within that period of its last use does not go while
 * there is another. The history of an entry that went is kept for a while, as long as such histories
 * are of entries that would together fill the budget once more; the paper sets a time instead.
 *
 * Frames stand in a binary heap, the next to go first. A use changes only the frame's own stamps; the
 * heap keeps those that it last saw. They are never above the present ones, so what is first in the
 * heap and has them unchanged is the next to go; what has changed sinks when it comes to be first. Time
 * is counted in accesses.
 */
#include "storage/cache/policy.h"

#include <string.h>

#include "base/error.h"
#include "mem/system.h"
#include "storage/cache/policy_list.h"

enum { CORRELATED = 16, FIRST_ROOM = 64 };

/* In frame->stamps; the first two also in those of a ghost. 0: never. */
enum { USED, USED_BEFORE, TOUCHED };

struct heap_entry {
    uint64_t used_before, used;
    struct cache_frame *frame; /* frame->place is its place here */
};

struct lru_k {
    struct cache_policy base;
    size_t budget_bytes;
    uint64_t now;
    struct heap_entry *heap;
    size_t count, room;
    struct policy_list history;
    struct policy_ghosts ghosts;
    uint64_t ghost_hits_once, ghost_hits_twice;
};

/* ------------------------------------------------------------------------------------------ heap */

static bool goes_before(const struct heap_entry *a, const struct heap_entry *b)
{
    return a->used_before != b->used_before ? a->used_before < b->used_before : a->used < b->used;
}

static void heap_set(struct lru_k *lru_k, size_t place, const struct heap_entry *entry)
{
    lru_k->heap[place] = *entry;
    entry->frame->place = place;
}

static void heap_up(struct lru_k *lru_k, size_t place)
{
    struct heap_entry entry = lru_k->heap[place];
    while (place > 0 && goes_before(&entry, &lru_k->heap[(place - 1) / 2])) {
        heap_set(lru_k, place, &lru_k->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    heap_set(lru_k, place, &entry);
}

static void heap_down(struct lru_k *lru_k, size_t place)
{
    struct heap_entry entry = lru_k->heap[place];
    size_t child;
    while ((child = 2 * place + 1) < lru_k->count) {
        if (child + 1 < lru_k->count && goes_before(&lru_k->heap[child + 1], &lru_k->heap[child]))
            child++;
        if (!goes_before(&lru_k->heap[child], &entry))
            break;
        heap_set(lru_k, place, &lru_k->heap[child]);
        place = child;
    }
    heap_set(lru_k, place, &entry);
}

static struct heap_entry heap_entry_of(struct cache_frame *frame)
{
    return (struct heap_entry){frame->stamps[USED_BEFORE], frame->stamps[USED], frame};
}

static void heap_add(struct lru_k *lru_k, struct cache_frame *frame)
{
    lru_k->heap[lru_k->count] = heap_entry_of(frame);
    heap_up(lru_k, lru_k->count++);
}

static void heap_remove(struct lru_k *lru_k, struct cache_frame *frame)
{
    size_t place = frame->place;
    struct heap_entry last = lru_k->heap[--lru_k->count];
    if (last.frame == frame)
        return;
    heap_set(lru_k, place, &last);
    heap_up(lru_k, place);
    heap_down(lru_k, last.frame->place);
}

/* The frame that is first by its present stamps; there is one. */
static struct cache_frame *heap_first(struct lru_k *lru_k)
{
    for (;;) {
        struct heap_entry now = heap_entry_of(lru_k->heap[0].frame);
        if (now.used_before == lru_k->heap[0].used_before && now.used == lru_k->heap[0].used)
            return now.frame;
        lru_k->heap[0] = now;
        heap_down(lru_k, 0);
    }
}

static int heap_reserve(struct lru_k *lru_k)
{
    if (lru_k->count < lru_k->room)
        return 0;
    size_t room = lru_k->room > 0 ? lru_k->room * 2 : FIRST_ROOM;
    struct heap_entry *heap = system_alloc(room * sizeof *heap, 16);
    if (heap == NULL)
        return ERROR_MEMORY;
    if (lru_k->count > 0)
        memcpy(heap, lru_k->heap, lru_k->count * sizeof *heap);
    system_free(lru_k->heap);
    lru_k->heap = heap;
    lru_k->room = room;
    return 0;
}

/* ---------------------------------------------------------------------------------------- policy */

static void lru_k_resize(struct cache_policy *policy, size_t budget_bytes)
{
    struct lru_k *lru_k = (struct lru_k *)policy;
    lru_k->budget_bytes = budget_bytes;
    policy_list_trim(&lru_k->history, &lru_k->ghosts, budget_bytes);
}

static int lru_k_new(size_t budget_bytes, struct cache_policy **out)
{
    struct lru_k *lru_k = system_alloc(sizeof *lru_k, 16);
    if (lru_k == NULL)
        return ERROR_MEMORY;
    *lru_k = (struct lru_k){.base.vtab = &cache_policy_lru_k, .budget_bytes = budget_bytes};
    policy_list_create(&lru_k->history);
    if (policy_ghosts_create(&lru_k->ghosts) != 0) {
        system_free(lru_k);
        return ERROR_MEMORY;
    }
    *out = &lru_k->base;
    return 0;
}

static void lru_k_free(struct cache_policy *policy)
{
    struct lru_k *lru_k = (struct lru_k *)policy;
    policy_ghosts_destroy(&lru_k->ghosts);
    system_free(lru_k->heap);
    system_free(lru_k);
}

/* A use that ends a row of correlated ones moves its history on by as long as they lasted. */
static void lru_k_hit(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)flags;
    struct lru_k *lru_k = (struct lru_k *)policy;
    uint64_t now = ++lru_k->now;
    if (now - frame->stamps[TOUCHED] > CORRELATED) {
        frame->stamps[USED_BEFORE] = frame->stamps[TOUCHED];
        frame->stamps[USED] = now;
    }
    frame->stamps[TOUCHED] = now;
}

static int lru_k_prepare(struct cache_policy *policy, struct cache_frame *frame, unsigned flags)
{
    (void)flags;
    struct lru_k *lru_k = (struct lru_k *)policy;
    int rc = heap_reserve(lru_k);
    if (rc != 0)
        return rc;
    struct policy_ghost *ghost = policy_ghosts_find(&lru_k->ghosts, frame);
    uint64_t now = ++lru_k->now;
    frame->stamps[USED] = frame->stamps[TOUCHED] = now;
    frame->stamps[USED_BEFORE] = ghost != NULL ? ghost->stamps[USED] : 0;
    if (ghost != NULL) {
        *(ghost->stamps[USED_BEFORE] != 0 ? &lru_k->ghost_hits_twice : &lru_k->ghost_hits_once) +=
            1;
        policy_list_forget(&lru_k->history, &lru_k->ghosts, ghost);
    }
    return 0;
}

static void remember(struct lru_k *lru_k, const struct cache_frame *frame)
{
    struct policy_ghost *ghost = policy_ghosts_add(&lru_k->ghosts, frame);
    if (ghost == NULL)
        return;
    ghost->stamps[USED] = frame->stamps[USED];
    ghost->stamps[USED_BEFORE] = frame->stamps[USED_BEFORE];
    policy_list_add(&lru_k->history, &ghost->node);
    policy_list_trim(&lru_k->history, &lru_k->ghosts, lru_k->budget_bytes);
}

/* Takes frames off the heap until one may go; then those that may not go back. */
static struct cache_frame *claim_first(struct lru_k *lru_k, bool correlated)
{
    struct list aside;
    struct cache_frame *found = NULL;
    list_create(&aside);
    while (found == NULL && lru_k->count > 0) {
        struct cache_frame *frame = heap_first(lru_k);
        heap_remove(lru_k, frame);
        if ((correlated || lru_k->now - frame->stamps[TOUCHED] > CORRELATED) &&
            cache_frame_claim(frame))
            found = frame;
        else
            list_add_tail(&aside, &frame->node.link);
    }
    list_for_each_safe (link, &aside)
        heap_add(lru_k, cache_frame_of_node(link));
    return found;
}

static struct cache_frame *lru_k_evict(struct cache_policy *policy, const struct cache_frame *next)
{
    (void)next;
    struct lru_k *lru_k = (struct lru_k *)policy;
    struct cache_frame *frame = claim_first(lru_k, false);
    if (frame == NULL)
        frame = claim_first(lru_k, true);
    if (frame != NULL)
        remember(lru_k, frame);
    return frame;
}

static void lru_k_insert(struct cache_policy *policy, struct cache_frame *frame)
{
    heap_add((struct lru_k *)policy, frame);
}

static void lru_k_remove(struct cache_policy *policy, struct cache_frame *frame)
{
    heap_remove((struct lru_k *)policy, frame);
}

static void lru_k_stats(const struct cache_policy *policy, struct cache_policy_stats *out)
{
    const struct lru_k *lru_k = (const struct lru_k *)policy;
    *out = (struct cache_policy_stats){
        .ghost_hits_recency = lru_k->ghost_hits_once,
        .ghost_hits_frequency = lru_k->ghost_hits_twice,
        .tables_bytes = sizeof *lru_k + policy_ghosts_bytes(&lru_k->ghosts) +
                        lru_k->room * sizeof(struct heap_entry),
    };
}

const struct cache_policy_vtab cache_policy_lru_k = {
    .name = "lru-k",
    .wants_hits = true,
    .new = lru_k_new,
    .free = lru_k_free,
    .resize = lru_k_resize,
    .hit = lru_k_hit,
    .prepare = lru_k_prepare,
    .evict = lru_k_evict,
    .insert = lru_k_insert,
    .remove = lru_k_remove,
    .stats = lru_k_stats,
};
