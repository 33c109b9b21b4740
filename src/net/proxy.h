/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PROXY_H
#define NET_PROXY_H

/*
 * The PROXY protocol, version 2, as HAProxy's proxy-protocol.txt defines it: what stands between a
 * client and a server says first who the client is.
 *
 *   0            12        13         14        16
 *   │ signature  │ 2, cmd  │ family,  │ length  │ addresses and ports, then TLVs │
 *   │            │ 4 + 4   │ transport│ big end.│          `length` bytes        │
 *
 * Of the TLVs the checksum (CRC-32C, type 3) is checked when it is there; the others are only
 * checked for their lengths.
 */
#include <stdbool.h>
#include <stddef.h>

#include "net/address.h"

enum {
    PROXY_HEAD_BYTES = 16,
    PROXY_BYTES_MAX = PROXY_HEAD_BYTES + 4096 /* addresses take 216 at most; the rest is TLVs */
};

struct proxy_header {
    bool known; /* false: the proxy speaks for itself (LOCAL), or does not say who it is */
    struct address source, destination;
};

/*
 * Looks at what has come first on a connection. Returns how many bytes the header has; 0 when more
 * have to come; ERROR_PROTOCOL with diagnostics when this is none, as soon as that can be seen.
 */
int proxy_parse(const char *data, size_t size, struct proxy_header *out);

#endif
