/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bringing the rows of a batch into the cache before its first request is executed.
 *
 * With a million keys a look-up spends most of its time waiting for memory, one miss after another.
 * tree_get_batch descends for several keys at once, so that their misses overlap; afterwards each
 * command finds the nodes, the row and its newest version near. What is found is not used
 * otherwise: nothing here decides anything, so a row that has changed or gone meanwhile does no
 * harm.
 *
 * Where the rows are in the caches anyway the second descent is wasted; whether they are depends on
 * the data and on what clients ask for. So a worker keeps what a request costs in batches with and
 * without this, does what was cheaper lately, and tries the other every sixteenth time.
 */
#include "codec/key.h"
#include "session/session_internal.h"

enum {
    PREFETCH_ROWS_MIN = 1000,
    PREFETCH_BATCH_MIN = 4,
    PREFETCH_TRY_EVERY = 16,
    PREFETCH_MEMORY = 8,
    PREFETCH_NAME_BYTES_MAX = 60,
    PREFETCH_VERSION_BYTES = 192
};

struct keys {
    unsigned count;
    const void *data[SESSION_BATCH_MAX];
    size_t sizes[SESSION_BATCH_MAX];
    unsigned char bytes[SESSION_BATCH_MAX][2 * PREFETCH_NAME_BYTES_MAX + 3];
};

/* Takes the request's first argument for a key when it is a short one: PING's and the like are
 * looked for in vain. */
static void keys_add(struct keys *keys, const struct redis_slice *argv, size_t argc)
{
    if (argc < 2 || argv[1].size > PREFETCH_NAME_BYTES_MAX)
        return;
    unsigned char *bytes = keys->bytes[keys->count];
    keys->data[keys->count] = bytes;
    keys->sizes[keys->count++] =
        (size_t)(key_encode_string(bytes, argv[1].data, argv[1].size) - bytes);
}

static void version_prefetch(const struct row *row)
{
    const char *version = (const char *)load_acquire(&row->newest);
    for (unsigned at = 0; version && at < PREFETCH_VERSION_BYTES; at += CACHE_LINE_SIZE)
        __builtin_prefetch(version + at);
}

static void prefetch(struct session *session, const struct resp_request *requests, unsigned count)
{
    struct keys keys;
    struct item *items[SESSION_BATCH_MAX];
    keys.count = 0;
    for (unsigned n = 0; n < count; n++)
        keys_add(&keys, resp_request_argv(&session->resp, &requests[n]), requests[n].argc);
    struct tree *tree = db_redis_head(session->service->options.db, session->database)->tree;
    struct epoch_slot *epoch = txn_worker_thread(session->worker->txn)->epoch;
    epoch_enter(epoch);
    tree_get_batch(tree, keys.data, keys.sizes, keys.count, items);
    for (unsigned n = 0; n < keys.count; n++)
        if (items[n])
            version_prefetch((const struct row *)(const void *)items[n]);
    epoch_leave(epoch);
}

struct session_prefetch_try session__prefetch(struct session *session,
                                              const struct resp_request *requests, unsigned count)
{
    struct session_worker *worker = session->worker;
    struct tree *tree = db_redis_head(session->service->options.db, session->database)->tree;
    struct session_prefetch_try try = {.counts = false};
    if (count < PREFETCH_BATCH_MIN || session->multi || tree_count(tree) < PREFETCH_ROWS_MIN)
        return try;
    bool cheaper = worker->batch_cost[true] <= worker->batch_cost[false];
    try = (struct session_prefetch_try){.counts = true,
                                        .on = ++worker->batches % PREFETCH_TRY_EVERY ? cheaper
                                                                                     : !cheaper,
                                        .start_ticks = service__ticks()};
    if (try.on)
        prefetch(session, requests, count);
    return try;
}

/* A sample far above what is usual (a script, a pause of the thread) counts for a few times the
 * usual only. */
void session__prefetch_end(struct session *session, struct session_prefetch_try try, unsigned count)
{
    if (!try.counts)
        return;
    double *cost = &session->worker->batch_cost[try.on];
    double sample = (double)(service__ticks() - try.start_ticks) / count;
    if (*cost > 0 && sample > 4 * *cost)
        sample = 4 * *cost;
    *cost += (sample - *cost) / (*cost > 0 ? PREFETCH_MEMORY : 1);
}
