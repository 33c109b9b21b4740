/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The body of the engine "memory": what absorbing costs, the bound on what it takes, merging in
 * steps while more comes, and failures and cuts at every call. What it has in common with other
 * engines is tested in engine_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "io/disk.h"
#include "storage/memory/memory_internal.h"

enum { KEYS_MAX = 4000, DATA_BYTES = 200, SLACK_BYTES = 300 << 10 };

/* One version a key; bytes that no compression makes smaller. */
struct world {
    struct disk *disk;
    struct io *io;
    _Atomic uint64_t next_file;
    struct body *body;
    struct random random;
    uint64_t clock;
    uint64_t values[KEYS_MAX]; /* seed of the data; 0: absent */
    bool changed[KEYS_MAX];    /* since the last absorb */
    uint64_t changed_at[KEYS_MAX];
};

static const struct engine_snapshots none = {NULL, 0};

static struct world *world_new(uint64_t seed)
{
    struct world *world = calloc(1, sizeof *world);
    world->disk = disk_new(seed);
    world->io = disk_io(world->disk);
    random_create(&world->random, seed);
    atomic_init(&world->next_file, 1);
    struct engine_options options = {
        .io = world->io, .space_id = 512, .incarnation = 1, .next_file = &world->next_file};
    assert_int_equal(body_open(&engine_memory, &options, &world->body), 0);
    return world;
}

static void world_delete(struct world *world)
{
    body_close(world->body);
    io_delete(world->io);
    disk_delete(world->disk);
    free(world);
}

static void data_make(uint64_t value, char *out)
{
    struct random random;
    random_create(&random, value);
    for (unsigned i = 0; i < DATA_BYTES; i += 8) {
        uint64_t bits = random_next(&random);
        memcpy(out + i, &bits, 8);
    }
}

static void key_make(unsigned key, unsigned char *out)
{
    out[0] = (unsigned char)(key >> 8);
    out[1] = (unsigned char)key;
}

static void set(struct world *world, unsigned key, bool present)
{
    world->values[key] = present ? 1 + random_below(&world->random, UINT64_MAX - 1) : 0;
    world->changed[key] = true;
    world->changed_at[key] = ++world->clock;
}

struct source {
    struct engine_source base;
    struct world *world;
    unsigned next;
    unsigned char key[2];
    char data[DATA_BYTES];
};

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    struct world *world = source->world;
    while (source->next < KEYS_MAX && !world->changed[source->next])
        source->next++;
    if (source->next == KEYS_MAX)
        return ERROR_END;
    unsigned key = source->next++;
    key_make(key, source->key);
    data_make(world->values[key], source->data);
    bool present = world->values[key] != 0;
    *out = (struct engine_row){source->key, 2, world->changed_at[key],
                               present ? source->data : NULL, present ? DATA_BYTES : 0};
    return 0;
}

/* Absorbs what has changed; then nothing has. */
static int absorb(struct world *world)
{
    struct source source = {.base.next = source_next, .world = world};
    int rc = body_absorb(world->body, &source.base, world->clock, &none);
    if (rc == 0)
        memset(world->changed, 0, sizeof world->changed);
    return rc;
}

static int tidy_all(struct world *world)
{
    struct engine_tidied done;
    int rc;
    do
        rc = body_tidy(world->body, &none, 1 << 20, &done);
    while (rc == 0 && done.what != ENGINE_TIDY);
    return rc;
}

static uint64_t live_bytes(const struct world *world)
{
    uint64_t bytes = 0;
    for (unsigned key = 0; key < KEYS_MAX; key++)
        bytes += world->values[key] != 0 ? DATA_BYTES + 2 : 0;
    return bytes;
}

static uint64_t body_bytes(struct world *world)
{
    struct engine_stats stats;
    body_stats(world->body, &stats);
    return stats.bytes;
}

/* Everything that was absorbed, and nothing else. */
static void check(struct world *world)
{
    struct body_view *view;
    struct body_cursor *cursor;
    struct engine_row row;
    unsigned key = 0;
    char data[DATA_BYTES];
    assert_int_equal(body_view_open(world->body, &view), 0);
    assert_int_equal(body_cursor_open(view, &(struct engine_range){0}, UINT64_MAX, &cursor), 0);
    while (body_cursor_next(cursor, &row) == 0) {
        unsigned found = (unsigned)row.key[0] << 8 | row.key[1];
        for (; key < found; key++)
            assert_true(world->values[key] == 0 || world->changed[key]);
        key++;
        assert_int_equal(row.size, DATA_BYTES);
        data_make(world->values[found], data);
        assert_true(world->changed[found] || memcmp(row.data, data, DATA_BYTES) == 0);
    }
    for (; key < KEYS_MAX; key++)
        assert_true(world->values[key] == 0 || world->changed[key]);
    body_cursor_close(cursor);
    body_view_close(view);
}

