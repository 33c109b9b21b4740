/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commits a second through the log on a real directory: threads that each wait for their commit,
 * and threads that let a group gather, as workers with many connections do.
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

enum { BODY_BYTES = 120, THREADS_MAX = 64 };

struct worker {
    struct wal *wal;
    unsigned group;
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
    char body[BODY_BYTES];
    struct wal_buffer *buffer;
    memset(body, 'x', sizeof(body));
    ASSERT(wal_buffer_open(worker->wal, &buffer) == 0);
    while (now_ns() < worker->until_ns) {
        uint64_t ts = 0;
        for (unsigned i = 0; i < worker->group; i++) {
            ASSERT(wal_reserve(buffer, sizeof(body)) == 0);
            wal_begin(buffer);
            ts = wal_clock_next(worker->wal);
            wal_append(buffer, ts, body, sizeof(body));
            wal_end(buffer);
        }
        ASSERT(wal_wait(worker->wal, ts) == 0);
        worker->commits += worker->group;
    }
    wal_buffer_close(buffer);
    return NULL;
}

static void measure(const char *dir, enum wal_durability level, unsigned threads, unsigned group,
                    double seconds)
{
    static const char *const names[] = {"none", "interval", "commit"};
    struct worker workers[THREADS_MAX];
    struct wal_replay_stats replay;
    struct wal_stats before, after;
    struct wal *wal;
    struct io *io;
    if (io_posix_new(dir, true, &io) != 0) {
        fprintf(stderr, "%s\n", diag_message());
        exit(1);
    }
    struct wal_options options = {.io = io, .durability = level, .buffer_max = THREADS_MAX};
    if (wal_open(&options, ignore, NULL, &replay, &wal) != 0) {
        fprintf(stderr, "%s\n", diag_message());
        exit(1);
    }
    wal_stats_get(wal, &before);
    uint64_t start = now_ns(), commits = 0;
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){
            .wal = wal, .group = group, .until_ns = start + (uint64_t)(seconds * 1e9)};
        ASSERT(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        commits += workers[i].commits;
    }
    double elapsed = (double)(now_ns() - start) / 1e9;
    wal_stats_get(wal, &after);
    uint64_t blocks = after.blocks - before.blocks;
    printf("%-8s %2u threads, groups of %3u: %8.0f commits/s, %6.0f blocks/s, %6.1f commits a "
           "block (%s, %s)\n",
           names[level], threads, group, (double)commits / elapsed, (double)blocks / elapsed,
           blocks ? (double)commits / (double)blocks : 0.0,
           io->direct_variant ? io->direct_variant : "-",
           io->queue_variant ? io->queue_variant : "-");
    if (wal_close(wal) != 0)
        fprintf(stderr, "%s\n", diag_message());
    io_delete(io);
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
            measure(dir, (enum wal_durability)level, shapes[i].threads, shapes[i].group, seconds);
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
