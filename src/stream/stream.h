/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STREAM_STREAM_H
#define STREAM_STREAM_H

/*
 * The changes of one space as events, in the order in which they were committed, from any position
 * that the log still has, and on as further ones become durable.
 *
 * An event is what a transaction has made of one row: a row written several times by it counts
 * once, with its last content. Positions are timestamps: all up to that has been handed over. Those
 * who start again at a position that they have stored are told everything behind it at least once.
 *
 * One thread at a time uses a stream. It is closed before the log is.
 */
#include <stdbool.h>
#include <stdint.h>

#include "codec/mp.h"
#include "wal/wal.h"

enum stream_operation {
    STREAM_REPLACE,  /* there is a row with this key and content now */
    STREAM_DELETE,   /* there is none any more */
    STREAM_TRUNCATE, /* there is no row in the space any more */
    STREAM_DROP      /* nor a space: nothing comes behind that */
};

struct stream_event {
    enum stream_operation operation;
    uint64_t ts;
    const char *key; /* a MessagePack array; NULL when the event is of no row */
    uint32_t key_size;
    const char *tuple; /* NULL but for a replace. Both until the next call */
    uint32_t size;
};

struct stream_options {
    uint32_t space_id;
    uint64_t from_ts;    /* as in wal_follow_open */
    uint32_t descending; /* bits: these parts of its primary key are kept in descending order */
};

struct stream;

/* ERROR_NOT_FOUND: the log no longer has all that followed from_ts. ERROR_INVALID, ERROR_MEMORY. */
int stream_open(struct wal *wal, const struct stream_options *options, struct stream **out);
void stream_close(struct stream *stream);

/* The next event. ERROR_AGAIN: there is none yet; ERROR_BUSY: none among the changes that were looked
 * at, to be called again after others have had their turn (both without diagnostics). ERROR_END:
 * behind the drop. ERROR_NOT_FOUND: cut off, see wal_follow_next; ERROR_CORRUPT, ERROR_IO,
 * ERROR_MEMORY. */
int stream_next(struct stream *stream, struct stream_event *out);

/* Where to begin again once every event that was handed over is done with. */
uint64_t stream_position(const struct stream *stream);

/* As wal_follow_arm and wal_follow_disarm. */
bool stream_arm(struct stream *stream, void (*wake)(void *arg), void *arg);
void stream_disarm(struct stream *stream);

/* Events handed over, and changes of any space looked at for them. */
struct stream_stats {
    uint64_t events, looked_at;
};
void stream_stats_get(const struct stream *stream, struct stream_stats *out);

#endif
