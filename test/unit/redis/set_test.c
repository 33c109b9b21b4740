/* SPDX-License-Identifier: Apache-2.0 */

/* Sets, packed and spread: replies, a model, what is made of several, and who meets whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "redis/redis_housekeeping.h"
#include "redis/redis_test.h"

#define WRONG_TYPE  "!WRONGTYPE Operation against a key holding the wrong kind of value"
#define NOT_INTEGER "!ERR value is not an integer or out of range"

static void small_thresholds(void)
{
    fixture->config.set_max_intset_entries = 4;
    fixture->config.set_max_listpack_entries = 3;
    fixture->config.set_max_listpack_value = 10;
}

static void members_are_added_found_and_taken_away(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("3", "sadd s b a c b");
        expect("2", "sadd s b d 1");
        expect("5", "scard s");
        expect("0", "sadd s 1 a");
        expect("1", "sismember s 1");
        expect("0", "sismember s 2");
        expect("0", "sismember none 2");
        expect("[1 0 1]", "smismember s a x d");
        expect("[0 0]", "smismember none a x");
        expect("2", "srem s b 1 x b");
        expect("0", "srem none a");
        expect("3", "srem s a c d");
        expect("0", "exists s");
        expect("0", "scard s");
        expect("()", "smembers s");
        expect("1", "sadd s ''");
        expect("(\"\")", "smembers s");
        expect("1", "srem s ''");
        small_thresholds();
    }
}

static void arguments_are_checked_before_the_type(void **state)
{
    (void)state;
    expect("OK", "set s 1");
    expect("1", "sadd t 1");
    expect(WRONG_TYPE, "sadd s a");
    expect(WRONG_TYPE, "smembers s");
    expect(WRONG_TYPE, "sismember s a");
    expect(WRONG_TYPE, "smove t s 1");
    expect(WRONG_TYPE, "smove s t 1");
    expect("0", "smove none s 1");
    expect(NOT_INTEGER, "spop s x");
    expect("!ERR value is out of range, must be positive", "spop s -1");
    expect("!ERR syntax error", "spop s 1 2");
    expect(WRONG_TYPE, "spop s");
    expect(NOT_INTEGER, "srandmember s x");
    expect("!ERR syntax error", "srandmember s 1 2");
    expect(WRONG_TYPE, "srandmember s 1");
    expect(WRONG_TYPE, "sinter none t s");
    expect(WRONG_TYPE, "sunion t s");
    expect(WRONG_TYPE, "sdiffstore u none s");
    expect("!ERR numkeys should be greater than 0", "sintercard 0 t");
    expect("!ERR numkeys should be greater than 0", "sintercard x t");
    expect("!ERR Number of keys can't be greater than number of args", "sintercard 2 t");
    expect("!ERR syntax error", "sintercard 1 t limit");
    expect("!ERR syntax error", "sintercard 1 t bogus 1");
    expect("!ERR LIMIT can't be negative", "sintercard 1 t limit -1");
    expect("!ERR invalid cursor", "sscan s x");
    expect(WRONG_TYPE, "sscan s 0 bogus");
    expect("!ERR syntax error", "sscan t 0 bogus");
}

static void the_encoding_is_the_one_that_redis_would_have(void **state)
{
    (void)state;
    small_thresholds();
    expect("4", "sadd s 3 1 -5 2");
    expect("\"intset\"", "object encoding s");
    expect("(\"-5\" \"1\" \"2\" \"3\")", "smembers s");
    expect("1", "sadd s 4");
    expect("\"hashtable\"", "object encoding s");
    expect("3", "sadd t 1 a 2");
    expect("\"listpack\"", "object encoding t");
    expect("1", "srem t a"); /* never back */
    expect("\"listpack\"", "object encoding t");
    expect("1", "sismember t 1");
    expect("0", "sadd t 1 2");
    expect("1", "sadd t 3");
    expect("\"listpack\"", "object encoding t");
    expect("1", "srem t 1");
    expect("\"listpack\"", "object encoding t");
    expect("0", "sadd t 2 3");
    expect("2", "sadd t 4 5");
    expect("\"hashtable\"", "object encoding t");
    expect("1", "sadd u longer-than-ten");
    expect("\"hashtable\"", "object encoding u");
    expect("4", "sadd v 1 2 3 4");
    expect("1", "sadd v a");
    expect("\"hashtable\"", "object encoding v");
    fixture->config.set_max_intset_entries = 2;
    expect("6", "sunionstore s s t");
    expect("\"hashtable\"", "object encoding s");
    expect("0", "sinterstore s s none");
}

