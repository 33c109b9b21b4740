/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_BLOCK_H
#define STORAGE_RUN_RUN_BLOCK_H

/*
 * A block of rows: keys share what they have in common with the key before them, and restart points
 * make it possible to search. The contents of a frame; pure bytes in memory.
 *
 *   row │ row │ ... │ row │ u32 offset of each restart point │ u32 rows │ u32 restart points
 *
 * A row, numbers as LEB128 (seven bits a byte, lowest first, the top bit set on all but the last):
 *      bytes of the key that it shares with the key before it
 *      bytes of the key that follow here
 *      up_to_ts of the run - ts
 *      0 for a tombstone, else 1 + bytes of data
 *      the rest of the key
 *      the data
 *
 * Every RUN_RESTART_ROWS'th row, the first among them, shares nothing: it is a restart point.
 *
 * That is the plain form, which the index has, and all blocks of runs that do not say RUN_BORROWS
 * (run_format.h). In the other one keys borrow: a tuple has the fields of its key, and the encoded
 * key of a string is the string but for a byte before it and two behind it. So a key may take a
 * piece from the data of its own row, which stays as it is:
 *
 *   shared with the key before │ borrowed from the data │ rest
 *
 * A block has one place in the key and one in the data where a piece begins. Rows for which that is
 * no gain, tombstones and restart points do not borrow. The first number of a row is
 *      2 * bytes of the key that it shares with the key before it, or
 *      1 + 2 * bytes that it borrows: it shares as many as there are before the piece's place
 * and behind the restart points there is the piece's place:
 *
 *   .. │ restart points │ u16 place in the key │ u16 place in the data │ u32 rows │ u32 restart points
 *
 * The index is a block too. It has a row for each block of rows: a key that is not below the block's
 * last one and below the first one of the next block (or, when both blocks have versions of one
 * key, that key); the ts of the block's last row; as data, offset and bytes of its frame, two u64.
 * So the first row of the index that is not before (key, ts) names the only block in which (key, ts)
 * may be, and the block in which what follows it begins.
 *
 * Leaf module: codes only, no diagnostics; what was wrong is in `check`.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/engine.h"

enum { RUN_RESTART_ROWS = 16, RUN_INDEX_DATA_BYTES = 16 };

/* Where the piece begins that keys borrow from the data. */
struct run_piece {
    uint16_t key_at, data_at;
};

/* Memory that grows and keeps its contents. */
struct run_memory {
    unsigned char *data;
    size_t size, capacity;
};

/* Room for `capacity` bytes in all; 0 or ERROR_MEMORY. */
int run_memory_reserve(struct run_memory *memory, size_t capacity);
void run_memory_destroy(struct run_memory *memory);

/* Order of rows: keys ascending, newest first. */
int run_key_compare(const void *a, size_t a_size, const void *b, size_t b_size);
int run_row_compare(const struct engine_row *a, const struct engine_row *b);

/* --------------------------------------------------------------------------------------- building
 */

/* Zero-initialised it is empty, but for up_to_ts and borrows, which the user sets. */
struct run_block_builder {
    uint64_t up_to_ts;
    bool borrows;     /* which form: whether keys may */
    bool piece_found; /* by one of the first rows; zeros otherwise */
    struct run_piece piece;
    struct run_memory bytes, restarts;
    struct run_memory last_key; /* of the row that was added last, also after a reset */
    uint32_t rows;
};

void run_block_builder_destroy(struct run_block_builder *builder);

/* Rows come in order, none newer than up_to_ts. 0 or ERROR_MEMORY, and then nothing was added. */
int run_block_add(struct run_block_builder *builder, const struct engine_row *row);

/* Puts restart points, the piece's place and counts behind the rows: then builder->bytes is the block. */
int run_block_end(struct run_block_builder *builder);

/* Empties it for the next block. */
void run_block_reset(struct run_block_builder *builder);

/* ---------------------------------------------------------------------------------------- reading
 */

/* A place in a block. Everything is checked as it is read: any bytes may be given. */
struct run_block_iter {
    const unsigned char *bytes; /* the rows; valid as long as whoever opened it keeps them */
    size_t size;                /* of them all */
    uint32_t rows, restarts;
    uint64_t up_to_ts;
    bool borrows;
    struct run_piece piece;
    unsigned char *key; /* memory of the opener's, for key_room bytes */
    size_t key_room;
    size_t at, next;       /* the present row, and the one behind it */
    struct engine_row row; /* the present row; its key is `key`, its data in the block */
    const char *check;     /* after ERROR_CORRUPT: what was wrong */
};

/* Begins before the first row of a block of the form in which keys borrow, or of the plain one. 0 or
 * ERROR_CORRUPT. */
int run_block_open(struct run_block_iter *iter, const void *bytes, size_t size, bool borrows,
                   uint64_t up_to_ts, unsigned char *key, size_t key_room);

/* Each moves to a row: 0, ERROR_END when there is none, or ERROR_CORRUPT. first and last need no
 * present row; next goes to the first when there is none; prev needs one. seek goes to the first
 * row that is not before (key, ts); when there is none, there is no present row. */
int run_block_first(struct run_block_iter *iter);
int run_block_last(struct run_block_iter *iter);
int run_block_next(struct run_block_iter *iter);
int run_block_prev(struct run_block_iter *iter);
int run_block_seek(struct run_block_iter *iter, const void *key, size_t key_size, uint64_t ts);

/* After all rows were passed by next: whether counts and restart points are right. */
int run_block_check(struct run_block_iter *iter);

#endif
