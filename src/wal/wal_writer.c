/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log writer: one thread that ends epochs, writes blocks and publishes D.
 *
 *      cut      raise `cutting`, fence, read C, record it as the last cut, lower the flag
 *               (invariant 12); wait until no worker is between wal_begin and wal_end with a lower
 *               bound of at most C (invariant 1)
 *      collect  from each ring the prefix up to C: room for the block in a segment, copy, seal
 *      write    through the io queue, up to WAL_INFLIGHT_MAX epochs at once
 *      publish  in order of sequence: an epoch counts when its block and all before it are done
 *               (invariant 2)
 *
 * The log writer copies each prefix once: direct I/O wants aligned memory, and a cut falls between
 * two records of a ring that its worker goes on filling. It computes no checksum over bodies; those
 * are the workers' (invariant 5). A record outside of a ring that is all of an epoch is not copied:
 * its memory becomes the block.
 *
 * Cadence. With nothing in flight an epoch ends as soon as somebody asks. While a block is in
 * flight, commits gather: they become one block when it is done, so one flush serves everybody.
 * Only when much has gathered (WAL_PIPELINE_BYTES) does another block start at once, which keeps
 * the disk busy during bulk loads and does not spend a block on each commit otherwise. A second
 * block could not be acknowledged before the first anyway.
 *
 * Gathering. Of clients that come back when they are served, half are served by one block while the other
 * half waits for the next: each waits for two writes, and a write serves half of them. If the log writer waits a little when a
 * block is done, for as many commits as it had and as are waiting already, one write serves all, which pays where a write takes
 * much longer than coming back does (wal_gather_set; db/tune.c).
 *
 * An epoch without records needs no block: it takes its turn in the order, so that D still passes
 * the timestamps of transactions that failed validation.
 *
 * Sleeping. wal_kick sets `kicked` and then looks whether the writer sleeps; the writer says that
 * it sleeps and then looks at `kicked`. All four are sequentially consistent, so one sees the
 * other. A kick that finds `kicked` set need do nothing: the writer takes the flag before it reads
 * the clock for a cut.
 *
 * Standing in. Under interval a block is a copy into the page cache, which takes less time than
 * waking the log writer and being woken by it. So whoever wants little written while it sleeps takes
 * what is its own, ends an epoch, and gives it back (`stood_in_for`). Both are done under `mutex`, by
 * which each sees what the other has left. The log writer does not go on meanwhile, whatever has
 * woken it: one thread at a time ends epochs and writes (invariant 2). It is woken for what is left: a
 * flush, as from now on something is written and not durable; a kick that came meanwhile; a write
 * that is not through; a failure.
 *
 * Failure (invariant 7): wal__fail freezes D, keeps the message, wakes all who wait. What is in
 * flight is waited for and not published; nothing is written or flushed again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "codec/crc32c.h"
#include "mem/account.h"
#include "wal/wal_internal.h"

#define NS_PER_MS UINT64_C(1000000)

static uint64_t now_ns(void)
{
    return clock_monotonic_ns(clock_system());
}

static bool has_level(const struct wal *wal, enum wal_durability level)
{
    return wal->options.durability == level;
}

static unsigned epochs_inflight(const struct wal *wal)
{
    return (unsigned)(wal->epoch_next - wal->epoch_first);
}

static bool is_flushed(const struct wal *wal)
{
    return load_relaxed(&wal->written) <= load_relaxed(&wal->durable);
}

/* ------------------------------------------------------------------------------------- failing */

void wal__fail(struct wal *wal, int code)
{
    if (wal_failed(wal))
        return;
    snprintf(wal->failure, sizeof(wal->failure), "%s", diag_message_for(code));
    store_seq_cst(&wal->failed_clock, load_seq_cst(&wal->clock));
    store_seq_cst(&wal->failed, true);
    pthread_mutex_lock(&wal->mutex);
    pthread_cond_broadcast(&wal->advanced);
    pthread_cond_broadcast(&wal->room);
    pthread_mutex_unlock(&wal->mutex);
    if (wal->options.on_advance != NULL)
        wal->options.on_advance(wal->options.arg);
}

