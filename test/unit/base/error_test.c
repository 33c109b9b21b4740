/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of error codes: every code has a name, a text and a prefix of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"

static void each_code_is_negative_and_has_a_name_a_text_and_a_prefix(void **state)
{
    (void)state;
#define CHECK(code, value, prefix, text)             \
    assert_true((value) < 0);                        \
    assert_string_equal(error_name(code), #code);    \
    assert_string_equal(error_prefix(code), prefix); \
    assert_string_equal(error_text(code), text);
    ERROR_LIST(CHECK)
#undef CHECK
}

static void no_code_is_given_twice(void **state)
{
    (void)state;
#define VALUE(code, value, prefix, text) value,
    const int codes[] = {ERROR_LIST(VALUE)};
#undef VALUE
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(codes[i], codes[j]);
}

static void success_and_unknown_codes_have_names_too(void **state)
{
    (void)state;
    assert_string_equal(error_name(0), "OK");
    assert_string_equal(error_name(-9999), "ERROR_?");
    assert_string_equal(error_prefix(-9999), "ERR");
    assert_string_equal(error_text(-9999), "unknown error");
}

static void errno_values_become_the_code_that_says_the_same(void **state)
{
    (void)state;
    assert_int_equal(error_from_errno(0), 0);
    assert_int_equal(error_from_errno(ENOMEM), ERROR_MEMORY);
    assert_int_equal(error_from_errno(ENOENT), ERROR_NOT_FOUND);
    assert_int_equal(error_from_errno(EACCES), ERROR_ACCESS);
    assert_int_equal(error_from_errno(EIO), ERROR_IO);
    assert_int_equal(error_from_errno(ENOSPC), ERROR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_code_is_negative_and_has_a_name_a_text_and_a_prefix),
        cmocka_unit_test(no_code_is_given_twice),
        cmocka_unit_test(success_and_unknown_codes_have_names_too),
        cmocka_unit_test(errno_values_become_the_code_that_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
