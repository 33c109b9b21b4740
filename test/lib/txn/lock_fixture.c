/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock table for tests.
 */
#include "txn/lock_fixture.h"

#include <string.h>

#include "base/assert.h"

static void wake(void *arg)
{
    unsigned *woken = arg;
    ++*woken;
}

void lock_fixture_open(struct lock_fixture *fixture, unsigned owners)
{
    lock_fixture_open_options(fixture, owners, &(struct lock_table_options){0});
}

void lock_fixture_open_options(struct lock_fixture *fixture, unsigned owners,
                               const struct lock_table_options *options)
{
    struct lock_table_options own = *options;
    ASSERT(owners <= LOCK_FIXTURE_OWNERS_MAX);
    memset(fixture, 0, sizeof(*fixture));
    clock_manual_create(&fixture->clock, 0);
    own.clock = &fixture->clock.base;
    int rc = lock_table_new(&own, &fixture->table);
    ASSERT(rc == 0);
    for (unsigned i = 0; i < owners; i++) {
        rc = lock_owner_new(fixture->table, &fixture->owners[i]);
        ASSERT(rc == 0);
        lock_owner_session_set(fixture->owners[i], 100 + i);
        lock_owner_wake_set(fixture->owners[i], wake, &fixture->woken[i]);
    }
    fixture->owner_count = owners;
}

void lock_fixture_close(struct lock_fixture *fixture)
{
    for (unsigned i = 0; i < fixture->owner_count; i++)
        lock_owner_delete(fixture->owners[i]);
    struct lock_stats stats = lock_fixture_stats(fixture);
    ASSERT(stats.held == 0 && stats.waiting == 0 && stats.owners == 0);
    lock_table_delete(fixture->table);
}

struct lock_name lock_fixture_space(uint32_t space)
{
    return lock_name_space(space, 1);
}

struct lock_name lock_fixture_row(uint32_t space, uint32_t key)
{
    static _Thread_local uint32_t keys[8];
    static _Thread_local unsigned next;
    uint32_t *place = &keys[next++ % 8];
    *place = key;
    return lock_name_row(space, 1, place, sizeof(*place));
}

int lock_fixture_take_space(struct lock_fixture *fixture, unsigned owner, uint32_t space,
                            enum lock_mode mode)
{
    struct lock_name name = lock_fixture_space(space);
    return lock_acquire(fixture->owners[owner], &name, mode);
}

int lock_fixture_take_row(struct lock_fixture *fixture, unsigned owner, uint32_t space,
                          uint32_t key, enum lock_mode mode)
{
    struct lock_name name = lock_fixture_row(space, key);
    return lock_acquire(fixture->owners[owner], &name, mode);
}

bool lock_fixture_holds_space(struct lock_fixture *fixture, unsigned owner, uint32_t space,
                              enum lock_mode mode)
{
    struct lock_name name = lock_fixture_space(space);
    return lock_held(fixture->owners[owner], &name, mode);
}

bool lock_fixture_holds_row(struct lock_fixture *fixture, unsigned owner, uint32_t space,
                            uint32_t key, enum lock_mode mode)
{
    struct lock_name name = lock_fixture_row(space, key);
    return lock_held(fixture->owners[owner], &name, mode);
}

enum lock_wait lock_fixture_state(struct lock_fixture *fixture, unsigned owner)
{
    return lock_wait_state(fixture->owners[owner]);
}

struct lock_stats lock_fixture_stats(struct lock_fixture *fixture)
{
    struct lock_stats stats;
    lock_stats_get(fixture->table, &stats);
    return stats;
}
