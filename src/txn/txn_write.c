/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Writing: uncommitted versions, entries of secondary indexes, undo.
 *
 * A write puts a version, tagged with its transaction, on top of the row's chain by
 * compare-and-swap. First updater wins (invariant 11): a row whose newest version is another's
 * uncommitted one, or was committed after the snapshot, is a conflict. Under read committed there
 * is no snapshot to defend: the writer waits a little for a running owner and goes on top of
 * whatever was committed.
 *
 * A row ends by a compare-and-swap of `newest` to the dead version, under the latch of its leaf
 * (invariant 14); so a writer that has found the row either gets its version on top before, and the
 * row stays, or meets the dead version and searches again.
 *
 * The link `older` of an uncommitted version is changed by nobody but its transaction: garbage
 * collection never unlinks the newest committed version of a chain. That is what allows undo, and
 * replacing the placeholder, by a plain store.
 */
#include "txn/txn_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "mem/parcel.h"

bool txn__vector_grow(struct txn *txn, void **items, size_t *capacity, size_t item_size)
{
    size_t wanted = *capacity == 0 ? 16 : 2 * *capacity;
    void *grown = arena_alloc(&txn->arena, wanted * item_size);
    if (grown == NULL)
        return false;
    if (*capacity != 0)
        memcpy(grown, *items, *capacity * item_size);
    *items = grown;
    *capacity = wanted;
    return true;
}

/* What the owner of a tag on top of a row means for one who wants to write it: 0 it has committed,
 * at *stamp; ERROR_AGAIN look again; ERROR_CONFLICT; ERROR_WAIT, ERROR_DEADLOCK. */
static int owner_check(struct txn *txn, struct head *head, const struct row *row,
                       const struct version *top, uint64_t *stamp, unsigned *turn)
{
    struct txn_descriptor *owner = txn__tag_owner(*stamp);
    uint64_t state = txn__settled_state(owner, STAMP_TAG);
    switch (state & STATE_MASK) {
    case STATE_COMMITTED:
        if (version_flags(top) & VERSION_LOCK)
            break; /* its owner is taking it away */
        *stamp = state >> STATE_TS_SHIFT;
        return 0;
    case STATE_ABORTED: /* the same */
        break;
    default:
        MUTATION_POINT(OWNER_MET);
        if (owner->slot != NULL) {
            int rc = txn__wait_for(txn, head, row->key, row->key_size, owner);
            if (rc != ERROR_AGAIN)
                return rc;
        } else if (!txn__latest_level(txn) || *turn > OWNER_WAIT_TURNS) {
            return ERROR_CONFLICT;
        }
    }
    spin_wait(turn);
    return ERROR_AGAIN;
}

/* What stands in the way of putting a version on top of `top`: 0 nothing, else as owner_check. */
static int top_check(struct txn *txn, struct head *head, const struct row *row,
                     const struct version *top, unsigned *turn)
{
    uint64_t stamp = load_acquire(&top->stamp);
    if (stamp & STAMP_TAG) {
        if (txn__tag_owner(stamp) == txn->descriptor || MUTATION(WRITE_OVER_UNCOMMITTED))
            return 0;
        int rc = owner_check(txn, head, row, top, &stamp, turn);
        if (rc != 0)
            return rc;
    }
    if (txn__latest_level(txn) || stamp <= txn->snapshot || MUTATION(WRITE_OVER_NEWER))
        return 0;
    if (!MUTATION(REPLY_FORGETS_WINNER))
        txn__saw(txn, stamp); /* a reply that tells of the conflict rests on it (invariant 9) */
    return ERROR_CONFLICT;
}

