/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block of a segment's file, read and checked: for those who read the log from its beginning
 * (wal_replay.c) and those who follow it while it is written (wal_follow.c). What it means that no
 * block is where one must be, they know.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "wal/wal_internal.h"

const char WAL_NOTHING_HERE[] = "block is missing";

struct wal_chain wal__chain_start(const struct wal_segment_header *header)
{
    return (struct wal_chain){.sequence = header->index == 0,
                              .previous_checksum = header->checksum,
                              .previous_c = header->clock};
}

struct wal_chain wal__chain_behind(const struct wal_block_header *header)
{
    return (struct wal_chain){.sequence = header->sequence + 1,
                              .previous_checksum = header->checksum,
                              .previous_c = header->c};
}

int wal__block_file(struct wal_block_reader *reader, uint64_t number)
{
    if (reader->file != NULL && reader->file_number == number)
        return 0;
    if (reader->file != NULL)
        io_close(reader->file);
    reader->file = NULL;
    char name[32];
    wal__segment_name(number, name);
    int rc = io_open(reader->io, name, IO_READ, &reader->file);
    if (rc != 0) {
        reader->file = NULL;
        return rc;
    }
    reader->file_number = number;
    return 0;
}

static int memory_reserve(struct wal_block_reader *reader, uint64_t bytes)
{
    if (reader->memory_bytes >= bytes)
        return 0;
    free(reader->memory);
    reader->memory_bytes = 0;
    reader->memory = malloc(bytes);
    if (reader->memory == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for a log block of %" PRIu64 " bytes", bytes);
    reader->memory_bytes = bytes;
    return 0;
}

int wal__block_bytes(struct wal_block_reader *reader, const struct wal_found *segment,
                     uint64_t offset, uint64_t bytes, bool *whole)
{
    int rc = memory_reserve(reader, bytes);
    if (rc == 0)
        rc = wal__block_file(reader, segment->number);
    if (rc != 0)
        return rc;
    int64_t got = io_read(reader->file, reader->memory, bytes, offset);
    if (got < 0)
        return (int)got;
    *whole = (uint64_t)got == bytes;
    return 0;
}

int wal__block_header(struct wal_block_reader *reader, const struct wal_found *segment,
                      uint64_t offset, struct wal_block_header *out, enum wal_block_state *state,
                      const char **check)
{
    bool whole = false;
    *state = WAL_BLOCK_ABSENT;
    *check = WAL_NOTHING_HERE;
    if (offset > segment->size || segment->size - offset < WAL_ALIGN)
        return 0;
    int rc = wal__block_bytes(reader, segment, offset, WAL_ALIGN, &whole);
    if (rc != 0 || !whole)
        return rc;
    memcpy(out, reader->memory, sizeof(*out));
    if (out->magic == 0)
        return 0;
    *state = WAL_BLOCK_BAD;
    *check = "block magic or sizes";
    if (!wal_block_header_peek(reader->memory, segment->size - offset, out))
        return 0;
    uint64_t bytes = wal_block_header_bytes(out->chunks);
    if (bytes > WAL_ALIGN) {
        rc = wal__block_bytes(reader, segment, offset, bytes, &whole);
        if (rc != 0 || !whole)
            return rc;
    }
    *check = "block header checksum";
    if (!wal_block_header_verify(reader->memory, segment->header.salt))
        return 0;
    *check = "block of another incarnation";
    if (out->incarnation != segment->header.incarnation)
        return 0;
    *check = "block of another segment";
    if (out->segment != 0 && out->segment != segment->number &&
        !(reader->mutations & WAL_MUTATION_STALE))
        return 0;
    *state = WAL_BLOCK_VALID;
    *check = NULL;
    return 0;
}

/* Whether the block is the next one. */
static const char *chain_check(const struct wal_block_reader *reader, const struct wal_chain *chain,
                               const struct wal_block_header *header)
{
    bool any = chain->sequence == 0 || reader->mutations & WAL_MUTATION_STALE;
    if (header->sequence == 0 || (header->sequence != chain->sequence && !any))
        return "block sequence";
    if (header->previous_checksum != chain->previous_checksum && !any)
        return "checksum of the previous block";
    if ((header->previous_c != chain->previous_c && !any) || header->c < header->previous_c)
        return "previous C";
    return NULL;
}

int wal__block_read(struct wal_block_reader *reader, const struct wal_chain *chain,
                    const struct wal_found *segment, uint64_t offset, struct wal_block_header *out,
                    enum wal_block_state *state, const char **check)
{
    int rc = wal__block_header(reader, segment, offset, out, state, check);
    if (rc != 0 || *state != WAL_BLOCK_VALID)
        return rc;
    bool whole = false;
    *state = WAL_BLOCK_BAD;
    *check = chain_check(reader, chain, out);
    if (*check != NULL)
        return 0;
    *check = "sequence known durable";
    if (out->durable_sequence >= out->sequence)
        return 0;
    rc = wal__block_bytes(reader, segment, offset, out->block_bytes, &whole);
    if (rc != 0)
        return rc;
    *check = "block is cut short";
    if (!whole)
        return 0;
    rc = wal_block_body_check(reader->memory, &reader->unpacked, &reader->records, check);
    if (rc == 0 && *check == NULL)
        *state = WAL_BLOCK_VALID;
    return rc;
}

void wal__block_reader_destroy(struct wal_block_reader *reader)
{
    if (reader->file != NULL)
        io_close(reader->file);
    free(reader->memory);
    wal_unpacked_destroy(&reader->unpacked);
}
