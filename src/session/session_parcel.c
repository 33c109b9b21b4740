/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Large arguments of RESP, received straight into what may become a row.
 *
 * A request that is incomplete within a large argument (PARCEL_BYTES_MIN) is all that the session's input
 * has: what came before has been executed, and what comes goes into the argument's parcel until that is full.
 * The request's other bytes are in `in` as ever, without it:
 *
 *      in       *3 $3 SET $3 key $100000000            <the end of the line> ...
 *      parcel                               <100000000 bytes>
 *
 * Commands see an argument like any other. One that stores it as it is takes the parcel, and copies
 * nothing; should it be run again, it finds the bytes where they were, and copies them. The session drops
 * its holds when the request has been executed. One that then waits has been copied with all its arguments,
 * and so has what MULTI queues.
 *
 * Requests are never parsed anew from their first byte while something of them is apart: that happens to those
 * behind one that was executed, and of these nothing is apart yet.
 */
#include "session/session_internal.h"

#include <string.h>

size_t session__parcels_bytes(const struct session_parcels *parcels)
{
    size_t bytes = parcels->filled;
    for (unsigned n = 0; n < parcels->count; n++)
        bytes += parcel_size(parcels->whole[n]);
    return bytes;
}

void session__parcels_drop(struct session_parcels *parcels)
{
    while (parcels->count > 0)
        parcel_drop(parcels->whole[--parcels->count]);
}

void session__parcels_end(struct session_parcels *parcels)
{
    session__parcels_drop(parcels);
    parcel_drop(parcels->begun);
    parcels->begun = NULL;
    parcels->filled = 0;
}

void session__parcel_begin(struct session *session)
{
    struct session_parcels *parcels = &session->parcels;
    size_t there = session->in.size - session->in_start, offset;
    if (session->kind != PROTO_RESP || session->held || session->closing || session->in.failed ||
        session->in_need <= there || parcels->begun)
        return;
    size_t size = resp_bulk_begun(&session->resp, PARCEL_BYTES_MIN, &offset);
    if (size == 0 || offset > there || there - offset >= size)
        return;
    parcels->begun = parcel_new(size);
    if (!parcels->begun)
        return; /* it goes the way of small ones, as far as memory allows */
    parcels->filled = there - offset;
    memcpy(parcel_data(parcels->begun), session->in.data + session->in_start + offset,
           parcels->filled);
    session->in.size -= parcels->filled;
}

char *session_input_room(struct session *session, size_t *size)
{
    struct session_parcels *parcels = &session->parcels;
    if (!parcels->begun || session->closing)
        return NULL;
    *size = parcel_size(parcels->begun) - parcels->filled;
    return parcel_data(parcels->begun) + parcels->filled;
}

size_t session__parcel_fill(struct session *session, const char *data, size_t size)
{
    struct session_parcels *parcels = &session->parcels;
    if (!parcels->begun)
        return 0;
    char *to = parcel_data(parcels->begun) + parcels->filled;
    size_t missing = parcel_size(parcels->begun) - parcels->filled;
    size_t taken = size < missing ? size : missing;
    if (data != to)
        memcpy(to, data, taken);
    parcels->filled += taken;
    if (taken < missing)
        return taken;
    if (!resp_bulk_apart(&session->resp, parcel_data(parcels->begun)))
        session->in.failed = true;
    parcels->whole[parcels->count++] = parcels->begun;
    parcels->begun = NULL;
    parcels->filled = 0;
    session->in_need = 0;
    return taken;
}
