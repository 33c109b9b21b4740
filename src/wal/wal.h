/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WAL_WAL_H
#define WAL_WAL_H

/*
 * The write-ahead log: log buffers that workers fill, epochs that the log writer ends, group
 * commit, segments, replay.
 *
 * Words: ts a commit timestamp, C the end of a log epoch, D the durable timestamp (invariants 1
 * to 7). README.md has the picture.
 *
 * A committing worker
 *      1. wal_reserve     may wait for room, may fail; nothing is promised yet
 *      2. wal_begin       says that a timestamp is being taken, and that it is above the clock's
 *                         present value
 *      3. wal_clock_next  takes it
 *      4. wal_append      leaves the record, can't fail; or not at all, when validation failed
 *      5. wal_end
 *      6. wal_write_now   when a reply is going to wait (or wal_kick_early, and wal_write_now soon)
 *
 * The log writer ends an epoch: it raises the flag `cutting`, fences, reads C from the clock,
 * records it as the last cut, lowers the flag; waits until no worker is between 2 and 5 with a
 * lower bound of at most C; takes from each buffer the records up to C and writes them as one
 * block. Once that block and all before it are durable it publishes D = C and calls on_advance.
 *
 * The log owns the clock, D and the cut, each on a cache line of its own (invariant 28). At all
 * durability levels the machinery is the same; what differs is when a reply may go (wal_reply_ts)
 * and where reads are served (wal_visible_ts).
 *
 * The log writes nothing to the process's own log: errors are returned, and a failure of the log
 * writer is told by on_advance, wal_failed and wal_failure.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "io/io.h"

enum wal_durability { WAL_DURABILITY_NONE, WAL_DURABILITY_INTERVAL, WAL_DURABILITY_COMMIT };

struct wal;
struct wal_buffer;

struct wal_options {
    struct io *io; /* the data directory; must outlive the log */
    enum wal_durability durability;
    unsigned buffer_max;        /* how many buffers (workers) at most */
    size_t buffer_bytes;        /* of each, made a power of two; 0: the default of 4 MiB */
    uint64_t segment_bytes;     /* at most, but for single larger blocks; 0: 64 MiB */
    unsigned flush_interval_ms; /* for interval and none, at the latest; 0: the default of 1000 */
    bool skip_flush; /* only for the test that proves that the crash test sees a missing flush */
    /* Where the log begins, as whoever released what came before has recorded it durably
     * (wal_first_needed, wal_release). Segments below are not read; what is left of them goes. This
     * one must be there: ERROR_CORRUPT names it otherwise. 0: nothing has ever been released. */
    uint64_t first_segment;
    /* The clock starts at least here: what is durable elsewhere may have later timestamps than the log. */
    uint64_t clock_min;
    /* Another directory, to which finished segments are copied, durably, before they are given up;
     * must outlive the log. NULL: none. */
    struct io *archive;
    unsigned archive_retry_ms; /* after a failure; 0: the default of 10 seconds */
    /* Whose wall-clock time goes into block headers; NULL: none does. */
    struct clock *clock;
    bool compression; /* zstd for large blocks */
    /* A follower that keeps more than so many bytes of log from being given up is cut off; 0: 1 GiB.
     */
    uint64_t follow_bytes_max;
    /* Called by the log writer, or who stands in for it (wal_write_now), after D or the written timestamp has advanced, and once after the
     * log has failed. Must be short; may read timestamps and the failure, not wait or close. It is
     * for waking those who sleep while replies wait. May be NULL. */
    void (*on_advance)(void *arg);
    void *arg;
};

/* What replay hands over, in no particular order of keys: the caller keeps the newest ts of a key
 * (invariant 3). `body` is what was given to wal_append, valid during the call. A nonzero result
 * ends replay and is returned. */
typedef int (*wal_replay_fn)(uint64_t ts, const void *body, size_t size, void *arg);

struct wal_replay_stats {
    uint64_t segments, blocks, records;
    uint64_t bytes;     /* of records */
    uint64_t last_ts;   /* the largest C replayed */
    uint64_t last_time; /* the wall-clock time of that C, ns; 0: unknown */
    uint64_t clock;     /* the largest timestamp seen in any valid block, used or not */
    uint64_t log_bytes; /* size of all segment files */
};

