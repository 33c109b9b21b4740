/* SPDX-License-Identifier: Apache-2.0 */

/* When and how often keys are used: the notes themselves, what counts as use, and who goes by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mem/heap.h"
#include "redis/redis_access.h"
#include "redis/redis_housekeeping.h"
#include "redis/redis_test.h"

static void pass_s(uint64_t seconds)
{
    clock_manual_advance_ms(&fixture->clock, seconds * 1000);
}

/* ----------------------------------------------------------------------------------------- notes */

static void a_time_is_known_to_the_second_for_half_a_year(void **state)
{
    (void)state;
    struct redis_config config;
    redis_config_create(&config);
    uint64_t now_ms = UINT64_C(1700000000123);
    uint32_t note = redis_access_new(&config, now_ms);
    assert_int_not_equal(note, 0);
    assert_int_equal(note >> 26, 0);
    assert_int_equal(redis_access_used(&config, note, now_ms + 800, 7), note);
    assert_int_not_equal(redis_access_used(&config, note, now_ms + 1000, 7), note);
    for (uint64_t days = 0; days < 180; days++)
        assert_int_equal(redis_access_idle_s(&config, note, now_ms + days * 86400000),
                         days * 86400);
    assert_int_equal(redis_access_idle_s(&config, note, now_ms - 3600000), 0); /* put back */
    note = redis_access_idle_for(&config, 77, now_ms);
    assert_int_equal(redis_access_idle_s(&config, note, now_ms), 77);
    assert_int_equal(redis_access_counted(&config, 5, now_ms), 0);
}

static void what_has_no_note_was_used_when_the_process_was_started(void **state)
{
    (void)state;
    struct redis_config config;
    redis_config_create(&config);
    store_relaxed(&config.started_ms, 5000000);
    assert_int_equal(redis_access_idle_s(&config, 0, 5012000), 12);
    assert_int_equal(redis_access_idle_s(&config, 0, 4000000), 0);
    assert_int_equal(redis_access_count(&config, 0, 5000000), REDIS_ACCESS_COUNT_NEW);
    assert_int_equal(redis_access_count(&config, 0, 5000000 + 3 * 60000), 2);
}

/* A draw of 0 counts whatever the odds are, one below the odds never does. */
static void a_count_grows_by_one_of_so_many_uses(void **state)
{
    (void)state;
    struct redis_config config;
    redis_config_create(&config);
    config.maxmemory_policy = REDIS_POLICY_ALLKEYS_LFU;
    uint64_t now_ms = UINT64_C(1700000000000);
    uint32_t note = redis_access_new(&config, now_ms);
    assert_int_equal(note >> 26, 0);
    for (unsigned count = REDIS_ACCESS_COUNT_NEW; count < REDIS_ACCESS_COUNT_MAX; count++) {
        unsigned odds = (count - REDIS_ACCESS_COUNT_NEW) * 10 + 1;
        assert_int_equal(redis_access_count(&config, note, now_ms), count);
        if (odds > 1)
            assert_int_equal(redis_access_used(&config, note, now_ms, odds - 1), note);
        note = redis_access_used(&config, note, now_ms, 0);
    }
    assert_int_equal(redis_access_count(&config, note, now_ms), REDIS_ACCESS_COUNT_MAX);
    assert_int_equal(redis_access_used(&config, note, now_ms, 0), note);
    assert_int_equal(redis_access_idle_for(&config, 5, now_ms), 0);
}

static void a_count_is_lowered_by_time(void **state)
{
    (void)state;
    struct redis_config config;
    redis_config_create(&config);
    config.maxmemory_policy = REDIS_POLICY_VOLATILE_LFU;
    uint64_t now_ms = UINT64_C(1700000000000);
    uint32_t note = redis_access_counted(&config, 100, now_ms);
    assert_int_equal(redis_access_count(&config, note, now_ms + 10 * 60000), 90);
    assert_int_equal(redis_access_count(&config, note, now_ms + 1000 * 60000), 0);
    config.lfu_decay_time = 5;
    assert_int_equal(redis_access_count(&config, note, now_ms + 10 * 60000), 98);
    config.lfu_decay_time = 0;
    assert_int_equal(redis_access_count(&config, note, now_ms + 1000 * 60000), 100);
    config.lfu_decay_time = 1;
    note = redis_access_used(&config, note, now_ms + 98 * 60000, 0);
    assert_int_equal(redis_access_count(&config, note, now_ms + 98 * 60000), 3);
}

