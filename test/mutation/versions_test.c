/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions, anchors and entries (invariants 11 to 14): writers, collectors and readers that meet in
 * the worst moment. The workers are driven from one thread, but for the one scene that says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "mutation/scene.h"
#include "txn/txn_fixture.h"
#include "txn/txn_private.h"

enum { TRIES = 600 }; /* of what happens by chance once in sixteen times */

static struct txn_fixture f;

static void durable(void)
{
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
}

static struct row *row_of(const char *key)
{
    return (struct row *)tree_get(f.head.tree, key, strlen(key));
}

/* Whether the row had this value at ts; the chain is asked. */
static bool was(const char *key, uint64_t ts, const char *value)
{
    txn_worker_enter(f.workers[0]);
    struct row *row = row_of(key);
    const struct version *version = row == NULL ? NULL : txn__visible(row, ts, NULL, false, NULL);
    bool same = txn__exists(version) && version->size == strlen(value) &&
                memcmp(version->bytes, value, version->size) == 0;
    txn_worker_leave(f.workers[0]);
    return same;
}

static bool latest_is(const char *key, const char *value)
{
    const char *latest = fixture_latest(&f, 0, key);
    return latest != NULL && strcmp(latest, value) == 0;
}

/* ------------------------------------------------------------------------------------ rule 11 */

static int put_number(struct txn *txn, const char *key, int number)
{
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    return fixture_put(&f, txn, key, text);
}

