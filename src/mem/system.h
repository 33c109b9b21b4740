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

/* The nth request (1: the next) of the calling thread fails, those after it succeed; 0 takes back.
 * For tests, which fail the nth request, then the n+1st, until nothing fails any more. */
void system_fail_nth(uint64_t nth);

/* 1 while a planted failure has not happened yet, else 0. */
int system_fail_pending(void);

#endif
