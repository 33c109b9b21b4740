/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The scheduler with its threads: over the operating system by io_uring and by threads, and over the
 * test's disk, which fails. What it chooses is elevator_test.c's.
 *
 * A gate holds reads and writes of a file back until the test lets them through, so that others
 * queue meanwhile; nothing here depends on time.
 */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "io/disk.h"
#include "io/io_schedule_internal.h"

enum { PAGE = IO_ALIGN, PAGES = 64 };

enum over { OVER_URING, OVER_THREADS, OVER_DISK };

static enum over over;
static char dir[64];
static struct disk *disk;
static struct io *io;
static struct io_scheduler *scheduler;
static struct io_file *file;
static _Alignas(IO_ALIGN) unsigned char memory[PAGES * PAGE];

/* --------------------------------------------------------------------------------------- set-up */

static int open_all(unsigned threads)
{
    struct io_scheduler_options options = {.allow_uring = over == OVER_URING, .threads = threads};
    io_limits_default(&options.limits);
    snprintf(dir, sizeof dir, "./io_schedule_test.XXXXXX");
    if (over == OVER_DISK) {
        disk = disk_new(1);
        io = disk_io(disk);
    } else if (mkdtemp(dir) == NULL || io_posix_new(dir, true, &io) != 0) {
        return 1;
    }
    return io_scheduler_new(io, &options, &scheduler);
}

static unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)(offset / PAGE * 7 + offset % 251);
}

/* PAGES pages that tell where they are. */
static int make_file(void)
{
    for (size_t i = 0; i < sizeof memory; i++)
        memory[i] = byte_at(i);
    int rc = io_open(io, "file", IO_WRITE | IO_CREATE, &file);
    if (rc == 0)
        rc = io_write(file, memory, sizeof memory, 0);
    memset(memory, 0, sizeof memory);
    return rc;
}

static int close_all(void **state)
{
    (void)state;
    char path[128];
    if (file != NULL)
        io_close(file);
    file = NULL;
    io_scheduler_delete(scheduler);
    io_delete(io);
    if (over == OVER_DISK) {
        disk_delete(disk);
        return 0;
    }
    snprintf(path, sizeof path, "%s/file", dir);
    unlink(path);
    return rmdir(dir);
}

static int setup_over(enum over what)
{
    over = what;
    return open_all(0) != 0 || make_file() != 0;
}

static int setup_uring(void **state)
{
    (void)state;
    return setup_over(io_uring_usable() ? OVER_URING : OVER_THREADS);
}

static int setup_threads(void **state)
{
    (void)state;
    return setup_over(OVER_THREADS);
}

static int setup_disk(void **state)
{
    (void)state;
    return setup_over(OVER_DISK);
}

static void assert_page(const unsigned char *data, uint64_t page)
{
    for (unsigned i = 0; i < PAGE; i++)
        assert_int_equal(data[i], byte_at(page * PAGE + i));
}

static struct io_class_stats stats_of(enum io_class class)
{
    struct io_class_stats stats;
    io_scheduler_stats(scheduler, class, &stats);
    return stats;
}

/* -------------------------------------------------------------------------------- asynchronously */

struct flight {
    struct io_request request;
    _Atomic bool done;
    unsigned number;
};

static _Atomic unsigned done_count;

static void flight_done(struct io_request *request)
{
    struct flight *flight = request->arg;
    flight->number = atomic_fetch_add(&done_count, 1);
    atomic_store(&flight->done, true);
}

static struct flight flights[PAGES];

/* Submits a request for each of the pages, all at once, in an order that is not that of the file. */
static void submit_pages(enum io_class class, bool write, unsigned from, unsigned count)
{
    struct io_request *requests[PAGES];
    for (unsigned i = 0; i < count; i++) {
        unsigned page = from + (i * 7 + 3) % count;
        struct flight *flight = &flights[page];
        flight->request = (struct io_request){.file = file,
                                              .class = class,
                                              .write = write,
                                              .data = memory + (size_t)page * PAGE,
                                              .size = PAGE,
                                              .offset = (uint64_t)page * PAGE,
                                              .done = flight_done,
                                              .arg = flight};
        atomic_store(&flight->done, false);
        requests[i] = &flight->request;
    }
    io_scheduler_submit(scheduler, requests, count);
}