static int end(struct txn *txn, int rc)
{
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

/* Two increments of n; `first_commits` before the second writes. */
static const char *increments(bool first_commits)
{
    fixture_open(&f, 2);
    fixture_set(&f, 0, "n", "0");
    struct txn *a = fixture_begin(&f, 0, TXN_SNAPSHOT), *b = fixture_begin(&f, 1, TXN_SNAPSHOT);
    int of_a = atoi(fixture_get(&f, a, "n")), of_b = atoi(fixture_get(&f, b, "n"));
    int a_rc = put_number(a, "n", of_a + 1);
    if (first_commits)
        a_rc = end(a, a_rc);
    int b_rc = put_number(b, "n", of_b + 1);
    if (!first_commits)
        a_rc = end(a, a_rc);
    b_rc = end(b, b_rc);
    int done = (a_rc == 0) + (b_rc == 0);
    SCENE_EXPECT(atoi(fixture_latest(&f, 0, "n")) == done, "an increment was lost");
    fixture_close(&f);
    return NULL;
}

static const char *no_increment_is_lost_to_a_commit_after_the_snapshot(void)
{
    return increments(true);
}

static const char *no_increment_is_lost_to_one_that_has_not_committed(void)
{
    return increments(false);
}

static void other_increments(void)
{
    fixture_set(&f, 1, "n", "1");
}

static const char *no_increment_is_lost_before_the_row_is_tagged(void)
{
    fixture_open(&f, 2);
    fixture_set(&f, 0, "n", "0");
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    scene_at(MUTATION_AT_FOR_UPDATE, other_increments);
    int seen = atoi(fixture_get_for_update(&f, txn, "n"));
    assert_int_equal(end(txn, put_number(txn, "n", seen + 1)), 0);
    SCENE_EXPECT(latest_is("n", "2"), "an increment was lost");
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 12 */

/* Five versions: D needs the second, a cut that may still become D the fourth. */
static const char *after_collecting(bool look_at_d)
{
    fixture_open_level(&f, 2, WAL_DURABILITY_INTERVAL);
    fixture_set(&f, 0, "a", "1");
    assert_int_equal(wal_wait_durable(f.wal, fixture_set(&f, 0, "a", "2")), 0);
    uint64_t d = wal_durable_ts(f.wal), cut;
    fixture_set(&f, 0, "a", "3");
    assert_int_equal(wal_wait(f.wal, fixture_set(&f, 0, "a", "4")), 0);
    assert_true(wal_cut_state(f.wal, &cut));
    fixture_set(&f, 0, "a", "5");
    txn_collect(f.workers[0], SIZE_MAX);
    assert_true(wal_durable_ts(f.wal) == d && fixture_chain(&f, "a") < 5);
    if (look_at_d)
        SCENE_EXPECT(was("a", d, "2"), "who reads at D finds nothing");
    else
        SCENE_EXPECT(was("a", cut, "4"), "who reads at D, when the cut becomes D, finds nothing");
    fixture_close(&f);
    return NULL;
}

static const char *what_d_shows_is_kept(void)
{
    return after_collecting(true);
}

static const char *what_a_cut_will_show_is_kept(void)
{
    return after_collecting(false);
}

static const char *what_a_snapshot_shows_is_kept(void)
{
    fixture_open(&f, 2);
    fixture_set(&f, 0, "a", "1");
    struct txn *reader = fixture_begin_readonly(&f, 1, true);
    fixture_set(&f, 0, "a", "2");
    fixture_settle(&f);
    SCENE_EXPECT(fixture_get(&f, reader, "a") != NULL, "a snapshot has lost a row");
    txn_rollback(reader);
    fixture_close(&f);
    return NULL;
}

static void other_writes_and_collects(void)
{
    fixture_set(&f, 1, "a", "2");
    durable();
    txn_collect(f.workers[1], SIZE_MAX);
}

static const char *what_a_snapshot_will_show_is_kept_while_it_is_taken(void)
{
    fixture_open(&f, 2);
    fixture_set(&f, 1, "a", "1");
    scene_at(MUTATION_AT_SNAPSHOT_READ, other_writes_and_collects);
    struct txn *reader = fixture_begin_readonly(&f, 0, true);
    SCENE_EXPECT(fixture_get(&f, reader, "a") != NULL, "a snapshot has lost a row");
    txn_rollback(reader);
    fixture_close(&f);
    return NULL;
}

/* The third goes over what the second has written until that has been shortened away, or so often
 * that it would have been. */
static uint64_t second_ts;

static void third_writes_over_the_second(void)
{
    for (unsigned i = 0; i < TRIES && was("x", second_ts, "second"); i++)
        fixture_set(&f, 2, "x", "third");
}

/* Two that each read what the other writes. The second commits first; then, when the first has its
 * timestamp, and before it looks whether x is what it was, a third hides what the second did. */
static const char *write_skew_does_not_hide_below_a_later_version(void)
{
    fixture_open(&f, 3);
    fixture_set(&f, 0, "x", "0");
    fixture_set(&f, 0, "y", "0");
    struct txn *first = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    struct txn *second = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    assert_string_equal(fixture_get(&f, first, "x"), "0");
    assert_string_equal(fixture_get(&f, second, "y"), "0");
    assert_int_equal(fixture_put(&f, first, "y", "first"), 0);
    assert_int_equal(fixture_put(&f, second, "x", "second"), 0);
    assert_int_equal(txn_commit(second), 0);
    second_ts = txn_worker_seen_ts(f.workers[1]);
    scene_at(MUTATION_AT_TIMESTAMP_TAKEN, third_writes_over_the_second);
    SCENE_EXPECT(txn_commit(first) == ERROR_CONFLICT,
                 "neither of two has seen what the other did, and both have committed");
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 13 */

static sem_t reader_stands, reader_may_go_on;
static const char *reader_saw;

static void reader_stops(void)
{
    sem_post(&reader_stands);
    sem_wait(&reader_may_go_on);
}

static void *reader_main(void *arg)
{
    reader_saw = fixture_latest(&f, 1, "a");
    return arg;
}

static pthread_t reader;

/* The writer has committed and not yet put its timestamp in place of its tag. */
static void reader_takes_the_tag(void)
{
    scene_at(MUTATION_AT_TAG_LOADED, reader_stops);
    assert_int_equal(pthread_create(&reader, NULL, reader_main, NULL), 0);
    sem_wait(&reader_stands);
}

/* The reader is a thread that stops between the tag and its owner's state. */
static const char *a_committed_writer_is_not_taken_for_its_workers_next_one(void)
{
    fixture_open(&f, 2);
    sem_init(&reader_stands, 0, 0);
    sem_init(&reader_may_go_on, 0, 0);
    fixture_set(&f, 0, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "2"), 0);
    scene_at(MUTATION_AT_WAL_ENDED, reader_takes_the_tag);
    assert_int_equal(txn_commit(txn), 0);
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    sem_post(&reader_may_go_on);
    pthread_join(reader, NULL);
    SCENE_EXPECT(strcmp(reader_saw, "2") == 0, "what had been committed was not seen");
    txn_rollback(txn);
    fixture_close(&f);
    return NULL;
}

/* A commit of a row that is queued already shortens it now and then: until it has this length. */
static void shorten(unsigned worker, int length)
{
    txn_worker_enter(f.workers[worker]);
    for (unsigned i = 0; i < TRIES && fixture_chain(&f, "a") > length; i++)
        txn__garbage_add(f.workers[worker], &f.head, row_of("a"), wal_clock(f.wal));
    txn_worker_leave(f.workers[worker]);
}

/* The writer commits, and what was below its version goes, as nothing needs it any more. */
static struct txn *writer;

static void writer_commits_and_another_shortens(void)
{
    assert_int_equal(txn_commit(writer), 0);
    shorten(2, 1);
    assert_int_equal(fixture_chain(&f, "a"), 1);
}

static const char *a_row_that_is_there_all_the_time_is_found_at_the_latest(void)
{
    fixture_open(&f, 3);
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_int_equal(fixture_put(&f, txn, "own", "1"), 0);
    fixture_set(&f, 1, "a", "below");
    writer = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, writer, "a", "above"), 0);
    scene_at(MUTATION_AT_TAG_PASSED, writer_commits_and_another_shortens);
    const char *seen = fixture_get_for_update(&f, txn, "a");
    SCENE_EXPECT(seen != NULL, "a row was not found that was there all the time");
    txn_rollback(txn);
    fixture_close(&f);
    return NULL;
}

