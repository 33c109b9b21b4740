/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Large arguments of RESP, received straight into what may become a row, and large values of rows, sent from
 * where they are.
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
 * its holds when the request has been executed. One that then waits has been copied with all its arguments. What
 * MULTI queues has holds of its own until EXEC has ended, which can be run again.
 *
 * Requests are never parsed anew from their first byte while something of them is apart: that happens to those
 * behind one that was executed, and of these nothing is apart yet.
 *
 * The other way, a value that stands in a parcel is held, and sent between the head of its bulk string and the
 * end of line behind it, which are in `out`. It is what it was when the command read it, whatever becomes of
 * the row meanwhile: bytes of versions do not change. TLS, which makes other bytes of it, gets a copy in `out`.
 */
#include "session/session_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem/account.h"

size_t session__parcels_bytes(const struct session_parcels *parcels)
{
    size_t bytes = parcels->filled;
    for (unsigned n = 0; n < parcels->count; n++)
        bytes += parcel_size(parcels->whole[n]);
    return bytes;
}

struct parcel *session__parcel_of(const struct session_parcels *parcels, const char *data,
                                  size_t size)
{
    for (unsigned n = 0; n < parcels->count; n++)
        if (parcel_data(parcels->whole[n]) == data && parcel_size(parcels->whole[n]) == size)
            return parcels->whole[n];
    return NULL;
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

/* ---------------------------------------------------------------------------------------- output */

size_t session__output_bytes(const struct session *session)
{
    return session->out.size - session->out_sent + session->inserts.bytes;
}

static bool insert_reserve(struct session_inserts *inserts)
{
    if (inserts->first == inserts->count)
        inserts->first = inserts->count = 0;
    if (inserts->count < inserts->capacity)
        return true;
    size_t capacity = inserts->capacity ? 2 * inserts->capacity : 16;
    struct session_insert *items =
        account_resize(ACCOUNT_NETWORK, inserts->items, capacity * sizeof *items);
    if (!items)
        return false;
    inserts->items = items;
    inserts->capacity = capacity;
    return true;
}

bool session__insert_add(struct session *session, const char *data, size_t size,
                         struct parcel *parcel)
{
    struct session_inserts *inserts = &session->inserts;
    struct mp_buffer *out = &session->out;
    char head[32];
    if (size < PARCEL_BYTES_MIN || session->sealed || !insert_reserve(inserts))
        return false;
    int head_size = snprintf(head, sizeof head, "$%zu\r\n", size);
    if (!mp_buffer_reserve(out, (size_t)head_size + 2))
        return false;
    mp_put_raw(out, head, (size_t)head_size);
    parcel_hold(parcel);
    inserts->items[inserts->count++] = (struct session_insert){out->size, data, size, 0, parcel};
    inserts->bytes += size;
    mp_put_raw(out, "\r\n", 2);
    return true;
}

void session__insert_sent(struct session_inserts *inserts, size_t size)
{
    struct session_insert *insert = session__insert_first(inserts);
    ASSERT(size <= insert->size - insert->sent);
    insert->sent += size;
    inserts->bytes -= size;
    if (insert->sent < insert->size)
        return;
    parcel_drop(insert->parcel);
    inserts->first++;
}

static void insert_drop(struct session_inserts *inserts)
{
    struct session_insert *last = &inserts->items[--inserts->count];
    inserts->bytes -= last->size - last->sent;
    parcel_drop(last->parcel);
}

void session__inserts_cut(struct session_inserts *inserts, size_t size)
{
    while (inserts->count > inserts->first && inserts->items[inserts->count - 1].at > size)
        insert_drop(inserts);
}

void session__inserts_shift(struct session_inserts *inserts, size_t size)
{
    for (size_t n = inserts->first; n < inserts->count; n++)
        inserts->items[n].at -= size;
}

void session__inserts_end(struct session_inserts *inserts)
{
    while (inserts->count > inserts->first)
        insert_drop(inserts);
    free(account_gone(ACCOUNT_NETWORK, inserts->items));
    inserts->items = NULL;
    inserts->capacity = 0;
}
