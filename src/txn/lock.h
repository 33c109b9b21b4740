/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TXN_LOCK_H
#define TXN_LOCK_H

/*
 * The lock manager: shared, exclusive and intention locks on spaces and rows, for those who ask for
 * them; fair queues, deadlock detection, escalation, and a view of who waits for whom.
 *
 * It is a leaf: it knows neither transactions nor rows, and it puts no thread to sleep unless told
 * to (lock_wait_block). Locks belong to a lock_owner, which may outlive transactions: one that
 * meets a lock gets ERROR_WAIT, its runner rolls back, parks the request, and runs it again, with
 * the same owner and the locks it had kept, when the owner's wake function was called.
 *
 * What is locked has a name: a space; a row by its key, whether or not there is such a row; or an
 * owner, which stands for that owner's running transaction, so that others can wait for it to end.
 * Modes and what they allow beside them, those of Gray, Lorie, Putzolu and Traiger (1976):
 *
 *                             IS   IX   S    SIX  X
 *     intent shared           yes  yes  yes  yes  -       rows below are locked shared
 *     intent exclusive        yes  yes  -    -    -       rows below are locked exclusive
 *     shared                  yes  -    yes  -    -       all rows are read
 *     shared, intent excl.    yes  -    -    -    -       all are read, some locked exclusive
 *     exclusive               -    -    -    -    -       all rows are written
 *
 * A row is locked shared or exclusive. That takes the intention on its space first, and takes
 * nothing when the space is held in a mode that implies it.
 *
 * Fairness. Queues are in order of arrival. A request is granted when it is compatible with what
 * others hold and with all who wait in front of it, so nobody is overtaken by one he would have to
 * wait for. Only an upgrade, a stronger mode of what is held already, goes in front of those that
 * hold nothing, since they wait for it in any case.
 *
 * Deadlocks are found when a request is queued: an owner waits for those who hold, or wait in front
 * of it for, what conflicts with its request. Of each cycle the youngest owner, the one with the
 * largest id, is the victim. If that is the one who asks, lock_acquire returns ERROR_DEADLOCK; else
 * the victim's wait ends with LOCK_WAIT_VICTIM, it is woken and must release everything.
 *
 * Escalation. When an owner has escalation_rows row locks in one space, the next one tries to lock
 * the whole space instead: shared if all of them are shared, else exclusive. If that is granted at
 * once the row locks are given back; if it would have to wait, it goes on with rows and tries again
 * after as many more.
 *
 * Threads. An owner is used by one thread at a time; only lock_wait_state and lock_owner_id may be
 * called by any. Different owners are used at the same time. A lock is taken and given back under
 * the mutex of its shard, one of LOCK_SHARDS by hash; asking for what is held takes none. Callbacks
 * run on the thread of whoever caused them, inside of that mutex: they must be short and call
 * nothing of this file.
 *
 * Bounds: locks_max locks and waiting requests; owners_max owners; an owner waits for one thing. An
 * owner's memory follows the number of its locks. Finding a deadlock takes time in proportion to
 * the locks and waits it meets, each of them once a search.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct lock_table;
struct lock_owner;

enum {
    LOCK_SHARDS = 32,
    LOCK_VIEW_BLOCKERS_MAX = 16,
    LOCK_ESCALATION_ROWS_DEFAULT = 1000,
    LOCK_LOCKS_MAX_DEFAULT = 1 << 20,
    LOCK_OWNERS_MAX_DEFAULT = 1 << 20,
};

enum lock_mode {
    LOCK_NONE,
    LOCK_INTENT_SHARED,
    LOCK_INTENT_EXCLUSIVE,
    LOCK_SHARED,
    LOCK_SHARED_INTENT_EXCLUSIVE,
    LOCK_EXCLUSIVE,
};

/* LOCK_OWNER: the transaction of another owner, as PostgreSQL waits for a transaction id. The owner
 * holds its own name LOCK_EXCLUSIVE while its transaction runs. Others ask for it LOCK_SHARED and
 * are granted when it is given back; they do not hold it then, so nobody has to release it, and
 * whoever meets the owner's next transaction waits again. */
enum lock_kind { LOCK_SPACE, LOCK_ROW, LOCK_OWNER };

