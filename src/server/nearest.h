/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_NEAREST_H
#define SERVER_NEAREST_H

/*
 * "Did you mean": which of some known words is the nearest to one that is not known.
 */
#include <stddef.h>

/*
 * Single-character insertions, deletions, replacements and swaps of neighbours that turn one word
 * into the other (optimal string alignment), of at most the first 63 characters of each.
 */
unsigned nearest_distance(const char *left, const char *right);

/* Among `count` words, each found by at(n, arg), the nearest one, or NULL when even that has too
 * little in common with `word` to be what was meant. One that begins with `word` is near. */
const char *nearest_word(const char *word, const char *(*at)(size_t n, void *arg), void *arg,
                         size_t count);

#endif
