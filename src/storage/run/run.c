/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a run, reading one frame, one row, one section.
 *
 * Opening reads header, trailer, dictionary, footer, index and filter, in this order: header, trailer
 * and dictionary have their places, the trailer tells the footer's, the footer the others'. What they say about sizes is
 * checked against the size of the file before it is believed, so that damage costs no memory.
 */
#include "storage/run/run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/compress.h"
#include "io/io_schedule.h"
#include "storage/run/run_internal.h"

enum {
    BLOCK_STORED_SMALL = 20 << 10,
    AHEAD_BYTES_MIN = 32 << 10, /* of several blocks read at once */
    AHEAD_BYTES_MAX = 256 << 10
};

int run__corrupt(const struct run *run, uint64_t offset, const char *check)
{
    return diag_set(ERROR_CORRUPT, "%s, offset %" PRIu64 ": %s", run->name, offset, check);
}

static int refused(const struct run *run, int rc, uint64_t offset, const char *check)
{
    if (rc == ERROR_CORRUPT)
        return run__corrupt(run, offset, check);
    return diag_set(rc, "the run %s %s", run->name, check);
}

static int no_memory(const struct run *run)
{
    return diag_set(ERROR_MEMORY, "no memory to read the run %s", run->name);
}

/* ----------------------------------------------------------------------------------------- frames
 */

void run__buffers_destroy(struct run_buffers *buffers)
{
    cache_guard_release(&buffers->guard);
    run_memory_destroy(&buffers->ahead.memory);
    run_memory_destroy(&buffers->stored);
    run_memory_destroy(&buffers->contents);
}

static void *buffer_take(struct run_buffers *buffers, struct run_memory *memory, size_t size)
{
    if (buffers->arena != NULL)
        return arena_alloc(buffers->arena, size);
    return run_memory_reserve(memory, size > 0 ? size : 1) == 0 ? memory->data : NULL;
}

static int read_exactly(const struct run *run, const struct run_extent *extent, enum io_class class,
                        void *out)
{
    int64_t n = io_schedule_read(class, run->file, out, extent->bytes, extent->offset);
    if (n < 0)
        return (int)n;
    if ((uint64_t)n < extent->bytes)
        return run__corrupt(run, extent->offset, "the file ends too early");
    return 0;
}

static enum io_class class_of(const struct run_buffers *buffers)
{
    if (buffers->hurry)
        return IO_CHECKPOINT;
    return buffers->background ? IO_BACKGROUND : IO_USER;
}

/* Where a read of `bytes` begins that has the extent and what will be wanted next. */
static uint64_t ahead_offset(const struct run *run, const struct run_extent *extent, bool backward,
                             size_t bytes)
{
    if (!backward)
        return extent->offset;
    uint64_t end = extent->offset + extent->bytes;
    return end - run->rows_begin < bytes ? run->rows_begin : end - bytes;
}

/* Reads a frame of rows together with those that come next. */
static int ahead_read(const struct run *run, const struct run_extent *extent,
                      struct run_buffers *buffers, const unsigned char **stored)
{
    struct run_ahead *ahead = &buffers->ahead;
    if (extent->offset < ahead->offset ||
        extent->offset + extent->bytes > ahead->offset + ahead->memory.size) {
        size_t bytes =
            ahead->bytes_wanted < AHEAD_BYTES_MIN ? AHEAD_BYTES_MIN : ahead->bytes_wanted;
        ahead->bytes_wanted = 2 * bytes < AHEAD_BYTES_MAX ? 2 * bytes : AHEAD_BYTES_MAX;
        if (bytes < extent->bytes)
            bytes = extent->bytes;
        uint64_t offset = ahead_offset(run, extent, buffers->backward, bytes);
        if (bytes > run->footer.rows_end - offset)
            bytes = run->footer.rows_end - offset;
        ahead->memory.size = 0;
        if (run_memory_reserve(&ahead->memory, bytes) != 0)
            return no_memory(run);
        int rc = read_exactly(run, &(struct run_extent){offset, bytes}, class_of(buffers),
                              ahead->memory.data);
        if (rc != 0)
            return rc;
        ahead->offset = offset;
        ahead->memory.size = bytes;
    }
    *stored = ahead->memory.data + (extent->offset - ahead->offset);
    return 0;
}

