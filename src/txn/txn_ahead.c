/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Entries of a secondary index in a body, read before a cursor comes to them, so that the rows that they lead to,
 * which lie anywhere, are read by one call rather than one after another:
 *
 *      body ── entry, entry, entry, .. ──► batch ──► given out one at a time, as the body gives them
 *                                            └─ primary keys that the head does not have ──► body_prefetch
 *
 * It changes nothing of what is seen: entries are those of the picture that the walk stands in, and rows are
 * looked for when the cursor comes to their entry, in the head and then in the newest picture, as without it. What
 * could not be read ahead is read then, and fails then.
 *
 * Short ranges shall not pay: the first entries come alone, unless the cursor has been told how many rows are
 * wanted; then batches double. Where batches find that everything is in memory they become rare: in a walk, and,
 * since who reads one range often reads many, in the walks of a worker, of which one in a few tries again.
 *
 * Gets of many keys are made one after another, too, with what they will want of the body asked for before the first
 * of each batch of them.
 */
#include <string.h>

#include "txn/txn_gets.h"
#include "txn/txn_private.h"

#include "base/diag.h"
#include "base/error.h"

enum {
    ALONE = 2,
    LEAST = 4,
    MOST = ENGINE_PREFETCH_MAX,
    USELESS_ALONE =
        16, /* entries that come alone behind a batch that was useless, twice as many behind the next */
    USELESS_ALONE_MAX = 512,
    USELESS_MANY = 4, /* in a row, of a worker, before most of its walks do without */
    TRY_EVERY = 8,
    BATCH_KEEP_BYTES = 16 << 10
};

struct batch {
    struct arena arena; /* of what rows point to */
    struct engine_row rows[MOST];
    unsigned count, at; /* entries, and which is next */
    unsigned fetched;   /* entries whose rows have been asked for */
    int behind;         /* what the body said behind the last one; 0: nothing yet */
    const char *message;
};

struct txn_ahead {
    struct txn *txn;
    struct head *head;
    struct batch *batch; /* NULL: none was needed yet */
    unsigned alone;      /* so many entries come alone before the next batch */
    unsigned depth;      /* entries of the next batch */
    unsigned useless;    /* batches in a row that found all in memory */
};

static bool worker_tries(struct txn_ahead_luck *luck)
{
    return luck->useless < USELESS_MANY || ++luck->turn % TRY_EVERY == 0;
}

/* How many come alone behind a batch; `useless` counts those in a row that were so. */
static unsigned alone_behind(bool useful, unsigned *useless, struct txn_ahead_luck *luck)
{
    if (useful) {
        *useless = luck->useless = 0;
        return 0;
    }
    unsigned alone = (unsigned)USELESS_ALONE << *useless;
    *useless += alone < USELESS_ALONE_MAX;
    luck->useless += luck->useless < USELESS_MANY;
    return alone;
}

struct txn_ahead *txn__ahead_new(struct txn *txn, struct head *head)
{
    struct txn_ahead *ahead = arena_alloc(&txn->arena, sizeof *ahead);
    if (ahead != NULL)
        *ahead = (struct txn_ahead){
            .txn = txn,
            .head = head,
            .alone = worker_tries(&txn->worker->ahead_walks) ? ALONE : USELESS_ALONE_MAX,
            .depth = LEAST};
    return ahead;
}

void txn__ahead_delete(struct txn_ahead *ahead)
{
    if (ahead->batch != NULL)
        arena_destroy(&ahead->batch->arena);
    ahead->batch = NULL;
}

void txn__ahead_expect(struct txn_ahead *ahead, uint64_t rows)
{
    if (rows < 2)
        ahead->alone = UINT32_MAX;
    if (ahead->alone != ALONE)
        return;
    ahead->alone = 0;
    ahead->depth = rows < MOST ? (unsigned)rows : MOST;
}

void txn__ahead_forget(struct txn_ahead *ahead)
{
    struct batch *batch = ahead->batch;
    if (batch != NULL)
        batch->count = batch->at = batch->fetched = 0;
    if (batch != NULL)
        batch->behind = 0;
}

static struct batch *batch_of(struct txn_ahead *ahead)
{
    if (ahead->batch == NULL &&
        (ahead->batch = arena_alloc(&ahead->txn->arena, sizeof *ahead->batch)) != NULL) {
        ahead->batch->count = ahead->batch->at = ahead->batch->fetched = 0;
        ahead->batch->behind = 0;
        arena_create(&ahead->batch->arena, BATCH_KEEP_BYTES);
    }
    return ahead->batch;
}

/* ----------------------------------------------------------------------------------------- batches */

static bool row_keep(struct batch *batch, const struct engine_row *row)
{
    struct engine_row *kept = &batch->rows[batch->count];
    *kept = *row;
    kept->key = arena_copy(&batch->arena, row->key, row->key_size);
    kept->data = arena_copy(&batch->arena, row->data, row->size);
    batch->count += kept->key != NULL && kept->data != NULL;
    return kept->key != NULL && kept->data != NULL;
}

