/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modes, queues and what can be seen of them: who is granted beside whom, who waits behind whom,
 * upgrades, waiting for an owner's transaction, cancelling, callbacks, views, bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <string.h>

#include "base/error.h"
#include "mem/system.h"
#include "txn/lock_fixture.h"

#define IS  LOCK_INTENT_SHARED
#define IX  LOCK_INTENT_EXCLUSIVE
#define S   LOCK_SHARED
#define SIX LOCK_SHARED_INTENT_EXCLUSIVE
#define X   LOCK_EXCLUSIVE

static struct lock_fixture f;

static int open(void **state)
{
    (void)state;
    lock_fixture_open(&f, LOCK_FIXTURE_OWNERS_MAX);
    return 0;
}

static int close(void **state)
{
    (void)state;
    lock_fixture_close(&f);
    return 0;
}

static int space(unsigned owner, enum lock_mode mode)
{
    return lock_fixture_take_space(&f, owner, 1, mode);
}

static int row(unsigned owner, uint32_t key, enum lock_mode mode)
{
    return lock_fixture_take_row(&f, owner, 1, key, mode);
}

static enum lock_wait state_of(unsigned owner)
{
    return lock_fixture_state(&f, owner);
}

static void release(unsigned owner)
{
    lock_release_all(f.owners[owner]);
}

/* What Gray's table says, row by row. */
static const bool beside[6][6] = {
    [IS] = {[IS] = 1, [IX] = 1, [S] = 1, [SIX] = 1, [X] = 0},
    [IX] = {[IS] = 1, [IX] = 1, [S] = 0, [SIX] = 0, [X] = 0},
    [S] = {[IS] = 1, [IX] = 0, [S] = 1, [SIX] = 0, [X] = 0},
    [SIX] = {[IS] = 1, [IX] = 0, [S] = 0, [SIX] = 0, [X] = 0},
    [X] = {0},
};

static void each_pair_of_modes_is_granted_as_the_matrix_says(void **state)
{
    (void)state;
    for (enum lock_mode a = IS; a <= X; a++) {
        for (enum lock_mode b = IS; b <= X; b++) {
            assert_int_equal(space(0, a), 0);
            assert_int_equal(space(1, b), beside[a][b] ? 0 : ERROR_WAIT);
            assert_int_equal(lock_mode_compatible(a, b), beside[a][b]);
            release(1);
            release(0);
        }
    }
}

static void a_join_is_the_weakest_mode_that_conflicts_with_all_that_either_does(void **state)
{
    (void)state;
    for (enum lock_mode a = IS; a <= X; a++) {
        for (enum lock_mode b = IS; b <= X; b++) {
            enum lock_mode join = lock_mode_join(a, b);
            assert_int_equal(join, lock_mode_join(b, a));
            assert_true(lock_mode_covers(join, a) && lock_mode_covers(join, b));
            for (enum lock_mode m = IS; m <= X; m++) {
                bool with_both = lock_mode_compatible(a, m) && lock_mode_compatible(b, m);
                assert_int_equal(lock_mode_compatible(join, m), with_both);
            }
        }
    }
}

static void what_is_held_covers_what_is_weaker(void **state)
{
    (void)state;
    assert_int_equal(space(0, SIX), 0);
    assert_int_equal(space(0, IS), 0);
    assert_int_equal(space(0, IX), 0);
    assert_int_equal(space(0, S), 0);
    assert_int_equal(lock_count(f.owners[0]), 1);
    assert_true(lock_fixture_holds_space(&f, 0, 1, S));
    assert_false(lock_fixture_holds_space(&f, 0, 1, X));
    assert_int_equal(space(0, X), 0);
    assert_true(lock_fixture_holds_space(&f, 0, 1, X));
    assert_int_equal(lock_count(f.owners[0]), 1);
}

static void shared_and_intent_exclusive_become_both(void **state)
{
    (void)state;
    assert_int_equal(space(0, S), 0);
    assert_int_equal(space(0, IX), 0);
    assert_true(lock_fixture_holds_space(&f, 0, 1, SIX));
    assert_int_equal(space(1, IS), 0);
    assert_int_equal(space(2, IX), ERROR_WAIT);
}

