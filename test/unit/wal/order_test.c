/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies are released in order of sequence although writes are in flight together (rule 2). And for whom the log writer
 * waits when a write is done (wal_gather_set).
 *
 * Between the log and the test disk stands an io that passes everything on, but keeps back the
 * completion of one write until it is told to let it go. While it keeps one back it answers a
 * blocking wait with nothing, so that the log writer goes round and starts further blocks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "io/disk.h"
#include "wal/log.h"
#include "wal/wal_internal.h"

struct holding_io {
    struct io base;
    struct io *inner;
    _Atomic unsigned writes; /* handed to the queue */
    _Atomic unsigned passed; /* completions passed on */
    _Atomic unsigned waits;  /* calls of queue_wait */
    _Atomic bool hold;       /* the first write's completion */
};

struct holding_queue {
    struct io_queue base;
    struct io_queue *inner;
    struct holding_io *io;
    struct io_completion kept;
    bool is_kept;
};

static struct holding_io *holding(struct io *io)
{
    return (struct holding_io *)(void *)io;
}

static int hold_open(struct io *io, const char *path, int flags, struct io_file **out)
{
    return io_open(holding(io)->inner, path, flags, out);
}

static int hold_rename(struct io *io, const char *from, const char *to)
{
    return io_rename(holding(io)->inner, from, to);
}

static int hold_unlink(struct io *io, const char *path)
{
    return io_unlink(holding(io)->inner, path);
}

static int hold_sync_dir(struct io *io)
{
    return io_sync_dir(holding(io)->inner);
}

static int hold_list(struct io *io, int (*each)(const char *name, uint64_t size, void *arg),
                     void *arg)
{
    return io_list(holding(io)->inner, each, arg);
}

static int hold_queue_new(struct io *io, unsigned depth, struct io_queue **out)
{
    struct holding_queue *queue = calloc(1, sizeof(*queue));
    assert_non_null(queue);
    queue->base.vtab = io->vtab;
    queue->io = holding(io);
    *out = &queue->base;
    return io_queue_new(holding(io)->inner, depth, &queue->inner);
}

static void hold_queue_delete(struct io_queue *base)
{
    struct holding_queue *queue = (struct holding_queue *)(void *)base;
    io_queue_delete(queue->inner);
    free(queue);
}

static int hold_queue_write(struct io_queue *base, struct io_file *file, const void *data,
                            size_t size, uint64_t offset, bool durable, uint64_t cookie)
{
    struct holding_queue *queue = (struct holding_queue *)(void *)base;
    atomic_fetch_add(&queue->io->writes, 1);
    return io_queue_write(queue->inner, file, data, size, offset, durable, cookie);
}

static int hold_queue_wait(struct io_queue *base, bool block, struct io_completion *out,
                           unsigned max)
{
    struct holding_queue *queue = (struct holding_queue *)(void *)base;
    struct io_completion all[WAL_INFLIGHT_MAX];
    int count = io_queue_wait(queue->inner, block && !load_seq_cst(&queue->io->hold), all, max),
        passed = 0;
    for (int i = 0; i < count; i++) {
        if (all[i].cookie == 0 && load_seq_cst(&queue->io->hold)) {
            queue->kept = all[i];
            queue->is_kept = true;
        } else {
            out[passed++] = all[i];
        }
    }
    if (queue->is_kept && !load_seq_cst(&queue->io->hold)) {
        out[passed++] = queue->kept;
        queue->is_kept = false;
    }
    atomic_fetch_add(&queue->io->passed, (unsigned)passed);
    atomic_fetch_add(&queue->io->waits, 1);
    return passed;
}

static const struct io_vtab holding_vtab = {
    .open = hold_open,
    .rename = hold_rename,
    .unlink = hold_unlink,
    .sync_dir = hold_sync_dir,
    .list = hold_list,
    .queue_new = hold_queue_new,
    .queue_delete = hold_queue_delete,
    .queue_write = hold_queue_write,
    .queue_wait = hold_queue_wait,
};

/* Commits three records in a block each; D when the second and the third are done and the first is
 * not. */
