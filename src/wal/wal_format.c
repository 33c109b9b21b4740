/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding and checking of the log's bytes. The layout is in wal_format.h.
 *
 * Everything that is read may be anything: each size is checked against what is there before it is
 * used, in 64 bits and by subtraction from what remains, so that nothing can overflow. Structs are
 * copied in and out, never pointed into the bytes, since fuzzed input and bodies have no alignment
 * that one could rely on.
 */
#include "wal/wal_format.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "codec/compress.h"
#include "codec/crc32c.h"

STATIC_ASSERT(sizeof(struct wal_segment_header) == 96);
STATIC_ASSERT(sizeof(struct wal_block_header) == 128);
STATIC_ASSERT(sizeof(struct wal_chunk_header) == 32);
STATIC_ASSERT(sizeof(struct wal_record_header) == WAL_RECORD_HEADER_SIZE);
STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

uint32_t wal_record_checksum(uint64_t ts, const void *body, uint32_t size)
{
    const uint64_t head[2] = {size, ts};
    return crc32c(crc32c(0, head, sizeof(head)), body, size);
}

void wal_segment_header_encode(struct wal_segment_header *header, void *page)
{
    header->magic = WAL_SEGMENT_MAGIC;
    header->version = WAL_FORMAT_VERSION;
    header->checksum = 0;
    memset(page, 0, WAL_ALIGN);
    memcpy(page, header, sizeof(*header));
    header->checksum = crc32c(0, page, WAL_ALIGN);
    memcpy(page, header, sizeof(*header));
}

/* CRC-32C of `size` bytes with the four at `hole` taken as zero. */
static uint32_t checksum_without(uint32_t seed, const void *data, size_t size, size_t hole)
{
    static const char zeros[4];
    const char *bytes = data;
    uint32_t crc = crc32c(seed, bytes, hole);
    crc = crc32c(crc, zeros, sizeof(zeros));
    return crc32c(crc, bytes + hole + sizeof(zeros), size - hole - sizeof(zeros));
}

int wal_segment_header_decode(const void *page, struct wal_segment_header *out, const char **check)
{
    memcpy(out, page, sizeof(*out));
    *check = "order of bytes";
    if (out->magic == __builtin_bswap64(WAL_SEGMENT_MAGIC))
        return ERROR_VERSION;
    *check = "segment magic";
    if (out->magic != WAL_SEGMENT_MAGIC)
        return ERROR_CORRUPT;
    *check = "segment header checksum";
    if (out->checksum !=
        checksum_without(0, page, WAL_ALIGN, offsetof(struct wal_segment_header, checksum)))
        return ERROR_CORRUPT;
    *check = "segment format version";
    if (out->version > WAL_FORMAT_VERSION)
        return ERROR_VERSION;
    if (out->version < WAL_FORMAT_VERSION_OLDEST)
        return ERROR_CORRUPT;
    *check = NULL;
    return 0;
}

static uint32_t block_checksum(const void *headers, uint32_t chunks, uint64_t salt)
{
    uint32_t seed = crc32c(0, &salt, sizeof(salt));
    return checksum_without(seed, headers, wal_block_header_bytes(chunks),
                            offsetof(struct wal_block_header, checksum));
}

void wal_block_header_seal(void *block, uint64_t salt)
{
    struct wal_block_header header;
    memcpy(&header, block, sizeof(header));
    header.magic = WAL_BLOCK_MAGIC;
    header.version = WAL_FORMAT_VERSION;
    memcpy(block, &header, sizeof(header));
    header.checksum = block_checksum(block, header.chunks, salt);
    memcpy(block, &header, sizeof(header));
}

bool wal_block_header_peek(const void *page, uint64_t available, struct wal_block_header *out)
{
    memcpy(out, page, sizeof(*out));
    if (out->magic != WAL_BLOCK_MAGIC || out->chunks > WAL_CHUNKS_MAX)
        return false;
    uint64_t headers = wal_block_header_bytes(out->chunks);
    return out->block_bytes % WAL_ALIGN == 0 && out->block_bytes <= available &&
           headers <= out->block_bytes;
}

