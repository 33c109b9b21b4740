/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WAL_WAL_FORMAT_H
#define WAL_WAL_FORMAT_H

/*
 * The bytes of the log: segment header, block header, chunk header, record. Pure: no files, no
 * threads.
 *
 * All integers are little-endian. A segment file is a segment header of WAL_ALIGN bytes, then
 * blocks one after the other, each a multiple of WAL_ALIGN, then zeros.
 *
 * Segment header, WAL_ALIGN bytes:
 *       0  u64  magic, "PWAL-SEG"
 *       8  u32  format version
 *      12  u32  checksum of the whole header, with this field taken as zero
 *      16  u64  number of the segment
 *      24  u64  incarnation, from 1
 *      32  u64  salt of the incarnation
 *      40  u64  index of the segment in its incarnation, from 0
 *      48  u64  the previous incarnation (0: none), and where it ended:
 *      56  u64      sequence of its last block
 *      64  u64      segment and
 *      72  u64      offset behind that block
 *      80  u32      checksum of that block's header
 *      84  u32  zero
 *      88  u64  clock: no timestamp of an earlier incarnation is larger
 *      96       zeros
 *
 * Block: a block header, a chunk header for each chunk, the records of the chunks, zeros.
 *
 * Block header, 128 bytes:
 *       0  u64  magic, "PWAL-BLK"
 *       8  u32  format version
 *      12  u32  checksum of block header and chunk headers, with this field taken as zero, seeded
 *               with the salt
 *      16  u64  incarnation
 *      24  u64  sequence, from 1
 *      32  u32  checksum of the previous block's header; of the first segment's for block 1
 *      36  u32  number of chunks
 *      40  u64  sequence known durable when this block was issued
 *      48  u64  previous C
 *      56  u64  C
 *      64  u64  bytes of the block
 *      72  u64  bytes of all records
 *      80  u64  number of records
 *      88  u64  term, and
 *      96  u64  index, both zero until there is replication
 *     104  u64  wall-clock time at which the epoch was cut, ns since 1970; zero: unknown
 *     112  u64  number of the segment; zero in version 1
 *     120       zeros
 *
 * Chunk header, 32 bytes:
 *       0  u32  worker
 *       4  u32  flags; 1: the records are compressed together. Others: zero
 *       8  u64  bytes of its records, as they are in the block
 *      16  u64  number of its records
 *      24  u32  checksum of its records' checksums, in their order
 *      28  u32  checksum of the bytes in the block, if compressed; else zero
 *
 * A compressed chunk is a u64, the bytes of its records, and a zstd frame of them. "Bytes of all
 * records" in the block header are those before compression.
 *
 * Record, a multiple of 8 bytes:
 *       0  u32  bytes of the body
 *       4  u32  checksum of u64 size, u64 ts and the body
 *       8  u64  ts
 *      16       body, zeros
 *
 * Version 2 has compression, and the segment's number and the time in block headers. Version 1 is
 * read; there the number and the time are zero.
 *
 * The checksums are CRC-32C. The number in the block headers tells what a segment that was made of
 * an older one still has of it, behind its own blocks. The salt is a random number of the
 * incarnation: no body that a client chose can pass for a block when the rest of a damaged log is
 * searched for block headers.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WAL_ALIGN = 4096,
    WAL_FORMAT_VERSION = 2,
    WAL_FORMAT_VERSION_OLDEST = 1,
    WAL_CHUNK_COMPRESSED = 1, /* in the flags of a chunk */
    WAL_RECORD_HEADER_SIZE = 16,
    WAL_CHUNKS_MAX = 65536,
    WAL_UNPACKED_BYTES_MAX = 1 << 30, /* bytes of all records of a block with a compressed chunk */
};

#define WAL_SEGMENT_MAGIC UINT64_C(0x4745532d4c415750) /* "PWAL-SEG" */
#define WAL_BLOCK_MAGIC   UINT64_C(0x4b4c422d4c415750) /* "PWAL-BLK" */

