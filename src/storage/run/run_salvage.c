/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A walk over frames. The frame at a place is believed when its checksum is right, which covers the
 * place and the checksum of the file's header; before that is computed, what its header says has to
 * be possible, so that looking for the next frame at every byte costs little.
 *
 *      header │ frame of rows │ ???????????? │ frame of rows │ frame of a section: the end of rows
 *                             └──── gap ─────┘
 */
#include "storage/run/run_salvage.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/run/run_internal.h"

enum { WINDOW_BYTES = 1 << 20, PAGE_BYTES = 4096 };

struct run_salvage {
    struct run *run; /* only what the header says, and the footer if it can be read */
    void (*gap)(const struct run_gap *gap, void *arg);
    void *arg;
    uint64_t at;     /* where the next frame must be */
    uint64_t gap_at; /* where the gap began that has not been told yet */
    const char *gap_check;
    bool ended;
    bool unreadable; /* the last window */
    struct run_buffers buffers;
    struct run_block_iter block;
    struct run_extent extent; /* of the block */
    bool in_block;
    struct run_memory key;  /* of the block's present row */
    struct run_memory last; /* of the last row that was given */
    bool has_last;
    unsigned char *window;
    uint64_t window_at;
    size_t window_size;
};

/* ---------------------------------------------------------------------------------------- opening
 */

static int header_load(struct run *run)
{
    unsigned char bytes[RUN_HEADER_BYTES];
    const char *check = "the file is shorter than a run's header";
    int64_t size = io_size(run->file), got;
    if (size < 0)
        return (int)size;
    run->info.file_bytes = (uint64_t)size;
    got = io_read(run->file, bytes, sizeof bytes, 0);
    if (got < 0)
        return (int)got;
    int rc =
        got < RUN_HEADER_BYTES ? ERROR_CORRUPT : run_header_decode(bytes, &run->header, &check);
    return rc == ERROR_CORRUPT ? run__corrupt(run, 0, check)
           : rc != 0           ? diag_set(rc, "the run %s %s", run->name, check)
                               : 0;
}

/* The counts of the footer, if trailer and footer are whole. */
static void footer_load(struct run *run, struct run_buffers *buffers)
{
    unsigned char bytes[RUN_TRAILER_BYTES];
    const unsigned char *first, *last;
    const void *contents;
    const char *check;
    size_t size;
    uint64_t file_bytes = run->info.file_bytes;
    run->info.rows = run->info.tombstones = UINT64_MAX;
    if (file_bytes < RUN_HEADER_BYTES + RUN_TRAILER_BYTES ||
        io_read(run->file, bytes, sizeof bytes, file_bytes - sizeof bytes) != sizeof bytes ||
        run_trailer_decode(bytes, file_bytes, run->header.checksum, &run->trailer) != NULL)
        return;
    const struct run_extent extent = {run->trailer.footer_offset, run->trailer.footer_bytes};
    if (run__frame_read(run, &extent, RUN_FRAME_FOOTER, buffers, &contents, &size) != 0 ||
        run_footer_decode(contents, size, extent.offset, &run->footer, run->sections, &first, &last,
                          &check) != 0)
        return;
    run->info.rows = run->footer.rows;
    run->info.tombstones = run->footer.tombstones;
}

/* Without the dictionary what needs it is a gap, and so is the place where it was. */
static int rows_find(struct run_salvage *salvage)
{
    int rc = run__dictionary_load(salvage->run);
    if (rc == 0)
        salvage->at = salvage->run->rows_begin;
    return rc == ERROR_MEMORY ? rc : 0;
}

