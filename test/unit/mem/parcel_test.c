/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parcels: what is built around them, and who frees them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>
#include <string.h>

#include "mem/account.h"
#include "mem/parcel.h"
#include "mem/system.h"

static const size_t SIZES[] = {1, 100, PARCEL_BYTES_MIN, (2u << 20) - 100, 2u << 20, 5000000};
enum { SIZE_COUNT = sizeof SIZES / sizeof *SIZES };

static void it_has_room_in_front_and_begins_behind_a_multiple_of_8(void **state)
{
    (void)state;
    for (unsigned n = 0; n < SIZE_COUNT; n++) {
        struct parcel *parcel = parcel_new(SIZES[n]);
        assert_non_null(parcel);
        assert_int_equal(parcel_size(parcel), SIZES[n]);
        assert_int_equal((uintptr_t)parcel_data(parcel) % 8, 1);
        memset(parcel_data(parcel) - PARCEL_ROOM_BYTES, 7, PARCEL_ROOM_BYTES + SIZES[n]);
        assert_int_equal(parcel_size(parcel), SIZES[n]);
        parcel_drop(parcel);
    }
    parcel_drop(NULL);
}

static void the_first_that_asks_takes_it_and_the_last_hold_frees_it(void **state)
{
    (void)state;
    uint64_t before = account_bytes(ACCOUNT_BUFFER);
    for (unsigned n = 0; n < SIZE_COUNT; n++) {
        struct parcel *parcel = parcel_new(SIZES[n]);
        assert_true(account_bytes(ACCOUNT_BUFFER) > before + SIZES[n]);
        assert_true(parcel_take(parcel));
        assert_int_equal(account_bytes(ACCOUNT_BUFFER), before);
        assert_false(parcel_take(parcel));
        parcel_drop(parcel);
        memset(parcel_data(parcel), 7, SIZES[n]);
        parcel_drop(parcel);
        assert_int_equal(account_bytes(ACCOUNT_BUFFER), before);
    }
}

static void without_memory_there_is_none(void **state)
{
    (void)state;
    for (unsigned n = 0; n < SIZE_COUNT; n++) {
        system_fail_nth(1);
        assert_null(parcel_new(SIZES[n]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_room_in_front_and_begins_behind_a_multiple_of_8),
        cmocka_unit_test(the_first_that_asks_takes_it_and_the_last_hold_frees_it),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
