/* SPDX-License-Identifier: Apache-2.0 */
/* Changes as events: who applies them has what the space has, from wherever he begins; nothing of
 * others is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "db/db_fixture.h"
#include "stream/stream.h"

enum { KEYS = 20, TEXT = 64, ROUNDS = 1500 };

/* What someone has who applies events. */
struct mirror {
    char rows[KEYS][TEXT]; /* as JSON, "" where there is none */
    uint64_t events, last_ts;
    bool dropped;
};

static int create(void **state)
{
    struct db_fixture *f = calloc(1, sizeof *f);
    db_fixture_open(f);
    *state = f;
    return 0;
}

static int destroy(void **state)
{
    db_fixture_close(*state);
    free(*state);
    return 0;
}

static void space_with_index(struct db_fixture *f, const char *name)
{
    assert_int_equal(make_space(f, name, NULL), 0);
    assert_int_equal(make_index(f, name, "primary", NULL), 0);
}

/* All that has been committed is durable. */
static void settle(struct db_fixture *f)
{
    struct wal *wal = db_wal(f->db);
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
}

static struct stream *open_at(struct db_fixture *f, const char *name, uint64_t from)
{
    struct stream *stream;
    const struct stream_options options = {.space_id = space_of(f, NULL, name)->id,
                                           .from_ts = from};
    int rc = stream_open(db_wal(f->db), &options, &stream);
    if (rc != 0)
        print_message("%s\n", diag_message_for(rc));
    assert_int_equal(rc, 0);
    return stream;
}

static int next(struct stream *stream, struct stream_event *event)
{
    int rc;
    do
        rc = stream_next(stream, event);
    while (rc == ERROR_BUSY);
    if (rc != 0 && rc != ERROR_AGAIN && rc != ERROR_END)
        print_message("%s\n", diag_message_for(rc));
    return rc;
}

static void apply(struct mirror *mirror, const struct stream_event *event)
{
    assert_true(event->ts >= mirror->last_ts);
    mirror->last_ts = event->ts;
    mirror->events++;
    if (event->operation == STREAM_TRUNCATE) {
        memset(mirror->rows, 0, sizeof mirror->rows);
        return;
    }
    if (event->operation == STREAM_DROP) {
        mirror->dropped = true;
        return;
    }
    const char *key = event->key;
    assert_int_equal(mp_decode_array(&key), 1);
    uint64_t id = mp_decode_uint(&key);
    assert_ptr_equal(key, event->key + event->key_size);
    assert_true(id < KEYS);
    mirror->rows[id][0] = 0;
    if (event->operation == STREAM_REPLACE) {
        const char *tuple = event->tuple;
        assert_int_equal(mp_decode_array(&tuple), 2);
        assert_int_equal(mp_decode_uint(&tuple), id);
        snprintf(mirror->rows[id], TEXT, "[%d,%d]", (int)id, (int)mp_decode_uint(&tuple));
    }
}

/* Applies all that there is; true when it has ended. */
static bool drain(struct stream *stream, struct mirror *mirror)
{
    struct stream_event event;
    int rc;
    while ((rc = next(stream, &event)) == 0)
        apply(mirror, &event);
    assert_true(rc == ERROR_AGAIN || rc == ERROR_END);
    return rc == ERROR_END;
}

static void expect_same(struct db_fixture *f, const char *name, const struct mirror *mirror)
{
    for (int id = 0; id < KEYS; id++) {
        char key[16];
        snprintf(key, sizeof key, "[%d]", id);
        const char *row = get_by(f, NULL, name, "primary", key);
        assert_string_equal(mirror->rows[id], row == NULL ? "" : row);
    }
}

static void put(struct db_fixture *f, struct txn *txn, const char *name, uint64_t id,
                uint64_t value)
{
    char tuple[TEXT];
    snprintf(tuple, sizeof tuple, "[%d,%d]", (int)id, (int)value);
    assert_int_equal(replace(f, txn, name, tuple), 0);
}

static void a_row_that_a_transaction_writes_twice_is_one_event(void **state)
{
    struct db_fixture *f = *state;
    struct stream_event event;
    space_with_index(f, "mine");
    settle(f);
    struct stream *stream = open_at(f, "mine", wal_follow_end(db_wal(f->db)));
    struct txn *txn = begin(f, 0, TXN_SERIALIZABLE);
    put(f, txn, "mine", 1, 1);
    put(f, txn, "mine", 1, 2);
    put(f, txn, "mine", 2, 3);
    assert_int_equal(txn_commit(txn), 0);
    settle(f);
    uint64_t before = stream_position(stream);
    assert_int_equal(next(stream, &event), 0);
    uint64_t ts = event.ts;
    assert_int_equal(stream_position(stream), ts - 1);
    assert_true(stream_position(stream) >= before);
    assert_int_equal(next(stream, &event), 0);
    assert_int_equal(event.ts, ts);
    assert_int_equal(next(stream, &event), ERROR_AGAIN);
    assert_true(stream_position(stream) >= ts);
    stream_close(stream);
}

