/* SPDX-License-Identifier: Apache-2.0 */

/* Sorted sets, packed and spread: replies, a model with ranks, and who meets whom. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "redis/redis_number.h"
#include "redis/redis_spread.h"
#include "redis/redis_test.h"
#include "redis/redis_zset_rank.h"

#define WRONG_TYPE "!WRONGTYPE Operation against a key holding the wrong kind of value"

static void small_thresholds(void)
{
    fixture->config.zset_max_listpack_entries = 3;
    fixture->config.zset_max_listpack_value = 10;
}

static void members_are_added_read_and_taken_away(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("3", "zadd z 2 b 1 a 3 c");
        expect("1", "zadd z 2 b 4 d");
        expect("0", "zadd z 5 b");
        expect("1", "zadd z ch 2 b");
        expect("[\"a\" \"b\" \"c\" \"d\"]", "zrange z 0 -1");
        expect("[\"d\" \"c\"]", "zrevrange z 0 1");
        expect("4", "zcard z");
        expect("0", "zcard none");
        expect("2", "zrank z c");
        expect("1", "zrevrank z c");
        expect("nil", "zrank z x");
        expect("2", "zcount z (1 3");
        expect("4", "zcount z -inf +inf");
        expect("2", "zrem z a x c");
        expect("[\"b\" \"d\"]", "zrange z 0 -1");
        expect("1", "zremrangebyscore z 4 inf");
        expect("1", "zremrangebyrank z 0 0");
        expect("0", "exists z");
        expect("[]", "zrange z 0 -1");
        small_thresholds();
    }
}

static void options_of_zadd_are_obeyed(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("0", "zadd z xx 1 a");
        expect("0", "exists z");
        expect("4", "zadd z 1 a 2 b 3 c 4 d");
        expect("0", "zadd z nx 9 a");
        expect("1", "zadd z xx ch 0 a 5 new");
        expect("0", "zadd z gt ch -1 a");
        expect("1", "zadd z lt ch -1 a");
        expect("1", "zadd z gt 7 e");
        assert_string_not_equal(redis_fixture_run(fixture, "zadd z incr 2 a"), "nil");
        expect("nil", "zadd z nx incr 2 a");
        expect("nil", "zadd z lt incr 2 a");
        expect("!ERR XX and NX options at the same time are not compatible", "zadd z nx xx 1 a");
        expect("!ERR GT, LT, and/or NX options at the same time are not compatible",
               "zadd z gt lt 1 a");
        expect("!ERR INCR option supports a single increment-element pair", "zadd z incr 1 a 2 b");
        expect("!ERR syntax error", "zadd z nx 1");
        expect("!ERR value is not a valid float", "zadd z 1 a x b");
        expect("1", "zadd z inf i");
        expect("!ERR resulting score is not a number (NaN)", "zincrby z -inf i");
        expect("1", "del z");
        small_thresholds();
    }
    expect("OK", "set s 1");
    expect("!ERR value is not a valid float", "zadd s x a");
    expect(WRONG_TYPE, "zadd s 1 a");
    expect(WRONG_TYPE, "zrange s 0 -1");
    expect("!ERR value is not an integer or out of range", "zrange s 0 x");
    expect("!ERR min or max is not a float", "zcount s a b");
    expect("!ERR min or max not valid string range item", "zlexcount s a b");
}

static void what_7_2_replies_of_ranks_with_scores(void **state)
{
    (void)state;
    expect("2", "zadd z 1 a 2.5 b");
    expect("[1 2.5]", "zrank z b withscore");
    expect("[0 2.5]", "zrevrank z b withscore");
    expect("nil-array", "zrank z x withscore");
    expect("!ERR syntax error", "zrank z b withscores");
    expect("!ERR wrong number of arguments for 'zrank' command", "zrank z b withscore 1");
}

static void members_of_one_score_have_ranges_by_their_bytes(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("5", "zadd z 0 a 0 b 0 c 0 ca 0 d");
        expect("[\"b\" \"c\" \"ca\"]", "zrange z [b (d bylex");
        expect("[\"d\" \"ca\"]", "zrange z + (c bylex rev");
        expect("[\"ca\"]", "zrange z - + bylex limit 3 1");
        expect("[]", "zrange z + - bylex");
        expect("3", "zlexcount z (a [ca");
        expect("5", "zlexcount z - +");
        expect("2", "zremrangebylex z (a (ca");
        expect("[\"a\" \"ca\" \"d\"]", "zrangebylex z - +");
        expect("1", "del z");
        small_thresholds();
    }
}

static void scores_keep_all_that_they_are(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("5", "zadd z 0 b -1e300 c 9007199254740993 d -inf e 0.5 f");
        expect("1", "zadd z -0.0 a");
        expect(round ? "[\"e\" -inf \"c\" -1.0000000000000001e+300 \"a\" -0 \"b\" 0 \"f\" 0.5 "
                       "\"d\" 9007199254740992]"
                     : "[\"e\" -inf \"c\" -1.0000000000000001e+300 \"a\" 0 \"b\" 0 \"f\" 0.5 "
                       "\"d\" 9007199254740992]",
               "zrange z 0 -1 withscores");
        expect("1", "del z");
        small_thresholds();
    }
}

static void the_ends_are_popped(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("[]", "zpopmin z");
        expect("6", "zadd z 1 a 2 b 3 c 4 d 5 e 6 f");
        expect("[\"a\" 1]", "zpopmin z");
        expect("[\"f\" 6 \"e\" 5]", "zpopmax z 2");
        expect("[]", "zpopmax z 0");
        expect("[\"z\" [[\"b\" 2]]]", "zmpop 2 none z min");
        expect("[\"z\" \"d\" 4]", "bzpopmax none z 0");
        expect("[\"z\" [[\"c\" 3]]]", "bzmpop 0 1 z max count 5");
        expect("0", "exists z");
        expect("nil-array", "bzpopmin z 0");
        expect("nil-array", "zmpop 1 z min");
        small_thresholds();
    }
}

static void sets_are_merged_with_weights(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        expect("3", "zadd a 1 x 2 y 3 z");
        expect("4", "zadd b 10 y 20 z 30 w 40 v");
        expect("[\"x\" 1 \"y\" 12 \"z\" 23 \"w\" 30 \"v\" 40]", "zunion 2 a b withscores");
        expect("[\"y\" 14 \"z\" 26]", "zinter 2 a b weights 2 1 withscores");
        expect("[\"y\" 2 \"z\" 3]", "zinter 2 a b aggregate min withscores");
        expect("[\"x\"]", "zdiff 2 a b");
        expect("1", "zintercard 2 a b limit 1");
        expect("5", "zunionstore d 2 a b");
        expect("4", "zrank d v");
        expect("3", "zinterstore d 2 a d aggregate max");
        expect("[\"x\" 1 \"y\" 12 \"z\" 23]", "zrange d 0 -1 withscores");
        expect("0", "zdiffstore d 1 none");
        expect("0", "exists d");
        expect("2", "zrangestore d b 1 2");
        expect("[\"z\" \"w\"]", "zrange d 0 -1");
        expect("3", "del a b d");
        small_thresholds();
    }
    expect("!ERR at least 1 input key is needed for 'zunion' command", "zunion 0 a");
    expect("!ERR weight value is not a float", "zunion 1 a weights x");
    expect("!ERR syntax error", "zunion 2 a");
    expect("!ERR LIMIT can't be negative", "zintercard 1 a limit -1");
}

static void a_scan_returns_every_member_once(void **state)
{
    (void)state;
    enum { MEMBERS = 60 };
    unsigned char seen[MEMBERS] = {0};
    small_thresholds();
    for (unsigned n = 0; n < MEMBERS; n++)
        redis_fixture_run(fixture, "zadd z 1 m:%u", n);
    char cursor[32] = "0";
    do {
        char reply[4096];
        snprintf(reply, sizeof reply, "%s",
                 redis_fixture_run(fixture, "zscan z %s count 7", cursor));
        assert_int_equal(sscanf(reply, "[\"%31[0-9]\"", cursor), 1);
        for (char *at = reply; (at = strstr(at, "m:")) != NULL; at++)
            seen[strtoul(at + 2, NULL, 10)]++;
    } while (strcmp(cursor, "0") != 0);
    for (unsigned n = 0; n < MEMBERS; n++)
        assert_int_equal(seen[n], 1);
    for (unsigned n = 0; n < 50; n++)
        assert_non_null(strstr(redis_fixture_run(fixture, "zrandmember z 3"), "m:"));
}

/* ------------------------------------------------------------------------------ who is counted, when */

