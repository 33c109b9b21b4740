/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The manifest as a file. It is text, so that a person can read it; one line an item, words
 * separated by one space, numbers in decimal without leading zeros:
 *
 *      perigee-manifest 1 little-endian
 *      clock 81273
 *      log 7
 *      next-file 12
 *      trees 2
 *      tree 512 1 0 memory 81270 2       space, incarnation, index, engine, K, number of files
 *      file 512-1-3.run 40960 812 0      name, bytes, rows, tombstones; oldest first
 *      file 512-1-9.run 4096 12 3
 *      tree 280 0 0 memory 81270 0
 *      tree 513 1 0 lsm 81270 1
 *      file 513-1-4.run 81920 1700 0 6 4 1764000000000     ... level, group, time
 *      end 9c0fe137                      CRC-32C of all bytes before this line, in hexadecimal
 *
 * The order of bytes is that of the machine, and of the other files beside it: those are binary.
 * The checksum is looked at first, but for the first line, since a newer format may have another
 * one. There is one way only to write each manifest: whatever decodes encodes to the same bytes. So
 * the last three words of a file are there when one of them is not zero, and the version is 2 when
 * some file has them, else 1, which older programs read; it is 3 when the K of some tree is above the
 * clock, as it is behind rows that were ingested until the next checkpoint.
 */
#include "storage/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"

#define MAGIC       "perigee-manifest "
#define ORDER       "little-endian"
#define ORDER_OTHER "big-endian"

enum { FORMAT_VERSION = 3, END_LINE_SIZE = 4 + 8 + 1, TREES_MAX = 1 << 24, FILES_MAX = 1 << 20 };

STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

void manifest_create(struct manifest *manifest)
{
    *manifest = (struct manifest){.next_file = 1};
}

void manifest_destroy(struct manifest *manifest)
{
    for (unsigned i = 0; i < manifest->tree_count; i++)
        free(manifest->trees[i].files);
    free(manifest->trees);
    manifest_create(manifest);
}

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for the manifest");
}

int manifest_tree_add(struct manifest *manifest, uint32_t space_id, uint32_t incarnation,
                      uint32_t index_id, const char *engine, uint64_t k, struct manifest_tree **out)
{
    if (manifest->tree_count == manifest->tree_capacity) {
        unsigned capacity = 2 * manifest->tree_capacity + 16;
        struct manifest_tree *trees = realloc(manifest->trees, capacity * sizeof *trees);
        if (trees == NULL)
            return no_memory();
        manifest->trees = trees;
        manifest->tree_capacity = capacity;
    }
    struct manifest_tree *tree = &manifest->trees[manifest->tree_count++];
    *tree = (struct manifest_tree){
        .space_id = space_id, .incarnation = incarnation, .index_id = index_id, .k = k};
    ASSERT(strlen(engine) <= ENGINE_NAME_MAX);
    strcpy(tree->engine, engine);
    *out = tree;
    return 0;
}

int manifest_file_add(struct manifest_tree *tree, const struct engine_file *file)
{
    if (tree->file_count == tree->file_capacity) {
        unsigned capacity = 2 * tree->file_capacity + 4;
        struct engine_file *files = realloc(tree->files, capacity * sizeof *files);
        if (files == NULL)
            return no_memory();
        tree->files = files;
        tree->file_capacity = capacity;
    }
    tree->files[tree->file_count++] = *file;
    return 0;
}

bool manifest_names(const struct manifest *manifest, const char *name)
{
    for (unsigned i = 0; i < manifest->tree_count; i++)
        for (unsigned n = 0; n < manifest->trees[i].file_count; n++)
            if (strcmp(manifest->trees[i].files[n].name, name) == 0)
                return true;
    return false;
}

/* ------------------------------------------------------------------------------------- encoding */

static bool has_level(const struct engine_file *file)
{
    return file->level != 0 || file->group != 0 || file->time_ms != 0;
}

bool manifest_is_ahead(const struct manifest *manifest)
{
    for (unsigned i = 0; i < manifest->tree_count; i++)
        if (manifest->trees[i].k > manifest->clock)
            return true;
    return false;
}

/* The oldest version that has words for all of it. */
static unsigned version_needed(const struct manifest *manifest)
{
    if (manifest_is_ahead(manifest))
        return 3;
    for (unsigned i = 0; i < manifest->tree_count; i++)
        for (unsigned n = 0; n < manifest->trees[i].file_count; n++)
            if (has_level(&manifest->trees[i].files[n]))
                return 2;
    return 1;
}

static void file_print(FILE *out, const struct engine_file *file)
{
    fprintf(out, "file %s %" PRIu64 " %" PRIu64 " %" PRIu64, file->name, file->bytes, file->rows,
            file->tombstones);
    if (has_level(file))
        fprintf(out, " %" PRIu32 " %" PRIu64 " %" PRIu64, file->level, file->group, file->time_ms);
    fputc('\n', out);
}

