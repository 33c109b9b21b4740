/* SPDX-License-Identifier: Apache-2.0 */

/* Places near others: GEOSEARCH and the older forms. */
#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_geo.h"
#include "redis/redis_number.h"
#include "redis/redis_zset_range.h"

enum form { RADIUS, RADIUS_BY_MEMBER, SEARCH };
enum order { AS_FOUND, ASCENDING, DESCENDING };

struct search {
    struct redis_call *call;
    enum form form;
    bool may_store;   /* STORE and STOREDIST are options of the older forms */
    unsigned key;     /* the argument */
    unsigned options; /* where they begin */
    struct redis_zset zset;
    struct redis_geohash_shape shape;
    double unit;                  /* in meters */
    bool from_member, from_place; /* of SEARCH: what was said */
    bool by_radius, by_box;
    bool distances, hashes, places, any;
    int64_t count; /* 0: all */
    enum order order;
    const struct redis_slice *store; /* NULL: reply */
    bool store_distances;
    struct found {
        struct redis_zset_entry entry;
        struct redis_place place;
        double distance;
        size_t number; /* in the order of being found */
    } * found;
    size_t found_count, capacity;
};

/* --------------------------------------------------------------------------------------- arguments */

static int length_arg(const struct redis_call *call, unsigned n, const char *wrong, double *out)
{
    return redis_double_parse(call->argv[n].data, call->argv[n].size, out)
               ? 0
               : diag_set(ERROR_INVALID, "%s", wrong);
}

static int radius_arg(struct search *search, unsigned n)
{
    double radius;
    int rc = length_arg(search->call, n, "need numeric radius", &radius);
    if (!rc && radius < 0)
        rc = diag_set(ERROR_INVALID, "radius cannot be negative");
    if (!rc)
        rc = redis_geo_unit_arg(search->call, n + 1, &search->unit);
    search->shape.box = false;
    search->shape.radius = radius * search->unit;
    return rc;
}

static int box_arg(struct search *search, unsigned n)
{
    double width, height;
    int rc = length_arg(search->call, n, "need numeric width", &width);
    if (!rc)
        rc = length_arg(search->call, n + 1, "need numeric height", &height);
    if (rc)
        return rc;
    if (width < 0 || height < 0)
        return diag_set(ERROR_INVALID, "height or width cannot be negative");
    rc = redis_geo_unit_arg(search->call, n + 2, &search->unit);
    search->shape.box = true;
    search->shape.width = width * search->unit;
    search->shape.height = height * search->unit;
    return rc;
}

/* The centre is a member, if there is a set at all. */
static int member_arg(struct search *search, unsigned n)
{
    bool present;
    double score;
    if (!redis_zset_exists(&search->zset))
        return 0;
    int rc = redis_zset_score(&search->zset, &search->call->argv[n], &present, &score);
    if (!rc && !present)
        rc = diag_set(ERROR_INVALID, "could not decode requested zset member");
    search->shape.centre = redis_geohash_decode(score);
    return rc;
}

static int count_arg(struct search *search, unsigned n)
{
    int rc = redis_integer_arg(search->call, n, &search->count);
    return !rc && search->count <= 0 ? diag_set(ERROR_INVALID, "COUNT must be > 0") : rc;
}

/* What all forms may say; false: it is none of that. */
static bool flag_option(struct search *search, unsigned n)
{
    const struct redis_call *call = search->call;
    if (redis_word(call, n, "withdist"))
        search->distances = true;
    else if (redis_word(call, n, "withhash"))
        search->hashes = true;
    else if (redis_word(call, n, "withcoord"))
        search->places = true;
    else if (redis_word(call, n, "any"))
        search->any = true;
    else if (redis_word(call, n, "asc"))
        search->order = ASCENDING;
    else if (redis_word(call, n, "desc"))
        search->order = DESCENDING;
    else
        return false;
    return true;
}