static int frame_check(const struct run *run, const struct run_extent *extent,
                       enum run_frame_kind kind, const unsigned char *stored,
                       struct run_frame *frame)
{
    const char *check = run_frame_decode(stored, extent, run->header.checksum, kind, frame);
    return check != NULL ? run__corrupt(run, extent->offset, check) : 0;
}

/* Reads a frame as it is stored, into `stored`, and checks it. */
static int frame_load_stored(const struct run *run, const struct run_extent *extent,
                             enum run_frame_kind kind, enum io_class class, unsigned char *stored,
                             struct run_frame *frame)
{
    int rc = read_exactly(run, extent, class, stored);
    return rc != 0 ? rc : frame_check(run, extent, kind, stored, frame);
}

/* The same into the buffers. */
static int frame_take(const struct run *run, const struct run_extent *extent,
                      enum run_frame_kind kind, struct run_buffers *buffers,
                      const unsigned char **stored, struct run_frame *frame)
{
    unsigned char *memory = buffer_take(buffers, &buffers->stored, extent->bytes);
    *stored = memory;
    return memory == NULL ? no_memory(run)
                          : frame_load_stored(run, extent, kind, class_of(buffers), memory, frame);
}

/* The same with what comes next. */
static int ahead_frame(const struct run *run, const struct run_extent *extent,
                       enum run_frame_kind kind, struct run_buffers *buffers,
                       const unsigned char **stored, struct run_frame *frame)
{
    int rc = ahead_read(run, extent, buffers, stored);
    return rc != 0 ? rc : frame_check(run, extent, kind, *stored, frame);
}

/* The contents of a compressed frame, into as many bytes as it says. */
static int frame_unpack(const struct run *run, const struct run_extent *extent,
                        const struct run_frame *frame, const unsigned char *stored, void *contents)
{
    bool by_dictionary = frame->flags & RUN_DICTIONARY;
    if (by_dictionary && run->dictionary == NULL)
        return run__corrupt(run, extent->offset, "block for a dictionary that is not there");
    int rc =
        decompress_block(run_flags_method(frame->flags), by_dictionary ? run->dictionary : NULL,
                         contents, frame->bytes, stored + RUN_FRAME_BYTES, frame->stored_bytes);
    if (rc == 0)
        return 0;
    return rc == ERROR_MEMORY ? no_memory(run)
                              : run__corrupt(run, extent->offset, "block does not decompress");
}

int run__frame_read(const struct run *run, const struct run_extent *extent,
                    enum run_frame_kind kind, struct run_buffers *buffers, const void **out,
                    size_t *size)
{
    struct run_frame frame;
    const unsigned char *stored = NULL;
    int rc = buffers->scan ? ahead_frame(run, extent, kind, buffers, &stored, &frame)
                           : frame_take(run, extent, kind, buffers, &stored, &frame);
    if (rc != 0)
        return rc;
    *out = stored + RUN_FRAME_BYTES;
    *size = frame.bytes;
    if (frame.flags == 0)
        return 0;
    void *contents = buffer_take(buffers, &buffers->contents, frame.bytes);
    if (contents == NULL)
        return no_memory(run);
    *out = contents;
    return frame_unpack(run, extent, &frame, stored, contents);
}

int run__index_open(const struct run *run, unsigned char *key, struct run_block_iter *out)
{
    int rc = run_block_open(out, run->index, run->index_size, false, run->header.up_to_ts, key,
                            run->footer.key_bytes_max);
    return rc != 0 ? run__corrupt(run, run->index_extent.offset, out->check) : 0;
}

int run__index_extent(const struct run *run, const struct run_block_iter *index,
                      struct run_extent *out)
{
    uint64_t data[2];
    _Static_assert(sizeof data == RUN_INDEX_DATA_BYTES, "offset and bytes");
    if (index->row.data == NULL || index->row.size != sizeof data)
        return run__corrupt(run, run->index_extent.offset, "row of the index");
    memcpy(data, index->row.data, sizeof data);
    *out = (struct run_extent){data[0], data[1]};
    uint64_t end = run->footer.rows_end;
    if (out->offset < run->rows_begin || out->offset > end || out->bytes > end - out->offset ||
        out->bytes < RUN_FRAME_BYTES)
        return run__corrupt(run, run->index_extent.offset, "the index points beyond the rows");
    return 0;
}

struct block_load {
    const struct run *run;
    struct run_extent extent;
};

