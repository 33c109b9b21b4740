/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows that have left the head.
 *
 *      reader at S ──► tree of the head ──► a version at or below S: that is it
 *                             │ none
 *                             ▼
 *                      newest picture of the body ──► its newest version at or below S
 *
 * What makes this right (invariants 17 and 18):
 *   - A row leaves when its newest version is at most K, up to which the published picture has
 *     everything, and at most every snapshot that is held, D and every cut that may become D among
 *     them (txn_garbage.c). So for all who still read, what the body has of a row that is not in the
 *     head is its newest version, and nobody needs to be asked whether it has changed since.
 *   - The picture is published before rows leave. Who finds nothing in the tree, or a row that is dead,
 *     loads the picture behind that, and has one with the row.
 *   - A cursor that merges both loads the picture behind each row of the tree, and when that is a new one
 *     begins there anew, behind what it has passed: rows that have left since are in it.
 *   - An entry of a secondary index in the body says that a row had the key once. Whether it has it at S
 *     the row tells, which is looked for as any other: so entries of rows that have been written since need
 *     not be taken away before the next picture.
 *   - A row that is written anew may have nothing but new versions in the head. Who reads below these
 *     finds none there, and asks the body as well.
 *   - Absorbing keeps a version for each snapshot that is held; one that is just being taken might be below
 *     K still, and is waited for, which takes the few instructions between two stores.
 *
 * A picture is held by the epochs of those who read, as rows are. Cursors of bodies are closed when the
 * transaction ends or is parked: until then what they have pinned stays.
 */
#include <sched.h>
#include <string.h>

#include "txn/txn_private.h"

#include "base/diag.h"
#include "base/error.h"

/* What the rows of a walk take that need not stay. */
enum { BRIEF_BYTES = 64 << 10 };
struct brief {
    struct arena arenas[2];
    unsigned turn; /* which of them is being filled; the other has what came before */
};

struct txn_body_walk {
    struct txn_body_walk *next;
    struct txn *txn;
    const struct head_body *body;
    unsigned char number;       /* of the index */
    uint64_t ts;                /* at which it is read; 0: at the transaction's snapshot */
    struct txn_range range;     /* bounds stay valid */
    struct engine_range left;   /* what is left of it since the cursor was opened */
    struct body_view *view;     /* of the cursor */
    struct body_cursor *cursor; /* NULL: it has to be opened, or there is nothing behind */
    const void *passed;         /* up to here all is done; NULL: nothing */
    size_t passed_size;
    struct engine_row row; /* the one that is looked at */
    bool has_row, ended;
    struct brief *brief;     /* NULL: rows stay until the transaction ends */
    struct txn_ahead *ahead; /* NULL: what the body has is taken one at a time */
};

static void view_close(void *view, void *arg)
{
    (void)arg;
    body_view_close(view);
}

/* Release: who finds a row gone has seen the store of the picture that has it. */
void txn_body_publish(struct tree_thread *thread, struct head_body *body, struct body_view *view,
                      uint64_t k)
{
    struct body_view *old = load_relaxed(&body->view);
    store_release(&body->view, view);
    if (k > load_relaxed(&body->k))
        store_release(&body->k, k);
    if (old != NULL)
        epoch_retire(thread->epoch, old, view_close, NULL);
}

static int out_of_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for a row of a body");
}

int txn__body_version(struct arena *arena, const struct engine_row *row, const struct version **out)
{
    struct version *version = arena_alloc(arena, version_alloc_size(row->size));
    *out = version;
    if (version == NULL)
        return out_of_memory();
    atomic_init(&version->stamp, row->ts);
    atomic_init(&version->older, NULL);
    version->size = row->size;
    atomic_init(&version->flags, 0);
    memcpy(version->bytes, row->data, row->size);
    return 0;
}

/* A row, or an entry, for the transaction alone. */
static struct item *item_new(struct arena *arena, const void *key, size_t key_size, uint32_t state)
{
    struct item *item = arena_alloc(arena, item_alloc_size((uint32_t)key_size));
    if (item == NULL)
        return NULL;
    atomic_init(&item->pointer, NULL);
    atomic_init(&item->state, state);
    item->key_size = (uint32_t)key_size;
    memcpy(item->key, key, key_size);
    return item;
}

