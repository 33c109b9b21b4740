/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_SYSTEM_H
#define MEM_SYSTEM_H

/*
 * Where arenas and heaps get their memory from: the system, with a fault that tests can plant. Only
 * slow paths come here (chunks, slabs, large objects), so the test for a fault costs nothing.
 */
#include <stddef.h>
#include <stdint.h>

/* At least `size` bytes aligned to `align` (a power of two, 16 or more), or NULL. */
void *system_alloc(size_t size, size_t align);

/* Gives back what system_alloc returned; NULL is allowed. */
void system_free(void *memory);

/* A mapping of `size` bytes aligned to `size` (a power of two, a multiple of the page), zeroed and
 * advised to be huge pages, or NULL. */
void *system_map(size_t size);
void system_unmap(void *memory, size_t size);

/* A mapping for one large object: at least `size` bytes, zeroed, aligned to SYSTEM_HUGE_BYTES and advised to
 * be huge pages as far as they fit; its end takes small ones. NULL when memory is out. Back by
 * system_unmap_large with the same size. */
enum { SYSTEM_HUGE_BYTES = 2 << 20 };
void *system_map_large(size_t size);
void system_unmap_large(void *memory, size_t size);
/* The same with what is in it, elsewhere, and `new_size` bytes, at least `size`; nothing is copied. NULL, and it stays, when memory
 * is out. */
void *system_grow_large(void *memory, size_t size, size_t new_size);
/* Gives back what lies behind `new_size`, at most `size` and at least 1, which is its size from then on. */
void system_trim_large(void *memory, size_t size, size_t new_size);

/* What the process has from its allocator (jemalloc's where that is linked, else the C library's):
 * mappings of its own, as system_map makes them, are not in it. 0: it does not tell. */
uint64_t system_allocated_bytes(void);

/* What of the process is in memory now, and the most that ever was; 0: unknown. */
uint64_t system_resident_bytes(void);
uint64_t system_peak_bytes(void);

/* The nth request (1: the next) of the calling thread fails, those after it succeed; 0 takes back.
 * For tests, which fail the nth request, then the n+1st, until nothing fails any more. */
void system_fail_nth(uint64_t nth);

/* 1 while a planted failure has not happened yet, else 0. */
int system_fail_pending(void);

#endif
