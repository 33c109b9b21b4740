/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_INTERNAL_H
#define SESSION_SESSION_INTERNAL_H

/*
 * What the files of this folder share: the structs behind service.h and session.h, the command
 * table's row, and how a command replies.
 */
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/list.h"
#include "codec/mp.h"
#include "lua/runtime.h"
#include "proto/msgpack_rpc.h"
#include "proto/resp_parse.h"
#include "proto/resp_write.h"
#include "proto/sniff.h"
#include "proto/space_request.h"
#include "redis/redis.h"
#include "redis/redis_housekeeping.h"
#include "redis/redis_spec.h"
#include "session/remote.h"
#include "session/service.h"
#include "session/session.h"
#include "session/session_acl.h"
#include "session/session_auth.h"
#include "session/session_block.h"
#include "session/session_limits.h"
#include "session/session_parcel.h"
#include "session/session_pubsub.h"
#include "session/session_running.h"
#include "session/session_settings.h"
#include "session/session_stream.h"
#include "session/session_tracking.h"
#include "session/session_wait.h"

/* ---------------------------------------------------------------------------- the command table */

struct session;
struct session_command;
struct session_pending;

/* One run of a command. */
struct session_request {
    const struct session_command *command;
    const struct redis_slice *argv;
    unsigned argc;
    struct txn *txn; /* the transaction of EXEC or of `stream`, or NULL */
    struct session_stream
        *stream;       /* runs as a statement of this interactive transaction, or NULL */
    uint64_t now_ms;   /* one for the whole run (invariant 27) */
    bool granted;      /* redis_call's, of what EXEC runs */
    uint64_t reply_ts; /* out: what the reply waits for */
};

/* What a command's function returns besides 0 (replied) and negative codes (with diagnostics; the
 * caller replies): it has written an error itself. ERROR_WAIT: session__wait_begin has said so, and
 * the request is run again. */
enum { SESSION_REPLIED_ERROR = 1 };

enum session_command_flags {
    SESSION_NO_AUTH = 1,  /* runs before AUTH */
    SESSION_AT_ONCE = 2,  /* in MULTI: runs instead of being queued */
    SESSION_NO_MULTI = 4, /* refused in MULTI */
    SESSION_SCRIPT = 8,   /* takes part in EXEC's transaction and may write */
    SESSION_DATA = 16,    /* needs the data to be loaded */
    SESSION_ADMIN = 32,   /* for COMMAND only, as the next three */
    SESSION_FAST = 64,
    SESSION_NOSCRIPT = 128,
    SESSION_READS = 256,
    SESSION_NUMKEYS = 512,     /* argv[2] is the number of keys, which follow */
    SESSION_ENDS_TXN = 1024,   /* runs although the interactive transaction has failed */
    SESSION_NO_TXN = 2048,     /* refused in an interactive transaction */
    SESSION_LISTENING = 8192,  /* runs while a connection of RESP2 listens to channels */
    SESSION_STATEMENT = 4096,  /* a statement of the interactive transaction, if one is open */
    SESSION_USES_KEYS = 16384, /* for those who may use keys; others are asked about in Lua */
    SESSION_ALTERS = 32768,    /* in EXEC: makes of it a transaction that changes the schema */
    SESSION_GROUPS = 65536     /* may share a transaction: session_group.c */
};

struct session_command {
    const char *name; /* lower case; a subcommand's is "client|id" */
    int arity;
    unsigned flags;
    int first_key, last_key, key_step;
    const char *summary, *since, *group;
    int (*run)(struct session *session, struct session_request *request);
    const struct redis_command *redis;         /* a data command; then run is NULL */
    const struct session_command *subcommands; /* ends with a name of NULL */
    unsigned number; /* place in the service's table, and in the statistics */
};

/* -------------------------------------------------------------------------------------- service */

/* Bounds and sizes. */
enum {
    SESSION_BATCH_MAX = 64,             /* requests parsed before the first is executed */
    SESSION_CLOCK_COMMANDS = 16,        /* commands that may share one `now` */
    SESSION_STRANGER_BYTES_MAX = 16384, /* of an RPC message before the password is given */
    SESSION_BUFFER_KEEP_BYTES = 65536,  /* of an idle connection's buffers */
    SESSION_MARKS_MAX = 65536,          /* groups of replies that may wait */
    SESSION_WAIT_INPUT_BYTES = 65536,   /* read ahead of a request that waits */
    SESSION_PENDING_MAX = 1024,         /* MessagePack-RPC requests that wait, of a connection */
    SESSION_PENDING_BYTES_MAX = 64 << 20,
    SESSION_STREAMS_MAX = 1024,
    SERVICE_COMMANDS_MAX = 640,
    SERVICE_SLOTS = 2048,
    SERVICE_SETTINGS_MAX = 128,
    SERVICE_SCRIPTS_MAX = 1024,
    SERVICE_SCRIPT_BYTES_MAX = 64 << 20,
    SERVICE_ERRORS = 20, /* prefixes that are counted one by one */
};

/* How long requests of a command took: session_latency.c. Two bits behind the highest one make four
 * buckets of each power of two, from 2^SHIFT ticks on. */
