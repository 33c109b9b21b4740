/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlock detection: a search of the wait-for graph whenever a request has been queued.
 *
 * The graph is not stored, it is the queues: an owner that waits has an edge to each owner that
 * holds, or waits in front of it for, what conflicts with its request. An edge from one that waits
 * already can only be added by the newcomer itself, which as an upgrade goes in front of others;
 * one that waits later brings its edges with it. So every cycle that there is goes through the
 * owner that was queued last, and looking for cycles through the newcomer finds all of them.
 *
 * The search needs all shards at one moment, so it takes their mutexes in order. It is not begun
 * unless an owner that the newcomer waits for is waiting itself. That is seen under one mutex: each
 * newcomer stores its own state first and looks at the others' then, both sequentially consistent,
 * so of the owners of a cycle that forms in several shards at once, the one whose store is last in
 * that order sees the next one waiting.
 *
 * Breadth first, from the newcomer, with links in the owners: the first edge back to it closes a
 * shortest cycle, whose youngest owner is the victim. That is repeated until there is none. Each
 * round takes an owner out of its queue, and none can be queued while the mutexes are held.
 *
 * What all this costs: a round looks once at each owner it reaches, at the queue in front of it up
 * to the nearest request for LOCK_EXCLUSIVE, and at the holders, but once only for all those that
 * wait for LOCK_EXCLUSIVE. And an owner of few locks that nobody waits for can be in no cycle,
 * which spares the search to those who merely join a long queue.
 */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "txn/lock_private.h"

enum { FEW_LOCKS = 64, KEY_BYTES_SHOWN = 16 };

struct search {
    struct lock_owner *root, *from;
    struct lock_owner **last; /* where the next one reached is linked */
    uint64_t number;
    bool closed; /* from -> root is an edge */
};

static bool edge_follow(const struct lock_hold *blocker, void *arg)
{
    struct search *search = arg;
    struct lock_owner *to = blocker->owner;
    if (to == search->root) {
        search->closed = true;
        return true;
    }
    if (to->search == search->number || load_relaxed(&to->state) != LOCK_WAIT_QUEUED)
        return false;
    to->search = search->number;
    to->search_parent = search->from;
    to->search_next = NULL;
    *search->last = to;
    search->last = &to->search_next;
    return false;
}

static void edges_follow(struct search *search)
{
    const struct lock_hold *hold = search->from->wait_hold;
    struct lock *lock = hold->lock;
    /* All who want it exclusively, and hold nothing of it, wait for the same holders. */
    bool for_all = hold->wanted == LOCK_EXCLUSIVE && hold->granted == LOCK_NONE;
    if (!for_all || lock->search != search->number) {
        if (for_all)
            lock->search = search->number;
        if (lock__each_blocking_holder(hold, edge_follow, search))
            return;
    }
    lock__each_blocking_waiter(hold, edge_follow, search);
}

/* Links a cycle through root by cycle_next, if there is one. */
static bool cycle_find(struct lock_owner *root)
{
    struct search search = {.root = root, .number = ++root->table->search};
    root->search = search.number;
    root->search_next = NULL;
    search.last = &root->search_next;
    for (search.from = root; search.from != NULL; search.from = search.from->search_next) {
        edges_follow(&search);
        if (search.closed)
            break;
    }
    if (!search.closed)
        return false;
    struct lock_owner *next = root;
    for (struct lock_owner *at = search.from; at != root; at = at->search_parent) {
        at->cycle_next = next;
        next = at;
    }
    root->cycle_next = next;
    return true;
}

/* Whether somebody may wait for the owner, which has just been queued: for one of its locks
 * somebody does (it may be itself, for an upgrade, in front of others), or looking would take as
 * long as the search. */
static bool is_waited_for(const struct lock_owner *owner)
{
    if (owner->log_count > FEW_LOCKS)
        return true;
    for (size_t i = 0; i < owner->log_count; i++)
        if (owner->log[i].hold != NULL && !list_empty(&owner->log[i].hold->lock->queue))
            return true;
    return false;
}

/* Text, cut when there is no room for more. */

struct text {
    char *at;
    size_t room; /* with the final zero */
};

static void text_add(struct text *text, const char *string)
{
    size_t size = strlen(string);
    if (size >= text->room)
        size = text->room - 1;
    memcpy(text->at, string, size);
    text->at[size] = '\0';
    text->at += size;
    text->room -= size;
}

static void text_add_owner(struct text *text, const struct lock_owner *owner)
{
    char string[80];
    uint64_t session_id = load_relaxed(&owner->session_id);
    snprintf(string, sizeof(string), "owner %llu", (unsigned long long)owner->id);
    text_add(text, string);
    if (session_id == 0)
        return;
    snprintf(string, sizeof(string), " (session %llu)", (unsigned long long)session_id);
    text_add(text, string);
}

static void text_add_lock(struct text *text, const struct lock *lock)
{
    char string[80];
    if (lock->kind == LOCK_OWNER) {
        text_add(text, "its transaction");
        return;
    }
    snprintf(string, sizeof(string), "space %llu", (unsigned long long)(lock->space >> 32));
    text_add(text, string);
    if (lock->kind != LOCK_ROW)
        return;
    text_add(text, " row ");
    for (size_t i = 0; i < lock->key_size && i < KEY_BYTES_SHOWN; i++) {
        snprintf(string, sizeof(string), "%02x", lock->key[i]);
        text_add(text, string);
    }
    if (lock->key_size > KEY_BYTES_SHOWN)
        text_add(text, "...");
}

/* Writes the cycle, beginning with the victim, into the victim. */
static void cycle_describe(struct lock_owner *victim)
{
    struct text text = {victim->deadlock, sizeof(victim->deadlock)};
    struct lock_owner *owner = victim;
    do {
        const struct lock_hold *hold = owner->wait_hold;
        text_add_owner(&text, owner);
        text_add(&text, " waits for ");
        text_add_owner(&text, owner->cycle_next);
        text_add(&text, ": ");
        text_add(&text, lock_mode_name(hold->wanted));
        text_add(&text, " on ");
        text_add_lock(&text, hold->lock);
        owner = owner->cycle_next;
        if (owner != victim)
            text_add(&text, "; ");
    } while (owner != victim);
}

static struct lock_owner *cycle_youngest(struct lock_owner *root)
{
    struct lock_owner *youngest = root;
    for (struct lock_owner *owner = root->cycle_next; owner != root; owner = owner->cycle_next)
        if (owner->id > youngest->id)
            youngest = owner;
    return youngest;
}

void lock__deadlock_resolve(struct lock_owner *owner)
{
    while (load_relaxed(&owner->state) == LOCK_WAIT_QUEUED && is_waited_for(owner) &&
           cycle_find(owner)) {
        struct lock_owner *victim = cycle_youngest(owner);
        ASSERT(load_relaxed(&victim->state) == LOCK_WAIT_QUEUED);
        cycle_describe(victim);
        lock__shard(owner->table, victim->wait_hash)->deadlocks++;
        lock__wait_end(victim, LOCK_WAIT_VICTIM);
    }
}
