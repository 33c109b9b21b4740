/* SPDX-License-Identifier: Apache-2.0 */

/* Lists, packed and spread: commands one by one, and random ones beside a plain array. */
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
#include "redis/redis_list.h"
#include "redis/redis_test.h"

static void elements_come_and_go_at_both_ends(void **state)
{
    (void)state;
    expect("0", "llen k");
    expect("0", "rpushx k a");
    expect("2", "rpush k b c");
    expect("4", "lpush k a z");
    expect("[\"z\" \"a\" \"b\" \"c\"]", "lrange k 0 -1");
    expect("5", "lpushx k y");
    expect("\"y\"", "lpop k");
    expect("\"c\"", "rpop k");
    expect("[]", "lpop k 0");
    expect("[\"z\" \"a\"]", "lpop k 2");
    expect("[\"b\"]", "rpop k 100");
    expect("nil", "lpop k");
    expect("nil-array", "lpop k 1");
    expect("0", "exists k");
    expect("!ERR value is out of range, must be positive", "lpop k -1");
    expect("!ERR wrong number of arguments for 'rpop' command", "rpop k 1 2");
}

static void elements_are_found_by_index_and_by_value(void **state)
{
    (void)state;
    expect("7", "rpush k a b c 1 2 3 c");
    expect("\"a\"", "lindex k 0");
    expect("\"c\"", "lindex k -1");
    expect("\"1\"", "lindex k 3");
    expect("nil", "lindex k 7");
    expect("nil", "lindex none 0");
    expect("!ERR value is not an integer or out of range", "lindex k x");
    expect("2", "lpos k c");
    expect("6", "lpos k c rank -1");
    expect("[2 6]", "lpos k c count 0");
    expect("[6]", "lpos k c count 0 rank 2");
    expect("[]", "lpos k c count 0 maxlen 2");
    expect("3", "lpos k 1");
    expect("nil", "lpos k 01");
    expect("nil", "lpos none c");
    expect("[]", "lpos none c count 1");
    expect("!ERR COUNT can't be negative", "lpos k c count -1");
    expect("!ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or "
           "use negative to start from the end of the list",
           "lpos k c rank 0");
    expect("[]", "lrange k 5 2");
    expect("[\"2\" \"3\"]", "lrange k -3 -2");
}

static void elements_are_changed_in_place(void **state)
{
    (void)state;
    expect("!ERR no such key", "lset k 0 a");
    expect("0", "linsert k before a b");
    expect("3", "rpush k a b a");
    expect("OK", "lset k -1 c");
    expect("!ERR index out of range", "lset k 3 c");
    expect("4", "linsert k after a x");
    expect("-1", "linsert k after none x");
    expect("!ERR syntax error", "linsert k at a x");
    expect("[\"a\" \"x\" \"b\" \"c\"]", "lrange k 0 -1");
    expect("6", "rpush k x x");
    expect("2", "lrem k -2 x");
    expect("[\"a\" \"x\" \"b\" \"c\"]", "lrange k 0 -1");
    expect("OK", "ltrim k 1 2");
    expect("[\"x\" \"b\"]", "lrange k 0 -1");
    expect("1", "lrem k 0 b");
    expect("1", "lrem k 0 x");
    expect("0", "exists k");
    expect("2", "rpush k a b");
    expect("OK", "ltrim k 5 9");
    expect("0", "exists k");
}

static void elements_move_between_lists(void **state)
{
    (void)state;
    expect("nil", "lmove a b left right");
    expect("3", "rpush a 1 2 3");
    expect("\"1\"", "lmove a b left right");
    expect("\"3\"", "rpoplpush a b");
    expect("[\"3\" \"1\"]", "lrange b 0 -1");
    expect("OK", "set s x");
    expect("!WRONGTYPE Operation against a key holding the wrong kind of value",
           "lmove a s left left");
    expect("\"2\"", "lmove a a left left");
    expect("1", "pexpire a 1000");
    expect("\"2\"", "rpoplpush a a");
    expect("1000", "pttl a");
    expect("\"2\"", "blmove a b left left 0");
    expect("0", "exists a");
    expect("[\"b\" [\"2\" \"3\"]]", "lmpop 2 a b left count 2");
    expect("nil-array", "lmpop 1 a right");
    expect("!ERR numkeys should be greater than 0", "lmpop 0 a right");
    expect("!ERR count should be greater than 0", "lmpop 1 b right count 0");
    expect("!ERR syntax error", "lmpop 2 a right");
}

