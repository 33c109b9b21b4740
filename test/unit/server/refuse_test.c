/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders that are not opened, and what a person is told: another server has it, a newer program
 * has written it, or a machine with the other order of bytes. Nothing in the folder changes by
 * being refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "codec/crc32c.h"
#include "db/checkpoint.h"
#include "db/ddl.h"
#include "server/server.h"
#include "server/server_process.h"
#include "storage/run/run_format.h"
#include "wal/wal_format.h"

enum { PATH_SIZE = 600 };

static struct options options;
static char folder[256];

/* A folder that has all kinds of files: a log, a manifest, a run. */
static int setup(void **state)
{
    (void)state;
    struct server *server;
    struct db_worker *worker;
    uint32_t id;
    log_level_set(LOG_ERROR);
    server_folder_make(folder);
    assert_int_equal(options_create(&options), 0);
    assert_int_equal(options_set(&options, "dir", folder, OPTIONS_ARGUMENT), 0);
    assert_int_equal(server_open(&options, NULL, false, &server), 0);
    assert_int_equal(db_worker_open(server_db(server), &worker), 0);
    assert_int_equal(ddl_space_create(worker, "s", 1, NULL, &id), 0);
    assert_int_equal(db_checkpoint(server_db(server)), 0);
    db_worker_close(worker);
    assert_int_equal(server_close(server), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    options_destroy(&options);
    server_folder_remove(folder);
    return 0;
}

/* The folder's only, or newest, file whose name has this end. */
static void file_named(const char *end, char path[PATH_SIZE])
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char name[256] = "";
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        size_t size = strlen(entry->d_name), end_size = strlen(end);
        if (size >= end_size && size < sizeof name &&
            strcmp(entry->d_name + size - end_size, end) == 0 && strcmp(entry->d_name, name) > 0)
            snprintf(name, sizeof name, "%s", entry->d_name);
    }
    closedir(dir);
    assert_true(name[0] != 0);
    snprintf(path, PATH_SIZE, "%s/%s", folder, name);
}

static void file_read(const char *path, void *data, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(pread(file, data, size, 0), size);
    close(file);
}

static void file_write(const char *path, const void *data, size_t size)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(pwrite(file, data, size, 0), size);
    close(file);
}

/* A checksum over names, sizes and contents of all files. */
static uint32_t folder_checksum(void)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    uint32_t sum = 0;
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        char path[PATH_SIZE];
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        assert_int_equal(stat(path, &status), 0);
        if (!S_ISREG(status.st_mode))
            continue;
        size_t size = (size_t)status.st_size;
        char *data = malloc(size + 1);
        assert_non_null(data);
        file_read(path, data, size);
        sum ^= crc32c(crc32c(0, entry->d_name, strlen(entry->d_name)), data, size);
        free(data);
    }
    closedir(dir);
    return sum;
}

/* It does not open, says so with these words, and changes nothing. */
static void expect_refused(int code, const char *const *words)
{
    struct server *server;
    uint32_t before = folder_checksum();
    assert_int_equal(server_open(&options, NULL, false, &server), code);
    for (; *words != NULL; words++)
        if (strstr(diag_message(), *words) == NULL)
            fail_msg("'%s' is not in: %s", *words, diag_message());
    assert_int_equal(folder_checksum(), before);
}

static void a_second_server_is_told_that_the_folder_is_in_use(void **state)
{
    (void)state;
    struct server *server, *second;
    assert_int_equal(server_open(&options, NULL, false, &server), 0);
    assert_int_equal(server_open(&options, NULL, false, &second), ERROR_LOCKED);
    assert_non_null(strstr(diag_message(), folder));
    assert_non_null(strstr(diag_message(), "in use by another perigee"));
    assert_int_equal(server_close(server), 0);
    assert_int_equal(server_open(&options, NULL, false, &server), 0);
    assert_int_equal(server_close(server), 0);
}

/* ---------------------------------------------------------------- the log */

static void log_header_change(void (*change)(struct wal_segment_header *header),
                              char path[PATH_SIZE])
{
    static unsigned char page[WAL_ALIGN];
    struct wal_segment_header header;
    file_named(".log", path);
    file_read(path, page, sizeof page);
    memcpy(&header, page, sizeof header);
    change(&header);
    header.checksum = 0;
    memcpy(page, &header, sizeof header);
    header.checksum = crc32c(0, page, sizeof page);
    memcpy(page, &header, sizeof header);
    file_write(path, page, sizeof page);
}

static void log_make_newer(struct wal_segment_header *header)
{
    header->version = WAL_FORMAT_VERSION + 1;
}

static void log_swap(struct wal_segment_header *header)
{
    header->magic = __builtin_bswap64(header->magic);
}

static void a_log_of_a_newer_format_is_refused(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    log_header_change(log_make_newer, path);
    expect_refused(ERROR_VERSION, (const char *const[]){strrchr(path, '/') + 1, "format version",
                                                        "newer Perigee", NULL});
}