/* A set is counted from when it is spread. */
static void ranks_at_once(void)
{
    small_thresholds();
    fixture->config.zset_ranks_after = 0;
}

/* As soon as somebody asks. */
static void ranks_when_asked(void)
{
    small_thresholds();
    fixture->config.zset_ranks_after = 1;
}

static struct redis_call call_in(struct txn *txn)
{
    return (struct redis_call){
        .worker = fixture->worker, .txn = txn, .now_ms = 1, .config = &fixture->config};
}

static struct txn *begin_at(struct db_worker *worker, enum txn_level level)
{
    struct txn *txn;
    const struct txn_options options = {.level = level};
    assert_int_equal(txn_begin(db_worker_txn(worker), &options, &txn), 0);
    return txn;
}

static void commit(struct txn *txn)
{
    struct wal *wal = db_wal(fixture->db);
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
}

/* Counts some more members of the set that is asked for, in a transaction; whether there are others. */
static bool count_in(struct txn *txn, size_t most)
{
    uint64_t id = db_redis_ranks_asked(fixture->db);
    struct redis_call call = call_in(txn);
    uint64_t count;
    bool all;
    assert_int_not_equal(id, 0);
    assert_int_equal(redis_zset_rank_count(&call, id, most, &count, &all), 0);
    assert_true(count <= most);
    if (all)
        db_redis_ranks_done(fixture->db, id);
    return !all;
}

static bool count_some(size_t most)
{
    struct txn *txn = begin_at(fixture->worker, TXN_SERIALIZABLE);
    bool others = count_in(txn, most);
    commit(txn);
    return others;
}

/* Rows of the only collection with this kind. */
static unsigned rows_of(int kind)
{
    struct txn *txn = begin_at(fixture->worker, TXN_SNAPSHOT);
    struct head *head = db_redis_elements(fixture->db);
    struct txn_index index = {.tree = head->tree, .head = head};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    unsigned rows = 0;
    txn_cursor_open(&cursor, txn, &index, &(struct txn_range){.lower = NULL});
    while (txn_cursor_next(&cursor, &row, &version) == 0)
        rows += row->key[8] == kind;
    txn_rollback(txn);
    return rows;
}

/* Members m00000 and so on, whose ranks are their numbers. */
static void members_make(const char *key, unsigned count)
{
    for (unsigned n = 0; n < count; n += 20) {
        char command[1000];
        size_t size = (size_t)snprintf(command, sizeof command, "zadd %s", key);
        for (unsigned i = n; i < n + 20; i++)
            size += (size_t)snprintf(command + size, sizeof command - size, " %u m%05u", i / 3, i);
        redis_fixture_run(fixture, "%s", command);
    }
}

