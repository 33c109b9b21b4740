/* SPDX-License-Identifier: Apache-2.0 */
/* JSON and base64: exact forms, what comes back, what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "codec/mp.h"

static struct mp_buffer value;
static struct json_buffer text;

static int setup(void **state)
{
    (void)state;
    mp_buffer_create(&value);
    json_buffer_create(&text);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mp_buffer_destroy(&value);
    json_buffer_destroy(&text);
    return 0;
}

/* What is in `value` is written so; and when `back`, read again as the same bytes. */
static void assert_json(const char *expected, bool back)
{
    const char *at = value.data;

    assert_int_equal(json_from_msgpack(&text, &at), 0);
    assert_ptr_equal(at, value.data + value.size);
    assert_int_equal(text.size, strlen(expected));
    assert_memory_equal(text.data, expected, text.size);
    if (back) {
        struct json_buffer again;
        json_buffer_create(&again);
        assert_int_equal(json_to_msgpack(text.data, text.size, &again), 0);
        assert_int_equal(again.size, value.size);
        assert_memory_equal(again.data, value.data, value.size);
        json_buffer_destroy(&again);
    }
    text.size = 0;
    mp_buffer_reset(&value, SIZE_MAX);
}

static void scalars_have_their_json_form_and_come_back(void **state)
{
    (void)state;
    mp_put_nil(&value);
    assert_json("null", true);
    mp_put_bool(&value, true);
    assert_json("true", true);
    mp_put_int(&value, INT64_MIN);
    assert_json("-9223372036854775808", true);
    mp_put_int(&value, INT64_MAX);
    assert_json("9223372036854775807", true);
    mp_put_double(&value, 1.0);
    assert_json("1.0", true);
    mp_put_double(&value, -0.0);
    assert_json("-0.0", true);
    mp_put_double(&value, 0.1);
    assert_json("0.1", true);
    mp_put_double(&value, 1e300);
    assert_json("1e+300", true);
    mp_put_str(&value, "a\"\\\n\x01\0\xc3\xa9", 8);
    assert_json("\"a\\\"\\\\\\n\\u0001\\u0000\xc3\xa9\"", true);
}

static void what_json_has_no_form_for_is_wrapped(void **state)
{
    (void)state;
    mp_put_bin(&value, "\xff\x00", 2);
    assert_json("{\"$bin\":\"/wA=\"}", true);
    mp_put_str(&value, "\xed\xa0\x80", 3); /* a surrogate */
    assert_json("{\"$bin\":\"7aCA\"}", false);
    mp_put_raw(&value,
               "\xc9\0\0\0\x01\xfe"
               "a",
               7);
    assert_json("{\"$ext\":-2,\"data\":\"YQ==\"}", true);
    mp_put_raw(&value,
               "\xd8\x05"
               "0123456789abcdef",
               18);
    assert_json("{\"$ext\":5,\"data\":\"MDEyMzQ1Njc4OWFiY2RlZg==\"}", false);
    mp_put_raw(&value, "\xc7\x03\x01\x02\x15\x0c", 6);
    assert_json("1.50", false);
    mp_put_raw(&value, "\xd8\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff", 18);
    assert_json("\"00000000-0000-0000-0000-0000000000ff\"", false);
    mp_put_raw(&value, "\xd7\x04\x80\x51\x01\0\0\0\0\0", 10);
    assert_json("\"1970-01-02T00:00:00Z\"", false);
    mp_put_raw(&value, "\xc7\x03\x06\x01\x00\x02", 6);
    assert_json("\"+2 years\"", false);
    mp_put_raw(&value, "\xd4\x01\x01", 3); /* no decimal, whatever its type says */
    assert_json("{\"$ext\":1,\"data\":\"AQ==\"}", false);
    mp_put_uint(&value, UINT64_MAX);
    assert_json("18446744073709551615", false);
    mp_put_double(&value, NAN);
    assert_json("null", false);
    mp_put_bin(&value, "text", 4);
    assert_json("\"text\"", false);
}

static void containers_nest_and_come_back(void **state)
{
    (void)state;
    mp_put_array(&value, 3);
    mp_put_map(&value, 2);
    mp_put_str(&value, "z", 1);
    mp_put_array(&value, 0);
    mp_put_str(&value, "a", 1);
    mp_put_map(&value, 0);
    mp_put_uint(&value, 7);
    mp_put_map(&value, 1);
    mp_put_str(&value, "$bin", 4);
    mp_put_str(&value, "!", 1);
    assert_json("[{\"z\":[],\"a\":{}},7,{\"$bin\":\"!\"}]", true);
}

