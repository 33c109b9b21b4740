/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs cost: writing, walking, getting and merging rows of 16-byte keys and 100-byte data.
 * CPU time of this thread; files are in the page cache, so that neither the disk nor the flushes at
 * the end are measured.
 *
 * bench_run [rows]
 */
#include "bench.h"

#include "base/random.h"
#include "io/io.h"
#include "storage/run/run.h"
#include "storage/run/run_filter.h"

enum { KEY_BYTES = 16, DATA_BYTES = 100, RUNS = 8 };

static void key_make(uint64_t number, unsigned char *out)
{
    memset(out, 'k', KEY_BYTES);
    for (unsigned i = 0; i < 8; i++)
        out[KEY_BYTES - 1 - i] = (unsigned char)(number >> 8 * i);
}

/* Half text that repeats, half noise, another part of it each time: shrinks to about half, as tuples
 * do. Made beforehand, so that making it is not measured. */
static char noise[1 << 16];

static void noise_make(void)
{
    struct random random;
    random_create(&random, 1);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)random_below(&random, 64);
}

static void data_make(uint64_t number, char *out)
{
    memset(out, 'd', DATA_BYTES);
    memcpy(out, noise + number * 7919 % (sizeof noise - DATA_BYTES), DATA_BYTES / 2);
}

/* Every step-th key from `first`. */
static void write_run(struct io *io, const char *name, enum compress_method method, uint64_t rows,
                      uint64_t first, uint64_t step)
{
    const struct run_options options = {
        .io = io, .name = name, .up_to_ts = 1000000, .compression = method};
    struct run_writer *writer;
    struct run_info info;
    unsigned char key[KEY_BYTES];
    char data[DATA_BYTES], label[64];
    double start = bench_cpu_ns();
    bench_check(run_writer_new(&options, &writer), "run_writer_new");
    for (uint64_t i = 0; i < rows; i++) {
        key_make(first + i * step, key);
        data_make(i, data);
        const struct engine_row row = {key, sizeof key, 1000000 - i % 1000, data, sizeof data};
        bench_check(run_writer_add(writer, &row), "run_writer_add");
    }
    bench_check(run_writer_finish(writer, &info), "run_writer_finish");
    snprintf(label, sizeof label, "write a row, %s, %.0f bytes in the file",
             compress_method_name(method), (double)info.file_bytes / (double)rows);
    bench_print(label, start, rows);
}

static void read_run(struct io *io, enum compress_method method, uint64_t rows)
{
    struct run *run;
    struct run_cursor *cursor;
    struct engine_row row;
    struct engine_range range = {0};
    const char *name = compress_method_name(method);
    char label[64];
    bench_check(run_open(io, name, &run), "run_open");
    double start = bench_cpu_ns();
    bench_check(run_verify(run, NULL, NULL), "run_verify");
    snprintf(label, sizeof label, "verify a row, %s", name);
    bench_print(label, start, rows);
    for (unsigned backward = 0; backward < 2; backward++) {
        range.backward = backward == 1;
        start = bench_cpu_ns();
        bench_check(run_cursor_open(run, &range, &cursor), "run_cursor_open");
        while (run_cursor_next(cursor, &row) == 0)
            bench_use(row.data);
        run_cursor_close(cursor);
        snprintf(label, sizeof label, "walk to the %s row, %s", backward ? "previous" : "next",
                 name);
        bench_print(label, start, rows);
    }
    run_close(run);
}

static void get_rows(struct io *io, enum compress_method method, uint64_t rows)
{
    enum { GETS = 50000 };
    struct run *run;
    struct engine_row row;
    struct arena arena;
    struct random random;
    unsigned char key[KEY_BYTES];
    const char *name = compress_method_name(method);
    char label[64];
    bench_check(run_open(io, name, &run), "run_open");
    arena_create(&arena, 1 << 20);
    random_create(&random, 2);
    double start = bench_cpu_ns();
    for (unsigned i = 0; i < GETS; i++) {
        key_make(random_below(&random, rows), key);
        bench_check(run_get(run, key, sizeof key, UINT64_MAX, &arena, &row), "run_get");
        bench_use(row.data);
        arena_reset(&arena);
    }
    snprintf(label, sizeof label, "get a row, %s", name);
    bench_print(label, start, GETS);
    arena_destroy(&arena);
    run_close(run);
}

static const char *filter_name(enum run_filter_kind kind)
{
    return kind == RUN_FILTER_RIBBON ? "ribbon" : "bloom";
}

