/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring in which a worker leaves its commit records for the log writer.
 *
 * One producer, the worker, and one consumer, the log writer (Lamport's ring: each end writes one
 * position, on a cache line of its own). A record in the ring has the bytes it will have in the
 * log, so that the log writer copies and does not convert; the checksum was computed by the worker,
 * while the body was in its cache.
 *
 * A record larger than half the ring does not travel through it: wal_reserve allocates memory for
 * the whole record, and what stands in the ring is a record header with WAL_RECORD_EXTERNAL in its
 * size and, behind it, the pointer. The log writer frees it. So the largest record is limited by
 * memory, not by the ring, and a worker is never in the middle of one. That memory has room for a
 * block's headers in front and for its padding behind:
 *
 *      | block header | chunk header | record header | body | zeros |
 *      page           +128           +160            +176           page
 *
 * The worker builds the body where it is going to stay (wal_reserved_body), and when the record is
 * all that an epoch has, which large ones mostly are, its memory is the block that is written.
 *
 * Invariant 4: between wal_begin and wal_end nothing here waits, allocates or fails. All of that is
 * in wal_reserve; the room that it has seen can only grow, since this worker alone takes from it.
 *
 * The cut (invariant 1): wal_begin stores a lower bound of the timestamp that is going to be taken,
 * sequentially consistent, before the clock is advanced. The log writer reads the clock, C, and
 * then looks at the bound. If some worker's timestamp is at most C, its advance of the clock came
 * before that read, so its store came before that look: the log writer sees the bound, or a later
 * state in which the record is in the ring.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "codec/crc32c.h"
#include "mem/account.h"
#include "mem/system.h"
#include "wal/wal_internal.h"

enum { EXTERNAL_ENTRY_BYTES = WAL_RECORD_HEADER_SIZE + 8, PAGE_BYTES = 4096 };

STATIC_ASSERT(sizeof(void *) == 8);

/* ---------------------------------------------------------------------- memory of one large record */

/* Of a whole record of so many bytes, with what a block has around it. */
static uint64_t external_memory_bytes(uint64_t bytes)
{
    return wal_align_up(wal_block_header_bytes(1) + bytes);
}

static bool is_mapped(uint64_t memory_bytes)
{
    return memory_bytes >= 2 * (uint64_t)SYSTEM_HUGE_BYTES;
}

/* Until it becomes a block it begins with its own size. */
static unsigned char *external_new(uint64_t bytes)
{
    uint64_t memory_bytes = external_memory_bytes(bytes);
    unsigned char *memory;
    if (is_mapped(memory_bytes)) {
        if ((memory = system_map_large(memory_bytes)) != NULL)
            account_add(ACCOUNT_LOG, (int64_t)memory_bytes);
    } else {
        memory = account_made(ACCOUNT_LOG, aligned_alloc(IO_ALIGN, memory_bytes));
    }
    if (memory != NULL)
        memcpy(memory, &memory_bytes, sizeof(memory_bytes));
    return memory;
}

static uint64_t external_size(const unsigned char *memory)
{
    uint64_t memory_bytes;
    memcpy(&memory_bytes, memory, sizeof(memory_bytes));
    return memory_bytes;
}

void wal__external_delete(unsigned char *memory, uint64_t memory_bytes)
{
    if (memory == NULL)
        return;
    if (!is_mapped(memory_bytes)) {
        free(account_gone(ACCOUNT_LOG, memory));
        return;
    }
    account_add(ACCOUNT_LOG, -(int64_t)memory_bytes);
    system_unmap_large(memory, memory_bytes);
}

static void external_delete(unsigned char *memory)
{
    if (memory != NULL)
        wal__external_delete(memory, external_size(memory));
}

static unsigned char *external_record(unsigned char *memory)
{
    return memory + wal_block_header_bytes(1);
}

