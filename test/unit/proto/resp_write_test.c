/* SPDX-License-Identifier: Apache-2.0 */
/* Replies: their bytes in both protocols, and that the client's reader takes them back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "proto/resp_read.h"
#include "proto/resp_write.h"

static struct mp_buffer buffer;

static int setup(void **state)
{
    (void)state;
    mp_buffer_create(&buffer);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mp_buffer_destroy(&buffer);
    return 0;
}

static void assert_written(const char *expected)
{
    assert_false(buffer.failed);
    mp_put_raw(&buffer, "", 1);
    assert_string_equal(buffer.data, expected);
    mp_buffer_reset(&buffer, SIZE_MAX);
}

static void replies_of_both_protocols_alike(void **state)
{
    (void)state;
    resp_put_ok(&buffer);
    resp_put_queued(&buffer);
    resp_put_pong(&buffer);
    resp_put_status(&buffer, "string");
    resp_put_integer(&buffer, 0);
    resp_put_integer(&buffer, -12);
    resp_put_integer(&buffer, INT64_MIN);
    resp_put_bulk(&buffer, "", 0);
    resp_put_bulk(&buffer, "0123456789", 10);
    resp_put_array(&buffer, 1234);
    assert_written("+OK\r\n+QUEUED\r\n+PONG\r\n+string\r\n:0\r\n:-12\r\n:-9223372036854775808\r\n"
                   "$0\r\n\r\n$10\r\n0123456789\r\n*1234\r\n");
}

static void an_error_stays_one_line(void **state)
{
    (void)state;
    resp_put_error(&buffer, "ERR", "no\r\n+OK");
    resp_put_error(&buffer, NULL, "WRONGTYPE wrong");
    resp_put_error_sized(&buffer, "", "abcdef", 3);
    assert_written("-ERR no  +OK\r\n-WRONGTYPE wrong\r\n-abc\r\n");
}

static void put_new_types(int protocol)
{
    resp_put_null(&buffer, protocol);
    resp_put_null_array(&buffer, protocol);
    resp_put_double(&buffer, protocol, 0.1);
    resp_put_double(&buffer, protocol, -INFINITY);
    resp_put_boolean(&buffer, protocol, true);
    resp_put_boolean(&buffer, protocol, false);
    resp_put_big_number(&buffer, protocol, "18446744073709551615", 20);
    resp_put_verbatim(&buffer, protocol, "txt", "moon", 4);
    resp_put_map(&buffer, protocol, 2);
    resp_put_set(&buffer, protocol, 3);
    resp_put_push(&buffer, protocol, 4);
}

static void types_of_resp3_have_a_form_in_each_protocol(void **state)
{
    (void)state;
    put_new_types(RESP2);
    assert_written(
        "$-1\r\n*-1\r\n$3\r\n0.1\r\n$4\r\n-inf\r\n:1\r\n:0\r\n$20\r\n18446744073709551615\r\n"
        "$4\r\nmoon\r\n*4\r\n*3\r\n*4\r\n");
    put_new_types(RESP3);
    assert_written(
        "_\r\n_\r\n,0.1\r\n,-inf\r\n#t\r\n#f\r\n(18446744073709551615\r\n=8\r\ntxt:moon\r\n%2\r\n"
        "~3\r\n>4\r\n");
}

/* One reply with everything in it. */
static void put_nested(void)
{
    resp_put_array(&buffer, 7);
    resp_put_map(&buffer, RESP3, 1);
    resp_put_bulk(&buffer, "k", 1);
    resp_put_set(&buffer, RESP3, 0);
    resp_put_double(&buffer, RESP3, 1.5);
    resp_put_integer(&buffer, -7);
    resp_put_null(&buffer, RESP3);
    resp_put_verbatim(&buffer, RESP3, "txt", "a\r\nb", 4);
    resp_put_boolean(&buffer, RESP3, true);
    resp_put_error(&buffer, "ERR", "x");
}

static void what_was_written_is_read_back(void **state)
{
    static const enum resp_item_kind kinds[] = {
        RESP_ARRAY,   RESP_MAP,  RESP_BULK,     RESP_SET,     RESP_DOUBLE,
        RESP_INTEGER, RESP_NULL, RESP_VERBATIM, RESP_BOOLEAN, RESP_ERROR};
    struct resp_item item;

    (void)state;
    put_nested();
    const char *at = buffer.data, *end = buffer.data + buffer.size;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        assert_int_equal(resp_item_read(&at, end, &item), 0);
        assert_int_equal(item.kind, kinds[i]);
        if (item.kind == RESP_MAP)
            assert_int_equal(item.count, 2);
        if (item.kind == RESP_DOUBLE)
            assert_true(item.real == 1.5);
        if (item.kind == RESP_INTEGER)
            assert_int_equal(item.integer, -7);
        if (item.kind == RESP_VERBATIM)
            assert_memory_equal(item.text, "txt:a\r\nb", 8);
    }
    assert_ptr_equal(at, end);
    assert_int_equal(resp_item_read(&at, end, &item), ERROR_AGAIN);
}

static void a_reply_in_pieces_is_found_when_it_is_whole(void **state)
{
    struct resp_reply_scan scan = {0};
    size_t size = 0;

    (void)state;
    put_nested();
    for (size_t part = 0; part < buffer.size; part++)
        assert_int_equal(resp_reply_scan(&scan, buffer.data, part, &size), ERROR_AGAIN);
    size_t whole = buffer.size;
    resp_put_ok(&buffer);
    assert_int_equal(resp_reply_scan(&scan, buffer.data, buffer.size, &size), 0);
    assert_int_equal(size, whole);
}

static void an_attribute_goes_with_the_reply_behind_it(void **state)
{
    const char text[] = "|1\r\n+a\r\n:1\r\n+OK\r\n";
    struct resp_reply_scan scan = {0};
    size_t size = 0;

    (void)state;
    assert_int_equal(resp_reply_scan(&scan, text, sizeof(text) - 6, &size), ERROR_AGAIN);
    assert_int_equal(resp_reply_scan(&scan, text, sizeof(text) - 1, &size), 0);
    assert_int_equal(size, sizeof(text) - 1);
}

static void what_is_no_reply_is_refused(void **state)
{
    static const char *const bad[] = {"PING\r\n",  "$a\r\n", "$-2\r\n",  "*-2\r\n",
                                      ":1.5\r\n",  "#x\r\n", "_x\r\n",   "$1\r\nabc",
                                      "=3\r\nabc", "+a\rb",  ",one\r\n", "%-1\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct resp_reply_scan scan = {0};
        size_t size;
        assert_int_equal(resp_reply_scan(&scan, bad[i], strlen(bad[i]), &size), ERROR_PROTOCOL);
    }
    for (int i = 0; i <= RESP_REPLY_DEPTH_MAX; i++)
        resp_put_array(&buffer, 1);
    struct resp_reply_scan scan = {0};
    size_t size;
    assert_int_equal(resp_reply_scan(&scan, buffer.data, buffer.size, &size), ERROR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replies_of_both_protocols_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_stays_one_line, setup, teardown),
        cmocka_unit_test_setup_teardown(types_of_resp3_have_a_form_in_each_protocol, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_written_is_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reply_in_pieces_is_found_when_it_is_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_attribute_goes_with_the_reply_behind_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_reply_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
