/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator of LuaJIT states. It counts, and refuses beyond the limit, which LuaJIT raises as "not
 * enough memory".
 *
 * Large blocks are mappings of their own in huge pages. A string of 64 MB is one call that nobody can
 * interrupt, and what takes its time is not its bytes but the 16 thousand pages that they are put into
 * for the first time: 22 to 45 ms, where huge pages take 6. In a virtual machine even these may take 150 ms, when
 * its host has not had them before: so whoever makes a long string has a block made ready ahead, page by page,
 * and lets others in meanwhile.
 */
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "lua/internal.h"
#include "mem/account.h"
#include "mem/system.h"

/* Smaller ones take some milliseconds at most, and most of their pages are there already. */
enum { LARGE_BYTES = 8 * SYSTEM_HUGE_BYTES };

enum {
    PAGE_BYTES = 4096,
    STRING_HEAD_BYTES = 64 /* LuaJIT's head of a string and the zero behind it take less */
};

static _Atomic uint64_t mapped_bytes; /* of all states */

uint64_t lua__mapped_bytes(void)
{
    return load_relaxed(&mapped_bytes);
}

static void *large_new(size_t bytes)
{
    void *block = system_map_large(bytes);
    if (block != NULL)
        atomic_fetch_add_explicit(&mapped_bytes, bytes, memory_order_relaxed);
    return block;
}

static void *large_grow(void *block, size_t bytes, size_t new_bytes)
{
    void *grown = system_grow_large(block, bytes, new_bytes);
    if (grown != NULL)
        atomic_fetch_add_explicit(&mapped_bytes, new_bytes - bytes, memory_order_relaxed);
    return grown;
}

static void large_trim(void *block, size_t bytes, size_t new_bytes)
{
    system_trim_large(block, bytes, new_bytes);
    atomic_fetch_sub_explicit(&mapped_bytes, bytes - new_bytes, memory_order_relaxed);
}

/* The one that was made ready, if it is about as large. */
static void *large_take(struct lua_runtime *runtime, size_t bytes)
{
    void *block = runtime->ahead;
    if (block == NULL || bytes > runtime->ahead_bytes || bytes < runtime->ahead_bytes / 2)
        return large_new(bytes);
    large_trim(block, runtime->ahead_bytes, bytes);
    runtime->ahead = NULL;
    return block;
}

static void *block_new(struct lua_runtime *runtime, size_t bytes)
{
    return bytes < LARGE_BYTES ? malloc(bytes) : large_take(runtime, bytes);
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

static void *block_resize(struct lua_runtime *runtime, void *block, size_t old_bytes,
                          size_t new_bytes)
{
    if (old_bytes < LARGE_BYTES && new_bytes < LARGE_BYTES)
        return realloc(block, new_bytes);
    if (old_bytes >= LARGE_BYTES && new_bytes > old_bytes)
        return large_grow(block, old_bytes, new_bytes);
    if (old_bytes >= LARGE_BYTES && new_bytes >= LARGE_BYTES) {
        large_trim(block, old_bytes, new_bytes);
        return block;
    }
    void *result = block_new(runtime, new_bytes);
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
    void *result = memory == NULL ? block_new(runtime, new_bytes)
                                  : block_resize(runtime, memory, old_bytes, new_bytes);
    if (result == NULL)
        return NULL;
    runtime->memory_bytes = others + new_bytes;
    memory_tell(runtime);
    return result;
}

/* ------------------------------------------------------------------------------------------ ahead */

void lua__ahead_drop(struct lua_runtime *runtime)
{
    if (runtime->ahead != NULL)
        block_delete(runtime->ahead, runtime->ahead_bytes);
    runtime->ahead = NULL;
}

static void ahead_make(struct lua_runtime *runtime, size_t bytes)
{
    lua__ahead_drop(runtime);
    if (runtime->memory_bytes_max != 0 && runtime->memory_bytes + bytes > runtime->memory_bytes_max)
        return; /* garbage may have to go first */
    runtime->ahead = large_new(bytes);
    runtime->ahead_bytes = bytes;
    for (size_t at = 0; runtime->ahead != NULL && at < bytes; at += PAGE_BYTES) {
        ((volatile char *)runtime->ahead)[at] = 0;
        if (at % SYSTEM_HUGE_BYTES == 0)
            lua__pause(runtime);
    }
}

void lua__push_bytes(lua_State *L, struct lua_runtime *runtime, const char *data, size_t size)
{
    if (size < LARGE_BYTES) {
        lua_pushlstring(L, data, size);
        return;
    }
    ahead_make(runtime, size + STRING_HEAD_BYTES);
    lua_pushlstring(L, data, size);
    lua__ahead_drop(runtime);
}