static void a_set_that_is_not_changed_stays_as_it_is(void **state)
{
    (void)state;
    expect("3", "sadd s a b c");
    fixture->config.set_max_listpack_entries = 1;
    expect("0", "sadd s a b");
    expect("3", "scard s");
    expect("\"listpack\"", "object encoding s");
    expect("1", "sadd s d");
    expect("\"hashtable\"", "object encoding s");
    expect("4", "scard s");
}

static void members_move_between_sets(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("2", "sadd s a b");
        expect("1", "smove s t a");
        expect("0", "smove s t x");
        expect("1", "sadd s a");
        expect("1", "smove s t a");
        expect("(\"a\")", "smembers t");
        expect("1", "smove s s b");
        expect("0", "smove s s x");
        expect("1", "smove s t b");
        expect("0", "exists s");
        expect("2", "scard t");
        expect("1", "del t");
        small_thresholds();
        fixture->config.set_max_listpack_entries = 1;
    }
}

static void sets_are_intersected_united_and_subtracted(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("6", "sadd a 1 2 3 4 x y");
        expect("4", "sadd b 2 4 6 y");
        expect("2", "sadd c 4 y");
        expect("2", "sintercard 3 a b c");
        expect("3", "sintercard 2 a b limit 0");
        expect("1", "sintercard 2 a b limit 1");
        expect("0", "sintercard 2 a none");
        expect("2", "sinterstore d a b c");
        expect("[1 1]", "smismember d 4 y");
        expect("()", "sinter a none");
        expect("7", "sunionstore d a b none c");
        expect("1", "sismember d 6");
        expect("(\"6\")", "sdiff b a");
        expect("3", "sdiffstore d a b");
        expect("[1 1 1]", "smismember d 1 3 x");
        expect("()", "sdiff none a");
        expect("0", "sdiffstore d a a");
        expect("0", "exists d");
        expect("OK", "set d 1 ex 10");
        expect("2", "sinterstore d c");
        expect("-1", "ttl d");
        expect("6", "sunionstore c c a");
        expect("6", "scard c");
        expect("0", "sinterstore c none");
        expect("0", "exists c");
        expect("3", "del a b d");
        small_thresholds();
    }
}

static void members_are_drawn_and_popped(void **state)
{
    (void)state;
    expect("nil", "spop s");
    expect("()", "spop s 2");
    expect("nil", "srandmember s");
    expect("[]", "srandmember s 2");
    for (unsigned round = 0; round < 2; round++) {
        expect("6", "sadd s a b c d e f");
        expect("[]", "srandmember s 0");
        assert_int_equal(strlen(redis_fixture_run(fixture, "srandmember s 9")), 6 * 4 + 1);
        assert_int_equal(strlen(redis_fixture_run(fixture, "srandmember s -9")), 9 * 4 + 1);
        unsigned seen[6] = {0};
        for (unsigned n = 0; n < 300; n++) {
            char one[2], other[2];
            seen[redis_fixture_run(fixture, "srandmember s")[1] - 'a']++;
            assert_int_equal(sscanf(redis_fixture_run(fixture, "srandmember s 2"),
                                    "[\"%1[a-f]\" \"%1[a-f]\"]", one, other),
                             2);
            assert_string_not_equal(one, other);
        }
        for (unsigned n = 0; n < 6; n++)
            assert_true(seen[n] > 0);
        expect("()", "spop s 0");
        char gone[2];
        assert_int_equal(sscanf(redis_fixture_run(fixture, "spop s"), "\"%1[a-f]\"", gone), 1);
        expect("0", "sismember s %s", gone);
        assert_int_equal(strlen(redis_fixture_run(fixture, "spop s 2")), 2 * 4 + 1);
        expect("3", "scard s");
        assert_int_equal(strlen(redis_fixture_run(fixture, "spop s 5")), 3 * 4 + 1);
        expect("0", "exists s");
        small_thresholds();
    }
}

