/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C against its published check values and a bit-by-bit computation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/crc32c.h"

static uint32_t bitwise(const unsigned char *data, size_t size)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

static void published_check_values_come_out(void **state)
{
    unsigned char zeros[32] = {0};

    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */
    assert_int_equal(crc32c(0, NULL, 0), 0);
}

static void every_length_agrees_with_the_definition(void **state)
{
    unsigned char data[300];

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 131 + 7);
    for (size_t size = 0; size < sizeof(data); size++)
        assert_int_equal(crc32c(0, data, size), bitwise(data, size));
}

static void pieces_give_the_value_of_the_whole(void **state)
{
    const char text[] = "the moon comes closest";

    (void)state;
    for (size_t cut = 0; cut < sizeof(text); cut++) {
        uint32_t first = crc32c(0, text, cut);
        assert_int_equal(crc32c(first, text + cut, sizeof(text) - cut),
                         crc32c(0, text, sizeof(text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_check_values_come_out),
        cmocka_unit_test(every_length_agrees_with_the_definition),
        cmocka_unit_test(pieces_give_the_value_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
