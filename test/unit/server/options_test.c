/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Options: values and their errors, which source counts, and the document that is made of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "server/nearest.h"
#include "server/options.h"
#include "storage/cache/cache.h"
#include "wal/wal.h"

static struct options options;
static char *NO_ENVIRONMENT[] = {NULL};

static int setup(void **state)
{
    (void)state;
    return options_create(&options);
}

static int teardown(void **state)
{
    (void)state;
    options_destroy(&options);
    return 0;
}

static void argument(const char *name, const char *value)
{
    assert_int_equal(options_set(&options, name, value, OPTIONS_ARGUMENT), 0);
}

#define assert_refused(rc, part)                           \
    do {                                                   \
        assert_int_equal((rc), ERROR_INVALID);             \
        if (!strstr(diag_message(), (part)))               \
            fail_msg("the message is %s", diag_message()); \
    } while (0)

static void defaults_are_as_declared(void **state)
{
    (void)state;
    assert_string_equal(options.dir, "var");
    assert_string_equal(options.listen, "127.0.0.1:6379");
    assert_int_equal(options.durability, WAL_DURABILITY_COMMIT);
    assert_int_equal(options.lua_time_max, 5000);
    assert_int_equal(options.log_level, LOG_INFO);
    assert_int_equal(options.request_max, 512 << 20);
}

static void sizes_and_times_have_units(void **state)
{
    (void)state;
    argument("memory_max", "3");
    assert_int_equal(options.memory_max, 3);
    argument("memory_max", "2GB");
    assert_int_equal(options.memory_max, 2ull << 30);
    argument("memory_max", "10 kb");
    assert_int_equal(options.memory_max, 10240);
    argument("lua_time_max", "250");
    assert_int_equal(options.lua_time_max, 250);
    argument("lua_time_max", "2min");
    assert_int_equal(options.lua_time_max, 120000);
}

static void a_switch_is_a_word_or_a_truth(void **state)
{
    (void)state;
    static const char *const VALUES[][2] = {{"on", "off"}, {"true", "false"}, {"ON", "False"}};
    for (size_t n = 0; n < sizeof VALUES / sizeof *VALUES; n++) {
        argument("log_compression", VALUES[n][0]);
        assert_true(options.log_compression);
        argument("log_compression", VALUES[n][1]);
        assert_false(options.log_compression);
    }
}

static void a_bad_value_is_told_what_would_be_right(void **state)
{
    (void)state;
    static const char *const BAD[][2] = {
        {"memory_max", "3x"},
        {"memory_max", ""},
        {"memory_max", "-1"},
        {"memory_max", "99999999999999999999"},
        {"memory_max", "18446744073709551615"},
        {"memory_max", "20000000tb"},
        {"lua_time_max", "5d"},
        {"lua_time_max", "2000000h"},
        {"workers", "two"},
        {"workers", "1kb"},
        {"workers", "4294967296"},
        {"durability", "always"},
        {"log_level", "loud"},
        {"balance", "maybe"},
        {"io_depth", "0"},
        {"io_depth", "257"},
        {"compaction_threads", "17"},
        {"cache_policy", "mru"},
        {"log_segment_max", "65535"},
    };
    for (size_t n = 0; n < sizeof BAD / sizeof *BAD; n++) {
        int rc = options_set(&options, BAD[n][0], BAD[n][1], OPTIONS_ARGUMENT);
        assert_refused(rc, BAD[n][0]);
        assert_non_null(strstr(diag_message(), " is "));
    }
    assert_refused(options_set(&options, "durability", "always", OPTIONS_ARGUMENT),
                   "commit, interval or none");
    assert_int_equal(options.durability, WAL_DURABILITY_COMMIT);
}

static void a_cache_policy_is_each_that_there_is_and_others_are_told_them_all(void **state)
{
    (void)state;
    const char *name;
    char text[OPTIONS_TEXT_MAX + 1];
    size_t number = 0;
    assert_string_equal(cache_policy_name((unsigned)options.cache_policy), CACHE_POLICY_DEFAULT);
    while (strcmp(options_name(number), "cache_policy") != 0)
        number++;
    for (unsigned n = 0; (name = cache_policy_name(n)) != NULL; n++) {
        argument("cache_policy", name);
        options_format(&options, number, text);
        assert_string_equal(text, name);
        assert_refused(options_set(&options, "cache_policy", "mru", OPTIONS_ARGUMENT), name);
        assert_int_equal(options.cache_policy, n);
    }
    assert_refused(options_set(&options, "cache_policy", "", OPTIONS_ARGUMENT),
                   "clock, lru, 2q, lru-k, lirs, arc or arc-scan");
}

