/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The library of the module geo: distances by the haversine formula, and two functions that read and
 * write the space geo_places. Arguments are taken apart and results made by msgpack-c.
 */
#include <math.h>
#include <msgpack.h>
#include <perigee/module.h>
#include <stdbool.h>
#include <stdlib.h>

static const double EARTH_RADIUS_METRES = 6371008.8;

static double radians(double degrees)
{
    return degrees * 3.14159265358979323846 / 180;
}

static double distance_between(double latitude1, double longitude1, double latitude2,
                               double longitude2)
{
    double north = sin(radians(latitude2 - latitude1) / 2);
    double east = sin(radians(longitude2 - longitude1) / 2);
    double part = north * north + cos(radians(latitude1)) * cos(radians(latitude2)) * east * east;
    return 2 * EARTH_RADIUS_METRES * asin(sqrt(part > 1 ? 1 : part));
}

/* ------------------------------------------------------------------------- MessagePack, in and out */

static bool number(const msgpack_object *object, double *out)
{
    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *out = (double)object->via.u64;
    else if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *out = (double)object->via.i64;
    else if (object->type == MSGPACK_OBJECT_FLOAT32 || object->type == MSGPACK_OBJECT_FLOAT64)
        *out = object->via.f64;
    else
        return false;
    return true;
}

/* The numbers array[first..first + count). */
static bool numbers(const msgpack_object_array *array, uint32_t first, uint32_t count, double *out)
{
    for (uint32_t n = 0; n < count; n++)
        if (first + n >= array->size || !number(&array->ptr[first + n], &out[n]))
            return false;
    return true;
}

/* An array that the server has given, until msgpack_unpacked_destroy. */
static const msgpack_object_array *open_array(msgpack_unpacked *unpacked,
                                              struct perigee_bytes bytes)
{
    msgpack_unpacked_init(unpacked);
    msgpack_unpack_next(unpacked, bytes.data, bytes.size, NULL);
    return &unpacked->data.via.array;
}

static void pack_text(msgpack_packer *packer, const msgpack_object_str *text)
{
    msgpack_pack_str(packer, text->size);
    msgpack_pack_str_body(packer, text->ptr, text->size);
}

static int give(const struct perigee_api *api, struct perigee_call *call, msgpack_sbuffer *buffer)
{
    int code = api->result(call, buffer->data, buffer->size);
    msgpack_sbuffer_destroy(buffer);
    return code;
}

/* ------------------------------------------------------------------------------------- functions */

/* distance(latitude, longitude, latitude, longitude) */
static int distance(const struct perigee_api *api, struct perigee_call *call)
{
    msgpack_unpacked args;
    msgpack_sbuffer out;
    msgpack_packer packer;
    double degrees[4];
    bool good = numbers(open_array(&args, api->args(call)), 0, 4, degrees);
    msgpack_unpacked_destroy(&args);
    if (!good)
        return api->error(call, PERIGEE_INVALID, "distance takes four numbers, in degrees");
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&packer, &out, msgpack_sbuffer_write);
    msgpack_pack_double(&packer, distance_between(degrees[0], degrees[1], degrees[2], degrees[3]));
    return give(api, call, &out);
}

/* The row {name, latitude, longitude, 1}. */
static int place_add(const struct perigee_api *api, struct perigee_call *call,
                     const msgpack_object_array *args)
{
    msgpack_sbuffer tuple;
    msgpack_packer packer;
    double degrees[2];
    if (!numbers(args, 1, 2, degrees))
        return api->error(call, PERIGEE_NOT_FOUND, "there is no such place: say where it is");
    msgpack_sbuffer_init(&tuple);
    msgpack_packer_init(&packer, &tuple, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 4);
    pack_text(&packer, &args->ptr[0].via.str);
    msgpack_pack_double(&packer, degrees[0]);
    msgpack_pack_double(&packer, degrees[1]);
    msgpack_pack_int(&packer, 1);
    int code = api->insert(call, "geo_places", tuple.data, tuple.size, NULL);
    msgpack_sbuffer_destroy(&tuple);
    return code != 0 ? code : api->result(call, "\x01", 1);
}

