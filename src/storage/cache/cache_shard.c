/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One shard: entries come, are found, and go.
 *
 * Invariants:
 * 1. An entry that is neither hidden nor being filled is in the table, in the policy, and counted.
 * 2. FRAME_HIDDEN and FRAME_ORPHAN change under the latch only. So under the latch a frame that is not
 *    hidden is one of the policy's, whatever a ring of hits says about it.
 * 3. A key is in the table once.
 * 4. An orphan is freed by whoever finds that it has no pin: the one who made it an orphan, or the one
 *    who took the last pin; FRAME_ORPHAN and the pins are one word, so exactly one of them does.
 * 5. Used bytes exceed the budget only by what was pinned when room was needed.
 */
#include "storage/cache/cache_shard.h"

#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "mem/system.h"

enum { SLAB_FRAMES = 62 };

struct slab {
    CACHE_ALIGNED struct list link;
    struct cache_frame frames[SLAB_FRAMES];
};

STATIC_ASSERT(sizeof(struct cache_frame) == 2 * CACHE_LINE_SIZE);

/* ----------------------------------------------------------------------------------- descriptors */

static int frames_add(struct cache_shard *shard)
{
    struct slab *slab = system_alloc(sizeof *slab, CACHE_LINE_SIZE);
    if (slab == NULL)
        return ERROR_MEMORY;
    memset((void *)slab, 0, sizeof *slab);
    for (int i = 0; i < SLAB_FRAMES; i++) {
        struct cache_frame *frame = &slab->frames[i];
        atomic_init(&frame->state, FRAME_HIDDEN);
        frame->shard = shard;
        list_add_tail(&shard->free, &frame->node.link);
    }
    list_add_tail(&shard->slabs, &slab->link);
    shard->slabs_count++;
    return 0;
}

static void frame_free(struct cache_shard *shard, struct cache_frame *frame)
{
    system_free(frame->data);
    frame->data = NULL;
    store_relaxed(&frame->state, FRAME_HIDDEN);
    list_add_head(&shard->free, &frame->node.link);
}

void cache_frame_unpin(struct cache_frame *frame)
{
    uint32_t before = atomic_fetch_sub_explicit(&frame->state, 1, memory_order_release);
    ASSERT((before & FRAME_PINS) > 0);
    if (before != (FRAME_HIDDEN | FRAME_ORPHAN | 1))
        return;
    (void)load_acquire(&frame->state); /* what others did while they had it pinned is done */
    struct cache_shard *shard = frame->shard;
    pthread_mutex_lock(&shard->latch);
    frame_free(shard, frame);
    pthread_mutex_unlock(&shard->latch);
}

/* -------------------------------------------------------------------------------- create, destroy */

int cache_shard_create(struct cache_shard *shard, size_t budget_bytes,
                       const struct cache_policy_vtab *vtab)
{
    memset((void *)shard, 0, sizeof *shard);
    int rc = cache_table_create(&shard->table);
    if (rc != 0)
        return rc;
    rc = vtab->new (budget_bytes, &shard->policy);
    if (rc != 0) {
        cache_table_destroy(&shard->table);
        return rc;
    }
    atomic_init(&shard->wants_hits, vtab->wants_hits);
    shard->budget_bytes = budget_bytes;
    list_create(&shard->slabs);
    list_create(&shard->free);
    pthread_mutex_init(&shard->latch, NULL);
    pthread_cond_init(&shard->filled, NULL);
    return 0;
}

void cache_shard_destroy(struct cache_shard *shard)
{
    list_for_each_safe (link, &shard->slabs) {
        struct slab *slab = list_entry(link, struct slab, link);
        for (int i = 0; i < SLAB_FRAMES; i++) {
            ASSERT((load_relaxed(&slab->frames[i].state) & FRAME_PINS) == 0);
            system_free(slab->frames[i].data);
        }
        system_free(slab);
    }
    shard->policy->vtab->free(shard->policy);
    cache_table_destroy(&shard->table);
    pthread_cond_destroy(&shard->filled);
    pthread_mutex_destroy(&shard->latch);
}

