/* SPDX-License-Identifier: Apache-2.0 */

/* Hashes, packed and spread: replies, a model, fields that expire, and who meets whom. */
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
#include "redis/redis_fields.h"
#include "redis/redis_test.h"

static const struct redis_slice NAME = {"h", 1};

#define WRONG_TYPE "!WRONGTYPE Operation against a key holding the wrong kind of value"

static void pass_ms(uint64_t ms)
{
    clock_manual_advance_ms(&fixture->clock, ms);
}

static void small_thresholds(void)
{
    fixture->config.hash_max_listpack_entries = 3;
    fixture->config.hash_max_listpack_value = 10;
}

static bool is_spread(void)
{
    struct redis_call call = {.worker = fixture->worker, .now_ms = 1, .config = &fixture->config};
    struct redis_key key;
    struct redis_value value;
    struct txn_options options = {.level = TXN_READ_COMMITTED};
    assert_int_equal(txn_begin(db_worker_txn(fixture->worker), &options, &call.txn), 0);
    assert_int_equal(redis_open(&call, &NAME, REDIS_TYPE_HASH, &key, &value), 0);
    bool spread = value.spread;
    txn_rollback(call.txn);
    return spread;
}

static void fields_are_set_read_and_taken_away(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("2", "hset h a 1 b two");
        expect("1", "hset h b 2 c 3");
        expect("\"2\"", "hget h b");
        expect("nil", "hget h x");
        expect("nil", "hget none x");
        expect("[\"1\" nil \"3\"]", "hmget h a x c");
        expect("[nil]", "hmget none a");
        expect("{\"a\" \"1\" \"b\" \"2\" \"c\" \"3\"}", "hgetall h");
        expect("{}", "hgetall none");
        expect("[\"a\" \"b\" \"c\"]", "hkeys h");
        expect("[\"1\" \"2\" \"3\"]", "hvals h");
        expect("3", "hlen h");
        expect("1", "hexists h a");
        expect("0", "hexists h x");
        expect("1", "hstrlen h a");
        expect("0", "hstrlen h x");
        expect("0", "hsetnx h a 5");
        expect("1", "hsetnx h d 5");
        expect("OK", "hmset h d '' e 5");
        expect("\"\"", "hget h d");
        expect("2", "hdel h a x b a");
        expect("3", "hlen h");
        expect("3", "hdel h c d e");
        expect("0", "exists h");
        expect("0", "hdel h c");
        expect("0", "hlen h");
        small_thresholds();
    }
}

static void arguments_are_checked_before_the_type(void **state)
{
    (void)state;
    expect("OK", "set h 1");
    expect("!ERR wrong number of arguments for 'hset' command", "hset h a 1 b");
    expect("!ERR wrong number of arguments for 'hmset' command", "hmset h a 1 b");
    expect(WRONG_TYPE, "hset h a 1");
    expect(WRONG_TYPE, "hget h a");
    expect(WRONG_TYPE, "hgetall h");
    expect("!ERR value is not an integer or out of range", "hincrby h a x");
    expect(WRONG_TYPE, "hincrby h a 1");
    expect("!ERR value is not a valid float", "hincrbyfloat h a x");
    expect(WRONG_TYPE, "hincrbyfloat h a 1");
    expect("!ERR value is not an integer or out of range", "hrandfield h x");
    expect("!ERR syntax error", "hrandfield h 1 withscores");
    expect(WRONG_TYPE, "hrandfield h 1");
    expect("!ERR invalid cursor", "hscan h x");
    expect(WRONG_TYPE, "hscan h 0 bogus");
    expect("[\"0\" []]", "hscan none 0 bogus");
}

static void numbers_in_fields_are_counted(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("5", "hincrby h n 5");
        expect("-2", "hincrby h n -7");
        expect("2", "hset h t text m 9223372036854775807");
        expect("!ERR hash value is not an integer", "hincrby h t 1");
        expect("!ERR increment or decrement would overflow", "hincrby h m 1");
        expect("\"-1.5\"", "hincrbyfloat h n 0.5");
        expect("\"0.1\"", "hincrbyfloat h f 0.1");
        expect("\"0.3\"", "hincrbyfloat h f 0.2");
        expect("\"5000\"", "hincrbyfloat h g 5.0e3");
        expect("!ERR hash value is not a float", "hincrbyfloat h t 1");
        expect("1", "del h");
        small_thresholds();
    }
}

