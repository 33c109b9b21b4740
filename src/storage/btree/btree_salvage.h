/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_BTREE_BTREE_SALVAGE_H
#define STORAGE_BTREE_BTREE_SALVAGE_H

/*
 * Reading what is whole of a damaged file of the engine "btree". It goes down from the root; a node that
 * cannot be read is a gap between the rows before and behind it. What is lost with a branch, or with the
 * root, is looked for in the whole file: each leaf says by its checksum where it belongs, and the map which
 * pages are in use. One thread.
 */
#include "storage/engine.h"
#include "storage/run/run_salvage.h"

/* Who hears of what is found. */
struct btree_salvage_calls {
    /* Each version of each row, in no order that can be relied upon; valid during the call. What it
     * returns, unless it is 0, ends the reading. */
    int (*row)(const struct engine_row *row, void *arg);
    /* Each gap (run_salvage.h). A key that is both `after` and `before`: the data of that row is lost. */
    void (*gap)(const struct run_gap *gap, void *arg);
    void *arg;
};

/* What the file is. */
struct btree_salvage_info {
    uint32_t space_id, incarnation;
    uint64_t rows;      /* versions that the root says there are; UINT64_MAX: it cannot be read */
    uint64_t timestamp; /* no row is newer; 0: it cannot be read */
    uint64_t bytes;
};

/*
 * Whose file it is called (its name says it), its size, and what its root says: the one that `named` (the
 * manifest's line of it) names, or without a manifest, NULL, the newest one. ERROR_INVALID when the name is
 * no file's of this engine; ERROR_NOT_FOUND, ERROR_IO, ERROR_MEMORY, ERROR_VERSION.
 */
int btree_salvage_look(struct io *io, const char *name, const struct engine_file *named,
                       struct btree_salvage_info *out);

/* Reads it. 0, what `row` has returned, or the same errors as btree_salvage_look; ERROR_CORRUPT when nothing
 * of it can be read: no gap is told then. */
int btree_salvage(struct io *io, const char *name, const struct engine_file *named,
                  const struct btree_salvage_calls *calls);

#endif