/*
 * Opens the log in the directory of options->io: reads what is there and calls `replay` for each
 * record of each whole block up to the end of the log, then records where the old incarnation
 * ended, begins a new segment and incarnation, and starts the log writer thread. ERROR_CORRUPT
 * (damage, with file, offset and check), ERROR_VERSION, ERROR_IO, ERROR_MEMORY, ERROR_INVALID, or
 * what `replay` returned; nothing is lost by trying. `options` is copied. The caller owns *out and
 * ends it by wal_close.
 */
int wal_open(const struct wal_options *options, wal_replay_fn replay, void *arg,
             struct wal_replay_stats *stats, struct wal **out);

/* Makes everything appended durable at every level, stops the log writer and frees. Returns 0, or
 * ERROR_LOG_FAILED with the reason. No buffer may be in use. */
int wal_close(struct wal *wal);

/* A buffer, to be used by one thread at a time. ERROR_INVALID when all are taken, ERROR_MEMORY.
 * What is in it when it is closed still goes to the log. */
int wal_buffer_open(struct wal *wal, struct wal_buffer **out);
void wal_buffer_close(struct wal_buffer *buffer);

/* Gives memory that much has gone through back to the system, when all of it has been taken; else
 * nothing. For the worker's idle moments; the next records cost some page faults. */
void wal_buffer_trim(struct wal_buffer *buffer);

/* Makes sure that a record with a body of `size` bytes can be appended to this buffer without
 * waiting, or several whose bodies, rounded up to 8, and 16 bytes for each further one fit into
 * that. Holds until the next wal_end. Waits while the buffer is full; ERROR_LOG_FAILED,
 * ERROR_TOO_LARGE (above WAL_RECORD_SIZE_MAX), ERROR_MEMORY. A reservation that is not used costs
 * nothing. Beyond half the buffer it is for a single record. */
int wal_reserve(struct wal_buffer *buffer, size_t size);
enum { WAL_RECORD_SIZE_MAX = 512 * 1024 * 1024 };

/* After wal_reserve of a single record: where a large one's body can be built, so that wal_append, given
 * this pointer, need not copy it; valid until wal_append or the next wal_reserve. NULL when there is no
 * such place: then the body is built elsewhere. */
void *wal_reserved_body(struct wal_buffer *buffer);

/* Steps 2 and 5. Between them nothing blocks, allocates or waits at length (invariant 4). */
void wal_begin(struct wal_buffer *buffer);
void wal_end(struct wal_buffer *buffer);

/* Step 3: the next commit timestamp, by a sequentially consistent fetch-add. */
uint64_t wal_clock_next(struct wal *wal);

/* Puts the clock forward to ts at least, as so many commits without a record would. Any thread. */
void wal_clock_raise(struct wal *wal, uint64_t ts);

/* Step 4. The body is copied (see wal_reserved_body) and checksummed here, in the worker. Timestamps of one buffer ascend
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

/* For pruning (invariant 12): true while no cut is being taken; *last_cut is then the C of the last
 * one that can be below the timestamp that the caller has taken before. */
bool wal_cut_state(const struct wal *wal, uint64_t *last_cut);

/* Asks the log writer to end an epoch soon. Cheap when it is busy or has been asked already. Called
 * after wal_end when a reply is going to wait; under none the log writer also wakes by itself. */
void wal_kick(struct wal *wal);

/*
 * The same, for a caller that can spare the time of a write into the page cache. Under interval, while
 * the log writer sleeps and there is little to write, it stands in for it: instead of two switches of
 * context. A write of more than two milliseconds is the last one of that kind for a second, so that a
 * slow disk holds up the log writer, and whoever has more to do once a second at most. Otherwise this is wal_kick. What
 * has been written is seen in wal_reply_ts. Not between wal_begin and wal_end.
 */
void wal_write_now(struct wal *wal);

/*
 * How long at most, under commit, the log writer waits for those who were there a moment ago: whoever a block has served is
 * likely to come back, and then one block serves him and those who were waiting for the next. It waits until so many commits are
 * there as the last block had and as were waiting when it was done, or until this time has passed since. So one client alone, and
 * whoever finds that nothing has been written for so long, is served at once. 0, as at first: it does not wait. Any thread.
 */
