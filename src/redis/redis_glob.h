/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_GLOB_H
#define REDIS_REDIS_GLOB_H

/*
 * Redis's patterns for keys: `*` any bytes, `?` one byte, `[abc]`, `[a-z]`, `[^a]` one byte of (or
 * not of) a set, and `\` before a byte that stands for itself. Takes at most pattern size times
 * text size steps.
 */
#include <stdbool.h>
#include <stddef.h>

bool redis_glob_match(const char *pattern, size_t pattern_size, const char *text, size_t text_size);

/* How many bytes at the start of the pattern stand for themselves: every text that matches begins
 * with them. */
size_t redis_glob_prefix(const char *pattern, size_t pattern_size);

#endif
