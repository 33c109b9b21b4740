/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A ring of cursors, each in the slot that its number says. Numbers count up from a start that
 * differs between processes, so that a number from before a restart does not hit by accident.
 * Numbers stay below 2^53, as clients in JavaScript need.
 */
#include "redis/redis_scan.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"

struct scan_slot {
    uint64_t cursor; /* 0: none */
    void *key;
    size_t size;
};

struct redis_scans {
    pthread_mutex_t mutex;
    uint64_t next; /* cursor to give out */
    struct scan_slot slots[REDIS_SCANS_MAX];
};

int redis_scans_new(struct redis_scans **out)
{
    struct redis_scans *scans = calloc(1, sizeof *scans);
    if (!scans)
        return ERROR_MEMORY;
    pthread_mutex_init(&scans->mutex, NULL);
    scans->next = (random_seed() >> 24) + 1; /* 40 bits */
    *out = scans;
    return 0;
}

void redis_scans_delete(struct redis_scans *scans)
{
    if (!scans)
        return;
    for (unsigned n = 0; n < REDIS_SCANS_MAX; n++)
        free(scans->slots[n].key);
    pthread_mutex_destroy(&scans->mutex);
    free(scans);
}

int redis_scans_put(struct redis_scans *scans, const void *key, size_t size, uint64_t *cursor)
{
    void *copy = malloc(size ? size : 1);
    if (!copy)
        return ERROR_MEMORY;
    memcpy(copy, key, size);
    pthread_mutex_lock(&scans->mutex);
    *cursor = scans->next++;
    struct scan_slot *slot = &scans->slots[*cursor % REDIS_SCANS_MAX];
    void *old = slot->key;
    *slot = (struct scan_slot){*cursor, copy, size};
    pthread_mutex_unlock(&scans->mutex);
    free(old);
    return 0;
}

int redis_scans_get(struct redis_scans *scans, uint64_t cursor, void *out, size_t *size)
{
    int rc = ERROR_NOT_FOUND;
    pthread_mutex_lock(&scans->mutex);
    const struct scan_slot *slot = &scans->slots[cursor % REDIS_SCANS_MAX];
    if (cursor && slot->cursor == cursor) {
        memcpy(out, slot->key, slot->size);
        *size = slot->size;
        rc = 0;
    }
    pthread_mutex_unlock(&scans->mutex);
    return rc;
}
