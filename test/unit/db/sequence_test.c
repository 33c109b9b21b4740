/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "db/db_fixture.h"
#include "db/sequence.h"
#include "storage/engines.h"

static struct db_fixture f;

static int setup(void **state)
{
    db_fixture_open(&f);
    f.engine = *state;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

/* A sequence with these options: its id. */
static uint32_t make(const char *name, const char *options)
{
    char json[256];
    size_t size;
    uint32_t id = 0;
    snprintf(json, sizeof json, "[null, 1, \"%s\", %s]", name, options);
    assert_int_equal(
        0, ddl_record_put(f.workers[0], SPACE_ID_SEQUENCE, mp_of(json, &size), true, 1, &id));
    return id;
}

static struct sequence_def def_of(unsigned worker, uint32_t id)
{
    struct sequence_def def;
    assert_int_equal(0, sequence_find(db_catalog(f.workers[worker]), id, &def));
    return def;
}

static int64_t next(uint32_t id)
{
    struct sequence_def def = def_of(0, id);
    int64_t number = 0;
    assert_int_equal(0, sequence_next(f.db, &def, &number, NULL));
    return number;
}

static void numbers_go_up_or_down_by_the_step(void **state)
{
    (void)state;
    uint32_t up = make("up", "{}"),
             down = make("down", "{\"step\": -2, \"start\": 5, \"min\": 0, \"max\": 5}");
    assert_int_equal(1, next(up));
    assert_int_equal(2, next(up));
    assert_int_equal(5, next(down));
    assert_int_equal(3, next(down));
    assert_int_equal(1, next(down));
    struct sequence_def def = def_of(0, down);
    int64_t number;
    assert_int_equal(ERROR_INVALID, sequence_next(f.db, &def, &number, NULL));
    assert_non_null(strstr(diag_message(), "\"down\" has come to its end"));
}

static void one_that_cycles_begins_again(void **state)
{
    (void)state;
    uint32_t id = make("round", "{\"min\": 2, \"max\": 4, \"start\": 3, \"cycle\": true}");
    int64_t expected[] = {3, 4, 2, 3, 4, 2};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(expected[i], next(id));
}

static void the_ends_of_64_bits_are_no_overflow(void **state)
{
    (void)state;
    uint32_t high = make("high", "{\"start\": 9223372036854775806, \"step\": 2}");
    assert_int_equal(INT64_MAX - 1, next(high));
    struct sequence_def def = def_of(0, high);
    int64_t number;
    assert_int_equal(ERROR_INVALID, sequence_next(f.db, &def, &number, NULL));
}

static void it_can_be_set_and_begin_anew(void **state)
{
    (void)state;
    uint32_t id = make("s", "{}");
    struct sequence_def def = def_of(0, id);
    int64_t number;
    assert_int_equal(ERROR_INVALID, sequence_current(f.db, &def, &number));
    assert_int_equal(0, sequence_set(f.db, &def, 99, NULL));
    assert_int_equal(100, next(id));
    assert_int_equal(0, sequence_current(f.db, &def, &number));
    assert_int_equal(100, number);
    assert_int_equal(0, sequence_reset(f.db, &def, NULL));
    assert_int_equal(1, next(id));
    assert_int_equal(ERROR_INVALID, sequence_set(f.db, &def, 0, NULL));
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "[1, 1, \"s\", {\"step\": 0}]",
        "[1, 1, \"s\", {\"min\": 5, \"max\": 5}]",
        "[1, 1, \"s\", {\"start\": 0}]",
        "[1, 1, \"s\", {\"start\": 7, \"max\": 6}]",
        "[1, 1, \"s\", {\"cycle\": 1}]",
        "[1, 1, \"s\", {\"start\": \"x\"}]",
        "[1, 1, \"s\"]",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sequence_def def;
        size_t size;
        assert_int_equal(ERROR_INVALID, sequence_read(mp_of(rows[i], &size), &def));
    }
}

static void closing_gives_back_what_was_not_given(void **state)
{
    (void)state;
    uint32_t id = make("s", "{}");
    next(id);
    assert_int_equal(2, next(id));
    db_fixture_reopen(&f);
    assert_int_equal(3, next(id));
}

static void one_that_has_the_id_of_another_begins_at_its_start(void **state)
{
    (void)state;
    uint32_t id = make("s", "{\"incarnation\": 1}");
    size_t size;
    char key[32];
    for (int i = 0; i < 5; i++)
        next(id);
    snprintf(key, sizeof key, "[%u]", id);
    assert_int_equal(0, ddl_record_delete(f.workers[0], SPACE_ID_SEQUENCE, mp_of(key, &size)));
    assert_int_equal(id, make("t", "{\"incarnation\": 2}"));
    assert_int_equal(1, next(id));
    db_fixture_reopen(&f);
    assert_int_equal(2, next(id));
    assert_int_equal(0, sequence_forget(f.db, id));
    assert_int_equal(1, next(id));
}

static void taking_one_is_no_part_of_the_transaction(void **state)
{
    (void)state;
    uint32_t id = make("s", "{\"cache\": 1}");
    struct txn *one = begin(&f, 0, TXN_SERIALIZABLE), *other = begin(&f, 1, TXN_SERIALIZABLE);
    assert_int_equal(1, next(id));
    struct sequence_def def = def_of(1, id);
    int64_t number;
    assert_int_equal(0, sequence_next(f.db, &def, &number, NULL));
    assert_int_equal(2, number);
    txn_rollback(one);
    assert_int_equal(0, txn_commit(other));
    assert_int_equal(3, next(id));
}

