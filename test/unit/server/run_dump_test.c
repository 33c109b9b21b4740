/* SPDX-License-Identifier: Apache-2.0 */

/* `perigee run`: what it prints, and with which status it ends, for runs in a folder of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "codec/key.h"
#include "server/command.h"
#include "storage/run_fixture.h"

static char folder[] = "/tmp/perigee-run-XXXXXX";
static char path[64];

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/r", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    int rc = rmdir(folder);
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    return rc;
}

/* Three versions: [1] = [1,"one"], [1] deleted earlier, and bytes that are neither key nor tuple. */
static void write_run(void)
{
    struct io *io;
    struct run_writer *writer;
    unsigned char key[16];
    size_t size = (size_t)(key_encode_uint(key, 1) - key);
    assert_int_equal(io_posix_new(folder, false, &io), 0);
    const struct run_options options = {.io = io,
                                        .name = "r",
                                        .space_id = 512,
                                        .incarnation = 2,
                                        .index_id = 1,
                                        .level = 3,
                                        .sequence = 4,
                                        .up_to_ts = 20};
    const struct engine_row rows[] = {
        {key, size, 17, "\x92\x01\xa3one", 6},
        {key, size, 16, NULL, 0},
        {(const unsigned char *)"\xff\xff", 2, 5, "\xc1", 1},
    };
    assert_int_equal(run_writer_new(&options, &writer), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(run_writer_add(writer, &rows[i]), 0);
    assert_int_equal(run_writer_finish(writer, NULL), 0);
    io_delete(io);
}

static void damage(long offset)
{
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    fputc(byte ^ 1, file);
    assert_int_equal(fclose(file), 0);
}

/* Runs the command with what it prints, on both outputs, in `output`. Returns its status. */
static char output[2000];

static int command(const char *first, const char *second, const char *third, const char *fourth)
{
    char *argv[4];
    const char *words[] = {first, second, third, fourth};
    int argc = 0, saved[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    while (argc < 4 && words[argc] != NULL) {
        argv[argc] = (char *)(uintptr_t)words[argc];
        argc++;
    }
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(NULL);
    dup2(fileno(file), STDOUT_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    int status = command_run(argc, argv);
    fflush(NULL);
    dup2(saved[0], STDOUT_FILENO);
    dup2(saved[1], STDERR_FILENO);
    close(saved[0]);
    close(saved[1]);
    rewind(file);
    size_t size = fread(output, 1, sizeof output - 1, file);
    output[size] = '\0';
    fclose(file);
    return status;
}

static const char FIRST[] = "{\"key\":[1],\"ts\":17,\"tuple\":[1,\"one\"]}\n";

static void cat_prints_a_line_of_json_for_each_version(void **state)
{
    (void)state;
    char expected[300];
    write_run();
    assert_int_equal(command("cat", path, NULL, NULL), 0);
    snprintf(expected, sizeof expected, "%s%s%s", FIRST,
             "{\"key\":[1],\"ts\":16,\"delete\":true}\n",
             "{\"key\":{\"$bin\":\"//8=\"},\"ts\":5,\"tuple\":{\"$bin\":\"wQ==\"}}\n");
    assert_string_equal(output, expected);
}

static void cat_stops_at_its_limit(void **state)
{
    (void)state;
    write_run();
    assert_int_equal(command("cat", path, "--limit", "1"), 0);
    assert_string_equal(output, FIRST);
    assert_int_equal(command("cat", "--limit=0", path, NULL), 0);
    assert_string_equal(output, "");
    assert_int_equal(command("cat", path, "--limit", "x"), 1);
    assert_non_null(strstr(output, "--limit takes a number of rows, not 'x'"));
}

static void stats_print_what_the_run_says_about_itself(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "\"format_version\": 1,",
        "\"space\": 512,",
        "\"incarnation\": 2,",
        "\"index\": 1,",
        "\"level\": 3,",
        "\"sequence\": 4,",
        "\"up_to_ts\": 20,",
        "\"rows\": 3,",
        "\"tombstones\": 1,",
        "\"min_ts\": 5,",
        "\"max_ts\": 17,",
        "\"blocks\": 1,",
        "\"compression\": \"none\",",
        "\"dictionary_bytes\": 0,",
        "\"filter\": \"none\",",
        "\"filter_bytes\": 0,",
        "\"first_key\": [1],",
        "\"last_key\": {\"$bin\":\"//8=\"}\n}\n",
    };
    write_run();
    assert_int_equal(command("stats", path, NULL, NULL), 0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (strstr(output, lines[i]) == NULL)
            fail_msg("no %s in %s", lines[i], output);
}

static void verify_says_that_a_file_is_whole_or_names_the_damage(void **state)
{
    (void)state;
    char expected[300];
    write_run();
    assert_int_equal(command("verify", path, NULL, NULL), 0);
    snprintf(expected, sizeof expected, "%s: whole, 3 rows\n", path);
    assert_string_equal(output, expected);
    damage(100);
    assert_int_equal(command("verify", path, NULL, NULL), 1);
    snprintf(expected, sizeof expected, "perigee: %s, offset 64: block checksum\n", path);
    assert_string_equal(output, expected);
    assert_int_equal(command("cat", path, NULL, NULL), 1);
    assert_string_equal(output, expected);
}

static void verify_goes_on_after_a_file_that_is_damaged(void **state)
{
    (void)state;
    write_run();
    assert_int_equal(command("verify", "/nowhere/r", path, NULL), 1);
    assert_non_null(strstr(output, "there is no file /nowhere/r"));
    assert_int_equal(command("verify", folder, path, NULL), 1);
    assert_non_null(strstr(output, "there is no file /tmp/perigee-run-"));
    assert_non_null(strstr(output, ": whole, 3 rows"));
}

static void a_wrong_word_is_answered_with_the_right_ones(void **state)
{
    (void)state;
    assert_int_equal(command(NULL, NULL, NULL, NULL), 1);
    assert_non_null(strstr(output, "perigee run verify FILE..."));
    assert_int_equal(command("dump", path, NULL, NULL), 1);
    assert_non_null(strstr(output, "perigee run cat FILE"));
    assert_int_equal(command("stats", NULL, NULL, NULL), 1);
    assert_int_equal(command("cat", NULL, NULL, NULL), 1);
    assert_int_equal(command("cat", path, path, NULL), 1);
    assert_int_equal(command("verify", NULL, NULL, NULL), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(cat_prints_a_line_of_json_for_each_version),
        TEST(cat_stops_at_its_limit),
        TEST(stats_print_what_the_run_says_about_itself),
        TEST(verify_says_that_a_file_is_whole_or_names_the_damage),
        TEST(verify_goes_on_after_a_file_that_is_damaged),
        TEST(a_wrong_word_is_answered_with_the_right_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