static void what_is_absorbed_costs_what_has_changed(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed());
    for (unsigned key = 0; key < KEYS_MAX; key++)
        set(world, key, true);
    assert_int_equal(absorb(world), 0);
    uint64_t all = disk_used(world->disk);
    for (unsigned n = 0; n < KEYS_MAX / 100; n++)
        set(world, n * 100, true);
    assert_int_equal(absorb(world), 0);
    uint64_t more = disk_used(world->disk) - all;
    assert_true(more < all / 50);
    check(world);
    world_delete(world);
}

static void absorbing_nothing_leaves_no_file(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed());
    assert_int_equal(absorb(world), 0);
    assert_int_equal(disk_used(world->disk), 0);
    assert_int_equal(body_bytes(world), 0);
    world_delete(world);
}

/* Rounds of changes of various shapes, each followed by all merging that is due. */
static void what_the_body_takes_is_at_most_twice_what_is_alive(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed());
    unsigned files_most = 0;
    uint64_t written = 0, changed = 0;
    for (unsigned round = 0; round < 150; round++) {
        unsigned shape = (unsigned)random_below(&world->random, 5);
        uint64_t count = random_below(&world->random, shape == 0 ? KEYS_MAX : KEYS_MAX / 20);
        unsigned first = (unsigned)random_below(&world->random, KEYS_MAX);
        for (uint64_t n = 0; n < count; n++) {
            unsigned key = shape < 2 ? (unsigned)random_below(&world->random, KEYS_MAX)
                                     : (first + (unsigned)n) % KEYS_MAX;
            set(world, key, shape != 4 && random_below(&world->random, 8) != 0);
        }
        for (unsigned key = 0; key < KEYS_MAX; key++)
            changed += world->changed[key] ? DATA_BYTES : 0;
        uint64_t files = atomic_load(&world->next_file);
        assert_int_equal(absorb(world), 0);
        body_settle(world->body);
        assert_int_equal(tidy_all(world), 0);
        body_settle(world->body);
        written += atomic_load(&world->next_file) - files;
        struct engine_stats stats;
        body_stats(world->body, &stats);
        files_most = stats.files > files_most ? (unsigned)stats.files : files_most;
        if (stats.bytes > 2 * live_bytes(world) + SLACK_BYTES)
            fail_msg("round %u: %llu bytes for %llu that are alive", round,
                     (unsigned long long)stats.bytes, (unsigned long long)live_bytes(world));
        check(world);
    }
    printf("at most %u files; %llu files for %llu bytes of changes\n", files_most,
           (unsigned long long)written, (unsigned long long)changed);
    assert_true(files_most <= 14);
    world_delete(world);
}

static void deleting_everything_leaves_next_to_nothing(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed());
    for (unsigned key = 0; key < KEYS_MAX; key++)
        set(world, key, true);
    assert_int_equal(absorb(world), 0);
    for (unsigned key = 0; key < KEYS_MAX; key++)
        set(world, key, false);
    assert_int_equal(absorb(world), 0);
    assert_int_equal(tidy_all(world), 0);
    assert_int_equal(body_bytes(world), 0);
    check(world);
    world_delete(world);
}

static void a_merge_goes_in_steps_and_more_is_absorbed_meanwhile(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed());
    struct engine_tidied done;
    unsigned steps = 0, absorbed = 0;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned key = 0; key < KEYS_MAX; key++)
            set(world, key, true);
        assert_int_equal(absorb(world), 0);
        body_settle(world->body);
    }
    for (;; steps++) {
        assert_int_equal(body_tidy(world->body, &none, 32 << 10, &done), 0);
        if (done.what != ENGINE_TIDY_WORKING)
            break;
        if (steps % 5 == 0) {
            set(world, (unsigned)random_below(&world->random, KEYS_MAX), absorbed++ % 3 != 0);
            assert_int_equal(absorb(world), 0);
            check(world);
            if (absorbed % 2 == 0)
                body_settle(world->body);
        }
    }
    assert_int_equal(done.what, ENGINE_TIDY_CHANGED);
    assert_true(steps > 10 && absorbed > 2);
    check(world);
    assert_int_equal(body_verify(world->body), 0);
    world_delete(world);
}