int manifest_encode(const struct manifest *manifest, char **data, size_t *size)
{
    FILE *out = open_memstream(data, size);
    if (out == NULL)
        return no_memory();
    fprintf(out, MAGIC "%u " ORDER "\n", version_needed(manifest));
    fprintf(out, "clock %" PRIu64 "\nlog %" PRIu64 "\nnext-file %" PRIu64 "\ntrees %u\n",
            manifest->clock, manifest->first_segment, manifest->next_file, manifest->tree_count);
    for (unsigned i = 0; i < manifest->tree_count; i++) {
        const struct manifest_tree *tree = &manifest->trees[i];
        fprintf(out, "tree %" PRIu32 " %" PRIu32 " %" PRIu32 " %s %" PRIu64 " %u\n", tree->space_id,
                tree->incarnation, tree->index_id, tree->engine, tree->k, tree->file_count);
        for (unsigned n = 0; n < tree->file_count; n++)
            file_print(out, &tree->files[n]);
    }
    bool whole = fflush(out) == 0;
    if (whole)
        fprintf(out, "end %08" PRIx32 "\n", crc32c(0, *data, *size));
    if (fclose(out) != 0 || !whole) {
        free(*data);
        return no_memory();
    }
    return 0;
}

/* ------------------------------------------------------------------------------------- decoding */

struct reader {
    const char *start, *at, *end;
};

static int damaged(const struct reader *reader, const char *check)
{
    return diag_set(ERROR_CORRUPT, "file " MANIFEST_NAME " is damaged at offset %zu: %s",
                    (size_t)(reader->at - reader->start), check);
}

/* Passes over the text, if it comes next. */
static bool read_text(struct reader *reader, const char *text)
{
    size_t size = strlen(text);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, text, size) != 0)
        return false;
    reader->at += size;
    return true;
}

static bool read_number(struct reader *reader, uint64_t max, uint64_t *out)
{
    const char *first = reader->at;
    uint64_t number = 0;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
        uint64_t digit = (uint64_t)(*reader->at - '0');
        if (number > (max - digit) / 10 || digit > max)
            return false;
        number = 10 * number + digit;
        reader->at++;
    }
    *out = number;
    return reader->at > first && (*first != '0' || reader->at == first + 1);
}

static bool read_line(struct reader *reader, const char *word, uint64_t *out)
{
    return read_text(reader, word) && read_number(reader, UINT64_MAX, out) &&
           read_text(reader, "\n");
}

/* A word of letters, digits, '-', '_' and '.', that is no path, into out[0..max]. */
static bool read_word(struct reader *reader, char *out, size_t max)
{
    size_t size = 0;
    while (reader->at < reader->end) {
        char c = *reader->at;
        bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_' || (c == '.' && size > 0);
        if (!fits)
            break;
        if (size == max)
            return false;
        out[size++] = c;
        reader->at++;
    }
    out[size] = '\0';
    return size > 0;
}

/* A space, then a number. */
static bool read_next(struct reader *reader, uint64_t max, uint64_t *out)
{
    return read_text(reader, " ") && read_number(reader, max, out);
}

/* The first line tells versions and machines apart, whatever the rest looks like. */
static int read_first_line(struct reader *reader, uint64_t *out)
{
    uint64_t version;
    if (!read_text(reader, MAGIC) || !read_number(reader, UINT32_MAX, &version))
        return damaged(reader, "first line");
    *out = version;
    if (version > FORMAT_VERSION)
        return diag_set(ERROR_VERSION,
                        "file " MANIFEST_NAME " has format version %" PRIu64
                        ", which a newer perigee has written; this one reads up to %d",
                        version, FORMAT_VERSION);
    if (version == 0)
        return damaged(reader, "format version");
    if (read_text(reader, " " ORDER_OTHER "\n"))
        return diag_set(ERROR_VERSION, "file " MANIFEST_NAME
                                       " was written by a machine with another order of bytes (big "
                                       "end first): its data cannot be read here");
    return read_text(reader, " " ORDER "\n") ? 0 : damaged(reader, "order of bytes");
}

/* The last line; the reader then ends before it. */
static int read_checksum(struct reader *reader)
{
    struct reader last = *reader;
    char expected[END_LINE_SIZE + 1];
    if (last.end - last.at < END_LINE_SIZE)
        return damaged(reader, "last line");
    last.at = last.end - END_LINE_SIZE;
    if (memcmp(last.at, "end ", 4) != 0)
        return damaged(&last, "last line");
    snprintf(expected, sizeof expected, "end %08" PRIx32 "\n",
             crc32c(0, last.start, (size_t)(last.at - last.start)));
    if (memcmp(last.at, expected, END_LINE_SIZE) != 0)
        return damaged(&last, "checksum");
    reader->end = last.at;
    return 0;
}

