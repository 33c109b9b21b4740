/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_H
#define REDIS_REDIS_H

/*
 * Redis commands as transactions on the Redis space. A command is a row of one declarative table:
 * name, arity, flags, key positions, the level it runs at, and its function.
 *
 * Commands know nothing of the wire: they write their reply into a sink, which RESP and Lua
 * implement. A command function runs inside a transaction that the caller has begun, and may be run
 * again from its start after a conflict. It returns 0 when it has written exactly one reply, or a
 * negative code with diagnostics: then the caller discards what the sink got of it and undoes its
 * writes (by a savepoint, when the transaction goes on). The message has no prefix;
 * error_prefix(code) (base/error.h) goes in front.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "db/db.h"
#include "redis/redis_config.h"

/* Bytes that somebody else owns. */
struct redis_slice {
    const char *data;
    size_t size;
};

/* Where a reply goes. Aggregates are announced with their size, their elements follow. */
struct redis_sink;
struct redis_scans;
struct redis_block;
struct redis_migration;
struct parcel;
struct redis_sink_vtab {
    void (*status)(struct redis_sink *sink, const char *text);
    void (*integer)(struct redis_sink *sink, int64_t value);
    void (*bulk)(struct redis_sink *sink, const void *data, size_t size);
    void (*null)(struct redis_sink *sink);
    void (*real)(struct redis_sink *sink, double value);
    void (*boolean)(struct redis_sink *sink, bool value);
    void (*array)(struct redis_sink *sink, size_t count);
    void (*map)(struct redis_sink *sink, size_t pairs);
    void (*set)(struct redis_sink *sink, size_t count);
    /* what a command that waited in vain replies, and EXEC: in RESP2 an array that is null */
    void (*null_array)(struct redis_sink *sink);
    /* an element that is an error; the prefix without its space, the message without the prefix */
    void (*error)(struct redis_sink *sink, const char *prefix, const char *message);
    /* a bulk string whose bytes are in a parcel, of which the sink may take a hold instead of copying
     * them; NULL: `bulk` does */
    void (*bulk_of)(struct redis_sink *sink, const void *data, size_t size, struct parcel *parcel);
};
/* What only scripts reply. */
struct redis_sink_script_vtab {
    void (*big_number)(struct redis_sink *sink, const char *digits, size_t size);
    void (*verbatim)(struct redis_sink *sink, const char format[3], const void *data, size_t size);
    /* the text as it is, prefix and all */
    void (*error)(struct redis_sink *sink, const char *text);
};
struct redis_sink {
    const struct redis_sink_vtab *vtab;
    const struct redis_sink_script_vtab
        *script; /* NULL: bulk strings and errors of `vtab` stand for that */
};

/* Who listens to channels: known to whoever has connections. `count`: how many do to this one, or to
 * the shard channel of the name. */
struct redis_audience {
    uint64_t (*count)(void *arg, const char *channel, size_t size, bool shard);
    void *arg;
};

/* The kind of what PUBLISH and its like defer (txn_defer): a MessagePack array of the channel, a
 * string, and the payload. */
enum {
    REDIS_DEFER_PUBLISH = 1,
    /* a key has changed: a MessagePack array of its database, its name and its type as a letter of
       redis_value.h, or 0; and the connection that has changed it, or 0. For those who wait for it,
       and those who keep copies of it. */
    REDIS_DEFER_KEY = 2,
    REDIS_DEFER_SPUBLISH = 3, /* as PUBLISH, to a shard channel */
    REDIS_DEFER_FLUSH = 4,    /* a database was emptied; no data */
    REDIS_DEFER_SWAP = 5      /* two databases have changed places: a byte for each */
};