static void map_keys_of_other_types_become_strings(void **state)
{
    (void)state;
    mp_put_map(&value, 3);
    mp_put_uint(&value, 1);
    mp_put_nil(&value);
    mp_put_array(&value, 1);
    mp_put_str(&value, "x", 1);
    mp_put_nil(&value);
    mp_put_bin(&value, "b", 1);
    mp_put_nil(&value);
    assert_json("{\"1\":null,\"[\\\"x\\\"]\":null,\"b\":null}", false);
}

/* Escapes of keys in keys would double with each level: sixty of them would fill the memory. */
static void maps_in_keys_of_maps_take_no_more_room_than_they_are_large(void **state)
{
    (void)state;
    for (unsigned level = 0; level < MP_DEPTH_MAX - 1; level++)
        mp_put_map(&value, 1);
    mp_put_str(&value, "a", 1);
    for (unsigned level = 0; level < MP_DEPTH_MAX - 1; level++)
        mp_put_nil(&value);
    const char *at = value.data;
    assert_int_equal(json_from_msgpack(&text, &at), 0);
    assert_ptr_equal(at, value.data + value.size);
    assert_true(text.size < 4 * value.size);
}

static void malformed_text_is_refused_with_its_place(void **state)
{
    (void)state;
    assert_int_equal(json_to_msgpack("[1,\n 2,,]", 9, &text), ERROR_INVALID);
    assert_non_null(strstr(diag_message(), "line 2"));
    assert_int_equal(json_to_msgpack("", 0, &text), ERROR_INVALID);
    assert_int_equal(json_to_msgpack("1 2", 3, &text), ERROR_INVALID);
    assert_int_equal(json_to_msgpack("\"\xff\"", 3, &text), ERROR_INVALID);
    assert_int_equal(json_to_msgpack("18446744073709551615", 20, &text), ERROR_INVALID);
}

static void deep_nesting_is_refused(void **state)
{
    char nested[2 * (MP_DEPTH_MAX + 1)];

    (void)state;
    memset(nested, '[', MP_DEPTH_MAX + 1);
    memset(nested + MP_DEPTH_MAX + 1, ']', MP_DEPTH_MAX + 1);
    assert_int_equal(json_to_msgpack(nested, sizeof(nested), &text), ERROR_INVALID);
    text.size = 0;
    assert_int_equal(json_to_msgpack(nested + 1, sizeof(nested) - 2, &text), 0);
    const char *at = text.data;
    assert_true(mp_check_limited(&at, text.data + text.size));
}

/* ------------------------------------------------------------------------------- what is large */

enum { LONG = 200 * 1000 };
static unsigned looks, looks_max; /* 0: as many as there are */

static int look(void *arg)
{
    assert_ptr_equal(arg, &looks);
    return ++looks == looks_max ? ERROR_TIMEOUT : 0;
}

static void look_from_now_on(struct json_buffer *buffer, unsigned max)
{
    buffer->look = look;
    buffer->look_arg = &looks;
    looks = 0;
    looks_max = max;
}

/* A string of so many bytes, in which characters of 1 to 4 stand. */
static void put_long_string(size_t shift)
{
    static const char characters[] = "\n\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80";
    char *string = malloc(LONG + sizeof characters);
    size_t size = shift;
    assert_non_null(string);
    memset(string, 'x', shift);
    for (; size < LONG; size += sizeof characters - 1)
        memcpy(string + size, characters, sizeof characters - 1);
    mp_put_str(&value, string, size);
    free(string);
}

static void put_long_bytes(size_t size)
{
    char *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t n = 0; n < size; n++)
        bytes[n] = (char)(n * 7);
    mp_put_bin(&value, bytes, size);
    free(bytes);
}

enum { MEMBERS = 3000 };

static void put_large(void)
{
    char key[16];
    mp_put_array(&value, 3 + 4 + 3);
    mp_put_array(&value, MEMBERS);
    for (int n = 0; n < MEMBERS; n++)
        mp_put_int(&value, n);
    mp_put_map(&value, MEMBERS);
    for (int n = 0; n < MEMBERS; n++) {
        mp_put_str(&value, key, (size_t)snprintf(key, sizeof key, "key %d", n));
        if (n % 3 == 0) {
            mp_put_int(&value, -n);
        } else if (n % 3 == 1) {
            mp_put_array(&value, 2);
            mp_put_str(&value, "text", 4);
            mp_put_nil(&value);
        } else {
            mp_put_map(&value, 1);
            mp_put_str(&value, "inner", 5);
            mp_put_double(&value, 0.5);
        }
    }
    mp_put_str(&value, "end", 3);
    for (size_t shift = 0; shift < 4; shift++)
        put_long_string(shift);
    for (size_t more = 0; more < 3; more++)
        put_long_bytes(LONG + more);
}

