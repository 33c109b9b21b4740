/* SPDX-License-Identifier: Apache-2.0 */

/* Commands on bits, and those that write over parts of strings, beside models of bytes and bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "redis/redis_increment.h"
#include "redis/redis_test.h"

#define WRONG_OFFSET "!ERR bit offset is not an integer or out of range"

static void bits_are_set_counted_and_found(void **state)
{
    (void)state;
    enum { BITS = 400, ROUNDS = 500 };
    bool model[BITS] = {false};
    unsigned size = 0; /* bits that the string has */
    struct random random;
    random_create(&random, test_seed());
    for (int n = 0; n < ROUNDS; n++) {
        unsigned at = (unsigned)random_below(&random, BITS), from, to, count = 0, first, bit;
        bool on = random_below(&random, 3) > 0;
        char reply[24];
        expect(model[at] ? "1" : "0", "setbit b %u %d", at, on);
        expect(on ? "1" : "0", "getbit b %u", at);
        model[at] = on;
        size = at / 8 * 8 + 8 > size ? at / 8 * 8 + 8 : size;
        from = (unsigned)random_below(&random, size);
        to = from + (unsigned)random_below(&random, size - from);
        bit = (unsigned)random_below(&random, 2);
        for (unsigned i = from; i <= to; i++)
            count += model[i];
        for (first = from; first <= to && model[first] != bit; first++)
            ;
        snprintf(reply, sizeof reply, "%u", count);
        expect(reply, "bitcount b %u %u bit", from, to);
        snprintf(reply, sizeof reply, "%d", first <= to ? (int)first : -1);
        expect(reply, "bitpos b %u %u %u bit", bit, from, to);
    }
}

static void what_is_no_offset_and_no_bit_is_refused(void **state)
{
    (void)state;
    expect(WRONG_OFFSET, "setbit b -1 1");
    expect(WRONG_OFFSET, "setbit b 4294967296 1");
    expect(WRONG_OFFSET, "getbit b x");
    expect(WRONG_OFFSET, "bitfield b get u8 #9223372036854775807");
    expect("!ERR bit is not an integer or out of range", "setbit b 1 2");
    expect("!ERR The bit argument must be 1 or 0.", "bitpos b 2");
    expect("0", "exists b");
}

static void strings_are_joined_bit_by_bit_as_if_zeros_followed(void **state)
{
    (void)state;
    expect("OK", "mset a abc b B");
    expect("3", "bitop and d a b");
    expect("1", "bitcount d 0 0");
    expect("0", "bitcount d 1 -1");
    expect("3", "bitop or d a b");
    expect("\"cbc\"", "get d");
    expect("3", "bitop xor d d a");
    expect("1", "bitcount d");
    expect("3", "bitop not d a");
    expect("3", "bitop not d d");
    expect("\"abc\"", "get d");
    expect("0", "bitop and d none");
    expect("0", "exists d");
    expect("!ERR BITOP NOT must be called with a single source key.", "bitop not d a b");
    expect("!ERR syntax error", "bitop nor d a b");
}

static void fields_wrap_stop_or_fail_when_they_overflow(void **state)
{
    (void)state;
    expect("[1 1]", "bitfield f incrby u2 100 1 overflow sat incrby u2 102 1");
    expect("[2 2]", "bitfield f incrby u2 100 1 overflow sat incrby u2 102 1");
    expect("[3 3]", "bitfield f incrby u2 100 1 overflow sat incrby u2 102 1");
    expect("[0 3]", "bitfield f incrby u2 100 1 overflow sat incrby u2 102 1");
    expect("[nil]", "bitfield f overflow fail incrby u2 102 1");
    expect("[0 127 -128 -1]",
           "bitfield g set i8 #0 127 get i8 #0 incrby i8 #0 1 overflow sat incrby i8 #0 127");
    expect("[0 -1 9223372036854775807]", "bitfield h set i64 0 -1 get i64 0 get u63 1");
    expect("[-1 9223372036854775807]",
           "bitfield h set i64 0 9223372036854775807 overflow sat incrby i64 0 1");
    expect("[9223372036854775807 -9223372036854775808]",
           "bitfield h get i64 0 overflow wrap incrby i64 0 1");
    expect("!ERR BITFIELD_RO only supports the GET subcommand", "bitfield_ro h set u8 0 1");
    expect("!ERR Invalid OVERFLOW type specified", "bitfield h overflow never get u8 0");
    expect("!ERR syntax error", "bitfield h get u8");
}

static void a_part_of_a_string_is_written_over(void **state)
{
    (void)state;
    expect("0", "setrange s 5 ''");
    expect("0", "exists s");
    expect("OK", "set s hello_world ex 100");
    expect("11", "setrange s 6 redis");
    expect("\"hello_redis\"", "get s");
    expect("100", "ttl s");
    expect("14", "setrange s 13 x");
    expect("!ERR offset is out of range", "setrange s -1 x");
    expect("!ERR string exceeds maximum allowed size (proto-max-bulk-len)",
           "setrange s 9223372036854775807 x");
}

static void fractions_are_added_in_80_bits(void **state)
{
    (void)state;
    expect("\"0.1\"", "incrbyfloat n 0.1");
    expect("\"0.3\"", "incrbyfloat n 0.2");
    expect("\"0\"", "incrbyfloat n -0.3");
    expect("\"5000\"", "incrbyfloat n 5.0e3");
    expect("!ERR value is not a valid float", "incrbyfloat n nan");
    expect("!ERR increment would produce NaN or Infinity", "incrbyfloat n inf");
    expect("OK", "set n x");
    expect("!ERR value is not a valid float", "incrbyfloat n 1");
    long double out;
    assert_false(redis_increment_parse(" 1", 2, &out));
    assert_false(redis_increment_parse("1 ", 2, &out));
    assert_false(redis_increment_parse("1e5000", 6, &out));
    assert_false(redis_increment_parse("1\0", 2, &out));
    assert_true(redis_increment_parse("0x10", 4, &out) && out == 16);
}

static void the_longest_common_subsequence_is_found_with_its_ranges(void **state)
{
    (void)state;
    expect("OK", "mset a ohmytext b mynewtext");
    expect("\"mytext\"", "lcs a b");
    expect("6", "lcs a b len");
    expect("{\"matches\" [[[4 7] [5 8]] [[2 3] [0 1]]] \"len\" 6}", "lcs a b idx");
    expect("{\"matches\" [[[4 7] [5 8] 4]] \"len\" 6}", "lcs a b idx minmatchlen 4 withmatchlen");
    expect("\"\"", "lcs a none");
    expect("!ERR If you want both the length and indexes, please just use IDX.", "lcs a b idx len");
    expect("!ERR syntax error", "lcs a b what");
}

#define WITH_DB(test) cmocka_unit_test_setup_teardown(test, redis_setup, redis_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DB(bits_are_set_counted_and_found),
        WITH_DB(what_is_no_offset_and_no_bit_is_refused),
        WITH_DB(strings_are_joined_bit_by_bit_as_if_zeros_followed),
        WITH_DB(fields_wrap_stop_or_fail_when_they_overflow),
        WITH_DB(a_part_of_a_string_is_written_over),
        WITH_DB(fractions_are_added_in_80_bits),
        WITH_DB(the_longest_common_subsequence_is_found_with_its_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
