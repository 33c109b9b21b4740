/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory from the system, and the planted fault: a countdown of the thread's requests.
 */
#include "mem/system.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"

static _Thread_local uint64_t fail_countdown;

void system_fail_nth(uint64_t nth)
{
    fail_countdown = nth;
}

int system_fail_pending(void)
{
    return fail_countdown > 0;
}

static bool system_fails_now(void)
{
    return fail_countdown > 0 && --fail_countdown == 0;
}

void *system_alloc(size_t size, size_t align)
{
    if (system_fails_now())
        return NULL;
    if (align <= 16)
        return malloc(size);
    void *memory;
    return posix_memalign(&memory, align, size) == 0 ? memory : NULL;
}

void system_free(void *memory)
{
    free(memory);
}

/* Maps twice the size and gives back what lies before and behind the aligned part. */
void *system_map(size_t size)
{
    ASSERT((size & (size - 1)) == 0);
    if (system_fails_now())
        return NULL;
    char *mapped = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)mapped & (size - 1);
    if (before > 0)
        munmap(mapped, before);
    munmap(mapped + before + size, size - before);
    madvise(mapped + before, size, MADV_HUGEPAGE);
    return mapped + before;
}

void system_unmap(void *memory, size_t size)
{
    munmap(memory, size);
}
