/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_H
#define STORAGE_RUN_RUN_H

/*
 * A run: the one sorted file. It holds versions of rows of one tree, written once from first to
 * last and never changed: checkpoints, levels, backups, bulk import and export are runs.
 *
 *   run_writer ──add, in order──► file ──run_open──► run ──► run_get
 *                                                     ├────► run_cursor, all versions of a range
 *                                                     └────► run_merge, several runs as one source
 *
 * Order: keys ascending; the versions of one key newest first; no (key, ts) twice. The bytes are
 * described in run_format.h.
 *
 * Functions return 0 or a negative code with diagnostics. ERROR_CORRUPT names file, offset and the
 * check that failed; ERROR_VERSION says that the file is of a newer format or of another byte
 * order. Every block is checked against its checksum each time it is read from the file.
 *
 * Threads: an open run does not change; any number of threads may read it at once, each through a
 * cursor or merge of its own. A writer, a cursor, a merge belong to one thread at a time. The io
 * outlives them all.
 *
 * Memory: an open run holds its index (about a key for each block), its filter and its dictionary; a cursor and a get one block;
 * a writer one block, the index so far and a few buffers of IO_BUFFER_BYTES.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/compress.h"
#include "io/io.h"
#include "mem/arena.h"
#include "storage/engine.h"

struct run;
struct run_writer;
struct run_cursor;
struct run_merge;

enum {
    RUN_BLOCK_BYTES = 16 << 10, /* of a block before compression, when options say 0 */
    RUN_BLOCK_BYTES_MIN = 64,
    RUN_BLOCK_BYTES_MAX = 16 << 20,
    RUN_DICTIONARY_BYTES_MAX = 1 << 20,
};

/* What tells which keys a run certainly has no version of (run_filter.h). A ribbon is smaller than a
 * Bloom filter that errs as often, and slower. */
enum run_filter_kind {
    RUN_FILTER_NONE,
    RUN_FILTER_BLOOM,
    RUN_FILTER_RIBBON,
    RUN_FILTER_UNKNOWN /* of a later version; it is passed over */
};

struct run_options {
    struct io *io;
    const char *name; /* copied */
    uint32_t space_id, incarnation;
    uint32_t index_id; /* 0: the primary index */
    uint32_t level; /* level and sequence mean what the caller wants, and come back in run_info */
    uint64_t sequence;
    uint64_t up_to_ts;  /* no row is newer (K of a checkpoint); UINT64_MAX: unknown */
    size_t block_bytes; /* a block ends when it has reached so many; 0: RUN_BLOCK_BYTES */
    enum compress_method compression; /* for blocks that it makes smaller */
    /* For zstd: what compress_dictionary_train has made of such rows; it is kept in the run. At most
     * RUN_DICTIONARY_BYTES_MAX; none when the size is 0. */
    const void *dictionary;
    size_t dictionary_size;
    /* A key, of a Bloom filter that spares looks for keys that are elsewhere; 0: none. */
    unsigned filter_bits;
    enum run_filter_kind filter; /* RUN_FILTER_RIBBON: one that errs as often; else Bloom */
    /* The writes compete for the disk as background work, as merging is; else as a checkpoint's. */
    bool background;
};

/* What a run says about itself. */
struct run_info {
    uint32_t space_id, incarnation, index_id, level;
    uint64_t sequence;
    uint64_t up_to_ts;
    uint64_t rows;       /* versions, tombstones among them */
    uint64_t tombstones; /* versions that are tombstones */
    uint64_t blocks;
    uint64_t data_bytes; /* of keys and data, as they were added */
    uint64_t file_bytes;
    uint64_t min_ts, max_ts;          /* of the rows; 0 when there are none */
    uint64_t key_bytes_max;           /* of the longest key */
    enum compress_method compression; /* what was asked for */
    uint64_t dictionary_bytes;        /* 0: none */
    uint64_t filter_bytes;            /* 0: none */
    enum run_filter_kind filter;
    /* Of the first and last row; NULL when there are none. From run_info() they are the run's and
     * live as long as it is open; run_writer_finish gives NULL with the sizes. */
    const unsigned char *first_key, *last_key;
    size_t first_key_size, last_key_size;
};

/* ---------------------------------------------------------------------------------------- writing
 */

/* Makes the file; ERROR_EXISTS when there is one of that name, ERROR_INVALID when the dictionary is
 * none, too large, or for another method than zstd. The caller owns *out and ends it
 * with run_writer_finish or run_writer_delete. */
int run_writer_new(const struct run_options *options, struct run_writer **out);

/* Adds a row, whose bytes are copied. ERROR_INVALID when it is out of order or newer than up_to_ts.
 * After an error every further call gives the same one. */
int run_writer_add(struct run_writer *writer, const struct engine_row *row);

/* Adds a section that readers find by its type (run_section_read), and skip when they don't know
 * the type; with `required` such a reader refuses the file (ERROR_VERSION). Types from 1000 on are
 * the caller's, those below are for later versions of the format. Each type once; after the last row. */
int run_writer_section(struct run_writer *writer, uint32_t type, bool required, const void *data,
                       size_t size);

/* Whether what it hands to the disk from now on competes as background work (run_options.background). */
void run_writer_background(struct run_writer *writer, bool background);