enum {
    SESSION_HISTOGRAM_SHIFT = 8,
    SESSION_HISTOGRAM_BUCKETS = 128,
    SESSION_LATENCY_EVENTS = 2, /* command, fast-command */
    SESSION_LATENCY_SAMPLES = 160,
    SERVICE_PERCENTILES_SIZE = 128
};
struct session_histogram {
    _Atomic uint64_t counts[SESSION_HISTOGRAM_BUCKETS];
};

/* Written by one worker, read by any: relaxed. */
struct session_command_stats {
    CACHE_ALIGNED _Atomic uint64_t calls;
    _Atomic uint64_t ticks, rejected, failed;
    struct session_histogram *_Atomic histogram; /* NULL: none has run */
};

struct session_worker_stats {
    _Atomic uint64_t commands, input_bytes, output_bytes, errors[SERVICE_ERRORS];
    _Atomic uint64_t reads, writes; /* of sockets */
    struct redis_lookups lookups;
    struct session_command_stats by_command[SERVICE_COMMANDS_MAX];
};

struct session_latency_sample {
    uint64_t time_s, ms;
};
struct session_latency {
    unsigned count, next;
    uint64_t max_ms;
    struct session_latency_sample samples[SESSION_LATENCY_SAMPLES];
};

/* Requests that took long: session_slowlog.c. The mutex guards samples of latency as well. */
struct session_slowlog {
    pthread_mutex_t mutex;
    struct list entries; /* the newest first */
    uint64_t count, next_id;
};

/* Sums of the workers' statistics. */
struct service_totals {
    uint64_t commands, input_bytes, output_bytes, connections, refused, moved, balanced,
        errors[SERVICE_ERRORS];
    uint64_t reads, writes;
    uint64_t hits, misses; /* of keys */
};
struct service_command_totals {
    uint64_t calls, ticks, rejected, failed;
};

/* Commands of installed modules, as of a version of the schema. */
struct session_modules {
    uint64_t schema_version;
    unsigned count;
    struct session_module_command *first;
};

struct session_worker {
    CACHE_ALIGNED struct session_worker_stats stats;
    struct service *service;
    struct db_worker *db;
    struct txn_worker *txn;
    struct lua_runtime *lua;
    struct session_modules modules;
    struct mp_buffer monitored;    /* lines for those who monitor; under wake_mutex */
    _Atomic unsigned monitors;     /* how many of its sessions do */
    struct mp_buffer args, result; /* scratch for Lua calls */
    struct json_buffer taken;      /* scratch for values of arguments */
    struct json_buffer text;       /* scratch for results as JSON text */
    uint64_t now_ms;               /* the time of the commands being executed */
    double batch_cost[2];          /* ticks a request, [1] with the rows prefetched */
    unsigned batches;
    unsigned now_left; /* commands until it is read again */
    void *user;
    struct list ready;              /* sessions that session_resume is to be called for */
    struct list turn;               /* those of them that it is being called for */
    struct list waits;              /* requests that wait */
    struct list streams;            /* open transactions */
    struct list excessive;          /* sessions with output beyond the soft limit */
    struct session_running running; /* what of its sessions' runs in Lua */
    uint64_t let_in_ticks; /* of the first session__let_in for the session that is entered, or 0 */
    bool lets_in;          /* that was a while ago: others are let in */
    _Atomic uint64_t client_bytes; /* memory of its sessions */
    uint64_t due_ns;            /* when the next of them has a limit to be looked at; or earlier */
    pthread_mutex_t wake_mutex; /* guards what follows; nothing is locked inside of it */
    struct list woken;          /* requests that others have woken */
    struct session_acls acls;   /* rules of users, as of a version of the schema */
    struct session_pubsub pubsub; /* its inbox, too */
    _Atomic bool stirred;         /* there may be something in it, or woken, or: */
    _Atomic bool ordered;         /* sessions may have orders: session_order.c */
    uint64_t scripts_generation;
    uint64_t scripts_seen[SERVICE_SCRIPTS_MAX]; /* fingerprints of scripts that the service has */
};

/* What every request has to look at. */
enum service_attention { SERVICE_PAUSED = 1, SERVICE_MONITORED = 2 };

/* Source of a script by its digest, shared by the workers. */
struct service_script {
    char sha1[LUA_SHA1_SIZE];
    size_t size;
    char *source;
};

struct service {
    struct service_options options;
    struct service_limits limits;
    _Atomic size_t password_size; /* 0: none is asked for */
    char *password;               /* of as many bytes; under the mutex */
    char run_id[41];
    uint64_t start_ms, start_ns, start_ticks;
    struct lua_watchdog *watchdog;
    struct redis_scans *scans;
    struct wal *wal;
    void (*wake)(void *user);
    remote_open_fn *remote_open; /* NULL: there is no network */
    struct redis_audience audience;
    struct session_auth *auth;

    /* The commands in order of name, then the subcommands of each parent, each list ended by one
     * without a name. */
    struct session_command commands[SERVICE_COMMANDS_MAX];
    const struct redis_spec *specs[SERVICE_COMMANDS_MAX]; /* by number; NULL: none */
    unsigned command_count, subcommand_count;
    uint16_t slots[SERVICE_SLOTS]; /* by hash of the name: number + 1 */