/* ---------------------------------------------------------------------------------- publishing */

static void notify_advance(struct wal *wal)
{
    if (load_seq_cst(&wal->waiters) > 0) {
        pthread_mutex_lock(&wal->mutex);
        pthread_cond_broadcast(&wal->advanced);
        pthread_mutex_unlock(&wal->mutex);
    }
    wal__follow_notify(wal);
    if (wal->options.on_advance != NULL)
        wal->options.on_advance(wal->options.arg);
}

static void block_free(struct wal_epoch *epoch)
{
    if (epoch->external)
        wal__external_delete(epoch->block, epoch->block_bytes);
    else
        free(account_gone(ACCOUNT_LOG, epoch->block));
    epoch->block = NULL;
    epoch->block_bytes = 0;
    epoch->external = false;
}

static void block_release(struct wal_epoch *epoch, size_t keep_bytes)
{
    if (epoch->external || epoch->block_bytes > keep_bytes)
        block_free(epoch);
}

static void count_block(struct wal *wal, const struct wal_epoch *epoch)
{
    atomic_fetch_add_explicit(&wal->stats.blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&wal->stats.records, epoch->records, memory_order_relaxed);
    atomic_fetch_add_explicit(&wal->stats.bytes, epoch->bytes, memory_order_relaxed);
    if (has_level(wal, WAL_DURABILITY_COMMIT))
        atomic_fetch_add_explicit(&wal->stats.flushes, 1, memory_order_relaxed);
}

/* What rests on what is durable now is done before D says so: who has waited for D finds that segments
 * behind it are finished, and that the log may begin where it may. */
static void advance(struct wal *wal, uint64_t c, bool durable)
{
    if (durable)
        wal->durable_sequence = wal->written_sequence;
    wal__segment_retire(wal);
    store_seq_cst(&wal->written, c);
    if (durable) {
        store_seq_cst(&wal->durable_block, wal->written_block);
        store_seq_cst(&wal->durable, c);
    }
    notify_advance(wal);
}

/* Blocks with so many commits are done. */
static void gather_note(struct wal *wal, uint64_t commits)
{
    uint64_t waiting = load_seq_cst(&wal->clock) - load_relaxed(&wal->last_cut);
    wal->gather_commits = commits + waiting;
    wal->gather_from_ns = now_ns();
    if (waiting != 0)
        atomic_fetch_add_explicit(&wal->stats.followed, 1, memory_order_relaxed);
}

/* Publishes the epochs that are done, up to the first that is not. */
static void publish(struct wal *wal)
{
    uint64_t c = load_relaxed(&wal->written);
    bool advanced = false;
    while (!wal_failed(wal) && wal->epoch_first < wal->epoch_next) {
        struct wal_epoch *epoch = &wal->epochs[wal->epoch_first % WAL_INFLIGHT_MAX];
        if (!epoch->done)
            break;
        c = epoch->c;
        if (epoch->sequence != 0) {
            crash_point("wal.block.flushed");
            wal->written_sequence = epoch->sequence;
            wal->written_block = c;
            wal->unflushed_bytes += epoch->bytes;
            count_block(wal, epoch);
        }
        block_release(epoch, WAL_BLOCK_KEEP_BYTES);
        wal->epoch_first++;
        advanced = true;
    }
    if (!advanced)
        return;
    if (is_flushed(wal))
        wal->flush_from_ns = now_ns();
    if (has_level(wal, WAL_DURABILITY_COMMIT))
        gather_note(wal, c - load_relaxed(&wal->written));
    advance(wal, c, has_level(wal, WAL_DURABILITY_COMMIT));
}

/* A segment that somebody has removed takes writes and flushes as ever, and is gone when the process
 * ends: nothing in it may count as durable. */
static int segment_there(struct wal *wal, const struct wal_segment *segment)
{
    int rc = io_named(segment->file);
    if (rc != 0)
        wal__fail(wal, rc);
    return rc;
}