void wal_gather_set(struct wal *wal, unsigned us);

/* Another flush_interval_ms, from the last flush on. Any thread. */
void wal_flush_interval_set(struct wal *wal, unsigned ms);

/* wal_kick for a caller that has more to execute and calls wal_write_now when that is done. Under commit
 * it kicks, because the disk works meanwhile and what comes later gathers behind; else it does
 * nothing, because then a block costs CPU rather than time, and one serves the whole turn. */
void wal_kick_early(struct wal *wal);

/* Blocks until wal_reply_ts >= ts (for threads that have nothing else to do); kicks by itself. `ts`
 * has been handed out, with or without a record. 0 or ERROR_UNKNOWN_OUTCOME. */
int wal_wait(struct wal *wal, uint64_t ts);

/* Asks that everything up to ts, which has been handed out, be on stable storage soon, whatever the level,
 * for who waits for memory that is free from then on. Any thread; does not block. */
void wal_want_durable(struct wal *wal, uint64_t ts);

/* Blocks until everything up to ts is on stable storage, whatever the level; asks for a flush at
 * once. 0 or ERROR_UNKNOWN_OUTCOME. */
int wal_wait_durable(struct wal *wal, uint64_t ts);

/* Returns when every worker that was between wal_begin and wal_end at the call has left. For callers
 * that have just set a flag which committing workers look at after wal_begin: whoever did not see
 * it has left its record behind when this returns, and whoever begins later sees it. Both sides of
 * the flag are sequentially consistent, the store before this call and the load after wal_begin.
 * Takes a timestamp. Not to be called between wal_begin and wal_end. */
void wal_quiesce(struct wal *wal);

/* ------------------------------------------------------------------------- giving up segments */

/*
 * The number of the oldest segment that is needed once everything up to `ts` is safe elsewhere:
 * what may be recorded as wal_options.first_segment. No older segment has a record above ts.
 * `ts` is at most D. The log can always begin at the segment returned: it is an incarnation's
 * first, or its first block is durable. Any thread.
 */
uint64_t wal_first_needed(struct wal *wal, uint64_t ts);

/*
 * Gives up the segments below `first_segment`, which wal_first_needed has returned and which has
 * been recorded durably since. They are copied to the archive, if there is one, and then made into
 * new segments or removed, by a thread of the log's own and later. A segment that can't be archived
 * stays, is tried again with each call, each finished segment and after archive_retry_ms, and is
 * counted in wal_stats.archive_failures; wal_archive_failure has the reason. 0, or ERROR_INVALID
 * when it is above the current segment, or ERROR_LOG_FAILED, then nothing is given up.
 */
int wal_release(struct wal *wal, uint64_t first_segment);

/* Copies the reason of the last failure to archive a segment to `out`, "" when the last attempt
 * succeeded. Any thread. */
void wal_archive_failure(struct wal *wal, char *out, size_t size);

/* Waits until what has been released so far is gone and what is finished is archived, or could not
 * be. For tests and for a shutdown that wants an archive without a gap. */
void wal_release_wait(struct wal *wal);

bool wal_failed(const struct wal *wal);

/* The message of the failure, "" while there is none. */
const char *wal_failure(const struct wal *wal);

/* Since the start, but for what is on disk: segments not given up, the bytes of their files, and how
 * many of those are used. */
struct wal_stats {
    uint64_t blocks, records;
    uint64_t stood_in; /* blocks that others than the log writer have written: wal_write_now */
    uint64_t bytes;    /* of blocks, with their padding */
    uint64_t segments, log_bytes, used_bytes;
    uint64_t flushes;  /* under commit one for each block */
    uint64_t flush_ns; /* under interval and none: how long they took together */
    uint64_t write_ns; /* what blocks took together, from the log writer's hands to the disk */
    uint64_t followed; /* under commit: blocks at whose end others waited for the next one */
    uint64_t gathered,
        gathered_in_vain; /* times that was waited (wal_gather_set); and less than half of them came */
    uint64_t released, recycled; /* segments given up; those of them made into new ones */
    uint64_t archived, archive_failures;
    uint64_t compressed_from, compressed_to; /* bytes of records before and after compression */
    uint64_t followers_cut;
};
void wal_stats_get(const struct wal *wal, struct wal_stats *out);

