/* SPDX-License-Identifier: Apache-2.0 */

/* What is done for keys without a client asking: expiry and the end of discarded collections. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "db/checkpoint_private.h"
#include "mem/heap.h"
#include "redis/redis_housekeeping.h"
#include "redis/redis_spread.h"
#include "redis/redis_test.h"

static struct redis_housekeeping keeping;

static int setup(void **state)
{
    redis_setup(state);
    redis_housekeeping_create(&keeping, &fixture->config, NULL);
    return 0;
}

/* The clock stands still while it runs, so it takes no time and need not rest. */
static void keep_house(void)
{
    redis_housekeeping_run(&keeping, fixture->worker);
}

static bool is_due(void)
{
    return redis_housekeeping_due_ns(&keeping, fixture->db) <=
           clock_monotonic_ns(&fixture->clock.base);
}

static uint64_t rows(void)
{
    struct txn_worker *worker = db_worker_txn(fixture->worker);
    struct wal *wal = db_wal(fixture->db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    txn_collect(worker, SIZE_MAX);
    return txn_head_rows(db_redis_head(fixture->db, 0)) +
           txn_head_rows(db_redis_elements(fixture->db));
}

static void keys_go_when_their_time_has_come(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 500; n++)
        expect("OK", "set k%u v px %u", n, 100 + n % 5);
    expect("OK", "set stays v");
    keep_house();
    assert_int_equal(rows(), 501);
    clock_manual_advance_ms(&fixture->clock, 102);
    assert_true(is_due());
    keep_house();
    assert_int_equal(rows(), 201);
    assert_int_equal(load_relaxed(&keeping.expired_keys), 300);
    clock_manual_advance_ms(&fixture->clock, 2);
    keep_house();
    assert_int_equal(rows(), 1);
    assert_true(redis_housekeeping_due_ns(&keeping, fixture->db) == UINT64_MAX);
}

static void keys_that_were_given_another_time_stay(void **state)
{
    (void)state;
    expect("OK", "set a v px 100");
    expect("OK", "set b v px 100");
    expect("1", "persist a");
    expect("1", "pexpire b 300");
    clock_manual_advance_ms(&fixture->clock, 200);
    keep_house();
    assert_int_equal(rows(), 2);
    clock_manual_advance_ms(&fixture->clock, 100);
    keep_house();
    assert_int_equal(rows(), 1);
}

static void keys_of_before_a_restart_go_as_well(void **state)
{
    (void)state;
    expect("OK", "set a v px 100");
    redis_fixture_restart(fixture);
    clock_manual_advance_ms(&fixture->clock, 100);
    keep_house();
    assert_int_equal(rows(), 0);
}

static void fields_go_one_by_one_and_the_hash_with_the_last(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 200; n++)
        expect("1", "hset h f%u v", n);
    for (unsigned n = 0; n < 200; n++)
        expect("[1]", "hpexpire h %u fields 1 f%u", 100 + n % 2, n);
    uint64_t before = rows();
    clock_manual_advance_ms(&fixture->clock, 100);
    assert_true(is_due());
    keep_house();
    assert_int_equal(rows(), before - 100);
    assert_int_equal(load_relaxed(&keeping.expired_fields), 100);
    expect("100", "hlen h");
    clock_manual_advance_ms(&fixture->clock, 101);
    keep_house();
    assert_int_equal(load_relaxed(&keeping.expired_fields), 200);
    rows();
    expect("0", "exists h");
    assert_int_equal(load_relaxed(&keeping.expired_keys), 0);
}

/* The key is looked at again when it is deleted: one that another has locked stays until later. */
static void a_key_that_is_locked_is_left_for_later(void **state)
{
    (void)state;
    struct db_worker *other;
    struct txn *txn;
    static const unsigned char KEY[] = {0x20, 'a', 0, 1};
    expect("OK", "set a v px 100");
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    assert_int_equal(
        txn_open(db_worker_txn(other), &(struct txn_options){.level = TXN_SNAPSHOT}, &txn), 0);
    assert_int_equal(
        txn_lock_row(txn, db_redis_head(fixture->db, 0), KEY, sizeof KEY, TXN_LOCK_EXCLUSIVE), 0);
    txn_park(txn);
    clock_manual_advance_ms(&fixture->clock, 100);
    keep_house();
    assert_int_equal(rows(), 1);
    assert_int_equal(txn_resume(txn), 0);
    txn_rollback(txn);
    clock_manual_advance_ms(&fixture->clock, 1);
    keep_house();
    assert_int_equal(rows(), 0);
    redis_fixture_close(fixture, other);
}

