/* SPDX-License-Identifier: Apache-2.0 */

/* `perigee wal`: what it prints of a log in a folder of its own, and what it says of damage. */
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

#include "base/clock.h"
#include "base/error.h"
#include "server/command.h"
#include "txn/txn.h"
#include "wal/wal.h"

static char folder[] = "/tmp/perigee-wal-XXXXXX";
static char output[4096], errors[4096];

static int nothing(uint64_t ts, const void *body, size_t size, void *arg)
{
    (void)ts;
    (void)body;
    (void)size;
    (void)arg;
    return 0;
}

/* Two blocks: a row of space 512 is written at timestamp 1 and deleted at 2, a second later. */
static int set_up(void **state)
{
    (void)state;
    static const char put[] = "\x80\x04\x01\x02\x03k1\x92\x01";
    static const char gone[] = "\x80\x04\x01\x02\x00k1";
    struct clock_manual clock;
    struct wal_replay_stats stats;
    struct wal_buffer *buffer;
    struct wal *wal;
    struct io *io;
    if (mkdtemp(folder) == NULL || io_posix_new(folder, false, &io) != 0)
        return -1;
    clock_manual_create(&clock, UINT64_C(1700000000000));
    const struct wal_options options = {
        .io = io, .durability = WAL_DURABILITY_COMMIT, .buffer_max = 1, .clock = &clock.base};
    assert_int_equal(wal_open(&options, nothing, NULL, &stats, &wal), 0);
    assert_int_equal(wal_buffer_open(wal, &buffer), 0);
    for (int n = 0; n < 2; n++) {
        const char *body = n == 0 ? put : gone;
        size_t size = n == 0 ? sizeof put - 1 : sizeof gone - 1;
        assert_int_equal(wal_reserve(buffer, size), 0);
        wal_begin(buffer);
        uint64_t ts = wal_clock_next(wal);
        wal_append(buffer, ts, body, size);
        wal_end(buffer);
        assert_int_equal(wal_wait(wal, ts), 0);
        clock_manual_advance_ms(&clock, 1500);
    }
    wal_buffer_close(buffer);
    assert_int_equal(wal_close(wal), 0);
    io_delete(io);
    return 0;
}

static int unlink_one(const char *name, uint64_t size, void *arg)
{
    (void)size;
    return io_unlink(arg, name);
}

static int tear_down(void **state)
{
    (void)state;
    struct io *io;
    assert_int_equal(io_posix_new(folder, false, &io), 0);
    assert_int_equal(io_list(io, unlink_one, io), 0);
    io_delete(io);
    int rc = rmdir(folder);
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    return rc;
}

/* Sends one of the standard streams to a file, and gives back what was written there. */
static int redirect(int fd, FILE *to)
{
    int kept = dup(fd);
    assert_true(dup2(fileno(to), fd) >= 0);
    return kept;
}

static void read_back(int fd, int kept, FILE *from, char *text, size_t size)
{
    assert_true(dup2(kept, fd) >= 0);
    close(kept);
    rewind(from);
    text[fread(text, 1, size - 1, from)] = 0;
    fclose(from);
}

/* `perigee wal` with up to three words in front of the folder. */
static int wal(const char *one, const char *two, const char *three)
{
    char words[4][64], *argv[5];
    const char *given[] = {one, two, three, folder};
    int argc = 0;
    for (size_t n = 0; n < 4; n++) {
        if (given[n] == NULL)
            continue;
        snprintf(words[argc], sizeof words[argc], "%s", given[n]);
        argv[argc] = words[argc];
        argc++;
    }
    argv[argc] = NULL;
    FILE *out = tmpfile(), *err = tmpfile();
    fflush(stdout);
    fflush(stderr);
    int kept_out = redirect(1, out), kept_err = redirect(2, err);
    int status = command_wal(argc, argv);
    fflush(stdout);
    fflush(stderr);
    read_back(1, kept_out, out, output, sizeof output);
    read_back(2, kept_err, err, errors, sizeof errors);
    return status;
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no '%s' in: %s", part, text);
}

static void records_are_lines_of_json(void **state)
{
    (void)state;
    assert_int_equal(wal(NULL, NULL, NULL), 0);
    assert_has(output, "{\"ts\":1,\"operations\":[{\"space\":512,\"incarnation\":1,\"key\":");
    assert_has(output, "{\"ts\":2,\"operations\":[{\"space\":512,");
    assert_has(output, "\"delete\":true}]}\n");
    char plain[sizeof output];
    memcpy(plain, output, sizeof plain);
    assert_int_equal(wal("cat", NULL, NULL), 0);
    assert_string_equal(output, plain);
    assert_int_equal(wal("cat", "--to", "1"), 0);
    assert_has(output, "{\"ts\":1,");
    assert_null(strstr(output, "{\"ts\":2,"));
}

static void blocks_say_where_they_are_and_when_they_were_cut(void **state)
{
    (void)state;
    assert_int_equal(wal("blocks", NULL, NULL), 0);
    assert_has(output, "2023-11-14T22:13:20.000Z");
    assert_has(output, "2023-11-14T22:13:21.500Z");
    assert_int_equal(wal("blocks", "--json", NULL), 0);
    assert_has(output, "{\"segment\":1,\"offset\":8192,\"bytes\":4096,\"incarnation\":1,"
                       "\"sequence\":2,\"durable_sequence\":1,\"previous_c\":1,\"c\":2,"
                       "\"time_ns\":1700000001500000000,\"chunks\":1,\"records\":1,");
}

static void segments_say_what_is_in_them(void **state)
{
    (void)state;
    assert_int_equal(wal("segments", "--json", NULL), 0);
    assert_has(output, "{\"segment\":1,\"version\":2,");
    assert_has(output, "\"used_bytes\":12288,\"incarnation\":1,\"index\":0,\"blocks\":2,"
                       "\"records\":2,\"first_ts\":1,\"last_ts\":2,");
    assert_int_equal(wal("segments", NULL, NULL), 0);
    assert_has(output, "12288");
}

static void a_whole_log_is_said_to_be_whole(void **state)
{
    (void)state;
    assert_int_equal(wal("verify", NULL, NULL), 0);
    assert_has(output, "whole, 1 segments, 2 blocks, 2 records up to timestamp 2, "
                       "cut at 2023-11-14T22:13:21.500Z");
    assert_int_equal(wal("verify", "--json", NULL), 0);
    assert_has(output, "\"whole\":true");
}

static void damage_is_named_by_file_offset_and_check(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "%s/wal-0000000000000001.log", folder);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 4096 + 180, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, 4096 + 180, SEEK_SET), 0);
    fputc(byte ^ 1, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(wal("verify", NULL, NULL), 1);
    assert_has(errors, "wal-0000000000000001.log, offset 4096: record checksum");
    assert_int_equal(wal("verify", "--from", "7"), 1);
    assert_has(errors, "wal-0000000000000007.log is missing");
}

static void arguments_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    assert_int_equal(wal("--from", "x", NULL), 1);
    assert_has(errors, "--from takes a number, not 'x'");
    assert_int_equal(wal("verify", "elsewhere", NULL), 1);
    assert_has(errors, "one folder");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(records_are_lines_of_json),
        TEST(blocks_say_where_they_are_and_when_they_were_cut),
        TEST(segments_say_what_is_in_them),
        TEST(a_whole_log_is_said_to_be_whole),
        TEST(damage_is_named_by_file_offset_and_check),
        TEST(arguments_that_mean_nothing_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