/* Each row is in exactly one part, and no part has most of them. */
static void parts_of_a_body_have_all_of_its_rows(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed());
    struct engine_key keys[15];
    struct arena arena;
    struct body_view *view;
    unsigned count = 0, all = 0;
    arena_create(&arena, 0);
    assert_int_equal(body_view_open(world->body, &view), 0);
    assert_int_equal(body_split(view, 16, &arena, keys, &count), 0);
    assert_int_equal(count, 0);
    body_view_close(view);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned key = 0; key < KEYS_MAX; key += 1 + 9 * round)
            set(world, key, true);
        assert_int_equal(absorb(world), 0);
    }
    assert_int_equal(body_view_open(world->body, &view), 0);
    assert_int_equal(body_split(view, 16, &arena, keys, &count), 0);
    assert_true(count >= 10 && count <= 15);
    for (unsigned i = 0; i <= count; i++) {
        struct body_cursor *cursor;
        struct engine_row row;
        struct engine_range range = {.upper_inclusive = true};
        unsigned rows = 0;
        if (i > 0) {
            range.lower = keys[i - 1].data;
            range.lower_size = keys[i - 1].size;
        }
        if (i < count) {
            range.upper = keys[i].data;
            range.upper_size = keys[i].size;
        }
        assert_int_equal(body_cursor_open(view, &range, UINT64_MAX, &cursor), 0);
        while (body_cursor_next(cursor, &row) == 0) {
            assert_int_equal((unsigned)row.key[0] << 8 | row.key[1], all + rows);
            rows++;
        }
        body_cursor_close(cursor);
        assert_true(rows > 0 && rows < KEYS_MAX / 4);
        all += rows;
    }
    assert_int_equal(all, KEYS_MAX);
    body_view_close(view);
    arena_destroy(&arena);
    world_delete(world);
}

static void a_view_outlives_the_files_it_was_opened_on(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed());
    struct body_view *view;
    struct engine_row row;
    struct arena arena;
    arena_create(&arena, 0);
    set(world, 1, true);
    assert_int_equal(absorb(world), 0);
    set(world, 2, true);
    assert_int_equal(absorb(world), 0);
    assert_int_equal(body_view_open(world->body, &view), 0);
    assert_int_equal(body_compact(world->body, &none), 0);
    assert_int_equal(body_get(view, "\0\1", 2, UINT64_MAX, &arena, &row), 0);
    body_view_close(view);
    arena_destroy(&arena);
    world_delete(world);
}

static void a_file_that_is_not_the_one_that_was_named_is_told(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed());
    struct body_view *view;
    set(world, 1, true);
    assert_int_equal(absorb(world), 0);
    struct engine_file *file = &((struct memory_body *)world->body)->list->files[0];
    file->rows++;
    assert_int_equal(body_view_open(world->body, &view), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), file->name));
    file->rows--;
    disk_vanish(world->disk, file->name);
    assert_int_equal(body_verify(world->body), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), file->name));
    world_delete(world);
}

/* Each call fails once, in absorbing and in merging: all is there as before, and the next attempt
 * succeeds. */
static void after_any_failure_nothing_is_lost_and_nothing_is_left(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), failures = 0;
    for (uint64_t n = 1;; n++) {
        struct world *world = world_new(seed);
        for (unsigned round = 0; round < 2; round++) {
            for (unsigned key = 0; key < KEYS_MAX; key++)
                set(world, key, true);
            assert_int_equal(absorb(world), 0);
        }
        body_settle(world->body);
        uint64_t used = disk_used(world->disk);
        for (unsigned key = 0; key < KEYS_MAX / 2; key++)
            set(world, key, key % 2 == 0);
        disk_fail_nth(world->disk, n, 28 /* ENOSPC */);
        int rc = absorb(world);
        if (rc != 0)
            assert_int_equal(disk_used(world->disk), used);
        else
            body_settle(world->body);
        int tidied = tidy_all(world);
        disk_fail_nth(world->disk, 0, 0);
        failures += rc != 0 || tidied != 0;
        check(world);
        if (rc != 0)
            assert_int_equal(absorb(world), 0);
        assert_int_equal(tidy_all(world), 0);
        check(world);
        world_delete(world);
        if (rc == 0 && tidied == 0)
            break;
    }
    assert_true(failures > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_absorbed_costs_what_has_changed),
        cmocka_unit_test(absorbing_nothing_leaves_no_file),
        cmocka_unit_test(what_the_body_takes_is_at_most_twice_what_is_alive),
        cmocka_unit_test(deleting_everything_leaves_next_to_nothing),
        cmocka_unit_test(a_merge_goes_in_steps_and_more_is_absorbed_meanwhile),
        cmocka_unit_test(parts_of_a_body_have_all_of_its_rows),
        cmocka_unit_test(a_view_outlives_the_files_it_was_opened_on),
        cmocka_unit_test(a_file_that_is_not_the_one_that_was_named_is_told),
        cmocka_unit_test(after_any_failure_nothing_is_lost_and_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