/* Puts `version` on top of the row. ERROR_AGAIN: the row is dead. */
static int row_push(struct txn *txn, struct head *head, struct row *row, struct version *version)
{
    unsigned turn = 0;
    for (;;) {
        struct version *top = load_acquire(&row->newest);
        if (top == &txn__version_dead && !MUTATION(DEAD_ROW_TAKEN))
            return ERROR_AGAIN;
        if (top != NULL) {
            int rc = top_check(txn, head, row, top, &turn);
            if (rc == ERROR_AGAIN)
                continue;
            if (rc == ERROR_CONFLICT)
                return txn__conflict_at(txn, TXN_CAUSE_WRITE, head, row->key, row->key_size);
            if (rc != 0)
                return rc;
        }
        if (top != NULL && top == &txn->descriptor->lock) { /* the row is ours already: the version
                                                               takes the placeholder's place */
            store_relaxed(&version->older, load_relaxed(&top->older));
            store_release(&row->newest, version);
            txn->locked_row = NULL;
            return 0;
        }
        store_relaxed(&version->older, top);
        /* Sequentially consistent: the look for locks comes after it (txn_lock.c). */
        if (atomic_compare_exchange_strong(&row->newest, &top, version))
            return 0;
    }
}

static bool replace_always(struct item *present, struct item *inserted, void *arg)
{
    (void)present, (void)inserted, (void)arg;
    return true;
}

/* A new row whose only version is `version`. ERROR_EXISTS: somebody else was first (invariant 14:
 * the tree decides). */
static int row_create(struct txn *txn, struct head *head, const void *key, size_t key_size,
                      struct version *version, struct row **out)
{
    struct tree_thread *thread = &txn->worker->thread;
    struct row *row = heap_alloc_as(thread->heap, item_alloc_size((uint32_t)key_size), HEAP_ROW);
    if (row == NULL)
        return ERROR_MEMORY;
    atomic_init(&row->newest, version);
    atomic_init(&row->state, head->body == NULL ? 0 : ROW_IN_RUN); /* its body may have the key */
    row->key_size = (uint32_t)key_size;
    memcpy(row->key, key, key_size);
    store_relaxed(&version->older, NULL);
    struct item *present = NULL;
    int rc = tree_insert(head->tree, thread, (struct item *)row,
                         MUTATION(SECOND_ANCHOR) ? replace_always : NULL, NULL, &present);
    if (rc != 0) {
        heap_free_as(thread->heap, row, item_alloc_size((uint32_t)key_size), HEAP_ROW);
        return rc;
    }
    *out = row;
    return 0;
}

/* Finds or makes the row and puts the version on top. */
static int row_write(struct txn *txn, struct head *head, const void *key, size_t key_size,
                     struct version *version, struct row **out)
{
    unsigned turn = 0;
    bool absent = txn__was_absent(txn, head, key, key_size);
    for (;; absent = false) {
        struct row *row = absent ? NULL : txn__row_find(txn, head, key, key_size);
        MUTATION_POINT(ROW_FOUND);
        int rc;
        if (row == NULL) {
            rc = row_create(txn, head, key, key_size, version, &row);
            if (rc == ERROR_EXISTS)
                continue;
            if (rc == 0)
                txn__row_found(txn, head, row);
        } else {
            rc = row_push(txn, head, row, version);
            if (rc == ERROR_AGAIN) {
                spin_wait(&turn);
                continue;
            }
        }
        *out = row;
        txn->published = txn->published || rc == 0;
        return rc;
    }
}

static int write_allowed(struct txn *txn)
{
    int rc = txn__stopped(txn);
    if (rc == 0 && txn->readonly)
        return diag_set(ERROR_READONLY, "a read-only transaction cannot write");
    return rc;
}

/* Whether somebody has locked something in the space, so that those who write without locks have to
 * ask. After the version was put on top: who locks sets this first and then looks for versions. */
static bool space_has_locks(struct txn_system *system, const struct head *head)
{
    return load_seq_cst(&system->locked[txn__lock_flag(head)]) != 0 && !MUTATION(LOCKED_UNSEEN);
}

int txn_doubtful(const struct head *head)
{
    return diag_set(ERROR_BUSY,
                    "space %u cannot be written to or changed until the next checkpoint that "
                    "succeeds, or the next "
                    "start: nobody knows before whether rows that were ingested are in it",
                    head->id);
}

