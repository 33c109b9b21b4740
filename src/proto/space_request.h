/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_SPACE_REQUEST_H
#define PROTO_SPACE_REQUEST_H

/*
 * Requests on spaces, as they come in arguments: SPACE.SELECT accounts [] INDEX by_owner LIMIT 10.
 *
 *   native, json   words are themselves, numbers their digits, values JSON text
 *   msgpack        every argument is one MessagePack value: words are strings, numbers integers
 *
 * Options are words with their values behind them, or one map in their place. What comes out is
 * checked MessagePack, nested at most MP_DEPTH_MAX deep; a key that is no array is made an array of
 * one, but those in a list of keys are left as they are. It lies in the arguments, or in a buffer of the caller's.
 */
#include <stdbool.h>
#include <stdint.h>

#include "codec/json.h"
#include "codec/mp.h"
#include "redis/redis.h"

/* How values travel: in arguments, and in results. */
enum wire_format { WIRE_NATIVE, WIRE_JSON, WIRE_MSGPACK };

/* "native" and so on in either case, or -1; and back. */
int wire_format_parse(const char *name, size_t size);
const char *wire_format_name(enum wire_format format);

/*
 * One argument. `what` is what the message of ERROR_INVALID calls it ("the tuple"). _text: a word,
 * in the argument. _number: of rows. _value: appends one value to `out`. ERROR_INVALID,
 * ERROR_MEMORY.
 */
int wire_take_text(enum wire_format format, const struct redis_slice *arg, const char *what,
                   struct redis_slice *out);
int wire_take_number(enum wire_format format, const struct redis_slice *arg, const char *what,
                     uint64_t *out);
int wire_take_value(enum wire_format format, const struct redis_slice *arg, const char *what,
                    struct json_buffer *out);

enum space_operation {
    SPACE_INSERT,  /* space tuple */
    SPACE_REPLACE, /* space tuple */
    SPACE_UPSERT,  /* space tuple operations */
    SPACE_UPDATE,  /* space key operations [INDEX index] */
    SPACE_DELETE,  /* space key [INDEX index] */
    SPACE_GET,     /* space key [INDEX index] */
    SPACE_MGET,    /* space keys [INDEX index] */
    SPACE_SELECT,  /* space key [INDEX index] [ITERATOR word] [LIMIT n] [OFFSET n] [AFTER tuple] */
    SPACE_COUNT    /* space [key [INDEX index] [ITERATOR word]] */
};

struct space_request {
    enum space_operation operation;
    struct redis_slice space;
    struct redis_slice index; /* data NULL: the primary one */
    struct redis_slice
        subject; /* the tuple, the key or the list of keys: an array; size 0: no key */
    struct redis_slice operations; /* an array */
    struct redis_slice after;      /* an array; size 0: none */
    int iterator;                  /* enum space_iterator, -1: not given */
    uint64_t limit, offset;
};

/*
 * Reads argv[0..argc), what is behind the command's name. `scratch`, which is emptied first, holds
 * what had to be converted; *out is valid while it and the arguments are. ERROR_INVALID says which
 * argument is wrong and why; ERROR_MEMORY.
 */
int space_request_read(struct space_request *out, enum space_operation operation,
                       enum wire_format format, const struct redis_slice *argv, unsigned argc,
                       struct json_buffer *scratch);

#endif
