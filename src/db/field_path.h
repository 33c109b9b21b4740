/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_FIELD_PATH_H
#define DB_FIELD_PATH_H

/*
 * Paths below a field (codec/path.h) that are walked for every tuple: read into steps once.
 */
#include <stddef.h>
#include <stdint.h>

#include "codec/path.h"
#include "mem/arena.h"

enum { FIELD_PATH_STEPS_MAX = 32 };

struct field_path {
    const char *text; /* zero-terminated; "" and no steps: the field itself */
    uint32_t count;
    uint32_t each; /* the number of the step [*]; `count` when there is none */
    struct path_step *steps;
};

/* Reads the text into *out, whose parts live in the arena. 0, ERROR_MEMORY, or ERROR_INVALID when it
 * is no path, has too many steps, or [*] twice; no diagnostics. */
int field_path_read(struct arena *arena, const char *text, size_t size, struct field_path *out);

/* The value that steps [from, until) lead to from `value` (checked MessagePack), or NULL. There is
 * no [*] among them. */
static inline const char *field_path_walk(const struct field_path *path, uint32_t from,
                                          uint32_t until, const char *value)
{
    for (uint32_t i = from; i < until && value != NULL; i++)
        value = path_child(value, &path->steps[i]);
    return value;
}

#endif