/* ------------------------------------------------------------------------------------------- hits */

/* Threads take stripes in turn. */
static unsigned thread_stripe(void)
{
    static _Atomic unsigned threads;
    static _Thread_local unsigned stripe; /* plus one */
    if (stripe == 0)
        stripe = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % HIT_STRIPES + 1;
    return stripe - 1;
}

void cache_shard_hit(struct cache_shard *shard, struct cache_frame *frame, unsigned flags)
{
    struct cache_hits *hits = &shard->hits[thread_stripe()];
    uint64_t n = atomic_fetch_add_explicit(&hits->count, 1, memory_order_relaxed);
    if (!load_relaxed(&shard->wants_hits)) {
        if (!load_relaxed(&frame->referenced))
            store_relaxed(&frame->referenced, true);
        return;
    }
    uint32_t quiet = load_relaxed(&shard->quiet);
    if (quiet == 0 || load_relaxed(&frame->told) != quiet) {
        if (!(flags & CACHE_SCAN))
            store_relaxed(&frame->told, quiet);
        store_release(&hits->ring[n % HITS_MAX], (uintptr_t)frame | (flags & CACHE_SCAN));
    }
    if (n % HITS_MAX == HITS_MAX - 1 && pthread_mutex_trylock(&shard->latch) == 0) {
        cache_shard_drain_locked(shard);
        pthread_mutex_unlock(&shard->latch);
    }
}

/* Takes what is in a ring, oldest first. A hit that is written at this moment may be lost. */
static unsigned ring_take(struct cache_shard *shard, struct cache_hits *hits,
                          uintptr_t taken[HITS_MAX])
{
    uint64_t end = load_relaxed(&hits->count), n = hits->drained;
    unsigned count = 0;
    shard->hits_alone += end - n;
    if (end - n > HITS_MAX)
        n = end - HITS_MAX;
    for (; n < end; n++) {
        uintptr_t hit = load_acquire(&hits->ring[n % HITS_MAX]);
        store_relaxed(&hits->ring[n % HITS_MAX], 0);
        if (hit != 0)
            taken[count++] = hit;
    }
    hits->drained = end;
    return count;
}

static struct cache_frame *hit_frame(uintptr_t hit)
{
    return (struct cache_frame *)(hit & ~(uintptr_t)CACHE_SCAN);
}

/* What the policy touches is far away where there are many entries: all of it is fetched at once. */
static void hits_fetch(const uintptr_t *taken, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        __builtin_prefetch(&hit_frame(taken[n])->node, 1);
    for (unsigned n = 0; n < count; n++) {
        __builtin_prefetch(hit_frame(taken[n])->node.link.next, 1);
        __builtin_prefetch(hit_frame(taken[n])->node.link.prev, 1);
    }
}

/* Begins a quiet period, the first or the next, when it is time. */
static void quiet_look(struct cache_shard *shard)
{
    bool quiet = load_relaxed(&shard->quiet) != 0;
    uint64_t hits = shard->entries > QUIET_HITS ? shard->entries : QUIET_HITS;
    if (shard->hits_alone < hits * (quiet ? QUIET_PERIOD : 1))
        return;
    shard->hits_alone = 0;
    if (++shard->periods == 0)
        shard->periods = 1;
    store_relaxed(&shard->quiet, shard->periods);
}

static void quiet_end(struct cache_shard *shard)
{
    shard->hits_alone = 0;
    store_relaxed(&shard->quiet, 0);
}

void cache_shard_drain_locked(struct cache_shard *shard)
{
    struct cache_policy *policy = shard->policy;
    uintptr_t taken[HITS_MAX];
    if (!policy->vtab->wants_hits)
        return;
    for (int i = 0; i < HIT_STRIPES; i++) {
        unsigned count = ring_take(shard, &shard->hits[i], taken);
        hits_fetch(taken, count);
        for (unsigned n = 0; n < count; n++) {
            struct cache_frame *frame = hit_frame(taken[n]);
            if (!(load_relaxed(&frame->state) & FRAME_HIDDEN))
                policy->vtab->hit(policy, frame, (unsigned)(taken[n] & CACHE_SCAN));
        }
    }
    quiet_look(shard);
}

