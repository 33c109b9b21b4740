/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WAL_WAL_H
#define WAL_WAL_H

/*
 * The write-ahead log: log buffers that workers fill, epochs that the log writer ends, group
 * commit, segments, replay.
 *
 * Words: ts a commit timestamp, C the end of a log epoch, D the durable timestamp (invariants.md,
 * rules 1 to 7).
 *
 * A committing worker
 *   1. wal_reserve(bytes)          may wait for room, may fail; nothing is promised yet
 *   2. wal_begin(buffer)           says "a timestamp is being taken", with the clock as its lower
 * bound, before advancing the clock
 *   3. ts = advance the clock      (wal_clock_next)
 *   4. wal_append(buffer, ts, ..)  cannot fail; or nothing, when validation failed
 *   5. wal_end(buffer)
 * The log writer ends an epoch: it raises `cutting`, fences, reads C from the clock and records it
 * as the last cut, lowers the flag, waits until no worker is between 2 and 5 with a lower bound <=
 * C, takes from each buffer the records up to C, writes them as one block, and once that block and
 * all before it are durable, publishes D = C and calls on_durable.
 *
 * The log owns the clock, D, and the cut, each on a cache line of its own (invariant 28). Under
 * durability interval and none the same machinery runs; only when a reply may go differs: see
 * wal_visible_ts.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "io/io.h"

enum wal_durability { WAL_DURABILITY_NONE, WAL_DURABILITY_INTERVAL, WAL_DURABILITY_COMMIT };

struct wal;
struct wal_buffer;

struct wal_options {
    struct io *io; /* the data directory; must outlive the log */
    enum wal_durability durability;
    unsigned buffer_max;        /* how many buffers (workers) at most */
    size_t buffer_bytes;        /* of each; 0: the default of 4 MiB */
    uint64_t segment_bytes;     /* 0: the default of 64 MiB */
    unsigned flush_interval_ms; /* for interval; 0: the default of 1000 */
    bool skip_flush; /* only for the test that proves that the crash test sees a missing flush */
    /* Called by the log writer after D (or, under interval, the written timestamp) has advanced,
     * and once after the log has failed. Must be short and not call the log. It is for waking those
     * who sleep while replies wait. */
    void (*on_advance)(void *arg);
    void *arg;
};

/* What replay hands over, in no particular order of keys: the caller keeps the newest ts of a key
 * (invariant 3). `body` is what was given to wal_append, valid during the call. A nonzero result
 * ends replay and is returned. */
typedef int (*wal_replay_fn)(uint64_t ts, const void *body, size_t size, void *arg);

struct wal_replay_stats {
    uint64_t segments, blocks, records, bytes;
    uint64_t last_ts;   /* the largest C replayed */
    uint64_t clock;     /* the largest timestamp seen in any valid block, used or not */
    uint64_t log_bytes; /* size of all segment files */
};

/*
 * Opens the log in the directory of options->io: reads what is there and calls `replay` for each
 * record of each whole block up to the end of the log, then records where the old incarnation
 * ended, begins a new segment and incarnation, and starts the log writer thread. ERROR_CORRUPT
 * (damage, with file, offset and check), ERROR_IO, ERROR_VERSION, or what `replay` returned.
 */
int wal_open(const struct wal_options *options, wal_replay_fn replay, void *arg,
             struct wal_replay_stats *stats, struct wal **out);

/* Makes everything appended durable, stops the log writer and frees. Returns 0 or why the log had
 * failed. No buffer may be in use. */
int wal_close(struct wal *wal);

/* A buffer for the calling thread. ERROR_INVALID when all are taken. */
int wal_buffer_open(struct wal *wal, struct wal_buffer **out);
void wal_buffer_close(struct wal_buffer *buffer);

/* Makes sure that a record with a body of `size` bytes can be appended by this buffer without
 * waiting. Waits while the buffer is full; ERROR_LOG_FAILED, ERROR_TOO_LARGE (above
 * WAL_RECORD_SIZE_MAX), ERROR_MEMORY. A reservation that is not used costs nothing. */
int wal_reserve(struct wal_buffer *buffer, size_t size);
enum { WAL_RECORD_SIZE_MAX = 512 * 1024 * 1024 };

/* Steps 2 and 5. Between them nothing blocks, allocates or waits at length (invariant 4). */
void wal_begin(struct wal_buffer *buffer);
void wal_end(struct wal_buffer *buffer);

/* Step 3: the next commit timestamp, by a sequentially consistent fetch-add. */
uint64_t wal_clock_next(struct wal *wal);

/* Step 4. The body is copied and checksummed here, in the worker. Timestamps of one buffer ascend
 * (equal ones are allowed, invariant 28). */
void wal_append(struct wal_buffer *buffer, uint64_t ts, const void *body, size_t size);

/* The latest timestamp handed out. Sequentially consistent. */
uint64_t wal_clock(const struct wal *wal);

/* D. Acquire. */
uint64_t wal_durable_ts(const struct wal *wal);

/* V: at which reads are served and up to which replies may go: D under commit; the latest under the
 * other two; D whatever the level once the log has failed (rule 7). Under interval a reply
 * additionally waits until the record is with the operating system: wal_reply_ts. */
uint64_t wal_visible_ts(const struct wal *wal);

/* A reply that rests on timestamp ts may go when wal_reply_ts(wal) >= ts: D under commit, what has
 * been written under interval, everything under none; once the log has failed it no longer
 * advances. */
uint64_t wal_reply_ts(const struct wal *wal);

/* For pruning (invariant 12): true while no cut is being taken; *last_cut is then the last one's C.
 * The caller has taken its timestamp before. */
bool wal_cut_state(const struct wal *wal, uint64_t *last_cut);

/* Asks the log writer to end an epoch soon. Cheap when it is busy or has been asked already. Called
 * after wal_end when a reply is going to wait; under none the log writer also wakes by itself. */
void wal_kick(struct wal *wal);

/* Blocks until wal_reply_ts >= ts (for threads that have nothing else to do). 0 or
 * ERROR_UNKNOWN_OUTCOME. */
int wal_wait(struct wal *wal, uint64_t ts);

/* Blocks until everything up to ts is on stable storage, whatever the level. 0 or
 * ERROR_UNKNOWN_OUTCOME. */
int wal_wait_durable(struct wal *wal, uint64_t ts);

bool wal_failed(const struct wal *wal);

/* The message of the failure, "" while there is none. */
const char *wal_failure(const struct wal *wal);

struct wal_stats {
    uint64_t blocks, records, bytes, segments, log_bytes, flushes;
};
void wal_stats_get(const struct wal *wal, struct wal_stats *out);

/* Reads the log of a directory without changing it: for `perigee wal`. Calls back as replay does.
 */
int wal_read(struct io *io, wal_replay_fn each, void *arg, struct wal_replay_stats *stats);

#endif
