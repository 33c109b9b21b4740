/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_IO_APPEND_H
#define IO_IO_APPEND_H

/*
 * A new file, written from its first byte to its last in large aligned pieces past the page cache,
 * with a few of them in flight.
 *
 * What is written once and read later by few does not belong into the page cache, and copying it
 * there, and having the system write it from there, takes most of the time (bench_io). Where the file
 * system takes no direct writes the pieces go through the cache, each on the disk before the next
 * one.
 *
 * An appender belongs to one thread at a time.
 */
#include "io/io_schedule.h"

struct io_appender;

/* Makes the file `path`, ERROR_EXISTS when there is one. The class is what its writes compete as,
 * if the io has a scheduler; without one each is made by the caller's thread. The caller owns *out
 * and ends it by io_appender_delete. */
int io_appender_new(struct io *io, const char *path, enum io_class class, struct io_appender **out);

/* From the next piece on. */
void io_appender_class_set(struct io_appender *appender, enum io_class class);

/* Appends. An error may be that of an earlier piece. It stays: all calls behind it give it again. */
int io_appender_put(struct io_appender *appender, const void *data, size_t size);

/* Where the next byte goes: the bytes so far. */
uint64_t io_appender_offset(const struct io_appender *appender);

/* All of it is durable when this returns 0, and the file just as long; its name is when io_sync_dir
 * says so. Nothing is put behind it. */
int io_appender_finish(struct io_appender *appender);

/* Waits for what is in flight, closes the file and frees. */
void io_appender_delete(struct io_appender *appender);

#endif