static void a_truncation_and_a_drop_are_events(void **state)
{
    struct db_fixture *f = *state;
    struct mirror mirror = {0};
    space_with_index(f, "mine");
    settle(f);
    struct stream *stream = open_at(f, "mine", wal_follow_end(db_wal(f->db)));
    put(f, NULL, "mine", 1, 1);
    assert_int_equal(format_space(f, "mine", "[[\"id\",\"unsigned\"]]"), 0);
    put(f, NULL, "mine", 2, 1);
    settle(f);
    drain(stream, &mirror);
    assert_int_equal(mirror.events, 2);
    assert_int_equal(truncate_space(f, "mine"), 0);
    put(f, NULL, "mine", 3, 1);
    settle(f);
    drain(stream, &mirror);
    assert_int_equal(mirror.events, 4);
    expect_same(f, "mine", &mirror);
    assert_int_equal(drop_space(f, "mine"), 0);
    settle(f);
    assert_true(drain(stream, &mirror));
    assert_true(mirror.dropped);
    stream_close(stream);
}

static void nothing_is_told_of_a_space_that_had_the_number_before(void **state)
{
    struct db_fixture *f = *state;
    struct mirror mirror = {0};
    uint64_t begin_ts = wal_follow_begin(db_wal(f->db));
    space_with_index(f, "former");
    uint32_t id = space_of(f, NULL, "former")->id;
    put(f, NULL, "former", 1, 1);
    assert_int_equal(drop_space(f, "former"), 0);
    space_with_index(f, "mine");
    assert_int_equal(space_of(f, NULL, "mine")->id, id);
    put(f, NULL, "mine", 2, 2);
    settle(f);
    struct stream *stream = open_at(f, "mine", begin_ts);
    drain(stream, &mirror);
    assert_int_equal(mirror.events, 1);
    expect_same(f, "mine", &mirror);
    stream_close(stream);
}

static void change_at_random(struct db_fixture *f, struct random *random)
{
    static const char *const names[] = {"mine", "others"};
    const char *name = names[random_next(random) % 2];
    uint64_t id = random_next(random) % KEYS;
    char key[16];
    snprintf(key, sizeof key, "[%d]", (int)id);
    switch (random_next(random) % 16) {
    case 0:
        assert_int_equal(truncate_space(f, name), 0);
        break;
    case 1:
    case 2:
    case 3:
        assert_int_equal(delete_by(f, NULL, name, "primary", key), 0);
        break;
    case 4:
        assert_int_equal(db_checkpoint(f->db), 0);
        break;
    case 5:
    case 6: {
        struct txn *txn = begin(f, 0, TXN_SERIALIZABLE);
        for (uint64_t n = random_next(random) % 10; n > 0; n--)
            put(f, txn, names[random_next(random) % 2], random_next(random) % KEYS,
                random_next(random) % 1000);
        if (random_next(random) % 4 == 0)
            txn_rollback(txn);
        else
            assert_int_equal(txn_commit(txn), 0);
        break;
    }
    default:
        put(f, NULL, name, id, random_next(random) % 1000);
    }
}

static void who_applies_all_events_has_what_the_space_has(void **state)
{
    struct db_fixture *f = *state;
    struct random random;
    struct mirror mirror = {0}, stored = {0};
    random_create(&random, test_seed());
    space_with_index(f, "mine");
    space_with_index(f, "others");
    settle(f);
    uint64_t position = wal_follow_end(db_wal(f->db));
    struct stream *stream = open_at(f, "mine", position);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct stream_event event;
        change_at_random(f, &random);
        settle(f);
        for (uint64_t n = random_next(&random) % 4; n > 0 && next(stream, &event) == 0; n--)
            apply(&mirror, &event);
        if (random_next(&random) % 50 != 0)
            continue;
        position = stream_position(stream);
        bool whole = position >= mirror.last_ts; /* else all of the transaction comes again */
        stored = mirror;
        stored.last_ts = whole ? stored.last_ts : 0;
        stream_close(stream);
        if (random_next(&random) % 2 == 0)
            db_fixture_reopen(f);
        stream = open_at(f, "mine", position);
        mirror = stored;
    }
    settle(f);
    drain(stream, &mirror);
    expect_same(f, "mine", &mirror);
    stream_close(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_row_that_a_transaction_writes_twice_is_one_event, create,
                                        destroy),
        cmocka_unit_test_setup_teardown(a_truncation_and_a_drop_are_events, create, destroy),
        cmocka_unit_test_setup_teardown(nothing_is_told_of_a_space_that_had_the_number_before,
                                        create, destroy),
        cmocka_unit_test_setup_teardown(who_applies_all_events_has_what_the_space_has, create,
                                        destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
