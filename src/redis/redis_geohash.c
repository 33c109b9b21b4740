/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Geohashes; see the header. A search looks into the cell of the centre, at a size that is about
 * that of the shape, and into those of its eight neighbours that the shape reaches. Everything is
 * computed in the order in which Redis does it, since the last bit of a double depends on that.
 */
#include "redis/redis_geohash.h"

#include <math.h>

#define LATITUDE_MAX   85.05112878
#define LONGITUDE_MAX  180.0
#define EARTH_RADIUS_M 6372797.560856
#define MERCATOR_MAX_M 20037726.37

static double radians(double degrees)
{
    return degrees * (M_PI / 180.0);
}

static double degrees(double radians_)
{
    return radians_ / (M_PI / 180.0);
}

bool redis_place_valid(struct redis_place place)
{
    return place.longitude >= -LONGITUDE_MAX && place.longitude <= LONGITUDE_MAX &&
           place.latitude >= -LATITUDE_MAX && place.latitude <= LATITUDE_MAX;
}

/* ------------------------------------------------------------------------------------------- cells */

/* A cell of 2^-steps of the ranges. */
struct cell {
    uint32_t x, y;
    unsigned steps;
};

struct area {
    struct redis_place min, max;
};

/* Bits 0, 1, 2 .. to bits 0, 2, 4 .. */
static uint64_t bits_apart(uint64_t bits)
{
    bits = (bits | bits << 16) & 0x0000ffff0000ffff;
    bits = (bits | bits << 8) & 0x00ff00ff00ff00ff;
    bits = (bits | bits << 4) & 0x0f0f0f0f0f0f0f0f;
    bits = (bits | bits << 2) & 0x3333333333333333;
    return (bits | bits << 1) & 0x5555555555555555;
}

static uint32_t bits_together(uint64_t bits)
{
    bits &= 0x5555555555555555;
    bits = (bits | bits >> 1) & 0x3333333333333333;
    bits = (bits | bits >> 2) & 0x0f0f0f0f0f0f0f0f;
    bits = (bits | bits >> 4) & 0x00ff00ff00ff00ff;
    bits = (bits | bits >> 8) & 0x0000ffff0000ffff;
    return (uint32_t)(bits | bits >> 16);
}

static uint64_t cell_bits(struct cell cell)
{
    return bits_apart(cell.y) | bits_apart(cell.x) << 1;
}

static struct cell cell_of(struct redis_place place, double latitude_max, unsigned steps)
{
    double y = (place.latitude + latitude_max) / (latitude_max + latitude_max);
    double x = (place.longitude + LONGITUDE_MAX) / (LONGITUDE_MAX + LONGITUDE_MAX);
    double scale = (double)(1ULL << steps);
    return (struct cell){(uint32_t)(x * scale), (uint32_t)(y * scale), steps};
}

static double edge(uint32_t at, unsigned steps, double max)
{
    return -max + (at * 1.0 / (double)(1ULL << steps)) * (max + max);
}

static struct area area_of(struct cell cell)
{
    return (struct area){
        {edge(cell.x, cell.steps, LONGITUDE_MAX), edge(cell.y, cell.steps, LATITUDE_MAX)},
        {edge(cell.x + 1, cell.steps, LONGITUDE_MAX), edge(cell.y + 1, cell.steps, LATITUDE_MAX)}};
}

/* The cell so many to the east and to the north; behind the edge begins the other side. */
static struct cell neighbour(struct cell cell, int east, int north)
{
    uint32_t mask = (uint32_t)((1ULL << cell.steps) - 1);
    if (east)
        cell.x = (cell.x + (uint32_t)east) & mask;
    if (north)
        cell.y = (cell.y + (uint32_t)north) & mask;
    return cell;
}

/* ---------------------------------------------------------------------------------------- places */

double redis_geohash_encode(struct redis_place place)
{
    return (double)cell_bits(cell_of(place, LATITUDE_MAX, REDIS_GEOHASH_STEPS));
}

/* As conversions go where it means something, and without what is undefined elsewhere. */
static uint64_t score_bits(double score)
{
    const double limit = 9223372036854775808.0;
    if (score >= 0 && score < limit)
        return (uint64_t)score;
    if (score < 0 && score >= -limit)
        return (uint64_t)(int64_t)score;
    return 1ULL << 63;
}

static double middle(double min, double max, double limit)
{
    double value = (min + max) / 2;
    return value > limit ? limit : value < -limit ? -limit : value;
}

struct redis_place redis_geohash_decode(double score)
{
    uint64_t bits = score_bits(score);
    const struct area area =
        area_of((struct cell){bits_together(bits >> 1), bits_together(bits), REDIS_GEOHASH_STEPS});
    return (struct redis_place){middle(area.min.longitude, area.max.longitude, LONGITUDE_MAX),
                                middle(area.min.latitude, area.max.latitude, LATITUDE_MAX)};
}

void redis_geohash_text(struct redis_place place, char out[11])
{
    enum { TEXT_SIZE = 11, BITS = 5, KNOWN_BITS = 2 * REDIS_GEOHASH_STEPS };
    static const char LETTERS[] = "0123456789bcdefghjkmnpqrstuvwxyz";
    uint64_t bits = cell_bits(cell_of(place, 90, REDIS_GEOHASH_STEPS));
    for (unsigned n = 0; n < TEXT_SIZE - 1; n++)
        out[n] = LETTERS[bits >> (KNOWN_BITS - (n + 1) * BITS) & 31];
    out[TEXT_SIZE - 1] = LETTERS[0]; /* of its 5 bits 2 are known: none is used */
}

