/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the log: which blocks count, where it ends, and what is damage.
 *
 * The log is a sequence of incarnations, one for each start of the database, each of one or more
 * segments with consecutive numbers. Within an incarnation blocks carry the sequence numbers 1, 2,
 * 3 and the checksum of the header before. Several were in flight together, so after a crash block
 * 7 may be whole where block 6 is torn.
 *
 * The end (invariant 2). Let n be the first sequence number at which no valid block is found where
 * it must be: behind block n - 1, or at the start of a later segment of the incarnation. If the
 * next incarnation has recorded an end, it is n - 1 or the log is damaged. Otherwise this is the
 * last incarnation, and everything from there on is searched for block headers: one that knows n
 * durable proves that n was there once, which is damage; without one, n was never acknowledged and
 * the log ends. Headers found so, and those of blocks whose body is torn, still raise the clock
 * (invariant 1): their timestamps were handed out.
 *
 * A whole block is checked before any of its records is handed over.
 *
 * A log whose older segments were given up begins in the middle of an incarnation. Sequence and
 * checksum of its first block are then taken from that block, and since whoever recorded this
 * beginning knew the block to be durable, its absence is damage. Where the log merely begins with
 * what is there (WAL_FIRST_FOUND), an empty first segment is passed over.
 *
 * A segment that was made of an older one has blocks of that behind its own. They carry the older
 * segment's number, and sequence numbers below all that is in the log: never where a block must be,
 * and no evidence of damage.
 *
 * Adopting. A block that no other knows durable may be valid in the page cache alone: its process
 * was killed before the flush, or the flush failed and the cache dropped the fact. What follows
 * would rest on it, and its end is about to be recorded; so such blocks are written again, byte for
 * byte, and flushed, before anything else is written.
 *
 * Reading a log that is being written (wal_read) is allowed: what looks like damage is looked at a
 * second time, since the block may have been in flight at the first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "wal/wal_internal.h"

enum { SCAN_BYTES = 64 * WAL_ALIGN };

struct reader {
    const struct wal_read_options *options;
    struct io *io;
    unsigned mutations;
    struct wal_replay_stats *stats;
    struct wal_end *end;
    bool stopped; /* at the ts or time asked for */

    struct wal_found *segments; /* those below the first are left-overs */
    size_t segment_first, segment_count, segment_capacity;

    struct wal_block_reader blocks;
};

/* Where the next block must be. */
struct position {
    size_t segment; /* index */
    uint64_t offset;
    struct wal_chain chain;
};

static int corrupt(const struct reader *reader, size_t segment, uint64_t offset, const char *check)
{
    char name[32];
    wal__segment_name(reader->segments[segment].number, name);
    return diag_set(ERROR_CORRUPT, "%s, offset %" PRIu64 ": %s", name, offset, check);
}

/* -------------------------------------------------------------------------------- the segments */

static int segment_add(const char *name, uint64_t size, void *arg)
{
    struct reader *reader = arg;
    uint64_t number;
    if (!wal__segment_parse(name, &number))
        return 0;
    if (reader->segment_count == reader->segment_capacity) {
        size_t capacity = reader->segment_capacity * 2 + 16;
        struct wal_found *segments = realloc(reader->segments, capacity * sizeof(*segments));
        if (segments == NULL)
            return diag_set(ERROR_MEMORY, "out of memory while listing log segments");
        reader->segments = segments;
        reader->segment_capacity = capacity;
    }
    reader->segments[reader->segment_count++] =
        (struct wal_found){.number = number, .size = size, .used = WAL_ALIGN};
    reader->stats->log_bytes += size;
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct wal_found *)a)->number, y = ((const struct wal_found *)b)->number;
    return x < y ? -1 : x > y;
}

static int version_refused(const struct wal_found *segment)
{
    char name[32];
    wal__segment_name(segment->number, name);
    if (segment->header.magic != WAL_SEGMENT_MAGIC)
        return diag_set(ERROR_VERSION,
                        "%s was written on a machine with the other order of bytes (big-endian); "
                        "this program reads logs of little-endian machines",
                        name);
    return diag_set(ERROR_VERSION,
                    "%s has format version %u and was written by a newer Perigee; this one reads "
                    "versions up to %d",
                    name, segment->header.version, WAL_FORMAT_VERSION);
}

