/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_EXPRESSION_H
#define DB_EXPRESSION_H

/*
 * Functions of a tuple that a definition contains as Lua text: keys of functional indexes, the
 * conditions of partial ones, checks, generated fields, defaults. db knows when they have to be
 * evaluated, and whoever embeds Lua knows how (db_options.expressions).
 *
 * They depend on nothing but the tuple, so any thread may evaluate one at any time: a worker within
 * a statement, a reader that compares an entry with a version, the thread that recovers.
 */
#include <stdint.h>

#include "codec/mp.h"

/*
 * `digest` names the text: whoever evaluates keeps what has been compiled under it. The text is an
 * expression of the tuple `t` ("t.balance >= 0") or a function ("function(t) .. end").
 */
struct expression {
    const char *text; /* zero-terminated, owned by the catalog */
    uint64_t digest;
    const char *name; /* for messages: 'constraint "positive"' */
};

struct space;

struct db_expressions {
    /* Appends the results, a MessagePack array, for a checked tuple of the space (NULL: there is no
     * tuple, or no space whose fields have names). 0, or ERROR_LUA, ERROR_TIMEOUT or ERROR_MEMORY
     * with diagnostics. May be called by any thread, also within a Lua call on the same thread. */
    int (*evaluate)(void *arg, const struct expression *expression, const struct space *space,
                    const char *tuple, struct mp_buffer *out);
    /* Whether the text compiles: 0, or ERROR_LUA with diagnostics. */
    int (*check)(void *arg, const struct expression *expression);
    void *arg;
};

#endif
