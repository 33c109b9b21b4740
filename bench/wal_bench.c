/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commits a second through the log on a real directory: threads that each wait for their commit,
 * and threads that let a group gather, as workers with many connections do. What it gives that the log waits
 * for those whom it has served (wal_gather_set), where writes take longer than here. Then what
 * compression gives and costs: rows of JSON, small ones in groups and large ones.
 *
 * bench_wal [directory [seconds]]
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/diag.h"
#include "wal/wal.h"

enum { BODY_BYTES = 120, THREADS_MAX = 64, TEXT_BYTES = 8 << 20, SLOW_DEPTH = 8 };

struct worker {
    struct wal *wal;
    unsigned group;
    size_t body_bytes;
    const char *text; /* bodies are pieces of it; NULL: they are all the same */
    uint64_t commits;
    uint64_t until_ns;
    pthread_t thread;
};

static uint64_t now_ns(void)
{
    return clock_monotonic_ns(clock_system());
}

static int ignore(uint64_t ts, const void *body, size_t size, void *arg)
{
    (void)ts;
    (void)body;
    (void)size;
    (void)arg;
    return 0;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    char plain[BODY_BYTES];
    struct wal_buffer *buffer;
    size_t at = 0;
    memset(plain, 'x', sizeof(plain));
    ASSERT(wal_buffer_open(worker->wal, &buffer) == 0);
    while (now_ns() < worker->until_ns) {
        uint64_t ts = 0;
        for (unsigned i = 0; i < worker->group; i++) {
            const char *body = worker->text == NULL ? plain : worker->text + at;
            at = at + 2 * worker->body_bytes > TEXT_BYTES ? 0 : at + worker->body_bytes;
            ASSERT(wal_reserve(buffer, worker->body_bytes) == 0);
            wal_begin(buffer);
            ts = wal_clock_next(worker->wal);
            wal_append(buffer, ts, body, worker->body_bytes);
            wal_end(buffer);
        }
        ASSERT(wal_wait(worker->wal, ts) == 0);
        worker->commits += worker->group;
    }
    wal_buffer_close(buffer);
    return NULL;
}

/* What is measured: so many threads, each waiting for a group of commits of so many bytes. */
struct shape {
    enum wal_durability level;
    unsigned threads, group;
    size_t body_bytes;
    const char *text;
    bool compression;
    unsigned gather_us;
};

struct result {
    uint64_t commits, blocks, bytes;
    double elapsed;
};