static void a_row_takes_the_intention_on_its_space(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, S), 0);
    assert_true(lock_fixture_holds_space(&f, 0, 1, IS));
    assert_false(lock_fixture_holds_space(&f, 0, 1, IX));
    assert_int_equal(row(0, 8, X), 0);
    assert_true(lock_fixture_holds_space(&f, 0, 1, IX));
    assert_int_equal(lock_count(f.owners[0]), 3);
    assert_int_equal(space(1, S), ERROR_WAIT);
    assert_int_equal(row(2, 7, S), 0);
    assert_int_equal(row(3, 7, X), ERROR_WAIT);
}

static void a_lock_on_the_space_implies_its_rows(void **state)
{
    (void)state;
    assert_int_equal(space(0, S), 0);
    assert_int_equal(row(0, 7, S), 0);
    assert_true(lock_fixture_holds_row(&f, 0, 1, 99, S));
    assert_false(lock_fixture_holds_row(&f, 0, 1, 99, X));
    assert_int_equal(lock_count(f.owners[0]), 1);
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(lock_count(f.owners[0]), 2);
    assert_true(lock_fixture_holds_space(&f, 0, 1, SIX));
    assert_int_equal(lock_fixture_take_space(&f, 1, 2, X), 0);
    assert_int_equal(lock_fixture_take_row(&f, 1, 2, 7, X), 0);
    assert_int_equal(lock_count(f.owners[1]), 1);
}

static void rows_of_other_keys_spaces_and_incarnations_are_others(void **state)
{
    (void)state;
    uint32_t key = 7;
    struct lock_name other = lock_name_row(1, 2, &key, sizeof(key));
    struct lock_name shorter = lock_name_row(1, 1, &key, sizeof(key) - 1);
    struct lock_name none = lock_name_row(1, 1, NULL, 0);
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 8, X), 0);
    assert_int_equal(lock_fixture_take_row(&f, 2, 2, 7, X), 0);
    assert_int_equal(lock_acquire(f.owners[3], &other, X), 0);
    assert_int_equal(lock_acquire(f.owners[4], &shorter, X), 0);
    assert_int_equal(lock_acquire(f.owners[5], &none, X), 0);
    assert_int_equal(lock_acquire(f.owners[6], &none, S), ERROR_WAIT);
}

static void keys_of_any_length_are_told_apart_by_their_last_byte(void **state)
{
    (void)state;
    unsigned char key[300] = {0};
    for (size_t size = 1; size <= sizeof(key); size++) {
        struct lock_name name = lock_name_row(1, 1, key, size);
        assert_int_equal(lock_acquire(f.owners[0], &name, X), 0);
        key[size - 1] = 1;
        assert_int_equal(lock_acquire(f.owners[1], &name, X), 0);
        key[size - 1] = 0;
        assert_int_equal(lock_acquire(f.owners[2], &name, X), ERROR_WAIT);
        assert_int_equal(lock_wait_cancel(f.owners[2], false), LOCK_WAIT_QUEUED);
    }
    release(0);
    release(1);
}

static void exclusive_waiters_are_granted_one_by_one_in_order(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(row(i, 7, X), i == 0 ? 0 : ERROR_WAIT);
    for (unsigned i = 0; i < 5; i++) {
        for (unsigned j = i + 1; j < 5; j++)
            assert_int_equal(state_of(j), LOCK_WAIT_QUEUED);
        release(i);
        if (i < 4) {
            assert_int_equal(state_of(i + 1), LOCK_WAIT_GRANTED);
            assert_int_equal(row(i + 1, 7, X), 0);
            assert_int_equal(f.woken[i + 1], 1);
        }
    }
}

