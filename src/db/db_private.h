/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_DB_PRIVATE_H
#define DB_DB_PRIVATE_H

/*
 * What the files of db share among themselves.
 *
 * A store is what stays of a space while the pictures of it in the catalog come and go: the head
 * with its rows, and the trees of its indexes. A store is named by space id and incarnation
 * (invariant 21): truncation gives the space a new one.
 *
 * Catalogs are counted: the database holds the newest, each worker those that its transaction may
 * have used. Changed only inside the gate.
 */
#include <pthread.h>

#include "base/tuner.h"
#include "db/body_options.h"
#include "db/catalog.h"
#include "db/db.h"
#include "db/expiry.h"
#include "db/space.h"
#include "db/throttle.h"
#include "mem/budget.h"
#include "storage/engine.h"
#include "storage/lsm/lsm.h"
#include "storage/manifest.h"

enum {
    STORE_BUCKETS = 256,
    HELD_CATALOGS_MAX = 2,
    ONLINE_ROWS_MIN = 1000,
    BUILD_SORT_BYTES = 16 << 20,
    BUILD_ROUND_BYTES = 64 << 20,
    INGEST_MARGIN = 1 << 24
};

/* The place of the primary index, whose tree is the head's, has the tree of an index that is being made
 * again, as long as that is (ddl_rebuild.c). */
enum { TREE_AGAIN = 0 };

struct store {
    struct head head;
    struct db *db;
    struct store *next; /* of the same bucket */
    _Atomic uint32_t
        references;         /* of the database, as long as it is not dropped; of a checkpoint */
    _Atomic bool dropped;   /* set under stores_mutex: what it has is of no use to anybody */
    bool taken;             /* of the checkpoint's thread: among the stores that it works on */
    uint64_t tidy_again_ns; /* of the checkpoint's thread: after a failure not before */
    _Atomic uint64_t compactions_failed;
    _Atomic bool
        ingesting; /* rows are being ingested: the space is not changed. Set when nobody has the gate */
    uint64_t k;        /* rows up to this timestamp are in the body, and replay passes over them */
    struct body *body; /* where cold rows live; opened when the catalog names the engine */
    struct body_options configured; /* of the body; changed inside the gate */
    struct expiry expiry;           /* of its rows, where head.expiry is set */
    struct head_body published;     /* what readers have of it, if rows leave the head */
    struct tree *trees[INDEX_MAX];  /* of secondary indexes, by index id; and [TREE_AGAIN] */
    _Atomic uint64_t build_rows,
        build_total; /* of the change that looks at rows while others write */
    struct space
        *space; /* the newest picture; NULL until the catalog is read. Changed inside the gate. */
};

struct catalog {
    _Atomic uint32_t references;
    uint64_t version;
    struct arena arena; /* all of the below */
    bool memory_out;    /* while it was made */
    uint32_t space_count, func_count, record_count[CATALOG_KINDS];
    uint32_t events;       /* of no space that have enabled triggers: bits */
    struct space **spaces; /* in order of id */
    struct func **funcs;
    struct catalog_record *records[CATALOG_KINDS];
    struct name_table *space_names, *func_names;
};

/* The budget, and what the database is asked for by it (memory.c). */
struct db_memory {
    struct budget budget;
    struct throttle throttle;
    struct budget_client checkpoint;
    bool joined;
    pthread_mutex_t
        cache_mutex;     /* orders making the cache and changing its policy, and looking at them */
    struct cache *cache; /* of what bodies have read; NULL until the first reads while it runs */
    const char *cache_policy;
    struct budget_client blocks;
    uint64_t ticket;     /* of the checkpoint that was asked for last; under the budget's mutex */
    _Atomic bool evicts; /* keys are evicted when memory is short */
};

/* Knobs, and what was measured at the last look (tune.c). */
enum { DB_KNOBS = 5 };
enum { REDIS_RANKS_MAX = 16 };
struct db_tuning {
    struct tuner tuner;
    struct tuner_knob knobs[DB_KNOBS];
    bool started;
    uint64_t flushes, flush_ns, reads, read_ns, steps, steps_ns;
    uint64_t blocks, blocks_ns, followed, gathered, gathered_in_vain;
};