/* The same at read uncommitted, which passes over bytes that are still being written. */
static const char *a_row_that_is_there_all_the_time_is_found_uncommitted(void)
{
    struct version *version;
    fixture_open(&f, 3);
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_UNCOMMITTED);
    fixture_set(&f, 1, "a", "below");
    writer = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(txn_put(writer, &f.head, "a", 1, NULL, 5, NULL, &version), 0);
    memcpy(version->bytes, "above", 5);
    scene_at(MUTATION_AT_TAG_PASSED, writer_commits_and_another_shortens);
    const char *seen = fixture_get(&f, txn, "a");
    SCENE_EXPECT(seen != NULL, "a row was not found that was there all the time");
    txn_rollback(txn);
    fixture_close(&f);
    return NULL;
}

static void (*drop)(struct head *head, struct txn_worker *worker, struct row *row,
                    const struct version *dropped);
static const struct version *dropped_last;
static bool dropped_twice;

static void note_drop(struct head *head, struct txn_worker *worker, struct row *row,
                      const struct version *dropped)
{
    dropped_twice = dropped_twice || dropped == dropped_last;
    dropped_last = dropped;
    drop(head, worker, row, dropped);
}

static void other_shortens(void)
{
    shorten(1, 2);
}

static const char *a_version_is_freed_once(void)
{
    fixture_open(&f, 2);
    fixture_set(&f, 0, "a", "1");
    struct txn *keeps = fixture_begin_readonly(&f, 1, true);
    fixture_set(&f, 0, "a", "2");
    fixture_set(&f, 0, "a", "3");
    drop = f.head.version_dropped;
    f.head.version_dropped = note_drop;
    scene_at(MUTATION_AT_CHAIN_FOLLOWED, other_shortens);
    shorten(0, 2);
    SCENE_EXPECT(!dropped_twice, "a version is freed twice");
    assert_int_equal(fixture_chain(&f, "a"), 2);
    txn_rollback(keeps);
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 14 */

static void make_a_row_that_may_end(unsigned worker)
{
    fixture_set(&f, worker, "a", "1");
    fixture_set(&f, worker, "a", NULL);
    durable();
}

static void other_sets_a(void)
{
    fixture_set(&f, 1, "a", "2");
}

static const char *a_row_that_is_written_while_it_ends_stays(void)
{
    fixture_open(&f, 2);
    make_a_row_that_may_end(0);
    scene_at(MUTATION_AT_ROW_ENDING, other_sets_a);
    txn_collect(f.workers[0], SIZE_MAX);
    assert_int_equal(scene_passed(), 1);
    SCENE_EXPECT(latest_is("a", "2"), "a committed row has gone");
    fixture_close(&f);
    return NULL;
}

static void collector_ends_the_row(void)
{
    txn_collect(f.workers[0], SIZE_MAX);
    assert_int_equal(fixture_chain(&f, "a"), -1);
}

static const char *a_writer_that_has_a_row_which_ends_takes_another(void)
{
    fixture_open(&f, 2);
    make_a_row_that_may_end(0);
    scene_at(MUTATION_AT_ROW_FOUND, collector_ends_the_row);
    fixture_set(&f, 1, "a", "2");
    SCENE_EXPECT(latest_is("a", "2"), "a committed row has gone");
    fixture_close(&f);
    return NULL;
}

static const char *of_two_that_make_a_row_one_is_first(void)
{
    fixture_open(&f, 2);
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    scene_at(MUTATION_AT_ROW_FOUND, other_sets_a);
    int rc = fixture_put(&f, txn, "a", "mine");
    rc = end(txn, rc);
    SCENE_EXPECT(rc == ERROR_CONFLICT, "both have made the row, and one of them is lost");
    fixture_close(&f);
    return NULL;
}

static const char *found_under(const char *lower, const char *upper)
{
    struct txn *txn = fixture_begin_readonly(&f, 1, true);
    const char *keys = fixture_scan(&f, txn, &f.secondary, lower, upper, false, 9);
    txn_rollback(txn);
    return keys;
}

static const char *an_entry_stays_that_a_newer_version_needs(void)
{
    fixture_open(&f, 2);
    fixture_set(&f, 0, "a", "x|1");
    fixture_set(&f, 0, "a", "y|1");
    fixture_set(&f, 0, "a", "x|2");
    fixture_settle(&f);
    SCENE_EXPECT(strcmp(found_under("x", "x~"), "a") == 0, "the index has lost a row");
    fixture_close(&f);
    return NULL;
}

/* Between unlinking a version and removing its entry the row ends, and another takes its place, with
 * an entry of the same key. */
static void drop_beside_a_new_row(struct head *head, struct txn_worker *worker, struct row *row,
                                  const struct version *dropped)
{
    f.head.version_dropped = drop;
    txn_collect(f.workers[1], SIZE_MAX);
    assert_int_equal(fixture_chain(&f, "a"), -1);
    fixture_set(&f, 1, "a", "x|2");
    drop(head, worker, row, dropped);
}

static const char *an_entry_stays_that_leads_to_another_row_by_now(void)
{
    fixture_open(&f, 2);
    fixture_set(&f, 1, "a", NULL);
    durable();
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "x|1"), 0);
    drop = f.head.version_dropped;
    f.head.version_dropped = drop_beside_a_new_row;
    txn_rollback(txn);
    SCENE_EXPECT(strcmp(found_under("x", "x~"), "a") == 0, "the index has lost a row");
    fixture_close(&f);
    return NULL;
}

