/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See session_block.h.
 *
 * A queue is found by database, type and name: who waits for a list and who waits for a stream of the
 * same name have nothing to do with each other.
 *
 *     buckets ─► key ─► key            by hash
 *                 └─ places: in order of waiting, each of a request
 *                                                        │
 *     session_wait.block ◄──► session_block ─────────────┘ one for each of its keys
 */
#include "session/session_block.h"

#include <stdlib.h>

#include "base/mutation.h"
#include "redis/redis_block.h"
#include "redis/redis_value.h"
#include "session/session_internal.h"

enum { BUCKET_COUNT = 4096, KEYS_MAX = 65536 };

struct block_key {
    struct block_key *next;
    struct list places;
    uint64_t hash;
    unsigned database;
    int type;
    size_t size;
    char name[];
};

struct block_place {
    struct list link;
    struct block_key *key;
    struct session_block *block;
};

struct session_block {
    struct session_blocks *blocks;
    struct session_wait *wait;
    struct session *session; /* of which CLIENT UNBLOCK speaks */
    uint64_t deadline_ns;    /* UINT64_MAX: none */
    bool parked;             /* the wait's deadline is this one */
    bool stirred;            /* there may be something since its last look */
    enum { UNBLOCK_NONE, UNBLOCK_TIMEOUT, UNBLOCK_ERROR } unblock;
    char *kept; /* of the command's first run */
    size_t kept_size;
    unsigned count;
    struct block_place places[];
};

struct session_blocks {
    pthread_mutex_t mutex;
    struct block_key *buckets[BUCKET_COUNT];
};

struct session_blocks *session__blocks_new(void)
{
    struct session_blocks *blocks = calloc(1, sizeof *blocks);
    if (blocks)
        pthread_mutex_init(&blocks->mutex, NULL);
    return blocks;
}

void session__blocks_delete(struct session_blocks *blocks)
{
    if (!blocks)
        return;
    pthread_mutex_destroy(&blocks->mutex);
    free(blocks);
}

/* ----------------------------------------------------------------------------------------- keys */

static uint64_t key_hash(unsigned database, int type, const char *name, size_t size)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ database ^ (uint64_t)type << 8;
    for (size_t n = 0; n < size; n++)
        hash = (hash ^ (unsigned char)name[n]) * UINT64_C(1099511628211);
    return hash ^ hash >> 32;
}

static struct block_key **key_find(struct session_blocks *blocks, unsigned database, int type,
                                   const char *name, size_t size)
{
    uint64_t hash = key_hash(database, type, name, size);
    struct block_key **at = &blocks->buckets[hash % BUCKET_COUNT];
    for (; *at; at = &(*at)->next)
        if ((*at)->hash == hash && (*at)->database == database && (*at)->type == type &&
            (*at)->size == size && memcmp((*at)->name, name, size) == 0)
            break;
    return at;
}

static struct block_key *key_make(struct session_blocks *blocks, unsigned database, int type,
                                  const struct redis_slice *name)
{
    struct block_key **at = key_find(blocks, database, type, name->data, name->size);
    if (*at)
        return *at;
    struct block_key *key = malloc(sizeof *key + name->size);
    if (!key)
        return NULL;
    *key = (struct block_key){.hash = key_hash(database, type, name->data, name->size),
                              .database = database,
                              .type = type,
                              .size = name->size};
    list_create(&key->places);
    memcpy(key->name, name->data, name->size);
    return *at = key;
}

static void key_settle(struct session_blocks *blocks, struct block_key *key)
{
    if (!list_empty(&key->places))
        return;
    struct block_key **at = key_find(blocks, key->database, key->type, key->name, key->size);
    *at = key->next;
    free(key);
}

static void stir(struct session_block *block)
{
    block->stirred = true;
    session__wait_wake(block->wait);
}

static void key_stir(struct block_key *key, bool all)
{
    list_for_each (link, &key->places) {
        stir(list_entry(link, struct block_place, link)->block);
        if (!all && !MUTATION(ALL_WOKEN))
            return;
    }
}

/* One that has found nothing keeps its places (rule 26); for the test of that they are lost here. */
static void places_lose(struct session_block *block)
{
    for (unsigned n = 0; n < block->count; n++) {
        list_remove(&block->places[n].link);
        list_add_tail(&block->places[n].key->places, &block->places[n].link);
    }
}

/* Takes the first n places back. */
static void places_leave(struct session_block *block, unsigned count)
{
    for (unsigned n = 0; n < count; n++) {
        struct block_place *place = &block->places[n];
        struct block_key *key = place->key;
        bool first = list_first(&key->places) == &place->link;
        list_remove(&place->link);
        if (first && !MUTATION(WAKE_NOT_PASSED))
            key_stir(key, false); /* rule 26: a wake that was not used is the next one's */
        key_settle(block->blocks, key);
    }
}

/* -------------------------------------------------------------------------------------- waiting */

int session__block_begin(struct session_wait *wait, struct redis_block *out)
{
    struct session_block *block = wait->block;
    struct session *session = wait->session;
    *out = (struct redis_block){.again = block != NULL};
    if (!block)
        return 0;
    if (block->parked)
        wait->deadline_ns = 0; /* what else it may wait for has a limit of its own */
    block->parked = false;
    pthread_mutex_lock(&block->blocks->mutex);
    block->stirred = false;
    int unblock = block->unblock;
    pthread_mutex_unlock(&block->blocks->mutex);
    if (unblock == UNBLOCK_ERROR)
        return session__error(session, "UNBLOCKED", "client unblocked via CLIENT UNBLOCK");
    if (session->hurried) { /* as in Redis: who goes away while waiting is not answered */
        session->closing = true;
        return SESSION_REPLIED_ERROR;
    }
    out->kept = (struct redis_slice){block->kept, block->kept_size};
    out->over = unblock == UNBLOCK_TIMEOUT ||
                clock_monotonic_ns(session->service->options.clock) >= block->deadline_ns;
    return 0;
}

