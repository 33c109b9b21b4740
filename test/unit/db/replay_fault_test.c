/* SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out while several threads replay the log: opening fails cleanly or succeeds, nobody
 * waits for ever, and with memory everything is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "alloc/alloc_fault.h"
#include "base/diag.h"
#include "base/error.h"
#include "db/db_fixture.h"

enum { ROWS = 3000 };

static struct db_fixture f;

static void fill(void)
{
    assert_int_equal(make_space(&f, "s", NULL), 0);
    assert_int_equal(make_index(&f, "s", "pk", NULL), 0);
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (int id = 0; id < ROWS; id++) {
        char tuple[64];
        snprintf(tuple, sizeof tuple, "[%d, \"some text of row %d\"]", id, id);
        assert_int_equal(replace(&f, txn, "s", tuple), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
}

/* Opens and closes, with memory out from the nth allocation on until it is open. */
static int start_without_memory(struct io *io, uint64_t n, bool *reached)
{
    struct db_options options = {.io = io,
                                 .clock = clock_system(),
                                 .durability = WAL_DURABILITY_COMMIT,
                                 .worker_max = 4,
                                 .replay_threads = 3};
    struct db *db;
    alloc_fail_from(n);
    int rc = db_open(&options, NULL, &db);
    *reached = alloc_fail_end();
    if (rc == 0)
        (void)db_close(db); /* its threads may have met the failure */
    return rc;
}

static void memory_that_runs_out_ends_the_replay_cleanly(void **state)
{
    (void)state;
    unsigned failed = 0;
    db_fixture_open(&f);
    fill();
    db_fixture_stop(&f);
    struct io *io = disk_io(f.disk);
    bool reached = true;
    for (uint64_t n = 1; reached; n += 1 + n / 16) {
        int rc = start_without_memory(io, n, &reached);
        assert_true(rc == 0 || rc == ERROR_MEMORY);
        failed += rc != 0;
    }
    io_delete(io);
    assert_true(failed > 10);
    assert_int_equal(db_fixture_start(&f, false), 0);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), ROWS);
    db_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_runs_out_ends_the_replay_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