static void wait_pages(unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++)
        while (!atomic_load(&flights[i].done))
            sched_yield();
}

/* ---------------------------------------------------------------------------- what all ways do */

static void a_read_gives_what_is_there(void **state)
{
    (void)state;
    assert_int_equal(io_schedule_read(IO_USER, file, memory, PAGE, 5 * PAGE), PAGE);
    assert_page(memory, 5);
    assert_int_equal(stats_of(IO_USER).reads, 1);
    assert_int_equal(stats_of(IO_USER).bytes_read, PAGE);
    assert_int_equal(stats_of(IO_USER).passed, 1);
}

static void a_read_ends_at_the_end_of_the_file(void **state)
{
    (void)state;
    assert_int_equal(io_schedule_read(IO_USER, file, memory, PAGE, sizeof memory - 100), 100);
    assert_int_equal(io_schedule_read(IO_USER, file, memory, PAGE, 2 * sizeof memory), 0);
    struct io_range ranges[] = {
        {.file = file, .data = memory, .size = PAGE, .offset = sizeof memory - PAGE},
        {.file = file, .data = memory + PAGE, .size = PAGE, .offset = sizeof memory},
        {.file = file, .data = memory + 2 * PAGE, .size = PAGE, .offset = sizeof memory - 10},
        {.file = file, .data = memory + 3 * PAGE, .size = 0, .offset = 0},
    };
    assert_int_equal(io_schedule_read_many(IO_USER, ranges, 4), 0);
    assert_int_equal(ranges[0].result, PAGE);
    assert_int_equal(ranges[1].result, 0);
    assert_int_equal(ranges[2].result, 10);
    assert_int_equal(ranges[3].result, 0);
    assert_page(memory, PAGES - 1);
}

static void ranges_are_read_all_at_once(void **state)
{
    (void)state;
    struct io_range ranges[PAGES];
    for (unsigned i = 0; i < PAGES; i++) {
        unsigned page = (i * 13 + 5) % PAGES;
        ranges[i] = (struct io_range){.file = file,
                                      .data = memory + (size_t)page * PAGE,
                                      .size = PAGE,
                                      .offset = (uint64_t)page * PAGE};
    }
    assert_int_equal(io_schedule_read_many(IO_USER, ranges, PAGES), 0);
    for (unsigned page = 0; page < PAGES; page++) {
        assert_int_equal(ranges[page].result, PAGE);
        assert_page(memory + (size_t)page * PAGE, page);
    }
    struct io_class_stats stats = stats_of(IO_USER);
    assert_int_equal(stats.reads, PAGES);
    assert_int_equal(stats.operations + stats.merged, PAGES);
    assert_int_equal(stats.latency.count, PAGES);
    assert_int_equal(stats.in_flight + stats.queued, 0);
}

static void more_ranges_than_go_at_once_are_read_too(void **state)
{
    (void)state;
    enum { RANGES = 500 };
    static struct io_range ranges[RANGES];
    static unsigned char bytes[RANGES];
    for (unsigned i = 0; i < RANGES; i++)
        ranges[i] = (struct io_range){
            .file = file, .data = &bytes[i], .size = 1, .offset = i * 101 % sizeof memory};
    assert_int_equal(io_schedule_read_many(IO_BACKGROUND, ranges, RANGES), 0);
    for (unsigned i = 0; i < RANGES; i++)
        assert_int_equal(bytes[i], byte_at(i * 101 % sizeof memory));
}