/* ----------------------------------------------------------------------------------- following */

/*
 * A follower reads what has become durable while the log goes on: each record, in order of ts, from
 * any position that the log still has. Positions are timestamps: "everything up to this". While it
 * is open the segments from where it is on stay, unless it keeps more than follow_bytes_max of them:
 * then it is cut off. One thread at a time; to be closed before the log is.
 */
struct wal_follower;

struct wal_follow_record {
    uint64_t ts;
    const void *body; /* until the next call */
    size_t size;
};

/* `from_ts`: the first record is the first above this. ERROR_NOT_FOUND when the log no longer has
 * all that followed, ERROR_INVALID when it is ahead of the clock, ERROR_MEMORY. */
int wal_follow_open(struct wal *wal, uint64_t from_ts, struct wal_follower **out);
void wal_follow_close(struct wal_follower *follower);

/*
 * The next record. ERROR_AGAIN: there is none that is durable (no diagnostics). ERROR_BUSY: it is
 * still on its way through a segment, to be called again after others have had their turn (none
 * either). ERROR_NOT_FOUND: it was cut off. ERROR_CORRUPT, ERROR_IO, ERROR_MEMORY.
 */
int wal_follow_next(struct wal_follower *follower, struct wal_follow_record *out);

/* All records up to this have been handed over, those of this timestamp as well. */
uint64_t wal_follow_position(const struct wal_follower *follower);

/* `wake` is called, once, when there may be a record after wal_follow_next has found none: by
 * another thread, shortly, and not after wal_follow_disarm or wal_follow_close. False: there may be
 * one now, and it is not going to be called. It may not call the log. */
bool wal_follow_arm(struct wal_follower *follower, void (*wake)(void *arg), void *arg);
void wal_follow_disarm(struct wal_follower *follower);

/* The newest position that a follower can have: C of the last durable block. */
uint64_t wal_follow_end(const struct wal *wal);
/* The oldest that one can begin at. */
uint64_t wal_follow_begin(struct wal *wal);

/* What one may keep, as the options say. */
uint64_t wal_follow_bytes_max(const struct wal *wal);

/* Bytes of the segments that are there for what is above ts, and not for what is above until_ts. */
uint64_t wal_held_bytes(struct wal *wal, uint64_t ts, uint64_t until_ts);

/* ------------------------------------------------------------------------------------- reading */

/* A block on its way out of the log, before its records. */
struct wal_block_info {
    uint64_t segment, offset, bytes;
    uint64_t incarnation, sequence, durable_sequence;
    uint64_t previous_c, c; /* its records are in (previous_c, c] */
    uint64_t time;          /* wall-clock time at which the epoch was cut, ns; 0: unknown */
    uint64_t records, data_bytes;
    uint32_t chunks;
};

/* A segment, before its blocks. */
struct wal_segment_info {
    uint64_t number, bytes;
    uint64_t incarnation, index; /* the segment's place in its incarnation, from 0 */
    uint64_t clock;              /* no timestamp of an earlier incarnation is larger */
    uint32_t version;            /* of the format */
};

#define WAL_FIRST_FOUND UINT64_MAX

struct wal_read_options {
    struct io *io; /* a data directory, or an archive */
    /* As in wal_options; WAL_FIRST_FOUND: the log begins with the oldest segment that is there,
     * whatever came before, as an archive does and what is shown to people. */
    uint64_t first_segment;
    /* Reading ends behind the last record of at most this ts, or the last block that was cut at
     * this time (ns since 1970) or before; what lies behind is not looked at. 0: all of the log. */
    uint64_t to_ts, to_time;
    /* Each may be NULL. A nonzero result ends reading and is returned. */
    wal_replay_fn each;
    int (*each_block)(const struct wal_block_info *block, void *arg);
    int (*each_segment)(const struct wal_segment_info *segment, void *arg);
    void *arg;
};

/*
 * Reads the log of a directory without changing it, also while it is being written: for restoring
 * and for `perigee wal`. Checks and errors are those of wal_open; ERROR_BUSY when a segment was
 * given up by the running database before this came to it. In an archive, what is there must
 * follow one another without a gap; the newest segment may be incomplete.
 */
int wal_read(const struct wal_read_options *options, struct wal_replay_stats *stats);

#endif
