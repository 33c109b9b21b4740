/* SPDX-License-Identifier: Apache-2.0 */

/* The list of addresses that the option `listen` is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "net/listen.h"

static struct listen_entry entries[LISTEN_MAX];

static unsigned parsed(const char *text)
{
    unsigned count = 0;
    if (listen_parse(text, entries, &count))
        fail_msg("%s: %s", text, diag_message());
    return count;
}

static void one_address_is_a_list_of_one(void **state)
{
    (void)state;
    assert_int_equal(parsed("127.0.0.1:6379"), 1);
    assert_string_equal(entries[0].address, "127.0.0.1:6379");
    assert_false(entries[0].tls || entries[0].proxy);
    assert_int_equal(entries[0].mode, -1);
}

static void words_behind_an_address_belong_to_it(void **state)
{
    (void)state;
    assert_int_equal(
        parsed(" *:1 tls proxy ,[::1]:2,  unix:/run/a b/s mode=660,127.0.0.1:3\tproxy"), 4);
    assert_string_equal(entries[0].address, "*:1");
    assert_true(entries[0].tls && entries[0].proxy);
    assert_string_equal(entries[1].address, "[::1]:2");
    assert_false(entries[1].tls || entries[1].proxy);
    assert_string_equal(entries[2].address, "unix:/run/a b/s");
    assert_int_equal(entries[2].mode, 0660);
    assert_string_equal(entries[3].address, "127.0.0.1:3");
    assert_true(entries[3].proxy && !entries[3].tls);
}

static void what_is_no_list_is_refused(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"",
                                        " ",
                                        ",",
                                        "a:1,",
                                        ",a:1",
                                        "a:1,,b:2",
                                        "a:1 b:2",
                                        "a:1 tsl",
                                        "a:1 tls x",
                                        "tls a:1",
                                        "a:1 mode=600",
                                        "unix:s mode=",
                                        "unix:s mode=99",
                                        "unix:s mode=888",
                                        "unix:s mode=1777",
                                        "unix:s mode=06600"};
    unsigned count;
    for (size_t n = 0; n < sizeof TEXTS / sizeof *TEXTS; n++)
        if (listen_parse(TEXTS[n], entries, &count) != ERROR_INVALID)
            fail_msg("'%s' was taken for a list of addresses", TEXTS[n]);
}

static void what_is_too_long_is_refused(void **state)
{
    (void)state;
    char text[600] = "unix:";
    unsigned count;
    for (size_t size = 130; size < 500; size += 10) {
        memset(text + 5, 'x', size);
        text[5 + size] = 0;
        assert_int_equal(listen_parse(text, entries, &count), ERROR_INVALID);
    }
    char list[LISTEN_MAX * 4 + 8] = "";
    for (unsigned n = 0; n < LISTEN_MAX; n++)
        strcat(list, n ? ",a:1" : "a:1");
    assert_int_equal(parsed(list), LISTEN_MAX);
    strcat(list, ",a:1");
    assert_int_equal(listen_parse(list, entries, &count), ERROR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_is_a_list_of_one),
        cmocka_unit_test(words_behind_an_address_belong_to_it),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(what_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
