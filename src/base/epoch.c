/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Epoch-based reclamation (Fraser, "Practical lock-freedom", 2004), with the sealing of whole
 * batches that crossbeam (Turon 2015) uses.
 *
 *     domain: epoch 7                        limbo of one slot (first retired on the left)
 *     slot 0: active 7   (inside)            [ o o o o | o o o | o o o o o . . . ]
 *     slot 1: active 0   (outside)            seal 5    seal 6   not yet sealed
 *     slot 2: active 6   (inside: holds the epoch at 7)
 *
 *   - Enter: active = epoch, full fence. Leave: active = 0, release.
 *   - Advance from e to e + 1: read e, full fence, scan that each slot that is inside holds e, CAS.
 *   - Retire: append to the limbo, no fence.
 *   - Seal, at each collect and every EPOCH_BATCH retires: full fence, read e; all that is in the
 *     limbo by now is stamped e.
 *   - Free what is stamped s when the epoch is s + 2 or more.
 *
 * Why s + 2 is enough. Let a reader R hold an object that was unlinked before the fence F1 of a
 * seal that read s. R saw the object, so R's fence F3 in enter comes before F1, and R had read an
 * epoch of at most s before F3 (had it read more, the seal would have as well). Whoever advances
 * from s + 1 had read s + 1 before its fence F2, and the seal had not: F1 comes before F2. So its
 * scan sees R inside, with an epoch that is not s + 1, and fails until R has left; and R's leave
 * (release) is seen by the scan (acquire), so the free comes after all that R did.
 *
 * The limbo is a queue of chunks, so that an object needs no header. At most EPOCH_SEAL_MAX seals
 * are kept: of more, the two newest become one with the later stamp, which is only ever late.
 */
#include "base/epoch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"

enum {
    EPOCH_CHUNK_ITEMS = 170,   /* a chunk is 4 KiB less 8 bytes */
    EPOCH_BATCH = 64,          /* retires between two seals */
    EPOCH_FREE_BATCH = 4 * 64, /* objects freed by one retire at most: the limbo shrinks fourfold */
    EPOCH_SEAL_MAX = 3,        /* stamps e - 2, e - 1 and e */
};

struct epoch_item {
    void *object;
    epoch_free_fn free_fn;
    void *arg;
};

struct epoch_chunk {
    struct epoch_chunk *next;
    struct epoch_item items[EPOCH_CHUNK_ITEMS];
};

/* All objects of the limbo before position `end` were unreachable when the epoch was `stamp`. */
struct epoch_seal {
    uint64_t stamp;
    uint64_t end;
};

/* The first line is what others read; the rest is the owner's alone. */
struct epoch_slot {
    CACHE_ALIGNED _Atomic uint64_t active; /* the epoch seen at enter; 0: outside */
    _Atomic uint64_t taken;                /* 1: some thread owns the slot */

    CACHE_ALIGNED struct epoch_domain *domain;
    unsigned nesting;
    unsigned unsealed;                /* retires since the last seal */
    bool freeing;                     /* a free function is running: it may retire, not free */
    struct epoch_chunk *first, *last; /* NULL, NULL: no chunk yet */
    struct epoch_chunk *spare;        /* for the next need; there at first, see limbo_push */
    unsigned first_index, last_index; /* next item to free in first, next free place in last */
    uint64_t retired, freed;          /* positions in the limbo since the slot was opened */
    unsigned seal_count;
    struct epoch_seal seals[EPOCH_SEAL_MAX];
};

struct epoch_domain {
    CACHE_ALIGNED _Atomic uint64_t epoch;
    CACHE_ALIGNED unsigned slot_max;
    struct epoch_slot *slots;
};

int epoch_domain_new(unsigned slot_max, struct epoch_domain **out)
{
    ASSERT(slot_max > 0);
    struct epoch_domain *domain = aligned_alloc(CACHE_LINE_SIZE, sizeof(*domain));
    if (domain == NULL)
        return ERROR_MEMORY;
    struct epoch_slot *slots = aligned_alloc(CACHE_LINE_SIZE, slot_max * sizeof(*slots));
    if (slots == NULL) {
        free(domain);
        return ERROR_MEMORY;
    }
    memset(slots, 0, slot_max * sizeof(*slots));
    for (unsigned i = 0; i < slot_max; i++) {
        atomic_init(&slots[i].active, 0);
        atomic_init(&slots[i].taken, 0);
        slots[i].domain = domain;
    }
    atomic_init(&domain->epoch, 1);
    domain->slot_max = slot_max;
    domain->slots = slots;
    *out = domain;
    return 0;
}