static void what_is_written_can_be_read(void **state)
{
    (void)state;
    memset(memory, 'x', 3 * PAGE);
    assert_int_equal(io_schedule_write(IO_CHECKPOINT, file, memory, 3 * PAGE, 7), 0);
    memset(memory, 0, sizeof memory);
    assert_int_equal(io_schedule_read(IO_USER, file, memory, 3 * PAGE + 8, 6), 3 * PAGE + 8);
    assert_int_equal(memory[0], byte_at(6));
    assert_int_equal(memory[1], 'x');
    assert_int_equal(memory[3 * PAGE], 'x');
    assert_int_equal(memory[3 * PAGE + 1], byte_at(3 * PAGE + 7));
    assert_int_equal(stats_of(IO_CHECKPOINT).bytes_written, 3 * PAGE);
    memset(memory, 'y', sizeof memory);
    submit_pages(IO_BACKGROUND, true, 0, PAGES);
    wait_pages(0, PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        assert_int_equal(flights[i].request.result, PAGE);
    memset(memory, 0, sizeof memory);
    assert_int_equal(io_read(file, memory, sizeof memory, 0), sizeof memory);
    for (size_t i = 0; i < sizeof memory; i++)
        assert_int_equal(memory[i], 'y');
}

static void bandwidth_limits_hold_and_end(void **state)
{
    (void)state;
    struct io_limits limits;
    io_scheduler_limits(scheduler, &limits);
    limits.classes[IO_BACKGROUND].bytes_per_second = 1;
    io_scheduler_limit(scheduler, &limits);
    submit_pages(IO_BACKGROUND, false, 0, PAGES); /* of which a few use up the savings */
    unsigned char own[PAGE];
    assert_int_equal(io_schedule_read(IO_USER, file, own, PAGE, 0), PAGE);
    struct io_class_stats stats;
    do
        stats = stats_of(IO_BACKGROUND);
    while (stats.throttled == 0);
    assert_true(stats.queued > 0);
    limits.classes[IO_BACKGROUND].bytes_per_second = 0;
    io_scheduler_limit(scheduler, &limits);
    wait_pages(0, PAGES);
    assert_int_equal(stats_of(IO_BACKGROUND).reads, PAGES);
}

static void buffers_are_aligned_and_go_back(void **state)
{
    (void)state;
    enum { COUNT = 12 }; /* more than the ring knows */
    unsigned char *buffers[COUNT];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            buffers[i] = io_buffer_take(scheduler);
            assert_non_null(buffers[i]);
            assert_int_equal((uintptr_t)buffers[i] % IO_ALIGN, 0);
            memset(buffers[i], (int)i, IO_BUFFER_BYTES);
        }
        for (unsigned i = 0; i < COUNT; i++) {
            assert_int_equal(buffers[i][IO_BUFFER_BYTES - 1], i);
            struct io_range ranges[] = {
                {.file = file, .data = buffers[i], .size = PAGE, .offset = i * PAGE},
                {.file = file, .data = buffers[i] + 3 * PAGE, .size = PAGE, .offset = 9 * PAGE},
            };
            assert_int_equal(io_schedule_read_many(IO_USER, ranges, 2), 0);
            assert_page(buffers[i], i);
            assert_page(buffers[i] + 3 * PAGE, 9);
        }
        for (unsigned i = 0; i < COUNT; i++)
            io_buffer_give(scheduler, buffers[i]);
    }
}

static void a_direct_file_is_read_and_written(void **state)
{
    (void)state;
    io_close(file);
    file = NULL;
    assert_int_equal(io_open(io, "file", IO_WRITE | IO_DIRECT, &file), 0);
    unsigned char *buffer = io_buffer_take(scheduler);
    struct io_range ranges[] = {
        {.file = file, .data = buffer, .size = 2 * PAGE, .offset = 3 * PAGE},
        {.file = file, .data = buffer + 2 * PAGE, .size = PAGE, .offset = 5 * PAGE},
        {.file = file, .data = buffer + 3 * PAGE, .size = 2 * PAGE, .offset = (PAGES - 1) * PAGE},
    };
    assert_int_equal(io_schedule_read_many(IO_USER, ranges, 3), 0);
    assert_page(buffer, 3);
    assert_page(buffer + 2 * PAGE, 5);
    assert_int_equal(ranges[2].result, PAGE);
    memset(buffer, 'z', 2 * PAGE);
    assert_int_equal(io_schedule_write(IO_BACKGROUND, file, buffer, 2 * PAGE, 0), 0);
    memset(buffer, 0, 2 * PAGE);
    assert_int_equal(io_schedule_read(IO_USER, file, buffer, 2 * PAGE, 0), 2 * PAGE);
    assert_int_equal(buffer[2 * PAGE - 1], 'z');
    io_buffer_give(scheduler, buffer);
}