static struct result run(struct io *io, const struct shape *shape, double seconds)
{
    struct worker workers[THREADS_MAX];
    struct wal_replay_stats replay;
    struct wal_stats before, after;
    struct wal *wal;
    struct wal_options options = {.io = io,
                                  .durability = shape->level,
                                  .buffer_max = THREADS_MAX,
                                  .compression = shape->compression};
    if (wal_open(&options, ignore, NULL, &replay, &wal) != 0) {
        fprintf(stderr, "%s\n", diag_message());
        exit(1);
    }
    wal_gather_set(wal, shape->gather_us);
    wal_stats_get(wal, &before);
    uint64_t start = now_ns();
    struct result result = {0};
    for (unsigned i = 0; i < shape->threads; i++) {
        workers[i] = (struct worker){.wal = wal,
                                     .group = shape->group,
                                     .body_bytes = shape->body_bytes,
                                     .text = shape->text,
                                     .until_ns = start + (uint64_t)(seconds * 1e9)};
        ASSERT(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < shape->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        result.commits += workers[i].commits;
    }
    result.elapsed = (double)(now_ns() - start) / 1e9;
    wal_stats_get(wal, &after);
    result.blocks = after.blocks - before.blocks;
    result.bytes = after.bytes - before.bytes;
    if (wal_close(wal) != 0)
        fprintf(stderr, "%s\n", diag_message());
    return result;
}

static struct io *directory(const char *dir)
{
    struct io *io;
    if (io_posix_new(dir, true, &io) != 0) {
        fprintf(stderr, "%s\n", diag_message());
        exit(1);
    }
    return io;
}

static const char *const LEVELS[] = {"none", "interval", "commit"};

static void measure(const char *dir, const struct shape *shape, double seconds)
{
    struct io *io = directory(dir);
    struct result result = run(io, shape, seconds);
    printf("%-8s %2u threads, groups of %3u: %8.0f commits/s, %6.0f blocks/s, %6.1f commits a "
           "block (%s, %s)\n",
           LEVELS[shape->level], shape->threads, shape->group,
           (double)result.commits / result.elapsed, (double)result.blocks / result.elapsed,
           result.blocks ? (double)result.commits / (double)result.blocks : 0.0,
           io->direct_variant ? io->direct_variant : "-",
           io->queue_variant ? io->queue_variant : "-");
    io_delete(io);
}

/* ------------------------------------------------------------------------------ a slower disk */

/* Passes everything on, and tells of each write when so much time has passed. */
struct slow_io {
    struct io base;
    struct io *inner;
    uint64_t write_ns;
};

struct slow_queue {
    struct io_queue base;
    struct io_queue *inner;
    uint64_t write_ns;
    unsigned count; /* completed, and not told of */
    struct {
        struct io_completion completion;
        uint64_t due_ns;
    } done[SLOW_DEPTH];
    uint64_t begun_ns[SLOW_DEPTH]; /* by cookie */
};

static struct io *inner_of(struct io *io)
{
    return ((struct slow_io *)(void *)io)->inner;
}

static int slow_open(struct io *io, const char *path, int flags, struct io_file **out)
{
    return io_open(inner_of(io), path, flags, out);
}

static int slow_rename(struct io *io, const char *from, const char *to)
{
    return io_rename(inner_of(io), from, to);
}

static int slow_unlink(struct io *io, const char *path)
{
    return io_unlink(inner_of(io), path);
}

static int slow_sync_dir(struct io *io)
{
    return io_sync_dir(inner_of(io));
}

static int slow_list(struct io *io, int (*each)(const char *name, uint64_t size, void *arg),
                     void *arg)
{
    return io_list(inner_of(io), each, arg);
}

static int slow_queue_new(struct io *io, unsigned depth, struct io_queue **out)
{
    struct slow_queue *queue = calloc(1, sizeof *queue);
    ASSERT(queue != NULL && depth <= SLOW_DEPTH);
    queue->base.vtab = io->vtab;
    queue->write_ns = ((struct slow_io *)(void *)io)->write_ns;
    *out = &queue->base;
    return io_queue_new(inner_of(io), depth, &queue->inner);
}

static void slow_queue_delete(struct io_queue *base)
{
    struct slow_queue *queue = (struct slow_queue *)(void *)base;
    io_queue_delete(queue->inner);
    free(queue);
}

static int slow_queue_write(struct io_queue *base, struct io_file *file, const void *data,
                            size_t size, uint64_t offset, bool durable, uint64_t cookie)
{
    struct slow_queue *queue = (struct slow_queue *)(void *)base;
    queue->begun_ns[cookie % SLOW_DEPTH] = now_ns();
    return io_queue_write(queue->inner, file, data, size, offset, durable, cookie);
}

static void sleep_until(uint64_t ns)
{
    uint64_t now = now_ns();
    if (ns > now)
        usleep((useconds_t)((ns - now) / 1000));
}

static int slow_queue_wait(struct io_queue *base, bool block, struct io_completion *out,
                           unsigned max)
{
    struct slow_queue *queue = (struct slow_queue *)(void *)base;
    struct io_completion all[SLOW_DEPTH];
    int count = io_queue_wait(queue->inner, block && queue->count == 0, all, SLOW_DEPTH);
    for (int i = 0; i < count; i++) {
        queue->done[queue->count].completion = all[i];
        queue->done[queue->count++].due_ns =
            queue->begun_ns[all[i].cookie % SLOW_DEPTH] + queue->write_ns;
    }
    if (block && queue->count > 0)
        sleep_until(queue->done[0].due_ns);
    int told = 0;
    while (queue->count > 0 && (unsigned)told < max && queue->done[0].due_ns <= now_ns()) {
        out[told++] = queue->done[0].completion;
        memmove(&queue->done[0], &queue->done[1], --queue->count * sizeof queue->done[0]);
    }
    return told;
}

static const struct io_vtab slow_vtab = {
    .open = slow_open,
    .rename = slow_rename,
    .unlink = slow_unlink,
    .sync_dir = slow_sync_dir,
    .list = slow_list,
    .queue_new = slow_queue_new,
    .queue_delete = slow_queue_delete,
    .queue_write = slow_queue_write,
    .queue_wait = slow_queue_wait,
};

/* With writes that take so long, and with the wait that the tuner comes to there. */
static void measure_gather(const char *dir, double seconds)
{
    static const unsigned threads[] = {1, 4, 16}, write_us[] = {0, 1000, 4000};
    for (size_t n = 0; n < 3; n++)
        for (size_t i = 0; i < 3; i++)
            for (unsigned waits = 0; waits < 2; waits++) {
                struct slow_io io = {
                    {.vtab = &slow_vtab}, directory(dir), write_us[n] * UINT64_C(1000)};
                const struct shape shape = {.level = WAL_DURABILITY_COMMIT,
                                            .threads = threads[i],
                                            .group = 1,
                                            .body_bytes = BODY_BYTES,
                                            .gather_us = waits ? 100 + write_us[n] / 4 : 0};
                struct result result = run(&io.base, &shape, seconds);
                printf("commit, writes of %4u us more, %2u threads, waiting %4u us for them: %8.0f "
                       "commits/s, %5.1f commits a block\n",
                       write_us[n], threads[i], shape.gather_us,
                       (double)result.commits / result.elapsed,
                       (double)result.commits / (double)result.blocks);
                io_delete(io.inner);
            }
}

/* ---------------------------------------------------------------------------------- compression */

/* Rows of JSON, one behind the other. */
static char *text_new(void)
{
    char *text = malloc(TEXT_BYTES + 256);
    ASSERT(text != NULL);
    uint32_t x = 1;
    for (size_t at = 0; at < TEXT_BYTES;) {
        x = x * 1103515245 + 12345;
        at += (size_t)snprintf(text + at, 256,
                               "{\"id\":%u,\"name\":\"customer %u\",\"balance\":%u.%02u,"
                               "\"city\":\"town-%u\",\"note\":\"%x\"}",
                               x, x % 100000, x % 9999, x % 100, x % 300, x * 31);
    }
    return text;
}

static void measure_compression(const char *dir, double seconds)
{
    static const struct {
        unsigned threads, group;
        size_t body_bytes;
    } sizes[] = {{2, 512, 120}, {2, 4, 64 << 10}, {2, 1, 1 << 20}};
    char *text = text_new();
    for (int level = WAL_DURABILITY_COMMIT; level >= WAL_DURABILITY_INTERVAL; level--)
        for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct shape shape = {.level = (enum wal_durability)level,
                                  .threads = sizes[i / 2].threads,
                                  .group = sizes[i / 2].group,
                                  .body_bytes = sizes[i / 2].body_bytes,
                                  .text = text,
                                  .compression = i % 2};
            struct io *io = directory(dir);
            struct result result = run(io, &shape, seconds);
            double bytes = (double)result.commits * (double)shape.body_bytes;
            printf("%-8s %2u threads, groups of %3u of %7zu bytes, %s: %6.1f MB/s, %.2f of it "
                   "written\n",
                   LEVELS[level], shape.threads, shape.group, shape.body_bytes,
                   shape.compression ? "compressed" : "as it is  ", bytes / result.elapsed / 1e6,
                   bytes > 0 ? (double)result.bytes / bytes : 0.0);
            io_delete(io);
        }
    free(text);
}

