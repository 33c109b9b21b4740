/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bounded queue of Vyukov (1024cores.net, 2010). Each cell has a turn, which says whose it is:
 *
 *     turn == position               free, for the producer that wins this position
 *     turn == position + 1           filled, for the consumer that wins this position
 *     turn == position + capacity    free again, for the next round
 *
 * A position is won by compare-and-swap on tail or head; the cell is then the winner's alone until
 * it stores the next turn (release), which the other side loads (acquire).
 */
#include "base/ring.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/error.h"

struct ring_cell {
    _Atomic uint64_t turn;
    void *item;
};

int ring_create(struct ring *ring, size_t capacity)
{
    ASSERT(capacity >= 2 && (capacity & (capacity - 1)) == 0);
    ring->cells = calloc(capacity, sizeof(*ring->cells));
    if (ring->cells == NULL)
        return ERROR_MEMORY;
    ring->mask = capacity - 1;
    for (uint64_t i = 0; i < capacity; i++)
        atomic_init(&ring->cells[i].turn, i);
    atomic_init(&ring->tail, 0);
    atomic_init(&ring->head, 0);
    return 0;
}

void ring_destroy(struct ring *ring)
{
    free(ring->cells);
    ring->cells = NULL;
}

/* Wins the next position of `counter` whose cell has the turn position + `ready`. NULL: there is
 * none. */
static struct ring_cell *ring_win(struct ring *ring, _Atomic uint64_t *counter, uint64_t ready,
                                  uint64_t *position)
{
    *position = load_relaxed(counter);
    for (;;) {
        struct ring_cell *cell = &ring->cells[*position & ring->mask];
        int64_t ahead = (int64_t)(load_acquire(&cell->turn) - (*position + ready));
        if (ahead < 0)
            return NULL;
        if (ahead > 0)
            *position = load_relaxed(counter);
        else if (atomic_compare_exchange_weak_explicit(counter, position, *position + 1,
                                                       memory_order_relaxed, memory_order_relaxed))
            return cell;
    }
}

bool ring_put(struct ring *ring, void *item)
{
    uint64_t position;
    struct ring_cell *cell = ring_win(ring, &ring->tail, 0, &position);
    if (cell == NULL)
        return false;
    cell->item = item;
    store_release(&cell->turn, position + 1);
    return true;
}

bool ring_take(struct ring *ring, void **item)
{
    uint64_t position;
    struct ring_cell *cell = ring_win(ring, &ring->head, 1, &position);
    if (cell == NULL)
        return false;
    *item = cell->item;
    store_release(&cell->turn, position + ring->mask + 1);
    return true;
}
