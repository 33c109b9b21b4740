/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Savepoints and escalation, and what becomes of one under the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>

#include "base/error.h"
#include "mem/system.h"
#include "txn/lock_fixture.h"

#define IS  LOCK_INTENT_SHARED
#define IX  LOCK_INTENT_EXCLUSIVE
#define S   LOCK_SHARED
#define SIX LOCK_SHARED_INTENT_EXCLUSIVE
#define X   LOCK_EXCLUSIVE

enum { ROWS = 10 }; /* how many rows do not escalate yet */

static struct lock_fixture f;

static int open(void **state)
{
    (void)state;
    lock_fixture_open_options(&f, 4, &(struct lock_table_options){.escalation_rows = ROWS});
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

static void rows(unsigned owner, uint32_t first, uint32_t count, enum lock_mode mode)
{
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(row(owner, first + i, mode), 0);
}

/* That the space is held in this mode and no stronger. */
static bool space_is(unsigned owner, enum lock_mode mode)
{
    for (enum lock_mode m = IS; m <= X; m++)
        if (lock_fixture_holds_space(&f, owner, 1, m) != lock_mode_covers(mode, m))
            return false;
    return true;
}

static bool row_is(unsigned owner, uint32_t key, enum lock_mode mode)
{
    return lock_fixture_holds_row(&f, owner, 1, key, S) == (mode != LOCK_NONE) &&
           lock_fixture_holds_row(&f, owner, 1, key, X) == (mode == X);
}

static size_t mark(unsigned owner)
{
    return lock_mark(f.owners[owner]);
}

static void release_to(unsigned owner, size_t to)
{
    lock_release_to(f.owners[owner], to);
}

/* Savepoints. */

static void what_was_locked_since_the_mark_is_given_back(void **state)
{
    (void)state;
    rows(0, 1, 1, S);
    size_t at = mark(0);
    rows(0, 2, 3, X);
    assert_int_equal(lock_fixture_take_space(&f, 0, 2, S), 0);
    assert_int_equal(row(1, 3, S), ERROR_WAIT);
    release_to(0, at);
    assert_int_equal(lock_count(f.owners[0]), 2);
    assert_true(row_is(0, 1, S) && row_is(0, 3, LOCK_NONE));
    assert_true(space_is(0, IS));
    assert_int_equal(lock_fixture_state(&f, 1), LOCK_WAIT_GRANTED);
    assert_int_equal(lock_fixture_take_space(&f, 1, 2, X), 0);
}

static void an_upgrade_since_the_mark_is_taken_back_to_the_mode_before(void **state)
{
    (void)state;
    rows(0, 1, 1, S);
    size_t at = mark(0);
    rows(0, 1, 1, X);
    assert_int_equal(row(1, 1, S), ERROR_WAIT);
    release_to(0, at);
    assert_true(row_is(0, 1, S) && space_is(0, IS));
    assert_int_equal(row(1, 1, S), 0);
    assert_int_equal(lock_count(f.owners[0]), 2);
}

static void marks_nest_and_serve_again(void **state)
{
    (void)state;
    size_t outer = mark(0);
    rows(0, 1, 2, S);
    size_t inner = mark(0);
    for (int i = 0; i < 3; i++) {
        rows(0, 1, 1, X);
        rows(0, 3, 4, X);
        release_to(0, inner);
        assert_true(row_is(0, 1, S) && row_is(0, 3, LOCK_NONE));
        assert_int_equal(lock_count(f.owners[0]), 3);
    }
    release_to(0, mark(0));
    assert_int_equal(lock_count(f.owners[0]), 3);
    release_to(0, outer);
    assert_true(lock_owner_idle(f.owners[0]));
    release_to(0, inner); /* a mark that is ahead does nothing */
    assert_true(lock_owner_idle(f.owners[0]));
}

static void a_return_leaves_the_queue_and_gives_back_what_was_granted_in_it(void **state)
{
    (void)state;
    rows(0, 1, 2, X);
    rows(1, 5, 1, X);
    size_t at = mark(1);
    assert_int_equal(row(1, 1, X), ERROR_WAIT);
    release_to(1, at);
    assert_int_equal(lock_fixture_state(&f, 1), LOCK_WAIT_NONE);
    assert_int_equal(row(1, 1, X), ERROR_WAIT);
    lock_release_all(f.owners[0]);
    assert_int_equal(lock_fixture_state(&f, 1), LOCK_WAIT_GRANTED);
    release_to(1, at);
    assert_true(row_is(1, 1, LOCK_NONE) && row_is(1, 5, X));
    assert_int_equal(lock_count(f.owners[1]), 2);
}

static void a_mark_after_a_grant_keeps_it(void **state)
{
    (void)state;
    rows(0, 1, 1, X);
    assert_int_equal(row(1, 1, X), ERROR_WAIT);
    lock_release_all(f.owners[0]);
    size_t at = mark(1);
    rows(1, 2, 1, X);
    release_to(1, at);
    assert_true(row_is(1, 1, X) && row_is(1, 2, LOCK_NONE));
}

/* Escalation. */

static void many_shared_rows_become_a_shared_space(void **state)
{
    (void)state;
    rows(0, 0, ROWS, S);
    assert_true(space_is(0, IS));
    assert_int_equal(lock_count(f.owners[0]), ROWS + 1);
    rows(0, ROWS, 1, S);
    assert_true(space_is(0, S));
    assert_int_equal(lock_count(f.owners[0]), 1);
    assert_int_equal(lock_fixture_stats(&f).escalations, 1);
    assert_int_equal(lock_fixture_stats(&f).held, 1);
    assert_true(row_is(0, 3, S) && row_is(0, 12345, S));
    assert_int_equal(row(1, 3, S), 0);
    assert_int_equal(row(1, 3, X), ERROR_WAIT);
}

static void rows_of_which_one_is_exclusive_become_an_exclusive_space(void **state)
{
    (void)state;
    rows(0, 0, 1, S);
    rows(0, 0, 1, X); /* by an upgrade */
    rows(0, 1, ROWS, S);
    assert_true(space_is(0, X));
    assert_int_equal(lock_count(f.owners[0]), 1);
    assert_int_equal(row(1, 3, S), ERROR_WAIT);
    rows(0, 0, 3 * ROWS, X);
    assert_int_equal(lock_fixture_stats(&f).escalations, 1);
}

static void exclusive_rows_in_a_shared_space_become_an_exclusive_one(void **state)
{
    (void)state;
    rows(0, 0, ROWS + 1, S);
    rows(0, 0, ROWS, X);
    assert_true(space_is(0, SIX));
    assert_int_equal(lock_count(f.owners[0]), ROWS + 1);
    rows(0, ROWS, 1, X);
    assert_true(space_is(0, X));
    assert_int_equal(lock_fixture_stats(&f).escalations, 2);
}

static void rows_of_each_space_count_by_themselves(void **state)
{
    (void)state;
    rows(0, 0, ROWS, S);
    for (uint32_t i = 0; i < ROWS; i++)
        assert_int_equal(lock_fixture_take_row(&f, 0, 2, i, X), 0);
    assert_int_equal(lock_fixture_stats(&f).escalations, 0);
    assert_int_equal(lock_fixture_take_row(&f, 0, 2, ROWS, X), 0);
    assert_true(space_is(0, IS));
    assert_true(lock_fixture_holds_space(&f, 0, 2, X));
    assert_int_equal(lock_count(f.owners[0]), ROWS + 2);
}

static void rows_that_are_asked_for_again_do_not_escalate(void **state)
{
    (void)state;
    rows(0, 0, ROWS, S);
    rows(0, 0, ROWS, S);
    rows(0, 0, ROWS, X);
    assert_int_equal(lock_fixture_stats(&f).escalations, 0);
    assert_int_equal(lock_count(f.owners[0]), ROWS + 1);
}

static void escalation_does_not_wait(void **state)
{
    (void)state;
    rows(1, 1000, 1, S);
    rows(0, 0, 2 * ROWS, X);
    assert_int_equal(lock_fixture_stats(&f).escalations, 0);
    assert_int_equal(lock_fixture_stats(&f).waits, 0);
    assert_true(space_is(0, IX));
    assert_int_equal(lock_count(f.owners[0]), 2 * ROWS + 1);
    lock_release_all(f.owners[1]);
    /* It has been tried in vain and is due again after as many more. */
    rows(0, 2 * ROWS, 1, X);
    assert_true(space_is(0, X));
    assert_int_equal(lock_count(f.owners[0]), 1);
}

static void escalation_does_not_pass_an_upgrade_that_waits(void **state)
{
    (void)state;
    assert_int_equal(space(1, IS), 0);
    assert_int_equal(space(2, IX), 0);
    rows(0, 0, ROWS, S);
    assert_int_equal(space(1, X), ERROR_WAIT);
    lock_release_all(f.owners[2]);
    assert_int_equal(lock_fixture_state(&f, 1), LOCK_WAIT_QUEUED);
    rows(0, ROWS, 1, S);
    assert_true(space_is(0, IS));
    assert_int_equal(lock_fixture_stats(&f).escalations, 0);
}

static void escalation_can_be_turned_off(void **state)
{
    (void)state;
    lock_fixture_close(&f);
    lock_fixture_open_options(&f, 1, &(struct lock_table_options){.escalation_rows = UINT_MAX});
    rows(0, 0, 5000, X);
    assert_int_equal(lock_count(f.owners[0]), 5001);
}

static void escalation_that_finds_no_memory_goes_on_with_rows(void **state)
{
    (void)state;
    /* The history is full after this: rows, a space, and upgrades. */
    rows(0, 0, ROWS, S);
    rows(0, 0, 4, X);
    uint64_t n = 1;
    int rc;
    do {
        system_fail_nth(n++);
        rc = row(0, ROWS, S);
        assert_true(rc == 0 || rc == ERROR_MEMORY);
        assert_int_equal(lock_fixture_stats(&f).held, lock_count(f.owners[0]));
    } while (rc != 0);
    system_fail_nth(0);
    assert_true(row_is(0, ROWS, S) || row_is(0, ROWS, X));
}

/* Both. */

static void an_escalation_of_rows_since_the_mark_is_undone(void **state)
{
    (void)state;
    assert_int_equal(space(0, IS), 0);
    size_t at = mark(0);
    rows(0, 0, ROWS + 1, X);
    assert_true(space_is(0, X));
    release_to(0, at);
    assert_true(space_is(0, IS));
    assert_int_equal(lock_count(f.owners[0]), 1);
    rows(0, 0, ROWS, X);
    assert_true(space_is(0, IX));
    assert_int_equal(lock_count(f.owners[0]), ROWS + 1);
}

static void an_escalation_of_a_row_from_before_the_mark_stays(void **state)
{
    (void)state;
    size_t start = mark(0);
    rows(0, 0, 1, S);
    size_t at = mark(0);
    rows(0, 1, ROWS, X);
    assert_true(space_is(0, X));
    release_to(0, at);
    assert_true(space_is(0, X));
    assert_true(row_is(0, 0, X));
    release_to(0, at);
    assert_true(space_is(0, X));
    release_to(0, start);
    assert_true(lock_owner_idle(f.owners[0]));
    assert_int_equal(row(1, 0, X), 0);
}

static void a_return_to_before_the_rows_undoes_what_an_earlier_return_left(void **state)
{
    (void)state;
    assert_int_equal(space(0, IS), 0);
    size_t start = mark(0);
    rows(0, 0, 1, X);
    size_t middle = mark(0);
    rows(0, 1, ROWS, S);
    assert_true(space_is(0, X));
    release_to(0, middle);
    assert_true(space_is(0, X));
    size_t late = mark(0);
    assert_int_equal(lock_fixture_take_space(&f, 0, 2, S), 0);
    release_to(0, late);
    assert_true(space_is(0, X));
    release_to(0, start);
    assert_true(space_is(0, IS));
    assert_int_equal(lock_count(f.owners[0]), 1);
}

static void an_upgrade_after_an_escalation_is_undone(void **state)
{
    (void)state;
    rows(0, 0, ROWS + 1, S);
    size_t at = mark(0);
    rows(0, 0, 1, X);
    assert_true(space_is(0, SIX));
    release_to(0, at);
    assert_true(space_is(0, S));
    assert_true(row_is(0, 0, S));
    assert_int_equal(lock_count(f.owners[0]), 1);
}

#define with_table(test) cmocka_unit_test_setup_teardown(test, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_table(what_was_locked_since_the_mark_is_given_back),
        with_table(an_upgrade_since_the_mark_is_taken_back_to_the_mode_before),
        with_table(marks_nest_and_serve_again),
        with_table(a_return_leaves_the_queue_and_gives_back_what_was_granted_in_it),
        with_table(a_mark_after_a_grant_keeps_it),
        with_table(many_shared_rows_become_a_shared_space),
        with_table(rows_of_which_one_is_exclusive_become_an_exclusive_space),
        with_table(exclusive_rows_in_a_shared_space_become_an_exclusive_one),
        with_table(rows_of_each_space_count_by_themselves),
        with_table(rows_that_are_asked_for_again_do_not_escalate),
        with_table(escalation_does_not_wait),
        with_table(escalation_does_not_pass_an_upgrade_that_waits),
        with_table(escalation_can_be_turned_off),
        with_table(escalation_that_finds_no_memory_goes_on_with_rows),
        with_table(an_escalation_of_rows_since_the_mark_is_undone),
        with_table(an_escalation_of_a_row_from_before_the_mark_stays),
        with_table(a_return_to_before_the_rows_undoes_what_an_earlier_return_left),
        with_table(an_upgrade_after_an_escalation_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
