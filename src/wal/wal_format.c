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

#include <string.h>

#include "base/assert.h"
#include "base/error.h"
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
    *check = "segment magic";
    if (out->magic != WAL_SEGMENT_MAGIC)
        return ERROR_CORRUPT;
    *check = "segment header checksum";
    if (out->checksum !=
        checksum_without(0, page, WAL_ALIGN, offsetof(struct wal_segment_header, checksum)))
        return ERROR_CORRUPT;
    *check = "segment format version";
    if (out->version != WAL_FORMAT_VERSION)
        return out->version > WAL_FORMAT_VERSION ? ERROR_VERSION : ERROR_CORRUPT;
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
           headers <= out->block_bytes && out->data_bytes <= out->block_bytes - headers;
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
        if (record.checksum != wal_record_checksum(record.ts, body, record.size))
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

const char *wal_block_body_check(const void *block)
{
    struct wal_block_header header;
    memcpy(&header, block, sizeof(header));
    if (header.version != WAL_FORMAT_VERSION)
        return "block format version";
    const char *bytes = (const char *)block + wal_block_header_bytes(header.chunks);
    uint64_t left = header.data_bytes, records = 0;
    for (uint32_t i = 0; i < header.chunks; i++) {
        struct wal_chunk_header chunk;
        chunk_at(block, i, &chunk);
        if (chunk.flags != 0)
            return "chunk flags";
        if (chunk.bytes > left)
            return "chunk beyond its block";
        const char *failed = chunk_check(&header, &chunk, bytes);
        if (failed != NULL)
            return failed;
        bytes += chunk.bytes;
        left -= chunk.bytes;
        records += chunk.records;
    }
    if (left != 0)
        return "bytes of records in the block";
    return records == header.records ? NULL : "number of records in the block";
}

int wal_block_each(const void *block,
                   int (*each)(uint64_t ts, const void *body, size_t size, void *arg), void *arg)
{
    struct wal_block_header header;
    memcpy(&header, block, sizeof(header));
    const char *bytes = (const char *)block + wal_block_header_bytes(header.chunks);
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