static void readers_that_wait_together_are_granted_together(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 7, S), ERROR_WAIT);
    assert_int_equal(row(2, 7, S), ERROR_WAIT);
    assert_int_equal(row(3, 7, X), ERROR_WAIT);
    assert_int_equal(row(4, 7, S), ERROR_WAIT);
    release(0);
    assert_int_equal(state_of(1), LOCK_WAIT_GRANTED);
    assert_int_equal(state_of(2), LOCK_WAIT_GRANTED);
    assert_int_equal(state_of(3), LOCK_WAIT_QUEUED);
    assert_int_equal(state_of(4), LOCK_WAIT_QUEUED);
    release(1);
    assert_int_equal(state_of(3), LOCK_WAIT_QUEUED);
    release(2);
    assert_int_equal(state_of(3), LOCK_WAIT_GRANTED);
    assert_int_equal(state_of(4), LOCK_WAIT_QUEUED);
    release(3);
    assert_int_equal(state_of(4), LOCK_WAIT_GRANTED);
}

static void a_reader_does_not_overtake_a_writer_that_waits(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(2, 7, S), ERROR_WAIT);
    release(0);
    assert_int_equal(state_of(1), LOCK_WAIT_GRANTED);
    assert_int_equal(state_of(2), LOCK_WAIT_QUEUED);
}

static void who_is_in_nobodys_way_need_not_queue_behind_them(void **state)
{
    (void)state;
    assert_int_equal(space(0, IX), 0);
    assert_int_equal(space(1, S), ERROR_WAIT);
    assert_int_equal(space(2, IS), 0);
    assert_int_equal(space(3, IX), ERROR_WAIT);
    release(0);
    assert_int_equal(state_of(1), LOCK_WAIT_GRANTED);
    assert_int_equal(state_of(3), LOCK_WAIT_QUEUED);
}

static void an_upgrade_goes_in_front_of_those_that_hold_nothing(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, S), 0);
    assert_int_equal(row(2, 7, X), ERROR_WAIT);
    assert_int_equal(row(0, 7, X), ERROR_WAIT);
    assert_true(lock_fixture_holds_row(&f, 0, 1, 7, S));
    release(1);
    assert_int_equal(state_of(0), LOCK_WAIT_GRANTED);
    assert_int_equal(state_of(2), LOCK_WAIT_QUEUED);
    assert_int_equal(row(0, 7, X), 0);
    assert_true(lock_fixture_holds_row(&f, 0, 1, 7, X));
    release(0);
    assert_int_equal(state_of(2), LOCK_WAIT_GRANTED);
}

static void an_upgrade_that_nobody_is_in_the_way_of_does_not_wait(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(state_of(1), LOCK_WAIT_QUEUED);
}

static void a_cancelled_upgrade_leaves_what_was_held(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, S), 0);
    assert_int_equal(row(0, 7, X), ERROR_WAIT);
    assert_int_equal(row(2, 7, S), ERROR_WAIT);
    assert_int_equal(lock_wait_cancel(f.owners[0], false), LOCK_WAIT_QUEUED);
    assert_int_equal(state_of(2), LOCK_WAIT_GRANTED);
    assert_true(lock_fixture_holds_row(&f, 0, 1, 7, S));
    assert_false(lock_fixture_holds_row(&f, 0, 1, 7, X));
}

static void asking_again_while_waiting_keeps_the_place(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 8, X), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(2, 7, X), ERROR_WAIT);
    assert_int_equal(row(1, 8, X), 0); /* held already */
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(1, 7, S), ERROR_WAIT);
    assert_int_equal(lock_fixture_stats(&f).waits, 2);
    release(0);
    assert_int_equal(state_of(1), LOCK_WAIT_GRANTED);
    assert_int_equal(row(1, 7, X), 0);
    assert_int_equal(state_of(1), LOCK_WAIT_NONE);
    assert_int_equal(f.woken[1], 1);
}

static void asking_for_something_else_gives_the_place_up(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(2, 7, X), ERROR_WAIT);
    assert_int_equal(row(1, 8, X), 0);
    assert_int_equal(state_of(1), LOCK_WAIT_NONE);
    release(0);
    assert_int_equal(state_of(2), LOCK_WAIT_GRANTED);
    assert_int_equal(f.woken[1], 0);
}

static void what_was_granted_is_kept_although_something_else_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    release(0);
    assert_int_equal(row(1, 8, X), 0);
    assert_true(lock_fixture_holds_row(&f, 1, 1, 7, X));
    assert_int_equal(lock_count(f.owners[1]), 3);
}

