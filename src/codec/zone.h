/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_ZONE_H
#define CODEC_ZONE_H

/*
 * The rules of a time zone: what its clocks show, from the bytes of a TZif file (RFC 8536).
 *
 * A zone does not change once it is made: any number of threads may ask it. Offsets are whole
 * minutes east of UTC, as datetimes have them: the seconds of local mean times are cut off, and what
 * lies outside of DATETIME_OFFSET_MIN and _MAX is taken as these.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ZONE_FILE_MAX = 1 << 18 }; /* bytes that a file may have */

struct zone;

struct zone_time {
    int tzoffset; /* minutes */
    bool is_summer;
};

/* Makes a zone of a file's bytes, which the caller keeps. zone_delete frees it. ERROR_INVALID: the
 * bytes are no such file; ERROR_MEMORY. */
int zone_new(struct zone **out, const char *data, size_t size);

void zone_delete(struct zone *zone);

/* What holds at an instant, in seconds since 1970. After the last change that the file lists, it is
 * by the rule at its end. */
struct zone_time zone_at(const struct zone *zone, int64_t seconds);

/*
 * The instant at which the zone's clocks show `local` (seconds since 1970 as if it were UTC). Of
 * two instants the one at the offset `hint` in minutes, if it is one of them, or the first; a time
 * that clocks leave out is taken by the offset before it, so that they show a later one.
 */
int64_t zone_instant(const struct zone *zone, int64_t local, int hint);

#endif
