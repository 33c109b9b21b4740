/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the scheduler of reads and writes does for a disk: random reads of 4 KiB past the page cache,
 * by pread and through it, alone and beside a writer in the background, limited and not; and files
 * written from first to last, through the page cache and past it.
 *
 * Time that passed, since it is the disk's that counts, and the process's CPU time beside it.
 *
 * bench_io [megabytes of the file [seconds each]]
 */
#include "bench.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/histogram.h"
#include "base/random.h"
#include "io/io_append.h"
#include "io/io_internal.h"

enum { PAGE = IO_ALIGN, DEPTH_MAX = 64, LIMIT_MB = 50 };

static uint64_t file_bytes, time_ns;
static char dir[] = "./io_bench.XXXXXX";
static unsigned char *pages;
static struct histogram latencies;

static uint64_t now_ns(void)
{
    return clock_monotonic_ns(clock_system());
}

static double process_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void io_begin(bool uring, struct io **io, struct io_scheduler **scheduler)
{
    struct io_scheduler_options options = {.allow_uring = uring, .threads = DEPTH_MAX};
    io_limits_default(&options.limits);
    options.limits.depth = options.limits.classes[IO_USER].depth = DEPTH_MAX + 8;
    bench_check(io_posix_new(dir, uring, io), "io_posix_new");
    bench_check(io_scheduler_new(*io, &options, scheduler), "io_scheduler_new");
}

/* ----------------------------------------------------------------------------------------- reads */

static uint64_t place(struct random *random)
{
    return random_below(random, file_bytes / PAGE) * PAGE;
}

static uint64_t read_one_by_one(struct io_file *file, bool scheduled, struct random *random)
{
    uint64_t count = 0, end = now_ns() + time_ns;
    for (uint64_t began = now_ns(); began < end; count++) {
        int64_t n = scheduled ? io_schedule_read(IO_USER, file, pages, PAGE, place(random))
                              : io_read(file, pages, PAGE, place(random));
        bench_check(n == PAGE ? 0 : (int)n, "read");
        uint64_t now = now_ns();
        histogram_add(&latencies, now - began);
        began = now;
    }
    return count;
}

/* `depth` at once, by io_schedule_read_many. */
static uint64_t read_many(struct io_file *file, unsigned depth, struct random *random)
{
    struct io_range ranges[DEPTH_MAX];
    uint64_t count = 0, end = now_ns() + time_ns;
    for (uint64_t began = now_ns(); began < end; count += depth) {
        for (unsigned i = 0; i < depth; i++)
            ranges[i] = (struct io_range){
                .file = file, .data = pages + i * PAGE, .size = PAGE, .offset = place(random)};
        bench_check(io_schedule_read_many(IO_USER, ranges, depth), "read_many");
        uint64_t now = now_ns();
        for (unsigned i = 0; i < depth; i++)
            histogram_add(&latencies, now - began);
        began = now;
    }
    return count;
}

static void print_reads(const char *name, uint64_t count, uint64_t took_ns, double cpu_ns)
{
    printf("%-46s %8.0f/s  p50 %6.0f us  p99 %6.0f us  CPU %5.1f us\n", name,
           (double)count / ((double)took_ns / 1e9),
           (double)histogram_quantile_ns(&latencies, 0.5) / 1e3,
           (double)histogram_quantile_ns(&latencies, 0.99) / 1e3, cpu_ns / (double)count / 1e3);
    fflush(stdout);
}

static void reads(struct io_file *file, const char *how, bool scheduled, unsigned depth)
{
    struct random random;
    char name[96];
    random_create(&random, depth);
    memset(&latencies, 0, sizeof latencies);
    double cpu = process_cpu_ns();
    uint64_t began = now_ns();
    uint64_t count =
        depth == 1 ? read_one_by_one(file, scheduled, &random) : read_many(file, depth, &random);
    snprintf(name, sizeof name, "random reads, %u at once, %s", depth, how);
    print_reads(name, count, now_ns() - began, process_cpu_ns() - cpu);
}

/* ----------------------------------------------------------------------------------- in the back */

struct writer {
    struct io *io;
    _Atomic bool stop;
    uint64_t bytes;
    pthread_t thread;
};

static void *writer_main(void *arg)
{
    struct writer *writer = arg;
    static unsigned char bytes[1 << 20];
    while (!atomic_load(&writer->stop)) {
        struct io_appender *appender;
        bench_check(io_appender_new(writer->io, "background", IO_BACKGROUND, &appender), "append");
        while (io_appender_offset(appender) < file_bytes && !atomic_load(&writer->stop))
            bench_check(io_appender_put(appender, bytes, sizeof bytes), "append");
        writer->bytes += io_appender_offset(appender);
        bench_check(io_appender_finish(appender), "append");
        io_appender_delete(appender);
        io_unlink(writer->io, "background");
    }
    return NULL;
}

