/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_TXN_TXN_FIXTURE_H
#define TEST_TXN_TXN_FIXTURE_H

/*
 * What tests of transactions stand on: a log over the test disk, a heap, epochs, a transaction
 * system, two heads, and a secondary index over the first. Several workers may be driven step by
 * step from one thread, since each has a transaction of its own.
 *
 * Rows are strings under strings. The secondary key of a row is what its value has before a '|'; a
 * value without one is not in the index. An entry's key is secondary key, zero byte, primary key.
 */
#include <stdbool.h>
#include <stdint.h>

#include "io/disk.h"
#include "txn/txn.h"

enum { FIXTURE_WORKERS_MAX = 8 };

struct txn_fixture {
    unsigned few; /* of what fixture_scan reads at first (txn_cursor_few) */
    struct disk *disk;
    struct io *io;
    struct wal *wal;
    struct heap *heap;
    struct epoch_domain *epochs;
    struct txn_system *system;
    struct tree_thread boot; /* of the thread that opens and closes */
    struct txn_worker *workers[FIXTURE_WORKERS_MAX];
    unsigned worker_count;
    struct head head, other; /* ids 1 and 2; only the first has the secondary index */
    struct txn_index primary, secondary;
};

/* Opens with this many workers on an empty disk, durability commit. Under interval the log is
 * written when asked and flushed by nobody: D stays where it is. */
void fixture_open(struct txn_fixture *fixture, unsigned workers);
void fixture_open_level(struct txn_fixture *fixture, unsigned workers,
                        enum wal_durability durability);

/* Ends everything. Transactions have ended. */
void fixture_close(struct txn_fixture *fixture);

struct txn *fixture_begin(struct txn_fixture *fixture, unsigned worker, enum txn_level level);
struct txn *fixture_begin_readonly(struct txn_fixture *fixture, unsigned worker, bool latest);

/* Puts with the secondary entry and its uniqueness; what fails is undone. */
int fixture_put(struct txn_fixture *fixture, struct txn *txn, const char *key, const char *value);
int fixture_delete(struct txn_fixture *fixture, struct txn *txn, const char *key);

/* The value as a string that lives until the next calls overwrite it (four of them), NULL when the
 * row is absent; "CONFLICT" when it cannot be read. */
const char *fixture_get(struct txn_fixture *fixture, struct txn *txn, const char *key);
const char *fixture_get_for_update(struct txn_fixture *fixture, struct txn *txn, const char *key);

/* One write in a transaction of its own, which must succeed. `value` NULL deletes. Returns its
 * timestamp. */
uint64_t fixture_set(struct txn_fixture *fixture, unsigned worker, const char *key,
                     const char *value);

/* The latest committed value, by a transaction of its own. */
const char *fixture_latest(struct txn_fixture *fixture, unsigned worker, const char *key);

/* Keys that a cursor gives, joined by blanks, at most `limit`; "CONFLICT" after one. Bounds are
 * inclusive; NULL: none. Lives like the results of fixture_get. */
const char *fixture_scan(struct txn_fixture *fixture, struct txn *txn, struct txn_index *index,
                         const char *lower, const char *upper, bool backward, unsigned limit);

/* Makes all commits durable and lets every worker collect until nothing more can go. */
void fixture_settle(struct txn_fixture *fixture);

/* Length of the row's chain; -1 when the tree has no such row. Entries in the secondary tree. */
int fixture_chain(struct txn_fixture *fixture, const char *key);
size_t fixture_entries(struct txn_fixture *fixture);

#endif