/* -------------------------------------------------------------------------------------- distances */

static double latitude_distance(double one, double other)
{
    return EARTH_RADIUS_M * fabs(radians(other) - radians(one));
}

double redis_geohash_distance(struct redis_place one, struct redis_place other)
{
    double v = sin((radians(other.longitude) - radians(one.longitude)) / 2);
    if (v == 0.0)
        return latitude_distance(one.latitude, other.latitude);
    double from = radians(one.latitude), to = radians(other.latitude);
    double u = sin((to - from) / 2);
    return 2.0 * EARTH_RADIUS_M * asin(sqrt(u * u + cos(from) * cos(to) * v * v));
}

bool redis_geohash_within(const struct redis_geohash_shape *shape, struct redis_place place,
                          double *distance)
{
    const struct redis_place beside = {shape->centre.longitude, place.latitude};
    if (shape->box &&
        (latitude_distance(place.latitude, shape->centre.latitude) > shape->height / 2 ||
         redis_geohash_distance(place, beside) > shape->width / 2))
        return false;
    *distance = redis_geohash_distance(shape->centre, place);
    return shape->box || *distance <= shape->radius;
}

/* ----------------------------------------------------------------------------------------- search */

/* So many that a cell is about as large as what is searched, and neighbours reach beyond it. */
static unsigned steps_of(double radius_m, double latitude)
{
    int steps = -1;
    if (radius_m == 0)
        return REDIS_GEOHASH_STEPS;
    for (; radius_m < MERCATOR_MAX_M; radius_m *= 2)
        steps++;
    if (fabs(latitude) > 66)
        steps -= fabs(latitude) > 80 ? 2 : 1;
    return steps < 1 ? 1 : steps > REDIS_GEOHASH_STEPS ? REDIS_GEOHASH_STEPS : (unsigned)steps;
}

/* What the shape reaches to. Away from the equator meridians come closer: the edge that is nearer
 * to the pole decides. */
static struct area bounds_of(const struct redis_geohash_shape *shape)
{
    double height = shape->box ? shape->height / 2 : shape->radius;
    double width = shape->box ? shape->width / 2 : shape->radius;
    struct redis_place centre = shape->centre;
    double up = degrees(height / EARTH_RADIUS_M);
    double far = centre.latitude < 0 ? centre.latitude - up : centre.latitude + up;
    double across = degrees(width / EARTH_RADIUS_M / cos(radians(far)));
    return (struct area){{centre.longitude - across, centre.latitude - up},
                         {centre.longitude + across, centre.latitude + up}};
}

/* Whether the neighbours do not reach as far as the shape. */
static bool too_small(struct cell cell, const struct area *bounds)
{
    return area_of(neighbour(cell, 0, 1)).max.latitude < bounds->max.latitude ||
           area_of(neighbour(cell, 0, -1)).min.latitude > bounds->min.latitude ||
           area_of(neighbour(cell, 1, 0)).max.longitude < bounds->max.longitude ||
           area_of(neighbour(cell, -1, 0)).min.longitude > bounds->min.longitude;
}

/* Whether the shape does not reach the neighbour. */
static bool unreached(const struct area *area, const struct area *bounds, int east, int north)
{
    return (north < 0 && area->min.latitude < bounds->min.latitude) ||
           (north > 0 && area->max.latitude > bounds->max.latitude) ||
           (east < 0 && area->min.longitude < bounds->min.longitude) ||
           (east > 0 && area->max.longitude > bounds->max.longitude);
}

static struct redis_geohash_cell scores_of(struct cell cell)
{
    unsigned shift = 2 * (REDIS_GEOHASH_STEPS - cell.steps);
    uint64_t bits = cell_bits(cell);
    return (struct redis_geohash_cell){(double)(bits << shift), (double)((bits + 1) << shift)};
}

unsigned redis_geohash_cells(const struct redis_geohash_shape *shape,
                             struct redis_geohash_cell out[REDIS_GEOHASH_CELLS_MAX])
{
    static const signed char ORDER[REDIS_GEOHASH_CELLS_MAX][2] = {
        {0, 0}, {0, 1}, {0, -1}, {1, 0}, {-1, 0}, {1, 1}, {-1, 1}, {1, -1}, {-1, -1}};
    const struct area bounds = bounds_of(shape);
    double radius =
        shape->box
            ? sqrt(shape->width / 2 * (shape->width / 2) + shape->height / 2 * (shape->height / 2))
            : shape->radius;
    unsigned steps = steps_of(radius, shape->centre.latitude), count = 0;
    struct cell centre = cell_of(shape->centre, LATITUDE_MAX, steps);
    if (steps > 1 && too_small(centre, &bounds))
        centre = cell_of(shape->centre, LATITUDE_MAX, --steps);
    const struct area area = area_of(centre);
    for (unsigned n = 0; n < REDIS_GEOHASH_CELLS_MAX; n++) {
        int east = ORDER[n][0], north = ORDER[n][1];
        if (steps >= 2 && unreached(&area, &bounds, east, north))
            continue;
        struct redis_geohash_cell cell = scores_of(neighbour(centre, east, north));
        bool known = false; /* of large cells several neighbours are the same */
        for (unsigned i = 0; i < count; i++)
            known = known || out[i].from == cell.from;
        if (!known)
            out[count++] = cell;
    }
    return count;
}
