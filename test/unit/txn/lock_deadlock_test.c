/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlocks: cycles of every length are found when they close, the youngest owner of each is the
 * victim, and what is no cycle is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "txn/lock_fixture.h"

#define S LOCK_SHARED
#define X LOCK_EXCLUSIVE

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

/* Owner order[i] holds row i and waits for row i + 1; the last one closes the cycle. Exactly the
 * youngest must be the victim, wherever in the cycle it is; then all the others can go on. */
static void cycle(const unsigned *order, unsigned length)
{
    unsigned youngest = 0, last = order[length - 1];
    for (unsigned i = 0; i < length; i++) {
        assert_int_equal(row(order[i], i, X), 0);
        if (order[i] > youngest)
            youngest = order[i];
    }
    for (unsigned i = 0; i + 1 < length; i++)
        assert_int_equal(row(order[i], i + 1, X), ERROR_WAIT);
    assert_int_equal(row(last, 0, X), youngest == last ? ERROR_DEADLOCK : ERROR_WAIT);
    for (unsigned i = 0; i < length; i++) {
        enum lock_wait expected = LOCK_WAIT_QUEUED;
        if (order[i] == youngest)
            expected = youngest == last ? LOCK_WAIT_NONE : LOCK_WAIT_VICTIM;
        assert_int_equal(state_of(order[i]), expected);
        assert_int_equal(f.woken[order[i]], expected == LOCK_WAIT_VICTIM);
    }
    release(youngest);
    for (unsigned left = length - 1; left > 0; left--) {
        unsigned ended = LOCK_FIXTURE_OWNERS_MAX;
        for (unsigned i = 0; i < length; i++)
            if (state_of(order[i]) == LOCK_WAIT_GRANTED)
                ended = order[i];
        assert_true(ended < LOCK_FIXTURE_OWNERS_MAX);
        release(ended);
    }
    memset(f.woken, 0, sizeof(f.woken));
}

static void permutations(unsigned *order, unsigned done, unsigned length)
{
    if (done == length) {
        cycle(order, length);
        return;
    }
    for (unsigned i = done; i < length; i++) {
        unsigned chosen = order[i];
        order[i] = order[done];
        order[done] = chosen;
        permutations(order, done + 1, length);
        order[done] = order[i];
        order[i] = chosen;
    }
}

static void the_youngest_of_a_cycle_is_the_victim_wherever_it_is(void **state)
{
    (void)state;
    for (unsigned length = 2; length <= 5; length++) {
        unsigned order[] = {0, 1, 2, 3, 4};
        permutations(order, 0, length);
    }
    assert_int_equal(lock_fixture_stats(&f).deadlocks, 2 + 6 + 24 + 120);
}

static void a_long_cycle_is_found(void **state)
{
    (void)state;
    unsigned order[] = {3, 1, 7, 5, 0, 2, 6, 4};
    cycle(order, 8);
    assert_int_equal(lock_fixture_stats(&f).deadlocks, 1);
}

static void two_holders_that_both_upgrade_are_a_deadlock(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, S), 0);
    assert_int_equal(row(0, 7, X), ERROR_WAIT);
    assert_int_equal(row(1, 7, X), ERROR_DEADLOCK);
    assert_int_equal(state_of(1), LOCK_WAIT_NONE);
    assert_true(lock_fixture_holds_row(&f, 1, 1, 7, S));
    release(1);
    assert_int_equal(row(0, 7, X), 0);

    release(0);
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, S), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(0, 7, X), ERROR_WAIT);
    assert_int_equal(state_of(1), LOCK_WAIT_VICTIM);
    assert_int_equal(state_of(0), LOCK_WAIT_QUEUED);
    release(1);
    assert_int_equal(row(0, 7, X), 0);
}

