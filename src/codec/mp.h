/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_MP_H
#define CODEC_MP_H

/*
 * MessagePack read in place (msgpuck) and written into growing buffers. Bytes from outside are
 * checked once by mp_check_limited, or piece by piece by mp_scan_advance, before anybody walks
 * them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <msgpuck.h>

/* Containers that may be around a value: a scalar is nested 0 deep, an element of an array 1. */
enum { MP_DEPTH_MAX = 64 };

/* True when [*data, end) begins with a complete valid value in which arrays and maps are nested at
 * most MP_DEPTH_MAX deep; then advances *data behind it, else leaves it. Never reads at or beyond
 * `end`. */
bool mp_check_limited(const char **data, const char *end);

/*
 * The same for a value that arrives in pieces: a cursor that remembers how far it got, so that
 * every byte is looked at once (and the bytes of strings not at all). Offsets count from the
 * value's start, which may move in memory between calls. 520 bytes; no heap.
 */
struct mp_scan {
    size_t offset;  /* bytes of whole elements passed so far; may lie behind what has arrived */
    unsigned depth; /* containers that are open */
    /* Values still missing at each depth; [0] is the value itself. */
    uint64_t left[MP_DEPTH_MAX + 1];
};

enum mp_scan_result { MP_SCAN_DONE, MP_SCAN_MORE, MP_SCAN_INVALID, MP_SCAN_DEEP };

void mp_scan_create(struct mp_scan *scan);

/*
 * Goes on in the value of which data[0..size) has arrived. DONE: the value takes scan->offset
 * bytes, all there. MORE: at least *need bytes (more than size) must have arrived before calling
 * again pays. INVALID: byte 0xc1, which MessagePack never uses. DEEP: more than MP_DEPTH_MAX
 * containers. After anything but MORE, create it anew.
 */
enum mp_scan_result mp_scan_advance(struct mp_scan *scan, const char *data, size_t size,
                                    size_t *need);

/* A buffer that grows by doubling. `failed` stays set after memory was out: check it once at the
 * end. */
struct mp_buffer {
    char *data;
    size_t size, capacity;
    bool failed;
    size_t bytes_max; /* growing beyond fails like memory that is out; 0: no bound */
};

void mp_buffer_create(struct mp_buffer *buffer);
void mp_buffer_destroy(struct mp_buffer *buffer);

/* Empties it, clears `failed` and keeps the memory, unless it is more than `keep_bytes_max`. */
void mp_buffer_reset(struct mp_buffer *buffer, size_t keep_bytes_max);

/* The slow half of mp_buffer_reserve. */
char *mp_buffer_grow(struct mp_buffer *buffer, size_t size);

/* Room for `size` more bytes at data + size, or NULL (then `failed`). Adding to `size` is the
 * caller's. */
static inline char *mp_buffer_reserve(struct mp_buffer *buffer, size_t size)
{
    if (__builtin_expect(size < buffer->capacity - buffer->size && !buffer->failed, 1))
        return buffer->data + buffer->size;
    return mp_buffer_grow(buffer, size);
}

/* Each appends one value (raw: the bytes as they are), or nothing once `failed` is set. */
void mp_put_raw(struct mp_buffer *buffer, const void *data, size_t size);
void mp_put_nil(struct mp_buffer *buffer);
void mp_put_bool(struct mp_buffer *buffer, bool value);
void mp_put_uint(struct mp_buffer *buffer, uint64_t value);
void mp_put_int(struct mp_buffer *buffer, int64_t value);
void mp_put_double(struct mp_buffer *buffer, double value);
void mp_put_str(struct mp_buffer *buffer, const void *data,
                size_t size); /* size below 4 GiB, or `failed` */
void mp_put_bin(struct mp_buffer *buffer, const void *data, size_t size);
void mp_put_ext(struct mp_buffer *buffer, int type, const void *data, uint32_t size);
void mp_put_array(struct mp_buffer *buffer, uint32_t count);
void mp_put_map(struct mp_buffer *buffer, uint32_t count);

/* The n-th (from 0) element of the array at `tuple` (checked data), or NULL when there are fewer or
 * it is no array. */
const char *mp_array_at(const char *tuple, uint32_t n);

/* The value of the string key `name` in a checked map; NULL when there is none, or it is no map. */
const char *mp_map_find(const char *map, const char *name);

/* Reads the header of the ext value at *value (checked data): the payload, its size and its type,
 * and advances *value behind it. */
const char *mp_read_ext(const char **value, int *type, uint32_t *size);

/* Writes an ext value in its shortest form: at most 6 bytes more than its payload; their end. */
char *mp_write_ext(char *out, int type, const void *data, uint32_t size);

/* Reads an integer of either sign and advances *value; false, and *value stays, when it is not one
 * or does not fit. */
bool mp_read_int(const char **value, int64_t *out);
bool mp_read_uint(const char **value, uint64_t *out);

#endif
