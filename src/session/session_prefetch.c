/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bringing the rows of a batch into the cache before its first request is executed.
 *
 * With a million keys a look-up spends most of its time waiting for memory, one miss after another.
 * tree_get_batch descends for several keys at once, so that their misses overlap; afterwards each
 * command finds the nodes, the row and its newest version near. Where a key's row says that the value is
 * spread over rows, a second time for the elements that requests name. What is found is not used
 * otherwise: nothing here decides anything, so a row that has changed or gone meanwhile does no
 * harm.
 *
 * Where the rows are in the caches anyway the second descent is wasted; whether they are depends on
 * the data and on what clients ask for. So a worker keeps what a request costs in batches with and
 * without this, does what was cheaper lately, and tries the other every sixteenth time.
 */
#include <string.h>

#include "codec/key.h"
#include "redis/redis_hint.h"
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
    struct item *items[SESSION_BATCH_MAX]; /* what was found */
};

/* The keys of rows that requests name, and which each request names. */
struct names {
    struct keys keys;
    unsigned char bytes[SESSION_BATCH_MAX][2 * PREFETCH_NAME_BYTES_MAX + 3];
    int of[SESSION_BATCH_MAX]; /* -1: none */
};

static void keys_add(struct keys *keys, const void *data, size_t size)
{
    keys->data[keys->count] = data;
    keys->sizes[keys->count++] = size;
}

/* Takes the request's first argument for a key when it is a short one: PING's and the like are
 * looked for in vain. `before`: the arguments of the request before, which often has the same. */
static int name_add(struct names *names, const struct redis_slice *argv, size_t argc, int last,
                    const struct redis_slice *before)
{
    if (argc < 2 || argv[1].size > PREFETCH_NAME_BYTES_MAX)
        return -1;
    if (last >= 0 && argv[1].size == before[1].size &&
        memcmp(argv[1].data, before[1].data, argv[1].size) == 0)
        return last;
    int number = (int)names->keys.count;
    unsigned char *bytes = names->bytes[number];
    keys_add(&names->keys, bytes,
             (size_t)(key_encode_string(bytes, argv[1].data, argv[1].size) - bytes));
    return number;
}

static void names_take(struct names *names, struct session *session,
                       const struct resp_request *requests, unsigned count)
{
    const struct redis_slice *before = NULL;
    names->keys.count = 0;
    for (unsigned n = 0; n < count; n++) {
        const struct redis_slice *argv = resp_request_argv(&session->resp, &requests[n]);
        names->of[n] = name_add(names, argv, requests[n].argc, n ? names->of[n - 1] : -1, before);
        before = argv;
    }
}

static void version_prefetch(const struct item *item)
{
    const struct row *row = (const struct row *)(const void *)item;
    const char *version = (const char *)load_acquire(&row->newest);
    for (unsigned at = 0; version && at < PREFETCH_VERSION_BYTES; at += CACHE_LINE_SIZE)
        __builtin_prefetch(version + at);
}

static void rows_prefetch(struct tree *tree, struct keys *keys)
{
    tree_get_batch(tree, keys->data, keys->sizes, keys->count, keys->items);
    for (unsigned n = 0; n < keys->count; n++)
        if (keys->items[n])
            version_prefetch(keys->items[n]);
}

/* The newest version of a row if it has its timestamp: before that others may be writing its bytes. */
static const struct version *settled(const struct item *item)
{
    const struct row *row = (const struct row *)(const void *)item;
    const struct version *version = item ? load_acquire(&row->newest) : NULL;
    return version && !(load_acquire(&version->stamp) & STAMP_TAG) ? version : NULL;
}

/* The elements that requests name of collections that are spread over rows, and the places to which
 * members of sorted sets will come. */
static void elements_prefetch(struct session *session, const struct resp_request *requests,
                              unsigned count, const struct names *names)
{
    struct db *db = session->service->options.db;
    struct redis_hint hints[SESSION_BATCH_MAX];
    struct keys elements = {.count = 0}, places = {.count = 0};
    for (unsigned n = 0; n < count; n++) {
        const struct redis_slice *argv = resp_request_argv(&session->resp, &requests[n]);
        struct redis_hint *hint = &hints[n];
        if (names->of[n] < 0 || !redis_hint_wanted(argv, requests[n].argc) ||
            !redis_hint_make(argv, requests[n].argc, settled(names->keys.items[names->of[n]]),
                             hint))
            continue;
        keys_add(&elements, hint->element, hint->element_size);
        if (hint->place_size)
            keys_add(&places, hint->place, hint->place_size);
    }
    if (elements.count > 1)
        rows_prefetch(db_redis_elements(db)->tree, &elements);
    if (places.count > 1)
        tree_get_batch(db_redis_numbers(db)->tree, places.data, places.sizes, places.count,
                       places.items);
}

static void prefetch(struct session *session, const struct resp_request *requests, unsigned count)
{
    struct names names;
    struct tree *tree = db_redis_head(session->service->options.db, session->database)->tree;
    struct epoch_slot *epoch = txn_worker_thread(session->worker->txn)->epoch;
    names_take(&names, session, requests, count);
    epoch_enter(epoch);
    rows_prefetch(tree, &names.keys);
    elements_prefetch(session, requests, count, &names);
    epoch_leave(epoch);
}

/* Whether there are so many rows that some are not in the cache. */
static bool has_many(struct session *session)
{
    struct db *db = session->service->options.db;
    return tree_count(db_redis_head(db, session->database)->tree) >= PREFETCH_ROWS_MIN ||
           tree_count(db_redis_elements(db)->tree) >= PREFETCH_ROWS_MIN;
}

struct session_prefetch_try session__prefetch(struct session *session,
                                              const struct resp_request *requests, unsigned count)
{
    struct session_worker *worker = session->worker;
    struct session_prefetch_try try = {.counts = false};
    if (count < PREFETCH_BATCH_MIN || session->multi || !has_many(session))
        return try;
    bool cheaper = worker->batch_cost[true] <= worker->batch_cost[false];
    try = (struct session_prefetch_try){.counts = true,
                                        .on = ++worker->batches % PREFETCH_TRY_EVERY ? cheaper
                                                                                     : !cheaper,
                                        .start_ticks = clock_ticks()};
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
    double sample = (double)(clock_ticks() - try.start_ticks) / count;
    if (*cost > 0 && sample > 4 * *cost)
        sample = 4 * *cost;
    *cost += (sample - *cost) / (*cost > 0 ? PREFETCH_MEMORY : 1);
}