    struct redis_config config;
    struct redis_interest interest; /* of all connections */
    struct redis_housekeeping keeping;
    struct session_blocks *blocks;     /* who waits for keys */
    struct session_tracking *tracking; /* who keeps copies of keys */
    struct session_acl_log *acl_log;
    struct service_settings settings;
    struct service_hints hints;
    _Atomic uint64_t settings_set[SERVICE_SETTINGS_MAX / 64]; /* by CONFIG SET; a bit for each */
    struct session_limits client_limits;
    struct session_slowlog slowlog;
    struct session_latency latency[SESSION_LATENCY_EVENTS]; /* under the slow log's mutex */

    CACHE_ALIGNED _Atomic bool loading;
    _Atomic unsigned attention; /* of enum service_attention; 0 nearly always */
    _Atomic uint64_t pause_end_ns;
    _Atomic bool pause_all;
    _Atomic uint64_t slow_ticks;   /* who took so long is looked at more closely */
    _Atomic bool latency_tracking; /* requests are counted in histograms */
    _Atomic bool started;          /* the triggers of the start have been run, or are being run */
    _Atomic unsigned port;
    _Atomic uint64_t next_id, connections, refused, moved, balanced;
    _Atomic unsigned client_count;
    _Atomic uint64_t listeners; /* subscriptions of all sessions */

    pthread_mutex_t
        mutex; /* guards what follows, and what of sessions others read (session.about) */
    struct list clients;
    unsigned monitors;
    char percentiles[SERVICE_PERCENTILES_SIZE]; /* that INFO latencystats shows */
    struct service_totals totals_before;        /* what CONFIG RESETSTAT has found */
    struct service_command_totals commands_before[SERVICE_COMMANDS_MAX];
    struct session_histogram *histograms_before[SERVICE_COMMANDS_MAX]; /* NULL: empty */
    struct {
        uint64_t ns, commands, input_bytes, output_bytes;
        double commands_s, input_s, output_s;
    } rate; /* of the last second or more, as of when INFO was asked */
    struct session_worker **workers;
    struct session_worker *host; /* whose runtime runs what modules do in the background; or NULL */
    unsigned worker_count;       /* places of `workers` */
    struct service_script *scripts;
    unsigned script_count, script_next;
    size_t script_bytes;                /* of their sources together */
    _Atomic uint64_t script_generation; /* of SCRIPT FLUSH */
};

/* Fills commands and slots; asserts that names are unique. */
void service__commands_fill(struct service *service);
const struct session_command *service__command_find(const struct service *service, const char *name,
                                                    size_t size);
/* The same where `parent|sub` names a subcommand, as in rules and in struct redis_command. */
const struct session_command *service__command_named(const struct service *service,
                                                     const char *name, size_t size);

/*
 * Commands of modules. _command: NULL when there is none of the name; the result stays valid as long
 * as the worker. _next: one after the other, from NULL on. _of: the module's name, NULL for a command
 * of the server. _procedure_run: CALL of a procedure with the arguments from `first` on.
 */
const struct session_command *session__module_command(struct session_worker *worker,
                                                      const char *name, size_t size);
const struct session_command *session__module_next(struct session_worker *worker,
                                                   const struct session_command *before);
unsigned session__module_count(struct session_worker *worker);
const char *session__module_of(const struct session_command *command);
int session__module_run(struct session *session, struct session_request *request);
int session__procedure_run(struct session *session, struct session_request *request,
                           const char *procedure, unsigned first);
void session__modules_destroy(struct session_modules *modules);

/* Scripts: put keeps a copy (the oldest goes when there are too many); get copies the source to
 * `out`, false when there is none. */
void service__script_put(struct service *service, const char sha1[LUA_SHA1_SIZE],
                         const char *source, size_t size);
bool service__script_get(struct service *service, const char *sha1, struct mp_buffer *out);
void service__scripts_flush(struct service *service);

static inline void service__count(_Atomic uint64_t *counter, uint64_t by)
{
    store_relaxed(counter, load_relaxed(counter) + by);
}

/* session_slowlog.c, session_latency.c. _redacted: argument n is a secret. _new: the worker's
 * histogram of a command; NULL without memory. _sum: of all workers, since CONFIG RESETSTAT.
 * _percentile: in microseconds. */
void session__slowlog_create(struct session_slowlog *log);
void session__slowlog_destroy(struct session_slowlog *log);
void service__slowlog_trim(struct service *service);
void session__slowlog_add(struct session *session, const struct session_request *request,
                          uint64_t us);
bool session__redacted(const struct session_command *command, const struct redis_slice *argv,
                       unsigned argc, unsigned n);
double service__ticks_a_us(void);
struct session_histogram *session__histogram_new(struct session_command_stats *stats);
void service__histograms_reset(struct service *service);
void service__histograms_destroy(struct service *service);
void session__histograms_destroy(struct session_worker *worker);
void service__histogram_sum(struct service *service, unsigned number,
                            uint64_t counts[SESSION_HISTOGRAM_BUCKETS]);
