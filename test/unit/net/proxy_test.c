/* SPDX-License-Identifier: Apache-2.0 */

/* Headers of the PROXY protocol: right ones, in any pieces, and each way in which one can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"
#include "net/proxy.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static char header[PROXY_BYTES_MAX + 64];
static size_t header_size;

/* The first 16 bytes and what follows them; the length is as it should be. */
static void make(unsigned char version, unsigned char family, const void *rest, size_t size)
{
    memcpy(header, SIGNATURE, 12);
    header[12] = (char)version;
    header[13] = (char)family;
    header[14] = (char)(size >> 8);
    header[15] = (char)size;
    memcpy(header + 16, rest, size);
    header_size = 16 + size;
}

#define MAKE(version, family, rest) make(version, family, rest, sizeof(rest) - 1)
#define IPV4                        "\x0a\x01\x02\x03\x0a\x00\x00\x01\x30\x39\x18\xeb"

static int parse(struct proxy_header *out)
{
    char *exact = malloc(header_size); /* so that a byte read behind it is found */
    memcpy(exact, header, header_size);
    int rc = proxy_parse(exact, header_size, out);
    free(exact);
    return rc;
}

static void assert_addresses(const struct proxy_header *got, const char *from, const char *to)
{
    char text[ADDRESS_TEXT_MAX + 1];
    assert_true(got->known);
    address_format(&got->source, text);
    assert_string_equal(text, from);
    address_format(&got->destination, text);
    assert_string_equal(text, to);
}

static void addresses_of_each_family_are_read(void **state)
{
    (void)state;
    struct proxy_header got;
    MAKE(0x21, 0x11, IPV4);
    assert_int_equal(parse(&got), 28);
    assert_addresses(&got, "10.1.2.3:12345", "10.0.0.1:6379");
    char ipv6[36] = {[0] = 0x20, [1] = 0x01, [15] = 1, [31] = 1, [33] = 7, [35] = 8};
    make(0x21, 0x21, ipv6, sizeof ipv6);
    assert_int_equal(parse(&got), 52);
    assert_addresses(&got, "[2001::1]:7", "[::1]:8");
    char paths[216] = "/one";
    strcpy(paths + 108, "/two");
    make(0x21, 0x31, paths, sizeof paths);
    assert_int_equal(parse(&got), 232);
    assert_addresses(&got, "unix:/one", "unix:/two");
    memset(paths, 'x', sizeof paths);
    make(0x21, 0x31, paths, sizeof paths);
    assert_int_equal(parse(&got), 232);
}

static void a_proxy_that_speaks_for_itself_names_nobody(void **state)
{
    (void)state;
    struct proxy_header got;
    MAKE(0x20, 0x00, "");
    assert_int_equal(parse(&got), 16);
    assert_false(got.known);
    MAKE(0x20, 0x11, IPV4);
    assert_int_equal(parse(&got), 28);
    assert_false(got.known);
    MAKE(0x21, 0x00, "whatever");
    assert_int_equal(parse(&got), 24);
    assert_false(got.known);
}

static void a_header_may_come_in_any_pieces(void **state)
{
    (void)state;
    struct proxy_header got;
    MAKE(0x21, 0x11, IPV4 "\x04\x00\x03xyz");
    size_t whole = header_size;
    for (header_size = 0; header_size < whole; header_size++)
        assert_int_equal(parse(&got), 0);
    assert_int_equal(parse(&got), whole);
    header_size = whole + 5; /* what follows is not looked at */
    assert_int_equal(parse(&got), whole);
}

static void wrong(const char *what)
{
    struct proxy_header got;
    diag_clear();
    int rc = parse(&got);
    if (rc != ERROR_PROTOCOL)
        fail_msg("a header with %s was taken: %d", what, rc);
    assert_true(*diag_message());
}

static void what_does_not_begin_like_one_is_refused_at_its_first_wrong_byte(void **state)
{
    (void)state;
    for (size_t n = 0; n < 12; n++) {
        MAKE(0x21, 0x11, IPV4);
        header[n] ^= 0x20;
        header_size = n + 1;
        wrong("another signature");
    }
}

static void a_head_that_says_something_unknown_is_refused(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        struct proxy_header got;
        MAKE((unsigned char)byte, 0x11, IPV4);
        if (byte == 0x20 || byte == 0x21)
            assert_int_equal(parse(&got), 28);
        else
            wrong("an unknown version or command");
        make(0x21, (unsigned char)byte, (char[216]){0}, 216);
        if (byte >> 4 <= 3 && (byte & 15) <= 1)
            assert_int_equal(parse(&got), 232);
        else
            wrong("an unknown family or transport");
    }
}

static void lengths_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const struct {
        unsigned char family;
        size_t needs;
    } FAMILIES[] = {{0x11, 12}, {0x21, 36}, {0x31, 216}};
    char zeros[PROXY_BYTES_MAX] = {0};
    for (size_t n = 0; n < 3; n++)
        for (size_t size = 0; size < FAMILIES[n].needs; size++) {
            make(0x21, FAMILIES[n].family, zeros, size);
            header_size = 16; /* it is known before the rest has come */
            wrong("too few bytes for its addresses");
        }
    make(0x20, 0x00, zeros, PROXY_BYTES_MAX - 16);
    struct proxy_header got;
    assert_int_equal(parse(&got), PROXY_BYTES_MAX);
    header[15]++;
    header_size = 16;
    wrong("more bytes than there is room for");
}

static void tlvs_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct proxy_header got;
    MAKE(0x21, 0x11, IPV4 "\x04\x00\x00\x05\x00\x02yy");
    assert_int_equal(parse(&got), 36);
    MAKE(0x21, 0x11, IPV4 "\x04");
    wrong("a TLV of one byte");
    MAKE(0x21, 0x11, IPV4 "\x04\x00");
    wrong("a TLV of two bytes");
    MAKE(0x21, 0x11, IPV4 "\x04\x00\x01");
    wrong("a TLV that is longer than what is left");
    MAKE(0x21, 0x11, IPV4 "\x04\x00\x01z\x04\xff\xffz");
    wrong("a second TLV that is longer than what is left");
}

static void a_checksum_is_checked(void **state)
{
    (void)state;
    struct proxy_header got;
    MAKE(0x21, 0x11, IPV4 "\x03\x00\x04\0\0\0\0\x04\x00\x02zz");
    uint32_t crc = crc32c(0, header, header_size);
    for (int n = 0; n < 4; n++)
        header[31 + n] = (char)(crc >> (24 - 8 * n));
    assert_int_equal(parse(&got), header_size);
    for (size_t n = 16; n < header_size; n++) {
        if (n >= 28 && n < 31) /* the TLV's own type and length */
            continue;
        if (n >= 35 && n < 38)
            continue;
        header[n] ^= 1;
        wrong("another checksum");
        header[n] ^= 1;
    }
    MAKE(0x21, 0x11, IPV4 "\x03\x00\x03xyz");
    wrong("a checksum of three bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_each_family_are_read),
        cmocka_unit_test(a_proxy_that_speaks_for_itself_names_nobody),
        cmocka_unit_test(a_header_may_come_in_any_pieces),
        cmocka_unit_test(what_does_not_begin_like_one_is_refused_at_its_first_wrong_byte),
        cmocka_unit_test(a_head_that_says_something_unknown_is_refused),
        cmocka_unit_test(lengths_that_do_not_fit_are_refused),
        cmocka_unit_test(tlvs_that_do_not_fit_are_refused),
        cmocka_unit_test(a_checksum_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
