/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What was dropped and nobody can reach any more: stores with their rows, trees with their entries.
 * Freeing a million of them takes a good part of a second, which no worker has: whoever finds that
 * the last reader has left puts the thing in a list, and the checkpoint's thread frees it.
 */
#include "db/db_private.h"

#include <stdlib.h>

struct discarded {
    struct discarded *next;
    struct store *store; /* one of the two */
    struct tree *tree;
};

static void discarded_free(struct discarded *discarded, struct tree_thread *thread)
{
    if (discarded->store != NULL)
        db__store_release(discarded->store, thread);
    else
        txn_entries_delete(thread, discarded->tree);
}

void db__discard(struct db *db, struct tree_thread *thread, struct store *store, struct tree *tree)
{
    struct discarded *discarded = malloc(sizeof *discarded);
    struct discarded now = {NULL, store, tree};
    if (discarded == NULL) { /* then the worker takes the time */
        discarded_free(&now, thread);
        return;
    }
    *discarded = now;
    pthread_mutex_lock(&db->discard_mutex);
    discarded->next = db->discarded;
    store_release(&db->discarded, discarded);
    pthread_mutex_unlock(&db->discard_mutex);
}

bool db__discarded_any(const struct db *db)
{
    return load_acquire(&db->discarded) != NULL;
}

void db__discarded_free(struct db *db, struct tree_thread *thread)
{
    pthread_mutex_lock(&db->discard_mutex);
    struct discarded *first = load_relaxed(&db->discarded), *next;
    store_release(&db->discarded, NULL);
    pthread_mutex_unlock(&db->discard_mutex);
    /* In the order in which they were dropped: entries lead to rows of their store. */
    struct discarded *turned = NULL;
    for (; first != NULL; first = next) {
        next = first->next;
        first->next = turned;
        turned = first;
    }
    for (; turned != NULL; turned = next) {
        next = turned->next;
        discarded_free(turned, thread);
        free(turned);
    }
}
