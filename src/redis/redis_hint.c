/* SPDX-License-Identifier: Apache-2.0 */

#include "redis/redis_hint.h"

#include <string.h>
#include <strings.h>

#include "base/diag.h"
#include "redis/redis_number.h"
#include "redis/redis_spread.h"
#include "redis/redis_value.h"
#include "redis/redis_zset.h"

static bool is_named(const struct redis_slice *name, const char *command)
{
    size_t size = strlen(command);
    return name->size == size && strncasecmp(name->data, command, size) == 0;
}

/* The argument that is the element; 0: none. */
static unsigned element_arg(const struct redis_slice *argv, size_t argc)
{
    const struct redis_slice *name = &argv[0];
    if (argc < 3 || name->size < 4) /* SET and GET, which are the most usual, have three letters */
        return 0;
    switch (name->data[0] | 0x20) {
    case 'h':
    case 's':
        return 2;
    case 'z':
        return argc == 3 ? 2 : is_named(name, "zadd") || is_named(name, "zincrby") ? argc - 1 : 0;
    default:
        return 0;
    }
}

bool redis_hint_wanted(const struct redis_slice *argv, size_t argc)
{
    unsigned at = element_arg(argv, argc);
    return at && argv[at].size <= REDIS_HINT_MEMBER_MAX;
}

bool redis_hint_make(const struct redis_slice *argv, size_t argc, const struct version *version,
                     struct redis_hint *out)
{
    struct redis_value value;
    const struct redis_slice *member = &argv[element_arg(argv, argc)];
    double score;
    if (!version || !redis_value_is_spread(version))
        return false;
    if (redis_value_unpack(version, 0, &value)) {
        diag_clear(); /* the command will say so */
        return false;
    }
    if (value.type != REDIS_TYPE_HASH && value.type != REDIS_TYPE_SET &&
        value.type != REDIS_TYPE_ZSET)
        return false;
    out->element_size = redis_element_key(
        out->element, value.id, value.type == REDIS_TYPE_ZSET ? REDIS_NUMBERED : REDIS_ELEMENT,
        member->data, member->size);
    out->place_size = 0;
    if (value.type == REDIS_TYPE_ZSET && is_named(&argv[0], "zadd") && argc >= 4 &&
        redis_double_parse(argv[argc - 2].data, argv[argc - 2].size, &score)) {
        unsigned char place[REDIS_ZSET_PLACE_SIZE + REDIS_HINT_MEMBER_MAX];
        redis_zset_place_score(score, place);
        if (member->size)
            memcpy(place + REDIS_ZSET_PLACE_SIZE, member->data, member->size);
        out->place_size = redis_element_key(out->place, value.id, REDIS_BY_NUMBER, place,
                                            REDIS_ZSET_PLACE_SIZE + member->size);
    }
    return true;
}
