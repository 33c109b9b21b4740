/* SPDX-License-Identifier: Apache-2.0 */
/* Decimals: as another implementation computes them, and through text, bytes and order. */
#include <float.h>
#include <libgen.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/decimal.h"
#include "codec/mp.h"

static struct random rng;

static struct decimal parsed(const char *text)
{
    struct decimal value;
    assert_int_equal(decimal_parse(&value, text, strlen(text)), 0);
    assert_true(decimal_is_valid(&value));
    return value;
}

static const char *printed(const struct decimal *value)
{
    static char texts[4][DECIMAL_TEXT_MAX + 1];
    static unsigned next;
    char *text = texts[next++ % 4];
    assert_true(decimal_is_valid(value));
    text[decimal_print(value, text)] = '\0';
    return text;
}

/* Digits with a point somewhere; often few, often nines and zeros. */
static void random_text(char *out)
{
    unsigned count = 1 + (unsigned)random_below(&rng, random_below(&rng, 3) == 0 ? 38 : 12);
    unsigned point = (unsigned)random_below(&rng, count + 1),
             kind = (unsigned)random_below(&rng, 4);
    if (random_below(&rng, 2))
        *out++ = '-';
    if (point == 0)
        *out++ = '0';
    for (unsigned i = 0; i < count; i++) {
        if (i == point)
            *out++ = '.';
        unsigned digit = (unsigned)random_below(&rng, 10);
        if (kind == 0)
            digit = random_below(&rng, 8) ? 9 : digit;
        else if (kind == 1)
            digit = random_below(&rng, 8) ? 0 : digit;
        *out++ = (char)('0' + digit);
    }
    *out = '\0';
}

static struct decimal random_decimal(void)
{
    char text[64];
    random_text(text);
    return parsed(text);
}

static double random_double(void)
{
    uint64_t bits = random_next(&rng);
    double value;
    memcpy(&value, &bits, sizeof(value));
    if (random_below(&rng, 4) != 0 || !isfinite(value))
        value = ldexp((double)(int64_t)bits, (int)random_below(&rng, 260) - 200);
    return value;
}

/* ---------------------------------------------------------------------------- another's opinion */

static FILE *other_open(void)
{
    char file[] = __FILE__, command[1024];
    snprintf(command, sizeof(command), "/usr/bin/python3 '%s/decimal_check.py'", dirname(file));
    fflush(NULL);
    FILE *other = popen(command, "w");
    assert_non_null(other);
    return other;
}

static void other_agrees(FILE *other)
{
    assert_int_equal(pclose(other), 0);
}

static const char *outcome(int code, const struct decimal *value)
{
    assert_true(code == 0 || code == ERROR_TOO_LARGE || code == ERROR_INVALID);
    return code == 0 ? printed(value) : code == ERROR_TOO_LARGE ? "large" : "invalid";
}

static void check_binary(FILE *other, const struct decimal *a, const struct decimal *b)
{
    static const struct {
        const char *name;
        int (*function)(struct decimal *, const struct decimal *, const struct decimal *);
    } operations[] = {{"add", decimal_add},
                      {"subtract", decimal_subtract},
                      {"multiply", decimal_multiply},
                      {"divide", decimal_divide},
                      {"remainder", decimal_remainder}};
    for (unsigned i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        struct decimal result;
        int code = operations[i].function(&result, a, b);
        fprintf(other, "%s %s %s %s\n", operations[i].name, printed(a), printed(b),
                outcome(code, &result));
    }
    fprintf(other, "compare %s %s %d\n", printed(a), printed(b), decimal_compare(a, b));
}

