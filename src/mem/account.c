/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Striped counters: each thread has the number of a stripe, given in turn, and a stripe is a line.
 * Relaxed throughout: nothing is decided by one counter alone, and a reader who comes between the two
 * ends of a move is off by that much.
 */
#include "mem/account.h"

#include <malloc.h>
#include <stdlib.h>

#include "base/atomic.h"

enum { STRIPES = 16 };

static struct {
    CACHE_ALIGNED _Atomic int64_t bytes[ACCOUNT_KIND_MAX];
} stripes[STRIPES];

static _Atomic unsigned threads;
static _Thread_local unsigned own; /* 1 + the stripe's number; 0: none yet */

const char *account_name(enum account_kind kind)
{
    static const char *const NAMES[] = {"arenas", "log", "lua", "network", "buffers", "caches"};
    _Static_assert(sizeof NAMES / sizeof *NAMES == ACCOUNT_KIND_MAX, "each kind has a name");
    return NAMES[kind];
}

void account_add(enum account_kind kind, int64_t bytes)
{
    if (own == 0)
        own = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % STRIPES;
    atomic_fetch_add_explicit(&stripes[own - 1].bytes[kind], bytes, memory_order_relaxed);
}

uint64_t account_bytes(enum account_kind kind)
{
    int64_t sum = 0;
    for (unsigned n = 0; n < STRIPES; n++)
        sum += load_relaxed(&stripes[n].bytes[kind]);
    return sum > 0 ? (uint64_t)sum : 0;
}

void *account_made(enum account_kind kind, void *memory)
{
    if (memory != NULL)
        account_add(kind, (int64_t)malloc_usable_size(memory));
    return memory;
}

void *account_gone(enum account_kind kind, void *memory)
{
    if (memory != NULL)
        account_add(kind, -(int64_t)malloc_usable_size(memory));
    return memory;
}

void *account_resize(enum account_kind kind, void *memory, size_t size)
{
    size_t before = memory == NULL ? 0 : malloc_usable_size(memory);
    void *resized = realloc(memory, size);
    if (resized != NULL)
        account_add(kind, (int64_t)malloc_usable_size(resized) - (int64_t)before);
    return resized;
}
