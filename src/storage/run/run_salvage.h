/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_SALVAGE_H
#define STORAGE_RUN_RUN_SALVAGE_H

/*
 * Reading what is whole of a damaged run. It goes through the file from its header on, block by
 * block, and needs neither index nor footer nor trailer. Where no valid block is, it looks for the
 * next one: a block's checksum says its place in the file and whose it is, so nothing else passes
 * for one. What lies between is a gap.
 *
 * Only the header has to be right: with it nothing can be read at all. One thread at a time.
 */
#include "storage/run/run.h"

struct run_salvage;

/* A part of the file that no valid block covers. */
struct run_gap {
    uint64_t offset, bytes;
    const char *check; /* what is wrong at its beginning; a static string */
    /* The rows that it had lie behind the first key and before the second, or have one of them
     * (older versions). NULL: the beginning, or the end, of the run. Valid during the call. */
    const unsigned char *after, *before;
    size_t after_size, before_size;
};

/* `gap` hears of each gap when the first row behind it, or the end, has been found. The caller owns
 * *out. ERROR_CORRUPT when the header is damaged, ERROR_VERSION, ERROR_NOT_FOUND. */
int run_salvage_open(struct io *io, const char *name,
                     void (*gap)(const struct run_gap *gap, void *arg), void *arg,
                     struct run_salvage **out);
void run_salvage_close(struct run_salvage *salvage);

/* What the header says; and rows and tombstones if the footer can be read, else UINT64_MAX. The
 * rest is 0. */
const struct run_info *run_salvage_info(const struct run_salvage *salvage);

/* The next row, in the run's order; valid until the next call. 0, ERROR_END, ERROR_MEMORY. */
int run_salvage_next(struct run_salvage *salvage, struct engine_row *out);

#endif
