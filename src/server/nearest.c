/* SPDX-License-Identifier: Apache-2.0 */

/* The distance by the usual table of prefixes, of which three rows are kept. */
#include "server/nearest.h"

#include <stdbool.h>
#include <string.h>

enum { WORD_MAX = 63 };

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned nearest_distance(const char *left, const char *right)
{
    size_t rows = strnlen(left, WORD_MAX), columns = strnlen(right, WORD_MAX);
    unsigned table[3][WORD_MAX + 1];
    unsigned *before_last = table[0], *last = table[1], *row = table[2];
    for (size_t column = 0; column <= columns; column++)
        last[column] = (unsigned)column;
    for (size_t n = 1; n <= rows; n++) {
        row[0] = (unsigned)n;
        for (size_t m = 1; m <= columns; m++) {
            unsigned differs = left[n - 1] != right[m - 1];
            row[m] = least(least(last[m], row[m - 1]) + 1, last[m - 1] + differs);
            if (n > 1 && m > 1 && left[n - 1] == right[m - 2] && left[n - 2] == right[m - 1])
                row[m] = least(row[m], before_last[m - 2] + 1);
        }
        unsigned *oldest = before_last;
        before_last = last;
        last = row;
        row = oldest;
    }
    return last[columns];
}

const char *nearest_word(const char *word, const char *(*at)(size_t n, void *arg), void *arg,
                         size_t count)
{
    const char *best = NULL;
    unsigned best_distance = (unsigned)(strnlen(word, WORD_MAX) + 1) / 2 + 1;
    for (size_t n = 0; n < count; n++) {
        bool begins = *word && strncmp(word, at(n, arg), strlen(word)) == 0;
        unsigned distance = begins ? 1 : nearest_distance(word, at(n, arg));
        if (distance < best_distance) {
            best = at(n, arg);
            best_distance = distance;
        }
    }
    return best;
}
