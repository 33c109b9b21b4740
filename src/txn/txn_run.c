/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Running a transaction until it succeeds: backoff with jitter after a loss, and the exclusive gate
 * after a few, in which nobody can disturb it. So everything finishes.
 */
#include "txn/txn_private.h"

#include <time.h>

#include "base/error.h"

enum { BACKOFF_BASE_NS = 2000, BACKOFF_SPIN_NS = 20000 };

void txn_backoff(struct txn_worker *worker, unsigned losses, struct txn_options *options)
{
    txn__count(&worker->counters->retries);
    if (losses >= TXN_LOSSES_MAX) {
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
        if (rc != ERROR_CONFLICT)
            return rc;
        txn_backoff(worker, ++losses, &now);
    }
}