static int block_unpack(const struct run *run, const struct run_extent *extent,
                        const struct run_frame *frame, const unsigned char *stored,
                        struct cache_fill *fill)
{
    if (frame->bytes == 0)
        return run__corrupt(run, extent->offset, "block without rows");
    void *room = cache_fill_room(fill, frame->bytes);
    if (room == NULL)
        return no_memory(run);
    if (frame->flags != 0)
        return frame_unpack(run, extent, frame, stored, room);
    memcpy(room, stored + RUN_FRAME_BYTES, frame->bytes);
    return 0;
}

int run__block_fill(const struct run *run, const struct run_extent *extent,
                    const unsigned char *stored, struct cache_fill *fill)
{
    struct run_frame frame;
    int rc = frame_check(run, extent, RUN_FRAME_ROWS, stored, &frame);
    return rc != 0 ? rc : block_unpack(run, extent, &frame, stored, fill);
}

/* Fills an entry of the cache. */
static int block_load(struct cache_fill *fill, void *arg)
{
    const struct block_load *load = arg;
    unsigned char small[BLOCK_STORED_SMALL];
    unsigned char *stored = load->extent.bytes <= sizeof small ? small : malloc(load->extent.bytes);
    if (stored == NULL)
        return no_memory(load->run);
    int rc = read_exactly(load->run, &load->extent, IO_USER, stored);
    if (rc == 0)
        rc = run__block_fill(load->run, &load->extent, stored, fill);
    if (stored != small)
        free(stored);
    return rc;
}

/* From the cache, or into it: buffers->guard pins it. ERROR_NOT_FOUND: neither is wanted. */
static int block_pin(const struct run *run, const struct run_extent *extent,
                     struct run_buffers *buffers)
{
    cache_guard_release(&buffers->guard);
    if (run->cache == NULL || extent->bytes > RUN_BLOCK_CACHED_MAX)
        return ERROR_NOT_FOUND;
    if (buffers->scan)
        return cache_try(run->cache, run->cache_file, extent->offset, CACHE_SCAN, &buffers->guard);
    struct block_load load = {run, *extent};
    return cache_get(run->cache, run->cache_file, extent->offset, 0, block_load, &load,
                     &buffers->guard);
}

int run__block_read(const struct run *run, const struct run_extent *extent,
                    struct run_buffers *buffers, unsigned char *key, struct run_block_iter *out)
{
    const void *contents = NULL;
    size_t size = 0;
    int rc = block_pin(run, extent, buffers);
    if (rc == 0) {
        contents = buffers->guard.data;
        size = buffers->guard.size;
    } else if (rc == ERROR_NOT_FOUND) {
        rc = run__frame_read(run, extent, RUN_FRAME_ROWS, buffers, &contents, &size);
    }
    if (rc != 0)
        return rc;
    rc = run_block_open(out, contents, size, run->header.flags & RUN_BORROWS, run->header.up_to_ts,
                        key, run->footer.key_bytes_max);
    return rc != 0 ? run__corrupt(run, extent->offset, out->check) : 0;
}

/* ---------------------------------------------------------------------------------------- opening
 */

static int header_load(struct run *run)
{
    unsigned char bytes[RUN_HEADER_BYTES];
    const char *check;
    int64_t size = io_size(run->file);
    if (size < 0)
        return (int)size;
    run->info.file_bytes = (uint64_t)size;
    if (size < RUN_HEADER_BYTES)
        return run__corrupt(run, 0, "the file is shorter than a run's header");
    int rc = read_exactly(run, &(struct run_extent){0, sizeof bytes}, IO_USER, bytes);
    if (rc != 0)
        return rc;
    rc = run_header_decode(bytes, &run->header, &check);
    if (rc == ERROR_VERSION && run->header.magic == RUN_HEADER_MAGIC &&
        run->header.version > RUN_FORMAT_VERSION)
        return diag_set(rc,
                        "the run %s has format version %u, this program knows versions up to %d; "
                        "use the program that wrote it, or a later one",
                        run->name, run->header.version, RUN_FORMAT_VERSION);
    return rc != 0 ? refused(run, rc, 0, check) : 0;
}

static int trailer_load(struct run *run)
{
    unsigned char bytes[RUN_TRAILER_BYTES];
    uint64_t size = run->info.file_bytes;
    if (size < RUN_HEADER_BYTES + RUN_TRAILER_BYTES)
        return run__corrupt(run, size, "the file has been cut, or was never finished");
    uint64_t offset = size - sizeof bytes;
    int rc = read_exactly(run, &(struct run_extent){offset, sizeof bytes}, IO_USER, bytes);
    if (rc != 0)
        return rc;
    const char *check = run_trailer_decode(bytes, size, run->header.checksum, &run->trailer);
    return check != NULL ? run__corrupt(run, offset, check) : 0;
}