static void a_set_is_counted_when_somebody_asks_for_a_rank(void **state)
{
    (void)state;
    members_make("z", 2000);
    assert_int_equal(rows_of('r'), 0);
    expect("100", "zrank z m00100");
    expect("[\"m00100\"]", "zrange z 100 100");
    expect("[\"m01999\"]", "zrange z -1 -1");
    expect("2000", "zcard z");
    expect("[\"m00000\" 0]", "zpopmin z");
    expect("6", "zcount z 600 601");
    assert_int_equal(db_redis_ranks_asked(fixture->db), 0);
    expect("1499", "zrank z m01500");
    assert_int_not_equal(db_redis_ranks_asked(fixture->db), 0);
    unsigned buckets = 0;
    while (count_some(300)) {
        unsigned before = buckets;
        assert_true((buckets = rows_of('b')) > before);
        expect("1499", "zrank z m01500");
        expect("[\"m01500\"]", "zrange z 1499 1499");
        expect("998", "zcount z 334 666");
    }
    expect("1499", "zrank z m01500");
    assert_int_equal(db_redis_ranks_asked(fixture->db), 0);
    redis_fixture_restart(fixture);
    expect("1499", "zrank z m01500");
    expect("1", "zadd z 499.5 new");
    expect("1", "zrem z m00003");
    expect("1499", "zrank z m01500");
    expect("1498", "zrank z new");
    assert_int_equal(db_redis_ranks_asked(fixture->db), 0);
}

/* As those of older files are. */
static void a_set_without_a_bound_is_counted(void **state)
{
    (void)state;
    ranks_at_once();
    members_make("z", 1000);
    expect("700", "zrank z m00700"); /* by the buckets, which a peek at the end of them shows */
    fixture->config.zset_ranks_after = 1;
    struct txn *txn = begin_at(fixture->worker, TXN_SERIALIZABLE);
    struct redis_call call = call_in(txn);
    struct redis_key key;
    struct redis_value value;
    const struct redis_slice name = {"z", 1};
    assert_int_equal(redis_open(&call, &name, REDIS_TYPE_ZSET, &key, &value), 0);
    assert_int_equal(redis_element_delete(&call, value.id, 'u', NULL, 0), 0);
    commit(txn);
    unsigned counts = rows_of('r');
    expect("1", "zadd z 100.5 new");
    expect("701", "zrank z m00700");
    expect("1", "zrem z new");
    expect("700", "zrank z m00700");
    assert_int_equal(db_redis_ranks_asked(fixture->db), 0);
    assert_true(counts > 0 && rows_of('r') >= counts);
}

/* So does a range from above that has to pass many who have gone: buckets would tell where there are some. */
static void who_passes_many_that_were_deleted_asks(void **state)
{
    (void)state;
    members_make("z", 1000);
    expect("499", "zremrangebyscore z 166.5 inf");
    assert_int_equal(db_redis_ranks_asked(fixture->db), 0);
    expect("[\"m00500\"]", "zrevrange z 0 0");
    assert_int_not_equal(db_redis_ranks_asked(fixture->db), 0);
    while (count_some(128))
        expect("[\"m00500\"]", "zrevrange z 0 0");
    expect("[\"m00500\"]", "zrevrange z 0 0");
}

/* The bound is in the middle, and what is behind it is not counted: a bucket with nothing in it is not
 * the end. */
static void members_behind_the_bound_are_found_behind_an_empty_bucket(void **state)
{
    (void)state;
    members_make("z", 1000);
    expect("999", "zrank z m00999");
    assert_true(count_some(138));
    expect("10", "zremrangebyrank z 128 137"); /* all of the second bucket */
    expect("300", "zremrangebyrank z 690 989");
    expect("[\"m00699\"]", "zrevrange z 0 0");
    expect("[\"m00000\" 0]", "zpopmin z");
    expect("689", "zcard z");
    expect("688", "zrank z m00699");
}

/* ----------------------------------------------------------------------------------------- model */

enum { MODEL_MEMBERS = 6000 };

struct model {
    bool there[MODEL_MEMBERS];
    int score[MODEL_MEMBERS];
    int count;
};

static bool before(const struct model *model, int left, int right)
{
    return model->score[left] != model->score[right] ? model->score[left] < model->score[right]
                                                     : left < right;
}

static int model_rank(const struct model *model, int member)
{
    int rank = 0;
    for (int n = 0; n < MODEL_MEMBERS; n++)
        rank += model->there[n] && before(model, n, member);
    return rank;
}

static int model_count(const struct model *model, int min, int max)
{
    int count = 0;
    for (int n = 0; n < MODEL_MEMBERS; n++)
        count += model->there[n] && model->score[n] >= min && model->score[n] <= max;
    return count;
}

/* The last one with a score from min to max. */
static int model_last(const struct model *model, int min, int max)
{
    int last = -1;
    for (int n = 0; n < MODEL_MEMBERS; n++)
        if (model->there[n] && model->score[n] >= min && model->score[n] <= max &&
            (last < 0 || before(model, last, n)))
            last = n;
    return last;
}

static void expect_integer(int wanted, const char *format, unsigned one, int two, int three)
{
    char command[100];
    snprintf(command, sizeof command, format, one, two, three);
    int got = atoi(redis_fixture_run(fixture, "%s", command));
    if (got != wanted)
        fail_msg("%s: %d instead of %d", command, got, wanted);
}

