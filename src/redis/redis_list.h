/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_LIST_H
#define REDIS_REDIS_LIST_H

/*
 * Lists, as runs of neighbouring elements called chunks. A packed list is one chunk. A spread one:
 *
 *      left end │ chunk  chunk  chunk .. │ right end
 *      'b' "l"  │ 'e' position           │ 'b' "r"        kinds and keys of its rows
 *
 * The ends are where it is worked on: a push writes the one row of its end, which goes to the log
 * whole, so it is small (LIST_CHUNK_ITEMS_MAX elements and about LIST_CHUNK_BYTES_MAX bytes; a larger
 * element is alone). One that is full becomes a chunk, one that is empty takes the next chunk in, or,
 * when there is none, half of the other end. Either may be empty, but not the list.
 *
 *     chunk     [elements]; its position is a signed 64-bit integer, 8 bytes big-endian with the sign
 *               bit flipped, so that rows are in the order of positions. Neighbours are LIST_GAP apart
 *               when they are made, so that there is room between them.
 *     end       [[count, bound, elements]]. No chunk is beyond the bound of an end: those that have
 *               gone are not looked through. The list's length is the sum of both counts, to each of
 *               which what has come or gone at that end was added (in the middle: at the left one).
 *
 * (Both are arrays of one, so they are not taken for elements that expire.) So who works at one end
 * and who works at the other do not meet. But a push looks at the other's count without validation:
 * of two that push at both ends at once each may be told a length without the other's.
 *
 * An element is handled as it is packed; equal elements are packed equally.
 */
#include "redis/redis_packed.h"
#include "redis/redis_spread.h"

enum { LIST_CHUNK_ITEMS_MAX = 32, LIST_CHUNK_BYTES_MAX = 512, LIST_GAP = 1 << 20 };

struct redis_list {
    struct redis_call *call;
    const struct redis_slice *name;
    struct redis_key key;
    struct redis_value value; /* REDIS_TYPE_NONE: there is none */
};

enum redis_list_place { LIST_WHOLE, LIST_LEFT, LIST_MIDDLE, LIST_RIGHT };
struct redis_list_chunk {
    enum redis_list_place place; /* LIST_WHOLE: of a packed list */
    int64_t position;            /* in the middle */
    uint32_t count;              /* never 0 */
    const char *at;              /* its first element, packed */
};

/* Packed elements of one chunk. */
struct redis_list_items {
    uint32_t count;
    size_t bytes;
    struct redis_slice at[LIST_CHUNK_ITEMS_MAX + 1];
};

/* Looks at the list under `name`. As redis_open and redis_open_for_update. */
int redis__list_open(struct redis_call *call, const struct redis_slice *name, bool update,
                     struct redis_list *out);

/* How many elements it has. */
int redis__list_length(struct redis_list *list, int64_t *out);

/* Chunks from the beginning or, backward, from the end, ends that are not empty among them; from
 * `from` on, unless it is NULL. _next: 0 or ERROR_END. A chunk that has been passed may be written. */
struct redis_list_walk {
    struct redis_list *list;
    bool backward;
    enum { WALK_NEAR, WALK_MIDDLE, WALK_FAR, WALK_ENDED } stage;
    struct redis_elements elements;
};
int redis__list_walk(struct redis_list_walk *walk, struct redis_list *list, bool backward,
                     const struct redis_list_chunk *from);
int redis__list_walk_next(struct redis_list_walk *walk, struct redis_list_chunk *chunk);

/* Finds the elements of a chunk. 0 or ERROR_CORRUPT. */
int redis__list_items(const struct redis_list_chunk *chunk, struct redis_list_items *out);

/* The chunk that has the element number `index` (0 .. length-1), and that element's place in it. */
int redis__list_seek(struct redis_list *list, int64_t index, int64_t length,
                     struct redis_list_chunk *chunk, uint32_t *place);

/* Packs an element in the arena. 0 or ERROR_MEMORY. */
int redis__list_item(struct redis_call *call, const struct redis_slice *text,
                     struct redis_slice *out);

/* Adds elements one after the other at an end, so of several the last one is outermost. `list` is
 * what it is then. *length (may be NULL): how many there are, as of a moment ago (redis_count_peek).
 */
int redis__list_push(struct redis_list *list, bool right, const struct redis_slice *items,
                     unsigned count, int64_t *length);

/* Chunks at an end that have `count` elements together, or all that there are; *found is how many
 * elements that makes, at most `count`. In the arena. */
struct redis_list_part {
    bool right;
    uint64_t found;
    size_t chunk_count, capacity;
    struct redis_list_chunk *chunks;
};
int redis__list_part(struct redis_list *list, bool right, uint64_t count,
                     struct redis_list_part *out);

/* Its elements to the sink, the outermost first. */
int redis__list_part_reply(struct redis_list *list, const struct redis_list_part *part);

/* Takes them away; *ended: none is left, and the key is gone. */
int redis__list_part_drop(struct redis_list *list, const struct redis_list_part *part, bool *ended);

/* Writes other elements in place of a chunk's, which may be one more than a chunk has. With none of
 * them *ended as above. The list's count is adjusted. */
int redis__list_replace(struct redis_list *list, const struct redis_list_chunk *chunk,
                        const struct redis_list_items *items, bool *ended);

/* Makes a list of these elements (as text) under a key, whatever it holds; none: the key is
 * deleted. */
int redis__list_store(struct redis_call *call, const struct redis_slice *name,
                      const struct redis_slice *texts, size_t count, uint64_t expire_ms);

/* OBJECT ENCODING's word: "listpack" as long as it would be one for Redis, else "quicklist". NULL with
 * diagnostics. */
const char *redis__list_encoding(struct redis_call *call, const struct redis_value *value);

/* For the files of lists: rows of spread ones. */
enum { LIST_POSITION_BYTES = 8, LIST_KIND_END = 'b' };

struct redis_list_end {
    bool right;
    int64_t count, bound;
    struct redis_list_chunk chunk; /* count 0: empty */
    struct redis_list_items items; /* once redis__list_end_load has been called */
};

/* The key of an end's row, one byte. */
const char *redis__list_end_key(bool right);

/* Reads an end by one of the functions of redis_spread.h; one that has never been written is empty.
 * _load: for update, with its elements. */
typedef int (*redis_list_get_fn)(struct redis_call *call, uint64_t id, int kind, const void *key,
                                 size_t size, struct redis_slice *out);
int redis__list_end_get(struct redis_list *list, bool right, redis_list_get_fn get,
                        struct redis_list_end *out);
int redis__list_end_load(struct redis_list *list, bool right, struct redis_list_end *out);

/* The key of a chunk's row; its chunk. 0 or ERROR_CORRUPT. */
void redis__list_position_encode(char out[LIST_POSITION_BYTES], int64_t position);
int redis__list_chunk_unpack(const struct redis_element *element, struct redis_list_chunk *chunk);

/* Opens walk->elements on the chunks between the ends, from a position on. */
int redis__list_middle_open(struct redis_list_walk *walk, int64_t from);

#endif