static int no_memory(struct session_block *block)
{
    free(block ? block->kept : NULL);
    free(block);
    return diag_set(ERROR_MEMORY, "out of memory");
}

static int block_register(struct session_wait *wait, const struct redis_block *from,
                          unsigned database)
{
    struct service *service = wait->session->service;
    struct session_blocks *blocks = service->blocks;
    struct session_block *block = NULL;
    if (from->count <= KEYS_MAX)
        block = calloc(1, sizeof *block + from->count * sizeof block->places[0]);
    if (!block)
        free(from->keep);
    if (from->count > KEYS_MAX)
        return diag_set(ERROR_INVALID, "a command waits for at most %d keys", KEYS_MAX);
    if (!block)
        return no_memory(block);
    uint64_t now_ns = clock_monotonic_ns(service->options.clock);
    uint64_t ns_max = (UINT64_MAX - now_ns) / 1000000;
    *block = (struct session_block){.blocks = blocks,
                                    .wait = wait,
                                    .session = wait->session,
                                    .deadline_ns = from->timeout_ms && from->timeout_ms < ns_max
                                                       ? now_ns + from->timeout_ms * 1000000
                                                       : UINT64_MAX,
                                    .kept = from->keep,
                                    .kept_size = from->keep_size,
                                    .count = from->count};
    pthread_mutex_lock(&blocks->mutex);
    for (unsigned n = 0; n < from->count; n++) {
        struct block_key *key = key_make(blocks, database, from->type, &from->keys[n]);
        if (!key) {
            places_leave(block, n);
            pthread_mutex_unlock(&blocks->mutex);
            return no_memory(block);
        }
        block->places[n] = (struct block_place){.key = key, .block = block};
        list_add_tail(&key->places, &block->places[n].link);
    }
    wait->block = block;
    pthread_mutex_unlock(&blocks->mutex);
    atomic_fetch_add(&service->interest.waiting, 1);
    return 0;
}

int session__block_wait(struct session_wait *wait, const struct redis_block *from,
                        unsigned database)
{
    struct session_block *block = wait->block;
    struct session_worker *worker = wait->session->worker;
    if (!block) {
        MUTATION_POINT(BLOCKING);
        /* Rule 26: what came before the places were taken woke nobody: it is tried once more. */
        int rc = block_register(wait, from, database);
        if (rc != 0 || !MUTATION(REGISTERED_LAST))
            return rc;
        block = wait->block;
    }
    pthread_mutex_lock(&block->blocks->mutex);
    bool again = block->stirred || block->unblock != UNBLOCK_NONE;
    if (MUTATION(PLACE_LOST) && !again)
        places_lose(block);
    pthread_mutex_unlock(&block->blocks->mutex);
    if (again)
        return 0;
    /* Who stirs from here on puts the wait into the worker's list, which this thread looks at
     * later. */
    block->parked = true;
    wait->deadline_ns = block->deadline_ns;
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&worker->waits, &wait->link);
    session__due_at(worker, wait->deadline_ns);
    return ERROR_WAIT;
}

void session__block_end(struct session_wait *wait)
{
    struct session_block *block = wait->block;
    if (!block)
        return;
    struct session_blocks *blocks = block->blocks;
    pthread_mutex_lock(&blocks->mutex);
    places_leave(block, block->count);
    wait->block = NULL;
    pthread_mutex_unlock(&blocks->mutex);
    atomic_fetch_sub(&wait->session->service->interest.waiting, 1);
    free(block->kept);
    free(block);
}

/* --------------------------------------------------------------------------------------- others */

void session__block_stir(struct session_blocks *blocks, const char *message)
{
    uint32_t size;
    mp_decode_array(&message);
    unsigned database = (unsigned)mp_decode_uint(&message);
    const char *name = mp_decode_str(&message, &size);
    int type = (int)mp_decode_uint(&message);
    pthread_mutex_lock(&blocks->mutex);
    struct block_key *key = *key_find(blocks, database, type, name, size);
    if (key)
        key_stir(key, type == REDIS_TYPE_STREAM);
    pthread_mutex_unlock(&blocks->mutex);
}

void session__block_stir_all(struct session_blocks *blocks, unsigned one, unsigned other)
{
    pthread_mutex_lock(&blocks->mutex);
    for (unsigned n = 0; n < BUCKET_COUNT; n++)
        for (struct block_key *key = blocks->buckets[n]; key; key = key->next)
            if (key->database == one || key->database == other)
                key_stir(key, true);
    pthread_mutex_unlock(&blocks->mutex);
}

bool session__unblock(struct session *session, bool error)
{
    struct session_blocks *blocks = session->service->blocks;
    pthread_mutex_lock(&blocks->mutex);
    struct session_block *block = session->wait.block;
    bool waits = block && block->unblock == UNBLOCK_NONE;
    if (waits) {
        block->unblock = error ? UNBLOCK_ERROR : UNBLOCK_TIMEOUT;
        stir(block);
    }
    pthread_mutex_unlock(&blocks->mutex);
    return waits;
}
