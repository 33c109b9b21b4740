/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of the log taken apart into events of one space. See stream.h.
 *
 *      record   ts 40:  [512/31 (1) → [1, 'a']]  [512/31 (2) → gone]  [288/0 (512, 1) → [..]]
 *      events           replace (1)              delete (2)           of another space: passed over
 *
 * A space is known by its number, and its rows by the incarnation of the store that they were in,
 * which is another one after a truncation (invariant 21). A truncation and a drop are changes of the
 * space's row in _space: another incarnation, or no row. The first incarnation that a stream meets
 * tells nothing by itself, for an alteration writes the row as well; but incarnations are taken from
 * the clock, so one above the position at which the stream began is younger than that.
 *
 * Numbers of spaces that were dropped are used again. Who may read a space may not have been allowed to
 * read the one that had its number before. So a stream that begins in the past first goes through what
 * was there when it was opened, for the last drop, and begins behind that; its follower stays at the
 * beginning meanwhile, and keeps the log.
 *
 * Keys are stored as an index has them and decoded into values.
 */
#include "stream/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/key.h"
#include "db/catalog.h"
#include "index/tree.h"
#include "txn/txn.h"

enum { LOOKED_AT_MAX = 2000 }; /* operations passed over before others have their turn */

struct stream {
    struct wal *wal;
    struct wal_follower *follower;
    struct wal_follower *scanner; /* NULL: it knows where the space begins */
    uint64_t scan_end, opened_ts, former_ts;
    uint32_t space_id, incarnation, descending;
    bool incarnation_known, dropped;
    bool fresh; /* it begins at a drop: the space's row comes by its creation */
    uint64_t from_ts;
    struct wal_follow_record record;
    const char *at, *end; /* of the record's body; equal: it has been taken apart */
    struct mp_buffer key;
    unsigned char own_key[16]; /* of the row in _space */
    size_t own_key_size;
    struct stream_stats stats;
};

int stream_open(struct wal *wal, const struct stream_options *options, struct stream **out)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return diag_set(ERROR_MEMORY, "out of memory to follow the log");
    stream->space_id = options->space_id;
    stream->from_ts = options->from_ts;
    stream->descending = options->descending;
    mp_buffer_create(&stream->key);
    stream->own_key_size =
        (size_t)(key_encode_uint(stream->own_key, options->space_id) - stream->own_key);
    stream->wal = wal;
    stream->opened_ts = wal_clock(wal);
    stream->scan_end = wal_follow_end(wal);
    int rc = wal_follow_open(wal, options->from_ts, &stream->follower);
    if (rc == 0 && options->from_ts < stream->scan_end)
        rc = wal_follow_open(wal, options->from_ts, &stream->scanner);
    if (rc != 0) {
        stream_close(stream);
        return rc;
    }
    *out = stream;
    return 0;
}

void stream_close(struct stream *stream)
{
    if (stream->scanner != NULL)
        wal_follow_close(stream->scanner);
    if (stream->follower != NULL)
        wal_follow_close(stream->follower);
    mp_buffer_destroy(&stream->key);
    free(stream);
}

static void invert(unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)~bytes[i];
}

/* Decodes a row's key into stream->key. A part in descending order has its bytes inverted. */
static int key_decode(struct stream *stream, const struct txn_redo *redo)
{
    unsigned char copy[TREE_KEY_SIZE_MAX];
    memcpy(copy, redo->key, redo->key_size);
    unsigned char *end = copy + redo->key_size;
    const unsigned char *key = copy;
    struct mp_buffer parts = stream->key; /* its memory */
    uint32_t count = 0;
    mp_buffer_reset(&parts, 65536);
    char *to = mp_buffer_reserve(&parts, 2 * redo->key_size + 32);
    if (to == NULL)
        return diag_set(ERROR_MEMORY, "out of memory to follow the log");
    char *begin = to, *out = to + 5; /* behind the longest header of an array */
    for (bool inverted = false; key < end; count++) {
        if (inverted != (count < 32 && (stream->descending >> count & 1) != 0)) {
            inverted = !inverted;
            invert(copy + (key - copy), (size_t)(end - key));
        }
        int rc = key_part_decode(&key, end, &out);
        if (rc != 0)
            return diag_set(rc, "the log has a damaged key of space %u", stream->space_id);
    }
    size_t size = (size_t)(out - begin) - 5;
    char *header = mp_encode_array(begin, count);
    memmove(header, begin + 5, size);
    parts.size = (size_t)(header - begin) + size;
    stream->key = parts;
    return 0;
}

/* Whether the operation is on the row that the space has in _space. */
static bool is_own_row(const struct stream *stream, const struct txn_redo *redo)
{
    return redo->head_id == SPACE_ID_SPACE && stream->space_id != SPACE_ID_SPACE &&
           redo->key_size == stream->own_key_size &&
           memcmp(redo->key, stream->own_key, stream->own_key_size) == 0;
}

