/* SPDX-License-Identifier: Apache-2.0 */

/* SAVE, BGSAVE, LASTSAVE, and what INFO tells of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/mp.h"
#include "db/checkpoint.h"
#include "db/db.h"
#include "session/sessions.h"

static const char *text(struct session *session, const char *line)
{
    return session_fixture_text(fixture, session, "%s", line);
}

/* What a request that waits for a checkpoint is answered at last. */
static const char *answer(struct session *session, const char *reply)
{
    while (*reply == '\0') {
        clock_manual_advance_ms(&fixture->clock, 5);
        reply = session_fixture_take(fixture, session);
    }
    return reply;
}

static struct db_checkpoint_stats stats(void)
{
    struct db_checkpoint_stats result;
    db_checkpoint_stats_get(fixture->db, &result);
    return result;
}

static void a_watched_key_that_was_deleted_is_a_change_when_nothing_is_left_of_its_row(void **state)
{
    (void)state;
    text(one, "set a 1");
    assert_string_equal(answer(one, text(one, "save")), "+OK\r\n");
    assert_string_equal(text(one, "watch a"), "+OK\r\n");
    assert_string_equal(text(two, "del a"), ":1\r\n");
    assert_string_equal(answer(two, text(two, "save")), "+OK\r\n");
    while (txn_head_rows(db_redis_head(fixture->db, 0)) > 0) {
        clock_manual_advance_ms(&fixture->clock, 5);
        session_fixture_run(fixture);
    }
    assert_string_equal(text(one, "multi\r\nset b 1\r\nexec"), "+OK\r\n+QUEUED\r\n*-1\r\n");
}

static void save_is_answered_when_all_is_written(void **state)
{
    (void)state;
    assert_string_equal(text(one, "set a 1"), "+OK\r\n");
    assert_string_equal(answer(one, text(one, "save")), "+OK\r\n");
    assert_int_equal(stats().count, 1);
    assert_int_equal(stats().rows, 1);
    assert_non_null(strstr(text(one, "info persistence"), "rdb_changes_since_last_save:0\r\n"));
    assert_string_equal(answer(one, text(one, "save")), "+OK\r\n");
    assert_int_equal(stats().count, 1);
}

/* A directory that can't be synced lets checkpoints fail, and nothing else. */
static void a_save_that_fails_says_why_and_others_go_on(void **state)
{
    (void)state;
    disk_fail_always(fixture->disk, DISK_SYNC_DIR, 5 /* EIO */);
    assert_string_equal(text(one, "set a 1"), "+OK\r\n");
    const char *reply = answer(one, text(one, "save"));
    assert_memory_equal(reply, "-ERR ", 5);
    assert_non_null(strstr(reply, "fsync"));
    assert_non_null(strstr(text(two, "info persistence"), "rdb_last_bgsave_status:err\r\n"));
    assert_string_equal(text(two, "set a 2"), "+OK\r\n");
    disk_fail_always(fixture->disk, DISK_SYNC_DIR, 0);
    reply = answer(one, text(one, "save")); /* until the next start */
    assert_memory_equal(reply, "-ERR ", 5);
}

static void requests_behind_a_save_are_answered_behind_it(void **state)
{
    (void)state;
    text(one, "set a 1");
    const char *reply = session_fixture_bytes(fixture, one, "SAVE\r\nPING\r\n", 12);
    struct mp_buffer all;
    mp_buffer_create(&all);
    while (all.size < 12) {
        mp_put_raw(&all, reply, fixture->reply_size);
        clock_manual_advance_ms(&fixture->clock, 5);
        reply = session_fixture_take(fixture, one);
    }
    assert_memory_equal(all.data, "+OK\r\n+PONG\r\n", 12);
    mp_buffer_destroy(&all);
}

static void a_client_may_go_away_while_its_save_goes_on(void **state)
{
    (void)state;
    text(one, "set a 1");
    struct session *third = session_fixture_connect(fixture, 0);
    text(third, "save");
    session_delete(third);
    assert_string_equal(answer(one, text(one, "save")), "+OK\r\n");
}

/* Waits are looked at when any of them is due. */
static void a_save_and_a_wait_for_a_lock_do_not_disturb_each_other(void **state)
{
    (void)state;
    struct session *third = session_fixture_connect(fixture, 0);
    struct session *fourth = session_fixture_connect(fixture, 0);
    text(one, "set a 1");
    text(third, "begin");
    text(third, "set a 2");
    text(fourth, "set a 3");
    text(one, "set b 1");
    assert_string_equal(answer(one, text(one, "save")), "+OK\r\n");
    assert_string_equal(text(third, "commit"), "+OK\r\n");
    session_delete(fourth);
    session_delete(third);
}

static void bgsave_is_answered_at_once(void **state)
{
    (void)state;
    text(one, "set a 1");
    assert_non_null(strstr(text(one, "bgsave schedule"), "+Background saving s"));
    assert_string_equal(answer(one, text(one, "save")), "+OK\r\n");
    assert_int_equal(stats().rows, 1);
    assert_string_equal(text(one, "bgsave now"), "-ERR syntax error\r\n");
}

static void lastsave_tells_when(void **state)
{
    (void)state;
    assert_string_equal(text(one, "lastsave"), ":1000\r\n");
    text(one, "set a 1");
    clock_manual_advance_ms(&fixture->clock, 60000);
    answer(one, text(one, "save"));
    int64_t at_s = strtoll(text(one, "lastsave") + 1, NULL, 10);
    assert_true(at_s >= 1060 && at_s <= (int64_t)clock_realtime_ms(&fixture->clock.base) / 1000);
}

int main(void)
{
#define WITH_SESSIONS(test) cmocka_unit_test_setup_teardown(test, sessions_setup, sessions_teardown)
    const struct CMUnitTest tests[] = {
        WITH_SESSIONS(a_watched_key_that_was_deleted_is_a_change_when_nothing_is_left_of_its_row),
        WITH_SESSIONS(save_is_answered_when_all_is_written),
        WITH_SESSIONS(a_save_that_fails_says_why_and_others_go_on),
        WITH_SESSIONS(requests_behind_a_save_are_answered_behind_it),
        WITH_SESSIONS(a_client_may_go_away_while_its_save_goes_on),
        WITH_SESSIONS(a_save_and_a_wait_for_a_lock_do_not_disturb_each_other),
        WITH_SESSIONS(bgsave_is_answered_at_once),
        WITH_SESSIONS(lastsave_tells_when),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