struct db {
    struct io *io;
    struct lsm_space room; /* on the disk of `io` */
    struct clock *clock;
    struct wal *wal;
    const struct db_expressions *expressions; /* or NULL */
    struct heap *heap;
    struct db_memory memory;
    struct db_tuning tuning;
    struct epoch_domain *epochs;
    struct txn_system *txn;
    struct tree_thread boot; /* of the thread that opens and closes */
    struct store *stores[STORE_BUCKETS];
    pthread_mutex_t stores_mutex; /* orders a store's end against taking its changed rows, and its
                                     references; the list against who goes over it outside the gate */
    struct manifest loaded;       /* what recovery has found, until the checkpoint takes it over */
    struct txn_changes replayed;  /* rows that recovery has taken from the log */
    struct checkpoint *checkpoint;
    struct store *space_store, *index_store;
    struct redis_store {
        struct store *store;
        struct txn_index expiries; /* its tree is the store's trees[1] */
        struct txn_index numbers;  /* of the elements alone: trees[2] */
    } redis[REDIS_DATABASES + 1];  /* the last one is that of the elements */
    struct sequences *sequences;
    pthread_mutex_t catalog_mutex; /* orders taking a reference against replacing the catalog */
    struct catalog *catalog;
    pthread_mutex_t discard_mutex;       /* orders changes of the list; innermost */
    struct discarded *_Atomic discarded; /* dropped, and to be freed by the checkpoint's thread */
    uint64_t online_rows_min;   /* from so many rows on an index is built while others write */
    size_t build_sort_bytes;    /* memory for the keys of an index over rows that are in a body */
    uint64_t build_round_bytes; /* and how much of them a checkpoint takes */
    uint64_t ingest_margin;     /* how far ahead of the clock rows that are ingested are at first */
    bool builds_stale;          /* recovery has met indexes that were being built */
    _Atomic uint64_t next_file; /* numbers for the names of files of bodies */
    uint64_t last_revision;     /* of a function's body; changed inside the gate */
    _Atomic uint64_t catalogs_made; /* numbers pictures, also those that are never published */
    CACHE_ALIGNED _Atomic uint64_t schema_version;
    CACHE_ALIGNED _Atomic uint64_t redis_due_ms;   /* db_redis_due_ms */
    _Atomic uint64_t redis_ranks[REDIS_RANKS_MAX]; /* db_redis_ranks_ask; 0: free */
};

struct db_worker {
    struct db *db;
    struct txn_worker *txn;
    struct ddl *ddl;                         /* the schema transaction that goes on, or NULL */
    struct catalog *held[HELD_CATALOGS_MAX]; /* the last one is in use; the one before it may still
                                                be by the caller who took it before the transaction
                                                began */
    unsigned held_count;
    uint64_t held_begun;   /* the transaction whose picture the last one is (txn_worker_begun) */
    uint32_t user_id;      /* for whom it works */
    struct access *access; /* made of the newest catalog when somebody asked; or NULL */
};

/* The knobs are there from start to stop: while there is a log, and nobody calls after it. */
int db__tuning_start(struct db *db, const struct db_options *options);
void db__tuning_stop(struct db *db);

/* The budget is there as soon as the heap is; checkpoints belong to it between start and stop. */
void db__memory_create(struct db *db, const struct db_options *options);
void db__memory_start(struct db *db);
void db__memory_stop(struct db *db);
void db__memory_destroy(struct db *db);

/* Tells the throttle (db/throttle.h) of the course of a checkpoint and of the debt of compaction; _tick, now and then: from where on
 * writers look. Of the checkpoint's thread. */
void db__throttle_begin(struct db *db);
void db__throttle_written(struct db *db, uint64_t done, uint64_t rows);
void db__throttle_free(struct db *db);
void db__throttle_end(struct db *db, bool ok);
void db__throttle_debt(struct db *db, double debt);
void db__throttle_tick(struct db *db);

