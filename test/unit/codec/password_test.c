/* SPDX-License-Identifier: Apache-2.0 */

/* codec/password.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "codec/password.h"

static void the_right_password_is_recognised_and_others_are_not(void **state)
{
    (void)state;
    struct password password;
    assert_int_equal(password_make(&password, "open sesame", 11), 0);
    assert_int_equal(password_verify(&password, "open sesame", 11), 0);
    assert_int_equal(password_verify(&password, "open sesamE", 11), ERROR_ACCESS);
    assert_int_equal(password_verify(&password, "open sesam", 10), ERROR_ACCESS);
    assert_int_equal(password_verify(&password, "", 0), ERROR_ACCESS);
}

static void the_hash_is_scrypt_as_rfc_7914_has_it(void **state)
{
    (void)state;
    /* The RFC's salts are shorter: this vector was computed with Python's hashlib.scrypt. */
    struct password password = {.n = 16384, .r = 8, .p = 1};
    static const unsigned char expected[PASSWORD_HASH_SIZE] = {
        0xcb, 0x07, 0x77, 0x2a, 0xe1, 0xb9, 0x37, 0xbe, 0x7e, 0xff, 0xe9,
        0xff, 0x0a, 0x37, 0xea, 0x77, 0x8a, 0xa3, 0xcd, 0x04, 0x1a, 0x9d,
        0x1d, 0x63, 0x23, 0x54, 0x8f, 0x7e, 0xb1, 0x4a, 0x5c, 0xd6};
    memcpy(password.salt, "SodiumChloride16", 16);
    memcpy(password.hash, expected, sizeof expected);
    assert_int_equal(password_verify(&password, "pleaseletmein", 13), 0);
}

static void two_records_of_one_password_differ(void **state)
{
    (void)state;
    struct password left, right;
    assert_int_equal(password_make(&left, "x", 1), 0);
    assert_int_equal(password_make(&right, "x", 1), 0);
    assert_memory_not_equal(left.salt, right.salt, sizeof left.salt);
    assert_memory_not_equal(left.hash, right.hash, sizeof left.hash);
}

static void parameters_that_would_cost_too_much_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t n, r, p;
    } bad[] = {{0, 8, 1},        {3, 8, 1},        {1 << 14, 0, 1},      {1 << 14, 8, 0},
               {1u << 31, 8, 1}, {1 << 20, 32, 1}, {1 << 14, 8, 1 << 20}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct password password = {.n = bad[i].n, .r = bad[i].r, .p = bad[i].p};
        assert_false(password_valid(&password));
        assert_int_equal(password_verify(&password, "x", 1), ERROR_INVALID);
    }
}

static void a_password_has_a_largest_size(void **state)
{
    (void)state;
    static char text[PASSWORD_SIZE_MAX + 1];
    struct password password;
    memset(text, 'a', sizeof text);
    assert_int_equal(password_make(&password, text, PASSWORD_SIZE_MAX), 0);
    assert_int_equal(password_verify(&password, text, PASSWORD_SIZE_MAX), 0);
    assert_int_equal(password_verify(&password, text, PASSWORD_SIZE_MAX + 1), ERROR_ACCESS);
    assert_int_equal(password_make(&password, text, PASSWORD_SIZE_MAX + 1), ERROR_INVALID);
}

static void a_fingerprint_depends_on_key_record_and_text(void **state)
{
    (void)state;
    unsigned char key[2][PASSWORD_FINGERPRINT_SIZE], prints[5][PASSWORD_FINGERPRINT_SIZE];
    struct password password = {.n = 2, .r = 1, .p = 1}, other = {.n = 4, .r = 1, .p = 1};
    assert_int_equal(password_random(key, sizeof key), 0);
    assert_true(password_fingerprint(prints[0], key[0], &password, "a", 1));
    assert_true(password_fingerprint(prints[1], key[0], &password, "a", 1));
    assert_true(password_fingerprint(prints[2], key[1], &password, "a", 1));
    assert_true(password_fingerprint(prints[3], key[0], &other, "a", 1));
    assert_true(password_fingerprint(prints[4], key[0], &password, "b", 1));
    assert_true(password_bytes_equal(prints[0], prints[1], sizeof *prints));
    for (int i = 2; i < 5; i++)
        assert_false(password_bytes_equal(prints[0], prints[i], sizeof *prints));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_right_password_is_recognised_and_others_are_not),
        cmocka_unit_test(the_hash_is_scrypt_as_rfc_7914_has_it),
        cmocka_unit_test(two_records_of_one_password_differ),
        cmocka_unit_test(parameters_that_would_cost_too_much_are_refused),
        cmocka_unit_test(a_password_has_a_largest_size),
        cmocka_unit_test(a_fingerprint_depends_on_key_record_and_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