static void what_is_large_comes_back_with_looks_in_between(void **state)
{
    struct json_buffer again;
    (void)state;
    put_large();
    const char *at = value.data;
    look_from_now_on(&text, 0);
    assert_int_equal(json_from_msgpack(&text, &at), 0);
    assert_true(looks >= 7 * LONG / 65536);
    json_buffer_create(&again);
    look_from_now_on(&again, 0);
    assert_int_equal(json_to_msgpack(text.data, text.size, &again), 0);
    assert_true(looks >= text.size / 10000);
    assert_int_equal(again.size, value.size);
    assert_memory_equal(again.data, value.data, value.size);
    json_buffer_destroy(&again);
}

static void bytes_that_break_a_character_are_no_text_wherever_that_is(void **state)
{
    (void)state;
    for (size_t at = LONG / 2 - 4; at < LONG / 2 + 4; at++) {
        char *string = malloc(LONG / 2 + 8);
        assert_non_null(string);
        memset(string, 'x', LONG / 2 + 8);
        for (size_t n = 0; n + 3 <= at; n += 3)
            memcpy(string + n, "\xe2\x82\xac", 3);
        string[at] = (char)0x82;
        mp_buffer_reset(&value, 0);
        mp_put_str(&value, string, LONG / 2 + 8);
        free(string);
        const char *from = value.data;
        text.size = 0;
        assert_int_equal(json_from_msgpack(&text, &from), 0);
        assert_memory_equal(text.data, "{\"$bin\":", 8);
    }
}

static void a_look_ends_what_goes_on(void **state)
{
    struct json_buffer other;
    (void)state;
    put_large();
    const char *at = value.data;
    look_from_now_on(&text, 0);
    assert_int_equal(json_from_msgpack(&text, &at), 0);
    unsigned most = looks;
    for (unsigned n = 1; n <= most; n++) {
        at = value.data;
        json_buffer_create(&other);
        look_from_now_on(&other, n);
        assert_int_equal(json_from_msgpack(&other, &at), ERROR_TIMEOUT);
        assert_int_equal(looks, n);
        json_buffer_destroy(&other);
    }
    json_buffer_create(&other);
    look_from_now_on(&other, 0);
    assert_int_equal(json_to_msgpack(text.data, text.size, &other), 0);
    json_buffer_destroy(&other);
    most = looks;
    for (unsigned n = 1; n <= most; n += 1 + n / 8) {
        look_from_now_on(&other, n);
        assert_int_equal(json_to_msgpack(text.data, text.size, &other), ERROR_TIMEOUT);
        assert_int_equal(looks, n);
        json_buffer_destroy(&other);
    }
}

static void base64_is_strict_and_comes_back(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    static const char *const bad[] = {
        "Zg", "Zg=", "Zh==", "Zm9=", "====", "Z===", "Zg==Zg==", "Zm9\n", "Zm=v"};
    char out[16];

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        size_t size = strlen(pairs[i][0]), encoded = base64_size(size);
        base64_encode(out, pairs[i][0], size);
        assert_int_equal(encoded, strlen(pairs[i][1]));
        assert_memory_equal(out, pairs[i][1], encoded);
        assert_int_equal(base64_decode(out, pairs[i][1], encoded), size);
        assert_memory_equal(out, pairs[i][0], size);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(base64_decode(out, bad[i], strlen(bad[i])), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(scalars_have_their_json_form_and_come_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_json_has_no_form_for_is_wrapped, setup, teardown),
        cmocka_unit_test_setup_teardown(containers_nest_and_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(map_keys_of_other_types_become_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(maps_in_keys_of_maps_take_no_more_room_than_they_are_large,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_text_is_refused_with_its_place, setup, teardown),
        cmocka_unit_test_setup_teardown(deep_nesting_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_large_comes_back_with_looks_in_between, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(bytes_that_break_a_character_are_no_text_wherever_that_is,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_look_ends_what_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(base64_is_strict_and_comes_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
