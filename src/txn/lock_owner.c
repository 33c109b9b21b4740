/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an owner knows of its own locks: a map by name, and a history for savepoints.
 *
 *     map      hash -> hold        is this held already, and how strongly?
 *     history  [hold, mode before] [hold, mode before] ...        a mark is a position in it
 *
 * Both are the owner's thread's alone. Others grant to an owner that waits, but they only note it
 * in the hold and the state; the owner takes it over, lock__owner_settle, when it comes back. The
 * room for that was made before it was queued, so it can't fail.
 *
 * Going back to a mark undoes the entries behind it from the last to the first. An escalation gives
 * the locks of rows back and clears their entries, without closing the gaps, so that marks stay
 * what they are; its own entry has the position of the first of these rows. A return to a mark
 * behind that row can't undo it, nor what was done to that space before it; these entries stay, at
 * the mark, until there is a return to an earlier one.
 */
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "mem/system.h"
#include "txn/lock_private.h"

/* The map. */

struct lock_hold *lock__owner_find(const struct lock_owner *owner, const struct lock_name *name,
                                   uint64_t hash)
{
    size_t mask = owner->map_size - 1;
    for (size_t i = hash & mask; owner->map[i] != NULL; i = (i + 1) & mask)
        if (owner->map[i]->hash == hash && lock__name_is(owner->map[i]->lock, name))
            return owner->map[i];
    return NULL;
}

static void map_put(struct lock_owner *owner, struct lock_hold *hold)
{
    size_t mask = owner->map_size - 1, i = hold->hash & mask;
    while (owner->map[i] != NULL)
        i = (i + 1) & mask;
    owner->map[i] = hold;
}

/* Takes a hold out, and moves those behind it that could not be found any more (Knuth, volume 3,
 * 6.4, algorithm R). */
static void map_remove(struct lock_owner *owner, const struct lock_hold *hold)
{
    size_t mask = owner->map_size - 1, i = hold->hash & mask;
    while (owner->map[i] != hold)
        i = (i + 1) & mask;
    for (size_t j = (i + 1) & mask; owner->map[j] != NULL; j = (j + 1) & mask) {
        size_t home = owner->map[j]->hash & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            owner->map[i] = owner->map[j];
            i = j;
        }
    }
    owner->map[i] = NULL;
}

static int map_grow(struct lock_owner *owner)
{
    size_t old_size = owner->map_size;
    struct lock_hold **old = owner->map;
    struct lock_hold **map = system_alloc(2 * old_size * sizeof(*map), 16);
    if (map == NULL)
        return ERROR_MEMORY;
    memset(map, 0, 2 * old_size * sizeof(*map));
    owner->map = map;
    owner->map_size = 2 * old_size;
    for (size_t i = 0; i < old_size; i++)
        if (old[i] != NULL)
            map_put(owner, old[i]);
    if (old != owner->map_inline)
        system_free(old);
    return 0;
}

static int log_grow(struct lock_owner *owner)
{
    struct lock_log_entry *log = system_alloc(2 * owner->log_size * sizeof(*log), 16);
    if (log == NULL)
        return ERROR_MEMORY;
    memcpy(log, owner->log, owner->log_count * sizeof(*log));
    if (owner->log != owner->log_inline)
        system_free(owner->log);
    owner->log = log;
    owner->log_size *= 2;
    return 0;
}

int lock__owner_reserve(struct lock_owner *owner)
{
    int rc = 0;
    if (2 * (owner->count + 1) > owner->map_size)
        rc = map_grow(owner);
    if (rc == 0 && owner->log_count + 2 > owner->log_size)
        rc = log_grow(owner);
    return rc;
}

/* Back to what is in the owner itself; nothing is held. `all`: also what is worth keeping. */
static void memory_shrink(struct lock_owner *owner, bool all)
{
    if (owner->map_size > LOCK_OWNER_KEEP_MAX || (all && owner->map != owner->map_inline)) {
        system_free(owner->map);
        owner->map = owner->map_inline;
        owner->map_size = LOCK_OWNER_MAP_MIN;
        memset(owner->map_inline, 0, sizeof(owner->map_inline));
    }
    if (owner->log_size > LOCK_OWNER_KEEP_MAX || (all && owner->log != owner->log_inline)) {
        system_free(owner->log);
        owner->log = owner->log_inline;
        owner->log_size = LOCK_OWNER_LOG_MIN;
    }
}