static struct epoch_slot *slot_take(struct epoch_domain *domain)
{
    for (unsigned i = 0; i < domain->slot_max; i++) {
        struct epoch_slot *slot = &domain->slots[i];
        uint64_t expected = 0;
        if (atomic_compare_exchange_strong_explicit(&slot->taken, &expected, 1,
                                                    memory_order_acquire, memory_order_relaxed))
            return slot;
    }
    return NULL;
}

int epoch_slot_open(struct epoch_domain *domain, struct epoch_slot **out)
{
    struct epoch_slot *slot = slot_take(domain);
    if (slot == NULL)
        return ERROR_INVALID;
    slot->spare = malloc(sizeof(*slot->spare));
    if (slot->spare == NULL) {
        store_release(&slot->taken, 0);
        return ERROR_MEMORY;
    }
    *out = slot;
    return 0;
}

void epoch_enter(struct epoch_slot *slot)
{
    if (slot->nesting++ > 0)
        return;
    store_relaxed(&slot->active, load_relaxed(&slot->domain->epoch));
    fence_seq_cst(&slot->active);
}

void epoch_leave(struct epoch_slot *slot)
{
    ASSERT(slot->nesting > 0);
    if (--slot->nesting == 0)
        store_release(&slot->active, 0);
}

int epoch_inside(const struct epoch_slot *slot)
{
    return slot->nesting > 0;
}

/* Moves the epoch on by one if everybody who is inside has seen the present one. */
static void epoch_advance(struct epoch_domain *domain)
{
    uint64_t epoch = load_acquire(&domain->epoch);
    fence_seq_cst(&domain->epoch);
    for (unsigned i = 0; i < domain->slot_max; i++) {
        uint64_t active = load_acquire(&domain->slots[i].active);
        if (active != 0 && active != epoch)
            return;
    }
    atomic_compare_exchange_strong_explicit(&domain->epoch, &epoch, epoch + 1, memory_order_seq_cst,
                                            memory_order_relaxed);
}

static void limbo_seal(struct epoch_slot *slot)
{
    slot->unsealed = 0;
    uint64_t end = slot->seal_count > 0 ? slot->seals[slot->seal_count - 1].end : slot->freed;
    if (end == slot->retired)
        return;
    fence_seq_cst(&slot->domain->epoch);
    uint64_t epoch = load_acquire(&slot->domain->epoch);
    struct epoch_seal *last = slot->seal_count > 0 ? &slot->seals[slot->seal_count - 1] : NULL;
    if (last == NULL || (last->stamp != epoch && slot->seal_count < EPOCH_SEAL_MAX))
        last = &slot->seals[slot->seal_count++];
    *last = (struct epoch_seal){.stamp = epoch, .end = slot->retired};
}

/* The position up to which the limbo may be freed. */
static uint64_t limbo_ripe_end(struct epoch_slot *slot)
{
    uint64_t epoch = load_acquire(&slot->domain->epoch);
    unsigned ripe = 0;
    while (ripe < slot->seal_count && slot->seals[ripe].stamp + 2 <= epoch)
        ripe++;
    return ripe > 0 ? slot->seals[ripe - 1].end : slot->freed;
}

static void limbo_chunk_release(struct epoch_slot *slot, struct epoch_chunk *chunk)
{
    if (slot->spare == NULL)
        slot->spare = chunk;
    else
        free(chunk);
}

/* Takes the oldest item out of the limbo, which is not empty. */
static struct epoch_item limbo_pop(struct epoch_slot *slot)
{
    if (slot->first_index == EPOCH_CHUNK_ITEMS) {
        struct epoch_chunk *empty = slot->first;
        slot->first = empty->next;
        slot->first_index = 0;
        limbo_chunk_release(slot, empty);
    }
    slot->freed++;
    return slot->first->items[slot->first_index++];
}