static void model_check(struct model *model, struct random *random)
{
    int member = (int)random_below(random, MODEL_MEMBERS), min = (int)random_below(random, 1000);
    char wanted[32];
    expect_integer(model->count, "zcard z", 0, 0, 0);
    if (model->there[member]) {
        int rank = model_rank(model, member);
        expect_integer(rank, "zrank z m%05u", (unsigned)member, 0, 0);
        expect_integer(model->count - 1 - rank, "zrevrank z m%05u", (unsigned)member, 0, 0);
        snprintf(wanted, sizeof wanted, "[\"m%05d\"]", member);
        expect(wanted, "zrange z %d %d", rank, rank);
        expect(wanted, "zrevrange z %d %d", model->count - 1 - rank, model->count - 1 - rank);
    }
    int last = model_last(model, 0, INT_MAX);
    if (last >= 0) {
        snprintf(wanted, sizeof wanted, "[\"m%05d\"]", last);
        expect(wanted, "zrange z -1 -1");
        expect(wanted, "zrange z %d %d", model->count - 1, model->count);
        expect(wanted, "zrevrange z 0 0");
    }
    last = model_last(model, min, min + 50);
    if (last >= 0)
        snprintf(wanted, sizeof wanted, "[\"m%05d\"]", last);
    expect(last < 0 ? "[]" : wanted, "zrevrangebyscore z %d %d limit 0 1", min + 50, min);
    expect_integer(model_count(model, min, min + 50), "zcount z %u %d", (unsigned)min, min + 50, 0);
    expect_integer(model_count(model, min, min + 4), "zcount z %u %d", (unsigned)min, min + 4, 0);
}

static void model_remove(struct model *model, int member)
{
    model->count -= model->there[member];
    model->there[member] = false;
}

static void model_step(struct model *model, struct random *random, unsigned removing)
{
    int member = (int)random_below(random, MODEL_MEMBERS);
    char command[2000] = "zadd z";
    size_t size = strlen(command);
    if (random_below(random, 100) < removing) {
        int min = (int)random_below(random, 1000), max = min + (int)random_below(random, 12);
        expect_integer(model_count(model, min, max), "zremrangebyscore z %u %d", (unsigned)min, max,
                       0);
        for (int n = 0; n < MODEL_MEMBERS; n++)
            if (model->there[n] && model->score[n] >= min && model->score[n] <= max)
                model_remove(model, n);
        expect_integer(model->there[member], "zrem z m%05u", (unsigned)member, 0, 0);
        model_remove(model, member);
        return;
    }
    for (unsigned n = 0; n < 25; n++) {
        member = (int)random_below(random, MODEL_MEMBERS);
        model->count += !model->there[member];
        model->there[member] = true;
        model->score[member] = (int)random_below(random, 1000);
        size += (size_t)snprintf(command + size, sizeof command - size, " %d m%05d",
                                 model->score[member], member);
    }
    redis_fixture_run(fixture, "%s", command);
}

/* When it is asked for, members are counted now and then, and the set is made anew sometimes. */
static void plain_list_compare(bool asked)
{
    struct random random;
    static struct model model;
    memset(&model, 0, sizeof model);
    random_create(&random, test_seed());
    for (unsigned step = 0; step < 1500; step++) {
        model_step(&model, &random, step / 250 % 2 ? 90 : 20);
        model_check(&model, &random);
        if (asked && random_below(&random, 10) == 0 && db_redis_ranks_asked(fixture->db) != 0)
            count_some(1 + random_below(&random, 600));
        if (asked && random_below(&random, 100) == 0)
            expect_integer(model.count, "zunionstore z 1 z", 0, 0, 0);
        if (step % 500 == 499)
            redis_fixture_restart(fixture);
    }
    expect_integer(model.count, "zremrangebyrank z 0 -1", 0, 0, 0);
    expect("0", "exists z");
}

static void ranks_are_those_of_a_plain_list(void **state)
{
    (void)state;
    ranks_at_once();
    plain_list_compare(false);
}

static void ranks_of_a_set_that_is_being_counted_are_too(void **state)
{
    (void)state;
    ranks_when_asked();
    plain_list_compare(true);
}

static void a_set_stored_at_once_has_ranks(void **state)
{
    (void)state;
    fixture->config.zset_ranks_after = 0;
    members_make("z", 10000);
    expect("10000", "zunionstore d 1 z");
    for (unsigned n = 0; n < 10000; n += 37) {
        expect_integer((int)n, "zrank d m%05u", n, 0, 0);
        expect_integer((int)n, "zrank z m%05u", n, 0, 0);
    }
    expect("1", "copy d e");
    expect("7777", "zrank e m07777");
}

static void scores_of_digits_are_what_strtod_says(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned n = 0; n < 10000; n++) {
        char text[24];
        double parsed = -1;
        size_t size = 1 + (size_t)random_below(&random, 20);
        for (size_t k = 0; k < size; k++)
            text[k] = (char)('0' + random_below(&random, 10));
        text[size] = 0;
        assert_true(redis_double_parse(text, size, &parsed));
        assert_true(parsed == strtod(text, NULL) && !signbit(parsed));
    }
    double unset;
    assert_false(redis_double_parse("", 0, &unset));
    assert_false(redis_double_parse("12x", 3, &unset));
    assert_false(redis_double_parse("1 ", 2, &unset));
}