/*
 * Stores. `find` gives NULL when there is none; `make` adds one with an empty head, `track` says whether a
 * checkpoint writes its rows, `unlink` takes it off the list. They change in the gate, or before workers run, and with
 * stores_mutex too (unlink: the caller's), since others add up what all of them take, outside of any transaction
 * (memory.c).
 */
struct store *db__store_find(struct db *db, uint32_t id, uint32_t incarnation);
int db__store_make(struct db *db, struct tree_thread *thread, uint32_t id, uint32_t incarnation,
                   struct store **out);
void db__store_track(struct store *store, bool tracked);
void db__store_unlink(struct db *db, struct store *store);

/* Drops a reference; with the last one the store goes. No thread may find it any more. */
void db__store_release(struct store *store, struct tree_thread *thread);

/* memory.c: the cache that bodies share, made at the first call. With the gate, or before workers run. */
int db__cache(struct db *db, struct cache **out);

/* Opens the body of a store: files NULL, or those of the manifest. `engine` is one that there is; `given` NULL: the catalog,
 * which is read later, has its options (db__catalog_publish). */
int db__store_body_open(struct store *store, const struct engine_vtab *engine,
                        const struct engine_file *files, unsigned file_count,
                        const struct body_options *given);

/* Puts options of its engine in force; whether they are others than before. In the gate, or before workers run. */
bool db__store_configure(struct store *store, const struct body_options *given);

/* Whether the rows of a store leave its head. */
static inline bool db__store_leaves(const struct store *store)
{
    return store->head.body != NULL;
}

/* Shows readers the body as it is: it has all rows up to k. On failure they keep what they have, and
 * no more rows leave. */
int db__store_publish(struct store *store, struct tree_thread *thread, uint64_t k);

/* What nobody can reach any more, a store or a tree of entries, is freed by a thread that has time:
 * at once for the caller. `_free` is that thread's, and of closing. */
void db__discard(struct db *db, struct tree_thread *thread, struct store *store, struct tree *tree);
bool db__discarded_any(const struct db *db);
void db__discarded_free(struct db *db, struct tree_thread *thread);

/* For a store that nobody else has seen. */
void db__store_delete(struct store *store, struct tree_thread *thread);

/* Makes the stores of the system spaces: the first ones that there are. */
int db__system_stores_make(struct db *db);

/* What a space is going to be, from this picture on: a row of _space; NULL: what it is. And which of its
 * indexes is made again from now on; 0: none. */
struct coming {
    uint32_t space_id; /* 0: all spaces as they were */
    const char *row;
    size_t size;
    uint32_t again_id;
};

/*
 * Makes the picture of the catalog as the transaction sees it, its own writes included. Every space
 * gets the stores and trees that exist; a space or index without one is ERROR_CORRUPT. What spaces
 * are being altered to is in no row: it comes from the newest picture, and from `coming` (may be
 * NULL). The result has one reference.
 */
int db__catalog_build(struct db *db, struct txn *txn, const struct coming *coming,
                      struct catalog **out);
void db__catalog_release(struct catalog *catalog);

/* Puts `catalog` in force, and what it says of bodies: inside the gate, or before workers run. Takes over the reference. */
void db__catalog_publish(struct db *db, struct catalog *catalog);

/* Whether a row of _index describes an index that is being built; after a start such rows are
 * deleted. */
bool db__index_row_building(const char *tuple);
int db__builds_forget(struct db *db);

/* Makes those indexes again whose rows are from behind k, up to which the bodies have everything, and
 * that are of spaces with rows there. Nobody else uses the database. */
int db__builds_again(struct db *db, uint64_t k);

/* Makes the trees that the catalog's rows call for and fills them from the rows: recovery. */
int db__trees_make(struct db *db, struct txn *txn);

/* Gives the tree of a hash index, which nobody writes to meanwhile, its directory; of other indexes
 * nothing. */
int db__directory_make(struct tree_thread *thread, const struct index *index, struct tree *tree);

/* Adds the entries of one index for every version of every row. `check`: a unique index must be
 * one. Rows must not change meanwhile. */
int db__index_fill(struct db *db, struct tree_thread *thread, struct index *index, bool check);