static int shape_option(struct search *search, unsigned *n)
{
    const struct redis_call *call = search->call;
    unsigned at = *n, left = call->argc - at - 1;
    if (left >= 1 && !search->from_place && redis_word(call, at, "frommember")) {
        search->from_member = true;
        *n += 1;
        return member_arg(search, at + 1);
    }
    if (left >= 2 && !search->from_member && redis_word(call, at, "fromlonlat")) {
        search->from_place = true;
        *n += 2;
        return redis_geo_place_arg(call, at + 1, &search->shape.centre);
    }
    if (left >= 2 && !search->by_box && redis_word(call, at, "byradius")) {
        search->by_radius = true;
        *n += 2;
        return radius_arg(search, at + 1);
    }
    if (left >= 3 && !search->by_radius && redis_word(call, at, "bybox")) {
        search->by_box = true;
        *n += 3;
        return box_arg(search, at + 1);
    }
    if (search->store && redis_word(call, at, "storedist")) {
        search->store_distances = true;
        return 0;
    }
    return redis_syntax_error();
}

static int option(struct search *search, unsigned *n)
{
    const struct redis_call *call = search->call;
    bool more = *n + 1 < call->argc;
    if (flag_option(search, *n))
        return 0;
    if (more && redis_word(call, *n, "count"))
        return count_arg(search, ++*n);
    if (search->form == SEARCH)
        return shape_option(search, n);
    bool store = redis_word(call, *n, "store"), distances = redis_word(call, *n, "storedist");
    if (!search->may_store || !more || (!store && !distances))
        return redis_syntax_error();
    search->store = &call->argv[++*n];
    search->store_distances = distances;
    return 0;
}

static int conflicts(const struct search *search)
{
    bool search_form = search->form == SEARCH;
    const struct redis_slice *said = &search->call->argv[0];
    if (search->store && (search->distances || search->hashes || search->places))
        return diag_set(ERROR_INVALID,
                        "%s is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                        search_form ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS");
    if (search_form && !search->from_member && !search->from_place)
        return diag_set(ERROR_INVALID,
                        "exactly one of FROMMEMBER or FROMLONLAT can be specified for %.*s",
                        (int)said->size, said->data);
    if (search_form && !search->by_radius && !search->by_box)
        return diag_set(ERROR_INVALID,
                        "exactly one of BYRADIUS and BYBOX can be specified for %.*s",
                        (int)said->size, said->data);
    if (search->any && !search->count)
        return diag_set(ERROR_INVALID, "the ANY argument requires COUNT argument");
    return 0;
}

static int arguments(struct search *search)
{
    int rc = 0;
    if (search->form == RADIUS)
        rc = redis_geo_place_arg(search->call, 2, &search->shape.centre);
    else if (search->form == RADIUS_BY_MEMBER)
        rc = member_arg(search, 2);
    bool radius = search->form == RADIUS ||
                  (search->form == RADIUS_BY_MEMBER && redis_zset_exists(&search->zset));
    if (!rc && radius)
        rc = radius_arg(search, search->options - 2);
    for (unsigned n = search->options; n < search->call->argc && !rc; n++)
        rc = option(search, &n);
    return rc ? rc : conflicts(search);
}

/* ------------------------------------------------------------------------------------------ search */

static int found_add(struct search *search, const struct redis_zset_entry *entry)
{
    const struct redis_place place = redis_geohash_decode(entry->score);
    double distance;
    if (!redis_geohash_within(&search->shape, place, &distance))
        return 0;
    if (search->found_count == search->capacity) {
        size_t capacity = search->capacity ? 2 * search->capacity : 32;
        struct found *found =
            arena_alloc(txn_arena(search->call->txn), capacity * sizeof *search->found);
        if (!found)
            return diag_set(ERROR_MEMORY, "out of memory");
        for (size_t n = 0; n < search->found_count; n++)
            found[n] = search->found[n];
        search->found = found;
        search->capacity = capacity;
    }
    search->found[search->found_count] =
        (struct found){*entry, place, distance, search->found_count};
    search->found_count++;
    return 0;
}

static bool enough(const struct search *search)
{
    return search->any && search->found_count >= (size_t)search->count;
}

static int search_cell(struct search *search, const struct redis_geohash_cell *cell)
{
    struct redis_zset_range range;
    struct redis_zset_entries entries;
    redis_zset_range_create(&range, REDIS_ZSET_BY_SCORE);
    range.min = cell->from;
    range.max = cell->to;
    range.max_exclusive = true;
    int rc = redis_zset_range_read(&search->zset, &range, &entries);
    for (size_t n = 0; n < entries.count && !rc && !enough(search); n++)
        rc = found_add(search, &entries.items[n]);
    return rc;
}

