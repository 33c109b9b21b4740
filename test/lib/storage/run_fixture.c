/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/run_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"

struct engine_row run_text_row(const struct run_text *text)
{
    return (struct engine_row){
        .key = (const unsigned char *)text->key,
        .key_size = strlen(text->key),
        .ts = text->ts,
        .data = text->data,
        .size = text->data == NULL ? 0 : (uint32_t)strlen(text->data),
    };
}

int run_text_write(const struct run_options *options, const struct run_text *texts, size_t count,
                   struct run_info *info)
{
    struct run_writer *writer;
    int rc = run_writer_new(options, &writer);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct engine_row row = run_text_row(&texts[i]);
        rc = run_writer_add(writer, &row);
    }
    int finished = run_writer_finish(writer, info);
    ASSERT(rc == 0 || finished == rc);
    return finished;
}

static const void *dictionary_make(size_t *size)
{
    enum { SAMPLES = 300, SAMPLE_ROOM = 64 };
    static char bytes[1024], samples[SAMPLES * SAMPLE_ROOM];
    static int64_t made;
    size_t sizes[SAMPLES], at = 0;
    for (unsigned i = 0; i < SAMPLES && made == 0; i++) {
        sizes[i] = (size_t)snprintf(samples + at, SAMPLE_ROOM,
                                    "{\"name\": \"%x\", \"city\": \"Perigee\", \"n\": %u}",
                                    i * 2654435761u, i * i);
        at += sizes[i];
    }
    if (made == 0)
        made = compress_dictionary_train(bytes, sizeof bytes, samples, sizes, SAMPLES);
    ASSERT(made > 0);
    *size = (size_t)made;
    return bytes;
}

void run_options_way(struct run_options *options, unsigned way)
{
    options->compression = way < COMPRESS_METHODS ? (enum compress_method)way : COMPRESS_ZSTD;
    options->dictionary = NULL;
    options->dictionary_size = 0;
    if (way == COMPRESS_METHODS)
        options->dictionary = dictionary_make(&options->dictionary_size);
}

unsigned char *run_file_read(struct io *io, const char *name, size_t *size)
{
    struct io_file *file;
    ASSERT(io_open(io, name, IO_READ, &file) == 0);
    int64_t bytes = io_size(file);
    ASSERT(bytes >= 0);
    unsigned char *data = malloc((size_t)bytes + 1);
    ASSERT(data != NULL && io_read(file, data, (size_t)bytes, 0) == bytes);
    io_close(file);
    *size = (size_t)bytes;
    return data;
}

void run_file_write(struct io *io, const char *name, const void *data, size_t size)
{
    struct io_file *file;
    ASSERT(io_open(io, name, IO_WRITE | IO_CREATE | IO_TRUNCATE, &file) == 0);
    ASSERT(size == 0 || io_write(file, data, size, 0) == 0);
    io_close(file);
}

static int walk(struct run *run, bool backward, bool get)
{
    const struct engine_range range = {.backward = backward};
    struct run_cursor *cursor;
    struct engine_row row, again;
    struct arena arena;
    int rc = run_cursor_open(run, &range, &cursor);
    if (rc != 0)
        return rc;
    arena_create(&arena, 0);
    while ((rc = run_cursor_next(cursor, &row)) == 0 && get) {
        rc = run_get(run, row.key, row.key_size, row.ts, &arena, &again);
        if (rc != 0)
            break;
        arena_reset(&arena);
    }
    while (rc == 0)
        rc = run_cursor_next(cursor, &row);
    arena_destroy(&arena);
    run_cursor_close(cursor);
    return rc == ERROR_END ? 0 : rc;
}

int run_read_all(struct io *io, const char *name)
{
    struct run *run;
    int rc = run_open(io, name, &run);
    if (rc != 0)
        return rc;
    rc = run_verify(run, NULL, NULL);
    if (rc == 0)
        rc = walk(run, false, true);
    if (rc == 0)
        rc = walk(run, true, false);
    run_close(run);
    return rc;
}