static void a_file_may_be_closed_and_another_opened_any_number_of_times(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 600; round++) { /* more than the ring has places for */
        io_close(file);
        file = NULL;
        assert_int_equal(io_open(io, "file", IO_WRITE, &file), 0);
        submit_pages(IO_USER, false, round % 32, 2);
        wait_pages(round % 32, 2);
        assert_page(memory + round % 32 * PAGE, round % 32);
    }
}

/* Whether the kernel takes what a scheduler's ring registers, by asking it for another ring. */
static bool kernel_takes(bool files)
{
    enum { FILES = 256 };
    const size_t bytes = (size_t)IO_BUFFERS * IO_BUFFER_BYTES;
    struct io_uring ring;
    struct iovec all = {aligned_alloc(IO_ALIGN, bytes), bytes};
    assert_non_null(all.iov_base);
    assert_int_equal(io_uring_queue_init(8, &ring, 0), 0);
    bool takes = (ring.features & IORING_FEAT_RSRC_TAGS) != 0;
    if (takes && files)
        takes = io_uring_register_files_sparse(&ring, FILES) == 0;
    else if (takes)
        takes = io_uring_register_buffers(&ring, &all, 1) == 0;
    io_uring_queue_exit(&ring);
    free(all.iov_base);
    return takes;
}

static void the_ring_knows_files_where_the_kernel_takes_them(void **state)
{
    (void)state;
    if (strcmp(io_scheduler_variant(scheduler), "io_uring") != 0 || !kernel_takes(true))
        return;
    submit_pages(IO_USER, false, 0, 2); /* through the ring */
    wait_pages(0, 2);
    assert_true(file->slot > 0);
}

/* Memory that may be locked is limited, and other processes use of it: so it counts if there was enough again and
 * again, and never for the scheduler. */
static void the_ring_knows_buffers_where_the_kernel_takes_them(void **state)
{
    enum { TRIES = 50 };
    (void)state;
    if (strcmp(io_scheduler_variant(scheduler), "io_uring") != 0)
        return;
    for (unsigned tries = 0; tries < TRIES; tries++) {
        unsigned char *buffer = io_buffer_take(scheduler);
        assert_non_null(buffer);
        bool known = scheduler->buffers == buffer;
        io_buffer_give(scheduler, buffer);
        assert_null(scheduler->buffers);
        if (known)
            return;
        if (!kernel_takes(false))
            return;
    }
    fail_msg("the kernel takes buffers, and the ring has none");
}

static void the_logs_queue_is_counted(void **state)
{
    (void)state;
    struct io_queue *queue;
    struct io_completion done;
    assert_int_equal(io_queue_new(io, 4, &queue), 0);
    assert_int_equal(io_queue_write(queue, file, memory, PAGE, 0, true, 1), 0);
    int count;
    do
        count = io_queue_wait(queue, true, &done, 1);
    while (count == 0);
    assert_int_equal(done.result, 0);
    assert_int_equal(stats_of(IO_LOG).writes, 1);
    assert_int_equal(stats_of(IO_LOG).bytes_written, PAGE);
    assert_int_equal(stats_of(IO_LOG).latency.count, 1);
    io_queue_delete(queue);
}

/* --------------------------------------------------------------------------------------- errors */

