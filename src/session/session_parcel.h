/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_PARCEL_H
#define SESSION_SESSION_PARCEL_H

/* Large arguments of RESP, received straight into what may become a row, and large values of rows, sent from
 * where they are: see session_parcel.c. */
#include <stdbool.h>
#include <stddef.h>

#include "mem/parcel.h"
#include "proto/resp_parse.h"

struct session;

/* Those of the request that has begun, or is being executed. */
struct session_parcels {
    struct parcel *begun; /* is being received, so many bytes of it have been; NULL: none is */
    size_t filled;
    struct parcel *whole[RESP_APART_MAX];
    unsigned count;
    size_t queued_bytes; /* of others, which MULTI keeps */
};

/* The parcel that has just these bytes; NULL: they are in none. */
struct parcel *session__parcel_of(const struct session_parcels *parcels, const char *data,
                                  size_t size);

/* _begin: after parsing has stopped. _fill: takes what belongs to the argument that is
 * being received from the start of data[0..size); how much. _drop: the request has been executed. */
void session__parcel_begin(struct session *session);
size_t session__parcel_fill(struct session *session, const char *data, size_t size);
size_t session__parcels_bytes(const struct session_parcels *parcels);
void session__parcels_drop(struct session_parcels *parcels);
void session__parcels_end(struct session_parcels *parcels);

/* Bytes that are sent from where they are, between those of the session's output in front of `at` and those
 * behind. */
struct session_insert {
    size_t at;
    const char *data;
    size_t size, sent;
    struct parcel *parcel; /* which has them, held */
};
struct session_inserts {
    struct session_insert *items; /* [first..count) in order of `at` */
    size_t first, count, capacity;
    size_t bytes; /* not sent yet, of all */
};

/* _add: a bulk string that is sent from where it is; false: it is to be copied. _sent: so many bytes of the
 * first one. _cut: those behind this size of the output go. _shift: so many bytes in front of them have gone. */
bool session__insert_add(struct session *session, const char *data, size_t size,
                         struct parcel *parcel);
void session__insert_sent(struct session_inserts *inserts, size_t size);
void session__inserts_cut(struct session_inserts *inserts, size_t size);
void session__inserts_shift(struct session_inserts *inserts, size_t size);
void session__inserts_end(struct session_inserts *inserts);

/* What MULTI has queued, in bytes. */
size_t session__queue_bytes(const struct session *session);

/* What the session has to send yet, of its output and between. */
size_t session__output_bytes(const struct session *session);

/* The one that is sent next, NULL when there is none. */
static inline struct session_insert *session__insert_first(const struct session_inserts *inserts)
{
    return inserts->first < inserts->count ? &inserts->items[inserts->first] : NULL;
}

#endif