static void epoch_done(struct wal *wal, const struct io_completion *completion)
{
    struct wal_epoch *epoch = &wal->epochs[completion->cookie % WAL_INFLIGHT_MAX];
    ASSERT(!epoch->done && epoch->sequence != 0);
    wal->writes--;
    epoch->segment->pending--;
    atomic_fetch_add_explicit(&wal->stats.write_ns, now_ns() - epoch->begun_ns,
                              memory_order_relaxed);
    if (completion->result != 0 && !(wal->mutations & WAL_MUTATION_GO_ON)) {
        char name[32];
        wal__segment_name(epoch->segment->number, name);
        wal__fail(wal, diag_set_errno(completion->result, completion->system_error,
                                      "writing block %" PRIu64 " to %s, offset %" PRIu64,
                                      epoch->sequence, name, epoch->offset));
        return;
    }
    if (has_level(wal, WAL_DURABILITY_COMMIT) && segment_there(wal, epoch->segment) != 0)
        return;
    epoch->done = true;
    if (!has_level(wal, WAL_DURABILITY_COMMIT))
        epoch->segment->dirty = true;
    if (wal->mutations & WAL_MUTATION_ANY_ORDER && epoch->c > load_relaxed(&wal->durable)) {
        store_seq_cst(&wal->durable, epoch->c);
        notify_advance(wal);
    }
}

/* Takes completions; with `block` at least one if anything is in flight. */
static void reap(struct wal *wal, bool block)
{
    struct io_completion completions[WAL_INFLIGHT_MAX];
    if (wal->writes > 0) {
        int count = io_queue_wait(wal->queue, block, completions, WAL_INFLIGHT_MAX);
        if (count < 0) {
            wal->writes = 0; /* there is no way to hear of them any more */
            wal__fail(wal, count);
        }
        for (int i = 0; i < count; i++)
            epoch_done(wal, &completions[i]);
    }
    publish(wal);
}

/* ------------------------------------------------------------------------------------- cutting */

/* Ends an epoch and returns its C, with every record up to C in the rings. */
static uint64_t cut(struct wal *wal)
{
    bool flag = !(wal->mutations & WAL_MUTATION_NO_CUT_FLAG);
    store_seq_cst(&wal->cutting, flag);
    fence_seq_cst(&wal->cutting);
    uint64_t c = load_seq_cst(&wal->clock);
    if (wal->mutations & WAL_MUTATION_SLOW_CUT)
        for (int i = 0; i < 1000 && load_seq_cst(&wal->clock) == c; i++)
            sched_yield();
    if (wal->clock_read != NULL)
        wal->clock_read(wal);
    store_seq_cst(&wal->last_cut, c);
    store_seq_cst(&wal->cutting, 0);
    unsigned count = load_acquire(&wal->buffer_count);
    for (unsigned i = 0; i < count && !(wal->mutations & WAL_MUTATION_NO_WAIT); i++)
        wal__buffer_wait(wal->buffers[i], c);
    return c;
}

/* Gives the epoch the largest memory that no block in flight is in: a load that has one at a time fills
 * one and not each in turn. */
static void block_choose(struct wal *wal, struct wal_epoch *epoch)
{
    for (uint64_t n = wal->epoch_next + 1; n < wal->epoch_first + WAL_INFLIGHT_MAX; n++) {
        struct wal_epoch *idle = &wal->epochs[n % WAL_INFLIGHT_MAX];
        if (idle->block_bytes <= epoch->block_bytes)
            continue;
        unsigned char *block = idle->block;
        size_t block_bytes = idle->block_bytes;
        idle->block = epoch->block;
        idle->block_bytes = epoch->block_bytes;
        epoch->block = block;
        epoch->block_bytes = block_bytes;
    }
}

/* The memory of the only record, which stands where it has to: true, with it as the epoch's block. */
static bool block_take(struct wal *wal, struct wal_epoch *epoch, unsigned chunks)
{
    uint64_t memory_bytes;
    unsigned char *memory = chunks == 1 && !wal->options.compression
                                ? wal__buffer_block(&wal->takes[0], &memory_bytes)
                                : NULL;
    if (memory == NULL)
        return false;
    block_free(epoch);
    epoch->block = memory;
    epoch->block_bytes = memory_bytes;
    epoch->external = true;
    return true;
}