/* One more visit of the place with this name; *out: the row, data NULL when there is none. */
static int place_count(const struct perigee_api *api, struct perigee_call *call,
                       const msgpack_object_str *name, struct perigee_bytes *out)
{
    static const char ADD[] = "\x91\x93\xa1+\xa6visits\x01"; /* [["+", "visits", 1]] */
    msgpack_sbuffer key;
    msgpack_packer packer;
    msgpack_sbuffer_init(&key);
    msgpack_packer_init(&packer, &key, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 1);
    pack_text(&packer, name);
    int code = api->update(call, "geo_places", NULL, key.data, key.size, ADD, sizeof ADD - 1, out);
    msgpack_sbuffer_destroy(&key);
    return code;
}

/* visit(name[, latitude, longitude]) */
static int visit(const struct perigee_api *api, struct perigee_call *call)
{
    msgpack_unpacked args, row;
    msgpack_sbuffer out;
    msgpack_packer packer;
    struct perigee_bytes found;
    const msgpack_object_array *array = open_array(&args, api->args(call));
    int code = array->size == 0 || array->ptr[0].type != MSGPACK_OBJECT_STR
                   ? api->error(call, PERIGEE_INVALID, "visit takes the name of a place")
                   : place_count(api, call, &array->ptr[0].via.str, &found);
    if (code == 0 && found.data == NULL) {
        code = place_add(api, call, array);
    } else if (code == 0) {
        msgpack_sbuffer_init(&out);
        msgpack_packer_init(&packer, &out, msgpack_sbuffer_write);
        msgpack_pack_object(&packer, open_array(&row, found)->ptr[3]);
        msgpack_unpacked_destroy(&row);
        code = give(api, call, &out);
    }
    msgpack_unpacked_destroy(&args);
    return code;
}

struct place {
    const msgpack_object_str *name;
    double metres;
};

static int nearer(const void *left, const void *right)
{
    double a = ((const struct place *)left)->metres, b = ((const struct place *)right)->metres;
    return (a > b) - (a < b);
}

/* Those of the rows that are near enough, in order; their number. */
static uint32_t places_find(const msgpack_object_array *rows, const double point[3],
                            struct place *places)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < rows->size; n++) {
        const msgpack_object_array *row = &rows->ptr[n].via.array;
        double degrees[2];
        if (!numbers(row, 1, 2, degrees))
            continue;
        double metres = distance_between(point[0], point[1], degrees[0], degrees[1]);
        if (metres <= point[2])
            places[count++] = (struct place){&row->ptr[0].via.str, metres};
    }
    qsort(places, count, sizeof *places, nearer);
    return count;
}

/* near(latitude, longitude, metres): looks at every place. */
static int near(const struct perigee_api *api, struct perigee_call *call)
{
    msgpack_unpacked args, found;
    msgpack_sbuffer out;
    msgpack_packer packer;
    struct perigee_bytes bytes;
    double point[3];
    bool good = numbers(open_array(&args, api->args(call)), 0, 3, point);
    msgpack_unpacked_destroy(&args);
    if (!good)
        return api->error(call, PERIGEE_INVALID, "near takes degrees, degrees and metres");
    int code = api->select(call, "geo_places", NULL, PERIGEE_ALL, NULL, 0, 0, UINT64_MAX, &bytes);
    if (code != 0)
        return code;
    const msgpack_object_array *rows = open_array(&found, bytes);
    struct place *places = api->memory(call, (rows->size + 1) * sizeof *places);
    uint32_t count = places != NULL ? places_find(rows, point, places) : 0;
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&packer, &out, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, count);
    for (uint32_t n = 0; n < count; n++)
        pack_text(&packer, places[n].name);
    msgpack_unpacked_destroy(&found);
    code = give(api, call, &out);
    return places != NULL ? code : api->error(call, PERIGEE_MEMORY, "out of memory");
}

static const struct perigee_function functions[] = {
    {"distance", distance},
    {"visit", visit},
    {"near", near},
};

PERIGEE_MODULE("geo", functions);