static void an_unknown_option_is_told_the_nearest(void **state)
{
    (void)state;
    assert_refused(options_set(&options, "listne", "x", OPTIONS_FILE), "did you mean 'listen'?");
    assert_refused(options_set(&options, "memory", "x", OPTIONS_FILE),
                   "did you mean 'memory_max'?");
    assert_refused(options_set(&options, "zzzzzzzz", "x", OPTIONS_FILE), "lists them");
}

static void settings_have_the_names_that_redis_has_for_them(void **state)
{
    (void)state;
    argument("maxmemory", "3mb"); /* is an option */
    assert_int_equal(options.memory_max, 3 << 20);
    char *list[] = {"--maxmemory-policy", "allkeys-lru", "--slowlog_max_len=7"};
    char **argv = list;
    int argc = 3;
    char *environment[] = {"PERIGEE_SLOWLOG_MAX_LEN=8", "PERIGEE_HASH_MAX_ZIPLIST_ENTRIES=9", NULL};
    assert_int_equal(options_load(&options, &argc, &argv, environment), 0);
    assert_int_equal(options.setting_count, 3);
    assert_string_equal(options.settings[0].name, "maxmemory-policy");
    assert_string_equal(options.settings[1].name, "slowlog-max-len");
    assert_string_equal(options.settings[1].value, "7"); /* the command line's */
    assert_string_equal(options.settings[2].name, "hash-max-listpack-entries");
    assert_refused(options_set(&options, "slowlog-max-len", "x", OPTIONS_FILE), "slowlog-max-len");
    assert_refused(options_set(&options, "appendonly", "yes", OPTIONS_FILE), "no option");
}

static void the_stronger_source_counts_in_whatever_order(void **state)
{
    (void)state;
    assert_int_equal(options_set(&options, "workers", "1", OPTIONS_ARGUMENT), 0);
    assert_int_equal(options_set(&options, "workers", "2", OPTIONS_ENVIRONMENT), 0);
    assert_int_equal(options_set(&options, "workers", "3", OPTIONS_FILE), 0);
    assert_int_equal(options.workers, 1);
    assert_int_equal(options_set(&options, "dir", "file", OPTIONS_FILE), 0);
    assert_int_equal(options_set(&options, "dir", "environment", OPTIONS_ENVIRONMENT), 0);
    assert_string_equal(options.dir, "environment");
    assert_int_equal(options_set(&options, "dir", "argument", OPTIONS_ARGUMENT), 0);
    assert_string_equal(options.dir, "argument");
    /* what does not count has to be right all the same */
    assert_refused(options_set(&options, "workers", "many", OPTIONS_FILE), "workers");
}

static void arguments_end_at_what_is_no_option(void **state)
{
    (void)state;
    char *list[] = {"--dir", "here", "--lua-time-max=7s", "--password=a=b", "file.lua", "--dir"};
    char **argv = list;
    int argc = 6;
    assert_int_equal(options_load(&options, &argc, &argv, NO_ENVIRONMENT), 0);
    assert_string_equal(options.dir, "here");
    assert_string_equal(options.password, "a=b");
    assert_int_equal(options.lua_time_max, 7000);
    assert_int_equal(argc, 2);
    assert_string_equal(argv[0], "file.lua");
}

static void an_argument_without_its_value_is_an_error(void **state)
{
    (void)state;
    char *list[] = {"--dir"};
    char **argv = list;
    int argc = 1;
    assert_refused(options_load(&options, &argc, &argv, NO_ENVIRONMENT), "--dir needs a value");
}

static void the_environment_is_read_and_checked(void **state)
{
    (void)state;
    char *good[] = {"HOME=/x",
                    "PERIGEE_MEMORY_MAX=1mb",
                    "PERIGEE_SEED=5",
                    "PERIGEE_CRASH_POINT=wal.block.half",
                    "PERIGEE_SIMD=scalar",
                    NULL};
    assert_int_equal(options_load_environment(&options, good), 0);
    assert_int_equal(options.memory_max, 1 << 20);
    char *bad[] = {"PERIGEE_MEMORY_MIX=1mb", NULL};
    assert_refused(options_load_environment(&options, bad), "PERIGEE_MEMORY_MIX");
    assert_refused(options_load_environment(&options, bad), "did you mean 'memory_max'?");
}

