/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_SETTINGS_H
#define SESSION_SESSION_SETTINGS_H

/* Settings of the service that CONFIG SET changes: relaxed atomics, read wherever they matter. */
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

/* Settings that are not those of commands (redis/redis_config.h). */
struct service_settings {
    _Atomic int64_t slowlog_slower_us; /* -1: nothing is logged */
    _Atomic uint64_t slowlog_max, latency_threshold_ms, timeout_s, keepalive_s, clients_max,
        tracking_keys_max;
};

/* Settings of Redis for what is not there: files that are written by a child, a table of keys that grows
 * in steps, a thread that frees, scripts that others wait for. They are checked, kept and told, and change nothing, as in Redis they
 * change no reply; X(Redis's name, field, default). */
#define SERVICE_HINT_SWITCHES(X)                                     \
    X("activedefrag", activedefrag, false)                           \
    X("activerehashing", activerehashing, true)                      \
    X("aof-use-rdb-preamble", aof_use_rdb_preamble, true)            \
    X("dynamic-hz", dynamic_hz, true)                                \
    X("jemalloc-bg-thread", jemalloc_bg_thread, true)                \
    X("lazyfree-lazy-eviction", lazyfree_lazy_eviction, false)       \
    X("lazyfree-lazy-expire", lazyfree_lazy_expire, false)           \
    X("lazyfree-lazy-server-del", lazyfree_lazy_server_del, false)   \
    X("lazyfree-lazy-user-del", lazyfree_lazy_user_del, false)       \
    X("lazyfree-lazy-user-flush", lazyfree_lazy_user_flush, false)   \
    X("no-appendfsync-on-rewrite", no_appendfsync_on_rewrite, false) \
    X("rdbchecksum", rdbchecksum, true)                              \
    X("rdbcompression", rdbcompression, true)                        \
    X("replica-lazy-flush", replica_lazy_flush, true)                \
    X("stop-writes-on-bgsave-error", stop_writes_on_bgsave_error, true)
#define SERVICE_HINT_NUMBERS(X)                                        \
    X("auto-aof-rewrite-percentage", auto_aof_rewrite_percentage, 100) \
    X("hz", hz, 10)                                                    \
    X("maxmemory-eviction-tenacity", maxmemory_eviction_tenacity, 10)  \
    X("repl-timeout", repl_timeout, 60)

struct service_hints {
#define X(name, field, value) _Atomic bool field;
    SERVICE_HINT_SWITCHES(X)
#undef X
#define X(name, field, value) _Atomic int64_t field;
    SERVICE_HINT_NUMBERS(X)
#undef X
    _Atomic int64_t busy_reply_threshold; /* milliseconds; begins as lua_time_max */
};

#endif
