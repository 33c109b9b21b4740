/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RESP request parser.
 *
 * A request is   '*' count CRLF, then count times   '$' size CRLF bytes CRLF
 * or, beginning with anything else, an inline command: a line of words.
 *
 * Lengths are what is left to parse of the first form, and nearly all are of one or two digits:
 * read_count's loop over digits is the hot path; whatever is not plainly digits, CR, LF goes to
 * read_count_slowly, which has all checks and texts. The bytes of arguments are never looked at.
 *
 * What has been found out about an incomplete request is in the parser: every byte is passed once,
 * and an end of line is not looked for twice in the same bytes. Whether and how parsing fails
 * depends only on the bytes, not on the pieces in which they came; so every check is made as soon
 * as the bytes that it needs are there, and limits count from the start of the request or line.
 *
 * Where Redis skips two bytes after each line or argument whatever they are, CR LF is demanded
 * here.
 */
#include "proto/resp_parse.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/number.h"
#include "mem/account.h"

enum { ARG_CAPACITY_MIN = 64, ARG_CAPACITY_KEPT = 64 * 1024 };

static const size_t SIZE_UNKNOWN = SIZE_MAX;

/* Memory of unquoted arguments, of one inline request. */
struct resp_scratch {
    struct resp_scratch *next;
    char data[];
};

struct resp_limits resp_limits_default(void)
{
    return (struct resp_limits){
        .bulk_bytes_max = 512u << 20,
        .request_bytes_max = 1024u << 20,
        .arg_count_max = RESP_ARG_COUNT_MAX,
    };
}

/* Gets ready for the next request. */
static void request_begin(struct resp_parser *parser)
{
    parser->first = parser->arg_count;
    parser->offset = 0;
    parser->searched = 0;
    parser->missing = 0;
    parser->bulk_size = SIZE_UNKNOWN;
    parser->base = NULL;
    parser->apart_bytes = 0;
    parser->apart_count = 0;
    parser->apart_ends = false;
}

void resp_parser_create(struct resp_parser *parser, const struct resp_limits *limits,
                        bool authenticated)
{
    memset(parser, 0, sizeof(*parser));
    parser->limits = *limits;
    parser->authenticated = authenticated;
    request_begin(parser);
}

static void scratch_free(struct resp_parser *parser)
{
    while (parser->scratch != NULL) {
        struct resp_scratch *next = parser->scratch->next;
        free(account_gone(ACCOUNT_NETWORK, parser->scratch));
        parser->scratch = next;
    }
}

void resp_parser_destroy(struct resp_parser *parser)
{
    scratch_free(parser);
    free(account_gone(ACCOUNT_NETWORK, parser->args));
    parser->args = NULL;
    parser->arg_count = parser->arg_capacity = 0;
}

void resp_parser_authenticate(struct resp_parser *parser)
{
    parser->authenticated = true;
}

void resp_parser_recycle(struct resp_parser *parser)
{
    size_t begun = parser->arg_count - parser->first;

    if (begun > 0 && parser->first > 0)
        memmove(parser->args, parser->args + parser->first, begun * sizeof(parser->args[0]));
    parser->arg_count = begun;
    parser->first = 0;
    scratch_free(parser);
    if (begun == 0 && parser->arg_capacity > ARG_CAPACITY_KEPT) {
        free(account_gone(ACCOUNT_NETWORK, parser->args));
        parser->args = NULL;
        parser->arg_capacity = 0;
    }
}

static enum resp_parse_result fail(struct resp_parser *parser, const char *what)
{
    snprintf(parser->error, sizeof(parser->error), "Protocol error: %s", what);
    return RESP_PARSE_ERROR;
}

static bool args_grow(struct resp_parser *parser)
{
    size_t capacity = parser->arg_capacity == 0 ? ARG_CAPACITY_MIN : 2 * parser->arg_capacity;
    struct redis_slice *args =
        account_resize(ACCOUNT_NETWORK, parser->args, capacity * sizeof(args[0]));

    if (args == NULL)
        return false;
    parser->args = args;
    parser->arg_capacity = capacity;
    return true;
}

