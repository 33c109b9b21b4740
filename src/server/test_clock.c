/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout of the file, which lives as long as one spec does: a word that says what it is, then
 *
 *   stopped_ns   where it stands; 0: it runs, and is ahead of the system's by
 *   ahead_ns     (a difference in the ring of 64 bits: after having stood it is behind)
 *   start_ns, start_ms   a moment of the system's monotonic time, and the wall time that it had
 *
 * Wall time follows from monotonic time, so nobody who sets the system's clock moves it.
 */
#include "server/test_clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"

static const char MAGIC[16] = "perigee clock 1";

struct test_time {
    char magic[16];
    _Atomic uint64_t stopped_ns;
    _Atomic uint64_t ahead_ns;
    uint64_t start_ns, start_ms;
};

static uint64_t monotonic_ns(struct clock *base)
{
    struct test_time *time = ((struct test_clock *)base)->time;
    uint64_t stopped = load_acquire(&time->stopped_ns);
    return stopped != 0 ? stopped
                        : clock_monotonic_ns(clock_system()) + load_relaxed(&time->ahead_ns);
}

static uint64_t realtime_ms(struct clock *base)
{
    struct test_time *time = ((struct test_clock *)base)->time;
    return time->start_ms + (monotonic_ns(base) - time->start_ns) / 1000000;
}

static int map(struct test_clock *clock, const char *path, int flags)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
    if (fd < 0)
        return diag_set_errno(ERROR_IO, errno, "open %s", path);
    struct stat status;
    int rc = 0;
    if (flags && ftruncate(fd, sizeof *clock->time))
        rc = diag_set_errno(ERROR_IO, errno, "write %s", path);
    else if (fstat(fd, &status) || status.st_size != sizeof *clock->time)
        rc = diag_set(ERROR_INVALID, "%s is no clock of a test", path);
    void *memory = rc ? MAP_FAILED
                      : mmap(NULL, sizeof *clock->time, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!rc && memory == MAP_FAILED)
        rc = diag_set_errno(ERROR_IO, errno, "map %s", path);
    close(fd);
    if (rc)
        return rc;
    clock->time = memory;
    clock->base.monotonic_ns = monotonic_ns;
    clock->base.realtime_ms = realtime_ms;
    return 0;
}

int test_clock_make(struct test_clock *clock, const char *path)
{
    *clock = (struct test_clock){0};
    int rc = map(clock, path, O_CREAT | O_EXCL);
    if (rc)
        return rc;
    clock->time->start_ns = clock_monotonic_ns(clock_system());
    clock->time->start_ms = clock_realtime_ms(clock_system());
    memcpy(clock->time->magic, MAGIC, sizeof MAGIC);
    return 0;
}

int test_clock_open(struct test_clock *clock, const char *path)
{
    *clock = (struct test_clock){0};
    int rc = map(clock, path, 0);
    if (!rc && memcmp(clock->time->magic, MAGIC, sizeof MAGIC) != 0) {
        test_clock_close(clock);
        rc = diag_set(ERROR_INVALID, "%s is no clock of a test", path);
    }
    return rc;
}

void test_clock_close(struct test_clock *clock)
{
    if (clock->time)
        munmap(clock->time, sizeof *clock->time);
    clock->time = NULL;
}

void test_clock_stop(struct test_clock *clock)
{
    struct test_time *time = clock->time;
    if (load_relaxed(&time->stopped_ns) == 0)
        store_release(&time->stopped_ns, monotonic_ns(&clock->base));
}

void test_clock_go(struct test_clock *clock)
{
    struct test_time *time = clock->time;
    uint64_t stopped = load_relaxed(&time->stopped_ns);
    if (stopped == 0)
        return;
    store_relaxed(&time->ahead_ns, stopped - clock_monotonic_ns(clock_system()));
    store_release(&time->stopped_ns, 0);
}

void test_clock_advance(struct test_clock *clock, uint64_t by_ns)
{
    struct test_time *time = clock->time;
    if (load_relaxed(&time->stopped_ns) != 0)
        atomic_fetch_add_explicit(&time->stopped_ns, by_ns, memory_order_release);
    else
        atomic_fetch_add_explicit(&time->ahead_ns, by_ns, memory_order_relaxed);
}
