/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arbitrary bytes as a file of the engine "btree": opening, reading and salvaging it never fails a check of
 * the sanitizers, whatever is found; and a body that verification calls whole reads the same forward,
 * backward and by get, and has what salvaging finds.
 *
 * Bytes alone rarely get past a checksum, so a bit of the first byte asks for those of all pages to be made
 * right, each as an extent that begins there. Then what else is in them is believed as far as a reader may.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"
#include "storage/btree/btree_salvage.h"

/* How far rows are followed, since branches may name one leaf any number of times. */
enum { ROWS_MAX = 3000, GETS_MAX = 50, PAGES_MAX = 64, SPACE = 512, INCARNATION = 1, NUMBER = 1 };

static const char name[] = "512-1-1.btree";

/* A directory with one file, which can only be read. */
struct memory_io {
    struct io base;
    unsigned char *data;
    size_t size;
};

struct memory_file {
    struct io_file base;
    const struct memory_io *io;
};

static int memory_open(struct io *io, const char *path, int flags, struct io_file **out)
{
    struct memory_file *file = calloc(1, sizeof *file);
    ASSERT(flags == IO_READ && strcmp(path, name) == 0 && file != NULL);
    file->base.vtab = io->vtab;
    file->io = (struct memory_io *)(void *)io;
    *out = &file->base;
    return 0;
}

static void memory_close(struct io_file *file)
{
    free(file);
}

static int64_t memory_read(struct io_file *base, void *data, size_t size, uint64_t offset)
{
    const struct memory_io *io = ((struct memory_file *)(void *)base)->io;
    if (offset >= io->size)
        return 0;
    if (size > io->size - offset)
        size = io->size - offset;
    memcpy(data, io->data + offset, size);
    return (int64_t)size;
}

static int64_t memory_size(struct io_file *base)
{
    return (int64_t)((struct memory_file *)(void *)base)->io->size;
}

static const struct io_vtab memory_vtab = {
    .open = memory_open,
    .close = memory_close,
    .read = memory_read,
    .size = memory_size,
};

/* ---------------------------------------------------------------------------------------- repair */

/* Makes the pages right as they stand, in place: a number and a count of pages that fit, and a checksum. */
static void repair(struct memory_io *io, uint32_t page_bytes)
{
    uint32_t identity = btree_identity(SPACE, INCARNATION, NUMBER);
    uint64_t pages = io->size / page_bytes;
    for (uint64_t page = 0; page < pages;) {
        struct btree_header *header = (void *)(io->data + page * page_bytes);
        header->number = page;
        if (header->pages == 0 || header->pages > pages - page)
            header->pages = 1;
        btree_seal(header, (size_t)header->pages * page_bytes, identity);
        page += header->pages;
    }
}

/* ---------------------------------------------------------------------------------------- reading */

static uint64_t rows_read(struct body_view *view, bool backward, bool *all)
{
    const struct engine_range range = {.backward = backward};
    struct body_cursor *cursor;
    struct engine_row row;
    uint64_t rows = 0;
    int rc = body_cursor_open(view, &range, UINT64_MAX, &cursor);
    ASSERT(rc == 0);
    while (rows < ROWS_MAX && (rc = body_cursor_next(cursor, &row)) == 0) {
        struct engine_row found;
        struct arena arena;
        arena_create(&arena, 0);
        int got =
            rows < GETS_MAX ? body_get(view, row.key, row.key_size, UINT64_MAX, &arena, &found) : 0;
        if (*all)
            ASSERT(got == 0 &&
                   (rows >= GETS_MAX || (found.ts == row.ts && found.size == row.size)));
        arena_destroy(&arena);
        rows++;
    }
    if (*all)
        ASSERT(rc == ERROR_END || rows == ROWS_MAX);
    body_cursor_close(cursor);
    return rows;
}

static void parts_read(struct body_view *view)
{
    struct engine_key keys[8];
    struct arena arena;
    unsigned count;
    arena_create(&arena, 0);
    body_split(view, 8, &arena, keys, &count);
    arena_destroy(&arena);
}

static uint64_t salvaged;

static int on_row(const struct engine_row *row, void *arg)
{
    (void)arg;
    ASSERT(row->key != NULL);
    return ++salvaged > ROWS_MAX ? ERROR_TOO_LARGE : 0;
}

static void on_gap(const struct run_gap *gap, void *arg)
{
    uint64_t *gaps = arg;
    ASSERT(gap->check != NULL);
    ++*gaps;
}

static void body_read(struct memory_io *io, const struct engine_file *file, struct cache *cache)
{
    _Atomic uint64_t next_file = 2;
    const struct engine_options options = {.io = &io->base,
                                           .space_id = SPACE,
                                           .incarnation = INCARNATION,
                                           .next_file = &next_file,
                                           .cache = cache,
                                           .files = file,
                                           .file_count = 1};
    const struct btree_salvage_calls calls = {on_row, on_gap, &(uint64_t){0}};
    struct body *body;
    if (body_open(&engine_btree, &options, &body) != 0)
        return;
    bool whole = body_verify(body) == 0;
    struct body_view *view;
    int rc = body_view_open(body, &view);
    ASSERT(rc == 0);
    uint64_t forward = rows_read(view, false, &whole), backward = rows_read(view, true, &whole);
    ASSERT(!whole || forward == backward);
    parts_read(view);
    body_view_close(view);
    salvaged = 0;
    rc = btree_salvage(&io->base, name, file, &calls);
    ASSERT(!whole || rc == ERROR_TOO_LARGE || (rc == 0 && salvaged == file->rows));
    body_close(body);
}

/* What the manifest would say of the root on a page, if it is one. */
static bool root_named(const struct memory_io *io, uint64_t offset, struct engine_file *out)
{
    struct btree_header header;
    struct btree_root_page root;
    if (offset + sizeof header + sizeof root > io->size)
        return false;
    memcpy(&header, io->data + offset, sizeof header);
    memcpy(&root, io->data + offset + sizeof header, sizeof root);
    *out = (struct engine_file){.bytes = root.pages * root.page_bytes,
                                .rows = root.rows,
                                .tombstones = root.tombstones,
                                .level = (uint32_t)(offset / BTREE_PAGE_MIN),
                                .group = header.sequence};
    strcpy(out->name, name);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct btree_salvage_calls calls = {on_row, on_gap, &(uint64_t){0}};
    struct btree_salvage_info info;
    struct engine_file file;
    struct cache *cache;
    if (size < 1 || size > (size_t)PAGES_MAX * BTREE_PAGE_MIN)
        return 0;
    struct memory_io io = {.base.vtab = &memory_vtab, .size = size - 1};
    io.data = aligned_alloc(64, (io.size + 63) / 64 * 64 + 64);
    int rc = cache_new(&(struct cache_options){.budget_bytes = 2 << 20}, &cache);
    ASSERT(io.data != NULL && rc == 0);
    memcpy(io.data, data + 1, io.size);
    if (data[0] & 1)
        repair(&io, BTREE_PAGE_MIN << (data[0] >> 1 & 3));
    for (uint64_t offset = 0; offset < io.size; offset += BTREE_PAGE_MIN)
        if (root_named(&io, offset, &file))
            body_read(&io, &file, cache);
    salvaged = 0;
    if (btree_salvage_look(&io.base, name, NULL, &info) == 0)
        btree_salvage(&io.base, name, NULL, &calls);
    cache_delete(cache);
    free(io.data);
    return 0;
}