/* Bytes of the file so far, the block being filled included as it is before compression. */
uint64_t run_writer_bytes(const struct run_writer *writer);

/* Writes what is left, makes the contents durable (not the name: that is io_sync_dir, the caller's)
 * and frees the writer, in any case. After an error the file is gone. `info` may be NULL. */
int run_writer_finish(struct run_writer *writer, struct run_info *info);

/* Abandons the file: it is gone. */
void run_writer_delete(struct run_writer *writer);

/* ---------------------------------------------------------------------------------------- reading
 */

/* Opens and checks header, footer and index. The caller owns *out. ERROR_NOT_FOUND when absent. */
int run_open(struct io *io, const char *name, struct run **out);

/* The same; blocks of rows that gets and cursors read are kept in the cache, which outlives the run
 * and may be NULL. They are checked when they are put there. */
struct cache;
int run_open_cached(struct io *io, const char *name, struct cache *cache, struct run **out);

/* Cursors and merges must have been closed. The file may have been unlinked meanwhile. */
void run_close(struct run *run);

/* The run's, as long as it is open. */
const struct run_info *run_info(const struct run *run);
const char *run_name(const struct run *run);

/* False: the run has no version of the key, as its range of keys or its filter tells. Reads
 * nothing. */
bool run_may_contain(const struct run *run, const void *key, size_t key_size);

/* The newest version of the key at or before ts, which may be a tombstone (data NULL), or
 * ERROR_NOT_FOUND. What `out` points to is in the arena. */
int run_get(struct run *run, const void *key, size_t key_size, uint64_t ts, struct arena *arena,
            struct engine_row *out);

/* The same for a key that the run may contain: run_may_contain has been asked. */
int run_get_probable(struct run *run, const void *key, size_t key_size, uint64_t ts,
                     struct arena *arena, struct engine_row *out);

/* The contents of a section, in the arena; ERROR_NOT_FOUND when the run has none of that type. */
int run_section_read(struct run *run, uint32_t type, struct arena *arena, const void **data,
                     size_t *size);

/* All versions of the keys in a range, tombstones included, in the run's order, or, backward, in
 * exactly the reverse one: the oldest version of the last key first. NULL is the range of all. The
 * range's bounds stay valid while the cursor is open. The caller owns *out. */
int run_cursor_open(struct run *run, const struct engine_range *range, struct run_cursor **out);

/* Says that it is to read much, and once, in the background: what is not in a cache is not put there,
 * blocks are read several at a time, and give way to others at the disk. A cursor that has read many
 * blocks goes over to the first two. */
void run_cursor_scan(struct run_cursor *cursor);

/* What such a cursor reads from now on competes as a checkpoint does, or, with false, as before. */
void run_cursor_hurry(struct run_cursor *cursor, bool hurry);

/* 0, or ERROR_END. The row is valid until the next call. */
int run_cursor_next(struct run_cursor *cursor, struct engine_row *out);
void run_cursor_close(struct run_cursor *cursor);

/* Keys between blocks, ascending, that cut the rows into at most `parts` parts of about as many
 * blocks each, (.., keys[0]], (keys[0], keys[1]], .. : at most parts - 1 of them; *count tells how
 * many. From the index alone. Their bytes are in the arena. */
int run_split(struct run *run, unsigned parts, struct arena *arena, struct engine_key *keys,
              unsigned *count);

/* Reads the whole file and checks everything: checksums, order, that index, footer and rows agree,
 * that no byte is unaccounted for. `progress` (may be NULL) hears of bytes done, of all, now and
 * then. */
int run_verify(struct run *run, void (*progress)(void *arg, uint64_t done, uint64_t total),
               void *arg);

/* ---------------------------------------------------------------------------------------- merging
 */

/*
 * Several runs of one tree as one sequence of rows in order, each (key, ts) once; where runs have
 * the same (key, ts), the row of the first of them (give the newest first). Of each key it keeps the
 * newest version and those that a snapshot sees; `snapshots` NULL keeps all. With `drop_tombstones`
 * a tombstone goes when no older version of its key is kept: right only when no other run of the
 * tree, nor the log, has an older version. The runs stay open, and the snapshots' array stays valid,
 * while the merge lives. The caller owns *out.
 */
int run_merge_new(struct run *const *runs, unsigned count, const struct engine_snapshots *snapshots,
                  bool drop_tombstones, struct run_merge **out);

/* Who knows what is older than all that is merged: whether a version of the key may be there. */
struct run_merge_below {
    bool (*has)(const struct run_merge_below *below, const void *key, size_t size);
};

/* The same for sources that are in a run's order, newest first; a source's row is valid until its
 * next call. Tombstones go where `below`, which lives as long as the merge, has nothing; NULL: there
 * is nothing below. */
int run_merge_sources(struct engine_source *const *sources, unsigned count,
                      const struct engine_snapshots *snapshots, const struct run_merge_below *below,
                      struct run_merge **out);

/* 0, or ERROR_END. The row is valid until the next call. */
int run_merge_next(struct run_merge *merge, struct engine_row *out);
void run_merge_delete(struct run_merge *merge);

/* The merge as a source for body_absorb; lives and goes on as the merge does. */
struct engine_source *run_merge_source(struct run_merge *merge);

#endif
