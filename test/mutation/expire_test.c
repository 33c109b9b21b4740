/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that expire, with a part of invariant 35 taken out each time.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "db/compaction.h"
#include "db/db_fixture.h"
#include "mutation/scene.h"

static struct db_fixture f;
static struct clock_manual now;

/* A row [1, 1100, "a"], which expires at 1100 seconds; now it is 1000. */
static void open(void)
{
    db_fixture_open(&f);
    clock_manual_create(&now, 1000000);
    f.clock = &now.base;
    db_fixture_reopen(&f);
    must(make_space(&f, "s", "{\"engine\": \"lsm\", \"expire\": {\"field\": 2}}"));
    must(make_index(&f, "s", "pk", "{}"));
    must(make_index(&f, "s", "text", "{\"parts\": [[3, \"string\"]]}"));
    must(insert(&f, NULL, "s", "[1, 1100, \"a\"]"));
}

static void compact(void)
{
    uint64_t failures;
    uint32_t id = space_of(&f, NULL, "s")->id;
    int rc;
    db_settle(&f);
    must(db_compaction_begin(f.workers[0], id, &failures));
    while ((rc = db_compaction_ended(f.workers[0], id, failures)) == ERROR_WAIT)
        sched_yield();
    must(rc);
}

static const char *what_a_transaction_sees_is_not_dropped_under_it(void)
{
    open();
    compact();
    struct txn *txn = begin(&f, 1, TXN_SNAPSHOT);
    assert_non_null(get_by(&f, txn, "s", "pk", "[1]"));
    clock_manual_advance_ms(&now, 200000);
    compact();
    SCENE_EXPECT(get_by(&f, txn, "s", "pk", "[1]") != NULL, "a row has gone from a snapshot");
    txn_rollback(txn);
    db_fixture_close(&f);
    return NULL;
}

static const char *who_renews_a_row_has_no_key_of_another(void)
{
    open();
    struct txn *txn = begin(&f, 1, TXN_SERIALIZABLE);
    assert_non_null(get_by(&f, txn, "s", "pk", "[1]"));
    clock_manual_advance_ms(&now, 200000);
    must(insert(&f, NULL, "s", "[2, 9000, \"a\"]"));
    if (update_by(&f, txn, "s", "pk", "[1]", "[[\"=\", 2, 9000]]") == 0)
        txn_commit(txn);
    else
        txn_rollback(txn);
    SCENE_EXPECT(get_by(&f, NULL, "s", "pk", "[1]") == NULL, "two rows have a unique key");
    db_fixture_close(&f);
    return NULL;
}

static const char *a_row_that_was_renewed_is_found_by_its_indexes(void)
{
    open();
    compact();
    must(update_by(&f, NULL, "s", "pk", "[1]", "[[\"=\", 2, 9000]]"));
    clock_manual_advance_ms(&now, 200000);
    compact();
    SCENE_EXPECT(get_by(&f, NULL, "s", "text", "[\"a\"]") != NULL, "an index has lost a row");
    db_fixture_close(&f);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct scene scenes[] = {
        SCENE(what_a_transaction_sees_is_not_dropped_under_it, TIME_UNTOLD),
        SCENE(who_renews_a_row_has_no_key_of_another, RENEWED_KEY_UNASKED),
        SCENE(a_row_that_was_renewed_is_found_by_its_indexes, ENTRY_TIME_KEPT),
    };
    return scenes_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
}