int wal__buffer_new(struct wal *wal, unsigned number, struct wal_buffer **out)
{
    struct wal_buffer *buffer = aligned_alloc(CACHE_LINE_SIZE, sizeof(*buffer));
    if (buffer == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for a log buffer");
    memset(buffer, 0, sizeof(*buffer));
    buffer->ring = account_made(ACCOUNT_LOG, malloc(wal->options.buffer_bytes));
    if (buffer->ring == NULL) {
        free(buffer);
        return diag_set(ERROR_MEMORY, "out of memory for a log buffer of %zu bytes",
                        wal->options.buffer_bytes);
    }
    buffer->wal = wal;
    buffer->number = number;
    buffer->mask = wal->options.buffer_bytes - 1;
    *out = buffer;
    return 0;
}

static void ring_write(struct wal_buffer *buffer, uint64_t position, const void *data, size_t size)
{
    if (size == 0)
        return;
    size_t at = position & buffer->mask, first = buffer->mask + 1 - at;
    if (first > size)
        first = size;
    memcpy(buffer->ring + at, data, first);
    memcpy(buffer->ring, (const char *)data + first, size - first);
}

static void ring_read(const struct wal_buffer *buffer, uint64_t position, void *out, size_t size)
{
    size_t at = position & buffer->mask, first = buffer->mask + 1 - at;
    if (first > size)
        first = size;
    memcpy(out, buffer->ring + at, first);
    memcpy((char *)out + first, buffer->ring, size - first);
}

static unsigned char *external_at(const struct wal_buffer *buffer, uint64_t position)
{
    unsigned char *memory;
    ring_read(buffer, position + WAL_RECORD_HEADER_SIZE, &memory, sizeof(memory));
    return memory;
}

/* What was reserved and not used. */
static void external_release(struct wal_buffer *buffer)
{
    external_delete(buffer->external);
    buffer->external = NULL;
    buffer->external_bytes = 0;
}

void wal__buffer_delete(struct wal_buffer *buffer)
{
    struct wal_take rest;
    wal__buffer_take(buffer, UINT64_MAX, &rest);
    for (uint64_t at = rest.from; rest.external && at < rest.to;) {
        struct wal_record_header record;
        ring_read(buffer, at, &record, sizeof(record));
        bool external = record.size & WAL_RECORD_EXTERNAL;
        uint64_t bytes = wal_record_bytes(record.size & ~WAL_RECORD_EXTERNAL);
        if (external)
            external_delete(external_at(buffer, at));
        at += external ? (uint64_t)EXTERNAL_ENTRY_BYTES : bytes;
    }
    external_release(buffer);
    free(account_gone(ACCOUNT_LOG, buffer->ring));
    free(buffer);
}

/* ----------------------------------------------------------------------------- the worker's end */

static uint64_t external_outstanding(struct wal_buffer *buffer)
{
    return load_relaxed(&buffer->external_in) - load_seq_cst(&buffer->external_out);
}

static bool has_room(struct wal_buffer *buffer, size_t ring_bytes, size_t external_bytes)
{
    uint64_t head = load_relaxed(&buffer->head);
    if (buffer->mask + 1 - (head - buffer->tail_seen) < ring_bytes) {
        buffer->tail_seen = load_seq_cst(&buffer->tail);
        if (buffer->mask + 1 - (head - buffer->tail_seen) < ring_bytes)
            return false;
    }
    if (external_bytes == 0)
        return true;
    uint64_t outstanding = external_outstanding(buffer);
    return outstanding == 0 || outstanding + external_bytes <= WAL_EXTERNAL_BYTES_MAX;
}

/* Waits until the log writer has taken enough. The writer stores `tail` and then looks at
 * room_waiters, this stores room_waiters and then looks at `tail`: one of them sees the other. */
static void wait_for_room(struct wal_buffer *buffer, size_t ring_bytes, size_t external_bytes)
{
    struct wal *wal = buffer->wal;
    atomic_fetch_add(&wal->room_waiters, 1);
    pthread_mutex_lock(&wal->mutex);
    while (!has_room(buffer, ring_bytes, external_bytes) && !wal_failed(wal)) {
        pthread_mutex_unlock(&wal->mutex);
        wal_kick(wal);
        pthread_mutex_lock(&wal->mutex);
        if (!has_room(buffer, ring_bytes, external_bytes) && !wal_failed(wal))
            pthread_cond_wait(&wal->room, &wal->mutex);
    }
    pthread_mutex_unlock(&wal->mutex);
    atomic_fetch_sub(&wal->room_waiters, 1);
}

static int reserve_external(struct wal_buffer *buffer, size_t bytes)
{
    if (buffer->external_bytes == bytes)
        return 0;
    external_release(buffer);
    buffer->external = external_new(bytes);
    if (buffer->external == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for a log record of %zu bytes", bytes);
    buffer->external_bytes = bytes;
    return 0;
}

int wal_reserve(struct wal_buffer *buffer, size_t size)
{
    struct wal *wal = buffer->wal;
    ASSERT(load_relaxed(&buffer->inflight) == 0 || MUTATION(RESERVED_LATE));
    if (size > WAL_RECORD_SIZE_MAX)
        return diag_set(ERROR_TOO_LARGE,
                        "a transaction of %zu bytes is larger than a log record may be (%d)", size,
                        WAL_RECORD_SIZE_MAX);
    size_t bytes = wal_record_bytes(size);
    size_t external = bytes > (buffer->mask + 1) / 2 ? bytes : 0;
    size_t ring = external ? (size_t)EXTERNAL_ENTRY_BYTES : bytes;
    buffer->reserved = 0;
    buffer->external_wanted = false;
    if (external) {
        int rc = reserve_external(buffer, external);
        if (rc != 0)
            return rc;
    } else if (buffer->external != NULL) {
        external_release(buffer);
    }
    if (!wal_failed(wal) && !has_room(buffer, ring, external))
        wait_for_room(buffer, ring, external);
    if (wal_failed(wal))
        return diag_set(ERROR_LOG_FAILED, "writes are refused until restart: %s", wal_failure(wal));
    buffer->reserved = ring;
    buffer->external_wanted = external != 0;
    return 0;
}

void *wal_reserved_body(struct wal_buffer *buffer)
{
    return buffer->external_wanted ? external_record(buffer->external) + WAL_RECORD_HEADER_SIZE
                                   : NULL;
}

void wal_begin(struct wal_buffer *buffer)
{
    ASSERT(load_relaxed(&buffer->inflight) == 0);
    store_seq_cst(&buffer->inflight, load_seq_cst(&buffer->wal->clock) + 1);
}

/* True when more than half of the ring waits for the log writer. */
static bool is_half_full(struct wal_buffer *buffer)
{
    uint64_t head = load_relaxed(&buffer->head), half = (buffer->mask + 1) / 2;
    if (head - buffer->tail_seen <= half)
        return false;
    buffer->tail_seen = load_acquire(&buffer->tail);
    return head - buffer->tail_seen > half;
}

/* Under none nobody else would wake the log writer. It is not asked for an epoch, or each commit
 * after an epoch would make one of its own; it takes up napping until one is due. */
static void wake_to_nap(struct wal *wal)
{
    unsigned sleeping = WAL_SLEEPING;
    if (load_seq_cst(&wal->sleeping) != WAL_SLEEPING ||
        !atomic_compare_exchange_strong(&wal->sleeping, &sleeping, WAL_NAPPING))
        return;
    pthread_mutex_lock(&wal->mutex);
    pthread_cond_signal(&wal->wake);
    pthread_mutex_unlock(&wal->mutex);
}

void wal_end(struct wal_buffer *buffer)
{
    struct wal *wal = buffer->wal;
    store_seq_cst(&buffer->inflight, 0);
    buffer->reserved = 0;
    if (is_half_full(buffer))
        wal_kick(wal);
    else if (wal->options.durability == WAL_DURABILITY_NONE)
        wake_to_nap(wal);
}

static void append_external(struct wal_buffer *buffer, const struct wal_record_header *header,
                            const void *body)
{
    static const char zeros[8];
    size_t bytes = wal_record_bytes(header->size);
    unsigned char *record = external_record(buffer->external);
    ASSERT(bytes <= buffer->external_bytes);
    memcpy(record, header, sizeof(*header));
    if (header->size > 0 && body != record + sizeof(*header))
        memcpy(record + sizeof(*header), body, header->size);
    memcpy(record + sizeof(*header) + header->size, zeros, bytes - sizeof(*header) - header->size);

    struct wal_record_header entry = *header;
    uint64_t head = load_relaxed(&buffer->head);
    entry.size |= WAL_RECORD_EXTERNAL;
    ring_write(buffer, head, &entry, sizeof(entry));
    ring_write(buffer, head + sizeof(entry), &buffer->external, sizeof(void *));
    buffer->external = NULL;
    buffer->external_bytes = 0;
    buffer->external_wanted = false;
    buffer->reserved = 0;
    store_relaxed(&buffer->external_in, load_relaxed(&buffer->external_in) + bytes);
    store_release(&buffer->head, head + EXTERNAL_ENTRY_BYTES);
}

void wal_append(struct wal_buffer *buffer, uint64_t ts, const void *body, size_t size)
{
    static const char zeros[8];
    ASSERT(load_relaxed(&buffer->inflight) != 0);
    ASSERT(ts >= load_relaxed(&buffer->inflight));
    ASSERT(ts >= buffer->last_ts);
    ASSERT(size <= WAL_RECORD_SIZE_MAX);
    buffer->last_ts = ts;
    struct wal_record_header header = {
        .size = (uint32_t)size,
        .checksum = wal_record_checksum(ts, body, (uint32_t)size),
        .ts = ts,
    };
    if (buffer->external_wanted) {
        append_external(buffer, &header, body);
        return;
    }
    size_t bytes = wal_record_bytes(size);
    ASSERT(bytes <= buffer->reserved);
    uint64_t head = load_relaxed(&buffer->head);
    ring_write(buffer, head, &header, sizeof(header));
    ring_write(buffer, head + sizeof(header), body, size);
    ring_write(buffer, head + sizeof(header) + size, zeros, bytes - sizeof(header) - size);
    buffer->reserved -= bytes;
    store_release(&buffer->head, head + bytes);
}

/* What lies in the ring has been taken, and nobody but this worker puts anything there. */
void wal_buffer_trim(struct wal_buffer *buffer)
{
    uint64_t head = load_relaxed(&buffer->head);
    ASSERT(load_relaxed(&buffer->inflight) == 0);
    if (head - buffer->trimmed < WAL_IDLE_KEEP_BYTES || load_acquire(&buffer->tail) != head)
        return;
    uintptr_t begin = ((uintptr_t)buffer->ring + PAGE_BYTES - 1) & -(uintptr_t)PAGE_BYTES;
    uintptr_t end = ((uintptr_t)buffer->ring + buffer->mask + 1) & -(uintptr_t)PAGE_BYTES;
    if (begin < end)
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
    buffer->trimmed = head;
}

/* ------------------------------------------------------------------------- the log writer's end */

void wal__buffer_wait(const struct wal_buffer *buffer, uint64_t c)
{
    uint64_t bound;
    unsigned turn = 0;
    while ((bound = load_seq_cst(&buffer->inflight)) != 0 && bound <= c)
        spin_wait(&turn);
}

void wal__buffer_take(struct wal_buffer *buffer, uint64_t c, struct wal_take *out)
{
    uint64_t at = load_relaxed(&buffer->tail), head = load_acquire(&buffer->head);
    *out = (struct wal_take){.buffer = buffer, .from = at, .to = at};
    while (at < head) {
        struct wal_record_header record;
        ring_read(buffer, at, &record, sizeof(record));
        if (record.ts > c)
            break;
        bool external = record.size & WAL_RECORD_EXTERNAL;
        uint64_t bytes = wal_record_bytes(record.size & ~WAL_RECORD_EXTERNAL);
        at += external ? (uint64_t)EXTERNAL_ENTRY_BYTES : bytes;
        out->external |= external;
        out->external_bytes += external ? bytes : 0;
        out->bytes += bytes;
        out->records++;
        out->sum = crc32c(out->sum, &record.checksum, sizeof(record.checksum));
    }
    out->to = at;
}

/* Records one by one, since some are elsewhere. */
static void copy_external(const struct wal_take *take, unsigned char *out)
{
    const struct wal_buffer *buffer = take->buffer;
    for (uint64_t at = take->from; at < take->to;) {
        struct wal_record_header record;
        ring_read(buffer, at, &record, sizeof(record));
        bool external = record.size & WAL_RECORD_EXTERNAL;
        uint64_t bytes = wal_record_bytes(record.size & ~WAL_RECORD_EXTERNAL);
        if (external) {
            unsigned char *memory = external_at(buffer, at);
            memcpy(out, external_record(memory), bytes);
            external_delete(memory);
        } else {
            ring_read(buffer, at, out, bytes);
        }
        out += bytes;
        at += external ? (uint64_t)EXTERNAL_ENTRY_BYTES : bytes;
    }
}

/* The worker may use again what was taken. */
static void take_end(const struct wal_take *take)
{
    struct wal_buffer *buffer = take->buffer;
    if (take->external_bytes > 0)
        store_seq_cst(&buffer->external_out,
                      load_relaxed(&buffer->external_out) + take->external_bytes);
    store_seq_cst(&buffer->tail, take->to);
}

void wal__buffer_copy(const struct wal_take *take, unsigned char *out)
{
    if (take->external)
        copy_external(take, out);
    else
        ring_read(take->buffer, take->from, out, take->to - take->from);
    take_end(take);
}

unsigned char *wal__buffer_block(const struct wal_take *take, uint64_t *memory_bytes)
{
    if (!take->external || take->records != 1)
        return NULL;
    unsigned char *memory = external_at(take->buffer, take->from);
    *memory_bytes = external_size(memory);
    take_end(take);
    return memory;
}

uint64_t wal__pending_bytes(struct wal *wal)
{
    uint64_t bytes = 0;
    unsigned count = load_acquire(&wal->buffer_count);
    for (unsigned i = 0; i < count; i++) {
        struct wal_buffer *buffer = wal->buffers[i];
        bytes += load_relaxed(&buffer->head) - load_relaxed(&buffer->tail);
        bytes += load_relaxed(&buffer->external_in) - load_relaxed(&buffer->external_out);
    }
    return bytes;
}

bool wal__any_begun(struct wal *wal)
{
    unsigned count = load_acquire(&wal->buffer_count);
    for (unsigned i = 0; i < count; i++)
        if (load_relaxed(&wal->buffers[i]->inflight) != 0)
            return true;
    return false;
}
