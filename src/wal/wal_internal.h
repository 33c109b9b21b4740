/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WAL_WAL_INTERNAL_H
#define WAL_WAL_INTERNAL_H

/*
 * What the files of src/wal share among themselves, and the mutations by which tests show that a
 * rule is needed.
 */
#include <pthread.h>

#include "wal/wal.h"
#include "wal/wal_format.h"

/* Each takes one rule out. Only tests set any. */
enum wal_mutation {
    WAL_MUTATION_NO_WAIT = 1, /* a cut does not wait for workers between begin and end (rule 1) */
    WAL_MUTATION_CLOCK_USED = 2,   /* recovery's clock looks at used blocks only (rule 1) */
    WAL_MUTATION_NO_END = 4,       /* the end of the old incarnation is not recorded (rule 2) */
    WAL_MUTATION_NO_DAMAGE = 8,    /* a bad block is always the end of the log (rule 2) */
    WAL_MUTATION_ANY_ORDER = 16,   /* D follows whichever block is durable (rule 2) */
    WAL_MUTATION_GO_ON = 32,       /* a failed write is passed over (rule 7) */
    WAL_MUTATION_NO_CUT_FLAG = 64, /* the flag `cutting` is not raised (rule 12) */
    WAL_MUTATION_NO_ADOPT =
        128, /* blocks that nothing knows durable are not written again (rule 2) */
    WAL_MUTATION_SLOW_CUT =
        256, /* no rule: the moment between reading C and recording it is drawn out */
    WAL_MUTATION_EAGER =
        512, /* no rule: another block starts while some are in flight, however small */
    WAL_MUTATION_STALE = 1024, /* whose block it is, and which, is not looked at (rule 2) */
    WAL_MUTATION_RECYCLE_NAMED =
        2048, /* a recycled segment has its name before its header (rule 2) */
    WAL_MUTATION_NO_ARCHIVE_WAIT = 4096, /* a segment goes before it has been archived */
    WAL_MUTATION_FIRST_ANY =
        8192, /* the log may begin at a segment of which nothing is durable (rule 2) */
    WAL_MUTATION_COMPRESS_SMALL = 16384, /* no rule: chunks of any size are compressed */
    WAL_MUTATION_NO_QUIESCE = 32768,     /* wal_quiesce does not wait */
    WAL_MUTATION_TWO_WRITERS =
        65536, /* the log writer does not wait for who stands in for it (rule 2) */
};

enum {
    WAL_COMPRESS_BYTES_MIN = 16 << 10, /* a chunk of less is not compressed */
    WAL_INFLIGHT_MAX = 8,              /* epochs whose blocks are being written */
    WAL_PIPELINE_BYTES =
        256 * 1024, /* so much pending starts another block while some are in flight */
    WAL_BLOCK_KEEP_BYTES = 4 << 20,     /* block memory above this is given back after use, */
    WAL_IDLE_KEEP_BYTES = 256 << 10,    /* above this when there is nothing left to be done */
    WAL_BUFFER_BYTES_DEFAULT = 4 << 20, /* and the least: */
    WAL_BUFFER_BYTES_MIN = 4096,
    WAL_EXTERNAL_BYTES_MAX = 64 << 20, /* of records outside of a ring, unless it is a single one */
    WAL_SEGMENT_BYTES_DEFAULT = 64 << 20,
    WAL_SEGMENT_BYTES_FIRST = 4 << 20, /* of an incarnation; each is twice the one before */
    WAL_STAND_IN_BYTES = WAL_COMPRESS_BYTES_MIN, /* who stands in writes less, */
    WAL_STAND_IN_ROOM_BYTES =
        256 << 10, /* into segments with so much room, which it does not wait for; */
    WAL_STAND_IN_SLOW_NS = 2 * 1000 * 1000,    /* who took that long */
    WAL_STAND_IN_REST_NS = 1000 * 1000 * 1000, /* is the last for so long */
    WAL_NONE_INTERVAL_MS = 10,                 /* durability none: written this often */
    WAL_FLUSH_INTERVAL_MS_DEFAULT = 1000,
    WAL_FLUSH_BYTES = 1 << 20, /* so much is flushed before the interval is over, */
    WAL_FLUSH_REST = 100,      /* not before so many times what the last flush took */
    WAL_ARCHIVE_RETRY_MS_DEFAULT = 10000,
    WAL_SPARES_MAX = 2,         /* segments given up that are kept to be made into new ones */
    WAL_COPY_BYTES = 256 << 10, /* archived in pieces of so much */
    WAL_ZEROS_PAUSES = 3,       /* between pieces of zeros: times what a piece took, */
    WAL_ZEROS_PAUSE_NS_MAX = 20 * 1000 * 1000, /* and at most so long */
    WAL_FOLLOW_HOPS = 256, /* headers passed over before others have their turn */
};

