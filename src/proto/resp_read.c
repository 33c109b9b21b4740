/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RESP replies. An item is a line, and for strings with a size the bytes that it announces; an
 * aggregate's line says how many items follow. The scan counts down what is missing at each depth,
 * as codec/mp.c does for MessagePack. An attribute (RESP3) counts as an item that adds none to what
 * its surroundings miss.
 */
#include "proto/resp_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/number.h"

enum { LINE_BYTES_MAX = 64 * 1024, COUNT_MAX = 1 << 30 };

/* The bytes that a string's line announced, from *at on, and their CR LF. */
static int read_bytes(const char **at, const char *end, int64_t size, struct resp_item *item)
{
    if (end - *at < size + 2)
        return ERROR_AGAIN;
    if ((*at)[size] != '\r' || (*at)[size + 1] != '\n')
        return ERROR_PROTOCOL;
    item->text = *at;
    item->size = (size_t)size;
    *at += size + 2;
    return 0;
}

static int read_sized(const char **at, const char *end, struct resp_item *item)
{
    int64_t size;

    if (!number_read_int(item->text, item->size, &size) || size > COUNT_MAX)
        return ERROR_PROTOCOL;
    if (size == -1 && item->kind == RESP_BULK) {
        item->kind = RESP_NULL;
        item->size = 0;
        return 0;
    }
    if (size < 0 || (item->kind == RESP_VERBATIM && size < 4))
        return ERROR_PROTOCOL;
    return read_bytes(at, end, size, item);
}

static int read_count(struct resp_item *item)
{
    int64_t count;

    if (!number_read_int(item->text, item->size, &count) || count > COUNT_MAX)
        return ERROR_PROTOCOL;
    if (count == -1 && item->kind == RESP_ARRAY) {
        item->kind = RESP_NULL;
        item->size = 0;
        return 0;
    }
    if (count < 0)
        return ERROR_PROTOCOL;
    bool pairs = item->kind == RESP_MAP || item->kind == RESP_ATTRIBUTE;
    item->count = (size_t)count * (pairs ? 2 : 1);
    return 0;
}

static int read_double(struct resp_item *item)
{
    char text[64], *text_end;

    if (item->size == 0 || item->size >= sizeof(text))
        return ERROR_PROTOCOL;
    memcpy(text, item->text, item->size);
    text[item->size] = '\0';
    item->real = strtod(text, &text_end);
    return text_end == text + item->size ? 0 : ERROR_PROTOCOL;
}

static int kind_of(char first)
{
    static const char firsts[] = "+-:$_,#(=*%~>|";
    const char *found = first != '\0' ? strchr(firsts, first) : NULL;
    return found != NULL ? (int)(found - firsts) : -1;
}

/* The item whose line is in item->text; *at is behind the line. */
static int read_rest(const char **at, const char *end, struct resp_item *item)
{
    switch (item->kind) {
    case RESP_INTEGER:
        return number_read_int(item->text, item->size, &item->integer) ? 0 : ERROR_PROTOCOL;
    case RESP_DOUBLE:
        return read_double(item);
    case RESP_BOOLEAN:
        item->integer = item->size == 1 && item->text[0] == 't';
        return item->integer || (item->size == 1 && item->text[0] == 'f') ? 0 : ERROR_PROTOCOL;
    case RESP_NULL:
        return item->size == 0 ? 0 : ERROR_PROTOCOL;
    case RESP_BULK:
    case RESP_VERBATIM:
        return read_sized(at, end, item);
    case RESP_ARRAY:
    case RESP_MAP:
    case RESP_SET:
    case RESP_PUSH:
    case RESP_ATTRIBUTE:
        return read_count(item);
    default:
        return 0;
    }
}

int resp_item_read(const char **at, const char *end, struct resp_item *item)
{
    const char *line = *at;

    if (line >= end)
        return ERROR_AGAIN;
    int kind = kind_of(*line++);
    if (kind < 0)
        return ERROR_PROTOCOL;
    size_t visible = (size_t)(end - line);
    const char *line_end = memchr(line, '\r', visible < LINE_BYTES_MAX ? visible : LINE_BYTES_MAX);
    if (line_end == NULL)
        return visible < LINE_BYTES_MAX ? ERROR_AGAIN : ERROR_PROTOCOL;
    if (end - line_end < 2)
        return ERROR_AGAIN;
    if (line_end[1] != '\n')
        return ERROR_PROTOCOL;
    *item = (struct resp_item){
        .kind = (enum resp_item_kind)kind,
        .text = line,
        .size = (size_t)(line_end - line),
    };
    const char *next = line_end + 2;
    int rc = read_rest(&next, end, item);
    if (rc == 0)
        *at = next;
    return rc;
}

int resp_reply_scan(struct resp_reply_scan *scan, const char *data, size_t available, size_t *size)
{
    const char *at = data + scan->offset, *end = data + available;
    struct resp_item item;

    if (!scan->begun) {
        scan->begun = true;
        scan->left[0] = 1;
    }
    for (;;) {
        while (scan->left[scan->depth] == 0 && scan->depth > 0)
            scan->depth--;
        if (scan->left[scan->depth] == 0) {
            *size = scan->offset;
            return 0;
        }
        int rc = resp_item_read(&at, end, &item);
        if (rc != 0)
            return rc;
        scan->offset = (size_t)(at - data);
        if (item.kind != RESP_ATTRIBUTE)
            scan->left[scan->depth]--;
        if (item.count == 0)
            continue;
        if (scan->depth == RESP_REPLY_DEPTH_MAX)
            return ERROR_PROTOCOL;
        scan->left[++scan->depth] = item.count;
    }
}
