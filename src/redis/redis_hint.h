/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_HINT_H
#define REDIS_REDIS_HINT_H

/*
 * Which rows of a spread collection a request is going to look for, as far as its arguments and what its
 * key's row has been tell: for who has memory fetched before requests are executed. Nothing rests on it,
 * so only the usual shapes of commands are known here, and it may be wrong.
 */
#include <stdbool.h>
#include <stddef.h>

#include "record/version.h"
#include "redis/redis.h"

enum { REDIS_HINT_MEMBER_MAX = 60, REDIS_HINT_BYTES = 24 + REDIS_HINT_MEMBER_MAX };

struct redis_hint {
    unsigned char element[REDIS_HINT_BYTES]; /* the key of a row among db_redis_elements */
    unsigned char place[REDIS_HINT_BYTES];   /* of an entry among db_redis_numbers */
    size_t element_size, place_size;         /* 0: none */
};

/* Whether a request names an element, going by its name and its number of arguments. */
bool redis_hint_wanted(const struct redis_slice *argv, size_t argc);

/* Of one that does. `version`: a committed one of its key's row, which stays meanwhile; NULL: there is
 * none. False: it is no spread collection of elements with names. */
bool redis_hint_make(const struct redis_slice *argv, size_t argc, const struct version *version,
                     struct redis_hint *out);

#endif