#define WAL_FOLLOW_BYTES_DEFAULT (UINT64_C(1) << 30)

/* In a ring: this bit in a record header's size says that the body is not there but a pointer to
 * the whole record. */
#define WAL_RECORD_EXTERNAL UINT32_C(0x80000000)

/*
 * A worker's ring. Positions only grow; a byte stands at position & mask. Records begin at
 * multiples of 8.
 *
 *      tail (log writer)                      head (worker)
 *      |  taken by an earlier cut  |  records  |  free
 */
struct wal_buffer {
    /* The worker's line: written by the worker, read by the log writer. `inflight` is 0, or no more
     * than the timestamp that is being taken. */
    CACHE_ALIGNED _Atomic uint64_t inflight;
    _Atomic uint64_t head;
    _Atomic uint64_t external_in; /* bytes of external records ever appended */

    /* Only the worker's. */
    CACHE_ALIGNED uint64_t tail_seen;
    uint64_t last_ts;
    unsigned char *external; /* memory reserved for one external record, */
    size_t external_bytes;   /* which takes so many bytes */
    bool external_wanted;    /* the reservation is for an external record */
    size_t reserved;         /* bytes of the ring that are promised */
    uint64_t trimmed;        /* `head` when the ring's memory was given back last */

    /* The log writer's line. */
    CACHE_ALIGNED _Atomic uint64_t tail;
    _Atomic uint64_t external_out;

    CACHE_ALIGNED struct wal *wal;
    unsigned number;
    bool open; /* under wal->mutex */
    uint64_t mask;
    unsigned char *ring;
};

/* What a cut takes from one buffer. */
struct wal_take {
    struct wal_buffer *buffer;
    uint64_t from, to; /* positions in the ring */
    uint64_t external_bytes;
    uint64_t bytes, records;
    uint32_t sum;
    bool external; /* some of the records are */
};

/*
 * A segment as long as its file is there, from the first one needed to the current one
 * (wal_release.c). Links, and what is not atomic, are under wal->mutex; the log writer adds at the
 * end, the keeping thread removes.
 */
struct wal_file {
    struct wal_file *next;
    uint64_t number;
    uint64_t bytes; /* of the file */
    uint64_t used;  /* up to the end of the last block; valid when finished */
    bool first;     /* of its incarnation */
    bool finished;  /* nothing will be written to it any more */
    bool released, archived;
    bool dead;            /* nothing in it counts: goes without being archived */
    _Atomic uint64_t c;   /* the largest of its blocks; 0: it has none */
    _Atomic bool durable; /* its first block is */
};

/* A segment that is being written. */
struct wal_segment {
    struct io_file *file;
    uint64_t number;
    uint64_t bytes;
    uint64_t used;
    uint32_t checksum;        /* of its header */
    unsigned pending;         /* blocks in flight */
    bool dirty;               /* has completed writes that no flush has covered */
    uint64_t first_sequence;  /* of its first block; 0: it has none */
    struct wal_file *entry;   /* in wal->files, from when it is current */
    struct wal_segment *next; /* the open ones, oldest first */
};

/* An epoch from its cut to its publication. */
struct wal_epoch {
    uint64_t c;
    uint64_t sequence; /* 0: no record, no block */
    struct wal_segment *segment;
    uint64_t offset;
    uint64_t bytes, records;
    uint64_t begun_ns; /* to be written */
    bool done;
    unsigned char *block; /* aligned memory, kept from use to use by some epoch or other */
    size_t block_bytes;
    bool external; /* it was one record's (wal__buffer_block), and goes when it has been written */
};

/* Where the log ended, as found by reading it. */
struct wal_tail_block {
    uint64_t segment, offset, bytes, sequence;
};

