/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commits a second through the log on a real directory: threads that each wait for their commit,
 * and threads that let a group gather, as workers with many connections do. Then what compression
 * gives and costs: rows of JSON, small ones in groups and large ones.
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

enum { BODY_BYTES = 120, THREADS_MAX = 64, TEXT_BYTES = 8 << 20 };

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
