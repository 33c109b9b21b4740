/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_BTREE_BTREE_INTERNAL_H
#define STORAGE_BTREE_BTREE_INTERNAL_H

/*
 * What the files of this engine share: the file, its roots in memory (generations), which pages are
 * in use, and a change of the tree that is being made (a build).
 */
#include <pthread.h>

#include "io/io_schedule.h"
#include "storage/btree/btree.h"
#include "storage/btree/btree_page.h"
#include "storage/cache/cache.h"
#include "storage/cache/prefetch.h"

/* Each takes a rule out, so that a test sees what would be lost. */
enum btree_mutation {
    BTREE_MUTATION_REUSE_VIEWED = 1,  /* pages that a view reads are written again */
    BTREE_MUTATION_REUSE_SETTLED = 2, /* ... that the manifest's root needs */
    BTREE_MUTATION_REUSE_DOUBTFUL =
        4,                           /* ... that the root of a manifest needs which may be there */
    BTREE_MUTATION_REUSE_HELD = 128, /* ... that the root needs by which the file is copied */
    BTREE_MUTATION_NO_SYNC = 8,      /* what is absorbed counts before it is durable */
    BTREE_MUTATION_NAMES_LATE = 16,  /* pages are reused before the manifest's name is durable */
    BTREE_MUTATION_TOMBSTONES = 32,  /* tombstones go although something is below them */
    BTREE_MUTATION_CHAIN_CUT = 64,   /* a key's versions in the next leaf are not looked at */
};

/* ------------------------------------------------------------------------------- pages and extents */

/* Pages in a row, and the sequence of the root that they were written for. */
struct btree_extent {
    uint64_t page;
    uint64_t pages;
    uint64_t sequence;
};

struct btree_extents {
    struct btree_extent *items;
    size_t count, capacity;
};

int btree__extents_add(struct btree_extents *extents, const struct btree_extent *extent);
void btree__extents_free(struct btree_extents *extents);

/* A file, counted: generations have it open. */
struct btree_file {
    _Atomic unsigned references;
    struct io_file *io;  /* for reading */
    struct cache *cache; /* of nodes, by their first page; or NULL */
    uint32_t page_bytes, identity;
    uint64_t number;
    uint64_t serial; /* of none else that this process has opened */
    char name[ENGINE_FILE_NAME_MAX + 1];
};

void btree__file_release(struct btree_file *file);
uint64_t btree__file_serial(void);

/* SPACE-INCARNATION-NUMBER.btree */
void btree__file_name(char out[ENGINE_FILE_NAME_MAX + 1], uint32_t space_id, uint32_t incarnation,
                      uint64_t number);

/* An extent that was read and has passed its checks: pinned in the cache, or memory of its own. */
struct btree_read {
    const void *data;
    size_t size;
    struct cache_guard guard;
    void *memory;
};

/* Reads one from the file. ERROR_CORRUPT names file, offset and check. */
int btree__read(const struct btree_file *file, uint64_t page, uint64_t pages, enum btree_kind kind,
                struct btree_read *out);

/* How a node is read. */
enum btree_how {
    BTREE_POINT, /* through the cache */
    BTREE_SCAN,  /* the same, among many */
    BTREE_ONCE,  /* from the cache if it is there; else it is not kept there */
    BTREE_DISK   /* from the file, whatever the cache has */
};

/* Reads the node that a branch, or the root, calls `child`, at that level. */
int btree__read_node(const struct btree_file *file, uint64_t child, unsigned level,
                     enum btree_how how, struct btree_read *out);
void btree__read_release(struct btree_read *read);

/* Reads the node below a slot of a branch, which stays, as BTREE_POINT. A branch in the cache has room behind it in
 * which each slot has the link of its child, so that the way down asks the page table for the root alone. */
int btree__read_child(const struct btree_file *file, const struct btree_read *branch, unsigned slot,
                      struct btree_read *out);

/* Says that an extent is damaged; returns ERROR_CORRUPT. */
int btree__damaged(const struct btree_file *file, uint64_t page, const char *check);

/* What has become of reading an extent: `got` bytes are in `data`, or it is a code. 0, that code, or ERROR_CORRUPT. */
int btree__extent_check(const struct btree_file *file, int64_t got, uint64_t page, uint64_t pages,
                        enum btree_kind kind, const void *data);

/* Copies the data of an overflow extent to `out`, which has room for `size` bytes. */
int btree__overflow_read(const struct btree_file *file, const struct btree_tuple *tuple, void *out);
uint64_t btree__overflow_pages(uint32_t page_bytes, uint64_t size);

/* ------------------------------------------------------------------------------------ generations */

/* Where the page of the map is that tells which pages of a region are in use. */
struct btree_map_page {
    uint64_t page, sequence;
};

/*
 * The body as one root shows it. Counted: by the body's list, by being the settled one, and by each
 * view. What hangs together with pages is done by the body's thread only.
 */