struct lock_name {
    enum lock_kind kind;
    uint64_t space;  /* id << 32 | incarnation; for LOCK_OWNER the owner's id */
    const void *key; /* of a row; else ignored */
    size_t key_size; /* below 4 GiB */
};

static inline struct lock_name lock_name_space(uint32_t id, uint32_t incarnation)
{
    return (struct lock_name){.kind = LOCK_SPACE, .space = (uint64_t)id << 32 | incarnation};
}

static inline struct lock_name lock_name_row(uint32_t id, uint32_t incarnation, const void *key,
                                             size_t key_size)
{
    return (struct lock_name){.kind = LOCK_ROW,
                              .space = (uint64_t)id << 32 | incarnation,
                              .key = key,
                              .key_size = key_size};
}

static inline struct lock_name lock_name_owner(uint64_t owner_id)
{
    return (struct lock_name){.kind = LOCK_OWNER, .space = owner_id};
}

/* "intent shared", "exclusive", ...; "space", "row", "owner". Static strings. */
const char *lock_mode_name(enum lock_mode mode);
const char *lock_kind_name(enum lock_kind kind);

/* Whether two owners may hold these at the same time. */
bool lock_mode_compatible(enum lock_mode a, enum lock_mode b);

/* The weakest mode that allows what either does; whether `held` allows what `wanted` does. */
enum lock_mode lock_mode_join(enum lock_mode a, enum lock_mode b);
bool lock_mode_covers(enum lock_mode held, enum lock_mode wanted);

struct lock_table_options {
    unsigned escalation_rows; /* 0: LOCK_ESCALATION_ROWS_DEFAULT; UINT_MAX: never */
    size_t locks_max;         /* held and waited for, all owners together; 0: the default. Up to
                                 an eighth may not be had: shards keep some for themselves */
    size_t owners_max;        /* 0: the default */
    struct clock *clock;      /* since when somebody waits; NULL: the system's */

    /*
     * For those who write without asking for locks, and must see cheaply that somebody has locked
     * what they write. Both may be NULL. Called before the owner is told that it has the lock (by
     * the next call that gives 0, though lock_wait_state may be earlier), and when the lock has
     * been given back; for one space or row one after the other.
     *
     * space_locked: the strongest of S, SIX and X that is held on a space has changed; LOCK_NONE
     * when none is held any more. row_shared: whether anybody holds the row shared has changed.
     */
    void (*space_locked)(void *arg, uint64_t space, enum lock_mode strongest);
    void (*row_shared)(void *arg, uint64_t space, const void *key, size_t key_size,
                       bool any_shared);
    void *arg;
};

/* A table, owned by the caller. 0 or ERROR_MEMORY. It is deleted after all its owners; NULL is
 * allowed. */
int lock_table_new(const struct lock_table_options *options, struct lock_table **out);
void lock_table_delete(struct lock_table *table);

/* An owner, which holds nothing. ERROR_MEMORY also when there are owners_max. From any thread. */
int lock_owner_new(struct lock_table *table, struct lock_owner **out);

/* Releases everything, leaves its queue, and frees it. NULL is allowed. */
void lock_owner_delete(struct lock_owner *owner);

/* Unique in the table, never 0 and never used again, ascending: a larger id is younger. */
uint64_t lock_owner_id(const struct lock_owner *owner);

/* Who it is for, for those who look; 0 at first. */
void lock_owner_session_set(struct lock_owner *owner, uint64_t session_id);

/*
 * `wake`, which may be NULL, is called once for each wait that lock_acquire reports by ERROR_WAIT,
 * when it has ended with LOCK_WAIT_GRANTED or LOCK_WAIT_VICTIM, which may be before lock_acquire
 * has returned; not when lock_wait_cancel has ended it. It runs on any thread, inside of a shard's
 * mutex: it only posts to an event loop. It has returned before the owner's next call does that
 * takes notice of the end, so the owner, or `arg`, may go away after that. Not to be set while the
 * owner waits.
 */
void lock_owner_wake_set(struct lock_owner *owner, void (*wake)(void *arg), void *arg);