static void reads_beside_writer(struct io *io, struct io_scheduler *scheduler, struct io_file *file,
                                uint64_t rate)
{
    struct writer writer = {.io = io};
    struct io_limits limits;
    char how[64];
    io_scheduler_limits(scheduler, &limits);
    limits.classes[IO_BACKGROUND].bytes_per_second = rate;
    io_scheduler_limit(scheduler, &limits);
    if (pthread_create(&writer.thread, NULL, writer_main, &writer) != 0)
        exit(1);
    snprintf(how, sizeof how, rate ? "beside a writer, %d MB/s" : "beside a writer, no limit",
             LIMIT_MB);
    reads(file, how, true, 1);
    reads(file, how, true, 16);
    atomic_store(&writer.stop, true);
    pthread_join(writer.thread, NULL);
    printf("    the writer wrote %.0f MB/s\n",
           (double)writer.bytes / 1e6 / ((double)time_ns * 2 / 1e9));
    limits.classes[IO_BACKGROUND].bytes_per_second = 0;
    io_scheduler_limit(scheduler, &limits);
}

/* ------------------------------------------------------------------------------------- appending */

static void append(struct io *io, const char *path, const char *how, uint64_t bytes)
{
    static unsigned char piece[16 << 10];
    struct random random;
    struct io_appender *appender;
    random_create(&random, 1);
    for (size_t i = 0; i < sizeof piece; i += 8)
        memcpy(piece + i, &(uint64_t){random_next(&random)}, 8);
    double cpu = process_cpu_ns();
    uint64_t began = now_ns(), count = 0;
    do {
        if (count > 0)
            io_unlink(io, path);
        bench_check(io_appender_new(io, path, IO_CHECKPOINT, &appender), "io_appender_new");
        while (io_appender_offset(appender) < bytes)
            bench_check(io_appender_put(appender, piece, sizeof piece), "io_appender_put");
        bench_check(io_appender_finish(appender), "io_appender_finish");
        io_appender_delete(appender);
        count++;
    } while (bytes < 1 << 20 && now_ns() - began < time_ns);
    double took = (double)(now_ns() - began);
    printf("append %7.2f MB, %-30s %7.0f MB/s  %9.0f us a file  CPU %7.0f us a file\n",
           (double)bytes / 1e6, how, (double)bytes * (double)count * 1e3 / took,
           took / 1e3 / (double)count, (process_cpu_ns() - cpu) / 1e3 / (double)count);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct io *io;
    struct io_scheduler *scheduler;
    struct io_file *file;
    file_bytes = (argc > 1 ? strtoull(argv[1], NULL, 10) : 512) << 20;
    time_ns = (uint64_t)((argc > 2 ? strtod(argv[2], NULL) : 2) * 1e9);
    bench_dir_create(dir);
    pages = aligned_alloc(PAGE, DEPTH_MAX * PAGE);
    if (pages == NULL)
        return 1;
    for (unsigned uring = 0; uring < 2; uring++) {
        const char *how = uring ? "io_uring" : "threads";
        char name[64];
        io_begin(uring == 1, &io, &scheduler);
        snprintf(name, sizeof name, "past the cache, %s", io_scheduler_variant(scheduler));
        append(io, uring ? "file" : "other", name, file_bytes);
        append(io, "small", name, 16 << 10);
        io_unlink(io, "small");
        bench_check(io_open(io, uring ? "file" : "other", IO_READ | IO_UNCACHED, &file), "io_open");
        if (!uring)
            reads(file, "pread", false, 1);
        for (unsigned depth = 1; depth <= DEPTH_MAX; depth = depth == 1 ? 16 : depth * 4)
            reads(file, how, true, depth);
        if (uring) {
            reads_beside_writer(io, scheduler, file, 0);
            reads_beside_writer(io, scheduler, file, (uint64_t)LIMIT_MB << 20);
        }
        io_close(file);
        if (uring) {
            io__posix_refuse_direct(io);
            append(io, "cached", "through the page cache", file_bytes);
            append(io, "small", "through the page cache", 16 << 10);
        }
        io_scheduler_delete(scheduler);
        io_delete(io);
    }
    free(pages);
    bench_dir_remove(dir);
    return 0;
}
