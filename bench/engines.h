/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_ENGINES_H
#define BENCH_ENGINES_H

/*
 * What bench_engines asks of a store, be it a space of ours with its head, transactions and log, or
 * another embedded library. Keys have ENGINES_KEY_BYTES and are in order as bytes are.
 *
 * Who opens a store uses it from one thread, but for readers, of which each thread has its own.
 * What goes wrong ends the process with a message.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ENGINES_KEY_BYTES = 16, ENGINES_DATA_BYTES = 100 };

struct engines_options {
    const char *dir;                    /* exists */
    uint64_t rows;                      /* about how many there will be */
    uint64_t memory_bytes, cache_bytes; /* the budget, and what of it is for caches */
    size_t block_bytes;
    bool sync; /* a write is on the disk before it is acknowledged */
};

struct engines_row {
    const char *key, *data;
};

/* Since it was opened. */
struct engines_written {
    double log_bytes;  /* what the log has written */
    double file_bytes; /* what was written elsewhere, compaction included; 0: unknown */
};

struct engines_reader;
struct engines_store;

struct engines_side {
    const char *name;
    struct engines_store *(*open)(const struct engines_options *options);
    /* Ends well; what is open again later is the same. */
    void (*close)(struct engines_store *store);
    /* One transaction: keys that are there get the new data. */
    void (*put)(struct engines_store *store, const struct engines_row *rows, unsigned count);
    /* Writes out what is in memory, and waits until no compaction is due. */
    void (*settle)(struct engines_store *store);
    void (*written)(struct engines_store *store, struct engines_written *out);
    struct engines_reader *(*reader_open)(struct engines_store *store);
    void (*reader_close)(struct engines_reader *reader);
    /* Each in a transaction, or at a snapshot, of its own. Whether the key is there; its data is looked at. */
    bool (*get)(struct engines_reader *reader, const char *key);
    /* Looks at up to `count` rows from `key` on, and returns how many there were. */
    uint64_t (*range)(struct engines_reader *reader, const char *key, uint64_t count);
};

extern const struct engines_side engines_lsm, engines_btree, engines_rocksdb, engines_lmdb;

/* Whether spaces can have the engine of this side. */
bool engines_offered(const struct engines_side *side);

/* Waits until the process has used next to no CPU for a second: whatever runs behind has ended. */
void engines_wait_quiet(void);

#endif