static void a_few_are_drawn_from_many_and_all_are_different(void **state)
{
    (void)state;
    enum { MEMBERS = 200 };
    unsigned seen[MEMBERS] = {0};
    small_thresholds();
    for (unsigned n = 0; n < MEMBERS; n++)
        redis_fixture_run(fixture, "sadd s m:%03u", n);
    for (unsigned round = 0; round < 100; round++) {
        unsigned count = round % 2 ? 10 : 120, found = 0;
        bool drawn[MEMBERS] = {false};
        const char *reply = redis_fixture_run(fixture, "srandmember s %u", count);
        for (const char *at = reply; (at = strstr(at, "m:")) != NULL; at++) {
            unsigned long n = strtoul(at + 2, NULL, 10);
            assert_false(drawn[n]);
            drawn[n] = true;
            seen[n]++;
            found++;
        }
        assert_int_equal(found, count);
    }
    for (unsigned n = 0; n < MEMBERS; n++)
        assert_true(seen[n] > 0);
}

static void a_scan_returns_every_member_once(void **state)
{
    (void)state;
    enum { MEMBERS = 50 };
    unsigned char seen[MEMBERS] = {0};
    expect("2", "sadd s m:1 n");
    expect("[\"0\" [\"m:1\"]]", "sscan s 0 match m:* count 1");
    expect("!ERR NOVALUES option can only be used in HSCAN", "sscan s 0 novalues");
    small_thresholds();
    for (unsigned n = 0; n < MEMBERS; n++)
        redis_fixture_run(fixture, "sadd s m:%u", n);
    char cursor[32] = "0";
    do {
        char reply[4096];
        snprintf(reply, sizeof reply, "%s", redis_fixture_run(fixture, "sscan s %s", cursor));
        assert_int_equal(sscanf(reply, "[\"%31[0-9]\"", cursor), 1);
        for (char *at = reply; (at = strstr(at, "m:")) != NULL; at++)
            seen[strtoul(at + 2, NULL, 10)]++;
    } while (strcmp(cursor, "0") != 0);
    for (unsigned n = 0; n < MEMBERS; n++)
        assert_int_equal(seen[n], 1);
}

/* ----------------------------------------------------------------------------------------- model */

enum { MODEL_SETS = 3, MODEL_MEMBERS = 20 };

typedef uint32_t model[MODEL_SETS]; /* a bit for each member */

/* Every third is a word. */
static void member_name(char out[16], unsigned n)
{
    snprintf(out, 16, n % 3 == 2 ? "word-%u" : "%u", n * 7);
}

static unsigned bits(uint32_t word)
{
    return (unsigned)__builtin_popcount(word);
}

static void model_compare(const model sets)
{
    for (unsigned set = 0; set < MODEL_SETS; set++) {
        char line[1024] = "", wanted[256] = "[", name[16];
        for (unsigned n = 0; n < MODEL_MEMBERS; n++) {
            member_name(name, n);
            strcat(strcat(line, " "), name);
            strcat(strcat(wanted, n ? " " : ""), sets[set] >> n & 1 ? "1" : "0");
        }
        expect(strcat(wanted, "]"), "smismember s%u%s", set, line);
        snprintf(wanted, sizeof wanted, "%u", bits(sets[set]));
        expect(wanted, "scard s%u", set);
        const char *members = redis_fixture_run(fixture, "smembers s%u", set);
        unsigned quotes = 0;
        for (; *members; members++)
            quotes += *members == '"';
        assert_int_equal(quotes, 2 * bits(sets[set]));
    }
}

