/* SPDX-License-Identifier: Apache-2.0 */

/* Streams: what lasts, what is counted, and writers of one stream beside each other. What each command
 * replies is compared with redis-server by test/redis. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "redis/redis_stream.h"
#include "redis/redis_test.h"

static void ids_only_grow(void **state)
{
    (void)state;
    expect("\"1000000-0\"", "xadd s * a 1");
    expect("\"1000000-1\"", "xadd s * a 2");
    expect("\"2000000-0\"", "xadd s 2000000-* a 3");
    expect("\"2000000-1\"", "xadd s * a 4");
    expect("!ERR The ID specified in XADD is equal or smaller than the target stream top item",
           "xadd s 2000000-1 a 5");
    expect("4", "xdel s 1000000-0 1000000-1 2000000-0 2000000-1");
    expect("1", "exists s");
    expect("\"2000000-2\"", "xadd s * a 6");
    expect("!ERR The ID specified in XADD must be greater than 0-0", "xadd t 0-0 a 1");
    expect("\"0-1\"", "xadd t 0-* a 1");
    expect("\"18446744073709551615-18446744073709551615\"",
           "xadd t 18446744073709551615-18446744073709551615 a 1");
    expect("!ERR The stream has exhausted the last possible ID, unable to add more items",
           "xadd t * a 1");
}

static void a_stream_lasts_with_its_groups(void **state)
{
    (void)state;
    expect("\"1-0\"", "xadd s 1 a 1");
    expect("\"2-0\"", "xadd s 2 b 2 c 3");
    expect("OK", "xgroup create s g 0");
    expect("[[\"s\" [[\"1-0\" [\"a\" \"1\"]]]]]", "xreadgroup group g c count 1 streams s >");
    redis_fixture_restart(fixture);
    expect("[[\"1-0\" [\"a\" \"1\"]] [\"2-0\" [\"b\" \"2\" \"c\" \"3\"]]]", "xrange s - +");
    expect("[1 \"1-0\" \"1-0\" [[\"c\" \"1\"]]]", "xpending s g");
    expect("[[\"s\" [[\"2-0\" [\"b\" \"2\" \"c\" \"3\"]]]]]", "xreadgroup group g d streams s >");
    expect("2", "xack s g 1-0 2-0");
    expect("[0 nil nil nil-array]", "xpending s g");
    expect("1", "xgroup destroy s g");
    expect("!NOGROUP No such key 's' or consumer group 'g'", "xpending s g");
    expect("OK", "xgroup create s h $");
    expect("!BUSYGROUP Consumer Group name already exists", "xgroup create s h $");
}

static void a_stream_goes_and_moves_as_a_whole(void **state)
{
    (void)state;
    expect("\"1-0\"", "xadd s 1 a 1");
    expect("OK", "xgroup create s g $");
    expect("1", "copy s t");
    expect("OK", "rename s u");
    expect("0", "xlen s");
    expect("1", "xlen t");
    expect("1", "del u");
    expect("[{\"name\" \"g\" \"consumers\" 0 \"pending\" 0 \"last-delivered-id\" \"1-0\" "
           "\"entries-read\" nil \"lag\" 0}]",
           "xinfo groups t");
    expect("stream", "type t");
}

static void names_of_groups_and_consumers_do_not_mix(void **state)
{
    (void)state;
    expect("\"1-0\"", "xadd s 1 a 1");
    expect("OK", "xgroup create s ab 0");
    expect("OK", "xgroup create s a 0");
    expect("1", "xgroup createconsumer s a bc");
    expect("1", "xgroup createconsumer s ab c");
    expect("1", "xgroup createconsumer s a b");
    expect("0", "xgroup delconsumer s a b");
    expect("1", "xgroup destroy s a");
    expect("0", "xgroup createconsumer s ab c");
}

static struct redis_call begin_on(struct db_worker *worker)
{
    struct redis_call call = {.worker = worker, .config = &fixture->config, .now_ms = 5};
    assert_int_equal(txn_begin(db_worker_txn(worker),
                               &(struct txn_options){.level = TXN_READ_COMMITTED}, &call.txn),
                     0);
    return call;
}

/* Who opens a stream to write it sees all that was committed before it had the tag, although its
 * snapshot was taken earlier. */
static void a_writer_sees_what_was_added_before_it_had_the_stream(void **state)
{
    (void)state;
    static const struct redis_slice NAME = {"s", 1};
    struct db_worker *other;
    struct stream stream;
    struct stream_id last;
    expect("\"1-0\"", "xadd s 1 a 1");
    assert_int_equal(redis_fixture_open(fixture, &other), 0);
    struct redis_call call = begin_on(other);
    expect("\"2-0\"", "xadd s 2 a 1");
    assert_int_equal(redis__stream_open(&call, &NAME, true, &stream), 0);
    assert_int_equal(stream.length, 2);
    assert_int_equal(redis__stream_entry_near(&stream, STREAM_ID_MAX, true, &last), 0);
    assert_int_equal(last.ms, 2);
    txn_rollback(call.txn);
    redis_fixture_close(fixture, other);
}

/* What was deleted before the first entry stays in the tree until a checkpoint: nobody walks over
 * it. */
static void the_first_entry_is_known(void **state)
{
    (void)state;
    static const struct redis_slice NAME = {"s", 1};
    struct stream stream;
    for (unsigned n = 1; n <= 200; n++)
        redis_fixture_run(fixture, "xadd s maxlen 3 %u a 1", n);
    struct redis_call call = begin_on(fixture->worker);
    assert_int_equal(redis__stream_open(&call, &NAME, false, &stream), 0);
    assert_int_equal(stream.first.ms, 198);
    txn_rollback(call.txn);
    expect("2", "xdel s 199 198");
    expect("[[\"200-0\" [\"a\" \"1\"]]]", "xrange s - +");
    expect("1", "xtrim s maxlen 0");
    expect("[]", "xrange s - +");
    expect("\"300-0\"", "xadd s 300 b 2");
    redis_fixture_restart(fixture);
    expect("[[\"300-0\" [\"b\" \"2\"]]]", "xrange s - + count 1");
    call = begin_on(fixture->worker);
    assert_int_equal(redis__stream_open(&call, &NAME, false, &stream), 0);
    assert_int_equal(stream.first.ms, 300);
    txn_rollback(call.txn);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, redis_setup, redis_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(ids_only_grow),
        WITH_FIXTURE(a_stream_lasts_with_its_groups),
        WITH_FIXTURE(a_stream_goes_and_moves_as_a_whole),
        WITH_FIXTURE(names_of_groups_and_consumers_do_not_mix),
        WITH_FIXTURE(the_first_entry_is_known),
        WITH_FIXTURE(a_writer_sees_what_was_added_before_it_had_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