/* What is added at one end and taken at the other: buckets come and go. */
static void a_queue_leaves_no_empty_buckets(void **state)
{
    (void)state;
    ranks_at_once();
    for (unsigned n = 0; n < 30000; n += 20) {
        char command[1000] = "zadd z";
        size_t size = strlen(command);
        for (unsigned i = n; i < n + 20; i++)
            size += (size_t)snprintf(command + size, sizeof command - size, " %u m%05u", i, i);
        redis_fixture_run(fixture, "%s", command);
        if (n >= 1000)
            redis_fixture_run(fixture, "zpopmin z 20");
    }
    expect("1000", "zcard z");
    expect("500", "zrank z m29500");
    assert_in_range(rows_of('b'), 1, 200);
}

/* Also a range that ends at one of them, wherever a bucket may begin. */
static void what_is_between_deleted_members_is_found_from_both_sides(void **state)
{
    (void)state;
    ranks_at_once();
    for (unsigned n = 0; n < 1000; n++)
        redis_fixture_run(fixture, "zadd z 0 m%03u", n);
    for (unsigned n = 0; n < 1000; n++)
        if (n % 100)
            redis_fixture_run(fixture, "zrem z m%03u", n);
    for (unsigned n = 0; n < 1000; n++) {
        char down[16], up[16];
        snprintf(down, sizeof down, "[\"m%03u\"]", n / 100 * 100);
        snprintf(up, sizeof up, "[\"m%03u\"]", (n + 99) / 100 * 100);
        expect(down, "zrange z [m%03u - bylex rev limit 0 1", n);
        if (n <= 900)
            expect(up, "zrange z [m%03u + bylex limit 0 1", n);
    }
}

/* The scores of the members that are there, one of each; the smallest of them are taken out. */
struct queue {
    bool there[400];
    unsigned count;
};

static unsigned queue_first(const struct queue *queue)
{
    unsigned n = 0;
    while (n < sizeof queue->there && !queue->there[n])
        n++;
    return n;
}

static void queue_check(const struct queue *queue, unsigned below)
{
    char members[8 * sizeof queue->there + 8] = "[";
    size_t size = 1;
    for (unsigned n = 0; n < below; n++)
        if (queue->there[n])
            size += (size_t)snprintf(members + size, sizeof members - size, "%s\"m%u\"",
                                     size > 1 ? " " : "", n);
    strcpy(members + size, "]");
    expect(members, "zrange q -inf (%u byscore", below);
}

/* Members come in front of those that were taken out as well, and the set goes to other names. */
static void a_queue_is_what_a_plain_one_is(void **state)
{
    (void)state;
    enum { STEPS = 3000 };
    struct queue queue = {.count = 0};
    struct random random;
    random_create(&random, test_seed());
    small_thresholds();
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned n = (unsigned)random_below(&random, sizeof queue.there);
        unsigned what = (unsigned)random_below(&random, 100), first = queue_first(&queue);
        if (what < 45 && queue.count > 4) {
            char popped[40];
            snprintf(popped, sizeof popped, "[\"m%u\" %u]", first, first);
            expect(popped, "zpopmin q");
            queue.there[first] = false;
            queue.count--;
        } else if (what < 90) {
            if (what < 50 && first < sizeof queue.there)
                n = first / 2; /* in front of all */
            expect(queue.there[n] ? "0" : "1", "zadd q %u m%u", n, n);
            queue.count += !queue.there[n];
            queue.there[n] = true;
        } else if (what < 94 && queue.count > 4) {
            expect(queue.there[n] ? "1" : "0", "zrem q m%u", n);
            queue.count -= queue.there[n];
            queue.there[n] = false;
        } else if (what < 96 && queue.count > 4) {
            expect("OK", "rename q other");
            expect("1", "copy other q");
            expect("1", "expire q 1000");
        } else {
            queue_check(&queue, what < 98 ? n : sizeof queue.there);
        }
    }
    queue_check(&queue, sizeof queue.there);
    redis_fixture_restart(fixture);
    queue_check(&queue, sizeof queue.there);
    expect_integer((int)queue.count, "zcount q -inf +inf", 0, 0, 0);
}

/* ------------------------------------------------------------------------------------ two workers */

static struct txn *begin_on(struct db_worker *worker)
{
    struct txn *txn;
    struct txn_options options = {.level = TXN_READ_COMMITTED};
    assert_int_equal(txn_begin(db_worker_txn(worker), &options, &txn), 0);
    return txn;
}

/* Whether it was no error. */
static bool run_on(struct db_worker *worker, struct txn *txn, const char *command)
{
    struct db_worker *own = fixture->worker;
    fixture->worker = worker;
    bool ran = redis_fixture_run_in(fixture, txn, NULL, command)[0] != '!';
    fixture->worker = own;
    return ran;
}