static int unlink_one(const char *name, uint64_t size, void *arg)
{
    (void)size;
    return io_unlink(arg, name);
}

int main(int argc, char **argv)
{
    static const struct {
        unsigned threads, group;
    } shapes[] = {{1, 1}, {1, 16}, {2, 16}, {2, 256}, {16, 1}};
    setvbuf(stdout, NULL, _IOLBF, 0);
    char temporary[] = "/var/tmp/perigee-wal-bench-XXXXXX";
    const char *dir = argc > 1 ? argv[1] : mkdtemp(temporary);
    double seconds = argc > 2 ? atof(argv[2]) : 1.0;
    ASSERT(dir != NULL);
    for (int level = WAL_DURABILITY_COMMIT; level >= WAL_DURABILITY_NONE; level--)
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
            measure(dir,
                    &(struct shape){.level = (enum wal_durability)level,
                                    .threads = shapes[i].threads,
                                    .group = shapes[i].group,
                                    .body_bytes = BODY_BYTES},
                    seconds);
    measure_gather(dir, seconds);
    measure_compression(dir, seconds);
    if (argc <= 1) {
        struct io *io;
        if (io_posix_new(dir, true, &io) == 0) {
            io_list(io, unlink_one, io);
            io_delete(io);
        }
        rmdir(dir);
    }
    return 0;
}