static void model_combine(model sets, struct random *random)
{
    unsigned to = (unsigned)random_below(random, MODEL_SETS);
    unsigned one = (unsigned)random_below(random, MODEL_SETS);
    unsigned other = (unsigned)random_below(random, MODEL_SETS);
    unsigned what = (unsigned)random_below(random, 3);
    static const char *const NAMES[] = {"sinterstore", "sunionstore", "sdiffstore"};
    uint32_t result = what == 0   ? sets[one] & sets[other]
                      : what == 1 ? sets[one] | sets[other]
                                  : sets[one] & ~sets[other];
    char wanted[16];
    snprintf(wanted, sizeof wanted, "%u", bits(result));
    expect(wanted, "%s s%u s%u s%u", NAMES[what], to, one, other);
    sets[to] = result;
}

static void model_step(model sets, struct random *random)
{
    unsigned set = (unsigned)random_below(random, MODEL_SETS);
    unsigned n = (unsigned)random_below(random, MODEL_MEMBERS);
    unsigned to = (unsigned)random_below(random, MODEL_SETS);
    uint32_t bit = 1u << n;
    char name[16];
    member_name(name, n);
    switch (random_below(random, 8)) {
    case 0:
    case 1:
    case 2:
        expect(sets[set] & bit ? "0" : "1", "sadd s%u %s", set, name);
        sets[set] |= bit;
        break;
    case 3:
    case 4:
    case 5:
        expect(sets[set] & bit ? "1" : "0", "srem s%u %s", set, name);
        sets[set] &= ~bit;
        break;
    case 6:
        expect(sets[set] & bit ? "1" : "0", "smove s%u s%u %s", set, to, name);
        if (sets[set] & bit) {
            sets[set] &= ~bit;
            sets[to] |= bit;
        }
        break;
    default:
        if (random_below(random, 3) == 0)
            model_combine(sets, random);
    }
}

static void random_commands_do_what_plain_sets_do(void **state)
{
    (void)state;
    struct random random;
    model sets = {0};
    random_create(&random, test_seed());
    fixture->config.set_max_intset_entries = 6;
    fixture->config.set_max_listpack_entries = 5;
    for (unsigned step = 0; step < 4000; step++) {
        model_step(sets, &random);
        if (step % 10 == 0)
            model_compare(sets);
        if (step % 1000 == 999)
            redis_fixture_restart(fixture);
    }
}

/* ------------------------------------------------------------------------------------ two workers */

static const char *run_on(struct db_worker *worker, struct txn *txn, const char *command)
{
    struct db_worker *own = fixture->worker;
    fixture->worker = worker;
    const char *reply = redis_fixture_run_in(fixture, txn, NULL, command);
    fixture->worker = own;
    return reply;
}

/* Both are in the middle of their transactions at the same time. */
static void two_at_once(const char *first, const char *second, int outcome)
{
    struct db_worker *other;
    struct txn *one, *two;
    struct wal *wal = db_wal(fixture->db);
    struct txn_options options = {.level = TXN_READ_COMMITTED};
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    assert_int_equal(txn_begin(db_worker_txn(fixture->worker), &options, &one), 0);
    assert_int_equal(txn_begin(db_worker_txn(other), &options, &two), 0);
    run_on(fixture->worker, one, first);
    run_on(other, two, second);
    assert_int_equal(txn_commit(one), 0);
    assert_int_equal(txn_commit(two), outcome);
    redis_fixture_close(fixture, other);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
}

static void those_who_work_on_different_members_of_a_large_set_do_not_meet(void **state)
{
    (void)state;
    small_thresholds();
    expect("8", "sadd s a b c d e f g h");
    two_at_once("sadd s i", "sadd s j", 0);
    two_at_once("srem s a", "srem s e", 0);
    two_at_once("sadd s k", "srem s b", 0);
    two_at_once("sadd s k", "sadd s c", 0);
    expect("8", "scard s");
    two_at_once("sadd s x", "sadd s x", ERROR_CONFLICT);
    expect("9", "scard s");
}

