/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unique keys and serializable transactions (invariants 15, 16, 21 in part, and 22). Workers are
 * driven from one thread. A scene looks at what is there in the end, or at what was promised: two
 * rows with one unique key, two transactions of which neither can have been the first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "mutation/scene.h"
#include "txn/txn_fixture.h"

static struct txn_fixture f;

static int end(struct txn *txn, int rc)
{
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

static const char *keys_between(struct txn_index *index, const char *lower, const char *upper)
{
    struct txn *txn = fixture_begin_readonly(&f, 2, true);
    const char *keys = fixture_scan(&f, txn, index, lower, upper, false, 9);
    txn_rollback(txn);
    return keys;
}

/* ------------------------------------------------------------------------------------ rule 15 */

static const char *two_rows(void)
{
    return strchr(keys_between(&f.secondary, "x", "x~"), ' ') != NULL ? "two rows have one key"
                                                                      : NULL;
}

static const char *a_key_below_a_savepoint_is_not_free(void)
{
    fixture_open(&f, 3);
    struct txn *other = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, other, "a", "x|1"), 0);
    struct txn_savepoint savepoint = txn_savepoint(other);
    assert_int_equal(fixture_put(&f, other, "a", "y|1"), 0);
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    end(txn, fixture_put(&f, txn, "b", "x|2"));
    txn_rollback_to(other, savepoint);
    assert_int_equal(txn_commit(other), 0);
    const char *wrong = two_rows();
    SCENE_EXPECT(wrong == NULL, wrong);
    fixture_close(&f);
    return NULL;
}

static const char *nobody_is_refused_for_a_row_that_it_can_not_see(void)
{
    fixture_open(&f, 3);
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    fixture_set(&f, 1, "a", "x|1");
    int rc = fixture_put(&f, txn, "b", "x|2");
    SCENE_EXPECT(rc != ERROR_DUPLICATE ||
                     fixture_scan(&f, txn, &f.secondary, "x", "x~", false, 9)[0] != '\0',
                 "a key is taken, by nobody that can be seen");
    txn_rollback(txn);
    fixture_close(&f);
    return NULL;
}

/* Two that have both written and both added their entry before either looks for the other. */
static struct txn *older, *younger;
static struct row *older_row, *younger_row;
static int younger_rc;

static void race_open(void)
{
    fixture_open(&f, 3);
    older = fixture_begin(&f, 0, TXN_SNAPSHOT);
    fixture_set(&f, 2, "tick", "1");
    younger = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(txn_put(older, &f.head, "a", 1, "x|1", 3, &older_row, NULL), 0);
    assert_int_equal(txn_put(younger, &f.head, "b", 1, "x|2", 3, &younger_row, NULL), 0);
    assert_int_equal(txn_entry_add(older, &f.secondary, "x\0a", 3, 2, older_row), 0);
    assert_int_equal(txn_entry_add(younger, &f.secondary, "x\0b", 3, 2, younger_row), 0);
}

static int look_for_holder(struct txn *txn, struct row *own)
{
    struct row *holder;
    return txn_unique_check(txn, &f.secondary, "x", 2, own, &holder);
}

static void younger_ends(void)
{
    end(younger, younger_rc);
    younger = NULL;
}

static const char *of_two_that_race_for_a_key_one_yields(void)
{
    race_open();
    int rc = look_for_holder(younger, younger_row);
    if (rc != 0)
        txn_rollback(younger);
    int older_rc = look_for_holder(older, older_row);
    if (rc == 0)
        txn_commit(younger);
    end(older, older_rc);
    const char *wrong = two_rows();
    SCENE_EXPECT(wrong == NULL, wrong);
    fixture_close(&f);
    return NULL;
}

static const char *of_two_that_race_for_a_key_one_gets_it(void)
{
    race_open();
    younger_rc = look_for_holder(younger, younger_row);
    scene_at(MUTATION_AT_UNIQUE_WAIT, younger_ends);
    int rc = end(older, look_for_holder(older, older_row));
    if (younger != NULL)
        younger_ends();
    SCENE_EXPECT(rc == 0 || younger_rc == 0, "both have given way, for nobody");
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 16 */

/* In a tree of its own, so that it changes no leaf that was read. */
static void put_result(struct txn *txn)
{
    assert_int_equal(txn_put(txn, &f.other, "result", 6, "1", 1, NULL, NULL), 0);
}

static void look_for_result(struct txn *txn)
{
    const struct version *version;
    assert_int_equal(txn_get(txn, &f.other, "result", 6, &version), 0);
    assert_null(version);
}

/* What `txn` has read decided what it writes now; the other has changed that meanwhile, having
 * itself read what this writes. Nobody can have been first. */
static const char *commits(struct txn *txn, int expected)
{
    put_result(txn);
    SCENE_EXPECT(txn_commit(txn) == expected, "neither has seen what the other did");
    fixture_close(&f);
    return NULL;
}

/* The other: looks for the result, does not find it, and writes. */
static void other(const char *key, const char *value)
{
    struct txn *txn = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    look_for_result(txn);
    int rc = value == NULL ? fixture_delete(&f, txn, key) : fixture_put(&f, txn, key, value);
    assert_int_equal(rc, 0);
    assert_int_equal(txn_commit(txn), 0);
}

static struct txn *reader_of(const char *key, const char *value)
{
    fixture_open(&f, 3);
    for (const char *letter = "bdf"; *letter != '\0'; letter++)
        fixture_set(&f, 2, (char[]){*letter, '\0'}, "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    if (key != NULL && value != NULL)
        assert_string_equal(fixture_get(&f, txn, key), value);
    else if (key != NULL)
        assert_null(fixture_get(&f, txn, key));
    return txn;
}

static const char *a_row_that_was_read_and_changed_is_a_conflict(void)
{
    struct txn *txn = reader_of("b", "1");
    other("b", "2");
    return commits(txn, ERROR_CONFLICT);
}

static const char *a_key_that_was_absent_and_appears_is_a_conflict(void)
{
    struct txn *txn = reader_of("c", NULL);
    other("c", "1");
    return commits(txn, ERROR_CONFLICT);
}

static const char *a_tombstone_whose_row_is_made_anew_is_a_conflict(void)
{
    fixture_open(&f, 3);
    fixture_set(&f, 2, "k", "1");
    fixture_set(&f, 2, "k", NULL);
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_null(fixture_get(&f, txn, "k"));
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "k"), -1);
    other("k", "2");
    return commits(txn, ERROR_CONFLICT);
}