static void arithmetic_gives_what_another_implementation_gives(void **state)
{
    static const char *const edges[] = {"0",
                                        "0.00",
                                        "1",
                                        "-1",
                                        "0.1",
                                        "99999999999999999999999999999999999999",
                                        "-99999999999999999999999999999999999999",
                                        "0.99999999999999999999999999999999999999",
                                        "0.00000000000000000000000000000000000001",
                                        "-0.00000000000000000000000000000000000005",
                                        "9.9999999999999999999999999999999999995",
                                        "10000000000000000000000000000000000000",
                                        "18446744073709551616",
                                        "340282366920938463463374607431768211456",
                                        "3.000",
                                        "7"};
    enum { EDGES = sizeof(edges) / sizeof(edges[0]) };
    FILE *other = other_open();

    (void)state;
    for (unsigned i = 0; i < EDGES * EDGES; i++) {
        if (strlen(edges[i / EDGES]) > 38 + 2 || strlen(edges[i % EDGES]) > 38 + 2)
            continue;
        struct decimal a, b;
        if (decimal_parse(&a, edges[i / EDGES], strlen(edges[i / EDGES])) == 0 &&
            decimal_parse(&b, edges[i % EDGES], strlen(edges[i % EDGES])) == 0)
            check_binary(other, &a, &b);
    }
    for (int i = 0; i < 6000; i++) {
        struct decimal a = random_decimal(), b = random_decimal();
        check_binary(other, &a, &b);
    }
    other_agrees(other);
}

static void functions_give_what_another_implementation_gives(void **state)
{
    static const struct {
        const char *name;
        int (*function)(struct decimal *, const struct decimal *);
    } functions[] = {
        {"sqrt", decimal_sqrt}, {"exp", decimal_exp}, {"ln", decimal_ln}, {"log10", decimal_log10}};
    FILE *other = other_open();

    (void)state;
    for (int i = 0; i < 500; i++) {
        struct decimal value = random_decimal(), small, result;
        for (unsigned n = 0; n < sizeof(functions) / sizeof(functions[0]); n++) {
            int code = functions[n].function(&result, &value);
            /* an error of ours for a logarithm of 0 is their infinity */
            bool none = n != 1 && (value.negative || (n > 1 && decimal_is_zero(&value)));
            assert_int_equal(code == ERROR_INVALID, none);
            if (!none)
                fprintf(other, "%s %s %s\n", functions[n].name, printed(&value),
                        outcome(code, &result));
        }
        /* exponents within the range of exp */
        struct decimal range = parsed("90");
        if (decimal_remainder(&small, &value, &range) == 0)
            fprintf(other, "exp %s %s\n", printed(&small),
                    outcome(decimal_exp(&result, &small), &result));
    }
    other_agrees(other);
}

static void powers_are_what_another_implementation_gives(void **state)
{
    static const char *const pairs[][2] = {{"2", "10"},
                                           {"1.5", "33"},
                                           {"-1.5", "33"},
                                           {"-2", "-3"},
                                           {"10", "37"},
                                           {"10", "38"},
                                           {"10", "-38"},
                                           {"0.1", "38"},
                                           {"0.1", "39"},
                                           {"4", "0.5"},
                                           {"2", "0.5"},
                                           {"1.10", "2"},
                                           {"1", "1e20"},
                                           {"-1", "1e20"},
                                           {"-1.0", "7"},
                                           {"1.00000000000000000000000001", "1e27"},
                                           {"7", "-0.5"},
                                           {"3", "79"},
                                           {"3", "80"},
                                           {"0.5", "126"},
                                           {"0.5", "200"},
                                           {"1.0000001", "-123456789.5"},
                                           {"9.9999999999999999999999999999999999999", "37"},
                                           {"0", "2.5"},
                                           {"5", "0"}};
    FILE *other = other_open();

    (void)state;
    for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct decimal base = parsed(pairs[i][0]), exponent = parsed(pairs[i][1]), result;
        int code = decimal_power(&result, &base, &exponent);
        fprintf(other, "power %s %s %s\n", pairs[i][0], pairs[i][1], outcome(code, &result));
    }
    for (int i = 0; i < 400; i++) {
        struct decimal base = random_decimal(), exponent = random_decimal(),
                       thousand = parsed("30");
        struct decimal result;
        decimal_abs(&base, &base);
        if (decimal_is_zero(&base) || decimal_remainder(&exponent, &exponent, &thousand) != 0)
            continue;
        if (i % 2)
            decimal_round(&exponent, &exponent, 0, DECIMAL_DOWN);
        int code = decimal_power(&result, &base, &exponent);
        fprintf(other, "power %s %s %s\n", printed(&base), printed(&exponent),
                outcome(code, &result));
    }
    other_agrees(other);
}

