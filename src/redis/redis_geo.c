/* SPDX-License-Identifier: Apache-2.0 */

/* Places as members of sorted sets: adding them, where they are, how far apart. */
#include "redis/redis_geo.h"

#include <stdio.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_increment.h"
#include "redis/redis_number.h"
#include "redis/redis_zset_add.h"

int redis_geo_place_arg(const struct redis_call *call, unsigned n, struct redis_place *out)
{
    int rc = redis_double_arg(call, n, &out->longitude);
    if (!rc)
        rc = redis_double_arg(call, n + 1, &out->latitude);
    if (!rc && !redis_place_valid(*out))
        rc = diag_set(ERROR_INVALID, "invalid longitude,latitude pair %f,%f", out->longitude,
                      out->latitude);
    return rc;
}

int redis_geo_unit_arg(const struct redis_call *call, unsigned n, double *meters)
{
    if (redis_word(call, n, "m"))
        *meters = 1;
    else if (redis_word(call, n, "km"))
        *meters = 1000;
    else if (redis_word(call, n, "ft"))
        *meters = 0.3048;
    else if (redis_word(call, n, "mi"))
        *meters = 1609.34;
    else
        return diag_set(ERROR_INVALID, "unsupported unit provided. please use M, KM, FT, MI");
    return 0;
}

/* With 17 places behind the point, also where a double is sent. */
static void reply_coordinate(struct redis_call *call, double value)
{
    char text[REDIS_INCREMENT_TEXT_MAX];
    size_t size = redis_increment_format(value, text);
    if (call->protocol == 3 && redis_double_parse(text, size, &value))
        call->sink->vtab->real(call->sink, value);
    else
        call->sink->vtab->bulk(call->sink, text, size);
}

void redis_geo_reply_place(struct redis_call *call, struct redis_place place)
{
    call->sink->vtab->array(call->sink, 2);
    reply_coordinate(call, place.longitude);
    reply_coordinate(call, place.latitude);
}

void redis_geo_reply_distance(struct redis_call *call, double distance)
{
    char text[400];
    int size = snprintf(text, sizeof text, "%.4f", distance);
    call->sink->vtab->bulk(call->sink, text, (size_t)size);
}

int redis__geoadd(struct redis_call *call)
{
    struct redis_zset_add options = {.nx = false};
    unsigned first = 2;
    for (; first < call->argc; first++)
        if (redis_word(call, first, "nx"))
            options.nx = true;
        else if (redis_word(call, first, "xx"))
            options.xx = true;
        else if (redis_word(call, first, "ch"))
            options.ch = true;
        else
            break;
    size_t count = (call->argc - first) / 3;
    if ((call->argc - first) % 3 || (options.nx && options.xx) || count == 0)
        return redis_syntax_error();
    struct redis_zset_entry *entries = arena_alloc(txn_arena(call->txn), count * sizeof *entries);
    if (!entries)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (size_t n = 0; n < count; n++, first += 3) {
        struct redis_place place;
        int rc = redis_geo_place_arg(call, first, &place);
        if (rc)
            return rc;
        entries[n] = (struct redis_zset_entry){call->argv[first + 2], redis_geohash_encode(place)};
    }
    return redis_zset_add(call, &options, entries, count);
}

static int place_of(struct redis_zset *zset, const struct redis_slice *member, bool *present,
                    struct redis_place *place)
{
    double score;
    int rc = redis_zset_score(zset, member, present, &score);
    *place = redis_geohash_decode(score);
    return rc;
}

int redis__geodist(struct redis_call *call)
{
    struct redis_zset zset;
    struct redis_place one, other;
    bool present;
    double unit = 1;
    if (call->argc > 5)
        return redis_syntax_error();
    int rc = call->argc == 5 ? redis_geo_unit_arg(call, 4, &unit) : 0;
    if (!rc)
        rc = redis_zset_open(&zset, call, &call->argv[1]);
    if (!rc)
        rc = place_of(&zset, &call->argv[2], &present, &one);
    if (!rc && present)
        rc = place_of(&zset, &call->argv[3], &present, &other);
    if (rc)
        return rc;
    if (present)
        redis_geo_reply_distance(call, redis_geohash_distance(one, other) / unit);
    else
        call->sink->vtab->null(call->sink);
    return 0;
}

int redis__geohash(struct redis_call *call)
{
    struct redis_zset zset;
    int rc = redis_zset_open(&zset, call, &call->argv[1]);
    if (rc)
        return rc;
    call->sink->vtab->array(call->sink, call->argc - 2);
    for (unsigned n = 2; n < call->argc && !rc; n++) {
        struct redis_place place;
        bool present;
        char text[11];
        rc = place_of(&zset, &call->argv[n], &present, &place);
        if (rc)
            break;
        redis_geohash_text(place, text);
        if (present)
            call->sink->vtab->bulk(call->sink, text, sizeof text);
        else
            call->sink->vtab->null(call->sink);
    }
    return rc;
}

int redis__geopos(struct redis_call *call)
{
    struct redis_zset zset;
    int rc = redis_zset_open(&zset, call, &call->argv[1]);
    if (rc)
        return rc;
    call->sink->vtab->array(call->sink, call->argc - 2);
    for (unsigned n = 2; n < call->argc && !rc; n++) {
        struct redis_place place;
        bool present;
        rc = place_of(&zset, &call->argv[n], &present, &place);
        if (!rc && present)
            redis_geo_reply_place(call, place);
        else if (!rc)
            call->sink->vtab->null_array(call->sink);
    }
    return rc;
}
