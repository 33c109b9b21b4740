/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory from the system, and the planted fault: a countdown of the thread's requests.
 */
#include "mem/system.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SYSTEM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SYSTEM_SANITIZED 1
#endif
#endif
#ifdef SYSTEM_SANITIZED
/* The sanitizers' own allocator; gcc has no header for it. */
extern size_t __sanitizer_get_current_allocated_bytes(void);
#endif

/* jemalloc's, if it is linked. */
extern int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size)
    __attribute__((weak));

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

/* Maps as much more as the alignment may take, and gives back what lies before and behind. */
static void *map_aligned(size_t size, size_t align)
{
    char *mapped = mmap(NULL, size + align, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)mapped & (align - 1);
    if (before > 0)
        munmap(mapped, before);
    munmap(mapped + before + size, align - before);
    madvise(mapped + before, size, MADV_HUGEPAGE);
    return mapped + before;
}

void *system_map(size_t size)
{
    ASSERT((size & (size - 1)) == 0);
    return system_fails_now() ? NULL : map_aligned(size, size);
}

/* In pages, of any size. */
static size_t large_bytes(size_t size)
{
    enum { PAGE_BYTES = 4096 };
    return (size + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
}

void *system_map_large(size_t size)
{
    if (system_fails_now() || size > SIZE_MAX / 2)
        return NULL;
    return map_aligned(large_bytes(size), SYSTEM_HUGE_BYTES);
}

void system_unmap_large(void *memory, size_t size)
{
    munmap(memory, large_bytes(size));
}

void *system_grow_large(void *memory, size_t size, size_t new_size)
{
    ASSERT(new_size >= size);
    size_t bytes = large_bytes(size);
    char *grown = system_map_large(new_size);
    if (grown == NULL)
        return NULL;
    if (mremap(memory, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, grown) != MAP_FAILED)
        return grown;
    system_unmap_large(grown, new_size);
    return NULL;
}

void system_trim_large(void *memory, size_t size, size_t new_size)
{
    ASSERT(new_size > 0 && new_size <= size);
    size_t bytes = large_bytes(size), kept = large_bytes(new_size);
    if (kept < bytes)
        munmap((char *)memory + kept, bytes - kept);
}

void system_unmap(void *memory, size_t size)
{
    munmap(memory, size);
}

#ifndef SYSTEM_SANITIZED
/* jemalloc's statistics are those of the last time that its epoch was advanced. */
static uint64_t jemalloc_allocated_bytes(void)
{
    uint64_t epoch = 1;
    size_t allocated = 0, size = sizeof allocated;
    if (mallctl("epoch", NULL, NULL, &epoch, sizeof epoch) != 0 ||
        mallctl("stats.allocated", &allocated, &size, NULL, 0) != 0)
        return 0;
    return allocated;
}
#endif

uint64_t system_allocated_bytes(void)
{
#ifdef SYSTEM_SANITIZED
    return __sanitizer_get_current_allocated_bytes();
#else
    if (mallctl != NULL)
        return jemalloc_allocated_bytes();
    struct mallinfo2 info = mallinfo2();
    return (uint64_t)info.uordblks + info.hblkhd;
#endif
}

uint64_t system_resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t system_peak_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}