static struct txn *late_reader;
static struct row *found_late;

/* As above, but a reader comes in that still finds the ended row by its entry. */
static void drop_beside_a_reader(struct head *head, struct txn_worker *worker, struct row *row,
                                 const struct version *dropped)
{
    f.head.version_dropped = drop;
    txn_collect(f.workers[1], SIZE_MAX);
    late_reader = fixture_begin_readonly(&f, 2, true);
    struct entry *entry = (struct entry *)tree_get(f.secondary.tree, "x\0a", 3);
    assert_non_null(entry);
    found_late = load_acquire(&entry->row);
    drop(head, worker, row, dropped);
}

static const char *a_row_stays_in_memory_for_who_finds_it_by_its_entry(void)
{
    fixture_open(&f, 3);
    fixture_set(&f, 1, "a", NULL);
    durable();
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "x|1"), 0);
    drop = f.head.version_dropped;
    f.head.version_dropped = drop_beside_a_reader;
    txn_rollback(txn);
    struct epoch_slot *slot = txn_worker_thread(f.workers[1])->epoch;
    for (unsigned i = 0; i < 6; i++)
        epoch_collect(slot);
    SCENE_EXPECT(epoch_limbo_count(slot) > 0, "a row is freed on which a reader stands");
    assert_memory_equal(found_late->key, "a", 1);
    txn_rollback(late_reader);
    fixture_close(&f);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct scene scenes[] = {
        SCENE(no_increment_is_lost_to_a_commit_after_the_snapshot, WRITE_OVER_NEWER),
        SCENE(no_increment_is_lost_to_one_that_has_not_committed, WRITE_OVER_UNCOMMITTED),
        SCENE(no_increment_is_lost_before_the_row_is_tagged, FOR_UPDATE_READS_FIRST),
        SCENE(what_d_shows_is_kept, PRUNE_IGNORES_D),
        SCENE(what_a_cut_will_show_is_kept, PRUNE_IGNORES_CUT),
        SCENE(what_a_snapshot_shows_is_kept, PRUNE_IGNORES_SNAPSHOT),
        SCENE(what_a_snapshot_will_show_is_kept_while_it_is_taken, PRUNE_IGNORES_STARTING),
        SCENE(write_skew_does_not_hide_below_a_later_version, VALIDATION_UNANNOUNCED),
        SCENE(a_committed_writer_is_not_taken_for_its_workers_next_one, DESCRIPTOR_WITHOUT_EPOCH),
        SCENE(a_row_that_is_there_all_the_time_is_found_at_the_latest, LOOKED_ONCE),
        SCENE(a_row_that_is_there_all_the_time_is_found_uncommitted, LOOKED_ONCE),
        SCENE(a_version_is_freed_once, CHAIN_PRUNED_TWICE),
        SCENE(a_row_that_is_written_while_it_ends_stays, ROW_END_UNEXAMINED),
        SCENE(a_writer_that_has_a_row_which_ends_takes_another, DEAD_ROW_TAKEN),
        SCENE(of_two_that_make_a_row_one_is_first, SECOND_ANCHOR),
        SCENE(an_entry_stays_that_a_newer_version_needs, ENTRY_UNEXAMINED),
        SCENE(an_entry_stays_that_leads_to_another_row_by_now, ENTRY_OF_ANOTHER),
        SCENE(a_row_stays_in_memory_for_who_finds_it_by_its_entry, ROW_FREED_EARLY),
    };
    return scenes_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
}