/* Another policy makes something of what there is. */
static void notes_of_the_other_kind_tell_the_time(void **state)
{
    (void)state;
    struct redis_config config;
    redis_config_create(&config);
    uint64_t now_ms = UINT64_C(1700000040000);
    uint32_t note = redis_access_new(&config, now_ms);
    config.maxmemory_policy = REDIS_POLICY_ALLKEYS_LFU;
    assert_int_equal(redis_access_count(&config, note, now_ms + 120000), 3);
    note = redis_access_counted(&config, 200, now_ms);
    config.maxmemory_policy = REDIS_POLICY_ALLKEYS_LRU;
    assert_int_equal(redis_access_idle_s(&config, note, now_ms + 600000), 600);
}

/* ------------------------------------------------------------------------------------------ uses */

static void a_key_is_idle_since_it_was_used(void **state)
{
    (void)state;
    expect("OK", "set a v");
    expect("0", "object idletime a");
    pass_s(10);
    expect("10", "object idletime a");
    expect("\"v\"", "get a");
    expect("0", "object idletime a");
    pass_s(10);
    expect("2", "append a 1");
    expect("0", "object idletime a");
    pass_s(3);
    expect("1", "touch a");
    expect("0", "object idletime a");
    expect("nil", "object idletime nothing");
}

static void asking_about_a_key_is_no_use(void **state)
{
    (void)state;
    expect("OK", "set a v");
    pass_s(10);
    expect("1", "exists a");
    expect("string", "type a");
    expect("-1", "ttl a");
    expect("-1", "pttl a");
    expect("-1", "expiretime a");
    expect("\"embstr\"", "object encoding a");
    expect("1", "object refcount a");
    expect("\"a\"", "randomkey");
    expect("[\"0\" [\"a\"]]", "scan 0");
    expect("10", "object idletime a");
}

static void a_large_collection_is_used_with_each_of_its_elements(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 600; n++)
        expect("1", "hset h f%u v", n);
    expect("\"hashtable\"", "object encoding h");
    pass_s(10);
    expect("10", "object idletime h");
    expect("\"v\"", "hget h f7");
    expect("0", "object idletime h");
    pass_s(10);
    expect("0", "hset h f8 w");
    expect("0", "object idletime h");
}

static void object_freq_and_idletime_are_of_different_policies(void **state)
{
    (void)state;
    expect("OK", "set a v");
    expect(
        "!ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
        "that when switching between policies at runtime LRU and LFU data will take some time "
        "to adjust.",
        "object freq a");
    expect("nil", "object freq nothing");
    fixture->config.maxmemory_policy = REDIS_POLICY_ALLKEYS_LFU;
    expect("5", "object freq a");
    expect("!ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
           "switching between policies at runtime LRU and LFU data will take some time to adjust.",
           "object idletime a");
    expect("nil", "object idletime nothing");
}

/* With a factor of 0 each use counts. */
static void a_count_survives_writes_and_a_new_name(void **state)
{
    (void)state;
    fixture->config.maxmemory_policy = REDIS_POLICY_VOLATILE_LFU;
    fixture->config.lfu_log_factor = 0;
    expect("OK", "set a 1");
    expect("5", "object freq a");
    for (unsigned n = 0; n < 5; n++)
        expect("\"1\"", "get a");
    expect("10", "object freq a");
    expect("2", "incr a");
    expect("11", "object freq a");
    expect("OK", "set a 7");
    expect("12", "object freq a");
    expect("1", "expire a 1000");
    expect("13", "object freq a");
    expect("OK", "rename a b");
    expect("13", "object freq b"); /* as it was before that */
    expect("1", "del b");
    expect("OK", "set b 1");
    expect("5", "object freq b");
    pass_s(3 * 60);
    expect("2", "object freq b");
    expect("OK", "set e v px 1000");
    for (unsigned n = 0; n < 5; n++)
        expect("\"v\"", "get e");
    pass_s(2);
    expect("OK", "set e v"); /* what has expired is gone, with its count */
    expect("5", "object freq e");
}

static void noting_a_use_is_no_write(void **state)
{
    (void)state;
    struct wal *wal = db_wal(fixture->db);
    expect("OK", "set a v");
    uint64_t ts = wal_clock(wal), changes = txn_changes_pending(db_txn_system(fixture->db));
    size_t used = heap_used_bytes(db_heap(fixture->db));
    for (unsigned n = 0; n < 100; n++) {
        pass_s(2);
        expect("\"v\"", "get a");
        expect("0", "object idletime a");
    }
    assert_int_equal(wal_clock(wal), ts);
    assert_int_equal(txn_changes_pending(db_txn_system(fixture->db)), changes);
    assert_int_equal(heap_used_bytes(db_heap(fixture->db)), used);
}

static void a_restart_forgets_the_notes(void **state)
{
    (void)state;
    expect("OK", "set a v");
    pass_s(100);
    redis_fixture_restart(fixture);
    store_relaxed(&fixture->config.started_ms, clock_realtime_ms(&fixture->clock.base));
    pass_s(5);
    expect("5", "object idletime a");
}

