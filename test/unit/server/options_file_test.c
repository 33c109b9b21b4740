/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A file of options is rewritten: what it becomes, which files are left alone, and what a reader finds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/options.h"
#include "server/options_file.h"

static char folder[64], path[96];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/perigee-options-file-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/options.lua", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void text_write(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void expect_text(const char *expected)
{
    char text[4096] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    assert_string_equal(text, expected);
}

static const struct options_pair TWO[] = {{"memory_max", "5"}, {"maxmemory-policy", "allkeys-lru"}};

static int rewrite(const char *text)
{
    text_write(text);
    return options_file_rewrite(path, TWO, 2);
}

static void expect(const char *before, const char *after)
{
    int rc = rewrite(before);
    if (rc)
        fail_msg("%s: %s", before, diag_message());
    expect_text(after);
    assert_int_equal(options_file_rewrite(path, TWO, 2), 0); /* and again changes nothing */
    expect_text(after);
}

static void values_are_replaced_in_place_and_new_ones_come_last(void **state)
{
    (void)state;
    expect("-- ours\nreturn {\n    memory_max = '2gb', -- much\n    dir = 'x'\n}\n",
           "-- ours\nreturn {\n    memory_max = 5, -- much\n    dir = 'x',\n"
           "    maxmemory_policy = 'allkeys-lru',\n}\n");
    expect("return{dir='x';}", "return{dir='x'; memory_max = 5, maxmemory_policy = 'allkeys-lru'}");
    expect("return {}", "return {memory_max = 5, maxmemory_policy = 'allkeys-lru'}");
    expect("return {\n} -- end\n",
           "return {\n    memory_max = 5,\n    maxmemory_policy = 'allkeys-lru',\n} -- end\n");
    expect("return {dir = 'x'}",
           "return {dir = 'x', memory_max = 5, maxmemory_policy = 'allkeys-lru'}");
}

static void a_name_may_be_written_in_each_way_that_stands_for_it(void **state)
{
    (void)state;
    expect("return {maxmemory = 1, ['maxmemory-policy'] = \"noeviction\", memory_max = 7}",
           "return {maxmemory = 5, ['maxmemory-policy'] = 'allkeys-lru', memory_max = 5}");
}

static void commas_braces_and_names_in_strings_and_comments_are_passed_over(void **state)
{
    (void)state;
    expect("return {\n  -- memory_max = 1, }\n  dir = 'a, } -- memory_max = 1\\'', --[[ }\n , ]]\n"
           "  listen = [==[x]], }]==], -- the last\n  memory_max = (1 + 2) * ({4, 5})[2], --}\n}\n",
           "return {\n  -- memory_max = 1, }\n  dir = 'a, } -- memory_max = 1\\'', --[[ }\n , ]]\n"
           "  listen = [==[x]], }]==], -- the last\n  memory_max = 5, --}\n"
           "    maxmemory_policy = 'allkeys-lru',\n}\n");
}

static void a_file_that_is_not_there_is_made_for_its_owner_alone(void **state)
{
    (void)state;
    struct stat status;
    assert_int_equal(options_file_rewrite(path, TWO, 2), 0);
    expect_text("-- Written by CONFIG REWRITE.\nreturn {\n    memory_max = 5,\n"
                "    maxmemory_policy = 'allkeys-lru',\n}\n");
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void permissions_and_links_stay(void **state)
{
    (void)state;
    struct stat status;
    char link[112];
    snprintf(link, sizeof link, "%s.link", path);
    text_write("return {}");
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(symlink(path, link), 0);
    int rc = options_file_rewrite(link, TWO, 2);
    assert_int_equal(lstat(link, &status), 0);
    unlink(link);
    assert_int_equal(rc, 0);
    assert_true(S_ISLNK(status.st_mode));
    expect_text("return {memory_max = 5, maxmemory_policy = 'allkeys-lru'}");
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
}

static void texts_come_back_as_they_were(void **state)
{
    (void)state;
    struct options options;
    const struct options_pair pair = {"dir", "a'b\\c\n\x01\"9"};
    assert_int_equal(options_file_rewrite(path, &pair, 1), 0);
    assert_int_equal(options_create(&options), 0);
    assert_int_equal(options_load_file(&options, path), 0);
    assert_string_equal(options.dir, pair.value);
    options_destroy(&options);
}

static void a_program_is_refused_with_the_line_and_stays(void **state)
{
    (void)state;
    static const char *const PROGRAMS[] = {
        "local mb = 1024\nreturn {memory_max = 3 * mb}",
        "return ({dir = 'x'})",
        "return {dir = 'x'} or {}",
        "return {\n  [1 + 2] = 'x'}",
        "return {\n  'x'}",
        "return {dir = 'x",
    };
    for (size_t n = 0; n < sizeof PROGRAMS / sizeof *PROGRAMS; n++) {
        assert_int_equal(rewrite(PROGRAMS[n]), ERROR_UNSUPPORTED);
        assert_non_null(strstr(diag_message(), "line "));
        assert_non_null(strstr(diag_message(), path));
        expect_text(PROGRAMS[n]);
    }
}

/* What can't be told apart from a comment or a value by looking is seen when it is run. */
static void what_would_change_another_option_is_refused(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "return {dir = {}}",          /* a table is never the same as another */
        "return {memory_max = nil,}", /* fine before; and after */
    };
    assert_int_equal(rewrite(TEXTS[0]), ERROR_UNSUPPORTED);
    expect_text(TEXTS[0]);
    expect(TEXTS[1], "return {memory_max = 5, maxmemory_policy = 'allkeys-lru'}");
    assert_int_equal(rewrite("return {dir = x.y}"), ERROR_INVALID);
}

static void a_folder_that_is_not_there_is_told(void **state)
{
    (void)state;
    assert_int_equal(options_file_rewrite("/nowhere/at/all.lua", TWO, 2), ERROR_IO);
    assert_non_null(strstr(diag_message(), "/nowhere/at/all.lua"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(values_are_replaced_in_place_and_new_ones_come_last),
        TEST(a_name_may_be_written_in_each_way_that_stands_for_it),
        TEST(commas_braces_and_names_in_strings_and_comments_are_passed_over),
        TEST(a_file_that_is_not_there_is_made_for_its_owner_alone),
        TEST(permissions_and_links_stay),
        TEST(texts_come_back_as_they_were),
        TEST(a_program_is_refused_with_the_line_and_stays),
        TEST(what_would_change_another_option_is_refused),
        cmocka_unit_test(a_folder_that_is_not_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