int run_salvage_open(struct io *io, const char *name,
                     void (*gap)(const struct run_gap *gap, void *arg), void *arg,
                     struct run_salvage **out)
{
    struct run_salvage *salvage = calloc(1, sizeof *salvage);
    struct run *run = calloc(1, sizeof *run + strlen(name) + 1);
    unsigned char *window = malloc(WINDOW_BYTES);
    int rc = salvage == NULL || run == NULL || window == NULL
                 ? diag_set(ERROR_MEMORY, "no memory to read the run %s", name)
                 : 0;
    if (rc == 0) {
        memcpy(run->name, name, strlen(name) + 1);
        *salvage = (struct run_salvage){
            .run = run, .gap = gap, .arg = arg, .at = RUN_HEADER_BYTES, .window = window};
        rc = io_open(io, name, IO_READ, &run->file);
    }
    if (rc == 0)
        rc = header_load(run);
    if (rc == 0)
        rc = rows_find(salvage);
    if (rc != 0) {
        if (run != NULL)
            run_close(run);
        free(window);
        free(salvage);
        return rc;
    }
    footer_load(run, &salvage->buffers);
    struct run_info *info = &run->info;
    info->space_id = run->header.space_id;
    info->incarnation = run->header.incarnation;
    info->index_id = run->header.index_id;
    info->level = run->header.level;
    info->sequence = run->header.sequence;
    info->up_to_ts = run->header.up_to_ts;
    *out = salvage;
    return 0;
}

void run_salvage_close(struct run_salvage *salvage)
{
    run_close(salvage->run);
    run__buffers_destroy(&salvage->buffers);
    run_memory_destroy(&salvage->key);
    run_memory_destroy(&salvage->last);
    free(salvage->window);
    free(salvage);
}

const struct run_info *run_salvage_info(const struct run_salvage *salvage)
{
    return &salvage->run->info;
}

/* ----------------------------------------------------------------------------------------- frames
 */

/* The header of a frame at `at`, from the window; false when the file ends before, or cannot be
 * read. Where not all of a window can be read, as much as the header. */
static bool frame_peek(struct run_salvage *salvage, uint64_t at, struct run_frame *out)
{
    struct io_file *file = salvage->run->file;
    if (at < salvage->window_at ||
        at + RUN_FRAME_BYTES > salvage->window_at + salvage->window_size) {
        int64_t got = io_read(file, salvage->window, WINDOW_BYTES, at);
        if (got < 0)
            got = io_read(file, salvage->window, RUN_FRAME_BYTES, at);
        salvage->unreadable = got < 0;
        salvage->window_at = at;
        salvage->window_size = got < 0 ? 0 : (size_t)got;
    }
    if (at + RUN_FRAME_BYTES > salvage->window_at + salvage->window_size)
        return false;
    memcpy(out, salvage->window + (at - salvage->window_at), sizeof *out);
    return true;
}

static bool frame_possible(const struct run_salvage *salvage, uint64_t at,
                           const struct run_frame *frame)
{
    uint64_t left = salvage->run->info.file_bytes - at - RUN_FRAME_BYTES;
    bool compressed = frame->flags != 0;
    return frame->kind >= RUN_FRAME_ROWS && frame->kind <= RUN_FRAME_FOOTER &&
           run_flags_valid(frame->flags) && frame->stored_bytes <= left &&
           (compressed ? frame->bytes <= RUN_COMPRESS_BYTES_MAX
                       : frame->bytes == frame->stored_bytes);
}

/* The frame at `at`: 0 and its kind, or ERROR_CORRUPT with *check, or ERROR_MEMORY. The contents of
 * a frame of rows are put into the block. */
static int frame_try(struct run_salvage *salvage, uint64_t at, enum run_frame_kind *kind,
                     const char **check)
{
    struct run *run = salvage->run;
    struct run_frame frame;
    const void *contents;
    size_t size;
    *check = "the file ends too early";
    if (!frame_peek(salvage, at, &frame))
        return ERROR_CORRUPT;
    *check = "block size, kind or flags";
    if (!frame_possible(salvage, at, &frame))
        return ERROR_CORRUPT;
    *kind = (enum run_frame_kind)frame.kind;
    salvage->extent = (struct run_extent){at, RUN_FRAME_BYTES + frame.stored_bytes};
    *check = "block checksum";
    int rc = run__frame_read(run, &salvage->extent, *kind, &salvage->buffers, &contents, &size);
    if (rc != 0 || *kind != RUN_FRAME_ROWS)
        return rc == ERROR_MEMORY || rc == 0 ? rc : ERROR_CORRUPT;
    if (run_memory_reserve(&salvage->key, size + 1) != 0)
        return diag_set(ERROR_MEMORY, "no memory to read the run %s", run->name);
    rc = run_block_open(&salvage->block, contents, size, run->header.flags & RUN_BORROWS,
                        run->header.up_to_ts, salvage->key.data, size);
    *check = salvage->block.check;
    return rc;
}

