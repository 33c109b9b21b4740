/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Matching with one point to return to: when a byte does not match, only the last `*` need take one
 * byte more, since whatever an earlier one could take the last one can take too. So no pattern
 * takes exponential time.
 */
#include "redis/redis_glob.h"

/* Matches one byte against the set at *at (behind '['), and moves *at behind its ']'. An unclosed
 * set ends with the pattern. */
static bool set_match(const char *pattern, size_t size, size_t *at, unsigned char byte)
{
    size_t i = *at;
    bool negated = i < size && pattern[i] == '^', found = false;
    i += negated;
    for (; i < size && pattern[i] != ']'; i++) {
        if (pattern[i] == '\\' && i + 1 < size) {
            found |= (unsigned char)pattern[++i] == byte;
        } else if (i + 2 < size && pattern[i + 1] == '-') {
            unsigned char low = (unsigned char)pattern[i], high = (unsigned char)pattern[i + 2];
            if (low > high) {
                unsigned char swap = low;
                low = high;
                high = swap;
            }
            found |= byte >= low && byte <= high;
            i += 2;
        } else {
            found |= (unsigned char)pattern[i] == byte;
        }
    }
    *at = i < size ? i + 1 : size;
    return found != negated;
}

/* Matches one byte against the element at *at, which is no '*', and moves *at behind it. */
static bool element_match(const char *pattern, size_t size, size_t *at, unsigned char byte)
{
    char c = pattern[(*at)++];
    if (c == '?')
        return true;
    if (c == '[')
        return set_match(pattern, size, at, byte);
    if (c == '\\' && *at < size)
        c = pattern[(*at)++];
    return (unsigned char)c == byte;
}

bool redis_glob_match(const char *pattern, size_t pattern_size, const char *text, size_t text_size)
{
    size_t p = 0, t = 0, star = 0, star_text = 0;
    bool has_star = false;
    while (t < text_size || (p < pattern_size && pattern[p] == '*')) {
        if (p < pattern_size && pattern[p] == '*') {
            has_star = true;
            star = ++p;
            star_text = t;
            if (p == pattern_size)
                return true;
            continue;
        }
        if (p < pattern_size && element_match(pattern, pattern_size, &p, (unsigned char)text[t])) {
            t++;
            continue;
        }
        if (!has_star)
            return false;
        p = star;
        t = ++star_text;
    }
    return p == pattern_size;
}

size_t redis_glob_prefix(const char *pattern, size_t pattern_size)
{
    size_t i = 0;
    while (i < pattern_size && pattern[i] != '*' && pattern[i] != '?' && pattern[i] != '[' &&
           pattern[i] != '\\')
        i++;
    return i;
}