static void a_blocking_command_that_must_not_wait_finds_nothing(void **state)
{
    (void)state;
    expect("nil-array", "blpop a b 0");
    expect("nil", "blmove a b left right 0");
    expect("nil", "brpoplpush a b 0");
    expect("nil-array", "blmpop 0 2 a b left");
    expect("!ERR timeout is negative", "blpop a -1");
    expect("!ERR timeout is not a float or out of range", "blpop a x");
    expect("1", "rpush b x");
    expect("[\"b\" \"x\"]", "brpop a b 0.5");
}

static bool is_spread(const char *name)
{
    struct redis_call call = {.worker = fixture->worker,
                              .now_ms = clock_realtime_ms(&fixture->clock.base),
                              .config = &fixture->config};
    struct redis_list list;
    const struct redis_slice slice = {name, strlen(name)};
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    assert_int_equal(txn_begin(db_worker_txn(fixture->worker), &options, &call.txn), 0);
    assert_int_equal(redis__list_open(&call, &slice, false, &list), 0);
    txn_rollback(call.txn);
    return list.value.spread;
}

static void a_list_that_grows_is_spread_and_keeps_its_expiry(void **state)
{
    (void)state;
    expect("1", "rpush k 0");
    expect("1", "pexpire k 5000");
    for (int n = 1; n < 100; n++)
        redis_fixture_run(fixture, "rpush k %d", n);
    assert_true(is_spread("k"));
    expect("100", "llen k");
    expect("\"99\"", "lindex k -1");
    expect("\"40\"", "lindex k 40");
    expect("5000", "pttl k");
    redis_fixture_restart(fixture);
    expect("[\"49\" \"50\" \"51\"]", "lrange k 49 51");
    for (int n = 0; n < 100; n++)
        redis_fixture_run(fixture, "lpop k");
    expect("0", "exists k");
}

/* LINSERT at one place again and again, until there is no room between neighbours any more. */
static void there_is_always_room_between_two_elements(void **state)
{
    (void)state;
    enum { ROUNDS = 3000 };
    store_relaxed(&fixture->config.list_max_listpack_size, 2);
    expect("6", "rpush k first a b c d last");
    for (int n = 0; n < ROUNDS; n++)
        redis_fixture_run(fixture, "linsert k before b %d", n);
    expect("3006", "llen k");
    expect("[\"first\" \"a\" \"0\" \"1\"]", "lrange k 0 3");
    expect("[\"2999\" \"b\" \"c\" \"d\" \"last\"]", "lrange k -5 -1");
    expect("1501", "lpos k 1499");
}

/* --------------------------------------------------------------------------------- beside a model */

enum { MODEL_MAX = 4000, TEXT_MAX = 64 };

/* The transaction that commands are run in; NULL: each in one of its own. */
static struct txn *together;

static const char *run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *run(const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (!together)
        return redis_fixture_run(fixture, "%s", line);
    txn_statement(together);
    return redis_fixture_run_in(fixture, together, NULL, line);
}

#define expect_run(reply, ...) assert_string_equal(run(__VA_ARGS__), reply)

struct model {
    size_t count;
    char items[MODEL_MAX][TEXT_MAX];
};

static void model_insert(struct model *model, size_t at, const char *text)
{
    memmove(model->items[at + 1], model->items[at], (model->count - at) * TEXT_MAX);
    size_t size = strnlen(text, TEXT_MAX - 1);
    memcpy(model->items[at], text, size);
    model->items[at][size] = 0;
    model->count++;
}

static void model_delete(struct model *model, size_t at, size_t count)
{
    model->count -= count;
    memmove(model->items[at], model->items[at + count], (model->count - at) * TEXT_MAX);
}

static void expect_number(long long number, const char *reply)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", number);
    assert_string_equal(reply, text);
}