static void a_hash_is_spread_when_it_is_large(void **state)
{
    (void)state;
    small_thresholds();
    expect("3", "hset h a 1 b 2 c 3");
    assert_false(is_spread());
    expect("1", "hset h d 4");
    assert_true(is_spread());
    expect("{\"a\" \"1\" \"b\" \"2\" \"c\" \"3\" \"d\" \"4\"}", "hgetall h");
    expect("3", "hdel h a b c");
    assert_true(is_spread());
    expect("1", "hdel h d");
    expect("1", "hset h a 12345678901");
    assert_true(is_spread());
    expect("1", "expire h 10");
    expect("1", "hset h b 1");
    expect("10", "ttl h");
    redis_fixture_restart(fixture);
    expect("{\"a\" \"12345678901\" \"b\" \"1\"}", "hgetall h");
    pass_ms(10000);
    expect("{}", "hgetall h");
    expect("1", "hset h x 1");
    expect("-1", "ttl h");
    expect("{\"x\" \"1\"}", "hgetall h");
}

static void fields_are_drawn_from_those_that_are_there(void **state)
{
    (void)state;
    expect("nil", "hrandfield h");
    expect("[]", "hrandfield h 5");
    for (unsigned round = 0; round < 2; round++) {
        expect("5", "hset h a 1 b 2 c 3 d 4 e 5");
        expect("[]", "hrandfield h 0");
        expect("[\"a\" \"b\" \"c\" \"d\" \"e\"]", "hrandfield h 9");
        expect("[\"a\" \"1\" \"b\" \"2\" \"c\" \"3\" \"d\" \"4\" \"e\" \"5\"]",
               "hrandfield h 5 withvalues");
        unsigned seen[5] = {0};
        for (unsigned n = 0; n < 200; n++) {
            char one[2], other[2];
            const char *reply = redis_fixture_run(fixture, "hrandfield h");
            seen[reply[1] - 'a']++;
            assert_int_equal(sscanf(redis_fixture_run(fixture, "hrandfield h 2"),
                                    "[\"%1[a-e]\" \"%1[a-e]\"]", one, other),
                             2);
            assert_string_not_equal(one, other);
        }
        for (unsigned n = 0; n < 5; n++)
            assert_true(seen[n] > 0);
        assert_int_equal(strlen(redis_fixture_run(fixture, "hrandfield h -7")), 7 * 4 + 1);
        expect("1", "del h");
        small_thresholds();
    }
    expect("!ERR value is out of range, value must between -9223372036854775807 and "
           "9223372036854775807",
           "hrandfield h -9223372036854775808");
    expect("!ERR value is out of range", "hrandfield h 9223372036854775807 withvalues");
}

static void a_scan_returns_every_field_once(void **state)
{
    (void)state;
    enum { FIELDS = 50 };
    unsigned char seen[FIELDS] = {0};
    expect("2", "hset h f:1 1 g 2");
    expect("[\"0\" [\"f:1\" \"1\"]]", "hscan h 0 match f:* count 1");
    expect("[\"0\" [\"f:1\" \"g\"]]", "hscan h 0 novalues");
    expect("!ERR syntax error", "hscan h 0 count 0");
    expect("!ERR syntax error", "hscan h 0 match");
    expect("1", "del h");
    small_thresholds();
    for (unsigned n = 0; n < FIELDS; n++)
        redis_fixture_run(fixture, "hset h f:%u %u", n, n);
    char cursor[32] = "0";
    do {
        char reply[4096];
        snprintf(reply, sizeof reply, "%s",
                 redis_fixture_run(fixture, "hscan h %s count 7 novalues", cursor));
        assert_int_equal(sscanf(reply, "[\"%31[0-9]\"", cursor), 1);
        for (char *at = reply; (at = strstr(at, "f:")) != NULL; at++)
            seen[strtoul(at + 2, NULL, 10)]++;
    } while (strcmp(cursor, "0") != 0);
    for (unsigned n = 0; n < FIELDS; n++)
        assert_int_equal(seen[n], 1);
    expect("!ERR invalid cursor", "hscan h 12345");
}

/* -------------------------------------------------------------------------------- fields expire */

