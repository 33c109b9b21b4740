/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies are made of a generator seeded by their id, so that a body of which any part is missing,
 * stale or another's is told from a whole one without keeping the bodies. Half of the bits are zero,
 * so that compression has something to do.
 */
#include "wal/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "base/random.h"

void log_seen_destroy(struct log_seen *seen)
{
    free(seen->items);
    memset(seen, 0, sizeof(*seen));
}

static int by_ts(const void *a, const void *b)
{
    const struct log_record *x = a, *y = b;
    return x->ts < y->ts ? -1 : x->ts > y->ts;
}

void log_seen_sort(struct log_seen *seen)
{
    if (seen->count > 0)
        qsort(seen->items, seen->count, sizeof(*seen->items), by_ts);
}

const struct log_record *log_seen_find(const struct log_seen *seen, uint64_t id)
{
    for (size_t i = 0; i < seen->count; i++)
        if (seen->items[i].id == id)
            return &seen->items[i];
    return NULL;
}

void log_body(void *body, uint64_t id, size_t size)
{
    unsigned char *out = body;
    struct random random;
    random_create(&random, id ^ (uint64_t)size << 40);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = i == 0 ? id : random_next(&random) & UINT64_C(0x0f0f0f0f0f0f0f0f);
        memcpy(out + i, &word, size - i < 8 ? size - i : 8);
    }
}

int log_seen_add(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct log_seen *seen = arg;
    if (seen->fail_at != 0 && seen->count + 1 >= seen->fail_at)
        return ERROR_CANCELLED;
    if (seen->count == seen->capacity) {
        seen->capacity = seen->capacity * 2 + 64;
        seen->items = realloc(seen->items, seen->capacity * sizeof(*seen->items));
        ASSERT(seen->items != NULL);
    }
    struct log_record record = {.ts = ts, .size = size};
    memcpy(&record.id, body, size < 8 ? size : 8);
    unsigned char *expected = malloc(size + 1);
    ASSERT(expected != NULL);
    log_body(expected, record.id, size);
    record.whole = memcmp(expected, body, size) == 0;
    free(expected);
    seen->items[seen->count++] = record;
    return 0;
}

int log_commit(struct wal *wal, struct wal_buffer *buffer, uint64_t id, size_t size, uint64_t *ts)
{
    int rc = wal_reserve(buffer, size);
    if (rc != 0)
        return rc;
    unsigned char small[512];
    unsigned char *place = id % 2 == 0 ? wal_reserved_body(buffer) : NULL;
    unsigned char *body = place != NULL ? place : size <= sizeof(small) ? small : malloc(size);
    ASSERT(body != NULL);
    log_body(body, id, size);
    wal_begin(buffer);
    *ts = wal_clock_next(wal);
    wal_append(buffer, *ts, body, size);
    wal_end(buffer);
    if (body != small && body != place)
        free(body);
    return 0;
}

struct wal_options log_options(struct io *io)
{
    return (struct wal_options){
        .io = io,
        .durability = WAL_DURABILITY_COMMIT,
        .buffer_max = 8,
        .buffer_bytes = 16384,
        .segment_bytes = 128 * 1024,
    };
}

uint64_t log_seed(void)
{
    const char *text = getenv("PERIGEE_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : random_seed();
    printf("PERIGEE_SEED=%" PRIu64 "\n", seed);
    return seed;
}
