/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_ADMIN_KEY_H
#define SERVER_ADMIN_KEY_H

/*
 * Who may read the folder of a database may do everything with it: a server writes a password for
 * the user admin there, a new one at each start, which nobody else can read, and the commands of
 * this program that find it beside the address that they connect to say it.
 */
#include <stdbool.h>

#include "io/io.h"

enum { ADMIN_KEY_SIZE = 48 };

/* Makes a key, and keeps it in the folder until admin_key_forget. ERROR_IO. */
int admin_key_make(struct io *io, char key[ADMIN_KEY_SIZE + 1]);
void admin_key_forget(struct io *io);

/* The key of the server whose folder is `dir`, if it listens at `address`; else false. */
bool admin_key_find(const char *dir, const char *address, char key[ADMIN_KEY_SIZE + 1]);

#endif
