/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_TXN_LOCK_FIXTURE_H
#define TEST_TXN_LOCK_FIXTURE_H

/*
 * A lock table with a few owners, the first the oldest, that a test drives step by step; who was
 * woken how often; and short names for spaces, rows and what happens to them.
 */
#include <stdbool.h>
#include <stdint.h>

#include "txn/lock.h"

enum { LOCK_FIXTURE_OWNERS_MAX = 8 };

struct lock_fixture {
    struct lock_table *table;
    struct lock_owner *owners[LOCK_FIXTURE_OWNERS_MAX];
    unsigned owner_count;
    unsigned woken[LOCK_FIXTURE_OWNERS_MAX]; /* calls of the owner's wake function */
    struct clock_manual clock;
};

void lock_fixture_open(struct lock_fixture *fixture, unsigned owners);

/* With options, of which the clock is the fixture's. */
void lock_fixture_open_options(struct lock_fixture *fixture, unsigned owners,
                               const struct lock_table_options *options);

/* Deletes the owners and the table; checks that nothing is held or waited for any more. */
void lock_fixture_close(struct lock_fixture *fixture);

/* Names of space `space`, incarnation 1, and of its row with this key. The key lives in the name
 * that is returned, in one of a few places that are used in turn. */
struct lock_name lock_fixture_space(uint32_t space);
struct lock_name lock_fixture_row(uint32_t space, uint32_t key);

/* lock_acquire on them, by the number of the owner. */
int lock_fixture_take_space(struct lock_fixture *fixture, unsigned owner, uint32_t space,
                            enum lock_mode mode);
int lock_fixture_take_row(struct lock_fixture *fixture, unsigned owner, uint32_t space,
                          uint32_t key, enum lock_mode mode);
bool lock_fixture_holds_space(struct lock_fixture *fixture, unsigned owner, uint32_t space,
                              enum lock_mode mode);
bool lock_fixture_holds_row(struct lock_fixture *fixture, unsigned owner, uint32_t space,
                            uint32_t key, enum lock_mode mode);

/* Who waits, as lock_wait_state says. */
enum lock_wait lock_fixture_state(struct lock_fixture *fixture, unsigned owner);
struct lock_stats lock_fixture_stats(struct lock_fixture *fixture);

#endif