static void an_upgrade_that_jumps_a_queue_closes_no_cycle(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, S), 0);
    assert_int_equal(row(2, 7, X), ERROR_WAIT);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(lock_fixture_stats(&f).deadlocks, 0);
    release(0);
    assert_int_equal(state_of(1), LOCK_WAIT_GRANTED);
}

static void a_cycle_through_one_who_waits_in_front_is_found(void **state)
{
    (void)state;
    /* 2 waits behind 1, though it is compatible with 0 who holds: 1 waits for 0, and 0 for 2. */
    assert_int_equal(row(2, 8, X), 0);
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(0, 8, X), ERROR_WAIT);
    assert_int_equal(row(2, 7, S), ERROR_DEADLOCK);
    release(2);
    assert_int_equal(row(0, 8, X), 0);
}

static void a_victim_in_front_lets_the_one_who_asks_pass_at_once(void **state)
{
    (void)state;
    /* As before, but the one in front is the youngest: without it the request is granted. */
    assert_int_equal(row(1, 8, X), 0);
    assert_int_equal(row(0, 7, S), 0);
    assert_int_equal(row(2, 7, X), ERROR_WAIT);
    assert_int_equal(row(0, 8, X), ERROR_WAIT);
    assert_int_equal(row(1, 7, S), 0);
    assert_int_equal(state_of(2), LOCK_WAIT_VICTIM);
    assert_int_equal(f.woken[1], 0); /* it saw for itself */
    assert_int_equal(f.woken[2], 1);
}

static void cycles_over_spaces_rows_and_transactions_are_found(void **state)
{
    (void)state;
    struct lock_name name = lock_name_owner(lock_owner_id(f.owners[0]));
    assert_int_equal(lock_acquire(f.owners[0], &name, X), 0);
    assert_int_equal(lock_fixture_take_space(&f, 1, 2, S), 0);
    assert_int_equal(row(2, 7, X), 0);
    assert_int_equal(lock_fixture_take_row(&f, 0, 2, 9, X), ERROR_WAIT); /* for 1 */
    assert_int_equal(row(1, 7, S), ERROR_WAIT);                          /* for 2 */
    assert_int_equal(lock_acquire(f.owners[2], &name, S), ERROR_DEADLOCK);
    assert_non_null(strstr(diag_message(), "its transaction"));
    release(2);
    assert_int_equal(state_of(1), LOCK_WAIT_GRANTED);
}

static void several_cycles_that_close_at_once_are_all_broken(void **state)
{
    (void)state;
    /* 1 and 2 hold a row shared that 0 wants, and both wait for what 0 holds. */
    assert_int_equal(row(0, 8, X), 0);
    assert_int_equal(row(1, 7, S), 0);
    assert_int_equal(row(2, 7, S), 0);
    assert_int_equal(row(1, 8, S), ERROR_WAIT);
    assert_int_equal(row(2, 8, S), ERROR_WAIT);
    assert_int_equal(row(0, 7, X), ERROR_WAIT);
    assert_int_equal(state_of(1), LOCK_WAIT_VICTIM);
    assert_int_equal(state_of(2), LOCK_WAIT_VICTIM);
    assert_int_equal(lock_fixture_stats(&f).deadlocks, 2);
    release(1);
    assert_int_equal(state_of(0), LOCK_WAIT_QUEUED);
    release(2);
    assert_int_equal(state_of(0), LOCK_WAIT_GRANTED);
}

static void a_victim_gets_nothing_until_it_has_released_everything(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 8, X), 0);
    assert_int_equal(row(1, 7, X), ERROR_WAIT);
    assert_int_equal(row(0, 8, X), ERROR_WAIT);
    assert_int_equal(state_of(1), LOCK_WAIT_VICTIM);
    assert_int_equal(row(1, 9, X), ERROR_DEADLOCK);
    assert_int_equal(row(1, 8, X), ERROR_DEADLOCK);
    assert_int_equal(lock_wait_cancel(f.owners[1], true), LOCK_WAIT_VICTIM);
    assert_int_equal(lock_wait_block(f.owners[1], 0), ERROR_DEADLOCK);
    lock_release_to(f.owners[1], lock_mark(f.owners[1]));
    assert_int_equal(row(1, 9, X), ERROR_DEADLOCK);
    assert_false(lock_owner_idle(f.owners[1]));
    release(1);
    assert_true(lock_owner_idle(f.owners[1]));
    assert_int_equal(row(1, 9, X), 0);
    assert_int_equal(row(0, 8, X), 0);
    assert_int_equal(lock_fixture_stats(&f).timeouts, 0);
}