/* Every second key is there. */
static void look_in_vain(struct io *io, enum run_filter_kind kind, unsigned filter_bits,
                         uint64_t rows)
{
    enum { LOOKS = 50000 };
    char name[32], label[64];
    struct run *run;
    struct run_writer *writer;
    struct engine_row row;
    struct arena arena;
    struct random random;
    unsigned char key[KEY_BYTES];
    snprintf(name, sizeof name, "%s%u", filter_name(kind), filter_bits);
    const struct run_options options = {
        .io = io, .name = name, .up_to_ts = 1, .filter = kind, .filter_bits = filter_bits};
    bench_check(run_writer_new(&options, &writer), "run_writer_new");
    for (uint64_t i = 0; i < rows; i++) {
        key_make(i * 2, key);
        row = (struct engine_row){key, sizeof key, 1, "x", 1};
        bench_check(run_writer_add(writer, &row), "run_writer_add");
    }
    bench_check(run_writer_finish(writer, NULL), "run_writer_finish");
    bench_check(run_open(io, name, &run), "run_open");
    arena_create(&arena, 1 << 20);
    random_create(&random, 2);
    double start = bench_cpu_ns();
    for (unsigned i = 0; i < LOOKS; i++) {
        key_make(random_below(&random, rows - 1) * 2 + 1, key);
        if (run_get(run, key, sizeof key, UINT64_MAX, &arena, &row) != ERROR_NOT_FOUND)
            abort();
        arena_reset(&arena);
    }
    snprintf(label, sizeof label, "look in vain, filter of %u bits, %s", filter_bits,
             filter_name(kind));
    bench_print(label, start, LOOKS);
    arena_destroy(&arena);
    run_close(run);
}

/* The filter alone, made of every second key and asked for those between them. */
static void filter_alone(enum run_filter_kind kind, uint64_t rows)
{
    enum { LOOKS = 4000000 };
    struct run_filter_builder builder = {0};
    struct run_memory contents = {0};
    struct run_filter filter;
    struct random random;
    unsigned char key[KEY_BYTES];
    uint64_t found = 0;
    char label[64];
    const char *name = filter_name(kind);
    double start = bench_cpu_ns();
    for (uint64_t i = 0; i < rows; i++) {
        key_make(i * 2, key);
        bench_check(run_filter_add(&builder, key, sizeof key), "run_filter_add");
    }
    snprintf(label, sizeof label, "hash a key for a filter, %s", name);
    bench_print(label, start, rows);
    start = bench_cpu_ns();
    bench_check(run_filter_end(&builder, kind, 10, &contents), "run_filter_end");
    snprintf(label, sizeof label, "build, a key, %s", name);
    bench_print(label, start, rows);
    bench_check(run_filter_open(&filter, contents.data, contents.size), "run_filter_open");
    for (unsigned there = 0; there < 2; there++) {
        random_create(&random, 3);
        found = 0;
        start = bench_cpu_ns();
        for (uint64_t i = 0; i < LOOKS; i++) {
            key_make(random_below(&random, rows) * 2 + 1 - there, key);
            found += run_filter_may_contain(&filter, key, sizeof key);
        }
        snprintf(label, sizeof label, "ask for a key that is %s, %s", there ? "there" : "not there",
                 name);
        bench_print(label, start, LOOKS);
        if (there && found != LOOKS)
            abort();
        if (!there)
            printf("%s: %.2f bits a key, %.3f %% false\n", name,
                   8.0 * (double)contents.size / (double)rows,
                   100.0 * (double)found / (double)LOOKS);
    }
    run_filter_close(&filter);
    run_memory_destroy(&contents);
    run_filter_builder_destroy(&builder);
}

static void merge_runs(struct io *io, uint64_t rows)
{
    struct run *runs[RUNS];
    struct run_merge *merge;
    struct engine_row row;
    char name[16], label[64];
    for (unsigned i = 0; i < RUNS; i++) {
        snprintf(name, sizeof name, "part%u", i);
        bench_check(run_open(io, name, &runs[i]), "run_open");
    }
    for (unsigned count = 2; count <= RUNS; count *= 2) {
        double start = bench_cpu_ns();
        bench_check(run_merge_new(runs, count, NULL, true, &merge), "run_merge_new");
        while (run_merge_next(merge, &row) == 0)
            bench_use(row.data);
        run_merge_delete(merge);
        snprintf(label, sizeof label, "merge a row of %u runs", count);
        bench_print(label, start, rows / RUNS * count);
    }
    for (unsigned i = 0; i < RUNS; i++)
        run_close(runs[i]);
}

int main(int argc, char **argv)
{
    uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;
    char dir[] = "/tmp/perigee-bench-XXXXXX", name[16];
    struct io *io;
    noise_make();
    bench_dir_create(dir);
    bench_check(io_posix_new(dir, false, &io), dir);
    for (enum compress_method method = 0; method < COMPRESS_METHODS; method++) {
        write_run(io, compress_method_name(method), method, rows, 0, 1);
        read_run(io, method, rows);
        get_rows(io, method, rows);
    }
    for (unsigned i = 0; i < RUNS; i++) {
        snprintf(name, sizeof name, "part%u", i);
        write_run(io, name, COMPRESS_NONE, rows / RUNS, i, RUNS);
    }
    merge_runs(io, rows);
    for (enum run_filter_kind kind = RUN_FILTER_BLOOM; kind <= RUN_FILTER_RIBBON; kind++)
        filter_alone(kind, rows);
    look_in_vain(io, RUN_FILTER_BLOOM, 0, rows);
    for (enum run_filter_kind kind = RUN_FILTER_BLOOM; kind <= RUN_FILTER_RIBBON; kind++)
        look_in_vain(io, kind, 10, rows);
    io_delete(io);
    bench_dir_remove(dir);
    return 0;
}