static int block_memory(struct wal *wal, struct wal_epoch *epoch, uint64_t bytes)
{
    block_choose(wal, epoch);
    if (epoch->block_bytes >= bytes)
        return 0;
    block_free(epoch);
    epoch->block = account_made(ACCOUNT_LOG, aligned_alloc(IO_ALIGN, bytes));
    if (epoch->block == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for a log block of %" PRIu64 " bytes", bytes);
    epoch->block_bytes = bytes;
    return 0;
}

/* Memory for what is going to be compressed, NULL when there is none: then it is not. */
static unsigned char *scratch_reserve(struct wal *wal, uint64_t bytes)
{
    if (wal->scratch_bytes >= bytes)
        return wal->scratch;
    free(account_gone(ACCOUNT_LOG, wal->scratch));
    wal->scratch = account_made(ACCOUNT_LOG, malloc(bytes));
    wal->scratch_bytes = wal->scratch == NULL ? 0 : bytes;
    return wal->scratch;
}

static void scratch_release(struct wal *wal)
{
    if (wal->scratch_bytes <= WAL_BLOCK_KEEP_BYTES)
        return;
    free(account_gone(ACCOUNT_LOG, wal->scratch));
    wal->scratch = NULL;
    wal->scratch_bytes = 0;
}

/* Puts the records that were taken to `out`, compressed if that is wanted and pays; returns the
 * bytes used, at most those of the records, and says them and what they are in `chunk`. */
static uint64_t chunk_fill(struct wal *wal, const struct wal_take *take, bool compress,
                           unsigned char *out, struct wal_chunk_header *chunk)
{
    unsigned char *scratch = NULL;
    bool small = take->bytes < WAL_COMPRESS_BYTES_MIN;
    if (compress && (!small || wal->mutations & WAL_MUTATION_COMPRESS_SMALL))
        scratch = scratch_reserve(wal, take->bytes);
    wal__buffer_copy(take, scratch == NULL ? out : scratch);
    if (scratch == NULL)
        return take->bytes;
    uint64_t bytes = wal_chunk_compress(scratch, take->bytes, out);
    atomic_fetch_add_explicit(&wal->stats.compressed_from, take->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&wal->stats.compressed_to, bytes == 0 ? take->bytes : bytes,
                              memory_order_relaxed);
    if (bytes == 0) {
        memcpy(out, scratch, take->bytes);
        return take->bytes;
    }
    chunk->flags = WAL_CHUNK_COMPRESSED;
    chunk->bytes = bytes;
    chunk->stored_checksum = crc32c(0, out, bytes);
    return bytes;
}

/* Copies what was taken into the epoch's block, which has room for header->block_bytes, if it is not
 * there already, and seals it; the block may turn out smaller. */
static void block_fill(struct wal *wal, struct wal_epoch *epoch, unsigned chunks,
                       struct wal_block_header *header)
{
    unsigned char *chunk_out = epoch->block + sizeof(*header);
    unsigned char *out = epoch->block + wal_block_header_bytes(chunks);
    bool compress = wal->options.compression && header->data_bytes <= WAL_UNPACKED_BYTES_MAX;
    for (unsigned i = 0; i < chunks; i++) {
        const struct wal_take *take = &wal->takes[i];
        struct wal_chunk_header chunk = {
            .worker = take->buffer->number,
            .bytes = take->bytes,
            .records = take->records,
            .sum = take->sum,
        };
        out += epoch->external ? take->bytes : chunk_fill(wal, take, compress, out, &chunk);
        memcpy(chunk_out, &chunk, sizeof(chunk));
        chunk_out += sizeof(chunk);
    }
    header->block_bytes = wal_align_up((uint64_t)(out - epoch->block));
    memset(out, 0, (size_t)(epoch->block + header->block_bytes - out));
    memcpy(epoch->block, header, sizeof(*header));
    wal_block_header_seal(epoch->block, wal->salt);
    memcpy(header, epoch->block, sizeof(*header));
    scratch_release(wal);
}

static void wake_room_waiters(struct wal *wal)
{
    if (load_seq_cst(&wal->room_waiters) == 0)
        return;
    pthread_mutex_lock(&wal->mutex);
    pthread_cond_broadcast(&wal->room);
    pthread_mutex_unlock(&wal->mutex);
}

/* Leaves half of the block in the file, as the system might, and ends the process. */
static void die_halfway(struct wal *wal, const struct wal_epoch *epoch)
{
    char name[32];
    struct io_file *file;
    wal__segment_name(epoch->segment->number, name);
    if (io_open(wal->options.io, name, IO_WRITE, &file) == 0)
        (void)io_write(file, epoch->block, epoch->bytes / 2, epoch->offset);
    crash_point_kill();
}

/* When a block is cut, for those who restore to a time. */
static uint64_t wall_clock_ns(const struct wal *wal)
{
    return wal->options.clock == NULL ? 0 : clock_realtime_ms(wal->options.clock) * NS_PER_MS;
}

/* Makes a block of the first `chunks` takes and starts writing it. */
static int epoch_write(struct wal *wal, struct wal_epoch *epoch, unsigned chunks,
                       uint64_t data_bytes)
{
    uint64_t bytes = wal_align_up(wal_block_header_bytes(chunks) + data_bytes);
    int rc = wal__segment_reserve(wal, bytes);
    if (rc == 0 && !block_take(wal, epoch, chunks))
        rc = block_memory(wal, epoch, bytes);
    if (rc != 0)
        return rc;
    struct wal_block_header header = {
        .incarnation = wal->incarnation,
        .time = wall_clock_ns(wal),
        .segment = wal->current->number,
        .sequence = ++wal->sequence,
        .previous_checksum = wal->previous_checksum,
        .chunks = chunks,
        .durable_sequence = wal->durable_sequence,
        .previous_c = wal->previous_c,
        .c = epoch->c,
        .block_bytes = bytes,
        .data_bytes = data_bytes,
        .records = epoch->records,
    };
    block_fill(wal, epoch, chunks, &header);
    wake_room_waiters(wal);
    bytes = header.block_bytes;
    wal->previous_checksum = header.checksum;
    wal->previous_c = epoch->c;
    epoch->sequence = header.sequence;
    epoch->segment = wal->current;
    epoch->offset = wal->current->used;
    epoch->bytes = bytes;
    epoch->segment->used += bytes;
    if (epoch->segment->first_sequence == 0)
        epoch->segment->first_sequence = header.sequence;
    store_release(&epoch->segment->entry->c, epoch->c);
    atomic_fetch_add_explicit(&wal->stats.used_bytes, bytes, memory_order_relaxed);
    bool durable = has_level(wal, WAL_DURABILITY_COMMIT) && !wal->options.skip_flush;
    crash_point("wal.block.before");
    if (crash_point_armed_now("wal.block.half"))
        die_halfway(wal, epoch);
    epoch->begun_ns = now_ns();
    rc = io_queue_write(wal->queue, epoch->segment->file, epoch->block, bytes, epoch->offset,
                        durable, wal->epoch_next);
    if (rc != 0)
        return rc;
    epoch->segment->pending++;
    wal->writes++;
    return 0;
}

static void epoch_begin(struct wal *wal)
{
    struct wal_epoch *epoch = &wal->epochs[wal->epoch_next % WAL_INFLIGHT_MAX];
    epoch->c = cut(wal);
    epoch->sequence = 0;
    epoch->records = 0;
    wal->cut_next_ns = now_ns() + WAL_NONE_INTERVAL_MS * NS_PER_MS;
    unsigned chunks = 0, count = load_acquire(&wal->buffer_count);
    uint64_t data_bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        struct wal_take *take = &wal->takes[chunks];
        wal__buffer_take(wal->buffers[i], epoch->c, take);
        if (take->records == 0)
            continue;
        chunks++;
        data_bytes += take->bytes;
        epoch->records += take->records;
    }
    epoch->done = chunks == 0;
    int rc = chunks == 0 ? 0 : epoch_write(wal, epoch, chunks, data_bytes);
    if (rc != 0)
        wal__fail(wal, rc);
    else
        wal->epoch_next++;
}