static inline bool arg_add(struct resp_parser *parser, const char *data, size_t size)
{
    if (__builtin_expect(parser->arg_count == parser->arg_capacity, 0) && !args_grow(parser))
        return false;
    parser->args[parser->arg_count++] = (struct redis_slice){data, size};
    return true;
}

static enum resp_parse_result request_end(struct resp_parser *parser, size_t size,
                                          struct resp_request *request)
{
    *request = (struct resp_request){parser->first, parser->arg_count - parser->first, size,
                                     parser->apart_bytes};
    request_begin(parser);
    return RESP_PARSE_DONE;
}

/* --------------------------------------------------------------------------------------- inline */

/*
 * Finds the `mark` that ends the line at parser->offset. DONE: *line_size bytes before it. ERROR
 * has no text yet.
 */
static enum resp_parse_result find_line(struct resp_parser *parser, const char *data, size_t size,
                                        char mark, size_t *line_size, size_t *need)
{
    size_t from = parser->searched > parser->offset ? parser->searched : parser->offset;
    size_t limit = parser->offset + RESP_LINE_BYTES_MAX;
    size_t to = size < limit ? size : limit;
    const char *found = from < to ? memchr(data + from, mark, to - from) : NULL;

    if (found != NULL) {
        *line_size = (size_t)(found - data) - parser->offset;
        return RESP_PARSE_DONE;
    }
    if (size >= limit)
        return RESP_PARSE_ERROR;
    parser->searched = to;
    *need = size + 1;
    return RESP_PARSE_MORE;
}

