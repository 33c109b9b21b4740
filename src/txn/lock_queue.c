/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modes, and the queue of one lock.
 *
 * A lock counts how many hold each mode and how many wait for each, so whether a request must wait
 * is seen without walking a list, but for upgrades, which only those upgrades precede that came
 * earlier. A waiting request is granted when it conflicts neither with what others hold nor with
 * any that stays waiting in front of it; one walk from the front grants all of a batch, and ends
 * at the first that waits for LOCK_EXCLUSIVE, behind which nobody can pass.
 *
 * That rule makes the edges of the wait-for graph exact: whoever waits, waits for an owner that
 * holds, or waits in front of it for, something that conflicts, and for nobody else.
 */
#include "base/assert.h"
#include "txn/lock_private.h"

enum {
    BIT_IS = 1 << LOCK_INTENT_SHARED,
    BIT_IX = 1 << LOCK_INTENT_EXCLUSIVE,
    BIT_S = 1 << LOCK_SHARED,
    BIT_SIX = 1 << LOCK_SHARED_INTENT_EXCLUSIVE,
    BIT_X = 1 << LOCK_EXCLUSIVE,
};

unsigned lock__conflicts(enum lock_mode mode)
{
    static const unsigned char conflicts[LOCK_MODES] = {
        [LOCK_NONE] = 0,
        [LOCK_INTENT_SHARED] = BIT_X,
        [LOCK_INTENT_EXCLUSIVE] = BIT_S | BIT_SIX | BIT_X,
        [LOCK_SHARED] = BIT_IX | BIT_SIX | BIT_X,
        [LOCK_SHARED_INTENT_EXCLUSIVE] = BIT_IX | BIT_S | BIT_SIX | BIT_X,
        [LOCK_EXCLUSIVE] = BIT_IS | BIT_IX | BIT_S | BIT_SIX | BIT_X,
    };
    return conflicts[mode];
}

bool lock_mode_compatible(enum lock_mode a, enum lock_mode b)
{
    return (lock__conflicts(a) >> b & 1) == 0;
}

/* Modes are ordered by strength but for IX and S, which only SIX joins. */
enum lock_mode lock_mode_join(enum lock_mode a, enum lock_mode b)
{
    if ((a == LOCK_SHARED && b == LOCK_INTENT_EXCLUSIVE) ||
        (a == LOCK_INTENT_EXCLUSIVE && b == LOCK_SHARED))
        return LOCK_SHARED_INTENT_EXCLUSIVE;
    return a > b ? a : b;
}

bool lock_mode_covers(enum lock_mode held, enum lock_mode wanted)
{
    return lock_mode_join(held, wanted) == held;
}

const char *lock_mode_name(enum lock_mode mode)
{
    static const char *const names[LOCK_MODES] = {
        "none",   "intent shared",           "intent exclusive",
        "shared", "shared intent exclusive", "exclusive"};
    return names[mode];
}

static bool conflict(enum lock_mode a, enum lock_mode b)
{
    return !lock_mode_compatible(a, b);
}

static struct lock_hold *hold_of_queue(struct list *link)
{
    return list_entry(link, struct lock_hold, queue_link);
}

/* Whether others than the owner of `own` (NULL: whoever) hold what conflicts. */
static bool conflicts_with_granted(const struct lock *lock, const struct lock_hold *own,
                                   enum lock_mode mode)
{
    unsigned modes = lock__conflicts(mode);
    for (unsigned m = LOCK_INTENT_SHARED; m < LOCK_MODES; m++)
        if ((modes >> m & 1) != 0 &&
            lock->granted_count[m] > (uint32_t)(own != NULL && own->granted == m))
            return true;
    return false;
}

static bool conflicts_with_waiting(const struct lock *lock, enum lock_mode mode)
{
    unsigned modes = lock__conflicts(mode);
    for (unsigned m = LOCK_INTENT_SHARED; m < LOCK_MODES; m++)
        if ((modes >> m & 1) != 0 && lock->waiting_count[m] > 0)
            return true;
    return false;
}

static bool conflicts_with_upgrades(const struct lock *lock, enum lock_mode mode)
{
    list_for_each (link, &lock->queue) {
        const struct lock_hold *waiting = hold_of_queue(link);
        if (waiting->granted == LOCK_NONE)
            return false;
        if (conflict(mode, waiting->wanted))
            return true;
    }
    return false;
}

bool lock__grantable(const struct lock *lock, const struct lock_hold *hold, enum lock_mode mode)
{
    if (conflicts_with_granted(lock, hold, mode))
        return false;
    return hold == NULL ? !conflicts_with_waiting(lock, mode)
                        : !conflicts_with_upgrades(lock, mode);
}

/* Sets what is granted, without looking at the queue. */
static void granted_set(struct lock_shard *shard, struct lock_hold *hold, enum lock_mode mode)
{
    struct lock *lock = hold->lock;
    if (hold->granted == LOCK_NONE) {
        list_add_tail(&lock->granted, &hold->granted_link);
        shard->held++;
    } else {
        lock->granted_count[hold->granted]--;
    }
    if (mode == LOCK_NONE) {
        list_remove(&hold->granted_link);
        shard->held--;
    } else {
        lock->granted_count[mode]++;
    }
    hold->granted = (unsigned char)mode;
}