/*
 * Asks for a lock. What is held in a mode that covers it, or is implied by the lock on its space,
 * is had at once; of a weaker mode it becomes an upgrade.
 *
 * 0: held. ERROR_WAIT: queued; asking for it again gives the same until it is granted, and then 0.
 * Asking meanwhile for something else that is not held gives up the place in the queue.
 * ERROR_DEADLOCK: the owner is the youngest of a cycle (the diagnostics say who waits for whom) and
 * is in no queue; what it holds it still holds. After LOCK_WAIT_VICTIM every call returns
 * ERROR_DEADLOCK until lock_release_all. ERROR_MEMORY: memory or locks_max is exhausted; nothing
 * has changed, but for an intention on the space that may have been taken.
 *
 * A row takes LOCK_SHARED or LOCK_EXCLUSIVE, a space any mode but LOCK_NONE, an owner's own name
 * LOCK_EXCLUSIVE, another's LOCK_SHARED.
 */
int lock_acquire(struct lock_owner *owner, const struct lock_name *name, enum lock_mode mode);

enum lock_wait {
    LOCK_WAIT_NONE,
    LOCK_WAIT_QUEUED,
    LOCK_WAIT_GRANTED, /* until the owner's next call */
    LOCK_WAIT_VICTIM,  /* until lock_release_all */
};

/* Any thread may ask as long as the owner is there. */
enum lock_wait lock_wait_state(const struct lock_owner *owner);

/* Leaves the queue, because of a timeout (which is counted) or for another reason. Returns what the
 * state was: only LOCK_WAIT_QUEUED has been changed by it, to LOCK_WAIT_NONE. What was granted in
 * between is held. */
enum lock_wait lock_wait_cancel(struct lock_owner *owner, bool timeout);

/*
 * Puts the thread to sleep until the wait has ended, for those who have nothing else to do. 0:
 * granted, or nothing was waited for. ERROR_DEADLOCK. ERROR_LOCK_TIMEOUT: timeout_ns (UINT64_MAX:
 * no limit) of monotonic time have passed, and the owner has left the queue.
 */
int lock_wait_block(struct lock_owner *owner, uint64_t timeout_ns);

/* Gives everything back, leaves the queue, and ends being a victim. */
void lock_release_all(struct lock_owner *owner);

/*
 * Savepoints. A mark is the present position; lock_release_to gives back what was taken since,
 * takes upgrades made since back to the mode before, and leaves the queue. A mark stays valid until
 * a return to an earlier one, or lock_release_all.
 *
 * If rows were escalated since the mark: when all of them were locked since, it is undone like any
 * upgrade; if one of them was locked before, the space stays locked as it is, since that row is not
 * locked by itself any more. A return to a mark before that row, or lock_release_all, undoes it.
 */
size_t lock_mark(struct lock_owner *owner);
void lock_release_to(struct lock_owner *owner, size_t mark);

/* Whether the owner holds this in a mode that covers it, or what implies it. */
bool lock_held(struct lock_owner *owner, const struct lock_name *name, enum lock_mode mode);

/* Locks held: rows, spaces (by intention as well), and its own name. */
size_t lock_count(struct lock_owner *owner);

/* Holds nothing, waits for nothing and is no victim: one relaxed load. */
bool lock_owner_idle(const struct lock_owner *owner);

/* A lock held or waited for. Who waits for an upgrade appears twice. */
struct lock_view {
    uint64_t owner_id, session_id;
    struct lock_name name; /* the key is valid during the call */
    enum lock_mode mode;   /* held or asked for */
    bool waiting;
    uint64_t since_ns; /* monotonic, by the table's clock; 0 for what is held */
    /* Whom it waits for: all who hold what conflicts, and who waits in front of it for what does;
     * of those who wait for it exclusively only the nearest, who waits for the others in turn. The
     * first LOCK_VIEW_BLOCKERS_MAX of blocker_count are named by their ids. */
    size_t blocker_count;
    uint64_t blockers[LOCK_VIEW_BLOCKERS_MAX];
};

/* Calls `each` for all of them, until it returns another value than 0, which is returned;
 * ERROR_MEMORY. Shows the shards one after the other, each as it was at one moment. No mutex is
 * held during the call. From any thread. */
int lock_table_each(struct lock_table *table, int (*each)(const struct lock_view *view, void *arg),
                    void *arg);

struct lock_stats {
    uint64_t held, waiting, owners;                   /* now */
    uint64_t waits, deadlocks, timeouts, escalations; /* since the start */
};
void lock_stats_get(struct lock_table *table, struct lock_stats *out);

#endif