static int by_distance(const void *left, const void *right)
{
    const struct found *one = left, *other = right;
    if (one->distance != other->distance)
        return one->distance < other->distance ? -1 : 1;
    return one->number < other->number ? -1 : 1;
}

static int by_distance_descending(const void *left, const void *right)
{
    const struct found *one = left, *other = right;
    return one->distance == other->distance ? by_distance(left, right) : by_distance(right, left);
}

static int search_cells(struct search *search)
{
    struct redis_geohash_cell cells[REDIS_GEOHASH_CELLS_MAX];
    unsigned count = redis_geohash_cells(&search->shape, cells);
    int rc = 0;
    for (unsigned n = 0; n < count && !rc && !enough(search); n++)
        rc = search_cell(search, &cells[n]);
    if (search->order == AS_FOUND && search->count && !search->any)
        search->order = ASCENDING;
    if (search->order != AS_FOUND && search->found_count)
        qsort(search->found, search->found_count, sizeof *search->found,
              search->order == ASCENDING ? by_distance : by_distance_descending);
    if (search->count && (size_t)search->count < search->found_count)
        search->found_count = (size_t)search->count;
    return rc;
}

/* ------------------------------------------------------------------------------------------- reply */

static void reply(const struct search *search)
{
    struct redis_sink *sink = search->call->sink;
    size_t more = (size_t)search->distances + search->hashes + search->places;
    sink->vtab->array(sink, search->found_count);
    for (size_t n = 0; n < search->found_count; n++) {
        const struct found *found = &search->found[n];
        if (more)
            sink->vtab->array(sink, more + 1);
        sink->vtab->bulk(sink, found->entry.member.data, found->entry.member.size);
        if (search->distances)
            redis_geo_reply_distance(search->call, found->distance / search->unit);
        if (search->hashes)
            sink->vtab->integer(sink, (int64_t)found->entry.score);
        if (search->places)
            redis_geo_reply_place(search->call, found->place);
    }
}

static int store(struct search *search)
{
    struct redis_call *call = search->call;
    size_t count = search->found_count;
    struct redis_zset_entry *entries =
        arena_alloc(txn_arena(call->txn), (count + 1) * sizeof *entries);
    if (!entries)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (size_t n = 0; n < count; n++) {
        entries[n] = search->found[n].entry;
        if (search->store_distances)
            entries[n].score = search->found[n].distance / search->unit;
    }
    int rc = redis_zset_store(call, search->store, entries, count,
                              search->form == SEARCH ? "geosearchstore" : "georadiusstore");
    if (!rc)
        call->sink->vtab->integer(call->sink, (int64_t)count);
    return rc;
}

static int search_run(struct redis_call *call, struct search *search)
{
    search->call = call;
    search->unit = 1;
    int rc = redis_zset_open(&search->zset, call, &call->argv[search->key]);
    if (!rc)
        rc = arguments(search);
    if (!rc && redis_zset_exists(&search->zset))
        rc = search_cells(search);
    if (rc)
        return rc;
    if (search->store)
        return store(search);
    reply(search);
    return 0;
}

int redis__georadius(struct redis_call *call)
{
    struct search search = {.form = RADIUS, .may_store = true, .key = 1, .options = 6};
    return search_run(call, &search);
}

int redis__georadius_ro(struct redis_call *call)
{
    struct search search = {.form = RADIUS, .key = 1, .options = 6};
    return search_run(call, &search);
}

int redis__georadiusbymember(struct redis_call *call)
{
    struct search search = {.form = RADIUS_BY_MEMBER, .may_store = true, .key = 1, .options = 5};
    return search_run(call, &search);
}

int redis__georadiusbymember_ro(struct redis_call *call)
{
    struct search search = {.form = RADIUS_BY_MEMBER, .key = 1, .options = 5};
    return search_run(call, &search);
}

int redis__geosearch(struct redis_call *call)
{
    struct search search = {.form = SEARCH, .key = 1, .options = 2};
    return search_run(call, &search);
}

int redis__geosearchstore(struct redis_call *call)
{
    struct search search = {.form = SEARCH, .key = 2, .options = 3, .store = &call->argv[1]};
    return search_run(call, &search);
}
