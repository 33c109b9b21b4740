/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time zones from whatever bytes: what is accepted answers within the offsets that datetimes have,
 * and an instant that clocks show is found again by what they show.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/datetime.h"
#include "codec/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct zone *zone, int64_t at)
{
    int offset = zone_at(zone, at).tzoffset;
    ASSERT(offset >= DATETIME_OFFSET_MIN && offset <= DATETIME_OFFSET_MAX);
    ASSERT(zone_instant(zone, at + offset * 60, offset) == at);
    zone_instant(zone, at, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct zone *zone;
    int64_t at = 0;

    if (size < sizeof(at))
        return 0;
    memcpy(&at, data + size - sizeof(at), sizeof(at));
    char *copy = malloc(size);
    memcpy(copy, data, size);
    if (zone_new(&zone, copy, size) == 0) {
        ask(zone, at % DATETIME_SECONDS_MAX);
        for (int64_t i = -20; i < 40; i++)
            ask(zone, i * 86400 * 365 / 4);
        ask(zone, DATETIME_SECONDS_MIN);
        ask(zone, DATETIME_SECONDS_MAX);
        zone_delete(zone);
    }
    free(copy);
    return 0;
}
