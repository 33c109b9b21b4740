/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_ACCOUNT_H
#define MEM_ACCOUNT_H

/*
 * How much of the process's memory is for what, beside the heap of the head, which counts for itself
 * (heap_stats_get).
 *
 * Whoever takes memory from the system in slow paths says for what. Counters are the process's, as
 * its memory is, and striped: a thread adds to one of a few lines by a relaxed operation, and who asks
 * sums them. The sum is exact when nobody allocates meanwhile; what one thread has taken another may
 * give back.
 */
#include <stddef.h>
#include <stdint.h>

enum account_kind {
    ACCOUNT_ARENA,   /* of transactions, requests, catalogs */
    ACCOUNT_LOG,     /* buffers and blocks of the log */
    ACCOUNT_LUA,     /* states of workers, to within ACCOUNT_LUA_STEP each */
    ACCOUNT_NETWORK, /* connections, sessions, what is read from sockets */
    ACCOUNT_BUFFER,  /* MessagePack and replies on their way */
    ACCOUNT_CACHE,   /* blocks and pages of files */
    ACCOUNT_KIND_MAX
};

enum { ACCOUNT_LUA_STEP = 65536 };

/* The word for a kind, as box.stat.memory shows it. */
const char *account_name(enum account_kind kind);

/* So many bytes more, or fewer. Any thread. */
void account_add(enum account_kind kind, int64_t bytes);

/* What is in use now. Any thread. */
uint64_t account_bytes(enum account_kind kind);

/*
 * For memory of malloc and its kin, by the size that the allocator says it has: `made` counts it and
 * returns it, `gone` counts it off and returns it to be freed. NULL is allowed and counts nothing.
 */
void *account_made(enum account_kind kind, void *memory);
void *account_gone(enum account_kind kind, void *memory);

/* realloc and counts; NULL leaves what was there as it was. */
void *account_resize(enum account_kind kind, void *memory, size_t size);

#endif