/* -------------------------------------------------------------------------------------- eviction */

enum { KEYS = 1000, USED = 100, GO = 600 };

static void rows_settle(void)
{
    struct wal *wal = db_wal(fixture->db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    txn_collect(db_worker_txn(fixture->worker), SIZE_MAX);
}

/* Of all keys every tenth is used; then more than half of all has to go. How many of those that
 * were used are left; *others: of the others. */
static unsigned used_ones_left(enum redis_policy policy, unsigned *others)
{
    static struct redis_housekeeping keeping;
    unsigned left = 0;
    char value[1001];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    fixture->config.maxmemory_policy = policy;
    fixture->config.lfu_log_factor = 0;
    redis_housekeeping_create(&keeping, &fixture->config, NULL);
    for (unsigned n = 0; n < KEYS; n++)
        expect("OK", "set key%u %s ex 1000000", n, value);
    for (unsigned turn = 0; turn < 3; turn++) {
        pass_s(20);
        for (unsigned n = 0; n < KEYS; n += KEYS / USED)
            redis_fixture_run(fixture, "get key%u", n);
    }
    rows_settle();
    heap_limit_set(db_heap(fixture->db), heap_used_bytes(db_heap(fixture->db)) / 10 * 3);
    while (keeping.evicted_keys < GO) {
        assert_int_equal(redis_housekeeping_evict(&keeping, fixture->worker, 8), 0);
        rows_settle();
        clock_manual_advance_ms(&fixture->clock, 10);
    }
    heap_limit_set(db_heap(fixture->db), 0);
    *others = 0;
    for (unsigned n = 0; n < KEYS; n++)
        *(n % (KEYS / USED) ? others : &left) +=
            redis_fixture_run(fixture, "exists key%u", n)[0] == '1';
    return left;
}

/* Those that were used lately, or often, are among the last: with sixteen candidates there is always
 * another one to go first. */
static void keys_that_are_used_stay_when_others_go(void **state)
{
    static const enum redis_policy POLICIES[] = {REDIS_POLICY_ALLKEYS_LRU, REDIS_POLICY_ALLKEYS_LFU,
                                                 REDIS_POLICY_VOLATILE_LRU,
                                                 REDIS_POLICY_VOLATILE_LFU};
    for (unsigned n = 0; n < sizeof POLICIES / sizeof *POLICIES; n++) {
        unsigned others, left = used_ones_left(POLICIES[n], &others);
        if (left < USED * 95 / 100 || left + others > KEYS - GO)
            fail_msg("%s: %u of %u used ones are left, and %u of %u others",
                     redis_policy_name(POLICIES[n]), left, USED, others, KEYS - USED);
        redis_teardown(state);
        redis_setup(state);
    }
}

/* Only the beginning of such a key is remembered. */
static void keys_with_long_names_go_as_well(void **state)
{
    (void)state;
    struct redis_housekeeping keeping;
    char name[1001];
    memset(name, 'k', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (unsigned n = 0; n < 50; n++)
        expect("OK", "set %s%u v", name, n);
    fixture->config.maxmemory_policy = REDIS_POLICY_ALLKEYS_LRU;
    redis_housekeeping_create(&keeping, &fixture->config, NULL);
    heap_limit_set(db_heap(fixture->db), 1);
    while (keeping.evicted_keys < 50) {
        assert_int_equal(redis_housekeeping_evict(&keeping, fixture->worker, 8), 0);
        clock_manual_advance_ms(&fixture->clock, 200);
    }
    rows_settle();
    expect("0", "dbsize");
}

int main(void)
{
#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, redis_setup, redis_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_known_to_the_second_for_half_a_year),
        cmocka_unit_test(what_has_no_note_was_used_when_the_process_was_started),
        cmocka_unit_test(a_count_grows_by_one_of_so_many_uses),
        cmocka_unit_test(a_count_is_lowered_by_time),
        cmocka_unit_test(notes_of_the_other_kind_tell_the_time),
        WITH_FIXTURE(a_key_is_idle_since_it_was_used),
        WITH_FIXTURE(asking_about_a_key_is_no_use),
        WITH_FIXTURE(a_large_collection_is_used_with_each_of_its_elements),
        WITH_FIXTURE(object_freq_and_idletime_are_of_different_policies),
        WITH_FIXTURE(a_count_survives_writes_and_a_new_name),
        WITH_FIXTURE(noting_a_use_is_no_write),
        WITH_FIXTURE(a_restart_forgets_the_notes),
        WITH_FIXTURE(keys_that_are_used_stay_when_others_go),
        WITH_FIXTURE(keys_with_long_names_go_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