static int segment_header_read(struct reader *reader, size_t index)
{
    struct wal_found *segment = &reader->segments[index];
    bool whole;
    int rc = wal__block_bytes(&reader->blocks, segment, 0, WAL_ALIGN, &whole);
    if (rc != 0)
        return rc;
    if (!whole)
        return corrupt(reader, index, 0, "segment header is missing");
    const char *check;
    rc = wal_segment_header_decode(reader->blocks.memory, &segment->header, &check);
    if (rc == ERROR_VERSION)
        return version_refused(segment);
    if (rc != 0)
        return corrupt(reader, index, 0, check);
    if (segment->header.number != segment->number)
        return corrupt(reader, index, 0, "segment number differs from the file's name");
    if (segment->header.clock > reader->stats->clock)
        reader->stats->clock = segment->header.clock;
    return 0;
}

/* Passes over those below the first that is needed; that one must be there. */
static int segments_begin(struct reader *reader)
{
    uint64_t first = reader->options->first_segment;
    if (first == 0 || first == WAL_FIRST_FOUND)
        return 0;
    size_t i = 0;
    while (i < reader->segment_count && reader->segments[i].number < first)
        i++;
    reader->segment_first = i;
    if (i < reader->segment_count && reader->segments[i].number == first)
        return 0;
    char name[32];
    wal__segment_name(first, name);
    return diag_set(ERROR_CORRUPT, "%s is missing: the log begins there", name);
}

static int segments_read(struct reader *reader)
{
    int rc = io_list(reader->io, segment_add, reader);
    if (rc != 0)
        return rc;
    if (reader->segment_count > 0)
        qsort(reader->segments, reader->segment_count, sizeof(*reader->segments), by_number);
    rc = segments_begin(reader);
    for (size_t i = reader->segment_first; i < reader->segment_count && rc == 0; i++)
        rc = segment_header_read(reader, i);
    reader->stats->segments = reader->segment_count - reader->segment_first;
    return rc;
}

/* -------------------------------------------------------------------------------------- blocks */

static int tail_add(struct wal_end *end, struct wal_tail_block block)
{
    if (end->tail_count == end->tail_capacity) {
        size_t capacity = end->tail_capacity * 2 + 16;
        struct wal_tail_block *tail = realloc(end->tail, capacity * sizeof(*tail));
        if (tail == NULL)
            return diag_set(ERROR_MEMORY, "out of memory while reading the log");
        end->tail = tail;
        end->tail_capacity = capacity;
    }
    end->tail[end->tail_count++] = block;
    return 0;
}

/* Forgets the tail blocks that are known to be durable. */
static void tail_trim(struct wal_end *end)
{
    size_t known = 0;
    while (known < end->tail_count && end->tail[known].sequence <= end->durable_sequence)
        known++;
    if (known == 0)
        return;
    memmove(end->tail, end->tail + known, (end->tail_count - known) * sizeof(*end->tail));
    end->tail_count -= known;
}

static int record_use(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct reader *reader = arg;
    const struct wal_read_options *options = reader->options;
    if (options->to_ts != 0 && ts > options->to_ts)
        return 0;
    reader->stats->records++;
    return options->each == NULL ? 0 : options->each(ts, body, size, options->arg);
}

static int block_tell(const struct reader *reader, size_t index, uint64_t offset,
                      const struct wal_block_header *header)
{
    const struct wal_block_info info = {
        .segment = reader->segments[index].number,
        .offset = offset,
        .bytes = header->block_bytes,
        .incarnation = header->incarnation,
        .sequence = header->sequence,
        .durable_sequence = header->durable_sequence,
        .previous_c = header->previous_c,
        .c = header->c,
        .time = header->time,
        .records = header->records,
        .data_bytes = header->data_bytes,
        .chunks = header->chunks,
    };
    if (reader->options->each_block == NULL)
        return 0;
    return reader->options->each_block(&info, reader->options->arg);
}

