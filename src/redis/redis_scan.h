/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_SCAN_H
#define REDIS_REDIS_SCAN_H

/*
 * Where SCAN goes on: a cursor is a number to the client and a key to us.
 *
 * Keys are in order, so the place to go on is the last key given out. Clients take a cursor for an
 * unsigned number of 64 bits, into which a key does not fit: a table of the process keeps the last
 * REDIS_SCANS_MAX cursors, oldest overwritten first. A cursor may be used again until it is
 * overwritten; one that is gone (or from before a restart) is an error, never a wrong answer. Any
 * thread; a mutex, since SCAN is not hot.
 */
#include <stddef.h>
#include <stdint.h>

enum { REDIS_SCANS_MAX = 4096 };

struct redis_scans;

/* 0 or ERROR_MEMORY. */
int redis_scans_new(struct redis_scans **out);
void redis_scans_delete(struct redis_scans *scans);

/* Keeps a copy of an encoded key; its cursor, never 0, in *cursor. 0 or ERROR_MEMORY. */
int redis_scans_put(struct redis_scans *scans, const void *key, size_t size, uint64_t *cursor);

/* Copies the key of a cursor to `out` (room for TREE_KEY_SIZE_MAX bytes); its size in *size. 0 or
 * ERROR_NOT_FOUND. */
int redis_scans_get(struct redis_scans *scans, uint64_t cursor, void *out, size_t *size);

#endif
