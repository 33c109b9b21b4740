/* SPDX-License-Identifier: Apache-2.0 */
/* MessagePack: checking what comes from outside, whole and in pieces; growing buffers; reading in
 * place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/mp.h"

/* Checks a copy that ends where its memory ends, so that a sanitizer sees every byte read too far.
 */
static bool check(const char *data, size_t size, size_t *used)
{
    char *copy = calloc(1, size + (size == 0));
    if (size > 0)
        memcpy(copy, data, size);
    const char *at = copy;
    bool ok = mp_check_limited(&at, copy + size);

    *used = (size_t)(at - copy);
    free(copy);
    return ok;
}

static void put_one_of_each(struct mp_buffer *buffer)
{
    mp_put_array(buffer, 11);
    mp_put_nil(buffer);
    mp_put_bool(buffer, true);
    mp_put_uint(buffer, UINT64_MAX);
    mp_put_int(buffer, INT64_MIN);
    mp_put_int(buffer, 300);
    mp_put_double(buffer, 1.5);
    mp_put_str(buffer, "moon", 4);
    mp_put_bin(buffer, "\0\1", 2);
    mp_put_map(buffer, 1);
    mp_put_str(buffer, "k", 1);
    mp_put_array(buffer, 0);
    mp_put_raw(buffer,
               "\xc7\x03\x01"
               "abc",
               6); /* ext 8 */
    mp_put_raw(buffer,
               "\xd4\x02"
               "x",
               3); /* fixext 1 */
}

static void a_complete_value_is_accepted_and_no_prefix_of_it(void **state)
{
    struct mp_buffer buffer;
    size_t used;

    (void)state;
    mp_buffer_create(&buffer);
    put_one_of_each(&buffer);
    assert_false(buffer.failed);
    size_t size = buffer.size;
    mp_put_nil(&buffer);
    for (size_t part = 0; part < size; part++) {
        assert_false(check(buffer.data, part, &used));
        assert_int_equal(used, 0);
    }
    assert_true(check(buffer.data, buffer.size, &used));
    assert_int_equal(used, size);
    mp_buffer_destroy(&buffer);
}

static void every_first_byte_is_told_apart_as_the_format_says(void **state)
{
    char data[40] = {0};
    size_t used;

    (void)state;
    for (int first = 0; first < 256; first++) {
        data[0] = (char)first;
        const char *next = data;
        if (first == 0xc1) {
            assert_false(check(data, sizeof(data), &used));
            continue;
        }
        mp_next(&next);
        assert_true(check(data, sizeof(data), &used));
        assert_int_equal(used, next - data);
    }
}

static void nesting_is_bounded(void **state)
{
    char data[MP_DEPTH_MAX + 2];
    size_t used;

    (void)state;
    memset(data, '\x91', sizeof(data));
    data[MP_DEPTH_MAX] = '\xc0';
    assert_true(check(data, MP_DEPTH_MAX + 1, &used));
    data[MP_DEPTH_MAX] = '\x90';
    assert_false(check(data, MP_DEPTH_MAX + 1, &used));
    data[MP_DEPTH_MAX] = '\x91';
    data[MP_DEPTH_MAX + 1] = '\xc0';
    assert_false(check(data, MP_DEPTH_MAX + 2, &used));
}

static void headers_that_promise_too_much_are_incomplete(void **state)
{
    size_t used;

    (void)state;
    assert_false(check("\xdd\xff\xff\xff\xff\xc0", 6, &used));
    assert_false(check("\xdf\xff\xff\xff\xff\xc0\xc0", 7, &used));
    assert_false(check("\xdb\xff\xff\xff\xff"
                       "a",
                       6, &used));
    assert_false(check("\x92\xdf\x80\x00\x00\x00\xc0", 7, &used));
}

static void a_value_in_pieces_is_scanned_once_and_asks_for_what_it_needs(void **state)
{
    struct mp_buffer buffer;
    struct mp_scan scan;
    size_t need = 0, have = 0, turns = 0;
    enum mp_scan_result result;

    (void)state;
    mp_buffer_create(&buffer);
    mp_put_array(&buffer, 2);
    mp_put_bin(&buffer, "", 1);
    char *big = calloc(1, 100000);
    mp_put_str(&buffer, big, 100000);
    free(big);
    mp_scan_create(&scan);
    while ((result = mp_scan_advance(&scan, buffer.data, have, &need)) == MP_SCAN_MORE) {
        assert_true(need > have);
        assert_true(need <= buffer.size);
        have = need;
        turns++;
    }
    assert_int_equal(result, MP_SCAN_DONE);
    assert_int_equal(scan.offset, buffer.size);
    assert_true(turns < 10);
    mp_buffer_destroy(&buffer);
}

static void a_buffer_that_could_not_grow_stays_failed_until_reset(void **state)
{
    struct mp_buffer buffer;

    (void)state;
    mp_buffer_create(&buffer);
    mp_put_uint(&buffer, 1);
    assert_null(mp_buffer_reserve(&buffer, SIZE_MAX / 2));
    assert_true(buffer.failed);
    mp_put_uint(&buffer, 2);
    assert_int_equal(buffer.size, 1);
    mp_buffer_reset(&buffer, SIZE_MAX);
    mp_put_uint(&buffer, 3);
    assert_false(buffer.failed);
    assert_int_equal(buffer.size, 1);
    mp_buffer_reset(&buffer, 0);
    assert_int_equal(buffer.capacity, 0);
    mp_buffer_destroy(&buffer);
}

static void integers_are_read_when_they_fit(void **state)
{
    struct mp_buffer buffer;
    int64_t number;
    uint64_t magnitude;

    (void)state;
    mp_buffer_create(&buffer);
    put_one_of_each(&buffer);
    const char *at = mp_array_at(buffer.data, 2);
    assert_false(mp_read_int(&at, &number));
    assert_true(mp_read_uint(&at, &magnitude));
    assert_true(magnitude == UINT64_MAX);
    assert_ptr_equal(at, mp_array_at(buffer.data, 3));
    assert_false(mp_read_uint(&at, &magnitude));
    assert_true(mp_read_int(&at, &number));
    assert_true(number == INT64_MIN);
    assert_true(mp_read_int(&at, &number));
    assert_int_equal(number, 300);
    assert_false(mp_read_int(&at, &number));
    assert_null(mp_array_at(buffer.data, 11));
    assert_null(mp_array_at(mp_array_at(buffer.data, 6), 0));
    mp_buffer_destroy(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_complete_value_is_accepted_and_no_prefix_of_it),
        cmocka_unit_test(every_first_byte_is_told_apart_as_the_format_says),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(headers_that_promise_too_much_are_incomplete),
        cmocka_unit_test(a_value_in_pieces_is_scanned_once_and_asks_for_what_it_needs),
        cmocka_unit_test(a_buffer_that_could_not_grow_stays_failed_until_reset),
        cmocka_unit_test(integers_are_read_when_they_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