static void a_row_whose_space_is_locked_waits_for_the_space_and_then_for_the_row(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(space(1, S), ERROR_WAIT);
    assert_int_equal(row(2, 7, X), ERROR_WAIT);
    assert_int_equal(row(2, 7, X), ERROR_WAIT);
    assert_int_equal(lock_wait_cancel(f.owners[1], false), LOCK_WAIT_QUEUED);
    assert_int_equal(state_of(2), LOCK_WAIT_GRANTED);
    assert_int_equal(row(2, 7, X), ERROR_WAIT);
    release(0);
    assert_int_equal(row(2, 7, X), 0);
    assert_int_equal(f.woken[2], 2);
}

static void leaving_a_queue_lets_those_behind_pass(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(2, 7, S), ERROR_WAIT);
    assert_int_equal(lock_wait_cancel(f.owners[1], true), LOCK_WAIT_QUEUED);
    assert_int_equal(state_of(1), LOCK_WAIT_NONE);
    assert_int_equal(state_of(2), LOCK_WAIT_GRANTED);
    assert_int_equal(lock_fixture_stats(&f).timeouts, 1);
    assert_int_equal(f.woken[1], 0);
}

static void cancelling_what_was_granted_in_between_keeps_it(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    release(0);
    assert_int_equal(lock_wait_cancel(f.owners[1], true), LOCK_WAIT_GRANTED);
    assert_true(lock_fixture_holds_row(&f, 1, 1, 7, X));
    assert_int_equal(lock_fixture_stats(&f).timeouts, 0);
    assert_int_equal(lock_wait_cancel(f.owners[1], true), LOCK_WAIT_NONE);
}

static void deleting_an_owner_that_waits_leaves_the_queue(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(2, 7, S), ERROR_WAIT);
    lock_owner_delete(f.owners[1]);
    f.owners[1] = NULL;
    assert_int_equal(state_of(2), LOCK_WAIT_GRANTED);
    lock_owner_delete(f.owners[2]); /* granted, and never looked at */
    f.owners[2] = NULL;
    assert_int_equal(lock_fixture_stats(&f).held, 2);
}

static void a_wait_for_a_transaction_ends_with_it_and_holds_nothing(void **state)
{
    (void)state;
    struct lock_name name = lock_name_owner(lock_owner_id(f.owners[0]));
    assert_int_equal(lock_acquire(f.owners[1], &name, S), 0);
    assert_true(lock_owner_idle(f.owners[1]));
    assert_int_equal(lock_acquire(f.owners[0], &name, X), 0);
    assert_int_equal(lock_acquire(f.owners[1], &name, S), ERROR_WAIT);
    assert_int_equal(lock_acquire(f.owners[2], &name, S), ERROR_WAIT);
    assert_int_equal(lock_acquire(f.owners[1], &name, S), ERROR_WAIT);
    release(0);
    assert_int_equal(state_of(1), LOCK_WAIT_GRANTED);
    assert_int_equal(state_of(2), LOCK_WAIT_GRANTED);
    assert_int_equal(lock_acquire(f.owners[0], &name, X), 0); /* its next transaction */
    assert_int_equal(lock_count(f.owners[1]), 0);
    assert_true(lock_owner_idle(f.owners[1]));
    assert_int_equal(lock_acquire(f.owners[2], &name, S), ERROR_WAIT);
    assert_int_equal(f.woken[1] + f.woken[2], 2);
}

static void an_owner_is_idle_when_it_holds_and_waits_for_nothing(void **state)
{
    (void)state;
    assert_true(lock_owner_idle(f.owners[0]));
    assert_int_equal(row(0, 7, X), 0);
    assert_false(lock_owner_idle(f.owners[0]));
    struct lock_name name = lock_name_owner(lock_owner_id(f.owners[2]));
    assert_int_equal(lock_acquire(f.owners[2], &name, X), 0);
    assert_int_equal(lock_acquire(f.owners[1], &name, S), ERROR_WAIT);
    assert_false(lock_owner_idle(f.owners[1]));
    assert_int_equal(lock_wait_cancel(f.owners[1], false), LOCK_WAIT_QUEUED);
    assert_true(lock_owner_idle(f.owners[1]));
    release(0);
    assert_true(lock_owner_idle(f.owners[0]));
}