/* Key bytes: the parts of an index, and for a secondary index the primary key behind them. */
struct key_bytes {
    unsigned char *data;
    size_t size;
    size_t parts_size; /* of the index's own parts */
    bool has_nil;      /* among its own parts: then uniqueness does not apply */
};

/* The one key that a tuple has in an index, as in the primary one; in the arena. ERROR_SCHEMA;
 * ERROR_INVALID when it has several or none; with diagnostics. */
int db__key_of_tuple(struct arena *arena, const struct index *index, const char *tuple,
                     struct key_bytes *out);

/* All keys that a tuple has in an index, each once; perhaps none. `keys` may lead to `one`: not to
 * be copied. Errors of functions and conditions name the index and the row. */
struct key_list {
    uint32_t count;
    struct key_bytes *keys;
    struct key_bytes one;
};
int db__keys_of_tuple(struct arena *arena, const struct index *index, const char *tuple,
                      struct key_list *out);

/* The same without diagnostics, and none for a tuple that the index cannot have, from before a change of
 * format. ERROR_MEMORY. */
int db__keys_quietly(struct arena *arena, const struct index *index, const char *tuple,
                     struct key_list *out);

/* Whether a key is among them; `parts_only`: without the primary key behind. */
bool db__key_listed(const struct key_list *list, const void *key, size_t size, bool parts_only);

/* The primary key of a tuple as text for messages: {1, "a"}; cut to `size`. */
void db__row_text(const struct space *space, const char *tuple, char *out, size_t size);

/* Key bytes of a key array given by a user: a prefix of the index's parts. `exact`: all of them are
 * demanded. */
int db__key_of_array(struct arena *arena, const struct index *index, const char *key, bool exact,
                     struct key_bytes *out);

/* 1, 0, or an error of a function or condition. */
int db__index_matches(const struct txn_index *scan, const struct entry *entry,
                      const struct version *version);
void db__version_dropped(struct head *head, struct txn_worker *worker, struct row *row,
                         const struct version *dropped);

/* Entries and uniqueness in all secondary indexes for a version that has just been put on its row.
 * The other is of a mutation: entries of a row that is there already, before its version. */
int db__indexes_write(struct txn *txn, struct space *space, const struct version *version,
                      struct row *row);
int db__entries_write_first(struct txn *txn, struct space *space, const struct key_bytes *key,
                            const char *tuple);

/* ERROR_DUPLICATE, naming the index; and the row that has another one's key. */
int db__duplicate(const struct index *index);
int db__duplicate_row(const struct index *index, const char *tuple);

/* Whether a tuple fits the space's format and indexes. */
int db__tuple_check(const struct space *space, const char *tuple, size_t size);

/* watch.c: the smallest of k and what watches need of the log: everything above it. With `durable`, as
 * they stand after a crash. Outside of a transaction. */
int db__watch_floor(struct db_worker *worker, uint64_t k, bool durable, uint64_t *floor);

/* db_redis.c: the stores that Redis's data lies in have been made: they get their orders; and after
 * replay, what fills these. */
int db__redis_stores_make(struct db *db);
int db__redis_orders_fill(struct db *db);

/* sequence.c: before workers run, and after they have been closed. */
int db__sequences_open(struct db *db);
void db__sequences_close(struct db *db);

/* Puts the next number of the space's sequence into a tuple that has nil in its place, or ends before
 * it. Of a number that is there: the sequence goes on behind it. */
int db__sequence_fill(struct txn *txn, const struct space *space, struct tuple_ref *tuple);

/* Whether statements can work on it at all: it has a primary index. */
int db__space_usable(const struct space *space);

/* ERROR_INVALID unless the value is an array. */
int db__array_check(const char *value, const char *what);

/* The statements without the protection of system spaces. */
int db__space_replace(struct txn *txn, struct space *space, const char *tuple, size_t size);
int db__space_delete(struct txn *txn, struct space *space, const char *key);

/* Applies update operations to a tuple; the result is in the arena. */
int db__tuple_update(struct arena *arena, const struct space *space, const char *tuple,
                     const char *ops, int field_base, struct tuple_ref *out);

#endif
