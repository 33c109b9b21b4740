/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-1 against the standard's examples and around the sizes where padding needs another block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lua/sha1.h"

static void assert_sha1(const char *text, size_t size, const char *expected)
{
    char digits[41];
    lua__sha1_hex(text, size, digits);
    assert_string_equal(digits, expected);
}

static void the_standards_examples_give_their_digests(void **state)
{
    (void)state;
    assert_sha1("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_sha1("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
}

static void padding_is_right_around_the_end_of_a_block(void **state)
{
    (void)state;
    char text[128];
    memset(text, 'a', sizeof text);
    assert_sha1(text, 55, "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    assert_sha1(text, 56, "c2db330f6083854c99d4b5bfb6e8f29f201be699");
    assert_sha1(text, 63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
    assert_sha1(text, 64, "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    assert_sha1(text, 65, "11655326c708d70319be2610e8a57d9a5b959d3b");
    assert_sha1(text, 119, "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
    assert_sha1(text, 120, "f34c1488385346a55709ba056ddd08280dd4c6d6");
    assert_sha1(text, 128, "ad5b3fdbcb526778c2839d2f151ea753995e26a0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standards_examples_give_their_digests),
        cmocka_unit_test(padding_is_right_around_the_end_of_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