static void each_request_of_a_failed_operation_fails(void **state)
{
    (void)state;
    io_close(file);
    file = NULL;
    assert_int_equal(io_open(io, "file", IO_READ, &file), 0);
    submit_pages(IO_BACKGROUND, true, 0, 8); /* not open for writing */
    wait_pages(0, 8);
    for (unsigned i = 0; i < 8; i++) {
        assert_true(flights[i].request.result < 0);
        assert_true(flights[i].request.system_error != 0);
    }
    assert_int_equal(stats_of(IO_BACKGROUND).failed, 8);
    assert_int_equal(stats_of(IO_BACKGROUND).bytes_written, 0);
    assert_int_equal(io_schedule_write(IO_USER, file, memory, PAGE, 0), ERROR_IO);
    assert_true(strstr(diag_message(), "file") != NULL);
}

/* The disk that fails sees every read and write, whoever makes it. */
static void each_read_and_write_may_fail(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 8; n++) {
        struct io_range ranges[8];
        for (unsigned i = 0; i < 8; i++)
            ranges[i] = (struct io_range){.file = file,
                                          .data = memory + i * PAGE,
                                          .size = PAGE,
                                          .offset = (uint64_t)i * PAGE};
        uint64_t before = disk_call_count(disk, DISK_READ);
        disk_fail_nth_of(disk, DISK_READ, n, EIO);
        assert_int_equal(io_schedule_read_many(IO_USER, ranges, 8), ERROR_IO);
        assert_int_equal(disk_call_count(disk, DISK_READ), before + 8);
        unsigned failed = 0;
        for (unsigned i = 0; i < 8; i++) {
            failed += ranges[i].result < 0;
            if (ranges[i].result >= 0)
                assert_page(memory + i * PAGE, i);
        }
        assert_int_equal(failed, 1);
        assert_int_equal(io_schedule_read_many(IO_USER, ranges, 8), 0);
    }
    disk_fail_nth_of(disk, DISK_WRITE, 1, ENOSPC);
    assert_true(io_schedule_write(IO_USER, file, memory, PAGE, 0) < 0);
    disk_fail_nth_of(disk, DISK_WRITE, 1, ENOSPC);
    submit_pages(IO_BACKGROUND, true, 0, 1);
    wait_pages(0, 1);
    assert_true(flights[0].request.result < 0);
    assert_int_equal(stats_of(IO_BACKGROUND).failed, 1);
}

/* Without a scheduler the calls are the caller's own, in their order. */
static void without_a_scheduler_nothing_stands_between(void **state)
{
    (void)state;
    struct disk *own = disk_new(3);
    struct io *plain = disk_io(own);
    struct io_file *alone;
    assert_int_equal(io_open(plain, "file", IO_WRITE | IO_CREATE, &alone), 0);
    assert_null(alone->scheduler);
    memset(memory, 'a', PAGE);
    assert_int_equal(io_schedule_write(IO_BACKGROUND, alone, memory, PAGE, 0), 0);
    struct io_range ranges[3];
    for (unsigned i = 0; i < 3; i++)
        ranges[i] = (struct io_range){
            .file = alone, .data = memory + i * PAGE, .size = PAGE, .offset = i * 100};
    disk_fail_nth_of(own, DISK_READ, 2, EIO);
    assert_int_equal(io_schedule_read_many(IO_USER, ranges, 3), ERROR_IO);
    assert_int_equal(ranges[0].result, PAGE);
    assert_int_equal(ranges[1].result, ERROR_IO);
    assert_int_equal(ranges[2].result, PAGE - 200);
    unsigned char *buffer = io_buffer_take(NULL);
    assert_non_null(buffer);
    io_buffer_give(NULL, buffer);
    io_close(alone);
    io_delete(plain);
    disk_delete(own);
}

/* ----------------------------------------------------------------------------------------- a gate */

struct gate_io {
    struct io base;
    _Atomic bool open;
    _Atomic unsigned entered;
    unsigned char order[PAGES]; /* the pages that were read, as they were */
    _Atomic unsigned count;
};

static struct gate_io gate;

static int gate_open(struct io *base, const char *path, int flags, struct io_file **out)
{
    (void)path, (void)flags;
    struct io_file *made = calloc(1, sizeof *made);
    assert_non_null(made);
    made->vtab = base->vtab;
    *out = made;
    return 0;
}

static void gate_close(struct io_file *made)
{
    free(made);
}