/* Each of them has read that the other's member is there, or wants the same one. */
static void of_two_that_take_the_last_two_members_one_has_to_see_that_it_takes_the_last(
    void **state)
{
    (void)state;
    small_thresholds();
    for (unsigned turn = 0; turn < 20; turn++) {
        expect("8", "sadd s a b c d e f g h");
        assert_true(redis_fixture_run(fixture, "srem s a b c d e f")[0] == '6');
        two_at_once("spop s", "spop s", ERROR_CONFLICT);
        expect("1", "scard s");
        assert_true(redis_fixture_run(fixture, "spop s")[0] == '"');
        expect("0", "exists s");
    }
}

/* Whatever of them has been deleted and not yet left. */
static void a_large_set_is_popped_to_its_end(void **state)
{
    (void)state;
    enum { MEMBERS = 700 };
    bool gone[MEMBERS] = {false};
    small_thresholds();
    for (unsigned n = 0; n < MEMBERS; n++)
        expect("1", "sadd s member:%u", n);
    for (unsigned n = 0; n < MEMBERS; n++) {
        unsigned member = MEMBERS;
        expect("1", "exists s");
        assert_int_equal(sscanf(redis_fixture_run(fixture, "spop s"), "\"member:%u\"", &member), 1);
        assert_true(member < MEMBERS && !gone[member]);
        gone[member] = true;
    }
    expect("0", "exists s");
    expect("nil", "spop s");
}

/* Rows among the elements, of whatever kind. */
static uint64_t element_rows(void)
{
    txn_collect(db_worker_txn(fixture->worker), SIZE_MAX);
    return txn_head_rows(db_redis_elements(fixture->db));
}

static void what_one_transaction_makes_and_writes_over_is_cleared_up(void **state)
{
    (void)state;
    struct txn *txn;
    struct redis_housekeeping keeping;
    struct wal *wal = db_wal(fixture->db);
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    static const char *const LINES[] = {
        "sadd s a b c d e",  "sadd t c d e f g", "sinterstore u s t",    "sunionstore u s t",
        "sunionstore s u t", "set t 1",          "srem u a b c d e f g", "del s"};
    small_thresholds();
    assert_int_equal(txn_begin(db_worker_txn(fixture->worker), &options, &txn), 0);
    for (unsigned n = 0; n < sizeof LINES / sizeof *LINES; n++)
        run_on(fixture->worker, txn, LINES[n]);
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    expect("0", "exists s u");
    assert_true(element_rows() > 0);
    redis_housekeeping_create(&keeping, &fixture->config, NULL);
    for (unsigned n = 0; n < 20; n++) {
        clock_manual_advance_ms(&fixture->clock, 1000);
        redis_housekeeping_run(&keeping, fixture->worker);
        assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    }
    assert_int_equal(element_rows(), 0);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, redis_setup, redis_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(members_are_added_found_and_taken_away),
        WITH_FIXTURE(arguments_are_checked_before_the_type),
        WITH_FIXTURE(the_encoding_is_the_one_that_redis_would_have),
        WITH_FIXTURE(a_set_that_is_not_changed_stays_as_it_is),
        WITH_FIXTURE(members_move_between_sets),
        WITH_FIXTURE(sets_are_intersected_united_and_subtracted),
        WITH_FIXTURE(members_are_drawn_and_popped),
        WITH_FIXTURE(a_few_are_drawn_from_many_and_all_are_different),
        WITH_FIXTURE(a_scan_returns_every_member_once),
        WITH_FIXTURE(random_commands_do_what_plain_sets_do),
        WITH_FIXTURE(those_who_work_on_different_members_of_a_large_set_do_not_meet),
        WITH_FIXTURE(of_two_that_take_the_last_two_members_one_has_to_see_that_it_takes_the_last),
        WITH_FIXTURE(a_large_set_is_popped_to_its_end),
        WITH_FIXTURE(what_one_transaction_makes_and_writes_over_is_cleared_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