static void file_write(char *path, const char *text)
{
    strcpy(path, "/tmp/perigee-options-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static int file_load(const char *text)
{
    char path[64];
    file_write(path, text);
    int rc = options_load_file(&options, path);
    unlink(path);
    return rc;
}

static void a_file_is_lua_that_returns_a_table(void **state)
{
    (void)state;
    assert_int_equal(file_load("local mb = 1024 * 1024\n"
                               "return {dir = 'there', memory_max = 3 * mb, durability = 'none', "
                               "log_compression = true}"),
                     0);
    assert_string_equal(options.dir, "there");
    assert_int_equal(options.memory_max, 3 << 20);
    assert_int_equal(options.durability, WAL_DURABILITY_NONE);
    assert_true(options.log_compression);
}

static void what_is_wrong_in_a_file_is_told_with_its_name(void **state)
{
    (void)state;
    assert_refused(file_load("return {dri = 'x'}"), "did you mean 'dir'?");
    assert_refused(file_load("return {'x'}"), "names of options");
    assert_refused(file_load("return {dir = {}}"), "not a table");
    assert_refused(file_load("return 7"), "return a table");
    assert_refused(file_load("return {"), "perigee-options");
    assert_refused(file_load("return os.getenv('HOME')"), "os");
    assert_refused(options_load_file(&options, "/nowhere/at/all"), "/nowhere/at/all");
}

static void values_are_shown_as_one_writes_them_and_secrets_are_not(void **state)
{
    (void)state;
    char text[OPTIONS_TEXT_MAX + 1];
    argument("memory_max", "2048mb");
    argument("password", "open sesame");
    options_format(&options, OPTIONS_memory_max, text);
    assert_string_equal(text, "2gb");
    options_format(&options, OPTIONS_lua_time_max, text);
    assert_string_equal(text, "5s");
    options_format(&options, OPTIONS_durability, text);
    assert_string_equal(text, "commit");
    options_format(&options, OPTIONS_password, text);
    assert_string_equal(text, "(set)");
}

static void docs_configuration_is_what_the_list_of_options_says(void **state)
{
    (void)state;
    char *made = NULL, *found = NULL;
    size_t made_size, found_size;
    FILE *out = open_memstream(&made, &made_size);
    options_print_markdown(out);
    fclose(out);
    FILE *in = fopen("docs/configuration.md", "r");
    assert_non_null(in);
    out = open_memstream(&found, &found_size);
    for (int c; (c = fgetc(in)) != EOF;)
        fputc(c, out);
    fclose(out);
    fclose(in);
    if (strcmp(made, found) != 0)
        fail_msg("run: perigee options >docs/configuration.md");
    free(made);
    free(found);
}

static void distances_count_edits(void **state)
{
    (void)state;
    assert_int_equal(nearest_distance("", ""), 0);
    assert_int_equal(nearest_distance("serve", ""), 5);
    assert_int_equal(nearest_distance("", "serve"), 5);
    assert_int_equal(nearest_distance("serve", "srve"), 1);
    assert_int_equal(nearest_distance("serve", "sevre"), 1);
    assert_int_equal(nearest_distance("serve", "server"), 1);
    assert_int_equal(nearest_distance("kitten", "sitting"), 3);
}

#define in_options(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_options(defaults_are_as_declared),
        in_options(sizes_and_times_have_units),
        in_options(a_switch_is_a_word_or_a_truth),
        in_options(a_bad_value_is_told_what_would_be_right),
        in_options(a_cache_policy_is_each_that_there_is_and_others_are_told_them_all),
        in_options(an_unknown_option_is_told_the_nearest),
        in_options(settings_have_the_names_that_redis_has_for_them),
        in_options(the_stronger_source_counts_in_whatever_order),
        in_options(arguments_end_at_what_is_no_option),
        in_options(an_argument_without_its_value_is_an_error),
        in_options(the_environment_is_read_and_checked),
        in_options(a_file_is_lua_that_returns_a_table),
        in_options(what_is_wrong_in_a_file_is_told_with_its_name),
        in_options(values_are_shown_as_one_writes_them_and_secrets_are_not),
        in_options(docs_configuration_is_what_the_list_of_options_says),
        cmocka_unit_test(distances_count_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
