/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A dictionary for the last level: trained from the first rows of files that lie evenly among those
 * that are compacted, a hundred times as many bytes as it may have, as zstd's authors advise.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/lsm/lsm_internal.h"

enum { SAMPLE_PART = 100, SAMPLES_MAX = 20000, FILES_MAX = 16 };

struct samples {
    char *bytes;
    size_t *sizes;
    size_t used, room;
    unsigned count;
};

/* Rows from the beginning of a file, until `end` bytes are used. */
static int file_sample(const struct lsm_file *file, struct samples *samples, size_t end)
{
    struct run_cursor *cursor;
    struct engine_row row;
    int rc = run_cursor_open(file->run, NULL, &cursor);
    if (rc != 0)
        return rc;
    run_cursor_scan(cursor);
    while (samples->used < end && samples->count < SAMPLES_MAX &&
           (rc = run_cursor_next(cursor, &row)) == 0) {
        if (row.data == NULL || row.size == 0 || row.size > samples->room - samples->used)
            continue;
        memcpy(samples->bytes + samples->used, row.data, row.size);
        samples->used += row.size;
        samples->sizes[samples->count++] = row.size;
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

int lsm__dictionary_train(struct lsm_file *const *files, unsigned count, size_t bytes_max,
                          void **out, size_t *size)
{
    struct samples samples = {.room = SAMPLE_PART * bytes_max};
    unsigned chosen = count < FILES_MAX ? count : FILES_MAX;
    *out = NULL;
    *size = 0;
    samples.bytes = malloc(samples.room);
    samples.sizes = malloc(SAMPLES_MAX * sizeof *samples.sizes);
    int rc = samples.bytes == NULL || samples.sizes == NULL
                 ? diag_set(ERROR_MEMORY, "no memory for a dictionary")
                 : 0;
    for (unsigned i = 0; rc == 0 && i < chosen; i++)
        rc = file_sample(files[(uint64_t)i * count / chosen], &samples,
                         samples.room / chosen * (i + 1));
    if (rc == 0 && samples.count > 0)
        rc = train(&samples, bytes_max, out, size);
    free(samples.bytes);
    free(samples.sizes);
    return rc;
}
