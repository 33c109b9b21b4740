/* SPDX-License-Identifier: Apache-2.0 */
/* The log on a real directory, through io_uring (where the kernel has it) and through threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "wal/log.h"
#include "wal/wal.h"

struct fixture {
    char dir[64];
    struct io *io;
    struct log_seen seen;
};

static int create(void **state)
{
    static const char template[] = "/var/tmp/perigee-wal-XXXXXX";
    struct fixture *f = calloc(1, sizeof(*f));
    for (size_t i = 0; i < sizeof(template); i++)
        f->dir[i] = template[i];
    *state = f;
    return mkdtemp(f->dir) == NULL;
}

static int unlink_one(const char *name, uint64_t size, void *arg)
{
    (void)size;
    return io_unlink(arg, name);
}

static int destroy(void **state)
{
    struct fixture *f = *state;
    if (io_posix_new(f->dir, false, &f->io) == 0) {
        io_list(f->io, unlink_one, f->io);
        io_delete(f->io);
    }
    rmdir(f->dir);
    log_seen_destroy(&f->seen);
    free(f);
    return 0;
}

/* One life of the database: checks what the earlier ones left, adds `count` records. */
static void live(struct fixture *f, bool uring, enum wal_durability level, uint64_t count)
{
    static uint64_t next_id;
    struct wal_replay_stats stats;
    struct wal_buffer *buffer;
    struct wal *wal;
    uint64_t ts = 0;
    assert_int_equal(io_posix_new(f->dir, uring, &f->io), 0);
    struct wal_options options = log_options(f->io);
    options.durability = level;
    log_seen_destroy(&f->seen);
    assert_int_equal(wal_open(&options, log_seen_add, &f->seen, &stats, &wal), 0);
    if (f->seen.count == 0)
        next_id = 1;
    assert_int_equal(f->seen.count, next_id - 1);
    for (uint64_t id = 1; id < next_id; id++) {
        const struct log_record *record = log_seen_find(&f->seen, id);
        assert_non_null(record);
        assert_true(record->whole);
    }
    assert_int_equal(wal_buffer_open(wal, &buffer), 0);
    for (uint64_t i = 0; i < count; i++, next_id++) {
        assert_int_equal(log_commit(wal, buffer, next_id, 8 + next_id * 97 % 20000, &ts), 0);
        if (i % 8 == 0)
            assert_int_equal(wal_wait(wal, ts), 0);
    }
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    wal_buffer_close(buffer);
    assert_int_equal(wal_close(wal), 0);
    io_delete(f->io);
}

static void a_real_directory_keeps_the_log_through_io_uring_and_threads(void **state)
{
    for (int round = 0; round < 4; round++)
        live(*state, round % 2, WAL_DURABILITY_COMMIT, 60);
    live(*state, true, WAL_DURABILITY_COMMIT, 0);
}

static void levels_may_change_from_start_to_start(void **state)
{
    for (int round = 0; round < 6; round++)
        live(*state, round < 3, (enum wal_durability)(round % 3), 60);
    live(*state, true, WAL_DURABILITY_COMMIT, 0);
}

static void a_large_record_takes_a_segment_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct wal_replay_stats stats;
    struct wal_buffer *buffer;
    struct wal *wal;
    uint64_t ts;
    for (uint64_t life = 0; life < 2; life++) {
        assert_int_equal(io_posix_new(f->dir, true, &f->io), 0);
        struct wal_options options = log_options(f->io);
        log_seen_destroy(&f->seen);
        assert_int_equal(wal_open(&options, log_seen_add, &f->seen, &stats, &wal), 0);
        assert_int_equal(f->seen.count, life * 3);
        assert_int_equal(wal_buffer_open(wal, &buffer), 0);
        for (uint64_t i = 1; i <= 3; i++)
            assert_int_equal(log_commit(wal, buffer, life * 3 + i, i * (9 << 20), &ts), 0);
        assert_int_equal(wal_wait(wal, ts), 0);
        wal_buffer_close(buffer);
        assert_int_equal(wal_close(wal), 0);
        io_delete(f->io);
    }
    for (size_t i = 0; i < f->seen.count; i++)
        assert_true(f->seen.items[i].whole);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)
    const struct CMUnitTest tests[] = {
        TEST(a_real_directory_keeps_the_log_through_io_uring_and_threads),
        TEST(levels_may_change_from_start_to_start),
        TEST(a_large_record_takes_a_segment_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
