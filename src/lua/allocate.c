/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator of LuaJIT states. It counts, and refuses beyond the limit, which LuaJIT raises as "not
 * enough memory".
 *
 * Large blocks are mappings of their own in huge pages. A string of 64 MB is one call that nobody can
 * interrupt, and what takes its time is not its bytes but the 16 thousand pages that they are put into
 * for the first time: 22 to 45 ms, where huge pages take 6.
 */
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "lua/internal.h"
#include "mem/account.h"
#include "mem/system.h"

/* Smaller ones take some milliseconds at most, and most of their pages are there already. */
enum { LARGE_BYTES = 8 * SYSTEM_HUGE_BYTES };

static _Atomic uint64_t mapped_bytes; /* of all states */

uint64_t lua__mapped_bytes(void)
{
    return load_relaxed(&mapped_bytes);
}

static void *block_new(size_t bytes)
{
    if (bytes < LARGE_BYTES)
        return malloc(bytes);
    void *block = system_map_large(bytes);
    if (block != NULL)
        atomic_fetch_add_explicit(&mapped_bytes, bytes, memory_order_relaxed);
    return block;
}

static void block_delete(void *block, size_t bytes)
{
    if (bytes < LARGE_BYTES) {
        free(block);
        return;
    }
    system_unmap_large(block, bytes);
    atomic_fetch_sub_explicit(&mapped_bytes, bytes, memory_order_relaxed);
}

static void *block_resize(void *block, size_t old_bytes, size_t new_bytes)
{
    if (old_bytes < LARGE_BYTES && new_bytes < LARGE_BYTES)
        return realloc(block, new_bytes);
    if (old_bytes >= LARGE_BYTES && new_bytes >= LARGE_BYTES && new_bytes <= old_bytes) {
        system_trim_large(block, old_bytes, new_bytes);
        atomic_fetch_sub_explicit(&mapped_bytes, old_bytes - new_bytes, memory_order_relaxed);
        return block;
    }
    void *result = block_new(new_bytes);
    if (result == NULL)
        return NULL;
    memcpy(result, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    block_delete(block, old_bytes);
    return result;
}

/* Tells the process's account of a change that is large enough. */
static inline void memory_tell(struct lua_runtime *runtime)
{
    int64_t untold = (int64_t)runtime->memory_bytes - (int64_t)runtime->memory_told;
    if (untold < ACCOUNT_LUA_STEP && untold > -ACCOUNT_LUA_STEP)
        return;
    account_add(ACCOUNT_LUA, untold);
    runtime->memory_told = runtime->memory_bytes;
}

void *lua__allocate(void *arg, void *memory, size_t old_bytes, size_t new_bytes)
{
    struct lua_runtime *runtime = arg;
    size_t others = runtime->memory_bytes - (memory == NULL ? 0 : old_bytes);
    if (new_bytes == 0) {
        if (memory != NULL)
            block_delete(memory, old_bytes);
        runtime->memory_bytes = others;
        memory_tell(runtime);
        return NULL;
    }
    if (runtime->memory_bytes_max != 0 && new_bytes > old_bytes &&
        others + new_bytes > runtime->memory_bytes_max) {
        lua__memory_refused(runtime);
        return NULL;
    }
    /* What realloc does for no memory takes three times as long as malloc. */
    void *result =
        memory == NULL ? block_new(new_bytes) : block_resize(memory, old_bytes, new_bytes);
    if (result == NULL)
        return NULL;
    runtime->memory_bytes = others + new_bytes;
    memory_tell(runtime);
    return result;
}
