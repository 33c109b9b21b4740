/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows becoming a sequence of files: a file ends when it has reached its size and the next row has
 * another key, so that all versions of a key are in one file. Each is opened when it is whole, since
 * it will be read.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/lsm/lsm_internal.h"

enum { NAMES_TRIED_MAX = 1000 };

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory to write runs");
}

static int file_begin(struct lsm_output *output)
{
    struct lsm_body *body = output->body;
    const struct lsm_options *options = &output->options;
    int rc = ERROR_EXISTS;
    output->meta = (struct engine_file){.time_ms = output->time_ms};
    output->expires_ms = 0;
    /* A file that was left over, and could not be removed, keeps its name. */
    for (unsigned tried = 0; rc == ERROR_EXISTS && tried < NAMES_TRIED_MAX; tried++) {
        uint64_t number = atomic_fetch_add(body->next_file, 1);
        engine_file_name(output->meta.name, body->space_id, body->incarnation, number);
        const struct run_options run = {
            .io = body->io,
            .name = output->meta.name,
            .space_id = body->space_id,
            .incarnation = body->incarnation,
            .level = output->level,
            .sequence = number,
            .up_to_ts = output->up_to_ts,
            .block_bytes = options->block_bytes,
            .compression = options->compression[output->bottom ? LSM_LEVEL_LAST : output->level],
            .dictionary = output->dictionary,
            .dictionary_size = output->dictionary_size,
            .filter_bits = options->filter_bits,
            .filter = options->filter_kind,
            .background = output->background};
        rc = run_writer_new(&run, &output->writer);
    }
    return rc;
}

static int file_keep(struct lsm_output *output, struct lsm_file *file)
{
    if (output->count == output->capacity) {
        unsigned capacity = 2 * output->capacity + 4;
        struct lsm_file **files = realloc(output->files, capacity * sizeof(struct lsm_file *));
        if (files == NULL)
            return no_memory();
        output->files = files;
        output->capacity = capacity;
    }
    output->files[output->count++] = file;
    return 0;
}

/* Nothing is said of a file without rows that will expire. */
static int expires_put(struct lsm_output *output)
{
    unsigned char bytes[8];
    if (output->expires_ms == 0 || output->expires_ms == LSM_NEVER)
        return 0;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(output->expires_ms >> 8 * i);
    return run_writer_section(output->writer, LSM_SECTION_EXPIRES, false, bytes, sizeof bytes);
}

static void expires_count(struct lsm_output *output, const struct engine_row *row)
{
    const struct lsm_filter *filter = output->options.filter;
    if (filter == NULL || row->data == NULL)
        return;
    uint64_t expires_ms = filter->expires_ms(filter, row);
    if (expires_ms > output->horizon_ms && expires_ms > output->expires_ms)
        output->expires_ms = expires_ms;
}

static int file_end(struct lsm_output *output)
{
    struct run_info info;
    struct run_writer *writer = output->writer;
    struct lsm_file *file;
    int rc = expires_put(output);
    if (rc != 0)
        return rc;
    output->writer = NULL;
    rc = run_writer_finish(writer, &info);
    if (rc != 0)
        return rc;
    output->meta.bytes = info.file_bytes;
    output->meta.rows = info.rows;
    output->meta.tombstones = info.tombstones;
    output->file_bytes += info.file_bytes;
    rc = lsm__file_open(output->body, &output->meta, &file);
    if (rc == 0 && (rc = file_keep(output, file)) != 0)
        lsm__file_release(file);
    if (rc != 0)
        io_unlink(output->body->io, output->meta.name);
    return rc;
}

static int key_keep(struct lsm_output *output, const struct engine_row *row)
{
    struct run_memory *key = &output->last_key;
    if (run_memory_reserve(key, row->key_size + 1) != 0)
        return no_memory();
    if (row->key_size > 0)
        memcpy(key->data, row->key, row->key_size);
    key->size = row->key_size;
    return 0;
}

/* Ends the present file if it is large enough and the row begins a key. */
static int file_cut(struct lsm_output *output, const struct engine_row *row)
{
    const struct run_memory *last = &output->last_key;
    if (output->writer == NULL || run_writer_bytes(output->writer) < output->options.file_bytes)
        return 0;
    int order = run_key_compare(last->data, last->size, row->key, row->key_size);
    if (order > 0)
        return diag_set(ERROR_INVALID, "row %llu to be written is out of order",
                        (unsigned long long)output->rows + 1);
    return order == 0 ? 0 : file_end(output);
}

void lsm__output_background(struct lsm_output *output, bool background)
{
    output->background = background;
    if (output->writer != NULL)
        run_writer_background(output->writer, background);
}

int lsm__output_add(struct lsm_output *output, const struct engine_row *row)
{
    int rc = file_cut(output, row);
    if (rc == 0 && output->writer == NULL)
        rc = file_begin(output);
    if (rc == 0)
        rc = run_writer_add(output->writer, row);
    if (rc == 0)
        rc = key_keep(output, row);
    if (rc != 0)
        return rc;
    expires_count(output, row);
    output->bytes += row->key_size + row->size + sizeof row->ts;
    output->rows++;
    return 0;
}

int lsm__output_end(struct lsm_output *output)
{
    return output->writer != NULL ? file_end(output) : 0;
}

void lsm__output_release(struct lsm_output *output)
{
    for (unsigned i = 0; i < output->count; i++)
        lsm__file_release(output->files[i]);
    free(output->files);
    run_memory_destroy(&output->last_key);
    *output = (struct lsm_output){0};
}

void lsm__output_abandon(struct lsm_output *output)
{
    if (output->writer != NULL)
        run_writer_delete(output->writer);
    output->writer = NULL;
    for (unsigned i = 0; i < output->count; i++)
        io_unlink(output->body->io, output->files[i]->meta.name);
    lsm__output_release(output);
}
