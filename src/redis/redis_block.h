/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_BLOCK_H
#define REDIS_REDIS_BLOCK_H

/*
 * Commands that wait for keys (REDIS_BLOCKING). One that finds nothing, and has written nothing,
 * says what it waits for and returns what it is told:
 *
 *     int rc = redis_block_wait(call, &call->argv[1], count, REDIS_TYPE_LIST, timeout_ms);
 *     if (!rc)
 *         call->sink->vtab->null_array(call->sink);
 *     return rc;
 *
 * Its caller then runs it again from its start when one of the keys holds something new of that type
 * (redis_changed says so with that type: when a key that was not there is made, and of streams at
 * each entry), when the time is over, or for no reason. So it needs to know nothing of having waited;
 * but what was a wrong type in the meantime is no error to one that waits: redis_block_again.
 *
 * Where nobody can wait (MULTI, scripts, interactive transactions) call->block is NULL, and the time
 * is over at once.
 */
#include "redis/redis.h"

struct redis_block {
    /* in */
    bool again; /* it has waited before */
    bool over;  /* it must not wait (again) */
    /* out: what it waits for; count 0: it does not */
    const struct redis_slice *keys; /* as long as argv */
    unsigned count;
    int type;
    uint64_t timeout_ms; /* from its first run on; 0: for ever */
    /* What the command keeps over its runs. In: of its first run, or nothing. Out: a malloc'ed copy,
     * which the caller takes over or frees. */
    struct redis_slice kept;
    char *keep;
    size_t keep_size;
};

/* 0: reply that there is nothing. ERROR_WAIT: return that. */
int redis_block_wait(struct redis_call *call, const struct redis_slice *keys, unsigned count,
                     int type, uint64_t timeout_ms);

/* The same of a command that keeps something of its first run: later ones find it in
 * redis_block_kept (size 0 when there is none). ERROR_MEMORY as well. */
int redis_block_wait_keeping(struct redis_call *call, const struct redis_slice *keys,
                             unsigned count, int type, uint64_t timeout_ms, const void *data,
                             size_t size);
struct redis_slice redis_block_kept(const struct redis_call *call);

/* The command has waited before. */
bool redis_block_again(const struct redis_call *call);

/* argv[n] as a timeout, in seconds with a fraction or in whole milliseconds; ERROR_INVALID with
 * Redis's message. */
int redis_timeout_arg(const struct redis_call *call, unsigned n, bool seconds, uint64_t *out_ms);

#endif