double service__histogram_percentile(const uint64_t counts[SESSION_HISTOGRAM_BUCKETS],
                                     double percentile);
void session__latency_add(struct service *service, bool fast, uint64_t ms);
extern const struct session_command session__slowlog_commands[], session__latency_commands[];

/* session_monitor.c. _feed: a command that has been executed. _take: hands out what others have fed. */
int session__monitor(struct session *session, struct session_request *request);
void session__monitor_feed(struct session *session, const struct session_request *request);
void session__monitors_take(struct session_worker *worker);
void session__monitor_end(struct session *session);

/* session_debug.c, session_memory.c, session_replication.c. _wait_until: ERROR_WAIT until then, then
 * (or when nobody may wait any more) 0. */
int session__debug(struct session *session, struct session_request *request);
int session__wait_until(struct session *session, uint64_t until_ns);
int session__role(struct session *session, struct session_request *request);
int session__replicaof(struct session *session, struct session_request *request);
int session__sync(struct session *session, struct session_request *request);
int session__failover(struct session *session, struct session_request *request);
int session__wait_replicas(struct session *session, struct session_request *request);
int session__waitaof(struct session *session, struct session_request *request);
int session__lolwut(struct session *session, struct session_request *request);
int session__cluster_disabled(struct session *session, struct session_request *request);
extern const struct session_command session__memory_commands[], session__cluster_commands[],
    session__module_commands[];

/* session_info.c: the process's resident memory, and the most it has been. */
uint64_t service__resident_bytes(void);
uint64_t service__peak_bytes(void);

/* session_info.c. _slow_set: after a change of what is slow. _stats_reset: all counters begin anew. */
void service__slow_set(struct service *service);
void service__stats_reset(struct service *service);

/* The place of an error's prefix in the statistics, and its name; NULL behind the last. */
unsigned service__error_slot(const char *prefix, size_t size);
const char *service__error_name(unsigned slot);

/* -------------------------------------------------------------------------------------- session */

/* RESP as a sink for data commands and scripts. */
struct session_sink {
    struct redis_sink base;
    struct session *session;
};

/* Replies from the end of the previous mark up to `end` wait until the log has reached `ts`. */
struct session_mark {
    size_t end; /* offset in `out` */
    uint64_t ts;
    uint64_t rpc_id; /* of MessagePack-RPC, where a mark is one reply */
    unsigned replies;
    unsigned batch; /* marks of one batch are one */
};

struct session_watch {
    struct session_watch *next; /* in order of snapshot */
    uint64_t snapshot_ts;
    uint64_t expire_ms; /* 0: none, or expired already */
    bool there;         /* there was a value */
    struct redis_slice name;
    unsigned database;
};

struct session_queued {
    struct session_queued *next;
    const struct session_command *command;
    unsigned argc, parcel_count;
    struct parcel **parcels; /* each has the bytes of an argument, and is held */
    struct redis_slice argv[];
};

/* What other sessions want of one. */
enum session_order {
    SESSION_ORDER_KILL = 1,
    SESSION_ORDER_UNBLOCK_TIMEOUT = 2,
    SESSION_ORDER_UNBLOCK_ERROR = 4
};

/* What other threads read for CLIENT LIST: the strings under the service's mutex. */
struct session_about {
    uint64_t id, created_ms;
    int fd;
    char address[SESSION_ADDRESS_SIZE_MAX + 1], local_address[SESSION_ADDRESS_SIZE_MAX + 1];
    char *name, *library_name, *library_version; /* NULL: none */
    _Atomic uint64_t active_ms;
    const char *_Atomic command; /* the name of the last one, a constant; NULL: none yet */
    _Atomic int resp;
    _Atomic int kind; /* enum proto_kind */
    _Atomic uint32_t user_id;
    _Atomic unsigned database;
    _Atomic int queued;                          /* -1: not in MULTI */
    _Atomic unsigned open, failed;               /* interactive transactions */
    _Atomic bool waits;                          /* a request of it waits */
    _Atomic unsigned channels, patterns, shards; /* it listens to */
    _Atomic unsigned tracking;                   /* flags of its tracker (session_tracker.h) */
    _Atomic int64_t redirect;
    _Atomic uint64_t watched;
    _Atomic unsigned orders; /* of enum session_order */
    bool killed; /* under the service's mutex: for who looks for clients it is not there any more */
    _Atomic bool no_evict, no_touch, monitoring; /* CLIENT NO-EVICT, NO-TOUCH; MONITOR */
    _Atomic uint64_t input_bytes, output_bytes;
    struct {
        _Atomic uint64_t query, query_free; /* input that is not executed yet; room behind it */
        _Atomic uint64_t kept, queued;      /* a request that waits; requests of MULTI */
        _Atomic uint64_t out, replies;      /* what is to be sent; of it, groups of replies */
        _Atomic uint64_t out_memory, all;
    } bytes; /* as of when it was last busy */
};