static void gap_begin(struct run_salvage *salvage, uint64_t at, const char *check)
{
    if (salvage->gap_check != NULL)
        return;
    salvage->gap_at = at;
    salvage->gap_check = check;
}

static void gap_end(struct run_salvage *salvage, uint64_t at, const struct engine_row *next)
{
    if (salvage->gap_check == NULL)
        return;
    struct run_gap gap = {
        .offset = salvage->gap_at, .bytes = at - salvage->gap_at, .check = salvage->gap_check};
    if (salvage->has_last) {
        gap.after = salvage->last.data;
        gap.after_size = salvage->last.size;
    }
    if (next != NULL) {
        gap.before = next->key;
        gap.before_size = next->key_size;
    }
    salvage->gap_check = NULL;
    if (salvage->gap != NULL)
        salvage->gap(&gap, salvage->arg);
}

/* Goes to the next block of rows, wherever that is. ERROR_END behind the last. If the footer says
 * where the rows end, what is wrong behind that has cost none. */
static int block_next(struct run_salvage *salvage)
{
    const struct run *run = salvage->run;
    uint64_t end = run->info.rows == UINT64_MAX ? run->info.file_bytes : run->footer.rows_end;
    enum run_frame_kind kind = RUN_FRAME_ROWS;
    const char *check;
    int rc = ERROR_CORRUPT;
    while (rc == ERROR_CORRUPT && salvage->at < end) {
        rc = frame_try(salvage, salvage->at, &kind, &check);
        if (rc != ERROR_CORRUPT)
            break;
        gap_begin(salvage, salvage->at, salvage->unreadable ? "it cannot be read" : check);
        salvage->at += salvage->unreadable ? PAGE_BYTES - salvage->at % PAGE_BYTES : 1;
    }
    if (rc == ERROR_MEMORY)
        return rc;
    if (rc == 0 && kind == RUN_FRAME_ROWS) {
        salvage->at = salvage->extent.offset + salvage->extent.bytes;
        salvage->in_block = true;
        return 0;
    }
    if (rc != 0 && end == run->info.file_bytes)
        gap_begin(salvage, end, "the file has been cut");
    gap_end(salvage, rc == 0 ? salvage->extent.offset : end, NULL);
    return ERROR_END;
}

/* ------------------------------------------------------------------------------------------- rows
 */

static int last_keep(struct run_salvage *salvage, const struct engine_row *row)
{
    if (run_memory_reserve(&salvage->last, row->key_size + 1) != 0)
        return diag_set(ERROR_MEMORY, "no memory to read the run %s", salvage->run->name);
    memcpy(salvage->last.data, row->key, row->key_size);
    salvage->last.size = row->key_size;
    salvage->has_last = true;
    return 0;
}

int run_salvage_next(struct run_salvage *salvage, struct engine_row *out)
{
    while (!salvage->ended) {
        int rc = salvage->in_block ? run_block_next(&salvage->block) : ERROR_END;
        if (rc == 0) {
            gap_end(salvage, salvage->extent.offset, &salvage->block.row);
            *out = salvage->block.row;
            return last_keep(salvage, out);
        }
        if (rc == ERROR_CORRUPT)
            gap_begin(salvage, salvage->extent.offset, salvage->block.check);
        salvage->in_block = false;
        rc = block_next(salvage);
        if (rc == ERROR_END)
            salvage->ended = true;
        else if (rc != 0)
            return rc;
    }
    return ERROR_END;
}
