/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_PATH_H
#define CODEC_PATH_H

/*
 * Paths into MessagePack values, as they are written in definitions, update operations and
 * `tuple['data.address.city']`:
 *
 *      data.address.city     tags[2]     [3].x     ["a key"]['with a dot.']     items[*].sku
 *
 * A step is a name (an element of a map) or a number from 1 (of an array); `[*]` is each element of
 * an array. A name without brackets begins with a letter, `_` or a byte above 127, and goes on with
 * those and digits.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum path_kind { PATH_END, PATH_NAME, PATH_NUMBER, PATH_EACH, PATH_BAD };

struct path_step {
    enum path_kind kind;
    const char *name; /* PATH_NAME: within the text */
    uint32_t size;
    uint32_t number; /* PATH_NUMBER: from 1 */
};

/* The text stays the caller's, and as it is while it is walked. */
struct path {
    const char *text;
    size_t size, offset;
};

/* The next step. PATH_BAD: the text is no path from path->offset on. */
struct path_step path_next(struct path *path);

/* Whether all of the text is a path of at least one step; *each (may be NULL): how many [*]. */
bool path_check(const char *text, size_t size, unsigned *each);

/* The element of the map or array at `value` (checked data) that a name or number leads to; NULL:
 * there is none, or the value is of another kind. */
const char *path_child(const char *value, const struct path_step *step);

/* The value that the rest of the path leads to, NULL when there is none; a path with [*] leads
 * nowhere. */
const char *path_follow(struct path *path, const char *value);

#endif