static void ids_ascend_and_are_never_used_again(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (unsigned i = 0; i < f.owner_count; i++) {
        assert_true(lock_owner_id(f.owners[i]) > last);
        last = lock_owner_id(f.owners[i]);
    }
    lock_owner_delete(f.owners[3]);
    assert_int_equal(lock_owner_new(f.table, &f.owners[3]), 0);
    assert_true(lock_owner_id(f.owners[3]) > last);
}

static void blocking_returns_when_granted_and_when_time_is_over(void **state)
{
    (void)state;
    assert_int_equal(lock_wait_block(f.owners[1], 0), 0); /* waits for nothing */
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(lock_wait_block(f.owners[1], 1000), ERROR_LOCK_TIMEOUT);
    assert_int_equal(state_of(1), LOCK_WAIT_NONE);
    assert_int_equal(lock_fixture_stats(&f).timeouts, 1);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    release(0);
    assert_int_equal(lock_wait_block(f.owners[1], UINT64_MAX), 0);
    assert_true(lock_fixture_holds_row(&f, 1, 1, 7, X));
}

/* Callbacks. */

struct told {
    enum lock_mode space;
    bool row;
    unsigned calls;
};

static void tell_space(void *arg, uint64_t name, enum lock_mode strongest)
{
    struct told *told = arg;
    assert_int_equal(name, lock_fixture_space(1).space);
    assert_true(told->space != strongest);
    told->space = strongest;
    told->calls++;
}

static void tell_row(void *arg, uint64_t name, const void *key, size_t key_size, bool any_shared)
{
    struct told *told = arg;
    uint32_t seven = 7;
    assert_int_equal(name, lock_fixture_space(1).space);
    assert_int_equal(key_size, sizeof(seven));
    assert_memory_equal(key, &seven, key_size);
    assert_true(told->row != any_shared);
    told->row = any_shared;
    told->calls++;
}

static void changes_of_what_is_locked_are_told(void **state)
{
    (void)state;
    struct told told = {0};
    lock_fixture_close(&f);
    lock_fixture_open_options(&f, 4,
                              &(struct lock_table_options){.space_locked = tell_space,
                                                           .row_shared = tell_row,
                                                           .arg = &told});
    assert_int_equal(space(0, IS), 0);
    assert_int_equal(told.calls, 0);
    assert_int_equal(space(0, S), 0);
    assert_int_equal(told.space, S);
    assert_int_equal(space(1, S), 0);
    release(1);
    assert_int_equal(told.calls, 1);
    assert_int_equal(space(0, IX), 0);
    assert_int_equal(told.space, SIX);
    assert_int_equal(space(1, X), ERROR_WAIT);
    assert_int_equal(told.space, SIX);
    release(0);
    assert_int_equal(told.space, X);
    assert_int_equal(told.calls, 3);
    release(1);
    assert_int_equal(told.space, LOCK_NONE);
    assert_int_equal(told.calls, 4);

    assert_int_equal(row(0, 7, S), 0);
    assert_true(told.row);
    assert_int_equal(row(1, 7, S), 0);
    release(0);
    assert_int_equal(told.calls, 5);
    size_t mark = lock_mark(f.owners[1]);
    assert_int_equal(row(1, 7, X), 0);
    assert_false(told.row);
    lock_release_to(f.owners[1], mark);
    assert_true(told.row);
    release(1);
    assert_false(told.row);
    assert_int_equal(told.calls, 8);
}

/* Views. */

struct seen {
    struct lock_view views[16];
    uint32_t keys[16];
    unsigned count, limit;
};

static int see(const struct lock_view *view, void *arg)
{
    struct seen *seen = arg;
    assert_true(seen->count < 16);
    seen->views[seen->count] = *view;
    if (view->name.kind == LOCK_ROW)
        memcpy(&seen->keys[seen->count], view->name.key, sizeof(uint32_t));
    seen->count++;
    return seen->count == seen->limit ? 42 : 0;
}

