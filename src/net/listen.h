/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

/*
 * The option `listen`: addresses with commas between them, each with words behind it.
 *
 *   127.0.0.1:6379, [::1]:6379, *:6380 tls, 10.0.0.1:6381 proxy, unix:/run/perigee/socket mode=660
 *
 *   systemd, systemd:NAME tls                    sockets that were passed to the process (net/activation.h)
 *
 *   tls        clients speak TLS there
 *   proxy      each connection begins with a header of the PROXY protocol, version 2 (net/proxy.h)
 *   mode=660   what the file system lets others do with the socket, in octal digits
 */
#include <stdbool.h>

#include "net/address.h"

enum { LISTEN_MAX = 16 };

struct listen_entry {
    char address[ADDRESS_TEXT_MAX + 1]; /* as address_parse takes it */
    bool tls, proxy;
    int mode; /* -1: as the process's umask says */
};

/* Fills out[0..*count), at least one. ERROR_INVALID with diagnostics that say what is wrong; whether
 * an address is one is seen only when it is bound. */
int listen_parse(const char *text, struct listen_entry out[LISTEN_MAX], unsigned *count);

#endif
