/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the real io does where the system refuses: no io_uring, a file that may not grow, an
 * unaligned access on a file opened direct. What needs limits on the process, or ends it, runs in a
 * child.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "io/io.h"
#include "io/io_schedule.h"

static char dir[64];
static _Alignas(IO_ALIGN) unsigned char memory[IO_ALIGN * 4];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "./io_posix_test.XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof(path), "%s/file", dir);
    unlink(path);
    return rmdir(dir);
}

/* Runs `child` in a child process and returns its wait status; the child exits with what it
 * returns. */
static int status_of(int (*child)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(child());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_child_ends_well(int (*child)(void))
{
    int status = status_of(child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* For children: gives the line where it went wrong as exit status. */
#define CHECK(expression)                                                                \
    do {                                                                                 \
        if (!(expression)) {                                                             \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #expression, diag_message()); \
            return 1;                                                                    \
        }                                                                                \
    } while (0)

/* From now on io_uring_setup gives EPERM, as under a container's filter. */
static int forbid_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static int write_without_uring(void)
{
    struct io *io;
    struct io_queue *queue;
    struct io_file *file;
    struct io_completion done;
    CHECK(forbid_uring() == 0);
    CHECK(!io_uring_usable());
    CHECK(io_posix_new(dir, true, &io) == 0);
    CHECK(io_queue_new(io, 4, &queue) == 0);
    CHECK(strcmp(io->queue_variant, "threads") == 0);
    CHECK(io_open(io, "file", IO_WRITE | IO_CREATE, &file) == 0);
    CHECK(io_queue_write(queue, file, "text", 4, 0, true, 9) == 0);
    CHECK(io_queue_wait(queue, true, &done, 1) == 1);
    CHECK(done.cookie == 9 && done.result == 0);
    CHECK(io_size(file) == 4);
    io_queue_delete(queue);
    io_close(file);
    io_delete(io);
    return 0;
}

static void where_io_uring_is_forbidden_threads_write(void **state)
{
    (void)state;
    assert_child_ends_well(write_without_uring);
}

/* The file may grow to 6000 bytes only: a write of 8192 is short, and its rest fails. */
static int write_beyond_limit(bool uring, bool durable)
{
    struct rlimit limit = {6000, 6000};
    struct io *io;
    struct io_queue *queue;
    struct io_file *file;
    struct io_completion done;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(io_posix_new(dir, uring, &io) == 0);
    CHECK(io_queue_new(io, 4, &queue) == 0);
    CHECK(io_open(io, "file", IO_WRITE | IO_CREATE, &file) == 0);
    CHECK(io_queue_write(queue, file, memory, 8192, 0, durable, 9) == 0);
    CHECK(io_queue_wait(queue, true, &done, 1) == 1);
    CHECK(done.cookie == 9 && done.result == ERROR_IO && done.system_error == EFBIG);
    CHECK(io_size(file) == 6000);
    CHECK(io_write(file, memory, 8192, 0) == ERROR_IO);
    CHECK(strstr(diag_message(), "file") && strstr(diag_message(), strerror(EFBIG)));
    CHECK(io_queue_write(queue, file, memory, 6000, 0, durable, 10) == 0);
    CHECK(io_queue_wait(queue, true, &done, 1) == 1);
    CHECK(done.cookie == 10 && done.result == 0);
    io_queue_delete(queue);
    io_close(file);
    io_delete(io);
    return 0;
}

static int write_beyond_limit_by_any_way(void)
{
    for (int way = 0; way < 4; way++)
        CHECK(write_beyond_limit(way & 1, way & 2) == 0);
    return 0;
}

static void the_rest_of_a_short_write_is_tried_and_its_error_reported(void **state)
{
    (void)state;
    assert_child_ends_well(write_beyond_limit_by_any_way);
}

/* A write that was short when handed over: the limit is lifted before the completion is asked for. A
 * thread, ours or one of the kernel's for the ring, may have tried the rest before: TRIED_EARLY. */
enum { TRIED_EARLY = 255 };

static int write_in_two_parts(bool uring, bool durable)
{
    struct rlimit narrow = {6000, RLIM_INFINITY}, wide = {RLIM_INFINITY, RLIM_INFINITY};
    struct io *io;
    struct io_queue *queue;
    struct io_file *file;
    struct io_completion done;
    signal(SIGXFSZ, SIG_IGN);
    memset(memory, 'w', 8192);
    CHECK(io_posix_new(dir, uring, &io) == 0);
    CHECK(io_queue_new(io, 4, &queue) == 0);
    CHECK(io_open(io, "file", IO_WRITE | IO_CREATE | IO_TRUNCATE, &file) == 0);
    CHECK(setrlimit(RLIMIT_FSIZE, &narrow) == 0);
    CHECK(io_queue_write(queue, file, memory, 8192, 0, durable, 9) == 0);
    if (uring)
        CHECK(io_size(file) <= 6000);
    CHECK(setrlimit(RLIMIT_FSIZE, &wide) == 0);
    CHECK(io_queue_wait(queue, true, &done, 1) == 1);
    CHECK(done.cookie == 9);
    CHECK(done.result == 0 || done.system_error == EFBIG);
    bool whole = done.result == 0;
    if (whole) {
        memset(memory, 0, 8192);
        CHECK(io_read(file, memory, sizeof(memory), 0) == 8192);
        CHECK(memory[0] == 'w' && memory[5999] == 'w' && memory[6000] == 'w' &&
              memory[8191] == 'w');
    }
    io_queue_delete(queue);
    io_close(file);
    io_delete(io);
    return whole ? 0 : TRIED_EARLY;
}

static int write_in_two_parts_by_any_way(void)
{
    enum { TRIES_MAX = 1000 };
    for (int way = 0; way < 4; way++) {
        int rc = TRIED_EARLY;
        for (int n = 0; n < TRIES_MAX && rc == TRIED_EARLY; n++)
            rc = write_in_two_parts(way & 1, way & 2);
        CHECK(rc == 0 || (rc == TRIED_EARLY && !(way & 1))); /* our own threads are always early */
    }
    return 0;
}

static void a_short_write_is_completed(void **state)
{
    (void)state;
    assert_child_ends_well(write_in_two_parts_by_any_way);
}

/* /dev/null takes every write and refuses every flush. */
static void a_durable_write_is_followed_by_a_flush_whose_error_is_reported(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof(path), "%s/file", dir);
    assert_int_equal(symlink("/dev/null", path), 0);
    for (int uring = 0; uring < 2; uring++) {
        struct io *io;
        struct io_queue *queue;
        struct io_file *file;
        struct io_completion done;
        assert_int_equal(io_posix_new(dir, uring, &io), 0);
        assert_int_equal(io_queue_new(io, 4, &queue), 0);
        assert_int_equal(io_open(io, "file", IO_WRITE, &file), 0);
        assert_int_equal(io_write(file, "text", 4, 0), 0);
        assert_int_equal(io_sync(file), ERROR_IO);
        for (int durable = 0; durable < 2; durable++) {
            assert_int_equal(io_queue_write(queue, file, "text", 4, 0, durable, 1), 0);
            assert_int_equal(io_queue_wait(queue, true, &done, 1), 1);
            assert_int_equal(done.result, durable ? ERROR_IO : 0);
            assert_int_equal(done.system_error, durable ? EINVAL : 0);
        }
        io_queue_delete(queue);
        io_close(file);
        io_delete(io);
    }
}

static int write_unaligned(void)
{
    struct io *io;
    struct io_file *file;
    CHECK(freopen("/dev/null", "w", stderr) != NULL);
    signal(SIGABRT, SIG_DFL);
    CHECK(io_posix_new(dir, true, &io) == 0);
    CHECK(io_open(io, "file", IO_WRITE | IO_CREATE | IO_DIRECT, &file) == 0);
    io_write(file, memory + 1, IO_ALIGN, 0);
    return 0;
}

static void an_unaligned_write_on_a_file_opened_direct_fails_an_assertion(void **state)
{
    (void)state;
    int status = status_of(write_unaligned);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* Whether the file system takes direct writes of IO_ALIGN bytes, by asking it without an io. */
static bool takes_direct(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/file", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    bool takes = fd >= 0;
#ifdef STATX_DIOALIGN
    struct statx stat;
    if (takes && statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stat) == 0 &&
        (stat.stx_mask & STATX_DIOALIGN))
        takes = stat.stx_dio_offset_align != 0 && stat.stx_dio_offset_align <= IO_ALIGN &&
                stat.stx_dio_mem_align <= IO_ALIGN;
#endif
    close(fd);
    return takes;
}

static void the_page_cache_is_passed_where_the_file_system_takes_that(void **state)
{
    (void)state;
    bool takes = takes_direct();
    struct io *io;
    struct io_file *file;
    assert_int_equal(io_posix_new(dir, false, &io), 0);
    assert_int_equal(io_open(io, "file", IO_WRITE | IO_CREATE | IO_UNCACHED, &file), 0);
    assert_int_equal(file->uncached, takes);
    io_close(file);
    assert_int_equal(io_open(io, "file", IO_WRITE | IO_CREATE | IO_DIRECT, &file), 0);
    assert_int_equal(io_file_direct(file), takes);
    assert_string_equal(io->direct_variant, takes ? "direct" : "buffered");
    io_close(file);
    io_delete(io);
}

static void the_directory_is_made_for_its_owner_only(void **state)
{
    (void)state;
    struct io *io;
    struct stat stat_of_dir;
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(io_posix_new(dir, true, &io), 0);
    io_delete(io);
    assert_int_equal(stat(dir, &stat_of_dir), 0);
    assert_int_equal(stat_of_dir.st_mode & 0777, 0700);
    assert_int_equal(io_posix_new("./absent-parent/dir", true, &io), ERROR_NOT_FOUND);
    assert_non_null(strstr(diag_message(), "absent-parent"));
}

/* Whether the file system says of some part of the file that it was allocated and never written. */
static bool has_unwritten(const char *path)
{
    enum { EXTENTS = 64 };
    struct fiemap *map = calloc(1, sizeof(*map) + EXTENTS * sizeof(map->fm_extents[0]));
    int fd = open(path, O_RDONLY);
    assert_non_null(map);
    assert_true(fd >= 0);
    map->fm_length = FIEMAP_MAX_OFFSET;
    map->fm_extent_count = EXTENTS;
    bool found = false;
    if (ioctl(fd, FS_IOC_FIEMAP, map) == 0)
        for (unsigned i = 0; i < map->fm_mapped_extents; i++)
            found |= (map->fm_extents[i].fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0;
    close(fd);
    free(map);
    return found;
}

static void done_note(void *arg, uint64_t done)
{
    uint64_t *last = arg;
    assert_true(done > *last);
    *last = done;
}

static void allocated_zeros_are_written_and_no_holes(void **state)
{
    (void)state;
    enum { BYTES = (3 << 20) + IO_ALIGN };
    uint64_t done = 0;
    const struct io_between between = {done_note, &done};
    struct io *io;
    struct io_file *file;
    char path[128];
    struct stat stat_of_file;
    snprintf(path, sizeof(path), "%s/file", dir);
    assert_int_equal(io_posix_new(dir, true, &io), 0);
    for (int direct = 0; direct <= IO_DIRECT; direct += IO_DIRECT) {
        assert_int_equal(io_open(io, "file", IO_WRITE | IO_CREATE | direct, &file), 0);
        assert_int_equal(io_allocate_zeros(file, BYTES, &between), 0);
        assert_int_equal(done, BYTES);
        done = 0;
        assert_int_equal(stat(path, &stat_of_file), 0);
        assert_int_equal(stat_of_file.st_size, BYTES);
        assert_true(stat_of_file.st_blocks * 512 >= BYTES);
        assert_false(has_unwritten(path));
        io_close(file);
    }
    io_delete(io);
}

/* One byte of a file, -1: none. */
static int byte_at(int fd, off_t offset)
{
    unsigned char byte;
    return pread(fd, &byte, 1, offset) == 1 ? byte : -1;
}

static void a_removed_file_stays_whole_for_whoever_has_it_open_or_by_another_name(void **state)
{
    (void)state;
    enum { BYTES = 5 << 20 };
    struct io *io;
    struct io_file *file;
    char path[128], other[128];
    snprintf(path, sizeof(path), "%s/file", dir);
    snprintf(other, sizeof(other), "%s/other", dir);
    assert_int_equal(io_posix_new(dir, true, &io), 0);
    assert_int_equal(io_remove(io, "file"), ERROR_NOT_FOUND);
    for (int named = 0; named < 2; named++) {
        assert_int_equal(io_open(io, "file", IO_WRITE | IO_CREATE, &file), 0);
        assert_int_equal(io_write(file, "x", 1, BYTES - 1), 0);
        io_close(file);
        int fd = -1;
        if (named)
            assert_int_equal(link(path, other), 0);
        else
            assert_true((fd = open(path, O_RDONLY)) >= 0);
        assert_int_equal(io_remove(io, "file"), 0);
        assert_int_equal(access(path, F_OK), -1);
        if (named)
            assert_true((fd = open(other, O_RDONLY)) >= 0);
        assert_int_equal(byte_at(fd, BYTES - 1), 'x');
        close(fd);
    }
    assert_int_equal(io_remove(io, "other"), 0);
    assert_int_equal(access(other, F_OK), -1);
    io_delete(io);
}

static int lock_as_nobody(void)
{
    enum { NOBODY = 65534 };
    struct io *io;
    if (io_posix_new(dir, true, &io) != 0)
        return 1;
    if (geteuid() == 0 && setuid(NOBODY) != 0)
        return 2;
    int result = io_lock(io, "file");
    io_delete(io);
    return result == 0 ? 0 : 3;
}

static void a_lock_is_taken_where_only_reading_is_allowed(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof(path), "%s/file", dir);
    int fd = open(path, O_CREAT | O_RDWR, 0444);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(chmod(dir, 0755), 0);
    assert_child_ends_well(lock_as_nobody);
    struct io *io, *other;
    assert_int_equal(io_posix_new(dir, true, &io), 0);
    assert_int_equal(io_posix_new(dir, true, &other), 0);
    assert_int_equal(io_lock(io, "file"), 0);
    assert_int_equal(io_lock(other, "file"), ERROR_LOCKED);
    io_delete(other);
    io_delete(io);
}

/* ------------------------------------------------------------------ behind a process that was killed */

static int open_file(void)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/file", dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    return fd;
}

/* The lock that rings hold. */
static bool second_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* As the end of the process closes it: what rings hold they hold. */
static void close_what_is_held(struct io *io)
{
    int nothing = open("/dev/null", O_RDONLY);
    assert_true(io->held > 0 && nothing >= 0);
    assert_int_equal(dup2(nothing, io->held - 1), io->held - 1);
    close(nothing);
}

static void a_ring_holds_the_lock_until_it_has_ended(void **state)
{
    (void)state;
    if (!io_uring_usable())
        skip();
    for (int scheduled = 0; scheduled < 2; scheduled++) {
        struct io *io;
        struct io_queue *queue = NULL;
        struct io_scheduler *scheduler = NULL;
        struct io_scheduler_options options = {.allow_uring = true};
        io_limits_default(&options.limits);
        int fd = open_file();
        assert_int_equal(io_posix_new(dir, true, &io), 0);
        assert_int_equal(io_lock(io, "file"), 0);
        if (scheduled)
            assert_int_equal(io_scheduler_new(io, &options, &scheduler), 0);
        else
            assert_int_equal(io_queue_new(io, 4, &queue), 0);
        close_what_is_held(io);
        assert_false(second_lock(fd));
        if (scheduled)
            io_scheduler_delete(scheduler);
        else
            io_queue_delete(queue);
        while (!second_lock(fd)) /* the kernel may take its time */
            sched_yield();
        close(fd);
        io_delete(io);
    }
}

static _Atomic bool rings_ended, lock_returned;

static void *lock_behind_rings(void *arg)
{
    struct io *io;
    int rc;
    (void)arg;
    if (io_posix_new(dir, true, &io) != 0)
        return NULL;
    do
        rc = io_lock(io, "file"); /* the test may be looking whether it is taken */
    while (rc == ERROR_LOCKED);
    bool right = rc == 0 && atomic_load(&rings_ended);
    atomic_store(&lock_returned, true);
    io_delete(io);
    return right ? &rings_ended : NULL;
}

static void who_locks_waits_for_the_rings_of_a_process_that_was_killed(void **state)
{
    (void)state;
    pthread_t thread;
    void *right;
    int ring = open_file(), first = open_file();
    assert_true(second_lock(ring));
    atomic_store(&rings_ended, false);
    atomic_store(&lock_returned, false);
    assert_int_equal(pthread_create(&thread, NULL, lock_behind_rings, NULL), 0);
    while (!atomic_load(&lock_returned) &&
           flock(first, LOCK_EX | LOCK_NB) == 0) { /* until it has got the first */
        flock(first, LOCK_UN);
        sched_yield();
    }
    for (unsigned turn = 0; turn < 10; turn++)
        sched_yield();
    atomic_store(&rings_ended, true);
    close(ring);
    assert_int_equal(pthread_join(thread, &right), 0);
    close(first);
    assert_non_null(right);
}

static int write_and_be_killed(void)
{
    struct io *io;
    struct io_queue *queue;
    struct io_file *file;
    CHECK(io_posix_new(dir, true, &io) == 0);
    CHECK(io_lock(io, "file") == 0);
    CHECK(io_queue_new(io, 4, &queue) == 0);
    CHECK(io_open(io, "file", IO_WRITE | IO_DIRECT, &file) == 0);
    for (uint64_t n = 0; n < 4; n++)
        CHECK(io_queue_write(queue, file, memory, sizeof memory, n * sizeof memory, true, n) == 0);
    raise(SIGKILL);
    return 1;
}

static void behind_a_killed_process_the_directory_can_be_used(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 10; round++) {
        struct io *io;
        int status = status_of(write_and_be_killed);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(io_posix_new(dir, true, &io), 0);
        assert_int_equal(io_lock(io, "file"), 0);
        io_delete(io);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(where_io_uring_is_forbidden_threads_write),
        TEST(the_rest_of_a_short_write_is_tried_and_its_error_reported),
        TEST(a_short_write_is_completed),
        TEST(a_durable_write_is_followed_by_a_flush_whose_error_is_reported),
        TEST(an_unaligned_write_on_a_file_opened_direct_fails_an_assertion),
        TEST(the_page_cache_is_passed_where_the_file_system_takes_that),
        TEST(the_directory_is_made_for_its_owner_only),
        TEST(allocated_zeros_are_written_and_no_holes),
        TEST(a_removed_file_stays_whole_for_whoever_has_it_open_or_by_another_name),
        TEST(a_lock_is_taken_where_only_reading_is_allowed),
        TEST(a_ring_holds_the_lock_until_it_has_ended),
        TEST(who_locks_waits_for_the_rings_of_a_process_that_was_killed),
        TEST(behind_a_killed_process_the_directory_can_be_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