/* Whether an epoch is to end now. Consumes the kick when it looks at the clock, in this order. */
static bool cut_is_due(struct wal *wal)
{
    unsigned inflight = epochs_inflight(wal);
    uint64_t pipeline_bytes = wal->mutations & WAL_MUTATION_EAGER ? 1 : WAL_PIPELINE_BYTES;
    if (inflight == WAL_INFLIGHT_MAX || (inflight > 0 && wal__pending_bytes(wal) < pipeline_bytes))
        return false;
    bool asked = atomic_exchange(&wal->kicked, 0) != 0;
    uint64_t last_cut = load_relaxed(&wal->last_cut);
    if (load_seq_cst(&wal->clock) == last_cut)
        return false;
    return asked || load_seq_cst(&wal->closing) || load_seq_cst(&wal->flush_wanted) > last_cut ||
           (has_level(wal, WAL_DURABILITY_NONE) && now_ns() >= wal->cut_next_ns);
}

/* ------------------------------------------------------------------------------------ flushing */

/*
 * When much has been written it is earlier than it has to be: until D passes them, old versions stay, and rows
 * that were deleted, which who looks for others has to pass over. As flushes hold up those who write, they take
 * a WAL_FLUSH_REST'th of the time at most.
 */
static uint64_t flush_next_ns(const struct wal *wal)
{
    uint64_t next_ns = wal->flush_from_ns + load_relaxed(&wal->flush_interval_ns);
    return wal->unflushed_bytes >= WAL_FLUSH_BYTES && wal->flush_rested_ns < next_ns
               ? wal->flush_rested_ns
               : next_ns;
}