/* True when the block is behind the ts or time up to which reading was asked for. */
static bool block_is_behind(const struct reader *reader, const struct wal_block_header *header)
{
    const struct wal_read_options *options = reader->options;
    return (options->to_ts != 0 && header->previous_c >= options->to_ts) ||
           (options->to_time != 0 && header->time > options->to_time);
}

static void block_count(struct reader *reader, const struct wal_block_header *header)
{
    struct wal_replay_stats *stats = reader->stats;
    uint64_t to_ts = reader->options->to_ts;
    stats->blocks++;
    stats->bytes += header->data_bytes;
    stats->last_ts = to_ts != 0 && to_ts < header->c ? to_ts : header->c;
    stats->last_time = header->time;
    if (header->c > stats->clock)
        stats->clock = header->c;
}

/* Hands over the records of the valid block in reader->blocks.memory and moves `position` behind it. */
static int block_use(struct reader *reader, struct position *position, size_t index,
                     uint64_t offset, const struct wal_block_header *header)
{
    struct wal_end *end = reader->end;
    struct wal_found *segment = &reader->segments[index];
    int rc = block_tell(reader, index, offset, header);
    if (rc == 0)
        rc = wal_block_each(reader->blocks.memory, reader->blocks.records, record_use, reader);
    if (rc != 0)
        return rc;
    rc = tail_add(end, (struct wal_tail_block){segment->number, offset, header->block_bytes,
                                               header->sequence});
    if (rc != 0)
        return rc;
    if (header->durable_sequence > end->durable_sequence)
        end->durable_sequence = header->durable_sequence;
    tail_trim(end);
    if (reader->stats->blocks == 0)
        end->begin = header->previous_c;
    block_count(reader, header);
    segment->used = offset + header->block_bytes;
    segment->c = header->c;
    *position = (struct position){
        .segment = index,
        .offset = offset + header->block_bytes,
        .chain = wal__chain_behind(header),
    };
    return 0;
}

/* ------------------------------------------------------------------------------------- the end */

/* Looks through what is behind the end in segment `index` from `offset` on; *known becomes the
 * largest sequence that a block header found there knows durable. */
static int scan_segment(struct reader *reader, size_t index, uint64_t offset, uint64_t *known)
{
    static const uint64_t magic = WAL_BLOCK_MAGIC;
    unsigned char *window = malloc(SCAN_BYTES);
    if (window == NULL)
        return diag_set(ERROR_MEMORY, "out of memory while reading the log");
    int rc = 0;
    for (uint64_t at = offset; rc == 0; at += SCAN_BYTES) {
        rc = wal__block_file(&reader->blocks, reader->segments[index].number);
        int64_t got = rc == 0 ? io_read(reader->blocks.file, window, SCAN_BYTES, at) : rc;
        if (got < 0)
            rc = (int)got;
        for (int64_t i = 0; rc == 0 && i + WAL_ALIGN <= got; i += WAL_ALIGN) {
            struct wal_block_header header;
            enum wal_block_state state;
            const char *check;
            if (memcmp(window + i, &magic, sizeof(magic)) != 0)
                continue;
            rc = wal__block_header(&reader->blocks, &reader->segments[index], at + (uint64_t)i,
                                   &header, &state, &check);
            if (rc != 0 || state != WAL_BLOCK_VALID)
                continue;
            if (header.durable_sequence > *known)
                *known = header.durable_sequence;
            if (header.c > reader->stats->clock && !(reader->mutations & WAL_MUTATION_CLOCK_USED))
                reader->stats->clock = header.c;
        }
        if (got < SCAN_BYTES)
            break;
    }
    free(window);
    return rc;
}

/* Whether the log may begin in a later segment although this one, the first, begins with what
 * `state` says. */
static bool may_pass_over(const struct reader *reader, enum wal_block_state state)
{
    return reader->options->first_segment == WAL_FIRST_FOUND && state == WAL_BLOCK_ABSENT;
}

/* Finds the block that must be next: behind the last one, else at the start of a later segment up
 * to `last`. What is wrong is reported about the first place, unless that is merely empty and a
 * later one is not. */