bool wal_block_header_verify(const void *headers, uint64_t salt)
{
    struct wal_block_header header;
    memcpy(&header, headers, sizeof(header));
    return header.checksum == block_checksum(headers, header.chunks, salt);
}

static bool all_zero(const char *bytes, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Checks one chunk of exactly chunk->bytes at `bytes`. */
static const char *chunk_check(const struct wal_block_header *header,
                               const struct wal_chunk_header *chunk, const char *bytes)
{
    uint64_t left = chunk->bytes, ts = header->previous_c;
    uint32_t sum = 0;
    for (uint64_t i = 0; i < chunk->records; i++) {
        struct wal_record_header record;
        if (left < sizeof(record))
            return "record header beyond its chunk";
        memcpy(&record, bytes, sizeof(record));
        uint64_t size = wal_record_bytes(record.size);
        if (left < size)
            return "record beyond its chunk";
        const char *body = bytes + sizeof(record);
        if (!MUTATION(RECORDS_NOT_SUMMED) &&
            record.checksum != wal_record_checksum(record.ts, body, record.size))
            return "record checksum";
        if (!all_zero(body + record.size, size - sizeof(record) - record.size))
            return "record padding";
        if (record.ts <= header->previous_c || record.ts > header->c)
            return "record timestamp outside of its block";
        if (record.ts < ts)
            return "record timestamps descend";
        ts = record.ts;
        sum = crc32c(sum, &record.checksum, sizeof(record.checksum));
        bytes += size;
        left -= size;
    }
    if (left != 0)
        return "chunk size";
    return sum == chunk->sum ? NULL : "chunk sum";
}

static void chunk_at(const void *block, uint32_t i, struct wal_chunk_header *out)
{
    memcpy(out, (const char *)block + wal_block_header_bytes(i), sizeof(*out));
}

/* Checks that the chunks fill exactly what the header says, as they are in the block; *compressed
 * tells whether any is. */
static const char *chunks_check(const void *block, const struct wal_block_header *header,
                                bool *compressed)
{
    uint64_t left = header->block_bytes - wal_block_header_bytes(header->chunks), bytes = 0;
    *compressed = false;
    for (uint32_t i = 0; i < header->chunks; i++) {
        struct wal_chunk_header chunk;
        chunk_at(block, i, &chunk);
        if (chunk.flags & ~(uint32_t)WAL_CHUNK_COMPRESSED ||
            (chunk.flags != 0 && header->version < 2))
            return "chunk flags";
        if (chunk.bytes > left)
            return "chunk beyond its block";
        *compressed |= chunk.flags != 0;
        left -= chunk.bytes;
        bytes += chunk.bytes;
    }
    if (*compressed)
        return header->data_bytes <= WAL_UNPACKED_BYTES_MAX ? NULL
                                                            : "bytes of records in the block";
    return bytes == header->data_bytes ? NULL : "bytes of records in the block";
}

void wal_unpacked_destroy(struct wal_unpacked *unpacked)
{
    free(unpacked->data);
    *unpacked = (struct wal_unpacked){0};
}

static int unpacked_reserve(struct wal_unpacked *unpacked, uint64_t bytes)
{
    if (unpacked->bytes >= bytes)
        return 0;
    wal_unpacked_destroy(unpacked);
    unpacked->data = malloc(bytes);
    if (unpacked->data == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for a log block of %llu bytes",
                        (unsigned long long)bytes);
    unpacked->bytes = bytes;
    return 0;
}

/* Unpacks one chunk from `bytes` to `out`, which has `room`; *size becomes the bytes of its
 * records. */
static int chunk_unpack(const struct wal_chunk_header *chunk, const char *bytes, char *out,
                        uint64_t room, uint64_t *size, const char **check)
{
    *size = chunk->bytes;
    if (chunk->flags == 0) {
        *check = chunk->bytes <= room ? NULL : "bytes of records in the block";
        if (*check == NULL)
            memcpy(out, bytes, chunk->bytes);
        return 0;
    }
    *check = "size of a compressed chunk";
    if (chunk->bytes < sizeof(*size))
        return 0;
    memcpy(size, bytes, sizeof(*size));
    *check = "checksum of a compressed chunk";
    if (crc32c(0, bytes, chunk->bytes) != chunk->stored_checksum)
        return 0;
    *check = "bytes of records in the block";
    if (*size > room)
        return 0;
    int rc = decompress_zstd(out, *size, bytes + sizeof(*size), chunk->bytes - sizeof(*size));
    *check = rc == ERROR_CORRUPT ? "compressed chunk" : NULL;
    return rc == ERROR_MEMORY ? diag_set(rc, "out of memory to decompress the log") : 0;
}

/* Where the records are as they were appended: in the block, or unpacked. */
static int block_unpack(const void *block, const struct wal_block_header *header,
                        struct wal_unpacked *unpacked, const void **records, const char **check)
{
    bool compressed;
    const char *bytes = (const char *)block + wal_block_header_bytes(header->chunks);
    *records = bytes;
    *check = chunks_check(block, header, &compressed);
    if (*check != NULL || !compressed)
        return 0;
    int rc = unpacked_reserve(unpacked, header->data_bytes + 1);
    uint64_t at = 0;
    for (uint32_t i = 0; rc == 0 && *check == NULL && i < header->chunks; i++) {
        struct wal_chunk_header chunk;
        uint64_t size;
        chunk_at(block, i, &chunk);
        rc =
            chunk_unpack(&chunk, bytes, unpacked->data + at, header->data_bytes - at, &size, check);
        bytes += chunk.bytes;
        at += size;
    }
    *records = unpacked->data;
    if (rc == 0 && *check == NULL && at != header->data_bytes)
        *check = "bytes of records in the block";
    return rc;
}

/* The bytes of a chunk's records before compression. */
static uint64_t chunk_data_bytes(const struct wal_chunk_header *chunk, const char *stored)
{
    uint64_t bytes = chunk->bytes;
    if (chunk->flags & WAL_CHUNK_COMPRESSED)
        memcpy(&bytes, stored, sizeof(bytes));
    return bytes;
}

int wal_block_body_check(const void *block, struct wal_unpacked *unpacked, const void **records,
                         const char **check)
{
    struct wal_block_header header;
    memcpy(&header, block, sizeof(header));
    *check = "block format version";
    if (header.version > WAL_FORMAT_VERSION || header.version < WAL_FORMAT_VERSION_OLDEST)
        return 0;
    int rc = block_unpack(block, &header, unpacked, records, check);
    if (rc != 0 || *check != NULL)
        return rc;
    const char *bytes = *records;
    const char *stored = (const char *)block + wal_block_header_bytes(header.chunks);
    uint64_t count = 0;
    for (uint32_t i = 0; i < header.chunks; i++) {
        struct wal_chunk_header chunk;
        chunk_at(block, i, &chunk);
        uint64_t stored_bytes = chunk.bytes;
        chunk.bytes = chunk_data_bytes(&chunk, stored);
        *check = chunk_check(&header, &chunk, bytes);
        if (*check != NULL)
            return 0;
        bytes += chunk.bytes;
        stored += stored_bytes;
        count += chunk.records;
    }
    *check = count == header.records ? NULL : "number of records in the block";
    return 0;
}

int wal_block_each(const void *block, const void *records,
                   int (*each)(uint64_t ts, const void *body, size_t size, void *arg), void *arg)
{
    struct wal_block_header header;
    memcpy(&header, block, sizeof(header));
    const char *bytes = records;
    for (uint64_t i = 0; i < header.records; i++) {
        struct wal_record_header record;
        memcpy(&record, bytes, sizeof(record));
        int rc = each(record.ts, bytes + sizeof(record), record.size, arg);
        if (rc != 0)
            return rc;
        bytes += wal_record_bytes(record.size);
    }
    return 0;
}

size_t wal_chunk_compress(const void *records, size_t bytes, void *out)
{
    const uint64_t size = bytes;
    if (bytes <= sizeof(size) || bytes > WAL_UNPACKED_BYTES_MAX)
        return 0;
    int64_t frame = compress_zstd((char *)out + sizeof(size), bytes - sizeof(size), records, bytes);
    if (frame <= 0)
        return 0;
    memcpy(out, &size, sizeof(size));
    return sizeof(size) + (size_t)frame;
}
