/* SPDX-License-Identifier: Apache-2.0 */
/* Positions of watches that are kept: they stay, keep the log, and go with the watch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/catalog.h"
#include "db/db_fixture.h"
#include "db/ddl.h"
#include "db/watch.h"
#include "io/disk.h"

enum { SEGMENT_BYTES = 64 << 10, REVISION = 77 };

static int create(void **state)
{
    struct db_fixture *f = calloc(1, sizeof *f);
    db_fixture_open(f);
    f->log_segment_bytes = SEGMENT_BYTES;
    db_fixture_reopen(f);
    assert_int_equal(make_space(f, "s", NULL), 0);
    assert_int_equal(make_index(f, "s", "primary", NULL), 0);
    *state = f;
    return 0;
}

static int destroy(void **state)
{
    db_fixture_close(*state);
    free(*state);
    return 0;
}

static uint64_t settle(struct db_fixture *f)
{
    struct wal *wal = db_wal(f->db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    return wal_follow_end(wal);
}

/* Several segments of log. */
static void write_much(struct db_fixture *f)
{
    for (int i = 0; i < 200; i++) {
        char tuple[64];
        snprintf(tuple, sizeof tuple, "[%d,%d]", i % 7, i);
        assert_int_equal(replace(f, NULL, "s", tuple), 0);
        settle(f);
    }
}

static uint32_t make_watch(struct db_fixture *f, const char *name, uint64_t from, unsigned revision)
{
    char row[256];
    uint32_t id;
    snprintf(row, sizeof row, "[null,1,\"%s\",%u,{\"from\":%llu,\"revision\":%u}]", name,
             space_of(f, NULL, "s")->id, (unsigned long long)from, revision);
    assert_int_equal(ddl_record_put(f->workers[0], SPACE_ID_WATCH, mp_of(row, NULL), true, 1, &id),
                     0);
    return id;
}

static int drop_watch(struct db_fixture *f, uint32_t id)
{
    char key[32];
    snprintf(key, sizeof key, "[%u]", id);
    return ddl_record_delete(f->workers[0], SPACE_ID_WATCH, mp_of(key, NULL));
}

static uint64_t position_of(struct db_fixture *f, uint32_t id)
{
    uint64_t position;
    assert_int_equal(db_watch_position(f->workers[0], id, REVISION, &position), 0);
    return position;
}

/* What is behind the position is in the log. */
static int follow(struct db_fixture *f, uint64_t position)
{
    struct wal_follower *follower;
    int rc = wal_follow_open(db_wal(f->db), position, &follower);
    if (rc == 0)
        wal_follow_close(follower);
    return rc;
}

static void checkpoint(struct db_fixture *f)
{
    settle(f);
    assert_int_equal(db_checkpoint(f->db), 0);
    wal_release_wait(db_wal(f->db));
}

static void a_position_stays_over_a_restart(void **state)
{
    struct db_fixture *f = *state;
    uint64_t from = settle(f);
    uint32_t id = make_watch(f, "w", from, REVISION);
    assert_int_equal(position_of(f, id), from);
    assert_int_equal(db_watch_position_set(f->workers[0], id, REVISION, from + 5), 0);
    db_fixture_reopen(f);
    assert_int_equal(position_of(f, id), from + 5);
}

static void the_log_behind_a_position_is_kept(void **state)
{
    struct db_fixture *f = *state;
    uint64_t from = settle(f);
    uint32_t id = make_watch(f, "w", from, REVISION);
    for (unsigned round = 0; round < 3; round++) {
        write_much(f);
        checkpoint(f);
        assert_int_equal(follow(f, from), 0);
        db_fixture_reopen(f);
        assert_int_equal(follow(f, from), 0);
    }
    uint64_t position = settle(f);
    assert_int_equal(db_watch_position_set(f->workers[0], id, REVISION, position), 0);
    write_much(f);
    checkpoint(f);
    assert_int_equal(follow(f, from), ERROR_NOT_FOUND);
    assert_int_equal(follow(f, position), 0);
    db_fixture_reopen(f);
    assert_int_equal(follow(f, position), 0);
    assert_int_equal(drop_watch(f, id), 0);
    write_much(f);
    checkpoint(f);
    assert_int_equal(follow(f, position), ERROR_NOT_FOUND);
}