struct session {
    struct list link;              /* in service.clients */
    struct list ready;             /* in worker->ready */
    struct session_worker *worker; /* NULL while it moves; changed under the service's mutex */
    struct service *service;
    struct session_about about;
    void *user;

    enum proto_kind kind;
    int protocol;            /* RESP2 or RESP3 */
    enum wire_format format; /* of values in requests and results: CLIENT FORMAT */
    unsigned database;       /* that SELECT has chosen */
    bool authenticated;      /* nothing has to be said before commands are executed */
    bool logged_in;          /* somebody has said who it is */
    bool connected;          /* its triggers have run, so those of its end will */
    uint32_t user_id;        /* of db/access.h */
    unsigned rights;         /* of that user, as of this version of the schema: session_auth.c */
    uint64_t rights_version;
    const struct acl *acl;       /* its rules, as of that version; NULL: none */
    struct session_login *login; /* a password that is being checked, or NULL */
    bool debugging;              /* SCRIPT DEBUG was refused, and its next script is as well */
    bool closing;                /* nothing is executed any more; closes once everything is sent */
    bool dead;                   /* nothing is sent any more either */
    enum { REPLY_ON, REPLY_OFF, REPLY_SKIP_NEXT, REPLY_SKIP } reply_mode;

    struct resp_parser resp;
    struct rpc_parser rpc;
    struct mp_buffer
        in;          /* bytes that wait: an incomplete request, or what back-pressure holds back */
    size_t in_start; /* of them, those done with */
    size_t in_need;  /* parsing again is of no use before so many have arrived */
    bool held;       /* whole requests may be among them */
    struct session_parcels parcels;

    struct mp_buffer out;
    size_t out_sent, out_free; /* bytes sent; bytes that may be sent */
    struct session_inserts inserts;
    struct session_mark *marks;
    size_t mark_first, mark_count, mark_capacity; /* marks[first..count) wait */
    unsigned batch;
    uint64_t waited_ts; /* largest that a mark of this batch has waited for; to ask the log once */

    /* Moving to another worker: session_move.c. */
    struct session_worker
        *_Atomic woken_at;    /* in whose `woken` its waits are put; under the wake_mutex of
                                                that one it stays */
    bool entered;             /* it is being executed */
    _Atomic bool kept_in_lua; /* its worker's Lua has something for it */

    struct session_sink sink;
    struct channels_listener listener;
    struct session_tracker *tracker; /* NULL: it does not track keys */
    struct session_excess excess;
    struct mp_buffer push; /* messages that are not in `out` yet, which may be being written */
    uint64_t push_ts;      /* what they rest on; 0: on what is durable */

    /* Transactions: what BEGIN, MULTI, EVAL and CALL use when nothing else is said. */
    bool level_given, lock_timeout_given;
    enum txn_level level;
    unsigned lock_timeout_ms;
    struct session_stream stream; /* of RESP */

    /* Waiting: of RESP one request, kept here. */
    struct session_wait wait;       /* of a request that is a transaction of its own */
    struct session_wait *suspended; /* this one or the stream's; nothing else is executed */
    struct arena kept_arena;
    struct redis_slice *kept_argv;
    unsigned kept_argc;
    unsigned group_pause, group_losses; /* batches without groups; how often one was lost lately */
    bool hurried;                       /* nobody waits any more */
    bool paused;                        /* `wait` is for the end of a pause */
    /* CLIENT UNBLOCK: the request that waits is run once more, and does not wait again. */
    enum { SESSION_UNBLOCK_NONE, SESSION_UNBLOCK_TIMEOUT, SESSION_UNBLOCK_ERROR } unblock;
    struct session_migration *migration; /* of MIGRATE, or NULL */
    uint64_t checkpoint;                 /* the ticket that SAVE waits for, 0: none */
    uint64_t sleep_until_ns, aof_ts; /* of WAIT, WAITAOF and DEBUG SLEEP, 0: none of them waits */

    /* Streams of MessagePack-RPC, and requests that wait: session_pending.c. */
    struct list rpc_streams, pendings;
    unsigned rpc_stream_count, pending_count;
    size_t pending_bytes;
    const char
        *rest; /* what has been read behind the message that is being executed; NULL: none is */
    size_t rest_size;
    bool sealed; /* what its socket has is not to be understood: TLS */
    uint64_t cancelled[SESSION_CANCELLED_MAX]; /* requests that were ended where they ran, by a
                                                  cancel that is still to be executed */
    unsigned cancelled_count;
    struct session_pending *pending_spare; /* for the next request, should it wait */

    /* MULTI */
    bool multi, multi_failed, multi_atomic;
    struct arena queue_arena, watch_arena;
    struct session_queued *queue_first, *queue_last;
    unsigned queue_count;
    struct session_watch *watch_first, *watch_last;
};

/* session_dispatch.c: runs one RESP request and writes exactly one reply, unless it has to wait:
 * then session->suspended is set, and session__execute_again runs it when that is READY. `found`: the
 * service's command of its name; NULL: it is to be looked for. */
void session__execute(struct session *session, const struct session_command *found,
                      const struct redis_slice *argv, size_t argc);
void session__execute_again(struct session *session);