static void rounding_is_what_another_implementation_gives(void **state)
{
    static const char *const names[] = {"round", "trunc", "floor", "ceil"};
    FILE *other = other_open();

    (void)state;
    for (int i = 0; i < 5000; i++) {
        struct decimal value = random_decimal(), result;
        unsigned scale = (unsigned)random_below(&rng, 39), kind = (unsigned)random_below(&rng, 4);
        decimal_round(&result, &value, scale, (enum decimal_rounding)kind);
        fprintf(other, "%s %s %u %s\n", names[kind], printed(&value), scale, printed(&result));
        if (decimal_rescale(&result, &value, scale) == 0) {
            assert_int_equal(result.scale, scale);
            fprintf(other, "round %s %u %s\n", printed(&value), scale, printed(&result));
        } else {
            assert_true(scale > value.scale);
        }
    }
    other_agrees(other);
}

static void doubles_are_compared_and_converted_as_another_implementation_does(void **state)
{
    static const char *const edges[] = {"99999999999999999999999119949999999099",
                                        "99999999999999997748809823456034029568",
                                        "99999999999999997748809823456034029567"};
    FILE *other = other_open();

    (void)state;
    for (int i = 0; i < 10000; i++) {
        struct decimal value = random_decimal(), result;
        if (i < 6) { /* the double nearest to 10^38 is below it */
            value = parsed(edges[i % 3]);
            if (i >= 3)
                decimal_negate(&value, &value);
            fprintf(other, "compare_double %s %a %d\n", printed(&value), 1e38,
                    decimal_compare_double(&value, 1e38));
            fprintf(other, "compare_shortest %s %a %d\n", printed(&value), 1e38,
                    decimal_compare_shortest(&value, 1e38));
        }
        double number = random_double();
        if (i % 4 == 0)
            number = decimal_to_double(&value);
        if (i % 8 == 0)
            number = number == 0 ? 5e-324 : number * (1 + DBL_EPSILON);
        fprintf(other, "to_double %s %a\n", printed(&value), decimal_to_double(&value));
        fprintf(other, "floor_double %s %a\n", printed(&value), decimal_floor_double(&value));
        fprintf(other, "compare_double %s %a %d\n", printed(&value), number,
                decimal_compare_double(&value, number));
        fprintf(other, "compare_shortest %s %a %d\n", printed(&value), number,
                decimal_compare_shortest(&value, number));
        fprintf(other, "double %a %s\n", number,
                outcome(decimal_of_double(&result, number), &result));
    }
    other_agrees(other);
}

static void text_is_read_as_another_implementation_reads_it(void **state)
{
    FILE *other = other_open();

    (void)state;
    for (int i = 0; i < 10000; i++) {
        char text[160];
        struct decimal value;
        size_t size = 0;
        /* up to three times as many digits as fit, and an exponent */
        unsigned count = 1 + (unsigned)random_below(&rng, 120),
                 point = (unsigned)random_below(&rng, count + 1);
        if (random_below(&rng, 2))
            text[size++] = random_below(&rng, 2) ? '-' : '+';
        for (unsigned n = 0; n < count; n++) {
            if (n == point)
                text[size++] = '.';
            text[size++] = (char)('0' + (random_below(&rng, 3) ? random_below(&rng, 10) : 0));
        }
        text[size] = '\0';
        if (random_below(&rng, 2))
            size += (size_t)sprintf(text + size, "%c%d", random_below(&rng, 2) ? 'e' : 'E',
                                    (int)random_below(&rng, 240) - 120);
        fprintf(other, "parse %s %s\n", text, outcome(decimal_parse(&value, text, size), &value));
    }
    other_agrees(other);
}

/* -------------------------------------------------------------------------------- by itself */