static void fields_expire_one_by_one(void **state)
{
    (void)state;
    expect("3", "hset h a 1 b 2 c 3");
    expect("[1 -2]", "hexpire h 10 fields 2 a x");
    assert_true(is_spread());
    expect("[10 -1 -2]", "httl h fields 3 a b x");
    expect("[10000]", "hpttl h fields 1 a");
    expect("[1010 -1]", "hexpiretime h fields 2 a b");
    expect("[1010000]", "hpexpiretime h fields 1 a");
    expect("[1]", "hpexpire h 500 fields 1 b");
    pass_ms(499);
    expect("\"2\"", "hget h b");
    expect("[1]", "httl h fields 1 b");
    pass_ms(1);
    expect("nil", "hget h b");
    expect("{\"a\" \"1\" \"c\" \"3\"}", "hgetall h");
    expect("2", "hlen h");
    expect("0", "hdel h b");
    expect("[\"a\" \"c\"]", "hrandfield h 5");
    expect("1", "hset h b 4");
    expect("3", "hlen h");
    expect("[-1]", "httl h fields 1 b");
    expect("[1 -1 -2]", "hpersist h fields 3 a b x");
    expect("[-1]", "httl h fields 1 a");
    expect("[2]", "hexpireat h 1 fields 1 a");
    expect("[2 2]", "hpexpire h 0 fields 2 b c");
    expect("0", "exists h");
}

static void the_time_of_a_field_goes_when_it_is_set_and_stays_when_it_is_counted(void **state)
{
    (void)state;
    expect("2", "hset h a 1 b 2");
    expect("[1 1]", "hexpire h 10 fields 2 a b");
    expect("2", "hincrby h a 1");
    expect("\"2.5\"", "hincrbyfloat h a 0.5");
    expect("0", "hset h b 3");
    expect("[10 -1]", "httl h fields 2 a b");
    pass_ms(10000);
    expect("1", "hincrby h a 1");
    expect("[-1]", "httl h fields 1 a");
}

static void the_time_of_a_field_is_set_under_conditions(void **state)
{
    (void)state;
    expect("2", "hset h a 1 b 2");
    expect("[0]", "hexpire h 10 xx fields 1 a");
    expect("[0]", "hexpire h 10 gt fields 1 a");
    expect("[1]", "hexpire h 10 nx fields 1 a");
    expect("[0]", "hexpire h 20 nx fields 1 a");
    expect("[0]", "hexpire h 20 lt fields 1 a");
    expect("[1 0]", "hexpire h 20 gt fields 2 a b");
    expect("[1 1]", "hexpire h 5 lt fields 2 a b");
    expect("[1]", "hexpire h 7 xx fields 1 a");
    expect("[7 5]", "httl h fields 2 a b");
}

static void the_arguments_of_fields_that_expire_are_checked(void **state)
{
    (void)state;
#define NO_FIELDS "!ERR Mandatory argument FIELDS is missing or not at the right position"
#define NO_COUNT  "!ERR Parameter `numFields` should be greater than 0"
#define NO_MATCH  "!ERR The `numfields` parameter must match the number of arguments"
    expect("[-2 -2]", "hexpire h 10 fields 2 a b");
    expect("[-2]", "httl h fields 1 a");
    expect("[-2]", "hpersist h fields 1 a");
    expect("1", "hset h a 1");
    expect(NO_FIELDS, "hexpire h 10 field 1 a");
    expect(NO_FIELDS, "hexpire h 10 nx xx fields 1 a");
    expect(NO_FIELDS, "httl h field 1 a");
    expect(NO_COUNT, "hexpire h 10 fields 0 a");
    expect(NO_COUNT, "hpersist h fields x a");
    expect(NO_MATCH, "hexpire h 10 fields 2 a");
    expect(NO_MATCH, "hpttl h fields 1 a b");
    expect("!ERR value is not an integer or out of range", "hexpire h x fields 1 a");
    expect("!ERR invalid expire time, must be >= 0", "hexpire h -1 fields 1 a");
    expect("!ERR invalid expire time in 'hexpire' command",
           "hexpire h 9223372036854775807 fields 1 a");
    expect("!ERR invalid expire time in 'hpexpireat' command",
           "hpexpireat h 70368744177664 fields 1 a");
    expect("OK", "set s 1");
    expect(WRONG_TYPE, "hexpire s x fields 1 a");
    expect(WRONG_TYPE, "httl s fields 1 a");
}

