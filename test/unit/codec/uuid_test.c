/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codec/uuid.h"

static void a_text_comes_back_in_lower_case(void **state)
{
    static const char text[] = "01234567-89AB-cdef-0123-456789ABCDEF";
    struct uuid uuid;
    char back[UUID_TEXT_SIZE + 1] = "";

    (void)state;
    assert_true(uuid_parse(&uuid, text, UUID_TEXT_SIZE));
    assert_memory_equal(uuid.bytes,
                        "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef", 16);
    uuid_print(&uuid, back);
    assert_string_equal(back, "01234567-89ab-cdef-0123-456789abcdef");
}

static void other_texts_are_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "01234567-89ab-cdef-0123-456789abcde",
                                        "01234567-89ab-cdef-0123-456789abcdeff",
                                        "0123456789ab-cdef-0123-456789abcdef0",
                                        "01234567-89ab-cdef-0123-456789abcdeg",
                                        "{1234567-89ab-cdef-0123-456789abcdef",
                                        "01234567-89ab-cdef-01234-56789abcdef"};
    struct uuid uuid;

    (void)state;
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(uuid_parse(&uuid, texts[i], strlen(texts[i])));
}

static void generated_ones_are_of_version_4_and_differ(void **state)
{
    struct uuid before = {{0}}, uuid;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(uuid_generate(&uuid), 0);
        assert_int_equal(uuid.bytes[6] >> 4, 4);
        assert_int_equal(uuid.bytes[8] >> 6, 2);
        assert_memory_not_equal(&uuid, &before, sizeof(uuid));
        before = uuid;
    }
}

static void bytes_come_back(void **state)
{
    struct uuid uuid, again;
    char bytes[UUID_MP_SIZE];

    (void)state;
    assert_int_equal(uuid_generate(&uuid), 0);
    assert_ptr_equal(uuid_pack(bytes, &uuid), bytes + UUID_MP_SIZE);
    assert_memory_equal(bytes, "\xd8\x02", 2);
    assert_true(uuid_unpack(&again, bytes + 2, UUID_SIZE));
    assert_memory_equal(&again, &uuid, sizeof(uuid));
    assert_false(uuid_unpack(&again, bytes + 2, UUID_SIZE - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_comes_back_in_lower_case),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(generated_ones_are_of_version_4_and_differ),
        cmocka_unit_test(bytes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
