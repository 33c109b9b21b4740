/* SPDX-License-Identifier: Apache-2.0 */

/* Addresses from text and back, and which of them only this machine can reach. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "net/address.h"

static struct address parsed(const char *text)
{
    struct address address;
    if (address_parse(text, &address))
        fail_msg("%s: %s", text, diag_message());
    return address;
}

static void addresses_come_back_as_they_were_written(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "127.0.0.1:6379",         "[::1]:7000", "0.0.0.0:1", "[::]:65535",
        "unix:/run/perigee.sock", "10.1.2.3:0"};
    for (size_t n = 0; n < sizeof TEXTS / sizeof *TEXTS; n++) {
        struct address address = parsed(TEXTS[n]);
        char text[ADDRESS_TEXT_MAX + 1];
        address_format(&address, text);
        assert_string_equal(text, TEXTS[n]);
    }
    assert_int_equal(address_port(&(struct address){0}), 0);
    struct address address = parsed("[::1]:7000");
    assert_int_equal(address_port(&address), 7000);
}

static void what_is_no_address_is_told_what_one_looks_like(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "",     "6379",  "127.0.0.1",   ":6379",         "::1:6379",   "127.0.0.1:", "[::1]",
        "[]:1", "unix:", "127.0.0.1:x", "1.2.3.4:65536", "1.2.3.4:-1", "[::1:5"};
    struct address address;
    for (size_t n = 0; n < sizeof TEXTS / sizeof *TEXTS; n++)
        if (address_parse(TEXTS[n], &address) != ERROR_INVALID)
            fail_msg("'%s' was taken for an address", TEXTS[n]);
    char path[300] = "unix:";
    memset(path + 5, 'x', 200);
    assert_int_equal(address_parse(path, &address), ERROR_INVALID);
}

static void only_loopback_and_paths_are_local(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool local;
    } CASES[] = {{"127.0.0.1:1", true},
                 {"127.9.9.9:1", true},
                 {"[::1]:1", true},
                 {"unix:/x", true},
                 {"0.0.0.0:1", false},
                 {"*:1", false},
                 {"[::]:1", false},
                 {"10.0.0.1:1", false},
                 {"[::ffff:127.0.0.1]:1", true},
                 {"[::ffff:10.0.0.1]:1", false},
                 {"126.0.0.1:1", false}};
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        struct address address = parsed(CASES[n].text);
        if (address_is_local(&address) != CASES[n].local)
            fail_msg("%s", CASES[n].text);
    }
}

static void a_listener_on_all_addresses_is_reached_by_loopback(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {{"0.0.0.0:7", "127.0.0.1:7"},
                                           {"[::]:7", "[::1]:7"},
                                           {"10.0.0.1:7", "10.0.0.1:7"},
                                           {"unix:/x", "unix:/x"}};
    for (size_t n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        struct address address = parsed(CASES[n][0]);
        char text[ADDRESS_TEXT_MAX + 1];
        address_reachable(&address);
        address_format(&address, text);
        assert_string_equal(text, CASES[n][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_come_back_as_they_were_written),
        cmocka_unit_test(what_is_no_address_is_told_what_one_looks_like),
        cmocka_unit_test(only_loopback_and_paths_are_local),
        cmocka_unit_test(a_listener_on_all_addresses_is_reached_by_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
