/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Defaults of the settings that commands look at, and the settings that are more than a number:
 * the size of a packed list, the policy's name, the letters of keyspace events.
 */
#include "redis/redis_config.h"

#include <string.h>

#define DEFAULTS                                                                                   \
    {                                                                                              \
        .hash_max_listpack_entries = 512, .hash_max_listpack_value = 64,                           \
        .set_max_intset_entries = 512, .set_max_listpack_entries = 128,                            \
        .set_max_listpack_value = 64, .zset_max_listpack_entries = 128,                            \
        .zset_max_listpack_value = 64, .zset_ranks_after = 128, .list_max_listpack_size = -2,      \
        .list_compress_depth = 0, .stream_node_max_bytes = 4096, .stream_node_max_entries = 100,   \
        .hll_sparse_max_bytes = 3000, .notify_flags = 0, .maxmemory = 0,                           \
        .maxmemory_policy = REDIS_POLICY_NOEVICTION, .maxmemory_samples = 5, .lfu_log_factor = 10, \
        .lfu_decay_time = 1, .active_expire = true, .proto_max_bulk_len = 512ul << 20              \
    }

static const struct redis_config DEFAULT = DEFAULTS;

void redis_config_create(struct redis_config *config)
{
    *config = (struct redis_config)DEFAULTS;
}

const struct redis_config *redis_config_default(void)
{
    return &DEFAULT;
}

uint64_t redis_config_list_bytes(const struct redis_config *config)
{
    int64_t size = load_relaxed(&config->list_max_listpack_size);
    if (size > 0) /* counted in elements; but one page of them is bounded all the same */
        return 8192;
    if (size == 0)
        return 4096;
    return 4096ull << ((size < -5 ? 5 : -size) - 1);
}

uint64_t redis_config_list_entries(const struct redis_config *config)
{
    int64_t size = load_relaxed(&config->list_max_listpack_size);
    return size > 0 ? (uint64_t)size : size == 0 ? 1 : UINT64_MAX;
}

const char *redis_policy_name(unsigned policy)
{
    static const char *const NAMES[REDIS_POLICY_MAX] = {
        "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
        "allkeys-lru",  "allkeys-lfu",  "allkeys-random",  "noeviction"};
    return policy < REDIS_POLICY_MAX ? NAMES[policy] : NULL;
}

/* In the order in which they are written. */
static const struct {
    char letter;
    unsigned flag;
} LETTERS[] = {
    {'g', REDIS_NOTIFY_GENERIC},  {'$', REDIS_NOTIFY_STRING},   {'l', REDIS_NOTIFY_LIST},
    {'s', REDIS_NOTIFY_SET},      {'h', REDIS_NOTIFY_HASH},     {'z', REDIS_NOTIFY_ZSET},
    {'x', REDIS_NOTIFY_EXPIRED},  {'e', REDIS_NOTIFY_EVICTED},  {'t', REDIS_NOTIFY_STREAM},
    {'d', REDIS_NOTIFY_MODULE},   {'n', REDIS_NOTIFY_NEW},      {'K', REDIS_NOTIFY_KEYSPACE},
    {'E', REDIS_NOTIFY_KEYEVENT}, {'m', REDIS_NOTIFY_KEY_MISS},
};
enum { LETTER_COUNT = sizeof LETTERS / sizeof *LETTERS };

bool redis_notify_parse(const char *text, size_t size, unsigned *flags)
{
    *flags = 0;
    for (size_t at = 0; at < size; at++) {
        unsigned flag = text[at] == 'A' ? (unsigned)REDIS_NOTIFY_ALL : 0;
        for (unsigned n = 0; n < LETTER_COUNT && !flag; n++)
            flag = LETTERS[n].letter == text[at] ? LETTERS[n].flag : 0;
        if (!flag)
            return false;
        *flags |= flag;
    }
    return true;
}

void redis_notify_format(unsigned flags, char text[REDIS_NOTIFY_TEXT_SIZE])
{
    size_t size = 0;
    bool all = (flags & REDIS_NOTIFY_ALL) == REDIS_NOTIFY_ALL;
    if (all)
        text[size++] = 'A';
    for (unsigned n = 0; n < LETTER_COUNT; n++)
        if ((flags & LETTERS[n].flag) && !(all && (LETTERS[n].flag & REDIS_NOTIFY_ALL)))
            text[size++] = LETTERS[n].letter;
    text[size] = 0;
}