/* Both are in the middle of their transactions at the same time, on one large set. */
static void two_at_once(const char *first, const char *second, int outcome)
{
    struct db_worker *other;
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    struct txn *one = begin_on(fixture->worker), *two = begin_on(other);
    run_on(fixture->worker, one, first);
    run_on(other, two, second);
    assert_int_equal(txn_commit(one), 0);
    assert_int_equal(txn_commit(two), outcome);
    struct wal *wal = db_wal(fixture->db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    redis_fixture_close(fixture, other);
}

static void those_who_work_on_different_members_of_a_large_set_do_not_meet(void **state)
{
    (void)state;
    ranks_at_once();
    expect("6", "zadd z 1 a 2 b 3 c 4 d 5 e 6 f");
    for (unsigned n = 0; n < 50; n++) { /* also when one of them looks at its bucket */
        char first[40], second[40];
        snprintf(first, sizeof first, "zadd z 2 one%u", n);
        snprintf(second, sizeof second, "zadd z 2 two%u", n);
        two_at_once(first, second, 0);
    }
    two_at_once("zadd z 1 a", "zadd z 2 new", 0);
    two_at_once("zincrby z 1 a", "zrem z e", 0);
    two_at_once("zrem z a", "zadd z 2 a2", 0);
    expect("106", "zcard z");
    expect("105", "zrank z f");
    two_at_once("zincrby z 1 b", "zincrby z 2 b", ERROR_CONFLICT);
}

/* Members are counted by one transaction, and changed by another one of this level, which commits first or second.
 * The rank of the last one shows whether all were counted, and once. */
static void count_beside(enum txn_level level, const char *change, bool first, int rank)
{
    struct db_worker *other;
    struct wal *wal = db_wal(fixture->db);
    bool weak = level != TXN_SERIALIZABLE; /* it writes the bound too */
    redis_fixture_run(fixture, "del z");
    members_make("z", 1000);
    expect("999", "zrank z m00999");
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    struct txn *changing = begin_at(other, level);
    struct txn *counting = begin_at(fixture->worker, TXN_SERIALIZABLE);
    struct redis_call call = call_in(counting);
    uint64_t id = db_redis_ranks_asked(fixture->db);
    uint64_t count;
    bool all, ran = true;
    if (level == TXN_READ_COMMITTED) /* who has written is not made serializable */
        run_on(other, changing, "set other 1");
    if (!weak || first)
        run_on(other, changing, change);
    int rc = redis_zset_rank_count(&call, id, 500, &count, &all);
    if (first) {
        assert_int_equal(txn_commit(changing), 0);
        rc = rc ? rc : txn_commit(counting);
    } else {
        assert_int_equal(rc ? rc : txn_commit(counting), 0);
        ran = !weak || run_on(other, changing, change);
        rc = txn_commit(changing);
    }
    /* Who has written and then meets a set of which more is counted than its snapshot says gets an error, and can go on. */
    assert_true(rc == ERROR_CONFLICT || (weak && rc == ERROR_WAIT) || (rc == 0 && !ran));
    if (first && txn_current(db_worker_txn(fixture->worker)))
        txn_rollback(counting);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    redis_fixture_close(fixture, other);
    while (count_some(500))
        ;
    expect_integer(first ? rank : 999, "zrank z m00999", 0, 0, 0);
    expect(first && rank == 1000 ? "[\"m00998\"]" : "[\"m00999\"]", "zrange z 999 999");
}

/* The bound is written by who counts, so who has read it runs again; and who counts has read all whom he
 * counts. */
static void who_counts_meets_those_who_come_and_go(void **state)
{
    (void)state;
    static const enum txn_level levels[] = {TXN_READ_COMMITTED, TXN_SNAPSHOT, TXN_SERIALIZABLE};
    for (unsigned n = 0; n < 6; n++) {
        count_beside(levels[n / 2], "zadd z 10 new", n % 2, 1000);
        count_beside(levels[n / 2], "zadd z 10 m00900", n % 2, 999);
        count_beside(levels[n / 2], "zadd z 300 m00030", n % 2, 999);
    }
}

/* A set from whose beginning so many were taken that the next pop raises the floor. */
static void queue_make(void)
{
    small_thresholds();
    for (unsigned n = 0; n < 40; n++)
        redis_fixture_run(fixture, "zadd z %u m%02u", n, n);
    expect("20", "zremrangebyrank z 0 19");
}

static void who_adds_in_front_of_a_floor_that_is_being_raised_runs_again(void **state)
{
    (void)state;
    queue_make();
    two_at_once("zpopmin z", "zadd z 1 front", ERROR_CONFLICT);
    expect("[\"m21\" 21]", "zrange z 0 0 withscores");
    expect("1", "zadd z 1 front");
    expect("[\"front\" 1 \"m21\" 21]", "zrange z 0 1 withscores");
    expect("[\"front\" 1]", "zpopmin z");
    expect("[\"m21\" 21]", "zpopmin z");
}

static void who_raises_the_floor_over_a_member_that_is_being_added_runs_again(void **state)
{
    (void)state;
    queue_make();
    two_at_once("zadd z 1 front", "zpopmin z", ERROR_CONFLICT);
    expect("[\"front\" 1]", "zpopmin z");
    expect("[\"m20\" 20]", "zpopmin z");
}

/* At snapshot isolation nobody looks at the commit whether the floor is still where it was read. */
static void a_floor_holds_for_those_who_add_at_snapshot_isolation(void **state)
{
    (void)state;
    const struct txn_options options = {.level = TXN_SNAPSHOT};
    struct db_worker *other;
    queue_make();
    for (unsigned round = 0; round < 2; round++) {
        struct txn *one, *two;
        int first, second;
        assert_int_equal(redis_fixture_open(fixture, &other), 0);
        assert_int_equal(txn_begin(db_worker_txn(other), &options, &one), 0);
        two = begin_on(fixture->worker);
        if (round == 0)
            run_on(other, one, "zadd z 1 front");
        run_on(fixture->worker, two, "zpopmin z");
        second = txn_commit(two);
        if (round == 1)
            run_on(other, one, "zadd z 1 front");
        first = txn_commit(one);
        struct wal *wal = db_wal(fixture->db);
        assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
        redis_fixture_close(fixture, other);
        assert_int_equal(first, round == 0 ? 0 : ERROR_CONFLICT);
        assert_int_equal(second, round == 0 ? ERROR_CONFLICT : 0);
        if (round == 0)
            expect("[\"front\" 1]", "zpopmin z");
    }
    expect("[\"m21\" 21]", "zpopmin z");
    expect("18", "zcard z");
}

/* ------------------------------------------------------------------------------ order of the scores */

static void a_reader_of_before_finds_the_order_of_before(void **state)
{
    (void)state;
    static const char *before = "[\"a\" 1 \"b\" 2 \"c\" 3 \"d\" 4 \"e\" 5]";
    struct db_worker *other;
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true};
    small_thresholds();
    expect("5", "zadd z 1 a 2 b 3 c 4 d 5 e");
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    assert_int_equal(txn_begin(db_worker_txn(other), &options, &txn), 0);
    expect("0", "zadd z 9 a 0 e 3.5 b");
    expect("0", "zadd z 8 a");
    expect("1", "zrem z c");
    expect("1", "zadd z 2 new");
    expect("[\"e\" 0 \"new\" 2 \"b\" 3.5 \"d\" 4 \"a\" 8]", "zrange z 0 -1 withscores");
    struct db_worker *own = fixture->worker;
    fixture->worker = other;
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zrange z 0 -1 withscores"),
                        before);
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zrank z e"), "4");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zcount z 2 3"), "2");
    fixture->worker = own;
    txn_rollback(txn);
    redis_fixture_close(fixture, other);
}