static int block_find(struct reader *reader, const struct position *position, size_t last,
                      size_t *index, uint64_t *offset, struct wal_block_header *header,
                      enum wal_block_state *state, const char **check)
{
    *index = position->segment;
    *offset = position->offset;
    int rc = wal__block_read(&reader->blocks, &position->chain, &reader->segments[*index], *offset,
                             header, state, check);
    for (size_t i = position->segment + 1; rc == 0 && *state != WAL_BLOCK_VALID && i <= last; i++) {
        if (position->chain.sequence == 0 && !may_pass_over(reader, *state))
            break;
        struct wal_block_header other;
        enum wal_block_state other_state;
        const char *other_check;
        rc = wal__block_read(&reader->blocks, &position->chain, &reader->segments[i], WAL_ALIGN,
                             &other, &other_state, &other_check);
        if (rc == 0 && (other_state == WAL_BLOCK_VALID ||
                        (*state == WAL_BLOCK_ABSENT && other_state == WAL_BLOCK_BAD))) {
            *index = i;
            *offset = WAL_ALIGN;
            *header = other;
            *state = other_state;
            *check = other_check;
        }
    }
    return rc;
}

/* What the next incarnation says about the end of this one. */
struct recorded_end {
    bool known;
    uint64_t sequence;
    uint32_t checksum;
};

/* Whether the block is the last one according to that. */
static bool is_recorded_end(const struct recorded_end *recorded, const struct position *position)
{
    return recorded->known && position->chain.sequence != 0 &&
           position->chain.sequence > recorded->sequence;
}

/* No valid block is where `position` says: 0 when the log ends here, ERROR_CORRUPT when it is
 * damaged. */
static int end_or_damage(struct reader *reader, const struct position *position, size_t last,
                         const struct recorded_end *recorded, size_t bad_index, uint64_t bad_offset,
                         const char *check)
{
    char message[160];
    if (position->chain.sequence == 0) {
        if (reader->options->first_segment == WAL_FIRST_FOUND &&
            strcmp(check, WAL_NOTHING_HERE) == 0)
            return 0;
        snprintf(message, sizeof(message), "%s (the first block of the log)", check);
        return corrupt(reader, bad_index, bad_offset, message);
    }
    if (recorded->known) {
        snprintf(message, sizeof(message),
                 "%s (block %" PRIu64 ", and the log is recorded to end at %" PRIu64 ")", check,
                 position->chain.sequence, recorded->sequence);
        return corrupt(reader, bad_index, bad_offset, message);
    }
    uint64_t known = 0;
    int rc = scan_segment(reader, position->segment, position->offset, &known);
    for (size_t i = position->segment + 1; rc == 0 && i <= last; i++)
        rc = scan_segment(reader, i, WAL_ALIGN, &known);
    if (rc != 0 || known < position->chain.sequence || reader->mutations & WAL_MUTATION_NO_DAMAGE)
        return rc;
    snprintf(message, sizeof(message),
             "%s (block %" PRIu64 ", and a later one knows block %" PRIu64 " durable)", check,
             position->chain.sequence, known);
    return corrupt(reader, bad_index, bad_offset, message);
}

/* The blocks of one incarnation, in the segments first to last. */
static int incarnation_replay(struct reader *reader, size_t first, size_t last,
                              const struct recorded_end *recorded)
{
    const struct wal_segment_header *start = &reader->segments[first].header;
    struct wal_end *end = reader->end;
    struct position position = {
        .segment = first,
        .offset = WAL_ALIGN,
        .chain = wal__chain_start(start),
    };
    if (first == reader->segment_first)
        end->begin = start->clock;
    end->incarnation = start->incarnation;
    end->durable_sequence = 0;
    end->tail_count = 0;
    int rc = 0;
    bool again = false;
    while (rc == 0 && !is_recorded_end(recorded, &position)) {
        struct wal_block_header header;
        enum wal_block_state state;
        const char *check;
        size_t index;
        uint64_t offset;
        rc = block_find(reader, &position, last, &index, &offset, &header, &state, &check);
        if (rc != 0)
            return rc;
        if (state == WAL_BLOCK_VALID) {
            reader->stopped = block_is_behind(reader, &header);
            if (reader->stopped)
                return 0;
            rc = block_use(reader, &position, index, offset, &header);
            again = false;
            continue;
        }
        rc = end_or_damage(reader, &position, last, recorded, index, offset, check);
        if (rc == 0)
            break;
        if (rc == ERROR_CORRUPT && !again) {
            again = true; /* it may have been in flight */
            rc = 0;
        }
    }
    if (rc == 0 && is_recorded_end(recorded, &position) &&
        position.chain.previous_checksum != recorded->checksum)
        return corrupt(reader, position.segment, position.offset,
                       "checksum of the last block of the incarnation");
    end->sequence = position.chain.sequence == 0 ? 0 : position.chain.sequence - 1;
    end->segment = reader->segments[position.segment].number;
    end->offset = position.offset;
    end->checksum = position.chain.previous_checksum;
    return rc;
}