int txn__body_row(struct arena *arena, const void *key, size_t key_size, struct row **out)
{
    *out = (struct row *)item_new(arena, key, key_size, 0);
    return *out == NULL ? out_of_memory() : 0;
}

bool txn__body_parts(const char *data, size_t size, size_t key_size, size_t *out)
{
    uint64_t expires_ms;
    return txn_body_entry_get(data, size, out, &expires_ms) && *out <= key_size;
}

int txn__body_entry(struct arena *arena, const struct engine_row *row, struct entry **out)
{
    size_t parts_size;
    if (!txn__body_parts(row->data, row->size, row->key_size, &parts_size))
        return diag_set(ERROR_CORRUPT, "an entry of an index in a body is damaged");
    *out = (struct entry *)item_new(arena, row->key, row->key_size, (uint32_t)parts_size);
    return *out == NULL ? out_of_memory() : 0;
}

static size_t parts_size(const struct entry *entry)
{
    return load_relaxed(&entry->state) & ENTRY_PARTS_MASK;
}

/* The key of an item as the body has it. */
static const unsigned char *body_key(struct txn *txn, unsigned char number, const void *key,
                                     size_t key_size)
{
    unsigned char *out = arena_alloc(&txn->arena, key_size + 1);
    if (out == NULL)
        return NULL;
    out[0] = number;
    if (key_size > 0)
        memcpy(out + 1, key, key_size);
    return out;
}

int txn__body_get(struct txn *txn, const struct head *head, const void *key, size_t key_size,
                  uint64_t ts, const struct version **out)
{
    struct engine_row row;
    *out = NULL;
    const unsigned char *there = body_key(txn, 0, key, key_size);
    if (there == NULL)
        return out_of_memory();
    int rc = body_get(load_acquire(&head->body->view), there, key_size + 1, ts, &txn->arena, &row);
    if (rc != 0)
        return rc == ERROR_NOT_FOUND ? 0 : rc;
    return txn__body_version(&txn->arena, &row, out);
}

/* An entry that was left by an index of the same number, which is no more, has other parts. */
int txn__entry_belongs(const struct txn_index *index, const struct entry *entry,
                       const struct version *version)
{
    return txn__exists(version) ? index->matches(index, entry, version) : 0;
}

int txn__body_belongs(struct txn *txn, const struct txn_index *index, const struct entry *entry,
                      uint64_t ts, const struct version **version)
{
    size_t parts = parts_size(entry);
    int rc =
        txn__body_get(txn, index->head, entry->key + parts, entry->key_size - parts, ts, version);
    if (rc == 0 && *version != NULL && txn__expired(txn, index->head, *version))
        return 0;
    return rc != 0 ? rc : txn__entry_belongs(index, entry, *version);
}

/* ----------------------------------------------------------------------------------------- ranges */

int txn__walk_open(struct txn *txn, const struct txn_index *index, const struct txn_range *range,
                   uint64_t ts, struct txn_body_walk **out)
{
    struct txn_body_walk *walk = arena_alloc(&txn->arena, sizeof *walk);
    if (walk == NULL)
        return out_of_memory();
    *walk = (struct txn_body_walk){.next = txn->walks,
                                   .txn = txn,
                                   .body = index->head->body,
                                   .number = index->number,
                                   .ts = ts,
                                   .range = *range};
    txn->walks = walk;
    *out = walk;
    return 0;
}

void txn__walk_close(struct txn_body_walk *walk)
{
    if (walk->cursor != NULL)
        body_cursor_close(walk->cursor);
    walk->cursor = NULL;
    walk->has_row = false;
}

void txn__walks_close(struct txn *txn)
{
    for (; txn->walks != NULL; txn->walks = txn->walks->next) {
        txn__walk_close(txn->walks);
        if (txn->walks->ahead != NULL)
            txn__ahead_delete(txn->walks->ahead);
        for (unsigned i = 0; txn->walks->brief != NULL && i < 2; i++)
            arena_destroy(&txn->walks->brief->arenas[i]);
    }
}

void txn__walk_brief(struct txn_body_walk *walk)
{
    struct brief *brief = arena_alloc(&walk->txn->arena, sizeof *brief);
    if (brief == NULL)
        return; /* rows stay, then */
    for (unsigned i = 0; i < 2; i++)
        arena_create(&brief->arenas[i], 2 * BRIEF_BYTES);
    brief->turn = 0;
    walk->brief = brief;
}

