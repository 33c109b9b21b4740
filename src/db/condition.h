/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_CONDITION_H
#define DB_CONDITION_H

/*
 * Declarative conditions on a tuple: terms that must all hold, each a field, an operator and a
 * scalar to compare with. Evaluated in place, without Lua.
 *
 * Values are compared as an index of scalars has them in order: numbers by their exact values, whatever
 * their types; `==` and `~=` take any two scalars; the others hold only between two of one kind. A
 * field that is absent is nil. What is no scalar equals nothing.
 */
#include <stdbool.h>
#include <stdint.h>

#include "db/field_path.h"

enum condition_op {
    CONDITION_EQ,
    CONDITION_NE,
    CONDITION_LT,
    CONDITION_LE,
    CONDITION_GT,
    CONDITION_GE
};

struct condition_term {
    uint32_t field; /* from 0 */
    struct field_path path;
    enum condition_op op;
    const unsigned char *key; /* the scalar, encoded */
    size_t key_size;
};

struct condition {
    uint32_t count;
    struct condition_term *terms;
};

/* "==", "~=", "<" and so on ("!=", "<>" and "=" too), or -1; and back. */
int condition_op_parse(const char *text, size_t size);
const char *condition_op_name(enum condition_op op);

/*
 * Reads [[field from 0, path, op, value] ..] (checked MessagePack) into *out, which lives in the
 * arena. 0, ERROR_MEMORY or ERROR_INVALID; no diagnostics.
 */
int condition_read(struct arena *arena, const char *data, struct condition *out);

/* Whether the tuple (a checked array) fulfils it: 1 or 0, or ERROR_MEMORY. */
int condition_holds(const struct condition *condition, const char *tuple);

#endif