static void a_log_of_the_other_order_of_bytes_is_refused(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    log_header_change(log_swap, path);
    expect_refused(ERROR_VERSION,
                   (const char *const[]){strrchr(path, '/') + 1, "other order of bytes", NULL});
}

/* ---------------------------------------------------------------- runs */

static void run_header_change(void (*change)(struct run_header *header), char path[PATH_SIZE])
{
    struct run_header header;
    file_named(".run", path);
    file_read(path, &header, sizeof header);
    change(&header);
    header.checksum = 0;
    header.checksum = crc32c(0, &header, sizeof header);
    file_write(path, &header, sizeof header);
}

static void run_make_newer(struct run_header *header)
{
    header->version = RUN_FORMAT_VERSION + 1;
}

static void run_swap(struct run_header *header)
{
    header->magic = __builtin_bswap64(header->magic);
}

static void a_run_of_a_newer_format_is_refused(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    run_header_change(run_make_newer, path);
    expect_refused(ERROR_VERSION, (const char *const[]){strrchr(path, '/') + 1, "format version",
                                                        "or a later one", NULL});
}

static void a_run_of_the_other_order_of_bytes_is_refused(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    run_header_change(run_swap, path);
    expect_refused(ERROR_VERSION,
                   (const char *const[]){strrchr(path, '/') + 1, "byte order", NULL});
}

/* ---------------------------------------------------------------- the manifest */

static void manifest_replace(const char *from, const char *to)
{
    char path[PATH_SIZE], text[256] = "";
    file_named("manifest", path);
    file_read(path, text, 100);
    char *at = strstr(text, from);
    assert_non_null(at);
    assert_int_equal(strlen(from), strlen(to));
    memcpy(at, to, strlen(to));
    file_write(path, text, 100);
}

static void a_manifest_of_a_newer_format_is_refused(void **state)
{
    (void)state;
    manifest_replace("manifest 1", "manifest 9");
    expect_refused(ERROR_VERSION,
                   (const char *const[]){"manifest", "format version 9", "a newer perigee", NULL});
}

/* The words for the two orders have different lengths, so a byte of the next line gives way. */
static void a_manifest_of_the_other_order_of_bytes_is_refused(void **state)
{
    (void)state;
    manifest_replace("little-endian", "big-endian\ncl");
    expect_refused(ERROR_VERSION,
                   (const char *const[]){"manifest", "another order of bytes", NULL});
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void a_backup_is_not_served(void **state)
{
    (void)state;
    char backup[256], path[PATH_SIZE];
    struct server *server;
    server_folder_make(backup);
    snprintf(path, sizeof path, "%s/backup", backup);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(options_set(&options, "dir", backup, OPTIONS_ARGUMENT), 0);
    assert_int_equal(server_open(&options, NULL, false, &server), ERROR_INVALID);
    assert_non_null(strstr(diag_message(), "is a backup"));
    assert_non_null(strstr(diag_message(), backup));
    server_folder_remove(backup);
}

/* Each of these alone would do; together they leave too little for the Lua of two workers. */
static void parts_of_memory_that_leave_too_little_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *message;
    } steps[] = {{"memory_cache", "81", "'memory_cache' is at most 80 percent, not 81"},
                 {"memory_cache", "80", NULL},
                 {"memory_lua", "16", "'memory_lua' is at most 15 percent, not 16"},
                 {"memory_lua", "15", NULL}, /* there is no limit of which it would be a part */
                 {"workers", "2", NULL},
                 {"memory_max", "100mb",
                  "15 percent of memory_max leave 7864320 bytes for the Lua "
                  "of each of 2 workers, which needs 8388608"},
                 {"memory_max", "120mb", NULL}};
    for (size_t n = 0; n < sizeof steps / sizeof *steps; n++) {
        struct server *server;
        assert_int_equal(options_set(&options, steps[n].name, steps[n].value, OPTIONS_ARGUMENT), 0);
        int rc = server_open(&options, NULL, false, &server);
        assert_int_equal(rc, steps[n].message == NULL ? 0 : ERROR_INVALID);
        if (rc != 0)
            assert_non_null(strstr(diag_message(), steps[n].message));
        else
            assert_int_equal(server_close(server), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_second_server_is_told_that_the_folder_is_in_use),
        TEST(a_backup_is_not_served),
        TEST(parts_of_memory_that_leave_too_little_are_refused),
        TEST(a_log_of_a_newer_format_is_refused),
        TEST(a_log_of_the_other_order_of_bytes_is_refused),
        TEST(a_run_of_a_newer_format_is_refused),
        TEST(a_run_of_the_other_order_of_bytes_is_refused),
        TEST(a_manifest_of_a_newer_format_is_refused),
        TEST(a_manifest_of_the_other_order_of_bytes_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
