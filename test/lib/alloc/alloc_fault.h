/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_ALLOC_ALLOC_FAULT_H
#define TEST_ALLOC_ALLOC_FAULT_H

/*
 * Makes allocations fail. The linker puts functions of this library in the place of malloc, calloc,
 * realloc, aligned_alloc, posix_memalign, strdup and mmap wherever the sources of the project call
 * them (not inside of other libraries), in every test whose name ends in `fault`. So each way of
 * the product to get memory is caught: its own heap maps slabs, and under AddressSanitizer asks for
 * each object by itself, which makes the runs there the most thorough.
 *
 * All threads count together, but for what belongs to the test (base/test_alloc.h).
 *
 *      for (uint64_t n = 1, more = true; more; n++) {
 *          alloc_fail_nth(n);
 *          ... run the workload; errors are clean, and it can go on ...
 *          more = alloc_fail_end();
 *          ... check ...
 *      }
 */
#include <stdbool.h>
#include <stdint.h>

/* The nth allocation from now (n >= 1) fails, those behind it succeed. */
void alloc_fail_nth(uint64_t n);

/* The nth allocation from now (n >= 1) and all behind it fail. */
void alloc_fail_from(uint64_t n);

/* Disarms. Whether an allocation has failed since it was armed. */
bool alloc_fail_end(void);

/* Whether one has failed since it was armed. */
bool alloc_fail_happened(void);

#endif