static void text_choose(struct random *random, char text[TEXT_MAX])
{
    uint64_t kind = random_below(random, 8);
    if (kind < 4)
        snprintf(text, TEXT_MAX, "%d", (int)random_below(random, 12));
    else
        snprintf(text, TEXT_MAX, "%.*s%d", (int)random_below(random, 50),
                 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
                 (int)random_below(random, 5));
}

static void model_push(struct model *model, struct random *random)
{
    char texts[3][TEXT_MAX];
    bool right = random_below(random, 2);
    for (int n = 0; n < 3; n++) {
        text_choose(random, texts[n]);
        model_insert(model, right ? model->count : 0, texts[n]);
    }
    expect_number((long long)model->count,
                  run("%s k %s %s %s", right ? "rpush" : "lpush", texts[0], texts[1], texts[2]));
}

static void model_pop(struct model *model, struct random *random)
{
    bool right = random_below(random, 2);
    size_t count = random_below(random, random_below(random, 8) ? 4 : 120);
    run("%s k %zu", right ? "rpop" : "lpop", count);
    count = count < model->count ? count : model->count;
    model_delete(model, right ? model->count - count : 0, count);
}

static void model_set(struct model *model, struct random *random)
{
    char text[TEXT_MAX];
    if (model->count == 0)
        return;
    size_t at = random_below(random, model->count);
    text_choose(random, text);
    size_t size = strnlen(text, TEXT_MAX - 1);
    memcpy(model->items[at], text, size);
    model->items[at][size] = 0;
    expect_run("OK", "lset k %zu %s", at, text);
}

static void model_linsert(struct model *model, struct random *random)
{
    char text[TEXT_MAX];
    size_t at = 0;
    if (model->count == 0)
        return;
    const char *pivot = model->items[random_below(random, model->count)];
    while (strcmp(model->items[at], pivot) != 0)
        at++;
    bool after = random_below(random, 2);
    text_choose(random, text);
    const char *reply = run("linsert k %s %s %s", after ? "after" : "before", pivot, text);
    expect_number((long long)model->count + 1, reply);
    model_insert(model, at + after, text);
}

static void model_lrem(struct model *model, struct random *random)
{
    char text[TEXT_MAX];
    int count = (int)random_below(random, 5) - 2, gone = 0;
    text_choose(random, text);
    const char *reply = run("lrem k %d %s", count, text);
    int wanted = count == 0 ? MODEL_MAX : abs(count);
    for (size_t n = 0; n < model->count && gone < wanted; n++) {
        size_t at = count < 0 ? model->count - 1 - n : n;
        if (strcmp(model->items[at], text) != 0)
            continue;
        model_delete(model, at, 1);
        n -= count >= 0;
        n -= count < 0;
        gone++;
    }
    expect_number(gone, reply);
}

static void model_trim(struct model *model, struct random *random)
{
    if (model->count < 3 || random_below(random, 6) != 0)
        return;
    size_t from = random_below(random, model->count / 3 + 1);
    size_t until = model->count - random_below(random, model->count / 3 + 1);
    expect_run("OK", "ltrim k %zu %zu", from, until - 1);
    model_delete(model, until, model->count - until);
    model_delete(model, 0, from);
}

static void model_turn(struct model *model, struct random *random)
{
    static const char *const SIDES[] = {"left", "right"};
    char text[TEXT_MAX], reply[TEXT_MAX + 2];
    bool from = random_below(random, 2), to = random_below(random, 2);
    if (model->count == 0)
        return;
    size_t at = from ? model->count - 1 : 0;
    snprintf(text, sizeof text, "%s", model->items[at]);
    snprintf(reply, sizeof reply, "\"%s\"", text);
    model_delete(model, at, 1);
    model_insert(model, to ? model->count : 0, text);
    expect_run(reply, "lmove k k %s %s", SIDES[from], SIDES[to]);
}

/* Looks at a few of its elements, or at all. */
static void model_compare(const struct model *model, struct random *random)
{
    size_t size, from = 0, until = model->count;
    if (until > 100) {
        from = random_below(random, until - 100);
        until = from + 100;
    }
    char *text;
    FILE *out = open_memstream(&text, &size);
    fputc('[', out);
    for (size_t n = from; n < until; n++)
        fprintf(out, "%s\"%s\"", n > from ? " " : "", model->items[n]);
    fputc(']', out);
    fclose(out);
    expect_run(text, "lrange k %zu %zu", from, until - 1);
    free(text);
    expect_number((long long)model->count, run("llen k"));
}