int txn__write_version(struct txn *txn, struct head *head, const void *key, size_t key_size,
                       struct version *version, struct row **row_out)
{
    if (!txn__vector_add(txn, &txn->writes, (struct txn_write){.head = head}))
        return diag_set(ERROR_MEMORY, "no memory for the write set");
    txn->writes.count--;
    bool covered = false;
    int rc = load_relaxed(&head->doubtful) ? txn_doubtful(head) : 0;
    if (rc == 0 && txn->opened && !(version_flags(version) & VERSION_LOCK)) {
        rc = txn__lock_cover(txn, head, key, key_size, true);
        covered = true;
    }
    struct row *row = NULL;
    if (rc == 0)
        rc = row_write(txn, head, key, key_size, version, &row);
    if (rc != 0) {
        txn__version_free(version, txn->worker->thread.heap);
        return rc;
    }
    if (row_out != NULL)
        *row_out = row;
    txn->writes.items[txn->writes.count++] =
        (struct txn_write){.head = head, .row = row, .version = version, .covered = covered};
    if (version_flags(version) & VERSION_LOCK) {
        txn->lock_writes++;
        return 0;
    }
    if (!space_has_locks(txn->worker->system, head))
        return 0;
    rc = txn__lock_cover(txn, head, key, key_size, false);
    if (rc == 0)
        txn->writes.items[txn->writes.count - 1].covered = true;
    else
        txn__undo(txn, txn->writes.count - 1);
    return rc;
}

static void version_init(const struct txn *txn, struct version *version, uint32_t size,
                         uint32_t flags)
{
    atomic_init(&version->stamp, txn__tag(txn->descriptor));
    atomic_init(&version->older, NULL);
    version->size = size;
    atomic_init(&version->flags, flags);
}

struct version *txn__version_new(struct txn *txn, uint32_t size, uint32_t flags)
{
    struct version *version = txn__version_alloc(txn->worker->thread.heap, size, &flags);
    if (version != NULL)
        version_init(txn, version, size, flags);
    return version;
}

static size_t key_size_max(const struct head *head)
{
    return head->body == NULL ? TREE_KEY_SIZE_MAX : BODY_KEY_SIZE_MAX;
}

static int put_allowed(struct txn *txn, const struct head *head, size_t key_size)
{
    int rc = write_allowed(txn);
    if (rc != 0)
        return rc;
    if (key_size > key_size_max(head))
        return diag_set(ERROR_TOO_LARGE, "a key of %zu bytes is above the limit of %zu", key_size,
                        key_size_max(head));
    if (!txn->spares && heap_is_full(txn->worker->system->heap))
        return diag_set(ERROR_MEMORY, "command not allowed when used memory > 'memory_max'");
    return 0;
}