struct txn_ahead *txn__walk_ahead(struct txn_body_walk *walk, struct head *head)
{
    if (walk->ahead == NULL)
        walk->ahead = txn__ahead_new(walk->txn, head);
    return walk->ahead;
}

struct arena *txn__walk_arena(struct txn_body_walk *walk)
{
    struct brief *brief = walk->brief;
    if (brief == NULL)
        return &walk->txn->arena;
    if (brief->arenas[brief->turn].used_bytes >= BRIEF_BYTES) {
        brief->turn ^= 1;
        arena_reset(&brief->arenas[brief->turn]);
    }
    return &brief->arenas[brief->turn];
}

/* One bound of what is left as the body has it: a key of the index, or its end. */
static bool bound_set(struct txn_body_walk *walk, const void *key, size_t key_size, bool inclusive,
                      bool upper)
{
    unsigned char number = walk->number;
    bool end = key == NULL && upper;
    const unsigned char *there = body_key(walk->txn, end ? number + 1 : number, key, key_size);
    if (upper) {
        walk->left.upper = there;
        walk->left.upper_size = key_size + 1;
        walk->left.upper_inclusive = !end && inclusive;
    } else {
        walk->left.lower = there;
        walk->left.lower_size = key_size + 1;
        walk->left.lower_inclusive = key == NULL || inclusive;
    }
    return there != NULL;
}

/* Begins behind what has been passed, at the snapshot that the transaction has now. */
static int walk_begin(struct txn_body_walk *walk, struct body_view *view)
{
    const struct txn_range *range = &walk->range;
    bool passed = walk->passed != NULL;
    txn__walk_close(walk);
    if (walk->ahead != NULL)
        txn__ahead_forget(walk->ahead);
    walk->view = view;
    walk->ended = false;
    walk->left.backward = range->backward;
    bool set = passed && !range->backward
                   ? bound_set(walk, walk->passed, walk->passed_size, false, false)
                   : bound_set(walk, range->lower, range->lower == NULL ? 0 : range->lower_size,
                               range->lower_inclusive, false);
    set = set && (passed && range->backward
                      ? bound_set(walk, walk->passed, walk->passed_size, false, true)
                      : bound_set(walk, range->upper, range->upper == NULL ? 0 : range->upper_size,
                                  range->upper_inclusive, true));
    if (!set)
        return out_of_memory();
    return body_cursor_open(view, &walk->left, walk->ts != 0 ? walk->ts : walk->txn->snapshot,
                            &walk->cursor);
}

int txn__walk_peek(struct txn_body_walk *walk, const struct engine_row **out)
{
    struct body_view *view = load_acquire(&walk->body->view);
    int rc = 0;
    *out = NULL;
    if (walk->view == NULL || (view != walk->view && !MUTATION(WALK_NOT_RENEWED)))
        rc = walk_begin(walk, view);
    if (rc == 0 && !walk->has_row && !walk->ended) {
        rc = walk->ahead != NULL ? txn__ahead_next(walk->ahead, walk->cursor, &walk->row)
                                 : body_cursor_next(walk->cursor, &walk->row);
        walk->has_row = rc == 0;
        if (rc == 0) { /* without the number */
            walk->row.key++;
            walk->row.key_size--;
        } else if (rc == ERROR_END) {
            txn__walk_close(walk);
            walk->ended = true;
            rc = 0;
        }
    }
    if (walk->has_row)
        *out = &walk->row;
    return rc;
}

int txn__walk_order(const struct txn_body_walk *walk, const struct item *item,
                    const struct engine_row *row)
{
    if (item == NULL || row == NULL)
        return (item == NULL) - (row == NULL);
    size_t common = item->key_size < row->key_size ? item->key_size : row->key_size;
    int order = memcmp(item->key, row->key, common);
    if (order == 0)
        order = (item->key_size > row->key_size) - (item->key_size < row->key_size);
    return walk->range.backward ? -order : order;
}

void txn__walk_pass(struct txn_body_walk *walk, const void *key, size_t key_size)
{
    walk->passed = key;
    walk->passed_size = key_size;
    if (walk->has_row && walk->row.key_size == key_size &&
        memcmp(walk->row.key, key, key_size) == 0)
        walk->has_row = false;
}