/* The row of _space has changed. True: that is an event. */
static bool space_changed(struct stream *stream, const struct txn_redo *redo,
                          enum stream_operation *operation)
{
    if (redo->data == NULL && stream->record.ts <= stream->opened_ts) {
        stream->incarnation_known = false; /* of one that had the number before */
        return false;
    }
    if (redo->data == NULL) {
        stream->dropped = true;
        *operation = STREAM_DROP;
        return true;
    }
    uint64_t incarnation = 0;
    const char *flags = mp_array_at(redo->data, 5);
    if (flags == NULL || mp_typeof(*flags) != MP_MAP)
        return false;
    for (uint32_t n = mp_decode_map(&flags); n > 0; n--) {
        uint32_t size;
        const char *name = mp_decode_str(&flags, &size), *value = flags;
        if (size == 11 && memcmp(name, "incarnation", 11) == 0)
            mp_read_uint(&value, &incarnation);
        mp_next(&flags);
    }
    bool another = stream->incarnation_known ? incarnation != stream->incarnation
                                             : !stream->fresh && incarnation > stream->from_ts;
    stream->fresh = false;
    stream->incarnation = (uint32_t)incarnation;
    stream->incarnation_known = true;
    *operation = STREAM_TRUNCATE;
    return another;
}

/* True: the operation is an event of the space. */
static int operation_take(struct stream *stream, const struct txn_redo *redo,
                          struct stream_event *out, bool *event)
{
    *event = false;
    *out = (struct stream_event){.ts = stream->record.ts};
    if (is_own_row(stream, redo)) {
        *event = space_changed(stream, redo, &out->operation);
        return 0;
    }
    if (redo->head_id != stream->space_id)
        return 0;
    stream->incarnation = redo->head_incarnation;
    stream->incarnation_known = true;
    int rc = key_decode(stream, redo);
    if (rc != 0)
        return rc;
    *event = true;
    out->operation = redo->data == NULL ? STREAM_DELETE : STREAM_REPLACE;
    out->key = stream->key.data;
    out->key_size = (uint32_t)stream->key.size;
    out->tuple = redo->data;
    out->size = redo->size;
    return 0;
}

/* A record behind what was there when the stream was opened, or none: begins. */
static int scan_end(struct stream *stream)
{
    struct wal_follower *follower = NULL;
    int rc = 0;
    if (stream->former_ts != 0)
        rc = wal_follow_open(stream->wal, stream->former_ts, &follower);
    if (rc != 0)
        return rc;
    if (follower != NULL) {
        wal_follow_close(stream->follower);
        stream->follower = follower;
        stream->from_ts = stream->former_ts;
        stream->fresh = true;
    }
    wal_follow_close(stream->scanner);
    stream->scanner = NULL;
    return 0;
}

/* Looks for the last drop. 0 when it is done; ERROR_BUSY. */
static int scan(struct stream *stream)
{
    for (unsigned looked_at = 0; looked_at < LOOKED_AT_MAX;) {
        struct wal_follow_record record;
        struct txn_redo redo;
        int rc = wal_follow_next(stream->scanner, &record);
        if (rc == ERROR_AGAIN || (rc == 0 && record.ts > stream->scan_end))
            return scan_end(stream);
        if (rc != 0)
            return rc;
        const char *at = record.body, *end = at + record.size;
        for (; (rc = txn_redo_next(&at, end, &redo)) == 0; looked_at++)
            if (redo.data == NULL && is_own_row(stream, &redo))
                stream->former_ts = record.ts;
        if (rc != ERROR_END)
            return rc;
    }
    return ERROR_BUSY;
}

/* Makes the next record the one that is taken apart. */
static int record_next(struct stream *stream)
{
    int rc = wal_follow_next(stream->follower, &stream->record);
    if (rc != 0)
        return rc;
    stream->at = stream->record.body;
    stream->end = stream->at + stream->record.size;
    return 0;
}

int stream_next(struct stream *stream, struct stream_event *out)
{
    if (stream->dropped)
        return ERROR_END;
    int scanned = stream->scanner == NULL ? 0 : scan(stream);
    if (scanned != 0)
        return scanned;
    for (unsigned looked_at = 0; looked_at < LOOKED_AT_MAX;) {
        struct txn_redo redo;
        bool event;
        int rc = txn_redo_next(&stream->at, stream->end, &redo);
        if (rc == ERROR_END)
            rc = record_next(stream);
        else if (rc == 0) {
            looked_at++;
            stream->stats.looked_at++;
            rc = operation_take(stream, &redo, out, &event);
            if (rc == 0 && event) {
                stream->stats.events++;
                return 0;
            }
        }
        if (rc != 0)
            return rc;
    }
    return ERROR_BUSY;
}

uint64_t stream_position(const struct stream *stream)
{
    if (stream->at == stream->end)
        return wal_follow_position(stream->follower);
    return stream->record.ts - 1;
}

bool stream_arm(struct stream *stream, void (*wake)(void *arg), void *arg)
{
    return stream->scanner == NULL && stream->at == stream->end &&
           wal_follow_arm(stream->follower, wake, arg);
}

void stream_disarm(struct stream *stream)
{
    wal_follow_disarm(stream->follower);
}

void stream_stats_get(const struct stream *stream, struct stream_stats *out)
{
    *out = stream->stats;
}