/* Taking and giving back. */

void lock__owner_busy_set(struct lock_owner *owner)
{
    bool waits = load_relaxed(&owner->state) != LOCK_WAIT_NONE;
    store_relaxed(&owner->busy, (uint64_t)owner->count + waits);
}

/* A row of the space counts from now on, or no longer, as `mode`. */
static void rows_count(struct lock_hold *hold, enum lock_mode before, enum lock_mode after)
{
    if (hold->space == NULL)
        return;
    hold->space->rows += (size_t)(after != LOCK_NONE) - (size_t)(before != LOCK_NONE);
    hold->space->rows_exclusive +=
        (size_t)(after == LOCK_EXCLUSIVE) - (size_t)(before == LOCK_EXCLUSIVE);
}

void lock__owner_took(struct lock_owner *owner, struct lock_hold *hold)
{
    ASSERT(owner->log_count < owner->log_size);
    owner->log[owner->log_count++] = (struct lock_log_entry){.hold = hold, .before = hold->mode};
    if (hold->mode == LOCK_NONE) {
        map_put(owner, hold);
        owner->count++;
    }
    rows_count(hold, hold->mode, hold->granted);
    hold->mode = hold->granted;
    lock__owner_busy_set(owner);
}

/* Makes a lock weaker, or gives it back (LOCK_NONE): the hold is gone then. */
static void hold_weaken(struct lock_owner *owner, struct lock_hold *hold, enum lock_mode mode)
{
    struct lock_shard *shard = lock__shard(owner->table, hold->hash);
    rows_count(hold, hold->mode, mode);
    hold->mode = (unsigned char)mode;
    if (mode == LOCK_NONE) {
        map_remove(owner, hold);
        owner->count--;
    }
    lock__shard_enter(shard);
    lock__granted_set(owner->table, hold, mode);
    if (mode == LOCK_NONE)
        lock__hold_delete(owner, hold);
    lock__shard_leave(shard);
}

void lock__owner_fold(struct lock_owner *owner, struct lock_hold *space, enum lock_mode before)
{
    size_t floor = owner->log_count;
    for (size_t i = owner->log_count; i-- > 0;) {
        struct lock_log_entry *entry = &owner->log[i];
        if (entry->hold == NULL || entry->hold->space != space)
            continue;
        floor = i;
        /* Entries of an upgrade come later, so the hold is there until its first entry. */
        if (entry->before == LOCK_NONE)
            hold_weaken(owner, entry->hold, LOCK_NONE);
        entry->hold = NULL;
    }
    ASSERT(space->rows == 0 && space->rows_exclusive == 0);
    space->escalate_at = owner->table->escalation_rows;
    owner->log[owner->log_count++] = (struct lock_log_entry){
        .hold = space, .floor = floor, .before = (unsigned char)before, .escalation = true};
    lock__owner_busy_set(owner);
}

enum lock_wait lock__owner_settle(struct lock_owner *owner)
{
    if (load_relaxed(&owner->state) == LOCK_WAIT_NONE)
        return LOCK_WAIT_NONE;
    struct lock_shard *shard = lock__shard(owner->table, owner->wait_hash);
    struct lock_hold *hold = NULL;
    /* Under the mutex whoever ended the wait has also finished with the owner. */
    lock__shard_enter(shard);
    enum lock_wait state = (enum lock_wait)load_relaxed(&owner->state);
    if (state == LOCK_WAIT_GRANTED) {
        hold = owner->wait_hold;
        owner->wait_hold = NULL;
        store_relaxed(&owner->state, (int)LOCK_WAIT_NONE);
        if (hold->lock == NULL) {
            lock__hold_delete(owner, hold);
            hold = NULL;
        }
    }
    lock__shard_leave(shard);
    if (hold != NULL)
        lock__owner_took(owner, hold);
    lock__owner_busy_set(owner);
    return state;
}

/* Owners. */

static void owner_map_create(struct lock_owner *owner)
{
    owner->map = owner->map_inline;
    owner->map_size = LOCK_OWNER_MAP_MIN;
    owner->log = owner->log_inline;
    owner->log_size = LOCK_OWNER_LOG_MIN;
}

