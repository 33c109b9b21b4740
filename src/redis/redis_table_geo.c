/* SPDX-License-Identifier: Apache-2.0 */

/* Rows of the command table: commands on places, which are sorted sets. In order of name. */
#include "redis/redis_table.h"

const struct redis_command redis__geo_commands[] = {
    {"geoadd", -5, W | M | ONE, KEY,
     "Add one or more geospatial items in the geospatial index represented using a sorted set.",
     "3.2.0", "geo", redis__geoadd},
    {"geodist", -4, R | ONE, KEY, "Returns the distance between two members of a geospatial index.",
     "3.2.0", "geo", redis__geodist},
    {"geohash", -2, R | ONE, KEY,
     "Returns members of a geospatial index as standard geohash strings.", "3.2.0", "geo",
     redis__geohash},
    {"geopos", -2, R | ONE, KEY, "Returns longitude and latitude of members of a geospatial index.",
     "3.2.0", "geo", redis__geopos},
    {"georadius", -6, W | M | MOVABLE, KEY,
     "Query a sorted set representing a geospatial index to fetch members matching a given maximum "
     "distance from a point.",
     "3.2.0", "geo", redis__georadius},
    {"georadius_ro", -6, R | ONE, KEY, "A read-only variant for GEORADIUS.", "3.2.10", "geo",
     redis__georadius_ro},
    {"georadiusbymember", -5, W | M | MOVABLE, KEY,
     "Query a sorted set representing a geospatial index to fetch members matching a given maximum "
     "distance from a member.",
     "3.2.0", "geo", redis__georadiusbymember},
    {"georadiusbymember_ro", -5, R | ONE, KEY, "A read-only variant for GEORADIUSBYMEMBER.",
     "3.2.10", "geo", redis__georadiusbymember_ro},
    {"geosearch", -7, R | ONE, KEY,
     "Query a sorted set representing a geospatial index to fetch members inside an area of a box "
     "or a circle.",
     "6.2.0", "geo", redis__geosearch},
    {"geosearchstore", -8, W | M, TWO_KEYS,
     "Query a sorted set representing a geospatial index to fetch members inside an area of a box "
     "or a circle, and store the result in another key.",
     "6.2.0", "geo", redis__geosearchstore},
    {.name = NULL},
};
