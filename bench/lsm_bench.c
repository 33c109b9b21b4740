/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the body of the engine lsm costs, without a head above it: filling it in random order in
 * pieces as checkpoints give them, compaction included; random reads; reads of short ranges. CPU
 * time of this thread, which compacts as well; rows of 16-byte keys and 100-byte data that shrink to
 * about half. The files are in the page cache unless memory is short.
 *
 * bench_lsm [rows] [rows of a piece] [MiB of block cache] [levelled|tiered|universal|window] [KiB of a
 * block]
 */
#include "body.h"

#include "storage/lsm/lsm.h"

enum { STEP_BYTES = 1 << 20, CACHE_MIB = 64 };

static uint64_t tidy_all(struct body *body)
{
    struct engine_tidied done;
    uint64_t bytes = 0;
    do {
        bench_check(body_tidy(body, &bench_body_none, STEP_BYTES, &done), "body_tidy");
        bytes += done.bytes;
    } while (done.what != ENGINE_TIDY);
    return bytes;
}

static void fill(struct bench_body *bench)
{
    struct engine_stats stats;
    double absorbing = 0, compacting = 0;
    uint64_t compacted = 0, rows = bench->rows;
    for (uint64_t done = 0, count; done < rows; done += count) {
        count = rows - done < bench->piece ? rows - done : bench->piece;
        for (uint64_t i = 0; i < count; i++)
            bench->numbers[i] = data_scatter(done + i);
        absorbing += bench_body_absorb(bench, count);
        double start = bench_cpu_ns();
        compacted += tidy_all(bench->body);
        compacting += bench_cpu_ns() - start;
        body_settle(bench->body);
    }
    body_stats(bench->body, &stats);
    double bytes = (double)rows * (BODY_KEY_BYTES + DATA_BYTES + sizeof bench->ts);
    printf("%-40s %9.1f ns\n", "fill random: absorb a row", absorbing / (double)rows);
    printf("%-40s %9.1f ns\n", "fill random: compact, for each row", compacting / (double)rows);
    printf("%-40s %9.2f\n", "written for each byte of rows", 1 + (double)compacted / bytes);
    printf("%-40s %9.1f MiB in %llu files\n", "size", (double)stats.bytes / (1 << 20),
           (unsigned long long)stats.files);
}

static enum lsm_strategy strategy_of(const char *name)
{
    static const char *const names[] = {"levelled", "tiered", "universal", "window"};
    for (unsigned i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum lsm_strategy)i;
    fprintf(stderr, "no strategy is called %s\n", name);
    exit(1);
}

int main(int argc, char **argv)
{
    struct lsm_options lsm;
    struct bench_body bench = {.number_of = data_scatter};
    lsm_options_default(&lsm);
    lsm.strategy = strategy_of(argc > 4 ? argv[4] : "levelled");
    if (argc > 5)
        lsm.block_bytes = strtoull(argv[5], NULL, 10) << 10;
    bench_body_open(&bench, &engine_lsm, &(struct engine_options){.lsm = &lsm}, argc, argv,
                    CACHE_MIB);
    fill(&bench);
    bench_body_read(&bench);
    bench_body_close(&bench);
    return 0;
}
