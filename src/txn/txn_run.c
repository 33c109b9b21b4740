/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Running a transaction until it succeeds: backoff with jitter after a loss, and the exclusive gate
 * after a few, in which nobody can disturb it. So everything finishes.
 */
#include "txn/txn_private.h"

#include <time.h>

#include "base/error.h"

enum { BACKOFF_BASE_NS = 2000, BACKOFF_SPIN_NS = 20000 };

/* For threads that wait in their own time; requests have the limit of their sessions. */
#define LOCK_TIMEOUT_NS UINT64_C(10000000000)

void txn_backoff(struct txn_worker *worker, unsigned losses, struct txn_options *options)
{
    txn__count(&worker->counters->retries);
    if (losses >= TXN_LOSSES_MAX && !MUTATION(GATE_NEVER)) {
        options->exclusive = true;
        return;
    }
    uint64_t wait_ns = 1 + random_below(&worker->random, (uint64_t)BACKOFF_BASE_NS << (2 * losses));
    if (wait_ns < BACKOFF_SPIN_NS) {
        for (unsigned turn = 0; (uint64_t)turn * 40 < wait_ns; turn++)
            cpu_relax();
        return;
    }
    struct timespec wait = {.tv_sec = 0, .tv_nsec = (long)wait_ns};
    nanosleep(&wait, NULL);
}

/* For a thread that has nothing else to do: sleeps until the lock is granted. */
static int wait_for_lock(struct txn_worker *worker)
{
    int rc = worker->owner == NULL ? 0 : lock_wait_block(worker->owner, LOCK_TIMEOUT_NS);
    if (rc != 0 && worker->owner != NULL)
        lock_release_all(worker->owner);
    return rc;
}

int txn_run(struct txn_worker *worker, const struct txn_options *options, txn_fn fn, void *arg)
{
    struct txn_options now = *options;
    for (unsigned losses = 0;;) {
        struct txn *txn;
        int rc = txn_begin(worker, &now, &txn);
        if (rc != 0)
            return rc;
        rc = fn(txn, arg);
        if (rc != 0)
            txn_rollback(txn);
        else
            rc = txn_commit(txn);
        if (rc == ERROR_WAIT && (rc = wait_for_lock(worker)) == 0)
            continue;
        if (rc != ERROR_CONFLICT && rc != ERROR_DEADLOCK)
            return rc;
        txn_backoff(worker, ++losses, &now);
    }
}

bool txn_level_parse(const char *name, size_t size, enum txn_level *out)
{
    static const struct {
        const char *name;
        enum txn_level level;
    } LEVELS[] = {
        {"serializable", TXN_SERIALIZABLE},         {"snapshot", TXN_SNAPSHOT},
        {"repeatable read", TXN_SNAPSHOT},          {"read committed", TXN_READ_COMMITTED},
        {"read uncommitted", TXN_READ_UNCOMMITTED},
    };
    for (size_t n = 0; n < sizeof LEVELS / sizeof *LEVELS; n++) {
        size_t i = 0;
        for (; i < size && LEVELS[n].name[i] != 0; i++) {
            char c = name[i] == '-' || name[i] == '_' ? ' ' : name[i];
            if ((c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != LEVELS[n].name[i])
                break;
        }
        if (i == size && LEVELS[n].name[i] == 0) {
            *out = LEVELS[n].level;
            return true;
        }
    }
    return false;
}

const char *txn_level_name(enum txn_level level)
{
    switch (level) {
    case TXN_READ_UNCOMMITTED:
        return "read uncommitted";
    case TXN_READ_COMMITTED:
        return "read committed";
    case TXN_SNAPSHOT:
        return "snapshot";
    default:
        return "serializable";
    }
}
