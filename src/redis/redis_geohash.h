/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_GEOHASH_H
#define REDIS_REDIS_GEOHASH_H

/*
 * Places on earth as numbers of 52 bits: longitude and latitude, as fractions of their ranges of 26
 * bits each, with their bits in turn. Places that are close have numbers with a common beginning,
 * mostly, so a sorted set of these numbers can be searched by cells. The ranges are those of web
 * maps: latitudes end at 85.05112878.
 *
 * Cells, distances and what is searched are as Redis has them, to the bit.
 */
#include <stdbool.h>
#include <stdint.h>

enum { REDIS_GEOHASH_STEPS = 26 };

struct redis_place {
    double longitude, latitude;
};

/* Whether the number is defined for it. */
bool redis_place_valid(struct redis_place place);

/* The place as a score. */
double redis_geohash_encode(struct redis_place place);

/* The middle of a score's cell; of a score that is none, something. */
struct redis_place redis_geohash_decode(double score);

/* The 11 characters of the common geohash, whose latitudes end at 90. */
void redis_geohash_text(struct redis_place place, char out[11]);

/* In meters, on a sphere. */
double redis_geohash_distance(struct redis_place one, struct redis_place other);

/* What is searched, in meters: a circle, or a box that is as wide and as high. */
struct redis_geohash_shape {
    struct redis_place centre;
    bool box;
    double radius, width, height;
};

/* Whether the place is in it; then *distance is that from the centre. */
bool redis_geohash_within(const struct redis_geohash_shape *shape, struct redis_place place,
                          double *distance);

/* Scores from `from` on, below `to`. */
struct redis_geohash_cell {
    double from, to;
};

/* The cells in which the shape is, in the order in which they are searched; how many. */
enum { REDIS_GEOHASH_CELLS_MAX = 9 };
unsigned redis_geohash_cells(const struct redis_geohash_shape *shape,
                             struct redis_geohash_cell out[REDIS_GEOHASH_CELLS_MAX]);

#endif
