/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SYSTEMD_H
#define SERVER_SYSTEMD_H

/*
 * What systemd is told, by its protocol of datagrams (sd_notify(3)): a line of NAME=value to the socket that
 * the environment names. Without such a socket all of it does nothing. Sockets that systemd has opened
 * are taken in net/activation.h.
 */
#include <stdbool.h>
#include <stdint.h>

/* Sends the text, as "READY=1\nSTATUS=...". False: nobody is to be told, or it could not be sent. From
 * any thread. */
bool systemd_notify(const char *text);

/* How often at least WATCHDOG=1 has to be sent, in milliseconds; 0: nobody waits for it. */
uint64_t systemd_watchdog_ms(void);

#endif
