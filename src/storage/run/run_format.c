/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding and checking of a run's header, frames, footer and trailer. The layout is in
 * run_format.h.
 *
 * Everything that is read may be anything, even under a right checksum: each size is checked
 * against what is there before it is used, by subtraction from what remains, so that nothing can
 * overflow. Structs are copied in and out, never pointed into the bytes, which have no alignment
 * that one could rely on.
 */
#include "storage/run/run_format.h"

#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "codec/crc32c.h"

STATIC_ASSERT(sizeof(struct run_header) == RUN_HEADER_BYTES);
STATIC_ASSERT(sizeof(struct run_frame) == RUN_FRAME_BYTES);
STATIC_ASSERT(sizeof(struct run_section) == 24);
STATIC_ASSERT(sizeof(struct run_footer) == 88);
STATIC_ASSERT(sizeof(struct run_trailer) == RUN_TRAILER_BYTES);
STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

enum { METHOD_FLAGS = RUN_ZSTD | RUN_LZ4 | RUN_SNAPPY };

uint32_t run_flags_of(enum compress_method method)
{
    return method == COMPRESS_ZSTD     ? RUN_ZSTD
           : method == COMPRESS_LZ4    ? RUN_LZ4
           : method == COMPRESS_SNAPPY ? RUN_SNAPPY
                                       : 0;
}

enum compress_method run_flags_method(uint32_t flags)
{
    return flags & RUN_ZSTD     ? COMPRESS_ZSTD
           : flags & RUN_LZ4    ? COMPRESS_LZ4
           : flags & RUN_SNAPPY ? COMPRESS_SNAPPY
                                : COMPRESS_NONE;
}

bool run_flags_valid(uint32_t flags)
{
    uint32_t methods = flags & METHOD_FLAGS;
    return (flags & ~(uint32_t)(METHOD_FLAGS | RUN_DICTIONARY)) == 0 &&
           (methods & (methods - 1)) == 0 && (!(flags & RUN_DICTIONARY) || methods == RUN_ZSTD);
}

bool run_header_flags_valid(uint32_t flags)
{
    return run_flags_valid(flags & ~(uint32_t)RUN_BORROWS);
}

static uint32_t header_checksum_of(struct run_header header)
{
    header.checksum = 0;
    return crc32c(0, &header, sizeof header);
}

void run_header_encode(struct run_header *header, void *out)
{
    header->magic = RUN_HEADER_MAGIC;
    header->version = RUN_FORMAT_VERSION;
    header->checksum = header_checksum_of(*header);
    memcpy(out, header, sizeof *header);
}

int run_header_decode(const void *bytes, struct run_header *out, const char **check)
{
    memcpy(out, bytes, sizeof *out);
    *check = "was written on a machine of the other byte order, which this program cannot read";
    if (out->magic == __builtin_bswap64(RUN_HEADER_MAGIC))
        return ERROR_VERSION;
    *check = "run header magic: this is no run";
    if (out->magic != RUN_HEADER_MAGIC)
        return ERROR_CORRUPT;
    *check = "run header checksum";
    if (out->checksum != header_checksum_of(*out))
        return ERROR_CORRUPT;
    *check = "has a newer format version than this program knows";
    if (out->version > RUN_FORMAT_VERSION)
        return ERROR_VERSION;
    *check = "run format version";
    if (out->version < 1)
        return ERROR_CORRUPT;
    *check =
        "was made with a feature that this program does not know; use the program that wrote it, "
        "or a later one";
    if (!run_header_flags_valid(out->flags))
        return ERROR_VERSION;
    *check = NULL;
    return 0;
}

/* Of a frame with `size` stored bytes. */
static uint32_t frame_checksum(const void *frame, size_t size, uint64_t offset,
                               uint32_t header_checksum)
{
    uint32_t crc = crc32c(0, &offset, sizeof offset);
    crc = crc32c(crc, &header_checksum, sizeof header_checksum);
    return crc32c(crc, (const char *)frame + 4, RUN_FRAME_BYTES - 4 + size);
}

void run_frame_seal(void *frame, uint64_t offset, uint32_t header_checksum)
{
    struct run_frame header;
    memcpy(&header, frame, sizeof header);
    header.checksum = frame_checksum(frame, header.stored_bytes, offset, header_checksum);
    memcpy(frame, &header, sizeof header);
}

const char *run_frame_decode(const void *bytes, const struct run_extent *extent,
                             uint32_t header_checksum, enum run_frame_kind kind,
                             struct run_frame *out)
{
    if (extent->bytes < RUN_FRAME_BYTES)
        return "block too short";
    memcpy(out, bytes, sizeof *out);
    size_t stored = extent->bytes - RUN_FRAME_BYTES;
    if (out->checksum != frame_checksum(bytes, stored, extent->offset, header_checksum))
        return "block checksum";
    if (out->stored_bytes != stored)
        return "block size";
    if (out->kind != kind)
        return "block kind";
    if (!run_flags_valid(out->flags))
        return "block flags";
    if (out->flags != 0 ? out->bytes > RUN_COMPRESS_BYTES_MAX : out->bytes != stored)
        return "block contents size";
    return NULL;
}