/* Whether it goes before whatever else is to be written: of that there may always be some. */
static bool flush_is_late(const struct wal *wal)
{
    uint64_t wanted = load_seq_cst(&wal->flush_wanted);
    if (is_flushed(wal))
        return false;
    return (wanted > load_relaxed(&wal->durable) && wanted <= load_relaxed(&wal->written)) ||
           now_ns() >= flush_next_ns(wal);
}

/* Under interval and none: whether what has been written is to be flushed now. */
static bool flush_is_due(struct wal *wal)
{
    if (is_flushed(wal))
        return false;
    return load_seq_cst(&wal->flush_wanted) > load_relaxed(&wal->durable) ||
           load_seq_cst(&wal->closing) || flush_is_late(wal);
}

static void flush(struct wal *wal)
{
    uint64_t began_ns = now_ns();
    for (struct wal_segment *segment = wal->segments; segment != NULL; segment = segment->next) {
        if (!segment->dirty)
            continue;
        segment->dirty = false;
        int rc = wal->options.skip_flush ? 0 : io_sync(segment->file);
        if (rc != 0) {
            wal__fail(wal, rc);
            return;
        }
        if (segment_there(wal, segment) != 0)
            return;
        atomic_fetch_add_explicit(&wal->stats.flushes, 1, memory_order_relaxed);
    }
    uint64_t ended_ns = now_ns();
    wal->unflushed_bytes = 0;
    wal->flush_rested_ns = ended_ns + WAL_FLUSH_REST * (ended_ns - began_ns);
    atomic_fetch_add_explicit(&wal->stats.flush_ns, ended_ns - began_ns, memory_order_relaxed);
    advance(wal, load_relaxed(&wal->written), true);
}

/* ------------------------------------------------------------------------------------ sleeping */

static void wait_until(struct wal *wal, uint64_t deadline_ns)
{
    if (deadline_ns == UINT64_MAX) {
        pthread_cond_wait(&wal->wake, &wal->mutex);
        return;
    }
    struct timespec until = {
        .tv_sec = (time_t)(deadline_ns / (1000 * NS_PER_MS)),
        .tv_nsec = (long)(deadline_ns % (1000 * NS_PER_MS)),
    };
    pthread_cond_timedwait(&wal->wake, &wal->mutex, &until);
}

