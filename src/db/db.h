/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_DB_H
#define DB_DB_H

/*
 * A database: spaces of tuples over transactions and the log, and the catalog that describes them.
 *
 * Opening replays the log into the heads, reads the catalog from the system spaces and builds the
 * secondary indexes. Each thread that works with the database has a db_worker. Data statements
 * (db/space.h) run in a transaction of the worker's; statements that change the catalog (db/ddl.h)
 * are transactions of their own, alone in the gate.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "db/expression.h"
#include "io/io.h"
#include "txn/txn.h"

struct db;
struct db_worker;
struct catalog;

enum { DB_COMPACTION_THREADS_MAX = 16, DB_COMPACTION_STEP_BYTES = 64 << 10 };

/* When checkpoints are made by themselves, and at what pace (db/checkpoint.h). */
struct db_checkpoint_options {
    uint64_t log_bytes;   /* when the log has grown by so much since the last one; 0: never */
    uint64_t interval_ms; /* after so much time, if something has changed; 0: never */
    uint64_t rate;    /* bytes a second that it writes at most, and what compacts; 0: no limit */
    unsigned threads; /* that compact, made as there is work; at most 16; 0: one */
};

/*
 * For those who put a database together from elsewhere: who restores one, repairs one, or tries
 * whether one would start.
 */
struct db_source {
    /* Hands records to `each`, with `each_arg`, before those of the log, as wal_read does. The newest
     * timestamp of a key counts. NULL: there are none. */
    int (*replay)(wal_replay_fn each, void *each_arg, void *arg);
    void *arg;
    /* Where the log is, instead of with the rest, of which nothing is changed then. It begins anew
     * there: see wal_log_create. NULL: with the rest. */
    struct io *log;
};

struct db_options {
    struct io *io; /* the data directory, locked by the caller */
    struct clock *clock;
    enum wal_durability durability;
    unsigned worker_max;
    uint64_t memory_max;      /* bytes of the head and what it shares them with; 0: no limit */
    unsigned memory_cache;    /* percent of that for caches, once there are some */
    const char *cache_policy; /* of storage/cache/cache.h; NULL: the default */
    bool tuned;               /* knobs are adjusted (db/tune.h), */
    const char *tuner_limits; /* between these; NULL or "": those that db/tune.h names */
    unsigned memory_lua;      /* percent of that for Lua, by whoever has it; 0: it counts apart */
    void (*on_advance)(void *arg); /* see wal.h; also called when a checkpoint has ended */
    void *arg;
    struct db_checkpoint_options checkpoint;
    unsigned replay_threads;    /* 0: as many as the process has cores, at most 8 */
    uint64_t log_segment_bytes; /* these three as in wal.h */
    struct io *log_archive;
    bool log_compression;
    uint64_t watch_log_bytes;                 /* wal.h: follow_bytes_max */
    const struct db_expressions *expressions; /* outlives the database; NULL: definitions that
                                                 contain Lua are refused, by recovery too */
    const struct db_source *source;           /* NULL: all that counts is in io */
    bool skip_flush; /* only for the test that proves that the crash test sees a missing flush */
};

struct db_open_stats {
    struct wal_replay_stats log;
    uint64_t rows;      /* of the log that were replayed */
    uint64_t k;         /* of the last checkpoint; 0: there was none */
    uint64_t run_rows;  /* that came from its runs */
    uint64_t run_bytes; /* of its files */
    uint32_t spaces;
};

int db_open(const struct db_options *options, struct db_open_stats *stats, struct db **out);

/* Everything committed is durable when it returns 0. All workers are closed. */
int db_close(struct db *db);

int db_worker_open(struct db *db, struct db_worker **out);
void db_worker_close(struct db_worker *worker);

struct db *db_worker_db(struct db_worker *worker);
struct txn_worker *db_worker_txn(struct db_worker *worker);
struct wal *db_wal(struct db *db);
struct heap *db_heap(struct db *db);
struct io *db_io(struct db *db);
struct clock *db_clock(struct db *db);
struct txn_system *db_txn_system(struct db *db);

/*
 * The catalog. In a transaction: the newest at the first call, the same in every later one, valid
 * until it ends; spaces and indexes that statements are given come from there. Without one: the
 * newest, to be looked at until the next call on this worker. Immutable. Statements check at commit
 * that the space they worked under has not changed since (invariant 21).
 */
const struct catalog *db_catalog(struct db_worker *worker);

/* Another number after each change of the catalog, as the worker sees it: compare before using
 * anything derived from it. One acquire load. */
uint64_t db_schema_version(const struct db_worker *worker);

/*
 * Where Redis's data lies (db_redis.c): a head for each numbered database, and one for what large
 * collections are spread over. Their values are MessagePack in redis's own packing, of which this
 * much is known here: an array of three or four has nil or when the row expires, in milliseconds
 * since 1970, in second place; so has an array of two.
 */
struct head *db_redis_head(struct db *db, unsigned database);
struct head *db_redis_elements(struct db *db);

/* When a row with this value expires; 0: never. */
uint64_t db_redis_expiry(const struct version *version);

/*
 * The rows of a database that expire (DB_REDIS_ELEMENTS: of the elements), in order of time: keys of
 * entries are eight bytes of milliseconds, big-endian, and the row's key. Who puts a row that expires
 * says so behind txn_put (the value has been written). ERROR_MEMORY.
 */
enum { DB_REDIS_ELEMENTS = 16 };
struct txn_index *db_redis_expiries(struct db *db, unsigned database);
uint64_t db_redis_expiry_of_entry(const struct item *entry); /* of that order: when it is due */
int db_redis_expiry_add(struct txn *txn, struct db *db, unsigned database, struct row *row,
                        uint64_t expire_ms);

/*
 * Elements that are in order of a number, their value: those whose row key has DB_REDIS_NUMBERED behind
 * its first eight bytes. Keys of entries are these eight bytes, eight that are in order as numbers are
 * (db_redis_number_order; 0 and -0 are one), and the rest of the row's key. Who puts such a row says so
 * behind txn_put, with the value that he has put. ERROR_MEMORY.
 */
enum { DB_REDIS_NUMBERED = 'z' };
struct txn_index *db_redis_numbers(struct db *db);
int db_redis_number_add(struct txn *txn, struct db *db, struct row *row, const char *value);
uint64_t db_redis_number_order(double number);

/*
 * The earliest time at which a row may expire, in milliseconds since 1970; UINT64_MAX: none does. Who
 * looks after them takes it (then it is UINT64_MAX), looks, and gives back what he has found to be the
 * earliest; whoever adds one meanwhile lowers it himself. A row that commits after its time was looked
 * for is found with the next one.
 */
uint64_t db_redis_due_ms(const struct db *db);
uint64_t db_redis_due_take(struct db *db);
void db_redis_due_lower(struct db *db, uint64_t ms);

/*
 * Sorted sets whose members are to be counted (redis_zset_rank.h), by the numbers of their elements: _ask may be
 * called by any thread, and does nothing when many are asked for already, as who asks does so again. _asked gives
 * one of them, 0 when there is none; _done takes it out.
 */
void db_redis_ranks_ask(struct db *db, uint64_t id);
uint64_t db_redis_ranks_asked(const struct db *db);
void db_redis_ranks_done(struct db *db, uint64_t id);

#endif