static void an_order_is_undone_with_its_transaction(void **state)
{
    (void)state;
    small_thresholds();
    expect("5", "zadd z 1 a 2 b 3 c 4 d 5 e");
    struct txn *txn = begin_on(fixture->worker);
    run_on(fixture->worker, txn, "zadd z 9 a 0 e 7 f");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zrange z 0 -1"),
                        "[\"e\" \"b\" \"c\" \"d\" \"f\" \"a\"]");
    run_on(fixture->worker, txn, "zrem z b");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zrangebyscore z 1 5"),
                        "[\"c\" \"d\"]");
    txn_rollback(txn);
    expect("[\"a\" 1 \"b\" 2 \"c\" 3 \"d\" 4 \"e\" 5]", "zrange z 0 -1 withscores");
    expect("5", "zcard z");
}

/* One command on the model and in the transaction. `at_end`: as a queue has them. */
static void model_step_in(struct txn *txn, struct model *model, struct random *random, bool at_end)
{
    char command[64];
    int member = (int)random_below(random, MODEL_MEMBERS);
    int score = at_end ? 1000 : (int)random_below(random, 1000);
    if (random_below(random, 4) > 0) {
        snprintf(command, sizeof command, "zadd z %d m%05d", score, member);
        model->count += !model->there[member];
        model->there[member] = true;
        model->score[member] = score;
    } else if (at_end) {
        for (int n = 0; n < MODEL_MEMBERS; n++)
            if (model->there[n] && (!model->there[member] || before(model, n, member)))
                member = n;
        snprintf(command, sizeof command, "zpopmin z");
        model_remove(model, member);
    } else {
        snprintf(command, sizeof command, "zrem z m%05d", member);
        model_remove(model, member);
    }
    run_on(fixture->worker, txn, command);
}

/* What a transaction has noted of buckets goes when they change, and when it takes back what it did. */
static void ranks_hold_where_commands_share_a_transaction(void **state)
{
    (void)state;
    struct random random;
    static struct model model, kept;
    memset(&model, 0, sizeof model);
    random_create(&random, test_seed());
    ranks_at_once();
    struct wal *wal = db_wal(fixture->db);
    for (unsigned round = 0; round < 120; round++) {
        struct txn *txn = begin_on(fixture->worker);
        for (unsigned step = 0; step < 40; step++) {
            struct txn_savepoint savepoint = txn_savepoint(txn);
            kept = model;
            model_step_in(txn, &model, &random, round % 3 == 2);
            if (random_below(&random, 6) == 0) {
                txn_rollback_to(txn, savepoint);
                model = kept;
            }
        }
        assert_int_equal(txn_commit(txn), 0);
        assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
        model_check(&model, &random);
    }
    for (int n = 0; n < MODEL_MEMBERS; n++)
        if (model.there[n])
            expect_integer(model_rank(&model, n), "zrank z m%05u", (unsigned)n, 0, 0);
}

/* As a pipeline's are: their counts are written over in place. */
static void counts_hold_where_commands_happen_all_or_none(void **state)
{
    (void)state;
    const struct txn_options options = {.level = TXN_SERIALIZABLE, .whole = true};
    struct random random;
    static struct model model, kept;
    memset(&model, 0, sizeof model);
    random_create(&random, test_seed());
    ranks_at_once();
    struct wal *wal = db_wal(fixture->db);
    for (unsigned round = 0; round < 120; round++) {
        struct txn *txn;
        assert_int_equal(txn_begin(db_worker_txn(fixture->worker), &options, &txn), 0);
        kept = model;
        for (unsigned step = 0; step < 16; step++)
            model_step_in(txn, &model, &random, round % 2 == 1);
        if (random_below(&random, 6) == 0) {
            txn_rollback(txn);
            model = kept;
        } else {
            assert_int_equal(txn_commit(txn), 0);
            assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
        }
        model_check(&model, &random);
    }
}

static void who_pops_again_in_a_transaction_meets_what_it_has_put_in_front(void **state)
{
    (void)state;
    small_thresholds();
    for (unsigned n = 10; n < 50; n++)
        redis_fixture_run(fixture, "zadd z %u m%02u", n, n);
    struct txn *txn = begin_on(fixture->worker);
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zpopmin z"), "[\"m10\" 10]");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zpopmin z"), "[\"m11\" 11]");
    run_on(fixture->worker, txn, "zadd z 11 m11"); /* where the last one stood */
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zpopmin z 2"),
                        "[\"m11\" 11 \"m12\" 12]");
    run_on(fixture->worker, txn, "zadd z 1 front");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zpopmin z"), "[\"front\" 1]");
    run_on(fixture->worker, txn, "zincrby z -40 m40");
    run_on(fixture->worker, txn, "zadd z 60 behind");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zrange z 0 1"),
                        "[\"m40\" \"m13\"]");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zpopmin z"), "[\"m40\" 0]");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zpopmax z"), "[\"behind\" 60]");
    run_on(fixture->worker, txn, "del z");
    run_on(fixture->worker, txn, "zadd z 1 new");
    assert_string_equal(redis_fixture_run_in(fixture, txn, NULL, "zpopmin z"), "[\"new\" 1]");
    txn_rollback(txn);
    expect("[\"m10\" 10]", "zpopmin z");
}