struct wal_end {
    uint64_t incarnation; /* the last one; 0 when there is no log */
    uint64_t sequence, segment, offset;
    uint32_t checksum;
    uint64_t durable_sequence;   /* the largest that a block of the last incarnation knew durable */
    uint64_t segment_max;        /* the largest number of any segment file */
    struct wal_tail_block *tail; /* used blocks above durable_sequence; malloc'ed */
    size_t tail_count, tail_capacity;
    struct wal_file *files; /* of the segments found, oldest first; malloc'ed */
    uint64_t begin;         /* all above this is there */
};

/* A segment, as those find it who read. */
struct wal_found {
    uint64_t number, size;
    struct wal_segment_header header;
    uint64_t used, c; /* behind the last block used; the largest C of those, 0 if there is none */
    bool counts;      /* not behind the end of its incarnation */
};

/* What the next block must say. */
struct wal_chain {
    uint64_t sequence; /* 0: whatever is there, and then the other two don't matter */
    uint32_t previous_checksum;
    uint64_t previous_c;
};

enum wal_block_state { WAL_BLOCK_VALID, WAL_BLOCK_ABSENT, WAL_BLOCK_BAD };

/* Reads blocks one after the other. */
struct wal_block_reader {
    struct io *io;
    unsigned mutations;
    unsigned char *memory; /* of the block or the headers read last */
    size_t memory_bytes;
    struct wal_unpacked unpacked;
    const void *records;  /* of the block read last */
    struct io_file *file; /* of segment file_number */
    uint64_t file_number;
};

struct wal {
    CACHE_ALIGNED _Atomic uint64_t clock;

    CACHE_ALIGNED _Atomic uint64_t durable;
    _Atomic uint64_t written;       /* handed to the operating system, in order */
    _Atomic uint64_t durable_block; /* C of the last block that is durable */
    _Atomic bool failed;
    _Atomic uint64_t failed_clock; /* the clock when the log failed */

    CACHE_ALIGNED _Atomic uint64_t cutting;
    _Atomic uint64_t last_cut;

    CACHE_ALIGNED _Atomic unsigned kicked;
    _Atomic unsigned sleeping; /* enum wal_sleep, of the log writer */
    _Atomic unsigned waiters;  /* threads waiting for `advanced` */
    _Atomic unsigned room_waiters;
    _Atomic uint64_t flush_wanted; /* the largest ts somebody wants on stable storage now */
    _Atomic uint64_t gather_ts; /* the log writer waits for the clock to reach it; 0: it does not */
    _Atomic bool closing;

    CACHE_ALIGNED struct wal_options options;
    unsigned mutations;
    void (*clock_read)(
        struct wal *wal); /* of a test: whoever ends an epoch has C and not yet recorded it */
    void (*_Atomic found_nothing)(
        struct wal *wal); /* of a test: it has nothing to do, and neither sleeps nor ends yet */
    _Atomic uint64_t flush_interval_ns, gather_ns;

    pthread_mutex_t mutex; /* innermost: nothing else is taken inside */
    pthread_cond_t wake;   /* for the log writer */
    /* Under `mutex`: what is the log writer's own is somebody else's; it has woken and waits for that. */
    bool stood_in_for, awaited;
    pthread_cond_t advanced; /* for wal_wait */
    pthread_cond_t room;     /* for wal_reserve */

    struct wal_buffer **buffers;
    _Atomic unsigned buffer_count; /* buffers ever opened */

    /* The log writer's own, or that of who stands in for it. */
    pthread_t writer;
    bool writer_started;
    struct io_queue *queue;
    struct wal_epoch epochs[WAL_INFLIGHT_MAX];
    uint64_t epoch_first,
        epoch_next;  /* those in flight; epoch n is in epochs[n % WAL_INFLIGHT_MAX] */
    unsigned writes; /* in the queue */
    struct wal_take *takes;
    unsigned char *scratch; /* of a chunk that is being compressed */
    uint64_t scratch_bytes;
    uint64_t incarnation, salt;
    uint64_t sequence;                        /* of the last block issued */
    uint64_t durable_sequence;                /* of the last block known durable */
    uint64_t written_sequence, written_block; /* of the last block written: sequence, C */
    uint32_t previous_checksum;               /* at first that of the first segment's header */
    uint64_t previous_c;
    uint64_t cut_next_ns;
    uint64_t flush_from_ns;    /* from when on the interval until the next flush counts */
    uint64_t gather_from_ns;   /* when a block was done, the last time, */
    uint64_t gather_commits;   /* how many it had, and how many were waiting */
    uint64_t flush_rested_ns;  /* from when on it may be earlier, if there are enough */
    uint64_t unflushed_bytes;  /* of blocks that are written */
    uint64_t stand_in_ns;      /* nobody stands in before */
    uint64_t stand_in_slow_ns; /* WAL_STAND_IN_SLOW_NS, but in tests */
    struct wal_segment *segments, *current;

