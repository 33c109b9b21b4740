/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_SERVER_RESP_CLIENT_H
#define TEST_LIB_SERVER_RESP_CLIENT_H

/*
 * Commands with any number of arguments over a server_client, and whole replies. A connection that
 * has gone makes every function say so, and ends no test.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "server/server_process.h"

enum { RESP_ARGUMENTS_MAX = 64, RESP_ITEMS_MAX = 64, RESP_TEXT_MAX = 2048 };

/* A part of a reply: '+', '-', ':' with their text, '$' a string, '*' an array of so many, whose
 * parts follow. nil is one of the last two. */
struct resp_item {
    char type;
    bool nil;
    long long number;         /* ':' and '*' */
    char text[RESP_TEXT_MAX]; /* no end of line in it */
};

struct resp_reply {
    unsigned count;
    struct resp_item items[RESP_ITEMS_MAX];
};

/* Sends one command; false when the connection is gone. */
bool resp_send(struct server_client *client, unsigned count, const char *const *arguments);

/* A command from a format whose words are separated by blanks. */
bool resp_sendf(struct server_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Reads the next reply; false when the connection is gone. */
bool resp_read(struct server_client *client, struct resp_reply *reply);

/*
 * Runs the text by LUA: the text of the reply's first part, valid until the next call; NULL when the
 * connection is gone. An error ends the test's program.
 */
const char *resp_lua(struct server_client *client, const char *text);

/* Whether the reply is an error that begins so. */
bool resp_is_error(const struct resp_reply *reply, const char *prefix);

#endif
