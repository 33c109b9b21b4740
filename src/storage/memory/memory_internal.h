/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_MEMORY_MEMORY_INTERNAL_H
#define STORAGE_MEMORY_MEMORY_INTERNAL_H

/*
 * What the files of this engine share: the list of files, the body, views, and the merge that is
 * going on.
 */
#include <pthread.h>

#include "storage/memory/memory.h"
#include "storage/run/run.h"

/* The files of a body at one time, oldest first. Counted, and never changed once it is shared. */
struct memory_list {
    _Atomic unsigned references;
    unsigned count;
    struct engine_file files[];
};

/* Files [from, to) of the body are being made into one. What is absorbed meanwhile comes behind. */
struct memory_merge {
    unsigned from, to;
    struct engine_snapshots snapshots; /* a copy of its own */
    struct run **runs;                 /* newest first */
    unsigned run_count;
    struct run_merge *merge;
    struct run_writer *writer;
    struct engine_file file;
};

struct memory_body {
    struct body base;
    struct io *io;
    uint32_t space_id, incarnation;
    _Atomic uint64_t *next_file;
    pthread_mutex_t mutex; /* orders taking a reference against replacing the list */
    struct memory_list *list;
    struct memory_list *settled; /* what a manifest names */
    struct memory_merge *merge;  /* NULL: none is going on */
};

struct memory_view {
    struct body_view base;
    unsigned count;
    struct run *runs[]; /* open, newest first */
};

struct memory_list *memory__list_new(unsigned count);
void memory__list_release(struct memory_list *list);
bool memory__list_has(const struct memory_list *list, const char *name);

/* Puts a list in place of the present one; takes over the reference. */
void memory__list_publish(struct memory_body *body, struct memory_list *list);

/* Begins a file under a number that is new; *file gets its name. In the background: its writes give
 * way to others. */
int memory__writer_new(struct memory_body *body, uint64_t up_to_ts, bool background,
                       struct engine_file *file, struct run_writer **out);

/* Ends it and fills in what the file has become. A run without rows is removed: then file->rows is
 * 0. */
int memory__writer_finish(struct memory_body *body, struct run_writer *writer,
                          struct engine_file *file);

/* Opens files [from, to) of a list, newest first, and checks that each is what it should be. */
int memory__runs_open(struct memory_body *body, const struct memory_list *list, unsigned from,
                      unsigned to, struct run **out);
void memory__runs_close(struct run **runs, unsigned count);

/* Gives up the merge that is going on, if there is one. */
void memory__merge_abandon(struct memory_body *body);

/* Bytes of what is neither superseded nor deleted: an estimate that is rather too low. */
uint64_t memory__live_bytes(const struct memory_list *list);

int memory__tidy(struct body *body, const struct engine_snapshots *snapshots, uint64_t bytes_max,
                 struct engine_tidied *out);
int memory__compact(struct body *body, const struct engine_snapshots *snapshots);
int memory__get(struct body_view *view, const void *key, size_t key_size, uint64_t ts,
                struct arena *arena, struct engine_row *out);
int memory__cursor_open(struct body_view *view, const struct engine_range *range, uint64_t ts,
                        struct body_cursor **out);
int memory__cursor_next(struct body_cursor *cursor, struct engine_row *out);
void memory__cursor_close(struct body_cursor *cursor);
int memory__split(struct body_view *view, unsigned parts, struct arena *arena,
                  struct engine_key *keys, unsigned *count);

#endif
