/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Walking an index: from an iterator and a key to a range of key bytes, and on from a position.
 *
 * A position is the key of an item of the index: of the row in the primary index, else of the entry,
 * which ends with the primary key. So it is a place between rows whether or not its row is still
 * there, it stays one over restarts, and of a row that an index has under several keys it tells which.
 */
#include "db/db_private.h"

#include <string.h>
#include <strings.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

int space_iterator_parse(const char *name, size_t size)
{
    static const struct {
        const char *name;
        enum space_iterator iterator;
    } names[] = {{"EQ", ITERATOR_EQ}, {"REQ", ITERATOR_REQ}, {"ALL", ITERATOR_ALL},
                 {"LT", ITERATOR_LT}, {"LE", ITERATOR_LE},   {"GE", ITERATOR_GE},
                 {"GT", ITERATOR_GT}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == size && strncasecmp(names[i].name, name, size) == 0)
            return (int)names[i].iterator;
    return -1;
}

static void range_lower(struct txn_range *range, const void *key, size_t size, bool inclusive)
{
    range->lower = key;
    range->lower_size = size;
    range->lower_inclusive = inclusive;
}

static void range_upper(struct txn_range *range, const void *key, size_t size, bool inclusive)
{
    range->upper = key;
    range->upper_size = size;
    range->upper_inclusive = inclusive;
}

/* The keys that an iterator goes over, given a prefix: all keys that begin with it lie in [prefix,
 * successor). */
static int range_make(struct txn *txn, enum space_iterator iterator, const struct key_bytes *prefix,
                      struct txn_range *range)
{
    range->backward =
        iterator == ITERATOR_REQ || iterator == ITERATOR_LT || iterator == ITERATOR_LE;
    if (prefix->size == 0)
        return 0;
    unsigned char *above = arena_copy(txn_arena(txn), prefix->data, prefix->size);
    if (above == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a range");
    size_t above_size = key_successor(above, prefix->size);
    const void *upper = above_size == 0 ? NULL : above;
    switch (iterator) {
    case ITERATOR_EQ:
    case ITERATOR_REQ:
        range_lower(range, prefix->data, prefix->size, true);
        range_upper(range, upper, above_size, false);
        break;
    case ITERATOR_ALL:
    case ITERATOR_GE:
        range_lower(range, prefix->data, prefix->size, true);
        break;
    case ITERATOR_GT:
        range_lower(range, upper, above_size, true);
        break;
    case ITERATOR_LE:
        range_upper(range, upper, above_size, false);
        break;
    case ITERATOR_LT:
        range_upper(range, prefix->data, prefix->size, false);
        break;
    }
    return 0;
}

static int bytes_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : a_size < b_size ? -1 : a_size > b_size;
}

/* Leaves of the range what lies behind the position, which has to be within it. */
static int range_after(struct txn_range *range, const struct index *index,
                       const struct space_position *after)
{
    bool below = range->lower != NULL &&
                 bytes_compare(after->key, after->size, range->lower, range->lower_size) < 0;
    bool above = range->upper != NULL &&
                 bytes_compare(after->key, after->size, range->upper, range->upper_size) >= 0;
    if (below || above)
        return diag_set(ERROR_INVALID,
                        "the position lies outside of what the iterator goes over in index \"%s\" "
                        "of space \"%s\"",
                        index->name, index->space->name);
    if (range->backward)
        range_upper(range, after->key, after->size, false);
    else
        range_lower(range, after->key, after->size, false);
    return 0;
}

/* A hash index has its rows in some order that means nothing: it gives all of them, or the one with a
 * whole key. */
static int hash_refuse(const struct index *index, enum space_iterator iterator, const char *key)
{
    const char *parts = key;
    uint32_t count = key == NULL || mp_typeof(*key) != MP_ARRAY ? 0 : mp_decode_array(&parts);
    bool all = count == 0 && (iterator == ITERATOR_ALL || iterator == ITERATOR_EQ);
    bool one = count == index->part_count && iterator == ITERATOR_EQ;
    if (index->type != INDEX_HASH || all || one)
        return 0;
    return diag_set(
        ERROR_INVALID,
        "index \"%s\" of space \"%s\" is of type 'hash': it gives the row of a whole key, or "
        "all rows, and knows no ranges",
        index->name, index->space->name);
}

int space_cursor_open_after(struct space_cursor *cursor, struct txn *txn, struct index *index,
                            enum space_iterator iterator, const char *key,
                            const struct space_position *after)
{
    struct key_bytes prefix = {0};
    int rc = db__space_usable(index->space);
    if (rc == 0 && key != NULL && (rc = db__array_check(key, "a key")) == 0)
        rc = db__key_of_array(txn_arena(txn), index, key, false, &prefix);
    struct txn_range range = {0};
    if (rc == 0)
        rc = hash_refuse(index, iterator, key);
    if (rc == 0)
        rc = range_make(txn, iterator, &prefix, &range);
    if (rc == 0 && after != NULL)
        rc = range_after(&range, index, after);
    if (rc != 0)
        return rc;
    cursor->index = index;
    txn_cursor_open(&cursor->cursor, txn, &index->scan, &range);
    return 0;
}

int space_cursor_open(struct space_cursor *cursor, struct txn *txn, struct index *index,
                      enum space_iterator iterator, const char *key)
{
    return space_cursor_open_after(cursor, txn, index, iterator, key, NULL);
}

struct space_position space_cursor_position(const struct space_cursor *cursor)
{
    const struct item *item = cursor->cursor.item;
    return (struct space_position){item->key, item->key_size};
}

int space_position_of(struct txn *txn, struct index *index, const char *tuple,
                      struct space_position *out)
{
    struct key_bytes key;
    int rc = db__space_usable(index->space);
    if (rc == 0)
        rc = db__array_check(tuple, "a tuple");
    if (rc == 0)
        rc = db__key_of_tuple(txn_arena(txn), index, tuple, &key);
    if (rc == 0)
        *out = (struct space_position){key.data, key.size};
    return rc;
}

void space_cursor_brief(struct space_cursor *cursor)
{
    txn_cursor_brief(&cursor->cursor);
}

void space_cursor_expect(struct space_cursor *cursor, uint64_t rows)
{
    txn_cursor_expect(&cursor->cursor, rows);
}

int space_cursor_next(struct space_cursor *cursor, struct tuple_ref *out)
{
    struct row *row;
    const struct version *version = NULL;
    int rc = txn_cursor_next(&cursor->cursor, &row, &version);
    *out =
        rc != 0 ? (struct tuple_ref){NULL, 0} : (struct tuple_ref){version->bytes, version->size};
    return rc;
}

int space_count(struct txn *txn, struct index *index, enum space_iterator iterator, const char *key,
                uint64_t *out)
{
    struct space_cursor cursor;
    struct tuple_ref tuple;
    *out = 0;
    int rc = space_cursor_open(&cursor, txn, index, iterator, key);
    if (rc == 0) {
        space_cursor_brief(&cursor);
        space_cursor_expect(&cursor, UINT64_MAX);
    }
    while (rc == 0 && (rc = space_cursor_next(&cursor, &tuple)) == 0)
        ++*out;
    return rc == ERROR_END ? 0 : rc;
}