static uint64_t durable_behind_a_gap(unsigned mutations)
{
    struct disk *disk = disk_new(5);
    struct holding_io io = {.base.vtab = &holding_vtab, .inner = disk_io(disk), .hold = true};
    struct wal_options options = log_options(&io.base);
    struct log_seen seen = {0};
    struct wal_replay_stats stats;
    struct wal_buffer *buffer;
    struct wal *wal;
    uint64_t ts = 0;
    assert_int_equal(
        wal__open(&options, mutations | WAL_MUTATION_EAGER, log_seen_add, &seen, &stats, &wal), 0);
    assert_int_equal(wal_buffer_open(wal, &buffer), 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(log_commit(wal, buffer, i, 30, &ts), 0);
        wal_kick(wal);
        while (load_seq_cst(&io.writes) < i)
            sched_yield();
    }
    while (load_seq_cst(&io.passed) < 2)
        sched_yield();
    for (unsigned before = load_seq_cst(&io.waits); load_seq_cst(&io.waits) < before + 2;)
        sched_yield(); /* the log writer has been round */
    uint64_t durable = wal_durable_ts(wal);
    store_seq_cst(&io.hold, false);
    assert_int_equal(wal_wait(wal, ts), 0);
    wal_buffer_close(buffer);
    assert_int_equal(wal_close(wal), 0);
    log_seen_destroy(&seen);
    io_delete(io.inner);
    disk_delete(disk);
    return durable;
}

static void a_block_that_is_done_waits_for_those_before_it(void **state)
{
    (void)state;
    assert_int_equal(durable_behind_a_gap(0), 0);
}

static void without_the_order_d_would_pass_a_block_that_is_not_durable(void **state)
{
    (void)state;
    assert_int_equal(durable_behind_a_gap(WAL_MUTATION_ANY_ORDER), 3);
}

/* ------------------------------------------------------------------------------------- gathering */

enum { MS_US = 1000 };
#define HOUR_US 3600000000u

struct gathering {
    struct disk *disk;
    struct holding_io io;
    struct wal *wal;
    struct wal_buffer *buffer;
    struct log_seen seen;
    uint64_t id, ts;
};

static void gathering_open(struct gathering *g)
{
    struct wal_options options = log_options(&g->io.base);
    struct wal_replay_stats stats;
    assert_int_equal(wal_open(&options, log_seen_add, &g->seen, &stats, &g->wal), 0);
    assert_int_equal(wal_buffer_open(g->wal, &g->buffer), 0);
}

static void gathering_close(struct gathering *g)
{
    wal_buffer_close(g->buffer);
    assert_int_equal(wal_close(g->wal), 0);
}

static void gathering_end(struct gathering *g)
{
    log_seen_destroy(&g->seen);
    io_delete(g->io.inner);
    disk_delete(g->disk);
}

static void commit(struct gathering *g)
{
    assert_int_equal(log_commit(g->wal, g->buffer, ++g->id, 30, &g->ts), 0);
    wal_kick(g->wal);
}

/* A block with one commit is done while two others wait: so the next one is to have three. */
static void gathering_begin(struct gathering *g, unsigned us)
{
    *g = (struct gathering){.disk = disk_new(5)};
    g->io.base.vtab = &holding_vtab;
    g->io.inner = disk_io(g->disk);
    g->io.hold = true;
    gathering_open(g);
    wal_gather_set(g->wal, us);
    commit(g);
    while (load_seq_cst(&g->io.writes) < 1)
        sched_yield();
    commit(g);
    commit(g);
    store_seq_cst(&g->io.hold, false);
}

/* Until the log writer waits for the third. */
static void gathering_await(struct gathering *g)
{
    while (load_seq_cst(&g->wal->gather_ts) == 0)
        sched_yield();
    assert_int_equal(load_seq_cst(&g->wal->gather_ts), 4);
    assert_int_equal(load_seq_cst(&g->io.writes), 1);
}

static struct wal_stats gathering_stats(const struct gathering *g)
{
    struct wal_stats stats;
    wal_stats_get(g->wal, &stats);
    return stats;
}

