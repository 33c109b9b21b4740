/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_RESP_PARSE_H
#define PROTO_RESP_PARSE_H

/*
 * Bytes of a RESP connection to requests: arrays of bulk strings ("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
 * and inline commands ("GET k\r\n", with quotes and escapes as in Redis).
 *
 * Arguments are slices of the bytes that were parsed; nothing is copied but inline arguments that
 * had quotes. Several requests are parsed before the first is executed, so the arguments of all of
 * them stay until resp_parser_recycle.
 *
 *      while ((result = resp_parse(&parser, data, size, &request, &need)) == RESP_PARSE_DONE) {
 *          requests[count++] = request;
 *          data += request.size;
 *          size -= request.size;
 *      }
 *      ... execute them: resp_request_argv; the bytes have stayed where they were ...
 *      resp_parser_recycle(&parser);
 *      ... keep data[0..size), wait until `need` bytes are there, go on
 *
 * A request that is incomplete is resumed where it stopped: the next call gets its bytes from the
 * start again, more of them, possibly at another address.
 *
 * A large argument can be received apart from the other bytes, straight to where it is wanted: after
 * MORE, resp_bulk_begun says where among the bytes one begins. The caller takes it out of them, what has
 * come already and what comes, and when all of it is there, resp_bulk_apart says where it is; the bytes that
 * are parsed from then on are those in front of it and those behind it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis/redis.h"

enum {
    RESP_ARG_COUNT_MAX = 1024 * 1024,
    RESP_LINE_BYTES_MAX = 64 * 1024, /* of an inline request, or of the line that holds a count */
    RESP_UNAUTHENTICATED_ARG_COUNT_MAX = 10,
    RESP_UNAUTHENTICATED_BULK_BYTES_MAX = 16 * 1024,
    RESP_APART_MAX = 16, /* arguments of one request that are received apart */
};

struct resp_limits {
    size_t bulk_bytes_max;    /* of one argument */
    size_t request_bytes_max; /* of a whole request */
    size_t arg_count_max;
};

/* 512 MiB, 1 GiB, RESP_ARG_COUNT_MAX. */
struct resp_limits resp_limits_default(void);

/* Read only `error`; the rest is the parser's own. */
struct resp_parser {
    struct resp_limits limits;
    bool authenticated;

    struct redis_slice *args; /* of all requests since the last recycle, and of the one begun */
    size_t arg_count, arg_capacity;
    struct resp_scratch *scratch; /* bytes of inline arguments that had quotes */

    /* The request begun: */
    size_t first;     /* its first argument */
    size_t offset;    /* its bytes that are done with */
    size_t searched;  /* bytes in which the end of the current line was looked for in vain */
    size_t missing;   /* arguments to come, 0 before its count is known */
    size_t bulk_size; /* of the argument whose bytes come next, or SIZE_MAX before that is known */
    const char *base; /* where its arguments point into */
    /* Those of its arguments that were received apart, and their bytes. `apart_ends`: the line behind
     * the last of them is to come. */
    size_t apart[RESP_APART_MAX], apart_bytes;
    unsigned apart_count;
    bool apart_ends;

    char error[64]; /* after RESP_PARSE_ERROR, Redis's words without "ERR ": "Protocol error: .." */
};

struct resp_request {
    size_t first, argc; /* argc is 0 for an empty line or an empty array: nothing to do or answer */
    size_t size;        /* bytes that it took, */
    size_t apart_bytes; /* and those that were received apart */
};

/* MORE: incomplete. ERROR: the connection cannot be understood any further; answer -ERR and close.
 */
enum resp_parse_result { RESP_PARSE_DONE, RESP_PARSE_MORE, RESP_PARSE_ERROR };

/* Unauthenticated: with Redis's limits of ten arguments of 16 KiB, until resp_parser_authenticate.
 */
void resp_parser_create(struct resp_parser *parser, const struct resp_limits *limits,
                        bool authenticated);
void resp_parser_destroy(struct resp_parser *parser);
void resp_parser_authenticate(struct resp_parser *parser);

/*
 * Takes one request from the start of data[0..size). DONE: fills *request. MORE: sets *need to a
 * number of bytes, more than `size`, before which calling again is of no use. Never reads beyond
 * data + size.
 */
enum resp_parse_result resp_parse(struct resp_parser *parser, const char *data, size_t size,
                                  struct resp_request *request, size_t *need);

/* After MORE: the size of the argument whose bytes come next, if it is at least size_min, and in *offset
 * how many of the request's bytes stand in front of it. 0: there is none, or too many are apart. */
size_t resp_bulk_begun(const struct resp_parser *parser, size_t size_min, size_t *offset);

/* That argument is at `data`, whole, until resp_parser_recycle. False when memory is out. */
bool resp_bulk_apart(struct resp_parser *parser, const char *data);

/* The arguments of a request (NULL perhaps when it has none); valid until the next resp_parse or
 * resp_parser_recycle, while its bytes stay in place. */
static inline const struct redis_slice *resp_request_argv(const struct resp_parser *parser,
                                                          const struct resp_request *request)
{
    return parser->args != NULL ? parser->args + request->first : NULL;
}

/* Forgets the arguments of all complete requests. */
void resp_parser_recycle(struct resp_parser *parser);

#endif