struct btree_generation {
    _Atomic unsigned references;
    _Atomic unsigned views;
    struct btree_file *file;
    struct btree_generation *older, *newer; /* in the body's list */
    bool held;         /* somebody copies the file by the manifest that names its root */
    bool doubtful;     /* a manifest names its root that may be in force, or not */
    uint64_t order;    /* grows from generation to generation */
    uint64_t sequence; /* of the root on disk; 0: there is none */
    uint64_t root_page;
    uint64_t timestamp;
    struct btree_root_page root;
    struct btree_map_page *maps; /* root.maps of them */
    struct btree_extents dead;   /* what the older one has and this one has not */
};

void btree__generation_release(struct btree_generation *generation);

/* ------------------------------------------------------------------------------------------- map */

/* Bits for the pages of the file. */
struct btree_map {
    uint64_t *used; /* by the current generation, or the build */
    uint64_t *busy; /* by some generation that is still needed: not to be written */
    uint64_t words, used_pages;
};

int btree__map_reserve(struct btree_map *map, uint64_t pages);
void btree__map_free(struct btree_map *map);
bool btree__map_busy(const struct btree_map *map, uint64_t page);
uint64_t btree__map_busy_pages(const struct btree_map *map);
void btree__map_set(struct btree_map *map, uint64_t *bits, uint64_t page, uint64_t pages, bool on);

/* One more than the last page whose bit is set. */
uint64_t btree__map_end(const struct btree_map *map, const uint64_t *bits);

/* The first run from `from` to before `end` of at least so many pages that are not busy, all of it: *first to before
 * *behind. False: there is none. */
bool btree__map_run(const struct btree_map *map, uint64_t from, uint64_t end, uint64_t least,
                    uint64_t *first, uint64_t *behind);

/* The first page from `from` on that begins `pages` which are not busy; beyond the end of the map
 * there are enough. */
uint64_t btree__map_find(const struct btree_map *map, uint64_t from, uint64_t pages);

/* How many pages one page of the map tells about. */
static inline uint64_t btree__region_pages(uint32_t page_bytes)
{
    return (uint64_t)(page_bytes - BTREE_MAP_OFFSET) * 8;
}

/* ------------------------------------------------------------------------------------------ body */

struct btree_body {
    struct body base;
    struct io *io;
    struct cache *cache;
    uint32_t space_id, incarnation, page_bytes;
    _Atomic uint64_t *next_file;
    pthread_mutex_t mutex; /* orders taking a reference to the current one against replacing it */
    struct btree_file *file;
    struct btree_generation *oldest, *current; /* NULL: there is no file */
    struct btree_generation *settled;
    struct io_file *writer; /* opened for the first change */
    bool held;              /* what has been settled stays when something else is */
    bool names_durable;     /* the manifest that was read at the start is so */
    uint64_t order;
    struct btree_map map;
    _Atomic uint64_t written;       /* bytes, since it was opened */
    struct btree_extents fresh;     /* what was written since the settled one */
    struct btree_generation *spare; /* for a revert, once there is something to take back */
    unsigned mutations;             /* of a test */
};

bool btree__mutated(const struct btree_body *body, enum btree_mutation mutation);

/* Opens the file that a manifest names, reads the root that it names, and from it the map. */
int btree__open_file(struct btree_body *body, const struct engine_file *named);

/* Lets go of generations that nobody needs: their pages may be written then. */
void btree__sweep(struct btree_body *body);

/* Makes it possible to revert when so many extents are fresh. */
int btree__spare_prepare(struct btree_body *body, size_t fresh_count);
void btree__spare_free(struct btree_body *body);

/* Cuts off the end of the file if that is worth it, or `all` that is free. */
void btree__trim(struct btree_body *body, bool all);

/* ----------------------------------------------------------------------------------------- build */

struct btree_build;

/* Begins a change: of a new file if there is none; what it writes is of that class. ERROR_MEMORY and
 * what the disk says. */
int btree__build_new(struct btree_body *body, uint64_t timestamp, enum io_class class,
                     struct btree_build **out);

/* Writes map, directory and root, makes everything durable, and makes it the current generation. */
int btree__build_finish(struct btree_build *build, uint64_t tree, unsigned depth, uint64_t rows,
                        uint64_t tombstones);

/* Frees; what was not finished is undone. */
void btree__build_delete(struct btree_build *build);

/* A place for an extent, whose memory (zeros, but for the header) is valid until the next call. */
int btree__build_extent(struct btree_build *build, enum btree_kind kind, uint64_t size,
                        struct btree_header **out);

/* Leaves that are written from now on are put into the cache, or not. */
void btree__build_warm(struct btree_build *build, bool warm);

/* The tree has no use for these pages any more. */
int btree__build_free(struct btree_build *build, uint64_t page, uint64_t pages, uint64_t sequence);