/* Level, group and time, if they come next. */
static bool read_level(struct reader *reader, struct engine_file *file)
{
    uint64_t level;
    if (reader->at < reader->end && *reader->at == '\n')
        return true;
    if (!read_next(reader, UINT32_MAX, &level) || !read_next(reader, UINT64_MAX, &file->group) ||
        !read_next(reader, UINT64_MAX, &file->time_ms))
        return false;
    file->level = (uint32_t)level;
    return has_level(file);
}

static int read_file(struct reader *reader, struct manifest_tree *tree)
{
    struct engine_file file = {.level = 0};
    if (!read_text(reader, "file ") || !read_word(reader, file.name, ENGINE_FILE_NAME_MAX) ||
        !read_next(reader, UINT64_MAX, &file.bytes) || !read_next(reader, UINT64_MAX, &file.rows) ||
        !read_next(reader, file.rows, &file.tombstones) || !read_level(reader, &file) ||
        !read_text(reader, "\n"))
        return damaged(reader, "line of a file");
    return manifest_file_add(tree, &file);
}

static int read_tree(struct reader *reader, uint64_t version, struct manifest *manifest)
{
    uint64_t k_max = version < 3 ? manifest->clock : UINT64_MAX;
    uint64_t space_id, incarnation, index_id, k, files;
    char engine[ENGINE_NAME_MAX + 1];
    if (!read_text(reader, "tree") || !read_next(reader, UINT32_MAX, &space_id) ||
        !read_next(reader, UINT32_MAX, &incarnation) || !read_next(reader, UINT32_MAX, &index_id) ||
        !read_text(reader, " ") || !read_word(reader, engine, ENGINE_NAME_MAX) ||
        !read_next(reader, k_max, &k) || !read_next(reader, FILES_MAX, &files) ||
        !read_text(reader, "\n"))
        return damaged(reader, "line of a tree");
    struct manifest_tree *tree;
    int rc = manifest_tree_add(manifest, (uint32_t)space_id, (uint32_t)incarnation,
                               (uint32_t)index_id, engine, k, &tree);
    while (rc == 0 && files-- > 0)
        rc = read_file(reader, tree);
    return rc;
}

static int read_all(struct reader *reader, struct manifest *manifest)
{
    uint64_t trees, version = 0;
    int rc = read_first_line(reader, &version);
    if (rc == 0)
        rc = read_checksum(reader);
    if (rc != 0)
        return rc;
    if (!read_line(reader, "clock ", &manifest->clock) ||
        !read_line(reader, "log ", &manifest->first_segment) ||
        !read_line(reader, "next-file ", &manifest->next_file) ||
        !read_line(reader, "trees ", &trees) || trees > TREES_MAX)
        return damaged(reader, "line of a number");
    while (rc == 0 && trees-- > 0)
        rc = read_tree(reader, version, manifest);
    if (rc == 0 && reader->at != reader->end)
        rc = damaged(reader, "more lines than expected");
    if (rc == 0 && version != version_needed(manifest))
        rc = damaged(reader, "format version for what it says");
    return rc;
}

int manifest_decode(struct manifest *manifest, const char *data, size_t size)
{
    struct reader reader = {data, data, data + size};
    int rc = read_all(&reader, manifest);
    if (rc != 0)
        manifest_destroy(manifest);
    return rc;
}

/* ---------------------------------------------------------------------------------------- files */

int manifest_load(struct io *io, struct manifest *manifest)
{
    char *data;
    size_t size;
    int rc = io_load(io, MANIFEST_NAME, MANIFEST_BYTES_MAX, &data, &size);
    if (rc != 0)
        return rc;
    rc = manifest_decode(manifest, data, size);
    free(data);
    return rc;
}

static int file_write(struct io *io, const char *data, size_t size)
{
    struct io_file *file;
    int rc = io_open(io, MANIFEST_NAME_NEW, IO_WRITE | IO_CREATE | IO_TRUNCATE, &file);
    if (rc != 0)
        return rc;
    rc = io_write(file, data, size, 0);
    if (rc == 0)
        rc = io_sync(file);
    io_close(file);
    return rc;
}

int manifest_store(struct io *io, const struct manifest *manifest, bool *replaced)
{
    *replaced = false;
    char *data;
    size_t size;
    int rc = manifest_encode(manifest, &data, &size);
    if (rc != 0)
        return rc;
    /* A file of that name from an attempt that failed may have a flush behind it that failed, too,
       and nothing makes that one good. */
    rc = io_unlink(io, MANIFEST_NAME_NEW);
    rc = rc == ERROR_NOT_FOUND ? 0 : rc;
    if (rc == 0)
        rc = file_write(io, data, size);
    free(data);
    if (rc == 0)
        rc = io_sync_dir(io);
    if (rc != 0)
        return rc;
    crash_point("checkpoint.manifest.written");
    *replaced = true;
    rc = io_rename(io, MANIFEST_NAME_NEW, MANIFEST_NAME);
    if (rc != 0)
        return rc;
    crash_point("checkpoint.manifest.renamed");
    return io_sync_dir(io);
}