static void together_begin(void)
{
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    assert_int_equal(txn_begin(db_worker_txn(fixture->worker), &options, &together), 0);
}

static void together_end(void)
{
    struct wal *wal = db_wal(fixture->db);
    if (together)
        assert_int_equal(txn_commit(together), 0);
    together = NULL;
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
}

static void random_commands_do_what_they_do_to_an_array(void **state)
{
    static void (*const OPS[])(struct model *, struct random *) = {
        model_push, model_push, model_push,    model_pop,  model_pop,
        model_set,  model_lrem, model_linsert, model_trim, model_turn,
    };
    static const int SIZES[] = {2, 3, 8, 128, -2};
    static struct model model;
    struct random random;
    const char *given = getenv("PERIGEE_LIST_ROUNDS");
    unsigned rounds = given ? (unsigned)atoi(given) : 600;
    (void)state;
    random_create(&random, test_seed());
    for (unsigned size = 0; size < sizeof SIZES / sizeof *SIZES; size++) {
        store_relaxed(&fixture->config.list_max_listpack_size, SIZES[size]);
        model.count = 0;
        run("del k");
        for (unsigned n = 0; n < rounds; n++) {
            if (n % 50 == 10)
                together_begin();
            else if (n % 50 == 40)
                together_end();
            if (model.count < MODEL_MAX - 10)
                OPS[random_below(&random, sizeof OPS / sizeof *OPS)](&model, &random);
            else
                model_pop(&model, &random);
            assert_true(model.count > 0 || strcmp(run("exists k"), "0") == 0);
            if (model.count > 0)
                model_compare(&model, &random);
        }
        together_end();
    }
}

/* -------------------------------------------------------------------------------- two at a time */

static struct txn *begin_on(struct db_worker *worker)
{
    struct txn *txn;
    struct txn_options options = {.level = TXN_READ_COMMITTED};
    assert_int_equal(txn_begin(db_worker_txn(worker), &options, &txn), 0);
    return txn;
}

static const char *run_on(struct db_worker *worker, struct txn *txn, const char *text)
{
    struct db_worker *own = fixture->worker;
    fixture->worker = worker;
    const char *reply = redis_fixture_run_in(fixture, txn, NULL, text);
    fixture->worker = own;
    return reply;
}

static void clients_at_different_ends_do_not_conflict(void **state)
{
    static const char *const PAIRS[][2] = {
        {"lpush k x y", "rpush k x"}, {"lpop k", "rpop k"},       {"lpop k 3", "rpush k z"},
        {"lpush k v", "rpop k"},      {"lpushx k x", "rpop k 2"},
    };
    struct db_worker *other;
    struct wal *wal = db_wal(fixture->db);
    (void)state;
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    for (int n = 0; n < 200; n++)
        redis_fixture_run(fixture, "rpush k %d", n);
    for (unsigned n = 0; n < sizeof PAIRS / sizeof *PAIRS; n++) {
        struct txn *one = begin_on(fixture->worker), *two = begin_on(other);
        assert_true(run_on(fixture->worker, one, PAIRS[n][0])[0] != '!');
        assert_true(run_on(other, two, PAIRS[n][1])[0] != '!');
        assert_int_equal(txn_commit(one), 0);
        assert_int_equal(txn_commit(two), 0);
        assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    }
    expect("198", "llen k");
    redis_fixture_close(fixture, other);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, redis_setup, redis_teardown)
    const struct CMUnitTest tests[] = {
        TEST(elements_come_and_go_at_both_ends),
        TEST(elements_are_found_by_index_and_by_value),
        TEST(elements_are_changed_in_place),
        TEST(elements_move_between_lists),
        TEST(a_blocking_command_that_must_not_wait_finds_nothing),
        TEST(a_list_that_grows_is_spread_and_keeps_its_expiry),
        TEST(there_is_always_room_between_two_elements),
        TEST(random_commands_do_what_they_do_to_an_array),
        TEST(clients_at_different_ends_do_not_conflict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