static void a_position_at_the_end_of_an_incarnation_is_not_taken_for_lost(void **state)
{
    struct db_fixture *f = *state;
    write_much(f);
    uint32_t id = make_watch(f, "w", 0, REVISION);
    uint64_t position = settle(f);
    assert_int_equal(db_watch_position_set(f->workers[0], id, REVISION, position), 0);
    position = settle(f);
    assert_int_equal(db_watch_position_set(f->workers[0], id, REVISION, position), 0);
    for (unsigned round = 0; round < 4; round++) {
        db_fixture_reopen(f);
        write_much(f);
        checkpoint(f);
        assert_int_equal(follow(f, position), 0);
    }
}

/* Statements that nobody has waited for, and then no power: what is on the disk of the last block, or
 * of the last few if each is asked for, may be any part of it. */
static void lose_power(struct db_fixture *f, bool each, uint64_t seed)
{
    for (int i = 0; i < 100; i++) {
        char tuple[64];
        snprintf(tuple, sizeof tuple, "[%d,%d]", i % 7, i);
        assert_int_equal(replace(f, NULL, "s", tuple), 0);
        if (each)
            wal_kick(db_wal(f->db));
    }
    disk_cut_after(f->disk, 1);
    (void)wal_wait_durable(db_wal(f->db), wal_clock(db_wal(f->db)));
    db_fixture_stop(f);
    disk_cut(f->disk, seed);
    assert_int_equal(db_fixture_start(f, false), 0);
}

/* The clock begins above whatever block is found, also above one that is not used: what the next
 * segment says of itself does not show that nothing is missing behind the last one that is. */
static void a_position_at_which_the_power_failed_is_not_taken_for_lost(void **state)
{
    struct db_fixture *f = *state;
    struct random random;
    unsigned leaps = 0;
    random_create(&random, test_seed());
    uint32_t id = make_watch(f, "w", 0, REVISION);
    for (unsigned round = 0; leaps < 3; round++) {
        assert_true(round < 300);
        write_much(f);
        lose_power(f, round % 2, random_next(&random));
        uint64_t position = wal_follow_end(db_wal(f->db));
        leaps += wal_clock(db_wal(f->db)) > position;
        assert_int_equal(db_watch_position_set(f->workers[0], id, REVISION, position), 0);
        write_much(f);
        checkpoint(f);
        assert_int_equal(follow(f, position), 0);
        db_fixture_reopen(f);
        assert_int_equal(follow(f, position), 0);
    }
}

static void a_position_that_keeps_too_much_of_the_log_is_passed_over(void **state)
{
    struct db_fixture *f = *state;
    f->watch_log_bytes = 4 * SEGMENT_BYTES;
    db_fixture_reopen(f);
    uint64_t from = settle(f);
    uint32_t id = make_watch(f, "w", from, REVISION);
    write_much(f);
    checkpoint(f);
    write_much(f);
    write_much(f);
    checkpoint(f);
    assert_int_equal(follow(f, from), ERROR_NOT_FOUND);
    assert_int_equal(position_of(f, id), from);
}

static void a_position_goes_with_its_watch(void **state)
{
    struct db_fixture *f = *state;
    uint64_t from = settle(f), position;
    uint32_t id = make_watch(f, "w", from, REVISION);
    assert_int_equal(db_watch_position_set(f->workers[0], id, REVISION, from + 1), 0);
    assert_int_equal(drop_watch(f, id), 0);
    assert_null(get_by(f, NULL, "_watch_position", "primary", "[1]"));
    assert_int_equal(db_watch_position_set(f->workers[0], id, REVISION, from + 2), ERROR_NOT_FOUND);
    assert_int_equal(make_watch(f, "another", from, REVISION + 1), id);
    assert_int_equal(db_watch_position(f->workers[0], id, REVISION, &position), ERROR_NOT_FOUND);
    assert_int_equal(db_watch_position_set(f->workers[0], id, REVISION, from + 3), ERROR_NOT_FOUND);
    assert_int_equal(drop_space(f, "s"), 0);
    assert_int_equal(db_watch_position(f->workers[0], id, REVISION + 1, &position),
                     ERROR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_position_stays_over_a_restart, create, destroy),
        cmocka_unit_test_setup_teardown(the_log_behind_a_position_is_kept, create, destroy),
        cmocka_unit_test_setup_teardown(
            a_position_at_the_end_of_an_incarnation_is_not_taken_for_lost, create, destroy),
        cmocka_unit_test_setup_teardown(a_position_at_which_the_power_failed_is_not_taken_for_lost,
                                        create, destroy),
        cmocka_unit_test_setup_teardown(a_position_that_keeps_too_much_of_the_log_is_passed_over,
                                        create, destroy),
        cmocka_unit_test_setup_teardown(a_position_goes_with_its_watch, create, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
