/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

/*
 * Short names for C11 atomics, the size of a cache line, and spinning that yields.
 *
 * ThreadSanitizer does not understand atomic_thread_fence. Where an algorithm orders relaxed
 * accesses by a fence (optimistic lock coupling, hazard publication), it uses the macros below:
 * under TSan the full fence becomes a sequentially consistent read-modify-write on the word that
 * the caller names, which is where the ordering is needed, and fields that are read optimistically
 * are relaxed atomics.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

enum { CACHE_LINE_SIZE = 64 };

#define CACHE_ALIGNED _Alignas(CACHE_LINE_SIZE)

#define load_relaxed(p)     atomic_load_explicit((p), memory_order_relaxed)
#define load_acquire(p)     atomic_load_explicit((p), memory_order_acquire)
#define load_seq_cst(p)     atomic_load_explicit((p), memory_order_seq_cst)
#define store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define store_seq_cst(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)

#if defined(__SANITIZE_THREAD__)
#define ATOMIC_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ATOMIC_UNDER_TSAN 1
#endif
#endif
#ifndef ATOMIC_UNDER_TSAN
#define ATOMIC_UNDER_TSAN 0
#endif

/* A full fence between a store to one word and a load of another. `word` is an _Atomic(uint64_t) *
 * of the caller's that TSan sees as the point of synchronisation. */
#if ATOMIC_UNDER_TSAN
#define fence_seq_cst(word) ((void)atomic_fetch_add_explicit((word), 0, memory_order_seq_cst))
#else
#define fence_seq_cst(word) ((void)(word), atomic_thread_fence(memory_order_seq_cst))
#endif

static inline void cpu_relax(void)
{
    __builtin_ia32_pause();
}

/* One turn of a waiting loop: a pause for the first turns, then the core is given away. `turn` is
 * the caller's counter, starting at 0. */
static inline void spin_wait(unsigned *turn)
{
    if (++*turn < 64)
        cpu_relax();
    else
        sched_yield();
}

#endif