/* Reads a frame whose contents the run keeps. */
static int frame_load(struct run *run, const struct run_extent *extent, enum run_frame_kind kind,
                      unsigned char **out, size_t *size)
{
    struct run_buffers buffers = {0};
    const void *contents;
    int rc = run__frame_read(run, extent, kind, &buffers, &contents, size);
    if (rc == 0) {
        *out = malloc(*size + 1);
        if (*out == NULL)
            rc = no_memory(run);
        else
            memcpy(*out, contents, *size);
    }
    run__buffers_destroy(&buffers);
    return rc;
}

/* Its frame tells itself how long it is: nothing else names it. */
static int dictionary_extent(const struct run *run, struct run_extent *out)
{
    unsigned char bytes[RUN_FRAME_BYTES];
    struct run_frame frame;
    *out = (struct run_extent){RUN_HEADER_BYTES, sizeof bytes};
    int rc = read_exactly(run, out, IO_USER, bytes);
    if (rc != 0)
        return rc;
    memcpy(&frame, bytes, sizeof frame);
    if (frame.stored_bytes > RUN_DICTIONARY_BYTES_MAX ||
        frame.stored_bytes > run->info.file_bytes - RUN_HEADER_BYTES - RUN_FRAME_BYTES)
        return run__corrupt(run, RUN_HEADER_BYTES, "size of the dictionary");
    out->bytes += frame.stored_bytes;
    return 0;
}

int run__dictionary_load(struct run *run)
{
    struct run_buffers buffers = {0};
    struct run_extent extent;
    const void *contents;
    size_t size;
    run->rows_begin = RUN_HEADER_BYTES;
    if (!(run->header.flags & RUN_DICTIONARY))
        return 0;
    int rc = dictionary_extent(run, &extent);
    if (rc == 0)
        rc = run__frame_read(run, &extent, RUN_FRAME_DICTIONARY, &buffers, &contents, &size);
    if (rc == 0) {
        rc = compress_dictionary_new(contents, size, &run->dictionary);
        if (rc != 0)
            rc = rc == ERROR_MEMORY ? no_memory(run)
                                    : run__corrupt(run, extent.offset, "dictionary");
        run->rows_begin += extent.bytes;
        run->info.dictionary_bytes = size;
    }
    run__buffers_destroy(&buffers);
    return rc;
}

static int footer_load(struct run *run)
{
    const struct run_extent extent = {run->trailer.footer_offset, run->trailer.footer_bytes};
    const char *check;
    size_t size;
    int rc = frame_load(run, &extent, RUN_FRAME_FOOTER, &run->footer_contents, &size);
    if (rc != 0)
        return rc;
    struct run_info *info = &run->info;
    rc = run_footer_decode(run->footer_contents, size, extent.offset, &run->footer, run->sections,
                           &info->first_key, &info->last_key, &check);
    if (rc != 0)
        return refused(run, rc, extent.offset, check);
    /* A key is no longer than its block, which is no longer than the file or than what is stored
     * compressed: a wrong number must not cost memory. */
    if (run->footer.key_bytes_max > info->file_bytes &&
        run->footer.key_bytes_max > RUN_COMPRESS_BYTES_MAX)
        return run__corrupt(run, extent.offset, "longest key");
    if (run->footer.max_ts > run->header.up_to_ts)
        return run__corrupt(run, extent.offset, "largest timestamp");
    return 0;
}

static int index_load(struct run *run)
{
    const struct run_section *section = run->sections;
    while (section->type != RUN_SECTION_INDEX)
        section++; /* the footer has been checked to have one */
    run->index_extent = (struct run_extent){section->offset, section->bytes};
    struct run_block_iter iter;
    int rc = frame_load(run, &run->index_extent, RUN_FRAME_SECTION, &run->index, &run->index_size);
    if (rc == 0)
        rc = run__index_open(run, NULL, &iter);
    if (rc == 0 && iter.rows != run->footer.blocks)
        rc = run__corrupt(run, run->index_extent.offset, "number of blocks in the index");
    return rc;
}