static uint32_t trailer_checksum(struct run_trailer trailer, uint32_t header_checksum)
{
    trailer.checksum = 0;
    uint32_t crc = crc32c(0, &header_checksum, sizeof header_checksum);
    return crc32c(crc, &trailer, sizeof trailer);
}

void run_trailer_encode(struct run_trailer *trailer, uint32_t header_checksum, void *out)
{
    trailer->zero = 0;
    trailer->magic = RUN_TRAILER_MAGIC;
    trailer->checksum = trailer_checksum(*trailer, header_checksum);
    memcpy(out, trailer, sizeof *trailer);
}

const char *run_trailer_decode(const void *bytes, uint64_t file_bytes, uint32_t header_checksum,
                               struct run_trailer *out)
{
    memcpy(out, bytes, sizeof *out);
    if (out->magic != RUN_TRAILER_MAGIC)
        return "run trailer magic: the file has been cut, or was never finished";
    if (out->checksum != trailer_checksum(*out, header_checksum))
        return "run trailer checksum";
    uint64_t end = file_bytes - RUN_TRAILER_BYTES;
    if (out->footer_offset < RUN_HEADER_BYTES || out->footer_offset > end ||
        out->footer_bytes != end - out->footer_offset)
        return "run trailer does not say where the footer is";
    return NULL;
}

uint64_t run_footer_bytes(const struct run_footer *footer)
{
    return sizeof *footer + footer->sections * sizeof(struct run_section) + footer->first_key_size +
           footer->last_key_size;
}

static char *put(char *to, const void *data, size_t size)
{
    if (size > 0)
        memcpy(to, data, size);
    return to + size;
}

void run_footer_encode(const struct run_footer *footer, const struct run_section *sections,
                       const void *first_key, const void *last_key, void *out)
{
    char *to = put(out, footer, sizeof *footer);
    to = put(to, sections, footer->sections * sizeof *sections);
    to = put(to, first_key, footer->first_key_size);
    put(to, last_key, footer->last_key_size);
}

/* Sections follow each other between the rows and the footer, without gaps. */
static int sections_check(const struct run_footer *footer, const struct run_section *sections,
                          uint64_t footer_offset, const char **check)
{
    uint64_t at = footer->rows_end;
    unsigned indexes = 0;
    for (uint32_t i = 0; i < footer->sections; i++) {
        const struct run_section *section = &sections[i];
        *check = "a section is not where the one before it ends";
        if (section->offset != at || section->bytes < RUN_FRAME_BYTES ||
            section->bytes > footer_offset - at)
            return ERROR_CORRUPT;
        at += section->bytes;
        indexes += section->type == RUN_SECTION_INDEX;
        *check =
            "was made with a kind of section that this program does not know and that cannot be "
            "skipped; use the program that wrote it, or a later one";
        if (section->type > RUN_SECTION_FILTER && section->type < RUN_SECTION_CALLER &&
            section->flags & RUN_SECTION_REQUIRED)
            return ERROR_VERSION;
    }
    *check = "the sections do not end where the footer begins";
    if (at != footer_offset)
        return ERROR_CORRUPT;
    *check = "not one section that is the index";
    return indexes == 1 ? 0 : ERROR_CORRUPT;
}

static bool numbers_agree(const struct run_footer *footer, uint64_t footer_offset)
{
    return footer->rows_end >= RUN_HEADER_BYTES && footer->rows_end <= footer_offset &&
           footer->tombstones <= footer->rows && footer->blocks <= footer->rows &&
           (footer->blocks > 0) == (footer->rows > 0) && footer->min_ts <= footer->max_ts &&
           footer->first_key_size <= footer->key_bytes_max &&
           footer->last_key_size <= footer->key_bytes_max;
}

int run_footer_decode(const void *bytes, uint64_t size, uint64_t footer_offset,
                      struct run_footer *out, struct run_section *sections,
                      const unsigned char **first_key, const unsigned char **last_key,
                      const char **check)
{
    *check = "footer size";
    if (size < sizeof *out)
        return ERROR_CORRUPT;
    memcpy(out, bytes, sizeof *out);
    if (out->sections > RUN_SECTIONS_MAX || out->first_key_size > size ||
        out->last_key_size > size || run_footer_bytes(out) != size)
        return ERROR_CORRUPT;
    *check = "the footer's numbers contradict each other";
    if (!numbers_agree(out, footer_offset))
        return ERROR_CORRUPT;
    const unsigned char *at = (const unsigned char *)bytes + sizeof *out;
    memcpy(sections, at, out->sections * sizeof *sections);
    at += out->sections * sizeof *sections;
    *first_key = at;
    *last_key = at + out->first_key_size;
    int rc = sections_check(out, sections, footer_offset, check);
    if (rc == 0)
        *check = NULL;
    return rc;
}
