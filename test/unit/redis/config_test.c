/* SPDX-License-Identifier: Apache-2.0 */

/* Settings of Redis: defaults, sizes of packed lists, names and letters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "redis/redis_config.h"

static void a_new_configuration_has_the_defaults_of_redis(void **state)
{
    (void)state;
    struct redis_config config;
    redis_config_create(&config);
    assert_int_equal(load_relaxed(&config.hash_max_listpack_entries), 512);
    assert_int_equal(load_relaxed(&config.hash_max_listpack_value), 64);
    assert_int_equal(load_relaxed(&config.set_max_intset_entries), 512);
    assert_int_equal(load_relaxed(&config.maxmemory_policy), REDIS_POLICY_NOEVICTION);
    assert_true(load_relaxed(&config.active_expire));
    assert_int_equal(redis_config_list_bytes(&config), 8192);
    assert_true(redis_config_list_entries(&config) == UINT64_MAX);
    assert_int_equal(redis_config_list_bytes(redis_config_default()), 8192);
}

static void a_packed_list_is_bounded_by_bytes_or_by_elements(void **state)
{
    (void)state;
    struct redis_config config;
    redis_config_create(&config);
    static const struct {
        int64_t size;
        uint64_t bytes, entries;
    } CASES[] = {{-1, 4096, UINT64_MAX},
                 {-2, 8192, UINT64_MAX},
                 {-3, 16384, UINT64_MAX},
                 {-4, 32768, UINT64_MAX},
                 {-5, 65536, UINT64_MAX},
                 {-6, 65536, UINT64_MAX},
                 {0, 4096, 1},
                 {1, 8192, 1},
                 {128, 8192, 128}};
    for (unsigned n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        store_relaxed(&config.list_max_listpack_size, CASES[n].size);
        assert_int_equal(redis_config_list_bytes(&config), CASES[n].bytes);
        assert_true(redis_config_list_entries(&config) == CASES[n].entries);
    }
}

static void every_policy_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(redis_policy_name(REDIS_POLICY_VOLATILE_LRU), "volatile-lru");
    assert_string_equal(redis_policy_name(REDIS_POLICY_ALLKEYS_LFU), "allkeys-lfu");
    assert_string_equal(redis_policy_name(REDIS_POLICY_NOEVICTION), "noeviction");
    assert_null(redis_policy_name(REDIS_POLICY_MAX));
}

static void letters_of_events_are_read_and_written_as_redis_does(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        {"", ""},     {"KEA", "AKE"},   {"EK", "KE"}, {"g$lshzxetd", "A"},
        {"Kg", "gK"}, {"KEmg", "gKEm"}, {"nK", "nK"}};
    for (unsigned n = 0; n < sizeof CASES / sizeof *CASES; n++) {
        char text[REDIS_NOTIFY_TEXT_SIZE];
        unsigned flags;
        assert_true(redis_notify_parse(CASES[n][0], strlen(CASES[n][0]), &flags));
        redis_notify_format(flags, text);
        assert_string_equal(text, CASES[n][1]);
    }
    unsigned flags;
    assert_false(redis_notify_parse("Kq", 2, &flags));
}

static void the_longest_text_of_events_fits(void **state)
{
    (void)state;
    char text[REDIS_NOTIFY_TEXT_SIZE];
    redis_notify_format(0x3fff & ~(unsigned)REDIS_NOTIFY_MODULE, text);
    assert_string_equal(text, "g$lshzxetnKEm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_configuration_has_the_defaults_of_redis),
        cmocka_unit_test(a_packed_list_is_bounded_by_bytes_or_by_elements),
        cmocka_unit_test(every_policy_has_its_name),
        cmocka_unit_test(letters_of_events_are_read_and_written_as_redis_does),
        cmocka_unit_test(the_longest_text_of_events_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
