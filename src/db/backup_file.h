/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_BACKUP_FILE_H
#define DB_BACKUP_FILE_H

/*
 * The file `backup`: what makes a directory a backup. It is written last, so that a directory
 * without it is an unfinished one. It says when the backup was made and up to which timestamp, and
 * names each file with size and checksum, and the backup of the chain that has it.
 *
 *      full            incremental           incremental
 *      backup          backup ──base──┐      backup
 *      manifest   ◄──  manifest       │ ◄──  manifest
 *      1 2 3 .run      4 .run               5 6 .run        its files: 1 3 (in the first), 4, 5 6
 *
 * The layout is at the top of backup_file.c. Functions return 0 or a negative code with
 * diagnostics; ERROR_CORRUPT names file, offset and check. One thread at a time.
 */
#include <stddef.h>
#include <stdint.h>

#include "io/io.h"
#include "storage/manifest.h"

#define BACKUP_NAME     "backup"
#define BACKUP_NAME_NEW "backup.new"

enum { BACKUP_ID_SIZE = 32, BACKUP_FOLDER_MAX = 1023, BACKUP_BYTES_MAX = 256 << 20 };

/* A file of the backup. */
struct backup_entry {
    char name[ENGINE_FILE_NAME_MAX + 1];
    uint64_t bytes;
    uint32_t checksum;           /* CRC-32C of all of it */
    char in[BACKUP_ID_SIZE + 1]; /* the id of the backup in whose directory it is */
};

struct backup {
    char id[BACKUP_ID_SIZE + 1]; /* random, in hexadecimal digits */
    uint64_t time_ms;            /* since 1970: everything in it was committed before */
    uint64_t k;                  /* it has what was committed up to this timestamp */
    uint64_t first_segment;      /* the log goes on from there */
    uint32_t segment_checksum;   /* wal_file_checksum of that segment */
    /* What it was made on top of; "" for a full one. The folder is as it was given, absolute. */
    char base_id[BACKUP_ID_SIZE + 1];
    char base_folder[BACKUP_FOLDER_MAX + 1];
    struct backup_entry manifest;
    size_t count, capacity;
    struct backup_entry *entries;
};

/* An empty one; what is added is freed by destroy. */
void backup_create(struct backup *backup);
void backup_destroy(struct backup *backup);

/* Adds an entry, which is copied. ERROR_MEMORY. */
int backup_add(struct backup *backup, const struct backup_entry *entry);

/* The entry of that name, or NULL. */
const struct backup_entry *backup_find(const struct backup *backup, const char *name);

/* Into an empty one, which is empty again after an error. ERROR_VERSION: of a newer format. */
int backup_decode(struct backup *backup, const char *data, size_t size);

/* malloc'ed. ERROR_MEMORY. */
int backup_encode(const struct backup *backup, char **data, size_t *size);

/* Reads that of a directory; ERROR_NOT_FOUND when it has none. */
int backup_load(struct io *io, struct backup *backup);

/* Writes it under a temporary name, flushes and renames it: then the backup is one. */
int backup_store(struct io *io, const struct backup *backup);

/* Size and checksum of a file of a directory. `progress` (may be NULL) hears of each piece. */
int backup_measure(struct io *io, const char *name, uint64_t *bytes, uint32_t *checksum,
                   void (*progress)(void *arg, uint64_t bytes), void *arg);

/* Copies a file, whose bytes and checksum become those of the copy as it was written; makes the
 * contents durable. After an error the copy is gone. ERROR_EXISTS. */
int backup_copy(struct io *from, struct io *to, const char *name, uint64_t *bytes,
                uint32_t *checksum, void (*progress)(void *arg, uint64_t bytes), void *arg);

#endif