/* Sleeps until kicked or until the next thing to do. */
static void sleep_a_while(struct wal *wal)
{
    bool none = has_level(wal, WAL_DURABILITY_NONE);
    bool pending = none && load_seq_cst(&wal->clock) != load_relaxed(&wal->last_cut);
    uint64_t deadline = UINT64_MAX;
    if (!is_flushed(wal))
        deadline = flush_next_ns(wal);
    if (pending && wal->cut_next_ns < deadline)
        deadline = wal->cut_next_ns;
    for (unsigned i = 0; deadline == UINT64_MAX && i < WAL_INFLIGHT_MAX; i++)
        block_release(&wal->epochs[i], WAL_IDLE_KEEP_BYTES);
    pthread_mutex_lock(&wal->mutex);
    store_seq_cst(&wal->sleeping, pending ? WAL_NAPPING : WAL_SLEEPING);
    bool missed = none && !pending && load_seq_cst(&wal->clock) != load_relaxed(&wal->last_cut);
    if (!missed && load_seq_cst(&wal->kicked) == 0 && !load_seq_cst(&wal->closing))
        wait_until(wal, deadline);
    wal->awaited = true;
    while (wal->stood_in_for && !(wal->mutations & WAL_MUTATION_TWO_WRITERS))
        pthread_cond_wait(&wal->wake, &wal->mutex);
    wal->awaited = false;
    store_seq_cst(&wal->sleeping, WAL_AWAKE);
    pthread_mutex_unlock(&wal->mutex);
}

/* ----------------------------------------------------------------------------------- standing in */

/* With the mutex, while nobody else stands in: whether what is there is written at once, without waiting
 * for anything but the page cache. Who is committing may be about to leave a large record, for which the cut would wait, and
 * which would be written as well. He may begin behind this look, too, which is rare enough. */
static bool is_little_to_do(struct wal *wal)
{
    return epochs_inflight(wal) == 0 && !wal_failed(wal) && !load_relaxed(&wal->closing) &&
           !wal__any_begun(wal) && wal__pending_bytes(wal) < WAL_STAND_IN_BYTES &&
           wal->current->bytes - wal->current->used >= WAL_STAND_IN_ROOM_BYTES &&
           now_ns() >= wal->stand_in_ns;
}

/* False: the log writer does not sleep, or is about to wake up, or is to do it. */
static bool stand_in_begin(struct wal *wal)
{
    if (!has_level(wal, WAL_DURABILITY_INTERVAL) || load_relaxed(&wal->kicked) != 0 ||
        load_relaxed(&wal->sleeping) != WAL_SLEEPING || pthread_mutex_trylock(&wal->mutex) != 0)
        return false;
    bool free = load_relaxed(&wal->sleeping) == WAL_SLEEPING && !wal->stood_in_for &&
                !wal->awaited && is_little_to_do(wal);
    if (free)
        wal->stood_in_for = true;
    pthread_mutex_unlock(&wal->mutex);
    return free;
}

static void stand_in_end(struct wal *wal, bool more)
{
    pthread_mutex_lock(&wal->mutex);
    wal->stood_in_for = false;
    if (more || wal->awaited || load_seq_cst(&wal->kicked) != 0)
        pthread_cond_signal(&wal->wake);
    pthread_mutex_unlock(&wal->mutex);
}

/* A write that is not through is left to the log writer. */
static void stand_in(struct wal *wal)
{
    uint64_t began_ns = now_ns(), sequence = wal->sequence;
    epoch_begin(wal);
    reap(wal, false);
    uint64_t ended_ns = now_ns();
    if (epochs_inflight(wal) > 0 || ended_ns - began_ns > wal->stand_in_slow_ns)
        wal->stand_in_ns = ended_ns + WAL_STAND_IN_REST_NS;
    if (wal->sequence > sequence)
        atomic_fetch_add_explicit(&wal->stats.stood_in, 1, memory_order_relaxed);
}

void wal_write_now(struct wal *wal)
{
    if (!stand_in_begin(wal)) {
        wal_kick(wal);
        return;
    }
    bool flushed = is_flushed(wal);
    if (load_seq_cst(&wal->clock) != load_relaxed(&wal->last_cut))
        stand_in(wal);
    stand_in_end(wal, flushed != is_flushed(wal) || flush_is_due(wal) || epochs_inflight(wal) > 0 ||
                          wal_failed(wal));
}

