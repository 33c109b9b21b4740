/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Locks in transactions: what the lock table (lock.h) knows, and what those respect who write
 * without asking it.
 *
 * An exclusive lock on a row is a lock in the table, for those who ask there and for fair queues,
 * and a tag on the row, a version that carries nothing, for those who just write.
 *
 * Shared locks on rows, and locks on spaces, have no tag. They are counted in `locked`, by the hash
 * of the space; a writer looks there after it has put its version on top, and if somebody has locked
 * something it asks the table as well, and takes its version away again if it must wait. Who locks
 * a row for sharing is counted first and then looks for a tag on the row. Each stores before it
 * looks, so at least one of two sees the other.
 *
 * Who locks a space is counted in space_locked too, and then waits for those who are between
 * wal_begin and wal_end. Whoever has written without asking looks there after wal_begin, before it
 * commits, and is run again: so after the lock was granted nothing is committed below it.
 *
 * Waiting for the owner of a tag that can be parked: first an exclusive lock on the row, whose queue
 * is fair, then the owner itself. Its transaction holds its own name.
 */
#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"
#include "txn/txn_private.h"

/* -------------------------------------------------------------- counted for those who don't ask */

static void count_change(struct txn_system *system, uint64_t space, bool whole, bool locked)
{
    struct head named = {.id = (uint32_t)(space >> 32), .incarnation = (uint32_t)space};
    unsigned flag = txn__lock_flag(&named);
    uint32_t by = locked ? 1 : UINT32_MAX;
    if (whole) {
        atomic_fetch_add(&system->space_locked[flag], by);
        atomic_fetch_add(&system->spaces_locked, by);
    }
    atomic_fetch_add(&system->locked[flag], by);
}

static void on_row_shared(void *arg, uint64_t space, const void *key, size_t key_size,
                          bool any_shared)
{
    (void)key;
    (void)key_size;
    count_change(arg, space, false, any_shared);
}

static bool space_list(struct txn_system *system, uint64_t space)
{
    if (system->locked_count == system->locked_capacity) {
        size_t capacity = system->locked_capacity == 0 ? 16 : 2 * system->locked_capacity;
        uint64_t *grown = realloc(system->locked_spaces, capacity * sizeof *grown);
        if (grown == NULL)
            return false;
        system->locked_spaces = grown;
        system->locked_capacity = capacity;
    }
    system->locked_spaces[system->locked_count++] = space;
    return true;
}

static void on_space_locked(void *arg, uint64_t space, enum lock_mode strongest)
{
    struct txn_system *system = arg;
    bool locked = strongest != LOCK_NONE;
    pthread_mutex_lock(&system->lock_mutex);
    size_t n = 0;
    while (n < system->locked_count && system->locked_spaces[n] != space)
        n++;
    bool known = n < system->locked_count;
    if (locked && !known) {
        /* Without memory it stays counted for ever: writers then ask the table. */
        space_list(system, space);
        count_change(system, space, true, true);
    } else if (!locked && known) {
        system->locked_spaces[n] = system->locked_spaces[--system->locked_count];
        count_change(system, space, true, false);
    }
    pthread_mutex_unlock(&system->lock_mutex);
}

int txn__locks_create(struct txn_system *system, unsigned escalation_rows)
{
    const struct lock_table_options options = {
        .escalation_rows = escalation_rows,
        .clock = system->clock,
        .space_locked = on_space_locked,
        .row_shared = on_row_shared,
        .arg = system,
    };
    pthread_mutex_init(&system->lock_mutex, NULL);
    return lock_table_new(&options, &system->locks);
}

/* Whether the transaction holds a lock below which it may write into the space. */
static bool write_allowed(const struct txn *txn, const struct head *head)
{
    struct lock_name name = lock_name_space(head->id, head->incarnation);
    return txn->owner != NULL && lock_held(txn->owner, &name, LOCK_INTENT_EXCLUSIVE);
}

