/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_ASK_H
#define SERVER_ASK_H

/*
 * A client for commands that need something of a running server: RESP2, one request at a time,
 * blocking.
 */
#include <stddef.h>
#include <stdint.h>

struct ask;
struct client_arguments;

/* Connects to how->address, through TLS if `how` says so, as the admin if it is the server of the folder `dir`
 * (NULL: it is not), else with the password unless that is "". ERROR_IO, ERROR_INVALID, ERROR_AUTH. The caller
 * owns *out. */
int ask_open(const struct client_arguments *how, const char *dir, const char *password,
             struct ask **out);
void ask_close(struct ask *ask);

/* Sends a command and waits for its reply. An error reply is ERROR_PROTOCOL with its text. */
int ask_command(struct ask *ask, unsigned argc, const char *const *argv);

/* Of a reply that is a map: the text of a member, "" when it has none; valid until the next
 * command. */
const char *ask_member(struct ask *ask, const char *name);
uint64_t ask_number(struct ask *ask, const char *name);

#endif