uint64_t btree__build_sequence(const struct btree_build *build);
uint32_t btree__build_page_bytes(const struct btree_build *build);

/* ---------------------------------------------------------------------------------------- levels */

/* A tuple on its way into a node. */
struct btree_item {
    struct btree_position position;
    struct btree_tuple tuple; /* of a leaf; the key is in position */
    uint64_t child;           /* of a branch */
};

struct btree_levels;

int btree__levels_new(struct btree_build *build, struct btree_levels **out);
void btree__levels_delete(struct btree_levels *levels);

/* Adds a tuple to the nodes of a level, behind what was added before. */
int btree__levels_add(struct btree_levels *levels, unsigned level, const struct btree_item *item);

/* A lower bound of what is added to the leaves next, unless something is there already. */
int btree__levels_begin(struct btree_levels *levels, const struct btree_position *lower);

/* Adds a whole subtree, a node of `level`, as it is; what is below must have been closed. */
int btree__levels_pass(struct btree_levels *levels, unsigned level,
                       const struct btree_position *lower, uint64_t child);

/* Whether the nodes up to `level` may end here without being too small. */
bool btree__levels_closable(const struct btree_levels *levels, unsigned level);

/* Ends the nodes up to `level`. `at_end`: nothing comes behind. */
int btree__levels_close(struct btree_levels *levels, unsigned level, bool at_end);

/* Ends everything: the root of the tree, 0 when it is empty, and how many levels it has. */
int btree__levels_finish(struct btree_levels *levels, uint64_t *tree, unsigned *depth);

/* -------------------------------------------------------------------------------------- functions */

int btree__absorb(struct body *body, struct engine_source *rows, uint64_t up_to_ts,
                  const struct engine_snapshots *snapshots);
int btree__compact(struct body *body, const struct engine_snapshots *snapshots);
int btree__tidy(struct body *body, const struct engine_snapshots *snapshots, uint64_t bytes_max,
                struct engine_tidied *out);

/* What a cursor reads before it comes there (btree_ahead.c). */
struct btree_ahead {
    struct prefetch prefetch;
    uint64_t number;    /* of the leaf at hand: those behind it count on, those before it back */
    uint64_t waited_ns; /* by reading, since the last leaf */
    uint64_t leaves;    /* that were read ahead, or together with such */
};

void btree__ahead_create(struct btree_ahead *ahead);

/* The cursor goes on to the leaf of a slot of this branch, in the direction of the range: reads it and
 * those that come next, if that is worth it. What fails is left out. */
void btree__ahead_read(struct btree_ahead *ahead, const struct btree_file *file, const void *branch,
                       unsigned slot, const struct engine_range *range);

/* Whether the calling thread looks at the course of its point reads of a file. Mostly it does not: what it finds in the
 * cache needs none. A leaf that was waited for makes it look at the next COURSE_LEAVES. */
enum { BTREE_COURSES = 4, BTREE_COURSE_LEAVES = 2 * PREFETCH_PERIOD_MAX };
extern _Thread_local uint64_t btree__courses_watched[BTREE_COURSES]; /* serials of files */

static inline bool btree__course_watched(const struct btree_file *file)
{
    return btree__courses_watched[file->serial % BTREE_COURSES] == file->serial;
}

/* A point read wants the leaf of a slot of this branch, which is that page: reads it and those that come next,
 * if there is a course. What fails is left out. */
void btree__course_access(const struct btree_generation *generation, uint64_t page,
                          const void *branch, unsigned slot);

/* A point read has to wait for a leaf or a branch, and has waited, since what _begin returned. */
uint64_t btree__course_wait_begin(const struct btree_file *file, bool leaf);
void btree__course_wait_end(const struct btree_file *file, uint64_t began_ns);

/* For tests: what the calling thread knows of a file; and its clock from now on, NULL: the system's. */
const struct prefetch *btree__course_of(const struct btree_file *file);
void btree__course_clock_set(struct clock *clock);

/* Of an open cursor, for tests, which may give it another clock before it begins. */
struct btree_ahead *btree__cursor_ahead(struct body_cursor *cursor);

struct btree_view {
    struct body_view base;
    struct btree_generation *generation; /* NULL: there is nothing */
};

int btree__get(struct body_view *view, const void *key, size_t key_size, uint64_t ts,
               struct arena *arena, struct engine_row *out);
unsigned btree__prefetch(struct body_view *view, const struct engine_key *keys, unsigned count,
                         uint64_t ts, unsigned *reads);
int btree__split(struct body_view *view, unsigned parts, struct arena *arena,
                 struct engine_key *keys, unsigned *count);
int btree__cursor_open(struct body_view *view, const struct engine_range *range, uint64_t ts,
                       struct body_cursor **out);
int btree__cursor_next(struct body_cursor *cursor, struct engine_row *out);
void btree__cursor_close(struct body_cursor *cursor);
int btree__verify(struct body *body);

#endif
