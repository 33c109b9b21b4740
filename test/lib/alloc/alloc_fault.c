/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations that fail, by the linker's --wrap: a call of malloc becomes one of __wrap_malloc, and
 * __real_malloc is the one that was meant. A countdown that all threads share decides.
 */
#include "alloc/alloc_fault.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "base/atomic.h"
#include "base/test_alloc.h"

static _Atomic(uint64_t) countdown; /* 0: nothing is armed */
static _Atomic bool for_good, happened;

static void arm(uint64_t n, bool on)
{
    store_relaxed(&happened, false);
    store_relaxed(&for_good, on);
    store_seq_cst(&countdown, n);
}

void alloc_fail_nth(uint64_t n)
{
    arm(n, false);
}

void alloc_fail_from(uint64_t n)
{
    arm(n, true);
}

bool alloc_fail_happened(void)
{
    return load_relaxed(&happened);
}

bool alloc_fail_end(void)
{
    store_seq_cst(&countdown, 0);
    return load_relaxed(&happened);
}

static bool fails_now(void)
{
    if (test_alloc_is_own())
        return false;
    uint64_t left = load_relaxed(&countdown);
    while (left > 1 || (left == 1 && !load_relaxed(&for_good)))
        if (atomic_compare_exchange_weak(&countdown, &left, left - 1))
            break;
    if (left != 1)
        return false;
    store_relaxed(&happened, true);
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
int __real_posix_memalign(void **out, size_t align, size_t size);
char *__real_strdup(const char *text);
void *__real_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);
char *__wrap_strdup(const char *text);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset);

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails_now() ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return fails_now() ? NULL : __real_aligned_alloc(align, size);
}

int __wrap_posix_memalign(void **out, size_t align, size_t size)
{
    return fails_now() ? ENOMEM : __real_posix_memalign(out, align, size);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
    return fails_now() ? MAP_FAILED : __real_mmap(at, size, protection, flags, file, offset);
}
