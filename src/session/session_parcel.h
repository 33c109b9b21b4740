/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_PARCEL_H
#define SESSION_SESSION_PARCEL_H

/* Large arguments of RESP, received straight into what may become a row: see session_parcel.c. */
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
};

/* _begin: after parsing has stopped. _fill: takes what belongs to the argument that is
 * being received from the start of data[0..size); how much. _drop: the request has been executed. */
void session__parcel_begin(struct session *session);
size_t session__parcel_fill(struct session *session, const char *data, size_t size);
size_t session__parcels_bytes(const struct session_parcels *parcels);
void session__parcels_drop(struct session_parcels *parcels);
void session__parcels_end(struct session_parcels *parcels);

#endif