int txn_put(struct txn *txn, struct head *head, const void *key, size_t key_size, const void *data,
            uint32_t size, struct row **row, struct version **out)
{
    int rc = put_allowed(txn, head, key_size);
    if (rc != 0)
        return rc;
    struct version *version = txn__version_new(txn, size, data == NULL ? VERSION_OPEN : 0);
    if (version == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a row of %u bytes", size);
    if (data != NULL)
        memcpy(version->bytes, data, size);
    rc = txn__write_version(txn, head, key, key_size, version, row);
    if (rc != 0)
        return rc;
    if (out != NULL)
        *out = version;
    return 0;
}

/* The word in front of a version in a parcel. */
static struct parcel **parcel_of(struct version *version)
{
    return (struct parcel **)(void *)version - 1;
}

/* Where a version with so many bytes in front of the parcel's data would stand. */
static struct version *parcel_version(struct parcel *parcel, size_t before)
{
    return (struct version *)(void *)(parcel_data(parcel) - before - sizeof(struct version));
}

struct version *txn__version_alloc(struct heap_cache *heap, uint32_t size, uint32_t *flags)
{
    enum {
        BEFORE = 9
    }; /* as far from the parcel's data as a version has to be; any other would do */
    size_t bytes = version_alloc_size(size);
    if (size < PARCEL_BYTES_MIN + BEFORE)
        return heap_alloc_as(heap, bytes, HEAP_VERSION);
    struct parcel *parcel = parcel_new(size - BEFORE);
    if (parcel == NULL)
        return NULL;
    parcel_take(parcel);
    parcel_drop(parcel); /* the version's hold is left */
    struct version *version = parcel_version(parcel, BEFORE);
    *parcel_of(version) = parcel;
    *flags |= VERSION_PARCEL;
    heap_count_foreign(heap, HEAP_VERSION, (int64_t)bytes);
    return version;
}

struct parcel *txn_version_parcel(const struct version *version)
{
    return version_flags(version) & VERSION_PARCEL ? *parcel_of((struct version *)version) : NULL;
}

bool txn_parcel_fits(struct parcel *parcel, size_t before)
{
    return before + sizeof(struct version) + sizeof(struct parcel *) <= PARCEL_ROOM_BYTES &&
           before + parcel_size(parcel) <= UINT32_MAX &&
           (uintptr_t)parcel_version(parcel, before) % _Alignof(struct version) == 0;
}

int txn_put_parcel(struct txn *txn, struct head *head, const void *key, size_t key_size,
                   struct parcel *parcel, size_t before, struct row **row, struct version **out)
{
    ASSERT(txn_parcel_fits(parcel, before));
    int rc = put_allowed(txn, head, key_size);
    if (rc != 0) {
        parcel_drop(parcel);
        return rc;
    }
    uint32_t size = (uint32_t)(before + parcel_size(parcel));
    struct version *version = parcel_version(parcel, before);
    *parcel_of(version) = parcel;
    version_init(txn, version, size, VERSION_OPEN | VERSION_PARCEL);
    heap_count_foreign(txn->worker->thread.heap, HEAP_VERSION, (int64_t)version_alloc_size(size));
    rc = txn__write_version(txn, head, key, key_size, version, row);
    if (rc == 0)
        *out = version;
    return rc;
}

void txn__version_free(void *object, void *heap_cache)
{
    struct version *version = object;
    size_t bytes = version_alloc_size(version->size);
    if (!(version_flags(version) & VERSION_PARCEL)) {
        heap_free_as(heap_cache, version, bytes, HEAP_VERSION);
        return;
    }
    heap_count_foreign(heap_cache, HEAP_VERSION, -(int64_t)bytes);
    parcel_drop(*parcel_of(version));
}

/* Whether the bytes of what stands on top of a row may become others: it is ours, and nobody else looks
 * at it before the commit. */
static bool may_rewrite(const struct txn *txn, const struct version *version)
{
    return version != NULL && load_relaxed(&version->stamp) == txn__tag(txn->descriptor) &&
           version_flags(version) == VERSION_OPEN;
}

char *txn_over_bytes(struct txn *txn, struct head *head, const void *key, size_t key_size,
                     uint32_t *size)
{
    if (!txn->whole || write_allowed(txn) != 0)
        return NULL;
    struct row *row = txn__row_found_before(txn, head, key, key_size);
    struct version *version = row == NULL ? NULL : load_acquire(&row->newest);
    if (!may_rewrite(txn, version))
        return NULL;
    *size = version->size;
    return version->bytes;
}

int txn_put_over(struct txn *txn, struct head *head, const void *key, size_t key_size,
                 const void *data, uint32_t size)
{
    if (!txn->whole)
        return txn_put(txn, head, key, key_size, data, size, NULL, NULL);
    int rc = write_allowed(txn);
    if (rc != 0)
        return rc;
    struct row *row = txn__row_find(txn, head, key, key_size);
    struct version *version = row == NULL ? NULL : load_acquire(&row->newest);
    if (!(may_rewrite(txn, version) && version->size == size) &&
        (rc = txn_put(txn, head, key, key_size, NULL, size, NULL, &version)) != 0)
        return rc;
    memcpy(version->bytes, data, size);
    return 0;
}

void txn_spare(struct txn *txn, bool spares)
{
    txn->spares = spares;
}

int txn_delete(struct txn *txn, struct head *head, const void *key, size_t key_size)
{
    int rc = write_allowed(txn);
    if (rc != 0)
        return rc;
    struct version *version = txn__version_new(txn, 0, VERSION_TOMBSTONE);
    if (version == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a tombstone");
    return txn__write_version(txn, head, key, key_size, version, NULL);
}

int txn_get_for_update(struct txn *txn, struct head *head, const void *key, size_t key_size,
                       const struct version **out)
{
    *out = NULL;
    if (!txn__latest_level(txn) || txn->readonly)
        return txn_get(txn, head, key, key_size, out);
    int rc = txn__stopped(txn);
    if (rc != 0)
        return rc;
    if (txn->lock_used || txn->writes.count > 0)
        return txn__get_validated(txn, head, key, key_size, out);
    if (key_size > TREE_KEY_SIZE_MAX)
        return diag_set(ERROR_TOO_LARGE, "a key of %zu bytes is above the limit of %d", key_size,
                        TREE_KEY_SIZE_MAX);
    struct version *lock = &txn->descriptor->lock;
    struct row *row = NULL;
    const struct version *early = NULL;
    if (MUTATION(FOR_UPDATE_READS_FIRST) &&
        (row = (struct row *)tree_get(head->tree, key, key_size)) != NULL)
        early = txn__visible(row, STAMP_TAG - 1, txn->descriptor, true, NULL);
    MUTATION_POINT(FOR_UPDATE);
    rc = row_write(txn, head, key, key_size, lock, &row);
    if (rc != 0)
        return rc;
    txn->locked_row = row;
    txn->locked_head = head;
    txn->lock_used = true;
    /* Nobody can write the row now: what is under the placeholder is the latest. */
    uint64_t stamp;
    const struct version *seen =
        txn__visible_from(load_acquire(&lock->older), STAMP_TAG - 1, txn->descriptor, true, &stamp);
    txn__saw(txn, stamp);
    if (MUTATION(FOR_UPDATE_READS_FIRST))
        seen = early;
    *out = txn__exists(seen) ? seen : NULL;
    if (txn__silent(head, seen))
        rc = txn__body_get(txn, head, key, key_size, UINT64_MAX, out);
    return txn__found(txn, head, out, rc);
}

void txn__unlock_row(struct txn *txn)
{
    struct row *row = txn->locked_row;
    if (row == NULL)
        return;
    struct version *older = load_relaxed(&txn->descriptor->lock.older);
    store_release(&row->newest, older);
    if (older == NULL)
        txn__garbage_add(txn->worker, txn->locked_head, row, 0);
    txn->locked_row = NULL;
}

void txn__undo(struct txn *txn, size_t from)
{
    bool many = txn->writes.count - from > 1; /* not the last one, within a statement */
    while (txn->writes.count > from) {
        if (many)
            txn__passed(txn);
        struct txn_write *write = &txn->writes.items[--txn->writes.count];
        struct version *version = write->version;
        ASSERT(load_relaxed(&write->row->newest) == version);
        struct version *older = load_relaxed(&version->older);
        store_release(&write->row->newest, older);
        if (version_flags(version) & VERSION_LOCK)
            txn->lock_writes--;
        else if (write->head->version_dropped != NULL)
            write->head->version_dropped(write->head, txn->worker, write->row, version);
        txn__version_retire(txn->worker, version);
        if (older == NULL)
            txn__garbage_add(txn->worker, write->head, write->row, 0);
    }
}

/* Takes a version that only locks out of its chain. Ours above it are uncommitted, so their links
 * are ours alone; on top of one that is itself on top nobody can put another. */
static void lock_unlink(struct txn *txn, const struct txn_write *write)
{
    struct version *version = write->version, *older = load_relaxed(&version->older);
    struct version *above = load_acquire(&write->row->newest);
    if (above == version) {
        store_release(&write->row->newest, older);
        if (older == NULL)
            txn__garbage_add(txn->worker, write->head, write->row, 0);
    } else {
        while (load_relaxed(&above->older) != version)
            above = load_relaxed(&above->older);
        store_release(&above->older, older);
    }
    txn__version_retire(txn->worker, version);
}

void txn__unlock_versions(struct txn *txn, bool covered)
{
    size_t kept = 0;
    for (size_t i = 0; i < txn->writes.count; i++) {
        struct txn_write *write = &txn->writes.items[i];
        bool goes = (version_flags(write->version) & VERSION_LOCK) &&
                    (!covered || load_relaxed(&write->row->newest) != write->version);
        if (!goes) {
            txn->writes.items[kept++] = *write;
            continue;
        }
        lock_unlink(txn, write);
        txn->lock_writes--;
    }
    txn->writes.count = kept;
}

struct txn_savepoint txn_savepoint(const struct txn *txn)
{
    ASSERT(!txn->whole);
    size_t locks = txn->owner == NULL ? 0 : lock_mark(txn->owner);
    return (struct txn_savepoint){txn->writes.count, txn->deferred.count, locks,
                                  txn->reads.count,  txn->keyed.count,    txn->parks};
}

void txn_rollback_to(struct txn *txn, struct txn_savepoint savepoint)
{
    ASSERT(savepoint.writes <= txn->writes.count);
    txn__undo(txn, savepoint.writes);
    txn->notes = NULL;
    if (!MUTATION(DEFERRED_PAST_SAVEPOINT))
        txn__deferred_drop(txn, savepoint.deferred);
    /* Below snapshots, reads are validated only for the sake of what is written on top of them. A
     * statement that is undone and run again, since it met a lock, reads them anew. */
    if (txn__latest_level(txn) && savepoint.parks == txn->parks) {
        txn->reads.count = savepoint.reads;
        txn->keyed.count = savepoint.keyed;
    }
    if (txn->stop == ERROR_WAIT)
        txn->stop = 0; /* the owner keeps its locks and its place in the queue */
    else if (txn->owner != NULL)
        lock_release_to(txn->owner, savepoint.locks);
}

bool txn_has_writes(const struct txn *txn)
{
    return txn->writes.count > txn->lock_writes;
}

/* An entry that leads to another row is a left-over: a key of a secondary index ends with the
 * primary key, and only one row of that key lives. */
static bool entry_replace(struct item *present, struct item *inserted, void *arg)
{
    (void)arg;
    return load_acquire(&((struct entry *)present)->row) !=
           load_relaxed(&((struct entry *)inserted)->row);
}

int txn_entry_add(struct txn *txn, struct txn_index *index, const void *key, size_t key_size,
                  size_t parts_size, struct row *row)
{
    struct tree_thread *thread = &txn->worker->thread;
    if (key_size > key_size_max(index->head))
        return diag_set(ERROR_TOO_LARGE, "an index key of %zu bytes is above the limit of %zu",
                        key_size, key_size_max(index->head));
    struct entry *made =
        heap_alloc_as(thread->heap, item_alloc_size((uint32_t)key_size), HEAP_ENTRY);
    if (made == NULL)
        return diag_set(ERROR_MEMORY, "no memory for an index entry");
    atomic_init(&made->row, row);
    atomic_init(&made->state, (uint32_t)parts_size | (index->counted ? ENTRY_COUNTED : 0));
    made->key_size = (uint32_t)key_size;
    memcpy(made->key, key, key_size);
    struct item *present = NULL;
    row_entry_count(made);
    int rc = tree_insert(index->tree, thread, (struct item *)made, entry_replace, NULL, &present);
    if (rc != 0) {
        row_entry_uncount(made);
        heap_free_as(thread->heap, made, item_alloc_size((uint32_t)key_size), HEAP_ENTRY);
    } else if (present != NULL) {
        row_entry_uncount((struct entry *)present);
        epoch_retire(thread->epoch, present, txn__entry_free, thread->heap);
    }
    return rc == ERROR_EXISTS ? 0 : rc;
}

struct sweep {
    struct txn_index *index;
    struct row *row;
};

/* Under the latch of the leaf: whether no version of the row needs the entry any more (invariant
 * 14). */
static bool entry_unneeded(struct item *item, void *arg)
{
    const struct sweep *sweep = arg;
    struct entry *entry = (struct entry *)item;
    if (load_acquire(&entry->row) != sweep->row && !MUTATION(ENTRY_OF_ANOTHER))
        return false;
    for (struct version *version = load_acquire(&sweep->row->newest);
         version != NULL && !MUTATION(ENTRY_UNEXAMINED); version = load_acquire(&version->older))
        if (!(version_flags(version) & (VERSION_TOMBSTONE | VERSION_LOCK)) &&
            sweep->index->matches(sweep->index, entry, version) != 0)
            return false;
    return true;
}

void txn_entry_sweep(struct txn_worker *worker, struct txn_index *index, const void *key,
                     size_t key_size, struct row *row)
{
    struct sweep sweep = {index, row};
    if (index->filling) /* the version is unlinked first, and then its entry looked for (29) */
        fence_seq_cst(&worker->slot->snapshot);
    struct item *item =
        tree_remove_key(index->tree, &worker->thread, key, key_size, entry_unneeded, &sweep);
    if (item == NULL)
        return;
    row_entry_uncount((struct entry *)item);
    epoch_retire(worker->thread.epoch, item, txn__entry_free, worker->thread.heap);
}

/* The newest committed version at or under `version`; its timestamp in *stamp. */
static const struct version *committed_under(const struct txn *txn, const struct version *version,
                                             uint64_t *stamp)
{
    return txn__visible_from(version, STAMP_TAG - 1, txn->descriptor, false, stamp);
}

/* Rows themselves are the items of a primary tree. What can't be found out counts. */
static bool belongs(const struct txn_index *index, const struct entry *entry,
                    const struct version *version)
{
    return index->matches == NULL || index->matches(index, entry, version) != 0;
}

/* Whether an uncommitted version from `top` on, or the committed one under them, has the key. Not
 * the topmost alone: its owner may still roll back to a savepoint and stand on one below. */
static bool any_has(const struct txn *txn, const struct txn_index *index, const struct entry *entry,
                    const struct version *top)
{
    uint64_t stamp;
    const struct version *under = committed_under(txn, top, &stamp);
    for (const struct version *version = top; version != NULL;
         version = load_acquire(&version->older)) {
        if (txn__exists(version) && !(version_flags(version) & VERSION_LOCK) &&
            belongs(index, entry, version))
            return true;
        if (version == under)
            break;
    }
    return false;
}

/* One other row under the key: 0 it does not hold it, ERROR_DUPLICATE, ERROR_CONFLICT, ERROR_AGAIN
 * while an older transaction waits for a younger one. `below`: what its body has of it, under the
 * versions of the head, holds it. */
static int holder_check(struct txn *txn, struct txn_index *index, const struct entry *entry,
                        struct row *row, bool below)
{
    struct version *top = load_acquire(&row->newest);
    while (top != NULL && (version_flags(top) & VERSION_LOCK))
        top = load_acquire(&top->older);
    if (top == NULL || top == &txn__version_dead)
        return !below                                         ? 0
               : txn__read_row(txn, index->head, row, 0) == 0 ? ERROR_DUPLICATE
                                                              : ERROR_CONFLICT;
    uint64_t stamp = load_acquire(&top->stamp);
    bool top_has =
        txn__exists(top) && !txn__expired(txn, index->head, top) && belongs(index, entry, top);
    if (stamp & STAMP_TAG) {
        struct txn_descriptor *owner = txn__tag_owner(stamp);
        if (owner == txn->descriptor)
            return top_has ? ERROR_DUPLICATE : 0;
        uint64_t state = txn__settled_state(owner, STAMP_TAG);
        if ((state & STATE_MASK) == STATE_ABORTED)
            return ERROR_AGAIN;
        if ((state & STATE_MASK) == STATE_ACTIVE) {
            bool has = MUTATION(UNIQUE_TOPMOST) ? top_has : any_has(txn, index, entry, top);
            if ((!has && !(below && committed_under(txn, top, &stamp) == NULL)) ||
                MUTATION(UNIQUE_BOTH_WIN))
                return 0;
            if (owner->slot != NULL)
                return txn__wait_for(txn, index->head, row->key, row->key_size, owner);
            return txn->descriptor->begin_order < owner->begin_order && !MUTATION(UNIQUE_BOTH_YIELD)
                       ? ERROR_AGAIN
                       : ERROR_CONFLICT;
        }
        stamp = state >> STATE_TS_SHIFT;
    }
    if (!top_has)
        return 0;
    txn__saw(txn, stamp);
    if (!txn__latest_level(txn) && stamp > txn->snapshot && !MUTATION(UNIQUE_NEWER_HOLDER))
        return ERROR_CONFLICT;
    return txn__read_row(txn, index->head, row, stamp) == 0 ? ERROR_DUPLICATE : ERROR_CONFLICT;
}

/* Asks until the other, if he is younger, has ended. */
static int holder_ask(struct txn *txn, struct txn_index *index, const struct entry *entry,
                      struct row *row, bool below)
{
    unsigned turn = 0;
    int rc;
    while ((rc = holder_check(txn, index, entry, row, below)) == ERROR_AGAIN &&
           turn < OWNER_WAIT_TURNS) {
        MUTATION_POINT(UNIQUE_WAIT);
        spin_wait(&turn);
    }
    return rc;
}

/* The same of a row that an entry of the body leads to. Of one that is in the head as well the newest
 * versions are there; under these, or if it is not, it is as the body has it. */
static int holder_below(struct txn *txn, struct txn_index *index, const struct engine_row *there,
                        const struct row *own, struct row **holder)
{
    struct entry *entry;
    const struct version *version;
    int rc = txn__body_entry(&txn->arena, there, &entry);
    if (rc != 0)
        return rc;
    size_t parts = load_relaxed(&entry->state) & ENTRY_PARTS_MASK;
    const unsigned char *key = entry->key + parts;
    size_t key_size = entry->key_size - parts;
    if (own != NULL && own->key_size == key_size && memcmp(own->key, key, key_size) == 0)
        return 0;
    struct row *row = txn__row_find(txn, index->head, key, key_size);
    if ((rc = txn__body_belongs(txn, index, entry, UINT64_MAX, &version)) < 0)
        return rc;
    bool below = rc > 0;
    *holder = row;
    if (row != NULL && load_acquire(&row->newest) != &txn__version_dead)
        return holder_ask(txn, index, entry, row, below);
    if (!below)
        return 0;
    rc = txn__body_row(&txn->arena, key, key_size, holder);
    if (rc == 0)
        rc = txn__read_key(txn, index->head, key, key_size);
    return rc != 0 ? rc : ERROR_DUPLICATE;
}

/* Behind the look at the head (invariant 17): whoever has left that is in the body by now. */
static int unique_below(struct txn *txn, struct txn_index *index, const void *prefix,
                        size_t prefix_size, const struct row *own, struct row **holder)
{
    struct txn_range range = {.lower = prefix, .lower_size = prefix_size, .lower_inclusive = true};
    struct txn_body_walk *walk = NULL;
    const struct engine_row *there;
    int rc = txn__walk_open(txn, index, &range, UINT64_MAX, &walk);
    while (rc == 0 && (rc = txn__walk_peek(walk, &there)) == 0 && there != NULL &&
           there->key_size >= prefix_size && memcmp(there->key, prefix, prefix_size) == 0) {
        unsigned char *key = arena_copy(&txn->arena, there->key, there->key_size);
        size_t key_size = there->key_size;
        rc = key == NULL ? diag_set(ERROR_MEMORY, "no memory for a key")
                         : holder_below(txn, index, there, own, holder);
        txn__walk_pass(walk, key, key_size);
    }
    if (walk != NULL)
        txn__walk_close(walk);
    if (rc != ERROR_DUPLICATE)
        *holder = NULL;
    return rc != ERROR_CONFLICT && rc != ERROR_AGAIN
               ? rc
               : txn__conflict_at(txn, TXN_CAUSE_UNIQUE, index->head, prefix, prefix_size);
}

int txn_unique_check(struct txn *txn, struct txn_index *index, const void *prefix,
                     size_t prefix_size, struct row *own, struct row **holder)
{
    struct tree_cursor cursor;
    *holder = NULL;
    /* Of two that race, each has stored its version and entry and now looks for the other's,
     * perhaps in another leaf: without a fence both might look before either store is seen. */
    fence_seq_cst(&txn->worker->slot->snapshot);
    tree_cursor_create(&cursor, index->tree, prefix, prefix_size, true, false);
    struct item *item;
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL && item->key_size >= prefix_size &&
           memcmp(item->key, prefix, prefix_size) == 0) {
        struct entry *entry = (struct entry *)item;
        struct row *row = index->matches == NULL ? (struct row *)item : load_acquire(&entry->row);
        if (row == own)
            continue;
        int rc = holder_ask(txn, index, entry, row, false);
        if (rc == ERROR_DUPLICATE)
            *holder = row;
        if (rc == ERROR_CONFLICT || rc == ERROR_AGAIN)
            return txn__conflict_at(txn, TXN_CAUSE_UNIQUE, index->head, prefix, prefix_size);
        if (rc != 0)
            return rc;
    }
    return index->head->body == NULL ? 0
                                     : unique_below(txn, index, prefix, prefix_size, own, holder);
}
