/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_IO_ELEVATOR_H
#define IO_IO_ELEVATOR_H

/*
 * Which request is next: the logic of the scheduler (io_schedule.h) without threads, clock or
 * system calls. Time is what the caller says.
 *
 * Not safe for concurrent use: the scheduler guards it.
 */
#include <sys/uio.h>

#include "base/list.h"
#include "io/io_schedule.h"

enum {
    IO_MERGE_MAX = 32,     /* requests that become one operation */
    IO_OVERDUE_EVERY = 4,  /* of so many operations one at most is for those who are overdue */
    IO_BURST_BYTES = 65536 /* what a limited class may save up, at least */
};

/* What goes to the disk at once: requests of one class and file whose places follow each other. */
struct io_operation {
    struct list link; /* the caller's */
    enum io_class class;
    bool write;
    struct io_file *file;
    uint64_t offset;
    size_t size;
    unsigned count;
    struct io_request *requests[IO_MERGE_MAX];
    size_t done; /* bytes, of a transfer that goes in several steps; the caller's */
    struct iovec vectors[IO_MERGE_MAX];
};

/* The requests of one class. */
struct io_lane {
    struct list arrivals; /* all that wait, the oldest first (io_request.arrival) */
    struct list waiting;  /* for the next sweep, by arrival (io_request.place) */
    struct list sweep;    /* the present one, by file and offset (io_request.place) */
    double tokens;        /* bytes; below or at 0 the class waits */
    uint64_t refilled_ns;
};

struct io_elevator {
    struct io_limits limits;
    struct io_lane lanes[IO_CLASSES];
    struct io_class_stats stats[IO_CLASSES];
    unsigned in_flight, queued;
    unsigned since_overdue; /* operations since one was for those who are overdue */
};

/* Empty. Nothing to destroy. */
void io_elevator_create(struct io_elevator *elevator, const struct io_limits *limits,
                        uint64_t now_ns);

/* Limits that hold for what begins from now on. */
void io_elevator_limit(struct io_elevator *elevator, const struct io_limits *limits,
                       uint64_t now_ns);

/* Takes a request in. It stays the caller's memory, and must stay, until it has ended. */
void io_elevator_add(struct io_elevator *elevator, struct io_request *request, uint64_t now_ns);

/* The next operation, which is then in flight. False: nothing may begin now. */
bool io_elevator_next(struct io_elevator *elevator, uint64_t now_ns, struct io_operation *out);

/* A request that need not queue, because it would be the next one anyway: it is then in flight as
 * an operation of its own. False: io_elevator_add it. */
bool io_elevator_pass(struct io_elevator *elevator, struct io_request *request, uint64_t now_ns);

/* When something may begin that now only waits for its class's bandwidth; UINT64_MAX: nothing does.
 */
uint64_t io_elevator_due_ns(const struct io_elevator *elevator);

/* An operation of the class is no longer in flight; its requests end one by one, with the results
 * that they have. */
void io_elevator_end(struct io_elevator *elevator, enum io_class class);
void io_elevator_end_request(struct io_elevator *elevator, const struct io_request *request,
                             uint64_t now_ns);

/* Moves the requests of a file (NULL: of all) that have not begun to `out`, by io_request.arrival. */
void io_elevator_remove(struct io_elevator *elevator, const struct io_file *file, struct list *out);

/* The vectors of what remains of an operation after `done` bytes; returns how many. */
unsigned io_operation_vectors(struct io_operation *operation, size_t done);

/* Gives each request its result: `error` 0 with fewer bytes than asked is the end of the file for
 * reads. An errno value is that of every request that is not wholly within the first `done` bytes. */
void io_operation_finish(struct io_operation *operation, size_t done, int error);

#endif
