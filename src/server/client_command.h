/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_CLIENT_COMMAND_H
#define SERVER_CLIENT_COMMAND_H

/*
 * What the words have in common that are clients of a server and written in Lua (console, load, dump):
 * whom they speak to and how, and a LuaJIT state of their own without a database.
 */
#include <lua.h>
#include <stdbool.h>

#include "net/address.h"
#include "server/options.h"

struct client_arguments {
    const char *address; /* NULL: not given */
    const char *user;    /* NULL: the default one */
    bool tls, tls_insecure;
    const char *tls_values[4];         /* ca, cert, key, hostname; NULL: not given */
    char listen[ADDRESS_TEXT_MAX + 1]; /* the address, when it is the option's */
};

/*
 * Takes the words about TLS out of the arguments, wherever they are: they are no options of the database.
 * What follows one of the words "-x", with x a letter of `valued`, is its value and stays. Returns 0 or
 * ERROR_INVALID.
 */
int client_arguments_take(struct client_arguments *arguments, int *argc, char **argv,
                          const char *valued);

/* Without an address it is where a server with these options listens. Returns 0 or ERROR_INVALID. */
int client_address_default(struct client_arguments *arguments, const struct options *options);

/* Pushes {address, dir, user, password, admin_key, tls}, of which the last four may be nil. */
void client_arguments_push(lua_State *L, const struct client_arguments *arguments,
                           const struct options *options);

/* Opens the libraries of Lua and finds what is built in, and nothing else, for `require`. */
void client_state_open(lua_State *L);

#endif