/* The first section of that type; without one the filter lets every key through. */
static int filter_load(struct run *run)
{
    struct run_buffers buffers = {0};
    const void *contents;
    size_t size;
    uint32_t i = 0;
    while (i < run->footer.sections && run->sections[i].type != RUN_SECTION_FILTER)
        i++;
    if (i == run->footer.sections)
        return 0;
    const struct run_extent extent = {run->sections[i].offset, run->sections[i].bytes};
    int rc = run__frame_read(run, &extent, RUN_FRAME_SECTION, &buffers, &contents, &size);
    if (rc == 0) {
        rc = run_filter_open(&run->filter, contents, size);
        if (rc != 0)
            rc = rc == ERROR_MEMORY ? no_memory(run) : run__corrupt(run, extent.offset, "filter");
        run->info.filter_bytes = size;
        run->info.filter = run->filter.kind;
    }
    run__buffers_destroy(&buffers);
    return rc;
}

static void info_fill(struct run *run)
{
    const struct run_header *header = &run->header;
    const struct run_footer *footer = &run->footer;
    struct run_info *info = &run->info;
    info->space_id = header->space_id;
    info->incarnation = header->incarnation;
    info->index_id = header->index_id;
    info->level = header->level;
    info->sequence = header->sequence;
    info->up_to_ts = header->up_to_ts;
    info->compression = run_flags_method(header->flags);
    info->rows = footer->rows;
    info->tombstones = footer->tombstones;
    info->blocks = footer->blocks;
    info->data_bytes = footer->data_bytes;
    info->min_ts = footer->min_ts;
    info->max_ts = footer->max_ts;
    info->key_bytes_max = footer->key_bytes_max;
    info->first_key_size = footer->first_key_size;
    info->last_key_size = footer->last_key_size;
    if (footer->rows == 0)
        info->first_key = info->last_key = NULL;
}

int run_open(struct io *io, const char *name, struct run **out)
{
    return run_open_cached(io, name, NULL, out);
}

int run_open_cached(struct io *io, const char *name, struct cache *cache, struct run **out)
{
    struct run *run = calloc(1, sizeof *run + strlen(name) + 1);
    if (run == NULL)
        return diag_set(ERROR_MEMORY, "no memory to open the run %s", name);
    memcpy(run->name, name, strlen(name) + 1);
    int rc = io_open(io, name, IO_READ, &run->file);
    if (rc == 0)
        rc = header_load(run);
    if (rc == 0)
        rc = trailer_load(run);
    if (rc == 0)
        rc = run__dictionary_load(run);
    if (rc == 0)
        rc = footer_load(run);
    if (rc == 0)
        rc = index_load(run);
    if (rc == 0)
        rc = filter_load(run);
    if (rc != 0) {
        run_close(run);
        return rc;
    }
    info_fill(run);
    run->cache = cache;
    run->cache_file = cache != NULL ? cache_file_new(cache) : 0;
    *out = run;
    return 0;
}

/* Nobody will ask for its blocks any more. */
static void blocks_forget(const struct run *run)
{
    struct run_block_iter index;
    struct run_extent extent;
    unsigned char *key = malloc(run__key_room(run));
    if (key == NULL)
        return; /* the policy will find them cold */
    int rc = run__index_open(run, key, &index);
    while (rc == 0 && (rc = run_block_next(&index)) == 0)
        if ((rc = run__index_extent(run, &index, &extent)) == 0)
            cache_forget(run->cache, run->cache_file, extent.offset);
    free(key);
}

void run_close(struct run *run)
{
    if (run->cache != NULL)
        blocks_forget(run);
    if (run->file != NULL)
        io_close(run->file);
    free(run->footer_contents);
    free(run->index);
    run_filter_close(&run->filter);
    compress_dictionary_delete(run->dictionary);
    free(run);
}

const struct run_info *run_info(const struct run *run)
{
    return &run->info;
}

const char *run_name(const struct run *run)
{
    return run->name;
}

/* ------------------------------------------------------------------------------ a row, a section
 */

bool run_may_contain(const struct run *run, const void *key, size_t key_size)
{
    const struct run_info *info = &run->info;
    return info->rows > 0 &&
           run_key_compare(key, key_size, info->first_key, info->first_key_size) >= 0 &&
           run_key_compare(key, key_size, info->last_key, info->last_key_size) <= 0 &&
           run_filter_may_contain(&run->filter, key, key_size);
}

