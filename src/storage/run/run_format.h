/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_FORMAT_H
#define STORAGE_RUN_RUN_FORMAT_H

/*
 * The bytes of a run: header, frames, footer, trailer. Pure: no files, no threads.
 *
 *   header │ (dictionary) │ frame of rows │ .. │ frame of a section │ .. │ index │ footer │ trailer
 *
 * All integers are little-endian; nothing lies between the pieces. The checksums are CRC-32C. The
 * layout of rows in a block, and of the index, is in run_block.h.
 *
 * Header, 64 bytes, of this size and with the first three fields in every version:
 *       0  u64  magic, "PERI-RUN"
 *       8  u32  format version
 *      12  u32  checksum of the header, with this field taken as zero
 *      16  u32  space
 *      20  u32  incarnation of the space
 *      24  u32  index of the space, 0 the primary one
 *      28  u32  level, and
 *      32  u64  sequence, as the writer's caller gave them
 *      40  u64  up_to_ts: no row is newer
 *      48  u32  bytes at which a block ends
 *      52  u32  flags: which compression was asked for (below), whether the first frame is a
 *               dictionary, and in bit 4 whether blocks of rows have the form in which keys borrow
 *               (run_block.h); a reader refuses bits that it does not know
 *      56  u64  zero
 *
 * Frame, 24 bytes and what is stored:
 *       0  u32  checksum of u64 offset of the frame, u32 checksum of the header, the rest of this
 *               frame's header and what is stored: a frame of another file, or of another place,
 *               is no valid one
 *       4  u16  kind: 1 rows, 2 section, 3 footer, 4 dictionary
 *       6  u16  flags: how it is stored (below); a reader refuses bits that it does not know
 *       8  u64  bytes stored
 *      16  u64  bytes of the contents: of those stored, or what they are when decompressed (then at
 *               most RUN_COMPRESS_BYTES_MAX)
 *      24       what is stored
 *
 * Flags of compression, in the header and in frames: bit 0 zstd, bit 1 lz4, bit 2 snappy, one at
 * most; bit 3, with zstd: by the run's dictionary. A dictionary's frame comes right behind the
 * header, so that whole blocks of a damaged file can be read; its contents, which are not
 * compressed, are a dictionary of zstd's.
 *
 * Footer, the contents of a frame:
 *       0  u64  rows, tombstones included
 *       8  u64  tombstones
 *      16  u64  blocks of rows
 *      24  u64  bytes of all keys and data
 *      32  u64  smallest ts, and
 *      40  u64  largest ts of the rows, both zero when there are none
 *      48  u64  bytes of the longest key
 *      56  u64  offset behind the last frame of rows
 *      64  u64  bytes of the first key, and
 *      72  u64  of the last key
 *      80  u32  number of sections
 *      84  u32  zero
 *      88       for each section, in the order of their offsets: u32 type, u32 flags (bit 0: a
 *               reader that does not know the type refuses the file; else it skips it), u64 offset
 *               of its frame, u64 bytes of its frame
 *               the first key, the last key
 *
 * Section types: 1 the index, which every run has; 2 a filter (run_filter.h); below 1000 for this
 * format's later versions.
 *
 * Trailer, 32 bytes, the end of the file:
 *       0  u64  offset of the footer's frame
 *       8  u64  bytes of the footer's frame
 *      16  u32  checksum of u32 checksum of the header and the trailer, with this field taken as
 *               zero
 *      20  u32  zero
 *      24  u64  magic, "PRUN-END"
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/compress.h"

enum {
    RUN_FORMAT_VERSION = 1,
    RUN_HEADER_BYTES = 64,
    RUN_FRAME_BYTES = 24, /* of a frame's header */
    RUN_TRAILER_BYTES = 32,
    RUN_COMPRESS_BYTES_MAX = 16 << 20, /* more is stored as it is */
    RUN_SECTIONS_MAX = 64,
};

#define RUN_HEADER_MAGIC  UINT64_C(0x4e55522d49524550) /* "PERI-RUN" */
#define RUN_TRAILER_MAGIC UINT64_C(0x444e452d4e555250) /* "PRUN-END" */

