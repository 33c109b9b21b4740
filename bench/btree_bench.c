/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the body of the engine btree costs, without a head above it: loading it in the order of keys
 * in pieces as checkpoints give them; changes at random; random reads, cached and not; reads of short
 * ranges; a walk over all. CPU time of this thread; rows of 16-byte keys and 100-byte data. The file
 * is in the page cache unless memory is short.
 *
 * bench_btree [rows] [rows of a piece] [MiB of page cache] [bytes of a page]
 */
#include "body.h"

#include "storage/btree/btree.h"

enum { CACHE_MIB = 512 };

static uint64_t number_itself(uint64_t n)
{
    return n;
}

static void figures(struct bench_body *bench, const char *name, double ns, uint64_t rows)
{
    struct engine_stats stats;
    body_stats(bench->body, &stats);
    printf("%-40s %9.1f ns\n", name, ns / (double)rows);
    printf("%-40s %9.1f MiB\n", "size", (double)stats.bytes / (1 << 20));
}

static void load(struct bench_body *bench)
{
    double absorbing = 0;
    for (uint64_t done = 0, count; done < bench->rows; done += count) {
        count = bench->rows - done < bench->piece ? bench->rows - done : bench->piece;
        for (uint64_t i = 0; i < count; i++)
            bench->numbers[i] = done + i;
        absorbing += bench_body_absorb(bench, count);
    }
    figures(bench, "load in order: absorb a row", absorbing, bench->rows);
}

/* One row in a hundred, at random. */
static void change(struct bench_body *bench)
{
    struct random random;
    uint64_t count = bench->rows / 100 < bench->piece ? bench->rows / 100 : bench->piece;
    random_create(&random, 3);
    for (uint64_t i = 0; i < count; i++)
        bench->numbers[i] = random_below(&random, bench->rows);
    double absorbing = bench_body_absorb(bench, count);
    figures(bench, "change at random: absorb a row", absorbing, count);
}

int main(int argc, char **argv)
{
    struct bench_body bench = {.number_of = number_itself};
    const struct engine_options options = {.page_bytes =
                                               argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0};
    bench_body_open(&bench, &engine_btree, &options, argc, argv, CACHE_MIB);
    load(&bench);
    bench_body_read(&bench);
    change(&bench);
    change(&bench);
    bench_body_close(&bench);
    return 0;
}
