/* SPDX-License-Identifier: Apache-2.0 */
/* JSON that leads back to the same MessagePack: exact forms, and random values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "codec/decimal.h"
#include "codec/json_exact.h"
#include "codec/mp.h"

enum { ROUNDS = 20000 };

static struct mp_buffer value;

static int setup(void **state)
{
    (void)state;
    mp_buffer_create(&value);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mp_buffer_destroy(&value);
    return 0;
}

/* What is in `value` is written so, unless `expected` is NULL, and read again as the same bytes. */
static void assert_exact(const char *expected)
{
    struct json_buffer text, again;
    const char *at = value.data;

    json_buffer_create(&text);
    json_buffer_create(&again);
    assert_int_equal(json_exact_from_msgpack(&text, &at), 0);
    assert_ptr_equal(at, value.data + value.size);
    if (expected) {
        assert_int_equal(text.size, strlen(expected));
        assert_memory_equal(text.data, expected, text.size);
    }
    assert_int_equal(json_to_msgpack(text.data, text.size, &again), 0);
    assert_int_equal(again.size, value.size);
    assert_memory_equal(again.data, value.data, value.size);
    json_buffer_destroy(&again);
    json_buffer_destroy(&text);
    mp_buffer_reset(&value, SIZE_MAX);
}

static void put_text(const char *text)
{
    mp_put_str(&value, text, (uint32_t)strlen(text));
}

static void values_of_json_are_written_as_they_are(void **state)
{
    (void)state;
    mp_put_map(&value, 1);
    put_text("a");
    mp_put_array(&value, 5);
    mp_put_nil(&value);
    mp_put_bool(&value, true);
    mp_put_int(&value, -5);
    mp_put_double(&value, 1);
    put_text("x\n");
    assert_exact("{\"a\":[null,true,-5,1.0,\"x\\n\"]}");
}

static void what_json_lacks_has_a_form_that_leads_back(void **state)
{
    struct decimal decimal;
    char packed[DECIMAL_MP_MAX];
    (void)state;
    mp_put_bin(&value, "\xff\x00", 2);
    assert_exact("{\"$bin\":\"/wA=\"}");
    mp_put_str(&value, "\xff", 1);
    assert_exact("{\"$msgpack\":\"of8=\"}");
    mp_put_uint(&value, UINT64_MAX);
    assert_exact("{\"$msgpack\":\"z///////////\"}");
    mp_put_double(&value, INFINITY);
    assert_exact("{\"$msgpack\":\"y3/wAAAAAAAA\"}");
    assert_int_equal(decimal_parse(&decimal, "-1.50", 5), 0);
    mp_put_raw(&value, packed, (size_t)(decimal_pack(packed, &decimal) - packed));
    assert_exact("{\"$decimal\":\"-1.50\"}");
    mp_put_ext(&value, 77, "x", 1);
    assert_exact("{\"$msgpack\":\"1E14\"}");
}

static void maps_that_json_would_mistake_are_packed(void **state)
{
    (void)state;
    mp_put_map(&value, 1);
    put_text("$uuid");
    put_text("64d22e4d-ac92-4a23-899a-e59f34af5479");
    assert_exact(NULL);
    mp_put_map(&value, 2);
    put_text("$ext");
    mp_put_uint(&value, 1);
    put_text("data");
    put_text("AA==");
    assert_exact(NULL);
    mp_put_map(&value, 2);
    put_text("twice");
    mp_put_uint(&value, 1);
    put_text("twice");
    mp_put_uint(&value, 2);
    assert_exact(NULL);
    mp_put_map(&value, 1);
    mp_put_uint(&value, 1);
    mp_put_uint(&value, 2);
    assert_exact(NULL);
    mp_put_map(&value, 1);
    mp_put_str(&value, "a\0b", 3);
    mp_put_nil(&value);
    assert_exact(NULL);
}

static void what_is_packed_counts_for_the_depth(void **state)
{
    struct json_buffer text, again;
    (void)state;
    json_buffer_create(&text);
    json_buffer_create(&again);
    for (int n = 0; n < MP_DEPTH_MAX; n++)
        json_append(&text, "[", 1);
    json_append(&text, "{\"$msgpack\":\"kA==\"}", 19); /* an empty array */
    for (int n = 0; n < MP_DEPTH_MAX; n++)
        json_append(&text, "]", 1);
    assert_int_not_equal(json_to_msgpack(text.data, text.size, &again), 0);
    again.size = 0;
    text.data[text.size - 1] = ' ';
    text.data[0] = ' ';
    assert_int_equal(json_to_msgpack(text.data, text.size, &again), 0);
    json_buffer_destroy(&again);
    json_buffer_destroy(&text);
}

static unsigned long long random_state;

static unsigned pick(unsigned bound)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(random_state >> 33) % bound;
}

static void put_random_text(void)
{
    static const char *const texts[] = {"",     "a",        "$bin", "$msgpack", "data",
                                        "\xff", "\xc3\xa4", "\"",   "\n"};
    put_text(texts[pick(sizeof texts / sizeof *texts)]);
}

static void put_random(unsigned depth)
{
    char bytes[4] = {(char)pick(256), (char)pick(256), 0, 0};
    uint64_t bits = (uint64_t)random_state * 0x9e3779b97f4a7c15;
    double number;
    unsigned count = pick(4);
    switch (pick(depth < 4 ? 10 : 8)) {
    case 0:
        mp_put_nil(&value);
        break;
    case 1:
        mp_put_bool(&value, pick(2));
        break;
    case 2:
        mp_put_uint(&value, bits >> pick(64));
        break;
    case 3:
        mp_put_int(&value, -1 - (int64_t)(bits >> (1 + pick(63))));
        break;
    case 4:
        memcpy(&number, &bits, sizeof number);
        mp_put_double(&value, number);
        break;
    case 5:
        mp_put_bin(&value, bytes, pick(5));
        break;
    case 6:
        mp_put_ext(&value, (int)pick(256) - 128, bytes, pick(5));
        break;
    case 7:
        put_random_text();
        break;
    case 8:
        mp_put_array(&value, count);
        while (count-- > 0)
            put_random(depth + 1);
        break;
    default:
        mp_put_map(&value, count);
        while (count-- > 0) {
            if (pick(8))
                put_random_text();
            else
                put_random(depth + 1);
            put_random(depth + 1);
        }
    }
}

static void random_values_come_back(void **state)
{
    (void)state;
    const char *given = getenv("PERIGEE_SEED");
    random_state = given ? strtoull(given, NULL, 10) : (unsigned long long)time(NULL);
    print_message("seed %llu\n", random_state);
    for (int round = 0; round < ROUNDS; round++) {
        put_random(0);
        assert_exact(NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_json_are_written_as_they_are),
        cmocka_unit_test(what_json_lacks_has_a_form_that_leads_back),
        cmocka_unit_test(maps_that_json_would_mistake_are_packed),
        cmocka_unit_test(what_is_packed_counts_for_the_depth),
        cmocka_unit_test(random_values_come_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