static bool ends_word(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads what follows a backslash within double quotes: advances *at behind it and gives the byte it
 * stands for. */
static char unescape(const char **at, const char *end)
{
    static const char names[] = "n\nr\rt\tb\ba\a";
    const char *from = *at;

    if (*from == 'x' && end - from > 2 && hex_digit(from[1]) >= 0 && hex_digit(from[2]) >= 0) {
        *at = from + 3;
        return (char)(hex_digit(from[1]) << 4 | hex_digit(from[2]));
    }
    *at = from + 1;
    for (const char *name = names; *name != '\0'; name += 2) {
        if (*name == *from)
            return name[1];
    }
    return *from;
}

/* Copies a quoted stretch, whose opening quote is at **at, to *to and advances both. False when it
 * is not closed, or not by the end of the word. */
static bool unquote(const char **at, const char *end, char **to)
{
    const char *from = *at;
    char quote = *from++;

    while (from < end && *from != quote) {
        if (*from == '\\' && from + 1 < end && quote == '"') {
            from++;
            *(*to)++ = unescape(&from, end);
        } else if (*from == '\\' && from + 1 < end && from[1] == '\'') {
            *(*to)++ = '\'';
            from += 2;
        } else {
            *(*to)++ = *from++;
        }
    }
    if (from == end || (from + 1 < end && !isspace((unsigned char)from[1])))
        return false;
    *at = from + 1;
    return true;
}

/* Splits a line into words; with `to`, room for the line, quotes are taken out. 0, -1: quotes, -2:
 * memory. */
static int split_line(struct resp_parser *parser, const char *at, const char *end, char *to)
{
    for (;;) {
        while (at < end && isspace((unsigned char)*at))
            at++;
        if (at == end)
            return 0;
        const char *word = at;
        char *copy = to;
        while (at < end && !ends_word(*at)) {
            if (to == NULL)
                at++;
            else if (*at != '"' && *at != '\'')
                *to++ = *at++;
            else if (!unquote(&at, end, &to))
                return -1;
        }
        bool added = to == NULL ? arg_add(parser, word, (size_t)(at - word))
                                : arg_add(parser, copy, (size_t)(to - copy));
        if (!added)
            return -2;
    }
}

static char *scratch_alloc(struct resp_parser *parser, size_t size)
{
    struct resp_scratch *scratch = account_made(ACCOUNT_NETWORK, malloc(sizeof(*scratch) + size));

    if (scratch == NULL)
        return NULL;
    scratch->next = parser->scratch;
    parser->scratch = scratch;
    return scratch->data;
}

static enum resp_parse_result parse_inline(struct resp_parser *parser, const char *data,
                                           size_t size, struct resp_request *request, size_t *need)
{
    size_t line_size;
    enum resp_parse_result result = find_line(parser, data, size, '\n', &line_size, need);
    char *scratch = NULL;

    if (result == RESP_PARSE_ERROR)
        return fail(parser, "too big inline request");
    if (result != RESP_PARSE_DONE)
        return result;
    if (memchr(data, '"', line_size) != NULL || memchr(data, '\'', line_size) != NULL) {
        scratch = scratch_alloc(parser, line_size);
        if (scratch == NULL)
            return fail(parser, "out of memory");
    }
    int rc = split_line(parser, data, data + line_size, scratch);
    if (rc != 0)
        return fail(parser, rc == -1 ? "unbalanced quotes in request" : "out of memory");
    return request_end(parser, line_size + 1, request);
}

/* ------------------------------------------------------------------------------------ multibulk */

/* The line at parser->offset, of which no check has been made but its first byte's. */
static enum resp_parse_result read_count_slowly(struct resp_parser *parser, const char *data,
                                                size_t size, int64_t *count, size_t *need)
{
    bool array = data[parser->offset] == '*';
    const char *line = data + parser->offset + 1;
    size_t line_size;
    enum resp_parse_result result = find_line(parser, data, size, '\r', &line_size, need);

    if (result == RESP_PARSE_ERROR)
        return fail(parser, array ? "too big mbulk count string" : "too big bulk count string");
    if (result != RESP_PARSE_DONE)
        return result;
    size_t end = parser->offset + line_size + 2;
    if (!number_read_int(line, line_size - 1, count) || (size >= end && data[end - 1] != '\n'))
        return fail(parser, array ? "invalid multibulk length" : "invalid bulk length");
    if (size < end) {
        *need = end;
        return RESP_PARSE_MORE;
    }
    parser->offset = end;
    return RESP_PARSE_DONE;
}

/* Reads the number after the '*' or '$' at parser->offset, and passes the line. */
static inline enum resp_parse_result read_count(struct resp_parser *parser, const char *data,
                                                size_t size, int64_t *count, size_t *need)
{
    const char *at = data + parser->offset + 1, *end = data + size;
    unsigned value = 0, digits = 0;

    while (at < end && (unsigned char)(*at - '0') <= 9 && digits < 9) {
        value = value * 10 + (unsigned char)(*at - '0');
        at++;
        digits++;
    }
    bool plain = digits == 1 || (digits > 1 && at[-(int)digits] != '0');
    if (__builtin_expect(!plain || end - at < 2 || at[0] != '\r' || at[1] != '\n', 0))
        return read_count_slowly(parser, data, size, count, need);
    *count = value;
    parser->offset = (size_t)(at + 2 - data);
    return RESP_PARSE_DONE;
}

static enum resp_parse_result read_header(struct resp_parser *parser, const char *data, size_t size,
                                          size_t *need)
{
    int64_t count;
    enum resp_parse_result result = read_count(parser, data, size, &count, need);

    if (result != RESP_PARSE_DONE)
        return result;
    if (count > 0 && (uint64_t)count > parser->limits.arg_count_max)
        return fail(parser, "invalid multibulk length");
    if (count > RESP_UNAUTHENTICATED_ARG_COUNT_MAX && !parser->authenticated)
        return fail(parser, "unauthenticated multibulk length");
    parser->missing = count > 0 ? (size_t)count : 0;
    return RESP_PARSE_DONE;
}

static enum resp_parse_result fail_first_byte(struct resp_parser *parser, char got)
{
    char text[32];

    /* A byte that would end the reply's line, or its text, is not repeated. */
    if (got == '\0' || got == '\r' || got == '\n')
        got = ' ';
    snprintf(text, sizeof(text), "expected '$', got '%c'", got);
    return fail(parser, text);
}

static inline enum resp_parse_result read_bulk_size(struct resp_parser *parser, const char *data,
                                                    size_t size, size_t *need)
{
    int64_t count;

    if (parser->offset == size) {
        *need = size + 1;
        return RESP_PARSE_MORE;
    }
    if (__builtin_expect(data[parser->offset] != '$', 0))
        return fail_first_byte(parser, data[parser->offset]);
    enum resp_parse_result result = read_count(parser, data, size, &count, need);
    if (result != RESP_PARSE_DONE)
        return result;
    if (count < 0 || (uint64_t)count > parser->limits.bulk_bytes_max)
        return fail(parser, "invalid bulk length");
    if (count > RESP_UNAUTHENTICATED_BULK_BYTES_MAX && !parser->authenticated)
        return fail(parser, "unauthenticated bulk length");
    if (parser->offset + parser->apart_bytes + (size_t)count + 2 > parser->limits.request_bytes_max)
        return fail(parser, "too big request");
    parser->bulk_size = (size_t)count;
    return RESP_PARSE_DONE;
}

static inline enum resp_parse_result read_bulk(struct resp_parser *parser, const char *data,
                                               size_t size, size_t *need)
{
    const char *at = data + parser->offset;
    size_t left = size - parser->offset, bulk_size = parser->bulk_size;

    if (left < bulk_size + 2) {
        *need = parser->offset + bulk_size + 2;
        if (left == bulk_size + 1 && at[bulk_size] != '\r')
            return fail(parser, "expected CRLF after a bulk string");
        return RESP_PARSE_MORE;
    }
    if (__builtin_expect(at[bulk_size] != '\r' || at[bulk_size + 1] != '\n', 0))
        return fail(parser, "expected CRLF after a bulk string");
    if (!parser->apart_ends && !arg_add(parser, at, bulk_size))
        return fail(parser, "out of memory");
    parser->offset += bulk_size + 2;
    parser->bulk_size = SIZE_UNKNOWN;
    parser->apart_ends = false;
    parser->missing--;
    return RESP_PARSE_DONE;
}

size_t resp_bulk_begun(const struct resp_parser *parser, size_t size_min, size_t *offset)
{
    if (parser->missing == 0 || parser->bulk_size == SIZE_UNKNOWN || parser->apart_ends ||
        parser->bulk_size < size_min || parser->apart_count == RESP_APART_MAX)
        return 0;
    *offset = parser->offset;
    return parser->bulk_size;
}

bool resp_bulk_apart(struct resp_parser *parser, const char *data)
{
    size_t argument = parser->arg_count - parser->first;
    if (!arg_add(parser, data, parser->bulk_size))
        return false;
    parser->apart[parser->apart_count++] = argument;
    parser->apart_bytes += parser->bulk_size;
    parser->apart_ends = true;
    parser->bulk_size = 0;
    return true;
}

/* The bytes have moved since the arguments read so far were noted. */
static void rebase(struct resp_parser *parser, const char *data)
{
    unsigned apart = 0;
    for (size_t i = parser->first; i < parser->arg_count; i++) {
        if (apart < parser->apart_count && parser->apart[apart] == i - parser->first) {
            apart++;
            continue;
        }
        uintptr_t offset = (uintptr_t)parser->args[i].data - (uintptr_t)parser->base;
        parser->args[i].data = data + offset;
    }
}

static enum resp_parse_result parse_array(struct resp_parser *parser, const char *data, size_t size,
                                          struct resp_request *request, size_t *need)
{
    enum resp_parse_result result;

    if (parser->missing == 0) {
        result = read_header(parser, data, size, need);
        if (result != RESP_PARSE_DONE)
            return result;
    } else if (parser->base != data) {
        rebase(parser, data);
    }
    while (parser->missing > 0) {
        if (parser->bulk_size == SIZE_UNKNOWN) {
            result = read_bulk_size(parser, data, size, need);
            if (__builtin_expect(result != RESP_PARSE_DONE, 0))
                goto stop;
        }
        result = read_bulk(parser, data, size, need);
        if (__builtin_expect(result != RESP_PARSE_DONE, 0))
            goto stop;
    }
    return request_end(parser, parser->offset, request);
stop:
    parser->base = data;
    return result;
}

enum resp_parse_result resp_parse(struct resp_parser *parser, const char *data, size_t size,
                                  struct resp_request *request, size_t *need)
{
    ASSERT(size >= parser->offset);
    if (size == 0) {
        *need = 1;
        return RESP_PARSE_MORE;
    }
    if (__builtin_expect(data[0] == '*', 1))
        return parse_array(parser, data, size, request, need);
    return parse_inline(parser, data, size, request, need);
}
