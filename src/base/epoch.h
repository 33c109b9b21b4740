/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

/*
 * Epoch-based reclamation (Fraser 2004): memory that other threads may still be reading is retired, and
 * freed when every thread that was inside at that time has left.
 *
 * A domain has a global epoch. Each participating thread owns a slot; between epoch_enter and epoch_leave
 * it may follow shared pointers. What is retired goes into the retiring slot's own limbo list, stamped with
 * the epoch, and is freed by the same thread once the global epoch has advanced twice. The global
 * epoch advances when every slot that is inside has seen the current one. So free functions run on
 * the thread that retired, inside epoch_retire or epoch_collect, never inside another thread.
 *
 * These are not the log's epochs.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

struct epoch_domain;
struct epoch_slot;

typedef void (*epoch_free_fn)(void *object, void *arg);

/* A domain for at most `slot_max` slots. Returns 0 or ERROR_MEMORY. */
int epoch_domain_new(unsigned slot_max, struct epoch_domain **out);

/* Frees the domain and, unconditionally, everything still in limbo: no thread may be inside. */
void epoch_domain_delete(struct epoch_domain *domain);

/* Takes a slot for the calling thread (a slot is used by one thread at a time). ERROR_INVALID when all are taken. */
int epoch_slot_open(struct epoch_domain *domain, struct epoch_slot **out);

/* Gives the slot back; what is in its limbo is left to the domain and freed later. The slot must be outside. */
void epoch_slot_close(struct epoch_slot *slot);

/* Inside a pair of these, objects reachable at enter are not freed. Nests. Enter is one store and a full fence. */
void epoch_enter(struct epoch_slot *slot);
void epoch_leave(struct epoch_slot *slot);

/* True between enter and leave. */
int epoch_inside(const struct epoch_slot *slot);

/* Schedules free_fn(object, arg) for when nobody can see the object any more. The object must be unreachable for
 * threads that enter from now on. Never fails: limbo chunks are allocated, and when memory is out the caller
 * waits (spinning, collecting) until limbo has room. May be called inside or outside. */
void epoch_retire(struct epoch_slot *slot, void *object, epoch_free_fn free_fn, void *arg);

/* Tries to advance the epoch and frees what has become free in this slot's limbo. Returns how many objects were freed. */
size_t epoch_collect(struct epoch_slot *slot);

/* Objects of this slot waiting to be freed. */
size_t epoch_limbo_count(const struct epoch_slot *slot);

#endif