bool txn__space_locked(const struct txn *txn)
{
    const struct txn_system *system = txn->worker->system;
    for (size_t i = 0; i < txn->writes.count; i++) {
        const struct txn_write *write = &txn->writes.items[i];
        if (!write->covered && !(version_flags(write->version) & VERSION_LOCK) &&
            load_seq_cst(&system->space_locked[txn__lock_flag(write->head)]) != 0 &&
            !write_allowed(txn, write->head))
            return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------------- owners */

struct lock_owner *txn_owner(struct txn *txn)
{
    struct txn_worker *worker = txn->worker;
    if (txn->owner != NULL)
        return txn->owner;
    struct lock_owner **place = txn->opened ? &txn->owner : &worker->owner;
    if (*place == NULL && lock_owner_new(worker->system->locks, place) != 0)
        return NULL;
    txn->owner = *place;
    lock_owner_session_set(txn->owner, txn->session_id);
    return txn->owner;
}

struct lock_owner *txn_owner_detach(struct txn_worker *worker)
{
    struct lock_owner *owner = worker->owner;
    if (owner == NULL || lock_wait_state(owner) == LOCK_WAIT_NONE)
        return NULL;
    worker->owner = NULL;
    return owner;
}

/* One that has lost is run again: its owner keeps its age, and while it waits its locks as well. */
static bool runs_again(const struct txn *txn)
{
    return !MUTATION(AGE_FORGOTTEN) &&
           (txn->stop == ERROR_CONFLICT || txn->stop == ERROR_DEADLOCK || txn->stop == ERROR_WAIT);
}

void txn__locks_end(struct txn *txn)
{
    struct lock_owner *owner = txn->owner;
    if (txn->stop != ERROR_WAIT || txn->opened || MUTATION(LOCKS_DROPPED_TO_WAIT))
        lock_release_all(owner);
    if (txn->opened && !txn->owner_given) {
        lock_owner_delete(owner);
    } else if (!txn->owner_given && !runs_again(txn)) {
        lock_owner_delete(owner);
        txn->worker->owner = NULL;
    }
    txn->owner = NULL;
}

/* ------------------------------------------------------------------------------------- asking */

/* What the table answered, as what the transaction does about it. */
static int answered(struct txn *txn, int rc)
{
    if (rc == ERROR_WAIT)
        return txn__stop(txn, rc, TXN_CAUSE_WAIT);
    if (rc == ERROR_DEADLOCK)
        return txn__stop(txn, rc, TXN_CAUSE_DEADLOCK);
    return rc;
}

static int ask(struct txn *txn, const struct lock_name *name, enum lock_mode mode)
{
    struct lock_owner *owner = txn_owner(txn);
    if (owner == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a lock");
    return answered(txn, lock_acquire(owner, name, mode));
}

static int ask_row(struct txn *txn, const struct head *head, const void *key, size_t key_size,
                   enum lock_mode mode)
{
    struct lock_name name = lock_name_row(head->id, head->incarnation, key, key_size);
    return ask(txn, &name, mode);
}

int txn__lock_cover(struct txn *txn, struct head *head, const void *key, size_t key_size,
                    bool space_only)
{
    struct lock_name space = lock_name_space(head->id, head->incarnation);
    return space_only ? ask(txn, &space, LOCK_INTENT_EXCLUSIVE)
                      : ask_row(txn, head, key, key_size, LOCK_EXCLUSIVE);
}

int txn__wait_for(struct txn *txn, struct head *head, const void *key, size_t key_size,
                  struct txn_descriptor *owner)
{
    if (txn->exclusive) {
        txn__claim_and_abort(txn->worker, owner->slot, owner, ERROR_CANCELLED,
                             "the transaction was rolled back to let one pass that had lost "
                             "several times");
        return ERROR_AGAIN;
    }
    int rc = ask_row(txn, head, key, key_size, LOCK_EXCLUSIVE);
    if (rc != 0)
        return rc;
    struct lock_name name = lock_name_owner(owner->owner_id);
    rc = ask(txn, &name, LOCK_SHARED);
    return rc == 0 ? ERROR_AGAIN : rc;
}

/* The uncommitted version of another on top of the row: its descriptor; NULL when there is none. */
static struct txn_descriptor *other_owner(const struct txn *txn, const struct row *row, bool *own)
{
    const struct version *top = load_seq_cst(&row->newest);
    uint64_t stamp = top == NULL ? 0 : load_acquire(&top->stamp);
    *own = false;
    if (!(stamp & STAMP_TAG))
        return NULL;
    struct txn_descriptor *owner = txn__tag_owner(stamp);
    *own = owner == txn->descriptor;
    uint64_t state = txn__settled_state(owner, STAMP_TAG);
    return *own || (state & STATE_MASK) != STATE_ACTIVE ? NULL : owner;
}

/* A transaction that has looked at nothing yet may as well have begun now: so a procedure that
 * begins with a lock does not lose to what was committed before it was granted. */
static void snapshot_renew(struct txn *txn)
{
    if (txn->level != TXN_READ_COMMITTED && txn->writes.count == 0 && !txn->looked &&
        !txn->at_durable)
        txn__snapshot_take(txn);
}

static int lock_shared(struct txn *txn, struct head *head, const void *key, size_t key_size)
{
    for (unsigned turn = 0;;) {
        int rc = ask_row(txn, head, key, key_size, LOCK_SHARED);
        if (rc != 0)
            return rc;
        struct row *row = (struct row *)tree_get(head->tree, key, key_size);
        bool own = false;
        struct txn_descriptor *owner = row == NULL ? NULL : other_owner(txn, row, &own);
        if (owner == NULL || MUTATION(SHARED_LOCK_BLIND))
            return 0;
        /* It wrote before the lock was counted. A short one ends soon; for another one waits in the
         * queue for exclusive locks, the only one there is. */
        if (owner->slot == NULL && turn > 256)
            return txn__conflict_at(txn, TXN_CAUSE_WRITE, head, key, key_size);
        if (owner->slot != NULL && (rc = txn__wait_for(txn, head, key, key_size, owner)) != 0 &&
            rc != ERROR_AGAIN)
            return rc;
        spin_wait(&turn);
    }
}

static int lock_exclusive(struct txn *txn, struct head *head, const void *key, size_t key_size)
{
    struct row *row = (struct row *)tree_get(head->tree, key, key_size);
    bool own = false;
    if (row != NULL)
        other_owner(txn, row, &own);
    if (own)
        return 0; /* nobody else can have it */
    int rc = ask_row(txn, head, key, key_size, LOCK_EXCLUSIVE);
    if (rc != 0)
        return rc;
    snapshot_renew(txn);
    struct version *version = txn__version_new(txn, 0, VERSION_LOCK | VERSION_TOMBSTONE);
    if (version == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a lock");
    return txn__write_version(txn, head, key, key_size, version, NULL);
}

static int lock_allowed(struct txn *txn)
{
    int rc = txn__stopped(txn);
    if (rc == 0 && txn->readonly)
        return diag_set(ERROR_READONLY, "a read-only transaction takes no locks");
    return rc;
}

int txn_lock_row(struct txn *txn, struct head *head, const void *key, size_t key_size,
                 enum txn_lock mode)
{
    int rc = lock_allowed(txn);
    if (rc != 0)
        return rc;
    if (key_size > TREE_KEY_SIZE_MAX)
        return diag_set(ERROR_TOO_LARGE, "a key of %zu bytes is above the limit of %d", key_size,
                        TREE_KEY_SIZE_MAX);
    if (mode == TXN_LOCK_EXCLUSIVE)
        return lock_exclusive(txn, head, key, key_size);
    rc = lock_shared(txn, head, key, key_size);
    if (rc == 0)
        snapshot_renew(txn);
    return rc;
}

int txn_lock_space(struct txn *txn, struct head *head, enum txn_lock mode)
{
    int rc = lock_allowed(txn);
    if (rc != 0)
        return rc;
    struct lock_name name = lock_name_space(head->id, head->incarnation);
    rc = ask(txn, &name, mode == TXN_LOCK_SHARED ? LOCK_SHARED : LOCK_EXCLUSIVE);
    if (rc != 0)
        return rc;
    wal_quiesce(txn->worker->system->wal);
    snapshot_renew(txn);
    return 0;
}
