/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

/*
 * Epoch-based reclamation (Fraser 2004): memory that other threads may still be reading is retired,
 * and freed when every thread that was inside at that time has left.
 *
 * A domain has an epoch. Each thread that takes part owns a slot; between epoch_enter and
 * epoch_leave it may follow shared pointers. What is retired waits in the limbo of the retiring
 * slot and is freed once the epoch has moved on twice, which it does when every slot that is inside
 * has seen the present one. So free functions run on the thread that retired, within its
 * epoch_retire, epoch_collect or epoch_slot_close; only epoch_domain_delete runs what is left of
 * slots that were never closed.
 *
 * A thread that stays inside holds back all reclamation: be inside for one request, not while
 * waiting. A thread that stops retiring should call epoch_collect now and then, or its last objects
 * stay.
 *
 * These are not the log's epochs.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

struct epoch_domain;
struct epoch_slot;

/* Frees `object`. May be called while the slot is inside or outside. May retire further objects
 * through the same slot, but not wait for them. */
typedef void (*epoch_free_fn)(void *object, void *arg);

/* A domain for at most `slot_max` slots (> 0), owned by the caller. Returns 0 or ERROR_MEMORY. */
int epoch_domain_new(unsigned slot_max, struct epoch_domain **out);

/* Frees the domain and, unconditionally, everything still in the limbo of slots that were not
 * closed: no thread may be inside or use the domain any more. NULL is allowed. */
void epoch_domain_delete(struct epoch_domain *domain);

/* Takes a slot for the calling thread (a slot is used by one thread at a time). Returns 0, or
 * ERROR_INVALID when all are taken, or ERROR_MEMORY. From any thread. */
int epoch_slot_open(struct epoch_domain *domain, struct epoch_slot **out);

/* Gives the slot back when all that it retired has been freed: waits (collecting) until every other
 * thread has left at least once. The slot must be outside, and nobody may be inside who waits for
 * the caller. Afterwards the `arg` of its retired objects, a cache of the heap for example, may be
 * closed. */
void epoch_slot_close(struct epoch_slot *slot);

/* Between these two, objects that can be reached are not freed. Nests; the outermost enter costs a
 * store and a full fence, the outermost leave a store. */
void epoch_enter(struct epoch_slot *slot);
void epoch_leave(struct epoch_slot *slot);

/* 1 between enter and leave, else 0. */
int epoch_inside(const struct epoch_slot *slot);

/* Schedules free_fn(object, arg) for when nobody can see `object` any more. It must be unreachable
 * already for threads that enter from now on, and is retired once only. `arg` must live until the
 * slot is closed. Inside or outside. Never fails: if there is no memory for a place in the limbo
 * (24 bytes an object, in chunks of 4 KiB, of which one is kept in reserve) it waits until there
 * is. Every 64th call also frees up to 256 objects that have become free. */
void epoch_retire(struct epoch_slot *slot, void *object, epoch_free_fn free_fn, void *arg);

/* Tries to move the epoch on and frees all of this slot's limbo that has become free. Returns how
 * many objects that were. Three calls free everything when nobody else is inside. Inside or
 * outside. */
size_t epoch_collect(struct epoch_slot *slot);

/* Objects of this slot that wait to be freed. */
size_t epoch_limbo_count(const struct epoch_slot *slot);

#endif