/* So that those who read at V see what was committed. */
static void wait_durable(void)
{
    struct wal *wal = db_wal(fixture->db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
}

/* Deletes what is due among the elements, as housekeeping does; how many fields it was. */
static unsigned fields_expire(void)
{
    unsigned count = 0;
    for (bool expired = true; expired;) {
        struct redis_call call = {.worker = fixture->worker,
                                  .now_ms = clock_realtime_ms(&fixture->clock.base),
                                  .config = &fixture->config,
                                  .database = 15};
        struct txn_worker *worker = db_worker_txn(fixture->worker);
        struct txn_options options = {.level = TXN_READ_COMMITTED};
        struct txn_cursor cursor;
        struct row *row;
        const struct version *version;
        unsigned char key[256];
        size_t size = 0;
        assert_int_equal(txn_begin(worker, &options, &call.txn), 0);
        txn_cursor_open(&cursor, call.txn, db_redis_expiries(fixture->db, DB_REDIS_ELEMENTS),
                        &(struct txn_range){.lower = NULL});
        if (txn_cursor_next(&cursor, &row, &version) == 0) {
            size = row->key_size;
            memcpy(key, row->key, size);
        }
        txn_rollback(call.txn);
        assert_int_equal(txn_begin(worker, &options, &call.txn), 0);
        assert_int_equal(redis_fields_expire(&call, key, size, &expired), 0);
        assert_int_equal(txn_commit(call.txn), 0);
        count += expired;
    }
    wait_durable();
    return count;
}

static void what_has_expired_is_deleted_and_the_hash_ends_with_its_last_field(void **state)
{
    (void)state;
    fixture->database = 3;
    expect("4", "hset h a 1 b 2 c 3 d 4");
    expect("[1 1]", "hpexpire h 100 fields 2 a b");
    pass_ms(100);
    expect("2", "hlen h");
    assert_int_equal(fields_expire(), 2);
    expect("2", "hlen h");
    expect("{\"c\" \"3\" \"d\" \"4\"}", "hgetall h");
    expect("[1 1]", "hpexpire h 100 fields 2 c d");
    pass_ms(99);
    assert_int_equal(fields_expire(), 0);
    redis_fixture_restart(fixture);
    pass_ms(1);
    expect("{}", "hgetall h");
    expect("nil", "hrandfield h");
    assert_int_equal(fields_expire(), 2);
    expect("0", "exists h");
}

static void a_hash_that_is_moved_or_copied_keeps_the_times_of_its_fields(void **state)
{
    (void)state;
    expect("2", "hset h a 1 b 2");
    expect("[1]", "hpexpire h 100 fields 1 a");
    expect("1", "copy h copied");
    expect("OK", "rename h renamed");
    expect("1", "move renamed 5");
    expect("1", "hdel copied b");
    fixture->database = 5;
    expect("1", "hdel renamed b");
    expect("[100]", "hpttl renamed fields 1 a");
    pass_ms(100);
    expect("1", "exists renamed");
    assert_int_equal(fields_expire(), 2);
    expect("0", "exists renamed");
    fixture->database = 0;
    expect("0", "exists copied");
}

/* ----------------------------------------------------------------------------------------- model */

enum { MODEL_FIELDS = 24, TEXT_MAX = 24 };

struct model {
    bool there[MODEL_FIELDS];
    char value[MODEL_FIELDS][TEXT_MAX];
    uint64_t expire_ms[MODEL_FIELDS];
};

static void model_clean(struct model *model)
{
    uint64_t now_ms = clock_realtime_ms(&fixture->clock.base);
    for (unsigned n = 0; n < MODEL_FIELDS; n++)
        if (model->expire_ms[n] && model->expire_ms[n] <= now_ms) {
            model->there[n] = false;
            model->expire_ms[n] = 0;
        }
}

/* Fields are f00 .. f23, so that a spread hash has them in this order; a packed one in any. */
static void model_compare(struct model *model)
{
    unsigned count = 0;
    char wanted[16];
    for (unsigned n = 0; n < MODEL_FIELDS; n++) {
        const char *reply = redis_fixture_run(fixture, "hget h f%02u", n);
        if (model->there[n])
            assert_memory_equal(reply + 1, model->value[n], strlen(model->value[n]));
        else
            assert_string_equal(reply, "nil");
        count += model->there[n];
    }
    snprintf(wanted, sizeof wanted, "%u", count);
    expect(wanted, "hlen h");
    const char *all = redis_fixture_run(fixture, "hkeys h");
    unsigned found = 0;
    for (const char *at = all; (at = strstr(at, "\"f")) != NULL; at += 3) {
        assert_true(model->there[strtoul(at + 2, NULL, 10)]);
        found++;
    }
    assert_int_equal(found, count);
}

static void model_set(struct model *model, unsigned n, struct random *random)
{
    bool long_value = random_below(random, 40) == 0;
    snprintf(model->value[n], TEXT_MAX, "%s%u", long_value ? "something-long-" : "",
             (unsigned)random_below(random, 100));
    expect(model->there[n] ? "0" : "1", "hset h f%02u %s", n, model->value[n]);
    model->there[n] = true;
    model->expire_ms[n] = 0;
}

static void model_step(struct model *model, struct random *random)
{
    unsigned n = (unsigned)random_below(random, MODEL_FIELDS);
    switch (random_below(random, 8)) {
    case 0:
    case 1:
    case 2:
        model_set(model, n, random);
        break;
    case 3:
    case 4:
        expect(model->there[n] ? "1" : "0", "hdel h f%02u", n);
        model->there[n] = false;
        model->expire_ms[n] = 0;
        break;
    case 5:
        expect(model->there[n] ? "[1]" : "[-2]", "hpexpire h 50 fields 1 f%02u", n);
        if (model->there[n])
            model->expire_ms[n] = clock_realtime_ms(&fixture->clock.base) + 50;
        break;
    case 6:
        pass_ms(random_below(random, 20));
        break;
    default:
        if (random_below(random, 10) == 0) {
            redis_fixture_run(fixture, "del h");
            memset(model, 0, sizeof *model);
        } else {
            fields_expire();
        }
    }
    model_clean(model);
}

static void random_commands_do_what_a_plain_hash_does(void **state)
{
    (void)state;
    struct random random;
    struct model model = {0};
    random_create(&random, test_seed());
    fixture->config.hash_max_listpack_entries = 6;
    fixture->config.hash_max_listpack_value = 12;
    for (unsigned step = 0; step < 3000; step++) {
        model_step(&model, &random);
        if (step % 5 == 0)
            model_compare(&model);
        if (step % 1000 == 999)
            redis_fixture_restart(fixture);
    }
}

/* ------------------------------------------------------------------------------------ two workers */

static struct txn *begin_on(struct db_worker *worker)
{
    struct txn *txn;
    struct txn_options options = {.level = TXN_READ_COMMITTED};
    assert_int_equal(txn_begin(db_worker_txn(worker), &options, &txn), 0);
    return txn;
}

static const char *run_on(struct db_worker *worker, struct txn *txn, const char *command)
{
    struct db_worker *own = fixture->worker;
    fixture->worker = worker;
    const char *reply = redis_fixture_run_in(fixture, txn, NULL, command);
    fixture->worker = own;
    return reply;
}

/* Both are in the middle of their transactions at the same time, on one large hash. */
static void two_at_once(const char *first, const char *second, int outcome)
{
    struct db_worker *other;
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    struct txn *one = begin_on(fixture->worker), *two = begin_on(other);
    run_on(fixture->worker, one, first);
    run_on(other, two, second);
    assert_int_equal(txn_commit(one), 0);
    assert_int_equal(txn_commit(two), outcome);
    wait_durable();
    redis_fixture_close(fixture, other);
}

static void those_who_work_on_different_fields_of_a_large_hash_do_not_meet(void **state)
{
    (void)state;
    small_thresholds();
    expect("6", "hset h a 1 b 2 c 3 d 4 e 5 f 6");
    two_at_once("hset h a 10", "hset h b 20", 0);
    two_at_once("hset h new 1", "hset h other 1", 0);
    two_at_once("hincrby h a 1", "hdel h e", 0);
    two_at_once("hexpire h 10 fields 1 b", "hset h z 1", 0);
    two_at_once("hsetnx h y 1", "hincrbyfloat h c 1", 0);
    expect("9", "hlen h");
    two_at_once("hincrby h a 1", "hset h a 0", ERROR_CONFLICT);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, redis_setup, redis_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(fields_are_set_read_and_taken_away),
        WITH_FIXTURE(arguments_are_checked_before_the_type),
        WITH_FIXTURE(numbers_in_fields_are_counted),
        WITH_FIXTURE(a_hash_is_spread_when_it_is_large),
        WITH_FIXTURE(fields_are_drawn_from_those_that_are_there),
        WITH_FIXTURE(a_scan_returns_every_field_once),
        WITH_FIXTURE(fields_expire_one_by_one),
        WITH_FIXTURE(the_time_of_a_field_goes_when_it_is_set_and_stays_when_it_is_counted),
        WITH_FIXTURE(the_time_of_a_field_is_set_under_conditions),
        WITH_FIXTURE(the_arguments_of_fields_that_expire_are_checked),
        WITH_FIXTURE(what_has_expired_is_deleted_and_the_hash_ends_with_its_last_field),
        WITH_FIXTURE(a_hash_that_is_moved_or_copied_keeps_the_times_of_its_fields),
        WITH_FIXTURE(random_commands_do_what_a_plain_hash_does),
        WITH_FIXTURE(those_who_work_on_different_fields_of_a_large_hash_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