static void the_owner_of_the_gate_gets_one(void **state)
{
    (void)state;
    uint32_t id = make("s", "{\"cache\": 1}");
    struct txn_options options = {.level = TXN_SERIALIZABLE, .exclusive = true};
    struct txn *txn;
    assert_int_equal(0, txn_begin(db_worker_txn(f.workers[0]), &options, &txn));
    assert_int_equal(1, next(id));
    assert_int_equal(0, txn_commit(txn));
}

static void a_primary_key_takes_numbers_for_nil_and_passes_those_that_are_chosen(void **state)
{
    (void)state;
    char options[64];
    uint32_t id = make("s", "{}");
    snprintf(options, sizeof options, "{\"parts\": [[1, \"unsigned\"]], \"sequence\": %u}", id);
    assert_int_equal(0, make_space(&f, "t", "{}"));
    assert_int_equal(0, make_index(&f, "t", "pk", options));
    assert_int_equal(0, insert(&f, NULL, "t", "[null, \"a\"]"));
    assert_int_equal(0, insert(&f, NULL, "t", "[]"));
    assert_int_equal(0, insert(&f, NULL, "t", "[10, \"b\"]"));
    assert_int_equal(0, insert(&f, NULL, "t", "[null, \"c\"]"));
    assert_int_equal(0, insert(&f, NULL, "t", "[5, \"d\"]"));
    assert_int_equal(0, replace(&f, NULL, "t", "[null, \"e\"]"));
    assert_string_equal("[1,\"a\"] [2] [5,\"d\"] [10,\"b\"] [11,\"c\"] [12,\"e\"]",
                        select_by(&f, NULL, "t", "pk", ITERATOR_ALL, NULL));
    assert_int_equal(ERROR_SCHEMA, make_index(&f, "t", "second", options));
    assert_int_equal(ERROR_SCHEMA, insert(&f, NULL, "t", "[\"x\"]"));
    db_fixture_reopen(&f);
    assert_int_equal(0, insert(&f, NULL, "t", "[null]"));
    assert_string_equal("[13]", get_by(&f, NULL, "t", "pk", "[13]"));
}

/* What anybody has been told durably is never given again, wherever the power fails. */
static void no_number_is_given_twice_over_power_cuts(void **state)
{
    (void)state;
    const char *text = getenv("PERIGEE_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : random_seed();
    struct random random;
    random_create(&random, seed);
    print_message("PERIGEE_SEED=%llu\n", (unsigned long long)seed);
    uint32_t id = make("s", "{\"cache\": 3}");
    int64_t told = 0;
    for (int life = 0; life < 40; life++) {
        for (uint64_t n = random_below(&random, 9); n > 0; n--) {
            struct sequence_def def = def_of(0, id);
            int64_t number;
            uint64_t ts = 0;
            assert_int_equal(0, sequence_next(f.db, &def, &number, &ts));
            assert_true(number > told);
            if (random_below(&random, 3) == 0) {
                assert_int_equal(0, wal_wait(db_wal(f.db), ts));
                told = number;
            }
        }
        disk_cut(f.disk, random_next(&random));
        db_fixture_stop(&f);
        assert_int_equal(0, db_fixture_start(&f, false));
    }
}

enum { THREADS = 4, NUMBERS = 5000 };

struct taker {
    pthread_t thread;
    const struct sequence_def *def;
    int64_t numbers[NUMBERS];
};

static void *take(void *arg)
{
    struct taker *taker = arg;
    for (int i = 0; i < NUMBERS; i++)
        if (sequence_next(f.db, taker->def, &taker->numbers[i], NULL) != 0)
            return taker;
    return NULL;
}

static void threads_get_each_number_once(void **state)
{
    (void)state;
    static struct taker takers[THREADS];
    static unsigned char seen[THREADS * NUMBERS + 1];
    struct sequence_def def = def_of(0, make("s", "{\"cache\": 7}"));
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < THREADS; i++) {
        takers[i].def = &def;
        assert_int_equal(0, pthread_create(&takers[i].thread, NULL, take, &takers[i]));
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(0, pthread_join(takers[i].thread, &failed));
        assert_null(failed);
    }
    for (int i = 0; i < THREADS; i++)
        for (int n = 0; n < NUMBERS; n++) {
            int64_t number = takers[i].numbers[n];
            assert_in_range(number, 1, THREADS * NUMBERS);
            assert_int_equal(0, seen[number]++);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(numbers_go_up_or_down_by_the_step),
        TEST(one_that_cycles_begins_again),
        TEST(the_ends_of_64_bits_are_no_overflow),
        TEST(it_can_be_set_and_begin_anew),
        TEST(what_makes_no_sense_is_refused),
        TEST(closing_gives_back_what_was_not_given),
        TEST(one_that_has_the_id_of_another_begins_at_its_start),
        TEST(taking_one_is_no_part_of_the_transaction),
        TEST(the_owner_of_the_gate_gets_one),
        TEST(a_primary_key_takes_numbers_for_nil_and_passes_those_that_are_chosen),
        TEST(no_number_is_given_twice_over_power_cuts),
        TEST(threads_get_each_number_once),
    };
    return engines_run_all("sequences", tests, sizeof tests / sizeof *tests);
}