struct redis_call {
    struct db_worker *worker;
    struct redis_lookups *lookups; /* NULL: nobody counts them */
    struct txn *txn;
    const struct redis_slice *argv; /* argv[0] is the command's name */
    unsigned argc;                  /* has passed redis_command_check */
    uint64_t now_ms;                /* one for the whole run (invariant 27) */
    struct redis_sink *sink;
    struct redis_scans *scans; /* redis/redis_scan.h; NULL: SCAN gives everything at once */
    const struct redis_audience *audience; /* NULL: PUBLISH answers 0 */
    const struct redis_config *config;     /* never NULL */
    unsigned database;                     /* 0 .. 15 */
    int protocol; /* 2 (or 0) or 3: of shapes that differ, such as scores beside members */
    const struct redis_interest *interest; /* NULL: nobody asks what becomes of keys */
    uint64_t client_id;                    /* of the connection, 0: nobody's */
    struct redis_block *block; /* redis/redis_block.h; NULL: the command must not wait for keys */
    struct redis_migration *migration; /* redis/redis_migrate.h; NULL: it must not wait for it */
    bool granted;    /* it is not refused for want of memory (redis_housekeeping_room) */
    bool scripted;   /* redis.call: an option that waits is refused */
    bool no_touch;   /* looking at a key is not using it (redis_access.h): CLIENT NO-TOUCH */
    uint32_t access; /* the note that keys get which are written; 0: as their use says */
    struct parcel *const *parcels; /* each of which is one of the arguments, and may be taken */
    unsigned parcel_count;
    const struct version *opened; /* what was looked at last: for redis_value.c, redis_migrate.c */
    /* Called now and then by commands that go over much, where nothing is held; NULL: not. */
    void (*pause)(void *arg);
    void *pause_arg;
    unsigned passed; /* elements and keys */
};

/* One more is about to be looked at. */
static inline void redis_passed(struct redis_call *call)
{
    enum { REDIS_PASSED_PAUSE = 256 };
    if (++call->passed % REDIS_PASSED_PAUSE == 0 && call->pause)
        call->pause(call->pause_arg);
}

/*
 * Who waits for keys or wants to know when they change: how many connections do. While both are 0 a
 * write says nothing to anybody. `waiting` is looked at when a write has been committed, and counted
 * up before who waits looks at the latest of its keys: so either that look sees the write, or the
 * writer sees who waits.
 */
struct redis_interest {
    _Atomic uint32_t waiting, tracking;
};

/* How many keys were looked up by commands that read, and were there or were not. One thread counts. */
struct redis_lookups {
    _Atomic uint64_t hits, misses;
};

enum redis_flags {
    REDIS_WRITE = 1,
    REDIS_READONLY = 2, /* never writes: may run in a read-only transaction */
    REDIS_FAST = 4,
    REDIS_DENY_OOM = 8,    /* may need memory */
    REDIS_ONE_ROW = 16,    /* runs at read committed; others are serializable (invariant 25) */
    REDIS_GATE = 32,       /* touches everything: runs alone from the first try */
    REDIS_BLOCKING = 64,   /* may wait for a key, where the caller can (redis_call.block) */
    REDIS_MOVABLE = 128,   /* other keys follow from the arguments: see `numkeys` and the function's
                              own words */
    REDIS_DANGEROUS = 256, /* of the category of that name */
    REDIS_NOSCRIPT = 512,
    REDIS_SHORT = 1024,  /* of the time of those that are fast, if what it is given is short */
    REDIS_REMOTE = 2048, /* talks to another server, where the caller can (redis_call.migration) */
    REDIS_CONTAINER = 4096, /* its first argument is a subcommand, with a row in redis_spec.h */
};

struct redis_command {
    const char *name; /* lower case */
    int arity;        /* as Redis: negative is a minimum */
    unsigned flags;
    int first_key, last_key, key_step; /* as in COMMAND; 0 when it has none */
    unsigned numkeys; /* the argument that tells how many keys follow it; 0: there is none */
    const char *summary, *since, *group;
    int (*run)(struct redis_call *call);
};

/* Finds a command regardless of case; NULL when there is none. Does not depend on how many there
 * are. */
const struct redis_command *redis_command_find(const char *name, size_t size);

/* All of them, in order of name; NULL behind the last. */
const struct redis_command *redis_command_at(unsigned n);

/* Runs it. What does not need memory (REDIS_DENY_OOM) is not refused for want of it. */
int redis_command_run(const struct redis_command *command, struct redis_call *call);

/* Checks the arity and, of a container, the subcommand: 0, or ERROR_INVALID with Redis's message.
 * What the caller has found for argv[0] is passed. */
int redis_command_check(const struct redis_command *command, const struct redis_slice *argv,
                        unsigned argc);

/* True when this run of it is on one row: REDIS_ONE_ROW, or a command on several keys that was
 * given one. */
static inline bool redis_command_one_row(const struct redis_command *command, unsigned argc)
{
    return (command->flags & REDIS_ONE_ROW) ||
           (command->last_key == -1 && command->first_key &&
            argc <= (unsigned)(command->first_key + command->key_step));
}

#endif