static const struct lock_view *view_of(const struct seen *seen, unsigned owner, enum lock_kind kind,
                                       bool waiting)
{
    const struct lock_view *found = NULL;
    for (unsigned i = 0; i < seen->count; i++) {
        const struct lock_view *view = &seen->views[i];
        if (view->owner_id != lock_owner_id(f.owners[owner]) || view->name.kind != kind ||
            view->waiting != waiting)
            continue;
        assert_null(found);
        found = view;
        if (kind == LOCK_ROW)
            assert_int_equal(seen->keys[i], 7);
    }
    assert_non_null(found);
    return found;
}

static void who_waits_for_whom_can_be_seen(void **state)
{
    (void)state;
    struct seen seen = {0};
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, S), 0);
    clock_manual_advance_ms(&f.clock, 5);
    assert_int_equal(row(2, 7, X), ERROR_WAIT);
    assert_int_equal(row(0, 7, X), ERROR_WAIT);
    assert_int_equal(lock_table_each(f.table, see, &seen), 0);
    assert_int_equal(seen.count, 3 + 2 + 2);
    assert_int_equal(view_of(&seen, 0, LOCK_SPACE, false)->mode, IX);
    assert_int_equal(view_of(&seen, 1, LOCK_SPACE, false)->mode, IS);
    assert_int_equal(view_of(&seen, 1, LOCK_ROW, false)->mode, S);
    assert_int_equal(view_of(&seen, 1, LOCK_ROW, false)->session_id, 101);
    assert_int_equal(view_of(&seen, 0, LOCK_ROW, false)->mode, S);
    const struct lock_view *upgrade = view_of(&seen, 0, LOCK_ROW, true);
    assert_int_equal(upgrade->mode, X);
    assert_int_equal(upgrade->blocker_count, 1);
    assert_int_equal(upgrade->blockers[0], lock_owner_id(f.owners[1]));
    const struct lock_view *waiter = view_of(&seen, 2, LOCK_ROW, true);
    assert_int_equal(waiter->since_ns, 5000000);
    assert_int_equal(waiter->blocker_count, 2);
}

static void a_view_ends_when_the_caller_says_so(void **state)
{
    (void)state;
    struct seen seen = {.limit = 2};
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(row(0, i, X), 0);
    assert_int_equal(lock_table_each(f.table, see, &seen), 42);
    assert_int_equal(seen.count, 2);
}

static void what_happens_is_counted(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    struct lock_stats stats = lock_fixture_stats(&f);
    assert_int_equal(stats.held, 3);
    assert_int_equal(stats.waiting, 1);
    assert_int_equal(stats.waits, 1);
    assert_int_equal(stats.owners, LOCK_FIXTURE_OWNERS_MAX);
    release(0);
    stats = lock_fixture_stats(&f);
    assert_int_equal(stats.held, 2);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.waits, 1);
}

/* Bounds and failures. */

static void there_are_no_more_locks_than_are_allowed(void **state)
{
    (void)state;
    lock_fixture_close(&f);
    lock_fixture_open_options(
        &f, 4, &(struct lock_table_options){.locks_max = 2000, .escalation_rows = UINT_MAX});
    uint32_t count = 0;
    while (row(0, count, X) == 0 && count < 3000)
        count++;
    assert_true(count < 2000);
    assert_true(count >= 2000 - 2000 / 8 - 1);
    assert_true(lock_fixture_holds_space(&f, 0, 1, IX));
    release(0);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(row(1, i, X), 0);
}

