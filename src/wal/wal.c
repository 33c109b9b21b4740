/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log as a whole: opening, closing, buffers, and what readers of the clock, of D and of the cut
 * see.
 *
 * Starting, in this order, so that a crash between any two steps recovers to the same log:
 *      1. remove temporary and spare files
 *      2. replay up to the end
 *      3. write the blocks that nothing knows durable again, and flush them
 *      4. make the first segment of the new incarnation, whose header records the end, durable
 *      5. remove what is behind the end: dead segments, and dead blocks in the last one
 *      6. start the log writer
 * Until step 4 is durable nothing of the old log has been taken away, and the end that a second
 * recovery finds is the same, since step 3 changes no byte. After it the end is read from the
 * header.
 *
 * The clock starts at the largest timestamp found in any block header, used or not (invariant 1),
 * and D, the written timestamp and the last cut with it.
 */
#include "wal/wal.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "base/random.h"
#include "wal/wal_internal.h"

/* ------------------------------------------------------------------------------ open and close */

static size_t power_of_two(size_t bytes)
{
    size_t power = WAL_BUFFER_BYTES_MIN;
    while (power < bytes)
        power *= 2;
    return power;
}

static int options_take(struct wal *wal, const struct wal_options *options)
{
    wal->options = *options;
    struct wal_options *own = &wal->options;
    if (own->buffer_max == 0 || own->buffer_max > WAL_CHUNKS_MAX ||
        own->buffer_bytes > (size_t)1 << 30)
        return diag_set(ERROR_INVALID, "the log needs 1 to %d buffers of at most 1 GiB",
                        WAL_CHUNKS_MAX);
    own->buffer_bytes =
        power_of_two(own->buffer_bytes ? own->buffer_bytes : (size_t)WAL_BUFFER_BYTES_DEFAULT);
    if (own->segment_bytes == 0)
        own->segment_bytes = WAL_SEGMENT_BYTES_DEFAULT;
    if (own->follow_bytes_max == 0)
        own->follow_bytes_max = WAL_FOLLOW_BYTES_DEFAULT;
    own->segment_bytes =
        wal_align_up(own->segment_bytes < 2 * WAL_ALIGN ? 2 * WAL_ALIGN : own->segment_bytes);
    if (own->flush_interval_ms == 0)
        own->flush_interval_ms = WAL_FLUSH_INTERVAL_MS_DEFAULT;
    if (own->archive_retry_ms == 0)
        own->archive_retry_ms = WAL_ARCHIVE_RETRY_MS_DEFAULT;
    atomic_init(&wal->flush_interval_ns, own->flush_interval_ms * UINT64_C(1000000));
    wal->buffers = calloc(own->buffer_max, sizeof(*wal->buffers));
    wal->takes = calloc(own->buffer_max, sizeof(*wal->takes));
    if (wal->buffers == NULL || wal->takes == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for the log");
    return 0;
}

static void conditions_create(struct wal *wal)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&wal->mutex, NULL);
    pthread_mutex_init(&wal->follow_mutex, NULL);
    pthread_cond_init(&wal->wake, &attributes);
    pthread_cond_init(&wal->advanced, NULL);
    pthread_cond_init(&wal->room, NULL);
    pthread_cond_init(&wal->prepare, &attributes);
    pthread_cond_init(&wal->keep, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* Frees a log whose threads have not started or have ended. */
static void wal_delete(struct wal *wal)
{
    for (unsigned i = 0; wal->buffers != NULL && i < wal->options.buffer_max; i++)
        if (wal->buffers[i] != NULL)
            wal__buffer_delete(wal->buffers[i]);
    free(wal->buffers);
    free(wal->takes);
    pthread_mutex_destroy(&wal->mutex);
    pthread_mutex_destroy(&wal->follow_mutex);
    pthread_cond_destroy(&wal->wake);
    pthread_cond_destroy(&wal->advanced);
    pthread_cond_destroy(&wal->room);
    pthread_cond_destroy(&wal->prepare);
    pthread_cond_destroy(&wal->keep);
    free(wal);
}

/* Steps 4 to 6. */
static int incarnation_start(struct wal *wal, const struct wal_replay_stats *stats,
                             struct wal_end *end)
{
    wal->incarnation = end->incarnation + 1;
    wal->salt = random_seed();
    uint64_t clock = stats->clock > wal->options.clock_min ? stats->clock : wal->options.clock_min;
    wal->previous_c = clock;
    store_relaxed(&wal->clock, clock);
    store_relaxed(&wal->durable, clock);
    store_relaxed(&wal->written, clock);
    store_relaxed(&wal->last_cut, clock);
    wal->begin = end->begin;
    wal->written_block = stats->last_ts > end->begin ? stats->last_ts : end->begin;
    store_relaxed(&wal->durable_block, wal->written_block);
    int rc = wal__release_start(wal, end);
    if (rc == 0)
        rc = wal__segment_start(wal, end);
    if (rc == 0)
        rc = wal__segment_clean_dead(wal, end);
    if (rc == 0)
        rc = wal__writer_start(wal);
    return rc;
}

int wal__open(const struct wal_options *options, unsigned mutations, wal_replay_fn replay,
              void *arg, struct wal_replay_stats *stats, struct wal **out)
{
    struct wal *wal = aligned_alloc(CACHE_LINE_SIZE, sizeof(*wal));
    if (wal == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for the log");
    memset(wal, 0, sizeof(*wal));
    wal->mutations = mutations;
    conditions_create(wal);
    struct wal_end end = {0};
    const struct wal_read_options reading = {
        .io = options->io, .first_segment = options->first_segment, .each = replay, .arg = arg};
    int rc = options_take(wal, options);
    if (rc == 0)
        rc = wal__segment_clean_temporary(options->io);
    if (rc == 0)
        rc = wal__replay(&reading, mutations, false, stats, &end);
    if (rc == 0 && !(mutations & WAL_MUTATION_NO_ADOPT))
        rc = wal__replay_adopt(options->io, &end);
    if (rc == 0)
        rc = incarnation_start(wal, stats, &end);
    wal__end_destroy(&end);
    if (rc != 0) {
        wal__writer_stop(wal);
        wal__segment_stop(wal);
        wal__release_stop(wal);
        wal_delete(wal);
        return rc;
    }
    *out = wal;
    return 0;
}

int wal_open(const struct wal_options *options, wal_replay_fn replay, void *arg,
             struct wal_replay_stats *stats, struct wal **out)
{
    return wal__open(options, 0, replay, arg, stats, out);
}

int wal_close(struct wal *wal)
{
    ASSERT(wal->followers == NULL);
    wal__writer_stop(wal);
    int rc =
        wal_failed(wal) ? diag_set(ERROR_LOG_FAILED, "the log had failed: %s", wal->failure) : 0;
    wal__segment_stop(wal);
    wal__release_stop(wal);
    wal_delete(wal);
    return rc;
}

int wal_read(const struct wal_read_options *options, struct wal_replay_stats *stats)
{
    struct wal_end end;
    int rc = wal__replay(options, 0, true, stats, &end);
    wal__end_destroy(&end);
    return rc;
}

/* ------------------------------------------------------------------------------------- buffers */

int wal_buffer_open(struct wal *wal, struct wal_buffer **out)
{
    int rc = 0;
    *out = NULL;
    pthread_mutex_lock(&wal->mutex);
    unsigned count = load_relaxed(&wal->buffer_count);
    for (unsigned i = 0; i < count && *out == NULL; i++)
        if (!wal->buffers[i]->open)
            *out = wal->buffers[i];
    if (*out == NULL && count == wal->options.buffer_max) {
        rc = diag_set(ERROR_INVALID, "all %u log buffers are taken", count);
    } else if (*out == NULL) {
        rc = wal__buffer_new(wal, count, out);
        if (rc == 0) {
            wal->buffers[count] = *out;
            atomic_store(&wal->buffer_count, count + 1);
        }
    }
    if (rc == 0)
        (*out)->open = true;
    pthread_mutex_unlock(&wal->mutex);
    return rc;
}

void wal_buffer_close(struct wal_buffer *buffer)
{
    /* What is in the ring still goes to the log; the ring is kept for the next one who opens a
     * buffer. */
    ASSERT(load_relaxed(&buffer->inflight) == 0);
    pthread_mutex_lock(&buffer->wal->mutex);
    buffer->open = false;
    pthread_mutex_unlock(&buffer->wal->mutex);
}

/* --------------------------------------------------------------------------- clock, D, the cut */

uint64_t wal_clock_next(struct wal *wal)
{
    return atomic_fetch_add(&wal->clock, 1) + 1;
}

void wal_clock_raise(struct wal *wal, uint64_t ts)
{
    uint64_t clock = load_seq_cst(&wal->clock);
    if (clock < ts) /* those that others take meanwhile come on top */
        atomic_fetch_add(&wal->clock, ts - clock);
}

uint64_t wal_clock(const struct wal *wal)
{
    return load_seq_cst(&wal->clock);
}

uint64_t wal_durable_ts(const struct wal *wal)
{
    return load_acquire(&wal->durable);
}

uint64_t wal_visible_ts(const struct wal *wal)
{
    if (wal->options.durability == WAL_DURABILITY_COMMIT || wal_failed(wal))
        return wal_durable_ts(wal);
    return wal_clock(wal);
}

uint64_t wal_reply_ts(const struct wal *wal)
{
    if (MUTATION(REPLY_BEFORE_FLUSH) && wal->options.durability == WAL_DURABILITY_COMMIT)
        return wal_clock(wal);
    if (MUTATION(REPLY_BEFORE_WRITE) && wal->options.durability == WAL_DURABILITY_INTERVAL)
        return wal_clock(wal);
    switch (wal->options.durability) {
    case WAL_DURABILITY_COMMIT:
        return load_seq_cst(&wal->durable);
    case WAL_DURABILITY_INTERVAL:
        return load_seq_cst(&wal->written);
    default:
        return wal_failed(wal) ? load_seq_cst(&wal->failed_clock) : wal_clock(wal);
    }
}

bool wal_cut_state(const struct wal *wal, uint64_t *last_cut)
{
    bool down = load_seq_cst(&wal->cutting) == 0;
    *last_cut = load_seq_cst(&wal->last_cut);
    return down;
}

/* A worker that read the clock before this advanced it has a bound of at most c, and its bound is
 * seen here or it sees the flag, which it reads after storing the bound. One that read the clock
 * later reads the flag later still. */
void wal_quiesce(struct wal *wal)
{
    uint64_t c = wal_clock_next(wal);
    unsigned count = load_acquire(&wal->buffer_count);
    for (unsigned i = 0; i < count && !(wal->mutations & WAL_MUTATION_NO_QUIESCE); i++)
        wal__buffer_wait(wal->buffers[i], c);
}

/* ------------------------------------------------------------------------------------- waiting */

/* Whether the log writer, which waits for more to be committed, has enough of it, or somebody is in a hurry. */
static bool is_gathered(const struct wal *wal)
{
    uint64_t ts = load_seq_cst(&wal->gather_ts);
    return ts != 0 && (load_seq_cst(&wal->clock) >= ts ||
                       load_seq_cst(&wal->flush_wanted) > load_relaxed(&wal->last_cut) ||
                       load_seq_cst(&wal->room_waiters) > 0);
}

void wal_kick(struct wal *wal)
{
    if (is_gathered(wal)) {
        pthread_mutex_lock(&wal->mutex);
        pthread_cond_signal(&wal->wake);
        pthread_mutex_unlock(&wal->mutex);
    }
    if (load_seq_cst(&wal->kicked) != 0 || atomic_exchange(&wal->kicked, 1) != 0)
        return;
    if (load_seq_cst(&wal->sleeping) == WAL_AWAKE)
        return;
    pthread_mutex_lock(&wal->mutex);
    if (!wal->stood_in_for) /* else who stands in sees `kicked` when that is done */
        pthread_cond_signal(&wal->wake);
    pthread_mutex_unlock(&wal->mutex);
}

void wal_kick_early(struct wal *wal)
{
    if (wal->options.durability == WAL_DURABILITY_COMMIT)
        wal_kick(wal);
}

static uint64_t reached_durable(const struct wal *wal)
{
    return load_seq_cst(&wal->durable);
}

/* Sleeps until `reached` is at least ts. The writer publishes and then looks at `waiters`; this
 * counts itself and then looks. */
static int wait_for(struct wal *wal, uint64_t (*reached)(const struct wal *wal), uint64_t ts)
{
    ASSERT(ts <= wal_clock(wal));
    atomic_fetch_add(&wal->waiters, 1);
    wal_kick(wal);
    pthread_mutex_lock(&wal->mutex);
    while (reached(wal) < ts && !wal_failed(wal))
        pthread_cond_wait(&wal->advanced, &wal->mutex);
    pthread_mutex_unlock(&wal->mutex);
    atomic_fetch_sub(&wal->waiters, 1);
    if (reached(wal) >= ts)
        return 0;
    return diag_set(ERROR_UNKNOWN_OUTCOME, "outcome unknown, the log failed: %s", wal->failure);
}

int wal_wait(struct wal *wal, uint64_t ts)
{
    if (wal_reply_ts(wal) < ts)
        wal_write_now(wal);
    return wal_reply_ts(wal) >= ts ? 0 : wait_for(wal, wal_reply_ts, ts);
}

static void flush_want(struct wal *wal, uint64_t ts)
{
    uint64_t wanted = load_seq_cst(&wal->flush_wanted);
    while (wanted < ts && !atomic_compare_exchange_weak(&wal->flush_wanted, &wanted, ts))
        ;
}

void wal_want_durable(struct wal *wal, uint64_t ts)
{
    if (reached_durable(wal) >= ts)
        return;
    flush_want(wal, ts);
    wal_kick(wal);
}

int wal_wait_durable(struct wal *wal, uint64_t ts)
{
    if (reached_durable(wal) >= ts)
        return 0;
    flush_want(wal, ts);
    return wait_for(wal, reached_durable, ts);
}

bool wal_failed(const struct wal *wal)
{
    return load_seq_cst(&wal->failed);
}

const char *wal_failure(const struct wal *wal)
{
    return wal_failed(wal) ? wal->failure : "";
}

void wal_stats_get(const struct wal *wal, struct wal_stats *out)
{
    out->blocks = load_relaxed(&wal->stats.blocks);
    out->stood_in = load_relaxed(&wal->stats.stood_in);
    out->records = load_relaxed(&wal->stats.records);
    out->bytes = load_relaxed(&wal->stats.bytes);
    out->segments = load_relaxed(&wal->stats.segments);
    out->log_bytes = load_relaxed(&wal->stats.log_bytes);
    out->used_bytes = load_relaxed(&wal->stats.used_bytes);
    out->flushes = load_relaxed(&wal->stats.flushes);
    out->flush_ns = load_relaxed(&wal->stats.flush_ns);
    out->write_ns = load_relaxed(&wal->stats.write_ns);
    out->followed = load_relaxed(&wal->stats.followed);
    out->gathered = load_relaxed(&wal->stats.gathered);
    out->gathered_in_vain = load_relaxed(&wal->stats.gathered_in_vain);
    out->released = load_relaxed(&wal->stats.released);
    out->recycled = load_relaxed(&wal->stats.recycled);
    out->archived = load_relaxed(&wal->stats.archived);
    out->archive_failures = load_relaxed(&wal->stats.archive_failures);
    out->compressed_from = load_relaxed(&wal->stats.compressed_from);
    out->compressed_to = load_relaxed(&wal->stats.compressed_to);
    out->followers_cut = load_relaxed(&wal->stats.followers_cut);
}

void wal_gather_set(struct wal *wal, unsigned us)
{
    store_relaxed(&wal->gather_ns, us * UINT64_C(1000));
}

void wal_flush_interval_set(struct wal *wal, unsigned ms)
{
    store_relaxed(&wal->flush_interval_ns, ms * UINT64_C(1000000));
    wal_kick(wal); /* it may sleep for as long as the one before */
}
