/* SPDX-License-Identifier: Apache-2.0 */

/* Places: scores and distances as Redis has them, and searches beside a look at everything. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "redis/redis_geohash.h"
#include "redis/redis_test.h"

static int setup(void **state)
{
    redis_setup(state);
    redis_fixture_run(fixture, "geoadd g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
    return 0;
}

static void places_are_scores(void **state)
{
    (void)state;
    expect("3479099956230698", "zscore g Palermo");
    expect("3479447370796909", "zscore g Catania");
    expect("[[\"13.36138933897018433\" \"38.11555639549629859\"] nil-array]", "geopos g Palermo x");
    expect("[\"sqc8b49rny0\" nil \"sqdtr74hyu0\"]", "geohash g Palermo x Catania");
    expect("0", "geoadd g xx 1 1 new");
    expect("0", "geoadd g nx 1 1 Palermo");
    expect("1", "geoadd g ch 14 38 Palermo");
    expect("!ERR invalid longitude,latitude pair 200.000000,100.000000", "geoadd g 200 100 x");
    expect("!ERR syntax error", "geoadd g nx xx 1 1 x");
    expect("!ERR value is not a valid float", "geoadd g x 1 x");
}

static void distances_are_those_of_a_sphere(void **state)
{
    (void)state;
    expect("\"166274.1516\"", "geodist g Palermo Catania");
    expect("\"166.2742\"", "geodist g Palermo Catania km");
    expect("\"103.3182\"", "geodist g Palermo Catania mi");
    expect("nil", "geodist g Palermo x");
    expect("nil", "geodist none a b");
    expect("!ERR unsupported unit provided. please use M, KM, FT, MI",
           "geodist g Palermo Catania cm");
}

static void places_are_found_by_circle_and_box(void **state)
{
    (void)state;
    expect("[[\"Palermo\" \"190.4424\"] [\"Catania\" \"56.4413\"]]",
           "georadius g 15 37 200 km withdist desc");
    expect("[\"Catania\"]", "geosearch g fromlonlat 15 37 byradius 200 km count 1");
    expect("[\"Catania\" \"Palermo\"]", "geosearch g fromlonlat 15 37 bybox 400 400 km asc");
    expect("[\"Palermo\"]", "georadiusbymember g Palermo 100 km");
    expect("1", "geosearchstore d g frommember Palermo byradius 100 km");
    expect("[\"Palermo\" 3479099956230698]", "zrange d 0 -1 withscores");
    expect("2", "georadius g 15 37 200 km storedist d");
    expect("2", "zcount d 56 191");
    expect("0", "georadius g 0 0 1 m store d");
    expect("0", "exists d");
    expect("[]", "geosearch none frommember x byradius 1 m");
    expect("!ERR could not decode requested zset member", "georadiusbymember g x 1 m");
    expect("!ERR radius cannot be negative", "georadius g 1 1 -1 m");
    expect("!ERR COUNT must be > 0", "georadius g 1 1 1 m count 0");
    expect("!ERR the ANY argument requires COUNT argument", "georadius g 1 1 1 m any");
    expect("!ERR syntax error", "georadius_ro g 1 1 1 m store d");
    expect("!ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for geosearch",
           "geosearch g byradius 1 m asc asc asc");
}

/* Away from the edges of the map, where cells of the other side are not looked at. */
static void a_search_finds_all_that_is_near(void **state)
{
    (void)state;
    enum { PLACES = 400, SEARCHES = 200 };
    struct random random;
    struct redis_place places[PLACES];
    random_create(&random, test_seed());
    for (unsigned n = 0; n < PLACES; n++) {
        struct redis_place place = {(double)random_below(&random, 40000) / 1000 - 20,
                                    (double)random_below(&random, 120000) / 1000 - 60};
        redis_fixture_run(fixture, "geoadd p %.17g %.17g p%u", place.longitude, place.latitude, n);
        places[n] = redis_geohash_decode(redis_geohash_encode(place));
    }
    for (unsigned search = 0; search < SEARCHES; search++) {
        const struct redis_place centre = places[random_below(&random, PLACES)];
        double radius = pow(10, (double)random_below(&random, 60) / 10), distance;
        struct redis_geohash_shape shape = {.centre = centre, .radius = radius};
        unsigned near = 0;
        for (unsigned n = 0; n < PLACES; n++)
            near += redis_geohash_within(&shape, places[n], &distance);
        char wanted[16];
        snprintf(wanted, sizeof wanted, "%u", near);
        expect(wanted, "geosearchstore d p fromlonlat %.17g %.17g byradius %.17g m",
               centre.longitude, centre.latitude, radius);
    }
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, setup, redis_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(places_are_scores),
        WITH_FIXTURE(distances_are_those_of_a_sphere),
        WITH_FIXTURE(places_are_found_by_circle_and_box),
        WITH_FIXTURE(a_search_finds_all_that_is_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
