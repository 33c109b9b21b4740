/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_BLOCK_H
#define SESSION_SESSION_BLOCK_H

/*
 * Requests that wait for keys: BLPOP and its like, XREAD BLOCK.
 *
 *     first run: nothing there ─► registered ─► run again: nothing there ─► parked
 *                                     ▲                                       │ stirred, its time is
 *                                     └───────────── nothing there ◄─ run ◄───┘ over, or unblocked
 *
 * Each key that somebody waits for has a queue, in order of waiting. A commit that puts something
 * there (REDIS_DEFER_KEY) stirs the first in the queue; who leaves the queue, for whatever reason,
 * stirs the one that is first then. So what is there is handed out one by one, and while there is
 * something and somebody waits for it, one of those is running or about to. Who is stirred while it
 * runs runs once more. Of a stream all are stirred: they do not take what they read.
 *
 * Nothing is missed: see struct redis_interest. A request keeps its places until it is answered.
 *
 * Threads: the table and all that is in it under its mutex, inside of which only a worker's
 * wake_mutex is taken. A request's own thread makes it and ends it.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct redis_block;
struct session;
struct session_block;
struct session_blocks;
struct session_wait;

/* NULL: no memory. */
struct session_blocks *session__blocks_new(void);
void session__blocks_delete(struct session_blocks *blocks);

/* Before a run of a request that may wait for keys. 0; or it must not be run: what its function
 * returns then. Of a connection that is being closed the session ends without a reply. */
int session__block_begin(struct session_wait *wait, struct redis_block *block);

/* After a run that has ended with ERROR_WAIT for `block`, which names keys of `database`. 0: to be
 * run again at once. ERROR_WAIT: it is to be kept until the wait is READY. Or an error. */
int session__block_wait(struct session_wait *wait, const struct redis_block *block,
                        unsigned database);

/* The request is answered, or given up: it leaves its queues. */
void session__block_end(struct session_wait *wait);

/* A message of REDIS_DEFER_KEY. */
void session__block_stir(struct session_blocks *blocks, const char *message);

/* Everybody who waits for a key of these databases looks again (SWAPDB). */
void session__block_stir_all(struct session_blocks *blocks, unsigned one, unsigned other);

/*
 * CLIENT UNBLOCK: what the session waits for is answered, as if its time were over or, with `error`,
 * with -UNBLOCKED. False: it waits for no key. From any thread, with the service's mutex held (so the
 * session stays).
 */
bool session__unblock(struct session *session, bool error);

#endif