static int64_t gate_read(struct io_file *made, void *data, size_t size, uint64_t offset)
{
    (void)made;
    atomic_fetch_add(&gate.entered, 1);
    while (!atomic_load(&gate.open))
        sched_yield();
    gate.order[atomic_fetch_add(&gate.count, 1)] = (unsigned char)(offset / PAGE);
    memset(data, 'g', size);
    return (int64_t)size;
}

static const struct io_vtab gate_vtab = {.open = gate_open, .close = gate_close, .read = gate_read};

/* One thread, which is held in the gate with a read of page 0. */
static int setup_gate(void **state)
{
    (void)state;
    struct io_scheduler_options options = {.threads = 1};
    io_limits_default(&options.limits);
    options.limits.merge_bytes = PAGE;
    memset(&gate, 0, sizeof gate);
    atomic_init(&gate.base.direct_variant, "unknown");
    atomic_init(&gate.base.queue_variant, "unknown");
    gate.base.vtab = &gate_vtab;
    io = &gate.base;
    if (io_scheduler_new(io, &options, &scheduler) != 0 || io_open(io, "file", IO_READ, &file) != 0)
        return 1;
    submit_pages(IO_BACKGROUND, false, 0, 1);
    while (atomic_load(&gate.entered) == 0)
        sched_yield();
    return 0;
}

static int teardown_gate(void **state)
{
    (void)state;
    atomic_store(&gate.open, true);
    if (file != NULL)
        io_close(file);
    file = NULL;
    io_scheduler_delete(scheduler);
    return 0;
}

static void what_queues_is_taken_by_class_and_place(void **state)
{
    (void)state;
    submit_pages(IO_BACKGROUND, false, 1, 3);
    submit_pages(IO_USER, false, 4, 3);
    submit_pages(IO_LOG, false, 7, 1);
    assert_int_equal(stats_of(IO_USER).queued, 3);
    assert_int_equal(stats_of(IO_BACKGROUND).in_flight, 1);
    struct io_limits limits;
    io_scheduler_limits(scheduler, &limits);
    for (int n = 0; n < IO_CLASSES; n++)
        limits.classes[n].overdue_ns = UINT64_MAX; /* nobody is, however long the test takes */
    io_scheduler_limit(scheduler, &limits);
    atomic_store(&gate.open, true);
    wait_pages(0, 8);
    const unsigned char order[] = {0, 7, 4, 5, 6, 1, 2, 3};
    assert_memory_equal(gate.order, order, sizeof order);
}

static struct io_file *closing;

static void *close_the_file(void *arg)
{
    (void)arg;
    io_close(closing);
    return NULL;
}