/* ------------------------------------------------------------------------------- coming and going */

int cache_shard_start_locked(struct cache_shard *shard, uint64_t file, uint64_t offset,
                             uint64_t hash, unsigned flags, struct cache_frame **out)
{
    int rc = cache_table_reserve(&shard->table);
    if (rc == 0 && list_empty(&shard->free))
        rc = frames_add(shard);
    if (rc != 0)
        return diag_set(rc, "out of memory for the table of a cache");
    struct cache_frame *frame = cache_frame_of_node(list_first(&shard->free));
    list_remove(&frame->node.link);
    store_relaxed(&frame->file, file);
    store_relaxed(&frame->offset, offset);
    frame->hash = hash;
    frame->scanned = (flags & CACHE_SCAN) != 0;
    frame->filling = true;
    frame->error = 0;
    store_relaxed(&frame->state, FRAME_HIDDEN | 1);
    cache_table_insert(&shard->table, frame);
    *out = frame;
    return 0;
}

/* Out of the table, for what is hidden already. */
static void frame_orphan(struct cache_shard *shard, struct cache_frame *frame)
{
    cache_table_remove(&shard->table, frame);
    atomic_fetch_or_explicit(&frame->state, FRAME_ORPHAN, memory_order_relaxed);
}

/* Into policy and budget, and visible. False: it is not to be kept. */
static bool frame_admit(struct cache_shard *shard, struct cache_frame *frame)
{
    struct cache_policy *policy = shard->policy;
    size_t charge = cache_charge(frame->size);
    if (charge > shard->budget_bytes)
        return false;
    frame->node.charge = (uint32_t)charge;
    cache_shard_drain_locked(shard);
    quiet_end(shard);
    if (policy->vtab->prepare(policy, frame, frame->scanned ? CACHE_SCAN : 0) != 0)
        return false;
    cache_shard_room_locked(shard, charge, frame);
    policy->vtab->insert(policy, frame);
    cache_table_locate(&shard->table, frame);
    shard->used_bytes += charge;
    shard->entries++;
    atomic_fetch_and_explicit(&frame->state, ~FRAME_HIDDEN, memory_order_release);
    return true;
}

void cache_shard_finish_locked(struct cache_shard *shard, struct cache_frame *frame, void *room,
                               size_t size, int error)
{
    bool forgotten = (load_relaxed(&frame->state) & FRAME_ORPHAN) != 0;
    frame->data = room;
    frame->size = (uint32_t)size;
    frame->error = error;
    frame->filling = false;
    if (error == 0 && !forgotten && frame_admit(shard, frame))
        return;
    shard->stats.refused += error == 0 && !forgotten;
    if (!forgotten)
        frame_orphan(shard, frame);
}

static void frame_uncount(struct cache_shard *shard, struct cache_frame *frame)
{
    cache_table_remove(&shard->table, frame);
    shard->used_bytes -= frame->node.charge;
    shard->entries--;
}

/* Lets go of an entry that no policy has any more. */
static void frame_drop(struct cache_shard *shard, struct cache_frame *frame)
{
    frame_uncount(shard, frame);
    uint32_t before =
        atomic_fetch_or_explicit(&frame->state, FRAME_HIDDEN | FRAME_ORPHAN, memory_order_acq_rel);
    if ((before & FRAME_PINS) == 0)
        frame_free(shard, frame);
}

void cache_shard_forget_locked(struct cache_shard *shard, struct cache_frame *frame)
{
    if (frame->filling) {
        frame_orphan(shard, frame);
        return;
    }
    cache_shard_drain_locked(shard);
    shard->policy->vtab->remove(shard->policy, frame);
    frame_drop(shard, frame);
}

/* Whether it is in the table: neither free nor an orphan. */
static bool frame_is_live(const struct cache_frame *frame)
{
    uint32_t state = load_relaxed(&frame->state);
    return !(state & FRAME_HIDDEN) || (!(state & FRAME_ORPHAN) && (state & FRAME_PINS) > 0);
}

