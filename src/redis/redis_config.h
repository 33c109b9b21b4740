/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_CONFIG_H
#define REDIS_REDIS_CONFIG_H

/*
 * The settings that Redis commands look at: sizes at which a packed value is spread, what happens
 * when memory is short, which keyspace events are told. One for a process, owned by whoever serves;
 * a command reads it through its call (`load_relaxed(&call->config->hash_max_listpack_entries)`).
 * Each field may change at any time, from any thread, and alone: a command that needs one twice reads
 * it once.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

/* maxmemory-policy, in the order of the names in redis_config.c. */
enum redis_policy {
    REDIS_POLICY_VOLATILE_LRU,
    REDIS_POLICY_VOLATILE_LFU,
    REDIS_POLICY_VOLATILE_RANDOM,
    REDIS_POLICY_VOLATILE_TTL,
    REDIS_POLICY_ALLKEYS_LRU,
    REDIS_POLICY_ALLKEYS_LFU,
    REDIS_POLICY_ALLKEYS_RANDOM,
    REDIS_POLICY_NOEVICTION,
    REDIS_POLICY_MAX
};

/* notify-keyspace-events; each has a letter. */
enum redis_notify {
    REDIS_NOTIFY_KEYSPACE = 1,    /* K: to __keyspace@0__:key */
    REDIS_NOTIFY_KEYEVENT = 2,    /* E: to __keyevent@0__:event */
    REDIS_NOTIFY_GENERIC = 4,     /* g */
    REDIS_NOTIFY_STRING = 8,      /* $ */
    REDIS_NOTIFY_LIST = 16,       /* l */
    REDIS_NOTIFY_SET = 32,        /* s */
    REDIS_NOTIFY_HASH = 64,       /* h */
    REDIS_NOTIFY_ZSET = 128,      /* z */
    REDIS_NOTIFY_EXPIRED = 256,   /* x */
    REDIS_NOTIFY_EVICTED = 512,   /* e */
    REDIS_NOTIFY_STREAM = 1024,   /* t */
    REDIS_NOTIFY_KEY_MISS = 2048, /* m: not in A */
    REDIS_NOTIFY_MODULE = 4096,   /* d */
    REDIS_NOTIFY_NEW = 8192,      /* n: not in A */
    REDIS_NOTIFY_ALL = REDIS_NOTIFY_GENERIC | REDIS_NOTIFY_STRING | REDIS_NOTIFY_LIST |
                       REDIS_NOTIFY_SET | REDIS_NOTIFY_HASH | REDIS_NOTIFY_ZSET |
                       REDIS_NOTIFY_EXPIRED | REDIS_NOTIFY_EVICTED | REDIS_NOTIFY_STREAM |
                       REDIS_NOTIFY_MODULE /* A */
};

struct redis_config {
    /* A value with more members, or a member of more bytes, is spread. */
    _Atomic uint64_t hash_max_listpack_entries, hash_max_listpack_value;
    _Atomic uint64_t set_max_intset_entries, set_max_listpack_entries, set_max_listpack_value;
    _Atomic uint64_t zset_max_listpack_entries, zset_max_listpack_value;
    /* A spread sorted set is counted for ranks when a command has had to walk over more members than these; 0:
     * from when it is spread (redis_zset_rank.h). */
    _Atomic uint64_t zset_ranks_after;
    /* As Redis has it: above 0 elements; -1 .. -5 is 4, 8, 16, 32, 64 KiB. See the functions below.
     */
    _Atomic int64_t list_max_listpack_size;
    _Atomic uint64_t list_compress_depth; /* accepted; means nothing here */
    _Atomic uint64_t stream_node_max_bytes, stream_node_max_entries; /* 0: no limit */
    _Atomic uint64_t hll_sparse_max_bytes;
    _Atomic unsigned notify_flags;     /* of enum redis_notify */
    _Atomic uint64_t maxmemory;        /* bytes, 0: no limit */
    _Atomic unsigned maxmemory_policy; /* of enum redis_policy */
    _Atomic unsigned maxmemory_samples;
    _Atomic unsigned lfu_log_factor, lfu_decay_time;
    _Atomic uint64_t
        started_ms; /* since 1970: when what was loaded counts as used (redis_access.h) */
    _Atomic bool
        active_expire; /* keys are deleted when their time comes (DEBUG SET-ACTIVE-EXPIRE) */
    _Atomic uint64_t proto_max_bulk_len;
};

/* Redis's own defaults. */
void redis_config_create(struct redis_config *config);

/* The same, for calls that nobody has given a configuration. Never changes. */
const struct redis_config *redis_config_default(void);

/* What list-max-listpack-size allows a packed list: so many bytes, and so many elements; UINT64_MAX
 * is no limit. */
uint64_t redis_config_list_bytes(const struct redis_config *config);
uint64_t redis_config_list_entries(const struct redis_config *config);

/* "allkeys-lru"; NULL behind the last. */
const char *redis_policy_name(unsigned policy);

/* The letters of notify-keyspace-events: false when there is an unknown one. Of the text at most
 * REDIS_NOTIFY_TEXT_SIZE bytes are used, with the 0. */
enum { REDIS_NOTIFY_TEXT_SIZE = 20 };
bool redis_notify_parse(const char *text, size_t size, unsigned *flags);
void redis_notify_format(unsigned flags, char text[REDIS_NOTIFY_TEXT_SIZE]);

#endif