struct wal_segment_header {
    uint64_t magic;
    uint32_t version;
    uint32_t checksum;
    uint64_t number;
    uint64_t incarnation;
    uint64_t salt;
    uint64_t index;
    uint64_t previous_incarnation; /* 0: there was none */
    uint64_t end_sequence;
    uint64_t end_segment;
    uint64_t end_offset;
    uint32_t end_checksum;
    uint32_t zero;
    uint64_t clock;
};

struct wal_block_header {
    uint64_t magic;
    uint32_t version;
    uint32_t checksum;
    uint64_t incarnation;
    uint64_t sequence;
    uint32_t previous_checksum;
    uint32_t chunks;
    uint64_t durable_sequence;
    uint64_t previous_c;
    uint64_t c;
    uint64_t block_bytes;
    uint64_t data_bytes;
    uint64_t records;
    uint64_t term;
    uint64_t index;
    uint64_t time;
    uint64_t segment;
    uint64_t zero;
};

struct wal_chunk_header {
    uint32_t worker;
    uint32_t flags;
    uint64_t bytes;
    uint64_t records;
    uint32_t sum;
    uint32_t stored_checksum;
};

struct wal_record_header {
    uint32_t size;
    uint32_t checksum;
    uint64_t ts;
};

/* Bytes that a record with a body of `size` takes. */
static inline uint64_t wal_record_bytes(uint64_t size)
{
    return WAL_RECORD_HEADER_SIZE + ((size + 7) & ~UINT64_C(7));
}

/* Bytes of the headers of a block with `chunks` chunks. */
static inline uint64_t wal_block_header_bytes(uint64_t chunks)
{
    return sizeof(struct wal_block_header) + chunks * sizeof(struct wal_chunk_header);
}

static inline uint64_t wal_align_up(uint64_t bytes)
{
    return (bytes + WAL_ALIGN - 1) & ~(uint64_t)(WAL_ALIGN - 1);
}

/* The checksum of a record. */
uint32_t wal_record_checksum(uint64_t ts, const void *body, uint32_t size);

/* Fills a page of WAL_ALIGN bytes with the header, whose magic, version and checksum are set here.
 */
void wal_segment_header_encode(struct wal_segment_header *header, void *page);

/* Reads and checks a page of WAL_ALIGN bytes. 0, or ERROR_CORRUPT or ERROR_VERSION (a newer format,
 * or the other order of bytes), then *check says which check failed. */
int wal_segment_header_decode(const void *page, struct wal_segment_header *out, const char **check);

/* Sets magic, version and checksum of the header at the start of `block`, whose chunk headers stand
 * behind it. */
void wal_block_header_seal(void *block, uint64_t salt);

/*
 * True when `page` (at least WAL_ALIGN bytes, of a file with `available` bytes from there on)
 * begins with what may be a block header; fills *out. The sizes in it are then consistent with each
 * other and with `available`, but no checksum has been looked at.
 */
bool wal_block_header_peek(const void *page, uint64_t available, struct wal_block_header *out);

/* True when the checksum over the header and the chunk headers, all at `headers`, holds. */
bool wal_block_header_verify(const void *headers, uint64_t salt);

/* Memory for the records of compressed blocks, kept from one to the next. Starts as zeros. */
struct wal_unpacked {
    char *data;
    size_t bytes;
};
void wal_unpacked_destroy(struct wal_unpacked *unpacked);

/*
 * Checks chunks and records of a whole block whose header has been verified. *records becomes where
 * its records are, one after the other: in the block, or in `unpacked` if any chunk is compressed.
 * *check is NULL when all is well, else which check failed. 0 or ERROR_MEMORY.
 */
int wal_block_body_check(const void *block, struct wal_unpacked *unpacked, const void **records,
                         const char **check);

/* Calls `each` for every record of a block that has been checked; stops at a nonzero result and
 * returns it. */
int wal_block_each(const void *block, const void *records,
                   int (*each)(uint64_t ts, const void *body, size_t size, void *arg), void *arg);

/* Compresses the records of a chunk to `out`, which has `bytes` bytes of room. Returns the size, or
 * 0 when it would not be smaller than `bytes`. */
size_t wal_chunk_compress(const void *records, size_t bytes, void *out);

#endif