    /* The next segment, made ready by a thread of its own. Under `mutex`. */
    pthread_t preparer;
    bool preparer_started;
    pthread_cond_t prepare;
    uint64_t prepare_bytes_min; /* nonzero: wanted, at least so large */
    bool prepare_stop;
    bool prepare_hurry;          /* the log writer waits for it */
    uint64_t prepare_ahead;      /* room in the segment that fills meanwhile, */
    uint64_t prepare_from_bytes; /* since stats.bytes was this */
    struct wal_segment *prepared;
    int prepare_result;
    char prepare_message[512];
    struct wal_segment_header segment_header; /* of the next one to be made */
    uint64_t segment_next_bytes;

    /* Segments given up and their archive: wal_release.c. Under `mutex`. */
    pthread_t keeper;
    bool keeper_started, keeper_wanted, keeper_busy, keeper_stop;
    pthread_cond_t keep;
    struct wal_file *files, **files_end;
    struct wal_spare {
        uint64_t number, bytes;
    } spares[WAL_SPARES_MAX];
    unsigned spare_count;
    char archive_message[512];
    uint64_t begin; /* all above this is in the segments that are not released */

    /* Those who follow the log: wal_follow.c. Changed under both mutexes, follow_mutex first. */
    pthread_mutex_t follow_mutex;
    struct wal_follower *followers;
    _Atomic unsigned follow_armed; /* of those that wait to be woken */

    char failure[512]; /* written once, before `failed` */

    struct {
        _Atomic uint64_t blocks, stood_in, records, bytes, segments, log_bytes, used_bytes, flushes,
            flush_ns, write_ns, followed, gathered, gathered_in_vain;
        _Atomic uint64_t released, recycled, archived, archive_failures;
        _Atomic uint64_t compressed_from, compressed_to;
        _Atomic uint64_t followers_cut;
    } stats;
};

/* Each of them is written by others than read it, all the time (invariant 28). */
_Static_assert(offsetof(struct wal, durable) - offsetof(struct wal, clock) >= CACHE_LINE_SIZE &&
                   offsetof(struct wal, cutting) - offsetof(struct wal, durable) >=
                       CACHE_LINE_SIZE &&
                   offsetof(struct wal, kicked) - offsetof(struct wal, cutting) >= CACHE_LINE_SIZE,
               "clock, D and the cut have lines of their own");
_Static_assert(offsetof(struct wal_buffer, tail_seen) >= CACHE_LINE_SIZE &&
                   offsetof(struct wal_buffer, tail) - offsetof(struct wal_buffer, tail_seen) >=
                       CACHE_LINE_SIZE,
               "worker and log writer have lines of their own");

enum wal_sleep { WAL_AWAKE, WAL_NAPPING, WAL_SLEEPING };

/* wal_open with rules taken out. */
int wal__open(const struct wal_options *options, unsigned mutations, wal_replay_fn replay,
              void *arg, struct wal_replay_stats *stats, struct wal **out);

/* wal_buffer.c */
int wal__buffer_new(struct wal *wal, unsigned number, struct wal_buffer **out);
void wal__buffer_delete(struct wal_buffer *buffer);
/* Waits until the worker is not between wal_begin and wal_end with a bound of at most c. */
void wal__buffer_wait(const struct wal_buffer *buffer, uint64_t c);
/* Finds the records up to c; wal__buffer_copy then copies them to `out` and gives their room back.
 */
void wal__buffer_take(struct wal_buffer *buffer, uint64_t c, struct wal_take *out);
void wal__buffer_copy(const struct wal_take *take, unsigned char *out);
/* Instead of copying: when what was taken is one record outside of the ring, its memory, in which the
 * record stands where it does in a block of one chunk, with room up to the block's end. The caller's,
 * to be given to wal__external_delete; its size in *memory_bytes. Else NULL, and nothing was done. */