static void owner_condition_create(struct lock_owner *owner)
{
    pthread_condattr_t attributes;
    int rc = pthread_condattr_init(&attributes);
    ASSERT(rc == 0);
    rc = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    ASSERT(rc == 0);
    rc = pthread_cond_init(&owner->ended, &attributes);
    ASSERT(rc == 0);
    pthread_condattr_destroy(&attributes);
}

int lock_owner_new(struct lock_table *table, struct lock_owner **out)
{
    struct lock_owner *owner = NULL;
    if (atomic_fetch_add(&table->owners, 1) < table->options.owners_max)
        owner = system_alloc(sizeof(*owner), 16);
    if (owner == NULL) {
        atomic_fetch_sub(&table->owners, 1);
        return ERROR_MEMORY;
    }
    memset(owner, 0, sizeof(*owner));
    owner->id = atomic_fetch_add(&table->last_id, 1) + 1;
    owner->table = table;
    owner_map_create(owner);
    owner_condition_create(owner);
    *out = owner;
    return 0;
}

void lock_owner_delete(struct lock_owner *owner)
{
    if (owner == NULL)
        return;
    lock_release_all(owner);
    memory_shrink(owner, true);
    pthread_cond_destroy(&owner->ended);
    atomic_fetch_sub(&owner->table->owners, 1);
    system_free(owner);
}

uint64_t lock_owner_id(const struct lock_owner *owner)
{
    return owner->id;
}

void lock_owner_session_set(struct lock_owner *owner, uint64_t session_id)
{
    store_relaxed(&owner->session_id, session_id);
}

void lock_owner_wake_set(struct lock_owner *owner, void (*wake)(void *arg), void *arg)
{
    lock__owner_settle(owner);
    ASSERT(load_relaxed(&owner->state) != LOCK_WAIT_QUEUED);
    owner->wake = wake;
    owner->wake_arg = arg;
}

bool lock_held(struct lock_owner *owner, const struct lock_name *name, enum lock_mode mode)
{
    lock__owner_settle(owner);
    if (owner->count == 0)
        return false;
    const struct lock_hold *hold =
        lock__owner_find(owner, name, lock__name_hash(owner->table, name));
    if (hold != NULL && lock_mode_covers(hold->mode, mode))
        return true;
    if (name->kind != LOCK_ROW)
        return false;
    struct lock_name space = {.kind = LOCK_SPACE, .space = name->space};
    return lock_held(owner, &space, mode);
}

size_t lock_count(struct lock_owner *owner)
{
    lock__owner_settle(owner);
    return owner->count;
}

bool lock_owner_idle(const struct lock_owner *owner)
{
    return load_relaxed(&owner->busy) == 0;
}

/* Savepoints and the end. */

void lock_release_all(struct lock_owner *owner)
{
    if (lock_wait_cancel(owner, false) == LOCK_WAIT_VICTIM)
        store_relaxed(&owner->state, (int)LOCK_WAIT_NONE);
    for (size_t i = owner->log_count; i-- > 0;) {
        struct lock_log_entry *entry = &owner->log[i];
        if (entry->hold != NULL && entry->before == LOCK_NONE)
            hold_weaken(owner, entry->hold, LOCK_NONE);
    }
    ASSERT(owner->count == 0);
    owner->log_count = 0;
    memory_shrink(owner, false);
    lock__owner_busy_set(owner);
}

size_t lock_mark(struct lock_owner *owner)
{
    lock__owner_settle(owner);
    return owner->log_count;
}

/* Undoes an entry behind the mark, unless it must stay. */
static void entry_undo(struct lock_owner *owner, struct lock_log_entry *entry, size_t mark)
{
    struct lock_hold *hold = entry->hold;
    if (entry->escalation && entry->floor < mark)
        hold->stuck = true;
    if (hold->stuck)
        return;
    entry->hold = NULL;
    hold_weaken(owner, hold, entry->before);
}

void lock_release_to(struct lock_owner *owner, size_t mark)
{
    lock_wait_cancel(owner, false);
    for (size_t i = owner->log_count; i-- > mark;)
        if (owner->log[i].hold != NULL)
            entry_undo(owner, &owner->log[i], mark);
    size_t count = mark;
    for (size_t i = mark; i < owner->log_count; i++) {
        if (owner->log[i].hold == NULL)
            continue;
        owner->log[i].hold->stuck = false;
        owner->log[count++] = owner->log[i];
    }
    if (count < owner->log_count)
        owner->log_count = count;
    lock__owner_busy_set(owner);
}