static void queue_leave(struct lock_shard *shard, struct lock_hold *hold)
{
    list_remove(&hold->queue_link);
    hold->lock->waiting_count[hold->wanted]--;
    hold->wanted = LOCK_NONE;
    shard->waiting--;
}

/* Publishes how the owner's wait has ended, and wakes it if it can't see for itself. */
static void owner_tell(struct lock_owner *owner, enum lock_wait state)
{
    store_seq_cst(&owner->state, (int)state);
    if (owner->acquiring || state == LOCK_WAIT_NONE)
        return;
    if (owner->blocked)
        pthread_cond_signal(&owner->ended);
    if (owner->wake != NULL)
        owner->wake(owner->wake_arg);
}

static void queue_grant(struct lock_shard *shard, struct lock_hold *hold)
{
    enum lock_mode mode = hold->wanted;
    queue_leave(shard, hold);
    if (hold->lock->kind == LOCK_OWNER)
        hold->lock = NULL;
    else
        granted_set(shard, hold, mode);
    owner_tell(hold->owner, LOCK_WAIT_GRANTED);
}

/* Grants to all who need not wait any more. */
static void queue_run(struct lock_shard *shard, struct lock *lock)
{
    unsigned ahead = 0; /* what is waited for in front of the present one */
    list_for_each_safe (link, &lock->queue) {
        struct lock_hold *hold = hold_of_queue(link);
        enum lock_mode mode = hold->wanted;
        if ((lock__conflicts(mode) & ahead) == 0 && !conflicts_with_granted(lock, hold, mode)) {
            queue_grant(shard, hold);
            continue;
        }
        if (mode == LOCK_EXCLUSIVE)
            return;
        ahead |= 1u << mode;
    }
}

void lock__granted_set(struct lock_table *table, struct lock_hold *hold, enum lock_mode mode)
{
    struct lock_shard *shard = lock__shard(table, hold->hash);
    struct lock *lock = hold->lock;
    bool weaker = !lock_mode_covers(mode, hold->granted);
    granted_set(shard, hold, mode);
    if (weaker && !list_empty(&lock->queue))
        queue_run(shard, lock);
    lock__put(table, lock);
}

/* The link before which a new request is queued. */
static struct list *queue_place(struct lock *lock, const struct lock_hold *hold)
{
    if (hold->granted != LOCK_NONE)
        list_for_each (link, &lock->queue)
            if (hold_of_queue(link)->granted == LOCK_NONE)
                return link;
    return &lock->queue;
}

void lock__enqueue(struct lock_table *table, struct lock_hold *hold, enum lock_mode mode)
{
    struct lock_shard *shard = lock__shard(table, hold->hash);
    struct lock_owner *owner = hold->owner;
    hold->wanted = (unsigned char)mode;
    hold->since_ns = clock_monotonic_ns(table->clock);
    list_insert_before(queue_place(hold->lock, hold), &hold->queue_link);
    hold->lock->waiting_count[mode]++;
    shard->waiting++;
    shard->waits++;
    owner->wait_hash = hold->hash;
    owner->wait_hold = hold;
    store_seq_cst(&owner->state, (int)LOCK_WAIT_QUEUED);
}

void lock__wait_end(struct lock_owner *owner, enum lock_wait state)
{
    struct lock_shard *shard = lock__shard(owner->table, owner->wait_hash);
    struct lock_hold *hold = owner->wait_hold;
    struct lock *lock = hold->lock;
    ASSERT(load_relaxed(&owner->state) == LOCK_WAIT_QUEUED);
    owner->wait_hold = NULL;
    queue_leave(shard, hold);
    if (hold->granted == LOCK_NONE)
        lock__hold_delete(owner, hold);
    owner_tell(owner, state);
    queue_run(shard, lock);
    lock__put(owner->table, lock);
}

/* The edges of the wait-for graph. */

bool lock__each_blocking_holder(const struct lock_hold *hold, lock__blocker_fn each, void *arg)
{
    const struct lock *lock = hold->lock;
    if (!conflicts_with_granted(lock, hold, hold->wanted))
        return false;
    list_for_each (link, &lock->granted) {
        const struct lock_hold *other = list_entry(link, struct lock_hold, granted_link);
        if (other != hold && conflict(hold->wanted, other->granted) && each(other, arg))
            return true;
    }
    return false;
}

bool lock__each_blocking_waiter(const struct lock_hold *hold, lock__blocker_fn each, void *arg)
{
    const struct lock *lock = hold->lock;
    for (struct list *link = hold->queue_link.prev; link != &lock->queue; link = link->prev) {
        const struct lock_hold *other = hold_of_queue(link);
        if (conflict(hold->wanted, other->wanted) && each(other, arg))
            return true;
        if (other->wanted == LOCK_EXCLUSIVE)
            return false; /* it waits for all the others */
    }
    return false;
}

static bool is_waiting(const struct lock_hold *blocker, void *arg)
{
    (void)arg;
    return load_seq_cst(&blocker->owner->state) == LOCK_WAIT_QUEUED;
}

bool lock__blocked_by_waiting(const struct lock_hold *hold)
{
    return lock__each_blocking_waiter(hold, is_waiting, NULL) ||
           lock__each_blocking_holder(hold, is_waiting, NULL);
}