/* The request that waits, if there is one, has been answered or is given up. */
void session__forget_kept(struct session *session);

/* How long a request waits for others; 0: without end. */
uint64_t session__lock_timeout_ms(const struct session *session);

/* Before a request that may need memory, without a current transaction: evicts keys if that must be.
 * ERROR_WAIT: it is to be run again when it is READY. 0 otherwise; *granted is for redis_call and
 * lua_request. */
int session__room(struct session *session, bool *granted);

/* Whether a request that may write, and has not begun, is held up for a moment because memory is short
 * (once): it is to be run again when its wait is READY. session__room does so as well. */
bool session__slow(struct session *session, struct session_wait *wait);

/* After a run, as a transaction of its own, that has failed with `rc`. 0: run it again, with
 * *options, from its start; otherwise its result, ERROR_WAIT among them. */
int session__retry(struct session *session, int rc, unsigned *losses, struct txn_options *options);

bool session__arity_fits(const struct session_command *command, unsigned argc);

/* Whether argv[1] should name a subcommand of it, and names none. */
bool session__part_is_unknown(const struct session_command *command, const struct redis_slice *argv,
                              unsigned argc);

/* session_group.c. _group: runs requests from the first on in one transaction, and replies; how many,
 * 0: the first is to be executed by itself. *first: what is known of it for session__execute.
 * _groupable: whether this command may be among them. */
unsigned session__group(struct session *session, const struct resp_request *requests,
                        unsigned count, const struct session_command **first);
bool session__groupable(const struct redis_command *command);

/* What a data command of the request is called with. */
struct redis_call session__redis_call(struct session *session,
                                      const struct session_request *request);

/* Whether events of keys that are not there are asked for: what is deferred wants more than a
 * read-only transaction. */
bool session__misses_wanted(const struct session *session);

/* session.c. What CLIENT LIST shows of its memory, which another worker may be asked for. */
void session__bytes_note(struct session *session);

/* service.c. The session has something to do or to send: its connection is told. */
void session__ready(struct session *session);

/* Asks the worker's loop for session_worker_run; from any thread. */
void session__worker_wake(struct session_worker *worker);

/* A limit is to be looked at then, or earlier. */
static inline void session__due_at(struct session_worker *worker, uint64_t ns)
{
    if (ns < worker->due_ns)
        worker->due_ns = ns;
}

/* A request or a command of EXEC has been executed: counts it, and looks at how long it took. */
void session__executed(struct session *session, const struct session_request *request, int rc,
                       uint64_t ticks);

/* Looks a request up and checks its arguments: the command or subcommand, or NULL with the error in
 * the diagnostics (ERROR_INVALID). */
const struct session_command *session__resolve(struct session *session,
                                               const struct redis_slice *argv, unsigned argc);

/* Runs a data command in a transaction of its own; as a command's function returns. */
int session__run_redis(struct session *session, struct session_request *request);

/* session_prefetch.c: brings the rows that a batch of requests names into the cache, when that has
 * paid lately; and after the batch notes what it cost. */
struct session_prefetch_try {
    bool counts, on;
    uint64_t start_ticks;
};
struct session_prefetch_try session__prefetch(struct session *session,
                                              const struct resp_request *requests, unsigned count);
void session__prefetch_end(struct session *session, struct session_prefetch_try try,
                           unsigned count);

/* session_pending.c: the same for a MessagePack-RPC message. _again: those that need not wait any
 * more; true when there were any. _full: nothing more can be kept. _end: forgets all of it. */
void session__execute_rpc(struct session *session, const struct rpc_request *request);
bool session__pending_again(struct session *session);
bool session__pending_full(const struct session *session);
void session__pending_hurry(struct session *session);
void session__pending_postpone(struct session *session);
void session__pending_end(struct session *session);

/* session.c. The reply that ends at the buffer's end waits for `ts`. A silent one has no bytes, but
 * the connection reads the latest until the log has reached it as well. */
void session__reply_end(struct session *session, uint64_t ts, uint64_t rpc_id, bool silent);

/* True when an earlier reply still waits, or keys are watched: reads take the latest (rule 9). */
bool session__reads_latest(struct session *session);

/* It speaks RESP2 and listens to channels: messages and replies cannot be told apart, so only a few
 * commands are allowed. */
static inline bool session__listening(const struct session *session)
{
    return session->protocol == RESP2 && channels_listener_count(&session->listener) > 0;
}

/* Throws away the output from `size` on. */
static inline void session__truncate(struct session *session, size_t size)
{
    session->out.size = size;
    if (session->inserts.count > 0)
        session__inserts_cut(&session->inserts, size);
}

