/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_SPACE_H
#define DB_SPACE_H

/*
 * Statements on spaces. Tuples, keys and update operations are checked MessagePack arrays
 * (mp_check_limited has seen them); each statement either happens or changes nothing, with
 * diagnostics that name the space, the index and what is wrong. `txn` is the worker's running
 * transaction.
 *
 * Tuples that come back are read in place: valid until the transaction ends.
 */
#include "db/catalog.h"
#include "db/db.h"

struct tuple_ref {
    const char *data; /* MessagePack array; NULL: no tuple */
    uint32_t size;
};

/* 0 when the space has a primary index, without which there are no statements; ERROR_SCHEMA, or
 * ERROR_READONLY for a view. */
int space_usable(const struct space *space);

/* ERROR_DUPLICATE when the primary or a unique key is taken; ERROR_SCHEMA when the tuple does not
 * fit the format. *out is the new tuple. */
int space_insert(struct txn *txn, struct space *space, const char *tuple, size_t size,
                 struct tuple_ref *out);

/* *old, which may be NULL, is what was there. */
int space_replace(struct txn *txn, struct space *space, const char *tuple, size_t size,
                  struct tuple_ref *out, struct tuple_ref *old);

/* `index` must be unique and `key` complete, for get, delete and update. out->data is NULL when
 * there is none. */
int space_get(struct txn *txn, struct index *index, const char *key, struct tuple_ref *out);
int space_delete(struct txn *txn, struct index *index, const char *key, struct tuple_ref *old);

/*
 * ops: [[op, field, arg..]..] with op one of = + - & | ^ ! # : and field a number (from
 * `field_base`, negative from the end: -1 the last), a name, or a path (codec/path.h) that begins with
 * a name or [number].
 */
int space_update(struct txn *txn, struct index *index, const char *key, const char *ops,
                 int field_base, struct tuple_ref *out);

/* Inserts the tuple, or applies the operations to the one that has its primary key. */
int space_upsert(struct txn *txn, struct space *space, const char *tuple, size_t size,
                 const char *ops, int field_base);

/* What operations make of a tuple that is not in a space, or not written back; `space`, whose format
 * names fields, may be NULL. In the arena. Numbers of fields are from 1. */
int space_tuple_update(struct arena *arena, const struct space *space, const char *tuple,
                       const char *ops, struct tuple_ref *out);

enum space_iterator {
    ITERATOR_EQ,
    ITERATOR_REQ,
    ITERATOR_ALL,
    ITERATOR_LT,
    ITERATOR_LE,
    ITERATOR_GE,
    ITERATOR_GT
};

/* "EQ" and so on in either case, or -1. */
int space_iterator_parse(const char *name, size_t size);

struct space_cursor {
    struct txn_cursor cursor;
    struct index *index;
};

/* `key` may be NULL or a partial key (a prefix of the index's parts). The bounds live in the
 * transaction's arena. */
int space_cursor_open(struct space_cursor *cursor, struct txn *txn, struct index *index,
                      enum space_iterator iterator, const char *key);

/* Right after it was opened: what it gives is valid until the call behind the next one only, which keeps a walk
 * over more than fits into memory small (txn_cursor_brief). */
void space_cursor_brief(struct space_cursor *cursor);

/* Right after it was opened: so many rows are going to be asked for at most (txn_cursor_expect). */
void space_cursor_expect(struct space_cursor *cursor, uint64_t rows);

/* 0, or ERROR_END. */
int space_cursor_next(struct space_cursor *cursor, struct tuple_ref *out);

/*
 * A place in an index behind one of its rows: the bytes may be kept for as long as the index lives,
 * also over restarts, and its row may go. space_cursor_position: that of the row which the cursor
 * gave last; the bytes are valid until the transaction ends. space_position_of: that which a tuple
 * has, or would have; in the transaction's arena.
 */
struct space_position {
    const void *key;
    size_t size;
};
struct space_position space_cursor_position(const struct space_cursor *cursor);
int space_position_of(struct txn *txn, struct index *index, const char *tuple,
                      struct space_position *out);

/* As space_cursor_open, and begins behind `after` in the iterator's direction; its bytes are valid
 * while the cursor is used. ERROR_INVALID when it lies outside of what the iterator goes over. */
int space_cursor_open_after(struct space_cursor *cursor, struct txn *txn, struct index *index,
                            enum space_iterator iterator, const char *key,
                            const struct space_position *after);

/*
 * Locks, held until the transaction ends (txn_lock_row says what they return). space_lock: the row
 * with this key of a unique index, which need not be there: by the primary index its absence is
 * locked, by another one nothing. What was read before may be older than the lock: read again.
 * space_cursor_next_locked: as space_cursor_next, of rows that are locked first. ERROR_ACCESS for
 * system spaces.
 */
int space_lock(struct txn *txn, struct index *index, const char *key, enum txn_lock mode);
int space_lock_all(struct txn *txn, struct space *space, enum txn_lock mode);
int space_cursor_next_locked(struct space_cursor *cursor, enum txn_lock mode,
                             struct tuple_ref *out);

/* Rows visible to the transaction: walks the index. */
int space_count(struct txn *txn, struct index *index, enum space_iterator iterator, const char *key,
                uint64_t *out);

/* What an index takes: its nodes, keys and places; and how many entries it has, those of older
 * versions that somebody may still see included. At once. */
struct space_index_stats {
    uint64_t entries, bytes;
    uint64_t build_rows, build_total; /* while it is being built: rows done, of about how many */
};
struct space_index_stats space_index_stats(const struct index *index);
uint64_t space_index_bytes(const struct index *index);

/* Whether a change of the space looks at rows now, beside writers; and how far it is. */
struct space_change_stats {
    uint64_t rows, total; /* total: about how many there were */
};
bool space_is_changing(const struct space *space);
struct space_change_stats space_change_stats(const struct space *space);

/* Bytes of the tuples that exist, as of the commits that have ended; at once. */
uint64_t space_bytes(const struct space *space);

/* A row that the seed picks, about as likely as any other; out->data is NULL when there is none. */
int space_index_random(struct txn *txn, struct index *index, uint64_t seed, struct tuple_ref *out);

/*
 * The tuple at which a share `level` (0 to 1) of the index between the keys `from` and `to` (partial
 * keys; NULL: unbounded; `to` itself does not belong to it) lies before. Exact up to
 * SPACE_QUANTILE_EXACT rows, beyond an estimate from as many rows picked at random. NULL data: no row.
 */
enum { SPACE_QUANTILE_EXACT = 2048 };
int space_quantile(struct txn *txn, struct index *index, double level, const char *from,
                   const char *to, struct tuple_ref *out);

/* Rows that exist, as of the commits that have ended; at once. */
uint64_t space_len(const struct space *space);

#endif