static void whom_a_block_has_served_is_waited_for(void **state)
{
    (void)state;
    struct gathering g;
    gathering_begin(&g, HOUR_US);
    gathering_await(&g);
    commit(&g);
    assert_int_equal(wal_wait(g.wal, g.ts), 0);
    struct wal_stats stats = gathering_stats(&g);
    assert_int_equal(stats.blocks, 2); /* of one and three */
    assert_int_equal(stats.followed, 1);
    assert_int_equal(stats.gathered, 1);
    assert_int_equal(stats.gathered_in_vain, 0);
    assert_true(stats.write_ns > 0);
    /* All three are expected once more, although nobody waited when they were served. */
    commit(&g);
    commit(&g);
    while (load_seq_cst(&g.wal->gather_ts) == 0)
        sched_yield();
    commit(&g);
    assert_int_equal(wal_wait(g.wal, g.ts), 0);
    assert_int_equal(gathering_stats(&g).blocks, 3);
    gathering_close(&g);
    gathering_end(&g);
}

static void who_does_not_come_is_not_waited_for_any_longer(void **state)
{
    (void)state;
    struct gathering g;
    gathering_begin(&g, MS_US);
    assert_int_equal(wal_wait(g.wal, g.ts), 0);
    struct wal_stats stats = gathering_stats(&g);
    assert_int_equal(stats.blocks, 2);     /* of one and two */
    assert_in_range(stats.gathered, 0, 1); /* the time may have passed before it looked */
    assert_int_equal(stats.gathered_in_vain, stats.gathered);
    gathering_close(&g);
    gathering_end(&g);
}

static void who_waits_for_the_disk_is_served_at_once(void **state)
{
    (void)state;
    struct gathering g;
    gathering_begin(&g, HOUR_US);
    gathering_await(&g);
    assert_int_equal(wal_wait_durable(g.wal, g.ts), 0);
    assert_int_equal(gathering_stats(&g).gathered_in_vain, 1);
    gathering_close(&g);
    gathering_end(&g);
}

/* The ring has room for one record of these. */
static void who_waits_for_room_is_served_at_once(void **state)
{
    (void)state;
    struct gathering g;
    gathering_begin(&g, HOUR_US);
    gathering_await(&g);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(log_commit(g.wal, g.buffer, ++g.id, 2000, &g.ts), 0);
    assert_int_equal(wal_wait_durable(g.wal, g.ts), 0);
    gathering_close(&g);
    gathering_end(&g);
}

static void the_end_of_the_log_is_not_held_up_and_has_all(void **state)
{
    (void)state;
    struct gathering g;
    gathering_begin(&g, HOUR_US);
    gathering_await(&g);
    gathering_close(&g);
    gathering_open(&g);
    assert_int_equal(g.seen.count, 3);
    gathering_close(&g);
    gathering_end(&g);
}

static void one_alone_is_never_waited_for(void **state)
{
    (void)state;
    struct gathering g;
    gathering_begin(&g, HOUR_US);
    gathering_await(&g);
    commit(&g);
    assert_int_equal(wal_wait_durable(g.wal, g.ts), 0);
    for (unsigned i = 0; i < 5; i++) {
        commit(&g);
        assert_int_equal(i == 0 ? wal_wait_durable(g.wal, g.ts) : wal_wait(g.wal, g.ts), 0);
    }
    assert_int_equal(gathering_stats(&g).blocks, 2 + 5);
    assert_in_range(gathering_stats(&g).gathered, 1,
                    2); /* the first of the five, if it was in time */
    gathering_close(&g);
    gathering_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_that_is_done_waits_for_those_before_it),
        cmocka_unit_test(without_the_order_d_would_pass_a_block_that_is_not_durable),
        cmocka_unit_test(whom_a_block_has_served_is_waited_for),
        cmocka_unit_test(who_does_not_come_is_not_waited_for_any_longer),
        cmocka_unit_test(who_waits_for_the_disk_is_served_at_once),
        cmocka_unit_test(who_waits_for_room_is_served_at_once),
        cmocka_unit_test(the_end_of_the_log_is_not_held_up_and_has_all),
        cmocka_unit_test(one_alone_is_never_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