static void there_are_no_more_owners_than_are_allowed(void **state)
{
    (void)state;
    struct lock_owner *owner;
    lock_fixture_close(&f);
    lock_fixture_open_options(&f, 3, &(struct lock_table_options){.owners_max = 3});
    assert_int_equal(lock_owner_new(f.table, &owner), ERROR_MEMORY);
    lock_owner_delete(f.owners[2]);
    assert_int_equal(lock_owner_new(f.table, &f.owners[2]), 0);
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    unsigned char key[200] = {0};
    uint64_t failed = 0;
    for (uint64_t n = 1;; n++) {
        struct lock_table *table;
        system_fail_nth(n);
        int rc = lock_table_new(&(struct lock_table_options){0}, &table);
        if (rc == 0)
            lock_table_delete(table);
        if (system_fail_pending())
            break;
        assert_int_equal(rc, ERROR_MEMORY);
    }
    for (uint32_t i = 0; i < 500; i++) {
        memcpy(key, &i, sizeof(i));
        struct lock_name name = lock_name_row(1, 1, key, i % 2 == 0 ? sizeof(key) : sizeof(i));
        int rc = ERROR_MEMORY;
        for (uint64_t n = 1; rc != 0; n++) {
            system_fail_nth(n);
            rc = lock_acquire(f.owners[0], &name, X);
            assert_true(rc == 0 || rc == ERROR_MEMORY);
            failed += rc != 0;
            assert_int_equal(lock_held(f.owners[0], &name, X), rc == 0);
        }
    }
    system_fail_nth(0);
    assert_true(failed > 250);
    assert_int_equal(lock_count(f.owners[0]), 501);
    for (uint64_t n = 1;; n++) {
        struct seen seen = {.limit = 1};
        system_fail_nth(n);
        int rc = lock_table_each(f.table, see, &seen);
        if (system_fail_pending())
            break;
        assert_true(rc == ERROR_MEMORY || rc == 42);
    }
    system_fail_nth(0);
}

static void without_memory_nobody_is_queued(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    int rc = ERROR_MEMORY;
    for (uint64_t n = 1; rc != ERROR_WAIT; n++) {
        system_fail_nth(n);
        rc = row(1, 7, X);
        if (rc != ERROR_WAIT)
            assert_int_equal(state_of(1), LOCK_WAIT_NONE);
    }
    system_fail_nth(0);
    assert_int_equal(lock_fixture_stats(&f).waiting, 1);
    release(0);
    assert_int_equal(state_of(1), LOCK_WAIT_GRANTED);
}

#define with_table(test) cmocka_unit_test_setup_teardown(test, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(each_pair_of_modes_is_granted_as_the_matrix_says),
        with_table(a_join_is_the_weakest_mode_that_conflicts_with_all_that_either_does),
        with_table(what_is_held_covers_what_is_weaker),
        with_table(shared_and_intent_exclusive_become_both),
        with_table(a_row_takes_the_intention_on_its_space),
        with_table(a_lock_on_the_space_implies_its_rows),
        with_table(rows_of_other_keys_spaces_and_incarnations_are_others),
        with_table(keys_of_any_length_are_told_apart_by_their_last_byte),
        with_table(exclusive_waiters_are_granted_one_by_one_in_order),
        with_table(readers_that_wait_together_are_granted_together),
        with_table(a_reader_does_not_overtake_a_writer_that_waits),
        with_table(who_is_in_nobodys_way_need_not_queue_behind_them),
        with_table(an_upgrade_goes_in_front_of_those_that_hold_nothing),
        with_table(an_upgrade_that_nobody_is_in_the_way_of_does_not_wait),
        with_table(a_cancelled_upgrade_leaves_what_was_held),
        with_table(asking_again_while_waiting_keeps_the_place),
        with_table(asking_for_something_else_gives_the_place_up),
        with_table(what_was_granted_is_kept_although_something_else_is_asked_for),
        with_table(a_row_whose_space_is_locked_waits_for_the_space_and_then_for_the_row),
        with_table(leaving_a_queue_lets_those_behind_pass),
        with_table(cancelling_what_was_granted_in_between_keeps_it),
        with_table(deleting_an_owner_that_waits_leaves_the_queue),
        with_table(a_wait_for_a_transaction_ends_with_it_and_holds_nothing),
        with_table(an_owner_is_idle_when_it_holds_and_waits_for_nothing),
        with_table(ids_ascend_and_are_never_used_again),
        with_table(blocking_returns_when_granted_and_when_time_is_over),
        with_table(changes_of_what_is_locked_are_told),
        with_table(who_waits_for_whom_can_be_seen),
        with_table(a_view_ends_when_the_caller_says_so),
        with_table(what_happens_is_counted),
        with_table(there_are_no_more_locks_than_are_allowed),
        with_table(there_are_no_more_owners_than_are_allowed),
        with_table(without_memory_nothing_changes),
        with_table(without_memory_nobody_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