/* ---------------------------------------------------------------------------------- the thread */

static void sleep_until_closing(struct wal *wal)
{
    while (wal->writes > 0)
        reap(wal, true);
    pthread_mutex_lock(&wal->mutex);
    while (!load_seq_cst(&wal->closing))
        pthread_cond_wait(&wal->wake, &wal->mutex);
    pthread_mutex_unlock(&wal->mutex);
}

static void found_nothing(struct wal *wal)
{
    void (*tell)(struct wal * wal) = load_acquire(&wal->found_nothing);
    if (tell != NULL)
        tell(wal);
}

/* False: it has what it waits for, or somebody waits for it. */
static bool gathers(const struct wal *wal, uint64_t ts)
{
    return load_seq_cst(&wal->clock) < ts && !load_seq_cst(&wal->closing) &&
           load_seq_cst(&wal->flush_wanted) <= load_relaxed(&wal->last_cut) &&
           load_seq_cst(&wal->room_waiters) == 0;
}

/* Before an epoch ends, see the top. */
static void gather(struct wal *wal)
{
    uint64_t ts = load_relaxed(&wal->last_cut) + wal->gather_commits;
    uint64_t deadline_ns = wal->gather_from_ns + load_relaxed(&wal->gather_ns);
    uint64_t before = load_seq_cst(&wal->clock);
    if (wal->gather_commits == 0 || epochs_inflight(wal) > 0 || !gathers(wal, ts) ||
        now_ns() >= deadline_ns)
        return;
    pthread_mutex_lock(&wal->mutex);
    store_seq_cst(&wal->gather_ts, ts);
    while (gathers(wal, ts) && now_ns() < deadline_ns)
        wait_until(wal, deadline_ns);
    store_seq_cst(&wal->gather_ts, 0);
    pthread_mutex_unlock(&wal->mutex);
    wal->gather_commits = 0;
    atomic_fetch_add_explicit(&wal->stats.gathered, 1, memory_order_relaxed);
    if (2 * (load_seq_cst(&wal->clock) - before) < ts - before)
        atomic_fetch_add_explicit(&wal->stats.gathered_in_vain, 1, memory_order_relaxed);
}

static void *writer_main(void *arg)
{
    struct wal *wal = arg;
    log_thread_name("wal-writer");
    for (;;) {
        /* Read first: all that was committed before it was set is found by what follows. */
        bool closing = load_seq_cst(&wal->closing);
        reap(wal, false);
        if (wal_failed(wal))
            break;
        if (!flush_is_late(wal) && cut_is_due(wal)) {
            gather(wal);
            epoch_begin(wal);
        } else if (epochs_inflight(wal) > 0) {
            reap(wal, true);
        } else if (flush_is_due(wal)) {
            flush(wal);
        } else {
            found_nothing(wal);
            if (closing)
                break;
            sleep_a_while(wal);
        }
    }
    if (wal_failed(wal))
        sleep_until_closing(wal);
    return NULL;
}

int wal__writer_start(struct wal *wal)
{
    wal->stand_in_slow_ns = WAL_STAND_IN_SLOW_NS;
    int rc = io_queue_new(wal->options.io, WAL_INFLIGHT_MAX, &wal->queue);
    if (rc != 0)
        return rc;
    int error = pthread_create(&wal->writer, NULL, writer_main, wal);
    if (error != 0)
        return diag_set_errno(ERROR_MEMORY, error, "the log writer does not start");
    wal->writer_started = true;
    return 0;
}

void wal__writer_stop(struct wal *wal)
{
    if (wal->writer_started) {
        store_seq_cst(&wal->closing, true);
        pthread_mutex_lock(&wal->mutex);
        pthread_cond_broadcast(&wal->wake);
        pthread_mutex_unlock(&wal->mutex);
        pthread_join(wal->writer, NULL);
    }
    if (wal->queue != NULL)
        io_queue_delete(wal->queue);
    for (unsigned i = 0; i < WAL_INFLIGHT_MAX; i++)
        block_free(&wal->epochs[i]);
    free(account_gone(ACCOUNT_LOG, wal->scratch));
}
