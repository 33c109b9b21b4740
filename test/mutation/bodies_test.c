/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that leave the head for a body, with a rule taken out each time (invariants 17 and 18).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "mutation/scene.h"
#include "txn/body_fixture.h"

static struct txn_fixture f;
static struct body_fixture body;

static void open(void)
{
    fixture_open(&f, 3);
    body_fixture_open(&body, &f, 2);
}

static void close(void)
{
    for (unsigned i = 0; i < f.worker_count; i++)
        if (txn_current(f.workers[i]) != NULL)
            txn_rollback(txn_current(f.workers[i]));
    body_fixture_close(&body);
    fixture_close(&f);
}

static int put(struct txn *txn, const char *key, const char *value)
{
    return txn_put(txn, &f.other, key, strlen(key), value, (uint32_t)strlen(value), NULL, NULL);
}

static void set(const char *key, const char *value)
{
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(put(txn, key, value), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static const char *what_has_left_is_in_the_picture_that_readers_have(void)
{
    struct txn_changes changes = {0};
    const struct version *version = NULL;
    open();
    set("a", "1");
    body_fixture_absorb(&body, &changes);
    body_fixture_done(&body, &changes);
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(txn_get(txn, &f.other, "a", 1, &version), 0);
    SCENE_EXPECT(version != NULL, "a row that has been committed is not found");
    close();
    return NULL;
}

static void rows_leave(void)
{
    body_fixture_checkpoint(&body);
}

static const char *a_cursor_finds_what_leaves_while_it_walks(void)
{
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    open();
    set("a", "1");
    set("b", "1");
    struct txn *txn = fixture_begin(&f, 1, TXN_SNAPSHOT);
    txn_cursor_open(&cursor, txn, &body.index, &(struct txn_range){0});
    assert_int_equal(txn_cursor_next(&cursor, &row, &version), 0);
    scene_at(MUTATION_AT_WALK_MERGES, rows_leave);
    SCENE_EXPECT(txn_cursor_next(&cursor, &row, &version) == 0 && row->key[0] == 'b',
                 "a cursor passes over a row that has left meanwhile");
    close();
    return NULL;
}

static const char *what_is_newer_than_a_snapshot_stays_in_the_head(void)
{
    open();
    set("a", "1");
    body_fixture_checkpoint(&body);
    struct txn *late = fixture_begin(&f, 1, TXN_SNAPSHOT);
    set("a", "2");
    body_fixture_checkpoint(&body);
    SCENE_EXPECT(put(late, "a", "3") == ERROR_CONFLICT,
                 "an update that was committed meanwhile is written over");
    close();
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct scene scenes[] = {
        SCENE(what_has_left_is_in_the_picture_that_readers_have, LEFT_UNPUBLISHED),
        SCENE(a_cursor_finds_what_leaves_while_it_walks, WALK_NOT_RENEWED),
        SCENE(what_is_newer_than_a_snapshot_stays_in_the_head, LEFT_EARLY),
    };
    return scenes_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
}