static void closing_a_file_cancels_what_has_not_begun_and_waits_for_the_rest(void **state)
{
    (void)state;
    pthread_t thread;
    closing = file;
    submit_pages(IO_USER, false, 1, 3);
    assert_int_equal(io_open(io, "other", IO_READ, &file), 0);
    submit_pages(IO_USER, false, 4, 1);
    assert_int_equal(pthread_create(&thread, NULL, close_the_file, NULL), 0);
    wait_pages(1, 3);
    for (unsigned i = 1; i < 4; i++)
        assert_int_equal(flights[i].request.result, ERROR_CANCELLED);
    assert_false(atomic_load(&flights[0].done));
    assert_false(atomic_load(&flights[4].done));
    assert_int_equal(stats_of(IO_USER).failed, 3);
    atomic_store(&gate.open, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(atomic_load(&flights[0].done));
    assert_int_equal(flights[0].request.result, PAGE);
    wait_pages(4, 1);
    assert_int_equal(flights[4].request.result, PAGE);
}

/* --------------------------------------------------------------------------------------- threads */

enum { CLIENTS = 6, ROUNDS = 150 };

struct client {
    pthread_t thread;
    unsigned number;
    uint64_t seed;
};

/* Reads and writes its own page in any class, and finds there what it wrote last; reads others'. */
static void *client_main(void *arg)
{
    struct client *client = arg;
    struct random random;
    unsigned char own[PAGE], others[4][PAGE];
    random_create(&random, client->seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        enum io_class class = (enum io_class)random_below(&random, IO_CLASSES);
        memset(own, (int)(round + client->number), PAGE);
        ASSERT(io_schedule_write(class, file, own, PAGE, (uint64_t)client->number * PAGE) == 0);
        struct io_range ranges[4];
        for (unsigned i = 0; i < 4; i++)
            ranges[i] = (struct io_range){
                .file = file,
                .data = others[i],
                .size = PAGE,
                .offset = (CLIENTS + random_below(&random, PAGES - CLIENTS)) * PAGE};
        ranges[2].offset = (uint64_t)client->number * PAGE;
        ASSERT(io_schedule_read_many(class, ranges, 1 + (unsigned)random_below(&random, 4)) == 0);
        ASSERT(io_schedule_read(class, file, others[3], PAGE, ranges[2].offset) == PAGE);
        ASSERT(memcmp(own, others[3], PAGE) == 0);
        ASSERT(others[0][0] == byte_at(ranges[0].offset));
    }
    return NULL;
}

static void many_threads_use_it_at_once(void **state)
{
    (void)state;
    struct client clients[CLIENTS];
    const char *text = getenv("PERIGEE_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : random_seed();
    printf("PERIGEE_SEED=%llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i].number = i;
        clients[i].seed = seed + i;
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
    }
    struct io_limits limits;
    io_scheduler_limits(scheduler, &limits);
    for (unsigned i = 0; i < 20; i++) {
        limits.classes[IO_BACKGROUND].bytes_per_second = i % 2 ? 0 : 100 << 20;
        limits.depth = 1 + i % 7;
        io_scheduler_limit(scheduler, &limits);
        void *buffer = io_buffer_take(scheduler);
        struct io_file *another;
        assert_int_equal(io_open(io, "file", IO_READ, &another), 0);
        assert_int_equal(io_schedule_read(IO_USER, another, buffer, PAGE, CLIENTS * PAGE), PAGE);
        io_close(another);
        io_buffer_give(scheduler, buffer);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
    uint64_t writes = 0;
    for (enum io_class class = 0; class < IO_CLASSES; class ++) {
        struct io_class_stats stats = stats_of(class);
        writes += stats.writes;
        assert_int_equal(stats.failed + stats.queued + stats.in_flight, 0);
        assert_int_equal(stats.latency.count, stats.reads + stats.writes);
    }
    assert_int_equal(writes, CLIENTS * ROUNDS);
}

#define ON(name, how)    cmocka_unit_test_setup_teardown(name, setup_##how, close_all)
#define EVERYWHERE(name) ON(name, uring), ON(name, threads), ON(name, disk)
#define GATED(name)      cmocka_unit_test_setup_teardown(name, setup_gate, teardown_gate)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(a_read_gives_what_is_there),
        EVERYWHERE(a_read_ends_at_the_end_of_the_file),
        EVERYWHERE(ranges_are_read_all_at_once),
        EVERYWHERE(more_ranges_than_go_at_once_are_read_too),
        EVERYWHERE(what_is_written_can_be_read),
        EVERYWHERE(bandwidth_limits_hold_and_end),
        EVERYWHERE(buffers_are_aligned_and_go_back),
        EVERYWHERE(a_direct_file_is_read_and_written),
        EVERYWHERE(a_file_may_be_closed_and_another_opened_any_number_of_times),
        ON(the_ring_knows_files_where_the_kernel_takes_them, uring),
        ON(the_ring_knows_buffers_where_the_kernel_takes_them, uring),
        EVERYWHERE(the_logs_queue_is_counted),
        EVERYWHERE(each_request_of_a_failed_operation_fails),
        ON(each_read_and_write_may_fail, disk),
        ON(without_a_scheduler_nothing_stands_between, disk),
        GATED(what_queues_is_taken_by_class_and_place),
        GATED(closing_a_file_cancels_what_has_not_begun_and_waits_for_the_rest),
        EVERYWHERE(many_threads_use_it_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
