/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_MANIFEST_H
#define STORAGE_MANIFEST_H

/*
 * The manifest: one small file that says which files make up the bodies, up to which timestamp each
 * tree is in them, and where the log begins. It is replaced as a whole, atomically (invariant 19):
 * whoever opens the directory finds the old one or the new one.
 *
 * A file that ends in ".run" and is not named by the manifest is left over, and may go.
 *
 * Functions return 0 or a negative code with diagnostics. ERROR_CORRUPT names file, offset and the
 * check that failed; ERROR_VERSION says that the file is of a newer format or of a machine with
 * another order of bytes. The layout is at the top of manifest.c. One thread at a time.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/io.h"
#include "storage/engine.h"

#define MANIFEST_NAME     "manifest"
#define MANIFEST_NAME_NEW "manifest.new"

enum { MANIFEST_BYTES_MAX = 256 << 20 };

struct manifest_tree {
    uint32_t space_id, incarnation, index_id;
    char engine[ENGINE_NAME_MAX + 1];
    uint64_t k; /* what is newer is in the log only */
    unsigned file_count, file_capacity;
    struct engine_file *files; /* oldest first */
};

struct manifest {
    /* Some timestamp that the log had durable when this was written. A tree's k is above it only where rows
     * were ingested (db/ingest.h): these are in no log. */
    uint64_t clock;
    uint64_t first_segment; /* where the log begins (wal_options.first_segment) */
    uint64_t next_file;     /* above the number of every file named so far */
    unsigned tree_count, tree_capacity;
    struct manifest_tree *trees;
};

/* An empty one; what is added is freed by destroy. */
void manifest_create(struct manifest *manifest);
void manifest_destroy(struct manifest *manifest);

/* Adds a tree. *out is valid until the next one is added. ERROR_MEMORY. */
int manifest_tree_add(struct manifest *manifest, uint32_t space_id, uint32_t incarnation,
                      uint32_t index_id, const char *engine, uint64_t k,
                      struct manifest_tree **out);

/* Adds a file, which is newer than the tree's other ones. ERROR_MEMORY. */
int manifest_file_add(struct manifest_tree *tree, const struct engine_file *file);

/* Whether some tree's k is above the clock, so that it is not of one moment. */
bool manifest_is_ahead(const struct manifest *manifest);

/* Whether some tree has a file of that name. */
bool manifest_names(const struct manifest *manifest, const char *name);

/* Reads the bytes of a manifest into an empty one, which is empty again after an error. */
int manifest_decode(struct manifest *manifest, const char *data, size_t size);

/* The bytes of a manifest, malloc'ed. ERROR_MEMORY. */
int manifest_encode(const struct manifest *manifest, char **data, size_t *size);

/* Reads the one in the directory. ERROR_NOT_FOUND when there is none. */
int manifest_load(struct io *io, struct manifest *manifest);

/*
 * Makes this the manifest of the directory: first the names of the files that it speaks of durable,
 * then itself. After an error with *replaced false the old one is in force. With *replaced true
 * nobody knows which of the two a start would find: files of neither may go, until a later store
 * has succeeded.
 */
int manifest_store(struct io *io, const struct manifest *manifest, bool *replaced);

#endif