static void what_is_no_number_is_refused(void **state)
{
    static const char *const texts[] = {"",      " ",    "nan", "NaN", "inf", "-Infinity", "abc",
                                        ".",     "-",    "e5",  "1e",  "1e+", "1 ",        " 1",
                                        "1.2.3", "0x10", "1_0", "--1", "+-1", "1e5.5",     "1,5"};
    struct decimal value = parsed("7");

    (void)state;
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(decimal_parse(&value, texts[i], strlen(texts[i])), ERROR_INVALID);
    assert_int_equal(decimal_parse(&value, "1\0", 2), ERROR_INVALID);
    assert_int_equal(decimal_of_double(&value, NAN), ERROR_INVALID);
    assert_int_equal(decimal_of_double(&value, -INFINITY), ERROR_INVALID);
    assert_int_equal(decimal_of_double(&value, 1e38), ERROR_TOO_LARGE);
    assert_int_equal(decimal_parse(&value, "1e38", 4), ERROR_TOO_LARGE);
    assert_int_equal(decimal_parse(&value, "1e999999999999", 14), ERROR_TOO_LARGE);
    assert_string_equal(printed(&value), "7");
    assert_int_equal(decimal_parse(&value, "1e-999999999999", 15), 0);
    assert_true(decimal_is_zero(&value));
}

static void text_keeps_the_scale_and_has_no_exponent(void **state)
{
    static const char *const pairs[][2] = {
        {"1.50", "1.50"},     {"-0", "0"},   {"-0.00", "0.00"},
        {"+5.", "5"},         {".5", "0.5"}, {"1e3", "1000"},
        {"1.5e-3", "0.0015"}, {"0e5", "0"},  {"1e-38", "0.00000000000000000000000000000000000001"},
        {"00012.0", "12.0"}};

    (void)state;
    for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct decimal value = parsed(pairs[i][0]);
        assert_string_equal(printed(&value), pairs[i][1]);
    }
    struct decimal longest = parsed("-0.12345678901234567890123456789012345678");
    assert_int_equal(strlen(printed(&longest)), DECIMAL_TEXT_MAX);
}

static void precision_and_scale_are_those_of_the_digits(void **state)
{
    static const struct {
        const char *text;
        unsigned precision, scale;
    } cases[] = {{"0", 1, 0},   {"1.50", 3, 2}, {"0.001", 3, 3},
                 {"123", 3, 0}, {"0.00", 2, 2}, {"-12.5", 3, 1}};

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct decimal value = parsed(cases[i].text);
        assert_int_equal(decimal_precision(&value), cases[i].precision);
        assert_int_equal(value.scale, cases[i].scale);
    }
}

/* The payload of an ext value of type 1. */
static bool unpacked(struct decimal *out, const char *bytes, size_t size)
{
    return decimal_unpack(out, bytes, size);
}

static void bytes_are_those_that_tarantool_writes(void **state)
{
    static const struct {
        const char *text, *bytes;
        size_t size;
    } cases[] = {
        {"1.5", "\xc7\x03\x01\x01\x01\x5c", 6}, {"-12.345", "\xd6\x01\x03\x12\x34\x5d", 6},
        {"0", "\xd5\x01\x00\x0c", 4},           {"-0.001", "\xd5\x01\x03\x1d", 4},
        {"123", "\xc7\x03\x01\x00\x12\x3c", 6}, {"0.00", "\xd5\x01\x02\x0c", 4},
    };
    char bytes[DECIMAL_MP_MAX];

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct decimal value = parsed(cases[i].text);
        assert_int_equal(decimal_pack(bytes, &value) - bytes, cases[i].size);
        assert_memory_equal(bytes, cases[i].bytes, cases[i].size);
    }
    /* what Tarantool writes for 1e37, and other signs that packed decimals know */
    struct decimal value, expected = parsed("1e37");
    assert_true(unpacked(&value, "\xd0\xdb\x1c", 3));
    assert_int_equal(decimal_compare(&value, &expected), 0);
    assert_true(unpacked(&value, "\x00\x1b", 2));
    assert_string_equal(printed(&value), "-1");
    assert_true(unpacked(&value, "\x00\x1f", 2));
    assert_string_equal(printed(&value), "1");
}

static void malformed_bytes_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"", 0},
        {"\x00", 1},
        {"\x00\x10", 2},
        {"\x00\xac", 2},
        {"\x00\x1c\x1c", 3},
        {"\x27\x1c", 2},
        {"\xcc", 1},
        {"\xc0\x1c", 2},
        {"\xda\x1c", 2},
        {"\xd0\xd9\x1c", 3},
        {"\xd0\xdb\x01\x0c", 4},
        {"\x00\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x1c",
         21},
        {"\x00\x00\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x1c",
         22},
    };
    struct decimal value;

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *copy = malloc(cases[i].size + 1); /* ends where the bytes do, but for none */
        memcpy(copy, cases[i].bytes, cases[i].size);
        assert_false(unpacked(&value, copy, cases[i].size));
        free(copy);
    }
}

