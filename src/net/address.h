/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

/*
 * Addresses as people write them:
 *
 *   127.0.0.1:6379   localhost:6379   [::1]:6379   a host and a port; port 0 lets the system pick
 *   *:6379                                         every IPv4 address of this machine
 *   unix:path                                      a socket in the file system
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { ADDRESS_TEXT_MAX = 127 };

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
        struct sockaddr_un path;
    };
    socklen_t size;
};

/* ERROR_INVALID with diagnostics that say what is wrong with it. Host names are looked up. */
int address_parse(const char *text, struct address *out);

/* As address_parse takes it, with the numbers of host and port; cut to ADDRESS_TEXT_MAX bytes. */
void address_format(const struct address *address, char out[ADDRESS_TEXT_MAX + 1]);

/* Only processes of this machine can be there: a loopback address or a unix socket. */
bool address_is_local(const struct address *address);

bool address_is_path(const struct address *address);

/* The TCP port, 0 when it has none. */
unsigned address_port(const struct address *address);

/* For a listener on every address of the machine: the loopback address with the same port, by which
 * a process of this machine reaches it. Any other address is left as it is. */
void address_reachable(struct address *address);

#endif