/* Frees from the front of the limbo up to position `end`, at most `count_max` objects. */
static size_t limbo_free(struct epoch_slot *slot, uint64_t end, size_t count_max)
{
    size_t count = 0;
    slot->freeing = true;
    while (slot->freed < end && count < count_max) {
        struct epoch_item item = limbo_pop(slot);
        item.free_fn(item.object, item.arg);
        count++;
    }
    slot->freeing = false;
    unsigned gone = 0;
    while (gone < slot->seal_count && slot->seals[gone].end <= slot->freed)
        gone++;
    slot->seal_count -= gone;
    memmove(&slot->seals[0], &slot->seals[gone], slot->seal_count * sizeof(slot->seals[0]));
    return count;
}

static size_t epoch_collect_some(struct epoch_slot *slot, size_t count_max)
{
    if (slot->freeing)
        return 0;
    limbo_seal(slot);
    epoch_advance(slot->domain);
    return limbo_free(slot, limbo_ripe_end(slot), count_max);
}

size_t epoch_collect(struct epoch_slot *slot)
{
    return epoch_collect_some(slot, SIZE_MAX);
}

/* An empty chunk; waits until there is memory. */
static struct epoch_chunk *limbo_chunk_take(struct epoch_slot *slot)
{
    unsigned turn = 0;
    for (;;) {
        struct epoch_chunk *chunk = slot->spare;
        slot->spare = NULL;
        if (chunk == NULL)
            chunk = malloc(sizeof(*chunk));
        if (chunk != NULL) {
            chunk->next = NULL;
            return chunk;
        }
        epoch_collect(slot);
        spin_wait(&turn);
    }
}

/* The next chunk is fetched when the last one is half full, and the first is there from the
 * beginning: when memory is out there is still room to undo a transaction, which frees some. */
static void limbo_push(struct epoch_slot *slot, struct epoch_item item)
{
    if (slot->spare == NULL && slot->last_index >= EPOCH_CHUNK_ITEMS / 2)
        slot->spare = malloc(sizeof(*slot->spare));
    if (slot->last != NULL && slot->first == slot->last && slot->retired == slot->freed)
        slot->first_index = slot->last_index = 0;
    if (slot->last == NULL || slot->last_index == EPOCH_CHUNK_ITEMS) {
        struct epoch_chunk *chunk = limbo_chunk_take(slot);
        if (slot->last == NULL) {
            slot->first = chunk;
            slot->first_index = 0;
        } else {
            slot->last->next = chunk;
        }
        slot->last = chunk;
        slot->last_index = 0;
    }
    slot->last->items[slot->last_index++] = item;
    slot->retired++;
}

void epoch_retire(struct epoch_slot *slot, void *object, epoch_free_fn free_fn, void *arg)
{
    limbo_push(slot, (struct epoch_item){object, free_fn, arg});
    if (++slot->unsealed >= EPOCH_BATCH)
        epoch_collect_some(slot, EPOCH_FREE_BATCH);
}

size_t epoch_limbo_count(const struct epoch_slot *slot)
{
    return (size_t)(slot->retired - slot->freed);
}

static void limbo_chunks_free(struct epoch_slot *slot)
{
    ASSERT(epoch_limbo_count(slot) == 0);
    while (slot->first != NULL) {
        struct epoch_chunk *next = slot->first->next;
        free(slot->first);
        slot->first = next;
    }
    free(slot->spare);
    slot->spare = slot->last = NULL;
}

void epoch_slot_close(struct epoch_slot *slot)
{
    ASSERT(slot->nesting == 0 && !slot->freeing);
    unsigned turn = 0;
    while (epoch_limbo_count(slot) > 0)
        if (epoch_collect(slot) == 0)
            spin_wait(&turn);
    limbo_chunks_free(slot);
    slot->seal_count = 0;
    slot->unsealed = 0;
    store_release(&slot->taken, 0);
}

void epoch_domain_delete(struct epoch_domain *domain)
{
    if (domain == NULL)
        return;
    for (unsigned i = 0; i < domain->slot_max; i++) {
        struct epoch_slot *slot = &domain->slots[i];
        ASSERT(slot->nesting == 0 && !slot->freeing);
        while (epoch_limbo_count(slot) > 0)
            limbo_free(slot, slot->retired, SIZE_MAX);
        limbo_chunks_free(slot);
    }
    free(domain->slots);
    free(domain);
}
