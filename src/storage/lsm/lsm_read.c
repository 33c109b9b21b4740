/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Looking for one row. The sequences are asked from the newest to the oldest, and in each the one
 * file that can have the key; its filter lets few looks through that are in vain, and a look that it
 * lets through reads one block. The first sequence that has a version at or before the timestamp has
 * the right one, since no older sequence has a newer version of a key.
 */
#include "base/error.h"
#include "storage/lsm/lsm_internal.h"
#include "storage/run/run_batch.h"

/* A line for each of a few threads, so that counting does not make them wait for each other. */
static struct lsm_reads *reads_of_thread(struct lsm_body *body)
{
    static _Atomic unsigned threads;
    static _Thread_local unsigned stripe;
    if (stripe == 0)
        stripe = 1 + atomic_fetch_add(&threads, 1) % LSM_STRIPES;
    return &body->reads[stripe - 1];
}

static void count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

int lsm__get(struct body_view *base, const void *key, size_t key_size, uint64_t ts,
             struct arena *arena, struct engine_row *out)
{
    const struct lsm_version *version = (const struct lsm_version *)base;
    struct lsm_reads *reads = reads_of_thread(version->body);
    uint64_t probes = 0, filtered = 0;
    int rc = ERROR_NOT_FOUND;
    for (unsigned i = 0; rc == ERROR_NOT_FOUND && i < version->count; i++) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        unsigned at = lsm__sequence_find(sequence, key, key_size);
        if (at == sequence->count)
            continue;
        struct run *run = sequence->files[at]->run;
        probes++;
        if (ts >= run_info(run)->min_ts && run_may_contain(run, key, key_size))
            rc = run_get_probable(run, key, key_size, ts, arena, out);
        else
            filtered++;
    }
    count(&reads->gets, 1);
    count(&reads->probes, probes);
    count(&reads->filtered, filtered);
    return rc == 0 && out->data == NULL ? ERROR_NOT_FOUND : rc;
}

/* The block of the newest sequence that may have the key, which mostly has it. False: no room. */
static bool key_prefetch(const struct lsm_version *version, const struct engine_key *key,
                         uint64_t ts, struct run_batch *batch)
{
    for (unsigned i = 0; i < version->count; i++) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        unsigned at = lsm__sequence_find(sequence, key->data, key->size);
        if (at == sequence->count)
            continue;
        const struct run *run = sequence->files[at]->run;
        if (ts >= run_info(run)->min_ts && run_may_contain(run, key->data, key->size))
            return run_batch_get(batch, run, key->data, key->size, ts);
    }
    return true;
}

unsigned lsm__prefetch(struct body_view *base, const struct engine_key *keys, unsigned count,
                       uint64_t ts, unsigned *reads)
{
    const struct lsm_version *version = (const struct lsm_version *)base;
    struct run_batch batch;
    unsigned done = 0;
    run_batch_create(&batch, version->body->cache);
    if (batch.bytes_max > 0)
        while (done < count && key_prefetch(version, &keys[done], ts, &batch))
            done++;
    *reads = run_batch_read(&batch);
    return done;
}

/* Between the files of the largest sequence, if there are enough of them; else within its largest
 * file. */
int lsm__split(struct body_view *base, unsigned parts, struct arena *arena, struct engine_key *keys,
               unsigned *count)
{
    const struct lsm_version *version = (const struct lsm_version *)base;
    const struct lsm_sequence *largest = NULL;
    *count = 0;
    for (unsigned i = 0; i < version->count; i++)
        if (largest == NULL || version->sequences[i].bytes > largest->bytes)
            largest = &version->sequences[i];
    if (largest == NULL)
        return 0;
    if (largest->count < parts) {
        const struct lsm_file *file = largest->files[0];
        for (unsigned i = 1; i < largest->count; i++)
            if (largest->files[i]->meta.bytes > file->meta.bytes)
                file = largest->files[i];
        return run_split(file->run, parts, arena, keys, count);
    }
    for (unsigned i = 1; i < parts; i++) {
        const struct engine_key *last =
            &largest->files[(uint64_t)i * largest->count / parts - 1]->last;
        keys[i - 1].data = arena_copy(arena, last->data, last->size);
        keys[i - 1].size = last->size;
        if (keys[i - 1].data == NULL)
            return ERROR_MEMORY;
        *count = i;
    }
    return 0;
}
