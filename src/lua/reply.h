/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_REPLY_H
#define LUA_REPLY_H

/*
 * A Redis reply kept in a buffer: a sink that writes MessagePack, and the way back into another
 * sink.
 *
 * A command must not push its reply to the Lua stack by itself, because pushing may raise an error
 * through the command's own frames; and a script's reply must not leave before the commit. So both
 * are kept in this form: integer, str (bulk), nil, double, boolean, array and map as they are, a
 * status as ext 1 and an error as ext 2 ("PREFIX message"); others are below.
 */
#include "codec/mp.h"
#include "redis/redis.h"

enum {
    LUA__REPLY_STATUS = 1,
    LUA__REPLY_ERROR = 2,
    LUA__REPLY_SET = 3, /* its count in four bytes of this machine; the elements follow */
    LUA__REPLY_BIG_NUMBER = 4,
    LUA__REPLY_VERBATIM = 5,  /* three bytes of format before the text */
    LUA__REPLY_ERROR_TEXT = 6 /* of a script: as it is */
};

struct lua__reply_sink {
    struct redis_sink base;
    struct mp_buffer *out;
};

void lua__reply_sink_create(struct lua__reply_sink *sink, struct mp_buffer *out);

void lua__reply_put_ext(struct mp_buffer *out, int type, const char *text, size_t size);

/* The text of the ext value at *reply, which it advances, and its type. */
const char *lua__reply_take_ext(const char **reply, int *type, uint32_t *size);

/* Hands the value at *reply, which it advances, to the sink. */
void lua__reply_emit(const char **reply, struct redis_sink *sink);

/* Splits "PREFIX message": the length of the prefix, 0 when the text does not begin with a word of
 * capitals. */
size_t lua__reply_prefix(const char *text, size_t size);

#endif