static void text_and_bytes_come_back_as_they_were(void **state)
{
    (void)state;
    for (int i = 0; i < 50000; i++) {
        struct decimal value = random_decimal(), again;
        char bytes[DECIMAL_MP_MAX];
        const char *at = bytes, *text = printed(&value);
        uint32_t size;
        int type;

        char *end = decimal_pack(bytes, &value);
        assert_true((size_t)(end - bytes) <= sizeof(bytes));
        assert_true(mp_check_limited(&at, end));
        assert_ptr_equal(at, end);
        at = bytes;
        const char *payload = mp_read_ext(&at, &type, &size);
        assert_int_equal(type, DECIMAL_EXT);
        assert_true(decimal_unpack(&again, payload, size));
        assert_int_equal(decimal_compare(&again, &value), 0);
        assert_int_equal(again.scale, value.scale);
        again = parsed(text);
        assert_int_equal(decimal_compare(&again, &value), 0);
        assert_int_equal(again.scale, value.scale);
    }
}

static void ordered_bytes_order_as_the_values_do_and_come_back(void **state)
{
    (void)state;
    for (int i = 0; i < 100000; i++) {
        struct decimal a = random_decimal(), b = random_decimal(), step = parsed("0.001"), again;
        unsigned char a_bytes[DECIMAL_ORDERED_MAX], b_bytes[DECIMAL_ORDERED_MAX];
        if (i % 3 == 0 && decimal_add(&b, &a, &step) != 0)
            continue;
        if (i % 3 == 1)
            decimal_trim(&b, &a);
        size_t a_size = (size_t)(decimal_order_encode(&a, a_bytes) - a_bytes);
        size_t b_size = (size_t)(decimal_order_encode(&b, b_bytes) - b_bytes);
        int order = memcmp(a_bytes, b_bytes, a_size < b_size ? a_size : b_size);
        int expected = decimal_compare(&a, &b);
        assert_int_equal((order > 0) - (order < 0), expected);
        assert_true(expected != 0 || a_size == b_size);
        const unsigned char *at = a_bytes;
        assert_true(decimal_order_decode(&again, &at, a_bytes + a_size));
        assert_ptr_equal(at, a_bytes + a_size);
        assert_int_equal(decimal_compare(&again, &a), 0);
        at = a_bytes;
        assert_false(decimal_order_decode(&again, &at, a_bytes + a_size - 1));
    }
}

static void operands_may_be_the_result(void **state)
{
    struct decimal value = parsed("12.5"), two = parsed("2");

    (void)state;
    assert_int_equal(decimal_add(&value, &value, &value), 0);
    assert_string_equal(printed(&value), "25.0");
    assert_int_equal(decimal_divide(&value, &value, &two), 0);
    assert_string_equal(printed(&value), "12.5");
    assert_int_equal(decimal_power(&value, &value, &two), 0);
    assert_string_equal(printed(&value), "156.25");
    assert_int_equal(decimal_sqrt(&value, &value), 0);
    assert_string_equal(printed(&value), "12.5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_gives_what_another_implementation_gives),
        cmocka_unit_test(functions_give_what_another_implementation_gives),
        cmocka_unit_test(powers_are_what_another_implementation_gives),
        cmocka_unit_test(rounding_is_what_another_implementation_gives),
        cmocka_unit_test(doubles_are_compared_and_converted_as_another_implementation_does),
        cmocka_unit_test(text_is_read_as_another_implementation_reads_it),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(text_keeps_the_scale_and_has_no_exponent),
        cmocka_unit_test(precision_and_scale_are_those_of_the_digits),
        cmocka_unit_test(bytes_are_those_that_tarantool_writes),
        cmocka_unit_test(malformed_bytes_are_refused),
        cmocka_unit_test(text_and_bytes_come_back_as_they_were),
        cmocka_unit_test(ordered_bytes_order_as_the_values_do_and_come_back),
        cmocka_unit_test(operands_may_be_the_result),
    };

    random_create(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