/* ------------------------------------------------------------------------------ incarnations */

/* The index behind the last segment of the incarnation that begins at `first`. */
static size_t incarnation_end(const struct reader *reader, size_t first)
{
    size_t i = first + 1;
    while (i < reader->segment_count &&
           reader->segments[i].header.incarnation == reader->segments[first].header.incarnation)
        i++;
    return i;
}

/* Checks that the segments of an incarnation, up to the one in which it is recorded to end, are all
 * there, and sets *last. */
static int incarnation_check(const struct reader *reader, size_t first, size_t behind,
                             uint64_t end_segment, size_t *last)
{
    const struct wal_found *start = &reader->segments[first];
    const char *missing = "the segment before this one is missing";
    bool begins = first == reader->segment_first && reader->options->first_segment != 0;
    if (start->header.index != 0 && !begins)
        return corrupt(reader, first, 0, missing);
    *last = first;
    for (size_t i = first; i < behind && reader->segments[i].number <= end_segment; i++) {
        const struct wal_found *segment = &reader->segments[i];
        if (segment->header.index != start->header.index + (i - first) ||
            segment->number != start->number + (i - first))
            return corrupt(reader, i, 0, missing);
        if (segment->header.salt != start->header.salt)
            return corrupt(reader, i, 0, "salt of the incarnation");
        *last = i;
    }
    if (end_segment != UINT64_MAX && reader->segments[*last].number != end_segment)
        return corrupt(reader, *last, 0, "a segment behind this one is missing");
    return 0;
}

static int segments_tell(struct reader *reader, size_t first, size_t last)
{
    int rc = 0;
    for (size_t i = first; i <= last; i++) {
        struct wal_found *segment = &reader->segments[i];
        const struct wal_segment_info info = {
            .number = segment->number,
            .bytes = segment->size,
            .incarnation = segment->header.incarnation,
            .index = segment->header.index,
            .clock = segment->header.clock,
            .version = segment->header.version,
        };
        segment->counts = true;
        if (rc == 0 && reader->options->each_segment != NULL)
            rc = reader->options->each_segment(&info, reader->options->arg);
    }
    return rc;
}

static int incarnations_replay(struct reader *reader)
{
    uint64_t previous = 0;
    for (size_t first = reader->segment_first; first < reader->segment_count && !reader->stopped;) {
        size_t behind = incarnation_end(reader, first), last = first;
        struct recorded_end recorded = {.known = behind < reader->segment_count};
        uint64_t end_segment = UINT64_MAX;
        bool begins = first == reader->segment_first && reader->options->first_segment != 0;
        if (reader->segments[first].header.previous_incarnation != previous && !begins)
            return corrupt(reader, first, 0, "the incarnation before this one is missing");
        if (recorded.known) {
            const struct wal_segment_header *next = &reader->segments[behind].header;
            recorded.known = next->end_sequence != UINT64_MAX;
            recorded.sequence = next->end_sequence;
            recorded.checksum = next->end_checksum;
            end_segment = recorded.known ? next->end_segment : UINT64_MAX;
        }
        int rc = incarnation_check(reader, first, behind, end_segment, &last);
        if (rc == 0)
            rc = segments_tell(reader, first, last);
        if (rc == 0)
            rc = incarnation_replay(reader, first, last, &recorded);
        if (rc != 0)
            return rc;
        previous = reader->segments[first].header.incarnation;
        first = behind;
    }
    return 0;
}

