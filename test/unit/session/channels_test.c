/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of channels against a plain matrix of who listens to what.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "session/session_channels.h"

enum { LISTENERS = 12, NAMES = 90, STEPS = 20000 };

static struct channels channels;
static struct channels_listener listeners[LISTENERS];
static bool listens[LISTENERS][NAMES][CHANNELS_KINDS];

/* Names of which some match some patterns: "a?" and "a*" are names of channels, too. */
static size_t name_of(unsigned number, char out[16])
{
    static const char *const KINDS[] = {"%u", "a%u", "a*%u", "?%u", "*", "%u*"};
    return (size_t)snprintf(out, 16, KINDS[number % 6], number / 6);
}

static void step(struct random *random)
{
    unsigned who = (unsigned)random_below(random, LISTENERS);
    unsigned number = (unsigned)random_below(random, NAMES);
    enum channels_kind kind = random_below(random, CHANNELS_KINDS);
    bool begin = random_below(random, 100) < 45;
    char name[16];
    size_t size = name_of(number, name);
    if (begin)
        assert_int_equal(channels_subscribe(&channels, &listeners[who], name, size, kind), 0);
    else
        channels_unsubscribe(&channels, &listeners[who], name, size, kind);
    for (unsigned other = 0; other < NAMES; other++) { /* different numbers may have one name */
        char same[16];
        if (name_of(other, same) == size && memcmp(same, name, size) == 0)
            listens[who][other][kind] = begin;
    }
}

static bool name_first(unsigned number)
{
    char name[16], other[16];
    size_t size = name_of(number, name);
    for (unsigned n = 0; n < number; n++)
        if (name_of(n, other) == size && memcmp(name, other, size) == 0)
            return false;
    return true;
}

static uint64_t receivers(unsigned number)
{
    char name[16], glob[16];
    size_t size = name_of(number, name);
    uint64_t count = 0;
    for (unsigned who = 0; who < LISTENERS; who++) {
        count += listens[who][number][0];
        for (unsigned other = 0; other < NAMES; other++) {
            const struct channels_channel *pattern =
                channels_find(&channels, glob, name_of(other, glob), CHANNELS_PATTERN);
            count += name_first(other) && listens[who][other][1] && pattern &&
                     channels_match(pattern, name, size);
        }
    }
    return count;
}

static void check(void)
{
    char name[16];
    for (unsigned who = 0; who < LISTENERS; who++) {
        unsigned count[CHANNELS_KINDS] = {0};
        for (unsigned number = 0; number < NAMES; number++)
            for (unsigned kind = 0; kind < CHANNELS_KINDS; kind++)
                count[kind] += name_first(number) && listens[who][number][kind];
        assert_int_equal(listeners[who].counts[CHANNELS_CHANNEL], count[0]);
        assert_int_equal(listeners[who].counts[CHANNELS_PATTERN], count[1]);
        assert_int_equal(listeners[who].counts[CHANNELS_SHARD], count[2]);
    }
    for (unsigned number = 0; number < NAMES; number++) {
        uint64_t count = 0;
        for (unsigned who = 0; who < LISTENERS; who++)
            count += listens[who][number][0];
        const struct channels_channel *channel =
            channels_find(&channels, name, name_of(number, name), CHANNELS_CHANNEL);
        assert_int_equal(channel ? channel->count : 0, count);
        assert_int_equal(
            channels_receivers(&channels, name, name_of(number, name), CHANNELS_CHANNEL),
            receivers(number));
    }
}

static void the_table_knows_who_listens_to_what(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    channels_create(&channels);
    for (unsigned who = 0; who < LISTENERS; who++)
        channels_listener_create(&listeners[who]);
    for (unsigned n = 0; n < STEPS; n++) {
        step(&random);
        if (n % 1000 == 0)
            check();
    }
    check();
    for (unsigned who = 0; who < LISTENERS; who++) {
        struct list *link;
        while ((link = list_first(&listeners[who].subscriptions)) != NULL)
            channels_subscription_end(&channels,
                                      list_entry(link, struct channels_subscription, by_listener));
    }
    assert_int_equal(channels.count, 0);
    assert_true(list_empty(&channels.patterns));
    channels_destroy(&channels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_table_knows_who_listens_to_what)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