unsigned char *wal__buffer_block(const struct wal_take *take, uint64_t *memory_bytes);
void wal__external_delete(unsigned char *memory, uint64_t memory_bytes);
/* Bytes in all rings (and beside them) that no cut has taken. */
uint64_t wal__pending_bytes(struct wal *wal);
/* Whether some worker is between wal_begin and wal_end, as far as can be seen. */
bool wal__any_begun(struct wal *wal);

/* wal_segment.c */
void wal__segment_name(uint64_t number, char out[32]);
/* The names while a segment is made, and while one that was given up waits to be made into
 * another. */
void wal__segment_temporary(uint64_t number, char out[32]);
void wal__segment_spare(uint64_t number, char out[32]);
/* True when `name` is that of a segment. */
bool wal__segment_parse(const char *name, uint64_t *number);
/* Removes what an interrupted start or a dead incarnation has left: temporary and spare files;
 * segments and bytes behind the end. */
int wal__segment_clean_temporary(struct io *io);
int wal__segment_clean_dead(struct wal *wal, const struct wal_end *end);
/* Makes the first segment and starts the thread that prepares the others. */
int wal__segment_start(struct wal *wal, const struct wal_end *end);
void wal__segment_stop(struct wal *wal);
/* Makes wal->current a segment with room for a block of `bytes`, waiting for the preparing thread
 * if need be. */
int wal__segment_reserve(struct wal *wal, uint64_t bytes);
/* After D or the written timestamp has advanced: notes which segments have begun to be durable, and
 * closes those that are full and need no flush any more. */
void wal__segment_retire(struct wal *wal);

/* wal_release.c */
/* Takes over the segments that were found, and starts the thread if there is something to do. */
int wal__release_start(struct wal *wal, struct wal_end *end);
void wal__release_stop(struct wal *wal);
void wal__files_free(struct wal_file *files);
/* The log writer's: a new segment at the end; one that is finished, with `used` bytes. */
void wal__file_add(struct wal *wal, struct wal_file *file);
void wal__file_finish(struct wal *wal, struct wal_file *file, uint64_t used);
/* Takes a spare file of at least `bytes` out of those kept; 0 when there is none. *bytes becomes
 * its size. */
uint64_t wal__spare_take(struct wal *wal, uint64_t *bytes);

/* wal_block.c */
extern const char WAL_NOTHING_HERE[];
void wal__block_reader_destroy(struct wal_block_reader *reader);
/* Makes reader->file the segment's. */
int wal__block_file(struct wal_block_reader *reader, uint64_t number);
/* Reads exactly `bytes` of a segment into reader->memory; *whole tells whether they were there. */
int wal__block_bytes(struct wal_block_reader *reader, const struct wal_found *segment,
                     uint64_t offset, uint64_t bytes, bool *whole);
/* Reads the headers at `offset` and checks that they are a block's of this segment's incarnation. */
int wal__block_header(struct wal_block_reader *reader, const struct wal_found *segment,
                      uint64_t offset, struct wal_block_header *out, enum wal_block_state *state,
                      const char **check);
/* Reads the block that must be there and checks all of it. *check: what is wrong with it, NULL. */
int wal__block_read(struct wal_block_reader *reader, const struct wal_chain *chain,
                    const struct wal_found *segment, uint64_t offset, struct wal_block_header *out,
                    enum wal_block_state *state, const char **check);
/* For the first block of a segment that nothing is known of, and for the one behind a block. */
struct wal_chain wal__chain_start(const struct wal_segment_header *header);
struct wal_chain wal__chain_behind(const struct wal_block_header *header);

/* wal_replay.c: reads the log. `live`: it may be in use. */
int wal__replay(const struct wal_read_options *options, unsigned mutations, bool live,
                struct wal_replay_stats *stats, struct wal_end *end);
/* The blocks above the durable ones are written again and flushed. */
int wal__replay_adopt(struct io *io, const struct wal_end *end);
void wal__end_destroy(struct wal_end *end);

/* wal_follow.c: the durable blocks are more, or followers were cut off. */
void wal__follow_notify(struct wal *wal);
/* Under the mutex: the smallest number of a segment below `number` that a follower is at, or
 * `number`. One that holds more than it may is cut off. */
uint64_t wal__follow_hold(struct wal *wal, uint64_t number);

/* wal_writer.c */
int wal__writer_start(struct wal *wal);
void wal__writer_stop(struct wal *wal);
/* Marks the log failed, with the diagnostics area's message, and wakes everybody. */
void wal__fail(struct wal *wal, int code);

#endif
