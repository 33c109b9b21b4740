/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Of rows that are being ingested (ingest.c): the files that are made of them, and what unique secondary indexes say
 * of these and of the rows that are there.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/ingest_private.h"
#include "storage/lsm/lsm.h"
#include "storage/run/run_block.h"

enum { BATCH_ROWS = 256 };

static int damaged(void)
{
    return diag_set(ERROR_CORRUPT, "an entry of an index in a body is damaged");
}

static struct index *index_numbered(const struct space *space, unsigned char number)
{
    for (uint32_t i = 0; i < space->index_count; i++)
        if (space->indexes[i]->scan.number == number)
            return space->indexes[i];
    return NULL;
}

/* --------------------------------------------------------------------------------------------- writing */

/* The sorted rows as files have them. */
struct source {
    struct engine_source base;
    struct ingest *ingest;
    struct run_memory last; /* key of the row before; of an entry its parts */
    uint64_t count, breathed_ns;
};

static int last_keep(struct source *source, const unsigned char *key, size_t size)
{
    if (run_memory_reserve(&source->last, size) != 0)
        return ingest__no_memory();
    memcpy(source->last.data, key, size);
    source->last.size = size;
    return 0;
}

static bool last_is(const struct source *source, const unsigned char *key, size_t size)
{
    return source->last.size == size && memcmp(source->last.data, key, size) == 0;
}

static int row_pass(struct source *source, const struct engine_row *row)
{
    struct index *primary = source->ingest->space->indexes[0];
    return last_is(source, row->key, row->key_size) ? db__duplicate_row(primary, row->data)
                                                    : last_keep(source, row->key, row->key_size);
}

/* Without what only sorting wants to know. */
static int entry_pass(struct source *source, struct engine_row *row)
{
    const struct index *index = index_numbered(source->ingest->space, row->key[0]);
    bool nil = row->data[0] & INGEST_NIL;
    size_t parts_size;
    uint64_t expires_ms;
    row->data++;
    row->size--;
    if (!txn_body_entry_get(row->data, row->size, &parts_size, &expires_ms))
        return damaged();
    if (!index->unique || nil)
        return 0;
    return last_is(source, row->key, parts_size + 1) ? db__duplicate(index)
                                                     : last_keep(source, row->key, parts_size + 1);
}

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    int rc = run_sort_next(source->ingest->sort, out);
    if (rc != 0)
        return rc;
    if (++source->count % BATCH_ROWS == 0) {
        checkpoint__step_aside(&source->breathed_ns);
        if ((rc = ingest__going_on(source->ingest)) != 0)
            return rc;
    }
    out->ts = source->ingest->ts;
    return out->key[0] == 0 ? row_pass(source, out) : entry_pass(source, out);
}

int ingest__write(struct ingest *ingest)
{
    struct source source = {.base.next = source_next, .ingest = ingest};
    int rc = lsm_write(ingest->store->body, &source.base, ingest->ts, &ingest->written);
    run_memory_destroy(&source.last);
    return rc;
}

/* ------------------------------------------------------------------------------------ what was written */

/* As a body has the primary key. */
static const unsigned char *body_key(struct arena *arena, const void *primary, size_t size)
{
    unsigned char *key = arena_alloc(arena, size + 1);
    if (key == NULL)
        return NULL;
    key[0] = 0;
    memcpy(key + 1, primary, size);
    return key;
}

static int row_get(struct body_view *view, uint64_t ts, const void *primary, size_t size,
                   struct arena *arena, struct engine_row *out)
{
    const unsigned char *key = body_key(arena, primary, size);
    return key == NULL ? ingest__no_memory() : body_get(view, key, size + 1, ts, arena, out);
}

int ingest__has(struct ingest *ingest, const void *primary, size_t primary_size,
                struct arena *arena, bool *has)
{
    struct engine_row row;
    int rc = row_get(ingest->written, ingest->ts, primary, primary_size, arena, &row);
    *has = rc == 0;
    return rc == ERROR_NOT_FOUND ? 0 : rc;
}

int ingest__other_holder(struct ingest *ingest, unsigned char number, const struct key_bytes *key,
                         const void *primary, size_t primary_size, struct arena *arena, bool *found)
{
    size_t size = key->parts_size + 1;
    unsigned char *parts = arena_alloc(arena, size);
    struct body_cursor *cursor;
    struct engine_row row;
    *found = false;
    if (parts == NULL)
        return ingest__no_memory();
    parts[0] = number;
    memcpy(parts + 1, key->data, key->parts_size);
    const struct engine_range range = {.lower = parts, .lower_size = size, .lower_inclusive = true};
    int rc = body_cursor_open(ingest->written, &range, ingest->ts, &cursor);
    if (rc != 0)
        return rc;
    while (!*found && (rc = body_cursor_next(cursor, &row)) == 0 && row.key_size >= size &&
           memcmp(row.key, parts, size) == 0)
        *found = row.key_size - size != primary_size ||
                 memcmp(row.key + size, primary, primary_size) != 0;
    body_cursor_close(cursor);
    return rc == ERROR_END ? 0 : rc;
}

