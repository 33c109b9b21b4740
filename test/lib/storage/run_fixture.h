/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_STORAGE_RUN_FIXTURE_H
#define TEST_STORAGE_RUN_FIXTURE_H

/* Small runs for tests: rows given as text, files read and written whole. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/run/run.h"

/* A row whose key and data are text; data NULL is a tombstone. */
struct run_text {
    const char *key;
    uint64_t ts;
    const char *data;
};

/* The row of a text, pointing into it. */
struct engine_row run_text_row(const struct run_text *text);

/* Writes a run of these rows, in this order. What run_writer_* gives. */
int run_text_write(const struct run_options *options, const struct run_text *texts, size_t count,
                   struct run_info *info);

/* The ways to compress a run: not at all, by each method, by zstd with a dictionary of texts that no
 * test has. */
enum { RUN_WAYS = COMPRESS_METHODS + 1 };
void run_options_way(struct run_options *options, unsigned way);

/* A file's bytes, to be freed; and a file of these bytes in place of what was there. Fail an
 * assertion when the io fails. */
unsigned char *run_file_read(struct io *io, const char *name, size_t *size);
void run_file_write(struct io *io, const char *name, const void *data, size_t size);

/* Opens, verifies, and reads everything forward, backward and by get. The first error, or 0. */
int run_read_all(struct io *io, const char *name);

#endif