/* Takes entries until there are enough. An error waits until those before it have been given out. */
static void batch_fill(struct txn_ahead *ahead, struct body_cursor *cursor)
{
    struct batch *batch = ahead->batch;
    struct engine_row row;
    arena_reset(&batch->arena);
    batch->count = batch->at = batch->fetched = 0;
    while (batch->count < ahead->depth && batch->behind == 0) {
        batch->behind = body_cursor_next(cursor, &row);
        if (batch->behind == 0 && !row_keep(batch, &row))
            batch->behind = diag_set(ERROR_MEMORY, "no memory for entries of an index");
    }
    if (batch->behind != 0 && batch->behind != ERROR_END) {
        const char *message = diag_message_for(batch->behind);
        batch->message = arena_copy(&batch->arena, message, strlen(message) + 1);
        if (batch->message == NULL)
            batch->message = error_text(batch->behind);
    }
}

/* A primary key as the body has it; false if the head has the row. */
static bool key_wanted(struct txn *txn, struct head *head, const void *key, size_t size,
                       struct arena *arena, struct engine_key *out)
{
    const struct row *row = txn__row_find(txn, head, key, size);
    if (row != NULL && load_acquire(&row->newest) != &txn__version_dead)
        return false;
    unsigned char *whole = arena_alloc(arena, size + 1);
    if (whole == NULL)
        return false;
    whole[0] = 0; /* the primary index */
    memcpy(whole + 1, key, size);
    *out = (struct engine_key){whole, size + 1};
    return true;
}

/* The primary key behind an entry; none if the head has the row, or the entry is damaged. */
static bool primary_key(struct txn_ahead *ahead, const struct engine_row *entry,
                        struct engine_key *out)
{
    size_t parts = 0;
    return txn__body_parts(entry->data, entry->size, entry->key_size - 1, &parts) &&
           key_wanted(ahead->txn, ahead->head, entry->key + 1 + parts, entry->key_size - 1 - parts,
                      &ahead->batch->arena, out);
}

static void learn(struct txn_ahead *ahead, bool useful)
{
    unsigned alone = alone_behind(useful, &ahead->useless, &ahead->txn->worker->ahead_walks);
    if (useful) {
        ahead->depth = 2 * ahead->depth < MOST ? 2 * ahead->depth : MOST;
        return;
    }
    ahead->alone = alone;
    ahead->depth = LEAST;
}

static unsigned prefetch(const struct txn *txn, const struct head *head,
                         const struct engine_key *keys, unsigned count, unsigned *reads)
{
    return body_prefetch(load_acquire(&head->body->view), keys, count, txn->snapshot, reads);
}

/* Asks for the rows of entries that were not asked for yet. */
static void rows_fetch(struct txn_ahead *ahead)
{
    struct batch *batch = ahead->batch;
    struct engine_key keys[MOST];
    unsigned of[MOST], count = 0, done = 0, reads = 0;
    for (unsigned i = batch->fetched; i < batch->count; i++) {
        of[count] = i;
        count += primary_key(ahead, &batch->rows[i], &keys[count]);
    }
    if (count > 0)
        done = prefetch(ahead->txn, ahead->head, keys, count, &reads);
    batch->fetched = done == count || done == 0 ? batch->count : of[done];
    learn(ahead, reads > 0);
    if (count > 0 && done == 0)
        ahead->alone = UINT32_MAX; /* nor will it be later */
}

int txn__ahead_next(struct txn_ahead *ahead, struct body_cursor *cursor, struct engine_row *out)
{
    struct batch *batch = ahead->batch;
    if (batch == NULL || batch->at == batch->count) {
        if (batch != NULL && batch->behind != 0)
            return batch->behind == ERROR_END ? ERROR_END
                                              : diag_set(batch->behind, "%s", batch->message);
        if (ahead->alone > 0 || (batch = batch_of(ahead)) == NULL) {
            ahead->alone -= ahead->alone > 0 && ahead->alone < UINT32_MAX;
            return body_cursor_next(cursor, out);
        }
        batch_fill(ahead, cursor);
        if (batch->count == 0)
            return txn__ahead_next(ahead, cursor, out);
    }
    if (batch->at == batch->fetched)
        rows_fetch(ahead);
    *out = batch->rows[batch->at++];
    return 0;
}

/* -------------------------------------------------------------------------------------------- gets */

/* Asks for the first keys; how many of them are seen to. */
static unsigned keys_fetch(struct txn *txn, struct head *head, const struct engine_key *keys,
                           unsigned given, struct txn_gets *gets)
{
    struct engine_key wanted[MOST];
    unsigned of[MOST], count = 0, done = 0, reads = 0;
    for (unsigned i = 0; i < given; i++) {
        of[count] = i;
        count += key_wanted(txn, head, keys[i].data, keys[i].size, &txn->arena, &wanted[count]);
    }
    if (count > 0)
        done = prefetch(txn, head, wanted, count, &reads);
    gets->alone = alone_behind(reads > 0, &gets->useless, &txn->worker->ahead_gets);
    if (count > 0 && done == 0)
        gets->alone = UINT32_MAX;
    return done == count || done == 0 ? given : of[done];
}

unsigned txn_gets_ahead(struct txn *txn, struct head *head, const struct engine_key *keys,
                        unsigned count, struct txn_gets *gets)
{
    if (head->body == NULL || count < 2)
        return count;
    if (!gets->begun && !worker_tries(&txn->worker->ahead_gets))
        gets->alone = USELESS_ALONE_MAX;
    gets->begun = true;
    if (gets->alone == 0)
        return keys_fetch(txn, head, keys, count < MOST ? count : MOST, gets);
    unsigned alone = gets->alone < count ? gets->alone : count;
    gets->alone -= gets->alone < UINT32_MAX ? alone : 0;
    return alone;
}
