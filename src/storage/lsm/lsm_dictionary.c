/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A dictionary for the last level: trained from the first rows of files that lie evenly among those
 * that are compacted, a hundred times as many bytes as it may have, as zstd's authors advise.
 *
 * Where rows are alike within a block zstd finds by itself what they have in common, and a dictionary, which is in
 * each file, makes files larger. So every eighth block of these rows is kept from the training and compressed
 * with and without it: it stays if what it saves of a file is more than itself.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/lsm/lsm_internal.h"

enum { SAMPLE_PART = 100, SAMPLES_MAX = 20000, FILES_MAX = 16, TRIAL_EVERY = 8 };

struct samples {
    char *bytes;
    size_t *sizes;
    size_t used, room;
    unsigned count;
    char *trial; /* rows that are not to be trained from, one behind the other */
    size_t trial_used, trial_room, block_bytes;
};

/* A row becomes part of the training or, every eighth block of them, of the trial. */
static void row_take(struct samples *samples, const struct engine_row *row)
{
    size_t block = (samples->used + samples->trial_used) / samples->block_bytes;
    if (block % TRIAL_EVERY == TRIAL_EVERY - 1 &&
        row->size <= samples->trial_room - samples->trial_used) {
        memcpy(samples->trial + samples->trial_used, row->data, row->size);
        samples->trial_used += row->size;
        return;
    }
    memcpy(samples->bytes + samples->used, row->data, row->size);
    samples->used += row->size;
    samples->sizes[samples->count++] = row->size;
}

/* Rows from the beginning of a file, until `end` bytes are used. */
static int file_sample(const struct lsm_file *file, bool hurry, struct samples *samples, size_t end)
{
    struct run_cursor *cursor;
    struct engine_row row;
    int rc = run_cursor_open(file->run, NULL, &cursor);
    if (rc != 0)
        return rc;
    run_cursor_scan(cursor);
    run_cursor_hurry(cursor, hurry);
    while (samples->used < end && samples->count < SAMPLES_MAX &&
           (rc = run_cursor_next(cursor, &row)) == 0) {
        if (row.data == NULL || row.size == 0 || row.size > samples->room - samples->used)
            continue;
        row_take(samples, &row);
    }
    run_cursor_close(cursor);
    return rc == ERROR_END ? 0 : rc;
}

static int train(const struct samples *samples, size_t bytes_max, void **out, size_t *size)
{
    void *dictionary = malloc(bytes_max);
    if (dictionary == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a dictionary");
    int64_t trained = compress_dictionary_train(dictionary, bytes_max, samples->bytes,
                                                samples->sizes, samples->count);
    if (trained <= 0) {
        free(dictionary);
        return trained == 0 ? 0 : diag_set(ERROR_MEMORY, "no memory for a dictionary");
    }
    *out = dictionary;
    *size = (size_t)trained;
    return 0;
}

/* The bytes of the trial's blocks, compressed with the dictionary (NULL: without one); -1: no memory. */
static int64_t trial_bytes(const struct samples *samples,
                           const struct compress_dictionary *dictionary)
{
    int64_t sum = 0, bytes = 0;
    char *room = malloc(samples->block_bytes);
    if (room == NULL)
        return -1;
    for (size_t at = 0; at < samples->trial_used && bytes >= 0; at += samples->block_bytes) {
        size_t left = samples->trial_used - at;
        size_t size = left < samples->block_bytes ? left : samples->block_bytes;
        bytes = compress_block(COMPRESS_ZSTD, dictionary, room, size, samples->trial + at, size);
        sum += bytes == 0 ? (int64_t)size : bytes;
    }
    free(room);
    return bytes < 0 ? -1 : sum;
}

/* Whether a file of `file_bytes` gets smaller by it, itself included: 1, 0 or ERROR_MEMORY. */
static int pays(const struct samples *samples, const void *data, size_t size, uint64_t file_bytes)
{
    struct compress_dictionary *dictionary = NULL;
    int rc = compress_dictionary_new(data, size, &dictionary);
    if (rc != 0)
        return rc == ERROR_MEMORY ? diag_set(rc, "no memory for a dictionary") : 0;
    int64_t without = trial_bytes(samples, NULL), with = trial_bytes(samples, dictionary);
    compress_dictionary_delete(dictionary);
    if (without < 0 || with < 0)
        return diag_set(ERROR_MEMORY, "no memory for a dictionary");
    return without > 0 &&
           (double)(without - with) / (double)without * (double)file_bytes > (double)size;
}

int lsm__dictionary_train(struct lsm_file *const *files, unsigned count, bool hurry,
                          const struct lsm_options *options, void **out, size_t *size)
{
    size_t room = SAMPLE_PART * options->dictionary_bytes;
    struct samples samples = {.room = room,
                              .trial_room = room / TRIAL_EVERY,
                              .block_bytes = options->block_bytes > 0 ? options->block_bytes
                                                                      : RUN_BLOCK_BYTES};
    unsigned chosen = count < FILES_MAX ? count : FILES_MAX;
    uint64_t file_bytes = 0;
    *out = NULL;
    *size = 0;
    samples.bytes = malloc(samples.room);
    samples.trial = malloc(samples.trial_room);
    samples.sizes = malloc(SAMPLES_MAX * sizeof *samples.sizes);
    int rc = samples.bytes == NULL || samples.sizes == NULL || samples.trial == NULL
                 ? diag_set(ERROR_MEMORY, "no memory for a dictionary")
                 : 0;
    for (unsigned i = 0; rc == 0 && i < chosen; i++)
        rc = file_sample(files[(uint64_t)i * count / chosen], hurry, &samples,
                         samples.room / chosen * (i + 1));
    if (rc == 0 && samples.count > 0)
        rc = train(&samples, options->dictionary_bytes, out, size);
    for (unsigned i = 0; i < count; i++)
        file_bytes += files[i]->meta.bytes;
    if (rc == 0 && *out != NULL) {
        rc = pays(&samples, *out, *size,
                  file_bytes < options->file_bytes ? file_bytes : options->file_bytes);
        if (rc <= 0) {
            free(*out);
            *out = NULL;
            *size = 0;
        }
        rc = rc > 0 ? 0 : rc;
    }
    free(samples.bytes);
    free(samples.trial);
    free(samples.sizes);
    return rc;
}