static void the_message_says_who_waits_for_whom(void **state)
{
    (void)state;
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(1, 8, X), 0);
    assert_int_equal(row(0, 8, X), ERROR_WAIT);
    assert_int_equal(row(1, 7, S), ERROR_DEADLOCK);
    assert_string_equal(diag_message(),
                        "deadlock: owner 2 (session 101) waits for owner 1 (session 100): "
                        "shared on space 1 row 07000000; "
                        "owner 1 (session 100) waits for owner 2 (session 101): "
                        "exclusive on space 1 row 08000000");
}

static void a_message_about_many_is_cut(void **state)
{
    (void)state;
    unsigned char key[100] = {0};
    for (unsigned i = 0; i < 8; i++) {
        key[0] = (unsigned char)i;
        struct lock_name name = lock_name_row(1, 1, key, sizeof(key));
        assert_int_equal(lock_acquire(f.owners[i], &name, X), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        key[0] = (unsigned char)((i + 1) % 8);
        struct lock_name name = lock_name_row(1, 1, key, sizeof(key));
        assert_int_equal(lock_acquire(f.owners[i], &name, X), i == 7 ? ERROR_DEADLOCK : ERROR_WAIT);
    }
    assert_true(strlen(diag_message()) > 300 && strlen(diag_message()) < 500);
}

static void a_queue_of_many_is_no_deadlock(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(row(i, i, X), 0);
    for (unsigned i = 1; i < 8; i++)
        assert_int_equal(row(i, 0, i % 2 == 0 ? X : S), ERROR_WAIT);
    for (unsigned i = 1; i < 8; i++)
        assert_int_equal(state_of(i), LOCK_WAIT_QUEUED);
    /* Whoever holds what one of them waits for, and waits for any of them, closes a cycle. */
    assert_int_equal(row(0, 7, X), ERROR_WAIT);
    assert_int_equal(state_of(7), LOCK_WAIT_VICTIM);
    for (unsigned i = 1; i < 7; i++)
        assert_int_equal(state_of(i), LOCK_WAIT_QUEUED);
}

static void an_owner_of_many_locks_is_searched_as_well(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 500; i++)
        assert_int_equal(row(1, 100 + i, X), 0);
    assert_int_equal(row(0, 7, X), 0);
    assert_int_equal(row(0, 599, S), ERROR_WAIT);
    assert_int_equal(row(1, 7, X), ERROR_DEADLOCK);
}

#define with_table(test) cmocka_unit_test_setup_teardown(test, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(the_youngest_of_a_cycle_is_the_victim_wherever_it_is),
        with_table(a_long_cycle_is_found),
        with_table(two_holders_that_both_upgrade_are_a_deadlock),
        with_table(an_upgrade_that_jumps_a_queue_closes_no_cycle),
        with_table(a_cycle_through_one_who_waits_in_front_is_found),
        with_table(a_victim_in_front_lets_the_one_who_asks_pass_at_once),
        with_table(cycles_over_spaces_rows_and_transactions_are_found),
        with_table(several_cycles_that_close_at_once_are_all_broken),
        with_table(a_victim_gets_nothing_until_it_has_released_everything),
        with_table(the_message_says_who_waits_for_whom),
        with_table(a_message_about_many_is_cut),
        with_table(a_queue_of_many_is_no_deadlock),
        with_table(an_owner_of_many_locks_is_searched_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
