/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PERIGEE_MODULE_H
#define PERIGEE_MODULE_H

/*
 * What a C library of a module is made of. Installed as <perigee/module.h>; needs nothing else.
 *
 * A library is a shared object that exports one symbol, `perigee_module`:
 *
 *      static int add(const struct perigee_api *api, struct perigee_call *call) { ... }
 *
 *      static const struct perigee_function functions[] = {{"add", add}};
 *
 *      PERIGEE_MODULE("sums", functions);
 *
 * The module's manifest names the file (library = 'sums.so'), and its Lua calls the functions as
 * `library.add(...)`. Arguments and results are MessagePack.
 *
 * A call is part of the transaction of the Lua that makes it; outside of one it is a transaction of
 * its own. It may be made again from its start, when a lock that others held has been had or when
 * its transaction has lost against another: it changes nothing but rows. Every function here that
 * fails returns a negative code; the transaction can then go on after PERIGEE_DUPLICATE,
 * PERIGEE_NOT_FOUND, PERIGEE_ACCESS and the like, but after a conflict or a wait nothing more can
 * be done. So the rule is: return the code, unless you know it and what to do about it.
 *
 * Each worker loads the library for itself: static variables are the worker's own, need no lock,
 * and do not last. Everything happens on the thread of the call; a call is not interrupted by any
 * limit of time, and memory that it has not got from `memory` is its own affair.
 *
 * This interface grows at its ends only: a library made for an older version goes on working, one
 * made for a newer version is refused.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PERIGEE_API_VERSION 1

/* Codes of errors: what a function may fail with, and what a library reports. Others exist. */
enum {
    PERIGEE_OK = 0,
    PERIGEE_MEMORY = -1,
    PERIGEE_INVALID = -4,
    PERIGEE_NOT_FOUND = -5,
    PERIGEE_EXISTS = -6,
    PERIGEE_DUPLICATE = -7,
    PERIGEE_CONFLICT = -8,
    PERIGEE_TIMEOUT = -10,
    PERIGEE_READONLY = -11,
    PERIGEE_TOO_LARGE = -14,
    PERIGEE_TYPE = -16,
    PERIGEE_ACCESS = -17,
    PERIGEE_BUSY = -20,
    PERIGEE_UNSUPPORTED = -24,
    PERIGEE_CONSTRAINT = -30,
    PERIGEE_LIMIT = -31
};

/* Of `log`. */
enum { PERIGEE_LOG_ERROR, PERIGEE_LOG_WARN, PERIGEE_LOG_INFO, PERIGEE_LOG_DEBUG };

/* Of `select`: which rows, in the order of the index. As box.index names them. */
enum { PERIGEE_EQ, PERIGEE_REQ, PERIGEE_ALL, PERIGEE_LT, PERIGEE_LE, PERIGEE_GE, PERIGEE_GT };

/* One call of a function; valid until it returns. */
struct perigee_call;

/* Bytes of somebody else's: MessagePack. data NULL: nothing. */
struct perigee_bytes {
    const char *data;
    size_t size;
};

/*
 * What a library can do. Names are zero-terminated. `index` is the name of an index, NULL the
 * primary one; keys and tuples are MessagePack arrays, operations as those of space:update:
 * [["+", "balance", 5], ..]. `out` may be NULL; what it gets is valid until the call ends. Rows are
 * read and written with the privileges of whoever calls.
 */
struct perigee_api {
    uint32_t version; /* PERIGEE_API_VERSION of the server */
    uint32_t size;    /* of this struct: what lies behind is not there */

    /* The arguments: a MessagePack array. */
    struct perigee_bytes (*args)(struct perigee_call *call);

    /* Sets the result, one MessagePack value, which is copied; the last one counts, nil if there is
     * none. PERIGEE_INVALID: it is no MessagePack. PERIGEE_MEMORY. */
    int (*result)(struct perigee_call *call, const char *data, size_t size);

    /* Says what is wrong, and gives the code: `return api->error(call, PERIGEE_INVALID, "..")`. A code
     * that is not negative becomes PERIGEE_INVALID. */
    int (*error)(struct perigee_call *call, int code, const char *message);

    /* What went wrong last in this call; "" at first. */
    const char *(*message)(struct perigee_call *call);

    /* The row with the whole key in a unique index; out->data NULL when there is none. */
    int (*get)(struct perigee_call *call, const char *space, const char *index, const char *key,
               size_t size, struct perigee_bytes *out);

    /* Adds a row, PERIGEE_DUPLICATE when there is one; replaces it or adds it. *out: the new one. */
    int (*insert)(struct perigee_call *call, const char *space, const char *tuple, size_t size,
                  struct perigee_bytes *out);
    int (*replace)(struct perigee_call *call, const char *space, const char *tuple, size_t size,
                   struct perigee_bytes *out);

    /* *out: the old row, data NULL when there was none. */
    int (*remove)(struct perigee_call *call, const char *space, const char *index, const char *key,
                  size_t size, struct perigee_bytes *out);

    /* *out: the new row, data NULL when there is none to change. */
    int (*update)(struct perigee_call *call, const char *space, const char *index, const char *key,
                  size_t key_size, const char *operations, size_t operations_size,
                  struct perigee_bytes *out);

    /* At most `limit` rows behind the first `offset`; the key may have fewer parts than the index,
     * and be NULL. *out: a MessagePack array of them. */
    int (*select)(struct perigee_call *call, const char *space, const char *index, int iterator,
                  const char *key, size_t size, uint64_t offset, uint64_t limit,
                  struct perigee_bytes *out);

    /* Seconds since 1970; stands still in a transaction. */
    double (*now)(struct perigee_call *call);

    /* A line in the server's log. */
    void (*log)(struct perigee_call *call, int level, const char *text);

    /* Memory that goes when the call ends; NULL: there is none. */
    void *(*memory)(struct perigee_call *call, size_t size);
};

/* Returns PERIGEE_OK, or the code of what went wrong. */
struct perigee_function {
    const char *name;
    int (*call)(const struct perigee_api *api, struct perigee_call *call);
};

struct perigee_module {
    uint32_t version; /* PERIGEE_API_VERSION that it was made with */
    uint32_t size;    /* of this struct */
    const char *name;
    const struct perigee_function *functions;
    uint32_t function_count;
};

#define PERIGEE_MODULE(module_name, functions_array)                                          \
    __attribute__((visibility("default"))) extern const struct perigee_module perigee_module; \
    const struct perigee_module perigee_module = {                                            \
        PERIGEE_API_VERSION, sizeof(struct perigee_module), module_name, functions_array,     \
        sizeof(functions_array) / sizeof *(functions_array)}

#ifdef __cplusplus
}
#endif

#endif