void cache_shard_forget_file_locked(struct cache_shard *shard, uint64_t file)
{
    list_for_each (link, &shard->slabs) {
        struct slab *slab = list_entry(link, struct slab, link);
        for (int i = 0; i < SLAB_FRAMES; i++) {
            struct cache_frame *frame = &slab->frames[i];
            if (load_relaxed(&frame->file) == file && frame_is_live(frame))
                cache_shard_forget_locked(shard, frame);
        }
    }
}

void cache_shard_room_locked(struct cache_shard *shard, size_t charge,
                             const struct cache_frame *next)
{
    struct cache_policy *policy = shard->policy;
    while (shard->used_bytes + charge > shard->budget_bytes && shard->entries > 0) {
        struct cache_frame *victim = policy->vtab->evict(policy, next);
        if (victim == NULL) {
            shard->stats.overruns++;
            return;
        }
        frame_uncount(shard, victim);
        frame_free(shard, victim);
        shard->stats.evictions++;
    }
}

void cache_shard_resize_locked(struct cache_shard *shard, size_t budget_bytes)
{
    cache_shard_drain_locked(shard);
    shard->budget_bytes = budget_bytes;
    shard->policy->vtab->resize(shard->policy, budget_bytes);
    cache_shard_room_locked(shard, 0, NULL);
}

/* ------------------------------------------------------------------------------- policy and stats */

void cache_shard_policy_locked(struct cache_shard *shard, struct cache_policy *policy)
{
    struct cache_policy *former = shard->policy;
    cache_shard_drain_locked(shard);
    list_for_each (link, &shard->slabs) {
        struct slab *slab = list_entry(link, struct slab, link);
        for (int i = 0; i < SLAB_FRAMES; i++) {
            struct cache_frame *frame = &slab->frames[i];
            if (load_relaxed(&frame->state) & FRAME_HIDDEN)
                continue;
            former->vtab->remove(former, frame);
            if (policy->vtab->prepare(policy, frame, 0) == 0)
                policy->vtab->insert(policy, frame);
            else
                frame_drop(shard, frame);
        }
    }
    shard->policy = policy;
    store_relaxed(&shard->wants_hits, policy->vtab->wants_hits);
    former->vtab->free(former);
}

static uint64_t shard_pinned(const struct cache_shard *shard)
{
    uint64_t pinned = 0;
    list_for_each (link, &shard->slabs) {
        struct slab *slab = list_entry(link, struct slab, link);
        for (int i = 0; i < SLAB_FRAMES; i++)
            pinned += (load_relaxed(&slab->frames[i].state) & FRAME_PINS) > 0;
    }
    return pinned;
}

void cache_shard_stats_locked(struct cache_shard *shard, struct cache_stats *sum)
{
    struct cache_policy_stats policy;
    cache_shard_drain_locked(shard);
    shard->policy->vtab->stats(shard->policy, &policy);
    for (int i = 0; i < HIT_STRIPES; i++)
        sum->hits += load_relaxed(&shard->hits[i].count);
    sum->misses += shard->stats.misses;
    sum->waits += shard->stats.waits;
    sum->errors += shard->stats.errors;
    sum->evictions += shard->stats.evictions;
    sum->overruns += shard->stats.overruns;
    sum->refused += shard->stats.refused;
    sum->ghost_hits_recency += policy.ghost_hits_recency;
    sum->ghost_hits_frequency += policy.ghost_hits_frequency;
    sum->recency_bytes += policy.recency_bytes;
    sum->used_bytes += shard->used_bytes;
    if (shard->used_bytes > shard->budget_bytes)
        sum->over_bytes += shard->used_bytes - shard->budget_bytes;
    sum->tables_bytes += cache_table_bytes(&shard->table) +
                         shard->slabs_count * sizeof(struct slab) + policy.tables_bytes;
    sum->entries += shard->entries;
    sum->pinned += shard_pinned(shard);
}