/* -------------------------------------------------------------------------- the rows that are there at K1 */

/* An index there, and here. */
struct side {
    struct body_cursor *cursor;
    struct engine_row row;
    size_t parts_size; /* with the number */
    bool has_row;
};

static int side_next(struct side *side)
{
    uint64_t expires_ms;
    int rc = body_cursor_next(side->cursor, &side->row);
    side->has_row = rc == 0;
    if (rc != 0)
        return rc == ERROR_END ? 0 : rc;
    if (!txn_body_entry_get(side->row.data, side->row.size, &side->parts_size, &expires_ms) ||
        ++side->parts_size > side->row.key_size)
        return damaged();
    return 0;
}

/* Whether an entry that is there begins with the parts of one that comes. By its own parts they are not in order: those of an
 * index that was dropped, and had the same number, may have been others. */
static int parts_order(const struct side *there, const struct side *here)
{
    size_t size = there->row.key_size < here->parts_size ? there->row.key_size : here->parts_size;
    return run_key_compare(there->row.key, size, here->row.key, here->parts_size);
}

struct compare {
    struct ingest *ingest;
    struct index *index;
    struct side there, here;
    struct arena arena;
    uint64_t count, breathed_ns;
};

/* Whether the row of an entry that is there has its key at K1, no nil in it, and stays. */
static int holder_look(struct compare *compare, const char **tuple, bool *holds)
{
    struct ingest *ingest = compare->ingest;
    const struct side *there = &compare->there;
    const unsigned char *primary = there->row.key + there->parts_size;
    size_t primary_size = there->row.key_size - there->parts_size;
    struct engine_row row;
    struct key_list keys;
    bool replaced;
    *holds = false;
    int rc = row_get(ingest->view, ingest->k, primary, primary_size, &compare->arena, &row);
    if (rc != 0)
        return rc == ERROR_NOT_FOUND ? 0 : rc;
    *tuple = row.data;
    if (txn_expired_for_all(&ingest->store->head, row.data))
        return 0;
    rc = ingest__has(ingest, primary, primary_size, &compare->arena, &replaced);
    if (rc == 0 && !replaced)
        rc = db__keys_quietly(&compare->arena, compare->index, row.data, &keys);
    for (uint32_t i = 0; rc == 0 && !replaced && i < keys.count; i++)
        if (keys.keys[i].size == there->row.key_size - 1 && !keys.keys[i].has_nil &&
            memcmp(keys.keys[i].data, there->row.key + 1, keys.keys[i].size) == 0)
            *holds = true;
    return rc;
}

static int pair_look(struct compare *compare)
{
    const char *tuple;
    bool holds;
    arena_reset(&compare->arena);
    int rc = holder_look(compare, &tuple, &holds);
    return rc != 0 || !holds ? rc : db__duplicate_row(compare->index, tuple);
}

/* Both in order of their whole keys. */
static int sides_compare(struct compare *compare)
{
    int rc = side_next(&compare->there);
    if (rc == 0)
        rc = side_next(&compare->here);
    while (rc == 0 && compare->there.has_row && compare->here.has_row) {
        int order = parts_order(&compare->there, &compare->here);
        if (order == 0)
            rc = pair_look(compare);
        if (rc == 0)
            rc = side_next(order <= 0 ? &compare->there : &compare->here);
        if (++compare->count % BATCH_ROWS != 0)
            continue;
        checkpoint__step_aside(&compare->breathed_ns);
        rc = rc == 0 ? ingest__going_on(compare->ingest) : rc;
    }
    return rc;
}

static int index_compare(struct ingest *ingest, struct index *index)
{
    const unsigned char lower = index->scan.number, upper = lower + 1;
    const struct engine_range range = {.lower = &lower,
                                       .lower_size = 1,
                                       .lower_inclusive = true,
                                       .upper = &upper,
                                       .upper_size = 1};
    struct compare compare = {.ingest = ingest, .index = index};
    int rc = body_cursor_open(ingest->view, &range, ingest->k, &compare.there.cursor);
    if (rc != 0)
        return rc;
    arena_create(&compare.arena, 1 << 16);
    rc = body_cursor_open(ingest->written, &range, ingest->ts, &compare.here.cursor);
    if (rc == 0) {
        rc = sides_compare(&compare);
        body_cursor_close(compare.here.cursor);
    }
    body_cursor_close(compare.there.cursor);
    arena_destroy(&compare.arena);
    return rc;
}

int ingest__compare(struct ingest *ingest)
{
    int rc = 0;
    for (uint32_t i = 1; rc == 0 && i < ingest->space->index_count; i++)
        if (ingest->space->indexes[i]->unique)
            rc = index_compare(ingest, ingest->space->indexes[i]);
    return rc;
}
