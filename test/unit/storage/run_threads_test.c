/* SPDX-License-Identifier: Apache-2.0 */

/* One open run, read by several threads at once, compressed and not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "io/disk.h"
#include "storage/run_fixture.h"

enum { THREADS = 4, ROWS = 500, ROUNDS = 20 };

struct reader {
    pthread_t thread;
    struct run *run;
    uint64_t seed;
    unsigned right;
};

static void row_make(unsigned number, char *key, char *data)
{
    snprintf(key, 16, "key%05u", number);
    snprintf(data, 64, "the data of row %u, the data of row %u", number, number);
}

static bool row_is(const struct engine_row *row, unsigned number)
{
    char key[16], data[64];
    row_make(number, key, data);
    return row->key_size == strlen(key) && memcmp(row->key, key, row->key_size) == 0 &&
           row->size == strlen(data) && memcmp(row->data, data, row->size) == 0;
}

static bool walk(struct run *run)
{
    struct run_merge *merge;
    struct engine_row row;
    unsigned number = 0;
    if (run_merge_new(&run, 1, NULL, false, &merge) != 0)
        return false;
    while (run_merge_next(merge, &row) == 0 && row_is(&row, number))
        number++;
    run_merge_delete(merge);
    return number == ROWS;
}

static void *read_rows(void *arg)
{
    struct reader *reader = arg;
    struct random random;
    struct arena arena;
    random_create(&random, reader->seed);
    arena_create(&arena, 1 << 16);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned number = (unsigned)random_below(&random, ROWS);
        char key[16], data[64];
        struct engine_row row;
        row_make(number, key, data);
        reader->right += run_get(reader->run, key, strlen(key), 1, &arena, &row) == 0 &&
                         row_is(&row, number) && walk(reader->run);
        arena_reset(&arena);
    }
    arena_destroy(&arena);
    return NULL;
}

static void several_threads_read_one_run_at_once(void **state)
{
    (void)state;
    for (unsigned way = 0; way < RUN_WAYS; way++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        struct run_options options = {.io = io, .name = "r", .up_to_ts = 1, .block_bytes = 512};
        run_options_way(&options, way);
        struct run_writer *writer;
        struct reader readers[THREADS];
        struct run *run;
        assert_int_equal(run_writer_new(&options, &writer), 0);
        for (unsigned number = 0; number < ROWS; number++) {
            char key[16], data[64];
            row_make(number, key, data);
            struct engine_row row = run_text_row(&(struct run_text){key, 1, data});
            assert_int_equal(run_writer_add(writer, &row), 0);
        }
        assert_int_equal(run_writer_finish(writer, NULL), 0);
        assert_int_equal(run_open(io, "r", &run), 0);
        for (unsigned i = 0; i < THREADS; i++) {
            readers[i] = (struct reader){.run = run, .seed = test_seed() + i};
            assert_int_equal(pthread_create(&readers[i].thread, NULL, read_rows, &readers[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
            pthread_join(readers[i].thread, NULL);
            assert_int_equal(readers[i].right, ROUNDS);
        }
        run_close(run);
        io_delete(io);
        disk_delete(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_threads_read_one_run_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