/* Seeks in the block that was read; what `out` points to is in the arena. */
static int get_in_block(const struct run *run, const struct run_extent *extent,
                        struct run_block_iter *iter, const void *key, size_t key_size, uint64_t ts,
                        struct arena *arena, bool pinned, struct engine_row *out)
{
    int rc = run_block_seek(iter, key, key_size, ts);
    if (rc == ERROR_CORRUPT)
        return run__corrupt(run, extent->offset, iter->check);
    if (rc != 0 || run_key_compare(iter->key, iter->row.key_size, key, key_size) != 0)
        return ERROR_NOT_FOUND;
    *out = iter->row;
    if (pinned && out->data != NULL &&
        (out->data = arena_copy(arena, out->data, out->size)) == NULL)
        return no_memory(run);
    return 0;
}

/* The index names the only block in which it can be. */
static int get(struct run *run, const void *key, size_t key_size, uint64_t ts, struct arena *arena,
               struct engine_row *out)
{
    struct run_buffers buffers = {.arena = arena};
    struct run_block_iter iter;
    struct run_extent extent;
    unsigned char *memory = arena_alloc(arena, run__key_room(run));
    if (memory == NULL)
        return no_memory(run);
    int rc = run__index_open(run, memory, &iter);
    if (rc != 0)
        return rc;
    rc = run_block_seek(&iter, key, key_size, ts);
    if (rc != 0)
        return rc == ERROR_END ? ERROR_NOT_FOUND
                               : run__corrupt(run, run->index_extent.offset, iter.check);
    rc = run__index_extent(run, &iter, &extent);
    if (rc == 0)
        rc = run__block_read(run, &extent, &buffers, memory, &iter);
    if (rc == 0)
        rc = get_in_block(run, &extent, &iter, key, key_size, ts, arena,
                          buffers.guard.frame != NULL, out);
    cache_guard_release(&buffers.guard);
    return rc;
}

int run_get_probable(struct run *run, const void *key, size_t key_size, uint64_t ts,
                     struct arena *arena, struct engine_row *out)
{
    if (ts < run->info.min_ts)
        return ERROR_NOT_FOUND;
    struct arena_mark mark = arena_mark(arena);
    int rc = get(run, key, key_size, ts, arena, out);
    if (rc != 0)
        arena_rewind(arena, mark);
    return rc;
}

int run_get(struct run *run, const void *key, size_t key_size, uint64_t ts, struct arena *arena,
            struct engine_row *out)
{
    return run_may_contain(run, key, key_size)
               ? run_get_probable(run, key, key_size, ts, arena, out)
               : ERROR_NOT_FOUND;
}

int run_section_read(struct run *run, uint32_t type, struct arena *arena, const void **data,
                     size_t *size)
{
    for (uint32_t i = 0; i < run->footer.sections; i++) {
        const struct run_section *section = &run->sections[i];
        if (section->type != type)
            continue;
        struct run_buffers buffers = {.arena = arena};
        const struct run_extent extent = {section->offset, section->bytes};
        return run__frame_read(run, &extent, RUN_FRAME_SECTION, &buffers, data, size);
    }
    return diag_set(ERROR_NOT_FOUND, "the run %s has no section of type %u", run->name, type);
}

static int key_keep(const struct run *run, const struct run_block_iter *index, struct arena *arena,
                    struct engine_key *keys, unsigned *count)
{
    const struct engine_key *last = *count > 0 ? &keys[*count - 1] : NULL;
    if (last != NULL &&
        run_key_compare(last->data, last->size, index->key, index->row.key_size) == 0)
        return 0;
    keys[*count].data = arena_copy(arena, index->key, index->row.key_size);
    keys[*count].size = index->row.key_size;
    return keys[(*count)++].data == NULL ? no_memory(run) : 0;
}

int run_split(struct run *run, unsigned parts, struct arena *arena, struct engine_key *keys,
              unsigned *count)
{
    struct run_block_iter index;
    uint64_t blocks = run->footer.blocks;
    unsigned char *key = arena_alloc(arena, run__key_room(run));
    *count = 0;
    if (key == NULL)
        return no_memory(run);
    int rc = run__index_open(run, key, &index);
    for (uint64_t i = 1; rc == 0 && i < blocks; i++) {
        rc = run_block_next(&index);
        if (rc != 0)
            return run__corrupt(run, run->index_extent.offset, index.check);
        if (i * parts / blocks > (i - 1) * parts / blocks)
            rc = key_keep(run, &index, arena, keys, count);
    }
    return rc;
}
