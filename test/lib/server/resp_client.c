/* SPDX-License-Identifier: Apache-2.0 */

/* The writing of commands and the reading of replies, in RESP2. */
#include "server/resp_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { COMMAND_MAX = 8192 };

bool resp_send(struct server_client *client, unsigned count, const char *const *arguments)
{
    char text[COMMAND_MAX];
    size_t size = (size_t)snprintf(text, sizeof text, "*%u\r\n", count);
    for (unsigned i = 0; i < count; i++) {
        size += (size_t)snprintf(text + size, sizeof text - size, "$%zu\r\n%s\r\n",
                                 strlen(arguments[i]), arguments[i]);
        ASSERT(size < sizeof text);
    }
    return server_client_send(client, text, size);
}

bool resp_sendf(struct server_client *client, const char *format, ...)
{
    char text[COMMAND_MAX];
    const char *arguments[RESP_ARGUMENTS_MAX];
    unsigned count = 0;
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ASSERT((size_t)size < sizeof text);
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        ASSERT(count < RESP_ARGUMENTS_MAX);
        arguments[count++] = word;
    }
    return resp_send(client, count, arguments);
}

static bool item_read(struct server_client *client, struct resp_reply *reply)
{
    char line[RESP_TEXT_MAX];
    if (!server_client_line(client, line, sizeof line))
        return false;
    ASSERT(reply->count < RESP_ITEMS_MAX);
    struct resp_item *item = &reply->items[reply->count++];
    *item = (struct resp_item){.type = line[0], .number = strtoll(line + 1, NULL, 10)};
    item->nil = (item->type == '$' || item->type == '*') && item->number < 0;
    if (item->type == '$' && !item->nil)
        return server_client_line(client, item->text, sizeof item->text);
    strcpy(item->text, line + 1);
    for (long long i = 0; item->type == '*' && i < item->number; i++)
        if (!item_read(client, reply))
            return false;
    return true;
}

bool resp_read(struct server_client *client, struct resp_reply *reply)
{
    reply->count = 0;
    return item_read(client, reply);
}

bool resp_is_error(const struct resp_reply *reply, const char *prefix)
{
    return reply->items[0].type == '-' &&
           strncmp(reply->items[0].text, prefix, strlen(prefix)) == 0;
}

const char *resp_lua(struct server_client *client, const char *text)
{
    static struct resp_reply reply;
    const char *const arguments[] = {"LUA", text};
    if (!resp_send(client, 2, arguments) || !resp_read(client, &reply))
        return NULL;
    if (reply.items[0].type == '-')
        fprintf(stderr, "%s: %s\n", text, reply.items[0].text);
    ASSERT(reply.items[0].type != '-');
    return reply.items[0].text;
}