/* Invariant 16: what was passed by the first pop belongs to what was read by the second. */
static void who_adds_behind_what_a_transaction_has_taken_makes_it_run_again(void **state)
{
    (void)state;
    struct db_worker *other;
    queue_make();
    assert_int_equal(db_worker_open(fixture->db, &other), 0);
    struct txn *txn = begin_on(fixture->worker);
    run_on(fixture->worker, txn, "zpopmin z");
    run_on(fixture->worker, txn, "zpopmin z");
    struct txn *adds = begin_on(other);
    run_on(other, adds, "zadd z 20.5 between");
    assert_int_equal(txn_commit(adds), 0);
    assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
    struct wal *wal = db_wal(fixture->db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    db_worker_close(other);
    expect("[\"m20\" 20 \"between\" 20.5]", "zpopmin z 2");
}

/* Collects until the order has this many entries; a minute at most. */
static void expect_entries(uint64_t count)
{
    const struct tree *tree = db_redis_numbers(fixture->db)->tree;
    time_t end = time(NULL) + 60;
    while (tree_count(tree) != count && time(NULL) < end) {
        redis_fixture_run(fixture, "set other 1");
        txn_collect(db_worker_txn(fixture->worker), 1000);
    }
    assert_int_equal(tree_count(tree), count);
}

static void what_a_score_was_leaves_nothing_in_the_order(void **state)
{
    (void)state;
    enum { MEMBERS = 50 };
    small_thresholds();
    expect("5", "zadd z 0 a 1 b 2 c 3 d 4 e");
    for (unsigned n = 0; n < MEMBERS; n++)
        redis_fixture_run(fixture, "zadd many %u m%u", n, n);
    for (unsigned n = 0; n < 20 * MEMBERS; n++)
        redis_fixture_run(fixture, "zincrby many %u m%u", n % 7, n % MEMBERS);
    expect("1", "zrem z a");
    expect("1", "zadd z -0.0 a"); /* another score in the same place */
    expect_entries(MEMBERS + 5);
    expect("[\"a\" -0]", "zrange z 0 0 withscores");
    expect("1", "zrem many m7");
    expect_entries(MEMBERS + 4);
    redis_fixture_restart(fixture);
    expect_entries(MEMBERS + 4);
    expect("[\"a\" -0]", "zrange z 0 0 withscores");
    expect("49", "zcount many -inf +inf");
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, redis_setup, redis_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(members_are_added_read_and_taken_away),
        WITH_FIXTURE(options_of_zadd_are_obeyed),
        WITH_FIXTURE(what_7_2_replies_of_ranks_with_scores),
        WITH_FIXTURE(members_of_one_score_have_ranges_by_their_bytes),
        WITH_FIXTURE(scores_keep_all_that_they_are),
        WITH_FIXTURE(the_ends_are_popped),
        WITH_FIXTURE(sets_are_merged_with_weights),
        WITH_FIXTURE(a_scan_returns_every_member_once),
        WITH_FIXTURE(a_set_is_counted_when_somebody_asks_for_a_rank),
        WITH_FIXTURE(a_set_without_a_bound_is_counted),
        WITH_FIXTURE(who_passes_many_that_were_deleted_asks),
        WITH_FIXTURE(members_behind_the_bound_are_found_behind_an_empty_bucket),
        WITH_FIXTURE(ranks_are_those_of_a_plain_list),
        WITH_FIXTURE(ranks_of_a_set_that_is_being_counted_are_too),
        WITH_FIXTURE(who_counts_meets_those_who_come_and_go),
        WITH_FIXTURE(a_set_stored_at_once_has_ranks),
        cmocka_unit_test(scores_of_digits_are_what_strtod_says),
        WITH_FIXTURE(a_queue_leaves_no_empty_buckets),
        WITH_FIXTURE(what_is_between_deleted_members_is_found_from_both_sides),
        WITH_FIXTURE(a_queue_is_what_a_plain_one_is),
        WITH_FIXTURE(who_adds_in_front_of_a_floor_that_is_being_raised_runs_again),
        WITH_FIXTURE(who_raises_the_floor_over_a_member_that_is_being_added_runs_again),
        WITH_FIXTURE(a_floor_holds_for_those_who_add_at_snapshot_isolation),
        WITH_FIXTURE(those_who_work_on_different_members_of_a_large_set_do_not_meet),
        WITH_FIXTURE(a_reader_of_before_finds_the_order_of_before),
        WITH_FIXTURE(an_order_is_undone_with_its_transaction),
        WITH_FIXTURE(ranks_hold_where_commands_share_a_transaction),
        WITH_FIXTURE(counts_hold_where_commands_happen_all_or_none),
        WITH_FIXTURE(who_pops_again_in_a_transaction_meets_what_it_has_put_in_front),
        WITH_FIXTURE(who_adds_behind_what_a_transaction_has_taken_makes_it_run_again),
        WITH_FIXTURE(what_a_score_was_leaves_nothing_in_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