/* The segments that are there once the log has been opened, for those who give them up. */
static int files_list(const struct reader *reader)
{
    struct wal_end *end = reader->end;
    struct wal_file **link = &end->files;
    for (size_t i = 0; i < reader->segment_count; i++) {
        const struct wal_found *segment = &reader->segments[i];
        bool leftover = i < reader->segment_first;
        if (!leftover && segment->number > end->segment)
            break; /* goes at once: wal__segment_clean_dead */
        struct wal_file *file = calloc(1, sizeof(*file));
        if (file == NULL)
            return diag_set(ERROR_MEMORY, "out of memory while reading the log");
        *link = file;
        link = &file->next;
        file->number = segment->number;
        file->used = leftover ? segment->size : segment->used;
        file->bytes = segment->number == end->segment ? file->used : segment->size;
        file->first = segment->header.index == 0;
        file->finished = true;
        file->dead = !leftover && !segment->counts;
        file->released = leftover || file->dead;
        atomic_init(&file->c, segment->c);
        atomic_init(&file->durable, segment->c != 0);
    }
    return 0;
}

/* What a running database gives up while its log is read looks like damage, or is gone. */
static int explain_failure(const struct reader *reader, int rc)
{
    char name[32];
    struct io_file *file;
    if (rc != ERROR_CORRUPT && rc != ERROR_NOT_FOUND)
        return rc;
    for (size_t i = 0; i < reader->segment_count; i++) {
        wal__segment_name(reader->segments[i].number, name);
        int opened = io_open(reader->io, name, IO_READ, &file);
        if (opened == 0)
            io_close(file);
        else if (opened == ERROR_NOT_FOUND)
            return diag_set(ERROR_BUSY,
                            "%s was given up meanwhile by the running database; read "
                            "the log again",
                            name);
        else
            return opened;
    }
    return rc;
}

int wal__replay(const struct wal_read_options *options, unsigned mutations, bool live,
                struct wal_replay_stats *stats, struct wal_end *end)
{
    struct reader reader = {.options = options,
                            .io = options->io,
                            .mutations = mutations,
                            .stats = stats,
                            .end = end,
                            .blocks = {.io = options->io, .mutations = mutations}};
    memset(stats, 0, sizeof(*stats));
    memset(end, 0, sizeof(*end));
    int rc = segments_read(&reader);
    if (rc == 0 && reader.segment_count > 0)
        end->segment_max = reader.segments[reader.segment_count - 1].number;
    if (rc == 0)
        rc = incarnations_replay(&reader);
    if (rc == 0)
        rc = files_list(&reader);
    if (live)
        rc = explain_failure(&reader, rc);
    wal__block_reader_destroy(&reader.blocks);
    free(reader.segments);
    if (rc != 0)
        wal__end_destroy(end);
    return rc;
}

void wal__end_destroy(struct wal_end *end)
{
    free(end->tail);
    wal__files_free(end->files);
    end->files = NULL;
    end->tail = NULL;
    end->tail_count = end->tail_capacity = 0;
}

/* Writes one block again as it is. */
static int rewrite(struct io_file *file, const struct wal_tail_block *block)
{
    void *bytes = malloc(block->bytes);
    if (bytes == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for a log block of %" PRIu64 " bytes",
                        block->bytes);
    int64_t got = io_read(file, bytes, block->bytes, block->offset);
    int rc = got < 0 ? (int)got : 0;
    if (rc == 0 && (uint64_t)got != block->bytes)
        rc = diag_set(ERROR_IO, "a log segment became shorter while it was read");
    if (rc == 0)
        rc = io_write(file, bytes, block->bytes, block->offset);
    free(bytes);
    return rc;
}

int wal__replay_adopt(struct io *io, const struct wal_end *end)
{
    for (size_t i = 0; i < end->tail_count;) {
        char name[32];
        struct io_file *file;
        uint64_t segment = end->tail[i].segment;
        wal__segment_name(segment, name);
        int rc = io_open(io, name, IO_WRITE, &file);
        if (rc != 0)
            return rc;
        for (; rc == 0 && i < end->tail_count && end->tail[i].segment == segment; i++)
            rc = rewrite(file, &end->tail[i]);
        if (rc == 0)
            rc = io_sync(file);
        io_close(file);
        if (rc != 0)
            return rc;
    }
    return 0;
}