static const char *an_invisible_row_that_a_cursor_has_passed_and_that_appears_is_a_conflict(void)
{
    fixture_open(&f, 3);
    struct txn *writer = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    look_for_result(writer);
    assert_int_equal(fixture_put(&f, writer, "b", "1"), 0);
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_string_equal(fixture_scan(&f, txn, &f.primary, "a", "c", false, 9), "");
    assert_int_equal(txn_commit(writer), 0);
    return commits(txn, ERROR_CONFLICT);
}

static const char *a_phantom_is_a_conflict(void)
{
    struct txn *txn = reader_of(NULL, NULL);
    assert_string_equal(fixture_scan(&f, txn, &f.primary, NULL, NULL, false, 9), "b d f");
    other("c", "1");
    return commits(txn, ERROR_CONFLICT);
}

static const char *a_phantom_behind_the_last_row_is_a_conflict(void)
{
    struct txn *txn = reader_of(NULL, NULL);
    assert_string_equal(fixture_scan(&f, txn, &f.primary, "a", "m", false, 9), "b d f");
    other("g", "1");
    return commits(txn, ERROR_CONFLICT);
}

static const char *a_phantom_in_a_secondary_index_is_a_conflict(void)
{
    struct txn *txn = reader_of(NULL, NULL);
    assert_string_equal(fixture_scan(&f, txn, &f.secondary, "x", "x~", false, 9), "");
    other("b", "x|1");
    return commits(txn, ERROR_CONFLICT);
}

static void other_changes_b(void)
{
    other("b", "2");
}

static const char *a_change_just_before_the_timestamp_is_a_conflict(void)
{
    struct txn *txn = reader_of("b", "1");
    put_result(txn);
    scene_at(MUTATION_AT_BEFORE_TIMESTAMP, other_changes_b);
    int rc = txn_commit(txn);
    assert_true(scene_passed() > 0);
    SCENE_EXPECT(rc == ERROR_CONFLICT, "neither has seen what the other did");
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 22 */

/* Takes one from a and gives it to b, and does not look at what the statements return, as pcall
 * allows; a is another's by then. */
static const char *a_body_that_ignores_a_conflict_does_not_do_half(void)
{
    fixture_open(&f, 3);
    fixture_set(&f, 2, "a", "1");
    fixture_set(&f, 2, "b", "0");
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    fixture_set(&f, 1, "a", "1");
    fixture_put(&f, txn, "a", "0");
    fixture_put(&f, txn, "b", "1");
    txn_commit(txn);
    int sum = atoi(fixture_latest(&f, 2, "a")) + atoi(fixture_latest(&f, 2, "b"));
    SCENE_EXPECT(sum == 1, "half of a transaction was committed");
    fixture_close(&f);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct scene scenes[] = {
        SCENE(a_key_below_a_savepoint_is_not_free, UNIQUE_TOPMOST),
        SCENE(nobody_is_refused_for_a_row_that_it_can_not_see, UNIQUE_NEWER_HOLDER),
        SCENE(of_two_that_race_for_a_key_one_yields, UNIQUE_BOTH_WIN),
        SCENE(of_two_that_race_for_a_key_one_gets_it, UNIQUE_BOTH_YIELD),
        SCENE(a_row_that_was_read_and_changed_is_a_conflict, ROW_NOT_VALIDATED),
        SCENE(a_key_that_was_absent_and_appears_is_a_conflict, ABSENT_NOT_VALIDATED),
        SCENE(a_tombstone_whose_row_is_made_anew_is_a_conflict, REBORN_NOT_LOOKED_UP),
        SCENE(a_tombstone_whose_row_is_made_anew_is_a_conflict, DEAD_ROW_FOUND),
        SCENE(an_invisible_row_that_a_cursor_has_passed_and_that_appears_is_a_conflict,
              INVISIBLE_NOT_READ),
        SCENE(a_phantom_is_a_conflict, LEAF_NOT_SCANNED_AGAIN),
        SCENE(a_phantom_behind_the_last_row_is_a_conflict, FAR_BOUND_LOST),
        SCENE(a_phantom_in_a_secondary_index_is_a_conflict, SECONDARY_NOT_VALIDATED),
        SCENE(a_change_just_before_the_timestamp_is_a_conflict, VALIDATED_EARLY),
        SCENE(a_body_that_ignores_a_conflict_does_not_do_half, CONFLICT_DOES_NOT_DOOM),
    };
    return scenes_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
}
