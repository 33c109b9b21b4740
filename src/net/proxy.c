/* SPDX-License-Identifier: Apache-2.0 */

/* Reads untrusted bytes: every length is checked before what it counts is looked at. */
#include "net/proxy.h"

#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"

static const unsigned char SIGNATURE[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                            0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum {
    COMMAND_LOCAL = 0,
    COMMAND_PROXY = 1,
    FAMILY_UNSPECIFIED = 0,
    FAMILY_INET = 1,
    FAMILY_INET6 = 2,
    FAMILY_UNIX = 3,
    TRANSPORT_UNSPECIFIED = 0,
    TRANSPORT_STREAM = 1,
    PATH_BYTES = 108,
    TLV_CRC32C = 3
};

static const size_t ADDRESS_BYTES[] = {
    [FAMILY_UNSPECIFIED] = 0, [FAMILY_INET] = 12, [FAMILY_INET6] = 36, [FAMILY_UNIX] = 216};

static unsigned big16(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static struct address ipv4(const unsigned char *host, const unsigned char *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct address out = {.size = sizeof in};
    memcpy(&in.sin_addr, host, 4);
    memcpy(&in.sin_port, port, 2);
    memcpy(&out.storage, &in, sizeof in);
    return out;
}

static struct address ipv6(const unsigned char *host, const unsigned char *port)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6};
    struct address out = {.size = sizeof in};
    memcpy(&in.sin6_addr, host, 16);
    memcpy(&in.sin6_port, port, 2);
    memcpy(&out.storage, &in, sizeof in);
    return out;
}

/* A path that fills all of its place has no zero at its end there, and loses its last byte here. */
static struct address path(const unsigned char *at)
{
    struct address out = {.size = sizeof out.path};
    out.path.sun_family = AF_UNIX;
    memcpy(out.path.sun_path, at, PATH_BYTES - 1);
    return out;
}

static void addresses_read(const unsigned char *at, unsigned family, struct proxy_header *out)
{
    out->known = true;
    if (family == FAMILY_INET) {
        out->source = ipv4(at, at + 8);
        out->destination = ipv4(at + 4, at + 10);
    } else if (family == FAMILY_INET6) {
        out->source = ipv6(at, at + 32);
        out->destination = ipv6(at + 16, at + 34);
    } else {
        out->source = path(at);
        out->destination = path(at + PATH_BYTES);
    }
}

/* Over the whole header with the checksum's own bytes as zeros. */
static bool checksum_right(const unsigned char *header, size_t size, size_t at)
{
    static const unsigned char ZEROS[4];
    uint32_t crc = crc32c(0, header, at);
    crc = crc32c(crc, ZEROS, sizeof ZEROS);
    crc = crc32c(crc, header + at + 4, size - at - 4);
    return crc == ((uint32_t)big16(header + at) << 16 | big16(header + at + 2));
}

static int tlvs_check(const unsigned char *header, size_t size, size_t at)
{
    while (at < size) {
        if (size - at < 3)
            return diag_set(ERROR_PROTOCOL, "the PROXY header ends within a TLV");
        unsigned type = header[at], length = big16(header + at + 1);
        at += 3;
        if (length > size - at)
            return diag_set(ERROR_PROTOCOL, "a TLV of the PROXY header is longer than the header");
        if (type == TLV_CRC32C && (length != 4 || !checksum_right(header, size, at)))
            return diag_set(ERROR_PROTOCOL, "the PROXY header's checksum is wrong");
        at += length;
    }
    return 0;
}

static int head_check(const unsigned char *data, size_t size)
{
    size_t seen = size < sizeof SIGNATURE ? size : sizeof SIGNATURE;
    if (memcmp(data, SIGNATURE, seen) != 0)
        return diag_set(ERROR_PROTOCOL, "this port expects a header of the PROXY protocol, "
                                        "version 2, at the start of each connection");
    if (size > 12 && data[12] >> 4 != 2)
        return diag_set(ERROR_PROTOCOL, "version %d of the PROXY protocol is not known, 2 is",
                        data[12] >> 4);
    if (size > 12 && (data[12] & 15) > COMMAND_PROXY)
        return diag_set(ERROR_PROTOCOL, "the PROXY header has an unknown command");
    if (size > 13 && (data[13] >> 4 > FAMILY_UNIX || (data[13] & 15) > TRANSPORT_STREAM))
        return diag_set(ERROR_PROTOCOL, "the PROXY header is about another kind of connection");
    return 0;
}

int proxy_parse(const char *bytes, size_t size, struct proxy_header *out)
{
    const unsigned char *data = (const unsigned char *)bytes;
    int rc = head_check(data, size);
    if (rc || size < PROXY_HEAD_BYTES)
        return rc;
    *out = (struct proxy_header){.known = false};
    size_t length = big16(data + 14), whole = PROXY_HEAD_BYTES + length;
    unsigned family = data[13] >> 4, transport = data[13] & 15;
    if (whole > PROXY_BYTES_MAX)
        return diag_set(ERROR_PROTOCOL, "the PROXY header has more than %d bytes", PROXY_BYTES_MAX);
    bool local = (data[12] & 15) == COMMAND_LOCAL;
    bool silent = local || family == FAMILY_UNSPECIFIED || transport == TRANSPORT_UNSPECIFIED;
    size_t addresses = ADDRESS_BYTES[family];
    if (!silent && length < addresses)
        return diag_set(ERROR_PROTOCOL, "the PROXY header is too short for its addresses");
    if (size < whole)
        return 0;
    if (silent)
        return (int)whole;
    addresses_read(data + PROXY_HEAD_BYTES, family, out);
    rc = tlvs_check(data, whole, PROXY_HEAD_BYTES + addresses);
    return rc ? rc : (int)whole;
}
