/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_ACTIVATION_H
#define NET_ACTIVATION_H

/*
 * Sockets that were opened before the process began, by systemd or what speaks its protocol
 * (sd_listen_fds(3)): descriptors from 3 on, as many as LISTEN_FDS says, with the names in
 * LISTEN_FDNAMES; for the process that LISTEN_PID is. In `listen` they are `systemd`, all of them, or
 * `systemd:NAME`.
 */
#include <stdbool.h>

/* True when the address of an entry of `listen` is about such sockets. */
bool activation_is_meant(const char *address);

/* The descriptors that the address means, into fds[max]; how many that are, at least 1. They do not
 * block and are closed on exec. ERROR_NOT_FOUND (none has been passed, or none of this name),
 * ERROR_INVALID (one is no listening socket, or there are more than max), with diagnostics. */
int activation_take(const char *address, int *fds, unsigned max);

#endif
