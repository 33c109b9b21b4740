/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What survives and what may be seen (invariants 3, 4, 6 and 8 to 10): what a client was told is in
 * the log after a crash, and what a transaction has queued goes out when it should. Under
 * durability commit nothing is flushed before somebody waits for it, so what was just committed is
 * what a crash takes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/error.h"
#include "mutation/scene.h"
#include "txn/txn_fixture.h"
#include "wal/wal_internal.h"

static struct txn_fixture f;

static void durable(uint64_t ts)
{
    assert_int_equal(wal_wait_durable(f.wal, ts), 0);
}

/* ------------------------------------------------------------------------------------- a crash */

struct survivor {
    const char *key;
    char value[64];
};

static int look(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct survivor *survivor = arg;
    const char *at = body, *end = at + size;
    struct txn_redo redo;
    (void)ts;
    while (txn_redo_next(&at, end, &redo) == 0) {
        if (redo.key_size != strlen(survivor->key) ||
            memcmp(redo.key, survivor->key, redo.key_size) != 0)
            continue;
        memset(survivor->value, 0, sizeof survivor->value);
        if (redo.data != NULL)
            memcpy(survivor->value, redo.data, redo.size);
        else
            strcpy(survivor->value, "deleted");
    }
    return 0;
}

/* What the log says of a key, read from the disk as it is: "" when nothing, "deleted". */
static const char *after_a_kill(const char *key)
{
    static struct survivor survivor;
    survivor = (struct survivor){.key = key};
    struct io *io = disk_io(f.disk);
    struct wal_read_options options = {
        .io = io, .first_segment = WAL_FIRST_FOUND, .each = look, .arg = &survivor};
    struct wal_replay_stats stats;
    assert_int_equal(wal_read(&options, &stats), 0);
    io_delete(io);
    return survivor.value;
}

/* The same after the power has failed. */
static const char *after_a_crash(const char *key)
{
    disk_cut(f.disk, 1);
    return after_a_kill(key);
}

/* --------------------------------------------------------------------------------- rules 3, 4, 6 */

static void replay(const char *value, uint64_t ts)
{
    while (wal_clock(f.wal) < ts)
        wal_clock_next(f.wal);
    struct row *row;
    assert_int_equal(txn_replay_row(&f.boot, &f.head, ts, "a", 1, value, value == NULL ? 0 : 3,
                                    value == NULL, &row),
                     0);
}

static const char *the_newest_record_of_a_key_wins_wherever_it_stands(void)
{
    fixture_open(&f, 1);
    replay("new", 2);
    replay("old", 1);
    txn_replay_end(&f.boot, &f.head);
    SCENE_EXPECT(strcmp(fixture_latest(&f, 0, "a"), "new") == 0, "replay has lost a commit");
    fixture_close(&f);
    return NULL;
}

static const char *a_record_that_comes_behind_its_tombstone_is_dead(void)
{
    fixture_open(&f, 1);
    replay(NULL, 2);
    replay("old", 1);
    txn_replay_end(&f.boot, &f.head);
    SCENE_EXPECT(fixture_latest(&f, 0, "a") == NULL, "a deleted row has come back");
    fixture_close(&f);
    return NULL;
}

/* Two records of which the log holds one at a time beside its rings. */
static void *write_two(void *arg)
{
    static char large[33 << 20];
    for (unsigned i = 0; i < 2; i++) {
        struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
        assert_int_equal(txn_put(txn, &f.other, "a", 1, large, sizeof large, NULL, NULL), 0);
        assert_int_equal(txn_commit(txn), 0);
    }
    store_seq_cst((_Atomic int *)arg, 1);
    return NULL;
}

/* The log's cut waits for who is between wal_begin and wal_end, so who is there must not wait for
 * the cut. The bound is another for each such time; only this worker waits for room. */
static const char *nobody_waits_for_the_log_with_a_timestamp_in_hand(void)
{
    fixture_open(&f, 1);
    pthread_t thread;
    _Atomic int done = 0;
    assert_int_equal(pthread_create(&thread, NULL, write_two, &done), 0);
    const struct wal_buffer *buffer = f.wal->buffers[0];
    while (load_seq_cst(&done) == 0) {
        uint64_t bound = load_seq_cst(&buffer->inflight);
        unsigned waiters = load_seq_cst(&f.wal->room_waiters);
        SCENE_EXPECT(bound == 0 || waiters == 0 || load_seq_cst(&buffer->inflight) != bound,
                     "a worker and the log wait for each other");
        sched_yield();
    }
    pthread_join(thread, NULL);
    fixture_close(&f);
    return NULL;
}