static void nothing_is_deleted_while_that_is_switched_off(void **state)
{
    (void)state;
    expect("OK", "set a v px 100");
    store_relaxed(&fixture->config.active_expire, false);
    clock_manual_advance_ms(&fixture->clock, 100);
    keep_house();
    assert_int_equal(rows(), 1);
    expect("nil", "get a");
}

static void discarded_collections_are_cleared_up(void **state)
{
    (void)state;
    static const struct redis_slice NAME = {"key", 3};
    struct redis_call call = {.worker = fixture->worker, .config = &fixture->config};
    struct redis_key key;
    struct redis_value value;
    uint64_t id;
    assert_int_equal(txn_begin(db_worker_txn(fixture->worker),
                               &(struct txn_options){.level = TXN_SERIALIZABLE}, &call.txn),
                     0);
    assert_int_equal(redis_open_for_update(&call, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    assert_int_equal(redis_spread_new(&call, &id), 0);
    assert_int_equal(
        redis_value_put_spread(&call, &key, REDIS_TYPE_HASH, 0, id, (struct redis_slice){NULL, 0}),
        0);
    for (unsigned n = 0; n < 1000; n++)
        assert_int_equal(redis_element_put(&call, id, REDIS_ELEMENT, &n, sizeof n,
                                           (struct redis_slice){"\xc0", 1}, 0),
                         0);
    assert_int_equal(txn_commit(call.txn), 0);
    assert_int_equal(rows(), 1001);
    expect("1", "del key");
    assert_int_equal(rows(), 1001);
    redis_fixture_restart(fixture);
    keep_house();
    assert_int_equal(rows(), 0);
    assert_int_equal(load_relaxed(&keeping.elements_freed), 1000);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, setup, redis_teardown)

/* Keeps house for long; how many keys with names like this are left. */
static unsigned keys_left(const char *name)
{
    unsigned left = 0;
    for (unsigned n = 0; n < 400; n++) {
        keep_house();
        clock_manual_advance_ms(&fixture->clock, 200);
    }
    rows(); /* which makes it durable, so that it is seen */
    for (unsigned n = 0; n < 100; n++)
        left += redis_fixture_run(fixture, "exists %s%u", name, n)[0] == '1';
    return left;
}

static void keys_that_may_go_do_when_memory_is_short(void **state)
{
    (void)state;
    static const struct {
        enum redis_policy policy;
        bool plain_go, expiring_go;
    } POLICIES[] = {
        {REDIS_POLICY_NOEVICTION, false, false},   {REDIS_POLICY_VOLATILE_RANDOM, false, true},
        {REDIS_POLICY_VOLATILE_TTL, false, true},  {REDIS_POLICY_VOLATILE_LRU, false, true},
        {REDIS_POLICY_ALLKEYS_RANDOM, true, true}, {REDIS_POLICY_ALLKEYS_LFU, true, true}};
    for (unsigned n = 0; n < sizeof POLICIES / sizeof *POLICIES; n++) {
        for (unsigned key = 0; key < 100; key++) {
            expect("OK", "set plain%u v", key);
            expect("OK", "set expiring%u v ex 100000", key);
        }
        fixture->config.maxmemory_policy = POLICIES[n].policy;
        heap_limit_set(db_heap(fixture->db), 1); /* whatever goes, it is too much */
        assert_int_equal(keys_left("plain"), POLICIES[n].plain_go ? 0 : 100);
        heap_limit_set(db_heap(fixture->db), 0);
    }
    assert_int_equal(keeping.evicted_keys, 3 * 100 + 2 * 200);
}

static void evict_one(void)
{
    heap_limit_set(db_heap(fixture->db), 1);
    assert_int_equal(redis_housekeeping_evict(&keeping, fixture->worker, 1), 0);
    heap_limit_set(db_heap(fixture->db), 0);
    rows(); /* it is durable, which those who only read wait for */
}

/* What has gone is passed over once: a look from the beginning, for what has come in front, is later. */
static void looks_for_what_expires_first_go_on_from_the_last_one(void **state)
{
    (void)state;
    char value[2001];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    expect("OK", "set stays %s", value); /* more than what is on its way out */
    fixture->config.maxmemory_policy = REDIS_POLICY_VOLATILE_TTL;
    expect("OK", "set d v ex 400");
    expect("OK", "set a v ex 100");
    expect("OK", "set c v ex 300");
    evict_one();
    expect("0", "exists a");
    expect("OK", "set b v ex 50");
    evict_one();
    expect("1", "exists b c");
    expect("0", "exists c");
    clock_manual_advance_ms(&fixture->clock, 11);
    evict_one();
    expect("0", "exists b");
    evict_one();
    expect("0", "exists d");
    expect("OK", "set b v ex 50");
    evict_one(); /* from the beginning at once: there is nothing behind */
    expect("0", "exists b");
    assert_int_equal(keeping.evicted_keys, 5);
}

static void thousand_where_800_fit(void)
{
    char value[1001];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    for (unsigned n = 0; n < 1000; n++)
        expect("OK", "set k%u %s", n, value);
    rows();
    size_t used = heap_used_bytes(db_heap(fixture->db));
    fixture->config.maxmemory_policy = REDIS_POLICY_ALLKEYS_RANDOM;
    heap_limit_set(db_heap(fixture->db), used - 200 * 1000 + (used - 200 * 1000) / 15);
}

static void no_more_keys_go_than_must(void **state)
{
    (void)state;
    thousand_where_800_fit();
    for (unsigned n = 0; n < 100; n++) {
        keep_house();
        rows();
        /* Before time goes on, the checkpoint's thread has freed what it can: once for what it was at. */
        db__checkpoint_wait_idle(fixture->db);
        db__checkpoint_wait_idle(fixture->db);
        clock_manual_advance_ms(&fixture->clock, 200);
    }
    uint64_t evicted = keeping.evicted_keys;
    if (evicted < 100 || evicted > 400)
        fail_msg("%llu keys of 1000 have gone to make room for 200", (unsigned long long)evicted);
}

/* What a checkpoint that runs sees is free when it has ended: however long that takes, nothing else goes for it. */
static void no_more_keys_go_while_a_checkpoint_keeps_what_has_gone(void **state)
{
    (void)state;
    thousand_where_800_fit();
    struct txn *snapshot; /* what the checkpoint has */
    assert_int_equal(txn_open(db_worker_txn(fixture->worker),
                              &(struct txn_options){.level = TXN_SNAPSHOT, .readonly = true},
                              &snapshot),
                     0);
    txn_park(snapshot);
    db__checkpoint_wait_idle(fixture->db);
    atomic_fetch_add(&fixture->db->checkpoint->begun_count, 1);
    for (unsigned n = 0; n < 100; n++) {
        redis_housekeeping_evict(&keeping, fixture->worker, 64);
        clock_manual_advance_ms(&fixture->clock, 200);
    }
    uint64_t evicted = keeping.evicted_keys;
    atomic_store(&fixture->db->checkpoint->ended_count,
                 load_relaxed(&fixture->db->checkpoint->begun_count));
    assert_int_equal(txn_resume(snapshot), 0);
    txn_rollback(snapshot);
    if (evicted < 100 || evicted > 400)
        fail_msg("%llu keys of 1000 have gone to make room for 200", (unsigned long long)evicted);
}

/* Of a row that no run has nothing is left, so there is nothing to wait for a checkpoint for. */
static void only_what_a_run_has_waits_for_a_checkpoint(void **state)
{
    (void)state;
    fixture->config.maxmemory_policy = REDIS_POLICY_ALLKEYS_RANDOM;
    expect("OK", "set a v");
    evict_one();
    assert_int_equal(keeping.evicted_keys, 1);
    assert_int_equal(keeping.buried_bytes, 0);
    clock_manual_advance_ms(&fixture->clock, 101);
    expect("OK", "set b v");
    assert_int_equal(db_checkpoint(fixture->db), 0);
    evict_one();
    assert_int_equal(keeping.evicted_keys, 2);
    assert_true(keeping.buried_bytes > 0);
    assert_int_equal(db_checkpoint(fixture->db), 0); /* whoever has asked for it */
    evict_one();
    assert_int_equal(keeping.buried_bytes, 0);
    assert_int_equal(keeping.burying_bytes, 0);
}

/* What was evicted is free when the log has it; nobody else asks for that, whatever the durability. */
static void who_waits_for_memory_has_the_log_flushed(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 100; n++)
        expect("OK", "set k%u v", n);
    fixture->config.maxmemory_policy = REDIS_POLICY_ALLKEYS_RANDOM;
    heap_limit_set(db_heap(fixture->db), 1);
    assert_int_equal(redis_housekeeping_room(&keeping, fixture->worker), REDIS_ROOM_LATER);
    uint64_t ts = keeping.flush_ts;
    assert_true(keeping.evicted_keys > 0 && ts > 0);
    while (wal_durable_ts(db_wal(fixture->db)) < ts)
        sched_yield();
    assert_int_equal(redis_housekeeping_room(&keeping, fixture->worker), REDIS_ROOM_LATER);
    assert_true(keeping.flush_ts > ts);
}

/* In a flood more is on its way out than the usual reserve has room for. */
static void more_is_held_free_for_a_while_after_somebody_had_to_wait(void **state)
{
    (void)state;
    struct heap *heap = db_heap(fixture->db);
    expect("OK", "set k v");
    fixture->config.maxmemory_policy = REDIS_POLICY_ALLKEYS_RANDOM;
    size_t used = heap_used_bytes(heap);
    heap_limit_set(heap,
                   used + used / 10); /* more than seven eighths, less than fifteen sixteenths */
    assert_false(redis_housekeeping_must_evict(&keeping, fixture->db));
    heap_limit_set(heap, 1);
    assert_int_equal(redis_housekeeping_room(&keeping, fixture->worker), REDIS_ROOM_LATER);
    used = heap_used_bytes(heap);
    heap_limit_set(heap, used + used / 10);
    assert_true(redis_housekeeping_must_evict(&keeping, fixture->db));
    clock_manual_advance_ms(&fixture->clock, 1001);
    assert_int_equal(redis_housekeeping_room(&keeping, fixture->worker), REDIS_ROOM_GRANTED);
    assert_false(redis_housekeeping_must_evict(&keeping, fixture->db));
}

static void members_are_counted_when_a_rank_was_asked_for(void **state)
{
    (void)state;
    enum { MEMBERS = 10000 };
    for (unsigned n = 0; n < MEMBERS; n++)
        redis_fixture_run(fixture, "zadd z %u m%u", n, n);
    redis_fixture_run(fixture, "zadd small 1 a");
    keep_house();
    assert_int_equal(load_relaxed(&keeping.ranks_counted), 0);
    assert_false(is_due());
    expect("9000", "zrank z m9000");
    expect("0", "zrank small a");
    assert_true(is_due());
    keep_house();
    assert_int_equal(load_relaxed(&keeping.ranks_counted), MEMBERS);
    assert_false(is_due());
    expect("9000", "zrank z m9000");
    expect("1", "del z");
    rows();
    expect("1", "zadd z 1 m");
}

/* Its thread would wait for the owner, and all that it serves with it. */
static void while_somebody_owns_the_gate_everything_stays(void **state)
{
    (void)state;
    struct db_worker *other;
    struct txn *txn;
    const struct txn_options exclusive = {.level = TXN_SNAPSHOT, .exclusive = true};
    expect("OK", "set a v px 100");
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    assert_int_equal(txn_begin(db_worker_txn(other), &exclusive, &txn), 0);
    clock_manual_advance_ms(&fixture->clock, 100);
    keep_house();
    assert_false(is_due()); /* nor is it asked again at once */
    txn_rollback(txn);
    clock_manual_advance_ms(&fixture->clock, 1);
    assert_true(is_due());
    keep_house();
    assert_int_equal(rows(), 0);
    redis_fixture_close(fixture, other);
}

/* One that goes while it is counted is done with, as is one that nobody knows. */
static void what_is_no_more_is_not_counted(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 1000; n++)
        redis_fixture_run(fixture, "zadd z %u m%u", n, n);
    expect("900", "zrank z m900");
    db_redis_ranks_ask(fixture->db, 12345);
    expect("1", "del z");
    keep_house();
    assert_int_equal(db_redis_ranks_asked(fixture->db), 0);
    clock_manual_advance_ms(&fixture->clock, 1000);
    keep_house();
    assert_int_equal(rows(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(keys_go_when_their_time_has_come),
        WITH_FIXTURE(keys_that_were_given_another_time_stay),
        WITH_FIXTURE(keys_of_before_a_restart_go_as_well),
        WITH_FIXTURE(fields_go_one_by_one_and_the_hash_with_the_last),
        WITH_FIXTURE(a_key_that_is_locked_is_left_for_later),
        WITH_FIXTURE(while_somebody_owns_the_gate_everything_stays),
        WITH_FIXTURE(nothing_is_deleted_while_that_is_switched_off),
        WITH_FIXTURE(discarded_collections_are_cleared_up),
        WITH_FIXTURE(members_are_counted_when_a_rank_was_asked_for),
        WITH_FIXTURE(what_is_no_more_is_not_counted),
        cmocka_unit_test_setup_teardown(keys_that_may_go_do_when_memory_is_short, setup,
                                        redis_teardown),
        cmocka_unit_test_setup_teardown(looks_for_what_expires_first_go_on_from_the_last_one, setup,
                                        redis_teardown),
        cmocka_unit_test_setup_teardown(no_more_keys_go_than_must, setup, redis_teardown),
        cmocka_unit_test_setup_teardown(no_more_keys_go_while_a_checkpoint_keeps_what_has_gone,
                                        setup, redis_teardown),
        cmocka_unit_test_setup_teardown(only_what_a_run_has_waits_for_a_checkpoint, setup,
                                        redis_teardown),
        cmocka_unit_test_setup_teardown(who_waits_for_memory_has_the_log_flushed, setup,
                                        redis_teardown),
        cmocka_unit_test_setup_teardown(more_is_held_free_for_a_while_after_somebody_had_to_wait,
                                        setup, redis_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