/* Writes an error reply and counts it; returns SESSION_REPLIED_ERROR. */
int session__error(struct session *session, const char *prefix, const char *message);
int session__errorf(struct session *session, const char *prefix, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a text that begins with its prefix. */
int session__error_text(struct session *session, const char *text);

/* The error reply of a negative code, from the diagnostics. */
int session__error_code(struct session *session, int code);

/* Time for a command: read again every few commands, at the start of each input, and when told that
 * long has passed. */
uint64_t session__now_ms(struct session_worker *worker);
static inline void session__now_forget(struct session_worker *worker)
{
    worker->now_left = 0;
}

/*
 * Between the steps of a request that goes over much, while its session is `entered`: lets the worker's other
 * connections go on as Lua code does (lua_runtime_let_in). What others may look at meanwhile must be whole; the session's own output is
 * not sent. A struct session_worker, as redis_call.pause has it. In session.c.
 */
void session__let_in(void *worker);

/* session_connection.c */
int session__ping(struct session *session, struct session_request *request);
int session__echo(struct session *session, struct session_request *request);
/* Makes the parser of RPC anew, with the limit of a session that is, or is not, authenticated. */
void session__rpc_limit(struct session *session);
int session__hello(struct session *session, struct session_request *request);
int session__auth(struct session *session, struct session_request *request);
int session__quit(struct session *session, struct session_request *request);
int session__reset(struct session *session, struct session_request *request);
int session__select(struct session *session, struct session_request *request);
int session__shutdown(struct session *session, struct session_request *request);

/* What has come and has not been executed. */
static inline size_t session__input_bytes(const struct session *session)
{
    return session->in.size - session->in_start + session__parcels_bytes(&session->parcels);
}

/* session_order.c. _order: leaves it to the session's worker; under the service's mutex. _stir: the
 * worker looks after orders; from any thread. _pause_holds: the service is paused, and this request
 * has to wait for it: session->suspended is set. */
void session__order(struct session *session, enum session_order order);
void session__worker_stir(struct session_worker *worker);
void session__orders_take(struct session_worker *worker);
void service__stir_all(struct service *service);
void service__pause(struct service *service, uint64_t ms, bool all);
void service__unpause(struct service *service);
/* Closes those that have been idle for too long; when to look again, UINT64_MAX: not. */
uint64_t session__idle_close(struct session_worker *worker, uint64_t now_ns);
bool session__pause_holds(struct session *session, const struct session_command *command);

/* session_acl_command.c */
extern const struct session_command session__acl_commands[];

/* session_client.c */
int session__client_unpause(struct session *session, struct session_request *request);
extern const struct session_command session__client_commands[];
/* The line of CLIENT INFO. */
void session__about_put(struct session *session, struct mp_buffer *out);
void session__about_name_set(struct session *session, char **field, const char *text, size_t size);
bool session__name_valid(const struct redis_slice *name);

/* session_command.c. _spec: what is published about a command, with its ACL categories; NULL for one
 * of a module. _put_help: the reply of HELP, with the line before and those of HELP itself. */
const struct redis_spec *session__spec(const struct session *session,
                                       const struct session_command *command);
/* A command by name, or a subcommand by "parent|sub"; NULL. */
const struct session_command *session__command_named(struct session *session,
                                                     const struct redis_slice *name);
void session__put_help(struct session *session, const char *name, const char *const *lines,
                       size_t count);
int session__command(struct session *session, struct session_request *request);
extern const struct session_command session__command_commands[];

/* session_info.c */
int session__info(struct session *session, struct session_request *request);
/* session_checkpoint.c */
int session__save(struct session *session, struct session_request *request);
int session__bgsave(struct session *session, struct session_request *request);
int session__bgrewriteaof(struct session *session, struct session_request *request);
int session__lastsave(struct session *session, struct session_request *request);
int session__time(struct session *session, struct session_request *request);
extern const struct session_command session__config_commands[];

/* session_backup.c */
extern const struct session_command session__backup_commands[];

/* session_multi.c */
int session__multi(struct session *session, struct session_request *request);
/* EXEC itself has been refused, as the diagnostics say: nothing is queued any more. Replies. */
int session__exec_refused(struct session *session);
int session__exec(struct session *session, struct session_request *request);
int session__discard(struct session *session, struct session_request *request);
int session__watch(struct session *session, struct session_request *request);
int session__unwatch(struct session *session, struct session_request *request);
int session__multi_queue(struct session *session, const struct session_command *command,
                         const struct redis_slice *argv, unsigned argc);
void session__multi_end(struct session *session);
void session__watch_end(struct session *session);

/* session_begin.c: interactive transactions over RESP. */
int session__begin(struct session *session, struct session_request *request);
int session__start(struct session *session, struct session_request *request);
int session__commit(struct session *session, struct session_request *request);
int session__rollback(struct session *session, struct session_request *request);
int session__savepoint(struct session *session, struct session_request *request);
int session__release(struct session *session, struct session_request *request);
int session__isolation(struct session *session, struct session_request *request);
int session__locktimeout(struct session *session, struct session_request *request);
/* The level of what declares none. */
static inline enum txn_level session__level(const struct session *session)
{
    return session->level_given ? session->level : TXN_SERIALIZABLE;
}

/* session_pubsub.c; more in its header */
extern const struct session_command session__pubsub_commands[];

/* session_lua.c */
int session__eval(struct session *session, struct session_request *request);
int session__eval_ro(struct session *session, struct session_request *request);
int session__evalsha(struct session *session, struct session_request *request);
int session__evalsha_ro(struct session *session, struct session_request *request);
/* session_event.c: runs the triggers of an event of this session, or of the start of the server by
 * whichever worker comes first. Errors of those whose error does not matter are logged. */
int session__event(struct session *session, enum trigger_event event);
void session__start_event(struct session_worker *worker);

int session__call(struct session *session, struct session_request *request);
int session__fcall(struct session *session, struct session_request *request);
int session__fcall_ro(struct session *session, struct session_request *request);
int session__lua(struct session *session, struct session_request *request);
/* Stops the scripts, or the functions, that other workers run: replies. */
int session__scripts_kill(struct session *session, bool functions);
/* Lines of text, ended by NULL, as HELP gives them. */
void session__put_lines(struct session *session, const char *const *lines);
/* argv[2] as a number of keys that follow it; `no_number` is what is said when it is none. */
int session__numkeys_parse(const struct session_request *request, const char *no_number,
                           unsigned *keys);
/* EVAL of a source, or FCALL of the function of this name. */
int session__script_run(struct session *session, struct session_request *request,
                        const struct redis_slice *source, bool function, bool readonly);
extern const struct session_command session__script_commands[];

/* A script (eval is set), text, or a procedure. Results of the last two are in the worker's
 * `result`. */
struct session_lua_run {
    struct lua_redis_eval *eval;
    struct redis_sink *sink;
    const char *name; /* or text */
    size_t name_size;
    const char *args; /* a MessagePack array */
    bool text;
    bool schema;                        /* a change of the schema that `args` say */
    const struct lua_space_call *space; /* a statement on a space, or NULL */
    bool readonly;
    bool tells; /* its progress, as that of this request of MessagePack-RPC */
    uint64_t tells_id;
};

/* A procedure or text with run->args, which are NULL when memory was out; and its reply. _formatted:
 * in the format that the connection has chosen; also a statement on a space. */
int session__run_packed(struct session *session, struct session_request *request,
                        const struct session_lua_run *run);
int session__run_formatted(struct session *session, struct session_request *request,
                           const struct session_lua_run *run);

/* session_space.c: statements on spaces and changes of the schema. _call: what a request that has
 * been read asks of Lua. */
struct lua_space_call session__space_call(const struct space_request *request);
int session__space_insert(struct session *session, struct session_request *request);
int session__space_replace(struct session *session, struct session_request *request);
int session__space_upsert(struct session *session, struct session_request *request);
int session__space_update(struct session *session, struct session_request *request);
int session__space_delete(struct session *session, struct session_request *request);
int session__space_get(struct session *session, struct session_request *request);
int session__space_mget(struct session *session, struct session_request *request);
int session__space_select(struct session *session, struct session_request *request);
int session__space_count(struct session *session, struct session_request *request);
int session__space_create(struct session *session, struct session_request *request);
int session__space_alter(struct session *session, struct session_request *request);
int session__space_truncate(struct session *session, struct session_request *request);
int session__space_drop(struct session *session, struct session_request *request);
int session__space_info(struct session *session, struct session_request *request);
int session__space_list(struct session *session, struct session_request *request);
int session__index_create(struct session *session, struct session_request *request);
int session__index_alter(struct session *session, struct session_request *request);
int session__index_drop(struct session *session, struct session_request *request);

/* session_rpc_listen.c: lua_request.progress, with the session as argument. */
int session__rpc_progress(void *arg, uint64_t id, const char *value, size_t size, uint64_t ts);

/* session_function.c */
extern const struct session_command session__function_commands[];

/* Runs it as a statement of `stream`, or, when that is NULL, as the request of `wait`. As a
 * command's function returns. */
int session__lua_run(struct session *session, struct session_stream *stream,
                     struct session_wait *wait, const struct session_lua_run *run,
                     uint64_t *reply_ts);
bool session__lua_command_taken(void *arg, const char *name, size_t size);
int session__lua_server_command(void *arg, struct db_worker *db, uint64_t session_id,
                                struct txn *txn, uint64_t now_ms, int protocol,
                                const struct redis_slice *argv, unsigned argc,
                                struct redis_sink *sink);
int session__lua_before(void *arg, struct db_worker *worker, uint64_t session_id, uint32_t user_id,
                        const struct redis_command *command, const struct redis_slice *argv,
                        unsigned argc, uint64_t snapshot_ts);
uint32_t session__lua_info(void *arg, struct mp_buffer *out);
uint32_t session__lua_options(void *arg, struct mp_buffer *out);
bool session__lua_session(void *arg, uint64_t session_id, struct lua_peer *out);
void session__lua_session_kept(void *arg, uint64_t session_id);

/* session_value.c: a MessagePack value as a RESP reply (docs/protocol.md has the table); advances
 * *value. */
void session__put_value(struct session *session, const char **value);

/* The same in the format that the connection has chosen. 0, or ERROR_MEMORY. */
int session__put_result(struct session *session, const char *value);

/* The values that Lua returned, a MessagePack array: none is nil, one is itself, several are an
 * array. */
const char *session__results_value(const char *results);

/* session_sink.c */
extern const struct redis_sink_vtab session__sink_vtab;
extern const struct redis_sink_script_vtab session__sink_script_vtab;

#endif
