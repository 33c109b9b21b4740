/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which request is next.
 *
 * Between classes: the most urgent one that may begin something, that is, which has a request,
 * fewer operations in flight than its depth, and bandwidth left. The bandwidth is a token bucket: a
 * class begins an operation as long as it has tokens, and may go into debt by that operation, so
 * that none is too large; what it saves up while it does nothing is a tenth of a second's worth, or
 * IO_BURST_BYTES.
 *
 * The oldest request of a class, when it has waited for the class's `overdue_ns`, comes before more
 * urgent classes, once in IO_OVERDUE_EVERY operations; of several the one that is overdue longest. So
 * while operations end at all, every request has its turn, and the share that the less urgent
 * classes can take is bounded, also when all of them are overdue for ever.
 *
 * Within a class: FSCAN (Coffman, Klimko, Ryan, "Analysis of scanning policies for reducing disk
 * seek times", 1972). A sweep takes all that waits, goes over it by file and offset, and what
 * arrives meanwhile is for the next sweep; so a request waits for two sweeps at most, whatever comes
 * after it. Requests of a sweep whose places follow each other go together.
 *
 * Invariants:
 *  1. A request that waits is in its lane's `arrivals`, and in `waiting` or `sweep`.
 *  2. `sweep` is sorted by (file, offset); among equals the older one comes first.
 *  3. in_flight is the sum over the lanes; it and that of each lane are within their depths.
 */
#include "io/io_elevator.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

enum { BURSTS_A_SECOND = 10 };

const char *io_class_name(enum io_class class)
{
    static const char *const NAMES[IO_CLASSES] = {"log", "checkpoint", "user", "background"};
    return NAMES[class];
}

void io_limits_default(struct io_limits *limits)
{
    const uint64_t ms = 1000 * 1000;
    *limits = (struct io_limits){
        .depth = 64,
        .merge_bytes = 1 << 20,
        .classes =
            {
                [IO_LOG] = {.depth = 32, .overdue_ns = 10 * ms},
                [IO_CHECKPOINT] = {.depth = 8, .overdue_ns = 100 * ms},
                [IO_USER] = {.depth = 48, .overdue_ns = 20 * ms},
                [IO_BACKGROUND] = {.depth = 4, .overdue_ns = 500 * ms},
            },
    };
}

/* ------------------------------------------------------------------------------------- bandwidth
 */

static double burst_bytes(const struct io_class_limits *limits)
{
    double burst = (double)limits->bytes_per_second / BURSTS_A_SECOND;
    return burst > IO_BURST_BYTES ? burst : IO_BURST_BYTES;
}

static void lane_refill(struct io_lane *lane, const struct io_class_limits *limits, uint64_t now_ns)
{
    if (now_ns <= lane->refilled_ns)
        return;
    double burst = burst_bytes(limits);
    lane->tokens += (double)limits->bytes_per_second * (double)(now_ns - lane->refilled_ns) / 1e9;
    if (lane->tokens > burst)
        lane->tokens = burst;
    lane->refilled_ns = now_ns;
}

/* Whether bandwidth is left. */
static bool has_tokens(struct io_elevator *elevator, enum io_class class, uint64_t now_ns)
{
    struct io_lane *lane = &elevator->lanes[class];
    const struct io_class_limits *limits = &elevator->limits.classes[class];
    if (limits->bytes_per_second == 0)
        return true;
    lane_refill(lane, limits, now_ns);
    return lane->tokens > 0;
}

uint64_t io_elevator_due_ns(const struct io_elevator *elevator)
{
    uint64_t due = UINT64_MAX;
    if (elevator->in_flight >= elevator->limits.depth)
        return due;
    for (int n = 0; n < IO_CLASSES; n++) {
        const struct io_lane *lane = &elevator->lanes[n];
        const struct io_class_limits *limits = &elevator->limits.classes[n];
        if (elevator->stats[n].queued == 0 || limits->bytes_per_second == 0 ||
            elevator->stats[n].in_flight >= limits->depth)
            continue;
        double missing = lane->tokens > 0 ? 0 : 1 - lane->tokens;
        double wait = missing / (double)limits->bytes_per_second * 1e9 + 1;
        uint64_t at = lane->refilled_ns + (wait < 1e18 ? (uint64_t)wait : (uint64_t)1e18);
        due = at < due ? at : due;
    }
    return due;
}

/* --------------------------------------------------------------------------------------- a life */

void io_elevator_limit(struct io_elevator *elevator, const struct io_limits *limits,
                       uint64_t now_ns)
{
    ASSERT(limits->depth > 0 && limits->depth <= IO_DEPTH_MAX);
    for (int n = 0; n < IO_CLASSES; n++) {
        struct io_lane *lane = &elevator->lanes[n];
        const struct io_class_limits *before = &elevator->limits.classes[n],
                                     *now = &limits->classes[n];
        ASSERT(now->depth > 0);
        if (before->bytes_per_second == now->bytes_per_second)
            continue;
        lane->tokens = burst_bytes(now);
        lane->refilled_ns = now_ns;
    }
    elevator->limits = *limits;
}

void io_elevator_create(struct io_elevator *elevator, const struct io_limits *limits,
                        uint64_t now_ns)
{
    memset(elevator, 0, sizeof *elevator);
    elevator->since_overdue = IO_OVERDUE_EVERY;
    for (int n = 0; n < IO_CLASSES; n++) {
        list_create(&elevator->lanes[n].arrivals);
        list_create(&elevator->lanes[n].waiting);
        list_create(&elevator->lanes[n].sweep);
    }
    io_elevator_limit(elevator, limits, now_ns);
}

void io_elevator_add(struct io_elevator *elevator, struct io_request *request, uint64_t now_ns)
{
    struct io_lane *lane = &elevator->lanes[request->class];
    struct io_class_stats *stats = &elevator->stats[request->class];
    request->queued_ns = now_ns;
    list_add_tail(&lane->arrivals, &request->arrival);
    list_add_tail(&lane->waiting, &request->place);
    elevator->queued++;
    stats->queued++;
    if (stats->queued > stats->queued_max)
        stats->queued_max = stats->queued;
}

static void take_out(struct io_elevator *elevator, struct io_request *request)
{
    list_remove(&request->arrival);
    list_remove(&request->place);
    elevator->queued--;
    elevator->stats[request->class].queued--;
}

void io_elevator_remove(struct io_elevator *elevator, const struct io_file *file, struct list *out)
{
    for (int n = 0; n < IO_CLASSES; n++) {
        list_for_each_safe (link, &elevator->lanes[n].arrivals) {
            struct io_request *request = list_entry(link, struct io_request, arrival);
            if (file != NULL && request->file != file)
                continue;
            take_out(elevator, request);
            list_add_tail(out, &request->arrival);
        }
    }
}

/* ---------------------------------------------------------------------------------------- sweeps
 */

static struct io_request *request_at(struct list *place)
{
    return list_entry(place, struct io_request, place);
}

static bool is_behind(const struct io_request *one, const struct io_request *other)
{
    if (one->file != other->file)
        return (uintptr_t)one->file > (uintptr_t)other->file;
    return one->offset > other->offset;
}

/* Moves the links of `from` to `to`, merged by place; those of `to` come first among equals. */
static void merge(struct list *to, struct list *from)
{
    struct list *at = to->next;
    while (!list_empty(from)) {
        struct list *link = from->next;
        while (at != to && !is_behind(request_at(at), request_at(link)))
            at = at->next;
        list_remove(link);
        list_insert_before(at, link);
    }
}

/* Merge sort from below: bin n is empty or has 2^n sorted requests, all older than those of the bins
 * before it. */
static void sweep_begin(struct io_lane *lane)
{
    enum { BINS = 32 };
    struct list bins[BINS];
    unsigned used = 0;
    while (!list_empty(&lane->waiting)) {
        struct list carry, *link = lane->waiting.next;
        unsigned n = 0;
        list_create(&carry);
        list_remove(link);
        list_add_tail(&carry, link);
        for (; n < used && !list_empty(&bins[n]); n++) {
            merge(&bins[n], &carry);
            while (!list_empty(&bins[n])) {
                link = bins[n].next;
                list_remove(link);
                list_add_tail(&carry, link);
            }
        }
        if (n == used)
            list_create(&bins[used++]);
        ASSERT(used < BINS);
        merge(&bins[n], &carry);
    }
    for (unsigned n = used; n-- > 0;)
        merge(&lane->sweep, &bins[n]);
}

static bool follows(const struct io_operation *operation, const struct io_request *request,
                    size_t bytes_max)
{
    return request->file == operation->file && request->write == operation->write &&
           request->offset == operation->offset + operation->size &&
           operation->count < IO_MERGE_MAX && operation->size + request->size <= bytes_max;
}

static struct io_request *oldest(const struct io_lane *lane)
{
    return list_entry(lane->arrivals.next, struct io_request, arrival);
}

static struct io_request *first_of_sweep(struct io_lane *lane)
{
    if (list_empty(&lane->sweep))
        sweep_begin(lane);
    return request_at(lane->sweep.next);
}

/* A request, with those that come behind it in its list and follow it on the disk. */
static void operation_take(struct io_elevator *elevator, struct io_request *request,
                           struct io_operation *out)
{
    const struct io_lane *lane = &elevator->lanes[request->class];
    struct list *behind;
    out->class = request->class;
    out->write = request->write;
    out->file = request->file;
    out->offset = request->offset;
    out->size = out->done = 0;
    out->count = 0;
    do {
        behind = request->place.next;
        take_out(elevator, request);
        out->requests[out->count++] = request;
        out->size += request->size;
        if (behind == &lane->sweep || behind == &lane->waiting)
            return;
        request = request_at(behind);
    } while (follows(out, request, elevator->limits.merge_bytes));
}

/* ---------------------------------------------------------------------------------------- choice
 */

static bool may_begin(struct io_elevator *elevator, enum io_class class, uint64_t now_ns)
{
    return elevator->stats[class].in_flight < elevator->limits.classes[class].depth &&
           has_tokens(elevator, class, now_ns);
}

/* Whether it has a request that may begin. */
static bool is_ready(struct io_elevator *elevator, enum io_class class, uint64_t now_ns)
{
    return elevator->stats[class].queued > 0 && may_begin(elevator, class, now_ns);
}

/* The class behind `best` that is overdue longest and may begin something; or `best`. */
static enum io_class choose_overdue(struct io_elevator *elevator, enum io_class best,
                                    uint64_t now_ns)
{
    enum io_class chosen = best;
    uint64_t longest = 0;
    for (enum io_class class = best + 1; class < IO_CLASSES; class ++) {
        if (!is_ready(elevator, class, now_ns))
            continue;
        uint64_t waited = now_ns - oldest(&elevator->lanes[class])->queued_ns,
                 allowed = elevator->limits.classes[class].overdue_ns;
        if (waited >= allowed && waited - allowed + 1 > longest) {
            longest = waited - allowed + 1;
            chosen = class;
        }
    }
    return chosen;
}

/* The request that begins the next operation, or NULL: the oldest of a class that is overdue and
 * comes before more urgent ones, or the first of a sweep. */
static struct io_request *choose(struct io_elevator *elevator, uint64_t now_ns, bool *overdue)
{
    enum io_class best = 0, chosen;
    *overdue = false;
    if (elevator->queued == 0 || elevator->in_flight >= elevator->limits.depth)
        return NULL;
    while (best < IO_CLASSES && !is_ready(elevator, best, now_ns))
        best++;
    if (best == IO_CLASSES)
        return NULL;
    chosen =
        elevator->since_overdue < IO_OVERDUE_EVERY ? best : choose_overdue(elevator, best, now_ns);
    *overdue = chosen != best;
    struct io_lane *lane = &elevator->lanes[chosen];
    return *overdue ? oldest(lane) : first_of_sweep(lane);
}

/* Counts an operation as begun. */
static void begin(struct io_elevator *elevator, enum io_class class, size_t bytes)
{
    struct io_class_stats *stats = &elevator->stats[class];
    elevator->in_flight++;
    stats->in_flight++;
    stats->operations++;
    if (elevator->limits.classes[class].bytes_per_second == 0)
        return;
    struct io_lane *lane = &elevator->lanes[class];
    lane->tokens -= (double)bytes;
    stats->throttled += lane->tokens <= 0;
}

bool io_elevator_next(struct io_elevator *elevator, uint64_t now_ns, struct io_operation *out)
{
    bool overdue;
    struct io_request *request = choose(elevator, now_ns, &overdue);
    if (request == NULL)
        return false;
    elevator->since_overdue = overdue ? 1 : elevator->since_overdue + 1;
    operation_take(elevator, request, out);
    begin(elevator, out->class, out->size);
    struct io_class_stats *stats = &elevator->stats[out->class];
    stats->overdue += overdue;
    stats->merged += out->count - 1;
    for (unsigned i = 0; i < out->count; i++)
        histogram_add(&stats->wait, now_ns - out->requests[i]->queued_ns);
    return true;
}

bool io_elevator_pass(struct io_elevator *elevator, struct io_request *request, uint64_t now_ns)
{
    enum io_class class = request->class;
    if (elevator->in_flight >= elevator->limits.depth || elevator->stats[class].queued > 0 ||
        !may_begin(elevator, class, now_ns))
        return false;
    for (enum io_class other = 0; elevator->queued > 0 && other < IO_CLASSES; other++)
        if (is_ready(elevator, other, now_ns))
            return false;
    request->queued_ns = now_ns;
    begin(elevator, class, request->size);
    elevator->stats[class].passed++;
    histogram_add(&elevator->stats[class].wait, 0);
    return true;
}

/* ------------------------------------------------------------------------------------------- end
 */

void io_elevator_end(struct io_elevator *elevator, enum io_class class)
{
    ASSERT(elevator->in_flight > 0 && elevator->stats[class].in_flight > 0);
    elevator->in_flight--;
    elevator->stats[class].in_flight--;
}

void io_elevator_end_request(struct io_elevator *elevator, const struct io_request *request,
                             uint64_t now_ns)
{
    struct io_class_stats *stats = &elevator->stats[request->class];
    histogram_add(&stats->latency, now_ns > request->queued_ns ? now_ns - request->queued_ns : 0);
    stats->failed += request->result < 0;
    if (request->write) {
        stats->writes++;
        stats->bytes_written += request->result > 0 ? (uint64_t)request->result : 0;
    } else {
        stats->reads++;
        stats->bytes_read += request->result > 0 ? (uint64_t)request->result : 0;
    }
}

unsigned io_operation_vectors(struct io_operation *operation, size_t done)
{
    unsigned count = 0;
    for (unsigned i = 0; i < operation->count; i++) {
        const struct io_request *request = operation->requests[i];
        size_t skip = done < request->size ? done : request->size;
        done -= skip;
        if (skip < request->size)
            operation->vectors[count++] =
                (struct iovec){(char *)request->data + skip, request->size - skip};
    }
    return count;
}

void io_operation_finish(struct io_operation *operation, size_t done, int error)
{
    if (operation->write && error == 0 && done < operation->size)
        error = EIO;
    for (unsigned i = 0; i < operation->count; i++) {
        struct io_request *request = operation->requests[i];
        size_t bytes = done < request->size ? done : request->size;
        done -= bytes;
        request->system_error = bytes < request->size ? error : 0;
        request->result = request->system_error != 0 ? ERROR_IO : (int64_t)bytes;
    }
}
