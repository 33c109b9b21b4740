/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_PARCEL_H
#define MEM_PARCEL_H

/*
 * A parcel: a large value that is received for one and kept by another, without being copied.
 *
 *      parcel                                    parcel_data
 *      | header | room for what is built in front | size bytes |
 *
 * Whoever receives it has one hold on it. The first that takes it (parcel_take) may build something of its
 * own around the bytes, in front of which it has PARCEL_ROOM_BYTES, and has a hold of its own from then on.
 * The memory goes with the last hold: so who has received it can still read the bytes when what was built
 * has been thrown away, and need not know when that is. Holds are counted atomically; any thread may drop one.
 *
 * The bytes begin one behind a multiple of 8: what is built in front of a value of MessagePack's bin 32 (5
 * bytes) within an array whose own head and other elements take 4 or 12, is aligned to 8 then.
 */
#include <stdbool.h>
#include <stddef.h>

struct parcel;

enum {
    PARCEL_BYTES_MIN = 256 << 10, /* what is smaller is copied */
    PARCEL_ROOM_BYTES = 64
};

/* With room for `size` bytes, which have no content yet, held once; NULL when memory is out. From
 * SYSTEM_HUGE_BYTES on it is a mapping of its own, of which no page is taken before it is written to. */
struct parcel *parcel_new(size_t size);

char *parcel_data(struct parcel *parcel);
size_t parcel_size(const struct parcel *parcel);

/* Whether these bytes are among its own, or in its room in front. */
bool parcel_has(struct parcel *parcel, const char *data, size_t size);

/* True for the first that asks, who has a hold on it now. One thread at a time, which has a hold. */
bool parcel_take(struct parcel *parcel);

/* One more hold, for who keeps nothing but bytes of it. Who asks has a hold, or knows that one is not
 * dropped meanwhile. */
void parcel_hold(struct parcel *parcel);

/* Drops a hold; NULL is allowed. */
void parcel_drop(struct parcel *parcel);

#endif