enum run_flags {
    RUN_ZSTD = 1,
    RUN_LZ4 = 2,
    RUN_SNAPPY = 4,
    RUN_DICTIONARY = 8,
    RUN_BORROWS = 16 /* in the header alone */
};
enum run_frame_kind {
    RUN_FRAME_ROWS = 1,
    RUN_FRAME_SECTION = 2,
    RUN_FRAME_FOOTER = 3,
    RUN_FRAME_DICTIONARY = 4
};
enum run_section_type { RUN_SECTION_INDEX = 1, RUN_SECTION_FILTER = 2, RUN_SECTION_CALLER = 1000 };
enum run_section_flags { RUN_SECTION_REQUIRED = 1 };

struct run_header {
    uint64_t magic;
    uint32_t version;
    uint32_t checksum;
    uint32_t space_id, incarnation, index_id, level;
    uint64_t sequence;
    uint64_t up_to_ts;
    uint32_t block_bytes;
    uint32_t flags;
    uint64_t zero;
};

struct run_frame {
    uint32_t checksum;
    uint16_t kind, flags;
    uint64_t stored_bytes;
    uint64_t bytes;
};

struct run_section {
    uint32_t type, flags;
    uint64_t offset, bytes;
};

struct run_footer {
    uint64_t rows, tombstones, blocks;
    uint64_t data_bytes;
    uint64_t min_ts, max_ts;
    uint64_t key_bytes_max;
    uint64_t rows_end;
    uint64_t first_key_size, last_key_size;
    uint32_t sections;
    uint32_t zero;
};

struct run_trailer {
    uint64_t footer_offset;
    uint64_t footer_bytes;
    uint32_t checksum;
    uint32_t zero;
    uint64_t magic;
};

/* A part of the file. */
struct run_extent {
    uint64_t offset, bytes;
};

/* Flags for a method of compression, and back. Flags that contradict each other, or that this
 * version does not know, are not valid, in a frame or in a header. */
uint32_t run_flags_of(enum compress_method method);
enum compress_method run_flags_method(uint32_t flags);
bool run_flags_valid(uint32_t flags);
bool run_header_flags_valid(uint32_t flags);

/* Sets magic, version and checksum of *header and copies it to `out`. */
void run_header_encode(struct run_header *header, void *out);

/* Reads and checks RUN_HEADER_BYTES. 0, ERROR_CORRUPT or ERROR_VERSION, then *check says in words
 * what is wrong. */
int run_header_decode(const void *bytes, struct run_header *out, const char **check);

/* Sets the checksum of the frame whose header and contents are at `frame`, of frame->stored_bytes,
 * for its place in the file. */
void run_frame_seal(void *frame, uint64_t offset, uint32_t header_checksum);

/* Reads and checks a whole frame of extent->bytes at `bytes`: NULL, or which check failed. */
const char *run_frame_decode(const void *bytes, const struct run_extent *extent,
                             uint32_t header_checksum, enum run_frame_kind kind,
                             struct run_frame *out);

void run_trailer_encode(struct run_trailer *trailer, uint32_t header_checksum, void *out);

/* NULL, or which check failed; the footer's place has then been checked against the file's size. */
const char *run_trailer_decode(const void *bytes, uint64_t file_bytes, uint32_t header_checksum,
                               struct run_trailer *out);

/* Bytes of the footer's contents. */
uint64_t run_footer_bytes(const struct run_footer *footer);

/* Writes run_footer_bytes. */
void run_footer_encode(const struct run_footer *footer, const struct run_section *sections,
                       const void *first_key, const void *last_key, void *out);

/* Reads and checks the contents of a footer's frame that begins at `footer_offset`. `sections` has
 * room for RUN_SECTIONS_MAX; the keys point into `bytes`. 0, ERROR_CORRUPT or ERROR_VERSION, then
 * *check says in words what is wrong. */
int run_footer_decode(const void *bytes, uint64_t size, uint64_t footer_offset,
                      struct run_footer *out, struct run_section *sections,
                      const unsigned char **first_key, const unsigned char **last_key,
                      const char **check);

#endif