static const char *what_was_acknowledged_under_commit_survives_a_crash(void)
{
    fixture_open(&f, 1);
    uint64_t ts = fixture_set(&f, 0, "a", "new");
    bool acknowledged = wal_reply_ts(f.wal) >= ts;
    SCENE_EXPECT(!acknowledged || strcmp(after_a_crash("a"), "new") == 0,
                 "a crash takes back what was acknowledged");
    fixture_close(&f);
    return NULL;
}

static const char *what_was_acknowledged_under_interval_survives_a_kill(void)
{
    fixture_open_level(&f, 1, WAL_DURABILITY_INTERVAL);
    uint64_t ts = fixture_set(&f, 0, "a", "new");
    bool acknowledged = wal_reply_ts(f.wal) >= ts;
    SCENE_EXPECT(!acknowledged || strcmp(after_a_kill("a"), "new") == 0,
                 "a kill takes back what was acknowledged");
    assert_int_equal(wal_wait(f.wal, ts), 0);
    SCENE_EXPECT(strcmp(after_a_kill("a"), "new") == 0, "a kill takes back what was acknowledged");
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------- rule 8 */

static const char *what_a_reader_at_v_was_shown_survives_a_crash(void)
{
    fixture_open(&f, 2);
    durable(fixture_set(&f, 0, "a", "old"));
    fixture_set(&f, 0, "a", "new");
    struct txn *txn = fixture_begin_readonly(&f, 1, false);
    char shown[16];
    strcpy(shown, fixture_get(&f, txn, "a"));
    txn_rollback(txn);
    SCENE_EXPECT(strcmp(after_a_crash("a"), shown) == 0, "a crash takes back what was shown");
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------- rule 9 */

/* A client is told what the worker has just read as soon as the log has come to what it looked at. */
static const char *told_and_lost(const char *told)
{
    uint64_t seen = txn_worker_seen_ts(f.workers[1]);
    if (seen > wal_reply_ts(f.wal))
        durable(seen);
    return strcmp(after_a_crash("a"), told) == 0 ? NULL
                                                 : "a client was told what a crash takes back";
}

static const char *what_a_client_was_told_of_a_row_survives_a_crash(void)
{
    fixture_open(&f, 2);
    durable(fixture_set(&f, 0, "a", "old"));
    fixture_set(&f, 0, "a", "new");
    assert_string_equal(fixture_latest(&f, 1, "a"), "new");
    const char *lost = told_and_lost("new");
    SCENE_EXPECT(lost == NULL, lost);
    fixture_close(&f);
    return NULL;
}

static const char *what_a_client_was_told_of_an_absence_survives_a_crash(void)
{
    fixture_open(&f, 2);
    durable(fixture_set(&f, 0, "a", "old"));
    fixture_set(&f, 0, "a", NULL);
    assert_null(fixture_latest(&f, 1, "a"));
    const char *lost = told_and_lost("deleted");
    SCENE_EXPECT(lost == NULL, lost);
    fixture_close(&f);
    return NULL;
}

static const char *what_a_client_was_told_of_a_range_survives_a_crash(void)
{
    fixture_open(&f, 2);
    durable(fixture_set(&f, 0, "a", "old"));
    fixture_set(&f, 0, "a", NULL);
    struct txn *txn = fixture_begin_readonly(&f, 1, true);
    assert_string_equal(fixture_scan(&f, txn, &f.primary, NULL, NULL, false, 9), "");
    txn_rollback(txn);
    const char *lost = told_and_lost("deleted");
    SCENE_EXPECT(lost == NULL, lost);
    fixture_close(&f);
    return NULL;
}

static const char *the_winner_of_a_conflict_that_a_client_was_told_of_survives_a_crash(void)
{
    fixture_open(&f, 2);
    durable(fixture_set(&f, 0, "a", "old"));
    struct txn *loser = fixture_begin(&f, 1, TXN_SNAPSHOT);
    fixture_set(&f, 0, "a", "new");
    assert_int_equal(fixture_put(&f, loser, "a", "lost"), ERROR_CONFLICT);
    txn_rollback(loser);
    const char *lost = told_and_lost("new");
    SCENE_EXPECT(lost == NULL, lost);
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 10 */

static char heard[64];

static void hear(uint64_t ts, unsigned kind, const void *data, size_t size, void *arg)
{
    (void)ts, (void)kind, (void)arg;
    strncat(heard, data, size);
}

static void run_deferred(void)
{
    txn_deferred_run(f.system, hear, NULL);
}

/* Queues an action and writes a row, so that the log has something to say of it. */
static struct txn *begin_saying(unsigned worker, const char *text)
{
    struct txn *txn = fixture_begin(&f, worker, TXN_SNAPSHOT);
    assert_int_equal(txn_defer(txn, 1, text, strlen(text)), 0);
    assert_int_equal(fixture_put(&f, txn, text, text), 0);
    return txn;
}

static void say(unsigned worker, const char *text)
{
    assert_int_equal(txn_commit(begin_saying(worker, text)), 0);
}

static const char *what_went_out_survives_a_crash(void)
{
    fixture_open(&f, 2);
    say(0, "a");
    run_deferred();
    bool went_out = strcmp(heard, "a") == 0;
    SCENE_EXPECT(!went_out || strcmp(after_a_crash("a"), "a") == 0,
                 "an action went out whose commit a crash takes back");
    fixture_close(&f);
    return NULL;
}

static const char *actions_go_out_in_the_order_of_their_commits(void)
{
    fixture_open(&f, 2);
    say(1, "1");
    say(0, "2");
    say(1, "3");
    durable(wal_clock(f.wal));
    run_deferred();
    SCENE_EXPECT(strcmp(heard, "123") == 0, heard);
    fixture_close(&f);
    return NULL;
}

/* Another commits, becomes durable and lets its actions go, after this one has a timestamp. */
static void another_goes_out(void)
{
    say(1, "2");
    durable(wal_clock(f.wal));
    run_deferred();
}

static const char *no_action_goes_out_before_one_of_an_earlier_commit(void)
{
    fixture_open(&f, 2);
    scene_at(MUTATION_AT_WAL_ENDED, another_goes_out);
    say(0, "1");
    durable(wal_clock(f.wal));
    run_deferred();
    SCENE_EXPECT(strcmp(heard, "12") == 0, heard);
    fixture_close(&f);
    return NULL;
}

static const char *nothing_goes_out_of_what_was_rolled_back(void)
{
    fixture_open(&f, 2);
    txn_rollback(begin_saying(0, "undone"));
    say(1, "done");
    durable(wal_clock(f.wal));
    run_deferred();
    SCENE_EXPECT(strcmp(heard, "done") == 0, heard);
    fixture_close(&f);
    return NULL;
}

static const char *nothing_goes_out_of_what_a_savepoint_took_back(void)
{
    fixture_open(&f, 2);
    struct txn *txn = begin_saying(0, "done");
    struct txn_savepoint savepoint = txn_savepoint(txn);
    assert_int_equal(txn_defer(txn, 1, " undone", 7), 0);
    txn_rollback_to(txn, savepoint);
    assert_int_equal(txn_commit(txn), 0);
    durable(wal_clock(f.wal));
    run_deferred();
    SCENE_EXPECT(strcmp(heard, "done") == 0, heard);
    fixture_close(&f);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct scene scenes[] = {
        SCENE(the_newest_record_of_a_key_wins_wherever_it_stands, REPLAY_LAST_WINS),
        SCENE(a_record_that_comes_behind_its_tombstone_is_dead, REPLAY_DROPS_TOMBSTONES),
        SCENE(nobody_waits_for_the_log_with_a_timestamp_in_hand, RESERVED_LATE),
        SCENE(what_was_acknowledged_under_commit_survives_a_crash, REPLY_BEFORE_FLUSH),
        SCENE(what_was_acknowledged_under_interval_survives_a_kill, REPLY_BEFORE_WRITE),
        SCENE(what_a_reader_at_v_was_shown_survives_a_crash, READ_AT_CLOCK),
        SCENE(what_a_client_was_told_of_a_row_survives_a_crash, REPLY_FORGETS_ROW),
        SCENE(what_a_client_was_told_of_an_absence_survives_a_crash, REPLY_FORGETS_TOMBSTONE),
        SCENE(what_a_client_was_told_of_a_range_survives_a_crash, REPLY_FORGETS_SCANNED),
        SCENE(the_winner_of_a_conflict_that_a_client_was_told_of_survives_a_crash,
              REPLY_FORGETS_WINNER),
        SCENE(what_went_out_survives_a_crash, DEFERRED_EARLY),
        SCENE(actions_go_out_in_the_order_of_their_commits, DEFERRED_ANY_ORDER),
        SCENE(no_action_goes_out_before_one_of_an_earlier_commit, DEFERRED_LATE),
        SCENE(nothing_goes_out_of_what_was_rolled_back, DEFERRED_AFTER_ROLLBACK),
        SCENE(nothing_goes_out_of_what_a_savepoint_took_back, DEFERRED_PAST_SAVEPOINT),
    };
    return scenes_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
}
